"""How the layer-wise problem is descended: block coordinate steps that find which neurons are zero, Newton steps for the rest.

    F(v) = ½⟨v, A v⟩ − ⟨v, C⟩ + Σ_j κ_j ‖v_j‖,    v (k, m), a row for each neuron, A_jj = 1

Both steps lower F, so that their alternation does. Alone each is slow: coordinate steps creep along correlated neurons, and Newton's
method cannot leave or enter zero, where F has a kink. Derivation and measurement: docs/6-layer-wise.md.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import lapack

from npkd.arrays import Array
from npkd.blas import inner_product, product

BLOCK = 32
"""Rows whose steps are gathered before the other rows hear of them: one product instead of many rank-one updates."""


DAMPING = 1e-3
"""What is added to a Newton system, relative to 1/β: where inputs depend on one another it is singular."""


def sweep(A: Array, kappa: Array, v: Array, gradient: Array) -> None:
    """One exact minimisation over each row in turn, in place; ``gradient`` G = C − A v is kept up to date.

        v_j ← max(1 − κ_j/‖u_j‖, 0) · u_j,   u_j = v_j + G_j                          (W8)

    A (k, k)   kappa (k,)   v (k, m)   gradient (k, m), contiguous float64.
    Source: Yuan & Lin 2006, whose closed form holds because the quadratic in one row is A_jj ‖·‖².
    """
    for start in range(0, len(v), BLOCK):
        rows = slice(start, start + BLOCK)
        before, local, inner = v[rows].copy(), gradient[rows].copy(), A[rows, rows]
        moved = False
        for j in range(len(before)):
            v_j = v[start + j]
            u = v_j + local[j]
            size, bound = math.sqrt(u @ u), kappa[start + j]
            if size > bound:
                u *= 1 - bound / size                                                 # (W8)
            elif v_j.any():
                u[:] = 0
            else:
                continue
            local -= inner[j, :, None] * (u - v_j)
            v_j[:] = u
            moved = True
        if moved:
            gradient -= product(A[:, rows], v[rows] - before)


def newton(A: Array, kappa: Array, v: Array, gradient: Array) -> Array:
    """v after one Newton step over its rows, all different from zero; ``gradient`` is G = C − A v.

        H[d]_j = (A d)_j + β_j (d_j − v̂_j ⟨v̂_j, d_j⟩) = G_j − κ_j v̂_j,   β_j = κ_j/‖v_j‖,   v̂_j = v_j/‖v_j‖       (W9)

    H is M = A + diag β, the same for every column, less one direction v̂_j in each row, so that it is inverted in closed form
    (Woodbury): with y = M⁻¹ r for the right side r, and q_j = ⟨v̂_j, y_j⟩,

        K = diag(1/β) − M⁻¹ ∘ (v̂ v̂ᵀ),   K a = q,   d = M⁻¹ (r + diag(a) v̂)                                      (W12)

    at the cost of a few products. How far to go along d costs O(k) an evaluation.
    """
    norms = np.sqrt(np.einsum("ij,ij->i", v, v))
    unit, beta = v / norms[:, None], kappa / norms
    inverse = inverse_of(A + np.diag(beta))
    right = gradient - kappa[:, None] * unit                                          # (W9)  −∇F
    q = np.einsum("ij,ij->i", unit, product(inverse, right))
    K = -inverse * product(unit, unit.T)
    K[np.diag_indices_from(K)] += (1 + DAMPING) / beta
    _, a, fault = lapack.dposv(K, q)                                                  # (W12)
    d = product(inverse, right + a[:, None] * unit if not fault else right)           # (W12); without a: M bounds H from above
    Ad = product(A, d)
    alpha = line_minimum(kappa, v, d, norms, inner_product(d, gradient), inner_product(d, Ad))
    return v + alpha * d


def inverse_of(M: Array) -> Array:
    """The inverse of a positive definite M (k, k), by Cholesky: many products with it follow, which are faster than many solves."""
    factor, fault = lapack.dpotrf(M, lower=1)
    if fault:
        raise np.linalg.LinAlgError("descent: the layer's second moments are not positive definite")
    half = np.tril(lapack.dpotri(factor, lower=1)[0])
    return np.asarray(half + np.tril(half, -1).T)


def line_minimum(kappa: Array, v: Array, d: Array, norms: Array, slope: float, curvature: float) -> float:
    """A step α along d that lowers F, and by which most of the slope is used up; 0 where d does not lead down.

        φ'(α) = −⟨d, G⟩ + α⟨d, A d⟩ + Σ_j κ_j ⟨d_j, v_j + αd_j⟩/‖v_j + αd_j‖          (W13)

    ``slope`` is ⟨d, G⟩, ``curvature`` ⟨d, A d⟩. From 1, α is doubled while more than a tenth of the slope is left. F is convex along d, so φ'
    rises, and φ(α) − φ(0) ≤ ½α (φ'(α/2) + φ'(α)): α is halved until the right side is not above 0.
    """
    vd, dd = np.einsum("ij,ij->i", v, d), np.einsum("ij,ij->i", d, d)

    def derivative(alpha: float) -> float:
        there = np.sqrt(np.maximum(norms ** 2 + 2 * alpha * vd + alpha ** 2 * dd, 1e-300))
        return -slope + alpha * curvature + float((kappa * (vd + alpha * dd) / there).sum())     # (W13)

    alpha, start = 1.0, derivative(0.0)
    if start >= 0:
        return 0.0
    while derivative(alpha) < 0.1 * start and alpha < 1e6:
        alpha *= 2
    for _ in range(60):
        if derivative(alpha / 2) + derivative(alpha) <= 0:
            return alpha
        alpha /= 2
    return 0.0
