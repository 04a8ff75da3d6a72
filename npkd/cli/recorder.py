"""What a run leaves in its folder while it lasts: networks, history, and the checkpoint that it can be resumed from."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from npkd import __version__
from npkd.cli.folders import CHECKPOINT
from npkd.cli.prepare import PreparedRun
from npkd.cli.settings import absolute
from npkd.core.coded_files import is_coded
from npkd.core.files import reason, write_bytes, write_text
from npkd.core.progress import Progress
from npkd.core.validation import InputError
from npkd.nn.model import Model
from npkd.nn.model import save as save_model
from npkd.nn.network import Network
from npkd.pipeline.checkpoints import CheckpointFile
from npkd.pipeline.stages import State
from npkd.surgery.widths import widths_of


class Recorder:
    """A progress that passes on what it is told, keeps history and checkpoints, and writes files when a stage begins.

    folder    where the files of the run lie until it is done
    saved     networks written so far, by name;   coded  names of those whose files are coded
    """

    def __init__(self, plan: PreparedRun, state: State, progress: Progress, folder: Path) -> None:
        self.plan, self.state, self.progress, self.folder = plan, state, progress, folder
        self.history: list[dict[str, Any]] = []
        self.rounds, self.saved, self.coded = 0, dict[str, Network | None](), set[str]()
        # the first file of the run, before any training: a folder that cannot be written to is refused here
        self.checkpoints = CheckpointFile(folder / CHECKPOINT, absolute(plan.settings), plan.data,
                                          resume=plan.settings.resume)
        self.keep, self.kept = self.checkpoints.keep, self.checkpoints.kept
        if plan.settings.distil_from is not None:
            self.copy("distil_from", plan.settings.distil_from)

    def begin(self, stage: str, steps: int) -> None:
        """A stage begins: write what the one before has made."""
        self.save_newest()
        self.progress.begin(stage, steps)

    def step(self, note: str, record: dict[str, Any] | None = None) -> None:
        """One step is done."""
        if record is not None:
            self.history.append(record)
        self.progress.step(note, record)

    def save_newest(self) -> None:
        """Add new rounds to the history, and write it and the student where they are new."""
        for done in self.state.rounds[self.rounds:]:
            self.rounds += 1
            self.history.append({
                "stage": f"round {self.rounds}: removal", "widths": widths_of(done.student),
                "removed": len(done.removals), "relative_error": [layer.relative_error for layer in done.layers]})
        if self.state.student is not None and self.state.student is not self.state.teacher:
            self.save("model" if self.plan.settings.command == "train" else "student", self.state.student)
        if self.saved:
            self.write_history()

    def save(self, name: str, network: Network) -> None:
        """Write a network unless it was written last under this name. Of a given teacher the file is copied."""
        settings, data = self.plan.settings, self.plan.data
        if name == "teacher" and settings.teacher is not None and self.plan.foreign is None:
            self.copy(name, settings.teacher)
        elif self.saved.get(name) is not network:
            about = {"npkd": __version__, "made_by": settings.command, "data": data.name, "seed": settings.seed,
                     "split": self.plan.split, **({"words": list(data.words)} if data.words else {}),
                     **({"task": "regression"} if data.targets else {})}
            if self.plan.foreign is not None and self.plan.foreign.head:
                about["head"] = self.plan.foreign.head
            save_model(self.path(name), Model(network, data.scaling, about))
            self.saved[name] = network

    def path(self, name: str) -> Path:
        """The file of a network."""
        return self.folder / f"{name}.{'npkz' if name in self.coded else 'npz'}"

    def code(self, name: str, about: Any) -> None:
        """Put the coded file of a network in the place of the one that was written; ``about``: all that it says."""
        plain, network = self.path(name), self.saved[name]
        assert network is not None
        self.coded.add(name)
        save_model(self.path(name), Model(network, self.plan.data.scaling, about))
        plain.unlink()

    def copy(self, name: str, given: str) -> None:
        """Copy the file of a given network, a coded one under the name of such. Raises InputError where a run that goes
        on was begun with another."""
        if is_coded(given):
            self.coded.add(name)
        copy = self.path(name)
        try:
            content = Path(given).read_bytes()
            if self.plan.settings.resume and copy.exists() and copy.read_bytes() != content:
                raise InputError(f"--resume: {given} is not the file any more that the run was begun with; that is "
                                 f"kept as {copy}: put it back, or begin the run again")
        except OSError as error:
            raise InputError(f"read: {given}: {reason(error)}; it must stay while the run lasts") from error
        if name not in self.saved:
            write_bytes(copy, content)
            self.saved[name] = None

    def write_history(self) -> None:
        """Write the history so far, a line of JSON each."""
        lines = [json.dumps(line, allow_nan=False) + "\n" for line in self.history]
        write_text(self.folder / "history.jsonl", "".join(lines))

    def rescue(self) -> str:
        """After an interrupt: write what there is, and say what that is and how to go on."""
        state, epochs = self.state, sum(line["stage"] in ("teacher", "training") for line in self.history)
        settings, planned = self.plan.settings, self.plan.recipe.teacher_epochs
        name = "teacher" if settings.command != "train" else "dense" if settings.penalty else "model"
        if state.teacher is not None and (epochs or settings.teacher is not None):
            self.save(name, state.teacher)
        self.save_newest()
        self.checkpoints.flush()
        if not self.saved:
            return "interrupted before there was a network; nothing was saved"
        files = ", ".join(self.path(key).name for key in self.saved)
        part = f" ({name} after {epochs} of {planned} epochs)" if settings.teacher is None and epochs < planned else ""
        return f"interrupted; {files} and history.jsonl are in {self.folder}{part}; to go on: {self.resume_command}"

    @property
    def resume_command(self) -> str:
        """The shell command that goes on with the run."""
        return shlex.join(["npkd", self.plan.settings.command, "--resume", "--out", self.plan.settings.out])

    def left_by_two_interrupts(self) -> str:
        """After an interrupt of ``rescue``: what the files hold, and how to go on. Nothing is written."""
        files = "".join(f"; {self.path(key).name} is in {self.folder}" for key in self.saved)
        last = self.checkpoints.last_written()
        if last:
            return f"interrupted twice; the last checkpoint is of {last}{files}; to go on: {self.resume_command}"
        return f"interrupted twice, before there was a checkpoint{files or '; nothing was saved'}"
