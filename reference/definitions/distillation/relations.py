"""The definitions of npkd/distillation/relations.py: loops and sums over examples, no derivatives."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NEAR = 1e-12


def points(a: Array) -> list[list[float]]:
    """The examples, each as a list of its entries."""
    return [[float(v) for v in example.ravel()] for example in a]


def inner(a: list[float], b: list[float]) -> float:
    return sum(u * v for u, v in zip(a, b, strict=True))


def between(a: list[float], b: list[float]) -> list[float]:
    """From a to b."""
    return [v - u for u, v in zip(a, b, strict=True)]


def direction(a: list[float]) -> list[float]:
    length = math.sqrt(inner(a, a))
    return [v / length if length >= NEAR else 0.0 for v in a]     # (X1)


def huber(u: float) -> float:
    return u * u / 2 if abs(u) < 1 else abs(u) - 0.5     # (Q3)


def relational_distance(student: Array, teacher: Array) -> float:
    N, total = len(student), 0.0
    scaled = list[list[list[float]]]()
    for x in (points(student), points(teacher)):
        d = [[math.sqrt(max(inner(between(a, b), between(a, b)), NEAR)) if i != j else 0.0     # (Q1)
              for j, b in enumerate(x)] for i, a in enumerate(x)]
        mean = sum(d[i][j] for i in range(N) for j in range(N) if i != j) / (N * (N - 1))
        scaled.append([[v / mean for v in row] for row in d])     # (Q4)
    for i in range(N):
        for j in range(N):
            total += huber(scaled[0][i][j] - scaled[1][i][j])
    return total / N ** 2     # (Q5)


def relational_angle(student: Array, teacher: Array) -> float:
    x, t, total = points(student), points(teacher), 0.0
    N = len(x)
    for i in range(N):
        for j in range(N):
            for k in range(N):
                cosines = [inner(direction(between(y[i], y[j])), direction(between(y[i], y[k]))) for y in (x, t)]
                total += huber(cosines[0] - cosines[1])     # (Q7)
    return total / N ** 3     # (Q8)


def similarity_preserving(student: Array, teacher: Array) -> float:
    N, total = len(student), 0.0
    rows = [[direction([inner(a, b) for b in x]) for a in x] for x in (points(student), points(teacher))]
    for i in range(N):
        for j in range(N):
            total += (rows[0][i][j] - rows[1][i][j]) ** 2
    return total / N ** 2     # (Q10)


def correlation_congruence(student: Array, teacher: Array, gamma: float, order: int) -> float:
    x, t = ([direction(a) for a in points(y)] for y in (student, teacher))
    N, total = len(x), 0.0

    def kernel(a: list[float], b: list[float]) -> float:
        return sum(math.exp(-2 * gamma) * (2 * gamma) ** p / math.factorial(p) * inner(a, b) ** p     # (Q12)
                   for p in range(order + 1))

    for i in range(N):
        for j in range(N):
            total += (kernel(x[i], x[j]) - kernel(t[i], t[j])) ** 2
    return total / N ** 2     # (Q13)


def neighbour_congruence(student: Array, teacher: Array) -> float:
    s, t, total = points(student), points(teacher), 0.0
    for n in range(len(s) - 1):
        for f in range(len(s[0])):
            total += abs(s[n][f] - t[n][f]) * abs(s[n + 1][f] - t[n + 1][f])
    return total / (len(s) - 1)     # (Q15)


def probabilistic_transfer(student: Array, teacher: Array, diagonal: bool) -> float:
    N, total = len(student), 0.0
    chances = list[list[list[float]]]()
    for x in (points(student), points(teacher)):
        s = [[max((1 + inner(direction(a), direction(b))) / 2, NEAR) if diagonal or i != j else 0.0
              for j, b in enumerate(x)] for i, a in enumerate(x)]
        chances.append([[v / sum(row) for v in row] for row in s])     # (Q17)
    p, q = chances
    for i in range(N):
        for j in range(N):
            if q[i][j] > 0:
                total += q[i][j] * (math.log(q[i][j]) - math.log(p[i][j]))
    return total / N     # (Q18)
