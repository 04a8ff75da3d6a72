"""Penalties on outgoing weights, held against loops over neurons, exact removal, and finite differences."""

import numpy as np
import pytest

from npkd.core.validation import InputError
from npkd.nn import cost
from npkd.nn.architectures import lenet5
from npkd.nn.network import Layer, Network, perceptron
from npkd.nn.optimisers import SGD
from npkd.nn.training import TrainingSettings, classification, train
from npkd.sparsity.outgoing import Support, alive, group_costs, outgoing_penalties, stationarity
from npkd.surgery.dependency import dependency_groups
from npkd.surgery.removal import difference, keep, remove
from npkd.surgery.widths import geometry
from reference.definitions.sparsity import outgoing as defined

WIDTHS = (6, 5, 4, 3)


def small(seed=0, dtype=np.float64):
    return perceptron(list(WIDTHS), np.random.default_rng(seed)).astype(dtype)


def maps(seed=0):
    """LeNet-5 of 20×20 pictures: a convolution reads pixels, one channels, a dense layer four positions of channels."""
    rng = np.random.default_rng(seed)
    return lenet5(rng, shape=(20, 20, 1), classes=3, channels=(3, 4), hidden=5).astype(np.float64)


def pairs(network, group):
    """For every neuron of a group, its outgoing weights: (layer, array of them), by a loop over entries."""
    return [[(i, network.layers[i].params[0][..., np.flatnonzero(group.units[i] == j)]) for i in group.consumers]
            for j in range(group.width)]


@pytest.mark.parametrize(("make", "kinds"), [(small, {"inputs": 0.3, "neurons": 0.2}),
                                             (maps, {"channels": 0.3, "neurons": 0.2})], ids=["perceptron", "maps"])
@pytest.mark.parametrize("costs", ["macs", "size", "equal"])
def test_the_value_is_a_sum_over_neurons(make, kinds, costs):
    network = make()
    groups = dependency_groups(network)
    c = group_costs(network, groups, kinds, geometry=geometry(network, groups), costs=costs)
    penalties = outgoing_penalties(network, groups, kinds, c)
    value = sum(p.value(network.layers[i].params[0]) for i, p in penalties.items())
    penalised = [k for k, g in enumerate(groups) if g.producers or "inputs" in kinds]
    mean = sum(c[k] * groups[k].width for k in penalised) / sum(groups[k].width for k in penalised)
    assert mean == pytest.approx(1.0, rel=1e-12)
    expected = []
    for k in penalised:
        made = [network.layers[i].params[0].ndim for i in groups[k].producers]
        lam = kinds["inputs"] if not made else kinds["channels"] if 4 in made else kinds["neurons"]
        expected += [(lam, c[k], w) for weights in pairs(network, groups[k]) for _, w in weights]
    assert value == pytest.approx(defined.outgoing(expected, np.zeros(0), 0.0), rel=1e-12)


@pytest.mark.parametrize("make", [small, maps])
def test_the_pseudo_norm_is_one_of_the_neurons_of_every_layer_that_reads_some(make):
    """By a loop over neurons; the inputs take a penalty of their own, or none."""
    network = make()
    groups = dependency_groups(network)
    penalties, expected = outgoing_penalties(network, groups, {"l1l2": 0.3}), 0.0
    for group in groups[1:]:
        for i in group.consumers:
            norms = [np.linalg.norm(w) for weights in pairs(network, group) for layer, w in weights if layer == i]
            expected += 0.3 * sum(norms) / np.linalg.norm(norms)
    assert sum(p.value(network.layers[i].params[0]) for i, p in penalties.items()) == pytest.approx(expected, rel=1e-12)
    assert groups[0].consumers[0] not in penalties
    if make is small:
        both = outgoing_penalties(network, groups, {"inputs": 0.1, "l1l2": 0.3})
        assert sorted(both) == network.weight_layers
        assert type(both[groups[0].consumers[0]]).__name__ == "NeuronGroups"


