"""What each op of ONNX is in npkd's bridge: one function for those that are alike."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from npkd.interop.entry import Entry, evened
from npkd.interop.onnx_nodes import LAST, Misplaced, Reader, Value


def step(reader: Reader) -> Value:
    """The value that the reader's node makes. Raises InputError, which names it, for what npkd has no layer for."""
    op, get = reader.node.op_type, reader.get
    match op:
        case "Identity" | "Dropout" | "Cast":
            reader.require(op != "Cast" or get("to") in (1, 10, 11, 16), "makes numbers that are no floats")
            return reader.value()
        case "Relu" | "Tanh" | "Sigmoid" | "Gelu":
            reader.require(get("approximate", b"none") == b"none", "is approximated by tanh; npkd knows the exact one")
            return reader.put(op.lower(), (value := reader.read_value()).name, like=value)
        case "Clip" | "Max":
            at = int(reader.node.input[0] in reader.constants)
            bounds = [reader.constants.get(name, np.nan) if name else None
                      for k, name in enumerate(reader.node.input) if k != at] or [get("min"), get("max")]
            fine = bounds[0] is not None and not np.any(bounds[0]) and not any(b is not None for b in bounds[1:])
            reader.require(fine, "is no maximum of values and 0")
            return reader.put("relu", (value := reader.read_value(at)).name, like=value)
        case "LeakyRelu":
            return reader.put("leaky_relu", (value := reader.read_value()).name, like=value, slope=get("alpha", 0.01))
        case "Elu":
            return reader.put("elu", (value := reader.read_value()).name, like=value, alpha=get("alpha", 1.0))
        case "Softmax" | "LogSoftmax":
            value = reader.read_value()
            reader.require(value.row and value.layout[get("axis", -1)] == "C", "is over other axes than the outputs")
            return reader.put({"Softmax": "softmax"}.get(op, "log_softmax"), value.name, like=value)
        case "Erf":
            value = reader.value()
            fit = np.ndim(value.s) == np.ndim(value.t) == value.t == 0 and abs(value.s * math.sqrt(2) - 1) < 1e-4
            reader.require(fit and not value.erf, "is no part of a GELU")
            return replace(value, s=1.0, erf=True)
        case "Scaler":
            value, a, s = reader.value(), *(np.array(get(name), np.float64) for name in ("offset", "scale"))
            return replace(value, s=value.s * s, t=(value.t - a) * s)
        case "BatchNormalization":
            value = reader.read_value(channels=True)
            gamma, beta, *running = (value.arranged(reader.constant(k)) for k in (1, 2, 3, 4))
            return reader.put("batch_norm", value.name, like=value, params=(gamma, beta), running=tuple(running),
                              eps=float(get("epsilon", 1e-5)))
    reader.require(op in HANDLERS, "is not known to npkd")
    return HANDLERS[op](reader)


def dense(reader: Reader) -> Value:
    """Gemm, MatMul, or ONNX-ML's linear models."""
    get, value, post = reader.get, reader.read_value(), ""
    w: Any
    b: Any
    if reader.node.op_type.startswith("Linear"):
        w, b = (np.array(get(name), reader.dtype) for name in ("coefficients", "intercepts"))
        w, words = w.reshape(len(b), -1), get("post_transform", b"NONE")
        reader.require(words in POST, f"ends in {words!r}")
        post = POST[words]
        if post == "sigmoid" and len(w) == 2 and (w[0] == -w[1]).all() and b[0] == -b[1]:
            w, b, post = w / 2, b / 2, "softmax"                  # σ(z) and σ(−z)
    else:
        w = reader.constant(1)
        w = (w if get("transB", 0) else w.T) * reader.dtype(get("alpha", 1.0))
        b = reader.constant(2, np.zeros(1, w.dtype)) if reader.node.op_type == "Gemm" else np.zeros(1, w.dtype)
        b = np.broadcast_to(b.ravel() * reader.dtype(get("beta", 1.0)), len(w)).copy()
    reader.require(w.ndim == 2 and value.layout == "NC" and not get("transA", 0),
                   "is no product of rows of values with a matrix of constants")
    out = reader.put("dense", value.name, like=replace(value, order=None),
                     params=(np.ascontiguousarray(value.arranged(w.T).T), b))
    return reader.put(post, out.name, like=out) if post else out


POST = {b"NONE": "", b"SOFTMAX": "softmax", b"LOGISTIC": "sigmoid"}


def spatial(value: Value, a: Any, fill: int) -> tuple[int, int]:
    """Numbers for the spatial axes of a value as (rows, columns)."""
    at = dict(zip(value.layout[2:], a, strict=True))
    return at.get("H", fill), at.get("W", fill)


