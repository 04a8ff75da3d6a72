"""The tables of LeNet-300-100 and LeNet-5 on a second set of data, the embedded digits (optdigits, 8×8 pixels).

    python -m reference.benchmarks.digits lenet300 --json reference/measured/lenet300_digits.json
    python -m reference.benchmarks.digits lenet5 --json reference/measured/lenet5_digits.json

Every run of ``npkd reproduce lenet300`` or ``lenet5`` is taken with its method, rounds, epochs, rates and seed, and the
same part of the dense network as its budget; the data are the digits, and what the default recipe chooses by the size
of the data (batches, temperature, noise in the place of moved pictures) it chooses anew. Like for like and with answers
of another network nothing is run. For LeNet-5, which 8×8 pixels are too few for, each pixel is doubled to 2×2. Finished
runs are kept in ``--runs``, as those of ``npkd reproduce``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import npkd
from npkd.core.files import make_folder, read_npz, write_json
from npkd.core.workers import Workers
from npkd.data.datasets import DIGITS
from npkd.experiments import experiment, lenet5, lenet300, tables
from npkd.experiments.experiment import Experiment, Record, seeded
from npkd.experiments.runs import run_all
from npkd.experiments.setting import VERSION, Setting, digest
from npkd.pipeline.recipe import Recipe, complete

EXAMPLES = 3_439
"""What is left of the training part after the split."""

PARTS = ("post_training", "records", "comparison")


@dataclass(frozen=True)
class Second:
    """An experiment on MNIST, and what takes the place of its data, recipe and dense network's multiply-accumulates.

    kind    of the teachers: they see noise on their inputs, or the examples as they are
    """

    experiment: Experiment
    kind: str
    recipe: Recipe
    whole: int
    whole_on_mnist: int


SECOND: Mapping[str, Second] = {
    "lenet300": Second(lenet300, "noise", complete(Recipe(), EXAMPLES, (8, 8)), 50_200, 266_200),
    "lenet5": Second(lenet5, "plain", complete(Recipe(network="lenet5"), EXAMPLES, (16, 16)), 202_000,
                     lenet5.WHOLE)}
"""64-300-100-10, and 20-50-500-10 on 16×16 pixels."""


def doubled(path: Path) -> None:
    """Write the digits with each pixel as 2×2."""
    _, arrays = read_npz(DIGITS, "digits")
    train, test = (np.kron(arrays[name], np.ones((1, 2, 2), np.uint8)) for name in ("x_train", "x_test"))
    np.savez(path, x_train=train, y_train=arrays["y_train"], x_test=test, y_test=arrays["y_test"])


def translated(setting: Setting, second: Second, data: str, own_epochs: bool = False) -> Setting:
    """The run on the digits that stands beside one on MNIST; ``own_epochs``: as many as the default recipe has."""
    kept = ["label_weight", "clip", "all_at_last"]
    if not own_epochs:
        kept += ["rounds", "round_epochs", "epochs"] + ["student_learning_rate"] * (setting.epochs > 0)
    recipe = replace(second.recipe, **{name: getattr(setting.recipe, name) for name in kept})
    teacher = replace(setting.teacher, data=data, kind=second.kind, recipe=second.recipe)
    return replace(setting, teacher=teacher, macs=setting.macs * second.whole // second.whole_on_mnist, recipe=recipe,
                   widths_of=setting.widths_of and translated(setting.widths_of, second, data, own_epochs))


def records(second: Second, data: str, seeds: Sequence[int]) -> list[tuple[Record, list[Setting]]]:
    """Those that stand for the method alone, each size once: from a teacher on augmented data and its answers."""
    found = list[tuple[Record, list[Setting]]]()
    for record, runs in experiment.records(second.experiment, seeds):
        one = record.setting
        if one.teacher.kind == "moved" and not one.distil_from and one.kind == "macs" and "(" not in record.name:
            found.append((record, [translated(s, second, data, one.recipe.rounds > 1) for s in runs]))
    return found


def plans(second: Second, data: str) -> tuple[dict[str, list[Setting]], list[tuple[Record, list[Setting]]]]:
    """The runs of every part, and the records with theirs."""
    own, beside = second.experiment, records(second, data, range(second.experiment.RECORD_SEEDS))
    return {"post_training": [translated(s, second, data) for s in seeded(own.POST_TRAINING, range(own.RECORD_SEEDS))],
            "records": [s for _, some in beside for s in some],
            "comparison": [translated(s, second, data) for s in seeded(own.COMPARISON, range(own.SEEDS))]}, beside


def main() -> int:
    """Run what is missing, print the tables, keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SECOND)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--runs", type=Path, default=Path("npkd-runs"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", type=Path, help="keep the numbers there")
    options = parser.parse_args()
    second, folder, data = SECOND[options.name], options.runs, "digits"
    if options.name == "lenet5":
        make_folder(folder)
        data = str(folder / "digits16.npz")
        doubled(Path(data))
    settings, beside = plans(second, data)
    parts = [part for part in settings if part in options.parts]
    for part in parts:
        run_all(settings[part], folder, Workers(options.workers))
    rows: dict[str, list[dict[str, Any]]] = {
        part: tables.comparison_rows(settings[part], folder) for part in parts if part != "records"}
    if "records" in parts:
        rows["records"] = [{key: value for key, value in row.items() if key not in ("bar", "holds")}      # of MNIST
                           for row in tables.record_rows(beside, folder)]
    print("\n\n".join(tables.comparison_text(rows[part]) for part in parts if part != "records"))
    if options.json:
        write_json(options.json, {"command": f"python -m reference.benchmarks.digits {options.name}",
                                  "npkd": npkd.__version__, "version": VERSION,
                                  "settings": {part: digest(settings[part]) for part in parts}, **rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
