"""Penalties: proximal steps against brute-force minimisation and by their laws, dual norms by the λ at which zero
becomes the solution.

Values against definitions, and the law of every proximal step of the catalogue, are in test_catalogue.py.
"""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from npkd.core.validation import InputError
from npkd.sparsity.penalties import L1, MaxNorm, NeuronGroups, SparseGroups, along, group_norms, shrink_groups
from npkd.sparsity.proximal import minimise, soft_threshold
from reference.definitions.sparsity import penalties as defined
from reference.definitions.sparsity.proximal import proximal_objective

NAMES = {L1: defined.l1, NeuronGroups: defined.neuron_groups, SparseGroups: defined.sparse_groups,
         MaxNorm: defined.max_norm}
QUICK = settings(deadline=None, max_examples=30)


def definition(penalty):
    """The value by the definition, from the fields of the penalty."""
    options = {f.name: getattr(penalty, f.name) for f in dataclasses.fields(penalty)}
    return lambda u: NAMES[type(penalty)](u, **options)


def drawn(rng, groups, axis):
    """One penalty of each convex kind with a λ."""
    lam, cost = float(rng.uniform(0.05, 1.5)), rng.uniform(0.3, 2, groups)
    return [L1(lam), NeuronGroups(lam, axis), NeuronGroups(lam, axis, cost),
            SparseGroups(lam, axis, float(rng.uniform()), cost)]


def brute_force(penalty, v, step):
    """The minimiser over signs and groups that are zero: within each of these pieces the objective is smooth."""
    value = definition(penalty)

    def objective(u):
        return proximal_objective(u.reshape(v.shape), v, step, value)

    best = np.zeros(v.shape)
    for mask in range(1, 2 ** v.size):
        on = np.array([bool(mask >> i & 1) for i in range(v.size)])

        def restricted(free, on=on):
            u = np.zeros(v.size)
            u[on] = free
            return objective(u)

        found = minimize(restricted, v.ravel()[on] / 2, method="Nelder-Mead",
                         options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 4000})
        u = np.zeros(v.size)
        u[on] = found.x
        if objective(u) < objective(best) - 1e-12:
            best = u.reshape(v.shape)
    return best


@pytest.mark.parametrize("metric", [False, True], ids=["one step", "a step each"])
@pytest.mark.parametrize("seed", range(3))
def test_prox_equals_brute_force(seed, metric):
    rng = np.random.default_rng(seed)
    v = rng.standard_normal((2, 2)) * np.array([[0.4], [2.0]])
    step = rng.uniform(0.3, 2, v.shape) if metric else float(rng.uniform(0.3, 2))
    for penalty in drawn(rng, 2, seed % 2):
        p, best = penalty.prox(v, step), brute_force(penalty, v, step)
        assert np.abs(p - best).max() <= 1e-5, (penalty, p, best)
        value = definition(penalty)
        assert proximal_objective(p, v, step, value) <= proximal_objective(best, v, step, value) + 1e-12


def test_prox_of_single_numbers_equals_a_search():
    """One weight alone, where all of them are the l1 norm."""
    for penalty in (L1(0.7), NeuronGroups(0.7), SparseGroups(0.7, alpha=0.3)):
        for v in (-2.0, -0.5, 0.1, 0.9, 3.0):
            for step in (0.5, np.array([[0.5]])):
                found = minimize_scalar(lambda u, v=v: (u - v) ** 2 / 1.0 + 0.7 * abs(u), bounds=(-4, 4),
                                        method="bounded", options={"xatol": 1e-10})
                assert penalty.prox(np.array([[v]]), step).item() == pytest.approx(found.x, abs=1e-6)


@QUICK
@given(seed=st.integers(0, 10 ** 6), rows=st.integers(1, 4), columns=st.integers(1, 4), axis=st.integers(0, 1),
       metric=st.booleans())
