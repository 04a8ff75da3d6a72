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

    def warn(self, shares: dict[int, float], epoch: int, learning_rate: float) -> None:
        """Say once that more than half of a layer is dead, and what to do."""
        worst = max((i for i in shares if self.widths[i] >= FEW), key=lambda i: shares[i], default=None)
        if worst is not None and shares[worst] > 0.5 and not self.warned:
            self.warned = True
            warnings.warn(f"train: after epoch {epoch} {shares[worst]:.0%} of the neurons of layer {worst} are zero "
                          "for every example and learn nothing any more; begin again with a lower learning rate (it "
                          f"is {learning_rate:g}), or bound the gradient with clip", DeadNeuronsWarning, stacklevel=3)


def dead_shares(network: Network, x: Array) -> list[tuple[float, int]]:
    """Of each layer with an activation, in their order, the share of its neurons that are zero for all examples
    x (N, ...), and how many neurons it has."""
    activity = Activity(network)
    activity.see(network(x)[0])
    return [(share, activity.widths[i]) for i, share in activity.dead().items()]


def died(before: Sequence[tuple[float, int]], now: Sequence[tuple[float, int]]) -> bool:
    """Whether more than half of what lived of a layer is dead now, or all of one with fewer than FEW neurons; both as
    ``dead_shares`` gives them."""
    return any(share == 1 > old or (width >= FEW and share > (1 + old) / 2)
               for (old, _), (share, width) in zip(before, now, strict=True))
