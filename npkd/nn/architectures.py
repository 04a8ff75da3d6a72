"""LeNet-5, in the form that pruning is measured on. (The perceptron stands in network.py.)"""

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
