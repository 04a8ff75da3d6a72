"""Net-Trim: the sparsest weights, in the l1 norm, with which a layer still answers as before behind its relu.

Source: Aghasi, Abdi, Nguyen & Romberg 2017; the splitting follows the same authors' later paper in outline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from npkd.compression.reconstruct import Choice, layer_by_layer, statistics
from npkd.compression.scores import best
from npkd.core.linalg import product
from npkd.core.types import Array
from npkd.nn.network import Network
from npkd.sparsity.penalties import group_norms
from npkd.sparsity.proximal import soft_threshold
from npkd.sparsity.refitting import RIDGE
from npkd.sparsity.statistics import refit

SAMPLE = 1000
"""Examples that the programme sees: it has a constraint for each of them and each output."""

SLACK = 0.1
"""ε relative to what it bounds at U = 0."""


@dataclass(frozen=True, eq=False)
class Trimmed:
    """A solution of (I17): weights u (m, d), sparse, and biases b (m,).

    dual (N, m) is Λ, the multipliers of Q = H Uᵀ + 1bᵀ; residual the larger of the two of ADMM, relative.
    """

    u: Array
    b: Array
    dual: Array
    residual: float


def project(q: Array, z: Array, on: Array, epsilon: float, ceiling: Array) -> Array:
    """The nearest point of the set of (I17): entries ``on`` move into a ball around z, others down to their ceiling.

        Q_on = Z_on + min(1, ε/‖V_on − Z_on‖_F) (V_on − Z_on),   Q_off = min(V_off, ceiling)            (I18)
    """
    away = np.where(on, q - z, 0)
    size = math.sqrt(float((away * away).sum()))
    return np.where(on, z + away * (min(1.0, epsilon / size) if size > 0 else 1.0), np.minimum(q, ceiling))      # (I18)


def net_trim(h: Array, z: Array, on: Array, epsilon: float, ceiling: Array, *, iterations: int = 150,
             tolerance: float = 1e-3) -> Trimmed:
    """The convex programme, solved by the alternating direction method of multipliers.

        min_{U,b} ‖U‖₁   s.t.  ‖(H Uᵀ + 1bᵀ − Z)_on‖_F ≤ ε,   (H Uᵀ + 1bᵀ)_off ≤ ceiling_off              (I17)

    h (N, d) what the layer reads   z (N, m) what it gave   on (N, m) where it was positive (all of it for logits)
    ceiling (N, m), used off it

    In turns, with scaled multipliers Λ, M and step ρ, a = (U b) and g = (H 1):

        a ← (gᵀg + I)⁻¹ (gᵀ(Q − Λ) + P − M)                                           (I19)
        Q ← projection (I18) of g a + Λ,   P ← soft threshold of a + M at 1/ρ, b left alone              (I20)
        Λ ← Λ + g a − Q,   M ← M + a − P                                              (I21)

    ρ is doubled or halved where one residual is ten times the other. float64 throughout.
    """
    n, d = h.shape
    g = np.concatenate([h.astype(np.float64), np.ones((n, 1))], axis=1)
    factor = linalg.cho_factor(product(g.T, g) + np.eye(d + 1))
    z = z.astype(np.float64)
    a = np.zeros((d + 1, z.shape[1]))
    Q, P = project(np.zeros_like(z), z, on, epsilon, ceiling), a.copy()
    Lambda, M = np.zeros_like(z), a.copy()
    rho, worst = 100.0 / max(float(np.sqrt((z * z).mean())), 1e-300), math.inf
    for k in range(1, iterations + 1):
        a = linalg.cho_solve(factor, product(g.T, Q - Lambda) + P - M)                                           # (I19)
        answer = product(g, a)
        old_Q, old_P = Q, P
        Q = project(answer + Lambda, z, on, epsilon, ceiling)                                                    # (I20)
        P = a + M
        P[:d] = soft_threshold(P[:d], 1 / rho)                                                                   # (I20)
        Lambda += answer - Q                                                                                     # (I21)
        M += a - P                                                                                               # (I21)
        primal = math.sqrt(float(((answer - Q) ** 2).sum() + ((a - P) ** 2).sum()))
        dual = math.sqrt(float(((Q - old_Q) ** 2).sum() + ((P - old_P) ** 2).sum()))
        scale = math.sqrt(float((Q * Q).sum() + (P * P).sum())) + 1e-300
        worst = max(primal, dual) / scale
        if worst <= tolerance:
            break
        if k % 10 == 0 and not 0.1 <= primal / max(dual, 1e-300) <= 10:
            change = 2.0 if primal > dual else 0.5
            rho, Lambda, M = rho * change, Lambda / change, M / change
    return Trimmed(P[:d].T.copy(), P[d].copy(), rho * Lambda, worst)                                          # (I17)


def removal(network: Network, x: Array, y: Array, widths: Sequence[int], rng: np.random.Generator) -> Network:
    """Neurons by Net-Trim, which removes weights: those with the largest ‖U_{:,j}‖ · deviation of h_j stay.

    U comes from (I17) on SAMPLE examples, the ceiling being 0, where relu shuts. Net-Trim itself keeps the weights U;
    here those of the neurons that stay are refitted (W7) on all examples.
    """
    sample = x[np.sort(rng.permutation(len(x))[:SAMPLE])]

    def choose(student: Network, layer: int, count: int) -> Choice:
        h = student(sample)[0][layer].astype(np.float64)
        z = network(sample)[0][layer + 1].astype(np.float64)
        shut = layer + 1 < len(network.layers) and network.layers[layer + 1].op == "relu"
        on = z > 0 if shut else np.ones(z.shape, bool)
        bound = SLACK * math.sqrt(float(((z * on) ** 2).sum()))
        u = net_trim(h, z, on, bound, np.zeros_like(z)).u
        kept = best(group_norms(u, 1)[0] * h.std(axis=0), count)
        return kept, *refit(statistics(student, network, x, layer), kept, RIDGE)

    return layer_by_layer(network, widths, choose)
