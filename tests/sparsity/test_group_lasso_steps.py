"""The steps of the solver: sweeps, f and its derivatives, Newton steps within bounds; held against definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear, minimize

from npkd.core.validation import InputError
from npkd.sparsity import group_lasso_steps
from npkd.sparsity.group_lasso_steps import (
    BLOCK,
    Point,
    bounded,
    damped,
    group_threshold,
    inverse_of,
    low_rank,
    newton,
    sweep,
    threshold,
)
from reference.definitions.sparsity.group_lasso import majorant, quadratic

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


def test_a_spoiled_sweep_would_be_seen(monkeypatch):
    """The comparison above fails for a step that forgets a block's effect on the rows behind it."""
    monkeypatch.setattr(group_lasso_steps, "product", lambda a, b: np.zeros((len(a), b.shape[1])))
    A, C, kappa, v = problem(1, BLOCK + 3, 2)
    expected, gradient = naive_sweep(A, C, kappa, v), C - A @ v
    sweep(A, kappa, v, gradient)
    assert not np.allclose(v, expected, rtol=1e-9, atol=1e-11)


# ---- f and its derivatives


@QUICK
@given(seed=st.integers(0, 10 ** 6), k=st.integers(1, 6), m=st.integers(1, 3))
def test_f_is_the_least_of_the_majorant(seed, k, m):
    """v(ω) minimises it for given ω, f is its value there, and G = C − A v has the rows v_j/ω_j."""
    A, C, kappa, _ = problem(seed, k, m)
    rng = np.random.default_rng(seed)
    omega = 10 ** rng.uniform(-2, 1, k)
    point = Point.of(A, C, omega)
    assert point.value(kappa) == pytest.approx(majorant(A, C, kappa, point.v, omega), rel=1e-9, abs=1e-12)
    for e in 1e-2 * rng.standard_normal((10, k, m)):
        assert majorant(A, C, kappa, point.v + e, omega) > point.value(kappa)
    np.testing.assert_allclose(point.gradient, C - A @ point.v, atol=1e-12)
    np.testing.assert_allclose(point.gradient * omega[:, None], point.v, rtol=1e-7, atol=1e-10)
    own = np.linalg.norm(point.v, axis=1) / kappa                       # the best ω for this v: the majorant is F there
    assert majorant(A, C, kappa, point.v, own) == pytest.approx(quadratic(A, C, kappa, point.v), rel=1e-12)
    assert quadratic(A, C, kappa, point.v) <= point.value(kappa) + 1e-12


@QUICK
@given(seed=st.integers(0, 10 ** 6), k=st.integers(2, 6), zeros=st.integers(0, 2))
def test_the_derivatives_of_f(seed, k, zeros):
    """By centred differences of f, one-sided ones of its gradient where ω_j = 0; all rows or some, zeros among them."""
    A, C, kappa, _ = problem(seed, k, 2)
    rng = np.random.default_rng(seed)
    omega = 10 ** rng.uniform(-1, 0.5, k)
    omega[rng.permutation(k)[:zeros]] = 0
    point, step = Point.of(A, C, omega), 1e-6

    def gradient(omega):
        return 0.5 * (kappa ** 2 - Point.of(A, C, omega).sizes ** 2)

    for j in np.flatnonzero(omega):
        e = step * np.eye(k)[j]
        slope = (Point.of(A, C, omega + e).value(kappa) - Point.of(A, C, omega - e).value(kappa)) / (2 * step)
        assert gradient(omega)[j] == pytest.approx(slope, rel=1e-5, abs=1e-7)
    by_differences = np.stack([(gradient(omega + step * e) - gradient(omega)) / step for e in np.eye(k)])
    for rows in (np.arange(k), np.flatnonzero(omega)):
        np.testing.assert_allclose(point.hessian(A, rows), by_differences[np.ix_(rows, rows)], rtol=1e-3, atol=1e-4)


@QUICK
@given(seed=st.integers(0, 10 ** 6), rank=st.integers(1, 5))
def test_low_rank_changes_nothing(seed, rank):
    """Woodbury's formula gives the point, its derivatives and the step that the full matrix gives."""
    A, C, _, v = problem(seed, 14, 3, rank=rank)
    factor = low_rank(A, rank)
    assert factor.shape[0] <= rank + 1                                # a pivot of the size of rounding may be left
    np.testing.assert_allclose(factor.T @ factor, A, atol=1e-12)
    assert low_rank(A, 7) is None
    omega = np.linalg.norm(v, axis=1)
    full, small = Point.of(A, C, omega), Point.of(A, C, omega, factor)
    np.testing.assert_allclose(small.v, full.v, rtol=1e-8, atol=1e-9)
    assert small.fit == pytest.approx(full.fit, rel=1e-9)
    np.testing.assert_allclose(small.hessian(A, np.arange(14)), full.hessian(A, np.arange(14)), rtol=1e-6, atol=1e-8)


