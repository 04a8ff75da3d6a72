"""Projections, depthwise convolutions and convolutions in groups: what is tied, removed exactly, chosen, refitted and
trained away."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npkd
from npkd.core.validation import InputError
from npkd.data.batches import batches_of
from npkd.data.datasets import from_arrays
from npkd.interop.adapt import adapt, require_countable
from npkd.interop.layers import adds_inputs
from npkd.nn import cost
from npkd.nn.model import Model, load, save
from npkd.nn.network import Layer, Network
from npkd.pipeline.recipe import Recipe
from npkd.pipeline.sparse import sparse_training
from npkd.pipeline.sparse_recipe import SparseRecipe
from npkd.pipeline.stages import Run
from npkd.pipeline.target import Target
from npkd.sparsity.layerwise import distil, exactly
from npkd.surgery.dependency import dependency_groups
from npkd.surgery.folding import fold, inserted, without
from npkd.surgery.removal import Removal, keep, remove
from npkd.surgery.widths import geometry, widths_of

SOME = settings(max_examples=30, deadline=None)


def op(name, **options):
    return Layer(name, options=options)


def conv(rng, made, side, read, **options):
    w = rng.standard_normal((made, side, side, read // options.get("groups", 1))) * np.sqrt(2 / (side * side * read))
    return Layer("conv2d", (w, 0.1 * rng.standard_normal(made)), options)


def depthwise(rng, channels, side=3, **options):
    w = rng.standard_normal((side, side, channels)) / side
    return Layer("depthwise_conv2d", (w, 0.1 * rng.standard_normal(channels)), {"padding": side // 2, **options})


def norm(rng, channels):
    gamma, beta, mean, variance = rng.uniform(0.5, 1.5, (4, channels))
    return Layer("batch_norm", (gamma, beta), {}, (mean - 1, variance))


def dense(rng, made, read):
    return Layer("dense", (rng.standard_normal((made, read)) * np.sqrt(2 / read), 0.1 * rng.standard_normal(made)))


def resnet(rng, a=6, b=8, c=7):
    """A stem, a block with a projection of stride 2, batch norms in both its paths, and a plain block."""
    return Network([
        op("unflatten", shape=[8, 8, 1]), conv(rng, a, 3, 1, padding=1), norm(rng, a), op("relu"),
        conv(rng, c, 3, a, stride=2, padding=1), norm(rng, c), op("relu"), conv(rng, b, 3, c, padding=1), norm(rng, b),
        op("recall", back=5), conv(rng, b, 1, a, stride=2), norm(rng, b), op("add", back=3), op("relu"),
        conv(rng, c, 3, b, padding=1), op("relu"), conv(rng, b, 3, c, padding=1), op("add", back=3), op("relu"),
        op("global_average_pool"), dense(rng, 3, b)])


def mobilenet(rng, a=6, b=9):
    """Convolution, then twice a depthwise one and one of 1×1."""
    return Network([
        op("unflatten", shape=[8, 8, 1]), conv(rng, a, 3, 1, padding=1), norm(rng, a), op("relu"),
        depthwise(rng, a), norm(rng, a), op("relu"), conv(rng, b, 1, a), norm(rng, b), op("relu"),
        depthwise(rng, b, stride=2), norm(rng, b), op("relu"), conv(rng, b, 1, b), op("relu"),
        op("global_average_pool"), dense(rng, 3, b)])


def separable_front(rng):
    """The first layer is depthwise, on pictures of three colours."""
    return Network([op("unflatten", shape=[6, 6, 3]), depthwise(rng, 3), conv(rng, 9, 1, 3), op("relu"),
                    depthwise(rng, 9), op("relu"), op("max_pool", size=2), op("flatten"), dense(rng, 8, 81), op("relu"),
                    dense(rng, 3, 8)])


def grouped(rng):
    """A convolution in two groups between others: channels in front of and behind it stay."""
    return Network([op("unflatten", shape=[6, 6, 1]), conv(rng, 8, 3, 1, padding=1), op("relu"), conv(rng, 4, 1, 8),
                    op("relu"), conv(rng, 6, 3, 4, padding=1, groups=2), op("relu"), conv(rng, 9, 3, 6), op("relu"),
                    op("global_average_pool"), dense(rng, 3, 9)])


MADE = {"resnet": resnet, "mobilenet": mobilenet, "separable front": separable_front, "grouped": grouped}


def examples(network, n=200, seed=5):
    return np.random.default_rng(seed).standard_normal((n, cost.input_shape(network)[0]))


def same(one, other, x):
    scale = np.abs(one.predict(x)).max()
    np.testing.assert_allclose(one.predict(x), other.predict(x), rtol=1e-9, atol=1e-10 * scale)


def told(network):
    return [(group.producers, group.consumers, group.width, group.fixed) for group in dependency_groups(network)]


def test_a_recall_ties_nothing():
    """The stem is read by the main path and by the projection; the projection makes what the main path makes."""
    assert told(resnet(np.random.default_rng(0))) == [
        ((), (1,), 1, False), ((1,), (4, 10), 6, False), ((4,), (7,), 7, False), ((7, 10, 16), (14, 20), 8, False),
        ((14,), (16,), 7, False)]


def test_channels_pass_through_a_depthwise_convolution():
    assert told(mobilenet(np.random.default_rng(0))) == [
        ((), (1,), 1, False), ((1,), (7,), 6, False), ((7,), (13,), 9, False), ((13,), (16,), 9, False)]


def test_channels_beside_a_convolution_in_groups_stay():
    network = grouped(np.random.default_rng(0))
    assert told(network) == [((), (1,), 1, False), ((1,), (3,), 8, False), ((3,), (5,), 4, True), ((5,), (7,), 6, True),
                             ((7,), (10,), 9, False)]
    with pytest.raises(InputError, match="dependency group 2 is fixed"):
        keep(network, dependency_groups(network)[2], np.array([0, 1]))


@SOME
@given(name=st.sampled_from(list(MADE)), seed=st.integers(0, 10 ** 6))
def test_what_is_left_costs_what_its_widths_say(name, seed):
    rng = np.random.default_rng(seed)
    network = fold(MADE[name](rng))
    there = geometry(network)
    for k, group in enumerate(dependency_groups(network)):
        if k not in there.fixed:
            stays = np.sort(rng.permutation(group.width)[:rng.integers(1, group.width + 1)])
            network = keep(network, dependency_groups(network)[k], stays)
    found, counted = cost.of_widths(widths_of(network), geometry=there), cost.of(network)
    assert found.macs == counted.macs
    assert found.parameters == counted.parameters


@SOME
@given(name=st.sampled_from(list(MADE)), seed=st.integers(0, 10 ** 6))
def test_removal_finds_what_was_planted_and_changes_nothing(name, seed):
    """In one dependency group that can go: a dead, a constant and a copied neuron."""
    rng = np.random.default_rng(seed)
    network = MADE[name](rng)
    groups = [g for g in dependency_groups(network) if g.producers and not g.fixed and g.width > 5]
    group = groups[int(rng.integers(len(groups)))]
    dead, constant, copy, of = (int(j) for j in rng.permutation(group.width)[:4])
    for i in group.consumers:
        network.layers[i].params[0][..., group.units[i] == dead] = 0
    for i in group.producers:
        w, b = network.layers[i].params
        w[constant], w[copy], b[copy] = 0, w[of], b[of]
    for i, layer in enumerate(network.layers):
        if i + 1 in group.units and i not in group.producers:
            for a in (*layer.params, *layer.running):
                a[..., group.units[i + 1] == copy] = a[..., group.units[i + 1] == of]
    smaller, removals = remove(network)
    first, other = sorted((copy, of))
    planted = {Removal(group.number, dead, "dead"), Removal(group.number, constant, "constant"),
               Removal(group.number, other, "duplicate", first)}
    assert planted <= set(removals)
    assert {r.group for r in removals if r.reason != "constant"} == {group.number}
    same(network, smaller, examples(network, 7, seed))


def test_one_path_alone_does_not_make_a_channel_constant():
    """The channel is constant on the main path, and varies by the projection; or the other way round; or on both."""
    rng = np.random.default_rng(1)
    for spoiled in ((7,), (10,), (7, 10)):
        network = Network([*resnet(rng).layers[:14], op("global_average_pool"), dense(rng, 3, 8)])
        for i in spoiled:
            network.layers[i].params[0][2] = 0
        smaller, removals = remove(network)
        assert removals == ([Removal(3, 2, "constant")] if len(spoiled) == 2 else [])
        same(network, smaller, examples(network, 5))


def test_a_channel_that_a_depthwise_convolution_shuts_is_constant():
    """Its weights there are zero; padding or not, what it adds goes into biases."""
    network = mobilenet(np.random.default_rng(2))
    network.layers[4].params[0][..., 3] = 0
    smaller, removals = remove(network)
    assert removals == [Removal(1, 3, "constant")]
    assert [layer.op for layer in smaller.layers] == [layer.op for layer in network.layers]
    same(network, smaller, examples(network, 5))


def test_a_constant_channel_differs_at_the_border_of_a_padded_depthwise_convolution():
    """Behind the padding it is no number but a map: an offset takes it over."""
    network = mobilenet(np.random.default_rng(2))
    network.layers[1].params[0][3] = 0
    network.layers[1].params[1][3] = 2                         # alive behind its batch norm and relu
    smaller, removals = remove(network)
    assert Removal(1, 3, "constant") in removals
    assert [layer.op for layer in smaller.layers].count("offset") == 1
    same(network, smaller, examples(network, 5))
    with pytest.raises(InputError, match="depthwise_conv2d with padding, and parameters counts"):
        require_countable(Network([*network.layers[:1], *network.layers[4:5]]), "parameters", "it")


@pytest.mark.parametrize("name", MADE)
def test_folding_changes_nothing(name):
    network = MADE[name](np.random.default_rng(3))
    folded = fold(network)
    assert "batch_norm" not in {layer.op for layer in folded.layers}
    same(network, folded, examples(network, 9))


def test_a_gate_goes_into_the_depthwise_convolution_in_front_and_not_behind():
    rng = np.random.default_rng(4)
    layers = [conv(rng, 4, 3, 2), op("relu"), Layer("gate", (rng.uniform(1, 2, 4),)), depthwise(rng, 4),
              Layer("gate", (rng.uniform(1, 2, 4),)), op("relu")]
    folded = fold(Network(layers))
    assert [layer.op for layer in folded.layers] == ["conv2d", "relu", "gate", "depthwise_conv2d", "relu"]
    x = rng.standard_normal((3, 6, 6, 2))
    np.testing.assert_allclose(folded.predict(x), Network(layers).predict(x), rtol=1e-12, atol=1e-12)


def test_layers_put_in_and_taken_out_around_a_recall():
    network = resnet(np.random.default_rng(5))
    x = examples(network, 3)
    for at in range(len(network.layers) + 1):
        longer = inserted(network, at, op("dropout", rate=0.5)) if at < len(network.layers) else network
        same(network, longer, x)
        same(network, without(longer, at) if at < len(network.layers) else network, x)


@pytest.mark.parametrize(("name", "widths"), [("resnet", [1, 4, 5, 5, 4]), ("mobilenet", [1, 4, 6, 5]),
                                              ("separable front", [3, 5, 4]), ("grouped", [1, 5, 4, 6, 5])])
def test_layer_by_layer(name, widths):
    """Statistics, choice, refit and removal; the refitted student is nearer than one without a refit."""
    teacher = fold(MADE[name](np.random.default_rng(6)))
    x = examples(teacher)
    out = distil(teacher, batches_of(x), exactly(widths), inputs=False)
    groups = dependency_groups(out.student)
    assert [group.width for group in groups] == widths
    assert out.difference64 <= 1e-9
    bare = teacher
    for k, width in enumerate(widths):
        group = dependency_groups(bare)[k]
        gone = [r.neuron for r in out.removals if r.group == k]
        bare = keep(bare, group, np.setdiff1d(np.arange(group.width), gone))
        assert dependency_groups(bare)[k].width == width
    error = [float(np.square(each.predict(x) - teacher.predict(x)).sum()) for each in (out.student, bare)]
    assert error[0] < 0.6 * error[1]
    if name == "grouped":
        for p, q in zip(out.student.layers[5].params, teacher.layers[5].params, strict=True):
            np.testing.assert_array_equal(p, q)


def test_nothing_is_lost_where_all_stay():
    for name, made in MADE.items():
        teacher = fold(made(np.random.default_rng(7)))
        widths = [group.width for group in dependency_groups(teacher)]
        out = distil(teacher, batches_of(examples(teacher, 800)), exactly(widths), inputs=False, positions=64,
                     ridge=1e-12)
        x = examples(teacher, 50, seed=8)
        np.testing.assert_allclose(out.student.predict(x), teacher.predict(x), rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(("name", "target"), [
    *((name, target) for name in ("resnet", "mobilenet") for target in ("macs=50%", "macs=25%", "neurons=60%")),
    ("separable front", "macs=50%"), ("grouped", "macs=60%")])
def test_targets_are_met_by_the_true_count(name, target, tmp_path):
    teacher = MADE[name](np.random.default_rng(9)).astype(np.float32)
    x = examples(teacher, 150).astype(np.float32)
    out = npkd.compress(teacher, x, target, recipe=Recipe(epochs=1, rounds=2, round_epochs=1))
    what, _, percent = target.partition("=")
    part = float(percent[:-1]) / 100
    if what == "macs":
        assert 0.7 * part * cost.of(teacher).macs <= cost.of(out.student).macs <= part * cost.of(teacher).macs
    save(tmp_path / "student.npz", Model(out.student))
    again = load(tmp_path / "student.npz").network
    np.testing.assert_array_equal(again.predict(x), out.student.predict(x))


def test_a_target_that_cannot_be_met_beside_groups_is_refused():
    teacher = grouped(np.random.default_rng(9)).astype(np.float32)
    with pytest.raises(InputError, match="the smallest that this network can be is"):
        npkd.compress(teacher, examples(teacher, 50).astype(np.float32), "macs=5%", recipe=Recipe(epochs=0, rounds=1))


def test_a_dropout_in_front_of_a_recall_of_what_it_takes_is_left_out_with_it():
    """Both paths then read the same activation."""
    rng = np.random.default_rng(12)
    layers = [dense(rng, 6, 5), op("relu"), op("dropout", rate=0.5), op("recall", back=1), dense(rng, 6, 6),
              op("add", back=2), dense(rng, 3, 6)]
    x = rng.standard_normal((40, 5)).astype(np.float32)
    y = np.arange(40) % 3
    plain = adapt(Model(Network(layers)), from_arrays("clouds", (x, y, x, y), seed=0), "it")
    assert [layer.op for layer in plain.layers] == ["dense", "relu", "dense", "add", "dense"]
    np.testing.assert_allclose(plain.predict(x), Network(layers).predict(x), rtol=1e-4, atol=1e-5)


def test_units_of_inputs_stay_where_a_projection_or_a_depthwise_layer_reads_them():
    rng = np.random.default_rng(10)
    first = [op("unflatten", shape=[4, 4, 2]), conv(rng, 3, 3, 2, padding=1)]
    assert not adds_inputs(Network(first))
    assert adds_inputs(Network([*first, op("recall", back=1), conv(rng, 3, 1, 2), op("add", back=2)]))
    assert adds_inputs(separable_front(rng))


@pytest.mark.parametrize(("name", "part"), [("resnet", 0.4), ("mobilenet", 0.4), ("grouped", 0.6)])
def test_channels_leave_while_a_network_learns(name, part):
    dense_network = fold(MADE[name](np.random.default_rng(11))).astype(np.float32)
    x = examples(dense_network, 120).astype(np.float32)
    y = (x[:, :32].sum(axis=1) > 0).astype(int) + (x[:, 32:].sum(axis=1) > 0)
    data, there = from_arrays("clouds", (x, y, x[:40], y[:40]), seed=0), geometry(dense_network)
    whole = cost.of(dense_network).macs
    recipe = SparseRecipe({"channels": None}, Target("macs", part * whole, geometry=there), growth=1.4, settling=1,
                          epochs=1, debias_epochs=1, batch_size=8, learning_rate=0.1)
    run = Run(data, Recipe(), np.random.default_rng(0))
    result = sparse_training(run, dense_network, recipe)
    assert cost.of(result.model).macs <= part * whole
    groups, before = dependency_groups(result.model), dependency_groups(dense_network)
    assert [g.width for g in groups if g.fixed] == [g.width for g in before if g.fixed]
    assert len(groups) == len(before)
