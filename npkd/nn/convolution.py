"""Convolution as a matrix product: patches are copied side by side (im2col), and added back (col2im) by the same loop.

Channels come last, x (N, H, W, C): a channel is a neuron that is seen at many positions, and every op that acts per
neuron acts per channel. Form and conventions as in layers.py. Derivations: docs/book/4-convolution.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from npkd.core.linalg import product, total
from npkd.core.types import Array, Backward
from npkd.core.validation import InputError, alike, floats

Pair = int | Sequence[int]
"""One number for both directions, or one for the rows and one for the columns."""


def pair(who: str, name: str, value: Any, least: int) -> tuple[int, int]:
    """(rows, columns) of a Pair. Raises InputError unless both are whole numbers, at least ``least``."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or not all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) and v >= least
                                 for v in both):
        raise InputError(f"{who}: {name} is {value!r}; it must be a whole number, at least {least}, or two of them")
    return int(both[0]), int(both[1])


class Grid:
    """The positions of a kernel's windows on maps of one size.

        row(p, i) = p s + i δ − π,   column(q, j) likewise                            (V1)
        P = ⌊(H + 2π − δ (kh − 1) − 1) / s⌋ + 1,   Q likewise                         (V2)

    size H×W of the maps, kernel kh×kw, stride s, padding π, dilation δ, each for rows and for columns; positions P×Q,
    all windows within the padded map. Raises InputError where no window fits.
    """

    def __init__(self, who: str, size: Sequence[int], kernel: Sequence[int], stride: Pair, padding: Pair,
                 dilation: Pair = 1) -> None:
        self.kernel = pair(who, "kernel", tuple(kernel), 1)
        self.stride, self.dilation = pair(who, "stride", stride, 1), pair(who, "dilation", dilation, 1)
        self.padding = pair(who, "padding", padding, 0)
        self.size = (int(size[0]), int(size[1]))
        reach = [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        padded = [n + 2 * p for n, p in zip(self.size, self.padding, strict=True)]
        if reach[0] > padded[0] or reach[1] > padded[1]:
            raise InputError(f"{who}: a kernel that reaches over {reach[0]}×{reach[1]} does not fit into maps of "
                             f"{padded[0]}×{padded[1]}, padding included; it must be smaller, or the padding larger")
        self.positions = tuple((n - r) // s + 1 for n, r, s in zip(padded, reach, self.stride, strict=True))      # (V2)

    def offsets(self) -> Iterator[tuple[int, int, slice, slice]]:
        """(i, j, rows, columns) of every entry of the kernel: where on the padded map it is multiplied, by position."""
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                row, column = (slice(at * d, at * d + s * (n - 1) + 1, s) for at, d, s, n in
                               zip((i, j), self.dilation, self.stride, self.positions, strict=True))              # (V1)
                yield i, j, row, column

    def blank(self, like: Array, value: float = 0.0) -> Array:
        """Padded maps that hold one value everywhere; as many, as deep and of the dtype of ``like`` (N, ..., C)."""
        (h, w), (a, b) = self.size, self.padding
        return np.full((len(like), h + 2 * a, w + 2 * b, like.shape[-1]), value, like.dtype)

    def inside(self, around: Array) -> Array:
        """The maps within padded maps, a view."""
        (h, w), (a, b) = self.size, self.padding
        return around[:, a:a + h, b:b + w]

    def padded(self, x: Array, value: float = 0.0) -> Array:
        """x (N, H, W, C) with the padding around it; x itself where there is none."""
        if self.padding == (0, 0):
            return x
        around = self.blank(x, value)
        self.inside(around)[...] = x
        return around

    def cropped(self, around: Array) -> Array:
        """The adjoint of ``padded``: the padding is cut away."""
        return np.ascontiguousarray(self.inside(around))


def im2col(x: Array, *, kernel: Pair, stride: Pair = 1, padding: Pair = 0,
           dilation: Pair = 1) -> tuple[Array, Backward]:
    """The patch under every window, side by side.

        y_n,p,q,i,j,c = x_n,row(p,i),column(q,j),c,   0 outside of the map            (V3)

    x (N, H, W, C) -> y (N, P, Q, kh, kw, C); floats. Backward is col2im, the adjoint. Raises InputError for other
    shapes, and where the kernel does not fit. Source: Chellapilla, Puri & Simard 2006.
    """
    maps("im2col", x)
    grid = Grid("im2col", x.shape[1:3], pair("im2col", "kernel", kernel, 1), stride, padding, dilation)
    return gathered(grid, x), lambda dy: (scattered(grid, dy),)


def gathered(grid: Grid, x: Array) -> Array:
    """im2col: x (N, H, W, C) -> (N, P, Q, kh, kw, C)."""
    around = grid.padded(x)
    y = np.empty((len(x), *grid.positions, *grid.kernel, x.shape[3]), x.dtype)
    for i, j, row, column in grid.offsets():
        y[:, :, :, i, j] = around[:, row, column]                  # (V3)
    return y


def scattered(grid: Grid, dy: Array) -> Array:
    """col2im: dy (N, P, Q, kh, kw, C) -> (N, H, W, C)."""
    around = grid.blank(dy)
    for i, j, row, column in grid.offsets():
        around[:, row, column] += dy[:, :, :, i, j]                # (V4)  the same loop, read the other way
    return grid.cropped(around)


def conv2d(x: Array, w: Array, b: Array, *, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1,
           groups: int = 1) -> tuple[Array, Backward]:
    """Weighted sum of the patch at each position, plus a bias, for every output channel.

        y_npqf = b_f + Σ_ijc w_fijc x_n,row(p,i),column(q,j),c                        (V5)

    x (N, H, W, C)   w (F, kh, kw, C)   b (F,)   ->   y (N, P, Q, F); floats.
    Zero outside of the map, positions from (V2). With G ``groups`` the channels fall into G equal parts, w is (F, kh,
    kw, C/G), and output channel f reads part ⌊f G/F⌋. Raises InputError where the shapes do not fit. Source: LeCun et
    al. 1989; dilation: Yu & Koltun 2016; groups: Krizhevsky et al. 2012.
    """
    maps("conv2d", x)
    x, w, b = alike("conv2d", x=x, w=w, b=b)
    C, F = x.shape[3], len(w) if w.ndim else 0
    if not isinstance(groups, (int, np.integer)) or isinstance(groups, bool) or groups < 1 or C % groups or F % groups:
        raise InputError(f"conv2d: groups is {groups!r} but x has {C} channels and w makes {F}; it must be a whole "
                         f"number that divides both")
    if w.ndim != 4 or w.shape[3] != C // groups or not F:
        raise InputError(f"conv2d: w has shape {w.shape} but x has {C} channels in groups of {C // groups}; "
                         f"w must be (F, kh, kw, {C // groups})")
    if b.shape != (F,):
        raise InputError(f"conv2d: b has shape {b.shape}; one bias for each output channel, so it must be ({F},)")
    grid = Grid("conv2d", x.shape[1:3], w.shape[1:3], stride, padding, dilation)
    size, depth, count = (len(x), *grid.positions), w[0].size, F // groups
    parts = [(slice(g * w.shape[3], (g + 1) * w.shape[3]), slice(g * count, (g + 1) * count)) for g in range(groups)]
    y = np.empty((*size, F), x.dtype)
    for read, made in parts:
        columns = gathered(grid, x[..., read]).reshape(-1, depth)
        y[..., made] = (product(columns, w[made].reshape(count, depth).T) + b[made]).reshape(*size, count)      # (V5)

    def backward(dy: Array) -> tuple[Array, ...]:
        wider = np.result_type(x, dy)
        dx, dw = np.empty(x.shape, wider), np.empty(w.shape, wider)
        for read, made in parts:
            columns = gathered(grid, x[..., read]).reshape(-1, depth)    # again: patches are kh·kw times as large as x
            dz = dy[..., made].reshape(-1, count)
            dcolumns = product(dz, w[made].reshape(count, depth))      # (V6)  a patch meets w_f in y_f, at its position
            dx[..., read] = scattered(grid, dcolumns.reshape(*size, *w.shape[1:]))
            dw[made] = product(dz.T, columns).reshape(w[made].shape)       # (V7)  w_f meets the patch of every position
        db = total(dy, (0, 1, 2))                                             # (V8)  b_f is added at every position
        return dx, dw, db

    return y, backward


def depthwise_conv2d(x: Array, w: Array, b: Array, *, stride: Pair = 1, padding: Pair = 0,
                     dilation: Pair = 1) -> tuple[Array, Backward]:
    """Convolution of each channel for itself: what conv2d is in as many groups as there are channels.

        y_npqc = b_c + Σ_ij w_ijc x_n,row(p,i),column(q,j),c                          (V9)

    x (N, H, W, C)   w (kh, kw, C)   b (C,)   ->   y (N, P, Q, C); floats. Zero outside of the map, positions from (V2).
    Raises InputError where the shapes do not fit. Source: Howard et al. 2017.
    """
    maps("depthwise_conv2d", x)
    x, w, b = alike("depthwise_conv2d", x=x, w=w, b=b)
    if w.ndim != 3 or w.shape[2] != x.shape[3] or b.shape != w.shape[2:]:
        raise InputError(f"depthwise_conv2d: w has shape {w.shape} and b {b.shape} but x has {x.shape[3]} channels; "
                         f"they must be (kh, kw, {x.shape[3]}) and ({x.shape[3]},)")
    grid = Grid("depthwise_conv2d", x.shape[1:3], w.shape[:2], stride, padding, dilation)
    around = grid.padded(x)
    y = np.broadcast_to(b, (len(x), *grid.positions, len(b))).copy()
    for i, j, row, column in grid.offsets():
        y += w[i, j] * around[:, row, column]                      # (V9)

    def backward(dy: Array) -> tuple[Array, ...]:
        dw, behind = np.empty(w.shape, np.result_type(w, dy)), grid.blank(dy)
        for i, j, row, column in grid.offsets():
            behind[:, row, column] += w[i, j] * dy                 # (V10)  x_c meets w_ijc in y_c of that position
            dw[i, j] = total(dy * around[:, row, column], (0, 1, 2))        # (V11)  w_ijc meets x_c at every position
        db = total(dy, (0, 1, 2))                                  # (V12)  b_c is added at every position
        return grid.cropped(behind), dw, db

    return y, backward


def maps(who: str, x: Array) -> None:
    """Raise InputError unless x holds maps, (N, H, W, C), floats, with something on them."""
    floats(who, x=x)
    if x.ndim != 4 or 0 in x.shape[1:]:
        raise InputError(f"{who}: x has shape {x.shape}; it must be (N, H, W, C), at least one position and channel")
