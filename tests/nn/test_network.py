"""Networks: forward as a chain of definitions, backward against differences of the whole chain, and what is refused."""

import numpy as np
import pytest

import reference.definitions.nn.normalisation
from npkd import gradcheck
from npkd.core.validation import InputError
from npkd.nn.network import ACTIVATIONS, Layer, Network, dense_layer, observe, perceptron
from npkd.nn.normalisation import moments
from npkd.nn.ops import OPS
from reference.check import definition_of


def network_of_everything(rng):
    """Every op once, float64, with running moments."""
    running = (rng.standard_normal(4), rng.uniform(0.5, 2, 4))
    return Network([
        Layer("flatten"),
        dense_layer(6, 4, rng, np.float64),
        Layer("batch_norm", (rng.uniform(0.5, 2, 4), rng.standard_normal(4)), {"eps": 1e-3}, running),
        Layer("tanh"),
        Layer("gate", (rng.uniform(0.5, 2, 4),)),
        dense_layer(4, 6, rng, np.float64),
        Layer("maxout", options={"pieces": 2}),
        Layer("dropout", options={"rate": 0.3}),
        dense_layer(3, 3, rng, np.float64),
        Layer("sigmoid"),
        Layer("select", options={"kept": (2, 0, 1)}),
        dense_layer(3, 4, rng, np.float64),
        Layer("relu"),
        dense_layer(4, 2, rng, np.float64),
    ])


def convolutional(rng):
    """Every op on maps, float64, two additions and a recall, with running moments."""
    def normal(*shape):
        return rng.standard_normal(shape)
    return Network([
        Layer("unflatten", options={"shape": [3, 4, 1]}),
        Layer("conv2d", (normal(2, 3, 3, 1), normal(2)), {"padding": 1}),
        Layer("gate", (rng.uniform(0.5, 2, 2),)),
        Layer("tanh"),
        Layer("depthwise_conv2d", (normal(2, 3, 2), normal(2)), {"padding": [1, 2], "dilation": 2}),
        Layer("recall", options={"back": 2}),
        Layer("add", options={"back": 1}),
        Layer("max_pool", options={"size": 2}),
        Layer("batch_norm", (rng.uniform(0.5, 2, 2), normal(2)), {"eps": 1e-3}, (normal(2), rng.uniform(0.5, 2, 2))),
        Layer("offset", (normal(1, 2, 2),)),
        Layer("add", options={"back": 2}),
        Layer("average_pool", options={"size": (1, 2), "stride": 1, "padding": (0, 1)}),
        Layer("global_average_pool"),
        dense_layer(2, 3, rng, np.float64),
    ])


NETWORKS = {network_of_everything: (2, 3), convolutional: (12,)}
"""Both, with the shape of an example; each has 14 layers."""

both = pytest.mark.parametrize("make", NETWORKS)


def test_the_networks_have_every_op():
    """But for activations, one of which is like another here, and for ``quantize``, which has no differences."""
    assert {layer.op for make in NETWORKS
            for layer in make(np.random.default_rng(0)).layers} | {*ACTIVATIONS, "quantize"} == set(OPS)


def naive(network, x, seed):
    """The activations by the definitions; ``seed`` is None where the network predicts."""
    rng = None if seed is None else np.random.default_rng(seed)
    activations = [x]
    for i, layer in enumerate(network.layers):
        options = dict(layer.options)
        if layer.row.skip:
            activations.append(definition_of(layer.row.function)(activations[i], activations[i - options["back"]]))
            continue
        if layer.op == "dropout":
            options["rng"] = rng
        if layer.op == "batch_norm" and seed is None:
            options["running"] = layer.running
        activations.append(definition_of(OPS[layer.op].function)(activations[-1], *layer.params, **options))
    return activations


def with_parameters(network, params):
    """The network with other parameters, given as one flat list."""
    held = list(params)
    return Network([Layer(a.op, tuple(held.pop(0) for _ in a.params), a.options, a.running) for a in network.layers])


def as_op(network, places, seed):
    """x and all parameters -> the activations at ``places`` in one row, with the network's own backward pass."""
    def op(x, *params):
        rng = None if seed is None else np.random.default_rng(seed)
        activations, backward = with_parameters(network, params)(x, rng)

        def flat_backward(dy):
            sensitivities, start = {}, 0
            for i in places:
                size = activations[i].size
                sensitivities[i] = dy[start:start + size].reshape(activations[i].shape)
                start += size
            dx, gradients = backward(sensitivities)
            return (dx, *(g for layer in gradients for g in layer))

        return np.concatenate([activations[i].ravel() for i in places]), flat_backward
    return op


