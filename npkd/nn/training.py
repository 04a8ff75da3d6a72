"""The training loop: an iterator of records that prints nothing; the caller shows progress.

What is learnt is the objective's business, what is penalised the penalties', how steps are made the optimiser's. Plain
training, distillation, hints and compression-aware training differ in these arguments alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from npkd.core.types import Array, Batch, Objective
from npkd.core.validation import Diverged, InputError, positive
from npkd.nn.adversarial import worst
from npkd.nn.fast.workspace import Workspace, shaped
from npkd.nn.losses import cross_entropy
from npkd.nn.network import Network, observe
from npkd.nn.optimisers import SGD, Optimiser
from npkd.nn.schedules import Schedule, cosine

Augment = Callable[[Batch, np.random.Generator], Batch]
"""``augment(data, rng) -> data``: what the examples are turned into before the network sees them. It may add arrays."""


class Penalty(Protocol):
    """What the proximal step needs of a penalty (npkd.sparsity.penalties)."""

    def value(self, w: Array) -> float:
        """Ω(w), with λ inside."""
        ...

    def prox(self, v: Array, step: float | Array) -> Array:
        """argmin_u ½‖u − v‖² + step · Ω(u); with an array of steps, ½ Σ (u − v)²/step + Ω(u)."""
        ...


@dataclass(frozen=True, eq=False)
class Record:
    """What is known after an epoch (numbered from 1).

    loss          mean objective over the epoch's batches, while the network was changing
    penalty       Σ Ω over the penalised layers, at the end of the epoch
    validation    what ``validate`` returned, or None
    rate          learning rate of the last update
    seconds       since the start of the run
    network       the network after this epoch (a copy)
    best          the network with the smallest validation so far; the latest one without validation
    """

    epoch: int
    loss: float
    penalty: float
    validation: float | None
    rate: float
    seconds: float
    network: Network
    best: Network


def classification(activations: Sequence[Array], batch: Batch) -> tuple[float, Mapping[int, Array]]:
    """The objective of plain training: cross-entropy of the last activation with the labels batch["y"] (N,). Raises
    InputError without them."""
    if "y" not in batch:
        raise InputError(f"classification: data holds {', '.join(sorted(batch))}; it needs the labels 'y' too")
    value, d = cross_entropy(activations[-1], batch["y"])
    return value, {len(activations) - 1: d}


class Step:
    """One update of a network: forward, objective, backward, optimiser, proximal step.

        θ ← prox_{s Ω}(θ − η v),   s the step size that the optimiser says             (T9)

    ``penalties`` maps the index of a layer to a penalty on its first parameter (the weights). ``clip`` bounds the norm
    of the gradient:

        g ← g · min(1, clip / ‖g‖)                                                    (T10)

    With an ``adversary`` ε half of what is learnt from are the same examples at their worst, ½ L(x) + ½ L(x') with x'
    of (T11).
    """

    def __init__(
        self, network: Network, rows: int, optimiser: Optimiser, penalties: Mapping[int, Penalty], clip: float | None,
        adversary: float = 0.0
    ) -> None:
        self.adversary = adversary
        self.workspace = Workspace(network, rows)
        self.state = optimiser.begin(self.workspace.parameters, separate=clip is not None)
        self.penalties, self.clip = penalties, clip
        self.observes = any(layer.op == "batch_norm" for layer in network.layers)

    def __call__(self, batch: Batch, objective: Objective, rate: float,
                 rng: np.random.Generator | None = None) -> float:
        """Update the workspace's network on a batch and return the objective's value before the update."""
        with self.workspace.alone:
            return self.update(batch, objective, rate, rng)

    def update(self, batch: Batch, objective: Objective, rate: float, rng: np.random.Generator | None) -> float:
        """``__call__``, once BLAS leaves the cores to the workspace."""
        space = self.workspace
        value = self.differentiate(batch, objective, rng)
        if not math.isfinite(value):        # before it spreads to every parameter: the caller says where it began
            return value
        if self.clip is not None:
            norm = float(np.sqrt(np.vdot(space.gradient, space.gradient)))
            if norm > self.clip:
                space.gradient *= self.clip / norm                                     # (T10)
        step = self.state.update(space.parameters, space.gradient, rate)
        for i, penalty in self.penalties.items():
            w, place = space.network.layers[i].params[0], space.layout[i][0]
            w[...] = penalty.prox(w, shaped(step[place], w.shape) if isinstance(step, np.ndarray) else step)      # (T9)
        return value

    def differentiate(self, batch: Batch, objective: Objective, rng: np.random.Generator | None) -> float:
        """The value of what is minimised on a batch; its gradient in the workspace, where the value is finite.

        Running moments follow the examples as they are: so the network will see them.
        """
        space, beta = self.workspace, self.state.beta
        value, sensitivities = objective(space.forward(batch["x"], rng), batch)
        if not math.isfinite(value):
            return value
        if self.observes:
            space.adopt(observe(space.network, space.activations))
        if not self.adversary:
            space.backward(sensitivities, beta)
            return value
        dx = space.backward(halved(sensitivities), beta, inputs=True)
        assert dx is not None
        if not np.isfinite(dx).all():       # no way to go: the caller says why
            return math.nan
        moved = {**batch, "x": worst(batch["x"], dx, self.adversary)}                  # (T11)
        there, sensitivities = objective(space.forward(moved["x"], rng), moved)
        if math.isfinite(there):
            space.backward(halved(sensitivities), 1.0)                 # to what the examples themselves have left there
        return (value + there) / 2


def halved(sensitivities: Mapping[int, Array]) -> dict[int, Array]:
    """Those of half the objective."""
    return {i: d / 2 for i, d in sensitivities.items()}


def train(
    network: Network,
    data: Batch,
    objective: Objective = classification,
    *,
    epochs: int,
    rng: np.random.Generator,
    batch: int = 128,
    optimiser: Optimiser | None = None,
    schedule: Schedule | None = None,
    penalties: Mapping[int, Penalty] | None = None,
    augment: Augment | None = None,
    refresh: int = 1,
    clip: float | None = None,
    adversary: float = 0.0,
    validate: Callable[[Network], float] | None = None,
    patience: int | None = None,
) -> Iterator[Record]:
    """Train a copy of ``network`` and yield a Record after every epoch.

    data          arrays by name, each with one row an example; "x" is what the network sees
    objective     see Objective; cross-entropy with data["y"] unless told
    batch         examples in an update; the last batch of an epoch may hold fewer, but never a single one
    optimiser     SGD(0.1, momentum 0.9) unless told;  schedule: cosine() unless told
    penalties     {index of a layer: penalty on its weights}, applied by a proximal step after each update
    augment       changes the whole data before the first epoch and again after every ``refresh`` epochs; as many rows
                  come out as went in
    adversary     ε of (T11); 0: the examples as they are. Costs two to three times the time
    validate      network -> a number to be small, called after every epoch; with ``patience`` the run ends when the
                  number has not fallen for so many epochs. Model selection: give it validation data, never test data.
    rng           draws the order of the examples, dropout and the augmentation: the same seed gives the same network

    Raises InputError for arguments that do not fit, Diverged when the loss is no longer finite.
    """
    n = check_data(network, data, epochs, batch)
    positive("train", "adversary", adversary, zero=True)
    if clip is not None:
        positive("train", "clip", clip)
    if patience is not None and validate is None:
        raise InputError("train: patience is set but validate is not; early stopping needs a validation part")
    if patience is not None and patience < 1:
        raise InputError(f"train: patience is {patience}; it must be at least 1 epoch")
    for i in penalties or {}:
        if not 0 <= i < len(network.layers) or not network.layers[i].params:
            raise InputError(f"train: penalties names layer {i}, which has no parameters")
    optimiser, schedule = optimiser or SGD(), schedule or cosine()
    step = Step(network, batch, optimiser, penalties or {}, clip, adversary)
    if refresh < 1:
        raise InputError(f"train: refresh is {refresh}; it must be at least 1 epoch")
    return epochs_of(step, data, n, objective, epochs, rng, batch, optimiser.rate, schedule, augment, refresh, validate,
                     patience)


def check_data(network: Network, data: Batch, epochs: int, batch: int) -> int:
    """Raise InputError for data that cannot be trained on; return the number of examples."""
    if "x" not in data or not len(data["x"]):
        raise InputError("train: data has no examples; it needs an array 'x' with at least one row")
    lengths = {name: len(a) for name, a in data.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"train: data arrays have lengths {lengths}; they must be equal")
    if epochs < 1 or batch < 1:
        raise InputError(f"train: epochs is {epochs} and batch is {batch}; both must be at least 1")
    dtype = next((p.dtype for layer in network.layers for p in layer.params), None)
    if data["x"].dtype != dtype:
        raise InputError(f"train: data 'x' is {data['x'].dtype} but the network is {dtype}; they must agree")
    return lengths["x"]


def check_augmented(found: Batch, data: Batch, before: Batch | None) -> Batch:
    """What an augmentation made of the data, contiguous (np.take copies what is not), "x" in its dtype.

    Raises InputError unless every array has a row for each example, and where the arrays are not those of the time
    ``before``.
    """
    n = len(data["x"])
    lengths = {name: len(a) for name, a in found.items()}
    if "x" not in found or set(lengths.values()) != {n}:
        raise InputError(f"train: augment returned arrays of lengths {lengths}; it must return 'x', and {n} rows in "
                         f"every array, as given")
    shown = {name: np.ascontiguousarray(a, data["x"].dtype if name == "x" else None) for name, a in found.items()}
    kinds, kinds_before = ({name: (a.shape, str(a.dtype)) for name, a in batch.items()}
                           for batch in (shown, before or shown))
    if kinds != kinds_before:
        raise InputError(f"train: augment returned {kinds}, and {kinds_before} before; names, shapes and dtypes must "
                         f"stay")
    return shown


def epochs_of(
    step: Step, data: Batch, n: int, objective: Objective, epochs: int, rng: np.random.Generator, batch: int,
    rate: float,
    schedule: Schedule, augment: Augment | None, refresh: int, validate: Callable[[Network], float] | None,
    patience: int | None,
) -> Iterator[Record]:
    """The loop of ``train``."""
    started = time.perf_counter()
    cuts = [*range(0, n, batch), n]
    # a batch of one has no variance: it joins nothing, it is left out
    if batch > 1 and len(cuts) > 2 and cuts[-1] - cuts[-2] == 1:
        cuts.pop()
    shown, held = data, dict[str, Array]()
    best, smallest, best_epoch = step.workspace.network.copy(), math.inf, 0
    for epoch in range(1, epochs + 1):
        if augment is not None and (epoch - 1) % refresh == 0:
            shown = check_augmented(augment(data, rng), data, shown if held else None)
        if not held:
            held = {name: np.empty((batch, *a.shape[1:]), a.dtype) for name, a in shown.items()}
        order, total, factor = rng.permutation(n), 0.0, 1.0
        for k, (start, end) in enumerate(zip(cuts[:-1], cuts[1:], strict=True)):
            rows: Batch = {name: np.take(a, order[start:end], axis=0, out=held[name][:end - start], mode="clip")
                           for name, a in shown.items()}
            factor = schedule((epoch - 1 + (k + 0.5) / (len(cuts) - 1)) / epochs)    # the middle of the update: never 0
            value = step(rows, objective, rate * factor, rng)
            if not math.isfinite(value):
                raise Diverged(describe_divergence(step.workspace, epoch, value, rate))
            total += value * (end - start)
        network = step.workspace.network.copy()
        if not np.isfinite(step.workspace.parameters).all():
            raise Diverged(describe_divergence(step.workspace, epoch, math.nan, rate))
        penalty = sum(p.value(network.layers[i].params[0]) for i, p in step.penalties.items())
        validation = None if validate is None else validate(network)
        if validation is not None and math.isnan(validation):
            raise InputError(f"train: validate returned {validation} after epoch {epoch}; it must be a number to be "
                             f"small")
        if validation is None or validation < smallest or not best_epoch:
            best, best_epoch = network, epoch
            smallest = math.inf if validation is None else validation
        yield Record(epoch, total / cuts[-1], penalty, validation, rate * factor, time.perf_counter() - started,
                     network, best)
        if patience is not None and epoch - best_epoch >= patience:
            return


def describe_divergence(space: Workspace, epoch: int, value: float, rate: float) -> str:
    """Epoch, layer and remedy: the first layer whose parameters, else whose output, is not finite; or that the data is
    not."""
    if not np.isfinite(space.activations[0]).all():
        return (
            f"train: diverged in epoch {epoch}: 'x' holds values that are not finite, as given or as augment made "
            f"them; remove them"
        )
    bad = next((i for i,
                layer in enumerate(space.network.layers) if not all(np.isfinite(p).all() for p in layer.params)), None)
    if bad is None:
        bad = next((i for i, a in enumerate(space.activations[1:]) if not np.isfinite(a).all()),
                   len(space.network.layers) - 1)
    return (
        f"train: diverged in epoch {epoch}: the objective is {value} and layer {bad} ({space.network.layers[bad].op}) "
        f"is the first "
        f"that is not finite; lower the learning rate (it is {rate:g}), or bound the gradient with clip"
    )
