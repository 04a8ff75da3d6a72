"""What the report of a sparse training has beside that of a plain one: sections of the page, and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEANING = (
    ("λ", "Weight of the penalty: the larger, the fewer neurons are read. Costs have mean 1 over all groups."),
    ("Alive", "Neurons that a later layer reads through a weight that is not zero. The others are cut out, which "
              "changes no output."),
    ("Stationarity", "How far a proximal gradient step would move all parameters, over its step size; 0 where the "
                     "objective cannot be lowered to first order. In float64, on all training examples."),
    ("Penalised, debiased", "The network at the last λ, which also shrinks what stays; the same neurons after epochs "
                            "without the penalty. The validation part says which one is delivered."),
)
"""Words of these tables and what they mean."""


def rows(summary: Mapping[str, Any], chain: Any, number: Any, percent: Any) -> list[list[str]]:
    """The numbers of each network of a sparse training: dense, penalised, debiased, and which one is delivered."""
    result = []
    for name in ("dense", "penalised", "debiased"):
        if name in summary:
            m, same = summary[name], name != "dense" and summary[name] == summary["model"]
            result.append([name + (" (delivered)" if same else ""), chain(m["widths"]), percent(m["test_error"], 2),
                           percent(m["validation_error"], 2), number(m["macs"])])
    return result


def settings(summary: Mapping[str, Any]) -> list[list[str]]:
    """What was set and what was found, in words."""
    sparse = summary["sparse"]
    strengths = ", ".join(kind if lam is None else f"{kind} {lam:g}" for kind, lam in sparse["strengths"].items())
    start, end = sparse["stationarity"]
    found = [] if None not in sparse["strengths"].values() else [["λ found", f"{sparse['lambda']:.3g}"]]
    return [["penalty on", strengths], *found, ["costs", sparse["costs"]],
            ["epochs with a penalty", f"{sparse['epochs_penalised']}, those of the search too"],
            ["stationarity at the last λ", f"{start:.2g} where it began, {end:.2g} at its end"]]


def path(history: Sequence[Mapping[str, Any]], figure: Figure, colours: Sequence[str]) -> None:
    """Validation error against size, epoch by epoch, while λ is positive; the dense network as a line, the end marked.

    history     lines of history.jsonl, of which those with a "lambda" count;   figure  where it is drawn
    colours     of the path, the dense network, the last phase
    """
    lines = [line for line in history if "lambda" in line]
    axes = figure.subplots()
    sizes, errors = np.array([[line["size"], 100 * line["validation_error"]] for line in lines]).T
    before = [line for line in history if line["stage"] == "teacher"]
    if before:
        axes.axhline(100 * before[-1]["validation_error"], color=colours[1], linewidth=2, label="dense network")
    rising = all(line["stage"] in ("path", "last λ") for line in lines)             # else λ goes up and down: no line
    axes.plot(sizes, errors, color=colours[0], linewidth=1.2 * rising, marker=".", markersize=6,
              label="an epoch with penalty")
    axes.plot(sizes[-1:], errors[-1:], "o", color=colours[0], markersize=10, markeredgecolor="#222222",
              label="end of the last λ")
    after = [line for line in history if line["stage"] == "without penalty"]
    if after:
        axes.plot(sizes[-1:], [100 * after[-1]["validation_error"]], "D", color=colours[2], markersize=9,
                  markeredgecolor="#222222", label="then without penalty")
    axes.set_xscale("log")
    axes.set_ylim(0, min(max(errors), 6 * float(np.median(errors))) * 1.05)
