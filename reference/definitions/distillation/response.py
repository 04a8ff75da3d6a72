"""The definitions of npkd/distillation/response.py: loops and sums, no derivatives."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from reference.definitions.nn.losses import log_softmax

Array = NDArray[np.float64]


def soft_targets(student: Array, teacher: Array, temperature: float) -> float:
    N, C = student.shape
    T, total = temperature, 0.0
    log_p, log_q = log_softmax(student / T), log_softmax(teacher / T)
    for n in range(N):
        for c in range(C):
            total += math.exp(log_q[n, c]) * float(log_q[n, c] - log_p[n, c])
    return float(T ** 2 / N * total)     # (K1)


def logit_matching(student: Array, teacher: Array) -> float:
    N, C = student.shape
    total = 0.0
    for n in range(N):
        z_mean = sum(student[n, c] for c in range(C)) / C
        v_mean = sum(teacher[n, c] for c in range(C)) / C
        for c in range(C):
            total += float((student[n, c] - z_mean) - (teacher[n, c] - v_mean)) ** 2
    return float(total / (2 * N))     # (K3)


def standardised_logits(student: Array, teacher: Array, temperature: float = 4.0, eps: float = 1e-7,
                        ddof: int = 0) -> float:
    def scores(logits: Array) -> Array:
        """(K9), the variance as half the mean squared difference of all pairs."""
        N, C = logits.shape
        out = np.zeros((N, C))
        for n in range(N):
            pairs = sum(float(logits[n, c] - logits[n, k]) ** 2 for c in range(C) for k in range(C)) / (2 * C)
            for c in range(C):
                out[n, c] = sum(float(logits[n, c] - logits[n, k]) for k in range(C)) / C
                out[n, c] /= math.sqrt(pairs / (C - ddof)) + eps
        return out

    return soft_targets(scores(student), scores(teacher), temperature)


def decoupled(student: Array, teacher: Array, labels: NDArray[np.int64], alpha: float = 1.0, beta: float = 8.0,
              temperature: float = 4.0) -> float:
    """From the probabilities, without a logit: of the label, of all others together, and of each given that it is not
    the label."""
    N, C = student.shape
    p, q = (np.exp(log_softmax(logits / temperature)) for logits in (student, teacher))
    first, second = 0.0, 0.0
    for n in range(N):
        y = int(labels[n])
        rest = [c for c in range(C) if c != y]
        p_rest, q_rest = sum(float(p[n, c]) for c in rest), sum(float(q[n, c]) for c in rest)
        first += float(q[n, y]) * math.log(q[n, y] / p[n, y]) + q_rest * math.log(q_rest / p_rest)
        for c in rest:
            p_hat, q_hat = float(p[n, c]) / p_rest, float(q[n, c]) / q_rest
            second += q_hat * math.log(q_hat / p_hat)
    return float(temperature ** 2 / N * (alpha * first + beta * second))     # (K12)


def pearson(one: list[float], other: list[float], eps: float) -> float:
    """From the differences of all pairs: n times the sum of products without means is the sum over pairs."""
    def products(x: list[float], y: list[float]) -> float:
        pairs = [(i, k) for i in range(len(x)) for k in range(i)]
        return sum((x[i] - x[k]) * (y[i] - y[k]) for i, k in pairs) / len(x)

    return products(one, other) / (math.sqrt(products(one, one) * products(other, other)) + eps)     # (K14)


def dist(student: Array, teacher: Array, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0,
         eps: float = 1e-8) -> float:
    N, C = student.shape
    p, q = (np.exp(log_softmax(logits / temperature)) for logits in (student, teacher))
    rows = sum(pearson(p[n].tolist(), q[n].tolist(), eps) for n in range(N)) / N
    columns = sum(pearson(p[:, c].tolist(), q[:, c].tolist(), eps) for c in range(C)) / C
    return float(temperature ** 2 * (beta * (1 - rows) + gamma * (1 - columns)))     # (K15)
