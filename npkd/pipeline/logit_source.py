"""Logit sources: networks of any origin, or functions, whose logits a student learns in the place of its teacher's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from npkd.cli.prepare import answering
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.batches import plain
from npkd.data.datasets import Data
from npkd.distillation.transfer import Answers
from npkd.nn.model import Model
from npkd.nn.network import Network
from npkd.nn.scaling import Scaling

LogitSource = Network | Model | Callable[[Array], Any]
"""What can be asked: npkd's own network, with its scaling or without, or any function of examples that gives logits."""

ROWS = 10_000
"""Examples in a question."""


def asked(distil_from: LogitSource, data: Data, scaling: Scaling | None, unit: float) -> Answers:
    """The logits of a source on examples as a student is shown them, x (n, I) float32 -> (n, classes) float32.

        raw = x · unit / factor + offset                                       the inverse of (raw − offset) · factor /
        unit

    data    says of what shape an example is, and how many classes there are

    Raises InputError for what cannot be asked; the answers do so where they are no logits for so many classes, or
    probabilities.
    """
    model = Model(distil_from) if isinstance(distil_from, Network) else distil_from
    function = (
        Model(answering(model, data, "compress: distil_from"), model.scaling).logits if isinstance(model, Model)
        else model
    )
    if not callable(function):
        raise InputError(f"compress: distil_from is of type {type(distil_from).__name__}; it must be a network of "
                         f"npkd, or a "
                         f"function x -> logits")

    def of(x: Array) -> Array:
        raw: Array = x * np.float32(unit)
        if scaling is not None:
            raw = raw / scaling.factor + scaling.offset
        parts = (raw[i:i + ROWS].reshape(-1, *data.shape) for i in range(0, len(x), ROWS))
        return np.concatenate([checked(plain(function(part)), len(part), data.classes) for part in parts])

    return of


def checked(said: Array, examples: int, classes: int) -> Array:
    """Logits as float32. Raises InputError for anything else."""
    with np.errstate(over="ignore"):
        logits = said.astype(np.float32) if np.issubdtype(said.dtype, np.floating) else said
    if logits.shape != (examples, classes) or logits.dtype != np.float32 or not np.isfinite(logits).all():
        raise InputError(f"compress: distil_from answers {examples} examples with {said.dtype} of shape {said.shape}; "
                         f"it "
                         f"must give logits "
                         f"({examples}, {classes}), finite in float32")
    if examples > 1 and logits.min() >= 0 and np.allclose(logits.sum(axis=1), 1, atol=1e-3):
        raise InputError("compress: distil_from gives probabilities, which add up to one; it must give logits, or the "
                         "logarithms of those")
    return logits
