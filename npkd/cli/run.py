"""A run with its files: ``npkd compress`` and ``npkd train`` from settings to a folder with networks, numbers, figures
and a report.

Everything that can be refused is refused before training starts. Every file is written whole or not at all, the
networks as soon as they exist, so that a run which is broken off leaves what it has.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import time
from pathlib import Path
from typing import Any

import numpy as np

from npkd import __version__
from npkd.cli import summary
from npkd.cli.prepare import Plan, prepare
from npkd.cli.settings import Settings
from npkd.core.files import make_folder, write_bytes, write_json, write_text
from npkd.core.validation import InputError
from npkd.nn.model import Model
from npkd.nn.model import save as save_model
from npkd.nn.network import Network, perceptron
from npkd.pipeline import stages
from npkd.pipeline.progress import Progress
from npkd.pipeline.stages import State
from npkd.report import figures, page
from npkd.surgery.widths import widths_of


class Recorder:
    """A progress that passes on what it is told, keeps the history, and writes what there is whenever a stage begins.

    As soon as the first network is written, what an earlier run left in the folder is removed: it tells of other
    networks.
    """

    def __init__(self, plan: Plan, state: State, progress: Progress) -> None:
        self.plan, self.state, self.progress = plan, state, progress
        self.folder = make_folder(plan.settings.out)
        self.history: list[dict[str, Any]] = []
        self.rounds, self.saved = 0, dict[str, Network]()
        probe = self.folder / ".npkd-probe"
        write_bytes(probe, b"")                               # better now than after an hour of training
        probe.unlink(missing_ok=True)

    def begin(self, stage: str, steps: int) -> None:
        """A stage begins: what the one before has made is written."""
        self.checkpoint()
        self.progress.begin(stage, steps)

    def step(self, note: str, record: dict[str, Any] | None = None) -> None:
        """One step is done."""
        if record is not None:
            self.history.append(record)
        self.progress.step(note, record)

    def checkpoint(self) -> None:
        """Note rounds that are new, and write the student where it is new."""
        for done in self.state.rounds[self.rounds:]:
            self.rounds += 1
            self.history.append({"stage": f"round {self.rounds}: removal", "widths": widths_of(done.student),
                                 "removed": len(done.removals),
                                 "relative_error": [layer.relative_error for layer in done.layers]})
        if self.state.student is not None and self.state.student is not self.state.teacher:
            self.save("student", self.state.student)
        if self.saved:
            self.write_history()

    def save(self, name: str, network: Network) -> None:
        """Write a network, unless it is the one that was written last under this name."""
        if self.saved.get(name) is network:
            return
        plan = self.plan
        about = {"npkd": __version__, "made_by": plan.settings.command, "data": plan.data.name,
                 "seed": plan.settings.seed, "split": plan.split}
        if name == "teacher" and plan.teacher is not None:
            about = dict(plan.about)                          # a given teacher stays what it was
        save_model(self.folder / f"{name}.npz", Model(network, plan.data.scaling, about))
        if not self.saved:
            old = ["summary.json", "history.jsonl", "report.html", *(f"figures/{key}.png" for key in page.CAPTIONS)]
            for stale in old + (["student.npz", "distil_from.npz"] if name == "teacher" else []):
                with contextlib.suppress(OSError):
                    (self.folder / stale).unlink()
            if plan.distil_from_model is not None:
                # the file that was given may be one that this run writes
                save_model(self.folder / "distil_from.npz", plan.distil_from_model)
        self.saved[name] = network

    def write_history(self) -> None:
        """Write the history so far, a line of JSON each."""
        write_text(self.folder / "history.jsonl",
                   "".join(json.dumps(line, allow_nan=False) + "\n" for line in self.history))

    def rescue(self) -> str:
        """After an interrupt: write what there is, and say what that is and how to go on."""
        state, epochs = self.state, sum(line["stage"] == "teacher" for line in self.history)
        name = "teacher" if self.plan.settings.command == "compress" else "model"
        if state.teacher is not None and (epochs or self.plan.teacher is not None):
            self.save(name, state.teacher)
        self.checkpoint()
        if not self.saved:
            return "interrupted before there was a network; nothing was saved"
        files = ", ".join(f"{key}.npz" for key in self.saved)
        planned = self.plan.recipe.teacher_epochs
        part = f" ({name} after {epochs} of {planned} epochs)" if self.plan.teacher is None and epochs < planned else ""
        said = f"interrupted; {files} and history.jsonl are in {self.folder}{part}"
        if name == "model" or part:
            return f"{said}; to start over, give the same command again"
        settings = self.plan.settings
        words = ["npkd", "compress", "--data", settings.data, "--teacher", f"{self.folder / name}.npz", "--target",
                 settings.target]
        words += ["--epochs", str(settings.epochs)] if settings.epochs is not None else []
        words += ["--keep-inputs"] * settings.keep_inputs
        words += ["--distil-from", f"{self.folder / 'distil_from'}.npz"] if settings.distil_from is not None else []
        return f"{said}; to go on: {shlex.join([*words, '--seed', str(settings.seed), '--out', str(self.folder)])}"


def run(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Do what the settings say, write the folder, return the summary (what summary.json holds).

    The test part is looked at once, when everything is decided. Raises InputError for anything that cannot be worked
    with, Diverged when training fails, KeyboardInterrupt, with a message that says what was saved, when it is
    interrupted.
    """
    began = time.perf_counter()
    figures.require()
    plan, state = prepare(settings, progress), State()
    recorder = Recorder(plan, state, progress)
    rng = np.random.default_rng(settings.seed)
    try:
        result = train_one(plan, recorder, rng) if settings.command == "train" else compress(plan, recorder, rng)
        result["seconds"] = round(time.perf_counter() - began, 3)
        recorder.write_history()
        write_json(recorder.folder / "summary.json", result)
        progress.begin("figures and report", 1)
        drawn = figures.draw(plan.data, state, recorder.history)
        folder = make_folder(recorder.folder / "figures")
        for name, png in drawn.items():
            write_bytes(folder / f"{name}.png", png)
        write_text(recorder.folder / "report.html", page.html(result, page.captioned(drawn)))
        progress.step("written")
    except KeyboardInterrupt:
        raise KeyboardInterrupt(recorder.rescue()) from None
    return result


