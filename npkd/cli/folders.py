"""The folder of a run: what others made is never replaced, an earlier run only when asked, no two runs write at once.

A run writes to a new or empty folder. One that replaces an earlier run writes to ``unfinished`` in that folder first,
and its files take the place of the earlier ones when it is done: broken off, it leaves the earlier run whole.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from npkd.cli.settings import PATHS, Settings
from npkd.core.coded_files import MAGIC
from npkd.core.files import make_folder, read_arrays, reason
from npkd.core.lock import locked
from npkd.core.validation import InputError
from npkd.report.words import CAPTIONS

DEFAULT = "npkd-out"                                        # where none is named: this, or the first free npkd-out-2, …
CHECKPOINT = "checkpoint.npz"                               # in the folder of a run that is not done
LOCK, STAGING, TEMPORARY = ".npkd-lock", "unfinished", re.compile(r"\.[0-9a-f]{32}\.tmp")

FILES = ("teacher.npz", "teacher.npkz", "distil_from.npz", "distil_from.npkz", "tutor.npz", "student.npz",
         "student.npkz", "student.onnx", "model.npz", "dense.npz", "history.jsonl",
         *(f"figures/{name}.png" for name in (*CAPTIONS, "mean", "kept", "weights", "sparse path")),
         "summary.json", "config.toml", "report.html", CHECKPOINT)
"""What runs write. ("tutor.npz": version 0.1; "sparse path": 0.2)"""

MARKS = {".npkz": MAGIC, ".npz": b'"format": "npkd-', ".jsonl": b'{"stage": "', ".png": b"npkd", ".onnx": b"npkd",
         ".json": b'"command": "npkd ', ".html": b"<title>npkd: ",
         ".toml": b"# Written by npkd "}
"""What the files of a run hold, by the end of their names."""


def free() -> str:
    """The first of npkd-out, npkd-out-2, npkd-out-3, … that is missing or empty."""
    number, name = 1, DEFAULT
    while os.path.lexists(name) and (not os.path.isdir(name) or content(Path(name))):
        number += 1
        name = f"{DEFAULT}-{number}"
    return name


def latest(*files: str) -> str:
    """Of npkd-out, npkd-out-2, … the one where one of the files was written last. Raises InputError without one."""
    dated = [(path.stat().st_mtime_ns, len(path.parts[0]), path.parts[0]) for file in files
             for path in Path().glob(f"{DEFAULT}*/{file}") if re.fullmatch(rf"{DEFAULT}(-\d+)?", path.parts[0])]
    if not dated:
        raise InputError(f"no folder {DEFAULT}… with {' or '.join(files)} is here; name the folder of a run")
    return max(dated)[2]


def content(folder: Path) -> set[str]:
    """Names of what a folder holds, apart from the lock of a run. Raises InputError where it cannot be read."""
    try:
        return {*os.listdir(folder)} - {LOCK}
    except OSError as error:
        raise InputError(f"--out: {folder}: {reason(error)}; name a folder that can be read and written to") from error


def written_by_npkd(path: Path) -> bool:
    """Whether a file with a name of FILES holds what runs write there; an empty one counts as such."""
    try:
        data = path.read_bytes()
        if data and path.suffix == ".npz":
            data = read_arrays(path, ("header",))["header"].tobytes()
    except (OSError, InputError, KeyError):
        return False
    return not data or MARKS[path.suffix] in data


def present(folder: Path) -> list[Path]:
    """The files of FILES that a folder holds, in that order."""
    return [folder / name for name in FILES if os.path.lexists(folder / name)]


def checkpoint_in(folder: Path) -> Path | None:
    """The checkpoint of the run in a folder that is not done, None where there is none."""
    return next((path for path in (folder / STAGING / CHECKPOINT, folder / CHECKPOINT) if path.is_file()), None)


def check(settings: Settings) -> None:
    """Raise InputError unless the run may write to its folder: see the module's text, and ``protect``."""
    folder = Path(settings.out)
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise InputError(f"--out: {folder} is a file; name a folder, or a new name")
    names = content(folder) if os.path.isdir(folder) else set()
    if settings.resume:
        if checkpoint_in(folder) is None:
            raise InputError(f"--resume: {folder} holds no run of npkd that was broken off; name its folder with --out")
        return
    if names and not settings.overwrite:
        some = ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
        left = checkpoint_in(folder) or [*folder.glob("seed-*/*")]
        resume = ", --resume to go on with the run that was broken off there" if left else ""
        raise InputError(f"--out: {folder} holds {some}; name a new or empty folder, or give --overwrite to replace "
                         f"what npkd wrote there{resume}")
    if settings.overwrite and [*folder.glob("seed-*/summary.json")]:
        raise InputError(f"--overwrite: {folder} holds runs with several seeds; name another folder with --out")
    for path in (folder / "figures", folder / STAGING):
        if os.path.lexists(path) and not os.path.isdir(path):
            raise InputError(f"--out: {path} is a file, where a run makes a folder; move it, or name another folder")
    for file in [*present(folder), *present(folder / STAGING)]:
        protect(file, settings)


def protect(file: Path, settings: Settings) -> None:
    """Raise InputError where a file that a run would replace is an input of that run, or was not written by npkd."""
    elsewhere = "name another folder with --out"
    for option in PATHS:
        path = getattr(settings, option)
        if path is not None and os.path.exists(path) and os.path.exists(file) and os.path.samefile(path, file):
            raise InputError(f"--overwrite: {file} is given as --{option.replace('_', '-')} and would be replaced; "
                             f"{elsewhere}")
    if not os.path.isfile(file) or not written_by_npkd(file):
        raise InputError(f"--overwrite: {file} was not written by npkd and is not replaced; move it, or {elsewhere}")


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Path]:
    """Make and lock the settings' folder; the folder for the files of the run while it lasts, see ``publish``. Raises
    InputError where ``check`` does, or another run writes there."""
    folder = make_folder(settings.out)
    with locked(folder / LOCK):
        check(settings)
        checkpoint, staging = checkpoint_in(folder), folder / STAGING
        if settings.resume and checkpoint is not None:
            work = checkpoint.parent
        else:
            for file in present(staging):
                file.unlink()
            work = make_folder(staging) if present(folder) else folder
        for name in filter(TEMPORARY.fullmatch, os.listdir(work)):
            (work / name).unlink()                            # of a run that was killed while it wrote
        try:
            yield work
        finally:
            for empty in (staging / "figures", staging):
                with contextlib.suppress(OSError):
                    empty.rmdir()


def publish(work: Path, folder: Path) -> None:
    """Put the files of a finished run in the place of those of the run before, and take away its checkpoint."""
    if work != folder:
        for file in present(folder):
            file.unlink()
        make_folder(folder / "figures")
        for file in present(work):                            # the checkpoint last: without it there is no going on
            os.replace(file, folder / file.relative_to(work))
    (folder / CHECKPOINT).unlink(missing_ok=True)
