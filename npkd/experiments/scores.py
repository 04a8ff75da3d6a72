"""What a neuron is worth, by rules that look at it alone: one score a neuron, for every junction, the inputs first. The smallest goes first.

Every rule has the form ``score(network, x, y, rng) -> [(d_0,), (d_1,), …]``: x (N, I) the training inputs, y (N,) their labels, d_k neurons at
junction k (0: the inputs). Only ``taylor`` looks at y and only ``chance`` draws. Inputs have no incoming weights: ``incoming`` scores them by
their outgoing ones. Definitions by loops: reference/baselines.py. Derivation: docs/11-baselines.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from npkd.arrays import Array
from npkd.nn.losses import cross_entropy
from npkd.nn.network import Network
from npkd.nn.workspace import Workspace
from npkd.pipeline import ROWS
from npkd.sparsity.surgery import junctions, keep

Score = Callable[[Network, Array, Array, np.random.Generator], list[Array]]
"""``score(network, x, y, rng)`` -> one array (d_k,) float64 a junction."""


def norms(w: Array, axis: int) -> Array:
    """‖·‖₂ along an axis, in float64: not ``np.linalg.norm``, which is NumPy's BLAS again."""
    w = w.astype(np.float64)
    return np.asarray(np.sqrt((w * w).sum(axis=axis)))


def chance(network: Network, x: Array, y: Array, rng: np.random.Generator) -> list[Array]:
    """Any neuron is as good as another.

        s_j = u_j,   u_j uniform on [0, 1)                                            (I1)
    """
    return [rng.random((network.layers[place.consumer].params[0].shape[1],)) for place in junctions(network)]    # (I1)


def incoming(network: Network, x: Array, y: Array, rng: np.random.Generator) -> list[Array]:
    """Magnitude of the incoming weights; of an input, which has none, of the outgoing ones.

        s_j = ‖w_j‖₂,   w_j row j of the layer that makes neuron j                    (I2)

    Behind maxout the rows of all pieces count. Source: Li et al. 2017, for filters and with the l1 norm.
    """
    out = outgoing(network, x, y, rng)
    for k, place in enumerate(junctions(network)):
        if place.producer is not None:
            out[k] = norms(network.layers[place.producer].params[0].reshape(len(out[k]), -1), 1)                 # (I2)
    return out


def outgoing(network: Network, x: Array, y: Array, rng: np.random.Generator) -> list[Array]:
    """Magnitude of the outgoing weights.

        s_j = ‖W_{:,j}‖₂,   W the weights of the layer that reads neuron j            (I3)
    """
    return [norms(network.layers[place.consumer].params[0], 0) for place in junctions(network)]                  # (I3)


def activation(network: Network, x: Array, y: Array, rng: np.random.Generator) -> list[Array]:
    """How much a neuron moves what reads it: outgoing weights times the deviation of its value.

        s_j² = ‖W_{:,j}‖² · 1/N Σ_n (h_nj − h̄_j)²                                    (I4)

    That is the mean squared change of all pre-activations behind it, when its value is replaced by its mean.
    """
    deviations = [np.sqrt(np.maximum(square - mean ** 2, 0)) for mean, square in moments(network, x)]
    return [np.asarray(w * s) for w, s in zip(outgoing(network, x, y, rng), deviations, strict=True)]                        # (I4)


def taylor(network: Network, x: Array, y: Array, rng: np.random.Generator) -> list[Array]:
    """What the loss would change by, to first order, were the neuron's value zero.

        s_j = 1/N Σ_n |h_nj · ∂ℓ_n/∂h_nj|                                             (I5)

    ℓ is the cross-entropy with the labels: the distillation loss of a student that still is its teacher has no slope to go by. Source:
    Molchanov et al. 2017, without their normalisation by layer, so that the scores of all layers are in one unit, that of the loss.
    """
    places = junctions(network)
    total = [np.zeros(network.layers[place.consumer].params[0].shape[1]) for place in places]
    for i, activations in forward(network, x):
        labels = y[i:i + len(activations[0])]
        _, slope = cross_entropy(activations[-1], labels)             # of the mean over the batch
        for k, place in enumerate(places):
            rest, backward = Network(network.layers[place.consumer:])(activations[place.consumer])
            d, _ = backward({len(rest) - 1: slope})
            total[k] += np.abs(activations[place.consumer] * d).sum(axis=0, dtype=np.float64) * len(labels)      # (I5)
    return [t / len(x) for t in total]                                # (I5)


def forward(network: Network, x: Array) -> Iterator[tuple[int, list[Array]]]:
    """(first row, activations) for every ROWS examples of x (N, I); the buffers are used again."""
    space = Workspace(network, min(ROWS, len(x)))
    for i in range(0, len(x), ROWS):
        yield i, space.forward(np.ascontiguousarray(x[i:i + ROWS]))


def moments(network: Network, x: Array) -> list[tuple[Array, Array]]:
    """For every junction the means of its neurons' values and of their squares over x, (d_k,) float64 each."""
    places = junctions(network)
    widths = [network.layers[place.consumer].params[0].shape[1] for place in places]
    out = [(np.zeros(d), np.zeros(d)) for d in widths]
    for _, activations in forward(network, x):
        for place, (mean, square) in zip(places, out, strict=True):
            h = activations[place.consumer].astype(np.float64)
            mean += h.sum(axis=0) / len(x)
            square += (h * h).sum(axis=0) / len(x)
    return out


def best(score: Array, count: int) -> Array:
    """The indices of the ``count`` largest scores (d,), ascending; of equal ones the first."""
    return np.sort(np.argsort(-score, kind="stable")[:count])


def cut(network: Network, kept: Sequence[Array]) -> Network:
    """The network with the neurons ``kept`` of every junction alone; those cut out are simply gone."""
    for k in reversed(range(len(kept))):                              # the inputs last: they put a layer in front
        network = keep(network, junctions(network)[k], kept[k])
    return network


def by_score(score: Score, *, fold: bool = False) -> Callable[[Network, Array, Array, Sequence[int], np.random.Generator], Network]:
    """A removal that keeps the neurons with the largest scores. With ``fold`` the mean value of one that goes stays behind:

        b' = b + Σ_{j removed} W_{:,j} h̄_j                                            (I6)
    """
    def removal(network: Network, x: Array, y: Array, widths: Sequence[int], rng: np.random.Generator) -> Network:
        kept = [best(s, width) for s, width in zip(score(network, x, y, rng), widths, strict=True)]
        if fold:
            for place, left, (mean, _) in zip(junctions(network), kept, moments(network, x), strict=True):
                layer = network.layers[place.consumer]
                w, b = layer.params
                gone = np.setdiff1d(np.arange(w.shape[1]), left)
                folded = b + (w[:, gone].astype(np.float64) * mean[gone]).sum(axis=1)                            # (I6)
                network = network.replace({place.consumer: replace(layer, params=(w, folded.astype(b.dtype)))})
        return cut(network, kept)

    return removal
