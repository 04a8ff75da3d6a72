"""Budgets: how many neurons each layer may keep, shared by what a neuron costs and what its loss costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from npkd.core.types import Array
from npkd.core.validation import InputError


@dataclass(frozen=True, eq=False)
class Curve:
    """Neurons kept -> relative error of the layer, for one dependency group, as (W17) estimates it.

    error (n + 1,)   relative error with 0 … n neurons kept: from 1 to 0, falling, convex
    weight           what a relative error of this layer weighs beside those of the others
    fixed            all of the dependency group's neurons must stay
    """

    error: Array
    weight: float = 1.0
    fixed: bool = False

    @property
    def width(self) -> int:
        """How many neurons there are."""
        return len(self.error) - 1

    def at(self, kept: int) -> float:
        """The weighted error with so many kept."""
        return self.weight * float(self.error[kept])


def allocate(
    curves: Sequence[Curve], size: Callable[[Sequence[int]], float], budget: float, keep_inputs: bool = False,
    whole: Sequence[int] = (), spare: float = 1.0,
) -> list[int]:
    """Widths within a budget: again and again the step down that costs the least error for what it saves.

        next = argmin_k  Δe_k/Δsize_k · (w'_k/w_k)^q                                  (W10)

    curves        one for each dependency group, inputs first
    size          widths -> what the budget counts: multiply-accumulates, neurons, parameters or bytes
    whole         w'_k, how many neurons there once were: a layer that has lost much is spared, the more the larger
                  ``spare``, q; without them the last factor is 1
    A step down of dependency group k raises its error by Δe_k and saves Δsize_k.
    Returns one width a dependency group, size(widths) ≤ budget. A step takes a twentieth of the width, at least one
    neuron; what is then left of the budget is given back where it helps most.
    Raises InputError where one neuron a layer is still too large, naming the smallest possible size.
    """
    widths = [curve.width for curve in curves]
    movable = [k for k in range(len(widths)) if not ((keep_inputs and k == 0) or curves[k].fixed)]
    smallest = size([1 if k in movable else w for k, w in enumerate(widths)])
    if smallest > budget:
        raise InputError(f"budget: target is {budget:.12g}; the smallest that this network can be is {smallest:.12g}, "
                         f"one neuron a layer")

    def moved(k: int, by: int) -> list[int]:
        return [w + by if i == k else w for i, w in enumerate(widths)]

    while size(widths) > budget:
        now, prices = size(widths), []
        for k in movable:
            if widths[k] > 1:
                by = -max(1, widths[k] // 20)
                rise = curves[k].at(widths[k] + by) - curves[k].at(widths[k])
                spared = (whole[k] / widths[k]) ** spare if whole else 1.0
                prices.append((rise / max(now - size(moved(k, by)), 1e-300) * spared, k, by))         # (W10)
        _, k, by = min(prices)
        widths = moved(k, by)
    while True:                                          # give back what the last step took too much of
        gains = [(curves[k].at(widths[k]) - curves[k].at(widths[k] + 1), k) for k in movable
                 if widths[k] < curves[k].width and size(moved(k, 1)) <= budget]
        if not gains:
            return widths
        widths = moved(max(gains)[1], 1)
