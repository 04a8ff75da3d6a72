"""The main job: a teacher, rounds of layer-by-layer distillation, a last distillation end to end, one look at the test
part.

Prints nothing: a ``Progress`` is told what happens. Files are the business of npkd.cli.run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from npkd.core.blas_threads import threads_for
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.batches import MAPS, ROWS, batches_of
from npkd.data.datasets import Data
from npkd.distillation.objective import Distillation
from npkd.distillation.transfer import Answers, Noise, Transfer
from npkd.nn import cost
from npkd.nn.architectures import lenet5
from npkd.nn.fast.workspace import predict
from npkd.nn.network import Network, convolves, perceptron
from npkd.nn.optimisers import SGD
from npkd.nn.training import TrainingSettings, train
from npkd.pipeline.epochs import epochs_of
from npkd.pipeline.progress import NoProgress, Progress
from npkd.pipeline.recipe import Recipe
from npkd.pipeline.target import Target
from npkd.sparsity.layerwise import Distilled, distil, exactly, within
from npkd.surgery.widths import widths_of


@dataclass(eq=False)
class State:
    """What a run has so far; usable at any moment, also after an interrupt.

    teacher, student    the newest networks, None before there is one
    rounds              reports of the rounds of removal, in order;   budgets  what each had to be within
    """

    teacher: Network | None = None
    student: Network | None = None
    rounds: list[Distilled] = field(default_factory=list)
    budgets: list[float] = field(default_factory=list)


def error_rate(network: Network, x: Array, y: Array) -> float:
    """Fraction of examples x (N, I) that the network does not put into their class y (N,)."""
    return float((predict(network, x).argmax(axis=1) != y).mean())


def train_teacher(
    data: Data, recipe: Recipe, rng: np.random.Generator, progress: Progress, state: State, start: Network | None = None
) -> Network:
    """A network trained on the labels: SGD with momentum, cosine schedule. The newest state is in ``state.teacher`` all
    along.

    ``start`` is a network to begin with; without it the recipe's is drawn.
    """
    state.teacher = start or fresh(recipe, data, rng)
    settings = TrainingSettings(recipe.teacher_epochs, recipe.batch_size,
                                augmentation=Noise(recipe.noise_std, max_shift=recipe.max_shift, shape=data.shape),
                                validate=lambda network: error_rate(network, data.x_validation, data.y_validation))
    training = partial(train, data={"x": data.x_train, "y": data.y_train},
                       optimiser=SGD(recipe.learning_rate, weight_decay=recipe.weight_decay), rng=rng)
    for network in epochs_of("teacher", state.teacher, training, settings, rng, progress):
        state.teacher = network
    return state.teacher


def fresh(recipe: Recipe, data: Data, rng: np.random.Generator) -> Network:
    """An untrained network for the data, as the recipe names it. Raises InputError where the examples are no pictures
    and it needs some."""
    if recipe.network == "lenet5":
        if len(data.shape) not in (2, 3):
            raise InputError(f"lenet5: {data.name} has examples of shape {data.shape}; it needs pictures, (H, W) or "
                             f"(H, W, C)")
        return lenet5(rng, shape=(*data.shape, 1)[:3], classes=data.classes)
    return perceptron([data.x_train.shape[1], *recipe.hidden, data.classes], rng)


def imitate(
    student: Network, teacher: Network | Answers, data: Data, recipe: Recipe, epochs: int, rate: float,
    rng: np.random.Generator, progress: Progress, stage: str, state: State, transfer: Transfer | None = None,
) -> Network:
    """Distil end to end on a fixed support: the student learns the teacher's logits on the transfer set, and labels if
    weighed.

    ``transfer`` is the transfer set to go on with, which keeps answers of the teacher; without it a new one is made.
    Without epochs the student stays what it is.
    """
    if not epochs:
        state.student = student
        return student
    seen, body = open_front(student)
    transfer = transfer or transfer_set(teacher, data, recipe)
    x_validation = data.x_validation if seen is None else np.take(data.x_validation, seen, axis=1)
    objective = Distillation(labels=recipe.label_weight, temperature=recipe.temperature)
    settings = TrainingSettings(epochs, recipe.batch_size, clip=recipe.clip, refresh=recipe.refresh,
                                augmentation=lambda batch, rng: transfer(batch, rng, seen),
                                adversarial_eps=recipe.adversarial_eps,
                                validate=lambda network: error_rate(network, x_validation, data.y_validation))
    training = partial(train, data={"x": data.x_train, "y": data.y_train}, objective=objective,
                       optimiser=SGD(rate, weight_decay=recipe.student_weight_decay), rng=rng)
    for network in epochs_of(stage, body, training, settings, rng, progress):
        state.student = network if seen is None else Network([student.layers[0], *network.layers])
    assert state.student is not None
    return state.student


def transfer_set(teacher: Network | Answers, data: Data, recipe: Recipe) -> Transfer:
    """What the student is shown, as the recipe says, with the answers of a network or function."""
    answers = (lambda x: predict(teacher, x, ROWS)) if isinstance(teacher, Network) else teacher
    return Transfer(answers, noise_std=recipe.noise_std, mixup_alpha=recipe.mixup_alpha, max_shift=recipe.max_shift,
                    shape=data.shape)


def open_front(network: Network) -> tuple[Array | None, Network]:
    """The inputs that a network selects, and the network behind: selecting once for all is cheaper than in every
    step."""
    front = network.layers[0]
    if front.op != "select":
        return None, network
    return np.asarray(front.options["kept"]), Network(network.layers[1:])


def remove_round(
    network: Network, data: Data, target: Target, budget: float, recipe: Recipe, keep_inputs: bool, progress: Progress,
    stage: str, whole: Sequence[int],
) -> Distilled:
    """One round: the network loses neurons, layer by layer, until it is within the budget, or the target's widths; it
    is its own teacher.

    ``whole``: the widths of the first teacher, its outputs last.
    """
    keep_inputs = keep_inputs or convolves(network)                # a convolution reads every pixel, in all its colours
    progress.begin(stage, 1 + len(whole) - 1 + len(network.widths) - 1)        # the statistics, each choice, each refit

    def size(widths: Sequence[int]) -> float:
        return target.size([*widths, whole[-1]])

    widths = exactly(target.widths) if target.widths else within(size, budget, keep_inputs=keep_inputs,
                                                                 whole=whole[:-1],
                                                                          spare=recipe.balance_exponent)
    passes = data.stream or batches_of(data.x_train[:recipe.statistics or None], MAPS if convolves(network) else None)
    with threads_for(order=max(network.widths)):
        return distil(network, passes, widths, inputs=not keep_inputs, progress=progress.step)


def compress(
    data: Data, target: Target, recipe: Recipe, rng: np.random.Generator, *, teacher: Network,
    distil_from: Network | Answers | None = None,
    keep_inputs: bool = False, progress: Progress | None = None, state: State | None = None,
) -> State:
    """Compress a teacher to the target. ``distil_from``: a better network, of any kind, or its answers, to be learnt
    in the place of the teacher's.

        budget_r = size(teacher)^(1 − r/R) · target^(r/R)                             (W11)

    For a target of size, R rounds with budgets (W11), each followed by a distillation; the last one is the long one.
    For a target of error, rounds that halve the multiply-accumulates, each with a distillation, go on as long as the
    validation error stays within the bound; the last student that did is the result. The test part is not touched here.
    A recipe without epochs does not train the student: its layers are refitted alone, to those of the network that the
    round began with.

    Raises InputError where the target cannot be reached, and for a ``distil_from`` without training.
    """
    if distil_from is not None:
        teachable(recipe.final_epochs)
    progress, state = progress or NoProgress(), state or State()
    state.teacher, state.student = teacher, teacher
    if target.kind == "error":
        return compress_to_error(data, target, recipe, rng, teacher, distil_from or teacher, keep_inputs, progress,
                                 state)
    whole = widths_of(teacher)
    target.require(whole, keep_inputs)
    distil_from = distil_from or teacher
    transfer = transfer_set(distil_from, data, recipe)
    for r in range(1, recipe.rounds + 1):
        goal = target.after(r / recipe.rounds, whole)                      # (W11)
        name = f"round {r} of {recipe.rounds}"
        out = remove_round(state.student, data, goal, goal.bound, recipe, keep_inputs, progress, f"{name}: layers",
                           whole)
        state.rounds.append(out)
        state.budgets.append(goal.bound)
        state.student = out.student
        if r < recipe.rounds and recipe.round_epochs:
            imitate(state.student, distil_from, data, recipe, recipe.round_epochs, recipe.student_learning_rate / 2,
                    rng, progress,
                    f"{name}: distillation", state, transfer)
    if recipe.all_at_last and recipe.trained:
        data, transfer = everything(data), transfer_set(distil_from, data, recipe)
    imitate(state.student, distil_from, data, recipe, recipe.final_epochs, recipe.student_learning_rate, rng, progress,
            "final distillation", state, transfer)
    return state


def teachable(epochs: int | None) -> None:
    """Raise InputError where ``distil_from`` is given and nothing is trained."""
    if epochs == 0:
        raise InputError("compress: distil_from is given, and epochs is 0; without training nobody learns from it: "
                         "leave "
                         "out one of them")


def everything(data: Data) -> Data:
    """The data with the validation part as a part of the training part too."""
    return replace(data, x_train=np.concatenate([data.x_train, data.x_validation]),
                   y_train=np.concatenate([data.y_train, data.y_validation]))


def compress_to_error(
    data: Data, target: Target, recipe: Recipe, rng: np.random.Generator, teacher: Network,
    distil_from: Network | Answers, keep_inputs: bool, progress: Progress, state: State,
) -> State:
    """The smallest student of a falling sequence whose validation error stays within the bound."""
    bound, whole = error_rate(teacher, data.x_validation, data.y_validation) + target.bound / 100, widths_of(teacher)
    kept, held, smallest = teacher, 0, target.smallest(whole, keep_inputs)
    transfer = transfer_set(distil_from, data, recipe)
    for r in range(1, 20):
        assert state.student is not None
        budget = target.size(widths_of(state.student)) / 2
        if budget < smallest:
            break
        out = remove_round(state.student, data, target, budget, recipe, keep_inputs, progress, f"round {r}: layers",
                           whole)
        state.rounds.append(out)
        state.budgets.append(budget)
        final = imitate(out.student, distil_from, data, recipe, max(recipe.round_epochs, recipe.final_epochs // 2),
                        recipe.student_learning_rate, rng, progress,
                        f"round {r}: distillation", state, transfer)
        if error_rate(final, data.x_validation, data.y_validation) > bound + 1e-12:
            break
        kept, held = final, len(state.rounds)
    state.student = kept
    del state.rounds[held:], state.budgets[held:]
    return state


def side(network: Network, test_error: float) -> dict[str, Any]:
    """What the summary says of a network whose neurons can be removed."""
    c = cost.of(network)
    return {"widths": widths_of(network), "test_error": test_error, "macs": c.macs, "parameters": c.parameters,
            "bytes": c.bytes}


def largest(gaps: Sequence[float | None]) -> float | None:
    """The largest duality gap, None where there is none."""
    return max((gap for gap in gaps if gap is not None), default=None)


def certified(gaps: Sequence[float | None]) -> str:
    """What the duality gaps of the dependency groups prove, None where channels were eliminated: one sentence."""
    gap = largest(gaps)
    if gap is None:
        return (
            "Channels were eliminated one by one: exact in each step, but without a certificate for the whole choice."
        )
    which = "Every choice of neurons"
    if None in gaps:
        which = "Every choice by the group lasso (what is read through several weights is eliminated one by one)"
    said = f"{which} is certified" if gap <= 1e-6 else "Not every choice of neurons is certified to 1e-6"
    return f"{said}: relative duality gap at most {gap:.1e}."


def layers_of(rounds: Sequence[Distilled]) -> list[dict[str, Any]]:
    """What the summary says of the layers: the numbers of the last round, against the widths of the teacher.

    duality_gap is the largest over all rounds, None where channels were eliminated without one.
    """
    if not rounds:
        return []
    return [
        {"kept": last.kept, "of": first.of, "lambda": last.lam, "lambda_max": last.lambda_max,
         "duality_gap": largest([r.layers[k].duality_gap for r in rounds]), "relative_error": last.relative_error,
         "penalised_error": last.penalised_error, "proved": last.proved}
        for k, (first, last) in enumerate(zip(rounds[0].layers, rounds[-1].layers, strict=True))
    ]
