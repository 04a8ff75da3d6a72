"""Centred kernel alignment: as a loss, and between all layers of two networks. Derivation: docs/book/16-features.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from npkd.core.linalg import gram, inner_product, product
from npkd.core.types import Array
from npkd.core.validation import InputError, floats
from npkd.sparsity.statistics import Statistics, centred, merge


def centred_kernel_alignment(student: Array, teacher: Array) -> tuple[float, Array]:
    """One minus the linear alignment: how far the pairwise products of the student's examples are from the teacher's.

        L = 1 − ‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖),   X, Y without the means of their columns        (X14)

    student (N, ...)   teacher (N, ...)   ->   value, d_student. Maps are flattened; widths may differ. Divided by
    nothing: between 0 and 1, of all examples together. Where one side does not vary the value is 1, the gradient 0.
    Raises InputError for fewer than two examples, or another number. Source: Kornblith et al. 2019, linear kernel.
    """
    floats("centred_kernel_alignment", student=student, teacher=teacher)
    if min(student.ndim, teacher.ndim) < 2 or not 1 < len(student) == len(teacher) or not student.size * teacher.size:
        raise InputError(f"centred_kernel_alignment: student is {student.shape} and teacher {teacher.shape}; both must "
                         "be (N, ...), of the same N ≥ 2")
    (x, size), (y, _) = map(standard, (student, teacher))
    if len(x) < max(x.shape[1], y.shape[1]):                       # ⟨XXᵀ, YYᵀ⟩ = ‖XᵀY‖²: the smaller matrices
        own, other = product(x, x.T), product(y, y.T)
        shared, towards, back = inner_product(own, other), product(other, x), product(own, x)
    else:
        own, other, cross = gram(x), gram(y), product(y.T, x)
        shared, towards, back = inner_product(cross, cross), product(y, cross), product(x, own)
    squares = inner_product(own, own)
    scale = math.sqrt(squares * inner_product(other, other)) or 1.0
    d = 2 / (scale * size) * (shared / (squares or 1.0) * back - towards)             # (X15)
    return max(0.0, 1 - shared / scale), d.reshape(student.shape).astype(student.dtype)     # (X14)


def standard(a: Array) -> tuple[Array, float]:
    """Activations (N, ...) as rows, without their means and divided by their size, and that size."""
    x = np.ascontiguousarray(centred(a.reshape(len(a), -1))[1])
    size = math.sqrt(inner_product(x, x)) or 1.0
    return x / size, size


def cka_matrix(batches: Iterable[tuple[Sequence[Array], Sequence[Array]]]) -> Array:
    """Linear alignment of every layer of the student with every layer of the teacher over all batches, (S, T) in 0 … 1.

    batches   of pairs: S activations of the student and T of the teacher for the same examples, each (N, ...)
    From covariances that add up, (S2): how the examples are cut into batches changes nothing. Memory is the square of
    all widths together; of large maps give means over the positions. 0 where a layer does not vary. Raises InputError
    where there are no batches, or where examples or widths do not agree.
    """
    parts, widths = list[Statistics](), set[tuple[int, ...]]()
    for student, teacher in batches:
        layers = [*student, *teacher]
        floats("cka_matrix", **{f"layer {i}": a for i, a in enumerate(layers)})
        shapes = [a.shape for a in layers]
        if not (len(student) and len(teacher)) or any(len(s) < 2 or 0 in s or s[0] != shapes[0][0] for s in shapes):
            raise InputError(f"cka_matrix: a batch holds {shapes}; it must hold layers of both, (N, ...) of one N ≥ 1")
        rows = [a.reshape(len(a), -1) for a in layers]
        widths.add((len(student), *(a.shape[1] for a in rows)))
        parts = [merge([*parts, Statistics.of(np.hstack(rows), rows[0][:, :1])])]     # the targets play no part
    if len(widths) != 1:
        raise InputError(f"cka_matrix: number of student's layers and widths are {sorted(widths)}; all batches must "
                         "have the same ones, and there must be a batch")
    count, *each = widths.pop()
    starts = np.cumsum([0, *each[:-1]])
    squares = np.add.reduceat(np.add.reduceat(parts[0].A ** 2, starts, axis=0), starts, axis=1)     # ‖XᵀY‖² of all
    size = np.sqrt(np.diag(squares))
    size[size == 0] = 1
    return np.asarray((squares / np.outer(size, size))[:count, count:])               # (X14), one minus it
