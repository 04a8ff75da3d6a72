"""Dyadic weights: against every grid there is in small dimension, laws of the output-space fit, counts of arithmetic.

(A forward pass in whole numbers is compression/integer.py.)
"""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from npkd.compression import dyadic
from npkd.compression.dyadic import HALVES, QUARTERS, SIGNS, Levels
from npkd.compression.quantization import by_columns
from npkd.core.grids import grid
from npkd.core.validation import InputError
from npkd.data.batches import batches_of
from npkd.distillation.objective import distillation
from npkd.distillation.response import soft_targets
from npkd.nn import cost, model
from npkd.nn.architectures import conv_layer, lenet5
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.nn.optimisers import SGD, Adam
from npkd.nn.training import TrainingSettings, train
from npkd.sparsity.collect import collect_statistics, matrix
from npkd.sparsity.statistics import Statistics
from reference.definitions.compression import dyadic as definitions

RNG = np.random.default_rng
GRIDS = {"signs": SIGNS, "halves": HALVES, "quarters": QUARTERS, "two bits": dyadic.dyadic(2),
         "no zero": (-1.0, 1.0), "lopsided": (-0.25, 0.5, 2.0), "above": (0.5, 1.0), "one": (0.75,)}
each_grid = pytest.mark.parametrize("levels", GRIDS.values(), ids=GRIDS)


def layer(rng, n=60, d=4, m=3, noise=0.3):
    """Correlated inputs, targets that no weights give exactly, weights near those that would do best."""
    h = rng.standard_normal((n, d)) @ (np.eye(d) + 0.7 * rng.standard_normal((d, d))) + 1
    w = 0.4 * rng.standard_normal((m, d))
    return h, h @ w.T + noise * rng.standard_normal((n, m)), w


def dyadics_of(network):
    return [len(np.unique(network.layers[i].params[0])) for i in network.weight_layers]


# ---- nearest rounding and its scale


@pytest.mark.parametrize("bits", [0, 1, 2, 5])
def test_dyadic_rationals(bits):
    assert dyadic.dyadic(bits) == tuple(map(float, definitions.dyadic(bits)))


@each_grid
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_is_the_solution_of_the_programme(levels, dtype):
    w = RNG(0).standard_normal((5, 4, 3)).astype(dtype)
    before, t = w.copy(), dyadic.nearest(w, levels, 0.7)
    assert t.dtype == dtype
    assert t.shape == w.shape
    np.testing.assert_array_equal(w, before)
    np.testing.assert_allclose(t, definitions.nearest(w, levels, 0.7), rtol=1e-6)
    np.testing.assert_array_equal(dyadic.nearest(t, levels, 0.7), t)


def test_of_two_equally_near_levels_the_smaller():
    assert dyadic.nearest(np.array([-0.75, -0.25, 0.25, 0.75]), HALVES).tolist() == [-1, -0.5, 0, 0.5]


@each_grid
@pytest.mark.parametrize("seed", range(3))
def test_the_scale_is_the_best_of_all(levels, seed):
    w = RNG(seed).standard_normal(5 if len(levels) < 8 else 4) * 0.3
    w[1] *= seed > 0                                                                  # also with a zero
    scale = dyadic.frobenius_scale(w, levels)
    least, _ = definitions.best_scale(w, levels)
    if least == float((w ** 2).sum()):                                                # no T helps
        assert scale == 1.0
        return
    assert float(((w - dyadic.nearest(w, levels, scale)) ** 2).sum()) == pytest.approx(least, rel=1e-9, abs=1e-15)


def test_no_scale_of_a_fine_grid_of_scales_is_better_for_a_large_matrix():
    w = RNG(1).standard_normal((40, 50))
    for levels in (SIGNS, QUARTERS, dyadic.dyadic(3)):
        scale, errors = dyadic.frobenius_scale(w, levels), []
        for alpha in [scale, *scale * np.geomspace(0.2, 5, 400)]:
            errors.append(float(((w - dyadic.nearest(w, levels, alpha)) ** 2).sum()))
        assert errors[0] <= min(errors[1:]) * (1 + 1e-12)


