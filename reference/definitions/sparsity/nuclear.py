"""The definition of npkd/sparsity/nuclear.py: its value, by eigenvalues of WᵀW that Jacobi's rotations find. The
proximal step is held against its law instead."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def nuclear(w: Array, lam: float) -> float:
    """One-sided Jacobi: columns are rotated in pairs until all are orthogonal; their norms are the singular values."""
    rows = len(w)
    a = [[float(x) for x in row] for row in w.reshape(rows, -1)]
    if rows < len(a[0]):
        a = [[a[i][j] for i in range(rows)] for j in range(len(a[0]))]
    for _ in range(60):
        turned = False
        for p in range(len(a[0])):
            for q in range(p + 1, len(a[0])):
                pp, qq, pq = (sum(row[i] * row[j] for row in a) for i, j in ((p, p), (q, q), (p, q)))
                if abs(pq) > 1e-17 * math.sqrt(pp * qq):
                    turned = True
                    angle = math.atan2(2 * pq, pp - qq) / 2
                    c, s = math.cos(angle), math.sin(angle)
                    for row in a:
                        row[p], row[q] = c * row[p] + s * row[q], c * row[q] - s * row[p]
        if not turned:
            break
    return lam * sum(math.sqrt(sum(row[j] ** 2 for row in a)) for j in range(len(a[0])))     # (N1)
