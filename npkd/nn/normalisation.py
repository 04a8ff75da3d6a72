"""Batch normalisation: each neuron is centred and scaled by its mean and variance over the batch.

Form and conventions as in layers.py. Derivations: docs/book/3-layers.md; of channels: docs/book/4-convolution.md.
"""

from __future__ import annotations

import math

import numpy as np

from npkd.core.linalg import total, wide
from npkd.core.types import Array, Backward
from npkd.core.validation import InputError, alike, positive


def moments(x: Array) -> tuple[Array, Array]:
    """Mean and variance (B1) of every neuron: x (N, ..., J) -> (J,), (J,), in the dtype of x."""
    mean, variance, _ = centred(x)
    return mean.astype(x.dtype), variance.astype(x.dtype)


def centred(x: Array) -> tuple[Array, Array, Array]:
    """Mean and variance in float64, and x − mean in the dtype of x: x (N, ..., J) -> (J,), (J,), (N, ..., J)."""
    every = tuple(range(x.ndim - 1))
    mean = x.mean(axis=every, dtype=wide(x))                             # (B1)
    nearest = mean.astype(x.dtype)                 # the rest apart: no digit is lost where the mean is far from 0
    difference = (x - nearest) - (mean - nearest).astype(x.dtype)
    return mean, np.square(difference, dtype=wide(x)).mean(axis=every), difference     # (B1)


def batch_norm(x: Array, gamma: Array, beta: Array, *, eps: float = 1e-5,
               running: tuple[Array, Array] | None = None) -> tuple[Array, Backward]:
    """Each neuron centred and scaled over the batch, then scaled by γ and shifted by β.

        m_j = Σ_n x_nj / N,   v_j = Σ_n (x_nj − m_j)² / N                             (B1)
        y_nj = γ_j (x_nj − m_j) / √(v_j + ε) + β_j                                    (B2)

    x (N, ..., J)   gamma (J,)   beta (J,)   ->   y (N, ..., J); floats.
    Of maps (N, H, W, C) a channel is a neuron; n then counts its positions in all examples, and N is their number. With
    ``running=(mean, variance)``, each (J,), these numbers take the place of (B1): the op is then affine in x, as it is
    when a network predicts. Raises InputError where shapes do not fit, where a running variance is negative, or where a
    neuron has a single value in the batch, which has no variance. Source: Ioffe & Szegedy 2015, algorithm 1.
    """
    x, gamma, beta = alike("batch_norm", x=x, gamma=gamma, beta=beta)
    positive("batch_norm", "eps", eps)
    if x.ndim < 2 or not gamma.shape == beta.shape == x.shape[-1:]:
        raise InputError(f"batch_norm: x has shape {x.shape}, gamma {gamma.shape}, beta {beta.shape}; x must be "
                         f"(N, ..., J), the others (J,)")
    N, every = math.prod(x.shape[:-1]), tuple(range(x.ndim - 1))
    if running is None:
        if N < 2:
            raise InputError(f"batch_norm: x has shape {x.shape}; a variance needs at least two values a neuron")
        _, variance, difference = centred(x)     # (B1)
    else:
        x, mean, variance = alike("batch_norm", x=x, mean=running[0], variance=running[1])
        if not mean.shape == variance.shape == gamma.shape:
            raise InputError(f"batch_norm: running is {mean.shape} and {variance.shape}; both must be {gamma.shape}")
        if (variance < 0).any():
            raise InputError(f"batch_norm: a running variance is {variance.min():g}; it must not be negative")
        difference = x - mean
    scale = (1 / np.sqrt(variance.astype(wide(variance)) + eps)).astype(x.dtype)
    standard = difference * scale
    y = gamma * standard + beta          # (B2)

    def backward(dy: Array) -> tuple[Array, ...]:
        dgamma = total(dy * standard, every)          # (B3)
        dbeta = total(dy, every)                      # (B4)
        if running is not None:
            return gamma * scale * dy, dgamma, dbeta  # (B5)  the moments are constants
        # (B6)  what the batch's own mean and variance take away
        dx = gamma * scale * (dy - dbeta / N - standard * dgamma / N)
        return dx, dgamma, dbeta

    return y, backward