def test_a_scale_of_weights_that_no_level_helps_is_one():
    assert dyadic.frobenius_scale(np.zeros((2, 3)), QUARTERS) == 1.0
    assert dyadic.frobenius_scale(-np.ones(3), (0.5, 1.0)) == 1.0


@pytest.mark.parametrize(("call", "words"), [
    (lambda: dyadic.dyadic(11), "at most 10"),
    (lambda: dyadic.dyadic(1.5), "whole number"),
    (lambda: dyadic.nearest(np.ones(2, int), SIGNS), "floating-point"),
    (lambda: dyadic.nearest(np.ones(2), (1.0, 0.0)), "ascending"),
    (lambda: dyadic.nearest(np.ones(2), ()), "one or more"),
    (lambda: dyadic.nearest(np.ones(2), (0.0, np.inf)), "finite"),
    (lambda: dyadic.nearest(np.ones(2), SIGNS, 0.0), "scale is 0.0"),
    (lambda: dyadic.frobenius_scale(np.ones((1000, 300)), dyadic.dyadic(6)), "give fewer levels"),
    (lambda: dyadic.additions_and_shifts(perceptron([4, 3, 2], RNG(0))), "lie on no grid")])
def test_what_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()


# ---- output space


def value(A, c, t):
    return float((t * (t @ A)).sum() - 2 * (t * c).sum())


@each_grid
@pytest.mark.parametrize("seed", range(4))
def test_it_is_never_worse_than_nearest_rounding_whatever_the_ridge(levels, seed):
    """On the data of the statistics, in the error of the outputs alone, by its definition."""
    h, z, w = layer(RNG(seed), d=6)
    statistics = Statistics.of(h, z)
    for ridge in (0.0, 1e-3, 0.1, 10.0):
        for scale in (None, 0.5):
            alpha = dyadic.frobenius_scale(w, levels) if scale is None else scale
            t, found = dyadic.output_space(statistics, w, levels, scale=scale, ridge=ridge)
            assert scale is None or found == scale
            np.testing.assert_allclose(dyadic.nearest(t, levels, found), t, rtol=1e-12)
            ours, plain = (definitions.output_error(h, z, a) for a in (t, dyadic.nearest(w, levels, alpha)))
            assert ours <= plain * (1 + 1e-12)


@pytest.mark.parametrize("levels", [SIGNS, QUARTERS, GRIDS["lopsided"]], ids=["signs", "quarters", "lopsided"])
@pytest.mark.parametrize("seed", range(6))
def test_no_change_of_a_single_weight_makes_it_better_and_the_bound_is_below_the_best_of_all(levels, seed):
    h, z, w = layer(RNG(seed), m=2)
    statistics, scale = Statistics.of(h, z), 0.6
    A, C, t = statistics.normalised()
    found, _ = dyadic.output_space(statistics, w, levels, scale=scale, ridge=0.0)
    least = value(A, C.T, found)
    assert definitions.output_error(h, z, found) == pytest.approx(least + t)          # (N25) in statistics
    for at in np.ndindex(found.shape):
        for level in levels:
            other = found.copy()
            other[at] = scale * level
            assert value(A, C.T, other) >= least - 1e-8 * scale ** 2 * A[at[1], at[1]]
    solution = np.linalg.solve(A, C).T
    base, best = value(A, C.T, solution), definitions.excess(A, solution, levels, scale)
    bound = dyadic.excess_bound(A, solution, levels, scale)
    assert 0 < bound <= best * (1 + 1e-9)
    assert best <= least - base + 1e-9


def test_the_bound_is_attained_where_inputs_are_not_correlated():
    rng = RNG(3)
    A, w = np.diag(rng.uniform(0.5, 2, 4)), rng.standard_normal((3, 4))
    assert dyadic.excess_bound(A, w, HALVES, 0.8) == pytest.approx(definitions.excess(A, w, HALVES, 0.8), rel=1e-9)


