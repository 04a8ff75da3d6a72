"""Examples at their worst: as far as asked, in the direction that differences find, and worse than where they were."""

import numpy as np
import pytest

from npkd.distillation.objective import Distillation
from npkd.nn.adversary import with_adversary, worst
from npkd.nn.losses import cross_entropy
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.nn.training import classification

RNG = np.random.default_rng(5)
NETWORK = Network([dense_layer(4, 7, RNG, np.float64), Layer("tanh"), Layer("dropout", options={"rate": 0.5}),
                   dense_layer(7, 3, RNG, np.float64)])
BATCH = {"x": RNG.standard_normal((6, 4)), "y": RNG.integers(0, 3, 6), "teacher": RNG.standard_normal((6, 3))}


def own_loss(x, n):
    """The loss of example n alone, by the definition of prediction: no dropout."""
    z = np.tanh(x @ NETWORK.layers[0].params[0].T + NETWORK.layers[0].params[1]) @ NETWORK.layers[3].params[0].T + NETWORK.layers[3].params[1]
    return float(np.log(np.exp(z).sum()) - z[BATCH["y"][n]])


def test_the_direction_is_the_one_of_differences():
    moved, h = worst(NETWORK, classification, BATCH, 0.3) - BATCH["x"], 1e-6
    for n, x in enumerate(BATCH["x"]):
        slope = np.array([(own_loss(x + h * e, n) - own_loss(x - h * e, n)) / (2 * h) for e in np.eye(4)])
        np.testing.assert_allclose(moved[n], 0.3 * slope / np.linalg.norm(slope), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("objective", [classification, Distillation(labels=1.0)])
def test_it_is_worse_there_and_no_other_place_as_near_is_to_first_order(objective):
    radius = 1e-3

    def losses(x):
        return objective(NETWORK(x)[0], {**BATCH, "x": x})[0]

    here, there = losses(BATCH["x"]), losses(worst(NETWORK, objective, BATCH, radius))
    others = RNG.standard_normal((50, *BATCH["x"].shape))
    others *= radius / np.linalg.norm(others, axis=2, keepdims=True)
    assert there > here
    assert there > max(losses(BATCH["x"] + d) for d in others)


def test_the_batch_holds_both_with_the_same_answers():
    both = with_adversary(NETWORK, classification, BATCH, 0.1)
    assert sorted(both) == sorted(BATCH)
    assert np.array_equal(both["x"][:6], BATCH["x"])
    assert np.array_equal(both["x"][6:], worst(NETWORK, classification, BATCH, 0.1))
    for name in ("y", "teacher"):
        assert np.array_equal(both[name], np.concatenate([BATCH[name]] * 2))


def test_a_loss_that_does_not_depend_on_the_input_moves_nothing():
    flat = Network([Layer("dense", (np.zeros((3, 4)), np.ones(3)))])
    assert np.array_equal(worst(flat, classification, BATCH, 0.5), BATCH["x"])


def test_a_slope_that_vanishes_when_squared_in_single_precision_still_has_a_direction():
    """Surely right: a slope of 1e-24, whose square is 0 in float32."""
    network = perceptron([4, 3], np.random.default_rng(0))
    x = np.float32(np.linspace(1, 2, 8)).reshape(2, 4)

    def objective(activations, batch):
        value, d = cross_entropy(activations[-1], np.zeros(2, int))
        return value, {1: d * np.float32(1e-24)}

    np.testing.assert_allclose(np.linalg.norm(worst(network, objective, {"x": x}, 0.5) - x, axis=1), 0.5, rtol=1e-5)


def test_maps_are_moved_as_a_whole():
    network = Network([Layer("conv2d", (RNG.standard_normal((3, 2, 2, 1)), np.zeros(3))), Layer("global_average_pool")])
    x = RNG.standard_normal((5, 4, 4, 1))
    moved = worst(network, classification, {"x": x, "y": np.zeros(5, int)}, 0.7)
    assert moved.shape == x.shape
    np.testing.assert_allclose(np.sqrt(((moved - x) ** 2).sum(axis=(1, 2, 3))), 0.7, rtol=1e-12)
