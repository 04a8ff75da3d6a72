"""Smoothed labels, and each class's share: what they are equal to, that the mass of a class is what it should be, and
that a class missing from the transfer set comes back without a label."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.core.validation import InputError
from npkd.data.datasets import load
from npkd.distillation import classes
from npkd.distillation.classes import add_bias, class_bias, label_smoothing, smoothed
from npkd.distillation.objective import Terms
from npkd.distillation.response import decoupled, dist, soft_targets, standardised_logits
from npkd.distillation.terms import Term
from npkd.nn.losses import cross_entropy
from npkd.nn.network import Layer, Network, perceptron
from npkd.nn.training import TrainingSettings, classification, train
from reference.definitions.distillation.classes import shares

LAWS = settings(deadline=None, max_examples=50)


def case(seed, n=4, c=5, size=3.0):
    rng = np.random.default_rng(seed)
    return size * rng.standard_normal((n, c)), rng.integers(0, c, n), rng


# ---- label smoothing
# ----------------------------------------------------------------------------------------------------------------------


def test_label_smoothing_by_hand():
    """p = (½, ¼, ¼), label 1, ε = 0.3: t = (0.1, 0.8, 0.1), L = 0.1 log 2 + 0.9 log 4 = 1.9 log 2, d = p − t."""
    value, d = label_smoothing(np.log([[0.5, 0.25, 0.25]]), np.array([1]), smoothing=0.3)
    assert value == pytest.approx(1.9 * math.log(2), rel=1e-14)
    np.testing.assert_allclose(d, [[0.4, -0.55, 0.15]], atol=1e-15)


@LAWS
@given(seed=st.integers(0, 10 ** 6), smoothing=st.floats(0.01, 0.99))
def test_label_smoothing_is_soft_targets_of_a_virtual_teacher(seed, smoothing):
    """Plus the entropy of what it says, which no student changes; and a mean of two cross-entropies."""
    z, y, _ = case(seed)
    value, d = label_smoothing(z, y, smoothing=smoothing)
    t = smoothed(y, 5, smoothing)
    taught, d_taught = soft_targets(z, np.log(t), temperature=1.0)
    assert value == pytest.approx(taught - (t * np.log(t)).sum(axis=1).mean(), rel=1e-11)
    np.testing.assert_allclose(d, d_taught, rtol=1e-9, atol=1e-13)
    hard, uniform = cross_entropy(z, y)[0], cross_entropy(z, np.full((4, 5), 0.2))[0]
    assert value == pytest.approx((1 - smoothing) * hard + smoothing * uniform, rel=1e-12)
    least, flat = label_smoothing(np.log(t), y, smoothing=smoothing)
    assert value >= least
    np.testing.assert_allclose(flat, 0, atol=1e-15)


def test_nothing_smoothed_is_cross_entropy():
    z, y, _ = case(1)
    assert label_smoothing(z, y, smoothing=0.0)[0] == pytest.approx(cross_entropy(z, y)[0], rel=1e-14)
    assert label_smoothing(z, y)[0] == label_smoothing(z, y, smoothing=0.1)[0], "0.1 unless told"


def test_the_virtual_teacher_is_right_with_probability_one_minus_epsilon_and_its_part_of_the_rest():
    """a of Yuan et al. is 1 − ε + ε/C, and (1 − a)/(C − 1) is ε/C."""
    t = smoothed(np.array([2, 0]), 4, 0.2)
    np.testing.assert_allclose(t, [[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]], rtol=1e-14)
    np.testing.assert_allclose(t.sum(axis=1), 1)
    with pytest.raises(InputError, match="smoothed: labels has classes 0 … 4; needed are 0 … 3"):
        smoothed(np.array([4, 0]), 4, 0.2)


# ---- the share of a class
# ----------------------------------------------------------------------------------------------------------------------


def test_shares_by_hand():
    """Both logits 0 and shares ¾, ¼: log 3 between them, in one number or as ±½ log 3. Counts are shares, too."""
    z = np.zeros((1, 2))
    np.testing.assert_allclose(class_bias(z, np.array([3, 1]), classes=[0]), [math.log(3), 0], rtol=1e-9)
    np.testing.assert_allclose(class_bias(z, np.array([0.75, 0.25])), [0.5 * math.log(3), -0.5 * math.log(3)],
                               rtol=1e-9)


@LAWS
@given(seed=st.integers(0, 10 ** 6), n=st.integers(1, 30), c=st.integers(2, 8), number=st.integers(1, 8),
       size=st.sampled_from([0.1, 3.0, 30.0]))
def test_the_mean_prediction_of_a_chosen_class_is_its_share(seed, n, c, number, size):
    z, _, rng = case(seed, n, c, size)
    prior = rng.uniform(0.05, 1, c)
    chosen = rng.permutation(c)[:number].tolist()
    before = z.copy(), prior.copy()
    b = class_bias(z, prior, classes=chosen)
    assert np.array_equal(z, before[0])
    assert np.array_equal(prior, before[1])
    mass = shares(z, b)
    np.testing.assert_allclose([mass[k] for k in chosen], (prior / prior.sum())[chosen], rtol=0, atol=1e-10)
    if len(chosen) < c:
        assert not np.delete(b, chosen).any()
    else:
        assert abs(b.sum()) <= 1e-9


@LAWS
@given(seed=st.integers(0, 10 ** 6), size=st.sampled_from([0.3, 3.0, 10.0]))
def test_the_share_of_one_class_rises_with_its_number(seed, size):
    """Strictly: its slope is the mean of p (1 − p). So there is one number for each share, which rises with it, too."""
    z, _, _ = case(seed, 20, 4, size)
    prior = np.array([0.1, 0.2, 0.3, 0.4])
    steps = np.arange(-6, 7.0)
    masses = [shares(z, step * np.eye(4)[2])[2] for step in steps]
    assert (np.diff(masses) > 0).all()
    found = [class_bias(z, np.where(np.arange(4) == 2, m / (1 - m) * 0.7, prior), classes=[2])[2] for m in masses]
    np.testing.assert_allclose(found, steps, atol=1e-5)


def test_numbers_that_were_added_before_are_taken_back():
    z, _, rng = case(3, 50)
    shift = rng.standard_normal(5)
    prior = rng.uniform(0.1, 1, 5)
    np.testing.assert_allclose(class_bias(z + shift, prior) + shift - shift.mean(), class_bias(z, prior), atol=1e-8)


@pytest.mark.parametrize("chosen", [[0], [0, 1, 2], None])
@pytest.mark.parametrize("size", [100.0, 300.0])
def test_logits_far_apart(chosen, size):
    """Where every prediction is all or nothing, the share of a class is stairs between examples."""
    z, _, _ = case(4, 40, 6, size)
    b = class_bias(z, np.arange(1, 7), classes=chosen)
    p = np.exp(z + b - (z + b).max(axis=1, keepdims=True))
    mass = (p / p.sum(axis=1, keepdims=True)).mean(axis=0)
    chosen = slice(None) if chosen is None else chosen
    np.testing.assert_allclose(mass[chosen], (np.arange(1, 7) / 21)[chosen], atol=1e-10)


def test_a_class_that_is_never_predicted_comes_back():
    """Its logits 2,000 below the others: its mass underflows to 0, and so does every slope."""
    z, _, _ = case(5, 20)
    z[:, 3] -= 2000
    b = class_bias(z, np.ones(5), classes=[3])
    z[:, 3] += 2000
    assert b[3] - 2000 == pytest.approx(class_bias(z, np.ones(5), classes=[3])[3], abs=1e-8)


def test_few_steps_are_needed_and_too_few_are_said(monkeypatch):
    monkeypatch.setattr(classes, "STEPS", 15)
    for seed in range(20):
        class_bias(case(seed, 200, 10)[0], np.arange(1, 11))
    monkeypatch.setattr(classes, "STEPS", 2)
    with pytest.raises(InputError, match=r"class_bias: a class stays .* from its share"):
        class_bias(case(0, 200, 10)[0], np.arange(1, 11))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_single_precision_is_taken(dtype):
    z, _, _ = case(6, 20)
    b = class_bias(z.astype(dtype), np.ones(5))
    assert b.dtype == np.float64
    np.testing.assert_allclose(b, class_bias(z.astype(dtype).astype(np.float64), np.ones(5)), atol=1e-12)


@pytest.mark.parametrize(("logits", "prior", "chosen", "words"), [
    (np.zeros((3, 2)), np.ones(3), None, "prior has shape (3,)"),
    (np.zeros((3, 2)), np.array([1, 0]), None, "positive numbers"),
    (np.zeros((3, 2)), np.array([1, np.nan]), None, "positive numbers"),
    (np.zeros((3, 2)), np.array([1, np.inf]), None, "positive numbers"),
    (np.zeros((3, 2)), np.ones(2), [2], "some of 0 … 1"),
    (np.zeros((3, 2)), np.ones(2), [-1], "some of 0 … 1"),
    (np.zeros((3, 2)), np.ones(2), [], "some of 0 … 1"),
    (np.array([[0, np.inf]]), np.ones(2), None, "student holds inf at (0, 1)"),
    (np.zeros((3, 2), int), np.ones(2), None, "student is int64"),
    (np.zeros(3), np.ones(2), None, "student is (3,)"),
])
def test_what_class_bias_refuses(logits, prior, chosen, words):
    with pytest.raises(InputError) as error:
        class_bias(logits, prior, classes=chosen)
    assert str(error.value).startswith("class_bias: ")
    assert words in str(error.value)


def test_a_bias_is_added_to_the_logits():
    rng = np.random.default_rng(7)
    network, x = perceptron([4, 6, 3], rng), rng.standard_normal((5, 4)).astype(np.float32)
    before, bias = network.predict(x), np.array([0.5, -2.0, 0.25])
    changed = add_bias(network, bias)
    np.testing.assert_allclose(changed.predict(x), before + bias, rtol=1e-5, atol=1e-6)
    assert changed.predict(x).dtype == np.float32
    assert np.array_equal(network.predict(x), before), "the network itself stays"
    assert [p.shape for layer in changed.layers for p in layer.params] == [
        p.shape for layer in network.layers for p in layer.params]


@pytest.mark.parametrize(("more", "bias"), [((), np.zeros(2)), ((), 0.5), ((Layer("relu"),), np.zeros(3))])
def test_what_has_no_such_biases_is_refused(more, bias):
    network = perceptron([4, 6, 3], np.random.default_rng(8))
    with pytest.raises(InputError, match=r"add_bias: bias is \(.*\) and the last layer (dense|relu)"):
        add_bias(Network([*network.layers, *more]), bias)


def test_a_digit_that_the_student_has_never_seen():
    """Hinton et al. 2015, section 3, on 8 × 8 digits: the transfer set is without threes. The number is found on
    training images without labels and on the counts of the training labels; the test part is looked at alone."""
    data, rng = load("digits", seed=0), np.random.default_rng(0)

    def trained(widths, batch, objective, epochs):
        *_, last = train(perceptron(widths, rng), batch, objective, rng=rng, settings=TrainingSettings(epochs, 50))
        return last.network

    teacher = trained([64, 64, 10], {"x": data.x_train, "y": data.y_train}, classification, 30)
    seen = data.x_train[data.y_train != 3]
    found = {}
    for temperature in (1.0, 4.0):
        batch = {"x": seen, "teacher": teacher.predict(seen)}
        objective = Terms([Term(soft_targets, options={"temperature": temperature})])
        student = trained([64, 48, 10], batch, objective, 20)
        bias = class_bias(student.predict(data.x_train), np.bincount(data.y_train), classes=[3])
        right = [network.predict(data.x_test).argmax(axis=1) == data.y_test
                 for network in (student, add_bias(student, bias))]
        found[temperature] = bias[3], [(r[data.y_test == 3].mean(), r.mean()) for r in right]
    number, ((threes, every), (threes_after, every_after)) = found[1.0]
    assert number > 2
    assert threes < 0.5 < 0.8 < threes_after
    assert every + 0.03 < every_after
    number, ((threes, every), (threes_after, every_after)) = found[4.0]
    assert 0 < number < 2
    assert 0.8 < threes <= threes_after                  # softened answers speak of threes, too
    assert every <= every_after


def test_losses_on_logits_are_terms_of_an_objective():
    """A student learns from each alone."""
    rng = np.random.default_rng(9)
    teacher, x = perceptron([4, 8, 3], rng, dtype=np.float64), rng.standard_normal((200, 4))
    batch = {"x": x, "teacher": teacher.predict(x), "y": teacher.predict(x).argmax(axis=1)}
    for term in (Term(standardised_logits), Term(dist), Term(label_smoothing, teacher="y"),
                 Term(decoupled, options={"beta": 2.0}, arrays={"labels": "y"})):
        student = perceptron([4, 8, 3], rng, dtype=np.float64)
        *_, last = train(student, batch, Terms([term]), rng=rng, settings=TrainingSettings(30, 20))
        agree = (last.network.predict(x).argmax(axis=1) == batch["y"]).mean()
        assert agree > 0.9, term.name
