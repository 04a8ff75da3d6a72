"""The stages of a run: a teacher, rounds of layer-by-layer distillation, a last distillation end to end.

A ``Progress`` is told what happens; nothing is printed or written, and the test part is not read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace

import numpy as np

from npkd.core.blas_threads import threads_for
from npkd.core.progress import NoProgress, Progress
from npkd.core.types import Array
from npkd.core.validation import Diverged, InputError
from npkd.data.augmentation import Noise
from npkd.data.batches import MAPS, batches_of
from npkd.data.datasets import Data
from npkd.data.logit_cache import Answers
from npkd.data.transfer import Transfer
from npkd.distillation.safety import examples_of, safe_clip
from npkd.distillation.teacher import Teacher
from npkd.interop.layers import outputs_of
from npkd.nn.architectures import lenet5
from npkd.nn.dead import dead_shares, died
from npkd.nn.fast.workspace import predict
from npkd.nn.network import Layer, Network, convolves, perceptron
from npkd.nn.optimisers import SGD
from npkd.nn.training import Record, TrainingSettings, train
from npkd.pipeline.epochs import epochs_of
from npkd.pipeline.recipe import Recipe
from npkd.pipeline.target import Target
from npkd.pipeline.task import error_of, is_regression, labels_of, objective_of
from npkd.sparsity.layerwise import Distilled, distil, exactly, within
from npkd.surgery.widths import widths_of

HALVINGS = 3
"""How often a student that dies begins again at half the rate."""

Training = Callable[..., Iterator[Record]]
"""``train``, or what takes its place."""


@dataclass(eq=False)
class State:
    """What a run has so far, in the units of the examples as they were given; usable after an interrupt too.

    teacher, student    the newest networks, None before there is one
    rounds              reports of the rounds of removal, in order;   budgets  what each had to be within
    """

    teacher: Network | None = None
    student: Network | None = None
    rounds: list[Distilled] = field(default_factory=list)
    budgets: list[float] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Run:
    """What all stages of a run share. ``outside``: a network of ``data`` as one of the examples as they were given."""

    data: Data
    recipe: Recipe
    rng: np.random.Generator
    progress: Progress = field(default_factory=NoProgress)
    state: State = field(default_factory=State)
    outside: Callable[[Network], Network] = lambda network: network

    def validation_error(self, network: Network) -> float:
        """Error of a network on the validation part, see ``error_rate``."""
        return error_rate(network, self.data.x_validation, self.data.y_validation)


def error_rate(network: Network, x: Array, y: Array) -> float:
    """Fraction of examples x (N, I) that the network does not put into their class y (N,); of numbers 1 − R² (L6)."""
    return error_of(predict(network, x), y)


def train_teacher(run: Run, start: Network | None = None, stage: str = "teacher") -> Network:
    """A network trained on labels by momentum SGD, from ``start`` or drawn; ``run.state.teacher`` is the newest."""
    data, recipe = run.data, run.recipe
    network = start or fresh(recipe, data, run.rng)
    run.state.teacher = run.outside(network)
    settings = TrainingSettings(recipe.teacher_epochs, recipe.batch_size,
                                augmentation=Noise(recipe.noise_std, max_shift=recipe.max_shift, shape=data.shape),
                                validate=run.validation_error)
    if is_regression(data.y_train):                        # the gradient of squared errors has no bound of its own
        settings = replace(settings, clip=safe_clip(network, data.x_train, np.arange(len(data.x_train))))
    training = partial(train, data={"x": data.x_train, "y": data.y_train},
                       objective=labels_of(data.y_train, outputs_of(network)),
                       optimiser=SGD(recipe.learning_rate, weight_decay=recipe.weight_decay), rng=run.rng)
    for now in epochs_of(stage, network, training, settings, run.rng, run.progress):
        # few examples and squared errors: the epoch that is best on the validation part, else the last one
        network = now.best[2] if now.best and is_regression(data.y_train) else now.network
        run.state.teacher = run.outside(network)
    return network


def fresh(recipe: Recipe, data: Data, rng: np.random.Generator, activation: str = "relu",
          dropout_rates: Sequence[float] = ()) -> Network:
    """An untrained network for the data, as the recipe names it; of a perceptron with this activation, and these rates.
    Raises InputError where lenet5 gets no pictures."""
    if recipe.network == "lenet5":
        if len(data.shape) not in (2, 3):
            raise InputError(f"lenet5: {data.name} has examples of shape {data.shape}; it needs pictures, (H, W) or "
                             f"(H, W, C)")
        return lenet5(rng, shape=(*data.shape, 1)[:3], classes=data.classes)
    return perceptron([data.x_train.shape[1], *recipe.hidden, data.classes], rng, activation=activation,
                      dropout_rates=dropout_rates)


def distil_end_to_end(run: Run, student: Network, transfer: Transfer, stage: str, epochs: int,
                      rate: float = 1.0, trainer: Callable[[Network], Training] | None = None) -> Network:
    """The student trained on a fixed support: on the logits of the transfer set, and on labels if they are weighed.

    stage  its name;   rate  part of the recipe's learning rate of students that it begins with
    trainer  of the network behind a select: what trains it in the place of ``train``, such as one that holds zeros or a
    grid. It may carry a state, so such a stage keeps no checkpoints and begins anew when a run goes on

    A student that diverges or has ``died`` begins again at half the rate, at most HALVINGS times: one that is deeper
    than its teacher, or whose teacher is very sure, may need less.
    """
    data, recipe = run.data, run.recipe
    if not epochs:
        return student
    kept, body = open_front(student)
    x_validation, few = (x if kept is None else np.take(x, kept, axis=1)
                         for x in (data.x_validation, data.x_train[examples_of(data.x_train)]))
    objective = objective_of(data.y_train, outputs_of(body), recipe.label_weight, 1.0, recipe.temperature)
    settings = TrainingSettings(epochs, recipe.batch_size, clip=recipe.clip, refresh=recipe.refresh,
                                augmentation=lambda batch, rng: transfer(batch, rng, kept),
                                adversarial_eps=recipe.adversarial_eps,
                                validate=lambda network: error_rate(network, x_validation, data.y_validation))
    progress = SimpleNamespace(begin=run.progress.begin, step=run.progress.step) if trainer else run.progress
    before, left = dead_shares(body, few), HALVINGS
    while True:
        training = partial(trainer(body) if trainer else train, data={"x": data.x_train, "y": data.y_train},
                           objective=objective, rng=run.rng, optimiser=SGD(
                               rate * recipe.student_learning_rate, weight_decay=recipe.student_weight_decay))
        with contextlib.suppress(*[Diverged] if left else []):
            for now in epochs_of(stage, body, training, settings, run.rng, progress):
                if left and died(before, dead_shares(now.network, few)):
                    progress.step(*now.epochs[-1])
                    break
                trained = now.network if kept is None else selecting(kept, now.network)
                run.state.student = run.outside(trained)
            else:
                return trained
        stage, rate, left = f"{stage}, half the rate", rate / 2, left - 1


def transfer_set(source: Network | Answers, data: Data, recipe: Recipe) -> Transfer:
    """What the student is shown, as the recipe says, with the answers of a network or function."""
    answers = Teacher(source) if isinstance(source, Network) else source
    return Transfer(answers, noise_std=recipe.noise_std, mixup_alpha=recipe.mixup_alpha, max_shift=recipe.max_shift,
                    shape=data.shape)


def open_front(network: Network) -> tuple[Array | None, Network]:
    """The inputs that a network selects, or None, and the network behind: they are then selected once for all."""
    front = network.layers[0]
    if front.op != "select":
        return None, network
    return np.asarray(front.options["kept"]), Network(network.layers[1:])


def selecting(kept: Array, network: Network) -> Network:
    """The network behind a selection of inputs: one layer, also where it selects some of these itself."""
    own, behind = open_front(network)
    inputs = kept if own is None else kept[own]
    return Network([Layer("select", options={"kept": inputs.tolist()}), *behind.layers])


def remove_round(run: Run, network: Network, target: Target, budget: float, name: str, whole: Sequence[int]) -> Network:
    """One round: a network, its own teacher, loses neurons layer by layer until it is within the budget or the target's
    widths. ``whole``: the widths of the first teacher, its outputs last."""
    recipe, data = run.recipe, run.data
    keep_inputs = recipe.keep_inputs or convolves(network)         # a convolution reads every pixel, in all its colours
    run.progress.begin(name, 1 + len(whole) - 1 + len(network.widths) - 1)     # the statistics, each choice, each refit
    widths = exactly(target.widths) if target.widths else within(
        lambda widths: target.size([*widths, whole[-1]]), budget, keep_inputs=keep_inputs, whole=whole[:-1],
        balance_exponent=recipe.balance_exponent)
    passes = data.stream or batches_of(data.x_train[:recipe.statistics or None], MAPS if convolves(network) else None)
    with threads_for(order=max(network.widths)):
        removed = distil(network, passes, widths, inputs=not keep_inputs, progress=run.progress.step)
    run.state.rounds.append(removed)
    run.state.budgets.append(budget)
    run.state.student = run.outside(removed.student)
    return removed.student


def compress(run: Run, teacher: Network, target: Target, source: Network | Answers | Transfer | None = None
             ) -> Network:
    """The student of a teacher, within the target; rounds are reported in ``run.state``. ``source``: another network,
    or its answers, to be learnt instead of the teacher's, or all that students are shown.

    For a target of size, R rounds with budgets (W11), each followed by a distillation, the last by the long one. For a
    target of error, rounds that halve the multiply-accumulates, each with a distillation, as long as the validation
    error stays within the bound. Without epochs nothing is distilled: layers are refitted alone, see ``distil``.

    Raises InputError where the target cannot be reached, and for a ``source`` without training.
    """
    recipe, student = run.recipe, teacher
    if source is not None and not recipe.trained:
        raise InputError("compress: there is a network to distil from, and epochs is 0; leave out one of them")
    run.state.teacher = run.state.student = run.outside(teacher)
    transfer = source if isinstance(source, Transfer) else transfer_set(source or teacher, run.data, recipe)
    whole = widths_of(teacher)
    if target.kind == "error":
        return compress_to_error(run, teacher, target, transfer, whole)
    target.require(whole, recipe.keep_inputs)
    for r in range(1, recipe.rounds + 1):
        goal = target.after(r / recipe.rounds, whole)                      # (W11)
        name = f"round {r} of {recipe.rounds}"
        student = remove_round(run, student, goal, goal.bound, f"{name}: layers", whole)
        if r < recipe.rounds:
            student = distil_end_to_end(run, student, transfer, f"{name}: distillation", recipe.round_epochs, 0.5)
    if recipe.all_at_last and recipe.trained:
        run = replace(run, data=everything(run.data))
        transfer = transfer_set(transfer.answer, run.data, recipe)
    return distil_end_to_end(run, student, transfer, "final distillation", recipe.epochs)


def everything(data: Data) -> Data:
    """The data with the validation part as a part of the training part too."""
    return replace(data, x_train=np.concatenate([data.x_train, data.x_validation]),
                   y_train=np.concatenate([data.y_train, data.y_validation]))


def compress_to_error(run: Run, teacher: Network, target: Target, transfer: Transfer, whole: Sequence[int]) -> Network:
    """The smallest student of a falling sequence whose validation error stays within the bound; ``whole``: the widths
    of the teacher."""
    recipe, state, widths = run.recipe, run.state, whole
    bound = target.allowed(run.validation_error(teacher), run.data)
    student, best, rounds, smallest = teacher, teacher, 0, target.smallest(whole, recipe.keep_inputs)
    for r in range(1, 20):
        budget = target.size(widths) / 2
        if budget < smallest:
            break
        student = remove_round(run, student, target, budget, f"round {r}: layers", whole)
        student = distil_end_to_end(run, student, transfer, f"round {r}: distillation",
                                    max(recipe.round_epochs, recipe.epochs // 2))
        if run.validation_error(student) > bound + 1e-12:
            break
        best, rounds, widths = student, len(state.rounds), widths_of(student)
    state.student = run.outside(best)
    del state.rounds[rounds:], state.budgets[rounds:]
    return best
