"""Do networks for tables keep what they predict at a tenth of the multiply-accumulates? With scikit-learn's data.

    python -m reference.benchmarks.tables [--json FILE]                          about four minutes of one core

Diabetes (442 examples, 10 features), Friedman's first and second set (2,000 examples each, with noise), California
housing where scikit-learn has it at hand; and breast cancer (569 examples), two classes by a single output. A fifth of
the examples, the same for all seeds, is the test part. For seeds 0..4 a teacher of one kind, 300 and 100 hidden
neurons, is trained by the defaults of npkd and compressed by them to macs=10%; nothing was chosen by these numbers.
A line a set: R², or errors in percent, of teacher and student, and the mean loss with its standard deviation.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets

import npkd
from npkd.core.types import Array
from npkd.data.datasets import Data, from_arrays
from npkd.interop.adapt import restored
from npkd.nn.model import Model
from npkd.nn.network import Layer, Network
from npkd.nn.optimisers import SGD
from npkd.nn.training import TrainingSettings, train
from npkd.pipeline import stages
from npkd.pipeline.recipe import Recipe, complete
from npkd.pipeline.task import error_of, labels_of

SEEDS = range(5)
BARS = {"breast cancer": 0.005}
"""Largest mean loss: of numbers 0.02 of R²."""


def sets() -> Iterator[tuple[str, Array, Array]]:
    """Name, examples and targets; floats are numbers to predict."""
    x, y = datasets.load_diabetes(return_X_y=True)
    yield "diabetes", x, y.astype(float)
    yield "Friedman 1", *datasets.make_friedman1(2000, noise=1.0, random_state=0)
    yield "Friedman 2", *datasets.make_friedman2(2000, noise=100.0, random_state=0)
    try:
        yield "California housing", *datasets.fetch_california_housing(return_X_y=True, download_if_missing=False)
    except OSError:
        print("California housing is not at hand: left out")
    yield "breast cancer", *datasets.load_breast_cancer(return_X_y=True)


def teacher_of(data: Data, recipe: Recipe, seed: int) -> Network:
    """A network trained by the defaults; of two classes with a single output, the difference of two logits."""
    rng = np.random.default_rng(seed)
    if data.targets is not None:
        return restored(stages.train_teacher(stages.Run(data, recipe, rng)), data.targets)
    network = stages.fresh(recipe, data, rng)
    w, b = network.layers[-1].params
    network = network.replace({len(network.layers) - 1: Layer("dense", (w[1:] - w[:1], b[1:] - b[:1]))})
    *_, last = train(network, {"x": data.x_train, "y": data.y_train}, labels_of(data.y_train, 1), rng=rng,
                     optimiser=SGD(recipe.learning_rate, weight_decay=recipe.weight_decay),
                     settings=TrainingSettings(recipe.teacher_epochs, recipe.batch_size))
    return last.network


def run(name: str, x: Array, y: Array, seed: int) -> tuple[float, float, float]:
    """Test errors of teacher and student, and the part of the multiply-accumulates that is left."""
    order = np.random.default_rng(0).permutation(len(x))
    test, rest = order[:len(x) // 5], order[len(x) // 5:]
    data = from_arrays(name, (x[rest], y[rest], x[test], y[test]), seed=seed)
    recipe = complete(Recipe(), len(data.x_train), data.shape)
    teacher = Model(teacher_of(data, recipe, seed), data.scaling)
    untested = replace(data, x_test=data.x_test[:0], y_test=data.y_test[:0])
    result = npkd.compress(teacher, untested, "macs=10%", seed=seed)
    outputs = [model.logits(x[test]) for model in (teacher, result.model())]
    if data.targets is not None:
        outputs = [data.targets.apply(a) for a in outputs]
    before, after = (error_of(a, data.y_test) for a in outputs)
    return before, after, result.macs[1] / result.macs[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each set; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file too")
    chosen, found, missed = parser.parse_args(arguments), dict[str, Any](), 0
    for name, x, y in sets():
        runs = [run(name, x, y, seed) for seed in SEEDS]
        before, after, part = np.array(runs).T
        loss, bar = after - before, BARS.get(name, 0.02)
        missed += loss.mean() > bar or part.max() > 0.1
        words = [f"{a.mean():.2%} ± {a.std(ddof=1):.2%}" if name in BARS else
                 f"R² {1 - a.mean():.4f} ± {a.std(ddof=1):.4f}" for a in (before, after)]
        print(f"{'MISSED' if loss.mean() > bar else 'holds'}  {name}: teacher {words[0]}, student {words[1]}, loss "
              f"{loss.mean():+.4f} ± {loss.std(ddof=1):.4f} (bar {bar}), {part.max():.1%} of the multiply-accumulates")
        found[name] = {"teacher": before.tolist(), "student": after.tolist(), "part": part.tolist()}
    if chosen.json:
        Path(chosen.json).write_text(json.dumps({"npkd": npkd.__version__, "errors": found}, indent=1) + "\n")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
