"""What a student is shown: the inputs, changed a little, with what the teacher says of the changed ones.

A teacher that fits its training set perfectly says little on it. Between and around the examples it says more, and needs no labels
for it. Derivation and measurement: docs/3-losses.md.
"""

from __future__ import annotations

import numpy as np

from npkd.arrays import Array
from npkd.errors import InputError, positive
from npkd.nn.network import Network
from npkd.nn.training import Batch
from npkd.nn.workspace import Workspace


def blur(x: Array, noise: float, rng: np.random.Generator) -> Array:
    """Gaussian noise on every input: x + σ ε, ε ~ N(0, 1), in the dtype of x."""
    return np.asarray(x + x.dtype.type(noise) * rng.standard_normal(x.shape, dtype=x.dtype))            # (K6)


class Noise:
    """Augmentation of plain training: noise on the inputs, labels as they are.

        x' = x + σ ε                                                                  (K6)
    """

    def __init__(self, noise: float) -> None:
        positive("Noise", "noise", noise, zero=True)
        self.noise = noise

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """The batch with its "x" changed."""
        return {**batch, "x": blur(batch["x"], self.noise, rng)} if self.noise else batch


class Transfer:
    """The transfer set of a distillation: inputs mixed in pairs and with noise, logits from the teacher at the very same place.

        x'_n = m_n x_n + (1 − m_n) x_π(n) + σ ε,   m_n ~ Beta(α, α) folded to [½, 1],   v'_n = teacher(x'_n)      (K7)

    teacher    of the batch's "x"; its logits come as "teacher"
    noise      σ ≥ 0
    mix        α ≥ 0; 0 mixes nothing
    Labels in the batch stay those of x_n, the larger part. Raises InputError for negative numbers. Source: Zhang et al. 2018 (mixup);
    as a transfer set with the teacher's answers Beyer et al. 2022.
    """

    def __init__(self, teacher: Network, rows: int, *, noise: float = 0.0, mix: float = 0.0) -> None:
        positive("Transfer", "noise", noise, zero=True)
        positive("Transfer", "mix", mix, zero=True)
        if rows < 1:
            raise InputError(f"Transfer: rows is {rows}; batches hold at least one example")
        self.space, self.noise, self.mix = Workspace(teacher, rows), noise, mix

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """The batch with its "x" changed and the teacher's logits for it."""
        x = batch["x"]
        if self.mix:
            m = rng.beta(self.mix, self.mix, size=(len(x), 1)).astype(x.dtype)
            m = np.maximum(m, 1 - m)
            x = m * x + (1 - m) * x[rng.permutation(len(x))]                                           # (K7)
        if self.noise:
            x = blur(x, self.noise, rng)
        return {**batch, "x": x, "teacher": self.space.forward(x)[-1]}
