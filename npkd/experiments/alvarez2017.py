"""Alvarez & Salzmann 2017: LeNet-300-100 trained to be of low rank, against plain training, at equal cost in factors."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from npkd.compression.low_rank import epoch_step, factored, output_low_rank, truncated_svd
from npkd.core.progress import Progress
from npkd.core.types import Array, Batch
from npkd.data.batches import batches_of
from npkd.data.datasets import Data, load
from npkd.experiments.compare import bar, beats
from npkd.experiments.hinton2015 import judged
from npkd.experiments.study import Run, Unit, trained
from npkd.nn import cost, model
from npkd.nn.fast.workspace import predict
from npkd.nn.network import Network, perceptron
from npkd.nn.optimisers import SGD
from npkd.nn.schedules import cosine
from npkd.nn.training import Penalty, Record, TrainingSettings, train
from npkd.pipeline.stages import error_rate
from npkd.sparsity.collect import collect_statistics
from npkd.sparsity.nuclear import Nuclear
from npkd.sparsity.penalties import SparseGroups
from npkd.sparsity.statistics import Statistics
from npkd.surgery.removal import remove

SEEDS = 5
BASE: Run = {"data": "mnist", "examples": 54_000, "hidden": [300, 100], "epochs": 30, "batch_size": 128,
             "learning_rate": 0.1, "nuclear": 0.0, "groups": 0.0}
"""Momentum SGD, rate to zero, labels; nuclear, groups: λ of a proximal step an epoch, of every layer's weights."""
TRIED: Mapping[str, Sequence[tuple[float, float]]] = {
    "plain": [(0.0, 0.0)], "nuclear": [(lam, 0.0) for lam in (1e-4, 3e-4, 1e-3)],
    "nuclear and groups": [(lam, 1e-6) for lam in (1e-4, 3e-4, 1e-3)]}
"""(nuclear, groups) of each method. Which counts is chosen for each seed and cost by the validation part."""
PARTS = (0.3, 0.2, 0.1, 0.05)
"""Of the dense network's multiply-accumulates, at most, after factoring at the largest energy that allows it."""


def settings(quick: bool) -> list[dict[str, Run]]:
    """Trainings; then methods by cost, and the ranks of both hidden layers of the plain network, one by one."""
    base = {**BASE, **({"examples": 5_000, "epochs": 4} if quick else {})}
    tried = {name: {f"{name}, λ = {lam:g}" if lam else name: {**base, "nuclear": lam, "groups": of_groups}
                    for lam, of_groups in pairs[-1 if quick else 0:]} for name, pairs in TRIED.items()}
    return [{name: numbers for some in tried.values() for name, numbers in some.items()},
            {**{f"{name}, {part:.0%}": {"part": part, "of": some} for name, some in tried.items() for part in PARTS},
             "output space": {"every": 40 if quick else 1, "of": tried["plain"]}}]


def training(start: Network, settings: TrainingSettings, *, data: Batch, numbers: Mapping[str, Any],
             rng: np.random.Generator) -> Iterator[Record]:
    """``train`` with proximal steps after each epoch: the nuclear norm, and then the sparse group lasso."""
    sgd, carried, layers = SGD(numbers["learning_rate"]), settings.carried, start.weight_layers
    groups = {i: SparseGroups(numbers["groups"], 0, cost=math.sqrt(start.layers[i].params[0][0].size)) for i in layers}
    penalties: list[dict[int, Penalty]] = [{i: Nuclear(numbers["nuclear"]) for i in layers}, {**groups}]
    updates = math.ceil(len(data["x"]) / settings.batch_size) / (1 - sgd.momentum)
    for epoch in range(settings.done + 1, settings.epochs + 1):
        rate = partial(lambda p, e: cosine()((e - 1 + p) / settings.epochs), e=epoch)
        one = replace(settings, epochs=1, done=0, carried=carried, schedule=rate)
        for record in train(start, data, optimiser=sgd, settings=one, rng=rng):
            start = epoch_step(record.network, penalties, updates * sgd.learning_rate * rate(0.5))
            carried = record.carried
            yield replace(record, epoch=epoch, network=start)


def within(network: Network, macs: float) -> Network:
    """The network in factors, at the largest energy that costs at most so many multiply-accumulates."""
    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        fits = cost.of(factored(network, energy=middle)).macs <= macs
        low, high = (middle, high) if fits else (low, middle)
    return factored(network, energy=low)


def run(unit: Unit, progress: Progress) -> Run:
    """See Study; of methods "errors", "macs", "widths" and what was "chosen"; of "output space" see ``curves``."""
    numbers, whole, began = unit.numbers, load(numbers.get("data", "mnist"), seed=0), (time.perf_counter(), time.process_time())
    if "of" not in numbers:
        data = replace(whole, x_train=whole.x_train[:numbers["examples"]], y_train=whole.y_train[:numbers["examples"]])
        rng = np.random.default_rng(unit.seed)
        batch = {"x": data.x_train, "y": data.y_train}
        start = perceptron([data.x_train.shape[1], *numbers["hidden"], data.classes], rng)
        options = TrainingSettings(numbers["epochs"], numbers["batch_size"])
        network, taken = trained(unit, progress, data, start, partial(training, data=batch, numbers=numbers, rng=rng),
                                 options, rng)
        model.save(unit.path(".model.npz"), model.Model(network, data.scaling, {"data": data.name, "seed": unit.seed}))
        return taken
    files = {name: Unit(name, one, unit.seed, unit.folder).path(".model.npz") for name, one in numbers["of"].items()}
    networks = {name: model.load(path).network for name, path in files.items()}
    if "every" in numbers:
        found: Run = curves(networks["plain"], whole, numbers["every"])
    else:
        small = {name: within(remove(one, inputs=False)[0], numbers["part"] * cost.of(one).macs)
                 for name, one in networks.items()}
        wrong = {name: error_rate(one, whole.x_validation, whole.y_validation) for name, one in small.items()}
        name = min(wrong, key=lambda name: wrong[name])
        found = {"chosen": name, "macs": cost.of(small[name]).macs, "widths": small[name].widths,
                 "validation_error": wrong[name], **judged(predict(small[name], whole.x_test), whole)}
    return found | {"seconds": time.perf_counter() - began[0], "cpu_seconds": time.process_time() - began[1]}
