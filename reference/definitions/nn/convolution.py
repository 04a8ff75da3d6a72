"""The definitions of npkd/nn/convolution.py: loops and sums, no derivatives, no matrices of patches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pair = int | Sequence[int]


def pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def windows(size: int, kernel: int, stride: int, padding: int, dilation: int) -> list[list[int]]:
    """Of every window that lies within the padded map, along one axis, where it meets the map; negative or ≥ size: in
    the padding."""
    starts = range(0, size + 2 * padding, stride)
    inside = [start for start in starts if start + dilation * (kernel - 1) < size + 2 * padding]      # (V2)
    return [[start + i * dilation - padding for i in range(kernel)] for start in inside]              # (V1)


def at(x: Array, n: int, r: int, s: int, c: int) -> float:
    return float(x[n, r, s, c]) if 0 <= r < x.shape[1] and 0 <= s < x.shape[2] else 0.0


def im2col(x: Array, kernel: Pair, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1) -> Array:
    rows, columns = (windows(x.shape[1 + k], pair(kernel)[k], pair(stride)[k], pair(padding)[k], pair(dilation)[k])
                     for k in (0, 1))
    y = np.zeros((len(x), len(rows), len(columns), *pair(kernel), x.shape[3]))
    for n, p, q, i, j, c in np.ndindex(y.shape):
        y[n, p, q, i, j, c] = at(x, n, rows[p][i], columns[q][j], c)     # (V3)
    return y


def conv2d(x: Array, w: Array, b: Array, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1,
           groups: int = 1) -> Array:
    rows, columns = (windows(x.shape[1 + k], w.shape[1 + k], pair(stride)[k], pair(padding)[k], pair(dilation)[k])
                     for k in (0, 1))
    y = np.zeros((len(x), len(rows), len(columns), len(w)))
    for n, p, q, f in np.ndindex(y.shape):
        first = f * groups // len(w) * w.shape[3]     # of the channels that f reads
        y[n, p, q, f] = b[f] + sum(
            float(w[f, i, j, c]) * at(x, n, rows[p][i], columns[q][j], first + c) for i, j, c in np.ndindex(w.shape[1:])
        )     # (V5)
    return y


def depthwise_conv2d(x: Array, w: Array, b: Array, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1) -> Array:
    rows, columns = (windows(x.shape[1 + a], w.shape[a], pair(stride)[a], pair(padding)[a], pair(dilation)[a])
                     for a in (0, 1))
    y = np.zeros((len(x), len(rows), len(columns), len(b)))
    for n, p, q, c in np.ndindex(y.shape):
        y[n, p, q, c] = b[c] + sum(
            float(w[i, j, c]) * at(x, n, rows[p][i], columns[q][j], c) for i, j in np.ndindex(w.shape[:2])
        )     # (V9)
    return y
