"""Nodes of an ONNX graph as those of npkd's bridge: layouts, constants that scale, activations made of several nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.interop.entry import Entry
from npkd.interop.graph import Imported, Node, network_of
from npkd.nn.scaling import Scaling


@dataclass(frozen=True, eq=False)
class Value:
    """A value of the graph: s v + t of a value v of npkd's bridge, both shaped to be broadcast to an example.

    layout      what its axes are: N, C, H, W, and 1 for those that are nothing
    row         is v (N, C)?   order    of a flattened map: for each entry its place in v, where channels come first
    form        "erf": it is erf(v/√2) in the place of v
    """

    name: str
    layout: str
    row: bool
    order: Array | None = None
    s: Any = 1.0
    t: Any = 0.0
    form: str = ""


class Misplaced(InputError):
    """What must be channels is on another axis: the input may have them last."""


class Reader:
    """The graph that makes one value of another, read node by node.

    values      arrays of all values of the graph for one batch: sizes, and what does not depend on the examples
    ends        names of the value that is read and of the one that is made;   layout   of maps that are read
    """

    def __init__(self, onnx: Any, proto: Any, values: Mapping[str, Array], ends: tuple[str, str], who: str) -> None:
        self.who, (self.source, self.result), graph = who, ends, proto.graph.node
        self.attributes = {node.output[0]: {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
                           for node in graph}
        dynamic, needed = {self.source}, {self.result}
        for node in graph:
            dynamic |= {*node.output} if dynamic & {*node.input} and node.op_type not in ("Shape", "Size") else set()
        for node in reversed(graph):
            needed |= {*node.input} if needed & dynamic & {*node.output} else set()
        self.graph = [node for node in graph if needed & dynamic & {*node.output}]
        stored = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer if t.name in needed}
        self.constants = {name: a for name, a in {**stored, **values}.items() if name not in dynamic}
        self.sizes = {name: np.shape(a) for name, a in values.items()}
        self.dtype = np.float64 if values[self.result].dtype == np.float64 else np.float32

    def read(self, last: bool) -> tuple[Imported, Entry, Scaling | None]:
        """The network, what it reads, with channels first or last, and the scaling in front."""
        self.layouts = {2: "NC", 3: "NWC" if last else "NCW", 4: "NHWC" if last else "NCHW"}
        self.nodes, self.front, shape = dict[str, Node](), None, self.sizes[self.source]
        if len(shape) not in self.layouts:
            raise InputError(f"{self.who}: an example has the shape {shape[1:]}; it must be rows, sequences or maps")
        self.values = {self.source: Value(self.source, self.layouts[len(shape)], len(shape) == 2)}
        self.entry = Entry(shape[1:], shape[1:], self.layouts[len(shape)])
        for self.node in self.graph:
            if self.node.op_type not in HANDLERS:
                raise self.refusal("is not known to npkd")
            self.values[self.node.output[self.node.op_type == "LinearClassifier"]] = HANDLERS[self.node.op_type](self)
        value, scaling = self.settled(self.result), None
        if not value.row or value.order is not None:
            raise self.refusal("makes what the model gives, and that is no row of outputs")
        if self.front is not None:
            s, t = (np.moveaxis(a, 0, -1).ravel() for a in self.front)
            scaling = Scaling((-t / s).astype(np.float32), s.astype(np.float32))
        source = self.source if scaling is None else SCALED
        return network_of([*self.nodes.values()], source, self.entry.channels_first, value.name, self.who), self.entry, scaling

    def refusal(self, what: str, kind: type[InputError] = InputError) -> InputError:
        """An error that names the node."""
        return kind(f"{self.who}: {self.node.name or self.node.output[0]} ({self.node.op_type}) {what}")

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute of the node."""
        return self.attributes[self.node.output[0]].get(name, default)

    def constant(self, k: int, default: Any = None) -> Array:
        """Input k of the node, which must be a constant; the default where it is left out."""
        name = self.node.input[k] if k < len(self.node.input) else ""
        if name and name not in self.constants:
            raise self.refusal(f"reads {name}, which depends on the examples; it must be a constant")
        if not name and default is None:
            raise self.refusal("has too few inputs")
        a = np.asarray(self.constants[name] if name else default)
        return a.astype(self.dtype) if a.dtype.kind == "f" else a

    def value(self, k: int = 0) -> Value:
        """Input k of the node, which must depend on the examples."""
        if self.node.input[k] not in self.values:
            raise self.refusal(f"reads {self.node.input[k]}, which must be a value that a network of npkd makes")
        return self.values[self.node.input[k]]

    def put(self, op: str, *inputs: str, like: Value, params: tuple[Array, ...] = (), running: tuple[Array, ...] = (),
            options: Mapping[str, Any] | None = None) -> Value:
        """A new node of the bridge, and its value."""
        name = f"{self.node.output[0]}:{len(self.nodes)}"
        self.nodes[name] = Node(self.node.name or self.node.output[0], op, inputs, name, params, options or {}, running)
        return replace(like, name=name, s=1.0, t=0.0, form="")

    def first(self, value: Value, a: Array, size: tuple[int, ...]) -> Array:
        """An array that is broadcast to an example of a value, as of the bridge: (C, H, W), or (C,)."""
        a = np.broadcast_to(a, size).astype(self.dtype)
        if value.row:
            return a.ravel() if value.order is None else a.ravel()[np.argsort(value.order)]
        letters = value.layout[1:]
        a = a.transpose([letters.index(x) for x in "CHW" if x in letters])
        return a if a.ndim == 3 else a[:, None]

    def settled(self, name: str) -> Value:
        """A value without s and t: they go into the weights that make it, to the front, or into layers of their own."""
        value = self.values[name]
        if value.form:
            raise self.refusal("reads an Erf that is no part of a GELU")
        if np.all(value.s == 1) and not np.any(value.t):
            return value
        s, t = (self.first(value, a, self.sizes[name][1:]) for a in (value.s, value.t))
        if value.name == self.source and (s > 0).all():
            if self.front is not None and not all(map(np.array_equal, self.front, (s, t))):
                raise self.refusal("reads the input scaled in another way than others; npkd scales it once")
            self.front, value = (s, t), replace(value, name=SCALED, s=1.0, t=0.0)
        else:
            (g, same), (b, level), maker = *map(by_channel, (s, t)), self.nodes.get(value.name)
            if not same:
                raise self.refusal("reads values, each times a factor of its own; npkd multiplies by channel")
            if level and maker is not None and maker.op in ("dense", "conv2d"):
                w, bias = maker.params
                value = self.put(maker.op, *maker.inputs, like=value, options=maker.options,
                                 params=(w * g.reshape(-1, *[1] * (w.ndim - 1)), bias * g + b))
            else:
                value = self.put("gate", value.name, like=value, params=(g,)) if (g != 1).any() else value
                value = self.put("offset", value.name, like=value, params=(np.moveaxis(t, 0, -1),)) if t.any() else value
                value = replace(value, s=1.0, t=0.0)
        self.values[name] = value
        return value

    def read_value(self, k: int = 0) -> Value:
        """Input k of the node, settled."""
        self.value(k)
        return self.settled(self.node.input[k])

    def channels(self) -> Value:
        """The first input, whose second axis must be its channels."""
        value = self.read_value()
        if value.layout[:2] != "NC":
            raise self.refusal("reads channels that are not on axis 1", Misplaced)
        return value

    def window(self, value: Value, kernel: tuple[int, ...]) -> dict[str, Any]:
        """Stride, padding and dilation of a window, as npkd has them. Raises InputError where sides are padded by
        unequal numbers."""
        n, size = len(kernel), self.sizes[self.node.input[0]][2:]
        stride, dilation = (list(self.get(name) or [1] * n) for name in ("strides", "dilations"))
        pads, auto = list(self.get("pads") or [0] * 2 * n), self.get("auto_pad", b"NOTSET")
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        if auto.startswith(b"SAME"):
            total = [max(-(-i // s) * s - s + r - i, 0) for i, s, r in zip(size, stride, reach, strict=True)]
            pads = [p // 2 for p in total] + [p - p // 2 for p in total]
        if pads[:n] != pads[n:]:
            raise self.refusal(f"pads by {pads[:n]} before and {pads[n:]} behind; npkd pads both sides alike")
        left = [(i + 2 * p - r) % s for i, p, r, s in zip(size, pads, reach, stride, strict=False)]
        if self.get("ceil_mode", 0) and any(left):
            raise self.refusal("has windows that reach beyond the map (ceil_mode)")
        return {name: spatial(value, a, fill) for name, a, fill in
                (("stride", stride, 1), ("padding", pads[:n], 0), ("dilation", dilation, 1))}


SCALED = "the scaled input"
Handler = Callable[[Reader], Value]


def by_channel(a: Array) -> tuple[Array, bool]:
    """The first entry of each channel of (C, ...), and are the others like it?"""
    rows = a.reshape(len(a), -1)
    return rows[:, 0], bool((rows == rows[:, :1]).all())


def spatial(value: Value, a: Any, fill: int) -> tuple[int, int]:
    """Numbers for the spatial axes of a value as (rows, columns)."""
    at = dict(zip(value.layout[2:], a, strict=True))
    return at.get("H", fill), at.get("W", fill)


def passed(reader: Reader) -> Value:
    """What changes nothing while predicting."""
    if reader.node.op_type == "Cast" and reader.get("to") not in (1, 10, 11, 16):
        raise reader.refusal("makes numbers that are no floats")
    return reader.value()


def activation(op: str, **names: tuple[str, float]) -> Handler:
    """A function of each value; of the options their names in ONNX, with defaults."""
    def handler(reader: Reader) -> Value:
        if reader.get("approximate", b"none") != b"none":
            raise reader.refusal("is approximated by tanh; npkd knows the exact one")
        value = reader.read_value()
        return reader.put(op, value.name, like=value, options={
            name: float(reader.get(theirs, default)) for name, (theirs, default) in names.items()})
    return handler


def erf(reader: Reader) -> Value:
    """erf(v/√2) of what is scaled by 1/√2."""
    value = reader.value()
    if value.form or np.ndim(value.s) or np.ndim(value.t) or value.t or abs(value.s * math.sqrt(2) - 1) > 1e-4:
        raise reader.refusal("is no part of a GELU")
    return replace(value, s=1.0, form="erf")


def dense(reader: Reader) -> Value:
    """Gemm, MatMul, or ONNX-ML's linear models."""
    node, value = reader.node, reader.read_value()
    if node.op_type.startswith("Linear"):
        w = np.array(reader.get("coefficients"), reader.dtype)
        b = np.array(reader.get("intercepts"), reader.dtype)
        w = w.reshape(len(b), -1)
    else:
        w = reader.constant(1)
        w = w if reader.get("transB", 0) else w.T
        b = reader.constant(2, np.zeros(len(w), reader.dtype)) if node.op_type == "Gemm" else np.zeros(len(w), w.dtype)
        w, b = w * reader.dtype(reader.get("alpha", 1.0)), b * reader.dtype(reader.get("beta", 1.0))
    if w.ndim != 2 or value.layout != "NC" or reader.get("transA", 0):
        raise reader.refusal("is no product of rows of values with a matrix of constants")
    if value.order is not None:
        w = w[:, np.argsort(value.order)]
    post = {b"NONE": "", b"SOFTMAX": "softmax", b"LOGISTIC": "sigmoid"}.get(reader.get("post_transform", b"NONE"))
    if post is None:
        raise reader.refusal(f"ends in {reader.get('post_transform')!r}")
    if post == "sigmoid" and len(w) == 2 and (w[0] == -w[1]).all() and b[0] == -b[1]:
        w, b, post = w / 2, b / 2, "softmax"                      # σ(z) and σ(−z)
    out = reader.put("dense", value.name, like=replace(value, order=None),
                     params=(np.ascontiguousarray(w), np.broadcast_to(b.reshape(-1), len(w)).copy()))
    return reader.put(post, out.name, like=out) if post else out


def convolution(reader: Reader) -> Value:
    """Conv, over rows or maps."""
    value, w = reader.channels(), reader.constant(1)
    options = reader.window(value, w.shape[2:])
    order = [value.layout.index(a) for a in "HW" if a in value.layout[2:]]
    w = np.moveaxis(w.transpose(0, *order, 1), -1, -1).reshape(len(w), *spatial(value, w.shape[2:], 1), w.shape[1])
    return reader.put("conv2d", value.name, like=value, options={**options, "groups": reader.get("group", 1)},
                      params=(np.ascontiguousarray(w), reader.constant(2, np.zeros(len(w), w.dtype))))


def pool(op: str) -> Handler:
    """MaxPool or AveragePool."""
    def handler(reader: Reader) -> Value:
        value, kernel = reader.channels(), tuple(reader.get("kernel_shape"))
        options = {"size": spatial(value, kernel, 1), **reader.window(value, kernel)}
        if options.pop("dilation") != (1, 1):
            raise reader.refusal("has windows with gaps (dilations)")
        if op == "average_pool" and any(options["padding"]) and not reader.get("count_include_pad", 0):
            raise reader.refusal("leaves the padding out of its means; npkd counts it (count_include_pad)")
        return reader.put(op, value.name, like=value, options=options)
    return handler


def mean(reader: Reader) -> Value:
    """GlobalAveragePool, or ReduceMean over all axes of a map but examples and channels."""
    value, keep = reader.read_value(), True
    axes = {i for i, a in enumerate(value.layout) if a not in "NC"}
    if reader.node.op_type == "ReduceMean":
        given, keep = reader.get("axes"), bool(reader.get("keepdims", 1))
        given = reader.constant(1, np.zeros(0, int)) if given is None else given
        axes, spatial_axes = {int(a) % len(value.layout) for a in given}, axes
        if axes != spatial_axes:
            raise reader.refusal("takes the mean over other axes than those of maps")
    elif value.layout[1] != "C":
        raise reader.refusal("reads channels that are not on axis 1", Misplaced)
    layout = "".join("1" * keep if i in axes else a for i, a in enumerate(value.layout))
    return reader.put("global_average_pool", value.name, like=replace(value, layout=layout, row=True))


def batch_norm(reader: Reader) -> Value:
    """BatchNormalization by its stored moments."""
    value = reader.channels()
    gamma, beta, *running = (reader.constant(k) for k in (1, 2, 3, 4))
    if value.order is not None:
        gamma, beta, *running = (a[np.argsort(value.order)] for a in (gamma, beta, *running))
    return reader.put("batch_norm", value.name, like=value, params=(gamma, beta), running=tuple(running),
                      options={"eps": float(reader.get("epsilon", 1e-5))})


def moved(reader: Reader) -> Value:
    """Transpose, and what gives values other shapes: axes are renamed, or maps become rows."""
    node, value = reader.node, reader.value()
    if not (np.all(value.s == 1) and not np.any(value.t)) or value.form:
        value = reader.read_value()
    before, after = reader.sizes[node.input[0]], reader.sizes[node.output[0]]
    if node.op_type == "Transpose":
        layout = "".join(value.layout[a] for a in reader.get("perm") or range(len(before))[::-1])
        if layout[0] != "N":
            raise reader.refusal("moves the axis of the examples")
        return replace(value, layout=layout)
    wide = [n for n in after[1:] if n != 1]
    if after[:1] != before[:1]:
        raise reader.refusal(f"makes {after} of {before}; the examples must stay apart")
    if value.row and len(wide) <= 1:
        at = next((i for i, n in enumerate(after) if i and n != 1), 1)
        return replace(value, layout="".join("NC1"[min(i, 1) if i in (0, at) else 2] for i in range(len(after))))
    if value.name == reader.source and value.row and len(after) in reader.layouts:
        reader.entry = Entry(reader.entry.shape, after[1:], reader.layouts[len(after)])
        return Value(value.name, reader.entry.layout, False)
    letters, size = value.layout[1:], dict(zip(value.layout, before, strict=True))
    if not value.row and [n for n in before[1:] if n != 1] == wide and len(after) > 2:
        names, spare = iter([a for a in letters if size[a] != 1]), [a for a in "CHW" if size.get(a, 1) == 1]
        return replace(value, layout="N" + "".join(next(names) if n != 1 else spare.pop(0) for n in after[1:]))
    if value.row or len(after) != 2:
        raise reader.refusal(f"makes {after} of {before}; npkd flattens maps alone")
    grid = np.arange(math.prod(before[1:])).reshape([size.get(a, 1) for a in "CHW"])
    order = grid.transpose(["CHW".index(a) for a in dict.fromkeys(letters + "CHW")]).ravel()
    same = bool((order == np.arange(len(order))).all())
    return reader.put("flatten", value.name, like=Value("", "NC", True, None if same else order))


def head(op: str) -> Handler:
    """Softmax or LogSoftmax over the outputs."""
    def handler(reader: Reader) -> Value:
        value = reader.read_value()
        if not value.row or value.layout[reader.get("axis", -1)] != "C":
            raise reader.refusal("is over an axis that is not that of the outputs")
        return reader.put(op, value.name, like=value)
    return handler


def scaler(reader: Reader) -> Value:
    """ONNX-ML's Scaler: (x − offset) scale."""
    value, a, s = reader.value(), *(np.array(reader.get(name), np.float64) for name in ("offset", "scale"))
    return replace(value, s=value.s * s, t=(value.t - a) * s)


def arithmetic(reader: Reader) -> Value:
    """Add, Sub, Mul, Div: of a constant kept for later; two values are added, or make up a GELU or a SiLU."""
    node, op = reader.node, reader.node.op_type
    swapped = node.input[0] in reader.constants
    if not swapped and node.input[1] not in reader.constants:
        return of_two(reader)
    value, c = reader.value(int(swapped)), reader.constant(int(not swapped)).astype(np.float64)
    size = reader.sizes[node.input[int(swapped)]]
    if reader.sizes[node.output[0]] != size or (c.ndim == len(size) and c.shape[0] != 1):
        raise reader.refusal(f"makes {reader.sizes[node.output[0]]} of {size}; a constant must not widen values")
    c = c.item() if c.size == 1 else c[0] if c.ndim == len(size) else c
    if op == "Div" and swapped:
        raise reader.refusal("divides a constant by values")
    if op in ("Add", "Sub"):
        sign = -1 if op == "Sub" else 1
        return replace(value, s=sign * value.s if swapped else value.s, t=c + sign * value.t if swapped else
                       value.t + sign * c)
    factor = c if op == "Mul" else 1 / c
    return replace(value, s=value.s * factor, t=value.t * factor)


def of_two(reader: Reader) -> Value:
    """An operation on two values that depend on the examples."""
    pair = reader.value(0), reader.value(1)
    for a, b in (pair, pair[::-1]) if reader.node.op_type == "Mul" else ():
        scalars = not any(np.ndim(n) for n in (a.s, a.t, b.s, b.t))
        if b.form == "erf" and not a.form and a.name == b.name and scalars and a.t == 0 and math.isclose(b.s, b.t):
            return replace(reader.put("gelu", a.name, like=a), s=2 * a.s * b.s)
        maker = reader.nodes.get(b.name)
        if maker and maker.op == "sigmoid" and maker.inputs == (a.name,) and (a.s, a.t, b.s, b.t) == (1, 0, 1, 0):
            return reader.put("silu", a.name, like=a)
    if reader.node.op_type != "Add":
        raise reader.refusal("is of two values that depend on the examples; npkd adds such, no more")
    a, b = reader.read_value(0), reader.read_value(1)
    if (a.layout, a.row) != (b.layout, b.row) or not np.array_equal(a.order, b.order):
        raise reader.refusal("adds values of different layouts")
    return reader.put("add", a.name, b.name, like=a)


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("Identity", "Dropout", "Cast"), passed), **dict.fromkeys(("Add", "Sub", "Mul", "Div"), arithmetic),
    **dict.fromkeys(("Transpose", "Flatten", "Reshape", "Squeeze", "Unsqueeze"), moved),
    **dict.fromkeys(("Gemm", "MatMul", "LinearClassifier", "LinearRegressor"), dense), "Conv": convolution,
    **dict.fromkeys(("GlobalAveragePool", "ReduceMean"), mean), "BatchNormalization": batch_norm, "Erf": erf,
    "MaxPool": pool("max_pool"), "AveragePool": pool("average_pool"), "Scaler": scaler,
    **{name: activation(name.lower()) for name in ("Relu", "Tanh", "Sigmoid", "Gelu")},
    "LeakyRelu": activation("leaky_relu", slope=("alpha", 0.01)), "Elu": activation("elu", alpha=("alpha", 1.0)),
    "Softmax": head("softmax"), "LogSoftmax": head("log_softmax")}
"""What reads a node, by its op."""
