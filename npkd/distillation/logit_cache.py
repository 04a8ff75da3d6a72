"""A cache of the teacher's logits for moved pictures: moved by whole pixels a picture has few forms."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from npkd.core.types import Array, Batch
from npkd.core.validation import InputError

LARGEST = 2 ** 30
"""Bytes of logits that are kept at most."""

BLOCK, ASKED = 1000, 10_000
"""Pictures that are gathered at once (so their places stay in the CPU's cache), and that the teacher sees at once."""


def check_pictures(who: str, x: Array, shape: Sequence[int], max_shift: int) -> None:
    """Raise InputError unless x (N, H·W) holds pictures of that shape (H, W), and 0 ≤ max_shift is below both."""
    if len(shape) != 2 or shape[0] * shape[1] != x.shape[1] or not 0 <= max_shift < min(shape):
        raise InputError(f"{who}: shape is {tuple(shape)} and max_shift {max_shift}; x has {x.shape[1]} inputs, which "
                         "must be H·W, max_shift below both")


class LogitCache:
    """Every picture in all its moved forms, and the teacher's logits of each.

        x'_n,r,c = x_n,(r−u_n),(c−v_n),   u_n, v_n uniform on {−k, …, k}                   (K8)

    x (N, H·W)      the pictures, zero where nothing moves in;  shape (H, W);  k = max_shift ≥ 0, below both
    answer          (n, H·W) -> (n, classes): the teacher's logits

    Raises InputError where the shape is not that of a picture.
    """

    def __init__(self, x: Array, shape: Sequence[int], max_shift: int, answer: Callable[[Array], Array]) -> None:
        check_pictures("LogitCache", x, shape, max_shift)
        self.moves = list(itertools.product(range(-max_shift, max_shift + 1), repeat=2))
        self.answer, self.max_shift, self.shape = answer, max_shift, tuple(shape)
        margin = ((0, 0), (max_shift, max_shift), (max_shift, max_shift))
        self.pictures = np.pad(x.reshape(len(x), *shape), margin).reshape(len(x), -1)   # what moves in is there already
        self.logits: Array | None = None
        self.known = np.zeros((len(self.moves), len(x)), bool)

    def columns(self, seen: Array) -> Array:
        """Where in a picture with margins the inputs ``seen`` of each of its forms stand: (forms, len(seen))."""
        (u, v), wide = np.array(self.moves).T[:, :, None], self.shape[1] + 2 * self.max_shift
        row, column = np.divmod(seen, self.shape[1])
        return np.asarray((row - u + self.max_shift) * wide + column - v + self.max_shift)             # (K8)

    def forms(self, which: Array, form: Array, columns: Array) -> Array:
        """The pictures ``which`` (n,) in the forms ``form`` (n,), of each the ``columns`` of its form alone."""
        shown = np.empty((len(which), columns.shape[1]), self.pictures.dtype)
        for i in range(0, len(which), BLOCK):
            places = columns[form[i:i + BLOCK]]
            places += which[i:i + BLOCK, None] * self.pictures.shape[1]
            np.take(self.pictures.reshape(-1), places, out=shown[i:i + BLOCK], mode="clip")     # clip: in place
        return shown

    def draw(self, batch: Batch, rng: np.random.Generator, seen: Array | None = None) -> Batch:
        """The batch of the cache's pictures, each in one of its (2k + 1)² forms, with "teacher", the answers to these.

        ``seen``: inputs that "x" then holds alone. Raises InputError for a batch of another size.
        """
        n, every = len(self.pictures), np.arange(self.shape[0] * self.shape[1])
        if len(batch["x"]) != n:
            raise InputError(f"LogitCache: got {len(batch['x'])} examples; it must be the {n} of the logit cache")
        form, all_of_them = rng.integers(len(self.moves), size=n), np.arange(n)
        new = np.flatnonzero(~self.known[form, all_of_them])
        for here in np.array_split(new, range(ASKED, len(new), ASKED)):
            if len(here):
                logits = self.answer(self.forms(here, form[here], self.columns(every)))
                if self.logits is None:
                    self.logits = np.empty((len(self.moves), n, logits.shape[1]), logits.dtype)
                self.logits[form[here], here], self.known[form[here], here] = logits, True
        assert self.logits is not None
        return {**batch, "x": self.forms(all_of_them, form, self.columns(every if seen is None else seen)),
                "teacher": self.logits[form, all_of_them]}
