"""Batch normalisation: each neuron is centred and scaled by its own mean and variance; a channel is a neuron at many
positions.

Form and conventions as in layers.py. Derivations: docs/2-layers.md and, for channels, docs/13-convolution.md.
"""

from __future__ import annotations

import math

import numpy as np

from npkd.core.types import Array, Backward
from npkd.core.validation import InputError, floats, positive


def moments(x: Array) -> tuple[Array, Array]:
    """Mean and variance (divided by N, not N − 1) of every neuron over examples and positions: x (N, ..., J) -> (J,),
    (J,)."""
    every = tuple(range(x.ndim - 1))
    return x.mean(axis=every), x.var(axis=every)


def batch_norm(
    x: Array, gamma: Array, beta: Array, *, eps: float = 1e-5, running: tuple[Array, Array] | None = None
) -> tuple[Array, Backward]:
    """Centre and scale each neuron over the batch, then give it a mean and a deviation of its own.

        m_j = Σ_n x_nj / N,   v_j = Σ_n (x_nj − m_j)² / N                             (B1)
        y_nj = γ_j (x_nj − m_j) / √(v_j + ε) + β_j                                    (B2)

    x (N, ..., J)   gamma (J,)   beta (J,)   ->   y (N, ..., J); floats. Of maps (N, H, W, C) a channel is a neuron; n
                    then counts its
    positions in all examples, and N is their number. With ``running=(mean, variance)``, each (J,), these numbers take
    the place of (B1): the op is then affine in x, as it is when a network predicts.
    Raises InputError where shapes do not fit, where a running variance is negative, or where a neuron has a single
    value in the batch, which has no variance.
    Source: Ioffe & Szegedy 2015, algorithm 1.
    """
    floats("batch_norm", x=x, gamma=gamma, beta=beta)
    positive("batch_norm", "eps", eps)
    if x.ndim < 2 or not gamma.shape == beta.shape == x.shape[-1:]:
        raise InputError(
            f"batch_norm: x has shape {x.shape}, gamma {gamma.shape}, beta {beta.shape}; x must be (N, ..., J), the "
            f"others (J,)"
        )
    N, every = math.prod(x.shape[:-1]), tuple(range(x.ndim - 1))
    if running is None and N < 2:
        raise InputError(f"batch_norm: x has shape {x.shape}, fewer than two values a neuron; their variance needs at "
                         f"least two")
    if running is not None:
        floats("batch_norm", mean=running[0], variance=running[1])
    if running is not None and not running[0].shape == running[1].shape == gamma.shape:
        raise InputError(
            f"batch_norm: running has shapes {running[0].shape} and {running[1].shape}; mean and variance must be "
            f"{gamma.shape}"
        )
    mean, variance = moments(x) if running is None else running     # (B1)
    if running is not None and (variance < 0).any():
        raise InputError(f"batch_norm: the running variance is {variance.min():g} somewhere; it must not be negative")
    scale = 1 / np.sqrt(variance + eps)
    standard = (x - mean) * scale
    y = gamma * standard + beta          # (B2)

    def backward(dy: Array) -> tuple[Array, ...]:
        dgamma = (dy * standard).sum(axis=every)      # (B3)
        dbeta = dy.sum(axis=every)                    # (B4)
        if running is not None:
            return gamma * scale * dy, dgamma, dbeta  # (B5)  the moments are constants
        # (B6)  what the batch's own mean and variance take away
        dx = gamma * scale * (dy - dbeta / N - standard * dgamma / N)
        return dx, dgamma, dbeta

    return y, backward
