"""Saliency of a neuron: the rise of the error without it when all others are fitted again; and the adaptive group
lasso, whose costs follow from it. Derivation and measurement: docs/6-layer-wise.md."""

from __future__ import annotations

import numpy as np

from npkd.core.types import Array
from npkd.sparsity.elimination import Elimination
from npkd.sparsity.group_lasso import Problem, Solution
from npkd.sparsity.neuron_search import keep
from npkd.sparsity.statistics import Statistics

FLOOR = 1e-6
"""Least saliency, relative to the largest: costs stay within six digits."""

FIRST = 4.0
"""λ at which the search begins, relative to the least estimate of the kept neurons, which shrinkage makes too small."""


def saliency(statistics: Statistics, neurons: int, ridge: float) -> Array:
    """Rise of a layer's error when a neuron is removed and all others are fitted again: (d,) float64.

        E_j = ½ ‖W_{:,j}‖² / [A⁻¹]_jj,   W the least squares on the neurons that are left, A of these       (W15)

    1/[A⁻¹]_jj is the part of neuron j's variance that the others do not explain. The neuron of least saliency goes,
    then the next, until ``neurons`` are left; none has less than one that went before it. ``ridge`` is added to A,
    relative to the mean variance. Source: Hassibi & Stork 1993 for single weights, here for all that leave a neuron.
    """
    return saliencies_of(Elimination.of(statistics, neurons, ridge))


def saliencies_of(elimination: Elimination) -> Array:
    """(W15) of all neurons, eliminated or left."""
    rises = elimination.rises
    values = np.empty(len(elimination.kept) + len(rises))
    values[elimination.gone] = np.maximum.accumulate(rises)
    values[elimination.kept] = np.maximum(elimination.saliencies, rises.max(initial=0.0))                     # (W15)
    return values


def adaptive(statistics: Statistics, neurons: int, ridge: float) -> Problem:
    """The problem (W1) with costs (W16) from the saliencies on elimination to ``neurons``."""
    return Problem(statistics, costs(saliency(statistics, neurons, ridge)))


def costs(saliencies: Array) -> Array:
    """Costs of the neurons, at least 1 and at most 1/FLOOR.

        c_j = max_i E_i / E_j                                                         (W16)

    Source: the adaptive lasso of Zou 2006, which has the size of a weight in the place of E.
    """
    top = float(saliencies.max(initial=0.0)) or 1.0
    return np.asarray(top / np.maximum(saliencies, FLOOR * top))                                              # (W16)


def most_useful(statistics: Statistics, neurons: int, ridge: float) -> tuple[Solution, float]:
    """The solution of the adaptive problem that keeps so many neurons, with its certificate, and its λ_max.

    The search begins at the least squares on the neurons that elimination leaves, and FIRST times the least λ with
    E_j = ½ λ c_j ‖W_{:,j}‖ for one of them. Raises InputError for less than one neuron.
    """
    elimination = Elimination.of(statistics, neurons, ridge)
    values, kept = saliencies_of(elimination), elimination.kept
    cost = costs(values)
    problem = Problem(statistics, cost)
    if neurons >= problem.d:
        return problem.everything(), problem.lambda_max
    w = np.zeros((problem.m, problem.d))
    w[:, kept] = elimination.w.T
    weight = cost[kept] * np.linalg.norm(w[:, kept], axis=0)
    alone = 2 * values[kept] / np.maximum(weight, 1e-300)
    lam = FIRST * float(alone[weight > 0].min(initial=np.inf))
    return keep(problem, neurons, w, lam), problem.lambda_max