@pytest.mark.parametrize("make", [small, maps])
def test_a_cost_is_what_the_removal_of_a_neuron_saves(make):
    network = make()
    groups = dependency_groups(network)
    costs = group_costs(network, groups, ["neurons"], geometry=geometry(network, groups))
    whole, ratios = cost.of(network).macs, []
    for group, c in zip(groups, costs, strict=True):
        if not group.fixed and (group.producers or make is small):
            smaller = keep(network, group, np.arange(1, group.width))
            ratios.append(c / (whole - cost.of(smaller).macs))
    assert len(ratios) >= 2
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-12)


def test_every_weight_is_in_one_group_and_steps_do_not_touch():
    """The step of the sum is the step of each part: a column alone gives what all together give it."""
    network = maps()
    groups = dependency_groups(network)
    penalties = outgoing_penalties(network, groups, {"channels": 0.5, "neurons": 0.5})
    for group in groups[1:]:
        for i in group.consumers:
            w = network.layers[i].params[0]
            together = penalties[i].prox(w, 0.3)
            for j in range(group.width):
                alone = np.where(group.units[i] == j, w, 0)
                np.testing.assert_allclose(penalties[i].prox(alone, 0.3)[..., group.units[i] == j],
                                           together[..., group.units[i] == j], rtol=1e-12, atol=0)
            assert sum((group.units[i] == j).sum() for j in range(group.width)) == w.shape[-1]


def test_single_weights_combine_with_groups():
    """Sparse group lasso: λ_g Σ c ‖w_j‖ + λ_w Σ |w|, also where a layer is not read in groups."""
    network = small()
    groups = dependency_groups(network)
    both = outgoing_penalties(network, groups, {"neurons": 0.2, "weights": 0.1}, [1.0] * len(groups))
    w = [network.layers[i].params[0] for i in network.weight_layers]
    values = [both[i].value(a) for i, a in zip(network.weight_layers, w, strict=True)]
    columns = [(0.2, 1.0, a[:, j]) for a in w[1:] for j in range(a.shape[1])]
    every = np.concatenate([a.ravel() for a in w])
    assert sum(values) == pytest.approx(defined.outgoing(columns, every, 0.1), rel=1e-12)
    expected = [0.1 * np.abs(a).sum() + (0.2 * np.linalg.norm(a, axis=0).sum() if k else 0) for k, a in enumerate(w)]
    np.testing.assert_allclose(values, expected, rtol=1e-12)


@pytest.mark.parametrize("make", [small, maps])
def test_neurons_whose_columns_are_zero_go_and_nothing_changes(make):
    network = make(3)
    groups = dependency_groups(network)
    zeroed = {}
    for group in groups[1:]:
        for i in group.consumers:
            layer = network.layers[i]
            w = layer.params[0].copy()
            w[..., group.units[i] == 1] = 0
            zeroed[i] = type(layer)(layer.op, (w, layer.params[1]), layer.options)
    sparse = network.replace(zeroed)
    assert alive(sparse, groups) == [groups[0].width] + [g.width - 1 for g in groups[1:]]
    smaller, removals = remove(sparse)
    assert {(r.group, r.neuron) for r in removals if r.position is None} >= {(g.number, 1) for g in groups[1:]}
    x = np.random.default_rng(0).standard_normal((20, 6 if make is small else 400))
    assert difference(sparse, smaller, x) <= 1e-12


def test_stationarity_is_the_step_of_all_parameters():
    """ρ and F + Ω by hand: gradients of F by differences, weight decay in F, the step of Ω column by column."""
    network, d, lam, step = small(5), 0.02, 0.05, 0.3
    rng = np.random.default_rng(1)
    batch = {"x": rng.standard_normal((9, 6)), "y": rng.integers(0, 3, 9)}
    groups = dependency_groups(network)
    penalties = outgoing_penalties(network, groups, {"neurons": lam}, [1.0] * len(groups))
    params = [p for layer in network.layers for p in layer.params]

    def smooth():
        z = network(batch["x"])[0][-1]
        log = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        return -log[np.arange(9), batch["y"]].mean() + d / 2 * sum((p ** 2).sum() for p in params)

    stepped, h = [], 1e-6
    for k, p in enumerate(params):
        slope = np.zeros_like(p)
        for at in np.ndindex(p.shape):
            before = p[at]
            p[at] = before + h
            up = smooth()
            p[at] = before - h
            slope[at] = (up - smooth()) / (2 * h)
            p[at] = before
        moved = p - step * slope
        if k in (2, 4):                                               # the weights of the second and third layers
            for j in range(p.shape[1]):
                moved[:, j] *= max(0, 1 - step * lam / np.linalg.norm(moved[:, j]))
        stepped.append(moved.ravel())
    rho, value = stationarity(network, batch, classification, penalties, weight_decay=d, step=step, rows=4)
    theta = np.concatenate([p.ravel() for p in params])
    assert rho == pytest.approx(defined.stationarity(theta, np.concatenate(stepped), step), rel=1e-6)
    norms = sum(np.linalg.norm(params[k], axis=0).sum() for k in (2, 4))
    assert value == pytest.approx(smooth() + lam * norms, rel=1e-10)


