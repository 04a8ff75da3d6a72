"""What a network costs, against counting in loops."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.core.validation import InputError
from npkd.nn import cost
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


@settings(deadline=None, max_examples=40)
@given(widths=st.lists(st.integers(1, 9), min_size=2, max_size=5), double=st.booleans())
def test_of_equals_counting(widths, double):
    dtype = np.float64 if double else np.float32
    network = perceptron(widths, np.random.default_rng(0), dtype=dtype)
    c = cost.of(network)
    assert (c.macs, c.parameters, c.bytes) == counted(network, None)
    assert replace(c, bytes=4 * c.parameters) == cost.of_widths(widths)


def test_other_layers_count_as_parameters():
    rng = np.random.default_rng(1)
    ones = np.ones((5, 6), np.float32)
    hidden = [Layer("gate", (ones[0],)), Layer("batch_norm", tuple(ones[1:3]), {}, tuple(ones[3:])),
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


# ---- convolutional networks
# -----------------------------------------------------------------------------------------------------------


def conv(F, kh, kw, C, **options):
    return Layer("conv2d", (np.ones((F, kh, kw, C), np.float32), np.ones(F, np.float32)), options)


def dense(outputs, inputs):
    return Layer("dense", (np.ones((outputs, inputs), np.float32), np.ones(outputs, np.float32)))


def maps(*shape):
    return Layer("unflatten", options={"shape": list(shape)})


POOL = Layer("max_pool", options={"size": 2})


def lenet5(c1=20, c2=50, kept=None, hidden=500):
    front = [maps(28, 28, 1), conv(c1, 5, 5, 1), POOL, conv(c2, 5, 5, c1), POOL, Layer("flatten")]
    chosen = [] if kept is None else [Layer("select", options={"kept": list(range(kept))})]
    return Network([*front, *chosen, dense(hidden, kept or 16 * c2), Layer("relu"), dense(10, hidden)])


@pytest.mark.parametrize(("c1", "c2", "kept", "hidden"), [(20, 50, 800, 500), (2, 7, 99, 478), (3, 11, 108, 500)])
def test_lenet5_costs_what_its_formula_says(c1, c2, kept, hidden):
    """The published one: 14,400 c1 + 1,600 c1 c2 + kept inputs · hidden + 10 hidden."""
    c = cost.of(lenet5(c1, c2, kept, hidden))
    assert c.macs == 14_400 * c1 + 1_600 * c1 * c2 + kept * hidden + 10 * hidden
    weights = 25 * c1 + 25 * c1 * c2 + kept * hidden + 10 * hidden
    assert c.parameters == weights + c1 + c2 + hidden + 10
    assert c.bytes == 4 * c.parameters


def test_lenet5():
    c = cost.of(lenet5())
    assert (c.macs, c.parameters) == (2_293_000, 431_080)     # 430,500 weights
    assert c == cost.of(lenet5(kept=800))


@settings(deadline=None, max_examples=60)
@given(size=st.tuples(st.integers(5, 8), st.integers(5, 8)), kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
       stride=st.integers(1, 3),
       padding=st.integers(0, 2), dilation=st.integers(1, 2), groups=st.integers(1, 2), batch=st.booleans())
def test_a_convolution_by_counting_its_windows(size, kernel, stride, padding, dilation, groups, batch):
    """Every weight is used once in every window that lies on the padded map."""
    rows, columns = ([at for at in range(0, n + 2 * padding, stride) if at + dilation * (k - 1) < n + 2 * padding]
                     for n, k in zip(size, kernel, strict=True))
    norm = [Layer("batch_norm", tuple(np.ones((2, 2), np.float32)))] if batch else []
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    layers = [conv(4, *kernel, 2 // groups, **options), Layer("global_average_pool"), dense(3, 4)]
    network = Network([*norm, *layers])
    per_window = sum(1 for _ in np.ndindex(4, *kernel, 2 // groups))
    c = cost.of(network, shape=(*size, 2))
    assert c.macs == len(rows) * len(columns) * per_window + 12
    assert cost.of(Network([maps(*size, 2), *layers])).macs == c.macs


def test_shapes_are_those_of_the_activations():
    network = lenet5(2, 3, 5, 4)
    x = np.zeros((3, 784), np.float32)
    assert cost.shapes(network) == [a.shape[1:] for a in network(x)[0]]
    for front in (Layer("dropout", options={"rate": 0.1}), Layer("flatten"), Layer("gate", (np.ones(4, np.float32),))):
        assert cost.shapes(Network([front, dense(2, 4)]))[0] == (4,)
    assert cost.shapes(Network([Layer("select", options={"kept": [0, 5]}), dense(2, 2)]))[0] == (6,)


@pytest.mark.parametrize("layers", [[conv(2, 1, 1, 1)], [POOL, conv(2, 1, 1, 1)], [Layer("relu")],
                                    [Layer("dropout", options={"rate": 0.1}), conv(2, 1, 1, 1)]])
def test_maps_of_unknown_size_are_refused(layers):
    with pytest.raises(InputError, match="give the shape of one example"):
        cost.shapes(Network(layers))
