"""Students of any classifier or regressor of scikit-learn, with its fit and predict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.distillation.response import soft_targets
from npkd.estimators.training import (
    EPOCH,
    Fitted,
    Lesson,
    Path,
    Plan,
    drawn,
    probabilities,
    sparse_model,
    sparse_values,
)
from npkd.interop import sklearn as interop
from npkd.nn.model import Model
from npkd.pipeline.compress import compress
from npkd.pipeline.recipe import Recipe

LEAST, TEMPERATURE = 1e-4, 2.0
"""A teacher's probabilities below the first are raised to it; the temperature at which their logarithms are learnt."""


class Distiller(MetaEstimatorMixin, Fitted, BaseEstimator):
    """A small perceptron that answers as another estimator does.

    estimator   the teacher: a copy of it is fitted first. An MLPClassifier or MLPRegressor, also behind scalers in a
                Pipeline, is itself compressed, see npkd.compress. Of any other one, a perceptron learns the logarithms
                of its predict_proba, or its predict, and loses inputs and neurons, see SparseMLPClassifier
    target      how small, of the network that is compressed or trained: "macs=10%", "neurons=20"
    hidden_layer_sizes      widths of a network that is trained;   epochs  passes over the examples, see there
    prefit      the teacher is fitted, and taken as it is: ``fit`` needs no y
    random_state            draws everything but what the teacher draws

    After ``fit``: as SparseMLPClassifier; ``path_`` has errors against the teacher's answers on what is held out. The
    teacher is not kept, so that a pickled Distiller is small. Raises InputError (a ValueError) in one sentence.
    """

    def __init__(self, estimator: Any, target: str = "macs=10%", hidden_layer_sizes: int | Sequence[int] = (100,),
                 epochs: int = 30, prefit: bool = False, random_state: Any = None) -> None:
        self.estimator, self.target, self.hidden_layer_sizes = estimator, target, hidden_layer_sizes
        self.epochs, self.prefit, self.random_state = epochs, prefit, random_state

    def __sklearn_tags__(self) -> Any:
        tags, of = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.estimator_type, tags.classifier_tags = of.estimator_type, of.classifier_tags
        tags.regressor_tags, tags.target_tags = of.regressor_tags, of.target_tags
        if tags.classifier_tags is not None:
            tags.classifier_tags.multi_label = tags.target_tags.multi_output = False
        tags.target_tags.required = not self.prefit
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit a copy of the teacher on X (N, I) and y, unless ``prefit``; then its student on X alone."""
        classifies = is_classifier(self.estimator)
        if y is None and self.prefit:
            rows = validate_data(self, X, ensure_min_samples=2)
        else:
            rows, _ = validate_data(self, X, y, multi_output=not classifies, y_numeric=not classifies,
                                    ensure_min_samples=2)
        teacher = self.estimator if self.prefit else clone(self.estimator).fit(X, y)
        if classifies:
            self.classes_ = teacher.classes_
        if classifies and not hasattr(teacher, "predict_proba"):
            raise InputError(f"Distiller: {interop.kind(teacher)} has no predict_proba, which is what a student learns")
        answers = np.asarray(teacher.predict_proba(X) if classifies else teacher.predict(X), np.float64)
        self.flat_ = answers.ndim == 1
        try:
            network = interop.read(teacher, X)
        except InputError:                                          # another estimator, which answers all the same
            network = None
        self.model_, self.path_ = self.trained(rows, answers) if network is None else self.compressed(network, rows)
        return self

    def compressed(self, network: Model, x: Array) -> tuple[Model, list[dict[str, Any]]]:
        """The student of a network, which is cut, and the path to it."""
        path, rng = Path(), drawn(self.random_state)
        recipe = Recipe(epochs=self.epochs * math.ceil(EPOCH / len(x)))
        return compress(network, x, self.target, recipe=recipe, seed=rng, progress=path).model(), path.lines

    def trained(self, x: Array, answers: Array) -> tuple[Model, list[dict[str, Any]]]:
        """The student of a teacher's answers, probabilities or values (N, C), and the path to it."""
        plan = Plan(self.target, self.hidden_layer_sizes, "relu", "inputs,neurons", self.epochs)
        if not is_classifier(self.estimator):
            return sparse_values(x, answers, plan, self.random_state)
        logits = np.log(answers.clip(min=LEAST)).astype(np.float32)
        lesson = Lesson(x, answers.argmax(axis=1), logits, partial(soft_targets, temperature=TEMPERATURE))
        return sparse_model(lesson, plan, self.random_state)

    @available_if(lambda self: is_classifier(self.estimator))
    def predict_proba(self, X: Any) -> Array:
        """Probabilities (N, C) float64 in the order of ``classes_``, of a classifier."""
        return probabilities(self.outputs(X))

    def predict(self, X: Any) -> Array:
        """Classes (N,), or values as the teacher gives them."""
        z = self.outputs(X)
        return self.classes_[z.argmax(axis=1)] if is_classifier(self.estimator) else z[:, 0] if self.flat_ else z

    def score(self, X: Any, y: Any) -> float:
        """The part of examples in their class of y, or R² of values."""
        return float((accuracy_score if is_classifier(self.estimator) else r2_score)(y, self.predict(X)))
