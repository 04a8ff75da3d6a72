"""LeNet-300-100 on MNIST, as data: the comparison of all methods at equal cost, and the settings of the records.

Nothing here runs anything: functions give settings, which npkd.experiments.spread runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from npkd.experiments import lenet5, published
from npkd.experiments.experiment import SCRATCH, Record, against, untrained
from npkd.experiments.published import Published
from npkd.experiments.setting import Setting, TeacherSetting
from npkd.pipeline.recipe import Recipe, complete, plain

DATA, EXAMPLES, SHAPE = "mnist", 54_000, (28, 28)
"""The data, about how much of it is left after the split, and what one example is."""

BUDGETS = (9_560, 26_620, 4_800)
"""Multiply-accumulates of the comparison."""

SEEDS = RECORD_SEEDS = 5
"""Of the full comparison and of the records: 0, 1, …"""

PUBLISHED: Sequence[Published] = published.LENET300

TEACHER_BARS: Mapping[str, float] = {}

PICTURES = complete(Recipe(), EXAMPLES, SHAPE)
"""The default recipe for such data, which moves pictures by a pixel."""

TEACHERS: dict[str, Recipe] = {
    "plain": plain(PICTURES),
    "moved": PICTURES,
}
"""Like for like: a 784-300-100 net without augmentation; the same with pictures moved by a pixel."""

UNMOVED = complete(Recipe(), EXAMPLES)
"""The default recipe for data that is no picture: inputs mixed in pairs, nothing moved."""

COMPARISON = replace(PICTURES, rounds=31, round_epochs=1, epochs=30, student_learning_rate=0.05)
"""The distillation of the comparison: 60 epochs, 30 of them between removals; a lower rate suits so few, for all
methods (validation data)."""

GRADUAL = ("random", "incoming weights", "outgoing weights", "activation", "taylor", "obs", "lasso", "thinet",
           "net-trim", "slimming",
           "slimming in proportion")
SHORT = ("incoming weights", "outgoing weights")
FOLLOWING = ("obs", *SCRATCH)
"""Those that are also run with the widths that ours found; from scratch on its inputs too."""

UNTRAINED_BUDGETS = (133_100, 66_550, 26_620)
"""A half, a quarter and a tenth of the dense network's: what can be cut without any training."""

UNTRAINED = ("random", "incoming weights", "outgoing weights", "activation", "taylor", "obs", "lasso", "thinet",
             "net-trim")
REFITTED = ("random refitted", "outgoing weights refitted", "activation refitted", "taylor refitted", "obs", "lasso",
            "thinet", "net-trim")
"""Those that are compared without training; and with the widths that ours found, refitted as ours is or as they do it
themselves."""

AT_LAST = replace(PICTURES, all_at_last=True)
"""The records' recipe: the default one, but the last distillation sees all 60,000 pictures, as the published ones
did."""

LIKE_FOR_LIKE = replace(UNMOVED, mixup_alpha=0.0, adversarial_eps=0.4, student_weight_decay=2e-4, label_weight=1.0,
                        all_at_last=True)
"""The same where nothing is moved: the student learns against an adversary (T11), which needs no knowledge of pictures;
the labels count as much as a teacher that knows little more. All on validation data."""

RECORDS = (
    Record("like for like, VIBNet's size", "plain", 9_560, 1.60, LIKE_FOR_LIKE),
    Record("like for like, L0's size", "plain", 69_266, 1.40, LIKE_FOR_LIKE),
    Record("best, VIBNet's size", "moved", 9_560, 1.30, AT_LAST),
    Record("best, smaller", "moved", 6_000, 1.60, AT_LAST),
    Record("best, a tenth", "moved", 27_000, 1.00, AT_LAST),
    Record("from a LeNet-5, smaller", "moved", 6_000, 1.60, AT_LAST, distil_from=True),
    Record("from a LeNet-5, a tenth", "moved", 27_000, 1.00, AT_LAST, distil_from=True),
    Record("from a LeNet-5, RigL+'s size (moonshot)", "moved", 3_100, 1.60, AT_LAST, distil_from=True),
    Record("from a LeNet-5, all inputs kept", "moved", 60_000, 1.43, AT_LAST, keep_inputs=True, distil_from=True),
)
"""The bars; each recipe is the record's own. From a LeNet-5: the network that is compressed is the same, the answers
that are learnt are those of a LeNet-5 trained on the same part and moved likewise."""


def teacher(kind: str, seed: int) -> TeacherSetting:
    """The teacher of a kind for a seed, on all of the data."""
    return TeacherSetting(DATA, None, kind, TEACHERS[kind], seed)


def comparison(seeds: int) -> list[Setting]:
    """Every method, budget and seed."""
    return [s for macs in BUDGETS for seed in range(seeds)
            for s in against(teacher("moved", seed), macs, COMPARISON, (*GRADUAL, *SCRATCH), SHORT, FOLLOWING)]


def quick(seeds: int) -> list[Setting]:
    """One budget, the cheap methods, a fifth of the data, a few epochs: to see that it runs, not who wins."""
    taught = [TeacherSetting(DATA, 10_000, "moved", replace(TEACHERS["moved"], teacher_epochs=8), seed)
              for seed in range(seeds)]
    recipe = replace(COMPARISON, rounds=4, round_epochs=2, epochs=10)
    names = ("random", "outgoing weights", "activation", "obs", *SCRATCH)
    return [s for t in taught for s in against(t, BUDGETS[0], recipe, names, (), names[2:])]


def post_training(seeds: int) -> list[Setting]:
    """Every method, budget and seed without training."""
    return [s for macs in UNTRAINED_BUDGETS for seed in range(seeds)
            for s in untrained(teacher("moved", seed), macs, PICTURES, UNTRAINED, REFITTED)]


def records(seeds: int) -> list[tuple[Record, list[Setting]]]:
    """Every record with its run for each seed."""
    return [(record, [record.run(teacher(record.teacher, seed), lenet5.teacher("moved", seed))
                      for seed in range(seeds)]) for record in RECORDS]
