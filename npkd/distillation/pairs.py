"""A student's activation and the teacher's beside it: what both must be, and the directions of rows."""

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


def unit_rows(x: Array) -> tuple[Array, Callable[[Array], Array]]:
    """u_n = x_n/‖x_n‖ (Y1) of every row of x (N, D), zero with slope 0 where x_n is zero; and backward: du -> dx."""
    size = np.linalg.norm(x, axis=1, keepdims=True)
    inverse = np.divide(1, size, where=size != 0, out=np.zeros_like(size))
    u = inverse * x                                                                   # (Y1)
    return u, lambda du: np.asarray(inverse * (du - u * (u * du).sum(axis=1, keepdims=True)))      # (Y2)
