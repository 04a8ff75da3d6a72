"""Parts of a stream of examples: what is held out, what is learnt from, and uniform samples of both.

Which examples are held out is decided by their hashes: every pass, every order and every way of cutting the data into
batches gives the same parts, and copies of an example are all in the same one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.batches import Passes


def hashes(x: Array, key: Array) -> Array:
    """A number from 0 to 2³² − 1 for each example, the same for the same example.

        h(x) = ⌊(a_0 + Σ_i a_i x_i mod 2⁶⁴) / 2³²⌋,   x_i the bits of a float32 as a whole number

    x (n, I) float32, key (I + 1,) uint64 at random: then the numbers are uniform, and those of two different examples
    independent. Source: Lemire & Kaser 2014 (multilinear hashing)."""
    out = np.empty(len(x), np.uint64)
    for i in range(0, len(x), 500):                           # 64 bits a feature: a few at a time
        bits = (x[i:i + 500] + np.float32(0)).view(np.uint32).astype(np.uint64)       # + 0: −0.0 and 0.0 are one number
        out[i:i + 500] = (np.einsum("ni,i->n", bits, key[1:]) + key[0]) >> np.uint64(32)
    return out


@dataclass
class PassSums:
    """Sums of the hashes h_n of the examples of a pass, n = 0, 1, …, whatever batches it comes in.

        any_order = Σ_n h_n mod 2⁶⁴,   this_order = Σ_n n h_n mod 2⁶⁴"""

    examples: int = 0
    any_order: int = 0
    this_order: int = 0

    def add(self, h: Array) -> None:
        """The next examples of the pass, h (n,) uint64."""
        n = np.arange(self.examples, self.examples + len(h), dtype=np.uint64)
        self.any_order = (self.any_order + int(h.sum())) % 2 ** 64
        self.this_order = (self.this_order + int((n * h).sum())) % 2 ** 64
        self.examples += len(h)


@dataclass(frozen=True, eq=False)
class Survey:
    """Result of the first pass over all examples.

    sums        of the hashes, which every pass has to give again;   labelled  whether there are labels
    in_order    whether every pass has to give the examples in the same order
    level       root of the mean square of all inputs
    key, below  an example is held out where its hash with this key is below this"""

    sums: PassSums
    labelled: bool
    in_order: bool
    level: float
    key: Array
    below: int

    def parts(self, passes: Passes, which: str) -> Iterator[tuple[Array, Array | None, Array]]:
        """A later pass: x (n, I), y (n,) or None, and which of these examples are held out, (n,) bool. Raises
        InputError at its end where it gave other examples, or another order where labels go by it."""
        sums = PassSums()
        for x, y in passes():
            h = hashes(x, self.key)
            sums.add(h)
            yield x, y, h < np.uint64(self.below)
        examples = self.sums.examples
        if sums.examples != examples:
            raise InputError(f"compress: x gave {examples} examples in the first pass and {sums.examples} in "
                             f"{which}; it must give the same: a function has to make a new iterator each time")
        if sums.any_order != self.sums.any_order:
            raise InputError(f"compress: x gave {examples} examples in the first pass and as many, but others, in "
                             f"{which}; it must give the same in every pass, so leave out what is drawn anew")
        if self.in_order and sums.this_order != self.sums.this_order:
            raise InputError(f"compress: labels are given apart, and x gives its examples in another order in {which} "
                             "than in the first pass; give each batch with its labels, as a pair (x, y)")


def survey(passes: Passes, fraction: float, seed: int) -> Survey:
    """The first pass over all examples. About ``fraction`` of the different ones will be held out, at least one. Labels
    given apart bind later passes to its order. Raises InputError where all examples are the same."""
    sums, square, low, high, labelled, key = PassSums(), 0.0, 2 ** 32, -1, False, np.zeros(0, np.uint64)
    for x, y in passes():
        if not sums.examples:
            key = np.random.default_rng([seed, 1]).integers(0, 2 ** 64, x.shape[1] + 1, dtype=np.uint64)
        h = hashes(x, key)
        low, high = min(low, int(h.min())), max(high, int(h.max()))
        sums.add(h)
        labelled = y is not None
        square += float(np.einsum("ni,ni->", x, x, dtype=np.float64)) / x.shape[1]
    if low == high:
        raise InputError(f"compress: all {sums.examples} examples of x are the same; at least two must be different")
    in_order, below = getattr(passes, "labels", None) is not None, min(max(int(fraction * 2 ** 32), low + 1), high)
    return Survey(sums, labelled, in_order, math.sqrt(square / sums.examples), key, below)


class Reservoir:
    """A uniform sample of a stream, drawn in one pass: each set of ``size`` examples has the same probability.

    Of t examples each is in the sample with probability size/t. The t-th (t > size) enters with that probability and
    takes a random place. The sample depends on seed and order, not on batches. Source: Vitter 1985, algorithm R."""

    def __init__(self, size: int, width: int, rng: np.random.Generator) -> None:
        self.size, self.seen, self.rng = size, 0, rng
        self.x, self.y = np.empty((size, width), np.float32), np.zeros(size, np.int64)

    def add(self, x: Array, y: Array | None) -> None:
        """More of the stream: x (n, I) float32 and labels (n, ...)."""
        if y is not None and not self.seen:
            self.y = np.empty((self.size, *y.shape[1:]), y.dtype)
        n, t = len(x), self.seen + 1 + np.arange(len(x))
        place = np.where(t <= self.size, t - 1, np.floor(self.rng.random(n) * t).astype(np.int64))
        places, last = np.unique(place[::-1], return_index=True)           # of several for one place the last one stays
        rows = n - 1 - last[places < self.size]
        places = places[places < self.size]
        self.x[places] = x[rows]
        if y is not None:
            self.y[places] = y[rows]
        self.seen += n

    def drawn(self) -> tuple[Array, Array]:
        """The sample: x (n, I) and labels (n,), n ≤ size; in the order of the stream where all of it fits."""
        return self.x[:self.seen], self.y[:self.seen]


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of a stream: x (n, I) float32 and y (n, ...) as labels are (0 without any), drawn from the
    ``learnt_from`` examples that are not held out; x_held and y_held, drawn from the others."""

    x: Array
    y: Array
    x_held: Array
    y_held: Array
    learnt_from: int


