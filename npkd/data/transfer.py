"""Transfer sets: inputs that are changed a little, with the teacher's logits for the changed ones.

Between and around the examples they hold more than the labels do. Derivation and measurement: docs/book/5-losses.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npkd.core.types import Array, Batch
from npkd.core.validation import positive
from npkd.data.augmentation import Noise, add_noise, mixup
from npkd.data.logit_cache import LARGEST, Answers, LogitCache, named


class Transfer:
    """Augmentation of distillation: inputs moved (K8), mixed in pairs (K7), with noise (K6), and their logits.

    answer              the teacher's of the changed "x": logits, "teacher" in the batch, or arrays by name
    noise_std           σ ≥ 0;   mixup_alpha  α ≥ 0;   0 changes nothing
    max_shift, shape    as in ``shift_pictures``. Pictures that are moved and nothing else have few forms, others one:
                        their answers are kept (``LogitCache``); the batch must then be the same in every call
    Labels in the batch stay those of x_n, which weighs at least one half. Raises InputError for negative numbers.
    """

    def __init__(self, answer: Answers, *, noise_std: float = 0.0, mixup_alpha: float = 0.0, max_shift: int = 0,
                 shape: Sequence[int] = ()) -> None:
        positive("Transfer", "mixup_alpha", mixup_alpha, zero=True)
        positive("Transfer", "noise_std", noise_std, zero=True)
        self.answer, self.mixup_alpha, self.noise_std = answer, mixup_alpha, noise_std
        self.shape, self.max_shift = shape, max_shift
        self.shift = Noise(0.0, max_shift=max_shift, shape=shape)
        self.logit_cache: LogitCache | None = None

    def __call__(self, batch: Batch, rng: np.random.Generator, seen: Array | None = None) -> Batch:
        """The batch with its "x" changed and the teacher's logits for it; ``seen``: inputs that "x" holds alone."""
        only_shifted = not (self.mixup_alpha or self.noise_std)
        if only_shifted and (self.logit_cache or self.fits(batch["x"])):
            shape = self.shape if self.max_shift else (1, batch["x"].shape[1])
            self.logit_cache = self.logit_cache or LogitCache(batch["x"], shape, self.max_shift, self.answer)
            return self.logit_cache.draw(batch, rng, seen)
        x = self.shift(batch, rng)["x"]
        x = mixup(x, self.mixup_alpha, rng) if self.mixup_alpha else x
        x = add_noise(x, self.noise_std, rng) if self.noise_std else x
        return {**batch, "x": x if seen is None else np.take(x, seen, axis=1), **named(self.answer(x))}

    def fits(self, x: Array) -> bool:
        """Whether the answers to all moved forms of x (n, I) may be kept."""
        one = sum(a.nbytes for a in named(self.answer(x[:1])).values())
        return x.ndim == 2 and (2 * self.max_shift + 1) ** 2 * len(x) * one <= LARGEST
