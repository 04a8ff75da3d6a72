"""Connectors: shapes, what is refused, hints behind them, and the laws of the one in closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.core.validation import InputError
from npkd.distillation.connectors import connector, convolution, linear, ridge
from npkd.gradcheck import check_loss
from npkd.nn.losses import squared_error
from npkd.nn.network import Network
from npkd.sparsity.statistics import Statistics
from reference.definitions.nn.losses import squared_error as defined

PAIRS = [((5,), (3,)), ((3,), (5,)), ((6, 4, 3), (6, 4, 2)), ((6, 4, 3), (3, 2, 5)), ((6, 3, 1), (2, 1, 4)),
         ((9, 9, 2), (3, 3, 2))]


def rng():
    return np.random.default_rng(0)


# ---- shapes
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "target"), PAIRS)
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_connector_gives_the_shape_of_the_teacher(shape, target, kernel, batch_norm):
    network = connector(shape, target, rng(), kernel=kernel, batch_norm=batch_norm)
    assert isinstance(network, Network)
    y = network(rng().standard_normal((4, *shape)).astype(np.float32))[0][-1]
    assert y.shape == (4, *target)
    assert y.dtype == np.float32
    assert [layer.op for layer in network.layers] == ["dense" if len(shape) == 1 else "conv2d"] + (
        ["batch_norm"] * batch_norm)
    if len(shape) == 3:
        assert network.layers[0].params[0].shape == (target[2], kernel, kernel, shape[2])
    if batch_norm:
        np.testing.assert_allclose(y.reshape(-1, target[-1]).mean(axis=0), 0, atol=1e-5)
    else:
        assert y.std() > 0


@pytest.mark.parametrize(("make", "shape", "target"), [(linear, (5,), (3,)), (convolution, (4, 4, 2), (2, 2, 3))])
def test_the_front_door_gives_what_the_two_give(make, shape, target):
    one, other = connector(shape, target, rng()), make(shape, target, rng())
    for a, b in zip(one.layers[0].params, other.layers[0].params, strict=True):
        assert np.array_equal(a, b)


def test_equal_shapes_need_none_unless_forced():
    for shape in ((5,), [4, 4, 2]):
        assert connector(shape, tuple(shape), rng()) is None
        network = connector(shape, tuple(shape), rng(), forced=True)
        assert network(np.ones((2, *shape), np.float32))[0][-1].shape == (2, *shape)


@pytest.mark.parametrize(("shape", "target", "words"), [
    ((5,), (4, 4, 2), "linear: shapes are (5,) and (4, 4, 2); both must be (F,)"),
    ((4, 4, 2), (5,), "convolution: kernel is 1, shapes (4, 4, 2) and (5,)"),
    ((4, 4, 2), (8, 8, 2), "one multiple of the teacher's"),
    ((4, 4, 2), (3, 3, 2), "one multiple of the teacher's"),
    ((7, 6, 2), (3, 3, 2), "one multiple of the teacher's"),
    ((6, 7, 2), (3, 3, 2), "one multiple of the teacher's"),
    ((6, 6, 2), (3, 2, 2), "one multiple of the teacher's"),
    ((6, 6, 2), (0, 0, 2), "(0, 0, 2)"),
    ((6, 6), (3, 3), "(6, 6)"),
])
def test_what_no_connector_reaches_is_refused(shape, target, words):
    with pytest.raises(InputError) as error:
        connector(shape, target, rng())
    assert words in str(error.value)


@pytest.mark.parametrize("kernel", [0, 2, 5])
def test_other_kernels_are_refused(kernel):
    with pytest.raises(InputError, match=f"kernel is {kernel}"):
        convolution((4, 4, 2), (2, 2, 2), rng(), kernel=kernel)


# ---- hints
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "target"), [((5,), (3,)), ((4, 4, 2), (2, 2, 3))])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_hint_behind_a_connector(shape, target, batch_norm):
    """Value and gradients of the student's activation and of the connector's weights: a loss with trained parts."""
    network = connector(shape, target, rng(), batch_norm=batch_norm).astype(np.float64)
    params = tuple(p for layer in network.layers for p in layer.params)

    def hint(student, teacher, *params):
        rest = iter(params)
        changed = {i: type(layer)(layer.op, tuple(next(rest) for _ in layer.params), layer.options)
                   for i, layer in enumerate(network.layers)}
        activations, backward = network.replace(changed)(student)
        value, d = squared_error(activations[-1], teacher)
        ds, gradients = backward({len(activations) - 1: d})
        return value, ds, *(g for part in gradients for g in part)

    s, t = rng().standard_normal((3, *shape)), rng().standard_normal((3, *target))
    assert hint(s, t, *params)[0] == pytest.approx(defined(network(s)[0][-1], t))
    report = check_loss(hint, s, t, *params)
    assert all(error <= 1e-7 for name, error in report.errors.items()), report


# ---- closed form
# ----------------------------------------------------------------------------------------------------------------------


def data(seed, n=20, d=4, m=3):
    rng = np.random.default_rng(seed)
    s = rng.standard_normal((n, d)) + 2
    return s, s @ rng.standard_normal((d, m)) + rng.standard_normal((n, m)) - 1


def weights(network):
    w, b = network.layers[0].params
    return w.reshape(len(w), -1), b


def objective(w, b, s, t, strength):
    return sum(((t[n] - w @ s[n] - b) ** 2).sum() for n in range(len(s))) + strength * (w ** 2).sum()


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10 ** 6), strength=st.sampled_from([0.0, 1e-3, 1.0, 100.0]))
def test_the_normal_equations_hold(seed, strength):
    """Both derivatives of the objective are 0, from the raw data."""
    s, t = data(seed)
    w, b = weights(ridge(Statistics.of(s, t), strength=strength, dtype=np.float64))
    rest = t - s @ w.T - b
    np.testing.assert_allclose(rest.T @ s, strength * w, atol=1e-9)
    np.testing.assert_allclose(rest.sum(axis=0), 0, atol=1e-10)
    rng = np.random.default_rng(seed)
    least = objective(w, b, s, t, strength)
    for _ in range(5):
        dw, db = 1e-3 * rng.standard_normal(w.shape), 1e-3 * rng.standard_normal(b.shape)
        assert objective(w + dw, b + db, s, t, strength) > least


@pytest.mark.parametrize("seed", range(5))
def test_least_squares_at_strength_zero(seed):
    s, t = data(seed)
    fit = np.linalg.lstsq(np.column_stack([s, np.ones(len(s))]), t, rcond=None)[0]
    w, b = weights(ridge(Statistics.of(s, t), dtype=np.float64))
    np.testing.assert_allclose(w, fit[:-1].T, rtol=1e-9)
    np.testing.assert_allclose(b, fit[-1], rtol=1e-9)


def test_a_neuron_that_varies_little_still_counts():
    s, t = data(9)
    scale = np.array([1.0, 1e-5, 1.0, 1.0])
    w, _ = weights(ridge(Statistics.of(s, t), dtype=np.float64))
    scaled, _ = weights(ridge(Statistics.of(s * scale, t), dtype=np.float64))
    np.testing.assert_allclose(scaled * scale, w, rtol=1e-3)


@pytest.mark.parametrize("strength", [0.0, 2.0])
def test_statistics_of_two_halves_added_are_those_of_all(strength):
    s, t = data(3)
    parts = Statistics.of(s[:7], t[:7]) + Statistics.of(s[7:], t[7:])
    for a, b in zip(weights(ridge(parts, strength=strength, dtype=np.float64)),
                    weights(ridge(Statistics.of(s, t), strength=strength, dtype=np.float64)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_twice_the_examples_need_twice_the_strength():
    s, t = data(4)
    both = Statistics.of(s, t) + Statistics.of(s, t)
    once = weights(ridge(Statistics.of(s, t), strength=3.0, dtype=np.float64))[0]
    np.testing.assert_allclose(weights(ridge(both, strength=6.0, dtype=np.float64))[0], once, rtol=1e-10)
    assert np.abs(weights(ridge(both, strength=3.0, dtype=np.float64))[0] - once).max() > 1e-3


@pytest.mark.parametrize("strength", [1e12, 1e-12])
def test_the_limits_of_the_strength(strength):
    """Much of it: the mean; hardly any: least squares."""
    s, t = data(5)
    w, b = weights(ridge(Statistics.of(s, t), strength=strength, dtype=np.float64))
    if strength > 1:
        np.testing.assert_allclose(w, 0, atol=1e-9)
        np.testing.assert_allclose(b, t.mean(axis=0), rtol=1e-8)
    else:
        np.testing.assert_allclose(w, weights(ridge(Statistics.of(s, t), dtype=np.float64))[0], rtol=1e-9)


def test_the_smallest_of_many_minimisers():
    """A neuron twice, and one that does not vary; fewer examples than neurons."""
    s, t = data(6)
    w, _ = weights(ridge(Statistics.of(s, t), dtype=np.float64))
    more = np.column_stack([s, s[:, 1], np.full(len(s), 7.0)])
    wider, b = weights(ridge(Statistics.of(more, t), dtype=np.float64))
    np.testing.assert_allclose(wider[:, [1, 4]], np.stack([w[:, 1], w[:, 1]], axis=1) / 2, rtol=1e-8)
    np.testing.assert_allclose(wider[:, 5], 0, atol=1e-12)
    few_s, few_t = s[:3], t[:3]
    w, b = weights(ridge(Statistics.of(few_s, few_t), dtype=np.float64))
    np.testing.assert_allclose(few_s @ w.T + b, few_t, rtol=1e-8)
    centred = few_s - few_s.mean(axis=0)
    np.testing.assert_allclose(w, (np.linalg.pinv(centred) @ (few_t - few_t.mean(axis=0))).T, rtol=1e-8)
    still, b = weights(ridge(Statistics.of(0 * s + 3, t), dtype=np.float64))
    assert not still.any()
    np.testing.assert_allclose(b, t.mean(axis=0))


def test_of_maps_every_position_is_an_example():
    rng = np.random.default_rng(7)
    s, t = rng.standard_normal((5, 2, 3, 4)), rng.standard_normal((5, 2, 3, 2))
    statistics = Statistics.of(s.reshape(-1, 4), t.reshape(-1, 2))
    network = ridge(statistics, strength=0.5, maps=True, dtype=np.float64)
    rows = ridge(statistics, strength=0.5, dtype=np.float64)
    y = network(s)[0][-1]
    assert y.shape == t.shape
    np.testing.assert_allclose(y.reshape(-1, 2), rows(s.reshape(-1, 4))[0][-1], rtol=1e-12)
    assert squared_error(y, t)[0] < squared_error(0 * t + t.mean(axis=(0, 1, 2)), t)[0]


def test_single_precision_unless_told():
    s, t = data(8)
    assert {p.dtype for p in ridge(Statistics.of(s, t)).layers[0].params} == {np.dtype(np.float32)}


@pytest.mark.parametrize("strength", [-1.0, float("nan"), float("inf")])
def test_strengths_that_are_none(strength):
    with pytest.raises(InputError, match="ridge: strength is"):
        ridge(Statistics.of(*data(0)), strength=strength)
