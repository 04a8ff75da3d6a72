"""Single weights made exactly zero: once by a score, or while a network trains. Networks stay dense arrays with zeros.

A mask is {index of a layer of weights: bool array in the shape of its weights}, True where a weight stays. Biases are
not counted and stay; optimal brain surgeon fits them again. Derivation: docs/book/25-single-weights.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from npkd.core.types import Array, Batch, Objective
from npkd.core.validation import InputError, below_one, positive, whole
from npkd.data.batches import MAPS, batches_of
from npkd.nn.losses import cross_entropy
from npkd.nn.network import Network, convolves
from npkd.nn.optimisers import Optimiser
from npkd.nn.training import TrainingSettings, Record, train
from npkd.sparsity.collect import collect_statistics, sensitivities
from npkd.sparsity.elimination import Elimination, inverse_moments
from npkd.sparsity.outgoing import Support
from npkd.sparsity.refitting import RIDGE
from npkd.sparsity.saliency import saliencies
from npkd.sparsity.statistics import Statistics, refit

Arrays = Mapping[int, Array]
"""{index of a layer of weights: array in the shape of its weights}."""
Count = int | float | Mapping[int, int | float]
"""How many weights stay, of all layers together or of each: a whole number, or as a float their part, 0 … 1."""
Masks = Callable[[float, Network], Arrays]
"""``masks(p, network) -> mask``: which weights stay, when the part p, 0 … 1, of a training is done."""
PROBED = 1000
"""Examples of which the sensitivities of the logits are taken."""


def weights(network: Network) -> dict[int, Array]:
    """The weights of each layer of weights."""
    return {i: network.layers[i].params[0] for i in network.weight_layers}


def largest(scores: Arrays, count: Count) -> dict[int, Array]:
    """The mask of the largest scores, of equals the first.

        m_i = [s_i is one of the k largest]                                           (N60)

    Raises InputError for more than there are, or a part that is not between 0 and 1.
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


def masked(network: Network, mask: Arrays) -> Network:
    """The network with zeros where the mask is False."""
    return network.replace({i: replace(network.layers[i], params=(
        np.where(m, w := network.layers[i].params[0], w.dtype.type(0)), *network.layers[i].params[1:]))
        for i, m in mask.items()})


def magnitude(network: Network, count: Count) -> Network:
    """The network with its largest weights alone, |w_i| in (N60): of all layers together, or ``count`` of each."""
    return masked(network, largest({i: np.abs(w) for i, w in weights(network).items()}, count))


def snip(network: Network, x: Array, y: Array, count: Count) -> Network:
    """An untrained network with the weights alone that one batch x (N, ...), y (N,) says matter, by cross-entropy.

        s_i = |w_i ∂L/∂w_i|                                                           (N61)

    Source: Lee, Ajanthan & Torr 2019, there divided by the sum of all, which changes no order.
    """
    activations, backward = network(x)
    _, gradients = backward({len(activations) - 1: cross_entropy(activations[-1], y)[1]})
    return masked(network, largest({i: np.abs(w * gradients[i][0]) for i, w in weights(network).items()}, count))  # (N61)


def erdos_renyi(network: Network, count: int) -> dict[int, int]:
    """How many weights of each layer stay, ``count`` in all: small layers stay denser.

        k_l = min(n_l, ε Σ_a a_l),   n_l = Π_a a_l,   Σ_l k_l = k,   a_l the axes of the weights       (N62)

    Source: Mocanu et al. 2018; with the axes of kernels Evci et al. 2020.
    """
    size = {i: float(w.size) for i, w in weights(network).items()}
    whole("erdos_renyi", 0, sum(size.values()), count=count)
    shape, full = {i: float(sum(w.shape)) for i, w in weights(network).items()}, set[int]()
    while True:
        open_ = [i for i in size if i not in full]
        epsilon = (count - sum(size[i] for i in full)) / (sum(shape[i] for i in open_) or 1.0)
        if not (over := {i for i in open_ if epsilon * shape[i] > size[i]}):
            break
        full |= over
    k = [size[i] if i in full else epsilon * shape[i] for i in size]                                        # (N62)
    return dict(zip(size, np.diff(np.rint(np.r_[0, np.cumsum(k)])).astype(int).tolist(), strict=True))


def brain_surgeon_scores(statistics: Statistics, *, exact: bool) -> Array:
    """What the removal of each weight costs, (m, d) float64: half the rise of the mean squared error of its output.

        E_oq = w_oq² / (2 [A⁻¹]_qq)                                                   (N63)

    W is the least squares on all inputs. Layer-wise OBS takes (N63) as it is for all weights. ``exact``: row by row the
    weight of least E goes, the others are fitted again, A⁻¹ loses a row and column, and so on to the last weight;

        E_oq = max_{r ≤ turn of q} E of turn r                                        (N64)

    so that in each row the order is that of the turns. That is ``Elimination`` with one output, O(m d³) in all.
    Source: Dong, Chen & Pan 2017; exact: Frantar & Alistarh 2022.
    """
    m, d = statistics.C.shape[::-1]
    if exact:
        return np.stack([saliencies(Elimination.of(statistics.targets(np.array([o])), 1, RIDGE)) for o in range(m)])  # (N64)
    w, _ = refit(statistics, np.arange(d), RIDGE)
    return np.asarray(w ** 2 / (2 * np.diag(inverse_moments(statistics, RIDGE))))                           # (N63)


