"""One proximal step on a layer's neurons: the group lasso in the metric of the single neurons, in closed form.

Inputs that go together, as neighbouring pixels do, can stand in for one another, and the full problem (W1) then spreads its choice as thinly as
the data at hand allow. What training has found to lean on is a better guide there: the step starts from the trained weights and takes every
neuron by itself. Derivation and measurement: docs/6-layer-wise.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from npkd.arrays import Array
from npkd.errors import InputError
from npkd.sparsity.group_lasso import Problem, Solution
from npkd.sparsity.statistics import Statistics


def apart(statistics: Statistics, w: Array) -> Statistics:
    """The statistics there would be if no neuron went with another, and the targets were what the weights w (m, d) make of them.

        A' = diag A,   C' = A' Wᵀ,   t'_o = Σ_j A_jj w_oj²                                (W15)
    """
    variance = np.diag(statistics.A)
    return replace(statistics, A=np.diag(variance), C=variance[:, None] * w.T, t=w ** 2 @ variance)          # (W15)


def threshold(statistics: Statistics, w: Array, neurons: int) -> tuple[Solution, float]:
    """The proximal step from weights w (m, d) that keeps so many neurons, and the λ from which on it keeps none.

        min_V ½ Σ_j σ_j² ‖v_j − w_j‖² + λ Σ_j σ_j ‖v_j‖,   σ_j² = A_jj/N
        v_j = (1 − λ / (σ_j ‖w_j‖))₊ w_j                                                  (W16)

    It is (W1) with the statistics (W15) and costs c_j = σ_j, and has its certificate from there. λ lies half-way between the last neuron that
    stays and the first that goes; of equals the first stay. Neurons that nobody reads or that are constant never stay, but a layer keeps one.
    Raises InputError where not even one neuron may stay.
    """
    if neurons < 1:
        raise InputError(f"threshold: {neurons} neurons may stay; a layer needs at least one")
    sigma = np.sqrt(np.diag(statistics.A) / statistics.count)
    size = sigma * np.linalg.norm(w, axis=0)
    order = np.argsort(-size, kind="stable")
    kept = np.sort(order[:neurons][size[order[:neurons]] > 0])
    if not len(kept):
        kept = np.arange(1)
    lam = float(size[order[neurons - 1:neurons + 1]].mean()) if neurons < len(size) else 0.0
    v = np.zeros_like(w)
    v[:, kept] = w[:, kept] * np.maximum(1 - lam / np.maximum(size[kept], 1e-300), 0)                        # (W16)
    problem = Problem(apart(statistics, w), np.maximum(sigma, 1e-300))
    scaled = v.T[problem.alive] * problem.sigma[:, None]
    gap, alive_proved = problem.certificate(scaled, problem.gradient(scaled), lam)
    proved = np.ones(len(size), bool)
    proved[problem.alive] = alive_proved
    return Solution(lam, v, statistics.intercept(v), kept, proved, gap, problem.statistics.error(v), 1), float(size.max(initial=0.0))
