"""Figures of a run, by matplotlib's objects alone (no global state), in the colours of Okabe & Ito, which people with
any kind of colour vision tell apart."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.nn.network import Network
from npkd.report.page import group
from npkd.report.sparse import path as path_of_sparse
from npkd.surgery.widths import widths_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from npkd.data.datasets import Data
    from npkd.pipeline.stages import State
    from npkd.sparsity.layerwise import LayerReport

BLUE, ORANGE, GREEN, PINK, SKY, RED = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
GREY, PALE, INK = "#8A8A8A", "#D9D9D9", "#222222"
SMALL, MEDIUM, LARGE = 11, 12, 14                            # sizes of letters, for figures 7 inches wide
ROWS, COLUMNS = 5, 8                                         # neurons in the picture of first-layer weights


def require() -> type[Figure]:
    """matplotlib's Figure. Raises InputError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(f"figures: no matplotlib ({error}); to install it: pip install matplotlib") from error
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
    axes.spines[["top", "right"]].set_visible(False)


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG, which says that npkd drew it."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, facecolor="white", metadata={"Software": "npkd, with Matplotlib"})
    return stream.getvalue()


def training(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss and validation error by epoch, from lines of history.jsonl; those without a "loss" are rounds of removal,
    which are dotted lines."""
    removals, epoch = list[int](), 0
    stages: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for line in history:
        if "loss" in line:
            epoch += 1
            stages.setdefault(str(line["stage"]), []).append((epoch, line))
        else:
            removals.append(epoch)
    student = any(stage != "teacher" for stage in stages)
    sparse = any("lambda" in line for line in history)
    figure = canvas("From dense to sparse, epoch by epoch" if sparse else
                    "From teacher to student, epoch by epoch" if student else "Loss and error while training", 6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    labelled = set()
    for stage, lines in stages.items():
        label, colour = (("training on labels", BLUE) if stage == "teacher"
                         else ("last distillation", GREEN) if stage.startswith("final")
                         else ("without penalty", GREEN) if stage == "without penalty"
                         else ("with a penalty", ORANGE) if "lambda" in lines[0][1]
                         else ("distillation between removals", ORANGE))
        x, mark = [e for e, _ in lines], "o" if len(lines) < 4 else None
        upper.plot(x, [r["loss"] for _, r in lines], color=colour, marker=mark, linewidth=2,
                   label=None if label in labelled else label)
        lower.plot(x, [100 * r["validation_error"] for _, r in lines], color=colour, marker=mark, linewidth=2)
        labelled.add(label)
    for k, position in enumerate(removals):
        upper.axvline(position + 0.5, color=GREY, linestyle=":", linewidth=1.5, label=None if k else "removal")
        lower.axvline(position + 0.5, color=GREY, linestyle=":", linewidth=1.5)
    tidy(upper, "", "loss")
    tidy(lower, "epoch, all stages", "validation error (%)")
    if all(line["loss"] > 0 for line in history if "loss" in line):
        upper.set_yscale("log")
    errors = [100 * float(line["validation_error"]) for line in history if "loss" in line]
    lower.set_ylim(0, max(1.0, min(max(errors), 4 * float(np.median(errors)))) * 1.08)   # what matters is at the bottom
    upper.legend(fontsize=SMALL, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def kept(teacher: Sequence[int], student: Sequence[int], names: Sequence[str] = ("teacher", "student")) -> Figure:
    """Bars: how many of the teacher's neurons each layer keeps. Widths with inputs first and classes last."""
    before, now = teacher[:-1], student[:-1]
    figure = canvas(f"{sum(now):,} of {sum(before):,} inputs and neurons stay", 1.4 + 0.75 * len(before))
    axes, rows = figure.subplots(), range(len(before))
    axes.barh(rows, before, color=PALE, height=0.6, label=names[0])
    axes.barh(rows, now, color=BLUE, height=0.6, label=names[1])
    for k in rows:
        axes.text(before[k] + max(before) * 0.015, k, f"{now[k]} of {before[k]}", va="center", fontsize=MEDIUM,
                  color=INK)
    tidy(axes, "neurons", "")
    axes.set_yticks(rows, [group(k) for k in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, max(before) * 1.22)
    axes.grid(visible=False, axis="y")
    axes.legend(fontsize=SMALL, frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return figure


def path(layers: Sequence[LayerReport]) -> Figure:
    """Relative error of each layer against the neurons kept, (W17); the choice is marked."""
    figure = canvas("What a layer loses by keeping fewer neurons (last round)", 4.6)
    axes = figure.subplots()
    colours = (BLUE, ORANGE, GREEN, PINK, SKY, RED)
    mark: dict[str, Any] = {"marker": "o", "markersize": 10, "markeredgecolor": INK, "linestyle": ""}
    for k, layer in enumerate(layers):
        axes.plot(np.arange(1, layer.curve.width + 1), np.maximum(layer.curve.error[1:], 1e-8),
                  color=colours[k % 6], linewidth=2, label=group(k))
        axes.plot([layer.kept], [max(layer.relative_error, 1e-8)], color=colours[k % 6], **mark)
    axes.plot([], [], color="white", label="chosen, as refitted", **mark)
    axes.set_yscale("log")
    tidy(axes, "neurons kept", "relative squared error")
    axes.legend(fontsize=SMALL, frameon=False)
    return figure


def sparse_path(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Validation error against size while λ is positive, see npkd.report.sparse."""
    figure = canvas("Error against size", 4.6)
    path_of_sparse(history, figure, (ORANGE, BLUE, GREEN))
    axes = figure.axes[0]
    tidy(axes, "size (what the target counts)", "validation error (%)")
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
    """The pixels ``reads`` (k,) in colour over the mean picture, mean (I,) of the raw inputs; shape (H, W), I = H·W."""
    figure = canvas(f"The small network looks at {len(reads)} of {len(mean)} pixels", 4.0)
    left, right = figure.subplots(1, 2)
    for axes, words in ((left, "mean training picture"), (right, "pixels that stay")):
        axes.imshow(mean.reshape(shape), cmap="gray_r", interpolation="nearest")
        axes.set_title(words, fontsize=MEDIUM, color=INK)
        axes.set(xticks=[], yticks=[])
    tint = np.zeros((len(mean), 4))
    tint[reads] = (0.0, 0.447, 0.698, 0.62)                   # BLUE, see-through
    right.imshow(tint.reshape(*shape, 4), interpolation="nearest")
    return figure


def first_weights(network: Network) -> Array:
    """The weights of the first layer that has some: (O, I) or (F, kh, kw, C)."""
    return network.layers[network.weight_layers[0]].params[0]


def strongest(network: Network, shape: tuple[int, int], count: int = ROWS * COLUMNS) -> Array:
    """Weights (n, H, W) of the first-layer neurons with the largest norms, by falling norm; NaN where a pixel is not
    read. Of a convolution the kernels (n, kh, kw), averaged over the channels they read."""
    w = first_weights(network).astype(np.float64)
    order = np.argsort(-np.linalg.norm(w.reshape(len(w), -1), axis=1), kind="stable")[:count]
    if w.ndim == 4:
        return np.asarray(w[order].mean(axis=3))
    pictures = np.full((len(order), shape[0] * shape[1]), np.nan)
    pictures[:, inputs_of(network, pictures.shape[1])] = w[order]
    return pictures.reshape(-1, *shape)


def weights(teacher: Network, student: Network, shape: tuple[int, int],
            names: Sequence[str] = ("teacher", "student")) -> Figure:
    """First-layer weights of the strongest neurons: positive orange, negative purple, removed pixels grey."""
    from matplotlib import colormaps

    figure = canvas("What the strongest first-layer neurons look for", 6.4)
    colours = colormaps["PuOr_r"]
    for axes, network, words in zip(figure.subplots(2, 1), (teacher, student), names, strict=True):
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
        neurons = f"{len(pictures)} of {len(first_weights(network))} neurons"
        axes.set_title(f"{words}: {neurons}", fontsize=MEDIUM, color=INK)
    return figure


def draw(data: Data, state: State, history: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """The figures of a run as PNG, by the names of page.CAPTIONS, as far as there is training, a student, pictures."""
    drawings = {"training": training(history)} if any("loss" in line for line in history) else {}
    shape, teacher, student = plane(data.shape), state.teacher, state.student
    sparse = any("lambda" in line for line in history)
    names = ("dense", "sparse") if sparse else ("teacher", "student")
    if sparse:
        drawings["sparse path"] = sparse_path(history)
    if teacher is not None and student is not None:
        drawings["kept"] = kept(widths_of(teacher), widths_of(student), names)
        if state.rounds:
            drawings["path"] = path(state.rounds[-1].layers)
        if shape is not None:
            mean = data.x_train.mean(axis=0, dtype=np.float64) / data.scaling.factor + data.scaling.offset
            if first_weights(student).ndim == 2:
                drawings["pixels"] = pixels(mean, inputs_of(student, len(mean)), shape)
            drawings["weights"] = weights(teacher, student, shape, names)
    return {name: png(figure) for name, figure in drawings.items()}
