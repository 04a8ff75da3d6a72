"""Weights on grids of few levels: the nearest ones, by what comes out, or trained. docs/book/24-quantisation.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from npkd.compression.integer import RESHAPING, grid
from npkd.core.linalg import product
from npkd.core.types import Array, Batch
from npkd.core.validation import InputError, floats, one_of, whole
from npkd.data.batches import MAPS, batches_of
from npkd.distillation.objective import Terms
from npkd.distillation.safety import with_safe_clip
from npkd.distillation.schemes import Records, with_answers
from npkd.distillation.teacher import teacher_of
from npkd.nn.network import Layer, Network, convolves
from npkd.nn.optimisers import Optimiser
from npkd.nn.training import Penalty, TrainingSettings, train
from npkd.sparsity.collect import collect_statistics, matrix
from npkd.sparsity.refitting import RIDGE
from npkd.sparsity.statistics import Statistics
from npkd.surgery.folding import inserted

Rounding = Callable[[Array], Array]
"""Weights (O, ...) -> the nearest levels of their rows, in the dtype given."""
Fit = Callable[[Array], Rounding]
"""Weights (O, ...) -> the levels that suit them: ``levels``, ``ternary_levels``, ``binary_levels``, or one's own."""
SIGNIFICANT = 16
"""Bits of a step of weights: its products with bytes are exact in float32, which has 24."""
SAMPLE, VALUES = 1000, 100_000
"""Examples, and values of their activations, from which steps of activations are found."""


def short(step: Array | float, significant: int = SIGNIFICANT) -> Array:
    """Steps rounded to so many significant bits.

        s' = ⌊s 2^(b−e)⌉ 2^(e−b),   2^(e−1) ≤ s < 2^e,   b bits                                        (N42)
    """
    mantissa, e = np.frexp(np.asarray(step, np.float64))
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, significant)), e - significant))             # (N42)


@dataclass(frozen=True, eq=False)
class Levels:
    """s (low − zero), …, s (high − zero) of each row, or of all rows alike: a Rounding, ``quantize`` row by row.

    step, zero  (O,) or (1,) float64, zero whole;   low, high  whole numbers
    """

    step: Array
    zero: Array
    low: int
    high: int

    def __call__(self, w: Array) -> Array:
        """The nearest levels, (N40); in symmetric levels 0 stays 0."""
        s, z = (a.reshape(-1, *[1] * (w.ndim - 1)) for a in (self.step, self.zero))
        return np.asarray(s * (np.clip(np.rint(w / s) + z, self.low, self.high) - z)).astype(w.dtype)  # (N40)


def levels(w: Array, bits: int = 8, *, per_channel: bool = True, symmetric: bool = True, calibration: str = "mse",
           percentile: float = 99.9, significant: int = SIGNIFICANT) -> Levels:
    """Equal steps over the range of the weights, or over a part of it, beyond which they are clipped.

        s = f (top − bottom)/(high − low),   zero = ⌊low − f bottom/s⌉                                 (N43)

    w (O, ...) floats. symmetric: integers −(2^(bits−1) − 1) … 2^(bits−1) − 1, zero = 0, top = −bottom = max |w|; else
    0 … 2^bits − 1, bottom ≤ 0 ≤ top. f is 1 for "min-max"; for "percentile" the range is that of so many per cent of
    the weights; for "mse" f is the one of least squared error among 66 up to 1.5. Raises InputError for other words,
    and bits not from 2 to 8.
    """
    floats("levels", w=w)
    whole("levels", 2, 8, bits=bits)
    one_of("levels", "calibration", calibration, ("min-max", "percentile", "mse"))
    rows = w.reshape(len(w) if per_channel else 1, -1).astype(np.float64)
    low, high = (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1) if symmetric else (0, 2 ** bits - 1)
    part = percentile / 100 if calibration == "percentile" else 1.0
    top = np.maximum(np.quantile(abs(rows) if symmetric else rows, part, axis=1), 0)
    bottom = -top if symmetric else np.minimum(np.quantile(rows, 1 - part, axis=1), 0)
    unit = np.where(top > bottom, (top - bottom) / (high - low), 1.0)
    best, least = Levels(unit, 0 * unit, low, high), np.full(len(rows), np.inf)
    for f in np.linspace(0.2, 1.5, 66) if calibration == "mse" else (1.0,):
        step = short(f * unit, significant)                                                            # (N43)
        tried = Levels(step, (0 if symmetric else 1) * np.clip(np.rint(low - f * bottom / step), low, high), low, high)
        error = ((tried(rows) - rows) ** 2).sum(axis=1)
        better = error < least
        best, least = replace(best, step=np.where(better, tried.step, best.step),
                              zero=np.where(better, tried.zero, best.zero)), np.minimum(error, least)
    return best


