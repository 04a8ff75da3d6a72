"""Cheap activations in the place of tanh: clipped lines and parabolas. Derivations: docs/book/23-low-complexity.md."""

from __future__ import annotations

import numpy as np

from npkd.core.types import Array, Backward
from npkd.core.validation import floats, whole


def clipped_linear(x: Array, *, shift: int = 1) -> tuple[Array, Backward]:
    """A line through 0 whose slope is a power of two, cut at ±1: a shift and a comparison.

        y = min(max(x/2^k, −1), 1)                                                    (A17)

    x any shape -> y of the same shape; floats; k = ``shift``, whole, −8 … 8, or InputError. Source: Cintra et al. 2018
    (linear I is k = 2, linear II k = 1; the tangent of tanh in 0 is k = 0).
    """
    floats("clipped_linear", x=x)
    whole("clipped_linear", -8, 8, shift=shift)
    half = 2.0 ** int(shift)
    y = np.minimum(np.maximum(x / half, -1), 1)                                       # (A17)
    return y, lambda dy: (dy * (np.abs(x) < half) / half,)                            # (A18)  slope 0 at ±2^k


def clipped_quadratic(x: Array, *, shift: int = 1) -> tuple[Array, Backward]:
    """Two parabolas that meet in 0 and end flat at ±1: shifts, a square and a comparison.

        y = sign(x) (1 − (1 − min(|x|/2^k, 1))²)                                      (A19)

    As clipped_linear. Source: Cintra et al. 2018 (quadratic I is k = 2, quadratic II k = 1, with the slope 1 in 0).
    """
    floats("clipped_quadratic", x=x)
    whole("clipped_quadratic", -8, 8, shift=shift)
    half = 2.0 ** int(shift)
    rest = 1 - np.minimum(np.abs(x) / half, 1)
    y = np.sign(x) * (1 - rest * rest)                                                # (A19)
    return y, lambda dy: (dy * rest * (2 / half),)                                    # (A20)
