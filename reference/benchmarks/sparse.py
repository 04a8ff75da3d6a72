"""Sparse training beside other ways to lose neurons, with the labels alone, at the same size and in as many epochs.

    python -m reference.benchmarks.sparse mnist mnist-neurons lenet5 digits digits-neurons [--seeds 5] [--json FILE]

For each seed ``npkd train --penalty … --target …`` is run as a user runs it. From its dense network, with the same
number of epochs, the same batches and rates:

    magnitude   neurons with the smallest outgoing weights go (I3), the same part of every layer (I7), in ROUNDS cuts
                during the first half of the epochs; the rate falls to 0 in the second half
    gates       network slimming (I22 to I24), λ as npkd.compression.slimming has it, in the first half of the epochs;
                then one cut (I8), then training while the rate falls to 0

No augmentation, no teacher. The test part is looked at once for each network that is reported. With ``--json`` every
run is stored as soon as it is finished, and one that is there is not repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import npkd
from npkd.compression import scores, slimming
from npkd.compression.proportions import by_scores, proportional
from npkd.core.files import write_json
from npkd.data.datasets import Data, load
from npkd.nn import cost
from npkd.nn.network import Network, convolves
from npkd.nn.optimisers import SGD
from npkd.nn.schedules import cosine, steps
from npkd.nn.training import TrainingSettings, classification, train
from npkd.pipeline.stages import error_rate
from npkd.pipeline.target import Target
from npkd.surgery.dependency import dependency_groups
from npkd.surgery.widths import geometry
from reference.benchmarks.bars import run

CASES: Mapping[str, tuple[str, ...]] = {
    "mnist": ("--data", "mnist", "--penalty", "inputs,neurons", "--target", "macs=20%"),
    "mnist-neurons": ("--data", "mnist", "--penalty", "neurons", "--target", "macs=20%"),
    "lenet5": ("--data", "mnist", "--network", "lenet5", "--penalty", "channels,neurons", "--target", "macs=10%"),
    "digits": ("--data", "digits", "--penalty", "inputs,neurons", "--target", "macs=20%"),
    "digits-neurons": ("--data", "digits", "--penalty", "neurons", "--target", "macs=20%"),
}
ROUNDS = 20
"""Cuts of magnitude pruning."""


class Rival:
    """What magnitude pruning and slimming share: data, recipe and budget of a run of ours."""

    def __init__(self, ours: Mapping[str, Any], data: Data, dense: Network) -> None:
        self.recipe, self.epochs, self.data, self.dense = ours["recipe"], ours["epochs"], data, dense
        self.batch = {"x": data.x_train, "y": data.y_train}
        self.keep_inputs = convolves(dense) or "inputs" not in self.recipe["strengths"]
        self.bound, self.geometry = ours["bound"], geometry(dense)
        self.rng = np.random.default_rng(ours["seed"])

    def size(self, widths: Any) -> float:
        """Multiply-accumulates of widths, inputs first and without the outputs."""
        return Target("macs", self.bound, geometry=self.geometry).size([*widths, self.dense.widths[-1]])

    def trained(self, network: Network, epochs: int, falling: bool) -> Network:
        """The network after epochs of plain training; where the rate falls, as the last phase of ours."""
        recipe = self.recipe
        optimiser = SGD(recipe["learning_rate"] / 2, weight_decay=recipe["debias_weight_decay"]) if falling else SGD(
            recipe["learning_rate"], weight_decay=recipe["weight_decay"])
        settings = TrainingSettings(epochs, recipe["batch_size"] // (4 if falling else 1),
                                    schedule=cosine() if falling else steps(()))
        for record in train(network, self.batch, classification, optimiser=optimiser, settings=settings, rng=self.rng):
            network = record.network
        return network

    def magnitude(self) -> Network:
        """Magnitude pruning, little by little."""
        network, whole, half = self.dense, cost.of(self.dense).macs, self.epochs // 2
        for nth in range(1, ROUNDS + 1):
            budget = whole * (self.bound / whole) ** (nth / ROUNDS)
            widths = proportional([g.width for g in dependency_groups(network)], self.size, budget, self.keep_inputs)
            network = scores.by_score(scores.outgoing)(network, self.data.x_train, self.data.y_train, widths, self.rng)
            epochs = half * nth // ROUNDS - half * (nth - 1) // ROUNDS
            network = self.trained(network, epochs, falling=False) if epochs else network
        return self.trained(network, self.epochs - half, falling=True)

    def gates(self) -> Network:
        """Network slimming."""
        recipe, settings = self.recipe, TrainingSettings(self.epochs // 2, self.recipe["batch_size"])
        network, sizes = slimming.slim(
            self.dense, self.batch, classification, rng=self.rng, keep_inputs=self.keep_inputs, settings=settings,
            optimiser=SGD(recipe["learning_rate"], weight_decay=recipe["weight_decay"]))
        widths = by_scores(sizes, self.size, self.bound, self.keep_inputs)
        network = scores.cut(network, [scores.best(s, w) for s, w in zip(sizes, widths, strict=True)])
        return self.trained(network, self.epochs - self.epochs // 2, falling=True)


def judged(network: Network, data: Data) -> dict[str, Any]:
    """Errors and size."""
    return {"validation_error": error_rate(network, data.x_validation, data.y_validation),
            "test_error": error_rate(network, data.x_test, data.y_test), "macs": cost.of(network).macs,
            "widths": [*(g.width for g in dependency_groups(network)), network.widths[-1]]}


def ours(case: str, seed: int) -> dict[str, Any]:
    """A seed of a case, by command."""
    with tempfile.TemporaryDirectory() as folder:
        summary = run(Path(folder) / "out", "train", *CASES[case], "--seed", str(seed))
    found: dict[str, Any] = {name: {key: summary[name][key] for key in ("validation_error", "test_error", "macs",
                                                                        "widths")}
                             for name in ("dense", "penalised", "debiased", "model")}
    sparse = summary["sparse"]
    found |= {key: sparse[key] for key in ("lambda", "stationarity", "objective")}
    return found | {"command": summary["command"], "split": summary["split"], "npkd": npkd.__version__, "seed": seed,
                    "bound": summary["target"]["bound"], "seconds": round(summary["process_seconds"], 1),
                    "epochs": sparse["epochs_penalised"] + sparse["debias_epochs"],
                    "recipe": {key: sparse[key] for key in ("strengths", "batch_size", "learning_rate", "weight_decay",
                                                            "debias_weight_decay")}}


def others(case: str, seed: int, found: Mapping[str, Any]) -> dict[str, Any]:
    """The same seed by the other methods, from the dense network of ours, which plain training gives again."""
    at = CASES[case].index("--penalty")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        summary = run(out, "train", *CASES[case][:at], "--seed", str(seed))
        dense = npkd.load(out / "model.npz").network
    assert summary["model"]["test_error"] == found["dense"]["test_error"]
    data, judged_by_name = load(CASES[case][1], seed=seed), dict[str, Any]()
    rival = Rival(found, data, dense)
    for name in ("magnitude", "gates"):
        begin = time.perf_counter()
        judged_by_name[name] = judged(getattr(rival, name)(), data)
        judged_by_name[name]["seconds"] = round(time.perf_counter() - begin, 1)
    return judged_by_name


def line(name: str, runs: list[dict[str, Any]]) -> str:
    """Errors and size of one network over the seeds."""
    errors = [100 * r[name]["test_error"] for r in runs]
    deviation = f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
    sizes = [r[name]["macs"] / r["dense"]["macs"] for r in runs]
    return f"  {name:10}  {statistics.mean(errors):.2f}{deviation} %   at {min(sizes):.1%} to {max(sizes):.1%}"


def keep(path: Path | None, stored: dict[str, Any], case: str, found: Mapping[str, Any]) -> None:
    """Say what a run gave, and write all that there is."""
    shown = ", ".join(f"{name} {value['test_error']:.2%}" for name, value in found.items()
                      if isinstance(value, dict) and "test_error" in value)
    print(f"{case}, seed {found['seed']}: {shown}, {found['seconds']:.0f} s", file=sys.stderr, flush=True)
    if path:
        write_json(path, stored)


def main() -> int:
    """Run what is missing, and print a table for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=[*CASES], choices=[*CASES])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ours", action="store_true", help="without the others")
    parser.add_argument("--json", type=Path, help="keep the runs there, and go on from what is there")
    options = parser.parse_args()
    stored: dict[str, Any] = {"command": "python -m reference.benchmarks.sparse --json FILE", "cases": {}}
    if options.json and options.json.exists():
        stored = json.loads(options.json.read_text())
    for case in options.cases:
        runs = stored["cases"].setdefault(case, {})
        for seed in range(options.seeds):
            if str(seed) not in runs:
                runs[str(seed)] = ours(case, seed)
                keep(options.json, stored, case, runs[str(seed)])
        for seed in range(0 if options.ours else options.seeds):
            if "gates" not in runs[str(seed)]:
                runs[str(seed)] |= others(case, seed, runs[str(seed)])
                keep(options.json, stored, case, runs[str(seed)])
        chosen = [runs[str(seed)] for seed in range(options.seeds)]
        ratios = [r["stationarity"][1] / r["stationarity"][0] for r in chosen]
        print(f"{case}: npkd train {' '.join(CASES[case])}; stationarity, end over start, at most {max(ratios):.4f}")
        print("\n".join(line(name, chosen) for name in ("dense", "penalised", "debiased", "model", "magnitude", "gates")
                        if name in chosen[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
