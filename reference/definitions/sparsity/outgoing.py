"""The indicator of a support, by its definition: a loop over entries."""

from __future__ import annotations

import math

import numpy as np

from npkd.core.types import Array


def support(w: Array, *, mask: Array) -> float:
    """0 where every entry outside the mask is zero, else ∞."""
    return math.inf if any(w[at] != 0 and not mask[at] for at in np.ndindex(w.shape)) else 0.0
