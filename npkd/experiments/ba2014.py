"""Ba & Caruana 2014: a shallow student learns the logits of a deep teacher, or labels alone, with equal budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from npkd.core.progress import Progress
from npkd.data.augmentation import Noise
from npkd.distillation.objective import Terms, distillation
from npkd.distillation.response import logit_matching
from npkd.experiments.compare import bar, beats
from npkd.experiments.hinton2015 import judged, pictures
from npkd.experiments.study import Run, Unit, trained
from npkd.nn import model
from npkd.nn.fast.workspace import predict
from npkd.nn.network import perceptron
from npkd.nn.optimisers import SGD, Adam
from npkd.nn.training import TrainingSettings, train

SEEDS = 5

DATA: Run = {"data": "mnist", "examples": 60_000, "batch_size": 128}
"""All pictures that are not for the test; what had to be chosen was chosen with a tenth held out."""

TEACHER: Run = {**DATA, "seeds": 1, "hidden": [500, 500, 500], "max_shift": 2, "epochs": 80, "learning_rate": 0.1}
"""Deep: three hidden layers, 898,510 parameters; pictures moved by up to two pixels, momentum SGD."""

STUDENT: Run = {**DATA, "hidden": [1128], "epochs": 30, "learning_rate": 0.003}
"""Shallow: one hidden layer, 896,770 parameters; Adam, whose steps do not depend on how large the logits are."""

OBJECTIVES: Mapping[str, Callable[[], Terms]] = {
    "labels alone": lambda: distillation(labels=1.0, soft=0.0),
    "logits": lambda: Terms({(-1, -1): logit_matching}),
    "soft targets": lambda: distillation(temperature=4.0)}
"""What students learn. Nothing else differs: pictures as they are, epochs, rate, and with a seed start and order."""

QUICK: Run = {"examples": 6_000, "epochs": 8}


def settings(quick: bool) -> list[dict[str, Run]]:
    """The teacher, then the same student by what it learns."""
    changed = QUICK if quick else {}
    teacher = {**TEACHER, **changed}
    return [{"teacher": teacher},
            {name: {**STUDENT, **changed, "learns": name, "teacher": teacher} for name in OBJECTIVES}]


def run(unit: Unit, progress: Progress) -> Run:
    """See Study; "errors" of the test part."""
    numbers = unit.numbers
    data, is_student = pictures(numbers), "teacher" in numbers
    batch, rng = {"x": data.x_train, "y": data.y_train}, np.random.default_rng([unit.seed, is_student])
    start = perceptron([data.x_train.shape[1], *numbers["hidden"], data.classes], rng)
    rate, options = numbers["learning_rate"], TrainingSettings(
        numbers["epochs"], numbers["batch_size"],
        augmentation=None if is_student else Noise(0.0, max_shift=numbers["max_shift"], shape=data.shape))
    if is_student:
        teacher = model.load(Unit("teacher", numbers["teacher"], 0, unit.folder).path(".model.npz")).network
        training = partial(train, data={**batch, "teacher": predict(teacher, data.x_train)},
                           objective=OBJECTIVES[numbers["learns"]](), optimiser=Adam(rate), rng=rng)
    else:
        training = partial(train, data=batch, optimiser=SGD(rate), rng=rng)
    network, cost = trained(unit, progress, data, start, training, options, rng)
    if not is_student:
        model.save(unit.path(".model.npz"), model.Model(network, data.scaling, {"data": data.name}))
    return judged(predict(network, data.x_test), data) | cost


def bars(runs: Sequence[Run]) -> list[str]:
    """Paired differences, seed by seed, in errors of 10,000; and what all of it took."""
    errors = {name: {run["seed"]: 10_000 * run["test_error"] for run in runs if run["setting"] == name}
              for name in OBJECTIVES}
    labels, logits, soft = (errors[name] for name in OBJECTIVES)
    hours = [sum(run["cpu_seconds"] for run in runs) / 3600] if len(runs) == SEEDS * len(OBJECTIVES) + 1 else []
    return [*beats("logits beat labels alone, errors of 10,000", labels, logits),
            *beats("soft targets beat labels alone, errors of 10,000", labels, soft),
            *bar("core hours of all runs", hours, most=1)]
