"""Backward elimination: the neuron or channel of least saliency is removed and the others are fitted again, repeatedly.

It gives the costs of the adaptive group lasso (saliency.py), and chooses channels, which are read through several
columns or by several layers. Derivation: docs/book/10-layer-by-layer.md, docs/book/14-other-methods.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.linalg import blas

from npkd.core.linalg import inner_product, product, subtract
from npkd.core.types import Array
from npkd.sparsity.group_lasso_steps import inverse_of, low_rank, row_products, triangular
from npkd.sparsity.statistics import Statistics, refit

BATCH = 64
"""Neurons removed before the other entries of A⁻¹ and W are updated: one product instead of rank-one updates."""


@dataclass(eq=False)
class Reader:
    """A layer that reads neurons, during elimination.

    inverse (k, k)   A⁻¹ of the columns that are left, zero for removed ones;   column (k,)  their indices
    w (m, d)         the least squares on them, zero elsewhere;   unit (d,)  the neuron that each column reads
    """

    inverse: Array
    column: Array
    w: Array
    unit: Array

    @staticmethod
    def of(statistics: Statistics, unit: Array, ridge: float) -> Reader:
        """The least squares on all d columns; ``ridge`` is added to A, relative to the mean variance."""
        every = np.arange(len(statistics.A))
        return Reader(inverse_moments(statistics, ridge), every, refit(statistics, every, ridge)[0], np.array(unit))

    def saliency(self, u: int) -> float:
        """Rise of the error without unit u.

            E_u = ½ tr( W_{:,u} ([A⁻¹]_uu)⁻¹ W_{:,u}ᵀ )                                (I9)
        """
        at = np.flatnonzero(self.unit[self.column] == u)
        w = self.w[:, self.column[at]]
        return 0.5 * inner_product(w, linalg.solve(self.inverse[np.ix_(at, at)], w.T, assume_a="pos").T)         # (I9)

    def saliencies(self, left: Sequence[int] | Array) -> Array:
        """``saliency`` of the units that are left, (n,)."""
        if len(np.unique(self.unit)) < len(self.unit):
            return np.array([self.saliency(u) for u in left])
        present = np.flatnonzero(np.isin(self.unit[self.column], left))                  # at most one column each
        saliencies, column = np.zeros(1 + max(*left, *self.unit)), self.column[present]
        squares = (self.w[:, column] ** 2).sum(axis=0)
        saliencies[self.unit[column]] = 0.5 * squares / np.diag(self.inverse)[present]                           # (I9)
        return saliencies[list(left)]

    def lose(self, u: int) -> None:
        """Remove unit u.

            W ← W − W_{:,u} ([A⁻¹]_uu)⁻¹ [A⁻¹]_{u,:}                                    (I10)
            A⁻¹ ← A⁻¹ − [A⁻¹]_{:,u} ([A⁻¹]_uu)⁻¹ [A⁻¹]_{u,:}                            (I11)
        """
        at = np.flatnonzero(self.unit[self.column] == u)
        gone = self.column[at]
        share = linalg.solve(self.inverse[np.ix_(at, at)], self.inverse[at], assume_a="pos")
        self.w[:, self.column] -= product(np.ascontiguousarray(self.w[:, gone]), share)                          # (I10)
        subtract(self.inverse, np.ascontiguousarray(self.inverse[:, at]), share)                                # (I11)
        self.w[:, gone] = self.inverse[at] = self.inverse[:, at] = 0.0  # exactly, so that what is gone stays gone
        left = np.diag(self.inverse) > 0
        if left.sum() < 0.8 * len(left):                              # the work is that of the columns that are left
            self.inverse, self.column = np.ascontiguousarray(self.inverse[np.ix_(left, left)]), self.column[left]


def eliminate(readers: Sequence[Reader], units: int, count: int) -> tuple[Array, Array, Array]:
    """Remove units, each time that of least saliency in all readers, until ``count`` of 0 … units − 1 are left.

    Of equals the first goes; the readers are updated. Returns kept (count,) ascending, and (units − count,) those that
    went, in their order, and the rise of the error with each.
    """
    left, gone, rises = list(range(units)), list[int](), list[float]()
    while len(left) > count:
        saliency = np.sum([reader.saliencies(left) for reader in readers], axis=0)
        u = left.pop(int(saliency.argmin()))
        gone.append(u)
        rises.append(float(saliency.min()))
        for reader in readers:
            reader.lose(u)
    return np.array(left, int), np.array(gone, int), np.array(rises)


def inverse_moments(statistics: Statistics, ridge: float) -> Array:
    """(A/N + ρ tr(A/N)/d I)⁻¹, (d, d); by Woodbury's formula where the examples are fewer than half the inputs."""
    A = statistics.normalised()[0]
    rho = ridge * float(np.trace(A)) / len(A) + 1e-300
    if ridge > 0 and (factor := low_rank(A, statistics.count - 1)) is not None:
        root = triangular(product(factor, factor.T) + rho * np.eye(len(factor)), factor)
        inverse = product(root.T, root) / -rho
        inverse[np.diag_indices_from(inverse)] += 1 / rho
        return inverse
    A[np.diag_indices_from(A)] += rho
    return inverse_of(A)


