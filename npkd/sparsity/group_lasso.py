"""The layer-wise problem, solved from statistics alone, with a certificate for every solution.

    min_{W,b}  1/(2N) ‖Z − 1bᵀ − H Wᵀ‖²_F  +  λ Σ_j c_j ‖W_{:,j}‖₂                    (W1)

One group for each input neuron j: all weights that leave it. With the bias eliminated it is, in centred and normalised
statistics,

    P(W) = ½ r²(W) + λ Σ_j c_j ‖W_{:,j}‖₂,   r² = t − 2⟨W, Cᵀ⟩ + ⟨W, W A⟩             (W2)

and needs no data any more. Derivation: docs/6-layer-wise.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from npkd.core.linalg import inner_product, product
from npkd.core.types import Array
from npkd.core.validation import InputError, positive
from npkd.sparsity.group_lasso_steps import group_threshold, newton, row_products, sweep
from npkd.sparsity.statistics import Statistics

TOLERANCE = 1e-6
"""Relative duality gap at which a solution counts as solved."""

SPREAD = 1e-14
"""Variance, relative to its own second moment, up to which an input is constant: about what rounding to float32
leaves."""

LOOSE = 1e-3
"""Relative duality gap that is enough to see which way to go."""


@dataclass(frozen=True, eq=False)
class Solution:
    """A certified solution of (W1).

    lam         λ
    w (m, d)    weights, float64, removed neurons exactly zero;   b (m,)  their best bias
    kept (k,)   indices of the neurons that stay
    proved (d,) True where the certificate itself proves the neuron zero at the exact optimum, (W6)
    gap         duality gap divided by the objective at W = 0
    error       relative error r²/t
    iterations  Newton steps
    """

    lam: float
    w: Array
    b: Array
    kept: Array
    proved: Array
    gap: float
    error: float
    iterations: int


class Problem:
    """(W1) for given statistics and costs, ready for any λ.

    statistics    of the layer
    cost          c_j > 0: one number or (d,)
    ridge         ρ ≥ 0, relative to the mean variance of the inputs: (W1) with the elastic term

        + ½ ρ (tr A/d) Σ_j ‖W_{:,j}‖²                                                  (W22)

    The ridge is one of the statistics, A + ρ (tr A/d) I: all that follows, the certificate too, is that of the elastic
    problem.

    Inputs are scaled to unit variance inside (with costs c_j/σ_j that is the same problem), since a common step length
    for neurons of very different variance is a slow one; constant inputs have no say and stay zero. Raises InputError
    for costs that do not fit and a negative ridge.
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
        moment = variance + statistics.mean_h ** 2
        self.alive = np.flatnonzero(variance > SPREAD * moment)      # constant inputs, up to rounding, have no say
        self.constant = variance == 0
        self.rho = ridge * float(variance.mean())
        self.sigma = np.sqrt(variance[self.alive] + self.rho)
        self.A = A[np.ix_(self.alive, self.alive)] / np.outer(self.sigma, self.sigma)
        np.fill_diagonal(self.A, 1.0)                                           # with the ridge: (A_jj + ρ)/σ_j², (W22)
        self.C = C[self.alive] / self.sigma[:, None]
        self.cost = cost[self.alive] / self.sigma
        self.d, self.m = d, C.shape[1]

    @property
    def lambda_max(self) -> float:
        """The smallest λ at which nothing is kept: max_j ‖C_j‖/c_j."""
        return float((np.linalg.norm(self.C, axis=1) / self.cost).max(initial=0.0))                     # (W3)

    def gradient(self, v: Array) -> Array:
        """G = C − A v, at the cost of the rows of v (d', m) that are not zero."""
        on = np.flatnonzero(v.any(axis=1))
        return np.asarray(self.C - product(self.A[on].T, v[on]) if len(on) else self.C.copy())

    def certificate(self, v: Array, gradient: Array, lam: float) -> tuple[float, Array]:
        """Duality gap relative to P(0), and which groups it proves zero. v (d', m) is Wᵀ, gradient G = C − A v.

            s = clip(r_y/r², ± min_j λc_j/‖G_j‖),   D = s r_y − ½ s² r²,   gap = P − D        (W4)
            r_y = t − ⟨W, Cᵀ⟩,   r² = r_y − ⟨W, Gᵀ⟩                                           (W5)
            |s|‖G_j‖ + √(2 gap A_jj) < λc_j   ⇒   neuron j is zero at the optimum               (W6)

        Source of the screening rule (W6): Ndiaye, Fercoq, Gramfort & Salmon 2017, here from statistics.
        """
        size = np.linalg.norm(gradient, axis=1)
        r_y = self.t - inner_product(v, self.C)
        r2 = max(r_y - inner_product(v, gradient), 1e-300)                                             # (W5)
        penalty = lam * float((self.cost * np.linalg.norm(v, axis=1)).sum())
        bound = float((lam * self.cost / np.maximum(size, 1e-300)).min(initial=np.inf))
        s = float(np.clip(r_y / r2, -bound, bound))                                                     # (W4)
        gap = max(0.5 * r2 + penalty - (s * r_y - 0.5 * s * s * r2), 0.0)                               # (W2), (W4)
        radius = math.sqrt(2 * (gap + 1e-14 * self.t))                                       # the gap, and its rounding
        proved = abs(s) * size + radius < lam * self.cost                                               # (W6), A_jj = 1
        return gap / (0.5 * self.t) if self.t > 0 else 0.0, proved

    def solve(self, lam: float, start: Array | None = None, *, tolerance: float = TOLERANCE,
              iterations: int = 300) -> Solution:
        """The solution at λ > 0, from ``start`` (m, d) or from zero.

        Raises InputError for λ ≤ 0 (at 0 the refit is the solution); ends at ``iterations`` with the gap it has.
        """
        positive("group lasso", "lambda", lam)
        v = np.zeros((len(self.alive), self.m))
        if start is not None:
            v[:] = start.T[self.alive] * self.sigma[:, None]
        return self.descend(lam, v, tolerance, iterations)[0]

    def descend(self, lam: float, v: Array, tolerance: float, iterations: int = 300) -> tuple[Solution, Array]:
        """The solution from v (d', m), and the point u = v + G (W8) whose soft threshold it is.

        Newton steps over the neurons that are not zero; before one, a sweep, wherever the gradient calls for more
        neurons or the gap has not fallen to a tenth. The gap damps the Newton steps, the less the nearer they are.
        """
        kappa, last, steps = lam * self.cost, np.inf, 0
        while True:
            gradient = self.gradient(v)
            gap, proved = self.certificate(v, gradient, lam)
            if gap <= tolerance or steps >= iterations:
                break
            called = ~v.any(axis=1) & (row_products(gradient, gradient) > kappa ** 2)
            working = np.flatnonzero(v.any(axis=1) | called)
            near, v_near, g_near = self.A[np.ix_(working, working)], v[working], gradient[working]
            if called.any() or gap > 0.1 * last:
                sweep(near, kappa[working], v_near, g_near)
            on = np.flatnonzero(v_near.any(axis=1))
            if len(on):
                v_near[on] = newton(near[np.ix_(on, on)], kappa[working[on]], v_near[on], g_near[on], gap)
            v = np.zeros_like(v)
            v[working] = v_near
            last, steps = gap, steps + 1
        w = np.zeros((self.m, self.d))
        w[:, self.alive] = (v / self.sigma[:, None]).T
        all_proved = self.constant.copy()
        all_proved[self.alive] = proved
        r2 = self.t - inner_product(v, self.C + gradient) - self.rho * inner_product(w, w)     # (W5), without the ridge
        error = max(r2 / self.t, 0.0) if self.t > 0 else 0.0
        kept = np.flatnonzero(w.any(axis=0))
        return Solution(lam, w, self.statistics.intercept(w), kept, all_proved, gap, error, steps), v + gradient

    def path(self, lambdas: Array, *, tolerance: float = TOLERANCE) -> Iterator[Solution]:
        """Solutions for a falling sequence of λ, each started from where the last two lead, λ₁ the latest:

            u = u(λ₁) + (λ − λ₁)/(λ₁ − λ₂) (u(λ₁) − u(λ₂)),   v_j = max(1 − λc_j/‖u_j‖, 0) u_j               (W21)
        """
        before: list[tuple[float, Array]] = []
        v = np.zeros((len(self.alive), self.m))
        for lam in map(float, lambdas):
            positive("group lasso", "lambda", lam)
            if len(before) == 2 and before[1][0] != before[0][0]:
                (old, u_old), (new, u) = before
                v = group_threshold(u + (lam - new) / (new - old) * (u - u_old), lam * self.cost)                # (W21)
            solution, u = self.descend(lam, v, tolerance)
            v = group_threshold(u, lam * self.cost)
            before = [*before[-1:], (lam, u)]
            yield solution

    def keep(self, neurons: int, path: Sequence[Solution] = (), *, tolerance: float = TOLERANCE) -> Solution:
        """The certified solution with the most neurons that the search meets, but not more than ``neurons``.

        λ is found by bisection; ``path`` (falling in λ, solved loosely) says where to begin. The number of neurons
        mostly rises as λ falls, not at every step, so that there may be more to be had. Neurons that can only enter
        together, and are then too many, are told apart by the size of their weights: a layer never loses all its
        neurons. The gap then says how far that is from the solution, which has all of them.
        Raises InputError where not even one neuron may stay.
        """
        if neurons < 1:
            raise InputError(f"group lasso: {neurons} neurons may stay; a layer needs at least one")
        top = max(self.lambda_max, 1e-300)
        near = next((s for s in reversed(path) if len(s.kept) <= neurons), None)
        best = self.solve(top if near is None else near.lam, None if near is None else near.w, tolerance=tolerance)
        while len(best.kept) > neurons:
            best = self.solve(min(1.2 * best.lam, top), best.w, tolerance=tolerance)
        low, over = next((s.lam for s in path if len(s.kept) > neurons and s.lam < best.lam), 0.0), None
        for _ in range(60):
            if len(best.kept) == neurons or best.lam < 1e-9 * top:
                break
            # to look for where certificates end is slow
            narrow = 0.5 if over is not None and over.gap > tolerance else 1e-7
            if best.lam - low <= narrow * best.lam:
                if over is not None or low == 0:
                    break
                low = 0.0                   # what the path says was solved loosely: there may be more on its other side
            trial = self.solve(math.sqrt(low * best.lam) if low > 0 else best.lam / 10, best.w, tolerance=tolerance)
            if len(trial.kept) <= neurons and trial.gap <= tolerance:        # what has no certificate yet is too far
                best = trial
            else:
                low, over = trial.lam, trial
        if len(best.kept):
            return best
        if over is None:                                     # nothing depends on any input: one is as good as another
            return replace(best, kept=np.arange(1))
        kept = np.sort(np.argsort(-np.linalg.norm(over.w, axis=0), kind="stable")[:neurons])
        w = np.zeros_like(over.w)
        w[:, kept] = over.w[:, kept]
        v = w.T[self.alive] * self.sigma[:, None]
        gap, _ = self.certificate(v, self.gradient(v), over.lam)
        return replace(over, kept=kept, w=w, b=self.statistics.intercept(w), error=self.statistics.error(w), gap=gap)

    def everything(self) -> Solution:
        """All neurons stay: nothing to choose, nothing to prove; least squares, λ = 0."""
        kept = np.arange(self.d)
        w, b = refit(self.statistics, kept)
        return Solution(0.0, w, b, kept, np.zeros(self.d, bool), 0.0, self.statistics.error(w), 0)


