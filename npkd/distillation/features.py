"""Feature-based knowledge: losses on activations, without trained parts. Derivations: docs/book/16-features.md.

Rows are (N, F), maps (N, H, W, C). A bar marks the teacher's. All is computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from npkd.core.linalg import product, wide
from npkd.core.types import Array, Backward
from npkd.core.validation import InputError, described, floats, one_of, positive
from npkd.nn.pooling import average_pool


def matched(who: str, one: Array, other: Array) -> list[tuple[Array, Backward]]:
    """Two maps in float64 with the same positions, the larger one averaged over windows, each with its way back.

    Raises InputError unless both are maps of N ≥ 1 examples, and rows and columns of one divide those of the other.
    """
    floats(who, student=one, teacher=other)
    sides = list(zip(one.shape[1:3], other.shape[1:3], strict=False))
    if not (one.ndim == other.ndim == 4 and len(one) == len(other) and one.size and other.size) or any(
            max(pair) % min(pair) for pair in sides):
        raise InputError(f"{who}: got {one.shape} and {other.shape}; both must be maps (N, H, W, C), N ≥ 1 the same, "
                         "and H and W of one the same as the other's, a multiple or a part")
    return [average_pool(one.astype(wide(one)), size=[max(p // q, 1) for p, q in sides]),
            average_pool(other.astype(wide(other)), size=[max(q // p, 1) for p, q in sides])]


def unit(v: Array) -> tuple[Array, Callable[[Array], Array]]:
    """Vectors along the last axis divided by their lengths, with the way back; where all is 0 it stays so.

        u = v / ‖v‖                                                                   (X1)
        dv = (du − ⟨u, du⟩ u) / ‖v‖                                                   (X2)
    """
    length = np.sqrt(np.square(v).sum(axis=-1, keepdims=True))
    length[length == 0] = 1
    u = v / length                                                                    # (X1)
    return u, lambda du: (du - (u * du).sum(axis=-1, keepdims=True) * u) / length     # (X2)


def attention_transfer(student: Array, teacher: Array, *, power: float = 2, form: str = "paper") -> tuple[float, Array]:
    """Distance between where two maps are active: the sums of |a|^p over the channels, as vectors of length one.

        v_nk = Σ_c |a_nkc|^p,   k the positions;   u_n of (X1)                        (X3)
        form "paper":   L = 1/N Σ_n ‖u_n − ū_n‖                                       (X4)
        form "code":    L = 1/(N P) Σ_n ‖u_n − ū_n‖²,   P positions                   (X5)

    student (N, H, W, C)   teacher (N, H', W', C')   ->   value, d_student. The larger map is averaged over windows,
    channels may differ. "paper" is divided by N alone, "code" by N and by P. At agreement, a kink of "paper", the
    gradient is 0. Raises InputError for rows, for H, W that do not divide, and for p < 1. Source: Zagoruyko & Komodakis
    2017; "code": as in their program.
    """
    one_of("attention_transfer", "form", form, ("paper", "code"))
    if not 1 <= power < math.inf:
        raise InputError(f"attention_transfer: power is {power}; it must be finite and at least 1")
    (x, back), (y, _) = matched("attention_transfer", student, teacher)
    (u, way), (target, _) = (unit((np.abs(a) ** power).sum(axis=3).reshape(len(a), -1)) for a in (x, y))       # (X3)
    away = u - target
    if form == "paper":
        value = np.sqrt(np.square(away).sum(axis=1)).sum() / len(x)                   # (X4)
        du = unit(away)[0] / len(x)                                                   # (X6)
    else:
        value, du = np.square(away).sum() / away.size, 2 * away / away.size           # (X5), (X6)
    d = power * np.abs(x) ** (power - 1) * np.sign(x) * way(du).reshape(*x.shape[:3], 1)     # (X6)
    return float(value), back(d)[0].astype(student.dtype)


def neuron_selectivity(student: Array, teacher: Array) -> tuple[float, Array]:
    """Discrepancy between two sets of channels, each a pattern of length one over the positions; k(a, b) = ⟨a, b⟩².

        L = 1/N Σ_n [1/C² Σ_cd k(s_c, s_d) + 1/C'² Σ_cd k(t_c, t_d) − 2/(C C') Σ_cd k(s_c, t_d)]      (X7)

    student (N, H, W, C)   teacher (N, H', W', C')   ->   value, d_student. Divided by N, and by the numbers of pairs of
    channels. The larger map is averaged over windows. Raises InputError for rows and for H, W that do not divide.
    Source: Huang & Wang 2017, the polynomial kernel of degree 2 without a constant.
    """
    (x, back), (y, _) = matched("neuron_selectivity", student, teacher)
    (u, way), (t, _) = (unit(a.reshape(len(a), -1, a.shape[3]).swapaxes(1, 2)) for a in (x, y))     # (N, C, P)
    root = math.sqrt(x.shape[3])
    m = np.concatenate([u / root, t / math.sqrt(y.shape[3])], axis=1)
    sign, value, du = np.repeat([1.0, -1.0], [x.shape[3], y.shape[3]]), 0.0, np.empty_like(u)
    for n, every in enumerate(m):              # whichever is smaller: position by position, or channel by channel
        if every.shape[1] < len(every):
            gap = product(every.T * sign, every)
            value, du[n] = value + float(np.square(gap).sum()), product(u[n], gap)    # (X7), (X8)
        else:
            k = product(every, every.T) * sign
            value, du[n] = value + float((k * k.T).sum()), product(k[:len(u[n])], every) * root     # (X7), (X8)
    d = way(4 / (len(x) * x.shape[3]) * du).swapaxes(1, 2).reshape(x.shape)           # (X8)
    return max(0.0, value / len(x)), back(d)[0].astype(student.dtype)


def flow(student: tuple[Array, ...], teacher: tuple[Array, ...]) -> tuple[float, tuple[Array, ...]]:
    """Distance between the products of two layers' channels, averaged over the positions: how one becomes the other.

        G_ncd = 1/P Σ_k a_nkc b_nkd,   k the P positions                              (X9)
        L = 1/N Σ_n Σ_cd (G_ncd − Ḡ_ncd)²                                             (X10)

    student (a, b)   teacher (a, b), each maps (N, H, W, C) or rows (N, F), which are maps of one position   ->   value,
    (d_a, d_b). Divided by N; P is in G. Of a and b the larger is averaged over windows. Raises InputError where student
    and teacher differ in channels (positions may differ). Source: Yim et al. 2017.
    """
    (a, b, back), (c, d, _) = flow_pair(student), flow_pair(teacher)
    if (len(a), a.shape[2], b.shape[2]) != (len(c), c.shape[2], d.shape[2]):
        raise InputError(f"flow: the student's products (N, C, D) are {(len(a), a.shape[2], b.shape[2])} and the "
                         f"teacher's {(len(c), c.shape[2], d.shape[2])}; they must agree: put a connector behind the "
                         "student's activations")
    if a.shape[1] + c.shape[1] < min(a.shape[2], b.shape[2]):    # fewer positions than channels: ‖LᵀR‖² = ⟨LLᵀ, RRᵀ⟩
        left, right, p = np.concatenate([a, c], axis=1), np.concatenate([b, -d], axis=1), a.shape[1]
        k, m = (v @ v.swapaxes(1, 2) for v in (left, right))
        total, da, db = max(0.0, float((k * m).sum())), m[:, :p] @ left, k[:, :p] @ right         # (X10), (X11)
    else:
        away = a.swapaxes(1, 2) @ b - c.swapaxes(1, 2) @ d                            # (X9)
        total, da, db = float(np.square(away).sum()), b @ away.swapaxes(1, 2), a @ away           # (X10), (X11)
    return total / len(a), back(2 / len(a) * da, 2 / len(a) * db)


def flow_pair(pair: tuple[Array, ...]) -> tuple[Array, Array, Callable[[Array, Array], tuple[Array, ...]]]:
    """a/P (N, P, C) and b (N, P, D) of two activations, of which (X9) is the product, and the way back to both."""
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise InputError(f"flow: got {described(pair)}; student and teacher must each be a tuple of two activations")
    floats("flow", first=pair[0], second=pair[1])
    (a, back_a), (b, back_b) = matched("flow", *(v[:, None, None] if v.ndim == 2 else v for v in pair))
    positions = math.prod(a.shape[1:3])

    def back(da: Array, db: Array) -> tuple[Array, ...]:
        (da,), (db,) = back_a(da.reshape(a.shape) / positions), back_b(db.reshape(b.shape))
        return tuple(d.reshape(v.shape).astype(v.dtype) for d, v in zip((da, db), pair, strict=True))

    return a.reshape(len(a), positions, -1) / positions, b.reshape(len(b), positions, -1), back


def activation_boundaries(student: Array, teacher: Array, *, margin: float = 1.0) -> tuple[float, Array]:
    """Squared hinge of the student's preactivations, on the side of zero on which the teacher's are.

        L = 1/N Σ_n Σ_f max(0, m − y_nf s_nf)²,   y = 1 where t > 0, else −1          (X12)

    student s (N, ...), before relu   teacher t the same shape   ->   value, d_student. Divided by N alone. Not 0 at
    agreement: |s| ≥ m is asked for. The slope has kinks at s = ±m. Raises InputError where shapes differ or m ≤ 0.
    Source: Heo et al. 2019, activation boundaries.
    """
    floats("activation_boundaries", student=student, teacher=teacher)
    positive("activation_boundaries", "margin", margin)
    if student.shape != teacher.shape or not student.size:
        raise InputError(f"activation_boundaries: got {student.shape} and {teacher.shape}; they must agree, with N ≥ 1")
    side = np.where(teacher > 0, 1.0, -1.0)
    lack = np.maximum(0, margin - side * student.astype(wide(student)))
    value = float(np.square(lack).sum()) / len(student)                               # (X12)
    return value, (-2 / len(student) * side * lack).astype(student.dtype)             # (X13)
