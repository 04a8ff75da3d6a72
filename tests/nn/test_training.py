"""The training loop against a plain loop written from its formulas, and what it promises: records, seeds, stopping,
errors."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from npkd.core.validation import Diverged, InputError
from npkd.nn import training
from npkd.nn.losses import cross_entropy, squared_error
from npkd.nn.network import Layer, Network, dense_layer, observe, perceptron
from npkd.nn.ops import Op
from npkd.nn.optimisers import SGD, Adam, AdamW, bound_norm
from npkd.nn.schedules import cosine, steps
from npkd.nn.training import TrainingSettings, train

# A batch of the problem below; 53 = 6 · 8 + 5, so that the last batch of an epoch is a smaller one.
N, BATCH = 53, 8


def problem(dtype=np.float64, n=N):
    """Three clouds of points, nearly separable."""
    rng = np.random.default_rng(8)
    y = rng.integers(0, 3, n)
    x = rng.standard_normal((n, 4)) + 3 * np.eye(3, 4)[y]
    return {"x": x.astype(dtype), "y": y}


def small_network(dtype=np.float64, seed=0):
    """Narrow and wide dense layers, so that both layouts of the workspace occur."""
    rng = np.random.default_rng(seed)
    return Network([
        dense_layer(4, 7, rng, dtype), Layer("relu"), Layer("dropout", options={"rate": 0.2}),
        dense_layer(7, 5, rng, dtype), Layer("tanh"), dense_layer(5, 3, rng, dtype),
    ])


def parameters(network):
    return [p for layer in network.layers for p in layer.params]


def run(network, data, *objective, optimiser=None, penalties=None, rng=None, **settings):
    """All records of a training, in batches of BATCH unless told."""
    settings = TrainingSettings(**{"batch_size": BATCH} | settings)
    return list(train(network, data, *objective, optimiser=optimiser, penalties=penalties, settings=settings,
                      rng=rng or np.random.default_rng(0)))


@dataclass(frozen=True)
class Shrink:
    """An l1 penalty that knows nothing of npkd: prox(v, t) = sign(v) max(|v| − tλ, 0)."""

    lam: float

    def value(self, w):
        return self.lam * float(np.abs(w).sum())

    def prox(self, v, step):
        assert np.ndim(step) == 0 or step.shape == v.shape
        return np.sign(v) * np.maximum(np.abs(v) - self.lam * step, 0)


def naive(network, data, epochs, rng, optimiser, schedule, penalties, clip, adversary):
    """The loop of ``train`` with the plain network: shuffle, (T11), gradient, (T10), (T1) … (T6), (T9), each parameter
    on its own."""
    layers = [Layer(a.op, tuple(p.copy() for p in a.params), a.options, a.running) for a in network.layers]
    memory = {}
    starts = range(0, len(data["x"]), BATCH)
    losses, t = [], 0
    for epoch in range(epochs):
        order, total = rng.permutation(len(data["x"])), 0.0
        for k, start in enumerate(starts):
            rows = order[start:start + BATCH]
            rate = optimiser.learning_rate * schedule((epoch + (k + 0.5) / len(starts)) / epochs)
            t += 1
            x, y = data["x"][rows], data["y"][rows]
            activations, backward = Network(layers)(x, rng)
            value, d = cross_entropy(activations[-1], y)
            dx, gradients = backward({len(layers): d})
            if adversary:
                size = np.linalg.norm(dx, axis=1, keepdims=True)            # 0 where a network has died
                activations, backward = Network(layers)(x + adversary * dx / np.maximum(size, 1e-300), rng)
                there, d = cross_entropy(activations[-1], y)
                value, (_, others) = (value + there) / 2, backward({len(layers): d})
                gradients = [tuple((a + b) / 2 for a, b in zip(g, h, strict=True))
                             for g, h in zip(gradients, others, strict=True)]
            total += value * len(rows)
            norm = np.sqrt(sum((g ** 2).sum() for layer in gradients for g in layer))
            for i, layer in enumerate(layers):
                new = []
                for j, (p, g) in enumerate(zip(layer.params, gradients[i], strict=True)):
                    g = g * min(1, clip / norm) if clip else g
                    m, s = memory.get((i, j), (np.zeros_like(p), np.zeros_like(p)))
                    if isinstance(optimiser, SGD):
                        m = optimiser.momentum * m + g + optimiser.weight_decay * p
                        step = rate / (1 - optimiser.momentum)
                        p = (
                            p - rate
                            * (g + optimiser.weight_decay * p + optimiser.momentum * m if optimiser.nesterov else m)
                        )
                    else:
                        g = g if optimiser.decoupled else g + optimiser.weight_decay * p
                        m = optimiser.beta1 * m + (1 - optimiser.beta1) * g
                        s = optimiser.beta2 * s + (1 - optimiser.beta2) * g * g
                        step = rate / (np.sqrt(s / (1 - optimiser.beta2 ** t)) + optimiser.eps)
                        p = (
                            p * (1 - rate * optimiser.weight_decay if optimiser.decoupled else 1) - step * m
                            / (1 - optimiser.beta1 ** t)
                        )
                    memory[i, j] = m, s
                    if j == 0 and i in penalties:
                        p = penalties[i].prox(p, step)
                    new.append(p)
                layers[i] = Layer(layer.op, tuple(new), layer.options, layer.running)
        losses.append(total / len(data["x"]))
    return Network(layers), losses


@pytest.mark.parametrize("penalties", [{}, {0: Shrink(0.1), 3: Shrink(0.05)}], ids=["smooth", "proximal"])
@pytest.mark.parametrize("clip", [None, 0.3], ids=["free", "clipped"])
@pytest.mark.parametrize("optimiser", [
    SGD(0.2, 0.9), SGD(0.2, 0.9, nesterov=True, weight_decay=0.01), SGD(0.3, 0.0, weight_decay=0.02),
    SGD(0.2, 0.5, weight_decay=0.01), Adam(0.02), Adam(0.02, weight_decay=0.05), AdamW(0.02, 0.3),
], ids=str)
@pytest.mark.parametrize("adversary", [0.0, 0.4], ids=["alone", "against an adversary"])
def test_equal_to_a_plain_loop(optimiser, clip, penalties, adversary):
    network, data, schedule = small_network(), problem(), cosine(warm_up=0.3, floor=0.1)
    record = run(network, data, epochs=3, rng=np.random.default_rng(1), optimiser=optimiser, schedule=schedule,
                 penalties=penalties, clip=clip, adversarial_eps=adversary)[-1]
    expected, losses = naive(network, data, 3, np.random.default_rng(1), optimiser, schedule, penalties, clip,
                             adversary)
    assert record.loss == pytest.approx(losses[-1], rel=1e-9)
    for p, q in zip(parameters(record.network), parameters(expected), strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-8, atol=1e-10)
    assert record.penalty == pytest.approx(sum(a.value(expected.layers[i].params[0]) for i, a in penalties.items()),
                                           rel=1e-8)
    if penalties:
        assert (record.network.layers[0].params[0] == 0).any()


@pytest.mark.parametrize("optimiser", [SGD(0.1), SGD(0.1, nesterov=True), Adam(0.01), AdamW(0.01)], ids=str)
def test_it_learns(optimiser):
    data = problem(np.float32, 300)
    records = run(perceptron([4, 16, 3], np.random.default_rng(0)), data, epochs=15, batch_size=32, optimiser=optimiser)
    assert records[-1].loss < 0.5 * records[0].loss
    wrong = (records[-1].network.predict(data["x"]).argmax(axis=1) != data["y"]).mean()
    # the best rule, knowing the clouds
    nearest = ((data["x"] @ (3 * np.eye(3, 4)).T).argmax(axis=1) != data["y"]).mean()
    assert wrong <= nearest + 0.02


def test_nothing_given_is_changed_and_records_are_copies():
    network, data = small_network(), problem()
    before, x, y = [p.copy() for p in parameters(network)], data["x"].copy(), data["y"].copy()
    records = run(network, data, epochs=3)
    assert all(np.array_equal(p, q) for p, q in zip(parameters(network), before, strict=True))
    assert np.array_equal(data["x"], x)
    assert np.array_equal(data["y"], y)
    for a, b in pairwise(records):
        for p, q in zip(parameters(a.network), parameters(b.network), strict=True):
            assert not np.shares_memory(p, q)
            assert not np.array_equal(p, q)


def test_records_say_what_happened():
    records = run(small_network(), problem(), epochs=4, optimiser=SGD(0.1), schedule=steps((0.5,), 0.1),
                  validate=lambda network: float(len(network.layers)))
    assert [r.epoch for r in records] == [1, 2, 3, 4]
    assert [r.learning_rate for r in records] == pytest.approx([0.1, 0.1, 0.01, 0.01])
    assert [r.validation for r in records] == [6.0] * 4
    assert all(a.seconds <= b.seconds for a, b in pairwise(records))
    assert all(r.penalty == 0 for r in records)
    assert all(r.best is records[0].network for r in records)                # never smaller again
    plain = run(small_network(), problem(), epochs=2)
    assert [r.validation for r in plain] == [None, None]
    assert all(r.best is r.network for r in plain)
    assert len(str(plain[0])) < 300                                          # numbers alone, no arrays


@pytest.mark.parametrize("optimiser", [SGD(0.1), Adam(0.01)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_seed_gives_the_same_bytes(optimiser, dtype):
    def trained(seed):
        record = run(small_network(dtype), problem(dtype), epochs=3, rng=np.random.default_rng(seed),
                     optimiser=optimiser)[-1]
        assert all(p.dtype == dtype for p in parameters(record.network))
        return b"".join(p.tobytes() for p in parameters(record.network))
    assert trained(3) == trained(3)
    assert trained(3) != trained(4)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("optimiser", [SGD(0.1), SGD(0.1, 0.8, nesterov=True, weight_decay=0.01), Adam(0.01),
                                       AdamW(0.01, 0.1)], ids=str)
def test_a_run_that_goes_on_ends_as_one_that_was_not_broken_off(optimiser, clip):
    """With dropout, an augmentation and batch norm, whose moments the network carries."""
    rng = np.random.default_rng(0)
    norm = Layer("batch_norm", (np.ones(7), np.zeros(7)))
    network = Network([dense_layer(4, 7, rng, np.float64), norm, *small_network().layers[1:]])
    settings = {"optimiser": optimiser, "clip": clip, "epochs": 6, "refresh": 2,
                "augmentation": lambda data, rng: {**data, "x": data["x"] + rng.standard_normal(data["x"].shape)}}
    whole, rng = run(network, problem(), rng=np.random.default_rng(1), **settings), np.random.default_rng(1)
    for record in train(network, problem(), optimiser=optimiser, rng=rng, settings=TrainingSettings(
            **{"batch_size": BATCH} | {name: value for name, value in settings.items() if name != "optimiser"})):
        if record.epoch == 4:
            break
    rest = run(record.network, problem(), rng=rng, done=4, carried=record.carried, **settings)
    assert [r.epoch for r in rest] == [5, 6]
    assert [r.loss for r in rest] == [r.loss for r in whole[4:]]
    for a, b in zip(rest[-1].network.layers, whole[-1].network.layers, strict=True):
        assert all(np.array_equal(p, q) for p, q in zip((*a.params, *a.running), (*b.params, *b.running), strict=True))
    assert not np.array_equal(run(record.network, problem(), rng=rng, done=4, **settings)[-1].carried[0],
                              rest[-1].carried[0])


def test_early_stopping_keeps_the_best():
    numbers = iter([3.0, 2.0, 2.5, 1.0, 1.5, 1.0, 2.0, 0.0])
    records = run(small_network(), problem(), epochs=20, validate=lambda network: next(numbers), patience=3)
    assert [r.epoch for r in records] == [1, 2, 3, 4, 5, 6, 7]           # epoch 4 was best, an equal one does not count
    assert records[-1].best is records[3].network
    assert records[2].best is records[1].network


@pytest.mark.parametrize("done", range(1, 8))
def test_early_stopping_of_a_run_that_goes_on_is_that_of_the_unbroken_one(done):
    """Also where it was broken off at its last epoch: nothing is left to do then."""
    def settings(numbers):
        return {"epochs": 20, "validate": lambda network: numbers.pop(0), "patience": 3}

    numbers = [3.0, 2.0, 2.5, 1.0, 1.5, 1.0, 2.0, 0.0]
    whole, rng, best = run(small_network(), problem(), **settings(numbers[:])), np.random.default_rng(0), None
    for record in train(small_network(), problem(), rng=rng,
                        settings=TrainingSettings(batch_size=BATCH, **settings(numbers[:]))):
        if record.best is record.network:
            best = record.epoch, record.validation, record.network
        if record.epoch == done:
            break
    rest = run(record.network, problem(), rng=rng, done=done, carried=record.carried, best=best,
               **settings(numbers[done:]))
    assert [r.epoch for r in rest] == [r.epoch for r in whole[done:]]
    for a, b in zip(rest, whole[done:], strict=True):
        for one, other in ((a.network, b.network), (a.best, b.best)):
            assert all(np.array_equal(p, q) for p, q in zip(parameters(one), parameters(other), strict=True))
        assert (a.best is best[2]) == (done >= 4 or (b.epoch < 4 and numbers[b.epoch - 1] > best[1]))


def test_the_loss_of_an_epoch_is_the_mean_over_the_examples_that_were_seen():
    """17 examples in batches of 8: one is left out. In batches of 7: 7, 7 and 3 count as what they are."""
    for batch_size, used in ((8, 16), (7, 17)):
        data, values = problem(n=17) | {"number": np.arange(1.0, 18.0)}, []

        def objective(activations, batch, values=values):
            values.extend(batch["number"])
            return float(batch["number"].mean()), {len(activations) - 1: np.zeros_like(activations[-1])}
        (record,) = run(small_network(), data, objective, epochs=1, batch_size=batch_size)
        assert len(values) == len(set(values)) == used
        assert record.loss == pytest.approx(sum(values) / used, rel=1e-12)


def test_a_batch_of_one_is_left_out_at_the_end_of_an_epoch():
    sizes, seen = [], []

    def objective(activations, batch):
        sizes.append(len(batch["x"]))
        seen.extend(batch["number"].tolist())
        value, d = cross_entropy(activations[-1], batch["y"])
        return value, {len(activations) - 1: d}

    data = problem(n=17)
    data["number"] = np.arange(17)
    run(small_network(), data, objective, epochs=2, batch_size=8)
    assert sizes == [8, 8, 8, 8]
    assert len(set(seen[:16])) == len(set(seen[16:])) == 16
    assert seen[:16] != seen[16:]                                            # a new order each epoch
    sizes.clear()
    data = problem(n=1) | {"number": np.arange(1)}
    run(small_network(), data, objective, epochs=1, batch_size=8)
    assert sizes == [1]                                                      # all there is
    sizes.clear()
    data = problem(n=3) | {"number": np.arange(3)}
    run(small_network(), data, objective, epochs=1, batch_size=1)
    assert sizes == [1, 1, 1]                                                # as asked for


@pytest.mark.parametrize("clip", [1e-3, 0.1, 1e6])
def test_clipping_bounds_the_step(clip):
    network, data = Network([layer for layer in small_network().layers if layer.op != "dropout"]), problem(n=8)
    activations, backward = network(data["x"])
    value, d = cross_entropy(activations[-1], data["y"])
    norm = np.sqrt(sum((g ** 2).sum() for layer in backward({5: d})[1] for g in layer))
    (record,) = run(network, data, epochs=1, optimiser=SGD(0.5, 0.9), schedule=steps(()), clip=clip)
    assert record.loss == pytest.approx(value)
    moved = [p - q for p, q in zip(parameters(record.network), parameters(network), strict=True)]
    assert np.sqrt(sum((m ** 2).sum() for m in moved)) == pytest.approx(0.5 * min(clip, norm), rel=1e-9)


def test_a_gradient_whose_square_overflows_is_clipped_to_its_direction():
    """(3, −4) · 10^30 in single precision has norm 5 · 10^30; its squares are infinite."""
    gradient = np.float32([3e30, -4e30])
    with np.errstate(over="ignore"):
        bound_norm(10.0, gradient)
    np.testing.assert_allclose(gradient, [6, -8], rtol=1e-6)


def test_sensitivities_may_enter_anywhere():
    """A hint alone, at a hidden layer: the layers behind it stay what they were."""
    def hint(activations, batch):
        return float((activations[2] ** 2).sum()) / 2, {2: activations[2]}
    network = small_network()
    record = run(network, problem(), hint, epochs=2, optimiser=SGD(0.001))[-1]
    assert not np.array_equal(record.network.layers[0].params[0], network.layers[0].params[0])
    for i in (3, 5):
        for p, q in zip(record.network.layers[i].params, network.layers[i].params, strict=True):
            assert np.array_equal(p, q)


def test_no_epoch_begins_with_subnormal_numbers():
    """The velocity of an input that is zero after the first epoch decays by 0.9 a step: below the smallest normal
    number of float32, 1e-38, after some 800 steps, and then to the smallest subnormal one, where it would stay."""
    shown = iter([1.0])

    def only_once(batch, rng):
        return {**batch, "x": batch["x"] * np.array([next(shown, 0.0), 1, 1, 1], np.float32)}

    records = run(small_network(np.float32), problem(np.float32), epochs=130, augmentation=only_once)
    tiny = np.finfo(np.float32).tiny
    assert not any(((v != 0) & (np.abs(v) < tiny)).any() for r in records for v in r.carried)
    assert (records[0].carried[0] == 0).sum() < (records[-1].carried[0] == 0).sum() - 3


def test_running_moments_follow_the_batches():
    rng = np.random.default_rng(0)
    norm = Layer("batch_norm", (np.ones(5), np.zeros(5)))
    network = Network([dense_layer(4, 5, rng, np.float64), norm, dense_layer(5, 3, rng, np.float64)])
    x = problem()["x"][:16]
    expected, seen = network, []

    def nothing(activations, batch):
        seen.append(batch["x"].copy())
        return 0.0, {3: np.zeros_like(activations[3])}
    (record,) = run(network, {"x": x}, nothing, epochs=1, optimiser=SGD(1e-12))
    assert [len(rows) for rows in seen] == [8, 8]
    for rows in seen:
        expected = observe(expected, expected(rows, rng)[0])
    for got, wanted in zip(record.network.layers[1].running, expected.layers[1].running, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-9)
    record = run(network, problem(), epochs=2, rng=rng)[-1]
    assert len(record.network.layers[1].running) == 2
    assert record.network.predict(x[:1]).shape == (1, 3)                   # one example has no variance, but needs none


@pytest.mark.parametrize(("epochs", "refresh", "calls"), [(5, 1, 5), (5, 2, 3), (4, 4, 1), (3, 9, 1)])
def test_the_data_is_changed_again_after_so_many_epochs(epochs, refresh, calls):
    seen = []

    def augment(data, rng):
        seen.append(len(data["x"]))
        return {**data, "x": data["x"] + len(seen)}

    run(small_network(), problem(), epochs=epochs, augmentation=augment, refresh=refresh)
    assert seen == [len(problem()["x"])] * calls


def test_an_augmentation_sees_the_data_and_may_add_to_it():
    def augment(batch, rng):
        return {"x": batch["x"] + 0.1 * rng.standard_normal(batch["x"].shape), "y": batch["y"],
                "clean": batch["x"].copy()}

    shifts = []

    def objective(activations, batch):
        shifts.append(float(np.abs(activations[0] - batch["clean"]).max()))
        value, d = cross_entropy(activations[-1], batch["y"])
        return value, {len(activations) - 1: d}

    data = problem()
    before = data["x"].copy()
    run(small_network(), data, objective, epochs=1, augmentation=augment)
    assert len(shifts) == 7
    assert all(0 < s < 1 for s in shifts)
    assert np.array_equal(data["x"], before)


@pytest.mark.parametrize("optimiser", [SGD(1e20, 0.0), SGD(1e30), Adam(1e25)], ids=str)
def test_divergence_is_said_with_epoch_layer_and_remedy(optimiser):
    with np.errstate(all="ignore"), pytest.raises(Diverged) as error:
        run(perceptron([4, 7, 5, 3], np.random.default_rng(0)), problem(np.float32), epochs=50, optimiser=optimiser,
            schedule=steps(()))
    sentence = str(error.value)
    for word in ("epoch", "layer", "dense", "learning rate", f"{optimiser.learning_rate:g}"):
        assert word in sentence
    assert "\n" not in sentence


def test_a_rate_that_is_too_large_is_not_blamed_on_the_data_of_an_adversary():
    """Where the slope overflows, so would the examples at their worst: those are not the user's."""
    def squared(activations, batch):
        difference = activations[-1] - np.eye(3, dtype=np.float32)[batch["y"]]
        return float((difference.astype(np.float64) ** 2).mean()), {len(activations) - 1: difference}

    with np.errstate(all="ignore"), pytest.raises(Diverged, match="lower the learning rate"):
        run(small_network(np.float32), problem(np.float32), squared, epochs=20, optimiser=SGD(1e12),
            adversarial_eps=0.4)


