"""Every way to compress on the same networks: alone, with distillation, and in chains (pipeline.steps).

Like for like: a plain teacher of the same architecture, nothing moved. Best setting: pictures moved by a pixel, for
teachers and students alike, and answers of LeNet-5s that were trained on them, averaged.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from npkd.core.progress import Progress
from npkd.core.types import Array
from npkd.data.datasets import Data, load
from npkd.experiments.compare import bar
from npkd.experiments.hinton2015 import judged
from npkd.experiments.searched import RULES, searched
from npkd.experiments.study import Run, Unit
from npkd.nn import model
from npkd.nn.fast.workspace import predict
from npkd.pipeline import stages
from npkd.pipeline.compress import compress
from npkd.pipeline.recipe import Recipe, complete, plain
from npkd.pipeline.steps import GRIDS, nonzero
from npkd.pipeline.target import parse
from npkd.surgery.widths import widths_of

SEEDS = 5
EXPERTS = 3
"""LeNet-5s whose logits are averaged in the best setting; their seeds are 0 … EXPERTS − 1, for all students."""
PLAIN: Run = {"data": "mnist", "network": "perceptron", "max_shift": 0}
MOVED: Run = {**PLAIN, "max_shift": 1}
LENET5: Run = {**MOVED, "network": "lenet5", "seeds": 3}
DIGITS: Run = {**PLAIN, "data": "digits"}
TEACHERS: Mapping[str, Run] = {"dense": PLAIN, "dense, moved": MOVED, "LeNet-5": LENET5, "dense, optdigits": DIGITS}
EPOCHS: Mapping[str, int] = {"dense": 60, "dense, moved": 120, "LeNet-5": 30, "dense, optdigits": 60}
"""Passes of the last distillation of every student."""
BEST = ("dense, moved", "LeNet-5")
"""Whose students learn the answers of the LeNet-5s."""

ALONE: Mapping[str, str] = {"neurons": "parameters=10%", "low-rank": "parameters=10%", "weights": "parameters=10%",
                            **dict.fromkeys(GRIDS, "macs=10%")}
"""Every step by itself; sized ones to a tenth of the parameters. Without training, and with distillation."""
CHAINS: Mapping[str, str] = {"neurons,weights": "parameters=5%", "low-rank,weights": "parameters=5%",
                             "neurons,low-rank": "parameters=10%", "neurons,int8,code": "bytes=32768",
                             "weights,int8,code": "bytes=16384"}
"""Combined with layer-wise distillation, and by pairs."""
RECORDS: Mapping[str, tuple[str, str, str]] = {
    "3,100 weights, like for like": ("dense", "weights", "parameters=3510"),
    "3,100 weights": ("dense, moved", "weights", "parameters=3510"),
    "1,500 weights": ("dense, moved", "weights", "parameters=1910"),
    "8 KB": ("dense, moved", "neurons,weights,int4,code", "bytes=8192"),
    "4 KB": ("dense, moved", "neurons,weights,int4,code", "bytes=4096"),
    "LeNet-5, 1,550 weights": ("LeNet-5", "weights", "parameters=2130"),
    "LeNet-5, 6 KB": ("LeNet-5", "neurons,weights,int4,code", "bytes=6144")}
"""Teacher, steps, target. Biases, 410 of LeNet-300-100 and 580 of LeNet-5, count beside the weights."""
QUICK = {"low-rank": "parameters=10%", "dyadic": "macs=10%", "weights,int4,code": "bytes=16384"}
"""Of a quick run, with a part of the data."""
SEARCH = "macs=10%"
"""Target of the students whose widths are searched for, of "dense"; those of the curves, cut at once, stand beside."""
AT_LAST: Run = {"all_at_last": True}
"""Of the records: the last distillation sees all 60,000 pictures, as the published ones did."""
LIKE_FOR_LIKE: Run = {"adversarial_eps": 0.3, "label_weight": 1.0, "student_weight_decay": 2e-4, **AT_LAST}
"""Where nothing is moved: against an adversary (T11), which needs no knowledge of pictures, and labels count as much as
a teacher that knows little more. Chosen on the validation part, seeds 0 to 2."""
BARS: Mapping[str, tuple[float, str]] = {
    "3,100 weights, like for like": (1.60, ""), "3,100 weights": (1.20, "1.57"), "1,500 weights": (1.90, ""),
    "8 KB": (1.70, ""), "4 KB": (1.60, ""), "LeNet-5, 1,550 weights": (0.80, "0.75"),
    "LeNet-5, 6 KB": (0.90, "")}
"""Most test error in percent, and what is published."""


def settings(quick: bool) -> list[dict[str, Run]]:
    """Teachers, then students."""
    changed: Run = {"examples": 2_000, "teacher_epochs": 4} if quick else {}
    names = ("dense",) if quick else tuple(TEACHERS)
    teachers = {name: {**TEACHERS[name], **changed} for name in names}
    students: dict[str, Run] = {}

    def student(name: str, teacher: str, steps: str, target: str, epochs: int) -> None:
        best = {"experts": teachers["LeNet-5"]} if teacher in BEST and not quick else {}
        students[name] = {**teachers[teacher], "teacher": teachers[teacher], "of": teacher, "steps": steps.split(","),
                          "target": target, "epochs": min(epochs, 4) if quick else epochs, **best}

    for name in ("dense", "dense, optdigits")[:1 if quick else 2]:
        for steps, target in {**ALONE, **CHAINS}.items() if not quick else QUICK.items():
            student(f"{name}: {steps}", name, steps, target, EPOCHS[name])
            if steps in ALONE:
                student(f"{name}: {steps}, untrained", name, steps, target, 0)
    for rule in RULES if not quick else ():
        student(f"dense: widths by {rule}", "dense", rule, SEARCH, EPOCHS["dense"])
    student("dense: widths by curves", "dense", "neurons", SEARCH, EPOCHS["dense"])
    students["dense: widths by curves"]["recipe"] = {"rounds": 1}               # at once, as the widths that are tried
    for name, (teacher, steps, target) in RECORDS.items() if not quick else ():
        student(name, teacher, steps, target, EPOCHS[teacher])
        students[name]["recipe"] = LIKE_FOR_LIKE if "like for like" in name else AT_LAST
    return [teachers, students]


def examples(numbers: Mapping[str, Any]) -> Data:
    """The data, with the same validation part for all, so that no teacher has seen it; of a quick run the first."""
    data = load(numbers["data"], seed=0)
    n = numbers.get("examples", len(data.x_train))
    return replace(data, x_train=data.x_train[:n], y_train=data.y_train[:n])


def recipe_of(numbers: Mapping[str, Any], data: Data) -> Recipe:
    """The default recipe of the command line for such data; where nothing is moved, that of a plain teacher, and a
    student's without shifts."""
    given = {name: numbers[name] for name in ("epochs", "teacher_epochs") if name in numbers}
    recipe = complete(Recipe(network=numbers["network"], **given), len(data.x_train), data.shape)
    if not numbers["max_shift"]:
        recipe = replace(recipe, max_shift=0) if "teacher" in numbers else plain(recipe)
    steps = tuple(step for step in numbers.get("steps", ()) if step not in RULES)
    return replace(recipe, steps=steps, **numbers.get("recipe", {}))


