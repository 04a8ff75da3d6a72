"""What choosing neurons costs, in Cholesky inverses of its size.

    python -m reference.benchmarks.choice [d ...]           default: 500 1000 2000 4000

A layer of d noisy inputs (rank 50, and noise of a tenth) and 300 outputs: costs by saliency, then the certified group
lasso that keeps 80 % of them, and a tenth. Beside the time of each stands that of one Cholesky inverse of a d × d
matrix (LAPACK's dpotrf and dpotri), the least of several, measured before and after. One thread; processor
time, so that other work on the machine counts little. Exits with 1 where 80 % cost more than LIMIT inverses, or where a
choice has another number of neurons or no certificate.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from scipy.linalg import lapack

from npkd.sparsity.group_lasso import TOLERANCE
from npkd.sparsity.saliency import most_useful
from npkd.sparsity.statistics import Statistics

Result = TypeVar("Result")

LIMIT, OUTPUTS, RANK, NOISE = 30, 300, 50, 0.1
"""Cholesky inverses that a choice may cost; outputs of the layer; rank and relative noise of its inputs."""


def noisy_layer(d: int, seed: int = 0) -> Statistics:
    """Statistics of 4 d examples of d inputs of rank RANK with noise, and OUTPUTS outputs that are linear in them."""
    rng = np.random.default_rng(seed)
    h = rng.standard_normal((4 * d, RANK)) @ rng.standard_normal((RANK, d)) / np.sqrt(RANK)
    h += NOISE * rng.standard_normal(h.shape)
    return Statistics.of(h, h @ rng.standard_normal((d, OUTPUTS)))


def seconds(work: Callable[[], Result], times: int) -> tuple[float, Result]:
    """The least processor time of several, and what the last returned."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        result = work()
        taken.append(time.process_time() - start)
    return min(taken), result


def inverse(A: np.ndarray) -> np.ndarray:
    """One Cholesky inverse, the lower half."""
    return np.asarray(lapack.dpotri(lapack.dpotrf(A, lower=1)[0], lower=1)[0])


def main(sizes: list[int]) -> int:
    """Print a row for each size; 1 where one is above the limit."""
    failed = False
    print("     d  keep   inverse s   choice s   inverses   kept      gap")
    for d in sizes:
        statistics = noisy_layer(d)
        A = np.asfortranarray(statistics.normalised()[0])
        for part in (0.8, 0.1):
            neurons, repeats = round(part * d), 3 if d <= 1000 else 1
            unit, _ = seconds(partial(inverse, A), 2 * repeats)
            taken, (solution, _) = seconds(partial(most_useful, statistics, neurons, 1e-4), repeats)
            unit = min(unit, seconds(partial(inverse, A), 2 * repeats)[0])
            right = len(solution.kept) == neurons and solution.gap <= TOLERANCE
            failed |= not right or (part == 0.8 and taken > LIMIT * unit)
            print(f"{d:6d} {part:5.0%} {unit:11.4f} {taken:10.3f} {taken / unit:10.1f} {len(solution.kept):6d} "
                  f"{solution.gap:8.1e}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main([int(d) for d in sys.argv[1:]] or [500, 1000, 2000, 4000]))
