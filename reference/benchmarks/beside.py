"""The main job beside other work: its time next to two processes that never rest, over its time alone.

    python -m reference.benchmarks.beside                        npkd compress on the digits, alone and beside them
    python -m reference.benchmarks.beside --before               alone, over 7ac698c with one and with two BLAS threads
    python -m reference.benchmarks.beside --before --data mnist  the same for npkd train --data mnist (784-300-100)

All on two cores, the number of BLAS threads left to npkd; runs take turns, and medians of ``--rounds`` are compared.
Exit code 1 where the ratio is above 3, or with ``--before`` above 1.05. ``--epochs`` shortens a run.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from reference.benchmarks.baseline import ROOT, environment, extract, two_cores

JOBS = {"digits": ["compress"], "mnist": ["train", "--data", "mnist"]}


@contextlib.contextmanager
def busy(count: int = 2) -> Iterator[None]:
    """So many processes that do ``while True: pass``."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def seconds(job: list[str], tree: Path = ROOT, threads: int | None = None) -> float:
    """Wall time of ``npkd`` with these arguments in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-P", "-m", "npkd", *job, "--quiet", "--out", str(Path(folder) / "run")]
        begin = time.perf_counter()
        subprocess.run(command, env=environment(tree, threads), cwd=folder, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begin


def shown(name: str, times: list[float]) -> float:
    """Print the median and all times; return the median."""
    middle = statistics.median(times)
    print(f"{name:40s} {middle:7.1f} s   ({', '.join(f'{t:.1f}' for t in times)})")
    return middle


def beside(job: list[str], rounds: int) -> bool:
    """Is the job beside two busy processes within three times its time alone?"""
    alone, crowded = list[float](), list[float]()
    for _ in range(rounds):
        alone.append(seconds(job))
        with busy():
            crowded.append(seconds(job))
    ratio = 1 / shown("alone", alone) * shown("beside two busy processes", crowded)
    print(f"ratio {ratio:.2f}, at most 3 wanted")
    return ratio <= 3


def before(job: list[str], rounds: int) -> bool:
    """Is the job alone no slower than at the earlier commit with the better of one and two threads?"""
    with tempfile.TemporaryDirectory() as folder:
        old = extract(Path(folder))
        kinds = {"this tree": (ROOT, None), "7ac698c, one thread": (old, 1), "7ac698c, two threads": (old, 2)}
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(rounds):
            for kind, (tree, threads) in kinds.items():
                times[kind].append(seconds(job, tree, threads))
    now, *then = (shown(kind, times[kind]) for kind in kinds)
    print(f"ratio {now / min(then):.2f}, at most 1.05 wanted")
    return now <= 1.05 * min(then)


def main() -> int:
    """Print the times and the ratio; 1 where it is too large."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", action="store_true", help="compare with commit 7ac698c, alone")
    parser.add_argument("--data", choices=list(JOBS), default="digits")
    parser.add_argument("--epochs", type=int, help="shorter runs")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    two_cores()
    job = [*JOBS[options.data], *([] if options.epochs is None else ["--epochs", str(options.epochs)])]
    return int(not (before if options.before else beside)(job, options.rounds))


if __name__ == "__main__":
    sys.exit(main())
