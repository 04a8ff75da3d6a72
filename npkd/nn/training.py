"""Training by mini-batches: forward, objective, backward, clipping, optimiser step, proximal step.

``train`` is an iterator of records and prints nothing. Plain training, distillation, hints and compression-aware
training differ in its arguments alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from npkd.core.progress import tracked
from npkd.core.types import Array, Batch, Objective
from npkd.core.validation import Diverged, InputError, asked, described, positive, restore, stepped, whole
from npkd.nn.adversarial import adversarial_half
from npkd.nn.dead import Activity
from npkd.nn.fast.workspace import Workspace
from npkd.nn.losses import cross_entropy
from npkd.nn.minibatches import Augmentation, Minibatches
from npkd.nn.network import Network
from npkd.nn.optimisers import SGD, Optimiser, bound_norm, flush_subnormals
from npkd.nn.schedules import Schedule, cosine
from npkd.nn.trained_objective import ObjectiveState

LAST_BATCHES = 5
"""Batches at the end of an epoch that are looked at for dead neurons."""


class Penalty(Protocol):
    """What the proximal step needs of a penalty (npkd.sparsity.penalties)."""

    def value(self, w: Array) -> float:
        """Ω(w), with λ inside."""

    def prox(self, v: Array, step: float | Array) -> Array:
        """argmin_u ½‖u − v‖² + step · Ω(u); with an array of steps, ½ Σ (u − v)²/step + Ω(u)."""


@dataclass(frozen=True)
class TrainingSettings:
    """How long a training runs and what its updates see.

    epochs            passes over the data
    batch_size        examples in an update; the last batch of an epoch may hold fewer (see Minibatches)
    schedule          factor of the learning rate over the run; half a cosine unless told
    clip              bound of the gradient's norm (T10); None: no bound
    augmentation      changes the whole data before the first epoch and again after every ``refresh`` epochs
    adversarial_eps   ε of (T11); 0: the examples as they are. Costs two to three times the time
    validate          network -> a number to be small, called after every epoch; of validation data, never test data
    patience          the run ends when that number has not fallen for so many epochs; None: after ``epochs``
    done              epochs that were done before, of the ``epochs``, where a run goes on that ended with this network
    carried           what the optimiser carried by then (Record.carried); none: it begins at rest
    best              with ``validate``, epoch, validation and network that were best by then. With both, and the random
                      generator as it was, the run ends as if not broken off, provided that ``refresh`` divides ``done``
    progress          shows a bar of the epochs, or lines where there is no terminal and no notebook
    Raises InputError for numbers that make no sense.
    """

    epochs: int = 20
    batch_size: int = 128
    schedule: Schedule = field(default_factory=cosine)
    clip: float | None = None
    augmentation: Augmentation | None = None
    refresh: int = 1
    adversarial_eps: float = 0.0
    validate: Callable[[Network], float] | None = None
    patience: int | None = None
    done: int = 0
    carried: Sequence[Array] = ()
    best: tuple[int, float, Network] | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        whole("train", 1, epochs=self.epochs, batch_size=self.batch_size, refresh=self.refresh,
              patience=1 if self.patience is None else self.patience)
        whole("train", 0, self.epochs, done=self.done)
        positive("train", "adversarial_eps", self.adversarial_eps, zero=True)
        positive("train", "clip", 1.0 if self.clip is None else self.clip)
        if self.patience is not None and self.validate is None:
            raise InputError("train: patience is set but validate is not; early stopping needs a validation part")
        if self.validate is not None and self.done and self.best is None:
            raise InputError(f"train: done is {self.done} without best; a run with validate goes on from its best")


@dataclass(frozen=True, eq=False)
class Record:
    """What is known after an epoch (numbered from 1).

    loss          mean objective over the examples of the epoch's batches, while the network was changing
    penalty       Σ Ω over the penalised layers, at the end of the epoch
    validation    what ``validate`` returned, or None
    learning_rate learning rate of the last update
    seconds       since the start of the run
    network       the network after this epoch (a copy)
    best          the network with the smallest validation so far; the latest one without validation
    carried       copies of the arrays that the optimiser carries from update to update, and of what the objective has
    dead          {layer: share of its neurons that were zero for every example of the epoch's last batches}, of relu
                  and its like; one warning says so when it is more than half, unless there are penalties
    terms         what an objective of several terms says of each (npkd.distillation.objective.Terms.balance)
    stage         of several trainings in turn the name of this one (npkd.distillation.schemes)
    beside        networks that the objective trains too, after this epoch (copies): peers, classifiers on its layers
    """

    epoch: int
    loss: float
    penalty: float
    validation: float | None
    learning_rate: float
    seconds: float
    network: Network = field(repr=False)
    best: Network = field(repr=False)
    carried: tuple[Array, ...] = field(repr=False)
    dead: Mapping[int, float] = field(default_factory=dict)
    terms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    stage: str = ""
    beside: tuple[Network, ...] = field(default=(), repr=False)


def classification(activations: Sequence[Array], batch: Batch) -> tuple[float, Mapping[int, Array]]:
    """Cross-entropy of the last activation (N, C) with the labels batch["y"] (N,). Raises InputError without labels."""
    if "y" not in batch:
        raise InputError(f"classification: data holds {', '.join(sorted(batch))}; it needs the labels 'y' too")
    value, d = cross_entropy(activations[-1], batch["y"])
    return value, {len(activations) - 1: d}


def train(network: Network, data: Batch, objective: Objective = classification, *, optimiser: Optimiser | None = None,
          penalties: Mapping[int, Penalty] | None = None, settings: TrainingSettings | None = None,
          rng: np.random.Generator) -> Iterator[Record]:
    """Train a copy of ``network`` and yield a Record after every epoch.

        θ ← prox_{s Ω}(θ − η v),   s the step size that the optimiser returns         (T9)

    data          arrays by name, each with one row an example; "x" is what the network sees
    objective     see Objective; cross-entropy with data["y"] unless told
    optimiser     SGD(0.1, momentum 0.9) unless told
    penalties     {index of a layer: penalty on its first parameter, the weights}: a proximal step after every update
    settings      TrainingSettings() unless told
    rng           draws the order of the examples, dropout and the augmentation: the same seed gives the same network
    Raises InputError for arguments that do not fit, Diverged when the loss is no longer finite.
    """
    settings, penalties = settings or TrainingSettings(), penalties or {}
    batches, workspace = Minibatches(data, settings.batch_size), Workspace(network, settings.batch_size)
    if data["x"].dtype != workspace.parameters.dtype:
        raise InputError(f"train: 'x' is {data['x'].dtype}, the network {workspace.parameters.dtype}; they must agree: "
                         "convert one of them with astype")
    if not isinstance(penalties, Mapping):
        raise InputError(f"train: penalties is {described(penalties)}; it must be {{index of a layer: penalty}}")
    for i, penalty in penalties.items():
        if i not in range(len(network.layers)) or not network.layers[i].params:
            raise InputError(f"train: penalties names layer {i}, which has no parameters")
        stepped(f"train: the penalty of layer {i}", penalty, network.layers[i].params[0].copy(), 1.0)
    records = run(workspace, batches, objective, optimiser or SGD(), penalties, settings, rng)
    note = "loss {0.loss:.4f}" + ", validation {0.validation:.4g}" * (settings.validate is not None)
    return tracked(records, "training", settings.epochs - settings.done, note.format) if settings.progress else records


def run(workspace: Workspace, batches: Minibatches, objective: Objective, optimiser: Optimiser,
        penalties: Mapping[int, Penalty], settings: TrainingSettings, rng: np.random.Generator) -> Iterator[Record]:
    """The loop of ``train``; the workspace computes what network and optimiser compute, in buffers."""
    started, (best_epoch, smallest, best) = time.perf_counter(), settings.best or (0, math.inf, workspace.network)
    state = workspace.begin(optimiser, separate=settings.clip is not None)
    own, activity = ObjectiveState(objective, optimiser), Activity(workspace.network)
    restore("train", "carried", settings.carried, (*state.carried, *own.carried))
    given, objective = objective, partial(asked, objective)            # the first time, what it returns is looked at
    for epoch in range(settings.done + 1, settings.epochs + 1):
        if settings.patience is not None and epoch - 1 - best_epoch >= settings.patience:
            return
        if settings.augmentation is not None and (epoch - 1) % settings.refresh == 0:
            batches.show(settings.augmentation(batches.data, rng))
        total = 0.0
        with workspace.blas:
            for batch, progress in batches(rng):
                done = (epoch - 1 + progress) / settings.epochs
                learning_rate = optimiser.learning_rate * settings.schedule(done)
                own.at(epoch, done)
                activations = workspace.forward(batch["x"], rng)
                value, sensitivities = objective(activations, batch)
                objective = given
                check_finite(value, workspace, epoch, optimiser.learning_rate)
                workspace.observe()                                                     # (B7)
                if settings.adversarial_eps:                                            # (T11)
                    value = adversarial_half(workspace, batch, objective, (value, sensitivities),
                                             settings.adversarial_eps, rng)
                    check_finite(value, workspace, epoch, optimiser.learning_rate)
                else:
                    workspace.backward(sensitivities)
                if settings.clip is not None:
                    bound_norm(settings.clip, workspace.gradient, *own.gradients)       # (T10)
                step_sizes = state.update(workspace.parameters, workspace.gradient, learning_rate)  # (T1) … (T6)
                own.update(learning_rate)
                for i, penalty in penalties.items():                                   # θ ← prox_{s Ω}(θ − η v)
                    w = workspace.network.layers[i].params[0]
                    w[...] = penalty.prox(w, workspace.of_weights(step_sizes, i))       # (T9)
                total += value * len(batch["x"])
                if (1 - progress) * len(batches.cuts) <= LAST_BATCHES:
                    activity.see(activations)
        network = workspace.network.copy()
        check_finite(float(np.abs(workspace.parameters).max()), workspace, epoch, optimiser.learning_rate)
        penalty_value = sum(penalty.value(network.layers[i].params[0]) for i, penalty in penalties.items())     # (P18)
        validation = None if settings.validate is None else settings.validate(network)
        if validation is not None and math.isnan(validation):
            raise InputError(f"train: validate returned {validation} after epoch {epoch}; it must be a number")
        if validation is None or validation < smallest or not best_epoch:
            best, best_epoch, smallest = network, epoch, math.inf if validation is None else validation
        dead, seconds = activity.dead(), time.perf_counter() - started
        activity.warn({} if penalties else dead, epoch, learning_rate)
        yield Record(epoch, total / batches.rows, penalty_value, validation, learning_rate, seconds, network, best,
                     tuple(map(flush_subnormals, (*state.carried, *own.carried))), dead, own.balance(network, batch))


def check_finite(value: float, workspace: Workspace, epoch: int, rate: float) -> None:
    """Raise Diverged unless ``value`` is finite, naming the first layer whose parameters, else output, are not."""
    if math.isfinite(value):
        return
    if not np.isfinite(workspace.activations[0]).all():
        raise Diverged(f"train: diverged in epoch {epoch}: 'x' holds values that are not finite; remove them")
    layers = workspace.network.layers
    bad = next((i for i, layer in enumerate(layers) if not all(np.isfinite(p).all() for p in layer.params)), None)
    if bad is None:
        bad = next((i for i, a in enumerate(workspace.activations[1:]) if not np.isfinite(a).all()), len(layers) - 1)
    raise Diverged(f"train: diverged in epoch {epoch}: the objective or a parameter is {value} and layer {bad} "
                   f"({layers[bad].op}) is the first that is not finite; lower the learning rate (it is {rate:g}), or "
                   f"bound the gradient with clip")
