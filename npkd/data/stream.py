"""Passes over the examples that are learnt from: read here, or part by part by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.data.batches import Passes, client_of, parts_of
from npkd.data.cluster import summed
from npkd.data.sampling import Survey


def learnt_from(passes: Passes, surveyed: Survey, factor: float, rows: int,
                dtype: Any = np.float32) -> Callable[[], Iterator[Array]]:
    """Passes over the examples that are not held out, times ``factor``, in batches of ``rows``, the last one smaller.
    Raises InputError during a pass that gives other examples than the first."""
    def one_pass() -> Iterator[Array]:
        batch, filled = np.empty((rows, len(surveyed.key) - 1), dtype), 0
        for x, _, out in surveyed.parts(passes, "a later one"):
            x = x[~out]
            while len(x):
                part, x = x[:rows - filled], x[rows - filled:]
                np.multiply(part, dtype(factor), out=batch[filled:filled + len(part)])
                filled += len(part)
                if filled == rows:
                    yield batch
                    batch, filled = np.empty_like(batch), 0
        if filled:
            yield batch[:filled]

    return one_pass


@dataclass(frozen=True, eq=False)
class Stream:
    """Passes over the examples that are learnt from, see ``learnt_from``; called, it reads one in this process.

    changes     what every batch goes through, one after another, (n, I) -> (n, J)"""

    passes: Passes
    surveyed: Survey
    factor: float
    rows: int
    changes: tuple[Callable[[Array], Array], ...] = ()

    @property
    def client(self) -> Any:
        """The client whose workers add up what a pass gives, or None."""
        return client_of(self.passes)

    @property
    def examples(self) -> int:
        """How many examples a pass gives."""
        return self.surveyed.before(len(self.surveyed.counted))[0]

    def then(self, change: Callable[[Array], Array]) -> Stream:
        """The stream with another change at the end."""
        return replace(self, changes=(*self.changes, change))

    def __call__(self) -> Iterator[Array]:
        """The batches of one pass. Raises InputError where it gives other examples than the first."""
        for k, files in enumerate(parts_of(self.passes)):
            yield from self.part(k, files)

    def part(self, k: int, files: Sequence[int] | None) -> Iterator[Array]:
        """The batches of part k, which has these files."""
        passes = self.passes if files is None else self.passes.part(files)
        for x in learnt_from(passes, self.surveyed.part(k), self.factor, self.rows)():
            yield reduce(lambda x, change: change(x), self.changes, x)

    def summed(self, job: Callable[[Callable[[], Iterator[Array]], int], Any], add: Callable[[Any, Any], Any]) -> Any:
        """The sum of job(passes over a part, how many examples stand before it) by the workers, see cluster.summed."""
        return summed(self.client, partial(self.of_part, job), enumerate(parts_of(self.passes)), add)

    def of_part(self, job: Callable[[Callable[[], Iterator[Array]], int], Any], k: int, files: Sequence[int]) -> Any:
        """The summand of part k."""
        return job(partial(self.part, k, files), self.surveyed.before(k)[0])
