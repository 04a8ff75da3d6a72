"""The number of threads that BLAS uses: one, where products are too small to share.

OpenBLAS shares out all products but the smallest, and its threads wait for one another: beside other processes until
the other thread gets a core again, milliseconds in place of microseconds (docs/book/6-training.md). The number of
threads is the whole process's; whoever sets OPENBLAS_NUM_THREADS is obeyed."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

SHARED = 4_000_000
"""Multiply-accumulates of a product from which on BLAS may share it among its threads."""
FACTORED = 1000
"""Order of a matrix from which on BLAS may share its factorisation: threads meet there once for every few columns."""
MODULES = ("numpy._core._multiarray_umath", "scipy.linalg.cython_blas")
"""Modules that are linked to NumPy's BLAS and to SciPy's."""

Library = tuple[Callable[[], int], Callable[[int], Any]]


@cache
def libraries() -> list[Library]:
    """(get, set) of the threads of each BLAS: by threadpoolctl where it is installed, else of each OpenBLAS."""
    for module in MODULES:
        importlib.import_module(module)
    try:
        controller = importlib.import_module("threadpoolctl").ThreadpoolController().select(user_api="blas")
        return [(each.get_num_threads, each.set_num_threads) for each in controller.lib_controllers]
    except (ImportError, AttributeError):
        return openblas()


def openblas() -> list[Library]:
    """(get, set) for NumPy's BLAS and for SciPy's, as far as each is an OpenBLAS."""
    names = [f"{first}openblas_{{}}_num_threads{last}" for first in ("scipy_", "") for last in ("", "64_")]
    pairs: list[Library] = []
    for module in MODULES:
        with contextlib.suppress(OSError):
            library = ctypes.CDLL(str(importlib.import_module(module).__file__))    # finds what it links to, too
            pairs += [(library[n.format("get")], library[n.format("set")]) for n in names
                      if hasattr(library, n.format("set"))]
    return pairs


def user_threads() -> int | None:
    """1 within ``one_core``; else ``environment_threads``."""
    return 1 if one_core.inside else environment_threads()


@cache
def environment_threads() -> int | None:
    """OPENBLAS_NUM_THREADS, which OpenBLAS reads once, when it is loaded; None where it is no positive number."""
    text = os.environ.get("OPENBLAS_NUM_THREADS", "")
    return int(text) if text.isdigit() and int(text) else None


class SingleThread:
    """Within ``with single_thread:`` every BLAS uses one thread. The first to enter, in whatever thread of the process,
    notes the numbers; the last to leave sets them back."""

    def __init__(self) -> None:
        self.lock, self.inside, self.before = threading.Lock(), 0, list[int]()

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.before = [get() for get, _ in libraries()]
                for _, put in libraries():
                    put(1)

    def __exit__(self, *raised: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                for (_, put), count in zip(libraries(), self.before, strict=True):
                    put(count)


single_thread, one_core = SingleThread(), SingleThread()
"""``with one_core:`` is for whole runs: as if OPENBLAS_NUM_THREADS were 1, large products and training included."""


def threads_for(macs: float = 0, *, order: int = 0) -> AbstractContextManager[None]:
    """Context for products of ``macs`` multiply-accumulates and for factorising matrices of this ``order``: one thread,
    unless either is worth sharing or the user chose the number."""
    return nullcontext() if macs >= SHARED or order >= FACTORED or user_threads() else single_thread
