"""Does distillation train at any temperature and with many classes, where nothing is said of rate and bound?

    python -m reference.benchmarks.temperatures [--json reference/measured/temperatures.json]      some ten minutes
    python -m reference.benchmarks.temperatures --table reference/measured/temperatures.json     the table of chapter 5

Two sets. ``mnist``: the first 12,000 digits of the training part, 784-300-100-10. ``200 classes``: Gaussian, the
centres drawn from N(0, I) in 64 dimensions, noise N(0, I) around them, 12,000 examples and 10,000 to test on,
64-300-100-200. A teacher of the student's own shape learns the labels by ``train`` with its defaults; the students
learn its answers alone, without labels, by ``offline`` with its defaults: 20 epochs, batches of 128, SGD(0.1), and the
bound (K50). Seeds draw a student and its order; seed 0 is trained without the bound, too. What was chosen was chosen
on other digits of the training part and other draws; the test part is looked at here, once for each network.

Exit code 1 where a bar is missed: no run is more than a point worse than the best of its set.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import npkd
from npkd.core.types import Array
from npkd.core.validation import Diverged
from npkd.data.datasets import load
from npkd.distillation.objective import distillation
from npkd.distillation.safety import safe_clip
from npkd.distillation.schemes import offline
from npkd.nn.dead import DeadNeuronsWarning
from npkd.nn.network import Network, perceptron
from npkd.nn.optimisers import SGD
from npkd.nn.training import TrainingSettings, train
from reference.benchmarks.bars import ProgressBars

TEMPERATURES, SEEDS, EXAMPLES = (1.0, 4.0, 20.0, 100.0), (0, 1, 2), 12_000
CLASSES, DIMENSIONS, DRAWN, TEACHER = 200, 64, 2026, 100
"""Of the synthetic set, with the seed that draws it; the seed of both teachers."""
BAR = 1.0
"""Points of error that a run may be worse than the best."""
SETTINGS = {"temperatures": list(TEMPERATURES), "seeds": list(SEEDS), "examples": EXAMPLES, "classes": CLASSES,
            "dimensions": DIMENSIONS, "drawn": DRAWN, "teacher": TEACHER, "epochs": TrainingSettings().epochs,
            "batch_size": TrainingSettings().batch_size, "rate": SGD().learning_rate, "bar": BAR}
"""What is stored with the numbers: a test holds it to be that of the code."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A set by its name, with the widths of teacher and student."""

    name: str
    widths: Sequence[int]
    x: Array
    y: Array
    x_test: Array
    y_test: Array

    def error(self, network: Network) -> float:
        """Fraction of the test part that is put into a wrong class."""
        return float((network.predict(self.x_test).argmax(axis=1) != self.y_test).mean())


def digits() -> Problem:
    """The first digits of MNIST's training part."""
    data = load("mnist", seed=0)
    return Problem("mnist", [784, 300, 100, 10], data.x_train[:EXAMPLES], data.y_train[:EXAMPLES], data.x_test,
                   data.y_test)


def gaussian(classes: int = CLASSES, examples: int = EXAMPLES, tested: int = 10_000) -> Problem:
    """Gaussian classes around centres that are drawn."""
    rng = np.random.default_rng(DRAWN)
    centres = rng.standard_normal((classes, DIMENSIONS))
    parts = list[Array]()
    for n in (examples, tested):
        y = rng.integers(classes, size=n)
        parts += [(centres[y] + rng.standard_normal((n, DIMENSIONS))).astype(np.float32), y]
    return Problem(f"{classes} classes", [DIMENSIONS, 300, 100, classes], *parts)


def ratio(logits: Array, temperature: float) -> float:
    """Length of (K2) where the student says nothing yet, to that of a cross-entropy's derivative, root mean square."""
    v = logits.astype(np.float64) / temperature
    q = np.exp(v - v.max(axis=1, keepdims=True))
    q /= q.sum(axis=1, keepdims=True)
    uniform = 1 / logits.shape[1]
    return temperature * float(np.sqrt((np.square(q).sum(axis=1).mean() - uniform) / (1 - uniform)))


