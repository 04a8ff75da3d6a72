"""An earlier commit of npkd to compare with, extracted from the history into a folder."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

COMMIT = "7ac698c"
"""npkd 0.1 before its files moved."""

ROOT = Path(__file__).resolve().parents[2]
"""This tree."""


def extract(folder: Path, commit: str = COMMIT) -> Path:
    """``commit`` in ``folder``, by ``git archive``. Ends the program with a sentence where there is no such history."""
    try:
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", commit], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        sys.exit(f"{ROOT}: no git history with commit {commit} to compare with; run this in a full clone")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def environment(tree: Path, threads: int | None = None) -> dict[str, str]:
    """The environment of a process that imports ``tree``, with so many BLAS threads, or as many as it chooses."""
    variables = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    return {**variables, "PYTHONPATH": str(tree), **({} if threads is None else {"OPENBLAS_NUM_THREADS": str(threads)})}


def two_cores() -> None:
    """Restrict this process, and those that it starts, to two cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
