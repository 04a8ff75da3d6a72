"""Proximal gradient descent against solutions known in closed form, its certificate, and what acceleration is for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.core.validation import InputError
from npkd.sparsity.penalties import L1, NeuronGroups, SparseGroups
from npkd.sparsity.proximal import minimise, soft_threshold
from reference.definitions.sparsity import penalties as defined
from reference.definitions.sparsity import proximal as definitions

QUICK = settings(deadline=None, max_examples=40)


def least_squares(x, y):
    """½‖x w − y‖² with its gradient, and the Lipschitz constant of that."""
    def smooth(w):
        r = x @ w - y
        return 0.5 * float((r * r).sum()), x.T @ r

    return smooth, float(np.linalg.norm(x, 2)) ** 2


def ill_conditioned(seed=0, n=40, d=20, condition=1e3):
    rng = np.random.default_rng(seed)
    u, _ = np.linalg.qr(rng.standard_normal((n, d)))
    v, _ = np.linalg.qr(rng.standard_normal((d, d)))
    x = (u * np.geomspace(1, 1 / np.sqrt(condition), d)) @ v.T
    return least_squares(x, x @ rng.standard_normal(d) + 0.01 * rng.standard_normal(n))


@QUICK
@given(seed=st.integers(0, 10 ** 6), array=st.booleans())
def test_soft_threshold_equals_the_definition(seed, array):
    rng = np.random.default_rng(seed)
    v = np.where(rng.random((3, 4)) < 0.2, 0, rng.standard_normal((3, 4)))
    t = rng.uniform(0, 2, (3, 4)) if array else float(rng.uniform(0, 2))
    p = soft_threshold(v, t)
    assert np.array_equal(p, definitions.soft_threshold(v, t))
    assert not np.signbit(p[p == 0]).any()
    assert np.array_equal(soft_threshold(np.array([1.0, -1.0, 0.5, -0.0]), 1.0),
                          np.zeros(4)), "the threshold itself is zero"


@QUICK
@given(seed=st.integers(0, 10 ** 6), accelerate=st.booleans(), fraction=st.floats(0.01, 1.2))
def test_lasso_with_an_orthogonal_design(seed, accelerate, fraction):
    """xᵀx = I: the solution is the soft-thresholded correlation."""
    rng = np.random.default_rng(seed)
    x, _ = np.linalg.qr(rng.standard_normal((9, 5)))
    y = rng.standard_normal(9)
    lam = fraction * float(np.abs(x.T @ y).max())
    smooth, _ = least_squares(x, y)
    solution = minimise(smooth, L1(lam), np.zeros(5), 1.5, accelerate=accelerate, tolerance=1e-12)
    np.testing.assert_allclose(solution.w, definitions.soft_threshold(x.T @ y, lam), rtol=1e-9, atol=1e-11)
    assert np.array_equal(solution.w == 0, np.abs(x.T @ y) <= lam)


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("penalty",
                         [L1(0.3), NeuronGroups(0.5, 1, np.array([1.0, 0.5, 2, 1])), SparseGroups(0.5, 1, 0.4)],
                         ids=["L1", "NeuronGroups", "SparseGroups"])
def test_optimality_conditions(penalty, accelerate):
    """−∇f is in the subdifferential of Ω: no other point has a smaller objective than its plane allows."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((12, 4)), rng.standard_normal((12, 3))

    def smooth(w):
        r = x @ w.T - y
        return 0.5 * float((r * r).sum()) / 12, r.T @ x / 12

    solution = minimise(smooth, penalty, np.zeros((3, 4)), float(np.linalg.norm(x, 2)) ** 2 / 12, accelerate=accelerate,
                        tolerance=1e-10)
    assert solution.stationarity[-1] <= 1e-10
    g, at = -smooth(solution.w)[1], penalty.value(solution.w)
    for e in rng.standard_normal((200, 3, 4)):
        for size in (1e-3, 1.0):
            u = solution.w + size * e
            assert penalty.value(u) >= at + (g * (u - solution.w)).sum() - 1e-9 * size
    if isinstance(penalty, L1):
        on = solution.w != 0
        np.testing.assert_allclose(g[on], 0.3 * np.sign(solution.w[on]), rtol=1e-8)
        assert (np.abs(g[~on]) <= 0.3).all()


def test_ista_never_rises_and_fista_is_faster():
    smooth, lipschitz = ill_conditioned()
    start = np.zeros(20)
    slow = minimise(smooth, L1(1e-4), start, lipschitz, accelerate=False, tolerance=1e-7, iterations=100_000)
    fast = minimise(smooth, L1(1e-4), start, lipschitz, tolerance=1e-7)
    assert slow.stationarity[-1] <= 1e-7
    assert fast.stationarity[-1] <= 1e-7
    assert (np.diff(slow.objective) <= 1e-15).all()
    assert len(fast.stationarity) < len(slow.stationarity) / 3
    np.testing.assert_allclose(fast.w, slow.w, atol=1e-3)
    assert fast.objective[-1] == pytest.approx(slow.objective[-1], abs=1e-9)


