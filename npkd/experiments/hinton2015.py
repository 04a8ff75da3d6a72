"""Hinton, Vinyals & Dean 2015, section 3, MNIST: one teacher, and students of its softened predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np

from npkd.core.progress import Progress
from npkd.core.types import Array
from npkd.data.augmentation import Noise
from npkd.data.datasets import Data, load
from npkd.distillation.classes import class_bias
from npkd.distillation.objective import distillation
from npkd.experiments.compare import bar
from npkd.experiments.study import Run, Unit, trained
from npkd.nn import model
from npkd.nn.fast.workspace import predict
from npkd.nn.network import perceptron
from npkd.nn.optimisers import SGD
from npkd.nn.training import TrainingSettings, train
from npkd.sparsity.penalties import MaxNorm

SEEDS = 5

DATA: Run = {"data": "mnist", "examples": 60_000}
"""All pictures that are not for the test, as in the paper; what had to be chosen was chosen with a tenth held out."""

TEACHER: Run = {**DATA, "seeds": 1, "hidden": [1200, 1200], "dropout": [0.1, 0.3, 0.3], "max_norm": 15 ** 0.5,
                "max_shift": 2, "epochs": 200, "batch_size": 128, "learning_rate": 0.1}
"""Dropout, a bound on the norm of each hidden neuron's weights, pictures moved by up to two pixels."""

STUDENT: Run = {**DATA, "hidden": [800, 800], "labels": 0.0, "temperature": 20.0, "omitted": [], "biased": [],
                "epochs": 50, "batch_size": 128, "learning_rate": 0.02, "clip": 10.0}
"""No dropout, no penalty, no augmentation; as many epochs for students of labels as for those of a teacher."""

HARD: Run = {"labels": 1.0, "temperature": None, "learning_rate": 0.2}
"""What differs for labels alone; of both the rate is the best of those that were tried."""

TEMPERATURES: Mapping[int, Sequence[float]] = {300: (1, 2, 4, 8, 12, 20, 40), 30: (1, 2, 2.5, 3, 4, 8, 12, 20, 40)}
"""By the width of both hidden layers."""

QUICK: Run = {"examples": 6_000, "epochs": 8}


def settings(quick: bool) -> list[dict[str, Run]]:
    """The teacher, then the students: labels, soft targets, a digit omitted, two digits alone, the temperatures."""
    changed = QUICK if quick else {}
    teacher = {**TEACHER, **changed}
    base = {**STUDENT, **changed, "teacher": teacher}
    students = {"hard": {**base, **HARD}, "distilled": base,
                "digit 3 omitted": {**base, "omitted": [3], "biased": [3]},
                "only 7 and 8": {**base, "omitted": [0, 1, 2, 3, 4, 5, 6, 9], "biased": [7, 8]}}
    for width, temperatures in TEMPERATURES.items():
        students |= {f"{width} units, T = {t:g}": {**base, "hidden": [width, width], "temperature": float(t)}
                     for t in (temperatures[1::3] if quick else temperatures)}
    return [{"teacher": teacher}, students]


def pictures(numbers: Mapping[str, Any]) -> Data:
    """The first of all pictures that are not for the test, as training part."""
    whole = load(numbers["data"], seed=0)
    x = np.concatenate([whole.x_train, whole.x_validation])[:numbers["examples"]]
    y = np.concatenate([whole.y_train, whole.y_validation])[:numbers["examples"]]
    return replace(whole, x_train=x, y_train=y, x_validation=x[:0], y_validation=y[:0])


def run(unit: Unit, progress: Progress) -> Run:
    """See Study; "errors" of the test part, of students with a biased class also "corrected"."""
    numbers = unit.numbers
    data = pictures(numbers)
    if "teacher" in numbers:
        return student(unit, data, progress)
    rng, batch = np.random.default_rng([unit.seed, 0]), {"x": data.x_train, "y": data.y_train}
    start = perceptron([batch["x"].shape[1], *numbers["hidden"], data.classes], rng, dropout_rates=numbers["dropout"])
    bound = {i: MaxNorm(numbers["max_norm"]) for i in start.dense_layers[:-1]}
    training = partial(train, data=batch, optimiser=SGD(numbers["learning_rate"]), penalties=bound, rng=rng)
    augmentation = Noise(0.0, max_shift=numbers["max_shift"], shape=data.shape)
    options = TrainingSettings(numbers["epochs"], numbers["batch_size"], augmentation=augmentation)
    network, cost = trained(unit, progress, data, start, training, options, rng)
    model.save(unit.path(".model.npz"), model.Model(network, data.scaling, {"data": data.name, "seed": unit.seed}))
    return judged(predict(network, data.x_test), data) | cost


