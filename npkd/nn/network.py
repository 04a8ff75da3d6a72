"""A network: a list of layers, each an op with its parameters.

Forward gives the activation after every layer; backward takes a sensitivity at any of them: hints need no hooks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from inspect import Parameter
from typing import Any

import numpy as np

from npkd.core.types import Array, Backward
from npkd.core.validation import InputError, formed, one_of
from npkd.nn import chain
from npkd.nn.normalisation import moments
from npkd.nn.ops import OPS, Op

ACTIVATIONS = tuple(name for name, op in OPS.items() if op.activation)
"""Names of the ops that may stand between layers of weights by themselves."""

Gradients = list[tuple[Array, ...]]
"""For each layer the gradients of its parameters, in their order."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One op of a network.

    op          name of the op, a key of OPS, or the row of an op of one's own (nn/ops.py)
    params      its trained arrays, in the order of its arguments: dense (w, b), gate (g,), batch_norm (gamma, beta)
    options     its static options: dropout {"rate": 0.5}, maxout {"pieces": 2}; add {"back": k}: it adds the activation
                that stands k before its own input, and recall gives it
    running     of batch_norm: mean and variance (J,) that stand in for the batch's own when the network predicts
    Raises InputError for an unknown op, parameters of a wrong number or shape, or an option the op does not have.
    """

    op: str | Op
    params: tuple[Array, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    running: tuple[Array, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.op, Op) and self.op not in OPS:
            raise InputError(f"Layer: op is {self.op!r}; it must be one of {', '.join(OPS)}, or a row of your own")
        row = self.row
        if self.op is OPS.get(row.name):
            object.__setattr__(self, "op", row.name)             # of npkd's own ops the name says all
        if OPS.get(row.name, row) is not row:
            raise InputError(f"Layer: {row.name} is the name of one of npkd's ops; give the function another name")
        if len(self.params) != len(row.params):
            names = ", ".join(row.params)
            raise InputError(f"Layer: {row} got {len(self.params)} parameters; it needs {len(row.params)}: {names}")
        shapes = [np.shape(p) for p in self.params]
        if not row.fits(shapes):
            got = ", ".join(f"{name} {shape}" for name, shape in zip(row.params, shapes, strict=True))
            need = ", ".join(f"{n} ({axes.replace(' ', ', ')})" for n, axes in zip(row.params, row.shapes, strict=True))
            raise InputError(f"Layer: {row} got {got}; it needs {need}" + (
                "" if self.op is not row else ' (between axes the shapes of a row have spaces: "O I")'))
        unknown = sorted(set(self.options) - set(row.options))
        if unknown:
            raise InputError(f"Layer: {row} has no option {unknown[0]!r}; it has {', '.join(row.options) or 'none'}")
        for name, default in row.options.items():
            if default is Parameter.empty and name not in self.options:
                raise InputError(f"Layer: {row} needs the option {name!r}")
        if len(self.running) not in ((0, 2) if row.running else (0,)):
            raise InputError(f"Layer: {row} got {len(self.running)} running arrays; a batch_norm has two, others none")
        if row.skip and (not isinstance(self.back, int) or isinstance(self.back, bool) or self.back < 1):
            raise InputError(f"Layer: {row} got back {self.back!r}; it must be a whole number, at least 1")

    @property
    def row(self) -> Op:
        """The row of the op in the table."""
        return self.op if isinstance(self.op, Op) else OPS[self.op]

    @property
    def back(self) -> int:
        """Of an op with a skip (add, recall), how many layers before its own input that activation stands; else 0."""
        return self.options["back"] if self.row.skip else 0

    @property
    def grouped(self) -> bool:
        """Is it a convolution in several groups?"""
        return bool(self.settings.get("groups", 1) != 1)

    @property
    def settings(self) -> dict[str, Any]:
        """The options that the function takes, defaults filled in."""
        return {name: self.options.get(name, default) for name, default in self.row.options.items() if name != "back"}

    def forward(self, x: Array, rng: np.random.Generator | None, skip: Array | None = None) -> tuple[Array, Backward]:
        """The op on x (N, ...) and, of add or recall, the earlier activation ``skip``; with ``rng`` as in training."""
        options, row = self.settings, self.row
        if row.random:
            options["rng"] = rng
        if row.running and rng is None and self.running:
            options["running"] = (self.running[0], self.running[1])
        arguments = (x, *(() if skip is None else (skip,)), *self.params)
        pair = row.function(*arguments, **options)
        return pair if self.op is not row else formed(f"Layer: {row}", pair, arguments)       # an op of one's own


class Network:
    """Layers, one after the other.

        >>> rng = np.random.default_rng(0)
        >>> network = perceptron([64, 32, 10], rng)
        >>> activations, backward = network(rng.standard_normal((5, 64)).astype(np.float32))
        >>> [a.shape for a in activations]                        # input, dense, relu, dense: the logits
        [(5, 64), (5, 32), (5, 32), (5, 10)]
        >>> dx, gradients = backward({3: np.ones((5, 10), np.float32), 2: np.ones((5, 32), np.float32)})
        >>> [g.shape for g in gradients[0]]
        [(32, 64), (32,)]
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        if not layers:
            raise InputError("Network: got no layers; it needs at least one")
        self.layers, self.skips = tuple(layers), [layer.back for layer in layers]
        for i, layer in enumerate(self.layers):
            if layer.back > i:
                raise InputError(f"Network: layer {i} reads what is {layer.back} before its input, of {i} activations")
        trained = [(i, p) for i, layer in enumerate(self.layers) for p in layer.params]
        for (i, p), (k, q) in itertools.combinations(trained, 2):
            if np.shares_memory(p, q):
                raise InputError(f"Network: layers {i} and {k} share an array; give them copies")

    def forward(self, x: Array, rng: np.random.Generator | None = None) -> tuple[list[Array], list[Backward]]:
        """The activations of x (N, ...), as of ``__call__``, and the backward pass of each layer alone."""
        backwards: list[Backward] = []

        def apply(i: int, x: Array, skip: Array | None) -> Array:
            y, backward = self.layers[i].forward(x, rng, skip)
            backwards.append(backward)
            return y

        return chain.forward(x, self.skips, apply), backwards

    def __call__(self, x: Array, rng: np.random.Generator | None = None
                 ) -> tuple[list[Array], Callable[[Mapping[int, Array]], tuple[Array, Gradients]]]:
        """Activations forward, sensitivities backward.

        x (N, ...) -> ``activations``: x at 0, the output of layer i at i + 1; and ``backward``: {index: sensitivity of
        that activation} -> the sensitivity of x, and Gradients. With ``rng`` as in training (see Layer.forward).
        """
        activations, backwards = self.forward(x, rng)

        def backward(sensitivities: Mapping[int, Array]) -> tuple[Array, Gradients]:
            chain.check(sensitivities, activations)
            gradients: Gradients = [tuple(np.zeros_like(p) for p in layer.params) for layer in self.layers]

            def apply_back(i: int, dy: Array) -> tuple[Array, ...]:
                parts, inputs = backwards[i](dy), 2 if self.skips[i] else 1
                gradients[i] = parts[inputs:]
                return parts[:inputs]

            return chain.backward(sensitivities, self.skips, apply_back), gradients

        return activations, backward

    def predict(self, x: Array, rows: int = 4096) -> Array:
        """The last activation for x (N, ...), computed ``rows`` examples at a time, fewer of maps: logits (N, C)."""
        rows = at_once(self, rows)
        return np.concatenate([self(x[i:i + rows])[0][-1] for i in range(0, max(len(x), 1), rows)])

    @property
    def dense_layers(self) -> list[int]:
        """Indices of the dense layers."""
        return [i for i, layer in enumerate(self.layers) if layer.row.dense]

    @property
    def weight_layers(self) -> list[int]:
        """Indices of the layers of weights, dense and conv2d: those that make new neurons of those they read."""
        return [i for i, layer in enumerate(self.layers) if layer.row.weights]

    @property
    def widths(self) -> list[int]:
        """Number of inputs (channels), then of outputs of each layer of weights: [784, 300, 100, 10]."""
        w = [self.layers[i].params[0] for i in self.weight_layers]
        return [w[0].shape[-1], *(len(a) for a in w)] if w else []

    def replace(self, changed: Mapping[int, Layer]) -> Network:
        """A network with some layers changed, the others shared with this one."""
        return Network([changed.get(i, layer) for i, layer in enumerate(self.layers)])

    def astype(self, dtype: Any) -> Network:
        """A copy whose arrays have another dtype."""
        return self.mapped(lambda a: a.astype(dtype))

    def copy(self) -> Network:
        """The same network in arrays of its own."""
        return self.mapped(lambda a: a.copy())

    def mapped(self, change: Callable[[Array], Array]) -> Network:
        """The network with every array changed."""
        return Network([replace(layer, params=tuple(map(change, layer.params)),
                                running=tuple(map(change, layer.running))) for layer in self.layers])


