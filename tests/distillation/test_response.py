"""Losses on logits: the laws that every one of them must show, and those that one does not show. Definitions,
gradients and refusals: test_check.py."""

import decimal
import math
import warnings
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from npkd.core.validation import InputError
from npkd.distillation.classes import label_smoothing
from npkd.distillation.response import decoupled, dist, logit_matching, soft_targets, standardised_logits
from npkd.gradcheck import check_loss
from npkd.nn.losses import cross_entropy, squared_error
from reference.definitions.distillation import response as defined

LAWS = settings(deadline=None, max_examples=50)


def some(z, labels):
    """The labels, or any, where none are given."""
    return np.arange(len(z)) % z.shape[1] if labels is None else labels


LOSSES = {
    "soft_targets, T = 1": lambda z, v, y=None: soft_targets(z, v, temperature=1.0),
    "soft_targets, T = 4": lambda z, v, y=None: soft_targets(z, v, temperature=4.0),
    "logit_matching": lambda z, v, y=None: logit_matching(z, v),
    "standardised_logits": lambda z, v, y=None: standardised_logits(z, v, temperature=2.0, eps=1e-12),
    "standardised_logits, ddof = 1": lambda z, v, y=None: standardised_logits(z, v, eps=1e-12, ddof=1),
    "decoupled": lambda z, v, y=None: decoupled(z, v, labels=some(z, y)),
    "dist": lambda z, v, y=None: dist(z, v, gamma=0.7, temperature=2.0, eps=1e-30),
    "label_smoothing": lambda z, v, y=None: label_smoothing(z, some(z, y), smoothing=0.2),
}
"""Of a student's and a teacher's logits, and labels."""
every = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def logits(seed, n=4, c=5, size=3.0):
    return size * np.random.default_rng(seed).standard_normal((2, n, c))


# ---- laws
# ----------------------------------------------------------------------------------------------------------------------


def never_negative(loss, z, v, y, rng):
    assert loss(z, v, y)[0] >= -1e-13


def nothing_at_agreement(loss, z, v, y, rng):
    value, d = loss(v, v, y)
    assert abs(value) <= 1e-13
    np.testing.assert_allclose(d, 0, atol=1e-13)


def rows_sum_to_zero(loss, z, v, y, rng):
    d = loss(z, v, y)[1]
    np.testing.assert_allclose(d.sum(axis=1), 0, atol=1e-12 * (1 + np.abs(d).max()))


def unchanged(one, other):
    assert one[0] == pytest.approx(other[0], rel=1e-9, abs=1e-11)
    np.testing.assert_allclose(one[1], other[1], rtol=1e-8, atol=1e-11)


def a_constant_on_the_student(loss, z, v, y, rng):
    unchanged(loss(z + 5 * rng.standard_normal((len(z), 1)), v, y), loss(z, v, y))


def a_constant_on_the_teacher(loss, z, v, y, rng):
    unchanged(loss(z, v + 5 * rng.standard_normal((len(z), 1)), y), loss(z, v, y))


def a_factor_on_the_student(loss, z, v, y, rng):
    """But for ε."""
    factor = rng.uniform(0.5, 2, (len(z), 1))
    value, d = loss(factor * z, v, y)
    expected, d_expected = loss(z, v, y)
    assert value == pytest.approx(expected, rel=1e-5, abs=1e-9)
    np.testing.assert_allclose(factor * d, d_expected, rtol=1e-5, atol=1e-6)


def a_factor_on_the_teacher(loss, z, v, y, rng):
    value, d = loss(z, rng.uniform(0.5, 2, (len(z), 1)) * v, y)
    assert value == pytest.approx(loss(z, v, y)[0], rel=1e-5, abs=1e-9)
    np.testing.assert_allclose(d, loss(z, v, y)[1], rtol=1e-5, atol=1e-6)


def the_order_of_the_examples(loss, z, v, y, rng):
    order = rng.permutation(len(z))
    value, d = loss(z[order], v[order], y[order])
    unchanged((value, d), (loss(z, v, y)[0], loss(z, v, y)[1][order]))


