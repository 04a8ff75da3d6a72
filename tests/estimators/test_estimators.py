"""Sparse perceptrons and students as scikit-learn's users meet them."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine, make_friedman1
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from npkd.core.validation import InputError
from npkd.estimators import Distiller, SparseMLPClassifier, SparseMLPRegressor
from npkd.estimators.perceptron import parts
from npkd.nn import cost

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_wine(return_X_y=True)
WORDS = np.array(["Barolo", "Grignolino", "Barbera"], dtype=object)[Y]
SMALL = {"hidden_layer_sizes": (20,), "epochs": 4, "target": "macs=30%", "random_state": 0}


def of(model):
    """A fitted one, the classifier itself or a student of something."""
    teacher = {"forest": RandomForestClassifier(20, random_state=0),
               "network": make_pipeline(StandardScaler(), MLPClassifier((20,), max_iter=60, learning_rate_init=0.02,
                                                                           random_state=0))}.get(model)
    return Distiller(teacher, **SMALL) if teacher is not None else SparseMLPClassifier(**SMALL)


@pytest.fixture(scope="module", params=["sparse", "forest", "network"])
def fitted(request):
    return of(request.param).fit(X, WORDS)


def test_string_labels_come_back_and_are_mostly_right(fitted):
    assert fitted.classes_.tolist() == sorted(set(WORDS))
    assert set(fitted.predict(X)) <= set(WORDS)
    assert fitted.score(X, WORDS) == (fitted.predict(X) == WORDS).mean() > 0.9
    p = fitted.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_array_equal(fitted.classes_[p.argmax(axis=1)], fitted.predict(X))
    assert p.dtype == np.float64
    assert is_classifier(fitted)


def test_the_target_is_met_by_what_is_delivered(fitted):
    hidden = 13 * 20 + 20 * 3
    assert cost.of(fitted.model_.network).macs <= 0.3 * hidden
    z = fitted.model_.logits(X)
    assert (fitted.classes_[z.argmax(axis=1)] == fitted.predict(X)).all()


def test_a_feature_that_is_not_kept_changes_nothing_and_a_kept_one_does(fitted):
    kept = fitted.kept_features_
    gone = np.setdiff1d(np.arange(X.shape[1]), kept)
    rng = np.random.default_rng(0)
    before = fitted.predict_proba(X)
    for i in range(X.shape[1]):
        permuted = X.copy()
        permuted[:, i] = rng.permutation(permuted[:, i])
        assert np.array_equal(fitted.predict_proba(permuted), before) == (i in gone), i


def test_the_path_says_what_was_tried(fitted):
    assert {"stage", "epoch", "lambda", "macs", "validation_error"} == set(fitted.path_[0])
    assert fitted.path_[0]["macs"] > fitted.path_[-1]["macs"] > 0
    assert all(0 <= line["validation_error"] <= 1 for line in fitted.path_)


def test_pickle_and_clone(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_array_equal(again.kept_features_, fitted.kept_features_)
    fresh = clone(fitted)
    assert not hasattr(fresh, "model_")
    with pytest.raises(NotFittedError):
        fresh.predict(X)
    with pytest.raises(NotFittedError):
        _ = fresh.kept_features_


def test_features_that_say_nothing_are_not_kept():
    rng = np.random.default_rng(0)
    x = np.concatenate([X, rng.normal(size=(len(X), 30))], axis=1)
    kept = SparseMLPClassifier("macs=5%", (20,), epochs=15, random_state=0).fit(x, Y).kept_features_
    assert (kept < X.shape[1]).mean() > 0.8
    assert len(kept) < 20


def test_data_frames_with_names():
    frame, y = load_breast_cancer(return_X_y=True, as_frame=True)
    model = SparseMLPClassifier(**SMALL).fit(frame, y)
    assert model.feature_names_in_.tolist() == frame.columns.tolist()
    assert model.n_features_in_ == 30
    assert model.score(frame, y) > 0.9
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[frame.columns[::-1]])
    student = Distiller(make_pipeline(StandardScaler(), MLPClassifier((15,), max_iter=20, random_state=0)), **SMALL)
    assert student.fit(frame, y).feature_names_in_.tolist() == frame.columns.tolist()


def test_a_grid_search_over_targets_in_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), SparseMLPClassifier(**SMALL))
    grid = GridSearchCV(pipeline, {"sparsemlpclassifier__target": ["macs=50%", "macs=3%"]}, cv=2).fit(X, WORDS)
    assert grid.best_params_ == {"sparsemlpclassifier__target": "macs=50%"}
    assert cross_val_score(grid.best_estimator_, X, WORDS, cv=2, scoring="roc_auc_ovr").min() > 0.9


def test_class_weights_move_the_classes():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(400, 2)), np.repeat([0, 1], [320, 80])
    x[y == 1] += 1
    share = {}
    for name, weight in {"none": None, "balanced": "balanced", "ones": {0: 1, 1: 1}, "zeros": {0: 1000, 1: 1}}.items():
        model = SparseMLPClassifier(**SMALL | {"class_weight": weight})
        share[name] = (model.fit(x, y).predict(x) == 1).mean()
    assert share["zeros"] == 0 < share["none"] < 0.2 < share["balanced"] < 0.5
    assert share["ones"] == share["none"]


def test_those_that_judge_stand_there_by_their_weights():
    y = np.repeat([0, 1], [300, 100])
    rows, held = parts(y, np.where(y == 1, 3.0, 1.0), np.random.default_rng(0))
    assert (y[held] == 1).mean() == 0.5
    assert not {*rows} & {*held}
    _, only = parts(y, np.where(y == 1, 2.0, 0.0), np.random.default_rng(0))
    assert (y[only] == 1).all()
    for equal in (None, np.ones(80), np.full(80, 0.25)):
        rows, held = parts(y[250:330], equal, np.random.default_rng(0))
        assert rows.tolist() == held.tolist() == list(range(80))             # each of them once


def test_a_frozen_teacher_is_taken_as_it_is_without_labels():
    teacher = RandomForestClassifier(20, random_state=0).fit(X, WORDS)
    trees = pickle.dumps(teacher)
    assert (Distiller(FrozenEstimator(teacher), **SMALL).fit(X).predict(X) == teacher.predict(X)).mean() > 0.9
    assert pickle.dumps(teacher) == trees
    with pytest.raises(ValueError, match="requires y to be passed"):
        Distiller(LogisticRegression(), **SMALL).fit(X)


def test_a_student_imitates_its_teacher_not_the_labels():
    """A teacher that was taught other labels."""
    teacher = RandomForestClassifier(20, random_state=0).fit(X, (Y + 1) % 3)
    assert Distiller(FrozenEstimator(teacher), **SMALL).fit(X, Y).score(X, (Y + 1) % 3) > 0.9


def test_the_same_random_state_gives_the_same_student():
    teacher = MLPClassifier((10,), max_iter=5)                                        # draws, and does not say how
    one, two, other = (Distiller(teacher, "macs=50%", epochs=1, random_state=seed).fit(X, Y) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    assert not np.array_equal(one.predict_proba(X), other.predict_proba(X))
    assert teacher.random_state is None


def test_other_targets_and_penalties():
    given = SparseMLPClassifier(None, (20,), penalty="inputs=0.1,neurons=0.1", epochs=8, random_state=0).fit(X, Y)
    assert len(given.kept_features_) < X.shape[1]
    path = SparseMLPClassifier(None, 20, "tanh", "neurons", 4, random_state=0).fit(X, Y)
    assert {"path", "last λ"} <= {line["stage"] for line in path.path_}
    assert path.score(X, Y) > 0.9
    assert len(path.kept_features_) == X.shape[1]


@pytest.mark.parametrize(("model", "words"), [
    (SparseMLPClassifier("macs=0"), "after macs= it needs a positive number"),
    (SparseMLPClassifier("macs=1"), "the smallest that this network can be"),
    (SparseMLPClassifier("error=+1"), "must be a size"),
    (SparseMLPClassifier(epochs=0), "epochs"),
    (SparseMLPClassifier(hidden_layer_sizes=(0,)), "widths"),
    (SparseMLPClassifier(activation="step"), "activation"),
    (SparseMLPClassifier(penalty="all"), "kind"),
    (SparseMLPClassifier(class_weight={7: 2}), r"class_weight is {7: 2}; it must be .* of the labels "),
    (SparseMLPClassifier(0.5), r"target: got '0\.5'; write macs=N"),
    (SparseMLPClassifier(activation="logistic"), "npkd calls it 'sigmoid'"),
    (Distiller(LinearSVC), "estimator is <class .*LinearSVC'>; it must be an object"),
    (Distiller(LinearSVC()), "LinearSVC has no predict_proba"),
    (Distiller(LogisticRegression(), epochs=0), "epochs"),
])
def test_what_does_not_fit_is_refused_in_a_sentence(model, words):
    with pytest.raises(ValueError, match=words):
        model.fit(X, Y)


def test_one_class_and_several_labels_are_refused():
    with pytest.raises(InputError, match="holds 1 class, 5; it needs at least two"):
        SparseMLPClassifier().fit(X, np.full(len(X), 5))
    with pytest.raises(ValueError, match="y should be a 1d array"):
        SparseMLPClassifier().fit(X, np.eye(3)[Y])
    several = RandomForestClassifier(3, random_state=0).fit(X, np.stack([Y == 1, Y == 2], axis=1))
    with pytest.raises(InputError, match="one class for each example"):
        Distiller(FrozenEstimator(several)).fit(X)


FRIEDMAN, VALUES = make_friedman1(400, 10, noise=0.5, random_state=0)
"""Five features that y depends on, and five that it does not."""


def regressor():
    return make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(30,), learning_rate_init=0.02, max_iter=300,
                                                        random_state=0))


@pytest.mark.parametrize("model", [
    SparseMLPRegressor("macs=20%", (40,), epochs=10, random_state=0),
    Distiller(regressor(), "macs=50%", epochs=5, random_state=0),
    Distiller(RandomForestRegressor(30, random_state=0), "macs=20%", (40,), epochs=10, random_state=0),
], ids=["sparse", "network", "forest"])
def test_numbers_in_the_units_they_came_in(model):
    y = 2 * VALUES - 10
    model = clone(model).fit(FRIEDMAN[:300], y[:300])
    predicted = model.predict(FRIEDMAN[300:])
    assert predicted.shape == (100,)
    assert predicted.dtype == np.float64
    r2 = 1 - ((predicted - y[300:]) ** 2).sum() / ((y[300:] - y[300:].mean()) ** 2).sum()
    assert model.score(FRIEDMAN[300:], y[300:]) == pytest.approx(r2)
    assert r2 > 0.7
    np.testing.assert_allclose(model.model_.logits(FRIEDMAN[300:])[:, 0], predicted, rtol=1e-5, atol=1e-4)
    assert not hasattr(model, "predict_proba")
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(FRIEDMAN), model.predict(FRIEDMAN))
    assert model.path_[0]["macs"] > model.path_[-1]["macs"]


def test_a_regressor_keeps_the_features_that_count():
    model = SparseMLPRegressor(None, (40,), penalty="inputs=0.05", epochs=20, random_state=0).fit(FRIEDMAN, VALUES)
    kept = set(model.kept_features_.tolist())
    assert kept >= {0, 1, 2, 3, 4}
    assert len(kept) < 10


@pytest.mark.parametrize("model", [
    SparseMLPRegressor("macs=30%", (40,), epochs=8, random_state=0),
    Distiller(regressor(), "macs=50%", epochs=5, random_state=0),
    Distiller(Ridge(), "macs=30%", (30,), epochs=8, random_state=0),
], ids=["sparse", "network", "ridge"])
def test_several_numbers_and_integers(model):
    y = np.stack([np.round(VALUES), 7 - 3 * VALUES], axis=1).astype(int)
    model = clone(model).fit(FRIEDMAN, y)
    assert model.predict(FRIEDMAN).shape == y.shape
    assert model.score(FRIEDMAN, y) > 0.6


def test_a_column_comes_back_as_a_column():
    model = SparseMLPRegressor("macs=30%", (10,), epochs=1, random_state=0).fit(FRIEDMAN, VALUES[:, None])
    assert model.predict(FRIEDMAN).shape == (400, 1)


def test_a_grid_search_of_regressors_prefers_what_predicts_better():
    x, y = load_diabetes(return_X_y=True)
    grid = GridSearchCV(SparseMLPRegressor("macs=30%", (10,), random_state=0), {"epochs": [1, 8]}, cv=2).fit(x, y)
    assert grid.best_params_ == {"epochs": 8}
    assert grid.best_score_ > 0.3


def test_without_scikit_learn_a_sentence_says_what_to_install():
    code = ("import sys; sys.modules['sklearn'] = None\nimport npkd\n"
            "try:\n    import npkd.estimators\nexcept ValueError as error:\n    print(error)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("npkd.estimators needs sklearn")
    assert done.stdout.count("\n") == 1
    assert "pip install 'npkd[sklearn]'" in done.stdout


def test_npkd_alone_does_not_import_scikit_learn():
    code = "import sys, npkd; npkd.compress, npkd.load; print('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
