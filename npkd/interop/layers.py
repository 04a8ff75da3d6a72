"""Teachers of any origin as networks of npkd: their dense layers, checked; and a change of units of what they read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError, one_of
from npkd.data.batches import plain
from npkd.interop import sklearn
from npkd.interop.graph import HEADS
from npkd.nn.fast.workspace import predict
from npkd.nn.model import Model
from npkd.nn.network import ACTIVATIONS, Layer, Network

APART = 32
"""Ratio of a feature's weights to the median ones, or its inverse, above which the feature gets its unit."""


@dataclass(frozen=True, eq=False)
class Layers:
    """A network of another library: its dense layers, and the function that it is, to check that copy.

    layers      (w, b) for each dense layer in order, w (O, I), b (O,) or None: whatever NumPy can read as arrays
    answers     x (n, ...) float32, in the shape in which examples are given, -> (n, C): logits, their softmax or
                log-softmax, of a single one the sigmoid, or numbers; None: nothing is checked
    activation  between the layers: "relu", "tanh", "gelu" or another one of nn.network.ACTIVATIONS
    """

    layers: Sequence[tuple[Any, Any]]
    answers: Callable[[Array], Any] | None = None
    activation: str = "relu"


Teacher = Network | Model | Layers | Sequence[tuple[Any, Any]]
"""What can be compressed: npkd's own network, with its scaling or without, or the dense layers of any other."""


def model_of(teacher: Teacher) -> Model:
    """The teacher as a network, with its scaling if it has one; ``about["head"]`` tells a sigmoid behind its
    outputs, which is left out. Raises InputError for anything else."""
    if type(teacher).__module__.partition(".")[0] == "sklearn":
        teacher = sklearn.read(teacher)
    if isinstance(teacher, (list, tuple)):
        teacher = Layers(teacher)
    if isinstance(teacher, Layers):
        teacher = from_layers(teacher.layers, teacher.activation)
    model = Model(teacher) if isinstance(teacher, Network) else teacher
    if not isinstance(model, Model):
        more = "; a function alone does not show its layers: give npkd.Layers(layers, answers=function)"
        raise InputError(f"compress: the teacher is of type {type(teacher).__name__}; it must be a network of npkd, "
                         f"a list of (w, b), or Layers{more * callable(teacher)}")
    layers = list(model.network.layers)
    while layers and layers[0].row.flat:
        del layers[0]                                                 # examples come flat
    if not any(layer.row.weights for layer in layers):
        raise InputError("compress: the teacher has no dense layer; its neurons are what is removed")
    about = dict(model.about)
    if len(layers) > 1 and layers[-1].op == "sigmoid":
        del layers[-1]                                                # a student gives the logits
        about["head"] = "sigmoid"
    return Model(Network(layers), model.scaling, about)


def outputs_of(network: Network) -> int:
    """How many outputs the last layer of weights makes, with what a maxout behind it leaves of them."""
    last = network.weight_layers[-1]
    return int(network.widths[-1] // math.prod(layer.options["pieces"] for layer in network.layers[last:]
                                               if layer.op == "maxout"))


def from_layers(layers: Sequence[tuple[Any, Any]], activation: str) -> Network:
    """A perceptron of dense layers (w (O, I), b (O,) or None), float32. Raises InputError for shapes that misfit."""
    one_of("compress", "activation", activation, ACTIVATIONS)
    chain: list[Layer] = []
    need = ("each layer must be a pair (w, b), w (O, I) with the outputs of the layer before as I, b (O,); "
            "a w that is stored as (I, O) is given as w.T")
    for k, pair in enumerate(layers):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InputError(f"compress: layer {k} of the teacher is {type(pair).__name__}, not a pair; {need}")
        w = plain(pair[0])
        b = np.zeros(w.shape[:1]) if pair[1] is None else plain(pair[1])
        before = chain[-1].params[0].shape[0] if chain else None
        if w.ndim != 2 or not w.size or b.shape != w.shape[:1] or (before is not None and w.shape[1] != before):
            follows = "" if before is None else f" behind {before} outputs"
            raise InputError(f"compress: layer {k} of the teacher has w {w.shape} and b {b.shape}{follows}; {need}")
        if not (np.issubdtype(w.dtype, np.number) and np.issubdtype(b.dtype, np.number)):
            raise InputError(f"compress: layer {k} of the teacher: {w.dtype} and {b.dtype}; w and b must hold numbers")
        with np.errstate(over="ignore"):
            params = np.ascontiguousarray(w, np.float32), np.ascontiguousarray(b, np.float32)
        chain += [Layer(activation)] * bool(chain) + [Layer("dense", params)]
    if not chain:
        raise InputError(f"compress: the teacher has no layers; {need}")
    return Network(chain)


