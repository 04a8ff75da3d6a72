"""Sparse training: a network loses neurons while it learns, by proximal steps on the weights that read them (P18).

    1. penalty    λ as given; or it is found: it rises while the network is larger than the target, then (T12) holds it
                  there; or it rises until nothing is left, the path, and the smallest network that is as good is taken
    2. last λ     λ is fixed and the learning rate falls to 0, towards a stationary point
    3. removal    neurons that nobody reads are cut out, exactly
    4. debias     the rest is trained without penalty on neurons; kept where the validation part says so

It goes up from the dense network: with all hidden columns at zero every gradient of the weights is zero, so that there
is no path down from λ_max. Derivation: docs/book/7-proximal.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from npkd.core.types import Array, Batch, Objective
from npkd.core.validation import InputError
from npkd.nn.network import Network
from npkd.nn.optimisers import SGD
from npkd.nn.schedules import Schedule, cosine, steps
from npkd.nn.training import Penalty, Record, TrainingSettings, classification, train
from npkd.pipeline.epochs import epochs_of
from npkd.pipeline.sparse_recipe import SparseRecipe
from npkd.pipeline.stages import Run, error_rate, open_front
from npkd.pipeline.target import Target
from npkd.sparsity.outgoing import Support, alive, outgoing_penalties, stationarity
from npkd.surgery.dependency import DependencyGroup, dependency_groups
from npkd.surgery.removal import Removal, remove
from npkd.surgery.widths import geometry

GROWTH, START = 1.08, 2e-4
"""Factor by which λ rises, at most, from one epoch to the next; where it starts, costs having mean 1."""
SLACK = 1.25
"""At the full learning rate a network is held at so many times its target: neurons die when that rate falls."""
LONGEST = 150
"""Most epochs of a rise: λ has then grown by a factor of 10⁵."""
TRIES = 4
"""Most values of the last λ that are tried for a target."""
SAMPLE = 2000
"""Leading examples of the training part on which every epoch's objective and stationarity are computed."""

constant = steps(())


@dataclass(frozen=True)
class PathPoint:
    """An epoch of the path: λ, what the target counts (or multiply-accumulates), widths, and the validation error."""

    lam: float
    size: float
    widths: tuple[int, ...]
    validation_error: float


@dataclass(frozen=True, eq=False)
class SparseResult:
    """The result of ``sparse_training``.

    dense       the network it began with;   penalised  the one at the last λ, unread neurons removed
    debiased    that after the last phase, or None;   model  the one of both that the validation part prefers
    lam         the last λ (of every kind that was sought, or factor 1 of those that were given)
    epochs      of all phases that a penalty was part of, those of the search too
    stationarity    (P19) on all training examples in float64, at the start and at the end of the last λ
    objective   L + ½ d ‖θ‖² + Ω at the end of it
    removals    a record of each neuron removed;   path  the epochs of the path
    """

    dense: Network
    penalised: Network
    debiased: Network | None
    model: Network
    lam: float
    epochs: int
    stationarity: tuple[float, float]
    objective: float
    removals: list[Removal]
    path: list[PathPoint] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Problem:
    """What all phases with a penalty share."""

    run: Run
    recipe: SparseRecipe
    groups: list[DependencyGroup]
    target: Target
    objective: Objective
    batch: Batch

    def penalties(self, network: Network, lam: float) -> dict[int, Penalty]:
        """(P18) with λ for every strength that is to be found."""
        strengths = {name: lam if given is None else given for name, given in self.recipe.strengths.items()}
        return outgoing_penalties(network, self.groups, strengths, costs=self.recipe.costs,
                                  geometry=self.target.geometry)

    def size(self, network: Network) -> float:
        """What the target counts, of the neurons that are read."""
        return self.target.size([*alive(network, self.groups), network.widths[-1]])

    def measured(self, network: Network, lam: float, rows: int | None = None) -> tuple[float, float]:
        """Stationarity and objective at λ on the first ``rows`` training examples, or on all."""
        batch = {name: a[:rows] for name, a in self.batch.items()}
        step = self.recipe.learning_rate
        return stationarity(network, batch, self.objective, self.penalties(network, lam), step=step,
                            weight_decay=self.recipe.weight_decay)

    def line(self, record: Record) -> dict[str, Any]:
        """What the history says of an epoch beside what it says of every training."""
        lam = float(record.carried[0])
        rho, objective = self.measured(record.network, lam, SAMPLE)
        weights = [layer.params[0] for layer in record.network.layers if layer.row.weights]
        return {"lambda": lam, "size": self.size(record.network), "alive": alive(record.network, self.groups),
                "zeros": int(sum((w == 0).sum() for w in weights)), "objective": objective, "penalty": record.penalty,
                "stationarity": rho}


