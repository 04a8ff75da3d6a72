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

from npkd.core.linalg import inner_product, product, subtract
from npkd.core.types import Array
from npkd.sparsity.group_lasso import refit
from npkd.sparsity.statistics import Statistics

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
        A = statistics.normalised()[0]
        A = A + np.eye(len(A)) * (ridge * float(np.trace(A)) / len(A) + 1e-300)
        every = np.arange(len(A))
        return Reader(np.ascontiguousarray(linalg.inv(A)), every, refit(statistics, every, ridge)[0], np.array(unit))

    def saliency(self, u: int) -> float:
        """By how much the error rises without unit u.

            E_u = ½ tr( W_{:,u} ([A⁻¹]_uu)⁻¹ W_{:,u}ᵀ )                                (I9)
        """
        at = np.flatnonzero(self.unit[self.column] == u)
        w = self.w[:, self.column[at]]
        return 0.5 * inner_product(w, linalg.solve(self.inverse[np.ix_(at, at)], w.T, assume_a="pos").T)         # (I9)

    def saliencies(self, left: Sequence[int] | Array) -> Array:
        """``harm`` of the units that are left."""
        if len(np.unique(self.unit)) < len(self.unit):
            return np.array([self.saliency(u) for u in left])
        there = np.flatnonzero(np.isin(self.unit[self.column], left))  # one column each, or none: the trace is a square
        saliencies = np.zeros(1 + max(*left, *self.unit))
        column = self.column[there]
        # (I9)
        saliencies[self.unit[column]] = 0.5 * (self.w[:, column] ** 2).sum(axis=0) / np.diag(self.inverse)[there]
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
