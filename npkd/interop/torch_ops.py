"""What each call of PyTorch is in npkd's bridge: one function for those that are alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.batches import plain
from npkd.interop.entry import channels_last, flat_order
from npkd.interop.graph import Node
from npkd.interop.torch_out import DEFAULTS
from npkd.interop.windows import evened, pool_options

made = partial(Node, "", inputs=(), output="")                # a node without its place in the graph


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
    window = {"size": size, "stride": size if s.stride is None else call.pair("stride", 1),
              "padding": call.pair("padding", 0), "dilation": call.pair("dilation", 1)}
    return made(op, options=pool_options((h, w), window, s.ceil_mode, "max" in op or s.count_include_pad, call.require))


def numbers(tensor: Any) -> Array:
    """The values of a tensor, a copy, float32."""
    return np.array(plain(tensor), np.float32)
