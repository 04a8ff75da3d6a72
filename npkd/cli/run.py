"""A run with its files: from settings to a folder with networks, numbers, figures and a report.

Everything that can be refused is refused before training starts. Every file is written whole or not at all, the
networks as soon as they exist.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import npkd
from npkd.cli import config, folders, summary
from npkd.cli.prepare import PreparedRun, prepare, untrained
from npkd.cli.recorder import Recorder
from npkd.cli.settings import PATHS, TARGET, Settings, stored_settings
from npkd.core.files import make_folder, reason, write_bytes, write_json, write_text
from npkd.core.progress import Progress
from npkd.core.validation import InputError
from npkd.distillation.safety import redrawn
from npkd.interop.layers import outputs_of
from npkd.nn.fast.workspace import predict
from npkd.nn.model import Model
from npkd.nn.model import load as load_model
from npkd.pipeline import stages
from npkd.pipeline.distil import bound, distilled
from npkd.pipeline.logit_source import single
from npkd.pipeline.sparse import sparse_training
from npkd.pipeline.stages import Run, State
from npkd.pipeline.task import objective_of
from npkd.report import figures, page, sweep
from npkd.report.numbers import side_by_side
from npkd.report.words import CAPTIONS


def run(settings: Settings, progress: Progress, begins: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Do what the settings say, write the folder, return the summary (what summary.json holds).

    ``begins`` is called when everything is checked and the first file of the run is written. The test part is looked at
    once, when everything is decided. Raises InputError for anything that cannot be worked with, Diverged when training
    fails, KeyboardInterrupt, which says what was saved, when it is interrupted.
    """
    began = time.perf_counter()
    figures.require()
    folders.check(settings)
    progress.begin("reading the data", 1)
    plan, state = prepare(settings, progress), State()
    progress.step(f"{len(plan.data.x_train)} examples to train on")
    client = plan.data.stream and plan.data.stream.client
    with client or contextlib.nullcontext(), folders.opened(settings) as folder:
        recorder = Recorder(plan, state, progress, folder)
        rng = np.random.default_rng(settings.seed)
        try:
            begins()
            result = {"train": train_one, "distil": distil, "compress": compress}[settings.command](plan, recorder, rng)
            result["files"] = {name: recorder.path(name).stat().st_size for name in sorted(recorder.saved)}
            result["seconds"] = round(time.perf_counter() - began + recorder.checkpoints.seconds, 3)
            write_result(result, recorder)
            folders.publish(folder, Path(settings.out))
        except KeyboardInterrupt:
            try:
                words = recorder.rescue()
            except KeyboardInterrupt:
                words = recorder.left_by_two_interrupts()
            raise KeyboardInterrupt(words) from None
        finally:
            if not recorder.saved:
                recorder.checkpoints.discard()
    return result


def write_result(result: dict[str, Any], recorder: Recorder) -> None:
    """Write history, summary, settings, figures and report."""
    recorder.write_history()
    write_json(recorder.folder / "summary.json", result)
    write_text(recorder.folder / config.NAME, config.text(recorder.plan))
    recorder.progress.begin("figures and report", 1)
    pictures = figures.draw(recorder.plan.data, recorder.state, recorder.history, result)
    folder = make_folder(recorder.folder / "figures")
    for name, png in pictures.items():
        write_bytes(folder / f"{name}.png", png)
    curve = figures.curve(recorder.history, result)
    write_text(recorder.folder / "report.html", page.html(result, pictures, recorder.history, curve))
    recorder.progress.step("written")


def resumed(options: Mapping[str, object]) -> Settings:
    """The settings of the run that was broken off in the folder ``options["out"]``, or in the latest npkd-out…

    Raises InputError where there is no such run, or it was begun with something else than the options say.
    """
    out = str(options.get("out") or folders.latest(folders.CHECKPOINT, f"{folders.STAGING}/{folders.CHECKPOINT}"))
    settings = Settings(out=out, resume=True, overwrite=bool(options.get("overwrite")))
    folders.check(settings)
    path = folders.checkpoint_in(Path(out))
    assert path is not None
    stored = stored_settings(path)
    for name, value in options.items():
        begun_with = stored.get(name)
        same = value == begun_with or (name in PATHS and os.path.abspath(str(value)) == begun_with)
        if name not in ("out", "resume", "quiet", "json", "config") and not same:
            raise InputError(f"--resume: got {name.replace('_', '-')} {value!r:.60}, the run in {out} was begun with "
                             f"{begun_with!r:.60}; leave it out")
    return replace(settings, **stored)


