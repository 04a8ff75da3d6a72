"""What an experiment is: settings to run, bars to hold, published results to stand beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from npkd.experiments.published import Published
from npkd.experiments.setting import Setting, TeacherSetting
from npkd.pipeline.recipe import Recipe
from npkd.pipeline.recipe import untrained as without_training

SCRATCH = ("scratch", "scratch with distillation")
"""Methods whose network never was a large one."""


@dataclass(frozen=True)
class Record:
    """A record to beat: at most ``bar`` % test error in the mean over seeds, with at most ``macs`` of a ``kind``, see
    Setting.

    name        what it is;   teacher  a key of the experiment's TEACHERS;   distil_from  whether a better network's
                answers are learnt
    """

    name: str
    teacher: str
    macs: int
    bar: float
    recipe: Recipe
    keep_inputs: bool = False
    kind: str = "macs"
    distil_from: bool = False

    def run(self, taught: TeacherSetting, distil_from: TeacherSetting | None = None) -> Setting:
        """The run that is held against it; ``distil_from`` is what it learns from where the record says so."""
        return Setting(taught, "ours", self.macs, self.recipe, self.keep_inputs, kind=self.kind,
                       distil_from=distil_from if self.distil_from else None)


class Experiment(Protocol):
    """A module with these names is an experiment.

    SEEDS           of the comparison, RECORD_SEEDS of the records: 0, 1, …, where nobody says how many
    TEACHER_BARS    kinds of teachers that have a bar of their own, and it: % test error in the mean
    PUBLISHED       what others report
    """

    SEEDS: int
    RECORD_SEEDS: int
    TEACHER_BARS: Mapping[str, float]
    PUBLISHED: Sequence[Published]

    def comparison(self, seeds: int) -> list[Setting]:
        """Every method, budget and seed."""
        ...

    def quick(self, seeds: int) -> list[Setting]:
        """A few minutes: to see that it runs, not who wins."""
        ...

    def post_training(self, seeds: int) -> list[Setting]:
        """Methods without any training behind the cut."""
        ...

    def records(self, seeds: int) -> list[tuple[Record, list[Setting]]]:
        """Every record with its run for each seed."""
        ...


def against(
    taught: TeacherSetting, macs: int, recipe: Recipe, names: Sequence[str], short: Sequence[str],
    following: Sequence[str]
) -> list[Setting]:
    """Ours, and the named methods on the same teacher with as many multiply-accumulates and epochs; ``short`` ones also
    with one removal, ``following`` ones also with our widths.
    """
    first = Setting(taught, "ours", macs, recipe)
    once = replace(recipe, rounds=1, round_epochs=0, epochs=first.epochs)

    def other(name: str, follow: Setting | None = None) -> Setting:
        return Setting(taught, name, macs, once if name in SCRATCH else recipe, widths_of=follow)

    return [first, *map(other, names), *(Setting(taught, name, macs, once) for name in short),
            *(other(name, first) for name in following)]


def untrained(taught: TeacherSetting, macs: int, recipe: Recipe, names: Sequence[str],
              following: Sequence[str]) -> list[Setting]:
    """Ours and the named methods on the same teacher, everything in one cut and no epoch behind it; ``following`` ones
    with our widths."""
    once = without_training(recipe)
    first = Setting(taught, "ours", macs, once)
    return [first, *(Setting(taught, name, macs, once) for name in names),
            *(Setting(taught, name, macs, once, widths_of=first) for name in following)]
