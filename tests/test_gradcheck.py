"""The checker itself: it accepts what is right, to the last digits, and it notices what is wrong."""

import numpy as np
import pytest

from npkd import gradcheck
from npkd.core.validation import InputError
from npkd.nn.normalisation import batch_norm
from npkd.sparsity.penalties import NeuronGroups
from npkd.sparsity.pseudo_norm import L1L2

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
    names = sorted(name for name in report.spoiled if "plus" not in name)
    assert names == [
        "gradient of w largest entry zeroed", "gradient of w times 1 + 1e-05", "gradient of x largest entry zeroed",
        "gradient of x times 1 + 1e-05", "gradient of x transposed",
    ]
    assert len(report.spoiled) == len(names) + 2
    assert report.unchanged == ()


def test_spoilings_without_effect_prove_nothing_and_are_named():
    def total(x):                                         # a transposed gradient is the same gradient
        return np.array([x.sum()]), lambda dy: (np.full_like(x, dy[0]),)
    report = gradcheck.check(total, RNG.standard_normal((2, 2)))
    assert report.ok
    assert report.unchanged == ("gradient of x transposed",)

    def ignores(x, w):
        return x.copy(), lambda dy: (dy, np.zeros_like(w))
    report = gradcheck.check(ignores, X, W)
    assert report.ok
    assert "gradient of w largest entry zeroed" in report.unchanged
    assert any(name.startswith("gradient of w one entry plus") for name in report.spoiled)


def test_a_spoiling_that_is_missed_is_not_ok():
    report = gradcheck.Report("op", {"x": 0.0}, 0.0, 1e-7, {"gradient of x transposed": False})
    assert not report.ok
    assert "NOT noticed: gradient of x transposed" in str(report)


# ---- right gradients that are hard to tell by differences
# -----------------------------------------------------------------------


def op_of(f, slope):
    """An op of a function of single numbers and its derivative."""
    def op(x):
        return f(x), lambda dy: (dy * slope(x),)
    return op


def refusing(f):
    """A function that refuses what lies outside of its domain x > 0."""
    def inside(x):
        if (x <= 0).any():
            raise ValueError("x must be positive")
        return f(x)
    return inside


ROOMS = {
    "log near its end": (np.log, lambda x: 1 / x, [0.02, 1.0]),
    "log nearer": (np.log, lambda x: 1 / x, [1e-6, 3e-5]),
    "log of two sizes": (np.log, lambda x: 1 / x, [1e-7, 1.0, 1e5]),
    "log that refuses": (refusing(np.log), lambda x: 1 / x, [1e-3, 2.0]),
    "square root near its end": (np.sqrt, lambda x: 0.5 / np.sqrt(x), [1e-8, 4.0]),
    "pole": (lambda x: 1 / x, lambda x: -1 / x ** 2, [0.01, -0.02]),
    "small arguments": (lambda x: x * x, lambda x: 2 * x, [1e-30, -3e-30]),
    "small arguments, small structure": (lambda x: np.sin(1e6 * x), lambda x: 1e6 * np.cos(1e6 * x), [1e-6, 5e-7]),
    "small arguments, large structure": (np.exp, np.exp, [1e-12, -1e-12]),
    "zeros among large ones": (np.cos, lambda x: -np.sin(x), [0.0, 100.0]),
    "large arguments": (lambda x: np.sin(x / 1e8), lambda x: np.cos(x / 1e8) / 1e8, [3e8, -1e8]),
    "small values": (lambda x: 1e-20 * np.tanh(x), lambda x: 1e-20 * (1 - np.tanh(x) ** 2), [0.3, -1.0]),
    "large values": (lambda x: 1e20 * np.tanh(x), lambda x: 1e20 * (1 - np.tanh(x) ** 2), [0.3, -1.0]),
}


@pytest.mark.parametrize("room", ROOMS)
def test_steps_fit_the_domain_and_the_size_of_the_arguments(room):
    f, slope, x = ROOMS[room]
    report = gradcheck.check(op_of(f, slope), np.array(x))
    assert report.ok, report
    assert report.worst <= 1e-7
    for wrong in (lambda x: slope(x) * (1 + 1e-6), lambda x: -slope(x), lambda x: 0 * x):
        assert not gradcheck.check(op_of(f, wrong), np.array(x)).ok


def batch_normalised_sum(x):
    y, backward = batch_norm(x, np.ones(5), np.zeros(5))
    return np.asarray(y.sum()), lambda dy: (backward(np.full(y.shape, float(dy)))[0],)


def sum_of_softmax(x):
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p.sum(axis=1), lambda dy: (p * (dy - (p * dy[:, None]).sum(axis=1))[:, None],)


