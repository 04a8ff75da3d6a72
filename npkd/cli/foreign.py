"""Teachers of other libraries on the command line, and examples without labels for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from npkd.cli.settings import Settings
from npkd.core.files import read_arrays
from npkd.core.progress import Progress
from npkd.core.validation import InputError
from npkd.data.datasets import FEWEST, NAMES, Data
from npkd.data.datasets import load as load_data
from npkd.interop.adapt import unscaled
from npkd.interop.onnx import OnnxTeacher
from npkd.nn.scaling import Scaling
from npkd.pipeline.task import classes_of, without_labels

TENTH = 10


def data_for(teacher: OnnxTeacher, settings: Settings, progress: Progress) -> tuple[Data, bool]:
    """The data of a run in npkd's order, and does it bring labels? The arrays of an .npz hold examples as the teacher
    takes them; one that holds a single array, or x, has no labels: it is split in ten, one part to choose by, one to
    judge by, and the teacher's classes stand for labels. Raises InputError for what does not fit."""
    path = Path(settings.data)
    stored = read_arrays(path) if path.suffix == ".npz" and path.is_file() else {}
    if {*NAMES} & {*stored} or not stored:
        data = load_data(settings.data, seed=settings.seed, progress=progress, label=settings.label)
        if data.targets is not None and teacher.head == "sigmoid":
            raise InputError(f"data: {path} has floats as labels, and the teacher ends in a sigmoid; labels must be "
                             "classes, integers: of a single output y.astype(int)")
        return teacher.entry.of_data(data), True
    if "x" not in stored and len(stored) > 1:
        raise InputError(f"data: {path} holds {', '.join(stored)}; it must hold x, or {', '.join(NAMES)}")
    x = teacher.entry(stored.get("x", next(iter(stored.values()))))
    if len(x) < FEWEST:
        raise InputError(f"data: {path} has {len(x)} examples; it must have at least {FEWEST}")
    rows, z = x.reshape(len(x), -1), teacher.model.logits(x)
    scaling = teacher.model.scaling or unscaled(rows.shape[1])
    test, validation, train = np.split(np.random.default_rng(settings.seed).permutation(len(x)),
                                       [len(x) // TENTH, 2 * (len(x) // TENTH)])
    numbers = without_labels(teacher.head, z.shape[1])
    targets = Scaling.standard(z[train]) if numbers else None
    rows, y = scaling.apply(rows), targets.apply(z) if targets else classes_of(z)
    train, validation, test = map(np.sort, (train, validation, test))
    name, outputs = f"{path.resolve().stem}, labelled by the teacher", z.shape[1] if numbers else max(z.shape[1], 2)
    return Data(name, rows[train], y[train], rows[validation], y[validation], rows[test], y[test], outputs, x.shape[1:],
                scaling, targets=targets), False