def the_order_of_the_classes(loss, z, v, y, rng):
    order = rng.permutation(z.shape[1])
    value, d = loss(z[:, order], v[:, order], np.argsort(order)[y])
    unchanged((value, d), (loss(z, v, y)[0], loss(z, v, y)[1][:, order]))


def every_example_twice(loss, z, v, y, rng):
    """The same mean, and half the weight for each."""
    value, d = loss(np.vstack([z, z]), np.vstack([v, v]), np.tile(y, 2))
    expected, d_expected = loss(z, v, y)
    unchanged((value, d), (expected, np.vstack([d_expected, d_expected]) / 2))


def a_mean_over_the_examples(loss, z, v, y, rng):
    single = [loss(z[i:i + 1], v[i:i + 1], y[i:i + 1]) for i in range(len(z))]
    unchanged(loss(z, v, y), (np.mean([one for one, _ in single]), np.vstack([d for _, d in single]) / len(z)))


EVERY_LAW = (never_negative, nothing_at_agreement, rows_sum_to_zero, a_constant_on_the_student,
             a_constant_on_the_teacher, a_factor_on_the_student, a_factor_on_the_teacher, the_order_of_the_examples,
             the_order_of_the_classes, every_example_twice, a_mean_over_the_examples)
FACTORS = {a_factor_on_the_student, a_factor_on_the_teacher}
BROKEN = {name: FACTORS for name in LOSSES if not name.startswith("standardised")} | {
    "dist": FACTORS | {a_mean_over_the_examples},
    "label_smoothing": {nothing_at_agreement, a_factor_on_the_student},      # it knows no teacher
}
"""The laws that a loss does not keep."""
LEAST = {"standardised_logits": 3, "standardised_logits, ddof = 1": 3, "decoupled": 3, "dist": 2}
"""Classes that a loss needs; with two the gradient of standardised logits is rounding alone."""
PAIRS = [(name, law) for name in LOSSES for law in EVERY_LAW]


