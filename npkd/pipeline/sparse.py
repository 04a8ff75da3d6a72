"""Sparse training: a network loses neurons while it learns, by proximal steps on the weights that read them (P18).

    1. penalty    λ as given; or it is found: it rises while the network is larger than the target, then (T12) holds it
                  there; or it rises until nothing is left, the path, and the smallest network that is as good is taken
    2. last λ     neurons that nobody reads are cut out, which makes epochs cheap; λ is fixed and the learning rate
                  falls to 0, towards a stationary point; with a target for several λ, until the size is right
    3. removal    what nobody reads any more is cut out, exactly
    4. debias     the rest is trained without penalty on neurons; kept where the validation part says so

It goes up from the dense network: with all hidden columns at zero every gradient of the weights is zero, so that there
is no path down from λ_max. Derivation: docs/book/7-proximal.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from npkd.compression.low_rank import factored, ranks_of
from npkd.core.types import Array, Objective
from npkd.interop.layers import outputs_of
from npkd.nn.network import Network
from npkd.nn.optimisers import SGD
from npkd.nn.training import Penalty, TrainingSettings, train
from npkd.pipeline.epochs import epochs_of
from npkd.pipeline.sparse_phases import START, Problem, along_path, at_last, to_target
from npkd.pipeline.sparse_recipe import SparseRecipe
from npkd.pipeline.stages import Run, error_rate, open_front
from npkd.pipeline.target import Target
from npkd.pipeline.task import labels_of
from npkd.sparsity.outgoing import Support, group_costs, outgoing_penalties, read
from npkd.surgery.dependency import DependencyGroup, dependency_groups
from npkd.surgery.removal import Removal, keep, remove
from npkd.surgery.widths import geometry


@dataclass(frozen=True, eq=False)
class SparseResult:
    """The result of ``sparse_training``.

    dense       the network it began with;   penalised  the one at the last λ, unread neurons removed
    debiased    that after the last phase, or None;   model  the one of both that the validation part prefers
    lam         the last λ (of every kind that was sought, or factor 1 of those that were given)
    epochs      of all phases that a penalty was part of, those of the search too
    stationarity    (P19) on all training examples in float64, at the start and at the end of the last λ
    objective   L + ½ d ‖θ‖² + Ω at the end of it
    ranks       of the layers of the dense network that are two in the penalised one, by the nuclear norm
    removals    a record of each neuron removed;   path  of each epoch of the path lambda, size, alive, validation_error
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
    path: list[dict[str, Any]] = field(default_factory=list)
    ranks: dict[int, int] = field(default_factory=dict)


def sparse_training(run: Run, dense: Network, recipe: SparseRecipe, objective: Objective | None = None,
                    extra: Mapping[str, Array] | None = None, clip: float | None = None) -> SparseResult:
    """A sparse network from a dense one, see the head of this file. ``run.state`` has the newest student.

    objective, extra    what is learnt, by default the labels, and arrays beside "x" and "y" that it needs, a row a
                        training example
    clip                bound of the gradient's norm in all phases, (K50) where a teacher's answers are learnt
    Raises InputError for a network without what the penalty names, and for a target that it cannot reach.
    """
    data, groups = run.data, dependency_groups(dense)
    objective = objective or labels_of(data.y_train, outputs_of(dense))
    batch, target = {"x": data.x_train, "y": data.y_train, **(extra or {})}, require(recipe, dense, groups)
    costs = group_costs(dense, groups, recipe.strengths, geometry=target.geometry, costs=recipe.costs)
    problem = Problem(run, recipe, costs, target, objective, batch, [np.arange(group.width) for group in groups],
                      clip)
    network, lam, path, epochs = dense, 1.0, list[dict[str, Any]](), 0
    if run.state.teacher is None:                           # in a distillation there is one: another network
        run.state.teacher = run.outside(dense)
    if recipe.path:
        network, lam, epochs, path = along_path(problem, network)
    elif recipe.target is not None:
        network, lam, epochs = to_target(problem, network, recipe.target.bound)
    network, stays = without_unread(network)
    problem = replace(problem, numbers=stays)
    network, lam, more, before = at_last(problem, network, lam)
    after, value = problem.measured(network, lam)
    penalised, removals = remove(network, inputs=bool({"inputs", "weights"} & {*recipe.strengths}))
    ranks = ranks_of(penalised) if "nuclear" in recipe.strengths else {}
    penalised = factored(penalised, ranks)
    removals = [Removal(k, j, "dead") for k, (group, kept) in enumerate(zip(groups, stays, strict=True))
                for j in np.setdiff1d(np.arange(group.width), kept).tolist()] + [
        replace(r, neuron=int(stays[r.group][r.neuron]), into=None if r.into is None else int(stays[r.group][r.into]))
        for r in removals]
    run.state.student = model = run.outside(penalised)
    debiased = unpenalised(problem, penalised) if recipe.debias else None
    if debiased is not None:
        errors = [run.validation_error(each) for each in (penalised, debiased)]
        model = run.outside(debiased if errors[1] <= errors[0] else penalised)
    run.state.student = model
    return SparseResult(run.outside(dense), run.outside(penalised), debiased and run.outside(debiased), model, lam,
                        epochs + more, (before, after), value, removals, path, ranks)


def require(recipe: SparseRecipe, network: Network, groups: list[DependencyGroup]) -> Target:
    """What counts the size of a network. Raises InputError where the penalty or the target does not fit it."""
    target = recipe.target or Target("macs", 1.0, geometry=geometry(network, groups))
    if recipe.target is not None:
        target.require([*(g.width for g in groups), network.widths[-1]], "inputs" not in recipe.strengths)
    outgoing_penalties(network, groups, {name: lam or START for name, lam in recipe.strengths.items()})
    return target


def without_unread(network: Network) -> tuple[Network, list[Array]]:
    """The network without neurons that nobody reads, inputs apart; the numbers of the others by group.

    One neuron at least stays in each group."""
    groups = dependency_groups(network)
    stays = [np.flatnonzero(reads) if reads.any() and group.producers and not group.fixed else np.arange(group.width)
             for group, reads in zip(groups, read(network, groups), strict=True)]
    for k, kept in enumerate(stays):
        network = keep(network, dependency_groups(network)[k], kept)
    return network, stays


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
    settings = TrainingSettings(recipe.debias_epochs, max(1, recipe.batch_size // 4), clip=problem.clip,
                                validate=lambda network: error_rate(network, x, run.data.y_validation))
    for now in epochs_of("without penalty", body, training, settings, run.rng, run.progress):
        network = now.network if kept is None else Network([network.layers[0], *now.network.layers])
        run.state.student = run.outside(network)
    return network
