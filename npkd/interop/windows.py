"""Windows of other libraries' convolutions and pools as npkd has them: whole ones, padded alike on both sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from npkd.core.types import Array

Require = Callable[[bool, str], None]
"""Raises an error that names a node, and what stands in its way, unless something is so."""


def evened(w: Array, before: Sequence[int], behind: Sequence[int], dilation: Sequence[int],
           require: Require) -> tuple[Array, dict[str, Any]]:
    """A kernel w (F, kh, kw, C) for maps padded by ``before`` and ``behind`` rows and columns as one for maps padded
    alike, and its options: where more is padded behind, the kernel gets as many zeros in front, and the other way."""
    more = [int(b - a) for a, b in zip(before, behind, strict=True)]
    require(all(n % d == 0 for n, d in zip(more, dilation, strict=True)),
            f"pads by {[*before]} before and {[*behind]} behind, between its dilated weights")
    zeros = [(max(n, 0) // d, max(-n, 0) // d) for n, d in zip(more, dilation, strict=True)]
    padding = tuple(max(int(a), int(b)) for a, b in zip(before, behind, strict=True))
    return np.pad(w, [(0, 0), *zeros, (0, 0)]), {"padding": padding, "dilation": tuple(dilation)}


def pool_options(sizes: Sequence[int], window: dict[str, Any], beyond: bool, counts: bool,
                 require: Require) -> dict[str, Any]:
    """Options of a pool over maps of these sizes, of its size, stride, padding and dilation, (rows, columns) each.
    ``beyond``: do its windows reach beyond the maps where those do not end with one; ``counts``: do means count the
    padding?"""
    each = zip(sizes, window["size"], window["stride"], window["padding"], strict=True)
    require(window.pop("dilation") == (1, 1), "has windows with gaps (dilation)")
    require(not beyond or not any((n + 2 * a - k) % t for n, k, t, a in each),
            "has windows that reach beyond the map (ceil_mode)")
    require(counts or not any(window["padding"]), "leaves the padding out of its means (count_include_pad)")
    return window
