"""How small: the target of a compression, as a user writes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from npkd import cost
from npkd.errors import InputError

SIZES = ("macs", "parameters", "bytes", "neurons")


@dataclass(frozen=True)
class Target:
    """A bound on the student.

    kind    "macs", "parameters", "bytes" or "neurons" (inputs read and hidden neurons): the bound is on that number;
            "error": on the rise of the validation error over the teacher's, in percentage points
    bound   the number
    """

    kind: str
    bound: float

    def size(self, widths: Sequence[int]) -> float:
        """What the bound counts, for a perceptron with these widths, inputs and outputs included."""
        return float(getattr(cost.of_widths(widths), "macs" if self.kind == "error" else self.kind))


def parse(text: str, teacher_widths: Sequence[int]) -> Target:
    """A target from words: ``macs=26620``, ``macs=10%`` (of the teacher's), ``neurons=120``, ``error=+0.5`` (points).

    Raises InputError that says what can be written, for unknown words, numbers that are not positive, and a bound above the teacher's size.
    """
    kind, equals, number = text.partition("=")
    if kind not in (*SIZES, "error") or not equals:
        raise InputError(f"target: got {text!r}; write macs=N, parameters=N, bytes=N or neurons=N (or N%), or error=+POINTS")
    try:
        value = float(number.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0) or (kind == "error" and number.endswith("%")):
        raise InputError(f"target: got {text!r}; after {kind}= it needs a positive number")
    if kind == "error":
        return Target(kind, value)
    whole = getattr(cost.of_widths(teacher_widths), kind)
    bound = value / 100 * whole if number.endswith("%") else value
    if bound > whole:
        raise InputError(f"target: {kind} is {bound:g}, but the teacher has {whole}; the target must not be above that")
    return Target(kind, bound)
