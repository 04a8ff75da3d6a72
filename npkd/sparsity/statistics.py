"""Sufficient statistics of a layer, which add up, and its least squares: docs/book/8-layer-problem.md."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from scipy import linalg
from scipy.linalg import lapack

from npkd.core.linalg import gram, inner_product, product
from npkd.core.types import Array
from npkd.core.validation import InputError, finite, floats


@dataclass(frozen=True, eq=False)
class Statistics:
    """Centred second moments of inputs H (N, d) and targets Z (N, m), as sums.

        A = Σ_n (h_n − h̄)(h_n − h̄)ᵀ,   C = Σ_n (h_n − h̄)(z_n − z̄)ᵀ,   t = Σ_n ‖z_n − z̄‖²         (S1)

    count N, mean_h h̄ (d,), mean_z z̄ (m,), A (d, d), C (d, m), t (m,): float64; t by target, its sum is the t of (S1).
    Statistics of parts add up, so batches, files and machines merge; memory is O(d² + dm) for any N:

        A = A₁ + A₂ + δ δᵀ N₁N₂/N,   δ = h̄₂ − h̄₁,   and C, t likewise                  (S2)

    Source of (S2): Chan, Golub & LeVeque 1983, here for matrices.
    """

    count: int
    mean_h: Array
    mean_z: Array
    A: Array
    C: Array
    t: Array

    @staticmethod
    def of(h: Array, z: Array) -> Statistics:
        """Statistics of floats h (N, d), z (N, m), N ≥ 1. Raises InputError for other shapes, NaN or infinity."""
        floats("Statistics", h=h, z=z)
        if h.ndim != 2 or z.ndim != 2 or len(h) != len(z) or not len(h):
            raise InputError(f"Statistics: h has shape {h.shape} and z {z.shape}; they must be (N, d), (N, m), N ≥ 1")
        finite("Statistics", h=h, z=z)
        (mean_h, hc), (mean_z, zc) = centred(h), centred(z)
        return Statistics(len(h), mean_h, mean_z, gram(hc), product(hc.T, zc), (zc * zc).sum(axis=0))     # (S1)

    def flaw(self) -> str:
        """Which law of second moments these numbers break, beyond rounding; empty where they may be those of data.

            A = Aᵀ ⪰ 0,   t_o ≥ 0,   C_jo² ≤ A_jj t_o,   t_o − C_oᵀ A⁻¹ C_o ≥ 0               (S5)
        """
        size, span = np.sqrt(np.maximum(np.diag(self.A), 0)), np.sqrt(np.maximum(self.t, 0))
        if (self.t < 0).any() or (np.diag(self.A) < 0).any():
            return "a sum of squares is negative"
        if (np.abs(self.A - self.A.T) > 1e-9 * np.outer(size, size)).any():
            return "A is not symmetric"
        if (np.abs(self.C) > (1 + 1e-6) * np.outer(size, span)).any():                                 # (S5)
            return "an entry of C is larger than its variances allow"
        on = np.flatnonzero(size > 0)
        unit = self.A[np.ix_(on, on)] / size[on, None] / size[on]
        unit[np.diag_indices_from(unit)] += 1e-9 * (1 + len(on))
        factor, fault = lapack.dpotrf(unit, lower=1)
        if fault:
            return "A is not positive semi-definite"
        half = lapack.dtrtrs(factor, self.C[on] / size[on, None], lower=1)[0]
        if ((half ** 2).sum(axis=0) > (1 + 1e-6) * self.t).any():                                      # (S5)
            return "C explains more of a target than its variance"
        return ""

    def __add__(self, other: Statistics) -> Statistics:
        """Statistics of both parts together, (S2)."""
        if self.C.shape != other.C.shape:
            raise InputError(f"Statistics: parts (d, m) of {self.C.shape} and {other.C.shape}; they must agree")
        count = self.count + other.count
        dh, dz = other.mean_h - self.mean_h, other.mean_z - self.mean_z
        weight, part = self.count * other.count / count, other.count / count
        A = self.A + other.A + weight * np.outer(dh, dh)                                               # (S2)
        C = self.C + other.C + weight * np.outer(dh, dz)                                               # (S2)
        t = self.t + other.t + weight * dz * dz                                                        # (S2)
        return Statistics(count, self.mean_h + part * dh, self.mean_z + part * dz, A, C, t)

    def normalised(self) -> tuple[Array, Array, float]:
        """A/N, C/N and t/N: what the problem (W1) is written in."""
        return self.A / self.count, self.C / self.count, float(self.t.sum()) / self.count

    def intercept(self, w: Array) -> Array:
        """The best bias for given weights w (m, d): b = z̄ − W h̄, (m,)."""
        return np.asarray(self.mean_z - product(w, self.mean_h[:, None])[:, 0])                           # (S3)

    def error(self, w: Array) -> float:
        """Relative error of weights w (m, d) with their best bias: ‖Z − 1bᵀ − HWᵀ‖²_F / ‖Z − 1z̄ᵀ‖²_F; 0 where t is 0.

            r²/t,   r² = t − 2⟨W, Cᵀ⟩ + ⟨W, W A⟩                                       (S4)
        """
        t = float(self.t.sum())
        if t == 0:
            return 0.0
        return max(0.0, 1 + (inner_product(w, product(w, self.A)) - 2 * inner_product(w, self.C.T)) / t)     # (S4)

    def targets(self, kept: Array) -> Statistics:
        """The statistics of the targets with indices ``kept`` alone."""
        return replace(self, mean_z=self.mean_z[kept], C=np.ascontiguousarray(self.C[:, kept]), t=self.t[kept])

    def weighted(self, s: Array) -> Statistics:
        """The statistics of targets s_o z_no, s (m,) positive weights."""
        return replace(self, mean_z=self.mean_z * s, C=self.C * s, t=self.t * s * s)

    def inputs(self, kept: Array) -> Statistics:
        """The statistics of the inputs with indices ``kept`` alone."""
        return replace(self, mean_h=self.mean_h[kept], A=self.A[np.ix_(kept, kept)], C=self.C[kept])


def centred(x: Array) -> tuple[Array, Array]:
    """Means of the columns of x (N, d), and x without them, both float64; exactly 0 where a column is constant."""
    mean = x.mean(axis=0, dtype=np.float64)
    deviations = x - mean
    near = np.flatnonzero(np.abs(deviations[0]) <= 1e-9 * np.abs(mean))
    constant = near[(x[:, near] == x[0, near]).all(axis=0)]
    mean[constant], deviations[:, constant] = x[0, constant], 0
    return mean, deviations


def merge(parts: list[Statistics]) -> Statistics:
    """The statistics of all parts together, (S2). Raises InputError for an empty list."""
    if not parts:
        raise InputError("merge: got no statistics; it needs at least one part")
    return reduce(Statistics.__add__, parts)


def refit(statistics: Statistics, kept: Array, ridge: float = 1e-6) -> tuple[Array, Array]:
    """Least squares on the kept neurons: the shrinkage that the penalty caused is undone.

        W_S = Cᵀ_S (A_SS + ρ tr(A_SS)/|S| · I)⁻¹                                      (W7)

    kept (k,) indices -> w (m, d), zero outside of them, and b (m,). ρ = ``ridge`` keeps the matrix definite.
    """
    A, C, _ = statistics.normalised()
    w = np.zeros((C.shape[1], len(A)))
    if len(kept):
        inner = A[np.ix_(kept, kept)]
        inner += np.eye(len(kept)) * (ridge * float(np.trace(inner)) / len(kept) + 1e-300)
        w[:, kept] = linalg.solve(inner, C[kept], assume_a="pos").T                   # (W7)
    return w, statistics.intercept(w)
