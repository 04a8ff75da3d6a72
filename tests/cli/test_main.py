"""The command line: everything wrong that a user can give is one sentence and exit code 2, and leaves nothing half
done."""

import errno
import gzip
import os
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import npkd
from npkd.cli import check, prepare, shards
from npkd.cli.main import main
from npkd.cli.settings import Settings
from npkd.core.files import read_npz, write_npz
from npkd.core.validation import InputError
from npkd.data.datasets import from_arrays, load, split
from npkd.data.idx import PARTS
from npkd.interop.adapt import rescaled
from npkd.nn.model import Model
from npkd.nn.model import load as load_model
from npkd.nn.model import save as save_model
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.nn.scaling import Scaling
from npkd.pipeline import stages
from npkd.pipeline.recipe import Recipe, complete
from npkd.sparsity.group_lasso import Problem
from npkd.sparsity.penalties import L1, NeuronGroups
from npkd.sparsity.statistics import Statistics
from tests.tiny import Stop, arrays, quick, stored, tree, undrawn, words


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch):
    """Drawing is most of the time of a quick run, and looked at elsewhere."""
    undrawn(monkeypatch)


def one_sentence(capsys, *said):
    """Exactly one line on stderr, from npkd, with the words; nothing on stdout."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("npkd: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert len(err) < 600
    for word in said:
        assert word in err, err


def teacher(folder, network=None, scaling=None, name="teacher.npz"):
    save_model(folder / name, Model(network or perceptron([16, 8, 3], np.random.default_rng(0)), scaling))
    return str(folder / name)


def with_teacher(folder, path, *more):
    return ["compress", "--data", stored(folder / "data.npz"), "--teacher", path, "--epochs", "1", "--out",
            str(folder / "out"), *more]


def changed(key, function):
    """Arguments of a run whose array ``key`` was changed."""
    def make(folder):
        return words(folder, data=stored(folder / "bad.npz", {key: function(arrays()[key])}))
    return make


def several(**functions):
    def make(folder):
        return words(folder, data=stored(folder / "bad.npz", {key: f(arrays()[key]) for key, f in functions.items()}))
    return make


def put(value, place=(3, 1, 1)):
    """The array as floats, with one entry changed."""
    def function(x):
        x = x.astype(np.float64)
        x[place] = value
        return x
    return function


def raw(content, name="bad.npz"):
    """Arguments of a run whose data file holds these bytes."""
    def make(folder):
        (folder / name).write_bytes(content)
        return words(folder, data=str(folder / name))
    return make


def cut(share):
    """Arguments of a run whose data file was cut off."""
    def make(folder):
        whole = Path(stored(folder / "bad.npz")).read_bytes()
        return raw(whole[:int(len(whole) * share)])(folder)
    return make


def pickled(folder):
    np.savez(folder / "bad.npz", **arrays() | {"y_train": np.array([{"a": 1}] * 120, dtype=object)})
    return words(folder, data=str(folder / "bad.npz"))


def idx(name, skip=None, spoil=None):
    """Arguments of a run on a folder of IDX files, one of them missing or spoiled."""
    def make(folder):
        (folder / name).mkdir()
        for part, a in zip(PARTS, arrays().values(), strict=True):
            header = bytes([0, 0, 8, a.ndim]) + b"".join(n.to_bytes(4, "big") for n in a.shape)
            content = gzip.compress(header + a.astype(np.uint8).tobytes())
            if part != skip:
                (folder / name / f"{part}.gz").write_bytes(content[:-30] if part == spoil else content)
        return words(folder, data=str(folder / name))
    return make


def option(*more):
    return lambda folder: words(folder, *more)


def network_file(network, *more):
    return lambda folder: with_teacher(folder, teacher(folder, network()), *more)


def cut_teacher(folder):
    path = Path(teacher(folder))
    path.write_bytes(path.read_bytes()[:-300])
    return with_teacher(folder, str(path))


def lost_array(folder):
    header, content = read_npz(teacher(folder), "network")
    del content["0.w"]
    write_npz(folder / "teacher.npz", header, content)
    return with_teacher(folder, str(folder / "teacher.npz"))


def file_in_the_way(folder):
    (folder / "file").write_text("mine")
    return words(folder, "--out", str(folder / "file"))


def file_above(folder):
    (folder / "file").write_text("mine")
    return words(folder, "--out", str(folder / "file" / "below"))


RNG = np.random.default_rng(0)
WRONG = {
    # commands and options
    "no command": (lambda folder: [], "compress, train, distil, export, cost, check, reproduce, report, verify"),
    "unknown command": (lambda folder: ["distill"],
                        "compress, train, distil, export, cost, check, reproduce, report, verify"),
    "an option for a command": (lambda folder: ["--seed", "3"], "--help"),
    "unknown option": (option("--lambda", "3"), "--lambda"),
    "one word too many": (option("digits"), "digits"),
    "an option shortened": (option("--targ", "macs=10%"), "--targ"),
    "an option without its value": (option("--seed"), "--seed"),
    "option of another command": (lambda folder: words(folder, "--target", "macs=3", command="train"), "--target"),
    "report on nothing": (lambda folder: ["report", str(folder / "nothing")], "No such file"),
    "epochs 0 of a training": (lambda folder: words(folder, "--epochs", "0", command="train"), "--epochs",
                               "at least 1"),
    "epochs negative": (option("--epochs", "-3"), "--epochs", "at least 0"),
    "epochs a word": (option("--epochs", "many"), "--epochs", "many"),
    "epochs a fraction": (option("--epochs", "1.5"), "--epochs", "whole number"),
    "seed negative": (option("--seed", "-1"), "--seed", "at least 0"),
    "seed a word": (option("--seed", "x"), "--seed", "whole number"),
    "seed beyond bounds": (option("--seed", "9" * 5000), "--seed", "at most"),
    "hidden empty": (option("--hidden", ""), "--hidden", "300,100"),
    "hidden 0": (option("--hidden", "0"), "--hidden", "300,100"),
    "hidden a word": (option("--hidden", "wide,deep"), "--hidden", "300,100"),
    "hidden with a hole": (option("--hidden", "30,,10"), "--hidden", "300,100"),
    "hidden beyond bounds": (option("--hidden", "30000000000000000000"), "--hidden", "1000000"),
    "dropout 1": (lambda folder: words(folder, "--dropout", "1", command="train"), "--dropout", "below 1"),
    "dropout nan": (lambda folder: words(folder, "--dropout", "nan", command="train"), "--dropout", "below 1"),
    "unknown activation": (lambda folder: words(folder, "--activation", "step", command="train"), "relu", "tanh",
                           "sigmoid"),
    # data
    "unknown data": (option("--data", "mnits"), "digits", "mnist", "fashion-mnist"),
    "data without a name": (option("--data", ""), "digits", "mnist"),
    "missing file": (option("--data", "/nowhere/d.npz"), "/nowhere/d.npz", "No such file"),
    "empty folder": (lambda folder: words(folder, data=str(folder)), PARTS[0]),
    "truncated": (cut(0.6), "truncated"),
    "cut to its beginning": (cut(0.01), "truncated"),
    "empty file": (raw(b""), "is empty"),
    "text file": (raw(b"1,2,3\n", "bad.csv"), "bad.csv"),
    "foreign npz": (lambda folder: words(folder, data=teacher(folder)), "x_train", "y_test"),
    "array missing": (changed("y_test", lambda y: None), "y_test"),
    "pickled objects": (pickled, "y_train", "objects"),
    "NaN in x_train": (changed("x_train", put(np.nan)), "(3, 1, 1)", "nan"),
    "NaN in x_test": (changed("x_test", put(np.nan)), "x_test", "nan"),
    "infinity in x_train": (changed("x_train", put(np.inf)), "inf"),
    "beyond float32": (changed("x_train", lambda x: x * 1e300 * np.arange(120.0)[:, None, None]), "float32"),
    "labels out of range": (changed("y_train", lambda y: y * 1000), "y_train", "classes"),
    "labels of the test out of range": (changed("y_test", lambda y: y + 5), "y_test", "classes"),
    "labels negative": (changed("y_train", lambda y: y - 1), "y_train", "-1"),
    "labels float": (changed("y_train", lambda y: y.astype(float)), "y_train", "of one kind"),
    "numbers not finite": (several(y_train=lambda y: (y + 1) * np.inf, y_test=lambda y: y / 2), "y_train", "finite"),
    "one number only": (several(y_train=lambda y: y * 0.0, y_test=lambda y: y / 2), "number 0.0 alone"),
    "labels in words": (changed("y_train", lambda y: y.astype(str)), "y_train", "integers"),
    "labels one-hot": (changed("y_train", lambda y: np.eye(3, dtype=int)[y]), "y_train", "(120,)"),
    "one class only": (changed("y_train", lambda y: y * 0), "class 0 alone"),
    "no training examples": (several(x_train=lambda x: x[:0], y_train=lambda y: y[:0]), "x_train", "at least one"),
    "no test examples": (several(x_test=lambda x: x[:0], y_test=lambda y: y[:0]), "x_test", "at least one"),
    "no features": (several(x_train=lambda x: x[:, :0], x_test=lambda x: x[:, :0]), "at least one"),
    "too few examples": (several(x_train=lambda x: x[:5], y_train=lambda y: y[:5]), "at least 10"),
    "lengths differ": (changed("y_train", lambda y: y[:-1]), "(119,)", "(120,)"),
    "lengths of the test differ": (changed("x_test", lambda x: x[:-1]), "(39,)"),
    "complex x": (changed("x_train", lambda x: x.astype(complex)), "complex"),
    "words in x": (changed("x_train", lambda x: x.astype(str)), "numbers"),
    "x a number": (changed("x_train", lambda x: np.array(3.0)), "x_train"),
    "shapes differ": (changed("x_test", lambda x: x[:, :3]), "(4, 4)", "(3, 4)"),
    "all inputs alike": (several(x_train=lambda x: x * 0, x_test=lambda x: x * 0), "range"),
    "IDX folder incomplete": (idx("folder", skip=PARTS[2]), PARTS[2]),
    "truncated gz": (idx("folder", spoil=PARTS[0]), "truncated"),
    # targets
    "target of unknown kind": (option("--target", "flops=10"), "macs", "neurons", "parameters", "bytes", "error"),
    "target empty": (option("--target", ""), "macs", "error"),
    "target without equals": (option("--target", "macs"), "macs=N"),
    "target without number": (option("--target", "macs="), "positive number"),
    "target a word": (option("--target", "macs=few"), "positive number"),
    "target negative": (option("--target", "macs=-5"), "positive number"),
    "target zero": (option("--target", "neurons=0"), "positive number"),
    "target nan": (option("--target", "bytes=nan"), "positive number"),
    "target infinite": (option("--target", "bytes=inf"), "positive number"),
    "target above the teacher": (option("--target", "macs=195"), "194"),
    "target above 100 %": (option("--target", "macs=101%"), "194"),
    "target below the smallest": (option("--target", "macs=4"), "smallest", "5"),
    "target below the smallest with all inputs": (option("--target", "macs=19", "--keep-inputs"), "smallest", "20"),
    "error without number": (option("--target", "error=+"), "positive number"),
    "error in percent": (option("--target", "error=5%"), "positive number"),
    "error negative": (option("--target", "error=-1"), "positive number"),
    # teachers
    "teacher missing": (lambda folder: with_teacher(folder, str(folder / "none.npz")), "none.npz", "No such file"),
    "teacher a folder": (lambda folder: with_teacher(folder, str(folder)), "Is a directory"),
    "teacher of other width": (network_file(lambda: perceptron([15, 8, 3], RNG)), "15 inputs", "16"),
    "teacher of other classes": (network_file(lambda: perceptron([16, 8, 4], RNG)), "4 classes", "3"),
    "teacher that selects beyond": (
        network_file(lambda: Network([Layer("select", options={"kept": [0, 16]}), dense_layer(2, 3, RNG)])),
        "17 inputs", "16"),
    "teacher with another scaling": (
        lambda folder: with_teacher(folder, teacher(folder, scaling=Scaling.range(0, 1, 16)).replace("teacher",
                                                                                                     "nope")), "nope"),
    "teacher that is no network": (lambda folder: with_teacher(folder, stored(folder / "t.npz")), "t.npz", "npkd"),
    "teacher truncated": (cut_teacher, "truncated"),
    "teacher that lost an array": (lost_array, "teacher.npz"),
    "teacher with NaN": (network_file(lambda: Network([Layer("dense", (np.full((3, 16), np.nan), np.zeros(3)))])),
                         "not finite"),
    "teacher beyond float32": (network_file(lambda: Network([Layer("dense", (np.full((3, 16), 1e300), np.zeros(3)))])),
                               "float32"),
    "teacher of maxout": (network_file(lambda: Network([
        dense_layer(16, 8, RNG), Layer("maxout", options={"pieces": 2}), dense_layer(4, 3, RNG)])), "maxout"),
    "teacher that ends between dense layers": (network_file(lambda: Network([
        dense_layer(16, 8, RNG), Layer("flatten"), dense_layer(8, 3, RNG)])), "flatten"),
    "teacher with a batch norm without moments": (network_file(lambda: Network([
        dense_layer(16, 8, RNG), Layer("batch_norm", (np.ones(8, np.float32), np.zeros(8, np.float32))),
        dense_layer(8, 3, RNG)])), "layer 1 (batch_norm) without running moments", "it needs the mean and variance"),
    "teacher without weights": (network_file(lambda: Network([Layer("gate", (np.ones(16),))])), "no dense layer"),
    "distil_from without weights": (lambda folder: with_teacher(
        folder, teacher(folder), "--distil-from",
        teacher(folder, Network([Layer("gate", (np.ones(16),))]), name="distil_from.npz")), "no dense layer"),
    "distil_from for other sizes of numbers": (lambda folder: with_teacher(
        folder, teacher(folder), "--distil-from",
        teacher(folder, scaling=Scaling.range(0, 1e-38, 16), name="distil_from.npz")),
        "distil_from", "beyond float32"),
    "distil_from missing": (lambda folder: with_teacher(folder, teacher(folder), "--distil-from",
                                                        str(folder / "none.npz")),
                      "none.npz", "No such file"),
    "distil_from of other classes": (lambda folder: with_teacher(
        folder, teacher(folder), "--distil-from", teacher(folder, perceptron([16, 8, 4], RNG), name="distil_from.npz")),
        "distil_from",
        "4 classes", "3"),
    "distil_from of other width": (lambda folder: with_teacher(
        folder, teacher(folder), "--distil-from", teacher(folder, perceptron([15, 8, 3], RNG), name="distil_from.npz")),
        "distil_from",
        "15 inputs", "16"),
    "teacher and hidden widths": (lambda folder: with_teacher(folder, teacher(folder), "--hidden", "5"), "one of them"),
    # the folder
    "out is a file": (file_in_the_way, "file is a file; name a folder"),
    "out is below a file": (file_above, "below", "Not a directory"),
    "out cannot be made": (option("--out", "/proc/npkd-out"), "/proc/npkd-out"),
    "out has too long a name": (option("--out", "x" * 300), "too long"),
}


@pytest.mark.parametrize(("make", "said"), [(make, said) for make, *said in WRONG.values()], ids=WRONG)
def test_wrong_input_is_one_sentence_and_leaves_nothing(tmp_path, capsys, make, said):
    arguments = make(tmp_path)
    before = tree(tmp_path)
    assert main(arguments) == 2
    one_sentence(capsys, *said)
    assert tree(tmp_path) == before                         # not even the folder was made


def test_there_are_enough_wrong_inputs():
    assert len(WRONG) >= 45


@pytest.mark.parametrize("wrong", [
    lambda: L1(-1.0), lambda: NeuronGroups(lam=-0.5), lambda: NeuronGroups(lam=float("nan")),
    lambda: Recipe(learning_rate=-1.0), lambda: Recipe(adversarial_eps=-1.0),
    lambda: Recipe(rounds=0), lambda: Recipe(hidden=()), lambda: Recipe(epochs=0, round_epochs=1),
    lambda: Recipe(epochs=-1), lambda: Recipe(round_epochs=-1), lambda: Recipe(clip=0.0), lambda: Recipe(rounds=2.0),
    lambda: Problem(Statistics.of(np.ones((3, 2)), np.ones((3, 1)))).solve(-1.0), lambda: split(np.arange(4), 0.9, RNG),
    lambda: from_arrays("d", list(arrays().values()), seed=-1), lambda: Settings(seed=-2),
])
def test_python_refuses_in_one_sentence_too(wrong):
    with pytest.raises(InputError) as caught:
        wrong()
    assert "\n" not in str(caught.value)
    assert ":" in str(caught.value)


# a full disk, a run that diverges, no memory

WRITTEN = ["checkpoint.npz", "teacher.npz", "student.npz", "history.jsonl", "summary.json", "figures/training.png",
           "figures/mean.png", "figures/size.png", "config.toml", "report.html"]


def whole_files(folder):
    """Names of the files below a folder; networks must load, nothing temporary may be there."""
    left = {name for name, content in tree(folder).items() if content is not None}
    assert not [name for name in left if name.endswith(".tmp")]
    for name in left:
        if name == "checkpoint.npz":
            read_npz(folder / name, "checkpoint")
        elif name.endswith(".npz"):
            load_model(folder / name)
    return left


@pytest.mark.parametrize("name", WRITTEN)
def test_a_full_disk_at_each_file(tmp_path, capsys, monkeypatch, name):
    real = os.replace

    def replace(source, target):
        if str(target).endswith(name):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    assert quick(tmp_path) == 2
    one_sentence(capsys, "No space left on device", str(tmp_path / "out"), name)
    left = whole_files(tmp_path / "out")
    assert name not in left
    # the history is begun before the student
    first = {"checkpoint.npz": 0, "teacher.npz": 0, "student.npz": 1, "history.jsonl": 1}
    assert {"teacher.npz", "student.npz"} & left == set(["teacher.npz", "student.npz"][:first.get(name, 2)])


@pytest.mark.parametrize("number", [1, 2, 3, 7, 14])
def test_a_disk_that_fills_up(tmp_path, capsys, monkeypatch, number):
    real, count = os.fsync, [0]

    def fsync(descriptor):
        count[0] += 1
        if count[0] >= number:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        assert quick(tmp_path) == 2
    assert count[0] == number                               # it stopped at once
    one_sentence(capsys, "No space left on device")
    assert len(whole_files(tmp_path / "out")) <= number - 1
    assert quick(tmp_path, "--overwrite") == 0              # and with room again it works


def test_a_full_disk_leaves_an_earlier_run_whole(tmp_path, capsys, monkeypatch):
    assert quick(tmp_path) == 0
    before = tree(tmp_path / "out")
    capsys.readouterr()

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert quick(tmp_path, "--seed", "5", "--overwrite") == 2
    one_sentence(capsys, "No space left on device")
    assert tree(tmp_path / "out") == before


@pytest.mark.parametrize("command", ["compress", "train"])
def test_a_run_that_diverges(tmp_path, capsys, monkeypatch, command):
    monkeypatch.setattr(prepare, "complete", lambda *a, **b: replace(complete(*a, **b), learning_rate=1e30))
    assert quick(tmp_path, "--epochs", "5", command=command) == 2
    one_sentence(capsys, "diverged in epoch 1", "layer", "lower the learning rate")
    assert tree(tmp_path / "out") == {}


def test_a_distillation_that_diverges_leaves_the_teacher(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(prepare, "complete", lambda *a, **b: replace(complete(*a, **b), student_learning_rate=1e39))
    assert main(with_teacher(tmp_path, teacher(tmp_path), "--target", "macs=40%", "--epochs", "3", "--quiet")) == 2
    one_sentence(capsys, "diverged")
    assert load_model(tmp_path / "out" / "teacher.npz").network.widths == [16, 8, 3]
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("error", [MemoryError(), MemoryError("Unable to allocate 8 TiB")])
def test_no_memory(tmp_path, capsys, monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(stages, "perceptron", fail)
    assert quick(tmp_path) == 2
    one_sentence(capsys, "not enough memory", str(error))


def test_warnings_of_floating_point_do_not_leak(tmp_path, capsys, monkeypatch):
    def load(*arguments, **options):
        raise InputError(f"it overflowed: {np.exp(np.float32(1000))}; it must not")

    monkeypatch.setattr(shards, "load_data", load)       # under pytest -W error a warning would be an error of its own
    assert main(["compress", "--out", str(tmp_path / "out")]) == 2
    one_sentence(capsys, "overflowed: inf")


# what goes right

def test_the_table_at_the_end(tmp_path, capsys):
    assert quick(tmp_path, "--epochs", "5") == 0
    out, err = capsys.readouterr()
    assert err == ""                                        # quiet
    for word in ("teacher", "student", "16-8-6-3", "test error", "multiply-accumulates", "194", "points", "report.html",
                 "duality gap"):
        assert word in out
    assert out.isascii()
    assert max(len(line) for line in out.splitlines() if "report" not in line) <= 80
    assert quick(tmp_path, "--overwrite", command="train") == 0
    assert "16-8-6-3: 194 multiply-accumulates, test error" in capsys.readouterr().out


def test_one_line_a_stage_where_stderr_is_no_terminal(tmp_path, capsys):
    assert main([word for word in words(tmp_path) if word != "--quiet"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        "reading the data", "teacher", "teacher and examples",
        *(f"round {r} of 5" for r in (1, 1, 2, 2, 3, 3, 4, 4, 5)), "final distillation",
        "figures and report"]
    assert "1/1, 108 examples" in lines[0]
    assert "validation error" in lines[1]
    assert all(line.endswith(" s)") for line in lines)


def test_bars_where_it_is_one(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main([word for word in words(tmp_path) if word != "--quiet"]) == 0
    out, err = capsys.readouterr()
    for stage in ("teacher", "round 1 of 5: layers", "round 4 of 5: distillation", "final distillation",
                  "figures and report"):
        assert stage in err
    assert "1/1" in err
    assert "7/7" in err
    assert err.endswith("\n")
    assert "\r" not in out


def test_an_unfinished_stage_has_no_line(tmp_path, capsys):
    def broken(*arguments, **options):
        raise InputError("surgery: it broke; it must not")

    arguments = [word for word in words(tmp_path) if word != "--quiet"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "distil", broken)
        assert main(arguments) == 2
    err = capsys.readouterr().err.splitlines()
    stages_told = ["reading the data", "teacher", "teacher and examples", "npkd"]
    assert [line.split(":")[0] for line in err] == stages_told


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"npkd {npkd.__version__}\n"
    for arguments in (["--help"], ["compress", "--help"], ["train", "--help"], ["check", "--help"],
                      ["report", "--help"]):
        assert main(arguments) == 0
        assert "usage: npkd" in capsys.readouterr().out


def test_python_m_npkd(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["npkd", "--version"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("npkd", run_name="__main__")
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"npkd {npkd.__version__}\n"


def test_sigterm_is_an_interrupt(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shards, "load_data", lambda *arguments, **options: signal.raise_signal(signal.SIGTERM))
    assert main(["compress", "--out", str(tmp_path / "out")]) == 130
    one_sentence(capsys, "nothing was saved")


@pytest.mark.parametrize("code", [0, 1])
def test_check_gives_its_exit_code(monkeypatch, code):
    monkeypatch.setattr(check, "main", lambda as_json, quiet: code)
    assert main(["check"]) == code


def test_report_writes_the_page_again(tmp_path, capsys, monkeypatch):
    assert quick(tmp_path) == 0
    page = tmp_path / "out" / "report.html"
    before = page.read_bytes()
    page.unlink()
    capsys.readouterr()
    assert main(["report", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"Read {page}\n"
    assert page.read_bytes() == before


def test_an_interrupt_is_one_sentence_and_exit_code_130(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("npkd.core.progress.NoProgress", lambda: Stop("round 2 of 5: layers", 1))
    assert quick(tmp_path) == 130
    one_sentence(capsys, "teacher.npz", "student.npz", f"--resume --out {tmp_path / 'out'}")


def test_an_interrupt_while_the_data_is_read(tmp_path, capsys, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(shards, "load_data", interrupted)
    before = tree(tmp_path)
    assert main(["compress", "--out", str(tmp_path / "out")]) == 130
    one_sentence(capsys, "interrupted", "nothing was saved")
    assert tree(tmp_path) == before


def test_a_command_outside_of_the_main_thread(tmp_path):
    from threading import Thread

    codes, before = [], signal.getsignal(signal.SIGTERM)
    thread = Thread(target=lambda: codes.append(quick(tmp_path)))
    thread.start()
    thread.join()
    assert codes == [0]
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_handler_of_signals_is_put_back(capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert main(["nothing"]) == 2
    assert signal.getsignal(signal.SIGTERM) is before


# as a process

ROOT = Path(npkd.__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}


def process(*arguments, **more):
    return subprocess.Popen([sys.executable, "-W", "error", "-m", "npkd", *arguments], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env=ENVIRONMENT, text=True, **more)


def test_a_logit_source_is_kept_beside_what_it_teaches(tmp_path):
    given = Path(teacher(tmp_path, name="better.npz"))
    before = given.read_bytes()
    assert quick(tmp_path, "--distil-from", str(given)) == 0
    assert given.read_bytes() == before == (tmp_path / "out" / "distil_from.npz").read_bytes()
    assert quick(tmp_path, "--overwrite") == 0
    assert not (tmp_path / "out" / "distil_from.npz").exists()               # it was of another run


def test_a_wrong_word_in_a_process(tmp_path):
    running = process("compress", "--data", "nothing", "--out", str(tmp_path / "out"))
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (2, "")
    assert err.splitlines()[-1].startswith("npkd: load: data is 'nothing'")
    assert err.count("npkd: ") == 1                           # before it "starting", where the machine is slow


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_leave_a_usable_state(tmp_path, number):
    arguments = with_teacher(tmp_path, teacher(tmp_path), "--target", "macs=40%", "--epochs", "100000")
    # tests that run in the background have it ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        running = process(*arguments)
    finally:
        signal.signal(signal.SIGINT, before)
    patience = time.monotonic() + 60
    while not (tmp_path / "out" / "student.npz").exists() and time.monotonic() < patience:
        time.sleep(0.02)
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert f"npkd compress --resume --out {tmp_path / 'out'}" in err.splitlines()[-1]
    for name in ("teacher.npz", "student.npz"):
        load_model(tmp_path / "out" / name)
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_name_of_an_option_in_version_0_1_is_known_no_more(tmp_path, capsys):
    better = teacher(tmp_path, name="better.npz")
    assert quick(tmp_path, "--tutor", better) == 2
    assert "'--tutor' is not known here; npkd compress --help lists what is" in capsys.readouterr().err


def test_the_command_and_the_function_compress_alike(tmp_path):
    """A given teacher, with a scaling and without: the same student from ``npkd compress`` and from npkd.compress."""
    data = load(stored(tmp_path / "data.npz"), seed=0)
    for name, scaling in (("scaled", data.scaling), ("raw", None)):
        (tmp_path / name).mkdir()
        path = teacher(tmp_path / name, scaling=scaling)
        assert main(["compress", "--data", str(tmp_path / "data.npz"), "--teacher", path, "--target", "macs=50%",
                     "--epochs", "2", "--quiet", "--out", str(tmp_path / name / "out")]) == 0
        out = npkd.compress(load_model(path), rescaled(data, scaling), "macs=50%", recipe=Recipe(epochs=2))
        student = load_model(tmp_path / name / "out" / "student.npz").network
        assert all(np.array_equal(p, q) for a, b in zip(student.layers, out.student.layers, strict=True)
                   for p, q in zip(a.params, b.params, strict=True))
