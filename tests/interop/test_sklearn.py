"""Networks of scikit-learn as networks of npkd."""

import warnings

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, PolynomialFeatures, RobustScaler, StandardScaler

import npkd
from npkd.core.validation import InputError
from npkd.interop import sklearn as interop

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 5)) * [1, 1, 10, 0.1, 1] + [0, 3, 100, 0, -1]
WORDS = np.array(["ant", "bee", "cat"])[np.digitize((X[:, 0] - X[:, 3] * 10), [-0.5, 0.5])]
VALUES = np.stack([X[:, 0] * 3 + 7, np.abs(X[:, 4]) * 50], axis=1)


def fitted(estimator, y, x=X):
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        return estimator.fit(x, y)


def classifier(activation="relu", hidden=(12, 7)):
    return MLPClassifier(hidden, activation=activation, max_iter=12, random_state=0)


def regressor(activation="relu", hidden=(12, 7)):
    return MLPRegressor(hidden_layer_sizes=hidden, activation=activation, max_iter=12, random_state=0)


TEN = {
    "relu": (classifier(), WORDS),
    "tanh": (classifier("tanh"), WORDS),
    "logistic": (classifier("logistic"), WORDS),
    "identity": (classifier("identity"), WORDS),
    "binary": (classifier(), WORDS == "ant"),
    "no hidden layer, binary": (classifier(hidden=()), WORDS == "bee"),
    "regressor": (regressor("tanh"), VALUES[:, 0]),
    "regressor of two values": (regressor(), VALUES),
    "StandardScaler": (make_pipeline(StandardScaler(), classifier()), WORDS),
    "StandardScaler without mean": (make_pipeline(StandardScaler(with_mean=False), regressor()), VALUES),
    "StandardScaler without anything": (make_pipeline(StandardScaler(with_mean=False, with_std=False), classifier()),
                                        WORDS),
    "MinMaxScaler": (make_pipeline(MinMaxScaler((-1, 3)), classifier()), WORDS),
    "MaxAbsScaler": (make_pipeline(MaxAbsScaler(), classifier("tanh")), WORDS == "ant"),
    "RobustScaler": (make_pipeline(RobustScaler(), "passthrough", regressor()), VALUES),
    "two scalers": (make_pipeline(StandardScaler(), MinMaxScaler((2, 3)), regressor("logistic")), VALUES[:, 1]),
}


@pytest.mark.parametrize("name", TEN)
def test_a_network_answers_as_its_estimator(name):
    estimator, y = TEN[name]
    fitted(estimator, y)
    model = interop.read(estimator, X)
    z = model.logits(X).astype(np.float64)
    if hasattr(estimator, "predict_proba"):
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(p, estimator.predict_proba(X), atol=1e-5)
        np.testing.assert_array_equal(estimator.classes_[z.argmax(axis=1)], estimator.predict(X))
    else:
        expected = estimator.predict(X).reshape(z.shape)
        np.testing.assert_allclose(z, expected, atol=1e-5 * np.abs(expected).max())
    assert {layer.params[0].dtype for layer in model.network.layers if layer.params} == {np.dtype(np.float32)}


def test_it_is_checked_on_drawn_examples_and_the_estimator_stays():
    estimator = fitted(make_pipeline(StandardScaler(), classifier()), WORDS)
    before = [w.copy() for w in estimator[-1].coefs_]
    interop.read(estimator)
    assert all(np.array_equal(a, b) for a, b in zip(before, estimator[-1].coefs_, strict=True))


def test_a_copy_that_answers_otherwise_is_refused(monkeypatch):
    estimator = fitted(make_pipeline(StandardScaler(), classifier()), WORDS)
    right = interop.scaling_of
    monkeypatch.setattr(interop, "scaling_of", lambda scaler: (right(scaler)[0], right(scaler)[1] * 1.01))
    with pytest.raises(InputError, match=r"copy of the MLPClassifier differs by .* from it on 200 examples"):
        interop.read(estimator, X)


@pytest.mark.parametrize(("estimator", "y", "words"), [
    (RandomForestClassifier(3, random_state=0), WORDS, "got RandomForestClassifier; .*Distiller"),
    (make_pipeline(StandardScaler(), LogisticRegression()), WORDS, "got LogisticRegression"),
    (GridSearchCV(classifier(), {"alpha": [1e-4]}, cv=2), WORDS, "got GridSearchCV; .*; give its best_estimator_"),
    (make_pipeline(PolynomialFeatures(2), classifier()), WORDS, "has PolynomialFeatures before its network"),
    (make_pipeline(MinMaxScaler(clip=True), classifier()), WORDS, "has MinMaxScaler, which clips,"),
    (classifier(), np.stack([WORDS == "ant", X[:, 1] > 3], axis=1), "MLPClassifier is multi-label"),
    (MLPRegressor("poisson", (3,), max_iter=2), np.abs(X[:, 0]), "ends in exp; its loss must be squared_error"),
])
def test_anything_else_is_refused_by_name(estimator, y, words):
    with pytest.raises(InputError, match=words):
        interop.read(fitted(estimator, y))


def test_what_is_not_fitted_and_what_is_no_estimator_is_refused():
    with pytest.raises(InputError, match="the MLPRegressor is not fitted"):
        interop.read(regressor())
    with pytest.raises(InputError, match=r"got builtins\.dict"):
        interop.read({})
    with pytest.raises(InputError, match=r"got builtins\.NoneType"):
        interop.read(make_pipeline("passthrough"))


def test_compress_takes_it_as_it_is():
    estimator = fitted(make_pipeline(StandardScaler(), classifier()), WORDS)
    result = npkd.compress(estimator, X, "macs=60%")
    assert result.macs[1] <= 0.6 * result.macs[0]
    classes = estimator.classes_[result.logits(X).argmax(axis=1)]
    assert (classes == estimator.predict(X)).mean() > 0.9


def test_compress_knows_numbers_from_classes_without_labels():
    """Two outputs of a regressor are no classes, nor is the logit of two classes a number."""
    result = npkd.compress(fitted(make_pipeline(StandardScaler(), regressor()), VALUES), X, "macs=60%")
    assert result.regression
    assert not npkd.compress(fitted(classifier(), WORDS == "ant"), X, "macs=60%").regression
    frozen = FrozenEstimator(fitted(regressor(), VALUES[:, 0]))
    assert npkd.compress(frozen, X, "macs=60%").regression
