"""The products of a convolution, with the examples running fastest: patches need not be copied at all.

Convolution as a matrix product asks for patches side by side, and most of its time goes into laying them out. With the
examples last, a map is (H, W, C, n), and the part of a row that a window covers, x[r, q s : q s + kw], is one
contiguous matrix (kw·C, n), wherever the window stands. (V5), (V6), (V7) are then products with that part of memory
itself, one for each position (p, q) and each row i of the kernel, with r = row(p, i):

    y[p, q]                  ←  y[p, q] + w_i x[r, q s : q s + kw]                  w_i (F, kw·C),   y[p, q] (F, n)
    dx[r, q s : q s + kw]    ←  dx[r, q s : q s + kw] + w_iᵀ dy[p, q]
    dw_i                     ←  dw_i + dy[p, q] x[r, q s : q s + kw]ᵀ

Products come in stacks, all positions of some rows at a time, and ``np.matmul`` computes a stack in one call: what it
reads are overlapping views of the map, and what it writes, as much as fits into the cache, is added where it belongs.
Where the kernel sees few values in a row (kw·C small, as of pictures) a position alone is too little work; there the
patches of some rows of positions are laid out, (kh·kw·C, Q·n) for each row, and the examples still run fastest, so that
every copy is a long run.

Lowering along one direction and accumulating products over the other is the idea of Cho & Brand 2017. Measurements:
docs/4-training.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from npkd.core.linalg import total
from npkd.core.types import Array
from npkd.nn.convolution import Grid
from npkd.nn.fast.steps import accumulate, routines

STACK_BYTES = 1 << 18
"""What a stack of products writes has at most so many bytes, if it is more than one row of positions: it is read again
at once."""
STACK_BYTES_OF_TWO = 1 << 21
"""The same for two threads at a time, which get into each other's way at every call."""


def stacks(rows: int, many: int) -> Iterator[slice]:
    """All rows, so many at a time."""
    return (slice(p, p + many) for p in range(0, rows, many))


def framed(grid: Grid, channels: int, n: int, dtype: np.dtype[np.generic]) -> tuple[Array, Array]:
    """Zeros (H + 2π, W + 2π, C, n), and the view of the part that the maps fill, (H, W, C, n)."""
    (h, w), (a, b) = grid.size, grid.padding
    x = np.zeros((h + 2 * a, w + 2 * b, channels, n), dtype)
    return x, x[a:a + h, b:b + w]


def stack(a: Array, b: Array, out: Array) -> Array:
    """out ← a b for stacks of matrices. Silent: the flags that NumPy would look at may come from the padding of a
    kernel (npkd/core/linalg.py)."""
    with np.errstate(all="ignore"):
        return np.matmul(a, b, out=out)


def view(x: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """The memory of x read in another way, to be read only."""
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=False)


