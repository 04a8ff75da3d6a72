"""Logit sources: networks of any origin, or functions, whose logits a student learns in the place of its teacher's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.batches import ROWS, plain
from npkd.data.datasets import Data
from npkd.data.logit_cache import Answers
from npkd.interop.adapt import rescaled_network
from npkd.nn.fast.workspace import predict
from npkd.nn.model import Model
from npkd.nn.network import Network

LogitSource = Network | Model | Callable[[Array], Any]
"""A network of npkd, with its scaling or without, or any function of examples that gives logits."""


def logits_of(source: LogitSource, data: Data, unit: float) -> Answers:
    """The logits of a source on examples as a student is shown them, x (n, I) float32 -> (n, classes) float32.

        raw = x · unit / factor + offset                              the inverse of (raw − offset) · factor / unit

    ``data`` has the shape of an example, the scaling and the number of classes. Raises InputError for what gives no
    logits; the answers do so where they are no logits for so many classes, or probabilities.
    """
    if isinstance(source, (Network, Model)):
        model = source if isinstance(source, Model) else Model(source)
        network = rescaled_network(model, data, "compress: distil_from")
        return lambda x: predict(network, x * np.float32(unit), ROWS)
    if not callable(source):
        raise InputError(f"compress: distil_from is of type {type(source).__name__}; it must be a network of npkd, or "
                         f"a function x -> logits")

    def answers(x: Array) -> Array:
        raw = x * np.float32(unit) / data.scaling.factor + data.scaling.offset
        parts = (raw[i:i + ROWS].reshape(-1, *data.shape) for i in range(0, len(x), ROWS))
        return np.concatenate([checked_logits(plain(source(part)), len(part), data.classes) for part in parts])

    return answers


def checked_logits(given: Array, examples: int, classes: int) -> Array:
    """Logits as float32. Raises InputError for anything else."""
    with np.errstate(over="ignore"):
        logits = given.astype(np.float32) if np.issubdtype(given.dtype, np.floating) else given
    if logits.shape != (examples, classes) or logits.dtype != np.float32 or not np.isfinite(logits).all():
        raise InputError(f"compress: distil_from answers {examples} examples with {given.dtype} of shape "
                         f"{given.shape}; it must give logits ({examples}, {classes}), finite in float32")
    if examples > 1 and logits.min() >= 0 and np.allclose(logits.sum(axis=1), 1, atol=1e-3):
        raise InputError("compress: distil_from gives probabilities, which add up to one; it must give logits, or the "
                         "logarithms of those")
    return logits
