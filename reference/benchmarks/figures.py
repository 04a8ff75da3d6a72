"""Pictures of the documentation, from files that commands have written, or from a small example.

    python -m reference.benchmarks.figures main-job npkd-out docs/figures/main-job.png
    python -m reference.benchmarks.figures lenet300 reference/measured/lenet300.json docs/figures/lenet300.png
    python -m reference.benchmarks.figures lenet5 reference/measured/lenet5.json docs/figures/lenet5.png
    python -m reference.benchmarks.figures post-training reference/measured docs/figures/post-training.png
    python -m reference.benchmarks.figures overfitting reference/measured/overfitting.json docs/figures/overfitting.png
    python -m reference.benchmarks.figures patches docs/figures/patches.png
    python -m reference.benchmarks.figures first-screen docs/figures/first-screen.png
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from npkd.core.types import Array
from npkd.experiments import lenet5 as lenet5_settings
from npkd.nn.convolution import im2col
from npkd.report.figures import BLUE, GREEN, GREY, INK, LARGE, ORANGE, PINK, RED, SKY, SMALL, tidy
from npkd.surgery.survivors import listed
from reference.benchmarks.first_screen import first_screen
from reference.benchmarks.pareto import CONVOLUTIONS, pareto

WHOLE = {"lenet300": ("LeNet-300-100", 266_200), "lenet5": ("LeNet-5", lenet5_settings.WHOLE)}
"""Networks that are cut without training, and the multiply-accumulates of the dense ones."""

COLOURS = {"ours": BLUE, "random": GREY, "incoming weights": SKY, "outgoing weights": GREEN, "activation": ORANGE,
           "taylor": PINK, "obs": RED,
           "lasso": "#F0E442", "thinet": "#000000", "net-trim": "#8A5A2B"}
"""Of the methods."""


def main_job(run: Path) -> Figure:
    """Which inputs survive, and the error against size, side by side, from the folder of a run."""
    mean, size = (imread(run / "figures" / f"{name}.png")[..., :3] for name in ("mean", "size"))
    stay = listed(json.loads((run / "summary.json").read_text())["kept_inputs"])
    tinted = mean.copy().reshape(-1, 3)
    tinted[stay] = 0.38 * tinted[stay] + 0.62 * np.array(to_rgb(BLUE))
    pictures = (mean, "mean training picture"), (tinted.reshape(mean.shape), f"{len(stay)} of {len(tinted)} stay")
    figure = Figure(figsize=(12.6, 4.2), layout="constrained")
    *left, right = figure.subplots(1, 3)
    for axes, (picture, words) in zip(left, pictures, strict=True):
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(words)
    right.imshow(size, interpolation="lanczos")
    for axes in (*left, right):
        axes.axis("off")
    return figure


def lenet300(measured: Path) -> Figure:
    """All methods and the published points, from the file that ``npkd reproduce lenet300 --json`` has written."""
    found = json.loads(measured.read_text())
    return pareto(found["comparison"], found["records"])


def lenet5(measured: Path) -> Figure:
    """The same for LeNet-5."""
    found = json.loads(measured.read_text())
    return pareto(found["comparison"], found["records"], CONVOLUTIONS)


def post_training(measured: Path) -> Figure:
    """Test error after one cut and no training, against what is left of the multiply-accumulates, for both networks of
    a folder."""
    figure, seen = Figure(figsize=(12, 6), layout="constrained"), dict[str, str]()
    for axes, (name, (title, whole)) in zip(figure.subplots(1, 2), WHOLE.items(), strict=True):
        rows = json.loads((measured / f"{name}.json").read_text())["post_training"]
        for method in dict.fromkeys(row["method"] for row in rows):
            some = [row for row in rows if row["method"] == method]
            rule = method.removesuffix(" (our widths)").removesuffix(" refitted")
            seen[rule] = COLOURS[rule]
            axes.plot([100 * row["macs_allowed"] / whole for row in some],
                      [100 * row["test_error"]["mean"] for row in some],
                      "-" if method == "ours" else "--" if method.endswith(" (our widths)") else ":",
                      color=COLOURS[rule],
                      marker="o" if method == "ours" else "", linewidth=3 if method == "ours" else 1.6,
                      zorder=3 if method == "ours" else 2)
        axes.axhline(100 * rows[0]["teacher_test_error"]["mean"], color=INK, linewidth=0.8)
        axes.set_xscale("log")
        axes.invert_xaxis()
        axes.set_yscale("log")
        marks = sorted({100 * row["macs_allowed"] / whole for row in rows})
        axes.set_xticks(marks, [f"{mark:g} %" for mark in marks])
        axes.set_xticks([], minor=True)
        low, high = axes.get_ylim()
        ticks = [t for t in (0.5, 0.7, 1, 2, 5, 10, 20, 50, 90) if low <= t <= high]
        axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
        axes.set_yticks([], minor=True)
        tidy(axes, "multiply-accumulates that are left", "test error in %")
        axes.set_title(title, fontsize=LARGE, color=INK)
    lines = [Line2D([], [], color=colour, linewidth=3, label=rule) for rule, colour in seen.items()]
    lines += [Line2D([], [], color=INK, linestyle=":", label="as the rule has it, widths of its own"),
              Line2D([], [], color=INK, linestyle="--", label="our widths, refitted"),
              Line2D([], [], color=INK, linewidth=0.8, label="teacher")]
    figure.legend(handles=lines, loc="outside lower center", ncols=7, fontsize=SMALL, frameon=False, labelcolor=INK)
    return figure


def overfitting(measured: Path) -> Figure:
    """Loss and error on training and validation examples, epoch by epoch, with the penalty and without, and where the
    runs are stopped: means over the seeds, bands of one deviation for the validation part."""
    found = json.loads(measured.read_text())
    figure = Figure(figsize=(12, 8), layout="constrained")
    rows = figure.subplots(2, len(found["results"]), squeeze=False)
    for k, result in enumerate(found["results"]):
        for axes, what, factor in ((rows[0, k], "loss", 1), (rows[1, k], "error", 100)):
            for name, colour in (("plain", ORANGE), ("penalised", BLUE)):
                strength = result["chosen"] if name == "penalised" else 0.0
                row = next(row for row in result["all"] if row["strength"] == strength)
                for part, style in (("training", ":"), ("validation", "-")):
                    curve = result["curves"][name][f"{part} {what}"]
                    mean, band = factor * np.array(curve["mean"]), factor * np.array(curve["deviation"])
                    epochs = np.arange(1, len(mean) + 1)
                    axes.plot(epochs, mean, style, color=colour, linewidth=2)
                    if part == "validation":
                        axes.fill_between(epochs, mean - band, mean + band, color=colour, alpha=0.2, linewidth=0)
                        axes.plot(np.mean(row["stopped at epoch"]), factor * row["stopped"][f"{part} {what}"]["mean"],
                                  "o", color=colour, markersize=10, markeredgecolor=INK)
            axes.set_ylim(0, (1.2, 40)[what == "error"])
            tidy(axes, "epoch", what if what == "loss" else "error in %")
            axes.set_title(f"{result['examples']} examples, λ = {result['chosen']:g}", fontsize=LARGE, color=INK)
    lines = [Line2D([], [], color=ORANGE, linewidth=3, label="no penalty"),
             Line2D([], [], color=BLUE, linewidth=3, label="penalty on outgoing columns"),
             Line2D([], [], color=INK, label="validation"), Line2D([], [], color=INK, linestyle=":", label="training"),
             Line2D([], [], color=INK, marker="o", linestyle="", markersize=9, label="stopped early (means)")]
    figure.legend(handles=lines, loc="outside lower center", ncols=5, fontsize=SMALL, frameon=False, labelcolor=INK)
    return figure


def cells(axes: Axes, numbers: Array, grey: Array, title: str) -> None:
    """A table of whole numbers, the ``grey`` ones on grey."""
    axes.imshow(np.where(grey, 0.85, 1.0), cmap="gray", vmin=0, vmax=1)
    for (r, s), number in np.ndenumerate(numbers):
        axes.text(s, r, f"{number:.0f}", ha="center", va="center", fontsize=10,
                  color="dimgray" if grey[r, s] else "black")
    axes.set_xticks(np.arange(-0.5, numbers.shape[1]), [])
    axes.set_yticks(np.arange(-0.5, numbers.shape[0]), [])
    axes.grid(color="silver", linewidth=0.8)
    axes.tick_params(length=0)
    axes.set_title(title, fontsize=10)


def patches() -> Figure:
    """im2col of a small map: two windows and the rows that they become, and in how many windows each entry lies."""
    H, W, padding, stride = 4, 5, 1, 2
    x, options = np.arange(1.0, H * W + 1).reshape(1, H, W, 1), {"kernel": 3, "stride": stride, "padding": padding}
    columns, backward = im2col(x, **options)
    P, Q = columns.shape[1:3]
    around = np.pad(x[0, :, :, 0], padding)
    figure = Figure(figsize=(12, 3.7))
    parts = figure.subplots(1, 3, width_ratios=[7, 9, 5])
    cells(parts[0], around, around == 0, "map 4×5, padding 1 (grey), kernel 3×3, stride 2")
    rows = columns.reshape(P * Q, -1)
    cells(parts[1], rows, rows == 0, "im2col: a row for each of the 2×3 positions")
    parts[1].set_yticks(range(P * Q), [f"({p}, {q})" for p in range(P) for q in range(Q)], fontsize=9)
    parts[1].set_xticks(range(9), [f"{i},{j}" for i in range(3) for j in range(3)], fontsize=9)
    parts[1].set_xlabel("place i, j in the kernel", fontsize=9)
    parts[1].grid(False)
    cells(parts[2], backward(np.ones_like(columns))[0][0, :, :, 0], np.zeros((H, W), bool),
          "col2im of ones: windows\nthat each entry lies in")
    for (p, q), colour in (((0, 1), "tab:blue"), ((1, 2), "tab:red")):
        parts[0].add_patch(Rectangle((q * stride - 0.45, p * stride - 0.45), 2.9, 2.9, fill=False, edgecolor=colour,
                                     linewidth=2.5))
        parts[1].add_patch(Rectangle((-0.45, p * Q + q - 0.42), 8.9, 0.84, fill=False, edgecolor=colour, linewidth=2.5))
    figure.subplots_adjust(0.01, 0.1, 0.99, 0.88, 0.12)
    return figure


PICTURES: dict[str, Callable[..., Figure]] = {"main-job": main_job, "lenet300": lenet300, "lenet5": lenet5,
                                              "post-training": post_training, "overfitting": overfitting,
                                              "patches": patches, "first-screen": first_screen}

if __name__ == "__main__":
    PICTURES[sys.argv[1]](*map(Path, sys.argv[2:-1])).savefig(sys.argv[-1], dpi=110)
