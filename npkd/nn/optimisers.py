"""Optimisers: how a gradient becomes a step. Each works on one vector of all parameters.

An optimiser is a frozen description; ``begin`` gives the state of a run. Each update returns the step size that a
proximal step has to use: one number for SGD, one for each parameter for Adam. Derivations: docs/book/6-training.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.linalg import blas

from npkd.core.types import Array
from npkd.core.validation import below_one, positive


class State(Protocol):
    """The state of an optimiser during a run."""

    @property
    def carried(self) -> tuple[Array, ...]:
        """The arrays that updates build on: with copies of their values a run can go on."""

    def update(self, parameters: Array, gradient: Array, learning_rate: float) -> float | Array:
        """Change ``parameters`` (P,) in place, and perhaps ``gradient`` (P,); returns the step size for the proximal
        step, a number or (P,)."""


class Optimiser(Protocol):
    """What ``train`` needs of an optimiser."""

    @property
    def learning_rate(self) -> float:
        """The learning rate, before the schedule."""

    def begin(self, parameters: Array) -> State:
        """State for a run over ``parameters`` (P,)."""


def add(target: Array, a: float, x: Array) -> None:
    """target ← target + a · x in place, one pass of BLAS."""
    (blas.saxpy if target.dtype == np.float32 else blas.daxpy)(x, target, a=a)


def bound_norm(clip: float, *gradients: Array) -> None:
    """g ← g · min(1, clip / ‖g‖) in place, for a gradient of all parameters, in one or several vectors.      (T10)"""
    norm = math.sqrt(sum(float(np.vdot(g, g)) for g in gradients))
    if math.isinf(norm):                                               # squares overflow sooner than numbers
        norm = math.hypot(*(float(np.linalg.norm(g.astype(np.float64))) for g in gradients))
    if norm > clip:
        for g in gradients:
            g *= clip / norm                                           # (T10)


def flush_subnormals(carried: Array) -> Array:
    """Set the subnormal numbers of what an optimiser carries to 0, in place, and return a copy. Processors are slow
    with them, and a velocity without gradient would never leave them."""
    carried[np.abs(carried) < np.finfo(np.result_type(carried, np.float32)).tiny] = 0
    return carried.copy()


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum, in PyTorch's form.

        g ← ∇L + λ θ                                                                  (T1)
        v ← μ v + g                                                                   (T2)
        θ ← θ − η v,    Nesterov: θ ← θ − η (g + μ v)                                  (T3)

    learning_rate η > 0, momentum 0 ≤ μ < 1, weight_decay λ ≥ 0. The proximal step that follows has step size η/(1 − μ):
    only then does the iteration rest where ∇L + ∂Ω contains zero (docs/book/6-training.md).
    Source: Polyak 1964; Nesterov 1983 in the form of Sutskever et al. 2013.
    """

    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        positive("SGD", "learning_rate", self.learning_rate)
        below_one("SGD", "momentum", self.momentum)
        positive("SGD", "weight_decay", self.weight_decay, zero=True)

    def begin(self, parameters: Array) -> State:
        """State of a run, at rest."""
        return SGDState(self, np.zeros_like(parameters))


class SGDState:
    """The velocity v of a run. Where ``velocity`` is the vector that ``update`` gets as its gradient, that already is v
    of (T2), as ``Workspace.backward`` computes it with β = μ, but for the weight decay: no second one is read."""

    def __init__(self, settings: SGD, velocity: Array) -> None:
        self.settings, self.velocity, self.carried = settings, velocity, (velocity,)

    def update(self, parameters: Array, gradient: Array, learning_rate: float) -> float:
        """See SGD."""
        if self.settings.weight_decay:
            add(gradient, self.settings.weight_decay, parameters)      # (T1)
        if gradient is not self.velocity:
            self.velocity *= self.settings.momentum
            self.velocity += gradient                                  # (T2)
        if self.settings.nesterov:
            add(parameters, -learning_rate, gradient)
            add(parameters, -learning_rate * self.settings.momentum, self.velocity)  # (T3)
        else:
            add(parameters, -learning_rate, self.velocity)             # (T3)
        return learning_rate / (1 - self.settings.momentum)


@dataclass(frozen=True)
class Adam:
    """Adam, and AdamW with ``decoupled`` weight decay.

        m ← β₁ m + (1 − β₁) g,   s ← β₂ s + (1 − β₂) g²                                (T4)
        D = √(s / (1 − β₂ᵗ)) + ε,   θ ← θ − η D⁻¹ m / (1 − β₁ᵗ)                         (T5)
        Adam: g = ∇L + λ θ;   AdamW: θ ← (1 − η λ) θ beforehand                        (T6)

    The proximal step that follows is taken in the same metric: parameter i has step size η / D_i.
    Source: Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, algorithm 2; the metric: Yun, Lozano & Yang 2021.
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False

    def __post_init__(self) -> None:
        positive("Adam", "learning_rate", self.learning_rate)
        positive("Adam", "eps", self.eps)
        below_one("Adam", "beta1", self.beta1)
        below_one("Adam", "beta2", self.beta2)
        positive("Adam", "weight_decay", self.weight_decay, zero=True)

    def begin(self, parameters: Array) -> State:
        """State of a run, all zero."""
        return AdamState(self, parameters)


def AdamW(learning_rate: float = 1e-3, weight_decay: float = 1e-2) -> Adam:     # noqa: N802  (it makes an Adam)
    """Adam with decoupled weight decay."""
    return Adam(learning_rate, weight_decay=weight_decay, decoupled=True)


class AdamState:
    """The two running moments of a run."""

    def __init__(self, settings: Adam, parameters: Array) -> None:
        self.settings, self.updates = settings, np.zeros(1, np.int64)
        self.m, self.s = np.zeros_like(parameters), np.zeros_like(parameters)
        self.carried = self.m, self.s, self.updates
        self.metric, self.scratch = np.empty_like(parameters), np.empty_like(parameters)

    def update(self, parameters: Array, gradient: Array, learning_rate: float) -> Array:
        """See Adam."""
        self.updates += 1
        c, t = self.settings, int(self.updates[0])
        if c.weight_decay and c.decoupled:
            parameters *= 1 - learning_rate * c.weight_decay           # (T6)
        elif c.weight_decay:
            add(gradient, c.weight_decay, parameters)                  # (T6)
        self.m *= c.beta1
        add(self.m, 1 - c.beta1, gradient)                             # (T4)
        np.multiply(gradient, gradient, out=self.scratch)
        self.s *= c.beta2
        add(self.s, 1 - c.beta2, self.scratch)                         # (T4)
        np.multiply(self.s, 1 / (1 - c.beta2 ** t), out=self.metric)
        np.sqrt(self.metric, out=self.metric)
        self.metric += c.eps
        np.divide(learning_rate, self.metric, out=self.metric)         # η / D, what the proximal step asks for
        np.multiply(self.metric, self.m, out=self.scratch)
        add(parameters, -1 / (1 - c.beta1 ** t), self.scratch)         # (T5)
        return self.metric
