"""Every public op, loss and penalty of npkd, with arguments, kinks and wrong arguments: for the tests and for ``npkd
check``.

A case is complete when its arguments are small, of order one, away from kinks, and when its gradients would change if
they were transposed. What must be refused stands beside it, with words that the error has to contain.
"""

from __future__ import annotations

import numpy as np

from npkd.nn.activations import elu, gelu, leaky_relu, maxout, relu, sigmoid, silu, tanh
from npkd.nn.clipped import clipped_linear, clipped_quadratic
from npkd.nn.convolution import conv2d, depthwise_conv2d, im2col
from npkd.nn.layers import dense, dropout, flatten, gate, offset, select, unflatten
from npkd.nn.losses import cross_entropy, squared_error
from npkd.nn.normalisation import batch_norm
from npkd.nn.pooling import average_pool, global_average_pool, max_pool
from npkd.nn.quantize import quantize
from npkd.nn.skips import add, recall
from npkd.sparsity.nonconvex import L0, ConcaveGroups, NonNegativeL1, TopK
from npkd.sparsity.nuclear import Nuclear
from npkd.sparsity.outgoing import Support
from npkd.sparsity.penalties import L1, MaxNorm, NeuronGroups, SparseGroups
from npkd.sparsity.pseudo_norm import L1L2
from reference.check import Wrong
from tests.cases import Case, apart, normal, off_zero, positive, probabilities
from tests.distillation import cases_features, cases_relations, cases_response, cases_schemes, cases_trained

X, WHOLE = normal(4, 3), np.ones((4, 3), np.int64)

