"""The answers of a teacher: whichever of its activations the terms of an objective read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.distillation.objective import Terms
from npkd.distillation.terms import teacher_name, tupled
from npkd.nn.fast.workspace import Workspace
from npkd.nn.network import Network, at_once

ROWS = 4096
"""Examples that the teacher sees at once."""


class Teacher:
    """A network's activations ``indices``, by the names under which terms read them; the network predicts, as always.

        >>> from npkd.nn.network import perceptron
        >>> teacher = Teacher(perceptron([4, 6, 3], np.random.default_rng(0)), (-1, 2))
        >>> {name: a.shape for name, a in teacher(np.ones((5, 4), np.float32)).items()}
        {'teacher': (5, 3), 'teacher2': (5, 6)}

    Raises InputError for an index that the network does not have.
    """

    def __init__(self, network: Network, indices: Sequence[int] = (-1,)) -> None:
        last = len(network.layers)
        for i in indices:
            if not -last - 1 <= i <= last:
                raise InputError(f"Teacher: activation {i} is asked for; the network has 0 … {last}, -1 its logits")
        self.network, self.indices = network, tuple(dict.fromkeys(indices))

    def __call__(self, x: Array) -> dict[str, Array]:
        """The activations at x (n, ...), in buffers, some examples at a time."""
        rows = min(at_once(self.network, ROWS), len(x))
        space, found = Workspace(self.network, rows), dict[str, list[Array]]()
        with space.blas:
            for start in range(0, len(x), rows):
                activations = space.forward(np.ascontiguousarray(x[start:start + rows]))
                for i in self.indices:
                    found.setdefault(teacher_name(i), []).append(activations[i].copy())
        return {name: np.concatenate(parts) for name, parts in found.items()}

    @property
    def digest(self) -> str:
        """SHA-256 of the ops and the bytes of all arrays: what a cache of answers is kept under."""
        sha = hashlib.sha256()
        for layer in self.network.layers:
            sha.update(f"{layer.op} {sorted(layer.settings.items())}".encode())
            for a in (*layer.params, *layer.running):
                sha.update(f"{a.dtype} {a.shape}".encode() + np.ascontiguousarray(a).tobytes())
        return sha.hexdigest()


class Ensemble:
    """M networks as one teacher: the mean of their logits as "teacher", and what each says alone: "teacher:0", ….

        v̄ = Σ_m w_m v_m                                                               (Z12)

    weights    (M,) none negative, divided by their sum; equal unless told
    indices    activations that each answers with too, which have no mean: "teacher2:0", "teacher2:1"
    Raises InputError for weights that do not fit. Source: Hinton, Vinyals & Dean 2015, the geometric mean.
    """

    def __init__(self, networks: Sequence[Network], weights: Sequence[float] | None = None, *,
                 indices: Sequence[int] = (-1,)) -> None:
        w = np.asarray([1.0] * len(networks) if weights is None else weights, np.float64)
        if w.shape != (len(networks),) or not (w >= 0).all() or not 0 < w.sum() < np.inf:
            raise InputError(f"Ensemble: weights are {w.tolist()}; it needs {len(networks)}, none negative, not all 0")
        self.teachers, self.weights = [Teacher(network, (-1, *indices)) for network in networks], w / w.sum()

    def __call__(self, x: Array) -> dict[str, Array]:
        """The answers to x (n, ...)."""
        answers = [teacher(x) for teacher in self.teachers]
        mean = np.einsum("m,mnc->nc", self.weights, [a["teacher"] for a in answers])              # (Z12)
        alone = {f"{name}:{m}": a for m, each in enumerate(answers) for name, a in each.items()}
        return alone | {"teacher": mean.astype(alone["teacher:0"].dtype)}

    @property
    def digest(self) -> str:
        """Those of the teachers."""
        return " ".join(teacher.digest for teacher in self.teachers)


def one_a_batch(count: int, weight: float = 1.0) -> list[Callable[[float], float]]:
    """Weights of so many terms, one a teacher: of each batch one is c, drawn by its place p in the training, others 0.

        c_m(p) = c [m = m(p)],   m(p) uniform on 0 … M − 1                            (Z13)
    """
    def chosen(m: int, p: float) -> float:
        return weight * float(np.random.default_rng(int(p * 2 ** 53)).integers(count) == m)       # (Z13)

    return [partial(chosen, m) for m in range(count)]


def teacher_of(network: Network, terms: Terms) -> Teacher:
    """The teacher with the activations that the terms read."""
    return Teacher(network, [i for term in terms.terms for i in tupled(term.teacher) if isinstance(i, int)])
