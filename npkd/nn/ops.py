"""The table of ops: one row an op, with all that other code needs to know of it. One's own op is a row as well."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from npkd.core.types import Array, Backward
from npkd.core.validation import InputError, one_of
from npkd.nn.activations import elu, gelu, leaky_relu, maxout, relu, sigmoid, silu, tanh
from npkd.nn.clipped import clipped_linear, clipped_quadratic
from npkd.nn.convolution import conv2d, depthwise_conv2d
from npkd.nn.layers import dense, dropout, flatten, gate, offset, select, unflatten
from npkd.nn.normalisation import batch_norm
from npkd.nn.pooling import average_pool, global_average_pool, max_pool
from npkd.nn.quantize import quantize
from npkd.nn.skips import add, recall


@dataclass(frozen=True)
class Op:
    """One row of the table. Columns left out claim nothing: the op is then computed, and its neurons are not removed.

    function     ``y, backward = function(x, *params, *, options)``, ``backward(dy) -> (dx, *dparams)``, named like it.
                 A second argument ``skip`` is an earlier activation; an option ``rng`` draws while training; an option
                 ``running`` stands for the moments of the batch when the network predicts
    shapes       axes of each parameter, equal letters for equal lengths, "..." for any: gate ("J",). Of layers of
                 weights, y = w x + b, the first axis is O, the neurons made, the last I, those read: dense ("O I", "O")
    per_neuron   neuron j of the output depends on neuron j of the input, and on entry j of each parameter's last axis
    maps         True: x must be maps (N, H, W, C); False: rows (N, I); None: either
    flat         gives the values of an example of any shape in a row
    front        may stand in front of the first layer of weights
    slope        Lipschitz bound of each neuron when the network predicts, |y_j(a) − y_j(b)| ≤ slope max_i |a_i − b_i|
                 over the entries i it is made of: a number, or a function of the options; None: unknown, or ``affine``
    affine       (*params, *, options, running) -> s, t, (J,) each, where the op is s x + t when the network predicts
    homogeneous  f(g x) = g f(x) for a factor g of each channel: "all" of them, "positive" ones (g ≥ 0), or "none"
    entries      (shape of one input, *, options) -> (K, m): the entries of the input's last axis that each of the K
                 entries of the output's last axis is made of; by default entry k alone, if ``per_neuron``
    width        (*, options) -> the least number of values in a row that the op takes
    recalls      gives ``skip`` itself, and nothing of x: its entries are those of skip, and those of x go no further
    """

    function: Callable[..., tuple[Array, Backward]]
    shapes: tuple[str, ...] = ()
    per_neuron: bool = False
    maps: bool | None = None
    flat: bool = False
    front: bool = False
    slope: float | Callable[..., float] | None = None
    affine: Callable[..., tuple[Array, Array]] | None = None
    homogeneous: str = "none"
    entries: Callable[..., Array] | None = None
    width: Callable[..., int] | None = None
    recalls: bool = False

    def __post_init__(self) -> None:
        if not getattr(self.function, "__name__", "<").isidentifier():
            raise InputError("Op: the function has no name of its own to be stored under; define it with def")
        one_of(f"Op {self.name}", "homogeneous", self.homogeneous, ("none", "positive", "all"))
        if not isinstance(self.shapes, tuple) or not all(isinstance(axes, str) for axes in self.shapes):
            raise InputError(f"Op {self.name}: shapes is {self.shapes!r}; it must be a tuple of strings, the axes of "
                             'each parameter with spaces between them, such as ("O I", "O")')
        if self.shapes and len(self.shapes) != len(self.params):
            raise InputError(f"Op {self.name}: got {len(self.shapes)} shapes; it needs one for each of {self.params}")

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """The name under which a file stores the op."""
        return self.function.__name__

    @cached_property
    def arguments(self) -> Mapping[str, inspect.Parameter]:
        """The arguments of the function behind x."""
        return dict(list(inspect.signature(self.function).parameters.items())[1:])

    @cached_property
    def params(self) -> tuple[str, ...]:
        """Names of the parameters, in order: ``OPS["dense"].params == ("w", "b")``."""
        return tuple(name for name, a in self.arguments.items() if a.kind is a.POSITIONAL_OR_KEYWORD and name != "skip")

    @cached_property
    def options(self) -> Mapping[str, Any]:
        """The static options with their defaults, ``inspect.Parameter.empty`` where there is none."""
        named = {name: a.default for name, a in self.arguments.items() if a.kind is a.KEYWORD_ONLY}
        static = {name: default for name, default in named.items() if name not in ("rng", "running")}
        return {"back": inspect.Parameter.empty, **static} if self.skip else static

    def fits(self, shapes: Sequence[tuple[int, ...]]) -> bool:
        """Has every parameter the axes that the row names, and equal lengths where the letters are equal?"""
        lengths: dict[str, int] = {}
        for letters, shape in zip(map(str.split, self.shapes), shapes, strict=False):
            equal = [lengths.setdefault(k, n) == n for k, n in zip(letters, shape, strict=False)]
            if letters != ["..."] and (len(letters) != len(shape) or not all(equal)):
                return False
        return True

    @property
    def weights(self) -> bool:
        """Does the op make new neurons of those it reads, y = w x + b?"""
        return len(self.shapes) == 2 and self.shapes[0][:1] + self.shapes[0][-1:] == "OI"

    @property
    def dense(self) -> bool:
        """Are these weights of rows (N, I), not of maps?"""
        return self.weights and self.shapes[0] == "O I"

    @property
    def depthwise(self) -> bool:
        """Are these weights of maps that make each channel of itself alone, y_j = w_j x_j + b_j?"""
        return self.per_neuron and self.shapes == ("kh kw J", "J")

    @property
    def skip(self) -> bool:
        """Does it read an earlier activation too?"""
        return "skip" in self.arguments

    @property
    def random(self) -> bool:
        """Does it draw while training?"""
        return "rng" in self.arguments

    @property
    def running(self) -> bool:
        """Does it keep running moments of its input?"""
        return "running" in self.arguments

    @property
    def activation(self) -> bool:
        """May it stand between layers of weights without being told anything: relu and its like."""
        bare = not (self.params or self.random or self.skip) and inspect.Parameter.empty not in self.options.values()
        return bare and self.per_neuron and self.slope is not None

    def entries_of(self, shape: tuple[int, ...], options: Mapping[str, Any]) -> Array:
        """``entries`` for an input of that shape, (K, m). Raises InputError where an op has none."""
        if self.entries is not None:
            return self.entries(shape, **options)
        if not self.per_neuron:
            raise InputError(f"Op {self.name}: its row does not say what outputs depend on; set per_neuron or entries")
        return np.arange(shape[-1])[:, None]


def affine_of_batch_norm(gamma: Array, beta: Array, *, eps: float, running: tuple[Array, Array]) -> tuple[Array, Array]:
    """What batch norm is when the network predicts: x ↦ s x + t, (J,) each.

        s = γ / √(v + ε),   t = β − s m                                               (U6)
    """
    mean, variance = running
    s = gamma / np.sqrt(variance + eps)                                               # (U6)
    return s, beta - s * mean                                                         # (U6)


OPS: Mapping[str, Op] = {op.name: op for op in (
    Op(dense, ("O I", "O"), maps=False),
    Op(conv2d, ("O kh kw I", "O"), maps=True),
    Op(depthwise_conv2d, ("kh kw J", "J"), per_neuron=True, maps=True, front=True),
    Op(relu, per_neuron=True, slope=1.0, homogeneous="positive"),
    Op(tanh, per_neuron=True, slope=1.0),
    Op(sigmoid, per_neuron=True, slope=0.25),
    Op(leaky_relu, per_neuron=True, slope=lambda *, slope: max(1.0, abs(slope)), homogeneous="positive"),
    Op(elu, per_neuron=True, slope=lambda *, alpha: max(1.0, abs(alpha))),
    Op(gelu, per_neuron=True, slope=1.1289042),          # rounded up; attained at √2
    Op(silu, per_neuron=True, slope=1.0998394),          # rounded up; attained at 2.39936
    Op(clipped_linear, per_neuron=True, slope=lambda *, shift: 2.0 ** -shift),
    Op(clipped_quadratic, per_neuron=True, slope=lambda *, shift: 2.0 ** (1 - shift)),
    Op(maxout, per_neuron=True, slope=1.0, entries=lambda shape, *, pieces: np.arange(shape[-1]).reshape(-1, pieces)),
    Op(gate, ("J",), per_neuron=True, affine=lambda g: (g, np.zeros_like(g))),
    Op(batch_norm, ("J", "J"), per_neuron=True, affine=affine_of_batch_norm),
    Op(offset, ("...",), per_neuron=True, slope=1.0),
    Op(dropout, per_neuron=True, front=True, slope=1.0, homogeneous="all"),
    Op(select, maps=False, front=True, slope=1.0, homogeneous="all", width=lambda *, kept: int(max(kept)) + 1,
       entries=lambda shape, *, kept: np.asarray(kept)[:, None]),
    Op(flatten, maps=False, flat=True, front=True, slope=1.0, homogeneous="all",
       entries=lambda shape: np.tile(np.arange(shape[-1]), int(np.prod(shape[:-1], dtype=int)))[:, None]),
    Op(unflatten, maps=False, front=True, slope=1.0, width=lambda *, shape: int(np.prod(shape)),
       entries=lambda rows, *, shape: np.arange(rows[-1]).reshape(-1, shape[-1]).T),
    Op(max_pool, per_neuron=True, maps=True, front=True, homogeneous="positive"),
    Op(average_pool, per_neuron=True, maps=True, front=True, homogeneous="all"),
    Op(global_average_pool, per_neuron=True, maps=True, front=True, homogeneous="all"),
    Op(quantize, per_neuron=True, front=True),           # no Lipschitz bound: it jumps
    Op(recall, recalls=True),
    Op(add, per_neuron=True))}
"""The ops of npkd by name."""
