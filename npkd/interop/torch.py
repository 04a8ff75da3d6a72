"""Networks of PyTorch as networks of npkd: traced by torch.fx, run on examples, and compared with the module."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from operator import attrgetter
from traceback import walk_tb
from types import SimpleNamespace
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.batches import plain
from npkd.interop.entry import channels_last, evened, flat_order
from npkd.interop.extras import need, said
from npkd.interop.graph import HEADS, Imported, Node, network_of
from npkd.interop.torch_out import ARGUMENTS, DEFAULTS, FUNCTIONS, Call, export, is_module, to_torch, write_safetensors

__all__ = ["export", "is_module", "read", "to_torch", "write_safetensors"]

EXAMPLES, VALUES, EQUAL = 64, 2 ** 18, 1e-5
"""Examples at most, and about how many values in them, on which a module and the network read from it are compared; and
the largest difference of their outputs, relative to the largest output, in float32, or else in float64."""

made = partial(Node, "", inputs=(), output="")                # a node without its place in the graph


def read(module: Any, example: Any) -> Imported:
    """The network that a torch.nn.Module is when it predicts, with the module's own logits, ``answers``.

    module      of any device, dtype and mode; nothing of it is changed: a copy is traced and run, in float32
    example     examples as it takes them, a tensor or array (n, C, H, W), (n, C, L) or (n, I), n ≥ 1

    The outputs of both are compared on the first EXAMPLES, see EQUAL; ``difference`` says what was found. Raises
    InputError, with path and name, for what npkd does not have, for what torch.fx cannot trace, and for other outputs.
    """
    torch, given, name = need("torch", "torch", "torch"), plain(example), type(module).__name__
    if not is_module(module) or given.ndim not in (2, 3, 4) or not given.size:
        raise InputError(f"torch: got {name} and x {given.shape}; it needs a torch.nn.Module, x (n, C, H, W) or (n, I)")
    given = given[:max(2, min(EXAMPLES, VALUES // given[0].size))].repeat(2 if len(given) == 1 else 1, axis=0)
    x = torch.from_numpy(given.astype(np.float32))
    if hasattr(module, "save_to_buffer") or any(p.is_meta for p in module.parameters()):
        raise InputError(f"torch: {name} is scripted, or on meta without weights; give the module that it was made of")
    while type(module).__name__ in ("OptimizedModule", "DataParallel", "DistributedDataParallel"):
        module = getattr(module, "_orig_mod", None) or module.module
    with torch.no_grad():
        try:
            whole = torch.nn.Sequential(copy.deepcopy(module)).float().eval()
            graph = torch.fx.Tracer().trace(whole)
        except Exception as error:
            raise InputError(f"torch: torch.fx cannot trace {traced(error) or name}: {said(error)}; forward must take "
                             "one tensor, and no branch may ask for its values or its shape") from error
        device = next((p.device for p in whole.parameters()), x.device)
        nodes, source, result = walked(torch, graph, whole, x.to(device, copy=True))
        imported = network_of(nodes, (source, result), x.shape[1:], "torch")
        if imported.head:
            logits = next(node for node in reversed(nodes) if node.op in HEADS).inputs[0]
            list(graph.nodes)[-1].args = (next(node for node in graph.nodes if node.name == logits),)
        body = torch.fx.GraphModule(whole, graph)
        difference = compared(torch, imported, (whole, body), x)

    def answers(x: Array) -> Array:
        with torch.no_grad():
            return plain(body(torch.from_numpy(np.array(x, np.float32)).to(device)))

    return replace(imported, difference=difference, answers=answers)


def compared(torch: Any, imported: Imported, modules: Sequence[Any], x: Any) -> float:
    """The largest difference, relative to the largest output. Raises InputError where it is more than EQUAL."""
    found = [np.inf]
    rows = np.moveaxis(x.numpy(), 1, -1).reshape(len(x), *channels_last(x.shape[1:]))
    with suppress(RuntimeError):                                     # of a module that computes in float32 alone
        for dtype in (np.float32, np.float64):
            z = replace(imported.model, network=imported.network.astype(dtype)).logits(rows.astype(dtype))
            given = x.to(torch.from_numpy(z).dtype)
            outputs, logits = (plain(copy.deepcopy(m).to("cpu", given.dtype)(given.clone())).reshape(z.shape)
                               for m in modules)
            pairs = (HEADS[imported.head](z), outputs), (z, logits)
            found.append(max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) for a, b in pairs))
            if found[-1] <= EQUAL:
                return found[1]
    raise InputError(f"torch: {type(modules[0][0]).__name__} and what was read of it differ by {found[-1]:.1e} of the "
                     f"largest output, above {EQUAL:g}; hooks and changes in place of other values must be left out")


def traced(error: Exception) -> str:
    """Path and class of the innermost module in whose forward an exception was raised, "" if there is none."""
    parts: list[Any] = [frame.f_locals.get("self") for frame, _ in walk_tb(error.__traceback__)]
    parts = [part for part in parts if is_module(part)]
    paths = [path[2:] for path, part in parts[0].named_modules() if part is parts[-1]] if parts else []
    return f"{paths[0] or 'the module'} ({type(parts[-1]).__name__})" if paths else ""


def walked(torch: Any, graph: Any, whole: Any, x: Any) -> tuple[list[Node], str, str]:
    """A traced graph, run on examples: its nodes, the value that it reads and the one that it gives. A value is known
    by its tensor: what is changed in place goes by its newest name."""
    values, names, nodes = dict[Any, Any](), dict[int, str](), list[Node]()
    for node in graph.nodes:
        args, options = torch.fx.node.map_arg((node.args, node.kwargs), values.get)
        if node.op == "placeholder":
            values[node], names[id(x)], source = x, node.name, node.name
        elif node.op == "get_attr":
            values[node] = attrgetter(node.target)(whole)
        elif node.op != "output":
            reads = any(id(values[n]) in names for n in node.all_input_nodes)
            values[node], made = called(torch, node, whole, (args, options), names if reads else {})
            nodes += made
            names |= {id(values[node]): node.name} if made else {}
    if id(args[0]) in names:
        return nodes, source, names[id(args[0])]
    raise InputError(f"torch: the module gives {type(args[0]).__name__}; it must give one tensor, made of x")


def called(torch: Any, node: Any, whole: Any, given: Any, names: Mapping[int, str]) -> tuple[Any, list[Node]]:
    """What a call gives, and its nodes: none of what is no tensor or reads no activation, of which ``names`` has the
    names. Raises InputError for what npkd does not have."""
    (args, options), method = given, node.op == "call_method"
    if node.op == "call_module":
        target, place = whole.get_submodule(node.target), node.target[2:] or "the module"
        kinds = [c.__name__ for c in type(target).__mro__ if c.__module__.startswith("torch.nn.")]
    else:
        kinds, target = [(node.target if method else node.target.__name__).rstrip("_")], node.target
        place = f"forward of {list(node.meta.get('nn_module_stack', ('',)))[-1][2:]}".removesuffix(" of ")
    function = next((FUNCTIONS[k] for k in (re.sub("[12]d$", "", k) for k in kinds) if k in FUNCTIONS), "")
    call = Call(f"{place} ({type(target).__name__ if node.op == 'call_module' else kinds[0]})", function)
    try:
        value = getattr(args[0], target)(*args[1:], **options) if method else target(*args, **options)
    except Exception as error:
        call.require(bool(function), "is unknown to npkd")
        flat = "2d" in kinds[0] and args and args[0].ndim == 3
        hint = "add a channel axis, x[:, None]" if flat else "give what the module takes"
        raise InputError(f"torch: {call.where}: {said(error)}; {hint}") from error
    parts = value if isinstance(value, (tuple, list)) else [value]
    if not names or not any(isinstance(v, torch.Tensor) for v in parts):
        return value, []
    inputs = [v for v in (*args, *options.values()) if id(v) in names]
    if function == "add" and isinstance(args[0], int) and args[0] == 0:             # sum([a, b]) begins with 0
        call = replace(call, function=(function := "identity"))
    call.require(bool(function), "is unknown to npkd")
    call.require(isinstance(value, torch.Tensor) and len(inputs) == 1 + (function == "add")
                 and value.shape[:1] == inputs[0].shape[:1], "takes or gives something else than activations")
    call.require(value.dtype.itemsize >= 4, f"makes {value.dtype} of float32")
    bound = {**DEFAULTS, **dict(zip(ARGUMENTS.get(function, "").split(), args[1:], strict=False)), **options}
    call = replace(call, settings=target if node.op == "call_module" else SimpleNamespace(**bound),
                   before=tuple(inputs[0].shape[1:]), behind=tuple(value.shape[1:]))
    nodes = reshaped(call) if function in ("flatten", "getitem") else [translated(call)]
    ends = [f"{node.name}:{k}" for k in range(1, len(nodes))] + [node.name]
    starts = [tuple(names[id(v)] for v in inputs), *((end,) for end in ends)]
    return value, [replace(n, name=call.where, inputs=a, output=b)
                   for n, a, b in zip(nodes, starts, ends, strict=False)]


def reshaped(call: Call) -> list[Node]:
    """Values of an example in another shape: as they are, in a row, or a row as maps."""
    index = getattr(call.settings, "index", ())
    index = index if isinstance(index, tuple) else (index,)
    whole = all(i is None or isinstance(i, (int, slice, type(...))) for i in index)
    call.require(whole and math.prod(call.before) == math.prod(call.behind), "selects some of the values")
    before, behind = channels_last(call.before or (1,)), channels_last(call.behind or (1,))     # (): one output
    if before == behind or len(behind) == 1:
        return [made("identity" if before == behind else "flatten")]
    call.require(len(before) == 1 and len(behind) == 3, "rearranges maps")
    order = flat_order(behind)
    front = [] if order is None else [made("select", options={"kept": order.tolist()})]
    return [*front, made("unflatten", options={"shape": list(behind)})]


def translated(call: Call) -> Node:
    """A call as an op of npkd. Raises InputError for settings that npkd does not have."""
    s, name, axes = call.settings, call.function, len(call.before) + 1
    if name in ("linear", "conv"):
        return weights_of(call)
    if "pool" in name:
        return pool_of(call)
    if name == "batch_norm":
        call.require(s.running_mean is not None and not s.training, "takes the moments of the batch")
        gamma, beta = (np.full(len(s.running_mean), k, np.float32) if p is None else numbers(p)
                       for k, p in ((1, s.weight), (0, s.bias)))
        return made(name, params=(gamma, beta), options={"eps": float(s.eps)},
                    running=(numbers(s.running_mean), numbers(s.running_var)))
    if name == "mean":
        dims = s.dim if isinstance(s.dim, (tuple, list)) else range(axes) if s.dim is None else [s.dim]
        call.require(axes > 2 and sorted(d % axes for d in dims) == [*range(2, axes)], "is no mean over whole maps")
        return made("global_average_pool")
    if name == "index_select":
        call.require(axes == 2 and s.dim % 2 == 1, "selects no inputs")
        return made("select", options={"kept": s.index.tolist()})
    call.require(name != "add" or s.alpha == 1, "adds a multiple")
    call.require(name != "gelu" or s.approximate == "none", "has approximate='tanh'")
    axis = 1 if getattr(s, "dim", None) is None else s.dim
    call.require("softmax" not in name or axis % axes == 1, "does not go along the channels")
    call.require(name != "dropout" or not s.training, "draws in every mode (training=True)")
    if name in ("leaky_relu", "elu"):
        return made(name, options={"alpha": s.alpha} if name == "elu" else {"slope": s.negative_slope})
    return made("identity" if name == "dropout" else name)


def weights_of(call: Call) -> Node:
    """A layer of weights as an op of npkd."""
    s, w = call.settings, numbers(call.settings.weight)
    b = np.zeros(len(w), np.float32) if s.bias is None else numbers(s.bias)
    if call.function == "linear":
        return made("dense", params=(w, b))
    w, dilation = w[:, :, None] if w.ndim == 3 else w, call.pair("dilation", 1)
    stride = (1, 1) if s.stride is None else call.pair("stride", 1)
    sides = [d * (k - 1) * (s.padding == "same") for d, k in zip(dilation, w.shape[2:], strict=True)]
    before = [n // 2 for n in sides] if isinstance(s.padding, str) else call.pair("padding", 0)
    behind = [n - n // 2 for n in sides] if isinstance(s.padding, str) else before
    w, options = evened(w.transpose(0, 2, 3, 1), before, behind, dilation, call.require)
    call.require(s.padding_mode == "zeros" or not any(behind), f"has padding_mode={s.padding_mode!r}")
    return made("conv2d", params=(w, b), options={"stride": stride, "groups": int(s.groups), **options})


def pool_of(call: Call) -> Node:
    """A pooling as an op of npkd."""
    s, op = call.settings, "max_pool" if "max" in call.function else "average_pool"
    (h, w), (p, q) = channels_last(call.before)[:2], channels_last(call.behind)[:2]
    if "adaptive" in call.function:
        call.require(h % p == w % q == 0, "has windows of different sizes")
        return made("global_average_pool") if p == q == 1 else made(op, options={"size": (h // p, w // q)})
    size = call.pair("kernel_size", 1)
    call.require(getattr(s, "divisor_override", None) is None, "has a divisor of its own (divisor_override)")
    stride, around = size if s.stride is None else call.pair("stride", 1), call.pair("padding", 0)
    call.require(call.pair("dilation", 1) == (1, 1), "has dilation")
    whole = [(n + 2 * a - k) // t + 1 for n, a, k, t in zip((h, w), around, size, stride, strict=True)]
    call.require(whole == [p, q], "has windows beyond the maps (ceil_mode=True)")
    call.require("max" in op or s.count_include_pad or around == (0, 0), "leaves out padding (count_include_pad=False)")
    return made(op, options={"size": size, "stride": stride, "padding": around})


def numbers(tensor: Any) -> Array:
    """The values of a tensor, a copy, float32."""
    return np.array(plain(tensor), np.float32)
