"""A network as it is written out in code: each layer as a text with arrays and numbers put in.

The texts stand in student.h.in for C and in predict.py.in for Python, each behind a line "@@ name"."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from textwrap import wrap
from typing import Any

import numpy as np
from scipy.special import expit

from npkd.compression.integer import IntegerNetwork
from npkd.core.files import write_text
from npkd.core.grids import odd_part
from npkd.core.types import Array
from npkd.core.validation import InputError, as_array
from npkd.nn import cost
from npkd.nn.convolution import Grid, pair
from npkd.nn.model import Model
from npkd.nn.network import Layer, Network, reads_maps
from npkd.surgery.folding import affine, fold, skipped, without

NUMBERS = ("kh", "kw", "sy", "sx", "dy", "dx", "py", "px", "H", "W", "C", "Q", "F")
"""Of windows: kernel, stride, dilation and padding of a Grid, maps H×W×C read, Q columns, F channels made."""
FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic")


def sections(name: str) -> dict[str, str]:
    """The texts in a file beside this one, by name."""
    parts = re.split(r"^@@ (.*)\n", Path(__file__).with_name(name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@dataclass(frozen=True, eq=False)
class Step:
    """A layer: ``op``, a name of OPS or "affine"; back, as of a Layer; its arrays, and all numbers of it, by name."""

    op: str
    back: int
    arrays: dict[str, Array]
    fields: dict[str, Any]


def step_of(layer: Layer, before: Sequence[int], behind: Sequence[int]) -> Step:
    """A layer that makes examples of shape ``behind`` of those of shape ``before``."""
    op, o, arrays = str(layer.op), layer.settings, dict(zip(layer.row.params, layer.params, strict=True))
    if (both := affine(layer)) is not None:
        op, arrays = "affine", dict(zip("st", (a.astype(np.float32) for a in both), strict=True))
    elif op == "depthwise_conv2d":
        op, arrays["w"], o = "conv2d", np.moveaxis(arrays["w"], -1, 0)[..., None], {**o, "groups": before[-1]}
    elif op == "select":
        arrays = {"kept": np.asarray(o["kept"])}
    fields = {**o, "C": before[-1], "P": math.prod(before[:-1]), "behind": tuple(behind), "size": math.prod(behind),
              "half": 2.0 ** o.get("shift", 0), "c": f"k % {behind[-1]}" if len(behind) > 1 else "k"}
    if op in ("conv2d", "max_pool", "average_pool"):
        kernel = arrays["w"].shape[1:3] if op == "conv2d" else pair("export", "size", o["size"], 1)
        grid = Grid("export", before, kernel, o["stride"] or kernel, o["padding"], o.get("dilation", 1))
        numbers = (*grid.kernel, *grid.stride, *grid.dilation, *grid.padding, *before, *behind[1:])
        fields |= dict(zip(NUMBERS, numbers, strict=True))
        fields |= {"count": math.prod(grid.kernel), "D": before[-1] // o.get("groups", 1)}
        fields["per"] = behind[2] // o.get("groups", 1)
    return Step(op, layer.back, arrays, fields)


@dataclass(frozen=True, eq=False)
class Plain:
    """A model to be written out.

    inputs      shape of a raw example;   kept   the values of it that are read, scaled: indices, (I,)
    network     what reads them: float32, batch norms and gates folded in; of whole numbers their simulation, float64
    whole       the network in whole numbers, None of floats
    numbers     "float"; "int8": bytes, summed up in int32; "dyadic": the same where all weights are 0 or ± powers of
                two, or all factors are: sums of shifted numbers
    because     why a network with activations in bytes is written in floats, else ""
    """

    model: Model
    inputs: tuple[int, ...]
    kept: Array
    network: Network
    whole: IntegerNetwork | None
    numbers: str
    because: str = ""

    @staticmethod
    def of(model: Model, shape: Sequence[int] | None = None) -> Plain:
        """Of a model; ``shape`` of an example, (H, W, C), where its layers do not tell it, or read only its first
        values. Raises InputError without one, and for one of another size."""
        network, given = model.network, tuple(shape or ())
        if not (reads_maps(network) and given):
            known = model.scaling.offset.shape if model.scaling else cost.input_shape(network)
            if network.layers[0].op == "select" and not model.scaling:            # the last inputs may not be read
                more = math.prod(given) if given else model.about.get("inputs")
                known = (max(*known, more if isinstance(more, int) and more < 2 ** 24 else 0),)
            if given and math.prod(given) != known[0]:
                raise InputError(f"export: shape is {given}; an example of this network has {known[0]} values")
            given = known
        given, kept = (*given, 1)[:max(len(given), 3)] if len(given) > 1 else given, np.arange(math.prod(given))
        if network.layers[0].op == "select" and 0 not in skipped(network) and len(network.layers) > 1:
            kept, network = kept[np.asarray(network.layers[0].options["kept"])], without(network, 0)
        for shifts in (True, False):
            try:
                whole = IntegerNetwork.of(network, shifts=shifts)
            except InputError as error:
                why = f"Written in floats, though activations are bytes: {str(error).partition(': ')[2]}"
                continue
            weights = [odd_part(a[0].astype(np.float64))[0] for layer, a in whole.layers if layer.row.weights]
            numbers = "dyadic" if shifts or all((abs(m) <= 1).all() for m in weights) else "int8"
            return Plain(model, given, kept, whole.simulation, whole, numbers)
        why = why.partition(";")[0] if any(layer.op == "quantize" for layer in network.layers) else ""
        return Plain(model, given, kept, fold(network.astype(np.float64)).astype(np.float32), None, "float", why)

    @property
    def outputs(self) -> int:
        """How many numbers are predicted, where the model says that it does so; 0: classes are."""
        return cost.shapes(self.network, self.inner)[-1][-1] * (self.model.about.get("task") == "regression")

    @property
    def inner(self) -> tuple[int, ...]:
        """The shape of an example as the network reads it."""
        return self.inputs if len(self.kept) == math.prod(self.inputs) else self.kept.shape

    def steps(self, layers: Sequence[Layer], text: dict[str, str]) -> list[Step]:
        """The steps of layers. Raises InputError for one that the texts of a language do not know."""
        shapes = cost.shapes(Network(layers), self.inner)
        steps = [step_of(layer, *shapes[i:i + 2]) for i, layer in enumerate(layers)]
        for i, step in enumerate(steps):
            if f"value {step.op}" not in text and f"loop {step.op}" not in text:
                raise InputError(f"export: layer {i}, {step.op}, cannot be written out: an op of your own, or a batch "
                                 "norm without running moments")
        return steps

    def fields(self, text: dict[str, str], prefix: str = "") -> dict[str, Any]:
        """What both languages say of the network, in the texts of one, lines of comments behind a prefix."""
        first = self.model.network.layers[0]
        maps = tuple(first.options["shape"]) if first.op == "unflatten" else self.inputs
        shape = f", rows x columns x channels: {' x '.join(map(str, maps))}" if len(maps) > 1 else ""
        size = [n for n in maps if n > 1]
        other = f" or (x.ndim > 2 and [n for n in x.shape[1:] if n > 1] != {size})" if shape else ""
        outputs, gives = cost.shapes(self.network, self.inner)[-1][-1], "numbers" if self.outputs else "classes"
        found = {"chain": "-".join(map(str, self.network.widths)), "numbers": self.numbers, "outputs": outputs,
                 "inputs": math.prod(self.inputs), "shape": shape, "other": other, "last": outputs - 1,
                 "because": "".join(f"{prefix}{line}\n" for line in wrap(self.because, 110)),
                 "logits": "predict" if self.outputs else "logits",
                 "squashed": ""}
        if self.outputs and self.model.about.get("head") == "sigmoid":
            found["squashed"] = Template(text["squashed"]).substitute(found)
        return found | {part: Template(text.get(f"{part} {gives}", "")).substitute(found)
                        for part in ("says", "declared", "predict")}

    def answers(self, x: Array) -> Array:
        """The class (N,), or numbers (N, O), of raw examples x (N, ...), float32; whole numbers by their own pass."""
        x = as_array("export", x).astype(np.float32)
        if x[0].size != math.prod(self.inputs):
            raise InputError(f"export: an example of the data has {x[0].size} values; the network takes "
                             f"{math.prod(self.inputs)}")
        rows = self.model.scaling.apply(x) if self.model.scaling else x.reshape(len(x), -1)
        y = self.model.logits(x) if self.whole is None else self.whole.logits(
            rows[:, self.kept].reshape(-1, *self.inner))
        if self.outputs:
            return expit(y) if self.model.about.get("head") == "sigmoid" else y
        return (y[:, 0] > 0).astype(np.int64) if y.shape[1] == 1 else y.argmax(axis=1)


def answers(path: Path, x: Array, numbers: int = 0, flags: Sequence[str] = ()) -> Array:
    """The class (N,), or so many numbers (N, O), that a predict.py, run without npkd, or a header, compiled with FLAGS
    and ``flags``, gives raw examples x (N, ...). Raises InputError without a compiler, and where something fails."""
    rows, compiler = np.ascontiguousarray(x.reshape(len(x), -1), np.float32), shutil.which("cc") or shutil.which("gcc")
    if path.suffix == ".h" and compiler is None:
        raise InputError("export: no C compiler, cc or gcc, is found to check with; install one")
    with tempfile.TemporaryDirectory() as folder:
        main, run, data = (Path(folder, name) for name in ("main.c", "main", "x.npy"))
        np.save(data, rows)
        write_text(main, Template(sections("student.h.in")["main of numbers" if numbers else "main"]).substitute(
            header=path.resolve().as_posix(), inputs=rows.shape[1], outputs=numbers))
        for command in ([compiler, *FLAGS, *flags, main, "-o", run, "-lm"], [run]) if path.suffix == ".h" else (
                [sys.executable, "-I", path, data],):
            done = subprocess.run([*map(str, command)], input=rows.tobytes(), capture_output=True, check=False)
            if done.returncode or done.stderr:
                said = done.stderr.decode(errors="replace").strip()
                raise InputError(f"export: {Path(str(command[0])).name} fails on {path} ({said[-300:]})")
    found = np.array(done.stdout.split(), np.float64)
    return found.reshape(-1, numbers) if numbers else found.astype(np.int64)
