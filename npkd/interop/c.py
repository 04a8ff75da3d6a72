"""A network as a C99 header of plain functions and static const arrays: floats, bytes, or additions and shifts alone."""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from string import Template
from textwrap import indent
from typing import Any

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
PLACES = {"dense w": "[k * $I + j]", "conv2d w": "[((c * $kh + i) * $kw + j) * $D + d]", "offset m": "[k]", "select kept": "[k]"}
"""Which entry of an array is read, where it is not that of the channel."""
FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic")


def powers(m: Array, shifts: bool) -> Array:
    """Factors, or their exponents."""
    return np.log2(m).astype(np.int64) if shifts else m


def integer_type(low: int, high: int) -> str:
    """The narrowest type of C for whole numbers from low to high."""
    return next(kind for kind, (least, most) in TYPES.items() if least <= low and high <= most)


class Program:
    """The parts of a header, while its loops are written one after the other."""

    def __init__(self, plain: Plain) -> None:
        layers, arrays = list(plain.network.layers), [a for _, a in plain.whole.layers] if plain.whole else []
        for _ in layers:                                          # rounding is monotone: it may come before a maximum
            for i in range(len(arrays) - 1):
                if layers[i].op in ("relu", "max_pool") and layers[i + 1].op == "quantize":
                    layers[i:i + 2], arrays[i:i + 2] = layers[i + 1::-1][:2], arrays[i + 1::-1][:2]
        self.plain, self.text, self.constants, self.flash = plain, sections("student.h.in"), list[str](), 0
        self.range, self.names, self.buffers = (0, 0), {}, list[list[Any]]()      # of a buffer: type, size, last reader
        self.steps = [Step("input", 0, {}, {"size": math.prod(plain.inner)}), *plain.steps(layers)]      # step t makes activation t
        for step, numbers in zip(self.steps[1:], arrays, strict=False):
            if step.op == "quantize":
                step.arrays.update(zip(("multiplier", "shift"), numbers, strict=False))
                if numbers and plain.whole:
                    step.arrays["multiplier"] = powers(numbers[0], plain.whole.shifts)
            elif numbers:
                step.arrays.update(w=numbers[0], b=numbers[1])

    def array(self, name: str, a: Array, place: str) -> str:
        """An entry of an array, which becomes a constant; a number where all entries are alike."""
        kind = {"f4": "float", "f8": "double"}.get(a.dtype.str[1:]) or integer_type(int(a.min()), int(a.max()))
        words = [f"{v:.{9 if kind == 'float' else 17}g}" if a.dtype.kind == "f" else str(v) for v in a.ravel().tolist()]
        if len(set(words)) == 1:
            return f"({kind}){words[0]}"
        many, self.flash = 119 // (max(map(len, words)) + 1), self.flash + a.size * SIZES[kind]
        rows = ",\n".join(",".join(words[i:i + many]) for i in range(0, len(words), many))
        self.constants.append(f"static const {kind} npkd_{name}[{a.size}] = {{\n{rows}}};\n")
        return f"npkd_{name}{place}"

    def raw(self) -> str:
        """What the first loop reads at place k: a raw input, scaled."""
        plain, scaling = self.plain, self.plain.model.scaling
        x = f"x[{self.array('kept', plain.kept, '[k]') if len(plain.kept) < math.prod(plain.inputs) else 'k'}]"
        if scaling is None:
            return x
        offset, factor = (self.array(name, a[plain.kept], "[k]") for name, a in vars(scaling).items())
        return f"(float)({x} - {offset}) * {factor}"

    def groups(self) -> list[list[int]]:
        """The steps of each loop: one that makes new values, and those that change each of them."""
        read, groups = {t - 1 - step.back for t, step in enumerate(self.steps) if step.back}, [[0]]
        for t, step in enumerate(self.steps[1:], 1):
            if f"loop {step.op}" in self.text or t - 1 in read:
                groups.append([t])
            else:
                groups[-1].append(t)
        return groups

    def said(self, text: str, t: int, more: Mapping[str, Any]) -> str:
        """A text about step t, its arrays and numbers put in."""
        step = self.steps[t]
        fields = {**step.fields, **more, "skip": self.names.get(t - 1 - step.back)}
        places = {name: Template(PLACES.get(f"{step.op} {name}", "[$c]")).substitute(fields) for name in step.arrays}
        arrays = {name: self.array(f"{name}{t}", a, places[name]) for name, a in step.arrays.items()}
        return Template(text).substitute(fields, **arrays)

    def value(self, t: int) -> str:
        """What step t does to v, the value at place k."""
        step, (low, high), whole = self.steps[t], self.range, self.plain.whole is not None
        if step.op == "relu":
            self.range = max(low, 0), max(high, 0)
        if step.op == "quantize" and step.arrays:
            self.range = step.fields["low"] - step.fields["zero"], step.fields["high"] - step.fields["zero"]
        section = "requantised" * bool(step.arrays) if whole and step.op == "quantize" else step.op
        return self.said(self.text.get(f"value {section}", ""), t, {})

    def loop(self, group: list[int]) -> str:
        """What makes v, the value at place k of the activation behind a group of steps."""
        t, whole = group[0], self.plain.whole is not None
        step, text = self.steps[t], self.text.get(f"loop {self.steps[t].op}", "")
        more = {"T": "int32_t" if whole else "float", "x": self.names.get(t - 1, "x")}
        more["least"] = "-2147483647" if whole else "-3.402823466e+38F"
        if step.op == "input":
            more["read"] = f"npkd_quantised({self.raw()})" if whole else self.raw()
        elif not text:
            return Template(self.text["loop copy"]).substitute(more) + "".join(map(self.value, group))
        elif "w" in step.arrays:
            text, self.range = text + self.text["sum whole" if whole else "sum float"], TYPES["int32_t"]
            step.arrays["s"] = np.ones(1, np.float32)
            with suppress(InputError):                            # weights on grids are bytes
                if not whole:
                    s, step.arrays["w"] = grid(step.arrays["w"])
                    step.arrays["s"] = s.astype(np.float32)
        elif step.op == "average_pool":
            text, many = text + self.text["mean float"] * (not whole), step.fields["count"]
            self.range = many * self.range[0], many * self.range[1]
        return self.said(text, t, more) + "".join(map(self.value, group[1:]))

    def body(self, multiplier: str) -> str:
        """All loops, and the buffers in front of them."""
        groups, loops, whole = self.groups(), "", self.plain.whole is not None
        outs = [*(group[0] - 1 for group in groups[1:]), len(self.steps) - 1]
        if whole:
            o = next(step.fields for step in self.steps if step.op == "quantize")
            self.range = o["low"] - o["zero"], o["high"] - o["zero"]
        for g, (group, out) in enumerate(zip(groups, outs, strict=True)):
            if g == 0 and len(groups) > 1 and group == [0] and self.plain.bare:
                self.names[out] = "x"
                continue
            code, size = self.loop(group), self.steps[out].fields["size"]
            kind = integer_type(*self.range) if whole else "float"
            if g == len(groups) - 1:
                self.names[out], v = "y", f"npkd_scaled(v, {multiplier})" if whole else "v"
            else:
                read = [k for k, later in enumerate(groups) for t in later if t - 1 - self.steps[t].back == out]
                free = [k for k, (one, _, last) in enumerate(self.buffers) if one == kind and last < g]
                if not free:
                    self.buffers.append([kind, 0, g])
                at = free[0] if free else len(self.buffers) - 1
                self.buffers[at][1:] = max(size, self.buffers[at][1]), max([g + 1, *read])
                self.names[out], v = f"npkd_h{at}", "v" if kind in ("float", "int32_t") else f"({kind})v"
            inside = indent(f"{code}{self.names[out]}[k] = {v};\n", " " * 8)
            loops += f"\n    for (int k = 0; k < {size}; k++) {{\n{inside}    }}\n"
        return "".join(f"    static {kind} npkd_h{k}[{n}];\n" for k, (kind, n, _) in enumerate(self.buffers)) + loops


