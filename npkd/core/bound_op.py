"""An op at given arguments: what a check calls, again and again, and what it refuses."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from npkd.core.derivatives import mixture
from npkd.core.types import Array, Backward
from npkd.core.validation import InputError, described, floats, unpaired


class BoundOp:
    """An op at its arguments, in float64, its options copied for each call: a generator draws the same every time.
    ``faults`` collects what the op changed. Raises InputError for what does not have the form of an op."""

    def __init__(self, op: Callable[..., Any], arguments: Sequence[Array], definition: Callable[..., Any] | None,
                 options: Mapping[str, Any] | None) -> None:
        self.who = getattr(op, "__name__", type(op).__name__)
        if not arguments:
            raise InputError(f"gradcheck: got no arguments for {self.who}; it needs at least one array")
        self.names = names_of(op, len(arguments))
        floats(f"gradcheck: {self.who}", **{f"argument {i}": a for i, a in enumerate(arguments)})
        self.op, self.definition, self.options = op, definition, dict(options or {})
        self.arguments, self.faults = [np.array(a, np.float64) for a in arguments], dict[str, None]()
        self.shown = [a.copy() for a in self.arguments]
        self.y, self.backward = self.run(self.shown)
        self.compare("changes", self.arguments)

    def compare(self, text: str, before: Sequence[Array]) -> None:
        """Note the arguments that the op was shown and that are no longer what they were."""
        for name, old, new in zip(self.names, before, self.shown, strict=True):
            if not np.array_equal(old, new, equal_nan=True):
                self.faults[f"{text} its argument {name}"] = None

    def run(self, arguments: Sequence[Array]) -> tuple[Array, Backward]:
        """Value and backward pass."""
        pair = self.op(*arguments, **copy.deepcopy(self.options))
        if unpaired(pair) or not callable(pair[1]):
            raise InputError(f"gradcheck: {self.who} returned {described(pair)}; it must be a pair, (y, backward)")
        if not isinstance(pair[0], (np.ndarray, np.generic)) or pair[0].dtype.kind != "f":
            raise InputError(f"gradcheck: {self.who} returned {described(pair[0])} as its value; it must be an array "
                             "of floating-point numbers, np.asarray(y) for a single one")
        return np.asarray(pair[0]), pair[1]

    def value(self, *arguments: Array) -> Array:
        """The value of the definition, of the op itself where there is none."""
        copies = [a.copy() for a in arguments]
        if self.definition is None:
            return self.run(copies)[0]
        y = np.asarray(self.definition(*copies, **copy.deepcopy(self.options)))
        if y.shape != self.y.shape:
            raise InputError(f"gradcheck: {self.who} returned shape {self.y.shape}; the definition's shape is "
                             f"{y.shape}")
        return y

    def gradients(self) -> list[Array]:
        """Gradients of each argument, (size of y + 1, *its shape): of each unit sensitivity, and of a mixture."""
        y, before, rows = self.y.copy(), [a.copy() for a in self.shown], [list[Array]() for _ in self.arguments]
        for row in np.vstack([np.eye(y.size), mixture(y.size)]):
            dy = row.reshape(y.shape).copy()
            gradients = self.backward(dy)
            if not isinstance(gradients, tuple) or len(gradients) != len(rows):
                raise InputError(f"gradcheck: backward of {self.who} returned {described(gradients)}; it must be a "
                                 f"tuple of {len(rows)}")
            for i, (gradient, argument) in enumerate(zip(gradients, self.arguments, strict=True)):
                g = np.asarray(gradient if isinstance(gradient, (np.ndarray, np.generic, float, int)) else "?")
                if g.dtype.kind not in "fiub" or g.shape != argument.shape:
                    raise InputError(f"gradcheck: gradient {i} of {self.who} is {described(gradient)}; it must be an "
                                     f"array of numbers of shape {argument.shape}")
                rows[i].append(np.array(g, np.float64))
            if not np.array_equal(dy.reshape(-1), row):
                self.faults["its backward changes dy"] = None
        if not np.array_equal(self.y, y, equal_nan=True):
            self.faults["its backward changes y"] = None
        self.compare("its backward changes", before)
        return [np.stack(r) for r in rows]

    def entry(self, k: int, position: int) -> str:
        """Names an entry of what ``gradients`` returns for argument k, counted in C order."""
        row, column = divmod(position, self.arguments[k].size)
        of, source = (tuple(map(int, np.unravel_index(i, a.shape))) if i < a.size else "a mixture of all of it"
                      for i, a in ((column, self.arguments[k]), (row, self.y)))
        return f"gradient of {self.names[k]} at {of} from y at {source}".replace("at a mixture", "by a mixture")


def names_of(op: Callable[..., Any], count: int) -> list[str]:
    """Names of the first ``count`` arguments, numbers where the op does not name them."""
    if hasattr(op, "names"):
        return list(op.names)
    try:
        listed = [a.name for a in inspect.signature(op).parameters.values()
                  if a.kind in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD)]
    except (TypeError, ValueError):                                   # functions of NumPy have no signature
        listed = []
    return [listed[i] if i < len(listed) else f"argument {i}" for i in range(count)]
