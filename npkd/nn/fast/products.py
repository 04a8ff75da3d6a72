"""The products of a convolution, with the examples running fastest: patches need not be copied at all.

The part of a row of maps (H, W, C, n) that a window covers, x[r, q s : q s + kw], is one contiguous matrix (kw·C, n).
(V5), (V6), (V7) are products with it, one for each position (p, q) and each row i of the kernel, with r = row(p, i):

    y[p, q]                  ←  y[p, q] + w_i x[r, q s : q s + kw]                  w_i (F, kw·C),   y[p, q] (F, n)
    dx[r, q s : q s + kw]    ←  dx[r, q s : q s + kw] + w_iᵀ dy[p, q]
    dw_i                     ←  dw_i + dy[p, q] x[r, q s : q s + kw]ᵀ

``np.matmul`` computes a stack of them in one call. Source: Cho & Brand 2017. Measurements: docs/book/6-training.md.

All forms take x (n, H, W, C), w and dw (kh, kw, C, F), b (F,) and dy (n, P, Q, F), without groups. ``forward`` writes
``output``, y seen as (n, P, Q, F); ``backward`` adds to dw and returns dx, seen as (n, H, W, C), and db.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import as_strided

from npkd.core.linalg import total
from npkd.core.types import Array
from npkd.nn.convolution import Grid
from npkd.nn.fast.steps import accumulate, routines

STACK_BYTES = 1 << 18
"""Largest size of what a stack of products writes and reads again, if it is more than one row of positions."""
STACK_BYTES_OF_TWO = 1 << 21
"""The same for two threads at a time, which get into each other's way at every call."""


def stacks(rows: int, many: int) -> Iterator[slice]:
    """All rows, so many at a time."""
    return (slice(p, p + many) for p in range(0, rows, many))


def framed(grid: Grid, channels: int, n: int, dtype: np.dtype[np.generic]) -> tuple[Array, Array]:
    """Zeros (H + 2π, W + 2π, C, n), and the part that the maps fill, seen as (n, H, W, C)."""
    (h, w), (a, b) = grid.size, grid.padding
    x = np.zeros((h + 2 * a, w + 2 * b, channels, n), dtype)
    return x, grid.inside(x.transpose(3, 0, 1, 2))


def stack(a: Array, b: Array, out: Array) -> Array:
    """out ← a b for stacks of matrices; silent, as flags may come from the padding of a kernel (core/linalg.py)."""
    with np.errstate(all="ignore"):
        return np.matmul(a, b, out=out)


