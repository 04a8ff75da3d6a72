"""A network's layers one after another, each with buffers of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from npkd.core.types import Array
from npkd.nn import chain
from npkd.nn.convolution import pair
from npkd.nn.fast.maps import Conv, MaxPool
from npkd.nn.fast.products import STACK_BYTES, STACK_BYTES_OF_TWO
from npkd.nn.fast.steps import Dense, Plain, Relu, Reshape, update_gradient
from npkd.nn.network import Layer, Network

Step = Dense | Relu | Reshape | Conv | MaxPool | Plain


def step_of(layer: Layer, gradient: Sequence[Array], rows: int, shared: bool) -> Step:
    """The fastest step for a layer; any that is not listed is computed in its plain form."""
    stack_bytes = STACK_BYTES_OF_TWO if shared else STACK_BYTES
    if layer.op == "dense":
        return Dense(layer.params, gradient, rows, shared)
    if layer.op == "conv2d" and not layer.grouped:
        return Conv(layer, gradient, stack_bytes)
    if layer.op == "relu":
        return Relu()
    if layer.op in ("flatten", "unflatten"):
        return Reshape(layer)
    if layer.op == "max_pool":
        size, stride, padding = (layer.settings[name] for name in ("size", "stride", "padding"))
        sides = pair("max_pool", "size", size, 1)
        apart = stride is None or pair("max_pool", "stride", stride, 1) == sides        # windows that do not overlap
        if apart and pair("max_pool", "padding", padding, 0) == (0, 0):
            return MaxPool(sides, stack_bytes)
    return Plain(layer, gradient)


class BufferedNetwork:
    """The layers of a network in buffers for up to ``rows`` examples; ``gradients`` has for each layer one a parameter.

    ``shared``: it is one of two that compute at the same time: few long calls, without Python's lock.
    """

    def __init__(self, network: Network, gradients: Sequence[Sequence[Array]], rows: int, shared: bool) -> None:
        self.gradients, self.skips = gradients, network.skips
        self.steps = [step_of(*pair, rows, shared) for pair in zip(network.layers, gradients, strict=True)]
        self.first = next(i for i, layer in enumerate(network.layers) if layer.params)

    def forward(self, x: Array, rng: np.random.Generator | None) -> list[Array]:
        """Activations, that of the input first."""
        def apply(i: int, x: Array, skip: Array | None) -> Array:
            step = self.steps[i]
            return step.forward(x, rng, skip) if isinstance(step, Plain) else step.forward(x)

        return chain.forward(x, self.skips, apply)

    def backward(self, sensitivities: Mapping[int, Array], beta: float, inputs: bool) -> Array:
        """gradients ← those of the sensitivities + beta · gradients. The sensitivity of x with ``inputs``."""
        for gradient in self.gradients[max(sensitivities):]:    # not reached by any sensitivity
            update_gradient(gradient, [np.zeros_like(g) for g in gradient], beta)
        first = 0 if inputs else self.first

        def apply(i: int, dy: Array) -> tuple[Array, ...]:
            step = self.steps[i]
            dx = step.backward(dy, beta, needs_dx=inputs or i > first)
            return (dx, step.dskip) if isinstance(step, Plain) and step.layer.back else (dx,)

        return chain.backward(sensitivities, self.skips, apply, first, inputs)
