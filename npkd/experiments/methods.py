"""The methods, and the loop that they share: the budget falls round by round, a distillation follows each removal.

Methods differ in which neurons they remove and what they do to the weights that stay; teacher, data, epochs, learning
rates, transfer set and the order of the examples are the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from npkd.compression import net_trim, scores
from npkd.compression.channel_selection import lasso
from npkd.compression.obs import obs
from npkd.compression.proportions import by_scores, proportional
from npkd.compression.reconstruct import by_rule
from npkd.compression.scores import Removal, best, by_score, cut, folded, refitted
from npkd.compression.slimming import slim
from npkd.compression.thinet import thinet
from npkd.core.types import Array
from npkd.core.validation import InputError, one_of
from npkd.distillation.objective import distillation
from npkd.experiments.setting import Setting
from npkd.nn.architectures import lenet5
from npkd.nn.network import Layer, Network, convolves, perceptron
from npkd.nn.optimisers import SGD
from npkd.nn.training import TrainingSettings
from npkd.pipeline import stages
from npkd.pipeline.stages import Run
from npkd.pipeline.target import Target
from npkd.surgery.widths import geometry


@dataclass(frozen=True)
class Method:
    """A way to remove neurons, and a score that compares across layers and so shares the budget (I8); None: (I7)."""

    removal: Removal
    score: scores.Score | None = None


METHODS: Mapping[str, Method] = {
    "random": Method(by_score(scores.chance)),
    "incoming weights": Method(by_score(scores.incoming)),
    "outgoing weights": Method(by_score(scores.outgoing)),
    "activation": Method(by_score(scores.activation, folded)),
    "taylor": Method(by_score(scores.taylor), scores.taylor),
    "random refitted": Method(by_score(scores.chance, refitted)),
    "outgoing weights refitted": Method(by_score(scores.outgoing, refitted)),
    "activation refitted": Method(by_score(scores.activation, refitted)),
    "taylor refitted": Method(by_score(scores.taylor, refitted), scores.taylor),
    "obs": Method(by_rule(obs)),
    "lasso": Method(by_rule(lasso)),
    "thinet": Method(by_rule(thinet)),
    "net-trim": Method(net_trim.removal)}
"""By the name that a setting gives."""

Made = tuple[Network, list[list[int]]]
"""A student, and its widths after each removal, inputs first, outputs last."""

Followed = Mapping[str, Any]
"""Result of the run that ``widths_of`` names: "path", widths as in Made, "inputs", those that its student reads."""

NAMES = ("ours", *METHODS, "slimming", "slimming in proportion", "scratch", "scratch with distillation")
"""All that a setting may name."""


def make(setting: Setting, run: Run, teacher: Network, followed: Followed | None,
         distil_from: Network | None = None) -> Made:
    """The student of a setting; ``distil_from`` as in pipeline.stages.compress. The test part is not looked at.

    Raises InputError for an unknown method, where another than ours gets ``distil_from``, or one that trains no epochs.
    """
    run.state.teacher = run.state.student = teacher
    if setting.method == "ours":
        if followed is not None:
            raise InputError("experiments: our method was given widths of another run; it finds its own")
        student = stages.compress(run, teacher, goal(setting, teacher), distil_from)
        return student, [removed.student.widths for removed in run.state.rounds]
    if distil_from is not None:
        raise InputError(f"experiments: {setting.method} was given distil_from; it learns from its teacher, as all "
                         f"that are compared")
    if setting.method in METHODS:
        return in_rounds(setting, run, teacher, followed)
    one_of("experiments", "method", setting.method, NAMES)
    if not setting.epochs:
        raise InputError(f"experiments: {setting.method} was given no epochs; it is a way to train")
    return (slimmed if setting.method.startswith("slimming") else from_scratch)(setting, run, teacher, followed)


def goal(setting: Setting, teacher: Network) -> Target:
    """What the setting allows, counted as a chain like the teacher counts it."""
    return Target(setting.kind, setting.macs, geometry=geometry(teacher))


def allocated(setting: Setting, network: Network, budget: float, score: Sequence[Array] | None = None) -> list[int]:
    """Widths within a budget, by scores or in proportion. The inputs of convolutions all stay."""
    target, keep_inputs = goal(setting, network), setting.keep_inputs or convolves(network)

    def size(widths: Sequence[int]) -> float:
        return target.size([*widths, network.widths[-1]])

    if score is None:
        return proportional(network.widths[:-1], size, budget, keep_inputs)
    return by_scores(score, size, budget, keep_inputs)


def followed_widths(followed: Followed, network: Network, r: int = 1, rounds: int = 1) -> list[int]:
    """The widths of round r (from 1) of the run that is followed; a run in one step takes its last ones."""
    path = followed["path"]
    if rounds not in (1, len(path)):
        raise InputError(f"experiments: rounds are {rounds}, of the run that gives the widths {len(path)}; they must "
                         f"agree, or be 1")
    widths = path[-1] if rounds == 1 else path[r - 1]
    return [min(w, most) for w, most in zip(widths[:-1], network.widths[:-1], strict=True)]


def in_rounds(setting: Setting, run: Run, teacher: Network, followed: Followed | None) -> Made:
    """Removal and distillation in turns, the budgets as in pipeline.stages.compress."""
    recipe, method, student, path = setting.recipe, METHODS[setting.method], teacher, list[list[int]]()
    target, transfer = goal(setting, teacher), stages.transfer_set(teacher, run.data, recipe)
    x, y = (part[:recipe.statistics or None] for part in (run.data.x_train, run.data.y_train))
    rng = run.rng.spawn(1)[0]                            # what a method draws must not change the order of the examples
    for r in range(1, recipe.rounds + 1):
        if followed is not None:
            widths = followed_widths(followed, student, r, recipe.rounds)
        else:
            score = method.score(student, x, y, rng) if method.score else None
            budget = target.after(r / recipe.rounds, teacher.widths).bound                                       # (W11)
            widths = allocated(setting, student, budget, score)
        student = method.removal(student, x, y, widths, rng)
        path.append(student.widths)
        if r < recipe.rounds:
            student = stages.distil_end_to_end(run, student, transfer, f"round {r}", recipe.round_epochs, 0.5)
    return stages.distil_end_to_end(run, student, transfer, "final distillation", recipe.epochs), path


def slimmed(setting: Setting, run: Run, teacher: Network, followed: Followed | None) -> Made:
    """Gates made sparse in the epochs that others spend in rounds (with one round: half), one cut, one distillation.

    Gates compare across layers where batch normalisation fixes the scale of what they multiply, which nothing does
    here: so there is a second form, in proportion.
    """
    recipe, data = setting.recipe, run.data
    first = setting.epochs - recipe.epochs or setting.epochs // 2
    transfer = stages.transfer_set(teacher, data, recipe)
    settings = TrainingSettings(max(first, 1), recipe.batch_size, clip=recipe.clip, augmentation=transfer,
                                refresh=recipe.refresh)
    student, score = slim(
        teacher, {"x": data.x_train, "y": data.y_train},
        distillation(labels=recipe.label_weight, temperature=recipe.temperature),
        optimiser=SGD(recipe.student_learning_rate, weight_decay=recipe.student_weight_decay), settings=settings,
        rng=run.rng, keep_inputs=setting.keep_inputs)
    across = score if setting.method == "slimming" else None
    widths = followed_widths(followed, student) if followed else allocated(setting, student, setting.macs, across)
    student = cut(student, [best(s, w) for s, w in zip(score, widths, strict=True)])
    epochs = max(setting.epochs - first, 1)
    return stages.distil_end_to_end(run, student, transfer, "final distillation", epochs), [student.widths]


def from_scratch(setting: Setting, run: Run, teacher: Network, followed: Followed | None) -> Made:
    """A small network drawn anew: widths in proportion, and of a perceptron the inputs that vary most.

    Both are those of the run that is followed, if there is one.
    """
    data, recipe = run.data, setting.recipe
    widths = followed_widths(followed, teacher) if followed else allocated(setting, teacher, setting.macs)
    if setting.teacher.recipe.network == "lenet5":
        student = lenet5(run.rng, channels=(widths[1], widths[2]), hidden=widths[3], shape=(*data.shape, 1)[:3],
                         classes=data.classes)
    else:
        spread = data.x_train.var(axis=0, dtype=np.float64)
        inputs = followed["inputs"] if followed else best(spread, widths[0]).tolist()
        student = perceptron([*widths, data.classes], run.rng)
        if len(inputs) < data.x_train.shape[1]:
            student = Network([Layer("select", options={"kept": inputs}), *student.layers])
    if setting.method == "scratch":
        student = stages.train_teacher(replace(run, recipe=replace(recipe, teacher_epochs=setting.epochs)), student)
    else:
        transfer = stages.transfer_set(teacher, data, recipe)
        student = stages.distil_end_to_end(run, student, transfer, "distillation", setting.epochs)
    return student, [student.widths]
