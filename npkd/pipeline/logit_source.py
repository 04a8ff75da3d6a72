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


def logits_of(source: LogitSource, data: Data, unit: float, outputs: int) -> Answers:
    """The outputs of a source on examples as a student is shown them, x (n, I) float32 -> (n, outputs) float32, numbers
    scaled by ``data.targets``. A student with a single output learns z_1 − z_0 of logits of two classes.

        raw = x · unit / factor + offset                              the inverse of (raw − offset) · factor / unit

    ``data`` has the shape of an example, the scaling and the number of classes. Raises InputError for what gives no
    logits; the answers do so where they are no logits for so many classes, or probabilities.
    """
    if isinstance(source, (Network, Model)):
        model = source if isinstance(source, Model) else Model(source)
        network = rescaled_network(model, data, "compress: distil_from")
        return lambda x: single(predict(network, x * np.float32(unit), ROWS), outputs)
    if not callable(source):
        raise InputError(f"compress: distil_from is of type {type(source).__name__}; it must be a network of npkd, or "
                         f"a function x -> logits")

    def answers(x: Array) -> Array:
        raw = x * np.float32(unit) / data.scaling.factor + data.scaling.offset
        parts = (raw[i:i + ROWS].reshape(-1, *data.shape) for i in range(0, len(x), ROWS))
        found = np.concatenate([checked_logits(single(plain(source(part)), outputs), len(part), outputs)
                                for part in parts])
        return found if data.targets is None else data.targets.apply(found)

    return answers


def single(given: Array, outputs: int) -> Array:
    """Outputs (n, O); where one is needed (n,) as (n, 1), and of two logits their difference."""
    if outputs == 1 and given.ndim == 2 and given.shape[1] == 2:
        return given[:, 1:] - given[:, :1]
    return given[:, None] if outputs == 1 and given.ndim == 1 else given


def checked_logits(given: Array, examples: int, classes: int) -> Array:
    """Logits as float32. Raises InputError for anything else."""
    with np.errstate(over="ignore"):
        logits = given.astype(np.float32) if np.issubdtype(given.dtype, np.floating) else given
    if logits.shape != (examples, classes) or logits.dtype != np.float32 or not np.isfinite(logits).all():
        raise InputError(f"compress: distil_from answers {examples} examples with {given.dtype} of shape "
                         f"{given.shape}; it must give logits ({examples}, {classes}), finite in float32")
    if examples > 1 and classes > 1 and logits.min() >= 0 and np.allclose(logits.sum(axis=1), 1, atol=1e-3):
        raise InputError("compress: distil_from gives probabilities, which add up to one; it must give logits, or the "
                         "logarithms of those")
    return logits
