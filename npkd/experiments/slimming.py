"""Network slimming: a gate behind every hidden neuron and every input, made sparse by an l1 penalty while the network learns; then one cut.

Source: Liu et al. 2017, there with the factors of batch normalisation for gates and the labels' loss; here distilled, as everything else is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from npkd.arrays import Array
from npkd.data import Data
from npkd.distillation.objective import Distillation
from npkd.distillation.transfer import Noise, blur, mixed
from npkd.nn.network import Layer, Network
from npkd.nn.optimisers import SGD
from npkd.nn.training import Batch, train
from npkd.nn.workspace import predict
from npkd.recipe import Recipe
from npkd.sparsity.penalties import L1
from npkd.sparsity.surgery import junctions

STRENGTH = 1e-4
"""λ of the penalty on the gates: with it they spread over [0, 1] in the epochs that there are."""


def gated(network: Network, keep_inputs: bool = False) -> tuple[Network, list[int]]:
    """The network with a gate, all ones, in front of every dense layer, and the indices of the gates.

        h'_j = g_j h_j,   g_j = 1 at first                                            (I22)

    With ``keep_inputs`` there is none in front of the first.
    """
    layers: list[Layer] = []
    places = []
    for i, layer in enumerate(network.layers):
        if layer.op == "dense" and not (keep_inputs and i == network.dense_layers[0]):
            places.append(len(layers))
            layers.append(Layer("gate", (np.ones(layer.params[0].shape[1], layer.params[0].dtype),)))            # (I22)
        layers.append(layer)
    return Network(layers), places


def opened(network: Network, gates: Sequence[int]) -> tuple[Network, list[Array]]:
    """The network without its gates, which are multiplied into the layers that read them, and their sizes |g|, the inputs' first.

        W'_{:,j} = g_j W_{:,j}                                                        (I23)
    """
    layers, sizes = list(network.layers), []
    for i in gates:
        g, (w, b) = layers[i].params[0], layers[i + 1].params
        layers[i + 1] = replace(layers[i + 1], params=(w * g, b))                                                # (I23)
        sizes.append(np.abs(g).astype(np.float64))
    return Network([layer for i, layer in enumerate(layers) if i not in gates]), sizes


def slim(
    teacher: Network, data: Data, recipe: Recipe, epochs: int, rng: np.random.Generator, keep_inputs: bool
) -> tuple[Network, list[Array]]:
    """The teacher after ``epochs`` of learning its own answers under the penalty, and one score a neuron, junction by junction.

        min  distillation (K1) + λ Σ_j |g_j|                                          (I24)

    The penalty is a proximal step (P1) on the gates after each update. Scores of inputs that are all kept are ones.
    """
    start, gates = gated(teacher, keep_inputs)
    shown = Noise(0.0, reach=recipe.jitter, shape=data.shape)

    def transfer(batch: Batch, rng: np.random.Generator) -> Batch:
        x = shown(batch, rng)["x"]
        x = mixed(x, recipe.mix, rng) if recipe.mix else x
        x = blur(x, recipe.noise, rng) if recipe.noise else x
        return {**batch, "x": x, "teacher": predict(teacher, x)}

    network = start
    for record in train(start, {"x": data.x_train, "y": data.y_train}, Distillation(labels=recipe.labels, temperature=recipe.temperature),
                        epochs=epochs, rng=rng, batch=recipe.batch, optimiser=SGD(recipe.student_rate, decay=recipe.student_decay),
                        augment=transfer, refresh=recipe.refresh, clip=recipe.clip,
                        penalties=dict.fromkeys(gates, L1(STRENGTH))):                                            # (I24)
        network = record.network
    plain, sizes = opened(network, gates)
    if keep_inputs:
        sizes.insert(0, np.ones(plain.layers[junctions(plain)[0].consumer].params[0].shape[1]))
    return plain, sizes
