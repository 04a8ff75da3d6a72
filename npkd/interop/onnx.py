"""ONNX models of any exporter as networks of npkd, compared with what a runtime makes of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npkd.core.filetypes import described
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.interop.entry import Entry
from npkd.interop.extras import need, said
from npkd.interop.graph import HEADS
from npkd.interop.onnx_nodes import Misplaced, Reader
from npkd.interop.onnx_ops import step
from npkd.nn.model import Model

PASSED = ("Identity", "Cast", "ZipMap", "Normalizer")
"""Ops at the end that change nothing; the last two read probabilities."""
EXAMPLES, TOLERANCE, HALF = 8, 1e-4, 0.02
"""On how many examples a network is compared; how far off it may be, of the largest output, with 16-bit floats too."""


@dataclass(frozen=True, eq=False)
class OnnxTeacher:
    """What ``read`` gives: a model of examples as ``entry`` makes them of the ONNX model's, giving logits; one of HEADS
    that followed those; and in words how far the outputs are from those of a runtime."""

    model: Model
    head: str
    entry: Entry
    checked: str


def is_onnx(source: Any) -> bool:
    """Is it the name of a file that is, or is called, an ONNX model, or a ModelProto?"""
    if isinstance(source, (str, os.PathLike)):
        return Path(source).suffix == ".onnx" or described(Path(source)).startswith("an ONNX model")
    return type(source).__name__ == "ModelProto"


def read(source: Any, x: Array | None = None) -> OnnxTeacher:
    """The network in an .onnx file, or a ModelProto, compared on examples x (n, ...) as the model takes them, or on
    drawn ones, with onnxruntime, or ONNX's reference where that is missing.

    Raises InputError, with the name of the node and its op, for what is no chain of layers of npkd, for a file of
    another kind, weights outside of the file's folder, and where outputs differ.
    """
    onnx, named = need("onnx", "onnx", "onnx.read"), isinstance(source, (str, os.PathLike))
    who = f"onnx.read: {source}" if named else "onnx.read"
    proto = need("onnx.inliner", "onnx", who).inline_local_functions(
        loaded(onnx, Path(source), who) if named else source)
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in constants]
    if len(inputs) != 1 or not inputs[0].type.HasField("tensor_type"):
        raise InputError(f"{who} has {len(inputs)} inputs ({', '.join(v.name for v in inputs)}); it must have one")
    x = examples(onnx, inputs[0], x, who)
    values, runtime = run(onnx, proto, {inputs[0].name: x}, who)
    result = result_of(proto, values, who)
    reader = Reader(onnx, proto, values | {inputs[0].name: x}, (inputs[0].name, result), who, step)
    try:
        imported, entry = reader.read(last=False)
    except Misplaced:
        imported, entry = reader.read(last=True)
    model, head, given = imported.model, imported.head, values[result]
    off = float(np.abs(HEADS[head](model.logits(entry(x))).reshape(given.shape) - given).max())
    half = any(a.dtype == np.float16 for a in values.values())
    if not off <= (HALF if half else TOLERANCE) * max(1.0, float(np.abs(given).max())):
        raise InputError(f"{who}: the network read gives outputs that differ by {off:.2g} from those of {runtime} on "
                         f"{len(x)} examples; please report the model")
    checked = (f"outputs differ from those of {runtime}{', of 16-bit floats,' * half} by at most {off:.1e} on "
               f"{len(x)} examples")
    return OnnxTeacher(model, head, entry, checked)


def loaded(onnx: Any, path: Path, who: str) -> Any:
    """The ModelProto in a file, with the weights that lie in other files below its folder. Raises InputError."""
    external, decode = onnx.external_data_helper, need("google.protobuf.message", "onnx", who).DecodeError
    try:
        proto = onnx.load_model(path, load_external_data=False)
        for tensor in proto.graph.initializer:
            if external.uses_external_data(tensor):
                file = path.parent / external.ExternalDataInfo(tensor).location
                if path.parent.resolve() not in file.resolve().parents or not file.is_file():
                    raise InputError(f"{who}: the weights {tensor.name} are in {file}; that must be a file below the "
                                     "folder of the model")
        external.load_external_data_for_model(proto, str(path.parent))
        for of in (value.type.tensor_type for value in proto.graph.output if value.type.HasField("tensor_type")):
            of.shape.SetInParent()                                    # some exporters leave it out
        onnx.checker.check_model(proto)
    except OSError as error:
        raise InputError(f"{who}: {error.strerror or error}; it must be an ONNX file that can be read") from error
    except (onnx.checker.ValidationError, decode) as error:
        what = described(path)
        what = f"; it is {what}" if what and not what.startswith("an ONNX") else ""
        raise InputError(f"{who} must be a valid ONNX model ({said(error)}){what}") from error
    return proto


def examples(onnx: Any, value: Any, x: Array | None, who: str) -> Array:
    """Examples for an input, as many as it asks for, in its dtype: the first of x, or drawn. Raises InputError."""
    of = value.type.tensor_type
    dims, dtype = of.shape.dim, onnx.helper.tensor_dtype_to_np_dtype(of.elem_type)
    sizes, rows = [d.dim_value for d in dims], (dims[0].dim_value if dims else 0) or EXAMPLES
    shape = sizes[1:] if x is None else [*x.shape[1:]]
    fits = len(sizes) > 1 and [n or m for n, m in zip(sizes[1:], shape, strict=False)] == shape
    if not fits or 0 in shape or (x is not None and not len(x)):
        words = ", ".join(str(d.dim_value or d.dim_param or "?") for d in dims)
        raise InputError(f"{who}: the input {value.name} has the shape ({words})" + (
            "; give examples of the size that the network is to read" if x is None else
            f", and x {x.shape}; they must agree"))
    x = np.random.default_rng(0).standard_normal((rows, *shape)) if x is None else x[np.arange(rows) % len(x)]
    return np.ascontiguousarray(x, dtype)


def run(onnx: Any, proto: Any, feeds: dict[str, Array], who: str) -> tuple[dict[str, Array], str]:
    """All values of a model by name, for one batch, and the name of the runtime that gave them."""
    nodes = [node for node in proto.graph.node if node.op_type != "ZipMap"]
    names = [out for node in nodes for out in node.output if out]
    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    del shown.graph.output[:], shown.graph.node[:]
    shown.graph.node.extend(nodes)
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    try:
        try:
            onnxruntime = need("onnxruntime", "onnx", who)
        except InputError:
            evaluator = need("onnx.reference", "onnx", who).ReferenceEvaluator(shown)
            return dict(zip(names, evaluator.run(names, feeds), strict=True)), "ONNX's reference"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(zip(names, session.run(names, feeds), strict=True)), "onnxruntime"
    except Exception as error:                                  # a runtime raises errors of classes of its own
        node = next((node for node in nodes if node.domain not in ("", "ai.onnx", "ai.onnx.ml")), None)
        what = f"; {node.name or node.output[0]} ({node.op_type}) is of the domain {node.domain}" if node else ""
        raise InputError(f"{who} cannot be run ({said(error)}){what}") from error


def result_of(proto: Any, values: dict[str, Array], who: str) -> str:
    """The only output of floats, before what makes dictionaries of it; of two columns 1 − p and p it is p."""
    found, makers = dict[str, None](), {out: node for node in proto.graph.node for out in node.output}
    for name in [out.name for out in proto.graph.output]:
        if name in values and values[name].dtype.kind != "f":
            continue                                                # labels
        while name in makers and makers[name].op_type in PASSED and makers[name].input[0] in values:
            name = makers[name].input[0]
        if name in makers and makers[name].op_type == "Concat" and (minus := makers.get(makers[name].input[0])):
            p = makers[name].input[1]
            name = p if minus.op_type == "Sub" and minus.input[1] == p else name
        found[name] = None
    if len(found) != 1:
        raise InputError(f"{who} gives {len(found)} outputs of numbers ({', '.join(found)}); it must give one")
    return next(iter(found))
