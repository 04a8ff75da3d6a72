"""Gou, Yu, Maybank & Tao 2021, the survey: every loss and scheme on the same pairs of networks, with equal budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from statistics import fmean
from time import perf_counter, process_time

import numpy as np

from npkd.core.progress import Progress
from npkd.data.datasets import Data, load
from npkd.distillation.safety import safe_clip
from npkd.experiments.compare import paired
from npkd.experiments.study import Run, Unit
from npkd.nn import model
from npkd.nn.architectures import conv_layer
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.nn.training import TrainingSettings, train
from npkd.pipeline.distil import IN_PYTHON, DistillationRecipe, distilled
from npkd.pipeline.library import LOSSES, SCHEMES
from npkd.pipeline.recipe import Recipe
from npkd.pipeline.stages import Run as Stages
from npkd.pipeline.stages import error_rate

SEEDS = 5
ALONE = "labels alone"

PAIRS: Mapping[str, Run] = {
    "mlp": {"data": "mnist", "examples": 12_000, "teacher": [784, 300, 100, 10], "student": [784, 30, 20, 10],
            "epochs": 20},
    "cnn": {"data": "mnist", "examples": 12_000, "teacher": [16, 32], "student": [4, 8], "epochs": 10},
    "optdigits": {"data": "digits", "examples": 12_000, "teacher": [64, 300, 100, 10], "student": [64, 20, 10, 10],
                  "epochs": 60}}
"""Widths of perceptrons; of small convolutional networks the channels of both convolutions."""

MAPS, PERCEPTRONS = {"at", "nst", "ft", "kdsvd", "review", "attention"}, {"assistants", "born-again", "layer-wise"}
"""Words of losses and schemes that compare maps, and of schemes for perceptrons alone."""
BATCH_SIZE = 128


def settings(quick: bool) -> list[dict[str, Run]]:
    """The teachers; for each pair labels alone, every loss, and every scheme that one teacher and its data allow."""
    teachers, students = dict[str, Run](), dict[str, Run]()
    for name, numbers in PAIRS.items():
        if quick and name != "optdigits":
            continue
        numbers = {**numbers, **({"examples": 600, "epochs": 3} if quick else {}), "pair": name}
        teachers[f"{name}: teacher"] = {**numbers, "seeds": 1}
        wanted = {ALONE: {}, **{word: {"loss": word} for word in LOSSES},
                  **{word: {"scheme": word} for word in SCHEMES if word not in {*IN_PYTHON, "offline"}}}
        students |= {f"{name}: {word}": {**numbers, **what} for word, what in wanted.items()
                     if word not in (PERCEPTRONS if name == "cnn" else MAPS)}
    return [teachers, students]


def small_cnn(channels: Sequence[int], rng: np.random.Generator) -> Network:
    """Two convolutions 3×3 with relu, each with a max pooling 2×2 of (28, 28, 1), and the outputs."""
    pool = Layer("max_pool", options={"size": 2})
    return Network([Layer("unflatten", options={"shape": [28, 28, 1]}), conv_layer(1, channels[0], 3, rng, padding=1),
                    Layer("relu"), pool, conv_layer(channels[0], channels[1], 3, rng, padding=1), Layer("relu"), pool,
                    Layer("flatten"), dense_layer(49 * channels[1], 10, rng)])


def drawn(widths: Sequence[int], rng: np.random.Generator) -> Network:
    """A network to begin with: see PAIRS."""
    return small_cnn(widths, rng) if len(widths) == 2 else perceptron(widths, rng)


@lru_cache(2)
def part(name: str, examples: int) -> Data:
    """The data with its first training examples."""
    data = load(name, seed=0)
    return replace(data, x_train=data.x_train[:examples], y_train=data.y_train[:examples])


def run(unit: Unit, progress: Progress) -> Run:
    """See Study; "epoch_seconds": processor time of the student by its epochs, that of further networks in it."""
    numbers, data = unit.numbers, part(unit.numbers["data"], unit.numbers["examples"])
    began, is_teacher = (perf_counter(), process_time()), unit.setting.endswith("teacher")
    rng = np.random.default_rng([unit.seed, is_teacher])
    start = drawn(numbers["teacher" if is_teacher else "student"], rng)
    if is_teacher or unit.setting.endswith(ALONE):
        options = TrainingSettings(numbers["epochs"], BATCH_SIZE, clip=safe_clip(start, data.x_train, data.y_train))
        *_, last = train(start, {"x": data.x_train, "y": data.y_train}, settings=options, rng=rng)
        network = last.network
    else:
        given = {key: numbers[key] for key in PAIRS[numbers["pair"]]} | {"pair": numbers["pair"]}
        path = Unit(f"{numbers['pair']}: teacher", {**given, "seeds": 1}, 0, unit.folder).path(".model.npz")
        recipe = Recipe(epochs=numbers["epochs"], batch_size=BATCH_SIZE, hidden=tuple(numbers["student"])[1:-1] or (1,))
        learnt = DistillationRecipe(numbers.get("loss"), scheme=numbers.get("scheme", "offline"))
        network, _ = distilled(Stages(data, recipe, rng, progress), start, model.load(path).network, learnt)
    seconds, cpu = perf_counter() - began[0], process_time() - began[1]
    if is_teacher:
        model.save(unit.path(".model.npz"), model.Model(network, data.scaling, {"data": data.name}))
    return {"test_error": error_rate(network, data.x_test, data.y_test), "seconds": round(seconds, 2),
            "cpu_seconds": round(cpu, 2), "epoch_seconds": round(cpu / numbers["epochs"], 4)}


def bars(runs: Sequence[Run]) -> list[str]:
    """For each pair and word: errors, their differences to labels alone seed by seed, and the time of an epoch."""
    by_setting: dict[str, dict[int, Run]] = {}
    for one in runs:
        by_setting.setdefault(one["setting"], {})[one["seed"]] = one
    sentences, wanted = list[str](), [name for wave in settings(False) for name in wave]
    for setting, found in by_setting.items():
        pair, word = setting.split(": ")
        alone, soft = by_setting.get(f"{pair}: {ALONE}", {}), by_setting.get(f"{pair}: soft", {})
        seeds = sorted({*found} & {*alone})
        if word in ("teacher", ALONE) or not seeds:
            continue
        gain = paired([100 * alone[s]["test_error"] for s in seeds], [100 * found[s]["test_error"] for s in seeds])
        slower = [f"{found[s]['epoch_seconds'] / soft[s]['epoch_seconds']:.2f}" for s in seeds[:1] if s in soft]
        verdict, error = "holds" if gain.verdict in ("win", "tie") else "MISSED", fmean(
            100 * one["test_error"] for one in found.values())
        sentences.append(f"{verdict}: not worse than labels alone: {setting}, {error:.2f} %, gain {gain.mean:+.2f} "
                         f"points ({gain.verdict}, {len(seeds)} seeds)" + "".join(
                             f", {factor} of the time of soft targets" for factor in slower))
    done = sum(len(by_setting.get(name, {})) == SEEDS for name in wanted[len(PAIRS):])
    verdict = "holds" if done == len(wanted) - len(PAIRS) else "MISSED"
    return [f"{verdict}: the table is complete, {done} of {len(wanted) - len(PAIRS)} settings with {SEEDS} seeds",
            *sentences]
