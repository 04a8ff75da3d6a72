"""The objective of distillation: labels, soft targets and hints in one sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from npkd.core.types import Array, Batch
from npkd.core.validation import InputError, positive
from npkd.distillation.response import soft_targets
from npkd.nn.losses import cross_entropy, squared_error


@dataclass(frozen=True)
class Distillation:
    """Weighted sum of cross-entropy, soft targets and hints; an instance is an ``Objective`` of npkd.nn.training.

        L = a · cross_entropy(z, y) + b · soft_targets(z, v; T) + Σ_h c_h · squared_error(x_h, hint_h)        (K5)

    labels        a ≥ 0; where it is not 0 the batch holds "y"
    soft          b ≥ 0; where it is not 0 the batch holds the teacher's logits, "teacher"
    temperature   T > 0
    hints         {index of an activation: weight c_h ≥ 0}; the batch holds its target, "hint<index>"

    Each part is divided by N alone; T² is in the soft part. Raises InputError for negative weights, and if all are 0.
    Source: Hinton, Vinyals & Dean 2015; hints: Romero et al. 2015, (2), without a regressor: coordinates stay.
    """

    labels: float = 0.0
    soft: float = 1.0
    temperature: float = 4.0
    hints: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        positive("Distillation", "temperature", self.temperature)
        weights = {"labels": self.labels, "soft": self.soft} | {f"weight of hint {i}": c for i, c in self.hints.items()}
        for name, weight in weights.items():
            positive("Distillation", name, weight, zero=True)
        if not any(weights.values()):
            raise InputError("Distillation: labels, soft and hints are all 0; one of them must be positive")

    def __call__(self, activations: Sequence[Array], batch: Batch) -> tuple[float, Mapping[int, Array]]:
        """Value and sensitivities of the activations of a batch, (K5)."""
        last = len(activations) - 1
        value, sensitivities = 0.0, dict[int, Array]()

        def add(index: int, weight: float, part: tuple[float, Array]) -> None:
            nonlocal value
            value += weight * part[0]                                                 # (K5)
            d = weight * part[1]
            sensitivities[index] = sensitivities[index] + d if index in sensitivities else d

        if self.labels:
            add(last, self.labels, cross_entropy(activations[last], array_of(batch, "y")))
        if self.soft:
            teacher = array_of(batch, "teacher")
            add(last, self.soft, soft_targets(activations[last], teacher, temperature=self.temperature))
        for index, weight in self.hints.items():
            if not weight:
                continue
            if not 0 <= index <= last:
                raise InputError(f"Distillation: a hint is for activation {index}; the student has 0 … {last}")
            add(index, weight, squared_error(activations[index], array_of(batch, f"hint{index}")))
        return value, sensitivities


def array_of(batch: Batch, name: str) -> Array:
    """An array of the batch by its name. Raises InputError where the batch has none of that name."""
    if name not in batch:
        raise InputError(f"Distillation: the batch holds {', '.join(sorted(batch))}; the objective needs {name!r} too")
    return batch[name]
