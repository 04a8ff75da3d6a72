"""Every op, loss and penalty of the catalogue, held to account; and the catalogue itself, held to be complete."""

import copy
import inspect
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference.definitions.nn.activations
import reference.definitions.nn.layers
import reference.definitions.nn.losses
import reference.definitions.nn.normalisation
from npkd.cli.check import checkout
from npkd.cli.check import main as command
from npkd.core.proximal_law import candidates
from npkd.core.types import Array, Backward
from npkd.core.validation import InputError
from npkd.gradcheck import check_kink
from npkd.nn import activations, convolution, layers, pooling
from npkd.nn.activations import maxout, relu
from npkd.nn.layers import dense
from npkd.nn.losses import cross_entropy, squared_error
from npkd.nn.normalisation import batch_norm, moments
from npkd.nn.ops import OPS
from npkd.sparsity import penalties
from reference import check
from tests import catalogue
from tests.catalogue import CASES

ROOT = Path(__file__).resolve().parents[2]
OP_CASES = [case for case in CASES if check.kind_of(case.what) == "op"]
LOSS_CASES = [case for case in CASES if check.kind_of(case.what) == "loss"]
PENALTY_CASES = [case for case in CASES if check.kind_of(case.what) == "penalty"]
PUBLIC = tuple(check.public())
REFUSALS = [(case, wrong) for case in CASES for wrong in case.wrong]


def over(cases):
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def call(case, arguments):
    """Value and gradients of an op (for a sensitivity that is the same every time) or of a loss."""
    result, derivative, *further = case.what(*arguments, **copy.deepcopy(case.options))
    if check.kind_of(case.what) == "loss":
        first = derivative if isinstance(derivative, tuple) else (derivative,)
        return np.asarray(result), [*first, *further[:len(arguments) - 2]]
    dy = np.random.default_rng(1).standard_normal(result.shape).astype(result.dtype)
    return result, list(derivative(dy))


def arrays_of(arguments):
    """The arrays among arguments, those in tuples too."""
    return [b for a in arguments for b in (arrays_of(a) if isinstance(a, tuple) else [a])]


def cast(value, dtype):
    """Float arrays, also those within an option, in another dtype."""
    if isinstance(value, tuple):
        return tuple(cast(v, dtype) for v in value)
    return value.astype(dtype) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


# ---- what each case must satisfy
# -----------------------------------------------------------------------------------------------


@over(CASES)
def test_row(case):
    """Value equal to the definition, whole Jacobian to differences of it, everything spoiled caught; of penalties:
    their law."""
    row = check.check_case(case)
    assert row.passed, row
    assert row.error <= 1e-7


@over(OP_CASES + LOSS_CASES)
def test_equal_to_the_definition(case):
    value, _ = call(case, case.arguments)
    expected = np.asarray(check.definition_of(case.what)(*case.arguments, **copy.deepcopy(case.options)))
    assert value.shape == expected.shape
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-14)


@over(OP_CASES + LOSS_CASES)
def test_arguments_are_not_changed_and_not_handed_out(case):
    arguments = copy.deepcopy(case.arguments)
    if check.kind_of(case.what) == "op":
        result, derivative = case.what(*arguments, **copy.deepcopy(case.options))
        dy = np.ones_like(result)
        given = dy.copy()
        gradients = derivative(dy)
        assert np.array_equal(dy, given)
        assert not any(np.shares_memory(result, a) for a in arguments)
        assert not any(np.shares_memory(g, a) for g in gradients for a in (*arguments, dy))
    else:
        assert isinstance(case.what(*arguments, **copy.deepcopy(case.options))[0], float)
        assert not any(np.shares_memory(d, a) for d in call(case, arguments)[1] for a in arrays_of(arguments))
    for after, before in zip(arrays_of(arguments), arrays_of(case.arguments), strict=True):
        assert np.array_equal(after, before)


