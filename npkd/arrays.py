"""The types of the signatures: arrays, the second half of an op, batches and what is learnt from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npkd.errors import InputError

Array = NDArray[Any]
"""A NumPy array of any shape; the docstrings give shapes and dtypes, which the type system cannot."""

Backward = Callable[[Array], tuple[Array, ...]]
"""``backward(dy) -> (dx, *dparams)``: the sensitivities of the arguments of an op, in their order, each of its
argument's shape."""

Batch = Mapping[str, Array]
"""Arrays of equal length by name: "x" the inputs, "y" the labels, and whatever the objective asks for."""

Objective = Callable[[Sequence[Array], Batch], tuple[float, Mapping[int, Array]]]
"""``objective(activations, batch) -> (value, {index: sensitivity})``."""


def floats(who: str, **arrays: Array) -> None:
    """Raise InputError unless every array holds floating-point numbers: integers would silently lose the fractions."""
    for name, a in arrays.items():
        if not (isinstance(a, np.ndarray) and np.issubdtype(a.dtype, np.floating)):
            got = a.dtype if isinstance(a, np.ndarray) else type(a).__name__
            raise InputError(f"{who}: {name} is {got}; it must be an array of floating-point numbers")


def finite(who: str, **arrays: Array) -> None:
    """Raise InputError where an array holds NaN or infinity, naming the first place."""
    for name, a in arrays.items():
        if not np.isfinite(a).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(a))[0])
            raise InputError(f"{who}: {name} holds {a[place]} at {place}; every value must be finite")
