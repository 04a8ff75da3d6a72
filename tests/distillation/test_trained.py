"""Losses with trained parts or a memory: the laws that they must show, and values worked out by hand. Definitions,
gradients and refusals: test_check.py."""

import copy
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from npkd.core.validation import InputError
from npkd.distillation.contrastive import Memory, contrastive, draw_memory, draw_negatives
from npkd.distillation.factors import factor_transfer, paraphraser, translator
from npkd.distillation.features import unit
from npkd.distillation.objective import Terms
from npkd.distillation.overhaul import margins, overhaul
from npkd.distillation.review import review
from npkd.distillation.singular_vectors import singular_vectors
from npkd.distillation.terms import Term
from npkd.distillation.variational import alpha0, variational_information
from npkd.gradcheck import check_loss
from npkd.nn.losses import squared_error
from npkd.nn.network import Network, dense_layer, perceptron
from npkd.nn.optimisers import Adam
from npkd.nn.training import TrainingSettings, train
from reference.definitions.distillation.contrastive import contrastive as defined_contrastive

LAWS = settings(deadline=None, max_examples=30)
C, MARGIN, ALPHA = 3, np.array([-0.5, -1.0, -0.1]), np.array([0.3, -1.0, 2.0])


def staged(loss):
    """A loss of stages on one map (N, 2, 2, 3): the second stage is what the first is with channels exchanged."""
    def of_one(s, t):
        value, d = loss((s, s[..., ::-1]), (t, t[..., ::-1]))
        return value, d[0] + d[1][..., ::-1]
    return of_one


LOSSES = {
    "variational_information": lambda s, t: variational_information(s, t, ALPHA)[:2],
    "overhaul": lambda s, t: overhaul(s, t, margin=MARGIN),
    "factor_transfer": factor_transfer,
    "factor_transfer, power 2": lambda s, t: factor_transfer(s, t, power=2),
    "review": review,
    "singular_vectors": staged(singular_vectors),
}
DISTANCES = {name: loss for name, loss in LOSSES.items() if name != "variational_information"}
every = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
distances = pytest.mark.parametrize("loss", DISTANCES.values(), ids=DISTANCES)


def maps(seed, n=3):
    return np.random.default_rng(seed).standard_normal((2, n, 2, 2, C))


def contrast(seed, n=3, k=4, m=8, log_z=(0.2, -0.1)):
    """Arguments and options of a contrastive loss."""
    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal(shape) for shape in ((n, 4), (n, 5), (3, 5), (3, 6))]
    index = rng.permutation(m)[:n]
    return parts, {"memory": Memory(*rng.standard_normal((2, m, 3)), log_z, 0.3, 0.5), "index": index,
                   "negatives": draw_negatives(index, np.arange(m), k, rng)}


# ---- laws of all
# ----------------------------------------------------------------------------------------------------------------------


@every
@LAWS
@given(seed=st.integers(0, 10 ** 6), n=st.integers(1, 4))
def test_each_is_a_mean_over_the_examples(loss, seed, n):
    s, t = maps(seed, n)
    value, d = loss(s, t)
    single = [loss(s[i:i + 1], t[i:i + 1]) for i in range(n)]
    assert value == pytest.approx(np.mean([v for v, _ in single]), rel=1e-11, abs=1e-13)
    np.testing.assert_allclose(d, np.vstack([part for _, part in single]) / n, rtol=1e-9, atol=1e-12)
    # so: another order changes nothing, and every example twice neither
    order = np.random.default_rng(seed).permutation(n)
    permuted, d_permuted = loss(s[order], t[order])
    assert permuted == pytest.approx(value, rel=1e-12, abs=1e-14)
    np.testing.assert_allclose(d_permuted, d[order], rtol=1e-10, atol=1e-13)
    twice, d_twice = loss(np.vstack([s, s]), np.vstack([t, t]))
    assert twice == pytest.approx(value, rel=1e-12, abs=1e-14)
    np.testing.assert_allclose(d_twice, np.vstack([d, d]) / 2, rtol=1e-10, atol=1e-13)


@distances
@LAWS
@given(seed=st.integers(0, 10 ** 6))
def test_distances_are_zero_at_agreement_alone(loss, seed):
    s, t = maps(seed)
    assert loss(s, t)[0] > 0
    at, slope = loss(t, t)
    assert at == 0
    assert not slope.any()


