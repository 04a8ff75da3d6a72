"""Quantisers against all levels, all ternary vectors and least squares anew; quantised networks and their training."""

from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.compression.integer import IntegerNetwork
from npkd.compression.quantization import (
    Levels,
    StraightThrough,
    bias_corrected,
    binary_levels,
    compensated,
    levels,
    quantised_student,
    quantized,
    shared_levels,
    short,
    straight_through,
    ternary_levels,
)
from npkd.core.grids import grid
from npkd.core.validation import InputError
from npkd.data.datasets import load
from npkd.distillation.objective import distillation
from npkd.distillation.schemes import offline
from npkd.nn.architectures import conv_layer, lenet5
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.nn.optimisers import SGD, Adam
from npkd.nn.training import TrainingSettings, classification, train
from npkd.sparsity.refitting import RIDGE
from npkd.sparsity.statistics import Statistics
from reference.definitions.compression import quantization as defined

QUICK = settings(deadline=None, max_examples=40)
FITS = {"levels": levels, "4 bits": partial(levels, bits=4), "affine": partial(levels, symmetric=False),
        "min-max": partial(levels, calibration="min-max"), "one step": partial(levels, per_channel=False),
        "99 %": partial(levels, calibration="percentile", percentile=99), "ternary": ternary_levels,
        "binary": binary_levels, "shared": partial(shared_levels, k=4)}
fits = pytest.mark.parametrize("fit", FITS.values(), ids=FITS)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# ---- levels
# ----------------------------------------------------------------------------------------------------------------


@QUICK
@given(st.floats(1e-30, 1e30), st.integers(1, 20))
def test_short_steps_are_near_and_have_few_bits(step, bits):
    found = float(short(np.array(step), bits))
    mantissa = np.frexp(found)[0] * 2.0 ** bits
    assert mantissa == int(mantissa)
    assert abs(found / step - 1) <= 2.0 ** -bits
    assert short(np.array(found), bits) == found


def test_a_short_step_times_a_byte_is_exact_in_float32():
    steps = short(np.random.default_rng(0).uniform(1e-6, 10, 500))
    products = steps[:, None] * np.arange(-255, 256)
    assert np.array_equal(products.astype(np.float32), products)


@QUICK
@given(seed=st.integers(0, 10 ** 6), bits=st.integers(2, 8), symmetric=st.booleans(),
       calibration=st.sampled_from(["min-max", "percentile", "mse"]))
def test_every_weight_is_at_the_nearest_of_all_levels(seed, bits, symmetric, calibration):
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((3, 7)) + rng.choice([-3, 0, 3], (3, 1)) * rng.random((3, 1))
    w[0, 0] = 0
    found = levels(w, bits, symmetric=symmetric, calibration=calibration, percentile=90)
    y = found(w)
    for o, row in enumerate(w):
        every = [found.step[o] * (k - found.zero[o]) for k in range(found.low, found.high + 1)]
        assert 0 in every
        assert len(every) == 2 ** bits - symmetric
        for value, got in zip(row, y[o], strict=True):
            assert abs(value - got) == pytest.approx(abs(value - defined.nearest(value, every)), abs=1e-12)
            assert got in every
    assert y[0, 0] == 0
    if symmetric:
        assert not found.zero.any()


def test_the_range_of_the_levels():
    w = np.concatenate([normal(4, 500), np.full((4, 1), 20.0)], axis=1)
    found = {how: levels(w, 6, calibration=how, percentile=99) for how in ("min-max", "percentile", "mse")}
    np.testing.assert_allclose(31 * found["min-max"].step, 20, rtol=2.0 ** -16)
    np.testing.assert_allclose(31 * found["percentile"].step, np.quantile(abs(w), 0.99, axis=1), rtol=2.0 ** -16)
    errors = {how: ((one(w) - w) ** 2).sum(axis=1) for how, one in found.items()}
    assert (errors["mse"] < errors["min-max"]).all()
    assert (errors["mse"] < errors["percentile"]).all()
    one_sided = levels(abs(w), 6, symmetric=False, calibration="min-max")
    np.testing.assert_allclose(one_sided.step * 63, 20, rtol=2.0 ** -15)
    assert not one_sided.zero.any()