def brain_surgeon(network: Network, x: Array, count: Count, *, exact: bool = False) -> Network:
    """The network with the weights alone whose removal costs most (N63), ``exact`` (N64), each layer fitted again.

    Scores are of the network as it is; those of an output are multiplied by s_o² (W14), so that rows and layers compete
    in the error of the logits. Then, from the first layer to the last, on what the student by then feeds the layer,
    each row is the least squares on the weights that stay (W7) to what the layer gave; the biases follow, (S3).
    x (N, ...) examples; labels are not needed. Exact scores take O(m d³) a layer: minutes for a LeNet-300-100.
    """
    batches, layers = batches_of(x, MAPS if convolves(network) else None), network.weight_layers
    scores = {i: brain_surgeon_scores(part.weighted(s), exact=exact).reshape(w.shape) for (i, w), part, s in zip(
        weights(network).items(), collect_statistics(network, network, batches, layers),
        sensitivities(network, x[:PROBED], layers), strict=True)}
    student = network
    for i, mask in largest(scores, count).items():
        part, (w, b) = collect_statistics(student, network, batches, [i])[0], network.layers[i].params
        rows = [refit(part.targets(np.array([o])), np.flatnonzero(row), RIDGE)
                for o, row in enumerate(mask.reshape(len(mask), -1))]
        fitted = np.concatenate([row for row, _ in rows]).reshape(w.shape).astype(w.dtype)
        bias = np.concatenate([bias for _, bias in rows]).astype(b.dtype)
        student = student.replace({i: replace(student.layers[i], params=(fitted, bias))})
    return student


def cubic(first: int, last: int, begin: float = 0.0, end: float = 0.6) -> Callable[[float], int]:
    """How many weights stay when the part p of a training is done: all at first, ``last`` from ``end`` on.

        k(p) = k_f + (k_0 − k_f)(1 − r)³,   r = (p − p_0)/(p_1 − p_0) within 0 … 1     (N65)

    Source: Zhu & Gupta 2018, there for the part that is zero.
    """
    below_one("cubic", "begin", begin)
    if not begin < end <= 1:
        raise InputError(f"cubic: it falls from {begin} to {end}; the end must lie above the begin, at most 1")
    return lambda p: round(last + (first - last) * (1 - min(max((p - begin) / (end - begin), 0.0), 1.0)) ** 3)  # (N65)


def gradual(network: Network, count: int, begin: float = 0.0, end: float = 0.6) -> Masks:
    """Masks of a training that begins with ``network``: of the largest weights of all layers together, (N65) many."""
    many = cubic(sum(w.size for w in weights(network).values()), count, begin, end)
    return lambda p, network: largest({i: np.abs(w) for i, w in weights(network).items()}, many(p))


@dataclass(frozen=True)
class RigL:
    """Masks of a training in which weights move: after each epoch the smallest go, and as many zeros come back.

        n_l = k_l · ½ α (1 + cos(π p / p_1))                                          (N66)

    are the weights of layer l that go, least |w|; of the rest as many come as make k_l, largest |∂L/∂w|, which begin
    at zero. From p_1 on nothing moves. At p = 0 the largest weights of the network stay, of a drawn one random places.

    count       k_l by layer, as of ``erdos_renyi``
    examples    arrays that the objective reads, whose gradient tells which come
    share       α, at most 1;   end  p_1
    Source: Evci et al. 2020, there every 100 updates with the gradient of the batch.
    """

    count: Mapping[int, int]
    examples: Batch
    objective: Objective
    share: float = 0.3
    end: float = 0.75

    def __call__(self, p: float, network: Network) -> dict[int, Array]:
        """The mask for the next epoch."""
        size = {i: np.abs(w) for i, w in weights(network).items()}
        if not 0 < p < self.end:
            return largest(size, self.count)
        activations, backward = network(self.examples["x"])
        _, gradients = backward(self.objective(activations, self.examples)[1])
        factor, mask = 0.5 * self.share * (1 + math.cos(math.pi * p / self.end)), dict[int, Array]()
        for i, k in self.count.items():
            stays = largest({i: size[i]}, k - round(k * factor))[i] & (size[i] > 0)                         # (N66)
            mask[i] = largest({i: np.where(stays, np.inf, np.abs(gradients[i][0]))}, k)[i]
        return mask


def train_masked(network: Network, data: Batch, objective: Objective, masks: Masks, *, optimiser: Optimiser,
                 settings: TrainingSettings, rng: np.random.Generator) -> Iterator[Record]:
    """``train``, with a new mask before every epoch: what is not in it is zero and stays so for the epoch.

    The momentum of what is zero goes on. Of a record ``best`` is its own network: an earlier one is less sparse.
    Raises InputError as ``train`` does, and for a patience.
    """
    if settings.patience is not None:
        raise InputError("train_masked: got a patience; sparse training goes on to the end: leave it out")
    carried, seconds = settings.carried, 0.0
    for epoch in range(settings.done, settings.epochs):
        mask = masks(epoch / max(1, settings.epochs - 1), network)
        network = masked(network, mask)
        one = replace(settings, done=epoch, carried=carried, best=(1, math.inf, network), progress=False)
        record = next(train(network, data, objective, optimiser=optimiser, settings=one, rng=rng,
                            penalties={i: Support(m) for i, m in mask.items()}))
        network, carried, seconds = record.network, record.carried, seconds + record.seconds
        yield replace(record, best=network, seconds=seconds)
