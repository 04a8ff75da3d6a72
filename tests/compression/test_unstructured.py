"""Single weights: each score and schedule against its definition by loops, and the laws of what training leaves."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from npkd.compression import unstructured as single
from npkd.core.validation import InputError
from npkd.data.datasets import from_arrays
from npkd.distillation.objective import distillation
from npkd.nn.architectures import lenet5
from npkd.nn.losses import cross_entropy
from npkd.nn.model import Model, load, save
from npkd.nn.network import perceptron
from npkd.nn.optimisers import SGD
from npkd.nn.training import TrainingSettings, classification, train
from npkd.pipeline.sparse import sparse_training
from npkd.pipeline.sparse_recipe import SparseRecipe
from npkd.pipeline.stages import Run
from npkd.sparsity.collect import sensitivities
from npkd.sparsity.refitting import RIDGE
from npkd.sparsity.statistics import Statistics
from reference.definitions.compression import unstructured as defined
from tests.tiny import arrays, fixed, quick, undrawn

RNG = np.random.default_rng


def network(seed=0, sizes=(6, 5, 4, 3), dtype=np.float64):
    drawn = perceptron(sizes, RNG(seed), dtype=dtype)
    return drawn.replace({i: replace(drawn.layers[i], params=(
        drawn.layers[i].params[0], 0.3 * RNG(i).standard_normal(n).astype(dtype)))
        for i, n in zip(drawn.dense_layers, sizes[1:], strict=True)})


def examples(seed=1, n=60, d=6, classes=3, dtype=np.float64):
    rng = RNG(seed)
    x = rng.standard_normal((n, d)) @ (np.eye(d) + 0.5 * rng.standard_normal((d, d)))
    return x.astype(dtype), x[:, :classes].argmax(axis=1)


def places(network):
    return {i: w != 0 for i, w in single.weights(network).items()}


def left(network):
    return {i: int(m.sum()) for i, m in places(network).items()}


def same_biases(one, other):
    return all(np.array_equal(one.layers[i].params[1], other.layers[i].params[1]) for i in one.weight_layers)


# ---- masks
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 4, 9, 17, 18])
def test_the_largest_are_those_of_the_definition_also_among_equals(count):
    rng = RNG(count)
    scores = {0: rng.integers(0, 4, (3, 4)).astype(float), 3: rng.integers(0, 4, (2, 3)).astype(float)}
    mask = single.largest(scores, count)
    flat = [*scores[0].ravel(), *scores[3].ravel()]
    assert [*mask[0].ravel(), *mask[3].ravel()] == defined.largest(flat, count)
    assert {i: m.shape for i, m in mask.items()} == {0: (3, 4), 3: (2, 3)}


def test_counts_are_whole_parts_or_by_layer():
    scores = {0: np.arange(12.0).reshape(3, 4), 2: np.arange(100.0, 106).reshape(2, 3)}

    def counts(count):
        return [int(m.sum()) for m in single.largest(scores, count).values()]

    assert counts(0.5) == [3, 6]
    assert counts({0: 2, 2: 0.5}) == [2, 3]
    assert counts(1) == [0, 1]
    assert counts(1.0) == [12, 6]
    for wrong in (19, -1, 1.5, -0.1, True):
        with pytest.raises(InputError, match="largest: "):
            single.largest(scores, wrong)


def test_magnitude_keeps_the_largest_exactly_and_everything_else_as_it_is():
    dense = network()
    before = dense.copy()
    sparse = single.magnitude(dense, 20)
    w, v = (np.concatenate([a.ravel() for a in single.weights(n).values()]) for n in (dense, sparse))
    assert sum(left(sparse).values()) == 20
    assert np.array_equal(v[v != 0], w[v != 0])
    assert np.abs(w[v == 0]).max() < np.abs(w[v != 0]).min()
    assert same_biases(dense, sparse)
    assert all(np.array_equal(p, q) for one, other in zip(dense.layers, before.layers, strict=True)
               for p, q in zip(one.params, other.params, strict=True))
    assert left(single.magnitude(dense, {0: 3, 2: 4, 4: 5})) == {0: 3, 2: 4, 4: 5}
    assert left(single.magnitude(lenet5(RNG(0)), dict.fromkeys((1, 3, 6, 8), 0.1))) == {1: 50, 3: 2500, 6: 40000,
                                                                                     8: 500}


def test_snip_is_the_slope_of_the_loss_in_each_weight():
    dense, (x, y) = network(), examples(n=15)
    for i, w in single.weights(dense).items():
        def loss(w, i=i):
            params = (w, dense.layers[i].params[1])
            return cross_entropy(dense.replace({i: replace(dense.layers[i], params=params)})(x)[0][-1], y)[0]

        scores = defined.snip(loss, w)
        kept = single.snip(dense, x, y, dict.fromkeys(dense.weight_layers, 7))
        assert np.array_equal(kept.layers[i].params[0] != 0, single.largest({i: scores}, 7)[i])
        assert same_biases(dense, kept)


@pytest.mark.parametrize("count", [0, 10, 40, 57, 61, 62])
def test_erdos_renyi_is_the_definition_rounded(count):
    k = single.erdos_renyi(network(), count)                          # 30, 20 and 12 weights
    exact = defined.erdos_renyi([(5, 6), (4, 5), (3, 4)], count)
    assert sum(k.values()) == count
    assert all(abs(a - b) < 1 + 1e-9 for a, b in zip(k.values(), exact, strict=True))
    assert all(n <= most for n, most in zip(k.values(), (30, 20, 12), strict=True))
    with pytest.raises(InputError, match="erdos_renyi"):
        single.erdos_renyi(network(), 63)


def test_erdos_renyi_of_kernels():
    k = single.erdos_renyi(lenet5(RNG(0)), 5_000)
    assert k == pytest.approx(dict(zip((1, 3, 6, 8), defined.erdos_renyi(
        [(20, 5, 5, 1), (50, 5, 5, 20), (500, 800), (10, 500)], 5_000), strict=True)), abs=1)


# ---- optimal brain surgeon
# --------------------------------------------------------------------------------------------------------------------


def layer_data(seed=0, n=40, d=5, m=3):
    rng = RNG(seed)
    h = rng.standard_normal((n, d)) @ (np.eye(d) + 0.4 * rng.standard_normal((d, d))) + rng.standard_normal(d)
    return h, h @ rng.standard_normal((d, m)) + 0.2 * rng.standard_normal((n, m))


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_the_rise_of_the_error_when_the_others_are_fitted_again(seed):
    h, z = layer_data(seed)
    w = RNG(9).standard_normal((3, 5))
    once, exact, damage = (rule(Statistics.of(h, z), w) for rule in (single.surgery, partial(
        single.surgery, exact=True), single.damage))
    for o in range(3):
        wanted = [defined.removal_cost(h, z[:, o], RIDGE, range(5), q) for q in range(5)]
        assert np.allclose(once[o], wanted, rtol=1e-6)
        assert np.allclose(exact[o], defined.exact_scores(h, z[:, o], RIDGE), rtol=1e-6)
        assert np.allclose(damage[o], [defined.damage(h, w[o], q) for q in range(5)], rtol=1e-9)
    assert not np.allclose(once, exact, rtol=1e-2)


@pytest.mark.parametrize("exact", [False, True])
def test_brain_surgeon_fits_what_stays_and_nothing_near_it_is_better(exact):
    """The first layer: no change of its weights that stay, or of its biases, brings it nearer to what it gave."""
    dense, (x, _) = network(), examples()
    sparse = single.brain_surgeon(dense, x, 25, exact=exact)
    assert 20 <= sum(left(sparse).values()) <= 25                     # what reads a neuron that is silent now is zero
    z, (w, b) = dense(x)[0][1], sparse.layers[0].params

    def error(w, b):
        return np.square(x @ w.T + b - z).sum()

    rng, least = RNG(3), error(w, b)
    for _ in range(50):
        dw, db = rng.standard_normal(w.shape) * (w != 0), rng.standard_normal(b.shape)
        assert error(w + 1e-2 * dw, b + 1e-2 * db) > least * (1 - 1e-9)
    same_places = np.where(w != 0, dense.layers[0].params[0], 0)
    assert least <= error(same_places, dense.layers[0].params[1])


def test_exact_brain_surgeon_is_no_worse_than_the_single_score_on_its_own_objective():
    """One layer: of every count the error after the refit, on correlated inputs, summed over seeds; and all weights
    kept are the network itself, but for the ridge."""
    total = {False: 0.0, True: 0.0}
    for seed in range(6):
        x, _ = examples(seed, n=80, d=8)
        dense = network(seed, (8, 6))
        for exact in total:
            for count in (8, 16, 24, 32):
                sparse = single.brain_surgeon(dense, x, count, exact=exact)
                total[exact] += float(np.square(sparse(x)[0][-1] - dense(x)[0][-1]).mean())
    assert total[True] < total[False]
    assert np.allclose(single.brain_surgeon(dense, x, 48)(x)[0][-1], dense(x)[0][-1], atol=0.05)


def test_brain_surgeon_of_convolutions():
    small = lenet5(RNG(0), channels=(2, 3), hidden=5, shape=(16, 16, 1))
    x = RNG(1).random((50, 256), np.float32)
    for exact in (False, True):
        assert 50 <= sum(left(single.brain_surgeon(small, x, 60, exact=exact)).values()) <= 60


# ---- while training
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [0.3, 0.7, 1.0])
def test_the_cubic_schedule_is_that_of_the_paper(end):
    dense = network(sizes=(40, 30, 20, 10))                           # 2,000 weights
    rule = single.Gradual(60, 2_000, end)
    for p in np.linspace(0, 1, 21):
        assert abs(sum(left(rule(p, dense)[0]).values()) - defined.cubic(2_000, 60, 0.0, end, p)) <= 0.5 + 1e-6
    for network_, mask in (rule(1.0, dense), rule(0.1, dense)):
        assert all(np.array_equal(mask[i], m) for i, m in places(network_).items())
    assert left(rule(1.0, dense)[0]) == left(single.magnitude(dense, 60))


def tiny(masks, epochs=8, objective=classification, data=None, start=None, **more):
    x, y = examples(n=90, dtype=np.float32)
    settings = TrainingSettings(epochs, 16, **more)
    return list(single.train_masked(start or network(dtype=np.float32), data or {"x": x, "y": y}, objective, masks,
                                    optimiser=SGD(0.05), settings=settings, rng=RNG(0)))


def test_gradual_by_damage_keeps_what_the_logits_would_miss_most():
    """In a linear layer the damage is that of the logits exactly: half their mean squared change, the bias refitted."""
    dense, (x, _) = network(sizes=(6, 4)), examples(n=50)
    w, moved = dense.layers[0].params[0], np.zeros((4, 6))
    for o, q in np.ndindex(4, 6):
        change = w[o, q] * x[:, q]
        moved[o, q] = 0.5 * np.square(change - change.mean()).mean()
    assert np.allclose(single.costs(dense, x, single.damage)[0], moved)
    deep = network()
    slopes = sensitivities(deep, x, deep.weight_layers)
    for i, s, a in zip(deep.weight_layers, slopes, [deep(x)[0][j] for j in deep.weight_layers], strict=True):
        w = deep.layers[i].params[0]
        wanted = [[s[o] ** 2 * defined.damage(a, w[o], q) for q in range(w.shape[1])] for o in range(len(w))]
        assert np.allclose(single.costs(deep, x, single.damage)[i], wanted)
    after, mask = single.Gradual(9, 24, x=x)(1.0, dense)
    assert np.array_equal(mask[0], single.largest({0: moved}, 9)[0])
    assert left(after) == {0: 9}
    small = lenet5(RNG(0), channels=(2, 3), hidden=5, shape=(16, 16, 1))
    pictures = RNG(1).random((50, 256), np.float32)
    assert sum(left(single.Gradual(60, 500, x=pictures, cut=True)(1.0, small)[0]).values()) <= 60


def test_gradual_magnitude_falls_as_scheduled_and_ends_with_the_count():
    start = network(dtype=np.float32)
    records = tiny(single.Gradual(20, 62, 0.6), start=start)
    assert [sum(left(r.network).values()) for r in records] == [
        round(defined.cubic(62, 20, 0.0, 0.6, k / 7)) for k in range(8)]
    assert all((after[i] <= before[i]).all() for before, after in pairwise(places(r.network) for r in records)
               for i in before)                                       # what is gone stays gone
    assert records[-1].loss < records[0].loss
    assert all(r.best is r.network for r in records)
    assert [r.epoch for r in records] == list(range(1, 9))
    assert all(a.seconds <= b.seconds for a, b in pairwise(records))


def test_all_weights_kept_are_plain_training():
    """Epoch by epoch is the training as one: momentum, schedule and the order of the examples go on."""
    x, y = examples(n=90, dtype=np.float32)
    start, settings = network(dtype=np.float32), TrainingSettings(5, 16, validate=lambda network: 1.0)
    plain = list(train(start, {"x": x, "y": y}, optimiser=SGD(0.05), settings=settings, rng=RNG(0)))
    masked = tiny(single.Gradual(62, 62), epochs=5, validate=lambda network: 1.0)
    for one, other in zip(plain, masked, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
        assert one.learning_rate == pytest.approx(other.learning_rate)
        assert other.validation == 1.0
    for a, b in zip(plain[-1].network.layers, masked[-1].network.layers, strict=True):
        assert all(np.allclose(p, q, atol=1e-6) for p, q in zip(a.params, b.params, strict=True))
    assert len(tiny(single.Gradual(62, 62), epochs=4, patience=1, validate=lambda network: 1.0)) == 4


def test_a_sparse_student_learns_its_teacher():
    x, y = examples(n=90, dtype=np.float32)
    teacher = network(5, dtype=np.float32)
    data = {"x": x, "y": y, "teacher": teacher.predict(x)}
    records = tiny(single.Gradual(30, 62), 12, distillation(temperature=2.0), data)
    assert sum(left(records[-1].network).values()) == 30
    assert records[-1].loss < 0.5 * records[0].loss


def test_rigl_moves_as_many_as_scheduled_to_where_the_gradient_is_largest():
    (x, y), start = examples(dtype=np.float32), network(dtype=np.float32)
    count = single.erdos_renyi(start, 24)
    rule = single.RigL(count, {"x": x, "y": y}, classification, share=0.5, end=0.8)
    now, _ = rule(0.0, start)
    assert left(now) == count == left(single.magnitude(start, count))
    activations, backward = now(x)
    gradients = backward(classification(activations, {"y": y})[1])[1]
    for p in (0.1, 0.4, 0.79, 0.8, 1.0):
        after, mask = rule(p, now)
        for i, w in single.weights(now).items():
            moves = round(defined.moving(count[i], 0.5, 0.8, p))
            kept = np.sort(np.abs(w[w != 0]))[moves:]
            assert not after.layers[i].params[0][~mask[i]].any()
            assert mask[i].sum() == count[i]
            goes = (w != 0) & (np.abs(w) < kept.min()) if len(kept) else w != 0
            comes = mask[i] & ((w == 0) | goes)
            assert comes.sum() == moves
            others = ~mask[i] & ((w == 0) | goes)
            assert not moves or np.abs(gradients[i][0][comes]).min() >= np.abs(gradients[i][0][others]).max()


def test_rigl_fills_places_that_are_free_by_the_gradient_too():
    """Of weights that came and have no gradient yet: zeros are no smallest weights that stay."""
    dense, (x, y) = network(sizes=(6, 3)), examples()
    start = single.magnitude(dense, 2)
    gradient = start(x)[1]({1: cross_entropy(start(x)[0][-1], y)[1]})[1][0][0]
    _, mask = single.RigL({0: 6}, {"x": x, "y": y}, classification, share=1e-9)(0.5, start)
    w = start.layers[0].params[0]
    assert np.array_equal(mask[0], (w != 0) | single.largest({0: np.abs(gradient) * (w == 0)}, 4)[0])


def test_rigl_trains_at_a_constant_count_and_moves_weights():
    (x, y), start = examples(n=90, dtype=np.float32), network(dtype=np.float32)
    count = single.erdos_renyi(start, 24)
    records = tiny(single.RigL(count, {"x": x, "y": y}, classification), epochs=10)
    assert all(left(r.network)[i] <= count[i] for r in records for i in count)
    assert sum(left(records[-1].network).values()) == 24
    first, last = places(records[0].network), places(records[-1].network)
    assert any((last[i] & ~first[i]).any() for i in count)
    assert records[-1].loss < records[0].loss


def test_a_network_that_is_cut_while_it_learns_says_what_the_whole_one_says():
    """Nothing was read that was cut; behind a select the network is smaller."""
    start = network(sizes=(6, 30, 20, 3), dtype=np.float32)
    x, _ = examples(n=90, dtype=np.float32)
    whole, cut = (tiny(single.Gradual(40, 838, 0.6, cut=cut), 12, start=start) for cut in (False, True))
    assert sum(left(whole[-1].network).values()) == 40
    assert 1 <= sum(left(cut[-1].network).values()) <= 40             # what dead neurons read is gone too
    assert sum(cut[-1].network.widths) < 59 == sum(whole[-1].network.widths)
    assert all(sum(left(b.network).values()) <= sum(left(a.network).values()) for a, b in zip(whole, cut, strict=True))
    step, mask = single.Gradual(40, 838, cut=True)(0.5, start)
    assert np.allclose(step.predict(x), single.magnitude(start, sum(int(m.sum()) for m in mask.values())).predict(x),
                       atol=1e-5)
    assert min(r.loss for r in cut) < 0.8 * cut[0].loss


def test_channels_are_cut_while_a_network_with_convolutions_learns():
    """Also positions behind the flatten, which change no width: the optimiser begins at rest then."""
    start, rng = lenet5(RNG(0), channels=(4, 6), hidden=12, shape=(16, 16, 1), classes=3), RNG(1)
    y = np.arange(60) % 3
    x = rng.random((60, 16, 16), np.float32) * (np.arange(16) // 5 == y[:, None])[:, None, :]
    data = {"x": x.reshape(60, -1).astype(np.float32), "y": y}
    rule = single.Gradual(70, 600, 0.7, x=data["x"], cut=True)
    records = tiny(rule, 8, data=data, start=start, clip=3.0)
    counts = [sum(left(r.network).values()) for r in records]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] <= 70
    sizes = [sum(w.size for w in single.weights(r.network).values()) for r in records]
    assert sizes[-1] < 0.6 * sizes[0]
    assert min(r.loss for r in records) < 0.8 * records[0].loss


# ---- weights beside groups
# --------------------------------------------------------------------------------------------------------------------


def test_weights_beside_neurons_become_zero_in_training_and_in_distillation():
    """Sparse group lasso: of the neurons that stay some weights are zero, and they stay so in the last phase."""
    data = from_arrays("tiny", list(arrays(examples=300).values()), seed=0)
    dense = perceptron([16, 20, 10, 3], RNG(0))
    teacher = {"teacher": perceptron([16, 20, 3], RNG(1)).predict(data.x_train)}
    recipe = SparseRecipe({"neurons": 0.01, "weights": 0.004}, epochs=40, debias_epochs=5, batch_size=32)
    for learnt in ((), (distillation(0.5, temperature=2.0), teacher)):
        result = sparse_training(Run(data, fixed(), RNG(0)), dense, recipe, *learnt)
        for network in (result.penalised, result.debiased):
            assert network.widths[1] + network.widths[2] < 30
            w = np.concatenate([w.ravel() for w in single.weights(network).values()])
            assert 0.1 < (w == 0).mean() < 0.9
        for one, other in zip(*(single.weights(n).values() for n in (result.penalised, result.debiased)), strict=True):
            assert not other[one == 0].any()


@pytest.mark.parametrize(("command", "words_", "file"), [
    ("train", ["--penalty", "neurons=0.01,weights=0.005", "--distil-from"], "model"),
    ("distil", ["--penalty", "weights=0.01", "--teacher"], "student")])
def test_the_commands_take_weights_beside_neurons_with_a_teacher(command, words_, file, tmp_path, monkeypatch):
    undrawn(monkeypatch)
    save(tmp_path / "teacher.npz", Model(perceptron([16, 20, 3], RNG(1)), None))
    assert quick(tmp_path, *words_, str(tmp_path / "teacher.npz"), command=command) == 0
    w = np.concatenate([w.ravel() for w in single.weights(load(tmp_path / "out" / f"{file}.npz").network).values()])
    assert (w == 0).any()
