"""Forward and backward through a chain of layers with skips. Activation 0 is its input, i + 1 the output of layer i.

Layer i reads activation i and, unless ``skips[i]`` is 0, activation i − skips[i] too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from npkd.core.types import Array
from npkd.core.validation import InputError

T = TypeVar("T")


def forward(x: T, skips: Sequence[int], apply: Callable[[int, T, T | None], T]) -> list[T]:
    """All activations, x first: arrays, or whatever else ``apply(i, input, skip or None)`` passes on."""
    activations = [x]
    for i, back in enumerate(skips):
        activations.append(apply(i, activations[i], activations[i - back] if back else None))
    return activations


def backward(sensitivities: Mapping[int, Array], skips: Sequence[int], apply: Callable[[int, Array], tuple[Array, ...]],
             first: int = 0, inputs: bool = True) -> Array:
    """The sensitivity of activation ``first``, from sensitivities of any later ones, {activation: array}.

    ``apply(i, dy)`` gets the whole sensitivity of the output of layer i and returns that of its input, and of its skip
    if it has one. Layers behind the last given sensitivity are not reached. Without ``inputs`` the result is unused.
    """
    last = max(sensitivities)
    entering, d = dict(sensitivities), sensitivities[last]     # entering: not from the layer right behind
    for i in reversed(range(first, last)):
        d, *skipped = apply(i, d)
        if skips[i]:
            at = i - skips[i]
            entering[at] = entering[at] + skipped[0] if at in entering else skipped[0]
        if i in entering and (inputs or i > first):
            d = d + entering[i]                                # not in place: d may be a view of what the caller gave
    return d


def check(sensitivities: Mapping[int, Array], activations: Sequence[Array]) -> None:
    """Raise InputError unless every sensitivity names an activation and has its shape."""
    if not sensitivities:
        raise InputError("Network: backward got no sensitivities; it needs at least one {index: array}")
    for i, d in sensitivities.items():
        if not 0 <= i < len(activations):
            raise InputError(f"Network: backward got a sensitivity at {i}; activations are 0 … {len(activations) - 1}")
        if d.shape != activations[i].shape:
            raise InputError(f"Network: sensitivity {i} has shape {d.shape}; activation {i} has {activations[i].shape}")