def drawn(seed, name, classes):
    """Arguments of a law; two examples at least where the loss is one of the whole batch."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1 + (name == "dist"), 7))
    z, v = 3 * rng.standard_normal((2, n, classes))
    return z, v, rng.integers(0, classes, n), rng


@pytest.mark.parametrize(("name", "law"), [(name, law) for name, law in PAIRS if law not in BROKEN.get(name, ())])
@LAWS
@given(seed=st.integers(0, 10 ** 6), classes=st.integers(1, 6))
def test_laws(name, law, seed, classes):
    law(LOSSES[name], *drawn(seed, name, max(classes, LEAST.get(name, 1))))


@pytest.mark.parametrize(("name", "law"), [(name, law) for name in BROKEN for law in EVERY_LAW if law in BROKEN[name]])
def test_laws_that_are_not_kept(name, law):
    """Else the tests of the laws could not fail."""
    for seed in range(5):
        with pytest.raises(AssertionError):
            law(LOSSES[name], *drawn(seed + 10, name, 5))


@every
@pytest.mark.parametrize("seed", range(3))
def test_finite_differences(loss, seed):
    z, v = logits(seed, 3, 4)
    assert check_loss(loss, z, v).ok


@LAWS
@given(seed=st.integers(0, 10 ** 6), c=st.integers(2, 6))
def test_the_limit_of_high_temperatures(seed, c):
    """T²·KL → ‖centred difference‖²/(2C), logit_matching being C times that; for values and gradients. The error falls
    like 1/T."""
    z, v = logits(seed, 3, c, size=1.0)
    limit, d_limit = logit_matching(z, v)
    errors = []
    for T in (1e2, 1e3, 1e4):
        value, d = soft_targets(z, v, temperature=T)
        errors.append(max(abs(c * value - limit), float(np.abs(c * d - d_limit).max())))
    assert errors[0] <= 0.3
    assert errors[1] <= 0.2 * errors[0] + 1e-7
    assert errors[2] <= 0.2 * errors[1] + 1e-6      # rounding: T² times a difference of 1/T²


def test_the_limit_of_low_temperatures():
    """T → 0: cross-entropy with the teacher's class, times T: T · the gap of the student's logits."""
    z, v = np.array([[1.0, 3.0, 0.0]]), np.array([[5.0, 1.0, 2.0]])
    for T in (0.1, 0.01):
        value, _ = soft_targets(z, v, temperature=T)
        assert value == pytest.approx(T * (3.0 - 1.0), rel=1e-6)


@LAWS
@given(seed=st.integers(0, 10 ** 6), temperature=st.floats(0.2, 50))
def test_soft_targets_are_cross_entropy_less_the_teachers_entropy(seed, temperature):
    """Against another loss of this package that was written on its own: T² (H(q, p) − H(q))."""
    z, v = logits(seed)
    q = np.exp(v / temperature)
    q /= q.sum(axis=1, keepdims=True)
    crossed, d_crossed = cross_entropy(z / temperature, q)
    own, _ = cross_entropy(v / temperature, q)
    value, d = soft_targets(z, v, temperature=temperature)
    assert value == pytest.approx(temperature ** 2 * (crossed - own), rel=1e-8, abs=1e-10 * temperature ** 2)
    np.testing.assert_allclose(d, temperature * d_crossed, rtol=1e-9, atol=1e-12 * temperature)


def test_the_gradient_keeps_its_size():
    """That is what T² is for."""
    z, v = logits(0, 50, 10, size=1.0)
    sizes = [float(np.linalg.norm(soft_targets(z, v, temperature=T)[1])) for T in (4.0, 16.0, 64.0)]
    assert max(sizes) < 2 * min(sizes)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_extreme_logits_overflow_nowhere(temperature):
    z, v = np.array([[1e4, -1e4, 0.0]]), np.array([[-1e4, 1e4, 1.0]])
    value, d = soft_targets(z, v, temperature=temperature)
    assert value == pytest.approx(temperature * 2e4)
    np.testing.assert_allclose(d, temperature * np.array([[1.0, -1.0, 0.0]]), atol=1e-12)
    assert soft_targets(v, v, temperature=temperature)[0] == 0


def test_single_precision_is_kept_and_near():
    z, v = logits(1)
    for loss in LOSSES.values():
        value, d = loss(z.astype(np.float32), v.astype(np.float32))
        assert d.dtype == np.float32
        assert value == pytest.approx(loss(z, v)[0], rel=1e-5)
    assert soft_targets(z, v)[0] == pytest.approx(defined.soft_targets(z, v, 4.0), rel=1e-12), "T = 4 unless told"


def test_arguments_stay_as_they_are():
    z, v = logits(2)
    before = z.copy(), v.copy()
    for loss in LOSSES.values():
        d = loss(z, v)[1]
        d[:] = math.nan
        assert np.array_equal(z, before[0])
        assert np.array_equal(v, before[1])


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_temperatures_that_are_none(temperature):
    for loss in (soft_targets, standardised_logits, dist, lambda z, v, **options: decoupled(
            z, v, labels=np.zeros(4, int), **options)):
        with pytest.raises(InputError, match="temperature"):
            loss(*logits(0), temperature=temperature)


# ---- digits
# ----------------------------------------------------------------------------------------------------------------------


def exact(z, v, temperature):
    """Value (K1) and p − q in fifty decimal digits."""
    with decimal.localcontext() as context:
        context.prec = 50
        total, differences = Decimal(0), []
        for z_n, v_n in zip(z.tolist(), v.tolist(), strict=True):
            p, q = ([(Decimal(a) / Decimal(temperature)).exp() for a in row] for row in (z_n, v_n))
            p, q = [a / sum(p) for a in p], [a / sum(q) for a in q]
            total += sum(b * (b.ln() - a.ln()) for a, b in zip(p, q, strict=True))
            differences.append([float(a - b) for a, b in zip(p, q, strict=True)])
        return float(Decimal(temperature) ** 2 * total / len(z)), temperature / len(z) * np.array(differences)


@pytest.mark.parametrize("temperature", [1.0, 20.0, 1e3, 1e6])
@pytest.mark.parametrize("apart", [3e-3, 1.0, 30.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_digit_is_lost_at_any_temperature_and_near_agreement(temperature, apart, dtype):
    rng = np.random.default_rng(0)
    v = (3 * rng.standard_normal((8, 10))).astype(dtype)
    z = (v + apart * rng.standard_normal((8, 10))).astype(dtype)
    value, d = soft_targets(z, v, temperature=temperature)
    expected, d_expected = exact(z, v, temperature)
    assert value == pytest.approx(expected, rel=1e-6)
    assert np.abs(d - d_expected).max() <= 1e-6 * np.abs(d_expected).max()
    assert d.dtype == dtype


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10 ** 6), temperature=st.floats(0.1, 1e8),
       apart=st.sampled_from([0.0, 1e-7, 1e-3, 1.0, 1e3]))
def test_a_divergence_is_never_negative(seed, temperature, apart):
    rng = np.random.default_rng(seed)
    v = (5 * rng.standard_normal((4, 6))).astype(np.float32)
    value, _ = soft_targets((v + apart * rng.standard_normal(v.shape)).astype(np.float32), v, temperature=temperature)
    assert value >= 0
    assert apart or value == 0


def test_many_classes_and_examples_are_the_mean_over_the_examples():
    rng = np.random.default_rng(1)
    z, v = rng.standard_normal((2, 50, 900))
    single = [soft_targets(z[n:n + 1], v[n:n + 1]) for n in range(50)]
    value, d = soft_targets(z, v)
    assert value == pytest.approx(np.mean([one for one, _ in single]), rel=1e-12)
    np.testing.assert_allclose(d, np.vstack([d_one for _, d_one in single]) / 50, rtol=1e-12)


# ---- masked classes
# --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [soft_targets, logit_matching, lambda z, v: cross_entropy(z, softmax(v, axis=1)),
                                  lambda z, v: decoupled(z, v, labels=np.arange(5) % 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_class_masked_in_both_is_as_if_it_were_not_there(loss, dtype):
    z, v = (a.astype(dtype) for a in logits(3, 5, 4))
    value, d = loss(z, v)
    column = np.full((5, 1), -np.inf, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masked, d_masked = loss(np.hstack([z, column]), np.hstack([v, column]))
    assert masked == pytest.approx(value, rel=1e-6 if dtype == np.float32 else 1e-13)
    np.testing.assert_allclose(d_masked[:, :4], d, rtol=1e-5, atol=1e-7)
    assert not d_masked[:, 4].any()


def test_a_class_masked_in_one_alone():
    """The student has no chance to say it: infinite. The teacher does not say it: the student's chance counts as the
    others'."""
    z, v = np.array([[1.0, 2.0, -np.inf]]), np.array([[1.0, 2.0, 0.5]])
    value, d = soft_targets(z, v, temperature=1.0)
    assert value == math.inf
    q = np.exp(v) / np.exp(v).sum()
    np.testing.assert_allclose(d, [[1 / (1 + math.e) - q[0, 0], math.e / (1 + math.e) - q[0, 1], -q[0, 2]]], rtol=1e-12)
    value, d = soft_targets(v, z, temperature=1.0)
    assert value == pytest.approx(-math.log(1 - q[0, 2]), rel=1e-12)
    assert cross_entropy(z, np.array([2]))[0] == math.inf
    assert cross_entropy(z, np.array([1]))[0] == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-12)


