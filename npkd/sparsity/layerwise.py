"""Layer-by-layer distillation: neurons and channels are removed, and each layer is fitted to the teacher's.

    1. statistics   one pass over the data, for all layers at once
    2. allocate     widths from the curves of the error against the neurons kept (W17)
    3. choose       from the last dependency group to the first: the adaptive group lasso (W1), (W16) of the outputs
                    that are still read, with a certificate; channels that are read through several columns or by
                    several layers are eliminated one after the other (I9)
    4. refit        from the first layer to the last: least squares (W7) of the teacher's pre-activations on the
                    student's activations, which corrects errors of the layers before
    5. remove       exact surgery; the difference it makes is measured

No labels are needed. Derivation: docs/book/10-layer-by-layer.md; a bound on the error: docs/book/13-promises.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError, whole
from npkd.nn.network import Network, convolves
from npkd.sparsity.allocation import Curve, allocate
from npkd.sparsity.collect import POSITIONS, collect_statistics, columns_of, matrix, sensitivities
from npkd.sparsity.elimination import Reader, eliminate
from npkd.sparsity.refitting import RIDGE, refits
from npkd.sparsity.saliency import most_useful
from npkd.sparsity.statistics import Statistics
from npkd.surgery.dependency import DependencyGroup, dependency_groups
from npkd.surgery.removal import Removal, difference, remove

SAMPLE, FEW = 2000, 100
"""Number of leading examples for sensitivities and the difference; FEW in networks with convolutions."""

StepCallback = Callable[[str], None]
"""Called with the name of each step that is done."""


@dataclass(frozen=True, eq=False)
class LayerReport:
    """The choice of neurons or channels of one dependency group.

    layer            number of the dependency group, inputs 0; in a perceptron that of the dense layer that reads it
    kept, of         number of neurons kept, and before
    lam, lambda_max  λ of the solution, and from which on nothing is kept; 0 where channels were eliminated
    duality_gap      of that solution, relative to the objective at W = 0; None where channels were eliminated
    proved           number of neurons that the certificate proves zero at the exact optimum
    penalised_error  relative error of the penalised solution;   relative_error  after the refit
    curve            estimate (W17) of the relative error against neurons kept
    reason           as in group_lasso.Solution
    Errors are those of the outputs that later layers read, weighted by the sensitivities of the logits (W14).
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
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Distilled:
    """The result of ``distil``.

    student       the network after removal
    layers        one report a dependency group
    removals      every removed neuron with its reason
    difference    largest absolute difference of the outputs by removal, in the teacher before the choice and in the
                  refitted student, on the first SAMPLE examples, in the network's dtype
    difference64  the same with both networks in float64
    """

    student: Network
    layers: list[LayerReport]
    removals: list[Removal]
    difference: float
    difference64: float


