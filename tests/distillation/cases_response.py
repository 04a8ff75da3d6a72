"""Cases of npkd/distillation/response.py and its neighbours: losses on logits."""

import numpy as np

from npkd.distillation.classes import label_smoothing
from npkd.distillation.response import decoupled, dist, logit_matching, soft_targets, standardised_logits
from reference.check import Wrong
from tests.cases import Case, normal

LOGITS, NONE, WHOLE = normal(4, 3), np.zeros((0, 3)), np.ones((4, 3), np.int64)
MASKED = np.where(np.arange(3) == 1, -np.inf, normal(4, 3))
LABELS = np.array([2, 0, 1, 1])

CASES = [
    Case("soft_targets", soft_targets, (2 * normal(4, 3), 2 * normal(4, 3)), {"temperature": 4.0}, wrong=(
        Wrong((LOGITS, normal(4, 2)), ("soft_targets", "(4, 3)", "(4, 2)"), {"temperature": 4.0}),
        Wrong((LOGITS, normal(4, 1)), ("soft_targets", "(4, 3)", "(4, 1)"), {"temperature": 4.0}),
        Wrong((LOGITS, None), ("soft_targets", "teacher is NoneType", "floating-point")),
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
    Case("standardised_logits", standardised_logits, (normal(4, 3), 2 * normal(4, 3)), {"temperature": 2.0}, wrong=(
        Wrong((LOGITS, normal(4, 2)), ("standardised_logits", "(4, 3)", "(4, 2)")),
        Wrong((LOGITS, WHOLE), ("standardised_logits", "int64", "floating-point")),
        Wrong((NONE, NONE), ("standardised_logits", "(0, 3)")),
        Wrong((LOGITS, MASKED), ("standardised_logits", "teacher holds -inf at (0, 1)", "finite")),
        Wrong((LOGITS, LOGITS), ("standardised_logits", "temperature is 0", "positive"), {"temperature": 0.0}),
        Wrong((LOGITS, LOGITS), ("standardised_logits", "eps is 0", "positive"), {"eps": 0.0}),
        Wrong((LOGITS, LOGITS), ("standardised_logits", "ddof is 3", "at most 2"), {"ddof": 3}),
        Wrong((LOGITS, LOGITS), ("standardised_logits", "ddof is -1", "at least 0"), {"ddof": -1}),
        Wrong((LOGITS, LOGITS), ("standardised_logits", "ddof is 0.5", "whole"), {"ddof": 0.5}),
    )),
    Case("standardised_logits, square, ddof = 1", standardised_logits, (normal(3, 3), normal(3, 3)),
         {"temperature": 1.0, "ddof": 1}),
    Case("standardised_logits, a large eps", standardised_logits, (normal(4, 5), normal(4, 5)), {"eps": 0.5}),
    Case("decoupled", decoupled, (2 * normal(4, 3), 2 * normal(4, 3)), {"labels": LABELS}, wrong=(
        Wrong((LOGITS, normal(4, 2)), ("decoupled", "(4, 3)", "(4, 2)"), {"labels": LABELS}),
        Wrong((LOGITS, WHOLE), ("decoupled", "int64", "floating-point"), {"labels": LABELS}),
        Wrong((LOGITS[:, :2], LOGITS[:, :2]), ("decoupled", "2 classes", "needs 3", "soft_targets"),
              {"labels": LABELS % 2}),
        Wrong((LOGITS, LOGITS), ("decoupled", "labels is an array of int64 and shape (3,)", "(4,) integer"),
              {"labels": LABELS[:3]}),
        Wrong((LOGITS, LOGITS), ("decoupled", "labels is an array of float64", "integer"), {"labels": LABELS * 1.0}),
        Wrong((LOGITS, LOGITS), ("decoupled", "labels is a list", "integer"), {"labels": [2, 0, 1, 1]}),
        Wrong((LOGITS, LOGITS), ("decoupled", "classes 1 … 3", "0 … 2"), {"labels": LABELS + 1}),
        Wrong((LOGITS, LOGITS), ("decoupled", "classes -1 … 1", "0 … 2"), {"labels": LABELS - 1}),
        Wrong((LOGITS, LOGITS), ("decoupled", "alpha is -1", "not negative"), {"labels": LABELS, "alpha": -1.0}),
        Wrong((LOGITS, LOGITS), ("decoupled", "beta is nan", "not negative"), {"labels": LABELS, "beta": np.nan}),
        Wrong((LOGITS, LOGITS), ("decoupled", "temperature is 0", "positive"), {"labels": LABELS, "temperature": 0.0}),
    )),
    Case("decoupled, square", decoupled, (normal(3, 3), normal(3, 3)),
         {"labels": LABELS[:3], "alpha": 0.5, "beta": 2.0, "temperature": 1.0}),
    Case("decoupled, the label alone", decoupled, (normal(4, 5), normal(4, 5)), {"labels": LABELS, "beta": 0.0}),
    Case("dist", dist, (2 * normal(4, 3), 2 * normal(4, 3)), {"beta": 1.5, "gamma": 0.5}, wrong=(
        Wrong((LOGITS, normal(4, 2)), ("dist", "(4, 3)", "(4, 2)")),
        Wrong((LOGITS, WHOLE), ("dist", "int64", "floating-point")),
        Wrong((NONE, NONE), ("dist", "(0, 3)")),
        Wrong((LOGITS, LOGITS), ("dist", "beta is -1", "not negative"), {"beta": -1.0}),
        Wrong((LOGITS, LOGITS), ("dist", "gamma is inf", "not negative"), {"gamma": np.inf}),
        Wrong((LOGITS, LOGITS), ("dist", "temperature is 0", "positive"), {"temperature": 0.0}),
        Wrong((LOGITS, LOGITS), ("dist", "eps is 0", "positive"), {"eps": 0.0}),
    )),
    Case("dist, square, T = 3", dist, (normal(3, 3), normal(3, 3)), {"temperature": 3.0}),
    Case("dist, within examples", dist, (normal(4, 5), normal(4, 5)), {"gamma": 0.0}),
    Case("dist, within classes", dist, (normal(5, 4), normal(5, 4)), {"beta": 0.0, "eps": 0.1}),
    Case("label_smoothing", label_smoothing, (2 * normal(4, 3), LABELS), {"smoothing": 0.3}, wrong=(
        Wrong((LOGITS, LABELS[:3]), ("label_smoothing", "shape (3,)", "(4,) integer")),
        Wrong((LOGITS, LABELS * 1.0), ("label_smoothing", "labels is an array of float64", "integer")),
        Wrong((LOGITS, LABELS + 1), ("label_smoothing", "classes 1 … 3", "0 … 2")),
        Wrong((LOGITS[0], LABELS), ("label_smoothing", "student is (3,)", "(N, C)")),
        Wrong((WHOLE, LABELS), ("label_smoothing", "int64", "floating-point")),
        Wrong((LOGITS, LABELS), ("label_smoothing", "smoothing is 1", "below 1"), {"smoothing": 1.0}),
        Wrong((LOGITS, LABELS), ("label_smoothing", "smoothing is -0.1", "at least 0"), {"smoothing": -0.1}),
    )),
    Case("label_smoothing, square", label_smoothing, (normal(3, 3), LABELS[:3])),
]
