"""Train steps and inference of this tree and of commit 7ac698c, side by side in one run.

    python -m reference.benchmarks.steps [--rounds 15] [--only TEXT] [--threads N]

For every case a process of either tree computes in turn, round by round, on two cores; what is printed is the median
time and the median over rounds of (this tree / 7ac698c). A step is a part of an epoch of ``npkd.nn.training.train``
with momentum SGD in float32, batches drawn and gathered as always; inference is ``predict``. The number of BLAS threads
is left to the trees, two at most, unless ``--threads`` sets it. Exit code 1 where a ratio is above 1.05. PyTorch's and
JAX's ratios are printed by ``python -m reference.peers.train_step``, which this command runs where both are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from reference.benchmarks.baseline import ROOT, environment, extract, two_cores
from reference.benchmarks.steps_worker import CASES


def measure(process: subprocess.Popen[str], name: str) -> float:
    """The answer of a worker."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(name) + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        sys.exit(f"steps: the worker for {name!r} ended; its traceback stands above")
    return float(answer)


def compare(names: list[str], rounds: int, threads: int | None) -> list[float]:
    """Print one line a case; the ratios."""
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        trees = (ROOT, extract(Path(folder)))
        command = [sys.executable, "-P", str(Path(__file__).with_name("steps_worker.py"))]
        for name in names:
            now, then = (subprocess.Popen(command, env=environment(tree, threads), text=True, stdin=subprocess.PIPE,
                                          stdout=subprocess.PIPE) for tree in trees)
            times = list[tuple[float, float]]()
            for k in range(rounds + 1):                              # the first one warms up; who is first alternates
                pair = [measure(process, name) for process in ((now, then) if k % 2 else (then, now))]
                times.append((pair[0], pair[1]) if k % 2 else (pair[1], pair[0]))
            for process in (now, then):
                process.communicate()
            ratios.append(statistics.median(a / b for a, b in times[1:]))
            a, b = (statistics.median(side) * 1e6 for side in zip(*times[1:], strict=True))
            print(f"{name:44s} {a:10.1f} µs, before {b:10.1f} µs, ratio {ratios[-1]:.3f}", flush=True)
    return ratios


def main() -> int:
    """Print the table; 1 where a ratio is above 1.05."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="the cases whose names hold this text")
    parser.add_argument("--threads", type=int, help="BLAS threads of both; else as many as each tree chooses")
    options = parser.parse_args()
    two_cores()
    ratios = compare([name for name in CASES if options.only in name], options.rounds, options.threads)
    if all(importlib.util.find_spec(name) for name in ("torch", "jax")):
        subprocess.run([sys.executable, "-m", "reference.peers.train_step"], cwd=ROOT, check=False)
    else:
        print("PyTorch and JAX are not both installed: their ratios are left out")
    return int(max(ratios) > 1.05)


if __name__ == "__main__":
    sys.exit(main())
