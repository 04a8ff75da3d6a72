"""Studies: published tables again. Settings × seeds -> runs, which are kept -> sentences that hold or are missed."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np

from npkd import __version__
from npkd.core.files import make_folder, write_json
from npkd.core.progress import NoProgress, Progress, shown
from npkd.core.validation import InputError
from npkd.core.workers import Workers, bounded, pool
from npkd.data.datasets import Data
from npkd.experiments.setting import stored_json
from npkd.nn.network import Network
from npkd.nn.training import Record, TrainingSettings
from npkd.pipeline.checkpoints import CheckpointFile
from npkd.pipeline.epochs import epochs_of

Run = dict[str, Any]
"""Of a run, as JSON: "test_error", the test part looked at once (not by the first of two stages), "seconds",
"cpu_seconds", and what the bars need."""
Job = tuple[Callable[["Unit", Progress], Run], "Unit"]


@dataclass(frozen=True)
class Unit:
    """One run: a setting by name and all its numbers, as JSON; a seed; the folder that keeps the study's files."""

    setting: str
    numbers: Mapping[str, Any]
    seed: int
    folder: Path

    def path(self, suffix: str) -> Path:
        """A file of this run: with other numbers it has another name."""
        digest = hashlib.sha256(json.dumps([str(self), self.numbers], sort_keys=True).encode()).hexdigest()
        return self.folder / (re.sub(r"[^\w.]+", "-", f"{self} {digest[:16]}") + suffix)

    def __str__(self) -> str:
        return f"{self.setting}, seed {self.seed}"


class Study(Protocol):
    """A module with these names is a study, with seeds 0 … SEEDS − 1 where nobody says how many."""

    SEEDS: int

    def settings(self, quick: bool) -> Sequence[Mapping[str, Mapping[str, Any]]]:
        """Waves of settings by name, a wave reads files of those before. Numbers: any, "seeds": so many
        from 0 on, whichever are asked for.
        ``quick``: a few that take less than two minutes in all."""

    def run(self, unit: Unit, progress: Progress) -> Run:
        """The run of a unit; what later waves read it writes to ``unit.path(…)``."""

    def bars(self, runs: Sequence[Run]) -> list[str]:
        """Sentences (``bar``) on the runs that are there, each with its "setting" and "seed"."""


def trained(unit: Unit, progress: Progress, data: Data, start: Network, training: Callable[..., Iterator[Record]],
            settings: TrainingSettings, rng: np.random.Generator) -> tuple[Network, Run]:
    """The network after ``training(start, settings=settings)`` on ``data``, and what that took. A run that was broken
    off goes on (``TrainingSettings.done``) from its checkpoint, which stays until its result is kept."""
    path, clock = unit.path(".npz"), [time.process_time()]
    file = CheckpointFile(path, {"data": data.name, **unit.numbers}, data, resume=path.is_file())
    keeper: Any = SimpleNamespace(begin=progress.begin, step=progress.step, keep=file.keep, kept=file.kept)

    def cpu_seconds(record: Record) -> Run:
        clock.append(time.process_time())
        return {"cpu_seconds": clock[-1] - clock[-2]}

    try:
        last, = deque(epochs_of(str(unit), start, training, settings, rng, keeper, cpu_seconds), maxlen=1)
    finally:
        file.flush()
    lines = [line for _, line in last.epochs]
    return last.network, {"seconds": lines[-1]["seconds"], "cpu_seconds": sum(x["cpu_seconds"] for x in lines)}


def finish(job: Job, progress: Progress | None = None) -> str:
    """Do a run and keep it; returns its words."""
    run, unit = job
    result = {"setting": unit.setting, "seed": unit.seed, **run(unit, progress or NoProgress())}
    write_json(unit.path(".json"), result)
    unit.path(".npz").unlink(missing_ok=True)
    return str(unit)


def finished(waves: Sequence[Sequence[Job]], workers: Workers) -> Generator[str]:
    """Do runs, wave by wave, with a thread each; one that is alone in this process."""
    left, counted = sum(map(len, waves)), False
    with pool(workers) as spread, shown(True) as progress:
        for wave in waves:
            if workers.here or (len(wave) == 1 and workers.backend == "loky"):
                counted = False
                yield from (bounded(partial(finish, progress=progress), job) for job in wave)
            elif wave:
                if not counted:                                           # one bar for this wave and those behind it
                    progress.begin("runs", left)
                    counted = True
                for word in spread(finish, wave):
                    progress.step(word)
                    yield word
            left -= len(wave)


def take_over(units: Sequence[Unit], path: Path) -> None:
    """Keep the runs that a file of ``npkd reproduce --json`` holds, of units with the numbers of today: whatever the
    machine they were made on. Raises InputError for another file."""
    try:
        found = json.loads(path.read_bytes())
        same = [unit for unit in units if found["settings"].get(unit.setting) == json.loads(json.dumps(unit.numbers))]
        runs = {(run["setting"], run["seed"]): run for run in found["runs"]}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"reproduce: --from names {path}, which holds no runs; it must be a file that --json of a "
                         f"study wrote") from error
    make_folder(units[0].folder)
    for unit in same:
        run = runs.get((unit.setting, unit.seed))
        if run is not None and stored_json(unit.path(".json")) is None:
            write_json(unit.path(".json"), run)


def reads(later: Unit, unit: Unit) -> bool:
    """Whether a unit begins with what another one made: it has that one's numbers among its own."""
    return unit.numbers in later.numbers.values() and ("seeds" in unit.numbers or later.seed == unit.seed)


def to_do(waves: Sequence[Sequence[Unit]]) -> list[list[Unit]]:
    """The runs that are missing. One that was taken over is done again where one that is missing reads its network."""
    units = [unit for wave in waves for unit in wave]
    missing = [unit for unit in units if stored_json(unit.path(".json")) is None]
    for unit in reversed(units):                                              # from the last wave to the first
        if unit not in missing and not unit.path(".model.npz").exists() and any(reads(x, unit) for x in missing):
            missing.append(unit)
    return [[unit for unit in wave if unit in missing] for wave in waves]


def reproduce(study: Study, command: str, waves: Sequence[Sequence[Unit]], workers: Workers | None, path: str | None
              ) -> Run:
    """Do what is missing (without workers nothing), and return, after every run also write to ``path``, what is kept;
    ``hours`` are those of one run after another, ``missing`` counts the runs that are not done."""
    units = [unit for wave in waves for unit in wave]
    make_folder(units[0].folder)

    def kept() -> Run:
        runs = [run for unit in units if (run := stored_json(unit.path(".json"))) is not None]
        hours, core_hours = (round(sum(run[name] for run in runs) / 3600, 3) for name in ("seconds", "cpu_seconds"))
        found = {"command": command, "npkd": __version__, "hours": hours, "core_hours": core_hours,
                 "settings": {unit.setting: unit.numbers for unit in units}, "missing": len(units) - len(runs),
                 "bars": study.bars(runs), "runs": runs}
        if path is not None:
            write_json(path, found)
        return found

    if workers is not None:
        with closing(finished([[(study.run, unit) for unit in wave] for wave in to_do(waves)], workers)) as runs:
            for _ in runs:
                kept()
    return kept()
