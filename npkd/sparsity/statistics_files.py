"""Statistics in a file, so that parts that were collected by other processes or machines can be added."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npkd.core.files import VERSION, NewPath, read_npz, write_npz
from npkd.core.validation import InputError
from npkd.sparsity.statistics import Statistics, merge

ARRAYS = ("mean_h", "mean_z", "A", "C", "t")


def save(path: NewPath, statistics: Sequence[Statistics]) -> None:
    """Write the statistics of layers in their order; the same numbers give the same bytes. Raises as ``write_npz``."""
    arrays = {f"{i}.{name}": getattr(s, name) for i, s in enumerate(statistics) for name in ARRAYS}
    write_npz(path, {"format": "npkd-statistics", "version": VERSION, "counts": [s.count for s in statistics]}, arrays)


def load(path: NewPath) -> list[Statistics]:
    """Read what ``save`` wrote. Raises InputError for other files, and for arrays that break a law of moments, (S5)."""
    header, arrays = read_npz(path, "statistics")
    layers = []
    try:
        if len(arrays) != len(ARRAYS) * len(header["counts"]):
            raise ValueError(f"{len(arrays)} arrays of {len(header['counts'])} layers")
        for i, count in enumerate(header["counts"]):
            mean_h, mean_z, A, C, t = (arrays[f"{i}.{name}"] for name in ARRAYS)
            d, m = len(mean_h), len(mean_z)
            shapes = [a.shape for a in (mean_h, mean_z, A, C, t)]
            if shapes != [(d,), (m,), (d, d), (d, m), (m,)] or type(count) is not int or count < 1:
                raise ValueError(f"count {count}, shapes {shapes}")
            if any(a.dtype != np.float64 or not np.isfinite(a).all() for a in (mean_h, mean_z, A, C, t)):
                raise ValueError(f"the arrays of layer {i} are not finite float64")
            layer = Statistics(count, mean_h, mean_z, A, C, t)
            if flaw := layer.flaw():
                raise ValueError(f"no data have the numbers of layer {i}: {flaw}")
            layers.append(layer)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"read: {path} does not hold statistics ({error!r:.120}); give one npkd saved") from error
    return layers


def merge_files(paths: Sequence[NewPath]) -> list[Statistics]:
    """The statistics of all files together, layer by layer. Raises InputError where they do not fit one another."""
    parts = [load(path) for path in paths]
    if len({len(one) for one in parts}) != 1:
        raise InputError(f"merge: files hold {[len(one) for one in parts]} layers; give at least one, all with as many")
    return [merge(list(layer)) for layer in zip(*parts, strict=True)]
