"""The table of ops: what each row claims is what its function does; and an op of one's own is a row that everything
else can work with."""

import numpy as np
import pytest

from npkd import gradcheck
from npkd.core.validation import InputError
from npkd.nn import cost, model
from npkd.nn.fast.workspace import Workspace
from npkd.nn.layers import dense
from npkd.nn.model import Model
from npkd.nn.network import ACTIVATIONS, Layer, Network, dense_layer, perceptron
from npkd.nn.ops import OPS, Op
from npkd.nn.training import TrainingSettings, train
from npkd.sparsity.error_bounds import slopes
from npkd.sparsity.layerwise import distil, exactly
from npkd.surgery.dependency import dependency_groups
from npkd.surgery.folding import affine, fold
from npkd.surgery.removal import Removal, keep, remove
from reference.check import definition_of


def normal(*shape):
    return np.random.default_rng(len(shape) + sum(shape)).standard_normal(shape)


LAYERS = {
    "dense": (Layer("dense", (normal(3, 6), normal(3))), (6,)),
    "conv2d": (Layer("conv2d", (normal(3, 2, 2, 4), normal(3))), (3, 4, 4)),
    "depthwise_conv2d": (Layer("depthwise_conv2d", (normal(2, 2, 4), normal(4)), {"padding": 1}), (3, 4, 4)),
    "gate": (Layer("gate", (normal(6),)), (6,)),
    "batch_norm": (Layer("batch_norm", (normal(6), normal(6)), {}, (normal(6), normal(6) ** 2)), (6,)),
    "offset": (Layer("offset", (normal(6),)), (6,)),
    "maxout": (Layer("maxout", options={"pieces": 3}), (6,)),
    "dropout": (Layer("dropout", options={"rate": 0.4}), (6,)),
    "select": (Layer("select", options={"kept": [5, 0, 2]}), (6,)),
    "unflatten": (Layer("unflatten", options={"shape": [3, 2]}), (6,)),
    "quantize": (Layer("quantize", options={"step": 0.5, "low": -99, "high": 99}), (6,)),
    "flatten": (Layer("flatten"), (3, 2)),
    **{op: (Layer(op, options={"size": 2}), (4, 4, 3)) for op in ("max_pool", "average_pool")},
    "global_average_pool": (Layer("global_average_pool"), (4, 4, 3)),
}
"""A layer of each op that is no plain activation, with the shape of an example."""

STEEP = {"leaky_relu, steep": (Layer("leaky_relu", options={"slope": -3.0}), (6,)),
         "elu, steep": (Layer("elu", options={"alpha": 2.0}), (6,)),
         "clipped_linear, steep": (Layer("clipped_linear", options={"shift": -1}), (6,)),
         "clipped_quadratic, flat": (Layer("clipped_quadratic", options={"shift": 2}), (6,))}
AT_ZERO_ALONE = ("elu, steep", "clipped_quadratic", "clipped_quadratic, flat")
"""Whose largest slope is attained at 0 (elu: of its negative side) and nowhere else."""
CASES = {**{name: (Layer(name), (6,)) for name in ACTIVATIONS}, **LAYERS, **STEEP}


def f(layer, x):
    return layer.forward(x, None)[0]


def test_there_is_a_layer_of_every_op():
    assert {layer.row.name for layer, _ in CASES.values()} == set(OPS) - {"add", "recall"}
    assert set(ACTIVATIONS) == {"relu", "tanh", "sigmoid", "leaky_relu", "elu", "gelu", "silu", "clipped_linear",
                                "clipped_quadratic"}


@pytest.mark.parametrize("name", [name for name, (layer, _) in CASES.items() if not layer.row.weights])
def test_entries_depend_on_those_that_the_row_names(name):
    """One entry of the last axis is moved at all positions: of the output's last axis those that name it change, and no
    others."""
    layer, shape = CASES[name]
    x = normal(5, *shape)
    entries, y = layer.row.entries_of(shape, layer.settings), f(layer, x)
    assert len(entries) == y.shape[-1]
    changed = np.zeros((shape[-1], y.shape[-1]), bool)
    for j in range(shape[-1]):
        for step in (10.0, -10.0):
            other = x.copy()
            other[..., j] += step
            changed[j] |= (f(layer, other) != y).reshape(-1, y.shape[-1]).any(axis=0)
    expected = np.array([[j in row for row in entries] for j in range(shape[-1])])
    assert (changed == expected).all()


