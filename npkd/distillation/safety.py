"""The bound of the gradient with which distillation trains at any temperature: docs/book/5-losses.md, Why T²."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from npkd.core.types import Array, Batch
from npkd.core.validation import InputError, whole
from npkd.distillation.terms import array_of
from npkd.nn.network import Network
from npkd.nn.optimisers import Optimiser
from npkd.nn.training import TrainingSettings

EXAMPLES = 32
"""Examples, evenly spaced, from which the bound is taken."""


def safe_clip(student: Network, x: Array, batch_size: int = 128) -> float | None:
    """Norm of the gradient that a cross-entropy has where it is sure of wrong classes: a bound for a batch's.

        clip² = 1/(BM) Σ_m ‖J_mᵀ (e_a − e_b)‖²,   J_m = ∂z_m/∂θ,   a = m mod C,   b = m + 1 mod C           (K50)

    student  as it is before training, z (N, C) its logits;   x (N, ...)  its examples, M of which are looked at
    batch_size  B, or N where that is smaller
    Of temperature, losses and weights nothing is in it. None where the gradient is zero (a network of one output, or
    of zeros). Draws nothing. Source: own.
    """
    whole("safe_clip", 1, batch_size=batch_size, examples=len(x))
    rows, squares = np.linspace(0, len(x) - 1, min(EXAMPLES, len(x))).astype(int), 0.0
    for m, i in enumerate(rows):
        activations, backward = student(x[i:i + 1])
        d = np.zeros_like(activations[-1])
        d[..., m % d.shape[-1]] += 1
        d[..., (m + 1) % d.shape[-1]] -= 1                                            # e_a − e_b
        gradients = [g.astype(np.float64) for layer in backward({len(activations) - 1: d})[1] for g in layer]
        squares += sum(float(np.vdot(g, g)) for g in gradients)
    return math.sqrt(squares / (len(rows) * min(batch_size, len(x)))) or None         # (K50)


def safely(student: Network, data: Batch, optimiser: Optimiser | None,
           settings: TrainingSettings | None) -> TrainingSettings:
    """The settings of a training in which nothing is said of rate and bound: with (K50), which belongs to the default
    rate. Settings with a clip stay, and those of a training that has an optimiser of its own.

    Raises InputError where a run goes on without the bound that it had, which was that of its first network.
    """
    settings = settings or TrainingSettings()
    if optimiser is not None or settings.clip is not None:
        return settings
    if settings.done:
        raise InputError(f"distillation: done is {settings.done} and clip is not set; give the clip that the run began "
                         "with, safe_clip(student before its training, x, batch_size)")
    return replace(settings, clip=safe_clip(student, array_of(data, "x"), settings.batch_size))