def compress(plan: Plan, recorder: Recorder, rng: np.random.Generator) -> dict[str, Any]:
    """The main job: teacher, rounds, last distillation; then the test part, once."""
    state, goal = recorder.state, plan.target
    assert goal is not None
    teacher = plan.teacher
    if teacher is None:
        teacher = stages.train_teacher(plan.data, plan.recipe, rng, recorder, state)
    state.teacher = teacher
    recorder.save("teacher", teacher)
    stages.compress(plan.data, goal, plan.recipe, rng, teacher=teacher, distil_from=plan.distil_from,
                      keep_inputs=plan.settings.keep_inputs, progress=recorder, state=state)
    assert state.student is not None
    recorder.checkpoint()
    recorder.save("student", state.student)
    return summary.of_compression(plan, goal, state)


def train_one(plan: Plan, recorder: Recorder, rng: np.random.Generator) -> dict[str, Any]:
    """Plain training of one network; then the test part, once."""
    data, numbers, state, settings = plan.data, plan.recipe, recorder.state, plan.settings
    rates = (0.0, *[settings.dropout] * len(numbers.hidden)) if settings.dropout else ()
    start = None
    if numbers.network == "perceptron":
        start = perceptron([data.x_train.shape[1], *numbers.hidden, data.classes], rng, activation=settings.activation,
                           dropout_rates=rates)
    model = stages.train_teacher(data, numbers, rng, recorder, state, start)
    recorder.save("model", model)
    return summary.of_training(plan, model)


def rebuild(folder: str | Path) -> Path:
    """Write report.html again from the summary and the figures in a folder, and return its path.

    Raises InputError where there is no summary, or one that no run of npkd wrote.
    """
    path = Path(folder) / "summary.json"
    found = summary.read(path)
    drawn = {}
    for name in page.CAPTIONS:
        with contextlib.suppress(OSError):
            drawn[name] = (Path(folder) / "figures" / f"{name}.png").read_bytes()
    try:
        text = page.html(found, page.captioned(drawn))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
        raise InputError(f"report: {path} is not as this npkd writes it ({error!r:.80}); it must be the summary.json "
                         f"of a run") from error
    write_text(Path(folder) / "report.html", text)
    return Path(folder) / "report.html"
