"""The definitions of npkd/distillation/features.py: loops and sums, no derivatives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def averaged(maps: Array, H: int, W: int) -> Array:
    """Means over windows: maps (N, H', W', C) -> (N, H, W, C); the same maps where H' < H, W' < W."""
    n, h, w, c = maps.shape
    P, Q = min(H, h), min(W, w)
    out = np.zeros((n, P, Q, c))
    for i in range(h):
        for j in range(w):
            out[:, i * P // h, j * Q // w] += maps[:, i, j] / (h // P * (w // Q))
    return out


def lengthened(vector: list[float]) -> list[float]:
    """The vector divided by its length."""
    length = math.sqrt(sum(v * v for v in vector))
    return [v / length if length else 0.0 for v in vector]     # (X1)


def attention_transfer(student: Array, teacher: Array, power: float = 2.0, form: str = "paper") -> float:
    s, t = averaged(student, *teacher.shape[1:3]), averaged(teacher, *student.shape[1:3])
    total, (N, H, W, _) = 0.0, s.shape
    for n in range(N):
        both = []
        for maps in (s, t):
            v = [sum(abs(float(a)) ** power for a in maps[n, i, j]) for i in range(H) for j in range(W)]     # (X3)
            both.append(lengthened(v))
        squares = sum((a - b) ** 2 for a, b in zip(*both, strict=True))
        total += math.sqrt(squares) / N if form == "paper" else squares / (N * H * W)     # (X4), (X5)
    return total


def neuron_selectivity(student: Array, teacher: Array) -> float:
    s, t = averaged(student, *teacher.shape[1:3]), averaged(teacher, *student.shape[1:3])

    def mean_kernel(one: list[list[float]], other: list[list[float]]) -> float:
        return sum(sum(p * q for p, q in zip(a, b, strict=True)) ** 2 for a in one for b in other) / (
            len(one) * len(other))

    total = 0.0
    for n in range(len(s)):
        a, b = ([lengthened([float(v) for v in maps[n, :, :, c].ravel()]) for c in range(maps.shape[3])]
                for maps in (s, t))
        total += mean_kernel(a, a) + mean_kernel(b, b) - 2 * mean_kernel(a, b)     # (X7)
    return total / len(s)


def flow(student: Sequence[Array], teacher: Sequence[Array]) -> float:
    total, products = 0.0, []
    for pair in (student, teacher):
        a, b = (x if x.ndim == 4 else x.reshape(len(x), 1, 1, -1) for x in pair)
        a, b = averaged(a, *b.shape[1:3]), averaged(b, *a.shape[1:3])
        N, H, W, C = a.shape
        G = np.zeros((N, C, b.shape[3]))
        for n in range(N):
            for c in range(C):
                for d in range(b.shape[3]):
                    every = [a[n, i, j, c] * b[n, i, j, d] for i in range(H) for j in range(W)]
                    G[n, c, d] = sum(every) / len(every)     # (X9)
        products.append(G)
    for g, target in zip(products[0].ravel(), products[1].ravel(), strict=True):
        total += float(g - target) ** 2 / len(products[0])     # (X10)
    return total


def activation_boundaries(student: Array, teacher: Array, margin: float = 1.0) -> float:
    total = 0.0
    for s, t in zip(student.ravel().tolist(), teacher.ravel().tolist(), strict=True):
        if t > 0 and s < margin:
            total += (s - margin) ** 2     # (X12)
        if t <= 0 and s > -margin:
            total += (s + margin) ** 2     # (X12)
    return total / len(student)
