"""The examples below every ``--help``: commands as they are typed, each with what it does."""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "": (
        ("npkd compress", "a first run, on the handwritten digits that come with npkd"),
        ("npkd compress --teacher mine.npz --data my-data.npz --target macs=25%", "a network of one's own"),
        ("npkd report npkd-out", "the page of that run again"),
        ("npkd compress --help", "options and examples of a command")),
    "compress": (
        ("npkd compress --target macs=10%", "train a teacher on the digits, keep a tenth of its work"),
        ("npkd compress --teacher mine.npz --data my-data.npz --epochs 0", "layers are refitted, nothing is trained"),
        ("npkd compress --steps neurons,weights,int8,code --target bytes=8192", "a chain, in a file of 8 KB"),
        ("npkd compress --config npkd-out/config.toml --seed 1", "a run again, with another seed")),
    "train": (
        ("npkd train --hidden 300,100", "a plain network on the digits"),
        ("npkd train --penalty inputs,neurons --target macs=20%", "neurons die until a fifth of the work is left"),
        ("npkd train --penalty neurons=0.002 --no-debias", "a λ of one's own, and no phase without it"),
        ("npkd train --data mnist --network lenet5 --penalty channels=0.002", "channels of a convolutional network")),
    "distil": (
        ("npkd distil --teacher mine.npz --hidden 30,30", "a student with 30 and 30 neurons, by soft targets"),
        ("npkd distil --teacher mine.npz --loss soft,rkd --hint 2:2", "several losses, and a hint"),
        ("npkd distil --teacher mine.npz --scheme mutual --json", "the summary for a program to read"),
        ("npkd distil --list", "every loss and scheme")),
    "export": (
        ("npkd export student.npz --to c", "student-export/student.h"),
        ("npkd export student.npz --to python --check digits", "predict.py, and does it say the same?"),
        ("npkd export student.npz --to onnx --out models", "models/student.onnx")),
    "cost": (
        ("npkd cost student.npz", "a table"),
        ("npkd cost student.npkz --json", "the same numbers for a program")),
    "check": (
        ("npkd check", "a row for every op, loss and penalty"),
        ("npkd check --quiet --json", "the rows for a program, and no progress")),
    "reproduce": (
        ("npkd reproduce lenet300 --quick", "a few minutes, to see what it prints"),
        ("npkd reproduce hinton2015 --json hinton.json", "a whole study, and its numbers in a file"),
        ("npkd reproduce lenet5 --stored", "the tables of what is finished so far")),
    "report": (
        ("npkd report", "of the latest run"),
        ("npkd report npkd-out", "of the run in a folder")),
    "verify": (
        ("npkd verify npkd-out", "run it again, and compare"),
        ("npkd verify npkd-out --json --quiet", "the same for a program: exit code 0 says that all is equal")),
}
"""(command, what it does) by the name of the command; "" is npkd itself. A test reads all of them, and runs most."""


def text(command: str) -> str:
    """The examples of a command, as they stand below its options."""
    return "\n".join(["examples:", *(f"  {line}\n      {what}" for line, what in EXAMPLES[command])])
