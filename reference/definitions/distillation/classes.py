"""The definitions of npkd/distillation/classes.py: loops and sums, no derivatives."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from reference.definitions.nn.losses import log_softmax

Array = NDArray[np.float64]


def label_smoothing(student: Array, labels: NDArray[np.int64], smoothing: float = 0.1) -> float:
    """The label with probability 1 − ε, else any class, the right one among them, by the same chance (K18)."""
    N, C = student.shape
    log_p, total = log_softmax(student), 0.0
    for n in range(N):
        total -= (1 - smoothing) * float(log_p[n, labels[n]])
        for c in range(C):
            total -= smoothing * float(log_p[n, c]) / C
    return float(total / N)


def shares(student: Array, bias: Array) -> list[float]:
    """What (K19) wants to be the prior: the mean prediction of every class."""
    N, C = student.shape
    out = [0.0] * C
    for n in range(N):
        terms = [math.exp(student[n, c] + bias[c]) for c in range(C)]
        for c in range(C):
            out[c] += terms[c] / sum(terms) / N
    return out