OPS = [
    Case("dense", dense, (normal(4, 3), normal(2, 3), normal(2)), linear=True, wrong=(
        Wrong((X, normal(2, 4), normal(2)), ("dense", "(4, 3)", "(2, 4)", "must be (N, I)")),
        Wrong((X[0], normal(2, 3), normal(2)), ("dense", "(3,)", "(N, I)")),
        Wrong((X, normal(3), normal(2)), ("dense", "(3,)", "(O, I)")),
        Wrong((X, normal(2, 3), normal(3)), ("dense", "b has shape (3,)", "(2,)")),
        Wrong((X, normal(2, 3), normal(2, 1)), ("dense", "b has shape (2, 1)", "(2,)")),
        Wrong((WHOLE, normal(2, 3), normal(2)), ("dense", "x is int64", "floating-point")),
        Wrong((X, np.ones((2, 3), int), normal(2)), ("dense", "w is int64", "floating-point")),
        Wrong((X.tolist(), normal(2, 3), normal(2)), ("dense", "x is list", "floating-point")),
    )),
    Case("dense, square", dense, (normal(3, 3), normal(3, 3), normal(3)), linear=True),
    Case("dense, one example, one neuron", dense, (normal(1, 2), normal(1, 2), normal(1)), linear=True),
    Case("gate", gate, (normal(4, 3), off_zero(3)), linear=True, wrong=(
        Wrong((X, normal(4)), ("gate", "(4, 3)", "(4,)", "g (J,)")),
        Wrong((X, normal(1)), ("gate", "(4, 3)", "(1,)", "g (J,)")),
        Wrong((X[0], normal(3)), ("gate", "(3,)", "(N, ..., J)")),
        Wrong((normal(2, 3, 3, 2), normal(3)), ("gate", "(2, 3, 3, 2)", "(3,)", "g (J,)")),
        Wrong((WHOLE, normal(3)), ("gate", "x is int64", "floating-point")),
    )),
    Case("gate, square", gate, (normal(3, 3), off_zero(3)), linear=True),
    Case("gate, channels", gate, (normal(2, 3, 2, 2), off_zero(2)), linear=True),
    Case("select", select, (normal(4, 5),), {"kept": (3, 0, 4)}, linear=True, wrong=(
        Wrong((X,), ("select", "(4, 3)", "0 … I − 1"), {"kept": (0, 3)}),
        Wrong((X,), ("select", "(4, 3)", "0 … I − 1"), {"kept": (-1, 1)}),
        Wrong((X,), ("select", "0 entries"), {"kept": ()}),
        Wrong((X,), ("select", "twice"), {"kept": (1, 2, 1)}),
        Wrong((X,), ("select", "kept"), {"kept": (0.7, 1.2)}),
        Wrong((X[0],), ("select", "(3,)", "(N, I)"), {"kept": (0,)}),
        Wrong((WHOLE,), ("select", "x is int64", "floating-point"), {"kept": (0,)}),
    )),
    Case("select, square", select, (normal(3, 3),), {"kept": [2, 0]}, linear=True),
    Case("dropout", dropout, (normal(4, 4),), {"rate": 0.4, "rng": np.random.default_rng(5)}, linear=True, wrong=(
        Wrong((X,), ("dropout", "rate is 1.0", "below 1"), {"rate": 1.0, "rng": None}),
        Wrong((X,), ("dropout", "rate is -0.1", "at least 0"), {"rate": -0.1, "rng": None}),
        Wrong((X,), ("dropout", "rate is nan"), {"rate": float("nan"), "rng": None}),
        Wrong((WHOLE,), ("dropout", "x is int64", "floating-point"), {"rate": 0.5, "rng": None}),
    )),
    Case("dropout, image", dropout, (normal(2, 3, 2),), {"rate": 0.5, "rng": np.random.default_rng(6)}, linear=True),
    Case("dropout, predicting", dropout, (normal(3, 2),), {"rate": 0.4, "rng": None}, linear=True),
    Case("flatten", flatten, (normal(2, 3, 2),), linear=True, wrong=(
        Wrong((X[0],), ("flatten", "(3,)", "(N, ...)")),
        Wrong((WHOLE,), ("flatten", "x is int64", "floating-point")),
    )),
    Case("flatten, square", flatten, (normal(3, 3),), linear=True),
    Case("unflatten", unflatten, (normal(2, 12),), {"shape": [3, 2, 2]}, linear=True, wrong=(
        Wrong((X,), ("unflatten", "(4, 3)", "[2, 2]", "product"), {"shape": [2, 2]}),
        Wrong((X,), ("unflatten", "(4, 3)", "[3, 0]", "positive"), {"shape": [3, 0]}),
        Wrong((X,), ("unflatten", "(4, 3)", "[-3, -1]", "positive"), {"shape": [-3, -1]}),
        Wrong((X,), ("unflatten", "(4, 3)", "[1.5, 2]", "whole"), {"shape": [1.5, 2]}),
        Wrong((X,), ("unflatten", "(4, 3)", "()", "whole"), {"shape": ()}),
        Wrong((X,), ("unflatten", "(4, 3)", "shape is 3", "whole"), {"shape": 3}),
        Wrong((X[0],), ("unflatten", "(3,)", "(N, I)"), {"shape": [3]}),
        Wrong((WHOLE,), ("unflatten", "x is int64", "floating-point"), {"shape": [3, 1]}),
    )),
    Case("unflatten, square", unflatten, (normal(3, 3),), {"shape": (3,)}, linear=True),
    Case("add", add, (normal(2, 3, 2, 2), normal(2, 3, 2, 2)), linear=True, wrong=(
        Wrong((X, normal(4, 2)), ("add", "(4, 3)", "(4, 2)", "agree")),
        Wrong((X, normal(1, 3)), ("add", "(4, 3)", "(1, 3)", "agree")),
        Wrong((X, X[0]), ("add", "(4, 3)", "(3,)", "agree")),
        Wrong((X, WHOLE), ("add", "skip is int64", "floating-point")),
    )),
    Case("add, square", add, (normal(3, 3), normal(3, 3)), linear=True),
    Case("recall", recall, (normal(2, 3, 2, 2), normal(2, 2, 3)), linear=True, unread=("x",), wrong=(
        Wrong((X, WHOLE), ("recall", "skip is int64", "floating-point")),
    )),
    Case("recall, square", recall, (normal(3, 3), normal(3, 3)), linear=True, unread=("x",)),
    Case("offset", offset, (normal(3, 2, 3, 2), normal(2, 3, 2)), linear=True, wrong=(
        Wrong((X, normal(4)), ("offset", "(4, 3)", "(4,)", "one example")),
        Wrong((X, normal(1)), ("offset", "(4, 3)", "(1,)", "one example")),
        Wrong((X, X), ("offset", "m has shape (4, 3)", "one example")),
        Wrong((np.array(1.0), np.array(1.0)), ("offset", "()", "one example")),
        Wrong((X, np.ones(3, int)), ("offset", "m is int64", "floating-point")),
    )),
    Case("offset, square", offset, (normal(3, 3), normal(3)), linear=True),
    Case("relu", relu, (off_zero(4, 4),), kinks=((np.array([[0.0, 1.0], [-1.0, 0.0]]),), (np.array([-0.0, 2.0]),)),
         wrong=(Wrong((WHOLE,), ("relu", "x is int64", "floating-point")),)),
    Case("tanh", tanh, (normal(4, 4),), wrong=(Wrong((WHOLE,), ("tanh", "x is int64", "floating-point")),)),
    Case("sigmoid", sigmoid, (3 * normal(4, 4),),
         wrong=(Wrong((WHOLE,), ("sigmoid", "x is int64", "floating-point")),)),
    Case("leaky_relu", leaky_relu, (off_zero(4, 4),), kinks=((np.array([[0.0, 1.0], [-1.0, -0.0]]),),), wrong=(
        Wrong((WHOLE,), ("leaky_relu", "x is int64", "floating-point")),
        Wrong((X,), ("leaky_relu", "slope is nan", "finite number"), {"slope": float("nan")}),
        Wrong((X,), ("leaky_relu", "slope is '0.1'", "finite number"), {"slope": "0.1"}),
    )),
    Case("leaky_relu, negative slope", leaky_relu, (off_zero(3, 3),), {"slope": -1.5}),
    Case("elu", elu, (off_zero(4, 4),), wrong=(
        Wrong((WHOLE,), ("elu", "x is int64", "floating-point")),
        Wrong((X,), ("elu", "alpha is inf", "finite number"), {"alpha": float("inf")}),
    )),
    Case("elu, alpha", elu, (off_zero(3, 3),), {"alpha": 0.3}, kinks=((np.array([[0.0, 1.0], [-1.0, -0.0]]),),)),
    Case("gelu", gelu, (normal(4, 4),), wrong=(Wrong((WHOLE,), ("gelu", "x is int64", "floating-point")),)),
    Case("silu", silu, (2 * normal(4, 4),), wrong=(Wrong((WHOLE,), ("silu", "x is int64", "floating-point")),)),
    *(Case(f"{op.__name__}, 2^{shift}", op, (2 ** shift * np.array([[-1.3, -0.7, -0.2], [0.1, 0.5, 2.0]]),),
           {"shift": shift}, kinks=((2 ** shift * np.array([-1.0, 0.0, 1.0]),),), wrong=(
        Wrong((WHOLE,), (op.__name__, "x is int64", "floating-point")),
        Wrong((X,), (op.__name__, "shift is 0.5", "whole"), {"shift": 0.5}),
        Wrong((X,), (op.__name__, "shift is 9", "at most 8"), {"shift": 9}),
    )) for op in (clipped_linear, clipped_quadratic) for shift in (-1, 0, 1, 2)),
    Case("maxout", maxout, (apart(4, 4),), {"pieces": 2}, kinks=((np.array([[1.0, 1, 0, 2]]),), (np.zeros((2, 4)),)),
         wrong=(
        Wrong((X,), ("maxout", "(4, 3)", "pieces is 2", "(N, J·pieces)"), {"pieces": 2}),
        Wrong((X,), ("maxout", "pieces is 0"), {"pieces": 0}),
        Wrong((X[0],), ("maxout", "(3,)", "(N, J·pieces)"), {"pieces": 3}),
        Wrong((WHOLE,), ("maxout", "x is int64", "floating-point"), {"pieces": 3}),
    )),
    Case("maxout, three pieces", maxout, (apart(3, 6),), {"pieces": 3},
         kinks=((np.array([[1.0, 0.0, 1.0, 2.0, 2.0, 2.0]]),),)),
    Case("quantize", quantize, (np.array([[0.5, -0.25, 0.0], [1.0, -1.6, 0.75], [2.1, 0.25, -2.0]]),),
         {"step": 0.25, "zero": 3, "low": -1, "high": 8}, wrong=(
        Wrong((WHOLE,), ("quantize", "x is int64", "floating-point"), {"step": 0.5}),
        Wrong((X,), ("quantize", "step is 0", "positive"), {"step": 0.0}),
        Wrong((X,), ("quantize", "step is nan", "positive"), {"step": float("nan")}),
        Wrong((X,), ("quantize", "zero is 256", "at most 255"), {"step": 0.5, "zero": 256}),
        Wrong((X,), ("quantize", "zero is -1", "at least 0"), {"step": 0.5, "zero": -1}),
        Wrong((X,), ("quantize", "zero is 0.5", "whole"), {"step": 0.5, "zero": 0.5}),
        Wrong((X,), ("quantize", "high is 2.5", "whole"), {"step": 0.5, "high": 2.5}),
        Wrong((X,), ("quantize", "high is 0", "at least 1"), {"step": 0.5, "high": 0}),
    ), kinks=((np.array([[-1.0, 1.25], [1.25, 0.5]]),),)),
    Case("quantize, bytes", quantize, (np.array([[3.0, 1.5], [-1.0, 0.5]]),), {"step": 0.5}, kinks=(
        (np.array([[0.0, 127.5]]),),)),
    Case("batch_norm", batch_norm, (normal(5, 3), off_zero(3), normal(3)), wrong=(
        Wrong((X, normal(4), normal(3)), ("batch_norm", "(4, 3)", "gamma (4,)", "(J,)")),
        Wrong((X, normal(3), normal(1)), ("batch_norm", "(4, 3)", "beta (1,)", "(J,)")),
        Wrong((X[0], normal(3), normal(3)), ("batch_norm", "(3,)", "(N, ..., J)")),
        Wrong((normal(2, 3, 3, 2), normal(3), normal(3)), ("batch_norm", "(2, 3, 3, 2)", "gamma (3,)", "(J,)")),
        Wrong((X[:1], normal(3), normal(3)), ("batch_norm", "(1, 3)", "at least two")),
        Wrong((X[:0], normal(3), normal(3)), ("batch_norm", "(0, 3)", "at least two")),
        Wrong((normal(1, 1, 1, 3), normal(3), normal(3)), ("batch_norm", "(1, 1, 1, 3)", "at least two")),
        Wrong((X, normal(3), normal(3)), ("batch_norm", "eps is 0", "positive"), {"eps": 0.0}),
        Wrong((X, normal(3), normal(3)), ("batch_norm", "eps is -1", "positive"), {"eps": -1.0}),
        Wrong((X, normal(3), normal(3)), ("batch_norm", "running", "(2,)"), {"running": (normal(2), positive(2))}),
        Wrong((X, normal(3), normal(3)), ("batch_norm", "running", "(1,)"), {"running": (normal(1), positive(1))}),
        Wrong((X, normal(3), normal(3)), ("batch_norm", "running variance is -0.5", "not be negative"),
              {"running": (normal(3), np.array([1.0, -0.5, 1.0]))}),
        Wrong((X, normal(3), normal(3)), ("batch_norm", "mean is list", "floating"),
              {"running": ([0.0] * 3, [1.0] * 3)}),
        Wrong((WHOLE, normal(3), normal(3)), ("batch_norm", "x is int64", "floating-point")),
    )),
    Case("batch_norm, square", batch_norm, (normal(4, 4), off_zero(4), normal(4)), {"eps": 0.1}),
    Case("batch_norm, predicting", batch_norm, (normal(4, 3), off_zero(3), normal(3)),
         {"running": (normal(3), positive(3))}, linear=True),
    Case("batch_norm, predicting one", batch_norm, (normal(1, 2), off_zero(2), normal(2)),
         {"running": (normal(2), positive(2))}, linear=True),
    Case("batch_norm, channels", batch_norm, (normal(2, 3, 2, 2), off_zero(2), normal(2))),
    Case("batch_norm, channels of one example", batch_norm, (normal(1, 3, 2, 2), off_zero(2), normal(2)), {"eps": 0.1}),
    Case("batch_norm, channels, predicting", batch_norm, (normal(2, 3, 2, 2), off_zero(2), normal(2)),
         {"running": (normal(2), positive(2))}, linear=True),
]

