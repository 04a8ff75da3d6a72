"""Statistics of a layer that reads more values than a matrix in memory can have: A lies in a file, block by block.

Derivation: docs/book/28-scale.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from npkd.core.files import NewPath, reason
from npkd.core.linalg import gram, product
from npkd.core.types import Array
from npkd.core.validation import InputError, finite, floats
from npkd.sparsity.statistics import Statistics, centred

BLOCK = 1000
"""Rows and columns of a block: 8 MB in float64, and products large enough for BLAS."""


class BlockStatistics:
    """The sums of Statistics, (S1), with A in a new file of the upper blocks A_IJ, I ≤ J, of d inputs.

    Memory: one block, the batch as it was given, two of its blocks of columns in float64, and C (d, m). The file has
    about 4 d² bytes and is read and written once a batch: give batches of thousands of rows. With ``with`` the file is
    closed at the end, and stays; it is scratch, without header.
    count N, mean_h (d,), mean_z (m,), C (d, m), t (m,) as of Statistics;   diagonal  of A, (d,)

    Raises InputError for a file that is there already, and where the disk has no room."""

    def __init__(self, path: NewPath, inputs: int, targets: int, block: int = BLOCK) -> None:
        self.parts = [slice(i, min(i + block, inputs)) for i in range(0, inputs, block)]
        self.path, self.start, size = Path(path), dict[tuple[int, int], int](), 0
        for i, rows in enumerate(self.parts):
            for j, columns in enumerate(self.parts[i:], i):
                self.start[i, j] = size
                size += 8 * (rows.stop - rows.start) * (columns.stop - columns.start)
        self.count, self.mean_h, self.mean_z = 0, np.zeros(inputs), np.zeros(targets)
        self.C, self.t, self.diagonal = np.zeros((inputs, targets)), np.zeros(targets), np.zeros(inputs)
        try:
            self.file = open(self.path, "x+b")  # noqa: SIM115  closed by __exit__
            self.file.truncate(size)                                    # zeros
        except OSError as error:
            raise InputError(f"blocks: {path}: {reason(error)}; name a new file where {size:.1e} bytes have room"
                             ) from error

    def __enter__(self) -> BlockStatistics:
        return self

    def __exit__(self, *raised: object) -> None:
        self.file.close()

    def add(self, h: Array, z: Array) -> None:
        """The examples h (n, d), z (n, m) beside those that are counted, by (S2), block by block. Raises InputError
        for other shapes, NaN or infinity, and where the disk is full: the sums are then lost."""
        floats("blocks", h=h, z=z)
        if (h.ndim, z.ndim) != (2, 2) or not len(h) or (len(h), h.shape[1], z.shape[1]) != (len(z), *self.C.shape):
            raise InputError(f"blocks: h has shape {h.shape} and z {z.shape}; they must be (n, d), (n, m) with d, m = "
                             f"{self.C.shape}")
        finite("blocks", h=h, z=z)
        count, (mean_z, zc) = self.count + len(h), centred(z)
        weight, dz, means = self.count * len(h) / count, mean_z - self.mean_z, np.empty(len(self.mean_h))
        for i, rows in enumerate(self.parts):
            means[rows], hc = centred(h[:, rows])
            dh = means[rows] - self.mean_h[rows]
            self.C[rows] += product(hc.T, zc) + weight * np.outer(dh, dz)                              # (S2)
            for j, columns in enumerate(self.parts[:i + 1]):
                other, oc = centred(h[:, columns]) if j < i else (means[rows], hc)
                block = gram(hc) if j == i else product(oc.T, hc)
                block += weight * np.outer(other - self.mean_h[columns], dh)                           # (S2)
                block += self.block(j, i)
                self.write(j, i, block)
            self.diagonal[rows] = np.diag(block)
        self.t += (zc * zc).sum(axis=0) + weight * dz * dz                                             # (S2)
        self.mean_h += (means - self.mean_h) * (len(h) / count)
        self.mean_z += dz * (len(h) / count)
        self.count = count

    def block(self, i: int, j: int) -> Array:
        """A_IJ of blocks I ≤ J, (|I|, |J|) float64."""
        shape = [part.stop - part.start for part in (self.parts[i], self.parts[j])]
        self.file.seek(self.start[i, j])
        return np.frombuffer(self.file.read(8 * shape[0] * shape[1])).reshape(shape)

    def write(self, i: int, j: int, block: Array) -> None:
        """A_IJ as it is from now on."""
        try:
            self.file.seek(self.start[i, j])
            self.file.write(np.ascontiguousarray(block).data)
            self.file.flush()
        except OSError as error:
            raise InputError(f"blocks: {self.path}: {reason(error)}; make room and begin again") from error

    def inputs(self, kept: Array) -> Statistics:
        """The statistics of the inputs ``kept`` alone, indices (k,) in ascending order, A (k, k) in memory: what the
        group lasso and least squares take. Raises InputError before any example is counted."""
        if not self.count:
            raise InputError("blocks: no examples are counted; add some first")
        A, inside = np.empty((len(kept), len(kept))), [(kept >= p.start) & (kept < p.stop) for p in self.parts]
        for i, j in self.start:
            (rows, columns), (a, b) = (inside[i], inside[j]), (self.parts[i].start, self.parts[j].start)
            if rows.any() and columns.any():
                block = self.block(i, j)[np.ix_(kept[rows] - a, kept[columns] - b)]
                A[np.ix_(rows, columns)], A[np.ix_(columns, rows)] = block, block.T
        return Statistics(self.count, self.mean_h[kept], self.mean_z.copy(), A, self.C[kept], self.t.copy())
