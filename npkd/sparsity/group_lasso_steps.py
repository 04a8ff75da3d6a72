"""Steps of the solver of the layer-wise problem: coordinate sweeps, and Newton steps over one variance for each row.

    F(v) = ½⟨v, A v⟩ − ⟨v, C⟩ + Σ_j κ_j ‖v_j‖,    v (k, m), a row for each neuron, A_jj = 1

A norm is the smallest of many parabolas: κ‖v‖ = min_ω ½ (‖v‖²/ω + κ²ω) over ω ≥ 0, so F has the same minimum as

    f(ω) = ½ Σ_j κ_j² ω_j − ½⟨C, v(ω)⟩,   v(ω) = (A + diag 1/ω)⁻¹ C                   (W9)

which is smooth and convex in one variable for each neuron. Derivation: docs/book/9-layer-solver.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import blas, lapack

from npkd.core.linalg import inner_product, product
from npkd.core.types import Array
from npkd.core.validation import InputError

BLOCK = 32
"""Rows of a sweep whose steps reach the other rows together: one product instead of many rank-one updates."""

DAMPING, LARGEST = 1e-10, 1e12
"""Least part of the diagonal added to the second derivatives of f; largest ω, so that A + diag 1/ω is definite."""

ROUNDS = 10
"""Most factorisations that the active set of one step takes; from half of them on variables only leave it."""


def sweep(A: Array, kappa: Array, v: Array, gradient: Array) -> None:
    """One exact minimisation over each row in turn, in place; ``gradient`` G = C − A v is kept up to date.

        v_j ← max(1 − κ_j/‖u_j‖, 0) · u_j,   u_j = v_j + G_j                          (W8)

    A (k, k)   kappa (k,)   v (k, m)   gradient (k, m), contiguous float64.
    Source: Yuan & Lin 2006, whose closed form holds because the quadratic in one row is A_jj ‖·‖².
    """
    for start in range(0, len(v), BLOCK):
        rows = slice(start, start + BLOCK)
        before, local, inner = v[rows].copy(), gradient[rows].copy(), A[rows, rows]
        for j, (v_j, bound) in enumerate(zip(v[rows], kappa[rows], strict=True)):
            u = v_j + local[j]
            size = blas.dnrm2(u)
            if size > bound:
                u *= 1 - bound / size                                                 # (W8)
            elif v_j.any():
                u[:] = 0
            else:
                continue
            blas.dger(-1.0, u - v_j, inner[j], a=local.T, overwrite_a=1)  # in place: local_k −= A_jk (u − v_j)
            v_j[:] = u
        if (v[rows] != before).any():
            gradient -= product(A[:, rows], v[rows] - before)


@dataclass(frozen=True, eq=False)
class Point:
    """f at one ω, for every κ.

    omega (k,)       ω ≥ 0;   on (n,)  indices where it is positive
    v (k, m)         v(ω), zero where ω is;   gradient (k, m)  G = C − A v, whose rows are v_j/ω_j where ω_j > 0
    sizes (k,)       ‖G_j‖;   fit  ½⟨C, v⟩
    inverse (n, n)   (A + diag 1/ω)⁻¹ of the rows with ω_j > 0
    root (r, k)      where A = BᵀB has rank r, fewer than half the rows: E with EᵀE = A − A (A + diag 1/ω)⁻¹ A
    """

    omega: Array
    on: Array
    v: Array
    gradient: Array
    sizes: Array
    fit: float
    inverse: Array
    root: Array | None

    @staticmethod
    def of(A: Array, C: Array, omega: Array, factor: Array | None = None) -> Point:
        """The point at ω; ``factor`` B (r, k) with A = BᵀB where A is of low rank (Woodbury's formula)."""
        omega = np.minimum(omega, LARGEST)
        on, v = np.flatnonzero(omega > 0), np.zeros_like(C)
        inverse, root = np.zeros((0, 0)), None
        if factor is not None:
            root = triangular(np.eye(len(factor)) + product(factor[:, on] * omega[on], factor[:, on].T), factor)
            v[on] = omega[on, None] * (C[on] - product(root[:, on].T, product(root[:, on] * omega[on], C[on])))   # (W9)
        elif len(on):
            inverse = inverse_of(A[np.ix_(on, on)] + np.diag(1 / omega[on]))
            v[on] = product(inverse, C[on])                                                                   # (W9)
        gradient = gradient_of(A, C, v, on)
        sizes = np.sqrt(row_products(gradient, gradient))
        return Point(omega, on, v, gradient, sizes, 0.5 * inner_product(C, v), inverse, root)

    def value(self, kappa: Array) -> float:
        """f(ω), (W9)."""
        return 0.5 * float(kappa ** 2 @ self.omega) - self.fit                                                # (W9)

    def hessian(self, A: Array, rows: Array) -> Array:
        """Second derivatives of f with respect to ω of ``rows``, those with ω_j > 0 among them.

            ∂f/∂ω_j = ½ (κ_j² − ‖G_j‖²),   ∂²f/∂ω² = T ∘ (G Gᵀ),   T = A − A (A + diag 1/ω)⁻¹ A               (W12)

        ∘ multiplies entry by entry; both factors are positive semi-definite, so their product is.
        """
        if self.root is not None:
            T = product(self.root[:, rows].T, self.root[:, rows])
        else:
            old, new, beta = self.omega[rows] > 0, rows[self.omega[rows] == 0], 1 / self.omega[self.on]
            T = self.inverse * -beta[:, None]
            T *= beta
            T[np.diag_indices_from(T)] += beta
            if len(new):
                across, inner, T = product(A[np.ix_(new, self.on)], self.inverse), T, np.empty((len(rows), len(rows)))
                T[np.ix_(old, old)] = inner
                T[np.ix_(~old, ~old)] = A[np.ix_(new, new)] - product(across, A[np.ix_(self.on, new)])
                across *= beta
                T[np.ix_(~old, old)], T[np.ix_(old, ~old)] = across, across.T
        T *= product(self.gradient[rows], self.gradient[rows].T)                                              # (W12)
        return T


def newton(point: Point, A: Array, kappa: Array, damping: float, neurons: int | None = None) -> tuple[Array, float]:
    """Where a Newton step on f leads from ``point``: the next ω (k,), and the factor by which κ changes.

        ω + s∘y,   y = argmin ½⟨y, H y⟩ − ⟨s∘p, y⟩ over ω + s∘y ≥ 0,   p = −∂f/∂ω,   H = ∂²f/∂ω²
        s_j² = 2 ‖G_j‖² / (κ_j (‖G_j‖ + κ_j))                                         (W13)

    s makes the step exact where neurons are independent of each other. ``damping``, relative to the diagonal, is added
    to it. With ``neurons`` κ is scaled by at most 4, so that so many rows of ω are positive after the step.
    """
    rows = np.flatnonzero((point.omega > 0) | (point.sizes > (kappa if neurons is None else 0.5 * kappa)))
    size, bound = np.maximum(point.sizes[rows], 1e-3 * kappa[rows]), kappa[rows]
    s = np.sqrt(2 * size ** 2 / (bound * (size + bound)))                                                     # (W13)
    p = 0.5 * s[:, None] * np.stack([point.sizes[rows] ** 2, bound ** 2], axis=1)    # s∘p = p₀ − τ p₁, τ a factor of κ²
    y, on, tau = bounded(point.hessian(A, rows), p, -point.omega[rows] / s, max(damping, DAMPING), neurons)
    omega = np.zeros_like(point.omega)
    omega[rows[on]] = (point.omega[rows] + s * y)[on]
    return np.maximum(omega, 0), float(np.sqrt(tau))


def bounded(H: Array, p: Array, low: Array, damping: float, neurons: int | None = None) -> tuple[Array, Array, float]:
    """The minimiser y ≥ low of ½⟨y, H y⟩ − ⟨p₀ − τ p₁, y⟩, where y > low (boolean), and τ: 1, or with ``neurons`` the
    one nearest to 1 for which so many y_j are above their bounds.

    H (k, k)   p (k, 2)   low (k,). By an active set, changed at all its places together until it stays. For a given
    set y is linear in τ, and a variable is at its bound where its term is not positive:

        y_j − low_j = a_j + b_j τ  of the free ones,   −(gradient)_j = a_j + b_j τ  of the others                 (W20)
    """
    diagonal, free, tau = np.diag(H) + 1e-300, np.ones(len(low), bool), 1.0
    for turn in range(ROUNDS):
        on, off, y, right = np.flatnonzero(free), np.flatnonzero(~free), np.zeros((len(low), 2)), p * (1, -1)
        across, y[off, 0] = H[off], low[off]
        right -= product(across.T, y[off])
        y[on] = damped(H[np.ix_(on, on)], right[on], damping * diagonal[on])
        slack = y - np.stack([low, np.zeros_like(low)], axis=1)                                                # (W20)
        slack[off] = p[off] * (1, -1) - product(across, y)                                                     # (W20)
        if neurons is not None:
            tau = threshold(slack[:, 0], slack[:, 1], neurons)
        above = slack[:, 0] + tau * slack[:, 1] > 0
        if turn >= ROUNDS // 2:
            above &= free
        if np.array_equal(above, free):
            break
        free = above
    return np.where(free, y[:, 0] + tau * y[:, 1], low), free, tau


def threshold(a: Array, b: Array, count: int) -> float:
    """The τ in (1/16, 16), nearest to 1, for which ``count`` of a_j + b_j τ are positive, or nearly so many."""
    if (a + b > 0).sum() == count:
        return 1.0
    turn = np.where(b != 0, -a / np.where(b != 0, b, 1), 0.0)
    falls, rises = np.sort(turn[b < 0]), np.sort(turn[b > 0])
    edges = np.r_[1 / 16, np.sort(turn[(turn > 1 / 16) & (turn < 16)]), 16.0]
    tau = np.sqrt(edges[:-1] * edges[1:])
    number = (a[b == 0] > 0).sum() + len(falls) - np.searchsorted(falls, tau) + np.searchsorted(rises, tau)
    off = np.abs(number - count)
    return float(min(tau[off == off.min()], key=lambda t: abs(np.log(t))))


def damped(H: Array, right: Array, damping: Array) -> Array:
    """(H + diag damping)⁻¹ right, with more damping where rounding makes that indefinite."""
    if not len(H):
        return np.zeros_like(right)
    for _ in range(12):
        H[np.diag_indices_from(H)] += damping
        _, solution, fault = lapack.dposv(H.T, right, lower=1)                         # symmetric: no copy in columns
        if not fault and np.isfinite(solution).all():
            return np.asarray(solution)
        damping = 100 * damping
    return np.zeros_like(right)


def group_threshold(u: Array, kappa: Array) -> Array:
    """max(1 − κ_j/‖u_j‖, 0) u_j for every row j of u (k, m): the proximal step (P5) of Σ_j κ_j ‖u_j‖."""
    return np.asarray(u * np.maximum(1 - kappa / np.sqrt(np.maximum(row_products(u, u), 1e-300)), 0)[:, None])


def row_products(a: Array, b: Array) -> Array:
    """⟨a_j, b_j⟩ for every row j of two matrices of one shape."""
    return np.asarray(np.einsum("ij,ij->i", a, b))


def gradient_of(A: Array, C: Array, v: Array, on: Array) -> Array:
    """G = C − A v for v (k, m) whose rows other than ``on`` are zero."""
    return np.asarray(C - product(A[on].T, v[on]))


def inverse_of(M: Array) -> Array:
    """The inverse of a positive definite M (k, k), by Cholesky. Raises InputError for others."""
    factor, fault = lapack.dpotrf(M, lower=1)
    if fault:
        raise InputError("group lasso: second moments are not positive definite: they are of no data, or need a ridge")
    half = lapack.dpotri(factor, lower=1, overwrite_c=1)[0]                                  # zero above the diagonal
    half = half.T + half
    half[np.diag_indices_from(half)] /= 2
    return np.asarray(half)


def triangular(M: Array, right: Array) -> Array:
    """L⁻¹ right for the Cholesky factor L of a positive definite M (r, r)."""
    return np.asarray(lapack.dtrtrs(lapack.dpotrf(M, lower=1)[0], right, lower=1)[0])


def low_rank(A: Array, rank: int) -> Array | None:
    """B (r, k) with A = BᵀB by pivoted Cholesky, where A has a rank of at most ``rank`` < k/2; else None."""
    if 2 * rank >= len(A):
        return None
    factor, order, r, _ = lapack.dpstrf(A, lower=0)
    B = np.zeros((r, len(A)))
    B[:, order - 1] = np.triu(factor[:r])
    return B
