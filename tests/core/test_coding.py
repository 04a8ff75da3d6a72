"""The arithmetic coder: what is written is read, its length is what probabilities say, and nothing costs nothing."""

from fractions import Fraction

import numpy as np
import pytest

from npkd.core.coding import LEAST, LIMIT, Decoder, Encoder, integers, number

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


def test_nothing_takes_no_bytes_and_a_byte_holds_at_most_so_many_decisions():
    assert coded([]) == b""
    zeros = 3_000_000
    encoder = Encoder()
    for _ in range(zeros):
        encoder.bit(0, "a")
    encoder.bit(1, "a")
    assert zeros / (len(encoder.bytes()) + 8) < LEAST


@pytest.mark.parametrize("values", [range(300), [0, 1, 2 ** 15, 2 ** 31, 2 ** 40]])
def test_every_number_comes_back(values):
    encoder = Encoder()
    for value in values:
        number(encoder, value, "n")
    decoder = Decoder(encoder.bytes())
    assert [number(decoder, 7, "n") for _ in values] == list(values)


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


def test_empty_rows_and_columns_cost_next_to_nothing():
    rng = RNG(4)
    inner = rng.integers(-3, 4, (20, 20))
    q = np.zeros((200, 200), int)
    q[:100:5, :100:5] = inner
    lengths = []
    for matrix in (inner, q):
        encoder = Encoder()
        integers(encoder, matrix, "q")
        lengths.append(len(encoder.bytes()))
    where = 200 / 8 + 20 / 8 * 8                                   # which rows and columns there are, and some more
    assert lengths[1] < lengths[0] + 6 * where
