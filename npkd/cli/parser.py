"""What the command line understands: the commands and their options, read into a namespace."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from npkd import __version__
from npkd.cli.output import message
from npkd.core.validation import InputError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction["Parser"]

COMMANDS = ("compress", "train", "check", "reproduce", "report")


class Parser(argparse.ArgumentParser):
    """argparse, with its complaints as InputError."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        raise InputError(f"{message}; {self.prog} --help says what can be given")


class Renamed(argparse.Action):
    """An option of version 0.1 that has another name now: it works, and a sentence on stderr says the new one."""

    def __init__(self, *arguments: Any, new: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.new = new

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option: str | None = None) -> None:
        """The value goes where that of the new option goes."""
        message(f"{option} is now called {self.new}; the old name works in this version only")
        setattr(namespace, self.dest, values)


def whole(least: int, most: int = 10**12) -> Callable[[str], int]:
    """A reader of whole numbers in a range."""
    def read(text: str) -> int:
        with contextlib.suppress(ValueError):
            if least <= (value := int(text)) <= most:
                return value
        raise argparse.ArgumentTypeError(f"got {text!r:.40}; it must be a whole number, at least {least} and at most "
                                         f"{most}")
    return read


def widths(text: str) -> tuple[int, ...]:
    """A reader of hidden widths: "300,100"."""
    with contextlib.suppress(ValueError, argparse.ArgumentTypeError):
        return tuple(whole(1, 10**6)(word) for word in text.split(","))
    raise argparse.ArgumentTypeError(f"got {text!r:.40}; it must be widths from 1 to 1000000 with commas between them, "
                                     f"as 300,100")


def rate(text: str) -> float:
    """A reader of dropout rates."""
    with contextlib.suppress(ValueError):
        if 0 <= (value := float(text)) < 1:
            return value
    raise argparse.ArgumentTypeError(f"got {text!r:.40}; it must be a number, at least 0 and below 1")


def parser() -> Parser:
    """All commands and options."""
    top = Parser(prog="npkd", allow_abbrev=False,
                 description="Smaller neural networks by layer-by-layer knowledge distillation.")
    top.add_argument("--version", action="version", version=f"npkd {__version__}")
    commands = top.add_subparsers(dest="command", metavar="command", parser_class=Parser)
    add_compress(commands, run_options())
    add_train(commands, run_options())
    commands.add_parser("check", allow_abbrev=False, help="hold every op, loss and penalty against its definition",
                        description="Hold every op, loss and penalty against its definition. Needs a checkout.")
    add_reproduce(commands)
    add_report(commands)
    return top


def run_options() -> Parser:
    """The options that ``compress`` and ``train`` share."""
    shared = Parser(add_help=False)
    shared.add_argument("--data", default="digits", metavar="NAME|FILE|FOLDER",
                        help="digits, mnist, fashion-mnist, an .npz with x_train, y_train, x_test, y_test, or a folder "
                             "with four IDX files (default: digits)")
    shared.add_argument("--network", choices=("perceptron", "lenet5"), default="perceptron",
                        help="what is trained (default: perceptron)")
    shared.add_argument("--hidden", type=widths, metavar="N,N",
                        help="hidden widths of the network that is trained (default: 300,100)")
    shared.add_argument("--seed", type=whole(0), default=0, metavar="N",
                        help="of everything that is drawn (default: 0)")
    shared.add_argument("--out", metavar="DIR",
                        help="folder to write to, new or empty (default: npkd-out, or the first free one of "
                             "npkd-out-2, npkd-out-3, …)")
    shared.add_argument("--overwrite", action="store_true",
                        help="replace an earlier run in the folder when this one is done; files that npkd did not "
                             "write stay")
    shared.add_argument("--resume", action="store_true",
                        help="go on with the run in the folder that was broken off, with the options it was begun "
                             "with (default: the latest npkd-out…)")
    shared.add_argument("--quiet", action="store_true", help="no progress, the result alone")
    return shared


