"""Graphs of other libraries, in which channels come first, as networks of npkd, in which they come last; and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import special

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.interop.entry import channels_last, first, flat_order
from npkd.nn.cost import shapes
from npkd.nn.model import Model
from npkd.nn.network import Layer, Network, reads_maps
from npkd.nn.ops import OPS
from npkd.nn.scaling import Scaling
from npkd.surgery.folding import into_scaling

HEADS: Mapping[str, Callable[[Array], Array]] = {
    "": np.asarray, "sigmoid": special.expit, "softmax": lambda z: special.softmax(z, axis=1),
    "log_softmax": lambda z: special.log_softmax(z, axis=1)}
"""What may follow logits z (N, C)."""


@dataclass(frozen=True, eq=False)
class Node:
    """One operation of a graph whose arrays are (N, C, H, W), or (N, I).

    name        of the module or node, for messages
    op          a name of OPS, "identity" or of HEADS; of ``nodes_of`` also "multiply" by an array that is broadcast.
                A one-dimensional convolution or pool is one over maps of height 1
    inputs, output      names of the values that it reads and makes
    params, options, running    as npkd's layer has them; of ``nodes_of`` offset and multiply have the channels first
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str
    params: tuple[Array, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    running: tuple[Array, ...] = ()


@dataclass(frozen=True, eq=False)
class Imported:
    """A graph as a network of examples with channels last that gives logits, behind a ``scaling`` and before a ``head``
    of HEADS. ``shape``: of one example as the other library takes it, channels first. Where that ran: ``answers``, its
    own logits (n, C) of such examples (n, ...); ``difference``, of both, relative to the largest."""

    network: Network
    head: str
    shape: tuple[int, ...]
    scaling: Scaling | None = None
    answers: Callable[[Array], Array] | None = None
    difference: float | None = None

    @property
    def model(self) -> Model:
        """The network with its scaling."""
        return Model(self.network, self.scaling, {"head": self.head} if self.head else {})


class Chain:
    """Layers of npkd, grown one by one, and for each activation its shape and the order of its entries."""

    def __init__(self, nodes: Sequence[Node], source: str, shape: tuple[int, ...], who: str) -> None:
        """The chain before its first layer, for examples of that shape, channels last."""
        self.who, self.made = who, {node.output: node for node in nodes}
        self.layers, self.shapes = list[Layer](), [shape]
        self.orders: list[Array | None] = [None]                  # as flat_order gives them
        self.at = {source: 0}                                     # the activation that each value is

    def require(self, value: str) -> int:
        """The activation that a value is, computed behind all others if it is not there yet."""
        pending = [value]
        while value not in self.at:                               # without recursion: graphs may be deep
            node = self.made.get(pending[-1])
            if node is None:
                raise InputError(f"{self.who}: {pending[-1]} is read, but it is no input and nothing makes it")
            missing = [name for name in node.inputs if name not in self.at]
            if missing:
                if missing[0] in pending:
                    raise InputError(f"{self.who}: {node.name} reads what it makes")
                pending.append(missing[0])
            else:
                self.at[pending.pop()] = self.put(node)
        return self.at[value]

    def put(self, node: Node) -> int:
        """The activation that a node makes of values that are there."""
        if node.op == "add":
            return self.sum(node)
        self.recall(self.at[node.inputs[0]], node)
        shape, order, row = self.shapes[-1], self.orders[-1], OPS.get(node.op)
        same = node.op == "identity" or (node.op == "flatten" and len(shape) == 1)
        if same or (node.op == "global_average_pool" and len(shape) == 1):
            return len(self.layers)
        if row is None:
            where = "is behind the network, not at its end" if node.op in HEADS else "is not known to npkd"
            raise InputError(f"{self.who}: {node.name} ({node.op}) {where}")
        if row.maps is not None and row.maps != (len(shape) == 3) and not row.flat:
            if node.op == "conv2d" and node.params[0].shape[1:3] == (1, 1):    # of one pixel
                return self.put(replace(node, op="dense", params=(node.params[0][:, 0, 0], node.params[1]), options={}))
            raise InputError(f"{self.who}: {node.name} ({node.op}) reads values of shape {first(shape)}; it must read "
                             f"{'maps (C, H, W)' if row.maps else 'rows (I,): flatten them before'}")
        params, running = node.params, node.running
        if order is not None and row.per_neuron:
            params, running = tuple(p[order] for p in params), tuple(r[order] for r in running)
        elif order is not None and node.op == "dense":
            params = params[0][:, order], params[1]
        layer, groups = Layer(node.op, params, node.options, running), node.options.get("groups", 1)
        if groups > 1 and groups == len(params[0]) == shape[-1]:
            options = {name: value for name, value in node.options.items() if name != "groups"}
            layer = Layer("depthwise_conv2d", (params[0][..., 0].transpose(1, 2, 0), params[1]), options)
        return self.append(layer, node, flat_order(shape) if row.flat and len(shape) == 3 else
                           order if row.per_neuron else None)

    def sum(self, node: Node) -> int:
        """The activation that an addition of two values makes."""
        one, other = sorted(self.at[name] for name in node.inputs)
        a, b = (() if order is None else order for order in (self.orders[one], self.orders[other]))
        if self.shapes[one] != self.shapes[other] or not np.array_equal(a, b):
            raise InputError(f"{self.who}: {node.name} adds values of shapes {first(self.shapes[one])} and "
                             f"{first(self.shapes[other])}; they must agree")
        self.recall(other, node)
        if one == other:                                          # x + x
            dtype = next((p.dtype for layer in self.layers for p in layer.params), np.dtype(np.float32))
            return self.append(Layer("gate", (np.full(self.shapes[one][-1], 2, dtype),)), node, self.orders[one])
        return self.append(Layer("add", options={"back": len(self.layers) - one}), node, self.orders[one])

    def recall(self, at: int, node: Node) -> None:
        """Make an activation the last one."""
        if at == len(self.layers):
            return
        self.append(Layer("recall", options={"back": len(self.layers) - at}), node, self.orders[at],
                    self.shapes[at])

    def append(self, layer: Layer, node: Node, order: Array | None, shape: tuple[int, ...] | None = None) -> int:
        """Add a layer behind the others; its activation."""
        if shape is None:
            try:
                shape = self.shapes[-1] if layer.back else shapes(Network([layer]), self.shapes[-1])[-1]
            except InputError as error:
                raise InputError(f"{self.who}: {node.name}: {error}") from error
        self.layers.append(layer)
        self.shapes.append(shape)
        self.orders.append(order)
        return len(self.layers)


def network_of(nodes: Sequence[Node], ends: tuple[str, str], shape: Sequence[int], who: str,
               scaling: Scaling | None = None) -> Imported:
    """The graph between two values, examples of that shape, channels first, scaled, and (N, C), as a chain of layers:
    an addition reads an earlier activation, what branches is recalled, a batch norm in front is scaling, what follows a
    flatten is put in npkd's order. Raises InputError, with the node's name, for what is no such chain."""
    (source, result), inner = ends, channels_last(shape)
    chain, head = Chain(nodes, source, inner, who), ""
    while not head and result in chain.made and chain.made[result].op in (*HEADS, "identity"):
        head, result = chain.made[result].op.replace("identity", ""), chain.made[result].inputs[0]
    chain.recall(chain.require(result), Node("the output", "identity", (result,), result))
    if not any(layer.params for layer in chain.layers):
        raise InputError(f"{who}: it has no layer of weights; its neurons are what is removed")
    if chain.orders[-1] is not None or len(chain.shapes[-1]) != 1:
        raise InputError(f"{who}: it gives {first(chain.shapes[-1])} for an example; it must end in a row of outputs")
    network, scaling = into_scaling(Network(chain.layers), math.prod(inner), scaling)
    if len(inner) > 1 and (scaling is not None or not (network.layers[0].row.flat or reads_maps(network))):
        network = Network([Layer("unflatten", options={"shape": inner}), *network.layers])
    return Imported(network, head, tuple(shape), scaling)


def nodes_of(model: Model, shape: Sequence[int]) -> list[Node]:
    """The operations of a model, scaling in front, for examples of ``shape``, channels first: (C, H, W), (C, L), (I,).
    They read the value "x" and each other; the last one makes the logits. Dropout is left out. Raises InputError for
    layers that rearrange maps in between, and an example that has not as many values as the model reads."""
    inner = channels_last(shape)
    order = flat_order(inner) if len(inner) == 3 else None
    layers, nodes, names, sizes, orders = list(model.network.layers), list[Node](), ["x"], [inner], [order]

    def put(op: str, *params: Array, options: Mapping[str, Any] | None = None, running: tuple[Array, ...] = (),
            inputs: Sequence[str] = ()) -> str:
        name = f"{op}_{len(nodes)}"
        nodes.append(Node(name, op, tuple(inputs) or (names[-1],), name, params, options or {}, running))
        return name

    if model.scaling is not None:
        if len(model.scaling.offset) != math.prod(inner):
            raise InputError(f"export: the scaling is of {len(model.scaling.offset)} values, an example has {inner}")
        for op, a in (("offset", -model.scaling.offset), ("multiply", model.scaling.factor)):
            a = a.astype(np.float32).reshape(inner)
            names[0] = put(op, np.moveaxis(a, -1, 0).reshape(shape) if len(inner) == 3 else a)
    if len(inner) == 3 and not reads(layers):
        names[0] = put("flatten")
        sizes[0] = (math.prod(inner),)
    elif len(inner) == 3:
        orders[0] = None
        for at in [k for k, a in enumerate(layers[:2]) if a.op == "unflatten" and layers[0].op in ("quantize", a.op)]:
            layers[at] = Layer("dropout", options={"rate": 0.0})     # the example comes as maps
    for i, layer in enumerate(layers):
        order, size, row = orders[i], sizes[i], layer.row
        (params, running), options = placed(layer, order), dict(layer.settings)
        back = names[i - layer.back] if layer.back else ""
        if row.entries and order is not None and layer.op not in ("select", "flatten"):
            raise InputError(f"export: layer {i} is {layer.op}, which rearranges maps; it cannot be exported")
        if layer.op == "add":
            name = put("add", inputs=(names[i], back))
        elif layer.op == "recall":
            name, order = back, orders[i - layer.back]
        elif layer.op == "dropout" or (row.flat and len(size) == 1):
            name = names[i]
        elif row.flat:
            name, order = put("flatten"), flat_order(size)
        elif layer.op == "select":
            kept = np.asarray(layer.options["kept"])
            name, order = put("select", options={"kept": kept if order is None else order[kept]}), None
        elif layer.op == "unflatten":
            maps, order = tuple(options["shape"]), flat_order(options["shape"])
            name = names[i] if order is None else put("select", options={"kept": np.argsort(order)})
            name = put("unflatten", options={"shape": first(maps[maps[0] == 1:])}, inputs=(name,))
        elif layer.op == "depthwise_conv2d":
            w = params[0].transpose(2, 0, 1)[..., None]
            name = put("conv2d", w, params[1], options={**options, "groups": len(w)})
        elif layer.op in ("offset", "gate") and len(size) == 3:
            p = np.broadcast_to(params[0], size) if layer.op == "offset" else params[0][None, None]
            name = put("offset" if layer.op == "offset" else "multiply", np.moveaxis(p, -1, 0))
        else:
            name = put("multiply" if layer.op == "gate" else str(layer.op), *params, options=options, running=running)
        names.append(name)
        orders.append(order if layer.op in ("flatten", "recall") or row.per_neuron else None)
        sizes.append(sizes[i - layer.back] if layer.back else shapes(Network([layer]), size)[-1])
    return nodes


def placed(layer: Layer, order: Array | None) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """The parameters and running arrays of a layer for an input in that order."""
    if order is None or not (layer.row.dense or layer.row.per_neuron):
        return layer.params, layer.running
    place, p = np.argsort(order), layer.params
    params = (p[0][:, place], p[1]) if layer.row.dense else tuple(a[place] for a in p)
    return params, tuple(r[place] for r in layer.running)


def reads(layers: Sequence[Layer]) -> bool:
    """Do the layers read maps: is the first one that tells so of maps, or an ``unflatten``?"""
    told = (layer.op == "unflatten" or layer.row.flat or layer.row.maps for layer in layers)
    return bool(next((answer for answer in told if answer is not None), False))
