"""The methods, and the one outer loop that they share: the budget falls round by round, each removal is followed by a
distillation.

What a method differs in is which neurons it removes and what it does to the weights that stay; teacher, data, epochs,
learning rates, transfer set and the order of the examples are the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from npkd.compression import net_trim, scores
from npkd.compression.channel_selection import lasso
from npkd.compression.obs import obs
from npkd.compression.proportions import by_scores, proportional
from npkd.compression.reconstruct import by_rule
from npkd.compression.scores import best, by_score, cut, refitted
from npkd.compression.slimming import slim
from npkd.compression.thinet import thinet
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.datasets import Data
from npkd.distillation.objective import Distillation
from npkd.experiments.setting import Setting
from npkd.nn.architectures import lenet5
from npkd.nn.network import Layer, Network, convolves, perceptron
from npkd.nn.optimisers import SGD
from npkd.nn.training import TrainingSettings
from npkd.pipeline import stages
from npkd.pipeline.stages import Run, Stage
from npkd.pipeline.target import Target
from npkd.surgery.widths import geometry

Removal = Callable[[Network, Array, Array, Sequence[int], np.random.Generator], Network]
"""``removal(network, x, y, widths, rng)``: the network with so many neurons at each dependency group, inputs first. x
(N, I), y (N,): the part that the recipe takes statistics from."""


@dataclass(frozen=True)
class Method:
    """A way to remove neurons.

    removal     see Removal
    score       one that compares across layers, and so shares the budget (I8); None: every layer loses the same part of
                it (I7)
    """

    removal: Removal
    score: scores.Score | None = None


METHODS: Mapping[str, Method] = {
    "random": Method(by_score(scores.chance)),
    "incoming weights": Method(by_score(scores.incoming)),
    "outgoing weights": Method(by_score(scores.outgoing)),
    "activation": Method(by_score(scores.activation, fold=True)),
    "taylor": Method(by_score(scores.taylor), scores.taylor),
    "random refitted": Method(refitted(scores.chance)),
    "outgoing weights refitted": Method(refitted(scores.outgoing)),
    "activation refitted": Method(refitted(scores.activation)),
    "taylor refitted": Method(refitted(scores.taylor), scores.taylor),
    "obs": Method(by_rule(obs)),
    "lasso": Method(by_rule(lasso)),
    "thinet": Method(by_rule(thinet)),
    "net-trim": Method(net_trim.removal),
}
"""By the name that a setting gives."""

NAMES = ("ours", *METHODS, "slimming", "slimming in proportion", "scratch", "scratch with distillation")
"""All that a setting may name."""


@dataclass(frozen=True, eq=False)
class Made:
    """student;   path  its widths after each removal, inputs first, outputs last."""

    student: Network
    path: list[list[int]]


@dataclass(frozen=True, eq=False)
class Followed:
    """Of the run that ``widths_of`` names: its widths after each removal, outputs last, and the inputs that its student
    reads."""

    path: list[list[int]]
    inputs: list[int]


def make(setting: Setting, run: Run, teacher: Network, followed: Followed | None,
         distil_from: Network | None = None) -> Made:
    """The student of a setting; ``distil_from`` as in pipeline.stages.compress. The test part of the data is not looked
    at.

    Raises InputError for a method that is not known, where other methods than ours get ``distil_from``, and where one
    that trains gets no epochs.
    """
    run.state.teacher = run.state.student = teacher
    if setting.method == "ours":
        if followed is not None:
            raise InputError("experiments: our method was given widths of another run; it finds its own")
        student = stages.compress(run, teacher, goal(setting, teacher), distil_from)
        return Made(student, [removed.student.widths for removed in run.state.rounds])
    if distil_from is not None:
        raise InputError(f"experiments: {setting.method} was given distil_from; it learns from its teacher, as all "
                         f"that are compared")
    if setting.method.startswith(("slimming", "scratch")) and not setting.epochs:
        raise InputError(f"experiments: {setting.method} was given no epochs; it is a way to train")
    if setting.method.startswith("slimming"):
        return slimmed(setting, run, teacher, followed)
    if setting.method.startswith("scratch"):
        return from_scratch(setting, run, teacher, followed)
    if setting.method not in METHODS:
        raise InputError(f"experiments: method is {setting.method!r}; it must be one of {', '.join(NAMES)}")
    return in_rounds(setting, run, teacher, followed)


def goal(setting: Setting, teacher: Network) -> Target:
    """What the setting allows, counted as a chain like the teacher counts it."""
    return Target(setting.kind, setting.macs, geometry=geometry(teacher))


def sizes(setting: Setting, network: Network, data: Data) -> Callable[[Sequence[int]], float]:
    """What widths without the outputs count, of a chain like the network."""
    target = goal(setting, network)
    return lambda widths: target.size([*widths, data.classes])


def allocated(setting: Setting, network: Network, data: Data, budget: float,
              score: Sequence[Array] | None) -> list[int]:
    """Widths within a budget, by scores or in proportion. The inputs of convolutions all stay."""
    size, whole = sizes(setting, network, data), setting.keep_inputs or convolves(network)
    if score is None:
        return proportional(network.widths[:-1], size, budget, whole)
    return by_scores(score, size, budget, whole)


def followed_widths(followed: Followed, r: int, rounds: int, network: Network) -> list[int]:
    """The widths of round r (from 1) of the run that is followed; a run in one step takes its last ones."""
    if rounds not in (1, len(followed.path)):
        raise InputError(f"experiments: rounds are {rounds}, of the run that gives the widths {len(followed.path)}; "
                         f"they must agree, or be 1")
    widths = followed.path[-1] if rounds == 1 else followed.path[r - 1]
    return [min(w, most) for w, most in zip(widths[:-1], network.widths[:-1], strict=True)]


def in_rounds(setting: Setting, run: Run, teacher: Network, followed: Followed | None) -> Made:
    """Removal and distillation in turns, the budgets as in pipeline.stages.compress."""
    recipe, method, student, path = setting.recipe, METHODS[setting.method], teacher, list[list[int]]()
    target, transfer = goal(setting, teacher), stages.transfer_set(teacher, run.data, recipe)
    x, y = run.data.x_train[:recipe.statistics or None], run.data.y_train[:recipe.statistics or None]
    rng = run.rng.spawn(1)[0]                            # what a method draws must not change the order of the examples
    for r in range(1, recipe.rounds + 1):
        if followed is not None:
            widths = followed_widths(followed, r, recipe.rounds, student)
        else:
            score = method.score(student, x, y, rng) if method.score else None
            budget = target.after(r / recipe.rounds, teacher.widths).bound                                       # (W11)
            widths = allocated(setting, student, run.data, budget, score)
        student = method.removal(student, x, y, widths, rng)
        path.append(student.widths)
        if r < recipe.rounds:
            stage = Stage(f"round {r}", recipe.round_epochs, recipe.student_learning_rate / 2)
            student = stages.distil_end_to_end(run, student, stage, transfer)
    stage = Stage("final distillation", recipe.epochs, recipe.student_learning_rate)
    return Made(stages.distil_end_to_end(run, student, stage, transfer), path)


def slimmed(setting: Setting, run: Run, teacher: Network, followed: Followed | None) -> Made:
    """Gates made sparse in the epochs that others spend in rounds, one cut, the last distillation. With one round: half
    and half.

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
        Distillation(labels=recipe.label_weight, temperature=recipe.temperature),
        optimiser=SGD(recipe.student_learning_rate, weight_decay=recipe.student_weight_decay), settings=settings,
        rng=run.rng, keep_inputs=setting.keep_inputs)
    across = score if setting.method == "slimming" else None
    widths = (allocated(setting, student, data, setting.macs, across) if followed is None
              else followed_widths(followed, 1, 1, student))
    student = cut(student, [best(s, w) for s, w in zip(score, widths, strict=True)])
    widths = student.widths
    stage = Stage("final distillation", max(setting.epochs - first, 1), recipe.student_learning_rate)
    return Made(stages.distil_end_to_end(run, student, stage, transfer), [widths])