MAPS, W, DEEP = normal(2, 5, 4, 2), normal(3, 3, 2, 2), normal(3, 2, 2)
NO_MAPS = (
    (MAPS[0], ("(5, 4, 2)", "(N, H, W, C)")),
    (normal(2, 5, 4, 0), ("(2, 5, 4, 0)", "at least one position and channel")),
    (normal(2, 0, 4, 2), ("(2, 0, 4, 2)", "at least one position and channel")),
    (np.ones((2, 5, 4, 2), int), ("x is int64", "floating-point")),
)
"""What no op on maps may take, with words of the error."""

MAP_OPS = [
    Case("im2col", im2col, (normal(2, 5, 4, 2),), {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 0)}, linear=True,
         wrong=(
        *(Wrong((x,), ("im2col", *words), {"kernel": 2}) for x, words in NO_MAPS),
        Wrong((MAPS,), ("im2col", "6×6", "5×4", "smaller"), {"kernel": 6}),
        Wrong((MAPS,), ("im2col", "5×5", "5×4"), {"kernel": 3, "dilation": 2}),
        Wrong((MAPS,), ("im2col", "7×1", "5×6", "padding included"), {"kernel": (7, 1), "padding": (0, 1)}),
        Wrong((MAPS,), ("im2col", "kernel is 0", "at least 1"), {"kernel": 0}),
        Wrong((MAPS,), ("im2col", "kernel is (2, 2, 2)", "two of them"), {"kernel": (2, 2, 2)}),
        Wrong((MAPS,), ("im2col", "kernel is 1.5", "whole number"), {"kernel": 1.5}),
        Wrong((MAPS,), ("im2col", "kernel is True", "whole number"), {"kernel": True}),
        Wrong((MAPS,), ("im2col", "stride is 0", "at least 1"), {"kernel": 2, "stride": 0}),
        Wrong((MAPS,), ("im2col", "stride is (1, -1)", "at least 1"), {"kernel": 2, "stride": (1, -1)}),
        Wrong((MAPS,), ("im2col", "padding is -1", "at least 0"), {"kernel": 2, "padding": -1}),
        Wrong((MAPS,), ("im2col", "dilation is 0", "at least 1"), {"kernel": 2, "dilation": 0}),
    )),
    Case("im2col, dilation, stride that does not divide", im2col, (normal(1, 6, 7, 1),),
         {"kernel": 2, "stride": 3, "dilation": (3, 2)}, linear=True),
    Case("im2col, padding wider than the map", im2col, (normal(2, 1, 2, 2),), {"kernel": (2, 3), "padding": (2, 3)},
         linear=True),
    Case("conv2d", conv2d, (normal(2, 4, 3, 2), normal(3, 3, 2, 2), normal(3)), linear=True, wrong=(
        *(Wrong((x, W, normal(3)), ("conv2d", *words)) for x, words in NO_MAPS),
        Wrong((MAPS, normal(3, 2, 3, 3), normal(3)),
              ("conv2d", "(3, 2, 3, 3)", "2 channels", "must be (F, kh, kw, 2)")),
        Wrong((MAPS, normal(3, 2, 3), normal(3)), ("conv2d", "(3, 2, 3)", "(F, kh, kw, 2)")),
        Wrong((MAPS, np.array(1.0), normal(3)), ("conv2d", "shape ()", "(F, kh, kw, 2)")),
        Wrong((MAPS, normal(0, 3, 2, 2), normal(0)), ("conv2d", "(0, 3, 2, 2)", "(F, kh, kw, 2)")),
        Wrong((MAPS, normal(3, 0, 2, 2), normal(3)), ("conv2d", "kernel is (0, 2)", "at least 1")),
        Wrong((MAPS, W, normal(2)), ("conv2d", "b has shape (2,)", "(3,)")),
        Wrong((MAPS, W, normal(3, 1)), ("conv2d", "b has shape (3, 1)", "(3,)")),
        Wrong((MAPS, W, normal(3)), ("conv2d", "groups is 2", "2 channels", "makes 3", "divides both"), {"groups": 2}),
        Wrong((MAPS, normal(3, 3, 2, 1), normal(3)), ("conv2d", "groups is 3", "2 channels", "divides both"),
              {"groups": 3}),
        Wrong((MAPS, W, normal(3)), ("conv2d", "groups is 0", "whole number"), {"groups": 0}),
        Wrong((MAPS, W, normal(3)), ("conv2d", "groups is 1.0", "whole number"), {"groups": 1.0}),
        Wrong((MAPS, W, normal(3)), ("conv2d", "groups is True", "whole number"), {"groups": True}),
        Wrong((MAPS, normal(2, 3, 2, 2), normal(2)), ("conv2d", "(2, 3, 2, 2)", "groups of 1", "(F, kh, kw, 1)"),
              {"groups": 2}),
        Wrong((MAPS, normal(3, 6, 2, 2), normal(3)), ("conv2d", "6×2", "5×4", "smaller")),
        Wrong((MAPS, W, normal(3)), ("conv2d", "3×6", "5×4", "smaller"), {"dilation": (1, 5)}),
        Wrong((MAPS, W, normal(3)), ("conv2d", "stride is 1.5", "whole number"), {"stride": 1.5}),
        Wrong((MAPS, W, normal(3)), ("conv2d", "padding is (1,)", "two of them"), {"padding": (1,)}),
        Wrong((MAPS, np.ones((3, 3, 2, 2), int), normal(3)), ("conv2d", "w is int64", "floating-point")),
        Wrong((MAPS, W, np.ones(3, int)), ("conv2d", "b is int64", "floating-point")),
    )),
    Case("conv2d, stride that does not divide, padding", conv2d, (normal(2, 4, 6, 1), normal(2, 2, 3, 1), normal(2)),
         {"stride": (3, 2), "padding": (1, 2)}, linear=True),
    Case("conv2d, dilation", conv2d, (normal(1, 6, 5, 2), normal(2, 3, 2, 2), normal(2)),
         {"dilation": (2, 3), "padding": (0, 1)}, linear=True),
    Case("conv2d, groups", conv2d, (normal(2, 2, 3, 4), normal(4, 2, 2, 2), normal(4)), {"groups": 2}, linear=True),
    Case("conv2d, every channel for itself", conv2d, (normal(2, 4, 3, 3), normal(3, 3, 3, 1), normal(3)),
         {"groups": 3, "stride": 2, "padding": 1, "dilation": (1, 2)}, linear=True),
    Case("conv2d, one position", conv2d, (normal(2, 3, 2, 2), normal(2, 3, 2, 2), normal(2)), {"stride": 9},
         linear=True),
    Case("conv2d, kernel of one", conv2d, (normal(2, 2, 3, 3), normal(2, 1, 1, 3), normal(2)), linear=True),
    Case("depthwise_conv2d", depthwise_conv2d, (normal(2, 4, 5, 3), normal(2, 3, 3), normal(3)), linear=True, wrong=(
        *(Wrong((x, DEEP, normal(2)), ("depthwise_conv2d", *words)) for x, words in NO_MAPS),
        Wrong((MAPS, normal(3, 2, 3), normal(3)), ("depthwise_conv2d", "(3, 2, 3)", "2 channels", "(kh, kw, 2)")),
        Wrong((MAPS, W, normal(2)), ("depthwise_conv2d", "(kh, kw, 2)")),
        Wrong((MAPS, DEEP, normal(3)), ("depthwise_conv2d", "b (3,)", "(2,)")),
        Wrong((MAPS, normal(0, 2, 2), normal(2)), ("depthwise_conv2d", "kernel is (0, 2)", "at least 1")),
        Wrong((MAPS, normal(6, 2, 2), normal(2)), ("depthwise_conv2d", "6×2", "5×4", "smaller")),
        Wrong((MAPS, DEEP, normal(2)), ("depthwise_conv2d", "stride is 0", "at least 1"), {"stride": 0}),
        Wrong((MAPS, DEEP, normal(2)), ("depthwise_conv2d", "padding is (1,)", "two of them"), {"padding": (1,)}),
        Wrong((MAPS, np.ones((3, 2, 2), int), normal(2)), ("depthwise_conv2d", "w is int64", "floating-point")),
    )),
    Case("depthwise_conv2d, stride, padding, dilation", depthwise_conv2d,
         (normal(2, 5, 6, 2), normal(2, 2, 2), normal(2)), {"stride": (2, 3), "padding": (1, 2), "dilation": (2, 1)},
         linear=True),
    Case("max_pool", max_pool, (apart(2, 5, 4, 2),), {"size": 2}, wrong=(
        *(Wrong((x,), ("max_pool", *words), {"size": 2}) for x, words in NO_MAPS),
        Wrong((MAPS,), ("max_pool", "6×6", "5×4", "smaller"), {"size": 6}),
        Wrong((MAPS,), ("max_pool", "size is 0", "at least 1"), {"size": 0}),
        Wrong((MAPS,), ("max_pool", "size is (2,)", "two of them"), {"size": (2,)}),
        Wrong((MAPS,), ("max_pool", "stride is 0", "at least 1"), {"size": 2, "stride": 0}),
        Wrong((MAPS,), ("max_pool", "padding is -1", "at least 0"), {"size": 2, "padding": -1}),
        Wrong((MAPS,), ("max_pool", "padding is 2 and size 3", "at most half"), {"size": 3, "padding": 2}),
        Wrong((MAPS,), ("max_pool", "padding is (0, 1)", "at most half"), {"size": (2, 1), "padding": (0, 1)}),
    ), kinks=(
        (np.zeros((1, 3, 3, 2)),),
        (np.array([[[1.0, 1, 0], [1, 1, 0], [0, 2, 2]]])[..., None],),
    )),
    Case("max_pool, overlapping, padding", max_pool, (apart(2, 4, 5, 2),), {"size": 3, "stride": (2, 1), "padding": 1},
         kinks=(
        (np.full((1, 4, 4, 1), -1.0),),
        (np.array([[[1.0, 1, 2, 2], [1, 1, 2, 0], [3, 3, 0, 3], [0, 3, 3, 0]]])[..., None],),
    )),
    Case("max_pool, gaps, not square", max_pool, (apart(2, 5, 7, 1) - 20,),
         {"size": (1, 2), "stride": (2, 3), "padding": (0, 1)}),
    Case("average_pool", average_pool, (normal(2, 5, 4, 2),), {"size": 2}, linear=True, wrong=(
        *(Wrong((x,), ("average_pool", *words), {"size": 2}) for x, words in NO_MAPS),
        Wrong((MAPS,), ("average_pool", "6×6", "5×4", "smaller"), {"size": 6}),
        Wrong((MAPS,), ("average_pool", "size is -1", "at least 1"), {"size": -1}),
        Wrong((MAPS,), ("average_pool", "stride is (1, 0)", "at least 1"), {"size": 2, "stride": (1, 0)}),
        Wrong((MAPS,), ("average_pool", "padding is 2 and size 3", "at most half"), {"size": 3, "padding": 2}),
    )),
    Case("average_pool, overlapping, padding", average_pool, (normal(2, 4, 5, 2),),
         {"size": 3, "stride": (2, 1), "padding": 1}, linear=True),
    Case("average_pool, gaps, not square", average_pool, (normal(2, 5, 7, 1),),
         {"size": (1, 2), "stride": (2, 3), "padding": (0, 1)}, linear=True),
    Case("global_average_pool", global_average_pool, (normal(2, 3, 4, 2),), linear=True, wrong=tuple(
        Wrong((x,), ("global_average_pool", *words)) for x, words in NO_MAPS
    )),
    Case("global_average_pool, one position", global_average_pool, (normal(2, 1, 1, 3),), linear=True),
]