def lambdas(lambda_max: float, count: int, ratio: float) -> Array:
    """``count`` values from λ_max down to ratio · λ_max, equally spaced in the logarithm, (count,) float64.

    Raises InputError for no value, and unless 0 < ratio ≤ 1.
    """
    if count < 1 or not 0 < ratio <= 1:
        raise InputError(f"lambdas: count is {count} and ratio {ratio}; count must be at least 1, 0 < ratio ≤ 1")
    top = max(lambda_max, 1e-300)                # where nothing depends on the inputs any λ will do, but 0
    return np.geomspace(top, ratio * top, count)


def refit(statistics: Statistics, kept: Array, ridge: float = 1e-6) -> tuple[Array, Array]:
    """Least squares on the kept neurons: the shrinkage that the penalty caused is undone.

        W_S = Cᵀ_S (A_SS + ρ tr(A_SS)/|S| · I)⁻¹                                      (W7)

    kept (k,) indices -> w (m, d), zero outside of them, and b (m,). ρ = ``ridge`` keeps duplicates from dividing by
    zero.
    """
    A, C, _ = statistics.normalised()
    w = np.zeros((C.shape[1], len(A)))
    if len(kept):
        inner = A[np.ix_(kept, kept)]
        inner = inner + np.eye(len(kept)) * (ridge * float(np.trace(inner)) / len(kept) + 1e-300)
        w[:, kept] = linalg.solve(inner, C[kept], assume_a="pos").T                   # (W7)
    return w, statistics.intercept(w)
