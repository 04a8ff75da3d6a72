"""Does training with a penalty overfit? Training and validation curves on little data, with and without.

    python -m reference.benchmarks.overfitting [--json reference/measured/overfitting.json]       some five minutes
    python -m reference.benchmarks.overfitting --table reference/measured/overfitting.json       the table of chapter 13

784-300-100-10 on 500 and on 1,000 examples of MNIST's training part, for seeds 0 to 4: the seed draws the examples, the
first weights and the order. Momentum at a constant rate, no decay, no dropout, nothing moved: what keeps the network
from overfitting is the penalty (P18) on outgoing columns, inputs and neurons, or nothing. After each epoch loss and
error on the training examples and on VALIDATION others. A run is stopped early where its validation loss is smallest;
the curves go on. λ is the one with the smallest validation loss there, mean over seeds. When all is chosen, the test
part is looked at, once for each network that is reported.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.data.datasets import Data, load
from npkd.nn.losses import cross_entropy
from npkd.nn.network import Network, perceptron
from npkd.nn.optimisers import SGD
from npkd.nn.training import TrainingSettings, train
from npkd.sparsity.outgoing import alive, outgoing_penalties
from npkd.surgery.dependency import dependency_groups

WIDTHS, EXAMPLES, VALIDATION, SEEDS = [784, 300, 100, 10], [500, 1000], 1000, [0, 1, 2, 3, 4]
STRENGTHS = [0.0, 0.001, 0.002, 0.004, 0.008]
"""Values of λ; 0 is no penalty."""
RATE, MOMENTUM, BATCH, EPOCHS = 0.05, 0.9, 50, 60
CURVES = ("training loss", "validation loss", "training error", "validation error")
SETTINGS = {"network": WIDTHS, "examples": EXAMPLES, "validation": VALIDATION, "seeds": SEEDS, "strengths": STRENGTHS,
            "rate": RATE, "momentum": MOMENTUM, "batch": BATCH, "epochs": EPOCHS}
"""What is stored with the numbers: tests hold it to be that of the code."""


@dataclass(frozen=True)
class Run:
    """One training. Networks where the validation loss is smallest and at the end, with how many inputs and neurons
    are read in each; ``curves`` (epochs, 4) as CURVES says."""

    curves: Array
    stopped: int
    networks: tuple[Network, Network]
    read: tuple[list[int], list[int]]


def loss_and_error(network: Network, x: Array, y: Array) -> tuple[float, float]:
    """Mean cross-entropy, and the fraction that is put into a wrong class."""
    logits = network.predict(x)
    return cross_entropy(logits, y)[0], float((logits.argmax(axis=1) != y).mean())


def trained(data: Data, examples: int, strength: float, seed: int) -> Run:
    """Train on ``examples`` drawn by the seed; the test part is not touched."""
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(len(data.x_train))
    (x, y), (xv, yv) = ((data.x_train[part], data.y_train[part])
                        for part in (drawn[:examples], drawn[examples:examples + VALIDATION]))
    network = perceptron(WIDTHS, rng)
    groups = dependency_groups(network)
    penalties = outgoing_penalties(network, groups, {"inputs": strength, "neurons": strength}) if strength else None
    settings = TrainingSettings(epochs=EPOCHS, batch_size=BATCH, schedule=lambda progress: 1.0,
                                validate=lambda network: loss_and_error(network, xv, yv)[0])
    curves = []
    for record in train(network, {"x": x, "y": y}, optimiser=SGD(RATE, MOMENTUM), penalties=penalties,
                        settings=settings, rng=rng):
        one, other = loss_and_error(record.network, x, y), loss_and_error(record.network, xv, yv)
        curves.append((one[0], other[0], one[1], other[1]))
    networks = record.best, record.network
    of_curves = np.array(curves)
    return Run(of_curves, int(of_curves[:, 1].argmin()) + 1, networks,
               (alive(networks[0], groups), alive(networks[1], groups)))


def spread(values: list[float]) -> dict[str, float]:
    """Mean and standard deviation over the seeds."""
    return {"mean": round(statistics.mean(values), 6), "deviation": round(statistics.stdev(values), 6)}


def summary(runs: list[Run]) -> dict[str, Any]:
    """Of all seeds: the epoch, the curves' values, and what is read, where the runs are stopped and at their end."""
    found: dict[str, Any] = {"stopped at epoch": [run.stopped for run in runs]}
    for k, (where, at) in enumerate((("stopped", [run.stopped for run in runs]), ("last", [EPOCHS] * len(runs)))):
        found[where] = {name: spread([float(run.curves[epoch - 1, c]) for run, epoch in zip(runs, at, strict=True)])
                        for c, name in enumerate(CURVES)}
        found[where]["read"] = [spread([float(run.read[k][g]) for run in runs]) for g in range(len(WIDTHS) - 1)]
    return found


