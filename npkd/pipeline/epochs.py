"""The epochs of a stage of training: what is told of them, and what is kept so that the stage can be resumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from npkd.nn.network import Network
from npkd.nn.training import Record, TrainingSettings
from npkd.pipeline.progress import Checkpoint, Checkpoints, Progress
from npkd.surgery.widths import widths_of


def epochs_of(stage: str, start: Network, training: Callable[..., Iterator[Record]], settings: TrainingSettings,
              rng: np.random.Generator, progress: Progress, more: Callable[[Record], dict[str, Any]] = lambda record: {}
              ) -> Iterator[Checkpoint]:
    """What there is after every epoch of ``training(start, settings=settings)``; then the progress is told of it.
    A progress that keeps checkpoints gets one after every epoch that ends with a new augmentation due. Where it has one
    of this stage, training goes on from there: that checkpoint comes first. ``more``: further entries of an epoch's
    line of the history."""
    keeper = progress if isinstance(progress, Checkpoints) else None
    kept = keeper.kept(stage, start) if keeper else None
    done: tuple[tuple[str, dict[str, Any]], ...] = ()
    seconds, best = 0.0, None
    progress.begin(stage, settings.epochs)
    if kept is not None:
        rng.bit_generator.state = kept.rng
        done, start, seconds = kept.epochs, kept.network, kept.epochs[-1][1]["seconds"]
        best = kept.best
        settings = replace(settings, done=len(done), carried=kept.optimiser, best=best)
        for note, line in done[:-1]:
            progress.step(note, line)
        yield kept
        progress.step(*done[-1])
    for record in training(start, settings=settings):
        if record.validation is not None and record.best is record.network:
            best = record.epoch, record.validation, record.network
        done = (*done, (note_of(record), line_of(stage, record, seconds) | more(record)))
        now = Checkpoint(done, record.network, record.carried, rng.bit_generator.state, best)
        if keeper is not None and (record.epoch % settings.refresh == 0 or record.epoch == settings.epochs):
            keeper.keep(stage, now)
        yield now
        progress.step(*done[-1])


def note_of(record: Record) -> str:
    """The words beside a progress bar."""
    validation = "" if record.validation is None else f", validation error {record.validation:.2%}"
    return f"loss {record.loss:.4f}{validation}"


def line_of(stage: str, record: Record, before: float) -> dict[str, Any]:
    """An epoch as a line of the history; ``before``: seconds of a run that this one goes on with."""
    terms = {name: {key: value if math.isfinite(value) else None for key, value in term.items()}
             for name, term in record.terms.items()}
    return {"stage": stage, "epoch": record.epoch, "loss": record.loss, "validation_error": record.validation,
            "rate": record.learning_rate, "widths": widths_of(record.network),
            "seconds": round(record.seconds + before, 3), "dead": {str(i): share for i, share in record.dead.items()},
            **({"terms": terms} if terms else {})}
