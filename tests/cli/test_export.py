"""npkd export: files for other places; only a file of the same name stands in the way; --check compares."""

import json
import subprocess
import sys

import numpy as np
import pytest

from npkd.cli.main import main
from npkd.compression.quantization import quantized
from npkd.interop import onnx_out, torch_out
from npkd.nn.architectures import lenet5
from npkd.nn.model import Model, save
from npkd.nn.model import load as load_model
from npkd.nn.network import perceptron
from npkd.nn.scaling import Scaling
from tests.interop.exports import of_numbers
from tests.tiny import arrays, stored, undrawn, words


@pytest.fixture
def student(tmp_path):
    """A file with a network for the data of tests.tiny."""
    save(tmp_path / "student.npz", Model(perceptron([16, 8, 3], np.random.default_rng(0)), Scaling.range(0, 255, 16)))
    return str(tmp_path / "student.npz")


@pytest.mark.parametrize(("to", "name"), [("python", "predict.py"), ("c", "student.h")])
def test_what_is_written_gives_npkds_classes(to, name, student, tmp_path, capsys):
    data = stored(tmp_path / "data.npz")
    assert main(["export", student, "--to", to]) == 0
    assert (tmp_path / "student-export" / name).is_file()
    if to == "python":
        assert main(["export", student, "--to", to, "--out", str(tmp_path / "other"), "--check", data]) == 0
        assert "40 of 40 classes agree" in capsys.readouterr().out


def test_a_class_that_differs_is_counted(student, tmp_path, capsys, monkeypatch):
    data = stored(tmp_path / "data.npz")
    monkeypatch.setattr("npkd.cli.export.answers", lambda path, x, *_: np.zeros(len(x), np.int64) - 1)
    assert main(["export", student, "--to", "python", "--check", data]) == 1
    assert "0 of 40 classes agree" in capsys.readouterr().out


@pytest.mark.parametrize("to", ["python", "c"])
def test_numbers_are_compared_to_a_tolerance(to, tmp_path, capsys, monkeypatch):
    model, _ = of_numbers(np.random.default_rng(2), 1)
    save(tmp_path / "a.npz", model)
    x, y = np.random.default_rng(3).random((50, 12)), np.random.default_rng(4).random(50)
    data = stored(tmp_path / "data.npz", {"x_train": x, "y_train": y, "x_test": x, "y_test": y})
    given = ["export", str(tmp_path / "a.npz"), "--to", to, "--check", data, "--overwrite"]
    assert main(given) == 0
    assert "50 of 50 numbers agree; the largest difference is" in capsys.readouterr().out
    expected = model.logits(x)
    expected[3] += 1e-3
    monkeypatch.setattr("npkd.cli.export.answers", lambda path, x, numbers: expected)
    assert main(given) == 1
    assert "49 of 50 numbers agree; the largest difference is 1.0e-03" in capsys.readouterr().out


def test_it_is_said_why_bytes_are_written_as_floats(tmp_path, capsys):
    rng = np.random.default_rng(5)
    network = quantized(perceptron([4, 6, 3], rng, activation="silu"), rng.random((100, 4))).astype(np.float32)
    save(tmp_path / "a.npz", Model(network))
    assert main(["export", str(tmp_path / "a.npz"), "--to", "c"]) == 0
    assert "floats, though activations are bytes: layer 2, silu, has no place here\n" in capsys.readouterr().out


def test_only_a_file_of_the_same_name_is_in_the_way(student, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "student.h").write_text("mine")
    assert main(["export", student, "--to", "python", "--out", str(out)]) == 0
    assert main(["export", student, "--to", "c", "--out", str(out)]) == 2
    assert "student.h exists; give --overwrite" in capsys.readouterr().err
    assert (out / "student.h").read_text() == "mine"
    assert main(["export", student, "--to", "c", "--out", str(out), "--overwrite"]) == 0
    assert "npkd_predict" in (out / "student.h").read_text()
    assert sorted(path.name for path in out.iterdir()) == ["predict.py", "student.h"]


def test_what_cannot_be_written_leaves_no_folder(student, tmp_path, capsys):
    for more, said in ((["--shape", "5"], "shape is (5,)"), (["--to", "onnx", "--check", "digits"], "not onnx"),
                       (["--check", "nothing"], "data is 'nothing'")):
        assert main(["export", student, "--to", "c", *more, "--out", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("maps", "shape"), [(False, (16,)), (True, (1, 16, 18))])
def test_other_libraries_get_the_shape_with_channels_first(maps, shape, tmp_path, monkeypatch):
    rng, asked = np.random.default_rng(1), []
    network = lenet5(rng, channels=(2, 2), hidden=3, shape=(16, 18, 1)) if maps else perceptron([16, 3], rng)
    save(tmp_path / "a.npz", Model(network, about={"head": "softmax"}))
    monkeypatch.setattr(onnx_out, "write", lambda path, model, *how: (asked.append(how), path.write_bytes(b"o")))
    monkeypatch.setattr(torch_out, "export", lambda model, folder, *how: (
        asked.append(how), (folder / "student_torch.py").write_bytes(b"t")))
    for to in ("onnx", "torch"):
        assert main(["export", str(tmp_path / "a.npz"), "--to", to]) == 0
    assert asked == [(shape, "softmax")] * 2
    assert {path.name for path in (tmp_path / "a-export").iterdir()} == {"student.onnx", "student_torch.py"}


def test_without_the_library_it_is_said_what_to_install(student, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    for to in ("onnx", "torch"):
        assert main(["export", student, "--to", to]) == 2
        assert f"pip install 'npkd[{to}]'" in capsys.readouterr().err


def test_a_compressed_student_of_a_table_of_words(tmp_path, monkeypatch, capsys):
    """What the classes are called is in the summary and in the file of the network; predict.py tells the numbers."""
    undrawn(monkeypatch)
    monkeypatch.setattr("npkd.data.datasets.read_table", lambda path, label: (
        arrays(examples=150)["x_train"].reshape(150, 16).astype(float), np.arange(150) % 3, ("ash", "elm", "oak")))
    (tmp_path / "trees.csv").write_text("not read here\n")
    given = words(tmp_path, "--label", "tree", data=str(tmp_path / "trees.csv"))
    assert main(given) == 0
    out = tmp_path / "out"
    assert json.loads((out / "summary.json").read_text())["words"] == ["ash", "elm", "oak"]
    assert "--label tree" in json.loads((out / "summary.json").read_text())["command"]
    assert load_model(out / "student.npz").about["words"] == ["ash", "elm", "oak"]
    assert main(["export", str(out / "student.npz"), "--to", "python", "--check", str(tmp_path / "trees.csv"),
                 "--label", "tree"]) == 0
    np.save(tmp_path / "x.npy", np.zeros((2, 16)))
    done = subprocess.run([sys.executable, out / "student-export" / "predict.py", tmp_path / "x.npy"],
                          capture_output=True, check=True)
    assert set(done.stdout.split()) <= {b"0", b"1", b"2"}