def test_laws_of_every_proximal_step(seed, rows, columns, axis, metric):
    """No step further apart than its arguments, zero stays zero, signs are kept, entries shrink, no −0.0, arguments
    unchanged."""
    rng = np.random.default_rng(seed)
    u, v = rng.standard_normal((2, rows, columns))
    u[rng.random(u.shape) < 0.2] = 0
    step = rng.uniform(0.01, 3, u.shape) if metric else float(rng.uniform(0.01, 3))
    weight = 1 / np.broadcast_to(step, u.shape)
    for penalty in drawn(rng, u.shape[axis], axis):
        before = u.copy()
        p, q = penalty.prox(u, step), penalty.prox(v, step)
        assert np.array_equal(u, before)
        # firmly non-expansive, in the metric of the step
        assert (weight * (p - q) ** 2).sum() <= (weight * (p - q) * (u - v)).sum() + 1e-12
        assert not penalty.prox(np.zeros_like(u), step).any()
        assert (p * u >= 0).all()
        assert (np.abs(p) <= np.abs(u) * (1 + 1e-12)).all()
        assert not np.signbit(p[p == 0]).any()
        assert not np.signbit(penalty.prox(-np.abs(u) * 1e-3, step)[penalty.prox(-np.abs(u) * 1e-3, step) == 0]).any()
        # a metric whose steps are all equal is no metric
        if not metric:
            np.testing.assert_allclose(penalty.prox(u, np.full(u.shape, step)), p, rtol=1e-9, atol=1e-12)


@QUICK
@given(seed=st.integers(0, 10 ** 6), rows=st.integers(1, 4), columns=st.integers(1, 4), metric=st.booleans(),
       spread=st.sampled_from([1.0, 1e3, 1e6]))
def test_group_steps_satisfy_the_optimality_condition(seed, rows, columns, metric, spread):
    """(v − p)/t = κ p/‖p‖ where a group stays, ‖v/t‖ ≤ κ where it is zero; steps as unequal as Adam makes them."""
    rng = np.random.default_rng(seed)
    v = rng.standard_normal((rows, columns))
    step = (
        np.exp(rng.uniform(-np.log(spread) / 2, np.log(spread) / 2, v.shape)) if metric else float(rng.uniform(0.1, 2))
    )
    kappa = rng.uniform(0, 2, (rows, 1)) * rng.choice([1e-3, 1.0], (rows, 1))
    p = shrink_groups(v, kappa, step, 0)
    for j in range(rows):
        pull = (v[j] - p[j]) / np.broadcast_to(step, v.shape)[j]
        if p[j].any():
            np.testing.assert_allclose(pull, kappa[j] * p[j] / np.linalg.norm(p[j]), rtol=1e-7,
                                       atol=1e-9 * np.abs(v[j]).max())
        else:
            assert np.linalg.norm(pull) <= kappa[j, 0] * (1 + 1e-9)


def test_zero_lambda_leaves_everything():
    v = np.random.default_rng(0).standard_normal((3, 4))
    for penalty in (L1(0.0), NeuronGroups(0.0), NeuronGroups(0.0, 1, np.arange(1.0, 5)), SparseGroups(0.0),
                    SparseGroups(0.0, 1, 1.0)):
        for step in (0.7, np.random.default_rng(1).uniform(0.5, 2, v.shape)):
            assert np.array_equal(penalty.prox(v, step), v)


def test_zeros_are_exact_and_survive_single_precision():
    v = np.array([[0.1, -0.1], [3.0, -4.0]], np.float32)
    for penalty in (NeuronGroups(0.5), SparseGroups(0.5, alpha=0.2)):
        for step in (1.0, np.ones((2, 2), np.float32)):
            p = penalty.prox(v, step)
            assert p.dtype == np.float32
            assert not p[0].any()
            assert p[1].all()


# ---- dual norms
# -----------------------------------------------------------------------------------------------------------------


@QUICK
@given(seed=st.integers(0, 10 ** 6), axis=st.integers(0, 1))
def test_lambda_max_is_sharp(seed, axis):
    """At w = 0 a step of length t from the gradient g stays there exactly when λ ≥ Ω₁°(g): one at it leaves, one above
    stays."""
    rng = np.random.default_rng(seed)
    g = rng.standard_normal((3, 4)) * np.exp(rng.uniform(-2, 2, (3, 4)))
    cost = rng.uniform(0.3, 2, g.shape[axis])
    step = float(np.exp(rng.uniform(-3, 3)))
    for kind in (L1, lambda lam: NeuronGroups(lam, axis, cost), lambda lam: SparseGroups(lam, axis, 0.4, cost),
                 lambda lam: SparseGroups(lam, axis, 0.0, cost), lambda lam: SparseGroups(lam, axis, 1.0, cost),
                 lambda lam: NeuronGroups(lam, 1, cost[:2], channels=2),
                 lambda lam: SparseGroups(lam, 1, 0.4, cost[:2], channels=2)):
        top = kind(1.0).dual_norm(g)
        assert not kind(top * (1 + 1e-9)).prox(-step * g, step).any()
        assert kind(top * (1 - 1e-6)).prox(-step * g, step).any()
        assert kind(17.0).dual_norm(g) == top, "λ is not part of the dual norm"


