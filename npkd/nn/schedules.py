"""Schedules of the learning rate: a factor for each moment of a run, from progress 0 at its start to 1 at its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from npkd.core.validation import InputError, below_one

Schedule = Callable[[float], float]
"""``schedule(progress) -> factor`` of the learning rate; ``progress``: the part of all updates that is done."""


def cosine(*, warm_up: float = 0.0, floor: float = 0.0) -> Schedule:
    """Half a cosine from 1 down to ``floor``, after a linear rise over the first ``warm_up`` of the run.

        f(p) = floor + (1 − floor) · ½ (1 + cos π (p − w)/(1 − w))                      (T7)

    Raises InputError unless 0 ≤ warm_up < 1. Source: Loshchilov & Hutter 2017; the warm-up: Goyal et al. 2017.
    """
    below_one("cosine", "warm_up", warm_up)

    def schedule(progress: float) -> float:
        if progress < warm_up:
            return progress / warm_up
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))     # (T7)

    return schedule


def steps(at: Sequence[float], factor: float = 0.1, *, warm_up: float = 0.0) -> Schedule:
    """The rate is multiplied by ``factor`` at each of the moments ``at``, parts of the run: steps((0.5, 0.75)).

        f(p) = factor^(number of moments passed)                                      (T8)

    Raises InputError for moments and a warm-up that are no parts of the run.
    """
    if any(not 0 <= moment <= 1 for moment in at):
        raise InputError(f"steps: at is {tuple(at)}; moments are parts of the run, between 0 and 1")
    below_one("steps", "warm_up", warm_up)

    def schedule(progress: float) -> float:
        rise = min(1.0, progress / warm_up) if warm_up else 1.0
        return rise * factor ** sum(progress >= moment for moment in at)     # (T8)

    return schedule
