"""npkd.interop.python_code: predict.py gives npkd's outputs and needs NumPy alone."""

import importlib.util
import math
import sys

import numpy as np
import pytest

import npkd
from npkd.compression.integer import IntegerNetwork
from npkd.compression.quantization import quantized
from npkd.core.validation import InputError
from npkd.interop import python_code
from npkd.interop.plain import Plain, answers
from npkd.nn.model import Model
from npkd.nn.network import Network, dense_layer, perceptron
from tests.interop.exports import of_maps, of_numbers, of_rows, whole
from tests.tiny import fixed


def module(folder, model, shape=None):
    """predict.py of a model, as a module."""
    python_code.write(folder / "predict.py", model, shape)
    spec = importlib.util.spec_from_file_location("predict", folder / "predict.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize("made", [of_rows, of_maps])
def test_every_op_in_floats(made, tmp_path):
    model, x = made(np.random.default_rng(0))
    before, predict = x.copy(), module(tmp_path, model)
    expected, y = model.logits(x), predict.logits(x)
    assert y.dtype == np.float32
    assert np.allclose(y, expected, rtol=1e-4, atol=1e-4 * abs(expected).max())
    assert (predict.predict(x) == expected.argmax(axis=1)).all()
    assert (predict.predict(x.reshape(len(x), -1)) == expected.argmax(axis=1)).all()         # examples may be flat
    if x.ndim > 2 and len({*x.shape[1:]}) > 1:
        with pytest.raises(ValueError, match="rows x columns x channels"):
            predict.predict(np.moveaxis(x, -1, 1))
    assert (x == before).all()


@pytest.mark.parametrize("maps", [False, True])
@pytest.mark.parametrize("word", ["int8", "shifts"])
def test_whole_numbers_are_simulated_exactly(word, maps, tmp_path):
    model, x = whole(np.random.default_rng(1), word, maps)
    network = IntegerNetwork.of(model.network)
    scaled = model.scaling.apply(x) if model.scaling else x
    predict = module(tmp_path, model)
    assert (predict.logits(x) == network.logits(scaled)).all()
    assert (Plain.of(model).answers(x) == predict.predict(x)).all()


def test_as_a_command_it_runs_where_there_is_no_npkd(tmp_path):
    model, x = of_rows(np.random.default_rng(2))
    python_code.write(tmp_path / "predict.py", model)
    assert (answers(tmp_path / "predict.py", x) == model.logits(x).argmax(axis=1)).all()
    text = (tmp_path / "predict.py").read_text()
    imported = {line.split()[1] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert imported - set(sys.stdlib_module_names) == {"numpy"}
    assert max(map(len, text.splitlines())) <= 120
    with pytest.raises(InputError, match="fails on"):
        answers(tmp_path / "predict.py", x[:, :5])


def test_one_output_is_one_of_two_classes_and_other_examples_are_refused(tmp_path):
    model = Model(Network([dense_layer(4, 1, np.random.default_rng(4))]))
    x = np.random.default_rng(5).standard_normal((60, 4))
    predict = module(tmp_path, model)
    assert (predict.predict(x) == (model.logits(x)[:, 0] > 0)).all()
    assert predict.predict(x).any()
    with pytest.raises(ValueError, match="it must hold 4 numbers"):
        predict.predict(x[:, :3])


@pytest.mark.parametrize("outputs", [1, 2])
def test_numbers_are_given_as_they_are(outputs, tmp_path):
    model, x = of_numbers(np.random.default_rng(6), outputs)
    predict, expected = module(tmp_path, model), model.logits(x)
    assert np.allclose(predict.predict(x), expected, rtol=1e-5, atol=1e-6)
    assert np.allclose(answers(tmp_path / "predict.py", x, outputs), expected, rtol=1e-5, atol=1e-6)
    assert not hasattr(predict, "logits")
    assert "class" not in predict.__doc__
    assert (Plain.of(model).answers(x) == expected).all()


def test_a_student_whose_last_inputs_went_takes_its_real_examples(tmp_path):
    """What the file says of inputs, or --shape, tells of those that no layer does."""
    rng = np.random.default_rng(7)
    w = np.concatenate([rng.standard_normal((20, 8)), np.zeros((20, 2))], axis=1)
    x = rng.standard_normal((300, 10)).astype("f4")
    model = npkd.compress([(w, None), (rng.standard_normal((3, 20)), None)], x, "macs=50%",
                          recipe=fixed(epochs=0, rounds=1, round_epochs=0)).model()
    assert max(model.network.layers[0].options["kept"]) < 9
    for given, shape in ((model, None), (Model(model.network), (10,)), (Model(model.network), (2, 5))):
        assert (module(tmp_path, given, shape).predict(x) == model.logits(x).argmax(axis=1)).all()
    for given in (Model(model.network), Model(model.network, None, {"inputs": "10"})):          # an older file
        assert math.prod(Plain.of(given).inputs) == 1 + max(model.network.layers[0].options["kept"])
    with pytest.raises(InputError, match=r"shape is \(7,\)"):
        Plain.of(model, (7,))


def test_it_is_said_why_a_network_of_bytes_is_written_in_floats(tmp_path):
    rng = np.random.default_rng(8)
    student = quantized(perceptron([4, 6, 3], rng, activation="gelu"), rng.random((100, 4)))
    said = module(tmp_path, Model(student.astype(np.float32))).__doc__
    assert "Written in floats, though activations are bytes: layer 2, gelu, has no place here" in said
    plain = Plain.of(Model(perceptron([4, 6, 3], rng, activation="gelu")))
    assert (plain.numbers, plain.because) == ("float", "")                            # nothing to be said
