"""The refit: from the first layer to the last, least squares on the student's activations. Chapter 10."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from npkd.core.types import Array
from npkd.nn.network import Network
from npkd.sparsity.collect import POSITIONS, collect_statistics, columns_of
from npkd.sparsity.statistics import Statistics, refit
from npkd.surgery.dependency import DependencyGroup

RIDGE = 1e-4
"""Of the least squares, relative to the mean variance of the inputs of a layer."""


@dataclass(frozen=True, eq=False)
class Refitted:
    """The refit of one layer.

    student     the network: layers up to this one have their new weights
    layer       index of the layer
    statistics  inputs of the layer in the student, outputs of the layer in the teacher
    w (O, d)    its weights, float64, zero for the columns of removed neurons
    """

    student: Network
    layer: int
    statistics: Statistics
    w: Array


def refits(teacher: Network, batches: Callable[[], Iterable[Array]], kept: Sequence[Array],
           groups: Sequence[DependencyGroup], *, ridge: float = RIDGE, positions: int = POSITIONS,
           first: Statistics | None = None) -> Iterator[Refitted]:
    """Fit each layer of the student to the teacher's pre-activations by least squares (W7), reading kept neurons alone.

    kept        indices of the neurons that stay, for each of the teacher's dependency ``groups``, inputs first
    first       statistics of the first layer, or None
    The weights of the other neurons become zero; ``npkd.surgery.removal.remove`` removes those neurons. Convolutions in
    groups stay as they are.
    """
    student, layers = teacher, [i for i in teacher.weight_layers if not teacher.layers[i].grouped]
    for i in layers:
        statistics = first if i == layers[0] else None
        statistics = statistics or collect_statistics(student, teacher, batches, [i], positions)[0]
        layer, k = teacher.layers[i], next(k for k, group in enumerate(groups) if i in group.consumers)
        w, b = refit(statistics, np.flatnonzero(np.isin(columns_of(layer, groups[k].units[i]), kept[k])), ridge)
        params = (w.reshape(layer.params[0].shape).astype(layer.params[0].dtype), b.astype(layer.params[1].dtype))
        student = student.replace({i: replace(student.layers[i], params=params)})
        yield Refitted(student, i, statistics, w)
