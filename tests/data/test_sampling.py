"""What is held out and what is drawn: decided by the examples and the seed, never by how they are cut into batches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.core.validation import InputError
from npkd.data.sampling import Reservoir, hashes, samples, survey
from npkd.data.stream import learnt_from

QUICK = settings(deadline=None, max_examples=50)


def cut(x, y, cuts):
    """Passes over x and y, cut there."""
    ends = sorted({0, len(x), *(c for c in cuts if c < len(x))})
    return lambda: ((x[a:b], None if y is None else y[a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True))


def held(survey, x):
    """Which of the examples x are held out."""
    return hashes(x, survey.key) < survey.below


def examples(n, width=3, seed=0):
    return np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)


@QUICK
@given(seed=st.integers(0, 10 ** 6), n=st.integers(1, 8), width=st.integers(1, 6))
def test_the_hash_is_what_its_formula_says(seed, n, width):
    x = examples(n, width, seed)
    key = np.random.default_rng(seed).integers(0, 2 ** 64, width + 1, dtype=np.uint64)
    for row, found in zip(x, hashes(x, key), strict=True):
        words = [int.from_bytes(value.tobytes(), "little") for value in row.astype("<f4")]
        total = int(key[0]) + sum(int(a) * word for a, word in zip(key[1:], words, strict=True))
        assert int(found) == total % 2 ** 64 // 2 ** 32


def test_zero_has_one_hash():
    key = np.random.default_rng(0).integers(0, 2 ** 64, 3, dtype=np.uint64)
    assert hashes(np.array([[0.0, 1.0]], np.float32), key) == hashes(np.array([[-0.0, 1.0]], np.float32), key)


def test_the_hash_is_uniform_over_keys():
    """Of two examples that differ in one bit: each is below a tenth in a tenth of the keys, both in a hundredth."""
    x = np.array([[1.0, 2.0], [np.nextafter(np.float32(1), np.float32(2)), 2.0]], np.float32)
    rng = np.random.default_rng(1)
    low = np.array([hashes(x, rng.integers(0, 2 ** 64, 3, dtype=np.uint64)) < 2 ** 32 // 10 for _ in range(20_000)])
    assert low.mean(axis=0) == pytest.approx([0.1, 0.1], abs=0.01)                        # deviation 0.002
    assert low.all(axis=1).mean() == pytest.approx(0.01, abs=0.004)                       # deviation 0.0007


@QUICK
@given(fraction=st.floats(0.05, 0.5), seed=st.integers(0, 1000), cuts=st.lists(st.integers(1, 399), max_size=5))
def test_the_parts_are_the_same_for_every_split_and_order(fraction, seed, cuts):
    x = examples(400)
    found = survey(cut(x, None, []), fraction, seed)
    other = survey(cut(x[::-1], None, cuts), fraction, seed)
    assert (found.sums.examples, found.below) == (other.sums.examples, other.below) == (400, found.below)
    assert found.level == pytest.approx(np.sqrt((x.astype(float) ** 2).mean()), rel=1e-6)
    assert np.array_equal(held(found, x), held(other, x[::-1])[::-1])
    assert held(found, x).mean() == pytest.approx(fraction, abs=5 * np.sqrt(fraction * (1 - fraction) / 400))


def test_copies_stand_on_one_side():
    x = np.repeat(examples(50), 4, axis=0)
    out = held(survey(cut(x, None, []), 0.3, 0), x).reshape(50, 4)
    assert (out.all(axis=1) | ~out.any(axis=1)).all()
    assert 0 < out.sum() < out.size


@pytest.mark.parametrize("seed", range(30))
def test_neither_part_is_ever_empty(seed):
    x = examples(2, seed=seed)
    out = held(survey(cut(x, None, []), 0.01, seed), x)
    assert out.sum() == 1


def test_examples_that_are_all_the_same_are_refused():
    with pytest.raises(InputError, match="all 7 examples of x are the same"):
        survey(cut(np.ones((7, 2), np.float32), None, []), 0.1, 0)


# ---- the reservoir
# ----------------------------------------------------------------------------------------------------------------------
# -
# -


def drawn(x, y, size, seed, cuts=()):
    reservoir = Reservoir(size, x.shape[1], np.random.default_rng(seed))
    for part, labels in cut(x, y, cuts)():
        reservoir.add(part, labels)
    return reservoir.drawn()


def algorithm_r(x, size, u):
    """Vitter's algorithm, example by example, u_t uniform: the t-th takes place ⌊u_t · t⌋ if there is such a place."""
    kept = []
    for t, row in enumerate(x, start=1):
        if t <= size:
            kept.append(row)
        elif (place := int(np.floor(u[t - 1] * t))) < size:
            kept[place] = row
    return np.array(kept)


@QUICK
@given(n=st.integers(1, 60), size=st.integers(1, 20), seed=st.integers(0, 1000),
       cuts=st.lists(st.integers(1, 59), max_size=6))
