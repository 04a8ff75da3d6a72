"""Progress of a run on standard error: bars on a terminal, a line a stage elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from tqdm import tqdm


class ProgressBars:
    """Progress on a terminal: a bar a stage; the bars of finished stages stay."""

    def __init__(self) -> None:
        self.bar: tqdm[NoReturn] | None = None

    def begin(self, stage: str, steps: int) -> None:
        """Draw the bar of a stage below that of the stage before."""
        from tqdm import tqdm

        self.close()
        self.bar = tqdm(total=steps, desc=f"{stage:24}", file=sys.stderr, dynamic_ncols=True,
                        bar_format="{desc} {bar:20} {n_fmt}/{total_fmt} {elapsed} {postfix}")

    def step(self, note: str, record: dict[str, Any] | None = None) -> None:
        """Move the bar on by one step and show the note beside it."""
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update()

    def close(self) -> None:
        """Leave the bar as it is."""
        if self.bar is not None:
            self.bar.close()
        self.bar = None


class ProgressLines:
    """Progress in a file or pipe: a line for each stage that was done to its end."""

    def __init__(self) -> None:
        self.stage, self.note, self.started, self.steps_left = "", "", 0.0, 0

    def begin(self, stage: str, steps: int) -> None:
        """Print the line of the stage before."""
        self.close()
        self.stage, self.note, self.started, self.steps_left = stage, "", time.perf_counter(), steps

    def step(self, note: str, record: dict[str, Any] | None = None) -> None:
        """Keep the note: the line shows that of the last step."""
        self.note, self.steps_left = note, self.steps_left - 1

    def close(self) -> None:
        """Print the line of the last stage, if it was done to its end."""
        if self.stage and self.steps_left <= 0:
            seconds = time.perf_counter() - self.started
            print(f"{self.stage}: {self.note} ({seconds:.1f} s)", file=sys.stderr, flush=True)
        self.stage = ""
