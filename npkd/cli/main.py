"""The command line: npkd compress | train | check | reproduce | report.

Whatever is wrong with what a user gave is one sentence on stderr and exit code 2. Exit code 1: a check failed; 130:
interrupted. Heavy modules are imported when a command needs them, so that ``--help`` answers at once and Ctrl-C is
quiet from the beginning.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from npkd import __version__
from npkd.core.validation import Diverged, InputError

if TYPE_CHECKING:
    from tqdm import tqdm

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
        complain(f"{option} is now called {self.new}; the old name works in this version only")
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

    shared = Parser(add_help=False)
    shared.add_argument("--data", default="digits", metavar="NAME|FILE|FOLDER",
                        help="digits, mnist, fashion-mnist, an .npz with x_train, y_train, x_test, y_test, or a folder "
                             "with four IDX files "
                             "(default: digits)")
    shared.add_argument("--network", choices=("perceptron", "lenet5"), default="perceptron",
                        help="what is trained (default: perceptron)")
    shared.add_argument("--hidden", type=widths, metavar="N,N",
                        help="hidden widths of the network that is trained (default: 300,100)")
    shared.add_argument("--seed", type=whole(0), default=0, metavar="N",
                        help="of everything that is drawn (default: 0)")
    shared.add_argument("--out", default="npkd-out", metavar="DIR", help="folder to write to (default: npkd-out)")
    shared.add_argument("--quiet", action="store_true", help="no progress, the result alone")

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
                               "(neurons a layer, inputs "
                               "first), or error=+POINTS (default: macs=10%%)")
    compress.add_argument("--keep-inputs", action="store_true", help="remove no input")

    train = commands.add_parser("train", parents=[shared], allow_abbrev=False, help="train a plain network",
                                description="Train a plain network; npkd compress takes it as a teacher.")
    train.add_argument("--epochs", type=whole(1), metavar="N", help="passes over the data")
    train.add_argument("--dropout", type=rate, default=0.0, metavar="RATE",
                       help="behind each hidden layer (default: 0)")
    train.add_argument("--activation", choices=("relu", "tanh", "sigmoid"), default="relu",
                       help="between the layers (default: relu)")

    commands.add_parser("check", allow_abbrev=False, help="hold every op, loss and penalty against its definition",
                        description="Hold every op, loss and penalty against its definition. Needs a checkout.")
    reproduce = commands.add_parser("reproduce", allow_abbrev=False, help="run an experiment of the docs again",
                                    description="Run every method at equal cost, with training and without, and the "
                                                "records. What is done "
                                                "is kept.")
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
    again = commands.add_parser("report", allow_abbrev=False, help="write report.html of a finished run again",
                                description="Write report.html again from the summary and the figures in a folder.")
    again.add_argument("folder", metavar="DIR", help="folder that npkd compress or npkd train wrote")
    return top


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments, read. Raises InputError in one sentence that says what is known."""
    first = arguments[0] if arguments else None
    if first is None or (first not in COMMANDS and not first.startswith("-")):
        got = "no command" if first is None else f"the command {first!r:.40}"
        raise InputError(f"got {got}; it must be one of {', '.join(COMMANDS)}; npkd --help says more")
    found, unknown = parser().parse_known_args(arguments)
    if found.command is None or unknown:
        word, prog = unknown[0] if unknown else arguments[0], " ".join(filter(None, ["npkd", found.command]))
        raise InputError(f"{word!r:.60} is not known here; {prog} --help lists what is")
    return found