def distil(teacher: Network, batches: Callable[[], Iterable[Array]], widths: Callable[[Sequence[Curve]], list[int]], *,
           inputs: bool = True, ridge: float = RIDGE, positions: int = POSITIONS,
           progress: StepCallback = lambda words: None) -> Distilled:
    """Remove neurons and channels of ``teacher``, and inputs it reads, layer by layer.

    teacher     a network that ``surgery.dependency.dependency_groups`` reads
    batches     called for every pass over the data: an iterable of x (N, ...) of the network's dtype; no labels
    widths      curves (one a dependency group, inputs first) -> neurons to keep: ``within(...)`` or ``exactly([...])``
    inputs      whether inputs may be removed; they stay where ``widths`` asks for all of them
    ridge       of the least squares, relative to the mean variance
    positions   of the maps of each example that are drawn at random for statistics and errors
    Raises InputError for other networks, empty data, widths that do not fit, positions below 1.
    """
    whole("distil", 1, positions=positions)
    original = teacher
    teacher, redundant = remove(teacher, inputs=inputs)                         # copies would enter a solution together
    groups, layers = dependency_groups(teacher), [i for i in teacher.weight_layers if not teacher.layers[i].grouped]
    plain = dict(zip(layers, collect_statistics(teacher, teacher, batches, layers, positions), strict=True))
    sample = leading(batches(), FEW if convolves(teacher) else SAMPLE)
    sensitivity = dict(zip(layers, sensitivities(teacher, sample, layers), strict=True))
    progress("statistics")
    statistics = {i: plain[i].weighted(sensitivity[i]) for i in layers}
    weights = {i: matrix(teacher.layers[i]) * sensitivity[i][:, None] for i in layers}
    logits = statistics[layers[-1]].normalised()[2]                    # the variance of the last layer's outputs
    curves = [curve_of(teacher, group, statistics, weights, logits) for group in groups]
    wanted = fitting(widths(curves), curves)
    kept, reports = [np.arange(group.width) for group in groups], list[LayerReport]()
    for k in reversed(range(len(groups))):
        targets = {i: statistics[i].targets(outputs_read(teacher, i, groups, kept)) for i in groups[k].consumers
                   if i in statistics}
        kept[k], report = choose(teacher, groups[k], targets, wanted[k], curves[k], ridge)
        reports.insert(0, report)
        progress(f"choice in layer {k}" + (f" ({report.reason})" if report.reason else ""))
    student, errors = teacher, dict[int, tuple[float, float]]()        # of each layer: squared error, and variance
    for fit in refits(teacher, batches, kept, groups, ridge=ridge, positions=positions, first=plain[layers[0]]):
        student, i = fit.student, fit.layer
        read = outputs_read(teacher, i, groups, kept)
        wanted_z = fit.statistics.targets(read).weighted(sensitivity[i][read])
        variance = wanted_z.normalised()[2]
        errors[i] = (wanted_z.error(fit.w[read] * sensitivity[i][read][:, None]) * variance, variance)
        progress(f"refit of layer {len(errors) - 1}")
    smaller, removals = remove(student, inputs=inputs and wanted[0] < curves[0].width)
    for k, group in enumerate(groups):
        error, variance = (sum(errors[i][side] for i in group.consumers if i in errors) for side in (0, 1))
        reports[k] = replace(reports[k], relative_error=error / variance if variance else 0.0)
    pairs = ((original, teacher), (student, smaller))                                                  # both removals
    single, double = (max(difference(one.astype(d), other.astype(d), sample.astype(d)) for one, other in pairs)
                      for d in (sample.dtype, np.float64))
    return Distilled(smaller, reports, redundant + renumbered(removals, redundant, groups), single, double)


def outputs_read(network: Network, i: int, groups: Sequence[DependencyGroup], kept: Sequence[Array]) -> Array:
    """Indices of the outputs of layer i of which the neurons ``kept``, an array a dependency group, are made."""
    for group, stay in zip(groups, kept, strict=True):
        if i in group.producers:
            return np.flatnonzero(np.isin(group.units[i + 1], stay))
    return np.arange(len(network.layers[i].params[0]))


def renumbered(removals: Sequence[Removal], earlier: Sequence[Removal], groups: Sequence[DependencyGroup]
               ) -> list[Removal]:
    """Removals of neurons of ``groups``, with the numbers that those had before the ``earlier`` removals."""
    gone = [[r.neuron for r in earlier if r.group == group.number and r.position is None] for group in groups]
    names = [np.delete(np.arange(group.width + len(out)), out) for group, out in zip(groups, gone, strict=True)]
    return [replace(r, neuron=int(names[r.group][r.neuron]),
                    into=None if r.into is None else int(names[r.group][r.into])) for r in removals]


def leading(batches: Iterable[Array], count: int) -> Array:
    """The first ``count`` examples of all batches, or all where there are fewer."""
    parts: list[Array] = []
    for x in batches:
        parts.append(x[:count - sum(map(len, parts))].copy())                           # a source may reuse its buffer
        if sum(map(len, parts)) >= count:
            break
    return np.concatenate(parts)


