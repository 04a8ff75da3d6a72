"""Figures of a run, with matplotlib's objects alone: nothing global is touched, no window is needed.

Colours are those of Okabe & Ito, which people with any kind of colour vision tell apart.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.nn.network import Network
from npkd.surgery.widths import widths_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from npkd.data.datasets import Data
    from npkd.pipeline.stages import State
    from npkd.sparsity.layerwise import LayerReport

BLUE, ORANGE, GREEN, PINK, SKY, RED = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
GREY, PALE, INK = "#8A8A8A", "#D9D9D9", "#222222"
SMALL, MEDIUM, LARGE = 11, 12, 14
"""Sizes of letters, for figures 7 inches wide."""

ROWS, COLUMNS = 5, 8
"""Neurons in the picture of first-layer weights."""


def require() -> type[Figure]:
    """matplotlib's Figure. Raises InputError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(f"figures: matplotlib cannot be used ({error}); install it with: pip install "
                         f"matplotlib") from error
    return Figure


def canvas(title: str, height: float) -> Figure:
    """An empty figure, 7 inches wide, with its title."""
    figure = require()(figsize=(7, height), layout="constrained")
    figure.suptitle(title, fontsize=LARGE, color=INK, fontweight="bold")
    return figure


def tidy(axes: Axes, x: str, y: str) -> None:
    """Labels, light grid, no box."""
    axes.set_xlabel(x, fontsize=MEDIUM, color=INK)
    axes.set_ylabel(y, fontsize=MEDIUM, color=INK)
    axes.tick_params(labelsize=SMALL, colors=INK)
    axes.grid(color=PALE, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG, which says that npkd drew it."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, facecolor="white", metadata={"Software": "npkd, with Matplotlib"})
    return stream.getvalue()


def names(count: int) -> list[str]:
    """What the dependency groups are called: inputs, hidden 1, hidden 2, …"""
    return ["inputs", *(f"hidden {k}" for k in range(1, count))]


def training(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss and validation error by epoch over all stages; a dotted line wherever neurons were removed.

    history    lines of history.jsonl: epochs have a "loss", rounds of removal have none
    """
    removed: list[int] = []
    stages: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    epoch = 0
    for line in history:
        if "loss" in line:
            epoch += 1
            stages.setdefault(str(line["stage"]), []).append((epoch, line))
        else:
            removed.append(epoch)
    student = any(stage != "teacher" for stage in stages)
    figure = canvas("From teacher to student, epoch by epoch" if student else "Loss and error while training", 6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    seen = set()
    for stage, lines in stages.items():
        kind, colour = (("training on labels", BLUE) if stage == "teacher" else
                        ("last distillation", GREEN) if stage.startswith("final")
                        else ("distillation between removals", ORANGE))
        x, mark = [e for e, _ in lines], "o" if len(lines) < 4 else None
        upper.plot(x, [r["loss"] for _, r in lines], color=colour, marker=mark, linewidth=2,
                   label=None if kind in seen else kind)
        lower.plot(x, [100 * r["validation_error"] for _, r in lines], color=colour, marker=mark, linewidth=2)
        seen.add(kind)
    for axes in (upper, lower):
        for k, where in enumerate(removed):
            axes.axvline(where + 0.5, color=GREY, linestyle=":", linewidth=1.5,
                         label="removal" if axes is upper and not k else None)
    tidy(upper, "", "loss")
    tidy(lower, "epoch, all stages", "validation error (%)")
    if all(line["loss"] > 0 for line in history if "loss" in line):
        upper.set_yscale("log")
    errors = [100 * float(line["validation_error"]) for line in history if "loss" in line]
    lower.set_ylim(0, max(1.0, min(max(errors), 4 * float(np.median(errors)))) * 1.08)   # what matters is at the bottom
    upper.legend(fontsize=SMALL, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def kept(teacher: Sequence[int], student: Sequence[int]) -> Figure:
    """Bars: how many of the teacher's neurons each layer keeps. Widths with inputs first and classes last."""
    figure = canvas(f"{sum(student[:-1]):,} of {sum(teacher[:-1]):,} inputs and neurons stay",
                    1.4 + 0.75 * len(teacher[:-1]))
    axes = figure.subplots()
    rows = np.arange(len(teacher) - 1)
    axes.barh(rows, teacher[:-1], color=PALE, height=0.6, label="teacher")
    axes.barh(rows, student[:-1], color=BLUE, height=0.6, label="student")
    for k, (now, before) in enumerate(zip(student[:-1], teacher[:-1], strict=True)):
        axes.text(before + max(teacher[:-1]) * 0.015, k, f"{now} of {before}", va="center", fontsize=MEDIUM, color=INK)
    tidy(axes, "neurons", "")
    axes.set_yticks(rows, names(len(rows)))
    axes.invert_yaxis()
    axes.set_xlim(0, max(teacher[:-1]) * 1.22)
    axes.grid(visible=False, axis="y")
    axes.legend(fontsize=SMALL, frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return figure


def path(layers: Sequence[LayerReport]) -> Figure:
    """Relative error of each layer against the neurons kept, (W17); the choice is marked."""
    figure = canvas("What a layer loses by keeping fewer neurons (last round)", 4.6)
    axes = figure.subplots()
    for layer, name, colour in zip(layers, names(len(layers)), (BLUE, ORANGE, GREEN, PINK, SKY, RED) * len(layers),
                                   strict=False):
        axes.plot(np.arange(1, layer.curve.width + 1), np.maximum(layer.curve.error[1:], 1e-8), color=colour,
                  linewidth=2, label=name)
        axes.plot([layer.kept], [max(layer.relative_error, 1e-8)], marker="o", markersize=10, color=colour,
                  markeredgecolor=INK, linestyle="")
    axes.plot([], [], marker="o", markersize=10, color="white", markeredgecolor=INK, linestyle="",
              label="chosen, as refitted")
    axes.set_yscale("log")
    tidy(axes, "neurons kept", "relative squared error")
    axes.legend(fontsize=SMALL, frameon=False)
    return figure


def plane(shape: Sequence[int]) -> tuple[int, int] | None:
    """Height and width where examples are pictures of one channel; None where they are not."""
    long = [n for n in shape if n > 1]
    return (long[0], long[1]) if len(long) == 2 else None


def inputs_of(network: Network, width: int) -> Array:
    """Indices of the inputs, of ``width`` in all, that a network reads."""
    first = network.layers[0]
    return np.asarray(first.options["kept"], np.intp) if first.op == "select" else np.arange(width)


def pixels(mean: Array, reads: Array, shape: tuple[int, int]) -> Figure:
    """The pixels that the student reads, in colour over the mean training picture.

    mean (I,)    of the raw inputs;   reads (k,) indices of the inputs kept;   shape  height and width, I = H·W
    """
    figure = canvas(f"The student looks at {len(reads)} of {len(mean)} pixels", 4.0)
    left, right = figure.subplots(1, 2)
    mask = np.zeros(len(mean), bool)
    mask[reads] = True
    for axes, words in ((left, "mean training picture"), (right, "pixels that stay")):
        axes.imshow(mean.reshape(shape), cmap="gray_r", interpolation="nearest")
        axes.set_title(words, fontsize=MEDIUM, color=INK)
        axes.set_xticks([])
        axes.set_yticks([])
    tint = np.zeros((*shape, 4))
    tint[mask.reshape(shape)] = (0.0, 0.447, 0.698, 0.62)     # BLUE, see-through
    right.imshow(tint, interpolation="nearest")
    return figure


def first_weights(network: Network) -> Array:
    """The weights of the first layer that has some: (O, I) or (F, kh, kw, C)."""
    return network.layers[network.weight_layers[0]].params[0]


def strongest(network: Network, shape: tuple[int, int], count: int = ROWS * COLUMNS) -> Array:
    """Weights of the first-layer neurons with the largest norms, as pictures (n, H, W), by falling norm; NaN where a
    pixel is not read.

    Of a convolution the kernels (n, kh, kw), their mean over the channels they read.
    """
    w = first_weights(network).astype(np.float64)
    order = np.argsort(-np.linalg.norm(w.reshape(len(w), -1), axis=1), kind="stable")[:count]
    if w.ndim == 4:
        return np.asarray(w[order].mean(axis=3))
    pictures = np.full((len(order), shape[0] * shape[1]), np.nan)
    pictures[:, inputs_of(network, pictures.shape[1])] = w[order]
    return pictures.reshape(-1, *shape)


def weights(teacher: Network, student: Network, shape: tuple[int, int]) -> Figure:
    """First-layer weights of the strongest neurons, before and after: positive orange, negative purple, removed pixels
    grey."""
    from matplotlib import colormaps

    figure = canvas("What the strongest first-layer neurons look for", 6.4)
    colours = colormaps["PuOr_r"]
    for axes, network, words in zip(figure.subplots(2, 1), (teacher, student), ("teacher", "student"), strict=True):
        pictures = strongest(network, shape)
        high, wide = pictures.shape[1:]
        pad = max(1, round(min(high, wide) / 14))
        sheet = np.ones((ROWS * (high + pad) - pad, COLUMNS * (wide + pad) - pad, 4))
        for k, picture in enumerate(pictures):
            top, side = (k // COLUMNS) * (high + pad), (k % COLUMNS) * (wide + pad)
            largest = max(float(np.nanmax(np.abs(picture))), 1e-30)
            tile = np.asarray(colours(0.5 + 0.5 * np.nan_to_num(picture) / largest))
            tile[np.isnan(picture)] = (0.78, 0.78, 0.78, 1)
            sheet[top:top + high, side:side + wide] = tile
        axes.imshow(sheet, interpolation="nearest")
        axes.set_axis_off()
        many = len(first_weights(network))
        axes.set_title(f"{words}: {len(pictures)} of {many} neurons", fontsize=MEDIUM, color=INK)
    return figure


def draw(data: Data, state: State, history: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """All figures of a run as PNG, by the names of report.CAPTIONS; those of pixels only where the examples are
    pictures, that of the training only where something was trained.
    """
    drawings = {"training": training(history)} if any("loss" in line for line in history) else {}
    shape, teacher, student = plane(data.shape), state.teacher, state.student
    if teacher is not None and student is not None:
        drawings["kept"] = kept(widths_of(teacher), widths_of(student))
        if state.rounds:
            drawings["path"] = path(state.rounds[-1].layers)
        if shape is not None:
            mean = data.x_train.mean(axis=0, dtype=np.float64) / data.scaling.factor + data.scaling.offset
            if first_weights(student).ndim == 2:
                drawings["pixels"] = pixels(mean, inputs_of(student, len(mean)), shape)
            drawings["weights"] = weights(teacher, student, shape)
    return {name: png(figure) for name, figure in drawings.items()}
