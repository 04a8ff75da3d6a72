"""Activation functions. One value in, one value out (maxout: several in); no parameters.

Form and conventions as in layers.py. Derivations: docs/book/3-layers.md.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

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


def leaky_relu(x: Array, *, slope: float = 0.01) -> tuple[Array, Backward]:
    """The positive part, and a small part of the negative one.

        y = max(x, 0) + slope · min(x, 0)                                             (A9)

    x any shape -> y of the same shape; floats. Raises InputError unless the slope is finite. Source: Maas et al. 2013.
    """
    floats("leaky_relu", x=x)
    slope = finite_number("leaky_relu", "slope", slope)
    y = np.maximum(x, 0) + slope * np.minimum(x, 0)      # (A9)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (np.where(x > 0, dy, slope * dy),)        # (A10)  slope ``slope`` at 0

    return y, backward


def elu(x: Array, *, alpha: float = 1.0) -> tuple[Array, Backward]:
    """The exponential linear unit: x where it is positive, else an exponential that tends to −α.

        y = max(x, 0) + α (exp(min(x, 0)) − 1)                                        (A11)

    x any shape -> y of the same shape; floats. Raises InputError unless α is finite. Source: Clevert et al. 2016.
    """
    floats("elu", x=x)
    alpha = finite_number("elu", "alpha", alpha)
    y = np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0))                # (A11)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy * np.where(x > 0, 1, alpha * np.exp(np.minimum(x, 0))),)  # (A12)  slope α at 0

    return y, backward


def gelu(x: Array) -> tuple[Array, Backward]:
    """x times the probability that a standard normal variable is below x, in the exact form.

        y = x Φ(x),   Φ(x) = ½ erfc(−x/√2)                                            (A13)

    x any shape -> y of the same shape; floats. Source: Hendrycks & Gimpel 2016.
    """
    floats("gelu", x=x)
    below = (0.5 * special.erfc(-math.sqrt(0.5) * x)).astype(x.dtype)
    y = x * below                                                            # (A13)

    def backward(dy: Array) -> tuple[Array, ...]:
        near = np.clip(x, -40, 40)       # the density beyond is 0, and the square of x may overflow
        return (dy * (below + near * np.exp(-0.5 * near * near) / math.sqrt(2 * math.pi)),)      # (A14)

    return y, backward


def silu(x: Array) -> tuple[Array, Backward]:
    """x times its logistic function, also called swish.

        y = x σ(x),   σ(x) = 1 / (1 + exp(−x))                                        (A15)

    x any shape -> y of the same shape; floats. Source: Elfwing, Uchibe & Doya 2018.
    """
    floats("silu", x=x)
    s, _ = sigmoid(x)
    y = x * s                            # (A15)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy * s * (1 + x * (1 - s)),)     # (A16)

    return y, backward


def finite_number(who: str, name: str, value: float) -> float:
    """The option as a Python number, which changes no dtype. Raises InputError unless it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
        raise InputError(f"{who}: {name} is {value!r}; it must be a finite number")
    return float(value)


def maxout(x: Array, *, pieces: int) -> tuple[Array, Backward]:
    """The largest of ``pieces`` neighbouring values; behind a dense layer a convex function of affine pieces.

        y_nj = max_p x_n,(j·P+p)                                                      (A7)

    x (N, J·P) -> y (N, J); floats; P = ``pieces``; ties go to the first. Raises InputError unless P ≥ 1 divides the
    width. Source: Goodfellow et al. 2013.
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
