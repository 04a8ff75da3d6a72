"""The integer pass: its parts against whole numbers and fractions of Python, and the whole of it bit for bit against
the ordinary network that simulates it."""

from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.compression import integer
from npkd.compression.integer import IntegerNetwork, product, requantised
from npkd.compression.quantization import levels, quantized, short, ternary_levels
from npkd.core.grids import grid, odd_part
from npkd.core.validation import InputError
from npkd.data.datasets import load
from npkd.nn.architectures import conv_layer, lenet5
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.nn.training import TrainingSettings, train
from reference.definitions.compression import integer as defined

QUICK = settings(deadline=None, max_examples=40)


def bits_equal(network, x):
    """Is the integer pass what its simulation, and the network itself, give in float64?"""
    whole = IntegerNetwork.of(network)
    logits, simulated = whole.logits(x), whole.simulation.predict(x.astype(np.float64))
    return (np.array_equal(logits, simulated) and np.array_equal(logits, network.predict(x.astype(np.float64)))
            and np.array_equal(whole(x).argmax(axis=1), simulated.argmax(axis=1)))


# ---- parts
# -----------------------------------------------------------------------------------------------------------------


@QUICK
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=9))
def test_odd_parts_are_exact(values):
    m, e = odd_part(np.array(values))
    for value, odd, exponent in zip(values, m.tolist(), e.tolist(), strict=True):
        assert Fraction(value) == odd * Fraction(2) ** exponent
        assert odd % 2 == 1 or odd == value == 0


@QUICK
@given(seed=st.integers(0, 10 ** 6), most=st.sampled_from([1, 7, 127]), dtype=st.sampled_from([np.float32, np.float64]))
def test_a_grid_is_the_coarsest_and_is_found_exactly(seed, most, dtype):
    rng = np.random.default_rng(seed)
    step = short(rng.uniform(1e-6, 1e3, (3, 1)))
    w = (rng.integers(-most, most + 1, (3, 5)) * step).astype(dtype)
    w[:, 0] = most * step[:, 0]
    s, q = grid(w, most=most)
    for row, (one, whole) in enumerate(zip(s, q, strict=True)):
        assert defined.grid(w[row], most) == (Fraction(float(one)), whole.tolist())
    assert np.array_equal(s[:, None] * q, w)


def test_a_grid_of_a_matrix_of_rows_of_zeros_and_of_kernels():
    w = np.array([[1.5, -3.0], [0.0, 0.0], [0.25, 0.75]])
    assert [a.tolist() for a in grid(w)] == [[1.5, 0.25, 0.25], [[1, -2], [0, 0], [1, 3]]]
    assert [a.tolist() for a in grid(w, per_channel=False)] == [[0.25], [[6, -12], [0, 0], [1, 3]]]
    assert grid(np.zeros((2, 3)))[0].tolist() == [1, 1]
    assert grid(w.reshape(3, 1, 2, 1))[1].shape == (3, 1, 2, 1)


@pytest.mark.parametrize(("w", "words"), [
    (np.array([[0.1, 0.2, 0.30000000000000004]]), "quantise them first"), (np.array([[1.0, 128.0]]), "at most 127"),
    (np.array([[1e300, 1e-300]]), "no whole multiples"), (np.array([[1.0, np.nan]]), "nan"),
    (np.array([[1, 2]]), "int64"), (np.random.default_rng(0).standard_normal((2, 3)), "row")])
def test_weights_on_no_grid_are_refused(w, words):
    with pytest.raises(InputError, match=words):
        grid(w)
    assert w.dtype == np.int64 or np.isnan(w).any() or defined.grid(w[0], 127) is None


def test_requantising_is_rounding_of_fractions_halves_to_the_even_one():
    a = np.array([*range(-40, 41), -2 ** 31 + 1, 2 ** 31 - 1])[:, None]
    for m, n in [(1, 1), (1, 2), (3, 2), (5, 3), (2 ** 31 - 1, 33), (1, 62), (2 ** 30, 30), (12345, 14), (1, 31)]:
        got = requantised(a, np.array([m]), np.array([n]))
        assert got[:, 0].tolist() == [defined.requantised(int(v), m, n) for v in a[:, 0]]
    both = requantised(a, np.array([1, 3]), np.array([1, 2]))
    assert both[:, 1].tolist() == [defined.requantised(int(v), 3, 2) for v in a[:, 0]]


