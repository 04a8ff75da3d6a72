"""The definitions of npkd/compression/quantization.py: everything tried, or solved anew at each step."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def nearest(w: float, values: Sequence[float]) -> float:
    return min(values, key=lambda value: abs(w - value))


def scaled(w: Array, digits: Sequence[int]) -> tuple[float, float]:
    """(α, squared error) of the best α t, all t of these digits tried, α by least squares for each.  (N44), (N45)"""
    best, least = 0.0, sum(float(value) ** 2 for value in w)
    for t in itertools.product(digits, repeat=len(w)):
        square = sum(digit * digit for digit in t)
        if square:
            alpha = sum(digit * float(value) for digit, value in zip(t, w, strict=True)) / square
            error = sum((float(value) - alpha * digit) ** 2 for digit, value in zip(t, w, strict=True))
            if error < least:
                best, least = alpha, error
    return best, least


def shared_error(w: Array, k: int) -> float:
    """The least squared error with k values, all ways tried to cut the sorted weights into k parts."""
    x, errors = sorted(float(value) for value in w), []
    for cuts in itertools.combinations(range(1, len(x)), k - 1):
        parts = [x[a:b] for a, b in itertools.pairwise([0, *cuts, len(x)])]
        errors.append(sum((value - sum(part) / len(part)) ** 2 for part in parts for value in part))
    return min(errors)


def compensated(w: Array, rounding: Callable[[float, int], float], h: Array, z: Array, ridge: float) -> Array:
    """Of each row one weight after another is rounded, those of the largest inputs first; the others are the least
    squares solved anew.   (N47)

    min ‖z − z̄ − (H − h̄) ŵ‖²/N + λ ‖ŵ − w‖² over the free weights, λ = ridge · mean variance; a weight 0 stays 0.
    """
    n, d = h.shape
    hc, zc = h - h.mean(axis=0), z - z.mean(axis=0)
    penalty = ridge * (hc ** 2).sum() / n / d
    rows = np.vstack([hc / np.sqrt(n), np.sqrt(penalty) * np.eye(d)])
    out = np.zeros(w.shape)
    order = sorted(range(d), key=lambda j: -float((hc[:, j] ** 2).sum()))
    for o in range(len(w)):
        target = np.concatenate([zc[:, o] / np.sqrt(n), np.sqrt(penalty) * w[o]])
        for k, j in enumerate(order):
            done, open_ = order[:k], order[k:]
            free = np.linalg.lstsq(rows[:, open_], target - rows[:, done] @ out[o, done], rcond=None)[0]
            out[o, j] = rounding(float(free[0]), o) if w[o, j] != 0 else 0.0
    return out


def output_errors(w: Array, h: Array, z: Array) -> Array:
    """The squared error of each output with its best bias."""
    residual = z - h @ w.T
    return np.array([sum((value - residual[:, o].mean()) ** 2 for value in residual[:, o]) for o in range(len(w))])
