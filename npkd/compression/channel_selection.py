"""LASSO channel selection (He, Zhang & Sun 2017): one factor a neuron, made sparse by an l1 penalty; then a refit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from npkd.compression.reconstruct import Choice
from npkd.core.linalg import product
from npkd.core.types import Array
from npkd.sparsity.group_lasso import Problem
from npkd.sparsity.neuron_search import keep
from npkd.sparsity.penalties import group_norms
from npkd.sparsity.refitting import RIDGE
from npkd.sparsity.statistics import Statistics, refit

TURNS = 2
"""How often factors and weights take turns, while the number of neurons falls to what is wanted."""


def factors(statistics: Statistics, w: Array) -> Statistics:
    """The problem of the factors, weights given, as statistics of one target:

        min_β  1/(2N) ‖Z − 1bᵀ − Σ_j β_j h_j W_{:,j}ᵀ‖²_F + λ ‖β‖₁                    (I12)
        = ½ βᵀQβ − pᵀβ + t/2 + λ ‖β‖₁,   Q_jk = A_jk ⟨W_{:,j}, W_{:,k}⟩,   p_j = ⟨W_{:,j}, C_j⟩      (I13)

    w (m, d) with columns of norm 1 (or 0). The result has d inputs and one target; its group lasso (W1) is (I12).
    """
    Q = statistics.A * product(w.T, w)                                                                           # (I13)
    p = (w.T * statistics.C).sum(axis=1)                                                                         # (I13)
    zeros = np.zeros(len(Q))
    return replace(statistics, mean_h=zeros, mean_z=zeros[:1], A=Q, C=p[:, None], t=np.array([statistics.t.sum()]))


def lasso(statistics: Statistics, w: Array, b: Array, count: int) -> Choice:
    """The rule: λ of (I12) as small as ``count`` factors other than zero allow, least squares (W7) on those, and again.

    Each turn takes the number of neurons down by the same factor. The solution for the factors carries a duality gap.
    """
    d = w.shape[1]
    kept = np.arange(d)
    for turn in range(1, TURNS + 1):
        wanted = count if turn == TURNS else max(count, round(d * (count / d) ** (turn / TURNS)))
        size = group_norms(w[:, kept], 1)
        part = w[:, kept] / np.where(size > 0, size, 1)
        problem = Problem(factors(statistics.inputs(kept), part))                                                # (I12)
        kept = kept[keep(problem, wanted).kept]
        w, b = refit(statistics, kept, RIDGE)
    return kept, w, b
