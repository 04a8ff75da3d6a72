"""Ops that read an earlier activation: two paths added, and a second path begun.

Form and conventions as in layers.py. Derivations: docs/book/4-convolution.md.
"""

from __future__ import annotations

import numpy as np

from npkd.core.types import Array, Backward
from npkd.core.validation import InputError, alike


def add(x: Array, skip: Array) -> tuple[Array, Backward]:
    """The sum of two paths of a residual network.

        y = x + s                                                                     (H1)

    x and skip s (any one shape) -> y; floats. Raises InputError where the shapes differ. Source: He et al. 2016.
    """
    x, skip = alike("add", x=x, skip=skip)
    if x.shape != skip.shape:
        raise InputError(f"add: x has shape {x.shape} and skip has shape {skip.shape}; they must agree")
    y = x + skip                         # (H1)

    def backward(dy: Array) -> tuple[Array, ...]:
        return dy.copy(), dy.copy()      # (H2)  both paths enter the sum alike

    return y, backward


def recall(x: Array, skip: Array) -> tuple[Array, Backward]:
    """An earlier activation again: a second path begins there, and what is behind x goes on by a later addition alone.

        y = s                                                                         (H3)

    x (any shape), skip s (any shape) -> y of the shape of s; floats. A projection around a block is: block, recall of
    its input, convolution, addition of what the block gave. Source: He et al. 2016, option B.
    """
    x, skip = alike("recall", x=x, skip=skip)
    y = skip.copy(order="K")             # (H3)

    def backward(dy: Array) -> tuple[Array, ...]:
        return np.zeros(x.shape, dy.dtype), dy.copy()        # (H4)  x does not enter

    return y, backward