def sparse_training(run: Run, dense: Network, recipe: SparseRecipe, objective: Objective = classification,
                    extra: Mapping[str, Array] | None = None) -> SparseResult:
    """A sparse network from a dense one, see the head of this file. ``run.state`` has the newest of both.

    objective, extra    what is learnt, and arrays beside "x" and "y" that it needs, a row a training example
    Raises InputError for a network without what the penalty names, and for a target that it cannot reach.
    """
    data, groups = run.data, dependency_groups(dense)
    batch = {"x": data.x_train, "y": data.y_train, **(extra or {})}
    problem = Problem(run, recipe, groups, require(recipe, dense, groups), objective, batch)
    run.state.teacher, network, lam, path = run.outside(dense), dense, 1.0, list[PathPoint]()
    epochs = 0
    if recipe.path:
        network, lam, epochs, path = along_path(problem, network)
    elif recipe.target is not None:
        network, lam, epochs = to_target(problem, network, recipe.target.bound)
    network, lam, more, before = at_last(problem, network, lam)
    after, value = problem.measured(network, lam)
    penalised, removals = remove(network, inputs="inputs" in recipe.strengths)
    run.state.student = model = run.outside(penalised)
    debiased = unpenalised(problem, penalised) if recipe.debias else None
    if debiased is not None:
        errors = [error_rate(each, data.x_validation, data.y_validation) for each in (penalised, debiased)]
        model = run.outside(debiased if errors[1] <= errors[0] else penalised)
    run.state.student = model
    return SparseResult(dense, penalised, debiased, model, lam, epochs + more, (before, after), value, removals, path)


def require(recipe: SparseRecipe, network: Network, groups: list[DependencyGroup]) -> Target:
    """What counts the size of a network. Raises InputError where the penalty or the target does not fit it."""
    target = recipe.target or Target("macs", 1.0, geometry=geometry(network, groups))
    if recipe.target is not None:
        target.require([*(g.width for g in groups), network.widths[-1]], "inputs" not in recipe.strengths)
    outgoing_penalties(network, groups, {name: lam or START for name, lam in recipe.strengths.items()},
                       geometry=target.geometry, costs=recipe.costs)
    return target


@dataclass(frozen=True)
class Phase:
    """Epochs with a penalty.

    control     (λ of the epoch before, network) -> λ, from the first epoch on
    until       (λ, network) -> whether the phase ends early
    """

    name: str
    epochs: int
    schedule: Schedule
    control: Callable[[float, Network], float] = lambda lam, network: lam
    until: Callable[[float, Network], bool] = lambda lam, network: False


def trained(problem: Problem, network: Network, lam: float, phase: Phase) -> tuple[Network, float, int]:
    """The network after a phase that begins with λ, λ of the last epoch, and their number."""
    recipe, run, last, count = problem.recipe, problem.run, lam, 0
    size = min(recipe.batch_size, len(problem.batch["x"]))

    def training(start: Network, settings: TrainingSettings) -> Iterator[Record]:
        nonlocal last
        if settings.carried:
            last = float(settings.carried[0])
        carried = settings.carried[1:]
        for epoch in range(settings.done + 1, settings.epochs + 1):
            last = phase.control(last, start)
            moment = partial(lambda p, e: phase.schedule((e - 1 + p) / phase.epochs), e=epoch)
            one = replace(settings, epochs=1, done=0, carried=carried, best=None, schedule=moment)
            for record in train(start, problem.batch, problem.objective, rng=run.rng, settings=one,
                                optimiser=SGD(recipe.learning_rate, weight_decay=recipe.weight_decay),
                                penalties=problem.penalties(start, last)):
                start, carried = record.network, record.carried
                yield replace(record, epoch=epoch, carried=(np.array(last), *carried))

    settings = TrainingSettings(phase.epochs, size, validate=validation_of(problem))
    for latest in epochs_of(phase.name, network, training, settings, run.rng, run.progress, problem.line):
        network, count = latest, count + 1
        run.state.student = run.outside(network)
        if phase.until(last, network):
            break
    return network, last, count


def validation_of(problem: Problem) -> Callable[[Network], float]:
    """The validation error of a network."""
    data = problem.run.data
    return lambda network: error_rate(network, data.x_validation, data.y_validation)


