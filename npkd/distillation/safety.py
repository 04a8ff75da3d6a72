"""The bound of the gradient with which distillation trains at any temperature: docs/book/5-losses.md, Why T²."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from npkd.core.types import Array, Batch
from npkd.core.validation import InputError, whole
from npkd.distillation.terms import array_of
from npkd.nn.network import Network
from npkd.nn.optimisers import Optimiser
from npkd.nn.training import TrainingSettings

EXAMPLES = 512
"""Examples from which the bound is taken, or by which a neuron is dead."""


def examples_of(x: Array) -> Array:
    """Which examples of x (N, ...) are looked at: drawn, the same in every call."""
    whole("safe_clip", 1, examples=len(x))
    return np.random.default_rng(0).permutation(len(x))[:EXAMPLES]


def safe_clip(student: Network, x: Array, classes: Array) -> float | None:
    """Norm of the gradient that a cross-entropy has where every class is surely taken for the next one.

        clip = ‖1/M Σ_m J_mᵀ (e_b − e_a)‖,   J_m = ∂z_m/∂θ,   a = y_m mod C,   b = y_m + 1 mod C             (K50)

    student  as it is drawn before training (else ``redrawn``), z (N, C) its logits;   x (N, ...)  examples, of which
    M ≤ EXAMPLES are drawn;   classes  y (N,) integers, of labels or of a teacher
    A bound of the gradient, at the rate of SGD(), for whatever loss: no temperature is in it. Divided by M alone. A
    single output has e_b alone. None where that gradient is zero or not finite. Source: own.
    """
    rows = examples_of(x)
    activations, backward = student(x[rows])
    m, d = np.arange(len(rows)), np.zeros_like(activations[-1])
    d[m, ..., (classes[rows] + 1) % d.shape[-1]] += 1 / len(rows)
    if d.shape[-1] > 1:
        d[m, ..., classes[rows] % d.shape[-1]] -= 1 / len(rows)                               # (e_b − e_a) / M
    gradients = backward({len(activations) - 1: d})[1]
    norm = math.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for layer in gradients for g in layer))   # (K50)
    return norm if 0 < norm < math.inf else None


def redrawn(network: Network) -> Network:
    """A copy whose dense and convolutional layers have weights from N(0, 2/inputs) and biases 0, as they are drawn
    (He et al. 2015); the same in every call. That of a trained network is larger: relus die."""
    rng, fresh = np.random.default_rng(0), {}
    for i in network.weight_layers:
        w, *rest = (layer := network.layers[i]).params
        w = (rng.standard_normal(w.shape) * math.sqrt(2 * len(w) / w.size)).astype(w.dtype)
        fresh[i] = replace(layer, params=(w, *map(np.zeros_like, rest)))
    return network.copy().replace(fresh)


def with_safe_clip(student: Network, data: Batch, optimiser: Optimiser | None, settings: TrainingSettings | None,
                   answers: Callable[[Array], Mapping[str, Array]] | None = None) -> TrainingSettings:
    """The settings of a distillation of whose rate and bound nothing is said: with (K50), which belongs to the rate of
    SGD(). Others stay as they are: those with a clip, and of a training that has an optimiser of its own.

    The classes are the labels, data["y"], or what the teacher's ``answers`` say, or any, in turn. Raises InputError
    where a run goes on without the bound that it began with.
    """
    settings = settings or TrainingSettings()
    if optimiser is not None or settings.clip is not None:
        return settings
    if settings.done:
        raise InputError(f"distillation: done is {settings.done} and clip is not set; give the clip that the run began "
                         "with, safe_clip(the student before its training, x, classes)")
    x, classes = array_of(data, "x"), np.asarray(data.get("y"))
    if classes.dtype.kind not in "iu" or classes.shape != x.shape[:1]:
        rows, classes = examples_of(x), np.arange(len(x))
        logits = (answers(x[rows]) if answers else {}).get("teacher")
        if logits is not None and logits.ndim == 2:
            classes[rows] = logits.argmax(axis=1)
    return replace(settings, clip=safe_clip(student, x, classes))
