"""The bound of the gradient: by its definition, and what it is for: training at any temperature at the default rate."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from npkd.core.validation import InputError
from npkd.data.datasets import load
from npkd.distillation.objective import distillation
from npkd.distillation.safety import EXAMPLES, redrawn, safe_clip, with_safe_clip
from npkd.distillation.schemes import cross_modal, layer_wise, lifelong, mutual, offline, widened
from npkd.nn.dead import DeadNeuronsWarning
from npkd.nn.losses import cross_entropy
from npkd.nn.network import Layer, Network, perceptron
from npkd.nn.optimisers import SGD
from npkd.nn.training import TrainingSettings, train
from npkd.sparsity.layerwise import distil, exactly
from reference.benchmarks import temperatures
from reference.benchmarks.bars import ProgressBars

ROOT = Path(__file__).resolve().parents[2]


def case():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((600, 20)).astype(np.float32)
    teacher = perceptron([20, 60, 10], rng)
    teacher.layers[2].params[0][...] *= 12                               # logits as large as those of long training
    return perceptron([20, 60, 40, 10], rng), teacher, x


def test_the_bound_is_the_norm_by_differences():
    rng = np.random.default_rng(0)
    student, x, y = perceptron([3, 4, 3], rng, dtype=np.float64), rng.standard_normal((6, 3)), np.arange(6) % 3

    def value():
        z = student.predict(x)
        return float((z[range(6), (y + 1) % 3] - z[range(6), y]).sum()) / 6

    squares = 0.0
    for p in (p for layer in student.layers for p in layer.params):
        for k in np.ndindex(p.shape):
            kept, sides = p[k], []
            for h in (1e-6, -1e-6):
                p[k] = kept + h
                sides.append(value())
            p[k] = kept
            squares += ((sides[0] - sides[1]) / 2e-6) ** 2
    assert safe_clip(student, x, y) == pytest.approx(np.sqrt(squares), rel=1e-6)


def test_the_bound_by_hand():
    """z = Wx + b, x = (3, 4) of class 0: e_b − e_a = (−1, 1), by W it is (−3, −4; 3, 4), by b (−1, 1): √(50 + 2). With
    (−3, −4) of class 0 as well the weights' parts cancel: √2. Of class 1 they add up, and the biases' cancel: √50."""
    linear = Network([Layer("dense", (np.ones((2, 2)), np.zeros(2)))])
    one, two = np.array([[3.0, 4.0]]), np.array([[3.0, 4.0], [-3.0, -4.0]])
    assert safe_clip(linear, one, np.array([0])) == pytest.approx(np.sqrt(52), rel=1e-12)
    assert safe_clip(linear, two, np.array([0, 0])) == pytest.approx(np.sqrt(2), rel=1e-12)
    assert safe_clip(linear, two, np.array([0, 1])) == pytest.approx(np.sqrt(50), rel=1e-12)


def test_the_bound_is_that_of_a_cross_entropy_that_is_sure_and_wrong():
    """(L5) with logits of ±∞ but for rounding; a cross-entropy of the fresh student itself is shorter."""
    student, teacher, x = case()
    y = teacher.predict(x[:EXAMPLES]).argmax(axis=1)
    activations, backward = student(x[:EXAMPLES])

    def norm(logits):
        _, gradients = backward({len(activations) - 1: cross_entropy(logits, y)[1]})
        return np.sqrt(sum(float(np.square(g).sum()) for layer in gradients for g in layer))

    sure = 50 * np.eye(10, dtype=np.float32)[(y + 1) % 10]
    assert safe_clip(student, x[:EXAMPLES], y) == pytest.approx(norm(sure), rel=1e-4)
    assert norm(activations[-1]) < norm(sure)


def test_the_bound_knows_examples_and_classes_and_nothing_of_their_order():
    student, teacher, x = case()
    y = teacher.predict(x).argmax(axis=1)
    order = np.argsort(y)
    bound = safe_clip(student, x, y)
    assert safe_clip(student, x, y) == bound != safe_clip(student, x, np.roll(y, 1))
    assert safe_clip(student, x[order], y[order]) == pytest.approx(bound, rel=0.1)     # other EXAMPLES, of all classes
    assert safe_clip(student, x, y + 10) == bound                                      # classes beyond C go round
    one = Network([Layer("dense", (np.ones((1, 20), np.float32), np.zeros(1, np.float32)))])
    few = x[:100]                                              # of a single output the mean derivative: that of x and 1
    assert safe_clip(one, few, y[:100]) == pytest.approx(np.sqrt((few.mean(axis=0) ** 2).sum() + 1), rel=1e-5)
    assert safe_clip(student, np.full_like(x, np.nan), y) is None                      # train says what is wrong with x
    with pytest.raises(InputError, match="examples is 0"):
        safe_clip(student, x[:0], y[:0])


def test_the_ratio_of_first_gradients():
    """1 for a sure teacher at T = 1; at most T; s/√C in the limit, with the variance s² of the logits over C − 1."""
    v = np.random.default_rng(0).normal(0, 8, (50, 7))
    assert temperatures.ratio(100 * np.eye(7)[[0, 3, 5]], 1.0) == pytest.approx(1, rel=1e-12)
    assert temperatures.ratio(v, 1e5) == pytest.approx(np.sqrt(v.var(axis=1, ddof=1).mean() / 7), rel=1e-3)
    assert all(temperatures.ratio(v, t) <= t for t in (1.0, 4.0, 20.0, 100.0))


def test_a_student_lives_at_any_temperature_with_the_bound_and_dies_without():
    student, teacher, x = case()
    right = teacher.predict(x).argmax(axis=1)
    for temperature in (1.0, 4.0, 20.0, 100.0):
        *_, last = offline(student, teacher, {"x": x}, distillation(0.0, 1.0, temperature),
                           settings=TrainingSettings(30, 32), rng=np.random.default_rng(0))
        assert (last.network.predict(x).argmax(axis=1) == right).mean() > 0.8
    with pytest.warns(DeadNeuronsWarning, match="lower learning rate .*or bound the gradient with clip"):
        *_, last = train(student, {"x": x, "teacher": teacher.predict(x)}, distillation(0.0, 1.0, 100.0),
                         settings=TrainingSettings(30, 32), rng=np.random.default_rng(0))
    assert (last.network.predict(x).argmax(axis=1) == right).mean() < 0.6
    assert max(last.dead.values()) > 0.5


def test_where_the_classes_come_from():
    """Labels; else the teacher's logits; else any, in turn."""
    student, teacher, x = case()
    y, said = np.arange(600)[::-1] % 10, teacher.predict(x).argmax(axis=1)

    def clip(data, answers=None):
        return with_safe_clip(student, data, None, None, answers).clip

    def answers(x):
        return {"teacher": teacher.predict(x)}

    assert clip({"x": x, "y": y}, answers) == safe_clip(student, x, y)
    assert clip({"x": x}, answers) == safe_clip(student, x, said)
    assert clip({"x": x, "y": np.eye(10)[y]}, answers) == safe_clip(student, x, said)
    assert clip({"x": x}) == clip({"x": x}, lambda x: {"teacher2": x}) == safe_clip(student, x, np.arange(600))