def measure() -> dict[str, Any]:
    """All runs, λ chosen, then the test part."""
    data, results = load("mnist", seed=0), []
    for examples in EXAMPLES:
        runs = dict[float, list[Run]]()
        for strength in STRENGTHS:
            begin = time.perf_counter()
            runs[strength] = [trained(data, examples, strength, seed) for seed in SEEDS]
            lowest = statistics.mean(run.curves[:, 1].min() for run in runs[strength])
            print(f"{examples} examples, λ {strength:g}: validation loss {lowest:.4f} where stopped, "
                  f"{statistics.mean(run.curves[-1, 1] for run in runs[strength]):.4f} at the end, "
                  f"{time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
        means = {s: summary(runs[s])["stopped"]["validation loss"]["mean"] for s in STRENGTHS if s}
        chosen = min(means, key=lambda s: means[s])
        results.append({"examples": examples, "chosen": chosen,
                        "all": [{"strength": s, **summary(runs[s])} for s in STRENGTHS],
                        "curves": {name: curves_of(runs[s]) for name, s in (("plain", 0.0), ("penalised", chosen))},
                        "test": {name: tested(runs[s], data) for name, s in (("plain", 0.0), ("penalised", chosen))}})
    return {"command": "python -m reference.benchmarks.overfitting", "settings": SETTINGS, "results": results}


def curves_of(runs: list[Run]) -> dict[str, dict[str, list[float]]]:
    """Mean and deviation of each curve over the seeds, epoch by epoch."""
    stack = np.stack([run.curves for run in runs])
    return {name: {"mean": stack[:, :, c].mean(0).round(5).tolist(),
                   "deviation": stack[:, :, c].std(0, ddof=1).round(5).tolist()} for c, name in enumerate(CURVES)}


def tested(runs: list[Run], data: Data) -> dict[str, dict[str, float]]:
    """Test error of the networks where the runs are stopped, and at their end."""
    return {where: spread([loss_and_error(run.networks[k], data.x_test, data.y_test)[1] for run in runs])
            for k, where in enumerate(("stopped", "last"))}


def table(found: dict[str, Any]) -> str:
    """The rows of chapter 13."""
    lines = ["| examples | λ | epoch | training loss | validation loss | validation error | test error | read |",
             "|---|---|---|---|---|---|---|---|"]
    for result in found["results"]:
        for name, strength in (("plain", 0.0), ("penalised", result["chosen"])):
            one = next(row for row in result["all"] if row["strength"] == strength)
            for where in ("stopped", "last"):
                part, test = one[where], result["test"][name][where]
                epochs = one["stopped at epoch"]
                epoch = f"{min(epochs)} … {max(epochs)}, stopped" if where == "stopped" else f"{EPOCHS}, the last"
                loss, error = part["validation loss"], part["validation error"]
                read = "-".join(f"{group['mean']:.0f}" for group in part["read"])
                lines.append(f"| {result['examples']} | {strength:g} | {epoch} | {part['training loss']['mean']:.4f} | "
                             f"{loss['mean']:.3f} ± {loss['deviation']:.3f} | "
                             f"{error['mean']:.1%} ± {error['deviation']:.1%} | "
                             f"{test['mean']:.2%} ± {test['deviation']:.2%} | {read} |")
    return "\n".join(lines).replace("%", " %")


def main() -> None:
    """Measure and store, or print the table of what is stored."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--table", type=Path, help="print the table of this file instead")
    options = parser.parse_args()
    found = json.loads(options.table.read_text()) if options.table else measure()
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
