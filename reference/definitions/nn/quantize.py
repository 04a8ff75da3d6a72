"""The definitions of npkd/nn/quantize.py: one value at a time.

``quantize`` is what the gradient is the derivative of: (N40) with its rounding error held at zero. On the levels, where
the cases of the catalogue lie, it is the value too; elsewhere ``rounded`` is.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def quantize(x: Array, step: float, zero: int = 0, low: int = 0, high: int = 255) -> Array:
    y = np.zeros(x.shape)
    for k in np.ndindex(x.shape):
        y[k] = min(max(float(x[k]), step * (low - zero)), step * (high - zero))     # (N41)
    return y


def rounded(x: Array, step: float, zero: int = 0, low: int = 0, high: int = 255) -> Array:
    y = np.zeros(x.shape)
    for k in np.ndindex(x.shape):
        below = math.floor(x[k] / step)
        part = x[k] / step - below
        up = part > 0.5 or (part == 0.5 and below % 2 == 1)
        y[k] = step * (min(max(below + up + zero, low), high) - zero)        # (N40)
    return y
