"""Bring your own: any form of the same examples gives the same student, labels are not needed, and what cannot work is
refused."""

import contextlib
import importlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import npkd
from npkd.core.validation import Diverged, InputError
from npkd.data.batches import Passes
from npkd.data.datasets import Data
from npkd.data.sampling import hashes, survey
from npkd.interop.adapt import adapt
from npkd.interop.layers import model_of, scaled, unit_of, units_of
from npkd.nn import cost
from npkd.nn.architectures import conv_layer
from npkd.nn.model import Model, content
from npkd.nn.model import load as load_model
from npkd.nn.model import save as save_model
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.nn.ops import Op
from npkd.nn.scaling import Scaling
from npkd.nn.training import TrainingSettings, train
from npkd.pipeline.recipe import Recipe
from npkd.pipeline.stages import State
from tests.tiny import counted, rounding

RNG = np.random.default_rng(0)
N, WIDTH = 600, 8


def clouds():
    """Three clouds in eight dimensions."""
    centres, y = 2 * RNG.standard_normal((3, WIDTH)), RNG.integers(0, 3, N)
    return (centres[y] + RNG.standard_normal((N, WIDTH))).astype(np.float32), y


X, Y = clouds()


def trained(y=Y, epochs=15, widths=(WIDTH, 16, 12, 3)):
    *_, last = train(perceptron(widths, np.random.default_rng(1)), {"x": X, "y": y}, rng=np.random.default_rng(2),
                     settings=TrainingSettings(epochs, 32))
    return last.network


TEACHER = trained()
PAIRS = [TEACHER.layers[i].params for i in TEACHER.dense_layers]


def quick(x=X, teacher=TEACHER, target="macs=30%", *, labels=None, seed=0, progress=None, **numbers):
    """A compression that is done in a moment: two rounds, two epochs behind them."""
    numbers = {"epochs": 2, "rounds": 2, "round_epochs": 1} | numbers
    return npkd.compress(teacher, x, target, labels=labels, recipe=Recipe(**numbers), seed=seed, progress=progress)


@pytest.fixture(scope="module")
def result():
    return quick()


def same(one, other):
    """The same network to the bit."""
    return one.widths == other.widths and len(one.layers) == len(other.layers) and all(
        a.op == b.op and a.options == b.options
        and all(np.array_equal(p, q) for p, q in zip(a.params, b.params, strict=True))
        for a, b in zip(one.layers, other.layers, strict=True))


