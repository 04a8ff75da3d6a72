"""Inputs made from a teacher and its statistics, for distillation without data: docs/book/19-schemes.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from npkd.core.types import Array
from npkd.distillation.scheme_losses import moment_matching
from npkd.distillation.teacher import Teacher
from npkd.nn.fast.workspace import Workspace
from npkd.nn.losses import cross_entropy
from npkd.nn.network import Network
from npkd.nn.normalisation import moments
from npkd.nn.optimisers import Adam, Optimiser
from npkd.nn.schedules import cosine

Moments = Mapping[int, tuple[Array, Array]]                # {activation: mean and variance (J,) of its neurons}


def moments_of(network: Network, x: Array, indices: Sequence[int]) -> Moments:
    """Those of activations at real examples, which may then be forgotten; 0 is the input."""
    return {i: moments(a) for i, a in zip(indices, Teacher(network, indices)(x).values(), strict=True)}


def stored_moments(network: Network) -> Moments:
    """Those that a network holds itself: the running ones of the activations that its batch_norm layers read."""
    return {i: (layer.running[0], layer.running[1]) for i, layer in enumerate(network.layers) if layer.running}


@dataclass(frozen=True, eq=False)
class Synthesis:
    """How inputs are made: for classes ``labels`` (N,), of a ``shape`` each, (I,) or (H, W, C), from ``moments`` with a
    ``weight`` α, in so many ``steps`` of an optimiser, its rate falling to 0."""

    labels: Array
    shape: Sequence[int]
    moments: Moments
    weight: float = 1.0
    steps: int = 200
    optimiser: Optimiser = field(default_factory=lambda: Adam(0.1))


def synthesise(teacher: Network, settings: Synthesis, rng: np.random.Generator) -> Array:
    """Inputs x (N, ...) that begin as noise and descend, all at once, along the gradient that the teacher gives them.

        x = argmin CE(f(x), y) + α Σ_i (‖μ(x_i) − m_i‖ + ‖σ²(x_i) − s_i‖),   x_i activation i           (Z11)

    Source: Yin et al. 2020, DeepInversion, without its priors on pictures; of kept statistics Lopes et al. 2017.
    """
    dtype, schedule = teacher.layers[teacher.weight_layers[-1]].params[0].dtype, cosine()
    flat = rng.standard_normal(len(settings.labels) * int(np.prod(settings.shape))).astype(dtype)
    x, state = flat.reshape(-1, *settings.shape), settings.optimiser.begin(flat)
    space = Workspace(teacher, len(x))
    for step in range(settings.steps):
        with space.blas:
            activations = space.forward(x)
            d = {len(activations) - 1: cross_entropy(activations[-1], settings.labels)[1]}
            for i, target in settings.moments.items():
                d[i] = settings.weight * moment_matching(activations[i], target)[1] + d.get(i, 0)
            dx = space.backward(d, inputs=True)                                       # (Z11)
        assert dx is not None
        rate = settings.optimiser.learning_rate * schedule((step + 0.5) / settings.steps)
        state.update(flat, dx.reshape(-1).astype(dtype, copy=False), rate)
    return x
