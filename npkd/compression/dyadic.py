"""Weights from a few dyadic rationals: a product is then a few shifts and additions. docs/book/23-low-complexity.md.

The 0-1 programme in Frobenius norm is Cintra et al. 2018; the same in output space, from statistics, is our own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from npkd.core.linalg import inner_product, product
from npkd.core.types import Array, Batch, Objective
from npkd.core.validation import InputError, floats, positive, whole
from npkd.nn.network import Network
from npkd.nn.optimisers import Optimiser
from npkd.nn.training import TrainingSettings, train
from npkd.sparsity.collect import collect_statistics, matrix
from npkd.sparsity.statistics import Statistics

SIGNS, HALVES, QUARTERS = (-1.0, 0.0, 1.0), (-1.0, -0.5, 0.0, 0.5, 1.0), (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)
"""Levels that need no addition of their own: 0 and powers of two. (With ±3/4 QUARTERS is dyadic(2).)"""

RIDGE = 1e-2
"""ρ of (N5), relative to the mean diagonal of A: it decides where the data says nothing, and leaves W there."""

STEP, TURNS = 1.1, 5
"""Of the search for a scale: from one to the next; how often weights and scale take turns at most."""

SHARES = (0.5, 0.75, 0.875, 1.0)
"""Part of each layer's weights that is on the grid in the stages of ``gradual``, as Zhou et al. 2017 have it."""


def dyadic(bits: int) -> tuple[float, ...]:
    """Dyadic rationals with that many fractional bits, −1 … 1, ascending; bits 0 … 16.

        D_b = {a/2^b : a whole, |a| ≤ 2^b}                                            (N20)
    """
    whole("dyadic", 0, 16, bits=bits)
    return tuple((np.arange(-2 ** bits, 2 ** bits + 1) / 2 ** bits).tolist())                                   # (N20)


def nearest(w: Array, levels: Sequence[float], scale: float = 1.0) -> Array:
    """The solution of the 0-1 programme: every weight becomes the nearest of the levels times the scale.

        min_{T ∈ (αD)^{m×d}} ‖W − T‖²_F,   T_ij = argmin_{d ∈ αD} (w_ij − d)²             (N21)

    w any shape, floats -> the same shape and dtype; of two equally near levels the smaller. Raises InputError for levels
    that are not ascending and a scale that is not positive.
    """
    floats("nearest", w=w)
    grid = np.asarray(levels, np.float64)
    if not len(grid) or not np.isfinite(grid).all() or (np.diff(grid) <= 0).any():
        raise InputError(f"nearest: levels are {list(levels)[:5]}; they must be finite numbers, ascending, at least one")
    positive("nearest", "scale", scale)
    at = np.searchsorted((grid[:-1] + grid[1:]) / 2 * scale, w)                                                 # (N21)
    return (grid * scale).astype(w.dtype)[at]


def frobenius_scale(w: Array, levels: Sequence[float]) -> float:
    """The scale of the best grid for a matrix, exactly: the global minimum over the scale and all T.

        min_{α > 0, T ∈ D^{m×d}} ‖W − αT‖²_F = ‖W‖² − max_T ⟨W, T⟩²/‖T‖²,   α = ⟨W, T⟩/‖T‖²      (N22)

    The best T for some α is the rounding of W/α: as α grows, it changes one weight at a time, at α = w/m for each m in
    the middle of two levels, and both sums go along. 1 where no T helps. Raises InputError for too many levels.
    """
    grid, w = np.asarray(levels, np.float64), w.astype(np.float64).ravel()
    nearest(w[:0], levels)                                                                     # are they ascending?
    middle, rise, square = (grid[:-1] + grid[1:]) / 2, np.diff(grid), np.diff(grid * grid)
    if w.size * len(middle) > 2e7:
        raise InputError(f"dyadic: {len(grid)} levels for {w.size} weights; the search for a scale takes 2e7 of both at "
                         "most: leave the scale out, which hardly matters on so fine a grid")
    ends = np.where(w > 0, grid[-1], grid[0])                                                  # of T for a small α
    at, first, second = [], [[w @ ends]], [[ends @ ends]]
    for sign in (1, -1):
        part, k = w[sign * w > 0], np.flatnonzero(sign * middle > 0)
        at.append((part[:, None] / middle[k]).ravel())
        first.append(np.outer(part, -sign * rise[k]).ravel())
        second.append(np.broadcast_to(-sign * square[k], (len(part), len(k))).ravel())
    order = np.concatenate([[0], 1 + np.argsort(np.concatenate(at), kind="stable")])
    along, size = (np.cumsum(np.concatenate(sums)[order]) for sums in (first, second))
    inside = (along > 0) & (size > 1e-9 * size[0])
    if not inside.any():
        return 1.0
    best = np.where(inside, along, 0) ** 2 / np.where(inside, size, 1)
    return float(along[best.argmax()] / size[best.argmax()])                                                    # (N22)


