"""The definitions of npkd/experiments: what other methods score, choose and solve, on raw data, by loops and sums.

    h (N, d) what a layer reads   w (m, d) its weights   z (N, m) what it is to give
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from reference.statistics import means, residual, square

Array = NDArray[np.float64]


def column(w: Array, j: int) -> float:
    """‖W_{:,j}‖₂: of the outgoing weights of neuron j."""
    return math.sqrt(sum(float(w[o, j]) ** 2 for o in range(len(w))))     # (I3)


def row(w: Array, j: int) -> float:
    """‖w_j‖₂: of the incoming weights of neuron j."""
    return math.sqrt(sum(float(v) ** 2 for v in w[j]))     # (I2)


def activation(h: Array, w: Array, j: int) -> float:
    """Root of the mean squared change of the pre-activations when h_j is replaced by its mean."""
    mean, total = means(h)[j], 0.0
    for n in range(len(h)):
        for o in range(len(w)):
            total += (w[o, j] * (h[n, j] - mean)) ** 2
    return math.sqrt(total / len(h))     # (I4)


def taylor(loss: Callable[[Array, int], float], h: Array, j: int, step: float = 1e-6) -> float:
    """Mean over examples of |h_nj · slope|, the slope of ``loss(h_n, n)`` by a centred difference."""
    total = 0.0
    for n in range(len(h)):
        up, down = h[n].copy(), h[n].copy()
        up[j] += step
        down[j] -= step
        total += abs(h[n, j] * (loss(up, n) - loss(down, n)) / (2 * step))
    return total / len(h)     # (I5)


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
    """The neurons that stay when, ``removed`` times, the one goes with which the contribution of all that went is smallest."""
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
    """How far Net-Trim's layer is from the constraints: the norm of the error where it is on, the largest excess where it is off."""
    error, excess = 0.0, 0.0
    for n, o in itertools.product(range(len(h)), range(len(u))):
        answer = b[o] + sum(float(u[o, i] * h[n, i]) for i in range(h.shape[1]))
        if on[n, o]:
            error += (answer - z[n, o]) ** 2
        else:
            excess = max(excess, answer - ceiling[n, o])
    return math.sqrt(error), float(excess)     # (I17)
