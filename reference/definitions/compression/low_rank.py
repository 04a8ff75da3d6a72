"""The definitions of npkd/compression/low_rank.py: sums over single entries, and another route than the code's."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def truncated_svd(w: Array, rank: int) -> Array:
    """The nearest matrix of a rank: eigenvectors of WWᵀ by power iteration, one after the other, each projected out."""
    rest, near = w.copy(), np.zeros_like(w)
    for k in range(rank):
        v = np.random.default_rng(k).standard_normal(len(w))
        for _ in range(3000):
            v = rest @ (rest.T @ v)
            v /= math.sqrt(float(v @ v)) or 1.0
        near, rest = near + np.outer(v, v @ rest), rest - np.outer(v, v @ rest)
    return near     # (N4)


def rank_of_energy(w: Array, energy: float) -> int:
    """The smallest rank at which what the nearest matrix leaves is at most 1 − e of all squares."""
    whole = sum(float(x) ** 2 for x in w.flat)
    for rank in range(1, min(w.shape) + 1):
        left = sum(float(x) ** 2 for x in (w - truncated_svd(w, rank)).flat)
        if left <= (1 - energy) * whole + 1e-12 * whole:
            return rank     # (N5)
    return int(min(w.shape))


def separable(x: Array, u: Array, m: Array, b: Array) -> Array:
    """x (H, W, C), m (r, kh, C), u (F, kw, r), b (F,): kh×1 and then 1×kw, stride 1, no padding."""
    (height, width, c), (r, kh, _), (f, kw, _) = x.shape, m.shape, u.shape
    y = np.zeros((height - kh + 1, width - kw + 1, f))
    for p, q, o in np.ndindex(y.shape):
        y[p, q, o] = b[o] + sum(u[o, j, k] * m[k, i, d] * x[p + i, q + j, d]
                                for j in range(kw) for k in range(r) for i in range(kh) for d in range(c))     # (N7)
    return y


def output_low_rank(h: Array, z: Array, rank: int, w0: Array, ridge: float) -> Array:
    """Of data h (N, d) and z (N, m), the rank-r weights by alternating least squares on centred data with d more
    examples √ρ e_j, whose targets √ρ W₀e_j are the ridge's pull."""
    hc, zc = h - h.mean(axis=0), z - z.mean(axis=0)
    rho = ridge * float((hc ** 2).sum()) / hc.shape[1]
    inputs = np.vstack([hc, math.sqrt(rho) * np.eye(hc.shape[1])])
    targets = np.vstack([zc, math.sqrt(rho) * w0.T])
    v = np.random.default_rng(0).standard_normal((z.shape[1], rank))
    for _ in range(4000):
        m = np.linalg.lstsq(inputs, targets @ v @ np.linalg.inv(v.T @ v), rcond=None)[0]
        v = np.linalg.lstsq(inputs @ m, targets, rcond=None)[0].T
    return np.asarray(v @ m.T)     # (N9)
