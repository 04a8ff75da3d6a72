"""A folder of .npz shards as the data of a run: statistics of all examples, samples for all else."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from npkd.cli.settings import Settings
from npkd.core.progress import Progress
from npkd.core.validation import InputError
from npkd.data.batches import ROWS, passes_over
from npkd.data.datasets import Data, from_arrays
from npkd.data.datasets import load as load_data
from npkd.data.sampling import samples, survey
from npkd.data.shards import Shards
from npkd.data.stream import Stream
from npkd.interop.extras import need
from npkd.pipeline.recipe import SAMPLE

HELD_OUT = 0.2
"""Fraction of the examples that is held out; half of its sample is the validation part, half the test part."""


def loaded(settings: Settings, seed: int, progress: Progress | None = None) -> Data:
    """The data of a run: by name, of a file or a folder, see datasets.load, or of a folder of shards with labels.
    Raises InputError as these do, and for a scheduler with anything else than shards."""
    path = Path(settings.data)
    if path.is_dir() and any(path.glob("*.npz")):
        return of_shards(settings, seed)
    if settings.scheduler is not None:
        raise InputError(f"settings: got --scheduler, and data is {settings.data!r:.60}; its workers read a folder of "
                         ".npz shards")
    return load_data(settings.data, seed=seed, progress=progress, label=settings.label)


def of_shards(settings: Settings, seed: int) -> Data:
    """The data of a folder of shards with labels: a stream of what is learnt from, and samples of all parts, which are
    drawn by hashes, so that copies of an example are in one part."""
    shards = Shards(settings.data, client=None if settings.scheduler is None else connected(settings.scheduler))
    if not shards.labelled:
        raise InputError(f"data: the shards of {settings.data} have no labels y, which errors are measured with; add "
                         "them, or give the folder to npkd.compress in Python")
    with ExitStack() as stack:
        passes = passes_over(shards, None, 10 ** 9, None, stack)
    found = survey(passes, HELD_OUT, seed)
    part = samples(passes, found, SAMPLE, round(HELD_OUT * SAMPLE), seed)
    half = len(part.x_held) // 2
    x, x_held = (a.reshape(len(a), *shards.shape) for a in (part.x, part.x_held))
    data = from_arrays(Path(settings.data).resolve().name, [x, part.y, x_held[half:], part.y_held[half:]], seed=seed)
    y = part.y_held[:half] if data.targets is None else data.targets.apply(part.y_held[:half])
    return replace(data, x_validation=data.scaling.apply(x_held[:half]), y_validation=np.asarray(y),
                   stream=Stream(passes, found, 1.0, ROWS, (data.scaling.apply,)))


def connected(address: str) -> Any:
    """A client of the scheduler at an address. Raises InputError where there is none, and without dask."""
    distributed = need("distributed", "dask", "compress --scheduler")
    try:
        return distributed.Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise InputError(f"--scheduler: {address!r:.60} does not answer ({error!s:.80}); give the address that dask "
                         "scheduler prints, such as tcp://127.0.0.1:8786") from error
