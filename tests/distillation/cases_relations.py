"""Cases of losses on relations between the examples of a batch: no two examples coincide, as they would on a kink."""

import numpy as np

from npkd.distillation.relations import (
    correlation_congruence,
    neighbour_congruence,
    probabilistic_transfer,
    relational_angle,
    relational_distance,
    similarity_preserving,
)
from reference.check import Wrong
from tests.cases import Case, normal, off_zero

ROWS, MAPS, WHOLE, ONE = normal(4, 3), normal(4, 2, 2, 3), np.ones((4, 3), np.int64), normal(1, 3)
TAYLOR = {"gamma": 0.4, "order": 2}
ALL, OTHERS = {"diagonal": True}, {"diagonal": False}


def refused(name, options=None):
    """What every one of them refuses."""
    return (
        Wrong((ROWS, normal(5, 3)), (name, "(4, 3)", "(5, 3)", "same examples"), options),
        Wrong((ONE, ONE), (name, "(1, 3)", "N ≥ 2"), options),
        Wrong((ROWS[:, 0], ROWS), (name, "(4,)", "(N, F)"), options),
        Wrong((ROWS, np.zeros((4, 0))), (name, "(4, 0)", "(N, F)"), options),
        Wrong((WHOLE, ROWS), (name, "student is int64", "floating-point"), options),
        Wrong((ROWS, WHOLE), (name, "teacher is int64", "floating-point"), options),
    )


CASES = [
    Case("relational_distance", relational_distance, (normal(5, 3), 3 * normal(5, 4)),
         wrong=refused("relational_distance")),
    Case("relational_distance, square", relational_distance, (normal(4, 4), normal(4, 4))),
    Case("relational_distance, maps, far off", relational_distance,
         (normal(5, 2, 2, 2) + 7, np.exp(4 * normal(5, 1, 1, 3)))),
    Case("relational_angle", relational_angle, (normal(5, 3), normal(5, 4)), wrong=refused("relational_angle")),
    Case("relational_angle, square", relational_angle, (normal(4, 4), normal(4, 4))),
    Case("relational_angle, maps, more than a right angle off", relational_angle, (normal(5, 2, 2, 1), normal(5, 1))),
    Case("similarity_preserving", similarity_preserving, (normal(4, 3), normal(4, 2)),
         wrong=refused("similarity_preserving")),
    Case("similarity_preserving, square", similarity_preserving, (normal(3, 3), normal(3, 3))),
    Case("similarity_preserving, maps", similarity_preserving, (normal(3, 2, 2, 2), normal(3, 2, 2, 1))),
    Case("correlation_congruence", correlation_congruence, (normal(4, 3), normal(4, 2)), TAYLOR, wrong=(
        *refused("correlation_congruence", TAYLOR),
        Wrong((ROWS, ROWS), ("correlation_congruence", "gamma is 0", "positive"), {"gamma": 0.0, "order": 2}),
        Wrong((ROWS, ROWS), ("correlation_congruence", "gamma is nan", "finite"), {"gamma": np.nan, "order": 2}),
        Wrong((ROWS, ROWS), ("correlation_congruence", "order is 0", "at least 1"), {"gamma": 0.4, "order": 0}),
        Wrong((ROWS, ROWS), ("correlation_congruence", "order is 1.5", "whole"), {"gamma": 0.4, "order": 1.5}),
    )),
    Case("correlation_congruence, square, order 5", correlation_congruence, (normal(3, 3), normal(3, 3)),
         {"gamma": 2.0, "order": 5}),
    Case("correlation_congruence, maps, order 1", correlation_congruence, (normal(3, 2, 2, 2), normal(3, 3)),
         {"gamma": 1.0, "order": 1}),
    Case("neighbour_congruence", neighbour_congruence, (ROWS + off_zero(4, 3), ROWS), wrong=(
        *refused("neighbour_congruence"),
        Wrong((ROWS, normal(4, 2)), ("neighbour_congruence", "(4, 3)", "(4, 2)", "connector")),
        Wrong((MAPS, MAPS.reshape(4, -1)), ("neighbour_congruence", "(4, 2, 2, 3)", "(4, 12)", "must agree")),
    )),
    Case("neighbour_congruence, square", neighbour_congruence, (off_zero(3, 3), np.zeros((3, 3)))),
    Case("neighbour_congruence, maps", neighbour_congruence, (MAPS + off_zero(4, 2, 2, 3), MAPS)),
    Case("probabilistic_transfer", probabilistic_transfer, (normal(4, 3), normal(4, 2)), ALL,
         wrong=refused("probabilistic_transfer", ALL)),
    Case("probabilistic_transfer, square", probabilistic_transfer, (normal(3, 3), normal(3, 3)), ALL),
    Case("probabilistic_transfer, maps, others alone", probabilistic_transfer,
         (normal(4, 2, 2, 2), normal(4, 2, 1, 3)), OTHERS),
]