def test_it_often_finds_the_best_of_all_and_rounding_seldom_does():
    ours = plain = 0
    for seed in range(30):
        h, z, w = layer(RNG(100 + seed), m=1)
        A, C, _ = Statistics.of(h, z).normalised()
        solution = np.linalg.solve(A, C).T
        best = definitions.excess(A, solution, HALVES, 0.6) * (1 + 1e-9) + value(A, C.T, solution) + 1e-9
        ours += value(A, C.T, dyadic.output_space(Statistics.of(h, z), w, HALVES, scale=0.6, ridge=0.0)[0]) <= best
        plain += value(A, C.T, dyadic.nearest(w, HALVES, 0.6)) <= best
    assert ours >= 20
    assert plain <= ours / 2


def test_greedy_rounding_makes_up_for_its_errors_column_by_column():
    """Each column is the rounding of what is best for it, given those before, by least squares on the rest."""
    h, z, _ = layer(RNG(5), d=5, m=2)
    A, C, _ = Statistics.of(h, z).normalised()
    t = by_columns(A, np.linalg.solve(A, C).T, lambda column, _: dyadic.nearest(column, QUARTERS, 0.9))
    order = np.argsort(-np.diag(A))
    for k in range(5):
        done, left = order[:k], order[k:]
        best = np.linalg.solve(A[np.ix_(left, left)], C[left] - A[np.ix_(left, done)] @ t[:, done].T)[0]
        np.testing.assert_allclose(t[:, order[k]], dyadic.nearest(best, QUARTERS, 0.9))


def test_scale_and_weights_take_turns_and_never_lose(monkeypatch):
    h, z, w = layer(RNG(7), d=8, m=5)
    statistics, errors = Statistics.of(h, z), []
    for turns in range(4):
        monkeypatch.setattr(dyadic, "TURNS", turns)
        t, scale = dyadic.output_space(statistics, w, SIGNS, ridge=0.0)
        errors.append(statistics.error(t))
        nearby = [statistics.error(t * f) for f in (0.99, 1.01)]
    assert (np.diff(errors) <= 1e-12).all()
    assert errors[-1] <= min(nearby)                                                  # (N26): α is best for T
    assert errors[-1] < statistics.error(dyadic.nearest(w, SIGNS, scale))


def test_where_the_data_says_nothing_weights_are_rounded():
    h, z, w = layer(RNG(8), d=4)
    h[:, 2] = 1.0
    t, scale = dyadic.output_space(Statistics.of(h, z), w, QUARTERS)
    np.testing.assert_array_equal(t[:, 2], dyadic.nearest(w[:, 2], QUARTERS, scale))
    far, _ = dyadic.output_space(Statistics.of(h, z), w, QUARTERS, scale=0.4, ridge=1e9)
    np.testing.assert_array_equal(far, dyadic.nearest(w, QUARTERS, 0.4))


# ---- networks


def pictures(rng, n=200, side=12):
    return rng.random((n, side * side)).astype(np.float32)


def small_lenet(rng, **options):
    return Network([Layer("unflatten", options={"shape": [12, 12, 1]}), conv_layer(1, 4, 5, rng), Layer("tanh"),
                    Layer("average_pool", options={"size": 2}), conv_layer(4, 6, 3, rng, **options),
                    Layer("clipped_quadratic"), Layer("flatten"), dense_layer(24, 8, rng), Layer("relu"),
                    dense_layer(8, 3, rng)])


@pytest.mark.parametrize("scale", [None, 0.25])
def test_a_network_on_grids_fits_what_each_layer_gave_on_what_the_student_feeds_it(scale):
    rng = RNG(0)
    network, x = small_lenet(rng), pictures(rng)
    batches = batches_of(x)
    plain = dyadic.dyadic_network(network, QUARTERS, scale=scale)
    student = dyadic.dyadic_network(network, QUARTERS, batches, scale=scale)
    assert all(found <= 7 for found in (*dyadics_of(plain), *dyadics_of(student)))
    for i in network.weight_layers:
        w, b = student.layers[i].params
        assert w.dtype == b.dtype == np.float32
        before = Network([*student.layers[:i], *network.layers[i:]])
        statistics = collect_statistics(before, network, batches, [i])[0]
        np.testing.assert_allclose(b, statistics.intercept(matrix(student.layers[i])), atol=1e-5)
        assert statistics.error(matrix(student.layers[i])) <= statistics.error(matrix(plain.layers[i])) * (1 + 1e-6)
        assert plain.layers[i].params[1] is network.layers[i].params[1]
    errors = [np.square(one.predict(x) - network.predict(x)).mean() for one in (student, plain)]
    assert errors[0] < errors[1] / 2