@both
@pytest.mark.parametrize("seed", [None, 3], ids=["predicting", "training"])
def test_forward_is_the_chain_of_the_definitions(make, seed):
    rng = np.random.default_rng(0)
    network, x = make(rng), rng.standard_normal((4, *NETWORKS[make]))
    activations, _ = network(x, None if seed is None else np.random.default_rng(seed))
    assert activations[0] is x
    for got, expected in zip(activations, naive(network, x, seed), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-13)


CHAINS = {}
"""Activations by the definitions: differences take the same points, whichever layers they are of."""


@pytest.mark.parametrize("seed", [None, 3], ids=["predicting", "training"])
@pytest.mark.parametrize("places", [(14,), (0, 4, 9, 14), (6, 7), (2,)], ids=str)
@both
def test_sensitivities_at_any_layers_against_differences_of_the_chain(make, places, seed):
    rng = np.random.default_rng(1)
    network, x = make(rng), rng.standard_normal((2, *NETWORKS[make]))
    params = [p for layer in network.layers for p in layer.params]

    def definition(x, *params):
        point = (make, seed, *(a.tobytes() for a in (x, *params)))
        if point not in CHAINS:
            CHAINS[point] = naive(with_parameters(network, params), x, seed)
        return np.concatenate([CHAINS[point][i].ravel() for i in places])

    report = gradcheck.check(as_op(network, places, seed), x, *params, definition=definition)
    assert report.value <= 1e-11
    assert report.worst <= 1e-8, report


@both
def test_layers_that_no_sensitivity_reaches_get_zeros_of_their_shapes(make):
    rng = np.random.default_rng(2)
    network = make(rng)
    activations, backward = network(rng.standard_normal((3, *NETWORKS[make])))
    dx, gradients = backward({2: np.ones_like(activations[2])})
    assert dx.shape == activations[0].shape
    for i, layer in enumerate(network.layers):
        assert [g.shape for g in gradients[i]] == [p.shape for p in layer.params]
        assert all((g == 0).all() for g in gradients[i]) == (i != 1)


@both
def test_the_given_sensitivities_and_parameters_are_not_changed(make):
    rng = np.random.default_rng(3)
    network = make(rng)
    before = [p.copy() for layer in network.layers for p in layer.params]
    activations, backward = network(rng.standard_normal((3, *NETWORKS[make])), np.random.default_rng(0))
    given = {i: rng.standard_normal(activations[i].shape) for i in (1, 4, 8, 14)}
    kept = {i: d.copy() for i, d in given.items()}
    first, second = backward(given), backward(given)
    assert all(np.array_equal(given[i], kept[i]) for i in given)
    np.testing.assert_array_equal(first[0], second[0])
    assert all(np.array_equal(a, b)
               for a, b in zip(before, (p for layer in network.layers for p in layer.params), strict=True))


@pytest.mark.parametrize(("sensitivities", "words"), [
    ({}, ("no sensitivities",)),
    ({15: np.zeros((3, 2))}, ("sensitivity at 15", "0 … 14")),
    ({-1: np.zeros((3, 2))}, ("sensitivity at -1", "0 … 14")),
    ({14: np.zeros((3, 3))}, ("sensitivity 14", "(3, 3)", "(3, 2)")),
])
def test_sensitivities_that_do_not_fit_are_refused(sensitivities, words):
    rng = np.random.default_rng(0)
    _, backward = network_of_everything(rng)(rng.standard_normal((3, 2, 3)))
    with pytest.raises(InputError) as error:
        backward(sensitivities)
    for word in words:
        assert word in str(error.value)


@both
def test_predict_is_the_last_activation_in_pieces_of_any_size(make):
    rng = np.random.default_rng(4)
    network, x = make(rng), rng.standard_normal((7, *NETWORKS[make]))
    expected = naive(network, x, None)[-1]
    for rows in (1, 3, 7, 100):
        np.testing.assert_allclose(network.predict(x, rows), expected, rtol=1e-11)
    assert network.predict(x[:0]).shape == (0, expected.shape[1])


