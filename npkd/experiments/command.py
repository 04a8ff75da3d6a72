"""``npkd reproduce``: run an experiment, or the rest of it, and print its tables."""

from __future__ import annotations

import shlex
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from npkd import __version__
from npkd.core.files import make_folder, reason, write_json
from npkd.core.validation import InputError
from npkd.core.workers import Workers
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
from npkd.experiments.experiment import Experiment, Record, records, seeded
from npkd.experiments.runs import missing, run_all, waves
from npkd.experiments.setting import VERSION, Setting, digest, read
from npkd.experiments.study import Study, Unit, take_over, to_do
from npkd.experiments.study import reproduce as finish_study
from npkd.report.numbers import joined

EXPERIMENTS: Mapping[str, Experiment] = {"lenet300": lenet300, "lenet5": lenet5}
"""Comparisons of methods that can be reproduced."""

STUDIES: Mapping[str, Study] = {"hinton2015": hinton2015, "survey2021": survey2021, "ba2014": ba2014,
                               "romero2015": romero2015, "alvarez2017": alvarez2017, "berthelier2020": berthelier2020,
                               "cintra2018": cintra2018, "compression": compression}
"""Published tables that can be reproduced."""

CORE_HOURS: Mapping[str, float] = {"lenet300": 9.3, "lenet5": 8.5, "survey2021": 2.7, "ba2014": 0.8, "alvarez2017": 0.4,
                                  "cintra2018": 0.4, "berthelier2020": 1.1, "hinton2015": 2.7, "romero2015": 6.4,
                                  "compression": 8.4}
"""What all runs took, as they are stored in reference/measured."""

PARTS = ("all", "comparison", "post-training", "records")


def workers_of(options: Namespace) -> Workers:
    """What the runs are spread over."""
    return Workers(options.workers, options.backend, options.scheduler)


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


def of_study(options: Namespace) -> list[list[Unit]]:
    """All runs of a study, in waves; those of ``--from`` are kept. Raises InputError where parts are asked for, it has
    none."""
    name, quick, study = options.name, options.quick, STUDIES[options.name]
    if options.part != "all":
        raise InputError(f"reproduce: got --part {options.part}; {name} has no parts, leave it out")
    seeds, folder = options.seeds or range(1 if quick else study.SEEDS), Path(options.runs).absolute() / name
    most = max(*seeds, study.SEEDS) + 1
    waves = [[Unit(setting, numbers, seed, folder) for seed in range(most) for setting, numbers in wave.items()
              if seed in (range(numbers["seeds"]) if "seeds" in numbers else seeds)] for wave in study.settings(quick)]
    if options.known is not None:
        take_over([unit for wave in waves for unit in wave], Path(options.known))
    return waves


def run_study(options: Namespace) -> None:
    """Of a study run what is missing and print its bars."""
    name, waves = options.name, of_study(options)
    words = ["npkd", "reproduce", name, *["--quick"] * options.quick,
             *(["--seeds", joined(options.seeds)] if options.seeds else [])]
    found = finish_study(STUDIES[name], shlex.join(words), waves, None if options.stored else workers_of(options),
                         options.json)
    print("\n".join([*found["bars"], f"{len(found['runs'])} runs done, {found['missing']} missing, "
                     f"{found['core_hours']} core hours; all are kept in {Path(options.runs) / name}"]))


def compared_seeds(options: Namespace) -> Sequence[int]:
    """The seeds of an experiment's comparison."""
    return options.seeds or range(2 if options.quick else EXPERIMENTS[options.name].SEEDS)


def counted(options: Namespace) -> tuple[int, int]:
    """How many runs an experiment or a study has, and how many are missing."""
    if options.name in STUDIES:
        units, left = of_study(options), to_do(of_study(options))
        return sum(map(len, units)), sum(map(len, left))
    compared, untrained, beaten = of_experiment(options)
    settings = [*compared, *untrained, *(s for _, some in beaten for s in some)]
    return sum(map(len, waves(settings))), sum(map(len, missing(settings, Path(options.runs))))


