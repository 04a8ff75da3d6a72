"""Passes over examples in the memory of a batch: of an array, batches again and again or once, a folder of shards."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from npkd.core.files import reason
from npkd.core.types import Array
from npkd.core.validation import InputError, as_array
from npkd.data.datasets import labels as checked_labels
from npkd.data.shards import Pair, Shards
from npkd.nn.scaling import flat

ROWS = 10_000
"""Examples in a piece of a pass and in a batch of the statistics: large products, little memory."""
MAPS = 500
"""The same of networks whose activations are maps."""
Prepare = Callable[[Array], Array] | None
"""x (n, ...) of any numbers -> (n, I) float32: what a network's own scaling does. None: the numbers as they are."""

FORMS = "an array (N, ...), a folder of .npz shards, an iterator of batches, or a function that gives one for each pass"


def passes_over(x: Any, labels: Any, classes: int, prepare: Prepare, stack: ExitStack) -> Passes:
    """Passes over x in any of its forms: checked, flattened, float32.

    x           an array (N, ...) (memory-mapped ones stay on the disk), Shards or the path of a folder of them, a
                function that gives an iterator for every pass, an object that can be iterated again and again, or an
                iterator, which is copied to a temporary file as float32; a batch is an array (n, ...) or a pair with
                its labels (n,)
    labels      (N,) integers 0 … classes − 1 in the order of the examples, floats to predict, (N,) or (N, O), or None
    stack       closes the temporary file

    Raises InputError for other things; a pass does for batches that do not fit, NaN, infinity, labels out of range."""
    if labels is not None:
        labels = plain(labels)
        labels = checked_labels("compress", "labels", labels, len(labels) if labels.ndim else 1, classes)
    if isinstance(x, (str, os.PathLike)):
        x = Shards(x)
    if isinstance(x, Shards):
        return Passes(partial(x.batches, ROWS), labels, classes, prepare, x)
    if hasattr(x, "__array__") or hasattr(x, "toarray"):      # also tensors and tables of other libraries
        whole = plain(x)
        flat("compress", whole)
        return Passes(lambda: ((batch, None) for batch in batches_of(whole)()), labels, classes, prepare)
    if callable(x):
        return Passes(lambda: iterated(x()), labels, classes, prepare)
    if not isinstance(x, Iterable):
        raise InputError(f"compress: x is of type {type(x).__name__}; it must be {FORMS}")
    passes = Passes(lambda: iterated(x), labels, classes, prepare)
    return Passes(spooled(passes, stack), None, classes, None) if isinstance(x, Iterator) else passes


