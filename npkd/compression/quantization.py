"""Weights on grids of few levels: the nearest ones, by what comes out, or trained. docs/book/24-quantisation.md."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from npkd.compression.integer import RESHAPING
from npkd.core.grids import grid
from npkd.core.linalg import product
from npkd.core.types import Array, Batch
from npkd.core.validation import InputError, floats, one_of, whole
from npkd.data.batches import MAPS, batches_of
from npkd.distillation.objective import Terms
from npkd.distillation.schemes import Records, with_answers
from npkd.distillation.teacher import teacher_of
from npkd.nn.network import Layer, Network
from npkd.nn.optimisers import Optimiser
from npkd.nn.training import TrainingSettings, train
from npkd.sparsity.collect import collect_statistics, matrix
from npkd.sparsity.refitting import RIDGE
from npkd.sparsity.statistics import Statistics
from npkd.surgery.folding import inserted

Fit = Callable[[Array], Callable[[Array], Array]]
"""fit(w) finds levels for weights w (O, ...), each row its own; fit(w)(v) are those nearest to weights v."""
SAMPLE, VALUES = 1000, 100_000      # examples, and values of their activations, from which steps of these are found


def short(step: Array, significant: int = 16) -> Array:
    """Steps s of b significant bits, ⌊s 2^(b−e)⌉ 2^(e−b), 2^(e−1) ≤ s < 2^e (N42). Of 16, s times a byte is float32."""
    mantissa, e = np.frexp(step)
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, significant)), e - significant))             # (N42)


@dataclass(frozen=True, eq=False)
class Levels:
    """s (low − zero), …, s (high − zero) for each row; step and zero (O,), or (1,) for all rows, float64."""

    step: Array
    zero: Array
    low: int
    high: int

    def __call__(self, w: Array) -> Array:
        """The nearest levels, as of ``quantize``; 0 stays 0."""
        s, z = (a.reshape(-1, *[1] * (w.ndim - 1)) for a in (self.step, self.zero))
        return np.asarray(s * (np.clip(np.rint(w / s) + z, self.low, self.high) - z)).astype(w.dtype)  # (N40)


def levels(w: Array, bits: int = 8, *, per_channel: bool = True, symmetric: bool = True, calibration: str = "mse",
           percentile: float = 99.9, significant: int = 16) -> Levels:
    """Equal steps over the range of each row of weights, or a part of it, beyond which they are clipped: a Fit.

        s = f (top − bottom)/(high − low),   zero = ⌊low − f bottom/s⌉                                 (N43)

    w (O, ...) floats, one row all unless ``per_channel``. symmetric: top = −bottom = max |w|, zero = 0, −low = high =
    2^(bits−1) − 1; else bottom ≤ 0 ≤ top, 0 … 2^bits − 1. "min-max": f = 1; "percentile": so many per cent lie in the
    range, f = 1; "mse": f of the least squared error of 0.2, 0.22, …, 1.5. Raises InputError for bits not 2 to 8, and
    other words.
    """
    floats("levels", w=w)
    whole("levels", 2, 8, bits=bits)
    one_of("levels", "calibration", calibration, ("min-max", "percentile", "mse"))
    rows = w.reshape(len(w) if per_channel else 1, -1).astype(np.float64)
    part = percentile / 100 if calibration == "percentile" else 1.0
    low, high = (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1) if symmetric else (0, 2 ** bits - 1)
    top = np.maximum(np.quantile(abs(rows) if symmetric else rows, part, axis=1), 0)
    bottom = -top if symmetric else np.minimum(np.quantile(rows, 1 - part, axis=1), 0)
    unit = np.where(top > bottom, (top - bottom) / (high - low), 1.0)
    tried, errors = list[tuple[Array, Array]](), list[Array]()
    for f in np.linspace(0.2, 1.5, 66) if calibration == "mse" else (1.0,):
        step = short(f * unit, significant)                                                            # (N43)
        tried.append((step, np.clip(np.rint(low - f * bottom / step), low, high) * (not symmetric)))
        errors.append(((Levels(*tried[-1], low, high)(rows) - rows) ** 2).sum(axis=1))
    step, zero = np.array(tried)[np.argmin(errors, axis=0), :, np.arange(len(rows))].T
    return Levels(step, zero, low, high)


def ternary_levels(w: Array) -> Levels:
    """α {−1, 0, 1} of the least squared error, exactly: all numbers k of weights that are not 0 are tried, by sorting.

        α = c_k/k,   k = argmax_k c_k²/k,   c_k the sum of the k largest |w|;   source: own            (N44)
    """
    c = np.cumsum(-np.sort(-abs(w.reshape(len(w), -1).astype(np.float64)), axis=1), axis=1)
    k = np.arange(1, c.shape[1] + 1)
    alpha = short((c / k)[np.arange(len(c)), np.argmax(c * c / k, axis=1)])                            # (N44)
    return Levels(np.where(alpha > 0, alpha, 1.0), 0 * alpha, -1, 1)


def binary_levels(w: Array) -> Callable[[Array], Array]:
    """α sign(w) of the least squared error, α = Σ|w| / (number of w ≠ 0) (N45). Source: Rastegari et al. 2016."""
    rows = abs(w.reshape(len(w), -1).astype(np.float64))
    alpha = short(rows.sum(axis=1) / np.maximum(np.count_nonzero(rows, axis=1), 1))                    # (N45)
    return lambda v: (alpha.reshape(-1, *[1] * (v.ndim - 1)) * np.sign(v)).astype(v.dtype)


def shared_levels(w: Array, k: int) -> Callable[[Array], Array]:
    """k values μ that all weights share, beside 0, which stays: k-means from values at equal distances.

    In turns each becomes the mean of the weights that it is nearest to (N46). No turn raises the squared error, and the
    last changes nothing. Source: Lloyd 1982; Han, Mao & Dally 2016.
    """
    whole("shared_levels", 1, k=k)
    x = np.sort(w[w != 0].astype(np.float64))
    sums, mu = np.append(0, np.cumsum(x)), np.linspace(x.min(initial=0), x.max(initial=0), k)
    gain, before = 0.0, -1.0                                         # of the squared error, over that of zeros
    while gain > before:
        cuts = np.concatenate([[0], np.searchsorted(x, (mu[1:] + mu[:-1]) / 2), [len(x)]])
        n, before = np.diff(cuts), gain
        mu = np.where(n > 0, np.diff(sums[cuts]) / np.maximum(n, 1), mu)                               # (N46)
        gain = float((n * mu * mu).sum())
    return lambda v: np.where(v == 0, 0, mu[np.searchsorted((mu[1:] + mu[:-1]) / 2, v)]).astype(v.dtype)


def by_columns(A: Array, v: Array, rounding: Callable[[Array, int], Array]) -> Array:
    """Columns of v (O, d) rounded one after another, the largest A_jj first; those to come make up for what each
    changes in the outputs, ⟨V, VA⟩.

        ŵ_:j = ⌊v_:j⌉,   v_:k ← v_:k − (v_:j − ŵ_:j) U_jk/U_jj for k > j,   A⁻¹ = UᵀU, U upper triangular   (N47)

    v  the least squares solution;   rounding  (values (O,), number j) -> levels. Source: Frantar & Alistarh 2022; with
    one order for all rows, by Cholesky's factor, Frantar et al. 2023.
    """
    order = np.argsort(-np.diag(A), kind="stable")
    U = linalg.cholesky(linalg.inv(A[np.ix_(order, order)]))
    left, out = np.ascontiguousarray(v[:, order].T), np.empty_like(v)
    for k, j in enumerate(order):
        out[:, j] = rounding(left[k], j)
        left[k + 1:] -= np.outer(U[k, k + 1:] / U[k, k], left[k] - out[:, j])                          # (N47)
    return out


def compensated(w: Array, rounding: Callable[[Array], Array], statistics: Statistics) -> Array:
    """Weights w (O, d) rounded ``by_columns``, from the least squares solution near to w on; a weight 0 stays 0.

    ``statistics`` of what they read against what the layer is to give, with a ridge RIDGE tr A/d. Rows whose squared
    error in the outputs (S4) would be above that of ⌊w⌉ are ⌊w⌉.
    """
    (A, C, _), w64 = statistics.normalised(), w.astype(np.float64)
    ridged = A + (RIDGE * float(np.trace(A)) / len(A) + 1e-300) * np.eye(len(A))
    v = w64 + linalg.solve(ridged, C - product(A, w64.T), assume_a="pos").T
    out = by_columns(ridged, v, lambda column, j: np.where(w[:, j] != 0, rounding(column[:, None])[:, 0], 0))
    plain = np.where(w != 0, rounding(w64), 0)
    error, before = (((product(q, A) - 2 * C.T) * q).sum(axis=1, keepdims=True) for q in (out, plain))
    return np.asarray(np.where(error < before, out, plain).astype(w.dtype))


def bias_corrected(b: Array, w: Array, rounded: Array, statistics: Statistics) -> Array:
    """The bias b + (W − Ŵ) h̄ (N48), (O,): rounded weights (O, d) leave the mean of each output where it was."""
    return np.asarray(b + product(w - rounded, statistics.mean_h[:, None])[:, 0]).astype(b.dtype)      # (N48)


def quantized(network: Network, x: Array, fit: Fit | None = levels, *, compensate: bool = True,
              input_bits: int = 10) -> Network:
    """``quantize`` in front of what each layer of weights reads, and weights on levels, on examples x: float64.

    From first to last, on the student's activations: bytes, in steps of ``input_bits`` significant bits, behind it of
    powers of two; weights by (N47), or the nearest; the best biases (S3), or (N48), on the grid of (N53), as
    ``IntegerNetwork.of`` takes them, unless values are shared. With fit None weights stay, to be trained.
    """
    teacher, places = network.astype(np.float64), list[int]()
    for i in reversed(network.weight_layers):
        at = next(k for k in range(i, -1, -1) if not k or network.layers[k - 1].op not in RESHAPING)
        teacher = inserted(teacher, at, Layer("dropout", options={"rate": 0.0}))      # holds the place, changes nothing
        places = [at, *(k + 1 for k in places)]
    student = teacher
    for at, i in zip(places, teacher.weight_layers, strict=True):
        h, layer = student(x[:SAMPLE])[0][at].reshape(1, -1), teacher.layers[i]
        how, bits = ("min-max", input_bits) if at == places[0] else ("mse", 1)
        on = levels(h[:, ::1 + h.size // VALUES], symmetric=False, calibration=how, significant=bits)
        student = student.replace({at: Layer("quantize", options={"step": float(on.step[0]), "zero": int(on.zero[0])})})
        if fit is not None:
            statistics, w = collect_statistics(student, teacher, batches_of(x, MAPS), [i])[0], matrix(layer)
            q = compensated(w, fit(w), statistics) if compensate else fit(w)(w)
            b = statistics.intercept(q) if compensate else bias_corrected(layer.params[1], w, q, statistics)
            with suppress(InputError):                               # values that are shared lie on no grid
                b = (unit := on.step * grid(q, most=255)[0]) * np.rint(b / unit)
            student = student.replace({i: replace(layer, params=(q.reshape(layer.params[0].shape), b))})
    return student


class StraightThrough:
    """Latent weights θ behind those that a network shows: a penalty by which ``train`` learns through a rounding.

        θ ← θ + (v − w),   w ← Q(θ),   v what the optimiser made of w                                  (N49)

    Q = ``quantise``, any shape to the same: levels(θ) for ever, or w ↦ levels(w)(w). θ is the state ``latent`` of one
    layer in one training. Weight decay acts on what is shown. Source: Courbariaux, Bengio & David 2015, there θ is
    clipped.
    """

    def __init__(self, quantise: Callable[[Array], Array], latent: Array) -> None:
        self.quantise, self.latent, self.shown = quantise, latent.copy(), quantise(latent)

    def value(self, w: Array) -> float:
        """0."""
        return 0.0

    def prox(self, v: Array, step: float | Array) -> Array:
        """w after (N49), whatever the step."""
        self.latent = self.latent + (v - self.shown)
        self.shown = self.quantise(self.latent)                                                        # (N49)
        return self.shown


def straight_through(network: Network, fit: Fit = levels, *, once: bool = False
                     ) -> tuple[Network, dict[int, StraightThrough]]:
    """The network on levels, and penalties with which ``train`` goes on from its weights: from what is shown on, as
    (N49) needs. Levels are fitted anew in every step, or ``once`` for all."""
    latent = {i: StraightThrough(fit(w) if once else lambda v: fit(v)(v), w) for i in network.weight_layers
              for w in network.layers[i].params[:1]}
    shown = {i: replace(layer := network.layers[i], params=(p.shown, *layer.params[1:])) for i, p in latent.items()}
    return network.replace(shown), latent


def quantised_student(student: tuple[Network, dict[int, StraightThrough]], teacher: Network, data: Batch, terms: Terms,
                      *, optimiser: Optimiser, settings: TrainingSettings, rng: np.random.Generator) -> Records:
    """What ``straight_through`` gives learns from a teacher in floating point: ``offline``, were nothing rounded."""
    settings = with_answers(teacher_of(teacher, terms), settings)
    yield from train(student[0], data, terms, optimiser=optimiser, penalties=student[1], settings=settings, rng=rng)
