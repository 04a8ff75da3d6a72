"""The l1/l2 pseudo-norm: which filters (or weights) matter, whatever their size. Derivation: book, chapter 21.

It is 1 where one group alone is not zero, √n where all n are alike, and stays when all weights are multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import floats, positive
from npkd.sparsity.penalties import group_norms, grouped, one_step, rescaled


def angle(phi: Array, c: Array) -> Array:
    """The smaller x in (0, π/2 − φ] at which sin 2x = c sin(φ + x), NaN where there is none; 0 where φ = 0.

    log sin(φ + x) − log sin 2x is convex in x, and ½ c sin φ lies below the root: Newton's method rises to it.
    """
    x = c * np.sin(phi) / 2
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for _ in range(60):
            slope = 1 / np.tan(phi + x) - 2 / np.tan(2 * x)
            climb = np.where(slope < 0, -np.log(c * np.sin(phi + x) / np.sin(2 * x)) / slope, np.nan)
            x = np.where(x + climb <= np.pi / 2 - phi, x + climb, np.nan)
            if not (np.abs(climb) > 1e-9 * x).any():                     # the next would be of the order of its square
                break
    return np.where(phi > 0, x, 0)


def shortened(v: Array, kappa: float, squared: bool) -> Array:
    """argmin_u ½‖u − v‖² + κ (‖u‖₁/‖u‖₂)^(1 or 2) for float64 v ≥ 0 (n,): the global minimum, in n log n operations.

        u = ⟨q, v⟩ q,   q the largest ½⟨q, v⟩² − κ ‖q‖₁^(1 or 2) of ‖q‖₂ = 1, q ≥ 0; 0 where that is not above 0  (P30)
        q = cos θ · e + sin θ · g,   e = 1/√k, g = (v − m)/d   on the k largest v; m their mean, d = ‖v − m‖      (P31)
        sin 2(θ − φ) = (2κ√k/R²) sin θ,   (√k m, d) = R (cos φ, sin φ), the smaller root                          (P32)
        2θ = the angle of (k m² − d² − 2κk, 2√k m d), where the ratio is squared                                  (P33)

    Of all k with q > 0 the best counts.
    """
    size = float(v.max(initial=0))
    order, kappa = np.argsort(-v, kind="stable"), float(kappa) / size / size if size else 1.0
    u, v, k = np.zeros_like(v), v[order] / (size or 1.0), np.arange(1.0, v.size + 1)
    if not 2 * kappa < np.square(v).sum():                       # ½⟨q, v⟩² ≤ ½‖v‖², and ‖q‖₁ is at least 1
        return u if np.isfinite(size) else u + np.nan
    mean, root = np.cumsum(v) / k, np.sqrt(k)
    d = np.sqrt(np.cumsum(np.append(0.0, (v[1:] - mean[:-1]) ** 2 * k[:-1] / k[1:])))
    e, phi = root * mean, np.arctan2(d, root * mean)
    theta = (np.arctan2(2 * e * d, e * e - d * d - 2 * kappa * k) / 2 if squared else                         # (P33)
             phi + angle(phi, 2 * kappa * root / (e * e + d * d)))                                            # (P32)
    inner, one = e * np.cos(theta) + d * np.sin(theta), root * np.cos(theta)         # ⟨q, v⟩ and ‖q‖₁
    rise = np.divide(np.sin(theta), d, where=d > 0, out=np.zeros_like(d))
    inside = one / k + rise * (v - mean) > 0                                         # q at the smallest v; NaN is not
    gain = np.where(inside, inner ** 2 / 2 - kappa * one ** (1 + squared), 0)                                 # (P30)
    if gain.max() > 0:
        i = int(gain.argmax())
        u[order[:i + 1]] = size * inner[i] * (one[i] / k[i] + rise[i] * (v[:i + 1] - mean[i]))                # (P31)
    return u


@dataclass(frozen=True)
class L1L2:
    """The l1/l2 pseudo-norm of the norms of groups: whole filters become zero, and those that stay need not shrink.

        Ω(w) = λ ‖v‖₁/‖v‖₂,   v_j = ‖w_j‖₂; squared: λ ‖v‖₁²/‖v‖₂²; Ω(0) = 0           (P28)
        ∂Ω/∂w_j = λ (1/‖v‖₂ − ‖v‖₁ v_j/‖v‖₂³) w_j/v_j; squared: times 2‖v‖₁/‖v‖₂       (P29)

    Groups as in NeuronGroups; with ``axis=None`` every weight is one. Ω(s w) = Ω(w) for s ≠ 0. At 0 it jumps down, so
    that there is a proximal step; that is (P30), directions kept, and 0 where ‖v‖² ≤ 2tλ. Raises InputError unless
    λ ≥ 0, and for an array of steps. Source: Berthelier et al. 2020, this form inferred; squared of single weights
    Yang, Wen & Li 2020, after the measure of Hoyer 2004.
    """

    lam: float
    axis: int | None = 0
    channels: int = 0
    squared: bool = False

    def __post_init__(self) -> None:
        positive("L1L2", "lam", self.lam, zero=True)

    def value(self, w: Array) -> float:
        """Ω(w), (P28)."""
        v = group_norms(*self.groups(w))
        v = v / (v.max(initial=0) or 1.0)
        return self.lam * float(v.sum() / (np.sqrt(np.square(v).sum()) or 1.0)) ** (1 + self.squared)         # (P28)

    def groups(self, w: Array) -> tuple[Array, int]:
        """Floats w, reshaped to have an axis of groups, and that axis."""
        floats("L1L2", w=w)
        return (w.reshape(-1, 1), 0) if self.axis is None else grouped("L1L2", w, self.axis, self.channels)

    def gradient(self, w: Array) -> Array:
        """∂Ω/∂w (P29); 0 in groups that are zero, where there is none."""
        g, axis = self.groups(w)
        v = group_norms(g, axis)
        s, r = v.sum(), np.sqrt(np.square(v).sum()) or 1.0
        outer = self.lam * (2 * s / r if self.squared else 1.0)
        return rescaled(g, axis, outer * (1 / r - s * v / r ** 3)).reshape(w.shape)                           # (P29)

    def prox(self, v: Array, step: float | Array) -> Array:
        """The proximal step (P30)."""
        kappa, (w, axis) = one_step("L1L2", v, step) * self.lam, self.groups(v)
        norms = group_norms(w, axis)
        new = shortened(norms.reshape(-1), kappa, self.squared).reshape(norms.shape)
        return rescaled(w, axis, new).reshape(v.shape) if kappa else v.copy()
