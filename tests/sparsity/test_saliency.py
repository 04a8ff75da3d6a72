"""What the loss of a neuron costs: the rise of a least-squares error, by leaving the neuron out; and the penalty that
spares the useful."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.core.validation import InputError
from npkd.sparsity.elimination import BATCH, Elimination, Reader, eliminate
from npkd.sparsity.group_lasso import TOLERANCE, Problem
from npkd.sparsity.saliency import FLOOR, costs, most_useful, saliencies
from npkd.sparsity.statistics import Statistics


def layer(seed=0, n=80, d=7, m=3):
    rng = np.random.default_rng(seed)
    h = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + rng.standard_normal(d)
    w = rng.standard_normal((m, d)) * rng.choice([0.1, 1, 3], d)
    return h, h @ w.T + 0.3 * rng.standard_normal((n, m))


def saliency(statistics, neurons, ridge):
    return saliencies(Elimination.of(statistics, neurons, ridge))


def adaptive(statistics, neurons, ridge):
    """The problem with costs from the saliencies on elimination to so many neurons."""
    return Problem(statistics, costs(saliency(statistics, neurons, ridge)))


def left_over(h, z):
    """½ of the mean squared error of the best affine fit, by NumPy's least squares on the raw data."""
    inputs = np.column_stack([h, np.ones(len(h))])
    return 0.5 * ((z - inputs @ np.linalg.lstsq(inputs, z, rcond=None)[0]) ** 2).sum() / len(h)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10 ** 6))
def test_harm_is_the_rise_of_the_error_of_a_refit(seed):
    h, z = layer(seed)
    whole = left_over(h, z)
    rises = [left_over(np.delete(h, j, axis=1), z) - whole for j in range(h.shape[1])]
    np.testing.assert_allclose(saliency(Statistics.of(h, z), 7, 0.0), rises, rtol=1e-7, atol=1e-9 * whole)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10 ** 6), neurons=st.integers(1, 6))
def test_harm_on_the_way_is_the_rise_without_those_that_went(seed, neurons):
    """Each neuron by refits on the raw data: the least harmful goes first; none has less than one before it."""
    h, z = layer(seed)
    left, expected, most = list(range(7)), np.zeros(7), 0.0
    while True:
        now = left_over(h[:, left], z)
        rises = {j: left_over(h[:, [i for i in left if i != j]], z) - now for j in left}
        if len(left) == neurons:
            expected[left] = [max(rises[j], most) for j in left]
            break
        j = min(rises, key=rises.get)
        expected[j] = most = max(rises[j], most)
        left.remove(j)
    np.testing.assert_allclose(saliency(Statistics.of(h, z), neurons, 0.0), expected, rtol=1e-6,
                               atol=1e-9 * left_over(h, z))


def test_of_two_that_are_nearly_one_the_second_is_spared():
    """Alone each does little harm, since the other is there; on the way one goes, and the other is then worth both."""
    rng = np.random.default_rng(3)
    h = rng.standard_normal((500, 4))
    h[:, 1] = h[:, 0] + 0.01 * rng.standard_normal(500)
    s = Statistics.of(h, h @ np.array([[2.0, 2, 1, 1]]).T)
    alone, on_the_way = saliency(s, 4, 1e-9), saliency(s, 3, 1e-9)
    assert alone[:2].max() < 1e-2 * alone[2:].min()
    assert on_the_way[:2].min() < 1e-2 * alone[2:].min()
    assert on_the_way[:2].max() > 4 * alone[2:].max()
    assert on_the_way[2:] == pytest.approx(alone[2:], rel=0.1)


def test_the_costs_are_one_over_the_harm():
    h, z = layer(1)
    s = Statistics.of(h, z)
    found = saliency(s, 4, 0.0)
    cost = adaptive(s, 4, 0.0).cost * adaptive(s, 4, 0.0).sigma
    np.testing.assert_allclose(cost * found, np.full(7, found.max()), rtol=1e-12)
    assert cost.min() == pytest.approx(1, rel=1e-12)
    z = h[:, :6] @ np.ones((6, 2))                                             # nobody needs the last
    assert adaptive(Statistics.of(h, z), 6, 0.0).cost.max() * h[:, 6].std() == pytest.approx(1 / FLOOR)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10 ** 6), neurons=st.integers(1, 7))
def test_as_many_stay_as_wanted_with_a_certificate(seed, neurons):
    h, z = layer(seed)
    s = Statistics.of(h, z)
    solution, top = most_useful(s, neurons, 1e-4)
    assert len(solution.kept) == neurons
    assert np.array_equal(np.flatnonzero(solution.w.any(axis=0)), solution.kept)
    assert solution.gap <= 1e-6
    assert not solution.proved[solution.kept].any()
    assert solution.lam < top
    if neurons < 7:                                    # another start, the same λ: the same neurons
        cost = adaptive(s, neurons, 1e-4).cost * adaptive(s, neurons, 1e-4).sigma
        again = Problem(s, cost).solve(solution.lam, tolerance=1e-12)
        np.testing.assert_allclose(again.w, solution.w, atol=3e-2 * np.abs(again.w).max())     # gap ≤ 1e-6


