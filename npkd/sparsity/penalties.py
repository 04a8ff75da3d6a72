"""Penalties that make weights and whole neurons exactly zero: value, proximal step and dual norm.

λ is part of a penalty Ω, the step of a proximal step is not. A step may be an array of the shape of v: then the
proximal step is taken in the metric 1/step, argmin_u ½ Σ_i (u_i − v_i)²/t_i + Ω(u), as Adam needs it.
The dual norm gives λ_max: the solution of min f(w) + λ·Ω₁(w) is w = 0 exactly when λ ≥ λ_max = Ω₁°(∇f(0)), Ω₁ being Ω
at λ = 1. Derivations: docs/book/7-proximal.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from npkd.core.linalg import wide
from npkd.core.types import Array
from npkd.core.validation import InputError, floats, positive, whole
from npkd.sparsity.proximal import soft_threshold


def over_groups(w: Array, axis: int) -> tuple[int, ...]:
    """The axes within a group, when groups are the slices along ``axis``."""
    if not 0 <= axis < w.ndim:
        raise InputError(f"groups: axis is {axis}; an array of shape {w.shape} has axes 0 … {w.ndim - 1}")
    return tuple(i for i in range(w.ndim) if i != axis)


def grouped(who: str, w: Array, axis: int, channels: int) -> tuple[Array, int]:
    """Floats w and ``axis``; with ``channels``, as behind flatten, reshaped to have an axis of them, and its number."""
    floats(who, w=w)
    if not channels:
        return w, axis
    over_groups(w, axis)
    whole("groups", channels=channels)
    if channels < 0 or w.shape[axis] % channels:
        raise InputError(f"groups: channels is {channels}; it must divide {w.shape[axis]} entries along axis {axis}")
    return w.reshape(*w.shape[:axis], -1, channels, *w.shape[axis + 1:]), axis + 1


def group_norms(w: Array, axis: int) -> Array:
    """‖w_j‖₂ of each slice along ``axis``, in float64, with the axes of w."""
    inner, scale = over_groups(w, axis), np.float64(1)           # the squares of float32 fit into float64
    if w.dtype == wide(w):                                       # those of float64 after scaling by a power of two
        scale = np.ldexp(1.0, np.frexp(np.abs(w).max(axis=inner, keepdims=True, initial=0))[1] - 1)
        w = w / scale
    return np.asarray(scale * np.sqrt(np.square(w, dtype=wide(w)).sum(axis=inner, keepdims=True)))


def along(cost: float | Array, w: Array, axis: int) -> float | Array:
    """The costs of the groups in float64, shaped to broadcast against w."""
    if np.ndim(cost) == 0:
        return float(cost)
    cost = np.asarray(cost, np.float64)
    if cost.shape != (w.shape[axis],):
        raise InputError(f"groups: cost has shape {cost.shape}; axis {axis} of w {w.shape} has {w.shape[axis]} groups")
    return cost.reshape([-1 if i == axis else 1 for i in range(w.ndim)])


def check_groups(who: str, lam: float, cost: float | Array) -> None:
    """Raise InputError unless λ ≥ 0 and all costs are positive and finite."""
    positive(who, "lam", lam, zero=True)
    positive(who, "smallest cost", float(np.min(cost)))
    positive(who, "largest cost", float(np.max(cost)))


def group_value(who: str, w: Array, axis: int, cost: float | Array, channels: int) -> float:
    """Σ_j c_j ‖w_j‖₂ of floats w. Raises InputError for others, and for other axes, costs and channels than w has."""
    w, axis = grouped(who, w, axis, channels)
    return float((along(cost, w, axis) * group_norms(w, axis)).sum())


def check_step(who: str, v: Array, step: float | Array) -> None:
    """Raise InputError unless v holds floats and step is one number or has v's shape, finite and not negative."""
    floats(who, v=v)
    if np.ndim(step) and np.shape(step) != v.shape:
        raise InputError(f"{who}: step has shape {np.shape(step)}; it must be one number or have v's shape {v.shape}")
    least, largest = (float(f(step)) if np.size(step) else 0.0 for f in (np.min, np.max))
    if not 0 <= least <= largest < float("inf"):
        raise InputError(f"{who}: step is between {least} and {largest}; it must be finite and not negative")


def scaled(w: Array, factor: Array) -> Array:
    """w · factor in the dtype of w, computed at least in float32; −0.0 becomes 0.0."""
    dtype = np.result_type(w.dtype, np.float32)
    return np.asarray((w * factor.astype(dtype) + dtype.type(0)).astype(w.dtype, copy=False))


def one_step(who: str, v: Array, step: float | Array) -> float:
    """A step that is one number. Raises InputError for others, and as ``check_step``."""
    if np.ndim(step):
        raise InputError(f"{who}: step is an array; it must be one number (SGD, not Adam)")
    check_step(who, v, step)
    return float(step)


def rescaled(w: Array, axis: int, new: Array) -> Array:
    """w with each group at its ``new`` norm, shaped as group_norms; directions are kept, and groups of zeros."""
    norms = group_norms(w, axis)
    return scaled(w, np.divide(new, norms, where=norms != 0, out=np.zeros_like(norms)))