def source(model: Model, shape: Sequence[int] | None = None) -> str:
    """The header of a model; ``shape`` of an example, (H, W, C), where its layers do not tell it.

    Weights on grids are stored in bytes; where activations are on grids too, all is counted in whole numbers, exactly
    as in ``IntegerNetwork``. Raises InputError as ``Plain.of``.
    """
    program = Program(Plain.of(model, shape))
    text, whole, fields = program.text, program.plain.whole, program.plain.fields()
    multiplier = program.array("m", powers(whole.factors[0], whole.shifts), "[k]") if whole else ""
    fields |= {"body": program.body(multiplier), "number": "int64_t" if whole else "float",
               "run": "npkd_outputs" if whole else "npkd_logits"}
    parts = [f"times {program.plain.numbers}"] * ("npkd_times(" in fields["body"])
    if whole:
        fields |= next(step.fields for step in program.steps if step.op == "quantize")
        fields["unit"] = repr(2.0 ** -whole.factors[1])
        parts += ["scaled shift" if whole.shifts else "scaled product"]
        parts += ["requantised"] * ("npkd_requantised(" in fields["body"]) + ["whole", "predict"]
    else:
        parts += ["float", "predict"]
    ram = sum(size * SIZES[kind] for kind, size, _ in program.buffers)
    head = Template(text["head"]).substitute(fields, flash=f"{program.flash:,}", ram=f"{ram:,}")
    return "\n".join([head[:-1], *program.constants]) + "\n" + "".join(
        Template(text[part]).substitute(fields) for part in parts)


def write(path: NewPath, model: Model, shape: Sequence[int] | None = None) -> None:
    """Write ``source``, whole or not at all. Raises InputError as it, and where the system refuses."""
    write_text(path, source(model, shape))


def classes(path: NewPath, x: Array, flags: Sequence[str] = ()) -> Array:
    """The class (N,) that a header gives each raw example x (N, ...), compiled with FLAGS and ``flags``, and run.
    Raises InputError without a compiler, and where it or the program fails."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise InputError("export: no C compiler (cc, gcc or clang) is found to check with; install one")
    rows = np.ascontiguousarray(x.reshape(len(x), -1), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        main, run = Path(folder, "main.c"), str(Path(folder, "main"))
        write_text(main, Template(sections("student.h.in")["main"]).substitute(
            header=Path(path).resolve().as_posix(), inputs=rows.shape[1]))
        for command in ([compiler, *FLAGS, *flags, str(main), "-o", run, "-lm"], [run]):
            done = subprocess.run(command, input=rows.tobytes(), capture_output=True, check=False)
            if done.returncode or done.stderr:
                said = done.stderr.decode(errors="replace").strip()
                raise InputError(f"export: {Path(command[0]).name} fails on {path} ({said:.300})")
    return np.array(done.stdout.split(), np.int64)