def curve_of(network: Network, group: DependencyGroup, statistics: Mapping[int, Statistics],
             weights: Mapping[int, Array], logits: float) -> Curve:
    """Relative error of the layers that read a dependency group against neurons kept, were its neurons independent.

        e(k) = Σ_{j not among the k largest} Σ_i σ_i² ‖w_i‖² / Σ_j Σ_i σ_i² ‖w_i‖²,   i the columns that read j    (W17)

    ``statistics`` and ``weights`` (O, d) of each layer weighted by sensitivities; ``logits``: variance of the logits.
    """
    saliency = np.zeros(group.width)
    for i in (i for i in group.consumers if i in statistics):                # convolutions in groups have none
        parts = np.diag(statistics[i].A) / statistics[i].count * (weights[i] ** 2).sum(axis=0)
        saliency += np.bincount(columns_of(network.layers[i], group.units[i]), parts, minlength=group.width)
    total = float(saliency.sum())
    error = np.concatenate([np.cumsum(np.sort(saliency))[::-1], [0.0]]) / max(total, 1e-300)                  # (W17)
    error = error if total else np.r_[1.0, np.zeros(len(saliency))]
    return Curve(error, total / (logits or 1.0), group.fixed)


def choose(network: Network, group: DependencyGroup, targets: Mapping[int, Statistics], wanted: int, curve: Curve,
           ridge: float) -> tuple[Array, LayerReport]:
    """The ``wanted`` neurons (k,) of a group that best predict its readers' ``targets``; the report before a refit."""
    units = {i: columns_of(network.layers[i], group.units[i]) for i in targets}
    report = LayerReport(group.number, wanted, group.width, 0.0, 0.0, None, 0, 0.0, 0.0, curve)
    i = next(iter(units), 0)
    if len(units) == 1 and np.array_equal(np.sort(units[i]), np.arange(group.width)):    # one column each, in any order
        best, top = most_useful(targets[i], wanted, ridge)
        return np.sort(units[i][best.kept]), replace(
            report, kept=len(best.kept), lam=best.lam, lambda_max=top, duality_gap=best.gap,
            proved=int(best.proved.sum()), penalised_error=best.error, reason=best.reason)
    systems = {i: Reader.of(targets[i], unit, ridge) for i, unit in units.items()}
    kept, *_ = eliminate(list(systems.values()), group.width, wanted)
    variance = {i: targets[i].normalised()[2] for i in units}
    error = sum(targets[i].error(system.w) * variance[i] for i, system in systems.items())
    return kept, replace(report, kept=len(kept), penalised_error=error / (sum(variance.values()) or 1.0))


def fitting(wanted: Sequence[int], curves: Sequence[Curve]) -> list[int]:
    """One width a dependency group, at most that of its curve. Raises InputError for another number, or below 1."""
    most = [c.width for c in curves]
    if len(wanted) != len(most) or min(wanted) < 1:
        raise InputError(f"distil: widths are {list(wanted)}; one is needed for each of {most}, at least 1")
    return [m if c.fixed else min(w, m) for w, m, c in zip(wanted, most, curves, strict=True)]


def exactly(widths: Sequence[int]) -> Callable[[Sequence[Curve]], list[int]]:
    """The function of curves for ``distil`` that gives these widths, one a dependency group, inputs first."""
    return lambda curves: list(widths)


def within(size: Callable[[Sequence[int]], float], budget: float, *, keep_inputs: bool = False,
           whole: Sequence[int] = (), balance_exponent: float = 1.0) -> Callable[[Sequence[Curve]], list[int]]:
    """The function of curves for ``distil`` that allocates a budget: see npkd.sparsity.allocation.allocate."""
    return lambda curves: allocate(curves, size, budget, keep_inputs, whole=whole, balance_exponent=balance_exponent)
