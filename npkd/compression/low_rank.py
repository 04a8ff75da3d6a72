"""Low rank: one layer of weights in two, by the singular values of its weights, or of what it puts out.

Compression-aware training is ``train`` with nuclear norms among its penalties, and ``factored`` afterwards; by
layer-wise distillation it is ``low_rank``. Derivation: docs/book/22-low-rank.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from npkd.core.linalg import product
from npkd.core.types import Array
from npkd.core.validation import InputError, finite, floats, one_of, positive, whole
from npkd.nn.convolution import pair
from npkd.nn.cost import shapes
from npkd.nn.network import Layer, Network, convolves
from npkd.nn.training import Penalty
from npkd.sparsity.allocation import Curve, allocate
from npkd.sparsity.collect import collect_statistics, matrix
from npkd.sparsity.nuclear import singular_values
from npkd.sparsity.refitting import RIDGE
from npkd.sparsity.statistics import Statistics

FORMS = ("filters", "separable")
"""Of a convolution kh×kw in two: r filters kh×kw and then 1×1; or kh×1 and then 1×kw. Dense layers have one form."""


@dataclass(frozen=True)
class InTurn:
    """Several penalties on the same weights, whose proximal steps are taken one after the other.

        θ ← prox_{sΩ_K}( … prox_{sΩ_1}(θ))                                            (N11)

    Not the proximal step of Σ Ω_k: an incremental proximal method, near to it where s is small.
    Source: Alvarez & Salzmann 2017, the nuclear norm first and then the sparse group lasso; Bertsekas 2011.
    """

    penalties: Sequence[Penalty]

    def value(self, w: Array) -> float:
        """Σ_k Ω_k(w)."""
        return sum(penalty.value(w) for penalty in self.penalties)

    def prox(self, v: Array, step: float | Array) -> Array:
        """The steps in turn, (N11)."""
        for penalty in self.penalties:
            v = penalty.prox(v, step)                                                 # (N11)
        return v


def epoch_step(network: Network, penalties: Mapping[int, Penalty], step: float) -> Network:
    """The network after one proximal step on the weights of each penalised layer, for once an epoch, as in the paper.

    An epoch of n updates with step size s has ``step`` = n s; of momentum SGD s = η/(1 − μ), η the learning rate.  (N12)
    """
    changed = {i: network.layers[i] for i in penalties}
    return network.replace({i: replace(layer, params=(penalties[i].prox(layer.params[0], step), *layer.params[1:]))
                            for i, layer in changed.items()})                         # (N12)


def truncated_svd(w: Array, rank: int) -> tuple[Array, Array]:
    """The nearest matrix of a rank r to w (O, I), in two factors: u (O, r) with orthonormal columns, m (r, I); float64.

        W ≈ U_r M,   M = U_rᵀ W = diag(σ_1 … σ_r) V_rᵀ,   ‖W − U_r M‖²_F = Σ_{k>r} σ_k²            (N4)

    Raises InputError unless 1 ≤ rank ≤ min(O, I). Source: Eckart & Young 1936.
    """
    floats("truncated_svd", w=w)
    finite("truncated_svd", w=w)
    whole("truncated_svd", 1, min(w.shape), rank=rank)
    u, s, vt = linalg.svd(w.astype(np.float64), full_matrices=False)
    return u[:, :rank], s[:rank, None] * vt[:rank]                                    # (N4)


def rank_of_energy(w: Array, energy: float) -> int:
    """The smallest rank, at least 1, that holds a part of the energy, the sum of the squared singular values.

        r = min { r : Σ_{k≤r} σ_k² ≥ e Σ_k σ_k² }                                     (N5)

    Raises InputError unless 0 < energy ≤ 1. Source: Alvarez & Salzmann 2017 (squares or not is ours).
    """
    if not 0 < energy <= 1:
        raise InputError(f"rank_of_energy: energy is {energy}; it must be above 0 and at most 1")
    held = np.cumsum(singular_values(w) ** 2)
    return 1 + int((held[:-1] < energy * held[-1]).sum())                             # (N5)


def matrix_of(layer: Layer, form: str = "filters") -> Array:
    """The weights of a layer as the matrix that is factored, float64; kernels (F, kh, kw, C) as (F, kh·kw·C), or
    "separable" as (F·kw, kh·C). Raises InputError for another form, and for a convolution in groups."""
    one_of("low rank", "form", form, FORMS)
    if layer.settings.get("groups", 1) != 1:
        raise InputError("low rank: got a convolution in groups; only those whose filters read all channels have a form")
    w = layer.params[0]
    if form == "filters" or layer.row.dense:
        return matrix(layer)
    f, kh, kw, c = w.shape
    return np.asarray(w.transpose(0, 2, 1, 3).reshape(f * kw, kh * c), np.float64)    # (N7)


def split(layer: Layer, u: Array, m: Array, b: Array, form: str = "filters") -> tuple[Layer, Layer]:
    """Two layers in place of one, with factors of ``matrix_of``, u (O, r) and m (r, I), and bias b, in its dtype.

        W x + b = U (M x) + b                                                         (N6)
        y_f = Σ_j Σ_k u_fjk (Σ_ic m_kic x_p+i,q+j,c)                                  (N7)

    The first layer has no bias (zeros), so that what it gives in the padding of the second is zero, as it must be.
    """
    r, dtype = len(m), layer.params[0].dtype
    if layer.row.dense:
        first, second = (m, {}), (u, {})                                              # (N6)
    else:
        f, kh, kw, c = layer.params[0].shape
        steps = {name: pair("low rank", name, layer.settings[name], 0) for name in ("stride", "padding", "dilation")}
        rows = {name: [a, 0 if name == "padding" else 1] for name, (a, _) in steps.items()}
        columns = {name: [0 if name == "padding" else 1, a] for name, (_, a) in steps.items()}
        first, second = (m.reshape(r, kh, kw, c), layer.options), (u.reshape(f, 1, 1, r), {})
        if form == "separable":
            first, second = (m.reshape(r, kh, 1, c), rows), (u.reshape(f, 1, kw, r), columns)
    return (Layer(layer.op, (first[0].astype(dtype), np.zeros(r, dtype)), first[1]),
            Layer(layer.op, (second[0].astype(dtype), b.astype(dtype)), second[1]))


def with_pairs(network: Network, pairs: Mapping[int, tuple[Layer, Layer]]) -> Network:
    """The network with two layers in place of some; additions still add the activation that they did."""
    place = np.cumsum([0, *(1 + (i in pairs) for i in range(len(network.layers)))])     # of an activation
    layers = list[Layer]()
    for i, layer in enumerate(network.layers):
        if layer.back:
            layer = replace(layer, options={**layer.options, "back": int(place[i] - place[i - layer.back])})
        layers += pairs.get(i, (layer,))
    return Network(layers)


def factored(network: Network, ranks: Mapping[int, int] | None = None, *, energy: float = 0.99,
             form: str = "filters") -> Network:
    """The network with layers in two, by ``truncated_svd`` of their weights.

    ranks   {layer: rank}; without them every layer at the rank of an ``energy``, where it then has fewer weights
    form    of convolutions, see FORMS; those in groups stay as they are
    Raises InputError for other layers than those of weights, ranks that they cannot have, and an energy outside (0, 1].
    """
    known(network, ranks or {})
    pairs = {}
    for i in ranks or [i for i in network.weight_layers if network.layers[i].settings.get("groups", 1) == 1]:
        layer, w = network.layers[i], matrix_of(network.layers[i], form)
        rank = ranks[i] if ranks else rank_of_energy(w, energy)
        if ranks or rank * sum(w.shape) < w.size:
            pairs[i] = split(layer, *truncated_svd(w, rank), layer.params[1], form)
    return with_pairs(network, pairs)


def known(network: Network, ranks: Mapping[int, int]) -> None:
    """Raise InputError unless ranks are given for layers of weights alone."""
    if unknown := sorted({*ranks} - {*network.weight_layers}):
        raise InputError(f"low rank: got a rank for layer {unknown[0]}; layers of weights are {network.weight_layers}")


def output_space(statistics: Statistics, w: Array | None = None, ridge: float = RIDGE) -> tuple[Array, Array, Array]:
    """What the best maps of every rank are made of, and their errors.

        W = (Cᵀ + ρW₀)(A + ρI)⁻¹,   W (Cᵀ + ρW₀)ᵀ = V diag(κ) Vᵀ,   κ falling         (N8)
        e_r = 1 − (1/t) Σ_{k≤r} [κ_k + ρ ⟨Wᵀv_k, (W − 2W₀)ᵀv_k⟩]                      (N10)

    w       W₀ (m, d) that the ridge pulls to, None: 0;   ridge  ρ over the mean variance of the inputs, positive
    Returns V (m, k), W (m, d) and the relative errors (S4) of ranks 0 … k = min(m, d), (k + 1,).
    """
    positive("low rank", "ridge", ridge)
    d, m = statistics.C.shape
    rho, w0 = ridge * float(np.trace(statistics.A)) / d + 1e-300, np.zeros((m, d)) if w is None else w
    target = statistics.C + rho * w0.T
    ls = linalg.solve(statistics.A + rho * np.eye(d), target, assume_a="pos").T       # (N8)
    kappa, v = linalg.eigh(product(ls, target))
    kappa, v = kappa[::-1][:min(m, d)], v[:, ::-1][:, :min(m, d)]
    held = kappa + rho * (product(v.T, ls) * product(v.T, ls - 2 * w0)).sum(axis=1)
    t = float(statistics.t.sum())
    return v, ls, np.maximum(0, 1 - np.cumsum([0, *held]) / t) if t else np.zeros(len(held) + 1)      # (N10)


def output_low_rank(statistics: Statistics, rank: int, w: Array | None = None, ridge: float = RIDGE
                    ) -> tuple[Array, Array, Array]:
    """The best map of a rank in output space: reduced-rank regression.

        min_{rank W_r ≤ r} ‖Z − 1bᵀ − H W_rᵀ‖²_F + ρ ‖W_r − W₀‖²_F:   W_r = V_r V_rᵀ W      (N9)

    w, ridge    see ``output_space``. With the W₀ of the layer it is never worse, on the data of the statistics, than
                the truncated singular value decomposition of W₀ at that rank, whatever ρ > 0
    Returns u = V_r (m, r), V_rᵀ W (r, d) and the best bias b (m,). Raises InputError unless 1 ≤ rank ≤ min(m, d).
    Source: Izenman 1975.
    """
    v, ls, _ = output_space(statistics, w, ridge)
    whole("output_low_rank", 1, v.shape[1], rank=rank)
    u = np.ascontiguousarray(v[:, :rank])
    m = product(u.T, ls)                                                              # (N9)
    return u, m, statistics.intercept(product(u, m))


def low_rank(network: Network, batches: Callable[[], Iterable[Array]], ranks: Mapping[int, int], *,
             ridge: float = RIDGE) -> Network:
    """The network with layers in two, each the best of its rank in output space: what it reads is the student's, what
    it is to give the teacher's. From the first layer to the last; layers without a rank are refitted whole.

    batches    a function that gives an iterator over examples for every pass;   ranks  {layer: rank}
    Convolutions in groups stay as they are. Raises InputError as ``factored``.
    """
    known(network, ranks)
    student, pairs = network, {}
    for i in network.weight_layers:
        layer = network.layers[i]
        if i not in ranks and layer.settings.get("groups", 1) != 1:
            continue
        w = matrix_of(layer)
        statistics, = collect_statistics(student, network, batches, [i])
        u, m, b = output_low_rank(statistics, ranks.get(i, min(w.shape)), w, ridge)
        params = tuple(p.astype(layer.params[0].dtype) for p in (product(u, m).reshape(layer.params[0].shape), b))
        student = student.replace({i: replace(layer, params=params)})
        if i in ranks:
            pairs[i] = split(layer, u, m, b)
    return with_pairs(student, pairs)


def propose_ranks(network: Network, statistics: Mapping[int, Statistics], budget: float, kind: str = "macs"
                  ) -> dict[int, int]:
    """Ranks within a budget, by the marginal price (W10): the rise of the exact output error (N10) per saved size.

    statistics    {layer: its statistics}: of the layers that may be factored
    budget        of all layers of weights, in multiply-accumulates ("macs") or "weights"
    Returns {layer: rank} of those that are to be factored. Raises InputError where rank 1 is still too large.
    """
    one_of("propose_ranks", "kind", kind, ("macs", "weights"))
    known(network, dict.fromkeys(statistics, 1))
    sizes = shapes(network) if kind == "macs" and convolves(network) else []
    w = {i: matrix_of(network.layers[i]) for i in statistics}
    most = {i: (a.size - 1) // sum(a.shape) for i, a in w.items()}                    # the largest rank that saves
    places = {i: math.prod(sizes[i + 1][:-1]) if sizes else 1 for i in network.weight_layers}
    rest = sum(places[i] * network.layers[i].params[0].size for i in network.weight_layers if i not in w)
    errors = {i: output_space(statistics[i], a)[2] for i, a in w.items()}
    curves = [Curve(np.append(e[:most[i] + 1], e[-1]), fixed=not most[i]) for i, e in errors.items()]

    def size(chosen: Sequence[int]) -> float:
        return rest + sum(places[i] * min(r * sum(a.shape), a.size) if r <= most[i] else places[i] * a.size
                          for (i, a), r in zip(w.items(), chosen, strict=True))

    return {i: r for i, r in zip(w, allocate(curves, size, budget), strict=True) if r <= most[i]}
