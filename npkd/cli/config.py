"""config.toml in the folder of a run: its settings, and what it was made with; ``--config FILE`` runs it again."""

from __future__ import annotations

import argparse
import json
import platform
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

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

NAME, LIMIT = "config.toml", 1_000_000                       # LIMIT: bytes of such a file
HEAD = """\
# Written by npkd {version}: every setting of a run of npkd {command}.
# To repeat it, into a new folder:    npkd {command} --config {name}
# With a setting changed:             npkd {command} --config {name} --seed 1
# To prove that it gives the same:    npkd verify FOLDER      (the folder that holds this file)
# Not given: {unset}
"""
KINDS = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


def processor() -> str:
    """The model of the processor, which decides on the kernels of BLAS."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, ValueError, StopIteration):
        return platform.processor() or platform.machine()


def made_with() -> dict[str, Any]:
    """What the bytes of a run depend on beside its settings and its data: versions, machine, threads."""
    config = np.show_config(mode="dicts")
    blas = config["Build Dependencies"]["blas"] if config else {}
    counts = ", ".join(str(get()) for get, _ in libraries()) or "unknown"
    return {"npkd": __version__, "numpy": np.__version__, "scipy": scipy.__version__,
            "blas": f"{blas.get('name')} {blas.get('version')}", "machine": f"{processor()}, {platform.system()}",
            "threads": f"BLAS {counts}; npkd {threads()}; OPENBLAS_NUM_THREADS {user_threads() or 'unset'}"}


def options_of(command: str) -> dict[str, Any]:
    """The settings that a command has as options, with what holds without them."""
    names = {field.name for field in fields(Settings)} - {"out", "overwrite", "resume"}
    return {name: value for name, value in vars(parser.read([command])).items() if name in names}


def text(plan: PreparedRun) -> str:
    """The file of a run."""
    values, command = absolute(plan.settings), plan.settings.command
    if command == "compress" and values["target"] is None:
        values["target"] = TARGET
    names = [name for name in values if name in options_of(command)]
    values["given"] = [name for name in names if name in plan.settings.given]
    made = made_with() | {"data_crc32": fingerprint(plan.data), "resumed": plan.settings.resume}

    def lines(table: Mapping[str, Any], names: Sequence[str]) -> list[str]:
        return [f"{name} = " + json.dumps(table[name], ensure_ascii=False).replace("\x7f", "\\u007f")
                for name in names if table[name] is not None]

    unset = ", ".join(name for name in names if values[name] is None) or "nothing"
    return "\n".join([HEAD.format(version=__version__, command=command, name=NAME, unset=unset), *lines(values, names),
                      "", "# Options that were written out: the command in summary.json names them.",
                      *lines(values, ["given"]), "", "[made_with]", *lines(made, list(made)), ""])


def read(path: str | Path) -> dict[str, Any]:
    """What such a file holds. Raises InputError where it cannot be read, or is no TOML of a run."""
    need = "it must be a config.toml that npkd wrote beside a run"
    try:
        with open(path, "rb") as file:
            content = file.read(LIMIT + 1)
        table = tomllib.loads(content[:LIMIT].decode() if len(content) <= LIMIT else "too long")
    except OSError as error:
        raise InputError(f"config: {path}: {reason(error)}; {need}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"config: {path} is no TOML ({error!s:.100}); {need}") from error
    one_of(f"config: {path}", "command", table.get("command"), COMMANDS)
    if not isinstance(table.get("made_with", {}), dict):
        raise InputError(f"config: {path}: made_with is {table['made_with']!r:.40}; it must be a table, or be left out")
    return table


def require_type(value: object, hint: Any, who: str) -> None:
    """Raise InputError where a value of TOML is not of the type that a setting has."""
    kind = next(one for one in (get_args(hint) if NoneType in get_args(hint) else (hint,)) if one is not NoneType)
    if get_origin(kind) is tuple:
        of = get_args(kind)[0]
        right, need = isinstance(value, list) and all(type(one) is of for one in value), f"a list, each {KINDS[of]}"
    else:
        right, need = type(value) is kind or (kind is float and type(value) is int), KINDS[kind]
    if not right:
        raise InputError(f"{who} is {value!r:.40}; it must be {need}")


def words(table: Mapping[str, Any], path: str | Path, command: str) -> list[str]:
    """The options of a file as one types them. Raises InputError where it is of another command, and for a key that is
    not known or a value of another type."""
    if table["command"] != command:
        raise InputError(f"config: {path} is of a run of npkd {table['command']}; give it to that command, not to "
                         f"{command}")
    known, hints, found = options_of(command), get_type_hints(Settings), list[str]()
    values = {name: value for name, value in table.items() if name != "made_with"}
    for name, value in values.items():
        if name not in (*known, "given"):
            raise InputError(f"config: {path} has the key {name!r:.40}, which npkd {command} does not know; it knows "
                             f"{', '.join(known)}")
        require_type(value, hints[name], f"config: {path}: {name}")
    for name in [name for name in known if name in values and name != "command"]:
        value, option = values[name], name.replace("_", "-")
        changed = value != known[name]
        if isinstance(value, bool):                           # a flag says that something is not as it is without it
            found += [f"--{option}" if value else f"--no-{option}"] * changed
        elif changed or name in values.get("given", []):
            found.append(f"--{option}=" + (",".join(map(str, value)) if isinstance(value, list) else str(value)))
    return found


def settings_of(options: argparse.Namespace, arguments: Sequence[str]) -> Settings:
    """The settings of a run whose options were read from the arguments."""
    given = tuple(word[2:].partition("=")[0].replace("-", "_") for word in arguments if word.startswith("--"))
    names = {field.name for field in fields(Settings)}
    return Settings(**{name: value for name, value in vars(options).items() if name in names}, given=given)


def settings_in(table: Mapping[str, Any], path: str | Path) -> Settings:
    """The settings that a file holds, "out" being missing. Raises InputError as ``words`` and ``Settings``."""
    arguments = [table["command"], *words(table, path, table["command"]), "--out=npkd-out"]
    return settings_of(parser.read(arguments), arguments)