def test_likelihood_and_contrast_are_not():
    _, t = maps(0)
    value, d, d_alpha = variational_information(t, t, ALPHA)
    assert value != 0
    assert not d.any()
    assert (d_alpha > 0).all(), "at agreement every variance falls"
    small = variational_information(t, t, np.full(C, alpha0(1e-3)))[0]
    assert small < 0, "a density has no bound"
    (a, _, w, _), options = contrast(0)
    value, d, *_ = contrastive(a, a, w, w, **options)
    assert value > 0
    assert np.abs(d).max() > 1e-3


@LAWS
@given(seed=st.integers(0, 10 ** 6), n=st.integers(1, 5))
def test_contrast_is_a_mean_over_the_examples(seed, n):
    (a, b, w, v), options = contrast(seed, n)

    def part(rows):
        return contrastive(a[rows], b[rows], w, v, memory=options["memory"], index=options["index"][rows],
                           negatives=options["negatives"][rows])

    value, d, d_w, d_v, _ = part(slice(None))
    single = [part(slice(i, i + 1)) for i in range(n)]
    assert value == pytest.approx(np.mean([one[0] for one in single]), rel=1e-12)
    np.testing.assert_allclose(d, np.vstack([one[1] for one in single]) / n, rtol=1e-10, atol=1e-13)
    for k, expected in ((2, d_w), (3, d_v)):
        np.testing.assert_allclose(np.mean([one[k] for one in single], axis=0), expected, rtol=1e-10, atol=1e-13)


@every
def test_single_precision_is_near(loss):
    s, t = maps(1)
    value, d = loss(s.astype(np.float32), t.astype(np.float32))
    assert d.dtype == np.float32
    assert value == pytest.approx(loss(s, t)[0], rel=1e-5)


@every
def test_many_entries_lose_no_digits(loss):
    """In float32 a sum of 40,000 examples' parts, one after another, would be wrong in the fourth digit."""
    s, t = (np.repeat(a[:1], 40_000 if loss is not LOSSES["singular_vectors"] else 400, axis=0).astype(np.float32)
            for a in maps(2))
    assert loss(s, t)[0] == pytest.approx(loss(s[:1], t[:1])[0], rel=1e-9)


@every
def test_nothing_moves_and_nothing_is_handed_out(loss):
    s, t = maps(3)
    before = s.copy(), t.copy()
    d = loss(s, t)[1]
    d[:] = math.nan
    assert np.array_equal(s, before[0])
    assert np.array_equal(t, before[1])


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "singular_vectors"])
def test_what_is_not_a_number_stays_so(name):
    for k in (0, 1):
        both = maps(4)
        both[k][0, 0, 0, 0] = math.nan
        assert math.isnan(LOSSES[name](*both)[0])


@every
def test_finite_differences(loss):
    """On the product of two axes, where the derivative of a direction or a vector is easy to get wrong."""
    s, t = maps(5, 2)
    assert check_loss(loss, s, t).ok


# ---- as terms of an objective
# ----------------------------------------------------------------------------------------------------------------------


def contrast_term(rng):
    def contrasted(student, teacher, *parts, memory, index):
        return contrastive(student, teacher, *parts, memory=memory, index=index,
                           negatives=draw_negatives(index, np.arange(64), 16, np.random.default_rng(0)))

    parts = tuple((rng.standard_normal((4, f + 1)) / 3).astype(np.float32) for f in (6, 5))
    return Term(contrasted, 2, "taught", parts=parts, arrays={"index": "index"},
                memory=replace(draw_memory(64, 4, rng), temperature=0.3))


@pytest.mark.parametrize("term", [
    lambda rng: Term(variational_information, 2, "taught", connector=Network([dense_layer(6, 5, rng)]),
                     parts=(np.full(5, alpha0(), np.float32),)),
    lambda rng: Term(overhaul, 2, "taught", connector=Network([dense_layer(6, 5, rng)]),
                     options={"margin": np.full(5, -0.5)}),
    lambda rng: Term(factor_transfer, 2, "taught", connector=Network([dense_layer(6, 5, rng)])),
    contrast_term,
], ids=["variational_information", "overhaul", "factor_transfer", "contrastive"])
def test_in_training_it_falls_with_student_connector_and_parts(term):
    rng = np.random.default_rng(0)
    student, x = perceptron([8, 6, 3], rng), rng.standard_normal((64, 8)).astype(np.float32)
    taught = perceptron([8, 5], rng).predict(x)
    objective = Terms([term(rng)])
    before = objective.parameters.copy()
    losses = [record.loss for record in train(student, {"x": x, "taught": taught, "index": np.arange(64)}, objective,
                                              optimiser=Adam(0.02), rng=rng,
                                              settings=TrainingSettings(epochs=40, batch_size=16))]
    assert losses[-1] < losses[0] - 0.2 * abs(losses[0])
    assert (objective.parameters != before).mean() > 0.9