def test_running_moments_follow_the_examples_not_the_adversary():
    network = Network([Layer("batch_norm", (np.ones(4), np.zeros(4))),
                       dense_layer(4, 3, np.random.default_rng(0), np.float64)])
    records = [run(network, problem(), epochs=1, adversarial_eps=radius, optimiser=SGD(1e-9))[-1]
               for radius in (0, 3)]
    one, other = (r.network.layers[0].running for r in records)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_data_that_is_not_finite_is_not_blamed_on_the_rate():
    data = problem()
    data["x"][17, 2] = np.nan
    with np.errstate(all="ignore"), pytest.raises(Diverged, match="epoch 1: 'x' holds values that are not finite"):
        run(small_network(), data, epochs=1)


@pytest.mark.parametrize(("augment", "words"), [
    (lambda data, rng: {name: a[:20] for name, a in data.items()},
     r"lengths {'x': 20, 'y': 20}; it must return 'x', 53 rows each"),
    (lambda data, rng: {name: np.concatenate([a, a]) for name, a in data.items()}, r"lengths {'x': 106, 'y': 106}"),
    (lambda data, rng: {"y": data["y"]}, r"lengths {'y': 53}; it must return 'x'"),
    (lambda data, rng: data | ({"more": data["y"]} if rng.random() < 0.5 else {}),
     "names, shapes and dtypes must stay"),
    (lambda data, rng: data | {"y": data["y"].astype([np.int64, np.int32][rng.integers(2)])},
     "names, shapes and dtypes must stay"),
])
def test_an_augmentation_that_does_not_keep_its_rows_or_arrays(augment, words):
    """Rows that are never shown, or shown instead of others, would be a silent loss."""
    with pytest.raises(InputError, match=words):
        run(small_network(), problem(), epochs=20, augmentation=augment)


