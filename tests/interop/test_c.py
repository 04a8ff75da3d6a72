"""npkd.interop.c: the header gives npkd's outputs, of whole numbers bit for bit; it compiles without a warning and runs
clean under the sanitisers."""

import ctypes
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from npkd.compression.integer import IntegerNetwork
from npkd.compression.quantization import quantized
from npkd.core.validation import InputError
from npkd.interop import c
from npkd.interop.plain import FLAGS, Plain, answers
from npkd.nn.model import Model
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.nn.ops import Op
from npkd.nn.scaling import Scaling
from tests.interop.exports import of_maps, of_numbers, of_rows, whole

SANITISERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
CHAPTER = Path(__file__).parents[2] / "docs" / "book" / "12-own-networks.md"


def outputs(folder, model, x, shape=None):
    """Logits and classes of raw examples by the header of a model, compiled as a shared library."""
    c.write(folder / "student.h", model, shape)
    (folder / "library.c").write_text('#include "student.h"\n')
    command = ["cc", *FLAGS, "-shared", "-fPIC", folder / "library.c", "-o", folder / "library.so", "-lm"]
    subprocess.run(command, check=True)
    library, floats = ctypes.CDLL(str(folder / "library.so")), ctypes.POINTER(ctypes.c_float)
    rows = np.ascontiguousarray(x.reshape(len(x), -1), np.float32)
    y = np.full((len(x), len(model.network.layers[-1].params[0])), np.nan, np.float32)
    said = np.zeros(len(x), np.int64)
    for n, row in enumerate(rows):
        library.npkd_logits(row.ctypes.data_as(floats), y[n:n + 1].ctypes.data_as(floats))
        said[n] = library.npkd_predict(row.ctypes.data_as(floats))
    return y, said


@pytest.mark.parametrize("made", [of_rows, of_maps])
def test_every_op_in_floats(made, tmp_path):
    model, x = made(np.random.default_rng(0))
    y, said = outputs(tmp_path, model, x)
    expected = model.logits(x)
    assert np.allclose(y, expected, rtol=1e-4, atol=1e-4 * abs(expected).max())
    assert expected.std(axis=0).min() > 1e-3                       # the outputs say something of the example
    assert (said == expected.argmax(axis=1)).all()
    assert (answers(tmp_path / "student.h", x, flags=SANITISERS) == said).all()


@pytest.mark.parametrize("maps", [False, True])
@pytest.mark.parametrize(("word", "numbers"), [("int8", "int8"), ("shifts", "dyadic")])
def test_whole_numbers_are_those_of_the_integer_pass(word, numbers, maps, tmp_path):
    model, x = whole(np.random.default_rng(1), word, maps)
    network = IntegerNetwork.of(model.network, shifts=word == "shifts")
    scaled = model.scaling.apply(x) if model.scaling else x
    y, said = outputs(tmp_path, model, x)
    assert (y == network.logits(scaled).astype(np.float32)).all()
    assert (said == network(scaled).argmax(axis=1)).all()
    assert (answers(tmp_path / "student.h", x, flags=SANITISERS) == said).all()
    text = (tmp_path / "student.h").read_text()
    assert f"numbers: {numbers}." in text
    assert len(set(map(tuple, y))) > 100
    if word == "shifts":                                           # but places in arrays, and raw inputs
        body = re.sub(r"\[[^]]*\]|/\*.*?\*/|const int [^;]*;|npkd_quantised\(.*\);", "", text[
            text.index("static int32_t"):text.index("void npkd_logits(const float *x, float *y)\n")], flags=re.DOTALL)
        assert " << " in body
        assert " * " not in body.replace("const float *", "")
    assert max(map(len, text.splitlines())) <= 120


def test_sums_of_windows_of_bytes_are_no_bytes(tmp_path):
    rng = np.random.default_rng(10)

    def weights(*shape):
        return (rng.integers(-9, 10, shape) / 64).astype(np.float32), np.zeros(shape[0], np.float32)

    model = Model(Network([
        Layer("unflatten", options={"shape": [6, 6, 1]}), Layer("quantize", options={"step": 1 / 256}),
        Layer("average_pool", options={"size": 2, "stride": 1, "padding": 1}), Layer("conv2d", weights(3, 2, 2, 1)),
        Layer("relu"), Layer("average_pool", options={"size": 2}), Layer("quantize", options={"step": 1 / 512}),
        Layer("flatten"), Layer("dense", weights(4, 27))]))
    x = rng.uniform(0, 1.2, (300, 36)).astype(np.float32)
    y, _ = outputs(tmp_path, model, x)
    assert (y == IntegerNetwork.of(model.network).logits(x).astype(np.float32)).all()
    assert y.std(axis=0).min() > 0
    assert "static int16_t npkd_h" in (tmp_path / "student.h").read_text()           # 4 · 255


def test_flash_and_ram_are_those_of_the_object_code(tmp_path):
    model, _ = whole(np.random.default_rng(2), "int8", True)
    c.write(tmp_path / "student.h", model)
    (tmp_path / "a.c").write_text('#include "student.h"\n')
    subprocess.run(["cc", "-std=c99", "-Os", "-c", tmp_path / "a.c", "-o", tmp_path / "a.o"], check=True)
    sizes = subprocess.run(["size", tmp_path / "a.o"], check=True, capture_output=True, text=True).stdout
    text, data, bss = map(int, sizes.splitlines()[1].split()[:3])
    flash, ram = (int(word.replace(",", "")) for word in re.findall(r"(?:Flash|RAM): ([\d,]+) bytes",
                                                                    (tmp_path / "student.h").read_text()))
    assert 0 < flash <= text <= flash + 4000
    assert (data, ram <= bss <= ram + 64) == (0, True)


