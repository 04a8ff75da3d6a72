"""Work on the parts of a data set by the workers of a dask.distributed client.

A task is a function of its part alone, and results are added in a tree whose form goes by the number of parts: a task
that is lost with its worker is done again and stands in the place of the lost one, so a part counts once, and which
worker does what changes no bit of the sum."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import starmap
from typing import Any

from npkd.core.blas_threads import single_thread
from npkd.core.validation import InputError

RETRIES = 3
"""How often a task that fails, as a file that cannot be read for a moment, is done again before its error is raised."""


def results(client: Any, job: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """job(*each) for each of ``arguments``, in their order. Iterators that a worker makes come as lists. Without a
    client the work is done here, one after another. Raises InputError as ``job`` does, and where workers fail."""
    if client is None:
        yield from starmap(job, arguments)
        return
    with reported():
        waiting = deque(submitted(client, job, arguments))
        while waiting:
            yield waiting.popleft().result()


def summed(client: Any, job: Callable[..., Any], arguments: Iterable[tuple[Any, ...]],
           add: Callable[[Any, Any], Any]) -> Any:
    """The sum of job(*each), neighbours first, by the workers: of P parts P − 1 times at most a sum moves from one
    worker to another, and one comes here. Raises as ``results``."""
    with reported():
        level, depth = submitted(client, job, arguments), 0
        while len(level) > 1:
            depth += 1                                        # sums before parts: few results wait in memory
            level = [client.submit(add, *level[i:i + 2], pure=False, retries=RETRIES, priority=depth)
                     if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
        return level[0].result()


def submitted(client: Any, job: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Futures of job(*each). The job is itself the result of a task, so that no death of a worker loses it."""
    held = client.submit(unchanged, job, pure=False)
    return [client.submit(done, held, each, pure=False, retries=RETRIES) for each in arguments]


def unchanged(job: Callable[..., Any]) -> Callable[..., Any]:
    """The job."""
    return job


def done(job: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """What a worker does: the job, its BLAS on one thread, so that results do not go by the threads of a worker."""
    with single_thread:
        result = job(*arguments)
        return list(result) if isinstance(result, Iterator) else result


@contextmanager
def reported() -> Iterator[None]:
    """Failures of the cluster as an InputError, and no warning of dask's that a network is large."""
    dask, distributed = map(importlib.import_module, ("dask", "distributed"))
    lost = (distributed.client.CancelledError, distributed.comm.CommClosedError, OSError, ModuleNotFoundError)
    try:
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PB"}):
            yield
    except distributed.KilledWorker as error:
        raise InputError("cluster: all workers that got the same shards died, "
                         f"{error.allowed_failures + 1} in all; see their logs, give each more memory, or make smaller "
                         "shards") from error
    except lost as error:
        raise InputError(f"cluster: {error!s:.200}; the scheduler must go on running, and every worker needs npkd and "
                         "what the network is made of") from error
