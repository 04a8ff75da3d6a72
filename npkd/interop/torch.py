"""Networks of PyTorch as networks of npkd: traced by torch.fx, run on examples, and compared with the module."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError, as_array
from npkd.interop.extras import need
from npkd.interop.graph import HEADS, Imported, Node, channels_last, flat_order, network_of
from npkd.interop.torch_out import CLASSES, export, to_torch, write_safetensors
from npkd.nn.fast.workspace import predict

__all__ = ["export", "is_module", "read", "to_torch", "write_safetensors"]

EXAMPLES = 64
"""Examples, of those given, on which a module and the network read from it are compared."""

EQUAL = 1e-5
"""Largest difference of their outputs, relative to the largest output, in float32, or else in float64."""

ALIASES: Mapping[str, str] = {
    **dict.fromkeys(("view", "reshape", "squeeze", "unsqueeze", "unflatten"), "flatten"), "iadd": "add",
    **dict.fromkeys(("contiguous", "clone", "detach", "float", "to"), "identity"),
    **dict.fromkeys(("alpha_dropout", "feature_dropout", "feature_alpha_dropout", "Dropout", "AlphaDropout",
                     "FeatureAlphaDropout"), "dropout")}
"""Functions, methods of tensors and classes that compute what another function does, when a network predicts."""

FUNCTIONS: Mapping[str, str] = {**{name: name for name in (*CLASSES, "add", "mean")}, **ALIASES,
                                **{kind: ALIASES.get(name, name) for name, kind in CLASSES.items()}}
"""The function that each function, method and class is."""

CONVOLUTION, WINDOW = "weight bias stride padding dilation groups", "kernel_size stride padding"
ARGUMENTS: Mapping[str, str] = {
    "linear": CONVOLUTION, "conv": CONVOLUTION, "max_pool": f"{WINDOW} dilation", "leaky_relu": "negative_slope",
    "avg_pool": f"{WINDOW} ceil_mode count_include_pad divisor_override", "elu": "alpha", "dropout": "p training",
    "batch_norm": "running_mean running_var weight bias training momentum eps", "softmax": "dim", "log_softmax": "dim",
    "mean": "dim"}
"""Names of the arguments of functions behind x, in order."""

DEFAULTS: Mapping[str, Any] = {
    "weight": None, "bias": None, "stride": None, "padding": 0, "dilation": 1, "groups": 1, "padding_mode": "zeros",
    "training": False, "eps": 1e-5, "count_include_pad": True, "divisor_override": None, "negative_slope": 0.01,
    "alpha": 1, "approximate": "none", "dim": None}
"""What they are where a call leaves them out; some layers of torch.nn have not all of them."""

Made = tuple[str, tuple[Array, ...], Mapping[str, Any], tuple[Array, ...]]
"""Op, parameters, options and running arrays of a Node."""


@dataclass(frozen=True)
class Call:
    """One call of a graph: where it stands and what is called, its function, its settings by name, and the shapes of an
    example before and behind it, channels first."""

    where: str
    function: str
    settings: Any
    before: tuple[int, ...]
    behind: tuple[int, ...]

    def require(self, fine: bool, what: str) -> None:
        """Raise InputError with what stands in the way, unless it is ``fine``."""
        if not fine:
            raise InputError(f"torch: {self.where} {what}; npkd has no such layer")

    def pair(self, name: str, row: int) -> tuple[int, int]:
        """A setting for rows and columns; what has one direction has one row, where it is ``row``."""
        value = getattr(self.settings, name, DEFAULTS.get(name))
        values = value if isinstance(value, (tuple, list)) else (value,) * (len(self.before) - 1)
        values = tuple(map(int, values)) * (1 if len(values) == len(self.before) - 1 else 2)     # (3,) of two is (3, 3)
        return (row, values[0]) if len(values) == 1 else (values[0], values[1])


def is_module(thing: Any) -> bool:
    """Is it a torch.nn.Module? Asked without importing torch."""
    return any(c.__module__ == "torch.nn.modules.module" and c.__name__ == "Module" for c in type(thing).__mro__)


def read(module: Any, example: Any) -> Imported:
    """The network that a torch.nn.Module is when it predicts, with the module's own logits, ``answers``.

    module      of any device, dtype and mode; nothing of it is changed: a copy is traced and run, in float32
    example     examples as it takes them, a tensor or array (n, C, H, W), (n, C, L) or (n, I), n ≥ 1

    The outputs of both are compared on the first EXAMPLES, see EQUAL; ``difference`` says what was found. Raises
    InputError, with path and name, for what npkd does not have, for what torch.fx cannot trace, and for other outputs.
    """
    torch = need("torch", "torch", "torch")
    while type(module).__name__ in ("OptimizedModule", "DataParallel", "DistributedDataParallel"):
        module = getattr(module, "_orig_mod", None) or module.module
    if not is_module(module):
        raise InputError(f"torch: got {type(module).__name__}; it must be a torch.nn.Module")
    name, x = type(module).__name__, tensor_of(torch, example)
    with torch.no_grad():
        try:
            whole = torch.nn.Sequential(copy.deepcopy(module)).float().eval()
        except Exception as error:
            raise InputError(f"torch: {name} cannot be copied: {said(error)}; its weights must be plain") from error
        device = next((p.device for p in whole.parameters()), x.device)
        try:
            graph = torch.fx.Tracer().trace(whole)
        except Exception as error:
            raise InputError(f"torch: torch.fx cannot trace {name}: {said(error)}; forward must take one tensor, and "
                             "what it does must not depend on values") from error
        nodes, source, result = walked(torch, graph, whole, x.to(device))
        imported = network_of(nodes, source, x.shape[1:], result, "torch")
        if imported.head:
            logits = next(node for node in reversed(nodes) if node.op in HEADS).inputs[0]
            list(graph.nodes)[-1].args = (next(node for node in graph.nodes if node.name == logits),)
        body = torch.fx.GraphModule(whole, graph)
        difference = compared(torch, imported, whole, body, x)

    def answers(x: Array) -> Array:
        with torch.no_grad():
            out: Array = body(torch.from_numpy(np.array(x, np.float32)).to(device)).cpu().numpy()
        return out

    return replace(imported, difference=difference, answers=answers)


def tensor_of(torch: Any, example: Any) -> Any:
    """The first examples as a float32 tensor, two at least, so that their axis shows."""
    given = example.detach().cpu().float().numpy() if hasattr(example, "detach") else as_array("torch", example)
    if given.ndim not in (2, 3, 4) or not given.size:
        raise InputError(f"torch: the example has shape {given.shape}; it must be (n, C, H, W), (n, C, L) or (n, I)")
    return torch.from_numpy(np.array(given[:EXAMPLES] if len(given) > 1 else [*given] * 2, np.float32))


def said(error: Exception) -> str:
    """The first line of what an exception says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def compared(torch: Any, imported: Imported, whole: Any, body: Any, x: Any) -> float:
    """The largest difference of logits and outputs, relative to the largest; in float32. Where rounding makes it larger
    than EQUAL, float64 decides. Raises InputError where it is larger there."""
    def apart(one: Imported, whole: Any, body: Any, x: Any) -> float:
        rows = np.moveaxis(x.cpu().numpy(), 1, -1).reshape(len(x), *channels_last(x.shape[1:]))
        logits = torch.from_numpy(predict(one.network, np.ascontiguousarray(rows)))
        heads = {"softmax": torch.nn.Softmax(1), "log_softmax": torch.nn.LogSoftmax(1), "sigmoid": torch.nn.Sigmoid()}
        pairs = (logits, body(x).cpu()), (heads.get(one.head, torch.nn.Identity())(logits), whole(x).cpu())
        return float(np.max([(a - b).abs().max() / b.abs().max().clamp(min=1e-30) for a, b in pairs]))    # NaN stays

    at = next((p.device for p in whole.parameters()), x.device)
    difference = exact = apart(imported, whole, body, x.to(at))
    if not difference <= EQUAL:
        try:
            exact = apart(replace(imported, network=imported.network.astype(np.float64)),
                          *(copy.deepcopy(m).cpu().double() for m in (whole, body)), x.double())
        except RuntimeError:                                      # of a module that computes in float32 alone
            exact = difference
    if not exact <= EQUAL:
        raise InputError(f"torch: {type(whole[0]).__name__} and the network read from it differ by {exact:.1e} of the "
                         f"largest output, at most {EQUAL:g} is allowed; what is changed in place or by hooks, or drawn "
                         "at random, cannot be read")
    return difference


