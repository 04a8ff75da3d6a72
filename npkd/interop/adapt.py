"""A model of any origin as the float32 network that is compressed, or asked: checked against the data, reading rows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.datasets import Data
from npkd.nn import cost
from npkd.nn.fast.workspace import predict
from npkd.nn.model import Model, same_maps
from npkd.nn.network import Layer, Network, convolves, reads_maps
from npkd.nn.scaling import Scaling
from npkd.surgery.dependency import dependency_groups
from npkd.surgery.folding import inserted, skipped, without


def prunable(model: Model, data: Data, who: str) -> Network:
    """The network of a model, see ``adapt``, whose neurons can be removed. Raises InputError where they cannot."""
    network = adapt(model, data, who)
    dependency_groups(network)
    flat = [layer.params[0] for layer in network.layers if layer.op == "dense"]
    if len(flat) == len(network.widths) - 1 and [w.shape[1] for w in flat] != network.widths[:-1]:
        raise InputError(f"{who} has layers that take several outputs to one neuron (maxout); sizes are counted for "
                         f"plain perceptrons alone")
    return network


def require_countable(network: Network, kind: str, who: str) -> None:
    """Raise InputError where a target counts parameters and the network has, or may get, others than weights and
    biases.

    What a constant channel adds under a padding becomes an ``offset``, see surgery (U3).
    """
    if kind not in ("parameters", "bytes"):
        return
    for layer in network.layers:
        linear = layer.row.weights or layer.row.homogeneous == "all"          # a maximum never takes the padding
        padded = linear and np.any(layer.options.get("padding", 0))
        if padded or (layer.params and not layer.row.weights):
            what = f"{layer.op} with padding" if padded else layer.op
            raise InputError(f"{who} has {what}, and {kind} counts weights and biases alone; use macs or neurons")


def adapt(model: Model, data: Data, who: str) -> Network:
    """The network of a model in float32, without its dropout layers (a small student needs none), checked against the
    data.

    One that reads maps gets an ``unflatten`` in front. Raises InputError where inputs or classes differ.
    """
    with np.errstate(over="ignore"):
        network = model.network.astype(np.float32)
    for at in reversed([i for i, layer in enumerate(network.layers) if layer.op == "dropout"]):
        if at + 1 < len(network.layers) and network.layers[at + 1].back == 1:
            raise InputError(f"{who} adds what a dropout takes to what it gives; without the dropout that adds a value "
                             f"to itself: leave it out")
        network = without(network, at)
    network = widened(reading_rows(network, data, who))
    if not all(np.isfinite(p).all() for layer in network.layers for p in layer.params):
        raise InputError(f"{who} has weights beyond float32; they must be finite in it")
    if not network.widths:
        raise InputError(f"{who} has no dense layer and no convolution; it needs at least one")
    inputs, width = data.x_train.shape[1], len(model.scaling.offset) if model.scaling else cost.input_shape(network)[0]
    if width > inputs or (width < inputs and (model.scaling or network.layers[0].op != "select")):
        raise InputError(f"{who} takes {width} inputs, but {data.name} has {inputs}; they must agree")
    logits = predict(network, np.zeros((1, inputs), np.float32))
    if logits.ndim != 2:
        raise InputError(f"{who} gives maps of shape {logits.shape[1:]}; it must end in one logit for each class")
    classes = logits.shape[1]
    if classes != data.classes:
        raise InputError(f"{who} tells {classes} classes apart, but {data.name} has {data.classes}; they must agree")
    return network


def reading_rows(network: Network, data: Data, who: str) -> Network:
    """A network that reads maps behind an ``unflatten``: examples come as rows. Raises InputError where an example is
    no map."""
    same_maps(who, network, data.shape)
    if not reads_maps(network):
        return network
    if len(data.shape) not in (2, 3):
        raise InputError(f"{who} reads maps, and an example of {data.name} has the shape {tuple(data.shape)}; it must "
                         f"be (H, W) or (H, W, C)")
    return inserted(network, 0, Layer("unflatten", options={"shape": [*data.shape, 1][:3]}))


def widened(network: Network) -> Network:
    """The network that reads all of a flattened map, with weights of zero, where a dense layer behind a ``select``
    reads a part.

    Surgery leaves such selects behind (positions that nobody reads); without them every channel is read through as many
    weights.
    """
    for i, (flat, some, layer) in enumerate(zip(network.layers, network.layers[1:], network.layers[2:], strict=False)):
        # by the dense layer alone
        read = (flat.op, some.op, layer.op) == ("flatten", "select", "dense") and i + 2 not in skipped(network)
        if read and i and convolves(Network(network.layers[:i])):
            w = np.zeros((len(layer.params[0]), math.prod(cost.shapes(network)[i + 1])), layer.params[0].dtype)
            w[:, np.asarray(some.options["kept"])] = layer.params[0]
            return widened(without(network.replace({i + 2: replace(layer, params=(w, layer.params[1]))}), i + 1))
    return network


def change_of(old: Scaling, new: Scaling) -> tuple[Array, Array]:
    """f'/f and (o − o') · f', in float64: what takes inputs from one scaling (o, f) to another (o', f').

        x' = x · f'/f + (o − o') · f'
    """
    return new.factor.astype(np.float64) / old.factor, (old.offset.astype(np.float64) - new.offset) * new.factor


def rescaled_network(model: Model, data: Data, who: str) -> Network:
    """The network of a model, see ``adapt``, that takes the data as it is scaled and not as the model's scaling gives
    it: behind a gate and an offset, see ``change_of``, unless the two scalings are equal.

    Raises InputError where that is beyond float32 on the first examples.
    """
    network, width = adapt(model, data, who), data.x_train.shape[1]
    new = model.scaling or Scaling(np.zeros(width, np.float32), np.ones(width, np.float32))
    if np.array_equal(data.scaling.offset, new.offset) and np.array_equal(data.scaling.factor, new.factor):
        return network
    with np.errstate(over="ignore", invalid="ignore"):
        ratio, shift = (a.astype(np.float32) for a in change_of(data.scaling, new))
        network = Network([Layer("gate", (ratio,)), Layer("offset", (shift,)), *network.layers])
        if not np.isfinite(predict(network, data.x_train[:1000])).all():
            raise InputError(f"{who}: its scaling takes {data.name} beyond float32; it needs to be for such inputs")
    return network


def rescaled(data: Data, scaling: Scaling | None) -> Data:
    """The data as another scaling gives it, see ``change_of``; the very same where the two are equal. Without a
    scaling: unscaled.

    Raises InputError where that is not finite in float32.
    """
    old, width = data.scaling, data.x_train.shape[1]
    new = scaling or Scaling(np.zeros(width, np.float32), np.ones(width, np.float32))
    if np.array_equal(old.offset, new.offset) and np.array_equal(old.factor, new.factor):
        return data
    ratio, shift = change_of(old, new)

    def change(x: Array) -> Array:
        out = np.empty_like(x)
        with np.errstate(over="ignore"):
            for i in range(0, len(x), 4096):                  # in float64, a part at a time
                out[i:i + 4096] = x[i:i + 4096] * ratio + shift
        if not np.isfinite(out).all():
            raise InputError(f"teacher: its scaling takes {data.name} beyond float32; it needs a teacher for such "
                             f"inputs")
        return out

    return replace(data, x_train=change(data.x_train), x_validation=change(data.x_validation),
                   x_test=change(data.x_test), scaling=new)
