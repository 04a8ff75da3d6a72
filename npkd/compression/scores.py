"""Scores of neurons, by rules that look at each neuron alone, and the removal of those with the smallest scores.

A channel is a neuron with a value h_npj at each position p and, in the weights W of the layer that reads it, a column
(p, j) for each position of the kernel, or behind flatten of the map; a neuron of a perceptron has one p alone.
Definitions by loops: reference/definitions/compression/baselines.py. Derivation: docs/book/14-other-methods.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from npkd.core.types import Array
from npkd.data.batches import MAPS, ROWS, batches_of
from npkd.nn.fast.workspace import Workspace
from npkd.nn.losses import cross_entropy
from npkd.nn.network import Network, convolves
from npkd.sparsity.refitting import refits
from npkd.surgery.dependency import DependencyGroup, dependency_groups
from npkd.surgery.removal import keep

Score = Callable[[Network, Array, Array, np.random.Generator], list[Array]]
"""``score(network, x, y, rng)`` of training inputs x (N, I) and labels y (N,), which only ``taylor`` looks at -> an
array (d_k,) float64 a dependency group k, inputs first."""

Removal = Callable[[Network, Array, Array, Sequence[int], np.random.Generator], Network]
"""``removal(network, x, y, widths, rng)``: the network with so many neurons at each dependency group, inputs first. x
(N, I), y (N,): the examples that it may look at."""

Prepare = Callable[[Network, Array, Sequence[Array]], Network]
"""``prepare(network, x, kept)``: with weights for a network of the neurons ``kept`` of each group; none is gone yet."""


def chance(network: Network, x: Array, y: Array, rng: np.random.Generator) -> list[Array]:
    """Any neuron is as good as another.

        s_j = u_j,   u_j uniform on [0, 1)                                            (I1)
    """
    return [rng.random((group.width,)) for group in dependency_groups(network)]                                   # (I1)


def incoming(network: Network, x: Array, y: Array, rng: np.random.Generator) -> list[Array]:
    """Magnitude of the incoming weights; of an input, which has none, of the outgoing ones.

        s_j = ‖w_j‖₂,   w_j row j of the layer that makes neuron j                    (I2)

    Of a channel the whole kernel, behind maxout the rows of all pieces. Source: Li et al. 2017, there in the l1 norm.
    """
    out = outgoing(network, x, y, rng)
    for k, group in enumerate(dependency_groups(network)):
        if (i := group.producer) is not None:
            w = network.layers[i].params[0]
            squares = np.square(w, dtype=np.float64).sum(axis=tuple(range(1, w.ndim)))
            out[k] = np.sqrt(np.bincount(group.units[i + 1], squares))                                           # (I2)
    return out


def outgoing(network: Network, x: Array, y: Array, rng: np.random.Generator) -> list[Array]:
    """Magnitude of the outgoing weights.

        s_j² = Σ_p ‖W_{:,pj}‖²,   W the weights of the layer that reads neuron j      (I3)
    """
    out = []
    for group in dependency_groups(network):
        w = network.layers[group.consumer].params[0]
        squares = np.square(w, dtype=np.float64).sum(axis=tuple(range(w.ndim - 1)))
        out.append(np.sqrt(np.bincount(group.units[group.consumer], squares)))                                   # (I3)
    return out


def activation(network: Network, x: Array, y: Array, rng: np.random.Generator) -> list[Array]:
    """How much a neuron moves what reads it: outgoing weights times the deviation of its value.

        s_j² = Σ_p ‖W_{:,pj}‖² · 1/(NP) Σ_np (h_npj − h̄_j)²                          (I4)

    That is the mean squared change of what reads it when its mean replaces its value; of a channel, if its values at
    different positions are independent and alike.
    """
    deviations = [np.sqrt(variance) for _, variance in moments(network, x)]
    return [np.asarray(w * s) for w, s in zip(outgoing(network, x, y, rng), deviations, strict=True)]             # (I4)


def taylor(network: Network, x: Array, y: Array, rng: np.random.Generator) -> list[Array]:
    """What the loss would change by, to first order, were the neuron's value zero.

        s_j = 1/N Σ_n |Σ_p h_npj · ∂ℓ_n/∂h_npj|                                       (I5)

    ℓ is the cross-entropy with the labels: the distillation loss of a student that still is its teacher has slope 0.
    Source: Molchanov et al. 2017, without their normalisation by layer: all scores are in one unit, that of the loss.
    """
    groups = dependency_groups(network)
    total = [np.zeros(group.width) for group in groups]
    for i, activations in forward(network, x):
        labels = y[i:i + len(activations[0])]
        _, slope = cross_entropy(activations[-1], labels)             # of the mean over the batch
        for k, group in enumerate(groups):
            rest, backward = Network(network.layers[group.consumer:])(activations[group.consumer])
            d, _ = backward({len(rest) - 1: slope})
            change = np.abs(whole(activations[group.consumer] * d, group))                                       # (I5)
            total[k] += change.sum(axis=0, dtype=np.float64) * len(labels)
    return [t / len(x) for t in total]                                # (I5)


def whole(values: Array, group: DependencyGroup) -> Array:
    """Sums over the positions of each channel, of values (N, ..., J) that the consumer of a group reads -> (N, d)."""
    maps = values.reshape(len(values), -1, values.shape[-1])
    flat = maps.sum(axis=1, dtype=np.float64) if values.ndim > 2 else values
    if flat.shape[1] == group.width:
        return flat
    return np.stack([flat[:, at].sum(axis=1) for at in group.entries(group.consumer)], axis=1)


def forward(network: Network, x: Array) -> Iterator[tuple[int, Sequence[Array]]]:
    """(first row, activations) for every ROWS examples of x (N, I), or MAPS of maps; the buffers are used again."""
    rows = MAPS if convolves(network) else ROWS
    space = Workspace(network, min(rows, len(x)))
    for i in range(0, len(x), rows):
        with space.blas:
            activations = space.forward(np.ascontiguousarray(x[i:i + rows]))
        yield i, activations


def moments(network: Network, x: Array) -> list[tuple[Array, Array]]:
    """Mean and variance of each neuron over x and all positions, (d_k,) float64 each, for every dependency group k.

    Merged from those of batches: no difference of large squares, which would lose the variance beside a large mean.
    """
    groups = dependency_groups(network)
    parts: list[list[tuple[float, Array, Array]]] = [[] for _ in groups]
    for _, activations in forward(network, x):
        for group, part in zip(groups, parts, strict=True):
            h, unit = activations[group.consumer].astype(np.float64), group.units[group.consumer]
            h = h.reshape(-1, h.shape[-1])
            count = len(h) * np.bincount(unit)                        # values of each neuron in the batch
            mean = np.bincount(unit, h.sum(axis=0)) / count
            variance = np.bincount(unit, np.square(h - mean[unit]).sum(axis=0)) / count
            part.append((len(activations[0]) / len(x), mean, variance))
    means = [sum((p * m for p, m, _ in part), np.zeros(group.width)) for group, part in zip(groups, parts, strict=True)]
    return [(mean, sum((p * (v + (m - mean) ** 2) for p, m, v in part), np.zeros_like(mean)))
            for mean, part in zip(means, parts, strict=True)]


def best(score: Array, count: int) -> Array:
    """The indices of the ``count`` largest scores (d,), ascending; of equal ones the first."""
    return np.sort(np.argsort(-score, kind="stable")[:count])


def cut(network: Network, kept: Sequence[Array]) -> Network:
    """The network with the neurons ``kept`` of every dependency group alone; those cut out are simply gone."""
    for k in reversed(range(len(kept))):                              # the inputs last: they put a layer in front
        network = keep(network, dependency_groups(network)[k], kept[k])
    return network


def by_score(score: Score, prepare: Prepare | None = None) -> Removal:
    """A removal that keeps the neurons with the largest scores, of the network as it is or as ``prepare`` makes it."""
    def removal(network: Network, x: Array, y: Array, widths: Sequence[int], rng: np.random.Generator) -> Network:
        kept = [best(s, width) for s, width in zip(score(network, x, y, rng), widths, strict=True)]
        return cut(prepare(network, x, kept) if prepare else network, kept)

    return removal


def folded(network: Network, x: Array, kept: Sequence[Array]) -> Network:
    """The network in which the mean values of the neurons that go are part of the biases:

        b' = b + Σ_{j removed} Σ_p W_{:,pj} h̄_j                                       (I6)

    (At a padded border that is too much: there a part of the kernel reads zeros.)
    """
    for group, left, (mean, _) in zip(dependency_groups(network), kept, moments(network, x), strict=True):
        layer, unit = network.layers[group.consumer], group.units[group.consumer]
        w, b = layer.params
        gone = np.flatnonzero(~np.isin(unit, left))
        moved = (w[..., gone].astype(np.float64) * mean[unit[gone]]).reshape(len(b), -1)
        bias = (b + moved.sum(axis=1)).astype(b.dtype)                                                           # (I6)
        network = network.replace({group.consumer: replace(layer, params=(w, bias))})
    return network


def refitted(network: Network, x: Array, kept: Sequence[Array]) -> Network:
    """The network with every layer refitted to the neurons that stay, as ours does. Source: He, Zhang & Sun 2017."""
    batches = batches_of(x, MAPS if convolves(network) else None)
    *_, last = refits(network, batches, kept, dependency_groups(network))
    return last.student