def test_what_an_augmentation_gives_has_the_dtype_of_the_network():
    def augment(data, rng):
        return {**data, "x": data["x"] + rng.standard_normal(data["x"].shape)}             # float64

    def objective(activations, batch):
        assert activations[0].dtype == np.float32
        value, d = cross_entropy(activations[-1], batch["y"])
        return value, {len(activations) - 1: d}

    run(small_network(np.float32), problem(np.float32), objective, epochs=1, augmentation=augment)


def test_a_validation_that_is_no_number_is_refused():
    with pytest.raises(InputError, match="validate returned nan after epoch 1"):
        run(small_network(), problem(), epochs=3, validate=lambda network: float("nan"))


def test_an_infinite_validation_is_no_reason_to_keep_the_untrained_network():
    network = small_network()
    record = run(network, problem(), epochs=3, validate=lambda network: float("inf"))[0]
    assert record.best is record.network


def test_a_rate_may_be_a_numpy_number():
    a, b = (run(small_network(np.float32), problem(np.float32), epochs=2, optimiser=SGD(rate),
                penalties={0: Shrink(0.01)})[-1]
            for rate in (np.float32(0.125), 0.125))
    for p, q in zip(parameters(a.network), parameters(b.network), strict=True):
        np.testing.assert_allclose(p, q, atol=1e-6)


