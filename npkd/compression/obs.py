"""Layer-wise optimal brain surgeon, for neurons: the one that costs least goes, and the survivors make up for it.

Source: Dong, Chen & Pan 2017, there for single weights; the update of the inverse as in Frantar & Alistarh 2022.
"""

from __future__ import annotations

import numpy as np

from npkd.compression.reconstruct import Choice
from npkd.core.types import Array
from npkd.sparsity.elimination import Reader, eliminate
from npkd.sparsity.refitting import RIDGE
from npkd.sparsity.statistics import Statistics


def obs(statistics: Statistics, w: Array, b: Array, count: int) -> Choice:
    """The rule: from the least squares on everything, where the slope is zero, neuron after neuron goes, (I9)…(I11)."""
    d = len(statistics.A)
    reader = Reader.of(statistics, np.arange(d), RIDGE)
    kept, *_ = eliminate([reader], d, count)
    return kept, reader.w, statistics.intercept(reader.w)