@pytest.mark.parametrize("name", [name for name, (layer, _) in CASES.items() if layer.row.slope is not None])
def test_slopes_are_never_exceeded_and_nearly_reached(name):
    """Differences of the definition on a fine grid, all entries moved along it at once."""
    layer, shape = CASES[name]
    grid, h = np.linspace(-6, 6, 4801), 0.0025
    x = np.broadcast_to(grid.reshape(-1, *[1] * len(shape)), (len(grid), *shape)).copy()
    definition = definition_of(layer.row.function)
    options = {**layer.settings, **({"rng": None} if layer.row.random else {})}
    y = definition(x, *layer.params, **options)
    steepest = np.abs(np.diff(y, axis=0)).max() / h
    near = 1e-5 if name not in AT_ZERO_ALONE else 2e-3
    assert (1 - near) * slopes(layer).max() <= steepest <= slopes(layer).max() * (1 + 1e-9)


@pytest.mark.parametrize("name", ["gate", "batch_norm"])
def test_affine_ops_are_what_they_say(name):
    layer, shape = LAYERS[name]
    x, (s, t) = normal(7, *shape), affine(layer)
    np.testing.assert_allclose(f(layer, x), s * x + t, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(slopes(layer), np.abs(f(layer, x + 1) - f(layer, x)).max(axis=0), rtol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_factors_pass_exactly_where_the_row_says_so(name):
    """f(g x) = g f(x), one factor g of each channel, positive or of any sign; and not where the row does not claim
    it."""
    layer, shape = CASES[name]
    x, row = normal(9, *shape), layer.row
    passes = {}
    for signs in ("positive", "all"):
        g = (
            np.array([0.5, 2.0, 3.0, 0.25, 1.5, 4.0])[:shape[-1]]
            * (1 if signs == "positive" else np.array([1, -1, 1, -1, -1, 1])[:shape[-1]])
        )
        behind = g[row.entries_of(shape, layer.settings)[:, 0]] if not row.weights else 1.0
        passes[signs] = np.allclose(f(layer, g * x), behind * f(layer, x), rtol=1e-12, atol=1e-12)
    claimed = {"none": (False, False), "positive": (True, False), "all": (True, True)}[row.homogeneous]
    if name not in ("gate", "unflatten"):          # they could be passed too, and need not be: folding knows other ways
        assert (passes["positive"], passes["all"]) == claimed


def test_the_width_that_a_row_must_have():
    assert OPS["select"].width(kept=(3, 0)) == 4
    assert OPS["unflatten"].width(shape=[2, 3, 1]) == 6
    behind = [Layer("flatten"), Layer("select", options={"kept": [5, 1]}), dense_layer(2, 2, np.random.default_rng(0))]
    assert cost.input_shape(Network(behind)) == (6,)
    assert cost.input_shape(Network([Layer("gelu"), Layer("gate", (np.ones(3),))])) == (3,)


def test_gelu_keeps_its_digits_and_overflows_nowhere():
    """Φ(−20) = 2.7536241186062337e−89, where ½(1 + erf) is 0; beyond, value and slope are 0 and x."""
    assert f(Layer("gelu"), np.array([-20.0]))[0] == pytest.approx(-20 * 2.7536241186062337e-89, rel=1e-13)
    for dtype, far in ((np.float16, 6e4), (np.float32, 1e38), (np.float64, 1e300)):
        y, backward = OPS["gelu"].function(np.array([-far, far], dtype))
        assert y.tolist() == [0, np.dtype(dtype).type(far)]
        assert backward(np.ones(2, dtype))[0].tolist() == [0, 1]
        assert y.dtype == backward(y)[0].dtype == dtype


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_stands_in_a_perceptron(activation):
    """Its neurons are removed exactly, and it is trained."""
    rng = np.random.default_rng(0)
    network = perceptron([4, 6, 3], rng, activation=activation, dtype=np.float64)
    network.layers[0].params[0][1] = 0                                  # constant
    network.layers[0].params[1][1] = 0.7
    network.layers[2].params[0][:, 4] = 0                               # dead
    smaller, removals = remove(network)
    assert removals == [Removal(1, 1, "constant"), Removal(1, 4, "dead")]
    x = rng.standard_normal((20, 4))
    np.testing.assert_allclose(smaller.predict(x), network.predict(x), rtol=1e-12, atol=1e-12)
    *_, last = train(network, {"x": x, "y": rng.integers(0, 3, 20)}, rng=rng, settings=TrainingSettings(2, 10))
    assert np.isfinite(last.loss)


# ---- an op of one's own
# -----------------------------------------------------------------------------------------------------------


def snake(x, a):
    """y = x + sin²(a x)/a, of each neuron with its own a."""
    y = x + np.sin(a * x) ** 2 / a

    def backward(dy):
        dx = dy * (1 + np.sin(2 * a * x))
        da = (dy * (x * np.sin(2 * a * x) / a - np.sin(a * x) ** 2 / a ** 2)).sum(axis=tuple(range(x.ndim - 1)))
        return dx, da
    return y, backward


def mixing(x):
    """Every output depends on every input."""
    return x - x.mean(axis=-1, keepdims=True), lambda dy: (dy - dy.mean(axis=-1, keepdims=True),)


def product(x, skip):
    """Two paths multiplied."""
    return x * skip, lambda dy: (dy * skip, dy * x)


def paired(x):
    """relu of x and of −x, side by side: each neuron in two places."""
    y = np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis=-1)
    return y, lambda dy: (dy[..., :x.shape[-1]] * (x > 0) - dy[..., x.shape[-1]:] * (x < 0),)


SNAKE = Op(snake, ("J",), per_neuron=True, slope=2.0)
MIXING, PRODUCT = Op(mixing), Op(product, per_neuron=True)
PAIRED = Op(paired, per_neuron=True, entries=lambda shape: np.tile(np.arange(shape[-1]), 2)[:, None])


def own(rng, dtype=np.float64):
    """4 inputs; six neurons of snake, 1 constant, 2 like 0, 3 dead; their product with themselves; three outputs."""
    w, b, a = rng.standard_normal((6, 4)), rng.standard_normal(6), rng.uniform(0.5, 2, 6)
    v = rng.standard_normal((3, 6))
    w[1], v[:, 3] = 0, 0
    w[2], b[2], a[2] = w[0], b[0], a[0]
    return Network([Layer("dense", (w, b)), Layer(SNAKE, (a,)), Layer(PRODUCT, options={"back": 1}),
                    Layer("dense", (v, rng.standard_normal(3)))
                    ]).astype(dtype)


def test_ones_own_op_is_checked():
    x, a = normal(3, 4), np.array([0.5, 1.0, 1.5, 2.0])
    assert gradcheck.check(SNAKE.function, x, a).ok
    assert gradcheck.check(PAIRED.function, x).ok
    assert gradcheck.check(PRODUCT.function, x, x[::-1].copy()).ok


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_ones_own_op_is_trained_as_in_the_plain_form(dtype):
    rng = np.random.default_rng(0)
    network, x = own(rng, dtype), rng.standard_normal((20, 4)).astype(dtype)
    space, d = Workspace(network, 20), rng.standard_normal((20, 3)).astype(dtype)
    activations, backward = network(x)
    for got, expected in zip(space.forward(x), activations, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-5)
    space.backward({4: d})
    expected = np.concatenate([space_shaped(g) for layer in backward({4: d})[1] for g in layer])
    got = np.concatenate([space_shaped(g) for layer in space.views(space.gradient) for g in layer])
    np.testing.assert_allclose(got, expected, rtol=1e-4 if dtype == np.float32 else 1e-10, atol=1e-4)
    data = {"x": x, "y": rng.integers(0, 3, 20)}
    losses = [record.loss for record in train(network, data, rng=rng, settings=TrainingSettings(30, 10))]
    assert losses[-1] < losses[0]


def space_shaped(a):
    return np.ascontiguousarray(a).ravel()


def test_ones_own_op_is_saved_and_read_back(tmp_path):
    rng = np.random.default_rng(0)
    network, path = own(rng, np.float32), tmp_path / "own.npz"
    model.save(path, Model(network))
    with pytest.raises(InputError,
                       match=r"it holds the op 'snake', none of npkd's: give its row, load\(…, ops=\[row\]\)"):
        model.load(path)
    loaded = model.load(path, ops=[SNAKE, PRODUCT])
    assert [layer.row for layer in loaded.network.layers] == [OPS["dense"], SNAKE, PRODUCT, OPS["dense"]]
    x = rng.standard_normal((5, 4)).astype(np.float32)
    np.testing.assert_array_equal(loaded.logits(x), Model(network).logits(x))


def test_ones_own_op_is_counted():
    network = own(np.random.default_rng(0))
    counted = cost.of(network)
    assert (counted.macs, counted.parameters) == (6 * 4 + 3 * 6, 6 * 4 + 6 + 6 + 3 * 6 + 3)
    assert cost.shapes(network) == [(4,), (6,), (6,), (6,), (3,)]


def precise(x, w, b):
    """w x + b, summed in float64."""
    y = (x.astype(np.float64) @ w.T.astype(np.float64) + b).astype(x.dtype)
    return y, lambda dy: (dy @ w, dy.T @ x, dy.sum(axis=0))


def slow(x, w, b):
    """The same with half the gradient of the weights."""
    y, backward = precise(x, w, b)
    return y, lambda dy: tuple(d * part for d, part in zip(backward(dy), (1, 0.5, 1), strict=True))


def unbiased(x, w, b):
    """Without the bias, under the name of the first."""
    return precise(x, w, 0 * b)


unbiased.__name__ = "precise"
PRECISE = Op(precise, ("O I", "O"), maps=False)


def faults(row, path, read_as=None):
    """In what a row of weights, in the place of a dense layer, differs from it: alone, trained, in a file, counted."""
    rng = np.random.default_rng(0)
    plain = perceptron([4, 6, 3], rng, dtype=np.float64)
    network = plain.replace({0: Layer(row, plain.layers[0].params)})
    x, found = rng.standard_normal((20, 4)), set()
    data, settings = {"x": x, "y": rng.integers(0, 3, 20)}, TrainingSettings(5, 10)
    if not gradcheck.check(row.function, x[:3], *plain.layers[0].params, definition=definition_of(dense)).ok:
        found.add("gradient")
    ours, theirs = ([*train(start, data, rng=np.random.default_rng(1), settings=settings)][-1].network
                    for start in (network, plain))
    if not all(np.allclose(p, q, rtol=1e-9, atol=1e-12) and not np.allclose(p, before, rtol=1e-3)
               for a, b, start in zip(ours.layers, theirs.layers, plain.layers, strict=True)
               for p, q, before in zip(a.params, b.params, start.params, strict=True)):
        found.add("training")
    model.save(path, Model(ours))
    loaded = model.load(path, ops=[read_as or row])
    if not np.array_equal(loaded.logits(x), Model(ours).logits(x)) or loaded.network.layers[0].row is not row:
        found.add("file")
    if cost.of(network) != cost.of(plain) or network.widths != [4, 6, 3]:
        found.add("count")
    return found


@pytest.mark.parametrize(("row", "read_as", "expected"), [
    (PRECISE, None, set()),
    (Op(slow, ("O I", "O"), maps=False), None, {"gradient", "training"}),
    (PRECISE, Op(unbiased, ("O I", "O"), maps=False), {"file"}),
    (Op(precise, maps=False), None, {"count"}),
], ids=["as it is", "half a gradient", "read as another", "not said to be weights"])
def test_weights_of_ones_own_are_those_of_a_dense_layer(row, read_as, expected, tmp_path):
    assert faults(row, tmp_path / "own.npz", read_as) == expected


def test_neurons_that_weights_of_ones_own_make_and_read_are_removed():
    rng = np.random.default_rng(0)
    plain = perceptron([5, 6, 4, 3], rng, dtype=np.float64)
    plain.layers[0].params[0][1] = 0                                    # constant
    plain.layers[4].params[0][:, 2] = 0                                 # dead
    network = plain.replace({i: Layer(PRECISE, plain.layers[i].params) for i in plain.dense_layers})
    (smaller, removals), (expected, same) = remove(network), remove(plain)
    assert removals == same == [Removal(1, 1, "constant"), Removal(2, 2, "dead")]
    for one, other in zip(smaller.layers, expected.layers, strict=True):
        assert all(np.array_equal(p, q) for p, q in zip(one.params, other.params, strict=True))
    x = rng.standard_normal((60, 5))
    ours, theirs = (distil(start, lambda: [x], exactly([4, 3, 2])).student for start in (network, plain))
    assert ours.widths == [4, 3, 2, 3]
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-9, atol=1e-9)


