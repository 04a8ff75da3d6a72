"""What all estimators have in common: a perceptron that loses inputs and neurons while it learns, and its answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.base import is_classifier
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from npkd.core.types import Array, Batch
from npkd.core.validation import InputError, whole
from npkd.data.datasets import DECIDING, Data, split
from npkd.interop.adapt import restored
from npkd.nn.losses import squared_error
from npkd.nn.model import Model
from npkd.nn.network import Network, perceptron
from npkd.nn.optimisers import SGD
from npkd.nn.scaling import Scaling
from npkd.nn.training import TrainingSettings, train
from npkd.pipeline.epochs import epochs_of
from npkd.pipeline.progress import History
from npkd.pipeline.recipe import VALIDATION, Recipe, complete
from npkd.pipeline.result import ABOUT
from npkd.pipeline.sparse import require, sparse_training
from npkd.pipeline.sparse_recipe import SparseRecipe, sparse_recipe, strengths_of
from npkd.pipeline.stages import Run, compress
from npkd.pipeline.target import parse
from npkd.pipeline.task import is_regression
from npkd.surgery.dependency import dependency_groups
from npkd.surgery.widths import geometry, widths_of

EPOCH, LARGE, USUAL = 1000, 19_999, 80
"""Fewest examples of an epoch (smaller sets are shown several times in each), examples whose pace λ has with fewer too,
and epochs with which it has it: with fewer it rises as much faster."""


def parts(y: Array, weights: Array | None, rng: np.random.Generator) -> tuple[Array, Array]:
    """Rows of the training part, and of the part that judges: held out where y (N, ...) has DECIDING rows or more, with
    fewer all of them; one is there as often as its weight (N,) says."""
    rows = held = np.arange(len(y))
    if len(y) >= DECIDING:
        rows, held = split(y if y.ndim == 1 else np.zeros(len(y)), VALIDATION, rng)
    if weights is not None:
        share = np.cumsum(weights[held])
        held = held[np.searchsorted(share, share[-1] * (np.arange(len(held)) + 0.5) / len(held))]
    return rows, held


class Perceptron:
    """A perceptron: once fitted ``model_``, of raw examples, and ``path_``, a line of every epoch that was tried."""

    classes_: Any
    shape_: tuple[int, ...]
    model_: Model
    path_: list[dict[str, Any]]

    def __init__(self, target: str | None = "macs=10%", hidden_layer_sizes: int | Sequence[int] = (100,),
                 activation: str = "relu", penalty: str = "inputs,neurons", epochs: int = 60,
                 random_state: Any = None) -> None:
        self.target, self.hidden_layer_sizes, self.activation = target, hidden_layer_sizes, activation
        self.penalty, self.epochs, self.random_state = penalty, epochs, random_state

    @property
    def kept_features_(self) -> Array:
        """(K,) numbers of the features that are still read; no other one changes any answer."""
        check_is_fitted(self)
        layers, first = self.model_.network.layers, self.model_.network.weight_layers[0]
        read = np.flatnonzero(layers[first].params[0].any(axis=0))
        return np.asarray(layers[0].options["kept"])[read] if layers[0].op == "select" else read

    def drawn(self) -> np.random.Generator:
        """The generator of ``random_state``: None, a whole number or a RandomState."""
        return np.random.default_rng(check_random_state(self.random_state).randint(2 ** 31 - 1))

    def outputs(self, x: Any) -> Array:
        """The network's outputs (N, C) for raw examples, in float64."""
        check_is_fitted(self)
        network = self.model_.network.astype(np.float64)
        return replace(self.model_, network=network).logits(validate_data(self, x, reset=False))

    @available_if(is_classifier)
    def predict_proba(self, X: Any) -> Array:
        """Probabilities (N, C) float64 in the order of ``classes_``, of a classifier."""
        return np.asarray(softmax(self.outputs(X), axis=1))

    def predict(self, X: Any) -> Array:
        """Classes (N,), as they are in ``classes_``; or values (N,) or (N, O) float64, as y was."""
        z = self.outputs(X)
        return np.asarray(self.classes_[z.argmax(axis=1)] if is_classifier(self) else z.reshape(-1, *self.shape_))

    def sparse_recipe(self, dense: Network, recipe: Recipe, examples: int) -> SparseRecipe:
        """The recipe of a sparse training. Raises InputError for a target or penalty that does not fit the network."""
        groups, strengths, pace = dependency_groups(dense), strengths_of(self.penalty), USUAL / self.epochs
        goal = None if self.target is None else parse(str(self.target), widths_of(dense, groups),
                                                      geometry=geometry(dense, groups))
        base = sparse_recipe(recipe, max(examples, LARGE))
        sparse = replace(base, strengths=strengths, target=goal, path=goal is None and None in strengths.values(),
                         epochs=self.epochs, debias_epochs=max(1, self.epochs // 4), growth=base.growth ** pace,
                         settling=max(1, round(base.settling / pace)))
        require(sparse, dense, groups)
        return sparse

    def learn(self, x: Array, y: Array, answers: Array | None = None, loss: Callable[..., Any] = squared_error,
              weights: Array | None = None) -> None:
        """Train on the loss of outputs and answers; where proximal steps miss the target, the dense network is cut to
        it layer by layer. y: classes (N,), of which errors are counted by weights (N,); or numbers (N, C), floats,
        which are standardised, and learnt where there are no answers (N, C)."""
        def objective(activations: Sequence[Array], batch: Batch) -> tuple[float, Mapping[int, Array]]:
            value, d = loss(activations[-1], batch["answers"])
            return value, {len(activations) - 1: d}

        whole(type(self).__name__, 1, epochs=self.epochs)
        if self.activation == "logistic":
            raise InputError(f"{type(self).__name__}: activation is 'logistic'; npkd calls it 'sigmoid': give that")
        sizes, rng, path = self.hidden_layer_sizes, self.drawn(), History()
        recipe = complete(Recipe(self.epochs, hidden=tuple(np.atleast_1d(sizes).tolist())), len(x))
        rows, held = parts(y, weights, rng)
        scaling, targets = Scaling.standard(x[rows]), Scaling.standard(y[rows]) if is_regression(y) else None
        x, y, rows = scaling.apply(x), targets.apply(y) if targets else y, np.tile(rows, math.ceil(EPOCH / len(rows)))
        more = {"answers": (y if answers is None else answers)[rows]}
        data = Data("x", x[rows], y[rows], x[held], y[held], x[:0], y[:0], more["answers"].shape[1], x.shape[1:],
                    scaling, targets=targets)
        dense = perceptron([x.shape[1], *recipe.hidden, data.classes], rng, activation=self.activation)
        sparse, run = self.sparse_recipe(dense, recipe, len(x)), Run(data, recipe, rng, path)
        settings = TrainingSettings(self.epochs, sparse.batch_size, clip=recipe.clip, validate=run.validation_error)
        training = partial(train, data={"x": data.x_train, **more}, objective=objective, rng=rng,
                           optimiser=SGD(sparse.learning_rate, weight_decay=sparse.weight_decay))
        for now in epochs_of("dense", dense, training, settings, rng, path):
            dense = now.network
        try:
            network = sparse_training(run, dense, sparse, objective, more).model
        except InputError:
            if sparse.target is None:
                raise
            network = compress(run, dense, sparse.target)
        self.model_, self.path_ = Model(
            restored(network, targets), scaling, ABOUT | ({"task": "regression"} if targets else {})), path.lines