def test_what_is_given_stays():
    student, _, x = case()
    given = TrainingSettings(3, clip=7.0)
    assert with_safe_clip(student, {"x": x}, None, given) is given
    assert with_safe_clip(student, {"x": x}, SGD(), TrainingSettings(3)).clip is None
    found = with_safe_clip(student, {"x": x}, None, TrainingSettings(3, 16))
    assert replace(found, clip=None) == TrainingSettings(3, 16, schedule=found.schedule)


def test_every_scheme_has_the_bound(monkeypatch):
    student, teacher, x = case()
    data, seen = {"x": x, "paired": x, "y": teacher.predict(x).argmax(axis=1)}, []
    monkeypatch.setattr("npkd.distillation.schemes.train", lambda *a, settings, **k: seen.append(settings.clip) or [])
    list(offline(student, teacher, data, distillation(), rng=np.random.default_rng(0)))
    list(cross_modal(student, teacher, data, distillation(), rng=np.random.default_rng(0)))
    list(mutual([student, student], data, rng=np.random.default_rng(0)))
    assert seen == [safe_clip(student, x, data["y"])] * 3


def test_a_run_that_goes_on_has_to_say_its_bound():
    student, teacher, x = case()
    with pytest.raises(InputError, match="done is 1 and clip is not set"):
        next(offline(student, teacher, {"x": x}, distillation(), settings=TrainingSettings(3, done=1),
                     rng=np.random.default_rng(0)))


# ---- the experiment


