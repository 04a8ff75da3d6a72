"""The forward pass in whole numbers alone, bit for bit that of an ordinary network. docs/book/24-quantisation.md.

Whole numbers and steps are found again from the weights: a row lies on a grid of step s where every w/s is whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError, finite, floats
from npkd.nn.convolution import Grid, gathered, pair
from npkd.nn.network import Layer, Network, at_once

LARGEST, EXACT = 2 ** 31 - 1, 2 ** 53
"""In 32 bits; below which float64 has every whole number."""
ANYWHERE, RESHAPING = ("relu", "max_pool", "dropout"), ("flatten", "unflatten", "select")
"""Layers that go on counting in the same units; of RESHAPING where all channels have one."""


def odd_part(a: Array) -> tuple[Array, Array]:
    """Whole numbers m, odd or 0, and e, with a = m 2^e exactly: floats a of any shape, int64 both."""
    mantissa, e = np.frexp(a.astype(np.float64))
    m = np.ldexp(mantissa, 53).astype(np.int64)
    zeros = np.log2(np.maximum(m & -m, 1)).astype(np.int64)
    return m >> zeros, e - 53 + zeros


def grid(w: Array, *, per_channel: bool = True, most: int = 127) -> tuple[Array, Array]:
    """The coarsest steps on which weights lie, and what they are in steps: w = s q, exactly.

        s_o = gcd_i w_oi,   q_oi = w_oi / s_o                                                          (N50)

    w (O, ...) floats -> s (O,), or (1,) of all rows together, float64; q like w, int32. A float is a whole multiple of
    a power of two, so that the divisor is exact. Rows of zeros have the least step of the others. Raises InputError
    where |q| is larger than ``most``: such weights lie on no grid.
    """
    floats("grid", w=w)
    finite("grid", w=w)
    m, e = odd_part(w.reshape(len(w) if per_channel else 1, -1))
    least = e.min(axis=1, keepdims=True, where=m != 0, initial=9999)
    bits = np.where(m != 0, e - least + np.log2(abs(m) + 0.5), 0)
    whole = m << np.where(m != 0, e - least, 0) * (bits < 62)
    divisor = np.gcd.reduce(whole, axis=1, keepdims=True)
    q = whole // np.maximum(divisor, 1)
    if (bits >= 62).any() or abs(q).max(initial=0) > most:
        raise InputError(f"grid: weights of shape {w.shape} are no whole multiples, at most {most}, of a step for each "
                         f"{'row' if per_channel else 'matrix'}; quantise them first, at steps of few significant bits")
    s = np.ldexp(divisor.astype(np.float64), least)[:, 0]            # (N50)
    s[s == 0] = s.min(where=s > 0, initial=1.0)
    return s, q.reshape(w.shape).astype(np.int32)


def requantised(a: Array, m: Array, n: Array) -> Array:
    """a m / 2ⁿ to the nearest whole number, halves to the even one: a product, two additions, shifts that round down.

        ⌊p/2ⁿ⌉ = (p + 2ⁿ⁻¹ − 1 + (p ≫ n) mod 2) ≫ n,   p = a m                                        (N51)

    a (..., J), m and n (J,) or (1,), whole numbers, n ≥ 1, |a m| < 2⁶² -> int64. Source: Jacob et al. 2018; there
    halves go up.
    """
    p = a.astype(np.int64) * m
    return np.right_shift(p + np.left_shift(1, n - 1) - 1 + np.right_shift(p, n) % 2, n)             # (N51)


def product(h: Array, q: Array) -> Array:
    """h qᵀ of int32 (N, I) and (O, I): (N, O), which must fit into int32."""
    return np.asarray(np.einsum("ni,oi->no", h, q))


def shifted_product(h: Array, q: Array) -> Array:
    """The same by additions and shifts, a plane of signs for each bit of the weights.

        h qᵀ = Σ_b 2^b (h q_bᵀ),   q_b = sign(q) · (bit b of |q|) ∈ {−1, 0, 1}                         (N52)
    """
    total: Array = np.zeros((len(h), len(q)), h.dtype)
    for b in range(int(abs(q).max(initial=0)).bit_length()):
        total = total + (product(h, np.sign(q) * (abs(q) >> b & 1)) << b)      # (N52)
    return total


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """A network in whole numbers: activations and accumulators int32, weights of at most 8 bits.

        a_o = Σ_i q_oi h_i + k_o,   k_o = ⌊b_o/(s_o u)⌉,   u what 1 in h is worth, s_o u what 1 in a_o is      (N53)
        h'_o = clip(⌊a_o m_o 2⁻ⁿ⌉ + zero, low, high) − zero,   m_o 2⁻ⁿ = s_o u / u' exactly, m_o < 2³¹         (N54)

    layers       of the network, each with its whole numbers: of weights q and k, of quantize m and n, others none
    factors      m (C,) and n of the outputs: logits = a m 2⁻ⁿ
    simulation   the ordinary network of these numbers, float64
    shifts       products by (N52)
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
        the same, bit for bit. ``shifts``: every m is 1 as well; nothing is multiplied. Raises InputError where that
        cannot be, and for other layers than those of ``apply``.
        """
        layers, u, bound = list[tuple[Layer, tuple[Array, ...]]](), np.zeros(0), 0
        for i, layer in enumerate(network.astype(np.float64).layers):
            who, o, arrays = f"IntegerNetwork: layer {i}, {layer.row},", layer.settings, tuple[Array, ...]()
            if layer.op == "quantize":
                arrays = multiplier(who, u, o["step"], shifts) if len(u) else ()
                u, bound = np.array([o["step"]], np.float64), max(o["high"] - o["zero"], o["zero"] - o["low"])
            elif layer.row.weights and len(u) == 1:
                s, q = grid(layer.params[0])
                u, k = s * u, np.rint(layer.params[1] / (s * u))     # (N53)
                bound = int((abs(q).reshape(len(q), -1).sum(axis=1) * float(bound) + abs(k)).max())
                layer = replace(layer, params=(q * s.reshape(-1, *[1] * (q.ndim - 1)), k * u))
                arrays = q, k.astype(np.int64)
            elif layer.op == "average_pool" and len(u):
                size = int(np.prod(pair("average_pool", "size", o["size"], 1)))
                u, bound = u / size, bound * size
            elif layer.op not in ANYWHERE and (layer.op not in RESHAPING or len(u) > 1):
                raise InputError(f"{who} has no place here; give dense, conv2d, pools, {', '.join(ANYWHERE)}, with "
                                 f"quantize in front of all weights, and of {', '.join(RESHAPING)} behind weights")
            odd = int(odd_part(u)[0].max(initial=1))
            if bound > LARGEST or bound * odd >= EXACT:              # (N55)
                raise InputError(f"{who} sums up to {bound} units of {odd} · 2ᵉ, beyond 2³¹ or 2⁵³; give fewer bits, "
                                 "or steps of fewer significant bits")
            layers.append((layer, arrays))
        least = int(odd_part(u)[1].min(initial=0))
        m, _ = multiplier("IntegerNetwork: what takes the outputs", u, 2.0 ** least, shifts)
        return IntegerNetwork(layers, (m, 1 - least), Network([layer for layer, _ in layers]), shifts)

    def codes(self, x: Array) -> Array:
        """What the network reads, int32, of floats x (N, ...) by (N40); whole numbers, such as bytes, stay."""
        o = next(layer for layer, _ in self.layers if layer.op == "quantize").settings
        whole = x if x.dtype.kind in "iu" else np.rint(x.astype(np.float64) / o["step"]) + o["zero"]
        return np.asarray(np.clip(whole, o["low"], o["high"]) - o["zero"]).astype(np.int32)

    def __call__(self, x: Array) -> Array:
        """The outputs in one unit, int64 (N, C), of floats or bytes x (N, ...)."""
        rows, parts = at_once(self.simulation, 1000), list[Array]()
        for start in range(0, len(x), rows):
            a = self.codes(x[start:start + rows])
            for layer, arrays in self.layers:
                a = apply(layer, arrays, a, self.shifts)
            parts.append(a * self.factors[0])
        return np.concatenate(parts)

    def logits(self, x: Array) -> Array:
        """The outputs as float64 (N, C): those of ``simulation``, bit for bit."""
        return np.asarray(np.ldexp(self(x).astype(np.float64), -self.factors[1]))

    def classes(self, x: Array) -> Array:
        """The class of each example (N,), found without floats: the largest output, the first of equal ones."""
        return np.asarray(self(x).argmax(axis=1))


def multiplier(who: str, u: Array, step: float, shifts: bool) -> tuple[Array, Array]:
    """m and n ≥ 1 of (N54), int64, u/step = m 2⁻ⁿ. Raises InputError where no m is below 2³¹, or not 1 with shifts."""
    (m, e), (odd, least) = odd_part(u), odd_part(np.array([step]))
    n = least - e
    if (m % odd).any() or (shifts and (m > odd).any()) or (u / step * np.maximum(1, 2.0 ** n)).max() > LARGEST:
        raise InputError(f"{who} has step {step}; what it reads must come in units of that step times "
                         f"{'' if shifts else 'm/'}2ⁿ, m below 2³¹: make it a power of two, and the steps of weights "
                         f"{'powers of two too' if shifts else 'of few significant bits'}")
    return m // odd << np.maximum(1 - n, 0), np.clip(n, 1, 62)       # (N54)  2⁻⁶² or less: all are rounded to 0


def apply(layer: Layer, arrays: tuple[Array, ...], a: Array, shifts: bool) -> Array:
    """One layer on whole numbers, int32: quantize, dense, conv2d, relu, pools, flatten, unflatten, select, dropout.

    average_pool gives sums, whose unit is worth 1/(kh kw) of what it was: it rounds nothing.
    """
    o = layer.settings
    if layer.op == "quantize" and arrays:
        a = np.clip(requantised(a, *arrays) + o["zero"], o["low"], o["high"]) - o["zero"]            # (N54)
    elif layer.row.weights:
        (q, k), groups, times = arrays, o.pop("groups", 1), shifted_product if shifts else product
        h = [part if layer.row.dense else gathered(Grid("conv2d", a.shape[1:3], q.shape[1:3], **o), part)
             for part in np.split(a, groups, axis=-1)]
        y = [times(rows.reshape(-1, q[0].size), part.reshape(len(part), -1))
             for rows, part in zip(h, np.split(q, groups), strict=True)]
        a = np.concatenate(y, axis=1).reshape(*h[0].shape[:1 if layer.row.dense else 3], len(q)) + k           # (N53)
    elif layer.op in ("max_pool", "average_pool"):
        size, stride = (pair(layer.row.name, "size", o[name] or o["size"], 1) for name in ("size", "stride"))
        windows, largest = Grid("pool", a.shape[1:3], size, stride, o["padding"]), layer.op == "max_pool"
        around = windows.padded(a, -LARGEST if largest else 0)
        values = [around[:, row, column] for _, _, row, column in windows.offsets()]
        a = np.max(values, axis=0) if largest else np.sum(values, axis=0)
    elif layer.op in ("flatten", "unflatten"):
        a = a.reshape(len(a), *o.get("shape", [-1]))
    elif layer.op in ("relu", "select"):
        a = np.maximum(a, 0) if layer.op == "relu" else a[:, o["kept"]]
    return a.astype(np.int32, copy=False)
