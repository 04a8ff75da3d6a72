"""Cases of npkd/distillation/response.py and its neighbours: losses on logits."""

import numpy as np

from npkd.distillation.response import logit_matching, soft_targets
from reference.check import Wrong
from tests.cases import Case, normal

LOGITS, NONE, WHOLE = normal(4, 3), np.zeros((0, 3)), np.ones((4, 3), np.int64)

CASES = [
    Case("soft_targets", soft_targets, (2 * normal(4, 3), 2 * normal(4, 3)), {"temperature": 4.0}, wrong=(
        Wrong((LOGITS, normal(4, 2)), ("soft_targets", "(4, 3)", "(4, 2)"), {"temperature": 4.0}),
        Wrong((LOGITS, normal(4, 1)), ("soft_targets", "(4, 3)", "(4, 1)"), {"temperature": 4.0}),
        Wrong((LOGITS, normal(4, 3)), ("soft_targets", "temperature is 0", "positive"), {"temperature": 0.0}),
        Wrong((LOGITS, normal(4, 3)), ("soft_targets", "temperature is -1", "positive"), {"temperature": -1.0}),
        Wrong((WHOLE, normal(4, 3)), ("soft_targets", "int64", "floating-point"), {"temperature": 4.0}),
        Wrong((NONE, NONE), ("soft_targets", "(0, 3)"), {"temperature": 4.0}),
    )),
    Case("soft_targets, square, T = 1", soft_targets, (normal(3, 3), normal(3, 3)), {"temperature": 1.0}),
    Case("logit_matching", logit_matching, (normal(4, 3), normal(4, 3)), wrong=(
        Wrong((LOGITS, normal(4, 2)), ("logit_matching", "(4, 3)", "(4, 2)")),
        Wrong((LOGITS, normal(1, 3)), ("logit_matching", "(4, 3)", "(1, 3)")),
        Wrong((LOGITS, WHOLE), ("logit_matching", "int64", "floating-point")),
        Wrong((NONE, NONE), ("logit_matching", "(0, 3)")),
    )),
    Case("logit_matching, square", logit_matching, (normal(3, 3), normal(3, 3))),
]