FLAT = {
    "normalised and summed": (batch_normalised_sum, RNG.random((25, 5))),
    "probabilities summed": (sum_of_softmax, RNG.standard_normal((3, 4))),
    "sine and cosine": (lambda x: (np.sin(x) ** 2 + np.cos(x) ** 2,
                                   lambda dy: (dy * (2 * np.sin(x) * np.cos(x) - np.sin(2 * x)),)),
                        RNG.standard_normal((2, 3))),
    "dead relu": (lambda x: (np.maximum(x, 0), lambda dy: (dy * (x > 0),)), -1 - RNG.random((2, 3))),
    "constant": (lambda x: (np.ones(2), lambda dy: (np.zeros_like(x),)), RNG.standard_normal((2, 3))),
    "saturated": (lambda x: (np.tanh(x), lambda dy: (dy * (1 - np.tanh(x) ** 2),)), np.array([25.0, -30.0])),
    "small and flat": (lambda x: (np.maximum(x, 0), lambda dy: (dy * (x > 0),)), -1e-9 * RNG.random((2, 2)) - 1e-9),
}


@pytest.mark.parametrize("name", FLAT)
def test_a_true_gradient_of_zero_is_right_and_another_is_not(name):
    op, x = FLAT[name]
    report = gradcheck.check(op, x)
    assert report.ok, report
    assert report.worst == 0
    assert any(report.spoiled.values()), "a gradient that is not zero is noticed"
    for wrong in (1e-6, 1.0):
        assert not gradcheck.check(with_backward(op, lambda dy, g, w=wrong: (g[0] + w * dy.sum(),)), x).ok


def test_a_small_gradient_is_not_zero():
    small = op_of(lambda x: 1 + 1e-7 * x, lambda x: np.full_like(x, 1e-7))
    assert gradcheck.check(small, X, tolerance=1e-4).ok
    assert not gradcheck.check(with_backward(small, lambda dy, g: (0 * g[0],)), X, tolerance=1e-4).ok


def test_entries_without_effect_beside_others():
    """Half of a relu is dead; the gradient as a whole is not zero, and a spoiled dead entry is noticed."""
    relu, x = op_of(lambda x: np.maximum(x, 0), lambda x: x > 0), np.array([1.0, -2.0, 0.5, -3.0])
    assert gradcheck.check(relu, x).ok
    assert not gradcheck.check(with_backward(relu, lambda dy, g: (g[0] + 1e-6 * dy * (x < 0),)), x).ok


def single_tanh(x):
    y = np.tanh(x.astype(np.float32))
    return y, lambda dy: (dy * (1 - y * y),)


@pytest.mark.parametrize("tolerance", [1e-4, 1e-3, 0.01, 0.3])
def test_any_tolerance_can_be_asked_for(tolerance):
    x = np.array([[0.5, -1.0], [0.2, 2.0]])
    report = gradcheck.check(single_tanh, x, tolerance=tolerance)
    assert report.ok, report
    assert len(report.spoiled) == 4
    assert not gradcheck.check(with_backward(single_tanh, lambda dy, g: (g[0] * (1 + 2 * tolerance),)), x,
                                 tolerance=tolerance).ok
    assert not gradcheck.check(single_tanh, x, tolerance=1e-9).ok


@pytest.mark.parametrize("tolerance", [0.0, -1.0, np.nan, np.inf])
def test_tolerances_that_are_none(tolerance):
    with pytest.raises(InputError, match="tolerance"):
        gradcheck.check(product, X, W, tolerance=tolerance)


# ---- what an op must not change
# --------------------------------------------------------------------------------------------------


def doubled(x):
    return 2 * x, lambda dy: (2 * dy,)


def forgets(x):
    x += 1.0
    k = x.copy()
    return x * x, lambda dy: (2 * k * dy,)


def doubles_in_place(x):
    def backward(dy):
        dy *= 2
        return (dy,)
    return 2 * x, backward


def squares_in_place(x):
    def backward(dy):
        x[...] = 2 * x * dy
        return (x,)
    return x * x, backward


def overwrites_its_value(x):
    y = 2 * x

    def backward(dy):
        y[...] = 2 * dy
        return (y,)
    return y, backward


@pytest.mark.parametrize(("op", "fault"), [
    (forgets, "changes its argument x"), (doubles_in_place, "its backward changes dy"),
    (squares_in_place, "its backward changes its argument x"), (overwrites_its_value, "its backward changes y"),
])
def test_arrays_that_are_changed_are_noticed(op, fault):
    report = gradcheck.check(op, np.array([[1.0, 2.0]]))
    assert not report.ok
    assert fault in report.faults
    assert f"WRONG: relative errors x {report.errors['x']:.1e}, value 0.0e+00 (at most 1e-07); " in str(report)
    assert fault in str(report)
    assert gradcheck.check(doubled, np.array([[1.0, 2.0]])).faults == ()


