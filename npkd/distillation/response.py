"""Response-based knowledge: the student imitates the teacher's logits. ``value, d_student = loss(student, teacher)``.

Every value is the mean over the examples and the sum over the classes; docs/3-losses.md compares that with what other
libraries divide by.
"""

from __future__ import annotations

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError, floats, positive
from npkd.nn.losses import log_softmax


def check_logits(who: str, student: Array, teacher: Array) -> None:
    """Raise InputError unless both are floats of one shape (N, C), N ≥ 1."""
    floats(who, student=student, teacher=teacher)
    if student.ndim != 2 or student.shape != teacher.shape or not student.size:
        raise InputError(f"{who}: student has shape {student.shape} and teacher {teacher.shape}; both must be (N, C) "
                         f"with N ≥ 1")


def soft_targets(student: Array, teacher: Array, *, temperature: float = 4.0) -> tuple[float, Array]:
    """Divergence of the softened predictions, times T² so that its gradient keeps its size as T grows.

        L = T²/N Σ_n Σ_c q_nc (log q_nc − log p_nc),   p = softmax(z/T),   q = softmax(v/T)      (K1)

    student z (N, C)   teacher v (N, C)   ->   value, d_student (N, C). Divided by N alone; T² is in it.
    Raises InputError where shapes differ or T ≤ 0. Source: Hinton, Vinyals & Dean 2015, section 2 (there without the
    teacher's entropy, which has no gradient; with it the value is 0 at agreement).
    """
    check_logits("soft_targets", student, teacher)
    positive("soft_targets", "temperature", temperature)
    log_p, log_q = log_softmax(student / temperature), log_softmax(teacher / temperature)
    q = np.exp(log_q)
    value = temperature ** 2 / len(student) * float((q * (log_q - log_p)).sum())      # (K1)
    return value, (temperature / len(student)) * (np.exp(log_p) - q)                  # (K2)


def logit_matching(student: Array, teacher: Array) -> tuple[float, Array]:
    """Half the squared distance of the centred logits: what C·soft_targets tends to as T → ∞.

        L = 1/(2N) Σ_n Σ_c ((z_nc − z̄_n) − (v_nc − v̄_n))²,   means over the classes            (K3)

    student z (N, C)   teacher v (N, C)   ->   value, d_student (N, C). The factor to the limit: T²·KL → 1/(2C) ‖·‖², so
                       that (K3) is
    C times it. Raises InputError where shapes differ. Source: Ba & Caruana 2014; the limit: Hinton, Vinyals & Dean
    2015, section 2.1.
    """
    check_logits("logit_matching", student, teacher)
    difference = student - teacher
    difference -= difference.mean(axis=1, keepdims=True)
    value = float((difference * difference).sum()) / (2 * len(student))               # (K3)
    return value, difference / len(student)                                           # (K4)  rows sum to zero already
