"""The definition of npkd/distillation/contrastive.py: probabilities of noise-contrastive estimation, one by one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def embedded(a: Array, w: Array) -> list[Array]:
    """The directions of W (a, 1), an example each."""
    rows = [np.array([sum(w[d, i] * a_n[i] for i in range(len(a_n))) + w[d, -1] for d in range(len(w))]) for a_n in a]
    return [x / math.sqrt(sum(x_d * x_d for x_d in x)) for x in rows]     # (Y6)


def contrastive(student: Array, teacher: Array, student_embedding: Array, teacher_embedding: Array, memory: Any,
                index: Array, negatives: Array) -> float:
    N, K, M, total = len(index), negatives.shape[1], len(memory.student), 0.0
    for k, (x, bank) in enumerate([(embedded(student, student_embedding), memory.teacher),
                                   (embedded(teacher, teacher_embedding), memory.student)]):
        def score(x_n: Array, row: int, bank: Array = bank) -> float:
            return math.exp(sum(bank[row][d] * x_n[d] for d in range(len(x_n))) / memory.temperature)

        every = [score(x[n], row) for n in range(N) for row in (index[n], *negatives[n])]
        Z = M * sum(every) / len(every) if memory.log_z is None else math.exp(memory.log_z[k])     # (Y9)
        for n in range(N):
            o = score(x[n], index[n]) / Z
            total -= math.log(o / (o + K / M))
            for row in negatives[n]:
                total -= math.log(K / M / (score(x[n], row) / Z + K / M))
    return total / N     # (Y8)
