"""Schemes: who teaches whom, when. Each is a short function on the one training loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from npkd.core.types import Batch
from npkd.distillation.objective import Terms
from npkd.distillation.teacher import teacher_of
from npkd.distillation.transfer import Transfer
from npkd.nn.network import Network
from npkd.nn.optimisers import Optimiser
from npkd.nn.training import Record, TrainingSettings, train


def offline(student: Network, teacher: Network, data: Batch, terms: Terms, *, optimiser: Optimiser | None = None,
            settings: TrainingSettings | None = None, rng: np.random.Generator) -> Iterator[Record]:
    """A student learns from a teacher that does not change, as ``train`` yields it: a Record an epoch.

    data        "x" and, where a term reads them, "y" and other arrays; the answers of the teacher are added
    settings    with an augmentation, the teacher answers to what it makes of the examples; without, it answers once
    Raises InputError as ``train`` does, AssertionError if the teacher's bytes are not what they were before.
    Source: Hinton, Vinyals & Dean 2015; Gou et al. 2021, section 3.1.
    """
    settings, answers = settings or TrainingSettings(), teacher_of(teacher, terms)
    before, change, show = answers.digest, settings.augmentation, Transfer(answers)

    def taught(batch: Batch, rng: np.random.Generator) -> Batch:
        changed = change(batch, rng) if change else batch
        return {**changed, **answers(changed["x"])} if change else show(batch, rng)

    refresh = settings.refresh if change else settings.epochs
    yield from train(student, data, terms, optimiser=optimiser, rng=rng,
                     settings=replace(settings, augmentation=taught, refresh=refresh))
    assert answers.digest == before, "offline: the teacher was changed"
