"""``npkd cost FILE``: what a network costs, as a table or as JSON."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from typing import Any

from npkd.nn.model import load
from npkd.pipeline.cost_card import BATCHES, PICOJOULES, counts, measured
from npkd.report.numbers import number
from npkd.report.page import COSTS


def card(path: str) -> dict[str, Any]:
    """All numbers of the network in a file."""
    model = load(path)
    return {"file": path, **asdict(counts(model)), "constants_picojoules": dict(PICOJOULES),
            "constants_source": "Horowitz 2014, 45 nm; energy is an estimate",
            "machine": platform.processor() or platform.machine(),
            "measured": [asdict(measured(model, batch)) for batch in BATCHES]}


def table(numbers: dict[str, Any]) -> str:
    """The card as a person reads it."""
    rows = [(words, "none: not on a grid" if numbers[key] is None else numbers[key] if isinstance(numbers[key], str)
             else number(numbers[key])) for key, words in COSTS.items()]
    rows.append(("energy of a prediction", f"{numbers['picojoules'] / 1e6:.3g} µJ, an estimate"))
    for one in numbers["measured"]:
        low, high = (1000 * t for t in one["interval"])
        who = f"{one['batch']} example" + "s" * (one["batch"] > 1)
        rows += [(f"latency of {who}", f"{1000 * one['seconds']:.3g} ms, 95 % {low:.3g} to {high:.3g}"),
                 (f"peak memory of {who}", f"{number(one['peak_bytes'])} bytes")]
    wide = max(len(words) for words, _ in rows)
    notes = [f"Constants of {numbers['constants_source']}, {PICOJOULES['float32 multiplication']} pJ a float32",
             f"multiplication, {PICOJOULES['int8 multiplication']} pJ an int8 one: chapter 26 of the book. Latency is "
             f"of this machine ({numbers['machine']})."]
    return "\n".join([*(f"{words:{wide}}  {value}" for words, value in rows), "", *notes])


def main(path: str, as_json: bool) -> int:
    """Print the card of a file."""
    numbers = card(path)
    print(json.dumps(numbers, indent=2) if as_json else table(numbers))
    return 0
