"""A network as a C99 header of plain functions and static const arrays: floats, bytes, or additions and shifts alone."""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent

import numpy as np

from npkd.core.files import NewPath, write_text
from npkd.core.grids import grid
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.interop.plain import Plain
from npkd.nn import cost
from npkd.nn.convolution import Grid, pair
from npkd.nn.model import Model
from npkd.nn.network import Layer, Network
from npkd.surgery.folding import affine

STILL = ("dropout", "flatten", "unflatten")
"""Layers that leave all values where they are."""

VALUES = {
    "relu": "v = v > 0 ? v : 0;", "tanh": "v = tanhf(v);", "sigmoid": "v = 1 / (1 + expf(-v));",
    "leaky_relu": "v = v > 0 ? v : {slope} * v;", "elu": "v = v > 0 ? v : {alpha} * expm1f(v);",
    "gelu": "v *= 0.5F * erfcf(-0.707106781F * v);", "silu": "v /= 1 + expf(-v);",
    "clipped_linear": "v = fmaxf(-1, fminf(v / {half}, 1));",
    "clipped_quadratic": "v = fmaxf(-1, fminf(v / {half}, 1));\nv *= 2 - fabsf(v);",
    "affine": "v = v * {0}[{c}] + {1}[{c}];", "offset": "v += {0}[k];", "add": "v += {skip}[k];",
    "quantize": "v = {step} * (fmaxf({low}, fminf(rintf(v / {step}) + {zero}, {high})) - {zero});",
    "requantised": "v = npkd_requantised(v, {m}, {n}, {zero}, {low}, {high});"}
"""What a layer makes of v, the value at place k of an activation, c its channel."""

WINDOW = """const int c = k % {F}, p = k / {F} / {Q}, q = k / {F} % {Q};
{T} v = {start};
for (int i = 0; i < {kh}; i++) for (int j = 0; j < {kw}; j++) {{
    const int r = p * {sy} + i * {dy} - {py}, s = q * {sx} + j * {dx} - {px};
    if (r < 0 || r >= {H} || s < 0 || s >= {W}) continue;
    {inner}
}}"""
INNER = {"conv2d": "for (int d = 0; d < {D}; d++) v += {product};",
         "max_pool": "if ({x}[(r * {W} + s) * {C} + c] > v) v = {x}[(r * {W} + s) * {C} + c];",
         "average_pool": "v += {x}[(r * {W} + s) * {C} + c];"}
"""What makes v at place k of maps, channel c, position p, q: from the windows at it, kernel entry i, j."""

LOOPS = {
    "input": "{T} v = {convert};",
    "dense": "{T} v = {start};\nfor (int j = 0; j < {I}; j++) v += {product};",
    "global_average_pool": "{T} v = 0;\nfor (int j = 0; j < {P}; j++) v += {x}[j * {C} + k];\nv /= {P};",
    "maxout": "{T} v = {x}[k * {P}];\nfor (int j = 1; j < {P}; j++) if ({x}[k * {P} + j] > v) v = {x}[k * {P} + j];",
    "select": "{T} v = {x}[{kept}[k]];", "copy": "{T} v = {x}[k];", "recall": "{T} v = {skip}[k];"}
"""What makes v at place k of another activation, x."""

HEAD = """/* A network of npkd, {chain}, numbers: {numbers}. C99, no malloc, no dependency but libm.
 *
 * int npkd_predict(const float *x): {classes} of a raw example of {inputs} numbers, {shape} in C order.
 * void npkd_logits(const float *x, float *y): its {outputs} outputs.
 * Flash: {flash:,} bytes of constants, and the code. RAM: {ram:,} bytes, static: not for two threads at once.
 * Include it in one file of a program; int must have 32 bits. */

#ifndef NPKD_STUDENT_H
#define NPKD_STUDENT_H

#include <math.h>
#include <stdint.h>

int npkd_predict(const float *x);
void npkd_logits(const float *x, float *y);

"""

