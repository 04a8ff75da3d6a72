"""Exact removal: everything that was planted is found, nothing else goes, and the network computes what it computed."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.core.validation import InputError
from npkd.nn.network import Layer, Network, perceptron
from npkd.surgery.dependency import DependencyGroup, dependency_groups
from npkd.surgery.removal import Removal, difference, keep, remove

MANY = settings(max_examples=40)


@dataclass
class Planted:
    """A network, and what removal has to find in it: (dependency group, neuron) -> reason, and into which neuron a
    duplicate goes."""

    network: Network
    inputs: int
    expected: dict = field(default_factory=dict)


def nonzero(rng, *shape):
    return rng.uniform(0.2, 1.5, shape) * rng.choice([-1, 1], shape)


def between(rng, width, pieces):
    """Per-neuron layers behind a dense layer of width · pieces outputs, in a random order: maxout is one of them where
    pieces > 1."""
    layers, now = [], width * pieces
    for op in rng.permutation(["batch_norm", "gate", "dropout", "act", "maxout"]):
        if op == "act":
            layers.append(Layer(str(rng.choice(["relu", "tanh", "sigmoid"]))))
        elif op == "maxout" and pieces > 1:
            layers.append(Layer("maxout", options={"pieces": pieces}))
            now //= pieces
        elif op == "batch_norm" and rng.random() < 0.5:
            running = nonzero(rng, now), rng.uniform(0.5, 2, now)
            layers.append(Layer("batch_norm", (nonzero(rng, now), nonzero(rng, now)), {"eps": 0.1}, running))
        elif op == "gate" and rng.random() < 0.5:
            layers.append(Layer("gate", (nonzero(rng, now),)))
        elif op == "dropout" and rng.random() < 0.3:
            layers.append(Layer("dropout", options={"rate": 0.5}))
    return layers


def rows(array, width, j):
    """The entries of an array that belong to neuron j of ``width``: several where maxout still has to choose among
    them."""
    pieces = len(array) // width
    return slice(j * pieces, (j + 1) * pieces)


def planted(seed):
    """A random perceptron of 1 to 3 hidden layers, each with at least two neurons that are sound, and up to five that
    are not."""
    rng = np.random.default_rng(seed)
    hidden, inputs = int(rng.integers(1, 4)), int(rng.integers(2, 6))
    layers, expected, front = [], {}, inputs
    if rng.random() < 0.4:
        front = inputs + int(rng.integers(0, 4))
        layers.append(Layer("select", options={"kept": [int(i) for i in rng.permutation(front)[:inputs]]}))
    if rng.random() < 0.3:
        layers.append(Layer("dropout", options={"rate": 0.2}))
    width, made, dead = inputs, [], []                       # of the dependency group that the next dense layer reads
    if rng.random() < 0.5:
        dead = [int(rng.integers(inputs))]
        expected[0, dead[0]] = ("dead", None)
    copies = {}
    for k in range(1, hidden + 2):
        pieces = int(rng.choice([1, 1, 2, 3])) if k <= hidden else 1
        wide = int(rng.integers(2, 8)) if k <= hidden else int(rng.integers(1, 4))
        w, b = nonzero(rng, wide * pieces, width), nonzero(rng, wide * pieces)
        w[:, dead] = 0
        rest = between(rng, wide, pieces) if k <= hidden else []
        made = [(w, b), *[(*layer.params, *layer.running) for layer in rest]]
        layers += [Layer("dense", (w, b)), *rest]
        width, dead, copies = wide, [], {}
        if k > hidden:
            break
        order = [int(j) for j in rng.permutation(wide)]
        sound = order[:2]
        for j in order[2:]:
            fate = str(rng.choice(["sound", "dead", "constant", "shut", "duplicate", "dead copy"]))
            gates = [layer.params[0] for layer in rest if layer.op == "gate"]
            if fate == "dead":
                dead.append(j)
                expected[k, j] = ("dead", None)
            elif fate == "constant":
                w[rows(w, wide, j)] = 0
                expected[k, j] = ("constant", None)
            elif fate == "shut" and gates:
                gates[-1][rows(gates[-1], wide, j)] = 0
                expected[k, j] = ("constant", None)
            elif fate in ("duplicate", "dead copy"):
                source = sound[int(rng.integers(2))]
                for arrays in made:
                    for a in arrays:
                        a[rows(a, wide, j)] = a[rows(a, wide, source)]
                if fate == "dead copy":
                    dead.append(j)
                    expected[k, j] = ("dead", None)
                else:
                    copies.setdefault(source, [source]).append(j)
        for group in copies.values():
            for j in sorted(group)[1:]:
                expected[k, j] = ("duplicate", min(group))
    return Planted(Network(layers), front, expected)


def agree(one, other, x, tolerance=1e-12):
    """The plain networks, without anything of the surgery's own: outputs equal relative to the largest."""
    a, b = one.predict(x), other.predict(x)
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= tolerance * max(1, np.abs(a).max())


