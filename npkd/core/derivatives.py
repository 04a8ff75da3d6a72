"""Derivatives by centred differences, with their uncertainty, and relative errors that know when one is zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from npkd.core.types import Array

STEP, SHRINK, LEVELS, MOST_LEVELS = 2.0 ** -5, 4.0, 4, 40
"""First step at an entry a, in units of max(1, |a|); its divisor from level to level; fewest and most levels."""
SMALLEST_STEP, PROBE_STEP = 2.0 ** -12, 2.0 ** -30
"""In units of the size of an entry: the step at which the levels end, and the one that measures rounding."""
RESOLUTION = 10.0
"""A derivative of at most this many times its uncertainty counts as zero."""


def derivative(f: Callable[[float], Array], step: float, smallest: float, noise: Array) -> tuple[Array, Array]:
    """f'(0) of a function from numbers to arrays, and its uncertainty.

    Centred differences with steps h, h/4, h/16, …, extrapolated to step 0: each extrapolation removes the next even
    power of the step from the error. The uncertainty of an estimate is its change against the two that it was made of,
    plus the rounding of f (``noise`` near 0) over the step; each entry takes the least uncertain estimate. So kinks,
    and the end of the domain of f, within the first steps do no harm. Source: Richardson 1911; Ridders 1982."""
    above: list[Array] = []
    best, uncertainty = np.full(noise.shape, np.nan), np.full(noise.shape, np.inf)
    for k in range(MOST_LEVELS):
        h = step / SHRINK ** k
        with np.errstate(all="ignore"):                        # outside of its domain f is NaN, which is never the best
            after, before = f(h), f(-h)
            rounding = np.maximum(noise, precision(after) * np.maximum(np.abs(after), np.abs(before))) / h
            row = [np.asarray((after - before) / (2 * h), np.float64)]
            for m, old in enumerate(above):
                row.append(row[m] + (row[m] - old) / (SHRINK ** (2 * m + 2) - 1))
                doubt = np.maximum(np.abs(row[-1] - row[m]), np.abs(row[-1] - old)) + rounding
                best, uncertainty = np.where(doubt < uncertainty, row[-1], best), np.fmin(doubt, uncertainty)
        above = row
        if k + 1 >= LEVELS and (h <= smallest or (uncertainty <= 1e-10 * np.abs(best).max(initial=0)).all()):
            break
    return best, uncertainty


def precision(a: Array) -> float:
    """Machine epsilon of the dtype of an array; of float64 where it holds no floating-point numbers."""
    return float(np.finfo(a.dtype if a.dtype.kind == "f" else np.float64).eps)


def sizes(a: Array) -> Array:
    """The size of each entry; for a zero the largest size in the array, 1 where all are zero."""
    return np.where(a == 0, np.abs(a).max(initial=0) or 1.0, np.abs(a))


def mixture(n: int) -> Array:
    """One row of n different numbers of both signs: what is linear in unit vectors must be linear in this too."""
    return np.asarray(np.cos(1.0 + np.arange(n))[None])


def rounding_noise(function: Callable[..., Array], arguments: Sequence[Array]) -> Array:
    """Root mean square of the rounding errors of each value, by fourth differences. Source: Moré & Wild 2011."""
    steps = [sizes(a) * mixture(a.size).reshape(a.shape) for a in arguments]
    with np.errstate(all="ignore"):
        values = [function(*(a + k * PROBE_STEP * s for a, s in zip(arguments, steps, strict=True)))
                  for k in range(-4, 5)]
        fourth = np.diff(np.array(values, np.float64).reshape(9, -1), n=4, axis=0)
        return np.asarray(np.nan_to_num(np.sqrt((fourth ** 2).mean(axis=0) / 70)))


def jacobian(function: Callable[..., Array], arguments: Sequence[Array], k: int, noise: Array) -> tuple[Array, Array]:
    """∂ function / ∂ arguments[k] and its uncertainty, each (values, entries of the argument), in C order. Where the
    function raises a ValueError or an ArithmeticError it is outside of its domain."""
    columns, size = [], sizes(arguments[k])
    for entry, s in np.ndenumerate(size):
        def moved(h: float, entry: tuple[int, ...] = entry) -> Array:
            a = arguments[k].copy()
            a[entry] += h
            try:
                return function(*arguments[:k], a, *arguments[k + 1:]).reshape(-1)
            except (ValueError, ArithmeticError):
                return np.full(noise.shape, np.nan)
        columns.append(derivative(moved, STEP * max(1.0, s), SMALLEST_STEP * s, noise))
    best, uncertainty = zip(*columns, strict=True) if columns else ([noise[:0]], [noise[:0]])
    return np.stack(best, axis=1), np.stack(uncertainty, axis=1)


def relative_error(result: Array, expected: Array, uncertainty: float = 0.0) -> float:
    """max |result − expected| / max |expected|. Where ``expected`` is zero within its uncertainty u (max |expected| ≤
    10 u) that ratio means nothing: the error is then 0 where the result is zero within it, too (max |result − expected|
    ≤ 20 u), else max |result − expected| / u."""
    if not expected.size:
        return 0.0
    difference, size = float(np.abs(result - expected).max()), float(np.abs(expected).max())
    if not size <= RESOLUTION * uncertainty:
        return difference / size
    if difference <= 2 * RESOLUTION * uncertainty:
        return 0.0
    return difference / uncertainty if uncertainty else float("inf")
