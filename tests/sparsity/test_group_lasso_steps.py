"""The two steps of the descent: each lowers F, keeps the gradient true, and is what its formula says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from npkd.sparsity import group_lasso_steps
from npkd.sparsity.group_lasso_steps import BLOCK, group_threshold, inverse_of, newton, step_length, sweep
from reference.definitions.sparsity.group_lasso import quadratic

QUICK = settings(deadline=None, max_examples=80)


def problem(seed, k, m, rank=None):
    """A positive semidefinite A with a unit diagonal, C in its range (as moments of data are), κ of all sizes, and a
    start."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rank or k + 2, k)) + rng.standard_normal(((rank or k + 2), 1))
    x /= np.linalg.norm(x, axis=0)
    A, C = x.T @ x, x.T @ rng.standard_normal((len(x), m))
    kappa = np.linalg.norm(C, axis=1) * rng.uniform(0.02, 1.2, k)
    v = rng.standard_normal((k, m)) * (rng.random((k, 1)) < 0.6)
    return A, C, kappa, v


def value(A, C, kappa, v):
    """F in matrices, for the larger problems; held against the definition below."""
    return 0.5 * np.sum(v * (A @ v)) - np.sum(v * C) + np.sum(kappa * np.linalg.norm(v, axis=1))


def test_f_is_the_definition():
    A, C, kappa, v = problem(0, 4, 2)
    assert value(A, C, kappa, v) == pytest.approx(quadratic(A, C, kappa, v), rel=1e-13)


def naive_sweep(A, C, kappa, v):
    """Row after row, each by the minimiser of F in that row with the others fixed."""
    v = v.copy()
    for j in range(len(v)):
        u = C[j] - sum((A[j, i] * v[i] for i in range(len(v)) if i != j), np.zeros(v.shape[1]))
        size = np.sqrt(sum(u_c ** 2 for u_c in u))
        v[j] = u * (1 - kappa[j] / size) if size > kappa[j] else 0
    return v


@QUICK
@given(seed=st.integers(0, 10 ** 6), k=st.sampled_from([1, 2, 5, BLOCK, BLOCK + 3, 2 * BLOCK + 1]), m=st.integers(1, 4),
       flat=st.booleans())
def test_a_sweep_equals_row_after_row(seed, k, m, flat):
    A, C, kappa, v = problem(seed, k, m, rank=3 if flat else None)
    expected, before = naive_sweep(A, C, kappa, v), value(A, C, kappa, v)
    gradient = C - A @ v
    sweep(A, kappa, v, gradient)
    np.testing.assert_allclose(v, expected, rtol=1e-9, atol=1e-11)
    assert np.array_equal(v.any(axis=1), expected.any(axis=1)), "zeros are exact"
    np.testing.assert_allclose(gradient, C - A @ v, atol=1e-11)
    assert value(A, C, kappa, v) <= before + 1e-12


def test_a_row_step_is_the_minimiser():
    """Held against a numerical minimisation of the defining F over one row."""
    A, C, kappa, v = problem(3, 1, 3)
    kappa *= 0.5
    gradient = C - A @ v
    sweep(A, kappa, v, gradient)
    found = minimize(lambda u: quadratic(A, C, kappa, u.reshape(1, 3)), np.ones(3), method="Nelder-Mead",
                     options={"xatol": 1e-10, "fatol": 1e-15, "maxiter": 5000})
    np.testing.assert_allclose(v.ravel(), found.x, atol=1e-6)


@QUICK
@given(seed=st.integers(0, 10 ** 6), k=st.sampled_from([1, 2, 5, 20, 40]), m=st.integers(1, 4))
def test_a_newton_step_lowers_f(seed, k, m):
    A, C, kappa, v = problem(seed, k, m)
    v += (~v.any(axis=1))[:, None] * 0.3
    before, gradient = value(A, C, kappa, v), C - A @ v
    slope = gradient - kappa[:, None] * v / np.linalg.norm(v, axis=1)[:, None]
    held = v.copy(), gradient.copy()
    after = value(A, C, kappa, newton(A, kappa, v, gradient))
    assert np.array_equal(v, held[0])
    assert np.array_equal(gradient, held[1])
    assert after <= before + 1e-12
    if np.linalg.norm(slope) > 1e-3:
        assert after < before


def test_newton_is_fast_near_the_solution():
    """Few steps from a rough solution to one at machine precision: the error is squared, or nearly so, each time."""
    A, C, _, v = problem(5, 12, 3)
    kappa = np.full(12, 0.02)                                       # small enough for no row to be zero at the solution
    for _ in range(300):
        sweep(A, kappa, v, C - A @ v)
    assert np.linalg.norm(v, axis=1).min() > 0.1
    v *= 1.05

    def residual():
        return np.linalg.norm(C - A @ v - kappa[:, None] * v / np.linalg.norm(v, axis=1)[:, None])

    first = residual()
    for _ in range(3):
        v = newton(A, kappa, v, C - A @ v)
    assert residual() < 1e-8 * first