@MANY
@given(seed=st.integers(0, 10 ** 6))
def test_everything_planted_is_found_and_nothing_else(seed):
    case = planted(seed)
    network, x = case.network, np.random.default_rng(seed).standard_normal((30, case.inputs))
    before = [a.copy() for layer in network.layers for a in (*layer.params, *layer.running)]
    smaller, removals = remove(network)
    assert {(r.group, r.neuron): (r.reason, r.into) for r in removals} == case.expected
    assert len(removals) == len(case.expected), "each once"
    agree(network, smaller, x)
    for a, b in zip(before, [a for layer in network.layers for a in (*layer.params, *layer.running)], strict=True):
        assert np.array_equal(a, b)
    # the widths tell the same story
    counts = [sum(r.group == k for r in removals) for k in range(len(network.dense_layers))]
    readers = [network.layers[i].params[0].shape[1] for i in network.dense_layers]
    assert [smaller.layers[i].params[0].shape[1]
            for i in smaller.dense_layers] == [n - c for n, c in zip(readers, counts, strict=True)]
    again, more = remove(smaller)
    assert not more
    agree(smaller, again, x, 0)


@MANY
@given(seed=st.integers(0, 10 ** 6))
def test_single_precision(seed):
    case = planted(seed)
    network = case.network.astype(np.float32)
    smaller, removals = remove(network)
    assert len(removals) == len(case.expected)
    assert all(a.dtype == np.float32 for layer in smaller.layers for a in (*layer.params, *layer.running))
    agree(network, smaller, np.random.default_rng(seed).standard_normal((10, case.inputs)).astype(np.float32), 1e-4)


@pytest.mark.parametrize("reason", ["constant", "duplicate"])
def test_a_careless_removal_would_be_seen(reason):
    """Forgetting to fold a constant, or to hand over a duplicate's weights, changes outputs by much more than the
    tolerance."""
    rng = np.random.default_rng(0)
    w1, b1 = nonzero(rng, 4, 3), nonzero(rng, 4)
    if reason == "constant":
        w1[2] = 0
    else:
        w1[2], b1[2] = w1[0], b1[0]
    w2 = nonzero(rng, 2, 4)
    network = Network([Layer("dense", (w1, b1)), Layer("sigmoid"), Layer("dense", (w2, nonzero(rng, 2)))])
    group = dependency_groups(network)[1]
    x = rng.standard_normal((5, 3))
    careless = keep(network, group, np.array([0, 1, 3]))
    assert np.abs(network.predict(x) - careless.predict(x)).max() > 1e-2
    agree(network, remove(network)[0], x)


# ---- one thing at a time
# ------------------------------------------------------------------------------------------------------------


def dense(w, b=None):
    w = np.asarray(w, float)
    return Layer("dense", (w, np.zeros(len(w)) if b is None else np.asarray(b, float)))


def test_nothing_to_remove_is_the_same_network():
    network = perceptron([4, 5, 3], np.random.default_rng(0))
    smaller, removals = remove(network)
    assert removals == []
    assert [layer.op for layer in smaller.layers] == [layer.op for layer in network.layers]
    for a, b in zip(smaller.layers, network.layers, strict=True):
        assert all(np.array_equal(p, q) for p, q in zip(a.params, b.params, strict=True))


def test_what_the_records_say():
    network = Network([dense([[1, 2, 0], [0, 0, 0], [3, 1, 0], [1, 2, 0], [2, 2, 0]], [1, 2, 3, 1, 5]), Layer("relu"),
                       dense([[1, 1, 1, 1, 0], [2, 1, -1, 3, 0]], [0, 10])])
    smaller, removals = remove(network)
    assert sorted(removals, key=lambda r: (r.group, r.neuron)) == [
        Removal(0, 2, "dead"), Removal(1, 1, "constant"), Removal(1, 3, "duplicate", 0), Removal(1, 4, "dead")]
    assert smaller.layers[0].options["kept"] == [0, 1]
    w, b = smaller.layers[3].params
    assert w.tolist() == [[2, 1], [5, -1]]            # the duplicate's weights are handed over
    assert b.tolist() == [2, 12]                      # relu(2) is folded in


def test_a_dead_neuron_in_front_of_its_copy():
    """The dead one goes; the copy is not a duplicate of anything that is left."""
    network = Network([dense([[1, 2], [1, 2], [3, 1]]), Layer("relu"), dense([[0, 1, 1], [0, 2, 1]])])
    smaller, removals = remove(network)
    assert removals == [Removal(1, 0, "dead")]
    agree(network, smaller, np.random.default_rng(0).standard_normal((9, 2)))


