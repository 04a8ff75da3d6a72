"""Checks by finite differences: is a backward pass the derivative of its forward pass, and would a wrong one be
noticed?

    >>> import numpy as np
    >>> from npkd import gradcheck
    >>> def cube(x):
    ...     return x ** 3, lambda dy: (3 * x ** 2 * dy,)
    >>> gradcheck.check(cube, np.array([[1.0, -2.0], [0.5, 3.0]])).ok
    True

``check`` is for ops, ``check_loss`` for losses, ``check_penalty`` for penalties, ``check_kink`` for ops where they have
no derivative. Everything runs in float64. The whole Jacobian is compared, one column for each entry of each argument:
give small arrays. Method: docs/8-evidence.md.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from npkd.core.types import Array, Backward
from npkd.core.validation import InputError, floats, positive
from npkd.derivatives import RESOLUTION, jacobian, mixture, precision, relative_error, rounding_noise
from npkd.proximal_law import LAW, candidates, violation

SIDE_STEP = 2.0 ** -14
"""Step of the one-sided differences at a kink, in units of the largest entry."""


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
        return (
            f"{self.who}: {'ok' if self.ok else 'WRONG'}: relative errors {errors} (at most {self.tolerance:.0e}){more}"
        )


def spoilings(rows: Array, part: float, offset: float) -> dict[str, Array]:
    """Arrays (rows, ...) spoiled row by row, to see whether a comparison notices. Square matrices alone are
    transposed."""
    flat = rows.reshape(len(rows), -1)
    largest = np.arange(flat.shape[1]) == np.abs(flat).argmax(axis=1)[:, None]
    spoiled = {f"times 1 + {part:g}": rows * (1 + part),
               "largest entry zeroed": np.where(largest, 0, flat).reshape(rows.shape),
               f"one entry plus {offset:.0e}": (flat + offset * largest).reshape(rows.shape)}
    if rows.ndim == 3 and rows.shape[1] == rows.shape[2] > 1:
        spoiled["transposed"] = rows.transpose(0, 2, 1)
    return spoiled


class Subject:
    """An op at its arguments, in float64, its options bound. What does not have the form of an op raises InputError.

    The options are copied for each call: a generator among them draws the same every time. ``faults`` collects what the
    op changed.
    """

    def __init__(
        self, op: Callable[..., Any], arguments: Sequence[Array], definition: Callable[..., Any] | None,
        options: Mapping[str, Any] | None,
    ) -> None:
        self.who = getattr(op, "__name__", type(op).__name__)
        if not arguments:
            raise InputError(f"differences: got no arguments for {self.who}; it needs at least one array")
        self.names = names_of(op, len(arguments))
        floats(f"differences: {self.who}", **{f"argument {i}": a for i, a in enumerate(arguments)})
        self.op, self.definition, self.options = op, definition, dict(options or {})
        self.arguments, self.faults = [np.array(a, np.float64) for a in arguments], dict[str, None]()
        self.shown = [a.copy() for a in self.arguments]
        self.y, self.backward = self.run(self.shown)
        self.compare("changes", self.arguments)

    def compare(self, text: str, before: Sequence[Array]) -> None:
        """Note the arguments that the op was shown and that are no longer what they were."""
        for name, old, new in zip(self.names, before, self.shown, strict=True):
            if not np.array_equal(old, new, equal_nan=True):
                self.faults[f"{text} its argument {name}"] = None

    def run(self, arguments: Sequence[Array]) -> tuple[Array, Backward]:
        """Value and backward pass."""
        pair = self.op(*arguments, **copy.deepcopy(self.options))
        if not isinstance(pair, tuple) or len(pair) != 2 or not callable(pair[1]):
            raise InputError(f"differences: {self.who} returned {described(pair)}; it must be a pair, (y, backward)")
        if not isinstance(pair[0], (np.ndarray, np.generic)) or pair[0].dtype.kind != "f":
            raise InputError(f"differences: {self.who} returned {described(pair[0])} as its value; it must be an array "
                             f"of floating-"
                             "point numbers, np.asarray(y) for a single one")
        return np.asarray(pair[0]), pair[1]

    def value(self, *arguments: Array) -> Array:
        """The value of the definition, of the op itself where there is none."""
        copies = [a.copy() for a in arguments]
        if self.definition is None:
            return self.run(copies)[0]
        y = np.asarray(self.definition(*copies, **copy.deepcopy(self.options)))
        if y.shape != self.y.shape:
            raise InputError(f"differences: {self.who} returned shape {self.y.shape}; the definition's shape is "
                             f"{y.shape}")
        return y

    def gradients(self) -> list[Array]:
        """What ``backward`` makes of each unit sensitivity, and of a mixture: for each argument (size of y + 1, *its
        shape)."""
        y, before, rows = self.y.copy(), [a.copy() for a in self.shown], [list[Array]() for _ in self.arguments]
        for row in np.vstack([np.eye(y.size), mixture(y.size)]):
            dy = row.reshape(y.shape).copy()
            gradients = self.backward(dy)
            if not isinstance(gradients, tuple) or len(gradients) != len(rows):
                raise InputError(f"differences: backward of {self.who} returned {described(gradients)}; it must be a "
                                 f"tuple of {len(rows)}")
            for i, (gradient, argument) in enumerate(zip(gradients, self.arguments, strict=True)):
                g = np.asarray(gradient if isinstance(gradient, (np.ndarray, np.generic, float, int)) else "?")
                if g.dtype.kind not in "fiub" or g.shape != argument.shape:
                    raise InputError(f"differences: gradient {i} of {self.who} is {described(gradient)}; it must be an "
                                     f"array of "
                                     f"numbers of shape {argument.shape}")
                rows[i].append(np.array(g, np.float64))
            if not np.array_equal(dy.reshape(-1), row):
                self.faults["its backward changes dy"] = None
        if not np.array_equal(self.y, y, equal_nan=True):
            self.faults["its backward changes y"] = None
        self.compare("its backward changes", before)
        return [np.stack(r) for r in rows]

    def place(self, k: int, position: int, count: int) -> str:
        """Names an entry of the Jacobian of argument k (sensitivities, entries), which has ``count`` entries a row."""
        row, entry = divmod(position, count)
        def index(i: int, a: Array) -> str:
            return str(tuple(map(int, np.unravel_index(i, a.shape))))
        by = f"y at {index(row, self.y)}" if row < self.y.size else "a mixture of all of y"
        return f"gradient of {self.names[k]} at {index(entry, self.arguments[k])} from {by}"


def names_of(op: Callable[..., Any], count: int) -> list[str]:
    """Names of the first ``count`` arguments, numbers where the op does not name them."""
    try:
        listed = [a.name for a in inspect.signature(op).parameters.values()
                  if a.kind in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD)]
    except (TypeError, ValueError):                                   # functions of NumPy have no signature
        listed = []
    return [listed[i] if i < len(listed) else f"argument {i}" for i in range(count)]


def described(thing: object) -> str:
    """What a function returned, for a message."""
    if isinstance(thing, (np.ndarray, np.generic)):
        return f"an array of {thing.dtype} and shape {thing.shape}"
    return f"a tuple of {len(thing)}" if isinstance(thing, tuple) else f"a {type(thing).__name__}"


def check(
    op: Callable[..., tuple[Array, Backward]], *arguments: Array, definition: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None, tolerance: float = 1e-7,
) -> Report:
    """Compare an op's backward pass with differences of its definition, then spoil each gradient and see whether that
    is noticed.

    op            ``y, backward = op(*arguments, **options)``, ``backward(dy)`` a tuple with a gradient for each
                  argument
    arguments     float arrays, small and away from kinks
    definition    ``y = definition(*arguments, **options)``; the op's own forward pass unless told
    options       static options of the op: ``options={"pieces": 2}``
    tolerance     largest relative error; above 1e-7 where the op computes in float32

    Raises InputError for what does not have the form of an op: no pair, no array of floats as its value, gradients that
    are not a tuple of arrays shaped as the arguments.
    """
    positive("differences", "tolerance", tolerance)
    subject = Subject(op, arguments, definition, options)
    noise = rounding_noise(subject.value, subject.arguments)
    value = relative_error(subject.y, subject.value(*subject.arguments), float(noise.max(initial=0)))
    errors, spoiled = dict[str, float](), dict[str, bool]()
    faults, unchanged, mixed = list[str](), list[str](), mixture(subject.y.size)
    for k, (name, rows) in enumerate(zip(subject.names, subject.gradients(), strict=True)):
        columns, doubts = jacobian(subject.value, subject.arguments, k, noise)
        expected = np.vstack([columns, mixed @ columns])
        doubt, size = (
            float(np.vstack([doubts, np.abs(mixed) @ doubts]).max(initial=0)), float(np.abs(expected).max(initial=0))
        )

        def error(rows: Array, expected: Array = expected, doubt: float = doubt) -> float:
            return relative_error(rows.reshape(expected.shape), expected, doubt)

        errors[name] = error(rows)
        if not errors[name] <= tolerance:
            gap = np.nan_to_num(np.abs(rows.reshape(expected.shape) - expected), nan=np.inf)
            worst = int(gap.argmax())
            faults.append(f"{subject.place(k, worst, expected.shape[1])}: backward {rows.flat[worst]:.9g}, differences "
                          f"{expected.flat[worst]:.9g} ± {doubt:.0e}")
        zero, part = size <= RESOLUTION * doubt, max(1e-5, 100 * tolerance)
        for what, bad in spoilings(rows, part, (100 * doubt or 1.0) if zero else part * size).items():
            if np.abs(bad - rows).max(initial=0) <= (2 * RESOLUTION * doubt if zero else tolerance * size):
                unchanged.append(f"gradient of {name} {what}")
            else:
                spoiled[f"gradient of {name} {what}"] = not error(bad) <= tolerance
    return Report(subject.who, errors, value, tolerance, spoiled, tuple(unchanged), (*faults, *subject.faults))


def check_loss(
    loss: Callable[..., tuple[float, Array]], prediction: Array, target: Array, *,
    definition: Callable[..., float] | None = None, options: Mapping[str, Any] | None = None, tolerance: float = 1e-7,
) -> Report:
    """The same for a loss: ``value, d_prediction = loss(prediction, target, **options)``. The target is not
    differentiated.

    Raises InputError where the loss does not return a number and an array shaped as the prediction.
    """
    who, before = getattr(loss, "__name__", type(loss).__name__), copy.deepcopy(target)

    def op(prediction: Array, **options: Any) -> tuple[Array, Backward]:
        pair = loss(prediction, target, **options)
        if not isinstance(pair,
                          tuple) or len(pair) != 2 or np.ndim(pair[0]) or np.asarray(pair[0]).dtype.kind not in "fiu":
            raise InputError(f"differences: {who} returned {described(pair)}; a loss must return a number and an "
                             f"array, (value, d)")
        return (
            np.asarray(pair[0], np.float64), lambda dy: (dy * pair[1] if isinstance(pair[1], np.ndarray) else pair[1],)
        )

    def value_alone(prediction: Array, **options: Any) -> float:
        return definition(prediction, target, **options) if definition else loss(prediction, target, **options)[0]

    op.__name__ = who
    report = check(op, prediction, definition=value_alone, options=options, tolerance=tolerance)
    return report if np.array_equal(before, target) else replace(report, faults=(*report.faults, "changes its target"))


def check_kink(
    op: Callable[..., tuple[Array, Backward]], *arguments: Array, definition: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None, tolerance: float = 1e-6,
) -> Report:
    """On a kink, the slope must lie between the one-sided differences: along each entry, along all at once, along a
    mixture.

    For ops whose values are each convex or concave near the arguments, as a maximum is: there any slope between the two
    is one that a descent may use, and two winners of one tie, each right alone, are found out along both. The errors of
    the Report say how far outside a slope is, relative to the largest one-sided difference (see ``relative_error``
    where all are zero).
    """
    positive("differences", "tolerance", tolerance)
    subject = Subject(op, arguments, definition, options)
    values, errors = subject.arguments, dict[str, float]()
    middle = subject.value(*values).reshape(-1)
    for k, (name, rows) in enumerate(zip(subject.names, subject.gradients(), strict=True)):
        n, step = values[k].size, SIDE_STEP * (float(np.abs(values[k]).max(initial=0)) or 1.0)
        outside, sides = list[Array](), list[Array]()
        for direction in np.vstack([np.eye(n), np.ones((1, n)), mixture(n)]):
            def side(h: float, k: int = k, direction: Array = direction) -> Array:
                moved = [*values[:k], values[k] + h * direction.reshape(values[k].shape), *values[k + 1:]]
                return np.asarray((subject.value(*moved).reshape(-1) - middle) / h)

            sides += [2 * side(h / 2) - side(h) for h in (-step, step)]
            slope, lower, upper = (
                rows[:-1].reshape(middle.size, n) @ direction, np.minimum(*sides[-2:]), np.maximum(*sides[-2:])
            )
            outside.append(slope - np.clip(slope, lower, upper))
        scale = np.abs(sides).max(initial=0)
        rounding = 8 * float(precision(middle) * np.abs(middle).max(initial=0)) / step
        errors[name] = relative_error(scale + np.stack(outside), np.full((n + 2, middle.size), scale), rounding)
    return Report(subject.who, errors, relative_error(subject.y.reshape(-1), middle), tolerance,
                  faults=tuple(subject.faults))


def check_penalty(
    penalty: Any, v: Array, *steps: float | Array, definition: Callable[[Array], float] | None = None,
    tolerance: float = LAW,
) -> Report:
    """Judge a convex penalty by the law of its proximal step, then spoil that step and see whether it is noticed.

    penalty       has ``value(w)``, a number, and ``prox(v, step)``, an array of the shape of v; λ is part of it
    v             float array, small; ``steps``: numbers, or arrays of the shape of v, at least one
    definition    ``value = definition(w)``; the penalty's own value unless told

    Raises InputError for what does not have that form.
    """
    who = type(penalty).__name__
    if not (callable(getattr(penalty, "value", None)) and callable(getattr(penalty, "prox", None)) and steps):
        raise InputError(f"differences: {who} got {len(steps)} steps; a penalty needs value(w) and prox(v, step), and "
                         f"at least one step")
    floats(f"differences: {who}", v=v)
    v, value, faults = np.array(v, np.float64), definition or penalty.value, dict[str, None]()
    error, off, spoiled, unchanged = 0.0, 0.0, dict[str, bool](), list[str]()
    for i, step in enumerate(steps):
        shown, shown_step = v.copy(), copy.deepcopy(step)
        p = penalty.prox(shown, shown_step)
        if not isinstance(p, np.ndarray) or p.shape != v.shape:
            raise InputError(f"differences: prox of {who} returned {described(p)}; it must be an array of shape "
                             f"{v.shape}")
        if not (np.array_equal(shown, v, equal_nan=True) and np.array_equal(shown_step, step)):
            faults["changes its arguments"] = None
        points = candidates(value, lambda u, step=step: penalty.prox(u, step), p, v)     # type: ignore[misc]
        error = float(np.maximum(error, violation(value, points, p, v, step)))
        for what, bad in spoilings(p[None], max(1e-5, 100 * tolerance),
                                   1e-3 * (float(np.abs(v).max(initial=0)) or 1.0)).items():
            if np.array_equal(bad[0], p):
                unchanged.append(f"prox {i} {what}")
            else:
                spoiled[f"prox {i} {what}"] = not violation(value, points, bad[0], v, step) <= tolerance
        pairs = [(penalty.value(u), value(u)) for u in (v, p, *points)]
        off = float(np.max([off, *(0.0 if a == b else relative_error(np.array(a), np.array(b)) for a, b in pairs)]))
    return Report(who, {"prox": error}, off, tolerance, spoiled, tuple(unchanged), tuple(faults))
