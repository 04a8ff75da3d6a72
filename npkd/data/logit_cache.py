"""A cache of the teacher's answers, by example and by the teacher's own bytes: moved by whole pixels a picture has few
forms, and an example that is not changed has one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from npkd.core.types import Array, Batch
from npkd.core.validation import InputError
from npkd.data.augmentation import check_pictures

Answers = Callable[[Array], Array | Mapping[str, Array]]
"""What a teacher says to examples (n, I): logits (n, classes), which a batch holds as "teacher", or arrays by name."""

LARGEST = 2 ** 31
"""Bytes of answers that are kept at most."""

BLOCK, ASKED = 1000, 10_000
"""Pictures that are gathered at once (so their places stay in the CPU's cache), and that the teacher sees at once."""


def named(answers: Array | Mapping[str, Array]) -> Mapping[str, Array]:
    """Answers by name."""
    return answers if isinstance(answers, Mapping) else {"teacher": answers}


class LogitCache:
    """Every picture in all its forms, moved as ``shift_pictures`` moves it (K8), and the teacher's answers to each.

    x (N, H·W)      the pictures, zero where nothing moves in;  shape (H, W);  k = max_shift ≥ 0, below both
    answer          the teacher's, see Answers: (n, H·W) -> logits (n, classes), or several arrays by name. Where it has
                    a ``digest``, as a Teacher has, and that changes, what was known is forgotten

    Raises InputError where the shape is not that of a picture.
    """

    def __init__(self, x: Array, shape: Sequence[int], max_shift: int, answer: Answers) -> None:
        check_pictures("LogitCache", x, shape, max_shift)
        self.moves = list(itertools.product(range(-max_shift, max_shift + 1), repeat=2))
        self.answer, self.max_shift, self.shape = answer, max_shift, tuple(shape)
        margin = ((0, 0), (max_shift, max_shift), (max_shift, max_shift))
        self.pictures = np.pad(x.reshape(len(x), *shape), margin).reshape(len(x), -1)   # what moves in is there already
        self.answers, self.digest = dict[str, Array](), getattr(answer, "digest", None)
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
        """The batch of the cache's pictures, each in one of its (2k + 1)² forms, with the answers to these.

        ``seen``: inputs that "x" then holds alone. Raises InputError for a batch of another size.
        """
        n, every = len(self.pictures), np.arange(self.shape[0] * self.shape[1])
        if len(batch["x"]) != n:
            raise InputError(f"LogitCache: got {len(batch['x'])} examples; it must be the {n} of the logit cache")
        if self.digest != (digest := getattr(self.answer, "digest", None)):
            self.known[...], self.digest = False, digest
        form = rng.integers(len(self.moves), size=n) if self.max_shift else np.zeros(n, int)
        all_of_them = np.arange(n)
        new = np.flatnonzero(~self.known[form, all_of_them])
        for here in np.array_split(new, range(ASKED, len(new), ASKED)):
            if len(here):
                for name, a in named(self.answer(self.forms(here, form[here], self.columns(every)))).items():
                    if name not in self.answers:
                        self.answers[name] = np.empty((len(self.moves), n, *a.shape[1:]), a.dtype)
                    self.answers[name][form[here], here] = a
                self.known[form[here], here] = True
        return {**batch, "x": self.forms(all_of_them, form, self.columns(every if seen is None else seen)),
                **{name: a[form, all_of_them] for name, a in self.answers.items()}}
