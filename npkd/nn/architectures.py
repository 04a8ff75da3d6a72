"""Convolutional networks: LeNet-5, in the form that pruning is measured on, and a small separable one.

The perceptron stands in network.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from npkd.core.validation import InputError
from npkd.nn.network import Layer, Network, dense_layer


def conv_layer(channels: int, outputs: int, kernel: int, rng: np.random.Generator, dtype: Any = np.float32,
               **options: int) -> Layer:
    """A conv2d with ``options``, weights from N(0, 2/(kh kw C)), biases zero (He et al. 2015)."""
    w = rng.standard_normal((outputs, kernel, kernel, channels)) * np.sqrt(2 / (kernel * kernel * channels))
    return Layer("conv2d", (w.astype(dtype), np.zeros(outputs, dtype)), options)


def lenet5(rng: np.random.Generator, *, channels: tuple[int, int] = (20, 50), hidden: int = 500,
           shape: Sequence[int] = (28, 28, 1), classes: int = 10, dtype: Any = np.float32) -> Network:
    """LeNet-5 as in Caffe: two convolutions 5×5, each with a max pooling 2×2, a hidden layer with relu, the outputs.

    channels  of the convolutions;   hidden  width of the dense layer;   shape  (H, W, C) of a picture, given as a row
    The defaults make 2,293,000 multiply-accumulates and 430,500 weights. Raises InputError for pictures too small or
    widths that are not positive. Source: LeCun et al. 1998, without its tables and subsampling weights.
    """
    sides = [((n - 4) // 2 - 4) // 2 for n in shape[:2]]
    if len(shape) != 3 or min(*channels, hidden, classes, *shape, *sides) < 1:
        raise InputError(f"lenet5: channels are {channels}, hidden {hidden}, shape {tuple(shape)}; "
                         "all must be positive, pictures at least 16×16")
    pool = Layer("max_pool", options={"size": 2})
    return Network([
        Layer("unflatten", options={"shape": list(shape)}),
        conv_layer(shape[2], channels[0], 5, rng, dtype), pool,
        conv_layer(channels[0], channels[1], 5, rng, dtype), pool,
        Layer("flatten"),
        dense_layer(sides[0] * sides[1] * channels[1], hidden, rng, dtype), Layer("relu"),
        dense_layer(hidden, classes, rng, dtype)])


def separable(rng: np.random.Generator, *, channels: tuple[int, int, int] = (16, 32, 64),
              shape: Sequence[int] = (28, 28, 1), classes: int = 10, dtype: Any = np.float32) -> Network:
    """A small network of depthwise separable convolutions: each 3×3 over one channel alone, then 1×1 over all channels.

    channels  of the first convolution, with stride 2, and of the two 1×1;   shape  (H, W, C) of a picture, as a row
    A pair costs kh kw C + C F multiply-accumulates a position in the place of kh kw C F. Raises InputError for pictures
    below 8×8 and numbers that are not positive. Source: Howard et al. 2017 (MobileNets), in outline.
    """
    if len(shape) != 3 or min(*channels, classes, *shape) < 1 or min(shape[:2]) < 8:
        raise InputError(f"separable: channels are {channels}, shape {tuple(shape)}; all must be positive, pictures at "
                         "least 8×8")
    layers = [Layer("unflatten", options={"shape": list(shape)}),
              conv_layer(shape[2], channels[0], 3, rng, dtype, stride=2, padding=1), Layer("relu")]
    for c, f, last in ((channels[0], channels[1], Layer("max_pool", options={"size": 2})),
                       (channels[1], channels[2], Layer("global_average_pool"))):
        layers += [conv_layer(1, c, 3, rng, dtype, padding=1, groups=c), Layer("relu"),
                   conv_layer(c, f, 1, rng, dtype), Layer("relu"), last]
    return Network([*layers, dense_layer(channels[-1], classes, rng, dtype)])
