"""Workers of a cluster killed in the middle of passes for statistics: what ``reference.benchmarks.bars kills`` runs.

Needs the extra ``dask``. Two worker processes on this machine; in each of 20 passes one of them, drawn at random, gets
SIGKILL at a random moment; afterwards another is started in its place.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from npkd.core.progress import tracked
from npkd.core.types import Array
from npkd.data.batches import passes_over
from npkd.data.sampling import survey
from npkd.data.shards import Shards
from npkd.data.stream import Stream
from npkd.nn.network import Network, perceptron
from npkd.sparsity.collect import collect_statistics
from npkd.sparsity.statistics import Statistics
from reference.benchmarks.bars import ProgressBars

WIDTHS, SHARDS, EXAMPLES, SECONDS = [40, 30, 20, 5], 16, 200, 0.05
"""Of the network; files, examples in each, and how long a worker rests over each, so that a pass takes a while."""


def write(folder: Path) -> None:
    """Shards of SHARDS files, no two with as many examples."""
    rng = np.random.default_rng(0)
    for k in range(SHARDS):
        np.savez(folder / f"{k:02}.npz", x=rng.standard_normal((EXAMPLES + k, WIDTHS[0])).astype(np.float32))


def slowly(x: Array) -> Array:
    """x, after a while."""
    time.sleep(SECONDS)
    return x


def network() -> Network:
    """A teacher of float64, so that what is added in another order can be told from what is counted twice."""
    return perceptron(WIDTHS, np.random.default_rng(1), dtype=np.float64)


def stream_of(folder: Path, client: Any) -> Stream:
    """Passes over the shards, surveyed."""
    with ExitStack() as stack:
        passes = passes_over(Shards(folder, client=client).changed(slowly), None, WIDTHS[-1], None, stack)
    return Stream(passes, survey(passes, 0.1, 0), 1.0, 500, (to_double,))


def to_double(x: Array) -> Array:
    """x in float64."""
    return x.astype(np.float64)


def gathered(stream: Stream) -> list[Statistics]:
    """The statistics of all layers."""
    return collect_statistics(network(), network(), stream, network().weight_layers)


def differences(one: list[Statistics], other: list[Statistics]) -> tuple[bool, float]:
    """Are two results the same bits? And their largest difference, relative to the largest number of its kind."""
    pairs = [(np.asarray(getattr(a, name)), np.asarray(getattr(b, name))) for a, b in zip(one, other, strict=True)
             for name in ("count", "mean_h", "mean_z", "A", "C", "t")]
    return (all(a.tobytes() == b.tobytes() for a, b in pairs),
            max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs))


@contextmanager
def cluster(count: int = 2) -> Iterator[tuple[Any, list[subprocess.Popen[bytes]]]]:
    """A client of a scheduler in this process, and as many workers of one thread, processes that nobody restarts."""
    from distributed import Client, LocalCluster

    with (LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=50) as scheduler,
          Client(scheduler) as client):
        workers = [started(client) for _ in range(count)]
        try:
            client.wait_for_workers(count, timeout=120)
            yield client, workers
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()


def started(client: Any) -> subprocess.Popen[bytes]:
    """One more worker."""
    return subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_worker", client.scheduler.address,
                             "--nthreads", "1", "--no-nanny", "--no-dashboard"], stderr=subprocess.DEVNULL)


def disturbed(client: Any, workers: list[subprocess.Popen[bytes]], folder: Path, kills: int) -> list[dict[str, Any]]:
    """A pass without a kill, then ``kills`` with one each, and what a pass in this process gives: of each whether the
    bits are those of the first, the largest difference from it, the examples counted, and the moment of the kill."""
    rng, stream = np.random.default_rng(2), stream_of(folder, client)
    begin = time.perf_counter()
    first = gathered(stream)
    seconds, found = time.perf_counter() - begin, list[dict[str, Any]]()
    for _ in tracked(range(kills), "passes with a kill", kills, str):
        victim, moment = int(rng.integers(len(workers))), float(rng.uniform(0.05, 0.9) * seconds)
        killer = threading.Timer(moment, workers[victim].kill)
        killer.start()
        result = gathered(stream)
        in_time = killer.finished.is_set()
        killer.join()
        workers[victim].wait()
        workers[victim] = started(client)
        client.wait_for_workers(len(workers), timeout=120)
        same, apart = differences(first, result)
        found.append({"same": same, "apart": apart, "count": result[0].count, "moment": moment / seconds,
                      "in_time": in_time})
    here = gathered(stream_of(folder, None))
    same, apart = differences(first, here)
    return [*found, {"same": same, "apart": apart, "count": here[0].count, "moment": None, "in_time": False}]


def twenty_times(kills: int = 20) -> list[dict[str, Any]]:
    """``disturbed`` on a cluster of two worker processes."""
    with tempfile.TemporaryDirectory() as folder, cluster() as (client, workers):
        write(Path(folder))
        return disturbed(client, workers, Path(folder), kills)


def judged(bars: ProgressBars, runs: Sequence[dict[str, Any]]) -> None:
    """The bars that the passes are held to."""
    *killed, here = runs
    bars(f"kills that came when the pass was over, of {len(killed)}", sum(not run["in_time"] for run in killed), 0)
    bars("results whose bits are not those of the undisturbed pass", sum(not run["same"] for run in killed), 0)
    bars("results that count another number of examples", sum(run["count"] != here["count"] for run in killed), 0)
    bars("largest relative difference from a pass in one process", here["apart"], 1e-10)
