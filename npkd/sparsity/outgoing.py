"""Penalties on outgoing weights: what reads a neuron is one group, so no two groups overlap and the step is exact.

    Ω(θ) = Σ_l [ λ_k(l) c_l Σ_j ‖w_lj‖₂ + λ_w Σ_i |w_li| ]                              (P18)

w_lj are the weights through which layer l reads neuron j: a column of a dense layer, behind a flatten the columns of
all positions of a channel, of a convolution w[..., j]. λ_k: the strength of the kind that layer l reads, inputs,
neurons or channels; λ_w: that of single weights. A neuron all of whose outgoing weights are zero is read by nobody and
is removed exactly. Of kind "l1l2", Ω is the sum over the layers that read neurons or channels of the l1/l2 pseudo-norm
of these groups (P28), and c is none. Derivation: docs/book/7-proximal.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from npkd.core.types import Array, Batch, Objective
from npkd.core.validation import InputError, one_of, positive
from npkd.nn.cost import Geometry, of_widths
from npkd.nn.network import Network, convolves
from npkd.nn.training import Penalty
from npkd.sparsity.nuclear import Nuclear
from npkd.sparsity.penalties import L1, NeuronGroups, SparseGroups
from npkd.sparsity.pseudo_norm import L1L2
from npkd.surgery.dependency import DependencyGroup

KINDS = ("inputs", "neurons", "channels", "weights", "l1l2", "nuclear")
"""What a penalty makes zero, in the words of ``--penalty``; nuclear: singular values of every layer's weights."""
COSTS = ("macs", "size", "equal")
"""c of (P18): what the removal of a neuron saves in multiply-accumulates; √ of its number of outgoing weights; 1."""


def kind_of(network: Network, group: DependencyGroup) -> str:
    """What the neurons of a dependency group are called: "inputs", "neurons" or "channels"."""
    if not group.producers:
        return "inputs"
    return "channels" if any(network.layers[i].params[0].ndim == 4 for i in group.producers) else "neurons"


def group_costs(network: Network, groups: Sequence[DependencyGroup], kinds: Collection[str], *,
                geometry: Geometry | None = None, costs: str = "macs") -> list[float]:
    """c of one neuron of each dependency group, see COSTS; its mean over all groups of the ``kinds`` is 1."""
    one_of("penalty", "costs", costs, COSTS)
    widths = [*(group.width for group in groups), network.widths[-1]]
    if costs == "equal":
        return [1.0] * len(groups)
    fewer = [[w - (j == k) for j, w in enumerate(widths)] for k in range(len(groups))]
    c = [float(of_widths(widths, geometry).macs - of_widths(less, geometry).macs) for less in fewer]
    if costs == "size":
        c = [float(np.sqrt(sum(network.layers[i].params[0].size for i in g.consumers) / g.width)) for g in groups]
    chosen = [(c[k], group.width) for k, group in enumerate(groups) if kind_of(network, group) in kinds]
    mean = sum(each * width for each, width in chosen) / max(1, sum(width for _, width in chosen)) or 1.0
    return [each / mean for each in c]


def outgoing_penalties(network: Network, groups: Sequence[DependencyGroup], strengths: Mapping[str, float],
                       costs: Sequence[float] | None = None) -> dict[int, Penalty]:
    """(P18) as {layer: penalty on its weights}, for ``npkd.train``.

    groups      dependency groups of the network, see surgery.dependency
    strengths   λ by kind: {"inputs": 1e-3, "neurons": 1e-3}
    costs       c of one neuron of each group; None: ``group_costs``, what its removal saves in multiply-accumulates
    Raises InputError for kinds that are not known or that the network does not have, two on the same weights of which
    one is l1l2, a negative λ, and for networks whose inputs cannot be removed or whose channels are not read in the
    order of a flatten.
    """
    for name, lam in strengths.items():
        one_of("penalty", "kind", name, KINDS)
        positive("penalty", name, lam, zero=True)
    if [*strengths] == ["nuclear"]:
        return {i: Nuclear(strengths["nuclear"]) for i in network.weight_layers}
    kinds = [kind_of(network, group) for group in groups]
    missing = [name for name in strengths if name not in ("weights", "l1l2", *kinds)]
    if missing or not strengths:
        raise InputError(f"penalty: got {', '.join(missing) or 'nothing'}; this network has "
                         f"{', '.join(dict.fromkeys(kinds))} and weights")
    if "inputs" in strengths and (groups[0].fixed or convolves(network)):
        raise InputError("penalty: got inputs; those of this network cannot be removed: leave them out")
    if "l1l2" in strengths and (beside := sorted({"neurons", "channels", "weights"} & {*strengths})):
        raise InputError(f"penalty: got l1l2 beside {', '.join(beside)}, which are on the same weights; give one")
    cost = group_costs(network, groups, strengths) if costs is None else costs
    penalties: dict[int, Penalty] = {}
    for k, group in enumerate(groups):
        for i in group.consumers:
            of_groups, of_weights = strengths.get(kinds[k], 0.0), strengths.get("weights", 0.0)
            axis, channels = axis_of(network, group, i)
            removable = kinds[k] in strengths and not group.fixed
            if "l1l2" in strengths and kinds[k] != "inputs":
                penalties[i] = L1L2(strengths["l1l2"], axis, channels)                                          # (P28)
            elif not of_weights and removable:
                penalties[i] = NeuronGroups(of_groups, axis, float(cost[k]), channels)                          # (P18)
            elif removable:
                both = of_groups + of_weights
                penalties[i] = SparseGroups(both, axis, of_weights / (both or 1.0), float(cost[k]), channels)   # (P18)
            elif of_weights:
                penalties[i] = L1(of_weights)                                                                   # (P18)
    return penalties


