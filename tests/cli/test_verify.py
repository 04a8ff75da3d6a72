"""npkd verify: five kinds of run have equal bytes when they are repeated; what was changed is named."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from npkd.cli import verify
from npkd.cli.main import main
from npkd.core.files import read_npz, write_npz
from tests.cli.test_output import ENVIRONMENT
from tests.tiny import Stop, stored, tree, undrawn, words

KINDS = {
    "perceptron": (["compress", "--hidden", "8,6", "--epochs", "2", "--target", "macs=40%"],
                   "seed = 0", "seed = 3", "--seed is 3"),
    "LeNet-5": (["compress", "--network", "lenet5", "--epochs", "1", "--target", "macs=50%"],
                'target = "macs=50%"', 'target = "macs=60%"', "--target is 'macs=60%'"),
    "sparse training": (["train", "--penalty", "inputs=0.002,neurons=0.002", "--hidden", "8,6", "--epochs", "2"],
                        "neurons=0.002", "neurons=0.003", "--penalty is 'inputs=0.002,neurons=0.003'"),
    "distil": (["distil", "--hidden", "6,5", "--epochs", "2", "--temperature", "3"],
               "temperature = 3.0", "temperature = 4", "--temperature is 4.0"),
    "chain": (["compress", "--steps", "neurons,weights,int8,code", "--hidden", "8,6", "--epochs", "2", "--target",
               "parameters=40%"], '"int8"', '"int4"', "--steps is ('neurons', 'weights', 'int4', 'code')"),
}


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch):
    undrawn(monkeypatch)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a run of each kind, by name."""
    folder = tmp_path_factory.mktemp("verify")
    with pytest.MonkeyPatch.context() as patch:
        undrawn(patch)
        small, pictures = stored(folder / "data.npz"), stored(folder / "pictures.npz", shape=(16, 16))
        for kind, (given, *_) in KINDS.items():
            more = ["--teacher", str(folder / "perceptron" / "student.npz")] * (kind == "distil")
            data = pictures if kind == "LeNet-5" else small
            assert main([*given, *more, "--data", data, "--out", str(folder / kind), "--quiet"]) == 0
    return folder


def verified(capsys, folder, *more):
    """Exit code and what --json says of a run."""
    capsys.readouterr()
    code = main(["verify", str(folder), "--json", "--quiet", *more])
    out, err = capsys.readouterr()
    assert err == ""
    return code, json.loads(out)


def copied(run, folder):
    """The files of a run in another folder."""
    folder.mkdir()
    for path in run.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def replaced(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_run_has_equal_bytes(runs, capsys, kind):
    before = tree(runs / kind)
    code, said = verified(capsys, runs / kind)
    assert (code, said["equal"], said["ok"]) == (0, True, True)
    networks = {name for name in before if name.endswith((".npz", ".npkz"))}
    assert set(said["files"]) == networks | {"history.jsonl", "summary.json"}
    assert len(networks) >= 2
    assert all(said["files"].values())
    assert (said["made_with"], said["differences"]) == ([], [])
    assert tree(runs / kind) == before


@pytest.mark.parametrize("kind", KINDS)
def test_an_option_that_was_changed_is_named(runs, tmp_path, capsys, kind):
    _, old, new, words_of_it = KINDS[kind]
    run = copied(runs / kind, tmp_path / "run")
    replaced(run / "config.toml", old, new)
    code, said = verified(capsys, run)
    assert (code, said["equal"], said["files"]) == (1, False, {})
    assert len(said["differences"]) == 1
    assert said["differences"][0].startswith(f"{words_of_it} in config.toml, and ")


def test_a_weight_a_number_and_a_file_that_are_others_are_named(runs, tmp_path, capsys):
    run = copied(runs / "perceptron", tmp_path / "run")
    header, arrays = read_npz(run / "student.npz", "network")
    name = next(name for name, a in arrays.items() if a.dtype.kind == "f")
    arrays[name].flat[0] += 1e-6
    write_npz(run / "student.npz", header, arrays)
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"agreement": 0.5, "seconds": 1e6, "latency": {}}))
    (run / "teacher.npz").unlink()
    code, said = verified(capsys, run)
    assert code == 1
    assert said["files"] == {"teacher.npz": False, "student.npz": False, "history.jsonl": True, "summary.json": False}
    assert said["differences"][:2] == ["teacher.npz is missing in the run", "student.npz differs"]
    assert said["differences"][2].startswith("summary.json.agreement was 0.5, is ")
    assert len(said["differences"]) == 3
    assert main(["verify", str(run), "--quiet"]) == 1
    out = capsys.readouterr().out
    assert "history.jsonl  equal, but for times\n" in out
    assert "student.npz    differs\n" in out
    assert out.endswith(": NOT equal.\n")


def test_other_data_and_another_teacher_of_the_same_names_are_named(runs, tmp_path, capsys):
    run = copied(runs / "distil", tmp_path / "run")
    (tmp_path / "other").mkdir()
    stored(tmp_path / "other" / "data.npz", seed=1)
    replaced(run / "config.toml", f'data = "{runs}/data.npz"', f'data = "{tmp_path}/other/data.npz"')
    code, said = verified(capsys, run)
    assert code == 1
    assert said["differences"][-1] == "data: the examples read are others than those of the run, by their checksums"
    assert said["files"]["data"] is False
    run = copied(runs / "distil", tmp_path / "again")
    other = copied(runs / "perceptron", tmp_path / "perceptron") / "student.npz"
    other.write_bytes((runs / "perceptron" / "teacher.npz").read_bytes())
    replaced(run / "config.toml", f'"{runs}/perceptron/student.npz"', f'"{other}"')
    code, said = verified(capsys, run)
    assert code == 1
    assert said["differences"][0] == "teacher.npz differs"