def test_a_layer_uses_batch_moments_until_it_has_seen_some():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((6, 3))
    network = Network([Layer("batch_norm", (np.ones(3), np.zeros(3)))])
    np.testing.assert_allclose(network(x)[0][-1].mean(axis=0), 0, atol=1e-12)
    observed = observe(network, [x])
    np.testing.assert_allclose(observed(x[:1])[0][-1], network(x)[0][-1][:1], rtol=1e-12)


def test_observe_equals_its_definition():
    rng = np.random.default_rng(6)
    network = Network([dense_layer(2, 3, rng, np.float64), Layer("batch_norm", (np.ones(3), np.zeros(3)))])
    x = rng.standard_normal((5, 2))
    activations, _ = network(x, rng)
    first = observe(network, activations)
    assert network.layers[1].running == ()                                  # the given network is not changed
    for got, expected in zip(first.layers[1].running, moments(activations[1]), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-15)               # the first batch counts in full
    more, _ = network(2 * x + 1, rng)
    for momentum in (0.1, 0.5, 1.0):
        second = observe(first, more, momentum)
        expected = reference.definitions.nn.normalisation.observe(first.layers[1].running, more[1], momentum)
        for got, wanted in zip(second.layers[1].running, expected, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-12)
    assert second.layers[0] is network.layers[0]
    single = observe(first.astype(np.float32), more)
    assert [r.dtype for r in single.layers[1].running] == [np.float32, np.float32]


