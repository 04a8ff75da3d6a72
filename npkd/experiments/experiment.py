"""What an experiment is: settings to run, and bars to hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from npkd.experiments.setting import Setting, TeacherSetting
from npkd.pipeline.recipe import Recipe
from npkd.pipeline.recipe import untrained as without_training

DATA, EXAMPLES, SHAPE = "mnist", 54_000, (28, 28)
"""The data, about how much of it is left after the split, and what one example is."""

SCRATCH = ("scratch", "scratch with distillation")
"""Methods whose network never was a large one."""


@dataclass(frozen=True)
class Record:
    """A record to beat: at most ``bar`` % test error in the mean over seeds, with at most ``macs`` of a Setting's kind.

    name what it is;  teacher a key of the experiment's TEACHERS;  distil_from: the recipe of a better network, whose
    answers are learnt, or None
    """

    name: str
    teacher: str
    macs: int
    bar: float
    recipe: Recipe
    keep_inputs: bool = False
    kind: str = "macs"
    distil_from: Recipe | None = None

    def run(self, taught: TeacherSetting) -> Setting:
        """The run that is held against it."""
        better = None if self.distil_from is None else replace(taught, kind="moved", recipe=self.distil_from)
        return Setting(taught, "ours", self.macs, self.recipe, self.keep_inputs, kind=self.kind, distil_from=better)


class Experiment(Protocol):
    """A module with these names is an experiment.

    SEEDS             of the comparison, RECORD_SEEDS of the records and without training, where nobody says how many
    TEACHERS          recipes by kind;   TEACHER_BARS  of kinds, % test error in the mean
    COMPARISON        recipe of the comparison at BUDGETS of multiply-accumulates: METHODS, of which SHORT ones have one
                      removal too, and FOLLOWING ones are done with our widths too
    UNTRAINED         methods without any training behind the cut, at UNTRAINED_BUDGETS; REFITTED with our widths
    RECORDS           to beat
    """

    SEEDS: int
    RECORD_SEEDS: int
    TEACHERS: Mapping[str, Recipe]
    TEACHER_BARS: Mapping[str, float]
    COMPARISON: Recipe
    BUDGETS: Sequence[int]
    METHODS: Sequence[str]
    SHORT: Sequence[str]
    FOLLOWING: Sequence[str]
    UNTRAINED: Sequence[str]
    UNTRAINED_BUDGETS: Sequence[int]
    REFITTED: Sequence[str]
    RECORDS: Sequence[Record]

    def quick(self, seeds: int) -> list[Setting]:
        """A few minutes: to see that it runs, not who wins."""


def teacher(experiment: Experiment, kind: str, seed: int) -> TeacherSetting:
    """The teacher of a kind for a seed, on all of the data."""
    return TeacherSetting(DATA, None, kind, experiment.TEACHERS[kind], seed)


def comparison(experiment: Experiment, seeds: int) -> list[Setting]:
    """Every method and budget, for seeds 0, 1, …."""
    return [s for macs in experiment.BUDGETS for seed in range(seeds)
            for s in against(teacher(experiment, "moved", seed), macs, experiment.COMPARISON, experiment.METHODS,
                             experiment.SHORT, experiment.FOLLOWING)]


def post_training(experiment: Experiment, seeds: int) -> list[Setting]:
    """Methods without any training behind the cut, for seeds 0, 1, …."""
    return [s for macs in experiment.UNTRAINED_BUDGETS for seed in range(seeds)
            for s in untrained(teacher(experiment, "moved", seed), macs, experiment.TEACHERS["moved"],
                               experiment.UNTRAINED, experiment.REFITTED)]


def records(experiment: Experiment, seeds: int) -> list[tuple[Record, list[Setting]]]:
    """Every record with its runs, for seeds 0, 1, …."""
    return [(record, [record.run(teacher(experiment, record.teacher, seed)) for seed in range(seeds)])
            for record in experiment.RECORDS]


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
