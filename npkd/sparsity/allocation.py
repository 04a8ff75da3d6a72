"""Allocation of a budget: the number of neurons of each layer, by the rise of the error and the size it saves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from npkd.core.types import Array
from npkd.core.validation import InputError


@dataclass(frozen=True, eq=False)
class Curve:
    """Estimate (W17) of the relative error against the number of neurons kept, for one dependency group.

    error (n + 1,)   relative error with 0 … n neurons kept: from 1 to 0, falling, convex
    weight           factor of this error in the sum over dependency groups
    fixed            True where all neurons must stay
    """

    error: Array
    weight: float = 1.0
    fixed: bool = False

    @property
    def width(self) -> int:
        """Number of neurons."""
        return len(self.error) - 1

    def at(self, kept: int) -> float:
        """The weighted error with ``kept`` neurons."""
        return self.weight * float(self.error[kept])


def allocate(curves: Sequence[Curve], size: Callable[[Sequence[int]], float], budget: float, keep_inputs: bool = False,
             whole: Sequence[int] = (), balance_exponent: float = 1.0) -> list[int]:
    """Widths within a budget, by steps that remove a twentieth of a layer, each where the error rises least.

        next = argmin_k  Δe_k/Δsize_k · (w'_k/w_k)^q                                  (W10)

    curves   one for each dependency group, inputs first
    size     widths -> what the budget counts: multiply-accumulates, neurons, parameters or bytes
    whole    original widths w'_k; without them the last factor is 1;   ``balance_exponent``  the exponent q
    A step in dependency group k raises its error by Δe_k and saves Δsize_k. What the last step leaves of the budget
    returns neurons one by one where they lower the error most. Returns one width w_k a dependency group.
    Raises InputError where one neuron a layer is still too large, naming the smallest possible size.
    """
    widths = [curve.width for curve in curves]
    movable = [k for k in range(len(widths)) if not ((keep_inputs and k == 0) or curves[k].fixed)]
    smallest = size([1 if k in movable else w for k, w in enumerate(widths)])
    if smallest > budget:
        raise InputError(f"budget: target is {budget:.12g}; the smallest that this network can be is {smallest:.12g}, "
                         "one neuron a layer")

    def moved(k: int, by: int) -> list[int]:
        return [w + by if i == k else w for i, w in enumerate(widths)]

    while size(widths) > budget:
        now, prices = size(widths), []
        for k in movable:
            if widths[k] > 1:
                by = -max(1, widths[k] // 20)
                rise = curves[k].at(widths[k] + by) - curves[k].at(widths[k])
                factor = (whole[k] / widths[k]) ** balance_exponent if whole else 1.0
                prices.append((rise / max(now - size(moved(k, by)), 1e-300) * factor, k, by))         # (W10)
        widths = moved(*min(prices)[1:])
    while True:
        gains = [(curves[k].at(widths[k]) - curves[k].at(widths[k] + 1), k) for k in movable
                 if widths[k] < curves[k].width and size(moved(k, 1)) <= budget]
        if not gains:
            return widths
        widths = moved(max(gains)[1], 1)
