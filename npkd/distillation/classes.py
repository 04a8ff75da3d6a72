"""What is known of classes: smoothed labels, and each class's share. Derivations: docs/book/15-response.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import linalg, special

from npkd.core.linalg import product, wide
from npkd.core.types import Array
from npkd.core.validation import InputError, below_one, finite
from npkd.distillation.response import check_logits
from npkd.nn.losses import check_labels, cross_entropy
from npkd.nn.network import Network

STEPS, TOLERANCE = 1000, 1e-11
"""Newton steps of ``class_bias`` at most, and how far it leaves a class from its share."""


def label_smoothing(student: Array, labels: Array, *, smoothing: float = 0.1) -> tuple[float, Array]:
    """Cross-entropy with smoothed labels t: soft targets of a teacher whose logits are log t, plus the entropy of t.

        t_nc = (1 − ε) [c = y_n] + ε/C,   L = −1/N Σ_n Σ_c t_nc log p_nc                          (K18), (L4)

    student z (N, C)   labels y (N,) integers   ->   value, d_student (N, C). Divided by N alone. Raises InputError
    where shapes do not fit or ε is not in [0, 1). Source: Müller et al. 2019; as a virtual teacher Yuan et al. 2020.
    """
    check_logits("label_smoothing", student)
    check_labels("label_smoothing", "labels", labels, *student.shape)
    below_one("label_smoothing", "smoothing", smoothing)
    value, d = cross_entropy(student.astype(wide(student)), smoothed(labels, student.shape[1], smoothing))
    return value, d.astype(student.dtype)


def smoothed(labels: Array, classes: int, smoothing: float) -> Array:
    """Labels (N,) mixed with the uniform distribution, (N, C); their logarithms are the logits of a virtual teacher."""
    check_labels("smoothed", "labels", labels, len(labels), classes)
    return np.asarray((1 - smoothing) * (np.arange(classes) == labels[:, None]) + smoothing / classes)         # (K18)


def class_bias(student: Array, prior: Array, *, classes: Sequence[int] | None = None) -> Array:
    """Numbers b which, added to the logits, give classes their shares of the predictions; 0 for classes not chosen.

        1/N Σ_n softmax(z_n + b)_k = π_k   for each chosen class k                                (K19)

    student z (N, C), of examples drawn as those that the prior counts; prior (C,), counts or frequencies; here they are
    divided by their sum; classes: the chosen, all unless told, then Σ b = 0   ->   b (C,), by damped Newton steps.
    Raises InputError where shapes do not fit, a logit is not finite, a class has no share, or rounding ends the search.
    Source: Hinton, Vinyals & Dean 2015, section 3, where b is chosen on the test set.
    """
    check_logits("class_bias", student)
    finite("class_bias", student=student)
    z, every, share = student.astype(np.float64), set(range(student.shape[1])), np.asarray(prior, np.float64)
    chosen = sorted(every if classes is None else {*classes})
    if share.shape != (len(every),) or not 0 < share.min() <= share.max() < np.inf or not every >= {*chosen} > set():
        raise InputError(f"class_bias: prior has shape {share.shape} and classes is {classes}; the prior must be "
                         f"({len(every)},) positive numbers, the classes some of 0 … {len(every) - 1}")
    b, share = np.zeros(len(every)), share[chosen] / share.sum()
    for _ in range(STEPS):
        p = special.softmax(z + b, axis=1)[:, chosen]
        missing = share - p.mean(axis=0)                                              # (K19)
        if np.abs(missing).max() <= TOLERANCE:
            return b - (b.mean() if len(chosen) == len(b) else 0)
        curvature = np.diag(p.mean(axis=0) + 1e-13) - product(p.T, p) / len(p)        # never 0
        u = linalg.solve(curvature, missing, assume_a="pos")
        reach = np.ptp([0, *u])
        b[chosen] += np.log1p(reach) / reach * u                                      # (K20)
    raise InputError(f"class_bias: a class stays {np.abs(missing).max():.0e} from its share; the logits are too large")


def add_bias(network: Network, bias: Array) -> Network:
    """The network with ``bias`` (C,) added to those of its last layer, which must be dense; other arrays are shared."""
    last, layer = len(network.layers) - 1, network.layers[-1]
    if not layer.row.dense or np.shape(bias) != layer.params[1].shape:
        raise InputError(f"add_bias: bias is {np.shape(bias)} and the last layer {layer.row}; it must be dense, (O,)")
    w, b = layer.params
    return network.replace({last: replace(layer, params=(w, (b + bias).astype(b.dtype)))})