class Positions:
    """The products of ``n`` examples, position by position, straight from the maps. No dilation along the width.

    x, dx (H + 2π, W + 2π, C, n), the padding zero, ``inner`` and ``dx_inner`` their maps;   windows (kh, P, Q, kw·C,
    n), a view of x;   y, dy (P, Q, F, n), turned (P, Q, n, F);   a stack of products has ``stack_bytes`` bytes.
    """

    def __init__(self, grid: Grid, w: Array, n: int, stack_bytes: int) -> None:
        self.grid = grid
        kh, kw, C, F = w.shape
        (P, Q), (sh, sw), dh = grid.positions, grid.stride, grid.dilation[0]
        (self.x, self.inner), (self.dx, self.dx_inner) = (framed(grid, C, n, w.dtype) for _ in range(2))
        down, right, deep, step = self.x.strides
        self.windows = as_strided(self.x, (kh, P, Q, kw * C, n), (dh * down, sh * down, sw * right, deep, step))
        self.y, self.dy, self.turned = (np.empty((P, Q, *last), w.dtype) for last in ((F, n), (F, n), (n, F)))
        self.output = self.y.transpose(3, 0, 1, 2)
        row = Q * max(F * n, kw * C * n, kw * C * F)                   # what is made at the positions of a row, at most
        self.many = min(P, max(1, stack_bytes // (row * w.itemsize)))
        self.made = np.empty(self.many * row, w.dtype)

    def place(self, *shape: int) -> Array:
        """Where a stack of products is written."""
        return self.made[:math.prod(shape)].reshape(shape)

    def forward(self, x: Array, w: Array, b: Array) -> None:
        """y into ``output``."""
        wide = np.ascontiguousarray(w.reshape(len(w), -1, len(b)).transpose(0, 2, 1))  # w_i by rows: faster here
        np.copyto(self.inner, x)
        for p in stacks(len(self.y), self.many):
            y = self.y[p]
            more = self.place(*y.shape)
            stack(wide[0], self.windows[0, p], y)                                                               # (V5)
            y += b[:, None]
            for w_i, windows in zip(wide[1:], self.windows[1:], strict=True):
                y += stack(w_i, windows[p], more)                                                               # (V5)

    def backward(self, dy: Array, w: Array, dw: Array, needs_dx: bool) -> tuple[Array, Array]:
        """dw ← dw + new; dx and db."""
        np.copyto(self.dy, dy.transpose(1, 2, 3, 0))
        np.copyto(self.turned, self.dy.transpose(0, 1, 3, 2))
        (_, kw, C, F), dw = w.shape, dw.reshape(len(dw), -1, dw.shape[-1])
        if needs_dx:
            self.dx.fill(0)
        for p in stacks(len(self.y), self.many):
            d = self.dy[p]
            made = self.place(*d.shape[:2], kw * C, F)
            for dw_i, windows in zip(dw, self.windows, strict=True):
                dw_i += stack(windows[p], self.turned[p], made).sum(axis=(0, 1))                                # (V7)
            if needs_dx:
                made = self.place(*d.shape[:2], kw, C, d.shape[3])
                for i, j, row, column in self.grid.offsets():
                    if j == 0:
                        stack(w[i].reshape(-1, F), d, made.reshape(*d.shape[:2], kw * C, -1))                   # (V6)
                    met = self.dx[row, column][p]
                    met += made[:, :, j]                                                                        # (V4)
        return self.dx_inner, self.dy.sum(axis=(0, 1)).sum(axis=1)                                              # (V8)


class Rows:
    """The products of ``n`` examples, some rows of positions at a time, their patches laid out.

    x, dx (H + 2π, W + 2π, C, n), the padding zero, ``inner`` and ``dx_inner`` their maps;   windows (P, kh, kw, C, Q,
    n), a view of x;   y (P, F, Q, n);   patches (rows, kh, kw, C, Q, n) of ``stack_bytes`` bytes, seen as ``matrices``
    (rows, kh·kw·C, Q·n).
    """

    def __init__(self, grid: Grid, w: Array, n: int, stack_bytes: int) -> None:
        self.grid = grid
        kh, kw, C, F = w.shape
        (P, Q), (sh, sw), (dh, dw) = grid.positions, grid.stride, grid.dilation
        self.y = np.empty((P, F, Q, n), w.dtype)
        self.output = self.y.transpose(3, 0, 2, 1)
        (self.x, self.inner), (self.dx, self.dx_inner) = (framed(grid, C, n, w.dtype) for _ in range(2))
        down, right, deep, step = self.x.strides
        self.windows = as_strided(self.x, (P, kh, kw, C, Q, n),
                                  (sh * down, dh * down, dw * right, deep, sw * right, step))
        self.many = min(P, max(1, stack_bytes // (w[..., 0].size * Q * n * w.itemsize)))
        self.patches = np.empty((self.many, *self.windows.shape[1:]), w.dtype)
        self.matrices = self.patches.reshape(self.many, -1, Q * n)

    def forward(self, x: Array, w: Array, b: Array) -> None:
        """y into ``output``."""
        wide = np.ascontiguousarray(w.reshape(-1, len(b)).T)
        np.copyto(self.inner, x)
        for p in stacks(len(self.y), self.many):
            y = self.y[p]
            np.copyto(self.patches[:len(y)], self.windows[p])                                                   # (V3)
            stack(wide, self.matrices[:len(y)], y.reshape(len(y), len(b), -1))                                  # (V5)
            y += b[:, None, None]

    def backward(self, dy: Array, w: Array, dw: Array, needs_dx: bool) -> tuple[Array, Array]:
        """dw ← dw + new; dx and db."""
        dy, F = np.ascontiguousarray(dy.transpose(1, 3, 2, 0)), w.shape[3]      # a copy only where it is not so already
        if needs_dx:
            self.dx.fill(0)
        for p in stacks(len(dy), self.many):
            d = dy[p].reshape(len(dy[p]), F, -1)
            patches, matrices = self.patches[:len(d)], self.matrices[:len(d)]
            np.copyto(patches, self.windows[p])                                                                 # (V3)
            made = np.empty((len(d), matrices.shape[1], F), dw.dtype)
            dw += stack(matrices, d.swapaxes(1, 2), made).sum(axis=0).reshape(dw.shape)                         # (V7)
            if needs_dx:
                stack(w.reshape(-1, F), d, matrices)                                                            # (V6)
                for i, j, row, column in self.grid.offsets():
                    met = self.dx[row, column][p]
                    met += patches[:, i, j].swapaxes(1, 2)                                                      # (V4)
        return self.dx_inner, dy.sum(axis=0).sum(axis=(1, 2))                                                   # (V8)


class Patches:
    """The products of a few examples: all their patches laid out by one copy, then one product.

    x, dx (n, H + 2π, W + 2π, C), the padding of x zero;   output (n, P, Q, F), seen as ``rows`` (n·P·Q, F);   columns
    (n, P, Q, kh, kw, C), seen as ``matrix`` (n·P·Q, kh·kw·C), positions running fastest if ``narrow``.
    """

    def __init__(self, grid: Grid, w: Array, n: int, narrow: bool) -> None:
        self.grid = grid
        (P, Q), (sh, sw), (dh, dw), (kh, kw, C, F) = grid.positions, grid.stride, grid.dilation, w.shape
        self.gemm, _ = routines(w.dtype)
        self.x, self.dx = (grid.blank(np.empty((n, C), w.dtype)) for _ in range(2))
        self.inner, self.dx_inner = grid.inside(self.x), grid.inside(self.dx)
        each, down, right, deep = self.x.strides
        strides = (each, sh * down, sw * right, dh * down, dw * right, deep)
        self.windows = as_strided(self.x, (n, P, Q, kh, kw, C), strides)
        many, deep = n * P * Q, kh * kw * C
        if narrow:
            columns, y = np.empty((kh, kw, C, n, P, Q), w.dtype), np.empty((F, n, P, Q), w.dtype)
            self.columns, self.output = columns.transpose(3, 4, 5, 0, 1, 2), y.transpose(1, 2, 3, 0)
            self.matrix, self.rows = columns.reshape(deep, many).T, y.reshape(F, many).T
        else:
            self.columns, self.output = np.empty(self.windows.shape, w.dtype), np.empty((n, P, Q, F), w.dtype)
            self.matrix, self.rows = self.columns.reshape(many, deep), self.output.reshape(many, F)

    def forward(self, x: Array, w: Array, b: Array) -> None:
        """y into ``output``."""
        np.copyto(self.inner, x)
        np.copyto(self.columns, self.windows)                                                                   # (V3)
        self.rows[...] = b
        accumulate(self.gemm, self.rows, self.matrix, w.reshape(-1, len(b)), 1.0)                               # (V5)

    def backward(self, dy: Array, w: Array, dw: Array, needs_dx: bool) -> tuple[Array, Array]:
        """dw ← dw + new; dx and db."""
        F = w.shape[3]
        dz = np.ascontiguousarray(dy).reshape(-1, F)
        accumulate(self.gemm, dw.reshape(-1, F), self.matrix.T, dz, 1.0)                                        # (V7)
        if needs_dx:
            accumulate(self.gemm, self.matrix, dz, w.reshape(-1, F).T, 0.0)                       # (V6)  in their place
            self.dx.fill(0)
            for i, j, row, column in self.grid.offsets():
                self.dx[:, row, column] += self.columns[:, :, :, i, j]                                          # (V4)
        return self.dx_inner, total(dz, 0)                                                                      # (V8)
