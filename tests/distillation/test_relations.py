"""Losses on relations between examples: the laws of each, and that the others break them. Definitions, gradients and
refusals: test_catalogue.py."""

import math
from functools import partial
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from npkd.core.validation import InputError
from npkd.distillation.objective import Terms
from npkd.distillation.relations import (
    correlation_congruence,
    neighbour_congruence,
    probabilistic_transfer,
    relational_angle,
    relational_distance,
    similarity_preserving,
)
from npkd.distillation.response import soft_targets
from npkd.distillation.terms import Term
from npkd.gradcheck import check_loss

LAWS = settings(deadline=None, max_examples=25)
LOSSES = {
    "distance": relational_distance,
    "angle": relational_angle,
    "similarity": similarity_preserving,
    "correlation": correlation_congruence,
    "correlation, order 5": partial(correlation_congruence, gamma=2.0, order=5),
    "neighbour": neighbour_congruence,
    "probabilistic": probabilistic_transfer,
    "probabilistic, others": partial(probabilistic_transfer, diagonal=False),
}
every = pytest.mark.parametrize("name", LOSSES)


def draw(seed, name, n=5, width=3, teacher_width=4):
    rng = np.random.default_rng(seed)
    student = rng.standard_normal((n, width))
    return student, rng.standard_normal((n, width if name == "neighbour" else teacher_width)), rng


@every
@LAWS
@given(seed=st.integers(0, 10 ** 6), n=st.integers(2, 7), width=st.integers(1, 5))
def test_never_below_zero_and_nothing_at_agreement(name, seed, n, width):
    student, teacher, _ = draw(seed, name, n, width)
    assert LOSSES[name](student, teacher)[0] >= 0
    value, d = LOSSES[name](teacher, teacher)
    assert 0 <= value <= 1e-30
    np.testing.assert_allclose(d, 0, atol=1e-15)


@every
@pytest.mark.parametrize("seed", range(3))
def test_finite_differences(name, seed):
    student, teacher, _ = draw(seed, name, n=4)
    assert check_loss(LOSSES[name], student, teacher).ok


@every
@LAWS
@given(seed=st.integers(0, 10 ** 6))
def test_the_order_of_the_examples(name, seed):
    """Any order is the same, but for what compares each with the next: the only one that this test sees fail."""
    student, teacher, rng = draw(seed, name)
    order = np.array([0, 2, 4, 1, 3]) if name == "neighbour" else rng.permutation(5)     # no neighbours stay
    value, d = LOSSES[name](student, teacher)
    again, d_again = LOSSES[name](student[order], teacher[order])
    if name == "neighbour":
        assert abs(again - value) > 1e-6 * value
        assert np.abs(d_again - d[order]).max() > 1e-3
        again, d_again = LOSSES[name](student[::-1], teacher[::-1])
        order = np.arange(5)[::-1]
    assert again == pytest.approx(value, rel=1e-12, abs=1e-15)
    np.testing.assert_allclose(d_again, d[order], rtol=1e-10, atol=1e-13)


# ---- what may be done to the student's features, or the teacher's, without a change
# ----------------------------------------------------------------------------------------------------------------------


def rotated(x, rng):
    return x @ np.linalg.qr(rng.standard_normal((x.shape[1], x.shape[1])))[0]


def scaled(x, rng):
    return x * rng.uniform(0.1, 10)


def shifted(x, rng):
    return x + 3 * rng.standard_normal(x.shape[1])


def each_scaled(x, rng):
    return x * rng.uniform(0.1, 10, (len(x), 1))


def widened(x, rng):
    return np.hstack([x, np.zeros((len(x), 2))])


HOLDS = {
    "distance": {rotated, scaled, shifted, widened},
    "angle": {rotated, scaled, shifted, widened},
    "similarity": {rotated, scaled, widened},
    "correlation": {rotated, scaled, each_scaled, widened},
    "correlation, order 5": {rotated, scaled, each_scaled, widened},
    "neighbour": set(),
    "probabilistic": {rotated, scaled, each_scaled, widened},
    "probabilistic, others": {rotated, scaled, each_scaled, widened},
}
CHANGES = (rotated, scaled, shifted, each_scaled, widened)


@pytest.mark.parametrize(("name", "change"), [(name, change) for name in LOSSES for change in CHANGES
                                              if (name, change) != ("neighbour", widened)])     # it needs one width
