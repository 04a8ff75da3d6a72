"""A network as one file of Python that needs NumPy alone: its weights stand in it, as text."""

from __future__ import annotations

import base64
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from string import Template

import numpy as np

from npkd.core.files import NewPath, write_text
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.interop.plain import Plain, sections
from npkd.nn.model import Model


def literal(name: str, a: Array) -> str:
    """A line of Python that makes an array: little-endian bytes in base64, of float32 where that is exact."""
    kind = "<i4" if a.dtype.kind in "iu" else "<f4" if np.array_equal(a.astype(np.float32), a) else "<f8"
    text = base64.b64encode(np.ascontiguousarray(a, kind).tobytes()).decode()
    rows = "\n".join(text[i:i + 119] for i in range(0, len(text), 119))
    return f'{name} = array("""\n{rows}\n""", "{kind}"{"".join(f", {n}" for n in a.shape)})\n'


def source(model: Model, shape: Sequence[int] | None = None) -> str:
    """The file of a model; ``shape`` of an example, (H, W, C), where its layers do not tell it. Whole numbers are
    simulated in float64, exactly. Raises InputError as ``Plain.of``."""
    plain, text, body, arrays, names = Plain.of(model, shape), sections("predict.py.in"), "", "", ["h0"]
    for t, step in enumerate(plain.steps(plain.network.layers), 1):
        made = {name: f"{name.upper()}{t}" for name in step.arrays}
        arrays += "".join(literal(made[name], a) for name, a in step.arrays.items())
        value = Template(text.get(f"value {step.op}", "$x")).substitute(
            step.fields, **made, x=names[-1], skip=names[t - 1 - step.back])
        names.append(f"h{t}")
        body += f"    h{t} = {value.rstrip()}\n"
    scaling = ""
    if model.scaling is not None:
        arrays += literal("OFFSET", model.scaling.offset) + literal("FACTOR", model.scaling.factor)
        scaling = "    x -= OFFSET\n    x *= FACTOR\n"
    if len(plain.kept) < np.prod(plain.inputs):
        arrays += literal("KEPT", plain.kept)
        scaling += "    x = x[:, KEPT]\n"
    functions = "".join(code for call, code in text.items() if call.endswith("(") and call in body + (
        "windows(" if "conv2d(" in body else ""))
    return Template(text["file"]).substitute(
        plain.fields(), functions=functions, body=body.rstrip(), end=len(names) - 1, scaling=scaling, arrays=arrays,
        dtype="float64" if plain.whole else "float32",
        inner=plain.inner)


def write(path: NewPath, model: Model, shape: Sequence[int] | None = None) -> None:
    """Write ``source``, whole or not at all. Raises InputError as it, and where the system refuses."""
    write_text(path, source(model, shape))


def classes(path: NewPath, x: Array) -> Array:
    """The class (N,) that a file of ``write`` gives each raw example x (N, ...), in a Python that knows no npkd.
    Raises InputError where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(data := Path(folder, "x.npy"), x.astype(np.float32))
        done = subprocess.run([sys.executable, "-I", str(path), str(data)], capture_output=True, check=False)
    if done.returncode:
        raise InputError(f"export: {path} fails ({done.stderr.decode(errors='replace').strip()[-200:]})")
    return np.array(done.stdout.split(), np.int64)
