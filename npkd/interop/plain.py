"""A network as it is written out in code: what only training needs left out, every layer as text with numbers put in.

The text of C stands in student.h.in, that of Python in predict.py.in: sections, each behind a line "@@ name"."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npkd.compression.integer import IntegerNetwork
from npkd.core.grids import odd_part
from npkd.core.types import Array
from npkd.core.validation import InputError, as_array
from npkd.nn import cost
from npkd.nn.convolution import Grid, pair
from npkd.nn.model import Model
from npkd.nn.network import Layer, Network, reads_maps
from npkd.surgery.folding import affine, fold, skipped, without


def sections(name: str) -> dict[str, str]:
    """The texts in a file beside this one, by name."""
    parts = re.split(r"^@@ (.*)\n", Path(__file__).with_name(name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@dataclass(frozen=True, eq=False)
class Step:
    """A layer: ``op``, a name of OPS or "affine"; its arrays; the numbers that its text asks for; back as of a Layer."""

    op: str
    back: int
    arrays: dict[str, Array]
    fields: dict[str, Any]


def step_of(layer: Layer, before: Sequence[int], behind: Sequence[int]) -> Step:
    """A layer that reads examples of shape ``before`` and makes them ``behind``."""
    op, o, arrays = str(layer.op), layer.settings, dict(zip(layer.row.params, layer.params, strict=True))
    fields = {**o, "C": before[-1], "P": math.prod(before[:-1]), "I": before[-1], "unflattened": tuple(behind)}
    if (both := affine(layer)) is not None:
        op, arrays = "affine", dict(zip("st", (a.astype(np.float32) for a in both), strict=True))
    elif op == "depthwise_conv2d":
        op, arrays["w"], o = "conv2d", np.moveaxis(arrays["w"], -1, 0)[..., None], {**o, "groups": before[-1]}
    elif op == "select":
        arrays = {"kept": np.asarray(o["kept"])}
    if op in ("conv2d", "max_pool", "average_pool"):
        kernel = arrays["w"].shape[1:3] if op == "conv2d" else pair("export", "size", o["size"], 1)
        grid = Grid("export", before, kernel, o["stride"] or kernel, o["padding"], o.get("dilation", 1))
        for name, values in zip("ksdp", (grid.kernel, grid.stride, grid.dilation, grid.padding), strict=True):
            fields |= dict(zip((f"{name}h", f"{name}w") if name == "k" else (f"{name}y", f"{name}x"), values, strict=True))
        fields |= {"H": before[0], "W": before[1], "Q": behind[1], "F": behind[2], "count": math.prod(grid.kernel)}
    if op == "conv2d":
        fields |= {"groups": o["groups"], "D": arrays["w"].shape[3], "per": behind[2] // o["groups"]}
    c = f"k % {behind[-1]}" if len(behind) > 1 else "k"
    return Step(op, layer.back, arrays, fields | {"half": 2.0 ** o.get("shift", 0), "c": c, "size": math.prod(behind)})


@dataclass(frozen=True, eq=False)
class Plain:
    """A model to be written out.

    inputs      shape of a raw example;   kept   the values of it that are read, scaled: indices, (I,)
    network     what reads them: float32, batch norms and gates folded in; of whole numbers their simulation, float64
    whole       the network in whole numbers, None of floats
    numbers     "float"; "int8": bytes, summed up in int32; "dyadic": the same where all weights are 0 or ± powers of
                two, or all factors are: sums of shifted numbers
    """

    model: Model
    inputs: tuple[int, ...]
    kept: Array
    network: Network
    whole: IntegerNetwork | None
    numbers: str

    @staticmethod
    def of(model: Model, shape: Sequence[int] | None = None) -> Plain:
        """Of a model; ``shape`` of an example, (H, W, C), where its layers do not tell it. Raises InputError without
        one, for one of another size, for ops of one's own, and for a batch norm without running moments."""
        network, given = model.network, tuple(shape or ())
        for i, layer in enumerate(network.layers):
            if layer.row is layer.op or (layer.row.running and not layer.running):
                what = "is an op of your own" if layer.row is layer.op else "has no running moments"
                raise InputError(f"export: layer {i}, {layer.row}, {what}; it cannot be written out")
        if not (reads_maps(network) and given):
            known = model.scaling.offset.shape if model.scaling else cost.input_shape(network)
            if given and math.prod(given) != known[0]:
                raise InputError(f"export: shape is {given}; an example of this network has {known[0]} values")
            given = known
        given, kept = (*given, 1)[:max(len(given), 3)] if len(given) > 1 else given, np.arange(math.prod(given))
        if network.layers[0].op == "select" and 0 not in skipped(network) and len(network.layers) > 1:
            kept, network = kept[np.asarray(network.layers[0].options["kept"])], without(network, 0)
        for shifts in (True, False):
            try:
                whole = IntegerNetwork.of(network, shifts=shifts)
            except InputError:
                continue
            weights = [odd_part(a[0].astype(np.float64))[0] for layer, a in whole.layers if layer.row.weights]
            numbers = "dyadic" if shifts or all((abs(m) <= 1).all() for m in weights) else "int8"
            return Plain(model, given, kept, whole.simulation, whole, numbers)
        network = fold(network.astype(np.float64)).astype(np.float32)
        return Plain(model, given, kept, network, None, "float")

    @property
    def bare(self) -> bool:
        """Do raw examples go in as they are?"""
        return self.model.scaling is None and self.whole is None and len(self.kept) == math.prod(self.inputs)

    @property
    def inner(self) -> tuple[int, ...]:
        """The shape of an example as the network reads it."""
        return self.inputs if len(self.kept) == math.prod(self.inputs) else self.kept.shape

    def steps(self, layers: Sequence[Layer]) -> list[Step]:
        """The steps of layers."""
        shapes = cost.shapes(Network(layers), self.inner)
        return [step_of(layer, *shapes[i:i + 2]) for i, layer in enumerate(layers)]

    def fields(self) -> dict[str, Any]:
        """What both languages say of the network."""
        outputs = cost.shapes(self.network, self.inner)[-1][-1]
        return {"chain": "-".join(map(str, self.network.widths)), "numbers": self.numbers, "outputs": outputs,
                "inputs": math.prod(self.inputs), "shape": " x ".join(map(str, self.inputs)), "last": outputs - 1}

    def classes(self, x: Array) -> Array:
        """The class (N,) of raw examples x (N, ...), float32, by npkd: of whole numbers by their own pass."""
        x = as_array("export", x).astype(np.float32)
        rows = self.model.scaling.apply(x) if self.model.scaling else x.reshape(len(x), -1)
        y = self.model.logits(x) if self.whole is None else self.whole(rows[:, self.kept].reshape(-1, *self.inner))
        return np.asarray(y[:, 0] > 0, np.int64) if y.shape[1] == 1 else y.argmax(axis=1)