@QUICK
@given(seed=st.integers(0, 10 ** 6), k=st.sampled_from([2, 6, 40]), m=st.integers(1, 3), singular=st.booleans())
def test_both_in_turn_lower_f_all_the_way(seed, k, m, singular):
    """Also where A is singular: neurons that depend on one another linearly, or fewer examples than neurons."""
    A, C, kappa, v = problem(seed, k, m, rank=max(1, k // 3) if singular else None)
    values = [value(A, C, kappa, v)]
    for _ in range(15):
        gradient = C - A @ v
        sweep(A, kappa, v, gradient)
        values.append(value(A, C, kappa, v))
        on = np.flatnonzero(v.any(axis=1))
        if len(on):
            v[on] = newton(A[np.ix_(on, on)], kappa[on], v[on], gradient[on])
            values.append(value(A, C, kappa, v))
    assert (np.diff(values) <= 1e-11 * (1 + np.abs(values[0]))).all()
    assert values[-1] <= 1e-12, "zero is no better"
    around = np.random.default_rng(0).standard_normal((50, *v.shape))
    assert values[-1] <= min(value(A, C, kappa, v + 1e-2 * e) for e in around) + 1e-6, "near the minimum"


@QUICK
@given(seed=st.integers(0, 10 ** 6))
def test_the_step_length(seed):
    """F falls along a direction downhill by a part of what its slope promises, and would not at twice the step; one
    uphill is not taken."""
    A, C, kappa, v = problem(seed, 5, 2)
    v += 0.1
    rng = np.random.default_rng(seed)
    gradient, before = C - A @ v, value(A, C, kappa, v)
    downhill = gradient - kappa[:, None] * v / np.linalg.norm(v, axis=1)[:, None]
    for d in (downhill * rng.uniform(0.1, 30), -downhill):
        promised = (d * downhill).sum()
        alpha = step_length(kappa, v, d, float((d * gradient).sum()), float((d * (A @ d)).sum()))
        if promised < 0:
            assert alpha == 0
        else:
            assert 0 < alpha <= 1
            assert before - value(A, C, kappa, v + alpha * d) >= 0.9e-3 * alpha * promised
            if alpha < 1:
                assert before - value(A, C, kappa, v + 2 * alpha * d) < 1.1e-3 * 2 * alpha * promised


@QUICK
@given(seed=st.integers(0, 10 ** 6), k=st.integers(1, 5), m=st.integers(1, 3))
def test_threshold_minimises_what_it_should(seed, k, m):
    """½‖v − u‖² + Σ κ_j ‖v_j‖ is nowhere smaller: in other rows, near the result, on the way to u; rows within κ_j are
    exactly zero."""
    rng = np.random.default_rng(seed)
    u, kappa = rng.standard_normal((k, m)), rng.uniform(0.1, 2, k)
    v = group_threshold(u, kappa)

    def aim(v):
        return 0.5 * ((v - u) ** 2).sum() + (kappa * np.linalg.norm(v, axis=1)).sum()

    assert all(aim(v) <= aim(v + e) + 1e-15
               for e in 10.0 ** -rng.integers(0, 6, (100, 1, 1)) * rng.standard_normal((100, k, m)))
    assert all(aim(v) <= aim(s * u) + 1e-12 for s in np.linspace(0, 1, 50))
    assert np.array_equal(v.any(axis=1), np.linalg.norm(u, axis=1) > kappa)
    assert not group_threshold(np.zeros((k, m)), kappa).any()


@pytest.mark.parametrize("length", [1.0, 1e-2, 1e-4])
def test_a_newton_step_does_not_mind_short_rows(length):
    """Orthogonal rows are independent of one another: one step leads to the solution (1 − κ_j/‖C_j‖) C_j, however short
    it is, or to zero."""
    A, kappa, direction = np.eye(3), np.array([1.0, 0.6, 2.0]), np.array([[0.6, 0.8], [-1.0, 0.0], [0.0, 1.0]])
    C = direction * np.array([1 + length, 0.6 + length, 1.9])[:, None]
    start = length * np.array([[1.0, 0.5], [-0.3, 0.4], [0.1, 0.2]])
    v = newton(A, kappa, start, C - start)
    assert not v[2].any()
    np.testing.assert_allclose(v[:2], length * direction[:2], rtol=1e-3, atol=1e-3 * length)


def test_the_inverse():
    A = problem(7, 6, 1)[0] + np.eye(6)
    np.testing.assert_allclose(inverse_of(A) @ A, np.eye(6), atol=1e-12)
    with pytest.raises(np.linalg.LinAlgError, match="positive definite"):
        inverse_of(-np.eye(2))


def test_a_spoiled_sweep_would_be_seen(monkeypatch):
    """The comparison above fails for a step that forgets a block's effect on the rows behind it."""
    monkeypatch.setattr(group_lasso_steps, "product", lambda a, b: np.zeros((len(a), b.shape[1])))
    A, C, kappa, v = problem(1, BLOCK + 3, 2)
    expected, gradient = naive_sweep(A, C, kappa, v), C - A @ v
    sweep(A, kappa, v, gradient)
    assert not np.allclose(v, expected, rtol=1e-9, atol=1e-11)