def taught(problem: Problem, teacher: Network, temperature: float, seed: int, *, bounded: bool) -> dict[str, Any]:
    """One student by the defaults of ``offline``, or at the same rate without the bound."""
    rng = np.random.default_rng(seed)
    student, optimiser = perceptron(problem.widths, rng), None if bounded else SGD()
    found: dict[str, Any] = {"set": problem.name, "temperature": temperature, "seed": seed, "bounded": bounded,
                             "test_error": None, "dead": 1.0}
    if bounded:
        found["clip"] = safe_clip(student, problem.x, teacher.predict(problem.x).argmax(axis=1))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            *_, last = offline(student, teacher, {"x": problem.x}, distillation(temperature=temperature),
                               optimiser=optimiser, rng=rng)
            found |= {"test_error": problem.error(last.network), "dead": max(last.dead.values())}
        except Diverged:
            pass
    return found | {"warned": any(issubclass(one.category, DeadNeuronsWarning) for one in said)}


def measure(problems: Sequence[Problem], seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """All runs."""
    teachers, runs = list[dict[str, Any]](), list[dict[str, Any]]()
    for problem in problems:
        rng = np.random.default_rng(TEACHER)
        *_, last = train(perceptron(problem.widths, rng), {"x": problem.x, "y": problem.y}, rng=rng)
        logits = last.network.predict(problem.x)
        teachers.append({"set": problem.name, "test_error": problem.error(last.network),
                         "ratios": [round(ratio(logits, temperature), 3) for temperature in TEMPERATURES]})
        for bounded in (True, False):
            for seed in seeds if bounded else seeds[:1]:
                for temperature in TEMPERATURES:
                    runs.append(taught(problem, last.network, temperature, seed, bounded=bounded))
                    print(runs[-1], file=sys.stderr, flush=True)
    return {"sets": teachers, "runs": runs}


def judge(bars: ProgressBars, content: dict[str, Any]) -> None:
    """No run of a set is more than BAR points worse than the best; no layer of one is mostly dead."""
    for teacher in content["sets"]:
        name = teacher["set"]
        runs = [run for run in content["runs"] if run["set"] == name and run["bounded"]]
        errors = [100 * (1.0 if run["test_error"] is None else run["test_error"]) for run in runs]
        bars(f"{name}: points between the best and the worst of {len(runs)} runs", max(errors) - min(errors), BAR,
             f"{max(errors) - min(errors):.2f}, from {min(errors):.2f} to {max(errors):.2f} %")
        bars(f"{name}: runs of which a layer is more than half dead at any time", sum(run["warned"] for run in runs), 0)


def table(content: dict[str, Any]) -> str:
    """The table of chapter 5."""
    lines = ["| set | T | r(T) | error in %, by seed | dead in a layer, at most | without the bound, seed 0 |",
             "|---|---|---|---|---|---|"]
    for teacher in content["sets"]:
        for temperature, r in zip(TEMPERATURES, teacher["ratios"], strict=True):
            runs = [run for run in content["runs"] if (run["set"], run["temperature"]) == (teacher["set"], temperature)]
            with_it, (without,) = ([run for run in runs if run["bounded"] is bounded] for bounded in (True, False))
            errors = ", ".join(percent(run["test_error"]) for run in with_it)
            lines.append(f"| {teacher['set']} | {temperature:g} | {r:.2f} | {errors} | "
                         f"{max(run['dead'] for run in with_it):.0%} | {percent(without['test_error'])}, "
                         f"{without['dead']:.0%} dead |")
    return "\n".join(lines)


def percent(error: float | None) -> str:
    """An error in percent, where there is one."""
    return "diverged" if error is None else f"{100 * error:.2f}"


def main() -> int:
    """Run what is described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="keep the numbers there")
    parser.add_argument("--table", type=Path, help="run nothing: the table of stored numbers")
    options = parser.parse_args()
    stored = options.table.read_text(encoding="utf-8") if options.table else ""
    content = json.loads(stored) if stored else measure([digits(), gaussian()])
    print(table(content))
    bars = ProgressBars()
    judge(bars, content)
    if options.json:
        kept = {"command": "python -m reference.benchmarks.temperatures", "npkd": npkd.__version__,
                "settings": SETTINGS, "bars": bars.lines, **content}
        options.json.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(bars.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
