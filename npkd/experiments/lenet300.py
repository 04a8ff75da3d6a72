"""LeNet-300-100 on MNIST: settings of the comparison of all methods at equal cost, and of the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from npkd.experiments import lenet5
from npkd.experiments.experiment import DATA, EXAMPLES, SCRATCH, SHAPE, Record, against
from npkd.experiments.setting import Setting, TeacherSetting
from npkd.pipeline.recipe import Recipe, complete, plain

BUDGETS: Sequence[int] = (9_560, 26_620, 4_800)
"""Multiply-accumulates of the comparison."""

SEEDS = RECORD_SEEDS = 5

TEACHER_BARS: Mapping[str, float] = {}

PICTURES = complete(Recipe(), EXAMPLES, SHAPE)
"""The default recipe for such data, which moves pictures by a pixel."""

TEACHERS: Mapping[str, Recipe] = {"plain": plain(PICTURES), "moved": PICTURES}
"""Like for like: a 784-300-100 net without augmentation; the same with pictures moved by a pixel."""

COMPARISON = replace(PICTURES, rounds=31, round_epochs=1, epochs=30, student_learning_rate=0.05)
"""The distillation of the comparison: 60 epochs, 30 of them between removals; so few need a lower rate (validation)."""

UNTRAINED: Sequence[str] = ("random", "incoming weights", "outgoing weights", "activation", "taylor", "obs", "lasso",
                            "thinet", "net-trim")
METHODS: Sequence[str] = (*UNTRAINED, "slimming", "slimming in proportion", *SCRATCH)
SHORT: Sequence[str] = ("incoming weights", "outgoing weights")
FOLLOWING: Sequence[str] = ("obs", *SCRATCH)
"""Methods, those also run with one removal, and those also with our widths, from scratch on our inputs too."""

UNTRAINED_BUDGETS: Sequence[int] = (133_100, 66_550, 26_620)
"""A half, a quarter and a tenth of the dense network's: what can be cut without any training."""

REFITTED: Sequence[str] = ("random refitted", "outgoing weights refitted", "activation refitted", "taylor refitted",
                            "obs", "lasso", "thinet", "net-trim")
"""Without training at the widths that ours found, refitted as ours is or as they do it themselves."""

AT_LAST = replace(PICTURES, all_at_last=True)
"""Of the records: the last distillation sees all 60,000 pictures, as the published ones did."""

LIKE_FOR_LIKE = replace(complete(Recipe(), EXAMPLES), mixup_alpha=0.0, adversarial_eps=0.4, student_weight_decay=2e-4,
                        label_weight=1.0, all_at_last=True)
"""The same where nothing is moved: the student learns against an adversary (T11), which needs no knowledge of pictures;
the labels count as much as a teacher that knows little more. All on validation data."""

RECORDS: Sequence[Record] = (
    Record("like for like, VIBNet's size", "plain", 9_560, 1.60, LIKE_FOR_LIKE),
    Record("like for like, L0's size", "plain", 69_266, 1.40, LIKE_FOR_LIKE),
    Record("best, VIBNet's size", "moved", 9_560, 1.30, AT_LAST),
    Record("best, smaller", "moved", 6_000, 1.60, AT_LAST),
    Record("best, a tenth", "moved", 27_000, 1.00, AT_LAST),
    Record("from a LeNet-5, smaller", "moved", 6_000, 1.60, AT_LAST, distil_from=lenet5.PICTURES),
    Record("from a LeNet-5, a tenth", "moved", 27_000, 1.00, AT_LAST, distil_from=lenet5.PICTURES),
    Record("from a LeNet-5, RigL+'s size (moonshot)", "moved", 3_100, 1.60, AT_LAST, distil_from=lenet5.PICTURES),
    Record("from a LeNet-5, all inputs kept", "moved", 60_000, 1.43, AT_LAST, keep_inputs=True,
           distil_from=lenet5.PICTURES))
"""From a LeNet-5: the same network is compressed, and learns the answers of a LeNet-5 trained on the same data."""


def quick(seeds: int) -> list[Setting]:
    """One budget, the cheap methods, a fifth of the data, a few epochs: to see that it runs, not who wins."""
    recipe = replace(COMPARISON, rounds=4, round_epochs=2, epochs=10)
    names = ("random", "outgoing weights", "activation", "obs", *SCRATCH)
    taught = TeacherSetting(DATA, 10_000, "moved", replace(TEACHERS["moved"], teacher_epochs=8), 0)
    return [s for seed in range(seeds)
            for s in against(replace(taught, seed=seed), BUDGETS[0], recipe, names, (), names[2:])]
