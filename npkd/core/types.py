"""The types of the signatures: arrays, the second half of an op, batches and what is learnt from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
"""A NumPy array of any shape; the docstrings give shapes and dtypes, which the type system cannot."""

Backward = Callable[[Array], tuple[Array, ...]]
"""``backward(dy) -> (dx, *dparams)``: the sensitivities of the arguments of an op, in their order, each of its
argument's shape."""

Batch = Mapping[str, Array]
"""Arrays of equal length by name: "x" the inputs, "y" the labels, and whatever the objective asks for."""

Objective = Callable[[Sequence[Array], Batch], tuple[float, Mapping[int, Array]]]
"""``objective(activations, batch) -> (value, {index: sensitivity})``."""


def as_array(who: str, a: Any) -> Array:
    """Anything with numbers in it as an array. Raises InputError where that cannot be, as of sparse matrices."""
    if hasattr(a, "toarray"):
        raise InputError(f"{who}: got a sparse matrix {getattr(a, 'shape', '')} ({type(a).__name__}); it must be "
                         f"dense: "
                         "give its toarray(), or, where that is too large, a function that gives dense batches")
    try:
        return np.asarray(a)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{who}: {type(a).__name__} cannot be read as an array ({error!s:.120}); give a NumPy "
                         f"array") from error