@QUICK
@given(st.integers(0, 10 ** 6))
def test_shifts_and_additions_give_the_product(seed):
    rng = np.random.default_rng(seed)
    h, q = rng.integers(-255, 256, (4, 6)).astype(np.int32), rng.integers(-127, 128, (3, 6)).astype(np.int32)
    assert product(h, q, True).tolist() == product(h, q, False).tolist() == (h @ q.T).tolist()
    assert not product(h, 0 * q, True).any()


# ---- whole networks
# --------------------------------------------------------------------------------------------------------


def rounded(network, rng, bits=8, hidden=2.0 ** -3):
    """Weights on levels; quantize in front of each layer of weights, zero somewhere."""
    layers = []
    for i, layer in enumerate(network.layers):
        if layer.row.weights:
            zero = 0 if not layers else int(rng.integers(0, 200))
            layers.append(Layer("quantize", options={"step": hidden if layers else 257 / 2 ** 16, "zero": zero}))
            w, b = layer.params
            layers.append(Layer(layer.op, (levels(w, bits)(w), b + rng.standard_normal(len(b))), layer.options))
        elif i + 1 < len(network.layers) and layer.op == "flatten":
            layers += [Layer("quantize", options={"step": hidden, "zero": 3}), layer]
        else:
            layers.append(layer)
    return Network(layers)


@QUICK
@given(seed=st.integers(0, 10 ** 6), bits=st.integers(2, 8))
def test_perceptrons_are_fractions_and_floats_bit_for_bit(seed, bits):
    """Random weights, biases off their grid: the simulation has them on it, and is what fractions give."""
    rng = np.random.default_rng(seed)
    widths = rng.integers(1, 9, 4).tolist()
    network = rounded(perceptron(widths, rng, dtype=np.float64), rng, bits, float(rng.choice([0.5, 2.0 ** -4])))
    whole = IntegerNetwork.of(network)
    x = rng.uniform(0, 1, (20, widths[0]))
    assert np.array_equal(whole.logits(x), whole.simulation.predict(x))
    for n in range(3):
        h = defined.exact(x[n])
        for layer in whole.simulation.layers:
            h = defined.forward(layer.op, h, layer.params, layer.options)
        assert h.tolist() == [Fraction(value) for value in whole.logits(x)[n].tolist()]


def test_the_numbers_are_those_of_a_processor_of_bytes():
    rng = np.random.default_rng(5)
    whole = IntegerNetwork.of(rounded(perceptron([7, 5, 4], rng, dtype=np.float64), rng))
    (_, _), (_, (q, k)), _, (between, (m, n)), (_, (q2, k2)) = whole.layers
    for x in rng.integers(0, 256, (20, 7)).astype(np.uint8):
        hidden = [max(a, 0) for a in defined.dense(x.tolist(), q.tolist(), k.tolist())]
        o = between.settings
        h = [defined.byte(a, int(m[j]), int(n[j]), o["zero"], o["low"], o["high"]) for j, a in enumerate(hidden)]
        outputs = defined.dense(h, q2.tolist(), k2.tolist())
        assert whole(x[None])[0].tolist() == [a * int(f) for a, f in zip(outputs, whole.factors[0], strict=True)]
    x = rng.integers(0, 256, (20, 7)).astype(np.uint8)
    assert np.array_equal(whole.logits(x), whole.logits(x / 255)), "bytes, and what they are as floats"


def convolutional(rng, pool="max_pool", **options):
    return Network([
        Layer("unflatten", options={"shape": [10, 9, 1]}), conv_layer(1, 4, 3, rng, np.float64, padding=1),
        Layer(pool, options={"size": 2, **options}), Layer("relu"), conv_layer(4, 6, 2, rng, np.float64, stride=1),
        Layer("dropout", options={"rate": 0.3}), Layer("relu"), Layer("max_pool", options={"size": 2, "padding": 1}),
        Layer("flatten"), Layer("select", options={"kept": [5, 0, 17, 3]}), dense_layer(4, 3, rng, np.float64)])


@pytest.mark.parametrize(("pool", "options"), [("max_pool", {}), ("average_pool", {}), ("average_pool", {"padding": 1}),
                                               ("max_pool", {"stride": 1}), ("average_pool", {"stride": 2})])
@pytest.mark.parametrize("seed", range(3))
def test_convolutions_and_pools(pool, options, seed):
    rng = np.random.default_rng(seed)
    network = convolutional(rng, pool, **options)
    x = rng.uniform(0, 1, (30, 90))
    whole = IntegerNetwork.of(quantized(network, x))
    assert np.array_equal(whole.logits(x), whole.simulation.predict(x))
    assert bits_equal(quantized(network, x), x)
    h = defined.exact(x[0])
    for layer in whole.simulation.layers:
        if layer.op == "select":
            h = h[layer.options["kept"]]
        elif layer.op != "dropout":
            h = defined.forward(layer.op, h, layer.params, layer.options)
    assert h.tolist() == [Fraction(value) for value in whole.logits(x[:1])[0].tolist()]


