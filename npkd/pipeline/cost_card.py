"""A card of what a network costs: counted, measured on this machine, and estimated. docs/book/26-coding-and-cost.md."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from npkd.compression.dyadic import additions_and_shifts
from npkd.compression.integer import ANYWHERE, RESHAPING
from npkd.core.grids import grid
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.nn import cost
from npkd.nn.fast.workspace import predict
from npkd.nn.model import Model, content
from npkd.nn.network import Network
from npkd.sparsity.collect import matrix

PICOJOULES: Mapping[str, float] = {
    "float32 multiplication": 3.7, "float32 addition": 0.9, "int8 multiplication": 0.2, "int32 addition": 0.1,
    "64 bits of 8 KB": 10.0, "64 bits of 32 KB": 20.0, "64 bits of 1 MB": 100.0, "64 bits of DRAM": 1950.0}
"""Of one operation in 45 nm at 0.9 V, Horowitz 2014, figure 1.1.9; of DRAM the middle of 1.3 to 2.6 nJ. A shift is
counted as an addition."""
MEMORIES = ((8 << 10, "64 bits of 8 KB"), (32 << 10, "64 bits of 32 KB"), (1 << 20, "64 bits of 1 MB"))
"""Sizes up to which all weights lie in a memory; above, in DRAM."""
BATCHES, REPEATS, CONFIDENCE = (1, 256), 31, 0.95
"""Examples that are predicted at once, how often that is timed, and the confidence of the interval of the median."""


@dataclass(frozen=True)
class Counts:
    """What is counted of a network, for one example.

    parameters, nonzeros    stored numbers, and those of them that are not zero
    macs, nonzero_macs      multiply-accumulates, and those of weights that are not zero
    additions               of the layers of weights: of each output one less than it has terms, its bias among them
    shifts, shift_additions of weights on grids, without multiplications (N30); None where they lie on none
    arithmetic              "float32", or "int8" where weights lie on grids of bytes and what they read is quantized
    memory, raw, coded      bytes of the weights in memory, of the .npz and of the .npkz
    picojoules              an **estimate** of the energy, see ``energy``
    """

    parameters: int
    nonzeros: int
    macs: int
    nonzero_macs: int
    additions: int
    shifts: int | None
    shift_additions: int | None
    arithmetic: str
    memory: int
    raw: int
    coded: int
    picojoules: float


def counts(model: Model) -> Counts:
    """The counts of a model. Raises InputError where the size of its maps is unknown."""
    network, bytes_ = model.network, cost.of(model.network)
    positions, nonzero_macs, additions = cost.positions_of(network), 0, 0
    for i, p in positions.items():
        w, b = matrix(network.layers[i]), network.layers[i].params[1]
        terms = (w != 0).sum(axis=1) + (b != 0)
        nonzero_macs += p * int(np.count_nonzero(w))
        additions += p * int(np.maximum(terms - 1, 0).sum())                                                    # (C4)
    shift_additions, shifts, arithmetic = None, None, arithmetic_of(network)
    with suppress(InputError):
        shift_additions, shifts = additions_and_shifts(network)
    arrays = [a for layer in network.layers for a in (*layer.params, *layer.running)]
    weight = 1 if arithmetic == "int8" else 4
    memory = sum(a.size * (weight if a.ndim > 1 else 4) for a in arrays)
    nonzeros = sum(int(np.count_nonzero(a)) for a in arrays)
    return Counts(bytes_.parameters, nonzeros, bytes_.macs, nonzero_macs, additions, shifts, shift_additions,
                  arithmetic, memory, len(content(model)), len(content(model, coded=True)),
                  energy(nonzero_macs, additions, arithmetic, memory))


def arithmetic_of(network: Network) -> str:
    """See Counts."""
    for i in cost.positions_of(network):                                                  # depthwise ones, too
        fronts = (layer.op for layer in reversed(network.layers[:i]) if layer.op not in (*ANYWHERE, *RESHAPING))
        try:
            grid(matrix(network.layers[i]))
        except InputError:
            return "float32"
        if next(fronts, "") != "quantize":
            return "float32"
    return "int8"


def energy(macs: int, additions: int, arithmetic: str, memory: int) -> float:
    """An estimate of the energy of one prediction, in picojoules: arithmetic, and each weight read once.

        E = macs e_× + additions e_+ + ⌈memory/8⌉ e_64(memory)                        (C5)

    Activations, control and idle time are left out, so a device takes more: the estimate compares networks, and says
    nothing of a machine. Constants: PICOJOULES.
    """
    times, plus = ("int8 multiplication", "int32 addition") if arithmetic == "int8" else (
        "float32 multiplication", "float32 addition")
    where = next((name for size, name in MEMORIES if memory <= size), "64 bits of DRAM")
    return (macs * PICOJOULES[times] + additions * PICOJOULES[plus]
            + -(-memory // 8) * PICOJOULES[where])                                    # (C5)


@dataclass(frozen=True)
class Measured:
    """What is measured on this machine for one batch: seconds (median, and the interval that holds the true one with
    CONFIDENCE), and bytes that NumPy asks for at the most."""

    batch: int
    seconds: float
    interval: tuple[float, float]
    peak_bytes: int


def measured(model: Model, batch: int, clock: Callable[[], float] = time.perf_counter) -> Measured:
    """Time and memory of a prediction of ``batch`` random examples: REPEATS times, after one that is not counted.

    The interval is that of order statistics, for which no distribution is assumed: from the k-th smallest to the k-th
    largest time, k the largest with P(fewer than k of n are below the median) ≤ (1 − CONFIDENCE)/2.
    """
    shape = cost.input_shape(model.network)
    x = np.random.default_rng(0).random((batch, *shape), np.float32)
    predict(model.network, x)
    times: list[float] = []
    for _ in range(REPEATS):
        began = clock()
        predict(model.network, x)
        times.append(clock() - began)
    times.sort()
    k = max(1, int(binom.ppf((1 - CONFIDENCE) / 2, REPEATS, 0.5)))
    return Measured(batch, times[REPEATS // 2], (times[k - 1], times[-k]), peak(model.network, x))


def peak(network: Network, x: Array) -> int:
    """Bytes that a prediction asks for at the most."""
    tracemalloc.start()
    try:
        predict(network, x)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
