"""The numbers of a report: what is measured of networks side by side, and how a person writes them."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from npkd.core.blas_threads import single_thread
from npkd.core.types import Array
from npkd.data.datasets import Data
from npkd.nn.fast.workspace import Workspace
from npkd.nn.network import Network
from npkd.surgery.survivors import ranges

EXAMPLES, SHOWN, BATCH, CALLS = 12, 500, 100, 21
"""Test examples that are shown, and whose predicted numbers are drawn; of a batch whose latency is measured, how often.
"""


def side_by_side(networks: Mapping[str, Network], answers: Mapping[str, Array], data: Data) -> dict[str, Any]:
    """Wrong answers by class, the first test examples that the last two disagree on (of one network: it and the label),
    and latency. ``answers``: by the name of the network the classes (N,) that it gives the test part. Where these are
    numbers, (N, O) scaled as those of the data: the first SHOWN of the first output, as they were given, and latency.
    """
    if data.targets is not None:
        first = {name: (a[:SHOWN] / data.targets.factor + data.targets.offset)[:, 0]
                 for name, a in {"measured": data.y_test, **answers}.items()}
        return {"predicted": {name: [float(f"{value:.6g}") for value in a] for name, a in first.items()},
                "latency": latency(networks, data.x_test)}
    y, said = data.y_test, {"label": data.y_test, **answers}
    one, other = list(said.values())[-2:]
    differ = np.flatnonzero(one != other)
    return {
        "per_class": {name: np.bincount(part, minlength=data.classes).tolist() for name, part
                      in {"examples": y, **{name: y[a != y] for name, a in answers.items()}}.items()},
        "differing": {"count": len(differ), "right": {name: int((a == y)[differ].sum()) for name, a in answers.items()},
                      "examples": [{"example": int(n), **{name: int(a[n]) for name, a in said.items()}}
                                   for n in differ[:EXAMPLES]]}, "latency": latency(networks, data.x_test)}


def latency(networks: Mapping[str, Network], x: Array) -> dict[str, Any]:
    """Median seconds of a forward pass of one example, and of a batch, of x (N, I): on one BLAS thread, in buffers that
    are made before. The networks take turns, so that what else the machine does slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for rows in (1, batch := min(BATCH, len(x))):
        spaces, times = {name: Workspace(network, rows) for name, network in networks.items()}, defaultdict(list)
        parts = {name: x[:rows].astype(network.layers[network.weight_layers[0]].params[0].dtype)
                 for name, network in networks.items()}
        with single_thread:
            for name in [*networks] * CALLS:
                began = time.perf_counter()
                spaces[name].forward(parts[name])
                times[name].append(time.perf_counter() - began)
        for name, measured in times.items():
            seconds[name].append(float(f"{statistics.median(measured):.3g}"))
    return {"batch": batch, "calls": CALLS, "seconds": seconds}


def joined(seeds: Sequence[int]) -> str:
    """Rising seeds as ``--seeds`` takes them: "0-4", "0,3,7-9"; of one alone "5-5"."""
    return ranges(seeds).replace("–", "-").replace(" ", "") if len(seeds) > 1 else f"{seeds[0]}-{seeds[0]}"


def percent(fraction: float, digits: int = 1) -> str:
    """0.0237 -> "2.4 %", with a space that does not break; what would be rounded to nothing in more digits."""
    text = f"{100 * fraction:.{digits}f}"
    return f"{text if float(text) or not fraction else f'{100 * fraction:.1g}'}\N{NO-BREAK SPACE}%"


def taught(summary: Mapping[str, Any]) -> list[str]:
    """A sentence where the labels are the teacher's own answers."""
    return ["Labels are the teacher's own answers: an error is where a network says something else."] * str(
        summary["data"]).endswith("labelled by the teacher")


def error(numbers: Mapping[str, Any], part: str, digits: int = 2) -> str:
    """The error of a network on the test or validation part: "2.37 %"; of predicted numbers R²: "0.9197"."""
    value = numbers[f"{part}_error"]
    return f"{1 - value:.4f}" if "rmse" in numbers else percent(value, digits)


def kind(numbers: Mapping[str, Any]) -> str:
    """What ``error`` gives."""
    return "R²" if "rmse" in numbers else "error"


def number(value: float) -> str:
    """50200 -> "50,200"; other numbers with three digits."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"


def power(value: float) -> str:
    """8.8e-07 -> "8.8·10⁻⁷"; 0 -> "0"."""
    if not value:
        return "0"
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits}·10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def chain(widths: Sequence[int]) -> str:
    """[64, 300, 10] -> "64–300–10"."""
    return "–".join(str(int(w)) for w in widths)
