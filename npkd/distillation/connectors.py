"""Connectors: small networks that bring a student's activation to the teacher's shape: docs/book/16-features.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import linalg

from npkd.core.linalg import product
from npkd.core.validation import InputError, positive
from npkd.nn.architectures import conv_layer
from npkd.nn.network import Layer, Network, dense_layer
from npkd.sparsity.statistics import Statistics


def normalised(layer: Layer, batch_norm: bool) -> Network:
    """A layer of weights, with batch normalisation behind it if wanted."""
    one = np.ones_like(layer.params[1])
    return Network([layer, Layer("batch_norm", (one, 0 * one))] if batch_norm else [layer])


def linear(shape: Sequence[int], target_shape: Sequence[int], rng: np.random.Generator, *,
           batch_norm: bool = False) -> Network:
    """A dense layer from rows of ``shape`` (F,) to rows of ``target_shape``. Raises InputError for other shapes."""
    if len(shape) != 1 or len(target_shape) != 1:
        raise InputError(f"linear: shapes are {tuple(shape)} and {tuple(target_shape)}; both must be (F,)")
    return normalised(dense_layer(shape[0], target_shape[0], rng), batch_norm)


def convolution(shape: Sequence[int], target_shape: Sequence[int], rng: np.random.Generator, *, kernel: int = 1,
                batch_norm: bool = False) -> Network:
    """A convolution from maps (H, W, C) to maps (H', W', C'): kernel 1, or 3 with padding, of stride H/H' = W/W'.

    Raises InputError for other kernels, and where the stride is no whole number, the same for rows and columns: nothing
    here makes maps larger.
    """
    maps = len(shape) == len(target_shape) == 3 and min(*shape, *target_shape) > 0
    stride = shape[0] // target_shape[0] if maps else 0
    if kernel not in (1, 3) or stride < 1 or any(shape[i] != stride * target_shape[i] for i in (0, 1)):
        raise InputError(f"convolution: kernel is {kernel}, shapes {tuple(shape)} and {tuple(target_shape)}; kernel "
                         "must be 1 or 3, shapes (H, W, C), and H and W of the student one multiple of the teacher's")
    layer = conv_layer(shape[2], target_shape[2], kernel, rng, stride=stride, padding=kernel // 2)
    return normalised(layer, batch_norm)


def connector(shape: Sequence[int], target_shape: Sequence[int], rng: np.random.Generator, *, kernel: int = 1,
              batch_norm: bool = False, forced: bool = False) -> Network | None:
    """The connector between two shapes without the axis of examples: ``linear`` for rows, ``convolution`` for maps.

    None where the shapes are equal, so that none is needed, unless ``forced``. Raises InputError as these two do.
    """
    if tuple(shape) == tuple(target_shape) and not forced:
        return None
    if len(shape) == 1:
        return linear(shape, target_shape, rng, batch_norm=batch_norm)
    return convolution(shape, target_shape, rng, kernel=kernel, batch_norm=batch_norm)


def ridge(statistics: Statistics, *, strength: float = 0.0, maps: bool = False, dtype: Any = np.float32) -> Network:
    """The best linear connector, in closed form: the minimiser of Σ_n ‖t_n − W s_n − b‖² + strength ‖W‖².

        W = Cᵀ (A + strength I)⁻¹,   b of (S3);   A, C of (S1)                        (X16)

    statistics   Statistics.of(s, t), added over the batches; of maps every position is an example: s.reshape(-1, C)
    maps         gives a 1×1 convolution in the place of a dense layer
    Where A + strength I has no inverse (an eigenvalue is below 1e-12 of the largest) W is the smallest minimiser.
    Raises InputError for a negative strength. Source: Hoerl & Kennard 1970.
    """
    positive("ridge", "strength", strength, zero=True)
    values, vectors = linalg.eigh(statistics.A)
    values = values + strength
    inverse = np.divide(1, values, where=values > 1e-12 * values[-1], out=np.zeros_like(values))
    w = product(statistics.C.T, product(vectors * inverse, vectors.T))                # (X16)
    b = statistics.intercept(w).astype(dtype)                                         # (X16)
    return Network([Layer("conv2d" if maps else "dense", ((w[:, None, None] if maps else w).astype(dtype), b))])