@over(OP_CASES + LOSS_CASES)
@pytest.mark.parametrize("view", [
    lambda a: np.asfortranarray(a),
    lambda a: np.repeat(a, 2, axis=0)[::2],
    lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    lambda a: a[::-1].copy()[::-1],
], ids=["columns first", "every other row", "every other column", "backwards"])
def test_views_give_the_same(case, view):
    value, gradients = call(case, case.arguments)
    seen = [tuple(map(view, a)) if isinstance(a, tuple) else view(a) for a in case.arguments]
    again, gradients_again = call(case, seen)
    np.testing.assert_allclose(again, value, rtol=1e-13, atol=1e-14)
    for a, b in zip(gradients_again, gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@over(OP_CASES + LOSS_CASES)
def test_the_dtype_is_kept(case):
    value, gradients = call(case, case.arguments)
    single = replace(case, options={name: cast(option, np.float32) for name, option in case.options.items()})
    value32, gradients32 = call(single, [cast(a, np.float32) for a in case.arguments])
    assert all(g.dtype == np.float64 for g in gradients)
    assert all(g.dtype == np.float32 for g in gradients32)
    if check.kind_of(case.what) == "op":
        assert value.dtype == np.float64
        assert value32.dtype == np.float32
    np.testing.assert_allclose(value32, value, rtol=1e-4, atol=1e-4)
    for a, b in zip(gradients32, gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


@over(OP_CASES + LOSS_CASES)
def test_half_precision_is_kept(case):
    value, _ = call(case, case.arguments)
    half = replace(case, options={name: cast(option, np.float16) for name, option in case.options.items()})
    value16, gradients16 = call(half, [cast(a, np.float16) for a in case.arguments])
    assert all(g.dtype == np.float16 for g in gradients16)
    assert check.kind_of(case.what) == "loss" or value16.dtype == np.float16
    np.testing.assert_allclose(value16, value, rtol=0.03, atol=0.03)


@over([case for case in OP_CASES if len(case.arguments) > 1])
def test_different_dtypes_are_computed_in_the_widest(case):
    """A float32 array among float64 ones, and a float64 array among float32 ones: as if all were float64, no digit is
    lost."""
    for k in range(len(case.arguments)):
        for one, others in ((np.float32, np.float64), (np.float64, np.float32)):
            mixed = [cast(a, one if i == k else others) for i, a in enumerate(case.arguments)]
            value, gradients = call(case, mixed)
            expected, gradients_expected = call(case, [cast(a, np.float64) for a in mixed])
            assert value.dtype == np.float64
            np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-14)
            for g, right in zip(gradients, gradients_expected, strict=True):
                assert g.dtype == np.float64
                np.testing.assert_allclose(g, right, rtol=1e-11, atol=1e-13)


@over(LOSS_CASES)
def test_the_slope_of_a_loss_has_the_dtype_of_its_prediction(case):
    for one, other in ((np.float32, np.float64), (np.float64, np.float32)):
        student, teacher, *parts = case.arguments
        _, gradients = call(case, [cast(student, one), cast(teacher, other), *(cast(p, one) for p in parts)])
        assert {d.dtype for d in gradients} == {np.dtype(one)}


MANY = 200_000
TENTH, ONES = np.full((MANY, 2), 0.1, np.float32), np.ones((MANY, 2), np.float32)
SUMS = {
    "dense, b": (dense, (ONES, np.eye(2, dtype=np.float32), ONES[0]), 2),
    "gate, g": (layers.gate, (ONES, ONES[0]), 1),
    "offset, m": (layers.offset, (ONES, ONES[0]), 1),
    "batch_norm, beta": (batch_norm, (ONES, ONES[0], ONES[0]), 2),
    "conv2d, b": (convolution.conv2d, (ONES.reshape(2, -1, 100, 2), np.ones((2, 1, 1, 2), np.float32), ONES[0]), 2),
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_over_examples_and_positions_keep_their_digits(name):
    """0.1 added up 200,000 times in float32, one after another, is 20,007 instead of 20,000 (rounding 0.1 costs
    3e-4)."""
    op, arguments, k = SUMS[name]
    y, backward = op(*arguments)
    gradient = backward(TENTH.reshape(y.shape))[k]
    assert gradient.dtype == np.float32
    np.testing.assert_allclose(gradient, MANY * float(np.float32(0.1)), rtol=1e-7)


def test_values_and_means_over_many_entries_keep_their_digits():
    wide = np.full((1, 400, 500, 2), 0.1, np.float32)
    for y in (pooling.global_average_pool(wide)[0], pooling.average_pool(wide, size=(400, 500))[0][:, 0, 0]):
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, np.float32(0.1), rtol=3e-7)
    y, backward = pooling.global_average_pool(np.ones((1, 300, 300, 1), np.float16))     # 90,000 is no float16
    np.testing.assert_allclose(backward(y)[0], 1 / 90_000, rtol=0.01)
    assert squared_error(TENTH.T, np.zeros_like(TENTH.T))[0] == pytest.approx(MANY * float(np.float32(0.1)) ** 2 / 2,
                                                                              rel=1e-7)
    x = np.linspace(-1, 1, MANY).reshape(-1, 2)
    y, backward = batch_norm(x.astype(np.float32), ONES[0], ONES[0])
    dgamma = backward((3 + x).astype(np.float32))[1]
    np.testing.assert_allclose(dgamma, ((y.astype(np.float64) - 1) * (3 + x)).sum(axis=0), rtol=1e-6)


@pytest.mark.parametrize(("mean", "deviation"), [(300, 1.0), (300, 0.1), (-1e4, 1.0), (0, 1e-3)])
@pytest.mark.parametrize("shape", [(64, 32, 32, 3), (30_000, 2)])
def test_moments_keep_their_digits(mean, deviation, shape):
    x = (mean + deviation * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
    exact, every = x.astype(np.float64), tuple(range(len(shape) - 1))
    got_mean, got_variance = moments(x)
    assert got_mean.dtype == got_variance.dtype == np.float32
    np.testing.assert_allclose(got_mean, exact.mean(axis=every), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(got_variance, exact.var(axis=every), rtol=1e-6)
    y = batch_norm(x, np.ones(shape[-1], np.float32), np.zeros(shape[-1], np.float32), eps=1e-12)[0]
    assert y.dtype == np.float32
    assert np.abs(y.mean(axis=every, dtype=np.float64)).max() <= 1e-6
    np.testing.assert_allclose(y.std(axis=every, dtype=np.float64), 1, rtol=1e-5)


def test_sigmoid_keeps_its_digits_on_both_sides():
    for dtype in (np.float32, np.float64):
        y, backward = activations.sigmoid(np.array([-40.0, -80.0, 40.0], dtype))
        # exp(−40), exp(−80)
        np.testing.assert_allclose(y[:2], [4.248354255291589e-18, 1.8048513878454153e-35], rtol=1e-5)
        np.testing.assert_allclose(backward(np.ones_like(y))[0][[0, 2]], 4.248354255291589e-18, rtol=1e-5)


@over([case for case in OP_CASES if case.linear])
def test_adjoint_identity(case):
    """⟨A u, v⟩ = ⟨u, A* v⟩ for the linear part of the op, at any u."""
    x, *rest = case.arguments
    rng = np.random.default_rng(4)

    def op(u):
        return case.what(u, *rest, **copy.deepcopy(case.options))

    y, backward = op(x)
    for _ in range(3):
        u, v = rng.standard_normal(x.shape), rng.standard_normal(y.shape)
        left = np.vdot(op(u)[0] - op(np.zeros_like(u))[0], v)
        right = np.vdot(u, backward(v)[0])
        assert left == pytest.approx(right, rel=1e-12, abs=1e-13)


@over([case for case in CASES if case.kinks])
def test_slope_on_kinks(case):
    definition = check.definition_of(case.what)
    for arguments in case.kinks:
        assert check_kink(case.what, *arguments, definition=definition, options=case.options).ok


def test_conventions_on_kinks():
    """DESIGN: slope of relu at 0 is 0; ties in a maximum go to the first."""
    y, backward = activations.relu(np.zeros((1, 2)))
    assert (backward(np.ones_like(y))[0] == 0).all()
    _, backward = maxout(np.array([[3.0, 3.0, 1.0, 1.0]]), pieces=2)
    assert backward(np.array([[5.0, 7.0]]))[0].tolist() == [[5.0, 0.0, 7.0, 0.0]]
    _, backward = pooling.max_pool(np.array([[[1.0, 1.0, 0.0], [2.0, 0.0, 2.0]]])[..., None], size=(2, 2), stride=1)
    assert backward(np.array([[[[5.0], [7.0]]]]))[0][0, :, :, 0].tolist() == [[0.0, 0.0, 0.0], [5.0, 0.0, 7.0]]
    _, backward = pooling.max_pool(np.ones((1, 2, 2, 1)), size=2)
    assert backward(np.array([[[[5.0]]]]))[0][0, :, :, 0].tolist() == [[5.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize(("case", "wrong"), REFUSALS,
                         ids=[f"{case.name}: {', '.join(w.words)}" for case, w in REFUSALS])
def test_wrong_arguments_are_refused_in_one_sentence(case, wrong):
    options = wrong.options or {}

    def attempt():
        if check.kind_of(case.what) == "penalty":
            case.what(**options).prox(*wrong.arguments)
        else:
            case.what(*wrong.arguments, **options)

    with pytest.raises(InputError) as error:
        attempt()
    sentence = str(error.value)
    for word in wrong.words:
        assert word in sentence
    assert "\n" not in sentence


@over([case for case in OP_CASES + LOSS_CASES if case.name == case.what.__name__])
def test_every_op_and_loss_refuses_something(case):
    assert case.wrong


# ---- penalties
# -----------------------------------------------------------------------------------------------------------------


@over(PENALTY_CASES)
def test_the_proximal_step_minimises_what_it_should(case):
    """p beats every candidate u in ½ Σ (u − v)²/t + Ω(u), with Ω from the definition."""
    penalty, v, definition = case.what(**case.options), case.arguments[0], check.definition_of(case.what)

    def objective(u, step):
        return 0.5 * float(((u - v) ** 2 / step).sum()) + definition(u, **case.options)

    for step in case.steps:
        p = penalty.prox(v, step)
        least = objective(p, step)
        points = candidates(lambda u: definition(u, **case.options), penalty.prox, step, p, v)
        assert len(points) > 20
        assert all(objective(u, step) >= least * (1 - 1e-14) for u in points)


@over([case for case in PENALTY_CASES if any(np.ndim(step) for step in case.steps)])
def test_an_array_of_equal_steps_is_one_step(case):
    penalty, v = case.what(**case.options), case.arguments[0]
    np.testing.assert_allclose(penalty.prox(v, np.full(v.shape, 0.6)), penalty.prox(v, 0.6), rtol=1e-12, atol=1e-15)


@over(PENALTY_CASES)
def test_spoiled_proximal_steps_fail_the_row(case, monkeypatch):
    right = case.what.prox
    monkeypatch.setattr(case.what, "prox", lambda self, v, step: right(self, v, step * 1.001) * (1 + 1e-7))
    assert not check.check_case(case).passed


@over(PENALTY_CASES)
def test_nothing_stays_nothing(case):
    penalty, v = case.what(**case.options), case.arguments[0]
    for step in case.steps:
        p = penalty.prox(np.zeros_like(v), step)
        assert (p == 0).all()
        assert not np.signbit(p).any()


def test_the_row_of_a_penalty_notices_changed_arguments(monkeypatch):
    def in_place(self, v, step):
        v -= 1e-3
        return right(self, v, step)
    right = penalties.L1.prox
    monkeypatch.setattr(penalties.L1, "prox", in_place)
    case = next(case for case in CASES if case.name == "L1")
    assert "changes its arguments" in check.check_case(replace(case, arguments=copy.deepcopy(case.arguments))).note


@pytest.mark.parametrize("spoil", [
    lambda p: np.where(p == 0, -0.0, p),
    lambda p: np.where(p == 0, 1e-13, p),
    lambda p: p.astype(np.float64),
], ids=["−0.0", "nearly zero", "dtype"])
def test_the_row_of_a_penalty_notices(spoil, monkeypatch):
    right = penalties.L1.prox
    monkeypatch.setattr(penalties.L1, "prox", lambda self, v, step: spoil(right(self, v, step)))
    assert not check.check_case(next(case for case in CASES if case.name == "L1")).passed


def test_the_row_of_a_penalty_notices_a_wrong_value(monkeypatch):
    monkeypatch.setattr(penalties.L1, "value", lambda self, w: 0.999 * self.lam * float(np.abs(w).sum()))
    assert "value differs" in check.check_case(next(case for case in CASES if case.name == "L1")).note


# ---- the helpers that are no ops
# -----------------------------------------------------------------------------------------------


def test_moments_equal_their_definition():
    x = np.random.default_rng(2).standard_normal((5, 3))
    for values in (x, np.random.default_rng(3).standard_normal((2, 3, 4, 5))):
        for got, expected in zip(moments(values), reference.definitions.nn.normalisation.moments(values), strict=True):
            assert got.shape == values.shape[-1:]
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits_overflow_nowhere(dtype):
    z = np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4]], dtype)
    value, d = cross_entropy(z, np.array([2, 0]))
    assert value == pytest.approx((2e4 + np.log(3)) / 2)
    np.testing.assert_allclose(d, [[0.5, 0, -0.5], [-1 / 3, 1 / 6, 1 / 6]], rtol=1e-6)
    y, backward = activations.sigmoid(np.array([-1e4, 0.0, 1e4], dtype))
    assert y.tolist() == [0.0, 0.5, 1.0]
    assert backward(np.ones(3, dtype))[0].tolist() == [0.0, 0.25, 0.0]


def test_dropout_keeps_the_mean():
    x = np.ones((200, 200))
    y, _ = layers.dropout(x, rate=0.3, rng=np.random.default_rng(0))
    assert y.mean() == pytest.approx(1, abs=5 * np.sqrt(0.3 / 0.7 / x.size))
    assert sorted(set(y.ravel())) == [0.0, pytest.approx(1 / 0.7)]


@settings(deadline=None, max_examples=30)
@given(n=st.integers(1, 5), i=st.integers(1, 5), o=st.integers(1, 5), pieces=st.integers(1, 3), seed=st.integers(0, 99))
def test_any_shape_equals_the_definition(n, i, o, pieces, seed):
    rng = np.random.default_rng(seed)
    x, w, b = rng.standard_normal((n, i)), rng.standard_normal((o * pieces, i)), rng.standard_normal(o * pieces)
    y, _ = dense(x, w, b)
    np.testing.assert_allclose(y, reference.definitions.nn.layers.dense(x, w, b), rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(maxout(y, pieces=pieces)[0], reference.definitions.nn.activations.maxout(y, pieces))
    labels = rng.integers(0, o * pieces, n)
    assert cross_entropy(y, labels)[0] == pytest.approx(reference.definitions.nn.losses.cross_entropy(y, labels),
                                                        rel=1e-12, abs=1e-14)
    if n > 1:
        gamma, beta = rng.standard_normal(i), rng.standard_normal(i)
        np.testing.assert_allclose(
            batch_norm(x, gamma, beta)[0], reference.definitions.nn.normalisation.batch_norm(x, gamma, beta), rtol=1e-9,
            atol=1e-11
        )


# ---- completeness
# --------------------------------------------------------------------------------------------------------------


def test_names_are_unique_and_say_what_they_are_about():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert all(case.name.startswith(case.what.__name__) for case in CASES)


def test_everything_public_is_there():
    found = {(kind, what.__name__) for kind, what in check.public()}
    assert {name for kind, name in found if kind == "op"} >= set(OPS)
    assert found >= {("loss", "squared_error"), ("loss", "cross_entropy"), ("loss", "soft_targets"),
                     ("loss", "logit_matching")}
    assert found >= {("penalty", name) for name in ("L1", "NeuronGroups", "SparseGroups", "MaxNorm")}
    assert {what for _, what in check.public()} == {case.what for case in CASES}
    for _, what in check.public():
        assert check.definition_of(what) is not None, what


def test_helpers_beside_the_ops_are_no_ops():
    for module, ops in ((convolution, {"im2col", "conv2d", "depthwise_conv2d"}),
                        (pooling, {"max_pool", "average_pool", "global_average_pool"})):
        assert {what.__name__ for _, what in check.public() if what.__module__ == module.__name__} == ops


def test_definitions_have_the_names_of_the_arguments():
    for _, what in check.public():
        ours, theirs = inspect.signature(what).parameters, inspect.signature(check.definition_of(what)).parameters
        assert list(theirs)[-len(ours):] == list(ours)


@pytest.mark.parametrize("what", sorted({case.what.__name__ for case in CASES}))
def test_a_missing_case_fails(what, monkeypatch):
    """Leave out all cases about one thing: the table has a row for it that fails."""
    monkeypatch.setattr(check, "public", lambda: PUBLIC)
    rest = [case for case in CASES if case.what.__name__ != what]
    missing = check.uncovered(rest)
    assert [row.name for row in missing] == [what]
    assert not any(row.passed for row in missing)
    assert "no case" in missing[0].note


def test_a_missing_case_fails_the_run(monkeypatch):
    """Also where all cases pass, which test_main_prints_the_table_and_returns_the_exit_code sees."""
    monkeypatch.setattr(check, "check_case", lambda case: check.Row(case.name, "op", 0.0, 1.0, 1, 1))
    rows = check.run([case for case in CASES if case.what is not layers.gate])
    assert [row.name for row in rows if not row.passed] == ["gate"]
    assert "FAIL" in check.table(rows)


def doubled(x: Array) -> tuple[Array, Backward]:
    return 2 * x, lambda dy: (2 * dy,)


def test_an_op_without_case_or_definition_fails(monkeypatch):
    monkeypatch.setattr(doubled, "__module__", layers.__name__)
    monkeypatch.setattr(layers, "doubled", doubled, raising=False)
    assert [row.name for row in check.uncovered(CASES)] == ["doubled"]
    case = check.Case("doubled", doubled, (np.ones((2, 3)),))
    assert check.uncovered([*CASES, case]) == []
    row = check.check_case(case)
    assert not row.passed
    assert "no definition in reference/" in row.note
    monkeypatch.setattr(reference.definitions.nn.layers, "doubled", lambda x: 2 * x, raising=False)
    assert check.check_case(case).passed
    monkeypatch.setattr(reference.definitions.nn.layers, "doubled", lambda x: 2.001 * x, raising=False)
    assert not check.check_case(case).passed


def test_a_wrong_gradient_fails_the_table(monkeypatch):
    def slow(x: Array) -> tuple[Array, Backward]:
        y, backward = activations.tanh(x)
        return y, lambda dy: (backward(dy)[0] * (1 + 1e-6),)
    slow.__name__, slow.__module__ = "tanh", activations.__name__
    row = check.check_case(check.Case("tanh", slow, (np.array([[0.3, -0.2], [1.0, 0.7]]),)))
    assert not row.passed
    assert row.error == pytest.approx(1e-6, rel=1e-3)


def test_a_slope_outside_a_kink_fails_the_table():
    def steep(x: Array) -> tuple[Array, Backward]:
        y, backward = activations.relu(x)
        return y, lambda dy: (np.where(x == 0, 2 * dy, backward(dy)[0]),)
    steep.__name__, steep.__module__ = "relu", activations.__name__
    case = check.Case("relu", steep, (np.array([[0.3, -0.2], [1.0, 0.7]]),), kinks=((np.zeros((1, 2)),),))
    row = check.check_case(case)
    assert row.error <= 1e-12
    assert not row.passed
    assert "kink" in row.note


def test_a_room_without_definitions_is_said_and_its_own_errors_are_not_hidden(monkeypatch):
    monkeypatch.setattr(doubled, "__module__", "npkd.nn.attic")
    assert check.definition_of(doubled) is None
    row = check.check_case(check.Case("doubled", doubled, (np.ones((2, 3)),)))
    assert "npkd.nn.attic" in row.note

    def broken(name):
        raise ModuleNotFoundError("no numpy here", name="numpy")
    monkeypatch.setattr(check.importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="numpy"):
        check.definition_of(doubled)


def test_main_prints_the_table_and_returns_the_exit_code(capsys, monkeypatch):
    row = check.check_case(CASES[0])                                   # test_row does this for every case
    monkeypatch.setattr(check, "check_case", lambda case: replace(row, name=case.name))
    assert command() == 0
    text = capsys.readouterr().out
    assert text.count("PASS") == len(CASES)
    assert "0 failed" in text
    monkeypatch.setattr(check, "load", lambda root: CASES[:2])
    assert command() == 1
    assert "no case in tests/catalogue.py" in capsys.readouterr().out


def test_a_checkout_is_found_and_its_absence_said(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(ROOT)])
    assert {case.name for case in check.load(checkout([tmp_path, ROOT]))} == {case.name for case in CASES}
    assert sys.path[0] == str(ROOT)
    with pytest.raises(InputError, match="run it from a checkout"):
        checkout([tmp_path])


def test_no_case_moves_the_arguments_of_those_behind_it():
    def drawn(count):
        for k in range(count):
            catalogue.Case(f"relu {k}", relu, (catalogue.normal(2, 3),))
        return catalogue.Case("relu", relu, (catalogue.normal(2, 3), catalogue.apart(4)))

    catalogue.Case("relu", relu, ())
    for count in (1, 3):
        for one, other in zip(drawn(0).arguments, drawn(count).arguments, strict=True):
            np.testing.assert_array_equal(one, other)


def test_what_is_no_op_is_said():
    assert check.kind_of(3.0) is None
    row = check.check_case(check.Case("moments", moments, (np.ones((2, 2)),)))
    assert not row.passed
    assert "no op, loss or penalty" in row.note
