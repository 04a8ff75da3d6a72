"""Layer-by-layer distillation: a network loses neurons layer after layer while every layer goes on imitating what it was.

    1. statistics   one pass over the data, for all layers at once
    2. share        curves "neurons kept -> error of the layer" (W17); a budget shared over them
    3. choose       from the last layer to the first: the group lasso (W1) keeps so many neurons, imitating those that the
                    layer behind has kept, with costs that spare the useful (W16); each choice with its certificate
    4. refit        from the first layer to the last: least squares (W7) of the original pre-activations on the student's *own*
                    activations, so that a layer repairs what the ones before it lost
    5. remove       exact surgery; the difference it makes is measured

No labels are needed. Derivation and the bound on the error that is passed on: docs/6-layer-wise.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from npkd.arrays import Array
from npkd.errors import InputError
from npkd.nn.network import Network
from npkd.nn.workspace import Workspace
from npkd.sparsity.budget import Curve, share
from npkd.sparsity.group_lasso import Solution, refit
from npkd.sparsity.harm import most_useful
from npkd.sparsity.statistics import Statistics, merge
from npkd.sparsity.surgery import Removal, difference, junctions, pieces_between, remove

SAMPLE = 2000
"""Examples, the first ones, that the sensitivities and the difference are taken from."""

Progress = Callable[[str], None]
"""Called with a few words whenever a step is done; what to show is the caller's business."""


@dataclass(frozen=True, eq=False)
class LayerReport:
    """What happened to the neurons that one dense layer reads.

    layer            index of the dense layer among the dense ones, from 0 (0 reads the inputs)
    kept, of         neurons kept, and how many there were
    lam              λ at which the choice was made;   lambda_max  from which on nothing is kept
    duality_gap      of that solution, relative to the objective at W = 0
    proved           neurons that the certificate proves zero at the exact optimum
    penalised_error  relative error of the penalised solution;   relative_error  after the refit on the student's own activations
    curve            neurons kept -> relative error, for the whole path
    Errors are those of the outputs that the layer behind reads, weighted by what they do to the logits, (W14).
    """

    layer: int
    kept: int
    of: int
    lam: float
    lambda_max: float
    duality_gap: float
    proved: int
    penalised_error: float
    relative_error: float
    curve: Curve


@dataclass(frozen=True, eq=False)
class Distilled:
    """A smaller network and its proof.

    student       the network after removal
    layers        one report a dense layer
    removals      every neuron that was cut out, and why it could be
    difference    largest absolute difference of the outputs that the cutting made, on the first SAMPLE examples, in the network's dtype
    difference64  the same with both networks in float64
    """

    student: Network
    layers: list[LayerReport]
    removals: list[Removal]
    difference: float
    difference64: float


