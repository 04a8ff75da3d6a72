"""The definitions of npkd/sparsity/statistics.py: means and centred second moments of raw data, by loops and sums."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def means(x: Array) -> Array:
    """The mean of each column of x (N, d), of exactly rounded sums."""
    return np.array([math.fsum(float(v) for v in x[:, j]) / len(x) for j in range(x.shape[1])])


def statistics(h: Array, z: Array) -> tuple[Array, Array, Array]:
    """A (d, d), C (d, m) and t (m,) of inputs h (N, d) and targets z (N, m)."""
    N, d, m = len(h), h.shape[1], z.shape[1]
    mean_h, mean_z = means(h), means(z)
    hc = [[float(h[n, i]) - mean_h[i] for n in range(N)] for i in range(d)]
    zc = [[float(z[n, k]) - mean_z[k] for n in range(N)] for k in range(m)]
    A, C, t = np.zeros((d, d)), np.zeros((d, m)), np.zeros(m)
    for i in range(d):
        for j in range(d):
            A[i, j] = math.fsum(hc[i][n] * hc[j][n] for n in range(N))     # (S1)
        for k in range(m):
            C[i, k] = math.fsum(hc[i][n] * zc[k][n] for n in range(N))     # (S1)
    for k in range(m):
        t[k] = math.fsum(zc[k][n] ** 2 for n in range(N))                  # (S1)
    return A, C, t


def intercept(h: Array, z: Array, w: Array) -> Array:
    """The best bias for weights w (m, d): what is left of the mean of z."""
    mean_h, mean_z = means(h), means(z)
    # (S3)
    return np.array([mean_z[k] - sum(w[k, i] * mean_h[i] for i in range(len(mean_h))) for k in range(len(mean_z))])


def residual(h: Array, z: Array, w: Array) -> Array:
    """Z − 1bᵀ − H Wᵀ with the best bias b, (N, m)."""
    b, r = intercept(h, z, w), np.zeros(z.shape)
    for n in range(len(z)):
        for k in range(z.shape[1]):
            r[n, k] = z[n, k] - b[k] - sum(w[k, i] * h[n, i] for i in range(h.shape[1]))
    return r


def square(x: Array) -> float:
    """‖x‖²_F."""
    return math.fsum(float(x[k]) ** 2 for k in np.ndindex(x.shape))


def error(h: Array, z: Array, w: Array) -> float:
    """Relative error of weights w (m, d) with their best bias; 0 where every target is constant."""
    t = square(residual(h, z, np.zeros_like(w)))
    return square(residual(h, z, w)) / t if t > 0 else 0.0     # (S4)
