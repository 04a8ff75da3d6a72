"""Contrastive distillation: which of many is the same example? Derivation: docs/book/17-trained-features.md."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, logsumexp

from npkd.core.linalg import product, wide
from npkd.core.types import Array
from npkd.core.validation import InputError, below_one, described, floats, positive
from npkd.distillation.features import unit
from npkd.distillation.pairs import check_pair


@dataclass(frozen=True, eq=False)
class Memory:
    """The embeddings of all M examples as they were when last seen; ``contrastive`` returns the next one.

    student, teacher   (M, D) floats, a row an example
    log_z              logarithms of the constants Z of student and teacher; None: the first batch fixes them
    momentum, temperature   0 ≤ μ < 1, the part of a row that stays when its example is seen, and τ > 0
    """

    student: Array
    teacher: Array
    log_z: tuple[float, float] | None = None
    momentum: float = 0.5
    temperature: float = 0.07

    def __post_init__(self) -> None:
        check_pair("Memory", self.student, self.teacher)
        if self.student.ndim > 2:
            raise InputError(f"Memory: student is {self.student.shape}; it must be (M, D)")
        below_one("Memory", "momentum", self.momentum)
        positive("Memory", "temperature", self.temperature)


def draw_memory(examples: int, width: int, rng: np.random.Generator) -> Memory:
    """A memory to begin with, float32: entries uniform on ±√(3/D), so that the mean square of a row's length is 1."""
    return Memory(*(math.sqrt(3 / width) * rng.uniform(-1, 1, (2, examples, width))).astype(np.float32))


def draw_negatives(index: Array, labels: Array, count: int, rng: np.random.Generator) -> Array:
    """For each example of a batch ``count`` of other classes, none twice where there are enough.

    index (N,), the batch's   labels (M,) of all, ``np.arange(M)`` without   ->   (N, count). InputError for one class.
    """
    others = [np.flatnonzero(labels != labels[i]) for i in index]
    if not all(map(len, others)):
        raise InputError("draw_negatives: all labels are one class; there must be another")
    return np.array([rng.choice(rows, count, replace=count > len(rows)) for rows in others])


def contrastive(student: Array, teacher: Array, student_embedding: Array, teacher_embedding: Array, *, memory: Memory,
                index: Array, negatives: Array) -> tuple[float, Array, Array, Array, Memory]:
    """Tell each example's embedding from K others': student's against teacher's memory, and the other way round.

        x_n = direction of W (a_n, 1)                                                 (Y6)
        u_nk = ⟨m_nk, x_n⟩/τ − log Z − log(K/M)                                       (Y7)
        L = 1/N Σ_n (log(1 + exp(−u_n0)) + Σ_k log(1 + exp(u_nk))), k ≥ 1; of both    (Y8)

    student a (N, F)   teacher (N, F')   student_embedding W (D, F + 1)   teacher_embedding (D, F' + 1): last column the
    bias   memory: m, rows of the other network   index (N,): the examples' rows, k = 0   negatives (N, K): others'
    -> value, d_student, d_student_embedding, d_teacher_embedding, a new memory (a copy: the given one stays).
    Divided by N alone. Z is fixed, no gradient flows through it. Raises InputError where shapes or indices do not fit.
    Source: Tian, Krishnan & Isola 2020; Z is of RepDistiller, with log_z = (0, 0) it is the paper's equation.
    """
    check_contrastive(memory, index, negatives, student=student, student_embedding=student_embedding, teacher=teacher,
                      teacher_embedding=teacher_embedding)
    picked, z = np.column_stack([index, negatives]), memory.log_z or (None, None)
    ours, theirs = (noise_contrastive(a, w, bank, picked, memory.temperature, log_z) for a, w, bank, log_z in
                    ((student, student_embedding, memory.teacher, z[0]),
                     (teacher, teacher_embedding, memory.student, z[1])))
    banks = memory.student.copy(), memory.teacher.copy()
    for bank, (x, *_) in zip(banks, (ours, theirs), strict=True):
        bank[index] = unit(memory.momentum * bank[index] + (1 - memory.momentum) * x)[0]      # (Y11)
    return ours[3] + theirs[3], ours[1], ours[2], theirs[2], replace(                 # (Y8)
        memory, student=banks[0], teacher=banks[1], log_z=(ours[-1], theirs[-1]))


def noise_contrastive(a: Array, w: Array, bank: Array, picked: Array, temperature: float, log_z: float | None
               ) -> tuple[Array, Array, Array, float, float]:
    """x, da, dW, one network's part of (Y8), log Z; ``picked`` (N, 1 + K) rows of the other's bank."""
    inputs, matrix = np.column_stack([a, np.ones(len(a))]), w.astype(wide(w))
    x, backward = unit(product(inputs, matrix.T))                                     # (Y6)
    used = np.zeros(len(bank), bool)
    used[picked] = True
    rows, place = bank[used].astype(x.dtype), (np.cumsum(used) - 1)[picked]
    u = np.take_along_axis(product(x, rows.T), place, axis=1) / temperature
    if log_z is None:
        log_z = float(logsumexp(u)) - math.log(u.size / len(bank))                    # (Y9)
    u -= log_z + math.log((u.shape[1] - 1) / len(bank))                               # (Y7)
    sign = np.where(np.arange(u.shape[1]), 1, -1)
    slope = sign * expit(sign * u) / (temperature * len(x))
    place += np.arange(len(x))[:, None] * len(rows)                         # a row that is picked twice counts twice
    slopes = np.bincount(place.ravel(), slope.ravel(), len(x) * len(rows)).reshape(len(x), len(rows))
    d = backward(product(slopes, rows))                                               # (Y10)
    value = float(np.logaddexp(0, sign * u).sum()) / len(x)                           # (Y8)
    return x, product(d, matrix)[:, :-1].astype(a.dtype), product(d.T, inputs).astype(w.dtype), value, log_z


def check_contrastive(memory: Memory, index: Array, negatives: Array, **arrays: Array) -> None:
    """Raise InputError unless activations, embeddings and indices fit one another and the memory."""
    floats("contrastive", **arrays)
    (m, width), (a, w, b, v) = memory.student.shape, arrays.values()
    for rows in (index, negatives):
        if not (isinstance(rows, np.ndarray) and rows.dtype.kind in "iu" and rows.size and rows.min() >= 0
                and rows.max() < m):
            raise InputError(f"contrastive: index or negatives is {described(rows)}; it must hold integers 0 … {m - 1}")
    if not (a.ndim == b.ndim == negatives.ndim == 2 and index.ndim == 1 and len(a) == len(b) == len(negatives)
            == len(index) and w.shape == (width, a.shape[1] + 1) and v.shape == (width, b.shape[1] + 1)):
        got = ", ".join(f"{name} {x.shape}" for name, x in {**arrays, "index": index, "negatives": negatives}.items())
        raise InputError(f"contrastive: got {got}; they must be (N, F), ({width}, F + 1), (N, F'), ({width}, F' + 1), "
                         "(N,), (N, K)")