@QUICK
@given(seed=st.integers(0, 10 ** 6), axis=st.integers(0, 1))
def test_dual_norms_satisfy_the_inequality_and_reach_it(seed, axis):
    """⟨g, w⟩ ≤ Ω₁°(g) Ω₁(w) for every w, with equality for some: the step just below λ_max points there."""
    rng = np.random.default_rng(seed)
    g, cost = rng.standard_normal((3, 4)), rng.uniform(0.3, 2, (3, 4)[axis])
    for kind in (L1, lambda lam: NeuronGroups(lam, axis, cost), lambda lam: SparseGroups(lam, axis, 0.4, cost),
                 lambda lam: NeuronGroups(lam, 1, cost[:2], channels=2),
                 lambda lam: SparseGroups(lam, 1, 0.4, cost[:2], channels=2)):
        omega = definition(kind(1.0))
        dual = kind(1.0).dual_norm(g)
        for w in rng.standard_normal((20, 3, 4)):
            assert (g * w).sum() <= dual * omega(w) * (1 + 1e-12)
        w = kind(dual * (1 - 1e-7)).prox(g, 1.0)
        assert (g * w).sum() == pytest.approx(dual * omega(w), rel=1e-5)


def test_lambda_max_of_a_whole_problem():
    """A least-squares problem: w = 0 is the solution from λ_max on and not below."""
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((30, 4)), rng.standard_normal((30, 3))

    def smooth(w):
        r = x @ w.T - y
        return float((r * r).sum()) / 60, r.T @ x / 30

    start, lipschitz = np.zeros((3, 4)), float(np.linalg.eigvalsh(x.T @ x / 30)[-1])
    for kind in (L1, lambda lam: NeuronGroups(lam, 1), lambda lam: SparseGroups(lam, 1, 0.3)):
        top = kind(1.0).dual_norm(smooth(start)[1])
        assert not minimise(smooth, kind(top * (1 + 1e-9)), start, lipschitz).w.any()
        assert minimise(smooth, kind(top * (1 - 1e-6)), start, lipschitz).w.any()


def test_dual_norm_of_nothing_is_zero():
    for penalty in (L1(1.0), NeuronGroups(1.0), SparseGroups(1.0)):
        assert penalty.dual_norm(np.zeros((2, 3))) == 0


# ---- the bound
# ------------------------------------------------------------------------------------------------------------------


@QUICK
@given(seed=st.integers(0, 10 ** 6), axis=st.integers(0, 1))
def test_max_norm_projects(seed, axis):
    """Within the bound, idempotent, nearer than any other point within, and no change to what was within."""
    rng = np.random.default_rng(seed)
    v, bound = 2 * rng.standard_normal((3, 4)), float(rng.uniform(0.2, 3))
    penalty = MaxNorm(bound, axis)
    p = penalty.prox(v, float(rng.uniform(0.1, 2)))
    assert penalty.value(p) == 0
    assert np.allclose(penalty.prox(p, 1.0), p, rtol=1e-14, atol=0)
    norms = np.moveaxis(v, axis, 0).reshape(v.shape[axis], -1)
    within = np.linalg.norm(norms, axis=1) <= bound
    assert np.array_equal(np.moveaxis(p, axis, 0)[within], np.moveaxis(v, axis, 0)[within])
    for w in rng.standard_normal((10, 3, 4)):
        inside = penalty.prox(w, 1.0)
        assert ((v - p) * (inside - p)).sum() <= 1e-12
    assert penalty.value(v) == (0 if within.all() else math.inf)


# ---- small things
# ---------------------------------------------------------------------------------------------------------------


def test_group_norms_and_costs_broadcast():
    w = np.random.default_rng(0).standard_normal((2, 3, 4))
    for axis in range(3):
        norms = group_norms(w, axis)
        assert norms.ndim == 3
        assert np.allclose(norms.ravel(), [np.linalg.norm(part) for part in np.moveaxis(w, axis, 0)], rtol=1e-14)
        cost = along(np.arange(1.0, w.shape[axis] + 1), w, axis)
        assert np.allclose((cost * norms).ravel(), np.arange(1, w.shape[axis] + 1) * norms.ravel())
    assert along(2.0, w, 0) == 2.0