def test_every_iteration_is_that_of_the_papers():
    """Fixed-step ISTA; FISTA with θ and β written out, and the restart where the last step went against the
    momentum."""
    smooth, lipschitz = ill_conditioned(seed=5)
    for accelerate in (False, True):
        w = y = np.full(20, 0.3)
        theta, values, restarts = 1.0, [], 0
        for _ in range(200):
            new = definitions.soft_threshold(y - smooth(y)[1] / lipschitz, 1e-3 / lipschitz)
            following = (1 + (1 + 4 * theta ** 2) ** 0.5) / 2
            against = sum((y[i] - new[i]) * (new[i] - w[i]) for i in range(20)) > 0
            restarts += against and accelerate
            beta, theta = ((theta - 1) / following, following) if accelerate and not against else (0.0, 1.0)
            w, y = new, new + beta * (new - w)
            values.append(smooth(w)[0] + defined.l1(w, 1e-3))
        solution = minimise(smooth, L1(1e-3), np.full(20, 0.3), lipschitz, accelerate=accelerate, tolerance=1e-30,
                            iterations=200)
        np.testing.assert_allclose(solution.objective[1:], values, rtol=1e-9)
        np.testing.assert_allclose(solution.w, w, rtol=1e-6, atol=1e-9)
        assert restarts > 0 or not accelerate


def test_rate_of_both_forms():
    """F_k − F* ≤ L‖w₀ − w*‖²/(2k) for the plain form, 2L‖w₀ − w*‖²/(k + 1)² for the accelerated one before any
    restart."""
    smooth, lipschitz = ill_conditioned(seed=2)
    exact = minimise(smooth, L1(1e-3), np.zeros(20), lipschitz, tolerance=1e-13, iterations=50_000)
    distance, best = float(exact.w @ exact.w), min(exact.objective)
    slow = minimise(smooth, L1(1e-3), np.zeros(20), lipschitz, accelerate=False, iterations=300)
    fast = minimise(smooth, L1(1e-3), np.zeros(20), lipschitz, iterations=15)
    for k, value in enumerate(slow.objective[1:], 1):
        assert value - best <= lipschitz * distance / (2 * k) + 1e-12
    for k, value in enumerate(fast.objective[1:], 1):
        assert value - best <= 2 * lipschitz * distance / (k + 1) ** 2 + 1e-12


def test_what_the_solution_reports():
    """The objective by the definition, start first; the stationarity as a multiple of a step of plain descent; the
    start unchanged."""
    smooth, lipschitz = ill_conditioned(seed=3)
    start = np.full(20, 0.1)
    solution = minimise(smooth, L1(1e-3), start, lipschitz, tolerance=1e-30, iterations=7)
    assert np.array_equal(start, np.full(20, 0.1))
    assert len(solution.objective) == 8
    assert len(solution.stationarity) == 7
    assert solution.objective[0] == pytest.approx(smooth(start)[0] + defined.l1(start, 1e-3), rel=1e-14)
    assert solution.objective[-1] == pytest.approx(smooth(solution.w)[0] + defined.l1(solution.w, 1e-3), rel=1e-14)
    step = definitions.soft_threshold(solution.w - smooth(solution.w)[1] / lipschitz, 1e-3 / lipschitz)
    assert solution.stationarity[-1] == pytest.approx(lipschitz * float(np.linalg.norm(solution.w - step)), rel=1e-12)


def test_a_start_at_the_solution_stays():
    smooth, lipschitz = ill_conditioned(seed=4)
    first = minimise(smooth, L1(1e-3), np.zeros(20), lipschitz, tolerance=1e-10)
    again = minimise(smooth, L1(1e-3), first.w, lipschitz, tolerance=1e-10)
    assert len(again.stationarity) == 1
    np.testing.assert_allclose(again.w, first.w, atol=1e-9)


@pytest.mark.parametrize(("options", "words"), [
    ({"lipschitz": 0.0}, "lipschitz is 0"), ({"lipschitz": -1.0}, "lipschitz is -1"),
    ({"lipschitz": float("nan")}, "lipschitz is nan"),
    ({"tolerance": 0.0}, "tolerance is 0"), ({"iterations": 0}, "iterations is 0"),
])
def test_refusals(options, words):
    smooth, _ = ill_conditioned()
    with pytest.raises(InputError, match=words):
        minimise(smooth, L1(1.0), np.zeros(20), **{"lipschitz": 1.0, **options})
