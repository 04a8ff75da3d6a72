"""Networks of npkd as modules of PyTorch: of torch.nn's classes alone, in memory and as a file beside its source."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from textwrap import indent
from typing import Any

import numpy as np

from npkd.core.files import NewPath, make_folder, write_bytes, write_text
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.interop.extras import need
from npkd.interop.graph import Node, nodes_of
from npkd.nn.model import Model
from npkd.nn.network import Network

CLASSES: Mapping[str, str] = {
    "relu": "ReLU", "leaky_relu": "LeakyReLU", "gelu": "GELU", "elu": "ELU", "silu": "SiLU", "tanh": "Tanh",
    "sigmoid": "Sigmoid", "softmax": "Softmax", "log_softmax": "LogSoftmax", "linear": "Linear", "conv": "Conv",
    "batch_norm": "BatchNorm", "max_pool": "MaxPool", "avg_pool": "AvgPool", "adaptive_avg_pool": "AdaptiveAvgPool",
    "flatten": "Flatten", "unflatten": "Unflatten", "identity": "Identity", "dropout": "Dropout"}
"""Functions of torch and their classes in torch.nn, both without the 1d or 2d behind some of them."""

FUNCTIONS: Mapping[str, str] = {
    **{name: name for name in (*CLASSES, "add", "mean", "getitem", "index_select")},
    **{kind: name for name, kind in CLASSES.items()},
    **dict.fromkeys(("view", "reshape", "squeeze", "unsqueeze", "unflatten", "Flatten", "Unflatten"), "flatten"),
    **dict.fromkeys(("contiguous", "clone", "detach", "float", "to"), "identity"), "iadd": "add",
    **dict.fromkeys(("alpha_dropout", "feature_dropout", "AlphaDropout", "FeatureAlphaDropout"), "dropout")}
"""What functions, methods of tensors and classes of torch.nn compute, without the 1d or 2d behind their names."""

ARGUMENTS: Mapping[str, str] = {
    **dict.fromkeys(("linear", "conv"), "weight bias stride padding dilation groups"), "leaky_relu": "negative_slope",
    "max_pool": "kernel_size stride padding dilation", "elu": "alpha",
    "index_select": "dim index", "getitem": "index",
    "avg_pool": "kernel_size stride padding ceil_mode count_include_pad divisor_override", "dropout": "p training",
    **dict.fromkeys(("softmax", "log_softmax", "mean"), "dim"),
    "batch_norm": "running_mean running_var weight bias training momentum eps"}
DEFAULTS: Mapping[str, Any] = {
    "weight": None, "bias": None, "stride": None, "padding": 0, "dilation": 1, "groups": 1, "padding_mode": "zeros",
    "training": False, "eps": 1e-5, "count_include_pad": True, "divisor_override": None, "negative_slope": 0.01,
    "alpha": 1, "approximate": "none", "dim": None}
"""Arguments of functions behind x, in order, and what they are where a call leaves them out."""

TORCH: Mapping[str, str] = {"dense": "linear", "conv2d": "conv", "average_pool": "avg_pool",
                            "global_average_pool": "adaptive_avg_pool"}
"""Ops of npkd and functions of torch, where the names differ."""

PLAIN: Mapping[str, str] = {"add": "add", "offset": "add", "multiply": "mul", "select": "index_select"}
"""What has no class in torch.nn: functions of two values, or of one and a buffer."""

WINDOW = ("size", "stride", "padding", "dilation")
"""Options that are for rows and columns."""

SOURCE = '''"""A network that npkd made, in plain PyTorch: student() gives it, with the weights beside this file."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn


class Student(nn.Module):
    """Examples {shape} -> (N, C)."""

    def __init__(self):
        super().__init__()
{lines}

{forward}


def student(path=Path(__file__).with_name("student.safetensors")):
    module = Student()
    module.load_state_dict(load_file(path))
    return module.eval()
