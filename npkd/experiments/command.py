"""``npkd reproduce``: run an experiment, or the rest of it, and print its tables."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from npkd import __version__
from npkd.core.files import reason, write_json
from npkd.core.validation import InputError
from npkd.experiments import ba2014, hinton2015, lenet5, lenet300, romero2015, survey2021, tables
from npkd.experiments.experiment import Experiment
from npkd.experiments.setting import VERSION, Setting, digest, read
from npkd.experiments.spread import run_all
from npkd.experiments.study import Study, Unit
from npkd.experiments.study import reproduce as finish_study

EXPERIMENTS: Mapping[str, Experiment] = {"lenet300": lenet300, "lenet5": lenet5}
"""Comparisons of methods that can be reproduced."""

STUDIES: Mapping[str, Study] = {"hinton2015": hinton2015, "survey2021": survey2021, "ba2014": ba2014,
                               "romero2015": romero2015}
"""Published tables that can be reproduced."""

PARTS = ("all", "comparison", "post-training", "records")


def finished(settings: Sequence[Setting], folder: Path) -> list[Setting]:
    """Those that have been run, where ours has been run for the same teacher and budget."""
    done = [s for s in settings if read(s, folder) is not None]
    with_ours = {(s.teacher, s.macs) for s in done if s.method == "ours"}
    return [s for s in done if (s.teacher, s.macs) in with_ours]


def require_replaceable(path: Path, overwrite: bool) -> None:
    """Raise InputError unless the numbers can be written to a file: a new or empty one, one that ``npkd reproduce`` has
    written, or with ``overwrite`` any."""
    if not path.resolve().parent.is_dir() or (path.exists() and not path.is_file()):
        raise InputError(f"reproduce: {path} is in no folder that exists, or is no file; name one that can be written")
    try:
        start = path.read_bytes()[:100].lstrip(b"{ \r\n") if path.is_file() else b""
    except OSError as error:
        raise InputError(f"reproduce: {path}: {reason(error)}; name a file that can be read and written") from error
    if start and not start.startswith(b'"command": "npkd reproduce ') and not overwrite:
        raise InputError(f"reproduce: --json names {path}, which npkd reproduce did not write; name another file, or "
                         f"give --overwrite to replace it")


@dataclass(frozen=True)
class Options:
    """What ``npkd reproduce`` is told.

    name    a key of EXPERIMENTS or STUDIES;   part  "all" or one of PARTS;   quick  a few minutes of it
    seeds   0 … seeds − 1; None: as many as the experiment says
    runs    folder that keeps finished runs;   jobs  runs at the same time
    stored  nothing is run, and the tables are of what is finished
    json    file that the numbers are written to, or None;   overwrite  also where npkd reproduce did not write it
    """

    name: str
    quick: bool = False
    seeds: int | None = None
    json: str | None = None
    runs: str = "npkd-runs"
    jobs: int = 2
    part: str = "all"
    stored: bool = False
    overwrite: bool = False


def run_study(options: Options) -> int:
    """Of a study run what is missing and print its bars. Raises InputError where parts are asked for, it has none."""
    name, quick, study = options.name, options.quick, STUDIES[options.name]
    if options.part != "all":
        raise InputError(f"reproduce: got --part {options.part}; {name} has no parts, leave it out")
    seeds, folder = options.seeds or (1 if quick else study.SEEDS), Path(options.runs) / name
    waves = [[Unit(setting, numbers, seed, folder) for seed in range(seeds) for setting, numbers in wave.items()
              if seed < numbers.get("seeds", seeds)] for wave in study.settings(quick)]
    words = ["npkd", "reproduce", name, *["--quick"] * quick, *(["--seeds", str(seeds)] if options.seeds else [])]
    found = finish_study(study, shlex.join(words), waves, 0 if options.stored else options.jobs, options.json)
    print("\n".join([*found["bars"], f"{len(found['runs'])} runs done, {found['missing']} missing, "
                     f"{found['core_hours']} core hours; all are kept in {folder}"]))
    return 0


def reproduce(options: Options) -> int:
    """Run what is missing, print the tables, write them to a file where one is named; the exit code, 0.

    Raises InputError for what cannot be run or written.
    """
    name, quick, json, part, stored = options.name, options.quick, options.json, options.part, options.stored
    began, folder = time.perf_counter(), Path(options.runs)
    if json is not None:                                                                      # before hours of work
        require_replaceable(Path(json), options.overwrite)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"reproduce: --runs is {folder}, which is a file; it must be a folder, or be free")
    if name in STUDIES:
        return run_study(options)
    experiment = EXPERIMENTS[name]
    count = options.seeds or (2 if quick else experiment.SEEDS)
    of_records = options.seeds or experiment.RECORD_SEEDS
    if quick and part in ("records", "post-training"):
        raise InputError(f"reproduce: quick runs have no {part}; leave out --quick, or --part {part}")
    wanted = ("comparison",) if quick else PARTS[1:] if part == "all" else (part,)
    compared = [] if "comparison" not in wanted else experiment.quick(count) if quick else experiment.comparison(count)
    untrained = experiment.post_training(of_records) if "post-training" in wanted else []
    records = experiment.records(of_records) if "records" in wanted else []
    if stored:
        compared, untrained = finished(compared, folder), finished(untrained, folder)
        records = [(record, done) for record, settings in records if (done := finished(settings, folder))]
    everything = [*compared, *untrained, *(s for _, settings in records for s in settings)]
    if not everything:
        raise InputError(f"reproduce: {folder} holds no finished run of {name}; give the folder of an earlier run "
                         f"with --runs")
    new = 0 if stored else run_all(everything, folder, options.jobs)
    rows = {"comparison": tables.comparison_rows(compared, folder),
            "post_training": tables.comparison_rows(untrained, folder),
            "records": tables.record_rows(records, folder),
            "teachers": tables.teacher_rows(everything, folder, experiment.TEACHER_BARS)}
    texts = [tables.comparison_text(rows["comparison"]), tables.comparison_text(rows["post_training"]),
             tables.records_text(rows["records"]), tables.teachers_text(rows["teachers"]),
             tables.published_text(experiment.PUBLISHED),
             f"{new} runs in {time.perf_counter() - began:.0f} s; all are kept in {folder}"]
    print("\n\n".join(filter(None, texts)))
    if json is not None:
        words = ["npkd", "reproduce", name, *["--quick"] * quick,
                 *(["--seeds", str(count)] if quick or count == of_records else []),
                 *(["--part", part] if part != "all" else []), *["--stored"] * stored]
        runs = {"comparison": compared, "post_training": untrained, "records": [s for _, some in records for s in some]}
        write_json(json, {"command": shlex.join(words), "npkd": __version__, "version": VERSION, "settings": {
            part: digest(settings) for part, settings in runs.items() if settings}, **rows})
    return 0
