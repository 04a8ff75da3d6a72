"""Layer-wise optimal brain surgeon, for neurons: the one that costs least goes, and the survivors make up for it.

Source: Dong, Chen & Pan 2017, there for single weights; the update of the inverse as in Frantar & Alistarh 2022.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg
from scipy.linalg import blas

from npkd.arrays import Array
from npkd.experiments.reconstruct import RIDGE, Choice
from npkd.sparsity.group_lasso import refit
from npkd.sparsity.statistics import Statistics


def eliminate(A: Array, w: Array, count: int) -> tuple[Array, Array]:
    """Backward elimination, exact: after every step w is the best there is on what is left, if it was at the start.

        E_q = ½ ‖W_{:,q}‖² / [A⁻¹]_qq                                                 (I9)
        W ← W − W_{:,q} [A⁻¹]_{q,:} / [A⁻¹]_qq                                        (I10)
        A⁻¹ ← A⁻¹ − [A⁻¹]_{:,q} [A⁻¹]_{q,:} / [A⁻¹]_qq                                (I11)

    A (d, d) positive definite, w (m, d), float64: the minimum of ½⟨W, WA⟩ − ⟨W, Cᵀ⟩. E_q is by how much it rises without input q, (I10) the new
    minimiser, (I11) a step of Gaussian elimination, after which A⁻¹ is the inverse of what is left of A.
    Returns kept (count,) ascending and w (m, d), zero outside of it.
    """
    inverse, w = np.ascontiguousarray(linalg.inv(A)), w.copy()
    left = np.ones(len(A), bool)
    for _ in range(len(A) - count):
        price = np.full(len(A), np.inf)
        price[left] = 0.5 * (w[:, left] ** 2).sum(axis=0) / np.diag(inverse)[left]                               # (I9)
        q = int(price.argmin())
        row, pivot = inverse[q].copy(), float(inverse[q, q])
        blas.dger(-1 / pivot, row, w[:, q].copy(), a=w.T, overwrite_a=1)                                         # (I10)
        blas.dger(-1 / pivot, row, row, a=inverse.T, overwrite_a=1)                                              # (I11)
        w[:, q] = inverse[q] = inverse[:, q] = 0.0                    # exactly, so that what is gone stays gone
        left[q] = False
    return np.flatnonzero(left), w


def obs(statistics: Statistics, w: Array, b: Array, count: int) -> Choice:
    """The rule: from the least squares on everything, where the slope is zero as OBS supposes, neuron after neuron goes."""
    A = statistics.normalised()[0]
    A = A + np.eye(len(A)) * (RIDGE * float(np.trace(A)) / len(A) + 1e-300)
    start, _ = refit(statistics, np.arange(len(A)), RIDGE)
    kept, new = eliminate(A, start, count)
    return kept, new, statistics.intercept(new)
