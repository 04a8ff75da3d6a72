"""scikit-learn's own checks of estimators, all of them, none expected to fail."""

import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from npkd.estimators import Distiller, SparseMLPClassifier, SparseMLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")      # of teachers

SMALL = {"hidden_layer_sizes": (20,), "epochs": 2, "target": "macs=20%"}


@parametrize_with_checks([
    SparseMLPClassifier(**SMALL), Distiller(LogisticRegression(), **SMALL),
    Distiller(MLPClassifier((10,), max_iter=20, learning_rate_init=0.03), epochs=2, target="macs=60%"),
])
def test_an_estimator_keeps_the_contract(estimator, check):
    check(estimator)
