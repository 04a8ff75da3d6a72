"""Examples at their worst: each moved a little, to where its loss rises fastest.

A network that fits its examples perfectly may still change its mind right beside them; here it learns from just those
places. Derivation: docs/4-training.md; what it is worth: docs/11-baselines.md.
"""

from __future__ import annotations

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError


def worst(x: Array, slope: Array, radius: float) -> Array:
    """Examples x (n, ...), each moved by ``radius`` ε to where, to first order, its loss is largest.

        x'_n = x_n + ε ∇_n / ‖∇_n‖,   ∇_n = ∂L/∂x_n                                   (T11)

    slope   ∇ (n, ...), or any positive multiple of it for each example. One without a slope stays.
    Raises InputError where the shapes differ.
    Source: Goodfellow, Shlens & Szegedy 2015, there with the signs of ∇; in this norm Miyato et al. 2016.
    """
    if slope.shape != x.shape:
        raise InputError(f"worst: slope has shape {slope.shape} and x {x.shape}; they must agree")
    flat = slope.reshape(len(x), -1).astype(np.float64)       # squares of a slope that is small in float32 vanish there
    norm = np.sqrt(np.einsum("ni,ni->n", flat, flat))
    flat *= (radius / np.where(norm > 0, norm, 1))[:, None]
    return np.asarray(x + flat.reshape(x.shape).astype(x.dtype))                                       # (T11)
