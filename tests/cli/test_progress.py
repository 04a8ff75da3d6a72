"""Every run shows that it goes on within two seconds: on a terminal and in a pipe, and also where it ends early."""

import contextlib
import os
import select
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import pytest

from npkd.cli import check
from npkd.cli.main import main
from npkd.core import progress
from npkd.core.validation import InputError
from npkd.experiments import runs, study
from npkd.pipeline import sparse, sparse_phases
from reference import check as checks
from tests.cli.test_output import ENVIRONMENT
from tests.tiny import undrawn, words

SLOW = """
import sys, time
from npkd.cli import shards
real = shards.load_data
def slow(*given, **options):
    time.sleep(3)
    return real(*given, **options)
shards.load_data = slow
from npkd.report import figures
figures.require, figures.draw, figures.curve = lambda: None, lambda *given: {}, lambda *given: ""
from npkd.cli.main import main
sys.exit(main())
"""
"""npkd whose data takes three seconds to be read, without drawing."""

READING = b"reading the data"


def loud(folder, *more, **options):
    """Arguments of a quick run that shows its progress."""
    return [word for word in words(folder, *more, **options) if word != "--quiet"]


def told(file, process):
    """What a process writes, and how many seconds before its end it first wrote of the data that is read."""
    said, first = b"", None
    while True:
        with contextlib.suppress(OSError):                                 # Linux: the other end of a pty is closed
            if select.select([file], [], [], 60)[0] and (part := os.read(file, 65536)):
                said += part
                first = first or (time.monotonic() if READING in said else None)
                continue
        break
    assert process.wait(60) == 0, said
    assert first is not None, said
    return said.decode(), time.monotonic() - first


def test_a_terminal_has_bars_while_the_data_is_read(tmp_path):
    """The pty tells no size, as that of many a container; the bars come long before the three seconds are over."""
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", SLOW, *loud(tmp_path)], stderr=theirs, stdout=subprocess.DEVNULL,
                               env=ENVIRONMENT)
    os.close(theirs)
    said, before_end = told(ours, process)
    os.close(ours)
    assert before_end >= 2
    for stage in ("reading the data", "teacher", "round 1 of 5: layers", "final distillation", "figures and report"):
        assert stage in said
    assert "7/7" in said
    assert "validation error" in said
    assert "starting   " in said
    assert said.count("\n") == 14, "a line is left for each stage but the first, in which nothing is counted"


def test_a_pipe_has_a_line_while_the_data_is_read(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", SLOW, *loud(tmp_path)], stderr=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    with process.stderr:
        said, before_end = told(process.stderr.fileno(), process)
    assert before_end >= 1
    assert "\r" not in said
    assert "reading the data: 1/1, 108 examples to train on (3." in said
    assert said.splitlines()[0].endswith(" s)")


def cut_short(real, problem, network, bound):
    """λ rises, and then the run ends."""
    real(replace(problem, recipe=replace(problem.recipe, settling=1)), network, bound)
    raise InputError("enough")


def test_a_rise_that_ends_early_has_a_line(tmp_path, capsys, monkeypatch):
    undrawn(monkeypatch)
    monkeypatch.setattr(sparse_phases, "START", 2e-3)
    monkeypatch.setattr(sparse, "to_target", partial(cut_short, sparse_phases.to_target))
    code = main(loud(tmp_path, "--penalty", "neurons", "--target", "macs=50%", "--hidden", "30,20", command="train",
                     data="digits"))
    lines = capsys.readouterr().err.splitlines()
    (line,) = [line for line in lines if line.startswith("λ rises: ")]
    done, longest = map(int, line.split()[2].rstrip(",").split("/"))
    assert 0 < done < longest
    assert f"{done}/{longest}, loss " in line
    assert code == 2


def test_the_checks_are_shown(capsys, monkeypatch):
    """tests/cli/test_check.py makes them."""
    monkeypatch.setattr(checks, "check_case", lambda case: checks.Row(case.name, checks.kind_of(case.what), 0, 0, 1, 1))
    with contextlib.suppress(SystemExit):
        assert check.main() == 0
    out, err = capsys.readouterr()
    count = out.count("PASS")
    assert err.startswith(f"reading the catalogue: 1/1, {count} cases (")
    assert f"\nchecks: {count}/{count}, penalty " in err


def test_runs_of_an_experiment_are_shown_by_the_same_rule():
    """So that it has lines before the first run is done; tests/experiments runs it."""
    assert runs.tracked is progress.tracked
    assert study.shown is progress.shown


@pytest.mark.parametrize("command", ["compress", "train"])
def test_quiet_is_quiet(tmp_path, capsys, monkeypatch, command):
    undrawn(monkeypatch)
    monkeypatch.setattr(progress, "SOON", 0.0)
    assert main(words(tmp_path, command=command)) == 0
    assert capsys.readouterr().err == ""


def test_a_message_stands_on_a_line_of_its_own_below_a_bar(tmp_path, capsys, monkeypatch):
    undrawn(monkeypatch)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "npkd-out").mkdir()
    (tmp_path / "npkd-out" / "mine").write_text("")
    arguments = loud(tmp_path, command="train")
    del arguments[arguments.index("--out"):arguments.index("--out") + 2]
    assert main(arguments) == 0
    assert "\nnpkd: npkd-out is not free; this run is written to npkd-out-2\n" in capsys.readouterr().err
