"""The definitions of npkd/compression/unstructured.py, on lists and raw data, by loops and sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def largest(scores: Sequence[float], count: int) -> list[bool]:
    """Each score stays that fewer than ``count`` others come before: larger ones, and equals further left."""
    return [sum(b > a or (b == a and j < i) for j, b in enumerate(scores)) < count
            for i, a in enumerate(scores)]     # (N60)


def snip(loss: Callable[[Array], float], w: Array, h: float = 1e-5) -> Array:
    """The slope of the loss when a weight is multiplied by 1 + c, at c = 0, by central differences."""
    scores = np.zeros(w.shape)
    for place in np.ndindex(w.shape):
        up, down = w.copy(), w.copy()
        up[place] *= 1 + h
        down[place] *= 1 - h
        scores[place] = abs(loss(up) - loss(down)) / (2 * h)     # (N61)
    return scores


def erdos_renyi(shapes: Sequence[Sequence[int]], count: float) -> list[float]:
    """The k_l before they are rounded: ε found by halving an interval."""
    low, high = 0.0, float(sum(math.prod(shape) for shape in shapes))
    for _ in range(200):
        epsilon = (low + high) / 2
        k = [min(float(math.prod(shape)), epsilon * sum(shape)) for shape in shapes]     # (N62)
        low, high = (epsilon, high) if sum(k) < count else (low, epsilon)
    return k


def damage(h: Array, w: Array, q: int) -> float:
    """Half the mean squared change of the output h w (N,) without w_q, its mean refitted."""
    change = [float(row[q] * w[q]) for row in h]
    mean = sum(change) / len(change)
    return sum((c - mean) ** 2 for c in change) / len(change) / 2     # (N63)


def removal_cost(h: Array, z: Array, ridge: float, kept: Sequence[int], q: int) -> float:
    """Half the rise of mean squared error plus ridge of one output z (N,), fitted on the inputs ``kept`` of h (N, d),
    when input q leaves them: two fits, no inverse is updated."""
    def least(columns: Sequence[int]) -> float:
        x, y = h[:, list(columns)] - h[:, list(columns)].mean(0), z - z.mean()
        rho = ridge * float((np.square(h - h.mean(0)).mean(0)).mean())
        wide = np.vstack([x / math.sqrt(len(x)), math.sqrt(rho) * np.eye(len(columns))])
        target = np.r_[y / math.sqrt(len(x)), np.zeros(len(columns))]
        w = np.linalg.lstsq(wide, target, rcond=None)[0]
        return float(np.square(target - wide @ w).sum())

    return (least([j for j in kept if j != q]) - least(kept)) / 2     # (N64)


def exact_scores(h: Array, z: Array, ridge: float) -> list[float]:
    """Of each input what its turn costs, at least what earlier turns did."""
    kept, scores, most = list(range(h.shape[1])), [0.0] * h.shape[1], 0.0
    while kept:
        costs = [removal_cost(h, z, ridge, kept, q) for q in kept]
        most = max(most, min(costs))     # (N65)
        scores[kept.pop(costs.index(min(costs)))] = most
    return scores


def cubic(first: int, last: int, begin: float, end: float, p: float) -> float:
    """k before it is rounded: the part that is zero rises as in the paper."""
    s_0, s_f = 0.0, 1 - last / first
    if p <= begin or p >= end:
        return first if p <= begin else last
    s = s_f + (s_0 - s_f) * (1 - (p - begin) / (end - begin)) ** 3
    return first * (1 - s)     # (N66)


def moving(k: int, share: float, end: float, p: float) -> float:
    """How many of k weights move, before it is rounded."""
    return k * share / 2 * (1 + math.cos(math.pi * p / end)) if p < end else 0.0     # (N67)
