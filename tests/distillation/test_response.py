"""Losses on logits: the laws that every one of them must show. Definitions, gradients and refusals:
test_catalogue.py."""

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
from npkd.distillation.response import logit_matching, soft_targets
from npkd.gradcheck import check_loss
from npkd.nn.losses import cross_entropy, squared_error
from reference.definitions.distillation import response as defined

LAWS = settings(deadline=None, max_examples=50)
LOSSES = {
    "soft_targets, T = 1": lambda z, v: soft_targets(z, v, temperature=1.0),
    "soft_targets, T = 4": lambda z, v: soft_targets(z, v, temperature=4.0),
    "logit_matching": logit_matching,
}
every = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def logits(seed, n=4, c=5, size=3.0):
    return size * np.random.default_rng(seed).standard_normal((2, n, c))


@every
@LAWS
@given(seed=st.integers(0, 10 ** 6), n=st.integers(1, 6), c=st.integers(1, 6))
def test_laws(loss, seed, n, c):
    rng = np.random.default_rng(seed)
    z, v = logits(seed, n, c)
    value, d = loss(z, v)
    assert value >= -1e-13, "never below zero"
    np.testing.assert_allclose(d.sum(axis=1), 0, atol=1e-12 * (1 + np.abs(d).max()))
    at, slope = loss(v, v)
    assert abs(at) <= 1e-13, "zero at agreement"
    np.testing.assert_allclose(slope, 0, atol=1e-15)
    # a number added to all logits of an example changes nothing, of the student's or of the teacher's
    shift = 5 * rng.standard_normal((n, 1))
    for a, b in ((z + shift, v), (z, v + shift)):
        shifted, d_shifted = loss(a, b)
        assert shifted == pytest.approx(value, rel=1e-10, abs=1e-12)
        np.testing.assert_allclose(d_shifted, d, rtol=1e-9, atol=1e-12)
    # the order of the examples, and of the classes
    order, classes = rng.permutation(n), rng.permutation(c)
    permuted, d_permuted = loss(z[order][:, classes], v[order][:, classes])
    assert permuted == pytest.approx(value, rel=1e-12, abs=1e-14)
    np.testing.assert_allclose(d_permuted, d[order][:, classes], rtol=1e-12, atol=1e-14)
    # every example twice: the same mean, and half the weight for each
    twice, d_twice = loss(np.vstack([z, z]), np.vstack([v, v]))
    assert twice == pytest.approx(value, rel=1e-12, abs=1e-14)
    np.testing.assert_allclose(d_twice, np.vstack([d, d]) / 2, rtol=1e-12, atol=1e-14)
    # the mean over the examples
    assert value == pytest.approx(sum(loss(z[i:i + 1], v[i:i + 1])[0] for i in range(n)) / n, rel=1e-11, abs=1e-13)


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
    with pytest.raises(InputError, match="temperature"):
        soft_targets(*logits(0), temperature=temperature)


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


@pytest.mark.parametrize("loss", [soft_targets, logit_matching, lambda z, v: cross_entropy(z, softmax(v, axis=1))])
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
    z[0, 0] = math.nan
    for loss in LOSSES.values():
        assert math.isnan(loss(z, v)[0])


def test_every_loss_says_what_it_is_divided_by():
    for loss in (squared_error, cross_entropy, soft_targets, logit_matching):
        assert "ivided by N" in " ".join(loss.__doc__.split()), loss.__name__