def convolves(network: Network) -> bool:
    """Has the network convolutions?"""
    return any((layer.row.weights and not layer.row.dense) or layer.row.depthwise for layer in network.layers)


def reads_maps(network: Network) -> bool:
    """Does the network read maps, without an ``unflatten`` in front?"""
    return bool(next((layer.row.maps for layer in network.layers if layer.row.maps is not None), False))


def at_once(network: Network, rows: int) -> int:
    """How many examples to predict at a time: ``rows``, fewer where there are maps, which are large."""
    return min(rows, 256) if convolves(network) else rows


def dense_layer(inputs: int, outputs: int, rng: np.random.Generator, dtype: Any = np.float32) -> Layer:
    """A dense layer to start from: weights from N(0, 2/I), biases zero (He et al. 2015, for layers of relu)."""
    w = rng.standard_normal((outputs, inputs)) * np.sqrt(2 / inputs)
    return Layer("dense", (w.astype(dtype), np.zeros(outputs, dtype)))


def perceptron(widths: Sequence[int], rng: np.random.Generator, *, activation: str = "relu",
               dropout_rates: Sequence[float] = (), dtype: Any = np.float32) -> Network:
    """A multi-layer perceptron: dense layers with an activation between them, the last one giving logits.

    widths          inputs, hidden widths, outputs: [784, 300, 100, 10]
    activation      one of ACTIVATIONS
    dropout_rates   one for the inputs and one behind each hidden layer, or none at all; a rate of 0 adds no layer
    Raises InputError unless there are two widths or more, all positive.
    """
    if len(widths) < 2 or min(widths) < 1:
        raise InputError(f"perceptron: widths is {list(widths)}; it needs two or more positive numbers")
    one_of("perceptron", "activation", activation, ACTIVATIONS)
    if dropout_rates and len(dropout_rates) != len(widths) - 1:
        raise InputError(f"perceptron: got {len(dropout_rates)} dropout rates; {len(widths) - 1} are needed")
    layers: list[Layer] = []
    for i, (inputs, outputs) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        if dropout_rates and dropout_rates[i]:
            layers.append(Layer("dropout", options={"rate": float(dropout_rates[i])}))
        layers.append(dense_layer(inputs, outputs, rng, dtype))
        if i < len(widths) - 2:
            layers.append(Layer(activation))
    return Network(layers)


def observe(network: Network, activations: Sequence[Array], momentum: float = 0.1) -> Network:
    """The network with the running moments of its batch_norm layers moved towards those of a batch.

        running ← (1 − momentum) · running + momentum · batch                         (B7)

    ``activations`` are those of ``network`` on that batch. (PyTorch moves the variance towards N/(N−1) of (B1).)
    """
    changed = {}
    for i, layer in enumerate(network.layers):
        if layer.row.running:
            batch = moments(activations[i])
            old = layer.running or batch
            changed[i] = replace(layer, running=tuple(((1 - momentum) * r + momentum * m).astype(r.dtype)      # (B7)
                                                      for r, m in zip(old, batch, strict=True)))
    return network.replace(changed)