def test_neurons_of_ones_own_op_are_removed():
    rng = np.random.default_rng(0)
    network, x = own(rng), rng.standard_normal((30, 4))
    smaller, removals = remove(network)
    assert sorted((r.neuron, r.reason, r.into) for r in removals) == [(1, "constant", None), (2, "duplicate", 0),
                                                                      (3, "dead", None)]
    assert [p.shape for p in smaller.layers[1].params] == [(3,)]
    np.testing.assert_allclose(smaller.predict(x), network.predict(x), rtol=1e-12, atol=1e-12)
    assert slopes(network.layers[1]) == 2.0


def test_a_neuron_in_two_places_goes_from_both():
    rng = np.random.default_rng(1)
    network = Network([dense_layer(3, 4, rng, np.float64), Layer(PAIRED), dense_layer(8, 2, rng, np.float64)])
    network.layers[2].params[0][:, [1, 5]] = 0                          # neuron 1, read in neither place
    network.layers[2].params[0][:, 2] = 0                               # neuron 2, read in one
    x = rng.standard_normal((30, 3))
    smaller, removals = remove(network)
    assert removals == [Removal(1, 1, "dead")]
    assert smaller.widths == [3, 3, 2]
    np.testing.assert_allclose(smaller.predict(x), network.predict(x), rtol=1e-12)
    cut = keep(network, dependency_groups(network)[1], np.array([0, 3]))
    assert [layer.params[0].shape for layer in cut.layers if layer.params] == [(2, 3), (2, 4)]


