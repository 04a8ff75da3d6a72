"""Statistics of a layer: equal to their definition, the same for every way of cutting the data up, and exact for single
precision."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.core.validation import InputError
from npkd.sparsity.statistics import Statistics, merge
from reference.definitions.sparsity import statistics as definitions

QUICK = settings(deadline=None, max_examples=60)


def data(rng, n, d=3, m=2, mean=1.0):
    h = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + mean * rng.standard_normal(d)
    return h, h @ rng.standard_normal((d, m)) + rng.standard_normal((n, m)) + mean


def close(one, other, rtol=1e-12):
    """Relative to what a number is made of: cancelled entries of A and C to the deviations they belong to."""
    assert one.count == other.count
    np.testing.assert_allclose(one.mean_h, other.mean_h, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(one.mean_z, other.mean_z, rtol=rtol, atol=rtol)
    sd_h, sd_z = np.sqrt(np.diag(other.A)), np.sqrt(other.t)
    assert (np.abs(one.A - other.A) <= rtol * np.outer(sd_h, sd_h) + 1e-300).all()
    assert (np.abs(one.C - other.C) <= rtol * np.outer(sd_h, sd_z) + 1e-300).all()
    np.testing.assert_allclose(one.t, other.t, rtol=rtol)


def by_definition(h, z):
    return Statistics(len(h), definitions.means(h), definitions.means(z), *definitions.statistics(h, z))


@QUICK
@given(seed=st.integers(0, 10 ** 6), n=st.integers(2, 12), d=st.integers(1, 5), m=st.integers(1, 4))
def test_equal_to_the_definition(seed, n, d, m):
    h, z = data(np.random.default_rng(seed), n, d, m)
    s = Statistics.of(h, z)
    close(s, by_definition(h, z))
    assert np.array_equal(s.A, s.A.T)
    A, C, t = s.normalised()
    np.testing.assert_allclose(A, definitions.statistics(h, z)[0] / n, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(C, definitions.statistics(h, z)[1] / n, rtol=1e-11, atol=1e-13)
    assert t == pytest.approx(definitions.statistics(h, z)[2].sum() / n, rel=1e-12)
    assert all(a.dtype == np.float64 for a in (s.mean_h, s.mean_z, s.A, s.C, s.t))


def test_one_example_has_no_deviation():
    s = Statistics.of(np.array([[1.0, 2.0]]), np.array([[3.0]]))
    assert not s.A.any()
    assert not s.C.any()
    assert not s.t.any()
    assert np.array_equal(s.mean_h, [1, 2])


@QUICK
@given(seed=st.integers(0, 10 ** 6), cuts=st.lists(st.integers(1, 39), max_size=6),
       order=st.randoms(use_true_random=False))
def test_any_split_in_any_order_gives_the_same(seed, cuts, order):
    """Parts of any sizes, shuffled, added as a random tree and one after the other."""
    h, z = data(np.random.default_rng(seed), 40, mean=3.0)
    ends = sorted({0, 40, *cuts})
    parts = [Statistics.of(h[a:b], z[a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    whole = by_definition(h, z)
    order.shuffle(parts)
    close(merge(parts), whole)
    while len(parts) > 1:
        one = parts.pop(order.randrange(len(parts)))
        parts.append(one + parts.pop(order.randrange(len(parts))))
    close(parts[0], whole)


def test_adding_changes_neither_part():
    rng = np.random.default_rng(0)
    a, b = (Statistics.of(*data(rng, 5)) for _ in range(2))
    before = [np.copy(v) for v in (*astuple(a), *astuple(b))]
    merge([a, b])
    assert all(np.array_equal(x, y) for x, y in zip(before, (*astuple(a), *astuple(b)), strict=True))


@pytest.mark.parametrize("mean", [1e3, 1e5])
def test_single_precision_with_a_large_mean(mean):
    """float32 data, batches of 100: what a float64 computation in two passes over the same data gives, to 1e-10."""
    rng = np.random.default_rng(1)
    h = (mean + rng.standard_normal((3000, 4)) @ rng.standard_normal((4, 4))).astype(np.float32)
    z = (-mean + rng.standard_normal((3000, 2))).astype(np.float32)
    s = merge([Statistics.of(h[i:i + 100], z[i:i + 100]) for i in range(0, 3000, 100)])
    hc, zc = h.astype(np.float64), z.astype(np.float64)
    two_passes = Statistics(3000, hc.mean(axis=0), zc.mean(axis=0), *(np.zeros(0),) * 3)
    hc, zc = hc - hc.mean(axis=0), zc - zc.mean(axis=0)
    close(s, Statistics(3000, two_passes.mean_h, two_passes.mean_z, hc.T @ hc, hc.T @ zc, (zc * zc).sum(axis=0)),
          rtol=1e-10)
    # the test can fail: moments about zero, in the data's own precision, are far off
    naive = h.T @ h - 3000 * np.outer(h.mean(axis=0), h.mean(axis=0))
    assert np.abs(naive - hc.T @ hc).max() > 1e-3 * np.abs(hc.T @ hc).max()


@pytest.mark.parametrize("view", [np.asfortranarray, lambda a: np.repeat(a, 2, axis=0)[::2],
                                  lambda a: np.repeat(a, 2, axis=1)[:, ::2],
                                  lambda a: a[::-1].copy()[::-1]],
                                  ids=["columns first", "rows", "columns", "backwards"])
def test_views_give_the_same(view):
    h, z = data(np.random.default_rng(2), 30)
    close(Statistics.of(view(h), view(z)), by_definition(h, z))


@QUICK
@given(seed=st.integers(0, 10 ** 6), d=st.integers(1, 5), m=st.integers(1, 4))
def test_intercept_and_error(seed, d, m):
    rng = np.random.default_rng(seed)
    h, z = data(rng, 9, d, m)
    w, s = rng.standard_normal((m, d)), Statistics.of(h, z)
    np.testing.assert_allclose(s.intercept(w), definitions.intercept(h, z, w), rtol=1e-10, atol=1e-12)
    assert s.error(w) == pytest.approx(definitions.error(h, z, w), rel=1e-10)
    assert s.error(np.zeros_like(w)) == 1
    # no other bias is better
    r = definitions.residual(h, z, w)
    assert definitions.square(r) <= definitions.square(r + 1e-3 * rng.standard_normal(m))


def test_error_is_never_negative_and_zero_without_targets():
    rng = np.random.default_rng(3)
    h = rng.standard_normal((20, 3))
    w = rng.standard_normal((2, 3))
    assert 0 <= Statistics.of(h, h @ w.T).error(w) <= 1e-14
    assert Statistics.of(h, np.ones((20, 2))).error(w) == 0


def test_parts_of_the_neurons():
    h, z = data(np.random.default_rng(4), 15, 4, 3)
    s = Statistics.of(h, z)
    for kept in (np.array([2, 0]), np.array([1])):
        close(s.inputs(kept), by_definition(h[:, kept], z))
        close(s.targets(kept), by_definition(h, z[:, kept]))
        close(s.inputs(kept).targets(kept), by_definition(h[:, kept], z[:, kept]))


@pytest.mark.parametrize(("h", "z", "words"), [
    (np.ones(3), np.ones((3, 1)), r"\(3,\)"),
    (np.ones((3, 1)), np.ones(3), r"\(3,\)"),
    (np.ones((3, 1)), np.ones((2, 1)), r"\(2, 1\)"),
    (np.ones((0, 1)), np.ones((0, 1)), "N ≥ 1"),
    (np.ones((3, 1), int), np.ones((3, 1)), "h is int64"),
    (np.ones((3, 1)), [[1.0]] * 3, "z is list"),
    (np.array([[1.0], [np.nan]]), np.ones((2, 1)), r"h holds nan at \(1, 0\)"),
    (np.ones((2, 1)), np.array([[1.0], [-np.inf]]), r"z holds -inf at \(1, 0\)"),
])
def test_refusals(h, z, words):
    with pytest.raises(InputError, match=f"Statistics: .*{words}"):
        Statistics.of(h, z)


def test_what_does_not_fit_together_is_refused():
    rng = np.random.default_rng(5)
    with pytest.raises(InputError, match=r"\(3, 2\) and \(4, 2\)"):
        Statistics.of(*data(rng, 5)) + Statistics.of(*data(rng, 5, 4))
    with pytest.raises(InputError, match="no statistics"):
        merge([])


@QUICK
@given(seed=st.integers(0, 10 ** 6), n=st.integers(1, 30), d=st.integers(1, 6), m=st.integers(1, 3),
       size=st.floats(-8, 8), mean=st.sampled_from([0.0, 1.0, 1e6]))
def test_the_laws_hold_for_all_data(seed, n, d, m, size, mean):
    """Of any size and number, with constants and copies, merged or not."""
    rng = np.random.default_rng(seed)
    h, z = data(rng, n, d, m, mean)
    h = 10 ** size * np.column_stack([h, h[:, :1], np.ones(n)])
    s = Statistics.of(h, z)
    assert s.flaw() == ""
    cuts = [slice(0, n // 2), slice(n // 2, n)] if n > 1 else [slice(0, n)]
    assert merge([Statistics.of(h[part], z[part]) for part in cuts]).flaw() == ""
    assert s.weighted(np.full(m, 1e-3)).flaw() == ""


@pytest.mark.parametrize(("change", "words"), [
    (lambda s: {"C": 1e6 * s.C}, "larger than its variances allow"),
    (lambda s: {"A": np.triu(s.A)}, "not symmetric"),
    (lambda s: {"t": -s.t}, "negative"),
    (lambda s: {"A": -s.A}, "negative"),
    (lambda s: {"A": np.diag(np.diag(s.A)) + 0.9 * np.sqrt(np.outer(np.diag(s.A), np.diag(s.A))) * (np.eye(3) - 1)},
     "not positive semi-definite"),
    (lambda s: {"C": 0.9 * np.sqrt(np.outer(np.diag(s.A), s.t)), "A": np.diag(np.diag(s.A))}, "more of a target"),
    (lambda s: {"A": 0 * s.A}, "larger than its variances allow"),
])
def test_impossible_numbers_are_named(change, words):
    s = Statistics.of(*data(np.random.default_rng(0), 40))
    assert s.flaw() == ""
    assert words in replace(s, **change(s)).flaw()


def test_constant_columns_have_exactly_no_deviation():
    """Though the mean of 0.1 is not 0.1 in floating point; others keep theirs, however small."""
    h = np.column_stack([np.full(1001, 0.1), np.full(1001, 1e8 + 0.1), 1 + 1e-12 * np.arange(1001.0)])
    s = Statistics.of(h, np.full((1001, 1), 0.3))
    assert not s.A[:2].any()
    assert not s.t.any()
    assert not s.C.any()
    assert s.mean_h[:2].tolist() == [0.1, 1e8 + 0.1]
    assert s.A[2, 2] == pytest.approx(1e-24 * 1001 * (1001 ** 2 - 1) / 12, rel=1e-3)
