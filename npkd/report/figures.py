"""Figures of a run, by matplotlib's objects alone (no global state), in the colours of Okabe & Ito, which people with
any kind of colour vision tell apart."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.nn.network import Network
from npkd.report.path import WORDS, History, error_of, group, path_of, sides, unit_of
from npkd.report.words import CAPTIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from npkd.data.datasets import Data
    from npkd.pipeline.stages import State
    from npkd.sparsity.layerwise import LayerReport

BLUE, ORANGE, GREEN, PINK, SKY, RED = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
GREY, PALE, INK = "#8A8A8A", "#D9D9D9", "#222222"
SMALL, MEDIUM, LARGE = 11, 12, 13                            # sizes of letters, read on a telephone too: WIDTH inches
WIDTH = 5
ABOVE: Any = {"fontsize": SMALL, "frameon": False, "loc": "lower left", "bbox_to_anchor": (-0.1, 1), "ncols": 2}
SOFTWARE, REACHED = "npkd, with Matplotlib", 20
LAMBDAS = (("λ moves", ORANGE), ("another last λ", GREY), ("the last λ", GREEN))
FLOOR = 1e-4                                                 # smallest relative error that is drawn


def require() -> type[Figure]:
    """matplotlib's Figure. Raises InputError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(f"figures: no matplotlib ({error}); to install it: pip install matplotlib") from error
    return Figure


def canvas(title: str, height: float) -> Figure:
    """An empty figure with its title."""
    figure = require()(figsize=(WIDTH, height), layout="constrained")
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
    figure.savefig(stream, format="png", dpi=200, facecolor="white", metadata={"Software": SOFTWARE})
    return stream.getvalue()


PHASES = (("teacher", "training on labels", BLUE), ("training", "training on labels", BLUE),
          ("distil", "distillation", BLUE), ("round", "distillation", ORANGE), ("final", "last distillation", GREEN),
          ("without", "without penalty", GREEN), ("", "with a penalty", ORANGE))
"""How stages of training begin, what they are called in a figure, and their colour; the first that fits counts."""


def top(errors: Sequence[float]) -> float:
    """Where an axis of errors in percent ends: at the largest, or four times the median: what matters is below."""
    return max(1.0, min(max(errors), 4 * float(np.median(errors)))) * 1.08


def training(history: Sequence[Mapping[str, Any]], error: str = "error") -> Figure:
    """Loss and validation ``error`` by epoch, from lines of history.jsonl; those without a "loss" are rounds of
    removal, which are dotted lines."""
    removals, stages = list[int](), dict[str, list[Mapping[str, Any]]]()
    for line in history:
        if "loss" in line:
            stages.setdefault(str(line["stage"]), []).append(line)
        else:
            removals.append(sum(map(len, stages.values())))
    figure, epoch = canvas("Loss and error, epoch by epoch", 5.4), 1
    upper, lower = figure.subplots(2, 1, sharex=True)
    for stage, lines in stages.items():
        label, colour = next(words for start, *words in PHASES if stage.startswith(start))
        style: dict[str, Any] = {"color": colour, "marker": "o" if len(lines) < 4 else None, "linewidth": 2}
        x, epoch = range(epoch, epoch + len(lines)), epoch + len(lines)
        known = label in upper.get_legend_handles_labels()[1]
        upper.plot(x, [line["loss"] for line in lines], label=None if known else label, **style)
        lower.plot(x, [100 * line["validation_error"] for line in lines], **style)
    for axes in (upper, lower):
        for k, position in enumerate(removals):
            axes.axvline(position + 0.5, color=GREY, linestyle=":", linewidth=1.5, label=None if k else "removal")
    tidy(upper, "", "loss")
    tidy(lower, "epoch, all stages", f"validation {error} (%)")
    epochs = [line for lines in stages.values() for line in lines]
    if all(line["loss"] > 0 for line in epochs):
        upper.set_yscale("log")
    lower.set_ylim(0, top([100 * float(line["validation_error"]) for line in epochs]))
    upper.legend(**ABOVE)
    return figure


