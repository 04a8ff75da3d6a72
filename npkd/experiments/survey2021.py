"""Gou, Yu, Maybank & Tao 2021, the survey: every loss and scheme on the same pairs of networks, with equal budgets.

Equal budgets: as many examples are learnt from, in batches of one size. Two networks in turn (assistants, born-again)
share the epochs, half each; of fewer examples, made without data, there are as many more epochs. A teacher is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from statistics import fmean
from time import perf_counter, process_time

import numpy as np

from npkd.core.progress import Progress
from npkd.data.datasets import Data, load
from npkd.distillation import schemes
from npkd.distillation.objective import Terms, distillation
from npkd.distillation.response import soft_targets
from npkd.distillation.safety import safe_clip
from npkd.distillation.teacher import Ensemble, one_a_batch
from npkd.distillation.terms import Term
from npkd.experiments.compare import paired
from npkd.experiments.study import Run, Unit
from npkd.nn import model
from npkd.nn.architectures import conv_layer
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.nn.training import Record, TrainingSettings, train
from npkd.pipeline.distil import EXAMPLES, IN_PYTHON, SOFT_WEIGHT, DistillationRecipe, distilled
from npkd.pipeline.library import LOSSES, SCHEMES
from npkd.pipeline.recipe import Recipe
from npkd.pipeline.stages import Run as Stages
from npkd.pipeline.stages import error_rate
from npkd.surgery.widths import widths_of

SEEDS = 5

PAIRS: Mapping[str, Run] = {
    "mlp": {"data": "mnist", "examples": 12_000, "teacher": [784, 300, 100, 10], "student": [784, 30, 20, 10],
            "epochs": 20},
    "cnn": {"data": "mnist", "examples": 12_000, "teacher": [16, 32], "student": [4, 8], "epochs": 10},
    "optdigits": {"data": "digits", "examples": 12_000, "teacher": [64, 300, 100, 10], "student": [64, 20, 10, 10],
                  "epochs": 60}}
"""Widths of perceptrons; of small convolutional networks the channels of both convolutions."""

BATCH_SIZE, CLASSES = 128, 10
TEACHERS, OLD = ("teacher", "teacher 2", "teacher 3"), "network of 0 to 4"
GIVEN: Mapping[str, Run] = {**{word: {"seeds": 1, "draw": k} for k, word in enumerate(TEACHERS)},
                            OLD: {"classes": [0, 5], "outputs": 5}}
"""What the students are given: three teachers; of the student's shape, seed by seed, one that knows the old classes."""

ALONE, LOWER, TUNED = "labels alone", "labels alone, lower half", "fine-tuning"
BASELINES = {"cross-modal": LOWER, "lifelong": TUNED}
"""The row that another one is compared with, by its word: the same inputs and examples without the teacher."""

ROWS: Mapping[str, Run] = {
    ALONE: {}, **{word: {"loss": word} for word in LOSSES},
    **{word: {"scheme": word} for word in SCHEMES if word != "offline"},
    "ensemble, one a batch": {"scheme": "ensemble", "one_a_batch": True},
    "lifelong": {"scheme": "lifelong", "classes": [5, 10], "weight": 1.0},
    LOWER: {"scheme": "cross-modal", "weight": 0.0}, TUNED: {"scheme": "lifelong", "classes": [5, 10], "weight": 0.0}}
"""By their words; "weight" is that of the teacher, "classes": first, and below."""

IN_STUDY, IN_TURN = {*IN_PYTHON, "assistants", "born-again", "layer-wise"}, {"assistants", "born-again"}
"""Schemes that are given here what the command line does not give; those that train two networks, one after another."""

MAPS = {"at", "nst", "ft", "kdsvd", "review", "attention"}
"""Words of losses and schemes that compare maps, which perceptrons have not."""


