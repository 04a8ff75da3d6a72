"""Low rank: factors against definitions, full rank against the whole network, and output space against everything else
of the same rank."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.compression.low_rank import (
    epoch_step,
    factored,
    low_rank,
    matrix_of,
    output_low_rank,
    output_space,
    propose_ranks,
    rank_of_energy,
    truncated_svd,
)
from npkd.core.validation import InputError
from npkd.data.batches import batches_of
from npkd.nn import cost, model
from npkd.nn.architectures import conv_layer, lenet5
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.sparsity.collect import collect_statistics
from npkd.sparsity.nuclear import Nuclear
from npkd.sparsity.penalties import L1, SparseGroups
from npkd.sparsity.statistics import Statistics
from reference.definitions.compression import low_rank as defined

RNG = np.random.default_rng
QUICK = settings(deadline=None, max_examples=25)


def layer_data(seed=0, n=40, d=5, m=4, noise=0.3):
    """What a layer reads, correlated, with means; its weights; what it is to give, which is not quite what it gives."""
    rng = RNG(seed)
    h = rng.standard_normal((n, d)) @ (np.eye(d) + 0.6 * rng.standard_normal((d, d))) + rng.standard_normal(d)
    w = rng.standard_normal((m, d))
    return h, w, h @ w.T + rng.standard_normal(m) + noise * rng.standard_normal((n, m))


def with_biases(network, seed=5):
    rng = RNG(seed)
    return network.replace({i: replace(network.layers[i], params=(
        network.layers[i].params[0], 0.3 * rng.standard_normal(len(network.layers[i].params[0]))))
        for i in network.weight_layers})


def convolutional(**options):
    """Two convolutions whose kernels, strides and paddings are not square."""
    rng = RNG(3)
    return with_biases(Network([
        Layer("unflatten", options={"shape": [9, 8, 2]}),
        Layer("conv2d", (rng.standard_normal((4, 3, 2, 2)), np.zeros(4)), options), Layer("relu"),
        conv_layer(4, 5, 2, rng, np.float64), Layer("global_average_pool"), dense_layer(5, 3, rng, np.float64)]))


# ---- factors
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (5, 5)])
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_truncated_svd_is_the_nearest_matrix_of_its_rank(shape, rank):
    w = RNG(rank).standard_normal(shape)
    u, m = truncated_svd(w, rank)
    assert (u.shape, m.shape) == ((shape[0], rank), (rank, shape[1]))
    np.testing.assert_allclose(u.T @ u, np.eye(rank), atol=1e-12)
    np.testing.assert_allclose(u @ m, defined.truncated_svd(w, rank), atol=1e-6)
    s = np.linalg.svd(w, compute_uv=False)
    assert ((w - u @ m) ** 2).sum() == pytest.approx((s[rank:] ** 2).sum(), abs=1e-12)


@QUICK
@given(seed=st.integers(0, 10 ** 6), energy=st.floats(0.05, 1))
def test_rank_of_energy_is_that_of_its_definition(seed, energy):
    w = RNG(seed).standard_normal((4, 3)) * np.array([3, 1, 0.3])
    assert rank_of_energy(w, energy) == defined.rank_of_energy(w, energy)


def test_energies_by_hand():
    w = np.diag([2.0, 1.0, 1.0, 0.0])                                       # energies 4, 1, 1 of 6
    assert [rank_of_energy(w, e) for e in (0.5, 0.66, 0.67, 0.83, 0.84, 0.99)] == [1, 1, 2, 2, 3, 3]
    assert rank_of_energy(np.zeros((3, 3)), 0.9) == 1
    assert rank_of_energy(np.diag([1.0, 1.0]).reshape(2, 1, 2, 1), 0.6) == 2          # kernels: a row a filter


# ---- two layers in place of one
# --------------------------------------------------------------------------------------------------------------------


def test_dense_layers_at_full_rank_give_the_same_and_the_bias_is_the_second_ones():
    network, x = with_biases(perceptron([6, 5, 4, 3], RNG(0), dtype=np.float64)), RNG(1).standard_normal((7, 6))
    two = factored(network, {0: 5, 4: 3})
    assert [layer.op for layer in two.layers] == ["dense", "dense", "relu", "dense", "relu", "dense", "dense"]
    np.testing.assert_allclose(two.predict(x), network.predict(x), atol=1e-12)
    assert not two.layers[0].params[1].any()
    np.testing.assert_array_equal(two.layers[1].params[1], network.layers[0].params[1])


@pytest.mark.parametrize("form", ["filters", "separable"])
@pytest.mark.parametrize("options", [
    {}, {"stride": 2}, {"padding": 1}, {"stride": [2, 1], "padding": [1, 2]}, {"dilation": [2, 1], "padding": 2},
    {"stride": (1, 3), "dilation": (1, 2), "padding": (0, 1)}], ids=str)
def test_convolutions_at_full_rank_give_the_same(form, options):
    network, x = convolutional(**options), RNG(1).standard_normal((3, 144))
    two = factored(network, {i: min(matrix_of(network, i, form).shape) for i in network.weight_layers}, form=form)
    np.testing.assert_allclose(two.predict(x), network.predict(x), atol=1e-10)
    shapes = [layer.params[0].shape for layer in two.layers if layer.op == "conv2d"]
    assert shapes[:2] == ([(4, 3, 2, 2), (4, 1, 1, 4)] if form == "filters" else [(6, 3, 1, 2), (4, 1, 2, 6)])


def test_two_convolutions_are_the_sums_of_their_definition():
    rng = RNG(0)
    network = Network([Layer("conv2d", (rng.standard_normal((3, 2, 3, 2)), rng.standard_normal(3)))])
    two, x = factored(network, {0: 2}, form="separable"), rng.standard_normal((2, 5, 6, 2))
    (m, zero), (u, b) = (layer.params for layer in two.layers)
    assert not zero.any()
    for one, y in zip(x, two.predict(x), strict=True):
        np.testing.assert_allclose(y, defined.separable(one, u[:, 0], m[:, :, 0], b), atol=1e-12)
    near = np.einsum("fjk,kic->fijc", u[:, 0], m[:, :, 0])
    other = RNG(1).standard_normal(u[:, 0].shape)
    worse = np.einsum("fjk,kic->fijc", u[:, 0] + 1e-3 * other, m[:, :, 0])
    w = network.layers[0].params[0]
    assert ((w - near) ** 2).sum() < ((w - worse) ** 2).sum()


def test_additions_add_what_they_added():
    rng = RNG(2)
    network = with_biases(Network([
        dense_layer(4, 5, rng, np.float64), Layer("relu"), dense_layer(5, 5, rng, np.float64),
        Layer("add", options={"back": 2}), Layer("relu"), Layer("add", options={"back": 1}),
        dense_layer(5, 2, rng, np.float64)]))
    x = rng.standard_normal((6, 4))
    for ranks in ({2: 5}, {0: 4, 2: 5, 6: 2}, {0: 4}):
        np.testing.assert_allclose(factored(network, ranks).predict(x), network.predict(x), atol=1e-12)


def test_by_energy_a_layer_is_factored_where_it_has_fewer_weights_then():
    rng = RNG(0)
    network = perceptron([30, 20, 12, 3], rng, dtype=np.float32)
    low = (rng.standard_normal((20, 2)) @ rng.standard_normal((2, 30))).astype(np.float32)
    network = network.replace({0: replace(network.layers[0], params=(low, network.layers[0].params[1]))})
    two = factored(network)
    assert two.widths == [30, 2, 20, 12, 3]
    assert all(p.dtype == np.float32 for layer in two.layers for p in layer.params)
    assert cost.of(two).macs < cost.of(network).macs
    x = rng.standard_normal((5, 30)).astype(np.float32)
    np.testing.assert_allclose(two.predict(x), network.predict(x), rtol=1e-4, atol=1e-4)
    assert factored(network, energy=1e-9).widths == [30, 1, 20, 1, 12, 1, 3]
    assert factored(network, {}).widths == network.widths


def test_factored_networks_are_saved_and_read_and_train(tmp_path):
    network = factored(lenet5(RNG(0), channels=(4, 6), hidden=20), energy=0.5, form="separable")
    model.save(tmp_path / "two.npz", model.Model(network, None, {}))
    x = RNG(1).standard_normal((2, 784)).astype(np.float32)
    np.testing.assert_array_equal(model.load(tmp_path / "two.npz").network.predict(x), network.predict(x))


def test_convolutions_in_groups_stay_as_they_are_and_are_refused_where_they_are_named():
    rng = RNG(0)
    network = Network([Layer("conv2d", (rng.standard_normal((4, 3, 3, 1)), np.zeros(4)), {"groups": 2}), Layer("relu"),
                       Layer("global_average_pool"), dense_layer(4, 3, rng, np.float64)])
    x = rng.standard_normal((20, 5, 5, 2))
    assert factored(network, energy=0.1).layers[0] is not network.layers[0]
    assert [layer.op for layer in factored(network, energy=0.1).layers] == [
        "conv2d", "relu", "global_average_pool", "dense", "dense"]
    np.testing.assert_array_equal(low_rank(network, batches_of(x), {3: 1}).layers[0].params[0],
                                  network.layers[0].params[0])
    for ranks in ({0: 1}, {1: 1}, {9: 1}, {-1: 1}):
        with pytest.raises(InputError, match=r"low rank: got layer -?\d; layers of weights, not in groups, are \[3\]"):
            factored(network, ranks)


# ---- in output space
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "m"), [(5, 4), (3, 6), (4, 4)])
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("ridge", [1e-6, 0.1])
def test_the_best_map_is_that_of_alternating_least_squares(d, m, rank, ridge):
    h, w, z = layer_data(d * 10 + m, d=d, m=m)
    u, low, b = output_low_rank(Statistics.of(h, z), rank, w, ridge)
    np.testing.assert_allclose(u @ low, defined.output_low_rank(h, z, rank, w, ridge), atol=1e-5)
    np.testing.assert_allclose(b, z.mean(0) - u @ low @ h.mean(0), atol=1e-10)


@QUICK
@given(seed=st.integers(0, 10 ** 6), rank=st.integers(1, 4), ridge=st.sampled_from([1e-9, 1e-4, 1e-2, 1.0, 100.0]),
       noise=st.sampled_from([0.0, 0.3, 3.0]))
def test_no_map_of_the_rank_is_better_and_svd_never(seed, rank, ridge, noise):
    """Against random maps near and far, and the truncated SVD of the layer's own weights and of the least squares, on
    the data of the statistics; whatever the ridge."""
    h, w, z = layer_data(seed, noise=noise)
    statistics = Statistics.of(h, z)
    u, m, b = output_low_rank(statistics, rank, w, ridge)
    rho = ridge * np.trace(statistics.A) / 5
    best = statistics.t.sum() * statistics.error(u @ m) + rho * ((u @ m - w) ** 2).sum()
    rng = RNG(seed)
    for size in (1e-3, 1e-2, 0.1, 1.0):
        for _ in range(8):
            other = (u + size * rng.standard_normal(u.shape)) @ (m + size * rng.standard_normal(m.shape))
            assert statistics.t.sum() * statistics.error(other) + rho * ((other - w) ** 2).sum() >= best * (1 - 1e-9)
    plain = np.matmul(*truncated_svd(w, rank))
    assert statistics.error(u @ m) <= statistics.error(plain) + 1e-12
    residual = ((z - b - h @ (u @ m).T) ** 2).sum()
    assert residual == pytest.approx(statistics.t.sum() * statistics.error(u @ m), rel=1e-6, abs=1e-8)
    small = output_low_rank(statistics, rank, w, 1e-9)
    least = np.linalg.lstsq(h - h.mean(0), z - z.mean(0), rcond=None)[0].T
    assert statistics.error(small[0] @ small[1]) <= statistics.error(np.matmul(*truncated_svd(least, rank))) + 1e-7


@QUICK
@given(seed=st.integers(0, 10 ** 6), d=st.integers(1, 6), m=st.integers(1, 6),
       ridge=st.sampled_from([1e-9, 1e-2, 1.0]), pulled=st.booleans())
def test_the_errors_of_all_ranks_are_exact(seed, d, m, ridge, pulled):
    h, w, z = layer_data(seed, d=d, m=m)
    statistics, w0 = Statistics.of(h, z), w if pulled else None
    v, ls, errors = output_space(statistics, w0, ridge)
    assert (v.shape, ls.shape, errors.shape) == ((m, min(d, m)), (m, d), (min(d, m) + 1,))
    assert errors[0] == 1
    for rank in range(1, min(d, m) + 1):
        u, low, _ = output_low_rank(statistics, rank, w0, ridge)
        assert errors[rank] == pytest.approx(statistics.error(u @ low), abs=1e-12)
    if ridge == 1e-9:                                                       # the eigenvalues and t alone
        kappa = np.linalg.eigvalsh(statistics.C.T @ np.linalg.solve(statistics.A, statistics.C))[::-1]
        np.testing.assert_allclose(errors, 1 - np.cumsum([0, *kappa[:min(d, m)]]) / statistics.t.sum(), atol=1e-6)


def test_nothing_to_explain_and_inputs_that_never_change():
    h, w, z = layer_data()
    h[:, 2] = 7.0
    constant = Statistics.of(h, np.ones_like(z))
    assert not output_space(constant, w)[2].any()
    u, m, b = output_low_rank(Statistics.of(h, z), 2, w)
    assert np.isfinite(np.concatenate([u.ravel(), m.ravel(), b])).all()
    dead = Statistics.of(np.ones_like(h), z)
    u, m, b = output_low_rank(dead, 2, w)
    np.testing.assert_allclose(b + u @ m @ np.ones(5), z.mean(0), atol=1e-9)


def test_patches_of_a_convolution():
    """Statistics of patches: better than the SVD on the maps that were all looked at."""
    network, x = convolutional(), RNG(4).standard_normal((30, 144)) * np.linspace(0.1, 2, 144)
    statistics, = collect_statistics(network, network, batches_of(x), [1], positions=10 ** 6)
    z = network(x)[0][2]
    for rank in (1, 2, 3):
        u, m, b = output_low_rank(statistics, rank, matrix_of(network, 1))
        errors = []
        plain = (*truncated_svd(matrix_of(network, 1), rank), network.layers[1].params[1])
        for left, right, bias in ((u, m, b), plain):
            layer = replace(network.layers[1], params=((left @ right).reshape(4, 3, 2, 2), bias))
            errors.append(((network.replace({1: layer})(x)[0][2] - z) ** 2).sum())
        assert errors[0] < errors[1]
        assert errors[0] == pytest.approx(statistics.t.sum() * statistics.error(u @ m), rel=1e-9)


def test_low_rank_goes_from_layer_to_layer_on_what_the_student_reads():
    network = with_biases(perceptron([8, 7, 6, 4], RNG(0), dtype=np.float64))
    x = RNG(1).standard_normal((300, 8)) @ RNG(2).standard_normal((8, 8))
    ranks = {0: 3, 2: 2}
    student, plain = low_rank(network, batches_of(x), ranks), factored(network, ranks)
    assert student.widths == plain.widths == [8, 3, 7, 2, 6, 4]
    errors = [((each.predict(x) - network.predict(x)) ** 2).sum() for each in (student, plain)]
    assert errors[0] < errors[1]
    first, = collect_statistics(network, network, batches_of(x), [0])
    u, m, b = output_low_rank(first, 3, network.layers[0].params[0])
    np.testing.assert_allclose(student.layers[1].params[0] @ student.layers[0].params[0], u @ m, atol=1e-10)
    seen = np.maximum(x @ (u @ m).T + b, 0)                                 # what the student feeds its second layer
    second = Statistics.of(seen, network(x)[0][3])
    u, m, b = output_low_rank(second, 2, network.layers[2].params[0])
    np.testing.assert_allclose(student.layers[4].params[0] @ student.layers[3].params[0], u @ m, atol=1e-8)
    np.testing.assert_allclose(student.layers[4].params[1], b, atol=1e-8)
    last = Statistics.of(np.maximum(seen @ (u @ m).T + b, 0), network(x)[0][5])         # and the last, refitted whole
    w = np.matmul(*output_low_rank(last, 4, network.layers[4].params[0])[:2])
    np.testing.assert_allclose(student.layers[-1].params[0], w, atol=1e-7)
    everything = low_rank(network, batches_of(x), {0: 7, 2: 6, 4: 4})
    np.testing.assert_allclose(everything.predict(x), network.predict(x), atol=1e-7)


def test_low_rank_of_a_convolutional_network():
    network, x = lenet5(RNG(0), channels=(4, 6), hidden=20), RNG(1).random((60, 784)).astype(np.float32)
    student = low_rank(network, batches_of(x), {1: 2, 3: 4})
    assert [layer.params[0].shape for layer in student.layers if layer.op == "conv2d"] == [
        (2, 5, 5, 1), (4, 1, 1, 2), (4, 5, 5, 4), (6, 1, 1, 4)]
    assert student.predict(x).dtype == np.float32
    plain = factored(network, {1: 2, 3: 4})
    errors = [((each.predict(x) - network.predict(x)) ** 2).sum() for each in (student, plain)]
    assert errors[0] < errors[1]


@pytest.mark.parametrize(("rank", "ridge"), [(0, 1e-4), (5, 1e-4), (1.5, 1e-4), (1, 0.0), (1, -1.0)])
def test_ranks_and_ridges_that_cannot_be_are_refused(rank, ridge):
    h, w, z = layer_data()
    with pytest.raises(InputError, match=r"output_low_rank: rank is|low rank: ridge is"):
        output_low_rank(Statistics.of(h, z), rank, w, ridge)


@pytest.mark.parametrize(("call", "words"), [
    (lambda n: truncated_svd(np.ones((2, 3), int), 1), "truncated_svd: w is int64"),
    (lambda n: truncated_svd(np.ones((2, 3)), 3), "truncated_svd: rank is 3"),
    (lambda n: rank_of_energy(np.ones((2, 3)), 0.0), "energy is 0.0"),
    (lambda n: rank_of_energy(np.ones((2, 3)), 1.1), "energy is 1.1"),
    (lambda n: factored(n, {0: 9}), "rank is 9"),
    (lambda n: factored(n, form="tensor"), "form is 'tensor'"),
    (lambda n: low_rank(n, batches_of(np.ones((5, 6))), {1: 2}), "got layer 1"),
    (lambda n: propose_ranks(n, {}, 40, "seconds"), "kind is 'seconds'"),
    (lambda n: propose_ranks(n, {1: None}, 40), "got layer 1"),
])
def test_refusals(call, words):
    with pytest.raises(InputError, match=words):
        call(perceptron([6, 5, 3], RNG(0), dtype=np.float64))


# ---- which ranks
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [0.9, 0.6, 0.4, 0.25])
@pytest.mark.parametrize("kind", ["macs", "weights"])
@pytest.mark.parametrize("convolutional", [False, True])
def test_proposed_ranks_keep_the_budget_and_nearly_use_it(part, kind, convolutional):
    network, shape = perceptron([40, 30, 20, 4], RNG(0)), (200, 40)
    if convolutional:
        network, shape = lenet5(RNG(0), channels=(8, 12), hidden=30), (40, 784)
    x = RNG(1).random(shape).astype(np.float32)
    layers = network.weight_layers
    statistics = dict(zip(layers, collect_statistics(network, network, batches_of(x), layers), strict=True))

    def size(one):
        if kind == "macs":
            return cost.of(one).macs
        return sum(one.layers[i].params[0].size for i in one.weight_layers)

    budget = part * size(network)
    ranks = propose_ranks(network, statistics, budget, kind)
    two = factored(network, ranks)
    assert 0.75 * budget < size(two) <= budget
    assert all(np.prod(two.layers[i].params[0].shape) > 0 for i in two.weight_layers)
    few = propose_ranks(network, {i: statistics[i] for i in layers[:-1]}, 0.95 * size(network), kind)
    assert set(few) <= {*layers[:-1]}


def test_layers_are_factored_where_it_costs_least():
    """One layer is of rank 2 already, the others are not."""
    rng = RNG(0)
    network = perceptron([30, 30, 30, 3], rng, dtype=np.float64)
    w = rng.standard_normal((30, 2)) @ rng.standard_normal((2, 30)) / 5
    network = network.replace({2: replace(network.layers[2], params=(w, np.zeros(30)))})
    x = rng.standard_normal((400, 30))
    statistics = dict(zip((0, 2), collect_statistics(network, network, batches_of(x), [0, 2]), strict=True))
    assert propose_ranks(network, statistics, 900 + 90 + 150) == {2: 2}
    with pytest.raises(InputError, match=r"target is 100; the smallest that this network can be is 210"):
        propose_ranks(network, statistics, 100)


# ---- steps once an epoch
# --------------------------------------------------------------------------------------------------------------------


def test_steps_are_taken_in_turn_and_near_to_the_step_of_the_sum_where_they_are_small():
    network = perceptron([6, 5, 3], RNG(0), dtype=np.float64)
    first, second = {0: Nuclear(0.3), 2: Nuclear(0.1)}, {0: SparseGroups(0.2, axis=0)}
    w = [network.layers[i].params[0] for i in (0, 2)]
    after = epoch_step(network, [first, second], 0.5)
    np.testing.assert_array_equal(after.layers[0].params[0], second[0].prox(first[0].prox(w[0], 0.5), 0.5))
    np.testing.assert_array_equal(after.layers[2].params[0], first[2].prox(w[1], 0.5))
    np.testing.assert_array_equal(after.layers[0].params[1], network.layers[0].params[1])
    np.testing.assert_array_equal(network.layers[0].params[0], w[0])
    gaps = []
    for step in (1e-2, 1e-3):
        orders = [epoch_step(network, each, step).layers[0].params[0] for each in (
            [{0: Nuclear(0.3)}, {0: L1(0.2)}], [{0: L1(0.2)}, {0: Nuclear(0.3)}])]
        gaps.append(np.abs(orders[0] - orders[1]).max())
    assert gaps[1] < 0.2 * gaps[0]


def test_both_factors_of_a_rank_have_one_norm():
    """Else a training of both is as fast as the larger one allows; a rank of norm 0 stays finite."""
    network = perceptron([9, 7, 4], RNG(3), dtype=np.float64)
    w = network.layers[0].params[0] * 50
    w[5:] = 0
    network = network.replace({0: replace(network.layers[0], params=(w, network.layers[0].params[1]))})
    m, u = (layer.params[0] for layer in factored(network, {0: 6}).layers[:2])
    np.testing.assert_allclose(np.linalg.norm(u, axis=0)[:5], np.linalg.norm(m, axis=1)[:5])
    np.testing.assert_allclose(u @ m, w, atol=1e-12)
