"""What is told of every step of a run: for progress bars, for the history, and for resuming an interrupted run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from npkd.core.types import Array
from npkd.nn.network import Network


class Progress(Protocol):
    """Told what a run does, for progress bars and the history."""

    def begin(self, stage: str, steps: int) -> None:
        """A stage of so many steps begins: "teacher", "round 2 of 5: layers", "final distillation"."""
        return

    def step(self, note: str, record: dict[str, Any] | None = None) -> None:
        """One step is done; ``record`` is a line of the history."""
        return


class NoProgress(Progress):
    """A progress that shows and keeps nothing."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A stage of training after an epoch: all that is needed to go on as if it had not been broken off.

    epochs       note and record of each epoch so far, as ``Progress.step`` was told
    network      after the last of them
    optimiser    what the optimiser carries from update to update, see npkd.nn.optimisers.State
    rng          state of the random generator's bit generator
    best         epoch, validation and network that were best so far; None without validation
    """

    epochs: tuple[tuple[str, dict[str, Any]], ...]
    network: Network
    optimiser: tuple[Array, ...]
    rng: Mapping[str, Any]
    best: tuple[int, float, Network] | None = None


@runtime_checkable
class Checkpoints(Progress, Protocol):
    """A progress that keeps checkpoints too."""

    def keep(self, stage: str, checkpoint: Checkpoint) -> None:
        """An epoch of a stage of training is done."""

    def kept(self, stage: str, network: Network) -> Checkpoint | None:
        """The last checkpoint of a stage that begins with ``network``; None where the stage begins anew."""
        ...
