"""What a run tells of its steps, and how a person sees it: bars on a terminal and in a notebook, elsewhere lines."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from typing import Any, Protocol

SOON, EVERY = 1.25, 20.0
"""Seconds until the first line in a pipe, and the most between two of them."""
BAR = "{desc}{bar:6} {n_fmt}/{total_fmt} {elapsed}{postfix}"        # with a note of 37 columns 80 in all


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


class Display:
    """Progress that a person sees: with tqdm (``make``) a bar a stage, and those of finished stages stay; without it on
    standard error a line when a stage ends, and while it lasts one every EVERY seconds, the first of a run after SOON.
    A thread calls ``draw`` again and again, so that a step that lasts long shows too."""

    def __init__(self, make: Callable[..., Any] | None = None) -> None:
        self.lock, self.closed, self.due = threading.Lock(), threading.Event(), time.perf_counter() + SOON
        self.stage, self.note, self.steps, self.done, self.told, self.began = "", "", 0, 0, 0, 0.0
        self.make, self.bar = make, None  # type: Callable[..., Any] | None, Any
        threading.Thread(target=self.watch, daemon=True).start()

    def begin(self, stage: str, steps: int) -> None:
        """The stage before ends, the next one begins; "": none does."""
        with self.lock:
            self.draw(last=True)
            self.stage, self.note, self.steps, self.done, self.told = stage, "", steps, 0, 0
            self.began = time.perf_counter()
            self.draw()

    def step(self, note: str, record: dict[str, Any] | None = None) -> None:
        """One step is done; the note stands beside it."""
        with self.lock:
            self.note, self.done = note, self.done + 1
            self.draw()

    def close(self) -> None:
        """The last stage ends."""
        self.closed.set()
        self.begin("", 0)

    def watch(self) -> None:
        """Draw several times a second until the progress is closed."""
        while not self.closed.wait(SOON / 4):
            with self.lock:
                self.draw()

    def draw(self, last: bool = False) -> None:
        """Draw the bar; or print a line where one is due or, the ``last`` time, more is done than it said before."""
        now, note = time.perf_counter(), self.note and f", {self.note}"
        if self.stage and self.make:
            if self.bar is None:                              # nrows: a terminal may tell no size
                self.bar = self.make(total=self.steps, desc=f"{self.stage:22}", nrows=20, bar_format=BAR)
            self.bar.n, self.bar.leave = self.done, self.done > 0     # a bar stays, unless nothing was done
            self.bar.set_postfix_str(self.note)
            self.bar = self.bar.close() if last else self.bar
        elif self.stage and (self.done > self.told if last else now >= self.due):
            self.told, self.due = self.done, now + EVERY
            print(f"{self.stage}: {self.done}/{self.steps}{note} ({now - self.began:.1f} s)", file=sys.stderr)


def shown(progress: Progress | bool | None) -> AbstractContextManager[Progress]:
    """The progress given; for True a Display: with tqdm bars on a terminal and in a notebook, else lines."""
    if progress is not True:
        return nullcontext(progress or NoProgress())
    with suppress(ImportError):
        if sys.stderr.isatty() or "ipykernel" in sys.modules:
            from tqdm.auto import tqdm
            return closing(Display(tqdm))
    return closing(Display())


def tracked(items: Iterable[Any], stage: str, steps: int, note: Callable[[Any], str]) -> Iterator[Any]:
    """The items, each shown as a step of a stage, with its note."""
    with shown(True) as progress:
        progress.begin(stage, steps)
        for item in items:
            progress.step(note(item))
            yield item
