"""A network as one file of Python that needs NumPy alone: its weights stand in it, as text."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from string import Template

import numpy as np

from npkd.core.files import NewPath, write_text
from npkd.core.types import Array
from npkd.interop.plain import Plain, sections
from npkd.nn.model import Model


def literal(name: str, a: Array) -> str:
    """A line of Python that makes an array: little-endian bytes in base64, of float32 where that is exact."""
    kind = "<i4" if a.dtype.kind in "iu" else "<f4" if np.array_equal(a.astype(np.float32), a) else "<f8"
    text = base64.b64encode(np.ascontiguousarray(a, kind).tobytes()).decode()
    rows = "\n".join(text[i:i + 119] for i in range(0, len(text), 119))
    return f'{name} = array("""\n{rows}\n""", "{kind}"{"".join(f", {n}" for n in a.shape)})\n'


def write(path: NewPath, model: Model, shape: Sequence[int] | None = None) -> None:
    """Write predict.py of a model, whole or not at all; ``shape`` of an example, (H, W, C), where its layers do not
    tell it. Whole numbers are simulated in float64, exactly. Raises InputError as ``Plain.of`` and ``Plain.steps``."""
    plain, text, body, names, scaling = Plain.of(model, shape), sections("predict.py.in"), "", ["h0"], ""
    arrays = literal("KEPT", plain.kept) if len(plain.kept) < np.prod(plain.inputs) else ""
    if model.scaling is not None:
        arrays += literal("OFFSET", model.scaling.offset) + literal("FACTOR", model.scaling.factor)
        scaling = "    x -= OFFSET\n    x *= FACTOR\n"
    scaling += "    x = x[:, KEPT]\n" * ("KEPT" in arrays)
    for t, step in enumerate(plain.steps(plain.network.layers, text), 1):
        made = {name: f"{name.upper()}{t}" for name in step.arrays}
        arrays += "".join(literal(made[name], a) for name, a in step.arrays.items())
        value = Template(text[f"value {step.op}"]).substitute(step.fields, **made, x=names[-1],
                                                              skip=names[t - 1 - step.back])
        names.append(f"h{t}")
        body += f"    h{t} = {value}"
    called = body + "windows(" * ("conv2d(" in body)
    write_text(path, Template(text["file"]).substitute(
        plain.fields(text), body=body, end=names[-1], scaling=scaling, arrays=arrays, inner=plain.inner,
        functions="".join(code for call, code in text.items() if call.endswith("(") and call in called),
        dtype="float64" if plain.whole else "float32"))