def shrink(v: Array, t: float | Array) -> Array:
    """S_t(v), (P1); where t = 0 nothing changes, bit for bit."""
    with np.errstate(over="ignore"):                              # t beyond what the dtype of v holds
        return soft_threshold(v, t) if np.any(t) else v.copy()


def group_prox(v: Array, lam: float, cost: float | Array, t: float | Array, axis: int, channels: int) -> Array:
    """Proximal step of λ Σ_j c_j ‖w_j‖₂, groups as in NeuronGroups: ``shrink_groups``."""
    w, axis = grouped("groups", v, axis, channels)
    t = np.reshape(t, w.shape) if np.ndim(t) else t
    return shrink_groups(w, lam * along(cost, w, axis), t, axis).reshape(v.shape)


def shrink_groups(v: Array, kappa: float | Array, t: float | Array, axis: int) -> Array:
    """Proximal step of Σ_j κ_j ‖w_j‖₂ with step t, a number or an array of the shape of v.

        p_j = max(1 − t κ_j/‖v_j‖, 0) · v_j                          t a number        (P5)
        p_i = v_i θ/(θ + κ_j t_i),  Σ_{i∈j} v_i²/(θ + κ_j t_i)² = 1    t_i an array      (P10)

    In (P10), θ = ‖p_j‖, and p_j = 0 where Σ v_i²/t_i² ≤ κ_j². The left side to the power −½ is increasing and concave
    in θ, so Newton's method from below, ‖v_j‖ − κ_j max t_i, rises to the root. Where t κ = 0 nothing changes.
    """
    if not np.any(kappa * np.asarray(t, np.float64)):
        return v.copy()
    norms = group_norms(v, axis)
    if np.ndim(t) == 0:
        ratio = np.divide(t * kappa, norms, where=norms > 0, out=np.full_like(norms, np.inf))
        return scaled(v, np.maximum(1 - ratio, 0))                                    # (P5)
    inner, t64, v64 = over_groups(v, axis), np.asarray(t, np.float64), v.astype(np.float64)
    kt = np.broadcast_to(kappa * t64, v.shape)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        alive = group_norms(np.where(v64 == 0, 0, v64 / t64), axis) > kappa
        theta = np.where(alive, np.maximum(norms - kt.max(axis=inner, keepdims=True), 0), 0)
        for _ in range(60):
            ratio = np.where(kt + theta > 0, v64 / (kt + theta), 0)
            h = (ratio ** 2).sum(axis=inner, keepdims=True)
            slope = np.where(kt + theta > 0, ratio ** 2 / (kt + theta), 0).sum(axis=inner, keepdims=True)
            climb = h * (np.sqrt(h) - 1) / slope                                      # Newton on h^(−½) = 1
            climb = np.where(alive & np.isfinite(climb), climb, 0)
            theta = theta + climb
            if not (np.abs(climb) > 1e-14 * theta).any():
                break
        p = np.where(alive & (theta > 0), v64 * (theta / (theta + kt)), 0)            # (P10)
    return np.asarray(np.where(kt == 0, v64, p).astype(v.dtype) + v.dtype.type(0))    # no penalty, or no step at all


@dataclass(frozen=True)
class L1:
    """The l1 norm: single weights become zero.

        Ω(w) = λ Σ_i |w_i|                                                            (P2)
        prox(v, t) = S_{tλ}(v)                                                        (P3)

    w any shape. Raises InputError unless λ ≥ 0 is finite. Source: Tibshirani 1996.
    """

    lam: float

    def __post_init__(self) -> None:
        positive("L1", "lam", self.lam, zero=True)

    def value(self, w: Array) -> float:
        """Ω(w), (P2)."""
        floats("L1", w=w)
        return self.lam * float(np.abs(w).sum(dtype=wide(w)))                         # (P2)

    def prox(self, v: Array, step: float | Array) -> Array:
        """The proximal step (P3)."""
        check_step("L1", v, step)
        return shrink(v, step * self.lam)                                             # (P3)

    def dual_norm(self, g: Array) -> float:
        """Ω₁°(g) = max_i |g_i|."""
        floats("L1", g=g)
        return float(np.abs(g).max(initial=0))                                        # (P11)


