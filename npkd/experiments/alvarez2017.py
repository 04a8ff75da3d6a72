"""Alvarez & Salzmann 2017: LeNet-300-100 trained to be of low rank, and plainly; both in factors of equal cost."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from npkd.compression import low_rank
from npkd.core.progress import Progress
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
TRIED = {"plain": [(0.0, 0.0)], "nuclear": [(1e-3, 0.0), (2e-3, 0.0), (3e-3, 0.0)],
         "nuclear and groups": [(1e-3, 1e-5), (2e-3, 1e-5), (3e-3, 1e-5)]}
"""λ of nuclear norm and sparse group lasso; which counts, the validation part says, for each seed and cost."""
PARTS = (0.3, 0.2, 0.1)
"""Of the dense network's multiply-accumulates, at most, after factoring at ranks by marginal price."""


def settings(quick: bool) -> list[dict[str, Run]]:
    """Trainings; then the methods by cost, and both hidden layers of the plain network, rank by rank."""
    base = {**BASE, **({"examples": 5_000, "epochs": 4} if quick else {})}
    tried = {name: {f"{name} {lam:g}": {**base, "nuclear": lam, "groups": groups} for lam, groups in pairs[-1 * quick:]}
             for name, pairs in TRIED.items()}
    return [{name: numbers for some in tried.values() for name, numbers in some.items()},
            {**{f"{name}, {part:.0%}": {"part": part, "of": some} for part in PARTS for name, some in tried.items()},
             "every rank": {"every": 40 if quick else 1, "of": tried["plain"]}}]


def training(start: Network, settings: TrainingSettings, data: Data, numbers: Run, rng: np.random.Generator
             ) -> Iterator[Record]:
    """``train`` with proximal steps after each epoch: of the nuclear norm, then of the sparse group lasso."""
    sgd, carried, layers = SGD(numbers["rate"]), settings.carried, start.weight_layers
    penalties: list[dict[int, Penalty]] = [{i: Nuclear(numbers["nuclear"]) for i in layers}, {
        i: SparseGroups(numbers["groups"], cost=math.sqrt(start.layers[i].params[0].shape[1])) for i in layers}]
    step = math.ceil(len(data.x_train) / settings.batch_size) * sgd.learning_rate / (1 - sgd.momentum)           # (N12)
    for epoch in range(settings.done + 1, settings.epochs + 1):
        rate = partial(lambda p, e: cosine()((e - 1 + p) / settings.epochs), e=epoch)
        one = replace(settings, epochs=1, done=0, carried=carried, schedule=rate)
        for record in train(start, {"x": data.x_train, "y": data.y_train}, optimiser=sgd, settings=one, rng=rng):
            start, carried = low_rank.epoch_step(record.network, penalties, step * rate(0.5)), record.carried
            yield replace(record, epoch=epoch, network=start)


def run(unit: Unit, progress: Progress) -> Run:
    """See Study; of methods what ``small`` gives, of "every rank" what ``by_rank`` gives."""
    numbers, began = dict(unit.numbers), (time.perf_counter(), time.process_time())
    first = next(iter(numbers.get("of", {"": numbers}).values()))
    data, n = load(first["data"], seed=0), first["examples"]
    data = replace(data, x_train=data.x_train[:n], y_train=data.y_train[:n])
    if "of" not in numbers:
        rng = np.random.default_rng(unit.seed)
        start = perceptron([data.x_train.shape[1], *numbers["hidden"], data.classes], rng)
        network, taken = trained(unit, progress, data, start, partial(training, data=data, numbers=numbers, rng=rng),
                                 TrainingSettings(numbers["epochs"], numbers["batch_size"]), rng)
        model.save(unit.path(".model.npz"), model.Model(remove(network, inputs=False)[0], data.scaling, {}))
        return taken
    networks = {name: model.load(Unit(name, one, unit.seed, unit.folder).path(".model.npz")).network
                for name, one in numbers["of"].items()}
    dense = cost.of_widths([data.x_train.shape[1], *first["hidden"], data.classes]).macs
    found = (small(networks, data, numbers["part"] * dense) if "part" in numbers
             else by_rank(networks, data, numbers["every"]))
    return found | {"seconds": time.perf_counter() - began[0], "cpu_seconds": time.process_time() - began[1]}


def small(networks: Mapping[str, Network], data: Data, budget: float) -> Run:
    """Of the network that in factors is best on the validation part its name, cost and errors on the test part; beside
    it at the same ranks "in_output_space", refitted layer by layer."""
    made, ranks, passes = dict[str, Network](), dict[str, dict[int, int]](), batches_of(data.x_train[:10_000])
    for name, one in networks.items():
        known = zip(one.weight_layers, collect_statistics(one, one, passes, one.weight_layers), strict=True)
        ranks[name] = low_rank.propose_ranks(one, dict(known), budget)
        made[name] = low_rank.factored(one, ranks[name])
    wrong = {name: error_rate(one, data.x_validation, data.y_validation) for name, one in made.items()}
    best = min(wrong, key=lambda name: wrong[name])
    refitted = low_rank.low_rank(networks[best], passes, ranks[best])
    return {"chosen": best, "macs": cost.of(made[best]).macs, "widths": made[best].widths,
            "in_output_space": judged(predict(refitted, data.x_test), data),
            **judged(predict(made[best], data.x_test), data)}


def by_rank(networks: Mapping[str, Network], data: Data, every: int) -> Run:
    """Relative errors on the test part of the outputs of both hidden layers, at ranks below full, by singular values
    and in output space; at how many the latter is "not better"."""
    found, (network,) = Run({"not better": 0}), networks.values()
    for i in network.weight_layers[:-1]:
        w, both = low_rank.matrix_of(network, i), list[tuple[float, ...]]()
        seen, held = (collect_statistics(network, network, batches_of(x), [i])[0] for x in (data.x_train, data.x_test))
        (v, ls, _), (u, m) = low_rank.output_space(seen, w), low_rank.truncated_svd(w, min(w.shape))
        for r in range(1, min(w.shape), every):
            maps = u[:, :r] @ m[:r], v[:, :r] @ (v[:, :r].T @ ls)
            off = [held.mean_z - a @ held.mean_h - seen.intercept(a) for a in maps]                # of the biases
            both.append(tuple(held.error(a) + held.count * float(b @ b / held.t.sum())
                              for a, b in zip(maps, off, strict=True)))
        found |= {f"layer {i}": both, "not better": found["not better"] + sum(new >= old for old, new in both)}
    return found


def bars(runs: Sequence[Run]) -> list[str]:
    """Methods against plain training at equal cost, in errors of 10,000; every rank; what all of it took."""
    found: dict[str, dict[int, float]] = {}
    for one in runs:
        found.setdefault(one["setting"], {})[one["seed"]] = one.get("errors", 0.0) + one.get("not better", 0.0)
    lines = [line for part in PARTS for name in list(TRIED)[1:] for line in beats(
        f"{name} beats plain at {part:.0%} of the multiply-accumulates, errors of 10,000",
        *(found.get(f"{each}, {part:.0%}", {}) for each in ("plain", name)))]
    hours = [sum(one["cpu_seconds"] for one in runs) / 3600] * (len(runs) == SEEDS * sum(map(len, settings(False))))
    ranks = [*found.get("every rank", {}).values()]
    return [*lines, *bar("core hours of all runs", hours, most=1.5),
            *bar("ranks below full, of both hidden layers, at which output space is not better", ranks, most=0)]
