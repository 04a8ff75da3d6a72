"""Least squares from statistics: weights on some of the inputs, without a penalty. Derivation: docs/6-layer-wise.md."""

from __future__ import annotations

import numpy as np
from scipy import linalg

from npkd.core.types import Array
from npkd.sparsity.statistics import Statistics


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