TIMES = """/* h q by additions alone: h is doubled as often as q has bits */
static int32_t npkd_times(int32_t h, int32_t q)
{
    int32_t sum = 0, left = q < 0 ? -q : q;
    for (; left; left >>= 1) {
        if (left & 1) sum += h;
        if (left > 1) h += h;
    }
    return q < 0 ? -sum : sum;
}

"""
SCALED = """static int64_t npkd_scaled(int32_t a, int32_t m)
{{
    return {scaled};
}}

"""
REQUANTISED = """/* h / 2^n, rounded down */
static int64_t npkd_shifted(int64_t h, int n)
{
    return h >= 0 ? h >> n : ~(~h >> n);
}

/* a m / 2^n to the nearest whole number, halves to the even one, and zero, as a byte, less zero */
static int32_t npkd_requantised(int32_t a, int32_t m, int n, int32_t zero, int32_t low, int32_t high)
{
    const int64_t p = npkd_scaled(a, m), even = npkd_shifted(p, n) & 1;
    const int64_t h = npkd_shifted(p + ((int64_t)1 << (n - 1)) - 1 + even, n) + zero;
    return (int32_t)(h < low ? low : h > high ? high : h) - zero;
}

"""
QUANTISED = """/* an input in steps */
static int32_t npkd_quantised(float x)
{{
    const double h = rint(x / {step}) + {zero};
    return (int32_t)(!(h > {low}) ? {low} : h > {high} ? {high} : h) - {zero};
}}

"""
TAIL = """
void npkd_logits(const float *x, float *y)
{{
    int64_t whole[{outputs}];
    npkd_outputs(x, whole);
    for (int k = 0; k < {outputs}; k++) y[k] = (float)((double)whole[k] * {unit});
}}
"""
PREDICT = """
int npkd_predict(const float *x)
{{
    {type} y[{outputs}];
    int best = 0;
    {run}(x, y);
    {choose}
    return best;
}}

#endif
"""


SIZES = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "float": 4, "double": 8}
"""Bytes of the types that are used."""


def literal(value: float, double: bool = False) -> str:
    """A number in C: 9 digits of a float32, 17 of a double, which tell it exactly."""
    text = f"{value:.17g}" if double else f"{value:.9g}"
    return (text if set(text) & set(".e") else text + ".0") + "F" * (not double)


def integer_type(low: int, high: int) -> str:
    """The narrowest type of C that holds whole numbers from low to high."""
    kinds = {"int8_t": (-128, 127), "uint8_t": (0, 255), "int16_t": (-32768, 32767), "uint16_t": (0, 65535)}
    return next((kind for kind, (least, most) in kinds.items() if least <= low and high <= most), "int32_t")


@dataclass
class Group:
    """One loop of the program: what makes values, and what is done to each before it is stored as activation ``out``."""

    op: str
    at: int
    out: int
    values: list[int] = field(default_factory=list)


def groups_of(layers: Sequence[Layer]) -> list[Group]:
    """The loops of a chain; each activation that a later layer reads is stored."""
    read, groups = {i - layer.back for i, layer in enumerate(layers) if layer.back}, [Group("input", -1, 0)]
    for i, layer in enumerate(layers):
        op, last = str(layer.op), groups[-1]
        if op == "select" and last.op == "input" and last.at < 0 and not last.values and i not in read:
            groups[-1] = Group("input", i, i)
        elif op in LOOPS or op in INNER or op == "depthwise_conv2d":
            groups.append(Group(op, i, i))
        else:
            if i in read:
                groups.append(Group("copy", i, i))
            if op not in STILL:
                groups[-1].values.append(i)
        groups[-1].out = i + 1
    return groups


