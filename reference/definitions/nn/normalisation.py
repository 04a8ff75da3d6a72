"""The definitions of npkd/nn/normalisation.py and of the running moments: loops and sums, no derivatives."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def places(x: Array) -> list[tuple[int, ...]]:
    """Where a neuron has a value: every example, and of maps every position."""
    return list(np.ndindex(x.shape[:-1]))


def moments(x: Array) -> tuple[Array, Array]:
    J, every = x.shape[-1], places(x)
    mean, variance = np.zeros(J), np.zeros(J)
    for j in range(J):
        mean[j] = sum(x[n][j] for n in every) / len(every)                            # (B1)
        variance[j] = sum((x[n][j] - mean[j]) ** 2 for n in every) / len(every)       # (B1)
    return mean, variance


def batch_norm(x: Array, gamma: Array, beta: Array, eps: float = 1e-5,
               running: tuple[Array, Array] | None = None) -> Array:
    mean, variance = moments(x) if running is None else running
    y = np.zeros(x.shape)
    for n in places(x):
        for j in range(x.shape[-1]):
            y[n][j] = gamma[j] * (x[n][j] - mean[j]) / math.sqrt(variance[j] + eps) + beta[j]     # (B2)
    return y


def observe(running: tuple[Array, Array], x: Array, momentum: float = 0.1) -> tuple[Array, Array]:
    """The running moments, moved towards those of the batch x."""
    mean, variance = np.zeros(x.shape[-1]), np.zeros(x.shape[-1])
    for new, old, batch in zip((mean, variance), running, moments(x), strict=True):
        for j in range(len(new)):
            new[j] = (1 - momentum) * old[j] + momentum * batch[j]     # (B7)
    return mean, variance
