"""Lengths of codes: Huffman's is the least of all prefix codes, by trying; gaps lead back to where they are from."""

import itertools
import math

import numpy as np
import pytest

from npkd.compression.coding import code_lengths, entropy, gaps, huffman_lengths
from npkd.core.validation import InputError


def least_by_trying(counts):
    """The shortest prefix code: all lengths with Kraft's sum Σ 2^−l ≤ 1."""
    counts = [c for c in counts if c]
    if len(counts) == 1:
        return counts[0]
    return min(sum(c * n for c, n in zip(counts, lengths, strict=True))
               for lengths in itertools.product(range(1, len(counts)), repeat=len(counts))
               if sum(2.0 ** -n for n in lengths) <= 1)


@pytest.mark.parametrize("seed", range(30))
def test_huffman_is_the_best_prefix_code(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 40, rng.integers(1, 7))
    lengths = huffman_lengths(counts)
    assert ((lengths == 0) == (counts == 0)).all()
    if counts.any():
        assert (counts * lengths).sum() == least_by_trying(counts.tolist())
        assert entropy(counts) - 1e-9 <= (counts * lengths).sum() <= entropy(counts) + counts.sum()


def test_entropy_by_its_sum():
    assert entropy(np.array([3, 0, 5])) == pytest.approx(-(3 * math.log2(3 / 8) + 5 * math.log2(5 / 8)))
    assert entropy(np.array([7])) == entropy(np.array([], int)) == 0
    with pytest.raises(InputError, match="none of them negative"):
        huffman_lengths(np.array([1, -1]))


@pytest.mark.parametrize("bits", [1, 3, 8])
@pytest.mark.parametrize("seed", range(6))
def test_gaps_lead_back(bits, seed):
    rng = np.random.default_rng(seed)
    w = np.where(rng.random((9, 31)) < 0.08, rng.standard_normal((9, 31)), 0)
    steps = gaps(w, bits)
    assert ((steps >= 1) & (steps <= 2 ** bits)).all() if len(steps) else True
    at, found = -1, []
    for step in steps:                              # a step of 2^bits onto a zero is a filler
        at += step
        if w.ravel()[at] != 0:
            found.append(at)
        else:
            assert step == 2 ** bits
    np.testing.assert_array_equal(found, np.flatnonzero(w))


def test_sparse_weights_are_shorter_by_gaps_and_dense_ones_are_not():
    rng = np.random.default_rng(0)
    q = rng.integers(1, 8, (100, 100)).astype(float)
    sparse = np.where(rng.random(q.shape) < 0.02, q, 0)
    assert code_lengths(sparse).gaps < code_lengths(sparse).huffman
    assert code_lengths(q).gaps > code_lengths(q).huffman >= code_lengths(q).entropy
