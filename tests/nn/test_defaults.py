"""Numbers that are used where nothing is given: each against the paper or the op that it has to agree with."""

import numpy as np
import pytest

from npkd.nn.architectures import conv_layer, lenet5
from npkd.nn.network import Layer, Network
from npkd.nn.optimisers import AdamW
from npkd.nn.training import TrainingSettings, train
from npkd.sparsity.error_bounds import slopes
from npkd.surgery.folding import fold
from reference.definitions.nn import layers, normalisation


def test_convolutions_start_with_the_variance_of_he():
    """2 / (kh kw C), the number of values that an output reads; 64,000 draws give it within 2 %."""
    layer = conv_layer(16, 160, 5, np.random.default_rng(0))
    w, b = layer.params
    assert w.shape == (160, 5, 5, 16)
    assert w.dtype == b.dtype == np.float32
    assert not b.any()
    assert w.astype(float).var() == pytest.approx(2 / (5 * 5 * 16), rel=0.02)
    assert abs(w.astype(float).mean()) <= 4 * np.sqrt(2 / (5 * 5 * 16) / w.size)
    weights = [layer.params[0].astype(float) for layer in lenet5(np.random.default_rng(1)).layers if layer.params]
    for w in weights:
        assert w.var() == pytest.approx(2 / w[0].size, rel=5 * np.sqrt(2 / w.size))


def test_adamw_decays_by_a_hundredth_of_the_rate_unless_told():
    """Loshchilov & Hutter 2019, algorithm 2, with λ = 0.01: without a gradient θ ← (1 − η λ) θ."""
    parameters = np.array([1.0, -2.0])
    AdamW(0.1).begin(parameters).update(parameters, np.zeros(2), 0.1)
    np.testing.assert_allclose(parameters, [0.999, -1.998], rtol=1e-15)


@pytest.mark.parametrize("examples", [8, 9, 10])
def test_the_mean_loss_of_an_epoch_is_that_of_the_examples_it_used(examples):
    """With batches of 4, of 9 examples one is left out: the mean is over 8."""
    network = Network([Layer("dense", (np.zeros((1, 1)), np.zeros(1)))])
    shown = []

    def objective(activations, batch):
        shown.append(batch["x"][:, 0].copy())
        return float(batch["x"].mean()), {1: np.zeros_like(activations[1])}

    x = np.arange(1.0, examples + 1)[:, None]
    (record,) = train(network, {"x": x}, objective, settings=TrainingSettings(1, 4), rng=np.random.default_rng(0))
    used = np.concatenate(shown)
    assert len(used) == (8 if examples == 9 else examples)
    assert record.loss == pytest.approx(used.mean(), rel=1e-15)


def test_folding_and_bounds_use_the_eps_of_batch_norm():
    """A running variance as small as eps shows which eps was used: the definition's."""
    rng = np.random.default_rng(0)
    w, b, gamma, beta, mean = (rng.standard_normal(shape) for shape in ((3, 4), 3, 3, 3, 3))
    variance = np.array([1e-5, 3e-6, 2e-5])
    x = rng.standard_normal((5, 4))
    network = Network([Layer("dense", (w, b)), Layer("batch_norm", (gamma, beta), running=(mean, variance))])
    expected = normalisation.batch_norm(layers.dense(x, w, b), gamma, beta, running=(mean, variance))
    np.testing.assert_allclose(network(x)[0][-1], expected, rtol=1e-11, atol=1e-11)
    folded = fold(network)
    assert [layer.op for layer in folded.layers] == ["dense"]
    np.testing.assert_allclose(folded(x)[0][-1], expected, rtol=1e-10, atol=1e-10)
    steep = normalisation.batch_norm(mean[None] + 1, gamma, beta, running=(mean, variance)) - beta
    assert slopes(network.layers[1]) == pytest.approx(np.abs(steep[0]), rel=1e-12)
