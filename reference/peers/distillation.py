"""The distillation losses of npkd beside formula-faithful PyTorch versions, differentiated by autograd, in float64.

    python -m reference.peers.distillation --check [NAME ...]

A line a loss: the largest relative difference of value and gradients over DRAWS random inputs. Needs PyTorch. The
versions are written from the papers' formulas (docs/book), a file a family beside this one, each with its PEERS.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from npkd.core.types import Array

FAMILIES = ("response", "features", "trained", "relations", "schemes")
DRAWS, TOLERANCE = 50, 1e-10


@dataclass(frozen=True)
class Peer:
    """A loss of npkd and its version in PyTorch.

    loss      npkd's: ``value, d_student, *d_parts, ... = loss(student, teacher, *parts, **options)``
    torch     ``value = torch(student, teacher, *parts, **options)``, the same with tensors, a tensor of one number
    draw      rng -> (arguments, options): random arrays of loss, away from kinks, student first
    """

    loss: Callable[..., Any]
    torch: Callable[..., Any]
    draw: Callable[[np.random.Generator], tuple[tuple[Any, ...], Mapping[str, Any]]]


def tensors(value: Any, requires_grad: bool = False) -> Any:
    """Arrays as tensors, also those within a tuple; everything else as it is."""
    import torch

    if isinstance(value, tuple):
        return tuple(tensors(v, requires_grad) for v in value)
    if not isinstance(value, np.ndarray):
        return value
    return torch.tensor(value, requires_grad=requires_grad)


def flat(value: Any) -> list[Any]:
    """What a tuple holds, those in it too, in a row; anything else alone."""
    return [b for a in value for b in flat(a)] if isinstance(value, tuple) else [value]


def apart(one: Array, other: Array) -> float:
    """max |one − other| / max |other|; the numerator alone where the other is 0."""
    return float(np.abs(one - other).max() / (np.abs(other).max() or 1.0))


def difference(peer: Peer, rng: np.random.Generator) -> float:
    """The largest relative difference of value and gradients on one draw."""
    (student, teacher, *parts), options = peer.draw(rng)
    returned = peer.loss(student, teacher, *parts, **options)
    ours = flat((returned[1], *returned[2:2 + len(parts)]))
    given = [tensors(a, requires_grad=True) for a in (student, *parts)]
    value = peer.torch(given[0], tensors(teacher), *given[1:], **{k: tensors(v) for k, v in options.items()})
    value.backward()
    errors = [apart(np.array(returned[0]), value.detach().numpy())]
    for gradient, tensor in zip(ours, flat(tuple(given)), strict=True):
        right = np.zeros(gradient.shape) if tensor.grad is None else tensor.grad.numpy()
        errors.append(apart(gradient, right))
    return max(errors)


def peers() -> dict[str, Peer]:
    """All of them, by name."""
    return {name: peer for family in FAMILIES
            for name, peer in importlib.import_module(f"reference.peers.distillation_{family}").PEERS.items()}


def main() -> int:
    """Print a line a loss; the exit code is 1 where one differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="what it does, also without this word")
    parser.add_argument("names", nargs="*", help="these alone")
    options = parser.parse_args()
    every, bad = peers(), 0
    for name in options.names or every:
        rng = np.random.default_rng(0)
        worst = max(difference(every[name], rng) for _ in range(DRAWS))
        bad += not worst <= TOLERANCE
        print(f"{name:32}  {worst:.1e}  {'equal' if worst <= TOLERANCE else 'DIFFERENT'}", flush=True)
    print(f"{len(options.names or every)} losses, {DRAWS} random inputs each, {bad} differ by more than {TOLERANCE:g}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