@dataclass(frozen=True, eq=False)
class NeuronGroups:
    """The group l2 norm: whole neurons become zero.

        Ω(w) = λ Σ_j c_j ‖w_j‖₂                                                       (P4)

    A group w_j is a slice along ``axis``: of dense weights (O, I), axis 0 takes the incoming weights of each output
    neuron, axis 1 the outgoing weights of each input neuron; of a convolution (F, kh, kw, C), axis 3 all that reads a
    channel. Behind flatten, entry p · C + j of axis 1 is channel j at position p, and ``channels`` = C makes one group
    of all its positions (0: every entry is a group). ``cost`` c > 0: one number, or one for each group.
    Proximal step (P5), in a metric (P10). Raises InputError unless λ ≥ 0, c > 0 and axis, costs and channels fit w.
    Source: Yuan & Lin 2006; for networks Scardapane et al. 2017, Alvarez & Salzmann 2016.
    """

    lam: float
    axis: int = 0
    cost: float | Array = 1.0
    channels: int = 0

    def __post_init__(self) -> None:
        check_groups("NeuronGroups", self.lam, self.cost)

    def value(self, w: Array) -> float:
        """Ω(w), (P4)."""
        return self.lam * group_value("NeuronGroups", w, self.axis, self.cost, self.channels)           # (P4)

    def prox(self, v: Array, step: float | Array) -> Array:
        """The proximal step (P5), (P10)."""
        check_step("NeuronGroups", v, step)
        return group_prox(v, self.lam, self.cost, step, self.axis, self.channels)

    def dual_norm(self, g: Array) -> float:
        """Ω₁°(g) = max_j ‖g_j‖₂/c_j."""
        g, axis = grouped("NeuronGroups", g, self.axis, self.channels)
        return float((group_norms(g, axis) / along(self.cost, g, axis)).max(initial=0))                          # (P12)


@dataclass(frozen=True, eq=False)
class SparseGroups:
    """Whole neurons become zero, and single weights of those that stay.

        Ω(w) = λ [ α Σ_i |w_i| + (1 − α) Σ_j c_j ‖w_j‖₂ ]                             (P6)
        prox(v, t) = shrink_groups(S_{tαλ}(v))                                        (P7)

    Groups and costs as in NeuronGroups. (P7) holds in a diagonal metric too, since shrinking keeps every sign. Raises
    InputError for λ < 0, c ≤ 0, α outside [0, 1]. Source: Simon et al. 2013; for networks Alvarez & Salzmann 2016.
    """

    lam: float
    axis: int = 0
    alpha: float = 0.5
    cost: float | Array = 1.0
    channels: int = 0

    def __post_init__(self) -> None:
        check_groups("SparseGroups", self.lam, self.cost)
        if not 0 <= self.alpha <= 1:
            raise InputError(f"SparseGroups: alpha is {self.alpha}; it must lie between 0 (groups) and 1 (weights)")

    def value(self, w: Array) -> float:
        """Ω(w), (P6)."""
        groups = group_value("SparseGroups", w, self.axis, self.cost, self.channels)
        return self.lam * (self.alpha * float(np.abs(w).sum(dtype=wide(w))) + (1 - self.alpha) * groups)  # (P6)

    def prox(self, v: Array, step: float | Array) -> Array:
        """The proximal step (P7)."""
        check_step("SparseGroups", v, step)
        soft = shrink(v, step * (self.alpha * self.lam))
        return group_prox(soft, self.lam * (1 - self.alpha), self.cost, step, self.axis, self.channels)    # (P7)

    def dual_norm(self, g: Array) -> float:
        """The smallest λ with ‖S_{αλ}(g_j)‖₂ ≤ (1 − α) λ c_j for every group, by bisection to machine precision."""
        g, axis = grouped("SparseGroups", g, self.axis, self.channels)
        size = float(np.abs(g).max(initial=0)) or 1.0                                 # scaled against overflow
        g, cost, low = np.divide(g, size, dtype=wide(g)), along(self.cost, g, axis), 0.0
        high = 2 * float(np.linalg.norm(g)) / min(1.0, float(np.min(self.cost)))
        while high - low > 1e-15 * high and (middle := (low + high) / 2) not in (low, high):
            rest = group_norms(soft_threshold(g, self.alpha * middle), axis)
            if (rest <= (1 - self.alpha) * middle * cost).all():                      # (P13)
                high = middle
            else:
                low = middle
        return size * high


@dataclass(frozen=True)
class MaxNorm:
    """A bound on the norm of every neuron's weights: the indicator of {‖w_j‖₂ ≤ bound}. Its proximal step projects.

        Ω(w) = 0 where all ‖w_j‖₂ ≤ r, else ∞                                         (P8)
        prox(v, t)_j = v_j · min(1, r/‖v_j‖₂)                                         (P9)

    Groups as in NeuronGroups; no λ, so no dual norm. Raises InputError unless r > 0, and for an array of steps.
    Source: Srebro & Shraibman 2005; with dropout Srivastava et al. 2014.
    """

    bound: float
    axis: int = 0
    channels: int = 0

    def __post_init__(self) -> None:
        positive("MaxNorm", "bound", self.bound)

    def value(self, w: Array) -> float:
        """Ω(w), (P8); the rounding of w, and of a sum of its squares in float64, beyond the bound counts as within."""
        w, axis = grouped("MaxNorm", w, self.axis, self.channels)
        room = 8 * np.finfo(w.dtype).eps + w.size / max(1, w.shape[axis]) * np.finfo(np.float64).eps
        return 0.0 if (group_norms(w, axis) <= self.bound * (1 + room)).all() else float("inf")         # (P8)

    def prox(self, v: Array, step: float | Array) -> Array:
        """The projection (P9). Raises InputError for an array of steps."""
        one_step("MaxNorm", v, step)
        w, axis = grouped("MaxNorm", v, self.axis, self.channels)
        return scaled(w, self.bound / np.maximum(group_norms(w, axis), self.bound)).reshape(v.shape)    # (P9)