class Positions:
    """The products of ``n`` examples, position by position, straight from the maps. No groups, no dilation along the
    width.

    x, dx (H + 2π, W + 2π, C, n), the padding zero, ``inner`` and ``dx_inner`` their maps;   windows (kh, P, Q, kw·C,
    n), a view of x;   y, dy (P, Q, F, n), turned (P, Q, n, F);   a stack of products has ``stack_bytes`` bytes.
    """

    def __init__(self, grid: Grid, w: Array, n: int, stack_bytes: int) -> None:
        self.grid = grid
        kh, kw, C, F = w.shape
        (P, Q), (sh, sw), dh = grid.positions, grid.stride, grid.dilation[0]
        (self.x, self.inner), (self.dx, self.dx_inner) = (framed(grid, C, n, w.dtype) for _ in range(2))
        down, right, deep, step = self.x.strides
        self.windows = view(self.x, (kh, P, Q, kw * C, n), (dh * down, sh * down, sw * right, deep, step))
        self.y, self.dy, self.turned = (np.empty((P, Q, *last), w.dtype) for last in ((F, n), (F, n), (n, F)))
        row = Q * max(F * n, kw * C * n, kw * C * F)                   # what is made at the positions of a row, at most
        self.many = min(P, max(1, stack_bytes // (row * w.itemsize)))
        self.made = np.empty(self.many * row, w.dtype)

    def output(self) -> Array:
        """y seen as (n, P, Q, F)."""
        return self.y.transpose(3, 0, 1, 2)

    def place(self, shape: tuple[int, ...]) -> Array:
        """Where a stack of products is written."""
        return self.made[:math.prod(shape)].reshape(shape)

    def forward(self, x: Array, w: Array, b: Array) -> None:
        """y from x (n, H, W, C), w (kh, kw, C, F) and b (F,)."""
        wide = np.ascontiguousarray(w.reshape(len(w), -1, len(b)).transpose(0, 2, 1))  # w_i by rows: faster here
        np.copyto(self.inner, x.transpose(1, 2, 3, 0))
        for p in stacks(len(self.y), self.many):
            y = self.y[p]
            more = self.place(y.shape)
            stack(wide[0], self.windows[0, p], y)                                                               # (V5)
            y += b[:, None]
            for w_i, windows in zip(wide[1:], self.windows[1:], strict=True):
                y += stack(w_i, windows[p], more)                                                               # (V5)

    def backward(self, dy: Array, w: Array, dw: Array, needs_dx: bool) -> Array:
        """dw ← dw + new, and dx seen as (n, H, W, C), from dy (n, P, Q, F)."""
        np.copyto(self.dy, dy.transpose(1, 2, 3, 0))
        np.copyto(self.turned, self.dy.transpose(0, 1, 3, 2))
        self.weights(dw)
        if needs_dx:
            self.maps(w)
        return self.dx_inner.transpose(3, 0, 1, 2)

    def summed(self) -> Array:
        """db (V8)."""
        return np.asarray(self.dy.sum(axis=(0, 1)).sum(axis=1))

    def weights(self, dw: Array) -> None:
        """dw from x and dy."""
        dw = dw.reshape(len(dw), -1, dw.shape[-1])
        for p in stacks(len(self.y), self.many):
            made = self.place((*self.dy[p].shape[:2], *dw.shape[1:]))
            for dw_i, windows in zip(dw, self.windows, strict=True):
                dw_i += stack(windows[p], self.turned[p], made).sum(axis=(0, 1))                                # (V7)

    def maps(self, w: Array) -> None:
        """dx from dy and w."""
        _, kw, C, F = w.shape
        self.dx.fill(0)
        for p in stacks(len(self.y), self.many):
            dy = self.dy[p]
            made = self.place((*dy.shape[:2], kw, C, dy.shape[3]))
            for i, j, row, column in self.grid.offsets():
                if j == 0:
                    stack(w[i].reshape(-1, F), dy, made.reshape(*made.shape[:2], kw * C, -1))                   # (V6)
                met = self.dx[row, column][p]
                met += made[:, :, j]                                                                            # (V4)


class Rows:
    """The products of ``n`` examples, some rows of positions at a time, their patches laid out. No groups.

    x, dx (H + 2π, W + 2π, C, n), the padding zero;   windows (P, kh, kw, C, Q, n), a view of x;   y, dy (P, F, Q, n);
    patches (rows, kh, kw, C, Q, n). A row of positions is a
    product; patches of several rows have ``stack_bytes`` bytes.
    """

    def __init__(self, grid: Grid, w: Array, n: int, stack_bytes: int) -> None:
        self.grid = grid
        kh, kw, C, F = w.shape
        (P, Q), (sh, sw), (dh, dw) = grid.positions, grid.stride, grid.dilation
        self.y = np.empty((P, F, Q, n), w.dtype)
        (self.x, self.inner), (self.dx, self.dx_inner) = (framed(grid, C, n, w.dtype) for _ in range(2))
        down, right, deep, step = self.x.strides
        self.windows = view(self.x, (P, kh, kw, C, Q, n), (sh * down, dh * down, dw * right, deep, sw * right, step))
        self.many = min(P, max(1, stack_bytes // (w[..., 0].size * Q * n * w.itemsize)))
        self.patches = np.empty((self.many, *self.windows.shape[1:]), w.dtype)

    def output(self) -> Array:
        """y seen as (n, P, Q, F)."""
        return self.y.transpose(3, 0, 2, 1)

    def matrices(self, a: Array, depth: int) -> Array:
        """Of each row of positions a matrix (depth, Q·n): (rows, depth, Q·n), a view."""
        return a.reshape(len(a), depth, -1)

    def forward(self, x: Array, w: Array, b: Array) -> None:
        """y from x (n, H, W, C), w (kh, kw, C, F) and b (F,)."""
        wide = np.ascontiguousarray(w.reshape(-1, len(b)).T)
        np.copyto(self.inner, x.transpose(1, 2, 3, 0))
        for p in stacks(len(self.y), self.many):
            y = self.y[p]
            patches = self.patches[:len(y)]
            np.copyto(patches, self.windows[p])                                                             # (V3)
            stack(wide, self.matrices(patches, wide.shape[1]), self.matrices(y, len(b)))                        # (V5)
            y += b[:, None, None]

    def backward(self, dy: Array, w: Array, dw: Array, needs_dx: bool) -> Array:
        """dw ← dw + new, and dx seen as (n, H, W, C), from dy (n, P, Q, F)."""
        self.dy = np.ascontiguousarray(dy.transpose(1, 3, 2, 0))        # a copy only where it does not stand so already
        self.weights(dw)
        if needs_dx:
            self.maps(w)
        return self.dx_inner.transpose(3, 0, 1, 2)

    def summed(self) -> Array:
        """db (V8)."""
        return np.asarray(self.dy.sum(axis=0).sum(axis=(1, 2)))

    def weights(self, dw: Array) -> None:
        """dw from x and dy."""
        F = dw.shape[3]
        for p in stacks(len(self.y), self.many):
            dy = self.dy[p]
            patches = self.patches[:len(dy)]
            np.copyto(patches, self.windows[p])                                                             # (V3)
            made = np.empty((len(dy), dw[..., 0].size, F), dw.dtype)
            stack(self.matrices(patches, dw[..., 0].size), self.matrices(dy, F).swapaxes(1, 2), made)           # (V7)
            dw += made.sum(axis=0).reshape(dw.shape)

    def maps(self, w: Array) -> None:
        """dx from dy and w."""
        F = w.shape[3]
        self.dx.fill(0)
        for p in stacks(len(self.y), self.many):
            dy = self.dy[p]
            patches = self.patches[:len(dy)]
            stack(w.reshape(-1, F), self.matrices(dy, F), self.matrices(patches, w[..., 0].size))               # (V6)
            for i, j, row, column in self.grid.offsets():
                met = self.dx[row, column][p]
                met += patches[:, i, j].swapaxes(1, 2)                                                      # (V4)


class Patches:
    """The products of a few examples: all their patches laid out by one copy, then one product. No groups.

    x, dx (n, H + 2π, W + 2π, C), the padding of x zero;   y (n, P, Q, F);   columns (n, P, Q, kh, kw, C), of which
    ``matrix`` (n·P·Q, kh·kw·C) is a view. In memory the longer run is the faster one: the values of a patch or, with
    ``narrow``, the positions.
    """

    def __init__(self, grid: Grid, w: Array, n: int, narrow: bool) -> None:
        self.grid = grid
        (P, Q), (sh, sw), (dh,
                           dw), (a, b), (h, width) = grid.positions, grid.stride, grid.dilation, grid.padding, grid.size
        kh, kw, C, F = w.shape
        self.gemm, _ = routines(w.dtype)
        self.x, self.dx = (np.zeros((n, h + 2 * a, width + 2 * b, C), w.dtype) for _ in range(2))
        self.inner, self.dx_inner = (maps[:, a:a + h, b:b + width] for maps in (self.x, self.dx))
        each, down, right, deep = self.x.strides
        self.windows = view(self.x, (n, P, Q, kh, kw, C), (each, sh * down, sw * right, dh * down, dw * right, deep))
        many, deep = n * P * Q, kh * kw * C
        if narrow:
            self.columns = np.empty((kh, kw, C, n, P, Q), w.dtype).transpose(3, 4, 5, 0, 1, 2)
            self.matrix = self.columns.transpose(3, 4, 5, 0, 1, 2).reshape(deep, many).T
            self.y = np.empty((F, n, P, Q), w.dtype).transpose(1, 2, 3, 0)
            self.rows = self.y.transpose(3, 0, 1, 2).reshape(F, many).T
        else:
            self.columns, self.y = np.empty(self.windows.shape, w.dtype), np.empty((n, P, Q, F), w.dtype)
            self.matrix, self.rows = self.columns.reshape(many, deep), self.y.reshape(many, F)

    def output(self) -> Array:
        """y (n, P, Q, F)."""
        return self.y

    def forward(self, x: Array, w: Array, b: Array) -> None:
        """y from x (n, H, W, C), w (kh, kw, C, F) and b (F,)."""
        np.copyto(self.inner, x)
        np.copyto(self.columns, self.windows)                                                               # (V3)
        self.rows[...] = b
        accumulate(self.gemm, self.rows, self.matrix, w.reshape(-1, len(b)), 1.0)                           # (V5)

    def backward(self, dy: Array, w: Array, dw: Array, needs_dx: bool) -> Array:
        """dw ← dw + new, and dx (n, H, W, C), from dy (n, P, Q, F)."""
        F = w.shape[3]
        self.dz = np.ascontiguousarray(dy).reshape(-1, F)
        accumulate(self.gemm, dw.reshape(-1, F), self.matrix.T, self.dz, 1.0)                               # (V7)
        if needs_dx:
            accumulate(self.gemm, self.matrix, self.dz, w.reshape(-1, F).T, 0.0)                  # (V6)  in their place
            self.dx.fill(0)
            for i, j, row, column in self.grid.offsets():
                self.dx[:, row, column] += self.columns[:, :, :, i, j]                                      # (V4)
        return self.dx_inner

    def summed(self) -> Array:
        """db (V8)."""
        return total(self.dz, 0)