def test_a_training_comes_to_rest_where_stationarity_is_zero():
    """Full batches: the fixed point of proximal steps is what ρ measures, zeros included."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((60, 6))
    batch = {"x": x, "y": (x[:, 0] + x[:, 1] > 0).astype(int)}
    network = perceptron([6, 2], rng).astype(np.float64)
    groups = dependency_groups(network)
    penalties = outgoing_penalties(network, groups, {"inputs": 0.05})
    *_, last = train(network, batch, penalties=penalties, optimiser=SGD(0.5, 0.9, weight_decay=0.01), rng=rng,
                     settings=TrainingSettings(600, 60, schedule=lambda progress: 1.0))
    before, _ = stationarity(network, batch, classification, penalties, weight_decay=0.01)
    after, _ = stationarity(last.network, batch, classification, penalties, weight_decay=0.01)
    assert after <= 1e-9 * before
    assert 0 < alive(last.network, groups)[0] < 6
    wrong, _ = stationarity(last.network, batch, classification, penalties)          # without the weight decay
    assert wrong > 1e-3


@pytest.mark.parametrize("reader", [0, 1])
def test_a_channel_that_one_of_two_layers_reads_is_alive(reader):
    """A convolution and, past it, a dense layer read three channels."""
    rng = np.random.default_rng(0)
    made, between = rng.standard_normal((3, 3, 3, 1)), rng.standard_normal((3, 3, 3, 3))
    behind = rng.standard_normal((2, 48))
    (between if reader else behind)[..., ::3] = 0
    options = {"padding": 1}
    network = Network([Layer("conv2d", (made, np.zeros(3)), options), Layer("relu"),
                       Layer("conv2d", (between, np.zeros(3)), options), Layer("add", options={"back": 1}),
                       Layer("flatten"), Layer("dense", (behind, np.zeros(2)))])
    groups = dependency_groups(network, (4, 4, 1))
    assert alive(network, groups)[-1] == 3
    (between if not reader else behind)[..., ::3] = 0
    assert alive(network, groups)[-1] == 2


def test_support_keeps_zeros():
    support = Support(np.array([True, False, True]))
    v = np.array([1.0, 2.0, 0.0])
    assert support.prox(v, 0.1).tolist() == [1.0, 0.0, 0.0]
    assert support.value(v) == float("inf")
    assert support.value(support.prox(v, 1.0)) == 0.0


@pytest.mark.parametrize(("strengths", "words"), [
    ({}, "got nothing; this network has inputs, neurons and weights"),
    ({"channels": 1.0}, "got channels; this network has inputs, neurons and weights"),
    ({"rows": 1.0}, "kind is 'rows'"),
    ({"neurons": -1.0}, "neurons is -1.0"),
    ({"l1l2": -1.0}, "l1l2 is -1.0"),
    ({"l1l2": 0.1, "neurons": 0.1}, "got l1l2 beside neurons, which are on the same weights"),
    ({"l1l2": 0.1, "weights": 0.1}, "got l1l2 beside weights"),
])
def test_refusals(strengths, words):
    network = small()
    groups = dependency_groups(network)
    with pytest.raises(InputError, match=words):
        outgoing_penalties(network, groups, strengths)
    with pytest.raises(InputError, match="costs is 'bytes'"):
        group_costs(network, groups, strengths, costs="bytes")


def test_inputs_of_maps_cannot_be_removed():
    network: Network = maps()
    with pytest.raises(InputError, match="got inputs; those of this network cannot be removed"):
        outgoing_penalties(network, dependency_groups(network), {"inputs": 1.0})
