"""Networks of npkd as modules of PyTorch: of torch.nn's classes alone, in memory and as a file beside its source."""

from __future__ import annotations

import re
from textwrap import indent
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
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

TORCH: Mapping[str, str] = {"dense": "linear", "conv2d": "conv", "average_pool": "avg_pool",
                            "global_average_pool": "adaptive_avg_pool"}
"""Ops of npkd and functions of torch, where the names differ."""

PLAIN: Mapping[str, str] = {"add": "add", "offset": "add", "multiply": "mul", "select": "index_select"}
"""What has no class in torch.nn: functions of two values, or of one and a buffer."""

SOURCE = '''"""A network that npkd made, in plain PyTorch: student() gives it, with the weights beside this file."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn


class Student(nn.Module):
    """Examples ({shape}) -> (N, C)."""

    def __init__(self):
        super().__init__()
{lines}
{forward}

def student(path=Path(__file__).with_name("student.safetensors")):
    """The network with its weights, as it predicts."""
    module = Student()
    module.load_state_dict(load_file(path))
    return module.eval()
'''
"""What ``export`` writes beside the weights."""


def spec(node: Node, dims: int) -> tuple[str, dict[str, Any], dict[str, Array]]:
    """A node as a class of torch.nn for maps of so many dimensions (0: rows), its settings and its arrays. Raises
    InputError where there is none."""
    p, o, function = node.params, node.options, TORCH.get(node.op, node.op)
    if function not in CLASSES:
        raise InputError(f"export: {node.op} is no layer of torch.nn; a network with it cannot become a torch module")
    arrays = dict(zip(("weight", "bias", "running_mean", "running_var"), (*p, *node.running), strict=False))
    settings = {name: tuple(np.broadcast_to(o[name], 2).tolist())[-dims:] for name in
                ("size", "stride", "padding", "dilation") if o.get(name) is not None}     # maps of one have height 1
    if function == "linear":
        settings = {"in_features": p[0].shape[1], "out_features": len(p[0])}
    elif function == "conv":
        w = p[0].transpose(0, 3, 1, 2)
        arrays["weight"] = w[:, :, 0] if dims == 1 else w
        settings |= {"in_channels": w.shape[1] * o["groups"], "out_channels": len(w), "kernel_size": w.shape[-dims:],
                     "groups": int(o["groups"])}
    elif function == "batch_norm":
        settings = {"num_features": len(p[0]), "eps": float(o["eps"])}
        arrays["num_batches_tracked"] = np.array(0)
    elif "pool" in function:
        settings["output_size" if "adaptive" in function else "kernel_size"] = settings.pop("size", 1)
    elif "softmax" in function:
        settings = {"dim": 1}
    elif function in ("leaky_relu", "elu"):
        settings = {"negative_slope" if name == "slope" else name: float(value) for name, value in o.items()}
    elif function == "unflatten":
        settings = {"dim": 1, "unflattened_size": tuple(o["shape"])}
    ending = f"{max(dims, 1)}d" if function in ("conv", "batch_norm") or "pool" in function else ""
    return CLASSES[function] + ending, settings, arrays


def graph_of(model: Network | Model, shape: Sequence[int], head: str) -> tuple[Any, bool, list[str]]:
    """A model as a torch.fx.GraphModule, see ``to_torch``; is it a chain of modules? And the lines that make them."""
    torch, lines, state = need("torch", "torch", "export"), list[str](), dict[str, Array]()
    nodes = nodes_of(model if isinstance(model, Model) else Model(model), shape)
    nodes += [Node(head, head, (nodes[-1].output,), head)] * bool(head)
    nodes = [part for node in nodes for part in ((node,) if node.op != "global_average_pool" else (
        replace(node, output=f"{node.output}_maps"), Node("", "flatten", (f"{node.output}_maps",), node.output)))]
    root, graph, last, chain = torch.nn.Module(), torch.fx.Graph(), "x", True
    values, dims = {"x": graph.placeholder("x")}, {"x": len(shape) - 1}
    for node in nodes:
        name, at, inputs = node.output, dims[node.inputs[0]], tuple(values[k] for k in node.inputs)
        chain, last, dims[name] = chain and node.op not in PLAIN and node.inputs == (last,), name, at
        if node.op in PLAIN:
            if node.op != "add":
                state[name] = a = np.asarray(node.options["kept"]) if node.op == "select" else node.params[0]
                state[name] = a = a[:, 0] if a.ndim == 3 and at == 1 else a
                root.register_buffer(name, torch.from_numpy(a.copy()))
                lines.append(f'self.register_buffer("{name}", torch.zeros({a.shape}, dtype=torch.{a.dtype}))')
                inputs = (*inputs, *[1] * (node.op == "select"), graph.get_attr(name))
            values[name] = graph.call_function(getattr(torch, PLAIN[node.op]), inputs)
            continue
        kind, settings, arrays = spec(node, at)
        state |= {f"{name}.{key}": a for key, a in arrays.items()}
        root.add_module(name, getattr(torch.nn, kind)(**settings))
        lines.append(f"self.{name} = nn.{kind}({', '.join(f'{k}={v!r}' for k, v in settings.items())})")
        values[name] = graph.call_module(name, inputs)
        dims[name] = {"flatten": 0, "unflatten": len(node.options.get("shape", ())) - 1}.get(node.op, at)
    graph.output(values[last])
    module = torch.fx.GraphModule(root, graph)
    module.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in state.items()}, assign=True)
    return module.eval(), chain, lines


def to_torch(model: Network | Model, shape: Sequence[int], head: str = "") -> Any:
    """A network, with its scaling if it is a Model, as a torch.nn.Module of torch.nn's classes that predicts.

    shape   of an example, channels first: (C, H, W), (C, L) or (I,); the module takes (N, *shape) and gives (N, C)
    head    what follows the logits: "", "softmax", "log_softmax" or "sigmoid"

    A Sequential, or a torch.fx.GraphModule where there are additions, a scaling or selected inputs; arrays of its own,
    in the dtype of the network. Raises InputError for what torch.nn does not have, and without torch.
    """
    module, chain, _ = graph_of(model, shape, head)
    torch = need("torch", "torch", "export")
    return torch.nn.Sequential(OrderedDict(module.named_children())).eval() if chain else module


def write_safetensors(path: NewPath, module: Any) -> None:
    """Write the state_dict of a module, of torch or of ``to_torch``, as safetensors: whole or not at all.
    Raises InputError without safetensors, and where the system refuses."""
    arrays = {name: a.detach().cpu().contiguous().clone() for name, a in module.state_dict().items()}
    write_bytes(path, need("safetensors.torch", "torch", "export").save(arrays, metadata={"format": "pt"}))


def export(model: Model, folder: NewPath, shape: Sequence[int], head: str = "") -> list[str]:
    """Write student.safetensors and student_torch.py, plain PyTorch that builds the network and loads its weights, see
    ``to_torch``; their names. Raises InputError where a file has such a name, and as ``to_torch`` does."""
    module, _, lines = graph_of(model, shape, head)
    names, folder = ["student.safetensors", "student_torch.py"], make_folder(folder)
    for name in names:
        if (folder / name).exists():
            raise InputError(f"export: {folder / name} exists; remove it, or name another folder")
    forward = re.sub(r";  [^\n]*", "", module.code).strip()
    write_safetensors(folder / names[0], module)
    write_text(folder / names[1], SOURCE.format(
        shape=", ".join(map(str, ("N", *shape))), lines=indent("\n".join(lines), 8 * " "), forward=indent(forward, 4 * " ")))
    return names