def student(unit: Unit, data: Data, progress: Progress) -> Run:
    """A student of the teacher's answers to pictures as they are, or of labels."""
    numbers = unit.numbers
    teacher = model.load(Unit("teacher", numbers["teacher"], 0, unit.folder).path(".model.npz")).network
    kept = ~np.isin(data.y_train, numbers["omitted"])
    seen = replace(data, x_train=data.x_train[kept], y_train=data.y_train[kept])
    batch = {"x": seen.x_train, "y": seen.y_train, "teacher": predict(teacher, seen.x_train)}
    t = numbers["temperature"]
    objective = distillation(numbers["labels"], 0.0 if t is None else 1.0, t or 1.0)
    rng = np.random.default_rng([unit.seed, 1])
    start = perceptron([data.x_train.shape[1], *numbers["hidden"], data.classes], rng)
    training = partial(train, data=batch, objective=objective, optimiser=SGD(numbers["learning_rate"]), rng=rng)
    options = TrainingSettings(numbers["epochs"], numbers["batch_size"], clip=numbers["clip"])
    network, cost = trained(unit, progress, seen, start, training, options, rng)
    logits = predict(network, data.x_test)
    result = judged(logits, data, numbers["biased"])
    if numbers["biased"]:
        share = np.bincount(data.y_train, minlength=data.classes)
        bias = class_bias(predict(network, data.x_train), share, classes=numbers["biased"])
        result |= {"bias": bias.round(4).tolist(), "corrected": judged(logits + bias, data, numbers["biased"])}
    return result | cost


def judged(logits: Array, data: Data, biased: Sequence[int] = ()) -> Run:
    """Errors in the test part; "right": the part of its examples of the biased classes that are."""
    wrong = logits.argmax(axis=1) != data.y_test
    of_biased = np.isin(data.y_test, biased)
    return {"test_error": float(wrong.mean()), "errors": int(wrong.sum())} | (
        {"right": 1 - float(wrong[of_biased].mean()), "of": int(of_biased.sum())} if len(biased) else {})


def bars(runs: Sequence[Run]) -> list[str]:
    """The bars; then the paper's own numbers where the bar is another."""
    by_setting = {name: [run for run in runs if run["setting"] == name] for wave in settings(False) for name in wave}

    def errors(setting: str) -> list[float]:
        return [10_000 * run["test_error"] for run in by_setting.get(setting, [])]

    teacher, hard, distilled, omitted = map(errors, ("teacher", "hard", "distilled", "digit 3 omitted"))
    corrected = [run["corrected"] for run in by_setting["digit 3 omitted"]]
    means = [fmean(some) for some in (hard, distilled, teacher) if some]
    way = [(means[0] - means[1]) / (means[0] - means[2])] if len(means) == 3 and means[0] > means[2] else []
    sweep = {t: errors(f"30 units, T = {t:g}") for t in TEMPERATURES[30]}
    best = [min(sweep, key=lambda t: fmean(sweep[t]))] if all(sweep.values()) else []
    hours = [sum(run["cpu_seconds"] for run in runs) / 3600] if all(by_setting.values()) else []
    return [*bar("teacher, errors of 10,000", teacher, most=85, published="67"),
            *bar("labels alone, errors", hard, least=120, most=160, published="146"),
            *bar("distilled, errors", distilled, most=115, published="74"),
            *bar("distilled, part of the way from labels alone to the teacher", way, least=0.5, published="0.91"),
            *bar("digit 3 omitted, errors", omitted, most=206, published="206"),
            *bar("digit 3 omitted, bias corrected, errors", [10_000 * run["test_error"] for run in corrected], most=150,
                 published="109 with a bias chosen on the test set"),
            *bar("digit 3 omitted, bias corrected, % of the threes right", [100 * run["right"] for run in corrected],
                 least=97.5, published="98.6 with a bias chosen on the test set"),
            *bar("30 units, temperature with the fewest errors", best, least=2.5, most=4, published="2.5 to 4"),
            *bar("core hours of all runs, 8 hours on 2 cores", hours, most=16),
            *bar("moonshot, teacher, errors", teacher, most=67),
            *bar("moonshot, distilled, errors", distilled, most=74)]