class Program:
    """The parts of a header while they are written."""

    def __init__(self, plain: Plain) -> None:
        self.plain, self.constants, self.flash, self.low, self.high = plain, list[str](), 0, 0, 0
        self.layers = list(plain.network.layers)
        self.arrays: list[tuple[Array, ...]] = [() for _ in self.layers]
        if plain.whole:
            self.arrays = [a for _, a in plain.whole.layers]
        for _ in self.layers:                               # rounding is monotone: it may come before a maximum
            for i in range(len(self.layers) - 1):
                if self.layers[i].op in ("relu", "max_pool") and self.layers[i + 1].op == "quantize" and plain.whole:
                    for both in (self.layers, self.arrays):
                        both[i:i + 2] = both[i + 1::-1][:2]
        self.shapes, self.groups = cost.shapes(Network(self.layers), plain.shapes[0]), groups_of(self.layers)
        self.names, self.buffers = {0: "x", self.groups[0].out: "x"}, list[tuple[str, int, int]]()    # of a buffer: type, size, last reader

    def array(self, name: str, a: Array, kind: str = "float") -> str:
        """Write an array as a constant; how it is called."""
        a = np.asarray(a).ravel()
        words = [literal(v) for v in a.tolist()] if kind == "float" else [str(v) for v in a.tolist()]
        if kind == "double":
            words = [literal(v, True) for v in a.tolist()]
        many = 119 // (max(map(len, words)) + 1)
        rows = ",\n".join(",".join(words[i:i + many]) for i in range(0, len(words), many))
        self.constants.append(f"static const {kind} npkd_{name}[{len(a)}] = {{\n{rows}}};\n")
        self.flash += len(a) * SIZES[kind]
        return f"npkd_{name}"

    def alike(self, name: str, a: Array, kind: str, c: str) -> str:
        """An entry c of an array, a number where all are alike."""
        if (a != a.flat[0]).any():
            return f"{self.array(name, a, kind)}[{c}]"
        return literal(float(a.flat[0]), kind == "double") if kind in ("float", "double") else str(int(a.flat[0]))

    def buffer(self, number: int, out: int, kind: str) -> str:
        """The name of a buffer for what loop ``number`` stores, activation ``out``: one that no later loop reads."""
        reads = [k for k, group in enumerate(self.groups) if k == number + 1 or any(
            i - self.layers[i].back == out for i in (group.at, *group.values) if i >= 0 and self.layers[i].back)]
        size, free = math.prod(self.shapes[out]), [k for k, b in enumerate(self.buffers) if b[2] < number and b[0] == kind]
        at = free[0] if free else len(self.buffers)
        self.buffers[at:at + 1] = [(kind, max([size] + [b[1] for b in self.buffers[at:at + 1]]), max(reads))]
        return f"npkd_h{at}"

    def read(self, group: Group) -> str:
        """What the first loop reads at place k: a raw input, scaled."""
        scaling, layer = self.plain.model.scaling, self.layers[group.at]
        kept = np.asarray(layer.options["kept"]) if group.at >= 0 else np.arange(math.prod(self.shapes[0]))
        j = f"{self.array('kept', kept, integer_type(0, int(kept.max())))}[k]" if group.at >= 0 else "k"
        if scaling is None:
            return f"x[{j}]"
        wide = "double" if scaling.offset.dtype == np.float64 else "float"
        offset = self.alike("offset", scaling.offset[kept], wide, "k")
        return f"(float)(x[{j}] - {offset}) * {self.alike('factor', scaling.factor[kept], 'float', 'k')}"

    def weights(self, group: Group, x: str) -> tuple[dict[str, object], str]:
        """What a loop over weights needs to be written, and what it does to v behind them."""
        layer, c, last = self.layers[group.at], "c", ""
        if group.op == "dense":
            w, at = layer.params[0], ("k * {I} + j", "j")
            c, fields = "k", {"I": w.shape[1]}
        else:
            w = layer.params[0] if group.op == "conv2d" else np.moveaxis(layer.params[0], -1, 0)[..., None]
            per = len(w) // (layer.settings.get("groups", 1) if group.op == "conv2d" else len(w))
            fields, at = {"D": w.shape[3], "per": per}, (
                "((c * {kh} + i) * {kw} + j) * {D} + d", "(r * {W} + s) * {C} + c / {per} * {D} + d")
        b, name = layer.params[1], f"w{group.at}"
        if self.plain.whole:
            q, b = self.arrays[group.at]
            weight = self.array(name, q, integer_type(int(q.min()), int(q.max())))
            start = f"{self.array(f'b{group.at}', b, 'int32_t')}[{c}]"
        else:
            try:
                s, q = grid(w)
                weight, start = self.array(name, q, "int8_t"), "0"
                last = f"v = v * {self.alike(f's{group.at}', s, 'float', c)} + {self.array(f'b{group.at}', b)}[{c}];"
            except InputError:
                weight, start = self.array(name, w), f"{self.array(f'b{group.at}', b)}[{c}]"
        one, other = f"{x}[{at[1]}]", f"{weight}[{at[0]}]"
        product = f"npkd_times({one}, {other})" if self.plain.numbers == "dyadic" else f"{other} * {one}"
        return {**fields, "start": start, "product": product}, last

    def geometry(self, group: Group) -> dict[str, object]:
        """Numbers of a loop over windows, or over one value after another."""
        layer, before, behind = self.layers[group.at], self.shapes[group.at], self.shapes[group.at + 1]
        o, size = layer.settings, layer.params[0].shape if layer.params else ()
        if group.op not in ("conv2d", "depthwise_conv2d", "max_pool", "average_pool"):
            return {"C": before[-1], "P": o.get("pieces") or math.prod(before[:-1])}
        kernel = size[1:3] if group.op == "conv2d" else size[:2] if size else pair("export", "size", o["size"], 1)
        windows = Grid("export", before[:2], kernel, o["stride"] or kernel, o["padding"], o.get("dilation", 1))
        names = ("kh", "kw", "sy", "sx", "py", "px", "dy", "dx")
        values = (*windows.kernel, *windows.stride, *windows.padding, *windows.dilation)
        return {**dict(zip(names, values, strict=True)), "H": before[0], "W": before[1], "C": before[2],
                "Q": behind[1], "F": behind[2]}

    def value(self, i: int) -> str:
        """What layer i does to v."""
        layer, op, shape = self.layers[i], str(self.layers[i].op), self.shapes[i]
        o, c, params = layer.settings, f"k % {shape[-1]}" if len(shape) > 1 else "k", layer.params
        fields: dict[str, object] = {"c": c, "skip": self.names.get(i - layer.back)}
        if op == "quantize" and self.plain.whole:
            if not self.arrays[i]:
                return ""
            m, n = self.arrays[i]
            self.low, self.high = o["low"] - o["zero"], o["high"] - o["zero"]
            m = np.log2(m).astype(int) if self.plain.whole.shifts else m
            fields |= {"m": self.alike(f"m{i}", m, "int32_t", c), "n": self.alike(f"n{i}", n, "uint8_t", c), **o}
            return VALUES["requantised"].format(**fields)
        if op == "relu":
            self.low, self.high = max(self.low, 0), max(self.high, 0)
        if (pair_of := affine(layer)) is not None:
            op, params = "affine", pair_of
        fields |= {name: literal(float(value)) for name, value in o.items() if isinstance(value, (int, float))}
        if "shift" in o:
            fields["half"] = literal(2.0 ** o["shift"])
        names = [self.array(f"p{i}_{k}", p) for k, p in enumerate(params)]
        return VALUES[op].format(*names, **fields)

    def loop(self, number: int, result: str) -> str:
        """The code of one loop; ``result`` is what the last one writes."""
        group, x = self.groups[number], self.names.get(self.groups[number - 1].out, "x")
        whole, op = self.plain.whole, group.op
        fields: dict[str, object] = {"x": x, "T": "int32_t" if whole else "float", "start": 0, "last": ""}
        if op == "input":
            read = self.read(group)
            fields["convert"] = f"npkd_quantised({read})" if whole else read
            first = next((layer.settings for layer in self.layers if whole and layer.op == "quantize"), None)
            self.low, self.high = (first["low"] - first["zero"], first["high"] - first["zero"]) if first else (0, 0)
        else:
            fields |= {**self.geometry(group), "skip": self.names.get(group.at - self.layers[group.at].back)}
        last = ""
        if op in ("dense", "conv2d", "depthwise_conv2d"):
            more, last = self.weights(group, x)
            fields |= more
            fields["product"], self.low, self.high = str(fields["product"]).format(**fields), -2 ** 31, 2 ** 31 - 1
        elif op == "max_pool":
            fields["start"] = "-2147483647" if whole else "-3.402823466e+38F"
        elif op == "average_pool":
            many = math.prod(pair("export", "size", self.layers[group.at].options["size"], 1))
            last, self.low, self.high = "" if whole else f"v *= {literal(1 / many)};", many * self.low, many * self.high
        elif op == "select":
            kept = np.asarray(self.layers[group.at].options["kept"])
            fields["kept"] = self.array(f"kept{group.at}", kept, integer_type(0, int(kept.max())))
        body = LOOPS.get(op) or WINDOW.replace("{inner}", INNER[op.removeprefix("depthwise_")])
        lines = [body.format(**fields), last, *(self.value(i) for i in group.values)]
        if number == len(self.groups) - 1:
            kind, target, v = "float", "y", f"npkd_scaled(v, {result})" if whole else "v"
        else:
            kind = integer_type(self.low, self.high) if whole else "float"
            target, v = self.buffer(number, group.out, kind), "v" if kind in ("float", "int32_t") else f"({kind})v"
        self.names[group.out] = target
        code = indent("\n".join(line for line in [*lines, f"{target}[k] = {v};"] if line), " " * 8)
        return f"    for (int k = 0; k < {math.prod(self.shapes[group.out])}; k++) {{\n{code}\n    }}\n"


