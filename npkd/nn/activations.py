"""Activation functions: relu, tanh, sigmoid, maxout. One value in, one value out (maxout: several in); no parameters.

Form and conventions as in layers.py. At a kink the slope is one that the convention names: relu'(0) = 0, and ties in a
maximum go to the first. Derivations: docs/2-layers.md.
"""

from __future__ import annotations

import numpy as np

from npkd.core.types import Array, Backward
from npkd.core.validation import InputError, floats


def relu(x: Array) -> tuple[Array, Backward]:
    """The positive part.

        y = max(x, 0)                                                                 (A1)

    x any shape -> y of the same shape; floats. Source: Glorot, Bordes & Bengio 2011.
    """
    floats("relu", x=x)
    y = np.maximum(x, 0)                 # (A1)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy * (x > 0),)           # (A2)  slope 0 at 0

    return y, backward


def tanh(x: Array) -> tuple[Array, Backward]:
    """The hyperbolic tangent.

        y = tanh x                                                                    (A3)

    x any shape -> y of the same shape; floats.
    """
    floats("tanh", x=x)
    y = np.tanh(x)                       # (A3)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy * (1 - y * y),)       # (A4)

    return y, backward


def sigmoid(x: Array) -> tuple[Array, Backward]:
    """The logistic function, in a form that overflows for no x and keeps its digits where it is near 0.

        y = 1 / (1 + exp(−x)),   for x < 0 as exp(x) / (1 + exp(x))                   (A5)

    x any shape -> y of the same shape; floats.
    """
    floats("sigmoid", x=x)
    small = np.exp(-np.abs(x))
    y, rest = np.where(x < 0, small, 1) / (1 + small), np.where(x < 0, 1, small) / (1 + small)     # (A5)  rest = 1 − y

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy * y * rest,)          # (A6)

    return y, backward


def maxout(x: Array, *, pieces: int) -> tuple[Array, Backward]:
    """The largest of ``pieces`` neighbouring values; a dense layer in front makes them affine pieces of a convex
    function.

        y_nj = max_p x_n,(j·P+p)                                                      (A7)

    x (N, J·P) -> y (N, J); floats; P = ``pieces``. Ties go to the first.
    Raises InputError unless P ≥ 1 divides the width. Source: Goodfellow et al. 2013.
    """
    floats("maxout", x=x)
    if x.ndim != 2 or pieces < 1 or x.shape[1] % pieces:
        raise InputError(f"maxout: x has shape {x.shape} and pieces is {pieces}; x must be (N, J·pieces)")
    parts = x.reshape(len(x), x.shape[1] // pieces, pieces)
    winner = parts.argmax(axis=2)[:, :, None]
    y = np.take_along_axis(parts, winner, axis=2)[:, :, 0]     # (A7)

    def backward(dy: Array) -> tuple[Array, ...]:
        dx = np.zeros_like(parts)
        np.put_along_axis(dx, winner, dy[:, :, None], axis=2)  # (A8)  the winner takes it all
        return (dx.reshape(x.shape),)

    return y, backward
