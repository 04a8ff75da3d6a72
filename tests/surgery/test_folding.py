"""npkd.surgery.folding: a batch norm in front becomes part of the scaling of the inputs."""

import numpy as np
import pytest

from npkd.nn.model import Model
from npkd.nn.network import Layer, Network, perceptron
from npkd.nn.scaling import Scaling
from npkd.surgery.folding import into_scaling

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_batch_norm_in_front_goes_into_the_scaling(negative, scaled):
    gamma, beta, mean = (RNG.uniform(0.5, 2, 5) for _ in range(3))
    gamma *= np.where(np.arange(5) % 2 * negative, -1, 1)
    front = Layer("batch_norm", (gamma, beta), {"eps": 1e-3}, (mean, RNG.uniform(0.5, 2, 5)))
    rest = perceptron([5, 7, 3], RNG).astype(np.float64)
    network, x = Network([front, *rest.layers]), RNG.standard_normal((20, 5))
    scaling = Scaling(np.full(5, 0.3, np.float32), np.full(5, 1.7, np.float32)) if scaled else None
    folded, whole = into_scaling(network, 5, scaling)
    assert not any(layer.op in ("batch_norm", "gate") for layer in folded.layers)
    expected = Model(network, scaling).logits(x)
    np.testing.assert_allclose(Model(folded, whole).logits(x), expected, atol=1e-5 * abs(expected).max())
