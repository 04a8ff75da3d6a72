"""The workspace computes what the plain network computes: the same activations, the same gradients, in its own
memory."""

import contextlib
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.linalg import blas

from npkd.core import blas_threads
from npkd.core.blas_threads import libraries
from npkd.core.validation import InputError
from npkd.nn import cost
from npkd.nn.fast import buffered, maps, products, threads, workspace
from npkd.nn.fast.maps import Conv, MaxPool
from npkd.nn.fast.products import Positions, Rows
from npkd.nn.fast.steps import Plain, Reshape
from npkd.nn.fast.workspace import JoinedActivations, Workspace, predict
from npkd.nn.layers import flatten
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.nn.ops import OPS
from npkd.nn.optimisers import SGD
from npkd.nn.pooling import max_pool
from npkd.nn.training import TrainingSettings, classification, train

TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}


MAPS = ("unflatten", "conv2d", "max_pool", "average_pool", "global_average_pool", "add", "offset")
FLAT = [op for op in OPS if op not in (*MAPS[:-1], "depthwise_conv2d", "recall",
                                      "quantize")]                         # which may jump where sums differ in a bit


def random_network(rng, dtype):
    """Layers drawn at random, with at least one dense layer; narrow and wide ones, so that both layouts occur."""
    width = inputs = int(rng.integers(1, 9))
    layers = []
    for _ in range(int(rng.integers(1, 9))):
        op = str(rng.choice(["dense", "dense", *FLAT]))
        if op == "dense":
            outputs = int(rng.integers(1, 13))
            layers.append(dense_layer(width, outputs, rng, dtype))
            layers[-1].params[1][:] = rng.standard_normal(outputs)
            width = outputs
        elif op == "gate":
            layers.append(Layer("gate", (rng.uniform(0.5, 2, width).astype(dtype),)))
        elif op == "offset":
            layers.append(Layer("offset", (rng.standard_normal(width).astype(dtype),)))
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


def output_of(layers, shape):
    """The shape of one example behind the layers: asked of the network itself, on one example in float64."""
    return Network(layers).astype(np.float64)(np.zeros((1, math.prod(shape))))[0][-1].shape[1:]


