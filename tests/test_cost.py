"""What a network costs, against counting in loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd import cost
from npkd.nn.network import Layer, Network, perceptron


def counted(network, x):
    """Multiply-accumulates by doing every dense layer with scalars; parameters and bytes by visiting every number."""
    macs = 0
    for layer in network.layers:
        if layer.op == "dense":
            for row in layer.params[0]:
                for _ in row:
                    macs += 1
    numbers = [v for layer in network.layers for a in (*layer.params, *layer.running) for v in a.ravel()]
    return macs, len(numbers), sum(v.itemsize for v in numbers)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(widths=st.lists(st.integers(1, 9), min_size=2, max_size=5), double=st.booleans())
def test_of_equals_counting(widths, double):
    dtype = np.float64 if double else np.float32
    network = perceptron(widths, np.random.default_rng(0), dtype=dtype)
    c = cost.of(network)
    assert (c.macs, c.parameters, c.bytes) == counted(network, None)
    assert c == cost.of_widths(widths, np.dtype(dtype).itemsize)
    assert c.neurons == sum(widths[:-1])


def test_other_layers_count_as_parameters():
    rng = np.random.default_rng(1)
    hidden = [Layer("gate", (np.ones(6, np.float32),)), Layer("batch_norm", (np.ones(6, np.float32),) * 2, {}, (np.ones(6, np.float32),) * 2),
              Layer("maxout", options={"pieces": 2})]
    first, last = perceptron([4, 6], rng).layers[0], perceptron([3, 2], rng).layers[0]
    network = Network([Layer("select", options={"kept": [0, 2, 3, 5]}), first, *hidden, last])
    c = cost.of(network)
    assert (c.macs, c.parameters, c.bytes) == counted(network, None)
    assert c.macs == 4 * 6 + 3 * 2


def test_a_smaller_network_costs_less():
    assert cost.of_widths([5, 4, 3]).macs == 5 * 4 + 4 * 3
    assert cost.of_widths([5, 4, 3]).parameters == 6 * 4 + 5 * 3
    with pytest.raises(AttributeError):
        cost.of_widths([5, 4, 3]).macs = 1
