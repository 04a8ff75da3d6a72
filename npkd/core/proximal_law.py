"""The law by which a proximal step is judged, whatever formula it comes from, and a search where there is no law.
Derivation: docs/book/7-proximal.md and 21-sparse-filters.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from npkd.core.types import Array

LAW = 1e-10
"""Largest relative violation of the law by a proximal step in float64."""


def candidates(value: Callable[[Array], float], prox: Callable[[Array, float | Array], Array], step: float | Array,
               p: Array, v: Array) -> list[Array]:
    """Points to compare with p = prox(v, step): multiples, some on the way to v, neighbours, random and sparse."""
    rng = np.random.default_rng(0)
    size = float(np.abs(v).max(initial=0)) or 1.0
    points = [s * p for s in (0.0, 0.5, 0.999, 1 - 1e-6, 1 + 1e-6, 1.001, 2.0)]
    points += [p + s * (v - p) for s in (-0.1, 1e-6, 1e-3, 1e-2, 0.1, 1.0)]
    noise = [size * rng.standard_normal(p.shape) for _ in range(20)]
    points += [p + s * e for e in noise for s in (1e-3, 0.1, 1.0)] + [prox(v + e, step) for e in noise] + noise
    for k in np.ndindex(p.shape):
        for s in (-p[k], 1e-6 * size, -1e-6 * size, 1e-3 * size, -1e-3 * size, 0.3 * size):
            points.append(p.copy())
            points[-1][k] += s
    for axis in range(p.ndim):
        for j in range(p.shape[axis]):
            points.append(p.copy())
            np.moveaxis(points[-1], axis, 0)[j] = 0
    return [u for u in points if math.isfinite(value(u))]


def violation(value: Callable[[Array], float], points: Sequence[Array], p: Array, v: Array,
              step: float | Array) -> float:
    """Largest violation of the law of a proximal step p of a convex Ω, over the points u.

        Ω(u) ≥ Ω(p) + ⟨(v − p)/t, u − p⟩

    relative to |Ω(u) − Ω(p)| + ‖(v − p)/t‖·‖u − p‖; rounding of Ω is none. An array of steps t divides entry by entry.
    """
    at_p, g, worst = value(p), (v - p) / step, 0.0
    if not math.isfinite(at_p):
        return math.inf
    for u in points:
        at_u, slope = value(u), float(np.vdot(g, u - p))
        rise, rounding = at_u - at_p, 8 * np.finfo(np.float64).eps * (abs(at_u) + abs(at_p))
        scale = abs(rise) + float(np.linalg.norm(g) * np.linalg.norm(u - p))
        worst = float(np.maximum(worst, (slope - rise - rounding) / scale if scale else 0.0))      # max() loses a NaN
    return worst


def objective_at(value: Callable[[Array], float], v: Array, step: float | Array) -> Callable[[Array], float]:
    """What a proximal step minimises: u -> Ω(u) + Σ (u − v)²/2t."""
    return lambda u: value(u) + float(((u - v) ** 2 / step).sum()) / 2


def searched(value: Callable[[Array], float], step: float | Array, v: Array) -> list[Array]:
    """Points where that is small: of v on every set of entries (above 10 entries, on 1,024 random ones) the 3 best, and
    from there steps along single entries while they help, halved down to 1e-7 of the largest entry."""
    at, rng, reach = objective_at(value, v, step), np.random.default_rng(0), float(np.abs(v).max(initial=0)) or 1.0
    sets = np.arange(2 ** v.size)[:, None] >> np.arange(v.size) & 1 if v.size <= 10 else (
        rng.random((1024, v.size)) < rng.random((1024, 1)))
    moves = np.concatenate([np.eye(v.size), -np.eye(v.size)]).reshape(-1, *v.shape)
    starts = [min((s * v * on.reshape(v.shape) for s in (0.5, 0.8, 1.0)), key=at) for on in sets]
    found = sorted(starts, key=at)[:3]
    for i, u in enumerate(found):
        lowest, h = at(u), reach / 4
        while h > 1e-7 * reach:
            lower, _, best = min((at(w), nth, w) for nth, w in enumerate(u + h * moves))
            u, lowest, h = (best, lower, h) if lower < lowest else (u, lowest, h / 2)
        found[i] = u
    return found


def excess(value: Callable[[Array], float], points: Sequence[Array], p: Array, v: Array, step: float | Array) -> float:
    """How much better than p the points u are, as a part of Σ (u − p)²/2t, at most; rounding is none."""
    at, eps, worst = objective_at(value, v, step), 8 * float(np.finfo(np.float64).eps), 0.0
    if not math.isfinite(at(p)):
        return math.inf
    for u in points:
        less, away = at(p) - at(u) - eps * (abs(at(u)) + abs(at(p))), float(((u - p) ** 2 / step).sum()) / 2
        worst = float(np.maximum(worst, less / away if away else 0.0))
    return worst
