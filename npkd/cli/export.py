"""``npkd export FILE --to c|python|onnx|torch``: a network for places where there is no npkd."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from npkd.core.files import make_folder, write_bytes
from npkd.core.validation import InputError
from npkd.data.datasets import stored
from npkd.interop import c, onnx_out, python_code, torch_out
from npkd.interop.entry import first
from npkd.interop.plain import Plain, answers
from npkd.nn.model import Model, load

TOLERANCE = 1e-5
"""Largest difference of numbers that --check compares, in parts of the largest number."""
FILES = {"c": "student.h", "python": "predict.py", "onnx": "student.onnx"}


def write(folder: Path, model: Model, to: str, shape: Sequence[int] | None) -> None:
    """Write the files of one kind of export. Raises InputError for what it has no words for."""
    if to in ("c", "python"):
        (c if to == "c" else python_code).write(folder / FILES[to], model, shape)
        return
    maps = [layer.options["shape"] for layer in model.network.layers if layer.op == "unflatten"]
    example = first(tuple(maps[0]) if maps else Plain.of(model, shape).inputs)           # channels first
    head = str(model.about.get("head", ""))
    if to == "torch":
        torch_out.export(model, folder, example, head)
    else:
        onnx_out.write(folder / FILES[to], model, example, head)


def main(options: argparse.Namespace) -> int:
    """Write, say what was written, and compare if asked to: 1 where a class, or a number by TOLERANCE, differs."""
    model, file = load(options.file), Path(options.file)
    if options.check and options.to not in ("c", "python"):
        raise InputError(f"export: --check compares c and python, not {options.to}")
    data = stored(options.check, seed=0, label=options.label)[1] if options.check else []
    plain = Plain.of(model, options.shape) if options.to in ("c", "python") else None
    expected = plain.answers(data[2]) if plain and data else None                            # refuses other data
    folder = Path(options.out) if options.out else file.with_name(f"{file.stem}-export")
    with tempfile.TemporaryDirectory() as beside:
        write(Path(beside), model, options.to, options.shape)
        names = sorted(os.listdir(beside))
        there = [folder / name for name in names if (folder / name).exists()]
        if there and not options.overwrite:
            raise InputError(f"export: {there[0]} exists; give --overwrite to replace it, or --out another folder")
        for name in names:
            write_bytes(make_folder(folder) / name, Path(beside, name).read_bytes())
    lines, off = [f"Wrote {folder / name}" for name in names], np.zeros(0)
    said: dict[str, object] = {"files": [str(folder / name) for name in names]}
    if plain and plain.because:
        lines, said = [*lines, plain.because], said | {"floats": plain.because}
    agree = 0
    if plain is not None and expected is not None:
        off, numbers = abs(answers(folder / names[0], data[2], plain.outputs) - expected), bool(plain.outputs)
        agree = int((off <= numbers * TOLERANCE * abs(expected).max()).sum())
        more = f"; the largest difference is {off.max():.1e}, the largest number {abs(expected).max():.3g}" * numbers
        lines.append(f"{agree:,} of {off.size:,} {'numbers' if numbers else 'classes'} agree{more}")
        said |= {"agree": agree, "examples": off.size}
    print(json.dumps(said, indent=2) if options.json else "\n".join(lines))
    return int(agree < off.size)
