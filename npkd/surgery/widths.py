"""Cost of a network as a function of the widths of its dependency groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npkd.core.validation import InputError
from npkd.nn.cost import Geometry, positions_of
from npkd.nn.network import Network, convolves
from npkd.surgery.dependency import DependencyGroup, dependency_groups


def widths_of(network: Network, groups: Sequence[DependencyGroup] | None = None) -> list[int]:
    """Widths of the dependency groups, inputs first, and the number of outputs: in a chain ``network.widths``.

    ``groups``: those of the network, where they are known. Else raises InputError as ``dependency_groups``.
    """
    return [*(group.width for group in groups or dependency_groups(network)), network.widths[-1]]


def geometry(network: Network, groups: Sequence[DependencyGroup] | None = None) -> Geometry | None:
    """Which widths each layer of weights reads and makes; None of a plain perceptron. Inputs of convolutions all stay.

    ``groups``: those of the network, where they are known. Raises InputError where several outputs make a neuron, or
    neurons are read through different numbers of weights, and as ``dependency_groups``.
    """
    groups, positions = groups or dependency_groups(network), positions_of(network)
    reads = [next((k for k, group in enumerate(groups) if i in group.consumers and not network.layers[i].grouped), -1)
             for i in positions]                                           # −1: in groups, or depthwise
    makes = [next((k for k, group in enumerate(groups) if i + 1 in group.units), len(groups)) for i in positions]
    columns = list[int]()
    for i, read, made in zip(positions, reads, makes, strict=True):
        w = network.layers[i].params[0]
        if read < 0:
            columns.append(w.size // (w.shape[-1] if network.layers[i].row.depthwise else len(w)))
            continue
        seen, rows = np.bincount(groups[read].units[i], minlength=groups[read].width), np.ones(1, int)
        if made < len(groups):
            rows = np.bincount(groups[made].units[i + 1], minlength=groups[made].width)
        if (seen != seen[0]).any() or (rows != 1).any():
            raise InputError("cost: some neurons are read or made through more weights than others (by a select or an "
                             "addition behind a flatten, an unflatten, maxout); sizes do not follow from widths then")
        columns.append(w[0].size // groups[read].width)
    fixed = tuple(group.number for group in groups if group.fixed or (convolves(network) and not group.number))
    chain = list(range(len(positions)))
    if reads == chain and makes == [k + 1 for k in chain] and not fixed:
        return None
    return Geometry(tuple(columns), tuple(positions.values()), tuple(reads), tuple(makes), fixed)