class ProgressBars:
    """A progress for terminals: one bar a stage, which stays."""

    def __init__(self) -> None:
        self.bar: tqdm[NoReturn] | None = None

    def begin(self, stage: str, steps: int) -> None:
        """A bar for the stage, below the finished one."""
        from tqdm import tqdm

        self.close()
        self.bar = tqdm(total=steps, desc=f"{stage:24}", file=sys.stderr, dynamic_ncols=True,
                        bar_format="{desc} {bar:20} {n_fmt}/{total_fmt} {elapsed} {postfix}")

    def step(self, note: str, record: dict[str, Any] | None = None) -> None:
        """The bar moves on."""
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update()

    def close(self) -> None:
        """The last bar is left as it is."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class ProgressLines:
    """A progress for files and pipes: one line on stderr for each stage that ended."""

    def __init__(self) -> None:
        self.stage, self.note, self.since, self.left = "", "", 0.0, 0

    def begin(self, stage: str, steps: int) -> None:
        """The line of the stage before is printed."""
        self.close()
        self.stage, self.note, self.since, self.left = stage, "", time.perf_counter(), steps

    def step(self, note: str, record: dict[str, Any] | None = None) -> None:
        """What is noted last is what the line says."""
        self.note, self.left = note, self.left - 1

    def close(self) -> None:
        """The line of the last stage, if it was done to the end."""
        if self.stage and self.left <= 0:
            print(f"{self.stage}: {self.note} ({time.perf_counter() - self.since:.1f} s)", file=sys.stderr, flush=True)
        self.stage = ""


def printed(result: Mapping[str, Any], folder: Path) -> str:
    """The result as a table that a person reads, and where to look."""
    from npkd.pipeline.stages import certified
    from npkd.report import page

    if "model" in result:
        lines = [f"{page.chain(result['model']['widths'])}: {page.headline(result)}"]
    else:
        rows = [["", "teacher", "student", "student / teacher"], *page.compared(result["teacher"], result["student"])]
        columns = [max(len(row[k]) for row in rows) for k in range(4)]
        lines = [f"{name:{columns[0]}}" + "".join(f"  {cell:>{w}}" for cell, w in zip(rest, columns[1:], strict=True))
                 for name, *rest in rows]
        lines += ["", f"Both say the same on {page.percent(result['agreement'], 2)} of the test examples."]
    if result.get("layers"):
        lines.append(certified([layer["duality_gap"] for layer in result["layers"]]))
        lines.append(f"Cutting neurons out changed no output by more than {result['removal_difference']:.1e}.")
    lines += ["", f"Read {folder / 'report.html'} ({result['seconds']:.0f} s)"]
    return "\n".join(line.rstrip() for line in lines).replace("–", "-").replace("\N{NO-BREAK SPACE}", " ")


def work(found: argparse.Namespace) -> int:
    """``npkd compress`` and ``npkd train``."""
    from npkd.cli.run import run
    from npkd.cli.settings import Settings
    from npkd.pipeline.progress import NoProgress

    options = {key: value for key, value in vars(found).items() if key != "quiet"}
    progress = ProgressBars() if sys.stderr.isatty() else ProgressLines()
    try:
        result = run(Settings(**options), NoProgress() if found.quiet else progress)
    finally:
        progress.close()
    print(printed(result, Path(found.out)))
    return 0


def command(arguments: Sequence[str]) -> int:
    """Read the arguments and do what they say."""
    found = read(arguments)
    if found.command == "check":
        from npkd.cli.check import main as check

        return check()
    if found.command == "report":
        from npkd.cli.run import rebuild

        print(f"Read {rebuild(found.folder)}")
        return 0
    if found.command == "reproduce":
        from npkd.experiments.command import reproduce

        return reproduce(**{key: value for key, value in vars(found).items() if key != "command"})
    return work(found)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM is taken as Ctrl-C, so that what there is is saved; afterwards it is what it was."""
    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def complain(words: object) -> None:
    """One line on stderr."""
    print(f"npkd: {' '.join(str(words).split())}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code: 0 done, 1 a check failed, 2 wrong input, 130 interrupted."""
    try:
        with stoppable(), warnings.catch_warnings():
            # of floating point: what matters of it is an error of npkd's own
            warnings.simplefilter("ignore", RuntimeWarning)
            code = command(sys.argv[1:] if argv is None else argv)
            sys.stdout.flush()
            return code
    except (InputError, Diverged) as error:
        complain(error)
        return 2
    except np.linalg.LinAlgError as error:
        complain(f"a layer's statistics cannot be solved ({error}); take more data, or inputs that differ")
        return 2
    except MemoryError as error:
        complain(f"not enough memory{f' ({error})' if str(error) else ''}; take a smaller network, or less data")
        return 2
    except KeyboardInterrupt as stop:
        complain(stop if str(stop) else "interrupted; nothing was saved")
        return 130
    except BrokenPipeError:                                  # who reads the output has gone: nothing more is to be said
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SystemExit as stop:                                # --help and --version
        return int(stop.code or 0)
