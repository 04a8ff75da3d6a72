"""The solution of the layer-wise problem that keeps a given number of neurons, and the λ that belongs to it."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import replace

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import whole
from npkd.sparsity.group_lasso import FLOOR, TOLERANCE, Problem, Solution
from npkd.sparsity.group_lasso_steps import Point
from npkd.sparsity.statistics import refit

RIDGE, STEPS, BRACKETS = 1e-4, 60, 40
"""Ridge of the least squares whose neurons join a solution; most steps of a descent; most λ of a bisection."""


def keep(problem: Problem, neurons: int, start: Array | None = None, lam: float = math.inf, *,
         tolerance: float = TOLERANCE) -> Solution:
    """The solution with so many ``neurons``, and its λ, sought from weights ``start`` (m, d) and ``lam``.

    Where no λ keeps as many, the next larger solution loses those of the smallest penalties and is solved anew. Where
    no certified solution is as large, neurons of ``start`` (or of the least squares) join, with weights small enough
    for a certificate. If neither is possible, ``reason`` says so. Raises InputError for less than one neuron.
    """
    whole("group lasso", 1, neurons=neurons)
    top, count, first = problem.lambda_max, min(neurons, len(problem.alive)), problem.scaled(start)
    if top == 0:
        nothing = problem.solve(1.0)
        return replace(nothing, kept=np.arange(1), reason=f"0 of {neurons}: the targets depend on none of the inputs")
    point, lam, steps = problem.descend(min(max(lam, FLOOR * top), top / 10), first, tolerance, STEPS, count)
    if len(point.on) != count or not certified(problem, point, lam, tolerance):
        point, lam, more = bracket(problem, point, lam, count, tolerance)
        steps += more
    if len(point.on) > count:
        point = without(problem, point, lam, count, tolerance)
    v, gradient, number, reason = point.v, point.gradient, len(point.on), ""
    if number < count:
        if start is None:
            first = problem.scaled(refit(problem.statistics, np.arange(problem.d), RIDGE)[0])
        v, gradient = filled(problem, point, lam, first, count, tolerance)
    solution = problem.solution(lam, v, gradient, steps)
    if solution.gap > tolerance:
        reason = f"duality gap {solution.gap:.1e}: not certified to {tolerance:g}"
    elif number < neurons:
        reason = f"{number} of {neurons}: at no λ a certified solution has more, the others explain nothing else"
        reason += f"; {len(solution.kept) - number} join it" if len(solution.kept) > number else ""
    kept = solution.kept if len(solution.kept) else np.arange(1)                # a layer never loses all its neurons
    return replace(solution, kept=kept, reason=reason)


def certified(problem: Problem, point: Point, lam: float, tolerance: float) -> bool:
    """Whether the duality gap of a point is at most ``tolerance``."""
    return problem.certificate(point.v, point.gradient, lam)[0] <= tolerance


def bracket(problem: Problem, point: Point, lam: float, count: int, tolerance: float) -> tuple[Point, float, int]:
    """The point with ``count`` neurons, its λ and the steps, by bisection of λ, which is too small where no certificate
    is reached; else the certified one with the next more, else with the next fewer neurons, else the last."""
    top = problem.lambda_max
    low, high, over, under, steps = 0.0, top, None, None, 0
    for _ in range(BRACKETS):
        point, _, more = problem.descend(lam, point.v, tolerance, STEPS)
        proof, steps = certified(problem, point, lam, tolerance), steps + more
        if proof and len(point.on) == count:
            return point, lam, steps
        if proof and len(point.on) < count:
            high, under = lam, (point, lam) if len(point.on) else None
        else:
            low, over = max(low, lam), (point, lam) if proof else over
        if high <= 1.01 * FLOOR * top or high <= low * (1 + (1e-6 if proof else 0.1)):
            break
        lam = math.sqrt(low * high) if low else max(high / 10, FLOOR * top)
    return *(over or under or (point, lam)), steps


def without(problem: Problem, point: Point, lam: float, count: int, tolerance: float) -> Point:
    """The solution at λ on the ``count`` neurons of a point with the largest penalties alone."""
    penalty = point.omega[point.on] * problem.cost[point.on] ** 2
    chosen = point.on[np.argsort(-penalty, kind="stable")[:count]]
    only, v, smaller = np.full(len(problem.cost), 1e30), np.zeros_like(point.v), copy(problem)
    only[chosen], v[chosen] = 1, point.v[chosen]
    smaller.cost = problem.cost * only
    return smaller.descend(lam, v, tolerance)[0]


def filled(problem: Problem, point: Point, lam: float, first: Array, count: int, tolerance: float
           ) -> tuple[Array, Array]:
    """v and G after a part of the way to the least squares on the rows of a point and those of ``first`` (d', m) with
    the largest penalties, ``count`` in all: the first of 1, 10⁻², …, 10⁻⁸ that is certified, else none of it."""
    penalty = problem.cost * np.linalg.norm(first, axis=1)
    penalty[point.on] = 0
    new = np.flatnonzero(penalty)
    new = new[np.argsort(-penalty[new], kind="stable")[:count - len(point.on)]]
    together = problem.alive[np.sort(np.append(point.on, new))]
    way = problem.scaled(refit(problem.statistics, together)[0]) - point.v
    for part in (1.0, 1e-2, 1e-4, 1e-6, 1e-8) if len(new) else ():
        v = np.asarray(point.v + part * way)
        gradient = problem.gradient(v)
        if problem.certificate(v, gradient, lam)[0] <= tolerance:
            return v, gradient
    return point.v, point.gradient