def test_layers_that_are_not_asked_for_stay_and_the_file_holds_the_grid(tmp_path):
    rng = RNG(1)
    network = lenet5(rng, channels=(3, 4), hidden=6)
    student = dyadic.dyadic_network(network, dyadic.dyadic(2), layers=[3])
    assert [one is two for one, two in zip(student.layers, network.layers, strict=True)].count(False) == 1
    model.save(tmp_path / "a.npz", model.Model(student))
    w = model.load(tmp_path / "a.npz").network.layers[3].params[0]
    n = grid(w, most=2 ** 16)[1].astype(np.int64)
    unit = np.abs(w[w != 0]).min() / np.abs(n[n != 0]).min()
    np.testing.assert_array_equal((n * np.float64(unit)).astype(np.float32), w)        # exactly, in float32
    assert (n * np.float64(unit) == w).all()
    best = dyadic.frobenius_scale(network.layers[3].params[0], dyadic.dyadic(2))
    assert np.abs(w).max() == pytest.approx(best, rel=2.0 ** -12)                      # 12 bits of it
    assert np.abs(w).max() * 2.0 ** 20 % 1 == 0


def test_a_grouped_convolution_is_rounded_without_batches_alone():
    rng = RNG(2)
    network = small_lenet(rng)
    grouped = conv_layer(2, 6, 3, rng, groups=2)
    network = network.replace({4: grouped})
    assert dyadics_of(dyadic.dyadic_network(network, SIGNS)) == [3, 3, 3, 3]
    with pytest.raises(InputError, match="layer 4 is a grouped convolution"):
        dyadic.dyadic_network(network, SIGNS, batches_of(pictures(rng)))


# ---- training


@pytest.mark.parametrize("step", [0.7, np.full((4, 3), 0.3)], ids=["a number", "an array"])
def test_the_proximal_step_of_levels_is_a_nearest_point(step):
    rng = RNG(0)
    v, penalty = rng.standard_normal((4, 3)), Levels(QUARTERS, 0.8)
    p = penalty.prox(v, step)
    assert penalty.value(p) == 0.0
    assert penalty.value(v) == np.inf
    assert penalty.value((1 + 1e-6) * p) == np.inf
    for _ in range(200):
        other = 0.8 * rng.choice(QUARTERS, v.shape)
        assert (((p - v) ** 2 / step).sum() <= ((other - v) ** 2 / step).sum() + 1e-12).all()
    assert penalty.prox(v.astype(np.float32), 1.0).dtype == np.float32


def learnt(seed=0):
    """Three classes in six dimensions, and a network that tells them apart."""
    rng = RNG(seed)
    y = np.arange(600) % 3
    x = (rng.standard_normal((600, 6)) + 1.5 * rng.standard_normal((3, 6))[y]).astype(np.float32)
    *_, last = train(perceptron([6, 16, 12, 3], rng), {"x": x, "y": y}, settings=TrainingSettings(15, 50), rng=rng)
    return last.network, x, y


