"""--help has one style, says every default, and its examples run; --json is JSON alone; nothing is coloured."""

import argparse
import io
import json
import re
import shlex
import shutil

import numpy as np
import pytest

from npkd.cli import check, parser
from npkd.cli.examples import EXAMPLES, of
from npkd.cli.main import main
from npkd.nn.model import Model
from npkd.nn.model import save as save_model
from npkd.nn.network import perceptron
from reference import check as checks
from tests.tiny import stored, undrawn, words

TOP = parser.parser()
HELPS = {"": TOP, **TOP._subparsers._group_actions[0].choices}
OPTIONS = [pytest.param(action, id=f"{name} {action.option_strings[0]}") for name, one in HELPS.items()
           for action in one._actions if action.option_strings and action.dest not in ("help", "version")
           and action.help != argparse.SUPPRESS]

WITHOUT = {"--label", "--teacher", "--distil-from", "--start", "--hint", "--penalty", "--config", "--check", "--shape",
           "--json", "--from", "--seeds", "--target", "--to"}
"""Options with a value and no default: what they name is absent, or, of --to, must be given. (--target of compress has
one.)"""


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch):
    undrawn(monkeypatch)


@pytest.mark.parametrize("action", OPTIONS)
def test_every_option_with_a_default_says_it(action):
    if action.nargs == 0:
        assert "default" not in action.help or action.dest == "resume"
        return
    told = re.search(r"\(default: ([^)]+)\)$", action.help)
    if action.default is not None:
        shown = f"{action.default:g}" if isinstance(action.default, float) else str(action.default)
        assert told.group(1) == shown
    elif action.option_strings[0] not in WITHOUT:
        assert told, action.help


@pytest.mark.parametrize("name", HELPS)
def test_the_style_is_one(name):
    """Sentences for descriptions; for options phrases in lower case without a full stop; two to four examples."""
    one = HELPS[name]
    assert one.description[0].isupper()
    assert one.description.endswith(".")
    assert 2 <= len(of(name)) <= 4
    for action in one._actions:
        if action.help not in (None, argparse.SUPPRESS) and action.dest not in ("help", "version"):
            assert not action.help.endswith("."), action.help
            assert action.help[:2] != action.help[:2].title() or action.help[0] in "λ0123456789", action.help


@pytest.mark.parametrize("name", HELPS)
def test_examples_stand_in_the_help_and_fit_in_80_columns(name, capsys):
    assert main([*name.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for line, what in of(name):
        assert f"\n  {line}\n      {what}\n" in out


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with what the examples name, however small: digits and MNIST are little pictures too."""
    for name in ("my-data.npz", "data.npz"):
        stored(tmp_path / name, shape=(8, 8))
    for name in ("mine.npz", "student.npz"):
        save_model(tmp_path / name, Model(perceptron([64, 8, 6, 3], np.random.default_rng(0)), None))
    monkeypatch.chdir(tmp_path)
    small = ["--data", "data.npz", "--hidden", "8,6", "--epochs", "1", "--quiet"]
    assert main(["compress", *small, "--out", "npkd-out"]) == 0
    shutil.copy("npkd-out/student.npz", "student.npkz")
    return tmp_path


ELSEWHERE = {"npkd check": "tests/cli/test_check.py", "npkd reproduce": "tests/experiments", "lenet5": "LeNet-5 reads "
             "28 × 28"}
"""What is read here alone, and where it runs."""


@pytest.mark.parametrize("line", [pair[0] for name in HELPS for pair in of(name) if name])
def test_examples_run(line, request, capsys):
    given = shlex.split(line)
    assert given[0] == "npkd"
    assert line in EXAMPLES
    if any(word in line for word in ELSEWHERE):
        assert parser.read(given[1:])
        return
    request.getfixturevalue("place")
    if given[1] in ("compress", "train", "distil") and "--list" not in given:
        small = {"--data": "data.npz", "--epochs": "1"} | ({} if "--teacher" in given or "--config" in given else {
            "--hidden": "8,6"}) | ({"--target": "parameters=40%"} if "code" in line else {})
        given += [word for pair in small.items() for word in pair]
    if "--check" in given:
        given += ["--check", "data.npz"]
    assert main(given[1:]) == 0, capsys.readouterr().err


# --json

def summary_of(capsys, *arguments, code=0):
    """What a command prints as JSON."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_json_of_runs_is_the_summary_and_the_folder(place, capsys):
    for command, more in (("compress", []), ("train", []), ("distil", ["--teacher", "mine.npz"])):
        found = summary_of(capsys, *words(place, *more, "--out", command, command=command, data="data.npz"))
        assert found.pop("folder") == command
        assert found == json.loads((place / command / "summary.json").read_text())


def test_json_is_read_from_a_stream_that_knows_ascii_alone(place, monkeypatch):
    shutil.copy("data.npz", "结果 😀.npz")
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr("sys.stdout", file)
    assert main(words(place, "--json", "--out", "out", command="train", data="结果 😀.npz")) == 0
    assert json.loads(file.buffer.getvalue())["data"] == "结果 😀"


def test_json_of_the_other_commands(place, capsys, monkeypatch):
    assert summary_of(capsys, "cost", "mine.npz")["parameters"] == 64 * 8 + 8 + 8 * 6 + 6 + 6 * 3 + 3
    assert summary_of(capsys, "report", "npkd-out") == {"report": "npkd-out/report.html"}
    assert summary_of(capsys, "export", "student.npz", "--to", "python") == {"files": ["student-export/predict.py"]}
    found = summary_of(capsys, "export", "student.npz", "--to", "python", "--check", "data.npz", "--out", "checked")
    assert found == {"files": ["checked/predict.py"], "agree": 40, "examples": 40}
    assert summary_of(capsys, "verify", "npkd-out", "--quiet")["equal"] is True
    assert {"soft", "offline"} <= {row[0] for row in summary_of(capsys, "distil", "--list")}


def test_json_of_the_checks(monkeypatch, capsys):
    rows = [checks.Row("one", "op", 1e-9, 1e-7, 3, 3), checks.Row("two", "?", float("nan"), float("nan"), 0, 0, "none")]
    monkeypatch.setattr(checks, "run", lambda cases, progress: rows)
    found = summary_of(capsys, "check", "--quiet", code=1)
    assert [row["passed"] for row in found] == [True, False]
    assert found[1]["error"] is None
    assert found[0]["name"] == "one"
    assert check.main(quiet=True) == 1
    assert capsys.readouterr().err == ""


# --quiet and colours

@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1", "TERM": "xterm-256color"}], ids=str)
def test_no_escape_sequence_is_written_to_a_terminal_nor_anywhere(place, capsys, monkeypatch, variables):
    """npkd writes no colour: with NO_COLOR and without it, the same."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True, raising=False)
    run = [word for word in words(place, "--overwrite", data="data.npz") if word != "--quiet"]
    for arguments, code in ((run, 0), (["train", "--help"], 0), (["--help"], 0), (["cost", "mine.npz"], 0),
                            (["verify", "npkd-out"], 0), (["compress", "--seed", "x"], 2), (["fly"], 2)):
        assert main(arguments) == code
        out, err = capsys.readouterr()
        assert out + err
        assert "\x1b" not in out + err


def test_quiet_leaves_the_result_alone(place, capsys, monkeypatch):
    monkeypatch.setattr("npkd.core.progress.SOON", 0.0)
    for arguments in (words(place, "--overwrite", data="data.npz"), ["verify", "npkd-out", "--quiet"]):
        assert main(arguments) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert out
