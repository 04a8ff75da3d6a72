"""ThiNet: neurons whose joint contribution is smallest go, chosen greedily; each survivor then gets a factor.

Source: Luo, Wu & Lin 2017, there on sampled entries of the feature map; here by second moments of all examples.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from npkd.compression.reconstruct import Choice
from npkd.core.linalg import product
from npkd.core.types import Array
from npkd.sparsity.statistics import Statistics


def contributions(statistics: Statistics, w: Array) -> Array:
    """Products of the contributions of the neurons, as means over the examples:

        K_jk = ⟨W_{:,j}, W_{:,k}⟩ · 1/N Σ_n h_nj h_nk                                 (I14)

    so that 1/N Σ_no (Σ_{j∈T} w_oj h_nj)² = Σ_{j,k∈T} K_jk for every set T. w (m, d) -> (d, d), float64.
    """
    second = statistics.A / statistics.count + np.outer(statistics.mean_h, statistics.mean_h)
    return np.asarray(product(w.T, w) * second)                                                                  # (I14)


def greedy(K: Array, removed: int) -> Array:
    """The set T, one neuron after the other, each the one with which the sum over T is smallest.

        next = argmin_{j∉T}  K_jj + 2 Σ_{k∈T} K_jk                                    (I15)

    K (d, d) -> the d − removed neurons that stay, ascending.
    """
    rise = np.diag(K).copy()
    left = np.ones(len(K), bool)
    for _ in range(removed):
        j = int(np.where(left, rise, np.inf).argmin())                                                           # (I15)
        left[j] = False
        rise += 2 * K[j]                                                                                         # (I15)
    return np.flatnonzero(left)


def thinet(statistics: Statistics, w: Array, b: Array, count: int) -> Choice:
    """The rule: greedy removal, then one factor a survivor by least squares.

        a = argmin_a  1/N Σ_no (Σ_j w_oj h_nj − Σ_{j∈S} a_j w_oj h_nj)² + ρ ‖a − 1‖²  (I16)

    ρ is 1e-6 of the mean of K_jj: it matters only to factors that nothing else decides.
    """
    K = contributions(statistics, w)
    kept = greedy(K, len(K) - count)
    inner = K[np.ix_(kept, kept)]
    rho = 1e-6 * float(np.trace(inner)) / len(kept) + 1e-300
    a = linalg.solve(inner + rho * np.eye(len(kept)), K[kept].sum(axis=1) + rho, assume_a="pos")                 # (I16)
    new = np.zeros_like(w)
    new[:, kept] = w[:, kept] * a
    return kept, new, b