def test_divergence_names_the_layer_that_is_bad():
    network, data = small_network(), problem()
    network.layers[3].params[0][0, 0] = np.nan
    with np.errstate(all="ignore"), pytest.raises(Diverged, match=r"epoch 1.*layer 3 \(dense\)"):
        run(network, data, epochs=1, optimiser=SGD(1e-3))


class Half:
    """A penalty without a proximal step."""

    def value(self, w):
        return 0.0


class Summed(Shrink):
    """A proximal step that is one number."""

    def prox(self, v, step):
        return super().prox(v, step).sum()


def tanh_of(x, a):
    return np.tanh(a * x), lambda dy: (a * dy, (x * dy).sum(axis=0))


def mixed():
    rng = np.random.default_rng(0)
    return Network([dense_layer(4, 3, rng, np.float64), Layer(Op(tanh_of, ("J",)), (np.ones(3, np.float32),))])


def parts(**changed):
    """Arguments of train that work, with some changed."""
    return {"network": small_network(), "data": problem(), "epochs": 1} | changed


@pytest.mark.parametrize(("changed", "words"), [
    ({"data": {"y": np.zeros(3, int)}}, ("no examples", "'x'")),
    ({"data": {"x": np.zeros((0, 4)), "y": np.zeros(0, int)}}, ("no examples",)),
    ({"data": problem() | {"y": np.zeros(3, int)}}, ("lengths", "'x': 53", "'y': 3", "equal")),
    ({"data": problem(np.float32)}, ("float32", "float64", "agree")),
    ({"data": problem() | {"x": np.zeros((N, 4), int)}}, ("int64", "float64", "agree")),
    ({"data": {"x": problem()["x"]}}, ("'y'",)),
    ({"epochs": 0}, ("epochs is 0", "at least 1")),
    ({"epochs": 1.5}, ("epochs is 1.5", "whole number")),
    ({"refresh": 0}, ("refresh is 0", "at least 1")),
    ({"batch_size": 0}, ("batch_size is 0", "at least 1")),
    ({"clip": 0.0}, ("clip is 0", "positive")),
    ({"clip": -1.0}, ("clip is -1", "positive")),
    ({"adversarial_eps": -0.1}, ("adversarial_eps is -0.1", "not negative")),
    ({"patience": 3}, ("patience", "validation")),
    ({"patience": 0, "validate": lambda network: 0.0}, ("patience is 0", "at least 1")),
    ({"done": 1.5}, ("done is 1.5", "whole number")),
    ({"done": -1}, ("done is -1", "at least 0 and at most")),
    ({"done": 3, "epochs": 2}, ("done is 3", "at least 0 and at most 2")),
    ({"done": 1, "validate": lambda network: 0.0}, ("done is 1 without best",)),
    ({"done": 1, "carried": [np.zeros(91)] * 2}, ("holds float64 (91,), float64 (91,); it must hold float64 (",)),
    ({"done": 1, "carried": [np.zeros(1)]}, ("carried holds float64 (1,); it must hold float64 (",)),
    ({"done": 1, "carried": [np.zeros(1)], "optimiser": Adam()}, ("float64 (1,); it must hold", "int64 (1,)")),
    ({"penalties": {1: Shrink(0.1)}}, ("layer 1", "no parameters")),
    ({"penalties": {len(small_network().layers): Shrink(0.1)}}, ("names layer", "no parameters")),
    ({"penalties": {-1: Shrink(0.1)}}, ("layer -1",)),
    ({"network": Network([Layer("relu")])}, ("parameters",)),
    ({"penalties": [Shrink(0.1)]}, ("penalties is a list", "{index of a layer: penalty}")),
    ({"penalties": {"0": Shrink(0.1)}}, ("layer 0", "no parameters")),
    ({"penalties": {3: Shrink}}, ("penalty of layer 3 is the class Shrink", "value(w) and prox(v, step)")),
    ({"penalties": {3: Half()}}, ("penalty of layer 3 is a Half", "value(w) and prox(v, step)")),
    ({"penalties": {3: Summed(0.1)}}, ("penalty of layer 3: prox returned", "shape ()", "shape (5, 7)")),
    ({"network": mixed()}, ("dense has float64", "tanh_of has float32", "network.astype")),
])
def test_refusals(changed, words):
    arguments = parts(**changed)
    with pytest.raises(InputError) as error:
        run(arguments.pop("network"), arguments.pop("data"), **arguments)
    for word in words:
        assert word in str(error.value)


