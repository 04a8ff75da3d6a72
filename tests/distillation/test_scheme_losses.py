"""Losses of schemes: values by hand, and which of the laws of distillation losses hold for which of them. Definitions,
gradients and refusals: test_catalogue.py."""

import numpy as np
import pytest

from npkd.distillation.scheme_losses import (
    adversarial_logits,
    deepest_weights,
    discriminator,
    moment_matching,
    mutual_learning,
    neighbour_graph,
)
from npkd.nn.losses import cross_entropy
from npkd.nn.normalisation import moments

OTHERS = 1 - np.eye(2)
"""Weights of two outputs that learn from one another alone."""


def parts(seed=9):
    return [p + 0.3 for p in discriminator(4, np.random.default_rng(seed), hidden=6, dtype=np.float64)]


def mutual(z, v, weights=None):
    """The first output's value and derivative; the second, whose classes are the labels, learns nothing."""
    weights = np.ones((2, 2)) if weights is None else weights
    value, d = mutual_learning((z, v), v.argmax(axis=1), weights=weights * [[1], [0]])
    return value, d[0]


def by_place(z, v):
    """No loss of a paper: that the order does not matter must be able to fail."""
    place = np.arange(1, len(z) + 1)[:, None]
    return float((place * (z - v) ** 2).sum()), 2 * place * (z - v)


LOSSES = {
    "mutual_learning": mutual,
    "mutual_learning, without labels": lambda z, v: mutual(z, v, OTHERS),
    "adversarial_logits": lambda z, v: adversarial_logits(z, v, *parts())[:2],
    "neighbour_graph": lambda z, v: neighbour_graph(z, v, neighbours=2),
    "moment_matching": lambda z, v: moment_matching(z, moments(v)),
    "by place": by_place,
}
WITHOUT = {
    "zero at agreement": {"mutual_learning", "adversarial_logits"},
    "rows that sum to 0": {"adversarial_logits", "neighbour_graph", "moment_matching", "by place"},
    "a number added to the logits of an example": {*LOSSES} - {"mutual_learning", "mutual_learning, without labels"},
    "another scale of the student": {*LOSSES} - {"neighbour_graph"},
    "the order of the examples": {"by place"},
    "a batch twice": {"neighbour_graph", "by place"},                       # a twin is the nearest neighbour
}
"""Of which losses a law does not hold."""


