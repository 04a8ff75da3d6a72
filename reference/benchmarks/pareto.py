"""The picture of an experiment: test error against multiply-accumulates, all methods and what others report."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from npkd.experiments.tables import Row
from npkd.report.figures import BLUE, GREEN, GREY, INK, ORANGE, PINK, SMALL, canvas, tidy
from reference.published_results import Published, published

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SURENESS = {"read": GREY, "recomputed": ORANGE, "recalled": PINK}
"""Colours of published points by how sure they are."""

DENSE = (0.8, 0.9)
"""Between what test errors in % a dense LeNet-5 is where a source gives none (recalled): for results that are told as a
rise above it."""


KINDS = {"o": "pictures moved by a pixel", "^": "moved, and taught by a LeNet-5", "v": "like for like"}
"""Markers of our runs."""


@dataclass(frozen=True)
class View:
    """What an experiment's picture shows: published rows, test errors in % from ``low`` to ``high``; ``epochs`` is what
    the methods had."""

    title: str
    published: Sequence[Published]
    low: float
    high: float
    epochs: int


PERCEPTRON = View("LeNet-300-100 on MNIST", published("lenet300"), 0.5, 4, 60)
CONVOLUTIONS = View("LeNet-5 on MNIST", published("lenet5"), 0.4, 2, 20)


def kind_of(row: Row) -> str:
    """What a row's student had to learn from, one of KINDS."""
    if row.get("teacher") == "plain":
        return KINDS["v"]
    return KINDS["^" if row.get("distil_from", row.get("tutored")) else "o"]        # "tutored": rows of version 0.1


def pareto(comparison: Sequence[Row], records: Sequence[Row], view: View = PERCEPTRON) -> Figure:
    """Rows of the comparison and of the records as ``npkd.experiments.tables`` makes them -> the picture.

    Means over seeds, bars of one deviation; white inside are networks that read all inputs. A result that is told as a
    rise above a dense network of which nothing is said is a line, for dense networks of DENSE. Methods above
    ``view.high`` % are left out and counted below.
    """
    figure = canvas(view.title, 5.2)
    axes = figure.add_subplot()
    above = [p for p in view.published if p.over_dense]
    if above:
        low, high = ([p.test_error + error for p in above] for error in DENSE)
        axes.vlines([p.macs for p in above], low, high, color=GREY, lw=4, zorder=2,
                    label=f"published, above a dense net, if that is at {DENSE[0]} to {DENSE[1]}")
    for sureness, colour in SURENESS.items():
        points = [p for p in view.published if p.sureness == sureness and not p.over_dense]
        if not points:
            continue
        axes.scatter([p.macs for p in points], [p.test_error for p in points], s=34, marker="s", color=colour, zorder=2,
                     facecolors=[colour if p.inputs_removed else "white" for p in points],
                     label=f"published, {sureness} (single runs, no augmentation)")
    others = [row for row in comparison if row["method"] != "ours" and 100 * row["test_error"]["mean"] <= view.high]
    if others:
        axes.scatter([row["macs"]["mean"] for row in others], [100 * row["test_error"]["mean"] for row in others], s=16,
                     color=GREEN, alpha=0.7, zorder=3, label=f"other methods, {view.epochs} epochs")
    mine = [row for row in comparison if row["method"] == "ours"]
    for rows, colour, words in ((mine, "#56B4E9", f"ours, {view.epochs} epochs"), (records, BLUE, "ours, records")):
        for (marker, kind), whole in itertools.product(KINDS.items(), (False, True)):
            some = [row for row in rows if kind_of(row) == kind and bool(row.get("keep_inputs")) == whole]
            if some:
                axes.errorbar([row["macs"]["mean"] for row in some], [100 * row["test_error"]["mean"] for row in some],
                              yerr=[100 * (row["test_error"]["deviation"] or 0) for row in some], fmt=marker,
                              color=colour,
                              markersize=7, capsize=3, linestyle="none", zorder=4,
                              markerfacecolor="white" if whole else colour,
                              label=f"{words}, {kind}" + ", all inputs kept" * whole)
    left_out = len([row for row in comparison if row["method"] != "ours"]) - len(others)
    tidy(axes, "multiply-accumulates"
         + (f"   ({left_out} points above {view.high} % are left out)" if left_out else ""), "test error in %")
    axes.set_xscale("log")
    axes.set_ylim(view.low, view.high)
    axes.legend(fontsize=SMALL - 2, frameon=False, labelcolor=INK)
    return figure
