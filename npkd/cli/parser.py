"""What the command line understands: the commands and their options, read into a namespace."""

from __future__ import annotations

import argparse
import contextlib
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from npkd import __version__
from npkd.cli import examples
from npkd.core.validation import InputError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction["Parser"]

BETTER = "a better network that npkd saved, whose answers are learnt; npkd train takes it with a penalty"
COMMANDS = ("compress", "train", "distil", "export", "cost", "check", "reproduce", "report", "verify")
JSON = "print the summary as JSON on standard output, and nothing else there"
QUIET = "no progress, the result alone"


class Parser(argparse.ArgumentParser):
    """argparse, with its complaints as InputError."""

    color: bool

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        raise InputError(f"{message}; {self.prog} --help says what can be given")


def whole(least: int, most: int = 10**12) -> Callable[[str], int]:
    """A reader of whole numbers in a range."""
    def read(text: str) -> int:
        with contextlib.suppress(ValueError):
            if least <= (value := int(text)) <= most:
                return value
        need = f"it must be a whole number, at least {least} and at most {most}"
        raise argparse.ArgumentTypeError(f"got {text!r:.40}; {need}")
    return read


def widths(text: str) -> tuple[int, ...]:
    """A reader of hidden widths: "300,100"."""
    with contextlib.suppress(ValueError, argparse.ArgumentTypeError):
        return tuple(whole(1, 10**6)(word) for word in text.split(","))
    raise argparse.ArgumentTypeError(f"got {text!r:.40}; it must be widths from 1 to 1000000, such as 300,100")


def seeds(text: str) -> tuple[int, ...]:
    """A reader of seeds, rising and each once: "0-9", "0,3,7"."""
    with contextlib.suppress(ValueError, argparse.ArgumentTypeError):
        ends = [[whole(0, 10**6)(end) for end in word.split("-")] for word in text.split(",")]
        found = {seed for first, *last in ends for seed in range(first, max(last, default=first) + 1)}
        if all(len(pair) <= 2 and pair == sorted(pair) for pair in ends) and (len(found) > 1 or "-" in text):
            return tuple(sorted(found))
    five = f"0-{int(text) - 1} for {text} seeds, {text}-{text} for seed {text} alone" if text.isdecimal() and int(
        text) else "0-9 or 0,3,7"
    raise argparse.ArgumentTypeError(f"got {text!r:.40}; it must be seeds, such as {five}")


def add_workers(add: Callable[..., object]) -> None:
    """The options of runs that are spread over processes."""
    add("--workers", type=whole(1, 256), default=2, metavar="J",
        help="of several seeds: runs at the same time, a thread each (default: 2)")
    add("--backend", choices=("loky", "dask"), default="loky", help="processes of this machine, or a Dask cluster "
                                                                    "(default: loky)")
    add("--scheduler", metavar="ADDRESS",
        help="of Dask, tcp://…: its workers, which see the same files, add up the statistics of the shards in --data, "
             "or do the runs of --backend dask (default: for these a cluster of --workers processes is started)")


def words(text: str) -> tuple[str, ...]:
    """A reader of words: "neurons,int8"."""
    return tuple(text.split(","))


