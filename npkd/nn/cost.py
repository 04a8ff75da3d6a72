"""What a network costs: parameters, multiply-accumulates, bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from npkd.core.validation import InputError
from npkd.nn.network import Network, reads_maps


@dataclass(frozen=True)
class Cost:
    """What is counted.

    macs        multiply-accumulates an example, biases not counted
    parameters  numbers that are stored: weights, biases, gates, offsets, and of a batch norm its running moments too
    bytes       of the parameters, 4 each in float32
    neurons     inputs and hidden neurons or channels, as many as each layer of weights reads
    """

    macs: int
    parameters: int
    bytes: int
    neurons: int


@dataclass(frozen=True)
class Geometry:
    """How the layers of weights of a network meet its widths, which are those of its dependency groups
    (surgery/dependency.py) and the outputs.

    columns     of layer l: through how many weights it reads each of its neurons or channels: 1 in a perceptron, kh·kw
                in a convolution, P·Q behind flatten
    positions   of layer l: at how many places: P·Q in a convolution, else 1
    reads       of layer l: the number of the width that it reads: l in a chain
    makes       of layer l: the number of the width that it makes: l + 1 in a chain; where paths are added several
                layers make the same one
    fixed       numbers of the widths that cannot become smaller, beside the outputs
    """

    columns: tuple[int, ...]
    positions: tuple[int, ...]
    reads: tuple[int, ...]
    makes: tuple[int, ...]
    fixed: tuple[int, ...] = ()


def of_widths(widths: Sequence[int], itemsize: int = 4, geometry: Geometry | None = None) -> Cost:
    """Cost of a network of dense layers and convolutions with these widths, inputs first, outputs last.

        macs = Σ_l P_l K_l I_l O_l,   parameters = Σ_l (K_l I_l + 1) O_l               (C1)

    I_l and O_l are the widths that layer l reads and makes, K_l and P_l its columns and positions, all by the
    ``geometry``; without one it is a plain perceptron: a chain in which K_l and P_l are 1.
    """
    if geometry is None:
        chain = tuple(range(len(widths)))
        geometry = Geometry((1,) * len(chain[1:]), (1,) * len(chain[1:]), chain[:-1], chain[1:])
    layers = [(k, p, widths[i], widths[o]) for k, p, i, o in
              zip(geometry.columns, geometry.positions, geometry.reads, geometry.makes, strict=True)]
    parameters = sum((k * i + 1) * o for k, _, i, o in layers)                        # (C1)
    macs = sum(p * k * i * o for k, p, i, o in layers)                                # (C1)
    return Cost(macs, parameters, parameters * itemsize, sum(i for _, _, i, _ in layers))


def of(network: Network, shape: Sequence[int] | None = None) -> Cost:
    """Cost of a network as it stands. A convolution meets each of its weights once at every position of its output, P×Q
    of them:

        macs = Σ_dense I O + Σ_conv P Q F kh kw C/G                                    (C2)

    Everything else counts as parameters, not as multiply-accumulates (gates and batch norms mostly fold into weights,
    see surgery/folding.py). ``shape``: of one example, see ``shapes``; a perceptron needs none. Raises InputError as
    ``shapes``.
    """
    arrays = [p for layer in network.layers for p in (*layer.params, *layer.running)]
    weights = {i: layer.params[0] for i, layer in enumerate(network.layers) if layer.op in ("dense", "conv2d")}
    sizes = shapes(network, shape) if any(w.ndim == 4 for w in weights.values()) else []
    macs = sum(w.size * (sizes[i + 1][0] * sizes[i + 1][1] if w.ndim == 4 else 1) for i, w in weights.items())    # (C2)
    return Cost(macs, sum(a.size for a in arrays), sum(a.nbytes for a in arrays), sum(read(network, sizes)))


def read(network: Network, sizes: Sequence[tuple[int, ...]]) -> list[int]:
    """How many neurons or channels each layer of weights reads: behind flatten a channel is one, at however many
    positions it is read."""
    found, channel = [], np.arange(0)        # of every entry of the last axis, the number of its channel; empty: itself
    for i, layer in enumerate(network.layers):
        if layer.op in ("dense", "conv2d"):
            found.append(len(np.unique(channel)) or layer.params[0].shape[-1] * layer.options.get("groups", 1))
            channel = np.arange(0)
        elif layer.op == "flatten" and sizes and len(sizes[i]) == 3 and found:
            channel = np.arange(np.prod(sizes[i])) % sizes[i][2]
        elif layer.op == "select" and len(channel):
            channel = channel[np.asarray(layer.options["kept"])]
        elif layer.op == "maxout" and len(channel):
            channel = channel[::layer.options["pieces"]]
    return found


def shapes(network: Network, shape: Sequence[int] | None = None) -> list[tuple[int, ...]]:
    """The shape of every activation of one example, that of the input first: the network is run on a batch of none.

    ``shape``: of one example. What begins with a dense layer or an ``unflatten`` tells it by itself, also behind
    select, flatten, dropout and per-neuron layers. Raises InputError where it is needed and not given.
    """
    given = input_shape(network) if shape is None else tuple(shape)
    dtype = next((p.dtype for layer in network.layers for p in layer.params), np.dtype(np.float64))
    norms = {i: replace(layer, running=(np.ones_like(layer.params[0]),) * 2)    # those of a batch of none there are not
             for i, layer in enumerate(network.layers) if layer.op == "batch_norm"}
    return [a.shape[1:] for a in network.replace(norms)(np.zeros((0, *given), dtype))[0]]


def input_shape(network: Network) -> tuple[int, ...]:
    """The shape of one example, where the first layers tell it. Raises InputError where they do not."""
    for layer in network.layers if not reads_maps(network) else ():
        if layer.op == "select":
            return (int(max(layer.options["kept"])) + 1,)
        if layer.op == "unflatten":
            return (int(np.prod(layer.options["shape"])),)
        if layer.params and layer.op != "conv2d":
            return (layer.params[0].shape[-1],)      # dense (O, I), gate and batch norm (I,)
        if layer.op not in ("flatten", "dropout", "relu", "tanh", "sigmoid"):
            break
    raise InputError("shapes: the network reads maps and does not say of which size; begin it with unflatten, or give "
                     "the shape of one example")
