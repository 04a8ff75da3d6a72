"""A student's activation and the teacher's beside it: what both must be."""

from __future__ import annotations

from npkd.core.types import Array
from npkd.core.validation import InputError, floats


def check_pair(who: str, student: Array, teacher: Array) -> None:
    """Raise InputError unless both are floats of one shape (N, ..., C) with at least one entry."""
    floats(who, student=student, teacher=teacher)
    if student.ndim < 2 or student.shape != teacher.shape or not student.size:
        raise InputError(f"{who}: student is {student.shape} and teacher {teacher.shape}; both must be (N, ..., C), "
                         "not empty: put a connector behind the student")
