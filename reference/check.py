"""What ``npkd check`` does: every public op, loss and penalty, held against its definition, in one table.

A catalogue (tests/catalogue.py) lists cases; reference/ holds the definitions under the same names. By reflection
everything public must have both: what lacks one is a row that fails. Method and tolerances: docs/evidence.md.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import math
import pkgutil
import re
import runpy
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from npkd import gradcheck
from npkd.core.progress import NoProgress, Progress, shown
from npkd.core.proximal_law import LAW
from npkd.core.types import Array, Backward
from npkd.nn.ops import OPS

ROOMS: Mapping[str, tuple[str, ...]] = {
    "op": ("npkd.nn",), "loss": ("npkd.nn", "npkd.distillation"), "penalty": ("npkd.sparsity",),
}
"""Where the public things of each kind live."""

VALUE, DIFFERENCES = 1e-12, 1e-7
"""Largest relative error of a value against its definition, of a gradient against differences."""


@dataclass(frozen=True)
class Wrong:
    """Arguments that must be refused by an InputError whose sentence contains every one of ``words``.

    A penalty is constructed with the options and, if there are arguments, its prox is called with them.
    """

    arguments: tuple[Any, ...]
    words: tuple[str, ...]
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """One entry of the catalogue.

    name        unique; begins with the name of what it is about
    what        an op, a loss, or the class of a penalty
    arguments   float64 arrays away from kinks; loss: prediction (or a tuple of arrays), target, trained parts; penalty:
                (v,), the point of the proximal step
    options     keyword arguments; of a penalty, those of its constructor
    kinks       arguments on kinks
    wrong       arguments that must be refused
    linear      is the op affine in its first argument?
    unread      names of arguments on which the value does not depend: twice zero is zero, so of their gradients only an
                entry that is not zero can be noticed
    steps       penalty: steps of the proximal step, numbers or arrays of the shape of v
    zeros       penalty: does the proximal step make entries of these v exactly zero?
    convex      penalty: judged by the law of a convex one, else by a search
    """

    name: str
    what: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    kinks: tuple[tuple[Any, ...], ...] = ()
    wrong: tuple[Wrong, ...] = ()
    linear: bool = False
    unread: tuple[str, ...] = ()
    steps: tuple[float | Array, ...] = ()
    zeros: bool = False
    convex: bool = True


@dataclass(frozen=True)
class Row:
    """A line of the table: the largest relative error, how many of the spoiled results were caught, and what else is
    wrong."""

    name: str
    kind: str
    error: float
    tolerance: float
    caught: int
    spoiled: int
    note: str = ""

    @property
    def passed(self) -> bool:
        """Within the tolerance, everything spoiled was caught (and something was spoiled), nothing else is wrong."""
        return self.error <= self.tolerance and self.caught == self.spoiled > 0 and not self.note


def kind_of(thing: object) -> str | None:
    """"op" (what a network may be made of, or what returns as an op does), "loss" or "penalty"; None for everything
    else."""
    if inspect.isclass(thing):
        return (
            "penalty" if dataclasses.is_dataclass(thing) and hasattr(thing, "value") and hasattr(thing, "prox")
            else None
        )
    if not inspect.isfunction(thing):
        return None
    result = typing.get_type_hints(thing).get("return")
    if result == tuple[Array, Backward] or thing in [op.function for op in OPS.values()]:
        return "op"
    parts = typing.get_args(result) if typing.get_origin(result) is tuple else ()
    return "loss" if parts[:1] == (float,) and parts[1:2] in [(Array,), (tuple[Array, ...],)] else None


def public() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every public op, loss and penalty of npkd with its kind, each where it is defined."""
    for package in sorted({p for packages in ROOMS.values() for p in packages}):
        for found in pkgutil.iter_modules(importlib.import_module(package).__path__, package + "."):
            module = importlib.import_module(found.name)
            for name, thing in vars(module).items():
                if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__:
                    kind = kind_of(thing)
                    if kind and package in ROOMS[kind]:
                        yield kind, thing


def definition_of(what: Callable[..., Any]) -> Callable[..., Any] | None:
    """The namesake in reference/definitions/, or None.

    npkd.nn.layers.dense -> reference.definitions.nn.layers.dense, NeuronGroups -> neuron_groups.
    """
    name = what.__module__.replace("npkd.", "reference.definitions.", 1)
    snake = re.sub(r"(?<!^)(?=[A-Z][a-z])|(?<=[a-z0-9])(?=[A-Z])", "_", what.__name__).lower()
    try:
        return getattr(importlib.import_module(name), snake, None)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def check_penalty(case: Case, definition: Callable[..., float]) -> Row:
    """A penalty by the law of its proximal step, with the value of the definition; then with spoiled proximal steps."""
    penalty, v = case.what(**case.options), case.arguments[0]
    report = gradcheck.check_penalty(penalty, v, *case.steps, definition=lambda u: definition(u, **case.options),
                                     tolerance=LAW, convex=case.convex)
    notes = list[str]()
    for step in case.steps:
        p, single = (
            penalty.prox(v, step), penalty.prox(v.astype(np.float32), np.float32(step) if np.ndim(step) else step)
        )
        if case.zeros and (p != 0).all():
            notes.append("no exact zeros")
        if np.signbit(p[p == 0]).any():
            notes.append("gives −0.0")
        if single.dtype != np.float32 or p.dtype != np.float64:
            notes.append("does not keep the dtype")
    return row_of(case, "penalty", report, report.errors["prox"], notes)


