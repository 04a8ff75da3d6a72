"""The types of the signatures: arrays, the second half of an op, batches and what is learnt from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
"""A NumPy array of any shape; the docstrings give shapes and dtypes, which the type system cannot."""
Backward = Callable[[Array], tuple[Array, ...]]
"""``backward(dy) -> (dx, *dparams)``: the sensitivities of an op's arguments, in their order and of their shapes."""
Batch = Mapping[str, Array]
"""Arrays of equal length by name: "x" the inputs, "y" the labels, and whatever the objective asks for."""
Objective = Callable[[Sequence[Array], Batch], tuple[float, Mapping[int, Array]]]
"""``objective(activations, batch) -> (value, {index: sensitivity})``."""