def balance(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Value, gradient norm and cosine to the labels of each term by epoch, from the lines with "terms"."""
    figure = canvas("What each term adds", 6.4)
    panels = figure.subplots(3, 1, sharex=True)
    names = dict.fromkeys(name for line in history for name in line["terms"])
    for axes, key in zip(panels, ("value", "gradient_norm", "cosine"), strict=True):
        for k, name in enumerate(names):
            numbers = [line["terms"].get(name, {}).get(key) or math.nan for line in history]       # 0: no such gradient
            axes.plot(range(1, len(numbers) + 1), numbers, linewidth=2, marker="o" if len(numbers) < 4 else None,
                      color=(BLUE, ORANGE, GREEN, PINK, SKY, RED)[k % 6], label=name.replace("_", " "))
        tidy(axes, "epoch" * (key == "cosine"), key.replace("_", " "))
        axes.set_yscale("linear" if key == "cosine" else "symlog" if axes.dataLim.y0 < 0 else "log")
    panels[-1].set_ylim(-1.05, 1.05)
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    panels[0].legend(**ABOVE)
    return figure


def alike(cka: Mapping[str, Any]) -> Figure:
    """The alignment of the student's layers (rows) with the teacher's (columns), as a summary holds it."""
    figure = canvas("Which layers are alike", 1.6 + 0.5 * len(cka["student"]))
    axes = figure.subplots()
    axes.imshow(cka["matrix"], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    tidy(axes, "teacher", "student")
    axes.grid(visible=False)
    axes.set_xticks(range(len(cka["teacher"])), cka["teacher"], rotation=30, ha="right")
    axes.set_yticks(range(len(cka["student"])), cka["student"])
    for (i, j), value in np.ndenumerate(cka["matrix"]):
        axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=SMALL, color=INK if value < 0.6 else "white")
    return figure


def path(layers: Sequence[LayerReport]) -> Figure:
    """The estimate (W17) of each layer's error against the neurons kept; on it the choice of the last round, and joined
    to that the error that was measured after the refit. What is below FLOOR is drawn at it."""
    figure = canvas("Errors estimated, and measured (last round)", 5)
    axes = figure.subplots()
    mark: dict[str, Any] = {"markersize": 9, "markeredgecolor": INK, "linestyle": "", "clip_on": False, "zorder": 3}
    for k, layer in enumerate(layers):
        colour, estimate = (BLUE, ORANGE, GREEN, PINK, SKY, RED)[k % 6], np.maximum(layer.curve.error, FLOOR)
        chosen, measured = estimate[layer.kept], max(layer.relative_error, FLOOR)
        axes.plot(np.arange(1, len(estimate)), estimate[1:], color=colour, linewidth=2, label=group(k))
        axes.plot([layer.kept] * 2, [chosen, measured], color=colour, linestyle=":", linewidth=2)
        axes.plot([layer.kept], [chosen], "o", color="white", label=None if k else "chosen", **mark)
        axes.plot([layer.kept], [measured], "D", color=colour, label=None if k else "measured", **mark)
    axes.set_yscale("log")
    axes.set_ylim(FLOOR, 1.2)
    tidy(axes, "neurons kept", "relative squared error")
    axes.legend(**ABOVE)
    return figure


def size(history: History, summary: Mapping[str, Any]) -> Figure:
    """Validation error against size, as ``summary`` (of summary.json) counts it: the large network as a line with one
    standard error to both sides, rounds of removal (their last epochs), steps of a chain or epochs with a λ, and what
    was delivered. Bytes are those of the files. Over each stage of ``path_of`` lies a see-through "stage-0", …"""
    from matplotlib.ticker import LogLocator

    (large, first), (_, last) = sides(summary).items()
    stages, target = path_of(history, summary), summary["target"] or {"kind": "macs", "bound": 0}
    places = [(k, s.kind, s.size, 100 * s.error) for k, s in enumerate(stages)
              if s.size is not None and s.error is not None]
    error, spread = 100 * summary[large]["validation_error"], 100 * summary[large].get("validation_spread", 0.0)
    if "split" in summary and not spread:                                              # not in version 0.2
        spread = (error * (100 - error) / summary["split"]["validation"]) ** 0.5
    figure = canvas("Error against size", 5)
    axes, aim, sizes = figure.subplots(), 0.0, [x for _, _, x, _ in places]
    axes.axhline(error, color=BLUE, linewidth=2, label=first)
    axes.axhspan(error - spread, error + spread, color=BLUE, alpha=0.15, linewidth=0)
    for kind, colour in LAMBDAS if "sparse" in summary else ():
        dots = [(x, y) for _, its, x, y in places if its == kind]
        axes.plot([x for x, _ in dots], [y for _, y in dots], ".", color=colour, label=kind * bool(dots))
    if "sparse" not in summary:
        axes.plot(sizes, [y for *_, y in places], ".-", color=ORANGE, markersize=11,
                  label="steps" if summary.get("steps") else "rounds")
    axes.plot([sizes[-1]], [places[-1][3]], "D", color=GREEN, markersize=10, markeredgecolor=INK, label=last)
    dotted: dict[str, Any] = {"color": GREY, "linestyle": ":", "linewidth": 2, "label": "target"}
    if target["kind"] == "error":
        if target.get("measure") != "rmse":
            aim = error + target["bound"] * (100 if "measure" in target else 1)
            axes.axhline(aim, **dotted)
    elif target["kind"] == unit_of(summary) and target["bound"]:
        axes.axvline(target["bound"], **dotted)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if 30 * min(sizes) > max(sizes) else (1,)))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.minorticks_off()
    highest = max(top([error + spread, *(y for *_, y in places)]), 1.08 * aim)
    axes.set_ylim(0, highest)
    for k, _, x, y in places:
        if y <= highest:
            axes.plot([x], [y], "o", color=INK, alpha=0, markersize=17, gid=f"stage-{k}")
    tidy(axes, f"{WORDS[unit_of(summary)]} (logarithmic)", f"validation {error_of(summary)} (%)")
    axes.legend(**ABOVE)
    return figure


def curve(history: History, summary: Mapping[str, Any]) -> str:
    """``size`` as SVG within HTML, whose stages say what they are when they are pointed at, or reached by the keyboard,
    of many only REACHED; "" of a run without a path, or without labels."""
    from matplotlib import rc_context

    stages, stream = path_of(history, summary), io.StringIO()
    if not any(s.error is not None for s in stages):
        return ""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "npkd"}):           # letters as text; the same names again
        about = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        size(history, summary).savefig(stream, format="svg", metadata=about)

    def named(found: re.Match[str]) -> str:
        k = int(found[1])
        words, left = escape(stages[k].words(summary)), k % -(-len(stages) // REACHED) and k + 1 < len(stages)
        return (f'<g data-stage="{k}" tabindex="{-1 if left else 0}" role="img" aria-label="{words}">'
                f"<title>{words}</title>")

    text = re.sub(r'<g id="stage-(\d+)">', named, stream.getvalue().partition("</style>\n </defs>")[2])
    text = re.sub(r"font-family: [^;]*; |xlink:", "", text)
    box = 72 * WIDTH                                                                                           # points
    return f'<svg data-drawn viewBox="0 0 {box} {box}" role="group" aria-label="{CAPTIONS["size"][1]}">{text}'


def predicted(numbers: Mapping[str, Sequence[float]]) -> Figure:
    """What each network predicts against what was measured, as a summary holds it, under "measured"."""
    figure = canvas("Predicted and measured", 5)
    axes, measured = figure.subplots(), numbers["measured"]
    for (name, values), colour in zip(list(numbers.items())[1:], (BLUE, ORANGE), strict=False):
        axes.plot(measured, values, ".", color=colour, alpha=0.6, label=name)
    axes.axline((min(measured),) * 2, (max(measured),) * 2, color=GREY, linewidth=1.5, zorder=1)
    tidy(axes, "measured", "predicted")
    axes.legend(**ABOVE)
    return figure


def plane(shape: Sequence[int]) -> tuple[int, int] | None:
    """Height and width where examples are pictures of one channel; None where they are not."""
    long = [n for n in shape if n > 1]
    return (long[0], long[1]) if len(long) == 2 else None


def inputs_of(network: Network, width: int) -> Array:
    """Indices of the inputs, of ``width`` in all, that a network reads."""
    first = network.layers[0]
    return np.asarray(first.options["kept"], np.intp) if first.op == "select" else np.arange(width)


def picture(mean: Array) -> bytes:
    """A picture, mean (H, W), as it is: one pixel for each of its own."""
    from matplotlib.image import imsave

    stream = io.BytesIO()
    imsave(stream, mean, cmap="gray_r", format="png", metadata={"Software": SOFTWARE})
    return stream.getvalue()


def examples(shown: Sequence[Mapping[str, int]], x: Array, shape: tuple[int, int], names: Mapping[str, str]) -> Figure:
    """Pictures x (n, H·W) of as many examples of a summary, with the label and what the networks ``names`` say."""
    rows, answers = -(-len(shown) // 4), len(shown[0]) - 1
    figure = canvas("Test examples, and what is said of them", 0.5 + rows * (1.2 + 0.22 * answers))
    every = figure.subplots(rows, 4, squeeze=False, subplot_kw={"frame_on": False, "xticks": [], "yticks": []}).ravel()
    for axes, picture, one in zip(every, x, shown, strict=False):
        axes.imshow(picture.reshape(shape), cmap="gray_r", interpolation="nearest")
        words = [f"{word} {one[name]}" for name, word in {"label": "label", **names}.items()]
        axes.set_title("\n".join(words), fontsize=SMALL, color=INK)
    return figure


def draw(data: Data, state: State, history: Sequence[Mapping[str, Any]],
         summary: Mapping[str, Any]) -> dict[str, bytes]:
    """The figures of a run as PNG, by the names of words.CAPTIONS, as far as there is training, a student, pictures."""
    drawings = {"training": training(history, error_of(summary))} if any("loss" in line for line in history) else {}
    shape, shown = plane(data.shape), summary.get("differing", {"examples": ()})["examples"]
    if "predicted" in summary:
        drawings["predicted"] = predicted(summary["predicted"])
    if shape is not None and shown:
        rows = data.x_test[[one["example"] for one in shown]] / data.scaling.factor + data.scaling.offset
        drawings["examples"] = examples(shown, rows, shape, sides(summary))
    if "cka" in summary:
        lines = [line for line in history if "terms" in line]
        drawings |= {"cka": alike(summary["cka"]), **({"balance": balance(lines)} if lines else {})}
    if "rounds" in summary or "sparse" in summary:
        drawings["size"] = size(history, summary)
    if state.rounds:
        drawings["path"] = path(state.rounds[-1].layers)
    if shape is not None and summary.get("kept_inputs") is not None and state.student is not None:
        mean = data.x_train.mean(axis=0, dtype=np.float64) / data.scaling.factor + data.scaling.offset
        return {"mean": picture(mean.reshape(shape))} | {name: png(figure) for name, figure in drawings.items()}
    return {name: png(figure) for name, figure in drawings.items()}
