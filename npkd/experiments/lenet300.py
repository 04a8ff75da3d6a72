"""LeNet-300-100 on MNIST: settings of the comparison of all methods at equal cost, and of the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from npkd.experiments import lenet5
from npkd.experiments.experiment import DATA, EXAMPLES, SCRATCH, SHAPE, Budgets, Record, against, untrained
from npkd.experiments.setting import Setting, TeacherSetting
from npkd.pipeline.recipe import Recipe, complete, plain

BUDGETS = (9_560, 26_620, 4_800)
"""Multiply-accumulates of the comparison."""

SEEDS = RECORD_SEEDS = 5

TEACHER_BARS: Mapping[str, float] = {}

PICTURES = complete(Recipe(), EXAMPLES, SHAPE)
"""The default recipe for such data, which moves pictures by a pixel."""

PLAIN = TeacherSetting(DATA, None, "plain", plain(PICTURES), 0)
MOVED = TeacherSetting(DATA, None, "moved", PICTURES, 0)
"""Like for like: a 784-300-100 net without augmentation; the same with pictures moved by a pixel."""

LEARNT = replace(PICTURES, rounds=31, round_epochs=1, epochs=30, student_learning_rate=0.05)
"""The distillation of the comparison: 60 epochs, 30 of them between removals; so few need a lower rate (validation)."""

UNTRAINED = ("random", "incoming weights", "outgoing weights", "activation", "taylor", "obs", "lasso", "thinet",
             "net-trim")
METHODS = (*UNTRAINED, "slimming", "slimming in proportion", *SCRATCH)
SHORT = ("incoming weights", "outgoing weights")
FOLLOWING = ("obs", *SCRATCH)
COMPARISON: Budgets = [against(MOVED, macs, LEARNT, METHODS, SHORT, FOLLOWING) for macs in BUDGETS]
"""Methods, those also run with one removal, and those also with our widths, from scratch on our inputs too."""

UNTRAINED_BUDGETS = (133_100, 66_550, 26_620)
"""A half, a quarter and a tenth of the dense network's: what can be cut without any training."""

REFITTED = ("random refitted", "outgoing weights refitted", "activation refitted", "taylor refitted", "obs", "lasso",
            "thinet", "net-trim")
POST_TRAINING: Budgets = [untrained(MOVED, macs, PICTURES, UNTRAINED, REFITTED) for macs in UNTRAINED_BUDGETS]
"""Without training at the widths that ours found, refitted as ours is or as they do it themselves."""

AT_LAST = replace(PICTURES, all_at_last=True)
"""Of the records: the last distillation sees all 60,000 pictures, as the published ones did."""

LIKE_FOR_LIKE = replace(complete(Recipe(), EXAMPLES), mixup_alpha=0.0, adversarial_eps=0.4, student_weight_decay=2e-4,
                        label_weight=1.0, all_at_last=True)
"""The same where nothing is moved: the student learns against an adversary (T11), which needs no knowledge of pictures;
the labels count as much as a teacher that knows little more. All on validation data."""

TRIED = ("random", "outgoing weights", "activation", "obs", *SCRATCH)
QUICK: Budgets = [against(replace(MOVED, examples=10_000, recipe=replace(PICTURES, teacher_epochs=8)), BUDGETS[0],
                          replace(LEARNT, rounds=4, round_epochs=2, epochs=10), TRIED, (), TRIED[2:])]
"""The cheap methods, a fifth of the data, a few epochs."""

RECORDS: Sequence[Record] = (
    Record("like for like, VIBNet's size", 1.60, Setting(PLAIN, "ours", 9_560, LIKE_FOR_LIKE)),
    Record("like for like, L0's size", 1.40, Setting(PLAIN, "ours", 69_266, LIKE_FOR_LIKE)),
    Record("best, VIBNet's size", 1.30, Setting(MOVED, "ours", 9_560, AT_LAST)),
    Record("best, smaller", 1.60, Setting(MOVED, "ours", 6_000, AT_LAST)),
    Record("best, a tenth", 1.00, Setting(MOVED, "ours", 27_000, AT_LAST)),
    Record("from a LeNet-5, smaller", 1.60, Setting(MOVED, "ours", 6_000, AT_LAST, distil_from=lenet5.MOVED)),
    Record("from a LeNet-5, a tenth", 1.00, Setting(MOVED, "ours", 27_000, AT_LAST, distil_from=lenet5.MOVED)),
    Record("from a LeNet-5, RigL+'s size (moonshot)", 1.60, Setting(MOVED, "ours", 3_100, AT_LAST,
                                                                    distil_from=lenet5.MOVED)),
    Record("from a LeNet-5, all inputs kept", 1.43, Setting(MOVED, "ours", 60_000, AT_LAST, keep_inputs=True,
                                                           distil_from=lenet5.MOVED)))
"""From a LeNet-5: the same network is compressed, and learns the answers of a LeNet-5 trained on the same data."""
