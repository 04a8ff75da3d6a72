"""Layer-by-layer distillation of convolutional and residual networks: rows are patches, sensitivities are slopes; what
comes of them."""

from dataclasses import replace

import numpy as np
import pytest

from npkd.core.validation import InputError
from npkd.nn import cost
from npkd.nn.architectures import conv_layer, lenet5
from npkd.nn.network import Layer, Network, dense_layer
from npkd.sparsity import collect, layerwise, refitting
from npkd.sparsity.collect import collect_statistics, columns_of, matrix, rows, sensitivities
from npkd.sparsity.elimination import Reader, eliminate
from npkd.sparsity.layerwise import distil, exactly, within
from npkd.sparsity.statistics import Statistics
from npkd.surgery.dependency import dependency_groups
from npkd.surgery.removal import difference
from npkd.surgery.widths import geometry
from reference.definitions.nn import convolution as defined

RNG = np.random.default_rng(0)


def small(seed=0, dtype=np.float64):
    """Two convolutions, padded and strided, with pooling, behind them two dense layers."""
    rng = np.random.default_rng(seed)
    return shaken(Network([
        Layer("unflatten", options={"shape": [8, 8, 1]}), conv_layer(1, 5, 3, rng, dtype, padding=1), Layer("relu"),
        Layer("max_pool", options={"size": 2}), conv_layer(5, 6, 3, rng, dtype, stride=1), Layer("relu"),
        Layer("flatten"), dense_layer(24, 9, rng, dtype), Layer("relu"), dense_layer(9, 3, rng, dtype)]), rng)


def residual(seed=0, dtype=np.float64):
    """x + f(x) between a convolution and a global pooling: the channels of both paths are tied."""
    rng = np.random.default_rng(seed)
    return shaken(Network([
        Layer("unflatten", options={"shape": [6, 6, 1]}), conv_layer(1, 7, 3, rng, dtype, padding=1), Layer("relu"),
        conv_layer(7, 6, 3, rng, dtype, padding=1), Layer("relu"), conv_layer(6, 7, 3, rng, dtype, padding=1),
        Layer("add", options={"back": 3}), Layer("relu"), Layer("global_average_pool"), dense_layer(7, 4, rng, dtype)]),
        rng)


def shaken(network, rng):
    """The network with biases that are not zero."""
    return Network([replace(layer,
                            params=(layer.params[0], layer.params[1] + 0.3 * rng.standard_normal(len(layer.params[1]))))
                    if layer.params else layer for layer in network.layers])


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), ((1, 2), (2, 0), (2, 1))])
def test_a_convolution_is_a_dense_layer_of_its_patches(stride, padding, dilation):
    """Every row times the weights is the output beside it, by the loop definition; all positions, or distinct ones of
    the same example."""
    x, w, b = RNG.standard_normal((4, 7, 6, 2)), RNG.standard_normal((3, 3, 2, 2)), RNG.standard_normal(3)
    layer = Layer("conv2d", (w, b), {"stride": stride, "padding": padding, "dilation": dilation})
    z = defined.conv2d(x, w, b, stride, padding, dilation, 1)
    h, out = rows(layer, x, z, np.random.default_rng(1), 1000)
    assert len(h) == z.size // 3
    np.testing.assert_allclose(h @ matrix(layer).T + b, out, atol=1e-12)
    np.testing.assert_array_equal(out, z.reshape(-1, 3))
    h, out = rows(layer, x, z, np.random.default_rng(1), 3)
    np.testing.assert_allclose(h @ matrix(layer).T + b, out, atol=1e-12)
    for n in range(4):
        among = z[n].reshape(-1, 3).tolist()
        drawn = [among.index(o) for o in out[3 * n:3 * n + 3].tolist()]
        assert len(set(drawn)) == 3


