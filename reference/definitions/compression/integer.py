"""The definitions of npkd/compression/integer.py, without floats, in two ways: whole numbers of Python, as a processor
of bytes has them, and fractions, in which the network in floating point is computed without any rounding but its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def grid(row: Sequence[float], most: int) -> tuple[Fraction, list[int]] | None:
    """The coarsest step, by trial: the largest weight is 1, 2, …, ``most`` steps. None where it is none of these."""
    exact = [Fraction(float(value)) for value in row]
    largest = max(abs(value) for value in exact)
    for count in range(1, most + 1):
        step = largest / count
        if step and all((value / step).denominator == 1 for value in exact):
            return step, [int(value / step) for value in exact]           # (N50)
    return None


def requantised(a: int, m: int, n: int) -> int:
    return round(Fraction(a * m, 2 ** n))                                 # (N51)  Python rounds halves to even


def dense(h: Sequence[int], q: Sequence[Sequence[int]], k: Sequence[int]) -> list[int]:
    accumulators = []
    for weights, bias in zip(q, k, strict=True):
        accumulator = bias
        for weight, value in zip(weights, h, strict=True):
            accumulator += weight * value                                 # (N53)
            assert -2 ** 31 <= accumulator < 2 ** 31
        accumulators.append(accumulator)
    return accumulators


def byte(a: int, m: int, n: int, zero: int, low: int, high: int) -> int:
    return min(max(requantised(a, m, n) + zero, low), high) - zero        # (N54)


def exact(x: Array) -> Array:
    """Floats as fractions, in an array of objects."""
    return np.array([Fraction(float(value)) for value in x.reshape(-1)], object).reshape(x.shape)


def forward(op: str, x: Array, params: Sequence[Array], options: Mapping[str, Any]) -> Array:
    """One layer on one example of fractions."""
    if op == "quantize":
        step, zero = Fraction(float(options["step"])), options.get("zero", 0)
        low, high = options.get("low", 0), options.get("high", 255)
        y = [step * (min(max(round(value / step) + zero, low), high) - zero) for value in x.reshape(-1)]
        return np.array(y, object).reshape(x.shape)
    if op == "dense":
        w, b = params
        return np.array([sum((exact(row) * x).tolist(), Fraction(float(bias))) for row, bias in zip(w, b, strict=True)])
    if op == "relu":
        return np.array([max(value, Fraction(0)) for value in x.reshape(-1)], object).reshape(x.shape)
    if op == "flatten":
        return x.reshape(-1)
    if op == "unflatten":
        return x.reshape(options["shape"])
    assert op in ("conv2d", "max_pool", "average_pool")
    return windows(op, x, params, options)


def windows(op: str, x: Array, params: Sequence[Array], options: Mapping[str, Any]) -> Array:
    """A convolution or a pooling, window by window; equal sides, no dilation, in one group."""
    size = options["size"] if op != "conv2d" else params[0].shape[1]
    stride, padding = options.get("stride", 1 if op == "conv2d" else None) or size, options.get("padding", 0)
    positions = [range(-padding, n + padding - size + 1, stride) for n in x.shape[:2]]
    y = []
    for r in positions[0]:
        for s in positions[1]:
            seen = [(i, j, x[r + i, s + j]) for i in range(size) for j in range(size)
                    if 0 <= r + i < x.shape[0] and 0 <= s + j < x.shape[1]]
            for c in range(len(params[0]) if params else x.shape[2]):
                if op == "conv2d":
                    y.append(sum((value for i, j, at in seen for value in exact(params[0][c, i, j]) * at),
                                 Fraction(float(params[1][c]))))
                elif op == "max_pool":
                    y.append(max(at[c] for _, _, at in seen))
                else:
                    y.append(sum((at[c] for _, _, at in seen), Fraction(0)) / size ** 2)
    return np.array(y, object).reshape(len(positions[0]), len(positions[1]), -1)
