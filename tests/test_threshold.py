"""One proximal step on a layer's neurons: the minimum of its separable problem, by laws and by search, with the certificate of (W1)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from npkd.errors import InputError
from npkd.sparsity.group_lasso import Problem
from npkd.sparsity.statistics import Statistics
from npkd.sparsity.threshold import apart, threshold


def layer(seed=0, n=60, d=7, m=3):
    rng = np.random.default_rng(seed)
    h = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + rng.standard_normal(d)
    w = rng.standard_normal((m, d)) * rng.choice([0.1, 1, 3], d)
    return h, w, Statistics.of(h, h @ w.T)


def objective(h, w, v, lam):
    """½ Σ_j σ_j² ‖v_j − w_j‖² + λ Σ_j σ_j ‖v_j‖, neuron by neuron."""
    return sum(0.5 * h[:, j].var() * ((v[:, j] - w[:, j]) ** 2).sum() + lam * h[:, j].std() * np.sqrt((v[:, j] ** 2).sum())
               for j in range(w.shape[1]))


@settings(derandomize=True, deadline=None, max_examples=25)
@given(seed=st.integers(0, 10 ** 6), neurons=st.integers(1, 7))
def test_it_is_the_minimum_and_keeps_as_many_as_wanted(seed, neurons):
    h, w, s = layer(seed)
    solution, top = threshold(s, w, neurons)
    assert len(solution.kept) == neurons
    assert np.array_equal(np.flatnonzero(solution.w.any(axis=0)), solution.kept)
    assert solution.gap <= 1e-12
    assert not solution.proved[solution.kept].any()
    assert solution.lam < top
    here, rng = objective(h, w, solution.w, solution.lam), np.random.default_rng(seed)
    for size in (1e-6, 1e-3, 0.1, 1.0):
        for _ in range(20):
            assert objective(h, w, solution.w + size * rng.standard_normal(w.shape), solution.lam) >= here - 1e-12 * abs(here)
    found = optimize.minimize(lambda v: objective(h, w, v.reshape(w.shape), solution.lam), solution.w.ravel(), method="Powell",
                              options={"maxiter": 300})
    assert found.fun >= here * (1 - 1e-7) - 1e-12
    assert not threshold(s, w, 1)[0].w[:, np.setdiff1d(np.arange(7), threshold(s, w, 1)[0].kept)].any()


def test_it_is_the_group_lasso_of_independent_neurons():
    """The same solution from the solver of (W1), given the statistics (W15); and those are what data of independent neurons give."""
    h, w, s = layer(3)
    solution, top = threshold(s, w, 4)
    problem = Problem(apart(s, w), h.std(axis=0))
    assert problem.lambda_max == pytest.approx(top, rel=1e-12)
    again = problem.solve(solution.lam, tolerance=1e-12)
    np.testing.assert_allclose(again.w, solution.w, atol=1e-5)
    assert np.array_equal(again.kept, solution.kept)
    # data with every neuron moved alone: d blocks, in each all other neurons rest
    rows = [np.where(np.arange(7) == j, (h[n, j] - h[:, j].mean()), 0.0) for j in range(7) for n in range(len(h))]
    raw = Statistics.of(np.array(rows), np.array(rows) @ w.T)
    for mine, theirs in ((apart(s, w).A, raw.A), (apart(s, w).C, raw.C), (apart(s, w).t, raw.t)):
        np.testing.assert_allclose(mine, theirs, atol=1e-9)


def test_of_equals_the_first_stay():
    h = np.eye(6) * 3
    w = np.ones((2, 6))
    solution, _ = threshold(Statistics.of(h, h @ w.T), w, 2)
    assert solution.kept.tolist() == [0, 1]


def test_who_is_not_read_or_constant_never_stays():
    h, w, _ = layer(5)
    w[:, 2], h[:, 4] = 0, 1.5
    solution, _ = threshold(Statistics.of(h, h @ w.T), w, 6)
    assert solution.kept.tolist() == [0, 1, 3, 5, 6]
    nothing, top = threshold(Statistics.of(h, h @ w.T), np.zeros_like(w), 3)
    assert nothing.kept.tolist() == [0]
    assert top == 0
    assert not nothing.w.any()


def test_refusal():
    _, w, s = layer()
    with pytest.raises(InputError, match="threshold: 0 neurons may stay; a layer needs at least one"):
        threshold(s, w, 0)
