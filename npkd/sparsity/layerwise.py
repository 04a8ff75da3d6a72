"""Layer-by-layer distillation: a network loses neurons and channels layer after layer while every layer goes on
imitating what it was.

    1. statistics   one pass over the data, for all layers at once
    2. share        curves "neurons kept -> error of the layer" (W17); a budget shared over them
    3. choose       from the last dependency group to the first: the group lasso (W1) keeps so many neurons, imitating
                    those that the layer behind has kept, with costs that spare the useful (W16), each choice with its
                    certificate; channels, which are read through several columns or by several layers, are eliminated
                    one after the other (I9)
    4. refit        from the first layer to the last: least squares (W7) of the original pre-activations on the
                    student's *own* activations, so that a layer repairs what the ones before it lost
    5. remove       exact surgery; the difference it makes is measured

No labels are needed. Derivation and the bound on the error that is passed on: docs/6-layer-wise.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError, whole
from npkd.nn.network import Network
from npkd.sparsity.allocation import Curve, allocate
from npkd.sparsity.collect import POSITIONS, collect_statistics, columns_of, matrix, readers, sensitivities
from npkd.sparsity.elimination import Reader, eliminate
from npkd.sparsity.refitting import RIDGE, refits
from npkd.sparsity.saliency import most_useful
from npkd.sparsity.statistics import Statistics
from npkd.surgery.dependency import DependencyGroup, dependency_groups
from npkd.surgery.removal import Removal, difference, remove

SAMPLE, FEW = 2000, 100
"""Examples, the first ones, that the sensitivities and the difference are taken from; fewer where they are maps."""

StepCallback = Callable[[str], None]
"""Called with a few words whenever a step is done; what to show is the caller's business."""


@dataclass(frozen=True, eq=False)
class LayerReport:
    """What happened to the neurons or channels of one dependency group.

    layer            number of the dependency group, from 0, the inputs; in a perceptron also that of the dense layer
                     that reads it
    kept, of         neurons kept, and how many there were
    lam              λ at which the choice was made;   lambda_max  from which on nothing is kept
    duality_gap      of that solution, relative to the objective at W = 0; None where channels were eliminated: there is
                     no λ then
    proved           neurons that the certificate proves zero at the exact optimum
    penalised_error  relative error of the penalised solution;   relative_error  after the refit on the student's own
                     activations
    curve            neurons kept -> relative error, as (W17) estimates it
    Errors are those of the outputs that the layers behind read, weighted by what they do to the logits, (W14).
    """

    layer: int
    kept: int
    of: int
    lam: float
    lambda_max: float
    duality_gap: float | None
    proved: int
    penalised_error: float
    relative_error: float
    curve: Curve


@dataclass(frozen=True, eq=False)
class Distilled:
    """A smaller network and its proof.

    student       the network after removal
    layers        one report a dependency group
    removals      every neuron that was cut out, and why it could be
    difference    largest absolute difference of the outputs that the removals made, in the teacher before anything was
                  chosen and in the student behind the refit, on the first SAMPLE examples, in the network's dtype
    difference64  the same with both networks in float64
    """

    student: Network
    layers: list[LayerReport]
    removals: list[Removal]
    difference: float
    difference64: float


@dataclass(frozen=True, eq=False)
class Choice:
    """kept (k,) neurons of a dependency group;   reason  of a Solution;   the rest as in LayerReport."""

    kept: Array
    lam: float
    lambda_max: float
    gap: float | None
    proved: int
    error: float
    reason: str = ""