# ---- variational information
# ----------------------------------------------------------------------------------------------------------------------


def test_a_likelihood_by_hand():
    """μ = 2, t = 1, v = 2: ½ (1/2 + log 2) = 0.5965735902799727; slope (μ − t)/v = ½. dL/dv = ½ (1/v − 1/v²) = 1/8,
    and dv/dα = 1 − exp(−(v − ε)) since exp α = exp(v − ε) − 1."""
    alpha = np.array([alpha0(2.0)])
    value, d, d_alpha = variational_information(np.array([[2.0]]), np.array([[1.0]]), alpha)
    assert value == pytest.approx(0.5965735902799727, rel=1e-13)
    assert d == pytest.approx(0.5, rel=1e-13)
    assert d_alpha == pytest.approx((1 - math.exp(-2 + 1e-5)) / 8, rel=1e-12)


def test_the_best_variance_is_the_mean_square():
    s, t = maps(6)
    squares = np.square(s - t).mean(axis=(0, 1, 2))
    best = np.array([alpha0(v) for v in squares])
    value, _, d_alpha = variational_information(s, t, best)
    np.testing.assert_allclose(d_alpha, 0, atol=1e-13)
    assert value == pytest.approx(2 * 2 * (1 + np.log(squares)).sum() / 2, rel=1e-12)
    for other in (best + 0.1, best - 0.1):
        assert variational_information(s, t, other)[0] > value


@pytest.mark.parametrize("variance", [2e-5, 1e-3, 5.0, 800.0])
def test_alpha0_gives_its_variance(variance):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, *_ = variational_information(np.zeros((1, 1)), np.zeros((1, 1)), np.array([alpha0(variance)]))
    assert value == pytest.approx(math.log(variance) / 2, rel=1e-9)


def test_extreme_parameters_overflow_nowhere():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for a, variance, slope in ((1e4, 1e4, 0.5e-4), (-1e4, 1e-5, 0.0)):
            value, _, d_alpha = variational_information(np.zeros((1, 1)), np.zeros((1, 1)), np.array([a]))
            assert value == pytest.approx(math.log(variance) / 2, rel=1e-6)
            assert d_alpha == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("variance", [1e-5, 0.0, -1.0, math.nan, math.inf])
def test_variances_that_are_none(variance):
    with pytest.raises(InputError, match="alpha0: variance"):
        alpha0(variance)


# ---- contrastive
# ----------------------------------------------------------------------------------------------------------------------