def plain(x: Any) -> Array:
    """Anything with numbers in it as an array, also a tensor of torch on any device. Raises InputError otherwise."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = (x if x.dtype.itemsize > 2 or not x.is_floating_point() else x.float()).numpy()
    return as_array("compress", x)


def iterated(batches: Any) -> Iterator[Pair]:
    """Batches given by the user: arrays, or pairs of examples and labels."""
    if not isinstance(batches, Iterable) or isinstance(batches, (str, bytes, np.ndarray)):
        raise InputError(f"compress: x gives {type(batches).__name__}, which is no iterator; it must be {FORMS}")
    for batch in batches:
        if isinstance(batch, (tuple, list)) and (len(batch) == 2 or (len(batch) == 1 and hasattr(batch[0], "detach"))):
            yield plain(batch[0]), None if len(batch) == 1 or batch[1] is None else plain(batch[1])     # torch: [x]
        else:
            yield plain(batch), None


class Passes:
    """Called for every pass: pieces x (n, I) float32, finite, contiguous, and labels, (n,) int64, (n, O) float64 of
    numbers to predict, or None; 1 ≤ n ≤ ROWS.

    raw         gives the batches of a pass;   labels  (N,) in order, for batches that bring none
    classes     what labels must be below;   prepare  see Prepare
    shards      that they are read from, or None
    shape       of one example as it was given, known from the first batch on"""

    def __init__(self, raw: Callable[[], Iterator[Pair]], labels: Array | None, classes: int, prepare: Prepare,
                 shards: Shards | None = None) -> None:
        self.raw, self.labels, self.classes, self.prepare, self.shards = raw, labels, classes, prepare, shards
        self.shape: tuple[int, ...] | None = None
        self.labelled = False

    def __call__(self) -> Iterator[Pair]:
        """One pass. Raises InputError for batches that do not fit one another, or the labels."""
        so_far = 0
        for x, y in self.raw():
            if x.ndim >= 2 and not len(x):
                continue
            if self.shape is None and x.size and x.ndim >= 2:
                self.shape, self.labelled = x.shape[1:], y is not None
            if x.ndim < 2 or x.shape[1:] != self.shape:
                first = "" if self.shape is None else f" as the first one, {self.shape} each"
                raise InputError(f"compress: a batch of x has shape {x.shape}; all must be (n, ...){first}")
            if (y is not None) != self.labelled:
                raise InputError("compress: some batches have labels and some have none; all must have them or none")
            y = self.of_batch(y, so_far, len(x))
            for i in range(0, len(x), ROWS):
                yield floats(x[i:i + ROWS], so_far + i, self.prepare), None if y is None else y[i:i + ROWS]
            so_far += len(x)
        if not so_far:
            raise InputError(f"compress: x has no examples; it must be {FORMS}")
        if self.labels is not None and so_far < len(self.labels):
            raise InputError(f"compress: there are {len(self.labels)} labels and {so_far} examples; each needs one")

    def part(self, files: Sequence[int]) -> Passes:
        """Passes over some of the shards alone, one after another."""
        assert self.shards is not None
        start = sum(self.shards.counts[:files[0]])
        stop = sum(self.shards.counts[:files[-1] + 1])
        labels = None if self.labels is None else self.labels[start:stop]
        return Passes(partial(self.shards.batches, ROWS, files), labels, self.classes, self.prepare)

    def of_batch(self, y: Array | None, start: int, n: int) -> Array | None:
        """The labels of a batch: those that came with it, or its part of those given in order."""
        if self.labels is None:
            return None if y is None else checked_labels("compress", "y", y, n, self.classes)
        if y is not None:
            raise InputError("compress: labels are given twice, beside x and with it; give them once")
        if start + n > len(self.labels):
            raise InputError(f"compress: there are {len(self.labels)} labels and at least {start + n} examples; each "
                             "needs one")
        return self.labels[start:start + n]


def client_of(passes: Passes) -> Any:
    """The client whose workers read the passes, or None."""
    shards = getattr(passes, "shards", None)
    return None if shards is None else shards.client


def parts_of(passes: Passes) -> list[list[int]] | list[None]:
    """Files of each part of the passes that is worked on by itself, or None alone, which is all there is."""
    return [None] if client_of(passes) is None or passes.shards is None else passes.shards.parts()


def floats(x: Array, start: int, prepare: Prepare) -> Array:
    """x (n, ...) as (n, I) float32, contiguous. Raises InputError unless it holds numbers finite in float32."""
    def finite(rows: Array) -> Array:
        if not np.isfinite(rows).all():
            n, i = np.argwhere(~np.isfinite(rows))[0].tolist()
            raise InputError(f"compress: x holds {rows[n, i]} in example {start + n}, feature {i}; every value must be "
                             f"finite, also in float32")
        return rows
    with np.errstate(over="ignore", invalid="ignore"):
        rows = flat("compress", x)
        return finite(np.ascontiguousarray(prepare(finite(rows)) if prepare else rows, np.float32))


def spooled(once: Passes, stack: ExitStack) -> Callable[[], Iterator[Pair]]:
    """Any number of passes over batches that come once: copied to a temporary folder, which the stack removes."""
    lengths: list[int] = []
    width, labels = 0, None
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="npkd-")))
    with open(folder / "x", "wb") as x_file, open(folder / "y", "wb") as y_file:
        for x, y in once():
            lengths.append(len(x))
            width, labels = x.shape[1], y
            try:
                x_file.write(x.data)
                x_file.flush()                           # a disk that is full says so here, not when the file is closed
                if y is not None:
                    y_file.write(np.ascontiguousarray(y).data)                  # int64 or float64
                    y_file.flush()
            except OSError as error:
                raise InputError(f"compress: x comes once and is copied to a temporary file: {reason(error)}; make "
                                 "room, or give x in another form") from error
    shape = once.shape if once.prepare is None and once.shape else (width,)               # scaled examples are flat

    def one_pass() -> Iterator[Pair]:
        with open(folder / "x", "rb") as x_file, open(folder / "y", "rb") as y_file:
            for n in lengths:
                x = np.frombuffer(x_file.read(4 * n * width), np.float32).reshape(n, *shape)
                yield x, None if labels is None else np.frombuffer(
                    y_file.read(8 * n * math.prod(labels.shape[1:])), labels.dtype).reshape(n, *labels.shape[1:])

    return one_pass


def batches_of(x: Array, rows: int | None = None) -> Callable[[], Iterator[Array]]:
    """Passes over x (N, ...) in batches of ``rows``, or ROWS."""
    each = rows or ROWS
    return lambda: (x[i:i + each] for i in range(0, len(x), each))
