"""Checks by finite differences: is a backward pass the derivative of its forward pass? Would a wrong one be noticed?

    >>> import numpy as np
    >>> from npkd import gradcheck
    >>> def cube(x):
    ...     return x ** 3, lambda dy: (3 * x ** 2 * dy,)
    >>> gradcheck.check(cube, np.array([[1.0, -2.0], [0.5, 3.0]])).ok
    True

``check`` is for ops, ``check_loss`` for losses, ``check_penalty`` for penalties, ``check_kink`` for ops where they have
no derivative. The whole Jacobian is compared, in float64: give small arrays. Method: docs/evidence.md.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from npkd.core.bound_op import BoundOp, names_of
from npkd.core.derivatives import RESOLUTION, jacobian, mixture, precision, relative_error, rounding_noise
from npkd.core.proximal_law import LAW, candidates, excess, searched, violation
from npkd.core.types import Array, Backward
from npkd.core.validation import InputError, described, floats, positive, stepped


@dataclass(frozen=True)
class Report:
    """Result of a check.

    who         name of the op
    errors      {argument: largest relative error of its gradient}: max |returned − differences| / max |differences|,
                both maxima over the argument's whole Jacobian; where the derivative is zero see ``relative_error``
    value       the same for the op's value against the definition (0 where the op is its own definition)
    tolerance   the largest error that is ok
    spoiled     {what was spoiled: was it noticed}: the same comparison with one returned gradient spoiled on purpose
    unchanged   spoilings that changed nothing (zero doubled is zero) and so prove nothing
    faults      sentences: where an error above the tolerance is largest, with both numbers; arrays that were changed
    """

    who: str
    errors: Mapping[str, float]
    value: float
    tolerance: float
    spoiled: Mapping[str, bool] = field(default_factory=dict)
    unchanged: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def worst(self) -> float:
        """The largest of the errors, NaN if one of them is NaN."""
        return float(np.max([self.value, *self.errors.values()]))

    @property
    def spoiled_caught(self) -> bool:
        """Was every spoiled gradient noticed? If not, the check has no power at these arguments: choose others."""
        return all(self.spoiled.values())

    @property
    def ok(self) -> bool:
        """Are all errors within the tolerance, was every spoiled gradient noticed, and no array changed?"""
        return self.worst <= self.tolerance and self.spoiled_caught and not self.faults

    def __str__(self) -> str:
        errors = ", ".join(f"{name} {error:.1e}" for name, error in [*self.errors.items(), ("value", self.value)])
        missed = [f"NOT noticed: {what}" for what, caught in self.spoiled.items() if not caught]
        more = "".join(f"; {text}" for text in [*self.faults, *missed])
        verdict = "ok" if self.ok else "WRONG"
        return f"{self.who}: {verdict}: relative errors {errors} (at most {self.tolerance:.0e}){more}"


def spoilings(rows: Array, part: float, offset: float) -> dict[str, Array]:
    """Arrays (rows, ...) spoiled row by row, to see whether a comparison notices; square matrices transposed."""
    flat = rows.reshape(len(rows), -1)
    largest = np.arange(flat.shape[1]) == np.abs(flat).argmax(axis=1)[:, None]
    spoiled = {f"times 1 + {part:g}": rows * (1 + part),
               "largest entry zeroed": np.where(largest, 0, flat).reshape(rows.shape),
               f"one entry plus {offset:.0e}": (flat + offset * largest).reshape(rows.shape)}
    if rows.ndim == 3 and rows.shape[1] == rows.shape[2] > 1:
        spoiled["transposed"] = rows.transpose(0, 2, 1)
    return spoiled


def check(op: Callable[..., tuple[Array, Backward]], *arguments: Array, definition: Callable[..., Any] | None = None,
          options: Mapping[str, Any] | None = None, tolerance: float = 1e-7) -> Report:
    """Compare a backward pass with differences of its definition, then spoil each gradient: is that noticed?

    op            ``y, backward = op(*arguments, **options)``, ``backward(dy)`` a tuple, a gradient for each argument
    arguments     float arrays, small and away from kinks
    definition    ``y = definition(*arguments, **options)``; the op's own forward pass unless told
    options       static options of the op: ``options={"pieces": 2}``
    tolerance     largest relative error; above 1e-7 where the op computes in float32
    Raises InputError for what does not have the form of an op.
    """
    positive("gradcheck", "tolerance", tolerance)
    bound = BoundOp(op, arguments, definition, options)
    noise = rounding_noise(bound.value, bound.arguments)
    value = relative_error(bound.y, bound.value(*bound.arguments), float(noise.max(initial=0)))
    errors, spoiled = dict[str, float](), dict[str, bool]()
    faults, unchanged, mixed = list[str](), list[str](), mixture(bound.y.size)
    for k, (name, rows) in enumerate(zip(bound.names, bound.gradients(), strict=True)):
        columns, doubts = jacobian(bound.value, bound.arguments, k, noise)
        expected = np.vstack([columns, mixed @ columns])
        doubt = float(np.vstack([doubts, np.abs(mixed) @ doubts]).max(initial=0))
        size, expected = float(np.abs(expected).max(initial=0)), expected.reshape(rows.shape)
        errors[name] = relative_error(rows, expected, doubt)
        if not errors[name] <= tolerance:
            worst = int(np.nan_to_num(np.abs(rows - expected), nan=np.inf).argmax())
            faults.append(f"{bound.entry(k, worst)}: backward {rows.flat[worst]:.9g}, differences "
                          f"{expected.flat[worst]:.9g} ± {doubt:.0e}")
        zero, part = size <= RESOLUTION * doubt, max(1e-5, 100 * tolerance)
        for what, bad in spoilings(rows, part, (100 * doubt or 1.0) if zero else part * size).items():
            if np.abs(bad - rows).max(initial=0) <= (2 * RESOLUTION * doubt if zero else tolerance * size):
                unchanged.append(f"gradient of {name} {what}")
            else:
                spoiled[f"gradient of {name} {what}"] = not relative_error(bad, expected, doubt) <= tolerance
    return Report(bound.who, errors, value, tolerance, spoiled, tuple(unchanged), (*faults, *bound.faults))


def check_loss(loss: Callable[..., Any], prediction: Array | tuple[Array, ...], target: Any, *parts: Array,
               definition: Callable[..., float] | None = None, options: Mapping[str, Any] | None = None,
               tolerance: float = 1e-7) -> Report:
    """The same for a loss: ``value, d_prediction, *d_parts = loss(prediction, target, *parts, **options)``.

    prediction    an array, or a tuple of arrays; d_prediction is then a tuple too.   target  is not differentiated
    parts         trained arrays of the loss, if it has some; what it returns behind their gradients is not looked at
    A sum over the examples with the gradient of that sum is as right here as a mean with that of the mean.
    Raises InputError where the loss does not return a number and an array shaped as the prediction.
    """
    who, before = getattr(loss, "__name__", type(loss).__name__), copy.deepcopy(target)
    several = isinstance(prediction, tuple)
    predictions = prediction if isinstance(prediction, tuple) else (prediction,)

    def rebuilt(arrays: tuple[Array, ...]) -> tuple[Any, ...]:
        first, rest = arrays[:len(predictions)], arrays[len(predictions):]
        return (first if several else first[0], target, *rest)

    def op(*arrays: Array, **options: Any) -> tuple[Array, Backward]:
        returned = loss(*rebuilt(arrays), **options)
        if not isinstance(returned, tuple) or len(returned) < 2 + len(parts) or np.ndim(returned[0]) or np.asarray(
                returned[0]).dtype.kind not in "fiu" or (several and not isinstance(returned[1], tuple)):
            need = f"a tuple of {len(predictions)} arrays" if several else "an array"
            need += f", and {len(parts)} for the parts" if parts else ""
            raise InputError(f"gradcheck: {who} returned {described(returned)}; it must be a number and {need}")
        gradients = (*(returned[1] if several else returned[1:2]), *returned[2:2 + len(parts)])
        return np.asarray(returned[0], np.float64), lambda dy: tuple(
            dy * d if isinstance(d, np.ndarray) else d for d in gradients)

    def value_alone(*arrays: Array, **options: Any) -> float:
        value = definition or (lambda *arguments, **options: loss(*arguments, **options)[0])
        return float(value(*rebuilt(arrays), **options))

    name, _, *others = names_of(loss, 2 + len(parts))
    names = [f"{name}[{i}]" for i in range(len(predictions))] if several else [name]
    op.__name__, op.names = who, (*names, *others)  # type: ignore[attr-defined]  # what names_of reads
    report = check(op, *predictions, *parts, definition=value_alone, options=options, tolerance=tolerance)
    return report if same(before, target) else replace(report, faults=(*report.faults, "changes its target"))


def same(one: Any, other: Any) -> bool:
    """Are two arrays, or tuples of arrays, equal entry by entry?"""
    if isinstance(one, tuple):
        return all(map(same, one, other))
    return bool(np.array_equal(one, other))


def check_kink(op: Callable[..., tuple[Array, Backward]], *arguments: Array,
               definition: Callable[..., Any] | None = None, options: Mapping[str, Any] | None = None,
               tolerance: float = 1e-6) -> Report:
    """On a kink, does the slope lie between the one-sided differences: along each entry, all at once, and a mixture?

    For ops whose values are each convex or concave near the arguments, as a maximum is. The errors of the Report say
    how far outside a slope is, relative to the largest one-sided difference (see ``relative_error`` where all are 0).
    """
    positive("gradcheck", "tolerance", tolerance)
    bound = BoundOp(op, arguments, definition, options)
    values, errors = bound.arguments, dict[str, float]()
    middle = bound.value(*values).reshape(-1)
    for k, (name, rows) in enumerate(zip(bound.names, bound.gradients(), strict=True)):
        n, step = values[k].size, 2.0 ** -14 * (float(np.abs(values[k]).max(initial=0)) or 1.0)
        outside, sides = list[Array](), list[Array]()
        for direction in np.vstack([np.eye(n), np.ones((1, n)), mixture(n)]):
            def side(h: float, k: int = k, direction: Array = direction) -> Array:
                moved = [*values[:k], values[k] + h * direction.reshape(values[k].shape), *values[k + 1:]]
                return np.asarray((bound.value(*moved).reshape(-1) - middle) / h)

            sides += [2 * side(h / 2) - side(h) for h in (-step, step)]
            slope = rows[:-1].reshape(middle.size, n) @ direction
            outside.append(slope - np.clip(slope, np.minimum(*sides[-2:]), np.maximum(*sides[-2:])))
        scale = np.abs(sides).max(initial=0)
        rounding = 8 * float(precision(middle) * np.abs(middle).max(initial=0)) / step
        errors[name] = relative_error(scale + np.stack(outside), np.full((n + 2, middle.size), scale), rounding)
    return Report(bound.who, errors, relative_error(bound.y.reshape(-1), middle), tolerance, faults=tuple(bound.faults))


def check_penalty(penalty: Any, v: Array, *steps: float | Array, definition: Callable[[Array], float] | None = None,
                  tolerance: float = LAW, convex: bool = True) -> Report:
    """Judge a convex penalty by the law of its proximal step, then spoil that step: is it noticed? A penalty that is
    not convex breaks that law even where its step is exact; with ``convex=False`` a search looks for a better one.

    penalty       has ``value(w)``, a number, and ``prox(v, step)``, an array of the shape of v; λ is part of it
    v             float array, small (not convex: at most 10 entries, or the search is one of random sets of them)
    steps         numbers, or arrays of the shape of v, at least one
    definition    ``value = definition(w)``; the penalty's own value unless told
    Raises InputError for what does not have that form.
    """
    who = type(penalty).__name__
    if not steps:
        raise InputError(f"gradcheck: {who} got no steps; it needs at least one step")
    floats(f"gradcheck: {who}", v=v)
    v, faults, judge = np.array(v, np.float64), dict[str, None](), violation if convex else excess
    error, off, spoiled, unchanged = 0.0, 0.0, dict[str, bool](), list[str]()
    offset = 1e-3 * (float(np.abs(v).max(initial=0)) or 1.0)
    for i, step in enumerate(steps):
        shown, shown_step = v.copy(), copy.deepcopy(step)
        p, value = stepped(f"gradcheck: {who}", penalty, shown, shown_step), definition or penalty.value
        if not (np.array_equal(shown, v, equal_nan=True) and np.array_equal(shown_step, step)):
            faults["changes its arguments"] = None
        points = [*candidates(value, penalty.prox, step, p, v), *(() if convex else [p, *searched(value, step, v)])]
        error = float(np.maximum(error, judge(value, points, p, v, step)))
        for what, bad in spoilings(p[None], max(1e-5, 100 * tolerance), offset).items():
            if np.array_equal(bad[0], p):
                unchanged.append(f"prox {i} {what}")
            else:
                spoiled[f"prox {i} {what}"] = not judge(value, points, bad[0], v, step) <= tolerance
        pairs = [(penalty.value(u), value(u)) for u in (v, p, *points)]
        off = float(np.max([off, *(0.0 if a == b else relative_error(np.array(a), np.array(b)) for a, b in pairs)]))
    if not error <= tolerance:
        faults["prox breaks the law of a convex penalty (of one that is not convex this check says nothing: give "
               "convex=False)" if convex else "prox is not the global minimum: a search finds a smaller one"] = None
    return Report(who, {"prox": error}, off, tolerance, spoiled, tuple(unchanged), tuple(faults))