def from_scratch(setting: Setting, run: Run, teacher: Network, followed: Followed | None) -> Made:
    """A small network that never was a large one: widths in proportion, and of a perceptron the inputs that vary most;
    or both from the run that is followed.
    """
    data, recipe = run.data, setting.recipe
    widths = (allocated(setting, teacher, data, setting.macs, None) if followed is None
              else followed_widths(followed, 1, 1, teacher))
    if setting.teacher.recipe.network == "lenet5":
        student = lenet5(run.rng, channels=(widths[1], widths[2]), hidden=widths[3], shape=(*data.shape, 1)[:3],
                         classes=data.classes)
    else:
        inputs = (best(data.x_train.var(axis=0, dtype=np.float64), widths[0]).tolist() if followed is None
                  else followed.inputs)
        student = perceptron([*widths, data.classes], run.rng)
        if len(inputs) < data.x_train.shape[1]:
            student = Network([Layer("select", options={"kept": inputs}), *student.layers])
    if setting.method == "scratch":
        labelled = replace(run, recipe=replace(recipe, teacher_epochs=setting.epochs))
        student = stages.train_teacher(labelled, student)
    else:
        student = stages.distil_end_to_end(
            run, student, Stage("distillation", setting.epochs, recipe.student_learning_rate),
            stages.transfer_set(teacher, data, recipe))
    return Made(student, [student.widths])