def test_copies_that_cancel():
    """Together the outgoing weights are zero: after the merger the neuron is dead."""
    network = Network([dense([[1, 2], [3, 1], [1, 2]]), Layer("tanh"), dense([[1, 5, -1], [2, 1, -2]])])
    smaller, removals = remove(network)
    assert removals == [Removal(1, 2, "duplicate", 0), Removal(1, 0, "dead")]
    agree(network, smaller, np.random.default_rng(0).standard_normal((9, 2)))


def test_signed_zeros_are_one_number():
    network = Network([dense([[0.0, 2], [-0.0, 2], [1, 1]], [0.0, -0.0, 1]), Layer("relu"), dense([[1, 1, 1]])])
    assert remove(network)[1] == [Removal(1, 1, "duplicate", 0)]


@pytest.mark.parametrize("which", ["mean", "variance"])
def test_neurons_that_differ_in_a_running_moment_alone_are_no_duplicates(which):
    """Same weights, gamma and beta: only what the batch norm has seen tells 0 and 1 apart; 2 is like 0 in all."""
    w, b, even = np.array([[1.0, 2.0]] * 3), np.ones(3), np.ones(3)
    moved = np.array([1.0, 3.0, 1.0])
    running = (moved, even) if which == "mean" else (even, moved)
    norm = Layer("batch_norm", (even.copy(), np.full(3, 2.0)), running=running)
    network = Network([Layer("dense", (w, b)), norm, Layer("tanh"), dense([[1, 4, 2]])])
    smaller, removals = remove(network)
    assert removals == [Removal(1, 2, "duplicate", 0)]
    agree(network, smaller, np.random.default_rng(0).standard_normal((9, 2)))


def test_cascade_forwards_and_backwards():
    """A neuron read only by a dead one dies; a neuron fed only by constants becomes constant; inputs read by none
    go."""
    back = Network([dense(np.eye(3)), Layer("relu"), dense(np.eye(3)), Layer("relu"), dense([[1, 0, 2]])])
    smaller, removals = remove(back)
    assert {(r.group, r.neuron, r.reason) for r in removals} == {(2, 1, "dead"), (1, 1, "dead"), (0, 1, "dead")}
    assert smaller.widths == [2, 2, 2, 1]
    w = np.eye(3)
    w[1] = 0
    forth = Network([dense(w, [1, 2, 3]), Layer("relu"), dense(np.eye(3), [1, 1, 1]), Layer("relu"),
                     dense([[1, 5, 2]])])
    smaller, removals = remove(forth)
    assert {(r.group, r.neuron, r.reason) for r in removals} == {(1, 1, "constant"), (2, 1, "constant"),
                                                                    (0, 1, "dead")}
    for network in (back, forth):
        agree(network, remove(network)[0], np.random.default_rng(0).standard_normal((9, 3)))


@pytest.mark.parametrize("reason", ["dead", "constant"])
def test_of_a_layer_that_dies_one_neuron_stays(reason):
    rng = np.random.default_rng(1)
    network = perceptron([3, 4, 5, 2], rng, dtype=np.float64)
    for layer in network.layers:
        if layer.params:
            layer.params[1][:] = nonzero(rng, len(layer.params[1]))
    if reason == "dead":
        network.layers[4].params[0][:] = 0
    else:
        network.layers[2].params[0][:] = 0
    smaller, removals = remove(network)
    assert min(smaller.widths) >= 1
    assert sum(r.group == 2 for r in removals) == 4
    agree(network, smaller, rng.standard_normal((9, 3)))
    assert not remove(smaller)[1]


def test_what_stands_before_a_neuron_that_stays_unread_goes_too():
    """The last neuron of a layer is constant: it stays, its weights go into a bias, and what made it is heard no
    more."""
    rng = np.random.default_rng(0)
    network = Network([dense(rng.standard_normal((4, 3)), rng.standard_normal(4)), Layer("relu"),
                       dense(rng.standard_normal((1, 4)), [0.5]),
                       Layer("gate", (np.zeros(1),)), dense(rng.standard_normal((2, 1)), [1, 2])])
    smaller, removals = remove(network)
    assert smaller.widths == [1, 1, 1, 2]
    assert sorted((r.group, r.reason) for r in removals) == [(0, "dead")] * 2 + [(1, "dead")] * 3
    agree(network, smaller, rng.standard_normal((9, 3)))
    again, nothing = remove(smaller)
    assert again.widths == smaller.widths
    assert not nothing


def test_no_input_is_read():
    network = Network([dense(np.zeros((2, 3)), [1, 2])])
    smaller, removals = remove(network)
    assert len(removals) == 2
    agree(network, smaller, np.ones((4, 3)))


