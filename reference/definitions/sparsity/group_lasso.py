"""The definitions of npkd/sparsity/group_lasso.py and group_lasso_steps.py: objectives, dual points and gaps on raw
data, by loops and sums.

    h (N, d)   z (N, m)   w (m, d)   cost (d,)

A group is a column of w: all weights that leave one input neuron.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from reference.definitions.sparsity.statistics import means, residual, square

Array = NDArray[np.float64]


def outgoing(w: Array, j: int) -> float:
    """‖W_{:,j}‖₂."""
    return math.sqrt(sum(float(w[k, j]) ** 2 for k in range(len(w))))


def objective(h: Array, z: Array, w: Array, lam: float, cost: Array, rho: float = 0.0) -> float:
    """The penalised objective, with the best bias, and the elastic term ½ ρ Σ_j ‖W_{:,j}‖²."""
    penalty = sum(cost[j] * outgoing(w, j) for j in range(w.shape[1]))
    elastic = rho / 2 * sum(outgoing(w, j) ** 2 for j in range(w.shape[1]))     # (W22)
    return square(residual(h, z, w)) / (2 * len(h)) + lam * float(penalty) + elastic     # (W1)


def correlations(h: Array, r: Array) -> list[float]:
    """‖Σ_n (h_nj − h̄_j) r_n‖₂ / N for every input neuron j and a residual r (N, m)."""
    N, mean = len(h), means(h)
    return [math.sqrt(sum((sum((h[n, j] - mean[j]) * r[n, k] for n in range(N)) / N) ** 2 for k in range(r.shape[1])))
            for j in range(h.shape[1])]


def lambda_max(h: Array, z: Array, cost: Array) -> float:
    """The smallest λ at which every neuron is zero."""
    sizes = correlations(h, residual(h, z, np.zeros((z.shape[1], h.shape[1]))))
    return float(max(size / c for size, c in zip(sizes, cost, strict=True)))     # (W3)


def dual_point(h: Array, z: Array, w: Array, lam: float, cost: Array) -> Array:
    """The residual, scaled: by what makes the dual objective largest, as far as it stays feasible (N, m).

    Feasible is Θ with ‖Σ_n (h_nj − h̄_j) θ_n‖/N ≤ λ c_j for every j.
    """
    r, y = residual(h, z, w), residual(h, z, np.zeros_like(w))
    bounds = [lam * c / size for size, c in zip(correlations(h, r), cost, strict=True) if size > 0]
    best = sum(float(y[k] * r[k]) for k in np.ndindex(r.shape)) / square(r)
    largest = min(bounds, default=math.inf)
    return min(max(best, -largest), largest) * r     # (W4)


def dual(h: Array, z: Array, theta: Array) -> float:
    """The dual objective: ‖Y‖²/(2N) − ‖Y − Θ‖²/(2N), Y the centred targets."""
    y = residual(h, z, np.zeros((z.shape[1], h.shape[1])))
    return (square(y) - square(y - theta)) / (2 * len(h))     # (W4)


def gap(h: Array, z: Array, w: Array, lam: float, cost: Array) -> float:
    """Primal minus dual objective at the scaled residual, relative to the objective at W = 0."""
    value = objective(h, z, w, lam, cost) - dual(h, z, dual_point(h, z, w, lam, cost))
    return value / objective(h, z, np.zeros_like(w), lam, cost)     # (W4)


def proved(h: Array, z: Array, w: Array, lam: float, cost: Array) -> list[bool]:
    """Which neurons lie outside of the sphere, around the dual point, that holds the dual solution; constant ones
    always do."""
    distance = math.sqrt(2 * max(gap(h, z, w, lam, cost) * objective(h, z, np.zeros_like(w), lam, cost), 0.0))
    sizes, mean = correlations(h, dual_point(h, z, w, lam, cost)), means(h)
    spread = [math.sqrt(sum((h[n, j] - mean[j]) ** 2 for n in range(len(h))) / len(h)) for j in range(h.shape[1])]
    return [size + distance * s < lam * c for size, s, c in zip(sizes, spread, cost, strict=True)]     # (W6)


def refit_objective(h: Array, z: Array, w: Array, kept: list[int], ridge: float) -> float:
    """What ``refit`` minimises over the weights of the kept neurons: squared error, and a ridge relative to their mean
    variance."""
    variances = [sum((h[n, j] - means(h)[j]) ** 2 for n in range(len(h))) / len(h) for j in kept]
    rho = ridge * float(sum(variances)) / len(kept)
    return square(residual(h, z, w)) / (2 * len(h)) + rho / 2 * sum(outgoing(w, j) ** 2 for j in kept)     # (W7)


def quadratic(A: Array, C: Array, kappa: Array, v: Array) -> float:
    """F(v) = ½⟨v, A v⟩ − ⟨v, C⟩ + Σ_j κ_j ‖v_j‖, what the solver minimises: v (k, m), a row for each neuron."""
    k, m = v.shape
    total = 0.0
    for c in range(m):
        for i in range(k):
            total -= v[i, c] * C[i, c]
            for j in range(k):
                total += 0.5 * v[i, c] * A[i, j] * v[j, c]
    return float(total) + float(sum(kappa[j] * outgoing(v.T, j) for j in range(k)))     # (W2)


def majorant(A: Array, C: Array, kappa: Array, v: Array, omega: Array) -> float:
    """½⟨v, A v⟩ − ⟨v, C⟩ + ½ Σ_j (‖v_j‖²/ω_j + κ_j² ω_j), ω > 0: never below F(v), and F(v) where ω_j = ‖v_j‖/κ_j."""
    parabolas = sum(outgoing(v.T, j) ** 2 / omega[j] + kappa[j] ** 2 * omega[j] for j in range(len(v)))
    return quadratic(A, C, np.zeros(len(v)), v) + float(parabolas) / 2     # (W9)
