"""Networks of npkd as ONNX models: floats, or bytes as QuantizeLinear and DequantizeLinear (QDQ) say them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from npkd import __version__
from npkd.core.files import NewPath, write_bytes
from npkd.core.grids import grid
from npkd.core.validation import InputError
from npkd.interop.entry import Entry
from npkd.interop.extras import need
from npkd.interop.graph import Node, nodes_of
from npkd.nn.convolution import pair
from npkd.nn.model import Model

OPSET, IR = 17, 8
"""Versions of ONNX's ops and of its files that are written: of 2022, which most runtimes read."""
NAMES = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "leaky_relu": "LeakyRelu", "elu": "Elu", "add": "Add",
         "offset": "Add", "multiply": "Mul", "max_pool": "MaxPool", "average_pool": "AveragePool",
         "flatten": "Flatten", "softmax": "Softmax", "log_softmax": "LogSoftmax", "batch_norm": "BatchNormalization"}
"""Ops that are one node of ONNX, with their parameters as its further inputs."""
NUMBERS, LARGEST = {"slope": "alpha", "alpha": "alpha", "eps": "epsilon"}, 2 ** 31 - 1
"""Options that are numbers and their names in ONNX; the largest bias of 32 bits."""


class Graph:
    """Nodes and constants of a model, grown one by one; ``steps``: of values in bytes, what a step is worth."""

    def __init__(self, onnx: Any) -> None:
        self.onnx, self.nodes, self.constants, self.steps = onnx, list[Any](), list[Any](), dict[str, float]()

    def constant(self, name: str, a: Any) -> str:
        """A constant, floats in float32; its name."""
        a = np.ascontiguousarray(a, np.float32 if np.asarray(a).dtype.kind == "f" else None).reshape(np.shape(a))
        self.constants.append(self.onnx.numpy_helper.from_array(a, name))
        return name

    def put(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """A node; the name of what it makes."""
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def weights(self, node: Node) -> tuple[str, str]:
        """Names of the weights and biases of a layer: bytes of a grid a row, and int32, where it reads bytes."""
        (w, b), step = node.params, self.steps.get(node.inputs[0])
        w, names = np.moveaxis(w, -1, 1), (f"{node.name}.w", f"{node.name}.b")
        with suppress(InputError):                                # of weights that lie on no grid
            if step is not None:
                s, q = grid(w.astype(np.float64), most=127)
                k = np.rint(b / (s * step))                       # (N53)
                if abs(k).max(initial=0) <= LARGEST:
                    for name, whole, unit in zip(names, (q.astype(np.int8), k.astype(np.int32)), (s, s * step),
                                                 strict=True):
                        self.put("DequantizeLinear", [self.constant(f"{name}.whole", whole),
                                                      self.constant(f"{name}.step", unit)], name, axis=0)
                    return names
        return self.constant(names[0], w), self.constant(names[1], b)

    def add(self, node: Node) -> None:
        """A node of the bridge. Raises InputError for what ONNX has no op for."""
        op, o, (x, *_), out = node.op, node.options, node.inputs, node.name
        if op == "dense":
            self.put("Gemm", [x, *self.weights(node)], out, transB=1)
        elif op == "conv2d":
            self.put("Conv", [x, *self.weights(node)], out, **windows(node))
        elif op == "quantize":
            low, high = o["low"], o["high"]
            if (low, high) not in ((0, 255), (-128, 127)):
                raise InputError(f"onnx: {out} has the levels {low} … {high}; ONNX has 0 … 255 and −128 … 127")
            grid_of = [self.constant(f"{out}.step", np.float32(o["step"])),
                       self.constant(f"{out}.zero", np.array(o["zero"], np.int8 if low else np.uint8))]
            self.put("DequantizeLinear", [self.put("QuantizeLinear", [x, *grid_of], f"{out}.whole"), *grid_of], out)
        elif op == "gelu":
            root, half, one = (self.constant(f"{out}.{n}", np.float32(n)) for n in (0.5 ** 0.5, 0.5, 1))
            erf = self.put("Erf", [self.put("Mul", [x, root], f"{out}.scaled")], f"{out}.erf")
            x, erf = self.put("Mul", [x, half], f"{out}.halved"), self.put("Add", [erf, one], f"{out}.sum")
            self.put("Mul", [x, erf], out)
        elif op == "silu":
            self.put("Mul", [x, self.put("Sigmoid", [x], f"{out}.sigmoid")], out)
        elif op == "global_average_pool":
            self.put("Flatten", [self.put("GlobalAveragePool", [x], f"{out}.maps")], out)
        elif op == "select":
            self.put("Gather", [x, self.constant(f"{out}.kept", np.asarray(o["kept"], np.int64))], out, axis=1)
        elif op == "unflatten":
            shape = (o["shape"][0], 1, *o["shape"][1:]) if len(o["shape"]) == 2 else o["shape"]
            self.put("Reshape", [x, self.constant(f"{out}.shape", np.array([-1, *shape]))], out)
        elif op in NAMES:
            arrays = [self.constant(f"{out}.{k}", a) for k, a in enumerate((*node.params, *node.running))]
            named = {NUMBERS[name]: float(value) for name, value in o.items() if name in NUMBERS}
            self.put(NAMES[op], [*node.inputs, *arrays], out, **named, **(windows(node) if "size" in o else {}))
        else:
            raise InputError(f"onnx: {out} is {op}, for which ONNX has no op; it cannot be written")
        if op == "quantize" or (op in ("flatten", "relu", "max_pool", "select") and x in self.steps):
            self.steps[out] = float(o["step"]) if op == "quantize" else self.steps[x]


def windows(node: Node) -> dict[str, Any]:
    """Attributes of a convolution or a pool."""
    o, of_weights = node.options, node.op == "conv2d"
    size = node.params[0].shape[1:3] if of_weights else pair("onnx", "size", o["size"], 1)
    stride = pair("onnx", "stride", o.get("stride") or (1 if of_weights else size), 1)
    padding = pair("onnx", "padding", o.get("padding", 0), 0)
    found: dict[str, Any] = {"kernel_shape": size, "strides": stride, "pads": 2 * padding}
    if of_weights:
        found |= {"dilations": pair("onnx", "dilation", o.get("dilation", 1), 1), "group": int(o.get("groups", 1))}
    return found | {"count_include_pad": 1} if node.op == "average_pool" else found


def proto_of(model: Model, entry: Entry | Sequence[int], head: str = "") -> Any:
    """A network as a ModelProto, checked, of opset OPSET: input "x" (batch, ...), output "y" (batch, outputs).

    entry       how an example comes: as the ONNX model took it that the network is from, or its shape, channels first
    head        what is put behind the logits: "softmax", "log_softmax", "sigmoid", or nothing
    Networks that ``quantized`` made are written in bytes: QuantizeLinear and DequantizeLinear around what layers read,
    weights of int8 with a step a row, biases of int32. Raises InputError for layers that ONNX has no op for.
    """
    onnx = need("onnx", "onnx", "onnx.write")
    if not isinstance(entry, Entry):
        entry = Entry.of(entry)
    graph, helper, x, shape = Graph(onnx), onnx.helper, "x", entry.channels_first
    if entry.inner != entry.shape:
        x = graph.put("Reshape", [x, graph.constant("inner", np.array([-1, *entry.inner]))], "x.inner")
    if entry.order != tuple(range(len(entry.order))):
        x = graph.put("Transpose", [x], "x.channels_first", perm=entry.order)
    if len(shape) == 2:                                           # maps of height 1
        x = graph.put("Unsqueeze", [x, graph.constant("height", np.array([2]))], "x.maps")
        shape = shape[0], 1, shape[1]
    for node in nodes_of(model, shape):
        graph.add(replace(node, inputs=tuple(x if name == "x" else name for name in node.inputs)))
    if head:
        graph.put(NAMES[head], [graph.nodes[-1].output[0]], "head", **({} if head == "sigmoid" else {"axis": 1}))
    graph.nodes[-1].output[0] = "y"
    of = helper.make_tensor_value_info
    proto = helper.make_model(helper.make_graph(
        graph.nodes, "npkd", [of("x", 1, ["batch", *entry.shape])], [of("y", 1, ["batch", None])], graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="npkd",
        producer_version=__version__)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def write(path: NewPath, model: Model, entry: Entry | Sequence[int], head: str = "") -> None:
    """Write ``proto_of`` a network, whole or not at all. Raises InputError as it, and where the system refuses."""
    write_bytes(path, proto_of(model, entry, head).SerializeToString(deterministic=True))