@LAWS
@given(seed=st.integers(0, 10 ** 6))
def test_what_a_loss_does_not_see_and_what_it_does(name, change, seed):
    student, teacher, rng = draw(seed, name)
    value, _ = LOSSES[name](student, teacher)
    for one, other in ((change(student, rng), teacher), (student, change(teacher, rng))):
        changed, _ = LOSSES[name](one, other)
        if change in HOLDS[name]:
            assert changed == pytest.approx(value, rel=1e-9, abs=1e-13)
        else:
            assert abs(changed - value) > 1e-9 * value
    if change in HOLDS[name]:
        at, d = LOSSES[name](change(teacher, rng), teacher)
        assert at <= 1e-20, "nothing is lost of a student that is the teacher, changed so"
        np.testing.assert_allclose(d, 0, atol=1e-11)


@every
@LAWS
@given(seed=st.integers(0, 10 ** 6))
def test_what_a_loss_does_not_see_it_does_not_push(name, seed):
    """Its gradient has no part along a shift of all, along a scaling, along a scaling of one example, in a rotation."""
    student, teacher, _ = draw(seed, name)
    _, d = LOSSES[name](student, teacher)
    size = np.abs(d).max()
    parts = {shifted: np.abs(d.sum(axis=0)).max(), scaled: abs((d * student).sum()),
             each_scaled: np.abs((d * student).sum(axis=1)).max(), rotated: np.abs(d.T @ student - student.T @ d).max()}
    for change, part in parts.items():
        assert (part <= 1e-10 * (1 + size)) == (change in HOLDS[name]), change.__name__


# ---- what it is divided by
# ----------------------------------------------------------------------------------------------------------------------

DOUBLED = {"distance": None, "angle": 1.0, "similarity": 0.5, "correlation": 1.0, "correlation, order 5": 1.0,
           "neighbour": None, "probabilistic": 1.0, "probabilistic, others": None}
"""What becomes of the value when every example is there twice; None: no one factor."""


@every
@LAWS
@given(seed=st.integers(0, 10 ** 6))
def test_a_batch_doubled(name, seed):
    """Means over pairs or triples do not see it. Distances have another mean, as a pair of copies is one; a row of
    similarities is longer by √2; among the others there is a copy."""
    student, teacher, _ = draw(seed, name)
    value, d = LOSSES[name](student, teacher)
    twice, d_twice = LOSSES[name](np.vstack([student, student]), np.vstack([teacher, teacher]))
    factor = DOUBLED[name]
    if factor is None:
        assert min(abs(twice - f * value) for f in (0.5, 1, 2)) > 1e-6 * value
    else:
        assert twice == pytest.approx(factor * value, rel=1e-10)
        np.testing.assert_allclose(d_twice, factor / 2 * np.vstack([d, d]), rtol=1e-8, atol=1e-12)


def test_every_loss_says_what_it_is_divided_by():
    for loss in (relational_distance, relational_angle, similarity_preserving, correlation_congruence,
                 neighbour_congruence, probabilistic_transfer):
        assert "Divided by N" in " ".join(loss.__doc__.split()), loss.__name__


def lengthened(x):
    return x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-7)


@LAWS
@given(seed=st.integers(0, 10 ** 6), n=st.integers(2, 8))
def test_the_numbers_of_libraries(seed, n):
    """As RepDistiller and torchdistill have them: chapter 18 says which multiples of ours they are."""
    student, teacher, _ = draw(seed, "", n, 4)
    p, q = ((1 + lengthened(x) @ lengthened(x).T) / 2 for x in (student, teacher))
    p, q = (a / a.sum(axis=1, keepdims=True) for a in (p, q))
    pkt = np.mean(q * np.log((q + 1e-7) / (p + 1e-7)))
    assert probabilistic_transfer(student, teacher)[0] / n == pytest.approx(pkt, rel=1e-3, abs=1e-7)
    gamma, u, v = 0.4, lengthened(student), lengthened(teacher)
    k, target = (math.exp(-2 * gamma) * (1 + 2 * gamma * a @ a.T + 2 * gamma ** 2 * (a @ a.T) ** 2) for a in (u, v))
    assert math.sqrt(correlation_congruence(student, teacher)[0]) / n == pytest.approx(
        np.linalg.norm(k - target) / n ** 2, rel=1e-5, abs=1e-7)        # their lengths are 10⁻⁷ longer


# ---- numbers by hand
# ----------------------------------------------------------------------------------------------------------------------


def column(*values):
    return np.array(values, np.float64)[:, None]


