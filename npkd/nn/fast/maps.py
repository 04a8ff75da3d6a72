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
from npkd.nn.fast.steps import fits, update_gradient
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
        (w, self.b), (dw, self.db) = layer.params, gradient
        self.w, self.dw = w.transpose(1, 2, 3, 0), dw.transpose(1, 2, 3, 0)
        self.shape: tuple[int, ...] = ()

    def prepare(self, x: Array) -> None:
        """Buffers for an input of this shape. Raises InputError as conv2d does."""
        options, n = self.layer.settings, len(x)
        conv2d(x[:0], *self.layer.params, **options)
        grid = Grid("conv2d", x.shape[1:3], self.w.shape[:2], *(options[k] for k in ("stride", "padding", "dilation")))
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
        self.dw[...] = beta * self.dw if beta else 0
        dx, db = self.products.backward(dy, self.w, self.dw, needs_dx)
        update_gradient((self.db,), (db,), beta)
        return dx


class MaxPool:
    """max_pool in place, of windows that neither overlap nor reach into padding. Formulas (M1), (M2) of pooling.py."""

    def __init__(self, size: tuple[int, int], stack_bytes: int) -> None:
        self.size, self.stack_bytes = size, stack_bytes
        self.x = self.y = self.dx = np.empty((0, 0, 0, 0))

    def windows(self, x: Array) -> list[Array]:
        """For each place in the window the values there: views (P, Q, C, n), row by row."""
        (kh, kw), x = self.size, x.transpose(1, 2, 3, 0)
        h, w = x.shape[0] // kh * kh, x.shape[1] // kw * kw
        return [x[i:h:kh, j:w:kw] for i in range(kh) for j in range(kw)]

    def prepare(self, x: Array) -> None:
        """Buffers for an input of this shape and order. Raises InputError as max_pool does."""
        max_pool(x[:0], size=self.size)
        place = self.windows(x)[0]
        self.y, self.left, self.won = (np.empty_like(place, dtype) for dtype in (x.dtype, bool, bool))
        self.many = max(1, self.stack_bytes // max(1, self.size[0] * self.size[1] * self.y[:1].nbytes))

    def forward(self, x: Array) -> Array:
        """y, seen as (n, P, Q, C), in the order of x, which is kept for the backward half."""
        if x is not self.x:                          # of few examples it is the same view of the same memory every time
            if not fits(self.x, x):
                self.prepare(x)
            self.x, parts = x, self.windows(x)
            self.work = [([part[p] for part in parts], self.y[p]) for p in stacks(len(self.y), self.many)]
        for parts, y in self.work:
            np.maximum(parts[0], parts[-1], out=y)                                                  # (M1)
            for part in parts[1:-1]:
                np.maximum(y, part, out=y)                                                          # (M1)
        return self.y.transpose(3, 0, 1, 2)

    def backward(self, dy: Array, beta: float, needs_dx: bool) -> Array:
        """dx, in the order of x."""
        self.dx = self.dx if fits(self.dx, self.x) else np.zeros_like(self.x)       # what no window covers stays zero
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
