"""A student whose widths were searched for: the reward of widths is the distillation loss after a few epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from npkd.core.progress import NoProgress
from npkd.data.batches import batches_of
from npkd.distillation.response import soft_targets
from npkd.nn.fast.workspace import predict
from npkd.nn.network import Network
from npkd.pipeline import stages
from npkd.pipeline.stages import Run
from npkd.pipeline.target import Target
from npkd.pipeline.width_search import Space, at_random, by_evolution, by_price, search
from npkd.sparsity.allocation import Curve
from npkd.sparsity.layerwise import distil, exactly
from npkd.surgery.widths import widths_of

RULES = ("random", "evolution", "price")
TRIES, EPOCHS, SAMPLE = 12, 3, 10_000
"""Proposals; epochs of a student that is tried, and the examples of its layer-wise removal."""


def searched(rule: str, run: Run, teacher: Network, target: Target) -> Network:
    """The student of the widths with the least reward, made by layer-wise removal and distilled as all are.

    The reward is the soft-target loss (K1) of the validation part, at the temperature of the recipe.
    """
    data, recipe, whole = run.data, run.recipe, widths_of(teacher)
    transfer = stages.transfer_set(teacher, data, recipe)
    found: list[Sequence[Curve]] = []

    def kept(curves: Sequence[Curve]) -> list[int]:
        found.append(curves)
        return whole[:-1]

    few = batches_of(data.x_train[:SAMPLE])
    distil(teacher, few, kept)                                         # its curves alone
    space = Space(whole[:-1], lambda widths: target.size([*widths, whole[-1]]), target.bound)
    rules = {"random": at_random(space), "evolution": by_evolution(space), "price": by_price(space, found[0])}
    answers = predict(teacher, data.x_validation)

    def reward(widths: tuple[int, ...]) -> float:
        run.progress.step(f"widths {'-'.join(map(str, widths))}")
        student = distil(teacher, few, exactly(widths)).student
        student = stages.distil_end_to_end(replace(run, progress=NoProgress()), student, transfer, "tried", EPOCHS)
        return soft_targets(predict(student, data.x_validation), answers, temperature=recipe.temperature)[0]

    run.progress.begin(f"search by {rule}", TRIES)
    best = min(search(rules[rule], reward, TRIES, run.rng), key=lambda one: one.reward)
    student = distil(teacher, batches_of(data.x_train), exactly(best.widths)).student
    return stages.distil_end_to_end(run, student, transfer, "distillation", recipe.epochs)