def distil(
    teacher: Network, batches: Callable[[], Iterable[Array]], widths: Callable[[Sequence[Curve]], list[int]], *,
    inputs: bool = True, ridge: float = RIDGE, positions: int = POSITIONS, progress: StepCallback = lambda words: None,
) -> Distilled:
    """Remove neurons and channels of ``teacher``, and inputs it reads, layer by layer.

    teacher     a network that removal knows: see surgery.dependency.dependency_groups
    batches     called for every pass over the data: an iterable of x (N, ...) of the network's dtype; no labels
    widths      curves (one a dependency group, inputs first) -> neurons to keep: ``within(...)`` shares a budget,
                ``exactly([...])`` fixes them
    inputs      may inputs be removed, where that changes nothing? Where ``widths`` asks for all of them they stay
                anyway
    ridge       of the least squares, relative to the mean variance
    positions   of the maps of each example that a convolution is seen at, drawn at random; errors are then those at the
                drawn ones

    Raises InputError for other networks, empty data, widths that do not fit, positions below 1.
    """
    whole("distil", positions=positions)
    if positions < 1:
        raise InputError(f"distil: positions is {positions}; it must be at least 1")
    given = [group.width for group in dependency_groups(teacher)]
    original = teacher
    teacher, redundant = remove(teacher, inputs=inputs)  # copies enter a solution together: they would crowd out others
    groups, layers = dependency_groups(teacher), readers(teacher)
    plain = dict(zip(layers, collect_statistics(teacher, teacher, batches, layers, positions), strict=True))
    sample = leading(batches(), SAMPLE if all(teacher.layers[i].op == "dense" for i in layers) else FEW)
    sensitivity = dict(zip(layers, sensitivities(teacher, sample, layers), strict=True))
    progress("statistics")
    statistics = {i: plain[i].weighted(sensitivity[i]) for i in layers}
    weights = {i: matrix(teacher.layers[i]) * sensitivity[i][:, None] for i in layers}
    logits = statistics[layers[-1]].normalised()[2]                    # the variance of the last layer's outputs
    curves = [curve_of(teacher, group, statistics, weights, logits) for group in groups]
    wanted = fitting(widths(curves), curves)
    chosen: dict[int, Choice] = {}
    for k in reversed(range(len(groups))):
        chosen[k] = choose(teacher, groups, k, statistics, wanted[k], chosen, ridge)
        progress(f"choice in layer {k}" + (f" ({chosen[k].reason})" if chosen[k].reason else ""))
    kept = [chosen[k].kept for k in range(len(groups))]
    student = teacher
    lost: list[tuple[float, float]] = []                  # of each layer: what is left of its error, and what there was
    for done in refits(teacher, batches, kept, ridge=ridge, positions=positions, first=plain[layers[0]]):
        student, i = done.student, done.layer
        read = outputs_read(teacher, i, groups, chosen)
        targets = done.statistics.targets(read).weighted(sensitivity[i][read])  # of what the layers behind still read
        variance = targets.normalised()[2]
        lost.append((targets.error(done.w[read] * sensitivity[i][read][:, None]) * variance, variance))
        progress(f"refit of layer {len(lost) - 1}")
    smaller, removals = remove(student, inputs=inputs and wanted[0] < curves[0].width)
    reports = [report_of(k, group, chosen[k], curve, [lost[layers.index(i)] for i in group.consumers])
               for k, (group, curve) in enumerate(zip(groups, curves, strict=True))]
    single, double = (max(difference(one.astype(d), other.astype(d), sample.astype(d)) for one, other in
                          # of both removals
                          ((original, teacher), (student, smaller))) for d in (sample.dtype, np.float64))
    return Distilled(smaller, reports, redundant + renumbered(removals, redundant, given), single, double)


def report_of(k: int, group: DependencyGroup, choice: Choice, curve: Curve, errors: Sequence[tuple[float, float]]
              ) -> LayerReport:
    """The report of dependency group k; ``errors`` of each layer that reads it: what is left, and what there was."""
    left, before = (sum(e[side] for e in errors) for side in (0, 1))
    return LayerReport(k, len(choice.kept), group.width, choice.lam, choice.lambda_max, choice.gap, choice.proved,
                       choice.error, left / before if before else 0.0, curve)


def outputs_read(network: Network, i: int, groups: Sequence[DependencyGroup], chosen: Mapping[int, Choice]) -> Array:
    """The outputs of layer i that make neurons which are kept, as far as that is decided."""
    for k, choice in chosen.items():
        if i in groups[k].producers:
            return np.flatnonzero(np.isin(groups[k].units[i + 1], choice.kept))
    return np.arange(len(network.layers[i].params[0]))


def renumbered(removals: Sequence[Removal], earlier: Sequence[Removal], widths: Sequence[int]) -> list[Removal]:
    """Removals numbered among what ``earlier`` ones left, with the numbers of before those, of ``widths`` neurons."""
    names = [np.delete(np.arange(width), [r.neuron for r in earlier if r.group == k and r.position is None]) for k,
             width in enumerate(widths)]
    return [replace(r, neuron=int(names[r.group][r.neuron]),
                    into=None if r.into is None else int(names[r.group][r.into]))
            for r in removals]


