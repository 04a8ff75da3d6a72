"""Penalty on outgoing weights, stationarity, the indicator of a support: by their definitions, loops over entries."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from npkd.core.types import Array


def support(w: Array, *, mask: Array) -> float:
    """0 where every entry outside the mask is zero, else ∞."""
    return math.inf if any(w[at] != 0 and not mask[at] for at in np.ndindex(w.shape)) else 0.0


def outgoing(groups: Sequence[tuple[float, float, Array]], weights: Array, lam: float) -> float:
    """Ω = Σ λ c ‖w‖₂ over groups (λ, c, w) + λ_w Σ |w_i| over all weights, ``lam`` λ_w              (P18)"""
    total = sum(abs(float(w)) for w in weights.ravel()) * lam
    for strength, cost, w in groups:
        total += strength * cost * math.sqrt(sum(float(v) ** 2 for v in w.ravel()))
    return total


def stationarity(theta: Array, moved: Array, step: float) -> float:
    """ρ = ‖θ − p‖₂ / s, p the parameters after a proximal gradient step of size s                    (P19)"""
    return math.sqrt(sum((float(a) - float(b)) ** 2 for a, b in zip(theta.ravel(), moved.ravel(), strict=True))) / step