def ternary_levels(w: Array, *, per_channel: bool = True) -> Levels:
    """α {−1, 0, 1} of least squared error, exactly: the k largest weights of a row do not become 0, by sorting.

        α = c_k / k,   k = argmax_k c_k²/k,   c_k = |w|_(1) + … + |w|_(k), largest first               (N44)

    Source: Li, Zhang & Liu 2016 for a threshold from a formula; the search over all k own.
    """
    size = -np.sort(-abs(w.reshape(len(w) if per_channel else 1, -1).astype(np.float64)), axis=1)
    c, k = np.cumsum(size, axis=1), np.arange(1, size.shape[1] + 1)
    alpha = np.take_along_axis(c / k, np.argmax(c * c / k, axis=1)[:, None], axis=1)[:, 0]             # (N44)
    alpha = np.where(alpha > 0, short(alpha), 1.0)
    return Levels(alpha, 0 * alpha, -1, 1)


def binary_levels(w: Array, *, per_channel: bool = True, zeros: bool = False) -> Rounding:
    """±α with α = mean |w|, which is of least squared error; with ``zeros`` what is 0 stays, and counts nowhere.

        ŵ = α sign(w),   α = Σ|w|/d, sign(0) = 1                                                       (N45)

    Source: Rastegari et al. 2016.
    """
    size = abs(w.reshape(len(w) if per_channel else 1, -1).astype(np.float64))
    d = np.maximum((size > 0).sum(axis=1) if zeros else size.shape[1], 1)
    alpha = short(size.sum(axis=1) / d)

    def rounding(v: Array) -> Array:
        a = alpha.reshape(-1, *[1] * (v.ndim - 1))
        return np.where(zeros & (v == 0), 0, np.where(v < 0, -a, a)).astype(v.dtype)                   # (N45)

    return rounding


def shared_levels(w: Array, k: int, *, zeros: bool = True) -> Rounding:
    """k values that all weights share: Lloyd's k-means in one dimension from k equal distances, until nothing changes.

        μ_c ← mean of the weights nearest to μ_c                                                       (N46)

    No turn raises the squared error, and at the end every weight has its nearest value, every value the mean of its
    weights. With ``zeros`` a 0 stays 0 beside the k values. Source: Lloyd 1982; Han, Mao & Dally 2016.
    """
    whole("shared_levels", 1, k=k)
    x = np.sort(w[(w != 0) | (not zeros)].astype(np.float64))
    sums, mu, old = np.append(0, np.cumsum(x)), np.linspace(x.min(initial=0), x.max(initial=0), k), np.zeros(0)
    while not np.array_equal(mu, old):
        cuts = np.concatenate([[0], np.searchsorted(x, (mu[1:] + mu[:-1]) / 2), [len(x)]])
        n, old = np.diff(cuts), mu
        mu = np.where(n > 0, np.diff(sums[cuts]) / np.maximum(n, 1), mu)                               # (N46)

    def rounding(v: Array) -> Array:
        return np.where(zeros & (v == 0), 0, mu[np.searchsorted((mu[1:] + mu[:-1]) / 2, v)]).astype(v.dtype)

    return rounding


def nearest(w: Array, fit: Fit = levels) -> Array:
    """The levels that suit weights (O, ...), each weight on its nearest one."""
    return fit(w)(w)


def compensated(w: Array, rounding: Rounding, statistics: Statistics, *, zeros: bool = True) -> Array:
    """Weights rounded column after column, the later columns making up for the error so far in what comes out.

        v = w + (C − A wᵀ)ᵀ(A + λ)⁻¹,   (A + λ)⁻¹ = UᵀU, U upper triangular
        ŵ_:j = ⌊v_:j⌉,   v_:k ← v_:k − (v_:j − ŵ_:j) U_jk/U_jj   for k > j                             (N47)

    w (O, d); ``statistics`` of what they read against what the layer is to give; λ = RIDGE tr A/d. Never worse in the
    outputs' squared error (S4) than ⌊w⌉, which takes the place of rows that would be. With ``zeros`` a 0 stays 0.
    Source: Frantar & Alistarh 2022; in this order, by Cholesky, Frantar et al. 2023 (GPTQ).
    """
    A, C, _ = statistics.normalised()
    w64, d = w.astype(np.float64), len(A)
    inverse = linalg.inv(A + (RIDGE * float(np.trace(A)) / d + 1e-300) * np.eye(d))
    v, U = w64 + product(C.T - product(w64, A), inverse), linalg.cholesky(inverse)
    out = np.where(zeros & (w == 0), 0, rounding(w64))
    plain = out.copy()
    for j in range(d):
        out[:, j] = np.where(zeros & (w[:, j] == 0), 0, rounding(v[:, j:j + 1])[:, 0])
        v[:, j + 1:] -= np.outer((v[:, j] - out[:, j]) / U[j, j], U[j, j + 1:])                        # (N47)
    errors = [((product(a, A) - 2 * C.T) * a).sum(axis=1) for a in (out, plain)]
    return np.where((errors[0] < errors[1])[:, None], out, plain).astype(w.dtype)


