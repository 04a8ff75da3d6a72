"""The l1/l2 pseudo-norm: its gradient by differences, scale invariance, and a proximal step that no search beats.

Values against definitions, and the search of ``npkd check``, are in test_check.py.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import differential_evolution, minimize

from npkd.core.validation import InputError
from npkd.sparsity.pseudo_norm import L1L2, angle, shortened
from reference.definitions.sparsity.pseudo_norm import l1_l2, ratio
from tests.test_formulas import slopes

QUICK = settings(deadline=None, max_examples=40)
SQUARED = pytest.mark.parametrize("squared", [False, True], ids=["ratio", "squared"])


def objective(u, v, kappa, squared):
    return float(((u - v) ** 2).sum()) / 2 + kappa * ratio([abs(float(x)) for x in u], squared)


def on_a_grid(v, kappa, squared, points):
    """The least objective on a grid of the whole orthant, polished from its best three points."""
    axis = np.linspace(0, 1.6 * v.max(), points)
    grid = np.stack(np.meshgrid(*[axis] * v.size, indexing="ij"), -1).reshape(-1, v.size)
    length = np.linalg.norm(grid, axis=1)
    ratios = np.divide(grid.sum(axis=1), length, where=length > 0, out=np.zeros(len(grid))) ** (1 + squared)
    values = ((grid - v) ** 2).sum(axis=1) / 2 + kappa * ratios
    polished = [minimize(objective, grid[i], (v, kappa, squared), method="Nelder-Mead",
                         options={"xatol": 1e-9, "fatol": 1e-13}).fun for i in np.argsort(values)[:3]]
    return min(float(values.min()), *polished)


@SQUARED
@pytest.mark.parametrize("seed", range(12))
def test_no_point_of_a_grid_is_better(seed, squared):
    rng = np.random.default_rng(seed)
    v = np.abs(rng.standard_normal(1 + seed % 3)) * rng.choice([0.3, 1.0, 3.0], 1 + seed % 3)
    v[1:] = v[0] if seed % 5 == 4 else v[1:]                                    # all alike
    for kappa in np.exp(rng.uniform(-4, 1, 3)):
        found = objective(shortened(v, kappa, squared), v, kappa, squared)
        assert found <= on_a_grid(v, kappa, squared, (0, 401, 201, 41)[v.size]) + 1e-12


@SQUARED
def test_no_evolution_is_better(squared):
    """Five groups, of which some die at some κ."""
    v, left = np.array([0.2, 0.5, 1.1, 1.3, 2.0]), set()
    for kappa in (0.05, 0.3, 0.8, 1.5):
        u = shortened(v, kappa, squared)
        left.add(np.count_nonzero(u))
        found = differential_evolution(objective, [(0, 3)] * 5, (v, kappa, squared), seed=0, tol=1e-12, maxiter=300)
        assert objective(u, v, kappa, squared) <= found.fun + 1e-12
    assert len(left) >= 3


@SQUARED
@QUICK
@given(seed=st.integers(0, 10 ** 6), n=st.integers(1, 40))
def test_no_subset_no_scaling_and_no_neighbour_is_better(squared, seed, n):
    rng = np.random.default_rng(seed)
    v = np.abs(rng.standard_normal(n)) ** rng.choice([0.2, 1.0, 3.0])
    kappa = float(np.exp(rng.uniform(-6, 2)))
    u = shortened(v, kappa, squared)
    least = objective(u, v, kappa, squared)
    assert ((u > 0) <= (v > 0)).all()
    assert (np.diff(u[np.argsort(v)]) >= -1e-12).all(), "the order of the groups stays"
    order, tops = np.argsort(-v), []
    for k in range(n + 1):
        top = np.zeros(n)
        top[order[:k]] = v[order[:k]]
        tops += [s * top for s in (0.5, 0.9, 1.0, 1.1)]
    noise = rng.standard_normal((40, n)) * np.exp(rng.uniform(-12, 0, (40, 1)))
    for other in [*tops, *(np.abs(u + e) for e in noise), *(u * np.exp(e) for e in noise)]:
        assert least <= objective(other, v, kappa, squared) + 1e-11 * (1 + least)


@SQUARED
def test_a_step_is_stationary_in_what_it_leaves(squared):
    """(v − u)/κ is the slope of the ratio at u, on the groups that stay."""
    v = np.array([[3.0, 4.0], [0.1, 0.0], [1.0, -2.0], [2.0, 2.0]])
    penalty = L1L2(2.0, squared=squared)
    u = penalty.prox(v, 0.5)
    on = u.any(axis=1)
    assert on.tolist() == [True, False, True, True]
    np.testing.assert_allclose((v - u)[on], 0.5 * penalty.gradient(u)[on], rtol=1e-9, atol=1e-12)


@SQUARED
@pytest.mark.parametrize(("axis", "channels"), [(0, 0), (1, 0), (1, 2), (None, 0)])
def test_the_gradient_is_that_of_differences(squared, axis, channels):
    w = np.random.default_rng(0).standard_normal((3, 4))
    penalty = L1L2(0.7, axis, channels, squared)
    np.testing.assert_allclose(penalty.gradient(w), slopes(lambda u: l1_l2(u, 0.7, axis, channels, squared), w),
                               rtol=1e-7, atol=1e-8)
    assert abs((penalty.gradient(w) * w).sum()) < 1e-12, "no slope along w: the scale is free"
    w[:, ::2] = 0
    assert not penalty.gradient(w)[:, ::2].any()


@QUICK
@given(seed=st.integers(0, 10 ** 6), scale=st.sampled_from([-3.0, 1e-150, 1e-8, 0.5, 7.0, 1e150]))
def test_the_scale_is_free_and_the_bounds_are_reached(seed, scale):
    w = np.random.default_rng(seed).standard_normal((5, 3))
    for squared in (False, True):
        penalty = L1L2(2.0, 0, squared=squared)
        assert penalty.value(scale * w) == pytest.approx(penalty.value(w), rel=1e-12)
        top = 5.0 if squared else math.sqrt(5)
        assert 2 <= penalty.value(w) <= 2 * top
        one, alike = np.zeros((5, 3)), w / np.linalg.norm(w, axis=1, keepdims=True)
        one[2] = w[2]
        assert penalty.value(one) == pytest.approx(2.0, rel=1e-14)
        assert penalty.value(alike) == pytest.approx(2 * top, rel=1e-14)
        assert penalty.value(0 * w) == 0
        size = abs(scale) if 1e-100 < abs(scale) < 1e100 else 1.0       # t scales with the square of v
        np.testing.assert_allclose(penalty.prox(size * w, 0.3 * size ** 2), size * penalty.prox(w, 0.3), rtol=1e-9)


def test_a_step_is_zero_up_to_the_bound_and_may_be_beyond():
    w = np.array([[3.0, 0.0], [0.0, 4.0]])                                       # ‖v‖² = 25
    assert not L1L2(12.5).prox(w, 1.0).any()
    assert L1L2(0.1).prox(w, 1.0).any(axis=1).all()
    w[0] = 0
    assert not L1L2(8.01).prox(w, 1.0).any()                                     # one filter gains ½ 4² = 8
    np.testing.assert_allclose(L1L2(7.99).prox(w, 1.0), [[0, 0], [0, 4]], rtol=1e-14)
    assert not L1L2(1.0).prox(0 * w, 1.0).any()


def test_large_groups_grow_and_small_ones_shrink():
    """What a norm never does: those below ‖v‖₂²/‖v‖₁ lose, those above it gain."""
    v = np.array([1.0, 2.0, 6.0])
    u = shortened(v, 0.5, False)
    assert (u < v).tolist() == (v < (v * v).sum() / v.sum()).tolist() == [True, True, False]


def test_roots_are_roots_and_the_smaller_ones():
    phi, c = (a.ravel() for a in np.meshgrid(np.linspace(0.01, 1.5, 30), np.exp(np.linspace(-8, 1, 30))))
    x = angle(phi, c)
    fine = np.linspace(0, 1, 4001)[1:] * (np.pi / 2 - phi)[:, None]
    crossed = (np.sin(2 * fine) >= c[:, None] * np.sin(phi[:, None] + fine))
    assert (~np.isnan(x) >= crossed.any(axis=1)).all()
    for i in np.flatnonzero(crossed.any(axis=1)):
        assert math.sin(2 * x[i]) == pytest.approx(c[i] * math.sin(phi[i] + x[i]), rel=1e-12)
        assert x[i] <= fine[i][crossed[i].argmax()] + 1e-12
    assert angle(np.zeros(2), np.array([0.5, 3.0])).tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nothing_changes_a_bit_where_lambda_or_the_step_is_zero(dtype):
    v = np.array([[1e-25, -0.0, 3.0], [1e-7, 0.0, -2.0]]).astype(dtype)
    for p in (L1L2(0.0).prox(v, 0.7), L1L2(0.7).prox(v, 0.0), L1L2(0.7, axis=None).prox(v, 0.0)):
        assert p.dtype == dtype
        assert p.tobytes() == v.tobytes()
        assert not np.shares_memory(p, v)


@pytest.mark.parametrize("size", [1e-150, 1e-20, 1.0, 1e20, 1e150])
def test_sizes_neither_vanish_nor_overflow(size):
    v = np.array([[3.0, 4.0], [1.0, 0.0]])
    np.testing.assert_allclose(L1L2(0.3 * size).prox(size * v, size), size * L1L2(0.3).prox(v, 1.0), rtol=1e-9)


def test_what_is_no_number_is_in_all_of_it():
    v = np.array([[math.nan, 1.0], [1.0, 2.0]])
    assert np.isnan(L1L2(0.5).prox(v, 1.0)).any()
    assert np.isnan(L1L2(0.5).value(v))


@pytest.mark.parametrize("v", [np.ones((2, 3), int), [[1.0, 2.0]]], ids=["integers", "list"])
def test_what_holds_no_fractions_is_refused(v):
    for penalty in (L1L2(1.0), L1L2(1.0, axis=None)):
        for call in (penalty.value, penalty.gradient, lambda w, p=penalty: p.prox(w, 1.0)):
            with pytest.raises(InputError, match=r"L1L2: . is (int64|list); it must be .*floating"):
                call(v)
