"""Means, deviations and paired differences over seeds, with intervals, verdicts and bars."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

CONFIDENCE = 0.95
"""Of the intervals."""


def spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation (over n − 1; None for one value)."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def bar(what: str, values: Sequence[float], *, least: float = -math.inf, most: float = math.inf, published: str = ""
        ) -> list[str]:
    """A sentence on the mean of values, one a seed, that begins with "holds" or "MISSED"; none without values."""
    if not values:
        return []
    mean, deviation = spread(values)
    digits = 1 if mean >= 10 else 3
    told = f"{mean:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}, {len(values)} seeds")
    bounds = [f"{words} {limit:g}" for words, limit in (("at least", least), ("at most", most)) if math.isfinite(limit)]
    inside = least - 1e-9 <= mean <= most + 1e-9                  # at equality a bar holds, whatever floats make of it
    word, beside = "holds" if inside else "MISSED", f"; published {published}" if published else ""
    return [f"{word}  {what}: {told} (bar {' and '.join(bounds)}{beside})"]


@dataclass(frozen=True)
class Paired:
    """The mean difference of pairs, and the interval that holds the true one with CONFIDENCE; None of one pair."""

    mean: float
    interval: tuple[float, float] | None

    @property
    def verdict(self) -> str:
        """Of errors: "win" where the interval is above zero, "loss" below, "tie" around it; "open" without one."""
        if self.interval is None:
            return "open"
        low, high = self.interval
        return "win" if low > 0 else "loss" if high < 0 else "tie"


def paired(theirs: Sequence[float], ours: Sequence[float]) -> Paired:
    """Theirs − ours, pair by pair (the same seed).

        mean ± t_{n−1; 0.975} · s/√n                                                  (I25)

    Student's interval, exact where the differences are normal.
    """
    n = len(ours)
    mean, deviation = spread([a - b for a, b in zip(theirs, ours, strict=True)])
    if deviation is None:
        return Paired(mean, None)
    reach = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2)) * deviation / math.sqrt(n)                               # (I25)
    return Paired(mean, (mean - reach, mean + reach))


def beats(what: str, theirs: Mapping[int, float], ours: Mapping[int, float]) -> list[str]:
    """A sentence on theirs − ours of the seeds that both have: it holds where the interval lies above zero, that of one
    seed is open; none without a seed."""
    seeds = sorted({*theirs} & {*ours})
    if not seeds:
        return []
    gain = paired([theirs[seed] for seed in seeds], [ours[seed] for seed in seeds])
    told = "" if gain.interval is None else " [{:+.1f}, {:+.1f}]".format(*gain.interval)
    return [f"{'holds' if gain.verdict == 'win' else 'MISSED'}  {what}: gain {gain.mean:+.1f}{told}, {gain.verdict}, "
            f"{len(seeds)} seeds"]
