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


def alike(who: str, **arrays: Array) -> list[Array]:
    """The arrays in the dtype of the widest of them, as they are where all have it: an op rounds none of what it is
    given.

    Raises InputError as ``floats``.
    """
    floats(who, **arrays)
    dtype = np.result_type(*(a.dtype for a in arrays.values()))
    return [a.astype(dtype, copy=False) for a in arrays.values()]


def wide(a: Array) -> np.dtype[Any]:
    """The dtype in which many entries of a are added up: at least float64."""
    return np.result_type(a.dtype, np.float64)


def total(a: Array, axes: int | tuple[int, ...]) -> Array:
    """Sum over axes, accumulated in float64, in the dtype of a. (Along leading axes NumPy adds one row after
    another.)"""
    return np.asarray(a.sum(axis=axes, dtype=wide(a)).astype(a.dtype))
