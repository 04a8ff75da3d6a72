"""What provably changes nothing: which neurons are dead, constant or duplicates, and what the constant ones add.

Read off the weights; no data are looked at. Derivation: docs/7-surgery.md. Who acts on it: surgery.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npkd.core.types import Array
from npkd.nn.convolution import im2col
from npkd.nn.cost import shapes
from npkd.nn.network import Layer, Network
from npkd.surgery.dependency import WEIGHTS, DependencyGroup


def constants(network: Network, shape: Sequence[int] | None = None) -> list[Array]:
    """For every activation which entries of its last axis do not depend on the input, (J,) bool each."""
    sizes = shapes(network, shape)
    flags: list[Array] = [np.zeros(sizes[0][-1], bool)]
    for i, layer in enumerate(network.layers):
        c = flags[i]
        if layer.op in WEIGHTS:
            w = layer.params[0].reshape(len(layer.params[0]), -1, len(c))
            c = np.logical_not(w[:, :, ~c].any(axis=(1, 2)))              # nothing that varies enters
        elif layer.op in ("gate", "batch_norm"):
            c = c | (layer.params[0] == 0)                                # a shut gate, or a scale of zero
        elif layer.op == "maxout":
            c = np.asarray(c.reshape(-1, layer.options["pieces"]).all(axis=1))
        elif layer.op == "select":
            c = c[np.asarray(layer.options["kept"])]
        elif layer.op == "flatten":
            c = np.tile(c, int(np.prod(sizes[i][:-1], dtype=int)))
        elif layer.op == "unflatten":
            c = np.asarray(c.reshape(-1, sizes[i + 1][-1]).all(axis=0))
        elif layer.back:
            c = c & flags[i - layer.back]
        flags.append(c)
    return flags


def heard(network: Network, groups: Sequence[DependencyGroup]) -> list[Array]:
    """For every dependency group which neurons may be heard at the output: some layer of weights reads them for one
    that is heard, (J,) bool each."""
    found = [np.full(group.width, group.fixed) for group in groups]
    maker = {i: group for group in groups for i in group.producers}
    more = True
    while more:                                           # back to front once is enough but for loops through additions
        more = False
        for group in reversed(groups):
            now = found[group.number].copy()
            for i in group.consumers:
                w = network.layers[i].params[0]
                if i in maker:                                            # else its rows are outputs
                    w = w[found[maker[i].number][maker[i].units[i + 1]]]
                now[group.units[i][w.any(axis=tuple(range(w.ndim - 1)))]] = True
            more = more or bool((now != found[group.number]).any())
            found[group.number] = now
    return found


def duplicates(network: Network, group: DependencyGroup, out: Array) -> Array:
    """For each neuron of a dependency group the first one that computes the same and is not ``out`` (J,): (J,), itself
    where there is none."""
    if not group.producers:
        return np.arange(group.width)
    rows: list[list[bytes]] = [[] for _ in range(group.width)]
    for i, layer in enumerate(network.layers):
        if i + 1 not in group.units:
            continue
        # neurons first
        arrays = [a if i in group.producers else np.moveaxis(a, -1, 0) for a in (*layer.params, *layer.running)]
        if layer.op == "select" and i in group.units:
            arrays = [ranks(group, i)[np.asarray(layer.options["kept"])]]                               # positions left
        for row, entries in zip(rows, group.entries(i + 1), strict=True):
            row.extend((a[entries] + 0).tobytes() for a in arrays)        # + 0: −0.0 and 0.0 are one number
    seen: dict[tuple[bytes, ...], int] = {}
    return np.array([j if out[j] else seen.setdefault(tuple(row), j) for j, row in enumerate(rows)])


def contribution(layer: Layer, x: Array, which: Array) -> Array:
    """What the entries ``which`` (J,) of one example x (..., J), float64, add to what a layer of weights makes: (O,),
    of a conv2d (P, Q, F).

    Equal patches are added up once, in one order: equal positions, and equal rows of weights, come out equal to the
    last bit.
    """
    w, patches = layer.params[0][..., which].astype(np.float64), x[None, ..., which]
    if layer.op == "conv2d":
        patches, _ = im2col(patches, kernel=w.shape[1:3],
                            **{name: value for name, value in layer.options.items() if name != "groups"})
    size = patches.shape[1:patches.ndim - w.ndim + 1]                     # (P, Q), or nothing of a dense layer
    distinct, where = np.unique(patches.reshape(-1, w[0].size), axis=0, return_inverse=True)
    sums = np.stack([(distinct * row).sum(axis=1) for row in w.reshape(len(w), -1)], axis=-1)
    return np.asarray(sums[where.reshape(-1)].reshape(*size, len(w)))


def ranks(group: DependencyGroup, activation: int) -> Array:
    """For every entry of the last axis of an activation, how many entries of the same neuron stand before it: behind
    flatten the position."""
    out = np.empty(len(group.units[activation]), np.intp)
    for entries in group.entries(activation):
        out[entries] = np.arange(len(entries))
    return out
