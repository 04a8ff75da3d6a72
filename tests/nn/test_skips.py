"""Laws of recall and of the convolution of each channel for itself."""

import numpy as np
import pytest

from npkd.core.validation import InputError
from npkd.nn import cost
from npkd.nn.convolution import conv2d, depthwise_conv2d
from npkd.nn.fast.workspace import Workspace
from npkd.nn.model import Model, load, save
from npkd.nn.network import Layer, Network
from npkd.nn.skips import recall


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def conv(*shape, **options):
    return Layer("conv2d", (normal(*shape), normal(shape[0])), options)


def block(silent=False):
    """Main path, recall of the block's input, projection, addition."""
    second = conv(4, 3, 3, 5, padding=1)
    if silent:
        second = Layer("conv2d", (np.zeros((4, 3, 3, 5)), np.zeros(4)), {"padding": 1})
    return Network([conv(5, 3, 3, 3, stride=2, padding=1), Layer("relu"), second,
                    Layer("recall", options={"back": 3}), conv(4, 1, 1, 3, stride=2), Layer("add", options={"back": 2}),
                    Layer("relu"), Layer("global_average_pool")])


def test_a_silent_main_path_leaves_the_projection_alone():
    x, network = normal(6, 7, 6, 3), block(silent=True)
    alone = Network([network.layers[4], *network.layers[6:]])
    np.testing.assert_allclose(network.predict(x), alone.predict(x), rtol=1e-14)


def test_both_paths_are_added_and_both_are_felt():
    """Against the two paths computed apart, forward and backward."""
    x, network = normal(4, 6, 6, 3), block()
    main, projection = Network(network.layers[:3]), Network(network.layers[4:5])
    (one, back), (other, across) = main(x), projection(x)
    activations, backward = network(x)
    np.testing.assert_allclose(activations[6], one[-1] + other[-1], rtol=1e-14)
    d = normal(*activations[6].shape, seed=1)
    dx, gradients = backward({6: d})
    np.testing.assert_allclose(dx, back({3: d})[0] + across({1: d})[0], rtol=1e-12, atol=1e-13)
    for found, expected in zip([*gradients[0], *gradients[4]], [*back({3: d})[1][0], *across({1: d})[1][0]],
                               strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_what_is_not_added_is_not_felt():
    """dx of the path that the chain left is exactly zero, of its own shape."""
    x, skip = normal(2, 3, 3, 5), normal(2, 6, 4)
    y, backward = recall(x, skip)
    assert y.shape == skip.shape
    assert not np.shares_memory(y, skip)
    dx, dskip = backward(y + 1)
    assert dx.shape == x.shape
    assert not dx.any()
    np.testing.assert_array_equal(dskip, skip + 1)


def depthwise_network():
    return Network([conv(6, 3, 3, 2, padding=1), Layer("relu"),
                    Layer("depthwise_conv2d", (normal(3, 2, 6), normal(6)), {"stride": 2, "padding": (1, 0)}),
                    Layer("relu"), conv(4, 1, 1, 6), Layer("global_average_pool")])


@pytest.mark.parametrize("made", [block, depthwise_network])
def test_buffers_compute_what_the_plain_form_does(made):
    network = made()
    x = normal(9, 8, 7, network.layers[0].params[0].shape[-1])
    activations, backward = network(x)
    d = normal(*activations[-1].shape)
    space = Workspace(network, len(x))
    np.testing.assert_allclose(space.forward(x)[-1], activations[-1], rtol=1e-12, atol=1e-12)
    space.backward({len(network.layers): d})
    gradients = backward({len(network.layers): d})[1]
    for found, expected in zip(space.views(space.gradient), gradients, strict=True):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("options", [{}, {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 2)}], ids=str)
def test_depthwise_is_conv2d_in_as_many_groups_as_channels(options):
    x, w, b = normal(3, 7, 6, 5), normal(3, 2, 5), normal(5)
    (y, back), (z, across) = depthwise_conv2d(x, w, b, **options), conv2d(
        x, w.transpose(2, 0, 1)[..., None], b, groups=5, **options)
    np.testing.assert_allclose(y, z, rtol=1e-12, atol=1e-13)
    d = normal(*y.shape, seed=2)
    (dx, dw, db), (ex, ew, eb) = back(d), across(d)
    for found, expected in ((dx, ex), (dw, ew[..., 0].transpose(1, 2, 0)), (db, eb)):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_both_cost_the_same():
    """P·Q = 4·3 places, 3·2 weights at each, 5 channels."""
    layer = Layer("depthwise_conv2d", (np.zeros((3, 2, 5)), np.zeros(5)), {"stride": 2, "padding": (1, 0)})
    same = Layer("conv2d", (np.zeros((5, 3, 2, 1)), np.zeros(5)), {**layer.options, "groups": 5})
    found, counted = (cost.of(Network([each]), (7, 6, 5)) for each in (layer, same))
    assert found == counted
    assert (found.macs, found.parameters) == (12 * 6 * 5, 35)


def test_both_are_stored_and_bad_files_refused(tmp_path):
    network = Network([Layer("unflatten", options={"shape": [8, 8, 2]}), *depthwise_network().layers])
    shortcut = Network([Layer("unflatten", options={"shape": [8, 8, 3]}), *block().layers])
    for each in (network, shortcut):
        each = each.astype(np.float32)
        save(tmp_path / "it.npz", Model(each))
        again = load(tmp_path / "it.npz").network
        x = normal(2, cost.input_shape(each)[0]).astype(np.float32)
        np.testing.assert_array_equal(each.predict(x), again.predict(x))
    wide = Layer("depthwise_conv2d", (np.zeros((300, 1, 2), np.float32), np.zeros(2, np.float32)), {"padding": 200})
    save(tmp_path / "wide.npz", Model(Network([network.layers[0], wide])))
    with pytest.raises(InputError, match="at most 256 wide"):
        load(tmp_path / "wide.npz")


def test_maps_of_other_channels_than_a_depthwise_layer_reads_are_refused():
    first = Layer("depthwise_conv2d", (np.zeros((3, 3, 2)), np.zeros(2)))
    model = Model(Network([first, Layer("global_average_pool")]))
    assert model.logits(normal(2, 5, 5, 2)).shape == (2, 2)
    with pytest.raises(InputError, match=r"reads maps \(height, width, 2\)"):
        model.logits(normal(2, 5, 5, 3))


def test_a_recall_of_what_is_not_there():
    with pytest.raises(InputError, match="layer 1 reads what is 2 before its input"):
        Network([Layer("relu"), Layer("recall", options={"back": 2})])