def run(unit: Unit, progress: Progress) -> Run:
    """See Study: "errors" of the test part, "parameters" and "macs" that are not zero, "bytes" of the file as written,
    and the "steps" with their validation errors. What is judged is what was written."""
    clock, began, numbers = time.process_time(), time.perf_counter(), unit.numbers
    data, rng = examples(numbers), np.random.default_rng(unit.seed)
    recipe, path, more = recipe_of(numbers, data), unit.path(".model.npz"), {}
    shared = stages.Run(data, recipe, rng, progress)
    if "teacher" not in numbers:
        model.save(path, model.Model(stages.train_teacher(shared), data.scaling))
    else:
        teacher = model.load(Unit(numbers["of"], numbers["teacher"], unit.seed, unit.folder).path(".model.npz"))
        if numbers["steps"][0] in RULES:
            goal = parse(numbers["target"], widths_of(teacher.network))
            model.save(path, model.Model(searched(numbers["steps"][0], shared, teacher.network, goal), data.scaling))
        else:
            if "experts" in numbers:
                recipe = replace(recipe, distil_from=averaged(numbers["experts"], unit))
            result = compress(teacher, data, numbers["target"], recipe=recipe, seed=rng, progress=progress)
            path = path.with_suffix(".npkz") if numbers["steps"][-1] == "code" else path
            result.save(path)
            more = {"steps": [vars(step) for step in result.steps]}
    network, size = model.load(path).network, path.stat().st_size
    if "teacher" in numbers:
        path.unlink()
    parameters, macs = nonzero(network)
    return judged(predict(network, data.x_test), data) | more | {
        "parameters": parameters, "macs": macs, "bytes": size, "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - clock}


def averaged(numbers: Run, unit: Unit) -> Any:
    """The mean of the logits of the LeNet-5s, of raw examples."""
    experts = [model.load(Unit("LeNet-5", numbers, seed, unit.folder).path(".model.npz")) for seed in range(EXPERTS)]

    def answers(x: Array) -> Array:
        return np.asarray(np.mean([expert.logits(x) for expert in experts], axis=0))

    return answers


def bars(runs: Sequence[Run]) -> list[str]:
    """Mean test errors in percent against the bars; grids against what they were made of, seed by seed."""
    errors: dict[str, dict[int, float]] = {}
    for one in runs:
        errors.setdefault(one["setting"], {})[one["seed"]] = 100 * one["test_error"]
    lines = [line for name, (most, published) in BARS.items() for line in bar(
        f"{name}, test error, %", list(errors.get(name, {}).values()), most=most, published=published)]
    for grid, most in (("int8", 0.02), ("dyadic", 0.2)):
        of, on = errors.get("dense", {}), errors.get(f"dense: {grid}", {})
        lines += bar(f"{grid} above float, points", [on[s] - of[s] for s in sorted({*of} & {*on})], most=most)
    return lines