@pytest.mark.parametrize("optimiser", [SGD(0.02), Adam(0.002)], ids=["SGD", "Adam"])
def test_layers_stay_on_the_grid_while_those_behind_them_learn(optimiser):
    network, x, _ = learnt()
    data = {"x": x, "teacher": network.predict(x)}
    before = [p.copy() for one in network.layers for p in one.params]
    records = [*dyadic.dyadic_student(network, SIGNS, data, distillation(), optimiser=optimiser,
                                      settings=TrainingSettings(4, 50), rng=RNG(1))]
    assert [record.stage for record in records] == [f"layer {i} on the grid" for i in (0, 2, 4) for _ in range(4)]
    for k, i in enumerate(network.weight_layers):
        assert dyadics_of(records[4 * k].network)[:k + 1] == [3] * (k + 1)
        assert all(n > 30 for n in dyadics_of(records[4 * k].network)[k + 1:])
        w = [record.network.layers[i].params[0] for record in records[4 * k:]]
        assert all(np.isin(one, w[0]).all() for one in w)
    for p, kept in zip([p for one in network.layers for p in one.params], before, strict=True):
        np.testing.assert_array_equal(p, kept)                                        # the teacher is not changed
    away = [soft_targets(one.predict(x), network.predict(x))[0] for one in (
        records[-1].network, dyadic.dyadic_network(network, SIGNS, batches_of(x)),
        dyadic.dyadic_network(network, SIGNS))]
    assert away[0] < away[1] < away[2]


# ---- additions and shifts


def test_signed_digits_are_the_fewest():
    n = np.arange(-3000, 3000)
    found = cost.signed_digits(n)
    assert found.tolist() == [definitions.signed_digits(int(k)) for k in n]
    assert found[3000 + 7] == 2
    counter = definitions.Counter()
    assert [len(counter.terms(1.0, int(k))) for k in n] == found.tolist()
    assert [sum(counter.terms(1.0, int(k))) for k in n] == n.tolist()


@pytest.mark.parametrize("levels", [SIGNS, QUARTERS, dyadic.dyadic(3)], ids=["signs", "quarters", "three bits"])
def test_additions_and_shifts_are_those_of_a_pass_that_counts(levels):
    rng = RNG(4)
    network = dyadic.dyadic_network(small_lenet(rng), levels)
    network = network.replace({i: replace(network.layers[i], params=(
        network.layers[i].params[0], np.where(rng.random(len(b)) < 0.5, 0, 0.3).astype(np.float32)))
        for i in network.weight_layers for b in [network.layers[i].params[1]]})
    w = network.layers[7].params[0]
    w[0], w[1, 1:] = 0, 0                                           # a row of zeros, one of one weight
    x = pictures(rng, 1)
    activations, counter = network.astype(np.float64)(x.astype(np.float64))[0], definitions.Counter()
    for i in network.weight_layers:
        n, (w, b) = grid(matrix(network.layers[i]), most=2 ** 16)[1].astype(np.int64), network.layers[i].params
        unit = np.abs(w[w != 0]).min() / np.abs(n[n != 0]).min()
        for p, q in np.ndindex(activations[i + 1].shape[1:-1] or (1, 1)):
            h = activations[i][0, p:p + w.shape[1], q:q + w.shape[2]] if w.ndim == 4 else activations[i][0]
            y = unit * counter.dense(h.ravel(), n, b.astype(np.float64) / unit)
            np.testing.assert_allclose(y, activations[i + 1][0, p, q] if w.ndim == 4 else activations[i + 1][0],
                                       rtol=1e-9, atol=1e-9)
    assert dyadic.additions_and_shifts(network) == (counter.additions, counter.shifts)
    assert counter.additions > 0
    assert counter.shifts > 0 or levels is SIGNS


def test_powers_of_two_take_as_many_additions_as_signs():
    """A weight of one digit is one shifted input, and with ±3/4 two."""
    count = partial(dyadic.additions_and_shifts)
    w = np.array([[1.0, 0.5, 0.25], [0.0, -0.25, 1.0]])
    network = Network([Layer("dense", (0.3125 * w, np.zeros(2)))])
    assert count(network) == (2 + 1, 2 + 1)
    network = Network([Layer("dense", (0.3125 * np.where(w == 0.5, 0.75, w), np.zeros(2)))])
    assert count(network) == (4, 3)                                # in quarters: 4, 4 − 1, 1; −1, 4
    assert count(Network([Layer("dense", (np.sign(w), np.ones(2)))])) == (3 + 2, 0)
