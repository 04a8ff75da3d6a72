"""Low rank: two layers in place of one, by the singular values of its weights (``factored``, after a training with
nuclear norms) or of what it puts out (``low_rank``). Derivation: docs/book/22-low-rank.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import linalg

from npkd.core.linalg import product
from npkd.core.types import Array
from npkd.core.validation import InputError, floats, one_of, positive, whole
from npkd.nn.convolution import pair
from npkd.nn.cost import shapes
from npkd.nn.network import Layer, Network, convolves
from npkd.nn.training import Penalty
from npkd.sparsity.allocation import Curve, allocate
from npkd.sparsity.collect import collect_statistics
from npkd.sparsity.nuclear import singular_values
from npkd.sparsity.refitting import RIDGE
from npkd.sparsity.statistics import Statistics

FORMS = ("filters", "separable")        # a convolution kh×kw as r filters kh×kw and then 1×1, or as kh×1 and then 1×kw


def epoch_step(network: Network, in_turn: Sequence[Mapping[int, Penalty]], step: float) -> Network:
    """The network after proximal steps on its weights, of each of ``in_turn`` after the other, which is near to that of
    their sum where the step is small. Once an epoch of n updates with step size s, ``step`` is n s, (N12). Source:
    Alvarez & Salzmann 2017, the nuclear norm first."""
    for i, penalty in (each for penalties in in_turn for each in penalties.items()):
        w, *others = network.layers[i].params
        network = network.replace({i: replace(network.layers[i], params=(penalty.prox(w, step), *others))})      # (N11)
    return network


def truncated_svd(w: Array, rank: int) -> tuple[Array, Array]:
    """The nearest matrix of rank r to floats w (O, I) in two factors, U_r (O, r) and diag(σ_1 … σ_r) V_rᵀ (r, I), (N4),
    float64. Raises InputError unless 1 ≤ rank ≤ min(O, I). Source: Eckart & Young 1936."""
    floats("truncated_svd", w=w)
    whole("truncated_svd", 1, min(w.shape), rank=rank)
    u, s, vt = linalg.svd(w.astype(np.float64), full_matrices=False)
    return np.ascontiguousarray(u[:, :rank]), s[:rank, None] * vt[:rank]              # (N4)


def rank_of_energy(w: Array, energy: float) -> int:
    """The smallest r ≥ 1 with Σ_{k≤r} σ_k² ≥ e Σ_k σ_k² (N5), σ the singular values of w; e above 0 and at most 1."""
    if not 0 < energy <= 1:
        raise InputError(f"rank_of_energy: energy is {energy}; it must be above 0 and at most 1")
    held = np.cumsum(singular_values(w) ** 2)
    return 1 + int((held[:-1] < energy * held[-1]).sum())                             # (N5)


def divisible(network: Network) -> list[int]:
    """Indices of the layers of weights but for convolutions in groups."""
    return [i for i in network.weight_layers if network.layers[i].settings.get("groups", 1) == 1]


def matrix_of(network: Network, i: int, form: str = "filters") -> Array:
    """The weights of layer i as the matrix that is factored, float64: of kernels (F, kh, kw, C) it is (F, kh·kw·C), or
    "separable" (F·kw, kh·C). Raises InputError for a form or a layer that is none."""
    one_of("low rank", "form", form, FORMS)
    if i not in divisible(network):
        raise InputError(f"low rank: got layer {i}; layers of weights, not in groups, are {divisible(network)}")
    w = network.layers[i].params[0].astype(np.float64)
    w, rows = (w.swapaxes(1, 2), len(w) * w.shape[2]) if w.ndim == 4 and form == "separable" else (w, len(w))
    return w.reshape(rows, -1)                                                        # (N7)


def split(layer: Layer, u: Array, m: Array, b: Array, form: str = "filters") -> tuple[Layer, Layer]:
    """Two layers in place of one, of factors u (O, r), m (r, I) of ``matrix_of`` and the bias b, in its dtype.

        W x + b = U (M x) + b                                                         (N6)

    (N7) is separable: in the padding of the second layer the first one gives its bias, 0, as it must. Columns of U and
    rows of M share their norms: a training of both would else be as fast as the larger one allows.
    """
    share = np.sqrt(np.linalg.norm(m, axis=1) / np.maximum(np.linalg.norm(u, axis=0), 1e-300))
    share[share == 0] = 1.0
    u, m = u * share, m / share[:, None]
    r, shape, first, second = len(m), layer.params[0].shape, dict[str, Any](layer.options), dict[str, Any]()
    sides = [(r, *shape[1:]), (shape[0], *[1] * (len(shape) - 2), r)]
    if form == "separable" and len(shape) == 4:
        sides = [(r, shape[1], 1, shape[3]), (shape[0], 1, shape[2], r)]
        for name, none in (("stride", 1), ("padding", 0), ("dilation", 1)):
            rows, columns = pair("low rank", name, layer.settings[name], 0)
            first[name], second[name] = [rows, none], [none, columns]
    kernels = [a.reshape(s).astype(layer.params[0].dtype) for a, s in zip((m, u), sides, strict=True)]
    return (Layer(layer.op, (kernels[0], np.zeros(r, kernels[0].dtype)), first),      # (N6)
            Layer(layer.op, (kernels[1], b.astype(kernels[0].dtype)), second))


def with_pairs(network: Network, pairs: Mapping[int, tuple[Layer, Layer]]) -> Network:
    """The network with two layers in place of some; additions still add the activation that they did."""
    place, layers = np.cumsum([0, *(1 + (i in pairs) for i in range(len(network.layers)))]), list[Layer]()
    for i, layer in enumerate(network.layers):
        back = {"back": int(place[i] - place[i - layer.back])} if layer.back else {}
        layers += pairs.get(i, (replace(layer, options={**layer.options, **back}),))
    return Network(layers)


def ranks_of(network: Network, energy: float = 0.99, form: str = "filters") -> dict[int, int]:
    """{layer: the rank of an energy (N5)} of the layers that have fewer weights in two."""
    w = {i: matrix_of(network, i, form) for i in divisible(network)}
    return {i: r for i, a in w.items() if (r := rank_of_energy(a, energy)) * sum(a.shape) < a.size}


def factored(network: Network, ranks: Mapping[int, int] | None = None, *, energy: float = 0.99,
             form: str = "filters") -> Network:
    """The network with layers in two by ``truncated_svd``: those of ``ranks`` {layer: rank}, or of ``ranks_of``;
    ``form``: of convolutions, see FORMS. Raises InputError for what are no layers of weights, or no ranks of theirs."""
    ranks = ranks_of(network, energy, form) if ranks is None else ranks
    factors = {i: truncated_svd(matrix_of(network, i, form), r) for i, r in ranks.items()}
    return with_pairs(network, {i: split(network.layers[i], *both, network.layers[i].params[1], form)
                                for i, both in factors.items()})


def output_space(statistics: Statistics, w: Array | None = None, ridge: float = RIDGE) -> tuple[Array, Array, Array]:
    """V (m, k), k = min(m, d), and W (m, d), of which the best maps are made, and their errors (S4) at ranks 0 … k.

        W = (Cᵀ + ρW₀)(A + ρI)⁻¹,   W (C + ρW₀ᵀ) = V diag(κ) Vᵀ,   κ falling          (N8)
        e_r = 1 − (1/t) Σ_{k≤r} [κ_k + ρ ⟨Wᵀv_k, (W − 2W₀)ᵀv_k⟩]                      (N10)

    w    W₀ (m, d), to which the ridge pulls, None: 0;   ridge    ρ over the mean of the diagonal of A, positive
    """
    positive("low rank", "ridge", ridge)
    (d, m), t = statistics.C.shape, float(statistics.t.sum())
    rho, w0 = ridge * float(np.trace(statistics.A)) / d + 1e-300, np.zeros((m, d)) if w is None else w
    target = statistics.C + rho * w0.T
    ls = linalg.solve(statistics.A + rho * np.eye(d), target, assume_a="pos").T       # (N8)
    kappa, v = (a[..., ::-1][..., :min(m, d)] for a in linalg.eigh(product(ls, target)))
    held = kappa + rho * (product(v.T, ls) * product(v.T, ls - 2 * w0)).sum(axis=1)
    return v, ls, np.maximum(0, 1 - np.cumsum([0, *held]) / t) if t else np.zeros(len(held) + 1)             # (N10)


def output_low_rank(statistics: Statistics, rank: int, w: Array | None = None, ridge: float = RIDGE
                    ) -> tuple[Array, Array, Array]:
    """The best map of a rank in output space: V_r (m, r), V_rᵀW (r, d) and the best bias (m,), see ``output_space``.

        min_{rank W_r ≤ r} ‖Z − HW_rᵀ‖²_F + ρ ‖W_r − W₀‖²_F:   W_r = V_r V_rᵀ W       (N9)

    On the data of the statistics it is never worse than ``truncated_svd`` of W₀. Raises InputError unless
    1 ≤ rank ≤ min(m, d). Source: Izenman 1975.
    """
    v, ls, _ = output_space(statistics, w, ridge)
    whole("output_low_rank", 1, v.shape[1], rank=rank)
    u, m = v[:, :rank], product(v[:, :rank].T, ls)                                    # (N9)
    return u, m, statistics.intercept(product(u, m))


def low_rank(network: Network, batches: Callable[[], Iterable[Array]], ranks: Mapping[int, int], *,
             ridge: float = RIDGE) -> Network:
    """The network with layers in two, from the first to the last each the best of its rank in output space, (N9), that
    reads what the student feeds it and is to give what it gave. ``ranks`` {layer: rank}, the others are refitted whole;
    ``batches()``: a pass over examples. Raises InputError as ``factored``."""
    student, pairs = network, dict[int, tuple[Layer, Layer]]()
    for i in sorted({*divisible(network), *ranks}):
        w, layer = matrix_of(network, i), network.layers[i]
        statistics, = collect_statistics(student, network, batches, [i])
        u, m, b = output_low_rank(statistics, ranks.get(i, min(w.shape)), w, ridge)
        params = (product(u, m).reshape(layer.params[0].shape), b)
        student = student.replace({i: replace(layer, params=tuple(p.astype(layer.params[0].dtype) for p in params))})
        pairs |= {i: split(layer, u, m, b)} if i in ranks else {}
    return with_pairs(student, pairs)


def propose_ranks(network: Network, statistics: Mapping[int, Statistics], budget: float, kind: str = "macs"
                  ) -> dict[int, int]:
    """{layer: rank} of the layers that are to be factored, by the marginal price (W10): the rise of the exact output
    error (N10) per saved size. ``statistics`` {layer: its statistics}; ``budget`` of all layers of weights, ``kind``
    "macs" or "weights". Raises InputError where ranks of 1 are still too large."""
    one_of("propose_ranks", "kind", kind, ("macs", "weights"))
    w, maps = [matrix_of(network, i) for i in statistics], kind == "macs" and convolves(network) and shapes(network)
    places = {i: math.prod(maps[i + 1][:-1]) if maps else 1 for i in network.weight_layers}
    rest = sum(n * network.layers[i].params[0].size for i, n in places.items() if i not in statistics)
    most = [(a.size - 1) // sum(a.shape) for a in w]              # the largest rank that saves; one more: left whole
    curves = [Curve(np.append((e := output_space(s, a)[2])[:n + 1], e[-1]), fixed=not n)
              for s, a, n in zip(statistics.values(), w, most, strict=True)]
    chosen = allocate(curves, lambda ranks: rest + sum(
        places[i] * (r * sum(a.shape) if r <= n else a.size)
        for i, a, r, n in zip(statistics, w, ranks, most, strict=True)), budget)
    return {i: r for i, r, n in zip(statistics, chosen, most, strict=True) if r <= n}
