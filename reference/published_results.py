"""Published results on MNIST, to stand beside ours: reference/published/NAME.csv, with the source of each.

Nearly all are single runs, many chosen on the test set. How sure: "read" in a source, "recalled" from memory and not
verified, "recomputed": recalled too, but the cost of the recalled widths is the recalled cost.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).with_name("published")
"""Of the tables."""

RISE = "dense + "
"""In front of an error that is the rise above that of a dense network, which is not printed."""


class Published(NamedTuple):
    """One row: a network of which all widths are known.

    widths          of a perceptron: inputs, hidden widths. Of LeNet-5: channels, channels, hidden width; four numbers
                    where positions of the flattened maps are cut out too: the third is then how many are read
    test_error      in %;   over_dense  it is a rise, see RISE;   macs  multiply-accumulates of the widths
    inputs_removed  inputs were: of a perceptron pixels, of LeNet-5 such positions
    """

    method: str
    widths: tuple[int, ...]
    test_error: float
    over_dense: bool
    macs: int
    sureness: str
    inputs_removed: bool


def published(name: str) -> list[Published]:
    """The rows of a table by their cost, but ensembles and unstructured networks."""
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [row_of(row) for row in csv.DictReader(file)
                if row["kept"] and "ensemble" not in row["method"] and "unstructured" not in row["method"]]


def row_of(row: dict[str, str]) -> Published:
    """A line of a table."""
    error = row["test_error"]
    return Published(row["method"], tuple(map(int, row["kept"].split("-"))), float(error.removeprefix(RISE)),
                     error.startswith(RISE), int(row["macs"]), row["sureness"], row["inputs_removed"] == "yes")
