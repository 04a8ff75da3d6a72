"""Exact removal: neurons that provably change nothing are cut out of a network, with a record of each.

    dead        no weight leaves the neuron: nobody reads it
    constant    no weight enters it (or a gate shuts it): its value is folded into the next bias
    duplicate   it computes what another neuron computes: the other takes over its outgoing weights

The network computes the same function of every input afterwards, up to rounding. Derivation: docs/7-surgery.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from npkd.arrays import Array
from npkd.errors import InputError
from npkd.nn.network import Layer, Network
from npkd.nn.workspace import predict

PER_NEURON = ("relu", "tanh", "sigmoid", "maxout", "gate", "batch_norm", "dropout")
"""Ops that treat every neuron by itself, so that a neuron may be cut out of them."""


@dataclass(frozen=True)
class Removal:
    """What was removed and where it went.

    junction    0: an input; k: a neuron between dense layers k and k + 1 (counted from 1)
    neuron      its number before any removal
    reason      "dead", "constant" or "duplicate"
    into        of a duplicate, the number of the neuron that took over
    """

    junction: int
    neuron: int
    reason: str
    into: int | None = None


@dataclass(frozen=True)
class Junction:
    """The neurons between two dense layers: made by layer ``producer`` (None for the inputs), read by layer ``consumer``."""

    number: int
    producer: int | None
    consumer: int


def junctions(network: Network) -> list[Junction]:
    """All junctions of a multi-layer perceptron, inputs first. Raises InputError where another op stands between dense layers."""
    dense = network.dense_layers
    if not dense:
        raise InputError("surgery: the network has no dense layer")
    before: list[int | None] = [None, *dense[:-1]]
    for i, layer in enumerate(network.layers):
        if layer.op != "dense" and not (layer.op in PER_NEURON if i > dense[0] else layer.op in ("select", "dropout", "flatten")):
            raise InputError(f"surgery: layer {i} is {layer.op}; removal knows {', '.join(PER_NEURON)} between dense layers")
    return [Junction(k, a, b) for k, (a, b) in enumerate(zip(before, dense, strict=True))]


def pieces_between(network: Network, place: Junction) -> int:
    """Outputs of the producer that belong to one neuron: more than one behind maxout."""
    between = network.layers[(place.producer or 0) + 1:place.consumer]
    return int(np.prod([layer.options["pieces"] for layer in between if layer.op == "maxout"], dtype=int))


def keep(network: Network, place: Junction, kept: Array) -> Network:
    """The network with the neurons ``kept`` (indices) of a junction alone; those cut out are simply gone."""
    kept = np.asarray(kept, np.intp)
    consumer = network.layers[place.consumer]
    changed = {place.consumer: replace(consumer, params=(np.ascontiguousarray(consumer.params[0][:, kept]), consumer.params[1]))}
    if place.producer is None:
        if len(kept) == consumer.params[0].shape[1]:
            return network
        front = next((i for i in range(place.consumer) if network.layers[i].op == "select"), None)
        if front is not None:
            kept = np.asarray(network.layers[front].options["kept"])[kept]
            return network.replace(changed | {front: Layer("select", options={"kept": kept.tolist()})})
        layers = network.replace(changed).layers
        return Network([*layers[:place.consumer], Layer("select", options={"kept": kept.tolist()}), *layers[place.consumer:]])
    pieces = pieces_between(network, place)
    for i in range(place.producer, place.consumer):
        layer = network.layers[i]
        rows = (kept[:, None] * pieces + np.arange(pieces)).ravel()      # those of the kept neurons, while they are several each
        changed[i] = replace(layer, params=tuple(p[rows] for p in layer.params), running=tuple(r[rows] for r in layer.running))
        pieces //= layer.options["pieces"] if layer.op == "maxout" else 1
    return network.replace(changed)


def constants(network: Network, place: Junction) -> tuple[Array, Array]:
    """Which neurons of a junction are constant (J,), and the value each would then have (J,), float64."""
    if place.producer is None:
        width = network.layers[place.consumer].params[0].shape[1]
        return np.zeros(width, bool), np.zeros(width)
    w, b = network.layers[place.producer].params
    value = b[None].astype(np.float64)
    constant: Array = np.asarray(~w.any(axis=1))
    for layer in network.astype(np.float64).layers[place.producer + 1:place.consumer]:
        if layer.op == "batch_norm" and not layer.running:
            raise InputError("surgery: a batch_norm has no running moments yet; train the network before neurons are removed")
        value = layer.forward(value, None)[0]
        if layer.op == "maxout":
            constant = np.asarray(constant.reshape(-1, layer.options["pieces"]).all(axis=1))
        elif layer.op in ("gate", "batch_norm"):
            constant = np.asarray(constant | (layer.params[0] == 0))      # a shut gate, or a scale of zero
    return constant, value[0]


def duplicates(network: Network, place: Junction, dead: Array) -> Array:
    """For each neuron of a junction the first one that computes the same and is not ``dead`` (J,): (J,), itself where there is none."""
    width = network.layers[place.consumer].params[0].shape[1]
    if place.producer is None:
        return np.arange(width)
    columns = [a.reshape(width, -1) for layer in network.layers[place.producer:place.consumer]
               for a in (*layer.params, *layer.running)]
    rows = np.concatenate([c + 0.0 for c in columns], axis=1)             # + 0.0: −0.0 and 0.0 are one number
    seen: dict[bytes, int] = {}
    return np.array([j if dead[j] else seen.setdefault(row.tobytes(), j) for j, row in enumerate(rows)])


def once(network: Network, place: Junction) -> tuple[Network, list[tuple[int, str, int | None]]]:
    """One look at one junction: the network without what can go, and (neuron, reason, into) for each that went."""
    consumer = network.layers[place.consumer]
    w, b = consumer.params[0].astype(np.float64), consumer.params[1].astype(np.float64)
    (constant, value), dead = constants(network, place), np.asarray(~w.any(axis=0))
    twin = duplicates(network, place, dead)
    gone: list[tuple[int, str, int | None]] = []
    for j in range(w.shape[1]):
        if dead[j]:
            gone.append((j, "dead", None))
        elif constant[j]:
            b += w[:, j] * value[j]                                       # (U1)  b' = b + w_{:,j} φ(b_j)
            gone.append((j, "constant", None))
        elif twin[j] != j:
            w[:, twin[j]] += w[:, j]                                      # (U2)  w'_{:,i} = w_{:,i} + w_{:,j}
            gone.append((j, "duplicate", int(twin[j])))
    left = np.setdiff1d(np.arange(w.shape[1]), [j for j, _, _ in gone])
    if not len(left):                                                     # a layer never vanishes: one neuron stays, unread
        w[:, 0], left, gone = 0, np.array([0]), [g for g in gone if g[0]]
    dtype = consumer.params[0].dtype
    network = network.replace({place.consumer: replace(consumer, params=(w.astype(dtype), b.astype(dtype)))})
    return keep(network, place, left) if gone else network, gone


def remove(network: Network, *, inputs: bool = True) -> tuple[Network, list[Removal]]:
    """Every neuron, and with ``inputs`` every input, that provably changes nothing is removed, again and again until none is left.

    Returns the smaller network and a record of each removal. A ``select`` layer in front takes whole inputs where some are not read.
    Raises InputError for networks with other layers than dense and per-neuron ones.
    """
    names = [np.arange(network.layers[place.consumer].params[0].shape[1]) for place in junctions(network)]
    records: list[Removal] = []
    found = True
    while found:
        found = False
        for k in reversed(range(0 if inputs else 1, len(names))):                             # back to front: the dead make others dead
            place = junctions(network)[k]
            network, gone = once(network, place)
            for j, reason, into in gone:
                records.append(Removal(k, int(names[k][j]), reason, None if into is None else int(names[k][into])))
            names[k] = np.delete(names[k], [j for j, _, _ in gone])
            found = found or bool(gone)
    return network, records


def difference(one: Network, other: Network, x: Array) -> float:
    """The largest absolute difference between the outputs of two networks on x (N, I)."""
    return max(_parts(one, other, x), default=0.0)


def _parts(one: Network, other: Network, x: Array, rows: int = 4096) -> Iterator[float]:
    for i in range(0, len(x), rows):
        yield float(np.abs(predict(one, x[i:i + rows]) - predict(other, x[i:i + rows])).max())
