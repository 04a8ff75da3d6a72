"""The definitions of npkd/nn/layers.py: loops and sums, no derivatives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def dense(x: Array, w: Array, b: Array) -> Array:
    y = np.zeros((len(x), len(w)))
    for n in range(len(x)):
        for o in range(len(w)):
            y[n, o] = b[o] + sum(w[o, i] * x[n, i] for i in range(x.shape[1]))     # (D1)
    return y


def gate(x: Array, g: Array) -> Array:
    y = np.zeros(x.shape)
    for k in np.ndindex(x.shape):
        y[k] = g[k[-1]] * x[k]     # (G1)
    return y


def select(x: Array, kept: Sequence[int]) -> Array:
    y = np.zeros((len(x), len(kept)))
    for n in range(len(x)):
        for k in range(len(kept)):
            y[n, k] = x[n, kept[k]]     # (E1)
    return y


def dropout(x: Array, rate: float, rng: np.random.Generator | None) -> Array:
    if rng is None:
        return x
    y = np.zeros(x.shape)
    for k in np.ndindex(x.shape):
        m = 1 if rng.random() >= rate else 0
        y[k] = x[k] * m / (1 - rate)     # (O1)
    return y


def flatten(x: Array) -> Array:
    return np.array([[x[n][rest] for rest in np.ndindex(x.shape[1:])] for n in range(len(x))])     # (F1)


def unflatten(x: Array, shape: Sequence[int]) -> Array:
    y = np.zeros((len(x), *shape))
    for n in range(len(x)):
        for i, rest in enumerate(np.ndindex(*shape)):
            y[n][rest] = x[n, i]     # (F3)
    return y


def offset(x: Array, m: Array) -> Array:
    y = np.zeros(x.shape)
    for n in range(len(x)):
        for k in np.ndindex(m.shape):
            y[(n, *k)] = x[(n, *k)] + m[k]     # (U4)
    return y
