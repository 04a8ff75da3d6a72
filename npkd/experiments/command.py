"""``npkd reproduce``: run an experiment, or the rest of it, and print its tables."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

from npkd import __version__
from npkd.errors import InputError
from npkd.experiments import lenet300, tables
from npkd.experiments.setting import VERSION
from npkd.experiments.spread import run_all
from npkd.files import write_json

NAMES = ("lenet300",)
"""Experiments that can be reproduced."""

PARTS = ("all", "comparison", "records")


def reproduce(name: str, *, quick: bool, seeds: int | None, json: str | None, runs: str, jobs: int, part: str) -> int:
    """Run what is missing in the folder ``runs``, print the tables, write them to the file ``json``; the exit code, 0.

    Raises InputError for what cannot be run or written.
    """
    began = time.perf_counter()
    folder, count = Path(runs), seeds if seeds is not None else 2 if quick else lenet300.SEEDS
    if json is not None and not Path(json).resolve().parent.is_dir():
        raise InputError(f"reproduce: {json} is in no folder that exists; name a file that can be written")    # before hours of work
    if quick and part == "records":
        raise InputError("reproduce: quick runs have no records; leave out --quick, or --part records")
    compared = [] if part == "records" else lenet300.quick(count) if quick else lenet300.comparison(count)
    beaten = [] if quick or part == "comparison" else lenet300.records(count)
    done = run_all([*compared, *(s for _, settings in beaten for s in settings)], folder, jobs)
    rows, records = tables.comparison_rows(compared, folder), tables.record_rows(beaten, folder)
    texts = [tables.comparison_text(rows)] if rows else []
    texts += [tables.records_text(records)] if records else []
    print("\n\n".join([*texts, tables.published_text(), f"{done} runs in {time.perf_counter() - began:.0f} s; all are kept in {folder}"]))
    if json is not None:
        words = ["npkd", "reproduce", name, *["--quick"] * quick, "--seeds", str(count), *(["--part", part] if part != "all" else [])]
        write_json(json, {"command": shlex.join(words), "npkd": __version__, "version": VERSION, "comparison": rows, "records": records})
    return 0
