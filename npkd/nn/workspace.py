"""The same network, the same numbers, in memory that is set up once: what training runs on.

The plain form (network.py) allocates every result; this one keeps a buffer for each and does all matrix products in place, through
one BLAS. Its gradients come as ``gradient ← new + β · gradient``, which is what the β of gemm computes anyway: with β = 0 that is the
gradient, with β = μ it is the velocity of momentum, for nothing. tests/test_workspace.py holds it equal to the plain form; docs/4-training.md
shows what each of these choices is worth.

SciPy and NumPy carry an OpenBLAS each, with a pool of threads each, and two pools in one loop fight for the cores: every product here is
SciPy's, none is NumPy's ``@``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from npkd.arrays import Array
from npkd.errors import InputError
from npkd.nn.convolution import pair
from npkd.nn.network import Layer, Network, at_once, check_sensitivities
from npkd.nn.workspace_maps import Conv, MaxPool
from npkd.nn.workspace_steps import Dense, Plain, Relu, Reshape
from npkd.nn.workspace_threads import Pair

Step = Dense | Relu | Reshape | Conv | MaxPool | Plain


def shaped(part: Array, shape: tuple[int, ...]) -> Array:
    """A view of ``part`` with that shape. Of a matrix the shorter axis runs fastest: gemm then shares its work out better. Of the weights of a
    convolution it is the output channel, so that what one row of the kernel weighs is a matrix (kw·C, F).
    """
    if len(shape) == 2 and shape[0] < shape[1]:
        return part.reshape(shape[::-1]).T
    if len(shape) == 4:
        return part.reshape(*shape[1:], shape[0]).transpose(3, 0, 1, 2)
    return part.reshape(shape)


def step_of(layer: Layer, gradient: Sequence[Array], rows: int, two: Pair) -> Step:
    """The fastest step there is for a layer; the last resort is its plain form."""
    if layer.op == "dense":
        return Dense(layer.params, gradient, rows)
    if layer.op == "conv2d":
        return Conv(layer, gradient, two)
    if layer.op == "relu":
        return Relu()
    if layer.op in ("flatten", "unflatten"):
        return Reshape(layer)
    if layer.op == "max_pool":
        size, stride, padding = layer.options["size"], layer.options.get("stride"), layer.options.get("padding", 0)
        sides = pair("max_pool", "size", size, 1)
        if (stride is None or pair("max_pool", "stride", stride, 1) == sides) and pair("max_pool", "padding", padding, 0) == (0, 0):
            return MaxPool(sides, two)
    return Plain(layer, gradient)


class Workspace:
    """A network laid out for training.

    network      the same layers, their parameters now views of one vector
    parameters   (P,) that vector: an optimiser's step is one call on it
    gradient     (P,) the gradients in the same order, after ``backward``
    layout       for each layer, for each of its parameters, its slice of the vector

    The given network is not changed. Raises InputError unless all its arrays are float32 or all float64.
    """

    def __init__(self, network: Network, rows: int) -> None:
        arrays = [p for layer in network.layers for p in layer.params]
        dtypes = {a.dtype for a in arrays}
        if len(dtypes) != 1 or not dtypes <= {np.dtype(np.float32), np.dtype(np.float64)}:
            raise InputError(f"Workspace: parameters are {sorted(map(str, dtypes))}; all must be float32, or all float64")
        self.parameters = np.empty(sum(a.size for a in arrays), dtypes.pop())
        self.gradient = np.zeros_like(self.parameters)
        self.layout: list[list[slice]] = []
        self.steps: list[Step] = []
        layers, start, two = [], 0, Pair()
        for layer in network.layers:
            self.layout.append([])
            for p in layer.params:
                self.layout[-1].append(slice(start, start + p.size))
                start += p.size
            shapes = [p.shape for p in layer.params]
            views = tuple(shaped(self.parameters[s], shape) for s, shape in zip(self.layout[-1], shapes, strict=True))
            gradient = [shaped(self.gradient[s], shape) for s, shape in zip(self.layout[-1], shapes, strict=True)]
            for view, p in zip(views, layer.params, strict=True):
                view[...] = p
            layers.append(replace(layer, params=views))
            self.steps.append(step_of(layers[-1], gradient, rows, two))
        self.network = Network(layers)
        self.activations: list[Array] = []
        self.rows = rows

    def forward(self, x: Array, rng: np.random.Generator | None = None) -> list[Array]:
        """Activations as from ``network(x, rng)``, in buffers that the next call overwrites. x (n, ...), contiguous, n ≤ rows.

        Raises InputError for more examples than ``rows``, and where x does not fit the first layer that asks for a shape.
        """
        if len(x) > self.rows:
            raise InputError(f"Workspace: got {len(x)} examples; it was made for {self.rows} rows at most")
        activations = [x]
        for i, step in enumerate(self.steps):
            if isinstance(step, Plain):
                y = step.forward(activations[-1], rng, activations[i - step.layer.back] if step.layer.back else None)
            else:
                y = step.forward(activations[-1])
            activations.append(y)
        self.activations = activations
        return activations

    def backward(self, sensitivities: Mapping[int, Array], beta: float = 0.0, *, inputs: bool = False) -> Array | None:
        """gradient ← Σ over ``sensitivities`` of their gradients + beta · gradient.

        Returns the sensitivity of x with ``inputs``; else it is not computed.
        Sensitivities of another dtype than the network's are rounded to it.
        """
        check_sensitivities(sensitivities, self.activations)
        sensitivities = {i: d.astype(self.parameters.dtype, copy=False) for i, d in sensitivities.items()}
        last = max(sensitivities)
        for layout in self.layout[last:]:                       # not reached by any sensitivity
            for s in layout:
                self.gradient[s] = beta * self.gradient[s] if beta else 0
        first = 0 if inputs else next(i for i, layer in enumerate(self.network.layers) if layer.params)
        entering, d = dict(sensitivities), sensitivities[last]  # those that do not come from the layer right behind
        for i in reversed(range(first, last)):
            step = self.steps[i]
            d = step.backward(d, beta, needs_dx=inputs or i > first)
            if isinstance(step, Plain) and step.layer.back:
                at = i - step.layer.back
                entering[at] = entering[at] + step.dskip if at in entering else step.dskip
            if i in entering and (inputs or i > first):
                d = d + entering[i]                             # not in place: d may be a view of what the caller gave
        return d if inputs else None

    def adopt(self, network: Network) -> None:
        """Take over the running moments of ``network``, which is this workspace's own with nothing else changed."""
        self.network = network
        for step, layer in zip(self.steps, network.layers, strict=True):
            if isinstance(step, Plain):
                step.layer = layer


def predict(network: Network, x: Array, rows: int = 4096) -> Array:
    """The last activation for every example, as ``network.predict``, computed in a workspace: x (N, I) -> (N, C).

    ``rows`` at a time, and fewer where there are maps, which are large. Raises InputError without examples.
    """
    if not len(x):
        raise InputError("predict: x has no examples; it needs at least one")
    rows = at_once(network, rows)
    space = Workspace(network, min(rows, len(x)))
    return np.concatenate([space.forward(np.ascontiguousarray(x[i:i + rows]))[-1].copy() for i in range(0, len(x), rows)])
