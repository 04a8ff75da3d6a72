"""The arithmetic coder: what is written is read, its length is what probabilities say, and nothing costs nothing."""

from fractions import Fraction

import numpy as np
import pytest

from npkd.core.coding import LIMIT, Decoder, Encoder, integers, number

RNG = np.random.default_rng


def coded(decisions):
    encoder = Encoder()
    for bit, context in decisions:
        assert encoder.bit(bit, context) == bit
    return encoder.bytes()


def by_fractions(decisions):
    """The ideal length in bits, from the exact length of the interval (N81) with the probabilities of (N80)."""
    counts, length = {}, Fraction(1)
    for bit, context in decisions:
        n = counts.setdefault(context, [0, 0])
        p = Fraction(2 * n[0] + 1, 2 * (n[0] + n[1] + 1))
        length *= 1 - p if bit else p
        n[bit] += 1
        if sum(n) > LIMIT:
            n[:] = [(k + 1) // 2 for k in n]
    return float(length.denominator.bit_length() - length.numerator.bit_length())


@pytest.mark.parametrize("seed", range(8))
def test_decisions_come_back_in_as_few_bytes_as_their_probabilities_say(seed):
    rng = RNG(seed)
    share = rng.random(3) ** 3
    decisions = [(int(rng.random() < share[c]), c) for c in rng.integers(0, 3, 3000).tolist()]
    data = coded(decisions)
    decoder = Decoder(data)
    assert [decoder.bit(0, context) for _, context in decisions] == [bit for bit, _ in decisions]
    ideal = by_fractions(decisions) / 8
    assert len(data) <= ideal * 1.01 + 3
    assert len(data) >= ideal - 3


def test_carries_go_through_many_bytes_of_255():
    """Improbable ones in a row make the low end grow by nearly the whole interval: carries at every distance."""
    rng = RNG(0)
    for n in range(1, 60):
        decisions = [(0, "a")] * (20 * n) + [(1, "a")] * n + [(int(b), "a") for b in rng.random(50) < 0.5]
        decoder = Decoder(coded(decisions))
        assert [decoder.bit(1, "a") for _ in decisions] == [bit for bit, _ in decisions]


def test_nothing_takes_no_bytes_and_a_decision_takes_a_part_of_a_byte():
    """A decision that is sure takes log2 of 1 + 1/(2·LIMIT) at least: so many bytes bound how many there can be."""
    assert coded([]) == b""
    assert len(coded([(0, "a")] * 300_000)) >= 300_000 / (8 * 2 * LIMIT) - 1


def test_decisions_that_are_not_there_are_noticed():
    rng = RNG(1)
    decoder = Decoder(coded([(int(b), "a") for b in rng.integers(0, 2, 500)]))
    with pytest.raises(ValueError, match="decisions are missing"):
        [decoder.bit(0, "a") for _ in range(700)]


@pytest.mark.parametrize("seed", range(40))
def test_all_that_was_written_is_there_whatever_the_last_bytes_are(seed):
    """Ends in zeros or not: the decoder never asks for more than it is given and six bytes of zeros."""
    rng = RNG(seed)
    decisions = [(0, k) for k in range(rng.integers(0, 30))] + [(0, "a")] * rng.integers(0, 5000)
    decoder = Decoder(coded(decisions))
    assert [decoder.bit(1, c) for _, c in decisions] == [0] * len(decisions)


@pytest.mark.parametrize("values", [range(300), [0, 1, 2 ** 15, 2 ** 31, 2 ** 40]])
def test_every_number_comes_back(values):
    encoder = Encoder()
    for value in values:
        number(encoder, value, "n")
    decoder = Decoder(encoder.bytes())
    assert [number(decoder, 7, "n") for _ in values] == list(values)


def test_a_number_ends():
    with pytest.raises(ValueError, match="too long"):
        number(Encoder(), 1 << 70, "n")
    with pytest.raises(ValueError, match="too long"):
        number(Decoder(b"\xff" * 1000), 0, "n")


@pytest.mark.parametrize(("density", "size"), [(0.0, 1), (0.01, 3), (0.3, 100), (1.0, 30_000)])
def test_matrices_come_back_and_take_about_their_entropy(density, size):
    rng = RNG(3)
    q = np.where(rng.random((60, 90)) < density, rng.integers(1, size + 1, (60, 90)) * rng.choice([-1, 1], (60, 90)), 0)
    encoder = Encoder()
    integers(encoder, q, "q")
    data = encoder.bytes()
    np.testing.assert_array_equal(integers(Decoder(data), np.zeros_like(q), "q"), q)
    _, counts = np.unique(q, return_counts=True)
    entropy = -(counts * np.log2(counts / counts.sum())).sum() / 8
    assert len(data) <= 1.1 * entropy + 60 + (0.35 * q.size if size > 1000 else 0)   # large sizes are learnt by length


def length(q):
    encoder = Encoder()
    integers(encoder, q, "q")
    data = encoder.bytes()
    np.testing.assert_array_equal(integers(Decoder(data), np.zeros_like(q), "q"), q)
    return len(data)


def test_empty_rows_and_columns_cost_a_decision_each():
    """Half of the rows and columns are empty, anywhere: a bit each, and not one for each entry."""
    rng = RNG(4)
    inner, q = rng.integers(-3, 4, (100, 100)), np.zeros((200, 200), int)
    q[np.ix_(*(np.sort(rng.permutation(200)[:100]) for _ in range(2)))] = inner
    assert length(q) <= length(inner) + 400 / 8 + 5
    assert length(np.zeros((3000, 3000), int)) < 10


def test_neighbours_and_full_columns_are_learnt():
    """Entries side by side, of one sign, and some columns fuller: all take less than the same entries anywhere."""
    rng = RNG(5)
    runs = np.zeros((80, 120), int)
    for r, at in zip(rng.integers(0, 80, 120), rng.integers(0, 114, 120), strict=True):
        runs[r, at:at + 6] = rng.integers(1, 4, 6) * rng.choice([-1, 1])
    part = np.where(rng.random(120) < 0.2, 0.4, 0.01)
    full = np.where(rng.random((80, 120)) < part, rng.integers(1, 4, (80, 120)), 0)
    for q in (runs, full):
        shuffled = rng.permutation(q.ravel()).reshape(q.shape)
        assert length(q) < 0.85 * length(shuffled)
