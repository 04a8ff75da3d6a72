"""The definitions of npkd/sparsity/pseudo_norm.py: values, by loops and sums. Proximal steps are held against a
search."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from reference.definitions.sparsity.penalties import norms

Array = NDArray[np.float64]


def ratio(v: list[float], squared: bool) -> float:
    """Σ v_j/√(Σ v_j²) of numbers that are not negative, or its square; 0 where all are 0."""
    length = math.sqrt(sum(x * x for x in v))
    once = sum(x / length for x in v) if length else 0.0
    return once * once if squared else once


def l1_l2(w: Array, lam: float, axis: int | None = 0, channels: int = 0, squared: bool = False) -> float:
    weights = [abs(float(w[k])) for k in np.ndindex(w.shape)]
    return lam * ratio(weights if axis is None else norms(w, axis, channels), squared)     # (P28)
