"""``npkd compress | train | distil --seeds 0-9``: a run for each seed, over several processes, and a summary of all.

OUT/seed-0, OUT/seed-1, … hold what ``--seed 0``, ``--seed 1``, … write, OUT/summary.json and OUT/report.html are over
them. No sweep replaces anything: OUT is new or empty, or ``--resume`` goes on with the sweep that is there.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from npkd.cli import folders, summary
from npkd.cli.run import resumed, run
from npkd.cli.settings import Settings, absolute
from npkd.core.files import make_folder, write_json, write_text
from npkd.core.lock import locked
from npkd.core.progress import NoProgress, Progress
from npkd.core.validation import Diverged, InputError
from npkd.core.workers import Workers, pool
from npkd.experiments.compare import spread
from npkd.experiments.tables import aligned
from npkd.report import sweep as report
from npkd.report.numbers import joined
from npkd.report.path import sides

NUMBERS = ("test_error", "validation_error", "rmse", "macs", "parameters", "bytes")
"""What a sweep's summary says of each network."""


def require_fit(options: Namespace, given: Sequence[str]) -> None:
    """Raise InputError where options that were given do not go together."""
    if options.seeds is not None and "seed" in given:
        raise InputError("got --seed and --seeds; give one of them")
    if options.seeds is not None and options.overwrite:
        raise InputError("got --overwrite and --seeds; a sweep replaces nothing, name a new folder with --out")
    if options.seeds is None and (alone := {"workers", "backend"} & {*given}):
        raise InputError(f"got --{min(alone)} and no --seeds, such as 0-9; it is for runs with several seeds")
    if options.seeds is not None and options.scheduler is not None and options.backend != "dask":
        raise InputError("got --scheduler and --seeds; its workers do the runs with --backend dask alone, add that")


def require_room(settings: Settings, out: Path) -> None:
    """Raise InputError unless the folder is new or empty or, to go on there, a sweep's."""
    if not settings.resume:
        folders.check(settings)
    elif not [*out.glob("seed-*")]:
        raise InputError(f"--resume: {out} holds no sweep of npkd; name its folder with --out")
    for file in (out / "summary.json", out / "report.html"):
        if file.exists():
            folders.protect(file, settings)


def done(folder: Path) -> bool:
    """Whether a run is finished: its report is its last file, and then its checkpoint is taken away."""
    return (folder / "report.html").is_file() and folders.checkpoint_in(folder) is None


def one(settings: Settings) -> str:
    """Do the run of a seed, or the rest of it, and return its words. Raises InputError, which names the seed."""
    try:
        if folders.checkpoint_in(Path(settings.out)) is not None:
            begun_with = {name: value for name, value in absolute(settings).items() if name != "given"}
            settings = resumed(begun_with | {"out": settings.out})
        run(settings, NoProgress())
    except (InputError, Diverged) as error:
        raise InputError(f"seed {settings.seed}: {error}") from error
    return f"seed {settings.seed}"


def missing(settings: Settings, places: dict[int, Path]) -> list[Settings]:
    """The settings of the runs that are not finished. Raises InputError for one that was made with other options."""
    todo = list[Settings]()
    for seed, place in places.items():
        wanted = replace(settings, **absolute(replace(settings, seed=seed)), out=str(place.absolute()), resume=False,
                         overwrite=True)                                    # of what a killed run has left, if anything
        made = json.loads((place / "summary.json").read_bytes())["command"] if done(place) else None
        if made not in (None, summary.command(wanted)):
            raise InputError(f"--resume: {place} was made by {made}; give the same options, or name another folder")
        todo += [wanted] * (made is None)
    return todo


def summarised(command: str, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the summaries of all runs, and each in short."""
    names = sides(runs[0])
    short = [{"seed": one["seed"], **{name: {key: one[name][key] for key in ("widths", *NUMBERS) if key in one[name]}
                                      for name in names}, "seconds": one["seconds"]} for one in runs]

    def statistic(values: Sequence[float]) -> dict[str, float | None]:
        return dict(zip(("mean", "deviation"), spread(values), strict=True))

    return {"command": command, "data": runs[0]["data"], "seeds": [one["seed"] for one in runs],
            **{name: {key: statistic([one[name][key] for one in short]) for key in NUMBERS if key in short[0][name]}
               for name in names},
            "seconds": statistic([one["seconds"] for one in short]), "runs": short, "versions": runs[0]["versions"]}


def sweep(settings: Settings, options: Namespace, progress: Progress, begins: Callable[[], None]) -> int:
    """Do the runs that are missing, write the summary and print it. Where nothing is left of the runs when that ends
    early, no folder is either. Raises InputError, and KeyboardInterrupt that says how to go on."""
    settings, out, seeds = replace(settings, scheduler=None), Path(settings.out), options.seeds
    places = {seed: out / f"seed-{seed}" for seed in seeds}
    with locked(make_folder(out) / folders.LOCK):
        require_room(settings, out)
        todo = missing(settings, places)
        begins()
        progress.begin("runs", len(todo))
        try:
            with pool(Workers(options.workers, options.backend, options.scheduler)) as spread_over:
                for word in spread_over(one, todo):
                    progress.step(word)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted; {sum(map(done, places.values()))} of {len(seeds)} runs are done and "
                                    f"in {out}; to go on: the same command with --resume --out {out}") from None
        finally:
            if not any(done(place) or folders.checkpoint_in(place) for place in places.values()):
                for place in places.values():
                    with suppress(OSError):                                        # it is not there, or not ours alone
                        (place / folders.LOCK).unlink(missing_ok=True)
                        place.rmdir()
        command = summary.command(replace(settings, seed=0)).removesuffix("--seed 0") + f"--seeds {joined(seeds)}"
        found = summarised(command, [json.loads((place / "summary.json").read_bytes()) for place in places.values()])
        write_text(out / "report.html", report.html(found))
        write_json(out / "summary.json", found)
    progress.begin("", 0)
    print(json.dumps({**found, "folder": settings.out}, indent=2) if options.json else
          f"{aligned(report.rows(found))}\n\nRead {out / 'report.html'}".replace("\N{NO-BREAK SPACE}", " "))
    return 0