def parser() -> Parser:
    """All commands and options."""
    top = Parser(prog="npkd", allow_abbrev=False,
                 description="Smaller neural networks by layer-by-layer knowledge distillation.")
    top.add_argument("--version", action="version", version=f"npkd {__version__}")
    commands = top.add_subparsers(dest="command", metavar="command", parser_class=Parser)
    add_compress(commands, run_options())
    add_train(commands, run_options())
    add_distil(commands, run_options())
    add_export(commands)
    cost = commands.add_parser("cost", allow_abbrev=False, help="what a network costs: counted, measured, estimated",
                               description="Count what a network computes and stores, measure its latency here, and "
                                           "estimate its energy.")
    cost.add_argument("file", metavar="FILE", help="a network that npkd saved, .npz or .npkz")
    commands.add_parser("check", allow_abbrev=False, help="hold every op, loss and penalty against its definition",
                        description="Hold every op, loss and penalty against its definition. Needs a checkout.")
    add_reproduce(commands)
    report = commands.add_parser("report", allow_abbrev=False, help="write report.html of a finished run again",
                                 description="Write report.html again from the summary and the figures in a folder.")
    report.add_argument("folder", metavar="DIR", nargs="?",
                        help="folder that npkd compress, train or distil wrote (default: the latest npkd-out…)")
    add_verify(commands)
    for name in ("compress", "train", "distil", "cost", "check", "export", "report", "verify"):
        commands.choices[name].add_argument("--json", action="store_true", help=JSON)
    for name in ("check", "verify"):
        commands.choices[name].add_argument("--quiet", action="store_true", help=QUIET)
    for name, one in {"": top, **commands.choices}.items():
        one.description, one.epilog = textwrap.fill(str(one.description), 79), examples.text(name)
        one.formatter_class = argparse.RawDescriptionHelpFormatter
        one.color = False                                     # as of Python 3.14 argparse would colour it
    return top


def run_options() -> Parser:
    """The options that ``compress``, ``train`` and ``distil`` share."""
    shared = Parser(add_help=False)
    add = shared.add_argument
    add("--data", default="digits", metavar="NAME|FILE|FOLDER",
        help="digits, mnist, fashion-mnist, an .npz with x_train, y_train, x_test, y_test, a folder with these as .npy "
             "or with four IDX files, a folder of shards, .npz with x and y, or a table, .csv (default: digits)")
    add("--label", metavar="COLUMN", help="of a table: the column that is to be told by the others")
    add("--network", choices=("perceptron", "lenet5"), default="perceptron",
        help="what is trained (default: perceptron)")
    add("--hidden", type=widths, metavar="N,N",
        help="hidden widths of what is trained (default: 300,100, of distil 30,30)")
    add("--seed", type=whole(0), default=0, metavar="N", help="of everything that is drawn (default: 0)")
    add("--seeds", type=seeds, metavar="A-B|A,B", help="a run for each of these seeds, in DIR/seed-0, DIR/seed-1, …, "
                                                       "and over them the summary of all")
    add_workers(add)
    add("--out", metavar="DIR", help="folder to write to, new or empty (default: npkd-out, or the first free one of "
                                     "npkd-out-2, npkd-out-3, …)")
    add("--overwrite", action="store_true", help="replace an earlier run in the folder when this one is done; files "
                                                 "that npkd did not write stay")
    add("--resume", action="store_true", help="go on with the run in the folder that was broken off, with the options "
                                              "it was begun with (default: the latest npkd-out…)")
    add("--config", metavar="FILE", help="repeat a run of this command, with the settings in its config.toml; options "
                                         "beside it count in their place")
    add("--quiet", action="store_true", help=QUIET)
    return shared


def add_compress(commands: Commands, shared: Parser) -> None:
    """The options of ``npkd compress``."""
    compress = commands.add_parser("compress", parents=[shared], allow_abbrev=False,
                                   help="make a small network from a large one",
                                   description="Train a teacher, or take one, and distil it into a smaller network.")
    add = compress.add_argument
    add("--distil-from", metavar="FILE", help=BETTER)
    add("--epochs", type=whole(0), metavar="N", help="passes over the data in the last distillation; 0: the student is "
                                                     "not trained, its layers are refitted alone (default: by the "
                                                     "number of examples)")
    add("--teacher", metavar="FILE", help="a network that npkd saved, or an .onnx file; without it one is trained")
    add("--target", metavar="KIND=NUMBER",
        help="macs=N, neurons=N, parameters=N or bytes=N, of the file (N%%: of the teacher's), widths=N-N (neurons a "
             "layer, inputs first), or error=+0.5, points of the teacher's, of numbers error=+0.02, of its R², or "
             "error=+3rmse (default: macs=10%%)")
    add("--steps", type=words, metavar="STEP,...",
        help="in this order: neurons, low-rank, weights (single ones become zero), int8, int4, ternary or dyadic, code "
             "(student.npkz); the target is shared among the first three (default: neurons)")
    add("--keep-inputs", action="store_true", help="remove no input")


