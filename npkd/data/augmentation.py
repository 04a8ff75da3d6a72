"""Augmentation: inputs that are changed a little. Around the examples there is more to learn than labels say.

Derivation and measurement: docs/book/5-losses.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from npkd.core.types import Array, Batch
from npkd.core.validation import InputError, positive


def check_pictures(who: str, x: Array, shape: Sequence[int], max_shift: int) -> None:
    """Raise InputError unless x (N, H·W) holds pictures of that shape (H, W), and 0 ≤ max_shift is below both."""
    if len(shape) != 2 or shape[0] * shape[1] != x.shape[1] or not 0 <= max_shift < min(shape):
        raise InputError(f"{who}: shape is {tuple(shape)} and max_shift {max_shift}; x has {x.shape[1]} inputs, which "
                         "must be H·W, max_shift below both")


def add_noise(x: Array, noise_std: float, rng: np.random.Generator) -> Array:
    """Gaussian noise on every input, in the dtype of x.

        x' = x + σ ε,   ε ~ N(0, 1)                                                   (K6)
    """
    return np.asarray(x + x.dtype.type(noise_std) * rng.standard_normal(x.shape, dtype=x.dtype))            # (K6)


def target_slice(move: int) -> slice:
    """Rows (or columns) of a picture that are filled when it moves by so many; with −move those that fill them."""
    return slice(max(move, 0), min(move, 0) or None)


def shift_pictures(x: Array, shape: Sequence[int], max_shift: int, rng: np.random.Generator) -> Array:
    """Pictures moved by up to ``max_shift`` whole pixels k in each direction, zero where nothing moves in.

        x'_n,r,c = x_n,(r−u_n),(c−v_n),   u_n, v_n uniform on {−k, …, k}                   (K8)

    x (N, H·W), shape (H, W) -> (N, H·W). Raises InputError where the shape is not that of a picture.
    Source: Hinton, Vinyals & Dean 2015, section 3 ("jittered by up to two pixels").
    """
    check_pictures("shift_pictures", x, shape, max_shift)
    pictures, moved = x.reshape(len(x), *shape), np.zeros((len(x), *shape), x.dtype)
    moves = rng.integers(-max_shift, max_shift + 1, size=(len(x), 2))
    for u, v in itertools.product(range(-max_shift, max_shift + 1), repeat=2):
        rows = np.flatnonzero((moves == (u, v)).all(axis=1))
        part = np.zeros((len(rows), *shape), x.dtype)
        part[:, target_slice(u), target_slice(v)] = pictures[rows][:, target_slice(-u), target_slice(-v)]     # (K8)
        moved[rows] = part
    return moved.reshape(x.shape)


def mixup(x: Array, alpha: float, rng: np.random.Generator) -> Array:
    """Convex combinations of random pairs of inputs; x_n weighs at least one half.

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

    noise_std    σ ≥ 0;   max_shift  k ≥ 0, where it is not 0 with the ``shape`` (H, W) of an example
    Raises InputError for negative numbers.
    """

    def __init__(self, noise_std: float, *, max_shift: int = 0, shape: Sequence[int] = ()) -> None:
        positive("Noise", "noise_std", noise_std, zero=True)
        positive("Noise", "max_shift", max_shift, zero=True)
        self.noise_std, self.max_shift, self.shape = noise_std, max_shift, tuple(shape)

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """The batch with its "x" changed."""
        x = shift_pictures(batch["x"], self.shape, self.max_shift, rng) if self.max_shift else batch["x"]
        return {**batch, "x": add_noise(x, self.noise_std, rng) if self.noise_std else x}
