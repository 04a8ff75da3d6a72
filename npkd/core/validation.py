"""The one error that npkd raises for bad input: one sentence that says who, what it got and what it needed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from npkd.core.types import Array, Backward, Batch, Objective


class InputError(ValueError):
    """An argument, a file or a setting that npkd cannot work with: ``who: what it got, what it needed``. The command
    line prints the message, one sentence, and ends with exit code 2."""


class Diverged(ArithmeticError):
    """A training run whose loss or parameters became NaN or infinite; the message names epoch, layer and a remedy."""


def as_array(who: str, a: Any) -> Array:
    """Anything with numbers in it as an array. Raises InputError where that cannot be, as of sparse matrices."""
    if hasattr(a, "toarray"):
        raise InputError(f"{who}: got a sparse matrix {getattr(a, 'shape', '')} ({type(a).__name__}); it must be "
                         "dense: give its toarray(), or, where that is too large, a function that gives dense batches")
    try:
        return np.asarray(a)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{who}: {type(a).__name__} cannot be read as an array ({error!s:.120}); "
                         "give a NumPy array") from error


@contextmanager
def within_memory(who: str, need: str) -> Iterator[None]:
    """MemoryError as an InputError that says what takes the memory; also as a decorator."""
    try:
        yield
    except MemoryError as error:
        raise InputError(f"{who}: {error}; {need}") from error


def require_memory(needed: int) -> None:
    """Warn where fewer bytes are available than are ``needed``, as Linux counts them; elsewhere nothing is known."""
    with suppress(OSError, LookupError):
        available = 1024 * int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0])
        if needed > available:
            warnings.warn(f"about {needed / 1e9:.1f} GB of memory are needed, {available / 1e9:.1f} GB are "
                          "available; take fewer examples or features, or narrower layers", stacklevel=2)


def one_of(who: str, name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise InputError unless ``value`` is one of the ``allowed`` words."""
    if value not in allowed:
        raise InputError(f"{who}: {name} is {value!r}; it must be one of {', '.join(allowed)}")


def whole(who: str, least: float = -math.inf, most: float = math.inf, /, **numbers: object) -> None:
    """Raise InputError for a number that is not a whole one, or is below ``least`` or above ``most``."""
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise InputError(f"{who}: {name} is {value!r}; it must be a whole number")
        if not least <= int(value) <= most:
            above = f" and at most {most}" if most < math.inf else ""
            raise InputError(f"{who}: {name} is {value}; it must be at least {least}{above}")


def restore(who: str, name: str, arrays: Sequence[Array], places: Sequence[Array]) -> None:
    """Copy arrays, one for each place or none at all. Raises InputError for another number, other shapes or dtypes."""
    got, need = ([f"{a.dtype} {a.shape}" for a in group] for group in (arrays, places))
    if got and got != need:
        raise InputError(f"{who}: {name} holds {', '.join(got)}; it must hold {', '.join(need) or 'nothing'}")
    for a, place in zip(arrays, places, strict=False):
        place[...] = a


def positive(who: str, name: str, value: float, *, zero: bool = False) -> None:
    """Raise InputError unless ``value`` is a finite number above zero (or not below it, with ``zero``)."""
    if not (0 < value < float("inf") or (zero and value == 0)):
        raise InputError(f"{who}: {name} is {value}; it must be finite and {'not negative' if zero else 'positive'}")


def below_one(who: str, name: str, value: float) -> None:
    """Raise InputError unless 0 ≤ value < 1."""
    if not 0 <= value < 1:
        raise InputError(f"{who}: {name} is {value}; it must be at least 0 and below 1")


def floats(who: str, **arrays: Array) -> None:
    """Raise InputError unless every array holds floating-point numbers: integers would silently lose the fractions."""
    for name, a in arrays.items():
        if not (isinstance(a, np.ndarray) and a.dtype.kind == "f"):
            got = a.dtype if isinstance(a, np.ndarray) else type(a).__name__
            raise InputError(f"{who}: {name} is {got}; it must be an array of floating-point numbers")


