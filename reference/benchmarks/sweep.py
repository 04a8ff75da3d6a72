"""A sweep of 40 runs on one and two processes and on a Dask cluster: the same bytes; and killed, it repeats nothing.

    python -m reference.benchmarks.sweep [--seeds 0-39] [--json FILE]      needs pip install 'npkd[dask]'

Each run is ``npkd compress`` on the embedded digits with few epochs. The cluster is a scheduler and two worker
processes. Compared are networks, pictures, and JSON without seconds. The fourth sweep is killed (SIGKILL) when a third
of its runs are done, and goes on with ``--resume``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import npkd
from npkd.cli.parser import seeds as read_seeds
from npkd.cli.sweep import done

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(npkd.__file__).parents[1])}
RUN = ("compress", "--hidden", "60,30", "--epochs", "3", "--quiet")


def started(*words: str, **more: Any) -> subprocess.Popen[bytes]:
    """A process of this Python."""
    return subprocess.Popen([sys.executable, "-m", *words], env=ENVIRONMENT, **more)


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """The address of a scheduler with two worker processes."""
    file = folder / "scheduler.json"
    words = [["scheduler", "--port", "0", "--no-dashboard"], *[["worker", "--nthreads", "1", "--no-dashboard"]] * 2]
    processes = [started("dask", *one, "--scheduler-file", str(file), cwd=folder, stderr=subprocess.DEVNULL)
                 for one in words]
    try:
        while not file.is_file():
            time.sleep(0.05)
        yield str(json.loads(file.read_text())["address"])
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait()


def content(folder: Path) -> dict[str, bytes]:
    """Every file by name; of text what is written without seconds."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    for name in found:
        if name.endswith((".json", ".jsonl")):
            found[name] = re.sub(rb'"seconds": (\{[^}]*\}|[\d.]+)', b"", found[name])
    return {name: data for name, data in found.items() if not name.endswith(".html")}


def swept(out: Path, seeds: str, *more: str) -> float:
    """Seconds of a sweep."""
    began = time.perf_counter()
    if started("npkd", *RUN, "--seeds", seeds, "--out", str(out), *more, stdout=subprocess.DEVNULL).wait():
        raise SystemExit(f"the sweep of {out.name} failed")
    return time.perf_counter() - began


def killed(out: Path, seeds: str, numbers: Sequence[int]) -> tuple[int, int]:
    """Kill a sweep and go on with it: how many runs were done, and how many of those were done again."""
    process = started("npkd", *RUN, "--seeds", seeds, "--out", str(out))
    while sum(done(out / f"seed-{seed}") for seed in numbers) < len(numbers) // 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(2)                                                        # its workers see it within a fraction of that
    before = {path: path.stat().st_mtime_ns for seed in numbers if done(out / f"seed-{seed}")
              for path in [out / f"seed-{seed}/summary.json"]}
    swept(out, seeds, "--resume")
    return len(before), sum(path.stat().st_mtime_ns != when for path, when in before.items())


def main() -> int:
    """Run, print, and return 0 where everything is equal and nothing repeated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0-39")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    numbers = read_seeds(options.seeds)
    with tempfile.TemporaryDirectory() as beside:
        folder = Path(beside)
        seconds = {f"loky, {count}": swept(folder / f"loky, {count}", options.seeds, "--workers", str(count))
                   for count in (1, 2)}
        with cluster(folder) as address:
            seconds["dask, 2"] = swept(folder / "dask, 2", options.seeds, "--backend", "dask", "--scheduler", address)
        finished, again = killed(folder / "killed", options.seeds, numbers)
        first, *others = [content(folder / name) for name in (*seconds, "killed")]
        equal = [one == first for one in others]
    found = {"command": f"python -m reference.benchmarks.sweep --seeds {options.seeds}", "npkd": npkd.__version__,
             "runs": len(numbers), "files": len(first), "seconds": {name: round(s, 1) for name, s in seconds.items()},
             "equal": all(equal), "finished_before_the_kill": finished, "repeated": again}
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(not all(equal) or again > 0)


if __name__ == "__main__":
    sys.exit(main())
