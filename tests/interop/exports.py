"""Networks that hold every op, and networks of whole numbers, for the tests of what is exported."""

import numpy as np

from npkd.compression.dyadic import QUARTERS, frobenius_scale, nearest
from npkd.compression.quantization import levels, quantized
from npkd.nn.architectures import lenet5
from npkd.nn.model import Model
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.nn.scaling import Scaling


def powers(w):
    """The rounding to {0, ±1/4, ±1/2, ±1} times a power of two."""
    scale = 2.0 ** round(np.log2(frobenius_scale(w, QUARTERS)))
    return lambda v: nearest(v, QUARTERS, scale)


def conv(rng, *shape, **options):
    return Layer("conv2d", (0.3 * rng.standard_normal(shape, np.float32), rng.standard_normal(shape[0], np.float32)),
                 options)


def of_rows(rng):
    """Behind a scaling: every op that reads rows."""
    def vector(n=8):
        return rng.standard_normal(n, np.float32)

    layers = [Layer("select", options={"kept": [11, 2, 3, 5, 7, 0]}), dense_layer(6, 8, rng), Layer("tanh"),
              dense_layer(8, 8, rng), Layer("sigmoid"), Layer("gate", (vector(),)),
              Layer("dropout", options={"rate": 0.5}),
              Layer("leaky_relu", options={"slope": 0.3}), Layer("add", options={"back": 5}),
              dense_layer(8, 8, rng), Layer("elu", options={"alpha": 0.7}), Layer("offset", (vector(),)),
              Layer("batch_norm", (vector(), vector()), {"eps": 1e-3}, (vector(), vector() ** 2)),
              Layer("recall", options={"back": 4}), dense_layer(8, 8, rng), Layer("gelu"), dense_layer(8, 8, rng),
              Layer("silu"), dense_layer(8, 8, rng), Layer("clipped_linear", options={"shift": -1}),
              dense_layer(8, 8, rng), Layer("clipped_quadratic", options={"shift": 0}), dense_layer(8, 8, rng),
              Layer("maxout", options={"pieces": 2}), Layer("select", options={"kept": [3, 0, 1]}),
              Layer("quantize", options={"step": 0.01, "zero": 100}), dense_layer(3, 4, rng)]
    scaling = Scaling(rng.standard_normal(12), rng.uniform(0.5, 2, 12).astype(np.float32))
    return Model(Network(layers), scaling), rng.standard_normal((300, 12), np.float32)


def of_maps(rng):
    """Every op that reads maps; strides, paddings and dilations that differ in both directions; a residual path."""
    layers = [Layer("unflatten", options={"shape": [9, 8, 2]}),
              conv(rng, 4, 3, 2, 2, stride=[1, 2], padding=[1, 0], dilation=[2, 1]), Layer("relu"),
              Layer("max_pool", options={"size": [2, 3], "stride": 1, "padding": [1, 1]}),
              conv(rng, 6, 3, 3, 2, padding=1, groups=2), Layer("gate", (rng.standard_normal(6, np.float32),)),
              Layer("relu"), Layer("depthwise_conv2d", (rng.standard_normal((3, 3, 6), np.float32),
                                                        rng.standard_normal(6, np.float32)), {"padding": 1}),
              Layer("add", options={"back": 2}), Layer("average_pool", options={"size": 2, "padding": 1}),
              conv(rng, 6, 2, 2, 6, padding=1), Layer("global_average_pool"), dense_layer(6, 3, rng)]
    return Model(Network(layers)), rng.standard_normal((200, 9, 8, 2), np.float32)


def whole(rng, word, maps):
    """A network of whole numbers, and raw examples for it: of rows with selected inputs and a scaling, or of maps."""
    network = lenet5(rng, channels=(4, 6), hidden=12, shape=(16, 16, 1), classes=5) if maps else perceptron(
        [12, 30, 20, 5], rng)
    x = rng.random((400, 256 if maps else 12), np.float32)
    student = quantized(network, x, powers if word == "shifts" else levels, input_bits=1 if word == "shifts" else 10)
    if maps:
        return Model(student.astype(np.float32)), x
    kept = {"kept": [*range(3, 15)]}
    scaling = Scaling.range(0, 255, 20)
    return (Model(Network([Layer("select", options=kept), *student.astype(np.float32).layers]), scaling),
            rng.integers(0, 256, (400, 20)).astype(np.uint8))


def of_numbers(rng, outputs=2):
    """A network that predicts numbers, and raw examples for it."""
    return (Model(perceptron([12, 9, outputs], rng), Scaling.range(0, 255, 12), {"task": "regression"}),
            rng.integers(0, 256, (60, 12)).astype(np.uint8))