@pytest.mark.parametrize("side", [0, 1])
def test_logit_matching_of_a_class_masked_in_one_alone_is_refused(side):
    """Its centred distance is infinite, with no finite gradient; it was NaN."""
    both = list(np.zeros((2, 3, 4)))
    both[side][1, 2] = -np.inf
    with pytest.raises(InputError, match="−∞ in student or teacher alone"):
        logit_matching(*both)


def test_what_is_not_a_number_stays_so():
    z, v = logits(4)
    z[0, 1] = math.nan
    for loss in LOSSES.values():
        assert math.isnan(loss(z, v)[0])


def test_every_loss_says_what_it_is_divided_by():
    for loss in (squared_error, cross_entropy, soft_targets, logit_matching, standardised_logits, decoupled, dist,
                 label_smoothing):
        assert "ivided by N" in " ".join(loss.__doc__.split()), loss.__name__


# ---- standardised logits
# ----------------------------------------------------------------------------------------------------------------------


def test_the_scores_of_two_classes_are_plus_and_minus_one():
    """(3, 1) has mean 2 and deviation 1: (1, −1); (0, 5) gives (−1, 1). With p = σ(2) = 1 − q of the first class both
    logarithms log q/p are ∓2: L = −2q + 2p = 2 tanh 1. Nothing moves it."""
    value, d = standardised_logits(np.array([[3.0, 1.0]]), np.array([[0.0, 5.0]]), temperature=1.0, eps=1e-300)
    assert value == pytest.approx(2 * math.tanh(1), rel=1e-14)
    np.testing.assert_allclose(d, 0, atol=1e-15)