def test_of_independent_neurons_the_most_harmful_losses_are_spared():
    rng = np.random.default_rng(0)
    h = np.linalg.qr(rng.standard_normal((60, 8)) - 0.0)[0]
    h = np.linalg.qr(h - h.mean(axis=0))[0]
    w = rng.standard_normal((2, 8))
    carried = (h.std(axis=0) * np.linalg.norm(w, axis=0))
    for k in range(1, 8):
        assert most_useful(Statistics.of(h, h @ w.T), k,
                           0.0)[0].kept.tolist() == sorted(np.argsort(-carried)[:k].tolist())


def test_what_others_can_stand_in_for_goes_first_where_the_size_of_weights_says_otherwise():
    """Two inputs that are nearly one, with the largest weights; one of them goes, never both, before any that stands
    alone."""
    rng = np.random.default_rng(2)
    h = rng.standard_normal((400, 5))
    h[:, 1] = h[:, 0] + 0.05 * rng.standard_normal(400)
    w = np.array([[3.0, 3, 1, 1, 1]])
    four = most_useful(Statistics.of(h, h @ w.T), 4, 1e-4)[0].kept.tolist()
    assert four in ([0, 2, 3, 4], [1, 2, 3, 4])


def test_nothing_to_choose_and_nothing_to_choose_from():
    h, z = layer()
    s = Statistics.of(h, z)
    everything, _ = most_useful(s, 9, 1e-4)
    assert everything.kept.tolist() == list(range(7))
    assert everything.lam == 0
    nothing, _ = most_useful(Statistics.of(h, np.ones((80, 2))), 3, 1e-4)
    assert nothing.kept.tolist() == [0]
    still, _ = most_useful(Statistics.of(np.ones((80, 4)), z), 3, 1e-4)
    assert still.kept.tolist() == [0]
    with pytest.raises(InputError, match="group lasso: neurons is 0; it must be at least 1"):
        most_useful(s, 0, 1e-4)


@pytest.mark.parametrize(("seed", "rank", "noise"), [(0, 30, 0.1), (2, 20, 0.05), (3, 60, 0.02)])
def test_noisy_inputs_keep_exactly_as_many_as_are_wanted(seed, rank, noise):
    """Neurons that nearly depend on one another, all of them worth nearly the same: the solution that the definition
    of the problem has at the λ that is found, certified, in a few steps."""
    rng = np.random.default_rng(seed)
    d = 120
    h = rng.standard_normal((3000, rank)) @ rng.standard_normal((rank, d)) / np.sqrt(rank)
    h += noise * rng.standard_normal((3000, d))
    statistics = Statistics.of(h, h @ rng.standard_normal((d, 20)))
    for wanted in (116, 60):
        solution = most_useful(statistics, wanted, 1e-4)[0]
        assert len(solution.kept) == wanted
        assert not solution.reason
        assert solution.iterations <= 30
        again = Problem(statistics, adaptive(statistics, wanted, 1e-4).cost * np.sqrt(np.diag(statistics.A) / 3000))
        again = again.solve(solution.lam, tolerance=1e-10)
        assert np.isin(solution.kept, again.kept).mean() > 0.98
        assert solution.gap <= TOLERANCE


@pytest.mark.parametrize(("n", "d", "count"), [(700, 200, 30), (700, 200, 199), (60, 200, 120), (300, BATCH + 1, 1)])
def test_elimination_in_batches_is_elimination_one_by_one(n, d, count):
    """Also with fewer examples than inputs, where A⁻¹ comes from a factor of low rank."""
    rng = np.random.default_rng(d + count)
    h = rng.standard_normal((n, d)) @ (np.eye(d) + 0.2 * rng.standard_normal((d, d)) / np.sqrt(d))
    statistics = Statistics.of(h, h @ rng.standard_normal((d, 7)) + 0.1 * rng.standard_normal((n, 7)))
    reader = Reader.of(statistics, np.arange(d), 1e-3)
    kept, gone, rises = eliminate([reader], d, count)
    batches = Elimination.of(statistics, count, 1e-3)
    assert batches.kept.tolist() == kept.tolist()
    assert batches.gone.tolist() == gone.tolist()
    np.testing.assert_allclose(batches.rises, rises, rtol=1e-6)
    np.testing.assert_allclose(batches.saliencies, reader.saliencies(kept), rtol=1e-6)
    np.testing.assert_allclose(batches.w, reader.w[:, kept].T, rtol=1e-6, atol=1e-9)


def test_fewer_examples_than_inputs_keep_as_many_as_are_wanted():
    """More than there are examples: no solution needs them, so the others join it, and the certificate stands."""
    rng = np.random.default_rng(0)
    h = rng.standard_normal((40, 200))
    statistics = Statistics.of(h, h @ rng.standard_normal((200, 12)))
    for wanted in (20, 150, 190):
        solution = most_useful(statistics, wanted, 1e-4)[0]
        assert len(solution.kept) == wanted
        assert solution.gap <= TOLERANCE
    assert "join it" in solution.reason
    assert statistics.error(solution.w) < 1e-3
