"""What a network of maps needs to run on two cores: a second thread, and products that let go of Python's lock.

A thread that waits for the lock sleeps: calls have to be few and long. docs/book/6-training.md says more.
"""

from __future__ import annotations

import contextvars
import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import numpy as np
from scipy.linalg import cython_blas

from npkd.core.blas_threads import libraries, user_threads
from npkd.core.types import Array

T = TypeVar("T")


def threads() -> int:
    """2, or 1 where the process has one core, OPENBLAS_NUM_THREADS is 1, or a BLAS cannot be told to use one thread."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(2, cores, user_threads() or cores, max(1, len(libraries())))


def both(helper: ThreadPoolExecutor, first: Callable[[], T], second: Callable[[], T]) -> list[T]:
    """Call both at the same time, the second in the helper with the caller's settings of NumPy's warnings; the results.
    What either raises is raised once both have ended (but for an interrupt from outside)."""
    other = helper.submit(contextvars.copy_context().run, second)
    try:
        result = first()
    finally:
        wait([other])
    return [result, other.result()]


def unlocked_gemm(dtype: np.dtype[np.generic]) -> Callable[..., Array]:
    """SciPy's gemm, which lets go of Python's lock while it computes, as SciPy's Python function for it does not.

    c ← alpha op(a) op(b) + beta c in place, for matrices contiguous by columns, op(a) being aᵀ with ``trans_a``. It is
    the address that scipy.linalg.cython_blas offers to compiled code: nothing is checked.
    """
    name, pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsule = cython_blas.__pyx_capi__["sgemm" if dtype == np.float32 else "dgemm"]
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)(pointer(capsule, name(capsule)))
    number, size, refer = ctypes.c_float if dtype == np.float32 else ctypes.c_double, ctypes.c_int, ctypes.byref

    def gemm(alpha: float, a: Array, b: Array, beta: float, c: Array, **options: bool) -> Array:
        letters = [refer(ctypes.c_char(b"T" if options[trans] else b"N")) for trans in ("trans_a", "trans_b")]
        sizes = [refer(size(n)) for n in (*c.shape, a.shape[0 if options["trans_a"] else 1])]
        call(*letters, *sizes, refer(number(alpha)), a.ctypes.data, refer(size(len(a))), b.ctypes.data,
             refer(size(len(b))), refer(number(beta)), c.ctypes.data, refer(size(len(c))))
        return c

    return gemm