def require_agreement(answers: Callable[[Array], Any], network: Network, x: Array) -> None:
    """Raise InputError unless a function gives, on x (n, ...), a network's logits, their softmax or log-softmax."""
    z = predict(network, x.reshape(len(x), -1)).astype(np.float64)
    given = plain(answers(x))
    given = given[:, None] if given.ndim == 1 and z.shape[1] == 1 else given
    if given.shape != z.shape or not np.issubdtype(given.dtype, np.floating) or not np.isfinite(given).all():
        raise InputError(f"compress: the function answers {len(x)} examples with {given.dtype} of shape {given.shape}; "
                         f"it must give finite logits {z.shape}")
    largest = max(float(np.abs(z).max()), np.finfo(np.float32).tiny)
    centred = [a - a.mean(axis=1, keepdims=True) for a in (given.astype(np.float64), z)]       # as of a log-softmax
    centred = [given.astype(np.float64), z] if z.shape[1] == 1 else centred     # numbers, or the sigmoid of a logit
    soft = HEADS["sigmoid" if z.shape[1] == 1 else "softmax"](z)
    off = np.minimum(np.abs(centred[0] - centred[1]).max() / largest, np.abs(given - soft).max())
    if off > 1e-3:                                            # relative to the largest logit
        n = int(np.abs(centred[0] - centred[1]).max(axis=1).argmax())
        raise InputError(f"compress: the function and the layers given with it do not compute the same: on example {n} "
                         f"it says {shown(given[n])}, they say {shown(z[n])}; look at the order of the layers, w as "
                         "(O, I), the activation between them, and the scaling of x")


def shown(a: Array) -> str:
    """The first numbers of a vector."""
    return "(" + ", ".join(f"{value:.3g}" for value in a[:3]) + (", …)" if len(a) > 3 else ")")


def adds_inputs(network: Network) -> bool:
    """Does more than the first layer of weights read what it reads, or made it with a bias: its units then stay."""
    first = network.weight_layers[0]
    depthwise = any(layer.row.depthwise for layer in network.layers[:first])
    return depthwise or any(layer.back and i - layer.back <= first for i, layer in enumerate(network.layers))


def unit_of(root_mean_square: float) -> float:
    """A power of two by which x is divided while it is learnt from; 1 where it has the size of ordinary inputs."""
    if root_mean_square == 0 or 0.1 <= root_mean_square <= 4:
        return 1.0
    return 2.0 ** min(max(round(math.log2(root_mean_square)), -100), 100)


def units_of(network: Network) -> Array | None:
    """Powers of two (I,) float32 by which a perceptron's inputs are divided while it is learnt from; None: all are 1.

    A column of the first layer whose norm is more than APART times the median one, or less than its APART-th, tells the
    unit of its feature, the other way round. What no weight reads has none."""
    first = network.layers[0]
    if not first.row.dense or adds_inputs(network):
        return None
    size = np.linalg.norm(first.params[0].astype(np.float64), axis=0)
    read = size > 0
    if not read.any():
        return None
    ratio = np.where(read, np.median(size[read]), 1) / np.where(read, size, 1)
    apart = (ratio > APART) | (ratio < 1 / APART)
    units = np.where(apart, 2.0 ** np.clip(np.round(np.log2(ratio)), -100, 100), 1.0).astype(np.float32)
    return units if apart.any() else None


def scaled(network: Network, factor: float | Array) -> Network:
    """The network that gives on x / factor what ``network``, which must not add its inputs to anything, gives on x.
    factor  one for all inputs, or of a perceptron (I,); powers of two make that exact (but for denormals)
    Raises InputError where that is beyond float32."""
    k, front = network.weight_layers[0], network.layers[0]
    w, b = network.layers[k].params
    factor = np.asarray(factor, w.dtype)
    with np.errstate(over="ignore"):
        w = w * (factor[np.asarray(front.options["kept"])] if factor.ndim and front.op == "select" else factor)
    if not np.isfinite(w).all():
        raise InputError(f"compress: the first layer times {factor.max():g}, the unit of x, is beyond float32: rescale")
    quantised = {i: replace(layer, options={**layer.options, "step": layer.options["step"] / float(factor)})
                 for i, layer in enumerate(network.layers[:k]) if layer.op == "quantize"}
    return network.replace({**quantised, k: replace(network.layers[k], params=(w, b))})