def source(model: Model, shape: Sequence[int] | None = None) -> str:
    """The header of a model; ``shape`` of an example, (H, W, C), where its layers do not tell it.

    Weights that lie on grids are stored in bytes; where activations do, too, everything is counted in whole numbers,
    exactly as in ``IntegerNetwork``: see ``Plain.numbers``. Raises InputError as ``Plain.of``.
    """
    plain = Plain.of(model, shape)
    program, whole, outputs = Program(plain), plain.whole, plain.shapes[-1][-1]
    first, unit, multiply = program.groups[0], "", ""
    if whole:
        m = np.log2(whole.factors[0]).astype(int) if whole.shifts else whole.factors[0]
        multiply, unit = program.alike("m", m, "int32_t", "k"), literal(2.0 ** -whole.factors[1], True)
    used = whole or model.scaling is not None or first.at >= 0 or first.values
    loops = "\n".join(program.loop(k, multiply) for k in range(0 if used else 1, len(program.groups)))
    parts, run = [], "npkd_outputs" if whole else "npkd_logits"
    if plain.numbers == "dyadic":
        parts.append(TIMES)
    if whole:
        o = next(layer.settings for layer in program.layers if layer.op == "quantize")
        parts += [SCALED.format(scaled="a < 0 ? -(-(int64_t)a << m) : (int64_t)a << m" if whole.shifts else "(int64_t)a * m"),
                  *([REQUANTISED] if "npkd_requantised" in loops else []),
                  QUANTISED.format(**{**o, "step": literal(o["step"], True)})]
    buffers = "".join(f"    static {kind} npkd_h{k}[{size}];\n" for k, (kind, size, _) in enumerate(program.buffers))
    text = f"{'static ' if whole else ''}void {run}(const float *x, {'int64_t' if whole else 'float'} *y)\n{{\n{buffers}"
    parts += [text, "\n" * bool(buffers), loops, "}\n", *([TAIL.format(outputs=outputs, unit=unit)] if whole else [])]
    choose = f"for (int k = 1; k < {outputs}; k++) if (y[k] > y[best]) best = k;" if outputs > 1 else "best = y[0] > 0;"
    parts.append(PREDICT.format(type="int64_t" if whole else "float", run=run, outputs=outputs, choose=choose))
    ram, size = sum(size * SIZES[kind] for kind, size, _ in program.buffers), plain.shapes[0]
    head = HEAD.format(chain="-".join(map(str, plain.network.widths)), numbers=plain.numbers, inputs=math.prod(size),
                       outputs=outputs, flash=program.flash, ram=ram, shape=" x ".join(map(str, size)),
                       classes=f"the class, 0 ... {outputs - 1}," if outputs > 1 else "1 where the output is above 0, else 0,")
    return head + "\n".join(program.constants) + "\n" + "".join(parts)


