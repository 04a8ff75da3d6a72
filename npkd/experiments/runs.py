"""Units of an experiment, from setting to result, and all that it needs before them, each once.

The test part is used once, when all is decided."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from npkd.core.files import make_folder
from npkd.core.progress import tracked
from npkd.core.validation import Diverged, InputError
from npkd.core.workers import Workers, pool
from npkd.data.datasets import Data, sizes
from npkd.data.datasets import load as load_data
from npkd.experiments.methods import make
from npkd.experiments.setting import Setting, TeacherSetting, Unit, path_of, read, write
from npkd.nn import cost
from npkd.nn.model import Model
from npkd.nn.model import load as load_model
from npkd.nn.model import save as save_model
from npkd.nn.network import Network
from npkd.pipeline import stages
from npkd.pipeline.stages import Run, error_rate


def without_test(data: Data, examples: int | None) -> Data:
    """The data as a method gets it: so many of the training examples, and no test part."""
    return replace(data, x_train=data.x_train[:examples], y_train=data.y_train[:examples],
                   x_test=data.x_test[:0], y_test=data.y_test[:0])


def errors(network: Network, data: Data) -> dict[str, float]:
    """Validation and test error: the one place where the test part is used."""
    return {"validation_error": error_rate(network, data.x_validation, data.y_validation),
            "test_error": error_rate(network, data.x_test, data.y_test)}


def teacher_of(setting: TeacherSetting, folder: Path, data: Data) -> tuple[Network, dict[str, Any]]:
    """The teacher and its result: from its files, or trained now."""
    path = path_of(setting, folder).with_suffix(".npz")
    if (stored := read(setting, folder)) is not None:
        return load_model(path).network, stored
    began = time.perf_counter()
    rng = np.random.default_rng([setting.seed, 0])
    network = stages.train_teacher(Run(without_test(data, setting.examples), setting.recipe, rng))
    save_model(path, Model(network, data.scaling, {
        "kind": setting.kind, "seed": setting.seed, "data": data.name, "split": {"seed": setting.seed, **sizes(data)}}))
    result = {**errors(network, data), "widths": network.widths, "macs": cost.of(network).macs,
              "seconds": round(time.perf_counter() - began, 1)}
    write(setting, result, folder)                                  # after the network: a result says that all is there
    return network, result


def finish(unit: Unit, folder: Path) -> dict[str, Any]:
    """The result of a unit: from its file, or run now, with the teacher and the run that it follows where missing.

    Keys: validation_error, test_error, widths, macs, seconds; of a run also parameters, path (widths after each
    removal), inputs (those that are read), and the teacher's test error.
    """
    if (stored := read(unit, folder)) is not None:
        return stored
    owner = unit if isinstance(unit, TeacherSetting) else unit.teacher
    data = load_data(owner.data, seed=owner.seed)
    teacher, about = teacher_of(owner, folder, data)
    if isinstance(unit, TeacherSetting):
        return about
    followed = finish(unit.widths_of, folder) if unit.widths_of is not None else None
    distil_from = teacher_of(unit.distil_from, folder, data)[0] if unit.distil_from else None
    began = time.perf_counter()
    run = Run(without_test(data, owner.examples), replace(unit.recipe, keep_inputs=unit.keep_inputs),
              np.random.default_rng([unit.teacher.seed, 1]))
    student, path = make(unit, run, teacher, followed, distil_from)
    size, kept = cost.of(student), stages.open_front(student)[0]
    result = {**errors(student, data), "widths": student.widths, "macs": size.macs,
              "parameters": size.parameters, "path": path,
              "inputs": list(range(student.widths[0])) if kept is None else kept.tolist(),
              "teacher_test_error": about["test_error"], "seconds": round(time.perf_counter() - began, 1)}
    write(unit, result, folder)
    return result


def waves(settings: Sequence[Setting]) -> list[list[Unit]]:
    """All units in the order of what they need: teachers, runs that follow no other, runs that do. Each once."""
    teachers: list[Unit] = [unit for s in settings for unit in (s.teacher, s.distil_from) if unit]
    first: list[Unit] = [s.widths_of or s for s in settings]
    following: list[Unit] = [s for s in settings if s.widths_of]
    return [list(dict.fromkeys(units)) for units in (teachers, first, following)]


def work(job: tuple[Unit, Path]) -> str:
    """Finish one unit, and return its words. Raises InputError, which names the unit, where it cannot be run."""
    try:
        finish(*job)
    except (InputError, Diverged) as error:
        raise InputError(f"{job[0]}: {error}") from error
    return str(job[0])


def missing(settings: Sequence[Setting], folder: Path) -> list[list[Unit]]:
    """Of all units, in waves, those that have not been run."""
    return [[unit for unit in wave if read(unit, folder) is None] for wave in waves(settings)]


def run_all(settings: Sequence[Setting], folder: Path, workers: Workers) -> int:
    """Finish every setting, and what it needs, with bars or lines on stderr; returns how many units were run now.
    Raises InputError where a unit cannot be run."""
    folder = make_folder(folder).absolute()
    todo = [[(unit, folder) for unit in wave] for wave in missing(settings, folder)]
    if count := sum(map(len, todo)):
        with pool(workers) as spread:
            words = (word for wave in todo for word in spread(work, wave))
            deque(tracked(words, "runs", count, str), maxlen=0)
    return count
