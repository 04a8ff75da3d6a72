"""Budgets shared over layers: never exceeded, nothing left that a neuron would still fit in, and as good as greedy
steps can promise."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.core.validation import InputError
from npkd.nn import cost
from npkd.sparsity.allocation import Curve, allocate

QUICK = settings(deadline=None, max_examples=80)


def curve(rng, width):
    """A falling convex curve from 1 to 0."""
    falls = np.sort(rng.exponential(1, width))[::-1]
    return Curve(1 - np.concatenate([[0], np.cumsum(falls)]) / falls.sum(), float(rng.uniform(0.5, 1)))


def best(curves, size, budget, movable):
    """The smallest total error within the budget, by trying all widths."""
    ranges = [range(1, c.width + 1) if k in movable else [c.width] for k, c in enumerate(curves)]
    fitting = [sum(c.at(w) for c, w in zip(curves, widths, strict=True)) for widths in itertools.product(*ranges)
               if size(widths) <= budget]
    return min(fitting, default=np.inf)


SIZES = {
    "neurons": sum,
    "macs": lambda w: cost.of_widths([*w, 10]).macs,
    "parameters": lambda w: cost.of_widths([*w, 10]).parameters,
    "bytes": lambda w: cost.of_widths([*w, 10]).bytes,
}


@QUICK
@given(seed=st.integers(0, 10 ** 6), what=st.sampled_from(sorted(SIZES)), keep_inputs=st.booleans(),
       fraction=st.floats(0.001, 1.2))
def test_never_above_the_budget_and_nothing_left_over(seed, what, keep_inputs, fraction):
    rng = np.random.default_rng(seed)
    most = [int(w) for w in rng.integers(1, 120, int(rng.integers(1, 5)))]
    curves, size = [curve(rng, w) for w in most], SIZES[what]
    smallest = size([w if keep_inputs and k == 0 else 1 for k, w in enumerate(most)])
    budget = fraction * size(most)
    if budget < smallest:
        with pytest.raises(InputError, match=f"smallest that this network can be is {smallest:g}"):
            allocate(curves, size, budget, keep_inputs)
        return
    widths = allocate(curves, size, budget, keep_inputs)
    assert all(type(w) is int for w in widths)
    assert size(widths) <= budget
    assert all(1 <= w <= m for w, m in zip(widths, most, strict=True))
    if keep_inputs:
        assert widths[0] == most[0]
    for k in range(len(widths)):
        more = [w + (i == k) for i, w in enumerate(widths)]
        assert widths[k] == most[k] or (keep_inputs and k == 0) or size(more) > budget


@QUICK
@given(seed=st.integers(0, 10 ** 6), keep_inputs=st.booleans(), fraction=st.floats(0.05, 1))
def test_as_good_as_the_best_where_neurons_are_counted(seed, keep_inputs, fraction):
    """Convex curves, every neuron of one size: steps of one neuron that cost the least lead to the least total
    error."""
    rng = np.random.default_rng(seed)
    curves = [curve(rng, int(w)) for w in rng.integers(1, 9, 3)]
    movable = {1, 2} if keep_inputs else {0, 1, 2}
    budget = max(fraction * sum(c.width for c in curves), (curves[0].width if keep_inputs else 1) + 2)
    widths = allocate(curves, sum, budget, keep_inputs)
    total = sum(c.at(w) for c, w in zip(curves, widths, strict=True))
    assert total == pytest.approx(best(curves, sum, budget, movable), abs=1e-12)


@QUICK
@given(seed=st.integers(0, 10 ** 6), fraction=st.floats(0.05, 1))
def test_as_good_as_the_best_for_a_budget_one_neuron_smaller(seed, fraction):
    """Neurons of different sizes a_k: the last step may save more than needed, so the law is: no worse than the best
    within budget − max a_k."""
    rng = np.random.default_rng(seed)
    # below 40 steps are of one
    curves, a = [curve(rng, int(w)) for w in rng.integers(5, 39, 2)], rng.choice([1, 2, 5, 20], 2)

    def size(widths):
        return float(a @ np.array(widths))

    budget = max(fraction * size([c.width for c in curves]), float(a.sum()))
    widths = allocate(curves, size, budget)
    total = sum(c.at(w) for c, w in zip(curves, widths, strict=True))
    assert total <= best(curves, size, budget - float(a.max()), {0, 1}) + 1e-12
    assert total >= best(curves, size, budget, {0, 1}) - 1e-12


@QUICK
@given(seed=st.integers(0, 10 ** 6))
def test_every_step_is_the_one_with_the_lowest_price(seed):
    """Widths below 40, so that steps are of one neuron: followed one by one, each is argmin of rise / saved · once /
    now."""
    rng = np.random.default_rng(seed)
    curves, a = [curve(rng, int(w)) for w in rng.integers(5, 39, 3)], rng.choice([1, 2, 5, 20], 3)

    def size(widths):
        return float(a @ np.array(widths))

    now = [c.width for c in curves]
    balance_exponent = float(rng.choice([0.0, 0.5, 1.0]))
    once = [int(w) * int(rng.integers(1, 9)) for w in now] if seed % 2 else []
    while min(now) > 1:
        prices = [(c.at(w - 1) - c.at(w)) / a[k] * ((once[k] / w) ** balance_exponent if once else 1)
                  for k, (c, w) in enumerate(zip(curves, now, strict=True))]
        k = int(np.argmin(prices))
        now[k] -= 1
        if sum(p < prices[k] * (1 + 1e-9) for p in prices) > 1:                  # a tie: either is right
            return
        assert allocate(curves, size, size(now), whole=once, balance_exponent=balance_exponent) == now


def test_a_layer_that_does_not_matter_gives_first():
    flat, steep = Curve(np.r_[1, np.zeros(10)]), Curve(np.linspace(1, 0, 11))
    assert allocate([steep, flat], sum, 11) == [10, 1]


def test_of_two_equal_curves_the_one_that_weighs_less_gives_first():
    error = np.linspace(1, 0, 11) ** 2
    assert allocate([Curve(error, 5.0), Curve(error, 0.01)], sum, 11) == [10, 1]
    assert allocate([Curve(error, 0.01), Curve(error, 5.0)], sum, 11) == [1, 10]


def test_a_budget_that_everything_fits_in():
    curves = [curve(np.random.default_rng(0), w) for w in (7, 5)]
    assert allocate(curves, sum, 1e9) == [7, 5]


def test_a_budget_that_nothing_fits_in():
    with pytest.raises(InputError, match=r"target is 2; the smallest .* is 3"):
        allocate([curve(np.random.default_rng(0), 4) for _ in range(3)], sum, 2)
    with pytest.raises(InputError, match=r"smallest .* is 4"):
        allocate([curve(np.random.default_rng(0), 4)], sum, 3, keep_inputs=True)
