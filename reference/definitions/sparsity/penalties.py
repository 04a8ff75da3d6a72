"""The definitions of npkd/sparsity/penalties.py: values, by loops and sums. Proximal steps are held against their law
instead."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def norms(w: Array, axis: int, channels: int = 0) -> list[float]:
    """‖w_j‖₂ of each slice along ``axis``, or of all slices that are equal modulo ``channels`` together."""
    groups = channels or w.shape[axis]
    squares = [0.0] * groups
    for k in np.ndindex(w.shape):
        squares[k[axis] % groups] += float(w[k]) ** 2
    return [math.sqrt(s) for s in squares]


def costs(cost: float | Array, groups: int) -> list[float]:
    """c_j, one for each group."""
    return [float(c) for c in cost] if isinstance(cost, np.ndarray) else [cost] * groups


def l1(w: Array, lam: float) -> float:
    return lam * sum(abs(float(w[k])) for k in np.ndindex(w.shape))     # (P2)


def neuron_groups(w: Array, lam: float, axis: int = 0, cost: float | Array = 1.0, channels: int = 0) -> float:
    n, c = norms(w, axis, channels), costs(cost, channels or w.shape[axis])
    return lam * sum(c[j] * n[j] for j in range(len(n)))     # (P4)


def sparse_groups(w: Array, lam: float, axis: int = 0, alpha: float = 0.5, cost: float | Array = 1.0,
                  channels: int = 0) -> float:
    n, c = norms(w, axis, channels), costs(cost, channels or w.shape[axis])
    single = sum(abs(float(w[k])) for k in np.ndindex(w.shape))
    return lam * (alpha * single + (1 - alpha) * sum(c[j] * n[j] for j in range(len(n))))     # (P6)


def max_norm(w: Array, bound: float, axis: int = 0, channels: int = 0) -> float:
    """A norm beyond the bound by no more than a rounding error counts as within."""
    return 0.0 if all(n <= bound * (1 + 1e-14) for n in norms(w, axis, channels)) else math.inf     # (P8)
