"""What the steps for maps need to run on two cores: products that let go of Python's lock, and a second thread.

SciPy's Python functions for BLAS hold the lock of the interpreter while they compute, so two threads that call them take turns. SciPy
offers the very same routines to compiled code, as addresses (scipy.linalg.cython_blas). Called through ctypes they run without the lock,
and with a leading dimension of one's own, that is, on parts of a matrix in place. Products as small as those of the maps OpenBLAS computes
on the core that asked for them.
"""

from __future__ import annotations

import contextvars
import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.linalg import cython_blas


def address_of(routine: str) -> int:
    """The address of a routine of SciPy's BLAS."""
    name, pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsule = cython_blas.__pyx_capi__[routine]
    return int(pointer(capsule, name(capsule)))


class Product:
    """out ← out + a b for matrices of one shape, wherever they stand.

    shape     (n, k, m): out (n, m), a (n, k), b (k, m); float32 or float64
    lines     for a, b and out, how many numbers from one row in memory to the next; a row itself is contiguous
    turned    whether a, and whether b, stands transposed in memory: as (k, n), as (m, k)

    Called with the addresses of a, b and out. Nothing is checked: the caller keeps the arrays that they point into.
    """

    def __init__(
        self, dtype: np.dtype[np.generic], shape: tuple[int, int, int], lines: tuple[int, int, int],
        turned: tuple[bool, bool] = (False, False),
    ) -> None:
        self.gemm = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)(address_of("sgemm" if dtype == np.float32 else "dgemm"))
        one = (ctypes.c_float if dtype == np.float32 else ctypes.c_double)(1)
        letters = [ctypes.c_char(b"T" if t else b"N") for t in turned]
        self.held = (*letters, *(ctypes.c_int(v) for v in (*shape, *lines)), one)      # what the addresses below point to
        self.ta, self.tb, self.n, self.k, self.m, self.la, self.lb, self.lo, self.one = map(ctypes.addressof, self.held)

    def __call__(self, a: int, b: int, out: int) -> None:
        """outᵀ ← outᵀ + bᵀ aᵀ: BLAS counts columns first, and sees what lies in rows for us transposed."""
        self.gemm(self.tb, self.ta, self.m, self.n, self.k, self.one, b, self.lb, a, self.la, self.one, out, self.lo)


def threads() -> int:
    """2, or 1 where the process may use one core alone or OPENBLAS_NUM_THREADS says so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    said = os.environ.get("OPENBLAS_NUM_THREADS", "")
    return min(2, cores, int(said) if said.isdigit() and int(said) else cores)


class Pair:
    """Two jobs at the same time, where there are two cores and the work is worth it. Every job writes memory of its own, and what a job
    does is the same on one core and on two, so the results are the same numbers.
    """

    def __init__(self) -> None:
        self.helper = ThreadPoolExecutor(1) if threads() > 1 else None

    def both(self, first: Callable[[], None], second: Callable[[], None], worth: bool = True) -> None:
        """Run both."""
        if self.helper is None or not worth:
            first()
            second()
            return
        other = self.helper.submit(contextvars.copy_context().run, second)      # with the caller's settings of NumPy's warnings
        try:
            first()
        finally:
            other.result()

    def halves(self, work: Callable[[range], None], count: int, worth: bool = True) -> None:
        """``work`` for the first half of 0 … count − 1 and for the second."""
        self.both(lambda: work(range(count // 2)), lambda: work(range(count // 2, count)), worth)
