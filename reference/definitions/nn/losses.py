"""The definitions of npkd/nn/losses.py: loops and sums, no derivatives. Exponentials stand as they are: logits below
700."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def squared_error(prediction: Array, target: Array) -> float:
    total = 0.0
    for k in np.ndindex(prediction.shape):
        total += float(prediction[k] - target[k]) ** 2
    return total / (2 * len(prediction))     # (L1)


def log_softmax(z: Array) -> Array:
    y = np.zeros(z.shape)
    for k in np.ndindex(z.shape):
        y[k] = math.log(math.exp(z[k]) / sum(math.exp(z_c) for z_c in z[k[:-1]]))     # (L3)
    return y


def cross_entropy(prediction: Array, target: NDArray[Any]) -> float:
    N, C = prediction.shape
    log_p, total = log_softmax(prediction), 0.0
    for n in range(N):
        for c in range(C):
            # classes as probabilities: one at the class
            t = target[n, c] if target.ndim == 2 else float(target[n] == c)
            total -= float(t * log_p[n, c])
    return float(total / N)     # (L4)
