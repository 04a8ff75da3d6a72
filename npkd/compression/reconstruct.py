"""Removal by reconstruction: from first to last, each layer chooses the neurons it goes on reading, and their weights.

OBS, LASSO channel selection, ThiNet and Net-Trim share this loop; they differ in the choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from npkd.compression.scores import Removal, cut
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.batches import batches_of
from npkd.nn.network import Network, convolves
from npkd.sparsity.collect import collect_statistics
from npkd.sparsity.statistics import Statistics
from npkd.surgery.dependency import dependency_groups

Choice = tuple[Array, Array, Array]
"""kept (k,) indices of the inputs of a layer, ascending;   w (m, d) float64, zero outside of them;   b (m,)."""

Rule = Callable[[Statistics, Array, Array, int], Choice]
"""``rule(statistics, w, b, count)``: of what a layer reads against what it gave; its weights; how many it may read."""

Choose = Callable[[Network, int, int], Choice]
"""``choose(student, layer, count)``: for a dense layer of a student whose layers before it have chosen already."""


def statistics(student: Network, teacher: Network, x: Array, layer: int) -> Statistics:
    """What the student feeds its dense layer ``layer``, against what that layer gives in the teacher, over x (N, I)."""
    return collect_statistics(student, teacher, batches_of(x), [layer])[0]


def layer_by_layer(network: Network, widths: Sequence[int], choose: Choose) -> Network:
    """The network with so many neurons at each dependency group, inputs first; a layer that loses none stays as it is.

    Raises InputError for convolutions, whose channels are read through several columns each.
    """
    if convolves(network):
        raise InputError("experiments: the network has convolutions; obs, lasso, thinet and net-trim choose neurons of "
                         "perceptrons alone")
    student, kept = network, list[Array]()
    for group, count in zip(dependency_groups(network), widths, strict=True):
        kept.append(np.arange(group.width))
        if count < group.width:
            layer = student.layers[group.consumer]
            kept[-1], *params = choose(student, group.consumer, count)
            cast = tuple(p.astype(layer.params[0].dtype) for p in params)
            student = student.replace({group.consumer: replace(layer, params=cast)})
    return cut(student, kept)


def by_rule(rule: Rule) -> Removal:
    """A removal from a rule on statistics, which needs neither labels nor chance."""
    def removal(network: Network, x: Array, y: Array, widths: Sequence[int], rng: np.random.Generator) -> Network:
        def choose(student: Network, layer: int, count: int) -> Choice:
            w, b = student.layers[layer].params
            return rule(statistics(student, network, x, layer), w.astype(np.float64), b.astype(np.float64), count)

        return layer_by_layer(network, widths, choose)

    return removal
