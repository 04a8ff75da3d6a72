"""``npkd reproduce``: run an experiment, or the rest of it, and print its tables."""

from __future__ import annotations

import shlex
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from npkd import __version__
from npkd.core.files import reason, write_json
from npkd.core.validation import InputError
from npkd.experiments import (
    alvarez2017,
    ba2014,
    berthelier2020,
    cintra2018,
    compression,
    hinton2015,
    lenet5,
    lenet300,
    romero2015,
    survey2021,
    tables,
)
from npkd.experiments.experiment import Experiment, records, seeded
from npkd.experiments.runs import run_all
from npkd.experiments.setting import VERSION, Setting, digest, read
from npkd.experiments.study import Study, Unit, take_over
from npkd.experiments.study import reproduce as finish_study

EXPERIMENTS: Mapping[str, Experiment] = {"lenet300": lenet300, "lenet5": lenet5}
"""Comparisons of methods that can be reproduced."""

STUDIES: Mapping[str, Study] = {"hinton2015": hinton2015, "survey2021": survey2021, "ba2014": ba2014,
                               "romero2015": romero2015, "alvarez2017": alvarez2017, "berthelier2020": berthelier2020,
                               "cintra2018": cintra2018, "compression": compression}
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


def run_study(options: Namespace) -> None:
    """Of a study run what is missing and print its bars. Raises InputError where parts are asked for, it has none."""
    name, quick, study = options.name, options.quick, STUDIES[options.name]
    if options.part != "all":
        raise InputError(f"reproduce: got --part {options.part}; {name} has no parts, leave it out")
    seeds, folder = options.seeds or (1 if quick else study.SEEDS), Path(options.runs) / name
    waves = [[Unit(setting, numbers, seed, folder) for seed in range(seeds) for setting, numbers in wave.items()
              if seed < numbers.get("seeds", seeds)] for wave in study.settings(quick)]
    words = ["npkd", "reproduce", name, *["--quick"] * quick, *(["--seeds", str(seeds)] if options.seeds else [])]
    if options.known is not None:
        take_over([unit for wave in waves for unit in wave], Path(options.known))
    found = finish_study(study, shlex.join(words), waves, 0 if options.stored else options.jobs, options.json)
    print("\n".join([*found["bars"], f"{len(found['runs'])} runs done, {found['missing']} missing, "
                     f"{found['core_hours']} core hours; all are kept in {folder}"]))


def reproduce(options: Namespace) -> int:
    """Run what is missing, print the tables, write them to a file where one is named; the exit code, 0.

    options    as npkd.cli.parser reads them. Raises InputError for what cannot be run or written, and KeyboardInterrupt
    that says what is kept.
    """
    if options.json is not None:                                                              # before hours of work
        require_replaceable(Path(options.json), options.overwrite)
    folder = Path(options.runs)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"reproduce: --runs is {folder}, which is a file; it must be a folder, or be free")
    try:
        (run_study if options.name in STUDIES else run_experiment)(options)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; what is done is kept, the same command goes on") from None
    return 0


def run_experiment(options: Namespace) -> None:
    """Of an experiment run what is missing, and print its tables. Raises InputError where nothing is there to print."""
    name, quick, part, stored, folder = options.name, options.quick, options.part, options.stored, Path(options.runs)
    began, experiment = time.perf_counter(), EXPERIMENTS[name]
    if options.known is not None:
        raise InputError(f"reproduce: got --from; {name} goes on from its folder of runs alone, leave it out")
    count = options.seeds or (2 if quick else experiment.SEEDS)
    of_records = options.seeds or experiment.RECORD_SEEDS
    if quick and part in ("records", "post-training"):
        raise InputError(f"reproduce: quick runs have no {part}; leave out --quick, or --part {part}")
    wanted = ("comparison",) if quick else PARTS[1:] if part == "all" else (part,)
    compared = seeded(experiment.QUICK if quick else experiment.COMPARISON, count) if "comparison" in wanted else []
    untrained = seeded(experiment.POST_TRAINING, of_records) if "post-training" in wanted else []
    beaten = records(experiment, of_records) if "records" in wanted else []
    if stored:
        compared, untrained = finished(compared, folder), finished(untrained, folder)
        beaten = [(record, done) for record, settings in beaten if (done := finished(settings, folder))]
    everything = [*compared, *untrained, *(s for _, settings in beaten for s in settings)]
    if not everything:
        raise InputError(f"reproduce: {folder} holds no finished run of {name}; give the folder of an earlier run "
                         f"with --runs")
    new = 0 if stored else run_all(everything, folder, options.jobs)
    rows = {"comparison": tables.comparison_rows(compared, folder),
            "post_training": tables.comparison_rows(untrained, folder),
            "records": tables.record_rows(beaten, folder),
            "teachers": tables.teacher_rows(everything, folder, experiment.TEACHER_BARS)}
    texts = [tables.comparison_text(rows["comparison"]), tables.comparison_text(rows["post_training"]),
             tables.records_text(rows["records"]), tables.teachers_text(rows["teachers"]),
             f"What others report: docs/results/{name}.md and reference/published/{name}.csv, in a checkout.",
             f"{new} runs in {time.perf_counter() - began:.0f} s; all are kept in {folder}"]
    print("\n\n".join(filter(None, texts)))
    if options.json is not None:
        words = ["npkd", "reproduce", name, *["--quick"] * quick,
                 *(["--seeds", str(count)] if quick or count == of_records else []),
                 *(["--part", part] if part != "all" else []), *["--stored"] * stored]
        runs = {"comparison": compared, "post_training": untrained, "records": [s for _, some in beaten for s in some]}
        write_json(options.json, {"command": shlex.join(words), "npkd": __version__, "version": VERSION, "settings": {
            part: digest(settings) for part, settings in runs.items() if settings}, **rows})
