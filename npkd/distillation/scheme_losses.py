"""Losses of schemes: peers, a discriminator, a graph of neighbours, moments. Derivations: docs/book/19-schemes.md."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

from npkd.core.linalg import product, wide
from npkd.core.types import Array
from npkd.core.validation import InputError, described, floats, whole
from npkd.distillation.features import unit
from npkd.distillation.response import check_logits, soft_targets
from npkd.nn.losses import cross_entropy
from npkd.nn.network import Layer, Network, perceptron
from npkd.nn.normalisation import centred


def mutual_learning(student: tuple[Array, ...], labels: Array, *, weights: Array | None = None,
                    temperature: float = 1.0, held: tuple[Array, ...] | None = None
                    ) -> tuple[float, tuple[Array, ...]]:
    """Each of K outputs learns from the labels, and from what the others say, which is held constant.

        L = Σ_k (A_kk CE(z_k, y) + Σ_{l≠k} A_kl soft(z_k, ẑ_l; T)),   CE of (L4), soft of (K1)           (Z1)

    student (z_1, …, z_K), logits (N, C) each   labels y (N,) integers   ->   value, (d_1, …, d_K). Divided by N alone.
    weights     A (K, K), row k for output k; unless told 1 for the labels and 1/(K−1) for each other output
    held        ẑ, the constant; unless told, what the outputs say
    Raises InputError where shapes do not fit, a weight is negative or T ≤ 0. Source: Zhang, Xiang et al. 2018.
    """
    count = len(student)
    a = np.where(np.eye(count), 1.0, 1 / max(count - 1, 1)) if weights is None else np.asarray(weights)
    if not (isinstance(student, tuple) and count and a.shape == (count, count) and (np.isfinite(a) & (a >= 0)).all()):
        raise InputError(f"mutual_learning: student is {described(student)}, weights are {a.tolist()}; needed are K "
                         "logits (N, C) in a tuple and (K, K) weights, none negative")
    for z in student:
        check_logits("mutual_learning", z, student[0])
    outputs = [z.astype(wide(z)) for z in student]
    others, value, d = outputs if held is None else held, 0.0, [np.zeros_like(z) for z in outputs]
    for k, j in np.argwhere(a):
        part, slope = (cross_entropy(outputs[k], labels) if k == j else
                       soft_targets(outputs[k], others[j], temperature=temperature))
        value += float(a[k, j]) * part                                                # (Z1)
        d[k] += a[k, j] * slope                                                       # (Z2)
    return value, tuple(one.astype(z.dtype) for one, z in zip(d, student, strict=True))


def deepest_weights(count: int, share: float = 0.5) -> Array:
    """A of (Z1) for K outputs of one network, the deepest first: A_11 = 1, A_kk = 1 − a, A_k1 = a, else 0.     (Z3)"""
    return np.asarray((1 - share) * np.eye(count) + share * (np.arange(count) == 0))  # (Z3)


def adversarial_logits(student: Array, teacher: Array, w1: Array, b1: Array, w2: Array, b2: Array, *,
                       held: tuple[Array, ...] | None = None) -> tuple[float, Array, Array, Array, Array, Array]:
    """A discriminator D learns to tell the teacher's logits from the student's, and the student to be taken for it.

        D(z) = w₂ · leaky(W₁ z + b₁) + b₂                                             (Z4)
        L = 1/N Σ_n (ρ(−D̂(z_n)) + ρ(−D(v_n)) + ρ(D(ẑ_n))),   ρ(u) = log(1 + eᵘ)      (Z5)

    student z (N, C)   teacher v (N, C)   w1 (H, C)   b1 (H,)   w2 (1, H)   b2 (1,)   ->   value, d_student, d of those
    four. With a hat is what is held constant. Divided by N alone; not 0 at agreement. held: (ẑ, ŵ₁, b̂₁, ŵ₂, b̂₂), what
    they are unless told. Raises InputError where shapes do not fit. Source: Goodfellow et al. 2014; Xu et al. 2018.
    """
    check_logits("adversarial_logits", student, teacher)
    z, *parts = (a.astype(wide(a)) for a in (student, w1, b1, w2, b2))
    constant, *held_parts = (z, *parts) if held is None else held
    n, sign = len(z), np.repeat([-1.0, 1.0], len(z))[:, None]
    (*_, score), back_student = discriminator_of(*held_parts)(z)
    (*_, scores), back = discriminator_of(*parts)(np.concatenate([teacher, constant]))
    value = (np.logaddexp(0, -score).sum() + np.logaddexp(0, sign * scores).sum()) / n            # (Z5)
    d, _ = back_student({3: -expit(-score) / n})                                      # (Z6)
    _, (first, _, last) = back({3: sign * expit(sign * scores) / n})                  # (Z6)
    dw1, db1, dw2, db2 = (g.astype(p.dtype) for g, p in zip((*first, *last), (w1, b1, w2, b2), strict=True))
    return float(value), d.astype(student.dtype), dw1, db1, dw2, db2


def discriminator_of(w1: Array, b1: Array, w2: Array, b2: Array) -> Network:
    """The discriminator of these parts."""
    return Network([Layer("dense", (w1, b1)), Layer("leaky_relu"), Layer("dense", (w2, b2))])     # (Z4)


def discriminator(classes: int, rng: np.random.Generator, *, hidden: int = 64, dtype: Any = np.float32
                  ) -> tuple[Array, ...]:
    """The parts (w1, b1, w2, b2) of a discriminator of C logits, to start from: Term(adversarial_logits, parts=...)."""
    return tuple(p for layer in perceptron([classes, hidden, 1], rng, dtype=dtype).layers for p in layer.params)


def neighbour_graph(student: Array, teacher: Array, *, neighbours: int = 5) -> tuple[float, Array]:
    """Squared difference of cosines between each example and its nearest ones, nearest by the teacher.

        c_ij = ⟨s_i, s_j⟩ / (‖s_i‖ ‖s_j‖),   N_i the k examples j ≠ i with the largest c̄_ij, the teacher's
        L = 1/(N k) Σ_i Σ_{j ∈ N_i} (c_ij − c̄_ij)²                                    (Z7)

    student s (N, ...)   teacher (N, ...), features may differ in number   ->   value, d_student. Divided by N k, the
    number of edges; in a smaller batch k is N − 1, and one example has no edge: 0. Raises InputError where N differs,
    for k < 1. Source: own form; of a graph of all examples Liu et al. 2019, instance relationship graph.
    """
    floats("neighbour_graph", student=student, teacher=teacher)
    whole("neighbour_graph", 1, neighbours=neighbours)
    if min(student.ndim, teacher.ndim) < 2 or len(student) != len(teacher) or not (student.size and teacher.size):
        raise InputError(f"neighbour_graph: got {student.shape} and {teacher.shape}; both must be (N, ...), N ≥ 1")
    n, k = len(student), min(neighbours, len(student) - 1)
    (u, way), (t, _) = (unit(a.reshape(n, -1).astype(wide(a))) for a in (student, teacher))
    wanted, edges = product(t, t.T), np.zeros((n, n), bool)
    nearest = np.argsort(np.where(np.eye(n, dtype=bool), np.inf, -wanted), axis=1, kind="stable")[:, :k]
    np.put_along_axis(edges, nearest, True, axis=1)
    away = np.where(edges, product(u, u.T) - wanted, 0)
    value, du = np.square(away).sum(), 2 * product(away + away.T, u)                  # (Z7), (Z8)
    return float(value) / max(n * k, 1), (way(du) / max(n * k, 1)).reshape(student.shape).astype(student.dtype)


def moment_matching(student: Array, teacher: tuple[Array, Array]) -> tuple[float, Array]:
    """Distance of a batch's means and variances from given ones.

        L = ‖μ − m‖ + ‖σ² − s‖,   μ and σ² those of (B1)                              (Z9)

    student x (N, ..., J)   teacher (m, s), (J,) each   ->   value, d_student. Divided by nothing. A distance of 0 is a
    kink, its slope 0 here. Raises InputError where shapes do not fit. Source: Yin et al. 2020, DeepInversion.
    """
    floats("moment_matching", student=student, mean=teacher[0], variance=teacher[1])
    if student.ndim < 2 or not student.size or any(a.shape != student.shape[-1:] for a in teacher):
        raise InputError(f"moment_matching: got {[a.shape for a in (student, *teacher)]}, not (N, ..., J), (J,), (J,)")
    mean, variance, difference = centred(student.astype(wide(student)))
    far, spread = mean - teacher[0], variance - teacher[1]
    d = (unit(far)[0] + 2 * difference * unit(spread)[0]) / (student.size // len(mean))           # (Z10)
    return float(np.linalg.norm(far) + np.linalg.norm(spread)), d.astype(student.dtype)           # (Z9)
