"""Grids of weights, found again from their values: a row lies on a grid of step s where every w/s is whole."""

from __future__ import annotations

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError, finite, floats


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
        raise InputError(f"grid: weights of shape {w.shape} lie on no grid: no whole multiples, at most {most}, of a "
                         f"step a {'row' if per_channel else 'matrix'}; quantise them first, at steps of few digits")
    s = np.ldexp(divisor.astype(np.float64), least)[:, 0]            # (N50)
    s[s == 0] = s.min(where=s > 0, initial=1.0)
    return s, q.reshape(w.shape).astype(np.int32)
