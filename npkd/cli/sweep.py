"""``npkd compress | train | distil --seeds 0-9``: a run for each seed, over several processes, and a summary of all.

OUT/seed-0, OUT/seed-1, … hold what ``--seed 0``, ``--seed 1``, … write. While a sweep is not done, sweep.json says what
it was begun with; one that replaces an earlier run is in ``unfinished`` until then, as a single run would be.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from npkd.cli import folders, summary
from npkd.cli.folders import FILES, LOCK, STAGING, SWEEP, checkpoint_in, seed_folders
from npkd.cli.run import refuse_changes, resumed, run
from npkd.cli.settings import Settings, absolute, from_json
from npkd.core.files import make_folder, write_bytes, write_json, write_text
from npkd.core.lock import locked
from npkd.core.progress import NoProgress, Progress
from npkd.core.validation import Diverged, InputError
from npkd.core.workers import Workers, pool
from npkd.experiments.compare import spread
from npkd.experiments.tables import aligned
from npkd.report import page
from npkd.report import sweep as report
from npkd.report.numbers import joined

NUMBERS = ("test_error", "validation_error", "rmse", "macs", "parameters", "bytes")
"""What a sweep's summary says of each network."""


def one(settings: Settings) -> str:
    """Do the run of a seed, or the rest of it, and return its words. Raises InputError, which names the seed."""
    folder = Path(settings.out)
    try:
        again = checkpoint_in(folder) is not None
        run(resumed({"out": settings.out}) if again else settings, NoProgress())
    except (InputError, Diverged) as error:
        raise InputError(f"seed {settings.seed}: {error}") from error
    return f"seed {settings.seed}"


def done(folder: Path) -> bool:
    """Whether a run is finished: its report is its last file, and then its checkpoint is taken away."""
    return (folder / "report.html").is_file() and checkpoint_in(folder) is None


def require_ours(old: Sequence[Path], settings: Settings) -> None:
    """Raise InputError where folders of runs hold a file that no run of npkd wrote, or that is an input of this one."""
    for folder in old:
        for file in (path for path in folder.rglob("*") if not path.is_dir() and path.name != LOCK):
            name = file.relative_to(folder).as_posix().removeprefix(f"{STAGING}/")
            if name not in FILES and not folders.TEMPORARY.fullmatch(name):
                raise InputError(f"--overwrite: {file} was not written by npkd and is not replaced; move it, or name "
                                 f"another folder with --out")
            if name in FILES:
                folders.protect(file, settings)


def cleared(out: Path, settings: Settings) -> Path:
    """The folder that a new sweep works in, without what an earlier one left there: see the module's text. Raises
    InputError where ``folders.check`` or ``require_ours`` does."""
    folders.check(settings, sweep=True)
    staging, old = out / STAGING, seed_folders(out)
    require_ours([*old, *seed_folders(staging)], settings)
    for folder in seed_folders(staging):
        shutil.rmtree(folder)
    for file in folders.present(staging):
        file.unlink()
    return make_folder(staging) if old or folders.present(out) else out


