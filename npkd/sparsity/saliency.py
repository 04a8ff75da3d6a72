"""Saliency of a neuron: the rise of the error without it when all others are fitted again; and the adaptive group
lasso, whose costs follow from it. Derivation: docs/book/10-layer-by-layer.md."""

from __future__ import annotations

import numpy as np

from npkd.core.types import Array
from npkd.sparsity.elimination import Elimination
from npkd.sparsity.group_lasso import Problem, Solution
from npkd.sparsity.neuron_search import keep
from npkd.sparsity.statistics import Statistics, refit

FLOOR = 1e-6
"""Least saliency, relative to the largest: costs stay within six digits."""

FIRST = 4.0
"""λ at which the search begins, relative to the least estimate of the kept neurons, which shrinkage makes too small."""


def saliencies(elimination: Elimination) -> Array:
    """Rise of a layer's error when a neuron is removed and all others are fitted again: (d,) float64.

        E_j = ½ ‖W_{:,j}‖² / [A⁻¹]_jj,   W the least squares on the neurons that are left, A of these       (W15)

    1/[A⁻¹]_jj is the part of neuron j's variance that the others do not explain. Of neurons that were eliminated E_j is
    that of their turn; none has less than one that went before it.
    Source: Hassibi & Stork 1993 for single weights, here for all that leave a neuron.
    """
    rises = elimination.rises
    values = np.empty(len(elimination.kept) + len(rises))
    values[elimination.gone] = np.maximum.accumulate(rises)
    values[elimination.kept] = np.maximum(elimination.saliencies, rises.max(initial=0.0))                     # (W15)
    return values


def costs(E: Array) -> Array:
    """Costs c (d,) of the neurons from their saliencies E (d,), at least 1 and at most 1/FLOOR.

        c_j = max_i E_i / E_j                                                         (W16)

    Source: the adaptive lasso of Zou 2006, which has the size of a weight in the place of E.
    """
    top = float(E.max(initial=0.0)) or 1.0
    return np.asarray(top / np.maximum(E, FLOOR * top))                                                       # (W16)


def most_useful(statistics: Statistics, neurons: int, ridge: float) -> tuple[Solution, float]:
    """The solution of the adaptive problem that keeps so many neurons, with its certificate, and its λ_max.

    The search begins at the least squares on the neurons that elimination leaves, and FIRST times the least λ with
    E_j = ½ λ c_j ‖W_{:,j}‖ for one of them. Raises InputError for less than one neuron.
    """
    elimination = Elimination.of(statistics, neurons, ridge)
    values, kept = saliencies(elimination), elimination.kept
    cost = costs(values)
    problem = Problem(statistics, cost)
    if neurons >= problem.d:
        w, b = refit(statistics, np.arange(problem.d))                            # the least squares on all, λ = 0
        proved, error = np.zeros(problem.d, bool), statistics.error(w)
        return Solution(0.0, w, b, np.arange(problem.d), proved, 0.0, error, 0), problem.lambda_max
    w = np.zeros((problem.m, problem.d))
    w[:, kept] = elimination.w.T
    weight = cost[kept] * np.linalg.norm(w[:, kept], axis=0)
    alone = 2 * values[kept] / np.maximum(weight, 1e-300)
    lam = FIRST * float(alone[weight > 0].min(initial=np.inf))
    return keep(problem, neurons, w, lam), problem.lambda_max
