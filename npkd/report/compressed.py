"""The report of a compression that was done in Python; and what it has in common with that of the command line."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from npkd.core.files import NewPath, write_text
from npkd.core.validation import InputError
from npkd.nn import cost
from npkd.nn.model import Model
from npkd.pipeline.cost_card import counts
from npkd.pipeline.result import CompressionResult, layers_of
from npkd.report import figures, page
from npkd.surgery.removal import Removal
from npkd.surgery.survivors import ranges, survivors
from npkd.surgery.widths import widths_of


def write_report(path: NewPath, result: CompressionResult, *, data: str = "your data", overwrite: bool = False) -> None:
    """Write one page of HTML about a compression, with figures, that needs nothing beside it.

    result      of ``npkd.compress``: errors are of the examples that it held out
    data        what the page calls the examples;   overwrite  replace the file where there is one
    Raises InputError for another result, where there is a file, unless it is to be replaced, and without matplotlib.
    """
    if not isinstance(result, CompressionResult):
        raise InputError(f"write_report: got {type(result).__name__}; it must be what npkd.compress gives")
    if os.path.lexists(path) and not overwrite:
        raise InputError(f"write_report: {path} is there already; give another name, or overwrite=True")
    sides = {"teacher": (result.teacher, result.teacher_error), "student": (result.student, result.student_error)}
    reads = figures.inputs_of(result.student, result.teacher.widths[0])
    more = {"outputs": result.student.widths[-1]} if result.regression else {}
    summary = numbers_of(result) | more | {
        "data": data, "command": f"npkd.compress(teacher, x, {result.target_words!r})", "recipe": {},
        "kept_inputs": ranges(reads.tolist()) if len(reads) < result.teacher.widths[0] else None,
        "costs": {"teacher": asdict(counts(Model(result.teacher, result.scaling))),
                  "student": asdict(counts(result.model()))},
        **{name: {"widths": widths_of(network), **asdict(cost.of(network)),
                  **({"validation_error": error} if result.labelled else {}),
                  **({"rmse": None} if result.regression else {})} for name, (network, error) in sides.items()}}
    pictures = {"path": figures.png(figures.path(result.rounds[-1].layers))} if result.rounds else {}
    write_text(Path(path), page.html(summary, pictures, (), figures.curve((), summary)))


def numbers_of(result: CompressionResult) -> dict[str, Any]:
    """What a summary says of the compression itself: target, layers, steps, rounds, and what was removed."""
    teacher, student = widths_of(result.teacher), widths_of(result.student)
    target, words = result.target, result.target_words
    kept = survivors(teacher[:-1], [r.removals for r in result.rounds])
    return {
        "target": target and {"words": words, "kind": target.kind, "bound": target.bound,
                              **({"measure": target.measure or "r2"} if result.regression else {})},
        "agreement": result.agreement,
        "layers": [layer | {"kept": kept, "of": of} for layer, kept, of in zip(
            layers_of(result.rounds), student, teacher, strict=False)],
        "steps": [asdict(step) for step in result.steps],
        "removal_difference": result.difference,
        "removal_difference_float64": max((r.difference64 for r in result.rounds), default=0.0),
        "removal_difference_float64_is_of": "both networks with their float32 parameters widened to float64",
        "removals": removals([each for r in result.rounds for each in r.removals], len(teacher) - 1),
        "rounds": [{"widths": widths_of(r.student), "budget": budget, "kept": left,
                    "size": (target.size if target else sum)(widths_of(r.student))}
                   for r, budget, left in zip(result.rounds, result.budgets, kept, strict=False)]}


def removals(removed: Sequence[Removal], dependency_groups: int) -> list[dict[str, int]]:
    """For each dependency group, inputs first, how many neurons were cut out for which reason."""
    found = Counter((each.group, each.reason) for each in removed if each.position is None)
    return [{why: found[k, why] for why in ("dead", "constant", "duplicate")} for k in range(dependency_groups)]
