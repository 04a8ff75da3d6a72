"""Compressed sparse rows: the weights that are not zero, row by row, and the product with them alone.

Derivation: docs/book/25-single-weights.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from npkd.core.linalg import wide
from npkd.core.types import Array
from npkd.core.validation import InputError, floats


@dataclass(frozen=True, eq=False)
class Csr:
    """A matrix (O, I) as the entries that are not zero.

    data (n,)   the entries, row after row, in each row from left to right;   indices (n,)  the column of each
    indptr (O + 1,)  where the rows begin: row o is data[indptr[o]:indptr[o + 1]]; indptr[O] = n;   shape  (O, I)
    Indices are of the smallest unsigned type that holds them. Raises InputError for arrays that are no such matrix.
    """

    data: Array
    indices: Array
    indptr: Array
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        floats("Csr", data=self.data)
        whole = self.indices.dtype.kind in "ui" and self.indptr.dtype.kind in "ui"
        starts = self.indptr.astype(np.int64)
        fits = (whole and self.data.shape == self.indices.shape == (len(self.data),) and len(self.shape) == 2
                and starts.shape == (self.shape[0] + 1,) and starts[0] == 0 and starts[-1] == len(self.data)
                and (np.diff(starts) >= 0).all() and ((self.indices >= 0) & (self.indices < self.shape[1])).all())
        if not fits:
            raise InputError(f"Csr: got {len(self.data)} entries, {len(self.indices)} indices and {len(self.indptr)} "
                             f"starts for a matrix {self.shape}; they do not make one: take Csr.of(w)")

    @staticmethod
    def of(w: Array) -> Csr:
        """The matrix w (O, I) of floats; of a convolution give w.reshape(len(w), -1)."""
        floats("Csr", w=w)
        if w.ndim != 2:
            raise InputError(f"Csr: w has shape {w.shape}; it must be (O, I): give w.reshape(len(w), -1)")
        rows, columns = np.nonzero(w)
        starts = np.r_[0, np.cumsum(np.bincount(rows, minlength=len(w)))]
        return Csr(w[rows, columns], columns.astype(np.min_scalar_type(max(w.shape[1] - 1, 0))),
                   starts.astype(np.min_scalar_type(len(rows))), (len(w), w.shape[1]))

    def dense(self) -> Array:
        """The matrix (O, I)."""
        w = np.zeros(self.shape, self.data.dtype)
        w[np.repeat(np.arange(self.shape[0]), np.diff(self.indptr.astype(np.int64))), self.indices] = self.data
        return w

    def product(self, x: Array) -> Array:
        """x (N, I) -> x Wᵀ (N, O), in the wider dtype of the two, n multiplications an example.

            y_no = Σ_{p_o ≤ k < p_{o+1}} data_k x_{n, indices_k},   p = indptr             (N67)

        Sums are accumulated in float64. Raises InputError for x that does not fit.
        """
        floats("Csr", x=x)
        if x.ndim != 2 or x.shape[1] != self.shape[1]:
            raise InputError(f"Csr: x has shape {x.shape}; it must be (N, {self.shape[1]})")
        y = np.zeros((self.shape[0], len(x)), np.result_type(x, self.data))
        starts = self.indptr.astype(np.int64)
        rows = np.flatnonzero(np.diff(starts))                    # reduceat has no sum of nothing
        if len(rows):
            parts = x.T[self.indices] * self.data[:, None]                                                # (N67)
            y[rows] = np.add.reduceat(parts, starts[rows], axis=0, dtype=wide(y))                         # (N67)
        return np.ascontiguousarray(y.T)

    def bytes(self) -> int:
        """Of the three arrays in memory."""
        return int(self.data.nbytes + self.indices.nbytes + self.indptr.nbytes)
