"""The picture of an experiment: test error against multiply-accumulates, all methods and what others report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from npkd.experiments.published import PUBLISHED
from npkd.experiments.tables import Row
from npkd.figures import BLUE, GREEN, GREY, INK, ORANGE, PINK, SMALL, canvas, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SURENESS = {"read": GREY, "recomputed": ORANGE, "recalled": PINK}
"""Colours of published points by how sure they are."""


def pareto(comparison: Sequence[Row], records: Sequence[Row]) -> Figure:
    """Rows of the comparison and of the records as ``npkd.experiments.tables`` makes them -> the picture.

    Means over seeds, bars of one deviation; rings are networks that read all inputs. Methods far above 4 % are left out and named below.
    """
    figure = canvas("LeNet-300-100 on MNIST", 5.2)
    axes = figure.add_subplot()
    for sureness, colour in SURENESS.items():
        points = [p for p in PUBLISHED if p.sureness == sureness]
        axes.scatter([p.macs for p in points], [p.test_error for p in points], s=34, marker="s", color=colour, zorder=2,
                     facecolors=[colour if p.inputs_removed else "white" for p in points],
                     label=f"published, {sureness} (single runs, no augmentation)")
    others = [row for row in comparison if row["method"] != "ours" and 100 * row["test_error"]["mean"] <= 4]
    axes.scatter([row["macs"]["mean"] for row in others], [100 * row["test_error"]["mean"] for row in others], s=16, color=GREEN, alpha=0.7,
                 zorder=3, label="other methods, 60 epochs")
    mine = [row for row in comparison if row["method"] == "ours"]
    for rows, colour, words in ((mine, "#56B4E9", "ours, 60 epochs"), (records, BLUE, "ours, records")):
        for like in (False, True):
            some = [row for row in rows if (row.get("teacher") == "plain") == like]
            if some:
                axes.errorbar([row["macs"]["mean"] for row in some], [100 * row["test_error"]["mean"] for row in some],
                              yerr=[100 * (row["test_error"]["deviation"] or 0) for row in some], fmt="v" if like else "o", color=colour,
                              markersize=7, capsize=3, linestyle="none", zorder=4,
                              label=words + (", like for like" if like else ", pictures moved by a pixel"))
    left_out = len([row for row in comparison if row["method"] != "ours"]) - len(others)
    tidy(axes, "multiply-accumulates" + (f"   ({left_out} points above 4 % are left out)" if left_out else ""), "test error in %")
    axes.set_xscale("log")
    axes.set_ylim(0.8, 4)
    axes.legend(fontsize=SMALL - 2, frameon=False, labelcolor=INK)
    return figure