def test_observe_counts_every_position():
    rng = np.random.default_rng(8)
    network = Network([Layer("unflatten", options={"shape": (2, 3, 2)}),
                       Layer("batch_norm", (np.ones(2), np.zeros(2)))])
    first, _ = network(rng.standard_normal((4, 12)))
    second, _ = network(rng.standard_normal((5, 12)))
    observed = observe(observe(network, first), second)
    expected = reference.definitions.nn.normalisation.observe(reference.definitions.nn.normalisation.moments(first[1]),
                                                              second[1])
    for got, wanted in zip(observed.layers[1].running, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_an_activation_that_is_added_twice_feels_both():
    """y = ((x + x) + x) + (x + x): each entry of x counts five times."""
    network = Network([Layer("dropout", options={"rate": 0.0}),
                       *(Layer("add", options={"back": k}) for k in (1, 2, 2))])
    x = np.arange(6.0).reshape(2, 3)
    activations, backward = network(x)
    assert [a.tolist() for a in activations] == [(k * x).tolist() for k in (1, 1, 2, 3, 4)]
    dx, _ = backward({4: np.ones((2, 3)), 1: np.full((2, 3), 10.0)})
    assert (dx == 14).all()


def test_paths_that_do_not_fit_are_refused():
    network = Network([dense_layer(3, 2, np.random.default_rng(0), np.float64), Layer("add", options={"back": 1})])
    with pytest.raises(InputError, match=r"add: x has shape \(4, 2\) and skip has shape \(4, 3\)"):
        network(np.ones((4, 3)))


def test_widths_parameters_and_copies():
    rng = np.random.default_rng(7)
    network = network_of_everything(rng)
    assert network.widths == [6, 4, 6, 3, 4, 2]
    assert network.dense_layers == [1, 5, 8, 11, 13]
    assert Network([Layer("relu")]).widths == []
    assert OPS["dense"].params == ("w", "b")
    assert OPS["batch_norm"].params == ("gamma", "beta")
    assert OPS["dropout"].params == OPS["add"].params == ()
    assert OPS["conv2d"].params == ("w", "b")
    copy = network.copy()
    single = network.astype(np.float32)
    for a, b, c in zip(network.layers, copy.layers, single.layers, strict=True):
        for p, q, r in zip(a.params + a.running, b.params + b.running, c.params + c.running, strict=True):
            assert np.array_equal(p, q)
            assert not np.shares_memory(p, q)
            assert r.dtype == np.float32
            np.testing.assert_allclose(r, p, rtol=1e-6)
    changed = network.replace({3: Layer("relu")})
    assert [layer.op for layer in changed.layers][:5] == ["flatten", "dense", "batch_norm", "relu", "gate"]
    assert changed.layers[1] is network.layers[1]


def test_perceptron():
    network = perceptron([5, 400, 3], np.random.default_rng(0), activation="tanh", dropout_rates=[0.2, 0.0])
    assert [layer.op for layer in network.layers] == ["dropout", "dense", "tanh", "dense"]
    assert network.widths == [5, 400, 3]
    assert all(p.dtype == np.float32 for layer in network.layers for p in layer.params)
    w, b = network.layers[1].params
    assert (b == 0).all()
    assert w.std() == pytest.approx(np.sqrt(2 / 5), rel=0.1)                # He et al.: variance 2/I
    again = perceptron([5, 400, 3], np.random.default_rng(0), activation="tanh", dropout_rates=[0.2, 0.0])
    assert all(np.array_equal(p, q) for a, b in zip(network.layers, again.layers, strict=True)
               for p, q in zip(a.params, b.params, strict=True))


@pytest.mark.parametrize(("make", "words"), [
    (lambda rng: perceptron([4], rng), ("perceptron", "[4]", "two or more")),
    (lambda rng: perceptron([], rng), ("perceptron", "[]", "two or more")),
    (lambda rng: perceptron([4, 0, 2], rng), ("perceptron", "[4, 0, 2]", "positive")),
    (lambda rng: perceptron([4, 3, 2], rng, dropout_rates=[0.5]), ("perceptron", "1 dropout rates", "2 are needed")),
    (lambda rng: perceptron([4, 3, 2], rng, activation="softmax"), ("'softmax'", "relu")),
    (lambda rng: perceptron([4, 3, 2], rng, activation="dropout"), ("'dropout'", "relu")),
    (lambda rng: Network([]), ("Network", "no layers")),
    (lambda rng: Layer("convolve"), ("Layer", "'convolve'", "dense")),
    (lambda rng: Layer("dense", (np.ones((2, 2)),)), ("Layer", "dense got 1 parameters", "2: w, b")),
    (lambda rng: Layer("relu", (np.ones(2),)), ("Layer", "relu got 1 parameters", "needs 0")),
    (lambda rng: Layer("relu", options={"slope": 0.1}), ("Layer", "relu has no option 'slope'")),
    (lambda rng: Layer("dropout", options={"rate": 0.1, "rng": rng}), ("Layer", "dropout has no option 'rng'")),
    (lambda rng: Layer("dense", (np.ones((2, 2)), np.ones(2)), {"w": np.ones((2, 2))}),
     ("Layer", "dense has no option 'w'")),
    (lambda rng: Layer("dropout"), ("Layer", "dropout", "rate")),
    (lambda rng: Layer("maxout"), ("Layer", "maxout", "pieces")),
    (lambda rng: Layer("select"), ("Layer", "select", "kept")),
    (lambda rng: Layer("conv2d", (np.ones((2, 3, 3, 1)),)), ("Layer", "conv2d got 1 parameters", "2: w, b")),
    (lambda rng: Layer("conv2d", (np.ones((2, 3, 3, 1)), np.ones(2)), {"strides": 2}),
     ("Layer", "conv2d has no option 'strides'")),
    (lambda rng: Layer("max_pool"), ("Layer", "max_pool", "size")),
    (lambda rng: Layer("unflatten"), ("Layer", "unflatten", "shape")),
    (lambda rng: Layer("batch_norm", (np.ones(2), np.ones(2)), running=(np.ones(2),)),
     ("Layer", "got 1 running", "batch_norm has two")),
    (lambda rng: Layer("relu", running=(np.ones(2), np.ones(2))), ("Layer", "relu got 2 running", "others none")),
    (lambda rng: Layer("add"), ("Layer", "add", "back")),
    (lambda rng: Layer("add", options={"skip": 1}), ("Layer", "add has no option 'skip'")),
    (lambda rng: Layer("add", options={"back": 0}), ("Layer", "back 0", "at least 1")),
    (lambda rng: Layer("add", options={"back": True}), ("Layer", "back True", "whole number")),
    (lambda rng: Layer("add", options={"back": 1.0}), ("Layer", "back 1.0", "whole number")),
    (lambda rng: Network([Layer("relu"), Layer("add", options={"back": 2})]),
     ("Network", "layer 1", "2 before its input", "1 activation")),
])
def test_refusals(make, words):
    with pytest.raises(InputError) as error:
        make(np.random.default_rng(0))
    for word in words:
        assert word in str(error.value)
