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
from npkd.cli.settings import PATHS, Settings
from npkd.core.files import reason
from npkd.core.progress import shown
from npkd.core.validation import InputError

DEVIATIONS, SIZES = 3.0, 0.05
"""What two machines may differ by: an error by so many standard deviations of the difference of two networks that are
judged on as many examples, multiply-accumulates by that part."""
TIMES = ("seconds", "latency")                               # in summary and history: of the clock
COMPARED = [name for name in folders.FILES if name.endswith((".npz", ".npkz", ".onnx", "y.json", ".jsonl"))
            and name != folders.CHECKPOINT]                  # report.html and the figures are drawn from these
SHOWN = 5                                                    # differences that a person is told


def parsed(file: Path) -> Any:
    """The JSON of a run's file; of several lines a list. Raises InputError where it is not there, or no JSON."""
    try:
        text = file.read_text(encoding="utf-8")
        return json.loads(text) if file.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    except OSError as error:
        raise InputError(f"verify: {file}: {reason(error)}; name the folder of a run that is done") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"verify: {file} is no JSON ({error!s:.80}); name the folder of a run") from error


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


def changed_options(settings: Settings, command: object, file: Path) -> list[str]:
    """Options that are others in config.toml than in the command that summary.json was made with. Raises InputError
    where that is no command of a run."""
    try:
        made = vars(parser.read(shlex.split(str(command))[1:]))
    except (InputError, ValueError) as error:
        raise InputError(f"verify: {file} was made by {command!r:.80}, which is no run of this npkd ({error!s:.80}); "
                         f"name the folder of one") from error
    now = vars(parser.read(shlex.split(summary.command(settings))[1:]))
    names = ["command"] if made["command"] != now["command"] else [name for name in now if now[name] != made[name]]
    return [f"--{name.replace('_', '-')} is {now[name]!r:.60} in {config.NAME}, and {made[name]!r:.60} in "
            f"{file.name}" for name in names]


def compared(old: Path, new: Path, settings: Settings) -> dict[str, list[str]]:
    """By the name of a file, in the folders of two runs, what differs in it: nothing, or what there is to say."""
    found = dict[str, list[str]]()
    for name in COMPARED:
        one, other = old / name, new / name
        if not one.is_file() and not other.is_file():
            continue
        if not (one.is_file() and other.is_file()):
            found[name] = [f"{name} is missing in {'the run' if other.is_file() else 'its repetition'}"]
        elif one.suffix in (".json", ".jsonl"):
            found[name] = list(differences(parsed(one), parsed(other), name))
        else:
            given = one.stem in PATHS and getattr(settings, one.stem)
            why = f", and so does the file that --{one.stem.replace('_', '-')} names now" * bool(given)
            found[name] = [] if one.read_bytes() == other.read_bytes() else [f"{name} differs{why}"]
    return found


def beyond(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Errors and multiply-accumulates of the networks in two summaries that differ by more than the tolerance."""
    found, parts = list[str](), old["split"]
    for name in [name for name, entry in old.items() if isinstance(entry, dict) and "validation_spread" in entry]:
        one, other = old[name], new[name]
        spread = max(one["validation_spread"], other["validation_spread"], 1 / parts["validation"])
        for part in ("validation", "test"):
            most = DEVIATIONS * math.sqrt(2) * spread * math.sqrt(parts["validation"] / parts[part])
            was, now = one[f"{part}_error"], other[f"{part}_error"]
            if not abs(now - was) <= most:
                found.append(f"{part} error of {name} was {was:.4f}, is {now:.4f}, tolerance {most:.4f}")
        if not abs(other["macs"] - one["macs"]) <= SIZES * one["macs"]:
            found.append(f"multiply-accumulates of {name} were {one['macs']}, are {other['macs']}")
    return found


def repeated(folder: Path, settings: Settings, quiet: bool) -> dict[str, Any]:
    """Run again, and compare: what ``npkd verify --json`` prints. Files of the repetition do not stay."""
    old = parsed(folder / "summary.json")
    with tempfile.TemporaryDirectory(prefix="npkd-verify-") as beside, shown(not quiet) as progress:
        again = Path(beside) / "run"
        new = run(replace(settings, out=str(again)), progress)
        made, now = ({"resumed": False, "data_crc32": None} | config.read(place / config.NAME).get("made_with", {})
                     for place in (folder, again))
        files = compared(folder, again, settings)
    words = [f"{name} was {made.get(name)}, is {value}" for name, value in now.items() if made.get(name) != value]
    data = [line for line in words if line.startswith("data_crc32")]
    others = [line for line in words if line not in data]
    equal, found = not any(files.values()), [line for lines in files.values() for line in lines]
    if not equal and not others and data:
        found = [f"--data holds other examples than those of the run ({data[0]})", *found]
    outside = beyond(old, new) if others and not equal else []
    return {"equal": equal, "ok": equal or (bool(others) and not outside), "made_with": others, "differences": found,
            "files": {name: not lines for name, lines in files.items()}, "beyond_tolerance": outside,
            "seconds": new["seconds"]}


def told(found: Mapping[str, Any], folder: Path) -> str:
    """The result as a person reads it."""
    wide = max(map(len, found["files"]), default=0)
    same = {".json": "equal numbers, but for times", ".jsonl": "equal numbers, but for times"}
    lines = [f"{name:{wide}}  {same.get(Path(name).suffix, 'equal bytes') if equal else 'differs'}"
             for name, equal in found["files"].items()]
    most = found["differences"]
    lines += most[:SHOWN] + [f"and {len(most) - SHOWN} differences more"] * (len(most) > SHOWN)
    if found["made_with"]:
        lines += ["Made with something else, so that equality to a tolerance is all that is promised:",
                  *found["made_with"]]
    if found["made_with"] and not found["equal"]:
        lines += [f"Errors may differ by {DEVIATIONS:g} standard deviations of a difference, multiply-accumulates by "
                  f"{SIZES:.0%}:", *(found["beyond_tolerance"] or ["no network differs by more"])]
    if not found["files"]:
        return "\n".join([*lines, f"{folder}: {config.NAME} was changed, and nothing was run."])
    verdict = "equal" if found["equal"] else "equal to the tolerance" if found["ok"] else "NOT equal"
    return "\n".join([*lines, f"{folder}, run again in {found['seconds']:.0f} s: {verdict}."])


def main(options: argparse.Namespace) -> int:
    """Verify a run and print the result; the exit code: 0 where all that is promised holds, else 1.

    Raises InputError where the folder holds no run that is done, KeyboardInterrupt when it is interrupted."""
    folder = Path(options.folder or folders.latest(config.NAME))
    settings = config.settings_in(config.read(folder / config.NAME), folder / config.NAME)
    file = folder / "summary.json"
    old = parsed(file)
    command = old.get("command") if isinstance(old, dict) else None
    found = {"equal": False, "ok": False, "made_with": [], "files": {},
             "differences": changed_options(settings, command, file), "beyond_tolerance": [], "seconds": 0.0}
    try:
        found = found if found["differences"] else repeated(folder, settings, options.quiet)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; nothing was left behind, {folder} is as it was") from None
    print(json.dumps({"folder": str(folder), **found}, indent=2) if options.json else told(found, folder))
    return 0 if found["ok"] else 1