def axis_of(network: Network, group: DependencyGroup, layer: int) -> tuple[int, int]:
    """(axis, channels) of NeuronGroups for the weights through which a layer reads the neurons of a group."""
    unit = group.units[layer]
    if network.layers[layer].params[0].ndim == 4 or np.array_equal(unit, np.arange(group.width)):
        return network.layers[layer].params[0].ndim - 1, 0
    if np.array_equal(unit, np.arange(len(unit)) % group.width):
        return 1, group.width
    raise InputError(f"penalty: layer {layer} reads its neurons through a select or an unflatten; fold that first")


@dataclass(frozen=True, eq=False)
class Support:
    """The indicator of weights that are zero wherever ``mask`` is: its proximal step sets them to zero."""

    mask: Array

    def value(self, w: Array) -> float:
        """0 where all of these weights are zero, else ∞."""
        return float("inf") if w[~self.mask].any() else 0.0

    def prox(self, v: Array, step: float | Array) -> Array:
        """v where ``mask`` is, else 0."""
        return np.where(self.mask, v, v.dtype.type(0))


def alive(network: Network, groups: Sequence[DependencyGroup]) -> list[int]:
    """Neurons of each dependency group that some layer reads through a weight that is not zero, or that are fixed."""
    return [int(reads.sum()) for reads in read(network, groups)]


def read(network: Network, groups: Sequence[DependencyGroup]) -> list[Array]:
    """Which neurons of each dependency group ``alive`` counts: bool (width,)."""
    result = []
    for group in groups:
        reads = np.full(group.width, group.fixed)
        for i in () if group.fixed else group.consumers:
            w = network.layers[i].params[0]
            reads |= np.bincount(group.units[i], w.any(axis=tuple(range(w.ndim - 1))), group.width) > 0
        result.append(reads)
    return result


def stationarity(network: Network, data: Batch, objective: Objective, penalties: Mapping[int, Penalty], *,
                 weight_decay: float = 0.0, step: float = 1.0, rows: int = 100) -> tuple[float, float]:
    """How far all parameters θ are from a stationary point, and the objective there.

        ρ(θ) = ‖θ − prox_{sΩ}(θ − s ∇F(θ))‖₂ / s,   F(θ) = L(θ) + ½ d ‖θ‖²               (P19)

    data          arrays by name, as ``train`` takes them: L is the mean over all of their examples
    weight_decay  d of (T1);   step  s
    Returns (ρ, F + Ω), in float64, as the network predicts: without dropout, batch norm with its running moments.
    """
    network, n, value = network.astype(np.float64), len(data["x"]), 0.0
    total = [tuple(weight_decay * p for p in layer.params) for layer in network.layers]
    for start in range(0, n, rows):
        batch = {name: a[start:start + rows] for name, a in data.items()}
        batch["x"] = batch["x"].astype(np.float64)
        part = len(batch["x"]) / n
        activations, backward = network(batch["x"])
        loss, sensitivities = objective(activations, batch)
        value += part * loss
        _, gradients = backward({i: part * d for i, d in sensitivities.items()})
        total = [tuple(a + b for a, b in zip(*pair, strict=True)) for pair in zip(total, gradients, strict=True)]
    square = 0.0
    for i, (layer, gradient) in enumerate(zip(network.layers, total, strict=True)):
        for nth, (p, g) in enumerate(zip(layer.params, gradient, strict=True)):
            moved: Array = p - step * g
            if nth == 0 and i in penalties:
                moved = penalties[i].prox(moved, step)
            square += float(np.square(p - moved).sum())
            value += weight_decay / 2 * float(np.square(p).sum())
    value += sum(penalty.value(network.layers[i].params[0]) for i, penalty in penalties.items())
    return float(np.sqrt(square)) / step, value                                                                 # (P19)
