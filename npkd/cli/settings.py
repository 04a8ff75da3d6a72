"""What a user asks for, in the words of the command line. What contradicts itself is refused here."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from npkd import __version__
from npkd.core.files import read_npz
from npkd.core.validation import InputError, one_of
from npkd.nn.network import ACTIVATIONS
from npkd.pipeline.recipe import NETWORKS
from npkd.pipeline.target import TARGET as TARGET

COMMANDS = ("compress", "train", "distil")
PATHS = ("data", "teacher", "distil_from", "start")         # settings that name files


@dataclass(frozen=True)
class Settings:
    """What a user asks for: a command, and its options as npkd.cli.parser explains them, by their names there.

    command     "compress", "train" or "distil"
    data        also the path of an .npz, a table or a folder;   label  column of a table;   out  is made if missing
    epochs      compress: of the last distillation, the other stages in proportion; else of the training. None: by the
                size of the data
    hidden      None: the recipe's, of distil (30, 30);   target  None: of compress TARGET, of train none
    given       options that were written out: the summary names them also where they say what holds without them

    Raises InputError for words that are not known and numbers out of range.
    """

    command: str = "compress"
    data: str = "digits"
    label: str | None = None
    scheduler: str | None = None
    out: str = "npkd-out"
    seed: int = 0
    epochs: int | None = None
    network: str = "perceptron"
    hidden: tuple[int, ...] | None = None
    teacher: str | None = None
    distil_from: str | None = None
    loss: str | None = None
    hint: str | None = None
    loss_weight: str | None = None
    label_weight: float | None = None
    temperature: float | None = None
    scheme: str = "offline"
    target: str | None = None
    steps: tuple[str, ...] | None = None
    keep_inputs: bool = False
    dropout: float = 0.0
    activation: str = "relu"
    penalty: str | None = None
    costs: str = "macs"
    penalty_path: bool = False
    debias: bool = True
    start: str | None = None
    overwrite: bool = False
    resume: bool = False
    given: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        one_of("settings", "command", self.command, COMMANDS)
        one_of("settings", "activation", self.activation, ACTIVATIONS)
        one_of("settings", "network", self.network, NETWORKS)
        if self.network != "perceptron" and (self.hidden is not None or self.dropout or self.activation != "relu"):
            raise InputError(f"settings: got the network {self.network} with hidden widths, dropout or an activation; "
                             f"those are a perceptron's")
        if self.command == "distil" and self.teacher is None:
            raise InputError("settings: got no --teacher; npkd distil needs one, a network that npkd saved")
        shaped = self.network != "perceptron" or self.hidden is not None
        if self.command == "compress" and self.teacher is not None and shaped:
            what = "hidden widths" if self.network == "perceptron" else f"the network {self.network}"
            raise InputError(f"settings: got a teacher and {what}; give one of them, the latter is for a teacher that "
                             f"is trained here")
        if self.distil_from is not None and self.epochs == 0:
            raise InputError("settings: distil_from is given, and epochs is 0, where nothing is learnt; leave out one")
        sparse = [("--target", self.target), ("--penalty-path", self.penalty_path), ("--start", self.start),
                  ("--distil-from", self.distil_from), ("--costs", self.costs != "macs"),
                  ("--no-debias", not self.debias)]
        if self.command != "compress" and self.penalty is None and (got := [name for name, value in sparse if value]):
            raise InputError(f"settings: got {', '.join(got)} and no --penalty; npkd {self.command} takes it with one")
        if self.penalty is not None and self.scheme != "offline":
            raise InputError(f"settings: got --penalty and --scheme {self.scheme:.40}; neurons die in offline alone")
        if self.scheme == "layer-wise" and (self.dropout or self.activation != "relu"):
            raise InputError("settings: got --scheme layer-wise, where the student is cut from the teacher, with "
                             "--dropout or --activation, which do nothing there; leave them out")
        drawn = shaped or self.dropout or self.activation != "relu" or self.epochs is not None
        if self.start is not None and drawn:
            raise InputError("settings: got a network to start from, and widths, dropout, an activation or epochs, "
                             "which are for one that is trained here; give one of both")
        if not 0 <= self.dropout < 1:
            raise InputError(f"settings: --dropout is {self.dropout}; it must be at least 0 and below 1")
        if self.overwrite and self.resume:
            raise InputError("settings: got overwrite and resume; give one of them")
        if self.seed < 0:
            raise InputError(f"settings: seed is {self.seed}; it must not be negative")


def absolute(settings: Settings) -> dict[str, Any]:
    """The settings as JSON holds them; files with their whole path, so that the run can go on from another folder."""
    values = asdict(settings)
    for name in PATHS:
        if values[name] is not None and os.path.exists(values[name]):
            values[name] = os.path.abspath(values[name])
    return {name: value for name, value in values.items() if name not in ("out", "overwrite", "resume")}


def stored_settings(path: Path) -> dict[str, Any]:
    """The settings in a run's checkpoint. Raises InputError for another file, or one of another version of npkd."""
    header, _ = read_npz(path, "checkpoint")
    if header.get("npkd") != __version__:
        raise InputError(f"--resume: {path} is of npkd {header.get('npkd')!r:.20}, this is {__version__}; take that "
                         f"version, or begin the run again")
    settings = header.get("settings")
    if not isinstance(settings, dict) or {*settings} != {*absolute(Settings())}:
        raise InputError(f"--resume: {path} does not hold the settings of a run; begin the run again")
    return settings | {"hidden": settings["hidden"] and tuple(settings["hidden"]), "given": tuple(settings["given"]),
                       "steps": settings["steps"] and tuple(settings["steps"])}
