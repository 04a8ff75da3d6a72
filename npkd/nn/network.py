"""A network: a list of layers, each an op with its parameters.

Forward gives the activation after every layer; backward takes a sensitivity at any of them. So a hint at a hidden
layer, a penalty on activations and an ordinary loss at the logits are all the same thing, and need no hooks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from npkd.core.types import Array, Backward
from npkd.core.validation import InputError, one_of
from npkd.nn.activations import maxout, relu, sigmoid, tanh
from npkd.nn.convolution import conv2d
from npkd.nn.layers import add, dense, dropout, flatten, gate, offset, select, unflatten
from npkd.nn.normalisation import batch_norm, moments
from npkd.nn.pooling import average_pool, global_average_pool, max_pool

OPS: Mapping[str, Callable[..., tuple[Array, Backward]]] = {
    op.__name__: op
    for op in (dense, relu, tanh, sigmoid, maxout, gate, select, dropout, flatten, unflatten, batch_norm,
                               conv2d, max_pool, average_pool, global_average_pool, add, offset)
}
"""The ops a network may be made of, by the name under which a file stores them."""

Gradients = list[tuple[Array, ...]]
"""For each layer the gradients of its parameters, in their order."""


def parameters_of(op: str) -> tuple[str, ...]:
    """Names of the parameters of an op, in order: its positional arguments after x (and skip). ``parameters_of("dense")
    == ("w", "b")``."""
    arguments = inspect.signature(OPS[op]).parameters.values()
    return tuple(a.name for a in arguments if a.kind is a.POSITIONAL_OR_KEYWORD and a.name not in ("x", "skip"))


@dataclass(frozen=True, eq=False)
class Layer:
    """One op of a network.

    op          name of the op: a key of OPS
    params      its trained arrays, in the order of its arguments: dense (w, b), gate (g,), batch_norm (gamma, beta)
    options     its static options: dropout {"rate": 0.5}, maxout {"pieces": 2}; add {"back": k}: it adds the activation
                that stands k before its own input
    running     batch_norm alone: mean and variance (J,) that stand in for the batch's own when the network predicts

    Raises InputError for an unknown op, a wrong number of parameters, or an option the op does not have.
    """

    op: str
    params: tuple[Array, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    running: tuple[Array, ...] = ()

    def __post_init__(self) -> None:
        if self.op not in OPS:
            raise InputError(f"Layer: op is {self.op!r}; it must be one of {', '.join(OPS)}")
        names = parameters_of(self.op)
        if len(self.params) != len(names):
            raise InputError(f"Layer: {self.op} got {len(self.params)} parameters; it needs {len(names)}: "
                             f"{', '.join(names)}")
        known = {a.name: a for a in inspect.signature(OPS[self.op]).parameters.values()
                 if a.kind is a.KEYWORD_ONLY and a.name not in ("rng", "running")}
        if self.op == "add":
            known = {"back": inspect.Parameter("back", inspect.Parameter.KEYWORD_ONLY)}
        unknown = sorted(set(self.options) - set(known))
        if unknown:
            raise InputError(f"Layer: {self.op} has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}")
        missing = [name for name, a in known.items() if a.default is a.empty and name not in self.options]
        if missing:
            raise InputError(f"Layer: {self.op} needs the option {missing[0]!r}")
        if len(self.running) not in ((0, 2) if self.op == "batch_norm" else (0,)):
            raise InputError(f"Layer: {self.op} got {len(self.running)} running arrays; a batch_norm has two, mean and "
                             f"variance, others none")
        if self.op == "add" and (not isinstance(self.back, int) or isinstance(self.back, bool) or self.back < 1):
            raise InputError(f"Layer: add got back {self.back!r}; it must be a whole number, at least 1")

    @property
    def back(self) -> int:
        """Of add, how many layers before its own input the activation stands that it adds; 0 of all others."""
        return self.options["back"] if self.op == "add" else 0

    def forward(self, x: Array, rng: np.random.Generator | None, skip: Array | None = None) -> tuple[Array, Backward]:
        """The op on x (N, ...), as npkd.nn describes it. With ``rng`` as in training: dropout draws from it and
        batch_norm uses the batch's own moments.

        ``skip``: of add, the earlier activation; its backward then gives two sensitivities.
        """
        if skip is not None:
            return add(x, skip)
        if self.op == "dropout":
            return dropout(x, rng=rng, **self.options)
        if self.op == "batch_norm" and rng is None and self.running:
            return batch_norm(x, *self.params, running=(self.running[0], self.running[1]), **self.options)
        return OPS[self.op](x, *self.params, **self.options)


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
        self.layers = tuple(layers)
        for i, layer in enumerate(self.layers):
            if layer.back > i:
                raise InputError(f"Network: layer {i} adds what stands {layer.back} before its input; there are only "
                                 f"{i} activations before it")

    def __call__(
        self, x: Array, rng: np.random.Generator | None = None
    ) -> tuple[list[Array], Callable[[Mapping[int, Array]], tuple[Array, Gradients]]]:
        """Activations forward, sensitivities backward.

        x (N, ...) -> ``activations``, a list: x itself at 0, the output of layer i at i + 1; and ``backward``, which
        takes
        {index: sensitivity of that activation} and returns the sensitivity of x and the gradients of every layer's
        parameters. With ``rng`` the network computes as in training (see Layer.forward).
        """
        activations, backwards = [x], []
        for i, layer in enumerate(self.layers):
            y, layer_backward = layer.forward(activations[-1], rng, activations[i - layer.back] if layer.back else None)
            activations.append(y)
            backwards.append(layer_backward)

        def backward(sensitivities: Mapping[int, Array]) -> tuple[Array, Gradients]:
            check_sensitivities(sensitivities, activations)
            gradients: Gradients = [tuple(np.zeros_like(p) for p in layer.params) for layer in self.layers]
            last = max(sensitivities)                       # nothing behind it is reached
            entering = dict(sensitivities)                  # those that do not come from the layer right behind
            d = entering[last]
            for i in reversed(range(last)):
                d, *dparams = backwards[i](d)
                if back := self.layers[i].back:             # a skip is one more sensitivity at an earlier activation
                    dskip, dparams = dparams[0], dparams[1:]
                    entering[i - back] = entering[i - back] + dskip if i - back in entering else dskip
                gradients[i] = tuple(dparams)
                if i in entering:
                    d = d + entering[i]
            return d, gradients

        return activations, backward

    def predict(self, x: Array, rows: int = 4096) -> Array:
        """The last activation for every example, computed ``rows`` at a time, fewer where there are maps: x (N, ...) ->
        logits (N, C)."""
        rows = at_once(self, rows)
        return np.concatenate([self(x[i:i + rows])[0][-1] for i in range(0, max(len(x), 1), rows)])

    @property
    def dense_layers(self) -> list[int]:
        """Indices of the dense layers."""
        return [i for i, layer in enumerate(self.layers) if layer.op == "dense"]

    @property
    def widths(self) -> list[int]:
        """Number of inputs, then of outputs of each layer of weights: [784, 300, 100, 10]; of LeNet-5, in channels, [1,
        20, 50, 500, 10]."""
        w = [layer.params[0] for layer in self.layers if layer.op in ("dense", "conv2d")]
        return [w[0].shape[-1], *(len(a) for a in w)] if w else []

    def replace(self, changed: Mapping[int, Layer]) -> Network:
        """A network with some layers changed, the others shared with this one."""
        return Network([changed.get(i, layer) for i, layer in enumerate(self.layers)])

    def astype(self, dtype: Any) -> Network:
        """A copy whose arrays have another dtype."""
        def convert(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
            return tuple(a.astype(dtype) for a in arrays)
        return Network([replace(layer, params=convert(layer.params), running=convert(layer.running))
                        for layer in self.layers])

    def copy(self) -> Network:
        """The same network in arrays of its own."""
        return Network([
            replace(layer, params=tuple(p.copy() for p in layer.params), running=tuple(r.copy() for r in layer.running))
            for layer in self.layers
        ])


def convolves(network: Network) -> bool:
    """Has the network convolutions?"""
    return any(layer.op == "conv2d" for layer in network.layers)


def reads_maps(network: Network) -> bool:
    """Does the network read maps, without an ``unflatten`` in front that makes them of rows?"""
    asking = ("conv2d", "max_pool", "average_pool", "global_average_pool", "dense", "flatten", "unflatten", "select")
    return next((layer.op for layer in network.layers if layer.op in asking), "dense") in asking[:4]


def at_once(network: Network, rows: int) -> int:
    """How many examples to predict at a time: ``rows``, and fewer where there are maps, which are large."""
    return min(rows, 256) if convolves(network) else rows


def check_sensitivities(sensitivities: Mapping[int, Array], activations: Sequence[Array]) -> None:
    """Raise InputError unless every sensitivity names an activation and has its shape."""
    if not sensitivities:
        raise InputError("Network: backward got no sensitivities; it needs at least one {index: array}")
    for i, d in sensitivities.items():
        if not 0 <= i < len(activations):
            raise InputError(f"Network: backward got a sensitivity at {i}; activations are numbered 0 … "
                             f"{len(activations) - 1}")
        if d.shape != activations[i].shape:
            raise InputError(f"Network: sensitivity {i} has shape {d.shape}; activation {i} has {activations[i].shape}")


def dense_layer(inputs: int, outputs: int, rng: np.random.Generator, dtype: Any = np.float32) -> Layer:
    """A dense layer to start from: weights from N(0, 2/I), biases zero (He et al. 2015, for layers of relu)."""
    w = rng.standard_normal((outputs, inputs)) * np.sqrt(2 / inputs)
    return Layer("dense", (w.astype(dtype), np.zeros(outputs, dtype)))


def perceptron(
    widths: Sequence[int], rng: np.random.Generator, *, activation: str = "relu", dropout_rates: Sequence[float] = (),
    dtype: Any = np.float32,
) -> Network:
    """A multi-layer perceptron: dense layers with an activation between them, the last one giving logits.

    widths          inputs, hidden widths, outputs: [784, 300, 100, 10]
    activation      "relu", "tanh" or "sigmoid"
    dropout_rates   one for the inputs and one behind each hidden layer, or none at all; a rate of 0 adds no layer
    Raises InputError unless there are two widths or more, all positive.
    """
    if len(widths) < 2 or min(widths) < 1:
        raise InputError(f"perceptron: widths is {list(widths)}; it needs two or more positive numbers")
    one_of("perceptron", "activation", activation, ("relu", "tanh", "sigmoid"))
    if dropout_rates and len(dropout_rates) != len(widths) - 1:
        raise InputError(f"perceptron: got {len(dropout_rates)} dropout rates; {len(widths) - 1} are needed, inputs "
                         f"first")
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

    ``activations`` are those of ``network`` on that batch. The variance is divided by N, as in (B1); PyTorch moves
    towards N/(N−1) of it.
    """
    changed = {}
    for i, layer in enumerate(network.layers):
        if layer.op == "batch_norm":
            batch = moments(activations[i])
            old = layer.running or batch
            changed[i] = replace(layer, running=tuple(((1 - momentum) * r + momentum * m).astype(r.dtype)      # (B7)
                                                      for r, m in zip(old, batch, strict=True)))
    return network.replace(changed)
