"""Objectives that train arrays of their own beside the network: connectors, variances, other networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from npkd.core.types import Array, Batch, Objective
from npkd.nn.network import Network
from npkd.nn.optimisers import Optimiser


class TrainedObjective(Protocol):
    """What ``train`` asks an objective that has an attribute ``at`` (npkd.distillation.objective.Terms is one).

    parameters    (P,) its trained arrays, in one vector;   gradient  (P,) of them, after a call
    """

    parameters: Array
    gradient: Array

    def at(self, epoch: int, progress: float) -> None:
        """Called before every batch: the epoch, from 1 on, and the part of the training that is done, 0 … 1."""

    def balance(self, network: Network, batch: Batch) -> Mapping[str, Mapping[str, float]]:
        """Called after every epoch, with its last batch: what the record says of the terms."""


class ObjectiveState:
    """The trained arrays of an objective during a run, with an optimiser of the same settings as the network's."""

    def __init__(self, objective: Objective, optimiser: Optimiser) -> None:
        self.objective = cast(TrainedObjective, objective) if hasattr(objective, "at") else None
        own = self.objective is not None and self.objective.parameters.size > 0
        self.state = optimiser.begin(self.objective.parameters) if own and self.objective else None

    @property
    def gradients(self) -> tuple[Array, ...]:
        """The gradient, if there are such arrays: a bound of the norm (T10) is one of both gradients together."""
        return (self.objective.gradient,) if self.objective and self.state else ()

    @property
    def carried(self) -> tuple[Array, ...]:
        """What a run has to carry on with."""
        return (*self.state.carried, self.objective.parameters) if self.objective and self.state else ()

    def at(self, epoch: int, progress: float) -> None:
        """Tell the objective where the training is."""
        if self.objective:
            self.objective.at(epoch, progress)

    def update(self, learning_rate: float) -> None:
        """One step of the optimiser."""
        if self.objective and self.state:
            self.state.update(self.objective.parameters, self.objective.gradient, learning_rate)

    def balance(self, network: Network, batch: Batch) -> Mapping[str, Mapping[str, float]]:
        """What the objective says of its terms."""
        return self.objective.balance(network, batch) if self.objective else {}
