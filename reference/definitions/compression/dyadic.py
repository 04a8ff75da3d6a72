"""The definitions of npkd/compression/dyadic.py: loops, all grids tried out, products by shifts counted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from npkd.core.types import Array


def dyadic(bits: int) -> list[Fraction]:
    """All a/2^b between −1 and 1                                                                       (N20)"""
    return sorted({Fraction(a, 2 ** bits) for a in range(-2 ** bits, 2 ** bits + 1)})


def nearest(w: Array, levels: Sequence[float], scale: float = 1.0) -> Array:
    """One 0-1 variable for each level of each weight, one of them 1: the least sum of squares             (N21)"""
    t = np.zeros(w.shape)
    for k in np.ndindex(w.shape):
        t[k] = min((scale * d for d in levels), key=lambda d: (float(w[k]) - d) ** 2)
    return t


def grids(shape: tuple[int, ...], levels: Sequence[float]) -> Iterator[Array]:
    """Every array of that shape with entries among the levels."""
    for entries in itertools.product(levels, repeat=int(np.prod(shape))):
        yield np.reshape(entries, shape)


def best_scale(w: Array, levels: Sequence[float]) -> tuple[float, float]:
    """The least ‖W − αT‖² over every T, each with its own best α > 0; that α                             (N22)"""
    best = (float((w ** 2).sum()), 1.0)
    for t in grids(w.shape, levels):
        along, size = float((w * t).sum()), float((t * t).sum())
        if along > 0:
            best = min(best, (float(((w - along / size * t) ** 2).sum()), along / size))
    return best


def output_error(h: Array, z: Array, t: Array) -> float:
    """1/N Σ_n ‖z_n − b − T h_n‖² with the best b, example by example; the first part of                 (N25)"""
    left = np.array([z[n] - t @ h[n] for n in range(len(h))])
    b = left.mean(axis=0)
    return sum(float(((r - b) ** 2).sum()) for r in left) / len(h)


def excess(A: Array, w: Array, levels: Sequence[float], scale: float) -> float:
    """The least ⟨T − W, (T − W)A⟩ over every T on the grid, row by row: what (N27) bounds."""
    return sum(min(float((scale * t - row) @ A @ (scale * t - row)) for t in grids(row.shape, levels)) for row in w)


def signed_digits(n: int) -> int:
    """The fewest powers of two whose sum with signs is n: how often one goes from n to 0 by its nearest power (N31)"""
    count = 0
    while n:
        power = 2 ** (abs(n).bit_length() - 1)
        power = 2 * power if 2 * abs(n) > 3 * power else power
        n, count = abs(n) - power, count + 1
    return count


@dataclass
class Counter:
    """Arithmetic by additions and shifts alone, counted."""

    additions: int = 0
    shifts: int = 0

    def terms(self, x: float, n: int) -> list[float]:
        """Signed shifts of x whose sum is n x; one by 0 places is none."""
        out, place, sign = [], 0, 1 if n > 0 else -1
        n = abs(n)
        while n:
            if n % 2:
                digit = 2 - n % 4                     # of …01: 1, of …11: −1, so that the next digit is 0
                out.append(sign * digit * x * 2 ** place)
                self.shifts += place > 0
                n -= digit
            n, place = n // 2, place + 1
        return out

    def dense(self, x: Array, n: Array, b: Array) -> Array:
        """N x + b of one example x (I,), whole numbers n (O, I), bias b (O,)                               (N30)"""
        y = np.zeros(len(n))
        for o in range(len(n)):
            terms = [term for j in range(len(x)) for term in self.terms(float(x[j]), int(n[o, j]))]
            terms += [float(b[o])] if b[o] else []
            y[o] = terms[0] if terms else 0.0
            for term in terms[1:]:
                y[o] += term
                self.additions += 1
        return y
