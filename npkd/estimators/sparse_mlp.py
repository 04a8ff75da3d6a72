"""Sparse perceptrons by proximal training, with scikit-learn's fit and predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.estimators.training import Fitted, Lesson, Plan, probabilities, sparse_model, sparse_values
from npkd.nn.losses import cross_entropy


class SparseMLPClassifier(ClassifierMixin, Fitted, BaseEstimator):
    """A perceptron that loses inputs and hidden neurons while it learns, by proximal steps, until it meets a target.

    target              "macs=10%" (of the dense network), "macs=500", "parameters=", "neurons="; None: the smallest
                        network on the path of λ that is as good as the dense one, or λ as the penalty gives it
    hidden_layer_sizes  widths of the dense network;   activation  one of npkd.nn.network.ACTIVATIONS
    penalty             what may go: "inputs,neurons", "neurons"; "weights" beside them; with their λ: "inputs=0.001"
    epochs              passes over at least 500 examples, of the dense network and of each try of the last λ
    class_weight        None, "balanced", or {class: weight}, of errors on examples of a class
    random_state        draws the weights, the order, and the part held out of 100 and more examples

    After ``fit``: ``classes_``, ``kept_features_``, ``model_`` (npkd.Model of raw examples: to save, to export),
    ``path_``: [{stage, epoch, lambda, macs, error}] of all that was tried, ``n_features_in_``, ``feature_names_in_``.
    Features are standardised inside. Raises InputError (a ValueError) for what cannot be worked with.
    """

    def __init__(self, target: str | None = "macs=10%", hidden_layer_sizes: int | Sequence[int] = (100,),
                 activation: str = "relu", penalty: str = "inputs,neurons", epochs: int = 30,
                 class_weight: str | Mapping[Any, float] | None = None, random_state: Any = None) -> None:
        self.target, self.hidden_layer_sizes, self.activation = target, hidden_layer_sizes, activation
        self.penalty, self.epochs, self.class_weight, self.random_state = penalty, epochs, class_weight, random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Train on examples X (N, I) with labels y (N,) of any kind, at least two of them."""
        X, y = validate_data(self, X, y)
        check_classification_targets(y)
        self.classes_, y = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"SparseMLPClassifier: y holds 1 class, {self.classes_[0]}; it needs at least two")
        weights = compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_[y])[y]
        answers = np.eye(len(self.classes_), dtype=np.float32)[y] * (weights / weights.mean())[:, None]
        plan = Plan(self.target, self.hidden_layer_sizes, self.activation, self.penalty, self.epochs)
        lesson = Lesson(X, y, answers.astype(np.float32), cross_entropy, weights)
        self.model_, self.path_ = sparse_model(lesson, plan, self.random_state)
        return self

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (N, C) float64 in the order of ``classes_``."""
        return probabilities(self.outputs(X))

    def predict(self, X: Any) -> Array:
        """Classes (N,), as they are in ``classes_``."""
        return self.classes_[self.outputs(X).argmax(axis=1)]


class SparseMLPRegressor(RegressorMixin, Fitted, BaseEstimator):
    """A perceptron of values that loses inputs and hidden neurons while it learns; see SparseMLPClassifier.

    It has no classes and no class_weight; y (N,) or (N, O) is standardised inside, and its error is squared.
    """

    def __init__(self, target: str | None = "macs=10%", hidden_layer_sizes: int | Sequence[int] = (100,),
                 activation: str = "relu", penalty: str = "inputs,neurons", epochs: int = 30,
                 random_state: Any = None) -> None:
        self.target, self.hidden_layer_sizes, self.activation = target, hidden_layer_sizes, activation
        self.penalty, self.epochs, self.random_state = penalty, epochs, random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Train on examples X (N, I) with values y (N,) or (N, O)."""
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, ensure_min_samples=2)
        self.flat_ = y.ndim == 1
        plan = Plan(self.target, self.hidden_layer_sizes, self.activation, self.penalty, self.epochs)
        self.model_, self.path_ = sparse_values(X, y, plan, self.random_state)
        return self

    def predict(self, X: Any) -> Array:
        """Values (N,) or (N, O) float64, as y was."""
        values = self.outputs(X)
        return values[:, 0] if self.flat_ else values