def test_of_an_op_that_says_nothing_no_neuron_is_removed():
    network = Network([dense_layer(3, 4, np.random.default_rng(0)), Layer(MIXING),
                       dense_layer(4, 2, np.random.default_rng(0))])
    with pytest.raises(InputError, match="surgery: layer 1 is mixing; between layers of weights removal knows ops that "
                                         "act per neuron"):
        remove(network)
    with pytest.raises(InputError, match="the network has mixing; behind its first dense layer"):
        slopes(network.layers[1])
    assert fold(network).layers == network.layers


def test_the_row_of_npkds_own_op_is_its_name():
    assert Layer(OPS["relu"]).op == "relu"


def relu(x):
    return x, lambda dy: (dy,)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: Layer(Op(relu)),
     r"Layer: relu is the name of one of npkd's ops; give the function another name"),
    (lambda: Layer("swish"), r"Layer: op is 'swish'; it must be one of dense, .*, or a row of your own"),
    (lambda: Op(snake, ("J", "J")), r"Op snake: got 2 shapes; it needs one for each of \('a',\)"),
    (lambda: Op(snake, (("J",),)), r"Op snake: shapes is .*; it must be a tuple of strings, the axes of each"),
    (lambda: Op(snake, "J"), r"Op snake: shapes is 'J'; it must be a tuple of strings"),
    (lambda: Layer(Op(snake, ("JK",)), (np.ones((80, 64)),)),
     r"Layer: snake got a \(80, 64\); it needs a \(JK\) \(between axes the shapes of a row have spaces: .O I.\)"),
    (lambda: Op(snake, homogeneous="some"), r"Op snake: homogeneous is 'some'; it must be one of none, positive, all"),
    (lambda: Op(lambda x: x), r"Op: the function has no name of its own"),
    (lambda: Layer(SNAKE), r"Layer: snake got 0 parameters; it needs 1: a"),
    (lambda: Layer(SNAKE, (np.ones((2, 2)),)), r"Layer: snake got a \(2, 2\); it needs a \(J\)"),
    (lambda: Layer("dense", (np.ones((2, 3)), np.ones(3))),
     r"Layer: dense got w \(2, 3\), b \(3,\); it needs w \(O, I\), b \(O\)"),
    (lambda: Layer("conv2d", (np.ones((2, 3, 3)), np.ones(2))),
     r"Layer: conv2d got w \(2, 3, 3\), .* needs w \(O, kh, kw, I\), b \(O\)"),
    (lambda: Layer(PRODUCT), r"Layer: product needs the option 'back'"),
    (lambda: Layer("max_pool", options={"kernel": 2}),
     r"Layer: max_pool has no option 'kernel'; it has size, stride, padding"),
])
def test_refusals(make, words):
    with pytest.raises(InputError, match=words):
        make()


