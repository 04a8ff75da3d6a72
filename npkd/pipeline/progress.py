"""What is told of every step of a run, for progress bars and the history."""

from __future__ import annotations

from typing import Any, Protocol


class Progress(Protocol):
    """Told what a run does, for progress bars and the history."""

    def begin(self, stage: str, steps: int) -> None:
        """A stage of so many steps begins: "teacher", "round 2 of 5: layers", "round 2 of 5: distillation", "final
        distillation"."""
        ...

    def step(self, note: str, record: dict[str, Any] | None = None) -> None:
        """One step is done; ``record`` is a line of the history."""
        ...


class NoProgress:
    """A progress that looks away."""

    def begin(self, stage: str, steps: int) -> None:
        """Nothing."""

    def step(self, note: str, record: dict[str, Any] | None = None) -> None:
        """Nothing."""
