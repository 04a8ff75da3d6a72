"""Singular vectors of maps from stage to stage (KDSVD). Derivation: docs/book/17-trained-features.md."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from scipy.linalg import svd

from npkd.core.linalg import wide
from npkd.core.types import Array
from npkd.core.validation import InputError, finite, floats

CHOICE, TIE = 4, 1e-12         # vectors to choose from; a gap of squares that counts as none, relative to the largest


def singular_vectors(student: tuple[Array, ...], teacher: tuple[Array, ...]) -> tuple[float, tuple[Array, ...]]:
    """Squared difference of how the leading singular vectors of the maps change from stage to stage.

        R_ncd = exp(−(w_nc − v_nd)²/8),   w, v of this stage and of that before       (Y22)
        L = 1/N Σ_n Σ_c Σ_d (R_ncd − R'_ncd)², over the stages;   R' of the teacher   (Y23)

    student, teacher: maps (N, H, W, C) of two stages or more; at a stage N and C agree. The teacher's w_n is the first
    right singular vector of its map, as a matrix (H·W, C), the largest entry positive; the student's, of its first
    four, that with the largest |cosine| to it, its sign turned to agree   ->   value, d_student. Divided by N alone.
    Raises InputError where shapes differ or a value is not finite.
    Source: Lee, Kim & Song 2018, as RepDistiller computes it with one vector (whose sign is left open there).
    """
    who = "singular_vectors"
    if not (isinstance(student, tuple) and isinstance(teacher, tuple) and 1 < len(student) == len(teacher)):
        raise InputError(f"{who}: student and teacher must be tuples of maps, as many, two or more")
    for i, (s, t) in enumerate(zip(student, teacher, strict=True)):
        floats(who, **{f"student[{i}]": s, f"teacher[{i}]": t})
        finite(who, **{f"student[{i}]": s, f"teacher[{i}]": t})
        if not (s.ndim == t.ndim == 4 and len(s) == len(t) == len(student[0]) and s.shape[3] == t.shape[3] and s.size
                and t.size):
            raise InputError(f"{who}: stage {i} is {s.shape} of the student and {t.shape} of the teacher; both must be "
                             "(N, H, W, C) with one C, and the N of every stage")
    n, value = len(student[0]), 0.0
    ours, theirs, backwards = zip(*map(aligned, student, teacher), strict=True)
    slopes = [np.zeros_like(w) for w in ours]
    for i, ((v, w), (v_teacher, w_teacher)) in enumerate(zip(pairwise(ours), pairwise(theirs), strict=True)):
        apart = w[:, :, None] - v[:, None]
        relation = np.exp(-np.square(apart) / 8)                                      # (Y22)
        difference = relation - np.exp(-np.square(w_teacher[:, :, None] - v_teacher[:, None]) / 8)
        value += float(np.square(difference).sum()) / n                               # (Y23)
        d = -difference * relation * apart / (2 * n)                                  # (Y24)
        slopes[i + 1] += d.sum(axis=2)
        slopes[i] -= d.sum(axis=1)
    return value, tuple(back(d).astype(s.dtype) for s, d, back in zip(student, slopes, backwards, strict=True))


def decomposed(maps: Array) -> tuple[Array, ...]:
    """U (N, P, r), singular values (N, r), V^T (N, r, C) of maps (N, ..., C) as matrices (P, C)."""
    x = maps.astype(wide(maps)).reshape(len(maps), -1, maps.shape[-1])
    return tuple(np.array(part) for part in zip(*(svd(one, full_matrices=False) for one in x), strict=True))


def aligned(student: Array, teacher: Array) -> tuple[Array, Array, Callable[[Array], Array]]:
    """w of the student and of the teacher (N, C), and backward, (Y25): dw -> the student's maps."""
    (u, s, v), target, each = decomposed(student), decomposed(teacher)[2][:, 0], np.arange(len(student))
    target *= np.sign(target[each, np.abs(target).argmax(axis=1)])[:, None]
    cosine = np.einsum("nic,nc->ni", v[:, :CHOICE], target)
    j = np.abs(cosine).argmax(axis=1)
    sign, own, least = np.sign(cosine[each, j])[:, None], s[each, j][:, None], TIE * np.square(s[:, :1])
    w, left = sign * v[each, j], sign * u[each, :, j]

    def backward(g: Array) -> Array:
        a, gap = np.einsum("nic,nc->ni", v, g), (own - s) * (own + s)                 # gap 0 for the chosen one itself
        c = np.divide(a, gap, where=np.abs(gap) > least, out=np.zeros_like(a))        # (Y25)
        outside = np.divide(g - np.einsum("nic,ni->nc", v, a), own, where=own ** 2 > least, out=np.zeros_like(g))
        right = own * np.einsum("nic,ni->nc", v, c) + outside
        dx = np.einsum("np,nc->npc", left, right) + np.einsum("np,nc->npc", np.einsum("npi,ni->np", u, c * s), w)
        return np.asarray(dx.reshape(student.shape))

    return w, target, backward
