"""The definitions of npkd/distillation/scheme_losses.py: loops and sums, no derivatives."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from reference.definitions.distillation.response import soft_targets
from reference.definitions.nn.losses import cross_entropy

Array = NDArray[np.float64]


def mutual_learning(student: tuple[Array, ...], labels: NDArray[np.int64], weights: Array | None = None,
                    temperature: float = 1.0, held: tuple[Array, ...] | None = None) -> float:
    K, total = len(student), 0.0
    others = student if held is None else held
    for k in range(K):
        for j in range(K):
            default = 1.0 if j == k else 1 / (K - 1)
            weight = default if weights is None else float(weights[k, j])
            if j == k:
                total += weight * cross_entropy(student[k], labels)
            else:
                total += weight * soft_targets(student[k], others[j], temperature)
    return total     # (Z1)


def discriminator(z: Array, w1: Array, b1: Array, w2: Array, b2: Array) -> float:
    """D of one example, z (C,)."""
    score = float(b2[0])
    for h in range(len(w1)):
        u = float(b1[h]) + sum(float(w1[h, c] * z[c]) for c in range(len(z)))
        score += float(w2[0, h]) * (u if u > 0 else 0.01 * u)
    return score     # (Z4)


def adversarial_logits(student: Array, teacher: Array, w1: Array, b1: Array, w2: Array, b2: Array,
                       held: tuple[Array, ...] | None = None) -> float:
    fixed, *constant = (student, w1, b1, w2, b2) if held is None else held
    N, total = len(student), 0.0
    for n in range(N):
        to_the_student = discriminator(student[n], *constant)
        of_the_teacher, of_the_student = (discriminator(a[n], w1, b1, w2, b2) for a in (teacher, fixed))
        for u in (-to_the_student, -of_the_teacher, of_the_student):
            total += math.log(1 + math.exp(u))
    return total / N     # (Z5)


def cosine(a: Array, b: Array) -> float:
    x, y = a.reshape(-1), b.reshape(-1)
    dot = sum(float(p * q) for p, q in zip(x, y, strict=True))
    return dot / math.sqrt(sum(float(p * p) for p in x) * sum(float(q * q) for q in y))


def neighbour_graph(student: Array, teacher: Array, neighbours: int = 5) -> float:
    N, total = len(student), 0.0
    k = min(neighbours, N - 1)
    for i in range(N):
        others = sorted((j for j in range(N) if j != i), key=lambda j: -cosine(teacher[i], teacher[j]))
        for j in others[:k]:
            total += (cosine(student[i], student[j]) - cosine(teacher[i], teacher[j])) ** 2
    return total / (N * k)     # (Z7)


def moment_matching(student: Array, teacher: tuple[Array, Array]) -> float:
    values, J = student.reshape(-1, student.shape[-1]), student.shape[-1]
    means, variances = 0.0, 0.0
    for j in range(J):
        column = [float(v) for v in values[:, j]]
        mean = sum(column) / len(column)
        variance = sum((v - mean) ** 2 for v in column) / len(column)
        means += (mean - float(teacher[0][j])) ** 2
        variances += (variance - float(teacher[1][j])) ** 2
    return math.sqrt(means) + math.sqrt(variances)     # (Z9)
