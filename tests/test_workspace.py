"""The workspace computes what the plain network computes: the same activations, the same gradients, in its own memory."""

import numpy as np
import pytest

from npkd.errors import InputError
from npkd.nn.network import OPS, Layer, Network, dense_layer
from npkd.nn.workspace import Workspace

TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}


def random_network(rng, dtype):
    """Layers drawn at random, with at least one dense layer; narrow and wide ones, so that both layouts occur."""
    width = inputs = int(rng.integers(1, 9))
    layers = []
    for _ in range(int(rng.integers(1, 9))):
        op = str(rng.choice(["dense", "dense", *OPS]))
        if op == "dense":
            outputs = int(rng.integers(1, 13))
            layers.append(dense_layer(width, outputs, rng, dtype))
            layers[-1].params[1][:] = rng.standard_normal(outputs)
            width = outputs
        elif op == "gate":
            layers.append(Layer("gate", (rng.uniform(0.5, 2, width).astype(dtype),)))
        elif op == "batch_norm":
            params = tuple(rng.uniform(0.5, 2, width).astype(dtype) for _ in range(2))
            layers.append(Layer("batch_norm", params, {"eps": 0.1}, (np.zeros(width, dtype), np.ones(width, dtype))))
        elif op == "maxout" and width % 2 == 0:
            layers.append(Layer("maxout", options={"pieces": 2}))
            width //= 2
        elif op == "select":
            kept = rng.permutation(width)[:int(rng.integers(1, width + 1))]
            layers.append(Layer("select", options={"kept": tuple(int(k) for k in kept)}))
            width = len(kept)
        elif op == "dropout":
            layers.append(Layer("dropout", options={"rate": 0.3}))
        elif op != "maxout":
            layers.append(Layer(op))
    layers.append(dense_layer(width, int(rng.integers(1, 6)), rng, dtype))
    return Network(layers), inputs


def parameters(network):
    return [p for layer in network.layers for p in layer.params]


def close(got, expected, dtype):
    """Relative to the largest value: single precision rounds sums of either sign."""
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE[dtype] * max(1.0, np.abs(expected).max(initial=0)))


def gradients_of(workspace):
    """The gradient in the shapes of the parameters. Where a number stands is found out, not assumed: by numbering all."""
    held = workspace.parameters.copy()
    workspace.parameters[:] = np.arange(held.size)
    gradients = [workspace.gradient[p.astype(int)] for p in parameters(workspace.network)]
    workspace.parameters[:] = held
    return gradients


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("seed", range(40))
def test_equal_to_the_plain_network(seed, dtype):
    """Batches of several sizes through one workspace, sensitivities at random places, β from 0 to 1, training and predicting."""
    rng = np.random.default_rng(seed)
    network, inputs = random_network(rng, dtype)
    kept = [p.copy() for p in parameters(network)]
    workspace = Workspace(network, 7)
    accumulated = [np.zeros_like(p) for p in parameters(network)]
    for n, beta in ((7, 0.0), (4, 0.9), (7, 0.5), (2, 1.0), (7, 0.0)):
        x = rng.standard_normal((n, inputs)).astype(dtype)
        draw = int(rng.integers(99)) if rng.random() < 0.7 else None
        plain, backward = network(x, None if draw is None else np.random.default_rng(draw))
        got = workspace.forward(x, None if draw is None else np.random.default_rng(draw))
        assert len(got) == len(plain)
        for a, b in zip(got, plain, strict=True):
            assert a.dtype == dtype
            close(a, b, dtype)
        places = {len(plain) - 1} if rng.random() < 0.3 else {int(i) for i in rng.integers(0, len(plain), 3)}
        sensitivities = {i: rng.standard_normal(plain[i].shape).astype(dtype) for i in places}
        given = {i: d.copy() for i, d in sensitivities.items()}
        workspace.backward(sensitivities, beta)
        assert all(np.array_equal(sensitivities[i], given[i]) for i in places)
        _, gradients = backward(sensitivities)
        new = [g for layer in gradients for g in layer]
        accumulated = [g + dtype(beta) * old for g, old in zip(new, accumulated, strict=True)]
        for a, b in zip(gradients_of(workspace), accumulated, strict=True):
            assert a.dtype == dtype
            close(a, b, dtype)
    for p, old in zip(parameters(network), kept, strict=True):
        assert np.array_equal(p, old)                                       # the given network is not changed
    for p, old in zip(parameters(workspace.network), kept, strict=True):
        assert np.array_equal(p, old)


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (5, 5), (1, 6), (6, 1), (1, 1)], ids=str)
def test_parameters_are_views_of_one_vector_in_either_layout(shape):
    rng = np.random.default_rng(0)
    first, second = dense_layer(shape[1], shape[0], rng, np.float64), dense_layer(shape[0], 2, rng, np.float64)
    network = Network([first, Layer("relu"), second])
    workspace = Workspace(network, 4)
    assert workspace.parameters.size == sum(p.size for p in parameters(network))
    for p, q in zip(parameters(workspace.network), parameters(network), strict=True):
        assert p.shape == q.shape
        assert np.array_equal(p, q)
        assert np.shares_memory(p, workspace.parameters)
        assert not np.shares_memory(p, q)
    x = rng.standard_normal((4, shape[1]))
    workspace.parameters *= 2                                               # an optimiser's step on the vector is felt forward
    doubled = Network([Layer(a.op, tuple(2 * p for p in a.params)) for a in network.layers])
    close(workspace.forward(x)[-1], doubled(x)[0][-1], np.float64)


