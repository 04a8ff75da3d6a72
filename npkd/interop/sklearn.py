"""Networks of scikit-learn, alone or at the end of a Pipeline of scalers. scikit-learn itself is not imported."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.interop.graph import HEADS
from npkd.nn.model import Model
from npkd.nn.network import Layer, Network
from npkd.nn.scaling import Scaling

OPS = {"identity": None, "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
"""npkd's op of each activation; None: there is none between the layers."""

CENTRES = {"StandardScaler": "mean_", "MinMaxScaler": "", "MaxAbsScaler": "", "RobustScaler": "center_"}
"""The attribute of each scaler that is taken from the inputs first."""

TOLERANCE = 1e-5
"""Largest difference of a copy's probabilities, or values, in parts of its largest output where that is above 1."""


def kind(estimator: object) -> str:
    """The name of an estimator's class, with its module where it is not scikit-learn's."""
    name, module = type(estimator).__name__, type(estimator).__module__
    return name if module.partition(".")[0] == "sklearn" else f"{module}.{name}"


def read(estimator: Any, example: Any = None) -> Model:
    """The network of a fitted MLPClassifier or MLPRegressor, or of a Pipeline of scalers and one, with its scaling.

    example     (N, I) raw inputs on which the copy must answer as the estimator does; None: drawn, as it scales them
    The network gives logits (N, C), of two classes too, or the values (N, O) of a regressor. Raises InputError for any
    other estimator or step, by name, for one that is not fitted, and where the answers differ.
    """
    estimator = estimator.estimator if kind(estimator) == "FrozenEstimator" else estimator
    steps = [step for _, step in estimator.steps] if kind(estimator) == "Pipeline" else [estimator]
    *scalers, mlp = [step for step in steps if step is not None and not isinstance(step, str)] or [None]
    if kind(mlp) not in ("MLPClassifier", "MLPRegressor"):
        raise InputError(f"sklearn.read: got {kind(mlp)}; it must be an MLPClassifier, an MLPRegressor, or a Pipeline "
                         f"that ends in one{'; give its best_estimator_' * hasattr(mlp, 'best_estimator_')}; "
                         "npkd.estimators.Distiller learns from any classifier or regressor")
    if not hasattr(mlp, "coefs_"):
        raise InputError(f"sklearn.read: the {kind(mlp)} is not fitted; call its fit first")
    if mlp.out_activation_ not in ("identity", "softmax", "logistic"):
        raise InputError(f"sklearn.read: the {kind(mlp)} ends in {mlp.out_activation_}; its loss must be squared_error")
    offset, factor = np.zeros(len(mlp.coefs_[0])), np.ones(len(mlp.coefs_[0]))
    for scaler in scalers:                                        # ((x − o) f − o') f' = (x − (o + o'/f)) f f'
        below, times = scaling_of(scaler)
        offset, factor = offset + below / factor, factor * times
    network = Network(layers_of(mlp))
    model = Model(network, Scaling(offset, factor.astype(np.float32)) if scalers else None,
                  {"task": "classification" if hasattr(mlp, "classes_") else "regression"})
    x = offset + np.random.default_rng(0).normal(size=(64, len(offset))) / factor if example is None else example
    with warnings.catch_warnings(action="ignore", category=UserWarning):                       # of feature names
        answers = np.asarray(estimator.predict_proba(x) if hasattr(mlp, "classes_") else estimator.predict(x))
    z = model.logits(np.asarray(x)).astype(np.float64)
    own = HEADS["softmax" if hasattr(mlp, "classes_") else ""](z)
    off, most = np.abs(own - answers.reshape(own.shape)).max(), max(1.0, np.abs(z).max())
    if not off <= TOLERANCE * most:
        raise InputError(f"sklearn.read: the copy of the {kind(mlp)} differs by {off:.2g} from it on {len(z)} "
                         f"examples; they must agree: fit the {kind(estimator)} again, and scale its inputs")
    return model


def scaling_of(scaler: Any) -> tuple[Array, Array | float]:
    """Offset (I,) and factor of a fitted scaler, float64. Raises InputError for any other step."""
    name = kind(scaler)
    if name not in CENTRES or getattr(scaler, "clip", False):
        raise InputError(f"sklearn.read: the Pipeline has {name}{', which clips,' * (name in CENTRES)} before its "
                         f"network; it may have {', '.join(CENTRES)}, none of which clips, and passthrough")
    if name == "MinMaxScaler":
        return -scaler.min_ / scaler.scale_, scaler.scale_
    centre = getattr(scaler, CENTRES[name], None) if getattr(scaler, "with_mean", True) else None     # mean_ stays
    return np.zeros(1) if centre is None else centre, 1.0 if scaler.scale_ is None else 1 / scaler.scale_


def layers_of(mlp: Any) -> list[Layer]:
    """The layers of a fitted network, float32; a single logistic output z becomes the logits −z/2 and z/2."""
    act, pairs, chain = OPS[mlp.activation], [*zip(mlp.coefs_, mlp.intercepts_, strict=True)], list[Layer]()
    if mlp.out_activation_ == "logistic":
        if mlp.n_outputs_ > 1:
            raise InputError("sklearn.read: the MLPClassifier is multi-label; it must put an example into one class")
        w, b = pairs[-1]
        pairs[-1] = np.concatenate([-w, w], axis=1) / 2, np.concatenate([-b, b]) / 2
    for w, b in pairs:
        chain += [Layer(act)] if chain and act else []
        chain.append(Layer("dense", (np.ascontiguousarray(w.T, np.float32), b.astype(np.float32))))
    return chain