def bias_corrected(b: Array, w: Array, rounded: Array, statistics: Statistics) -> Array:
    """The bias (O,) with which the mean of each output is what it was, for weights (O, d) that were rounded.

        b' = b + (W − Ŵ) h̄                                                                             (N48)
    """
    return np.asarray(b + product(w - rounded, statistics.mean_h[:, None])[:, 0]).astype(b.dtype)      # (N48)


def quantized(network: Network, x: Array, fit: Fit | None = levels, *, compensate: bool = True) -> Network:
    """The network with ``quantize`` in front of what every layer of weights reads, and weights on levels: float64.

    From the first to the last, on what the student itself makes of x (N, ...): activations as bytes, in steps of ten
    significant bits of the input and of powers of two behind; weights by (N47), or the nearest; biases that fit best
    (S3), or (N48), on the grid of (N53). So ``IntegerNetwork.of`` takes it, unless the levels are no grid. With fit
    None the weights stay as they are, to be trained.
    """
    teacher, places = network.astype(np.float64), list[int]()
    for i in reversed(network.weight_layers):
        while i and network.layers[i - 1].op in RESHAPING:
            i -= 1
        teacher = inserted(teacher, i, Layer("dropout", options={"rate": 0.0}))       # holds the place, changes nothing
        places = [i, *(at + 1 for at in places)]
    student, rows = teacher, MAPS if convolves(network) else None
    for at, i in zip(places, teacher.weight_layers, strict=True):
        h = student(x[:SAMPLE])[0][at].reshape(1, -1)
        h = np.append(h[:, ::1 + h.size // VALUES], [[h.min(), h.max()]], axis=1)
        how, bits = ("min-max", 10) if at == places[0] else ("mse", 1)
        bytes_of_h = levels(h, symmetric=False, calibration=how, significant=bits)
        step, zero = float(bytes_of_h.step[0]), int(bytes_of_h.zero[0])
        student = student.replace({at: Layer("quantize", options={"step": step, "zero": zero})})
        if fit is not None:
            statistics, layer = collect_statistics(student, teacher, batches_of(x, rows), [i])[0], teacher.layers[i]
            w, rounding = matrix(layer), fit(matrix(layer))
            q = compensated(w, rounding, statistics) if compensate else rounding(w)
            b = statistics.intercept(q) if compensate else bias_corrected(layer.params[1], w, q, statistics)
            with suppress(InputError):                                    # shared values are no grid
                unit = step * grid(q)[0]
                b = unit * np.rint(b / unit)
            student = student.replace({i: replace(layer, params=(q.reshape(layer.params[0].shape), b))})
    return student


class StraightThrough:
    """Latent weights behind those that a network shows: as a penalty it makes ``train`` learn through a rounding.

        θ ← θ + (v − w),   w ← Q(θ),   v = w − η (velocity) what the optimiser made of w               (N49)

    quantise  Q, any shape to the same;   w  latent weights to start from. It has the state ``latent``, and serves one
    layer of one training. Weight decay acts on w. Sources: Courbariaux, Bengio & David 2015, there with θ clipped.
    """

    def __init__(self, quantise: Rounding, w: Array) -> None:
        self.quantise, self.latent, self.shown = quantise, w.copy(), quantise(w)

    def value(self, w: Array) -> float:
        """0."""
        return 0.0

    def prox(self, v: Array, step: float | Array) -> Array:
        """The weights to show after the optimiser has moved those that were shown to v; the step is not used."""
        self.latent = self.latent + (v - self.shown)
        self.shown = self.quantise(self.latent)                                                        # (N49)
        return self.shown


def straight_through(network: Network, quantise: Rounding = nearest) -> tuple[Network, dict[int, StraightThrough]]:
    """A network with rounded weights, and the penalties with which ``train`` goes on from the weights before."""
    latent = {i: StraightThrough(quantise, network.layers[i].params[0]) for i in network.weight_layers}
    shown = {i: replace(layer := network.layers[i], params=(p.shown, *layer.params[1:])) for i, p in latent.items()}
    return network.replace(shown), latent


def quantised_student(student: tuple[Network, Mapping[int, Penalty]], teacher: Network, data: Batch, terms: Terms, *,
                      optimiser: Optimiser | None = None, settings: TrainingSettings | None = None,
                      rng: np.random.Generator) -> Records:
    """A student of few levels learns from a teacher in floating point: ``offline``, on what ``straight_through`` gives.

    With Q the identity it is ``offline``. Sources: Polino, Pascanu & Alistarh 2018; Mishra & Marr 2018.
    """
    (network, penalties), answers = student, teacher_of(teacher, terms)
    settings = with_answers(answers, with_safe_clip(network, data, optimiser, settings, answers))
    yield from train(network, data, terms, optimiser=optimiser, penalties=penalties, settings=settings, rng=rng)
