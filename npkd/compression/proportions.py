"""A budget shared over the layers without curves: the same part of each, or by scores that compare across layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError

Size = Callable[[Sequence[int]], float]
"""Widths, inputs first and without the outputs -> what the budget counts."""


def proportional(widths: Sequence[int], size: Size, budget: float, keep_inputs: bool = False) -> list[int]:
    """The same part of every layer, as large as the budget allows.

        w'_k = max(1, ⌊f w_k⌋),   f as large as size(w') ≤ budget allows              (I7)

    What is left goes, a neuron at a time, to the layer that then has the smallest part of what it had. With
    ``keep_inputs`` w'_0 = w_0. Raises InputError where one neuron a layer is still too large.
    """
    def part(f: float) -> list[int]:
        return [w if keep_inputs and k == 0 else max(1, int(f * w)) for k, w in enumerate(widths)]               # (I7)

    possible(part(0.0), size, budget)
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if size(part(middle)) <= budget else (low, middle)
    out = part(low)
    while True:
        larger = [(out[k] / w, k) for k, w in enumerate(widths)
                  if out[k] < w and size([v + (i == k) for i, v in enumerate(out)]) <= budget]
        if not larger:
            return out
        out[min(larger)[1]] += 1


def by_scores(scores: Sequence[Array], size: Size, budget: float, keep_inputs: bool = False) -> list[int]:
    """One neuron after the other goes, whichever costs the least score for what it saves.

        next = argmin_j  s_j / (size(now) − size(now without j))                      (I8)

    scores: one (d_k,) a dependency group, not negative, in one unit. Returns widths, none below 1.
    Raises InputError where one neuron a layer is still too large.
    """
    ranked = [np.sort(s)[::-1] for s in scores]
    widths = [len(s) for s in ranked]
    movable = range(bool(keep_inputs), len(widths))
    possible([1 if k in movable else w for k, w in enumerate(widths)], size, budget)
    while (now := size(widths)) > budget:
        prices = [(float(ranked[k][widths[k] - 1]) / (now - size([v - (i == k) for i, v in enumerate(widths)])), k)
                  for k in movable if widths[k] > 1]                                                             # (I8)
        widths[min(prices)[1]] -= 1
    return widths


def possible(smallest: Sequence[int], size: Size, budget: float) -> None:
    """Raise InputError unless the smallest widths are within the budget."""
    if size(smallest) > budget:
        raise InputError(f"widths: budget is {budget:g}; the smallest that this network can be is {size(smallest):g}, "
                         f"one neuron a layer")
