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
