"""What a network of maps needs to run on two cores: a second thread, and products that let go of Python's lock.

NumPy lets go of Python's lock while it computes, so two threads compute at the same time; but each call has to get the
lock back, and a thread that waits for it sleeps. Calls have to be few and long: ``np.matmul`` computes a whole stack of
small products in one. BLAS is told to use one thread meanwhile (npkd/core/blas_threads.py): its own would spin on the
core that the second thread is for.
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
    """2, or 1 where the process may use one core alone, OPENBLAS_NUM_THREADS says so, or a BLAS cannot be told to use
    one thread."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(2, cores, user_threads() or cores, max(1, len(libraries())))


class TwoThreads:
    """Two jobs at the same time."""

    def __init__(self) -> None:
        self.helper = ThreadPoolExecutor(1)

    def both(self, first: Callable[[], T], second: Callable[[], T]) -> list[T]:
        """Run both and return what they return. What either raises is raised once both have ended (but for an interrupt
        from outside)."""
        # with the caller's settings of NumPy's warnings
        other = self.helper.submit(contextvars.copy_context().run, second)
        try:
            found = first()
        finally:
            wait([other])
        return [found, other.result()]


class UnlockedGemm:
    """gemm, called as SciPy's Python function for it, which holds Python's lock while it computes; this one lets go of
    it.

    c ← alpha op(a) op(b) + beta c for matrices contiguous by columns, op(a) being aᵀ with ``trans_a``. SciPy offers its
    BLAS to compiled code, as addresses (scipy.linalg.cython_blas). Nothing is checked. One thread alone may use an
    instance.
    """

    def __init__(self, dtype: np.dtype[np.generic]) -> None:
        name, pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
        name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        capsule = cython_blas.__pyx_capi__["sgemm" if dtype == np.float32 else "dgemm"]
        self.gemm = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)(pointer(capsule, name(capsule)))
        self.letters, self.sizes = [ctypes.c_char() for _ in range(2)], [ctypes.c_int() for _ in range(6)]
        self.factors = [(ctypes.c_float if dtype == np.float32 else ctypes.c_double)() for _ in range(2)]
        self.ta, self.tb, self.n, self.m, self.k, self.la, self.lb, self.lc, self.alpha, self.beta = map(
            ctypes.addressof, (*self.letters, *self.sizes, *self.factors))

    def __call__(
        self, alpha: float, a: Array, b: Array, beta: float, c: Array, *, trans_a: bool, trans_b: bool,
        overwrite_c: bool = True
    ) -> Array:
        """c, in place."""
        for letter, turned in zip(self.letters, (trans_a, trans_b), strict=True):
            letter.value = b"T" if turned else b"N"
        for size, value in zip(self.sizes, (*c.shape, a.shape[0 if trans_a else 1], len(a), len(b), len(c)),
                               strict=True):
            size.value = value
        for factor, value in zip(self.factors, (alpha, beta), strict=True):
            factor.value = value
        self.gemm(self.ta, self.tb, self.n, self.m, self.k, self.alpha, a.ctypes.data, self.la, b.ctypes.data, self.lb,
                  self.beta, c.ctypes.data, self.lc)
        return c