def window(reader: Reader, value: Value, kernel: tuple[int, ...]) -> tuple[dict[str, Any], tuple[int, int]]:
    """Stride, dilation, and padding in front of each of a window's axes; and the padding behind."""
    n, size, get = len(kernel), reader.sizes[reader.node.input[0]][2:], reader.get
    stride, dilation, pads = (list(get(name) or fill) for name, fill in (
        ("strides", [1] * n), ("dilations", [1] * n), ("pads", [0] * 2 * n)))
    if get("auto_pad", b"NOTSET").startswith(b"SAME"):
        total = [max((i - 1) // s * s + d * (k - 1) + 1 - i, 0)
                 for i, s, d, k in zip(size, stride, dilation, kernel, strict=True)]
        less, more = [p // 2 for p in total], [p - p // 2 for p in total]
        pads = less + more if get("auto_pad") == b"SAME_UPPER" else more + less
    return {name: spatial(value, a, fill) for name, a, fill in
            (("stride", stride, 1), ("padding", pads[:n], 0), ("dilation", dilation, 1))}, spatial(value, pads[n:], 0)


def convolution(reader: Reader) -> Value:
    """Conv, over sequences or maps."""
    value, w = reader.read_value(channels=True), reader.constant(1)
    axes = [value.layout.index(a) for a in "HW" if a in value.layout]
    options, behind = window(reader, value, w.shape[2:])
    kernel = w.transpose(0, *(axes or range(2, w.ndim)), 1).reshape(len(w), *spatial(value, w.shape[2:], 1), w.shape[1])
    kernel, more = evened(kernel, options["padding"], behind, options["dilation"], reader.require)
    return reader.put("conv2d", value.name, like=value, **options | more, groups=reader.get("group", 1),
                      params=(np.ascontiguousarray(kernel), reader.constant(2, np.zeros(len(w), w.dtype))))


def pool(reader: Reader) -> Value:
    """MaxPool or AveragePool."""
    value, kernel = reader.read_value(channels=True), tuple[int, ...](reader.get("kernel_shape") or ())
    largest, size = reader.node.op_type == "MaxPool", reader.sizes[reader.node.input[0]][2:]
    options, behind = window(reader, value, kernel)
    reader.require(options["padding"] == behind, f"pads by {options['padding']} before and {behind} behind; a pool of "
                   "npkd pads both sides alike")
    options["size"] = spatial(value, kernel, 1)
    reader.require(options.pop("dilation") == (1, 1), "has windows with gaps (dilations)")
    each = zip(spatial(value, size, 1), *(options[k] for k in ("padding", "size", "stride")), strict=True)
    reader.require(not reader.get("ceil_mode", 0) or not any((n + 2 * p - k) % s for n, p, k, s in each),
                   "has windows that reach beyond the map (ceil_mode)")
    reader.require(largest or behind == (0, 0) or reader.get("count_include_pad", 0),
                   "leaves the padding out of its means; npkd counts it (count_include_pad)")
    return reader.put("max_pool" if largest else "average_pool", value.name, like=value, **options)


def mean(reader: Reader) -> Value:
    """GlobalAveragePool, or ReduceMean over all axes of a map but examples and channels."""
    value, over = reader.read_value(), reader.node.op_type == "ReduceMean"
    axes, given = {i for i, a in enumerate(value.layout) if a not in "NC"}, reader.get("axes")
    if over:
        given = reader.constant(1, np.zeros(0, int)) if given is None else given
        same = {int(a) % len(value.layout) for a in given} == axes
        reader.require(same, "takes the mean over other axes than those of maps")
    reader.require(over or value.layout[1] == "C", LAST, Misplaced)
    keep = "1" * (not over or reader.get("keepdims", 1))
    layout = "".join(keep if i in axes else a for i, a in enumerate(value.layout))
    return reader.put("global_average_pool", value.name, like=replace(value, layout=layout, row=True))


def moved(reader: Reader) -> Value:
    """Transpose, and what gives values other shapes: axes are renamed, or maps become rows."""
    node, value = reader.node, reader.value()
    value = value if value.plain else reader.read_value()
    before, after = reader.sizes[node.input[0]], reader.sizes[node.output[0]]
    if node.op_type == "Transpose":
        layout = "".join(value.layout[a] for a in reader.get("perm") or range(len(before))[::-1])
        reader.require(layout[0] == "N", "moves the axis of the examples")
        return replace(value, layout=layout)
    reader.require(after[:1] == before[:1], f"makes {after} of {before}; the examples must stay apart")
    wide, letters = [n for n in after[1:] if n != 1], value.layout[1:]
    size = dict(zip(value.layout, before, strict=True))
    if value.row and len(wide) <= 1:
        at = next((i for i, n in enumerate(after) if i and n != 1), 1)
        return replace(value, layout="".join("N" if not i else "C" if i == at else "1" for i in range(len(after))))
    if value.row and value.name == reader.source and len(after) in reader.layouts:
        reader.entry = Entry(reader.entry.shape, after[1:], reader.layouts[len(after)])
        return Value(value.name, reader.entry.layout, False)
    if not value.row and len(after) > 2 and [n for n in before[1:] if n != 1] == wide:
        names, spare = iter([a for a in letters if size[a] != 1]), iter([a for a in "CHW" if size.get(a, 1) == 1])
        return replace(value, layout="N" + "".join(next(names if n != 1 else spare) for n in after[1:]))
    reader.require(not value.row and len(after) == 2, f"makes {after} of {before}; npkd flattens maps alone")
    grid = np.arange(math.prod(before[1:])).reshape([size.get(a, 1) for a in "CHW"])
    order = grid.transpose(["CHW".index(a) for a in dict.fromkeys(letters + "CHW")]).ravel()
    same = bool((np.diff(order) == 1).all())
    return reader.put("flatten", value.name, like=Value("", "NC", True, None if same else order))


def arithmetic(reader: Reader) -> Value:
    """Add, Sub, Mul, Div: of a constant kept for later; two values are added, or make up a GELU or a SiLU."""
    node, op = reader.node, reader.node.op_type.replace("Sum", "Add")
    if len(node.input) != 2:
        return of_several(reader)
    at = int(node.input[0] in reader.constants)                   # where the value is
    if node.input[1 - at] not in reader.constants:
        return of_several(reader)
    value, size = reader.value(at), reader.sizes[node.input[at]]
    c: Any = reader.constant(1 - at)
    reader.require(reader.sizes[node.output[0]] == size and (c.ndim < len(size) or c.shape[0] == 1),
                   f"makes {reader.sizes[node.output[0]]} of {size}; a constant must not widen values")
    c, sign = c.astype(np.float64), -1 if op == "Sub" else 1
    c = c.item() if c.size == 1 else c[0] if c.ndim == len(size) else c
    if op in ("Add", "Sub"):
        return replace(value, s=sign * value.s, t=c + sign * value.t) if at else replace(value, t=value.t + sign * c)
    reader.require(op == "Mul" or not at, "divides a constant by values")
    return replace(value, s=value.s * c, t=value.t * c) if op == "Mul" else replace(value, s=value.s / c, t=value.t / c)


def of_several(reader: Reader) -> Value:
    """An operation on values that depend on the examples."""
    pair = [reader.value(k) for k in range(len(reader.node.input))]
    for a, b in (pair, pair[::-1]) if reader.node.op_type == "Mul" else ():
        scalars, maker = not any(np.ndim(n) for n in (a.s, a.t, b.s, b.t)), reader.nodes.get(b.name)
        if b.erf and not a.erf and a.name == b.name and scalars and a.t == 0 and math.isclose(b.s, b.t):
            return replace(reader.put("gelu", a.name, like=a), s=2 * a.s * b.s)
        if maker and maker.op == "sigmoid" and maker.inputs == (a.name,) and a.plain and b.plain:
            return reader.put("silu", a.name, like=a)
    reader.require(reader.node.op_type in ("Add", "Sum"), "is of values that depend on the examples; npkd adds those")
    a = reader.read_value(0)
    for k in range(1, len(pair)):
        b = reader.read_value(k)
        one, other = (() if value.order is None else value.order for value in (a, b))
        same = (a.layout, a.row) == (b.layout, b.row) and np.array_equal(one, other)
        reader.require(same, "adds values of different layouts")
        a = reader.put("add", a.name, b.name, like=a)
    return a


HANDLERS = {
    **dict.fromkeys(("Gemm", "MatMul", "LinearClassifier", "LinearRegressor"), dense), "Conv": convolution,
    **dict.fromkeys(("MaxPool", "AveragePool"), pool), **dict.fromkeys(("GlobalAveragePool", "ReduceMean"), mean),
    **dict.fromkeys(("Transpose", "Flatten", "Reshape", "Squeeze", "Unsqueeze"), moved),
    **dict.fromkeys(("Add", "Sum", "Sub", "Mul", "Div"), arithmetic)}
"""What reads a node, by its op; the others are read by ``step`` itself."""