def row_of(case: Case, kind: str, report: gradcheck.Report, error: float, notes: Sequence[str]) -> Row:
    """The row of a report. What was spoiled without effect proves nothing: the case has to have other arguments."""
    wrong = [] if report.value <= VALUE else [f"value differs from the definition by {report.value:.1e}"]
    zero = tuple(f"gradient of {name} " for name in case.unread)
    notes = [*report.faults, *wrong, *notes,
             *(f"{what}: no effect" for what in report.unchanged if not what.startswith(zero))]
    caught, spoiled = sum(report.spoiled.values()), len(report.spoiled)
    return Row(case.name, kind, error, report.tolerance, caught, spoiled, "; ".join(dict.fromkeys(notes)))


def check_case(case: Case) -> Row:
    """One row of the table."""
    kind, definition = kind_of(case.what), definition_of(case.what)
    if kind is None or definition is None:
        why = "is no op, loss or penalty" if kind is None else f"no definition in reference/ for {case.what.__module__}"
        return Row(case.name, kind or "?", math.nan, math.nan, 0, 0, why)
    if kind == "penalty":
        return check_penalty(case, definition)
    checker = gradcheck.check if kind == "op" else gradcheck.check_loss
    report = checker(case.what, *case.arguments, definition=definition, options=case.options, tolerance=DIFFERENCES)
    notes = list[str]()
    for arguments in case.kinks:
        if not gradcheck.check_kink(case.what, *arguments, definition=definition, options=case.options).ok:
            notes.append("slope on a kink is not between the one-sided differences")
    return row_of(case, kind, report, report.worst, notes)


def uncovered(cases: Sequence[Case]) -> list[Row]:
    """A failing row for everything public that no case is about."""
    covered = [case.what for case in cases]
    return [Row(what.__name__, kind, math.nan, math.nan, 0, 0, "no case in tests/catalogue.py")
            for kind, what in public() if what not in covered]


def run(cases: Sequence[Case], progress: Progress | None = None) -> list[Row]:
    """A row for each case, and one for everything public that no case is about."""
    rows, progress = list[Row](), progress or NoProgress()
    progress.begin("checks", len(cases))
    for case in cases:
        rows.append(check_case(case))
        progress.step(f"{rows[-1].kind} {case.name}")
    return rows + uncovered(cases)


def table(rows: Sequence[Row]) -> str:
    """The rows as a text that a person reads."""
    width = max(len(row.name) for row in rows)
    lines = [f"{'':{width}}  kind     largest relative error  tolerance  spoiled: caught"]
    for row in rows:
        numbers = f"{row.error:22.1e}  {row.tolerance:9.0e}  {row.caught:7} of {row.spoiled:<4}"
        lines.append(f"{row.name:{width}}  {row.kind:7}  {numbers}  {'PASS' if row.passed else 'FAIL'}  "
                     f"{row.note}".rstrip())
    failed = sum(not row.passed for row in rows)
    caught, spoiled = sum(row.caught for row in rows), sum(row.spoiled for row in rows)
    worst = max((row.error for row in rows if not math.isnan(row.error)), default=math.nan)
    lines.append(f"{len(rows)} checks, {failed} failed; largest relative error {worst:.1e}; "
                 f"{caught} of {spoiled} spoiled results caught")
    return "\n".join(lines)


def load(root: Path) -> list[Case]:
    """The catalogue of a checkout."""
    cases: list[Case] = runpy.run_path(str(root / "tests" / "catalogue.py"))["CASES"]
    return cases


def main(root: Path, as_json: bool = False, quiet: bool = False) -> int:
    """Print the table of a checkout and return the exit code: 0 where everything passed, else 1."""
    with shown(not quiet) as progress:
        progress.begin("reading the catalogue", 1)
        cases = load(root)
        progress.step(f"{len(cases)} cases")
        rows = run(cases, progress)
    lines = [{name: None if value != value else value for name, value in dataclasses.asdict(row).items()}   # no NaN
             | {"passed": row.passed} for row in rows]
    print(json.dumps(lines, indent=2) if as_json else table(rows))
    return 0 if all(row.passed for row in rows) else 1
