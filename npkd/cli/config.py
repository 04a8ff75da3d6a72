"""config.toml in the folder of a run: its settings, and what it was made with; ``--config FILE`` runs it again."""

from __future__ import annotations

import argparse
import json
import platform
import re
import tomllib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from npkd import __version__
from npkd.cli import parser
from npkd.cli.prepare import PreparedRun
from npkd.cli.settings import COMMANDS, TARGET, Settings, absolute
from npkd.core.blas_threads import libraries, user_threads
from npkd.core.files import reason
from npkd.core.validation import InputError, one_of
from npkd.nn.fast.threads import threads
from npkd.pipeline.checkpoints import fingerprint

NAME = "config.toml"
HEAD = f"""\
# Written by npkd {__version__}: every setting of a run of npkd COMMAND.
# To repeat it, into a new folder:    npkd COMMAND --config {NAME}       (options beside it count in its place)
# To prove that it gives the same:    npkd verify FOLDER                  (the folder that holds this file)
# Not given: """


def made_with(plan: PreparedRun) -> dict[str, Any]:
    """What the bytes of a run depend on beside its settings: versions, machine, threads, the data that was read."""
    about, cpu = np.show_config(mode="dicts"), Path("/proc/cpuinfo")
    blas = about["Build Dependencies"]["blas"] if about else {}
    model = re.search(r"model name\s*: (.*)", cpu.read_text(encoding="utf-8")) if cpu.is_file() else None
    counts = ", ".join(str(get()) for get, _ in libraries()) or "unknown"
    return {"npkd": __version__, "numpy": np.__version__, "scipy": scipy.__version__,
            "blas": f"{blas.get('name')} {blas.get('version')}",
            "machine": f"{model[1] if model else platform.processor() or platform.machine()}, {platform.system()}",
            "threads": f"BLAS {counts}; npkd {threads()}; OPENBLAS_NUM_THREADS {user_threads() or 'unset'}",
            "resumed": plan.settings.resume, "data_crc32": fingerprint(plan.data)}


def options_of(command: str) -> dict[str, Any]:
    """The settings that a command has as options, with what holds without them."""
    names = {field.name for field in fields(Settings)} - {"command", "out", "overwrite", "resume"}
    return {name: value for name, value in vars(parser.read([command])).items() if name in names}


def text(plan: PreparedRun) -> str:
    """The file of a run."""
    values, command = absolute(plan.settings), plan.settings.command
    if command == "compress" and values["target"] is None:
        values["target"] = TARGET
    names = [name for name in options_of(command) if values[name] is not None]
    given = [name for name in names if name in plan.settings.given]
    unset = ", ".join(name for name in options_of(command) if name not in names)
    lines = [HEAD.replace("COMMAND", command) + (unset or "nothing"), ""]
    for table in ({"command": command, **{name: values[name] for name in names}, "given": given}, made_with(plan)):
        lines += [f"{name} = " + json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
                  for name, value in table.items()] + ["", "[made_with]"]
    return "\n".join(lines[:-1])


def read(path: str | Path) -> dict[str, Any]:
    """What such a file holds. Raises InputError where it cannot be read, or is no TOML of a run."""
    need = "it must be a config.toml that npkd wrote beside a run"
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"config: {path}: {reason(error)}; {need}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"config: {path} is no TOML ({error!s:.100}); {need}") from error
    one_of(f"config: {path}", "command", table.get("command"), COMMANDS)
    if not (isinstance(table.get("made_with", {}), dict) and isinstance(table.get("given", []), list)):
        raise InputError(f"config: {path}: made_with must be a table and given a list; {need}")
    return table


def words(path: str | Path, command: str) -> list[str]:
    """The options of a file as one types them. Raises InputError where it is of another command, and for a key that is
    not known or a value of another type: what is read from its words must be what it was."""
    table, known, found = read(path), options_of(command), list[str]()
    if table["command"] != command:
        raise InputError(f"config: {path} is of npkd {table['command']}; give it to that command, not to {command}")
    for name in table.keys() - {*known, "command", "given", "made_with"}:
        raise InputError(f"config: {path} has the key {name!r:.40}, which npkd {command} does not know; it knows "
                         f"{', '.join(known)}")
    values = {name: table[name] for name in known if name in table}
    for name, value in values.items():
        option, kept = name.replace("_", "-"), value == known[name] and name not in table.get("given", [])
        if isinstance(value, bool):
            found += [] if value == known[name] else [f"--{option}" if value else f"--no-{option}"]
        elif not kept:
            found.append(f"--{option}=" + (",".join(map(str, value)) if isinstance(value, list) else str(value)))
    for name, value in vars(parser.read([command, *found])).items():
        if name in values and value != (tuple(values[name]) if isinstance(values[name], list) else values[name]):
            raise InputError(f"config: {path}: {name} is {values[name]!r:.40}, of another type than {value!r:.40}, as "
                             f"--{name.replace('_', '-')} has it")
    return found


def settings_of(options: argparse.Namespace, arguments: Sequence[str]) -> Settings:
    """The settings of a run whose options were read from the arguments."""
    names = {field.name for field in fields(Settings)}
    typed = [word[2:].partition("=")[0].replace("-", "_") for word in arguments if word.startswith("--")]
    return Settings(**{name: value for name, value in vars(options).items() if name in names},
                    given=tuple(name for name in typed if name in names))
