"""Numbers to predict, and two classes by a single output: errors, objectives, compression, and what refuses them."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit

import npkd
from npkd import gradcheck
from npkd.cli.foreign import data_for
from npkd.core.progress import NoProgress
from npkd.core.validation import InputError
from npkd.data.datasets import from_arrays
from npkd.distillation.response import soft_targets
from npkd.interop import c, python_code
from npkd.interop.entry import Entry
from npkd.interop.onnx import OnnxTeacher
from npkd.interop.plain import Plain, answers
from npkd.nn.losses import cross_entropy
from npkd.nn.model import Model, load
from npkd.nn.network import Layer, Network
from npkd.pipeline.recipe import Recipe
from npkd.pipeline.stages import Run, train_teacher
from npkd.pipeline.target import Target
from npkd.pipeline.task import classes_of, error_of, objective_of, of_one_output, spread_of
from tests.tiny import fixed, quick, stored

RNG = np.random.default_rng(5)
X = RNG.standard_normal((800, 12)).astype(np.float32)
Y = np.stack([np.tanh(X[:, 0] + X[:, 1]), X[:, 2] * 0.5], axis=1) * [3.0, 200.0] + [10.0, -500.0]
"""Two numbers, of other units, of three of twelve features."""
QUICK = fixed(rounds=2, round_epochs=2, epochs=15, learning_rate=0.05, student_learning_rate=0.05)


@pytest.fixture(scope="module")
def data():
    return from_arrays("two numbers", (X[:600], Y[:600], X[600:], Y[600:]), seed=0)


@pytest.fixture(scope="module")
def teacher(data):
    """A network that gives both numbers of examples as they were given."""
    run = Run(data, fixed(hidden=(30, 20), teacher_epochs=60, learning_rate=0.05), np.random.default_rng(0))
    network, f, o = train_teacher(run), data.targets.factor, data.targets.offset
    w, b = network.layers[-1].params
    last = Layer("dense", ((w / f[:, None]).astype(np.float32), (b / f + o).astype(np.float32)))
    return Model(network.replace({len(network.layers) - 1: last}), data.scaling)


def r2(outputs, y):
    """R² by its definition, output by output, the mean of them."""
    parts = []
    for o in range(y.shape[1]):
        mean = sum(y[:, o].tolist()) / len(y)
        missed = sum((p - t) ** 2 for p, t in zip(outputs[:, o].tolist(), y[:, o].tolist(), strict=True))
        parts.append(1 - missed / sum((t - mean) ** 2 for t in y[:, o].tolist()))
    return sum(parts) / len(parts)


def test_a_single_output_says_class_1_above_zero():
    assert classes_of(np.array([[-2.0], [-0.1], [0.0], [0.1], [3.0]])).tolist() == [0, 0, 0, 1, 1]


def test_the_error_of_numbers_is_what_r2_lacks():
    outputs, y = RNG.standard_normal((50, 3)), RNG.standard_normal((50, 3)) * [1, 10, 0.1]
    assert error_of(outputs, y) == pytest.approx(1 - r2(outputs, y))
    assert error_of(y, y) == 0
    assert error_of(np.tile(y.mean(axis=0), (50, 1)), y) == pytest.approx(1)


def test_a_constant_number_counts_with_its_squared_error():
    assert error_of(np.full((4, 1), 3.0), np.ones((4, 1))) == 4.0


def test_the_class_of_one_output_is_its_sign():
    z = np.array([[-1.0], [0.0], [2.0]])
    assert classes_of(z).tolist() == [0, 0, 1]
    assert error_of(z, np.array([1, 0, 1])) == pytest.approx(1 / 3)
    assert spread_of(z, np.array([1, 0, 1])) == pytest.approx(np.sqrt(1 / 3 * 2 / 3 / 3))


def test_cross_entropy_of_one_output_is_the_logistic_loss():
    """log(1 + exp(−s z)) with s = ±1, and its derivative −s / (1 + exp(s z))."""
    z, y = RNG.standard_normal((40, 1)) * 3, RNG.integers(0, 2, 40)
    value, d = of_one_output(cross_entropy)(z, y)
    s = 2.0 * y - 1
    assert value == pytest.approx(np.log1p(np.exp(-s * z[:, 0])).mean())
    np.testing.assert_allclose(d[:, 0], -s / (1 + np.exp(s * z[:, 0])) / 40, rtol=1e-12)


def test_soft_targets_of_one_output_pass_the_checker():
    gradcheck.check_loss(partial(of_one_output(soft_targets), temperature=3.0), RNG.standard_normal((6, 1)),
                         RNG.standard_normal((6, 1)))


def test_equal_outputs_are_learnt_without_a_gradient():
    """A student that says what its teacher says, and what the labels are, has nothing to learn."""
    z, y = RNG.standard_normal((8, 2)), None
    y = z.copy()
    value, d = objective_of(y, 2, labels=0.5, soft=1.0)([z], {"y": y, "teacher": z})
    assert value == 0
    assert not d[0].any()
    value, d = objective_of(np.zeros(8, int), 1, 0.0, 1.0, 2.0)([z[:, :1]], {"y": np.zeros(8, int),
                                                                             "teacher": z[:, :1]})
    np.testing.assert_allclose(d[0], 0, atol=1e-15)


def test_numbers_are_compressed_in_their_own_units(teacher, data):
    result = npkd.compress(teacher, X[:600], "macs=25%", labels=Y[:600], recipe=QUICK)
    before, after = (r2(Model(n, data.scaling).logits(X[600:]), Y[600:]) for n in (teacher.network, result.student))
    assert before > 0.9
    assert after > before - 0.05
    assert result.regression
    assert result.macs[1] <= 0.25 * result.macs[0]
    assert "R², held out" in str(result)
    assert "class" not in str(result)


def test_other_units_of_the_numbers_give_the_same_student(teacher):
    """The student of 1000 y + 7 is 1000 times the student, plus 7: units say nothing of what stays."""
    w, b = teacher.network.layers[-1].params
    last = Layer("dense", (w * np.float32(1024), b * np.float32(1024) + np.float32(7)))
    other = Model(teacher.network.replace({len(teacher.network.layers) - 1: last}), teacher.scaling)
    one, two = (npkd.compress(t, X, "macs=25%", recipe=QUICK).student for t in (teacher, other))
    assert one.widths == two.widths
    x = teacher.scaling.apply(X)
    np.testing.assert_allclose(two.predict(x), 1024 * one.predict(x) + 7, rtol=2e-2, atol=2e-2 * 1024 * 200)


def test_numbers_come_as_batches_shards_and_tables_too(teacher, tmp_path):
    for k in range(3):
        np.savez(tmp_path / f"{k}.npz", x=X[k * 200:(k + 1) * 200], y=Y[k * 200:(k + 1) * 200])
    def batches():
        return ((X[i:i + 100], Y[i:i + 100]) for i in range(0, 600, 100))

    whole = npkd.compress(teacher, X[:600], "macs=25%", labels=Y[:600], recipe=QUICK)
    for x in (batches, batches(), tmp_path):
        result = npkd.compress(teacher, x, "macs=25%", recipe=QUICK)
        assert result.labelled
        assert result.student_error == pytest.approx(whole.student_error, abs=1e-3)


def single(network, output=0):
    """The network with one of its outputs."""
    w, b = network.layers[-1].params
    return network.replace({len(network.layers) - 1: Layer("dense", (w[output:output + 1], b[output:output + 1]))})


def test_a_single_output_is_a_number_unless_labels_or_a_sigmoid_say_otherwise(teacher):
    network = single(teacher.network)
    w, b = network.layers[-1].params
    centred = network.replace({len(network.layers) - 1: Layer("dense", (w, b - 10))})
    sigmoid = Network([*centred.layers, Layer("sigmoid")])
    y = (Y[:, 0] > 10).astype(int)
    x = teacher.scaling.apply(X)
    none = fixed(epochs=0, rounds=1, round_epochs=0)
    assert npkd.compress(network, x, "macs=50%", recipe=none).regression
    assert npkd.compress(network, x, "macs=50%", labels=Y[:, 0], recipe=none).regression
    assert npkd.compress(network, x, "macs=50%", labels=np.arange(800), recipe=none).regression
    assert npkd.compress(sigmoid, x, "macs=50%", recipe=Recipe(task="regression", epochs=0)).regression
    for given, labels in ((centred, y), (sigmoid, None), (sigmoid, y)):
        result = npkd.compress(given, x, "macs=25%", labels=labels, recipe=QUICK)
        assert not result.regression
        assert result.student.widths[-1] == 1
        assert ((result.student.predict(x)[:, 0] > 0) == y).mean() > 0.9


@pytest.fixture(scope="module")
def binary(teacher):
    """A network with a sigmoid, examples as it takes them, and their classes."""
    network = single(teacher.network)
    w, b = network.layers[-1].params
    sigmoid = Network([*network.layers[:-1], Layer("dense", (w, b - 10)), Layer("sigmoid")])
    return sigmoid, teacher.scaling.apply(X), (Y[:, 0] > 10).astype(int)


NONE = fixed(epochs=0, rounds=1, round_epochs=0)


def test_zeros_and_ones_behind_a_sigmoid_are_classes_whatever_their_dtype(binary, tmp_path):
    sigmoid, x, y = binary
    whole = npkd.compress(sigmoid, x, "macs=50%", labels=y, recipe=NONE)
    for k in range(2):
        np.savez(tmp_path / f"{k}.npz", x=x[k * 400:(k + 1) * 400], y=y[k * 400:(k + 1) * 400].astype(float))
    halves = [(x[:400], y[:400].astype("f4")), (x[400:], y[400:].astype("f4")[:, None])]
    for given, labels in ((x, y.astype("f4")), (x, y.astype(float)[:, None]), (x, y > 0), (halves, None),
                          (iter(halves), None), (tmp_path, None), ([(x, y > 0)], None)):
        result = npkd.compress(sigmoid, given, "macs=50%", labels=labels, recipe=NONE)
        assert result.labelled
        assert not result.regression
        assert (result.teacher_error, result.student_error) == (whole.teacher_error, whole.student_error)
    linear = Network(sigmoid.layers[:-1])                                # the recipe says it as well
    assert npkd.compress(linear, x, "macs=50%", labels=y * 1.0, recipe=NONE).regression
    said = npkd.compress(linear, x, "macs=50%", labels=y * 1.0, recipe=replace(NONE, task="classification"))
    assert said.teacher_error == whole.teacher_error
    pair = npkd.compress(sigmoid, x, "macs=50%", labels=y * 1.0, recipe=replace(NONE, validation=(x, y * 1.0)))
    assert pair.teacher_error == pytest.approx((y != (sigmoid.predict(x)[:, 0] > 0.5)).mean())


def test_other_numbers_behind_a_sigmoid_are_refused(binary, data):
    sigmoid, x, y = binary
    for labels in (y * 0.5, y + 0.25, [0.0, np.nan] * 400):
        with pytest.raises(InputError, match=r"labels holds .*, and a sigmoid follows the output"):
            npkd.compress(sigmoid, x, labels=np.asarray(labels), recipe=NONE)
    with pytest.raises(InputError, match=r"labels holds labels 0 … 2; classes are from 0 to below 2"):
        npkd.compress(sigmoid, x, labels=y * 2, recipe=NONE)
    numbers = from_arrays("bits", (x[:600], y[:600] * 1.0, x[600:], y[600:] * 1.0), seed=0)
    with pytest.raises(InputError, match=r"bits has floats as labels, and a sigmoid .* y\.astype\(int\)"):
        npkd.compress(sigmoid, numbers, recipe=NONE)


def test_what_is_in_front_of_a_sigmoid_for_each_output_is_imitated(teacher, tmp_path):
    """A softmax knows its logits up to a number added to all of them, which a sigmoid for each would show."""
    w, b = teacher.network.layers[-1].params
    last = Layer("dense", (w * np.float32([[0.5], [0.01]]), np.float32((b + np.array([-10, 500])) * [0.5, 0.01])))
    logits, x = teacher.network.replace({len(teacher.network.layers) - 1: last}), teacher.scaling.apply(X)
    each, read = Network([*logits.layers, Layer("sigmoid")]), Model(logits, about={"head": "sigmoid"})
    for given in (each, read):                                                          # or of another library
        result = npkd.compress(given, x, "macs=50%", recipe=QUICK)
        assert (result.regression, result.head) == (True, "sigmoid")
        assert (abs(expit(result.logits(x)) - each.predict(x)) < 0.05).mean() > 0.95
    plain = Plain.of(result.model())
    assert np.allclose(plain.answers(x), expit(result.logits(x)), atol=1e-6)
    for name, language in (("predict.py", python_code), ("student.h", c)):
        language.write(tmp_path / name, result.model())
        assert np.allclose(answers(tmp_path / name, x, 2), plain.answers(x), atol=1e-5)
    assert not npkd.compress(each, x, "macs=50%", labels=np.arange(800) % 2, recipe=NONE).regression
    assert not npkd.compress(each, x, "macs=50%", recipe=replace(NONE, task="classification")).regression
    with pytest.raises(InputError, match=r"integer classes \(N,\), or left out: then each sigmoid is imitated"):
        npkd.compress(each, x, labels=(each.predict(x) > 0.5) * 1.0, recipe=NONE)
    bits = from_arrays("bits", (x[:600], (Y > 0)[:600] * 1.0, x[600:], (Y > 0)[600:] * 1.0), seed=0)
    with pytest.raises(InputError, match="bits has floats as labels, and a sigmoid follows"):
        npkd.compress(each, bits, recipe=NONE)
    np.savez(tmp_path / "x.npz", x=x)
    data, labelled = data_for(OnnxTeacher(read, "sigmoid", Entry.of((12,)), ""), SimpleNamespace(
        data=tmp_path / "x.npz", seed=0, scheduler=None), NoProgress())
    assert (data.targets is None, data.classes, labelled) == (False, 2, False)
    assert npkd.compress(each, data, "macs=50%", recipe=NONE).regression
    np.savez(tmp_path / "y.npz", x_train=x[:600], y_train=Y[:600], x_test=x[600:], y_test=Y[600:])
    with pytest.raises(InputError, match="has floats as labels, and the teacher ends in a sigmoid"):
        data_for(OnnxTeacher(read, "sigmoid", Entry.of((12,)), ""), SimpleNamespace(
            data=tmp_path / "y.npz", seed=0, label=None, scheduler=None), NoProgress())


def test_the_file_of_a_student_says_that_it_predicts_numbers(teacher, tmp_path):
    result = npkd.compress(teacher, X, "macs=50%", labels=Y, recipe=NONE)
    result.save(tmp_path / "student.npz")
    again = load(tmp_path / "student.npz")
    assert again.about["task"] == "regression"
    assert "task" not in npkd.compress(teacher, X, "macs=50%", recipe=NONE).model().about       # of classes, as ever
    assert npkd.compress(again, X, "macs=90%", recipe=NONE).regression                  # also without labels
    headless = Model(single(teacher.network), teacher.scaling, {"head": ""})            # what interop.onnx reads
    assert npkd.compress(headless, X, "macs=50%", recipe=NONE).regression


def test_what_does_not_fit_is_refused(teacher):
    with pytest.raises(InputError, match=r"labels are .* 2 outputs; they must be integer classes .* floats \(N, 2\)"):
        npkd.compress(teacher, X, labels=Y[:, 0])
    with pytest.raises(InputError, match="for regression; they must be floats"):
        npkd.compress(teacher, X, labels=(Y[:, 0] > 10).astype(int), recipe=Recipe(task="regression"))
    with pytest.raises(InputError, match="task is 'numbers'"):
        Recipe(task="numbers")
    with pytest.raises(InputError, match="labels holds nan"):
        npkd.compress(teacher, X, labels=Y * np.nan)
    relu = Network([*teacher.network.layers, Layer("relu")])
    with pytest.raises(InputError, match="ends in relu"):
        npkd.compress(relu, X, labels=Y)


def test_a_target_of_error_is_in_r2_or_in_the_unit_of_the_number(data):
    one = from_arrays("one", (X[:600], Y[:600, 1], X[600:], Y[600:, 1]), seed=0)
    assert Target("error", 0.02).allowed(0.1, one) == pytest.approx(0.12)
    y = one.y_validation[:, 0] / one.targets.factor[0]
    rmse = np.sqrt(Target("error", 5.0, measure="rmse").allowed(0.1, one) * y.var())
    assert rmse == pytest.approx(np.sqrt(0.1 * y.var()) + 5)
    with pytest.raises(InputError, match="rmse is of one output, here are 2"):
        Target("error", 5.0, measure="rmse").allowed(0.1, data)
    classes = from_arrays("classes", (X[:600], (Y[:600, 0] > 10) * 1, X[600:], (Y[600:, 0] > 10) * 1), seed=0)
    assert Target("error", 2.0).allowed(0.1, classes) == pytest.approx(0.12)
    with pytest.raises(InputError, match="of classes write points"):
        Target("error", 5.0, measure="r2").allowed(0.1, classes)


def test_a_measure_of_numbers_is_refused_for_classes_before_anything_is_trained(tmp_path, capsys):
    assert quick(tmp_path, "--target", "error=+3rmse") == 2
    assert "of classes write points" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_on_numbers_has_the_right_words_and_units(tmp_path, capsys):
    file = stored(tmp_path / "data.npz", {"x_train": X[:600], "y_train": Y[:600, 1], "x_test": X[600:],
                                          "y_test": Y[600:, 1]})
    assert quick(tmp_path, "--epochs", "30", data=file) == 0
    out = tmp_path / "out"
    assert "test R²" in (said := capsys.readouterr().out)
    assert "class" not in said
    summary = json.loads((out / "summary.json").read_text())
    assert summary["outputs"] == 1
    assert "classes" not in summary
    assert "per_class" not in summary
    for name in ("teacher", "student"):
        model = load(out / f"{name}.npz")
        assert model.about["task"] == "regression"
        outputs = model.logits(X[600:])
        assert summary[name]["test_error"] == pytest.approx(1 - r2(outputs, Y[600:, 1:]), abs=1e-5)
        assert summary[name]["rmse"] == pytest.approx(np.sqrt(((outputs - Y[600:, 1:]) ** 2).mean()), rel=1e-4)
    page = (out / "report.html").read_text()
    assert "Predicted and measured" in page
    assert "RMSE" in page
    assert "wrong class" not in page
    more = ["--teacher", str(out / "teacher.npz"), "--out", str(tmp_path / "distilled")]
    assert quick(tmp_path, *more, command="distil", data=file) == 0
    assert quick(tmp_path, *more, "--overwrite", "--loss", "dkd", command="distil", data=file) == 2
    assert quick(tmp_path, *more, "--overwrite", "--scheme", "mutual", command="distil", data=file) == 2
    said = capsys.readouterr().err
    assert "--loss dkd: it compares logits of classes" in said
    assert "--scheme mutual: it is of the logits" in said
    assert quick(tmp_path, "--out", str(tmp_path / "sparse"), "--penalty", "inputs,neurons", "--target", "macs=50%",
                 command="train", data=file) == 0
    assert json.loads((tmp_path / "sparse" / "summary.json").read_text())["model"]["rmse"] > 0
