"""The products of a convolution, with the examples running fastest: patches need not be copied at all.

Convolution as a matrix product asks for patches side by side, and most of its time goes into laying them out. With the examples last, a map is
(H, W, C, n), and the part of a row that a window covers, x[r, q s : q s + kw], is one contiguous matrix (kw·C, n), wherever the window
stands. (V5), (V6), (V7) are then products with that part of memory itself, one for each position (p, q) and each row i of the kernel, with
r = row(p, i):

    y[p, q]                  ←  y[p, q] + w_i x[r, q s : q s + kw]                  w_i (F, kw·C),   y[p, q] (F, n)
    dx[r, q s : q s + kw]    ←  dx[r, q s : q s + kw] + w_iᵀ dy[p, q]
    dw_i                     ←  dw_i + dy[p, q] x[r, q s : q s + kw]ᵀ

All sums are gemm's β; there is neither im2col nor col2im. A product is small: at most BLOCK examples, so that what it reads stays in cache; and
for small ones OpenBLAS leaves out the packing that large ones need. Where the kernel sees few values in a row (kw·C small, as of pictures) a
position alone is too little work; there the patches of one row of positions at a time are laid out, (kh·kw·C, Q·n), and the examples still
run fastest, so that every copy is a long run.

Lowering along one direction and accumulating products over the other is the idea of Cho & Brand 2017. Measurements: docs/4-training.md.
"""

from __future__ import annotations

import numpy as np

from npkd.arrays import Array
from npkd.nn.convolution import Grid
from npkd.nn.workspace_steps import accumulate, routines
from npkd.nn.workspace_threads import Pair, Product

BLOCK = 128
"""At most so many examples in a product."""
SMALL = 800_000
"""With more multiply-accumulates than these a product is not small."""
WORTH = 4_000_000
"""With fewer multiply-accumulates than these a second thread costs more than it brings."""


def address(a: Array) -> int:
    """Where the first number of an array stands."""
    return int(a.__array_interface__["data"][0])


