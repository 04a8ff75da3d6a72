"""npkd.surgery.survivors."""

import numpy as np
import pytest

from npkd.surgery.removal import Removal
from npkd.surgery.survivors import listed, ranges, survivors


@pytest.mark.parametrize(("indices", "words"), [
    ([0, 1, 2, 5], "0–2, 5"), ([3], "3"), ([1, 3, 4], "1, 3–4"), ([], ""), (list(range(784)), "0–783")])
def test_ranges(indices, words):
    assert ranges(indices) == words
    assert listed(words) == indices


def test_survivors_keep_the_numbers_that_they_had_at_first():
    """Of rounds drawn at random, against sets of names that are carried along; a position of a map is no neuron."""
    rng = np.random.default_rng(0)
    names, widths, rounds, expected = [list(range(9)), list(range(20))], [9, 20], [], []
    for _ in range(3):
        out = [sorted(rng.choice(len(group), 2, replace=False)) for group in names]
        rounds.append([Removal(k, int(j), "dead") for k, gone in enumerate(out) for j in gone]
                      + [Removal(1, 0, "dead", position=3)])
        names = [[name for j, name in enumerate(group) if j not in gone]
                 for group, gone in zip(names, out, strict=True)]
        expected.append([ranges(group) for group in names])
    assert list(survivors(widths, rounds)) == expected
