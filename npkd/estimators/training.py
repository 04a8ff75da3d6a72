"""Sparse training of a perceptron on arrays, as all estimators call it, and what a fitted one answers with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from npkd.core.progress import NoProgress
from npkd.core.types import Array, Batch
from npkd.core.validation import InputError, whole
from npkd.data.datasets import DECIDING, Data, split
from npkd.nn.cost import of_widths
from npkd.nn.losses import squared_error
from npkd.nn.model import Model
from npkd.nn.network import Network, perceptron
from npkd.nn.optimisers import SGD
from npkd.nn.scaling import Scaling
from npkd.nn.training import TrainingSettings, train
from npkd.pipeline.epochs import epochs_of
from npkd.pipeline.recipe import VALIDATION, Recipe, complete
from npkd.pipeline.result import ABOUT
from npkd.pipeline.sparse import require, sparse_training
from npkd.pipeline.sparse_recipe import SparseRecipe, sparse_recipe, strengths_of
from npkd.pipeline.stages import Run, compress
from npkd.pipeline.target import parse
from npkd.surgery.dependency import dependency_groups
from npkd.surgery.widths import geometry, widths_of

EPOCH = 500
"""Fewest examples of an epoch: smaller sets are shown several times in each."""

UNHURRIED = 80
"""Epochs with which λ rises by the recipe's growth; with fewer of them it rises as much faster."""


@dataclass(eq=False)
class Path(NoProgress):
    """A progress that keeps, of every epoch, what was tried: multiply-accumulates read, and error."""

    lines: list[dict[str, Any]] = field(default_factory=list)

    def step(self, note: str, record: dict[str, Any] | None = None) -> None:
        """Keep a line of the history."""
        if record is not None:
            widths = [*record["alive"], record["widths"][-1]] if "alive" in record else record["widths"]
            self.lines.append({"stage": record["stage"], "epoch": record["epoch"], "lambda": record.get("lambda"),
                               "macs": of_widths(widths).macs, "error": record["validation_error"]})


