"""The op quantize: its value off the levels, its ends, its derivative; and what stands around it goes on working."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.nn.layers import dense
from npkd.nn.network import Layer, Network, dense_layer
from npkd.nn.quantize import quantize
from npkd.surgery.removal import remove
from reference.definitions.nn import quantize as defined


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10 ** 6), step=st.sampled_from([0.5, 0.1, 3.0, 257 / 2 ** 16]), low=st.integers(-130, 3),
       width=st.integers(1, 255), part=st.floats(0, 1))
def test_the_value_is_that_of_the_definition_also_between_levels_and_in_the_middle(seed, step, low, width, part):
    rng, zero = np.random.default_rng(seed), low + round(part * width)
    x = np.append(rng.uniform(-1.5, 1.5, 20) * step * width, 0.5 * rng.integers(-2 * width, 2 * width, 20))
    options = {"step": step, "zero": zero, "low": low, "high": low + width}
    y, _ = quantize(x, **options)
    np.testing.assert_allclose(y, defined.rounded(x, **options), rtol=1e-13, atol=1e-13)
    codes = y / step + zero
    assert np.abs(codes - np.rint(codes)).max() < 1e-9
    assert codes.min() >= low - 1e-9
    assert codes.max() <= low + width + 1e-9


def test_halves_go_to_the_even_one_and_zero_stays():
    assert quantize(np.array([0.5, 1.5, 2.5, -0.5, 0.0]), step=1.0, zero=4)[0].tolist() == [0, 2, 2, 0, 0]
    assert not np.signbit(quantize(np.array([-0.3, -0.0]), step=1.0, zero=0)[0]).any()


def test_the_derivative_is_one_on_the_range_and_zero_beyond():
    x = np.array([-1.1, -1.0, 0.3, 2.5, 2.6])
    _, backward = quantize(x, step=0.5, zero=2, low=0, high=7)
    assert backward(np.full(5, 3.0))[0].tolist() == [0, 3, 3, 3, 0]


def test_it_is_between_the_clip_and_half_a_step():
    x = np.linspace(-3, 9, 1001)
    options = {"step": 0.25, "zero": 3, "low": 0, "high": 31}
    assert np.abs(quantize(x, **options)[0] - defined.quantize(x, **options)).max() <= 0.125


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_dtype_stays(dtype):
    y, backward = quantize(np.array([1.3, -2.0], dtype), step=0.25)
    assert y.dtype == backward(y)[0].dtype == dtype
    assert y.tolist() == [1.25, 0]


def test_surgery_through_it_changes_nothing():
    """A constant, a duplicate and a dead neuron, and an input that nobody reads, beside quantize in both places."""
    rng = np.random.default_rng(0)
    first, last = dense_layer(5, 6, rng, np.float64), dense_layer(6, 3, rng, np.float64)
    first.params[0][1], first.params[1][1] = 0, 0.77
    first.params[0][2], first.params[1][2] = first.params[0][0], first.params[1][0]
    first.params[0][:, 4] = 0
    last.params[0][:, 3] = 0
    grid = Layer("quantize", options={"step": 0.25, "zero": 20})
    network = Network([grid, first, Layer("relu"), grid, last])
    smaller, removals = remove(network)
    assert sorted((r.group, r.neuron, r.reason) for r in removals) == [
        (0, 4, "dead"), (1, 1, "constant"), (1, 2, "duplicate"), (1, 3, "dead")]
    x = rng.standard_normal((200, 5))
    np.testing.assert_allclose(smaller.predict(x), network.predict(x), rtol=1e-12, atol=1e-12)
    assert np.abs(dense(x[:, :5], *first.params)[0]).max() > 1
