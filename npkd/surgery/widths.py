"""Sizes: what a network costs as a function of how many neurons or channels each of its junctions has.

A budget is shared over these numbers. In a chain every layer of weights reads one of them and makes the next; where
paths are added, several layers make, or read, the same one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npkd.core.validation import InputError
from npkd.nn.cost import Geometry, shapes
from npkd.nn.network import Network, convolves
from npkd.surgery.dependency import WEIGHTS, junctions


def widths_of(network: Network, shape: Sequence[int] | None = None) -> list[int]:
    """How many neurons or channels each junction has, inputs first, and the outputs: in a chain ``network.widths``.

    ``shape``: of one example, where the network does not tell it. Raises InputError as ``junctions``.
    """
    return [*(place.width for place in junctions(network, shape)), network.widths[-1]]


def geometry(network: Network, shape: Sequence[int] | None = None) -> Geometry | None:
    """How the layers of weights meet the widths of the junctions; None of a plain perceptron. The inputs of a
    convolution all stay.

    ``shape``: of one example, where the network does not tell it.
    Raises InputError as ``junctions``, and for networks whose cost does not follow from one width a junction: with
    several outputs to a neuron (maxout, an addition behind a flatten), or neurons that are read through different
    numbers of weights.
    """
    places, sizes = junctions(network, shape), shapes(network, shape)
    layers = [i for i, layer in enumerate(network.layers) if layer.op in WEIGHTS]
    reads = [next(k for k, place in enumerate(places) if i in place.consumers) for i in layers]
    makes = [next((k for k, place in enumerate(places) if i in place.producers), len(places)) for i in layers]
    columns = []
    for i, read, made in zip(layers, reads, makes, strict=True):
        seen, rows = np.bincount(places[read].units[i], minlength=places[read].width), np.ones(1, int)
        if made < len(places):
            rows = np.bincount(places[made].units[i + 1], minlength=places[made].width)
        if (seen != seen[0]).any() or (rows != 1).any():
            raise InputError("cost: some of the network's neurons are read or made through more weights than others (a "
                             "select or an addition "
                             "behind a flatten, an unflatten between layers, maxout); sizes do not follow from widths "
                             "then")
        columns.append(network.layers[i].params[0][0].size // places[read].width)
    fixed = tuple(place.number for place in places if place.fixed or (convolves(network) and not place.number))
    chain = list(range(len(layers)))
    if reads == chain and makes == [k + 1 for k in chain] and not fixed:
        return None
    positions = [int(np.prod(sizes[i + 1][:-1])) for i in layers]
    return Geometry(tuple(columns), tuple(positions), tuple(reads), tuple(makes), fixed)
