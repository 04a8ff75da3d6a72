"""Means, deviations and paired differences over seeds, with intervals and a verdict."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

CONFIDENCE = 0.95
"""Of the intervals."""


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (over n − 1; None for one value)."""

    mean: float
    deviation: float | None


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True)
class Paired:
    """The mean of the differences of pairs, and the interval that holds their true mean with CONFIDENCE; None where
    there is one pair alone."""

    mean: float
    interval: tuple[float, float] | None

    @property
    def verdict(self) -> str:
        """For a difference theirs − ours of errors: "win" where it is above zero all over the interval, "loss" below,
        else "tie".

        "open" where there is no interval.
        """
        if self.interval is None:
            return "open"
        low, high = self.interval
        return "win" if low > 0 else "loss" if high < 0 else "tie"


def paired(theirs: Sequence[float], ours: Sequence[float]) -> Paired:
    """Theirs − ours, pair by pair (the same seed).

        mean ± t_{n−1; 0.975} · s/√n                                                  (I25)

    Student's interval, exact where the differences are normal.
    """
    differences = [a - b for a, b in zip(theirs, ours, strict=True)]
    s, n = spread(differences), len(differences)
    if s.deviation is None:
        return Paired(s.mean, None)
    reach = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2)) * s.deviation / math.sqrt(n)                         # (I25)
    return Paired(s.mean, (s.mean - reach, s.mean + reach))