def add_train(commands: Commands, shared: Parser) -> None:
    """The options of ``npkd train``."""
    train = commands.add_parser("train", parents=[shared], allow_abbrev=False, help="train a plain or a sparse network",
                                description="Train a network; with a penalty it loses neurons while it learns.")
    add = train.add_argument
    add("--distil-from", metavar="FILE", help=BETTER)
    add("--start", metavar="FILE", help="a network that npkd saved, to begin with; without it one is trained")
    add_training(add)


def add_distil(commands: Commands, shared: Parser) -> None:
    """The options of ``npkd distil``."""
    distil = commands.add_parser("distil", parents=[shared], allow_abbrev=False,
                                 help="train a fresh student of any shape from a teacher",
                                 description="Train a fresh student from a teacher, by any loss and scheme.")
    add = distil.add_argument
    add("--teacher", metavar="FILE", help="a network that npkd saved")
    add("--list", action="store_true", help="print every loss and scheme, and what it is divided by")
    add("--loss", metavar="WORD,...", help="beside the labels (default: soft, with weight 0.9)")
    add("--hint", metavar="S:T,...", help="activation S of the student learns T of the teacher, by a regressor")
    add("--loss-weight", metavar="C,...", help="of each --loss, then of each --hint (default: their own)")
    add("--label-weight", type=float, metavar="C", help="of the labels (default: 0.1, with --loss 1)")
    add("--temperature", type=float, metavar="T", help="of losses that have one (default: their own, of soft 4)")
    add("--scheme", metavar="WORD", default="offline", help="who teaches whom (default: offline)")
    add_training(add)


def add_export(commands: Commands) -> None:
    """The options of ``npkd export``."""
    export = commands.add_parser("export", allow_abbrev=False, help="a network as C, Python, ONNX or PyTorch",
                                 description="Write a network as a C header (student.h), a file of NumPy alone "
                                             "(predict.py), ONNX (student.onnx) or plain PyTorch.")
    add = export.add_argument
    add("file", metavar="FILE", help="a network that npkd saved, .npz or .npkz")
    add("--to", choices=("c", "python", "onnx", "torch"), required=True, help="what to write")
    add("--out", metavar="DIR", help="folder to write to, also one with other files (default: FILE-export, beside it)")
    add("--shape", type=widths, metavar="H,W,C", help="of an example, where the layers do not tell it")
    add("--overwrite", action="store_true", help="replace files of the same name")
    add("--check", metavar="DATA", help="compile or run what was written (c, python), and compare what it "
                                        "gives with npkd on all test examples of this data, as --data of npkd compress")
    add("--label", metavar="COLUMN", help="of --check, where the data is a table")


def add_training(add: Callable[..., object]) -> None:
    """The options of a network that is trained, with a penalty or without."""
    add("--epochs", type=whole(1), metavar="N", help="passes over the data, with a penalty those of the dense network "
                                                     "(default: by the number of examples)")
    add("--dropout", type=float, default=0.0, metavar="RATE", help="behind each hidden layer (default: 0)")
    add("--activation", default="relu", metavar="OP", help="between the layers: relu, tanh, gelu, ... (default: relu)")
    add("--penalty", metavar="KIND=NUMBER,...",
        help="weights that become zero, each with its λ: inputs=, neurons=, channels=, weights=, l1l2= of neurons and "
             "channels, whatever their size, or nuclear= of singular values; without numbers, but of the last two, λ "
             "is found: inputs,neurons")
    add("--target", metavar="KIND=NUMBER", help="with a penalty whose λ is found: macs=N, neurons=N, parameters=N or "
                                                "bytes=N, of the file (N%%: of the dense network's)")
    add("--costs", choices=("macs", "size", "equal"), default="macs",
        help="of a neuron in the penalty: the multiply-accumulates that its removal saves, the root of the number of "
             "its weights, or one (default: macs)")
    add("--penalty-path", action="store_true", help="λ rises until nothing is left; the smallest good network counts")
    add("--no-debias", dest="debias", action="store_false", help="no last phase without penalty")


