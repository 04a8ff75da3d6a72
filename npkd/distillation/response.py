"""Response-based knowledge: the student imitates the teacher's logits. Derivations: docs/book, chapters 5 and 15."""

from __future__ import annotations

import numpy as np
from scipy import special

from npkd.core.linalg import wide
from npkd.core.types import Array
from npkd.core.validation import InputError, finite, floats, positive, whole
from npkd.nn.losses import check_labels

BLOCK = 8_192
"""Logits that are worked on at a time: what is computed of them in float64 then stays in the cache."""


def check_logits(who: str, *logits: Array) -> None:
    """Raise InputError unless the logits of the student, and of a teacher, are floats of one shape (N, C), N ≥ 1."""
    floats(who, **dict(zip(("student", "teacher"), logits, strict=False)))
    if logits[0].ndim != 2 or logits[-1].shape != logits[0].shape or not logits[0].size:
        got = "student is " + " and teacher ".join(str(a.shape) for a in logits)
        raise InputError(f"{who}: {got}; logits must be (N, C), N ≥ 1")


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


def standardised_logits(student: Array, teacher: Array, *, temperature: float = 4.0, eps: float = 1e-7,
                        ddof: int = 0) -> tuple[float, Array]:
    """Soft targets of the z-scores of each example's logits: their scale is left to the student.

        ẑ_nc = (z_nc − z̄_n) / (σ_n + ε),   σ_n² = 1/(C − ddof) Σ_c (z_nc − z̄_n)²                 (K9)

    student z (N, C)   teacher v (N, C)   ->   value, (K1) of ẑ and v̂, and d_student (N, C). Divided by N alone; T² is
    in it. The paper has ddof = 0 and no ε, its code and torchdistill have ddof = 1. Raises InputError where shapes
    differ, T or ε ≤ 0, ddof ≥ C, or the teacher masks a class. Source: Sun et al. 2024, algorithms 1 and 2.
    """
    check_logits("standardised_logits", student, teacher)
    finite("standardised_logits", teacher=teacher)
    for name, number in (("temperature", temperature), ("eps", eps)):
        positive("standardised_logits", name, number)
    whole("standardised_logits", 0, student.shape[1] - 1, ddof=ddof)
    z = np.array([student, teacher], wide(student))
    z -= z.mean(axis=-1, keepdims=True)
    sigma = z.std(axis=-1, ddof=ddof, keepdims=True)
    z /= sigma + eps                                                                  # (K9)
    value, g = soft_targets(*z, temperature=temperature)
    along = z[0] * (g * z[0]).sum(axis=-1, keepdims=True) / ((student.shape[1] - ddof) * np.maximum(sigma[0], 1e-300))
    return value, (g / (sigma[0] + eps) - along).astype(student.dtype)                # (K10)


def decoupled(student: Array, teacher: Array, *, labels: Array, alpha: float = 1.0, beta: float = 8.0,
              temperature: float = 4.0) -> tuple[float, Array]:
    """Soft targets in two parts, each with a weight: the label against the rest, and the rest among themselves.

        u_n = (z_ny, T log Σ_{c≠y} exp(z_nc/T)),   y the label of n,   w_n the same of v          (K11)
        L = α soft(u, w; T) + β soft(z without y, v without y; T),   soft of (K1)                 (K12)

    student z (N, C)   teacher v (N, C)   labels (N,) integers   ->   value, d_student (N, C). Divided by N alone; T² is
    in both parts. Raises InputError where shapes do not fit, T ≤ 0, α or β < 0, or C < 3: of two classes the rest is
    one, so the second part is 0 and the first is (K1). Source: Zhao et al. 2022 (DKD).
    """
    check_logits("decoupled", student, teacher)
    check_labels("decoupled", "labels", labels, *student.shape)
    for name, number in (("alpha", alpha), ("beta", beta), ("temperature", temperature)):
        positive("decoupled", name, number, zero=name != "temperature")
    if student.shape[1] < 3:
        raise InputError(f"decoupled: got {student.shape[1]} classes; it needs 3: of 2 the rest is 1; use soft_targets")
    z, rest = np.array([student, teacher], wide(student)), np.arange(student.shape[1]) != labels[:, None]
    others = z[:, rest].reshape(2, len(labels), -1)
    merged = temperature * special.logsumexp(others / temperature, axis=-1)
    first, d_first = soft_targets(*np.stack([z[:, ~rest], merged], axis=-1), temperature=temperature)    # (K11)
    second, d_second = soft_targets(*others, temperature=temperature)
    d = np.empty_like(student)
    d[~rest] = alpha * d_first[:, 0]                                                  # (K13)
    d[rest] = (alpha * d_first[:, 1:] * special.softmax(others[0] / temperature, axis=-1) + beta * d_second).ravel()
    return alpha * first + beta * second, d                                           # (K12)


def dist(student: Array, teacher: Array, *, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0,
         eps: float = 1e-8) -> tuple[float, Array]:
    """One minus the correlation of the softened predictions, within each example and within each class.

        L = T² (β (1 − 1/N Σ_n ρ(p_n:, q_n:)) + γ (1 − 1/C Σ_c ρ(p_:c, q_:c))),   p, q of (K1), ρ of (K14)      (K15)

    student z (N, C)   teacher v (N, C)   ->   value, d_student (N, C). The first part is divided by N, the second by C;
    T² is in both. Examples do not add up; of one alone the second part is γ T², without a gradient. Raises InputError
    where shapes differ, T or ε ≤ 0, β or γ < 0. Source: Huang et al. 2022 (DIST).
    """
    check_logits("dist", student, teacher)
    for name, number in (("beta", beta), ("gamma", gamma), ("temperature", temperature), ("eps", eps)):
        positive("dist", name, number, zero=name in ("beta", "gamma"))
    p, q = special.softmax(np.array([student, teacher], wide(student)) / temperature, axis=-1)
    (d_rows, rows), (d_columns, columns) = correlations(p, q, 1, eps), correlations(p, q, 0, eps)
    g = -temperature * (beta * d_rows + gamma * d_columns)
    value = temperature ** 2 * (beta * (1 - rows) + gamma * (1 - columns))            # (K15)
    return value, (p * (g - (g * p).sum(axis=1, keepdims=True))).astype(student.dtype)                         # (K17)


def correlations(p: Array, q: Array, axis: int, eps: float) -> tuple[Array, float]:
    """Mean of Pearson's correlations of p and q along an axis, behind its derivative in p.

        ρ = ⟨a, b⟩ / (‖a‖ ‖b‖ + ε),   a and b: p and q without their means                        (K14)
    """
    a, b = (x - x.mean(axis=axis, keepdims=True) for x in (p, q))
    size, other = (np.sqrt(np.square(x).sum(axis=axis, keepdims=True)) for x in (a, b))
    rho = (a * b).sum(axis=axis, keepdims=True) / (size * other + eps)                # (K14)
    d = (b - rho * other * a / np.maximum(size, 1e-300)) / (size * other + eps) / rho.size                     # (K16)
    return d, float(rho.mean())
