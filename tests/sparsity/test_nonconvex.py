"""Penalties that others compare with: no proximal step of one number is beaten on a fine grid, and what they are known
for. Values against definitions, and the search of ``npkd check``, are in test_check.py.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.core.validation import InputError
from npkd.sparsity.nonconvex import L0, ConcaveGroups, NonNegativeL1, TopK
from npkd.sparsity.penalties import NeuronGroups
from reference.definitions.sparsity import nonconvex as defined

QUICK = settings(deadline=None, max_examples=60)
STEPS = (0.2, 0.9, 1.0, 1.9, 2.0, 2.1, 3.0, 3.9, 4.0, 4.5, 9.0)


@pytest.mark.parametrize("t", STEPS)
@pytest.mark.parametrize(("gamma", "straight"), [(2.0, 0.0), (2.0, 1.0), (0.5, 0.0), (2.7, 1.0), (1.0, 2.0)])
def test_no_norm_on_a_grid_is_better(gamma, straight, t):
    """One group: every x, at steps below and above those at which the objective is convex."""
    penalty = ConcaveGroups(0.7, gamma=gamma, straight=straight)
    grid = np.linspace(0, 8, 4001)
    rho = np.array([defined.concave_groups(np.array([[x]]), 0.7, 0, gamma, straight) for x in grid])
    for x in np.linspace(0.05, 7.5, 61):
        u = penalty.prox(np.array([[x]]), t).item()
        found = (u - x) ** 2 / 2 + t * defined.concave_groups(np.array([[u]]), 0.7, 0, gamma, straight)
        assert found <= ((grid - x) ** 2 / 2 + t * rho).min() + 1e-12
        assert 0 <= u <= x


@QUICK
@given(seed=st.integers(0, 10 ** 6), axis=st.integers(0, 1), straight=st.sampled_from([0.0, 1.0]))
def test_large_groups_stay_small_ones_go_and_directions_are_kept(seed, axis, straight):
    rng = np.random.default_rng(seed)
    v, cost = 3 * rng.standard_normal((3, 4)), rng.uniform(0.5, 2, (3, 4)[axis])
    lam, gamma, t = rng.uniform(0.1, 1), rng.uniform(1.5, 4), rng.uniform(0.1, 1)
    p = np.moveaxis(ConcaveGroups(lam, axis, gamma, straight, cost).prox(v, t), axis, 0)
    lasso = np.moveaxis(NeuronGroups(lam, axis, cost).prox(v, t), axis, 0)
    for group, shrunk, old, c in zip(p, lasso, np.moveaxis(v, axis, 0), cost, strict=True):
        norm = np.linalg.norm(old)
        assert np.array_equal(group, old) or norm <= (gamma + straight) * lam * c
        assert group.any() == (norm > t * lam * c) == shrunk.any(), "zero where the group l2 norm makes it zero"
        assert np.linalg.norm(group) >= np.linalg.norm(shrunk) - 1e-12, "and never shorter"
        assert group @ old == pytest.approx(np.linalg.norm(group) * norm, rel=1e-12)


def test_a_bend_far_away_is_the_group_norm():
    v = np.random.default_rng(0).standard_normal((4, 3))
    for straight in (0.0, 1e12):
        penalty = ConcaveGroups(0.4, gamma=1e12, straight=straight)
        np.testing.assert_allclose(penalty.prox(v, 0.8), NeuronGroups(0.4).prox(v, 0.8), rtol=1e-9)
        assert penalty.value(v) == pytest.approx(NeuronGroups(0.4).value(v), rel=1e-9)


def test_minimax_concave_and_scad_are_what_they_are_called():
    """ρ and its slope at some points, from the sources' formulae: γ = 3; a = 3.7."""
    for x in (0.1, 0.5, 0.9, 1.2, 2.0, 5.0):
        w = np.array([[x]])
        mcp = 0.5 * x - x * x / 6 if x <= 1.5 else 0.375
        scad = 0.5 * x if x <= 0.5 else (2 * 3.7 * 0.5 * x - x * x - 0.25) / 5.4 if x <= 1.85 else 0.25 * 4.7 / 2
        assert ConcaveGroups(0.5, gamma=3.0).value(w) == pytest.approx(mcp, rel=1e-13)
        assert ConcaveGroups(0.5, gamma=2.7, straight=1.0).value(w) == pytest.approx(scad, rel=1e-13)


