"""Distillation losses in PyTorch, written from their formulas: response."""

from __future__ import annotations

from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.distillation import response
from reference.peers.distillation import Peer


def logits(rng: np.random.Generator) -> tuple[Array, Array]:
    """Student's and teacher's, of up to 8 examples and 2 to 12 classes."""
    shape = int(rng.integers(1, 9)), int(rng.integers(2, 13))
    return 3 * rng.standard_normal(shape), 3 * rng.standard_normal(shape)


def soft_targets(student: Any, teacher: Any, *, temperature: float) -> Any:
    """(K1)"""
    q, p = (teacher / temperature).softmax(1), (student / temperature).softmax(1)
    return temperature ** 2 * (q * (q.log() - p.log())).sum() / len(student)


def logit_matching(student: Any, teacher: Any) -> Any:
    """(K3)"""
    difference = student - student.mean(1, keepdim=True) - (teacher - teacher.mean(1, keepdim=True))
    return (difference ** 2).sum() / (2 * len(student))


PEERS = {
    "soft_targets": Peer(response.soft_targets, soft_targets,
                         lambda rng: (logits(rng), {"temperature": float(rng.uniform(1, 20))})),
    "logit_matching": Peer(response.logit_matching, logit_matching, lambda rng: (logits(rng), {})),
}