def settings(quick: bool) -> list[dict[str, Run]]:
    """What is given; for each pair labels alone, every loss, and every scheme."""
    given, students = dict[str, Run](), dict[str, Run]()
    for name, numbers in PAIRS.items():
        if quick and name != "optdigits":
            continue
        numbers = {**numbers, **({"examples": 600, "epochs": 3} if quick else {}), "pair": name}
        given |= {f"{name}: {word}": {**numbers, **what} for word, what in GIVEN.items()}
        students |= {f"{name}: {word}": {**numbers, **what} for word, what in ROWS.items()
                     if name == "cnn" or word not in MAPS}
    return [given, students]


def small_cnn(channels: Sequence[int], classes: int, rng: np.random.Generator) -> Network:
    """Two convolutions 3×3 with relu, each with a max pooling 2×2 of (28, 28, 1), and the outputs."""
    pool = Layer("max_pool", options={"size": 2})
    return Network([Layer("unflatten", options={"shape": [28, 28, 1]}), conv_layer(1, channels[0], 3, rng, padding=1),
                    Layer("relu"), pool, conv_layer(channels[0], channels[1], 3, rng, padding=1), Layer("relu"), pool,
                    Layer("flatten"), dense_layer(49 * channels[1], classes, rng)])


def drawn(widths: Sequence[int], rng: np.random.Generator, classes: int = CLASSES) -> Network:
    """A network to begin with: see PAIRS."""
    return small_cnn(widths, classes, rng) if len(widths) == 2 else perceptron([*widths[:-1], classes], rng)


@lru_cache(2)
def part(name: str, examples: int) -> Data:
    """The data with its first training examples."""
    data = load(name, seed=0)
    return replace(data, x_train=data.x_train[:examples], y_train=data.y_train[:examples])


def lower_half(data: Data) -> Data:
    """The data with the upper half of every picture black."""
    seen = np.arange(data.x_train.shape[1]) >= data.x_train.shape[1] // 2
    return replace(data, x_train=data.x_train * seen, x_validation=data.x_validation * seen, x_test=data.x_test * seen)


def given(unit: Unit, word: str, seed: int = 0) -> Network:
    """The network of the first wave, of this unit's pair."""
    numbers = {key: unit.numbers[key] for key in (*PAIRS["mlp"], "pair")} | GIVEN[word]
    return model.load(Unit(f"{numbers['pair']}: {word}", numbers, seed, unit.folder).path(".model.npz")).network


