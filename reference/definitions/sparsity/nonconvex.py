"""The definitions of npkd/sparsity/nonconvex.py: values, by loops and sums. Proximal steps are held against a search.

Of the two penalties of groups that stop to shrink, the definition is what their sources begin with: the slope, a
straight line down to 0, of which ρ is the integral.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from reference.definitions.sparsity.penalties import costs, norms

Array = NDArray[np.float64]


def l0(w: Array, lam: float) -> float:
    return lam * sum(1 for k in np.ndindex(w.shape) if float(w[k]) != 0)     # (P20)


def non_negative_l1(w: Array, lam: float) -> float:
    entries = [float(w[k]) for k in np.ndindex(w.shape)]
    return lam * math.fsum(entries) if all(entry >= 0 for entry in entries) else math.inf     # (P22)


def top_k(w: Array, count: int) -> float:
    return 0.0 if l0(w, 1.0) <= count else math.inf     # (P24)


def integral(slope: Callable[[float], float], x: float, kinks: list[float]) -> float:
    """∫ slope from 0 to x of a continuous slope that is straight between kinks: trapezoids."""
    ends = [0.0, *(kink for kink in kinks if 0 < kink < x), x]
    return sum((high - low) * (slope(low) + slope(high)) / 2 for low, high in zip(ends[:-1], ends[1:], strict=True))


def group_mcp(w: Array, lam: float, gamma: float = 3.0, axis: int = 0, cost: float | Array = 1.0, channels: int = 0
              ) -> float:
    n, value = norms(w, axis, channels), 0.0
    for j, c in enumerate(costs(cost, len(n))):
        value += integral(partial(mcp_slope, lam * c, gamma), n[j], [gamma * lam * c])     # (P26)
    return value


def mcp_slope(kappa: float, gamma: float, x: float) -> float:
    return max(kappa - x / gamma, 0.0)


def group_scad(w: Array, lam: float, a: float = 3.7, axis: int = 0, cost: float | Array = 1.0, channels: int = 0
               ) -> float:
    n, value = norms(w, axis, channels), 0.0
    for j, c in enumerate(costs(cost, len(n))):
        value += integral(partial(scad_slope, lam * c, a), n[j], [lam * c, a * lam * c])     # (P26)
    return value


def scad_slope(kappa: float, a: float, x: float) -> float:
    return kappa if x <= kappa else max(a * kappa - x, 0.0) / (a - 1)