def test_a_contrast_by_hand():
    """a = 0 and W = (0 1; 1 0): W (a, 1) = (1, a), so x = (1, 0), of length one. One negative of M = 2, τ = 1, Z = 1:
    −log(K/M) = log 2. Positive m = (0, 1): u = log 2, log(1 + 1/2). Negative (1, 0): u = 1 + log 2, log(1 + 2e).
    dx = −σ(−log 2) (0, 1) + σ(1 + log 2) (1, 0); what is along x = (1, 0) turns nothing: (0, −1/3), so da = −1/3 and
    dW = (0 0; 0 −1/3). The teacher's side is the same. The student's row: ½ (0, 1) + ½ (1, 0), to length one."""
    a, w, bank = np.zeros((1, 1)), np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    memory = Memory(bank, bank.copy(), (0.0, 0.0), temperature=1.0)
    value, d, d_w, d_v, new = contrastive(a, a, w, w, memory=memory, index=np.array([0]), negatives=np.array([[1]]))
    assert value == pytest.approx(2 * (math.log(1.5) + math.log(1 + 2 * math.e)), rel=1e-13)
    np.testing.assert_allclose(d, [[-1 / 3]], rtol=1e-12)
    np.testing.assert_allclose(d_w, [[0, 0], [0, -1 / 3]], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(d_v, d_w, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(new.student, [[math.sqrt(0.5), math.sqrt(0.5)], [1, 0]], rtol=1e-12)


def test_the_constants_are_of_the_first_batch_and_have_no_gradient():
    parts, options = contrast(1, log_z=None)
    value, d, d_w, d_v, new = contrastive(*parts, **options)
    assert value == pytest.approx(defined_contrastive(*parts, **options), rel=1e-12)
    fixed = contrastive(*parts, **options | {"memory": replace(options["memory"], log_z=new.log_z)})
    assert fixed[0] == pytest.approx(value, rel=1e-13)
    for got, expected in zip((d, d_w, d_v), fixed[1:4], strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)
    # the next batch takes what the first has fixed
    others, next_options = contrast(2)
    assert contrastive(*others, **next_options | {"memory": new})[-1].log_z == new.log_z
    # Z makes the mean of exp(⟨m, x⟩/τ)/Z over the batch 1/M
    x = [unit(np.column_stack([a, np.ones(3)]) @ w.T)[0] for a, w in (parts[::2], parts[1::2])]
    picked = np.column_stack([options["index"], options["negatives"]])
    for k, bank in enumerate((options["memory"].teacher, options["memory"].student)):
        scores = np.exp(np.einsum("nkd,nd->nk", bank[picked], x[k]) / 0.5)
        assert (scores / math.exp(new.log_z[k])).mean() == pytest.approx(1 / 8, rel=1e-12)


def test_a_memory_is_left_as_it_was_and_the_new_one_has_the_batch():
    parts, options = contrast(3)
    before, memory = copy.deepcopy(options), options["memory"]
    new = contrastive(*parts, **options)[-1]
    for name in ("student", "teacher"):
        old, rows = getattr(memory, name), getattr(new, name)
        assert np.array_equal(old, getattr(before["memory"], name))
        assert not np.shares_memory(old, rows)
        others = np.setdiff1d(np.arange(8), options["index"])
        assert np.array_equal(rows[others], old[others])
        np.testing.assert_allclose(np.linalg.norm(rows[options["index"]], axis=1), 1, rtol=1e-12)
    assert all(np.array_equal(options[name], before[name]) for name in ("index", "negatives"))
    assert (new.momentum, new.temperature, new.log_z) == (memory.momentum, memory.temperature, memory.log_z)
    embedded = unit(np.column_stack([parts[1], np.ones(3)]) @ parts[3].T)[0]
    moved = 0.3 * memory.teacher[options["index"]] + 0.7 * embedded
    np.testing.assert_allclose(new.teacher[options["index"]], moved / np.linalg.norm(moved, axis=1)[:, None],
                               rtol=1e-12)


def test_each_network_is_told_apart_by_the_memory_of_the_other():
    parts, options = contrast(4)
    memory, value = options["memory"], contrastive(*parts, **options)[0]
    # the teacher's memory is read by the student's side alone: exchanging all that belongs to them changes nothing
    a, b, w, v = parts
    exchanged = replace(memory, student=memory.teacher, teacher=memory.student, log_z=memory.log_z[::-1])
    assert contrastive(b, a, v, w, **options | {"memory": exchanged})[0] == pytest.approx(value, rel=1e-13)
    assert contrastive(a, b, w, v, **options | {"memory": exchanged})[0] != pytest.approx(value, rel=1e-3)


@LAWS
@given(seed=st.integers(0, 10 ** 6), size=st.floats(1e-3, 1e3))
def test_the_length_of_an_embedding_does_not_matter(seed, size):
    (a, b, w, v), options = contrast(seed)
    value, d, d_w, *_ = contrastive(a, b, w, v, **options)
    scaled, d_scaled, *_ = contrastive(a, b, size * w, v, **options)
    assert scaled == pytest.approx(value, rel=1e-11)
    np.testing.assert_allclose(d_scaled, d, rtol=1e-8, atol=1e-11)
    assert np.vdot(w, d_w) == pytest.approx(0, abs=1e-12 * (1 + np.abs(d_w).max()))


def test_negatives_that_are_picked_twice_count_twice():
    parts, options = contrast(5, k=1)
    one = contrastive(*parts, **options)
    # K/M doubles with K, and Z is halved: of all summands the negatives alone are doubled
    memory = replace(options["memory"], log_z=tuple(z - math.log(2) for z in options["memory"].log_z))
    two = contrastive(*parts, **options | {"negatives": np.repeat(options["negatives"], 2, axis=1), "memory": memory})
    three = contrastive(*parts, **options | {"negatives": np.repeat(options["negatives"], 3, axis=1), "memory": replace(
        options["memory"], log_z=tuple(z - math.log(3) for z in options["memory"].log_z))})
    assert two[0] - one[0] == pytest.approx(three[0] - two[0], rel=1e-12)
    np.testing.assert_allclose(two[1] - one[1], three[1] - two[1], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("size", [1.0, 1e6])
def test_extreme_scores_overflow_nowhere(size):
    parts, options = contrast(6)
    memory = replace(options["memory"], student=size * options["memory"].student, log_z=None, temperature=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, *_ = contrastive(*parts, **options | {"memory": memory})
    assert math.isfinite(value)


def test_steps_against_the_gradients_make_it_smaller():
    (a, b, w, v), options = contrast(7)
    first, values = None, []
    for _ in range(200):
        value, d, d_w, d_v, memory = contrastive(a, b, w, v, **options)
        a, w, v, options = a - 0.2 * d, w - 0.2 * d_w, v - 0.2 * d_v, options | {"memory": memory}
        first, values = first or value, [*values, value]
    assert min(values) < 0.5 * first


def test_a_drawn_memory():
    memory = draw_memory(500, 12, np.random.default_rng(0))
    assert memory.log_z is None
    assert (memory.momentum, memory.temperature) == (0.5, 0.07)
    for bank in (memory.student, memory.teacher):
        assert bank.shape == (500, 12)
        assert bank.dtype == np.float32
        assert np.abs(bank).max() <= 0.5                                              # √(3/12)
        assert np.square(bank).sum(axis=1).mean() == pytest.approx(1, rel=0.05)
    assert not np.array_equal(memory.student, memory.teacher)
    again = draw_memory(500, 12, np.random.default_rng(0))
    assert np.array_equal(again.student, memory.student)


def test_drawn_negatives_are_of_other_classes():
    labels, index, rng = np.repeat(np.arange(4), 5), np.array([0, 7, 19]), np.random.default_rng(0)
    rows = draw_negatives(index, labels, 15, rng)
    assert rows.shape == (3, 15)
    for i, row in zip(index, rows, strict=True):
        assert sorted(row) == [k for k in range(20) if labels[k] != labels[i]], "each once, where there are enough"
    more = draw_negatives(index, labels, 16, rng)
    assert (labels[more] != labels[index][:, None]).all()
    unlabelled = draw_negatives(index, np.arange(20), 19, rng)
    assert all(sorted(row) == sorted({*range(20)} - {i}) for i, row in zip(index, unlabelled, strict=True))
    assert np.array_equal(draw_negatives(index, labels, 3, np.random.default_rng(1)),
                          draw_negatives(index, labels, 3, np.random.default_rng(1)))
    with pytest.raises(InputError, match="one class"):
        draw_negatives(index, np.zeros(20, int), 3, rng)


@pytest.mark.parametrize(("options", "words"), [
    ({"student": np.ones((3, 2)), "teacher": np.ones((3, 3))}, r"\(3, 2\)"),
    ({"student": np.ones((3, 2, 1)), "teacher": np.ones((3, 2, 1))}, r"must be \(M, D\)"),
    ({"student": np.ones((3, 2), int), "teacher": np.ones((3, 2))}, "int64"),
    ({"momentum": 1.0}, "momentum is 1.0"), ({"momentum": -0.1}, "momentum is -0.1"),
    ({"temperature": 0.0}, "temperature is 0.0"), ({"temperature": math.nan}, "temperature is nan"),
])
def test_what_is_no_memory(options, words):
    with pytest.raises(InputError, match=words):
        Memory(**{"student": np.ones((3, 2)), "teacher": np.ones((3, 2))} | options)


# ---- overhaul
# ----------------------------------------------------------------------------------------------------------------------


def test_a_partial_distance_by_hand():
    """m = −1.5. t = 2: (1 − 2)² = 1. t = −1, s above it: 1. t = −4 becomes −1.5, s below: 0. t = −2 becomes −1.5: 4."""
    s, t = np.array([[1.0, 0.0, -3.0, 0.5]]), np.array([[2.0, -1.0, -4.0, -2.0]])
    value, d = overhaul(s, t, margin=np.full(4, -1.5))
    assert value == 6
    assert d.tolist() == [[-2, 2, 0, 4]]


@LAWS
@given(seed=st.integers(0, 10 ** 6))
def test_what_a_relu_hides_does_not_matter(seed):
    s, t = maps(seed)
    value, d = overhaul(s, t, margin=MARGIN)
    below = (s < np.maximum(t, MARGIN)) & (t <= 0)
    assert not d[below].any()
    assert overhaul(np.where(below, s - 7, s), t, margin=MARGIN)[0] == value
    far = t <= MARGIN
    assert overhaul(s, np.where(far, t - 7, t), margin=MARGIN)[0] == value
    # where the teacher is positive it is the squared distance
    assert overhaul(s, np.abs(t), margin=MARGIN)[0] == pytest.approx(np.square(s - np.abs(t)).sum() / 3, rel=1e-12)


def test_its_slope_has_no_jump():
    t, m = np.array([[-2.0, -0.5, 0.5]]), np.array([-1.0, -1.0, -1.0])
    at = np.array([[-1.0, -0.5, 0.5]])                       # where the cases meet
    for side in (-1e-9, 0.0, 1e-9):
        assert np.abs(overhaul(at + side, t, margin=m)[1]).max() <= 3e-9


def test_margins_by_hand_and_by_integrals():
    """Of N(0, 1) the negative half has the mean −√(2/π); of N(4, 1) it is rare: −3, or its mean if that is asked."""
    assert margins(np.ones(1), np.zeros(1)) == pytest.approx(-0.7978845608028654, rel=1e-14)
    assert margins(np.array([2.0]), np.array([8.0])) == -6

    for g, b in ((1.0, 3.0), (-0.7, 1.0), (2.0, -5.0), (0.5, 4.0)):
        low = min(b, 0) - 20 * abs(g)
        moments = [quad(lambda y, k, g=g, b=b: y ** k * math.exp(-((y - b) / g) ** 2 / 2), low, 0, args=(k,), limit=500,
                        epsabs=0, points=[-abs(g), min(b, -abs(g) / 4)])[0] for k in (0, 1)]
        mean = moments[1] / moments[0]
        assert margins(np.array([g]), np.array([b]), rare=1e-30) == pytest.approx(mean, rel=1e-8), (g, b)


def test_margins_of_any_channel():
    """γ of either sign, zero, huge or tiny beside β: finite, never positive, in the dtype of the arguments."""
    g = np.array([0.0, 0.0, 0.0, 1e-30, 1e-30, 1e3, -1.0, 1e-6])
    b = np.array([0.0, 2.0, -2.0, 1.0, -1.0, 1e-3, -50.0, -1e6])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for rare in (1e-3, 1e-300):
            m = margins(g, b, rare=rare)
            assert np.isfinite(m).all()
            assert (m <= 0).all()
            np.testing.assert_allclose(m[[2, 4, 6, 7]], b[[2, 4, 6, 7]], rtol=1e-12)
            np.testing.assert_allclose(m[:2], 0, atol=1e-28)
    assert margins(g.astype(np.float32), b.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize(("arguments", "options", "words"), [
    ((np.ones(2), np.ones(3)), {}, r"\(2,\) and beta \(3,\)"), ((np.ones((2, 1)), np.ones((2, 1))), {}, r"\(C,\)"),
    ((np.ones(2, int), np.ones(2)), {}, "int64"), ((np.ones(2), np.ones(2)), {"rare": 0.0}, "rare is 0"),
])
def test_what_has_no_margins(arguments, options, words):
    with pytest.raises(InputError, match=words):
        margins(*arguments, **options)


# ---- factors
# ----------------------------------------------------------------------------------------------------------------------


def test_directions_by_hand():
    """(3, 4) and (4, 3): 0.2 + 0.2. The signs are (−1, 1), along u = (0.6, 0.8) that is 0.2: ((−1, 1) − 0.2 u)/5."""
    value, d = factor_transfer(np.array([[3.0, 4.0]]), np.array([[4.0, 3.0]]))
    assert value == pytest.approx(0.4, rel=1e-14)
    np.testing.assert_allclose(d, [[-0.224, 0.168]], rtol=1e-12)
    # squares, one channel: (1, 4) and (4, 1), of length √17
    one = np.array([[1.0, 2.0], [2.0, 1.0]]).reshape(2, 1, 1, 2, 1)
    assert factor_transfer(*one, power=2)[0] == pytest.approx(6 / math.sqrt(17), rel=1e-14)


@pytest.mark.parametrize("power", [None, 1, 2, 3])
@LAWS
@given(seed=st.integers(0, 10 ** 6))
def test_the_size_of_a_factor_does_not_matter(power, seed):
    s, t = maps(seed)
    size = np.random.default_rng(seed).uniform(0.1, 10, (3, 1, 1, 1))
    value, d = factor_transfer(s, t, power=power)
    scaled, d_scaled = factor_transfer(size * s, t, power=power)
    assert scaled == pytest.approx(value, rel=1e-11)
    np.testing.assert_allclose(d_scaled, d / size, rtol=1e-7, atol=1e-11 * np.abs(d / size).max())
    np.testing.assert_allclose((s * d).sum(axis=(1, 2, 3)), 0, atol=1e-13)
    assert factor_transfer(s, size * t, power=power)[0] == pytest.approx(value, rel=1e-11)


def test_a_factor_of_zeros_is_finite():
    value, d = factor_transfer(np.zeros((1, 3)), np.array([[0.0, 0.0, 2.0]]))
    assert value == 1
    assert np.isfinite(d).all()


def test_a_paraphraser_is_trained_as_any_network():
    """Three channels that are one channel's multiples: a factor of one channel says all, and learns to."""
    rng = np.random.default_rng(0)
    maps_of = (rng.standard_normal((40, 4, 4, 1)) * np.array([1.0, -0.5, 0.7])).astype(np.float32)
    network = paraphraser(3, 2, rng)
    assert network.widths == [3, 3, 2, 2, 2, 3, 3]
    assert [layer.op for layer in network.layers] == ["conv2d", "leaky_relu"] * 6
    *_, last = train(network, {"x": maps_of}, Terms({(-1, "x"): squared_error}), rng=rng,
                     settings=TrainingSettings(epochs=60, batch_size=20, clip=5.0))
    still = np.square(network.predict(maps_of) - maps_of).mean()
    assert np.square(last.network.predict(maps_of) - maps_of).mean() < 0.6 * still
    encoder = Network(last.network.layers[:6])
    assert encoder.predict(maps_of).shape == (40, 4, 4, 2)
    np.testing.assert_allclose(encoder.predict(maps_of), last.network(maps_of)[0][6], rtol=1e-5, atol=1e-6)
    assert translator([3, 3, 2, 2], rng).predict(maps_of).shape == (40, 4, 4, 2)


# ---- review
# ----------------------------------------------------------------------------------------------------------------------


def test_a_pyramid_by_hand():
    """Differences (1 1; 1 −1): MSE 1. Levels 4 and 2 are not below H = 2; their mean is ½: MSE ¼, weight ½. (1 + ⅛)/1½.
    Slope: 2/1½ (d/4 + ½ · ½ · ¼), 5/12 where d = 1, −1/4 where d = −1."""
    d = np.array([[1.0, 1.0], [1.0, -1.0]]).reshape(1, 2, 2, 1)
    value, slope = review(d + 3, np.full_like(d, 3))
    assert value == pytest.approx(0.75, rel=1e-14)
    np.testing.assert_allclose(slope.ravel(), [5 / 12, 5 / 12, 5 / 12, -1 / 4], rtol=1e-12)


def test_without_levels_it_is_the_mean_square_and_constants_pass_all_levels():
    s, t = maps(8)
    assert review(s, t, levels=())[0] == pytest.approx(np.square(s - t).mean(), rel=1e-13)
    tall = np.random.default_rng(8).standard_normal((2, 5, 6, 2))
    assert review(tall + 3, tall)[0] == pytest.approx(9, rel=1e-13)
    # what sums to zero over each quarter of a map is seen at the finest level alone, of weight 1/(1 + ½ + ¼)
    checks = np.indices((4, 4)).sum(axis=0).reshape(1, 4, 4, 1) % 2 * 2.0 - 1
    assert review(checks, np.zeros_like(checks))[0] == pytest.approx(1 / 1.75, rel=1e-13)


# ---- singular vectors
# ----------------------------------------------------------------------------------------------------------------------


def test_singular_vectors_by_hand():
    """Maps of one position: a vector's direction. Then (0.6, 0.8) and (0.8, 0.6), and 1 and 1 at the second stage: the
    student relates as a = exp(−0.4²/8), b = exp(−0.2²/8), the teacher as b, a. dL/dv_d = D_d R_d (w − v_d)/2, then the
    derivative of a direction, over the length 5."""
    student = np.array([3.0, 4.0]).reshape(1, 1, 1, 2), np.array([-2.0]).reshape(1, 1, 1, 1)
    teacher = np.array([4.0, 3.0]).reshape(1, 1, 1, 2), np.array([0.5]).reshape(1, 1, 1, 1)
    value, (d, d_last) = singular_vectors(student, teacher)
    a, b = math.exp(-0.02), math.exp(-0.005)
    assert value == pytest.approx(2 * (a - b) ** 2, rel=1e-12)
    g, u = np.array([(a - b) * a * 0.2, (b - a) * b * 0.1]), np.array([0.6, 0.8])
    np.testing.assert_allclose(d.ravel(), (g - u * (u @ g)) / 5, rtol=1e-10)
    assert d_last.item() == 0


@LAWS
@given(seed=st.integers(0, 10 ** 6))
def test_singular_vectors_do_not_feel_sizes_signs_and_places(seed):
    rng = np.random.default_rng(seed)
    student, teacher = (tuple(rng.standard_normal(shape) for shape in ((2, 3, 2, 4), (2, 2, 2, 3))) for _ in range(2))
    value, d = singular_vectors(student, teacher)
    size = rng.uniform(0.1, 10, (2, 1, 1, 1)) * rng.choice([-1, 1], (2, 1, 1, 1))
    turned, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    moved = (turned @ (size * student[0]).reshape(2, 6, 4)).reshape(student[0].shape)
    again, d_again = singular_vectors((moved, student[1]), (-teacher[0], 3 * teacher[1]))
    assert again == pytest.approx(value, rel=1e-9, abs=1e-14)
    back = (turned.T @ d_again[0].reshape(2, 6, 4)).reshape(d[0].shape)
    np.testing.assert_allclose(size * back, d[0], rtol=1e-6, atol=1e-8 * np.abs(d[0]).max())


def test_ties_and_dead_maps_have_a_finite_slope():
    """Equal singular values have no vectors of their own, and a map of zeros has none at all."""
    rng, other = np.random.default_rng(0), np.random.default_rng(1).standard_normal((1, 2, 2, 3))
    for first in (np.zeros((1, 2, 2, 4)), np.eye(4).reshape(1, 2, 2, 4), np.ones((1, 2, 2, 4))):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            value, d = singular_vectors((first, other), (rng.standard_normal((1, 2, 2, 4)), other))
        assert math.isfinite(value)
        assert all(np.isfinite(part).all() for part in d)
    assert not singular_vectors((np.zeros((1, 2, 2, 4)), other), (np.ones((1, 2, 2, 4)), other))[1][0].any()
    near = (np.eye(4) + 1e-14 * np.diag([3.0, 2.0, 1.0, 0.0])).reshape(1, 2, 2, 4)
    assert np.abs(singular_vectors((near, other), (rng.standard_normal((1, 2, 2, 4)), other))[1][0]).max() <= 1


@pytest.mark.parametrize("gap", [1e-1, 1e-3, 1e-5])
def test_the_slope_grows_as_a_gap_closes(gap):
    """Like one over the gap, and stays the derivative as long as a difference can tell."""
    rng = np.random.default_rng(3)
    u, v = (np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in range(2))
    x = (u * np.array([1 + gap, 1.0, 0.5, 0.2]) @ v.T).reshape(1, 2, 2, 4)
    teacher = ((u * np.array([3.0, 0.2, 0.1, 0.05])) @ v.T).reshape(1, 2, 2, 4), rng.standard_normal((1, 2, 2, 3))
    student = x, rng.standard_normal((1, 2, 2, 3))
    value, d = singular_vectors(student, teacher)
    direction = rng.standard_normal(x.shape)
    h = 1e-4 * gap
    sides = [singular_vectors((x + step * direction, student[1]), teacher)[0] for step in (h, -h)]
    assert np.vdot(d[0], direction) == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=1e-3)
    assert math.isfinite(value)


def test_every_loss_says_what_it_is_divided_by():
    for loss in (variational_information, contrastive, overhaul, factor_transfer, review, singular_vectors):
        assert "ivided by" in " ".join(loss.__doc__.split()), loss.__name__