def random_maps(rng, dtype):
    """Maps through layers drawn at random, strides, paddings, dilations and groups with them; then flattened or
    averaged, and a dense layer."""
    shape = tuple(int(n) for n in (*rng.integers(5, 10, 2), rng.integers(1, 5)))
    layers, inside = [Layer("unflatten", options={"shape": list(shape)})], shape
    for _ in range(int(rng.integers(1, 6))):
        h, w, channels = inside
        op = str(rng.choice(["conv2d", "conv2d", "conv2d", "max_pool", "max_pool", "average_pool", "relu", "gate",
                             "batch_norm", "tanh",
                             "dropout", "add", "offset"]))
        if op == "conv2d":
            groups = (
                int(rng.choice([g for g in range(1, channels + 1) if channels % g == 0])) if rng.random() < 0.3 else 1
            )
            padding = [int(p) for p in rng.integers(0, 3, 2)]
            kernel = [int(rng.integers(1, min(4, n + 2 * p + 1))) for n, p in zip((h, w), padding, strict=True)]
            dilation = [int(rng.integers(1, 1 + max(1, (n + 2 * p - 1) // max(1, k - 1)))) if rng.random() < 0.4 else 1
                        for n, p, k in zip((h, w), padding, kernel, strict=True)]
            made = groups * int(rng.integers(1, 5))
            params = ((rng.standard_normal((made, *kernel, channels // groups)) / math.prod(kernel)).astype(dtype),
                      rng.standard_normal(made).astype(dtype))
            layers.append(Layer("conv2d", params,
                                {"stride": [int(v) for v in rng.integers(1, 3, 2)], "padding": padding,
                                                   "dilation": [min(d, 3) for d in dilation], "groups": groups}))
        elif op in ("max_pool", "average_pool"):
            size = [int(rng.integers(1, min(4, n + 1))) for n in (h, w)]
            options = {"size": size}
            if rng.random() < 0.3:
                options |= {"stride": [int(v) for v in rng.integers(1, 4, 2)],
                            "padding": [int(rng.integers(0, k // 2 + 1)) for k in size]}
            layers.append(Layer(op, options=options))
        elif op == "gate":
            layers.append(Layer("gate", (rng.uniform(0.5, 2, channels).astype(dtype),)))
        elif op == "offset":
            layers.append(Layer("offset", (rng.standard_normal(inside).astype(dtype),)))
        elif op == "batch_norm":
            params = tuple(rng.uniform(0.5, 2, channels).astype(dtype) for _ in range(2))
            layers.append(Layer("batch_norm", params, {"eps": 0.1},
                                (np.zeros(channels, dtype), np.ones(channels, dtype))))
        elif op == "add":
            same = [k for k in range(1, len(layers)) if output_of(layers[:len(layers) - k], shape) == inside]
            if same:
                layers.append(Layer("add", options={"back": int(rng.choice(same))}))
        else:
            layers.append(Layer(op, options={"rate": 0.3} if op == "dropout" else {}))
        inside = output_of(layers, shape)
    layers.append(Layer(str(rng.choice(["flatten", "global_average_pool"]))))
    layers.append(dense_layer(math.prod(output_of(layers, shape)), int(rng.integers(1, 6)), rng, dtype))
    return Network(layers), math.prod(shape)


def parameters(network):
    return [p for layer in network.layers for p in layer.params]


def close(got, expected, dtype, cancel=1):
    """Relative to the largest value: single precision rounds sums of either sign."""
    np.testing.assert_allclose(got, expected, rtol=0,
                               atol=cancel * TOLERANCE[dtype] * max(1.0, np.abs(expected).max(initial=0)))


def gradients_of(workspace):
    """The gradient in the shapes of the parameters. Where a number stands is found out, not assumed: by numbering
    all."""
    held = workspace.parameters.copy()
    workspace.parameters[:] = np.arange(held.size)
    gradients = [workspace.gradient[p.astype(int)] for p in parameters(workspace.network)]
    workspace.parameters[:] = held
    return gradients


@contextlib.contextmanager
def two_threads():
    """Every BLAS on two threads, whatever it had, and what it had afterwards."""
    had = [get() for get, _ in libraries()]
    try:
        for _, put in libraries():
            put(2)
        yield
    finally:
        for (_, put), count in zip(libraries(), had, strict=True):
            put(count)


def hold_equal(rng, network, inputs, dtype, sizes, cancel=1):
    """Batches of several sizes through one workspace, sensitivities at random places, β from 0 to 1, training and
    predicting.

    ``cancel``: how much more the sums over positions may cancel; the gradient of a bias in front of batch_norm is zero.
    """
    kept = [p.copy() for p in parameters(network)]
    workspace = Workspace(network, max(sizes))
    accumulated = [np.zeros_like(p) for p in parameters(network)]
    workspace.gradient.fill(np.nan)                                         # with β = 0 what stood there does not count
    for n, beta in zip(sizes, (0.0, 0.9, 0.5, 1.0, 0.0), strict=True):
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
        dx = workspace.backward(sensitivities, beta, inputs=beta > 0.5)
        assert all(np.array_equal(sensitivities[i], given[i]) for i in places)
        slope, gradients = backward(sensitivities)
        if beta > 0.5:
            close(dx, slope, dtype, cancel)
        else:
            assert dx is None
        new = [g for layer in gradients for g in layer]
        accumulated = [g + dtype(beta) * old for g, old in zip(new, accumulated, strict=True)]
        for a, b in zip(gradients_of(workspace), accumulated, strict=True):
            assert a.dtype == dtype
            close(a, b, dtype, cancel)
    for p, old in zip(parameters(network), kept, strict=True):
        assert np.array_equal(p, old)                                       # the given network is not changed
    for p, old in zip(parameters(workspace.network), kept, strict=True):
        assert np.array_equal(p, old)


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("seed", range(40))
def test_equal_to_the_plain_network(seed, dtype):
    rng = np.random.default_rng(seed)
    hold_equal(rng, *random_network(rng, dtype), dtype, (7, 4, 7, 2, 7))


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("seed", range(60))
def test_equal_to_the_plain_network_of_maps(seed, dtype, monkeypatch):
    """The limits that choose between the forms of a product are drawn too, so that each form meets each setting; so is
    the second thread."""
    rng = np.random.default_rng(1000 + seed)
    for module, limits in ((buffered, {"STACK_BYTES": (1, 5000, 1 << 20), "STACK_BYTES_OF_TWO": (1, 5000, 1 << 20)}),
                           (maps, {"FEW_EXAMPLES": (1, 6), "NARROW_ROW": (0, 8, 1000)}),
                           (workspace, {"SPLIT_MACS": (0, 10**9), "FEW_EXAMPLES": (1, 3)})):
        for name, values in limits.items():
            monkeypatch.setattr(module, name, int(rng.choice(values)))
    monkeypatch.setattr(workspace, "threads", lambda: 2)
    hold_equal(rng, *random_maps(rng, dtype), dtype, (13, 4, 13, 2, 16), cancel=30)


def test_random_networks_of_maps_meet_every_op_and_every_form(monkeypatch):
    """What the test above rests on: counted, not hoped for."""
    met, forms = set(), []
    monkeypatch.setattr(Positions, "__init__", counted(Positions, forms))
    monkeypatch.setattr(Rows, "__init__", counted(Rows, forms))
    for seed in range(60):
        rng = np.random.default_rng(1000 + seed)
        monkeypatch.setattr(maps, "NARROW_ROW", int(rng.choice((0, 1000))))
        network, inputs = random_maps(rng, np.float64)
        met |= {layer.op for layer in network.layers}
        space = Workspace(network, 12)
        space.forward(rng.standard_normal((12, inputs)))
        forms += [type(step) for step in space.single.steps if isinstance(step, (Conv, MaxPool, Plain))]
    assert met >= set(MAPS)
    assert {form for form in (Positions, Rows, Conv, MaxPool, Plain) if forms.count(form) < 10} == set()


def counted(kind, forms):
    """The constructor of ``kind``, which notes each call."""
    begin = kind.__init__

    def init(self, *arguments):
        forms.append(kind)
        begin(self, *arguments)

    return init


def lenet(rng, dtype=np.float32):
    """A small LeNet-5, with all its kinds of layers."""
    def conv(made, read):
        return Layer("conv2d", ((rng.standard_normal((made, 5, 5, read)) / 5).astype(dtype),
                                rng.standard_normal(made).astype(dtype)))
    return Network([Layer("unflatten", options={"shape": [28, 28, 1]}), conv(4, 1),
                    Layer("max_pool", options={"size": 2}), conv(6, 4),
                    Layer("max_pool", options={"size": 2}), Layer("flatten"), dense_layer(96, 12, rng, dtype),
                    Layer("relu"), dense_layer(12, 10, rng, dtype)])


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
def test_lenet_equals_the_plain_network(dtype):
    """As training runs it: no limit changed."""
    rng = np.random.default_rng(5)
    hold_equal(rng, lenet(rng, dtype), 784, dtype, (70, 64, 70, 1, 40))


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("n", [64, 25, 23])
def test_one_core_and_two_compute_the_same(n, dtype, monkeypatch):
    """Up to rounding, for halves of unequal size too; with fewer examples than two halves need there is one."""
    rng = np.random.default_rng(6)
    network, x, d = (
        lenet(rng, dtype), rng.standard_normal((n, 784)).astype(dtype), rng.standard_normal((n, 10)).astype(dtype)
    )
    monkeypatch.setattr(workspace, "SPLIT_MACS", 0)
    results = []
    for count in (1, 2):
        monkeypatch.setattr(workspace, "threads", lambda count=count: count)
        space = Workspace(network, 64)
        activations = space.forward(x)
        assert isinstance(activations, JoinedActivations) == (count == 2 and n >= 24)
        assert len(activations) == 10
        assert activations[0] is x
        y = [a.copy() for a in activations[1:]]
        slope = space.backward({9: d, 4: np.ones_like(activations[4])}, inputs=True)
        results.append((*y, slope, *(gradients_of(space))))
    for one, two in zip(*results, strict=True):
        close(two, one, dtype, cancel=10)


def test_where_examples_depend_on_each_other_they_stay_together(monkeypatch):
    """Moments of a batch, and what a generator draws for it: half of them would be others. Predicting there is nothing
    of the kind."""
    monkeypatch.setattr(workspace, "SPLIT_MACS", 0)
    monkeypatch.setattr(workspace, "threads", lambda: 2)
    rng = np.random.default_rng(7)
    for layer in (Layer("batch_norm", (np.ones(4, np.float32), np.zeros(4, np.float32)), {}, (np.zeros(4), np.ones(4))),
                  Layer("dropout", options={"rate": 0.5})):
        network = Network([*lenet(rng).layers[:2], layer, *lenet(rng).layers[2:]])
        space, x = Workspace(network, 64), rng.standard_normal((64, 784)).astype(np.float32)
        assert not isinstance(space.forward(x, rng), JoinedActivations)
        assert isinstance(space.forward(x), JoinedActivations)


def test_a_small_network_is_not_shared_out(monkeypatch):
    monkeypatch.setattr(workspace, "threads", lambda: 2)
    space = Workspace(lenet(np.random.default_rng(8)), 64)
    x = np.zeros((64, 784), np.float32)
    assert 64 * cost.of(space.network).macs < workspace.SPLIT_MACS
    assert not isinstance(space.forward(x), JoinedActivations)
    monkeypatch.setattr(workspace, "SPLIT_MACS", 64 * cost.of(space.network).macs)
    assert isinstance(space.forward(x), JoinedActivations)
    assert Workspace(perceptron([3000, 3000, 10], np.random.default_rng(8)), 64).halves == []


def test_whether_to_share_out_depends_on_the_size_of_the_maps(monkeypatch):
    """Which a network that does not begin with unflatten learns from its input."""
    monkeypatch.setattr(workspace, "threads", lambda: 2)
    rng = np.random.default_rng(9)
    network = Network([Layer("conv2d", (rng.standard_normal((4, 3, 3, 2)), np.zeros(4))), Layer("global_average_pool"),
                       dense_layer(4, 3, rng, np.float64)])
    monkeypatch.setattr(workspace, "SPLIT_MACS", 24 * cost.of(network, (9, 9, 2)).macs)
    space = Workspace(network, 24)
    for side, joined in ((8, False), (9, True), (8, False)):
        x = rng.standard_normal((24, side, side, 2))
        assert isinstance(space.forward(x), JoinedActivations) == joined
        close(space.activations[-1], network(x)[0][-1], np.float64)


def test_both_halves_take_over_running_moments(monkeypatch):
    monkeypatch.setattr(workspace, "threads", lambda: 2)
    monkeypatch.setattr(workspace, "SPLIT_MACS", 0)
    rng = np.random.default_rng(10)
    params = np.ones(4), np.zeros(4)
    layers = lenet(rng, np.float64).layers
    space = Workspace(Network([*layers[:2], Layer("batch_norm", params, {}, (np.zeros(4), np.ones(4))), *layers[2:]]),
                      64)
    x = rng.standard_normal((64, 784))
    space.forward(x, rng)
    space.observe()
    assert np.abs(space.network.layers[2].running[0]).min() > 0
    assert isinstance(space.forward(x), JoinedActivations)
    close(space.activations[-1], space.network(x)[0][-1], np.float64)


def test_what_is_only_there_for_speed_is_there(monkeypatch):
    """Nothing else would say so if it were not: the results are the same."""
    monkeypatch.setattr(workspace, "threads", lambda: 2)
    monkeypatch.setattr(workspace, "SPLIT_MACS", 0)
    network = lenet(np.random.default_rng(11))
    assert Workspace(network, 23).halves == []
    space = Workspace(network, 24)
    activations = space.forward(np.zeros((24, 784), np.float32))
    assert activations[-1] is activations[9]
    assert all("unlocked_gemm" in half.steps[6].gemm.__qualname__ for half in space.halves)
    assert space.single.steps[6].gemm is blas.sgemm
    assert [half.steps[6].y.shape for half in (space.single, *space.halves)] == [(24, 12), (12, 12), (12, 12)]
    assert Workspace(network, 23).halves == []
    space.single.forward(np.zeros((24, 784), np.float32), None)
    assert space.single.steps[2].dx.size == 0                               # zeros for the way back: not to predict
    for i in (1, 2):                                                        # rows of positions in a stack
        found = [getattr(half.steps[i], "products", half.steps[i]).many for half in (space.single, space.halves[0])]
        assert found[0] < found[1], (i, found)


def test_stacks_of_products_are_silent():
    """What is infinite the caller finds out; flags may come from the padding of a kernel."""
    a, b = np.full((2, 3, 4), np.inf, np.float32), np.zeros((2, 4, 5), np.float32)
    with np.errstate(all="raise"):
        assert np.isnan(products.stack(a, b, np.empty((2, 3, 5), np.float32))).all()


def test_the_second_thread_has_the_settings_of_the_first():
    zero = np.zeros(1)
    for setting, expected in (("ignore", np.inf), ("raise", None)):
        with np.errstate(divide=setting):
            if expected is None:
                with pytest.raises(FloatingPointError):
                    threads.both(ThreadPoolExecutor(1), lambda: zero, lambda: 1 / zero)
            else:
                assert threads.both(ThreadPoolExecutor(1), lambda: zero, lambda: 1 / zero)[1] == expected


def test_nobody_goes_on_while_the_other_half_still_writes():
    begun, ended = threading.Event(), threading.Event()

    def fails():
        begun.wait()
        raise InputError("from this side")

    def slow():
        begun.set()
        time.sleep(0.2)
        ended.set()
    with pytest.raises(InputError, match="this side"):
        threads.both(ThreadPoolExecutor(1), fails, slow)
    assert ended.is_set()


def test_maps_have_one_blas_thread_from_the_beginning_of_an_epoch_to_its_end(monkeypatch):
    """Also for the loss and the update: a pool that is woken in between spins into what follows."""
    monkeypatch.setattr(workspace, "threads", lambda: 2)
    x, counts = np.zeros((24, 784), np.float32), []

    def objective(activations, batch):
        counts.append([get() for get, _ in libraries()])
        return classification(activations, batch)

    def noted(a, b, out, real=products.stack):
        counts.append([get() for get, _ in libraries()])
        return real(a, b, out)
    with two_threads():
        list(train(lenet(np.random.default_rng(13)), {"x": x, "y": np.zeros(24, int)}, objective, optimiser=SGD(0.01),
                   settings=TrainingSettings(1, 24), rng=np.random.default_rng(0)))
        assert counts == [[1] * len(libraries())]
        monkeypatch.setattr(products, "stack", noted)
        for rows in (12, 24):                               # predicting and gradients alone; without a second half, too
            space = Workspace(lenet(np.random.default_rng(13)), rows)
            counts.clear()
            with space.blas:
                space.forward(x[:rows])
                forward = len(counts)
                space.backward({9: np.ones((rows, 10))})
            assert 0 < forward < len(counts)
            assert counts == [[1] * len(libraries())] * len(counts)
        assert [get() for get, _ in libraries()] == [2] * len(libraries())


@pytest.mark.parametrize(("widths", "batch", "shared"),
                         [([64, 300, 100, 10], 64, False), ([64, 300, 100, 10], 4096, True),
                                                         ([784, 300, 100, 10], 32, True),
                                                         ([784, 300, 100, 10], 8, False)])
@pytest.mark.parametrize("chosen", [None, 2])
def test_dense_products_too_small_to_share_run_on_one_thread(widths, batch, shared, chosen, monkeypatch):
    """784 · 300 · 32 = 7.5 million multiply-accumulates are shared, 300 · 100 · 128 = 3.8 million not; a number that
    the user chose stays."""
    monkeypatch.setattr(blas_threads, "user_threads", lambda: chosen)
    counts = []

    def objective(activations, batch):
        counts.append([get() for get, _ in libraries()])
        return classification(activations, batch)
    x, expected = np.eye(batch, widths[0], dtype=np.float32), [2 if shared or chosen else 1] * len(libraries())
    with two_threads():
        list(train(perceptron(widths, np.random.default_rng(0)), {"x": x, "y": np.zeros(batch, int)}, objective,
                   settings=TrainingSettings(2, batch), rng=np.random.default_rng(0)))
        assert counts == [expected] * 2
        assert [get() for get, _ in libraries()] == [2] * len(libraries())


@pytest.mark.parametrize("rows", [20, 30])
def test_layers_of_another_dtype_in_between(rows):
    """Moments in float64 make float64 of what float32 layers get; of inputs that would be rounding, and is refused."""
    rng = np.random.default_rng(14)
    layers = lenet(rng).layers
    for place, width in ((6, 96), (7, 12)):                                 # in front of a dense layer, and behind it
        params = np.ones(width, np.float32), np.zeros(width, np.float32)
        norm = Layer("batch_norm", params, {}, (rng.standard_normal(width), rng.uniform(0.5, 2, width)))
        network = Network([*layers[:place], norm, *layers[place:]])
        space, x, d = (
            Workspace(network, rows), rng.standard_normal((rows, 784)).astype(np.float32),
            rng.standard_normal((rows, 10))
        )
        plain, backward = network(x)
        close(space.forward(x)[-1], plain[-1], np.float32)
        slope, gradients = backward({10: d})
        close(space.backward({10: d}, inputs=True), slope, np.float32, cancel=10)
        for got, expected in zip(gradients_of(space), [g for layer in gradients for g in layer], strict=True):
            close(got, expected, np.float32, cancel=10)
    maps = Network([dense_layer(5, 784, rng), *layers])
    x = rng.standard_normal((rows, 5))
    with pytest.raises(InputError, match="x is float64 but the network is float32"):
        Workspace(maps, rows).forward(x)
    x = x.astype(np.float32)
    close(Workspace(maps, rows).forward(x)[-1], maps(x)[0][-1], np.float32, cancel=10)


def test_the_second_thread_hands_on_what_is_raised_there():
    def fails():
        raise InputError("from the other side")
    with pytest.raises(InputError, match="other side"):
        threads.both(ThreadPoolExecutor(1), lambda: None, fails)


@pytest.mark.parametrize("n", [1, 11, 65, 300])
def test_predict_takes_rows_of_pixels(n):
    rng = np.random.default_rng(8)
    network, x = lenet(rng, np.float64), rng.standard_normal((n, 784))
    close(predict(network, x), network.predict(x), np.float64)


def test_maps_that_do_not_fit_are_refused_as_by_the_ops():
    """Also with enough examples for the fast forms."""
    rng = np.random.default_rng(9)
    x = np.zeros((20, 16))
    for layer, words in ((Layer("conv2d", (np.zeros((2, 5, 5, 1)), np.zeros(2))), "does not fit"),
                         (Layer("conv2d", (np.zeros((2, 3, 3, 2)), np.zeros(2))), "channels"),
                         (Layer("max_pool", options={"size": 5}), "does not fit")):
        network = Network([Layer("unflatten", options={"shape": [4, 4, 1]}), layer, dense_layer(1, 1, rng, np.float64)])
        with pytest.raises(InputError, match=words):
            Workspace(network, 20).forward(x)
    with pytest.raises(InputError, match="unflatten"):
        Workspace(Network([Layer("unflatten", options={"shape": [4, 5]}), dense_layer(1, 1, rng, np.float64)]),
                  20).forward(x)


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
    workspace.parameters *= 2                                        # an optimiser's step on the vector is felt forward
    doubled = Network([Layer(a.op, tuple(2 * p for p in a.params)) for a in network.layers])
    close(workspace.forward(x)[-1], doubled(x)[0][-1], np.float64)


def test_two_halves_need_two_cores_and_a_blas_that_can_be_told(monkeypatch):
    for user, known, cores, expected in ((None, 2, 3, 2), (2, 2, 3, 2), (64, 2, 3, 2), (1, 2, 3, 1), (None, 1, 3, 1),
                                         (None, 0, 3, 1), (None, 2, 1, 1)):
        monkeypatch.setattr(threads, "user_threads", lambda user=user: user)
        monkeypatch.setattr(threads, "libraries", lambda known=known: [(None, None)] * known)
        monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)),
                            raising=False)
        assert threads.threads() == expected


def test_a_first_batch_may_be_smaller_than_later_ones():
    rng = np.random.default_rng(1)
    network = Network([dense_layer(3, 4, rng, np.float64), Layer("relu"), dense_layer(4, 2, rng, np.float64)])
    workspace = Workspace(network, 6)
    for n in (2, 6, 1):
        x = rng.standard_normal((n, 3))
        close(workspace.forward(x)[-1], network(x)[0][-1], np.float64)


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(("decay", "momentum"), [(0.0, 0.9), (0.03, 0.5), (0.01, 0.0)])
def test_the_velocity_in_the_gradient_is_that_of_the_plain_update(decay, momentum, dtype):
    """Eight updates: gemm's β against optimisers.SGDState on the gradients of the plain network."""
    rng = np.random.default_rng(17)
    network = Network([dense_layer(5, 7, rng, dtype), Layer("relu"),
                       Layer("batch_norm", (np.ones(7, dtype), np.zeros(7, dtype))), dense_layer(7, 3, rng, dtype)])
    optimiser = SGD(0.1, momentum, weight_decay=decay)
    fast, plain = Workspace(network, 6), Workspace(network, 6)
    state, plain_state = fast.begin(optimiser, separate=False), plain.begin(optimiser, separate=True)
    assert (state.carried[0] is fast.gradient, plain_state.carried[0] is plain.gradient) == (True, False)
    for rate in (0.1, 0.05, 0.2, 0.1, 0.01, 0.1, 0.15, 0.1):
        x, d = rng.standard_normal((6, 5)).astype(dtype), rng.standard_normal((6, 3)).astype(dtype) / 6
        for space, own in ((fast, state), (plain, plain_state)):
            space.forward(x)
            space.backward({4: d})
            assert own.update(space.parameters, space.gradient, rate) == pytest.approx(rate / (1 - momentum))
        close(fast.parameters, plain.parameters, dtype, cancel=10)


@pytest.mark.parametrize(("layer", "shape", "places"), [
    (dense_layer(4, 3, np.random.default_rng(0)), (20_000, 4), 1),
    (Layer("conv2d", (np.ones((3, 3, 3, 2), np.float32), np.zeros(3, np.float32))), (8, 66, 66, 2), 64 * 64),
    (Layer("conv2d", (np.ones((3, 3, 3, 16), np.float32), np.zeros(3, np.float32))), (16, 66, 66, 16), 64 * 64),
], ids=["examples", "positions of few examples", "positions of many examples"])
def test_gradients_of_biases_keep_their_digits(layer, shape, places):
    """Sums of 20,000 and more numbers near 1.5: within 16 roundings of the sum in float64, not one an addition."""
    rng = np.random.default_rng(18)
    space = Workspace(Network([layer]), shape[0])
    d = rng.uniform(1, 2, space.forward(np.ones(shape, np.float32))[1].shape).astype(np.float32)
    assert d.size == shape[0] * places * 3
    space.backward({1: d})
    expected = d.reshape(-1, 3).sum(axis=0, dtype=np.float64)
    np.testing.assert_allclose(space.gradient[-3:], expected, rtol=16 * 2.0 ** -24)


def test_observe_takes_over_running_moments():
    """(B7) by hand: nine tenths of (0, 1) and a tenth of the batch's mean and variance."""
    rng = np.random.default_rng(2)
    params, start = (np.ones(4), np.zeros(4)), (np.zeros(4), np.ones(4))
    network = Network([dense_layer(3, 4, rng, np.float64), Layer("batch_norm", params, {}, start)])
    workspace, x = Workspace(network, 6), rng.standard_normal((6, 3))
    z = workspace.forward(x, rng)[1].copy()
    workspace.observe()
    moved = 0.1 * z.mean(axis=0), 0.9 + 0.1 * z.var(axis=0)
    expected = Network([network.layers[0], Layer("batch_norm", params, {}, moved)])(x)[0][-1]
    close(workspace.forward(x)[-1], expected, np.float64)


@pytest.mark.parametrize("layers", [
    [dense_layer(3, 2, np.random.default_rng(0), np.float32), dense_layer(2, 2, np.random.default_rng(0), np.float64)],
    [dense_layer(3, 2, np.random.default_rng(0), np.float16)],
    [Layer("relu")],
], ids=["mixed", "half", "none"])
def test_parameters_of_other_dtypes_are_refused(layers):
    with pytest.raises(InputError, match="float32"):
        Workspace(Network(layers), 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("channels", "examples"), [(16, 20), (16, 200), (1, 20), (2, 5)])
def test_sensitivities_of_another_dtype_are_rounded(channels, examples, dtype):
    """Products that are written in place need one dtype. All their forms: by positions in one block and in two, by
    rows, all patches."""
    rng = np.random.default_rng(0)
    network = Network([Layer("conv2d", (rng.standard_normal((f, 3, 3, c)).astype(dtype), np.zeros(f, dtype)),
                             {"padding": 1})
                       for c, f in ((channels, 4), (4, 3))])
    x, d = (
        rng.standard_normal((examples, 6, 5, channels)).astype(dtype),
        rng.standard_normal((examples, 6, 5, 3)).astype(np.float32)
    )
    found = []
    for as_given in (np.float32, np.float64):
        workspace = Workspace(network, examples)
        workspace.forward(x)
        workspace.backward({2: d.astype(as_given)})
        found.append(workspace.gradient)
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("width", [4, 7])
def test_inputs_of_another_width_are_refused_as_by_dense(width):
    network = Network([dense_layer(6, 5, np.random.default_rng(0), np.float32)])
    with pytest.raises(InputError, match=rf"dense: x has shape \(3, {width}\) and w has shape \(5, 6\)"):
        predict(network, np.zeros((3, width), np.float32))


@pytest.mark.parametrize("sensitivities", [{}, {4: np.zeros((4, 2))}, {3: np.zeros((4, 3))}])
def test_sensitivities_that_do_not_fit_are_refused(sensitivities):
    rng = np.random.default_rng(3)
    workspace = Workspace(Network([dense_layer(3, 4, rng, np.float64), Layer("relu"),
                                   dense_layer(4, 2, rng, np.float64)]), 4)
    workspace.forward(rng.standard_normal((4, 3)))
    with pytest.raises(InputError, match="sensitivit"):
        workspace.backward(sensitivities)


def test_more_examples_than_rows_are_refused():
    space = Workspace(perceptron([3, 4, 2], np.random.default_rng(0)), 5)
    assert len(space.forward(np.zeros((5, 3), np.float32))[-1]) == 5
    with pytest.raises(InputError, match="got 6 examples; it was made for 5 rows at most"):
        space.forward(np.zeros((6, 3), np.float32))


def test_what_is_kept_between_calls_is_not_stale():
    """Other arrays of the same shape, the same array with other numbers in it, other shapes: each time the answer to
    what is given now."""
    rng = np.random.default_rng(0)
    pool, flat = MaxPool((2, 3), 1 << 18), Reshape(Layer("flatten"))
    x = rng.standard_normal((2, 4, 6, 3))
    for given in (x, rng.standard_normal(x.shape), x, rng.standard_normal((3, 5, 7, 2)), x):
        for _ in range(2):
            y = pool.forward(given)
            assert np.array_equal(y, max_pool(given, size=(2, 3))[0])
            assert np.array_equal(flat.forward(given), flatten(given)[0])
            given += 1


def test_positions_with_rows_apart(monkeypatch):
    """Chance alone did not meet kernels whose rows stand apart and whose columns do not."""
    monkeypatch.setattr(maps, "NARROW_ROW", 0)
    monkeypatch.setattr(workspace, "threads", lambda: 1)
    rng = np.random.default_rng(15)
    network = Network([Layer("unflatten", options={"shape": [7, 6, 2]}),
                       Layer("conv2d", (rng.standard_normal((3, 2, 2, 2)), rng.standard_normal(3)),
                             {"dilation": [2, 1], "padding": 1}),
                       Layer("conv2d", (rng.standard_normal((2, 2, 2, 3)), rng.standard_normal(2)), {"stride": 2})])
    hold_equal(rng, network, 84, np.float64, (13, 13, 12, 13, 13), cancel=30)
    space, x = Workspace(network, 13), rng.standard_normal((13, 84))
    y, backward = network(x)
    space.forward(x)
    d = rng.standard_normal(y[-1].shape)
    close(space.backward({3: d}, inputs=True), backward({3: d})[0], np.float64, cancel=30)


def test_what_enters_at_the_source_of_two_paths_is_added_up():
    """From two additions and from the objective."""
    rng = np.random.default_rng(16)
    network = Network([dense_layer(4, 4, rng, np.float64), Layer("tanh"), Layer("add", options={"back": 1}),
                       Layer("tanh"), Layer("add", options={"back": 3}), dense_layer(4, 2, rng, np.float64)])
    space, x = Workspace(network, 5), rng.standard_normal((5, 4))
    y, backward = network(x)
    space.forward(x)
    d = {6: rng.standard_normal(y[6].shape), 1: rng.standard_normal(y[1].shape)}
    close(space.backward(d, inputs=True), backward(d)[0], np.float64)