def test_equal_to_the_plain_algorithm_for_every_split(n, size, seed, cuts):
    x = np.arange(2.0 * n, dtype=np.float32).reshape(n, 2)
    y = np.arange(n)
    got, labels = drawn(x, y, size, seed, cuts)
    assert np.array_equal(got, algorithm_r(x, size, np.random.default_rng(seed).random(n)))
    assert np.array_equal(labels, got[:, 0] // 2)
    assert len(np.unique(got[:, 0])) == min(n, size)


def test_each_example_is_drawn_as_often():
    x = np.arange(12, dtype=np.float32)[:, None]
    runs = 6000
    counts, pairs = np.zeros(12), np.zeros((12, 12))
    for seed in range(runs):
        inside = np.zeros(12)
        inside[drawn(x, None, 4, seed, [5])[0][:, 0].astype(int)] = 1
        counts += inside
        pairs += np.outer(inside, inside)
    assert counts / runs == pytest.approx(np.full(12, 4 / 12), abs=0.03)                  # deviation 0.006
    apart = pairs[np.triu_indices(12, 1)] / runs
    assert apart == pytest.approx(np.full(66, 4 * 3 / (12 * 11)), abs=0.02)               # deviation 0.0037


# ---- parts of a stream
# ----------------------------------------------------------------------------------------------------------------------


@QUICK
@given(rows=st.integers(1, 50), cuts=st.lists(st.integers(1, 199), max_size=6), seed=st.integers(0, 100))
def test_batches_of_what_is_learnt_from(rows, cuts, seed):
    """What is not held out, in order, in batches of just so many rows; with the sample of what is, every example
    once."""
    x = examples(200)
    found = survey(cut(x, None, []), 0.2, seed)
    batches = learnt_from(cut(x, None, cuts), found, 0.5, rows)
    for _ in range(2):
        parts = list(batches())
        assert all(len(p) == rows for p in parts[:-1])
        assert 1 <= len(parts[-1]) <= rows
        assert np.array_equal(np.concatenate(parts), x[~held(found, x)] / 2)
    kept = samples(cut(x, None, cuts), found, 1000, 1000, seed)
    assert np.array_equal(kept.x, x[~held(found, x)])
    assert np.array_equal(kept.x_held, x[held(found, x)])
    assert kept.learnt_from == len(kept.x)


def test_batches_that_were_given_out_stay_as_they_are():
    x = examples(100)
    found = survey(cut(x, None, []), 0.1, 0)
    batches = learnt_from(cut(x, None, []), found, 1.0, 7)()
    first = next(batches)
    before = first.copy()
    list(batches)
    assert np.array_equal(first, before)


def test_samples_are_bounded_and_carry_their_labels():
    x = examples(500)
    y = (x[:, 0] > 0).astype(np.int64)
    found = survey(cut(x, y, [100]), 0.2, 3)
    kept = samples(cut(x, y, [100]), found, 40, 10, 3)
    assert kept.x.shape == (40, 3)
    assert kept.x_held.shape == (10, 3)
    assert found.labelled
    assert np.array_equal(kept.y, kept.x[:, 0] > 0)
    assert np.array_equal(kept.y_held, kept.x_held[:, 0] > 0)
    assert held(found, kept.x_held).all()
    assert not held(found, kept.x).any()
    assert kept.learnt_from == (~held(found, x)).sum()


def test_passes_that_differ_are_seen():
    x = examples(100)
    found = survey(cut(x, None, []), 0.1, 0)
    with pytest.raises(InputError, match="100 examples in the first pass and 60 in the second"):
        samples(cut(x[:60], None, []), found, 50, 50, 0)
    with pytest.raises(InputError, match="100 examples in the first pass and 60 in a later one"):
        list(learnt_from(cut(x[:60], None, []), found, 1.0, 30)())


class Shuffled:
    """A loader that gives its examples in another order in every pass."""

    def __init__(self, x):
        self.x, self.rng = x, np.random.default_rng(0)

    def __call__(self):
        order = self.rng.permutation(len(self.x))
        return ((self.x[order[i:i + 30]], None) for i in range(0, len(self.x), 30))


def test_another_order_is_seen_where_labels_go_by_it_and_there_alone():
    x = examples(100)
    passes = Shuffled(x)
    found = survey(passes, 0.1, 0)
    assert sorted(map(tuple, samples(passes, found, 100, 100, 0).x)) == sorted(map(tuple, x[~held(found, x)]))
    assert sum(map(len, learnt_from(passes, found, 1.0, 30)())) == (~held(found, x)).sum()
    passes.labels = np.zeros(100)
    found = survey(passes, 0.1, 0)
    with pytest.raises(InputError, match=r"another order in the second .*give each batch with its labels"):
        samples(passes, found, 50, 50, 0)
    with pytest.raises(InputError, match=r"another order in a later one .*give each batch with its labels"):
        list(learnt_from(passes, found, 1.0, 30)())
    passes = cut(x, None, [9])
    passes.labels = np.zeros(100)
    kept = samples(cut(x, None, [7, 50]), survey(passes, 0.1, 0), 100, 100, 0)            # cut anew: the same order
    assert len(kept.x) + len(kept.x_held) == 100


@QUICK
@given(seed=st.integers(0, 10 ** 6), cuts=st.lists(st.integers(1, 59), max_size=4),
       pair=st.lists(st.integers(0, 59), min_size=2, max_size=2, unique=True))
def test_the_sums_of_a_pass_tell_order_and_examples_apart(seed, cuts, pair):
    x = examples(60, seed=seed)
    swapped, changed = x.copy(), x.copy()
    swapped[pair] = x[pair[::-1]]
    changed[pair[0], 0] = np.nextafter(x[pair[0], 0], np.float32(9))
    one, again, other, third = (survey(cut(a, None, at), 0.1, 1).sums
                                for a, at in ((x, []), (x, cuts), (swapped, cuts), (changed, cuts)))
    assert one == again
    assert one.any_order == other.any_order
    assert one.this_order != other.this_order
    assert one.any_order != third.any_order


def test_as_many_but_other_examples_are_seen():
    x = examples(100)
    found = survey(cut(x, None, []), 0.1, 0)
    noisy = x.copy()
    noisy[17, 1] += np.float32(0.5)
    with pytest.raises(InputError, match="as many, but others, in the second"):
        samples(cut(noisy, None, []), found, 50, 50, 0)
    with pytest.raises(InputError, match="as many, but others, in a later one"):
        list(learnt_from(cut(noisy, None, []), found, 1.0, 30)())
