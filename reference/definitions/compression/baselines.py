"""The definitions of npkd/experiments: what other methods score, choose and solve, on raw data, by loops and sums.

    h (N, d) what a layer reads   w (m, d) its weights   z (N, m) what it is to give
    Of a layer that reads channels: h (N, P, C) at P positions, w (m, K C), the channels running fastest
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from reference.definitions.sparsity.statistics import means, residual, square

Array = NDArray[np.float64]


def column(w: Array, j: int, channels: int | None = None) -> float:
    """Norm of the outgoing weights of neuron j, w (m, d); of channel j of so many, of the columns j, j + channels, j +
    2 channels, …"""
    total = 0.0
    for o in range(len(w)):
        for i in range(j, w.shape[1], channels or w.shape[1]):
            total += float(w[o, i]) ** 2
    return math.sqrt(total)     # (I3)


def row(w: Array, j: int) -> float:
    """Norm of the incoming weights of neuron j, w (m, d)."""
    return math.sqrt(sum(float(v) ** 2 for v in w[j]))     # (I2)


def activation(h: Array, w: Array, j: int) -> float:
    """Root of the mean squared change of the pre-activations when h_j is replaced by its mean."""
    mean, total = means(h)[j], 0.0
    for n in range(len(h)):
        for o in range(len(w)):
            total += (w[o, j] * (h[n, j] - mean)) ** 2
    return math.sqrt(total / len(h))     # (I4)


def map_activation(h: Array, w: Array, j: int) -> float:
    """The same of channel j, h (N, P, C), w (m, K C): deviation over examples and positions, times the norm of its
    columns."""
    N, P, C = h.shape
    mean = sum(float(h[n, p, j]) for n in range(N) for p in range(P)) / (N * P)
    total = sum((float(h[n, p, j]) - mean) ** 2 for n in range(N) for p in range(P))
    return column(w, j, C) * math.sqrt(total / (N * P))     # (I4)


def taylor(loss: Callable[[Array, int], float], h: Array, j: int, step: float = 1e-6) -> float:
    """Mean over examples of how ``loss(h_n, n)`` changes as h_nj shrinks, of a map all of it, by a centred difference:
    h (N, ..., d)."""
    total = 0.0
    for n in range(len(h)):
        up, down = h[n].copy(), h[n].copy()
        up[..., j] *= 1 + step
        down[..., j] *= 1 - step
        total += abs((loss(up, n) - loss(down, n)) / (2 * step))
    return total / len(h)     # (I5)


def mean_left(w: Array, b: Array, h: Array, gone: Sequence[int]) -> Array:
    """The biases that take over the mean values of the channels that are gone: w (m, K C), b (m,), h (N, P, C)."""
    N, P, C = h.shape
    out = b.copy()
    for o, j in itertools.product(range(len(b)), gone):
        mean = sum(float(h[n, p, j]) for n in range(N) for p in range(P)) / (N * P)
        for i in range(j, w.shape[1], C):
            out[o] += w[o, i] * mean
    return out     # (I6)


def ridge_objective(h: Array, z: Array, w: Array, rho: float) -> float:
    """1/(2N)‖Z − 1bᵀ − HWᵀ‖² + ρ/2‖W‖², with the best bias."""
    return square(residual(h, z, w)) / (2 * len(h)) + rho / 2 * square(w)


def factor_objective(h: Array, z: Array, w: Array, beta: Array, lam: float) -> float:
    """The objective of LASSO channel selection, with the best bias."""
    return square(residual(h, z, w * beta)) / (2 * len(h)) + lam * sum(abs(float(b)) for b in beta)     # (I12)


def contribution(h: Array, w: Array, removed: Sequence[int]) -> float:
    """1/N Σ_no (Σ_{j∈T} w_oj h_nj)²: what ThiNet makes small."""
    total = 0.0
    for n in range(len(h)):
        for o in range(len(w)):
            total += sum(float(w[o, j] * h[n, j]) for j in removed) ** 2
    return total / len(h)     # (I14)


def greedy(h: Array, w: Array, removed: int) -> list[int]:
    """The neurons that stay when, ``removed`` times, the one goes with which the contribution of all that went is
    smallest."""
    gone: list[int] = []
    for _ in range(removed):
        left = [j for j in range(w.shape[1]) if j not in gone]
        gone.append(min(left, key=lambda j: contribution(h, w, [*gone, j])))     # (I15)
    return [j for j in range(w.shape[1]) if j not in gone]


def factors_left(h: Array, w: Array, kept: Sequence[int], a: Sequence[float], rho: float) -> float:
    """What ThiNet's factors of the survivors make small."""
    total = 0.0
    for n in range(len(h)):
        for o in range(len(w)):
            whole = sum(float(w[o, j] * h[n, j]) for j in range(w.shape[1]))
            total += (whole - sum(a[i] * float(w[o, j] * h[n, j]) for i, j in enumerate(kept))) ** 2
    return total / len(h) + rho * sum((v - 1) ** 2 for v in a)     # (I16)


def outside(h: Array, z: Array, u: Array, b: Array, on: NDArray[np.bool_], ceiling: Array) -> tuple[float, float]:
    """How far Net-Trim's layer is from the constraints: the norm of the error where it is on, the largest excess where
    it is off."""
    error, excess = 0.0, 0.0
    for n, o in itertools.product(range(len(h)), range(len(u))):
        answer = b[o] + sum(float(u[o, i] * h[n, i]) for i in range(h.shape[1]))
        if on[n, o]:
            error += (answer - z[n, o]) ** 2
        else:
            excess = max(excess, answer - ceiling[n, o])
    return math.sqrt(error), float(excess)     # (I17)