def test_a_first_batch_may_be_smaller_than_later_ones():
    rng = np.random.default_rng(1)
    network = Network([dense_layer(3, 4, rng, np.float64), Layer("relu"), dense_layer(4, 2, rng, np.float64)])
    workspace = Workspace(network, 6)
    for n in (2, 6, 1):
        x = rng.standard_normal((n, 3))
        close(workspace.forward(x)[-1], network(x)[0][-1], np.float64)


def test_adopt_takes_over_running_moments():
    rng = np.random.default_rng(2)
    network = Network([dense_layer(3, 4, rng, np.float64), Layer("batch_norm", (np.ones(4), np.zeros(4)))])
    workspace = Workspace(network, 6)
    running = (rng.standard_normal(4), rng.uniform(0.5, 2, 4))
    params = workspace.network.layers[1].params
    workspace.adopt(workspace.network.replace({1: Layer("batch_norm", params, {}, running)}))
    x = rng.standard_normal((6, 3))
    expected = Network([network.layers[0], Layer("batch_norm", network.layers[1].params, {}, running)])(x)[0][-1]
    close(workspace.forward(x)[-1], expected, np.float64)


@pytest.mark.parametrize("layers", [
    [dense_layer(3, 2, np.random.default_rng(0), np.float32), dense_layer(2, 2, np.random.default_rng(0), np.float64)],
    [dense_layer(3, 2, np.random.default_rng(0), np.float16)],
    [Layer("relu")],
], ids=["mixed", "half", "none"])
def test_parameters_of_other_dtypes_are_refused(layers):
    with pytest.raises(InputError, match="float32"):
        Workspace(Network(layers), 4)


@pytest.mark.parametrize("sensitivities", [{}, {4: np.zeros((4, 2))}, {3: np.zeros((4, 3))}])
def test_sensitivities_that_do_not_fit_are_refused(sensitivities):
    rng = np.random.default_rng(3)
    workspace = Workspace(Network([dense_layer(3, 4, rng, np.float64), Layer("relu"), dense_layer(4, 2, rng, np.float64)]), 4)
    workspace.forward(rng.standard_normal((4, 3)))
    with pytest.raises(InputError, match="sensitivit"):
        workspace.backward(sensitivities)