def test_a_loss_that_changes_its_target_is_noticed():
    def loss(prediction, target):
        target -= prediction
        value = float((target * target).sum())
        target += prediction + 1
        return value, np.zeros_like(prediction)
    assert "changes its target" in gradcheck.check_loss(loss, X, np.zeros_like(X)).faults


def test_a_failure_says_both_numbers_and_where():
    def wrong(x, w):
        y, backward = product(x, w)

        def changed(dy):
            dx, dw = backward(dy)
            dw[1, 2] += 0.5 * dy[2, 1] * x[2, 2]
            return dx, dw
        return y, changed
    report = gradcheck.check(wrong, X, W)
    assert not report.ok
    (fault,) = report.faults
    assert fault.startswith("gradient of w at (1, 2) from y at (2, 1): backward ")
    assert f"backward {1.5 * X[2, 2]:.9g}, differences {X[2, 2]:.9g}" in fault
    assert fault in str(report)


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
    assert halved.errors["p"] == pytest.approx(0.5)


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


def test_a_dead_kink_and_kinks_of_any_size():
    def relu(x, *, slope):
        return np.maximum(x, 0), lambda dy: (dy * np.where(x > 0, 1, np.where(x < 0, 0, slope)),)
    for size in (1e-9, 1.0, 1e9):
        x = size * np.array([0.0, 1.0, -1.0])
        assert gradcheck.check_kink(relu, x, options={"slope": 0.5}).ok
        assert not gradcheck.check_kink(relu, x, options={"slope": 1.5}).ok
    assert gradcheck.check_kink(sum_of_softmax, np.zeros((1, 3))).ok


# ---- penalties
# -------------------------------------------------------------------------------------------------------------------


class Ridge:
    """λ/2 ‖w‖², a penalty as somebody else might write it."""

    def __init__(self, lam, factor=1.0):
        self.lam, self.factor = lam, factor

    def value(self, w):
        return 0.5 * self.lam * float((w * w).sum())

    def prox(self, v, step):
        return self.factor * v / (1 + step * self.lam)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_a_penalty_of_ones_own(size):
    v = size * RNG.standard_normal((3, 2))
    report = gradcheck.check_penalty(Ridge(0.7), v, 0.5, RNG.uniform(0.5, 2, v.shape))
    assert report.ok, report
    assert report.who == "Ridge"
    assert len(report.spoiled) == 6
    wrong = gradcheck.check_penalty(Ridge(0.7, 1.0001), v, 0.5)
    assert not wrong.ok
    assert "prox breaks the law of a convex penalty" in str(wrong)
    assert not gradcheck.check_penalty(Ridge(0.7), v, 0.5, definition=lambda w: 0.7 * float((w * w).sum())).ok


class Count:
    """The number of weights that are not zero, with its exact step: hard thresholding."""

    def __init__(self, bound=2.0):
        self.bound = bound

    def value(self, w):
        return float((w != 0).sum())

    def prox(self, v, step):
        return np.where(v * v > self.bound * step, v, 0)


def test_of_a_penalty_that_is_not_convex_the_law_says_nothing():
    assert "of one that is not convex this check says nothing: give convex=False" in str(
        gradcheck.check_penalty(Count(), X, 0.5))
    assert "convex=False" in gradcheck.check_penalty.__doc__


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_a_penalty_that_is_not_convex_by_search(size):
    v = np.array([[0.3, -1.2, 2.0], [0.0, 0.9, -0.5]])
    report = gradcheck.check_penalty(Count(), size * v, 0.5 * size ** 2, 0.3 * size ** 2, convex=False)
    assert report.ok, report
    assert len(report.spoiled) == 6
    assert not report.unchanged
    for bound in (1.4, 4.0):                        # a weight that should go stays, and one that should stay goes
        wrong = gradcheck.check_penalty(Count(bound), size * v, 0.5 * size ** 2, convex=False)
        assert not wrong.ok
        assert "prox is not the global minimum: a search finds a smaller one" in str(wrong)


def test_a_convex_penalty_passes_the_search_too_and_a_wrong_one_does_not():
    v = np.random.default_rng(0).standard_normal((3, 2))
    assert gradcheck.check_penalty(Ridge(0.7), v, 0.5, convex=False).ok
    assert not gradcheck.check_penalty(Ridge(0.7, 1.0001), v, 0.5, convex=False).ok
    assert gradcheck.check_penalty(NeuronGroups(0.6), v, 0.5, RNG.uniform(0.5, 2, v.shape), convex=False).ok


