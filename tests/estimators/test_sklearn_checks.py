"""scikit-learn's own checks of estimators, all of them, none expected to fail."""

import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from npkd.estimators import Distiller, SparseMLPClassifier, SparseMLPRegressor

SMALL = {"hidden_layer_sizes": (15,), "epochs": 2, "target": "macs=30%"}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")                        # of teachers
@parametrize_with_checks([
    SparseMLPClassifier(**SMALL), Distiller(LogisticRegression(), **SMALL),
    Distiller(MLPClassifier((10,), max_iter=20, learning_rate_init=0.03), epochs=1, target="macs=60%"),
    SparseMLPRegressor(**SMALL), Distiller(Ridge(), **SMALL),
    Distiller(MLPRegressor(hidden_layer_sizes=(10,), max_iter=20, learning_rate_init=0.03), epochs=1,
              target="macs=60%"),
])
def test_an_estimator_keeps_the_contract(estimator, check, monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")               # else the check of array namespaces is skipped
    check(estimator)