def test_distances_by_hand():
    """On a line 0, 1, 3: from first to second 1, second to third 2, first to third 3, in the mean 2. 0, 1, 2: 1, 1, 2,
    in the mean 4/3. As parts: ½, 1, 3/2 and ¾, ¾, 3/2. Differences −¼, ¼, 0, each twice: 4 · (1/4)²/2 = 1/8, by 9."""
    value, d = relational_distance(column(0, 1, 3), column(0, 1, 2))
    assert value == pytest.approx(1 / 72, rel=1e-14)
    # Slopes in the parts −¼, ¼, 0; in the distances (slope − mean of slope · part)/(2 · 9), that mean being
    # 2 (−⅛ + ¼)/6 = 1/24: −7/24, 5/24, −1/24 over 18, each twice: −7, 5, −1 over 216. The first is pushed along by
    # 7 + 1, the second by −7 − 5, the third by 5 − 1.
    np.testing.assert_allclose(d[:, 0], np.array([8, -12, 4]) / 216, rtol=1e-13)


def test_angles_by_hand():
    """A right angle with legs of one length, and three points 0, 1, 2 on a line. Cosines at the three: 0, √½, √½, and
    1, −1, 1. Differences −1, √½ + 1, √½ − 1: h is ½, √½ + ½, ¾ − √½, together 7/4, each twice, divided by 27."""
    value, _ = relational_angle(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), column(0, 1, 2))
    assert value == pytest.approx(7 / 54, rel=1e-14)


def test_similarities_by_hand():
    """(1, 0), (0, 1): G is I. 3, 4: G is (9, 12; 12, 16), both rows (3, 4)/5. 0.16 + 0.64 + 0.36 + 0.04 = 1.2, by 4."""
    assert similarity_preserving(np.eye(2), column(3, 4))[0] == pytest.approx(0.3, rel=1e-14)


def test_correlations_by_hand():
    """γ = ½, P = 2: k(c) = (1 + c + c²/2)/e. Cosines 0, and 24/25 of (3, 4), (4, 3): the difference is 0.96 + 0.4608 =
    1.4208 over e, twice, divided by 4."""
    value, _ = correlation_congruence(np.diag([1.0, 2.0]), np.array([[3.0, 4.0], [4.0, 3.0]]), gamma=0.5, order=2)
    assert value == pytest.approx(1.4208 ** 2 / (2 * math.e ** 2), rel=1e-14)


def test_neighbours_by_hand():
    """δ = (1, 2), (3, 1), (0, 1): 3 + 2 and 0 + 1, by 2. With the last two exchanged: 0 + 2 and 0 + 1."""
    off = np.array([[1.0, -2.0], [3.0, 1.0], [0.0, -1.0]])
    value, d = neighbour_congruence(off, np.zeros((3, 2)))
    assert value == 3
    assert d.tolist() == [[1.5, -0.5], [0.5, 1.5], [0.0, -0.5]]
    assert neighbour_congruence(off[[0, 2, 1]], np.zeros((3, 2)))[0] == 1.5


def test_neighbours_are_blind_where_every_second_example_agrees():
    student = np.array([[5.0], [0.0], [7.0], [0.0]])
    value, d = neighbour_congruence(student, np.zeros((4, 1)))
    assert value == 0
    assert not d[::2].any()


def test_neighbours_in_the_mean_over_all_orders():
    """Every pair of different examples is a pair of neighbours equally often: what chapter 18 says it then is."""
    student, teacher, _ = draw(9, "neighbour", n=4)
    values = [neighbour_congruence(student[list(order)], teacher[list(order)])[0] for order in permutations(range(4))]
    delta = np.abs(student - teacher)
    assert np.mean(values) == pytest.approx((delta.sum(axis=0) ** 2 - (delta ** 2).sum(axis=0)).sum() / 12, rel=1e-12)


def test_chances_by_hand():
    """Two at a right angle: s = 1, ½, p = ⅔, ⅓. Two in one direction: ½, ½. ½ log ¾ + ½ log 3/2 = ½ log 9/8. Among the
    others, of e, e, f: the first two see (1, ½), the last (½, ½); all in one direction (½, ½): 2 of 3 rows."""
    assert probabilistic_transfer(np.diag([1.0, 5.0]), column(2, 3))[0] == pytest.approx(math.log(9 / 8) / 2, rel=1e-14)
    student = np.array([[1.0, 0.0], [4.0, 0.0], [0.0, 3.0]])
    value, _ = probabilistic_transfer(student, column(1, 2, 3), diagonal=False)
    assert value == pytest.approx(math.log(9 / 8) / 3, rel=1e-14)


# ---- beside other ways to compute the same
# ----------------------------------------------------------------------------------------------------------------------


