"""What a run may write to: nothing that others made, or that was given, is replaced, an earlier run only when asked,
and never by half."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import npkd
from npkd.cli import folders, run
from npkd.cli.main import main
from npkd.cli.settings import Settings
from npkd.core.progress import NoProgress
from npkd.core.validation import InputError
from npkd.nn.model import Model
from npkd.nn.model import load as load_model
from npkd.nn.model import save as save_model
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.report import figures
from npkd.report.words import CAPTIONS
from tests.tiny import Stop, quick, stored, tree, undrawn, words


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch):
    undrawn(monkeypatch)


@pytest.fixture
def done(tmp_path):
    """A folder with data.npz and a finished training in out."""
    assert quick(tmp_path, command="train") == 0
    return tmp_path


def refused(capsys, arguments, *said):
    """The command ends with exit code 2 and one sentence."""
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    for word in said:
        assert word in err


# a folder that holds something

def test_a_folder_with_anything_in_it_is_refused(done, capsys):
    before = tree(done)
    for command in ("train", "compress"):
        refused(capsys, words(done, command=command), "out holds config.toml, figures, history.jsonl, …", "--overwrite")
    assert tree(done) == before | {"data.npz": tree(done)["data.npz"]}
    (done / "mine").mkdir()
    (done / "mine" / "notes.txt").write_text("notes")
    refused(capsys, words(done, "--out", str(done / "mine"), command="train"), "mine holds notes.txt;")
    (done / "empty").mkdir()
    assert quick(done, "--out", str(done / "empty"), command="train") == 0


def test_overwrite_replaces_no_files_of_others(done, capsys):
    """A user's own file with one of the names that npkd writes, also one that this run would not write."""
    for name in ("report.html", "summary.json", "model.npz", "history.jsonl", "figures/training.png", "student.npz"):
        path = done / "out" / name
        original = path.read_bytes() if path.exists() else None
        if path.suffix == ".npz":
            stored(path)
        else:
            path.write_text('{"mine": 1}')
        before = tree(done / "out")
        refused(capsys, words(done, "--overwrite", command="train"),
                f"{name} was not written by npkd and is not replaced")
        assert tree(done / "out") == before
        path.unlink() if original is None else path.write_bytes(original)


def test_overwrite_replaces_what_npkd_wrote_and_leaves_the_rest(done):
    (done / "out" / "notes.txt").write_text("mine")
    (done / "out" / "figures" / "mine.png").write_text("mine")
    before = tree(done / "out")
    assert quick(done, "--seed", "7", "--overwrite") == 0
    after = tree(done / "out")
    assert set(after) == set(before) - {"model.npz"} | {
        "teacher.npz", "student.npz",
        *(f"figures/{name}.png" for name in {"mean", *CAPTIONS} - {"balance", "cka", "pixels", "predicted"})}
    assert after["notes.txt"] == after["figures/mine.png"] == b"mine"
    assert after["summary.json"] != before["summary.json"]


def test_a_file_where_a_folder_is_made_is_refused_before_the_work(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "figures").write_text("mine")
    refused(capsys, words(tmp_path, "--overwrite"), "figures is a file, where a run makes a folder")


@pytest.mark.parametrize(("stage", "step"), [("teacher", 0), ("teacher", 1), ("round 3 of 5: layers", 1),
                                             ("figures and report", 0)])
def test_an_earlier_run_is_whole_until_the_next_is_done(done, stage, step):
    before = tree(done / "out")
    asked = Settings(data=str(done / "data.npz"), out=str(done / "out"), hidden=(8, 6), epochs=2, target="macs=40%",
                     overwrite=True, seed=3)
    with pytest.raises(KeyboardInterrupt):
        run.run(asked, Stop(stage, step))
    after = tree(done / "out")
    assert {name: content for name, content in after.items() if not name.startswith("unfinished")} == before
    if step or stage == "figures and report":
        assert main(["compress", "--resume", "--out", str(done / "out"), "--quiet"]) == 0
        assert sorted(p.name for p in (done / "out").iterdir()) == [
            "config.toml", "figures", "history.jsonl", "report.html", "student.npz", "summary.json", "teacher.npz"]
    else:
        assert after == before