def cuts(n: int) -> list[slice]:
    """n examples in blocks of nearly the same size, at most BLOCK."""
    count = -(-n // BLOCK)
    edges = [n * k // count for k in range(count + 1)]
    return [slice(start, stop) for start, stop in zip(edges[:-1], edges[1:], strict=True)]


def framed(grid: Grid, channels: int, n: int, dtype: np.dtype[np.generic]) -> tuple[Array, Array]:
    """Zeros (H + 2π, W + 2π, C, n), and the view of the part that the maps fill, (H, W, C, n)."""
    (h, w), (a, b) = grid.size, grid.padding
    x = np.zeros((h + 2 * a, w + 2 * b, channels, n), dtype)
    return x, x[a:a + h, b:b + w]


class Positions:
    """The products of ``n`` examples, position by position, straight from the maps. No groups, no dilation along the width.

    For each block of examples: x and dx (H + 2π, W + 2π, C, block), the padding of x zero; dy (P, Q, F, block), and turned (P, Q, block, F).
    For all of them: y (P, Q, F, n) and, of several blocks, dx (H, W, C, n).
    """

    def __init__(self, grid: Grid, w: Array, n: int, pair: Pair) -> None:
        self.grid, self.pair, self.cuts = grid, pair, cuts(n)
        kh, kw, C, F = w.shape
        (P, Q), sizes = grid.positions, [cut.stop - cut.start for cut in self.cuts]
        self.y, self.wide = np.empty((P, Q, F, n), w.dtype), np.empty((kh, F, kw * C), w.dtype)
        self.x, self.dx = ([framed(grid, C, m, w.dtype) for m in sizes] for _ in range(2))
        self.turned = [np.empty((P, Q, m, F), w.dtype) for m in sizes]
        if len(sizes) > 1:                                     # else they are the only block's
            self.lines = [[np.empty((Q, F, m), w.dtype) for m in sizes] for _ in range(2)]
            self.dy, self.dx_all = [np.empty((P, Q, F, m), w.dtype) for m in sizes], np.empty((*grid.size, C, n), w.dtype)
        depth = kw * C
        self.products = [(Product(w.dtype, (F, depth, m), (depth, m, m)),                                      # y  ← w_i · x
                          Product(w.dtype, (depth, m, F), (m, F, F)),                                          # dw ← x · turned
                          Product(w.dtype, (depth, F, m), (F, m, m))) for m in sizes]                          # dx ← w_iᵀ · dy
        self.worth = n * P * Q * w.size > WORTH
        self.right = [grid.stride[1] * C * m * w.dtype.itemsize for m in sizes]
        self.steps = [(p, i, p * grid.stride[0] + i * grid.dilation[0]) for p in range(P) for i in range(kh)]

    def output(self) -> Array:
        """y seen as (n, P, Q, F)."""
        return self.y.transpose(3, 0, 1, 2)

    def forward(self, x: Array, w: Array, b: Array) -> None:
        """y from x (n, H, W, C), w (kh, kw, C, F) and b (F,)."""
        np.copyto(self.wide, w.reshape(len(w), -1, len(b)).transpose(0, 2, 1))            # w_i by rows, as this product likes it

        def load(rows: range) -> None:
            part = slice(rows.start, rows.stop)
            for cut, (_, inner) in zip(self.cuts, self.x, strict=True):
                np.copyto(inner[part], x[cut, part].transpose(1, 2, 3, 0))

        self.pair.halves(load, self.grid.size[0], self.worth)
        self.pair.halves(lambda rows: self.forward_rows(b, rows), len(self.y), self.worth)

    def forward_rows(self, b: Array, rows: range) -> None:
        """Some rows of positions of y."""
        weights, Q, alone = [address(w_i) for w_i in self.wide], self.y.shape[1], len(self.cuts) == 1
        for k, (cut, (x, _), (product, _, _), right) in enumerate(zip(self.cuts, self.x, self.products, self.right, strict=True)):
            for p in rows:
                line = self.y[p] if alone else self.lines[rows.start > 0][k]
                line[...] = b[:, None]
                at = [address(x[r]) for j, _, r in self.steps if j == p]
                out = address(line)
                for q in range(Q):
                    for w_i, x_r in zip(weights, at, strict=True):
                        product(w_i, x_r + q * right, out)                                # (V5)
                    out += line.strides[0]
                if not alone:
                    self.y[p, :, :, cut] = line

    def backward(self, dy: Array, w: Array, dw: Array, needs_dx: bool) -> Array:
        """dw ← dw + new, and dx seen as (n, H, W, C), from dy (n, P, Q, F). The weights on one core, the maps on the other."""
        if len(self.cuts) == 1:
            self.dy = [np.ascontiguousarray(dy.transpose(1, 2, 3, 0), self.y.dtype)]        # BLAS gets an address, which has no dtype

        def turn(rows: range) -> None:
            part = slice(rows.start, rows.stop)
            for cut, held, turned in zip(self.cuts, self.dy, self.turned, strict=True):
                if len(self.cuts) > 1:
                    np.copyto(held[part], dy[cut, part].transpose(1, 2, 3, 0))
                np.copyto(turned[part], held[part].transpose(0, 1, 3, 2))

        self.pair.halves(turn, len(self.y), self.worth)
        self.pair.both(lambda: self.weights(dw), lambda: self.maps(w) if needs_dx else None, self.worth)
        return (self.dx[0][1] if len(self.cuts) == 1 else self.dx_all).transpose(3, 0, 1, 2)

    def summed(self) -> Array:
        """db (V8)."""
        return np.asarray(sum(dy.sum(axis=3).sum(axis=(0, 1)) for dy in self.dy))

    def weights(self, dw: Array) -> None:
        """dw from x and dy."""
        kernel = [address(part) for part in dw]
        for (x, _), turned, (_, product, _), right in zip(self.x, self.turned, self.products, self.right, strict=True):
            for p, i, r in self.steps:
                d, at, out = address(turned[p]), address(x[r]), kernel[i]
                for q in range(turned.shape[1]):
                    product(at + q * right, d + q * turned.strides[1], out)               # (V7)

    def maps(self, w: Array) -> None:
        """dx from dy and w."""
        kernel = [address(part) for part in w]
        for cut, (dx, inner), dy, (_, _, product), right in zip(self.cuts, self.dx, self.dy, self.products, self.right, strict=True):
            dx.fill(0)
            for p, i, r in self.steps:
                d, out, w_i = address(dy[p]), address(dx[r]), kernel[i]
                for q in range(dy.shape[1]):
                    product(w_i, d + q * dy.strides[1], out + q * right)                  # (V6)
            if len(self.cuts) > 1:
                self.dx_all[..., cut] = inner


class Rows:
    """The products of ``n`` examples, some positions of a row at a time, their patches laid out. No groups.

    x, dx (H + 2π, W + 2π, C, n), the padding zero;   y, dy (P, F, Q, n);   patches (kh·kw·C, positions·n), for each of two threads.
    """

    def __init__(self, grid: Grid, w: Array, n: int, pair: Pair) -> None:
        self.grid, self.pair = grid, pair
        kh, kw, C, F = w.shape
        (P, Q), (sh, sw), (dh, dw), K = grid.positions, grid.stride, grid.dilation, kh * kw * C
        self.y, self.other = np.empty((P, F, Q, n), w.dtype), np.empty(w.shape, w.dtype)
        (self.x, self.inner), (self.dx, self.dx_inner) = (framed(grid, C, n, w.dtype) for _ in range(2))
        down, right, deep, step = self.x.strides
        self.windows = [np.lib.stride_tricks.as_strided(self.x[p * sh:], (kh, kw, C, Q, n), (dh * down, dw * right, deep, sw * right, step),
                                                        writeable=False) for p in range(P)]
        many = max(1, SMALL // (K * F * n))                                # so many positions at a time
        self.pieces = [slice(q, min(q + many, Q)) for q in range(0, Q, many)]
        self.patches = [{q.stop - q.start: np.empty((kh, kw, C, q.stop - q.start, n), w.dtype) for q in self.pieces} for _ in range(2)]
        self.products = {}
        for count in self.patches[0]:
            m, long = count * n, Q * n
            self.products[count] = (Product(w.dtype, (F, K, m), (K, m, long)),                                 # y  ← w · patches
                                    Product(w.dtype, (K, m, F), (m, long, F), (False, True)),                  # dw ← patches · dyᵀ
                                    Product(w.dtype, (K, F, m), (F, long, m)))                                 # dpatches ← wᵀ · dy
        self.worth = n * P * Q * w.size > WORTH

    def output(self) -> Array:
        """y seen as (n, P, Q, F)."""
        return self.y.transpose(3, 0, 2, 1)

    def forward(self, x: Array, w: Array, b: Array) -> None:
        """y from x (n, H, W, C), w (kh, kw, C, F) and b (F,)."""
        self.wide = np.ascontiguousarray(w.reshape(-1, len(b)).T)
        np.copyto(self.inner, x.transpose(1, 2, 3, 0))
        self.pair.halves(lambda rows: self.forward_rows(b, rows), len(self.y), self.worth)

    def forward_rows(self, b: Array, rows: range) -> None:
        """Some rows of positions of y."""
        w = address(self.wide)
        for p in rows:
            self.y[p] = b[:, None, None]
            for q in self.pieces:
                patches = self.patches[rows.start > 0][q.stop - q.start]
                np.copyto(patches, self.windows[p][:, :, :, q])                                                # (V3)
                self.products[q.stop - q.start][0](w, address(patches), address(self.y[p, 0, q.start]))        # (V5)

    def backward(self, dy: Array, w: Array, dw: Array, needs_dx: bool) -> Array:
        """dw ← dw + new, and dx seen as (n, H, W, C), from dy (n, P, Q, F)."""
        self.dy = np.ascontiguousarray(dy.transpose(1, 3, 2, 0), self.y.dtype)          # a copy only where it does not stand so already
        self.other.fill(0)
        self.pair.halves(lambda rows: self.weights(self.other if rows.start else dw, rows), len(self.y), self.worth)
        dw += self.other
        if needs_dx:
            self.maps(w)
        return self.dx_inner.transpose(3, 0, 1, 2)

    def summed(self) -> Array:
        """db (V8)."""
        return np.asarray(self.dy.sum(axis=3).sum(axis=(0, 2)))

    def weights(self, dw: Array, rows: range) -> None:
        """What some rows of positions add to dw."""
        out = address(dw)
        for p in rows:
            for q in self.pieces:
                patches = self.patches[rows.start > 0][q.stop - q.start]
                np.copyto(patches, self.windows[p][:, :, :, q])                                                # (V3)
                self.products[q.stop - q.start][1](address(patches), address(self.dy[p, 0, q.start]), out)     # (V7)

    def maps(self, w: Array) -> None:
        """dx from dy and w."""
        self.dx.fill(0)
        kernel = address(w)
        for p in range(len(self.y)):
            for q in self.pieces:
                patches = self.patches[0][q.stop - q.start]
                patches.fill(0)
                self.products[q.stop - q.start][2](kernel, address(self.dy[p, 0, q.start]), address(patches))  # (V6)
                for i, j, row, column in self.grid.offsets():
                    met = self.dx[row.start + p * self.grid.stride[0], column][q]
                    met += patches[i, j].transpose(1, 0, 2)                                                    # (V4)


class Patches:
    """The products of a few examples: all their patches laid out by one copy, then one product. No groups.

    x, dx (n, H + 2π, W + 2π, C), the padding of x zero;   y (n, P, Q, F);   columns (n, P, Q, kh, kw, C), of which ``matrix``
    (n·P·Q, kh·kw·C) is a view. In memory the longer run is the faster one: the values of a patch or, with ``narrow``, the positions.
    """

    def __init__(self, grid: Grid, w: Array, n: int, narrow: bool) -> None:
        self.grid = grid
        (P, Q), (sh, sw), (dh, dw), (a, b), (h, width) = grid.positions, grid.stride, grid.dilation, grid.padding, grid.size
        kh, kw, C, F = w.shape
        self.gemm, _ = routines(w.dtype)
        self.x, self.dx = (np.zeros((n, h + 2 * a, width + 2 * b, C), w.dtype) for _ in range(2))
        self.inner, self.dx_inner = (maps[:, a:a + h, b:b + width] for maps in (self.x, self.dx))
        each, down, right, deep = self.x.strides
        self.windows = np.lib.stride_tricks.as_strided(self.x, (n, P, Q, kh, kw, C), (each, sh * down, sw * right, dh * down, dw * right, deep),
                                                       writeable=False)
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
        np.copyto(self.columns, self.windows)                                                                  # (V3)
        self.rows[...] = b
        accumulate(self.gemm, self.rows, self.matrix, w.reshape(-1, len(b)), 1.0)                              # (V5)

    def backward(self, dy: Array, w: Array, dw: Array, needs_dx: bool) -> Array:
        """dw ← dw + new, and dx (n, H, W, C), from dy (n, P, Q, F)."""
        F = w.shape[3]
        self.dz = np.ascontiguousarray(dy).reshape(-1, F)
        accumulate(self.gemm, dw.reshape(-1, F), self.matrix.T, self.dz, 1.0)                                  # (V7)
        if needs_dx:
            accumulate(self.gemm, self.matrix, self.dz, w.reshape(-1, F).T, 0.0)                               # (V6)  in their place
            self.dx.fill(0)
            for i, j, row, column in self.grid.offsets():
                self.dx[:, row, column] += self.columns[:, :, :, i, j]                                         # (V4)
        return self.dx_inner

    def summed(self) -> Array:
        """db (V8)."""
        return np.asarray(self.dz.sum(axis=0))
