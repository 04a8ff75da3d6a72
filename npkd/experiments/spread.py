"""Runs over several processes, one thread of linear algebra each: the same numbers however many there are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from npkd.core.progress import tracked

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What the libraries of linear algebra look at when they are loaded, and never again."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Processes that are started here take one thread each; afterwards the environment is what it was."""
    before = {name: os.environ[name] for name in THREADS if name in os.environ}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name in THREADS:
            del os.environ[name]
        os.environ.update(before)


def quiet() -> None:
    """Leave interrupts and warnings of floating point to the parent; called first in every process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore", RuntimeWarning)


def spread(work: Callable[[Any], str], todo: Sequence[Any], jobs: int) -> Iterator[str]:
    """The words that ``work`` returns of each thing to do, in ``jobs`` processes, with bars or lines on stderr."""
    if todo:
        with one_thread(), multiprocessing.get_context("spawn").Pool(min(jobs, len(todo)), quiet) as pool:
            yield from tracked(pool.imap_unordered(work, todo), "runs", len(todo), str)
