"""Romero et al. 2015, FitNets, MNIST: a thin deep student of a teacher's hint and softened predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np

from npkd.core.progress import Progress
from npkd.data.augmentation import Noise
from npkd.data.datasets import Data
from npkd.distillation.connectors import convolution
from npkd.distillation.objective import Terms
from npkd.distillation.response import soft_targets
from npkd.distillation.schemes import offline
from npkd.distillation.terms import Term
from npkd.experiments.compare import bar, beats
from npkd.experiments.hinton2015 import judged, pictures
from npkd.experiments.study import Run, Unit, trained
from npkd.nn import model
from npkd.nn.architectures import conv_layer
from npkd.nn.fast.workspace import predict
from npkd.nn.losses import cross_entropy, squared_error
from npkd.nn.network import Layer, Network, dense_layer
from npkd.nn.optimisers import Adam
from npkd.nn.training import TrainingSettings, train

SEEDS = 5
BASE: Run = {"data": "mnist", "examples": 60_000, "batch_size": 128, "epochs": 40}
TEACHER: Run = {**BASE, "seeds": 1, "channels": [[32], [48], [64]], "hidden": [128], "learning_rate": 0.002}
"""Convolutions 3×3 in blocks, a max pooling between them; a dense layer, dropout of ½. 444,730 parameters."""
STUDENT: Run = {**BASE, "channels": [[12], [16, 16], [24, 24, 24]], "hidden": [], "learning_rate": 0.004}
"""Twice as many convolutions, thinner: 29,850 parameters."""
KD: Run = {"temperature": 3.0, "weight": 4.0}
"""The paper's: the weight falls to zero in a line; it is that of a divergence without T², of (K1) weight / T²."""
STAGE_1 = 8
"""Epochs of the first stage; the second has as many fewer."""
SHIFTS: Mapping[str, int] = {"": 2, ", no shifts": 0}
"""Pictures moved by up to two pixels, for teacher and students alike; and the same with pictures as they are."""
LABELS, SOFT, HINT = NAMES = ("labels alone", "KD", "hint + KD")


def settings(quick: bool) -> list[dict[str, Run]]:
    """Teachers; labels, KD, and the first stage of hints; the second, which begins with what that has learnt."""
    waves: list[dict[str, Run]] = [{}, {}, {}]
    for suffix, shift in list(SHIFTS.items())[:1 if quick else None]:
        changed = {"max_shift": shift, **({"examples": 3_000, "epochs": 4} if quick else {})}
        teacher = {**TEACHER, **changed}
        base = {**STUDENT, **changed, "teacher": teacher}
        stage_1 = {**base, "epochs": min(STAGE_1, base["epochs"] // 2)}
        waves[0]["teacher" + suffix] = teacher
        waves[1] |= {LABELS + suffix: base, SOFT + suffix: {**base, **KD}, "hint, stage 1" + suffix: stage_1}
        waves[2][HINT + suffix] = {**base, **KD, "epochs": base["epochs"] - stage_1["epochs"], "stage 1": stage_1}
    return waves


def drawn(numbers: Mapping[str, Any], data: Data, rng: np.random.Generator) -> Network:
    """A network to begin with: see TEACHER."""
    layers, width = [Layer("unflatten", options={"shape": [*data.shape, 1]})], 1
    for i, block in enumerate(numbers["channels"]):
        layers += [Layer("max_pool", options={"size": 2})] * (i > 0)
        for channels in block:
            layers += [conv_layer(width, channels, 3, rng, padding=1), Layer("relu")]
            width = channels
    width *= (data.shape[0] >> i) * (data.shape[1] >> i)
    layers.append(Layer("flatten"))
    for hidden in numbers["hidden"]:
        layers += [dense_layer(width, hidden, rng), Layer("relu"), Layer("dropout", options={"rate": 0.5})]
        width = hidden
    return Network([*layers, dense_layer(width, data.classes, rng)])


def guided(network: Network) -> int:
    """The activation behind the last pooling; the teacher's is the hint."""
    return max(i for i, layer in enumerate(network.layers, 1) if layer.op == "max_pool")


def run(unit: Unit, progress: Progress) -> Run:
    """See Study; "parameters", and "errors" of the test part, at which a first stage does not look."""
    numbers, data = unit.numbers, pictures(unit.numbers)
    shift, rng = numbers["max_shift"], np.random.default_rng([unit.seed, "teacher" in numbers])
    suffix = next(name for name, pixels in SHIFTS.items() if pixels == shift)
    start, first = drawn(numbers, data, rng), unit.setting.startswith("hint, stage 1")
    given: Run = {"data": {"x": data.x_train, "y": data.y_train}, "rng": rng,
                  "optimiser": Adam(numbers["learning_rate"])}
    if "stage 1" in numbers:
        before = Unit("hint, stage 1" + suffix, numbers["stage 1"], unit.seed, unit.folder)
        start = model.load(before.path(".model.npz")).network
    training: Any = partial(train, **given)
    if first or "weight" in numbers:
        teacher = model.load(Unit("teacher" + suffix, numbers["teacher"], 0, unit.folder).path(".model.npz")).network
        own, hint = (network(data.x_train[:1])[0][guided(network)].shape[1:] for network in (start, teacher))
        terms = [Term(squared_error, teacher=guided(teacher), connector=convolution(own, hint, rng))] if first else [
            Term(cross_entropy, teacher="y"), Term(
                soft_targets, weight=lambda done: (1 - done) * numbers["weight"] / numbers["temperature"] ** 2,
                options={"temperature": numbers["temperature"]})]
        training = partial(offline, teacher=teacher, terms=Terms(terms), **given)
    moved = Noise(0.0, max_shift=shift, shape=data.shape) if shift else None
    options = TrainingSettings(numbers["epochs"], numbers["batch_size"], augmentation=moved)
    part = Network(start.layers[:guided(start)]) if first else start
    learnt, cost = trained(unit, progress, data, part, training, options, rng)
    network = Network([*learnt.layers, *start.layers[len(learnt.layers):]])
    if first or "teacher" not in numbers:
        model.save(unit.path(".model.npz"), model.Model(network, data.scaling, {"data": data.name, "seed": unit.seed}))
    cost["parameters"] = sum(p.size for layer in network.layers for p in layer.params)
    return cost if first else judged(predict(network, data.x_test), data) | cost


def bars(runs: Sequence[Run]) -> list[str]:
    """The published order seed by seed, the best student, and what all of it took."""
    errors: dict[str, dict[int, float]] = {}
    for one in runs:
        if "errors" in one:
            errors.setdefault(one["setting"], {})[one["seed"]] = float(one["errors"])
    order = [line for suffix in SHIFTS for worse, better in ((LABELS, SOFT), (SOFT, HINT), (LABELS, HINT))
             for line in beats(f"{better} beats {worse}{suffix}, errors of 10,000", errors.get(worse + suffix, {}),
                               errors.get(better + suffix, {}))]
    students = [[value / 100 for value in errors[name].values()] for name in NAMES if name in errors]
    sizes = [float(one["parameters"]) for one in runs if one["setting"] in NAMES]
    every = sum(numbers.get("seeds", SEEDS) for wave in settings(False) for numbers in wave.values())
    hours = [sum(one["cpu_seconds"] for one in runs) / 3600] if len(runs) == every else []
    return [*order, *bar("best student, %", min(students, key=fmean, default=[]), most=0.6, published="0.51, recalled"),
            *bar("parameters of the student", sizes[:1], most=30_000, published="about 30,000, recalled"),
            *bar("core hours of all runs, 8 hours on 2 cores", hours, most=16)]
