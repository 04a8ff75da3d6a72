"""Parts of a stream of examples: what is held out, what is learnt from, and uniform samples of both.

Which examples are held out is decided by their hashes: every pass, every order and every way of cutting the data into
batches gives the same parts, and copies of an example are all in the same one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.batches import Passes, client_of, parts_of
from npkd.data.cluster import results


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

    def __add__(self, later: PassSums) -> PassSums:
        """Those of a pass over these examples and then the ``later`` ones."""
        moved = later.this_order + self.examples * later.any_order
        return PassSums(self.examples + later.examples, (self.any_order + later.any_order) % 2 ** 64,
                        (self.this_order + moved) % 2 ** 64)


@dataclass(frozen=True)
class Counted:
    """What the first pass finds in a part of the examples: sums of their hashes, how many are held out, the smallest
    and the largest hash, the sum of the squares of all inputs, whether there are labels, and how many features."""

    sums: PassSums
    held_out: int
    low: int
    high: int
    square: float
    labelled: bool
    features: int


@dataclass(frozen=True, eq=False)
class Survey:
    """Result of the first pass over all examples.

    sums        of the hashes, which every pass has to give again;   labelled  whether there are labels
    in_order    whether every pass has to give the examples in the same order
    level       root of the mean square of all inputs
    key, below  an example is held out where its hash with this key is below this
    counted     what was found in each part of the examples"""

    sums: PassSums
    labelled: bool
    in_order: bool
    level: float
    key: Array
    below: int
    counted: tuple[Counted, ...]

    def part(self, k: int) -> Survey:
        """Of part k alone."""
        return replace(self, sums=self.counted[k].sums)

    def before(self, k: int) -> tuple[int, int]:
        """How many examples of the parts before part k are learnt from, and how many are held out."""
        out = sum(one.held_out for one in self.counted[:k])
        return sum(one.sums.examples for one in self.counted[:k]) - out, out

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


def counted(passes: Passes, files: Sequence[int] | None, seed: int, below: int) -> Counted:
    """One pass over all examples, or over those of some shards. Raises InputError where there are none."""
    sums, out, square, low, high, labelled, key = PassSums(), 0, 0.0, 2 ** 32, -1, False, np.zeros(0, np.uint64)
    for x, y in (passes if files is None else passes.part(files))():
        key = key if sums.examples else np.random.default_rng([seed, 1]).integers(0, 2 ** 64, x.shape[1] + 1, np.uint64)
        h = hashes(x, key)
        low, high, out = min(low, int(h.min())), max(high, int(h.max())), out + int((h < np.uint64(below)).sum())
        sums.add(h)
        labelled = y is not None
        square += float(np.einsum("ni,ni->", x, x, dtype=np.float64)) / x.shape[1]
    return Counted(sums, out, low, high, square, labelled, len(key) - 1)


def survey(passes: Passes, fraction: float, seed: int) -> Survey:
    """The first pass over all examples, part by part, by workers if there are any. About ``fraction`` of the different
    ones will be held out, at least one. Labels given apart bind later passes to its order. Raises InputError where all
    examples are the same."""
    def one_pass(below: int) -> tuple[Counted, ...]:
        return tuple(results(client_of(passes), partial(counted, passes, seed=seed, below=below),
                             [(part,) for part in parts_of(passes)]))

    below = int(fraction * 2 ** 32)
    found = one_pass(below)
    low, high = min(one.low for one in found), max(one.high for one in found)
    sums = reduce(PassSums.__add__, [one.sums for one in found])
    if low == high:
        raise InputError(f"compress: all {sums.examples} examples of x are the same; at least two must be different")
    if not low < below <= high:                               # few examples: count anew
        found = one_pass(min(max(below, low + 1), high))
    below, level = min(max(below, low + 1), high), math.sqrt(sum(one.square for one in found) / sums.examples)
    key = np.random.default_rng([seed, 1]).integers(0, 2 ** 64, found[0].features + 1, dtype=np.uint64)
    in_order = getattr(passes, "labels", None) is not None
    return Survey(sums, found[0].labelled, in_order, level, key, below, found)


class Reservoir:
    """A uniform sample of a stream, drawn in one pass: each set of ``size`` examples has the same probability.

    Of t examples each is in the sample with probability size/t. The t-th (t > size) enters with that probability and
    takes a random place. The sample depends on seed and order, not on batches. ``seen``: examples that went by before
    the first one here, each of which took a number of ``rng``. Source: Vitter 1985, algorithm R."""

    def __init__(self, size: int, width: int, rng: np.random.Generator, seen: int = 0) -> None:
        self.size, self.seen, self.rng = size, seen, rng
        self.x, self.y = np.empty((size, width), np.float32), np.zeros(size, np.int64)

    def choose(self, n: int) -> tuple[Array, Array]:
        """For the next n examples: places (k,) in the sample, each one once, and which of the n go there (k,)."""
        t = self.seen + 1 + np.arange(n)
        place = np.where(t <= self.size, t - 1, np.floor(self.rng.random(n) * t).astype(np.int64))
        places, last = np.unique(place[::-1], return_index=True)           # of several for one place the last one stays
        self.seen += n
        return places[places < self.size], n - 1 - last[places < self.size]

    def put(self, places: Array, x: Array, y: Array | None) -> None:
        """Examples x (k, I) float32 and their labels (k, ...) in their places (k,)."""
        if y is not None and (self.y.shape[1:], self.y.dtype) != (y.shape[1:], y.dtype):
            self.y = np.zeros((self.size, *y.shape[1:]), y.dtype)
        self.x[places] = x
        if y is not None:
            self.y[places] = y

    def add(self, x: Array, y: Array | None) -> None:
        """More of the stream: x (n, I) float32 and labels (n, ...)."""
        places, rows = self.choose(len(x))
        self.put(places, x[rows], None if y is None else y[rows])

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
    sizes = [min(n, surveyed.sums.examples) for n in (size, size_held_out)]
    kept = [Reservoir(n, len(surveyed.key) - 1, np.random.default_rng(seed)) for n in sizes]
    job = partial(entering, passes, surveyed, sizes, seed)
    for part in results(client_of(passes), job, enumerate(parts_of(passes))):
        for which, n, places, x, y in part:
            kept[which].seen += n
            kept[which].put(places, x, y)
    return Samples(*kept[0].drawn(), *kept[1].drawn(), kept[0].seen)


def entering(passes: Passes, surveyed: Survey, sizes: Sequence[int], seed: int, k: int, files: Sequence[int] | None
             ) -> Iterator[tuple[int, int, Array, Array, Array | None]]:
    """What part k does to the two reservoirs, a batch at a time: which one, how many go by, ``put``'s arguments."""
    chosen = [Reservoir(n, 0, np.random.Generator(np.random.PCG64([seed, stream]).advance(seen)), seen)
              for n, stream, seen in zip(sizes, (2, 3), surveyed.before(k), strict=True)]
    for x, y, out in surveyed.part(k).parts(passes if files is None else passes.part(files), "the second"):
        for which, rows in enumerate((np.flatnonzero(~out), np.flatnonzero(out))):
            if len(rows):
                places, entered = chosen[which].choose(len(rows))
                rows, n = rows[entered], len(rows)
                yield which, n, places, x[rows], None if y is None else y[rows]
