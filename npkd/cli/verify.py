"""``npkd verify DIR``: a run again, from its config.toml, in a folder that is gone afterwards, and what is equal.

One seed, one machine, the same versions and threads give the same bytes. Where one of these is another one the order of
sums may be, and training makes of the last bit of a sum another network: errors and sizes are then compared alone.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from npkd.cli import config, folders, parser, summary
from npkd.cli.run import run
from npkd.cli.settings import Settings
from npkd.core.files import reason
from npkd.core.progress import shown
from npkd.core.validation import InputError

DEVIATIONS, SIZES = 3.0, 0.05
"""What two machines may differ by: an error by so many standard deviations of the difference of two networks that are
judged on as many examples, multiply-accumulates by that part."""
TIMES = ("seconds", "latency")                               # in summary and history: of the clock
COMPARED = [name for name in folders.FILES if name.endswith((".npz", ".npkz", ".onnx", "y.json", ".jsonl"))
            and name != folders.CHECKPOINT]                  # report.html and the figures are drawn from these
SHOWN = 6                                                    # differences that a person is told


def parsed(file: Path) -> Any:
    """The JSON of a run's file; of several lines a list. Raises InputError where it is not there, or no JSON."""
    try:
        text = file.read_text(encoding="utf-8")
        return json.loads(text) if file.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    except (OSError, ValueError, RecursionError) as error:
        why = reason(error) if isinstance(error, OSError) else f"no JSON ({error!s:.80})"
        raise InputError(f"verify: {file}: {why}; name the folder of a run that is done") from error


def differences(old: Any, new: Any, where: str) -> Iterator[str]:
    """What differs between two values of JSON, each with its place; times are left out."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [key for key in {**old, **new} if key not in TIMES]:
            yield from differences(old.get(key), new.get(key), f"{where}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for k, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, f"{where}[{k}]")
    elif old != new:
        yield f"{where} was {old!r:.60}, is {new!r:.60}"


def changed_options(settings: Settings, command: object) -> list[str]:
    """Options that are others in config.toml than in the command of summary.json. Raises InputError for no command."""
    try:
        made, now = (vars(parser.read(shlex.split(str(one))[1:])) for one in (command, summary.command(settings)))
    except (InputError, ValueError) as error:
        raise InputError(f"verify: summary.json was made by {command!r:.80}, no run of this npkd; name the folder of "
                         f"one") from error
    return [f"--{name.replace('_', '-')} is {now[name]!r:.60} in {config.NAME}, and {made.get(name)!r:.60} in "
            f"summary.json" for name in (["command"] if made["command"] != now["command"] else now)
            if now[name] != made.get(name)]


def compared(old: Path, new: Path) -> dict[str, list[str]]:
    """By the name of a file, in the folders of two runs, what differs in it: nothing, or what there is to say."""
    found = dict[str, list[str]]()
    for name in COMPARED:
        one, other = old / name, new / name
        if one.is_file() != other.is_file():
            found[name] = [f"{name} is missing in {'the run' if other.is_file() else 'its repetition'}"]
        elif one.is_file() and one.suffix in (".json", ".jsonl"):
            found[name] = list(differences(parsed(one), parsed(other), name))
        elif one.is_file():
            found[name] = [f"{name} differs"] * (one.read_bytes() != other.read_bytes())
    return found


def beyond(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Errors and multiply-accumulates of the networks in two summaries that differ by more than the tolerance."""
    found, parts = list[str](), old["split"]
    for name in [name for name, entry in old.items() if isinstance(entry, dict) and "validation_spread" in entry]:
        one, other = old[name], new[name]
        spread = math.sqrt(2) * max(one["validation_spread"], other["validation_spread"], 1 / parts["validation"])
        most = {f"{part}_error": DEVIATIONS * spread * math.sqrt(parts["validation"] / parts[part])
                for part in ("validation", "test")} | {"macs": SIZES * one["macs"]}
        found += [f"{name}: {key} was {one[key]:.5g}, is {other[key]:.5g}, tolerance {allowed:.2g}"
                  for key, allowed in most.items() if not abs(one[key] - other[key]) <= allowed]
    return found


def repeated(folder: Path, settings: Settings, quiet: bool) -> dict[str, Any]:
    """Run again, and compare: what ``npkd verify --json`` prints. Files of the repetition do not stay."""
    with tempfile.TemporaryDirectory(prefix="npkd-verify-") as beside, shown(not quiet) as progress:
        again = Path(beside) / "run"
        new = run(replace(settings, out=str(again)), progress)
        files = compared(folder, again)
        made, now = (config.read(place / config.NAME).get("made_with", {}) for place in (folder, again))
        old = parsed(folder / "summary.json")
    if made.pop("data_crc32", None) != now.pop("data_crc32"):
        files["data"] = ["data: the examples read are others than those of the run, by their checksums"]
    others, equal = list(differences(made, now, "made_with")), not any(files.values())
    outside = beyond(old, new) if others and not equal else []
    return {"equal": equal, "ok": equal or bool(others and not outside), "made_with": others,
            "differences": [line for lines in files.values() for line in lines], "beyond_tolerance": outside,
            "files": {name: not lines for name, lines in files.items()}, "seconds": new["seconds"]}


def told(found: Mapping[str, Any], folder: Path) -> str:
    """The result as a person reads it."""
    lines = [f"{name:14} {'differs' if not equal else 'equal, but for times' if 'json' in name else 'equal bytes'}"
             for name, equal in found["files"].items()]
    count = len(found["differences"])
    lines += [*found["differences"][:SHOWN], *[f"{count} differences in all"] * (count > SHOWN)]
    if found["made_with"]:
        lines += ["Made elsewhere, so that a tolerance is all that is promised:", *found["made_with"],
                  f"Errors may differ by {DEVIATIONS:g} standard deviations of a difference, macs by {SIZES:.0%}:",
                  *(found["beyond_tolerance"] or ["no network differs by more"])]
    verdict = "equal" if found["equal"] else "equal to the tolerance" if found["ok"] else "NOT equal"
    return "\n".join([*lines, f"{folder}, run again in {found['seconds']:.0f} s: {verdict}." if found["files"] else
                      f"{folder}: {config.NAME} was changed, and nothing was run."])


def main(options: argparse.Namespace) -> int:
    """Verify a run and print the result; the exit code: 0 where all that is promised holds, else 1. Raises InputError
    where the folder holds no run that is done, KeyboardInterrupt when it is interrupted."""
    folder = Path(options.folder or folders.latest(config.NAME))
    if runs := sorted(str(path.parent) for path in folder.glob(f"seed-*/{config.NAME}")):
        raise InputError(f"verify: {folder} holds a sweep of {len(runs)} runs; name one of them, such as {runs[0]}")
    command, old = config.read(folder / config.NAME)["command"], parsed(folder / "summary.json")
    arguments = [command, *config.words(folder / config.NAME, command), "--out", str(folder)]
    settings = config.settings_of(parser.read(arguments), arguments)
    changed = changed_options(settings, old.get("command") if isinstance(old, dict) else None)
    try:
        found = {"equal": False, "ok": False, "made_with": [], "differences": changed, "beyond_tolerance": [],
                 "files": {}, "seconds": 0.0} if changed else repeated(folder, settings, options.quiet)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; nothing was left behind, {folder} is as it was") from None
    print(json.dumps({"folder": str(folder), **found}, indent=2) if options.json else told(found, folder))
    return 0 if found["ok"] else 1
