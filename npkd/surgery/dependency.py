"""Streams: which numbers of a network belong to one neuron or channel, so that they stay or go together.

Between the layer of weights that makes a neuron and the layers that read it, other layers hand it on. What they hand on
is the same neuron in another place: flatten spreads a channel over positions, maxout makes one of several rows, an
addition ties channel 3 of one path to channel 3 of the other. A channel is a neuron that is seen at many positions, and
both words are used alike. Derivation: docs/7-surgery.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.nn.cost import shapes
from npkd.nn.network import Network

WEIGHTS = ("dense", "conv2d")
"""Ops that make new neurons or channels of those they read."""

PER_NEURON = ("relu", "tanh", "sigmoid", "maxout", "gate", "batch_norm", "dropout", "offset", "max_pool",
              "average_pool", "global_average_pool")
"""Ops that treat every neuron or channel by itself, so that one may be cut out of them."""

IN_FRONT = ("select", "dropout", "flatten", "unflatten", "max_pool", "average_pool", "global_average_pool")
"""Ops that may stand in front of the first layer of weights."""


@dataclass(frozen=True)
class DependencyGroup:
    """The neurons or channels between layers of weights: made by the layers ``producers`` (none for inputs), read by
    the layers ``consumers``.

    number      0: the inputs; counted on in the order of the first consumers
    width       how many neurons or channels there are, J
    fixed       they cannot be cut: they reach the output, or the inputs are tied to others, or are maps that no
                ``select`` can choose from
    units       activation -> for every entry of its last axis the neuron it belongs to, 0 … J − 1; activation i is what
                layer i takes

    A perceptron has one producer and one consumer to a dependency group; additions tie more of them together.
    """

    number: int
    producers: tuple[int, ...]
    consumers: tuple[int, ...]
    width: int
    fixed: bool = False
    units: Mapping[int, Array] = field(default_factory=dict, compare=False, repr=False)

    @property
    def producer(self) -> int | None:
        """The one layer that makes the neurons, None for the inputs. Raises InputError where an addition ties
        several."""
        if len(self.producers) > 1:
            raise InputError(f"surgery: dependency group {self.number} is made by the layers {list(self.producers)}; "
                             f"one layer "
                             f"is needed here")
        return self.producers[0] if self.producers else None

    @property
    def consumer(self) -> int:
        """The one layer that reads the neurons. Raises InputError where an addition ties several."""
        if len(self.consumers) != 1:
            raise InputError(f"surgery: dependency group {self.number} is read by the layers {list(self.consumers)}; "
                             f"one layer "
                             f"is needed here")
        return self.consumers[0]

    def entries(self, activation: int) -> list[Array]:
        """For every neuron its places on the last axis of an activation, in order: (J,) arrays."""
        unit = self.units[activation]
        return np.split(np.argsort(unit, kind="stable"), np.cumsum(np.bincount(unit, minlength=self.width))[:-1])


def dependency_groups(network: Network, shape: Sequence[int] | None = None) -> list[DependencyGroup]:
    """All dependency groups of a network, inputs first: every layer of weights reads exactly one of them.

    ``shape``: of one example, where the network does not tell it (see cost.shapes).
    Raises InputError for networks without layers of weights, with grouped convolutions, with other layers in front than
    IN_FRONT, and for perceptrons with other layers between dense ones than PER_NEURON and add.
    """
    layers = network.layers
    start = check(network)
    sizes = shapes(network, shape)
    label, origin, ties = trace(network, sizes, start)
    unit = classes(1 + max(int(a.max()) for a in label[start:]), ties)
    home = streams(network, origin)
    groups: list[DependencyGroup] = []
    for stream in dict.fromkeys(home[i] for i, layer in enumerate(layers) if layer.op in WEIGHTS):
        at = [i for i in range(start, len(home)) if home[i] == stream]
        makers = tuple(i - 1 for i in at if i > start and layers[i - 1].op in WEIGHTS)
        readers = tuple(i for i in at if i < len(layers) and layers[i].op in WEIGHTS)
        _, where, number = np.unique(np.concatenate([unit[label[i]] for i in at]), return_index=True,
                                     return_inverse=True)
        # in the order in which they are met: that of the first maker's rows
        number = np.argsort(np.argsort(where))[number]
        parts = np.split(number, np.cumsum([len(label[i]) for i in at])[:-1])
        fixed = stream == home[-1] or (start in at and bool(makers or len(sizes[start]) > 1))
        groups.append(DependencyGroup(len(groups), makers, readers, len(where), fixed,
                                      dict(zip(at, parts, strict=True))))
    return groups


def check(network: Network) -> int:
    """The activation that the inputs are counted at: behind the last select or flatten in front of the first layer of
    weights.

    Raises InputError for networks that removal does not know.
    """
    layers = network.layers
    first = next((i for i, layer in enumerate(layers) if layer.op in WEIGHTS), None)
    if first is None:
        raise InputError("surgery: the network has no dense layer and no conv2d; it needs at least one")
    flat = all(layer.op != "conv2d" for layer in layers)
    start = max([0, *(i + 1 for i in range(first) if layers[i].op in ("select", "flatten"))])
    for i, layer in enumerate(layers):
        if i < first and layer.op not in IN_FRONT:
            raise InputError(f"surgery: layer {i} is {layer.op}; in front of the first layer of weights removal knows "
                             f"{', '.join(IN_FRONT)}")
        if flat and i > first and layer.op not in (*PER_NEURON, "dense", "add"):
            raise InputError(f"surgery: layer {i} is {layer.op}; removal knows {', '.join(PER_NEURON)} between dense "
                             f"layers")
        if layer.options.get("groups", 1) != 1:
            raise InputError(f"surgery: layer {i} is a convolution in {layer.options['groups']} groups; removal knows "
                             f"those of one group alone")
        if layer.back and i - layer.back < start:
            raise InputError(f"surgery: layer {i} adds activation {i - layer.back}; it must add one behind the select "
                             f"or flatten in front")
    return start


def trace(network: Network, sizes: Sequence[tuple[int, ...]], start: int) -> tuple[list[Array], list[int],
                                                                                   list[tuple[Array, Array]]]:
    """Names handed on from layer to layer.

    Returns for every activation the names of the entries of its last axis, (J,) whole numbers; for every activation the
    layer of weights that it comes from, −1 for the inputs; and pairs of arrays of names that mean the same neuron.
    """
    label, origin, ties = [np.arange(0)] * start + [np.arange(sizes[start][-1])], [-1] * (start + 1), []
    count = len(label[start])
    for i, layer in enumerate(network.layers[start:], start):
        now = label[i]
        if layer.op in WEIGHTS:
            now = count + np.arange(len(layer.params[0]))
            count += len(now)
        elif layer.op == "flatten":
            now = np.tile(now, int(np.prod(sizes[i][:-1], dtype=int)))         # position · C + channel
        elif layer.op == "unflatten":
            now = label[i][:sizes[i + 1][-1]]
            ties.append((label[i], np.resize(now, len(label[i]))))
        elif layer.op == "maxout":
            now = label[i][::layer.options["pieces"]]
            ties.append((label[i], np.repeat(now, layer.options["pieces"])))
        elif layer.op == "select":
            now = now[np.asarray(layer.options["kept"])]
        elif layer.back:
            ties.append((now, label[i - layer.back]))
        label.append(now)
        origin.append(i if layer.op in WEIGHTS else origin[i])
    return label, origin, ties


def classes(count: int, ties: Sequence[tuple[Array, Array]]) -> Array:
    """For each of the names 0 … count − 1 the number of its class, where the names of a tie are of one class:
    (count,)."""
    one, other = (np.concatenate([np.arange(0), *(tie[side] for tie in ties)]) for side in (0, 1))
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])


def streams(network: Network, origin: Sequence[int]) -> list[int]:
    """For every activation the number of its stream, where an addition makes one of two."""
    home = list(origin)
    for i, layer in enumerate(network.layers):
        if layer.back:
            one, other = home[i + 1], home[i - layer.back]
            home = [min(one, other) if h in (one, other) else h for h in home]
    return home
