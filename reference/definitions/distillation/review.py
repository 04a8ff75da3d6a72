"""The definition of npkd/distillation/review.py: means over windows, one by one, of student and teacher apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def pooled(maps: Array, level: int) -> Array:
    N, H, W, C = maps.shape
    y = np.zeros((N, level, level, C))
    for i in range(level):
        for j in range(level):
            rows = range(math.floor(i * H / level), math.ceil((i + 1) * H / level))     # (Y19)
            columns = range(math.floor(j * W / level), math.ceil((j + 1) * W / level))
            for r in rows:
                for c in columns:
                    y[:, i, j] += maps[:, r, c] / (len(rows) * len(columns))
    return y


def review(student: Array, teacher: Array, levels: Sequence[int]) -> float:
    errors = [float(((student - teacher) ** 2).mean())]
    errors += [float(((pooled(student, level) - pooled(teacher, level)) ** 2).mean()) for level in levels
               if level < student.shape[1]]
    weights = [0.5 ** k for k in range(len(errors))]
    return sum(w * e for w, e in zip(weights, errors, strict=True)) / sum(weights)     # (Y20)
