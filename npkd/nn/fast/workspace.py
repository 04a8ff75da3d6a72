"""The same network, the same numbers, in memory that is set up once: what training runs on.

``backward`` leaves ``gradient ← new + β · gradient``, as gemm computes it: with β = 0 the gradient, with β = μ the
velocity of momentum. docs/book/6-training.md shows what each choice is worth, and which BLAS computes on which thread.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from npkd.core.blas_threads import single_thread, threads_for
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.nn import chain, cost
from npkd.nn.fast.buffered import BufferedNetwork
from npkd.nn.fast.maps import FEW_EXAMPLES
from npkd.nn.fast.steps import Plain
from npkd.nn.fast.threads import both, threads
from npkd.nn.network import Network, at_once, convolves, observe
from npkd.nn.optimisers import SGD, Optimiser, SGDState, State

T = TypeVar("T")

SPLIT_MACS = 80_000_000
"""With fewer multiply-accumulates than these in a batch a second core costs more than it brings."""


def shaped(part: Array, shape: tuple[int, ...]) -> Array:
    """A view of ``part`` with that shape. Fastest runs the shorter axis of a matrix, and the output channel of the
    weights of a convolution: a row of its kernel is then a matrix (kw·C, F)."""
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

    Where the network has maps and enough to do, half of the examples are computed on a second core, and the gradients
    are added up. Call it within ``with workspace.blas:``, where BLAS has as many threads as its products are worth.
    The given network is not changed. Raises InputError unless all its parameters are float32 or all float64.
    """

    def __init__(self, network: Network, rows: int) -> None:
        arrays = [p for layer in network.layers for p in layer.params]
        dtypes = {a.dtype for a in arrays}
        if len(dtypes) != 1 or not dtypes <= {np.dtype(np.float32), np.dtype(np.float64)}:
            of = {str(p.dtype): f"{layer.op} has {p.dtype}" for layer in network.layers for p in layer.params}
            raise InputError(f"network: of its parameters, {', '.join(of.values()) or 'there are none'}; all must be "
                             "float32 or all float64: give network.astype(np.float32)")
        self.parameters = np.empty(sum(a.size for a in arrays), dtypes.pop())
        self.gradient = np.zeros_like(self.parameters)
        stops = itertools.accumulate(a.size for a in arrays)
        slices = (slice(stop - a.size, stop) for a, stop in zip(arrays, stops, strict=True))
        self.layout = [[next(slices) for _ in layer.params] for layer in network.layers]
        self.network, self.rows = network, rows
        params = self.views(self.parameters)
        self.network = Network([replace(layer, params=p) for layer, p in zip(network.layers, params, strict=True)])
        for view, a in zip(itertools.chain(*params), arrays, strict=True):
            view[...] = a
        splits = convolves(network) and threads() > 1 and rows >= 2 * FEW_EXAMPLES
        self.helper = ThreadPoolExecutor(1)                            # starts a thread when it is first used
        self.blas = single_thread if convolves(network) else threads_for(rows * max(a.size for a in arrays))
        self.single = BufferedNetwork(self.network, self.views(self.gradient), rows, shared=False)
        self.other, half = np.zeros_like(self.gradient if splits else self.gradient[:0]), rows - rows // 2
        self.halves = [BufferedNetwork(self.network, self.views(vector), half, shared=True)
                       for vector in (self.gradient, self.other) if splits]
        self.observes = any(layer.row.running for layer in network.layers)
        self.independent = not (self.observes or any(layer.row.random for layer in network.layers))
        self.macs, self.shape, self.beta = 0, (), 0.0
        self.activations: Sequence[Array] = []

    def views(self, vector: Array) -> list[tuple[Array, ...]]:
        """For each layer the parts of a vector (P,) in the shapes of its parameters."""
        return [tuple(shaped(vector[place], p.shape) for place, p in zip(places, layer.params, strict=True))
                for places, layer in zip(self.layout, self.network.layers, strict=True)]

    def splits(self, x: Array, rng: np.random.Generator | None) -> bool:
        """Are these examples computed in two halves?"""
        if len(x) < 2 * FEW_EXAMPLES or not (self.independent or rng is None):
            return False
        if self.shape != x.shape[1:]:
            self.shape, self.macs = x.shape[1:], cost.of(self.network, x.shape[1:]).macs
        return len(x) * self.macs >= SPLIT_MACS

    def forward(self, x: Array, rng: np.random.Generator | None = None) -> Sequence[Array]:
        """Activations as from ``network(x, rng)``, in buffers that the next call overwrites: x (n, ...), contiguous.
        Raises InputError for n > rows, for x of a wider dtype than the network's, and where x does not fit a layer."""
        if len(x) > self.rows:
            raise InputError(f"Workspace: got {len(x)} examples; it was made for {self.rows} rows at most")
        dtype = self.parameters.dtype
        if x.dtype != dtype and x.dtype.kind == "f" and np.result_type(x.dtype, dtype) != dtype:
            raise InputError(f"network: x is {x.dtype} but the network is {dtype}, which would round it; "
                             "convert one of them with astype")
        if self.halves and self.splits(x, rng):
            self.activations = JoinedActivations(x, self.both(lambda half, i: half.forward(x[i], rng), len(x)))
        else:
            self.activations = self.single.forward(x, rng)
        return self.activations

    def both(self, work: Callable[[BufferedNetwork, slice], T], n: int) -> list[T]:
        """What one half does with the first half of n examples, and the other with the second, at the same time."""
        one, other = self.halves
        return both(self.helper, lambda: work(one, slice(n // 2)), lambda: work(other, slice(n // 2, n)))

    def begin(self, optimiser: Optimiser, *, separate: bool) -> State:
        """State of a run of an optimiser over the parameters. SGD's velocity is ``gradient`` itself, unless Nesterov's
        form or ``separate`` (clipping) needs the gradient alone."""
        if type(optimiser) is SGD and not (separate or optimiser.nesterov):
            self.beta = optimiser.momentum
            return SGDState(optimiser, self.gradient)
        self.beta = 0.0
        return optimiser.begin(self.parameters)

    def of_weights(self, vector: float | Array, layer: int) -> float | Array:
        """The part of a vector (P,) for the first parameter of a layer, in its shape; a number stays a number."""
        return self.views(vector)[layer][0] if isinstance(vector, np.ndarray) else vector

    def backward(self, sensitivities: Mapping[int, Array], beta: float | None = None, *,
                 inputs: bool = False) -> Array | None:
        """gradient ← Σ of the gradients from ``sensitivities`` + beta · gradient, beta by default as ``begin`` chose.
        Returns the sensitivity of x with ``inputs``. Sensitivities are rounded to the network's dtype."""
        chain.check(sensitivities, self.activations)
        rounded = {i: d.astype(self.parameters.dtype, copy=False) for i, d in sensitivities.items()}
        beta = self.beta if beta is None else beta
        if not isinstance(self.activations, JoinedActivations):
            dx = self.single.backward(rounded, beta, inputs)
            return dx.copy() if inputs else None

        def back(half: BufferedNetwork, part: slice) -> Array:
            first = half is self.halves[0]
            return half.backward({i: d[part] for i, d in rounded.items()}, beta if first else 0.0, inputs)

        parts = self.both(back, len(self.activations[0]))
        self.gradient += self.other
        return np.concatenate(parts) if inputs else None

    def observe(self) -> None:
        """Move the running moments of every batch_norm towards those of the last ``forward`` (B7)."""
        if self.observes:
            self.network = observe(self.network, self.activations)
            for buffered in (self.single, *self.halves):
                for step, layer in zip(buffered.steps, self.network.layers, strict=True):
                    if isinstance(step, Plain):
                        step.layer = layer


def predict(network: Network, x: Array, rows: int = 4096) -> Array:
    """The last activation for every example, as ``network.predict``, in buffers: x (N, ...) -> (N, C). ``rows`` at a
    time, fewer where there are maps. Raises InputError without examples."""
    if not len(x):
        raise InputError("predict: x has no examples; it needs at least one")
    rows = at_once(network, rows)
    space, starts = Workspace(network, min(rows, len(x))), range(0, len(x), rows)
    with space.blas:
        return np.concatenate([space.forward(np.ascontiguousarray(x[i:i + rows]))[-1].copy() for i in starts])
