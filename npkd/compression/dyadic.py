"""Weights from a few dyadic rationals, so that products are shifts and additions. docs/book/23-low-complexity.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from npkd.compression.quantization import by_columns
from npkd.core.grids import grid
from npkd.core.linalg import inner_product, product
from npkd.core.types import Array, Batch, Objective
from npkd.core.validation import InputError, floats, positive, whole
from npkd.data.batches import MAPS, batches_of
from npkd.nn.cost import positions_of, signed_digits
from npkd.nn.network import Network, convolves
from npkd.nn.optimisers import Optimiser
from npkd.nn.training import Penalty, Record, TrainingSettings, train
from npkd.sparsity.collect import collect_statistics, matrix
from npkd.sparsity.statistics import Statistics

SIGNS, HALVES, QUARTERS = (-1.0, 0.0, 1.0), (-1.0, -0.5, 0.0, 0.5, 1.0), (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)
RIDGE, STEP, TURNS, EXAMPLES = 1e-2, 1.1, 5, 5000
"""ρ of (N25) over the mean of A_jj/N; of the search for α the next over the last, and turns; of ``dyadic_student``."""


def dyadic(bits: int) -> tuple[float, ...]:
    """D_b = {a/2^b : a whole, |a| ≤ 2^b}, dyadic rationals of b = 0 … 10 fractional bits, ascending           (N20)"""
    whole("dyadic", 0, 10, bits=bits)
    return tuple((np.arange(-2 ** bits, 2 ** bits + 1) / 2 ** bits).tolist())                                   # (N20)


def nearest(w: Array, levels: Sequence[float], scale: float = 1.0) -> Array:
    """The solution of the 0-1 programme of Cintra et al. 2018, one level for each weight: the nearest one.

        min ‖W − T‖²_F over T with entries in αD:   t_ij = argmin_{d ∈ αD} (w_ij − d)²        (N21)

    w floats, any shape; of two equally near levels the smaller. Raises InputError for levels that do not ascend.
    """
    floats("nearest", w=w)
    positive("nearest", "scale", scale)
    grid = np.asarray(levels, np.float64)
    if not len(grid) or not np.isfinite(grid).all() or (np.diff(grid) <= 0).any():
        raise InputError(f"nearest: levels are {list(levels)[:5]}; they must be one or more finite numbers, ascending")
    return (grid * scale).astype(w.dtype)[np.searchsorted((grid[:-1] + grid[1:]) / 2 * scale, w)]               # (N21)


def frobenius_scale(w: Array, levels: Sequence[float]) -> float:
    """The scale of the best grid for weights: the global minimum over α > 0 and T with entries in D.

        min ‖W − αT‖²_F = ‖W‖² − max_T ⟨W, T⟩²/‖T‖²,   α = ⟨W, T⟩/‖T‖²                (N22)

    The best T rounds W/α. As α grows, it changes at α = w/m for a weight w and a middle m of two levels, and nowhere
    else; both sums go along. 1 where no T helps. Raises InputError for more than 2e7 changes.
    """
    grid, w = np.asarray(levels, np.float64), w.astype(np.float64).ravel()
    middle = (grid[:-1] + grid[1:]) / 2
    if w.size * len(middle) > 2e7:
        raise InputError(f"frobenius_scale: {len(grid)} levels for {w.size} weights; give fewer levels, or a scale")
    first = grid[np.searchsorted(middle, np.sign(w) * 1e300)]                        # T for α near 0
    with np.errstate(divide="ignore", invalid="ignore"):
        at = w[:, None] / middle
    order, on = np.argsort(at[at > 0], kind="stable"), at > 0
    less = (np.abs(w)[:, None] * np.diff(grid))[on][order], (np.sign(w)[:, None] * np.diff(grid * grid))[on][order]
    along, size = (start - np.cumsum([0, *d]) for start, d in zip((w @ first, first @ first), less, strict=True))
    value = np.where((along > 0) & (size > 1e-9 * size[0]), along / np.sqrt(np.maximum(size, 1e-300)), 0)
    best = int(value.argmax())
    return float(along[best] / size[best]) if value[best] > 0 else 1.0                                          # (N22)


def descend(A: Array, c: Array, t: Array, levels: Sequence[float], scale: float) -> Array:
    """Coordinate descent on ⟨T, TA⟩ − 2⟨T, c⟩ until no change of a single weight makes it smaller, all rows at once.

        t_oj ← nearest(t_oj + g_oj/A_jj),   g = c − TA                                (N24)
    """
    t, g, grid, moving = t.copy(), c - product(t, A), np.asarray(levels) * scale, True
    while moving:                                                     # every change gains, so that it ends
        moving = False
        for j, a in enumerate(np.diag(A)):
            step = grid[np.searchsorted((grid[:-1] + grid[1:]) / 2, t[:, j] + g[:, j] / a)] - t[:, j]           # (N24)
            rows = np.flatnonzero(step * (2 * g[:, j] - a * step) > 1e-9 * a * scale ** 2)
            t[rows, j] += step[rows]
            g[rows] -= np.outer(step[rows], A[j])
            moving |= len(rows) > 0
    return nearest(t, levels, scale)


def output_space(statistics: Statistics, w: Array, levels: Sequence[float], *, scale: float | None = None,
                 ridge: float = RIDGE) -> tuple[Array, float]:
    """The same programme in output space: weights on the grid whose outputs are nearest to the targets.

        min 1/N ‖Z − 1bᵀ − HTᵀ‖²_F + ρ ‖W − T‖²_F = ⟨T, TA'⟩ − 2⟨T, c⟩ + const over T with entries in αD,
        A' = A/N + ρI,   c = Cᵀ/N + ρW                                                (N25)

    w (m, d) float64 -> T and α. The better one of (N21) and (N47), then (N24). Without ``scale`` α begins with (N22),
    grows while (N47) gets better, and takes turns with (N24), α ⟨T, c⟩/⟨T, TA'⟩ being best for T (N26). The outputs'
    error is at most that of (N21) at (N22): no T is nearer to W.
    """
    A, C, _ = statistics.normalised()
    rho, fixed = ridge * float(np.trace(A)) / len(A) + 1e-300, scale is not None
    scale = frobenius_scale(w, levels) if scale is None else scale
    A, c = A + rho * np.eye(len(A)), C.T + rho * w                                                              # (N25)

    def value(t: Array) -> float:
        return inner_product(t, product(t, A)) - 2 * inner_product(t, c)

    def greedy(scale: float) -> Array:
        return by_columns(A, solution, lambda column, _: nearest(column, levels, scale))

    solution, wider, t = linalg.solve(A, c.T, assume_a="pos").T, scale, nearest(w, levels, scale)
    while value(new := greedy(wider)) < value(t):
        t, scale, wider = new, wider, wider * (1.0 if fixed else STEP)
    for _ in range(0 if fixed else TURNS):
        t = descend(A, c, t, levels, scale)
        if (along := inner_product(t, c)) > 0:
            factor = along / inner_product(t, product(t, A))                                                    # (N26)
            scale, t = scale * factor, t * factor
    return descend(A, c, t, levels, scale), scale


def excess_bound(A: Array, w: Array, levels: Sequence[float], scale: float) -> float:
    """What every T on the grid costs more than the least squares solution w (m, d), at least.

        min ⟨T − W, (T − W)A⟩ ≥ λ Σ_oj v_j min_{d ∈ αD} (w_oj − d)²,   v_j = 1/[A⁻¹]_jj,
        λ the least eigenvalue of A_jk/√(v_j v_k), so that A − λ diag(v) ⪰ 0          (N27)
    """
    v = 1 / np.diag(linalg.inv(A))
    least = linalg.eigvalsh(A / np.sqrt(np.outer(v, v)), subset_by_index=(0, 0))[0]
    return max(0.0, float(least * (np.square(w - nearest(w, levels, scale)) @ v).sum()))                        # (N27)


def dyadic_network(network: Network, levels: Sequence[float], batches: Callable[[], Iterable[Array]] | None = None, *,
                   scale: float | None = None, layers: Sequence[int] | None = None) -> Network:
    """The network with all weights, dense and convolutional, or those of ``layers``, on a grid; biases stay floats.

    batches() gives inputs: from first to last every layer is fitted (N25), on what the student feeds it, to what it
    gave, with the best bias (S3); None: nearest rounding (N21). ``scale``, or the best one of each layer, to 12 bits,
    so that float32 holds αd exactly. Raises InputError for grouped convolutions with batches.
    """
    student = network
    for i in network.weight_layers if layers is None else layers:
        layer, w, (weights, b) = network.layers[i], matrix(network.layers[i]), network.layers[i].params
        if batches is not None and layer.settings.get("groups", 1) > 1:
            raise InputError(f"dyadic_network: layer {i} is a grouped convolution; without batches it can be rounded")
        data = collect_statistics(student, network, batches, [i]) if batches is not None else []
        t, alpha = output_space(data[0], w, levels, scale=scale) if data else (w, scale or frobenius_scale(w, levels))
        fraction, exponent = math.frexp(alpha)
        t = nearest(t, levels, math.ldexp(round(4096 * fraction), exponent - 12))
        params = (t.reshape(weights.shape).astype(weights.dtype), data[0].intercept(t).astype(b.dtype) if data else b)
        student = student.replace({i: replace(layer, params=params)})
    return student


@dataclass(frozen=True)
class Levels:
    """The indicator of weights on a grid, not convex: 0 where all w_i ∈ αD, else ∞; its proximal step rounds (N28)"""

    levels: tuple[float, ...]
    scale: float = 1.0

    def value(self, w: Array) -> float:
        """0 where all weights are on the grid, else ∞."""
        return 0.0 if np.array_equal(self.prox(w, 1.0), w) else math.inf                                        # (N28)

    def prox(self, v: Array, step: float | Array) -> Array:
        """The nearest point of the grid (N21), whatever the step."""
        return nearest(v, self.levels, self.scale)                                                              # (N28)


def dyadic_student(start: Network, levels: Sequence[float], data: Batch, objective: Objective, *, optimiser: Optimiser,
                   settings: TrainingSettings, rng: np.random.Generator) -> Iterator[Record]:
    """Layers go on the grid from first to last; after each of them the rest of the network learns to make up for it.

    A layer is fitted (N25) to what it gives in the network as trained so far; (N28) holds it from then on. Arguments as
    of ``train``, ``settings`` of the stage of each layer. The network of the last record is on the grid.
    """
    penalties, batches = dict[int, Penalty](), batches_of(data["x"][:EXAMPLES], MAPS if convolves(start) else None)
    for i in start.weight_layers:
        start = dyadic_network(start, levels, batches, layers=[i])
        penalties[i] = Levels(tuple(np.unique(start.layers[i].params[0]).tolist()))
        for record in train(start, data, objective, optimiser=optimiser, penalties=penalties, settings=settings,
                            rng=rng):
            yield replace(record, stage=f"layer {i} on the grid")
        start = record.network


def additions_and_shifts(network: Network, shape: Sequence[int] | None = None) -> tuple[int, int]:
    """What the layers of weights of a network on grids add and shift for an example.

        additions = Σ_o P max(Σ_j s(n_oj) + [b_o ≠ 0] − 1, 0),   shifts = Σ_oj P (s(n_oj) − [n_oj odd])       (N30)

    W = u n with whole n; s: their signed digits (N31), each a shifted input; P positions. Neither u nor what stands
    between the layers is counted. ``shape`` as in npkd.nn.cost.of. Raises InputError for weights on no grid.
    """
    additions, shifts = 0, 0
    for i, positions in positions_of(network, shape).items():
        n = grid(matrix(network.layers[i]), most=2 ** 16)[1]
        digits = signed_digits(n.astype(np.int64))
        sums = np.maximum(digits.sum(axis=1) + (network.layers[i].params[1] != 0) - 1, 0)
        additions += positions * int(sums.sum())                                                                # (N30)
        shifts += positions * int((digits - n % 2).sum())                                                       # (N30)
    return additions, shifts
