"""The refit: from the first layer to the last, least squares on the student's own activations, whoever chose the
neurons that stay.

Derivation: docs/6-layer-wise.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from npkd.core.types import Array
from npkd.nn.network import Network
from npkd.sparsity.collect import POSITIONS, collect_statistics, columns_of, readers
from npkd.sparsity.least_squares import refit
from npkd.sparsity.statistics import Statistics
from npkd.surgery.dependency import dependency_groups

RIDGE = 1e-4
"""Of the least squares, relative to the mean variance of what a layer reads."""


@dataclass(frozen=True, eq=False)
class Refitted:
    """One layer, refitted.

    student     the network so far: this layer and those before it have their new weights
    layer       index of the layer
    statistics  of what the student feeds it, against what it gives in the teacher
    w (O, d)    its weights, float64, zero where it reads what does not stay
    """

    student: Network
    layer: int
    statistics: Statistics
    w: Array


def refits(
    teacher: Network, batches: Callable[[], Iterable[Array]], kept: Sequence[Array], *, ridge: float = RIDGE,
    positions: int = POSITIONS, first: Statistics | None = None,
) -> Iterator[Refitted]:
    """Layer after layer of the student: the teacher's pre-activations by least squares (W7), from the neurons that stay
    alone.

    kept        of each dependency group, inputs first, indices of the neurons that stay;   ``first``  statistics of the
                first layer, if they are known
    The neurons that go are still there, but nobody reads them: to cut them out is the business of
    npkd.surgery.removal.
    """
    groups, layers, student = dependency_groups(teacher), readers(teacher), teacher
    for i in layers:
        # the teacher's activations are the student's own until the first layer has changed
        statistics = (
            first if first is not None and i == layers[0]
            else collect_statistics(student, teacher, batches, [i], positions)[0]
        )
        layer, k = teacher.layers[i], next(k for k, group in enumerate(groups) if i in group.consumers)
        w, b = refit(statistics, np.flatnonzero(np.isin(columns_of(layer, groups[k].units[i]), kept[k])), ridge)
        params = (w.reshape(layer.params[0].shape).astype(layer.params[0].dtype), b.astype(layer.params[1].dtype))
        student = student.replace({i: replace(student.layers[i], params=params)})
        yield Refitted(student, i, statistics, w)