def run(unit: Unit, progress: Progress) -> Run:
    """See Study; "epoch_seconds": processor time of the student by its epochs, that of further networks in it."""
    began, numbers, word = (perf_counter(), process_time()), unit.numbers, unit.setting.split(": ")[1]
    scheme, epochs, outputs = numbers.get("scheme"), numbers["epochs"], numbers.get("outputs", CLASSES)
    data = part(numbers["data"], numbers["examples"])
    data = lower_half(data) if scheme == "cross-modal" else data
    rng = np.random.default_rng([numbers.get("draw", unit.seed), word in GIVEN])
    start = drawn(numbers["teacher" if word in TEACHERS else "student"], rng, outputs)
    if word in GIVEN or word == ALONE or scheme in IN_STUDY:
        options = TrainingSettings(epochs // 2 if scheme in IN_TURN else epochs, BATCH_SIZE, validate=lambda network:
                                   error_rate(network, data.x_validation, data.y_validation))
        *_, last = training(unit, start, data, options, rng)
        network = last.network
    else:
        times = max(1, len(data.x_train) // EXAMPLES) if scheme == "data-free" else 1
        recipe, learnt = Recipe(epochs=times * epochs, batch_size=BATCH_SIZE), DistillationRecipe(
            numbers.get("loss"), scheme=scheme or "offline")
        network, _ = distilled(Stages(data, recipe, rng, progress), start, given(unit, "teacher"), learnt)
    seconds, cpu, judged = perf_counter() - began[0], process_time() - began[1], data.y_test < outputs
    if word in GIVEN:
        model.save(unit.path(".model.npz"), model.Model(network, data.scaling, {"data": data.name}))
    return {"test_error": error_rate(network, data.x_test[judged], data.y_test[judged]), "seconds": round(seconds, 2),
            "cpu_seconds": round(cpu, 2), "epoch_seconds": round(cpu / epochs, 4)}


def training(unit: Unit, start: Network, data: Data, options: TrainingSettings, rng: np.random.Generator
             ) -> Iterator[Record]:
    """A training by the labels, or by a scheme IN_STUDY; without a bound (K50) in ``options`` the scheme finds its."""
    numbers, widths, scheme = unit.numbers, unit.numbers["student"], unit.numbers.get("scheme")
    weight, kept = numbers.get("weight", SOFT_WEIGHT), np.isin(data.y_train, range(*numbers.get("classes", [CLASSES])))
    batch = {"x": data.x_train[kept], "y": data.y_train[kept]}
    terms, bounded = distillation(1 - weight, weight), replace(options, clip=safe_clip(start, batch["x"], batch["y"]))
    if scheme is None:
        return train(start, batch, settings=bounded, rng=rng)
    if scheme == "born-again":
        return schemes.born_again([drawn(widths, rng), start], batch, terms, settings=bounded, rng=rng)
    if scheme == "lifelong":
        network, old = given(unit, OLD, unit.seed), Term(soft_targets, weight=weight, options={"temperature": 2.0})
        start = schemes.widened(network, CLASSES - network.widths[-1], rng)
        return schemes.lifelong(start, network, batch, old, settings=options, rng=rng)
    teacher = given(unit, "teacher")
    if scheme == "cross-modal":
        batch["paired"] = part(numbers["data"], numbers["examples"]).x_train
        return schemes.cross_modal(start, teacher, batch, terms, settings=options, rng=rng)
    if scheme == "assistants":
        between = drawn([round(math.sqrt(s * t)) for s, t in zip(widths, numbers["teacher"], strict=True)], rng)
        return schemes.assistants([between, start], teacher, batch, terms, settings=options, rng=rng)
    if scheme == "layer-wise":
        cut = widths_of(teacher)[:1] + widths_of(start)[1:-1]
        return schemes.layer_wise(teacher, cut, batch, terms, settings=options, rng=rng)
    if "one_a_batch" in numbers:
        terms = Terms([terms.terms[0], *(replace(terms.terms[1], teacher=f"teacher:{m}", weight=chance)
                                         for m, chance in enumerate(one_a_batch(len(TEACHERS), weight)))])
    return schemes.offline(start, Ensemble([given(unit, word) for word in TEACHERS]), batch, terms, settings=options,
                           rng=rng)


def bars(runs: Sequence[Run]) -> list[str]:
    """For each pair and word: errors, their differences to its baseline seed by seed, and the time of an epoch."""
    by_setting: dict[str, dict[int, Run]] = {}
    for one in runs:
        by_setting.setdefault(one["setting"], {})[one["seed"]] = one
    sentences, (_, wanted) = list[str](), settings(False)
    for setting, found in by_setting.items():
        pair, word = setting.split(": ")
        other = BASELINES.get(word, ALONE)
        alone, soft = (by_setting.get(f"{pair}: {name}", {}) for name in (other, "soft"))
        seeds = sorted({*found} & {*alone})
        if word in {*GIVEN, ALONE, *BASELINES.values()} or not seeds:
            continue
        gain = paired([100 * alone[s]["test_error"] for s in seeds], [100 * found[s]["test_error"] for s in seeds])
        slower = [f"{found[s]['epoch_seconds'] / soft[s]['epoch_seconds']:.2f}" for s in seeds[:1] if s in soft]
        holds, error = gain.verdict in ("win", "tie") and len(seeds) == SEEDS, fmean(
            100 * one["test_error"] for one in found.values())
        sentences.append(", ".join([
            f"{'holds' if holds else 'MISSED'}: no worse than {other} beyond chance: {setting}", f"{error:.2f} %",
            f"gain {gain.mean:+.2f} points ({gain.verdict}, {len(seeds)} of {SEEDS} seeds)",
            *(f"{factor} of the time of soft targets" for factor in slower)]))
    done = sum(len(by_setting.get(name, {})) == SEEDS for name in wanted)
    verdict = "holds" if done == len(wanted) else "MISSED"
    return [f"{verdict}: the table is complete, {done} of {len(wanted)} settings with {SEEDS} seeds", *sentences]
