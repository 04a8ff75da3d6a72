"""Soft-thresholding, and proximal gradient descent (ISTA) with its accelerated form (FISTA) and their stationarity.

prox(v, t) = argmin_u ½‖u − v‖² + t·Ω(u); λ is part of Ω, t is the step. Derivations: docs/book/7-proximal.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError, floats, positive, whole
from npkd.nn.training import Penalty


def soft_threshold(v: Array, t: float | Array) -> Array:
    """The proximal step of t·|·|: shrink by t, and exactly zero within [−t, t].

        S_t(v) = max(v − t, 0) − max(−v − t, 0)                                       (P1)

    v any shape, floats; t a number or an array that broadcasts -> the shape and the dtype of v. Written without
    ``sign``, so that no −0.0 appears. Raises InputError unless t ≥ 0. Source: Donoho & Johnstone 1994.
    """
    floats("soft_threshold", v=v)
    if not np.min(t, initial=0) >= 0:
        raise InputError(f"soft_threshold: t is {np.min(t)} somewhere; it must not be negative")
    return (np.maximum(v - t, 0) - np.maximum(-v - t, 0)).astype(v.dtype, copy=False)     # (P1)


@dataclass(frozen=True, eq=False)
class Solution:
    """A minimiser found by ``minimise``.

    w               the point
    objective       f(w) + Ω(w) after each iteration, the start first
    stationarity    ‖w − prox(w − ∇f(w)/L, 1/L)‖·L after each iteration: 0 exactly at a minimiser                  (P14)
    """

    w: Array
    objective: list[float]
    stationarity: list[float]


def minimise(smooth: Callable[[Array], tuple[float, Array]], penalty: Penalty, w: Array, lipschitz: float, *,
             accelerate: bool = True, tolerance: float = 1e-8, iterations: int = 10_000) -> Solution:
    """Minimise f(w) + Ω(w) by proximal gradient descent; ``accelerate``: Nesterov's extrapolation and restarts.

        w⁺ = prox_{1/L}(y − ∇f(y)/L)                                                  (P15)
        y = w⁺ + β (w⁺ − w),   β = (θ − 1)/θ⁺,   θ⁺ = (1 + √(1 + 4θ²))/2              (P16)
        restart (y = w⁺, θ = 1) where ⟨y − w⁺, w⁺ − w⟩ > 0                             (P17)

    smooth        w -> (f(w), ∇f(w)), f convex;   lipschitz  L, a Lipschitz constant of ∇f
    tolerance     the run ends when the stationarity (P14) falls below it
    Raises InputError for a constant or a tolerance that is not positive.
    Source: Beck & Teboulle 2009, (4.1)–(4.3); the restart: O'Donoghue & Candès 2015, gradient scheme.
    """
    positive("minimise", "lipschitz", lipschitz)
    positive("minimise", "tolerance", tolerance)
    whole("minimise", 1, iterations=iterations)
    step, theta, y = 1 / lipschitz, 1.0, w
    value, gradient = smooth(w)
    objective, stationarity = [value + penalty.value(w)], []
    for _ in range(iterations):
        _, at_y = (value, gradient) if y is w else smooth(y)
        new = penalty.prox(y - step * at_y, step)                                     # (P15)
        if accelerate and np.vdot(y - new, new - w) <= 0:                             # (P17)
            following = (1 + np.sqrt(1 + 4 * theta * theta)) / 2
            y, theta = new + (theta - 1) / following * (new - w), following           # (P16)
        else:
            y, theta = new, 1.0
        w = new
        value, gradient = smooth(w)
        objective.append(value + penalty.value(w))
        stationarity.append(lipschitz * float(np.linalg.norm(w - penalty.prox(w - step * gradient, step))))     # (P14)
        if stationarity[-1] <= tolerance:
            break
    return Solution(w, objective, stationarity)
