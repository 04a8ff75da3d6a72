"""The same network, the same numbers, in memory that is set up once: what training runs on.

The plain form (network.py) allocates every result; this one keeps a buffer for each and does all matrix products in
place. Its gradients come as ``gradient ← new + β · gradient``, which is what the β of gemm computes anyway: with β = 0
that is the gradient, with β = μ it is the velocity of momentum, for nothing. tests/nn/fast/test_workspace.py holds it
equal to the plain form; docs/4-training.md shows what each of these choices is worth.

SciPy and NumPy carry an OpenBLAS each, with a pool of threads each, and two pools in one loop fight for the cores. The
products of dense layers are SciPy's. Those of maps are small and come in stacks, which NumPy computes; a network of
maps therefore keeps either pool to one thread, and where it has two cores it shares out the examples. Dense layers have
one thread where their products are small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from npkd.core.blas_threads import single_thread, threads_for
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.nn import chain, cost
from npkd.nn.fast.buffered import BufferedNetwork
from npkd.nn.fast.maps import FEW_EXAMPLES
from npkd.nn.fast.momentum import VelocityInGradient
from npkd.nn.fast.steps import Plain
from npkd.nn.fast.threads import TwoThreads, threads
from npkd.nn.network import Network, at_once, convolves, observe
from npkd.nn.optimisers import SGD, Optimiser, State

T = TypeVar("T")

USUAL_BATCH = 128
"""A usual batch: by its largest product a network is one whose products BLAS may share among threads, or not."""

SPLIT_MACS = 80_000_000
"""With fewer multiply-accumulates than these in a batch a second core costs more than it brings."""


def shaped(part: Array, shape: tuple[int, ...]) -> Array:
    """A view of ``part`` with that shape. Of a matrix the shorter axis runs fastest: gemm then shares its work out
    better. Of the weights of a convolution it is the output channel, so that what one row of the kernel weighs is a
    matrix (kw·C, F).
    """
    if len(shape) == 2 and shape[0] < shape[1]:
        return part.reshape(shape[::-1]).T
    if len(shape) == 4:
        return part.reshape(*shape[1:], shape[0]).transpose(3, 0, 1, 2)
    return part.reshape(shape)


class JoinedActivations(Sequence[Array]):
    """The activations of two halves of the examples, each concatenated when it is first asked for: few are."""

    def __init__(self, x: Array, halves: Sequence[list[Array]]) -> None:
        self.halves, self.whole = halves, {0: x}

    def __len__(self) -> int:
        return len(self.halves[0])

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(len(self))[i]]
        i = range(len(self))[i]
        if i not in self.whole:
            self.whole[i] = np.concatenate([half[i] for half in self.halves])
        return self.whole[i]


class Workspace:
    """A network laid out for training.

    network      the same layers, their parameters now views of one vector
    parameters   (P,) that vector: an optimiser's step is one call on it
    gradient     (P,) the gradients in the same order, after ``backward``
    layout       for each layer, for each of its parameters, its slice of the vector

    Where the network has maps and enough to do, half of the examples are computed on a second core: each half has
    buffers and gradients of its own, and the gradients are added up. ``with workspace.blas:`` is the time in which
    BLAS uses as many threads as the network's products are worth.
    The given network is not changed. Raises InputError unless all its arrays are float32 or all float64.
    """

    def __init__(self, network: Network, rows: int) -> None:
        arrays = [p for layer in network.layers for p in layer.params]
        dtypes = {a.dtype for a in arrays}
        if len(dtypes) != 1 or not dtypes <= {np.dtype(np.float32), np.dtype(np.float64)}:
            raise InputError(f"Workspace: parameters are {sorted(map(str, dtypes))}; all must be float32, or all "
                             f"float64")
        self.parameters = np.empty(sum(a.size for a in arrays), dtypes.pop())
        self.gradient = np.zeros_like(self.parameters)
        self.layout: list[list[slice]] = []
        layers, start = [], 0
        for layer in network.layers:
            self.layout.append([])
            for p in layer.params:
                self.layout[-1].append(slice(start, start + p.size))
                start += p.size
            layers.append(replace(layer,
                                  params=self.views(self.parameters, [p.shape for p in layer.params], self.layout[-1])))
            for view, p in zip(layers[-1].params, layer.params, strict=True):
                view[...] = p
        self.network, self.rows = Network(layers), rows
        self.two_threads = TwoThreads() if convolves(network) and threads() > 1 and rows >= 2 * FEW_EXAMPLES else None
        self.blas: AbstractContextManager[None] = single_thread if convolves(network) else threads_for(
            min(rows, USUAL_BATCH) * max(p.size for p in arrays))
        self.single, self.halves = self.buffered(self.gradient, rows, shared=False), list[BufferedNetwork]()
        if self.two_threads is not None:
            self.other, half = np.zeros_like(self.gradient), rows - rows // 2
            self.halves = [self.buffered(vector, half, shared=True) for vector in (self.gradient, self.other)]
        self.independent = not any(layer.row.random or layer.row.running for layer in network.layers)
        self.observes = any(layer.row.running for layer in network.layers)
        self.macs, self.shape, self.beta = 0, (), 0.0
        self.activations: Sequence[Array] = []

    @staticmethod
    def views(vector: Array, shapes: Sequence[tuple[int, ...]], places: Sequence[slice]) -> tuple[Array, ...]:
        """Parts of a vector in these shapes."""
        return tuple(shaped(vector[place], shape) for place, shape in zip(places, shapes, strict=True))

    def buffered(self, gradient: Array, rows: int, shared: bool) -> BufferedNetwork:
        """The network in buffers for so many examples; its gradients go to this vector."""
        shapes = [[p.shape for p in layer.params] for layer in self.network.layers]
        gradients = [self.views(gradient, *both) for both in zip(shapes, self.layout, strict=True)]
        return BufferedNetwork(self.network, gradients, rows, shared)

    def splits(self, x: Array, rng: np.random.Generator | None) -> bool:
        """Are these examples computed in two halves?"""
        if len(x) < 2 * FEW_EXAMPLES or not (self.independent or rng is None):
            return False
        if self.shape != x.shape[1:]:
            self.shape, self.macs = x.shape[1:], cost.of(self.network, x.shape[1:]).macs
        return len(x) * self.macs >= SPLIT_MACS

    def forward(self, x: Array, rng: np.random.Generator | None = None) -> Sequence[Array]:
        """Activations as from ``network(x, rng)``, in buffers that the next call overwrites. x (n, ...), contiguous, n
        ≤ rows.

        Raises InputError for more examples than ``rows``, for x of a wider dtype than the network's, which would be
        rounded, and where x does not fit the first layer that asks for a shape.
        """
        if len(x) > self.rows:
            raise InputError(f"Workspace: got {len(x)} examples; it was made for {self.rows} rows at most")
        dtype = self.parameters.dtype
        if x.dtype != dtype and x.dtype.kind == "f" and np.result_type(x.dtype, dtype) != dtype:
            raise InputError(f"Workspace: x is {x.dtype} but the network is {dtype}, which would round it; convert one "
                             f"of them with astype")
        with self.blas:
            if self.two_threads is not None and self.splits(x, rng):
                halves = self.both(lambda half, part: half.forward(x[part], rng), len(x))
                self.activations = JoinedActivations(x, halves)
            else:
                self.activations = self.single.forward(x, rng)
        return self.activations

    def both(self, work: Callable[[BufferedNetwork, slice], T], n: int) -> list[T]:
        """What one half does with the first half of n examples, and the other with the second, at the same time."""
        assert self.two_threads is not None
        (one, other), parts = self.halves, (slice(n // 2), slice(n // 2, n))
        return self.two_threads.both(lambda: work(one, parts[0]), lambda: work(other, parts[1]))

    def begin(self, optimiser: Optimiser, *, separate: bool) -> State:
        """State of a run of an optimiser over the parameters. SGD's velocity is the gradient itself, unless
        ``separate`` asks for the gradient, as clipping needs it, or Nesterov's form does: ``backward`` then adds to μ
        times what it finds.
        """
        if type(optimiser) is SGD and not (separate or optimiser.nesterov):
            self.beta = optimiser.momentum
            return VelocityInGradient(optimiser, self.gradient)
        self.beta = 0.0
        return optimiser.begin(self.parameters)

    def of_weights(self, vector: float | Array, layer: int) -> float | Array:
        """The part of a vector (P,) that belongs to the first parameter of a layer, in its shape; a number stays a
        number."""
        if not isinstance(vector, np.ndarray):
            return vector
        return shaped(vector[self.layout[layer][0]], self.network.layers[layer].params[0].shape)

    def backward(self, sensitivities: Mapping[int, Array], beta: float | None = None, *,
                 inputs: bool = False) -> Array | None:
        """gradient ← Σ over ``sensitivities`` of their gradients + beta · gradient, beta 0 or what ``begin`` chose
        unless told.

        Returns the sensitivity of x with ``inputs``; else it is not computed.
        Sensitivities of another dtype than the network's are rounded to it.
        """
        chain.check(sensitivities, self.activations)
        kept = self.beta if beta is None else beta
        given = {i: d.astype(self.parameters.dtype, copy=False) for i, d in sensitivities.items()}

        def back(half: BufferedNetwork, part: slice) -> Array:
            return half.backward({i: d[part] for i, d in given.items()}, 0.0 if half in self.halves[1:] else kept,
                                 inputs)

        with self.blas:
            if isinstance(self.activations, JoinedActivations):
                parts = self.both(back, len(self.activations[0]))
                self.gradient += self.other
            else:
                parts = [back(self.single, slice(None))]
        return np.concatenate(parts) if inputs else None

    def observe(self) -> None:
        """Move the running moments of every batch_norm towards those of the last ``forward`` (B7)."""
        if self.observes:
            self.adopt(observe(self.network, self.activations))

    def adopt(self, network: Network) -> None:
        """Take over the running moments of ``network``, which is this workspace's own with nothing else changed."""
        self.network = network
        for buffered in (self.single, *self.halves):
            for step, layer in zip(buffered.steps, network.layers, strict=True):
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
    return np.concatenate([space.forward(np.ascontiguousarray(x[i:i + rows]))[-1].copy()
                           for i in range(0, len(x), rows)])