def scaling(x, a):
    return a * x, lambda dy: (a * dy, (x * dy).sum(axis=0))


def returning(change):
    """scaling with what it returns changed."""
    def mine(x, a):
        return change(*scaling(x, a))
    return mine


@pytest.mark.parametrize(("change", "words"), [
    (lambda y, backward: y, r"Layer: mine returned an array of float64 and shape \(8, 5\); it must return a pair"),
    (lambda y, backward: (y.tolist(), backward), r"Layer: mine returned a tuple of 2: a list, a function; it must"),
    (lambda y, backward: (y, backward(y)), r"Layer: mine returned a tuple of 2: an array .*, a tuple of 2"),
    (lambda y, backward: (y, lambda dy: backward(dy)[0]),
     r"Layer: mine: backward returned an array of float64 and shape \(8, 5\); it must return a tuple of 2, the "
     r"gradients of x and of each parameter, of shapes \(8, 5\), \(5,\)"),
    (lambda y, backward: (y, lambda dy: (backward(dy)[0][:, :3], backward(dy)[1])), r"shape \(8, 3\), .* \(8, 5\), "),
    (lambda y, backward: (y, lambda dy: (backward(dy)[0], backward(dy)[1].sum())), r"shape \(\); it must .* \(5,\)"),
    (lambda y, backward: (y, lambda dy: (backward(dy)[0],)), r"a tuple of 1: .*; it must return a tuple of 2"),
])
@pytest.mark.parametrize("by_hand", [False, True])
def test_what_is_no_op_is_refused_where_it_is_trained_and_by_hand(change, words, by_hand):
    rng = np.random.default_rng(0)
    network = Network([dense_layer(4, 5, rng, np.float64), Layer(Op(returning(change), ("J",)), (np.ones(5),)),
                       dense_layer(5, 3, rng, np.float64)])
    data = {"x": rng.standard_normal((8, 4)), "y": rng.integers(0, 3, 8)}
    ways = (lambda: next(train(network, data, rng=rng)), lambda: network(data["x"])[1]({3: np.ones((8, 3))}))
    with pytest.raises(InputError, match=words):
        ways[by_hand]()


@pytest.mark.parametrize("layers", [
    lambda one: [one, Layer("relu"), one],
    lambda one: [one, Layer("relu"), Layer("dense", (one.params[0], np.zeros(3)))],
    lambda one: [one, Layer("relu"), Layer("dense", (one.params[0].T, np.zeros(3)))],
    lambda one: [one, Layer("gate", (one.params[0][1],))],
], ids=["the layer", "its weights", "transposed", "a row of them"])
def test_layers_that_share_an_array_are_refused(layers):
    """A workspace would give each a place of its own, and train them apart."""
    one = Layer("dense", (np.eye(3), np.zeros(3)))
    with pytest.raises(InputError, match=r"Network: layers 0 and \d share an array; give them copies"):
        Network(layers(one))
    assert len(Network([pool := Layer("relu"), one, pool]).layers) == 3         # what has no parameters may stand twice
