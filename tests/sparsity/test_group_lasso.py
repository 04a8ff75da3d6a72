"""The layer-wise problem: certificates against raw data, solutions against exact ones found in other ways, what is
proved against what is."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from npkd.core.validation import InputError
from npkd.sparsity.group_lasso import Problem, lambdas
from npkd.sparsity.group_lasso_steps import newton
from npkd.sparsity.neuron_search import keep
from npkd.sparsity.statistics import Statistics, refit
from reference.definitions.sparsity import group_lasso as defined
from tests.tiny import ista

QUICK = settings(deadline=None, max_examples=25)


def data(seed, n=20, d=5, m=3, sparse=True):
    """Correlated inputs with means, some of which explain the targets."""
    rng = np.random.default_rng(seed)
    h = rng.standard_normal((n, d)) @ (np.eye(d) + 0.4 * rng.standard_normal((d, d))) + rng.standard_normal(d)
    w = rng.standard_normal((m, d)) * (rng.random(d) < (0.6 if sparse else 2))
    return h, h @ w.T + 0.3 * rng.standard_normal((n, m)) + rng.standard_normal(m), rng.uniform(0.5, 2, d)


# ---- the certificate
# --------------------------------------------------------------------------------------------------------------


@QUICK
@given(seed=st.integers(0, 10 ** 6), n=st.integers(3, 12), d=st.integers(1, 5), m=st.integers(1, 3),
       fraction=st.floats(1e-3, 1.5))
def test_gap_from_statistics_equals_primal_minus_dual_on_raw_data(seed, n, d, m, fraction):
    """At any point, not only at solutions."""
    h, z, cost = data(seed, n, d, m)
    problem = Problem(Statistics.of(h, z), cost)
    lam = fraction * problem.lambda_max
    rng = np.random.default_rng(seed)
    for w in (np.zeros((m, d)), rng.standard_normal((m, d)), ista(h, z, lam, cost, 30)):
        v = (w[:, problem.alive] * problem.sigma).T
        gap, proved = problem.certificate(v, problem.C - problem.A @ v, lam)
        expected = defined.gap(h, z, w, lam, cost)
        assert gap == pytest.approx(expected, rel=1e-8, abs=1e-10)
        if gap > 1e-9:                                       # below it, rounding decides
            assert proved.tolist() == defined.proved(h, z, w, lam, cost)


@QUICK
@given(seed=st.integers(0, 10 ** 6), d=st.integers(1, 6), m=st.integers(1, 3), fraction=st.floats(1e-2, 0.99))
def test_the_gap_bounds_what_is_missing(seed, d, m, fraction):
    """F(w) − F* ≤ gap · F(0) for points on the way, F* from a long plain descent; and never below zero."""
    h, z, cost = data(seed, 15, d, m)
    problem = Problem(Statistics.of(h, z), cost)
    lam = fraction * problem.lambda_max
    zero, best = (
        defined.objective(h, z, np.zeros((m, d)), lam, cost), defined.objective(h, z, ista(h, z, lam, cost), lam, cost)
    )
    for steps in (0, 1, 3, 10, 100):
        w = ista(h, z, lam, cost, steps)
        v = (w * problem.sigma).T
        gap, _ = problem.certificate(v, problem.C - problem.A @ v, lam)
        missing = (defined.objective(h, z, w, lam, cost) - best) / zero
        assert gap >= missing - 1e-12
    for tolerance in (1e-2, 1e-6, 1e-9):
        solution = problem.solve(lam, tolerance=tolerance)
        assert solution.gap <= tolerance
        assert -1e-12 <= (defined.objective(h, z, solution.w, lam, cost) - best) / zero <= solution.gap + 1e-12


@QUICK
@given(seed=st.integers(0, 10 ** 6), d=st.integers(2, 6), fraction=st.floats(1e-2, 0.99),
       tolerance=st.sampled_from([1e-1, 1e-3, 1e-6]))
def test_what_is_proved_zero_is_zero(seed, d, fraction, tolerance):
    """Also long before convergence; and where the gap is 0 to the last digit, so that rounding alone decides."""
    h, z, cost = data(seed, 15, d, 2)
    problem = Problem(Statistics.of(h, z), cost)
    lam = fraction * problem.lambda_max
    exact = problem.solve(lam, tolerance=1e-14)
    solution = problem.solve(lam, tolerance=tolerance)
    assert not exact.w[:, solution.proved].any()
    assert not ista(h, z, lam, cost)[:, solution.proved].any()


def test_no_neuron_that_stays_is_ever_proved_zero():
    """Small problems are solved to the last digit: the gap is then 0 but for rounding, and ‖G_j‖ equals λ c_j but for
    rounding."""
    for seed in range(300):
        h, z, cost = data(seed, 10, 1 + seed % 3, 1 + seed % 2)
        problem = Problem(Statistics.of(h, z), cost)
        solution = problem.solve(0.3 * problem.lambda_max, tolerance=1e-15)
        assert not solution.proved[solution.kept].any(), seed


def test_something_is_proved_and_a_wrong_rule_would_be_found_out():
    """The rule proves most zeros at convergence; without the radius √(2 gap) it claims zeros that are none."""
    some = wrong = 0
    for seed in range(60):
        h, z, cost = data(seed, 20, 6, 2)
        problem = Problem(Statistics.of(h, z), cost)
        lam = 0.2 * problem.lambda_max
        exact = ista(h, z, lam, cost)
        some += int(problem.solve(lam, tolerance=1e-10).proved.sum())
        w = ista(h, z, lam, cost, 3)
        r = defined.dual_point(h, z, w, lam, cost)
        careless = np.array(defined.correlations(h, r)) < lam * cost
        wrong += int(exact[:, careless].any(axis=0).sum())
    assert some > 20
    assert wrong > 0


# ---- the solution
# -----------------------------------------------------------------------------------------------------------------


@QUICK
@given(seed=st.integers(0, 10 ** 6), n=st.integers(8, 25), d=st.integers(1, 6), m=st.integers(1, 4),
       fraction=st.floats(0.01, 1.1))
def test_solutions_equal_a_long_plain_descent(seed, n, d, m, fraction):
    h, z, cost = data(seed, n, d, m)
    problem = Problem(Statistics.of(h, z), cost)
    lam = fraction * problem.lambda_max
    expected, solution = ista(h, z, lam, cost), problem.solve(lam, tolerance=1e-13)
    np.testing.assert_allclose(solution.w, expected, atol=1e-4 * max(1, np.abs(expected).max()))
    sizes = np.linalg.norm(expected, axis=0)
    clear = (sizes > 1e-4) | (sizes == 0)
    assert np.array_equal((np.linalg.norm(solution.w, axis=0) > 0)[clear], (sizes > 0)[clear])
    assert solution.kept.tolist() == np.flatnonzero(solution.w.any(axis=0)).tolist()
    np.testing.assert_allclose(solution.b, z.mean(axis=0) - solution.w @ h.mean(axis=0), rtol=1e-12, atol=1e-12)
    r, y = z - h @ solution.w.T - solution.b, z - z.mean(axis=0)
    assert solution.error == pytest.approx((r * r).sum() / (y * y).sum(), rel=1e-9, abs=1e-12)


def test_a_solution_equals_that_of_a_general_solver():
    """SLSQP on the defining objective with raw data and the bias a variable of its own; groups as cones with slack
    variables."""
    h, z, cost = data(4, 12, 3, 2)
    lam = 0.3 * defined.lambda_max(h, z, cost)

    def objective(p):
        w, b, s = p[:6].reshape(2, 3), p[6:8], p[8:]
        return ((z - b - h @ w.T) ** 2).sum() / 24 + lam * (cost * s).sum()

    cones = [{"type": "ineq", "fun": lambda p, j=j: p[8 + j] ** 2 - (p[:6].reshape(2, 3)[:, j] ** 2).sum()}
             for j in range(3)]
    found = minimize(objective, np.r_[np.full(6, 0.1), np.zeros(2), np.ones(3)], method="SLSQP",
                     bounds=[(None, None)] * 8 + [(0, None)] * 3,
                     constraints=cones, options={"ftol": 1e-14, "maxiter": 1000})
    solution = Problem(Statistics.of(h, z), cost).solve(lam, tolerance=1e-12)
    np.testing.assert_allclose(solution.w, found.x[:6].reshape(2, 3), atol=1e-4)
    np.testing.assert_allclose(solution.b, found.x[6:8], atol=1e-4)
    assert defined.objective(h, z, solution.w, lam, cost) <= found.fun + 1e-6


@QUICK
@given(seed=st.integers(0, 10 ** 6), d=st.integers(1, 8), m=st.integers(1, 4), fraction=st.floats(1e-3, 0.99))
def test_optimality_conditions(seed, d, m, fraction):
    """Σ_n h_nj r_n / N = λ c_j w_j/‖w_j‖ for neurons that stay, at most λ c_j long for the others; on raw data."""
    h, z, cost = data(seed, 25, d, m)
    problem = Problem(Statistics.of(h, z), cost)
    lam = fraction * problem.lambda_max
    w = problem.solve(lam, tolerance=1e-14).w
    hc, r = h - h.mean(axis=0), (z - z.mean(axis=0)) - (h - h.mean(axis=0)) @ w.T
    G = hc.T @ r / len(h)
    for j in range(d):
        size = np.linalg.norm(w[:, j])
        if size > 1e-3:
            np.testing.assert_allclose(G[j], lam * cost[j] * w[:, j] / size,
                                       atol=2e-4 * lam * cost[j] + 1e-6 * np.abs(G).max())
        else:
            assert np.linalg.norm(G[j]) <= lam * cost[j] * (1 + 1e-3)


@QUICK
@given(seed=st.integers(0, 10 ** 6), d=st.integers(1, 6), m=st.integers(1, 3))
def test_lambda_max_is_sharp(seed, d, m):
    h, z, cost = data(seed, 12, d, m)
    problem = Problem(Statistics.of(h, z), cost)
    assert problem.lambda_max == pytest.approx(defined.lambda_max(h, z, cost), rel=1e-11)
    above = problem.solve(problem.lambda_max * (1 + 1e-9), tolerance=1e-13)
    assert not above.w.any()
    assert above.kept.size == 0
    np.testing.assert_allclose(above.b, z.mean(axis=0), rtol=1e-12, atol=1e-13)
    assert above.error == 1
    assert problem.solve(problem.lambda_max * (1 - 1e-6), tolerance=1e-15).w.any()


def test_a_start_makes_no_difference():
    h, z, cost = data(1, 30, 8, 3)
    problem = Problem(Statistics.of(h, z), cost)
    values = lambdas(problem.lambda_max, 12, 1e-3)
    path = list(problem.path(values, tolerance=1e-13))
    assert [s.lam for s in path] == pytest.approx(values.tolist())
    for solution in path:
        assert solution.gap <= 1e-13
        np.testing.assert_allclose(solution.w, problem.solve(solution.lam, tolerance=1e-13).w, atol=1e-5)
        far = problem.solve(solution.lam, 10 * np.ones_like(solution.w), tolerance=1e-13)
        np.testing.assert_allclose(solution.w, far.w, atol=1e-5)
    penalised = [defined.objective(h, z, s.w, 1.0, cost) for s in path]
    assert len(path[0].kept) == 0
    assert len(path[-1].kept) > len(path[3].kept) > 0
    assert (np.diff([s.error for s in path]) <= 1e-9).all(), "the fit gets better as λ falls"
    assert penalised[-1] != penalised[0]


@QUICK
@given(seed=st.integers(0, 10 ** 6), fraction=st.floats(0.01, 0.9))
def test_costs_are_groups_of_other_sizes(seed, fraction):
    """A cost of c is the same as an input divided by c: then its weight is c times as large; a common factor is one of
    λ."""
    h, z, cost = data(seed)
    lam = fraction * defined.lambda_max(h, z, cost)
    solution = Problem(Statistics.of(h, z), cost).solve(lam, tolerance=1e-13)
    scaled = Problem(Statistics.of(h / cost, z)).solve(lam, tolerance=1e-13)
    np.testing.assert_allclose(scaled.w / cost, solution.w, atol=1e-5)
    np.testing.assert_allclose(Problem(Statistics.of(h, z), 3 * cost).solve(lam / 3, tolerance=1e-13).w, solution.w,
                               atol=1e-5)
    np.testing.assert_allclose(Problem(Statistics.of(h, z), 2.0).solve(lam / 2, tolerance=1e-13).w,
                               Problem(Statistics.of(h, z)).solve(lam, tolerance=1e-13).w, atol=1e-5)


@QUICK
@given(seed=st.integers(0, 10 ** 6), fraction=st.floats(0.01, 0.9), size=st.floats(-2, 2))
def test_scaling_a_neuron_and_its_cost_changes_no_fitted_value(seed, fraction, size):
    h, z, cost = data(seed)
    s = np.ones(5)
    s[seed % 5] = 10 ** size
    lam = fraction * defined.lambda_max(h, z, cost)
    one = Problem(Statistics.of(h, z), cost).solve(lam, tolerance=1e-13)
    other = Problem(Statistics.of(h * s, z), cost * s).solve(lam, tolerance=1e-13)
    np.testing.assert_allclose((h * s) @ other.w.T + other.b, h @ one.w.T + one.b, atol=1e-5)
    assert np.array_equal(one.kept, other.kept)


@QUICK
@given(seed=st.integers(0, 10 ** 6), fraction=st.floats(0.01, 0.9))
def test_shifted_inputs_and_targets_change_the_bias_alone(seed, fraction):
    h, z, cost = data(seed)
    shift_h, shift_z = np.arange(5.0), np.array([3.0, -1.0, 10.0])
    lam = fraction * defined.lambda_max(h, z, cost)
    one = Problem(Statistics.of(h, z), cost).solve(lam, tolerance=1e-13)
    other = Problem(Statistics.of(h + shift_h, z + shift_z), cost).solve(lam, tolerance=1e-13)
    np.testing.assert_allclose(other.w, one.w, atol=1e-6)
    np.testing.assert_allclose(other.b, one.b + shift_z - one.w @ shift_h, atol=1e-5)


# ---- the path and the ridge
# ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)], ids=["falling", "rising"])
def test_a_path_follows_its_lambdas(order):
    """In any order, with repetitions, from a single value to many: each solution is certified for its own λ, and is the
    one found alone."""
    h, z, cost = data(4, 40, 8, 3)
    problem = Problem(Statistics.of(h, z), cost)
    values = np.repeat(lambdas(1.1 * problem.lambda_max, 9, 1e-2), 2)[order]
    path = list(problem.path(values, tolerance=1e-12))
    assert [s.lam for s in path] == values.tolist()
    for solution in path:
        assert defined.gap(h, z, solution.w, solution.lam, cost) <= 1e-11
        np.testing.assert_allclose(solution.w, problem.solve(solution.lam, tolerance=1e-12).w, atol=1e-5)
    with pytest.raises(InputError, match="lambda is"):
        list(problem.path(np.array([1.0, 0.0])))


def test_following_the_path_saves_steps():
    """Neurons as a network has them: from where the last two solutions lead, two Newton steps are left at each λ, fewer
    than from the last."""
    rng = np.random.default_rng(0)
    h = np.maximum(rng.standard_normal((400, 12)) @ rng.standard_normal((12, 40)) + rng.standard_normal(40), 0)
    problem = Problem(Statistics.of(h, h @ rng.standard_normal((40, 10))))
    values = lambdas(problem.lambda_max, 100, 1e-3)
    along = sum(s.iterations for s in problem.path(values))
    warm, w = 0, None
    for lam in values:
        solution = problem.solve(lam, w)
        warm, w = warm + solution.iterations, solution.w
    assert along <= 2 * len(values)
    assert along < warm


def with_ridge(h, z, rho):
    """Data without means whose plain problem is the elastic one: two examples ±e_j for each weight, and numbers scaled
    to the larger N."""
    (n, d), m = h.shape, z.shape[1]
    rows = np.sqrt(n * rho / 2) * np.eye(d)
    scale = np.sqrt((n + 2 * d) / n)
    return (scale * np.vstack([h - h.mean(axis=0), rows, -rows]),
            scale * np.vstack([z - z.mean(axis=0), np.zeros((2 * d, m))]))


@QUICK
@given(seed=st.integers(0, 10 ** 6), ridge=st.sampled_from([1e-4, 1e-2, 1.0, 30.0]), fraction=st.floats(0.01, 0.9))
def test_the_ridge(seed, ridge, fraction):
    """Solution, gap and proofs are those of raw data with the ridge as examples; error and bias those of the data
    without."""
    h, z, cost = data(seed, 15, 4, 2)
    problem = Problem(Statistics.of(h, z), cost, ridge)
    rho = ridge * h.var(axis=0).mean()
    raw_h, raw_z = with_ridge(h, z, rho)
    assert problem.lambda_max == pytest.approx(defined.lambda_max(h, z, cost), rel=1e-11)
    lam = fraction * problem.lambda_max
    solution, exact = problem.solve(lam, tolerance=1e-12), ista(raw_h, raw_z, lam, cost)
    np.testing.assert_allclose(solution.w, exact, atol=5e-4)
    assert not exact[:, solution.proved].any()
    best = defined.objective(h, z, solution.w, lam, cost, rho)
    assert best == pytest.approx(defined.objective(raw_h, raw_z, solution.w, lam, cost), rel=1e-10)
    assert all(best <= defined.objective(h, z, solution.w + 1e-2 * e, lam, cost, rho)
               for e in np.random.default_rng(seed).standard_normal((5, 2, 4)))
    for tolerance in (1e-1, 1e-3):
        rough = problem.solve(lam, tolerance=tolerance)
        assert rough.gap == pytest.approx(defined.gap(raw_h, raw_z, rough.w, lam, cost), rel=1e-7, abs=1e-11)
        assert rough.error == pytest.approx(Statistics.of(h, z).error(rough.w), rel=1e-9, abs=1e-12)
        np.testing.assert_allclose(rough.b, z.mean(axis=0) - rough.w @ h.mean(axis=0), atol=1e-12)


@pytest.mark.parametrize("ridge", [-1e-9, np.nan, np.inf])
def test_a_ridge_that_is_none_is_refused(ridge):
    h, z, cost = data(0)
    with pytest.raises(InputError, match="ridge is"):
        Problem(Statistics.of(h, z), cost, ridge)


# ---- awkward data
# -----------------------------------------------------------------------------------------------------------------


def certified(h, z, cost=1.0, fractions=(0.5, 0.1, 0.01)):
    """Solutions with a gap that holds on the raw data."""
    problem = Problem(Statistics.of(h, z), cost)
    out = []
    for fraction in fractions:
        solution = problem.solve(fraction * problem.lambda_max)
        assert solution.gap <= 1e-6
        costs = np.broadcast_to(cost, h.shape[1])
        assert defined.gap(h, z, solution.w, solution.lam, costs) <= 1e-6 + 1e-10
        out.append(solution)
    return out


def test_constant_inputs_stay_zero():
    h, z, _ = data(5)
    h[:, 1], h[:, 3] = 7.3, 0
    for solution in certified(h, z):
        assert not solution.w[:, [1, 3]].any()
        assert solution.proved[[1, 3]].all()


def test_all_inputs_constant():
    """Nothing explains anything: no weights, the mean as bias, λ_max 0 but for rounding, for any λ and along a path."""
    for h in (np.zeros((7, 3)), np.tile([0.1, 0.3, -7.7], (7, 1))):
        z = np.random.default_rng(0).standard_normal((7, 2))
        problem = Problem(Statistics.of(h, z))
        assert problem.lambda_max == pytest.approx(0, abs=1e-12)
        solution = problem.solve(0.1)
        assert not solution.w.any()
        np.testing.assert_allclose(solution.b, z.mean(axis=0), rtol=1e-13)
        assert not keep(problem, 2).w.any()


def test_all_targets_constant():
    h = np.random.default_rng(1).standard_normal((9, 3))
    for z in (np.zeros((9, 2)), np.full((9, 2), 4.0)):
        problem = Problem(Statistics.of(h, z))
        assert problem.lambda_max == 0
        solution = problem.solve(0.1)
        assert not solution.w.any()
        assert solution.gap == 0
        assert solution.error == 0
        assert not keep(problem, 2).w.any()


@pytest.mark.parametrize("targets", [1, 2, 5])
@pytest.mark.parametrize("seed", range(12))
def test_duplicate_inputs(seed, targets):
    """The same fitted values as with one of each."""
    h, z, _ = data(seed, 30, 4, targets)
    for twice, once in zip(certified(np.hstack([h, h]), z), certified(h, z), strict=True):
        np.testing.assert_allclose(np.hstack([h, h]) @ twice.w.T + twice.b, h @ once.w.T + once.b, atol=0.02)


@pytest.mark.parametrize("targets", [1, 2, 5])
@pytest.mark.parametrize("seed", range(12))
def test_inputs_that_depend_on_one_another(seed, targets):
    h, z, _ = data(seed, 30, 4, targets)
    rng = np.random.default_rng(seed)
    certified(np.hstack([h, h @ rng.standard_normal((4, 3)), 1 - 2 * h[:, :1]]), z, fractions=(0.5, 0.1, 0.01, 1e-3))


@pytest.mark.parametrize("targets", [1, 2, 5])
@pytest.mark.parametrize("seed", range(12))
def test_fewer_examples_than_neurons(seed, targets):
    h, z, _ = data(seed, 8, 20, targets)
    certified(h, z, fractions=(0.5, 0.1, 0.01, 1e-3))


def test_neurons_of_very_different_size():
    h, z, _ = data(8, 40, 6, 3)
    certified(h * np.geomspace(1e-3, 1e3, 6), z)
    certified(h, 1e4 * z)
    certified(h, 1e-4 * z)


def test_one_neuron_one_target():
    """The closed form: soft-thresholding of the regression coefficient."""
    h, z, _ = data(9, 15, 1, 1, sparse=False)
    a, c = h.var(), float(((h - h.mean()) * (z - z.mean())).mean())
    for fraction in (0.1, 0.5, 0.99):
        lam = fraction * abs(c)
        solution = Problem(Statistics.of(h, z)).solve(lam, tolerance=1e-15)
        assert solution.w.item() == pytest.approx(np.sign(c) * (abs(c) - lam) / a, rel=1e-6)


def test_a_small_lambda_is_nearly_least_squares():
    h, z, _ = data(10, 30, 4, 2)
    problem = Problem(Statistics.of(h, z))
    solution = problem.solve(1e-9 * problem.lambda_max, tolerance=1e-14)
    expected = np.linalg.lstsq(np.hstack([h, np.ones((30, 1))]), z, rcond=None)[0]
    np.testing.assert_allclose(solution.w, expected[:4].T, rtol=1e-4)


# ---- keep, refit, lambdas
# -----------------------------------------------------------------------------------------------------------


@settings(QUICK, max_examples=15)
@given(seed=st.integers(0, 10 ** 6), d=st.integers(1, 10), neurons=st.integers(1, 12))
def test_keep_never_keeps_more_than_asked(seed, d, neurons):
    h, z, cost = data(seed, 40, d, 3, sparse=False)
    problem = Problem(Statistics.of(h, z), cost)
    solution = keep(problem, neurons)
    assert len(solution.kept) <= neurons
    assert solution.gap <= 1e-6
    assert defined.gap(h, z, solution.w, solution.lam, cost) <= 1.1e-6
    # as many as possible: neurons enter one by one here
    assert len(solution.kept) == min(neurons, d)


@settings(QUICK, max_examples=12)
@example(seed=1, n=20, neurons=2)
@given(seed=st.integers(0, 10 ** 6), n=st.integers(20, 200), neurons=st.integers(1, 8))
def test_keep_finds_the_width_where_there_is_one(seed, n, neurons):
    """Neurons as a network has them, and a path as distil makes it: loose, and cut where it has enough. The exact path
    says what there is."""
    rng = np.random.default_rng(seed)
    h = np.maximum(rng.standard_normal((n, 5)) @ rng.standard_normal((5, 8)) + rng.standard_normal(8), 0)
    problem = Problem(Statistics.of(h, h @ rng.standard_normal((8, 4))))
    path = []
    for solution in problem.path(lambdas(problem.lambda_max, 30, 1e-3), tolerance=1e-3):
        path.append(solution)
        if len(solution.kept) >= neurons:
            break
    widths = [len(s.kept) for s in problem.path(lambdas(problem.lambda_max, 200, 1e-3), tolerance=1e-8)]
    within_reach = widths[:next((i for i, w in enumerate(widths) if w > neurons), len(widths))]
    solution = keep(problem, neurons)
    assert len(solution.kept) <= neurons
    assert len(solution.kept) >= max(within_reach)


def test_keep_with_neurons_that_enter_together():
    """Two orthogonal inputs that explain the same amount: one alone is on no path, and two are not allowed; the larger
    one stays."""
    h = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    problem = Problem(Statistics.of(h, h.copy()))
    assert len(keep(problem, 1).kept) == 1
    assert len(keep(problem, 2).kept) == 2


def test_keep_needs_a_neuron():
    h, z, _ = data(0)
    with pytest.raises(InputError, match="neurons is 0; it must be at least 1"):
        keep(Problem(Statistics.of(h, z)), 0)


@QUICK
@given(seed=st.integers(0, 10 ** 6), kept=st.sets(st.integers(0, 4), min_size=1))
def test_refit_is_least_squares_on_the_support(seed, kept):
    h, z, _ = data(seed)
    kept = np.array(sorted(kept))
    w, b = refit(Statistics.of(h, z), kept, ridge=0.0)
    expected = np.linalg.lstsq(np.hstack([h[:, kept], np.ones((20, 1))]), z, rcond=None)[0]
    np.testing.assert_allclose(w[:, kept], expected[:-1].T, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(b, expected[-1], rtol=1e-7, atol=1e-8)
    assert not np.delete(w, kept, axis=1).any()


@QUICK
@given(seed=st.integers(0, 10 ** 6), ridge=st.sampled_from([1e-6, 1e-2, 1.0]))
def test_refit_minimises_its_objective(seed, ridge):
    """Against least squares with the ridge as examples of its own, and against points around."""
    h, z, _ = data(seed)
    kept = [0, 2, 3]
    w, _ = refit(Statistics.of(h, z), np.array(kept), ridge)
    hc, zc = (h - h.mean(axis=0))[:, kept], z - z.mean(axis=0)
    rho = ridge * (hc * hc).sum() / 3
    expected = np.linalg.lstsq(np.vstack([hc, np.sqrt(rho) * np.eye(3)]), np.vstack([zc, np.zeros((3, 3))]),
                               rcond=None)[0]
    np.testing.assert_allclose(w[:, kept], expected.T, rtol=1e-7, atol=1e-9)
    at = defined.refit_objective(h, z, w, kept, ridge)
    for e in np.random.default_rng(seed).standard_normal((5, 3, 3)):
        moved = w.copy()
        moved[:, kept] += 1e-3 * e
        assert at <= defined.refit_objective(h, z, moved, kept, ridge)


def test_refit_undoes_the_shrinkage():
    h, z, cost = data(2)
    s = Statistics.of(h, z)
    problem = Problem(s, cost)
    solution = problem.solve(0.3 * problem.lambda_max)
    assert 0 < len(solution.kept) < 5
    assert s.error(refit(s, solution.kept)[0]) < solution.error


def test_refit_of_duplicates_constants_and_nothing():
    h, z, _ = data(3)
    for more in (h[:, :2], np.ones((20, 2)), np.zeros((20, 1))):
        x = np.hstack([h, more])
        w, b = refit(Statistics.of(x, z), np.arange(x.shape[1]))
        best = np.linalg.lstsq(np.hstack([x, np.ones((20, 1))]), z, rcond=None)[0]
        np.testing.assert_allclose(x @ w.T + b, np.hstack([x, np.ones((20, 1))]) @ best, atol=1e-4)
    w, b = refit(Statistics.of(h, z), np.array([], int))
    assert not w.any()
    np.testing.assert_allclose(b, z.mean(axis=0), rtol=1e-13)
    w, b = refit(Statistics.of(np.ones((20, 2)), z), np.array([0, 1]))
    np.testing.assert_allclose(w.sum(axis=1) + b, z.mean(axis=0), atol=1e-12)


def test_lambdas():
    values = lambdas(8.0, 4, 1e-3)
    assert values[0] == 8.0
    assert values[-1] == pytest.approx(8e-3)
    np.testing.assert_allclose(values[1:] / values[:-1], 0.1)
    assert lambdas(8.0, 1, 0.5).tolist() == [8.0]
    for count, ratio in ((0, 0.1), (3, 0.0), (3, 1.5), (3, -0.1)):
        with pytest.raises(InputError, match=f"count is {count} and ratio"):
            lambdas(1.0, count, ratio)


@pytest.mark.parametrize("cost", [0.0, -1.0, np.nan, np.inf, np.ones(4), np.ones((5, 1)), np.array([1, 1, 0, 1, 1.0]),
                                  np.ones(0)])
def test_costs_that_do_not_fit_are_refused(cost):
    h, z, _ = data(0)
    with pytest.raises(InputError, match="cost"):
        Problem(Statistics.of(h, z), cost)


@pytest.mark.parametrize("lam", [0.0, -1e-9, np.nan, np.inf])
def test_a_lambda_that_is_none_is_refused(lam):
    h, z, _ = data(0)
    with pytest.raises(InputError, match="lambda is"):
        Problem(Statistics.of(h, z)).solve(lam)


def test_the_limit_of_iterations_is_kept_and_the_gap_is_still_true():
    h, z, cost = data(12, 30, 8, 3)
    problem = Problem(Statistics.of(h, z), cost)
    solution = problem.solve(0.01 * problem.lambda_max, tolerance=1e-30, iterations=3)
    assert solution.iterations <= 5
    assert solution.gap == pytest.approx(defined.gap(h, z, solution.w, solution.lam, cost), rel=1e-7, abs=1e-12)


def test_inputs_far_from_zero_have_their_say():
    """What varies little beside its mean is no constant; and only what does not vary at all is proved zero without a
    solution."""
    rng = np.random.default_rng(0)
    h = rng.standard_normal((400, 3))
    h[:, 2] = 0
    z, far = h[:, :2] @ rng.standard_normal((2, 2)), h + 2e6
    lam = 0.1 * Problem(Statistics.of(h, z)).lambda_max
    near, solution = (Problem(Statistics.of(x, z)).solve(lam, tolerance=1e-9) for x in (h, far))
    np.testing.assert_allclose(solution.w, near.w, rtol=1e-4, atol=1e-6)
    assert solution.kept.tolist() == [0, 1]
    assert solution.proved.tolist() == [False, False, True]
    hardly = np.column_stack([h[:, 0], 1 + 1e-9 * h[:, 1]])             # float64 tells it apart: just a small input
    small = Problem(Statistics.of(hardly, z), np.array([1, 1e-9])).solve(lam, tolerance=1e-9)
    np.testing.assert_allclose(small.w * [1, 1e-9], near.w[:, :2], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("far", [1e7, 1e8, 1e9])
def test_inputs_far_from_zero_are_no_false_certificate(far):
    """A mean of far more than 1e7 deviations: the solution is that of the centred data, to what float64 leaves of them;
    a gap of 0 beside an error of 1 was false."""
    rng = np.random.default_rng(1)
    h = rng.standard_normal((300, 3))
    h = np.round(h * 2 ** 20) / 2 ** 20                                 # so that h + far is nearly exact
    z, near = h @ rng.standard_normal((3, 2)), Problem(Statistics.of((h + far) - far, h @ np.ones((3, 2))))
    lam = 0.1 * near.lambda_max
    exact, solution = (Problem(Statistics.of(x, z)).solve(lam) for x in ((h + far) - far, h + far))
    np.testing.assert_allclose(solution.w, exact.w, rtol=1e-2, atol=1e-3)
    assert solution.error < 0.1
    assert len(solution.kept) == 3


def test_nothing_alive_never_has_a_gap_of_zero_unless_nothing_can_help():
    """Inputs whose squares underflow are refused, not left out; constant ones cannot help, which is certified."""
    rng = np.random.default_rng(0)
    h, z = rng.standard_normal((50, 2)), rng.standard_normal((50, 2))
    with pytest.raises(InputError, match=r"input 0 has no variance and covaries with a target; scale inputs"):
        Problem(Statistics.of(1e-170 * h, z))
    constant = Problem(Statistics.of(np.tile([0.1, 1e8 + 0.1], (50, 1)), z)).solve(0.1)
    assert constant.error == 1
    assert constant.gap <= 1e-15
    assert constant.proved.all()
    half = Problem(Statistics.of(np.column_stack([np.full(50, 0.1), h[:, 0]]), z)).solve(1e-3)
    assert half.proved.tolist() == [True, False]


def test_impossible_statistics_give_no_certificate():
    """C a million times too large: no weights have a negative squared error on any data."""
    h, z, _ = data(0)
    s = Statistics.of(h, z)
    problem = Problem(replace(s, C=1e6 * s.C))
    with pytest.raises(InputError, match="below zero"):
        problem.solve(0.01 * problem.lambda_max)


HARD = {
    "rank 20 of 100": lambda rng: np.maximum(rng.standard_normal((2000, 20)), 0) @ rng.standard_normal((20, 100)),
    "correlation 1 - 1e-8": lambda rng: rng.standard_normal((500, 1)) + 1e-4 * rng.standard_normal((500, 30)),
    "Vandermonde": lambda rng: np.vander(np.linspace(0, 1, 200), 20, increasing=True)[:, 1:],
    "relu": lambda rng: np.maximum(rng.standard_normal((2000, 20)) @ rng.standard_normal((20, 100)), 0),
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("fraction", [1e-1, 1e-3, 1e-5])
def test_hard_cases_are_certified(name, fraction):
    """By the gap on the statistics, and by convexity: no point near the solution, towards least squares or towards zero
    is better by more than the gap."""
    rng = np.random.default_rng(0)
    h = HARD[name](rng)
    z = h @ rng.standard_normal((h.shape[1], 10)) / 10 + 0.1 * rng.standard_normal((len(h), 10))
    statistics = Statistics.of(h, z)
    problem = Problem(statistics)
    solution = problem.solve(fraction * problem.lambda_max)
    assert solution.gap <= 1e-6
    assert solution.iterations <= 40

    def objective(w):
        return 0.5 * statistics.error(w) + solution.lam * np.linalg.norm(w, axis=0).sum() / problem.t

    others = [refit(statistics, solution.kept, 1e-6)[0], np.zeros_like(solution.w)]
    for part in (1e-3, 0.1, 1):
        for other in others:
            assert objective(solution.w) <= objective(solution.w + part * (other - solution.w)) + 1e-6


@pytest.mark.parametrize("name", HARD)
def test_as_many_neurons_as_are_wanted_also_in_hard_cases(name):
    rng = np.random.default_rng(1)
    h = HARD[name](rng)
    z = h @ rng.standard_normal((h.shape[1], 10)) / 10 + 0.1 * rng.standard_normal((len(h), 10))
    problem = Problem(Statistics.of(h, z))
    for wanted in (2, h.shape[1] // 2, h.shape[1] - 1):
        solution = keep(problem, wanted)
        assert np.array_equal(np.flatnonzero(solution.w.any(axis=0)), solution.kept)
        assert len(solution.kept) == wanted or solution.reason
        assert solution.gap <= 1e-6 or "not certified" in solution.reason
        assert wanted > 2 or len(solution.kept) == 2


def test_what_cannot_be_kept_is_explained():
    """Of two copies the dearer one is in no solution; it joins with a weight that the certificate does not notice."""
    h, z, _ = data(3, d=2)
    copies = Problem(Statistics.of(np.column_stack([h, h[:, 0]]), z), np.array([1, 1, 1.5]))
    solution = keep(copies, 3)
    assert solution.kept.tolist() == [0, 1, 2]
    assert solution.gap <= 1e-6
    assert solution.reason.startswith("2 of 3: at no λ a certified solution has more")
    assert solution.reason.endswith("; 1 join it")
    nothing = keep(Problem(Statistics.of(h, np.ones((20, 2)))), 2)
    assert nothing.kept.tolist() == [0]
    assert nothing.reason == "0 of 2: the targets depend on none of the inputs"
    flat = keep(Problem(Statistics.of(np.column_stack([h[:, 0], np.ones(20)]), z)), 2)
    assert flat.kept.tolist() == [0]
    assert flat.reason.startswith("1 of 2")


@pytest.mark.parametrize("seed", [1145, 1290, 1409])
def test_a_newton_step_that_would_raise_the_objective_is_shortened(seed):
    """(W23): far from the solution the whole step goes up, a part of it down."""
    rng = np.random.default_rng(seed)
    damping, d = 10 ** rng.uniform(-9, 0), int(rng.integers(2, 25))
    h = rng.standard_normal((40, d)) @ rng.standard_normal((d, d))
    problem = Problem(Statistics.of(h, h @ rng.standard_normal((d, 3)) + 0.1 * rng.standard_normal((40, 3))))
    lam = problem.lambda_max * 10 ** rng.uniform(-4, -0.3)
    point, kappa = problem.point(10 ** rng.uniform(-4, 3, d) * (rng.random(d) < 0.7)), lam * problem.cost
    whole, _ = newton(point, problem.A, kappa, damping)
    assert problem.point(whole).value(kappa) > point.value(kappa)
    assert problem.newton(point, lam, damping, None)[0].value(kappa) < point.value(kappa)
