"""A comprehensive overhaul of feature distillation. Derivation: docs/book/17-trained-features.md."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erfcx, ndtr

from npkd.core.linalg import wide
from npkd.core.types import Array
from npkd.core.validation import InputError, alike, positive
from npkd.distillation.pairs import check_pair


def margins(gamma: Array, beta: Array, *, rare: float = 1e-3) -> Array:
    """Mean of the negative values of every channel that leaves a batch_norm, taken as Gaussian: y ~ N(β, γ²).

        m_c = β_c − |γ_c| φ(r_c)/Φ(−r_c),   r_c = β_c/|γ_c|;   −3 |γ_c| where Φ(−r_c) ≤ rare      (Y12)

    gamma, beta (C,) of the teacher -> (C,). φ, Φ: of N(0, 1). rare > 0, 0.001 as in mdistiller; the smaller it is, the
    more channels have their mean. Raises InputError where shapes differ.
    """
    positive("margins", "rare", rare)
    gamma, beta = alike("margins", gamma=gamma, beta=beta)
    if gamma.ndim != 1 or gamma.shape != beta.shape:
        raise InputError(f"margins: gamma is {gamma.shape} and beta {beta.shape}; both must be (C,)")
    mean, size = beta.astype(wide(beta)), np.maximum(np.abs(gamma, dtype=wide(gamma)), 1e-30)
    r = np.clip(mean / size, -40, 40)                                                 # beyond, φ/Φ is 0 or r is rare
    quotient = math.sqrt(2 / math.pi) / erfcx(r / math.sqrt(2))                       # φ/Φ, underflows nowhere
    return np.where(ndtr(-r) <= rare, -3 * size, mean - size * quotient).astype(gamma.dtype)       # (Y12)


def overhaul(student: Array, teacher: Array, *, margin: Array) -> tuple[float, Array]:
    """Squared distance to the teacher cut off at a margin, but none where the student is below and the ReLU hides it.

        L = 1/N Σ_n Σ_p Σ_c (s − t')² [s > t' or t' > 0],   t' = max(t, m_c)          (Y13)

    student s (N, ..., C), what a connector makes of it   teacher t the same shape, before its ReLU   margin (C,), ≤ 0
    -> value, d_student. Divided by N alone. No kink in s. Raises InputError for other shapes. Source: Heo et al. 2019b.
    """
    check_pair("overhaul", student, teacher)
    if np.shape(margin) != student.shape[-1:] or not np.max(margin) <= 0:
        raise InputError(f"overhaul: margin is {np.shape(margin)}; it must be {student.shape[-1:]}, none above 0")
    difference = student - (target := np.maximum(teacher, margin, dtype=wide(student)))
    difference[(difference <= 0) & (target <= 0)] = 0
    return (float(np.square(difference).sum()) / len(student),                        # (Y13)
            (2 / len(student) * difference).astype(student.dtype))                    # (Y14)
