"""Alvarez & Salzmann 2017: LeNet-300-100 trained to be of low rank, against plain training, at equal cost in factors."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from npkd.compression.low_rank import epoch_step, factored, low_rank, matrix_of, output_space, propose_ranks, truncated_svd
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
from npkd.surgery.removal import remove

SEEDS = 5
BASE: Run = {"data": "mnist", "examples": 54_000, "hidden": [300, 100], "epochs": 30, "batch_size": 128, "rate": 0.1}
TRIED: Mapping[str, Sequence[tuple[float, float]]] = {
    "plain": [(0, 0)], "nuclear": [(1e-3, 0), (2e-3, 0), (3e-3, 0)],
    "nuclear and groups": [(1e-3, 1e-5), (2e-3, 1e-5), (3e-3, 1e-5)]}
"""λ of nuclear norm and sparse group lasso; which counts, the validation part says for each seed and cost."""
PARTS, FACTORS = (0.3, 0.2, 0.1), ("singular values", "output space")
"""Of the dense network's multiply-accumulates, at most; how the layers become two, at ranks by marginal price."""


def settings(quick: bool) -> list[dict[str, Run]]:
    """Trainings; then methods by cost and factors, and both hidden layers of the plain network, rank by rank."""
    base = {**BASE, **({"examples": 5_000, "epochs": 4} if quick else {})}
    tried = {name: {f"{name} {lam:g}": {**base, "nuclear": lam, "groups": groups} for lam, groups in pairs[-1 * quick:]}
             for name, pairs in TRIED.items()}
    return [{name: numbers for some in tried.values() for name, numbers in some.items()},
            {**{f"{name}, {part:.0%}, {how}": {"part": part, "how": how, "of": some}
                for how in FACTORS for part in PARTS for name, some in tried.items()},
             "every rank": {"every": 40 if quick else 1, "of": tried["plain"]}}]


def training(start: Network, settings: TrainingSettings, *, data: Batch, numbers: Mapping[str, Any],
             rng: np.random.Generator) -> Iterator[Record]:
    """``train`` with proximal steps after each epoch: of the nuclear norm, then of the sparse group lasso."""
    sgd, carried, layers = SGD(numbers["rate"]), settings.carried, start.weight_layers
    penalties: list[dict[int, Penalty]] = [{i: Nuclear(numbers["nuclear"]) for i in layers}, {
        i: SparseGroups(numbers["groups"], cost=math.sqrt(start.layers[i].params[0].shape[1])) for i in layers}]
    step = math.ceil(len(data["x"]) / settings.batch_size) * sgd.learning_rate / (1 - sgd.momentum)              # (N12)
    for epoch in range(settings.done + 1, settings.epochs + 1):
        rate = partial(lambda p, e: cosine()((e - 1 + p) / settings.epochs), e=epoch)
        one = replace(settings, epochs=1, done=0, carried=carried, schedule=rate)
        for record in train(start, data, optimiser=sgd, settings=one, rng=rng):
            start, carried = epoch_step(record.network, penalties, step * rate(0.5)), record.carried
            yield replace(record, epoch=epoch, network=start)


def run(unit: Unit, progress: Progress) -> Run:
    """See Study; of methods "errors", "macs", "widths" and what was "chosen"; of "every rank" see ``ranks``."""
    numbers, began = unit.numbers, (time.perf_counter(), time.process_time())
    first = next(iter(numbers.get("of", {"": numbers}).values()))
    data = load(first["data"], seed=0)
    data = replace(data, x_train=data.x_train[:first["examples"]], y_train=data.y_train[:first["examples"]])
    if "of" not in numbers:
        rng = np.random.default_rng(unit.seed)
        start = perceptron([data.x_train.shape[1], *numbers["hidden"], data.classes], rng)
        learning = partial(training, data={"x": data.x_train, "y": data.y_train}, numbers=numbers, rng=rng)
        options = TrainingSettings(numbers["epochs"], numbers["batch_size"])
        network, taken = trained(unit, progress, data, start, learning, options, rng)
        network = remove(network, inputs=False)[0]
        model.save(unit.path(".model.npz"), model.Model(network, data.scaling, {"data": data.name, "seed": unit.seed}))
        return taken
    networks = {name: model.load(Unit(name, one, unit.seed, unit.folder).path(".model.npz")).network
                for name, one in numbers["of"].items()}
    found = ranks(*networks.values(), data, numbers["every"]) if "every" in numbers else small(networks, data, numbers)
    return found | {"seconds": time.perf_counter() - began[0], "cpu_seconds": time.process_time() - began[1]}


def small(networks: Mapping[str, Network], data: Data, numbers: Mapping[str, Any]) -> Run:
    """Every network in factors within the cost; of the one that the validation part prefers the errors on the test."""
    made, passes = dict[str, Network](), batches_of(data.x_train[:10_000])
    for name, network in networks.items():
        layers = network.weight_layers
        known = dict(zip(layers, collect_statistics(network, network, passes, layers), strict=True))
        chosen = propose_ranks(network, known, numbers["part"] * cost.of(network).macs)
        made[name] = factored(network, chosen) if numbers["how"] == FACTORS[0] else low_rank(network, passes, chosen)
    wrong = {name: error_rate(one, data.x_validation, data.y_validation) for name, one in made.items()}
    best = min(wrong, key=lambda name: wrong[name])
    return {"chosen": best, "macs": cost.of(made[best]).macs, "widths": made[best].widths,
            "validation_error": wrong[best], **judged(predict(made[best], data.x_test), data)}


def ranks(network: Network, data: Data, every: int) -> Run:
    """Errors of both hidden layers' outputs on the test part at ranks below full, relative, by both ways to factors."""
    found: Run = {"not better": 0}
    for i in network.weight_layers[:-1]:
        w = matrix_of(network, i)
        seen, held = (collect_statistics(network, network, batches_of(x), [i])[0] for x in (data.x_train, data.x_test))
        v, ls, _ = output_space(seen, w)
        errors: dict[str, list[float]] = {how: [] for how in FACTORS}
        for r in range(1, len(w), every):
            for how, (u, m) in zip(FACTORS, (truncated_svd(w, r), (v[:, :r], v[:, :r].T @ ls)), strict=True):
                off = held.mean_z - u @ (m @ held.mean_h) - seen.intercept(u @ m)
                errors[how].append(held.error(u @ m) + held.count * float(off @ off / held.t.sum()))
        found |= {f"layer {i}": errors}
        found["not better"] += sum(b >= a for a, b in zip(*errors.values(), strict=True))
    return found


def bars(runs: Sequence[Run]) -> list[str]:
    """Methods against plain training at equal cost and with the same factors, in errors of 10,000; every rank; time."""
    errors: dict[str, dict[int, float]] = {}
    for one in runs:
        errors.setdefault(one["setting"], {})[one["seed"]] = float(one.get("errors", one.get("not better", 0)))
    lines = [line for how in FACTORS for part in PARTS for name in list(TRIED)[1:] for line in beats(
        f"{name} beats plain training at {part:.0%} of the multiply-accumulates, {how}, errors of 10,000",
        errors.get(f"plain, {part:.0%}, {how}", {}), errors.get(f"{name}, {part:.0%}, {how}", {}))]
    whole = len(runs) == SEEDS * sum(map(len, settings(False)))
    return [*lines, *bar("ranks below full at which output space is not better than singular values, both hidden layers",
                         [*errors.get("every rank", {}).values()], most=0),
            *bar("core hours of all runs", [sum(one["cpu_seconds"] for one in runs) / 3600] if whole else [], most=1.5)]