def write(path: NewPath, model: Model, shape: Sequence[int] | None = None) -> None:
    """Write ``source``, whole or not at all. Raises InputError as it, and where the system refuses."""
    write_text(path, source(model, shape))


MAIN = """#include <stdio.h>
#include "{header}"

int main(void)
{{
    static float x[{inputs}];
    while (fread(x, sizeof(float), {inputs}, stdin) == {inputs}) printf("%d\\n", npkd_predict(x));
    return 0;
}}
"""
FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic")


def classes(header: NewPath, x: Array, flags: Sequence[str] = ()) -> Array:
    """The class (N,) that a header gives each raw example x (N, ...), compiled with FLAGS and run.
    Raises InputError without a compiler, and where it or the program fails."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise InputError("export: no C compiler (cc, gcc, clang) is found; install one, or leave --check out")
    rows = np.ascontiguousarray(x.reshape(len(x), -1), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        main, program = Path(folder, "main.c"), Path(folder, "main")
        write_text(main, MAIN.format(header=Path(header).resolve().as_posix(), inputs=rows.shape[1]))
        for command, given in (([compiler, *FLAGS, *flags, str(main), "-o", str(program), "-lm"], b""),
                               ([str(program)], rows.tobytes())):
            done = subprocess.run(command, input=given, capture_output=True, check=False)
            if done.returncode or done.stderr:
                said = done.stderr.decode(errors="replace").strip()
                raise InputError(f"export: {Path(command[0]).name} fails on {header} ({said:.300})")
    return np.array(done.stdout.split(), np.int64)
