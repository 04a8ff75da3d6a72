"""Network slimming: gates behind neurons, channels and inputs, made sparse by an l1 penalty in training; then one cut.

Source: Liu et al. 2017, there with the factors of batch normalisation for gates and the labels' loss; here distilled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npkd.core.types import Array, Batch, Objective
from npkd.nn.network import Layer, Network, convolves
from npkd.nn.optimisers import Optimiser
from npkd.nn.training import TrainingSettings, train
from npkd.sparsity.penalties import L1
from npkd.surgery.dependency import dependency_groups
from npkd.surgery.folding import inserted, into_reader

STRENGTH = 1e-4
"""λ of the penalty on the gates: with it they spread over [0, 1] in the epochs that there are."""


def gated(network: Network, keep_inputs: bool = False) -> tuple[Network, list[int]]:
    """The network with a gate, all ones, in front of every layer of weights, and the indices of the gates.

        h'_pj = g_j h_pj,   g_j = 1 at first                                          (I22)

    A channel has one gate for all its positions p: in front of a flatten, not behind. With ``keep_inputs`` there is
    none in front of the first layer, nor where that is a convolution.
    """
    gates = list[int]()
    for group in reversed(dependency_groups(network)):
        if group.number or not (keep_inputs or convolves(network)):
            at = group.consumer
            while len(group.units[at]) > group.width:
                at -= 1
            ones = np.ones(group.width, network.layers[group.consumer].params[0].dtype)
            network = inserted(network, at, Layer("gate", (ones,)))                                              # (I22)
            gates = [at, *(i + 1 for i in gates)]
    return network, gates


def opened(network: Network, gates: Sequence[int]) -> tuple[Network, list[Array]]:
    """The network with its gates multiplied into the layers that read them, and their sizes |g|, in the same order.

        W'_{:,pj} = g_j W_{:,pj}                                                      (I23)
    """
    sizes = [np.abs(network.layers[i].params[0]).astype(np.float64) for i in gates]
    for i in reversed(gates):
        folded = into_reader(network, i)                                                                         # (I23)
        assert folded is not None                     # the layer that reads it stands right behind, or behind a flatten
        network = folded
    return network, sizes


def slim(teacher: Network, data: Batch, objective: Objective, *, optimiser: Optimiser, settings: TrainingSettings,
         rng: np.random.Generator, keep_inputs: bool) -> tuple[Network, list[Array]]:
    """The teacher after it has learnt its own answers under the penalty, and one score (d_k,) a dependency group.

        min  distillation (K1) + λ Σ_j |g_j|                                          (I24)

    The penalty is a proximal step (P1) on the gates after each update. Scores of inputs that are all kept are ones.
    data, objective, optimiser, settings, rng   as npkd.nn.training.train takes them
    """
    start, gates = gated(teacher, keep_inputs)
    *_, last = train(start, data, objective, optimiser=optimiser, settings=settings, rng=rng,
                     penalties=dict.fromkeys(gates, L1(STRENGTH)))                                               # (I24)
    network, sizes = opened(last.network, gates)
    return network, sizes if len(gates) == len(dependency_groups(network)) else [np.ones(network.widths[0]), *sizes]