def ahead(every: Sequence[Namespace]) -> str:
    """What ``npkd reproduce all`` is about to run: the runs that are missing, and their core hours as far as they are
    known."""
    rows, hours_left = [["", "runs", "missing", "core hours left"]], 0.0
    for options in every:
        (total, left), whole = counted(options), counted(Namespace(**{**vars(options), "seeds": None}))[0]
        hours, word = CORE_HOURS.get(options.name), "minutes" if options.quick else "not known"
        if not left or (hours is not None and not options.quick):
            hours_left += (hours or 0.0) * left / whole
            word = f"{(hours or 0.0) * left / whole:.1f}"
        rows.append([options.name, str(total), str(left), word])
    count, unknown = every[0].workers, [row[0] for row in rows if row[-1] == "not known"]
    words = ["About {:.1f} core hours are left, {:.1f} hours on {} worker{}".format(
        hours_left, hours_left / count, count, "s" * (count > 1))]
    words += [f"not known: {', '.join(unknown)}"] * bool(unknown)
    told = "A few minutes each: --quick shows that they run" if every[0].quick else "; ".join(words)
    return f"{tables.aligned(rows)}\n\n{told}.\n"


def reproduce(options: Namespace) -> int:
    """Run what is missing, print the tables, write them to a file where one is named; the exit code, 0.

    options    as npkd.cli.parser reads them. Raises InputError for what cannot be run or written, and KeyboardInterrupt
    that says what is kept.
    """
    folder, known, json, every = Path(options.runs), options.known, options.json, [options]
    if options.name == "all":
        every = [Namespace(**{**vars(options), "name": name, "json": json and str(make_folder(json) / f"{name}.json"),
                              "known": (known and name in STUDIES and (Path(known) / f"{name}.json").is_file()
                              and str(Path(known) / f"{name}.json")) or None})
                 for name in (*EXPERIMENTS, *STUDIES)]
    for one in every:
        if one.json is not None:                                                              # before hours of work
            require_replaceable(Path(one.json), one.overwrite)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"reproduce: --runs is {folder}, which is a file; it must be a folder, or be free")
    try:
        if options.name == "all" and not options.stored:
            print(ahead(every), flush=True)
        for one in every:
            if options.name == "all":
                if one.stored and one.name in EXPERIMENTS and not counted(one)[0]:
                    continue
                print(f"\n{one.name}\n", flush=True)
            (run_study if one.name in STUDIES else run_experiment)(one)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; what is done is kept, the same command goes on") from None
    return 0


def of_experiment(options: Namespace) -> tuple[list[Setting], list[Setting], list[tuple[Record, list[Setting]]]]:
    """The runs of an experiment: of the comparison, without training, and of each record; those that are finished
    where nothing is to be run. Raises InputError for options that do not go together."""
    name, quick, part, folder = options.name, options.quick, options.part, Path(options.runs)
    experiment = EXPERIMENTS[name]
    if options.known is not None:
        raise InputError(f"reproduce: got --from; {name} goes on from its folder of runs alone, leave it out")
    if quick and part in ("records", "post-training"):
        raise InputError(f"reproduce: quick runs have no {part}; leave out --quick, or --part {part}")
    seeds, of_records = compared_seeds(options), options.seeds or range(experiment.RECORD_SEEDS)
    wanted = ("comparison",) if quick else PARTS[1:] if part == "all" else (part,)
    compared = seeded(experiment.QUICK if quick else experiment.COMPARISON, seeds) if "comparison" in wanted else []
    untrained = seeded(experiment.POST_TRAINING, of_records) if "post-training" in wanted else []
    beaten = records(experiment, of_records) if "records" in wanted else []
    if options.stored:
        compared, untrained = finished(compared, folder), finished(untrained, folder)
        beaten = [(record, done) for record, settings in beaten if (done := finished(settings, folder))]
    return compared, untrained, beaten


def run_experiment(options: Namespace) -> None:
    """Of an experiment run what is missing, and print its tables. Raises InputError where nothing is there to print."""
    name, quick, part, stored, folder = options.name, options.quick, options.part, options.stored, Path(options.runs)
    began, experiment = time.perf_counter(), EXPERIMENTS[name]
    compared, untrained, beaten = of_experiment(options)
    everything = [*compared, *untrained, *(s for _, settings in beaten for s in settings)]
    if not everything:
        raise InputError(f"reproduce: {folder} holds no finished run of {name}; give the folder of an earlier run "
                         f"with --runs")
    new = 0 if stored else run_all(everything, folder, workers_of(options))
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
        seeds = compared_seeds(options)
        told = options.seeds or quick or len(seeds) == experiment.RECORD_SEEDS
        words = ["npkd", "reproduce", name, *["--quick"] * quick, *(["--seeds", joined(seeds)] if told else []),
                 *(["--part", part] if part != "all" else []), *["--stored"] * stored]
        runs = {"comparison": compared, "post_training": untrained, "records": [s for _, some in beaten for s in some]}
        write_json(options.json, {"command": shlex.join(words), "npkd": __version__, "version": VERSION, "settings": {
            part: digest(settings) for part, settings in runs.items() if settings}, **rows})