def test_the_libraries_deviation_is_another_temperature():
    """With ddof = 1 the deviation is √(C/(C − 1)) times as large, as if T were, but for T² before the sum."""
    z, v = logits(5)
    one, d_one = standardised_logits(z, v, temperature=2.0, ddof=1)
    other, d_other = standardised_logits(z, v, temperature=2.0 * math.sqrt(5 / 4))
    assert one == pytest.approx(other * 4 / 5, rel=1e-6)
    np.testing.assert_allclose(d_one, d_other * 4 / 5, rtol=1e-5, atol=1e-8)


@LAWS
@given(seed=st.integers(0, 10 ** 6), c=st.integers(3, 8))
def test_standardised_logits_at_high_temperatures_are_one_minus_their_correlation(seed, c):
    z, v = logits(seed, 3, c)
    r = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(z, v, strict=True)])
    errors = [abs(standardised_logits(z, v, temperature=T, eps=1e-12)[0] - (1 - r)) for T in (1e2, 1e3, 1e4)]
    assert (np.array(errors) <= [0.03, 0.003, 0.0003]).all(), "of order 1/T"


def test_the_gradient_of_standardised_logits_is_orthogonal_to_the_logits():
    """Since a factor changes nothing (Euler)."""
    z, v = logits(6)
    d = standardised_logits(z, v, eps=1e-300)[1]
    np.testing.assert_allclose((d * z).sum(axis=1), 0, atol=1e-15)


def test_equal_logits_have_scores_of_zero_and_a_finite_gradient():
    """To first order a step δ from them has scores (δ − mean)/ε."""
    z, v = np.full((1, 4), 3.0), logits(7, 1, 4)[1]
    value, d = standardised_logits(z, v, temperature=1.0, eps=0.1)
    assert np.isfinite(value)
    np.testing.assert_allclose(d, 10 * soft_targets(np.zeros((1, 4)), (v - v.mean()) / (v.std() + 0.1),
                                                    temperature=1.0)[1], rtol=1e-12)


# ---- decoupled
# ----------------------------------------------------------------------------------------------------------------------


def test_decoupled_by_hand():
    """Probabilities p = (½, ¼, ¼) of the student, twice, label 0. q = (½, ⅜, ⅛) agrees on the label: the first part is
    0, and (¾, ¼) against (½, ½) in the second gives K = ¾ log 1.5 + ¼ log ½. q = (¼, ⅜, ⅜) agrees on the rest: the
    second part is 0, and (¼, ¾) against (½, ½) in the first is K again. Half of α K + β K."""
    z = np.log([[0.5, 0.25, 0.25]] * 2)
    v = np.log([[0.5, 0.375, 0.125], [0.25, 0.375, 0.375]])
    K = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    value, d = decoupled(z, v, labels=np.array([0, 0]), alpha=3.0, beta=5.0, temperature=1.0)
    assert value == pytest.approx(4 * K, rel=1e-13)
    # first: ½ · 5 · (½ − ¾, ½ − ¼) on the rest; second: ½ · 3 · (½ − ¼) on the label, minus that, halved, on the rest
    np.testing.assert_allclose(d, [[0, -0.625, 0.625], [0.375, -0.1875, -0.1875]], atol=1e-15)


