"""Sparse perceptrons, and students of any classifier or regressor, with scikit-learn's fit and predict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, RegressorMixin, clone, is_classifier
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import compute_class_weight, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from npkd.core.validation import InputError
from npkd.distillation.response import soft_targets
from npkd.estimators.perceptron import EPOCH, Perceptron
from npkd.interop import sklearn as interop
from npkd.nn.losses import cross_entropy
from npkd.pipeline.compress import compress
from npkd.pipeline.progress import History
from npkd.pipeline.recipe import Recipe

LEAST, TEMPERATURE = 1e-4, 2.0
"""A teacher's probabilities below the first are raised to it; the temperature at which their logarithms are learnt."""


class SparseMLPClassifier(ClassifierMixin, Perceptron, BaseEstimator):
    """A perceptron that loses inputs and hidden neurons while it learns, by proximal steps, until it meets a target.

    target          "macs=10%" (of the dense network), "macs=500", "parameters=", "neurons="; None: the smallest network
                    on the path of λ that is as good as the dense one, or λ as the penalty gives it
    hidden_layer_sizes, activation      of the dense network, see npkd.nn.network.ACTIVATIONS
    penalty         what may go: "inputs,neurons", "neurons"; "weights" beside them; with their λ: "inputs=0.001"
    epochs          over at least 1,000 examples, of the dense network and of each try of the last λ
    class_weight    None, "balanced", or {class: weight}, of errors on examples of a class
    random_state    draws the weights, the order, and the part held out of 100 and more examples

    Features are standardised inside. After ``fit``: ``classes_``, ``kept_features_``, ``model_``, an npkd.Model of raw
    examples, and ``path_``. Raises InputError (a ValueError) for what cannot be worked with.
    """

    def __init__(self, target: str | None = "macs=10%", hidden_layer_sizes: int | Sequence[int] = (100,),
                 activation: str = "relu", penalty: str = "inputs,neurons", epochs: int = 60,
                 class_weight: str | Mapping[Any, float] | None = None, random_state: Any = None) -> None:
        super().__init__(target, hidden_layer_sizes, activation, penalty, epochs, random_state)
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any) -> Self:
        """Train on examples X (N, I) with labels y (N,) of any kind, of at least two classes."""
        X, y = validate_data(self, X, y)
        check_classification_targets(y)
        self.classes_, y = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"SparseMLPClassifier: y holds 1 class, {self.classes_[0]}; it needs at least two")
        try:
            weights = compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_[y])[y]
        except ValueError as error:
            raise InputError(f"SparseMLPClassifier: class_weight is {self.class_weight}; it must be None, 'balanced', "
                             f"or {{label: weight}} of the labels {', '.join(map(str, self.classes_)):.80}") from error
        answers = np.eye(len(self.classes_))[y] * (weights / weights.mean())[:, None]
        self.learn(X, y, answers.astype(np.float32), cross_entropy, weights)
        return self


class SparseMLPRegressor(RegressorMixin, Perceptron, BaseEstimator):
    """A perceptron of values y (N,) or (N, O), standardised inside, with squared errors; else a SparseMLPClassifier."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Train on examples X (N, I) with values y (N,) or (N, O)."""
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, ensure_min_samples=2)
        self.shape_ = y.shape[1:]
        self.learn(X, y.reshape(len(y), -1).astype(np.float64))
        return self


class Distiller(MetaEstimatorMixin, Perceptron, BaseEstimator):
    """A small perceptron that answers as another estimator does.

    estimator   the teacher, a copy of which is fitted first; one that is fitted is taken as it is, without labels too,
                as sklearn.frozen.FrozenEstimator(teacher). An MLPClassifier or MLPRegressor, also behind scalers in a
                Pipeline, is compressed, see npkd.compress. Of any other one a SparseMLPClassifier, or
                SparseMLPRegressor, learns the logarithms of predict_proba, or predict
    target, hidden_layer_sizes, activation, epochs, random_state    see there

    What the teacher draws where its own random_state is None is drawn here too. After ``fit``: as there; errors in
    ``path_`` are against the teacher's answers. The teacher is not kept: a pickled Distiller is small.
    """

    def __init__(self, estimator: Any, target: str = "macs=10%", hidden_layer_sizes: int | Sequence[int] = (100,),
                 activation: str = "relu", epochs: int = 60, random_state: Any = None) -> None:
        super().__init__(target, hidden_layer_sizes, activation, epochs=epochs, random_state=random_state)
        self.estimator = estimator

    def __sklearn_tags__(self) -> Any:
        tags, of = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.estimator_type, tags.target_tags = of.estimator_type, of.target_tags
        tags.classifier_tags, tags.regressor_tags = of.classifier_tags, of.regressor_tags
        if tags.classifier_tags is not None:
            tags.classifier_tags.multi_label = tags.target_tags.multi_output = False
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit a copy of the teacher on X (N, I) and y; then its student on X and its answers."""
        if isinstance(self.estimator, type) or not hasattr(self.estimator, "fit"):
            raise InputError(f"Distiller: estimator is {self.estimator!r:.80}; it must be an object of scikit-learn's "
                             "form, as RandomForestClassifier()")
        x, teacher, seed = validate_data(self, X, ensure_min_samples=2), clone(self.estimator), self.drawn()
        unset = [name for name, value in teacher.get_params().items()
                 if value is None and name.split("__")[-1] == "random_state"]
        teacher.set_params(**dict.fromkeys(unset, int(seed.integers(2 ** 31))))
        teacher.fit(X, y)
        classifies, who = is_classifier(teacher), f"Distiller: {interop.kind(teacher)}"
        if classifies and not hasattr(teacher, "predict_proba"):
            raise InputError(f"{who} has no predict_proba; that is what a student of a classifier learns")
        answers = np.asarray(teacher.predict_proba(X) if classifies else teacher.predict(X), np.float64)
        self.shape_ = answers.shape[1:]
        if classifies:
            self.classes_ = teacher.classes_
            if answers.ndim != 2 or answers.shape[1] < 2 or not np.allclose(answers.sum(axis=1), 1):
                raise InputError(f"{who} gives probabilities {answers.shape}; they must be (N, C), of two classes or "
                                 f"more, and add up to one: one class for each example")
        try:
            model = interop.read(teacher, X)
        except InputError:                                          # another estimator, of which only answers are known
            if classifies:
                self.learn(x, answers.argmax(axis=1), np.log(answers.clip(min=LEAST)).astype(np.float32),
                           partial(soft_targets, temperature=TEMPERATURE))
            else:
                self.learn(x, answers.reshape(len(x), -1))
            return self
        recipe, path = Recipe(self.epochs * math.ceil(EPOCH / len(x))), History()
        self.model_ = compress(model, x, str(self.target), recipe=recipe, seed=self.drawn(), progress=path).model()
        self.path_ = path.lines
        return self

    def score(self, X: Any, y: Any) -> float:
        """The part of examples in their class of y, or R² of values."""
        return float((accuracy_score if is_classifier(self) else r2_score)(y, self.predict(X)))
