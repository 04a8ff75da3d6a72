"""Examples at their worst: each moved a little, to where its loss rises fastest.

A network that fits its examples perfectly may still change its mind right beside them; here it learns from just those places. Derivation and
what it is worth: docs/4-training.md, docs/11-baselines.md.
"""

from __future__ import annotations

import numpy as np

from npkd.arrays import Array, Batch, Objective
from npkd.nn.network import Network


def worst(network: Network, objective: Objective, batch: Batch, radius: float) -> Array:
    """The "x" (n, ...) of a batch, each example moved by ``radius`` ε to where, to first order, its loss is largest.

        x'_n = x_n + ε ∇_n / ‖∇_n‖,   ∇_n = ∂L/∂x_n                                   (T11)

    The network as it predicts, so that dropout does not blur the direction. An example whose loss does not depend on it stays.
    Source: Goodfellow, Shlens & Szegedy 2015, there with the signs of ∇; in this norm Miyato et al. 2016.
    """
    activations, backward = network(batch["x"])
    d, _ = backward(objective(activations, batch)[1])
    flat = d.reshape(len(d), -1).astype(np.float64)                # squares of a slope that is small in float32 vanish there
    norm = np.sqrt(np.einsum("ni,ni->n", flat, flat))
    flat *= (radius / np.where(norm > 0, norm, 1))[:, None]
    return np.asarray(batch["x"] + flat.reshape(d.shape).astype(d.dtype))                              # (T11)


def with_adversary(network: Network, objective: Objective, batch: Batch, radius: float) -> Batch:
    """The batch and behind it the same examples at their worst, with the labels and answers that they had: twice as many rows.

    The mean over both is ½ L(x) + ½ L(x'). Source: Goodfellow, Shlens & Szegedy 2015, with α = ½.
    """
    moved = worst(network, objective, batch, radius)
    return {name: np.concatenate([a, moved if name == "x" else a]) for name, a in batch.items()}
