"""A model of any origin as the float32 network that is compressed, or asked: checked against the data, reading rows."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace

import numpy as np

from npkd.compression.quantization import short
from npkd.core.grids import grid
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.datasets import Data
from npkd.nn import cost
from npkd.nn.fast.workspace import predict
from npkd.nn.model import Model, same_maps
from npkd.nn.network import Layer, Network, convolves, reads_maps
from npkd.nn.scaling import Scaling
from npkd.surgery.dependency import DependencyGroup, dependency_groups
from npkd.surgery.folding import inserted, skipped, without


def prunable(model: Model, data: Data, who: str) -> tuple[Network, list[DependencyGroup]]:
    """The network of a model, see ``adapt``, and its dependency groups. Raises InputError where it has none."""
    network = adapt(model, data, who)
    groups = dependency_groups(network)
    if any(len(network.layers[i].params[0]) != group.width for group in groups for i in group.producers):
        raise InputError(f"{who} has layers that take several outputs to one neuron (maxout), which sizes do not count")
    return network, groups


def require_countable(network: Network, kind: str, who: str) -> None:
    """Raise InputError where a target counts parameters and a network has, or may get, more than weights and biases:
    what a constant channel adds under a padding becomes an ``offset``, see surgery (U3)."""
    for layer in network.layers if kind in ("parameters", "bytes") else ():
        weights = layer.row.weights or layer.row.depthwise
        linear = weights or layer.row.homogeneous == "all"                    # a maximum never takes the padding
        padded = linear and np.any(layer.options.get("padding", 0))
        if padded or (layer.params and not weights):
            what = f"{layer.op} with padding" if padded else layer.op
            raise InputError(f"{who} has {what}, and {kind} counts weights and biases alone; use macs or neurons")


def adapt(model: Model, data: Data, who: str) -> Network:
    """The network of a model in float32 without its dropout layers, behind an ``unflatten`` where it reads maps.
    Raises InputError where its inputs or classes are not those of the data."""
    with np.errstate(over="ignore"):
        network = model.network.astype(np.float32)
    for at in reversed([i for i, layer in enumerate(network.layers) if layer.op == "dropout"]):
        behind = network.layers[at + 1] if at + 1 < len(network.layers) else None
        if behind and behind.back == 1 and behind.row.recalls:
            network = without(network, at + 1)
        elif behind and behind.back == 1:
            raise InputError(f"{who} adds what a dropout takes to what it gives, a value to itself: leave it out")
        network = without(network, at)
    bare = next((i for i, layer in enumerate(model.network.layers) if layer.row.running and not layer.running), None)
    if bare is not None:
        raise InputError(f"{who} got layer {bare} ({model.network.layers[bare].op}) without running moments; it needs "
                         f"the mean and variance of each neuron, (J,), with which it predicts: give them, "
                         f"Layer(..., running=(mean, variance)), or train the network, which measures them")
    network = widened(reading_rows(network, data, who))
    if not all(np.isfinite(p).all() for layer in network.layers for p in layer.params):
        raise InputError(f"{who} has weights beyond float32; they must be finite in it")
    if not network.widths:
        raise InputError(f"{who} has no dense layer and no convolution; it needs at least one")
    inputs, width = data.x_train.shape[1], len(model.scaling.offset) if model.scaling else cost.input_shape(network)[0]
    if width > inputs or (width < inputs and (model.scaling or network.layers[0].op != "select")):
        raise InputError(f"{who} takes {width} inputs, but {data.name} has {inputs}; they must agree")
    shape = predict(network, np.zeros((1, inputs), np.float32)).shape[1:]
    if len(shape) != 1:
        raise InputError(f"{who} gives maps of shape {shape}; it must end in one logit for each class")
    if shape[0] != data.classes and not (shape[0] == 1 and data.classes == 2 and data.targets is None):
        words = ("tells {} classes apart, but {} has {}" if data.targets is None else "gives {} numbers, but {} has {}")
        raise InputError(f"{who} {words.format(shape[0], data.name, data.classes)}; they must agree")
    return standardised(network, data.targets)


def standardised(network: Network, targets: Scaling | None) -> Network:
    """The network whose outputs, numbers, are scaled, (y − o) · f: in its last layer, which must be one of weights.
    Raises InputError where it is another."""
    return network if targets is None else with_last(network, targets.factor, -targets.offset * targets.factor)


def restored(network: Network, targets: Scaling | None) -> Network:
    """The network whose outputs are unscaled, y / f + o: the inverse of ``standardised``."""
    return network if targets is None else with_last(network, 1 / targets.factor, targets.offset)


def with_last(network: Network, factor: Array, shift: Array) -> Network:
    """The network whose outputs y are y · factor + shift, (O,) each. Where it reads bytes, rows of weights that lie on
    a grid do so again: its steps times the factor, to the 16 bits that float32 and bytes leave."""
    last = len(network.layers) - 1
    if not network.layers[last].row.weights:
        raise InputError(f"the network ends in {network.layers[last].op}; where numbers are predicted the last layer "
                         "must be dense, so that they can be scaled")
    w, b = (p.astype(np.float64) for p in network.layers[last].params)
    params = (w.T * factor).T, b * factor + shift
    if any(layer.op == "quantize" for layer in network.layers):
        with suppress(InputError):
            step, q = grid(w, most=255)
            params = (q.T * short(step * factor)).T, params[1]
    dtype = network.layers[last].params[0].dtype
    return network.replace({last: replace(network.layers[last], params=tuple(p.astype(dtype) for p in params))})


def reading_rows(network: Network, data: Data, who: str) -> Network:
    """A network of rows: one that reads maps behind an ``unflatten``. Raises InputError where an example is no map."""
    same_maps(who, network, data.shape)
    if not reads_maps(network):
        return network
    if len(data.shape) not in (2, 3):
        raise InputError(f"{who} reads maps, and an example of {data.name} has the shape {tuple(data.shape)}; it must "
                         f"be (H, W) or (H, W, C)")
    return inserted(network, 0, Layer("unflatten", options={"shape": [*data.shape, 1][:3]}))


def widened(network: Network) -> Network:
    """The network whose dense layer reads a whole flattened map, with weights of zero, instead of a ``select`` of it
    that surgery left behind: every channel is then read through as many weights."""
    for i, (flat, some, layer) in enumerate(zip(network.layers, network.layers[1:], network.layers[2:], strict=False)):
        read = flat.row.flat and some.op == "select" and layer.row.dense and i + 2 not in skipped(network)
        if read and i and convolves(Network(network.layers[:i])):
            w = np.zeros((len(layer.params[0]), math.prod(cost.shapes(network)[i + 1])), layer.params[0].dtype)
            w[:, np.asarray(some.options["kept"])] = layer.params[0]
            return widened(without(network.replace({i + 2: replace(layer, params=(w, layer.params[1]))}), i + 1))
    return network


def unscaled(width: int) -> Scaling:
    """The scaling that changes nothing."""
    return Scaling(np.zeros(width, np.float32), np.ones(width, np.float32))


def same(a: Scaling, b: Scaling) -> bool:
    """Are two scalings equal?"""
    return np.array_equal(a.offset, b.offset) and np.array_equal(a.factor, b.factor)


def change_of(old: Scaling, new: Scaling) -> tuple[Array, Array]:
    """f'/f and (o − o') · f', float64: a scaling (o, f) becomes (o', f') by x' = x · f'/f + (o − o') · f'."""
    return new.factor.astype(np.float64) / old.factor, (old.offset.astype(np.float64) - new.offset) * new.factor


