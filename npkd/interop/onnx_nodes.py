"""Nodes of an ONNX graph as those of npkd's bridge: layouts, and constants that scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.interop.entry import Entry
from npkd.interop.graph import Imported, Node, network_of
from npkd.nn.scaling import Scaling

SCALED, LAST = "the scaled input", "reads channels that are not on axis 1"


@dataclass(frozen=True, eq=False)
class Value:
    """A value of the graph: s v + t of a value v of npkd's bridge, both broadcast to an example.

    layout      what its axes are: N, C, H, W, and 1 for those that are nothing
    row         is v (N, C)?   order    of a flattened map: for each entry its place in v, where channels come first
    erf         it is erf(v/√2) in the place of v
    """

    name: str
    layout: str
    row: bool
    order: Array | None = None
    s: Any = 1.0
    t: Any = 0.0
    erf: bool = False

    @property
    def plain(self) -> bool:
        """Is it v?"""
        return not self.erf and bool(np.all(self.s == 1)) and not np.any(self.t)

    def arranged(self, a: Array) -> Array:
        """Entries along the first axis, one for each of this row, as those of v."""
        return a if self.order is None else a[np.argsort(self.order)]


class Misplaced(InputError):
    """What must be channels is on another axis: the input may have them last."""


class Reader:
    """The graph that makes one value of another, read node by node.

    values      arrays of all values of the graph for one batch: sizes, and what does not depend on the examples
    ends        names of the value that is read and of the one that is made;   step     what reads a node
    """

    def __init__(self, onnx: Any, proto: Any, values: Mapping[str, Array], ends: tuple[str, str], who: str,
                 step: Callable[[Reader], Value]) -> None:
        self.step, self.who, (self.source, self.result), graph = step, who, ends, proto.graph.node
        dynamic, needed, self.value_of = {self.source}, {self.result}, onnx.helper.get_attribute_value
        for node in graph:
            dynamic |= {*node.output} if dynamic & {*node.input} and node.op_type not in ("Shape", "Size") else set()
        for node in reversed(graph):
            needed |= {*node.input} if needed & dynamic & {*node.output} else set()
        self.graph = [node for node in graph if needed & dynamic & {*node.output}]
        stored = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer if t.name in needed}
        self.constants = {name: a for name, a in {**stored, **values}.items() if name not in dynamic}
        self.sizes = {name: np.shape(a) for name, a in values.items()}
        self.dtype = np.float64 if values[self.result].dtype == np.float64 else np.float32

    def read(self, last: bool) -> tuple[Imported, Entry]:
        """The network, and what it reads, with channels first or last."""
        self.layouts = {2: "NC", 3: "NWC" if last else "NCW", 4: "NHWC" if last else "NCHW"}
        self.nodes, self.front = dict[str, Node](), list[Array]()
        shape, scaling = self.sizes[self.source], None
        if len(shape) not in self.layouts:
            raise InputError(f"{self.who}: an example has the shape {shape[1:]}; it must be rows, sequences or maps")
        self.entry = Entry(shape[1:], shape[1:], self.layouts[len(shape)])
        self.values = {self.source: Value(self.source, self.entry.layout, len(shape) == 2)}
        for node in self.graph:
            self.node = node
            self.get = {a.name: self.value_of(a) for a in self.node.attribute}.get
            self.values[self.node.output[self.node.op_type == "LinearClassifier"]] = self.step(self)
        value = self.settled(self.result)
        self.require(value.row and value.order is None, "makes what the model gives, and that is no row of outputs")
        if self.front:
            s, t = (np.moveaxis(a, 0, -1).ravel() for a in self.front)
            scaling = Scaling(-(t / s).astype(np.float32), s.astype(np.float32))
        ends = SCALED if scaling else self.source, value.name
        return network_of([*self.nodes.values()], ends, self.entry.channels_first, self.who, scaling), self.entry

    def require(self, fact: Any, what: str, error: type[InputError] = InputError) -> None:
        """Raise an error that names the node unless something is so."""
        if not fact:
            raise error(f"{self.who}: {self.node.name or self.node.output[0]} ({self.node.op_type}) {what}")

    def constant(self, k: int, default: Any = None) -> Array:
        """Input k of the node, which must be a constant; the default where it is left out."""
        name = self.node.input[k] if k < len(self.node.input) else ""
        self.require(name in self.constants or (not name and default is not None), f"has an input {k}, {name}, that "
                     "depends on the examples; it must be a constant")
        a = np.asarray(self.constants[name] if name else default)
        return a.astype(self.dtype) if a.dtype.kind == "f" else a

    def value(self, k: int = 0) -> Value:
        """Input k of the node, which must depend on the examples."""
        name = self.node.input[k]
        self.require(name in self.values, f"reads {name}, which must be a value that a network of npkd makes")
        return self.values[name]

    def put(self, op: str, *inputs: str, like: Value, params: tuple[Array, ...] = (), running: tuple[Array, ...] = (),
            **options: Any) -> Value:
        """A new node of the bridge, and its value."""
        label = self.node.name or self.node.output[0]
        name = f"{label}:{len(self.nodes)}"
        self.nodes[name] = Node(label, op, inputs, name, params, options, running)
        return replace(like, name=name, s=1.0, t=0.0, erf=False)

    def settled(self, name: str) -> Value:
        """A value without s and t: they go into the weights that make it, to the front, or into layers of their own."""
        value, full = self.values[name], list[Array]()
        self.require(not value.erf, "reads an Erf that is no part of a GELU")
        if value.plain:
            return value
        for a in (value.s, value.t):                              # of maps (C, H, W), of rows (C,)
            a, letters = np.broadcast_to(a, self.sizes[name][1:]).astype(self.dtype), value.layout[1:]
            if value.row:
                full.append(value.arranged(a.ravel()))
            else:
                a = a.transpose([letters.index(x) for x in "CHW" if x in letters])
                full.append(a if a.ndim == 3 else a[:, None])
        (s, t), maker = full, self.nodes.get(value.name)
        g, b = (a.reshape(len(a), -1)[:, 0] for a in full)
        even = [bool((f == a.reshape(len(a), -1).T).all()) for a, f in zip(full, (g, b), strict=True)]
        if value.name == self.source and (s > 0).all():
            self.require(not self.front or all(map(np.array_equal, self.front, full)), "reads the input scaled in "
                         "another way than others; npkd scales it once")
            self.front, value = full, replace(value, name=SCALED, s=1.0, t=0.0)
        elif maker is not None and maker.op in ("dense", "conv2d") and all(even):
            w, bias = maker.params
            value = self.put(maker.op, *maker.inputs, like=value, **maker.options,
                             params=(w * g.reshape(-1, *[1] * (w.ndim - 1)), bias * g + b))
        else:
            self.require(even[0], "reads values, each times a factor of its own; npkd multiplies by channel")
            value = self.put("gate", value.name, like=value, params=(g,)) if (g != 1).any() else value
            value = self.put("offset", value.name, like=value, params=(np.moveaxis(t, 0, -1),)) if t.any() else value
        self.values[name] = value
        return value

    def read_value(self, k: int = 0, channels: bool = False) -> Value:
        """Input k of the node, settled; with ``channels`` they must be on its second axis."""
        self.value(k)
        value = self.settled(self.node.input[k])
        self.require(not channels or value.layout[:2] == "NC", LAST, Misplaced)
        return value
