"""What an experiment is: settings to run, and bars to hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from npkd.experiments.setting import Setting, TeacherSetting
from npkd.pipeline.recipe import Recipe

DATA, EXAMPLES, SHAPE = "mnist", 54_000, (28, 28)
"""The data, about how much of it is left after the split, and what one example is."""

SCRATCH = ("scratch", "scratch with distillation")
"""Methods whose network never was a large one."""


@dataclass(frozen=True)
class Record:
    """A record to beat: at most ``bar`` % test error in the mean over seeds, by runs such as ``setting``, of seed 0."""

    name: str
    bar: float
    setting: Setting


Budgets = Sequence[Sequence[Setting]]
"""For each budget the runs of seed 0 that are compared."""


class Experiment(Protocol):
    """A module with these names is an experiment.

    SEEDS          of the comparison, RECORD_SEEDS of the records and without training, where nobody says how many
    COMPARISON     every method and budget;   QUICK  a few minutes: to see that it runs, not who wins
    POST_TRAINING  methods without any training behind the cut
    TEACHER_BARS   of kinds of teachers, % test error in the mean
    """

    SEEDS: int
    RECORD_SEEDS: int
    COMPARISON: Budgets
    QUICK: Budgets
    POST_TRAINING: Budgets
    RECORDS: Sequence[Record]
    TEACHER_BARS: Mapping[str, float]


def of_seed(setting: Setting, seed: int) -> Setting:
    """The same run with another seed, also of all that it needs."""
    return replace(setting, teacher=replace(setting.teacher, seed=seed),
                   widths_of=setting.widths_of and of_seed(setting.widths_of, seed),
                   distil_from=setting.distil_from and replace(setting.distil_from, seed=seed))


def seeded(budgets: Budgets, seeds: Sequence[int]) -> list[Setting]:
    """The runs of all budgets, each for all seeds."""
    return [of_seed(s, seed) for some in budgets for seed in seeds for s in some]


def records(experiment: Experiment, seeds: Sequence[int]) -> list[tuple[Record, list[Setting]]]:
    """Every record with its runs, for all seeds."""
    return [(record, [of_seed(record.setting, seed) for seed in seeds]) for record in experiment.RECORDS]


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
    first = Setting(taught, "ours", macs, replace(recipe, rounds=1, round_epochs=0, epochs=0))
    return [first, *(replace(first, method=name) for name in names),
            *(replace(first, method=name, widths_of=first) for name in following)]
