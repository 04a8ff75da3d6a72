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
    """A record to beat: at most ``bar`` % test error in the mean over seeds, with at most ``macs`` of a Setting's kind.

    name what it is;  teacher a key of the experiment's TEACHERS;  distil_from: are a better network's answers learnt?
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
        """The run that is held against it; it learns from ``distil_from`` where the record says so."""
        return Setting(taught, "ours", self.macs, self.recipe, self.keep_inputs, kind=self.kind,
                       distil_from=distil_from if self.distil_from else None)


class Experiment(Protocol):
    """A module with these names is an experiment; its functions give the settings of seeds 0, 1, ….

    SEEDS           of the comparison, RECORD_SEEDS of the records, where nobody says how many
    TEACHER_BARS    of kinds of teachers, % test error in the mean;   PUBLISHED  what others report
    """

    SEEDS: int
    RECORD_SEEDS: int
    TEACHER_BARS: Mapping[str, float]
    PUBLISHED: Sequence[Published]

    def comparison(self, seeds: int) -> list[Setting]:
        """Every method and budget."""

    def quick(self, seeds: int) -> list[Setting]:
        """A few minutes: to see that it runs, not who wins."""

    def post_training(self, seeds: int) -> list[Setting]:
        """Methods without any training behind the cut."""

    def records(self, seeds: int) -> list[tuple[Record, list[Setting]]]:
        """Every record with its runs."""


def against(taught: TeacherSetting, macs: int, recipe: Recipe, names: Sequence[str], short: Sequence[str],
            following: Sequence[str]) -> list[Setting]:
    """Ours, and the named methods on the same teacher with as many multiply-accumulates and epochs.

    ``short`` ones also with one removal, ``following`` ones also with our widths.
    """
    first = Setting(taught, "ours", macs, recipe)
    once = replace(recipe, rounds=1, round_epochs=0, epochs=first.epochs)
    others = {name: replace(first, method=name, recipe=once if name in SCRATCH else recipe)
              for name in (*names, *following)}
    return [first, *(others[name] for name in names), *(replace(first, method=name, recipe=once) for name in short),
            *(replace(others[name], widths_of=first) for name in following)]


def untrained(taught: TeacherSetting, macs: int, recipe: Recipe, names: Sequence[str],
              following: Sequence[str]) -> list[Setting]:
    """Ours and the named methods on the same teacher, in one cut and untrained; ``following`` ones with our widths."""
    first = Setting(taught, "ours", macs, without_training(recipe))
    return [first, *(replace(first, method=name) for name in names),
            *(replace(first, method=name, widths_of=first) for name in following)]
