"""The checker itself: it accepts what is right, to the last digits, and it notices what is wrong."""

import numpy as np
import pytest

from npkd import gradcheck
from npkd.core.validation import InputError

RNG = np.random.default_rng(0)
X, W = RNG.standard_normal((3, 4)), RNG.standard_normal((2, 4))


def product(x, w):
    return x @ w.T, lambda dy: (dy @ w, dy.T @ x)


def waves(x, *, speed=1.0):
    return np.exp(np.sin(speed * x)), lambda dy: (dy * speed * np.cos(speed * x) * np.exp(np.sin(speed * x)),)


def with_backward(op, change):
    """The op with its gradients changed."""
    def changed(*arguments, **options):
        y, backward = op(*arguments, **options)
        return y, lambda dy: change(dy, backward(dy))
    return changed


def test_right_gradients_are_right_to_the_last_digits():
    report = gradcheck.check(product, X, W)
    assert report.ok
    assert report.spoiled_caught
    assert set(report.errors) == {"x", "w"}
    assert report.worst < 1e-12
    assert report.who == "product"
    assert report.value == 0.0
    for speed in (0.1, 1.0, 5.0):
        assert gradcheck.check(waves, X, options={"speed": speed}).worst < 1e-9


def test_float32_arguments_are_checked_in_float64_and_not_changed():
    x = X.astype(np.float32)
    before = x.copy()
    assert gradcheck.check(waves, x).worst < 1e-9
    assert x.dtype == np.float32
    assert (x == before).all()


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
def test_steps_fit_arguments_of_any_size(scale):
    assert gradcheck.check(product, scale * X, W).worst < 1e-9


def test_a_kink_nearby_does_no_harm():
    def relu(x):
        return np.maximum(x, 0), lambda dy: (dy * (x > 0),)
    assert gradcheck.check(relu, np.array([[0.004, -0.004, 1.0], [-0.01, 0.02, -3.0]])).worst < 1e-9


@pytest.mark.parametrize("change", [
    lambda dy, g: (g[0] * (1 + 1e-6), g[1]),
    lambda dy, g: (g[0], -g[1]),
    lambda dy, g: (g[0], g[1] + 1e-6 * np.eye(2, 4)),               # a constant that no sensitivity brings
    lambda dy, g: tuple(a / np.abs(dy).max() for a in g),            # right for unit sensitivities alone
    lambda dy, g: tuple(a * np.abs(dy).sum() for a in g),
    lambda dy, g: (np.full_like(g[0], np.nan), g[1]),
])
def test_wrong_gradients_are_noticed(change):
    report = gradcheck.check(with_backward(product, change), X, W)
    assert not report.ok
    assert "WRONG" in str(report)


def test_a_wrong_argument_order_is_noticed_where_shapes_agree():
    square = RNG.standard_normal((3, 3))
    assert gradcheck.check(product, square, square.T + 1).ok
    assert not gradcheck.check(with_backward(product, lambda dy, g: g[::-1]), square, square.T + 1).ok


def test_the_definition_counts_not_the_op():
    report = gradcheck.check(product, X, W, definition=lambda x, w: 2 * (x @ w.T))
    assert not report.ok
    assert report.value == pytest.approx(0.5)
    assert report.errors["w"] == pytest.approx(0.5)


def test_every_spoiling_is_tried_and_transposition_where_square():
    report = gradcheck.check(product, RNG.standard_normal((3, 3)), RNG.standard_normal((2, 3)))
    assert sorted(report.spoiled) == [
        "gradient of w largest entry zeroed", "gradient of w times 1 + 1e-5", "gradient of x largest entry zeroed",
        "gradient of x times 1 + 1e-5", "gradient of x transposed",
    ]


def test_a_check_without_power_is_not_ok():
    def symmetric(x):                                     # a transposed gradient is the same gradient
        return np.array([x.sum()]), lambda dy: (np.full_like(x, dy[0]),)
    report = gradcheck.check(symmetric, RNG.standard_normal((2, 2)))
    assert report.worst < 1e-12
    assert not report.spoiled_caught
    assert not report.ok
    assert "NOT noticed: gradient of x transposed" in str(report)

    def ignores(x, w):
        return x.copy(), lambda dy: (dy, np.zeros_like(w))
    assert not gradcheck.check(ignores, X, W).ok        # nothing depends on w here: choose other arguments


def test_a_generator_among_the_options_draws_the_same_each_time():
    def noisy(x, *, rng):
        m = rng.standard_normal(x.shape)
        return x * m, lambda dy: (dy * m,)
    rng = np.random.default_rng(3)
    state = rng.bit_generator.state
    assert gradcheck.check(noisy, X, options={"rng": rng}).ok
    assert rng.bit_generator.state == state


def test_a_loss():
    def cubic(prediction, target, *, power=3):
        return float(((prediction - target) ** power).sum()), power * (prediction - target) ** (power - 1)
    target = RNG.standard_normal((3, 4))
    report = gradcheck.check_loss(cubic, X, target)
    assert report.ok
    assert report.who == "cubic"
    assert set(report.errors) == {"prediction"}
    assert gradcheck.check_loss(cubic, X, target, options={"power": 2}).ok
    assert not gradcheck.check_loss(cubic, X, target, definition=lambda p, t: float(((p - t) ** 2).sum())).ok
    halved = gradcheck.check_loss(lambda p, t: (cubic(p, t)[0], cubic(p, t)[1] / 2), X, target)
    assert halved.errors["prediction"] == pytest.approx(0.5)


@pytest.mark.parametrize(("slope", "good"),
                         [(0.0, True), (0.3, True), (1.0, True), (1.1, False), (-0.1, False), (np.nan, False)])
def test_on_a_kink_the_slope_lies_between_the_one_sided_differences(slope, good):
    def relu(x):
        return np.maximum(x, 0), lambda dy: (dy * np.where(x > 0, 1, np.where(x < 0, 0, slope)),)
    assert gradcheck.check_kink(relu, np.array([0.0, 1.0, -1.0, 0.0])).ok == good


def test_two_winners_of_one_tie_are_found_out():
    def largest(x, share):
        winners = (x == x.max()).astype(float)
        return np.array([x.max()]), lambda dy: (dy[0] * winners / (winners.sum() if share else 1), 0.0 * share)
    tie, on, off = np.array([2.0, 1.0, 2.0]), np.array(1.0), np.array(0.0)
    assert gradcheck.check_kink(largest, tie, on, definition=lambda x, share: np.array([x.max()])).ok
    assert not gradcheck.check_kink(largest, tie, off, definition=lambda x, share: np.array([x.max()])).ok


@pytest.mark.parametrize(("op", "arguments", "words"), [
    (with_backward(product, lambda dy, g: g[0]), (X, W), ("backward", "ndarray", "tuple of 2")),
    (with_backward(product, lambda dy, g: g[:1]), (X, W), ("backward", "1 gradients", "tuple of 2")),
    (with_backward(product, lambda dy, g: (g[0].T, g[1])), (X, W), ("gradient 0", "(4, 3)", "(3, 4)")),
    (product, (X, np.ones((2, 4), int)), ("product", "argument 1", "int64", "floating-point")),
    (product, (), ("no arguments", "product")),
])
def test_what_cannot_be_checked_is_refused(op, arguments, words):
    with pytest.raises(InputError) as error:
        gradcheck.check(op, *arguments)
    for word in words:
        assert word in str(error.value)
