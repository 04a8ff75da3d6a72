"""LeNet-5 on MNIST: settings of the comparison of all methods at equal cost, and of the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from npkd.experiments.experiment import DATA, EXAMPLES, SCRATCH, SHAPE, Budgets, Record, against, untrained
from npkd.experiments.setting import Setting, TeacherSetting
from npkd.pipeline.recipe import Recipe, complete, plain

BUDGETS = (93_000, 63_000)
"""Multiply-accumulates of the comparison: of the smallest published networks, 4.1 % and 2.7 % of the dense one's."""

SEEDS, RECORD_SEEDS = 3, 5

TEACHER_BARS: Mapping[str, float] = {"plain": 0.90}

PICTURES = complete(Recipe(network="lenet5"), EXAMPLES, SHAPE)
"""The default recipe for such data, which moves pictures by a pixel."""

PLAIN = TeacherSetting(DATA, None, "plain", plain(PICTURES), 0)
MOVED = TeacherSetting(DATA, None, "moved", PICTURES, 0)
"""Like for like: a 20-50-500 net without augmentation; the same with pictures moved by a pixel."""

LEARNT = replace(PICTURES, rounds=11, round_epochs=1, epochs=10, label_weight=0.0, clip=10.0)
"""The distillation of the comparison: 20 epochs, 10 of them between removals, without labels."""

METHODS = ("incoming weights", "outgoing weights", "activation", "taylor", "slimming", *SCRATCH)
COMPARISON: Budgets = [against(MOVED, macs, LEARNT, METHODS, (), SCRATCH) for macs in BUDGETS]
"""Those that are compared with ours; from scratch, also with the widths that ours found."""

QUICK: Budgets = [against(replace(MOVED, examples=5_000, recipe=replace(PICTURES, teacher_epochs=2)), BUDGETS[0],
                          replace(LEARNT, rounds=4, epochs=3, statistics=1_000), METHODS, (), ())]
"""Less than a tenth of the data, a few epochs."""

UNTRAINED_BUDGETS = (1_146_500, 573_250, 229_300, 114_650)
"""A half, a quarter, a tenth and a twentieth of the dense network's: what can be cut without any training."""

UNTRAINED = ("random", "incoming weights", "outgoing weights", "activation", "taylor")
REFITTED = ("random refitted", "outgoing weights refitted", "activation refitted", "taylor refitted")
POST_TRAINING: Budgets = [untrained(MOVED, macs, PICTURES, UNTRAINED, REFITTED) for macs in UNTRAINED_BUDGETS]
"""Without training; and at the widths that ours found, refitted as ours is, so that the choice alone differs."""

AT_LAST = replace(PICTURES, all_at_last=True)
"""Of the records: the last distillation sees all 60,000 pictures, as the published ones did."""

LIKE_FOR_LIKE = replace(AT_LAST, max_shift=0, adversarial_eps=0.7)
"""The same where nothing is moved: half of the examples are adversarial (T11); ε by validation data."""

WHOLE = 2_293_000
"""Multiply-accumulates of the dense network."""

WEIGHTS = 2_751 + 5 + 10 + 16 + 10
"""Parameters of the smallest published network, 5-10-76-16: weights, and the biases, which we count too."""

RECORDS: Sequence[Record] = (
    Record("like for like, 93,000", 0.80, Setting(PLAIN, "ours", 93_000, LIKE_FOR_LIKE)),
    Record("like for like, 63,000", 1.00, Setting(PLAIN, "ours", 63_000, LIKE_FOR_LIKE)),
    Record("best, 93,000", 0.80, Setting(MOVED, "ours", 93_000, AT_LAST)),
    Record("best, 63,000", 1.00, Setting(MOVED, "ours", 63_000, AT_LAST)),
    Record("best, 63,000 (moonshot)", 0.70, Setting(MOVED, "ours", 63_000, AT_LAST)),
    Record("best, BC-GHS's weights", 1.00, Setting(MOVED, "ours", WEIGHTS, AT_LAST, kind="parameters")),
    Record("best, Scalpel's size", 0.66, Setting(MOVED, "ours", 400_000, AT_LAST)),
    Record("distilled, nothing removed", 0.60, Setting(MOVED, "ours", WHOLE, replace(AT_LAST, rounds=1, epochs=20))))
"""The moonshot is one more bar for the same runs. In the last a network learns on, from labels and its own logits."""
