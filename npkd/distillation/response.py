"""Response-based knowledge: the student imitates the teacher's logits. Derivations: docs/book/5-losses.md."""

from __future__ import annotations

import numpy as np

from npkd.core.linalg import wide
from npkd.core.types import Array
from npkd.core.validation import InputError, floats, positive

BLOCK = 8_192
"""Logits that are worked on at a time: what is computed of them in float64 then stays in the cache."""


def check_logits(who: str, student: Array, teacher: Array) -> None:
    """Raise InputError unless both are floats of one shape (N, C), N ≥ 1."""
    floats(who, student=student, teacher=teacher)
    if student.ndim != 2 or student.shape != teacher.shape or not student.size:
        raise InputError(f"{who}: student is {student.shape} and teacher {teacher.shape}; both must be (N, C), N ≥ 1")


def soft_targets(student: Array, teacher: Array, *, temperature: float = 4.0) -> tuple[float, Array]:
    """Divergence of the softened predictions, times T² so that its gradient keeps its size as T grows.

        L = T²/N Σ_n Σ_c q_nc (log q_nc − log p_nc),   p = softmax(z/T),   q = softmax(v/T)      (K1)

    student z (N, C)   teacher v (N, C)   ->   value, d_student (N, C). Divided by N alone; T² is in it.
    Computed in float64. A class that is −∞ in both (masked) adds nothing; one that is −∞ in the student alone has the
    value ∞. Raises InputError where shapes differ or T ≤ 0. Source: Hinton, Vinyals & Dean 2015, section 2 (there
    without the teacher's entropy, which has no gradient).
    """
    check_logits("soft_targets", student, teacher)
    positive("soft_targets", "temperature", temperature)
    n, rows = len(student), max(1, BLOCK // student.shape[1])
    value, d = 0.0, np.empty_like(student)
    for i in range(0, n, rows):
        difference, part = divergence(student[i:i + rows], teacher[i:i + rows], temperature)
        value += temperature ** 2 / n * part                                          # (K1)
        d[i:i + rows] = temperature / n * difference                                  # (K2)
    return value, d


def divergence(student: Array, teacher: Array, temperature: float) -> tuple[Array, float]:
    """p − q (N, C) and Σ_nc q (log q − log p), in float64: at large T both are what is left of nearly equal numbers.

    The rows of p and of q sum to one, so the sum is that of q log(q/p) − q + p = q (e^r − 1 − r) ≥ 0 with r = log(p/q).
    """
    log = np.array([student, teacher], wide(student)) / temperature
    log -= log.max(axis=-1, keepdims=True)
    p, q = both = np.exp(log)
    total = both.sum(axis=-1, keepdims=True)
    both /= total
    log -= np.log(total)                                                              # (L3)
    with np.errstate(invalid="ignore", over="ignore"):                        # where q is 0, and then p is what is left
        r = log[0] - log[1]
        terms = np.where(q < 1e-300, p, q * (np.expm1(r) - r))
    return p - q, float(np.maximum(terms.sum(), 0))                                   # (K1), without T²/N


def logit_matching(student: Array, teacher: Array) -> tuple[float, Array]:
    """Half the squared distance of the centred logits: what C·soft_targets tends to as T → ∞.

        L = 1/(2N) Σ_n Σ_c ((z_nc − z̄_n) − (v_nc − v̄_n))²,   means over the classes            (K3)

    student z (N, C)   teacher v (N, C)   ->   value, d_student (N, C). Divided by N alone; (K1) → (K3)/C.
    A class that is −∞ in both (masked) is none of the C. Raises InputError where shapes differ, or one side alone masks
    a class. Source: Ba & Caruana 2014; the limit: Hinton, Vinyals & Dean 2015, section 2.1.
    """
    check_logits("logit_matching", student, teacher)
    masked = np.isneginf(student)
    if not np.array_equal(masked, np.isneginf(teacher)):
        raise InputError("logit_matching: a class is −∞ in student or teacher alone; mask it in both, or in neither")
    with np.errstate(invalid="ignore"):
        difference = np.where(masked, 0, student - teacher)
    count = np.maximum(1, (~masked).sum(axis=1, keepdims=True)).astype(difference.dtype)
    mean = difference.sum(axis=1, keepdims=True) / count
    difference = np.where(masked, 0, difference - mean)
    value = float(np.square(difference, dtype=wide(difference)).sum()) / (2 * len(student))     # (K3)
    return value, (difference / len(student)).astype(student.dtype, copy=False)       # (K4)  rows sum to zero already
