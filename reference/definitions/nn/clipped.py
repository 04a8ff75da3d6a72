"""The definitions of npkd/nn/clipped.py: one value at a time, no derivatives."""

from __future__ import annotations

import math

import numpy as np

from npkd.core.types import Array


def clipped_linear(x: Array, shift: int = 1) -> Array:
    y = np.zeros(x.shape)
    for k in np.ndindex(x.shape):
        y[k] = x[k] / 2 ** shift if abs(x[k]) <= 2 ** shift else math.copysign(1, x[k])     # (A17)
    return y


def clipped_quadratic(x: Array, shift: int = 1) -> Array:
    y = np.zeros(x.shape)
    for k in np.ndindex(x.shape):
        u = x[k] / 2 ** shift
        y[k] = math.copysign(1, u) if abs(u) >= 1 else 2 * u - u * abs(u)     # (A19)
    return y
