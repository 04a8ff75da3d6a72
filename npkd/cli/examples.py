"""The examples below every ``--help``: commands as they are typed, each with what it does."""

EXAMPLES = """\
npkd compress --target macs=10%  # train a teacher on the digits, keep a tenth of its work
npkd compress --teacher mine.npz --data my-data.npz --epochs 0  # layers are refitted, nothing is trained
npkd compress --steps neurons,weights,int8,code --target bytes=8192  # a chain, in a file of 8 KB
npkd compress --config npkd-out/config.toml --seed 1  # a run again, with another seed
npkd train --hidden 300,100  # a plain network on the digits
npkd train --penalty inputs,neurons --target macs=20%  # neurons die until a fifth of the work is left
npkd train --data mnist --network lenet5 --penalty channels=0.002  # channels of a convolutional network
npkd distil --teacher mine.npz --hidden 30,30  # a student with 30 and 30 neurons, by soft targets
npkd distil --teacher mine.npz --loss soft,rkd --hint 2:2  # several losses, and a hint
npkd distil --list  # every loss and scheme
npkd export student.npz --to c  # student-export/student.h
npkd export student.npz --to python --check digits  # predict.py, and does it say the same?
npkd cost student.npz  # a table
npkd cost student.npkz --json  # the same numbers for a program
npkd check  # a row for every op, loss and penalty
npkd check --quiet --json  # the rows for a program, and no progress
npkd reproduce lenet300 --quick  # a few minutes, to see what it prints
npkd reproduce lenet5 --stored  # the tables of what is finished so far
npkd report  # of the latest run
npkd report npkd-out  # of the run in a folder
npkd verify npkd-out  # run it again, and compare
npkd verify npkd-out --json --quiet  # the same for a program: exit code 0 says that all is equal"""


def of(command: str) -> list[tuple[str, str]]:
    """(what is typed, what it does) for a command; for npkd itself, "", the first four."""
    pairs = [(line, what) for line, _, what in (text.partition("  # ") for text in EXAMPLES.splitlines())]
    return [pair for pair in pairs if pair[0].split()[1] == command] or pairs[:4]


def text(command: str) -> str:
    """The examples of a command, as they stand below its options."""
    return "\n".join(["examples:", *(f"  {line}\n      {what}" for line, what in of(command))])
