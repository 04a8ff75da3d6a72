"""Cintra et al. 2018: a convolutional network for digits whose weights become dyadic and whose activations cheap."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from statistics import fmean

import numpy as np

from npkd.compression import dyadic
from npkd.core.progress import Progress
from npkd.data.batches import MAPS, batches_of
from npkd.distillation.objective import distillation
from npkd.experiments.compare import bar, beats
from npkd.experiments.hinton2015 import judged, pictures
from npkd.experiments.study import Run, Unit, trained
from npkd.nn import model
from npkd.nn.architectures import lenet5
from npkd.nn.fast.workspace import predict
from npkd.nn.network import Layer, Network
from npkd.nn.optimisers import SGD
from npkd.nn.training import TrainingSettings, train

SEEDS = 5
DATA: Run = {"data": "mnist", "examples": 60_000, "batch_size": 128}
FLOAT: Run = {**DATA, "channels": [8, 24], "hidden": 460, "epochs": 8, "learning_rate": 0.05}
"""LeNet-5 with tanh and average pooling, 186,742 parameters; labels, momentum SGD. One for each seed."""
STUDENT: Run = {**DATA, "levels": "", "how": "", "activation": "tanh", "epochs": 1, "learning_rate": 0.01}
"""What is made of it; epochs and rate are of each stage of a distillation."""
FIXED = {f"A_{b}": dyadic.dyadic(b) for b in range(1, 9)}
SETS = {**FIXED, "signs": dyadic.SIGNS, "halves": dyadic.HALVES, "quarters": dyadic.QUARTERS}
"""Levels: A_b as they are, the others with a scale for each layer."""
CHEAP = {f"{name}, shift {k}": (f"clipped_{name}", k) for name in ("linear", "quadratic") for k in (0, 1, 2)}
"""In the place of tanh: op and shift. Linear I and quadratic I are shift 2, II are shift 1."""
QUICK: Run = {"examples": 2_000, "epochs": 2}


def settings(quick: bool) -> list[dict[str, Run]]:
    """The network of floats; its weights on grids, found in three ways; its activations; both."""
    changed = QUICK if quick else {}
    teacher = {**FLOAT, **changed}
    base: Run = {**STUDENT, **changed, "epochs": STUDENT["epochs"], "teacher": teacher}
    made = {f"{name}, {how}": {**base, "levels": name, "how": how} for name in (("A_1", "quarters") if quick else SETS)
            for how in ("nearest", "output space", "distilled")[:2 if name in FIXED else 3]}
    made |= {name: {**base, "activation": name} for name in CHEAP}
    made["both, distilled"] = {**made["quarters, distilled"], "activation": "quadratic, shift 1"}
    return [{"float": teacher}, made]


def run(unit: Unit, progress: Progress) -> Run:
    """See Study; "errors" of the test part, and of weights on a grid "additions" and "shifts" of an example."""
    numbers, rng, began = unit.numbers, np.random.default_rng(unit.seed), (time.perf_counter(), time.process_time())
    data, optimiser = pictures(numbers), SGD(numbers["learning_rate"])
    options = TrainingSettings(numbers["epochs"], numbers["batch_size"])
    if "teacher" not in numbers:
        put = {"max_pool": [Layer("tanh"), Layer("average_pool", options={"size": 2})], "relu": [Layer("tanh")]}
        plain = lenet5(rng, channels=tuple(numbers["channels"]), hidden=numbers["hidden"], shape=(*data.shape, 1))
        start = Network([new for old in plain.layers for new in put.get(str(old.op), [old])])
        training = partial(train, data={"x": data.x_train, "y": data.y_train}, optimiser=optimiser, rng=rng)
        network, cost = trained(unit, progress, data, start, training, options, rng)
        model.save(unit.path(".model.npz"), model.Model(network, data.scaling, {"data": data.name, "seed": unit.seed}))
        return judged(predict(network, data.x_test), data) | cost
    network = teacher = model.load(Unit("float", numbers["teacher"], unit.seed, unit.folder).path(".model.npz")).network
    levels, scale = SETS.get(numbers["levels"], ()), 1.0 if numbers["levels"] in FIXED else None
    if numbers["activation"] in CHEAP:
        cheap = Layer(CHEAP[numbers["activation"]][0], options={"shift": CHEAP[numbers["activation"]][1]})
        network = Network([cheap if layer.op == "tanh" else layer for layer in network.layers])
    if numbers["how"] == "distilled":
        batch = {"x": data.x_train, "teacher": predict(teacher, data.x_train)}
        network = [*dyadic.dyadic_student(network, levels, batch, distillation(), optimiser=optimiser, settings=options,
                                          rng=rng)][-1].network
    elif levels:
        batches = batches_of(data.x_train[:dyadic.EXAMPLES], MAPS) if numbers["how"] == "output space" else None
        network = dyadic.dyadic_network(network, levels, batches, scale=scale)
    counts = dict(zip(("additions", "shifts"), dyadic.additions_and_shifts(network), strict=True)) if levels else {}
    return judged(predict(network, data.x_test), data) | counts | {
        "seconds": time.perf_counter() - began[0], "cpu_seconds": time.process_time() - began[1]}


def bars(runs: Sequence[Run]) -> list[str]:
    """What is lost against floats, output space against nearest rounding seed by seed, the knee, the time."""
    errors: dict[str, dict[int, float]] = {}
    for one in runs:
        errors.setdefault(one["setting"], {})[one["seed"]] = 10_000 * one["test_error"]
    lost = {name: [some[seed] - errors["float"][seed] for seed in some] for name, some in errors.items()}
    tried = {how: [fmean(lost[f"A_{b}, {how}"]) for b in range(1, 9) if f"A_{b}, {how}" in lost]
             for how in ("nearest", "output space")}
    knees = [[min((b for b, mean in enumerate(means, 1) if mean <= 10), default=np.inf)] * (len(means) == 8)
             for means in tried.values()]
    hours = [sum(one["cpu_seconds"] for one in runs) / 3600] * (len(runs) == SEEDS * sum(map(len, settings(False))))
    return [*bar("quarters, distilled, errors more than float", lost.get("quarters, distilled", []), most=20),
            *(line for name in SETS for line in beats(f"{name}: output space beats nearest rounding, errors", *(
                errors.get(f"{name}, {how}", {}) for how in ("nearest", "output space")))),
            *bar("least b of A_b within 10 errors of float, nearest", knees[0], most=8, published="3, of faces"),
            *bar("the same in output space", knees[1], most=3), *bar("core hours of all runs", hours, most=1.5)]