def hinge(z, y):
    """A loss, not an objective."""
    s = np.where(y[:, None] == np.arange(z.shape[1]), 1, -1)
    return float(np.maximum(0, 1 - s * z).sum()) / len(z), -s * (s * z < 1) / len(z)


def bare(activations, batch):
    return cross_entropy(activations[-1], batch["y"])


@pytest.mark.parametrize(("objective", "words"), [
    (hinge, ("the objective hinge fails (TypeError", "objective(activations, batch)", "d = loss(activations[-1]")),
    (cross_entropy, ("the objective cross_entropy fails (InputError", "objective(activations, batch)")),
    (squared_error, ("the objective squared_error fails (InputError", "objective(activations, batch)")),
    (bare, ("bare returned a tuple of 2: a float, an array of float64 and shape (8, 3)", "(value, {index: sensitivity}",
            "value, {6: d}")),
    (lambda activations, batch: bare(activations, batch)[0], ("returned a float", "(value, {index: sensitivity}")),
    (lambda activations, batch: (np.ones(3), {6: activations[6]}), ("returned a tuple of 2: an array", "{index: ")),
])
def test_what_is_no_objective_is_refused_in_words(objective, words):
    with pytest.raises(InputError) as error:
        run(small_network(), problem(), objective, epochs=1)
    for word in words:
        assert word in str(error.value)


def test_an_objective_is_looked_at_once(monkeypatch):
    """At the first batch of a run; the others cost nothing."""
    looked = []
    monkeypatch.setattr(training, "asked", lambda objective, *rest: looked.append(objective) or objective(*rest))
    run(small_network(), problem(), epochs=2)
    assert looked == [training.classification]


def test_what_fails_in_an_objective_later_is_left_as_it_is():
    """It had the form of one; then the fault is its author's, who needs the traceback."""
    seen = []

    def fails(activations, batch):
        seen.append(batch)
        if len(seen) > 1:
            raise TypeError("my own")
        return training.classification(activations, batch)

    with pytest.raises(TypeError, match="my own"):
        run(small_network(), problem(), fails, epochs=1)
