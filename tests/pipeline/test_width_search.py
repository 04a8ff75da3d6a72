"""The search of widths: every proposal is within the budget and as large as it can be; each rule does what it says."""

import numpy as np
import pytest

from npkd.core.validation import InputError
from npkd.nn.cost import of_widths
from npkd.pipeline.width_search import EXPONENTS, Space, Tried, at_random, by_evolution, by_price, search
from npkd.sparsity.allocation import Curve, allocate

MOST = (40, 30, 20)


def size(widths):
    return float(of_widths([*widths, 10]).macs)


def curve(n, falls):
    return Curve(falls ** np.arange(n + 1) - falls ** n * np.arange(n + 1) / n)


SPACE = Space(MOST, size, 500.0)
CURVES = [curve(n, falls) for n, falls in zip(MOST, (0.9, 0.8, 0.6), strict=True)]
RULES = {"random": at_random(SPACE), "evolution": by_evolution(SPACE), "price": by_price(SPACE, CURVES)}


@pytest.mark.parametrize("seed", range(20))
def test_filled_is_the_largest_in_its_proportion(seed):
    """No larger common factor, found by trying many, is within the budget; parts below one neuron become one."""
    parts = np.exp(np.random.default_rng(seed).uniform(-3, 0, 3))
    widths = SPACE.filled(parts)
    candidates = [tuple(min(m, max(1, int(f * p * m))) for p, m in zip(parts, MOST, strict=True))
                  for f in np.linspace(0, 30, 30_001)]
    by_hand = max((w for w in candidates if size(w) <= 500), key=size)
    assert size(widths) == size(by_hand) <= 500
    assert all(1 <= w <= m for w, m in zip(widths, MOST, strict=True))


def test_a_budget_below_one_neuron_a_layer_is_refused():
    with pytest.raises(InputError, match="budget is 5; one neuron a layer has 12"):
        Space(MOST, size, 5.0).filled(np.ones(3))


def test_a_budget_above_everything_keeps_everything():
    assert Space(MOST, size, 1e9).filled(np.array([0.1, 1.0, 0.5])) == MOST


@pytest.mark.parametrize("name", RULES)
def test_a_search_tries_as_often_as_it_is_told_and_trains_no_widths_twice(name):
    trained = []

    def reward(widths):
        trained.append(widths)
        return float(np.abs(np.array(widths) - (10, 12, 9)).sum())

    tried = search(RULES[name], reward, 25, np.random.default_rng(1))
    assert len(tried) == 25
    assert len(trained) == len(set(trained)) == len({one.widths for one in tried})
    assert all(size(one.widths) <= 500 for one in tried)


def test_evolution_finds_what_chance_does_not():
    """A reward with one valley: after as many tries the children of the best are nearer to it, mean of ten seeds."""
    def best(rule, seed):
        rng = np.random.default_rng(seed)
        return min(one.reward for one in search(rule, lambda w: sum((np.log(w) - np.log((36, 9, 8))) ** 2), 40, rng))

    chance, evolved = (np.mean([best(RULES[name], seed) for seed in range(10)]) for name in ("random", "evolution"))
    assert evolved < 0.5 * chance


def test_the_price_rule_begins_with_what_the_curves_allocate_and_draws_nothing_then():
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    first = RULES["price"]([], rng)
    second = RULES["price"]([Tried(first, 1.0)], rng)
    assert rng.bit_generator.state == state
    for widths, q in zip((first, second), EXPONENTS, strict=False):
        assert widths == tuple(allocate(CURVES, size, 500.0, whole=MOST, balance_exponent=q))