LOGITS, NONE = normal(4, 3), np.zeros((0, 3))

LOSSES = [
    Case("squared_error", squared_error, (normal(4, 3), normal(4, 3)), wrong=(
        Wrong((X, normal(4, 2)), ("squared_error", "(4, 3)", "(4, 2)", "agree")),
        Wrong((X, normal(4, 1)), ("squared_error", "(4, 3)", "(4, 1)", "agree")),
        Wrong((NONE, NONE), ("squared_error", "(0, 3)", "at least one")),
        Wrong((X, WHOLE), ("squared_error", "target is int64", "floating-point")),
    )),
    Case("squared_error, square", squared_error, (normal(3, 3), normal(3, 3))),
    Case("squared_error, image", squared_error, (normal(2, 3, 2), normal(2, 3, 2))),
    Case("cross_entropy", cross_entropy, (normal(4, 3), np.array([2, 0, 1, 1])), wrong=(
        Wrong((LOGITS, np.array([0, 1])), ("cross_entropy", "(2,)", "(4,)")),
        Wrong((LOGITS, np.array([0, 1, 2, 3])), ("cross_entropy", "classes 0 … 3", "0 … 2")),
        Wrong((LOGITS, np.array([0, 1, -1, 2])), ("cross_entropy", "classes -1 … 2", "0 … 2")),
        Wrong((LOGITS, np.array([0.0, 1.0, 2.0, 0.0])), ("cross_entropy", "target", "integer")),
        Wrong((LOGITS, [0, 1, 2, 0]), ("cross_entropy", "target is list", "integer classes")),
        Wrong((LOGITS, np.array([True, False, True, True])), ("cross_entropy", "target is bool", "integer classes")),
        Wrong((LOGITS, probabilities(4, 2)), ("cross_entropy", "(4, 2)", "(4, 3)")),
        Wrong((LOGITS[0], np.array([0, 1, 2])), ("cross_entropy", "prediction has shape (3,)", "(N, C)")),
        Wrong((NONE, np.array([], int)), ("cross_entropy", "(0, 3)", "at least one")),
        Wrong((WHOLE, np.array([0, 1, 2, 0])), ("cross_entropy", "prediction is int64", "floating-point")),
    )),
    Case("cross_entropy, probabilities", cross_entropy, (normal(3, 3), probabilities(3, 3))),
    Case("cross_entropy, unnormalised", cross_entropy, (normal(4, 3), positive(4, 3))),
]

