"""The way of a run from the large network to the small one, stage by stage: what the curve and the slider show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from npkd.report.numbers import chain, number, percent, power

WORDS = {"macs": "multiply-accumulates", "parameters": "parameters", "bytes": "bytes", "neurons": "inputs and neurons"}
"""What a size counts."""
History = Sequence[Mapping[str, Any]]
"""Lines of history.jsonl."""


@dataclass(frozen=True)
class Stage:
    """A network on the way: its name, and the kind of its point in the curve, in words.

    size    what the target counts;   error  on the validation part;   widths  of the neurons that are read, and outputs
    kept    of each dependency group, inputs first, the first numbers of the neurons that stay: "0–2, 5"
    What is not known is None; without size and error it is no point of the curve.
    """

    name: str
    kind: str
    size: float | None
    error: float | None
    widths: Sequence[int] = ()
    kept: Sequence[str] | None = None

    def words(self, summary: Mapping[str, Any]) -> str:
        """All of it in one line, as the curve and the slider say it."""
        size = "" if self.size is None else f"{number(round(self.size))} {WORDS[unit_of(summary)]}"
        value = "" if self.error is None else f"{self.error:.4f}" if "outputs" in summary else percent(self.error, 2)
        parts = chain(self.widths), size, f"validation {error_of(summary)} {value}" if value else ""
        return f"{self.name}: {', '.join(filter(None, parts))}"


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
    (large, *_, small), unit, found = sides(summary), unit_of(summary), list[Stage]()
    steps, rounds = [step for step in summary.get("steps", ()) if unit in step], summary.get("rounds") or [{}]
    if "sparse" in summary:
        large, final = "dense", summary["sparse"].get("kept")
        for line in (line for line in history if "lambda" in line):
            last = "the last λ" if line["lambda"] == summary["sparse"]["lambda"] else "another last λ"
            found.append(Stage(f"{line['stage']}, epoch {line['epoch']}, λ {power(line['lambda'])}",
                               last if line["stage"].startswith("last") else "λ moves", line["size"],
                               line["validation_error"], [*line["alive"], summary[small]["widths"][-1]],
                               line.get("kept")))
    else:
        ends, final = [None], rounds[-1].get("kept")
        for line in history:                                  # 0: the teacher's, then those of the rounds
            ends = [*ends[:-1], line["validation_error"]] if "loss" in line else [*ends, None]
        found += [Stage(f"round {k}", "rounds", None if steps else r["size"], ends[k] if k < len(ends) else None,
                        r["widths"], r.get("kept")) for k, r in enumerate(rounds[:-1], 1)]
    found += [Stage(f"step {step['step']}", "steps", step[unit], step["error"]) for step in steps[:-1]]
    whole = [f"0–{width - 1}" if width > 1 else "0" for width in summary[large]["widths"][:-1]]
    return [judged(summary, large, whole, {}), *found, judged(summary, small, final, steps[-1] if steps else {})]


def judged(summary: Mapping[str, Any], name: str, kept: Sequence[str] | None, step: Mapping[str, Any]) -> Stage:
    """A network that the summary judges, as a stage; behind the last ``step`` of a chain as that counts and judges."""
    unit, m = unit_of(summary), summary[name]
    of_file = {"bytes": summary["costs"][name]["raw"]} if name in summary.get("costs", ()) else {}
    size = sum(m["widths"][:-1]) if unit == "neurons" else ({**m, **of_file, **step})[unit]
    words = sides(summary).get(name, name)
    return Stage(words, words, size, step.get("error", m.get("validation_error")), m["widths"], kept)
