"""A student's activation and the teacher's beside it: what both must be, and the directions of vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError, floats


def check_pair(who: str, student: Array, teacher: Array) -> None:
    """Raise InputError unless both are floats of one shape (N, ..., C) with at least one entry."""
    floats(who, student=student, teacher=teacher)
    if student.ndim < 2 or student.shape != teacher.shape or not student.size:
        raise InputError(f"{who}: student is {student.shape} and teacher {teacher.shape}; both must be (N, ..., C), "
                         "not empty: put a connector behind the student")


def unit(v: Array) -> tuple[Array, Callable[[Array], Array]]:
    """Vectors along the last axis divided by their lengths, with the way back; where all is 0 it stays so, slope 0.

        u = v / ‖v‖                                                                   (X1), (Y1), (Q10)
        dv = (du − ⟨u, du⟩ u) / ‖v‖                                                   (X2), (Y2), (Q11)
    """
    length = np.sqrt(np.square(v).sum(axis=-1, keepdims=True))
    inverse = np.divide(1, length, where=length != 0, out=np.zeros_like(length))
    u = v * inverse                                                                   # (X1), (Y1), (Q10)
    return u, lambda du: (du - (u * du).sum(axis=-1, keepdims=True) * u) * inverse    # (X2), (Y2), (Q11)