@dataclass(frozen=True, eq=False)
class Elimination:
    """Backward elimination of neurons that a layer reads through one column each.

    kept (k,)        those that are left, ascending;   saliencies (k,)  E_j of each;   w (k, m)  their least squares
    gone, rises      those that went, in their order, and the rise of the error with each
    """

    kept: Array
    saliencies: Array
    w: Array
    gone: Array
    rises: Array

    @staticmethod
    def of(statistics: Statistics, count: int, ridge: float) -> Elimination:
        """Remove neurons, each time that of least E_j (I9), until ``count`` are left, at least one.

        (I10) and (I11) for BATCH neurons at a time: only the diagonal of A⁻¹ and the norms of W are updated with each.
        """
        inverse, C = inverse_moments(statistics, ridge), statistics.normalised()[1]
        w, kept = product(inverse, C), np.arange(len(C))
        gone, rises = list[int](), list[float]()
        count = min(max(count, 1), len(C))
        while len(kept) > count:
            size = min(BATCH, len(kept) - count)
            rows, parts = np.zeros((size, len(kept))), np.zeros((size, w.shape[1]))
            diagonal, squares, left = np.diag(inverse).copy(), row_products(w, w), np.ones(len(kept), bool)
            for i in range(size):
                E = np.where(left, 0.5 * squares / np.where(left, diagonal, 1), np.inf)                      # (I9)
                u = int(E.argmin())
                gone.append(int(kept[u]))
                rises.append(float(E[u]))
                row, part = inverse[u] - before(rows, rows[:i, u]), w[u] - before(parts, rows[:i, u])
                root = np.sqrt(row[u])
                rows[i], parts[i] = np.where(left, row / root, 0), part / root
                left[u] = False
                across = blas.dgemv(1.0, w.T, parts[i], trans=1)
                across -= before(rows, blas.dgemv(1.0, parts[:i].T, parts[i], trans=1) if i else parts[:0, 0])
                squares += rows[i] * (rows[i] * float((parts[i] ** 2).sum()) - 2 * across)                    # (I10)
                diagonal -= rows[i] ** 2                                                                     # (I11)
                squares = np.maximum(squares, 0)
            rows = np.ascontiguousarray(rows[:, left])
            inverse, w, kept = inverse[np.ix_(left, left)], w[left], kept[left]
            subtract(inverse, rows.T, rows)                                                                  # (I11)
            subtract(w, rows.T, parts)                                                                       # (I10)
        return Elimination(kept, 0.5 * row_products(w, w) / np.diag(inverse), w, np.array(gone, int), np.array(rises))


def before(rows: Array, by: Array) -> Array | float:
    """Σ_i by_i rows_i for rows (b, k) and by (i,), i ≤ b."""
    return np.asarray(blas.dgemv(1.0, rows[:len(by)].T, by)) if len(by) else 0.0