V = normal(4, 3) * np.array([[0.05], [1.0], [2.0], [1.0]])
V[2, 1] = 0.0
STEPS = positive(2, 3)
AT_THRESHOLD = STEPS * 0.8 * np.array([[1 + 1e-4], [1 - 1e-4]]) * np.array([0.6, 0.0, -0.8])     # ‖v_j/t‖ just beside λ
SQUARE = normal(3, 3) * np.array([0.1, 1.0, 2.0])
GROUPS = np.array([[0.1, -0.2], [0.9, 0.6], [-1.5, 1.4], [0.0, -0.7]])

PENALTIES = [
    Case("L1", L1, (V,), {"lam": 0.3}, steps=(0.7, positive(4, 3)), zeros=True, wrong=(
        Wrong((), ("L1", "lam is -0.1", "not negative"), {"lam": -0.1}),
        Wrong((), ("L1", "lam is nan"), {"lam": float("nan")}),
        Wrong((), ("L1", "lam is inf"), {"lam": float("inf")}),
    )),
    Case("L1, one axis", L1, (np.array([0.05, -1.0, 2.0, 0.0, 0.7]),), {"lam": 0.4}, steps=(0.9, positive(5)),
         zeros=True),
    Case("L1, square", L1, (SQUARE,), {"lam": 0.3}, steps=(1.0, positive(3, 3)), zeros=True),
    Case("L1, λ = 0", L1, (V,), {"lam": 0.0}, steps=(0.7, positive(4, 3))),
    Case("NeuronGroups", NeuronGroups, (V,), {"lam": 0.8, "axis": 0}, steps=(0.7, positive(4, 3)), zeros=True, wrong=(
        Wrong((), ("NeuronGroups", "lam is -1", "not negative"), {"lam": -1.0}),
        Wrong((), ("NeuronGroups", "cost", "positive"), {"lam": 1.0, "cost": 0.0}),
        Wrong((), ("NeuronGroups", "cost", "positive"), {"lam": 1.0, "cost": np.array([1.0, -1.0])}),
        Wrong((V, 0.1), ("axis is 2", "0 … 1"), {"lam": 1.0, "axis": 2}),
        Wrong((V, 0.1), ("axis is -1", "0 … 1"), {"lam": 1.0, "axis": -1}),
        Wrong((V, 0.1), ("cost has shape (3,)", "4 groups"), {"lam": 1.0, "axis": 0, "cost": np.ones(3)}),
        Wrong((V, 0.1), ("channels is 2", "divide", "3 entries along axis 1"), {"lam": 1.0, "axis": 1, "channels": 2}),
        Wrong((V, 0.1), ("channels is -3", "divide"), {"lam": 1.0, "axis": 1, "channels": -3}),
        Wrong((V, 0.1), ("channels is 3.0", "whole"), {"lam": 1.0, "axis": 1, "channels": 3.0}),
        Wrong((V, 0.1), ("axis is 2", "0 … 1"), {"lam": 1.0, "axis": 2, "channels": 3}),
    )),
    Case("NeuronGroups, outgoing, costs", NeuronGroups, (SQUARE,),
         {"lam": 0.8, "axis": 1, "cost": np.array([1.0, 0.5, 2.0])}, steps=(0.7, positive(3, 3)), zeros=True),
    Case("NeuronGroups, kernels", NeuronGroups, (normal(2, 3, 2) * np.array([[[0.1], [1.0], [2.0]]]),),
         {"lam": 0.8, "axis": 1}, steps=(0.7, positive(2, 3, 2)), zeros=True),
    Case("NeuronGroups, channels of a convolution", NeuronGroups, (normal(2, 2, 2, 3) * np.array([0.1, 1.0, 2.0]),),
         {"lam": 0.8, "axis": 3}, steps=(0.7, positive(2, 2, 2, 3)), zeros=True),
    Case("NeuronGroups, channels behind flatten", NeuronGroups,
         (normal(2, 6) * np.array([0.1, 1.0, 2.0, 0.2, 1.0, 2.0]),),
         {"lam": 0.8, "axis": 1, "channels": 3, "cost": np.array([2.0, 1.0, 1.0])}, steps=(0.7, positive(2, 6)),
         zeros=True),
    Case("NeuronGroups, at the threshold", NeuronGroups, (AT_THRESHOLD,), {"lam": 0.8}, steps=(STEPS,), zeros=True),
    Case("SparseGroups", SparseGroups, (V,), {"lam": 0.5, "alpha": 0.4}, steps=(0.7, positive(4, 3)), zeros=True,
         wrong=(
        Wrong((), ("SparseGroups", "lam is -1", "not negative"), {"lam": -1.0}),
        Wrong((), ("SparseGroups", "alpha is 1.5", "between 0"), {"lam": 1.0, "alpha": 1.5}),
        Wrong((), ("SparseGroups", "alpha is -0.5", "between 0"), {"lam": 1.0, "alpha": -0.5}),
        Wrong((), ("SparseGroups", "cost", "positive"), {"lam": 1.0, "cost": 0.0}),
        Wrong((V, 0.1), ("axis is 5", "0 … 1"), {"lam": 1.0, "axis": 5}),
    )),
    Case("SparseGroups, outgoing, costs", SparseGroups, (SQUARE,),
         {"lam": 0.4, "axis": 1, "alpha": 0.7, "cost": np.array([1.0, 0.5, 3.0])}, steps=(0.7, positive(3, 3)),
         zeros=True),
    Case("SparseGroups, channels behind flatten", SparseGroups, (normal(2, 4),),
         {"lam": 0.5, "axis": 1, "alpha": 0.5, "channels": 2}, steps=(0.7, positive(2, 4)), zeros=True),
    Case("SparseGroups, weights alone", SparseGroups, (V,), {"lam": 0.5, "alpha": 1.0}, steps=(0.7, positive(4, 3)),
         zeros=True),
    Case("SparseGroups, groups alone", SparseGroups, (V,), {"lam": 0.8, "alpha": 0.0}, steps=(0.7, positive(4, 3)),
         zeros=True),
    Case("MaxNorm", MaxNorm, (V,), {"bound": 0.8, "axis": 0}, steps=(0.7, 1.0), wrong=(
        Wrong((), ("MaxNorm", "bound is 0", "positive"), {"bound": 0.0}),
        Wrong((), ("MaxNorm", "bound is -1", "positive"), {"bound": -1.0}),
        Wrong((V, np.ones((4, 3))), ("MaxNorm", "step is an array", "one number"), {"bound": 1.0}),
        Wrong((V, 0.1), ("axis is 2", "0 … 1"), {"bound": 1.0, "axis": 2}),
    )),
    Case("MaxNorm, outgoing", MaxNorm, (SQUARE,), {"bound": 1.0, "axis": 1}, steps=(0.7,)),
    Case("MaxNorm, channels behind flatten", MaxNorm, (normal(2, 4),), {"bound": 0.5, "axis": 1, "channels": 2},
         steps=(0.7,)),
    Case("Nuclear", Nuclear, (V,), {"lam": 0.8}, steps=(0.7, 1.0), wrong=(
        Wrong((), ("Nuclear", "lam is -1", "not negative"), {"lam": -1.0}),
        Wrong((), ("Nuclear", "lam is nan"), {"lam": float("nan")}),
        Wrong((V, np.ones((4, 3))), ("Nuclear", "step is an array", "one number"), {"lam": 1.0}),
        Wrong((V, -0.1), ("Nuclear", "step is between -0.1", "not negative"), {"lam": 1.0}),
        Wrong((WHOLE, 0.1), ("Nuclear", "v is int64", "floating-point"), {"lam": 1.0}),
    )),
    Case("Nuclear, wide", Nuclear, (normal(2, 4),), {"lam": 0.5}, steps=(0.7,)),
    Case("Nuclear, kernels", Nuclear, (normal(3, 2, 1, 2),), {"lam": 0.6}, steps=(0.9,)),
    Case("Support", Support, (V,), {"mask": V > 0}, steps=(0.7, 1.0), zeros=True),
    Case("NonNegativeL1", NonNegativeL1, (V,), {"lam": 0.3}, steps=(0.7, positive(4, 3)), zeros=True, wrong=(
        Wrong((), ("NonNegativeL1", "lam is -1", "not negative"), {"lam": -1.0}),
        Wrong((WHOLE, 0.1), ("NonNegativeL1", "v is int64", "floating-point"), {"lam": 1.0}),
    )),
    Case("L0", L0, (SQUARE,), {"lam": 0.5}, steps=(0.7, positive(3, 3)), zeros=True, convex=False, wrong=(
        Wrong((), ("L0", "lam is nan"), {"lam": float("nan")}),
        Wrong((SQUARE, -0.1), ("L0", "step is between -0.1"), {"lam": 1.0}),
    )),
    Case("L0, one axis", L0, (np.array([0.05, -1.0, 2.0, 0.0, 0.7]),), {"lam": 0.4}, steps=(0.9, positive(5)),
         zeros=True, convex=False),
    Case("TopK", TopK, (SQUARE,), {"count": 4}, steps=(0.7, positive(3, 3)), zeros=True, convex=False, wrong=(
        Wrong((), ("TopK", "count is -1", "at least 0"), {"count": -1}),
        Wrong((), ("TopK", "count is 2.0", "whole"), {"count": 2.0}),
    )),
    Case("TopK, one", TopK, (normal(5),), {"count": 1}, steps=(0.7, positive(5)), zeros=True, convex=False),
    Case("ConcaveGroups, MCP", ConcaveGroups, (GROUPS,), {"lam": 0.6, "gamma": 2.5}, steps=(0.7, 2.5, 4.0),
         zeros=True, convex=False, wrong=(
        Wrong((), ("ConcaveGroups", "gamma is 0", "positive"), {"lam": 1.0, "gamma": 0.0}),
        Wrong((), ("ConcaveGroups", "straight is -1", "not negative"), {"lam": 1.0, "straight": -1.0}),
        Wrong((), ("ConcaveGroups", "lam is -1", "not negative"), {"lam": -1.0}),
        Wrong((), ("ConcaveGroups", "cost", "positive"), {"lam": 1.0, "cost": 0.0}),
        Wrong((GROUPS, np.ones((4, 2))), ("ConcaveGroups", "step is an array", "one number"), {"lam": 1.0}),
        Wrong((GROUPS, 0.1), ("axis is 2", "0 … 1"), {"lam": 1.0, "axis": 2}),
    )),
    Case("ConcaveGroups, MCP, outgoing, costs", ConcaveGroups, (GROUPS.T,),
         {"lam": 0.6, "gamma": 1.5, "axis": 1, "cost": np.array([1.0, 0.5, 2.0, 1.5])}, steps=(0.5, 2.0), zeros=True,
         convex=False),
    Case("ConcaveGroups, MCP, channels behind flatten", ConcaveGroups, (GROUPS.reshape(2, 4),),
         {"lam": 0.3, "axis": 1, "channels": 2}, steps=(1.0, 5.0), convex=False),
    Case("ConcaveGroups, SCAD", ConcaveGroups, (GROUPS,), {"lam": 0.45, "gamma": 2.0, "straight": 1.0},
         steps=(0.4, 1.5, 3.0, 4.5), zeros=True, convex=False),
    Case("ConcaveGroups, SCAD, outgoing, costs", ConcaveGroups, (GROUPS.T,),
         {"lam": 0.6, "gamma": 1.5, "straight": 1.0, "axis": 1, "cost": np.array([1.0, 0.5, 2.0, 1.5])},
         steps=(0.5, 2.0), zeros=True, convex=False),
    Case("L1L2", L1L2, (GROUPS,), {"lam": 0.9}, steps=(0.3, 1.5), zeros=True, convex=False, wrong=(
        Wrong((), ("L1L2", "lam is -1", "not negative"), {"lam": -1.0}),
        Wrong((GROUPS, np.ones((4, 2))), ("L1L2", "step is an array", "one number"), {"lam": 1.0}),
        Wrong((GROUPS, 0.1), ("axis is 2", "0 … 1"), {"lam": 1.0, "axis": 2}),
        Wrong((WHOLE, 0.1), ("L1L2", "v is int64", "floating-point"), {"lam": 1.0}),
    )),
    Case("L1L2, nothing dies", L1L2, (GROUPS + np.sign(GROUPS),), {"lam": 0.2}, steps=(0.5,), convex=False),
    Case("L1L2, squared", L1L2, (GROUPS,), {"lam": 0.5, "squared": True}, steps=(0.2, 1.5), zeros=True, convex=False),
    Case("L1L2, outgoing", L1L2, (GROUPS.T,), {"lam": 0.9, "axis": 1}, steps=(1.0,), zeros=True, convex=False),
    Case("L1L2, channels behind flatten", L1L2, (GROUPS.reshape(2, 4),), {"lam": 1.0, "axis": 1, "channels": 2},
         steps=(0.6,), convex=False),
    Case("L1L2, filters", L1L2, (normal(2, 2, 2, 1),), {"lam": 1.5, "axis": 0}, steps=(0.6,), convex=False),
    Case("L1L2, weights, squared", L1L2, (np.array([0.3, -1.2, 2.0, 0.0, 0.7]),),
         {"lam": 0.2, "axis": None, "squared": True}, steps=(1.0, 1.5), zeros=True, convex=False),
    Case("L1L2, weights", L1L2, (GROUPS,), {"lam": 0.7, "axis": None}, steps=(0.5, 1.5), zeros=True, convex=False),
]

DISTILLATION = [*cases_response.CASES, *cases_features.CASES, *cases_trained.CASES, *cases_relations.CASES,
                *cases_schemes.CASES]

CASES = [*OPS, *MAP_OPS, *LOSSES, *DISTILLATION, *PENALTIES]