def summarised(command: str, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the summaries of all runs, and each in short."""
    short = [{"seed": one["seed"], **{name: {key: one[name][key] for key in ("widths", *NUMBERS) if key in one[name]}
                                      for name in page.sides(one)}, "seconds": one["seconds"]} for one in runs]

    def statistic(values: Sequence[float]) -> dict[str, float | None]:
        return dict(zip(("mean", "deviation"), spread(values), strict=True))

    return {"command": command, "data": runs[0]["data"], "seeds": [one["seed"] for one in runs],
            **{name: {key: statistic([one[name][key] for one in short]) for key in NUMBERS if key in short[0][name]}
               for name in page.sides(runs[0])},
            "seconds": statistic([one["seconds"] for one in short]), "runs": short, "versions": runs[0]["versions"]}


def publish(work: Path, out: Path, settings: Settings, seeds: Sequence[int]) -> None:
    """Put a finished sweep in the place of what was there before. Broken off anywhere it can be done again."""
    if work != out:
        old = [one for one in seed_folders(out) if (work / one.name).exists() or int(one.name[5:]) not in seeds]
        require_ours(old, settings)
        for folder in old:
            shutil.rmtree(folder)
        for new in seed_folders(work):
            os.replace(new, out / new.name)
        for file in folders.present(out):
            file.unlink()
        for name in ("report.html", "summary.json"):
            write_bytes(out / name, (work / name).read_bytes())
    for name in (SWEEP, *(("report.html", "summary.json") if work != out else ())):
        (work / name).unlink()
    with contextlib.suppress(OSError):                                                # it holds files of others
        (out / STAGING).rmdir()


def refused(options: Namespace, given: Sequence[str], work: Path | None) -> str:
    """Why options do not go together, "" where they do; ``work`` is the folder of a sweep that goes on."""
    if "seed" in given and options.seeds is not None:
        return "got --seed and --seeds; give one of them"
    if options.resume and options.seeds is not None and work is None:
        return f"--resume: {options.out} holds no sweep of npkd that was broken off; name its folder with --out"
    if options.seeds is None and work is None and (alone := {"workers", "backend"} & {*given}):
        return f"got --{min(alone)} and no --seeds, such as 0-9; it is for runs with several seeds"
    return ""


def begun(options: Namespace) -> Path | None:
    """The folder of the sweep that ``--resume`` goes on with, None where it goes on with a single run."""
    out = Path(options.out or folders.latest(*(f"{place}{name}" for place in ("", f"{STAGING}/")
                                               for name in (folders.CHECKPOINT, SWEEP))))
    return next((path.parent for path in (out / STAGING / SWEEP, out / SWEEP) if path.is_file()), None)


def sweep(options: Namespace, settings: Settings, work: Path | None, changed: dict[str, object], progress: Progress
          ) -> int:
    """Do the runs that are missing, write the summary and print it.

    settings    of a new sweep;   work  the folder of one that goes on;   changed  options that were given to that one
    """
    out = Path(settings.out) if work is None else work.parent if work.name == STAGING else work
    with locked(make_folder(out) / LOCK):
        if work is None:
            work, seeds = cleared(out, settings), list(options.seeds)
            write_json(work / SWEEP, {"command": f"npkd {settings.command} --seeds {joined(seeds)}", "seeds": seeds,
                                      "settings": absolute(settings)})
        else:
            begun_with = json.loads((work / SWEEP).read_bytes())
            settings, seeds = Settings(**from_json(begun_with["settings"])), begun_with["seeds"]
            refuse_changes(changed, absolute(settings) | {"seeds": tuple(seeds)}, str(out))
        if not (work / "summary.json").is_file():
            runs(settings, seeds, work.absolute(), Workers(options.workers, options.backend, options.scheduler),
                 progress)
            command = summary.command(replace(settings, seed=0)).removesuffix("--seed 0") + f"--seeds {joined(seeds)}"
            found = summarised(command, [json.loads((work / f"seed-{seed}/summary.json").read_bytes())
                                         for seed in seeds])
            write_text(work / "report.html", report.html(found))
            write_json(work / "summary.json", found)
        publish(work, out, settings, seeds)
    progress.begin("", 0)
    found = json.loads((out / "summary.json").read_bytes())
    print(f"{aligned(report.rows(found))}\n\nRead {out / 'report.html'}".replace("\N{NO-BREAK SPACE}", " "))
    return 0


def runs(settings: Settings, seeds: Sequence[int], work: Path, workers: Workers, progress: Progress) -> None:
    """Do the runs that are missing. Where none is begun when that ends early, nothing stays."""
    todo = [replace(settings, **absolute(replace(settings, seed=seed)), out=str(work / f"seed-{seed}"), overwrite=True)
            for seed in seeds if not done(work / f"seed-{seed}")]
    try:
        progress.begin("runs", len(todo))
        with pool(workers) as spread_over:
            for word in spread_over(one, todo):
                progress.step(word)
    except KeyboardInterrupt:
        count, out = sum(done(work / f"seed-{seed}") for seed in seeds), work.parent if work.name == STAGING else work
        again = shlex.join(["npkd", settings.command, "--resume", "--out", os.path.relpath(out)])
        raise KeyboardInterrupt(f"interrupted; {count} of {len(seeds)} runs are done; to go on: {again}") from None
    finally:
        if not any(done(folder) or checkpoint_in(folder) for folder in seed_folders(work)):
            (work / SWEEP).unlink()
            for folder in seed_folders(work):
                shutil.rmtree(folder)
            if work.name == STAGING:
                work.rmdir()