@pytest.mark.parametrize(("make", "words"), [
    (lambda: L1(-1.0), "lam"),
    (lambda: L1(math.nan), "lam"),
    (lambda: NeuronGroups(math.inf), "lam"),
    (lambda: NeuronGroups(1.0, cost=np.array([1.0, math.nan])), "cost"),
    (lambda: NeuronGroups(1.0, cost=np.array([1.0, 0.0])), "cost"),
    (lambda: NeuronGroups(1.0, cost=np.array([1.0, math.inf])), "cost"),
    (lambda: SparseGroups(1.0, cost=np.array([1.0, math.inf])), "cost"),
    (lambda: SparseGroups(1.0, alpha=math.nan), "alpha"),
    (lambda: MaxNorm(math.inf), "bound"),
    (lambda: NeuronGroups(1.0, axis=2).value(np.ones((2, 2))), "axis"),
    (lambda: NeuronGroups(1.0, cost=np.ones(3)).prox(np.ones((2, 2)), 0.1), "cost"),
    (lambda: SparseGroups(1.0, cost=np.ones((2, 1))).value(np.ones((2, 2))), "cost"),
    (lambda: MaxNorm(1.0).prox(np.ones((2, 2)), np.ones((2, 2))), "step"),
])
def test_refusals(make, words):
    with pytest.raises(InputError, match=words):
        make()


# ---- dtypes, digits and refusals ------------------------------------------------------------------------------------

CONVEX = [L1(0.5), NeuronGroups(0.5), NeuronGroups(0.5, 1, np.array([1.0, 2.0, 0.5])), SparseGroups(0.5, 1, 0.3)]
EVERY = [*CONVEX, MaxNorm(1.0)]
KINDS = pytest.mark.parametrize("penalty", EVERY, ids=lambda penalty: type(penalty).__name__)


@KINDS
@pytest.mark.parametrize("method", ["value", "prox", "dual_norm"])
@pytest.mark.parametrize("v", [np.array([[3, -2, 0], [0, 4, 1]]), np.ones((2, 3), bool), [[3.0, -2.0, 0.0]]],
                         ids=["integers", "truth values", "list"])
def test_what_holds_no_fractions_is_refused(penalty, method, v):
    if not hasattr(penalty, method):
        assert isinstance(penalty, MaxNorm)
        return
    with pytest.raises(InputError, match=f"{type(penalty).__name__}: . is (int64|bool|list); it must be .*floating"):
        getattr(penalty, method)(*([v, 1.0] if method == "prox" else [v]))


@KINDS
@pytest.mark.parametrize("step", [-0.1, math.nan, math.inf, np.full((2, 3), -1.0), np.ones((3, 2)), np.ones(3),
                                  np.array([[1.0, 1, 1], [1, math.nan, 1]])], ids=str)
def test_steps_that_are_none_are_refused(penalty, step):
    with pytest.raises(InputError, match=f"{type(penalty).__name__}: step "):
        penalty.prox(np.ones((2, 3)), step)


def test_a_negative_threshold_is_refused():
    for t in (-1.0, np.array([1.0, -1.0, 1.0]), math.nan):
        with pytest.raises(InputError, match=r"soft_threshold: t is .* must not be negative"):
            soft_threshold(np.ones((2, 3)), t)
    with pytest.raises(InputError, match="floating"):
        soft_threshold(np.ones(3, int), 0.5)


NASTY = [1e-25, -1e-25, 1e-45, -0.0, 0.0, 3.0, -1e38, 1e-38]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nothing_changes_a_bit_where_lambda_or_the_step_is_zero(dtype):
    with np.errstate(over="ignore"):
        v = np.array([NASTY, [1e-200, 1e200, -1e-310, 5e-324, 2.0, -7.0, 1e-8, 65504.0]]).astype(dtype)
    ones = np.ones(v.shape)
    for make in (L1, NeuronGroups, SparseGroups, lambda lam: NeuronGroups(lam, 1),
                 lambda lam: SparseGroups(lam, 1, 1.0), lambda lam: NeuronGroups(lam, 1, channels=4),
                 lambda lam: SparseGroups(lam, 0, 0.0)):
        for p in (make(0.0).prox(v, 0.7), make(0.0).prox(v, ones), make(0.7).prox(v, 0.0), make(0.7).prox(v, 0 * ones)):
            assert p.dtype == dtype
            assert p.tobytes() == v.tobytes()
            assert not np.shares_memory(p, v)


