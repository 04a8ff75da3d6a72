"""Which neurons are dead, constant or duplicates by the weights alone; what constants add: docs/book/11-surgery.md."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npkd.core.types import Array
from npkd.nn import chain
from npkd.nn.convolution import im2col
from npkd.nn.cost import shapes
from npkd.nn.network import Layer, Network
from npkd.surgery.dependency import DependencyGroup
from npkd.surgery.folding import affine


def constants(network: Network, shape: Sequence[int] | None = None) -> list[Array]:
    """For every activation which entries of its last axis do not depend on the input, (J,) bool each."""
    sizes = shapes(network, shape)

    def apply(i: int, c: Array, skip: Array | None) -> Array:
        layer, both = network.layers[i], affine(network.layers[i])
        if layer.row.recalls and skip is not None:
            return skip
        if layer.grouped:
            return np.zeros(len(layer.params[0]), bool)                       # what it makes stays as it is
        if layer.row.weights:
            w = layer.params[0].reshape(len(layer.params[0]), -1, len(c))
            return np.asarray(~w[:, :, ~c].any(axis=(1, 2)))              # nothing that varies enters
        if layer.row.depthwise:
            return np.asarray(c | ~layer.params[0].any(axis=(0, 1)))
        if both is not None:
            return np.asarray(c | (both[0] == 0))                             # a shut gate, or a scale of zero
        c = np.asarray(c[layer.row.entries_of(sizes[i], layer.settings)].all(axis=1))
        return c if skip is None else c & skip

    return chain.forward(np.zeros(sizes[0][-1], bool), network.skips, apply)


def heard(network: Network, groups: Sequence[DependencyGroup]) -> list[Array]:
    """Which neurons of each group may influence the output, by a path of nonzero weights: (J,) bool each."""
    reached = [np.full(group.width, group.fixed) for group in groups]
    maker = {i: group for group in groups for i in group.producers}
    while True:                                           # back to front once is enough but for loops through additions
        before = [alive.copy() for alive in reached]
        for group in reversed(groups):
            for i in () if group.fixed else group.consumers:              # all of a fixed one are reached
                w = network.layers[i].params[0]
                if i in maker:                                            # else its rows are outputs
                    w = w[reached[maker[i].number][maker[i].units[i + 1]]]
                reached[group.number][group.units[i][w.any(axis=tuple(range(w.ndim - 1)))]] = True
        if all(map(np.array_equal, before, reached)):
            return reached


def duplicates(network: Network, group: DependencyGroup, out: Array) -> Array:
    """For each neuron of a group the first one, not ``out`` (J,), that computes the same; else itself: (J,)."""
    if not group.producers:
        return np.arange(group.width)
    rows: list[list[bytes]] = [[] for _ in range(group.width)]
    for i, layer in enumerate(network.layers):
        if i + 1 not in group.units:
            continue
        arrays = [a if i in group.producers else np.moveaxis(a, -1, 0) for a in (*layer.params, *layer.running)]
        if layer.op == "select" and i in group.units:
            arrays = [ranks(group, i)[np.asarray(layer.options["kept"])]]                               # positions left
        for row, entries in zip(rows, group.entries(i + 1), strict=True):
            row.extend((a[entries] + 0).tobytes() for a in arrays)        # + 0: −0.0 and 0.0 are one number
    seen: dict[tuple[bytes, ...], int] = {}
    return np.array([j if out[j] else seen.setdefault(tuple(row), j) for j, row in enumerate(rows)])


def contribution(layer: Layer, x: Array, which: Array) -> Array:
    """What the entries ``which`` (J,) of one example x (..., J), float64, add to a layer's outputs: (O,) or (P, Q, F).

    Equal patches are summed once, in one order: equal positions, and equal rows of weights, agree to the last bit.
    """
    w, patches = layer.params[0][..., which].astype(np.float64), x[None, ..., which]
    if w.ndim == 4:
        geometry = {name: value for name, value in layer.settings.items() if name != "groups"}
        patches, _ = im2col(patches, kernel=w.shape[1:3], **geometry)
    size = patches.shape[1:patches.ndim - w.ndim + 1]                     # (P, Q), or nothing of a dense layer
    distinct, where = np.unique(patches.reshape(-1, w[0].size), axis=0, return_inverse=True)
    sums = np.stack([(distinct * row).sum(axis=1) for row in w.reshape(len(w), -1)], axis=-1)
    return np.asarray(sums[where.reshape(-1)].reshape(*size, len(w)))


def ranks(group: DependencyGroup, activation: int) -> Array:
    """Position of each entry of an activation's last axis among those of its neuron, 0 if it has no other: (J,)."""
    out = np.empty(len(group.units[activation]), np.intp)
    for entries in group.entries(activation):
        out[entries] = np.arange(len(entries))
    return out
