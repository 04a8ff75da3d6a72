"""Distillation losses in PyTorch, written from their formulas: trained."""

from __future__ import annotations

from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.distillation import contrastive, factors, overhaul, review, singular_vectors, variational
from reference.peers.distillation import Peer


def shape_of(rng: np.random.Generator, least: int = 1) -> tuple[int, int, int, int]:
    """Of up to 4 examples, maps of up to 6×6, and ``least`` to 5 channels."""
    n, h, w, c = rng.integers(1, 5), rng.integers(1, 7), rng.integers(1, 7), rng.integers(least, 6)
    return int(n), int(h), int(w), int(c)


def pair(rng: np.random.Generator) -> tuple[Array, Array]:
    """Student's and teacher's maps of one shape."""
    student, teacher = rng.standard_normal((2, *shape_of(rng)))
    return student, teacher


def variational_information(student: Any, teacher: Any, alpha: Any) -> Any:
    """(Y3) by the distribution itself, without its constant."""
    import torch

    deviation = torch.sqrt(torch.log(1 + torch.exp(alpha)) + 1e-5)
    log_density = torch.distributions.Normal(student, deviation).log_prob(teacher) + np.log(2 * np.pi) / 2
    return -log_density.flatten(1).sum(1).mean()


def with_alpha(rng: np.random.Generator) -> tuple[tuple[Any, ...], dict[str, Any]]:
    student, teacher = pair(rng)
    return (student, teacher, 2 * rng.standard_normal(student.shape[-1])), {}


def contrasted(student: Any, teacher: Any, student_embedding: Any, teacher_embedding: Any, *, memory: Any, index: Any,
               negatives: Any) -> Any:
    """(Y8) as the two probabilities of noise-contrastive estimation, rows gathered one by one."""
    import torch

    total, noise = 0.0, negatives.shape[1] / len(memory.student)
    for k, (a, w, bank) in enumerate([(student, student_embedding, memory.teacher),
                                      (teacher, teacher_embedding, memory.student)]):
        x = a @ w[:, :-1].T + w[:, -1]
        x = x / x.norm(dim=1, keepdim=True)
        rows = torch.tensor(bank)[torch.cat([index[:, None], negatives], 1)]
        o = torch.exp(torch.bmm(rows, x[:, :, None])[:, :, 0] / memory.temperature)
        z = o.mean().detach() * len(bank) if memory.log_z is None else np.exp(memory.log_z[k])
        h = o / z / (o / z + noise)
        total = total - h[:, 0].log().sum() - (1 - h[:, 1:]).log().sum()
    return total / len(student)


def with_memory(rng: np.random.Generator) -> tuple[tuple[Any, ...], dict[str, Any]]:
    n, m, d, f, g, k = (int(rng.integers(low, high)) for low, high in
                        ((1, 5), (5, 9), (2, 5), (1, 5), (1, 5), (1, 6)))
    log_z = None if rng.integers(2) else (float(rng.normal()), float(rng.normal()))
    ours, theirs = rng.standard_normal((2, m, d))
    memory = contrastive.Memory(ours, theirs, log_z, temperature=float(rng.uniform(0.3, 1)))
    parts = rng.standard_normal((n, f)), rng.standard_normal((n, g)), rng.standard_normal((d, f + 1))
    return (*parts, rng.standard_normal((d, g + 1))), {
        "memory": memory, "index": rng.permutation(m)[:n], "negatives": rng.integers(0, m, (n, k))}


def overhauled(student: Any, teacher: Any, *, margin: Any) -> Any:
    """(Y13)"""
    import torch

    target = torch.maximum(teacher, margin)
    return ((student - target) ** 2 * ((student > target) | (target > 0))).sum() / len(student)


def with_margin(rng: np.random.Generator) -> tuple[tuple[Any, ...], dict[str, Any]]:
    both = pair(rng)
    return both, {"margin": overhaul.margins(*rng.standard_normal((2, both[0].shape[-1])))}


def transferred(student: Any, teacher: Any, *, power: int | None) -> Any:
    """(Y15)"""
    import torch

    if power is not None:
        student, teacher = (student ** power).mean(-1), (teacher ** power).mean(-1)
    u, v = (torch.nn.functional.normalize(f.flatten(1), dim=1) for f in (student, teacher))
    return (u - v).abs().sum() / len(student)


def reviewed(student: Any, teacher: Any) -> Any:
    """(Y20)"""
    import torch

    student, teacher = student.permute(0, 3, 1, 2), teacher.permute(0, 3, 1, 2)
    pool, mse = torch.nn.functional.adaptive_avg_pool2d, torch.nn.functional.mse_loss
    errors = [mse(student, teacher)]
    errors += [mse(pool(student, side), pool(teacher, side)) for side in (4, 2, 1) if side < student.shape[2]]
    return sum(2.0 ** -k * e for k, e in enumerate(errors)) / sum(2.0 ** -k for k in range(len(errors)))


def decomposed(student: Any, teacher: Any) -> Any:
    """(Y23)"""
    import torch

    total, before = 0.0, None
    for s, t in zip(student, teacher, strict=True):
        v = torch.linalg.svd(t.flatten(1, 2), full_matrices=False)[2][:, 0]
        v = v * v.gather(1, v.abs().argmax(1, keepdim=True)).sign()
        choice = torch.linalg.svd(s.flatten(1, 2), full_matrices=False)[2][:, :4]
        cosine = (choice * v[:, None]).sum(2)
        j = cosine.abs().argmax(1)
        w = choice[torch.arange(len(s)), j] * cosine[torch.arange(len(s)), j].sign()[:, None]
        if before is not None:
            one, other = (torch.exp(-(now[:, :, None] - old[:, None]) ** 2 / 8)
                          for now, old in zip((w, v), before, strict=True))
            total = total + ((one - other) ** 2).sum()
        before = w, v
    return total / len(student[0])


def stages(rng: np.random.Generator) -> tuple[tuple[tuple[Array, ...], ...], dict[str, Any]]:
    """Two or three, of singular values apart: then the vectors have derivatives that no rounding drowns."""
    n, both = int(rng.integers(1, 4)), []
    shapes = [shape_of(rng, 2)[1:] for _ in range(int(rng.integers(2, 4)))]
    for _ in range(2):
        maps = []
        for h, w, c in shapes:
            u, _, v = np.linalg.svd(rng.standard_normal((n, h * w, c)), full_matrices=False)
            s = np.arange(u.shape[2], 0, -1) + rng.uniform(0, 0.5, u.shape[2])
            maps.append(((u * s) @ v).reshape(n, h, w, c))
        both.append(tuple(maps))
    return tuple(both), {}


PEERS = {
    "variational_information": Peer(variational.variational_information, variational_information, with_alpha),
    "contrastive": Peer(contrastive.contrastive, contrasted, with_memory),
    "overhaul": Peer(overhaul.overhaul, overhauled, with_margin),
    "factor_transfer": Peer(factors.factor_transfer, transferred, lambda rng: (pair(rng), {"power": None})),
    "factor_transfer, power 2": Peer(factors.factor_transfer, transferred, lambda rng: (pair(rng), {"power": 2})),
    "review": Peer(review.review, reviewed, lambda rng: (pair(rng), {})),
    "singular_vectors": Peer(singular_vectors.singular_vectors, decomposed, stages),
}
