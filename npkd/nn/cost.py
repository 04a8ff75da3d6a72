"""What a network costs: parameters, multiply-accumulates, bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.nn.network import Network, convolves, reads_maps


@dataclass(frozen=True)
class Cost:
    """What is counted.

    macs        multiply-accumulates an example, biases not counted
    parameters  numbers that are stored: weights, biases, gates, offsets, and of a batch norm its running moments too
    bytes       of the parameters, 4 each in float32
    """

    macs: int
    parameters: int
    bytes: int


@dataclass(frozen=True)
class Geometry:
    """Which widths (of dependency groups, and the outputs) each layer of weights l of a network reads and makes.
    Depthwise convolutions are among the layers.

    columns     weights through which l reads a neuron: 1 in a perceptron, kh·kw in a convolution, P·Q behind flatten
    positions   places where l is computed: P·Q in a convolution, else 1
    reads       number of the width that l reads: l in a chain; −1 of a convolution in groups, or depthwise, each of
                whose outputs reads as many channels as ever: I_l is 1, and they are counted as columns
    makes       number of the width that l makes: l + 1 in a chain; the same of several layers whose outputs are added
    fixed       numbers of the widths that cannot become smaller, beside the outputs
    """

    columns: tuple[int, ...]
    positions: tuple[int, ...]
    reads: tuple[int, ...]
    makes: tuple[int, ...]
    fixed: tuple[int, ...] = ()


def of_widths(widths: Sequence[int], geometry: Geometry | None = None) -> Cost:
    """Cost of a network of dense layers and convolutions with these widths, inputs first, outputs last.

        macs = Σ_l P_l K_l I_l O_l,   parameters = Σ_l (K_l I_l + 1) O_l               (C1)

    I_l and O_l are the widths that layer l reads and makes, K_l and P_l its columns and positions, by the ``geometry``;
    without one it is a chain in which K_l and P_l are 1.
    """
    if geometry is None:
        chain = tuple(range(len(widths)))
        geometry = Geometry((1,) * len(chain[1:]), (1,) * len(chain[1:]), chain[:-1], chain[1:])
    layers = [(k, p, [*widths, 1][i], widths[o]) for k, p, i, o in
              zip(geometry.columns, geometry.positions, geometry.reads, geometry.makes, strict=True)]
    parameters = sum((k * i + 1) * o for k, _, i, o in layers)                        # (C1)
    macs = sum(p * k * i * o for k, p, i, o in layers)                                # (C1)
    return Cost(macs, parameters, 4 * parameters)


def of(network: Network, shape: Sequence[int] | None = None) -> Cost:
    """Cost of a network as it stands; a convolution uses each weight once at each of its P×Q positions:

        macs = Σ_dense I O + Σ_conv P Q F kh kw C/G                                    (C2)

    ``shape``: of one example, see ``shapes``; a perceptron needs none. Raises InputError as ``shapes``.
    """
    arrays = [p for layer in network.layers for p in (*layer.params, *layer.running)]
    macs = sum(network.layers[i].params[0].size * n for i, n in positions_of(network, shape).items())             # (C2)
    return Cost(macs, sum(a.size for a in arrays), sum(a.nbytes for a in arrays))


def positions_of(network: Network, shape: Sequence[int] | None = None) -> dict[int, int]:
    """For each layer of weights, depthwise too, the positions at which it uses them: P·Q of a convolution, else 1."""
    sizes = shapes(network, shape) if convolves(network) else []
    layers = [i for i, layer in enumerate(network.layers) if layer.row.weights or layer.row.depthwise]
    return {i: math.prod(sizes[i + 1][:-1]) if sizes else 1 for i in layers}


def shapes(network: Network, shape: Sequence[int] | None = None) -> list[tuple[int, ...]]:
    """The shape of every activation of one example, that of the input first: the network is run on a batch of none.

    ``shape``: of one example; by default ``input_shape``. Raises InputError where that does not tell it.
    """
    given = input_shape(network) if shape is None else tuple(shape)
    dtype = next((p.dtype for layer in network.layers for p in layer.params), np.dtype(np.float64))
    norms = {i: replace(layer, running=(np.ones_like(layer.params[0]),) * 2)    # those of a batch of none there are not
             for i, layer in enumerate(network.layers) if layer.row.running}
    return [a.shape[1:] for a in network.replace(norms)(np.zeros((0, *given), dtype))[0]]


def input_shape(network: Network) -> tuple[int, ...]:
    """The shape of one example, where the first layers tell it. Raises InputError where they do not."""
    for layer in network.layers if not reads_maps(network) else ():
        if layer.row.width is not None:
            return (layer.row.width(**layer.settings),)
        if layer.params:
            return (layer.params[0].shape[-1],)      # dense (O, I), gate and batch norm (I,)
        if not layer.row.flat and (layer.row.entries or layer.row.skip or not layer.row.per_neuron):
            break
    raise InputError("shapes: the size of the maps is unknown; begin with unflatten, or give the shape of one example")


def signed_digits(n: Array) -> Array:
    """How many digits of the shortest form of whole numbers in digits −1, 0, 1 are not zero: two of 7 = 8 − 1.

        s(n) = ones of |n| xor 3|n| in binary                                         (N31)

    n below 2^61 -> int64 of the same shape. Source: Reitwiesner 1960.
    """
    n = np.abs(n)
    return np.asarray(np.bitwise_count(n ^ 3 * n), np.int64)                          # (N31)
