"""Whole numbers in few bytes, and back exactly: an adaptive binary arithmetic coder, and arrays by their neighbours.

Integers alone decide what is written, so that every machine writes and reads the same. docs/book/26-coding-and-cost.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable

import numpy as np

from npkd.core.types import Array

BITS, LOW = 48, 40
"""Bits of the interval; a byte is written when its length is below 2^LOW."""
LIMIT = 1023
"""Counts of a context are halved there, so that it goes on learning."""
LONGEST = 64
"""Bits of a number."""


def learn(n: list[int], bit: int) -> None:
    """Count a decision of a context; at LIMIT its counts are halved."""
    n[bit] += 1
    if n[0] + n[1] > LIMIT:
        n[0], n[1] = n[0] + 1 >> 1, n[1] + 1 >> 1


class Encoder:
    """Decisions, each of a context, into bytes: an interval becomes shorter by the probability of each.

        p = (n_0 + ½)/(n_0 + n_1 + 1), in 2^−16                                       (N80)
        [l, l + r) ← [l, l + r p) for 0,   [l + r p, l + r) for 1                     (N81)

    n_0 and n_1 count the decisions of the context so far. Sources: Krichevsky & Trofimov 1981; Witten, Neal & Cleary
    1987, here in the form of a range coder with carries.
    """

    def __init__(self) -> None:
        self.counts: dict[Hashable, list[int]] = defaultdict(lambda: [0, 0])
        self.low, self.range, self.out = 0, 1 << BITS, bytearray()

    def bit(self, bit: int, context: Hashable) -> int:
        """Write a decision, and return it."""
        n = self.counts[context]
        bound = (self.range >> 16) * (((2 * n[0] + 1) << 15) // (n[0] + n[1] + 1))    # (N80)
        if bit:
            self.low, self.range = self.low + bound, self.range - bound               # (N81)
        else:
            self.range = bound                                                        # (N81)
        learn(n, bit)
        while self.range < 1 << LOW:
            self.shift()
        return bit

    def shift(self) -> None:
        """Write the leading byte of the interval's low end, and carry into those before."""
        if self.low >> BITS:
            k = len(self.out) - 1
            while self.out[k] == 255:
                self.out[k] = 0
                k -= 1
            self.out[k] += 1
        self.out.append(self.low >> LOW & 255)
        self.low, self.range = (self.low & (1 << LOW) - 1) << 8, self.range << 8

    def bytes(self) -> bytes:
        """All that was written; zeros at its end are left out, seven at most."""
        for zeros in range(BITS, -1, -1):                             # the number in the interval with most zeros
            number = self.low + (1 << zeros) - 1 >> zeros << zeros
            if number < self.low + self.range:
                break
        self.low = number
        least = len(self.out)
        for _ in range(BITS // 8):
            self.shift()
        return bytes(self.out).rstrip(b"\0").ljust(least, b"\0")


class Decoder:
    """The decisions that an Encoder wrote, if they are asked for in the same order with the same contexts. Asked for
    more than there are, it raises ValueError: soon after the end of the data, not at once."""

    def __init__(self, data: bytes) -> None:
        self.counts: dict[Hashable, list[int]] = defaultdict(lambda: [0, 0])
        self.data, self.at, self.range = data, BITS // 8, 1 << BITS
        self.code = int.from_bytes(data[:self.at].ljust(self.at, b"\0"), "big")

    def bit(self, bit: int, context: Hashable) -> int:
        """Read a decision; the argument ``bit`` is not looked at."""
        n = self.counts[context]
        bound = (self.range >> 16) * (((2 * n[0] + 1) << 15) // (n[0] + n[1] + 1))    # (N80)
        if bit := int(self.code >= bound):
            self.code, self.range = self.code - bound, self.range - bound             # (N81)
        else:
            self.range = bound                                                        # (N81)
        learn(n, bit)
        while self.range < 1 << LOW:
            self.code = self.code << 8 | (self.data[self.at] if self.at < len(self.data) else 0)
            self.range, self.at = self.range << 8, self.at + 1
            if self.at > len(self.data) + BITS // 8:
                raise ValueError("decisions are missing")
        return bit


def number(coder: Encoder | Decoder, value: int, context: Hashable) -> int:
    """A number n ≥ 0: the length of n + 1 in binary in ones and a zero, then its digits behind the first.

    Each decision learns by all those before it, lengths beyond eight by the length alone. Raises ValueError for more
    than LONGEST bits. Source: Elias 1975 (γ).
    """
    value, length = value + 1, 0
    while coder.bit(int(value >> length + 1 > 0), (context, "length", length)):
        length += 1
        if length > LONGEST:
            raise ValueError("a number is too long")
    prefix = 1
    for k in range(length - 1, -1, -1):
        digit = coder.bit(value >> k & 1, (context, length, prefix if length < 9 else k))
        prefix = prefix << 1 | digit
    return prefix - 1


def alive(coder: Encoder | Decoder, counts: Array, context: Hashable) -> list[int]:
    """Where counts (n,), or as many to be read, are not zero: each a decision whose context is the one before."""
    before, out = 0, list[int]()
    for k, count in enumerate(counts.tolist()):
        before = coder.bit(int(count > 0), (context, before))
        if before:
            out.append(k)
    return out


def integers(coder: Encoder | Decoder, q: Array, name: Hashable) -> Array:
    """Whole numbers (O, d), or as many to be read, int32: which rows and which columns are not all zero, and of these
    row after row, is an entry zero, its sign, its size.

    What tells most of whether an entry is zero is how many of its column and of its row were not so far, their parts in
    32nd by binary length, and how many of the two before it were not; of a sign, that of the nearer of these two.
    """
    rows, columns = (alive(coder, (q != 0).sum(axis=k), (name, k)) for k in (1, 0))
    out, filled = np.zeros(q.shape, np.int32), [0] * len(columns)
    for r, o in enumerate(rows):
        inside = one = two = 0
        row = q[o, columns].tolist()
        for j, value in enumerate(row):
            near = (one != 0) + (two != 0)
            full = (32 * filled[j] // (r + 1)).bit_length() + (32 * inside // (j + 8)).bit_length()
            new = 0
            if coder.bit(int(value != 0), (name, full, near)):
                inside += 1
                filled[j] += 1
                sign = coder.bit(int(value < 0), (name, "sign", one < 0 or (one == 0 and two < 0), near == 0))
                new = number(coder, abs(value) - 1, (name, "size")) + 1
                new = -new if sign else new
            one, two, row[j] = new, one, new
        out[o, columns] = row
    return out