def alike(who: str, **arrays: Array) -> list[Array]:
    """The arrays in the dtype of the widest; no copy where all have it. Raises InputError as ``floats`` does."""
    floats(who, **arrays)
    dtype = np.result_type(*(a.dtype for a in arrays.values()))
    return [a.astype(dtype, copy=False) for a in arrays.values()]


def finite(who: str, **arrays: Array) -> None:
    """Raise InputError where an array holds NaN or infinity, naming the first place."""
    for name, a in arrays.items():
        if not np.isfinite(a).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(a))[0])
            raise InputError(f"{who}: {name} holds {a[place]} at {place}; every value must be finite")


def unpaired(thing: object) -> bool:
    """Is it no tuple of two?"""
    return not isinstance(thing, tuple) or len(thing) != 2


def described(thing: object) -> str:
    """What a function returned, for a message."""
    if isinstance(thing, (np.ndarray, np.generic)):
        return f"an array of {thing.dtype} and shape {thing.shape}"
    if isinstance(thing, tuple) and thing:
        return f"a tuple of {len(thing)}: {', '.join(map(described, thing))}"
    return f"the class {thing.__name__}" if isinstance(thing, type) else f"a {type(thing).__name__}"


def asked(objective: Objective, activations: Sequence[Array], batch: Batch) -> tuple[float, Mapping[int, Array]]:
    """What an objective returns, asked for the first time. Raises InputError where it does not have the form of one."""
    who = f"train: the objective {getattr(objective, '__name__', type(objective).__name__)}"
    form = ("it is called as objective(activations, batch) and must return (value, {index: sensitivity}): with a loss, "
            f"value, d = loss(activations[-1], batch['y']), and then return value, {{{len(activations) - 1}: d}}")
    try:
        pair = objective(activations, batch)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, InputError) and type(activations).__name__ not in str(error):
            raise                                             # else it takes the list of activations for an array
        raise InputError(f"{who} fails ({type(error).__name__}: {error!s:.120}); {form}") from error
    if unpaired(pair) or np.ndim(pair[0]) or not isinstance(pair[1], Mapping):
        raise InputError(f"{who} returned {described(pair)}; {form}")
    return pair


def stepped(who: str, penalty: Any, v: Array, step: float | Array) -> Array:
    """prox(v, step) of a penalty. Raises InputError for what does not have the form of one."""
    if isinstance(penalty, type) or not all(callable(getattr(penalty, name, None)) for name in ("value", "prox")):
        raise InputError(f"{who} is {described(penalty)}; it must be an object with value(w) and prox(v, step)")
    u = penalty.prox(v, step)
    if not isinstance(u, np.ndarray) or u.shape != v.shape:
        raise InputError(f"{who}: prox returned {described(u)}; it must be an array of shape {v.shape}")
    return u


def formed(who: str, pair: Any, arguments: Sequence[Array]) -> tuple[Array, Backward]:
    """What an op of one's own returned for ``arguments``; its backward pass will be checked.
    Raises InputError for what does not have the form of an op."""
    if unpaired(pair) or not isinstance(pair[0], np.ndarray) or not callable(pair[1]):
        raise InputError(f"{who} returned {described(pair)}; it must return a pair, the array y and the function "
                         "backward")

    def backward(dy: Array) -> tuple[Array, ...]:
        parts, shapes = pair[1](dy), [np.shape(a) for a in arguments]
        if not isinstance(parts, tuple) or [np.shape(part) for part in parts] != shapes:
            raise InputError(f"{who}: backward returned {described(parts)}; it must return a tuple of {len(shapes)}, "
                             f"the gradients of x and of each parameter, of shapes {', '.join(map(str, shapes))}")
        return parts

    return pair[0], backward