def holds(law, loss):
    rng = np.random.default_rng(1)
    z, v = rng.standard_normal((2, 9, 4))
    value, d = loss(z, v)
    if law == "zero at agreement":
        at, slope = loss(v, v)
        return abs(at) < 1e-12 and np.abs(slope).max() < 1e-12
    if law == "rows that sum to 0":
        return np.abs(d.sum(axis=1)).max() < 1e-12
    if law == "a number added to the logits of an example":
        other, slope = loss(z + rng.standard_normal((9, 1)), v)
        return np.isclose(other, value, rtol=1e-9) and np.allclose(slope, d, atol=1e-12)
    if law == "another scale of the student":
        other, slope = loss(3 * z, v)
        return np.isclose(other, value, rtol=1e-9) and np.allclose(slope, d / 3, atol=1e-12)
    if law == "the order of the examples":
        order = rng.permutation(9)
        other, slope = loss(z[order], v[order])
        return np.isclose(other, value, rtol=1e-9) and np.allclose(slope, d[order], atol=1e-12)
    other, slope = loss(np.vstack([z, z]), np.vstack([v, v]))
    return np.isclose(other, value, rtol=1e-9) and np.allclose(slope, np.vstack([d, d]) / 2, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("law", WITHOUT)
def test_laws(law, loss):
    """And the others fail: a test that nothing fails says nothing."""
    assert holds(law, LOSSES[loss]) == (loss not in WITHOUT[law])


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_none_is_below_zero_and_single_precision_is_near(loss):
    for seed in range(20):
        z, v = np.random.default_rng(seed).standard_normal((2, 5, 4))
        value, d = loss(z, v)
        assert value >= 0
        single, slope = loss(z.astype(np.float32), v.astype(np.float32))
        assert single == pytest.approx(value, rel=1e-4)
        np.testing.assert_allclose(slope, d, rtol=1e-3, atol=1e-5)


def test_every_loss_says_what_it_is_divided_by():
    for loss in (mutual_learning, adversarial_logits, neighbour_graph, moment_matching):
        assert "ivided by" in " ".join(loss.__doc__.split()), loss.__name__


# ---- mutual learning


def test_mutual_learning_by_hand():
    """p = (½, ½) and (¾, ¼), class 0. Each learns from the class, log 2 and log 4/3, and from the other."""
    student, y = (np.array([[0.0, 0.0]]), np.array([[np.log(3), 0.0]])), np.array([0])
    value, (one, other) = mutual_learning(student, y)
    others = 0.75 * np.log(1.5) + 0.25 * np.log(0.5), 0.5 * np.log(2 / 3) + 0.5 * np.log(2)
    assert value == pytest.approx(np.log(2) + np.log(4 / 3) + sum(others), rel=1e-12)
    np.testing.assert_allclose(one, [[-0.5 - 0.25, 0.5 + 0.25]], rtol=1e-12)
    np.testing.assert_allclose(other, [[-0.25 + 0.25, 0.25 - 0.25]], atol=1e-15)


def test_the_other_side_is_held_constant():
    """With what was said given as held, the value changes as the derivative says, and not otherwise."""
    rng = np.random.default_rng(0)
    z, y = tuple(rng.standard_normal((3, 5, 4))), rng.integers(0, 4, 5)
    value, d = mutual_learning(z, y, temperature=2.0)
    assert mutual_learning(z, y, temperature=2.0, held=z)[0] == value
    moved = (z[0] + 1e-6 * np.eye(5, 4), *z[1:])
    steps = [(mutual_learning(moved, y, temperature=2.0, held=held)[0] - value) / 1e-6 for held in (z, None)]
    assert steps[0] == pytest.approx((d[0] * np.eye(5, 4)).sum(), abs=1e-4)
    assert abs(steps[1] - steps[0]) > 0.01


def test_the_deepest_output_learns_from_the_labels_alone():
    weights = deepest_weights(3, 0.8)
    np.testing.assert_allclose(weights, [[1, 0, 0], [0.8, 0.2, 0], [0.8, 0, 0.2]], rtol=1e-12)
    z = tuple(np.random.default_rng(0).standard_normal((3, 6, 4)))
    _, d = mutual_learning(z, np.arange(6) % 4, weights=weights)
    np.testing.assert_allclose(d[0], cross_entropy(z[0], np.arange(6) % 4)[1], rtol=1e-12)
    assert not np.allclose(d[1], mutual_learning(z, np.arange(6) % 4, weights=np.eye(3))[1][1])


# ---- a discriminator


def test_adversarial_logits_by_hand():
    """w2 = 0, b2 = 1, so D = 1 everywhere: ρ(−1) twice and ρ(1) for each example."""
    z, v = np.ones((3, 2)), np.zeros((3, 2))
    w1, b1, w2, b2 = np.eye(2), np.zeros(2), np.zeros((1, 2)), np.ones(1)
    value, d, dw1, _, dw2, db2 = adversarial_logits(z, v, w1, b1, w2, b2)
    assert value == pytest.approx(2 * np.log(1 + np.exp(-1)) + np.log(1 + np.exp(1)), rel=1e-12)
    sigma = 1 / (1 + np.exp(-1))
    assert db2[0] == pytest.approx(-(1 - sigma) + sigma, rel=1e-12)      # of the teacher's part and of the student's
    np.testing.assert_allclose(dw2, sigma * np.ones((1, 2)), rtol=1e-12)     # v is 0, z is 1: the student's part alone
    assert not d.any()
    assert not dw1.any()
    w2 = np.array([[1.0, 0.0]])                                          # D(z) = z_0 + 1: the student is to raise z_0
    _, d, *_ = adversarial_logits(z, v, w1, b1, w2, b2)
    np.testing.assert_allclose(d, np.repeat([[-1 / (1 + np.exp(2)) / 3, 0]], 3, axis=0), rtol=1e-12)


def test_at_agreement_the_discriminators_part_is_two_logarithms_of_two_at_least():
    """ρ(−u) + ρ(u) is least at u = 0: what cannot be told apart is told apart at random."""
    v = np.random.default_rng(0).standard_normal((6, 4))
    for seed in range(10):
        w1, b1, w2, b2 = parts(seed)
        held = (v, w1, b1, 0 * w2, 0 * b2)                      # the student's part is log 2
        assert adversarial_logits(v, v, w1, b1, w2, b2, held=held)[0] >= 3 * np.log(2)
    assert adversarial_logits(v, v, w1, b1, 0 * w2, 0 * b2)[0] == pytest.approx(3 * np.log(2), rel=1e-12)


def test_extreme_logits_overflow_nowhere():
    value, d, *rest = adversarial_logits(np.full((2, 4), 1e4), np.full((2, 4), -1e4), *parts())
    assert np.isfinite(value)
    assert all(np.isfinite(a).all() for a in (d, *rest))


# ---- a graph of neighbours


def test_neighbour_graph_by_hand():
    """The nearest of 1 is 2 (cosine 0.6), of 2 it is 3 (0.8), of 3 it is 2; the student has 0, 1 and 1 there."""
    teacher = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 5.0]])
    student = np.array([[2.0, 0.0], [0.0, 3.0], [0.0, 1.0]])
    value, d = neighbour_graph(student, teacher, neighbours=1)
    assert value == pytest.approx((0.36 + 0.04 + 0.04) / 3, rel=1e-12)
    np.testing.assert_allclose(d, [[0, 2 / 3 * -0.6 / 2], [2 / 3 * -0.6 / 3, 0], [0, 0]], atol=1e-15)