def distil(
    teacher: Network, batches: Callable[[], Iterable[Array]], widths: Callable[[Sequence[Curve]], list[int]], *,
    inputs: bool = True, ridge: float = 1e-4, progress: Progress = lambda words: None,
) -> Distilled:
    """Remove neurons of ``teacher`` and inputs it reads, layer by layer.

    teacher     a perceptron: dense layers with per-neuron layers between them (see surgery.PER_NEURON)
    batches     called for every pass over the data: an iterable of x (N, I) of the network's dtype; no labels
    widths      curves (one a junction, inputs first) -> neurons to keep: ``within(...)`` shares a budget, ``exactly([...])`` fixes them
    inputs      may inputs be removed, where that changes nothing? Where ``widths`` asks for all of them they stay anyway
    ridge       of the least squares, relative to the mean variance

    Raises InputError for other networks, empty data, widths that do not fit.
    """
    given = [teacher.layers[place.consumer].params[0].shape[1] for place in junctions(teacher)]
    teacher, found = remove(teacher, inputs=inputs)  # copies enter a solution together: they would crowd out others
    places = junctions(teacher)
    pieces = [pieces_between(teacher, place) for place in places]
    consumers = [place.consumer for place in places]
    plain = gather(teacher, teacher, batches, consumers)
    sample = leading(batches(), SAMPLE)
    felt = sensitivities(teacher, sample, consumers)
    statistics = [s.weighted(weight) for s, weight in zip(plain, felt, strict=True)]
    weights = [teacher.layers[i].params[0].astype(np.float64) * weight[:, None] for i, weight in zip(consumers, felt, strict=True)]
    progress("statistics")
    curves = [curve_of(s, w, float(statistics[-1].t.sum())) for s, w in zip(statistics, weights, strict=True)]      # t of the last: the logits'
    wanted = fitting(widths(curves), curves)
    chosen = choose(statistics, wanted, pieces, ridge, progress)
    student = teacher
    refitted: list[float] = []
    for k, consumer in enumerate(consumers):
        # the teacher's activations are the student's own until the first layer has changed
        own = plain[k] if k == 0 else gather(student, teacher, batches, [consumer])[0]
        w, b = refit(own, chosen[k][0].kept, ridge)
        read = np.arange(len(b)) if k + 1 == len(consumers) else outputs_of(chosen[k + 1][0].kept, pieces[k + 1])
        weight = felt[k][read]                                     # of what the layer behind still reads
        refitted.append(own.targets(read).weighted(weight).error(w[read] * weight[:, None]))
        old = teacher.layers[consumer].params
        params = (w.astype(old[0].dtype), b.astype(old[1].dtype))
        student = student.replace({consumer: replace(student.layers[consumer], params=params)})
        progress(f"refit of layer {k}")
    smaller, removals = remove(student, inputs=inputs and wanted[0] < int(curves[0].kept[-1]))
    reports = [LayerReport(k, len(s.kept), len(s.proved), s.lam, top, s.gap, int(s.proved.sum()), s.error, error, curve)
               for k, ((s, top), error, curve) in enumerate(zip(chosen, refitted, curves, strict=True))]
    return Distilled(smaller, reports, found + renumbered(removals, found, given), difference(student, smaller, sample),
                     difference(student.astype(np.float64), smaller.astype(np.float64), sample.astype(np.float64)))


def renumbered(removals: Sequence[Removal], found: Sequence[Removal], widths: Sequence[int]) -> list[Removal]:
    """Removals that count what ``found`` had left, in the numbers of before: ``widths`` neurons a junction."""
    names = [np.delete(np.arange(width), [r.neuron for r in found if r.junction == k]) for k, width in enumerate(widths)]
    return [replace(r, neuron=int(names[r.junction][r.neuron]), into=None if r.into is None else int(names[r.junction][r.into]))
            for r in removals]


def leading(batches: Iterable[Array], count: int) -> Array:
    """The first ``count`` examples, or all where there are fewer, however they come in batches."""
    parts: list[Array] = []
    for x in batches:
        parts.append(x[:count - sum(map(len, parts))])
        if sum(map(len, parts)) >= count:
            break
    return np.concatenate(parts)


def gather(student: Network, teacher: Network, batches: Callable[[], Iterable[Array]], consumers: Sequence[int]) -> list[Statistics]:
    """Statistics of dense layers: what the student feeds each of them, against what each gives in the teacher. One pass."""
    parts: list[list[Statistics]] = [[] for _ in consumers]
    spaces: tuple[Workspace, Workspace] | None = None
    for x in batches():
        if spaces is None or len(x) > spaces[0].rows:
            spaces = Workspace(student, len(x)), Workspace(teacher, len(x))
        own = spaces[0].forward(x)
        target = own if student is teacher else spaces[1].forward(x)
        for held, i in zip(parts, consumers, strict=True):
            held[:] = [merge([*held, Statistics.of(own[i], target[i + 1])])]
    if spaces is None:
        raise InputError("distil: the data has no batches; it needs at least one")
    return [held[0] for held in parts]