def to_target(problem: Problem, network: Network, bound: float) -> tuple[Network, float, int]:
    """λ rises until the network is within ``SLACK`` of the bound, and is held there until it has settled.

        λ ← λ · min(g, max(1/g, √(size/bound))),   g = GROWTH                          (T12)
    """
    def control(lam: float, network: Network) -> float:
        return lam * min(GROWTH, max(1 / GROWTH, math.sqrt(problem.size(network) / (SLACK * bound))))           # (T12)

    network, lam, rise = trained(problem, network, START, Phase(
        "λ rises", LONGEST, constant, control, lambda lam, network: problem.size(network) <= SLACK * bound))
    if problem.size(network) > SLACK * bound:
        raise InputError(f"penalty: after {LONGEST} epochs the network is {problem.size(network):.0f} "
                         f"{problem.target.kind}, the target {bound:.0f}; penalise more kinds of neurons")
    network, lam, held = trained(problem, network, lam, Phase("λ settles", problem.recipe.settling, constant, control))
    return network, lam, rise + held


def at_last(problem: Problem, network: Network, lam: float) -> tuple[Network, float, int, float]:
    """Epochs at the last λ, whose learning rate falls to 0: network, λ, epochs in all, and (P19) where they began.

    With a target they are done again from the same network with another λ, at most TRIES times, until the size is at
    most a twentieth below the bound; of all tries that are within it the largest network counts. Raises InputError
    where none is."""
    recipe, epochs, best = problem.recipe, 0, None
    bound = math.inf if recipe.target is None else recipe.target.bound
    for nth in range(1, 2 if recipe.target is None else TRIES + 1):
        before, _ = problem.measured(network, lam)
        name = "last λ" if nth == 1 else f"last λ, try {nth}"
        last, _, count = trained(problem, network, lam, Phase(name, recipe.epochs, cosine()))
        size, epochs = problem.size(last), epochs + count
        if size <= bound and (best is None or size > best[0]):
            best = size, last, lam, before
        if 0.95 * bound <= size <= bound:
            break
        lam *= min(3.0, max(1 / 3, size / bound)) * (GROWTH if size > bound else 1.0)
    if best is None:
        raise InputError(f"penalty: at no λ that was tried is the network within {bound:.0f} {problem.target.kind}; "
                         "take a larger target, or penalise more kinds of neurons")
    return best[1], best[2], epochs, best[3]


def along_path(problem: Problem, network: Network) -> tuple[Network, float, int, list[PathPoint]]:
    """λ rises by GROWTH an epoch until some layer reads nothing any more. Returns the smallest network whose validation
    error is within one standard error of the dense network's, its λ, the epochs, and a point for each."""
    validate, points, best = validation_of(problem), list[PathPoint](), (network, START)
    dense = validate(network)
    allowed = dense + math.sqrt(dense * (1 - dense) / len(problem.run.data.y_validation))

    def seen(lam: float, network: Network) -> bool:
        nonlocal best
        widths = (*alive(network, problem.groups), network.widths[-1])
        points.append(PathPoint(lam, problem.size(network), widths, validate(network)))
        best = (network, lam) if points[-1].validation_error <= allowed else best
        return min(widths) == 0

    rising = Phase("path", LONGEST, constant, lambda lam, network: lam * GROWTH, seen)
    _, _, epochs = trained(problem, network, START, rising)
    return *best, epochs, points


def unpenalised(problem: Problem, network: Network) -> Network:
    """The network after epochs without a penalty on neurons; single weights that are zero stay zero where the penalty
    was on them. What it reads is selected once for all."""
    recipe, run = problem.recipe, problem.run
    kept, body = open_front(network)
    batch = {name: np.take(a, kept, axis=1) if name == "x" and kept is not None else a
             for name, a in problem.batch.items()}
    x = run.data.x_validation if kept is None else np.take(run.data.x_validation, kept, axis=1)
    zeros: dict[int, Penalty] = {} if "weights" not in recipe.strengths else {
        i: Support(body.layers[i].params[0] != 0) for i in body.weight_layers}
    training = partial(train, data=batch, objective=problem.objective, rng=run.rng, penalties=zeros,
                       optimiser=SGD(recipe.learning_rate / 2, weight_decay=recipe.debias_weight_decay))
    settings = TrainingSettings(recipe.debias_epochs, max(1, recipe.batch_size // 4),
                                validate=lambda network: error_rate(network, x, run.data.y_validation))
    for latest in epochs_of("without penalty", body, training, settings, run.rng, run.progress):
        network = latest if kept is None else Network([network.layers[0], *latest.layers])
        run.state.student = run.outside(network)
    return network
