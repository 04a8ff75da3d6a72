"""Teachers of other libraries on the command line, and examples without labels for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from npkd.cli.settings import Settings
from npkd.cli.shards import loaded
from npkd.core.files import read_arrays
from npkd.core.progress import Progress
from npkd.core.validation import InputError
from npkd.data.datasets import FEWEST, NAMES, Data, from_arrays
from npkd.data.tables import read_npy
from npkd.interop.adapt import unscaled
from npkd.interop.onnx import OnnxTeacher
from npkd.nn.scaling import Scaling
from npkd.pipeline.task import classes_of, without_labels

TENTH = 10


def data_for(teacher: OnnxTeacher, settings: Settings, progress: Progress) -> tuple[Data, bool]:
    """The data of a run in npkd's order, and does it bring labels? The arrays of an .npz hold examples as the teacher
    takes them. Of x alone, a single array, or an .npy, a tenth is to choose by and one to judge by; where there is no y
    beside it the teacher's classes stand for labels. Raises InputError for what does not fit."""
    path = Path(settings.data)
    stored = read_arrays(path) if path.suffix == ".npz" and path.is_file() else {}
    stored = {"x": read_npy(path)} if path.suffix == ".npy" and path.is_file() else stored
    if {*NAMES} & {*stored} or not stored:
        return labelled(teacher, loaded(settings, settings.seed, progress)), True
    if "x" not in stored and len(stored) > 1:
        raise InputError(f"data: {path} holds {', '.join(stored)}; it must hold x, or {', '.join(NAMES)}")
    x = teacher.entry(stored.get("x", next(iter(stored.values()))))
    if len(x) < FEWEST:
        raise InputError(f"data: {path} has {len(x)} examples; it must have at least {FEWEST}")
    parts = np.split(np.random.default_rng(settings.seed).permutation(len(x)), [len(x) // TENTH, 2 * (len(x) // TENTH)])
    if (y := stored.get("y")) is not None:
        if y.shape[:1] != x.shape[:1]:
            raise InputError(f"data: {path} has {len(x)} examples and y {y.shape}; each needs a label")
        test, rest, given = parts[0], np.sort(np.concatenate(parts[1:])), stored["x"]
        arrays = [given[rest], y[rest], given[test], y[test]]
        return labelled(teacher, from_arrays(path.resolve().stem, arrays, seed=settings.seed)), True
    rows, z = x.reshape(len(x), -1), teacher.model.logits(x)
    scaling = teacher.model.scaling or unscaled(rows.shape[1])
    numbers = without_labels(teacher.head, z.shape[1])
    targets = Scaling.standard(z[parts[2]]) if numbers else None
    rows, y = scaling.apply(rows), targets.apply(z) if targets else classes_of(z)
    train, validation, test = map(np.sort, parts[::-1])
    name, outputs = f"{path.resolve().stem}, labelled by the teacher", z.shape[1] if numbers else max(z.shape[1], 2)
    return Data(name, rows[train], y[train], rows[validation], y[validation], rows[test], y[test], outputs, x.shape[1:],
                scaling, targets=targets), False


def labelled(teacher: OnnxTeacher, data: Data) -> Data:
    """Data with labels, in npkd's order. Raises InputError for numbers behind a sigmoid."""
    if data.targets is not None and teacher.head == "sigmoid":
        raise InputError(f"data: {data.name} has floats as labels, and the teacher ends in a sigmoid; labels must be "
                         "classes, integers: of a single output y.astype(int)")
    return teacher.entry.of_data(data)