def leading(batches: Iterable[Array], count: int) -> Array:
    """The first ``count`` examples, or all where there are fewer, however they come in batches."""
    parts: list[Array] = []
    for x in batches:
        parts.append(x[:count - sum(map(len, parts))].copy())             # a source may fill one buffer again and again
        if sum(map(len, parts)) >= count:
            break
    return np.concatenate(parts)


def curve_of(
    network: Network, group: DependencyGroup, statistics: Mapping[int, Statistics], weights: Mapping[int, Array],
    logits: float
) -> Curve:
    """Neurons kept -> relative error of all that read a dependency group, were its neurons independent: the smallest go
    first.

        e(k) = Σ_{j not among the k largest} Σ_i σ_i² ‖w_i‖² / Σ_j Σ_i σ_i² ‖w_i‖²,   i the columns that read neuron j
        (W17)

    ``statistics`` and ``weights`` (O, d) of each layer in the unit of the logits' error, which is ``logits`` in all.
    The curve is convex: every next neuron costs more than the one before.
    """
    saliency = np.zeros(group.width)
    for i in group.consumers:
        parts = np.diag(statistics[i].A) / statistics[i].count * (weights[i] ** 2).sum(axis=0)
        saliency += np.bincount(columns_of(network.layers[i], group.units[i]), parts, minlength=group.width)
    total = float(saliency.sum())
    error = np.concatenate([np.cumsum(np.sort(saliency))[::-1], [0.0]]) / max(total, 1e-300)                  # (W17)
    error = error if total else np.r_[1.0, np.zeros(len(saliency))]
    return Curve(error, total / (logits or 1.0), group.fixed)


def choose(
    network: Network, groups: Sequence[DependencyGroup], k: int, statistics: Mapping[int, Statistics], wanted: int,
    chosen: Mapping[int, Choice], ridge: float,
) -> Choice:
    """Which neurons of dependency group k stay, as many as wanted, when its readers imitate what is kept behind
    them."""
    group = groups[k]
    units = {i: columns_of(network.layers[i], group.units[i]) for i in group.consumers}
    targets = {i: statistics[i].targets(outputs_read(network, i, groups, chosen)) for i in group.consumers}
    first = next(iter(units.values()))
    if len(units) == 1 and np.array_equal(np.sort(first), np.arange(group.width)):       # one column each, in any order
        solution, top = most_useful(next(iter(targets.values())), wanted, ridge)
        return Choice(np.sort(first[solution.kept]), solution.lam, top, solution.gap, int(solution.proved.sum()),
                      solution.error, solution.reason)
    systems = {i: Reader.of(targets[i], unit, ridge) for i, unit in units.items()}
    kept, *_ = eliminate(list(systems.values()), group.width, wanted)
    variance = {i: targets[i].normalised()[2] for i in units}
    left = sum(targets[i].error(system.w) * variance[i] for i, system in systems.items())
    return Choice(kept, 0.0, 0.0, None, 0, left / (sum(variance.values()) or 1.0))


def fitting(wanted: Sequence[int], curves: Sequence[Curve]) -> list[int]:
    """One width a dependency group, at most what there is (after exact removal there may be less). Raises InputError
    for others."""
    most = [c.width for c in curves]
    if len(wanted) != len(most) or min(wanted) < 1:
        raise InputError(f"distil: widths are {list(wanted)}; one is needed for each of {most}, at least 1")
    return [m if c.fixed else min(w, m) for w, m, c in zip(wanted, most, curves, strict=True)]


def exactly(widths: Sequence[int]) -> Callable[[Sequence[Curve]], list[int]]:
    """Widths that are given: neurons to keep at each dependency group at most, inputs first. Where fewer change
    nothing, fewer stay."""
    return lambda curves: list(widths)


def within(
    size: Callable[[Sequence[int]], float], budget: float, *, keep_inputs: bool = False, whole: Sequence[int] = (),
    spare: float = 1.0
) -> Callable[[Sequence[Curve]], list[int]]:
    """Widths shared from a budget by marginal cost: see npkd.sparsity.allocation.allocate."""
    return lambda curves: allocate(curves, size, budget, keep_inputs, whole=whole, spare=spare)
