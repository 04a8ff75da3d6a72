"""The definition of npkd/compression/csr.py: rows of pairs of column and entry."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def rows(w: Array) -> list[list[tuple[int, float]]]:
    """Of each row the columns and entries that are not zero."""
    return [[(i, float(v)) for i, v in enumerate(row) if v != 0] for row in w]


def product(w: Array, x: Array) -> Array:
    """x Wᵀ, an entry at a time."""
    y = np.zeros((len(x), len(w)))
    for n in range(len(x)):
        for o, entries in enumerate(rows(w)):
            for i, v in entries:
                y[n, o] += v * x[n, i]     # (N68)
    return y
