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
from npkd.experiments.setting import Setting
from npkd.nn.architectures import lenet5
from npkd.nn.network import Layer, Network, convolves, perceptron
from npkd.pipeline import stages
from npkd.pipeline.progress import Progress
from npkd.pipeline.recipe import Recipe
from npkd.pipeline.stages import State
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
class Given:
    """Of the run that ``widths_of`` names: its widths after each removal, outputs last, and the inputs that its student
    reads."""

    path: list[list[int]]
    inputs: list[int]


def make(setting: Setting, data: Data, teacher: Network, given: Given | None, rng: np.random.Generator,
         progress: Progress, distil_from: Network | None = None) -> Made:
    """The student of a setting; ``distil_from`` as in pipeline.compress. The test part of ``data`` is not looked at.

    Raises InputError for a method that is not known, where other methods than ours get ``distil_from``, and where one
    that trains gets no epochs.
    """
    state = State(teacher=teacher, student=teacher)
    if setting.method == "ours":
        if given is not None:
            raise InputError("experiments: our method was given widths of another run; it finds its own")
        stages.compress(data, goal(setting, teacher), setting.recipe, rng, teacher=teacher, distil_from=distil_from,
                          keep_inputs=setting.keep_inputs, progress=progress, state=state)
        assert state.student is not None
        return Made(state.student, [out.student.widths for out in state.rounds])
    if distil_from is not None:
        raise InputError(f"experiments: {setting.method} was given distil_from; it learns from its teacher, as all "
                         f"that are compared")
    if setting.method.startswith(("slimming", "scratch")) and not setting.epochs:
        raise InputError(f"experiments: {setting.method} was given no epochs; it is a way to train")
    if setting.method.startswith("slimming"):
        return slimmed(setting, data, teacher, given, rng, progress, state)
    if setting.method.startswith("scratch"):
        return from_scratch(setting, data, teacher, given, rng, progress, state)
    if setting.method not in METHODS:
        raise InputError(f"experiments: method is {setting.method!r}; it must be one of {', '.join(NAMES)}")
    return in_rounds(setting, data, teacher, given, rng, progress, state)


def goal(setting: Setting, teacher: Network) -> Target:
    """What the setting allows, counted as a chain like the teacher counts it."""
    return Target(setting.kind, setting.macs, geometry=geometry(teacher))


def sizes(setting: Setting, network: Network, data: Data) -> Callable[[Sequence[int]], float]:
    """What widths without the outputs count, of a chain like the network."""
    target = goal(setting, network)
    return lambda widths: target.size([*widths, data.classes])


def shared(setting: Setting, network: Network, data: Data, budget: float, score: Sequence[Array] | None) -> list[int]:
    """Widths within a budget, by scores or in proportion. The inputs of convolutions all stay."""
    size, whole = sizes(setting, network, data), setting.keep_inputs or convolves(network)
    if score is None:
        return proportional(network.widths[:-1], size, budget, whole)
    return by_scores(score, size, budget, whole)


def asked(given: Given, r: int, rounds: int, network: Network) -> list[int]:
    """The widths of round r (from 1) of the run that is followed; a run in one step takes its last ones."""
    if rounds not in (1, len(given.path)):
        raise InputError(f"experiments: rounds are {rounds}, of the run that gives the widths {len(given.path)}; they "
                         f"must agree, or be 1")
    widths = given.path[-1] if rounds == 1 else given.path[r - 1]
    return [min(w, most) for w, most in zip(widths[:-1], network.widths[:-1], strict=True)]


def in_rounds(
    setting: Setting, data: Data, teacher: Network, given: Given | None, rng: np.random.Generator, progress: Progress,
    state: State
) -> Made:
    """Removal and distillation in turns, the budgets as in pipeline.compress."""
    recipe, method, student, path = setting.recipe, METHODS[setting.method], teacher, list[list[int]]()
    target, transfer = goal(setting, teacher), stages.transfer_set(teacher, data, recipe)
    x, y = data.x_train[:recipe.statistics or None], data.y_train[:recipe.statistics or None]
    own = rng.spawn(1)[0]                                # what a method draws must not change the order of the examples

    def distil(network: Network, epochs: int, rate: float, stage: str) -> Network:
        return stages.imitate(network, teacher, data, recipe, epochs, rate, rng, progress, stage, state, transfer)

    for r in range(1, recipe.rounds + 1):
        if given is not None:
            widths = asked(given, r, recipe.rounds, student)
        else:
            score = method.score(student, x, y, own) if method.score else None
            budget = target.after(r / recipe.rounds, teacher.widths).bound                                       # (W11)
            widths = shared(setting, student, data, budget, score)
        student = method.removal(student, x, y, widths, own)
        path.append(student.widths)
        if r < recipe.rounds and recipe.round_epochs:
            student = distil(student, recipe.round_epochs, recipe.student_learning_rate / 2, f"round {r}")
    return Made(distil(student, recipe.final_epochs, recipe.student_learning_rate, "final distillation"), path)


def slimmed(
    setting: Setting, data: Data, teacher: Network, given: Given | None, rng: np.random.Generator, progress: Progress,
    state: State
) -> Made:
    """Gates made sparse in the epochs that others spend in rounds, one cut, the last distillation. With one round: half
    and half.

    Gates compare across layers where batch normalisation fixes the scale of what they multiply, which nothing does
    here: so there is a second form, in proportion.
    """
    recipe = setting.recipe
    first = setting.epochs - recipe.final_epochs or setting.epochs // 2
    transfer = stages.transfer_set(teacher, data, recipe)
    student, score = slim(teacher, transfer, data, recipe, max(first, 1), rng, setting.keep_inputs)
    across = score if setting.method == "slimming" else None
    widths = shared(setting, student, data, setting.macs, across) if given is None else asked(given, 1, 1, student)
    student = cut(student, [best(s, w) for s, w in zip(score, widths, strict=True)])
    widths = student.widths
    student = stages.imitate(student, teacher, data, recipe, max(setting.epochs - first, 1),
                             recipe.student_learning_rate, rng,
                               progress,
                               "final distillation", state, transfer)
    return Made(student, [widths])


def from_scratch(
    setting: Setting, data: Data, teacher: Network, given: Given | None, rng: np.random.Generator, progress: Progress,
    state: State
) -> Made:
    """A small network that never was a large one: widths in proportion, and of a perceptron the inputs that vary most;
    or both from the run that is followed.
    """
    widths = shared(setting, teacher, data, setting.macs, None) if given is None else asked(given, 1, 1, teacher)
    if setting.teacher.recipe.network == "lenet5":
        student = lenet5(rng, channels=(widths[1], widths[2]), hidden=widths[3], shape=(*data.shape, 1)[:3],
                         classes=data.classes)
    else:
        inputs = best(data.x_train.var(axis=0, dtype=np.float64), widths[0]).tolist() if given is None else given.inputs
        body = perceptron([*widths, data.classes], rng)
        student = (
            Network([Layer("select", options={"kept": inputs}), *body.layers]) if len(inputs) < data.x_train.shape[1]
            else body
        )
    if setting.method == "scratch":
        labelled: Recipe = replace(setting.recipe, teacher_epochs=setting.epochs)
        student = stages.train_teacher(data, labelled, rng, progress, state, student)
    else:
        student = stages.imitate(student, teacher, data, setting.recipe, setting.epochs,
                                 setting.recipe.student_learning_rate,
                                   rng, progress,
                                   "distillation", state)
    return Made(student, [student.widths])
