"""The steps of a workspace for dense, relu, flatten and unflatten, in place, and for any other op, in its plain form.

A step has ``forward(x)`` and ``backward(dy, beta, needs_dx)``, which leaves ``gradient ← new + beta · gradient`` and
returns dx. What it returns lives until its next call. Arrays come in either order, rows or columns contiguous: where
examples run fastest (maps.py), flattened maps are a matrix by columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.linalg import blas

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.nn.fast.threads import unlocked_gemm
from npkd.nn.network import Layer

Gemm = Callable[..., Array]
SUMMED = 512
"""Examples whose sensitivities BLAS adds up in one go, one after another."""


def routines(dtype: Any) -> tuple[Gemm, Gemm]:
    """(gemm, gemv) of SciPy's BLAS for float32 or float64."""
    return (blas.sgemm, blas.sgemv) if dtype == np.float32 else (blas.dgemm, blas.dgemv)


def fits(buffer: Array, like: Array) -> bool:
    """Has ``buffer`` the shape and the order of ``like``?"""
    return buffer.shape == like.shape and buffer.strides == like.strides


def packed(a: Array) -> Array:
    """A matrix as BLAS can take it: as it is where its rows or its columns are contiguous, else a copy."""
    return a if a.flags.c_contiguous or a.flags.f_contiguous else np.ascontiguousarray(a)


def accumulate(gemm: Gemm, out: Array, a: Array, b: Array, beta: float) -> None:
    """out ← a b + beta · out for matrices (n, k), (k, m) and (n, m), each contiguous by rows or by columns."""
    if not out.flags.f_contiguous:
        out, a, b = out.T, b.T, a.T                                    # BLAS counts columns first: outᵀ = bᵀ aᵀ
    rows_a, rows_b = not a.flags.f_contiguous, not b.flags.f_contiguous
    gemm(1.0, a.T if rows_a else a, b.T if rows_b else b, beta, out, trans_a=rows_a, trans_b=rows_b, overwrite_c=1)


class Dense:
    """dense in place. Formulas (D1) … (D4) of layers.py."""

    def __init__(self, params: Sequence[Array], gradient: Sequence[Array], rows: int, unlocked: bool) -> None:
        (self.w, self.b), (self.dw, self.db) = params, gradient
        gemm, self.gemv = routines(self.w.dtype)
        self.gemm = unlocked_gemm(self.w.dtype) if unlocked else gemm
        self.y, self.ones = np.empty((rows, len(self.w)), self.w.dtype), np.ones(rows, self.w.dtype)
        self.dx = self.y[:0]

    def forward(self, x: Array) -> Array:
        """y in this layer's buffer; x is kept for the backward half. Raises InputError for another width."""
        if x.ndim != 2 or x.shape[1] != self.w.shape[1]:
            raise InputError(f"dense: x has shape {x.shape} and w has shape {self.w.shape}; "
                             "x must be (N, I) and w (O, I)")
        self.x, y = packed(x.astype(self.w.dtype, copy=False)), self.y[:len(x)]
        y[:] = self.b                                                  # (D1)  y ← b, then
        accumulate(self.gemm, y, self.x, self.w.T, 1.0)                # (D1)  y ← x wᵀ + 1 · y
        return y

    def backward(self, dy: Array, beta: float, needs_dx: bool) -> Array:
        """dx, in the order of x, and gradient ← new + beta · gradient."""
        dy = packed(dy.astype(self.w.dtype, copy=False))
        if needs_dx:
            if not fits(self.dx, self.x):
                self.dx = np.empty_like(self.x)
            accumulate(self.gemm, self.dx, dy, self.w, 0.0)            # (D2)
        accumulate(self.gemm, self.dw, dy.T, self.x, beta)             # (D3), and with β = μ also (T2)
        for start in range(0, len(dy), SUMMED):                        # pieces: a sum of many numbers loses digits
            rows = dy[start:start + SUMMED]
            by_rows, kept = rows.flags.c_contiguous, 1.0 if start else beta
            self.gemv(1.0, rows.T if by_rows else rows, self.ones[:len(rows)], kept, self.db, trans=not by_rows,
                      overwrite_y=1)                                   # (D4)
        return self.dx


class Relu:
    """relu in place. Formulas (A1), (A2) of activations.py."""

    def __init__(self) -> None:
        self.y = self.dx = self.on = np.empty(0)

    def forward(self, x: Array) -> Array:
        """y in this layer's buffer, in the order of x."""
        if not fits(self.y, x):
            self.y, self.dx, self.on = np.empty_like(x), np.empty_like(x), np.empty_like(x, bool)
        return np.maximum(x, 0, out=self.y)                            # (A1)

    def backward(self, dy: Array, beta: float, needs_dx: bool) -> Array:
        """dx."""
        return np.multiply(dy, np.greater(self.y, 0, out=self.on), out=self.dx)        # (A2)


class Reshape:
    """flatten or unflatten as a view, nothing copied. Formulas (F1) … (F4) of layers.py."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.sides, self.shape = tuple[int, ...](), tuple[int, ...]()

    def forward(self, x: Array) -> Array:
        """A view of x; of maps whose examples run fastest it is a matrix by columns."""
        if x.shape != self.shape:
            y, _ = self.layer.forward(x[:0], None)                     # says what does not fit
            self.sides, self.shape = y.shape[1:], x.shape
        return reshaped(x, self.sides)                                 # (F1), (F3)

    def backward(self, dy: Array, beta: float, needs_dx: bool) -> Array:
        """A view of dy."""
        return reshaped(dy, self.shape[1:])                            # (F2), (F4)


def reshaped(x: Array, sides: tuple[int, ...]) -> Array:
    """x (N, ...) -> (N, *sides), in the order it has: examples first, or, where they run fastest, last."""
    if x.flags.c_contiguous:
        return x.reshape(len(x), *sides)
    last = x.transpose(*range(1, x.ndim), 0).reshape(*sides, len(x))
    return last.transpose(-1, *range(len(sides)))


class Plain:
    """Any other op: its plain form, and its gradients added to what stands there."""

    def __init__(self, layer: Layer, gradient: Sequence[Array]) -> None:
        self.layer, self.gradient = layer, gradient

    def forward(self, x: Array, rng: np.random.Generator | None, skip: Array | None) -> Array:
        """y as the op gives it."""
        y, self.closure = self.layer.forward(x, rng, skip)
        return y

    def backward(self, dy: Array, beta: float, needs_dx: bool) -> Array:
        """dx, and gradient ← new + beta · gradient. Of an op with a skip, ``dskip`` is what the other path feels."""
        dx, *dparams = self.closure(dy)
        if self.layer.back:
            self.dskip, dparams = dparams[0], dparams[1:]
        update_gradient(self.gradient, dparams, beta)
        return dx


def update_gradient(gradient: Sequence[Array], new: Sequence[Array], beta: float) -> None:
    """gradient ← new + beta · gradient; with β = 0 what stood there does not count, not even NaN."""
    for old, g in zip(gradient, new, strict=True):
        old[...] = g + beta * old if beta else g                       # with β = μ: (T2)
