"""Networks written out as C and as Python give npkd's classes, on raw examples."""

import re
import subprocess
import sys

import numpy as np
import pytest

from npkd.cli.main import main
from npkd.compression.dyadic import QUARTERS, frobenius_scale, nearest
from npkd.compression.quantization import levels, quantized
from npkd.core.validation import InputError
from npkd.data.datasets import load
from npkd.interop import c, python_code
from npkd.interop.plain import Plain, classes
from npkd.nn.model import Model, save
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.nn.scaling import Scaling

RNG = np.random.default_rng(3)
DIGITS = load("digits", seed=0)
X = (DIGITS.x_test[:300] * 16).astype(np.float32)                  # as they were given: 0 … 16
WRITERS = {"student.h": c.write, "predict.py": python_code.write}
SANITISED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")


def conv(outputs, inputs, k, **options):
    """A convolution drawn at random."""
    w = RNG.standard_normal((outputs, k, k, inputs // options.get("groups", 1))) / k
    return Layer("conv2d", (w.astype(np.float32), RNG.standard_normal(outputs).astype(np.float32)), options)


def norm(j):
    """A batch norm with moments."""
    a, b, m, v = (RNG.uniform(0.5, 2, j).astype(np.float32) for _ in range(4))
    return Layer("batch_norm", (a, b), running=(m, v))


def powers(w):
    """The rounding to {0, ±1/4, ±1/2, ±1} times a power of two near the best scale."""
    scale = 2.0 ** np.round(np.log2(frobenius_scale(w, QUARTERS)))
    return lambda v: nearest(v, QUARTERS, scale)


IMAGES = Layer("unflatten", options={"shape": [8, 8, 1]})
SMALL = Network([IMAGES, conv(4, 1, 3, padding=1), Layer("relu"), Layer("max_pool", options={"size": 2}),
                 conv(6, 4, 3, stride=2, padding=1), Layer("relu"), Layer("flatten"), dense_layer(24, 10, RNG)])
NETWORKS = {
    "perceptron": perceptron([64, 20, 12, 10], RNG), "gelu": perceptron([64, 9, 10], RNG, activation="gelu"),
    "tanh": perceptron([64, 9, 10], RNG, activation="tanh"), "silu": perceptron([64, 9, 10], RNG, activation="silu"),
    "elu": perceptron([64, 9, 10], RNG, activation="elu"), "single output": perceptron([64, 9, 1], RNG),
    "some inputs": Network([Layer("select", options={"kept": [60, 3, 20, 21, 33]}), dense_layer(5, 10, RNG)]),
    "convolutions": SMALL,
    "all else": Network([
        IMAGES, conv(4, 1, 3, padding=1), norm(4), Layer("leaky_relu"),
        Layer("depthwise_conv2d", (RNG.standard_normal((3, 3, 4)).astype(np.float32),
                                   RNG.standard_normal(4).astype(np.float32)), {"padding": 1}),
        Layer("add", options={"back": 2}), conv(6, 4, 1, groups=2), Layer("recall", options={"back": 2}),
        Layer("average_pool", options={"size": 2}), Layer("sigmoid"), Layer("global_average_pool"),
        dense_layer(4, 10, RNG)])}
GRIDS = {"int8": lambda w: levels(w, 8), "dyadic": powers}


def varied(network):
    """The network with logits of mean 0 over the examples: not all get the same class."""
    w, b = network.layers[-1].params
    mean = network.predict(DIGITS.scaling.apply(X)).mean(axis=0)
    return network.replace({len(network.layers) - 1: Layer("dense", (w, b - mean))})


def of_case(name):
    """The model of a case: a network of scaled digits, or one of them in whole numbers."""
    kind, _, numbers = name.partition(", ")
    network = varied(NETWORKS[kind])
    if numbers:
        network = quantized(network, DIGITS.x_train[:500], GRIDS[numbers], input_bits=1 if numbers == "dyadic" else 10)
    return Model(network, DIGITS.scaling)


CASES = [*NETWORKS, *(f"{kind}, {numbers}" for kind in ("perceptron", "convolutions") for numbers in GRIDS)]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("file", WRITERS)
def test_the_classes_are_npkds(case, file, tmp_path):
    model = of_case(case)
    WRITERS[file](tmp_path / file, model)
    expected = Plain.of(model).classes(X)
    assert len(set(expected.tolist())) > 1
    assert (classes(tmp_path / file, X) == expected).all()
    assert all(len(line) <= 120 for line in (tmp_path / file).read_text().splitlines() if line[:1] in "-0123456789")


def test_whole_numbers_are_bytes_and_dyadic_ones_are_never_multiplied(tmp_path):
    for numbers, form in (("int8", "int8"), ("dyadic", "dyadic")):
        model = of_case(f"perceptron, {numbers}")
        c.write(tmp_path / "student.h", model)
        text = (tmp_path / "student.h").read_text()
        assert Plain.of(model).numbers == form
        assert "static const int8_t npkd_w" in text
        summed = [re.sub(r"\[[^]]*\]", "", line) for line in text.splitlines() if re.search(r"npkd_w\d+\[k", line)]
        assert summed
        assert not any(" * " in line for line in summed) or numbers != "dyadic"       # but in places of arrays
    assert int(re.search(r"flash[^0-9]*([0-9,]+)", text, re.IGNORECASE)[1].replace(",", "")) < 4 * 64 * 20


@pytest.mark.parametrize("case", ["all else", "convolutions, int8", "perceptron, dyadic"])
def test_c_is_clean_under_the_sanitizers(case, tmp_path):
    c.write(tmp_path / "student.h", of_case(case))
    assert len(classes(tmp_path / "student.h", X[:50], SANITISED)) == 50


def test_python_needs_no_npkd(tmp_path):
    python_code.write(tmp_path / "predict.py", of_case("some inputs"))
    code = ("import numpy, predict, sys; x = numpy.zeros((3, 8, 8)); print(predict.predict(x).shape, "
            "predict.logits(x).shape, 'npkd' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "(3,) (3, 10) False"


def test_what_cannot_be_written_out_is_refused(tmp_path):
    bare = Network([dense_layer(3, 4, RNG), Layer("batch_norm", (np.ones(4, np.float32), np.zeros(4, np.float32))),
                    dense_layer(4, 2, RNG)])
    with pytest.raises(InputError, match=r"batch_norm.*running moments"):
        c.write(tmp_path / "student.h", Model(bare))
    with pytest.raises(InputError, match="an example of this network has 64 values"):
        c.write(tmp_path / "student.h", of_case("perceptron"), (7, 7))
    assert not any(tmp_path.iterdir())


def test_the_command_writes_checks_and_replaces_nothing(tmp_path, capsys):
    save(tmp_path / "student.npz", Model(perceptron([64, 20, 10], RNG), Scaling.range(0, 16, 64)))
    words = ["export", str(tmp_path / "student.npz"), "--out", str(tmp_path / "out")]
    assert main([*words, "--to", "c", "--check", "digits"]) == 0
    assert "1,797 of 1,797 classes agree" in capsys.readouterr().out
    assert main([*words, "--to", "python", "--check", "digits"]) == 0             # beside the other export
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["predict.py", "student.h"]
    (tmp_path / "out" / "student.h").write_text("mine")
    assert main([*words, "--to", "c"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "out" / "student.h").read_text() == "mine"
    assert main([*words, "--to", "c", "--overwrite"]) == 0
    assert main([*words, "--to", "onnx", "--check", "digits"]) == 2
    assert "--check compares c and python" in capsys.readouterr().err


def test_without_a_compiler_that_is_said(tmp_path, monkeypatch):
    c.write(tmp_path / "student.h", of_case("perceptron"))
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match="no C compiler"):
        classes(tmp_path / "student.h", X)
