"""Runs over several processes, or the workers of a Dask cluster: the same numbers however many there are.

joblib hands the runs out. Each takes one core, wherever it runs, so that its sums have one order.
"""

from __future__ import annotations

import importlib
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from npkd.core.blas_threads import one_core
from npkd.core.validation import InputError, one_of

BACKENDS = ("loky", "dask")

Spread = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]
"""``spread(work, todo)``: what ``work`` returns of each thing to do, in the order in which they are done."""


@dataclass(frozen=True)
class Workers:
    """What runs are spread over.

    count      runs at the same time, one in this process;   backend  "loky": processes;   "dask": a cluster's workers
    scheduler  address of the cluster; None: the one that Dask is configured with, else one of ``count`` processes
    """

    count: int = 1
    backend: str = "loky"
    scheduler: str | None = None

    def __post_init__(self) -> None:
        one_of("workers", "backend", self.backend, BACKENDS)

    @property
    def here(self) -> bool:
        """Whether runs are done in this process."""
        return self.count == 1 and self.backend == "loky"


def bounded(work: Callable[[Any], Any], item: Any) -> Any:
    """``work(item)`` on one core and without warnings of floating point."""
    with one_core, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return work(item)


def begin_process(parent: int) -> None:
    """Called first in a process of loky: interrupts are the parent's, and without it the process ends, also where it
    was killed, so that no run goes on beside those of ``--resume``."""
    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=follow, daemon=True).start()


def dask_client(workers: Workers) -> Any:
    """A client of the cluster. Raises InputError where Dask is not installed or the scheduler does not answer."""
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError as error:
        raise InputError(f"workers: the backend dask needs distributed, which cannot be imported ({error}); to install "
                         f"it: pip install 'npkd[dask]'") from error
    own = {} if workers.scheduler else {
        "n_workers": workers.count, "threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": 50}
    try:
        return distributed.Client(workers.scheduler, **own)
    except (OSError, ValueError) as error:
        raise InputError(f"workers: the scheduler {workers.scheduler or 'of Dask'} cannot be reached "
                         f"({str(error) or type(error).__name__:.80}); start one with: dask scheduler") from error


@contextmanager
def pool(workers: Workers) -> Iterator[Spread]:
    """What spreads runs while the block lasts. When it ends early, runs that are not done are stopped; those that the
    workers of a cluster have begun end there."""
    if workers.here:
        yield lambda work, todo: (bounded(work, item) for item in todo)
        return
    import joblib

    def close(results: Iterator[Any]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)                              # it tells of runs that are left
            results.close()                                   # type: ignore[attr-defined]  # a generator of joblib's

    options: dict[str, Any] = {"backend": "loky", "n_jobs": workers.count, "inner_max_num_threads": 1,
                               "initializer": begin_process, "initargs": (os.getpid(),)}
    with ExitStack() as stack:
        if workers.backend == "dask":
            options = {"backend": "dask", "n_jobs": -1, "client": stack.enter_context(dask_client(workers))}

        def spread(work: Callable[[Any], Any], todo: Sequence[Any]) -> Iterator[Any]:
            with joblib.parallel_config(**options):
                parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1)
            results: Iterator[Any] = parallel(joblib.delayed(bounded)(work, item) for item in todo)
            stack.callback(close, results)
            return results

        yield spread
