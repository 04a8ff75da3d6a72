"""Losses of a batch: divided by the number of examples N alone, summed over everything else.

``value, d_prediction = loss(prediction, target)``; sums are accumulated in float64, d_prediction has the dtype of the
prediction. Derivations: docs/book/5-losses.md.
"""

from __future__ import annotations

import numpy as np

from npkd.core.linalg import wide
from npkd.core.types import Array
from npkd.core.validation import InputError, described, floats


def squared_error(prediction: Array, target: Array) -> tuple[float, Array]:
    """Half the squared distance, the loss of the layer-wise problem.

        L = 1/(2N) Σ_n Σ_o (p_no − t_no)²                                             (L1)

    prediction (N, ...)   target the same shape   ->   value, d_prediction of the same shape; floats.
    Divided by N alone; PyTorch's MSELoss is 2/O of it. Raises InputError where the shapes differ.
    """
    floats("squared_error", prediction=prediction, target=target)
    if prediction.shape != target.shape or not prediction.size:
        raise InputError(f"squared_error: prediction is {prediction.shape} but target {target.shape}; they must agree, "
                         "and hold at least one value")
    difference = prediction - target
    value = float(np.square(difference, dtype=wide(difference)).sum()) / (2 * len(prediction))     # (L1)
    return value, (difference / len(prediction)).astype(prediction.dtype, copy=False)              # (L2)


def cross_entropy(prediction: Array, target: Array) -> tuple[float, Array]:
    """Negative log-likelihood of the target under softmax of the logits.

        log p_c = z_c − m − log Σ_k exp(z_k − m),   m = max_k z_k                     (L3)
        L = −1/N Σ_n Σ_c t_nc log p_nc                                                (L4)

    prediction z (N, C), logits   target (N,) integer classes, or t (N, C) probabilities   ->   value, d (N, C).
    Divided by N alone. A class whose logit is −∞ is masked: where t is 0 there it adds nothing, else the value is ∞.
    Raises InputError where shapes do not fit or a class is outside 0 … C − 1.
    """
    floats("cross_entropy", prediction=prediction)
    if prediction.ndim != 2 or not prediction.size:
        raise InputError(f"cross_entropy: prediction has shape {prediction.shape}; it must be (N, C), at least one row")
    if not (isinstance(target, np.ndarray) and target.dtype.kind in "iuf"):
        got = target.dtype if isinstance(target, np.ndarray) else type(target).__name__
        raise InputError(f"cross_entropy: target is {got}; it must be integer classes (N,), or probabilities (N, C)")
    n, classes = prediction.shape
    z = prediction - prediction.max(axis=1, keepdims=True)
    d = np.exp(z)
    total = d.sum(axis=1, keepdims=True)
    d /= total                                             # p
    log_total = np.log(total)                              # log p = z − log_total: (L3)
    if target.dtype.kind != "f":
        check_labels("cross_entropy", "target", target, n, classes)
        rows = np.arange(n)
        value = float((log_total[:, 0] - z[rows, target]).sum(dtype=wide(z))) / n     # (L4)  t is one at the class
        d[rows, target] -= 1
    else:
        if target.shape != prediction.shape:
            raise InputError(f"cross_entropy: target is {target.shape} {target.dtype}; it must be ({n},) integer "
                             f"classes, or {prediction.shape} probabilities")
        terms = np.multiply(target, log_total - z, where=target != 0, out=np.zeros_like(z))     # 0 · ∞ is 0
        value = float(terms.sum(dtype=wide(z))) / n        # (L4)
        d *= target.sum(axis=1, keepdims=True)             # one, where the target is a distribution
        d -= target
    d /= n                                                 # (L5)  p − t
    return value, d


def check_labels(who: str, name: str, labels: Array, n: int, classes: int) -> None:
    """Raise InputError unless labels are N integers in 0 … C − 1."""
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu" or labels.shape != (n,):
        raise InputError(f"{who}: {name} is {described(labels)}; it must be ({n},) integer classes, one an example")
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(f"{who}: {name} has classes {labels.min()} … {labels.max()}; needed are 0 … {classes - 1}")