def made_elsewhere(run, **more):
    """The run as one of another NumPy, with a student of other numbers."""
    here = next(line for line in (run / "config.toml").read_text().splitlines() if line.startswith("numpy"))
    replaced(run / "config.toml", here, 'numpy = "2.0.0"')
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"student": summary["student"] | more}))
    return summary["student"]


def test_elsewhere_a_tolerance_is_promised_and_named(runs, tmp_path, capsys):
    run = copied(runs / "perceptron", tmp_path / "equal")
    student = made_elsewhere(run)
    code, said = verified(capsys, run)
    assert (code, said["equal"], len(said["made_with"])) == (0, True, 1)
    assert said["made_with"][0].startswith("made_with.numpy was '2.0.0', is ")
    run = copied(runs / "perceptron", tmp_path / "near")
    made_elsewhere(run, test_error=student["test_error"] + 1 / 40)
    code, said = verified(capsys, run)
    assert (code, said["equal"], said["ok"], said["beyond_tolerance"]) == (0, False, True, [])
    assert main(["verify", str(run), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "a tolerance is all that is promised:\nmade_with.numpy was '2.0.0', is " in out
    assert "Errors may differ by 3 standard deviations of a difference, macs by 5%:\nno network differs by more" in out
    assert out.endswith(": equal to the tolerance.\n")


@pytest.mark.parametrize("more", [{"test_error": 5.0}, {"validation_error": -5.0}, {"macs": 1000}], ids=str)
def test_elsewhere_more_than_the_tolerance_is_too_much(runs, tmp_path, capsys, more):
    run = copied(runs / "perceptron", tmp_path / "far")
    made_elsewhere(run, **more)
    code, said = verified(capsys, run)
    assert (code, said["ok"], len(said["beyond_tolerance"])) == (1, False, 1)
    assert said["beyond_tolerance"][0].startswith(f"student: {next(iter(more))} was ")
    assert main(["verify", str(run), "--quiet"]) == 1
    assert capsys.readouterr().out.endswith(": NOT equal.\n")


def test_a_run_that_went_on_is_verified_and_says_that_it_did(tmp_path, capsys):
    """Moved pictures get their logits in other batches there: their last bits are not promised."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("npkd.core.progress.NoProgress", lambda: Stop("teacher", 2))
        assert main(words(tmp_path, "--epochs", "3")) == 130
    assert main(["compress", "--resume", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    code, said = verified(capsys, tmp_path / "out")
    assert (code, said["equal"]) == (0, True)
    assert said["made_with"] == ["made_with.resumed was True, is False"]


def test_the_latest_run_where_none_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*words(tmp_path, "--out", "npkd-out-2", command="train")]) == 0
    assert main(["verify", "--quiet"]) == 0
    assert capsys.readouterr().out.endswith(": equal.\n")


@pytest.mark.parametrize(("spoil", "said"), [
    (lambda run: (run / "config.toml").unlink(), "config.toml: No such file"),
    (lambda run: (run / "summary.json").unlink(), "summary.json: No such file"),
    (lambda run: (run / "summary.json").write_text("[1"), "summary.json: no JSON"),
    (lambda run: (run / "summary.json").write_text("[1]"), "was made by None"),
    (lambda run: (run / "summary.json").write_text('{"command": "npkd fly --high"}'), "was made by 'npkd fly --high'"),
    (lambda run: (run / "config.toml").write_text("command = 3"), "command is 3"),
])
def test_what_is_no_run_is_refused_in_a_sentence(runs, tmp_path, capsys, spoil, said):
    run = copied(runs / "perceptron", tmp_path / "run")
    spoil(run)
    capsys.readouterr()
    assert main(["verify", str(run)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


def test_an_interrupt_leaves_nothing(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = tree(runs / "perceptron")
    monkeypatch.setattr("npkd.core.progress.NoProgress", lambda: Stop("round 2 of 5: layers", 1))
    capsys.readouterr()
    assert main(["verify", str(runs / "perceptron"), "--quiet"]) == 130
    assert capsys.readouterr().err == (f"npkd: interrupted; nothing was left behind, {runs / 'perceptron'} is as it "
                                       f"was\n")
    assert tree(tmp_path) == {}
    assert tree(runs / "perceptron") == before


def test_a_signal_leaves_nothing(runs, tmp_path):
    run = copied(runs / "perceptron", tmp_path / "run")
    for name, old, new in (("config.toml", "epochs = 2", "epochs = 100000"), ("summary.json", "--epochs 2",
                                                                             "--epochs 100000")):
        replaced(run / name, old, new)
    place = tmp_path / "temporary"
    place.mkdir()
    running = subprocess.Popen([sys.executable, "-W", "error", "-m", "npkd", "verify", str(run)], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT | {"TMPDIR": str(place)})
    patience = time.monotonic() + 60
    while not list(place.rglob("checkpoint.npz")) and time.monotonic() < patience:
        time.sleep(0.02)
    assert os.listdir(place)
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert "nothing was left behind" in err
    assert os.listdir(place) == []


def test_the_files_compared_are_networks_and_numbers():
    assert {"teacher.npz", "student.npkz", "student.onnx", "model.npz", "summary.json", "history.jsonl"} <= {
        *verify.COMPARED}
    assert not [name for name in verify.COMPARED if Path(name).suffix in (".png", ".html", ".toml")]
    assert "checkpoint.npz" not in verify.COMPARED