@QUICK
@given(seed=st.integers(0, 10 ** 6), n=st.integers(1, 6), metric=st.booleans())
def test_numbers_of_weights_by_trying_every_support(seed, n, metric):
    rng = np.random.default_rng(seed)
    v, lam, count = rng.standard_normal(n), rng.uniform(0.05, 1), int(rng.integers(0, n + 1))
    step = rng.uniform(0.2, 3, n) if metric else float(rng.uniform(0.2, 3))

    def objective(u, value):
        return ((u - v) ** 2 / step).sum() / 2 + value(u)

    supports = [v * np.array(on) for on in itertools.product([0, 1], repeat=n)]
    for penalty, value in ((L0(lam), lambda u: defined.l0(u, lam)), (TopK(count), lambda u: defined.top_k(u, count))):
        p = penalty.prox(v, step)
        assert objective(p, value) <= min(objective(u, value) for u in supports) + 1e-12
        assert np.array_equal(penalty.prox(p, step), p), "what stays, stays"
        assert not np.signbit(p[p == 0]).any()


def test_of_equal_weights_the_first_stay_and_at_the_threshold_zero():
    assert TopK(2).prox(np.array([[1.0, -1.0], [1.0, 1.0]]), 1.0).tolist() == [[1, -1], [0, 0]]
    assert TopK(0).prox(np.ones(3), 1.0).tolist() == [0, 0, 0]
    assert TopK(9).prox(np.ones(3), 1.0).tolist() == [1, 1, 1]
    assert TopK(1).prox(np.array([0.0, 2.0, 1.0]), np.array([0.0, 1.0, 0.0])).tolist() == [0, 0, 1]
    assert L0(0.5).prox(np.array([1.0, -1.0, 1.1]), 1.0).tolist() == [0, 0, 1.1]
    assert ConcaveGroups(1.0, gamma=1.0).prox(np.array([[2.0], [2.1]]), 4.0).tolist() == [[0], [2.1]]


def test_weights_that_must_not_be_negative():
    v = np.array([-2.0, 0.3, 2.0, -0.0])
    assert NonNegativeL1(0.5).prox(v, 1.0).tolist() == [0, 0, 1.5, 0]
    assert not np.signbit(NonNegativeL1(0.5).prox(v, 1.0)).any()
    assert NonNegativeL1(0.5).prox(v, np.array([1.0, 0.2, 2.0, 1.0])) == pytest.approx([0, 0.2, 1.0, 0])
    assert NonNegativeL1(0.5).value(v) == math.inf
    assert NonNegativeL1(0.5).value(np.abs(v)) == pytest.approx(2.15, rel=1e-14)


EVERY = [L0(0.5), NonNegativeL1(0.5), TopK(2), ConcaveGroups(0.5), ConcaveGroups(0.5, gamma=2.0, straight=1.0)]


@pytest.mark.parametrize("penalty", EVERY, ids=lambda penalty: type(penalty).__name__)
def test_arguments_are_unchanged_and_refused_where_they_are_none(penalty):
    name, v = type(penalty).__name__, np.array([[3.0, -2.0], [0.1, 0.2]], np.float32)
    before = v.copy()
    p = penalty.prox(v, 0.7)
    assert p.dtype == np.float32
    assert np.array_equal(v, before)
    assert not np.shares_memory(p, v)
    for call in (penalty.value, lambda w: penalty.prox(w, 1.0)):
        with pytest.raises(InputError, match=f"{name}: . is int64; it must be .*floating"):
            call(np.ones((2, 2), int))
    for step in (-0.1, math.nan, math.inf, np.ones(3)):
        with pytest.raises(InputError, match=f"{name}: step "):
            penalty.prox(v, step)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nothing_changes_a_bit_where_lambda_or_the_step_is_zero(dtype):
    v = np.array([[1e-25, -0.0, 3.0], [1e-7, 0.0, -2.0]]).astype(dtype)
    for make in (L0, lambda lam: ConcaveGroups(lam), lambda lam: ConcaveGroups(lam, straight=1.0)):
        for p in (make(0.0).prox(v, 0.7), make(0.7).prox(v, 0.0)):
            assert p.dtype == dtype
            assert p.tobytes() == v.tobytes()