# ---- Newton steps


@pytest.mark.parametrize("start", [0.0, 1e-3, 1.0, 1e3])
def test_independent_rows_are_solved_in_one_step(start):
    """With A = I the solution is (1 − κ_j/‖C_j‖) C_j, so ω_j = ‖C_j‖/κ_j − 1, or 0: from near and from far."""
    C, kappa = np.array([[3.0, 4.0], [0.6, 0.8], [0.3, 0.4]]), np.array([1.0, 0.9, 0.8])
    point = Point.of(np.eye(3), C, np.full(3, start))
    omega, factor = newton(point, np.eye(3), kappa, 0.0)
    assert factor == 1
    if start <= 1:
        np.testing.assert_allclose(omega, [4, 1 / 0.9 - 1, 0], rtol=1e-6, atol=1e-9)
    assert omega[2] == 0


@QUICK
@given(seed=st.integers(0, 10 ** 6), k=st.integers(1, 30), m=st.integers(1, 4), flat=st.booleans())
def test_a_newton_step_leads_down(seed, k, m, flat):
    A, C, kappa, v = problem(seed, k, m, rank=max(1, k // 3) if flat else None)
    omega = np.linalg.norm(v, axis=1) / kappa
    for _ in range(3):
        point = Point.of(A, C, omega)
        slope = 0.5 * (kappa ** 2 - point.sizes ** 2) @ (newton(point, A, kappa, 1e-6)[0] - omega)
        assert slope <= 1e-12
        omega = newton(point, A, kappa, 1e-6)[0]
        assert (omega >= 0).all()


@QUICK
@given(seed=st.integers(0, 10 ** 6), k=st.integers(1, 8))
def test_bounded_steps_solve_the_bounded_problem(seed, k):
    """Against SciPy's bounded least squares: ½‖L y − L⁻ᵀ p‖² is the same objective for H = LᵀL."""
    rng = np.random.default_rng(seed)
    L = rng.standard_normal((k + 3, k))
    H, p, low = L.T @ L, rng.standard_normal((k, 2)), -rng.uniform(0, 0.5, k)
    y, on, tau = bounded(H, p, low, 0.0)
    expected = lsq_linear(L, np.linalg.lstsq(L.T, p[:, 0] - p[:, 1], rcond=None)[0], (low, np.inf), tol=1e-14).x
    assert tau == 1
    if np.abs(y - expected).max() > 1e-5:                # the active set may stop early, but not above where it began
        def objective(y):
            return 0.5 * y @ H @ y - (p[:, 0] - p[:, 1]) @ y
        assert objective(y) <= objective(np.zeros(k)) + 1e-12
    assert np.array_equal(on, y > low)
    assert (y >= low).all()


def test_the_scale_for_a_number_of_rows():
    """Row j is above its bound for τ < j + 1: so many, the nearest τ; none where it holds already."""
    a, b = np.array([1.0, 2.0, 3.0, 4.0]), -np.ones(4)
    assert threshold(a, b, 3) == 1.0
    for count, low, high in ((4, 1 / 16, 1), (2, 2, 3), (1, 3, 4), (0, 4, 16)):
        tau = threshold(a, b, count)
        assert low < tau < high
        assert (a + b * tau > 0).sum() == count
    assert 1 / 16 < threshold(np.ones(4), np.zeros(4), 2) < 16              # nothing changes: any τ is as good
    rising = threshold(-a, -b, 2)                                         # above from τ = j + 1 on
    assert 2 < rising < 3


def test_damping_makes_an_indefinite_matrix_solvable():
    H = np.array([[1.0, 1.0], [1.0, 1.0]])
    x = damped(H.copy(), np.array([[1.0], [1.0]]), np.full(2, 1e-12))
    np.testing.assert_allclose(H @ x, np.ones((2, 1)), rtol=1e-6)
    assert not damped(np.full((2, 2), np.nan), np.ones((2, 1)), np.ones(2)).any()
    assert damped(np.zeros((0, 0)), np.zeros((0, 2)), np.zeros(0)).shape == (0, 2)


def test_the_inverse():
    A = problem(7, 6, 1)[0] + np.eye(6)
    np.testing.assert_allclose(inverse_of(A) @ A, np.eye(6), atol=1e-12)
    assert np.array_equal(inverse_of(A), inverse_of(A).T)
    with pytest.raises(InputError, match="not positive definite"):
        inverse_of(-np.eye(2))
