"""Pooling: the largest value or the mean of every window, channel by channel. Maps are (N, H, W, C).

Windows as in convolution.py. Form and conventions as in layers.py. Derivations: docs/book/4-convolution.md.
"""

from __future__ import annotations

import numpy as np

from npkd.core.linalg import wide
from npkd.core.types import Array, Backward
from npkd.core.validation import InputError
from npkd.nn.convolution import Grid, Pair, maps, pair


def grid_of(who: str, x: Array, size: Pair, stride: Pair | None, padding: Pair) -> Grid:
    """The windows of a pooling. Raises InputError where they do not fit, or one could lie in the padding alone."""
    maps(who, x)
    kernel, around = pair(who, "size", size, 1), pair(who, "padding", padding, 0)
    if 2 * around[0] > kernel[0] or 2 * around[1] > kernel[1]:
        raise InputError(f"{who}: padding is {padding} and size {size}; the padding must be at most half of the window")
    return Grid(who, x.shape[1:3], kernel, kernel if stride is None else stride, padding)


def max_pool(x: Array, *, size: Pair, stride: Pair | None = None, padding: Pair = 0) -> tuple[Array, Backward]:
    """The largest value of every window.

        y_npqc = max_ij x_n,row(p,i),column(q,j),c                                    (M1)

    x (N, H, W, C) -> (N, P, Q, C); floats. ``stride`` is the size of the window unless it is given. The padding never
    wins. Of equal values the first one, row by row, takes the whole sensitivity. Raises InputError where a window does
    not fit, or where the padding is more than half of it. Source: Riesenhuber & Poggio 1999.
    """
    grid = grid_of("max_pool", x, size, stride, padding)
    around = grid.padded(x, -np.inf)
    y = np.full((len(x), *grid.positions, x.shape[3]), -np.inf, x.dtype)
    for _, _, row, column in grid.offsets():
        np.maximum(y, around[:, row, column], out=y)                          # (M1)

    def backward(dy: Array) -> tuple[Array, ...]:
        dx, left = grid.blank(dy), np.ones(y.shape, bool)
        for _, _, row, column in grid.offsets():
            won = left & (around[:, row, column] == y)
            dx[:, row, column] += dy * won                                    # (M2)  only the winner is felt
            left &= ~won                                                      # one winner a window, the first
        return (grid.cropped(dx),)

    return y, backward


def average_pool(x: Array, *, size: Pair, stride: Pair | None = None, padding: Pair = 0) -> tuple[Array, Backward]:
    """The mean of every window, with zeros in the padding.

        y_npqc = 1/(kh kw) Σ_ij x_n,row(p,i),column(q,j),c                            (M3)

    x (N, H, W, C) -> (N, P, Q, C); floats. ``stride`` is the size of the window unless it is given. Raises InputError
    where a window does not fit, or where the padding is more than half of it. Source: LeCun et al. 1989.
    """
    grid = grid_of("average_pool", x, size, stride, padding)
    around = grid.padded(x)
    part = x.dtype.type(1 / (grid.kernel[0] * grid.kernel[1]))
    y = np.zeros((len(x), *grid.positions, x.shape[3]), wide(x))
    for _, _, row, column in grid.offsets():
        y += part * around[:, row, column]                                    # (M3)

    def backward(dy: Array) -> tuple[Array, ...]:
        dx = grid.blank(dy)
        for _, _, row, column in grid.offsets():
            dx[:, row, column] += part * dy                                 # (M4)  every value of a window has its part
        return (grid.cropped(dx),)

    return y.astype(x.dtype, copy=False), backward


def global_average_pool(x: Array) -> tuple[Array, Backward]:
    """The mean of every channel over its map.

        y_nc = 1/(H W) Σ_rs x_nrsc                                                    (M5)

    x (N, H, W, C) -> (N, C); floats. Raises InputError for other shapes. Source: Lin, Chen & Yan 2014.
    """
    maps("global_average_pool", x)
    y = x.mean(axis=(1, 2), dtype=wide(x)).astype(x.dtype)                    # (M5)

    def backward(dy: Array) -> tuple[Array, ...]:
        part = (dy / wide(x).type(x.shape[1] * x.shape[2])).astype(dy.dtype)  # (M6)  every position has its part
        return (np.broadcast_to(part[:, None, None], x.shape).copy(),)

    return y, backward