def rescaled_network(model: Model, data: Data, who: str) -> Network:
    """The network of a model, see ``adapt``, for the data as it is scaled: behind a gate and an offset, see
    ``change_of``, where the model's is another. Raises InputError where the first logits are beyond float32."""
    network, new = adapt(model, data, who), model.scaling or unscaled(data.x_train.shape[1])
    if same(data.scaling, new):
        return network
    with np.errstate(over="ignore", invalid="ignore"):
        ratio, shift = (a.astype(np.float32) for a in change_of(data.scaling, new))
        network = Network([Layer("gate", (ratio,)), Layer("offset", (shift,)), *network.layers])
        if not np.isfinite(predict(network, data.x_train[:1000])).all():
            raise InputError(f"{who}: its scaling takes {data.name} beyond float32; it needs to be for such inputs")
    return network


def rescaled(data: Data, scaling: Scaling | None) -> Data:
    """The data as another scaling gives it, None: unscaled; the same object where the two scalings are equal.
    Raises InputError where that is not finite in float32."""
    new = scaling or unscaled(data.x_train.shape[1])
    if same(data.scaling, new):
        return data
    (ratio, shift), name = change_of(data.scaling, new), data.name

    def change(x: Array) -> Array:
        out = np.empty_like(x)
        with np.errstate(over="ignore"):
            for i in range(0, len(x), 4096):                  # in float64, a part at a time
                out[i:i + 4096] = x[i:i + 4096] * ratio + shift
        if not np.isfinite(out).all():
            raise InputError(f"teacher: its scaling takes {name} beyond float32; it needs one for such inputs")
        return out

    return replace(data, x_train=change(data.x_train), x_validation=change(data.x_validation),
                   x_test=change(data.x_test), scaling=new, stream=data.stream and data.stream.then(change))
