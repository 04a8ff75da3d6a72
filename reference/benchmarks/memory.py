"""The layer-wise step on a folder of shards, in a process of its own that says how much memory it took: what
``reference.benchmarks.bars memory`` runs.

    python -m reference.benchmarks.memory write FOLDER COPIES         shards with the same examples, so many times
    python -m reference.benchmarks.memory streamed FOLDER FILE        the step on what is read a slice at a time; the
    student is saved
    python -m reference.benchmarks.memory whole FOLDER FILE           the same with all examples in memory, as a
    comparison
    python -m reference.benchmarks.memory compressed FOLDER FILE      all of npkd.compress, with a sample of the same
    size, a short distillation

In the step the network and all sums are float64, so that two students which should be the same can be told from two
that are not.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import npkd
from npkd.data.batches import passes_over
from npkd.data.sampling import survey
from npkd.data.shards import Shards
from npkd.data.stream import learnt_from
from npkd.nn.model import Model, load, save
from npkd.nn.network import perceptron
from npkd.sparsity.layerwise import distil, exactly

WIDTHS, KEPT = [200, 60, 40, 10], [80, 30, 20]
EXAMPLES, SHARDS = 50_000, 5
ROWS = 4_000


def write(folder: str, copies: int) -> None:
    """Shards of examples with a structure that a choice of inputs can see, as bytes; each copy in files of its own."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((30, WIDTHS[0]))
    for k in range(SHARDS):
        x = (
            rng.standard_normal((EXAMPLES // SHARDS, 30)) @ mixing
            + rng.standard_normal((EXAMPLES // SHARDS, WIDTHS[0]))
        )
        for copy in range(copies):
            np.savez(Path(folder) / f"{copy:02}-{k}.npz", x=np.clip(128 + 8 * x, 0, 255).astype(np.uint8))


def step(folder: str, file: str, whole: bool) -> None:
    """Survey and layer-wise step as npkd.compress makes them; prints the peak of this process's memory in bytes."""
    with ExitStack() as stack:
        passes = passes_over(folder, None, WIDTHS[-1], None, stack)
        found = survey(passes, 0.1, 0)
        streamed = learnt_from(passes, found, 1 / 128, ROWS, np.float64)
        held = [np.concatenate(list(streamed()))] if whole else []
        network = perceptron(WIDTHS, np.random.default_rng(1), dtype=np.float64)
        out = distil(network, (lambda: iter(held)) if whole else streamed, exactly(KEPT))
    save(file, Model(out.student))
    print(json.dumps({"peak": peak(), "examples": Shards(folder).examples}))


def compressed(folder: str, file: str) -> None:
    """The whole of npkd.compress; prints as ``step``."""
    out = npkd.compress(perceptron(WIDTHS, np.random.default_rng(1)), folder, "macs=20%",
                        recipe=npkd.Recipe(epochs=1, sample=5_000))
    out.save(file)
    print(json.dumps({"peak": peak(), "examples": Shards(folder).examples, "agreement": out.agreement}))


def peak() -> int:
    """The most memory that this process had resident. Not ``ru_maxrss``: on Linux it remembers the process that started
    this one."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def ten_times() -> list[dict[str, Any]]:
    """The layer-wise step on shards of 50,000 examples and of ten copies of them, streamed; once all in memory as a
    comparison. With the first run, the differences of the students from its own."""
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        def child(*arguments: str) -> str:
            return subprocess.run([sys.executable, "-m", "reference.benchmarks.memory", *arguments], check=True,
                                  capture_output=True, text=True).stdout

        for copies in (1, 10):
            (Path(folder) / str(copies)).mkdir()
            child("write", f"{folder}/{copies}", str(copies))
            for how in ("streamed", "compressed", "whole")[:3 if copies == 1 else 2]:
                said = json.loads(child(how, f"{folder}/{copies}", f"{folder}/{how}-{copies}.npz"))
                found.append({"how": how, "copies": copies, **said})
                print(f"{how}, {said['examples']:,} examples: {said['peak'] / 2 ** 20:.0f} MB", flush=True)
        names = [f"{run['how']} {run['copies']}" for run in found if run["how"] != "compressed"]
        files = {name: Path(folder) / f"{name.replace(' ', '-')}.npz" for name in names}
        found[0]["difference"] = {name: difference(files["streamed 1"], file) for name, file in files.items()}
    return found


def difference(one: Path, other: Path) -> float:
    """Largest difference of the parameters of two stored networks, relative to the largest parameter of the layer; 1
    where shapes differ."""
    a, b = (load(path).network for path in (one, other))
    if a.widths != b.widths or a.layers[0].options != b.layers[0].options:
        return 1.0
    return max(float(np.abs(p - q).max() / max(np.abs(p).max(), 1e-300))
               for x, y in zip(a.layers, b.layers, strict=True) for p, q in zip(x.params, y.params, strict=True))


if __name__ == "__main__":
    what, folder, more = sys.argv[1:]
    if what == "write":
        write(folder, int(more))
    elif what == "compressed":
        compressed(folder, more)
    else:
        step(folder, more, whole=what == "whole")
