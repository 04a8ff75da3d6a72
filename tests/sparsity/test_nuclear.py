"""The nuclear norm: its step against a search and an independent minimiser, ranks, laws, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from npkd.core.validation import InputError
from npkd.nn.network import perceptron
from npkd.nn.optimisers import SGD, Adam
from npkd.nn.training import TrainingSettings, train
from npkd.sparsity.nuclear import Nuclear
from npkd.sparsity.proximal import minimise
from reference.definitions.sparsity import nuclear as defined
from reference.definitions.sparsity.proximal import proximal_objective

QUICK = settings(deadline=None, max_examples=30)


@pytest.mark.parametrize("seed", range(3))
def test_prox_is_the_minimum_over_factors(seed):
    """‖W‖_* = min ½(‖U‖² + ‖V‖²) over UVᵀ = W: smooth in the factors, and without singular values."""
    rng = np.random.default_rng(seed)
    v, step, lam = rng.standard_normal((3, 4)), 0.6, 0.7 + 0.4 * seed

    def objective(a):
        left, right = a[:9].reshape(3, 3), a[9:].reshape(3, 4)
        return ((left @ right - v) ** 2).sum() / 2 + step * lam * (a ** 2).sum() / 2

    found = min((minimize(objective, rng.standard_normal(21), method="BFGS", options={"gtol": 1e-9}) for _ in range(4)),
                key=lambda result: result.fun)
    p = Nuclear(lam).prox(v, step)
    assert np.abs(p - found.x[:9].reshape(3, 3) @ found.x[9:].reshape(3, 4)).max() < 1e-4
    at = proximal_objective(p, v, step, lambda u: defined.nuclear(u, lam))
    assert at * step <= found.fun + 1e-8


@QUICK
@given(seed=st.integers(0, 10 ** 6), rows=st.integers(1, 5), columns=st.integers(1, 5))
def test_laws(seed, rows, columns):
    """Singular values shrink by tλ and no further than zero; firmly non-expansive; turned with its argument."""
    rng = np.random.default_rng(seed)
    u, v = rng.standard_normal((2, rows, columns))
    penalty, step = Nuclear(float(rng.uniform(0.05, 2))), float(rng.uniform(0.05, 2))
    before = u.copy()
    p, q = penalty.prox(u, step), penalty.prox(v, step)
    assert np.array_equal(u, before)
    shrunk = np.maximum(np.linalg.svd(u, compute_uv=False) - step * penalty.lam, 0)
    np.testing.assert_allclose(np.linalg.svd(p, compute_uv=False), shrunk, atol=1e-12)
    assert np.linalg.matrix_rank(p, tol=1e-10) == (shrunk > 1e-10).sum()
    assert ((p - q) ** 2).sum() <= ((p - q) * (u - v)).sum() + 1e-12
    turn = np.linalg.qr(rng.standard_normal((rows, rows)))[0]
    np.testing.assert_allclose(penalty.prox(turn @ u, step), turn @ p, atol=1e-12)
    np.testing.assert_allclose(penalty.prox(u.T.copy(), step), p.T, atol=1e-12)


@QUICK
@given(seed=st.integers(0, 10 ** 6), rows=st.integers(1, 5), columns=st.integers(1, 5))
def test_value_dual_norm_and_the_equality_between_them(seed, rows, columns):
    rng = np.random.default_rng(seed)
    w, g = rng.standard_normal((2, rows, columns))
    one = Nuclear(1.0)
    assert one.value(w) == pytest.approx(defined.nuclear(w, 1.0), rel=1e-12)
    assert one.dual_norm(g) == pytest.approx(np.sqrt(np.linalg.eigvalsh(g @ g.T)[-1]), rel=1e-9)
    assert (w * g).sum() <= one.value(w) * one.dual_norm(g) * (1 + 1e-12)
    u, _, vt = np.linalg.svd(g, full_matrices=False)                        # attained
    assert (np.outer(u[:, 0], vt[0]) * g).sum() == pytest.approx(one.dual_norm(g))


def test_zero_is_the_solution_from_the_dual_norm_on():
    rng = np.random.default_rng(0)
    h, z = rng.standard_normal((30, 4)), rng.standard_normal((30, 3))
    lam = Nuclear(1.0).dual_norm(z.T @ h)

    def smooth(w):
        r = h @ w.T - z
        return float((r ** 2).sum()) / 2, r.T @ h

    for factor, rank in ((1.001, 0), (0.999, 1)):
        found = minimise(smooth, Nuclear(factor * lam), np.zeros((3, 4)), np.linalg.norm(h, 2) ** 2, tolerance=1e-9)
        assert np.linalg.matrix_rank(found.w, tol=1e-7) == rank


def test_kernels_are_matrices_of_a_row_a_filter_and_nothing_is_left_exactly():
    w = np.random.default_rng(0).standard_normal((3, 2, 2, 2))
    p = Nuclear(0.5).prox(w, 1.0)
    np.testing.assert_array_equal(p.reshape(3, -1), Nuclear(0.5).prox(w.reshape(3, -1), 1.0))
    gone = Nuclear(50.0).prox(-w, 1.0)
    assert not gone.any()
    assert not np.signbit(gone).any()
    for penalty, step in ((Nuclear(0.0), 1.0), (Nuclear(1.0), 0.0)):
        np.testing.assert_array_equal(penalty.prox(w, step), w)
        assert penalty.prox(w, step) is not w


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_dtype_is_kept(dtype):
    w = np.random.default_rng(0).standard_normal((3, 4))
    p = Nuclear(0.5).prox(w.astype(dtype), 0.5)
    assert p.dtype == dtype
    np.testing.assert_allclose(p, Nuclear(0.5).prox(w, 0.5), atol=20 * np.finfo(dtype).eps)


def test_what_holds_no_fractions_or_is_not_finite_is_refused():
    whole, bad = np.ones((2, 3), int), np.array([[1.0, math.nan]])
    for call in (Nuclear(1.0).value, Nuclear(1.0).dual_norm, lambda w: Nuclear(1.0).prox(w, 1.0)):
        with pytest.raises(InputError, match=r"Nuclear: . is int64"):
            call(whole)
    for call in (Nuclear(1.0).value, Nuclear(1.0).dual_norm):
        with pytest.raises(InputError, match=r"Nuclear: w holds nan at \(0, 1\)"):
            call(bad)
    assert np.isnan(Nuclear(1.0).prox(bad, 1.0)).any()                      # the training says that it diverged
    for step in (-1.0, math.nan, np.ones((2, 2))):
        with pytest.raises(InputError, match="Nuclear: step"):
            Nuclear(1.0).prox(np.ones((2, 2)), step)


def test_training_with_a_step_after_every_update_lowers_the_rank_and_adam_is_refused():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 6)) @ rng.standard_normal((6, 6))
    network = perceptron([6, 8, 3], rng, dtype=np.float64)
    data = {"x": x, "y": (x[:, 0] > 0) + (x[:, 1] > 0).astype(int)}
    options = TrainingSettings(30, 20)
    ranks = []
    for lam in (0.0, 0.05):
        *_, last = train(network, data, optimiser=SGD(0.05), penalties={0: Nuclear(lam)}, settings=options,
                         rng=np.random.default_rng(1))
        ranks.append(np.linalg.matrix_rank(last.network.layers[0].params[0], tol=1e-6))
        assert last.penalty == pytest.approx(defined.nuclear(last.network.layers[0].params[0], lam))
    assert ranks[0] == 6 > ranks[1] >= 1
    with pytest.raises(InputError, match="Nuclear: step is an array"):
        next(train(network, data, optimiser=Adam(0.01), penalties={0: Nuclear(0.1)}, settings=options, rng=rng))