@LAWS
@given(seed=st.integers(0, 10 ** 6), c=st.integers(3, 7), temperature=st.floats(0.3, 20))
def test_soft_targets_are_the_first_part_plus_what_the_teacher_leaves_times_the_second(seed, c, temperature):
    """KD = TCKD + (1 − q_y) NCKD of each example, values and gradients; so with β = 1 − q_y nothing is decoupled."""
    z, v = logits(seed, 1, c)
    label = np.random.default_rng(seed).integers(0, c, 1)
    left = 1 - float(softmax(v / temperature, axis=1)[0, label[0]])
    whole, d_whole = soft_targets(z, v, temperature=temperature)
    first, d_first = decoupled(z, v, labels=label, alpha=1.0, beta=0.0, temperature=temperature)
    second, d_second = decoupled(z, v, labels=label, alpha=0.0, beta=1.0, temperature=temperature)
    size = temperature ** 2 * (1 + abs(whole) / temperature ** 2)
    assert whole == pytest.approx(first + left * second, rel=1e-11, abs=1e-14 * size)
    np.testing.assert_allclose(d_whole, d_first + left * d_second, rtol=1e-9, atol=1e-13 * temperature)
    both, d_both = decoupled(z, v, labels=label, alpha=1.0, beta=left, temperature=temperature)
    assert both == pytest.approx(whole, rel=1e-11, abs=1e-14 * size)
    np.testing.assert_allclose(d_both, d_whole, rtol=1e-9, atol=1e-13 * temperature)


@pytest.mark.parametrize("label", range(3))
def test_no_probability_of_a_decoupled_loss_underflows_to_a_logarithm_of_zero(label):
    """z = (1000, −1000, 0), v = (−1000, 1000, 1), T = 1. Label 0: the rest of z is 0 against 1000, of v 1000 against
    −1000: q = (0, 1), log p of the rest −1000: 1000. Within the rest −1000 against 0 and 1000 against 1: 1000. Label 1:
    the label −1000 against 1000 in z, 1000 against 1 in v: 2000; within the rest 1000 against 0, −1000 against 1: q on
    the second, 1000. Label 2: 0 against 1000, 1 against 1000, q on the rest: 0; the rest 1000 against −1000 and the
    other way round: 2000."""
    z, v = np.array([[1000.0, -1000, 0]]), np.array([[-1000.0, 1000, 1]])
    for beta, expected in ((0.0, (1000, 2000, 0)), (1.0, (2000, 3000, 2000))):
        value, d = decoupled(z, v, labels=np.array([label]), beta=beta, temperature=1.0)
        assert value == pytest.approx(expected[label], rel=1e-12, abs=1e-12)
        assert np.isfinite(d).all()
    # the slopes of the first part: p − q of the label, shared by the rest as p is
    d = decoupled(z, v, labels=np.array([0]), beta=0.0, temperature=1.0)[1]
    np.testing.assert_allclose(d, [[1, 0, -1]], atol=1e-12)


@LAWS
@given(seed=st.integers(0, 10 ** 6), size=st.sampled_from([1.0, 30.0, 1e3, 1e4]), temperature=st.floats(0.5, 10))
def test_decoupled_is_finite_and_not_negative_whatever_the_logits(seed, size, temperature):
    z, v = logits(seed, 4, 4, size)
    value, d = decoupled(z, v, labels=np.arange(4), temperature=temperature)
    assert 0 <= value < math.inf
    assert np.isfinite(d).all()
    assert decoupled(v, v, labels=np.arange(4), temperature=temperature)[0] <= 1e-290


def test_decoupled_with_a_teacher_that_is_sure_is_cross_entropy():
    """Its first part, T = 1; the second is about classes of which the label says nothing."""
    z, labels = logits(8)[0], np.array([0, 3, 2, 2])
    v = 1e3 * np.eye(5)[labels]
    value, d = decoupled(z, v, labels=labels, beta=0.0, temperature=1.0)
    expected, d_expected = cross_entropy(z, labels)
    assert value == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(d, d_expected, atol=1e-15)


