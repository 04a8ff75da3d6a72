"""The layer-wise problem, solved from statistics alone, with a certificate for every solution.

    min_{W,b}  1/(2N) ‖Z − 1bᵀ − H Wᵀ‖²_F  +  λ Σ_j c_j ‖W_{:,j}‖₂                    (W1)

One group for each input neuron j: all weights that leave it. In centred and normalised statistics, without the bias:

    P(W) = ½ r²(W) + λ Σ_j c_j ‖W_{:,j}‖₂,   r² = t − 2⟨W, Cᵀ⟩ + ⟨W, W A⟩             (W2)

Derivation: docs/book/8-layer-problem.md; how it is solved: docs/book/9-layer-solver.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from npkd.core.blas_threads import threads_for
from npkd.core.linalg import inner_product
from npkd.core.types import Array
from npkd.core.validation import InputError, positive
from npkd.sparsity.group_lasso_steps import Point, gradient_of, group_threshold, low_rank, newton, row_products, sweep
from npkd.sparsity.statistics import Statistics

TOLERANCE = 1e-6
"""Relative duality gap up to which a solution counts as certified."""

FLOOR = 1e-9
"""Least λ, relative to λ_max, at which a number of neurons is looked for."""

LOOSE, MISSES = 1e-2, 4
"""In a search for a number of neurons: largest gap at which λ changes; most certified points with another number."""

SMALLEST = 1e-280
"""Least variance of an input: below it squares underflow."""


@dataclass(frozen=True, eq=False)
class Solution:
    """A solution of (W1) and its certificate.

    w (m, d)    weights, float64, removed neurons exactly zero;   b (m,)  their best bias
    kept (k,)   indices of the neurons that stay
    proved (d,) True where the certificate proves the neuron zero at the exact optimum, (W6)
    gap         duality gap divided by the objective at W = 0; certified are gaps up to TOLERANCE
    error       relative error r²/t;   iterations  factorisations and sweeps
    reason      why fewer neurons stay than were asked for, or without a certificate; else empty
    """

    lam: float
    w: Array
    b: Array
    kept: Array
    proved: Array
    gap: float
    error: float
    iterations: int
    reason: str = ""


class Problem:
    """(W1) for given statistics and costs, ready for any λ.

    statistics    of the layer
    cost          c_j > 0: one number or (d,)
    ridge         ρ ≥ 0, relative to the mean variance of the inputs: (W1) with the elastic term

        + ½ ρ (tr A/d) Σ_j ‖W_{:,j}‖²                                                  (W22)

    The ridge is part of A, A + ρ (tr A/d) I, so the certificate is that of the elastic problem. Inputs are scaled to
    unit variance, with costs c_j/σ_j, which is the same problem; those of no variance (≤ SMALLEST) stay zero.
    Raises InputError for costs that do not fit, a negative ridge, and an input of no variance that covaries with one.
    """

    def __init__(self, statistics: Statistics, cost: float | Array = 1.0, ridge: float = 0.0) -> None:
        positive("group lasso", "ridge", ridge, zero=True)
        A, C, self.t = statistics.normalised()
        d = len(A)
        cost = np.broadcast_to(np.asarray(cost, np.float64), np.shape(cost) or (d,))
        if cost.shape != (d,) or not (cost > 0).all() or not np.isfinite(cost).all():
            raise InputError(f"group lasso: cost has shape {cost.shape}, values from {cost.min(initial=np.inf)} to "
                             f"{cost.max(initial=-np.inf)}; it needs {d} positive numbers")
        self.statistics = statistics
        variance = np.diag(A)
        self.constant = ~(variance > SMALLEST)
        self.alive = np.flatnonzero(~self.constant)
        if C[self.constant].any():
            raise InputError(f"group lasso: input {np.flatnonzero(self.constant & C.any(axis=1))[0]} has no variance "
                             f"and covaries with a target; scale inputs so that variances exceed {SMALLEST:g}")
        self.rho = ridge * float(variance.mean())
        self.sigma = np.sqrt(variance[self.alive] + self.rho)
        self.A = A[np.ix_(self.alive, self.alive)] / self.sigma[:, None] / self.sigma
        np.fill_diagonal(self.A, 1.0)                                       # with the ridge: (A_jj + ρ)/σ_j², (W22)
        self.C = C[self.alive] / self.sigma[:, None]
        self.cost = cost[self.alive] / self.sigma
        self.d, self.m = d, C.shape[1]
        self.factor = low_rank(self.A, statistics.count - 1) if ridge == 0 else None

    @property
    def lambda_max(self) -> float:
        """The smallest λ at which nothing is kept: max_j ‖C_j‖/c_j."""
        return float((np.linalg.norm(self.C, axis=1) / self.cost).max(initial=0.0))                     # (W3)

    def gradient(self, v: Array) -> Array:
        """G = C − A v, at the cost of the rows of v (d', m) that are not zero."""
        return gradient_of(self.A, self.C, v, np.flatnonzero(v.any(axis=1)))

    def certificate(self, v: Array, gradient: Array, lam: float) -> tuple[float, Array]:
        """Duality gap relative to P(0), and which groups it proves zero. v (d', m) is Wᵀ, gradient G = C − A v.

            s = clip(r_y/r², ± min_j λc_j/‖G_j‖),   D = s r_y − ½ s² r²,   gap = P − D        (W4)
            r_y = t − ⟨W, Cᵀ⟩,   r² = r_y − ⟨W, Gᵀ⟩                                           (W5)
            |s|‖G_j‖ + √(2 gap A_jj) < λc_j   ⇒   neuron j is zero at the optimum               (W6)

        Raises InputError where r² is negative beyond rounding: then the statistics are not those of any data.
        Source of the screening rule (W6): Ndiaye, Fercoq, Gramfort & Salmon 2017, here from statistics.
        """
        size = np.linalg.norm(gradient, axis=1)
        r_y = self.t - inner_product(v, self.C)
        r2 = r_y - inner_product(v, gradient)                                                           # (W5)
        if not r2 >= -1e-6 * self.t:
            raise InputError(f"group lasso: the squared error of weights is {r2:.3g}, below zero (t is {self.t:.3g}); "
                             "the statistics are not those of any data: gather them again")
        r2 = max(r2, 1e-300)
        penalty = lam * float((self.cost * np.linalg.norm(v, axis=1)).sum())
        bound = float((lam * self.cost / np.maximum(size, 1e-300)).min(initial=np.inf))
        s = float(np.clip(r_y / r2, -bound, bound))                                                     # (W4)
        gap = max(0.5 * r2 + penalty - (s * r_y - 0.5 * s * s * r2), 0.0)                               # (W2), (W4)
        radius = math.sqrt(2 * (gap + 1e-14 * self.t))                                        # the gap and its rounding
        proved = abs(s) * size + radius < lam * self.cost                                               # (W6), A_jj = 1
        return gap / (0.5 * self.t) if self.t > 0 else 0.0, proved

    def solve(self, lam: float, start: Array | None = None, *, tolerance: float = TOLERANCE, iterations: int = 300
              ) -> Solution:
        """The solution at λ from ``start`` (m, d) or zero, or what ``iterations`` reach. InputError unless λ > 0."""
        positive("group lasso", "lambda", lam)
        point, lam, steps = self.descend(lam, self.scaled(start), tolerance, iterations)
        return self.solution(lam, point.v, point.gradient, steps)

    def descend(self, lam: float, v: Array, tolerance: float, iterations: int = 300, neurons: int | None = None
                ) -> tuple[Point, float, int]:
        """A point whose gap is at most ``tolerance``, from v (d', m), its λ, and the number of steps.

        Newton steps (W13), with a sweep (W8) between two where the gap does not fall to a half. With ``neurons``
        each step changes λ so that so many stay (W20), at most until MISSES certified points have another number.
        """
        with threads_for(order=len(self.alive)):
            point = self.point(np.sqrt(row_products(v, v)) / (lam * self.cost))
            last, steps, swept, missed = np.inf, 0, False, 0
            while steps < iterations and missed < MISSES:
                gap = self.certificate(point.v, point.gradient, lam)[0]
                if gap <= tolerance:
                    if neurons is None or len(point.on) == neurons:
                        break
                    missed += 1
                steps += 1
                if gap > 0.5 * last and not swept and neurons is None:
                    v, gradient = point.v.copy(), point.gradient.copy()
                    sweep(self.A, lam * self.cost, v, gradient)
                    point, swept = self.point(np.sqrt(row_products(v, v)) / (lam * self.cost)), True
                else:
                    point, lam, swept = *self.newton(point, lam, gap, neurons if gap <= LOOSE else None), False
                last = gap
        return point, lam, steps

    def scaled(self, w: Array | None) -> Array:
        """Weights w (m, d) of the data as v (d', m); zero for None."""
        return np.zeros((len(self.alive), self.m)) if w is None else w.T[self.alive] * self.sigma[:, None]

    def point(self, omega: Array) -> Point:
        """v, G and f at ω (d',)."""
        return Point.of(self.A, self.C, omega, self.factor)

    def newton(self, point: Point, lam: float, gap: float, neurons: int | None) -> tuple[Point, float]:
        """The point after the first of 1, ¼, … of a Newton step δ that lowers f enough (else ``point``), and its λ.

            f(ω + α δ) ≤ f(ω) + 10⁻⁴ α ⟨f'(ω), δ⟩                                              (W23)

        Source: Armijo 1966.
        """
        omega, factor = newton(point, self.A, lam * self.cost, gap, neurons)
        if neurons is not None:
            lam = min(max(lam * factor, FLOOR * self.lambda_max), self.lambda_max)
        kappa, way = lam * self.cost, omega - point.omega
        slope = 0.5 * float((kappa ** 2 - point.sizes ** 2) @ way)
        for alpha in (1.0, 0.25, 0.0625, 0.015625):
            trial = self.point(omega if alpha == 1 else point.omega + alpha * way)
            if trial.value(kappa) <= point.value(kappa) + 1e-4 * alpha * min(slope, 0.0) + 1e-15 * self.t:   # (W23)
                return trial, lam
        return point, lam

    def solution(self, lam: float, v: Array, gradient: Array, steps: int, reason: str = "") -> Solution:
        """The solution v (d', m), in the units of the data, with its certificate."""
        w, proved = np.zeros((self.m, self.d)), self.constant.copy()
        w[:, self.alive] = (v / self.sigma[:, None]).T
        gap, proved[self.alive] = self.certificate(v, gradient, lam)
        r2 = self.t - inner_product(v, self.C + gradient) - self.rho * inner_product(w, w)     # (W5), without the ridge
        error = max(r2 / self.t, 0.0) if self.t > 0 else 0.0
        kept = np.flatnonzero(w.any(axis=0))
        return Solution(lam, w, self.statistics.intercept(w), kept, proved, gap, error, steps, reason)

    def path(self, lambdas: Array, *, tolerance: float = TOLERANCE) -> Iterator[Solution]:
        """Solutions for a falling sequence of λ, each started from where the last two lead, λ₁ the latest:

            u = u(λ₁) + (λ − λ₁)/(λ₁ − λ₂) (u(λ₁) − u(λ₂)),   v_j = max(1 − λc_j/‖u_j‖, 0) u_j               (W21)

        u = v + G is the point whose soft threshold a solution is, (W8).
        """
        before: list[tuple[float, Array]] = []
        v = np.zeros((len(self.alive), self.m))
        for lam in map(float, lambdas):
            positive("group lasso", "lambda", lam)
            if len(before) == 2 and before[1][0] != before[0][0]:
                (old, u_old), (new, u) = before
                v = group_threshold(u + (lam - new) / (new - old) * (u - u_old), lam * self.cost)       # (W21)
            point, _, steps = self.descend(lam, v, tolerance)
            v = point.v
            before = [*before[-1:], (lam, v + point.gradient)]
            yield self.solution(lam, v, point.gradient, steps)


def lambdas(lambda_max: float, count: int, ratio: float) -> Array:
    """(count,) float64 from λ_max to ratio · λ_max, equal factors apart. InputError unless count ≥ 1, 0 < ratio ≤ 1."""
    if count < 1 or not 0 < ratio <= 1:
        raise InputError(f"lambdas: count is {count} and ratio {ratio}; count must be at least 1, 0 < ratio ≤ 1")
    top = max(lambda_max, 1e-300)                # where no target depends on the inputs any λ > 0 will do
    return np.geomspace(top, ratio * top, count)
