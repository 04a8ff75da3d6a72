"""Cases of npkd/distillation/scheme_losses.py: what is held constant is an option, so that derivatives are those of it.
"""

import numpy as np

from npkd.distillation.scheme_losses import adversarial_logits, moment_matching, mutual_learning, neighbour_graph
from reference.check import Wrong
from tests.cases import Case, normal, positive

THREE = tuple(normal(4, 3) for _ in range(3))
LABELS, WHOLE = np.array([0, 2, 1, 1]), np.ones((4, 3), np.int64)
PARTS = normal(5, 3), normal(5), normal(1, 5), normal(1)
HELD = normal(4, 3), normal(5, 3), normal(5), normal(1, 5), normal(1)
X = normal(4, 3)

CASES = [
    Case("mutual_learning", mutual_learning, (THREE, LABELS), {"held": THREE, "temperature": 2.0}, wrong=(
        Wrong((X, LABELS), ("mutual_learning", "an array", "K logits (N, C) in a tuple")),
        Wrong(((), LABELS), ("mutual_learning", "K logits (N, C) in a tuple")),
        Wrong(((X, normal(4, 2)), LABELS), ("mutual_learning", "(4, 3)", "(4, 2)")),
        Wrong(((X, WHOLE), LABELS), ("mutual_learning", "int64", "floating-point")),
        Wrong(((X, X), LABELS), ("mutual_learning", "weights are [[1.0]]", "(K, K)"), {"weights": np.ones((1, 1))}),
        Wrong(((X,), LABELS), ("mutual_learning", "[[-1.0]]", "none negative"), {"weights": -np.ones((1, 1))}),
        Wrong(((X,), LABELS), ("mutual_learning", "nan", "none negative"), {"weights": np.nan * np.ones((1, 1))}),
        Wrong(((X, X), LABELS), ("temperature is 0", "positive"), {"temperature": 0.0}),
        Wrong(((X, X), LABELS[:3]), ("shape (3,)", "(4,)")),
    )),
    Case("mutual_learning, weights", mutual_learning, (THREE, LABELS),
         {"held": tuple(normal(4, 3) for _ in range(3)), "weights": normal(3, 3) ** 2}),
    Case("mutual_learning, one", mutual_learning, ((normal(3, 3),), np.array([2, 0, 0])), {"weights": np.ones((1, 1))}),
    Case("adversarial_logits", adversarial_logits, (normal(4, 3), normal(4, 3), *PARTS), {"held": HELD}, wrong=(
        Wrong((X, normal(4, 2), *PARTS), ("adversarial_logits", "(4, 3)", "(4, 2)")),
        Wrong((WHOLE, X, *PARTS), ("adversarial_logits", "int64", "floating-point")),
        Wrong((normal(4, 2), normal(4, 2), *PARTS), ("dense", "(4, 2)", "(5, 3)")),
    )),
    Case("adversarial_logits, square", adversarial_logits,
         (normal(3, 3), normal(3, 3), normal(3, 3), normal(3), normal(1, 3), normal(1)),
         {"held": (normal(3, 3), normal(3, 3), normal(3), normal(1, 3), normal(1))}),
    Case("neighbour_graph", neighbour_graph, (normal(6, 4), normal(6, 3)), {"neighbours": 2}, wrong=(
        Wrong((X, normal(5, 3)), ("neighbour_graph", "(4, 3)", "(5, 3)", "(N, ...)")),
        Wrong((X[0], X), ("neighbour_graph", "(3,)", "(N, ...)")),
        Wrong((X[:0], X[:0]), ("neighbour_graph", "(0, 3)", "N ≥ 1")),
        Wrong((X, WHOLE), ("neighbour_graph", "int64", "floating-point")),
        Wrong((X, X), ("neighbour_graph", "neighbours is 0", "at least 1"), {"neighbours": 0}),
        Wrong((X, X), ("neighbour_graph", "neighbours is 1.5", "whole"), {"neighbours": 1.5}),
    )),
    Case("neighbour_graph, square, all", neighbour_graph, (normal(4, 4), normal(4, 4)), {"neighbours": 9}),
    Case("neighbour_graph, maps", neighbour_graph, (normal(4, 2, 1, 3), normal(4, 2, 2, 1)), {"neighbours": 1}),
    Case("moment_matching", moment_matching, (normal(5, 3), (normal(3), positive(3))), wrong=(
        Wrong((X, (normal(2), positive(3))), ("moment_matching", "(4, 3)", "(2,)")),
        Wrong((X, (normal(3), positive(2))), ("moment_matching", "(4, 3)", "(2,)")),
        Wrong((X[0], (normal(3), positive(3))), ("moment_matching", "(N, ..., J)")),
        Wrong((X[:0], (normal(3), positive(3))), ("moment_matching", "(0, 3)")),
        Wrong((WHOLE, (normal(3), positive(3))), ("moment_matching", "int64", "floating-point")),
    )),
    Case("moment_matching, square", moment_matching, (normal(3, 3), (normal(3), positive(3)))),
    Case("moment_matching, maps", moment_matching, (normal(2, 2, 3, 2), (normal(2), positive(2)))),
]
