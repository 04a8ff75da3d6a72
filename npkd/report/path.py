"""The way of a run from the large network to the small one, stage by stage: what the curve and the slider show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from npkd.report.numbers import chain, number, percent

WORDS = {"macs": "multiply-accumulates", "parameters": "parameters", "bytes": "bytes", "neurons": "inputs and neurons"}
"""What a size counts."""
History = Sequence[Mapping[str, Any]]
"""Lines of history.jsonl."""


@dataclass(frozen=True)
class Stage:
    """A network on the way.

    name    "teacher", "round 2", "λ rises, epoch 3";   kind  of its point in the curve, in words
    widths  of the neurons that are read, outputs last; None where only the size is known
    size    what the target counts, None: no point of the curve;   error  on the validation part, None: not known
    kept    of each dependency group, inputs first, the numbers that neurons which stay had at first: "0–2, 5"; None:
            not known
    """

    name: str
    kind: str
    widths: Sequence[int] | None
    size: float | None
    error: float | None
    kept: Sequence[str] | None = None

    def words(self, summary: Mapping[str, Any]) -> str:
        """All of it in one line, as the curve and the slider say it."""
        parts = [] if self.widths is None else [chain(self.widths)]
        if self.size is not None:
            parts.append(f"{number(round(self.size))} {WORDS[unit_of(summary)]}")
        if self.error is not None:
            value = f"{self.error:.4f}" if "outputs" in summary else percent(self.error, 2)
            parts.append(f"validation {error_of(summary)} {value}")
        return f"{self.name}: {', '.join(parts)}"


def group(k: int) -> str:
    """What the neurons between dense layers k and k + 1 are called."""
    return f"hidden {k}" if k else "inputs"


def sides(summary: Mapping[str, Any]) -> dict[str, str]:
    """The networks of a summary side by side, the delivered one last: their keys, and what they are called."""
    trained = {"dense": "dense", "model": "sparse"} if "sparse" in summary else {"model": "network"}
    return {"teacher": "teacher", "student": "student"} if "teacher" in summary else trained


def error_of(summary: Mapping[str, Any]) -> str:
    """What is drawn of an error."""
    return "1 − R²" if "outputs" in summary else "error"


def unit_of(summary: Mapping[str, Any]) -> str:
    """What sizes count: that of the target, or multiply-accumulates."""
    kind = (summary.get("target") or {"kind": ""})["kind"]
    return kind if kind in WORDS else "macs"


def path_of(history: History, summary: Mapping[str, Any]) -> list[Stage]:
    """The networks from the first to the delivered one, of a compression or a sparse training; none of other runs.

    Rounds are as the last epoch of their distillation leaves them; of a penalty every epoch is a stage. A chain's steps
    are points of the curve, its rounds are not: they are counted in another way.
    """
    if "rounds" not in summary and "sparse" not in summary:
        return []
    large, small = sides(summary)
    steps = [step for step in summary.get("steps", ()) if unit_of(summary) in step]
    first = "dense" if "sparse" in summary else large
    found = [network(summary, first, [f"0–{w - 1}" if w > 1 else "0" for w in summary[first]["widths"][:-1]])]
    if "sparse" in summary:
        last, final = summary["sparse"]["lambda"], summary["sparse"].get("kept")
        for line in (line for line in history if "lambda" in line):
            kind = "λ moves" if not line["stage"].startswith("last") else (
                "the last λ" if line["lambda"] == last else "another last λ")
            name = f"{line['stage']}, epoch {line['epoch']}, λ {line['lambda']:.3g}"
            found.append(Stage(name, kind, [*line["alive"], summary[small]["widths"][-1]], line["size"],
                               line["validation_error"], line.get("kept")))
    else:
        ends, final = [math.nan], (summary["rounds"] or [{}])[-1].get("kept")
        for line in history:                                  # 0: the teacher's, then those of the rounds
            ends = [*ends[:-1], line["validation_error"]] if "loss" in line else [*ends, math.nan]
        for k, r in enumerate(summary["rounds"][:-1], 1):
            error = ends[k] if k < len(ends) and not math.isnan(ends[k]) else None
            found.append(Stage(f"round {k}", "rounds", r["widths"], None if steps else r["size"], error, r.get("kept")))
    found += [Stage(f"step {step['step']}", "steps", None, step[unit_of(summary)], step["error"])
              for step in steps[:-1]]
    return [*found, network(summary, small, final, steps[-1] if steps else {})]


def network(summary: Mapping[str, Any], name: str, kept: Sequence[str] | None, step: Mapping[str, Any] = {}) -> Stage:
    """A network that the summary judges, as a stage; of the last ``step`` of a chain as that counts and judges it."""
    unit, m = unit_of(summary), summary[name]
    m = m | ({"bytes": summary["costs"][name]["raw"]} if name in summary.get("costs", ()) else {})
    size = step[unit] if step else sum(m["widths"][:-1]) if unit == "neurons" else m[unit]
    words = {**sides(summary), "dense": "dense"}[name]
    return Stage(words, words, m["widths"], size, step.get("error", m.get("validation_error")), kept)