def batches(*ends, y=None):
    edges = [0, *ends, N]
    return [X[a:b] if y is None else (X[a:b], y[a:b]) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def in_shards(folder, y=None, ends=(100, 350)):
    for k, part in enumerate(batches(*ends, y=y)):
        np.savez(folder / f"{k}.npz", **({"x": part} if y is None else {"x": part[0], "y": part[1]}))
    return folder


def held_out(x):
    """Which examples the hash holds out, with seed 0."""
    first = survey(Passes(lambda: iter([(x, None)]), None, 3, None), 0.1, 0)
    return hashes(x, first.key) < first.below


# ---- what comes out
# ---------------------------------------------------------------------------------------------------------------------


def test_the_result_says_what_it_is(result):
    assert result.teacher.widths == TEACHER.widths
    assert result.macs == (cost.of(TEACHER).macs, cost.of(result.student).macs)
    assert result.macs[1] <= 0.3 * result.macs[0]
    assert [layer.kept for layer in result.layers] == [layer.kept for layer in result.rounds[-1].layers]
    assert [layer.of for layer in result.layers] == TEACHER.widths[:-1]
    assert all(layer.duality_gap <= 1e-6 for layer in result.layers)
    assert result.difference <= 1e-5
    gone = sum(TEACHER.widths[:-1]) - sum(result.student.widths[:-1])
    assert result.removals >= gone, "none is gone without a record"
    assert result.examples + result.held_out == N
    assert result.seen == result.examples
    assert not result.labelled
    assert result.teacher_error == 0
    assert result.student_error == pytest.approx(1 - result.agreement)
    assert result.agreement > 0.8


def test_the_agreement_is_that_of_the_examples_held_out(result):
    """Counted again on the examples that the hash holds out, which the layer-wise step and the distillation never
    saw."""
    held = held_out(X)
    assert held.sum() == result.held_out
    classes = [network.predict(X[held]).argmax(axis=1) for network in (TEACHER, result.student)]
    assert result.agreement == (classes[0] == classes[1]).mean()


def test_it_reads_well(result):
    text = str(result)
    assert f"{result.agreement:.2%}" in text
    assert f"{result.macs[1]:,}" in text
    assert "no labels" in text
    assert "error, held out" not in text
    assert "error, held out" in str(quick(labels=Y))
    assert all(len(line) <= 130 and line == line.rstrip() for line in text.splitlines())


def test_saved_and_loaded(result, tmp_path):
    result.save(tmp_path / "student.npz")
    again = load_model(tmp_path / "student.npz")
    assert same(again.network, result.student)
    assert np.array_equal(again.logits(X), result.logits(X))
    np.testing.assert_allclose(result.logits(X), result.student.predict(X), atol=1e-5)
    assert "made_by" in again.about


def test_the_same_seed_gives_the_same_student_and_another_another(result):
    assert same(quick().student, result.student)
    assert not same(quick(seed=1).student, result.student)


# ---- forms of the examples
# --------------------------------------------------------------------------------------------------------------


FORMS = {
    "float64": lambda folder: X.astype(np.float64),
    "columns first": lambda folder: np.asfortranarray(X),
    "in two axes": lambda folder: X.reshape(N, 2, 4),
    "list of batches": lambda folder: batches(7, 300),
    "one batch": lambda folder: [X],
    "function": lambda folder: lambda: iter(batches(50, 51, 400)),
    "generator": lambda folder: (part for part in batches(11, 12, 13)),
    "generator in two axes": lambda folder: (part.reshape(-1, 2, 4) for part in batches(11, 12, 13)),
    "with an empty batch": lambda folder: iter([X[:0], X[:10], X[:0], X[10:]]),
    "shards": in_shards,
    "one shard": lambda folder: in_shards(folder, ends=()) / "0.npz",
    "path as a word": lambda folder: str(in_shards(folder)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_student(result, form, tmp_path):
    assert same(quick(FORMS[form](tmp_path)).student, result.student)


def test_a_memory_map(result, tmp_path):
    np.save(tmp_path / "x.npy", X)
    assert same(quick(np.load(tmp_path / "x.npy", mmap_mode="r")).student, result.student)


def test_integers_are_what_they_are_as_floats():
    x = np.clip(20 * X + 100, 0, 255).astype(np.uint8)
    assert same(quick(x, target="macs=50%").student, quick(x.astype(np.float32), target="macs=50%").student)


def test_a_copied_iterator_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen = []

    class Look:
        def begin(self, stage, steps):
            seen.append(sum(f.stat().st_size for f in tmp_path.glob("*/x")))

        def step(self, note, record=None):
            pass

    quick(iter(batches(100)), progress=Look())
    assert max(seen) == X.nbytes
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="nan"):
        quick(iter([X[:50], np.full((3, WIDTH), np.nan)]))
    assert list(tmp_path.iterdir()) == []


def test_order_does_not_change_what_is_held_out():
    """A function that shuffles gives as good a student; the parts stay apart."""
    rng = np.random.default_rng(5)

    def shuffled():
        order = rng.permutation(N)
        return iter([X[order[:200]], X[order[200:]]])

    out = quick(shuffled)
    assert out.held_out == quick().held_out
    assert out.agreement > 0.8


def test_the_sample_is_bounded_and_the_statistics_are_not():
    out = quick(sample=100)
    assert out.seen == 100
    assert out.held_out <= 10
    whole = quick()
    assert out.examples == whole.examples
    for one, other in zip(out.rounds[0].layers, whole.rounds[0].layers, strict=True):
        np.testing.assert_allclose(one.curve.error, other.curve.error, rtol=1e-12)


# ---- labels
# ----------------------------------------------------------------------------------------------------------------------
# -
# -
# -
# -
# -
# -
# -


def test_labels_are_measured_with_and_change_nothing_else(result, tmp_path):
    wrong = (Y + 1) % 3
    true, other = quick(labels=Y), quick(labels=wrong)
    assert same(true.student, result.student)
    assert same(other.student, result.student)
    assert true.labelled
    assert true.agreement == result.agreement
    assert true.student_error < 0.3 < other.student_error
    assert true.teacher_error <= 0.2
    for x in (in_shards(tmp_path, Y), iter(batches(5, y=Y))):
        out = quick(x)
        assert (out.labelled, out.student_error, out.teacher_error) == (True, true.student_error, true.teacher_error)
    assert quick(batches(50), labels=Y).student_error == true.student_error


@pytest.mark.parametrize("seed", range(3))
def test_a_teacher_that_nothing_was_taught_is_imitated(seed):
    """There are no true labels at all: what counts is what the teacher does, and the student does it more often than
    chance would."""
    teacher = perceptron([WIDTH, 40, 30, 3], np.random.default_rng(seed))
    x = np.random.default_rng(10 + seed).standard_normal((2000, WIDTH)).astype(np.float32)
    out = quick(x, teacher, "macs=40%", epochs=10)
    by_chance = max(np.bincount(teacher.predict(x).argmax(axis=1))) / len(x)
    assert out.agreement > by_chance + 0.5 * (1 - by_chance)


def test_a_target_of_error_without_labels_bounds_the_disagreement():
    out = quick(X, TEACHER, "error=+8", epochs=10)
    assert out.student_error == 1 - out.agreement or out.agreement == pytest.approx(1 - out.student_error)
    assert 1 - out.agreement <= 0.08
    assert out.macs[1] < out.macs[0]


# ---- forms of the teacher
# ---------------------------------------------------------------------------------------------------------------


def numpy_answer(x):
    a = np.asarray(x, np.float64).reshape(len(x), -1)
    for k, (w, b) in enumerate(PAIRS):
        a = a @ w.T.astype(np.float64) + b
        a = np.maximum(a, 0) if k < len(PAIRS) - 1 else a
    return a


def softmax(x):
    z = np.exp(numpy_answer(x))
    return z / z.sum(axis=1, keepdims=True)


TEACHERS = {
    "pairs": PAIRS,
    "tuple of lists": tuple([w.tolist(), b.tolist()] for w, b in PAIRS),
    "model": Model(TEACHER),
    "float64": TEACHER.astype(np.float64),
    "with dropout and flatten": Network([Layer("flatten"), Layer("dropout", options={"rate": 0.5}), *TEACHER.layers]),
    "layers": npkd.Layers(PAIRS),
    "logits": npkd.Layers(PAIRS, numpy_answer),
    "softmax": npkd.Layers(PAIRS, softmax),
    "log-softmax": npkd.Layers(PAIRS, lambda x: np.log(softmax(x))),
}


@pytest.mark.parametrize("form", TEACHERS)
def test_every_form_of_the_teacher_gives_the_same_student(result, form):
    assert same(quick(teacher=TEACHERS[form]).student, result.student)


def test_a_function_sees_examples_as_they_were_given():
    shapes = []

    def answers(x):
        shapes.append((x.shape[1:], x.dtype))
        return numpy_answer(x)

    quick(X.reshape(N, 2, 4).astype(np.float64), npkd.Layers(PAIRS, answers))
    assert shapes == [((2, 4), np.float32)]


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_other_activations(activation):
    teacher = perceptron([WIDTH, 10, 3], np.random.default_rng(4), activation=activation)
    pairs = [teacher.layers[i].params for i in teacher.dense_layers]
    given = npkd.Layers(pairs, lambda x: teacher.predict(x), activation)
    assert same(quick(teacher=given, target="macs=50%").student, quick(teacher=teacher, target="macs=50%").student)


def snake(x, a):
    """An op that npkd does not have: x + sin²(a x)/a."""
    def backward(dy):
        return dy * (1 + np.sin(2 * a * x)), (dy * (x * np.sin(2 * a * x) / a - (np.sin(a * x) / a) ** 2)).sum(axis=0)
    return x + np.sin(a * x) ** 2 / a, backward


def test_a_network_with_an_op_of_ones_own(tmp_path):
    rng, row = np.random.default_rng(1), Op(snake, ("J",), per_neuron=True)
    network = Network([dense_layer(WIDTH, 16, rng), Layer(row, (np.ones(16, np.float32),)), dense_layer(16, 3, rng)])
    *_, last = train(network, {"x": X, "y": Y}, rng=rng, settings=TrainingSettings(5, 32))
    result = quick(teacher=last.network)
    assert result.macs[1] <= 0.3 * result.macs[0]
    assert result.agreement > 0.8
    result.save(tmp_path / "student.npz")
    again = npkd.load(tmp_path / "student.npz", ops=[row])
    np.testing.assert_array_equal(again.logits(X), result.logits(X))


def test_layers_without_bias():
    pairs = [(w, None) for w, _ in PAIRS]
    zero = [(w, np.zeros(len(w))) for w, _ in PAIRS]
    assert same(model_of(pairs).network, model_of(zero).network)


def test_a_teacher_with_its_own_scaling(result):
    """Raw inputs in, the very same numbers behind the scaling: the same student, and a file that takes raw inputs. With
    a scaling the scale of the inputs is known, and noise is the default; here it is mixing in pairs, as without."""
    numbers = {"noise_std": 0.0, "mixup_alpha": 1.0}
    scaling = Scaling(np.full(WIDTH, 8, np.float32), np.full(WIDTH, 0.5, np.float32))
    raw = np.round(X * 64) / 32 + 8                           # exact in float32, so that scaling gives back X rounded
    exact = quick((raw - 8) * np.float32(0.5))
    for x in (raw, iter([raw[:100], raw[100:]])):
        out = quick(x, Model(TEACHER, scaling), **numbers)
        assert same(out.student, exact.student)
    np.testing.assert_allclose(out.logits(raw), exact.logits((raw - 8) * np.float32(0.5)), rtol=1e-6)


def in_other_units(factor):
    return quick(X * np.float32(factor), scaled(TEACHER, 1 / factor), epochs=10).agreement


@pytest.mark.parametrize("factor", [2.0 ** -12, 2.0 ** 9])
def test_units_of_the_inputs_do_not_matter(factor):
    """Inputs in other units, and a teacher that takes them: as good a student."""
    assert in_other_units(factor) >= 0.9


def features_in_other_units(factors):
    """A teacher of features in units of their own, which says what TEACHER says."""
    factors = np.array(factors, np.float32)
    (w, b), *rest = PAIRS
    return quick(X * factors, [(w / factors, b), *rest], "macs=60%", epochs=10), X * factors


@pytest.mark.parametrize("factors", [[1] * 7 + [2.0 ** 13], [8] * 7 + [2.0 ** 16], [2.0 ** -10] + [1] * 7,
                                     [1, 2 ** 8] * 4], ids=str)
def test_units_of_the_features_do_not_matter(factors):
    """Were they all learnt from in one unit, the small ones would be lost beside the large ones."""
    out, x = features_in_other_units(factors)
    assert out.agreement >= 0.95
    assert out.scaling is None
    assert np.array_equal(out.student.predict(x), out.logits(x))
    assert (out.teacher.predict(x).argmax(axis=1) == TEACHER.predict(X).argmax(axis=1)).mean() > 0.99


def test_a_function_of_features_in_other_units_sees_them_as_they_were_given():
    factors = np.array([8] * 7 + [2.0 ** 16], np.float32)
    (w, b), *rest = PAIRS
    seen = []
    quick(X * factors, npkd.Layers([(w / factors, b), *rest], lambda x: (seen.append(x), numpy_answer(x / factors))[1]))
    assert np.array_equal(seen[0], X * factors)


def test_units_behind_a_select_are_those_of_what_it_keeps():
    units = np.array([2, 4, 8, 16, 32, 64, 128, 256], np.float32)
    dense = Layer("dense", (RNG.standard_normal((2, 3)).astype(np.float32), np.zeros(2, np.float32)))
    body = Network([Layer("select", options={"kept": [5, 1, 7]}), dense])
    assert np.array_equal(scaled(body, units).predict(X / units), body.predict(X))


def test_without_units_for_features_the_small_ones_are_lost(monkeypatch):
    monkeypatch.setattr("npkd.pipeline.examples.units_of", lambda network: None)
    with contextlib.suppress(Diverged):
        assert features_in_other_units([8] * 7 + [2.0 ** 16])[0].agreement < 0.9


def test_what_the_units_of_features_are():
    w = np.array([[3, 3 / 64, 0, 3 * 2.0 ** 12, 3, 3, 90]], np.float32)
    assert units_of(Network([Layer("dense", (w, np.zeros(1, np.float32)))])).tolist() == [1, 64, 1, 2.0 ** -12, 1, 1, 1]
    assert units_of(TEACHER) is None
    assert units_of(Network([Layer("select", options={"kept": [0, 2]}),
                             Layer("dense", (w[:, :2], np.zeros(1)))])) is None
    assert units_of(Network([Layer("dense", (0 * w, np.zeros(1)))])) is None


def test_without_the_change_of_units_the_steps_do_not_fit(monkeypatch):
    monkeypatch.setattr("npkd.pipeline.examples.unit_of", lambda level: 1.0)
    with contextlib.suppress(Diverged):
        assert in_other_units(2.0 ** 9) < 0.9


def test_a_change_of_units_is_exact():
    for level, unit in [(0, 1), (1, 1), (0.1, 1), (4, 1), (80, 64), (1e-3, 2 ** -10), (1e300, 2.0 ** 100)]:
        assert unit_of(level) == unit
    for unit in (2.0 ** -20, 2.0 ** 20):
        x = X[:50]
        assert np.array_equal(scaled(TEACHER, unit).predict(x / np.float32(unit)), TEACHER.predict(x))
    with pytest.raises(InputError, match="beyond float32"):
        scaled(scaled(TEACHER, 1e30), 1e30)


# ---- what is delivered is what is measured

OPPOSITE = TEACHER.replace({len(TEACHER.layers) - 1: Layer("dense", tuple(-p for p in PAIRS[-1]))})
"""The least likely class first."""


def test_a_student_that_is_not_scaled_back_is_seen(monkeypatch):
    """The agreement is that of the saved file on the examples as they were given: spoil the way back, and it falls."""
    x, teacher = X / np.float32(4096), scaled(TEACHER, 4096)
    right = quick(x, teacher, "macs=60%")
    monkeypatch.setattr("npkd.pipeline.examples.Examples.outside", lambda self, network: network)
    wrong = quick(x, teacher, "macs=60%")
    assert right.agreement > 0.9 > wrong.agreement
    assert right.difference <= 1e-5 < 0.1 < wrong.difference


def test_a_file_that_holds_another_network_is_seen(result, monkeypatch):
    """What is measured is read from the file that is written."""
    monkeypatch.setattr("npkd.pipeline.result.save_model",
                        lambda path, model: save_model(path, replace(model, network=OPPOSITE)))
    assert quick().agreement < 0.5 < result.agreement


def test_the_teacher_is_measured_as_it_was_given():
    """In float64 where it is; on examples in their own units."""
    teacher = TEACHER.astype(np.float64)
    out = quick(X * 512, [(w / 512, b) for w, b in PAIRS[:1]] + PAIRS[1:], labels=Y)
    which = held_out(X * np.float32(512))
    assert out.teacher_error == pytest.approx((teacher.predict(X[which].astype(np.float64)).argmax(axis=1)
                                               != Y[which]).mean())
    assert out.student_error == pytest.approx((out.logits(X[which] * 512).argmax(axis=1) != Y[which]).mean())


def test_what_a_run_has_so_far_is_in_the_units_of_the_examples():
    """A progress with a state finds there, at every step, networks of the examples as they were given."""
    class Look:
        state = State()
        errors: ClassVar[list[float]] = []

        def begin(self, stage, steps):
            for network in (self.state.teacher, self.state.student):
                if network is not None:
                    self.errors.append((network.predict(x).argmax(axis=1) != classes).mean())

        def step(self, note, record=None):
            pass

    x, classes = X * np.float32(512), TEACHER.predict(X).argmax(axis=1)
    quick(x, scaled(TEACHER, 1 / 512), "macs=60%", progress=Look())
    assert len(Look.errors) >= 6
    assert max(Look.errors) < 0.2


# ---- data sets, validation parts and generators of one's own


def tiny_data(scaling=None):
    """X and Y as a data set: 400 examples to learn from, 100 for validation, 100 for the test."""
    scaling = scaling or Scaling(np.zeros(WIDTH, np.float32), np.ones(WIDTH, np.float32))
    rows = scaling.apply(X)
    return Data("tiny", rows[:400], Y[:400], rows[400:500], Y[400:500], rows[500:], Y[500:], 3, (WIDTH,), scaling)


def test_a_data_set_brings_its_labels_scaling_and_validation_part():
    scaling = Scaling(np.full(WIDTH, 1, np.float32), np.full(WIDTH, 0.5, np.float32))
    inner = TEACHER.replace({0: Layer("dense", (PAIRS[0][0] * 2, PAIRS[0][1] + PAIRS[0][0].sum(axis=1)))})
    out, same_model = quick(tiny_data(scaling), inner), quick(tiny_data(scaling), Model(inner, scaling))
    assert same(out.student, same_model.student)
    assert out.scaling is scaling
    assert (out.labelled, out.held_out, out.examples) == (True, 100, 400)
    assert out.teacher_error == pytest.approx((TEACHER.predict(X[400:500]).argmax(axis=1) != Y[400:500]).mean(),
                                             abs=0.02)
    assert out.student_error == pytest.approx((out.logits(X[400:500]).argmax(axis=1) != Y[400:500]).mean())
    for options in ({"labels": Y[:400]}, {"validation": 0.2}):
        with pytest.raises(InputError, match="others are given beside it"):
            quick(tiny_data(), **options)


def test_a_data_set_without_a_scaling_is_learnt_from_in_units_too():
    data = replace(tiny_data(), **{name: getattr(tiny_data(), name) * np.float32(512)
                                   for name in ("x_train", "x_validation", "x_test")})
    out = quick(data, scaled(TEACHER, 1 / 512), "macs=60%", epochs=10)
    assert out.agreement >= 0.9
    assert out.scaling is None


def test_a_validation_part_of_ones_own():
    x, y = X[:500], Y[:500]
    out = quick(x, labels=y, validation=(X[500:], Y[500:]))
    assert (out.examples, out.held_out) == (500, 100)
    assert out.student_error == pytest.approx((out.logits(X[500:]).argmax(axis=1) != Y[500:]).mean())
    assert quick(x, validation=(X[500:], None)).agreement == pytest.approx(
        (out.logits(X[500:]).argmax(axis=1) == TEACHER.predict(X[500:]).argmax(axis=1)).mean())
    for wrong, words in (((X[500:], Y[500:]), "with labels"), ((X[500:, :5], None), "5 features")):
        with pytest.raises(InputError, match=words):
            quick(x, validation=wrong)


def test_a_generator_is_drawn_from():
    data, rng = tiny_data(), np.random.default_rng(0)
    assert same(quick(data, seed=rng).student, quick(data, seed=0).student)
    assert not same(quick(data, seed=rng).student, quick(data, seed=0).student), "it went on"
    assert quick(seed=np.random.default_rng(3)).held_out == quick(seed=np.random.default_rng(3)).held_out


# ---- a logit source
# -------------------------------------------------------------------------------------------------------------------

OTHER = trained(epochs=4, widths=(WIDTH, 9, 3))


def test_every_form_of_a_logit_source_gives_the_same_student(result):
    forms = OTHER, Model(OTHER), OTHER.predict, lambda x: OTHER.predict(x).tolist()
    students = [quick(distil_from=distil_from).student for distil_from in forms]
    assert all(same(student, students[0]) for student in students)
    assert not same(students[0], result.student)                     # the teacher had been asked there
    assert same(quick(distil_from=TEACHER).student, result.student)


def test_what_the_logit_source_says_is_learnt():
    """Class 2 whatever it is shown: so does the student, and the teacher is agreed with no more often than it says the
    same."""
    out = quick(X, TEACHER, "macs=60%", epochs=40,
                        distil_from=lambda x: np.tile(np.float32([0, 0, 9]), (len(x), 1)), labels=Y)
    assert (out.logits(X).argmax(axis=1) == 2).mean() > 0.99
    assert out.teacher_error < 0.1 < 0.5 < out.student_error


def test_a_logit_source_with_dropout_under_an_addition_is_asked_as_it_is():
    """Without its dropout an addition's path around is one layer shorter."""
    rng = np.random.default_rng(0)
    layers = [dense_layer(WIDTH, 6, rng, np.float32), Layer("relu"), Layer("dropout", options={"rate": 0.5}),
              dense_layer(6, 6, rng, np.float32), Layer("relu"), Layer("add", options={"back": 3}),
              dense_layer(6, 3, rng, np.float32)]
    distil_from, seen = (
        Network(layers),
        adapt(Model(Network(layers)), Data("x", X, Y, X, Y, X, Y, 3, (WIDTH,), Scaling.standard(X)), "distil_from")
    )
    assert all(layer.op != "dropout" for layer in seen.layers)
    np.testing.assert_allclose(seen.predict(X), distil_from.predict(X), atol=1e-6)


def test_a_logit_source_that_reads_a_part_of_a_flattened_map_under_an_addition_is_asked_as_it_is():
    """Reading all of it with weights of zero takes a layer less, and the addition's path around is one shorter."""
    rng = np.random.default_rng(0)
    distil_from = Network([Layer("unflatten", options={"shape": [2, 4, 1]}), conv_layer(1, 2, 1, rng), Layer("tanh"),
                     Layer("flatten"), Layer("select", options={"kept": [0, 1, 2, 9]}), dense_layer(4, 16, rng),
                     Layer("unflatten", options={"shape": [2, 4, 2]}), Layer("add", options={"back": 4}),
                     Layer("flatten"), dense_layer(16, 3, rng)])
    seen = adapt(Model(distil_from), Data("x", X, Y, X, Y, X, Y, 3, (WIDTH,), Scaling.standard(X)), "distil_from")
    assert all(layer.op != "select" for layer in seen.layers)
    np.testing.assert_allclose(seen.predict(X), distil_from.predict(X), atol=1e-6)


def test_a_select_whose_output_is_added_stays():
    """It turns the positions round; without it the addition would read them as they were."""
    rng = np.random.default_rng(0)
    distil_from = Network([Layer("unflatten", options={"shape": [2, 4, 1]}), conv_layer(1, 1, 1, rng), Layer("tanh"),
                     Layer("flatten"),
                     Layer("select", options={"kept": list(range(7, -1, -1))}), dense_layer(8, 8, rng),
                     Layer("add", options={"back": 1}), dense_layer(8, 3, rng)])
    seen = adapt(Model(distil_from), Data("x", X, Y, X, Y, X, Y, 3, (WIDTH,), Scaling.standard(X)), "distil_from")
    np.testing.assert_allclose(seen.predict(X), distil_from.predict(X), atol=1e-6)


def test_networks_that_read_maps_take_maps(tmp_path):
    """Whether a network says of which size or not, it is the same; without maps to read it is refused."""
    rng = np.random.default_rng(1)
    body = [conv_layer(1, 4, 3, rng), Layer("relu"), Layer("flatten"), dense_layer(16, 3, rng)]
    x = rng.standard_normal((300, 4, 4)).astype(np.float32)
    whole = Network([Layer("unflatten", options={"shape": [4, 4, 1]}), *body])
    out = quick(x, whole, "macs=60%")
    for given, distil_from in ((x, None), (x[..., None], None), (x[..., None], Network(body)),
                               (x, Model(Network(body)))):
        assert same(quick(given, Network(body), "macs=60%", distil_from=distil_from).student, out.student)
    np.testing.assert_array_equal(out.logits(x), out.logits(x[..., None]))
    normed = Network([Layer("gate", (np.full(1, 2, np.float32),)), *body])   # what asks for no shape may stand in front
    apart = np.abs(Model(normed).logits(x[..., None]) - normed.predict(x[..., None]))
    assert (apart <= rounding(normed, x[..., None])).all()
    asked, function = (quick(x[..., None], whole, "macs=60%", distil_from=distil_from).student
                       for distil_from in (normed, Model(normed).logits))
    assert same(asked, function)
    save_model(tmp_path / "maps.npz", Model(Network(body)))
    assert same(load_model(tmp_path / "maps.npz").network, Network(body))
    with pytest.raises(InputError, match=r"reads maps, and an example of x has the shape \(16,\); it must be \(H, W\) "
                                         r"or \(H, W, C\)"):
        quick(x.reshape(300, 16), Network(body), "macs=60%")


def test_nothing_is_called_certified_that_is_not(result):
    rng = np.random.default_rng(2)
    body = [Layer("unflatten", options={"shape": [4, 4, 1]}), conv_layer(1, 4, 3, rng), Layer("relu"), Layer("flatten"),
            dense_layer(16, 3, rng)]
    out = quick(rng.standard_normal((300, 16)).astype(np.float32), Network(body), "macs=60%")
    assert [layer.duality_gap for layer in out.layers] == [None, None]
    assert "certified" not in str(out)
    assert "without a certificate" in str(out)
    assert "Every choice of neurons is certified: relative duality gap at most" in str(result)


def test_a_logit_source_that_adds_around_a_dropout_alone_is_refused_in_words():
    layers = [dense_layer(WIDTH, 6, RNG, np.float32), Layer("dropout", options={"rate": 0.5}),
              Layer("add", options={"back": 1}), dense_layer(6, 3, RNG, np.float32)]
    with pytest.raises(InputError, match="distil_from adds what a dropout takes to what it gives"):
        quick(distil_from=Network(layers))


def test_a_logit_source_is_asked_about_examples_as_they_were_given():
    """In their shape and units, whatever the teacher's scaling and the units that are learnt in: what it is shown lies
    among them."""
    scaling, seen = Scaling(np.full(WIDTH, 800, np.float32), np.full(WIDTH, 0.5, np.float32)), []
    raw = (512 * X + 800).reshape(N, 2, 4)

    def distil_from(x):
        assert x.dtype == np.float32
        seen.append(x.reshape(len(x), -1))
        return OTHER.predict((seen[-1] - 800) / 512)

    quick(raw, Model(scaled(TEACHER, 1 / 256), scaling), distil_from=distil_from, noise_std=0.0, mixup_alpha=1.0)
    assert seen[0] == pytest.approx(raw[:1000].reshape(-1, WIDTH), rel=1e-5)
    shown = np.concatenate(seen[1:])                                # mixed in pairs: between the examples
    assert (shown >= raw.reshape(N, -1).min(axis=0) - 1).all()
    assert (shown <= raw.reshape(N, -1).max(axis=0) + 1).all()
    assert shown.mean(axis=0) == pytest.approx(raw.reshape(N, -1).mean(axis=0), abs=0.1 * 512)


def untaught_norm():
    """A network with a batch norm that was never trained, and knows no moments."""
    norm = Layer("batch_norm", (np.ones(16, np.float32), np.zeros(16, np.float32)))
    return Network([TEACHER.layers[0], norm, *TEACHER.layers[1:]])


BAD_SOURCES = {
    "a list": (PAIRS, "distil_from is of type list; it must be a network of npkd, or a function"),
    "classes": (lambda x: OTHER.predict(x).argmax(1),
                r"600 examples with int64 of shape \(600,\); it must give logits \(600, 3\), finite"),
    "fewer classes": (lambda x: OTHER.predict(x)[:, :2], r"shape \(600, 2\)"),
    "nan": (lambda x: OTHER.predict(x) * np.nan, "finite in float32"),
    "huge": (lambda x: OTHER.predict(x).astype(np.float64) * 1e60, "finite in float32"),
    "probabilities": (lambda x: np.full((len(x), 3), 1 / 3),
                      "gives probabilities, which add up to one; it must give logits"),
    "of other examples": (perceptron([5, 4, 3], RNG), "5"),
    "batch norm without moments": (untaught_norm(), r"distil_from got layer 1 \(batch_norm\) without running moments"),
}


@pytest.mark.parametrize("case", BAD_SOURCES)
def test_logit_sources_that_cannot_be_asked_are_refused_before_the_data_is_read(case, monkeypatch):
    monkeypatch.setattr("npkd.pipeline.examples.survey", None)
    distil_from, words = BAD_SOURCES[case]
    with pytest.raises(InputError, match=words) as found:
        quick(distil_from=distil_from)
    assert "\n" not in str(found.value)


def test_a_logit_source_that_is_silent_later_is_refused_then():
    calls = iter(range(10 ** 6))
    with pytest.raises(InputError, match="distil_from answers"):
        quick(distil_from=lambda x: OTHER.predict(x) if next(calls) < 3 else None)


# ---- targets and inputs
# --------------------------------------------------------------------------------------------------------

def test_all_inputs_kept():
    out = quick(keep_inputs=True, target="macs=50%")
    assert out.student.widths[0] == WIDTH
    assert out.student.layers[0].op == "dense"


@pytest.mark.parametrize("target",
                         ["macs=20%", "macs=100", "neurons=14", "parameters=40%", "bytes=3500", "widths=5-6-4"])
def test_no_target_is_exceeded(target):
    out = quick(target=target)
    kind, _, words = target.partition("=")
    if kind == "widths":
        assert out.student.widths[:-1] == [5, 6, 4]
        return
    if kind == "bytes":
        assert 0.8 * float(words) <= len(content(out.model())) <= float(words)
        return
    whole = counted(TEACHER.widths, kind)
    bound = float(words.removesuffix("%")) / 100 * whole if words.endswith("%") else float(words)
    assert counted(out.student.widths, kind) <= bound


# ---- refusals
# ----------------------------------------------------------------------------------------------------------------------
# -
# -
# -
# -
# -


def bad(at, value):
    x = X.copy()
    x[at] = value
    return x


ONCE = iter(())
BAD_X = {
    "nan": (lambda: bad((17, 3), np.nan), "x holds nan in example 17, feature 3"),
    "infinity late": (lambda: [X[:300], bad((301, 2), np.inf)[300:]], "x holds inf in example 301, feature 2"),
    "beyond float32": (lambda: X.astype(np.float64) * 1e39, "also in float32"),
    "words": (lambda: np.array([["a", "b"]] * 20), "it must hold integers or floating-point numbers"),
    "complex": (lambda: X * 1j, "it must hold integers or floating-point numbers"),
    "wrong width": (lambda: X[:, :5], "takes 8 inputs, but x has 5"),
    "too wide": (lambda: np.tile(X, 2), "takes 8 inputs, but x has 16"),
    "one axis": (lambda: X[:, 0], r"x has shape \(600,\)"),
    "nothing": (lambda: X[:0], r"x has shape \(0, 8\)"),
    "a number": (lambda: 3, "x is of type int"),
    "none": (lambda: None, "x is of type NoneType"),
    "empty iterator": (lambda: iter([]), "x has no examples"),
    "empty list": (lambda: [], "x has no examples"),
    "function of nothing": (lambda: lambda: iter([]), "x has no examples"),
    "function of no iterator": (lambda: lambda: None, "gives NoneType, which is no iterator"),
    "function of an array": (lambda: lambda: X, "gives ndarray, which is no iterator"),
    "rows one by one": (lambda: list(X), r"a batch of x has shape \(8,\)"),
    "widths that change": (lambda: [X, X[:, :7]], r"shape \(600, 7\); .* as the first one, \(8,\)"),
    "widths that change, once": (lambda: iter([X, X[:, :7]]), r"shape \(600, 7\)"),
    "all the same": (lambda: np.ones((30, WIDTH)), "all 30 examples of x are the same"),
    "labels at times": (lambda: [(X[:300], Y[:300]), X[300:]], "some batches have labels and some have none"),
    "labels out of range": (lambda: [(X, Y + 1)], "labels 1 … 3"),
    "labels of another length": (lambda: [(X, Y[1:])], r"y has shape \(599,\)"),
    "labels that are words": (lambda: [(X, Y.astype(str))], r"give np\.unique\(y, return_inverse=True\)\[1\]"),
    "labels that are no classes": (lambda: [(X, Y / 2)], r"labels are .*float64.* must be integer classes"),
    "no folder": (lambda: "no/such/folder", "No such file"),
    "a foreign file": (lambda: __file__, r"test_compress\.py: .*; it is a table in text"),
}


@pytest.mark.parametrize("case", BAD_X)
def test_examples_that_cannot_be_used_are_refused(case):
    make, words = BAD_X[case]
    with pytest.raises(InputError, match=words) as found:
        quick(make())
    assert "\n" not in str(found.value)


def test_the_example_is_named_behind_a_scaling_too():
    with pytest.raises(InputError, match="x holds nan in example 301, feature 2"):
        quick([X[:300], bad((301, 2), np.nan)[300:]], Model(TEACHER, Scaling.standard(X)))


def test_an_iterator_that_a_function_gives_twice_is_seen():
    ONE = iter(batches(100, 200, 300))
    with pytest.raises(InputError, match=r"has no examples|in the first pass and") as found:
        quick(lambda: ONE)
    assert "iterator" in str(found.value)
    parts = iter([batches(300), batches(300), batches(300)[:1]])
    with pytest.raises(InputError,
                       match=r"600 examples in the first pass and 300 in the second; .* new iterator each time"):
        quick(lambda: iter(next(parts)))


@pytest.mark.parametrize(("labels", "x", "words"), [
    (Y[:-1], X, "599 labels and at least 600 examples"),
    (np.append(Y, 0), X, "601 labels and 600 examples"),
    (Y + 1, X, "labels 1 … 3"),
    (Y[:, None], X, r"labels has shape \(600, 1\)"),
    (Y * 0.5, X, r"and the network has 3 outputs; they must be integer classes \(N,\), or floats \(N, 3\)"),
    (Y, [(X, Y)], "labels are given twice"),
    ([], X, "labels"),
    (np.zeros(0, int), X, "labels is empty"),
])
def test_labels_that_do_not_fit_are_refused(labels, x, words):
    with pytest.raises(InputError, match=words):
        quick(x, labels=labels)


W = PAIRS[0][0]
BAD_TEACHERS = {
    "nothing": ([], "the teacher has no layers"),
    "a function": (numpy_answer, "a function alone does not show its layers"),
    "a word": ("teacher.npz", "the teacher is of type str"),
    "no pair": ([W], "layer 0 of the teacher is ndarray, not a pair"),
    "stored the other way": ([(w.T, b) for w, b in PAIRS], r"layer 0 .* w \(8, 16\) and b \(16,\).* given as w\.T"),
    "out of order": ([PAIRS[1], PAIRS[0], PAIRS[2]], r"layer 1 .* behind 12 outputs"),
    "ragged": ([([[1, 2], [3]], [0, 0])], "cannot be read as an array"),
    "words": ([([["a", "b"]], ["c"])], "w and b must hold numbers"),
    "nan": ([(W * np.nan, PAIRS[0][1]), *PAIRS[1:]], "must be finite"),
    "no dense layer": (Network([Layer("relu")]), "has no dense layer"),
    "batch norm without moments": (untaught_norm(), r"the teacher got layer 1 \(batch_norm\) without running moments; "
                                   r"it needs the mean and variance .* give them, .* or train the network"),
    "unknown activation": (npkd.Layers(PAIRS, None, "softplus"), "activation is 'softplus'"),
    "another function": (npkd.Layers(PAIRS, lambda x: numpy_answer(x)[:, ::-1]), "do not compute the same: on example"),
    "another scaling": (npkd.Layers(PAIRS, lambda x: numpy_answer(x / 2)), "do not compute the same: on example"),
    "another activation": (npkd.Layers(PAIRS, numpy_answer, "tanh"), "do not compute the same: on example"),
    "classes as an answer": (npkd.Layers(PAIRS, lambda x: numpy_answer(x).argmax(axis=1)),
                             r"answers 600 examples with int64 of shape \(600,\)"),
    "nan as an answer": (npkd.Layers(PAIRS, lambda x: numpy_answer(x) * np.nan), "it must give finite logits"),
    "fewer classes": (npkd.Layers(PAIRS, lambda x: numpy_answer(x)[:, :2]), r"it must give finite logits \(600, 3\)"),
}


def test_a_function_is_held_against_many_examples_however_they_come():
    """The first one tells nothing of the activation: its pre-activations are zero."""
    (w, _), *rest = PAIRS
    pairs = [(w, np.zeros(16)), *rest]
    x = np.concatenate([np.zeros((1, WIDTH), np.float32), X])

    def tanh(x):
        return np.maximum(np.tanh(x @ w.T) @ rest[0][0].T + rest[0][1], 0) @ rest[1][0].T + rest[1][1]

    for form in (x, [x[:1], x[1:]]):
        with pytest.raises(InputError, match="do not compute the same"):
            quick(form, npkd.Layers(pairs, tanh))


def test_a_function_is_held_against_the_layers_however_small_its_logits_are():
    last, c = PAIRS[-1]
    small = npkd.Layers([*PAIRS[:-1], (1e-6 * last, 1e-6 * c)], lambda x: 1e-6 * numpy_answer(x))
    assert quick(teacher=small).agreement > 0
    with pytest.raises(InputError, match="do not compute the same"):
        quick(teacher=replace(small, activation="tanh"))


@pytest.mark.parametrize("case", BAD_TEACHERS)
def test_teachers_that_cannot_be_used_are_refused(case):
    teacher, words = BAD_TEACHERS[case]
    with pytest.raises(InputError, match=words) as found:
        quick(teacher=teacher)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(("options", "words"), [
    ({"target": "macs=3"}, "smallest that this network can be"),
    ({"target": "macs=1000%"}, "the target must not be above that"),
    ({"target": "size=3"}, "write macs=N"),
    ({"target": "neurons=0"}, "positive number"),
    ({"validation": 0.0}, "validation is 0.0"),
    ({"validation": 0.6}, "validation is 0.6"),
    ({"seed": -1}, "seed is -1"),
    ({"sample": 0}, "sample is 0; it must be at least 1"),
    ({"sample": 100.0}, "sample is 100.0; it must be a whole number"),
    ({"seed": "0"}, "seed is '0'; it must be a whole number"),
    ({"epochs": 1.5}, "epochs is 1.5; it must be a whole number"),
    ({"validation": "0.1"}, "validation is '0.1'"),
    ({"target": 0.1}, "target is 0.1; it must be words"),
])
def test_settings_that_cannot_be_used_are_refused_before_the_data_is_read(options, words):
    read = []

    def x():
        read.append(1)
        return iter([X])

    with pytest.raises(InputError, match=words):
        quick(x, **options)
    assert len(read) <= 1, "a look at the first batch at most"


@pytest.mark.parametrize("more", ["offset", "conv2d with padding", "average_pool with padding"])
def test_a_target_of_parameters_is_not_for_what_it_does_not_count(more):
    """An offset has numbers of its own, and under a padding a constant channel becomes one."""
    if more == "offset":
        network, x = Network([*TEACHER.layers[:1], Layer("offset", (np.ones(16, np.float32),)), *TEACHER.layers[1:]]), X
    else:
        padded = more.startswith("conv2d")
        conv = conv_layer(1, 3, 3 if padded else 1, RNG, padding=1) if padded else conv_layer(1, 3, 1, RNG)
        pool = (
            [] if padded
            else [Layer("average_pool", options={"size": 2, "stride": 1, "padding": 1}), conv_layer(3, 3, 2, RNG)]
        )
        network = Network([Layer("unflatten", options={"shape": [4, 4, 1]}), conv, Layer("relu"), *pool,
                           Layer("flatten"), dense_layer(48, 3, RNG)])
        x = RNG.standard_normal((600, 16))
    with pytest.raises(InputError,
                       match=f"has {more}, and parameters counts weights and biases alone; use macs or neurons"):
        quick(x, network, "parameters=50%")
    assert quick(x, network, "macs=70%").macs[1] <= 0.7 * cost.of(network).macs


def test_a_target_of_parameters_is_for_plain_perceptrons():
    gated = Network([TEACHER.layers[0], Layer("gate", (np.ones(16, np.float32),)), *TEACHER.layers[1:]])
    with pytest.raises(InputError, match="use macs or neurons"):
        quick(teacher=gated, target="bytes=50%")
    assert quick(teacher=gated, target="macs=50%").agreement > 0.7


def test_a_full_disk_is_said(monkeypatch):
    class Full:
        def __init__(self, path, mode):
            self.mode = mode

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("npkd.data.batches.open", Full, raising=False)
    with pytest.raises(InputError, match="No space left on device; make room"):
        quick(iter([X]))


def test_what_fails_in_a_function_of_the_user_is_left_as_it_is():
    def broken():
        yield X
        raise OSError("the camera is gone")

    for x in (broken, broken()):
        with pytest.raises(OSError, match="the camera is gone"):
            quick(x)


def test_the_package_offers_it():
    from npkd import CompressionResult, Layers, compress

    module = importlib.import_module("npkd.pipeline.compress")
    assert (compress, CompressionResult, Layers) == (module.compress, module.CompressionResult, module.Layers)
    public = {"compress", "train", "Network", "Layer", "Layers", "Model", "Recipe", "CompressionResult", "load", "save",
              "gradcheck"}
    assert public <= set(dir(npkd)), "tab completion finds them"
    assert all(getattr(npkd, name) is not None for name in public)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = npkd.nothing
    assert Path(npkd.__file__).name == "__init__.py"
