"""Are the numbers still those of commit 7ac698c? Runs that commit and this tree and compares the weights they write.

    python -m reference.benchmarks.frozen                       every path
    python -m reference.benchmarks.frozen --only digits error   some of them
    python -m reference.benchmarks.frozen --keep FOLDER         what the old tree writes is kept there and used again
    python -m reference.benchmarks.frozen --changed "residual: noise instead of mixup"      is allowed to differ

The old tree is extracted with ``git archive``. Both run at the same time, in processes of their own, with one BLAS
thread each. Arrays are compared byte for byte, and so are the ops and the options of the layers. One line a path; exit
code 1 unless every path is equal or is named in ``--changed`` with a reason. Results in ``--keep`` hold for one machine
and one version of NumPy.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

COMMIT = "7ac698c"
ROOT = Path(__file__).resolve().parents[2]

COMMANDS = {
    "digits": ["compress"],
    "error": ["compress", "--target", "error=+0.5", "--epochs", "40"],
    "epochs-0": ["compress", "--epochs", "0"],
    "train": ["train", "--dropout", "0.2", "--activation", "tanh", "--epochs", "10"],
    "mnist": ["compress", "--data", "mnist", "--target", "macs=9560", "--epochs", "20"],
    "lenet5": ["compress", "--data", "mnist", "--network", "lenet5", "--target", "macs=93000", "--epochs", "1"],
}
"""Paths of the command line; every .npz that they write is compared."""


def pictures(examples: int, rng: np.random.Generator) -> Any:
    """(N, 36) float32: 6×6 pictures with a bright spot somewhere."""
    x = 0.3 * rng.standard_normal((examples, 6, 6))
    spot = rng.integers(0, 5, (examples, 2))
    for n, (i, j) in enumerate(spot):
        x[n, i:i + 2, j:j + 2] += 2
    return x.reshape(examples, 36).astype(np.float32)


def compressed(teacher: Any, x: Any, target: str, out: Path) -> None:
    """npkd.compress with four epochs, in the signature of the tree at hand."""
    import npkd

    old = "epochs" in inspect.signature(npkd.compress).parameters
    options: dict[str, Any] = {"epochs": 4} if old else {"recipe": npkd.Recipe(epochs=4)}
    npkd.compress(teacher, x, target, **options).save(out / "student.npz")


def residual(out: Path) -> None:
    """x + f(x) between convolutions: the channels of both paths go together."""
    from npkd.nn.architectures import conv_layer
    from npkd.nn.network import Layer, Network, dense_layer

    rng = np.random.default_rng(3)
    network = Network([
        Layer("unflatten", options={"shape": [6, 6, 1]}), conv_layer(1, 12, 3, rng, padding=1), Layer("relu"),
        conv_layer(12, 10, 3, rng, padding=1), Layer("relu"), conv_layer(10, 12, 3, rng, padding=1),
        Layer("add", options={"back": 3}), Layer("relu"), Layer("max_pool", options={"size": 2}), Layer("flatten"),
        dense_layer(9 * 12, 16, rng), Layer("relu"), dense_layer(16, 5, rng)])
    compressed(network, pictures(1500, rng), "macs=30%", out)


def shards(out: Path) -> None:
    """A perceptron of (w, b) on a folder of shards, statistics streamed, less than all in the sample."""
    rng = np.random.default_rng(4)
    sizes = 36, 40, 20, 5
    layers = [(rng.standard_normal((n, m)) * np.sqrt(2 / m), 0.1 * rng.standard_normal(n))
              for m, n in zip(sizes[:-1], sizes[1:], strict=True)]
    folder = out / "x"
    folder.mkdir()
    for k in range(5):
        np.savez(folder / f"{k}.npz", x=pictures(700, rng))
    compressed(layers, folder, "macs=40%", out)


PATHS: dict[str, Callable[[Path], None] | None] = {
    **dict.fromkeys(COMMANDS), "residual": residual, "shards": shards}


def run(name: str, out: Path) -> None:
    """One path in the tree that is imported here (called in a process of its own)."""
    function = PATHS[name]
    if function is not None:
        return function(out)
    words = [*COMMANDS[name], "--seed", "1", "--out", str(out / "run"), "--quiet"]
    code = importlib.import_module("npkd.__main__").main(words)
    if code:
        raise SystemExit(code)


def start(tree: Path, name: str, out: Path) -> subprocess.Popen[str]:
    """The process that runs a path in a tree and writes into ``out``, which is made."""
    out.mkdir(parents=True)
    return subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).resolve()), "--run", name, str(out)], cwd=out, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(tree), "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})


def content(folder: Path) -> dict[str, Any]:
    """Every array below a folder of results, and the layers of every network, by file and name."""
    parts: dict[str, Any] = {}
    for path in sorted(folder.rglob("*.npz")):
        if path.parent.name == "x":
            continue
        with np.load(path) as file:
            for key in file.files:
                if key != "header":
                    parts[f"{path.name} {key}"] = file[key]
            header = json.loads(bytes(file["header"]).decode() if file["header"].dtype == np.uint8
                                else str(file["header"]))
        if "layers" in header:
            parts[f"{path.name} layers"] = [(layer["op"], layer["options"]) for layer in header["layers"]]
    return parts


def compared(old: dict[str, Any], new: dict[str, Any]) -> str:
    """"equal", or what differs most."""
    if not old or old.keys() != new.keys():
        return f"differs: {', '.join(sorted(old.keys() ^ new.keys())[:6]) or 'nothing was written'}"
    worst, where = 0.0, ""
    for key, a in old.items():
        b = new[key]
        if isinstance(a, list):
            if a != b:
                return f"differs: {key}"
        elif a.shape != b.shape or a.dtype != b.dtype:
            return f"differs: {key} is {b.dtype} {b.shape}, was {a.dtype} {a.shape}"
        elif a.tobytes() != b.tobytes():
            apart = float(np.abs(a.astype(np.float64) - b).max() / max(float(np.abs(a).max()), 1e-300))
            if apart >= worst:
                worst, where = apart, key
    return f"differs: {where} by {worst:.1e} of its largest entry" if where else "equal"


def path(name: str, trees: tuple[Path, Path], work: Path, keep: Path | None) -> str:
    """Run one path in both trees and compare."""
    outs, kept = (work / "old" / name, work / "new" / name), keep and keep / name
    jobs = [start(tree, name, out) for tree, out in zip(trees, outs, strict=True) if out != outs[0] or not (
        kept and kept.exists())]
    errors = [job.communicate()[1] for job in jobs]
    if any(job.returncode for job in jobs):
        return "differs: a run failed\n" + "\n".join(errors)
    if kept and not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(outs[0], kept)                              # whole or not at all; others may use the folder
    return compared(content(kept or outs[0]), content(outs[1]))


def main() -> int:
    """Compare the paths asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PATHS, default=list(PATHS), metavar="NAME", help="paths to run")
    parser.add_argument("--keep", type=Path, help="folder that keeps what the old tree writes")
    parser.add_argument("--changed", action="append", default=[], metavar="NAME: REASON", help="may differ, and why")
    parser.add_argument("--run", nargs=2, metavar=("NAME", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run(options.run[0], Path(options.run[1]))
        return 0
    reasons = dict(words.split(": ", 1) for words in options.changed)
    unequal = 0
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / COMMIT
        old.mkdir()
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", COMMIT], check=True, stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", str(old)], input=archive.stdout, check=True)
        for name in options.only:
            begin = time.perf_counter()
            verdict = path(name, (old, ROOT), Path(folder), options.keep and options.keep.resolve())
            if verdict != "equal":
                verdict += f" (changed: {reasons[name]})" if name in reasons else ""
                unequal += name not in reasons
            print(f"{name:9} {verdict} ({time.perf_counter() - begin:.0f} s)", flush=True)
    return int(unequal > 0)


if __name__ == "__main__":
    sys.exit(main())
