"""How the layer-wise problem is descended: block coordinate steps that find which neurons are zero, Newton steps for
the rest.

    F(v) = ½⟨v, A v⟩ − ⟨v, C⟩ + Σ_j κ_j ‖v_j‖,    v (k, m), a row for each neuron, A_jj = 1

Neither step raises F. Alone each is slow: coordinate steps creep along correlated neurons, and Newton's method cannot
leave zero, where F has a kink. Derivation and measurement: docs/6-layer-wise.md.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas, lapack

from npkd.core.linalg import inner_product, product
from npkd.core.types import Array

BLOCK = 32
"""Rows whose steps are gathered before the other rows hear of them: one product instead of many rank-one updates."""


DAMPING = 1e-8
"""The least that a Newton step adds to the curvature of F along each row, where A_jj = 1."""


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
            size, bound = blas.dnrm2(u), kappa[start + j]
            if size > bound:
                u *= 1 - bound / size                                                 # (W8)
            elif v_j.any():
                u[:] = 0
            else:
                continue
            blas.dger(-1.0, u - v_j, inner[j], a=local.T, overwrite_a=1)           # in place: local_k −= A_jk (u − v_j)
            v_j[:] = u
            moved = True
        if moved:
            gradient -= product(A[:, rows], v[rows] - before)


def newton(A: Array, kappa: Array, v: Array, gradient: Array, damping: float = 0.0) -> Array:
    """v after one Newton step over its rows, all different from zero; ``gradient`` is G = C − A v. Rows may become
    zero.

        H[d]_j = (A d)_j + β_j (d_j − v̂_j ⟨v̂_j, d_j⟩) = G_j − κ_j v̂_j,   β_j = κ_j/‖v_j‖,   v̂_j = v_j/‖v_j‖     (W9)

    H is M = A + diag β, the same for every column, less one direction v̂_j in each row, so that it is inverted in
    closed form (Woodbury): with y = M⁻¹ r for the right side r, and q_j = ⟨v̂_j, y_j⟩,

        K = diag(1/β) − M⁻¹ ∘ (v̂ v̂ᵀ),   K a = q,   d = M⁻¹ (r + diag(a) v̂)                                      (W12)

    at the cost of a few products. ``damping`` is added to the curvature along every v̂_j: where neurons depend on one
    another there is none. The step is not taken in v, where the norm has a kink at zero, but in the point u whose soft
    threshold v is. There a row turns, and vanishes, as it should:

        u_j = v_j + κ_j v̂_j + d_j + β_j (d_j − v̂_j ⟨v̂_j, d_j⟩),   v_j ← max(1 − κ_j/‖u_j‖, 0) u_j               (W20)

    Source of (W20): Robinson 1992, whose normal map this is Newton's method on.
    """
    norms = np.sqrt(row_products(v, v))
    unit, beta = v / norms[:, None], kappa / norms
    inverse = inverse_of(A + np.diag(beta))
    right = gradient - kappa[:, None] * unit                                          # (W9)  −∇F
    q = row_products(unit, product(inverse, right))
    K = -inverse * product(unit, unit.T)
    K[np.diag_indices_from(K)] += (1 + max(damping, DAMPING) / beta) / beta
    _, a, fault = lapack.dposv(K, q)                                                  # (W12)
    d = product(inverse, right + a[:, None] * unit if not fault else right)    # (W12); without a: M bounds H from above
    u = v + d + kappa[:, None] * unit + beta[:, None] * (d - row_products(unit, d)[:, None] * unit)
    there = group_threshold(u, kappa)                                                       # (W20)
    d = there - v
    alpha = step_length(kappa, v, d, inner_product(d, gradient), inner_product(d, product(A, d)))
    return there if alpha == 1 else v + alpha * d


def group_threshold(u: Array, kappa: Array) -> Array:
    """max(1 − κ_j/‖u_j‖, 0) u_j for every row j of u (k, m): the proximal step (P5) of Σ_j κ_j ‖u_j‖."""
    return np.asarray(u * np.maximum(1 - kappa / np.sqrt(np.maximum(row_products(u, u), 1e-300)), 0)[:, None])


def row_products(a: Array, b: Array) -> Array:
    """⟨a_j, b_j⟩ for every row j of two matrices of one shape."""
    return np.asarray(np.einsum("ij,ij->i", a, b))


def inverse_of(M: Array) -> Array:
    """The inverse of a positive definite M (k, k), by Cholesky: many products with it follow, which are faster than
    many solves."""
    factor, fault = lapack.dpotrf(M, lower=1)
    if fault:
        raise np.linalg.LinAlgError("descent: the layer's second moments are not positive definite")
    half = np.tril(lapack.dpotri(factor, lower=1)[0])
    return np.asarray(half + np.tril(half, -1).T)


def step_length(kappa: Array, v: Array, d: Array, slope: float, curvature: float) -> float:
    """The largest of 1, ½, ¼, … by which v + αd lowers F by a part of what its slope promises; 0 where d does not lead
    down.

        φ(α) − φ(0) = −α⟨d, G⟩ + ½α²⟨d, A d⟩ + Σ_j κ_j (2α⟨v_j, d_j⟩ + α²‖d_j‖²)/(‖v_j + αd_j‖ + ‖v_j‖)
                    ≤ 10⁻³ α φ'(0)                                                    (W13)

    ``slope`` is ⟨d, G⟩, ``curvature`` ⟨d, A d⟩; the rows of v are not zero. O(k) an evaluation, once ⟨v_j, d_j⟩ and
    ‖d_j‖² are there.
    Source: Armijo 1966.
    """
    norms, vd, dd = np.sqrt(row_products(v, v)), row_products(v, d), row_products(d, d)
    start = float((kappa * vd / norms).sum()) - slope
    if start >= 0:
        return 0.0
    alpha = 1.0
    for _ in range(60):
        more = 2 * alpha * vd + alpha ** 2 * dd
        change = (kappa * more / (np.sqrt(np.maximum(norms ** 2 + more, 0)) + norms)).sum()
        if -alpha * slope + 0.5 * alpha ** 2 * curvature + float(change) <= 1e-3 * alpha * start:                # (W13)
            return alpha
        alpha /= 2
    return 0.0
