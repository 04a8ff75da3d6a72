"""The definitions of npkd/nn/pooling.py: loops and sums, no derivatives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reference.definitions.nn.convolution import Pair, at, pair, windows

Array = NDArray[np.float64]


def both(x: Array, size: Pair, stride: Pair | None, padding: Pair) -> tuple[list[list[int]], list[list[int]]]:
    """Rows and columns of the windows."""
    rows, columns = (windows(x.shape[1 + k], pair(size)[k], pair(size if stride is None else stride)[k],
                             pair(padding)[k], 1) for k in (0, 1))
    return rows, columns


def max_pool(x: Array, size: Pair, stride: Pair | None = None, padding: Pair = 0) -> Array:
    rows, columns = both(x, size, stride, padding)
    y = np.zeros((len(x), len(rows), len(columns), x.shape[3]))
    for n, p, q, c in np.ndindex(y.shape):
        # (M1)
        y[n, p, q,
          c] = max(x[n, r, s, c] for r in rows[p] for s in columns[q] if 0 <= r < x.shape[1] and 0 <= s < x.shape[2])
    return y


def average_pool(x: Array, size: Pair, stride: Pair | None = None, padding: Pair = 0) -> Array:
    rows, columns = both(x, size, stride, padding)
    y = np.zeros((len(x), len(rows), len(columns), x.shape[3]))
    for n, p, q, c in np.ndindex(y.shape):
        values = [at(x, n, r, s, c) for r in rows[p] for s in columns[q]]
        y[n, p, q, c] = sum(values) / len(values)     # (M3)
    return y


def global_average_pool(x: Array) -> Array:
    N, H, W, C = x.shape
    y = np.zeros((N, C))
    for n, c in np.ndindex(N, C):
        y[n, c] = sum(x[n, r, s, c] for r in range(H) for s in range(W)) / (H * W)     # (M5)
    return y
