"""Many units over several processes, one thread of linear algebra each: the same numbers however many there are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from npkd.core.files import make_folder
from npkd.core.progress import shown
from npkd.core.validation import Diverged, InputError
from npkd.experiments.runs import finish
from npkd.experiments.setting import Setting, TeacherSetting, Unit, read

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What the libraries of linear algebra look at when they are loaded, and never again."""


def waves(settings: Sequence[Setting]) -> list[list[Unit]]:
    """All units in the order of what they need: teachers, runs that follow no other, runs that do. Each once."""
    teachers: list[Unit] = [unit for s in settings for unit in (s.teacher, s.distil_from) if unit]
    first: list[Unit] = [s.widths_of or s for s in settings]
    following: list[Unit] = [s for s in settings if s.widths_of]
    return [list(dict.fromkeys(units)) for units in (teachers, first, following)]


@contextmanager
def one_thread() -> Iterator[None]:
    """Processes that are started here take one thread each; afterwards the environment is what it was."""
    before = {name: os.environ[name] for name in THREADS if name in os.environ}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name in THREADS:
            del os.environ[name]
        os.environ.update(before)


def quiet() -> None:
    """Leave interrupts and warnings of floating point to the parent; called first in every process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore", RuntimeWarning)


def work(job: tuple[Unit, Path]) -> str:
    """Finish one unit, and return its words. Raises InputError, which names the unit, where it cannot be run."""
    try:
        finish(*job)
    except (InputError, Diverged) as error:
        raise InputError(f"{words(job[0])}: {error}") from error
    return words(job[0])


def words(unit: Unit) -> str:
    """A unit in a line."""
    if isinstance(unit, TeacherSetting):
        return f"teacher {unit.kind}, seed {unit.seed}"
    how = (" at our widths" if unit.widths_of else "") + (", from a better network" if unit.distil_from else "")
    counted = "MACs" if unit.kind == "macs" else unit.kind
    return f"{unit.method}{how}, {unit.macs} {counted}, seed {unit.teacher.seed}"


def run_all(settings: Sequence[Setting], folder: Path, jobs: int) -> int:
    """Finish every setting, and what it needs, in ``jobs`` processes, with bars or lines on stderr; returns how many
    units were run now. Raises InputError where a unit cannot be run, and KeyboardInterrupt that says what is kept.
    """
    make_folder(folder)
    todo = [[unit for unit in wave if read(unit, folder) is None] for wave in waves(settings)]
    count = sum(map(len, todo))
    if not count:
        return 0
    done, context = 0, multiprocessing.get_context("spawn")
    with one_thread(), context.Pool(min(jobs, max(map(len, todo))), quiet) as pool, shown(True) as progress:
        progress.begin("runs", count)
        try:
            for wave in todo:
                for name in pool.imap_unordered(work, [(unit, folder) for unit in wave]):
                    done += 1
                    progress.step(name)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted; {done} of {count} runs are done and kept in {folder}; the same "
                                    f"command goes on") from None
        finally:
            pool.terminate()
            pool.join()
    return count
