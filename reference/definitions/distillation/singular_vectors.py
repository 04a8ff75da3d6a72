"""The definition of npkd/distillation/singular_vectors.py: eigenvectors of X^T X, no singular value decomposition."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def leading(maps: Array) -> list[Array]:
    """The right singular vectors of one example's maps (H, W, C) with the largest singular values, at most four."""
    x = maps.reshape(-1, maps.shape[-1])
    _, vectors = np.linalg.eigh(x.T @ x)
    return [vectors[:, -1 - i] for i in range(min(4, *x.shape))]


def vectors_of(student: Array, teacher: Array) -> tuple[Array, Array]:
    target = leading(teacher)[0]
    target = target * math.copysign(1, max(target, key=abs))
    best = max(leading(student), key=lambda v: abs(float(v @ target)))
    return best * math.copysign(1, float(best @ target)), target


def singular_vectors(student: tuple[Array, ...], teacher: tuple[Array, ...]) -> float:
    N, total = len(student[0]), 0.0
    for n in range(N):
        before = None
        for s, t in zip(student, teacher, strict=True):
            now = vectors_of(s[n], t[n])
            if before is not None:
                for c in range(len(now[0])):
                    for d in range(len(before[0])):
                        ours, theirs = (math.exp(-(now[i][c] - before[i][d]) ** 2 / 8) for i in (0, 1))     # (Y22)
                        total += (ours - theirs) ** 2
            before = now
    return total / N     # (Y23)