@pytest.mark.parametrize("made", [small, residual])
def test_sensitivities_are_slopes_of_the_logits(made):
    """(W14) by centred differences: a bias moves an output at all positions, so single positions are moved by an offset
    behind the layer."""
    network = made()
    x = RNG.standard_normal((3, int(np.prod(network.layers[0].options["shape"]))))
    layers, step = network.weight_layers, 1e-6
    found = sensitivities(network, x, layers)
    activations, _ = network(x)
    for i, s in zip(layers, found, strict=True):
        shape, total = activations[i + 1].shape[1:], np.zeros(len(s))
        for at in np.ndindex(shape):
            m = np.zeros(shape)
            m[at] = step
            up, down = (moved(network, i, sign * m).predict(x) for sign in (1, -1))
            total[at[-1]] += (((up - down) / (2 * step)) ** 2).sum(axis=1).mean()
        np.testing.assert_allclose(s ** 2, np.maximum(total, 1e-12 * total.max()), rtol=1e-5, atol=1e-9)


def moved(network, i, m):
    """The network with m added to what layer i gives; additions that look back over it look one further."""
    layers = [Layer("add", options={"back": layer.back + 1}) if layer.back and k - layer.back <= i < k else layer
              for k, layer in enumerate(network.layers)]
    return Network([*layers[:i + 1], Layer("offset", (m,)), *layers[i + 1:]])


@pytest.mark.parametrize("seed", range(3))
def test_elimination_of_blocks_is_greedy_by_refits(seed):
    """Two layers read the same units through blocks of columns: each loss is the one with the least rise of both refits
    together."""
    rng = np.random.default_rng(seed)
    units, systems = 5, []
    for block, targets in ((3, 2), (2, 4)):
        h = rng.standard_normal((90, units * block)) @ (np.eye(units * block) + 0.3
                                                        * rng.standard_normal((units * block,) * 2))
        systems.append((h, h @ rng.standard_normal((units * block, targets)) + 0.5 * rng.standard_normal((90, targets)),
                        np.tile(np.arange(units), block)))

    def left_over(kept):
        total = 0.0
        for h, z, unit in systems:
            inputs = np.column_stack([h[:, np.isin(unit, kept)], np.ones(len(h))])
            total += 0.5 * ((z - inputs @ np.linalg.lstsq(inputs, z, rcond=None)[0]) ** 2).sum() / len(h)
        return total

    left, expected = list(range(units)), []
    while len(left) > 1:
        losses = {u: left_over([v for v in left if v != u]) for u in left}
        u = min(losses, key=losses.get)
        expected.append(losses[u] - left_over(left))
        left.remove(u)
        kept, gone, rises = eliminate([Reader.of(Statistics.of(h, z), unit, 0.0) for h, z, unit in systems], units,
                                      len(left))
        assert kept.tolist() == left
        assert sorted([*gone, *left]) == list(range(units))
        assert gone[-1] == u
        np.testing.assert_allclose(rises, expected, rtol=1e-7)


def test_a_layer_that_reads_some_of_the_neurons_alone():
    """In any order, one column each: what is not read there does no harm there."""
    h = RNG.standard_normal((60, 3))
    z = h @ RNG.standard_normal((3, 2)) + 0.1 * RNG.standard_normal((60, 2))
    reader = Reader.of(Statistics.of(h, z), np.array([4, 0, 2]), 0.0)
    for left in ([0, 1, 2, 3, 4], [1, 2, 4], [3]):
        assert reader.saliencies(left) == pytest.approx([reader.saliency(u) for u in left])
    assert reader.saliencies([1, 3]).tolist() == [0, 0]
    kept, _, rises = eliminate([reader], 5, 3)
    assert kept.tolist() == [0, 2, 4]
    assert rises.tolist() == [0, 0]


