"""The objective of distillation: a weighted sum of terms, with connectors and other arrays that it trains itself.

    Terms({(-1, "y"): cross_entropy, (-1, -1): soft_targets, (2, 3): Term(squared_error, weight=0.1, connector=c)})
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from npkd.core.types import Array, Batch
from npkd.core.validation import InputError, positive
from npkd.distillation.response import soft_targets
from npkd.distillation.terms import Term, tupled
from npkd.nn.losses import cross_entropy, squared_error
from npkd.nn.network import Network


class Terms:
    """Weighted sum of terms; an ``Objective`` of npkd.nn.training, with trained arrays of its own.

        L = Σ_k c_k(p) ℓ_k(φ_k(x_i(k)), t_j(k)),   p the part of the training that is done        (J1)

    terms         Terms in a row, or {(student, teacher): a loss or a Term}
    parameters    (P,) the trained arrays of connectors φ and losses, in one vector, which training changes: make new
                  Terms for another run.   gradient  (P,) of them, after a call
    totals, seen  {name: sum of the term's values times examples}, and examples, since ``at`` last began an epoch

    Each loss says what it is divided by. Raises InputError where there is no term, or none that weighs anything.
    """

    def __init__(self, terms: Sequence[Term] | Mapping[tuple[Any, Any], Any]) -> None:
        if isinstance(terms, Mapping):
            terms = [replace(loss if isinstance(loss, Term) else Term(loss), student=student, teacher=teacher)
                     for (student, teacher), loss in terms.items()]
        if not any(callable(term.weight) or term.weight for term in terms):
            raise InputError(f"Terms: the weights of {len(terms)} terms are all 0; one of them must be positive")
        count = dict[str, int]()
        self.terms, names = list[Term](), [term.name for term in terms]
        for term in terms:
            if len(term.connectors) != len(tupled(term.student)):
                raise InputError(f"Terms: {term.name} has {len(term.connectors)} connectors for activations "
                                 f"{term.student}; it needs one for each, or none at all")
            count[term.name] = count.get(term.name, 0) + 1
            again = f" {count[term.name]}" if names.count(term.name) > 1 else ""
            self.terms.append(replace(term, name=term.name + again))
        arrays, place = [a for term in self.terms for a in term.trained], 0
        if len({a.dtype for a in arrays}) > 1:
            raise InputError("Terms: connectors and parts are of several dtypes; give all in that of the student")

        def view(a: Array) -> Array:
            nonlocal place
            place += a.size
            self.parameters[place - a.size:place] = a.reshape(-1)
            return self.parameters[place - a.size:place].reshape(a.shape)

        self.parameters = np.zeros(sum(a.size for a in arrays), arrays[0].dtype if arrays else np.float32)
        self.terms, self.gradient = [term.mapped(view) for term in self.terms], np.zeros_like(self.parameters)
        self.memories = {term.name: term.memory for term in self.terms}
        self.epoch, self.progress, self.latest, self.totals, self.seen = 1, 0.0, math.inf, dict[str, float](), 0

    def __repr__(self) -> str:
        return " + ".join(f"{term.weight if not callable(term.weight) else 'c(p)'} {term.name}({term.student}, "
                          f"{term.teacher})" for term in self.terms)

    def at(self, epoch: int, progress: float) -> None:
        """Say where a training is: the epoch, from 1 on, and the part of the training that is done, 0 … 1."""
        if epoch != self.epoch or progress <= self.latest:     # the latter: another training of one epoch
            self.totals, self.seen = {}, 0
        self.epoch, self.progress, self.latest = epoch, progress, progress

    def weight(self, term: Term) -> float:
        """The weight of a term, now."""
        if self.epoch < term.start:
            return 0.0
        return float(term.weight(self.progress)) if callable(term.weight) else term.weight

    def __call__(self, activations: Sequence[Array], batch: Batch) -> tuple[float, Mapping[int, Array]]:
        """Value and sensitivities of the activations of a batch, (J1); the gradient of what is trained here."""
        value, sensitivities, gradients = 0.0, dict[int, Array](), list[Array]()
        self.seen += len(activations[0])
        for term in self.terms:
            weight, last = self.weight(term), len(activations)
            if any(not -last <= i < last for i in tupled(term.student)):
                raise InputError(f"Terms: {term.name} reads activation {term.student}; the student has 0 … {last - 1}")
            if not weight:
                gradients += [np.zeros_like(a) for a in term.trained]
                continue
            part, ds, dtrained, self.memories[term.name] = term(activations, batch, self.memories[term.name])
            value += weight * part                                                    # (J1), (K5)
            self.totals[term.name] = self.totals.get(term.name, 0.0) + part * len(activations[0])
            gradients += [weight * g for g in dtrained]
            for i, d in zip(tupled(term.student), ds, strict=True):
                i, d = i % last, (d * weight).astype(d.dtype, copy=False)
                sensitivities[i] = sensitivities[i] + d if i in sensitivities else d
        if gradients:
            np.concatenate([g.reshape(-1) for g in gradients], out=self.gradient)
        return value, sensitivities or {len(activations) - 1: np.zeros_like(activations[-1])}

    def balance(self, network: Network, batch: Batch) -> dict[str, dict[str, float]]:
        """For each of several terms its value, a mean over the epoch, and on one batch the norm of its weighted
        gradient by the network's parameters and that gradient's cosine to the one of the labels.

            cos_k = ⟨g_k, g_y⟩ / (‖g_k‖ ‖g_y‖),   g_k = c_k ∇ℓ_k,   g_y = Σ_k [t_k is "y"] g_k              (J2)

        Where no term compares with "y", and there are classes, g_y = ∇ cross_entropy(z, y). A gain that is only a
        larger scale shows as a large norm with a cosine near 1. NaN where there are no labels.
        """
        if len(self.terms) < 2:
            return {}
        (activations, backward), norms = network(batch["x"]), dict[str, dict[str, float]]()
        last, gradients, labels = len(activations), dict[str, Array](), list[Array]()

        def gradient(sensitivities: Mapping[int, Array]) -> Array:
            _, gradients = backward(sensitivities)
            return np.concatenate([g.reshape(-1) for layer in gradients for g in layer], dtype=np.float64)

        for term in self.terms:
            weight, g = self.weight(term), np.zeros(1)
            if weight:
                _, ds, *_ = term(activations, batch, self.memories[term.name])
                for i, d in zip(tupled(term.student), ds, strict=True):
                    g = g + weight * gradient({i % last: d})
                labels += [g] * (term.teacher == "y")
            gradients[term.name] = g
        if not labels and "y" in batch and batch["y"].dtype.kind in "iu":
            labels.append(gradient({last - 1: cross_entropy(activations[-1], batch["y"])[1]}))
        of_labels = sum(labels, np.zeros(1))
        for name, g in gradients.items():
            norm = float(np.linalg.norm(g))
            both = norm * float(np.linalg.norm(of_labels))
            cosine = float(g @ of_labels) / both if both else math.nan                                   # (J2)
            norms[name] = {"value": self.totals.get(name, 0.0) / max(self.seen, 1), "gradient_norm": norm,
                           "cosine": cosine}
        return norms


def distillation(labels: float = 0.0, soft: float = 1.0, temperature: float = 4.0,
                 hints: Mapping[int, float] | None = None) -> Terms:
    """Cross-entropy with the labels, soft targets and hints: the terms that are needed most.

        L = a · cross_entropy(z, y) + b · soft_targets(z, v; T) + Σ_h c_h · squared_error(x_h, hint_h)        (K5)

    labels        a ≥ 0; where it is not 0 the batch holds "y"
    soft          b ≥ 0; where it is not 0 the batch holds the teacher's logits, "teacher"
    temperature   T > 0
    hints         {index of an activation: weight c_h ≥ 0}; the batch holds its target, "hint<index>"

    Each part is divided by N alone; T² is in the soft part. Raises InputError for negative weights, and if all are 0.
    Source: Hinton, Vinyals & Dean 2015; hints: Romero et al. 2015, (2), without a regressor: coordinates stay.
    """
    positive("distillation", "temperature", temperature)
    weights = {"labels": labels, "soft": soft} | {f"weight of hint {i}": c for i, c in (hints or {}).items()}
    for name, weight in weights.items():
        positive("distillation", name, weight, zero=True)
    given = [Term(cross_entropy, teacher="y", weight=labels),
             Term(soft_targets, weight=soft, options={"temperature": temperature}),
             *(Term(squared_error, i, f"hint{i}", c) for i, c in (hints or {}).items())]
    return Terms([term for term in given if term.weight] or given)
