"""Examples at their worst: as far as asked, in the direction that differences find, and worse than where they were."""

import numpy as np
import pytest

from npkd.core.validation import InputError
from npkd.distillation.objective import distillation
from npkd.nn.adversarial import adversarial_examples
from npkd.nn.fast.workspace import Workspace
from npkd.nn.network import Layer, Network, dense_layer
from npkd.nn.training import classification

RNG = np.random.default_rng(5)
NETWORK = Network([dense_layer(4, 7, RNG, np.float64), Layer("tanh"), dense_layer(7, 3, RNG, np.float64)])
BATCH = {"x": RNG.standard_normal((6, 4)), "y": RNG.integers(0, 3, 6), "teacher": RNG.standard_normal((6, 3))}


def moved(objective, radius, network=NETWORK, batch=BATCH):
    """The examples at their worst, by the slopes that the workspace gives."""
    space = Workspace(network, len(batch["x"]))
    slope = space.backward(objective(space.forward(batch["x"]), batch)[1], inputs=True)
    return adversarial_examples(batch["x"], slope, radius)


def own_loss(x, n):
    """The loss of example n alone, from its definition."""
    z = (
        np.tanh(x @ NETWORK.layers[0].params[0].T + NETWORK.layers[0].params[1]) @ NETWORK.layers[2].params[0].T
        + NETWORK.layers[2].params[1]
    )
    return float(np.log(np.exp(z).sum()) - z[BATCH["y"][n]])


def test_the_direction_is_the_one_of_differences():
    found, h = moved(classification, 0.3) - BATCH["x"], 1e-6
    for n, x in enumerate(BATCH["x"]):
        slope = np.array([(own_loss(x + h * e, n) - own_loss(x - h * e, n)) / (2 * h) for e in np.eye(4)])
        np.testing.assert_allclose(found[n], 0.3 * slope / np.linalg.norm(slope), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("objective", [classification, distillation(labels=1.0)])
def test_it_is_worse_there_and_no_other_place_as_near_is_to_first_order(objective):
    radius = 1e-3

    def losses(x):
        return objective(NETWORK(x)[0], {**BATCH, "x": x})[0]

    here, there = losses(BATCH["x"]), losses(moved(objective, radius))
    others = RNG.standard_normal((50, *BATCH["x"].shape))
    others *= radius / np.linalg.norm(others, axis=2, keepdims=True)
    assert there > here
    assert there > max(losses(BATCH["x"] + d) for d in others)


def test_an_example_without_a_slope_stays():
    x, slope = RNG.standard_normal((3, 4)), np.zeros((3, 4))
    slope[1, 2] = -3.0
    moves = adversarial_examples(x, slope, 0.5) - x
    np.testing.assert_allclose(moves, [[0, 0, 0, 0], [0, 0, -0.5, 0], [0, 0, 0, 0]], atol=1e-15)


def test_a_slope_that_vanishes_when_squared_in_single_precision_still_has_a_direction():
    x, slope = np.zeros((1, 2), np.float32), np.float32([[3e-24, -4e-24]])
    np.testing.assert_allclose(adversarial_examples(x, slope, 0.5), [[0.3, -0.4]], rtol=1e-6)


def test_slopes_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"slope has shape \(3, 2\) and x \(3, 4\); they must agree"):
        adversarial_examples(np.zeros((3, 4)), np.zeros((3, 2)), 0.5)


def test_maps_are_moved_as_a_whole():
    network = Network([Layer("conv2d", (RNG.standard_normal((3, 2, 2, 1)), np.zeros(3))), Layer("global_average_pool")])
    batch = {"x": RNG.standard_normal((5, 4, 4, 1)), "y": np.zeros(5, int)}
    found = moved(classification, 0.7, network, batch)
    assert found.shape == batch["x"].shape
    np.testing.assert_allclose(np.sqrt(((found - batch["x"]) ** 2).sum(axis=(1, 2, 3))), 0.7, rtol=1e-12)
