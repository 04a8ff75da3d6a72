"""Removal by reconstruction: from the first layer to the last, each layer chooses the neurons it goes on reading, and
its weights for them.

The frame that OBS, LASSO channel selection, ThiNet and Net-Trim share; what they differ in is the choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from npkd.compression.scores import cut
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.batches import ROWS
from npkd.nn.fast.workspace import Workspace
from npkd.nn.network import Network, convolves
from npkd.sparsity.statistics import Statistics, merge
from npkd.surgery.removal import dependency_groups

Choice = tuple[Array, Array, Array]
"""kept (k,) indices of the inputs of a layer, ascending;   w (m, d) float64, zero outside of them;   b (m,)."""

Rule = Callable[[Statistics, Array, Array, int], Choice]
"""``rule(statistics, w, b, count)``: statistics of what a layer reads against what it gave before; its weights; how
many it may read."""

Choose = Callable[[Network, int, int], Choice]
"""``choose(student, layer, count)``: for the dense layer at an index of a student whose layers before it have chosen
already."""


def statistics(student: Network, teacher: Network, x: Array, layer: int) -> Statistics:
    """What the student feeds its dense layer ``layer``, against what that layer gives in the teacher, over x (N, I)."""
    own, theirs = Workspace(student, min(ROWS, len(x))), Workspace(teacher, min(ROWS, len(x)))
    found: Statistics | None = None
    for i in range(0, len(x), ROWS):
        rows = np.ascontiguousarray(x[i:i + ROWS])
        part = Statistics.of(own.forward(rows)[layer], theirs.forward(rows)[layer + 1])
        found = part if found is None else merge([found, part])
    assert found is not None
    return found


def layer_by_layer(network: Network, widths: Sequence[int], choose: Choose) -> Network:
    """The network with so many neurons at each dependency group (inputs first): a layer that may go on reading
    everything is left as it is.

    Raises InputError for convolutions, whose channels are read through several columns each.
    """
    if convolves(network):
        raise InputError("experiments: the network has convolutions; obs, lasso, thinet and net-trim choose neurons of "
                         "perceptrons alone")
    student, kept = network, list[Array]()
    for group, count in zip(dependency_groups(network), widths, strict=True):
        layer = student.layers[group.consumer]
        d = layer.params[0].shape[1]
        if count >= d:
            kept.append(np.arange(d))
            continue
        left, w, b = choose(student, group.consumer, count)
        dtype = layer.params[0].dtype
        student = student.replace({group.consumer: replace(layer, params=(w.astype(dtype), b.astype(dtype)))})
        kept.append(left)
    return cut(student, kept)


def by_rule(rule: Rule) -> Callable[[Network, Array, Array, Sequence[int], np.random.Generator], Network]:
    """A removal from a rule on statistics, which needs neither labels nor chance."""
    def removal(network: Network, x: Array, y: Array, widths: Sequence[int], rng: np.random.Generator) -> Network:
        def choose(student: Network, layer: int, count: int) -> Choice:
            w, b = student.layers[layer].params
            return rule(statistics(student, network, x, layer), w.astype(np.float64), b.astype(np.float64), count)

        return layer_by_layer(network, widths, choose)

    return removal