def add_verify(commands: Commands) -> None:
    """The options of ``npkd verify``."""
    verify = commands.add_parser("verify", allow_abbrev=False, help="prove that a run gives the same again",
                                 description="Run again what npkd compress, train or distil wrote, from its "
                                             "config.toml, in a folder that is gone afterwards, and say which files "
                                             "have equal bytes. Exit code 0: all that was promised holds; 1: not.")
    verify.add_argument("folder", metavar="DIR", nargs="?",
                        help="folder of a finished run (default: the latest npkd-out…)")


def add_reproduce(commands: Commands) -> None:
    """The options of ``npkd reproduce``."""
    reproduce = commands.add_parser("reproduce", allow_abbrev=False, help="run an experiment of the docs again",
                                    description="Run every method at equal cost, with training and without, and the "
                                                "records. What is done is kept.")
    add = reproduce.add_argument
    add("name", metavar="NAME", choices=("all", "lenet300", "lenet5", "hinton2015", "survey2021", "ba2014",
                                         "romero2015", "alvarez2017", "berthelier2020", "cintra2018", "compression"),
        help="methods compared on LeNet-300-100 or LeNet-5, a study named after its paper, or all of these one after "
             "the other: %(choices)s")
    add("--quick", action="store_true", help="a few minutes: one budget, some methods, a part of the data")
    add("--seeds", type=seeds, metavar="A-B|A,B",
        help="seeds of all runs (default: 0-4, comparison of lenet5: 0-2, quick: 0-1)")
    add("--part", choices=("all", "comparison", "post-training", "records"), default="all",
        help="what to run; post-training: one cut and no training (default: all)")
    add("--stored", action="store_true", help="run nothing: the tables of what is finished so far")
    add("--json", metavar="FILE", help="write the numbers to a file too, new or of an earlier reproduction; of all: "
                                       "NAME.json in this folder")
    add("--overwrite", action="store_true", help="replace FILE also where npkd reproduce did not write it")
    add("--runs", default="npkd-runs", metavar="DIR", help="folder that keeps finished runs (default: npkd-runs)")
    add("--from", dest="known", metavar="FILE", help="of a study: runs in a file that --json wrote, also elsewhere, "
                                                     "count as done where the settings are the same; of all: a folder "
                                                     "of such files")
    add_workers(add)


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments, read. Raises InputError in one sentence that says what is known."""
    if not arguments or (arguments[0] not in COMMANDS and not arguments[0].startswith("-")):
        got = f"the command {arguments[0]!r:.40}" if arguments else "no command"
        raise InputError(f"got {got}; it must be one of {', '.join(COMMANDS)}; npkd --help says more")
    options, unknown = parser().parse_known_args(arguments)
    if options.command is None or unknown:
        word, prog = unknown[0] if unknown else arguments[0], " ".join(filter(None, ["npkd", options.command]))
        now = " (it is --workers now)" if word.startswith("--jobs") else ""
        raise InputError(f"{word!r:.60} is not known here{now}; {prog} --help lists what is")
    return options


def given(options: argparse.Namespace) -> dict[str, object]:
    """The command, and its options that differ from what holds without them."""
    defaults = vars(parser().parse_args([options.command]))
    return {name: value for name, value in vars(options).items() if name == "command" or value != defaults[name]}