def sensitivities(network: Network, x: Array, consumers: Sequence[int]) -> list[Array]:
    """What an error of each output of a dense layer weighs in the end.

        s_o² = 1/N Σ_n Σ_c (∂ logit_c / ∂ z_no)²                                      (W14)

    To first order, Σ_o s_o² (error of z_o)² is then the squared error of the logits, so that errors of all neurons and all layers are
    in one unit. x (N, I) -> (m,) for each of the layers ``consumers``, positive (a neuron that nobody feels weighs a millionth of the others).
    """
    activations, _ = network(x)
    weights = []
    for i in consumers:
        z = activations[i + 1]
        total = np.zeros(z.shape[1])
        if i + 1 == len(network.layers):
            total += 1
        else:
            logits, backward = Network(network.layers[i + 1:])(z)
            for c in range(logits[-1].shape[1]):
                d = np.zeros_like(logits[-1])
                d[:, c] = 1
                total += (backward({len(logits) - 1: d})[0].astype(np.float64) ** 2).mean(axis=0)       # (W14)
        weights.append(np.sqrt(np.maximum(total, 1e-12 * (float(total.max()) or 1.0))))
    return weights


def curve_of(statistics: Statistics, w: Array, whole: float) -> Curve:
    """Neurons kept -> relative error, were neurons independent: (W15), the smallest go first.

        e(k) = Σ_{j not among the k largest} σ_j² ‖w_j‖² / Σ_j σ_j² ‖w_j‖²                (W17)

    w (m, d) in the unit of the logits' error, which is ``whole`` in all. The curve is convex: every next neuron costs more than the one before.
    """
    harm = np.sort(np.diag(statistics.A) * (w ** 2).sum(axis=0))
    total = float(harm.sum())
    error = np.concatenate([np.cumsum(harm)[::-1], [0.0]]) / max(total, 1e-300)                          # (W17)
    return Curve(np.arange(len(harm) + 1), error if total else np.r_[1.0, np.zeros(len(harm))], total / (whole or 1.0))


def outputs_of(neurons: Array, pieces: int) -> Array:
    """The outputs of a dense layer that make these neurons: one each, behind maxout several."""
    return np.asarray((neurons[:, None] * pieces + np.arange(pieces)).ravel())


def choose(
    statistics: Sequence[Statistics], wanted: Sequence[int], pieces: Sequence[int], ridge: float, progress: Progress
) -> list[tuple[Solution, float]]:
    """From the last layer to the first, the certified choice of as many neurons as wanted, imitating the neurons kept behind it, and its λ_max."""
    chosen: list[tuple[Solution, float]] = []
    for k in reversed(range(len(statistics))):
        read = outputs_of(chosen[0][0].kept, pieces[k + 1]) if chosen else np.arange(statistics[k].C.shape[1])
        chosen.insert(0, most_useful(statistics[k].targets(read), wanted[k], ridge))
        progress(f"choice in layer {k}")
    return chosen


def fitting(wanted: Sequence[int], curves: Sequence[Curve]) -> list[int]:
    """One width a junction, at most what there is (after exact removal there may be less). Raises InputError for others."""
    most = [int(c.kept[-1]) for c in curves]
    if len(wanted) != len(most) or min(wanted) < 1:
        raise InputError(f"distil: widths are {list(wanted)}; one is needed for each of {most}, at least 1")
    return [min(w, m) for w, m in zip(wanted, most, strict=True)]


def exactly(widths: Sequence[int]) -> Callable[[Sequence[Curve]], list[int]]:
    """Widths that are given: neurons to keep at each junction at most, inputs first. Where fewer change nothing, fewer stay."""
    return lambda curves: list(widths)


def within(
    size: Callable[[Sequence[int]], float], budget: float, *, keep_inputs: bool = False, whole: Sequence[int] = ()
) -> Callable[[Sequence[Curve]], list[int]]:
    """Widths shared from a budget by marginal cost: see npkd.sparsity.budget.share."""
    return lambda curves: share(curves, size, budget, keep_inputs, whole=whole)
