"""What the outputs of a network mean, told by the labels: classes; one of two classes, by a single output; numbers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from npkd.core.types import Array, Objective
from npkd.distillation.objective import Terms, distillation
from npkd.distillation.response import soft_targets
from npkd.distillation.terms import Term
from npkd.nn.losses import cross_entropy, squared_error
from npkd.nn.training import classification


def is_regression(y: Array) -> bool:
    """Are labels numbers to be predicted, floats, and no classes, which are integers?"""
    return y.dtype.kind == "f"


def without_labels(head: str, outputs: int) -> bool:
    """Are outputs that ``head`` follows numbers, where nobody says it: a single one, or several with a sigmoid each?"""
    return (outputs == 1) != (head == "sigmoid")


def classes_of(outputs: Array) -> Array:
    """The class (N,) of each example: the largest of C logits (N, C), of a single one 1 where it is above 0."""
    return np.asarray(outputs[:, 0] > 0, np.int64) if outputs.shape[1] == 1 else outputs.argmax(axis=1)


def errors_of(outputs: Array, y: Array) -> Array:
    """The part (N,) of each example in ``error_of``, which is their mean.

        e_n = [class of example n ≠ y_n],   or of numbers   e_n = 1/O Σ_o (p_no − y_no)² / (1/N Σ_m (y_mo − ȳ_o)²)

    An output that is constant in y counts with its squared error alone."""
    if not is_regression(y):
        return np.asarray(classes_of(outputs) != y, np.float64)
    variance = y.var(axis=0, dtype=np.float64)
    return np.asarray((np.square(outputs - y, dtype=np.float64) / np.where(variance > 0, variance, 1)).mean(axis=1))


def error_of(outputs: Array, y: Array) -> float:
    """Fraction of wrong classes, y (N,) integers; of numbers y (N, O) float 1 − R², the mean over the outputs.

        1 − R² = 1/O Σ_o Σ_n (p_no − y_no)² / Σ_n (y_no − ȳ_o)²                       (L6)

    outputs (N, O) of a network. Source: scikit-learn's r2_score, uniform average."""
    return float(errors_of(outputs, y).mean())                                        # (L6)


def spread_of(outputs: Array, y: Array) -> float:
    """Standard error of ``error_of``: the deviation of its parts over √N."""
    return float(errors_of(outputs, y).std() / math.sqrt(len(y)))


def of_one_output(loss: Callable[..., tuple[float, Array]]) -> Callable[..., tuple[float, Array]]:
    """A loss of logits of two classes as one of a single output z, the logit of class 1 against class 0.

        loss₁(z, ·) = loss((0, z), ·),   softmax((0, z))_1 = 1 / (1 + exp(−z))                                (L7)

    z (N, 1); what it is compared with: integer classes (N,), or a teacher's single output (N, 1)."""
    def pair(z: Array) -> Array:
        return np.concatenate([np.zeros_like(z), z], axis=1)

    @functools.wraps(loss)
    def of_one(prediction: Array, target: Array, **options: Any) -> tuple[float, Array]:
        value, d = loss(pair(prediction), pair(target) if target.ndim == 2 else target, **options)    # (L7)
        return value, d[:, 1:]

    return of_one


def objective_of(y: Array, outputs: int, labels: float, soft: float, temperature: float = 1.0) -> Terms:
    """What a network with so many outputs learns from labels y and from a teacher's outputs, with these weights.

    Of classes ``distillation``; of one output the same by (L7); of numbers squared errors to both."""
    if not is_regression(y) and outputs > 1:
        return distillation(labels, soft, temperature)
    if is_regression(y):
        terms = [Term(squared_error, teacher="y", weight=labels), Term(squared_error, weight=soft, name="teacher")]
    else:
        terms = [Term(of_one_output(cross_entropy), teacher="y", weight=labels),
                 Term(of_one_output(soft_targets), weight=soft, options={"temperature": temperature})]
    return Terms([term for term in terms if term.weight] or terms)


def labels_of(y: Array, outputs: int) -> Objective:
    """What a network with so many outputs learns from labels y alone."""
    return objective_of(y, outputs, 1.0, 0.0) if is_regression(y) or outputs == 1 else classification