def test_the_experiment_on_a_few_examples():
    problem = temperatures.gaussian(classes=5, examples=300, tested=100)
    found = temperatures.measure([problem], seeds=[0])
    assert [(run["temperature"], run["bounded"]) for run in found["runs"]] == [
        (t, bounded) for bounded in (True, False) for t in temperatures.TEMPERATURES]
    lines = temperatures.table(found).splitlines()
    assert len(lines) == 2 + len(temperatures.TEMPERATURES)
    assert all(line.count("|") == 7 for line in lines)
    found["runs"][0] |= {"test_error": None, "warned": True}                      # a run that diverges misses both bars
    bars = ProgressBars(quiet=True)
    temperatures.judge(bars, found)
    assert bars.missed == 2
    assert "diverged" in temperatures.table(found)


def test_the_stored_runs_are_of_the_settings_of_the_code_and_what_the_chapter_shows():
    found = json.loads((ROOT / "reference" / "measured" / "temperatures.json").read_text(encoding="utf-8"))
    bars = ProgressBars(quiet=True)
    temperatures.judge(bars, found)
    assert (found["settings"], found["bars"]) == (temperatures.SETTINGS, bars.lines)
    assert temperatures.table(found) in (ROOT / "docs" / "book" / "5-losses.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def trained():
    """A network of the digits 0 to 4, one of all, and the examples of both."""
    data, settings = load("digits", seed=0), TrainingSettings(40, 32)
    x, y, found = data.x_train[:1500], data.y_train[:1500], []
    for classes in (5, 10):
        start, seen = perceptron([64, 100, 30, classes], np.random.default_rng(0)), y < classes
        *_, last = train(start, {"x": x[seen], "y": y[seen]}, settings=settings, rng=np.random.default_rng(1))
        found.append(last.network)
    return (*found, x, y)


def test_schemes_that_begin_with_a_trained_student_kill_none_of_its_layers(trained):
    """The bound of a trained network is several times that of its layers drawn anew."""
    old, teacher, x, y = trained
    assert safe_clip(teacher, x, y) > 2 * safe_clip(redrawn(teacher), x, y)
    rng, settings = np.random.default_rng(0), TrainingSettings(40, 32)
    *_, cut = layer_wise(teacher, [64, 20, 10], {"x": x, "y": y}, distillation(0.1, 0.9), settings=settings, rng=rng)
    new = {"x": x[y >= 5], "y": y[y >= 5]}
    *_, grown = lifelong(widened(old, 5, rng), old, new, settings=settings, rng=rng)
    assert max(*cut.dead.values(), *grown.dead.values()) < 0.5
    assert (cut.network.predict(x).argmax(axis=1) != y).mean() < 0.03


def test_a_trained_student_gets_the_bound_of_one_that_is_drawn(trained):
    """With that bound by hand the training is the same to the byte; with the trained one's it is another."""
    old, teacher, x, y = trained
    one, grown = TrainingSettings(1, 32), widened(old, 5, np.random.default_rng(0))
    new = {"x": x[y >= 5], "y": y[y >= 5]}
    parts = np.array_split(x, len(x) // 1000 + 1)
    cut = distil(teacher, lambda: iter(parts), exactly([64, 20, 10])).student
    for student, targets, data, scheme in (
            (grown, new["y"] - 5, new, partial(lifelong, grown, old, new)),
            (cut, y, {"x": x, "y": y}, partial(layer_wise, teacher, [64, 20, 10], {"x": x, "y": y}, distillation()))):
        found = []
        for settings in (one, *(replace(one, clip=safe_clip(network, data["x"], targets))
                                for network in (redrawn(student), student))):
            record, = scheme(settings=settings, rng=np.random.default_rng(2))
            found.append(record.network.layers[0].params[0])
        assert np.array_equal(found[0], found[1])
        assert not np.array_equal(found[0], found[2])


def test_a_network_drawn_anew_is_one_of_the_same_layers_as_it_would_be_drawn():
    network = perceptron([400, 300, 10], np.random.default_rng(5))
    again, drawn = redrawn(network), perceptron([400, 300, 10], np.random.default_rng(1))
    assert again.widths == network.widths
    for one, other, first in zip(again.layers[0].params, drawn.layers[0].params, network.layers[0].params, strict=True):
        assert one.std() == pytest.approx(other.std(), rel=0.02)
        assert one.dtype == first.dtype
    assert not np.array_equal(again.layers[0].params[0], network.layers[0].params[0])
    assert np.array_equal(again.layers[0].params[0], redrawn(network).layers[0].params[0])