def test_a_minimum_that_is_local_alone_is_noticed():
    """With every weight, and with none: no small change of either is better."""
    v = np.array([[0.3, -1.2, 2.0], [0.0, 0.9, -0.5]])
    for bound in (0.0, 1e9):
        report = gradcheck.check_penalty(Count(bound), v, 0.3, convex=False)
        assert "prox is not the global minimum: a search finds a smaller one" in report.faults


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("factor", [0.0, 0.999, 1.001, 3.0])
def test_a_step_of_another_strength_is_noticed(squared, factor):
    class Other(L1L2):
        def prox(self, v, step):
            return L1L2(factor * self.lam, squared=squared).prox(v, step)

    v = np.array([[0.4, 0.1], [2.0, -1.0], [0.2, 1.0]])
    assert gradcheck.check_penalty(L1L2(0.9, squared=squared), v, 1.0, convex=False).ok
    assert not gradcheck.check_penalty(Other(0.9, squared=squared), v, 1.0, convex=False).ok


def test_more_than_ten_entries_are_searched_at_random():
    v = np.random.default_rng(1).standard_normal((4, 3))
    assert gradcheck.check_penalty(Count(), v, 0.3, convex=False).ok
    assert not gradcheck.check_penalty(Count(5.0), v, 0.3, convex=False).ok


def test_a_penalty_that_changes_v_is_noticed():
    class InPlace(Ridge):
        def prox(self, v, step):
            v /= 1 + step * self.lam
            return v.copy()
    assert "changes its arguments" in gradcheck.check_penalty(InPlace(0.3), X, 1.0).faults


@pytest.mark.parametrize(("penalty", "steps", "words"), [
    (object(), (1.0,), ("object", "value(w) and prox(v, step)")),
    (Ridge(1.0), (), ("Ridge", "at least one step")),
    (type("Flat", (Ridge,), {"prox": lambda self, v, step: v.ravel()})(1.0), (1.0,), ("Flat", "(12,)", "(3, 4)")),
    (type("Text", (Ridge,), {"prox": lambda self, v, step: "v"})(1.0), (1.0,), ("Text", "a str", "(3, 4)")),
])
def test_what_is_no_penalty_is_refused(penalty, steps, words):
    with pytest.raises(InputError) as error:
        gradcheck.check_penalty(penalty, X, *steps)
    for word in words:
        assert word in str(error.value)


# ---- what does not have the form of an op
# ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("op", "arguments", "words"), [
    (with_backward(product, lambda dy, g: g[0]), (X, W), ("backward", "array of float64", "tuple of 2")),
    (with_backward(product, lambda dy, g: g[:1]), (X, W), ("backward", "a tuple of 1", "tuple of 2")),
    (with_backward(product, lambda dy, g: (g[0], None)), (X, W), ("gradient 1", "NoneType", "(2, 4)")),
    (with_backward(product, lambda dy, g: (g[0] + 0j, g[1])), (X, W), ("gradient 0", "complex128", "(3, 4)")),
    (with_backward(product, lambda dy, g: ([[1.0], [2.0, 3.0]], g[1])), (X, W), ("gradient 0", "a list", "(3, 4)")),
    (np.tanh, (X,), ("tanh", "array of float64", "a pair, (y, backward)")),
    (lambda x: (x, x), (X,), ("a tuple of 2", "a pair, (y, backward)")),
    (lambda x: None, (X,), ("NoneType", "a pair, (y, backward)")),
    (lambda x: (float(x.sum()), lambda dy: (dy + 0 * x,)), (X,), ("a float as its value", "floating", "np.asarray(y)")),
    (lambda x: ([1.0], lambda dy: (0 * x,)), (X,), ("a list as its value", "floating")),
    (lambda x: (x > 0, lambda dy: (0 * x,)), (X,), ("array of bool", "floating")),
    (with_backward(product, lambda dy, g: (g[0].T, g[1])), (X, W), ("gradient 0", "(4, 3)", "(3, 4)")),
    (product, (X, np.ones((2, 4), int)), ("product", "argument 1", "int64", "floating-point")),
    (product, (), ("no arguments", "product")),
])
def test_what_cannot_be_checked_is_refused(op, arguments, words):
    with pytest.raises(InputError) as error:
        gradcheck.check(op, *arguments)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(("loss", "words"), [
    (lambda p, t: float(p.sum()), ("a float", "a number and an array")),
    (lambda p, t: ((p - t) ** 2, p - t), ("a tuple of 2", "a number and an array")),
    (lambda p, t: (1.0, None), ("gradient 0", "NoneType", "(3, 4)")),
    (lambda p, t: (1.0, (p - t).T), ("gradient 0", "(4, 3)", "(3, 4)")),
])
def test_what_is_no_loss_is_refused(loss, words):
    with pytest.raises(InputError) as error:
        gradcheck.check_loss(loss, X, np.zeros_like(X))
    for word in words:
        assert word in str(error.value)


def test_a_definition_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"product returned shape \(3, 2\); the definition's shape is \(2, 3\)"):
        gradcheck.check(product, X, W, definition=lambda x, w: w @ x.T)