'''


@dataclass(frozen=True)
class Call:
    """A call: its place for messages, its function, its settings, shapes of an example before and behind it."""

    where: str
    function: str
    settings: Any = None
    before: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()

    def require(self, fine: bool, what: str) -> None:
        """Raise InputError with what stands in the way, unless it is ``fine``."""
        if not fine:
            raise InputError(f"torch: {self.where} {what}; npkd has no such layer, so it must be replaced by others")

    def pair(self, name: str, row: int) -> tuple[int, int]:
        """A setting for rows and columns; maps of one dimension have one row, for which it is ``row``."""
        value: Any = getattr(self.settings, name, DEFAULTS.get(name))
        values = tuple(map(int, value)) if isinstance(value, (tuple, list)) else (int(value),)
        return (row, values[0]) if len(self.before) == 2 else (values[0], values[-1])


def spec(node: Node, dims: int) -> tuple[str, dict[str, Any], dict[str, Array]]:
    """A node as a class of torch.nn for maps of so many dimensions (0: rows), its settings and its arrays. Raises
    InputError where there is none."""
    p, o, function = node.params, node.options, TORCH.get(node.op, node.op)
    if function not in CLASSES:
        raise InputError(f"export: {node.op} is no layer of torch.nn; a network with it cannot become a torch module")
    arrays = dict(zip(("weight", "bias", "running_mean", "running_var"), (*p, *node.running), strict=False))
    settings = {{"size": "kernel_size", "slope": "negative_slope", "shape": "unflattened_size"}.get(name, name):
                tuple(np.broadcast_to(value, 2).tolist())[-dims:] if name in WINDOW else value   # one: of height 1
                for name, value in o.items() if value is not None}
    if function == "linear":
        settings = {"in_features": p[0].shape[1], "out_features": len(p[0])}
    elif function == "conv":
        w = p[0].transpose(0, 3, 1, 2)
        arrays["weight"] = w[:, :, 0] if dims == 1 else w
        settings |= {"in_channels": w.shape[1] * o["groups"], "out_channels": len(w), "kernel_size": w.shape[-dims:]}
    elif function == "batch_norm":
        settings["num_features"], arrays["num_batches_tracked"] = len(p[0]), np.array(0)
    elif "adaptive" in function:
        settings = {"output_size": 1}
    elif "softmax" in function or function == "unflatten":
        settings["dim"] = 1
    ending = f"{max(dims, 1)}d" if function in ("conv", "batch_norm") or "pool" in function else ""
    return CLASSES[function] + ending, settings, arrays


def graph_of(model: Network | Model, shape: Sequence[int], head: str) -> tuple[Any, bool, list[str]]:
    """A model as a torch.fx.GraphModule, see ``to_torch``; is it a chain of modules? And the lines that make them."""
    torch, lines, state = need("torch", "torch", "export"), list[str](), dict[str, Array]()
    nodes = nodes_of(model if isinstance(model, Model) else Model(model), shape)
    nodes += [Node(head, head, (nodes[-1].output,), head)] * bool(head)
    nodes = [part for node in nodes for part in ((node,) if node.op != "global_average_pool" else (
        replace(node, output=f"{node.output}_maps"), Node("", "flatten", (f"{node.output}_maps",), node.output)))]
    root, graph = torch.nn.Module(), torch.fx.Graph()
    values, dims = {"x": graph.placeholder("x")}, {"x": len(shape) - 1}
    for node in nodes:
        name, at, inputs = node.output, dims[node.inputs[0]], tuple(values[k] for k in node.inputs)
        dims[name] = {"flatten": 0, "unflatten": len(node.options.get("shape", ())) - 1}.get(node.op, at)
        if node.op not in PLAIN:
            kind, settings, arrays = spec(node, at)
            state |= {f"{name}.{key}": a for key, a in arrays.items()}
            root.add_module(name, getattr(torch.nn, kind)(**settings))
            lines.append(f"self.{name} = nn.{kind}({', '.join(f'{k}={v!r}' for k, v in settings.items())})")
            values[name] = graph.call_module(name, inputs)
            continue
        if node.op != "add":
            a = np.asarray(node.options["kept"]) if node.op == "select" else node.params[0]
            state[name] = a = a[:, 0] if a.ndim == 3 and at == 1 else a
            root.register_buffer(name, torch.zeros(a.shape))
            lines.append(f'self.register_buffer("{name}", torch.zeros({a.shape}, dtype=torch.{a.dtype}))')
            inputs = (*inputs, *[1] * (node.op == "select"), graph.get_attr(name))
        values[name] = graph.call_function(getattr(torch, PLAIN[node.op]), inputs)
    graph.output(values[nodes[-1].output])
    module = torch.fx.GraphModule(root, graph)
    module.load_state_dict({name: torch.from_numpy(np.array(a, order="C")) for name, a in state.items()}, assign=True)
    chain = all(node.op not in PLAIN and node.inputs == (before.output,) for before, node in pairwise(nodes))
    return module.eval(), chain and nodes[0].op not in PLAIN, lines


def is_module(thing: Any) -> bool:
    """Is it a torch.nn.Module? Asked without importing torch."""
    return any(c.__module__ == "torch.nn.modules.module" and c.__name__ == "Module" for c in type(thing).__mro__)


def to_torch(model: Network | Model, shape: Sequence[int], head: str = "") -> Any:
    """A network, or a Model with its scaling, as a torch.nn.Module that predicts: a Sequential of torch.nn's classes,
    or a torch.fx.GraphModule of them where there are additions, a scaling or selected inputs.

    shape   of an example, channels first: (C, H, W), (C, L) or (I,); the module takes (N, *shape) and gives (N, C)
    head    what follows the logits: "", "softmax", "log_softmax" or "sigmoid"
    Raises InputError for what torch.nn does not have, and without torch.
    """
    module, chain, _ = graph_of(model, shape, head)
    sequential = need("torch", "torch", "export").nn.Sequential
    return sequential(OrderedDict(module.named_children())).eval() if chain else module


def write_safetensors(path: NewPath, module: Any) -> None:
    """Write the state_dict of a module of torch as safetensors. Raises InputError where the system refuses."""
    arrays = {name: a.detach().cpu().clone().contiguous() for name, a in module.state_dict().items()}
    write_bytes(path, need("safetensors.torch", "torch", "export").save(arrays, metadata={"format": "pt"}))


def export(model: Model, folder: NewPath, shape: Sequence[int], head: str = "") -> list[str]:
    """Write student.safetensors and student_torch.py, plain PyTorch that makes the module of ``to_torch`` and loads its
    weights; their names. Raises InputError where there is such a file, and as ``to_torch``."""
    module, _, lines = graph_of(model, shape, head)
    names, folder = ["student.safetensors", "student_torch.py"], make_folder(folder)
    for path in (folder / name for name in names):
        if path.exists():
            raise InputError(f"export: {path} exists; move it away, or name another folder")
    forward = re.sub(r";  [^\n]*", "", module.code).strip()                      # "; x = None", which frees memory
    write_safetensors(folder / names[0], module)
    write_text(folder / names[1], SOURCE.format(shape=("N", *shape), lines=indent("\n".join(lines), " " * 8),
                                                forward=indent(forward, " " * 4)))
    return names