@LAWS
@given(seed=st.integers(0, 10 ** 6), c=st.integers(3, 6))
def test_decoupled_at_high_temperatures(seed, c):
    """α (C − 1)/(2C²) (δ_y − mean of the rest)² + β/(2(C − 1)) ‖the rest without its mean‖², δ = z − v."""
    z, v = logits(seed, 1, c, size=1.0)
    delta, rest = (z - v)[0], (z - v)[0, 1:]
    limit = 2 * (c - 1) / (2 * c ** 2) * (delta[0] - rest.mean()) ** 2
    limit += 3 / (2 * (c - 1)) * ((rest - rest.mean()) ** 2).sum()
    errors = [abs(decoupled(z, v, labels=np.array([0]), alpha=2.0, beta=3.0, temperature=T)[0] - limit)
              for T in (1e2, 1e3)]
    assert (np.array(errors) <= [0.5, 0.05]).all(), "of order 1/T"


# ---- DIST
# ----------------------------------------------------------------------------------------------------------------------


def test_dist_by_hand():
    """Rows: (½, ¼, ¼) and (¼, ½, ¼) without their mean ⅓ are (2, −1, −1)/12 and (−1, 2, −1)/12: ρ = −3/6; the second
    pair is equal: ρ = 1; 1 − ¼ = ¾. Columns: (½, ¼) against (¼, ¼), and (¼, ¼) against (½, ¼), do not vary together:
    0; (¼, ½) against itself: 1; 1 − ⅓ = ⅔."""
    z, v = np.log([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]]), np.log([[0.25, 0.5, 0.25], [0.25, 0.25, 0.5]])
    assert dist(z, v)[0] == pytest.approx(0.75 + 2 / 3, rel=1e-6)
    assert dist(z, v, gamma=0.0)[0] == pytest.approx(0.75, rel=1e-6)
    assert dist(z, v, beta=3.0, gamma=6.0)[0] == pytest.approx(3 * 0.75 + 4, rel=1e-6)


def test_predictions_that_are_an_affine_map_of_the_teachers_cost_nothing_within_examples():
    """p = ⅓ + ½ (q − ⅓): another confidence, the same relations; soft targets see a difference."""
    q = softmax(logits(9)[1], axis=1)
    z, v = np.log(0.2 + 0.5 * (q - 0.2)), np.log(q)
    assert dist(z, v, gamma=0.0, eps=1e-30)[0] == pytest.approx(0, abs=1e-14)
    assert soft_targets(z, v, temperature=1.0)[0] > 0.01


def test_one_example_alone_has_no_relations_within_classes():
    z, v = logits(10, 1)
    value, d = dist(z, v, temperature=3.0)
    within, d_within = dist(z, v, gamma=0.0, temperature=3.0)
    assert value == pytest.approx(within + 9, rel=1e-13)
    np.testing.assert_allclose(d, d_within, atol=1e-15)


def test_at_agreement_dist_is_what_epsilon_makes_of_it():
    """1 − ‖a‖²/(‖a‖² + ε) = ε/(‖a‖² + ε) of each class: much for a class that hardly varies."""
    v = logits(11, 6, 4)[1]
    a = softmax(v, axis=1)
    squares = ((a - a.mean(axis=0)) ** 2).sum(axis=0)
    for eps in (1e-8, 1e-2):
        assert dist(v, v, beta=0.0, eps=eps)[0] == pytest.approx((eps / (squares + eps)).mean(), rel=1e-6, abs=1e-14)


def test_dist_at_high_temperatures_is_the_correlation_of_the_logits_times_the_squared_temperature():
    z, v = logits(12)
    r = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(z, v, strict=True)])
    assert dist(z, v, gamma=0.0, temperature=1e4, eps=1e-30)[0] / 1e8 == pytest.approx(1 - r, rel=1e-3)


@pytest.mark.parametrize("loss", [LOSSES["decoupled"], LOSSES["dist"], LOSSES["soft_targets, T = 4"]])
def test_extreme_logits_are_no_numbers_that_are_none(loss):
    z, v = logits(13, size=1e3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, d = loss(z, v)
    assert math.isfinite(value)
    assert np.isfinite(d).all()