def add_compress(commands: Commands, shared: Parser) -> None:
    """The options of ``npkd compress``."""
    compress = commands.add_parser("compress", parents=[shared], allow_abbrev=False,
                                   help="make a small network from a large one",
                                   description="Train a teacher, or take one, and distil it into a smaller network.")
    compress.add_argument("--epochs", type=whole(0), metavar="N",
                          help="passes over the data in the last distillation; 0: the student is not trained, its "
                               "layers are refitted alone")
    compress.add_argument("--teacher", metavar="FILE", help="a network that npkd saved; without it one is trained")
    compress.add_argument("--distil-from", metavar="FILE",
                          help="a better network that npkd saved, whose answers are learnt in the teacher's place")
    compress.add_argument("--tutor", dest="distil_from", action=Renamed, new="--distil-from", metavar="FILE",
                          help=argparse.SUPPRESS)
    compress.add_argument("--target", default="macs=10%", metavar="KIND=NUMBER",
                          help="macs=N, neurons=N, parameters=N or bytes=N (N%%: of the teacher's), widths=N-N "
                               "(neurons a layer, inputs first), or error=+POINTS (default: macs=10%%)")
    compress.add_argument("--keep-inputs", action="store_true", help="remove no input")


def add_train(commands: Commands, shared: Parser) -> None:
    """The options of ``npkd train``."""
    train = commands.add_parser("train", parents=[shared], allow_abbrev=False, help="train a plain network",
                                description="Train a plain network; npkd compress takes it as a teacher.")
    train.add_argument("--epochs", type=whole(1), metavar="N", help="passes over the data")
    train.add_argument("--dropout", type=rate, default=0.0, metavar="RATE",
                       help="behind each hidden layer (default: 0)")
    train.add_argument("--activation", default="relu", metavar="OP",
                       help="between the layers: relu, tanh, gelu, ... (default: relu)")


def add_reproduce(commands: Commands) -> None:
    """The options of ``npkd reproduce``."""
    reproduce = commands.add_parser("reproduce", allow_abbrev=False, help="run an experiment of the docs again",
                                    description="Run every method at equal cost, with training and without, and the "
                                                "records. What is done is kept.")
    reproduce.add_argument("name", choices=("lenet300", "lenet5"), help="LeNet-300-100 or LeNet-5, on MNIST")
    reproduce.add_argument("--quick", action="store_true",
                           help="a few minutes: one budget, some methods, a part of the data")
    reproduce.add_argument("--seeds", type=whole(1, 1000), metavar="K",
                           help="seeds 0 … K − 1 (default: 5, comparison of lenet5: 3, quick: 2)")
    reproduce.add_argument("--part", choices=("all", "comparison", "post-training", "records"), default="all",
                           help="what to run; post-training: one cut and no training (default: all)")
    reproduce.add_argument("--stored", action="store_true", help="run nothing: the tables of what is finished so far")
    reproduce.add_argument("--json", metavar="FILE", help="write the numbers to a file too")
    reproduce.add_argument("--runs", default="npkd-runs", metavar="DIR",
                           help="folder that keeps finished runs (default: npkd-runs)")
    reproduce.add_argument("--jobs", type=whole(1, 256), default=2, metavar="J",
                           help="runs at the same time, a thread each (default: 2)")


def add_report(commands: Commands) -> None:
    """The options of ``npkd report``."""
    report = commands.add_parser("report", allow_abbrev=False, help="write report.html of a finished run again",
                                 description="Write report.html again from the summary and the figures in a folder.")
    report.add_argument("folder", metavar="DIR", nargs="?",
                        help="folder that npkd compress or npkd train wrote (default: the latest npkd-out…)")


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments, read. Raises InputError in one sentence that says what is known."""
    first = arguments[0] if arguments else None
    if first is None or (first not in COMMANDS and not first.startswith("-")):
        got = "no command" if first is None else f"the command {first!r:.40}"
        raise InputError(f"got {got}; it must be one of {', '.join(COMMANDS)}; npkd --help says more")
    options, unknown = parser().parse_known_args(arguments)
    if options.command is None or unknown:
        word, prog = unknown[0] if unknown else arguments[0], " ".join(filter(None, ["npkd", options.command]))
        raise InputError(f"{word!r:.60} is not known here; {prog} --help lists what is")
    return options


def given(options: argparse.Namespace) -> dict[str, object]:
    """The command, and its options that differ from what holds without them."""
    defaults = vars(parser().parse_args([options.command]))
    return {name: value for name, value in vars(options).items() if name == "command" or value != defaults[name]}
