"""Layers without a kernel: dense, gate, select, dropout, flatten and its inverse, offset.

Every op is one function, ``y, backward = op(x, *params, *, options)``, and ``backward(dy) -> (dx, *dparams)``. An op
changes none of its arguments and keeps their dtype, the widest where they differ. Sums over examples and positions are
accumulated in float64. Derivations: docs/book/3-layers.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from npkd.core.linalg import product, total
from npkd.core.types import Array, Backward
from npkd.core.validation import InputError, alike, below_one, floats


def dense(x: Array, w: Array, b: Array) -> tuple[Array, Backward]:
    """Weighted sums of the inputs plus a bias, one for each output neuron.

        y_no = b_o + Σ_i w_oi x_ni                                                    (D1)

    x (N, I)   w (O, I)   b (O,)   ->   y (N, O);   floats. A neuron is a row of w (its incoming weights).
    Raises InputError where the shapes do not fit. Source: Rumelhart, Hinton & Williams 1986.
    """
    x, w, b = alike("dense", x=x, w=w, b=b)
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[1]:
        raise InputError(f"dense: x has shape {x.shape} and w has shape {w.shape}; x must be (N, I) and w (O, I)")
    if b.shape != w.shape[:1]:
        raise InputError(f"dense: b has shape {b.shape}; one bias for each row of w, so it must be {w.shape[:1]}")
    y = product(x, w.T) + b              # (D1)

    def backward(dy: Array) -> tuple[Array, ...]:
        dx = product(dy, w)              # (D2)  x_ni meets w_oi in every y_no
        dw = product(dy.T, x)            # (D3)  w_oi meets x_ni in every example
        db = total(dy, 0)                # (D4)  b_o is added once an example
        return dx, dw, db

    return y, backward


def gate(x: Array, g: Array) -> tuple[Array, Backward]:
    """Each neuron times a factor. A factor of zero removes its neuron: an l1 penalty on g acts on whole neurons.

        y_nj = g_j x_nj                                                               (G1)

    x (N, ..., J)   g (J,)   ->   y (N, ..., J); floats. Of maps (N, H, W, C) a channel is a neuron; n counts examples
    and positions. Raises InputError where the shapes do not fit. Source: network slimming, Liu et al. 2017 (there the
    factor of batch norm).
    """
    x, g = alike("gate", x=x, g=g)
    if x.ndim < 2 or g.shape != x.shape[-1:]:
        raise InputError(f"gate: x has shape {x.shape} and g has shape {g.shape}; x must be (N, ..., J) and g (J,)")
    y = g * x                            # (G1)

    def backward(dy: Array) -> tuple[Array, ...]:
        dx = g * dy                      # (G2)
        dg = total(dy * x, tuple(range(x.ndim - 1)))     # (G3)  one factor for every example and position
        return dx, dg

    return y, backward


def select(x: Array, *, kept: Sequence[int]) -> tuple[Array, Backward]:
    """Some of the inputs, in the given order: a network that reads fewer pixels still takes whole images.

        y_nk = x_n,kept(k)                                                            (E1)

    x (N, I) -> y (N, K); floats. Raises InputError unless kept holds K ≥ 1 distinct indices in 0 … I − 1.
    """
    floats("select", x=x)
    index = np.asarray(kept)
    if index.size and not np.issubdtype(index.dtype, np.integer):
        raise InputError(f"select: kept holds {index.dtype}; they must be integer indices")
    if x.ndim != 2 or index.ndim != 1 or not index.size or index.min() < 0 or index.max() >= x.shape[1]:
        raise InputError(f"select: x is {x.shape} and kept {index.size} entries; x must be (N, I), kept in 0 … I − 1")
    if len(np.unique(index)) != len(index):
        raise InputError("select: kept names an input twice; each may be kept once")
    y = x[:, index]                      # (E1)

    def backward(dy: Array) -> tuple[Array, ...]:
        dx = np.zeros(x.shape, dy.dtype)
        dx[:, index] = dy                # (E2)  zero for inputs that are not kept
        return (dx,)

    return y, backward


def dropout(x: Array, *, rate: float, rng: np.random.Generator | None) -> tuple[Array, Backward]:
    """Values kept with probability 1 − rate and divided by it, which keeps their mean; the others zero.

        y_k = x_k m_k / (1 − rate),   m_k = 1 where u_k ≥ rate, else 0,   u_k uniform on [0, 1)      (O1)

    x any shape -> y of the same shape; floats. ``rng`` draws u in float64, in the order of x; without one, as when a
    network predicts, y = x. Raises InputError unless 0 ≤ rate < 1. Source: Srivastava et al. 2014, section 10.
    """
    floats("dropout", x=x)
    below_one("dropout", "rate", rate)
    if rng is None or rate == 0:
        return x.copy(), lambda dy: (dy.copy(),)
    m = (rng.random(x.shape) >= rate).astype(x.dtype) / float(1 - rate)
    y = x * m                            # (O1)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy * m,)                 # (O2)  the same draw

    return y, backward


def flatten(x: Array) -> tuple[Array, Backward]:
    """All values of an example in one row, the last axis running fastest.

        y_n,(i·J+j) = x_nij                                                           (F1)

    x (N, ...) -> y (N, product of the rest); floats. Raises InputError where x has no axis of examples.
    """
    floats("flatten", x=x)
    if x.ndim < 2:
        raise InputError(f"flatten: x has shape {x.shape}; it must be (N, ...) with at least two axes")
    y = x.reshape(len(x), math.prod(x.shape[1:])).copy()     # (F1)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy.reshape(x.shape).copy(),)     # (F2)

    return y, backward


def unflatten(x: Array, *, shape: Sequence[int]) -> tuple[Array, Backward]:
    """Rows of values as arrays of a given shape: the inverse of flatten.

        y_nij = x_n,(i·J+j)                                                           (F3)

    x (N, product of shape) -> y (N, *shape); floats; of grey pictures shape is (H, W, 1). Raises InputError unless
    shape holds positive whole numbers whose product is the width of x.
    """
    floats("unflatten", x=x)
    sides = list(shape) if isinstance(shape, (list, tuple)) else []
    whole = sides and all(isinstance(s, (int, np.integer)) and not isinstance(s, bool) and s > 0 for s in sides)
    if x.ndim != 2 or not whole or math.prod(sides) != x.shape[1]:
        raise InputError(f"unflatten: x has shape {x.shape} and shape is {shape!r}; x must be (N, I), I the product of "
                         f"positive whole numbers")
    y = x.reshape(len(x), *sides).copy()     # (F3)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy.reshape(x.shape).copy(),)     # (F4)

    return y, backward


def offset(x: Array, m: Array) -> tuple[Array, Backward]:
    """A bias for every entry of an example: it may differ from position to position.

        y_n... = x_n... + m_...                                                       (U4)

    x (N, ...)   m (...)   ->   y (N, ...); floats. Raises InputError where the shapes do not fit.
    """
    x, m = alike("offset", x=x, m=m)
    if not x.ndim or m.shape != x.shape[1:]:
        raise InputError(f"offset: x has shape {x.shape} and m has shape {m.shape}; m must be shaped as one example")
    y = x + m                            # (U4)

    def backward(dy: Array) -> tuple[Array, ...]:
        return dy.copy(), total(dy, 0)       # (U5)  m is added once an example

    return y, backward