def compensated(A: Array, w: Array, levels: Sequence[float], scale: float) -> Array:
    """Rounding of one input after the other, the largest first; those to come make up for the error, row by row.

        t_oj = nearest(w_oj),   w_o,k>j ← w_o,k>j − (w_oj − t_oj) U_jk/U_jj,   A⁻¹ = UᵀU, U upper triangular     (N23)

    w (m, d) the least squares solution. Source: Frantar & Alistarh 2022 with one order for all rows.
    """
    order = np.argsort(-np.diag(A), kind="stable")
    U = linalg.cholesky(linalg.inv(A[np.ix_(order, order)]))
    left, t = np.ascontiguousarray(w[:, order].T), np.empty_like(w)
    for j, column in enumerate(order):
        t[:, column] = nearest(left[j], levels, scale)
        left[j + 1:] -= np.outer(U[j, j + 1:] / U[j, j], left[j] - t[:, column])                                # (N23)
    return t


def descend(A: Array, c: Array, t: Array, levels: Sequence[float], scale: float) -> Array:
    """Coordinate descent until no change of a single weight makes ⟨T, TA⟩ − 2⟨T, c⟩ smaller, all rows at once.

        t_oj ← nearest(t_oj + g_oj/A_jj),   g = c − TA                                (N24)

    A (d, d) positive definite   c (m, d)   t (m, d) on the grid -> another, not worse. It ends: there are finitely many.
    """
    t, g, grid = t.copy(), c - product(t, A), np.asarray(levels) * scale
    middle, moving = (grid[:-1] + grid[1:]) / 2, True
    while moving:
        moving = False
        for j, a in enumerate(np.diag(A)):
            step = grid[np.searchsorted(middle, t[:, j] + g[:, j] / a)] - t[:, j]                               # (N24)
            rows = np.flatnonzero(step * (2 * g[:, j] - a * step) > 1e-9 * a * scale ** 2)     # what that gains
            if len(rows):
                moving = True
                t[rows, j] += step[rows]
                g[rows] -= np.outer(step[rows], A[j])
    return nearest(t, levels, scale)


def output_space(statistics: Statistics, w: Array, levels: Sequence[float], *, scale: float | None = None,
                 ridge: float = RIDGE) -> tuple[Array, float]:
    """The 0-1 programme in output space: weights on the grid whose outputs are nearest to the targets.

        min_{T ∈ (αD)^{m×d}} 1/N ‖Z − 1bᵀ − HTᵀ‖²_F + ρ ‖W − T‖²_F = ⟨T, TA'⟩ − 2⟨T, c⟩ + const,
        A' = A/N + ρI,   c = Cᵀ/N + ρW                                                (N25)

    The better one of (N21) and (N23) is improved by (N24), in turns with the best scale of what it gives,

        α ← α ⟨T, c⟩/⟨T, TA'⟩                                                         (N26)

    Never worse than nearest rounding (N21), (N22), with ridge or without: that one has the least ‖W − T‖.

    w (m, d) float64   scale  α of the grid; None: that of (N22), then (N26)   ridge  ρ relative to the mean of A_jj/N
    Returns T (m, d) and α.
    """
    A, C, _ = statistics.normalised()
    rho, best = ridge * float(np.trace(A)) / len(A) + 1e-300, scale is None
    scale = frobenius_scale(w, levels) if scale is None else scale
    A, c = A + rho * np.eye(len(A)), C.T + rho * w                                                              # (N25)

    def value(t: Array) -> float:
        return inner_product(t, product(t, A)) - 2 * inner_product(t, c)

    solution = linalg.solve(A, c.T, assume_a="pos").T
    t, wider = nearest(w, levels, scale), scale
    while value(new := compensated(A, solution, levels, wider)) < value(t):
        t, scale, wider = new, wider, wider * STEP
        if not best:
            break
    for _ in range(TURNS):
        before, t = t, descend(A, c, t, levels, scale)
        along = inner_product(t, c)
        if not best or along <= 0 or (t == before).all():
            break
        factor = along / inner_product(t, product(t, A))                                                        # (N26)
        scale, t = scale * factor, t * factor
    return t, scale
