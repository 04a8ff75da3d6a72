"""What statistics take of many examples, many classes and many inputs: what ``reference.benchmarks.bars scale`` runs.

    python -m reference.benchmarks.scale [shards] [classes] [blocks] [--small]

    shards      200 shards of 100 MB, generated as they are read: memory, and time against their number
    classes     2,500, 5,000 and 10,000 classes: time against their number
    blocks      8,000 inputs with A in a file, block by block: memory beside one d × d matrix

Each is measured in a process of its own, with one thread of BLAS; seconds are those of its processor, so that other
work on the machine counts little.
``--small`` shows in half a minute that it runs; its times say little.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.data.batches import passes_over
from npkd.nn.network import perceptron
from npkd.sparsity.blocks import BlockStatistics
from npkd.sparsity.collect import collect_statistics
from reference.benchmarks.bars import ProgressBars
from reference.benchmarks.memory import peak

SIZES: Mapping[str, Mapping[bool, list[tuple[int, ...]]]] = {
    "shards": {False: [(200, 31_888, 784)], True: [(40, 2_000, 200)]},                       # shards, examples, inputs
    "classes": {False: [(m, 20_000, 300) for m in (2_500, 5_000, 10_000)],                   # classes, examples, inputs
                True: [(m, 2_000, 100) for m in (1_000, 2_000, 4_000)]},
    "blocks": {False: [(8_000, 1_000, 2_000, 8)], True: [(4_000, 500, 500, 2)]}}    # inputs, of a block, batch, batches


def shards(count: int, examples: int, inputs: int) -> dict[str, Any]:
    """One pass over generated shards: seconds and peak of memory after a quarter of them and after all."""
    marks: list[tuple[float, int]] = []

    def source() -> Iterator[Array]:
        for k in range(count):
            if k == count // 4:
                marks.append((time.process_time() - begin, peak()))
            yield np.random.default_rng(k).standard_normal((examples, inputs), np.float32)

    network = perceptron([inputs, 300, 100, 10], np.random.default_rng(0))
    with ExitStack() as stack:
        passes = passes_over(source, None, 10, None, stack)
        begin = time.process_time()
        found = collect_statistics(network, network, lambda: (x for x, _ in passes()), network.weight_layers)
    marks.append((time.process_time() - begin, peak()))
    return {"shards": count, "examples": found[0].count, "gigabytes": 4e-9 * found[0].count * inputs,
            "seconds": [seconds for seconds, _ in marks], "peak": [bytes_ for _, bytes_ in marks]}


def classes(count: int, examples: int, inputs: int) -> dict[str, Any]:
    """Statistics of the last layer of a network with so many classes: the fastest of three passes."""
    network = perceptron([inputs, 200, count], np.random.default_rng(0))
    x, seconds = np.random.default_rng(1).standard_normal((examples, inputs), np.float32), []
    for _ in range(3):
        begin = time.process_time()
        found = collect_statistics(network, network, lambda: (x[i:i + 1000] for i in range(0, examples, 1000)),
                                   network.weight_layers)
        seconds.append(time.process_time() - begin)
    return {"classes": count, "examples": found[-1].count, "seconds": min(seconds), "peak": peak()}


def blocks(inputs: int, block: int, examples: int, batches: int) -> dict[str, Any]:
    """A in blocks on the disk: memory before and at its peak."""
    rng, before = np.random.default_rng(0), peak()
    with tempfile.TemporaryDirectory() as folder, BlockStatistics(Path(folder) / "A", inputs, 10, block) as found:
        begin = time.process_time()
        for _ in range(batches):
            h = rng.standard_normal((examples, inputs), np.float32)
            found.add(h, h[:, :10] ** 2)
            del h
        return {"inputs": inputs, "count": found.count, "before": before, "peak": peak(),
                "seconds": time.process_time() - begin, "file": (Path(folder) / "A").stat().st_size}


PARTS: Mapping[str, Callable[..., dict[str, Any]]] = {"shards": shards, "classes": classes, "blocks": blocks}


def measured(names: list[str], small: bool) -> list[dict[str, Any]]:
    """Every size of these parts, each in a process of its own."""
    environment, found = os.environ | {"OPENBLAS_NUM_THREADS": "1"}, []
    for name in names:
        for sizes in SIZES[name][small]:
            out = subprocess.run([sys.executable, "-m", "reference.benchmarks.scale", f"one-{name}", *map(str, sizes)],
                                 check=True, capture_output=True, text=True, env=environment).stdout
            found.append({"part": name, **json.loads(out)})
            print(found[-1], flush=True)
    return found


def judged(bars: ProgressBars, runs: list[dict[str, Any]]) -> None:
    """The bars that the runs are held to."""
    for run in (run for run in runs if run["part"] == "shards"):
        (quarter, all_), (low, high) = run["seconds"], run["peak"]
        what = f"{run['shards']} shards, {run['gigabytes']:.3g} GB, to a quarter of them"
        bars(f"{what}: peak of memory", high / low, 1.05, f"{high / low:.3f}, {high / 2 ** 20:.0f} MB")
        bars(f"{what}: time, from 4 times", abs(all_ / quarter / 4 - 1), 0.1)
    if some := [run for run in runs if run["part"] == "classes"]:
        each = [run["seconds"] / run["classes"] for run in some]
        bars(f"{some[0]['classes']:,} to {some[-1]['classes']:,} classes: time a class, most to least, less 1",
             max(each) / min(each) - 1, 0.3)
    for run in (run for run in runs if run["part"] == "blocks"):
        bars(f"{run['inputs']:,} inputs: peak of memory, to that of one matrix", run["peak"] / (8 * run["inputs"] ** 2),
             1.0, f"{run['peak'] / 2 ** 20:.0f} MB, {run['before'] / 2 ** 20:.0f} MB of them Python with NumPy")


def main() -> int:
    """Measure and judge."""
    if len(sys.argv) > 1 and sys.argv[1].startswith("one-"):
        print(json.dumps(PARTS[sys.argv[1].removeprefix("one-")](*map(int, sys.argv[2:]))))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="shards, classes, blocks; all of them where none is named")
    parser.add_argument("--small", action="store_true")
    options, bars = parser.parse_args(), ProgressBars()
    judged(bars, measured(options.parts or list(PARTS), options.small))
    return int(bars.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
