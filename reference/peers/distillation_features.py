"""Distillation losses in PyTorch, written from their formulas: features."""

from __future__ import annotations

from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.distillation import cka, features
from reference.peers.distillation import Peer


def sizes(rng: np.random.Generator, count: int, most: int = 6) -> list[int]:
    return [int(k) for k in rng.integers(1, most + 1, count)]


def maps(rng: np.random.Generator) -> tuple[Array, Array]:
    """Student's and teacher's, of other channels; each side of one may be two or three times that of the other."""
    n, h, w, c, d = sizes(rng, 5)
    up = [int(k) for k in rng.choice([1, 1, 2, 3], 4)]
    down = [up[2] if up[0] == 1 else 1, up[3] if up[1] == 1 else 1]
    return (rng.standard_normal((n, h * up[0], w * up[1], c)), rng.standard_normal((n, h * down[0], w * down[1], d)))


def pairs(rng: np.random.Generator) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Of the student and of the teacher, of the same channels, at other positions; at times rows."""
    n, h, w, c, d = sizes(rng, 5)
    up, right = (int(k) for k in rng.integers(1, 4, 2))
    shapes: list[tuple[int, ...]] = [(n, h * up, w, c), (n, h, w, d), (n, h, w, c), (n, h, w * right, d)]
    if rng.random() < 0.3:
        shapes = [(n, shape[3]) for shape in shapes]
    arrays = [rng.standard_normal(shape) for shape in shapes]
    return tuple(arrays[:2]), tuple(arrays[2:])


def anything(rng: np.random.Generator) -> tuple[Array, Array]:
    """Activations of at least two examples, rows or maps."""
    n, *shape = sizes(rng, 4, 5)
    shape = shape[:rng.integers(1, 4)]
    return rng.standard_normal((n + 1, *shape)), rng.standard_normal((n + 1, int(rng.integers(1, 8))))


def same(rng: np.random.Generator) -> tuple[Array, Array]:
    shape = sizes(rng, int(rng.integers(2, 5)))
    return 2 * rng.standard_normal(shape), rng.standard_normal(shape)


def smaller(x: Any, y: Any) -> tuple[Any, Any]:
    """Maps as (N, C, H, W), both at the smaller one's positions."""
    import torch

    x, y = x.permute(0, 3, 1, 2), y.permute(0, 3, 1, 2)
    size = [min(a, b) for a, b in zip(x.shape[2:], y.shape[2:], strict=True)]
    return tuple(torch.nn.functional.adaptive_avg_pool2d(a, size) for a in (x, y))


def attention_transfer(student: Any, teacher: Any, *, power: float, form: str) -> Any:
    """(X4), (X5)"""
    import torch

    u, v = (torch.nn.functional.normalize(a.abs().pow(power).sum(1).flatten(1), eps=1e-300)
            for a in smaller(student, teacher))
    return (u - v).norm(dim=1).mean() if form == "paper" else (u - v).pow(2).mean()


def neuron_selectivity(student: Any, teacher: Any) -> Any:
    """(X7)"""
    import torch

    u, v = (torch.nn.functional.normalize(a.flatten(2), dim=2, eps=1e-300) for a in smaller(student, teacher))

    def kernel(a: Any, b: Any) -> Any:
        return torch.einsum("ncp,ndp->ncd", a, b).pow(2).mean()

    return kernel(u, u) + kernel(v, v) - 2 * kernel(u, v)


def flow(student: Any, teacher: Any) -> Any:
    """(X10)"""
    import torch

    def matrix(pair: Any) -> Any:
        a, b = smaller(*(v[:, None, None] if v.ndim == 2 else v for v in pair))
        return torch.einsum("nchw,ndhw->ncd", a, b) / (a.shape[2] * a.shape[3])

    return (matrix(student) - matrix(teacher)).pow(2).sum() / len(student[0])


def activation_boundaries(student: Any, teacher: Any, *, margin: float) -> Any:
    """(X12)"""
    active = (teacher > 0).to(student.dtype)
    return (active * (margin - student).relu() + (1 - active) * (student + margin).relu()).pow(2).sum() / len(student)


def centred_kernel_alignment(student: Any, teacher: Any) -> Any:
    """(X14), by the kernels of all pairs"""
    import torch

    H = torch.eye(len(student), dtype=student.dtype) - 1 / len(student)
    k, m = (H @ a.flatten(1) @ a.flatten(1).T @ H for a in (student, teacher))
    return 1 - (k * m).sum() / (k.norm() * m.norm())


PEERS = {
    "attention_transfer": Peer(features.attention_transfer, attention_transfer, lambda rng: (
        maps(rng), {"power": float(rng.choice([1.0, 2.0, 3.0, 2.5])), "form": str(rng.choice(["paper", "code"]))})),
    "neuron_selectivity": Peer(features.neuron_selectivity, neuron_selectivity, lambda rng: (maps(rng), {})),
    "flow": Peer(features.flow, flow, lambda rng: (pairs(rng), {})),
    "activation_boundaries": Peer(features.activation_boundaries, activation_boundaries,
                                  lambda rng: (same(rng), {"margin": float(rng.uniform(0.5, 2))})),
    "centred_kernel_alignment": Peer(cka.centred_kernel_alignment, centred_kernel_alignment,
                                     lambda rng: (anything(rng), {})),
}