@LAWS
@given(seed=st.integers(0, 10 ** 6), gamma=st.floats(0.1, 3))
def test_with_many_orders_the_kernel_is_gaussian(seed, gamma):
    student, teacher, _ = draw(seed, "")
    k, target = (np.exp(-gamma * squareform(pdist(x / np.linalg.norm(x, axis=1, keepdims=True), "sqeuclidean")))
                 for x in (student, teacher))
    value, _ = correlation_congruence(student, teacher, gamma=gamma, order=60)
    assert value == pytest.approx(np.mean((k - target) ** 2), rel=1e-9)


@LAWS
@given(seed=st.integers(0, 10 ** 6))
def test_chances_are_soft_targets_of_logarithms_of_similarities(seed):
    student, teacher, _ = draw(seed, "")
    s, target = (1 - pdist(x, "cosine") / 2 for x in (student, teacher))
    logs = [np.log(squareform(a) + np.eye(5)) for a in (s, target)]
    value, _ = soft_targets(*logs, temperature=1.0)
    assert probabilistic_transfer(student, teacher)[0] == pytest.approx(value, rel=1e-9)


@LAWS
@given(seed=st.integers(0, 10 ** 6))
def test_the_mean_distance_of_each_network_is_one_and_its_gradient_counts(seed):
    student, teacher, _ = draw(seed, "")
    s, target = (pdist(x) / pdist(x).mean() for x in (student, teacher))
    u = np.abs(s - target)
    assert relational_distance(student, teacher)[0] == pytest.approx(
        2 * np.where(u < 1, u ** 2 / 2, u - 0.5).sum() / 25, rel=1e-12)


# ---- where there is no direction, or no distance
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "neighbour"])
@pytest.mark.parametrize("which", ["two alike", "all alike", "one zero", "all zero", "opposite", "on a line"])
def test_nothing_breaks_where_points_coincide_vanish_or_oppose(name, which):
    student, teacher, _ = draw(3, name)
    changed = {"two alike": student[[0, 1, 2, 3, 1]], "all alike": np.ones((5, 3)), "all zero": np.zeros((5, 3)),
               "one zero": student * [[1], [1], [0], [1], [1]], "opposite": student[[0, 1, 2, 3, 1]],
               "on a line": np.arange(5.0)[:, None] * [1, 2, 3]}[which]
    changed[4] *= -1 if which == "opposite" else 1
    for one, other in ((changed, teacher), (student, changed), (changed, changed)):
        value, d = LOSSES[name](one, other)
        assert 0 <= value < 10
        assert np.isfinite(d).all()
        assert np.abs(d).max() < 10
    assert value == 0


def test_between_two_examples_alike_nothing_pushes():
    """The loss asks the student to part them, and says nothing about how."""
    student, teacher = column(1, 1, 0), column(2, 1, 0)
    # Angles: at the third both see 1, and elsewhere there is no direction.
    value, d = relational_angle(student, teacher)
    assert value > 0
    assert not d.any()
    # Distances (first to second, second to third, first to third) 0, 1, 1 against 1, 1, 2; parts 0, 3/2, 3/2 against
    # ¾, ¾, 3/2. Slopes −¾, ¾, 0, less 2 · ¾ · 3/2 by 6, their mean with the parts: 3/8, −3/8 for the last two. Over
    # 9 · 2/3, each twice: the second is pushed along by 1/8, the first by −1/8.
    for beside in (1, 1 + 1e-7):                    # nearer than 10⁻⁶ is no distance either
        _, d = relational_distance(column(1, beside, 0), teacher)
        np.testing.assert_allclose(d[:, 0], [-1 / 8, 1 / 8, 0], rtol=1e-5, atol=1e-5)


def test_examples_that_are_all_but_opposite_pass_nothing_on():
    """10⁻⁷ off, their similarity is a quarter of 10⁻¹⁴, and counts as the bound 10⁻¹²: as if they were opposite."""
    _, teacher, _ = draw(10, "", n=3)
    opposite, nearly, beyond = (np.array([[1.0, 0.0], [-1.0, off], [0.0, 1.0]]) for off in (0.0, 1e-7, 1e-4))
    value, d = probabilistic_transfer(opposite, teacher)
    again, d_again = probabilistic_transfer(nearly, teacher)
    assert again == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(d_again, d, atol=1e-6)
    assert np.abs(probabilistic_transfer(beyond, teacher)[1]).max() > 10             # above the bound


