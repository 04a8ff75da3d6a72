"""Dependency groups: the neurons or channels that some layers of weights make and others read, removed together.

Between them other layers pass a neuron on: flatten spreads a channel over positions, maxout makes one neuron of several
rows, an addition ties two paths, a recall goes on with an earlier one. A channel is a neuron at many positions.
Derivation: docs/book/11-surgery.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.nn import chain
from npkd.nn.cost import shapes
from npkd.nn.network import Network, convolves
from npkd.nn.ops import OPS


@dataclass(frozen=True)
class DependencyGroup:
    """Neurons or channels made by the layers ``producers`` (none: inputs) and read by the layers ``consumers``.

    number      0: the inputs; counted on in the order of the first consumers
    width       number of neurons or channels, J
    fixed       none can be removed: they reach the output, are inputs tied to others or without a ``select``, or are
                made or read by a convolution in groups
    units       {activation: the neuron of each entry of its last axis, 0 … J − 1}; activation i is the input of layer i

    In a perceptron a group has one producer and one consumer; additions tie several together.
    """

    number: int
    producers: tuple[int, ...]
    consumers: tuple[int, ...]
    width: int
    fixed: bool = False
    units: Mapping[int, Array] = field(default_factory=dict, compare=False, repr=False)

    @property
    def producer(self) -> int | None:
        """The only producer, None for the inputs. Raises InputError where an addition ties several."""
        return self.only("made", self.producers) if self.producers else None

    @property
    def consumer(self) -> int:
        """The only consumer. Raises InputError where an addition ties several."""
        return self.only("read", self.consumers)

    def only(self, verb: str, layers: Sequence[int]) -> int:
        """The single one of the layers. Raises InputError where there are several."""
        if len(layers) != 1:
            raise InputError(f"surgery: dependency group {self.number} is {verb} by {list(layers)}; it needs one layer")
        return layers[0]

    def entries(self, activation: int) -> list[Array]:
        """For every neuron its places on the last axis of an activation, in order: (J,) arrays."""
        unit = self.units[activation]
        return np.split(np.argsort(unit, kind="stable"), np.cumsum(np.bincount(unit, minlength=self.width))[:-1])


def dependency_groups(network: Network, shape: Sequence[int] | None = None) -> list[DependencyGroup]:
    """All dependency groups of a network, inputs first: every layer of weights reads exactly one of them.

    ``shape``: of one example, where the network does not tell it (see cost.shapes). Raises InputError for networks
    without layers of weights, or all of them in groups, with activations that nothing reads, and with other ops in
    front of the first weights, or between weights, than nn/ops.py allows there.
    """
    layers = network.layers
    start = check(network)
    sizes = shapes(network, shape)
    label, ties = trace(network, sizes, start)
    unit = classes(1 + max(int(a.max()) for a in label[start:]), ties)
    passed = [(i, i + 1) for i, layer in enumerate(layers) if not (layer.row.weights or layer.row.recalls)]
    passed += [(i - layer.back, i + 1) for i, layer in enumerate(layers) if layer.back]
    before, behind = np.array(passed, np.intp).reshape(-1, 2).T
    group_of = classes(len(layers) + 1, [(before, behind)])                                      # of every activation
    groups: list[DependencyGroup] = []
    for one in dict.fromkeys(group_of[i] for i in network.weight_layers):
        at = [i for i in range(start, len(group_of)) if group_of[i] == one]
        makers = tuple(i - 1 for i in at if i > start and layers[i - 1].row.weights)
        readers = tuple(i for i in at if i < len(layers) and layers[i].row.weights)
        together = np.concatenate([unit[label[i]] for i in at])
        _, where, number = np.unique(together, return_index=True, return_inverse=True)
        number = np.argsort(np.argsort(where))[number]       # in order of occurrence: that of the first producer's rows
        parts = np.split(number, np.cumsum([len(label[i]) for i in at])[:-1])
        fixed = one == group_of[-1] or (start in at and bool(makers or len(sizes[start]) > 1))
        fixed = fixed or any(layers[i].grouped for i in makers + readers)
        units = dict(zip(at, parts, strict=True))
        groups.append(DependencyGroup(len(groups), makers, readers, len(where), fixed, units))
    return groups


def check(network: Network) -> int:
    """The activation of the inputs, behind select or flatten. Raises InputError for networks removal does not know."""
    layers = network.layers
    if all(layers[i].grouped for i in network.weight_layers):
        raise InputError("surgery: the network has no dense layer and no conv2d in one group; it needs at least one")
    first, flat = network.weight_layers[0], not convolves(network)
    start = max([0, *(i + 1 for i in range(first) if layers[i].op in ("select", "flatten"))])
    for i, layer in enumerate(layers):
        row = layer.row
        known = ", ".join(name for name, op in OPS.items() if (op.front if i < first else op.per_neuron))
        if (i < first and not row.front) or (i < start and row.depthwise):
            raise InputError(f"surgery: layer {i} is {row}; before the first layer of weights removal knows {known}")
        if i > first and not (row.per_neuron or row.weights or row.recalls or (row.entries and not flat)):
            raise InputError(f"surgery: layer {i} is {row}; between layers of weights removal knows ops that act per "
                             f"neuron ({known})")
        if row.recalls and all(k - other.back != i for k, other in enumerate(layers) if other.back):
            raise InputError(f"surgery: layer {i} is {row}, and nothing reads what is in front of it: leave that out")
        if layer.back and i - layer.back < start:
            raise InputError(f"surgery: layer {i} reads activation {i - layer.back}, none behind the select in front")
    return start


def trace(network: Network, sizes: Sequence[tuple[int, ...]],
          start: int) -> tuple[list[Array], list[tuple[Array, Array]]]:
    """Of every activation the label of each entry of its last axis, (J,); pairs of arrays of labels of one neuron."""
    ties, count = list[tuple[Array, Array]](), sizes[start][-1]

    def apply(i: int, label: Array, skip: Array | None) -> Array:
        nonlocal count
        layer = network.layers[start + i]
        if layer.row.weights:
            count += len(layer.params[0])
            return np.arange(count - len(layer.params[0]), count)
        if layer.row.recalls and skip is not None:
            return skip
        meeting = label[layer.row.entries_of(sizes[start + i], layer.settings)]       # (K, m): of what entry k is made
        ties.extend((meeting[:, 0], other) for other in (*meeting.T[1:], *([] if skip is None else [skip])))
        return meeting[:, 0]

    label = chain.forward(np.arange(count), network.skips[start:], apply)
    return [np.arange(0)] * start + label, ties


def classes(count: int, ties: Sequence[tuple[Array, Array]]) -> Array:
    """Class of each label 0 … count − 1, where the labels of a tie are in one class; in order of the first."""
    one, other = (np.concatenate([np.arange(0), *(tie[side] for tie in ties)]) for side in (0, 1))
    least, before = np.arange(count), np.arange(0)              # of every label the least one that it is known to equal
    while not np.array_equal(least, before):
        before, both = least.copy(), np.minimum(least[one], least[other])
        np.minimum.at(least, one, both)
        np.minimum.at(least, other, both)
        least = least[least]                                    # what is known of those: long chains take few rounds
    return np.unique(least, return_inverse=True)[1]
