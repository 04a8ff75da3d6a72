"""What the loss of a neuron costs its layer when the others make up for it, and the penalty that follows from it: the
adaptive group lasso.

The plain group lasso (W1) shrinks what it keeps, the more the larger its penalty must be to get rid of the rest, and of
inputs that go together it keeps a thin grid. A neuron that carries much should feel little of the penalty. Derivation
and measurement: docs/6-layer-wise.md.
"""

from __future__ import annotations

import numpy as np

from npkd.core.types import Array
from npkd.sparsity.elimination import Reader, eliminate
from npkd.sparsity.group_lasso import LOOSE, Problem, Solution, refit
from npkd.sparsity.statistics import Statistics

FLOOR = 1e-6
"""Least harm, relative to the largest: costs stay within six digits."""


TRIES = 60
"""Steps of a factor 1.5 on the way to where so many neurons stay; what they leave is found by bisection."""


def saliency(statistics: Statistics, neurons: int, ridge: float) -> Array:
    """By how much the error of a layer rises when a neuron goes and all that are left are fitted again.

        E_j = ½ ‖W_{:,j}‖² / [A⁻¹]_jj,   W the least squares on the neurons that are left, A of these       (W15)

    1/[A⁻¹]_jj is the part of neuron j's variance that the others do not explain. The neuron with the least harm goes,
    then the next, until so many ``neurons`` are left, of which each has the harm that it would do as the next one; none
    has less than one that went before it. So of two that can stand in for one another one has little and the other
    much. ``ridge`` is added to A, relative to the mean variance.
    Returns (d,) float64. Source: Hassibi & Stork 1993 for single weights, here for all that leave a neuron.
    """
    d = len(statistics.A)
    reader = Reader.of(statistics, np.arange(d), ridge)
    kept, gone, rises = eliminate([reader], d, min(max(neurons, 1), d))
    found = np.empty(d)
    found[gone] = np.maximum.accumulate(rises)
    found[kept] = np.maximum(reader.saliencies(kept), rises.max(initial=0.0))                                 # (W15)
    return found


def adaptive(statistics: Statistics, neurons: int, ridge: float) -> Problem:
    """The problem (W1) in which a neuron costs the more the less harm its loss does, on the way to so many ``neurons``.

        c_j = max_i E_i / E_j                                                         (W16)

    Source: the adaptive lasso of Zou 2006, there with the size of a weight in the place of E.
    """
    found = saliency(statistics, neurons, ridge)
    top = float(found.max(initial=0.0)) or 1.0
    return Problem(statistics, top / np.maximum(found, FLOOR * top))                                      # (W16)


def most_useful(statistics: Statistics, neurons: int, ridge: float) -> tuple[Solution, float]:
    """The certified solution of the adaptive problem that keeps so many neurons, and its λ_max.

    Raises InputError where not even one neuron may stay.
    """
    problem = adaptive(statistics, neurons, ridge)
    if neurons >= problem.d:
        return problem.everything(), problem.lambda_max
    return problem.keep(neurons, around(problem, neurons, ridge)), problem.lambda_max


def around(problem: Problem, neurons: int, ridge: float) -> list[Solution]:
    """Loose solutions, falling in λ, on both sides of where so many neurons stay.

    The search begins at the least squares, since most rounds keep nearly all, with the λ at which so many would stay if
    each neuron was alone with what the others do not explain of it: E_j ≤ ½ λ c_j ‖W_{:,j}‖.
    """
    w, _ = refit(problem.statistics, np.arange(problem.d), ridge)
    weight = np.linalg.norm(w[:, problem.alive], axis=0) * problem.cost * problem.sigma
    alone = np.sort(2 * saliency(problem.statistics, problem.d, ridge)[problem.alive]
                    / np.maximum(weight, 1e-300))[::-1]
    at = min(max(neurons, 1), len(alone)) - 1
    lam = max(float(alone[at]) if len(alone) else 0.0, 1e-12 * problem.lambda_max, 1e-300)
    found = [problem.solve(lam, w, tolerance=LOOSE)]
    for _ in range(TRIES):
        if len(found[0].kept) > neurons:
            found.insert(0, problem.solve(1.5 * found[0].lam, found[0].w, tolerance=LOOSE))
        elif len(found[-1].kept) <= neurons and found[-1].lam > 1e-12 * problem.lambda_max:
            found.append(problem.solve(found[-1].lam / 1.5, found[-1].w, tolerance=LOOSE))
    return found
