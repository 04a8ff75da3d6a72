"""What a student is shown: the inputs, changed a little, with what the teacher says of the changed ones.

A teacher that fits its training set perfectly says little on it. Between and around the examples it says more, and
needs no labels for it. Derivation and measurement: docs/3-losses.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from npkd.core.types import Array, Batch
from npkd.core.validation import InputError, positive
from npkd.distillation.logit_cache import LARGEST, LogitCache

Answers = Callable[[Array], Array]
"""What a network says: examples (n, I) -> logits (n, classes)."""


def blur(x: Array, noise: float, rng: np.random.Generator) -> Array:
    """Gaussian noise on every input, in the dtype of x.

        x' = x + σ ε,   ε ~ N(0, 1)                                                   (K6)
    """
    return np.asarray(x + x.dtype.type(noise) * rng.standard_normal(x.shape, dtype=x.dtype))            # (K6)


def onto(move: int) -> slice:
    """Where a row or column that is moved so far comes to lie; with −move, the ones that stay in the picture."""
    return slice(max(move, 0), min(move, 0) or None)


def jitter(x: Array, shape: Sequence[int], reach: int, rng: np.random.Generator) -> Array:
    """Pictures moved by up to ``reach`` pixels in each direction, zero where nothing moves in.

        x'_n,r,c = x_n,(r−u_n),(c−v_n),   u_n, v_n uniform on {−reach, …, reach}          (K8)

    x (N, H·W), shape (H, W) -> (N, H·W). Raises InputError where the shape is not that of a picture.
    Source: Hinton, Vinyals & Dean 2015, section 3 ("jittered by up to two pixels").
    """
    if len(shape) != 2 or shape[0] * shape[1] != x.shape[1] or not 0 <= reach < min(shape):
        raise InputError(f"jitter: shape is {tuple(shape)} and reach {reach}; x has {x.shape[1]} inputs, which must be "
                         f"H·W, reach below both")
    pictures, moved = x.reshape(len(x), *shape), np.zeros((len(x), *shape), x.dtype)
    moves = rng.integers(-reach, reach + 1, size=(len(x), 2))
    for u, v in itertools.product(range(-reach, reach + 1), repeat=2):
        here = np.flatnonzero((moves == (u, v)).all(axis=1))
        part = np.zeros((len(here), *shape), x.dtype)
        part[:, onto(u), onto(v)] = pictures[here][:, onto(-u), onto(-v)]             # (K8)
        moved[here] = part
    return moved.reshape(x.shape)


def mixed(x: Array, alpha: float, rng: np.random.Generator) -> Array:
    """Inputs mixed in pairs, each the larger part of its own.

        x'_n = m_n x_n + (1 − m_n) x_π(n),   m_n ~ Beta(α, α) folded to [½, 1]        (K7)

    Source: Zhang et al. 2018 (mixup); with a teacher's answers Beyer et al. 2022.
    """
    m = rng.beta(alpha, alpha, size=(len(x), 1)).astype(x.dtype)
    m = np.maximum(m, 1 - m)
    other = np.take(x, rng.permutation(len(x)), axis=0)
    other -= x
    other *= 1 - m
    other += x                                                                    # (K7)  x + (1 − m)(x_π − x), in place
    return other


class Noise:
    """Augmentation of plain training: pictures moved (K8), noise on the inputs (K6), labels as they are.

    noise σ ≥ 0;   reach ≥ 0, where it is not 0 with the ``shape`` (H, W) of an example. Raises InputError for negative
                   numbers.
    """

    def __init__(self, noise: float, *, reach: int = 0, shape: Sequence[int] = ()) -> None:
        positive("Noise", "noise", noise, zero=True)
        positive("Noise", "reach", reach, zero=True)
        self.noise, self.reach, self.shape = noise, reach, tuple(shape)

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """The examples with their "x" changed."""
        x = batch["x"]
        if self.reach:
            x = jitter(x, self.shape, self.reach, rng)
        return {**batch, "x": blur(x, self.noise, rng) if self.noise else x}


class Transfer:
    """The transfer set of a distillation: moved (K8), mixed in pairs (K7), with noise (K6); the teacher's logits at the
    very same place.

    answer         the teacher: (n, I) -> (n, classes), asked about the changed "x"; its logits come as "teacher"
    noise, mix     σ ≥ 0 and α ≥ 0; 0 changes nothing
    reach, shape   as in ``jitter``. Pictures that are moved and nothing else have few forms: their answers are kept,
                   see ``LogitCache``. The batch must then be the same in every call
    Labels in the batch stay those of x_n, the larger part. Raises InputError for negative numbers.
    """

    def __init__(
        self, answer: Answers, *, noise: float = 0.0, mix: float = 0.0, reach: int = 0, shape: Sequence[int] = ()
    ) -> None:
        positive("Transfer", "mix", mix, zero=True)
        positive("Transfer", "noise", noise, zero=True)
        self.answer, self.mix, self.noise, self.shape, self.reach = answer, mix, noise, shape, reach
        self.augment = Noise(0.0, reach=reach, shape=shape)
        self.logit_cache: LogitCache | None = None

    def __call__(self, batch: Batch, rng: np.random.Generator, seen: Array | None = None) -> Batch:
        """The examples with their "x" changed and the teacher's logits for it.

        ``seen``: indices of the inputs that a student reads. "x" then holds those alone: a student of a tenth of the
        inputs should not be slowed down by the others.
        """
        if self.reach and not (self.mix or self.noise) and (self.logit_cache or self.fits(batch["x"])):
            self.logit_cache = self.logit_cache or LogitCache(batch["x"], self.shape, self.reach, self.answer)
            return self.logit_cache.draw(batch, rng, seen)
        x = self.augment(batch, rng)["x"]
        if self.mix:
            x = mixed(x, self.mix, rng)
        if self.noise:
            x = blur(x, self.noise, rng)
        return {**batch, "x": x if seen is None else np.take(x, seen, axis=1), "teacher": self.answer(x)}

    def fits(self, x: Array) -> bool:
        """Whether the answers to all moved forms of x may be kept."""
        return LogitCache.size(x, self.reach, self.answer(x[:1])) <= LARGEST
