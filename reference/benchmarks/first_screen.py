"""The picture of README's first screen: a gradient beside its finite differences, and a neuron that dies."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from npkd import train
from npkd.core.types import Array
from npkd.data import datasets
from npkd.nn.losses import cross_entropy
from npkd.nn.network import Network, perceptron
from npkd.nn.training import Penalty, TrainingSettings
from npkd.report.figures import BLUE, GREY, INK, MEDIUM, ORANGE, PALE, RED, SMALL, tidy
from npkd.sparsity.penalties import NeuronGroups

STEPS = 10.0 ** np.arange(-12.0, 1.0)
"""Steps h of the differences."""
STEP = 1e-5
"""The step with which every entry is shown."""
LAM = 5e-3
"""λ of the outgoing columns."""
SETTINGS = TrainingSettings(epochs=40, batch_size=256, schedule=lambda progress: 1.0)
"""A constant learning rate, so that the threshold is constant, too."""
WIDTH = 100
"""Hidden neurons of the network that is trained."""
TITLE = 15
"""Size of the letters above a panel; README shows the picture at about three quarters of its size."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """A penalty, or none, that keeps the norm of every column after each proximal step."""

    penalty: Penalty | None
    norms: list[Array] = field(default_factory=list)

    def value(self, w: Array) -> float:
        return self.penalty.value(w) if self.penalty else 0.0

    def prox(self, v: Array, step: float | Array) -> Array:
        w = self.penalty.prox(v, step) if self.penalty else v
        self.norms.append(np.linalg.norm(w, axis=0))
        return w


def gradients(steps: Array) -> tuple[Array, Array]:
    """dw of the first layer of a network 64-10-10 on 32 digits, in float64, (10, 64): by its backward pass, and by
    central differences for each of the steps."""
    data = datasets.load("digits", seed=0)
    x, y = data.x_train[:32].astype(np.float64), data.y_train[:32]
    network = perceptron([64, 10, 10], np.random.default_rng(0), activation="tanh", dtype=np.float64)
    activations, backward = network(x)
    _, ((dw, _), *_) = backward({3: cross_entropy(activations[3], y)[1]})
    w = network.layers[0].params[0]

    def loss(index: tuple[int, ...], change: float) -> float:
        moved = w.copy()
        moved[index] += change
        layer = replace(network.layers[0], params=(moved, network.layers[0].params[1]))
        return cross_entropy(network.replace({0: layer})(x)[0][3], y)[0]

    differences = [[(loss(index, h) - loss(index, -h)) / (2 * h) for index in np.ndindex(w.shape)] for h in steps]
    return dw, np.reshape(differences, (len(steps), *w.shape))


def relative_errors(dw: Array, differences: Array) -> Array:
    """max |dw − differences| / max |dw| for each step."""
    return np.asarray(abs(differences - dw).max(axis=(1, 2)) / abs(dw).max())


def columns() -> tuple[Array, Array, int]:
    """Norms of the outgoing columns of the hidden neurons after each update, (updates, neurons): with the penalty and,
    from the same start and with the same batches, without; and the neuron that is shown: of those that are above zero
    for some of the examples, and whose column stays zero once it is, the one that is zero last."""
    data = datasets.load("digits", seed=0)
    batch, norms = {"x": data.x_train, "y": data.y_train}, list[Array]()
    for penalty in (NeuronGroups(LAM, axis=1), None):
        rng, recorded = np.random.default_rng(0), Recorded(penalty)
        start = perceptron([64, WIDTH, 10], rng)
        *_, last = train(start, batch, penalties={2: recorded}, settings=SETTINGS, rng=rng)
        norms.append(np.array(recorded.norms))
    with_it, without = norms
    stays = (with_it[-1] == 0) & ((with_it == 0).sum(axis=0) == len(with_it) - first_zero(with_it))
    shown = stays & active(start, data.x_train) & active(last.network, data.x_train)
    return with_it, without, int(np.argmax(np.where(shown, first_zero(with_it), -1)))


def active(network: Network, x: Array) -> Array:
    """Which hidden neurons are above zero for more than 5 % of the examples: (neurons,)."""
    return np.asarray((network(x)[0][2] > 0).mean(axis=0) > 0.05)


def first_zero(norms: Array) -> Array:
    """The first update after which each column is zero, where there is one: (neurons,)."""
    return np.asarray(np.argmax(norms == 0, axis=0))


def first_screen() -> Figure:
    """Both panels, each with its formula above."""
    figure = Figure(figsize=(12, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    dw, differences = gradients(STEPS)
    check(left, dw, differences)
    shrink(right, *columns())
    return figure


def title(axes: Axes, words: str, formula: str) -> None:
    """A bold line, and a formula below it."""
    axes.set_title(words, fontsize=TITLE, color=INK, fontweight="bold", pad=44)
    axes.text(0.5, 1.045, formula, transform=axes.transAxes, ha="center", fontsize=TITLE, color=INK)


def check(axes: Axes, dw: Array, differences: Array) -> None:
    """Every entry of dw against its central difference; inset: the error for each step."""
    shown = int(np.argmin(abs(STEPS - STEP)))
    ends = 1.1 * np.array([dw.min(), dw.max()])
    axes.axline((0, 0), slope=1, color=GREY, linewidth=1)
    axes.plot(differences[shown].ravel(), dw.ravel(), "o", color=BLUE, markersize=5, alpha=0.45, markeredgewidth=0)
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    tidy(axes, "central difference of the loss, h = $10^{-5}$", "dw by the backward pass")
    axes.text(0.04, 0.95, f"{dw.size:,} weights of a layer", transform=axes.transAxes, va="top", fontsize=MEDIUM,
              color=BLUE)
    title(axes, "A hand-written gradient, checked", r"$dw_{oi}=\sum_n\,dy_{no}\,x_{ni}$   (D3)")
    inset, errors = axes.inset_axes((0.56, 0.13, 0.42, 0.34)), relative_errors(dw, differences)
    inset.loglog(STEPS, errors, "o-", color=RED, linewidth=2, markersize=4)
    inset.plot(STEPS[shown], errors[shown], "o", color=BLUE, markersize=8)
    inset.set_title("largest relative error", fontsize=SMALL, color=INK)
    inset.set_xlabel("h", fontsize=SMALL, color=INK, labelpad=-4)
    inset.set_xticks([1e-12, 1e-8, 1e-4, 1])
    inset.set_yticks([1e-10, 1e-6, 1e-2])
    inset.minorticks_off()
    inset.tick_params(labelsize=SMALL - 1, colors=INK)
    inset.spines[["top", "right"]].set_visible(False)
    inset.grid(color=PALE, linewidth=0.6)
    inset.set_ylim(1e-11, 1e1)
    inset.text(0.14, 0.86, "rounding", transform=inset.transAxes, fontsize=SMALL, color=INK)
    inset.text(0.90, 0.86, "truncation", transform=inset.transAxes, fontsize=SMALL, color=INK, ha="right")


def shrink(axes: Axes, with_it: Array, without: Array, neuron: int) -> None:
    """Column norms update by update: one neuron with and without the penalty, a few others with it."""
    updates, dead = np.arange(1, len(with_it) + 1), int(first_zero(with_it)[neuron])
    for j in np.argsort(with_it[0], kind="stable")[::8]:
        axes.plot(updates, with_it[:, j], color="#C4C4C4", linewidth=1.3)
    axes.plot(updates, without[:, neuron], "--", color=ORANGE, linewidth=2.6)
    axes.plot(updates, with_it[:, neuron], color=BLUE, linewidth=3.2, zorder=3)
    axes.plot(updates[dead], 0, "o", color=BLUE, markersize=10, clip_on=False, zorder=4)
    axes.set_xlim(0, len(updates))
    axes.set_ylim(0, None)
    tidy(axes, "update", "norm of the outgoing weights ‖v‖")
    title(axes, "A neuron dies by soft-thresholding",
          r"$v\;\leftarrow\;v\cdot\max(0,\;1-\tau\lambda/\Vert v\Vert)$   (P5)")
    words: dict[str, Any] = {"fontsize": MEDIUM, "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1.5}}
    at, middle = len(updates) * 3 // 4, dead // 2
    axes.text(at, without[at, neuron] + 0.05, "without the penalty", ha="center", color=ORANGE, **words)
    axes.text(middle + 15, with_it[middle, neuron] + 0.02, "one neuron, with it", color=BLUE, **words)
    axes.text(at, 1.19, "other neurons", ha="center", color=GREY, **words)
    axes.annotate(f"exactly 0 from\nupdate {updates[dead]} on", (updates[dead], 0), (updates[dead] + 70, 0.08),
                  color=BLUE, arrowprops={"arrowstyle": "->", "color": BLUE, "linewidth": 1.5}, **words)
