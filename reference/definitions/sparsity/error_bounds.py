"""The definitions of npkd/sparsity/error_bounds.py: errors by loops, singular values by repeated multiplication, the
bound by recursion."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def root_mean_square(a: Array, b: Array) -> float:
    """√(1/N Σ_n ‖a_n − b_n‖²)."""
    total = 0.0
    for n in range(a.shape[0]):
        for j in range(a.shape[1]):
            total += float(a[n, j] - b[n, j]) ** 2 / a.shape[0]     # (R1)
    return math.sqrt(total)


def spectral_norm(w: Array, times: int = 20_000) -> float:
    """The largest ‖w u‖ over ‖u‖ = 1, found by u ← wᵀ w u again and again, scaled to length 1."""
    u = [1.0 + 0.37 * j for j in range(w.shape[1])]
    size = 0.0
    for _ in range(times):
        length = math.sqrt(sum(v * v for v in u))
        if length == 0:
            return 0.0
        u = [v / length for v in u]
        y = [sum(float(w[i, j]) * u[j] for j in range(w.shape[1])) for i in range(w.shape[0])]
        before, size = size, math.sqrt(sum(v * v for v in y))
        if abs(size - before) <= 1e-15 * size:
            return size
        u = [sum(float(w[i, j]) * y[i] for i in range(w.shape[0])) for j in range(w.shape[1])]
    return size


def bound(measured: Sequence[float], added: Sequence[float], factor: Sequence[float], cut: int) -> float:
    """What is known of the last error after ``cut`` stages were measured: each later one adds its own and passes on
    what it got."""
    error = measured[cut - 1] if cut else 0.0
    for k in range(cut, len(factor)):
        error = added[k] + factor[k] * error     # (R3)
    return error