@dataclass(frozen=True)
class Plan:
    """What is trained: a target of size (None: see SparseMLPClassifier), widths, activation, penalty, and epochs."""

    target: str | None
    hidden: int | Sequence[int]
    activation: str
    penalty: str
    epochs: int

    def recipe(self, examples: int) -> Recipe:
        """The recipe of the dense network. Raises InputError for widths and epochs that make no sense."""
        hidden = (self.hidden,) if isinstance(self.hidden, Integral) else tuple(self.hidden)
        whole("estimator", 1, epochs=self.epochs)
        return complete(Recipe(hidden=hidden, epochs=self.epochs), examples)

    def sparse(self, dense: Network, recipe: Recipe, examples: int) -> SparseRecipe:
        """The recipe of its sparse training. Raises InputError for a target or penalty that does not fit it."""
        groups, pace = dependency_groups(dense), UNHURRIED / self.epochs
        goal = None if self.target is None else parse(self.target, widths_of(dense, groups),
                                                      geometry=geometry(dense, groups))
        strengths, base = strengths_of(self.penalty), sparse_recipe(recipe, max(examples, 5000))
        sparse = replace(base, strengths=strengths, target=goal, path=goal is None and None in strengths.values(),
                         growth=base.growth ** pace, settling=max(1, round(base.settling / pace)),
                         epochs=self.epochs, debias_epochs=max(1, self.epochs // 4))
        require(sparse, dense, groups)
        return sparse


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is learnt: a loss of outputs and answers (N, C), float32, for examples x (N, I).

    y       (N,) classes, or (N, C) float32 values, that errors are measured with
    weights (N,) of the examples where errors are measured; None: all count alike
    """

    x: Array
    y: Array
    answers: Array
    loss: Callable[[Array, Array], tuple[float, Array]]
    weights: Array | None = None

    def objective(self, activations: Sequence[Array], batch: Batch) -> tuple[float, Mapping[int, Array]]:
        """The loss of a batch, and its sensitivity at the last activation."""
        value, d = self.loss(activations[-1], batch["answers"])
        return value, {len(activations) - 1: d}

    def data(self, rng: np.random.Generator) -> tuple[Data, Array]:
        """The examples, scaled, with a part held out where there are DECIDING or more; with fewer all of them judge.

        Of those that judge one stands there as often as its weight says. Also the answers of the training part."""
        training = held = np.arange(len(self.x))
        if len(self.x) >= DECIDING:
            training, held = split(self.y if self.y.ndim == 1 else np.zeros(len(self.x)), VALIDATION, rng)
        if self.weights is not None:
            share = np.cumsum(self.weights[held])
            held = held[np.searchsorted(share, share[-1] * (np.arange(len(held)) + 0.5) / len(held))]
        scaling, rows = Scaling.standard(self.x[training]), np.tile(training, math.ceil(EPOCH / len(training)))
        x, y = scaling.apply(self.x), self.y
        return Data("x", x[rows], y[rows], x[held], y[held], x[:0], y[:0], self.answers.shape[1], x.shape[1:],
                    scaling), self.answers[rows]


def drawn(random_state: Any) -> np.random.Generator:
    """The generator of a random_state of scikit-learn: None, a whole number or a RandomState."""
    return np.random.default_rng(check_random_state(random_state).randint(2 ** 31 - 1))


def sparse_model(lesson: Lesson, plan: Plan, random_state: Any) -> tuple[Model, list[dict[str, Any]]]:
    """A sparse perceptron that has learnt a lesson, and the path to it.

    Where proximal steps miss the target, the dense network is cut to it layer by layer. Raises InputError as
    ``Plan.sparse`` does."""
    rng, path = drawn(random_state), Path()
    data, answers = lesson.data(rng)
    recipe = plan.recipe(len(lesson.x))
    dense = perceptron([*data.shape, *recipe.hidden, data.classes], rng, activation=plan.activation)
    sparse, run = plan.sparse(dense, recipe, len(lesson.x)), Run(data, recipe, rng, path)
    settings = TrainingSettings(plan.epochs, sparse.batch_size, clip=recipe.clip, validate=run.validation_error)
    training = partial(train, data={"x": data.x_train, "answers": answers}, objective=lesson.objective, rng=rng,
                       optimiser=SGD(sparse.learning_rate, weight_decay=sparse.weight_decay))
    for now in epochs_of("dense", dense, training, settings, rng, path):
        dense = now.network
    try:
        network = sparse_training(run, dense, sparse, lesson.objective, {"answers": answers}).model
    except InputError:
        if sparse.target is None:
            raise
        network = compress(run, dense, sparse.target)
    return Model(network, data.scaling, ABOUT), path.lines


def sparse_values(x: Array, y: Array, plan: Plan, random_state: Any) -> tuple[Model, list[dict[str, Any]]]:
    """A sparse perceptron of values y (N,) or (N, O), which are standardised while it learns, and the path to it."""
    unit = Scaling.standard(y.reshape(len(y), -1))
    values = unit.apply(y.reshape(len(y), -1))
    model, path = sparse_model(Lesson(x, values, values, squared_error), plan, random_state)
    network, last = model.network, model.network.weight_layers[-1]
    w, b = (p.astype(np.float64) for p in network.layers[last].params)
    params = (w / unit.factor[:, None]).astype(np.float32), (b / unit.factor + unit.offset).astype(np.float32)
    return replace(model, network=network.replace({last: replace(network.layers[last], params=params)})), path


def probabilities(z: Array) -> Array:
    """Softmax of logits (N, C)."""
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


class Fitted:
    """What every fitted estimator has: ``model_``, an npkd.Model of raw examples, and what it answers."""

    model_: Model

    @property
    def kept_features_(self) -> Array:
        """(K,) numbers of the features that are still read; no other one changes any answer."""
        check_is_fitted(self)
        network = self.model_.network
        kept = np.arange(len(self.model_.scaling.offset) if self.model_.scaling else network.widths[0])
        first = network.layers[0]
        kept = np.asarray(first.options["kept"]) if first.op == "select" else kept
        return kept[network.layers[network.weight_layers[0]].params[0].any(axis=0)]

    def outputs(self, x: Any) -> Array:
        """The network's outputs (N, C) float64 for examples of the kind it was fitted on, each computed for itself."""
        check_is_fitted(self)
        return replace(self.model_, network=self.model_.network.astype(np.float64)).logits(
            validate_data(self, x, reset=False))
