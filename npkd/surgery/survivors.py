"""Which neurons are left, by the numbers that they had at first, and such numbers in few words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from npkd.surgery.removal import Removal


def survivors(widths: Sequence[int], rounds: Sequence[Sequence[Removal]]) -> Iterator[list[str]]:
    """Behind each round of removals, for each dependency group, the first numbers of the neurons that are left.

    widths   of the dependency groups before;   rounds   removals whose numbers are those before their own round
    """
    kept = [np.arange(width) for width in widths]
    for removals in rounds:
        gone = [[r.neuron for r in removals if r.group == k and r.position is None] for k in range(len(kept))]
        kept = [np.delete(numbers, np.asarray(out, np.intp)) for numbers, out in zip(kept, gone, strict=True)]
        yield [ranges(numbers.tolist()) for numbers in kept]


def ranges(indices: Sequence[int]) -> str:
    """Rising numbers in few words: [0, 1, 2, 5] -> "0–2, 5"."""
    parts = np.split(np.asarray(indices), np.flatnonzero(np.diff(indices) != 1) + 1)
    return ", ".join(f"{part[0]}–{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts if part.size)


def listed(words: str) -> list[int]:
    """What ``ranges`` wrote: "0–2, 5" -> [0, 1, 2, 5]."""
    ends = [[int(end) for end in part.split("–")] for part in words.split(", ") if part]
    return [n for first, *last in ends for n in range(first, (last or [first])[0] + 1)]
