"""Dead neurons: those that are zero for every example, so that no gradient reaches what they are made of."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from npkd.core.types import Array
from npkd.nn.network import Network

FEW = 10
"""Of layers with fewer neurons nothing is said."""


class DeadNeuronsWarning(UserWarning):
    """More than half of a layer is zero for every example."""


class Activity:
    """Which neurons behind an activation (relu, …) were not zero for one example at least."""

    def __init__(self, network: Network) -> None:
        self.layers = [i for i, layer in enumerate(network.layers) if layer.row.activation]
        self.active, self.widths, self.warned = dict[int, Array](), dict[int, int](), False

    def see(self, activations: Sequence[Array]) -> None:
        """Look at the activations of a batch."""
        for i in self.layers:
            a = activations[i + 1]
            active = np.asarray(a.any(axis=tuple(range(a.ndim - 1))))
            self.active[i] = np.logical_or(self.active[i], active) if i in self.active else active

    def dead(self) -> dict[int, float]:
        """The share of neurons of each layer that were zero for all examples since the last call."""
        shares = {i: float(np.mean(~active)) for i, active in self.active.items()}
        self.widths = {i: active.size for i, active in self.active.items()}
        self.active = {}
        return shares

    def worst(self, shares: dict[int, float]) -> int | None:
        """The layer with the largest share, of those with FEW neurons at least; None where there is none."""
        return max((i for i in shares if self.widths[i] >= FEW), key=lambda i: shares[i], default=None)

    def warn(self, shares: dict[int, float], epoch: int, learning_rate: float) -> None:
        """Say once that more than half of a layer is dead, and what to do."""
        worst = self.worst(shares)
        if worst is not None and shares[worst] > 0.5 and not self.warned:
            self.warned = True
            warnings.warn(f"train: after epoch {epoch} {shares[worst]:.0%} of the neurons of layer {worst} are zero "
                          "for every example and learn nothing any more; begin again with a lower learning rate (it "
                          f"is {learning_rate:g}), or bound the gradient with clip", DeadNeuronsWarning, stacklevel=3)


def dead_share(network: Network, x: Array) -> float:
    """The largest share of a layer that is zero for all examples x (N, ...), of layers with FEW neurons at least."""
    activity = Activity(network)
    activity.see(network(x)[0])
    shares = activity.dead()
    worst = activity.worst(shares)
    return 0.0 if worst is None else shares[worst]
