"""Knowledge review: maps compared on a pyramid of means. Derivation: docs/book/17-trained-features.md."""

from __future__ import annotations

import numpy as np

from npkd.core.linalg import wide
from npkd.core.types import Array
from npkd.core.validation import whole
from npkd.distillation.pairs import check_pair
from npkd.nn.convolution import maps


def window_means(length: int, windows: int) -> Array:
    """P (l, H): means over l windows that cover H positions, overlapping where l does not divide H.

        P_ij = 1/(b_i − a_i) for a_i ≤ j < b_i, else 0,   a_i = ⌊i H/l⌋,   b_i = ⌈(i + 1) H/l⌉      (Y19)
    """
    i, j = np.arange(windows)[:, None], np.arange(length)
    start, end = i * length // windows, -(-(i + 1) * length // windows)
    return np.asarray(((start <= j) & (j < end)) / (end - start))                     # (Y19)


def review(student: Array, teacher: Array, *, levels: tuple[int, ...] = (4, 2, 1)) -> tuple[float, Array]:
    """Hierarchical context loss: mean squared errors of the maps and of their means over l×l windows, weighted.

        L = Σ_k 2^−k MSE(s_k, t_k) / Σ_k 2^−k,   s_0 = s,   s_k = P s Q^T             (Y20)

    student s (N, H, W, C), what a connector makes of it   teacher t the same shape   ->   value, d_student. Each MSE is
    divided by all of its entries, N l² C. levels: the l; one that is not below H is left out, and k counts the others.
    Raises InputError where shapes differ. Source: Chen, Liu, Zhao & Jia 2021.
    """
    check_pair("review", student, teacher)
    maps("review", student)
    whole("review", 1, **{f"a level ({level})": level for level in levels})
    difference = np.subtract(student, teacher, dtype=wide(student))
    value, slope, total, weight = np.square(difference).mean(), difference / difference.size, 1.0, 1.0
    for level in (level for level in levels if level < student.shape[1]):
        weight, rows, columns = weight / 2, *(window_means(side, level) for side in student.shape[1:3])
        means = np.einsum("jw,niwc->nijc", columns, np.einsum("ih,nhwc->niwc", rows, difference))
        back = np.einsum("ih,niwc->nhwc", rows, np.einsum("jw,nijc->niwc", columns, means))
        value, slope = value + weight * np.square(means).mean(), slope + weight / means.size * back     # (Y20), (Y21)
        total += weight
    return float(value / total), (2 / total * slope).astype(student.dtype)
