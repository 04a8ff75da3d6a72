"""The definitions of npkd/sparsity/proximal.py: loops and sums, no derivatives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def soft_threshold(v: Array, t: float | Array) -> Array:
    """Case by case: beyond the threshold what is left of v, within it nothing."""
    steps, p = np.broadcast_to(t, v.shape), np.zeros(v.shape)
    for k in np.ndindex(v.shape):
        if v[k] > steps[k]:
            p[k] = v[k] - steps[k]     # (P1)
        elif v[k] < -steps[k]:
            p[k] = v[k] + steps[k]     # (P1)
    return p


def proximal_objective(u: Array, v: Array, step: float | Array, value: Callable[[Array], float]) -> float:
    """What a proximal step of v minimises over u: ½ Σ_i (u_i − v_i)²/t_i + Ω(u)."""
    steps = np.broadcast_to(step, v.shape)
    return value(u) + sum(float(u[k] - v[k]) ** 2 / (2 * float(steps[k])) for k in np.ndindex(v.shape))
