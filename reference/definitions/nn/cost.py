"""Costs counted while a network computes: a number that counts every product and sum that it takes part in."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np

from npkd.nn.network import Network


class Counted:
    """A term of a sum: products of weights that are not zero are counted, and additions between terms."""

    def __init__(self, counter: Counter[str]) -> None:
        self.counter, self.terms = counter, 0

    def add(self, weight: float, value: float | None) -> None:
        """Take a weight times a value, or with None a bias, into the sum; what is zero is left out."""
        self.counter["macs"] += value is not None
        if weight != 0:
            self.counter["nonzero_macs"] += value is not None
            self.counter["additions"] += self.terms > 0
            self.terms += 1


def counted(network: Network, x: np.ndarray) -> Counter[str]:
    """What the layers of weights compute for one example x (1, ...), position by position, term by term: (C2), (C4)."""
    counter: Counter[str] = Counter()
    activations, _ = network(x)
    for i, layer in enumerate(network.layers):
        if not (layer.row.weights or layer.op == "depthwise_conv2d"):
            continue
        (w, b), h, y = layer.params, activations[i][0], activations[i + 1][0]
        if layer.op == "dense":
            for o in range(len(w)):
                one = Counted(counter)
                for j in range(w.shape[1]):
                    one.add(w[o, j], h[j])
                one.add(b[o], None)
            continue
        groups = layer.settings.get("groups", 1)
        if layer.op == "depthwise_conv2d":
            w, groups = np.moveaxis(w, -1, 0)[..., None], len(b)
        for _p, _q, f in itertools.product(*map(range, y.shape)):
            one = Counted(counter)
            for a, c, k in itertools.product(*map(range, w.shape[1:])):
                one.add(w[f, a, c, k], h[0, 0, k + (f // (len(w) // groups)) * w.shape[3]])
            one.add(b[f], None)
    return counter
