"""Lengths of codes for weights: what entropy, Huffman's code and gaps between weights that are not zero would take.

The coded file itself is arithmetically coded (npkd.core.coded_files); these are the yardsticks beside it, and what deep
compression uses. docs/book/26-coding-and-cost.md.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError, whole


def entropy(counts: Array) -> float:
    """Bits that N symbols take at least, each coded by itself.

        N H = −Σ_s n_s log(n_s/N)/log 2                                               (N82)

    counts (S,) whole numbers, how often each symbol is met; symbols that are never met count nothing.
    """
    n = np.asarray(counts, np.float64)
    n = n[n > 0]
    return float(-(n * np.log2(n / n.sum())).sum()) if len(n) else 0.0                # (N82)


def huffman_lengths(counts: Array) -> Array:
    """Lengths of the words of a prefix code that makes Σ_s n_s l_s smallest: (S,) int64, 0 for what is never met.

        the two rarest become one that is met n_a + n_b times, one bit longer each; again, until one is left   (N83)

    One symbol alone has a word of one bit. Raises InputError for negative counts. Source: Huffman 1952.
    """
    counts = np.asarray(counts)
    if counts.ndim != 1 or (counts < 0).any():
        raise InputError(f"huffman_lengths: counts have shape {counts.shape}; they must be (S,), none of them negative")
    lengths = np.zeros(len(counts), np.int64)
    heap = [(int(n), s, [s]) for s, n in enumerate(counts) if n]
    if len(heap) == 1:
        lengths[heap[0][1]] = 1
    heapq.heapify(heap)
    while len(heap) > 1:
        (n, s, below), (m, _, other) = heapq.heappop(heap), heapq.heappop(heap)
        lengths[below + other] += 1                                                   # (N83)
        heapq.heappush(heap, (n + m, s, below + other))
    return lengths


def gaps(w: Array, bits: int = 8) -> Array:
    """Distances from each entry that is not zero to the one before, in the order of the array: (n,) int64.

        g_k = i_k − i_{k−1},   1 ≤ g ≤ 2^bits; a longer gap gets a filler, an entry of zero, at 2^bits        (N84)

    The first is counted from −1. Source: Han, Mao & Dally 2016.
    """
    whole("gaps", 1, 30, bits=bits)
    steps = np.diff(np.flatnonzero(w), prepend=-1)
    fillers, rest = np.divmod(steps - 1, 1 << bits)
    out = np.full(len(steps) + int(fillers.sum()), 1 << bits, np.int64)
    out[np.cumsum(fillers + 1) - 1] = rest + 1                                        # (N84)
    return out


@dataclass(frozen=True)
class CodeLengths:
    """Bits of the values of an array, without tables: entropy and Huffman of all entries; Huffman of the gaps and of
    what is not zero, fillers among them."""

    entropy: float
    huffman: int
    gaps: int


def code_lengths(w: Array, bits: int = 8) -> CodeLengths:
    """The lengths of an array of any shape."""
    def huffman(symbols: Array) -> int:
        counts = np.unique(symbols, return_counts=True)[1]
        return int((counts * huffman_lengths(counts)).sum())

    steps = gaps(w, bits)
    fillers = np.zeros(len(steps) - np.count_nonzero(w), w.dtype)
    return CodeLengths(entropy(np.unique(w, return_counts=True)[1]), huffman(w),
                       huffman(steps) + huffman(np.concatenate([w[w != 0], fillers])))
