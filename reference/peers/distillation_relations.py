"""Distillation losses in PyTorch, written from their formulas: relations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.distillation import relations
from reference.peers.distillation import Peer


def examples(rng: np.random.Generator) -> tuple[Array, Array]:
    """Rows or maps of 3 to 8 examples, student and teacher of different widths and scales."""
    n = int(rng.integers(3, 9))
    shapes = [(n, *rng.integers(2, 5, rng.choice([1, 3]))) for _ in range(2)]
    student, teacher = (10 ** rng.uniform(-1, 1) * rng.standard_normal(shape) for shape in shapes)
    return student, teacher


def embeddings(rng: np.random.Generator) -> tuple[Array, Array]:
    """Rows of 2 to 8 examples, of one width."""
    shape = int(rng.integers(2, 9)), int(rng.integers(1, 9))
    return rng.standard_normal(shape), rng.standard_normal(shape)


def relational_distance(student: Any, teacher: Any) -> Any:
    """(Q5), distances by inner products"""
    import torch

    scaled = []
    for x in (student.flatten(1), teacher.flatten(1)):
        squares = (x * x).sum(1)
        d = (squares[:, None] + squares - 2 * x @ x.T).clamp(min=1e-12).sqrt() * (1 - torch.eye(len(x)))
        scaled.append(d / d[d > 0].mean())
    return torch.nn.functional.smooth_l1_loss(*scaled)


def relational_angle(student: Any, teacher: Any) -> Any:
    """(Q8), by the directions (N, N, F) themselves"""
    import torch

    a, b = (torch.nn.functional.normalize(x[None] - x[:, None], dim=2)
            for x in (student.flatten(1), teacher.flatten(1)))
    return torch.nn.functional.smooth_l1_loss(a @ a.mT, b @ b.mT)


def similarity_preserving(student: Any, teacher: Any) -> Any:
    """(Q10)"""
    import torch

    g, h = (torch.nn.functional.normalize(x @ x.T) for x in (student.flatten(1), teacher.flatten(1)))
    return torch.linalg.norm(g - h) ** 2 / len(g) ** 2


def correlation_congruence(student: Any, teacher: Any, *, gamma: float, order: int) -> Any:
    """(Q13)"""
    import torch

    kernels = []
    for x in (student.flatten(1), teacher.flatten(1)):
        c = torch.nn.functional.cosine_similarity(x[None], x[:, None], dim=2)
        kernels.append(sum((2 * gamma * c) ** p / math.factorial(p) for p in range(order + 1)) * math.exp(-2 * gamma))
    return ((kernels[0] - kernels[1]) ** 2).mean()


def neighbour_congruence(student: Any, teacher: Any) -> Any:
    """(Q15)"""
    delta = (student - teacher).abs()
    return (delta[:-1] * delta[1:]).sum(1).mean()


def probabilistic_transfer(student: Any, teacher: Any, *, diagonal: bool) -> Any:
    """(Q18)"""
    import torch

    logs = []
    for x in (student.flatten(1), teacher.flatten(1)):
        s = (1 + torch.nn.functional.cosine_similarity(x[None], x[:, None], dim=2)) / 2
        kept = s if diagonal else s[~torch.eye(len(x), dtype=torch.bool)].reshape(len(x), -1)
        logs.append((kept / kept.sum(1, keepdim=True)).log())
    return torch.nn.functional.kl_div(*logs, reduction="batchmean", log_target=True)


PEERS = {
    "relational_distance": Peer(relations.relational_distance, relational_distance, lambda rng: (examples(rng), {})),
    "relational_angle": Peer(relations.relational_angle, relational_angle, lambda rng: (examples(rng), {})),
    "similarity_preserving": Peer(relations.similarity_preserving, similarity_preserving,
                                  lambda rng: (examples(rng), {})),
    "correlation_congruence": Peer(
        relations.correlation_congruence, correlation_congruence,
        lambda rng: (examples(rng), {"gamma": float(rng.uniform(0.1, 2)), "order": int(rng.integers(1, 7))})),
    "neighbour_congruence": Peer(relations.neighbour_congruence, neighbour_congruence,
                                 lambda rng: (embeddings(rng), {})),
    "probabilistic_transfer": Peer(relations.probabilistic_transfer, probabilistic_transfer,
                                   lambda rng: (examples(rng), {"diagonal": bool(rng.integers(2))})),
}
