"""The definition of npkd/distillation/overhaul.py: the three cases, entry by entry."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def overhaul(student: Array, teacher: Array, margin: Array) -> float:
    N, total = len(student), 0.0
    for place in np.ndindex(student.shape):
        s, t, m = float(student[place]), float(teacher[place]), float(margin[place[-1]])
        total += (s - m) ** 2 * (s > m and t <= m) + (s - t) ** 2 * (s > t and m < t <= 0) + (s - t) ** 2 * (t > 0)
    return total / N     # (Y13)