def test_a_run_that_was_broken_off_is_named_and_can_be_replaced(tmp_path, capsys):
    asked = Settings(data=stored(tmp_path / "data.npz"), out=str(tmp_path / "out"), hidden=(8, 6), epochs=3)
    with pytest.raises(KeyboardInterrupt):
        run.run(asked, Stop("teacher", 2))
    refused(capsys, words(tmp_path), "out holds checkpoint.npz", "--resume")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run.run(Settings(data=asked.data, out=asked.out, hidden=(8, 6), epochs=3, overwrite=True),
                    Stop("teacher", 1))
    assert quick(tmp_path, "--overwrite") == 0
    assert not (tmp_path / "out" / "unfinished").exists()
    assert not (tmp_path / "out" / "checkpoint.npz").exists()


# a file that was given

def given_network(path):
    rng = np.random.default_rng(0)
    layers = [dense_layer(16, 8, rng, np.float64), Layer("relu"), Layer("dropout", options={"rate": 0.5}),
              dense_layer(8, 3, rng, np.float64)]
    save_model(path, Model(Network(layers)))
    return path


@pytest.mark.parametrize("option", ["--teacher", "--distil-from"])
@pytest.mark.parametrize("name", ["teacher.npz", "student.npz", "link.npz"])
def test_a_file_that_was_given_is_never_written(tmp_path, capsys, option, name):
    path = given_network(tmp_path / "teacher.npz")
    if name == "student.npz":
        path = path.rename(tmp_path / name)
    elif name == "link.npz":
        (tmp_path / name).symlink_to(path)
    before = tree(tmp_path)
    arguments = ["compress", option, str(tmp_path / name), "--epochs", "1", "--out", str(tmp_path)]
    refused(capsys, arguments, "holds", "--overwrite")
    refused(capsys, [*arguments, "--overwrite"], f"{path} is given as {option} and would be replaced")
    assert tree(tmp_path) == before


def test_a_given_file_with_another_name_may_lie_in_the_folder(tmp_path):
    path = given_network(tmp_path / "mine.npz")
    before = path.read_bytes()
    assert main(["compress", "--data", stored(tmp_path / "data.npz"), "--teacher", str(path), "--epochs", "1",
                 "--target", "macs=50%", "--out", str(tmp_path), "--overwrite", "--quiet"]) == 0
    assert path.read_bytes() == before == (tmp_path / "teacher.npz").read_bytes()
    network = load_model(tmp_path / "teacher.npz").network
    assert network.layers[0].params[0].dtype == np.float64
    assert network.layers[2].op == "dropout"


# two runs

def test_a_second_run_in_the_folder_is_refused(tmp_path, capsys):
    asked = Settings(data=stored(tmp_path / "data.npz"), out=str(tmp_path / "out"), hidden=(8, 6), epochs=2)

    class Second(NoProgress):
        codes = ()

        def begin(self, stage, steps):
            if stage == "teacher":
                second = words(tmp_path, "--seed", "1")
                self.codes = [main(second), main([*second, "--overwrite"]),
                              main(["compress", "--resume", "--out", asked.out])]

    progress = Second()
    run.run(asked, progress)
    assert progress.codes == [2, 2, 2]
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("npkd: ")]
    assert len(errors) == 3
    assert "out holds checkpoint.npz" in errors[0]
    assert all("another run of npkd is writing to" in line for line in errors[1:])


