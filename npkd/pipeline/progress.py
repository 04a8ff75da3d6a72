"""What is kept of every step of a run, so that an interrupted one can be resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from npkd.core.progress import NoProgress as NoProgress
from npkd.core.progress import Progress as Progress
from npkd.core.types import Array
from npkd.nn.cost import of_widths
from npkd.nn.network import Network


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


class History(NoProgress):
    """A progress that keeps ``lines``, of every epoch stage, epoch, lambda, macs that are read, validation_error."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def step(self, note: str, record: dict[str, Any] | None = None) -> None:
        """One step is done."""
        if record is not None:
            macs = of_widths([*record.get("alive", record["widths"][:-1]), record["widths"][-1]]).macs
            self.lines.append({"macs": macs, **{key: record.get(key) for key in ("stage", "epoch", "lambda",
                                                                                 "validation_error")}})
