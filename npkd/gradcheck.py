"""Finite differences: is a backward pass the derivative of its forward pass? And would the check notice if it were not?

    >>> import numpy as np
    >>> from npkd import gradcheck
    >>> def cube(x):
    ...     return x ** 3, lambda dy: (3 * x ** 2 * dy,)
    >>> gradcheck.check(cube, np.array([[1.0, -2.0], [0.5, 3.0]])).ok
    True

Everything runs in float64. The whole Jacobian is compared, one column for each entry of each argument: give small
arrays. Method: docs/8-evidence.md.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npkd.core.types import Array, Backward
from npkd.core.validation import InputError, floats

STEP, SHRINK, LEVELS = 2.0 ** -5, 4.0, 4
"""Steps of the centred differences: 1/32, 1/128, 1/512, 1/2048, times |a| for an entry a beyond ±1."""

SIDE_STEP = 2.0 ** -14
"""Step of the one-sided differences at a kink."""


@dataclass(frozen=True)
class Report:
    """What a check found.

    who         name of the op
    errors      {argument: largest relative error of its gradient}: max |returned − differences| / max |differences|,
                both maxima over the argument's whole Jacobian (where that is zero: the largest returned entry itself)
    value       the same for the op's value against the definition (0 where the op is its own definition)
    spoiled     {what was spoiled: was it noticed}: the same comparison with one returned gradient spoiled on purpose
    tolerance   what errors may amount to
    """

    who: str
    errors: Mapping[str, float]
    value: float
    tolerance: float
    spoiled: Mapping[str, bool] = field(default_factory=dict)

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
        """Are all errors within the tolerance, and was every spoiled gradient noticed?"""
        return self.worst <= self.tolerance and self.spoiled_caught

    def __str__(self) -> str:
        errors = ", ".join(f"{name} {error:.1e}" for name, error in self.errors.items())
        missed = "".join(f"; NOT noticed: {what}" for what, caught in self.spoiled.items() if not caught)
        return (
            f"{self.who}: {'ok' if self.ok else 'WRONG'}: relative errors {errors} (at most "
            f"{self.tolerance:.0e}){missed}"
        )


SPOILS: Mapping[str, Callable[[Array], Array]] = {
    "times 1 + 1e-5": lambda g: g * (1 + 1e-5),
    "largest entry zeroed": lambda g: np.where(np.arange(g.size).reshape(g.shape) == np.abs(g).argmax(), 0, g),
    "transposed": lambda g: g.T,
}
"""How a gradient is spoiled, to see whether the comparison notices. Square matrices alone are transposed."""


def derivative(f: Callable[[float], Array], step: float) -> Array:
    """f'(0) of a function from numbers to arrays.

    Centred differences with steps h, h/4, h/16, …, extrapolated to step 0: each extrapolation removes the next even
    power of the step from the error. Of all estimates each entry takes the one that agrees best with the two it was
    made of; so a kink within the first step does no harm. Source: Richardson 1911; Ridders 1982.
    """
    above: list[Array] = []
    best, doubt = np.zeros(0), np.zeros(0)
    for k in range(LEVELS):
        h = step / SHRINK ** k
        row = [np.asarray((f(h) - f(-h)) / (2 * h))]
        if not above:
            best, doubt = row[0], np.full(row[0].shape, np.inf)
        for m, old in enumerate(above):
            row.append(row[m] + (row[m] - old) / (SHRINK ** (2 * m + 2) - 1))
            change = np.maximum(np.abs(row[-1] - row[m]), np.abs(row[-1] - old))
            best, doubt = np.where(change < doubt, row[-1], best), np.minimum(change, doubt)
        above = row
    return np.asarray(best)


def jacobian(function: Callable[..., Array], arguments: Sequence[Array], k: int) -> Array:
    """∂ function / ∂ arguments[k] by differences: (values of the function, entries of the argument), both in C
    order."""
    columns = []
    for entry in np.ndindex(arguments[k].shape):
        def moved(h: float, entry: tuple[int, ...] = entry) -> Array:
            a = arguments[k].copy()
            a[entry] += h
            return np.asarray(function(*arguments[:k], a, *arguments[k + 1:]), np.float64).reshape(-1)
        columns.append(derivative(moved, STEP * max(1.0, abs(float(arguments[k][entry])))))
    return np.stack(columns, axis=1)


def mixture(n: int) -> Array:
    """One row of n different numbers of both signs: what is linear in unit vectors must be linear in this too."""
    return np.asarray(np.cos(1.0 + np.arange(n))[None])


def returned(who: str, backward: Backward, y: Array, arguments: Sequence[Array]) -> list[Array]:
    """What ``backward`` makes of each unit sensitivity, and of a mixture of them: for each argument (size of y + 1, its
    size)."""
    rows: list[list[Array]] = [[] for _ in arguments]
    for dy in np.vstack([np.eye(y.size), mixture(y.size)]):
        gradients = backward(dy.reshape(y.shape))
        if not isinstance(gradients, tuple) or len(gradients) != len(arguments):
            what = f"{len(gradients)} gradients" if isinstance(gradients, tuple) else type(gradients).__name__
            raise InputError(f"differences: backward of {who} returned {what}; it must be a tuple of {len(arguments)}")
        for i, (gradient, argument) in enumerate(zip(gradients, arguments, strict=True)):
            if np.shape(gradient) != argument.shape:
                got = np.shape(gradient)
                raise InputError(f"differences: gradient {i} of {who} has shape {got}; it must be {argument.shape}")
            rows[i].append(np.array(gradient, np.float64).reshape(-1))
    return [np.stack(r) for r in rows]


def relative_error(got: Array, expected: Array) -> float:
    """max |got − expected| / max |expected|; where that maximum is 0, max |got|."""
    if not expected.size:
        return 0.0
    return float(np.abs(got - expected).max() / (np.abs(expected).max() or 1.0))


def prepare(
    op: Callable[..., Any], arguments: Sequence[Array], definition: Callable[..., Any] | None,
    options: Mapping[str, Any] | None,
) -> tuple[str, list[str], list[Array], Callable[..., Any], Callable[..., Array]]:
    """Name, names of arguments, the arguments in float64, the op and its definition with their options bound.

    The options are copied for each call: a generator among them then draws the same every time.
    """
    who = getattr(op, "__name__", type(op).__name__)
    if not arguments:
        raise InputError(f"differences: got no arguments for {who}; it needs at least one array")
    floats(f"differences: {who}", **{f"argument {i}": a for i, a in enumerate(arguments)})
    given = [a for a in inspect.signature(op).parameters.values()
             if a.kind in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD)]
    names = [given[i].name if i < len(given) else f"argument {i}" for i in range(len(arguments))]

    def run(*a: Array) -> Any:
        return op(*a, **copy.deepcopy(dict(options or {})))

    def value(*a: Array) -> Array:
        return np.asarray(run(*a)[0] if definition is None else definition(*a, **copy.deepcopy(dict(options or {}))))

    return who, names, [np.array(a, np.float64) for a in arguments], run, value


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

    Raises InputError where the gradients are not a tuple of arrays shaped as the arguments.
    """
    who, names, held, run, value = prepare(op, arguments, definition, options)
    y, backward = run(*held)
    expected = []
    for k in range(len(held)):
        columns = jacobian(value, held, k)
        expected.append(np.vstack([columns, mixture(y.size) @ columns]))
    got = returned(who, backward, y, held)
    spoiled = {}
    for k, argument in enumerate(held):
        for what, spoil in SPOILS.items():
            if what == "transposed" and (argument.ndim != 2 or argument.shape[0] != argument.shape[1]
                                         or argument.size < 2):
                continue

            def bad(dy: Array, k: int = k, spoil: Callable[[Array], Array] = spoil) -> tuple[Array, ...]:
                return tuple(spoil(np.asarray(g)) if i == k else g for i, g in enumerate(backward(dy)))

            error = relative_error(returned(who, bad, y, held)[k], expected[k])
            spoiled[f"gradient of {names[k]} {what}"] = not error <= tolerance
    errors = {name: relative_error(g, e) for name, g, e in zip(names, got, expected, strict=True)}
    return Report(who, errors, relative_error(y, value(*held)), tolerance, spoiled)