def test_an_example_alone_has_no_neighbours():
    value, d = neighbour_graph(np.ones((1, 3)), np.ones((1, 2)))
    assert value == 0
    assert not d.any()


def test_turned_features_have_the_same_neighbours_and_those_far_away_do_not_count():
    rng = np.random.default_rng(0)
    v = rng.standard_normal((8, 4))
    turned = 2 * v @ np.linalg.qr(rng.standard_normal((4, 4)))[0]
    assert neighbour_graph(turned, v)[0] == pytest.approx(0, abs=1e-14)
    two = np.repeat([[1.0, 0, 0, 0], [-1.0, 0.1, 0, 0]], 3, axis=0) + 0.01 * rng.standard_normal((6, 4))
    together = two * np.repeat([1, -1], 3)[:, None]                 # two heaps of three, and all in one
    assert neighbour_graph(together, two, neighbours=2)[0] == pytest.approx(0, abs=1e-14)
    assert neighbour_graph(together, two, neighbours=5)[0] > 1


# ---- moments


def test_moment_matching_by_hand():
    """μ = 1 and σ² = 1 where 4 and 3 are wanted: 3 + 2. To raise the mean costs ½ each, to raise the variance x − 1."""
    value, d = moment_matching(np.array([[0.0], [2.0]]), (np.array([4.0]), np.array([3.0])))
    assert value == pytest.approx(5, rel=1e-12)
    np.testing.assert_allclose(d, [[-0.5 + 1], [-0.5 - 1]], rtol=1e-12)
    value, _ = moment_matching(np.array([[0.0, 0], [2, 0]]), (np.array([4.0, 4]), np.array([1.0, 0])))
    assert value == pytest.approx(5, rel=1e-12)                  # a norm over the neurons, 3 and 4, and no sum
