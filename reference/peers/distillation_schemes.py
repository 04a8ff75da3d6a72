"""Distillation losses in PyTorch, written from their formulas: schemes. What is held constant is detached."""

from __future__ import annotations

from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.distillation import scheme_losses as losses
from reference.peers.distillation import Peer


def logits(rng: np.random.Generator, count: int) -> tuple[Array, ...]:
    """So many, of 2 to 8 examples and 2 to 12 classes."""
    shape = int(rng.integers(2, 9)), int(rng.integers(2, 13))
    return tuple(2 * rng.standard_normal(shape) for _ in range(count))


def several(rng: np.random.Generator) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Outputs, labels; weights or none."""
    student = logits(rng, int(rng.integers(2, 5)))
    labels = rng.integers(0, student[0].shape[1], len(student[0]))
    weights = rng.uniform(0, 1, (len(student), len(student))) if rng.uniform() < 0.5 else None
    return (student, labels), {"temperature": float(rng.uniform(1, 5)), "weights": weights}


def mutual_learning(student: Any, labels: Any, *, weights: Any, temperature: float) -> Any:
    """(Z1), with the divergences of PyTorch"""
    import torch
    from torch.nn.functional import cross_entropy, kl_div

    count = len(student)
    a = torch.full((count, count), 1 / (count - 1), dtype=torch.float64).fill_diagonal_(1)
    a = a if weights is None else weights
    value = sum(a[k, k].item() * cross_entropy(z, labels) for k, z in enumerate(student))
    for k, z in enumerate(student):
        for j, other in enumerate(student):
            if j != k:
                log_p, log_q = (v.div(temperature).log_softmax(1) for v in (z, other.detach()))
                value = value + a[k, j].item() * temperature ** 2 * kl_div(log_p, log_q, reduction="batchmean",
                                                                           log_target=True)
    return value


def against(rng: np.random.Generator) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Logits of both and a discriminator of 1 to 5 neurons."""
    student, teacher = logits(rng, 2)
    hidden, classes = int(rng.integers(1, 6)), student.shape[1]
    parts = [rng.standard_normal(shape) for shape in ((hidden, classes), hidden, (1, hidden), 1)]
    return (student, teacher, *parts), {}


def adversarial_logits(student: Any, teacher: Any, *parts: Any) -> Any:
    """(Z5), with PyTorch's binary cross-entropy"""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, leaky_relu, linear

    def score(z: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
        return linear(leaky_relu(linear(z, w1, b1), 0.01), w2, b2)

    def told(scores: Any, as_teacher: float) -> Any:
        return binary_cross_entropy_with_logits(scores, torch.full_like(scores, as_teacher))

    fixed = [part.detach() for part in parts]
    return (told(score(student, *fixed), 1.0) + told(score(teacher, *parts), 1.0)
            + told(score(student.detach(), *parts), 0.0))


def neighbours(rng: np.random.Generator) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Features of 2 to 9 examples."""
    n = int(rng.integers(2, 10))
    return (rng.standard_normal((n, int(rng.integers(2, 6)))), rng.standard_normal((n, int(rng.integers(2, 6))))), {
        "neighbours": int(rng.integers(1, 5))}


def neighbour_graph(student: Any, teacher: Any, *, neighbours: int) -> Any:
    """(Z7), by the indices of the nearest"""
    from torch.nn.functional import cosine_similarity

    n = len(student)
    one, other = (cosine_similarity(a[:, None], a[None], dim=2) for a in (student, teacher))
    nearest = other.clone().fill_diagonal_(-2).topk(min(neighbours, n - 1), dim=1).indices
    return ((one - other) ** 2).gather(1, nearest).mean()


def statistics(rng: np.random.Generator) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Rows or maps, and moments."""
    shape = tuple(int(i) for i in rng.integers(2, 6, int(rng.choice([2, 4]))))
    return (rng.standard_normal(shape), (rng.standard_normal(shape[-1]), rng.uniform(0.1, 2, shape[-1]))), {}


def moment_matching(student: Any, teacher: Any) -> Any:
    """(Z9)"""
    rows = student.flatten(0, -2)
    return (rows.mean(0) - teacher[0]).norm() + (rows.var(0, unbiased=False) - teacher[1]).norm()


PEERS = {
    "mutual_learning": Peer(losses.mutual_learning, mutual_learning, several),
    "adversarial_logits": Peer(losses.adversarial_logits, adversarial_logits, against),
    "neighbour_graph": Peer(losses.neighbour_graph, neighbour_graph, neighbours),
    "moment_matching": Peer(losses.moment_matching, moment_matching, statistics),
}