def test_inputs_of_both_signs_and_windows_that_reach_into_the_padding():
    """A zero that is not 0 at the input, with bytes as well; values below 0 beside a padding that never wins."""
    rng = np.random.default_rng(2)
    conv = conv_layer(1, 4, 2, rng, np.float64, padding=1)
    conv.params[1][:] = -3
    network = Network([Layer("unflatten", options={"shape": [5, 5, 1]}), conv,
                       Layer("max_pool", options={"size": 2, "padding": 1}), Layer("flatten"),
                       dense_layer(64, 3, rng, np.float64)])
    x = rng.standard_normal((40, 25))
    found = quantized(network, x)
    assert 100 < found.layers[0].options["zero"] < 156
    assert found(x)[0][4].max(axis=(1, 2, 3)).min() < 0
    assert bits_equal(found, x)
    step, zero = found.layers[0].options["step"], found.layers[0].options["zero"]
    bytes_of_x = np.clip(np.rint(x / step) + zero, 0, 255).astype(np.uint8)
    assert np.array_equal(IntegerNetwork.of(found)(bytes_of_x), IntegerNetwork.of(found)(x))


def test_convolutions_in_groups_strides_and_dilations():
    rng = np.random.default_rng(1)
    conv = Layer("conv2d", (rng.standard_normal((6, 3, 2, 2)), rng.standard_normal(6)),
                 {"groups": 2, "stride": [1, 2], "padding": [2, 1], "dilation": [2, 1]})
    network = Network([Layer("unflatten", options={"shape": [7, 6, 4]}), rounded(Network([conv]), rng).layers[0],
                       rounded(Network([conv]), rng).layers[1]])
    x = rng.uniform(0, 1, (9, 168))
    whole = IntegerNetwork.of(network)
    assert np.array_equal(whole.logits(x), whole.simulation.predict(x))


def test_lenet5():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (40, 784)).astype(np.float32)
    assert bits_equal(quantized(lenet5(rng), x), x)


@cache
def digits():
    """Data, and a network trained a little on it."""
    data, rng = load("digits", seed=0), np.random.default_rng(0)
    *_, last = train(perceptron([64, 40, 30, 10], rng), {"x": data.x_train, "y": data.y_train},
                     settings=TrainingSettings(15), rng=rng)
    return data, last.network


@pytest.mark.parametrize("fit", [levels, ternary_levels])
def test_on_all_digits_of_the_test_part(fit):
    data, network = digits()
    assert bits_equal(quantized(network, data.x_train, fit), data.x_test)


def test_a_network_stored_in_float32_has_the_same_whole_numbers():
    """Weights are exact there, biases are rounded, and are rounded back."""
    data, network = digits()
    one = quantized(network, data.x_train)
    single = one.astype(np.float32)
    assert any((a != b).any() for a, b in zip(one.layers[1].params, single.layers[1].params, strict=True))
    assert np.array_equal(IntegerNetwork.of(one).logits(data.x_test), IntegerNetwork.of(single).logits(data.x_test))


def dyadic(rng, shape):
    return rng.choice([-1, -0.5, -0.25, 0, 0.25, 0.5, 1], shape)


def test_dyadic_networks_need_shifts_and_additions_alone():
    rng = np.random.default_rng(0)
    steps = [Layer("quantize", options={"step": s}) for s in (2.0 ** -8, 2.0 ** -4)]
    network = Network([steps[0], Layer("dense", (dyadic(rng, (20, 9)), dyadic(rng, 20))), Layer("relu"), steps[1],
                       Layer("dense", (dyadic(rng, (5, 20)), dyadic(rng, 5)))])
    x = rng.uniform(0, 1, (300, 9))
    whole = IntegerNetwork.of(network, shifts=True)
    assert all((arrays[0] & (arrays[0] - 1) == 0).all() for layer, arrays in whole.layers[1:] if layer.op == "quantize")
    assert np.array_equal(whole.logits(x), network.predict(x))
    assert np.array_equal(whole.logits(x), IntegerNetwork.of(network).logits(x))
    times_three = network.replace({1: Layer("dense", (3 * network.layers[1].params[0], network.layers[1].params[1]))})
    IntegerNetwork.of(times_three)
    with pytest.raises(InputError, match=r"layer 3, quantize, reads what .* at most 1"):
        IntegerNetwork.of(times_three, shifts=True)
    last = network.layers[4].params[0]
    with pytest.raises(InputError, match="what takes the outputs"):
        IntegerNetwork.of(network.replace({4: Layer("dense", (3 * last, np.zeros(5)))}), shifts=True)


