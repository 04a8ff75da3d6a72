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
    """At most ``count`` weights of an array that are not zero. Source: Blumensath & Davies 2008.

        Ω(w) = 0 where |{i : w_i ≠ 0}| ≤ count, else ∞                                (P24)
        prox(v, t)_i = v_i where v_i²/t_i is among the ``count`` largest, else 0      (P25)

    Of equal ones the first in the order of w stay. Raises InputError unless count ≥ 0 is whole.
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


def bent_value(penalty: GroupMCP | GroupSCAD, w: Array, gamma: float, o: int) -> float:
    """Ω(w), (P26)."""
    w, axis = grouped(type(penalty).__name__, w, penalty.axis, penalty.channels)
    kappa = penalty.lam * along(penalty.cost, w, axis)
    x = np.minimum(group_norms(w, axis), (gamma + o) * kappa)
    return float((kappa * x - np.maximum(x - o * kappa, 0) ** 2 / (2 * gamma)).sum())              # (P26)


def bent_prox(penalty: GroupMCP | GroupSCAD, v: Array, step: float | Array, gamma: float, o: int) -> Array:
    """The proximal step (P27)."""
    t, (w, axis) = one_step(type(penalty).__name__, v, step), grouped("groups", v, penalty.axis, penalty.channels)
    x, kappa, top = group_norms(w, axis), penalty.lam * along(penalty.cost, w, axis), gamma + 2 * o
    b = gamma + o if t < gamma else (t + top) / 2 if t < top else np.sqrt(t * top)
    between = (x - t * kappa * (1 + o / gamma)) / (1 - t / gamma) if t < gamma else x
    u = np.where(x <= min(t + o, b) * kappa, np.maximum(x - t * kappa, 0), between)
    return rescaled(v, penalty.axis, penalty.channels, np.where(x <= b * kappa, u, x))             # (P27)


@dataclass(frozen=True, eq=False)
class GroupMCP:
    """The minimax concave penalty of the norms of groups, as in NeuronGroups: large ones do not shrink.

        Ω(w) = Σ_j ρ_j(‖w_j‖),   κ_j = λ c_j, o = 0,
            ρ_j(x) = κ_j x − max(x − o κ_j, 0)²/2γ where x ≤ (γ + o) κ_j, constant beyond            (P26)
        ‖prox(v, t)_j‖ = x = ‖v_j‖ where x > b κ_j; max(x − t κ_j, 0) where x ≤ min(t + o, b) κ_j;
            (x − t κ_j (1 + o/γ))/(1 − t/γ) between
        b = γ + o where t < γ, (t + γ)/2 + o where γ ≤ t < γ + 2o, else √(t (γ + 2o))                (P27)

    Raises InputError unless γ > 0, and for an array of steps. Source: Zhang 2010; of groups Breheny & Huang 2015.
    """

    lam: float
    gamma: float = 3.0
    axis: int = 0
    cost: float | Array = 1.0
    channels: int = 0

    def __post_init__(self) -> None:
        check_groups("GroupMCP", self.lam, self.cost)
        positive("GroupMCP", "gamma", self.gamma)

    def value(self, w: Array) -> float:
        """Ω(w), (P26)."""
        return bent_value(self, w, self.gamma, 0)

    def prox(self, v: Array, step: float | Array) -> Array:
        """The proximal step (P27)."""
        return bent_prox(self, v, step, self.gamma, 0)


@dataclass(frozen=True, eq=False)
class GroupSCAD:
    """Smoothly clipped absolute deviation of the norms of groups: (P26) and (P27) with o = 1 and γ = a − 1.

    Raises InputError unless a > 2, and for an array of steps. Source: Fan & Li 2001; of groups Breheny & Huang 2015.
    """

    lam: float
    a: float = 3.7
    axis: int = 0
    cost: float | Array = 1.0
    channels: int = 0

    def __post_init__(self) -> None:
        check_groups("GroupSCAD", self.lam, self.cost)
        positive("GroupSCAD", "a − 2", self.a - 2)

    def value(self, w: Array) -> float:
        """Ω(w), (P26)."""
        return bent_value(self, w, self.a - 1, 1)

    def prox(self, v: Array, step: float | Array) -> Array:
        """The proximal step (P27)."""
        return bent_prox(self, v, step, self.a - 1, 1)
