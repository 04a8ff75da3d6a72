"""What raw inputs go through before a network sees them: one offset and one factor a feature."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError


@dataclass(frozen=True, eq=False)
class Scaling:
    """What the inputs of a network go through first.

        scaled_ni = (x_ni − offset_i) · factor_i

    offset (I,) float32, or float64 where float32 would move a feature;   factor (I,) float32, positive;   finite.
    Raises InputError for anything else.
    """

    offset: Array
    factor: Array

    def __post_init__(self) -> None:
        a, f = self.offset, self.factor
        if a.ndim != 1 or a.shape != f.shape or a.dtype not in (np.float32, np.float64) or f.dtype != np.float32:
            raise InputError(f"Scaling: offset {a.shape} {a.dtype} and factor {f.shape} {f.dtype} must be (I,) float32")
        if not (np.isfinite(a).all() and np.isfinite(f).all() and (f > 0).all()):
            raise InputError("Scaling: a number is beyond float32, or a factor not positive; rescale the inputs")

    @staticmethod
    def range(low: float, high: float, width: int) -> Scaling:
        """The range low … high of all features is mapped to 0 … 1. Raises InputError unless low < high."""
        if not low < high:
            raise InputError(f"Scaling: the range is {low} … {high}; its lower end must be below its upper end")
        with np.errstate(over="ignore"):         # the constructor refuses what comes of it
            return Scaling(np.full(width, low, np.float32), np.full(width, 1 / (high - low), np.float32))

    @staticmethod
    def standard(x: Array) -> Scaling:
        """Each feature of x (N, ...) is centred and divided by its deviation (over N), computed in float64.

        A feature that is constant, to the precision of the numbers in x (float32 for float16), has the factor 1.
        """
        x = flat("Scaling.standard", x)
        with np.errstate(over="ignore", invalid="ignore"):
            offset, deviation = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
            low = x.min(axis=0).astype(np.float64)
            largest, single = np.maximum(abs(x.max(axis=0).astype(np.float64)), abs(low)), np.finfo(np.float32)
            far = deviation < 2.0 ** -20 * largest     # the sums' own rounding counts: measured from the smallest value
            if far.any():
                near = x[:, far].astype(np.float64) - low[far]
                offset[far], deviation[far] = low[far] + near.mean(axis=0), near.std(axis=0)
            eps = single.eps if x.dtype in (np.float16, np.float32) else np.finfo(np.float64).eps
            deviation[deviation <= np.maximum(eps * largest, single.tiny)] = 1      # rounding of the numbers at most
            rounded = offset.astype(np.float32)
            moved = abs(offset - rounded) > 2.0 ** -10 * deviation
            return Scaling(offset if moved.any() else rounded, (1 / deviation).astype(np.float32))

    def apply(self, x: Array) -> Array:
        """x (N, ...) of any numbers -> (N, I) float32, flattened in C order, scaled.

        Raises InputError where x does not have I features, or a value, as given or scaled to float32, is not finite.
        """
        x = flat("Scaling.apply", x)
        if x.shape[1] != len(self.offset):
            raise InputError(f"Scaling.apply: x has {x.shape[1]} features; it must have {len(self.offset)}")
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = x.astype(np.result_type(x.dtype, np.float32))     # wide numbers are rounded after the scaling
            scaled -= self.offset
            scaled *= self.factor
            scaled = scaled.astype(np.float32, copy=False)
        wrong = ~np.isfinite(scaled)
        if wrong.any():
            n, i = (int(k) for k in np.argwhere(wrong)[0])
            raise InputError(f"Scaling.apply: x holds {x[n, i]} at ({n}, {i}); it must be finite, in float32 too")
        return scaled


def flat(who: str, x: Array) -> Array:
    """x (N, ...) as (N, I), a view where that is possible. Raises InputError unless it holds examples of numbers."""
    if not (np.issubdtype(x.dtype, np.integer) or np.issubdtype(x.dtype, np.floating)):
        raise InputError(f"{who}: x is of {x.dtype}; it must hold integers or floating-point numbers")
    if x.ndim < 2 or not x.size:
        raise InputError(f"{who}: x has shape {x.shape}; it must be (N, ...) with at least one example and one feature")
    return x.reshape(len(x), math.prod(x.shape[1:]))