def test_two_examples_have_no_relation_but_similarity():
    student, teacher, _ = draw(0, "", n=2)
    for name in ("distance", "angle", "probabilistic, others"):
        value, d = LOSSES[name](student, teacher)
        assert value <= 1e-30
        np.testing.assert_allclose(d, 0, atol=1e-15)
    assert similarity_preserving(student, teacher)[0] > 1e-3


@pytest.mark.parametrize("loss", [relational_distance, relational_angle])
def test_far_from_the_origin_no_digit_is_lost(loss):
    student, teacher, _ = draw(1, "")
    student = np.round(64 * student) / 64                                            # whose shift is exact
    value, d = loss(student, teacher)
    far, d_far = loss(student + 2.0 ** 24, teacher + 2.0 ** 20)
    assert far == pytest.approx(value, rel=1e-7)                                     # the teacher's shift is not
    near, d_near = loss(student + 2.0 ** 24, teacher)
    assert near == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(d_near, d, rtol=0, atol=1e-13 * np.abs(d).max())
    assert np.isfinite(d_far).all()


@pytest.mark.parametrize("loss", [relational_distance, relational_angle])
def test_points_that_are_near_each_other_keep_their_digits(loss):
    """Two of them, 10⁻⁴ apart at a distance of 1 of the others: inner products would leave eight digits."""
    student, teacher, _ = draw(2, "")
    student[1] = student[0] + 2.0 ** -14 * np.array([1.0, -2.0, 0.5])
    exact = student.astype(np.longdouble)
    value, d = loss(student, teacher)
    wide, d_wide = loss(exact, teacher.astype(np.longdouble))
    assert value == pytest.approx(wide, rel=1e-13)
    np.testing.assert_allclose(d, d_wide.astype(np.float64), rtol=0, atol=1e-11 * np.abs(d).max())


# ---- dtypes, memory, use
# ----------------------------------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_it_is_computed_in_double_precision(name, dtype):
    """Also of numbers whose squares are no float16; the gradient alone is rounded."""
    student, teacher, _ = draw(4, name)
    student, teacher = ((300 * a).astype(dtype) for a in (student, teacher))
    value, d = LOSSES[name](student, teacher)
    right, d_right = LOSSES[name](student.astype(np.float64), teacher.astype(np.float64))
    assert type(value) is float
    assert value == right
    assert d.dtype == dtype
    np.testing.assert_array_equal(d, d_right.astype(dtype))


@every
def test_maps_are_rows(name):
    student, teacher, _ = draw(5, name, width=12, teacher_width=8)
    value, d = LOSSES[name](student, teacher)
    shape = (5, 2, 3, 2) if name == "neighbour" else (5, 2, 2, 2)
    again, d_maps = LOSSES[name](student.reshape(5, 2, 3, 2), teacher.reshape(shape))
    assert again == value
    np.testing.assert_array_equal(d_maps, d.reshape(5, 2, 3, 2))


@every
def test_what_is_not_a_number_stays_so(name):
    student, teacher, _ = draw(6, name)
    student[2, 1] = math.nan
    assert math.isnan(LOSSES[name](student, teacher)[0])


@every
def test_a_student_of_half_the_width_learns_the_relations(name):
    """Plain descent on the features themselves."""
    student, teacher, _ = draw(7, name, n=8, width=3, teacher_width=6)
    first, step = LOSSES[name](student, teacher)[0], 1.0
    value, d = LOSSES[name](student, teacher)
    for _ in range(300):
        moved, d_moved = LOSSES[name](student - step * d, teacher)
        if moved < value:
            student, value, d, step = student - step * d, moved, d_moved, 2 * step
        else:
            step /= 4
    assert value < 0.5 * first


def test_as_a_term_it_needs_no_connector():
    """The student's layer 3 wide, the teacher's 6 wide, as two activations of one objective."""
    rng = np.random.default_rng(8)
    hidden, batch = rng.standard_normal((5, 3)), {"teacher1": rng.standard_normal((5, 6))}
    terms = (Term(relational_distance, 1, 1, 25.0), Term(relational_angle, 1, 1, 50.0))
    value, sensitivities = Terms(terms)([hidden, hidden], batch)
    parts = [loss(hidden, batch["teacher1"]) for loss in (relational_distance, relational_angle)]
    assert value == pytest.approx(25 * parts[0][0] + 50 * parts[1][0])
    np.testing.assert_allclose(sensitivities[1], 25 * parts[0][1] + 50 * parts[1][1], rtol=1e-12)


def test_neighbours_need_one_width():
    with pytest.raises(InputError, match="connector"):
        neighbour_congruence(np.ones((4, 3)), np.ones((4, 6)))