def test_the_least_squared_error_among_the_factors_tried():
    w = normal(3, 40)
    best = ((levels(w, 4)(w) - w) ** 2).sum(axis=1)
    for f in np.linspace(0.2, 1.5, 66):
        one = Levels(short(f * abs(w).max(axis=1) / 7), np.zeros(3), -7, 7)
        assert (best <= ((one(w) - w) ** 2).sum(axis=1) + 1e-15).all()


@fits
def test_kernels_and_matrices_alike_dtypes_and_zeros(fit):
    w = normal(4, 3, 3, 2).astype(np.float32)
    w[np.random.default_rng(1).random(w.shape) < 0.4] = 0
    w[2] = 0
    y = fit(w)(w)
    assert y.dtype == np.float32
    assert np.array_equal(y.reshape(4, -1), fit(w.reshape(4, -1))(w.reshape(4, -1)))
    assert not y[w == 0].any()
    assert not np.signbit(y[w == 0]).any()
    column = w.reshape(4, -1)[:, :1]
    assert np.array_equal(fit(w)(column), y.reshape(4, -1)[:, :1])
    together = fit(w.reshape(1, -1))
    assert len(np.unique(np.abs(together(w)))) <= 129


@pytest.mark.parametrize("bits", [1, 9, 2.5])
def test_bits_that_levels_refuse(bits):
    with pytest.raises(InputError, match="levels: bits is"):
        levels(normal(2, 3), bits)
    with pytest.raises(InputError, match=r"levels: w is int64"):
        levels(np.ones((2, 3), int))
    with pytest.raises(InputError, match="calibration is 'max'; it must be one of min-max, percentile, mse"):
        levels(normal(2, 3), calibration="max")


# ---- ternary, binary, shared
# -----------------------------------------------------------------------------------------------


@QUICK
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=6).filter(lambda w: max(map(abs, w)) > 1e-3))
def test_ternary_weights_have_the_least_error_of_all_ternary_vectors(w):
    row = np.array([w])
    _, least = defined.scaled(row[0], (-1, 0, 1))
    found = ternary_levels(row)
    assert ((found(row) - row) ** 2).sum() == pytest.approx(least, rel=1e-6, abs=1e-6)


@QUICK
@given(st.lists(st.floats(0.01, 10) | st.floats(-10, -0.01), min_size=1, max_size=7))
def test_binary_weights_have_the_least_error_of_all_signs(w):
    row = np.array([w])
    alpha, least = defined.scaled(row[0], (-1, 1))
    y = binary_levels(row)(row)
    assert ((y - row) ** 2).sum() == pytest.approx(least, rel=1e-6, abs=1e-6)
    np.testing.assert_allclose(abs(y), abs(alpha), rtol=1e-4)


def test_binary_weights_of_a_sparse_row_count_what_is_there():
    w = np.array([[0.0, 3.0, -1.0, 0.0]])
    assert binary_levels(w)(w).tolist() == [[0, 2, -2, 0]]


@QUICK
@given(seed=st.integers(0, 10 ** 6), k=st.integers(1, 4))
def test_shared_values_are_means_of_their_weights_and_no_worse_than_equal_distances(seed, k):
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((2, 6)) * (rng.random((2, 6)) < 0.8)
    y, x = shared_levels(w, k)(w), w[w != 0]
    values = np.unique(y[w != 0])
    assert len(values) <= k
    assert not y[w == 0].any()
    for value in values:
        assert w[(y == value) & (w != 0)].mean() == pytest.approx(value, rel=1e-9)
    for value, got in zip(w[w != 0], y[w != 0], strict=True):
        assert abs(value - got) <= abs(value - defined.nearest(value, values)) + 1e-12
    start = np.linspace(min(0, *x), max(0, *x), k) if len(x) else np.zeros(1)
    error = ((y - w) ** 2).sum()
    assert error <= sum(min((value - start) ** 2) for value in x) + 1e-12
    if len(x) >= k:
        assert error >= defined.shared_error(x, k) - 1e-12


