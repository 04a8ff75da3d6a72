"""Compressed sparse rows: the weights that are not zero, and the product with them: docs/book/25-single-weights.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from npkd.core.linalg import wide
from npkd.core.types import Array
from npkd.core.validation import InputError, floats


@dataclass(frozen=True, eq=False)
class Csr:
    """A matrix (O, I) as its n entries that are not zero; ``Csr.of(w)`` makes one.

    data (n,)   the entries, row after row, in each from left to right;   indices (n,)  the column of each
    indptr (O + 1,)  where the rows begin: row o is data[indptr[o]:indptr[o + 1]];   shape  (O, I)
    """

    data: Array
    indices: Array
    indptr: Array
    shape: tuple[int, int]

    @staticmethod
    def of(w: Array) -> Csr:
        """The matrix w (O, I) of floats, indices of the smallest type that holds them. Raises InputError for others."""
        floats("Csr", w=w)
        if w.ndim != 2:
            raise InputError(f"Csr: w has shape {w.shape}; it must be (O, I): give w.reshape(len(w), -1)")
        at, starts = np.nonzero(w), np.r_[0, np.cumsum(np.count_nonzero(w, axis=1))]
        return Csr(w[at], at[1].astype(np.min_scalar_type(max(w.shape[1] - 1, 0))),
                   starts.astype(np.min_scalar_type(starts[-1])), (len(w), w.shape[1]))

    def dense(self) -> Array:
        """The matrix (O, I)."""
        w = np.zeros(self.shape, self.data.dtype)
        w[np.repeat(np.arange(self.shape[0]), np.ediff1d(self.indptr.astype(int))), self.indices] = self.data
        return w

    def product(self, x: Array) -> Array:
        """x Wᵀ for x (N, I): (N, O) in the wider dtype of the two, sums in float64. n multiplications an example.

            y_no = Σ_{p_o ≤ k < p_{o+1}} data_k x_{n, indices_k},   p = indptr             (N68)
        """
        floats("Csr", x=x)
        if x.ndim != 2 or x.shape[1] != self.shape[1]:
            raise InputError(f"Csr: x has shape {x.shape}; it must be (N, {self.shape[1]})")
        y, starts = np.zeros((self.shape[0], len(x)), np.result_type(x, self.data)), self.indptr.astype(np.int64)
        if len(rows := np.flatnonzero(np.diff(starts))):          # reduceat has no sum of nothing
            y[rows] = np.add.reduceat(x.T[self.indices] * self.data[:, None], starts[rows], dtype=wide(y))    # (N68)
        return np.ascontiguousarray(y.T)

    def bytes(self) -> int:
        """Of the three arrays in memory."""
        return int(self.data.nbytes + self.indices.nbytes + self.indptr.nbytes)