def test_two_runs_that_begin_at_once(tmp_path):
    """Both find the folder empty; one of them gets it."""
    data, codes = stored(tmp_path / "data.npz"), []
    threads = [threading.Thread(target=lambda: codes.append(outcome(tmp_path, data))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [False, True]


def outcome(folder, data):
    try:
        run.run(Settings(command="train", data=data, out=str(folder / "out"), hidden=(8, 6), epochs=50), NoProgress())
    except InputError:
        return False
    return True


def test_what_a_killed_run_left_half_written_is_taken_away(tmp_path):
    asked = Settings(data=stored(tmp_path / "data.npz"), out=str(tmp_path / "out"), hidden=(8, 6), epochs=3)
    with pytest.raises(KeyboardInterrupt):
        run.run(asked, Stop("teacher", 2))
    (tmp_path / "out" / f".{'0a' * 16}.tmp").write_text("half")
    (tmp_path / "out" / folders.LOCK).write_text("")
    (tmp_path / "out" / ".mine.tmp").write_text("mine")
    assert main(["compress", "--resume", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.name.startswith(".")) == [".mine.tmp"]


# the default folder

def test_the_default_folder_is_the_first_that_is_free(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "--data", stored(tmp_path / "data.npz"), "--hidden", "4", "--epochs", "1"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "Read npkd-out/report.html" in out.replace(os.sep, "/")
    assert "npkd-out" not in err
    (tmp_path / "npkd-out-2").write_text("a file")
    (tmp_path / "npkd-out-3").mkdir()
    before = tree(tmp_path / "npkd-out")
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "Read npkd-out-3/report.html" in out.replace(os.sep, "/")
    assert "\nnpkd: npkd-out is not free; this run is written to npkd-out-3\ntraining: " in err
    assert tree(tmp_path / "npkd-out") == before
    assert main([*arguments, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert (tmp_path / "npkd-out-4" / "summary.json").exists()
    for wrong in (["--data", "none.npz"], ["--dropout", "2"]):             # nothing is written, so no folder is named
        refused(capsys, [*arguments, *wrong])
    monkeypatch.setattr(figures, "require", lambda: (_ for _ in ()).throw(InputError("drawing: pip install it")))
    refused(capsys, arguments, "npkd: drawing")
    assert not (tmp_path / "npkd-out-5").exists()


def test_report_takes_the_latest(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report"]) == 2
    assert "no folder npkd-out… with summary.json is here" in capsys.readouterr().err
    arguments = ["train", "--data", stored(tmp_path / "data.npz"), "--hidden", "4", "--epochs", "1", "--quiet"]
    for _ in range(2):
        assert main(arguments) == 0
    (tmp_path / "npkd-outside").mkdir()
    (tmp_path / "npkd-outside" / "summary.json").write_text("{}")
    capsys.readouterr()
    assert main(["report"]) == 0
    assert "npkd-out-2" in capsys.readouterr().out
    os.utime("npkd-out/summary.json", ns=(2**62, 2**62))
    assert main(["report"]) == 0
    assert "npkd-out-2" not in capsys.readouterr().out


def test_report_replaces_no_page_of_others(done, capsys):
    (done / "out" / "report.html").write_text("notes")
    refused(capsys, ["report", str(done / "out")], "report.html was not written by npkd and is not replaced")
    assert (done / "out" / "report.html").read_text() == "notes"


def test_figures_say_that_npkd_drew_them(done, monkeypatch):
    monkeypatch.undo()
    figure = figures.canvas("a figure", 1)
    (done / "out" / "figures" / "training.png").write_bytes(figures.png(figure))
    assert folders.written_by_npkd(done / "out" / "figures" / "training.png")
    figure.savefig(done / "out" / "figures" / "training.png")
    assert not folders.written_by_npkd(done / "out" / "figures" / "training.png")


def test_a_folder_that_cannot_be_read(tmp_path, capsys, monkeypatch):
    (tmp_path / "out").mkdir()

    def listdir(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", listdir)
    refused(capsys, words(tmp_path), "out: Permission denied")


def test_perceptrons_of_the_first_version_are_npkds(tmp_path):
    save_model(tmp_path / "tutor.npz", Model(perceptron([4, 2], np.random.default_rng(0))))
    assert folders.written_by_npkd(tmp_path / "tutor.npz")
    assert folders.present(tmp_path) == [tmp_path / "tutor.npz"]


def test_the_lock_ends_with_the_process(tmp_path):
    """A process that is killed in the middle of a run: the folder is free for --resume and --overwrite at once."""
    code = ("import os, signal, sys\nfrom npkd.cli import run\nfrom npkd.cli.settings import Settings\n"
            "class Kill:\n    def begin(self, stage, steps): self.stage = stage\n"
            "    def step(self, note, record=None):\n"
            "        if self.stage == 'teacher': os.kill(os.getpid(), signal.SIGKILL)\n"
            "run.run(Settings(data=sys.argv[1], out=sys.argv[2], hidden=(8, 6), epochs=2), Kill())")
    data, out = stored(tmp_path / "data.npz"), str(tmp_path / "out")
    environment = {**os.environ, "PYTHONPATH": str(Path(npkd.__file__).parent.parent), "OPENBLAS_NUM_THREADS": "1"}
    assert subprocess.run([sys.executable, "-c", code, data, out], env=environment, check=False).returncode == -9
    assert sorted(os.listdir(out)) == [folders.LOCK, "checkpoint.npz"]
    assert main(["compress", "--resume", "--out", out, "--quiet"]) == 0
    assert sorted(os.listdir(out)) == ["config.toml", "figures", "history.jsonl", "report.html", "student.npz",
                                       "summary.json", "teacher.npz"]
