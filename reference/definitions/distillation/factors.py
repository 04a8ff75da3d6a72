"""The definition of npkd/distillation/factors.py: factors as lists of numbers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def direction(factor: Array, power: int | None) -> list[float]:
    entries = [float(x) for x in factor.ravel()]
    if power is not None:
        C = factor.shape[-1]
        entries = [sum(x ** power for x in entries[i:i + C]) / C for i in range(0, len(entries), C)]     # (Y16)
    size = math.sqrt(sum(x * x for x in entries))
    return [x / size for x in entries]


def factor_transfer(student: Array, teacher: Array, power: int | None) -> float:
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        for a, b in zip(direction(s, power), direction(t, power), strict=True):
            total += abs(a - b)
    return total / len(student)     # (Y15)
