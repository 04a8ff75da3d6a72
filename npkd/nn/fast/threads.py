"""What a network of maps needs to run on two cores: a second thread, and a BLAS that leaves the cores to both.

NumPy lets go of Python's lock while it computes, so two threads compute at the same time; but each call has to get the
lock back, and a thread that waits for it sleeps. Calls have to be few and long: ``np.matmul`` computes a whole stack of
small products in one. And a BLAS that shares out a product among threads of its own lets them spin for a while when
they have nothing left to do, on the core that the second thread of ours is for: while two of ours compute, it is told
to use one.
"""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import importlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any, TypeVar

import numpy as np
from scipy.linalg import cython_blas

from npkd.core.types import Array

T = TypeVar("T")


@cache
def pools() -> list[tuple[Any, Any]]:
    """(get, set) of the number of threads, for NumPy's BLAS and for SciPy's, as far as each is an OpenBLAS."""
    found = []
    for module in ("numpy._core._multiarray_umath", "scipy.linalg.cython_blas"):
        with contextlib.suppress(OSError):
            # which asks the libraries that it was linked with, too
            library = ctypes.CDLL(str(importlib.import_module(module).__file__))
            names = (f"{first}openblas_{{}}_num_threads{last}" for first in ("scipy_", "") for last in ("", "64_"))
            found += [(library[n.format("get")], library[n.format("set")]) for n in names
                      if hasattr(library, n.format("set"))]
    return found


def threads() -> int:
    """2, or 1 where the process may use one core alone, OPENBLAS_NUM_THREADS says so, or a BLAS cannot be told to use
    one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    said = os.environ.get("OPENBLAS_NUM_THREADS", "")
    return min(2, cores, int(said) if said.isdigit() and int(said) else cores, max(1, len(pools())))


class Quiet:
    """``with quiet:`` is the time in which no BLAS uses more than one thread. The numbers of threads are those of the
    whole process: whoever is first to want quiet, in whatever thread, notes them, and whoever is last to leave sets
    them back.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.before = threading.Lock(), 0, list[int]()

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.before = [get() for get, _ in pools()]
                for _, put in pools():
                    put(1)

    def __exit__(self, *raised: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                for (_, put), count in zip(pools(), self.before, strict=True):
                    put(count)


quiet = Quiet()


class Pair:
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


class Unlocked:
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