def test_shared_values_of_clear_heaps_are_the_best_ones():
    w = np.concatenate([normal(1, 50) * 0.05 + centre for centre in (-3.0, 1.0, 5.0)], axis=1)
    y = shared_levels(w, 3)(w)
    assert ((y - w) ** 2).sum() == pytest.approx(sum(((p - p.mean()) ** 2).sum() for p in np.split(w[0], 3)), rel=1e-9)
    assert not shared_levels(np.zeros((2, 2)), 3)(np.zeros((2, 2))).any()


# ---- rounding by what comes out
# ----------------------------------------------------------------------------------------------


def correlated(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return np.maximum(rng.standard_normal((n, 3)) @ rng.standard_normal((3, d)) + 0.4 * rng.standard_normal((n, d)), 0)


@QUICK
@given(seed=st.integers(0, 10 ** 6), bits=st.integers(2, 4), own=st.booleans())
def test_compensated_rounding_is_least_squares_solved_anew_and_never_worse_row_by_row(seed, bits, own):
    rng = np.random.default_rng(seed)
    h, w = correlated(40, 6, seed), rng.standard_normal((4, 6)) * (rng.random((4, 6)) < 0.8)
    z = h @ w.T + (0 if own else rng.standard_normal((40, 4))) + 3
    found = levels(w, bits)
    got = compensated(w, found, Statistics.of(h, z))
    plain = found(w)

    def rounding(value, o):
        return defined.nearest(value, [found.step[o] * k for k in range(found.low, found.high + 1)])

    anew = defined.compensated(w, rounding, h, z, RIDGE)
    errors = [defined.output_errors(q, h, z) for q in (anew, plain, got)]
    for o in range(4):
        best = anew if errors[0][o] < errors[1][o] else plain
        assert errors[2][o] == pytest.approx(errors[best is plain][o], rel=1e-7, abs=1e-9)
    assert (errors[2] <= errors[1] + 1e-9).all()
    assert not got[w == 0].any()


def test_compensated_rounding_is_better_on_other_examples_too():
    h, w = correlated(4000, 20), normal(10, 20, seed=1)
    seen, other = h[:2000], h[2000:]
    for fit in (partial(levels, bits=3), ternary_levels, binary_levels, partial(shared_levels, k=6)):
        q = compensated(w, fit(w), Statistics.of(seen, seen @ w.T))
        errors = [defined.output_errors(v, other, other @ w.T).sum() for v in (q, fit(w)(w))]
        assert errors[0] < 0.8 * errors[1]


def test_without_correlations_the_nearest_level_is_the_best():
    h = np.vstack([np.eye(5), -np.eye(5)])
    w = normal(3, 5)
    found = levels(w, 3)
    assert np.array_equal(compensated(w, found, Statistics.of(h, h @ w.T)), found(w))


def test_a_constant_input_and_float32():
    h = correlated(50, 4)
    h[:, 1] = 2.0
    w = normal(3, 4).astype(np.float32)
    q = compensated(w, levels(w, 4), Statistics.of(h, h @ w.T.astype(np.float64)))
    assert q.dtype == np.float32
    assert np.isfinite(q).all()


def test_the_mean_of_every_output_stays():
    h, w, b = correlated(60, 5), normal(4, 5, seed=2), normal(4, seed=3)
    z = h @ w.T + b
    q, statistics = ternary_levels(w)(w), Statistics.of(h, z)
    corrected = bias_corrected(b, w, q, statistics)
    np.testing.assert_allclose((h @ q.T + corrected).mean(axis=0), z.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(corrected, statistics.intercept(q), rtol=1e-10)
    assert np.abs((h @ q.T + b).mean(axis=0) - z.mean(axis=0)).max() > 0.01


# ---- whole networks
# --------------------------------------------------------------------------------------------------------


@cache
def digits():
    data, rng = load("digits", seed=0), np.random.default_rng(0)
    *_, last = train(perceptron([64, 30, 20, 10], rng), {"x": data.x_train, "y": data.y_train},
                     settings=TrainingSettings(20), rng=rng)
    return data, last.network


def errors_of(network, data):
    return float((network.predict(data.x_test.astype(network.layers[-1].params[0].dtype)).argmax(1)
                  != data.y_test).mean())


def test_where_the_grids_are():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (20, 784))
    found = quantized(lenet5(rng), x)
    assert [layer.op for layer in found.layers] == [
        "quantize", "unflatten", "conv2d", "max_pool", "quantize", "conv2d", "max_pool", "quantize", "flatten", "dense",
        "relu", "quantize", "dense"]
    steps = [layer.options for layer in found.layers if layer.op == "quantize"]
    assert steps[0] == {"step": 257 / 2 ** 16, "zero": 0}
    assert all(np.log2(o["step"]) % 1 == 0 for o in steps[1:])
    assert steps[1]["zero"] > 0
    assert steps[3]["zero"] == 0
    assert all(p.dtype == np.float64 for layer in found.layers for p in layer.params)
    residual = Network([dense_layer(6, 6, rng, np.float64), Layer("relu"), dense_layer(6, 6, rng, np.float64),
                        Layer("add", options={"back": 1}), dense_layer(6, 3, rng, np.float64)])
    one = quantized(residual, rng.uniform(0, 1, (200, 6)))
    x = rng.uniform(0, 1, (50, 6))
    assert np.abs(one.predict(x) - residual.predict(x)).max() < 0.15 * np.abs(residual.predict(x)).max()


@pytest.mark.parametrize("compensate", [False, True])
@fits
def test_weights_are_on_levels_and_biases_on_the_grid_of_their_sums(fit, compensate):
    data, network = digits()
    found = quantized(network, data.x_train[:400], fit, compensate=compensate)
    for i in found.weight_layers:
        w, b = found.layers[i].params
        assert all(len(np.unique(row)) <= 256 for row in w)
        try:
            s, _ = grid(w, most=255)
        except InputError:
            assert fit is FITS["shared"]
            continue
        k = b / (s * found.layers[i - 1].options["step"])
        assert np.abs(k - np.rint(k)).max() < 1e-6
    assert errors_of(found, data) <= errors_of(network, data) + (
        1.0 if fit in (binary_levels, ternary_levels, FITS["shared"]) else 0.06)


def test_compensation_helps_a_network_of_few_levels():
    data, network = digits()
    plain, better = (quantized(network, data.x_train, ternary_levels, compensate=c) for c in (False, True))
    assert errors_of(better, data) < errors_of(plain, data)


def test_a_sparse_network_stays_sparse_and_weights_stay_without_a_fit():
    data, network = digits()
    rng = np.random.default_rng(0)
    sparse = network.mapped(lambda p: p * (rng.random(p.shape) < 0.3).astype(p.dtype) if p.ndim > 1 else p)
    found, alone = quantized(sparse, data.x_train[:300]), quantized(sparse, data.x_train[:300], None)
    for i, j in zip(found.weight_layers, sparse.weight_layers, strict=True):
        w = sparse.layers[j].params[0]
        assert not found.layers[i].params[0][w == 0].any()
        assert np.array_equal(alone.layers[i].params[0], w)
        assert np.array_equal(alone.layers[i].params[1], sparse.layers[j].params[1])
    x = data.x_test.astype(np.float64)
    assert 0 < np.abs(alone.predict(x) - sparse.astype(np.float64).predict(x)).max() < 1.0


# ---- training
# --------------------------------------------------------------------------------------------------------------


def naive(network, data, fit, batches, rate, momentum):
    """Straight-through learning by its definition: forward and backward with rounded weights, steps on latent ones."""
    latent = [list(layer.params) for layer in network.layers]
    velocity = [[np.zeros_like(p) for p in layer.params] for layer in network.layers]
    for rows in batches:
        shown = Network([replace(layer, params=(fit(p[0])(p[0]), *p[1:]) if p else ()) for layer, p in
                         zip(network.layers, latent, strict=True)])
        activations, backward = shown({"x": data["x"][rows]}["x"])
        _, d = classification(activations, {"y": data["y"][rows]})
        for params, speeds, gradients in zip(latent, velocity, backward(d)[1], strict=True):
            for k, g in enumerate(gradients):
                speeds[k] = momentum * speeds[k] + g
                params[k] = params[k] - rate * speeds[k]
    return latent


@fits
def test_straight_through_training_is_the_plain_loop(fit):
    rng = np.random.default_rng(0)
    network = Network([Layer("unflatten", options={"shape": [4, 4, 1]}), conv_layer(1, 3, 2, rng, np.float64),
                       Layer("relu"), Layer("flatten"), dense_layer(27, 3, rng, np.float64)])
    data = {"x": rng.standard_normal((12, 16)), "y": rng.integers(0, 3, 12)}
    start, penalties = straight_through(network, fit)
    assert [p.value(np.ones(3)) for p in penalties.values()] == [0, 0]
    how = TrainingSettings(epochs=6, batch_size=12, schedule=lambda p: 1.0)
    *_, last = train(start, data, optimiser=SGD(0.05, momentum=0.9), penalties=penalties, settings=how, rng=rng)
    latent = naive(network, data, fit, [slice(None)] * 6, 0.05, 0.9)
    for i, penalty in penalties.items():
        np.testing.assert_allclose(penalty.latent, latent[i][0], rtol=1e-9, atol=1e-11)
        w, b = last.network.layers[i].params
        np.testing.assert_allclose(w, fit(latent[i][0])(latent[i][0]), rtol=1e-4, atol=1e-9)
        np.testing.assert_allclose(b, latent[i][1], rtol=1e-9, atol=1e-11)
        assert np.abs(penalty.latent - network.layers[i].params[0]).max() > 1e-3


def test_asked_twice_it_stays_and_arguments_are_not_changed():
    w = normal(3, 4)
    before = w.copy()
    one = StraightThrough(ternary_levels(w), w)
    shown = one.shown.copy()
    assert np.array_equal(one.prox(shown, 1.0), shown)
    assert np.array_equal(one.latent, before)
    one.prox(shown + 0.1, 1.0)
    np.testing.assert_allclose(one.latent, before + 0.1)
    assert np.array_equal(w, before)


def identity(w):
    """A Fit of all numbers."""
    return lambda v: v


def test_a_student_whose_rounding_does_nothing_learns_as_offline():
    rng = np.random.default_rng(0)
    student, teacher = (perceptron([6, 5, 3], rng, dtype=np.float64) for _ in range(2))
    data, how = {"x": rng.standard_normal((40, 6))}, {"optimiser": SGD(0.05), "settings": TrainingSettings(3, 8)}
    plain = list(offline(student, teacher, data, distillation(), **how, rng=np.random.default_rng(1)))
    found = list(quantised_student(straight_through(student, identity), teacher, data, distillation(), **how,
                                   rng=np.random.default_rng(1)))
    for one, other in zip(found, plain, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-10)
        logits = other.network.predict(data["x"])
        np.testing.assert_allclose(one.network.predict(data["x"]), logits, rtol=1e-9, atol=1e-11)


def test_a_ternary_student_of_bytes_learns_what_rounding_lost():
    """Activations and weights on grids, taught by the network that it was; it ends in whole numbers, bit for bit."""
    data, network = digits()
    plain = quantized(network, data.x_train, ternary_levels, compensate=False)
    latent = straight_through(quantized(network, data.x_train, None).astype(np.float32), ternary_levels)
    *_, last = quantised_student(latent, network, {"x": data.x_train}, distillation(), optimiser=Adam(0.003),
                                 settings=TrainingSettings(10), rng=np.random.default_rng(0))
    assert errors_of(last.network, data) < 0.5 * errors_of(plain, data)
    whole = IntegerNetwork.of(last.network)
    assert np.array_equal(whole.logits(data.x_test), whole.simulation.predict(data.x_test.astype(np.float64)))
    assert all(set(np.unique(arrays[0])) <= {-1, 0, 1} for layer, arrays in whole.layers if layer.row.weights)
