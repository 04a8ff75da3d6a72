"""Adversarial training: half of the loss is that of the examples, each moved by ε to where its loss rises fastest.

Derivation: docs/book/6-training.md; results: docs/results/lenet300.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from npkd.core.types import Array, Batch, Objective
from npkd.core.validation import InputError
from npkd.nn.fast.workspace import Workspace


def adversarial_examples(x: Array, slope: Array, eps: float) -> Array:
    """Examples x (n, ...), each moved by ε to where, to first order, its loss is largest.

        x'_n = x_n + ε ∇_n / ‖∇_n‖,   ∇_n = ∂L/∂x_n                                   (T11)

    slope   ∇ (n, ...), or any positive multiple of it for each example; where it is 0 the example stays.
    Raises InputError where the shapes differ. Source: Goodfellow et al. 2015 (with signs); Miyato et al. 2016.
    """
    if slope.shape != x.shape:
        raise InputError(f"adversarial_examples: slope has shape {slope.shape} and x {x.shape}; they must agree")
    flat = slope.reshape(len(x), -1).astype(np.float64)       # squares of a slope that is small in float32 vanish there
    norm = np.sqrt(np.einsum("ni,ni->n", flat, flat))
    flat *= (eps / np.where(norm > 0, norm, 1))[:, None]
    return np.asarray(x + flat.reshape(x.shape).astype(x.dtype))                                       # (T11)


def adversarial_half(workspace: Workspace, batch: Batch, objective: Objective, clean: tuple[float, Mapping[int, Array]],
                     eps: float, rng: np.random.Generator) -> float:
    """½ L(x) + ½ L(x') with x' of (T11), and its gradient in the workspace.

    ``clean``: what the objective returned for x, right after the workspace's ``forward``. Returns NaN where ∂L/∂x is
    not finite. Running moments of batch_norm follow x alone.
    """
    value, sensitivities = clean
    dx = workspace.backward({i: d / 2 for i, d in sensitivities.items()}, inputs=True)
    assert dx is not None
    if not np.isfinite(dx).all():
        return math.nan
    moved = {**batch, "x": adversarial_examples(batch["x"], dx, eps)}                                  # (T11)
    moved_value, sensitivities = objective(workspace.forward(moved["x"], rng), moved)
    if math.isfinite(moved_value):
        workspace.backward({i: d / 2 for i, d in sensitivities.items()}, 1.0)       # added to the gradient of ½ L(x)
    return (value + moved_value) / 2