def test_inputs_in_front_of_a_select():
    """A select that is there takes fewer; its own numbering is kept."""
    network = Network([Layer("select", options={"kept": [5, 1, 3]}), dense([[1, 0, 2], [3, 0, 1]])])
    smaller, removals = remove(network)
    assert [layer.op for layer in smaller.layers] == ["select", "dense"]
    assert list(smaller.layers[0].options["kept"]) == [5, 3]
    assert removals == [Removal(0, 1, "dead")]
    agree(network, smaller, np.random.default_rng(0).standard_normal((4, 6)))


@pytest.mark.parametrize("front", [
    [Layer("flatten")], [Layer("flatten"), Layer("dropout", options={"rate": 0.5})],
    [Layer("flatten"), Layer("select", options={"kept": [5, 1, 3]})],
    [Layer("flatten"), Layer("dropout", options={"rate": 0.5}), Layer("select", options={"kept": [5, 1, 3]})],
], ids=lambda layers: ", ".join(layer.op for layer in layers))
def test_inputs_behind_other_layers(front):
    """Whole pictures are still taken."""
    width = 3 if front[-1].op == "select" else 6
    w = nonzero(np.random.default_rng(0), 2, width)
    w[:, 1] = 0
    network = Network([*front, dense(w)])
    smaller, removals = remove(network)
    assert removals == [Removal(0, 1, "dead")]
    agree(network, smaller, np.random.default_rng(1).standard_normal((4, 2, 3)))


def test_layers_behind_the_last_dense_stay():
    network = Network([dense([[1, 2], [0, 0]]), Layer("relu"), dense([[1, 1], [2, 1]]), Layer("sigmoid"),
                       Layer("gate", (np.ones(2),))])
    smaller, removals = remove(network)
    assert [layer.op for layer in smaller.layers][-2:] == ["sigmoid", "gate"]
    assert len(removals) == 1
    agree(network, smaller, np.random.default_rng(1).standard_normal((4, 2)))


def test_the_parts_of_maxout_go_together():
    """A neuron is constant only if all its pieces are, and a duplicate only if all are the same."""
    w = nonzero(np.random.default_rng(0), 8, 3)
    b = nonzero(np.random.default_rng(1), 8)
    w[0] = 0                                          # one piece alone
    w[2:4] = 0                                        # the whole neuron 1
    w[6], b[6] = w[4], b[4]                           # one piece of neuron 3 equals one of neuron 2
    network = Network([dense(w, b), Layer("maxout", options={"pieces": 2}),
                       dense(nonzero(np.random.default_rng(2), 2, 4))])
    smaller, removals = remove(network)
    assert removals == [Removal(1, 1, "constant")]
    agree(network, smaller, np.random.default_rng(3).standard_normal((9, 3)))


def test_keep_cuts_and_nothing_else():
    network = perceptron([4, 5, 3], np.random.default_rng(0), dtype=np.float64)
    group = dependency_groups(network)[1]
    assert group == DependencyGroup(1, (0,), (2,), 5)
    assert (group.producer, group.consumer) == (0, 2)
    smaller = keep(network, group, np.array([0, 3]))
    w, b = network.layers[0].params
    assert np.array_equal(smaller.layers[0].params[0], w[[0, 3]])
    assert np.array_equal(smaller.layers[0].params[1], b[[0, 3]])
    assert np.array_equal(smaller.layers[2].params[0], network.layers[2].params[0][:, [0, 3]])
    chosen = keep(network, dependency_groups(network)[0], np.array([1, 2]))
    x = np.random.default_rng(1).standard_normal((5, 4))
    np.testing.assert_allclose(chosen(x)[0][2], x[:, [1, 2]] @ w[:, [1, 2]].T + b)


def test_the_difference_is_the_largest_of_all_examples():
    one, other = (perceptron([4, 3], np.random.default_rng(k), dtype=np.float64) for k in range(2))
    x = np.random.default_rng(2).standard_normal((5000, 4))
    assert difference(one, other, x) == pytest.approx(np.abs(one.predict(x) - other.predict(x)).max(), rel=1e-12)
    assert difference(one, one, x) == 0


@pytest.mark.parametrize(("layers", "words"), [
    ([Layer("relu")], "no dense layer"),
    ([dense(np.eye(2)), Layer("flatten"), dense(np.eye(2))], "layer 1 is flatten"),
    ([dense(np.eye(2)), Layer("select", options={"kept": [0]}), dense(np.ones((2, 1)))], "layer 1 is select"),
    ([Layer("relu"), dense(np.eye(2))], "layer 0 is relu"),
])
def test_networks_that_removal_does_not_know(layers, words):
    with pytest.raises(InputError, match=f"surgery: .*{words}"):
        remove(Network(layers))
