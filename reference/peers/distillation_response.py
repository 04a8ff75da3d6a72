"""Distillation losses in PyTorch, written from their formulas: response."""

from __future__ import annotations

from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.distillation import classes, response
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


def standardised_logits(student: Any, teacher: Any, *, temperature: float, eps: float, ddof: int) -> Any:
    """(K9), with PyTorch's standard deviation"""
    z, v = ((a - a.mean(1, keepdim=True)) / (a.std(1, correction=ddof, keepdim=True) + eps) for a in (student, teacher))
    return soft_targets(z, v, temperature=temperature)


def decoupled(student: Any, teacher: Any, *, labels: Any, alpha: float, beta: float, temperature: float) -> Any:
    """(K12) from probabilities: those of the label and of the rest, then those within the rest"""
    hot = (labels[:, None] == labels.new_tensor(range(student.shape[1]))).double()
    p, q = (student / temperature).softmax(1), (teacher / temperature).softmax(1)
    p_label, q_label = (p * hot).sum(1), (q * hot).sum(1)
    first = q_label * (q_label / p_label).log() + (1 - q_label) * ((1 - q_label) / (1 - p_label)).log()
    p_hat, q_hat = p / (1 - p_label)[:, None], q / (1 - q_label)[:, None]
    second = ((1 - hot) * q_hat * (q_hat / p_hat).log()).sum(1)
    return temperature ** 2 * (alpha * first + beta * second).mean()


def dist(student: Any, teacher: Any, *, beta: float, gamma: float, temperature: float, eps: float) -> Any:
    """(K15)"""
    p, q = (student / temperature).softmax(1), (teacher / temperature).softmax(1)

    def correlations(p: Any, q: Any) -> Any:
        a, b = p - p.mean(1, keepdim=True), q - q.mean(1, keepdim=True)
        return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + eps)

    return temperature ** 2 * (beta * (1 - correlations(p, q).mean()) + gamma * (1 - correlations(p.T, q.T).mean()))


def label_smoothing(student: Any, labels: Any, *, smoothing: float) -> Any:
    """PyTorch's own"""
    import torch

    return torch.nn.functional.cross_entropy(student, labels, label_smoothing=smoothing)


def labelled(rng: np.random.Generator) -> tuple[tuple[Array, Array], Array]:
    """Logits of 2 examples and 3 classes or more, and labels."""
    shape = int(rng.integers(2, 9)), int(rng.integers(3, 13))
    return (2 * rng.standard_normal(shape), 2 * rng.standard_normal(shape)), rng.integers(0, shape[1], shape[0])


def draw_standardised(rng: np.random.Generator) -> tuple[tuple[Array, Array], dict[str, Any]]:
    """Three classes or more: the scores of two are ±1 whatever the logits are."""
    return labelled(rng)[0], {"temperature": float(rng.uniform(1, 8)), "eps": 1e-7, "ddof": int(rng.integers(2))}


def draw_decoupled(rng: np.random.Generator) -> tuple[tuple[Array, Array], dict[str, Any]]:
    both, labels = labelled(rng)
    return both, {"labels": labels, "alpha": float(rng.uniform(0, 2)), "beta": float(rng.uniform(0, 8)),
                  "temperature": float(rng.uniform(1, 8))}


def draw_dist(rng: np.random.Generator) -> tuple[tuple[Array, Array], dict[str, Any]]:
    return labelled(rng)[0], {"beta": float(rng.uniform(0, 2)), "gamma": float(rng.uniform(0, 2)),
                              "temperature": float(rng.uniform(1, 4)), "eps": float(10 ** rng.uniform(-8, -1))}


def draw_smoothed(rng: np.random.Generator) -> tuple[tuple[Array, Array], dict[str, Any]]:
    (student, _), labels = labelled(rng)
    return (student, labels), {"smoothing": float(rng.uniform(0, 0.9))}


PEERS = {
    "soft_targets": Peer(response.soft_targets, soft_targets,
                         lambda rng: (logits(rng), {"temperature": float(rng.uniform(1, 20))})),
    "logit_matching": Peer(response.logit_matching, logit_matching, lambda rng: (logits(rng), {})),
    "standardised_logits": Peer(response.standardised_logits, standardised_logits, draw_standardised),
    "decoupled": Peer(response.decoupled, decoupled, draw_decoupled),
    "dist": Peer(response.dist, dist, draw_dist),
    "label_smoothing": Peer(classes.label_smoothing, label_smoothing, draw_smoothed),
}
