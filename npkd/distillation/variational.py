"""Variational information distillation. Derivation: docs/book/17-trained-features.md."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import expit

from npkd.core.linalg import wide
from npkd.core.types import Array
from npkd.core.validation import InputError, floats, positive
from npkd.distillation.pairs import check_pair

EPS = 1e-5                                                # the smallest variance


def alpha0(variance: float = 5.0) -> float:
    """α = log(exp(v − ε) − 1) (Y2): the parameter of a variance v > ε (Y1), to begin with in every channel."""
    positive("alpha0", "variance − 1e-5", variance - EPS)
    return variance - EPS + math.log(-math.expm1(EPS - variance))                     # (Y2)  large v overflow nothing


def variational_information(student: Array, teacher: Array, alpha: Array) -> tuple[float, Array, Array]:
    """Negative log-likelihood of the teacher under a Gaussian around the student, with a trained variance a channel.

        v_c = log(1 + exp(α_c)) + ε,   ε = 1e-5                                       (Y1)
        L = 1/(2N) Σ_n Σ_p Σ_c ((μ_npc − t_npc)² / v_c + log v_c)                     (Y3)

    student μ (N, ..., C), what a connector makes of it   teacher t the same shape   alpha (C,), see ``alpha0``   ->
    value, d_student, d_alpha. Divided by N alone; without the constant ½ log 2π, may be negative. Raises InputError
    where shapes do not fit. Source: Ahn et al. 2019.
    """
    check_pair("variational_information", student, teacher)
    floats("variational_information", alpha=alpha)
    if alpha.shape != student.shape[-1:]:
        raise InputError(f"variational_information: alpha is {alpha.shape}; it must be {student.shape[-1:]}, a channel")
    n, count = len(student), student.size // student.shape[-1]
    a, difference = alpha.astype(wide(alpha)), np.subtract(student, teacher, dtype=wide(student))
    variance = np.logaddexp(0, a) + EPS                                               # (Y1)
    squares = np.square(difference).sum(axis=tuple(range(student.ndim - 1)))
    value = float((squares / variance + count * np.log(variance)).sum()) / (2 * n)    # (Y3)
    d_alpha = expit(a) * (count - squares / variance) / (2 * n * variance)            # (Y5)
    return value, (difference / (n * variance)).astype(student.dtype), d_alpha.astype(alpha.dtype)        # (Y4)