def samples(passes: Passes, surveyed: Survey, size: int, size_held_out: int, seed: int) -> Samples:
    """Uniform samples, in one pass: at most ``size`` examples to learn from, at most ``size_held_out`` of the others.
    Raises InputError where this pass gives other examples than the first."""
    parts = [Reservoir(min(n, surveyed.sums.examples), len(surveyed.key) - 1, np.random.default_rng([seed, stream]))
             for n, stream in ((size, 2), (size_held_out, 3))]
    for x, y, out in surveyed.parts(passes, "the second"):
        for part, which in zip(parts, (~out, out), strict=True):
            if which.any():
                part.add(x[which], None if y is None else y[which])
    return Samples(*parts[0].drawn(), *parts[1].drawn(), parts[0].seen)


def learnt_from(passes: Passes, surveyed: Survey, factor: float, rows: int,
                dtype: Any = np.float32) -> Callable[[], Iterator[Array]]:
    """Passes over the examples that are not held out, times ``factor``, in batches of ``rows``, the last one smaller.
    Raises InputError during a pass that gives other examples than the first."""
    def one_pass() -> Iterator[Array]:
        batch, filled = np.empty((rows, len(surveyed.key) - 1), dtype), 0
        for x, _, out in surveyed.parts(passes, "a later one"):
            x = x[~out]
            while len(x):
                part, x = x[:rows - filled], x[rows - filled:]
                np.multiply(part, dtype(factor), out=batch[filled:filled + len(part)])
                filled += len(part)
                if filled == rows:
                    yield batch
                    batch, filled = np.empty_like(batch), 0
        if filled:
            yield batch[:filled]

    return one_pass
