"""Single weights made exactly zero, by a score or while a network trains. Networks stay dense arrays with zeros. A mask
is {layer of weights: bool array like its weights}, True where one stays. Biases are not counted; optimal brain surgeon
fits them again, all else leaves them. Derivation: docs/book/25-single-weights.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from npkd.core.types import Array, Batch, Objective
from npkd.core.validation import positive, whole
from npkd.data.batches import MAPS, batches_of
from npkd.nn.losses import cross_entropy
from npkd.nn.network import Network, convolves
from npkd.nn.optimisers import Optimiser
from npkd.nn.training import Record, TrainingSettings, train
from npkd.sparsity.collect import collect_statistics, matrix, sensitivities
from npkd.sparsity.elimination import Elimination, inverse_moments
from npkd.sparsity.outgoing import Support
from npkd.sparsity.refitting import RIDGE
from npkd.sparsity.saliency import saliencies
from npkd.sparsity.statistics import Statistics, refit
from npkd.surgery.removal import remove

Arrays = dict[int, Array]                                     # a mask or scores: layer -> array like its weights
Count = int | float | Mapping[int, int | float]               # weights that stay, or as a float their part; by layer


def weights(network: Network) -> Arrays:
    """The weights of each layer of weights."""
    return {i: network.layers[i].params[0] for i in network.weight_layers}


def largest(scores: Mapping[int, Array], count: Count) -> Arrays:
    """The mask of the k largest scores of all layers together, or of each; of equals the first. Raises InputError where
    there are not so many.

        m_i = [s_i is one of the k largest]                                           (N60)
    """
    if isinstance(count, Mapping):
        return {i: largest({i: s}, count[i])[i] for i, s in scores.items()}
    flat = np.concatenate([s.ravel() for s in scores.values()])
    if isinstance(count, float):
        positive("largest", "the part that stays", count, zero=True)
        count = round(count * len(flat))
    whole("largest", 0, len(flat), count=count)
    least = np.partition(flat, len(flat) - count)[len(flat) - count] if count else math.inf
    stays = flat > least
    stays[np.flatnonzero(flat == least)[:count - int(stays.sum())]] = True                                  # (N60)
    parts = np.split(stays, np.cumsum([s.size for s in scores.values()])[:-1])
    return {i: part.reshape(s.shape) for (i, s), part in zip(scores.items(), parts, strict=True)}


def masked(network: Network, mask: Mapping[int, Array]) -> Network:
    """The network with zeros where the mask is False."""
    return network.replace({i: replace(old := network.layers[i], params=(
        Support(m).prox(old.params[0], 1.0), *old.params[1:])) for i, m in mask.items()})


def magnitudes(network: Network) -> Arrays:
    """|w| of every weight."""
    return {i: np.abs(w) for i, w in weights(network).items()}


def magnitude(network: Network, count: Count) -> Network:
    """The network with its largest weights alone: |w_i| in (N60)."""
    return masked(network, largest(magnitudes(network), count))


def snip(network: Network, x: Array, y: Array, count: Count) -> Network:
    """An untrained network with the weights alone that one batch x (N, ...), y (N,) says matter, by cross-entropy.

        s_i = |w_i ∂L/∂w_i|;       Lee, Ajanthan & Torr 2019 divide by the sum         (N61)
    """
    activations, backward = network(x)
    _, gradients = backward({len(activations) - 1: cross_entropy(activations[-1], y)[1]})
    scores = {i: np.abs(w * gradients[i][0]) for i, w in weights(network).items()}                          # (N61)
    return masked(network, largest(scores, count))


def erdos_renyi(network: Network, count: int) -> dict[int, int]:
    """How many weights of each layer stay, ``count`` in all, small layers denser: Mocanu et al. 2018, Evci et al. 2020.

        k_l = min(n_l, ε Σ_a a_l),   n_l = Π_a a_l,   Σ_l k_l = k,   a_l the axes of the weights       (N62)
    """
    shapes = [w.shape for w in weights(network).values()]
    size, axes = (np.array([f(shape) for shape in shapes], np.float64) for f in (math.prod, sum))
    whole("erdos_renyi", 0, size.sum(), count=count)
    at = np.r_[0, np.sort(size / axes)]                            # where a layer becomes full; linear in between
    k = np.minimum(size, axes * np.interp(count, [np.minimum(size, e * axes).sum() for e in at], at))       # (N62)
    return dict(zip(weights(network), np.diff(np.rint(np.r_[0, np.cumsum(k)])).astype(int).tolist(), strict=True))


def costs(network: Network, x: Array, rule: Callable[[Statistics, Array], Array]) -> Arrays:
    """``rule(statistics, w (m, d))`` of each layer over x (N, ...), output o times s_o (W14), so that all weights
    compete in the error of the logits."""
    layers, batches = network.weight_layers, batches_of(x, MAPS if convolves(network) else None)
    found, slopes = collect_statistics(network, network, batches, layers), sensitivities(network, x[:1000], layers)
    return {i: rule(part.weighted(s), s[:, None] * matrix(network.layers[i])).reshape(network.layers[i].params[0].shape)
            for i, part, s in zip(layers, found, slopes, strict=True)}


def damage(statistics: Statistics, w: Array) -> Array:
    """Rise of half an output's mean squared error without a weight, the others as they are: LeCun, Denker & Solla 1990.

        E_oq = ½ w_oq² A_qq                                                           (N63)
    """
    return np.asarray(0.5 * w ** 2 * np.diag(statistics.A) / statistics.count)                              # (N63)


def surgery(statistics: Statistics, w: Array, *, exact: bool = False) -> Array:
    """The same when the others are fitted again, as in layer-wise OBS, Dong, Chen & Pan 2017; or ``exact``: row by row,
    at every turn, the weight of least E goes and the others are, Frantar & Alistarh 2022, in O(m d³).

        E_oq = w_oq² / (2 [A⁻¹]_qq),   W the least squares on all inputs               (N64)
        E_oq = max_{r ≤ r(q)} min_j E_oj at turn r,   r(q) the turn of q               (N65)
    """
    if exact:
        rows = (Elimination.of(statistics.targets(np.array([o])), 1, RIDGE) for o in range(len(w)))
        return np.stack([saliencies(row) for row in rows])                                                  # (N65)
    w, _ = refit(statistics, np.arange(w.shape[1]), RIDGE)
    return np.asarray(w ** 2 / (2 * np.diag(inverse_moments(statistics, RIDGE))))                           # (N64)


def brain_surgeon(network: Network, x: Array, count: Count, *, exact: bool = False) -> Network:
    """The network without the weights whose removal costs least, (N64) or ``exact`` (N65), each layer fitted again.

    From first to last, on what the student by then feeds the layer, each row becomes the least squares on its weights
    that stay (W7) to what the layer gave, with its bias (S3). What reads a neuron that is silent by then is zero too.
    """
    student, batches = network, batches_of(x, MAPS)
    for i, mask in largest(costs(network, x, partial(surgery, exact=exact)), count).items():
        part, (w, b) = collect_statistics(student, network, batches, [i])[0], network.layers[i].params
        rows = [refit(part.targets(np.array([o])), np.flatnonzero(row), RIDGE)
                for o, row in enumerate(mask.reshape(len(mask), -1))]
        fitted, bias = (np.concatenate(each) for each in zip(*rows, strict=True))
        params = fitted.reshape(w.shape).astype(w.dtype), bias.astype(b.dtype)
        student = student.replace({i: replace(student.layers[i], params=params)})
    return student


@dataclass(frozen=True)
class Gradual:
    """Rule of a training: of all layers the k(p) largest weights stay, from ``first`` k_0 to ``count`` k_f at ``end``.

        k(p) = k_f + (k_0 − k_f)(1 − r)³,   r = p/p_1, at most 1;   Zhu & Gupta 2018     (N66)

    x     examples: weights of largest ``damage`` stay instead;   cut   up to ``end`` what is not read is removed
    """

    count: int
    first: int
    end: float = 0.6
    x: Array | None = None
    cut: bool = False

    def __call__(self, p: float, network: Network) -> tuple[Network, Arrays]:
        """Network and mask for the epoch before which the part p, 0 … 1, of the training is done."""
        k = round(self.count + (self.first - self.count) * (1 - min(p / self.end, 1.0)) ** 3)               # (N66)
        scores = magnitudes(network) if self.x is None else costs(network, self.x, damage)
        network = masked(network, largest(scores, min(k, sum(s.size for s in scores.values()))))
        if self.cut and p <= self.end:
            network, _ = remove(network, inputs=not convolves(network))
        return network, {i: w != 0 for i, w in weights(network).items()}


@dataclass(frozen=True)
class RigL:
    """Rule of a training in which weights move: of the k_l (``count``) of layer l, after each epoch, the

        n_l = k_l · ½ α (1 + cos(π p/p_1))       (Evci et al. 2020)                     (N67)

    smallest go, and where |∂L/∂w| is largest on ``examples`` as many come, from zero; α: ``share``, p_1: ``end``."""

    count: Mapping[int, int]
    examples: Batch
    objective: Objective
    share: float = 0.3
    end: float = 0.75

    def __call__(self, p: float, network: Network) -> tuple[Network, Arrays]:
        """Network and mask for the epoch before which the part p, 0 … 1, of the training is done."""
        score = magnitudes(network)
        if 0 < p < self.end:
            factor = 0.5 * self.share * (1 + math.cos(math.pi * p / self.end))
            stays = largest(score, {i: k - round(k * factor) for i, k in self.count.items()})               # (N67)
            activations, backward = network(self.examples["x"])
            _, gradients = backward(self.objective(activations, self.examples)[1])
            score = {i: np.where(m & (score[i] > 0), np.inf, np.abs(gradients[i][0])) for i, m in stays.items()}
        mask = largest(score, self.count)
        return masked(network, mask), mask


def train_masked(network: Network, data: Batch, objective: Objective,
                 rule: Callable[[float, Network], tuple[Network, Arrays]], *, optimiser: Optimiser,
                 settings: TrainingSettings, rng: np.random.Generator) -> Iterator[Record]:
    """``train``, where before each epoch ``rule(part that is done, network)`` says what is zero: so it stays.

    It goes on to the end; ``best`` is a record's own network. Where the rule cuts it the optimiser begins at rest."""
    carried, seconds = settings.carried, 0.0
    for epoch in range(settings.done, settings.epochs):
        before = [w.shape for w in weights(network).values()]
        network, mask = rule(epoch / max(1, settings.epochs - 1), network)
        same = before == [w.shape for w in weights(network).values()]
        one = replace(settings, done=epoch, carried=carried if same else (), patience=None, progress=False,
                      best=(1, math.inf, network))
        record = next(train(network, data, objective, optimiser=optimiser, settings=one, rng=rng,
                            penalties={i: Support(m) for i, m in mask.items()}))
        network, carried, seconds = record.network, record.carried, seconds + record.seconds
        yield replace(record, best=network, seconds=seconds)