def test_a_single_step_of_zero_changes_no_bit_of_its_entry():
    v = np.array([[1e-25, 3.0, -2.0]])
    for penalty in (L1(0.5), NeuronGroups(0.5), SparseGroups(0.5)):
        assert penalty.prox(v, np.array([[0.0, 0.1, 0.1]]))[0, 0] == 1e-25


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e-25, 1.0, 1e25, 1e170, 1e300])
def test_squares_neither_vanish_nor_overflow(scale):
    """A norm is a norm at any size: the group (3, 4)·s has norm 5 s, and shrinks to 0.8 of itself by a step of s."""
    v = scale * np.array([[3.0, 4.0]])
    assert NeuronGroups(1.0).value(v) == pytest.approx(5 * scale, rel=1e-14)
    assert NeuronGroups(1.0).dual_norm(v) == pytest.approx(5 * scale, rel=1e-14)
    for penalty, expected in ((NeuronGroups(scale), 0.8), (NeuronGroups(scale / 8), 0.975)):
        np.testing.assert_allclose(penalty.prox(v, 1.0), expected * v, rtol=1e-14)
        np.testing.assert_allclose(penalty.prox(v, np.ones((1, 2))), expected * v, rtol=1e-12)
    assert not NeuronGroups(5.1 * scale).prox(v, 1.0).any()
    np.testing.assert_allclose(MaxNorm(scale).prox(v, 1.0), v / 5, rtol=1e-14)
    assert SparseGroups(1.0).dual_norm(v) == pytest.approx(2 * scale * (7 - math.sqrt(24)), rel=1e-13)


def test_a_metric_with_hardly_any_penalty_changes_hardly_anything():
    v, steps = np.array([[3.0, 4.0]]), np.array([[0.5, 2.0]])
    for lam in (1e-200, 1e-100, 1e-20):
        np.testing.assert_allclose(NeuronGroups(lam).prox(v, steps), v, rtol=1e-15)


@pytest.mark.filterwarnings("error")
def test_half_precision_neither_overflows_nor_vanishes():
    v = np.array([[300, 400]], np.float16)
    assert NeuronGroups(250.0).prox(v, 1.0).tolist() == [[150, 200]]
    assert MaxNorm(250.0).prox(v, 1.0).tolist() == [[150, 200]]
    assert NeuronGroups(250.0, cost=np.array([1e6])).value(v) == 250e6 * 500
    assert L1(1e5).prox(v, 1.0).tolist() == [[0, 0]]
    assert SparseGroups(1e5).prox(v, 1.0).tolist() == [[0, 0]]
    assert L1(1.0).value(np.full((100, 100), 100, np.float16)) == 1e6
    tiny = np.array([[3e-4, 4e-4]], np.float16)
    assert NeuronGroups(1.0).value(tiny) == pytest.approx(5e-4, rel=1e-3)
    for penalty in EVERY[:2]:
        assert penalty.prox(v, np.ones((1, 2))).dtype == np.float16


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("bound", [1.0, 3e-3, 777.0])
def test_what_a_bound_projects_is_within_it(dtype, axis, bound):
    rng = np.random.default_rng(0)
    w = (bound * (rng.random((40_000, 3)) + 0.5) * 10.0 ** rng.integers(-1, 2, (40_000, 3))).astype(dtype)
    p = MaxNorm(bound, axis).prox(w, 1.0)
    assert p.dtype == dtype
    assert MaxNorm(bound, axis).value(p) == 0
    norms = np.linalg.norm(p.astype(np.float64), axis=1 - axis)
    assert norms.max() <= bound * (1 + 2 * np.finfo(dtype).eps + 1e-12)
    if axis == 0:
        assert MaxNorm(bound * (1 - 20 * np.finfo(dtype).eps), axis).value(p) == math.inf


def test_sums_over_many_rows_keep_their_digits():
    w = np.full((300_000, 2), 0.1, np.float32)
    tenth = float(np.float32(0.1))
    assert L1(1.0).value(w.T) == pytest.approx(600_000 * tenth, rel=1e-7)
    assert NeuronGroups(1.0, 1).value(w) == pytest.approx(2 * math.sqrt(300_000) * tenth, rel=1e-7)


def test_not_a_number_stays_where_it_is():
    for penalty in EVERY:
        assert np.isnan(penalty.prox(np.array([[math.nan, 1.0, 2.0], [1.0, 2.0, 3.0]]), 0.1)[0, 0])
