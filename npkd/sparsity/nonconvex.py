"""Penalties that others compare with. All but NonNegativeL1 are not convex; a proximal step is the global minimum at
any step, of two minima the smaller. Errors as in penalties.py. Derivations: docs/book/21-sparse-filters.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from npkd.core.linalg import wide
from npkd.core.types import Array
from npkd.core.validation import floats, positive, whole
from npkd.sparsity.penalties import along, check_groups, check_step, group_norms, grouped, one_step, rescaled


@dataclass(frozen=True)
class L0:
    """The number of weights that are not zero. Source: hard thresholding, Donoho & Johnstone 1994.

        Ω(w) = λ |{i : w_i ≠ 0}|                                                      (P20)
        prox(v, t)_i = v_i where v_i² > 2 t_i λ, else 0                               (P21)
    """

    lam: float

    def __post_init__(self) -> None:
        positive("L0", "lam", self.lam, zero=True)

    def value(self, w: Array) -> float:
        """Ω(w), (P20)."""
        floats("L0", w=w)
        return self.lam * np.count_nonzero(w)                                         # (P20)

    def prox(self, v: Array, step: float | Array) -> Array:
        """The proximal step (P21)."""
        check_step("L0", v, step)
        bound = np.sqrt(2 * np.asarray(step, np.float64) * self.lam)
        return np.where((np.abs(v) <= bound) & (bound > 0), v.dtype.type(0), v)       # (P21)


@dataclass(frozen=True)
class NonNegativeL1:
    """The l1 norm of weights that must not be negative. Source: textbook.

        Ω(w) = λ Σ_i w_i where all w_i ≥ 0, else ∞                                    (P22)
        prox(v, t)_i = max(v_i − t_i λ, 0)                                            (P23)
    """

    lam: float

    def __post_init__(self) -> None:
        positive("NonNegativeL1", "lam", self.lam, zero=True)

    def value(self, w: Array) -> float:
        """Ω(w), (P22)."""
        floats("NonNegativeL1", w=w)
        return float("inf") if (w < 0).any() else self.lam * float(w.sum(dtype=wide(w)))          # (P22)

    def prox(self, v: Array, step: float | Array) -> Array:
        """The proximal step (P23)."""
        check_step("NonNegativeL1", v, step)
        return (np.maximum(v - np.asarray(step, np.float64) * self.lam, 0) + 0.0).astype(v.dtype)  # (P23), no −0.0


@dataclass(frozen=True)
class TopK:
    """At most ``count`` weights that are not zero, of equal ones the first. Source: Blumensath & Davies 2008.

        Ω(w) = 0 where |{i : w_i ≠ 0}| ≤ count, else ∞                                (P24)
        prox(v, t)_i = v_i where v_i²/t_i is among the ``count`` largest, else 0      (P25)
    """

    count: int

    def __post_init__(self) -> None:
        whole("TopK", 0, count=self.count)

    def value(self, w: Array) -> float:
        """Ω(w), (P24)."""
        floats("TopK", w=w)
        return 0.0 if np.count_nonzero(w) <= self.count else float("inf")             # (P24)

    def prox(self, v: Array, step: float | Array) -> Array:
        """The projection (P25), in the metric of an array of steps."""
        check_step("TopK", v, step)
        with np.errstate(divide="ignore", invalid="ignore"):                          # what cannot move comes first
            rank = np.abs(v) / np.sqrt(step) if np.ndim(step) else np.abs(v)
        stays = np.zeros(v.size, bool)
        stays[np.argsort(-np.where(v == 0, 0, rank), axis=None, kind="stable")[:self.count]] = True
        return np.where(stays.reshape(v.shape), v, v.dtype.type(0))                   # (P25)


@dataclass(frozen=True, eq=False)
class ConcaveGroups:
    """Norms of groups whose penalty bends down until it is constant, so that large groups do not shrink.

        Ω(w) = Σ_j ρ_j(‖w_j‖),   κ_j = λ c_j,   ρ_j(x) = κ_j x − max(x − o κ_j, 0)²/2γ
            where x ≤ (γ + o) κ_j, constant beyond                                    (P26)
        ‖prox(v, t)_j‖ = x = ‖v_j‖ where x > b κ_j; max(x − t κ_j, 0) where x ≤ min(t + o, b) κ_j;
            (x − t κ_j (1 + o/γ))/(1 − t/γ) between
        b = γ + o where t < γ, (t + γ)/2 + o where γ ≤ t < γ + 2o, else √(t (γ + 2o))  (P27)

    Groups and costs as in NeuronGroups. o = ``straight``: 0 is the minimax concave penalty, MCP, of γ (Zhang 2010), 1
    smoothly clipped absolute deviation, SCAD, of a = γ + 1 (Fan & Li 2001); of groups Breheny & Huang 2015. Raises
    InputError unless γ > 0, o ≥ 0, and for an array of steps.
    """

    lam: float
    axis: int = 0
    gamma: float = 3.0
    straight: float = 0.0
    cost: float | Array = 1.0
    channels: int = 0

    def __post_init__(self) -> None:
        check_groups("ConcaveGroups", self.lam, self.cost)
        positive("ConcaveGroups", "gamma", self.gamma)
        positive("ConcaveGroups", "straight", self.straight, zero=True)

    def value(self, w: Array) -> float:
        """Ω(w), (P26)."""
        w, axis = grouped("ConcaveGroups", w, self.axis, self.channels)
        kappa, gamma, o = self.lam * along(self.cost, w, axis), self.gamma, self.straight
        x = np.minimum(group_norms(w, axis), (gamma + o) * kappa)
        return float((kappa * x - np.maximum(x - o * kappa, 0) ** 2 / (2 * gamma)).sum())           # (P26)

    def prox(self, v: Array, step: float | Array) -> Array:
        """The proximal step (P27)."""
        t, gamma, o, top = one_step("ConcaveGroups", v, step), self.gamma, self.straight, self.gamma + 2 * self.straight
        w, axis = grouped("ConcaveGroups", v, self.axis, self.channels)
        x, kappa = group_norms(w, axis), self.lam * along(self.cost, w, axis)
        b = gamma + o if t < gamma else (t + top) / 2 if t < top else np.sqrt(t * top)
        between = (x - t * kappa * (1 + o / gamma)) / (1 - t / gamma) if t < gamma else x
        new = np.where(x <= min(t + o, b) * kappa, np.maximum(x - t * kappa, 0), between)
        new = np.where(x <= b * kappa, new, x)                                                      # (P27)
        return rescaled(w, axis, new).reshape(v.shape) if t * self.lam else v.copy()