@pytest.mark.parametrize("between", ["flatten", "global_average_pool"])
def test_channels_that_are_read_in_another_order(between):
    """One column each, but in another order: the same function loses the same channels, and the student is the same."""
    order = np.array([2, 0, 1, 5, 3, 7, 4, 6])
    w, v = RNG.standard_normal((8, 4, 4, 1)), RNG.standard_normal((3, 8)) * [5, 5, 0.1, 0.1, 5, 0.1, 0.1, 5]
    front = [Layer("unflatten", options={"shape": [4, 4, 1]}), Layer("conv2d", (w, RNG.standard_normal(8))),
             Layer("relu"), Layer(between)]
    x = RNG.standard_normal((300, 16))
    one, other = (distil(Network([*front, *behind]), lambda: [x], exactly([1, 4])) for behind in (
        [Layer("dense", (v, np.zeros(3)))],
        [Layer("select", options={"kept": order.tolist()}), Layer("dense", (v[:, order].copy(), np.zeros(3)))]))
    # those that matter least
    assert {r.neuron for r in one.removals} == {r.neuron for r in other.removals} == {2, 3, 5, 6}
    np.testing.assert_allclose(other.student.predict(x), one.student.predict(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("made", "widths"), [(small, [1, 3, 4, 5]), (residual, [1, 5, 4])])
def test_channels_are_removed_as_asked_and_the_refit_is_worth_it(made, widths):
    teacher = made(1)
    x = RNG.standard_normal((300, int(np.prod(teacher.layers[0].options["shape"]))))
    out = distil(teacher, lambda: [x[:200], x[200:]], exactly(widths), inputs=False)
    groups = dependency_groups(out.student)
    assert [group.width for group in groups] == widths
    assert [layer.kept for layer in out.layers] == widths
    assert out.difference64 <= 1e-12 * np.abs(out.student.predict(x)).max()
    assert all(0 <= layer.relative_error < 1 for layer in out.layers)
    cut = {(r.group, r.neuron) for r in out.removals}
    blind = teacher                                                            # the same choice, the old weights
    for k, group in enumerate(dependency_groups(teacher)):
        for i in group.consumers:
            w, b = blind.layers[i].params
            alive = np.array([(k, u) not in cut for u in group.units[i]])
            blind = blind.replace({i: replace(blind.layers[i], params=(w * alive, b))})
    apart = [float(((network.predict(x) - teacher.predict(x)) ** 2).sum()) for network in (out.student, blind)]
    assert apart[0] < apart[1]


def test_a_budget_of_multiply_accumulates_is_kept_by_lenet5():
    rng = np.random.default_rng(0)
    teacher = lenet5(rng, channels=(6, 8), hidden=20, shape=(20, 20, 1), classes=4)
    assert teacher.widths == [1, 6, 8, 20, 4]
    there = geometry(teacher)
    assert cost.of_widths(teacher.widths, geometry=there).macs == cost.of(teacher).macs
    assert cost.of_widths(teacher.widths, geometry=there).parameters == cost.of(teacher).parameters
    x = rng.standard_normal((100, 400)).astype(np.float32)
    budget = cost.of(teacher).macs / 4
    out = distil(teacher, lambda: [x], within(lambda w: float(cost.of_widths([*w, 4], geometry=there).macs), budget),
                 inputs=False)
    assert cost.of(out.student).macs <= budget
    assert out.student.widths[0] == 1
    assert [layer.duality_gap is None for layer in out.layers] == [True, True, True, False]


def test_one_pass_over_a_network_of_maps_adds_up():
    network = small()
    x = RNG.standard_normal((40, 64))
    (whole,), parts = collect_statistics(network, network, lambda: [x], [1],
                                         64), collect_statistics(network, network, lambda: [x[:13], x[13:]],
                                                                             [1], 64)
    np.testing.assert_allclose(parts[0].A, whole.A, rtol=1e-12, atol=1e-9)
    assert whole.count == 40 * 64
    assert columns_of(network.layers[4], np.arange(5)).tolist() == list(range(5)) * 9
    assert difference(network, network, x) == 0


def test_all_positions_are_those_of_the_definition():
    """The refit of the second convolution on every patch is least squares on every patch."""
    rng = np.random.default_rng(3)
    teacher = Network([Layer("unflatten", options={"shape": [7, 7, 1]}), conv_layer(1, 5, 3, rng, np.float64),
                       Layer("relu"),
                       conv_layer(5, 4, 2, rng, np.float64), Layer("relu"), Layer("global_average_pool"),
                       dense_layer(4, 3, rng, np.float64)])
    x = rng.standard_normal((30, 49))
    out = distil(teacher, lambda: [x], exactly([1, 3, 4]), inputs=False, ridge=0.0, positions=10 ** 6)
    h, target = out.student(x)[0][3], teacher(x)[0][4]
    patches = np.stack([h[:, p:p + 2, q:q + 2].reshape(30, -1) for p in range(4) for q in range(4)],
                       axis=1).reshape(480, -1)
    solution = np.linalg.lstsq(np.column_stack([patches, np.ones(480)]), target.reshape(480, 4), rcond=None)[0]
    w, b = out.student.layers[3].params
    np.testing.assert_allclose(np.column_stack([w.reshape(4, -1), b]), solution.T, rtol=1e-6, atol=1e-8)
    sampled = distil(teacher, lambda: [x], exactly([1, 3, 4]), inputs=False, ridge=0.0).student.layers[3].params[0]
    assert not np.allclose(sampled, w, rtol=1e-3), "eight of sixteen positions say something else"


@pytest.mark.parametrize("positions", [0, -1, 2.5, True])
def test_positions_are_a_whole_number_above_zero(positions):
    with pytest.raises(InputError, match="positions is"):
        distil(small(), lambda: [RNG.standard_normal((40, 64))], exactly([1, 4, 4, 4]), positions=positions)


def test_the_choice_sees_as_many_positions_too(monkeypatch):
    asked = []
    right = collect.collect_statistics

    def gathered(student, teacher, batches, layers, positions):
        asked.append(positions)
        return right(student, teacher, batches, layers, positions)

    for module in (layerwise, refitting):
        monkeypatch.setattr(module, "collect_statistics", gathered)
    distil(small(), lambda: [RNG.standard_normal((40, 64))], exactly([1, 4, 4, 4]), inputs=False, positions=3)
    assert asked == [3] * 4                           # all layers at once, then each that is fitted again but the first


def test_a_network_that_gives_maps_is_refused():
    network = Network(small().layers[:5])
    with pytest.raises(InputError, match=r"the network gives \(40, 2, 2, 6\); it must end in logits"):
        distil(network, lambda: [RNG.standard_normal((40, 64))], exactly([1, 4]))


@pytest.mark.parametrize("classes", [3, 40])
def test_sensitivities_of_many_classes_have_a_closed_form(classes):
    """Two layers: s_o² is how often relu o is on, times the squares of the weights behind it; more classes than neurons
    take no more backward passes than neurons. The last layer's own is 1."""
    rng = np.random.default_rng(classes)
    network = Network([dense_layer(5, 8, rng, np.float64), Layer("relu"), dense_layer(8, classes, rng, np.float64)])
    x = rng.standard_normal((300, 5))
    first, last = sensitivities(network, x, [0, 2])
    on = (x @ network.layers[0].params[0].T + network.layers[0].params[1] > 0).mean(axis=0)
    np.testing.assert_allclose(first, np.sqrt(on * (network.layers[2].params[0] ** 2).sum(axis=0)), rtol=1e-12)
    assert last.tolist() == [1.0] * classes


def test_sensitivities_cost_at_most_as_many_passes_as_the_last_layer_reads(monkeypatch):
    """Ten thousand classes behind four neurons: four backward passes through the first layer."""
    rng, passes, right = np.random.default_rng(0), [], Layer.forward

    def forward(self, x, *rest):
        y, backward = right(self, x, *rest)
        return y, lambda d: (passes.append(self.op), backward(d))[1]

    monkeypatch.setattr(Layer, "forward", forward)
    network = Network([dense_layer(3, 4, rng), Layer("tanh"), dense_layer(4, 10_000, rng)])
    sensitivities(network, rng.standard_normal((20, 3)).astype(np.float32), [0])
    assert passes.count("tanh") == 4
    assert passes.count("dense") <= 4


def test_many_classes_that_do_not_end_in_a_dense_layer_are_probed():
    """An offset behind the last layer changes no slope: random signs give the exact s but for their spread."""
    rng = np.random.default_rng(1)
    layers = [dense_layer(6, 7, rng, np.float64), Layer("tanh"), dense_layer(7, 2000, rng, np.float64)]
    x, exact = rng.standard_normal((50, 6)), Network(layers)
    probed = Network([*layers, Layer("offset", (np.zeros(2000),))])
    for s, t in zip(sensitivities(probed, x, [0, 2]), sensitivities(exact, x, [0, 2]), strict=True):
        np.testing.assert_allclose(s, t, rtol=0.3)
    few = Network([layers[0], Layer("tanh"), dense_layer(7, 20, rng, np.float64), Layer("offset", (np.zeros(20),))])
    for s, t in zip(sensitivities(few, x, [0, 2]), sensitivities(Network(few.layers[:3]), x, [0, 2]), strict=True):
        np.testing.assert_allclose(s, t, rtol=1e-12)
