"""A network as a C99 header of plain functions and constant arrays: of floats, bytes, or additions and shifts alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from string import Template
from textwrap import indent

import numpy as np

from npkd.core.files import NewPath, write_text
from npkd.core.grids import grid
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.interop.plain import Plain, Step, sections
from npkd.nn.model import Model

TYPES = {"int8_t": (-128, 127), "uint8_t": (0, 255), "int16_t": (-32768, 32767), "int32_t": (-2 ** 31, 2 ** 31 - 1)}
SIZES = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "int32_t": 4, "float": 4, "double": 8}
"""Whole numbers that fit into the types of C, and bytes of all that are used."""
PLACES = {"dense w": "k * $C + j", "conv2d w": "((c * $kh + i) * $kw + j) * $D + d", "offset m": "k",
          "select kept": "k"}
"""Which entry of an array is read, where it is not that of the channel."""


def integer_type(low: int, high: int) -> str:
    """The narrowest type of C for whole numbers from low to high."""
    return next(kind for kind, (least, most) in TYPES.items() if least <= low and high <= most)


class Program:
    """The parts of a header, while its loops are written one after the other.

    Each loop makes one activation: values of its own, the first step of a group, and what the others do to each."""

    def __init__(self, plain: Plain) -> None:
        self.plain, self.text, self.constants, self.flash = plain, sections("student.h.in"), list[str](), 0
        layers, numbers = list(plain.network.layers), [a for _, a in plain.whole.layers] if plain.whole else []
        for _ in layers:                                          # rounding is monotone: it may come before a maximum
            for i in range(len(numbers) - 1):
                if layers[i].op in ("relu", "max_pool") and layers[i + 1].op == "quantize":
                    layers[i:i + 2], numbers[i:i + 2] = layers[i + 1::-1][:2], numbers[i + 1::-1][:2]
        self.steps = [Step("input", 0, {}, {"size": math.prod(plain.inner)}), *plain.steps(layers, self.text)]
        for step, a in zip(self.steps[1:], numbers, strict=False):
            step.arrays.update({"w": a[0], "b": a[1]} if "w" in step.arrays else
                               {"multiplier": self.factors(a[0]), "shift": a[1]} if a else {})
        self.names, self.buffers = dict[int, str](), list[tuple[str, int, int]]()   # of these: type, size, last reader
        self.number, self.range = "int32_t" if plain.whole else "float", (0, 0)      # of v: type, least and largest

    def factors(self, m: Array) -> Array:
        """Factors, or where all are powers of two their exponents."""
        return np.log2(m).astype(np.int64) if self.plain.whole and self.plain.whole.shifts else m

    def array(self, name: str, a: Array, place: str = "k") -> str:
        """An entry of an array, which becomes a constant; a number where all entries are alike."""
        kind = {"f4": "float", "f8": "double"}.get(a.dtype.str[1:]) or integer_type(int(a.min()), int(a.max()))
        words = [f"{v:.{9 if kind == 'float' else 17}g}" if a.dtype.kind == "f" else str(v) for v in a.ravel().tolist()]
        if len(set(words)) == 1:
            return f"({kind}){words[0]}"
        many, self.flash = 119 // (max(map(len, words)) + 1), self.flash + a.size * SIZES[kind]
        rows = ",\n".join(",".join(words[i:i + many]) for i in range(0, len(words), many))
        self.constants.append(f"static const {kind} npkd_{name}[{a.size}] = {{\n{rows}}};\n")
        return f"npkd_{name}[{place}]"

    def said(self, text: str, t: int, **more: str) -> str:
        """A text about step t, its arrays and numbers put in."""
        step = self.steps[t]
        fields = {**step.fields, **more, "T": self.number, "skip": self.names.get(t - 1 - step.back)}
        places = {name: Template(PLACES.get(f"{step.op} {name}", "$c")).substitute(fields) for name in step.arrays}
        arrays = {name: self.array(f"{name}{t}", a, places[name]) for name, a in step.arrays.items()}
        return Template(text).substitute(fields, **arrays)

    def value(self, t: int) -> str:
        """What step t does to v, the value at place k."""
        step, section = self.steps[t], self.steps[t].op
        if section == "relu":
            self.range = max(self.range[0], 0), max(self.range[1], 0)
        if section == "quantize" and self.plain.whole:
            section = "requantised" if step.arrays else "dropout"             # inputs are rounded as they are read
            self.range = step.fields["low"] - step.fields["zero"], step.fields["high"] - step.fields["zero"]
        return self.said(self.text[f"value {section}"], t)

    def made(self, group: list[int]) -> str:
        """What makes v of the activation before a group of steps, and what they do to it."""
        t, x, whole = group[0], self.names.get(group[0] - 1, "x"), self.plain.whole is not None
        step, text = self.steps[t], self.text.get(f"loop {self.steps[t].op}", "")
        if step.op == "input":
            kept, scaling = self.plain.kept, self.plain.model.scaling
            read = f"x[{self.array('kept', kept) if len(kept) < math.prod(self.plain.inputs) else 'k'}]"
            if scaling:
                offset, factor = (self.array(name, a[kept]) for name, a in vars(scaling).items())
                read = f"(float)({read} - {offset}) * {factor}"
            text = Template(text).substitute(T=self.number, read=f"npkd_quantised({read})" if whole else read)
        elif not text:                                                       # all values of an earlier activation
            return Template(self.text["loop copy"]).substitute(T=self.number, x=x) + "".join(map(self.value, group))
        elif "w" in step.arrays:
            with suppress(InputError):                                       # weights on grids are bytes
                if not whole:
                    s, step.arrays["w"] = grid(step.arrays["w"])
                    step.arrays["s"] = s.astype(np.float32)
            text, self.range = text + self.text["sum of bytes" if "s" in step.arrays else "sum"], TYPES["int32_t"]
        elif step.op == "average_pool":
            many, text = step.fields["count"], text + self.text["mean"] * (not whole)
            self.range = many * self.range[0], many * self.range[1]
        least = "-2147483647" if whole else "-3.402823466e+38F"
        return self.said(text, t, x=x, least=least) + "".join(map(self.value, group[1:]))

    def buffer(self, groups: list[list[int]], out: int, kind: str, g: int) -> str:
        """The name of a buffer for activation ``out``, which loop g makes, the first of the groups that are left."""
        last = max(k for k, group in enumerate(groups, g) for t in group if out in (t - 1, t - 1 - self.steps[t].back))
        at = next((k for k, (one, _, until) in enumerate(self.buffers) if one == kind and until < g), len(self.buffers))
        size = max([self.steps[out].fields["size"], *(n for _, n, _ in self.buffers[at:at + 1])])
        self.buffers[at:at + 1] = [(kind, size, last)]
        return f"npkd_h{at}"

    def body(self, result: str) -> str:
        """All buffers and loops; ``result`` is what the last one stores."""
        read, groups, loops = {t - 1 - step.back for t, step in enumerate(self.steps) if step.back}, [[0]], ""
        for t, step in enumerate(self.steps[1:], 1):
            apart = f"loop {step.op}" in self.text or t - 1 in read
            groups[len(groups) - (not apart):] = [[t]] if apart else [[*groups[-1], t]]
        bare = not (self.plain.whole or self.plain.model.scaling) and self.plain.inner == self.plain.inputs
        for g, group in enumerate(groups):
            out, last = group[-1], g == len(groups) - 1
            self.names[out], size = "x", self.steps[out].fields["size"]
            if bare and g == 0 and not (last or any(self.text[f"value {self.steps[t].op}"] for t in group[1:])):
                continue
            code = self.made(group)
            kind = integer_type(*self.range) if self.plain.whole else "float"
            self.names[out] = "y" if last else self.buffer(groups[g:], out, kind, g)
            stored = result if last else "v" if kind == self.number else f"({kind})v"
            inside = indent(f"{code}{self.names[out]}[k] = {stored};\n", " " * 8)
            loops += f"\n    for (int k = 0; k < {size}; k++) {{\n{inside}    }}\n"
        return "".join(f"    static {kind} npkd_h{k}[{n}];\n" for k, (kind, n, _) in enumerate(self.buffers)) + loops


def write(path: NewPath, model: Model, shape: Sequence[int] | None = None) -> None:
    """Write a header of a model, whole or not at all; ``shape`` of an example, (H, W, C), where its layers do not tell
    it. Weights on grids are stored in bytes; where activations are on grids too, all is counted in whole numbers,
    exactly as in ``IntegerNetwork``. Raises InputError as ``Plain.of`` and ``Plain.steps``."""
    plain = Plain.of(model, shape)
    program, whole, classes = Program(plain), plain.whole, not plain.outputs
    text, fields = program.text, plain.fields(program.text, " * ")
    body = program.body(f"npkd_scaled(v, {program.array('m', program.factors(whole.factors[0]))})" if whole else "v")
    fields |= {"body": body, "number": "int64_t" if whole else "float", "flash": f"{program.flash:,}",
               "run": "npkd_outputs" if whole else "npkd_logits",
               "ram": f"{sum(n * SIZES[kind] for kind, n, _ in program.buffers):,}",
               "choose": f"for (int k = 1; k <= {fields['last']}; k++) if (y[k] > y[best]) best = k;"
               if fields["last"] else "best = y[0] > 0;"}
    parts = [f"times {plain.numbers}"] * ("npkd_times(" in body)
    if whole:
        fields |= next(step.fields for step in program.steps if step.op == "quantize")
        fields["unit"] = repr(2.0 ** -whole.factors[1])
        parts += ["scaled by shifts" if whole.shifts else "scaled", *["requantised"] * ("npkd_requantised(" in body)]
    head, *functions = (Template(text[part]).substitute(fields) for part in
                        ("head", *parts, "whole" if whole else "float", *["predict"] * classes))
    write_text(path, "\n".join([head[:-1], *program.constants, *"".join(functions).splitlines(), "", "#endif", ""]))
