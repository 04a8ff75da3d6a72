"""Relation-based knowledge: how the examples of a batch lie to one another. Derivations: docs/book/18-relations.md.

Student and teacher are rows (N, F) or maps (N, H, W, C), which are read as rows; but for neighbour_congruence nothing
except N has to agree. A bar marks the teacher's. All is computed in float64.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import pdist, squareform

from npkd.core.linalg import product, wide
from npkd.core.types import Array
from npkd.core.validation import InputError, floats, positive, whole
from npkd.distillation.features import unit
from npkd.distillation.response import divergence

NEAR = 1e-12
"""Least squared distance (distances), distance (angles) and similarity (chances); what is below has no gradient."""


def rows(who: str, student: Array, teacher: Array) -> tuple[Array, Array]:
    """Both as rows in float64. Raises InputError unless they are rows or maps of floats, of the same N ≥ 2 examples."""
    floats(who, student=student, teacher=teacher)
    if min(student.ndim, teacher.ndim) < 2 or not 1 < len(student) == len(teacher) or not student.size * teacher.size:
        raise InputError(f"{who}: student is {student.shape} and teacher {teacher.shape}; they must be rows (N, F) or "
                         "maps (N, H, W, C) of the same examples, N ≥ 2")
    one, other = (np.ascontiguousarray(a, wide(a)).reshape(len(a), -1) for a in (student, teacher))
    return one, other


def squared_distances(x: Array) -> Array:
    """D_ij = Σ_f (x_if − x_jf)², (N, N), from differences: near points lose no digits.        (Q1)"""
    return np.asarray(squareform(pdist(x, "sqeuclidean")))                            # (Q1)


def from_distances(g: Array, x: Array) -> Array:
    """dx_i = 2 Σ_j (g_ij + g_ji)(x_i − x_j), (N, F), from the sensitivity g of D.             (Q2)"""
    g, x = 2 * (g + g.T), x - x.mean(axis=0)
    return np.asarray(g.sum(axis=1, keepdims=True) * x - product(g, x))               # (Q2)


def smooth_l1(u: Array) -> tuple[Array, float]:
    """Slopes of h, and the sum of its values:   h(u) = u²/2 where |u| < 1, else |u| − ½        (Q3)"""
    slope = np.clip(u, -1, 1)
    return slope, float(np.vdot(slope, u) - np.vdot(slope, slope) / 2)                # (Q3)


def relational_distance(student: Array, teacher: Array) -> tuple[float, Array]:
    """Difference of the distances between the examples, each network's as parts of its own mean distance.

        s_ij = d_ij/μ,   d_ij = √max(D_ij, 10⁻¹²), 0 for i = j,   μ = 1/(N² − N) Σ_ij d_ij     (Q4)
        L = 1/N² Σ_ij h(s_ij − s̄_ij)                                                  (Q5)

    student (N, ...)   teacher (N, ...)   ->   value, d_student. Divided by N², the zeros for i = j included. The
    gradient goes through the student's μ, and is 0 for pairs nearer than 10⁻⁶. Raises InputError where N differs or is
    below 2. Source: Park et al. 2019, the distance loss, as in their program.
    """
    x, t = rows("relational_distance", student, teacher)
    n, pairs, squared = len(x), 1 - np.eye(len(x)), squared_distances(x)
    d, other = (np.sqrt(np.maximum(a, NEAR)) * pairs for a in (squared, squared_distances(t)))
    mean, other_mean = (a.sum() / (n * n - n) for a in (d, other))
    slope, total = smooth_l1(d / mean - other / other_mean)                           # (Q4), (Q5)
    g = slope - (slope * d).sum() / d.sum()
    g = np.divide(g, 2 * d * mean * n ** 2, where=squared >= NEAR, out=np.zeros_like(d))     # (Q6)
    return total / n ** 2, from_distances(g, x).reshape(student.shape).astype(student.dtype)


def relational_angle(student: Array, teacher: Array) -> tuple[float, Array]:
    """Difference of the angles that two examples make as seen from a third.

        a_ijk = ⟨x_j − x_i, x_k − x_i⟩ / (‖x_j − x_i‖ ‖x_k − x_i‖) = (D_ij + D_ik − D_jk) / (2 √D_ij √D_ik)     (Q7)
        L = 1/N³ Σ_ijk h(a_ijk − ā_ijk)                                               (Q8)

    student (N, ...)   teacher (N, ...)   ->   value, d_student. Divided by N³, the zeros for j = i or k = i included.
    Of points nearer than 10⁻¹² a is 0, without a gradient. Takes N³ steps, N² numbers at a time. Raises InputError
    where N differs or is below 2. Source: Park et al. 2019, the angle loss, as in their program.
    """
    x, t = rows("relational_angle", student, teacher)
    n, squared, target = len(x), squared_distances(x), squared_distances(t)
    value, g = 0.0, np.zeros_like(squared)
    for i in range(n):
        a, inverse = angles(squared, i)
        slope, part = smooth_l1(a - angles(target, i)[0])
        value += part                                                                 # (Q8)
        g[i] += inverse * (slope @ inverse - np.einsum("jk,jk->j", slope, a) * inverse)     # (Q9)
        g -= slope * np.outer(inverse, inverse / 2)                                   # (Q9)
    return value / n ** 3, from_distances(g / n ** 3, x).reshape(student.shape).astype(student.dtype)


def angles(squared: Array, i: int) -> tuple[Array, Array]:
    """Cosines of the angles at example i (N, N), and 1/√D_ij (N,), or 0 where there is no direction."""
    r = np.sqrt(squared[i])
    inverse = np.divide(1, r, where=r >= NEAR, out=np.zeros_like(r))
    a = squared[i] + squared[i][:, None]
    a -= squared                                              # in place: a new array costs more than the sums
    a *= np.outer(inverse, inverse / 2)                                               # (Q7)
    return a, inverse


def similarity_preserving(student: Array, teacher: Array) -> tuple[float, Array]:
    """Distance between the matrices of inner products of the examples, each row of them as a vector of length one.

        G = X Xᵀ,   L = 1/N² Σ_ij (u_ij − ū_ij)²,   u the rows of G by (X1)           (Q10)

    student (N, ...)   teacher (N, ...)   ->   value, d_student. Divided by N². Raises InputError where N differs or is
    below 2. Source: Tung & Mori 2019.
    """
    x, t = rows("similarity_preserving", student, teacher)
    (u, back), (target, _) = (unit(product(a, a.T)) for a in (x, t))
    away = u - target
    g = back(2 / away.size * away)
    d = product(g + g.T, x)                                                           # (Q11)
    return float(np.square(away).mean()), d.reshape(student.shape).astype(student.dtype)          # (Q10)


def correlation_congruence(student: Array, teacher: Array, *, gamma: float = 0.4,
                           order: int = 2) -> tuple[float, Array]:
    """Distance between two kernel matrices: the Gaussian exp(−γ ‖u_i − u_j‖²) of rows of length one, to an order P.

        k(c) = exp(−2γ) Σ_{p ≤ P} (2γ c)^p / p!                                       (Q12)
        L = 1/N² Σ_ij (k(⟨u_i, u_j⟩) − k(⟨ū_i, ū_j⟩))²,   u of (X1)                   (Q13)

    student (N, ...)   teacher (N, ...)   ->   value, d_student. Divided by N²; torchdistill takes the root of the sum
    first, and does not normalise. Raises InputError where N differs or is below 2, γ ≤ 0 or P < 1. Source: Peng et al.
    2019, the Gaussian kernel.
    """
    x, t = rows("correlation_congruence", student, teacher)
    positive("correlation_congruence", "gamma", gamma)
    whole("correlation_congruence", 1, order=order)
    (u, back), (target, _) = unit(x), unit(t)
    c = np.stack([product(a, a.T) for a in (u, target)])
    term = np.full_like(c, np.exp(-2 * gamma))
    k, slope = term, np.zeros_like(c)
    for p in range(1, order + 1):
        slope = slope + 2 * gamma * term
        term = term * (2 * gamma / p) * c
        k = k + term                                                                  # (Q12)
    away = k[0] - k[1]
    g = 2 / away.size * away * slope[0]
    d = back(product(g + g.T, u))                                                     # (Q14)
    return float(np.square(away).mean()), d.reshape(student.shape).astype(student.dtype)          # (Q13)


def neighbour_congruence(student: Array, teacher: Array) -> tuple[float, Array]:
    """Product of how far the student is off at an example and at the next one of the batch: its order matters.

        L = 1/(N − 1) Σ_{n < N} Σ_f δ_nf δ_{n+1,f},   δ = |s − t|                     (Q15)

    student s (N, ...)   teacher t the same shape   ->   value, d_student. Divided by N − 1. 0 also where every second
    example agrees. The slope of δ at 0 is 0. Raises InputError where shapes differ or N < 2. Source: what RepDistiller
    has under the name of Peng et al. 2019, for embeddings of one width; those are connectors here.
    """
    s, t = rows("neighbour_congruence", student, teacher)
    if student.shape != teacher.shape:
        raise InputError(f"neighbour_congruence: student is {student.shape} and teacher {teacher.shape}; they must "
                         "agree: put a connector behind the student's activation")
    delta, around = np.abs(s - t), np.zeros_like(s)
    around[1:] += delta[:-1]
    around[:-1] += delta[1:]
    d = np.sign(s - t) * around / (len(s) - 1)                                        # (Q16)
    value = float((delta[:-1] * delta[1:]).sum()) / (len(s) - 1)                      # (Q15)
    return value, d.reshape(student.shape).astype(student.dtype)


def probabilistic_transfer(student: Array, teacher: Array, *, diagonal: bool = True) -> tuple[float, Array]:
    """Divergence of the chances with which an example picks another one, the more similar the likelier.

        p_ij = s_ij / Σ_k s_ik,   s_ij = (1 + ⟨u_i, u_j⟩)/2, at least 10⁻¹²,   u of (X1)        (Q17)
        L = 1/N Σ_i Σ_j p̄_ij (log p̄_ij − log p_ij)                                    (Q18)

    student (N, ...)   teacher (N, ...)   ->   value, d_student. Divided by N alone; the authors' program divides by N²
    and adds 10⁻⁷ in the logarithm. diagonal: may an example pick itself, as it may there? Raises InputError where N
    differs or is below 2. Source: Passalis & Tefas 2018, the cosine kernel.
    """
    x, t = rows("probabilistic_transfer", student, teacher)
    (u, back), (target, _) = unit(x), unit(t)
    s = np.stack([np.maximum((1 + product(a, a.T)) / 2, NEAR) for a in (u, target)])  # (Q17)
    log = np.log(s) if diagonal else np.where(np.eye(len(x)), -np.inf, np.log(s))
    away, total = divergence(log[0], log[1], 1.0)                                     # (Q18)
    g = np.divide(away, 2 * len(x) * s[0], where=s[0] > NEAR, out=np.zeros_like(away))
    d = back(product(g + g.T, u))                                                     # (Q19)
    return total / len(x), d.reshape(student.shape).astype(student.dtype)
