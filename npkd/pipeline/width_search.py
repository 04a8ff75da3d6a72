"""Search of widths: networks within one budget are proposed, and each gets a reward, such as a distillation loss.

Three rules that propose, compared at an equal number of proposals: at random, by evolution, and by the marginal price
of the layers' curves. Source: Gou et al. 2021, section 3 (neural architecture search with a teacher's reward).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError, whole
from npkd.sparsity.allocation import Curve, allocate

Size = Callable[[Sequence[int]], float]
"""Widths, inputs first and without the outputs -> what the budget counts."""

EXPONENTS = (1.0, 0.0, 0.5, 2.0, 1.5, 3.0, 0.25, 0.75)
"""q of (W10), in the order in which they are tried: how much a layer that has lost much is spared."""

PARENTS = 3
"""Of how many of the best so far evolution takes one."""


@dataclass(frozen=True)
class Tried:
    """Widths that were tried, inputs first, and their reward: smaller is better."""

    widths: tuple[int, ...]
    reward: float


@dataclass(frozen=True, eq=False)
class Space:
    """What may be proposed: ``most`` neurons of each dependency group, inputs first; the size within a budget."""

    most: Sequence[int]
    size: Size
    budget: float

    def filled(self, parts: Array) -> tuple[int, ...]:
        """Widths in the proportion ``parts`` (d,), positive, as large as the budget allows.

            w_k = min(m_k, max(1, ⌊f p_k m_k⌋)),   f as large as size(w) ≤ budget allows           (N101)
        """
        def at(f: float) -> list[int]:
            return [min(m, max(1, int(f * p * m))) for p, m in zip(parts, self.most, strict=True)]              # (N101)

        if self.size(at(0.0)) > self.budget:
            raise InputError(f"width search: budget is {self.budget:g}; one neuron a layer has {self.size(at(0.0)):g}")
        low, high = 0.0, 1.0 / float(np.min(parts))
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.size(at(middle)) <= self.budget else (low, middle)
        return tuple(at(low))


Rule = Callable[[Sequence[Tried], np.random.Generator], tuple[int, ...]]
"""``rule(tried so far, rng)`` -> the widths to try next."""


def at_random(space: Space) -> Rule:
    """Parts whose logarithms are uniform over [log 1/20, 0]."""
    return lambda tried, rng: space.filled(np.exp(rng.uniform(-3, 0, len(space.most))))


def by_evolution(space: Space, first: int = 4) -> Rule:
    """After ``first`` proposals at random, one of the PARENTS best with each part times a factor.

        p_k ← (w_k/m_k) e^{ε_k},   ε_k ~ N(0, 0.3²)                                    (N102)

    Source: Real et al. 2019, in outline: the best are kept, none by age.
    """
    def rule(tried: Sequence[Tried], rng: np.random.Generator) -> tuple[int, ...]:
        if len(tried) < first:
            return at_random(space)(tried, rng)
        best = sorted(tried, key=lambda one: one.reward)[:PARENTS]
        parent = np.array(best[rng.integers(len(best))].widths) / np.array(space.most)
        return space.filled(parent * np.exp(0.3 * rng.standard_normal(len(parent))))                            # (N102)

    return rule


def by_price(space: Space, curves: Sequence[Curve]) -> Rule:
    """The widths that the layers' curves allocate (W10), with one exponent after another, then changes of the best."""
    def rule(tried: Sequence[Tried], rng: np.random.Generator) -> tuple[int, ...]:
        if len(tried) < len(EXPONENTS):
            return tuple(allocate(curves, space.size, space.budget, whole=space.most,
                                  balance_exponent=EXPONENTS[len(tried)]))
        return by_evolution(space)(tried, rng)

    return rule


def search(rule: Rule, reward: Callable[[tuple[int, ...]], float], tries: int, rng: np.random.Generator) -> list[Tried]:
    """All that a rule tries, in order; widths that it proposes again cost a try and are not trained again."""
    whole("width search", 1, tries=tries)
    tried, known = list[Tried](), dict[tuple[int, ...], float]()
    for _ in range(tries):
        widths = rule(tried, rng)
        if widths not in known:
            known[widths] = reward(widths)
        tried.append(Tried(widths, known[widths]))
    return tried
