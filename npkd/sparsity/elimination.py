"""Backward elimination: of all neurons or channels the one goes whose loss does least harm, and the others make up for
it; then the next.

What the adaptive group lasso (saliency.py) does at once, neuron by neuron; and for channels, which layers read through
several columns each, and perhaps several layers, where it has no closed form. Derivation: docs/6-layer-wise.md,
docs/11-baselines.md.
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
from npkd.sparsity.least_squares import refit
from npkd.sparsity.statistics import Statistics

BATCH = 64
"""Neurons that go before the other entries of A⁻¹ and W follow: one product instead of many rank-one updates."""

ROOM = 0.8
"""Part of the inverse that must be of columns which are left; else it is made smaller."""


@dataclass(eq=False)
class Reader:
    """A layer that reads neurons, while they go.

    inverse (k, k)   A⁻¹ of the columns that are left, perhaps with zeros for some that are not
    column (k,)      which columns these are
    w (m, d)         the least squares on what is left, zero elsewhere;   unit (d,)  whose columns these are
    """

    inverse: Array
    column: Array
    w: Array
    unit: Array

    @staticmethod
    def of(statistics: Statistics, unit: Array, ridge: float) -> Reader:
        """The least squares on all d columns; ``unit`` (d,) says which neuron each reads. ``ridge`` is added to A,
        relative to the mean variance."""
        every = np.arange(len(statistics.A))
        return Reader(inverse_moments(statistics, ridge), every, refit(statistics, every, ridge)[0], np.array(unit))

    def saliency(self, u: int) -> float:
        """By how much the error rises without unit u.

            E_u = ½ tr( W_{:,u} ([A⁻¹]_uu)⁻¹ W_{:,u}ᵀ )                                (I9)
        """
        at = np.flatnonzero(self.unit[self.column] == u)
        w = self.w[:, self.column[at]]
        return 0.5 * inner_product(w, linalg.solve(self.inverse[np.ix_(at, at)], w.T, assume_a="pos").T)         # (I9)

    def saliencies(self, left: Sequence[int] | Array) -> Array:
        """``saliency`` of the units that are left, (n,)."""
        if len(np.unique(self.unit)) < len(self.unit):
            return np.array([self.saliency(u) for u in left])
        present = np.flatnonzero(np.isin(self.unit[self.column], left))  # at most one column each: a square
        saliencies = np.zeros(1 + max(*left, *self.unit))
        column = self.column[present]
        # (I9)
        saliencies[self.unit[column]] = 0.5 * (self.w[:, column] ** 2).sum(axis=0) / np.diag(self.inverse)[present]
        return saliencies[list(left)]

    def lose(self, u: int) -> None:
        """Unit u goes.

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
        if left.sum() < ROOM * len(left):                             # the work is that of the columns that are left
            self.inverse, self.column = np.ascontiguousarray(self.inverse[np.ix_(left, left)]), self.column[left]


def eliminate(readers: Sequence[Reader], units: int, count: int) -> tuple[Array, Array, Array]:
    """Units go until ``count`` of 0 … units − 1 are left; the readers are changed with them.

    What all readers lose together decides, in whatever unit their targets are. Of equals the first goes.
    Returns kept (count,) ascending, those that went in their order, and the rises of the error with each of them (units
    − count,).
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
    factor = low_rank(A, statistics.count - 1) if ridge > 0 else None
    if factor is not None:
        root = triangular(product(factor, factor.T) + rho * np.eye(len(factor)), factor)
        inverse = product(root.T, root) / -rho
        inverse[np.diag_indices_from(inverse)] += 1 / rho
        return inverse
    A[np.diag_indices_from(A)] += rho
    return inverse_of(A)


@dataclass(frozen=True, eq=False)
class Elimination:
    """Neurons that a layer reads through one column each, after all but some have gone one by one.

    kept (k,)        those that are left, ascending;   saliencies (k,)  E_j of each as the next to go
    w (k, m)         the least squares on them, a row for each neuron
    gone, rises      those that went, in their order, and the rise of the error with each
    """

    kept: Array
    saliencies: Array
    w: Array
    gone: Array
    rises: Array

    @staticmethod
    def of(statistics: Statistics, count: int, ridge: float) -> Elimination:
        """Neurons go, each time the one with the least E_j (I9), until ``count`` are left, at least one.

        (I10) and (I11) for one column, BATCH neurons at a time: of the entries of A⁻¹ and W only those are kept up to
        date that choose the next neuron, the diagonal and the norms; all others follow with one product.
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
    """What the first of ``rows`` (b, k) together take from a row: Σ_i by_i rows_i, by (i,), i ≤ b."""
    return np.asarray(blas.dgemv(1.0, rows[:len(by)].T, by)) if len(by) else 0.0
