"""The definitions of npkd/sparsity/nonconvex.py: values, by loops and sums. Proximal steps are held against a search.

Of groups that stop to shrink the definition is what the sources begin with, the slope, of which ρ is the integral.
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


def slope(kappa: float, gamma: float, straight: float, x: float) -> float:
    """ρ'(x): κ at first, then a straight line down to 0."""
    return kappa if x <= straight * kappa else max(kappa - (x - straight * kappa) / gamma, 0.0)


def concave_groups(w: Array, lam: float, axis: int = 0, gamma: float = 3.0, straight: float = 0.0,
                   cost: float | Array = 1.0, channels: int = 0) -> float:
    n, value = norms(w, axis, channels), 0.0
    for j, c in enumerate(costs(cost, len(n))):
        kinks = [straight * lam * c, (gamma + straight) * lam * c]
        value += integral(partial(slope, lam * c, gamma, straight), n[j], kinks)     # (P26)
    return value
