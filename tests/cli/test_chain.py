"""npkd compress --steps: a coded student beside its report, the numbers of every step, and what is refused."""

import json

import pytest

import npkd
from npkd.cli.main import main
from npkd.pipeline.steps import nonzero
from tests.tiny import stored


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chain")
    given = ["compress", "--data", str(stored(folder / "data.npz")), "--epochs", "2", "--hidden", "12,8", "--quiet",
             "--steps", "neurons,weights,int8,code", "--target", "parameters=40%", "--out", str(folder / "out")]
    assert main(given) == 0
    return folder / "out"


def test_the_student_is_coded_and_its_file_is_what_the_summary_says(run):
    summary = json.loads((run / "summary.json").read_text())
    assert not (run / "student.npz").exists()
    size = (run / "student.npkz").stat().st_size
    assert summary["files"]["student"] == size
    assert [step["step"] for step in summary["steps"]] == ["neurons", "weights", "int8", "code"]
    assert summary["steps"][-1]["bytes"] == summary["costs"]["student"]["coded"] == size
    network = npkd.load(run / "student.npkz").network
    assert nonzero(network)[0] == summary["costs"]["student"]["nonzeros"] <= summary["target"]["bound"]
    assert summary["costs"]["student"]["arithmetic"] == "int8"


def test_the_report_shows_steps_and_costs(run):
    page = (run / "report.html").read_text()
    assert "<h2>Steps</h2>" in page
    assert "<h2>Costs</h2>" in page
    assert "estimate" in page


def test_a_coded_student_is_taken_as_a_teacher(run, tmp_path, capsys):
    assert main(["cost", str(run / "student.npkz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["arithmetic"] == "int8"


@pytest.mark.parametrize("words", ["int8,neurons", "banana", "neurons,neurons"])
def test_an_order_that_makes_no_sense_is_refused_before_anything_is_written(words, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["compress", "--data", str(stored(tmp_path / "d.npz")), "--steps", words, "--out", str(out)]) == 2
    assert "steps: got" in capsys.readouterr().err
    assert not out.exists()
