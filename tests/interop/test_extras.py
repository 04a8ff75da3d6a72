"""Without a library of the extras every import and command says in one sentence what to install."""

import importlib
import sys

import numpy as np
import pytest

import npkd
from npkd.cli.main import main
from npkd.core.validation import InputError
from npkd.interop import onnx, onnx_out, torch, torch_out
from npkd.interop.extras import need
from npkd.nn.model import Model, save
from npkd.nn.network import perceptron

MODEL = Model(perceptron([4, 3, 2], np.random.default_rng(0)))
EXTRAS = ("torch", "onnx", "onnxruntime", "sklearn", "safetensors", "pandas")


class Missing:
    """A finder of modules that finds none of the extras."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """As on a machine with NumPy and SciPy alone."""
    for name in [name for name in sys.modules if name.split(".")[0] in EXTRAS]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])


@pytest.mark.parametrize(("call", "extra"), [
    (lambda path: torch.read(None, np.zeros((2, 4))), "torch"),
    (lambda path: torch_out.to_torch(MODEL, (4,)), "torch"),
    (lambda path: torch_out.export(MODEL, path, (4,)), "torch"),
    (lambda path: onnx.read("model.onnx"), "onnx"),
    (lambda path: onnx_out.write(path / "student.onnx", MODEL, (4,)), "onnx"),
    (lambda path: npkd.compress("model.onnx", np.zeros((9, 4))), "onnx"),
], ids=["torch.read", "to_torch", "torch.export", "onnx.read", "onnx.write", "compress"])
def test_a_call_says_what_to_install(call, extra, tmp_path):
    with pytest.raises(InputError, match=rf"pip install 'npkd\[{extra}\]'"):
        call(tmp_path)
    assert not any(tmp_path.iterdir())


def test_the_estimators_say_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("npkd.estimators")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises((InputError, ImportError), match=r"pip install 'npkd\[sklearn\]'"):
        importlib.import_module("npkd.estimators")


@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_a_command_says_what_to_install(to, tmp_path, capsys):
    save(tmp_path / "m.npz", MODEL)
    assert main(["export", str(tmp_path / "m.npz"), "--to", to]) == 2
    said = capsys.readouterr().err
    assert f"pip install 'npkd[{to}]'" in said
    assert said.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["m.npz"]


def test_the_command_with_an_onnx_teacher(tmp_path, capsys):
    (tmp_path / "m.onnx").write_bytes(b"\x08\x08")
    assert main(["compress", "--teacher", str(tmp_path / "m.onnx"), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert "pip install 'npkd[onnx]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_need_gives_the_module_that_is_there():
    assert need("json", "torch", "who").__name__ == "json"