def walked(torch: Any, graph: Any, whole: Any, x: Any) -> tuple[list[Node], str, str]:
    """A traced graph, run on examples: its nodes, the value that it reads and the one that it gives. A value is known
    by its tensor: what is changed in place goes by its newest name."""
    values: dict[Any, Any] = {}
    names: dict[int, str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        args, options = torch.fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
        if node.op == "placeholder":
            values[node] = x
            names[id(x)] = source = node.name
        elif node.op == "get_attr":
            at, _, name = node.target.rpartition(".")
            values[node] = getattr(whole.get_submodule(at), name)
        elif node.op == "output":
            if id(args[0]) not in names:
                raise InputError(f"torch: the module gives {type(args[0]).__name__}, or what does not depend on x; it "
                                 "must give one tensor")
        else:
            values[node], made = called(torch, node, whole, (args, options), names)
            nodes += made
            if made:
                names[id(values[node])] = node.name
    return nodes, source, names[id(args[0])]


def called(torch: Any, node: Any, whole: Any, given: Any, names: Mapping[int, str]) -> tuple[Any, list[Node]]:
    """What a call gives, and its nodes; none of what is no tensor. Raises InputError for what npkd does not have."""
    (first, *rest), options = given
    if node.op == "call_module":
        target, path = whole.get_submodule(node.target), node.target[2:] or "the module"
        what = type(target).__name__
        kinds = (c.__name__ for c in type(target).__mro__ if c.__module__.startswith("torch.nn."))
        function = next((FUNCTIONS[k] for k in map(bare, kinds) if k in FUNCTIONS), "")
    else:
        what = (node.target if node.op == "call_method" else node.target.__name__).rstrip("_")
        target = (lambda x, *a, **o: getattr(x, node.target)(*a, **o)) if node.op == "call_method" else node.target
        path = [*(node.meta.get("nn_module_stack") or ("",))][-1][2:]
        path, function = f"forward{path and ' of ' + path}", FUNCTIONS.get(bare(what), "")
    where = f"{path} ({what})"
    try:
        value = target(first, *rest, **options)
    except Exception as error:
        if function:
            raise InputError(f"torch: {where}: {said(error)}; examples must be as the module takes them") from error
        value = first                                             # it is refused below
    if not any(isinstance(v, torch.Tensor) for v in (value if isinstance(value, (tuple, list)) else [value])):
        return value, []
    inputs = [v for v in (first, *rest, *options.values()) if id(v) in names]
    settings = target if node.op == "call_module" else SimpleNamespace(
        **{**DEFAULTS, **dict(zip(ARGUMENTS.get(function, "").split(), rest, strict=False)), **options})
    call = Call(where, function, settings, tuple(getattr(first, "shape", ())[1:]), tuple(value.shape[1:])
                if isinstance(value, torch.Tensor) else ())
    one = isinstance(value, torch.Tensor) and id(first) in names and len(inputs) == 1 + (function == "add")
    call.require(bool(function), "is unknown")
    call.require(one and value.shape[:1] == first.shape[:1], "is of other values than examples, or gives such")
    call.require(function != "add" or options.get("alpha", 1) == 1, "adds a multiple")
    steps = reshaped(call) if function == "flatten" else [translated(call)]
    values = [f"{node.name}:{k}" for k in range(1, len(steps))] + [node.name]
    return value, [Node(where, op, (values[k - 1],) if k else tuple(names[id(v)] for v in inputs), values[k], *more)
                   for k, (op, *more) in enumerate(steps)]


def reshaped(call: Call) -> list[Made]:
    """Values of an example in another shape: as they are, in a row, or a row as maps."""
    before, behind = channels_last(call.before), channels_last(call.behind)
    if before == behind:
        return [("identity", (), {}, ())]
    if len(behind) == 1:
        return [("flatten", (), {}, ())]
    call.require(len(before) == 1, "rearranges maps")
    order = flat_order(behind)
    return [*([("select", (), {"kept": order.tolist()}, ())] if order is not None else list[Made]()),
            ("unflatten", (), {"shape": list(behind)}, ())]


def translated(call: Call) -> Made:
    """A call as an op of npkd. Raises InputError for settings that npkd does not have."""
    s, name, axes = call.settings, call.function, len(call.before) + 1
    if name in ("linear", "conv"):
        return weights_of(call)
    if "_pool" in name:
        return pool_of(call)
    if name == "batch_norm":
        call.require(s.running_mean is not None and not s.training, "takes the moments of the batch")
        moments = numbers(s.running_mean), numbers(s.running_var)
        gamma, beta = (np.full_like(moments[0], k) if p is None else numbers(p) for k, p in ((1, s.weight), (0, s.bias)))
        return name, (gamma, beta), {"eps": float(s.eps)}, moments
    if name == "mean":
        dims = [s.dim] if isinstance(s.dim, int) else list(s.dim or range(axes))
        call.require(axes > 2 and sorted(d % axes for d in dims) == list(range(2, axes)), "is no mean of whole maps")
        return "global_average_pool", (), {}, ()
    call.require(name != "gelu" or s.approximate == "none", "has approximate='tanh'")
    call.require("softmax" not in name or (1 if s.dim is None else s.dim) % axes == 1, "does not go along the channels")
    call.require(name != "dropout" or not s.training, "draws in every mode (training=True)")
    options = {"leaky_relu": {"slope": "negative_slope"}, "elu": {"alpha": "alpha"}}.get(name, {})
    return ("identity" if name == "dropout" else name, (),
            {ours: float(getattr(s, theirs)) for ours, theirs in options.items()}, ())


def weights_of(call: Call) -> Made:
    """A layer of weights as an op of npkd."""
    s, w = call.settings, numbers(call.settings.weight)
    b = np.zeros(len(w), np.float32) if s.bias is None else numbers(s.bias)
    if call.function == "linear":
        return "dense", (w, b), {}, ()
    w = w[:, :, None] if w.ndim == 3 else w
    stride, dilation = (1, 1) if s.stride is None else call.pair("stride", 1), call.pair("dilation", 1)
    sides = [d * (k - 1) for d, k in zip(dilation, w.shape[2:], strict=True)] if s.padding == "same" else [0, 0]
    call.require(sides[0] % 2 == sides[1] % 2 == 0, "pads one side more than the other (padding='same')")
    padding = (sides[0] // 2, sides[1] // 2) if isinstance(s.padding, str) else call.pair("padding", 0)
    call.require(s.padding_mode == "zeros" or padding == (0, 0), f"has padding_mode={s.padding_mode!r}")
    return "conv2d", (w.transpose(0, 2, 3, 1).copy(), b), {
        "stride": stride, "padding": padding, "dilation": dilation, "groups": int(s.groups)}, ()


def pool_of(call: Call) -> Made:
    """A pooling as an op of npkd."""
    s, op = call.settings, "max_pool" if "max" in call.function else "average_pool"
    before, behind = channels_last(call.before)[:2], channels_last(call.behind)[:2]
    if "adaptive" in call.function:
        call.require(all(n % m == 0 for n, m in zip(before, behind, strict=True)), "has windows of different sizes")
        size = before[0] // behind[0], before[1] // behind[1]
        return ("global_average_pool", (), {}, ()) if behind == (1, 1) else (op, (), {"size": size}, ())
    size, padding, stride = call.pair("kernel_size", 1), call.pair("padding", 0), None if s.stride is None else call.pair("stride", 1)
    whole = tuple((n + 2 * p - k) // t + 1 for n, p, k, t in zip(before, padding, size, stride or size, strict=True))
    call.require(np.max(call.pair("dilation", 1)) == 1, "is dilated")
    call.require(whole == behind, "has windows beyond the maps (ceil_mode=True)")
    if op == "average_pool":
        call.require(s.count_include_pad or padding == (0, 0), "leaves the padding out (count_include_pad=False)")
        call.require(getattr(s, "divisor_override", None) is None, "has a divisor of its own (divisor_override)")
    return op, (), {"size": size, "stride": stride or size, "padding": padding}, ()


def bare(name: str) -> str:
    """A name without 1d or 2d behind it."""
    return name.removesuffix("1d").removesuffix("2d")


def numbers(tensor: Any) -> Array:
    """The values of a tensor, a copy, float32."""
    return np.array(tensor.detach().cpu().numpy(), np.float32)