def test_shifts_of_a_quantized_network():
    data, network = digits()
    one = quantized(network, data.x_train, lambda w: levels(w, 4, significant=1), input_bits=1)
    whole = IntegerNetwork.of(one, shifts=True)
    assert np.array_equal(whole.logits(data.x_test), one.predict(data.x_test.astype(np.float64)))


def chained(*layers):
    return Network([Layer("quantize", options={"step": 0.5}), *layers])


ONE = Layer("dense", (np.ones((2, 3)), np.zeros(2)))
TENTH = Layer("quantize", options={"step": 0.1})


@pytest.mark.parametrize(("network", "words"), [
    (Network([ONE]), "layer 0, dense, has no place"), (chained(ONE, Layer("tanh")), "layer 2, tanh, has no place"),
    (chained(Layer("dense", (np.diag([0.5, 0.75]), np.zeros(2))), Layer("flatten")), "layer 2, flatten, .* behind"),
    (chained(Layer("dense", (np.diag([0.5, 0.75]), np.zeros(2))), Layer("dense", (np.eye(2), np.zeros(2)))),
     "layer 2, dense, has no place"),
    (chained(Layer("dense", (np.random.default_rng(0).standard_normal((2, 3)), np.zeros(2)))), "quantise them first"),
    (chained(ONE, TENTH), "layer 2, quantize, reads what .* its step 0.1, m whole and at most 2147483647"),
    (Network([TENTH, ONE]), "layer 0, quantize, sums up to 255 units of 3602879701896397 · 2ᵉ, .* fewer significant"),
    (Network([Layer("quantize", options={"step": (2.0 ** 24 + 1) / 2 ** 30}),
              Layer("dense", ((2.0 ** 26 + 1) * np.ones((1, 2)), np.zeros(1)))]),
     f"layer 1, dense, sums up to 510 units of {(2 ** 24 + 1) * (2 ** 26 + 1)} "),
    (chained(Layer("dense", (0.1 * np.ones((1, 2)), np.zeros(1)))), "layer 1, dense, sums up to 510 units of 36028"),
    (chained(Layer("dense", (np.ones((1, 2)), np.full(1, 2.0 ** 31)))), "beyond 2³¹"),
    (chained(Layer("dense", (np.ones((1, 2)), np.full(1, np.nan)))), "b holds nan"),
    (chained(Layer("unflatten", options={"shape": [3, 3, 1]}), Layer("average_pool", options={"size": 3})),
     "layer 2, average_pool, has no place"),
])
def test_what_has_no_place_in_whole_numbers(network, words):
    with pytest.raises(InputError, match=words):
        IntegerNetwork.of(network)


def test_a_bound_that_is_reached_does_not_overflow():
    """As many weights and inputs as fit, as large as they can be: one more is refused; equal weights are 1 each."""
    count = 1 + ((2 ** 31 - 1) // 255 - 1) // 127
    row = np.append(np.full((1, count - 1), 127.0), [[1.0]], axis=1)
    whole = IntegerNetwork.of(chained(Layer("dense", (row, np.zeros(1)))))
    total = (127 * (count - 1) + 1) * 255
    assert 2 ** 31 - 2 * 127 * 255 < total < 2 ** 31
    assert whole.logits(np.full((1, count), 255, np.uint8)).tolist() == [[total / 2]]
    more = np.append(row, [[127.0]], axis=1)
    with pytest.raises(InputError, match="beyond 2³¹"):
        IntegerNetwork.of(chained(Layer("dense", (more, np.zeros(1)))))
    IntegerNetwork.of(chained(Layer("dense", (np.full_like(more, 127.0), np.zeros(1)))))


def test_spoiled_passes_are_noticed(monkeypatch):
    """Halves up, a sign, a bias left out: the comparison of bits sees each."""
    data, network = digits()
    one, x = quantized(network, data.x_train), data.x_test
    assert bits_equal(one, x)
    plain = requantised
    for spoiled in (lambda a, m, n: plain(a, m, n) + 1, lambda a, m, n: plain(a, m + 1, n),
                    lambda a, m, n: (a * m) >> n, lambda a, m, n: plain(a, m, n + 1)):
        with monkeypatch.context() as patch:
            patch.setattr(integer, "requantised", spoiled)
            assert not bits_equal(one, x)
