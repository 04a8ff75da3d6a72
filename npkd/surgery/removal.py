"""Exact removal: neurons and channels that provably change nothing are cut out of a network, with a record of each.

    dead        no path of nonzero weights leads from it to the output
    constant    its value does not depend on the input: what it adds goes into biases, or, behind a padding, into a map
    duplicate   it computes what another one computes: the other takes over its outgoing weights

The network computes the same function of every input afterwards, up to rounding. Derivation: docs/book/11-surgery.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.nn.cost import shapes
from npkd.nn.fast.workspace import predict
from npkd.nn.network import Layer, Network, convolves
from npkd.surgery.dependency import DependencyGroup, dependency_groups
from npkd.surgery.folding import inserted, skipped
from npkd.surgery.redundancy import constants, contribution, duplicates, heard, ranks


@dataclass(frozen=True)
class Removal:
    """Record of one removed neuron.

    group       number of its dependency group (0: the inputs), see dependency.py
    neuron      its number before any removal
    reason      "dead", "constant" or "duplicate"
    into        of a duplicate, the number of the neuron that took over
    position    None: the whole neuron; else only that position of the channel's flattened map
    """

    group: int
    neuron: int
    reason: str
    into: int | None = None
    position: int | None = None


def keep(network: Network, group: DependencyGroup, kept: Array) -> Network:
    """The network with only the neurons ``kept`` of a group, ascending numbers. Raises InputError if it is fixed."""
    kept = np.asarray(kept, np.intp)
    if not len(kept) or (np.diff(kept) < 1).any() or kept[0] < 0 or kept[-1] >= group.width:
        raise InputError(f"keep: got {len(kept)} neurons; it needs distinct and ascending numbers below {group.width}")
    if len(kept) == group.width:
        return network
    if group.fixed:
        raise InputError(f"keep: dependency group {group.number} is fixed; all its neurons must stay")
    stays = np.zeros(group.width, bool)
    stays[kept] = True
    return thinned(network, {a: stays[unit] for a, unit in group.units.items()})


def thinned(network: Network, left: Mapping[int, Array]) -> Network:
    """The network with only the entries of activations' last axes that ``left`` marks, {activation: (J,) bool}.

    Where the first of these activations is not made by a layer of weights or a ``select``, a new ``select`` is put in.
    """
    smaller = Network([cut(layer, left.get(i), left.get(i + 1)) for i, layer in enumerate(network.layers)])
    start = min(left)
    if start and (network.layers[start - 1].row.weights or network.layers[start - 1].op == "select"):
        return smaller
    at = next(i for i in range(start, len(network.layers)) if not network.layers[i].row.random)
    return inserted(smaller, at, Layer("select", options={"kept": np.flatnonzero(left[start]).tolist()}))


def cut(layer: Layer, read: Array | None, made: Array | None) -> Layer:
    """A layer for fewer entries of what it reads and of what it makes: bool arrays, None where all stay."""
    params, options = layer.params, dict(layer.options)
    if layer.row.weights:
        w, b = params
        w = w if read is None else w[..., read]
        w, b = (w, b) if made is None else (w[made], b[made])
        return replace(layer, params=(np.ascontiguousarray(w), b))
    if layer.op == "select":
        kept = np.asarray(options["kept"])
        kept = kept if made is None else kept[made]
        options["kept"] = (kept if read is None else (np.cumsum(read) - 1)[kept]).tolist()
    if made is None:
        return replace(layer, options=options)
    if layer.op == "unflatten":
        options["shape"] = [*options["shape"][:-1], int(made.sum())]
    return replace(layer, params=tuple(p[..., made] for p in params), options=options,
                   running=tuple(r[made] for r in layer.running))


def once(network: Network, groups: Sequence[DependencyGroup], number: int,
         shape: Sequence[int] | None) -> tuple[Network, list[tuple[int, str, int | None]]]:
    """One pass over one of the dependency groups: the network without what can go; (neuron, reason, into) of each."""
    group = groups[number]
    if group.fixed:
        return network, []
    alive, flags = heard(network, groups)[number], constants(network, shape)
    constant = alive.copy()
    for i in group.consumers:
        w = network.layers[i].params[0]
        constant[group.units[i][w.any(axis=tuple(range(w.ndim - 1))) & ~flags[i]]] = False     # read where it varies
    twin = duplicates(network, group, ~alive | constant)
    merged = {int(j): int(twin[j]) for j in np.flatnonzero(twin != np.arange(group.width))}
    stays = alive & ~constant & (twin == np.arange(group.width))
    for unit in group.units.values():                                 # a layer never vanishes: one neuron stays, unread
        if not stays[unit].any():
            stays[unit[0]] = True
    network, maps = handed_over(network, group, constant, merged, shape)
    if not stays.all():
        network = keep(network, group, np.flatnonzero(stays))
    for i in sorted(maps, reverse=True):
        outputs = stays[group.units[i + 1]] if i + 1 in group.units else slice(None)
        network = inserted(network, i + 1, Layer("offset", (np.ascontiguousarray(maps[i][..., outputs]),)))
    reason = np.where(~alive, "dead", np.where(constant, "constant", "duplicate"))
    return network, [(int(j), str(reason[j]), merged.get(int(j))) for j in np.flatnonzero(~stays)]


def handed_over(network: Network, group: DependencyGroup, constant: Array, merged: Mapping[int, int],
                shape: Sequence[int] | None) -> tuple[Network, dict[int, Array]]:
    """The network in which no layer reads a group's ``constant`` (J,) and ``merged`` {neuron: its duplicate} neurons.

        b' = b + Σ_{j constant} w_:j h_j                                              (U1)
        w'_:i = w_:i + w_:j                                                           (U2)
        m' = m + Σ_{j constant} w_:j ∗ h_j    where it differs from position to position      (U3)

    Also returns the maps of (U3) for which no offset is there yet, {consumer: (P, Q, F)}.
    """
    changed, maps = dict[int, Layer](), dict[int, Array]()
    if not (constant.any() or merged):
        return network, maps
    exact = network.astype(np.float64)
    h, _ = exact(np.zeros((1, *shapes(network, shape)[0])))       # of any example: what is constant is the same for all
    for i in group.consumers:
        which, entries = constant[group.units[i]], group.entries(i)
        w, b = (p.copy() for p in exact.layers[i].params)
        if which.any():
            part = contribution(network.layers[i], h[i][0], which)
            w[..., which] = 0
            if (part == part.reshape(-1, len(b))[0]).all():
                b += part.reshape(-1, len(b))[0]                          # (U1)
            elif i + 1 < len(network.layers) and network.layers[i + 1].op == "offset" and i + 1 not in skipped(network):
                old, m = network.layers[i + 1], exact.layers[i + 1].params[0] + part      # (U3)
                changed[i + 1] = replace(old, params=(m.astype(old.params[0].dtype),))
            else:
                maps[i] = part.astype(network.layers[i].params[0].dtype)  # (U3)
        for j, into in merged.items():
            w[..., entries[into]] += w[..., entries[j]]                   # (U2)
            w[..., entries[j]] = 0
        old = network.layers[i]
        changed[i] = replace(old, params=(w.astype(old.params[0].dtype), b.astype(old.params[1].dtype)))
    return network.replace(changed), maps


def trimmed(network: Network, group: DependencyGroup, nth: int) -> tuple[Network, list[tuple[int, int]]]:
    """The network without the positions of a group's channels that its ``nth`` consumer, dense behind flatten, ignores.

    Also returns (channel, position) for each. Activations that a skip reads too stay as they are.
    """
    at = reader = group.consumers[nth]
    unit, w = group.units[reader], network.layers[reader].params[0]
    stays = np.asarray(w.any(axis=tuple(range(w.ndim - 1))))
    stays[0] = stays[0] or not stays.any()
    if group.fixed or not convolves(network) or w.ndim != 2 or len(unit) == group.width or stays.all():
        return network, []
    while (row := network.layers[at - 1].row).per_neuron and not (row.entries or row.maps or row.skip):
        at -= 1
    if skipped(network) & set(range(at, reader + 1)):
        return network, []
    kept = network.layers[at - 1].options.get("kept")
    position = ranks(group, at) if kept is None else ranks(group, at - 1)[np.asarray(kept)]
    gone = [(int(unit[e]), int(position[e])) for e in np.flatnonzero(~stays)]
    return thinned(network, dict.fromkeys(range(at, reader + 1), stays)), gone


def remove(network: Network, *, inputs: bool = True,
           shape: Sequence[int] | None = None) -> tuple[Network, list[Removal]]:
    """The network without all neurons, channels and (with ``inputs``) inputs that provably change nothing.

    Returns the smaller network and a record of each removal. A ``select`` in front, or behind a flatten, leaves out
    what is not read. ``shape``: of one example, where the network does not tell it (see cost.shapes). Raises InputError
    as ``dependency_groups``, and where a batch norm has no running moments.
    """
    if any(layer.row.running and not layer.running for layer in network.layers):
        raise InputError("surgery: a batch_norm has no running moments yet; train the network before removing neurons")
    groups = dependency_groups(network, shape)
    names = [np.arange(group.width) for group in groups]
    records, again = list[Removal](), True
    while again:
        again = False
        for k in range(0 if inputs else 1, len(names)):          # front to back: what is constant makes others constant
            before = network
            network, gone = once(network, groups, k, shape)
            for j, reason, into in gone:
                records.append(Removal(k, int(names[k][j]), reason, None if into is None else int(names[k][into])))
            names[k] = np.delete(names[k], [j for j, _, _ in gone])
            if network is not before:                               # the last of a layer stays, but may be read no more
                groups, again = dependency_groups(network, shape), True
    for k in range(len(names)):
        for nth in range(len(groups[k].consumers)):
            network, unread = trimmed(network, groups[k], nth)
            groups = dependency_groups(network, shape) if unread else groups
            records += [Removal(k, int(names[k][j]), "dead", position=p) for j, p in unread]
    return network, records


def difference(one: Network, other: Network, x: Array) -> float:
    """The largest absolute difference between the outputs of two networks on x (N, ...)."""
    parts = (x[i:i + 4096] for i in range(0, len(x), 4096))
    return max((float(np.abs(predict(one, part) - predict(other, part)).max()) for part in parts), default=0.0)
