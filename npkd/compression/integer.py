"""The forward pass in whole numbers alone, bit for bit that of an ordinary network: docs/book/24-quantisation.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from npkd.core.grids import grid, odd_part
from npkd.core.types import Array
from npkd.core.validation import InputError, finite
from npkd.nn.convolution import Grid, gathered, pair
from npkd.nn.network import Layer, Network, at_once

LARGEST, EXACT = 2 ** 31 - 1, 2 ** 53        # in 32 bits; below which float64 has every whole number
ANYWHERE, RESHAPING = ("relu", "max_pool", "dropout"), ("flatten", "unflatten", "select")
"""Layers that go on counting in the same units; of RESHAPING where all channels have one."""


def requantised(a: Array, m: Array, n: Array) -> Array:
    """a m / 2ⁿ to the nearest whole number, halves to the even one: a product, two additions, shifts that round down.

        ⌊p/2ⁿ⌉ = (p + 2ⁿ⁻¹ − 1 + (p ≫ n) mod 2) ≫ n,   p = a m                                        (N51)

    a (..., J), m and n ≥ 1 (J,) or (1,), |a m| < 2⁶² -> int64. Source: Jacob et al. 2018; there halves go up.
    """
    p: Array = a.astype(np.int64) * m
    return np.asarray(np.right_shift(p + np.left_shift(1, n - 1) - 1 + np.right_shift(p, n) % 2, n))     # (N51)


def product(h: Array, q: Array, shifts: bool) -> Array:
    """h qᵀ of int32 (N, I) and (O, I); with ``shifts`` by additions and shifts alone, for each bit b of |q|:

        h qᵀ = Σ_b 2^b (h q_bᵀ),   q_b = sign(q) · (bit b of |q|) ∈ {−1, 0, 1}                         (N52)
    """
    bits = int(abs(q).max(initial=0)).bit_length() if shifts else 0
    planes = [np.sign(q) * (np.right_shift(abs(q), b) & 1) for b in range(bits)]
    return np.asarray(sum(np.einsum("ni,oi->no", h, plane) << b for b, plane in enumerate(planes or [q])))     # (N52)


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """A network in whole numbers: activations and weights bytes less their zero, accumulators and biases int32.

        a_o = Σ_i q_oi h_i + k_o,   k_o = ⌊b_o/(s_o u)⌉,   u what 1 in h is worth, s_o u what 1 in a_o is      (N53)
        h'_o = clip(⌊a_o m_o 2⁻ⁿ⌉ + zero, low, high) − zero,   m_o 2⁻ⁿ = s_o u / u' exactly, m_o < 2³¹         (N54)

    layers      of the network, each with its whole numbers: of weights q and k, of quantize m and n, others none
    factors     m (C,) and n of the outputs: logits = a m 2⁻ⁿ;   shifts  products by (N52)
    simulation  the ordinary network of these numbers, float64
    """

    layers: Sequence[tuple[Layer, tuple[Array, ...]]]
    factors: tuple[Array, int]
    simulation: Network
    shifts: bool

    @staticmethod
    def of(network: Network, *, shifts: bool = False) -> IntegerNetwork:
        """Of a network whose weights lie on grids and read what ``quantize`` gives; its biases are rounded, (N53).

            Σ_i |q_oi| max|h| + |k_o| ≤ 2³¹ − 1,   and less than 2⁵³ over the odd part of s_o u                (N55)

        so that no accumulator overflows, in any order, and float64 rounds nowhere in ``simulation`` but in quantize:
        the same, bit for bit. ``shifts``: every m is a power of two as well; nothing is multiplied. Raises InputError
        where that cannot be, and for other layers than those of ``apply``.
        """
        layers, u, bound, odd = list[tuple[Layer, tuple[Array, ...]]](), np.zeros(0), 0, 1
        for i, layer in enumerate(network.astype(np.float64).layers):
            who, o, arrays = f"IntegerNetwork: layer {i}, {layer.row},", layer.settings, tuple[Array, ...]()
            windows = np.prod(pair(who, "size", o["size"], 1), dtype=int) if layer.op == "average_pool" else 3
            if layer.op == "quantize":
                step = np.array([o["step"]], np.float64)
                arrays = multiplier(who, u, step, shifts) if len(u) else ()
                u, bound, odd = step, max(o["high"] - o["zero"], o["zero"] - o["low"]), int(odd_part(step)[0][0])
            elif layer.row.weights and len(u) == 1:
                (s, q), b = grid(layer.params[0], most=255), layer.params[1]
                finite(who, b=b)
                u, odd, k = s * u, odd * int(odd_part(s)[0].max()), np.rint(b / (s * u))               # (N53)
                bound = int((abs(q).reshape(len(q), -1).sum(axis=1) * float(bound) + abs(k)).max())
                layer, arrays = replace(layer, params=(layer.params[0], k * u)), (q, k.astype(np.int64))
            elif len(u) and windows & (windows - 1) == 0:
                u, bound = u / windows, bound * int(windows)
            elif layer.op not in ANYWHERE and (layer.op not in RESHAPING or len(u) > 1):
                raise InputError(f"{who} has no place here; give dense, conv2d, {', '.join(ANYWHERE)}, pools of 2ⁿ; "
                                 f"quantize before all weights, and before {', '.join(RESHAPING)} behind them")
            if bound > LARGEST or bound * odd >= EXACT:              # (N55)
                raise InputError(f"{who} sums up to {bound} units of {odd} · 2ᵉ, beyond 2³¹ or 2⁵³; give fewer bits, "
                                 "or steps of fewer significant bits")
            layers.append((layer, arrays))
        least = np.exp2(odd_part(u)[1].min(initial=0, keepdims=True))
        m, _ = multiplier("IntegerNetwork: what takes the outputs", u, least, shifts)
        return IntegerNetwork(layers, (m, 1 - int(np.log2(least[0]))), Network([layer for layer, _ in layers]), shifts)

    def __call__(self, x: Array) -> Array:
        """The outputs in one unit, int64 (N, C), of x (N, ...): floats become (N40), bytes and the like stay."""
        rows, parts = at_once(self.simulation, 1000), list[Array]()
        o = next(layer for layer, _ in self.layers if layer.op == "quantize").settings
        for a in (x[i:i + rows] for i in range(0, len(x), rows)):
            a = a if a.dtype.kind in "iu" else np.rint(a.astype(np.float64) / o["step"]) + o["zero"]
            a = np.clip(a, o["low"], o["high"]).astype(np.int32) - np.int32(o["zero"])
            for layer, arrays in self.layers:
                a = apply(layer, arrays, a, self.shifts)
            parts.append(a * self.factors[0])
        return np.concatenate(parts)

    def logits(self, x: Array) -> Array:
        """The outputs as float64 (N, C): those of ``simulation``, bit for bit."""
        return np.asarray(np.ldexp(self(x).astype(np.float64), -self.factors[1]))


def multiplier(who: str, u: Array, step: Array, shifts: bool) -> tuple[Array, Array]:
    """m and n ≥ 1 of (N54), int64, u/step = m 2⁻ⁿ. Raises InputError unless m < 2³¹; with shifts, is a power of 2."""
    (m, e), (odd, least) = odd_part(u), odd_part(step)
    n = least - e
    if (m % odd).any() or (shifts and (m > odd).any()) or np.maximum(m // odd, 2 * u / step).max(initial=0) > LARGEST:
        raise InputError(f"{who} reads what comes in no m/2ⁿ of its step {step[0]}, m whole and at most "
                         f"{1 if shifts else LARGEST}; take powers of two, and short steps of weights")
    return m // odd << np.maximum(1 - n, 0), np.clip(n, 1, 62)       # (N54)  2⁻⁶² or less: all are rounded to 0


def apply(layer: Layer, arrays: tuple[Array, ...], a: Array, shifts: bool) -> Array:
    """One layer on whole numbers, int32. average_pool gives sums, whose unit is worth 1/(kh kw): it rounds nothing."""
    o = layer.settings
    if layer.op == "quantize" and arrays:
        a = np.clip(requantised(a, *arrays) + o["zero"], o["low"], o["high"]) - o["zero"]            # (N54)
    elif layer.row.weights:
        (q, k), groups = arrays, o.pop("groups", 1)
        h = [part if layer.row.dense else gathered(Grid("conv2d", a.shape[1:3], q.shape[1:3], **o), part)
             for part in np.split(a, groups, axis=-1)]
        y = [product(rows.reshape(-1, q[0].size), part.reshape(len(part), -1), shifts)
             for rows, part in zip(h, np.split(q, groups), strict=True)]
        a = np.concatenate(y, axis=1).reshape(*h[0].shape[:1 if layer.row.dense else 3], len(q)) + k           # (N53)
    elif layer.op in ("max_pool", "average_pool"):
        size, stride = (pair(layer.row.name, "size", o[name] or o["size"], 1) for name in ("size", "stride"))
        windows, largest = Grid("pool", a.shape[1:3], size, stride, o["padding"]), layer.op == "max_pool"
        around = windows.padded(a, -LARGEST if largest else 0)
        a = (np.max if largest else np.sum)([around[:, row, column] for _, _, row, column in windows.offsets()], axis=0)
    elif layer.op in ("flatten", "unflatten"):
        a = a.reshape(len(a), *o.get("shape", [-1]))
    elif layer.op in ("relu", "select"):
        a = np.maximum(a, 0) if layer.op == "relu" else a[:, o["kept"]]
    return a.astype(np.int32, copy=False)