def compress(plan: PreparedRun, recorder: Recorder, rng: np.random.Generator) -> dict[str, Any]:
    """Compress a teacher, trained here or given; then look at the test part, once."""
    state, data, recipe = recorder.state, plan.data, plan.recipe
    state.teacher = plan.outside(plan.teacher or stages.train_teacher(
        Run(data, recipe, rng, recorder, state, plan.outside)))
    recorder.save("teacher", state.teacher)
    if plan.distil_from is not None:
        recipe = replace(recipe, distil_from=Model(plan.outside(plan.distil_from), data.scaling))
    teacher = replace(plan.teacher_model or Model(state.teacher, data.scaling), network=state.teacher)
    result = npkd.compress(teacher, data, plan.settings.target or TARGET, recipe=recipe, seed=rng, progress=recorder)
    recorder.save_newest()
    recorder.save("student", result.student)
    if plan.recipe.steps[-1:] == ("code",):
        recorder.code("student", result.about)
    if plan.foreign is not None:
        replace(result, entry=plan.foreign.entry).to_onnx(recorder.folder / "student.onnx")
    return summary.of_compression(plan, result, load_model(recorder.path("student")))


def train_one(plan: PreparedRun, recorder: Recorder, rng: np.random.Generator) -> dict[str, Any]:
    """Plain training of one network; then the test part, once."""
    data = plan.data
    run = Run(data, plan.recipe, rng, recorder, recorder.state, plan.outside)
    start = untrained(plan.settings, data, plan.recipe, rng)
    model = plan.teacher or stages.train_teacher(run, start, "training")
    if plan.sparse is None:
        model = plan.outside(model)
        recorder.save("model", model)
        numbers, classes = summary.judged(model, data)
        return summary.general(plan) | {"model": numbers} | side_by_side({"model": model}, {"model": classes}, data)
    recorder.save("dense", plan.outside(model))
    learnt: tuple[Any, ...] = ()
    if plan.distil_from is not None:
        recipe, outputs = plan.recipe, outputs_of(model)
        objective = objective_of(data.y_train, outputs, recipe.label_weight, 1.0, recipe.temperature)
        answers = {"teacher": single(predict(plan.distil_from, data.x_train), outputs)}
        learnt = objective, answers, bound(redrawn(model), data.x_train, data.y_train)
    result = sparse_training(run, model, plan.sparse, *learnt)
    recorder.save("model", result.model)
    both = summary.of_two(("dense", result.dense), ("model", result.model), data)          # the latter is delivered
    return summary.general(plan) | both | summary.of_penalty(plan, result)


def distil(plan: PreparedRun, recorder: Recorder, rng: np.random.Generator) -> dict[str, Any]:
    """Distil a fresh student, which may then lose neurons; then the test part, once."""
    state, data, sparse = recorder.state, plan.data, None
    assert plan.teacher is not None
    state.teacher = plan.outside(plan.teacher)
    recorder.save("teacher", state.teacher)
    run = Run(data, plan.recipe, rng, recorder, state, plan.outside)
    start = untrained(plan.settings, data, plan.recipe, rng)
    student, objective = distilled(run, start, plan.teacher, plan.learnt)
    if plan.sparse is not None and objective is not None:
        recorder.save("dense", plan.outside(student))
        sparse = sparse_training(run, student, plan.sparse, objective, {"teacher": predict(plan.teacher, data.x_train)},
                                 bound(start, data.x_train, data.y_train))
    student = plan.outside(student) if sparse is None else sparse.model
    recorder.save("student", student)
    return summary.of_distillation(plan, (state.teacher, student), recorder.history, str(objective or ""), sparse)


def rebuild(folder: str | Path) -> Path:
    """Write report.html again from the summary and the figures in a folder, and return its path.

    Raises InputError where there is no summary, or one that no run of npkd wrote, or a report.html that is not npkd's.
    """
    path, report = Path(folder) / "summary.json", Path(folder) / "report.html"
    pictures, history = dict[str, bytes](), list[dict[str, Any]]()
    for name in (*CAPTIONS, "mean"):
        with contextlib.suppress(OSError):
            pictures[name] = (Path(folder) / "figures" / f"{name}.png").read_bytes()
    try:
        result = json.loads(path.read_bytes())
        with contextlib.suppress(OSError):
            history = [json.loads(line) for line in (Path(folder) / "history.jsonl").read_bytes().splitlines()]
        text = sweep.html(result) if "runs" in result else page.html(
            result, pictures, history, figures.curve(history, result))
    except OSError as error:
        raise InputError(f"report: {path}: {reason(error)}; name the folder of a run") from error
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise InputError(f"report: {path} is not as npkd writes it ({error!r:.80}); it must be the summary.json of a "
                         "run, beside its history.jsonl") from error
    if os.path.lexists(report) and not folders.written_by_npkd(report):
        raise InputError(f"report: {report} was not written by npkd and is not replaced; move it")
    write_text(report, text)
    return report
