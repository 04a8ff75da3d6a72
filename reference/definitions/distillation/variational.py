"""The definition of npkd/distillation/variational.py: a density, entry by entry."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def variational_information(student: Array, teacher: Array, alpha: Array) -> float:
    N, total = len(student), 0.0
    for place in np.ndindex(student.shape):
        v = math.log(1 + math.exp(alpha[place[-1]])) + 1e-5     # (Y1)
        density = math.exp(-(float(teacher[place] - student[place])) ** 2 / (2 * v)) / math.sqrt(2 * math.pi * v)
        total += -math.log(density) - math.log(2 * math.pi) / 2
    return total / N     # (Y3)