def test_weights_on_grids_are_bytes_also_where_activations_are_floats(tmp_path):
    rng = np.random.default_rng(3)
    student = quantized(perceptron([6, 9, 3], rng), rng.random((100, 6), np.float32)).astype(np.float32)
    model = Model(Network([layer for layer in student.layers if layer.op != "quantize"]))
    x = rng.standard_normal((50, 6), np.float32)
    y, _ = outputs(tmp_path, model, x)
    assert np.allclose(y, model.logits(x), rtol=1e-5, atol=1e-5)
    assert "static const int8_t npkd_w1" in (tmp_path / "student.h").read_text()


def test_one_output_is_one_of_two_classes(tmp_path):
    model = Model(Network([dense_layer(4, 1, np.random.default_rng(4))]))
    x = np.random.default_rng(5).standard_normal((60, 4)).astype(np.float32)
    _, said = outputs(tmp_path, model, x)
    assert (said == (model.logits(x)[:, 0] > 0)).all()
    assert set(said) == {0, 1}


@pytest.mark.parametrize("outputs", [1, 2])
def test_predicted_numbers_are_given_as_they_are(outputs, tmp_path):
    model, x = of_numbers(np.random.default_rng(11), outputs)
    kept = Layer("select", options={"kept": [*range(12)]})
    bytes_ = quantized(model.network, model.scaling.apply(x)).astype(np.float32)
    for given in (model, Model(Network([kept, *bytes_.layers]), model.scaling, model.about)):
        c.write(tmp_path / "student.h", given)
        said = answers(tmp_path / "student.h", x, outputs, flags=SANITISERS)
        assert np.allclose(said, Plain.of(given).answers(x), rtol=1e-5, atol=1e-6)
        assert np.ptp(said, axis=0).min() > 0
        text = (tmp_path / "student.h").read_text()
        assert "void npkd_predict(const float *x, float *y)" in text
        assert "class" not in text
    assert "numbers: int8." in text


def test_numbers_that_are_none_do_not_break_whole_numbers(tmp_path):
    """What no conversion to an integer is defined for."""
    model, _ = whole(np.random.default_rng(6), "int8", False)
    c.write(tmp_path / "student.h", model)
    said = answers(tmp_path / "student.h", np.array([[np.nan] * 20, [np.inf] * 20, [-1e38] * 20]), flags=SANITISERS)
    assert said.shape == (3,)


def test_maps_without_a_size_need_a_shape_and_others_are_refused(tmp_path):
    rng = np.random.default_rng(7)
    model, x = of_maps(rng)
    bare = Model(Network(model.network.layers[1:]))
    with pytest.raises(InputError, match="give the shape of one example"):
        c.write(tmp_path / "student.h", bare)
    y, _ = outputs(tmp_path, bare, x, (9, 8, 2))
    assert np.allclose(y, model.logits(x), rtol=1e-4, atol=1e-3)
    with pytest.raises(InputError, match=r"shape is \(5,\); an example of this network has 144 values"):
        c.write(tmp_path / "student.h", model, (5,))


def cube(x):
    return x ** 3, lambda dy: (3 * x ** 2 * dy,)


def test_what_has_no_words_in_c_is_refused_by_layer_and_name(tmp_path):
    rng = np.random.default_rng(8)
    norm = Layer("batch_norm", (np.ones(3, np.float32), np.zeros(3, np.float32)))
    for layer, name in ((Layer(Op(cube, per_neuron=True)), "cube"), (norm, "batch_norm")):
        with pytest.raises(InputError, match=f"layer 1, {name}, cannot be written out"):
            c.write(tmp_path / "student.h", Model(Network([dense_layer(4, 3, rng), layer, dense_layer(3, 2, rng)])))
    assert not list(tmp_path.iterdir())


def test_without_a_compiler_and_with_a_broken_header_it_is_said(tmp_path, monkeypatch):
    (tmp_path / "student.h").write_text("int npkd_predict(const float *x) { return y; }\n")
    with pytest.raises(InputError, match=r"cc fails on .*student\.h"):
        answers(tmp_path / "student.h", np.zeros((1, 2)))
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match="no C compiler"):
        answers(tmp_path / "student.h", np.zeros((1, 2)))


def test_the_firmware_of_the_book(tmp_path):
    """main.c of chapter 12, as it stands there."""
    main = re.search(r"```c\n(.*?)```", CHAPTER.read_text(encoding="utf-8"), re.DOTALL)[1]
    rng = np.random.default_rng(9)
    model = Model(perceptron([64, 20, 10], rng), Scaling.range(0, 16, 64))
    c.write(tmp_path / "student.h", model)
    (tmp_path / "main.c").write_text(main)
    subprocess.run(["cc", *FLAGS, "-Os", tmp_path / "main.c", "-o", tmp_path / "main", "-lm"], check=True)
    picture = rng.integers(0, 17, 64).astype(np.uint8)
    said = subprocess.run([tmp_path / "main"], input=picture.tobytes(), capture_output=True, check=True).stdout
    assert int(said) == Plain.of(model).answers(picture[None])[0]
