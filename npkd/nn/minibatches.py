"""Mini-batches: the examples of an epoch in a new order, gathered into buffers that are used again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from npkd.core.types import Array, Batch
from npkd.core.validation import InputError

Augmentation = Callable[[Batch, np.random.Generator], Batch]
"""``augmentation(data, rng) -> data``: the examples as the network is to see them; it may add arrays."""


class Minibatches:
    """Batches of ``batch_size`` examples; ``for batch, progress in minibatches(rng)`` is an epoch.

    data    arrays by name, each with one row an example, "x" among them
    rows    examples in an epoch: a last batch of one, which has no variance, is left out unless it is the only one
    Raises InputError without examples, or where arrays differ in length.
    """

    def __init__(self, data: Batch, batch_size: int) -> None:
        if "x" not in data or not len(data["x"]):
            raise InputError("train: data has no examples; it needs an array 'x' with at least one row")
        lengths = {name: len(a) for name, a in data.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"train: data arrays have lengths {lengths}; they must be equal")
        n = lengths["x"]
        self.cuts = [*range(0, n, batch_size), n]
        if batch_size > 1 and len(self.cuts) > 2 and self.cuts[-1] - self.cuts[-2] == 1:
            self.cuts.pop()
        self.data, self.batch_size, self.rows = data, batch_size, self.cuts[-1]
        self.shown, self.buffers = data, dict[str, Array]()

    def show(self, augmented: Batch) -> None:
        """Take what an augmentation made of the data, contiguous, "x" in its dtype.

        Raises InputError unless every array has a row for each example, with shapes and dtypes as the last time.
        """
        n = len(self.data["x"])
        lengths = {name: len(a) for name, a in augmented.items()}
        if "x" not in augmented or set(lengths.values()) != {n}:
            raise InputError(f"train: the augmentation returned lengths {lengths}; it must return 'x', {n} rows each")
        shown = {name: np.ascontiguousarray(a, self.data["x"].dtype if name == "x" else None)
                 for name, a in augmented.items()}
        now, before = ({name: (a.shape, str(a.dtype)) for name, a in arrays.items()}
                       for arrays in (shown, self.shown if self.buffers else shown))
        if now != before:
            raise InputError(f"train: the augmentation gave {now}, {before} before; names, shapes and dtypes must stay")
        self.shown = shown

    def __call__(self, rng: np.random.Generator) -> Iterator[tuple[Batch, float]]:
        """Every batch of an epoch, valid until the next one, and the part of the epoch done in its middle, above 0."""
        if not self.buffers:
            self.buffers = {name: np.empty((self.batch_size, *a.shape[1:]), a.dtype) for name, a in self.shown.items()}
        order, count = rng.permutation(len(self.data["x"])), len(self.cuts) - 1
        for k, (start, end) in enumerate(zip(self.cuts[:-1], self.cuts[1:], strict=True)):
            yield {name: np.take(a, order[start:end], axis=0, out=self.buffers[name][:end - start], mode="clip")
                   for name, a in self.shown.items()}, (k + 0.5) / count
