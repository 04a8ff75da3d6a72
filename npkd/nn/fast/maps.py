"""conv2d and max_pool in buffers of their own, with the examples running fastest.

Maps go from step to step as views (n, H, W, C) of memory in the order (H, W, C, n) or (H, C, W, n), so that NumPy works
through long runs of numbers. Arrays in any order are taken.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npkd.core.types import Array
from npkd.nn.convolution import Grid, conv2d
from npkd.nn.fast.products import Patches, Positions, Rows, stacks
from npkd.nn.fast.steps import update_gradient
from npkd.nn.network import Layer
from npkd.nn.pooling import max_pool

FEW_EXAMPLES = 12
"""With fewer examples than these a product for each position has too little to do: all patches are laid out at once."""
NARROW_ROW = 16
"""With fewer values than these in a row of the kernel (kw·C) the patches are laid out."""


class Conv:
    """conv2d without groups, in place. Formulas (V5) … (V8) of convolution.py."""

    def __init__(self, layer: Layer, gradient: Sequence[Array], stack_bytes: int) -> None:
        self.layer, self.stack_bytes = layer, stack_bytes
        self.w, self.b = (layer.params[0].transpose(1, 2, 3, 0), layer.params[1])
        self.dw, self.db = (gradient[0].transpose(1, 2, 3, 0), gradient[1])
        self.shape: tuple[int, ...] = ()

    def prepare(self, x: Array) -> None:
        """Buffers for an input of this shape. Raises InputError as conv2d does."""
        options, n = self.layer.options, len(x)
        conv2d(x[:0], *self.layer.params, **options)
        grid = Grid("conv2d", x.shape[1:3], self.w.shape[:2], options.get("stride", 1), options.get("padding", 0),
                    options.get("dilation", 1))
        narrow = grid.dilation[1] > 1 or self.w.shape[1] * self.w.shape[2] < NARROW_ROW
        self.products: Positions | Rows | Patches = (
            Patches(grid, self.w, n, narrow) if n < FEW_EXAMPLES
            else (Rows if narrow else Positions)(grid, self.w, n, self.stack_bytes))
        self.shape = x.shape

    def forward(self, x: Array) -> Array:
        """y, seen as (n, P, Q, F)."""
        if self.shape != x.shape:
            self.prepare(x)
        self.products.forward(x, self.w, self.b)
        return self.products.output

    def backward(self, dy: Array, beta: float, needs_dx: bool) -> Array:
        """dx, seen as (n, H, W, C), and gradient ← new + beta · gradient."""
        if beta:
            self.dw *= beta
        else:
            self.dw.fill(0)
        dx, db = self.products.backward(dy, self.w, self.dw, needs_dx)
        update_gradient((self.db,), (db,), beta)
        return dx


class MaxPool:
    """max_pool in place, of windows that neither overlap nor reach into a padding. Formulas (M1), (M2) of pooling.py.

    The largest of a window is that of the largest of its columns: over the rows of windows first, in long runs,
    ``tall`` (P, W, C, n).
    """

    def __init__(self, size: tuple[int, int], stack_bytes: int) -> None:
        self.size, self.stack_bytes = size, stack_bytes
        self.x = self.y = self.dx = np.empty((0, 0, 0, 0))

    def windows(self, x: Array) -> list[Array]:
        """For each place in the window the values there: views (P, Q, C, n), row by row."""
        (kh, kw), x = self.size, x.transpose(1, 2, 3, 0)
        h, w = x.shape[0] // kh * kh, x.shape[1] // kw * kw
        return [x[i:h:kh, j:w:kw] for i in range(kh) for j in range(kw)]

    def forward(self, x: Array) -> Array:
        """y, its examples fastest; x is kept for the backward half."""
        if self.x.shape != x.shape:
            max_pool(x[:0], size=self.size)                            # says what does not fit
        if x is not self.x:                          # of few examples it is the same view of the same memory every time
            self.look(x)
        for parts, out in self.work:
            np.maximum(parts[0], parts[-1], out=out)                                                # (M1)
            for part in parts[1:-1]:
                np.maximum(out, part, out=out)                                                      # (M1)
        return self.out

    def look(self, x: Array) -> None:
        """Take x: the rows of its windows (P, W, C, n), and buffers that fit."""
        (kh, kw), maps = self.size, x.transpose(1, 2, 3, 0)
        h, w = maps.shape[0] // kh * kh, maps.shape[1] // kw * kw
        self.x, rows = x, [maps[i:h:kh, :w] for i in range(kh)]
        if self.y.shape != (h // kh, w // kw, *maps.shape[2:]):
            self.y, self.left, self.won = (np.empty_like(rows[0][:, ::kw], dtype) for dtype in (x.dtype, bool, bool))
            self.tall, self.out = np.empty_like(rows[0]), self.y.transpose(3, 0, 1, 2)
            self.many = max(1, self.stack_bytes // max(1, kh * self.tall[:1].nbytes))
        columns = [self.tall[:, j::kw] for j in range(kw)]
        # of each stack of rows first the rows of its windows, then their columns
        self.work = [([part[p] for part in parts], out[p])
                     for p in stacks(len(self.y), self.many) for parts, out in ((rows, self.tall), (columns, self.y))]

    def backward(self, dy: Array, beta: float, needs_dx: bool) -> Array:
        """dx, in the order of x."""
        if self.dx.shape != self.x.shape or self.dx.strides != self.x.strides:
            self.dx = np.zeros_like(self.x)                            # what no window covers stays zero
        parts, dparts, dy = self.windows(self.x), self.windows(self.dx), dy.transpose(1, 2, 3, 0)
        for p in stacks(len(self.y), self.many):
            y, d, left, won = self.y[p], dy[p], self.left[p], self.won[p]
            left.fill(True)
            for part, dpart in zip(parts[:-1], dparts[:-1], strict=True):
                np.equal(part[p], y, out=won)
                won &= left
                np.multiply(d, won, out=dpart[p])                                        # (M2)  only the winner is felt
                left ^= won
            np.multiply(d, left, out=dparts[-1][p])                                       # (M2)  nobody before the last
        return self.dx
