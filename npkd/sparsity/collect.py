"""Statistics of every layer of weights, and the sensitivity of the logits to its outputs.

A convolution is a dense layer at every position: each patch is a row of H, its outputs a row of Z.
Derivation: docs/book/10-layer-by-layer.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
from scipy import linalg

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.stream import Stream
from npkd.nn import chain
from npkd.nn.convolution import Grid
from npkd.nn.fast.workspace import Workspace
from npkd.nn.network import Layer, Network
from npkd.sparsity.statistics import Statistics, merge

PROBES = 512
"""Random directions that stand for the classes of a network that has more and does not end in a dense layer."""

POSITIONS = 8
"""Positions of a map that are drawn for every example, since neighbouring patches are alike."""


def matrix(layer: Layer) -> Array:
    """The weights of a layer as a matrix (O, d), float64; of a convolution d = kh·kw·C, channels running fastest;
    of a depthwise one (J, kh·kw)."""
    w = np.moveaxis(layer.params[0], -1, 0) if layer.row.depthwise else layer.params[0]
    return np.asarray(w.reshape(len(w), -1), np.float64)


def columns_of(layer: Layer, unit: Array) -> Array:
    """The neuron that each column of ``matrix`` reads, (d,), from that of each entry of the last axis, unit (J,)."""
    return np.tile(unit, matrix(layer).shape[1] // len(unit))


def rows(layer: Layer, x: Array, z: Array, rng: np.random.Generator, positions: int) -> tuple[Array, Array]:
    """Inputs x and wanted outputs z of a layer as rows, (n, d) and (n, O).

    Of maps at most ``positions`` of each example are drawn, without replacement; all in order where there are not more.
    Raises InputError for a convolution in groups.
    """
    if layer.row.dense:
        return x, z
    if layer.grouped:
        raise InputError("statistics: a convolution in groups has no rows that all its outputs read; leave it as it is")
    steps = (layer.settings[name] for name in ("stride", "padding", "dilation"))
    grid = Grid("gather", x.shape[1:3], layer.params[0].shape[1:3], *steps)
    every, Q = z.shape[1] * z.shape[2], grid.positions[1]
    at = np.tile(np.arange(every), (len(x), 1))
    if positions < every:
        at = np.argsort(rng.random((len(x), every)), axis=1)[:, :positions]
    n, p, q = np.repeat(np.arange(len(x)), at.shape[1]), at.ravel() // Q, at.ravel() % Q
    around = grid.padded(x)
    patches = np.stack([around[n, row.start + p * grid.stride[0], column.start + q * grid.stride[1]]
                        for _, _, row, column in grid.offsets()], axis=1)                         # (n, kh·kw, C)
    return patches.reshape(len(n), -1), z[n, p, q]


def collect_statistics(student: Network, teacher: Network, batches: Callable[[], Iterable[Array]],
                       layers: Sequence[int], positions: int = POSITIONS) -> list[Statistics]:
    """Statistics of inputs of layers in the student and outputs of the same layers in the teacher, in one pass.

    positions   of a map that are drawn for each example, for a layer the same ones in every pass
    A Stream of shards with a client is read by its workers, part by part; else this process reads the batches.
    Raises InputError where there are no examples.
    """
    job = partial(collected, student, teacher, layers, positions)
    found: list[Statistics] = (batches.summed(job, both) if isinstance(batches, Stream) and batches.client
                               else job(batches, 0))
    if len(found) < len(layers):
        raise InputError("distil: the data has no examples; it needs at least one")
    return found


def both(one: list[Statistics], other: list[Statistics]) -> list[Statistics]:
    """The statistics of layers, of two parts of the examples together; [] stands for a part without examples."""
    return list(map(Statistics.__add__, one, other)) if one and other else one or other


def collected(student: Network, teacher: Network, layers: Sequence[int], positions: int,
              batches: Callable[[], Iterable[Array]], before: int) -> list[Statistics]:
    """``collect_statistics`` of the examples that follow ``before`` others, one layer after another; [] for none."""
    parts: list[list[Statistics]] = [[] for _ in layers]
    spaces: list[Workspace] = []                              # of the student and of the teacher
    drawn = list[np.random.Generator]()
    for x in batches():
        if not len(x):
            continue
        if not spaces or len(x) > spaces[0].rows:
            spaces = [Workspace(network, len(x)) for network in (student, teacher)]
        with spaces[1].blas:                              # of the larger network
            activations = spaces[0].forward(x)
            target = activations if student is teacher else spaces[1].forward(x)
        drawn = drawn or [np.random.Generator(np.random.PCG64([0, i]).advance(     # a number a position of each example
            before * math.prod(target[i + 1].shape[1:-1]))) for i in layers]
        for part, i, rng in zip(parts, layers, drawn, strict=True):
            h, z = rows(student.layers[i], activations[i], target[i + 1], rng, positions)
            part[:] = [merge([*part, Statistics.of(h, z)])]
    return [one for part in parts for one in part]


def sensitivities(network: Network, x: Array, layers: Sequence[int]) -> list[Array]:
    """Root-mean-square sensitivity of the logits to each output of layers of weights.

        s_o² = 1/N Σ_n Σ_pq Σ_c (∂ logit_c / ∂ z_npqo)²                               (W14)

    To first order, if errors at different positions are independent, Σ_o s_o² (mean squared error of z_o) is that
    of the logits. x (N, ...) -> (O,) for each of ``layers``, at least a millionth of the largest.

    One backward pass for each class; where the last layer is dense, W (C, I), they begin behind it, and its own s is 1:

        Σ_c (W_c J)_o² = Σ_r (R_r J)_o²   for every J, where RᵀR = WᵀW (QR): min(C, I) passes             (W24)

    Other networks of more than PROBES classes are probed with as many random signs, which is right on average.
    Raises InputError where the network ends in maps.
    """
    activations, backwards = network.forward(x)
    if activations[-1].ndim != 2:
        raise InputError(f"distil: the network gives {activations[-1].shape}; it must end in logits (N, C)")
    total = {i: np.zeros(activations[i + 1].shape[-1]) for i in layers}
    end, slopes = len(network.layers), probes(activations[-1].shape[1])
    if network.layers[-1].row.dense:
        end, slopes = end - 1, network.layers[-1].params[0]
        if len(slopes) > slopes.shape[1]:
            slopes = linalg.qr(slopes.astype(np.float64), mode="r")[0][:slopes.shape[1]]                  # (W24)
        total[end] = np.ones(activations[-1].shape[1])

    def apply_back(i: int, d: Array) -> tuple[Array, ...]:
        if i in total:
            total[i] += (d.astype(np.float64) ** 2).reshape(-1, d.shape[-1]).sum(axis=0) / len(x)         # (W14)
        return backwards[i](d)

    for slope in slopes.astype(activations[-1].dtype):
        d = np.array(np.broadcast_to(slope, activations[end].shape))
        chain.backward({end: d}, network.skips, apply_back, min(layers), inputs=False)
    return [np.sqrt(np.maximum(total[i], 1e-12 * (float(total[i].max()) or 1.0))) for i in layers]


def probes(classes: int) -> Array:
    """The unit vectors (C, C), or PROBES vectors of random signs over √PROBES where there are more classes."""
    if classes <= PROBES:
        return np.eye(classes)
    return np.asarray(np.random.default_rng(0).choice([-1.0, 1.0], (PROBES, classes)) / np.sqrt(PROBES))
