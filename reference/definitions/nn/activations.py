"""The definitions of npkd/nn/activations.py: one value at a time, no derivatives."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def relu(x: Array) -> Array:
    y = np.zeros(x.shape)
    for k in np.ndindex(x.shape):
        y[k] = x[k] if x[k] > 0 else 0.0     # (A1)
    return y


def tanh(x: Array) -> Array:
    y = np.zeros(x.shape)
    for k in np.ndindex(x.shape):
        y[k] = (math.exp(x[k]) - math.exp(-x[k])) / (math.exp(x[k]) + math.exp(-x[k]))     # (A3)
    return y


def sigmoid(x: Array) -> Array:
    y = np.zeros(x.shape)
    for k in np.ndindex(x.shape):
        y[k] = 1 / (1 + math.exp(-x[k]))     # (A5)
    return y


def leaky_relu(x: Array, slope: float = 0.01) -> Array:
    y = np.zeros(x.shape)
    for k in np.ndindex(x.shape):
        y[k] = x[k] if x[k] > 0 else slope * x[k]     # (A9)
    return y


def elu(x: Array, alpha: float = 1.0) -> Array:
    y = np.zeros(x.shape)
    for k in np.ndindex(x.shape):
        y[k] = x[k] if x[k] > 0 else alpha * (math.exp(x[k]) - 1)     # (A11)
    return y


def gelu(x: Array) -> Array:
    y = np.zeros(x.shape)
    for k in np.ndindex(x.shape):
        y[k] = x[k] * (1 + math.erf(x[k] / math.sqrt(2))) / 2     # (A13)
    return y


def silu(x: Array) -> Array:
    y = np.zeros(x.shape)
    for k in np.ndindex(x.shape):
        y[k] = x[k] / (1 + math.exp(-x[k]))     # (A15)
    return y


def maxout(x: Array, pieces: int) -> Array:
    N, J = len(x), x.shape[1] // pieces
    y = np.zeros((N, J))
    for n in range(N):
        for j in range(J):
            y[n, j] = max(x[n, j * pieces + p] for p in range(pieces))     # (A7)
    return y