def check_loss(
    loss: Callable[..., tuple[float, Array]], prediction: Array, target: Array, *,
    definition: Callable[..., float] | None = None, options: Mapping[str, Any] | None = None, tolerance: float = 1e-7,
) -> Report:
    """The same for a loss: ``value, d_prediction = loss(prediction, target, **options)``. The target is not
    differentiated."""

    def op(prediction: Array, **options: Any) -> tuple[Array, Backward]:
        value, d = loss(prediction, target, **options)
        return np.asarray(value), lambda dy: (dy * d,)

    def value_alone(prediction: Array, **options: Any) -> float:
        return definition(prediction, target, **options) if definition else loss(prediction, target, **options)[0]

    op.__name__ = getattr(loss, "__name__", type(loss).__name__)
    return check(op, prediction, definition=value_alone, options=options, tolerance=tolerance)


def check_kink(
    op: Callable[..., tuple[Array, Backward]], *arguments: Array, definition: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None, tolerance: float = 1e-6,
) -> Report:
    """On a kink, the slope must lie between the one-sided differences: along each entry, along all at once, along a
    mixture.

    For ops whose values are each convex or concave near the arguments, as a maximum is: there any slope between the two
    is one that a descent may use, and two winners of one tie, each right alone, are found out along both. The errors of
    the Report say how far outside a slope is, relative to the largest one-sided difference.
    """
    who, names, held, run, value = prepare(op, arguments, definition, options)
    y, backward = run(*held)
    middle, errors = value(*held).reshape(-1), {}
    for k, slopes in enumerate(returned(who, backward, y, held)):
        worst, scale = 0.0, 0.0
        n = held[k].size
        for direction in np.vstack([np.eye(n), np.ones((1, n)), mixture(n)]):
            def side(h: float, k: int = k, direction: Array = direction) -> Array:
                moved = [*held[:k], held[k] + h * direction.reshape(held[k].shape), *held[k + 1:]]
                return np.asarray((value(*moved).reshape(-1) - middle) / h)

            sides = [2 * side(h / 2) - side(h) for h in (-SIDE_STEP, SIDE_STEP)]
            slope = slopes[:-1] @ direction
            outside = np.maximum(np.minimum(*sides) - slope, slope - np.maximum(*sides))
            worst = float(np.maximum(worst, outside.max()))     # unlike max() it does not lose a NaN
            scale = max(scale, float(np.abs(sides).max()))
        errors[names[k]] = worst / (scale or 1.0)
    return Report(who, errors, relative_error(y.reshape(-1), middle), tolerance)
