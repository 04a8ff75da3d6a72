"""Objectives as sums of terms: values and gradients of students, connectors and parts, the clock, the memory, the
balance of the terms; in training, connectors learn with the student and are no part of it."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from npkd.core.validation import InputError
from npkd.data.transfer import Transfer
from npkd.distillation.objective import Terms, distillation
from npkd.distillation.response import soft_targets
from npkd.distillation.teacher import Teacher, teacher_of
from npkd.distillation.terms import Term
from npkd.nn.losses import cross_entropy, squared_error
from npkd.nn.network import perceptron
from npkd.nn.optimisers import SGD, Adam
from npkd.nn.training import TrainingSettings, train

RNG = np.random.default_rng(3)


def scaled_error(student, teacher, scale):
    """A loss of two activations with a trained part: ½ Σ (s a + b − t)²."""
    a, b = student
    r = scale * a + b - teacher
    return float((r ** 2).sum() / 2), (scale * r, r), np.array([(r * a).sum()])


def counting(student, teacher, *, memory):
    value, d = squared_error(student, teacher)
    return value * (1 + memory), d * (1 + memory), memory + 1


def example():
    rng = np.random.default_rng(1)
    student = perceptron([4, 6, 5, 3], rng, activation="tanh", dtype=np.float64)
    teacher = perceptron([4, 7, 3], rng, activation="tanh", dtype=np.float64)
    x = rng.standard_normal((8, 4))
    batch = {"x": x, "y": rng.integers(0, 3, 8), **Teacher(teacher, (-1, 2))(x)}
    connector = perceptron([6, 4, 7], rng, activation="tanh", dtype=np.float64)
    terms = Terms({(-1, "y"): Term(cross_entropy, weight=0.3), (-1, -1): partial(soft_targets, temperature=3.0),
                   (2, 2): Term(squared_error, weight=0.5, connector=connector),
                   ((4, 2), "z"): Term(scaled_error, parts=(np.array([0.7]),),
                                       connector=(None, perceptron([6, 5], rng, dtype=np.float64)))})
    return student, teacher, {**batch, "z": rng.standard_normal((8, 5))}, terms


def differences(value, array, h=1e-6):
    """Centred, entry by entry, of what is changed in place."""
    out = np.zeros(array.shape)
    for k in np.ndindex(array.shape):
        kept, sides = array[k], []
        for step in (h, -h):
            array[k] = kept + step
            sides.append(value())
        array[k] = kept
        out[k] = (sides[0] - sides[1]) / (2 * h)
    return out


def test_every_gradient_is_that_of_the_value():
    student, _, batch, terms = example()

    def value():
        return terms(student(batch["x"])[0], batch)[0]

    activations, backward = student(batch["x"])
    _, sensitivities = terms(activations, batch)
    own, (_, gradients) = terms.gradient.copy(), backward(sensitivities)
    assert terms.parameters.size == 6 * 4 + 4 + 4 * 7 + 7 + 6 * 5 + 5 + 1
    np.testing.assert_allclose(own, differences(value, terms.parameters), rtol=1e-6, atol=1e-8)
    for layer, parts in zip(student.layers, gradients, strict=True):
        for p, g in zip(layer.params, parts, strict=True):
            np.testing.assert_allclose(g, differences(value, p), rtol=1e-6, atol=1e-8)


def test_the_value_is_the_weighted_sum():
    student, _, batch, terms = example()
    a = student(batch["x"])[0]
    by_hand = [0.3 * cross_entropy(a[-1], batch["y"])[0], soft_targets(a[-1], batch["teacher"], temperature=3.0)[0],
               0.5 * squared_error(terms.terms[2].connector[0].predict(a[2]), batch["teacher2"])[0],
               scaled_error((a[4], terms.terms[3].connector[1].predict(a[2])), batch["z"], np.array([0.7]))[0]]
    assert terms(a, batch)[0] == pytest.approx(sum(by_hand), rel=1e-12)
    assert [t.name for t in terms.terms] == ["cross_entropy", "soft_targets", "squared_error", "scaled_error"]
    assert repr(distillation(0.5)) == "0.5 cross_entropy(-1, y) + 1.0 soft_targets(-1, -1)"


def test_weights_follow_the_training_and_terms_begin_late():
    student, _, batch, _ = example()
    a = student(batch["x"])[0]
    terms = Terms([Term(squared_error, 2, "teacher2b", lambda p: 4 * (1 - p)),
                   Term(cross_entropy, teacher="y", start=3)])
    batch["teacher2b"] = RNG.standard_normal((8, 6))
    hint, labels = squared_error(a[2], batch["teacher2b"])[0], cross_entropy(a[-1], batch["y"])[0]
    for epoch, progress, expected in ((1, 0.0, 4 * hint), (2, 0.5, 2 * hint), (3, 1.0, labels)):
        terms.at(epoch, progress)
        value, sensitivities = terms(a, batch)
        assert value == pytest.approx(expected, rel=1e-12)
        assert set(sensitivities) == {1: {2}, 2: {2}, 3: {5}}[epoch]
    nothing = Terms([Term(cross_entropy, teacher="y", start=9)])
    value, sensitivities = nothing(a, batch)
    assert value == 0
    assert not sensitivities[5].any()


def test_a_memory_goes_in_and_comes_out():
    student, _, batch, _ = example()
    a, terms = student(batch["x"])[0], Terms([Term(counting, memory=0)])
    values = [terms(a, batch)[0] for _ in range(3)]
    assert values == pytest.approx([values[0], 2 * values[0], 3 * values[0]])
    assert terms.memories == {"counting": 3}


@pytest.mark.parametrize("optimiser", [SGD(0.05), SGD(0.05, nesterov=True, weight_decay=0.01), Adam(0.01)], ids=str)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_connectors_learn_as_if_they_were_part_of_the_network(optimiser, clip):
    """A student with the connector as its last layers, trained on the same targets: the same numbers."""
    rng = np.random.default_rng(5)
    student, connector = perceptron([4, 6], rng, dtype=np.float64), perceptron([6, 3], rng, dtype=np.float64)
    joined = type(student)([*student.layers, *connector.layers])
    data = {"x": rng.standard_normal((50, 4)), "t": rng.standard_normal((50, 3))}
    settings, terms = TrainingSettings(4, 16, clip=clip), Terms([Term(squared_error, teacher="t", connector=connector)])
    before = connector.layers[0].params[0].copy()
    apart = list(train(student, data, terms, optimiser=optimiser, settings=settings, rng=np.random.default_rng(0)))
    whole = list(train(joined, data, Terms([Term(squared_error, teacher="t")]), optimiser=optimiser, settings=settings,
                       rng=np.random.default_rng(0)))
    assert len(apart[-1].network.layers) == 1
    np.testing.assert_array_equal(connector.layers[0].params[0], before)          # the given one is copied
    for ours, right in ((apart[-1].network.layers[0], whole[-1].network.layers[0]),
                        (terms.terms[0].connector[0].layers[0], whole[-1].network.layers[1])):
        for p, q in zip(ours.params, right.params, strict=True):
            np.testing.assert_allclose(p, q, rtol=1e-9, atol=1e-11)


def test_a_run_with_connectors_goes_on_as_if_not_broken_off():
    def begin():
        student, _, batch, terms = example()
        return student, batch, terms, np.random.default_rng(0)

    student, batch, terms, rng = begin()
    whole = list(train(student, batch, terms, settings=TrainingSettings(6, 4), rng=rng))
    student, batch, terms, rng = begin()
    first = next(r for r in train(student, batch, terms, settings=TrainingSettings(6, 4), rng=rng) if r.epoch == 3)
    _, _, terms, _ = begin()
    rest = list(train(first.network, batch, terms, rng=rng,
                      settings=TrainingSettings(6, 4, done=3, carried=first.carried)))
    for layer, right in zip(rest[-1].network.layers, whole[-1].network.layers, strict=True):
        for p, q in zip(layer.params, right.params, strict=True):
            np.testing.assert_array_equal(p, q)


def test_the_balance_of_terms_by_its_definition():
    student, _, batch, terms = example()
    activations, backward = student(batch["x"])
    terms.at(1, 0.25)
    terms(activations, batch)
    found = terms.balance(student, batch)

    def gradient(objective):
        _, gradients = backward(objective(activations, batch)[1])
        return np.concatenate([g.ravel() for layer in gradients for g in layer])

    labels = gradient(Terms([Term(cross_entropy, teacher="y")]))
    for term in terms.terms:
        g = gradient(Terms([term]))
        assert found[term.name]["gradient_norm"] == pytest.approx(np.sqrt((g ** 2).sum()), rel=1e-10)
        assert found[term.name]["cosine"] == pytest.approx(g @ labels / np.sqrt((g @ g) * (labels @ labels)), rel=1e-9)
        value = Terms([replace(term, weight=1.0)])(activations, batch)[0]
        assert found[term.name]["value"] == pytest.approx(value, rel=1e-12)
    assert found["cross_entropy"]["cosine"] == pytest.approx(1)
    del batch["y"]
    assert np.isnan(Terms({(-1, -1): soft_targets, (2, 2): terms.terms[2]}).balance(student, batch)
                    ["soft_targets"]["cosine"])
    record = next(train(student, batch | {"y": np.zeros(8, int)}, terms, settings=TrainingSettings(2, 4),
                        rng=np.random.default_rng(0)))
    assert set(record.terms) == set(found)
    assert set(record.dead) == {1, 3}


@pytest.mark.parametrize(("outputs", "loss"), [(3, squared_error), (1, squared_error),
                                               (3, lambda z, y: cross_entropy(z, (y + 1) % 3))])
def test_the_gradient_of_the_labels_is_that_of_the_terms_that_read_them(outputs, loss):
    """Numbers, a single one too, and classes that are told by others; of the labels alone the cosine is 1."""
    rng = np.random.default_rng(4)
    student, x = perceptron([4, 6, outputs], rng, activation="tanh", dtype=np.float64), rng.standard_normal((9, 4))
    y = rng.standard_normal((9, outputs)) if loss is squared_error else np.arange(9) % 3
    terms = Terms([Term(loss, teacher="y", weight=0.3, name="labels"), Term(squared_error, name="other")])
    batch = {"x": x, "y": y, "teacher": rng.standard_normal((9, outputs))}
    activations, backward = student(x)
    flat = [np.concatenate([g.ravel() for layer in backward({3: d})[1] for g in layer])
            for d in (loss(activations[-1], y)[1], squared_error(activations[-1], batch["teacher"])[1])]
    found = terms.balance(student, batch)
    assert found["labels"]["cosine"] == pytest.approx(1, rel=1e-12)
    assert found["other"]["cosine"] == pytest.approx(flat[0] @ flat[1] / np.prod([np.linalg.norm(g) for g in flat]))
    ones = Term(lambda z, y: squared_error(z, np.ones_like(z)), teacher="y", weight=2.0, name="ones")
    second = np.concatenate([g.ravel() for layer in backward({3: squared_error(activations[-1], np.ones_like(
        activations[-1]))[1]})[1] for g in layer])
    whole, two = 0.3 * flat[0] + 2 * second, Terms([terms.terms[0], ones]).balance(student, batch)
    assert two["labels"]["cosine"] == pytest.approx(flat[0] @ whole / np.linalg.norm(flat[0]) / np.linalg.norm(whole))
    no_labels = Terms([Term(squared_error, name="other"), Term(squared_error, weight=2.0)]).balance(student, batch)
    assert np.isnan(no_labels["other"]["cosine"]) == (loss is squared_error)          # else by their cross-entropy


def test_the_teacher_answers_with_the_activations_that_are_read():
    _, teacher, batch, terms = example()
    answers = teacher_of(teacher, terms)
    assert answers.indices == (-1, 2)
    activations, _ = teacher(batch["x"])
    found = answers(batch["x"])
    np.testing.assert_allclose(found["teacher"], activations[-1], rtol=1e-12)
    np.testing.assert_allclose(found["teacher2"], activations[2], rtol=1e-12)
    with pytest.raises(InputError, match="Teacher: activation 9 is asked for; the network has 0 … 3"):
        Teacher(teacher, (9,))


def test_kept_answers_belong_to_the_bytes_of_the_teacher():
    _, teacher, batch, _ = example()
    answers, asked = Teacher(teacher, (-1, 2)), []

    class Counted:
        digest = property(lambda self: answers.digest)

        def __call__(self, x):
            asked.append(len(x))
            return answers(x)

    shows, x = Transfer(Counted()), {"x": batch["x"]}
    for _ in range(3):
        shown = shows(x, np.random.default_rng(0))
    assert sum(asked[1:]) == 8                              # the first question is how large an answer is
    assert np.array_equal(shown["teacher2"], answers(batch["x"])["teacher2"])
    before = answers.digest
    teacher.layers[0].params[0][0, 0] += 1
    assert answers.digest != before
    np.testing.assert_allclose(shows(x, np.random.default_rng(0))["teacher"], teacher.predict(batch["x"]), rtol=1e-12)
    assert sum(asked[1:]) == 16


@pytest.mark.parametrize(("make", "words"), [
    (lambda: Terms([]), "weights of 0 terms are all 0"),
    (lambda: Terms({(-1, "y"): Term(cross_entropy, weight=0)}), "weights of 1 terms are all 0"),
    (lambda: Term("mse"), "loss is 'mse'; it must be a function"),
    (lambda: Term(cross_entropy, weight=-1), "cross_entropy: weight is -1"),
    (lambda: Term(cross_entropy, start=0), "cross_entropy: start is 0"),
    (lambda: Terms([Term(squared_error, (1, 2), connector=perceptron([2, 2], RNG))]), "has 1 connectors for activ"),
    (lambda: Terms([Term(squared_error, connector=perceptron([2, 2], RNG), parts=(X,))]), "of several dty"),
    (lambda: Terms({(9, "y"): squared_error})([X, X], {"x": X, "y": X}), "reads activation 9; .* 0 … 1"),
    (lambda: Terms({(1, 3): squared_error})([X, X], {"x": X}), "holds x; the objective needs 'teacher3' too"),
])
def test_what_is_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


X = np.ones((2, 2))
