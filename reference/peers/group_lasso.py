"""The layer-wise problem, side by side with scikit-learn and skglm: a whole path of three layers against one λ of one
layer.

    python -m reference.peers.group_lasso [--check] [--json FILE]

The teacher is 784-300-100-10, trained for a few epochs on the 60,000 training examples of MNIST; that is not timed.
npkd gathers the statistics of all three layers, with the forward passes that takes, and solves each for 100 values of
λ, λ_max … λ_max/1000, to a relative gap of 1e-6. scikit-learn's MultiTaskLasso solves the second layer, 300 inputs and
100 targets, for λ_max/100 to 1e-3; skglm's, where it is installed, the same. Their gaps are measured on the raw data,
relative to the objective at W = 0.

Then, on 2,000 examples, both are solved far below 1e-6, and must keep the same neurons. Each library runs in a process
of its own, 2 threads. Needs the extra ``peers`` and MNIST (NPKD_DATA).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import npkd
from npkd.core.linalg import product
from npkd.core.types import Array
from npkd.data.idx import read_set
from npkd.nn.fast.workspace import Workspace
from npkd.nn.network import Network, perceptron
from npkd.nn.training import TrainingSettings, train
from npkd.sparsity.group_lasso import Problem, lambdas
from npkd.sparsity.statistics import Statistics

THREADS = 2
BAR = 0.1
"""Largest ratio of npkd's time for everything to scikit-learn's for one λ."""

WIDTHS = [784, 300, 100, 10]
ROWS = 4000
"""Examples of a batch."""

COUNT, RATIO, GAP, THEIR_GAP, FRACTION = 100, 1e-3, 1e-6, 1e-3, 1e-2
"""Of the path: its values, its end, its gap; of the peers: their gap, and λ/λ_max."""

FEW, FRACTIONS = 2000, (0.5, 0.2, 0.1, 0.05, 0.02)
"""Of the comparison of supports: examples, and λ/λ_max."""


def teacher() -> tuple[Array, Network]:
    """The training examples (60000, 784) float32 in 0 … 1, and a network trained on them for three epochs, seed 0."""
    pixels, y = read_set("mnist")[:2]
    x = pixels.reshape(len(pixels), -1) / np.float32(255)
    start, rng = perceptron(WIDTHS, np.random.default_rng(0)), np.random.default_rng(0)
    *_, last = train(start, {"x": x, "y": y.astype(np.int64)}, settings=TrainingSettings(epochs=3), rng=rng)
    return x, last.network


def second_layer() -> tuple[Array, Array]:
    """What the second layer reads (60000, 300), and what it gives (60000, 100), float64."""
    x, network = teacher()
    activations, _ = network(x)
    i = network.dense_layers[1]
    return activations[i].astype(np.float64), activations[i + 1].astype(np.float64)


def largest(h: Array, z: Array) -> float:
    """λ_max of raw data, all costs 1."""
    return float(np.linalg.norm(product((h - h.mean(axis=0)).T, z - z.mean(axis=0)), axis=1).max()) / len(h)


def gap_of(h: Array, z: Array, w: Array, lam: float) -> float:
    """Relative duality gap of weights w (m, d), from raw data: h (N, d), z (N, m); chapter 8."""
    h, z = h - h.mean(axis=0), z - z.mean(axis=0)
    r = z - product(h, w.T)
    bound = lam / (np.linalg.norm(product(h.T, r), axis=1).max() / len(h))
    r2, ry, t = (float(np.einsum("ij,ij->", a, b)) / len(h) for a, b in ((r, r), (r, z), (z, z)))
    s = float(np.clip(ry / r2, -bound, bound))
    return (r2 / 2 + lam * float(np.linalg.norm(w, axis=0).sum()) - (s * ry - s * s * r2 / 2)) / (t / 2)


def sklearn_weights(h: Array, z: Array, lam: float, gap: float) -> tuple[Array, float]:
    """Weights (m, d) of MultiTaskLasso, and the seconds it took. Its tolerance is the gap over ‖Z‖²: half of ours."""
    lasso = importlib.import_module("sklearn.linear_model").MultiTaskLasso(alpha=lam, tol=gap / 2, max_iter=1_000_000)
    start = time.perf_counter()
    w = lasso.fit(h, z).coef_
    return np.asarray(w), time.perf_counter() - start


def skglm_weights(h: Array, z: Array, lam: float, gap: float) -> tuple[Array, float]:
    """The same with skglm, on centred data. It stops by the optimality conditions: they grow stricter until the gap
    suffices."""
    lasso = importlib.import_module("skglm").MultiTaskLasso(alpha=lam, fit_intercept=False, warm_start=True)
    hc, zc = (np.asfortranarray(a - a.mean(axis=0)) for a in (h, z))
    w, seconds = np.zeros((z.shape[1], h.shape[1])), 0.0
    for lasso.tol in lam * 10.0 ** -np.arange(1, 7, 0.5):
        start = time.perf_counter()
        w = lasso.fit(hc, zc).coef_
        seconds += time.perf_counter() - start
        if gap_of(h, z, w, lam) <= gap:
            break
    return np.asarray(w), seconds


def npkd_run() -> dict[str, Any]:
    """Seconds of the pass over the data and of each path; the largest gap of each, and the neurons at its end."""
    x, network = teacher()
    start = time.perf_counter()
    space, held = Workspace(network, ROWS), list[Statistics]()
    for first in range(0, len(x), ROWS):
        with space.blas:
            a = space.forward(x[first:first + ROWS])
        parts = [Statistics.of(a[i], a[i + 1]) for i in network.dense_layers]
        held = parts if first == 0 else [one + other for one, other in zip(held, parts, strict=True)]
    out: dict[str, Any] = {"data": time.perf_counter() - start, "paths": [], "gaps": [], "kept": [], "steps": []}
    for statistics in held:
        start = time.perf_counter()
        problem = Problem(statistics)
        path = list(problem.path(lambdas(problem.lambda_max, COUNT, RATIO), tolerance=GAP))
        out["paths"].append(time.perf_counter() - start)
        out["gaps"].append(max(s.gap for s in path))
        out["kept"].append(len(path[-1].kept))
        out["steps"].append(sum(s.iterations for s in path))
    h, z = second_layer()
    problem = Problem(held[1])
    solution = problem.solve(FRACTION * problem.lambda_max)
    return {**out, "raw_gap": gap_of(h, z, solution.w, solution.lam), "one": len(solution.kept)}


def peer_run(library: str) -> dict[str, Any]:
    """Seconds of one solution of the second layer by a peer, its gap, and the neurons it keeps."""
    h, z = second_layer()
    lam, weights = FRACTION * largest(h, z), {"sklearn": sklearn_weights, "skglm": skglm_weights}[library]
    weights(h[:FEW], z[:FEW], 10 * lam, 0.1)                      # what is compiled on first use is not timed
    w, seconds = weights(h, z, lam, THEIR_GAP)
    return {"seconds": seconds, "gap": gap_of(h, z, w, lam), "kept": int(w.any(axis=0).sum())}


def supports() -> list[dict[str, Any]]:
    """The neurons that npkd and scikit-learn keep, on few examples: their number, whether they are the same, and both
    gaps."""
    h, z = (a[:FEW] for a in second_layer())
    problem, rows = Problem(Statistics.of(h, z)), []
    for fraction in FRACTIONS:
        lam = fraction * problem.lambda_max
        ours, theirs = problem.solve(lam, tolerance=1e-3 * GAP).w, sklearn_weights(h, z, lam, 1e-3 * GAP)[0]
        rows.append({"fraction": fraction, "kept": int(ours.any(axis=0).sum()), "gap": gap_of(h, z, ours, lam),
                     "their_gap": gap_of(h, z, theirs, lam),
                     "same": np.array_equal(ours.any(axis=0), theirs.any(axis=0))})
    return rows


def run(part: str) -> Any:
    """A part in a process of its own."""
    threads = {name: str(THREADS)
               for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
    command = [sys.executable, "-m", "reference.peers.group_lasso", "--child", part]
    return json.loads(subprocess.run(command, env={**os.environ, **threads}, check=True, stdout=subprocess.PIPE,
                                     text=True).stdout)


def told(found: dict[str, Any]) -> list[str]:
    """The lines of the comparison, from what ``--json`` keeps."""
    ours, total = found["npkd"], found["seconds"]
    lines = [f"{'npkd: statistics of all layers, forward passes included':<60} {ours['data']:8.2f} s"]
    for layer, seconds in enumerate(ours["paths"]):
        words = f"npkd: {WIDTHS[layer]} → {WIDTHS[layer + 1]}, {COUNT} values of λ, {ours['steps'][layer]} Newton steps"
        lines.append(f"{words:<60} {seconds:8.2f} s   gap ≤ {ours['gaps'][layer]:.1e}, {ours['kept'][layer]} kept at "
                     f"the end")
    lines.append(f"{'npkd: all of it':<60} {total:8.2f} s")
    for library, ratio in found["ratios"].items():
        words, result = f"{library}: {WIDTHS[1]} → {WIDTHS[2]}, λ_max · {FRACTION} alone", found[library]
        lines.append(f"{words:<60} {result['seconds']:8.2f} s   gap {result['gap']:.1e}, {result['kept']} kept; npkd "
                     f"takes {ratio:.3f} of it" + (f" (bar {BAR})" if library == "sklearn" else ""))
    lines.append(f"npkd at that λ: {ours['one']} kept, gap on the raw data {ours['raw_gap']:.1e}")
    lines += [f"{FEW} examples, λ_max · {row['fraction']}: {row['kept']} kept, the same: {row['same']}; gaps "
              f"{row['gap']:.0e} (npkd), {row['their_gap']:.0e} (sklearn)" for row in found["supports"]]
    return lines if "skglm" in found else [*lines, "skglm is not installed: not compared"]


def main() -> int:
    """Tables of times, gaps and supports; exit code 1 with --check where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a bar is missed")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        parts = {"npkd": npkd_run, "supports": supports}
        print(json.dumps(parts[options.child]() if options.child in parts else peer_run(options.child)))
        return 0
    peers = ["sklearn"] + ["skglm"] * (importlib.util.find_spec("skglm") is not None)
    ours, theirs, same = run("npkd"), {library: run(library) for library in peers}, run("supports")
    total = ours["data"] + sum(ours["paths"])
    ratios = {library: total / result["seconds"] for library, result in theirs.items()}
    numbers = {"command": "python -m reference.peers.group_lasso", "made_with": npkd.__version__, "threads": THREADS,
               "seconds": total, "ratios": ratios, "npkd": ours, **theirs, "supports": same}
    print("\n".join(told(numbers)))
    missed = [words for words, held in (
        ("time", ratios["sklearn"] <= BAR), ("gaps of npkd", max(*ours["gaps"], ours["raw_gap"]) <= GAP),
        ("gaps of the peers", max(result["gap"] for result in theirs.values()) <= THEIR_GAP),
        ("supports", all(row["same"] for row in same)),
        ("gaps of the supports", max(max(r["gap"], r["their_gap"]) for r in same) <= GAP),
    ) if not held]
    print("missed: " + ", ".join(missed) if missed else "all bars held")
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    return int(options.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
