"""The definitions of npkd/distillation/cka.py: loops and sums, no derivatives."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def centred_kernel(activations: Array) -> Array:
    """H K H, K the products of all pairs of examples and H = I − 11ᵀ/N, entry by entry."""
    x, N = activations.reshape(len(activations), -1), len(activations)
    K = np.array([[sum(a * b for a, b in zip(x[n], x[m], strict=True)) for m in range(N)] for n in range(N)])
    every = sum(K[n, m] for n in range(N) for m in range(N)) / N ** 2
    row = [sum(K[n, m] for m in range(N)) / N for n in range(N)]
    return np.array([[K[n, m] - row[n] - row[m] + every for m in range(N)] for n in range(N)])


def alignment(one: Array, other: Array) -> float:
    """⟨K, L⟩/(‖K‖ ‖L‖) of the centred kernels; 0 where one of them is 0."""
    K, L = centred_kernel(one), centred_kernel(other)
    N = len(K)
    shared, k, t = (sum(float(a[n, m] * b[n, m]) for n in range(N) for m in range(N))
                    for a, b in ((K, L), (K, K), (L, L)))
    return shared / math.sqrt(k * t) if k * t else 0.0


def centred_kernel_alignment(student: Array, teacher: Array) -> float:
    return 1 - alignment(student, teacher)     # (X14)
