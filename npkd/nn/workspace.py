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
from scipy.linalg import blas

from npkd.arrays import Array, Backward
from npkd.errors import InputError
from npkd.nn.network import Layer, Network, check_sensitivities


class Dense:
    """dense in place. Formulas (D1) … (D4) of layers.py; BLAS counts columns first, so it sees every array transposed."""

    def __init__(self, params: Sequence[Array], gradient: Sequence[Array], rows: int) -> None:
        (self.w, self.b), (self.dw, self.db) = params, gradient
        self.by_columns = not self.w.flags.c_contiguous
        self.gemm = blas.sgemm if self.w.dtype == np.float32 else blas.dgemm
        self.gemv = blas.sgemv if self.w.dtype == np.float32 else blas.dgemv
        self.y = np.empty((rows, self.w.shape[0]), self.w.dtype)
        self.dx = np.empty((rows, self.w.shape[1]), self.w.dtype)
        self.ones = np.ones(rows, self.w.dtype)

    def forward(self, x: Array) -> Array:
        """y in this layer's buffer; x is kept for the backward half."""
        self.x, y = x, self.y[:len(x)]
        y[:] = self.b                                                                      # (D1)  y ← b, then
        if self.by_columns:
            self.gemm(1.0, self.w, x.T, 1.0, y.T, overwrite_c=1)                           # (D1)  y ← x wᵀ + 1 · y
        else:
            self.gemm(1.0, self.w.T, x.T, 1.0, y.T, trans_a=1, overwrite_c=1)              # (D1)  the same, w by rows
        return y

    def backward(self, dy: Array, beta: float, needs_dx: bool) -> Array:
        """dx, and gradient ← new + beta · gradient."""
        dx = self.dx[:len(dy)]
        if self.by_columns:
            if needs_dx:
                self.gemm(1.0, self.w, dy.T, 0.0, dx.T, trans_a=1, overwrite_c=1)          # (D2)
            self.gemm(1.0, dy.T, self.x.T, beta, self.dw, trans_b=1, overwrite_c=1)        # (D3)
        else:
            if needs_dx:
                self.gemm(1.0, self.w.T, dy.T, 0.0, dx.T, overwrite_c=1)                   # (D2)
            self.gemm(1.0, self.x.T, dy.T, beta, self.dw.T, trans_b=1, overwrite_c=1)      # (D3)
        self.gemv(1.0, dy.T, self.ones[:len(dy)], beta, self.db, overwrite_y=1)            # (D4)
        return dx


class Relu:
    """relu in place. Formulas (A1), (A2) of activations.py."""

    def __init__(self) -> None:
        self.y = self.dx = self.on = np.empty(0)

    def forward(self, x: Array) -> Array:
        """y in this layer's buffer; x is kept for the backward half."""
        if self.y.shape[1:] != x.shape[1:] or len(self.y) < len(x):
            self.y, self.dx, self.on = np.empty_like(x), np.empty_like(x), np.empty(x.shape, bool)
        return np.maximum(x, 0, out=self.y[:len(x)])                                       # (A1)

    def backward(self, dy: Array, beta: float, needs_dx: bool) -> Array:
        """dx, and gradient ← new + beta · gradient."""
        n = len(dy)
        on = np.greater(self.y[:n], 0, out=self.on[:n])
        return np.multiply(dy, on, out=self.dx[:n])                                        # (A2)


class Plain:
    """Any other op: its plain form, and its gradients added to what stands there."""

    def __init__(self, layer: Layer, gradient: Sequence[Array]) -> None:
        self.layer, self.gradient = layer, gradient
        self.closure: Backward

    def forward(self, x: Array, rng: np.random.Generator | None) -> Array:
        """y as the op gives it."""
        y, self.closure = self.layer.forward(x, rng)
        return y

    def backward(self, dy: Array, beta: float, needs_dx: bool) -> Array:
        """dx, and gradient ← new + beta · gradient."""
        dx, *dparams = self.closure(dy)
        for held, new in zip(self.gradient, dparams, strict=True):
            held[...] = new + beta * held if beta else new     # with β = 0 what stood there does not count, not even NaN
        return np.ascontiguousarray(dx)


def shaped(part: Array, shape: tuple[int, ...]) -> Array:
    """A view of ``part`` with that shape. Of a matrix the shorter axis runs fastest: gemm then shares its work out better."""
    if len(shape) == 2 and shape[0] < shape[1]:
        return part.reshape(shape[::-1]).T
    return part.reshape(shape)


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
        self.steps: list[Dense | Relu | Plain] = []
        layers, start = [], 0
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
            if layer.op == "dense":
                self.steps.append(Dense(views, gradient, rows))
            elif layer.op == "relu":
                self.steps.append(Relu())
            else:
                self.steps.append(Plain(layers[-1], gradient))
        self.network = Network(layers)
        self.activations: list[Array] = []
        self.rows = rows

    def forward(self, x: Array, rng: np.random.Generator | None = None) -> list[Array]:
        """Activations as from ``network(x, rng)``, in buffers that the next call overwrites. x (n, ...), contiguous, n ≤ rows."""
        activations = [x]
        for step in self.steps:
            y = step.forward(activations[-1], rng) if isinstance(step, Plain) else step.forward(activations[-1])
            activations.append(y)
        self.activations = activations
        return activations

    def backward(self, sensitivities: Mapping[int, Array], beta: float = 0.0) -> None:
        """gradient ← Σ over ``sensitivities`` of their gradients + beta · gradient. The sensitivity of x is not computed."""
        check_sensitivities(sensitivities, self.activations)
        last = max(sensitivities)
        for layout in self.layout[last:]:                       # not reached by any sensitivity
            for s in layout:
                self.gradient[s] = beta * self.gradient[s] if beta else 0
        first = next(i for i, layer in enumerate(self.network.layers) if layer.params)
        d = sensitivities[last]
        for i in reversed(range(first, last)):
            d = self.steps[i].backward(d, beta, needs_dx=i > first)
            if i in sensitivities:
                d += sensitivities[i]

    def adopt(self, network: Network) -> None:
        """Take over the running moments of ``network``, which is this workspace's own with nothing else changed."""
        self.network = network
        for step, layer in zip(self.steps, network.layers, strict=True):
            if isinstance(step, Plain):
                step.layer = layer


def predict(network: Network, x: Array, rows: int = 4096) -> Array:
    """The last activation for every example, as ``network.predict``, computed in a workspace: x (N, I) -> (N, C)."""
    if not len(x):
        raise InputError("predict: x has no examples; it needs at least one")
    space = Workspace(network, min(rows, len(x)))
    return np.concatenate([space.forward(np.ascontiguousarray(x[i:i + rows]))[-1].copy() for i in range(0, len(x), rows)])
