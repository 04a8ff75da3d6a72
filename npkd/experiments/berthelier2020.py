"""Berthelier et al. 2020: the l1/l2 pseudo-norm on LeNet-5's filters beside the l1 norm, at equal numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from npkd.core.progress import Progress
from npkd.experiments.compare import bar, paired
from npkd.experiments.hinton2015 import judged, pictures
from npkd.experiments.study import Run, Unit, trained
from npkd.nn.architectures import lenet5
from npkd.nn.fast.workspace import predict
from npkd.nn.network import Network
from npkd.nn.optimisers import SGD
from npkd.nn.training import Penalty, TrainingSettings, train
from npkd.sparsity.outgoing import kind_of, outgoing_penalties
from npkd.surgery.dependency import dependency_groups
from npkd.surgery.removal import remove

SEEDS = 5
NETWORK: Run = {"data": "mnist", "examples": 20_000, "epochs": 20, "batch_size": 128, "learning_rate": 0.03,
                "weight_decay": 1e-4}                             # one training from the first weights on, for both

KINDS = {"l1": "channels", "l1/l2": "l1l2"}                       # of a penalty on all that reads a filter

LAMBDAS: Mapping[str, Sequence[float]] = {"l1": (0.0015, 0.002, 0.003, 0.006), "l1/l2": (0.007, 0.009, 0.012, 0.02)}

QUICK: Run = {"examples": 1_500, "epochs": 6, "learning_rate": 0.05}


def settings(quick: bool) -> list[dict[str, Run]]:
    """Both penalties, each at some λ."""
    return [{f"{name}, λ = {lam:g}": {**NETWORK, **(QUICK if quick else {}), "penalty": name, "lambda": lam}
             for name, lams in LAMBDAS.items() for lam in (lams[2:3] if quick else lams)}]


def on_filters(network: Network, kind: str, lam: float) -> dict[int, Penalty]:
    """{layer: penalty on its weights} for layers that read filters; at first λ takes the same part of the norms v:
    it is times v̄ = ‖v‖/√n or, as the slope of l1/l2 is of the order of 1/‖v‖, times ‖v‖ v̄."""
    penalties, groups = dict[int, Penalty](), dependency_groups(network)
    for k, i in [(k, i) for k, g in enumerate(groups) if kind_of(network, g) == "channels" for i in g.consumers]:
        size = float(np.linalg.norm(network.layers[i].params[0]))
        c = size / groups[k].width ** 0.5 * (size if kind == "l1l2" else 1.0)
        penalties[i] = outgoing_penalties(network, groups, {kind: lam * c}, [1.0] * len(groups))[i]
    return penalties


def run(unit: Unit, progress: Progress) -> Run:
    """See Study; "errors" of the test part, "filters" and hidden "units" that are left."""
    numbers = unit.numbers
    data, rng = pictures(numbers), np.random.default_rng([unit.seed, 0])
    start = lenet5(rng, classes=data.classes)
    training = partial(train, data={"x": data.x_train, "y": data.y_train}, rng=rng,
                       penalties=on_filters(start, KINDS[numbers["penalty"]], numbers["lambda"]),
                       optimiser=SGD(numbers["learning_rate"], weight_decay=numbers["weight_decay"]))
    options = TrainingSettings(numbers["epochs"], numbers["batch_size"])
    network, cost = trained(unit, progress, data, start, training, options, rng)
    network, _ = remove(network)
    *filters, units = [group.width for group in dependency_groups(network)][1:]
    return {"filters": sum(filters), "units": units} | judged(predict(network, data.x_test), data) | cost


def at_equal_filters(runs: Sequence[Run], seed: int) -> tuple[float, float] | None:
    """Mean errors of l1, interpolated, and of l1/l2 where l1/l2 left as many filters as some between l1's; or None."""
    theirs, ours = (sorted((run["filters"], 10_000 * run["test_error"]) for run in runs if run["seed"] == seed
                           and run["setting"].startswith(f"{name},")) for name in KINDS)
    inside = np.array([pair for pair in ours if theirs and theirs[0][0] <= pair[0] <= theirs[-1][0]]).reshape(-1, 2).T
    return (float(np.interp(inside[0], *np.array(theirs).T).mean()), float(inside[1].mean())) if inside.size else None


def bars(runs: Sequence[Run]) -> list[str]:
    """No worse than l1 beyond chance, seed by seed, and what all of it took."""
    pairs = [pair for seed in sorted({run["seed"] for run in runs}) if (pair := at_equal_filters(runs, seed))]
    hours = [sum(run["cpu_seconds"] for run in runs) / 3600] if len(runs) == SEEDS * len(settings(False)[0]) else []
    found = list[str]()
    if pairs:
        gain = paired(*zip(*pairs, strict=True))
        told = "" if gain.interval is None else " [{:+.1f}, {:+.1f}]".format(*gain.interval)
        word = "holds" if gain.verdict in ("win", "tie") else "MISSED"
        found = [f"{word}  at equal filters l1/l2 is no worse than l1, errors of 10,000: gain {gain.mean:+.1f}{told}, "
                 f"{gain.verdict}, {len(pairs)} seeds"]
    return [*found, *bar("core hours of all runs", hours, most=2)]
