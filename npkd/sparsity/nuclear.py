"""The nuclear norm: singular values of weights become zero, their rank falls. Derivation: docs/book/22-low-rank.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from npkd.core.linalg import product
from npkd.core.types import Array
from npkd.core.validation import InputError, finite, floats, positive
from npkd.sparsity.penalties import check_step
from npkd.sparsity.proximal import soft_threshold


@dataclass(frozen=True)
class Nuclear:
    """The nuclear norm, the sum of the singular values σ of the weights as a matrix.

        Ω(w) = λ ‖W‖_* = λ Σ_k σ_k                                                    (N1)
        prox(v, t) = U diag(S_{tλ}(σ)) Vᵀ,   V as a matrix = U diag(σ) Vᵀ             (N2)

    w (O, ...) is a matrix of O rows, kernels (F, kh, kw, C) one of (F, kh·kw·C); the step has rank #{σ_k > tλ}, but for
    rounding. Raises InputError unless λ ≥ 0 is finite. Source: Alvarez & Salzmann 2017; Cai, Candès & Shen 2010.
    """

    lam: float

    def __post_init__(self) -> None:
        positive("Nuclear", "lam", self.lam, zero=True)

    def value(self, w: Array) -> float:
        """Ω(w), (N1)."""
        return self.lam * float(singular_values(w).sum())                             # (N1)

    def prox(self, v: Array, step: float | Array) -> Array:
        """The proximal step (N2). Raises InputError for an array of steps."""
        if np.ndim(step):
            raise InputError("Nuclear: step is an array; singular values need one number (SGD, not Adam)")
        check_step("Nuclear", v, step)
        if not step * self.lam or not np.isfinite(v).all():      # a training that has diverged says so itself
            return v.copy()
        u, s, vt = linalg.svd(v.reshape(len(v), -1).astype(np.float64), full_matrices=False)
        s = soft_threshold(s, step * self.lam)
        p = product(u * s, vt) + 0.0 if s.any() else np.zeros(v.shape)                # (N2)
        return np.asarray(p.reshape(v.shape).astype(v.dtype))

    def dual_norm(self, g: Array) -> float:
        """Ω₁°(g) = max_k σ_k, the spectral norm."""
        return float(singular_values(g).max(initial=0))                               # (N3)


def singular_values(w: Array) -> Array:
    """Of floats w (O, ...) as a matrix, falling, float64. Raises InputError for NaN and infinity."""
    floats("Nuclear", w=w)
    finite("Nuclear", w=w)
    return np.asarray(linalg.svdvals(w.reshape(len(w), -1).astype(np.float64)))
