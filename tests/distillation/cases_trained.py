"""Cases of losses with trained parts or a memory."""

import numpy as np

from npkd.distillation.contrastive import Memory, contrastive
from npkd.distillation.factors import factor_transfer
from npkd.distillation.overhaul import overhaul
from npkd.distillation.review import review
from npkd.distillation.singular_vectors import singular_vectors
from npkd.distillation.variational import variational_information
from reference.check import Wrong
from tests.cases import Case, normal, off_zero, positive

F, WHOLE, NONE = normal(4, 3), np.ones((4, 3), np.int64), np.zeros((0, 3))
MAPS = normal(2, 3, 4, 2)


def no_pair(who, options=None):
    """What no loss of two activations of one shape takes."""
    return (Wrong((F, normal(4, 2)), (who, "(4, 3)", "(4, 2)", "connector"), options),
            Wrong((F, normal(1, 3)), (who, "(4, 3)", "(1, 3)"), options),
            Wrong((F[0], F[0]), (who, "(3,)", "(N, ..., C)"), options),
            Wrong((NONE, NONE), (who, "(0, 3)", "not empty"), options),
            Wrong((F, WHOLE), (who, "teacher is int64", "floating-point"), options),
            Wrong((WHOLE, F), (who, "student is int64", "floating-point"), options))


INDEX, NEGATIVES = np.array([5, 0, 2]), np.array([[1, 4], [4, 4], [6, 1]])
BANKS = Memory(normal(7, 3), normal(7, 3), (0.4, -0.3), temperature=0.6)
GIVEN = {"memory": BANKS, "index": INDEX, "negatives": NEGATIVES}
PARTS = normal(3, 2), normal(3, 4), normal(3, 3), normal(3, 5)


def misfit(k, array, *words):
    """PARTS with one of them exchanged."""
    return Wrong((*PARTS[:k], array, *PARTS[k + 1:]), ("contrastive", *words), GIVEN)


def misled(words, **options):
    """GIVEN with one of them exchanged."""
    return Wrong(PARTS, ("contrastive", *words), GIVEN | options)


STAGES = [(2, 3, 3, 5), (2, 2, 2, 4)]


def stages(*shapes):
    return tuple(normal(*shape) for shape in shapes)


def unstaged(student, teacher, *words):
    return Wrong((student, teacher), ("singular_vectors", *words))


CASES = [
    Case("variational_information", variational_information, (normal(4, 3), normal(4, 3), normal(3)), wrong=(
        *(Wrong((*w.arguments, normal(3)), w.words) for w in no_pair("variational_information")),
        Wrong((F, F, normal(4)), ("variational_information", "alpha is (4,)", "(3,)")),
        Wrong((F, F, normal(1)), ("variational_information", "alpha is (1,)", "(3,)")),
        Wrong((F, F, np.ones(3, int)), ("variational_information", "alpha is int64", "floating-point")),
    )),
    Case("variational_information, square", variational_information, (normal(3, 3), normal(3, 3), 2 * normal(3))),
    Case("variational_information, maps", variational_information, (normal(2, 3, 2, 2), normal(2, 3, 2, 2), normal(2))),
    Case("contrastive", contrastive, PARTS, GIVEN, wrong=(
        misfit(0, normal(4, 2), "student (4, 2)", "(N, F)"), misfit(0, normal(3), "student (3,)", "(N, F)"),
        misfit(1, normal(2, 4), "teacher (2, 4)"), misfit(2, normal(2, 3), "student_embedding (2, 3)", "(3, F + 1)"),
        misfit(2, normal(3, 2), "student_embedding (3, 2)", "(3, F + 1)"), misfit(3, normal(3, 4), "(3, F' + 1)"),
        misfit(0, np.ones((3, 2), int), "student is int64"), misfit(2, np.ones((3, 3), int), "embedding is int64"),
        misled(("int64 and shape (3,)", "0 … 6"), index=np.array([5, 0, 7])),
        misled(("int64 and shape (3,)", "0 … 6"), index=np.array([5, 0, -1])),
        misled(("float64", "integers"), index=np.array([5.0, 0.0, 1.0])), misled(("a list",), index=[5, 0, 2]),
        misled(("index (2,)", "(N,)"), index=np.array([5, 0])), misled(("(3, 1)", "(N,)"), index=INDEX[:, None]),
        misled(("negatives (2, 2)", "(N, K)"), negatives=NEGATIVES[:2]), misled(("shape (3, 0)",),
                                                                               negatives=NEGATIVES[:, :0]),
        misled(("negatives (3,)", "(N, K)"), negatives=INDEX), misled(("0 … 6",), negatives=NEGATIVES + 1),
    )),
    Case("contrastive, square", contrastive, (normal(3, 3), normal(3, 3), normal(3, 4), normal(3, 4)), {
        "memory": Memory(normal(4, 3), normal(4, 3), (0.0, 0.0), momentum=0.0, temperature=1.0),
        "index": np.array([3, 1, 0]), "negatives": np.array([[1, 2, 0], [3, 0, 2], [2, 3, 1]])}),
    Case("overhaul", overhaul, (normal(5, 3), normal(5, 3)), {"margin": -positive(3)}, wrong=(
        *no_pair("overhaul", {"margin": -positive(3)}),
        Wrong((F, F), ("overhaul", "margin is (4,)", "(3,)"), {"margin": -positive(4)}),
        Wrong((F, F), ("overhaul", "margin is ()", "(3,)"), {"margin": -1.0}),
        Wrong((F, F), ("overhaul", "none above 0"), {"margin": np.array([-1.0, 0.1, -1.0])}),
        Wrong((F, F), ("overhaul", "none above 0"), {"margin": np.array([-1.0, np.nan, -1.0])}),
    )),
    Case("overhaul, square", overhaul, (normal(4, 4), normal(4, 4)), {"margin": -positive(4)}),
    Case("overhaul, maps", overhaul, (normal(2, 2, 3, 2), normal(2, 2, 3, 2)), {"margin": -positive(2)}),
    Case("factor_transfer", factor_transfer, (off_zero(3, 4), off_zero(3, 4)), {"power": None}, wrong=(
        *no_pair("factor_transfer", {"power": None}), *no_pair("factor_transfer", {"power": 2}),
        Wrong((F, F), ("factor_transfer", "power is 0", "at least 1"), {"power": 0}),
        Wrong((F, F), ("factor_transfer", "power is 1.5", "whole number"), {"power": 1.5}),
    )),
    Case("factor_transfer, square", factor_transfer, (normal(4, 4), normal(4, 4)), {"power": None}),
    Case("factor_transfer, maps, attention", factor_transfer, (normal(2, 3, 2, 3), normal(2, 3, 2, 3)), {"power": 2}),
    Case("factor_transfer, maps, cubes", factor_transfer, (normal(2, 2, 3, 2), normal(2, 2, 3, 2)), {"power": 3}),
    Case("review", review, (normal(2, 5, 6, 2), normal(2, 5, 6, 2)), {"levels": (4, 2, 1)}, wrong=(
        *no_pair("review", {"levels": (4, 2, 1)}),
        Wrong((F, F), ("review", "(4, 3)", "(N, H, W, C)"), {"levels": (4, 2, 1)}),
        Wrong((MAPS, MAPS), ("review", "level (0)", "at least 1"), {"levels": (2, 0)}),
        Wrong((MAPS, MAPS), ("review", "level (1.5)", "whole number"), {"levels": (1.5,)}),
    )),
    Case("review, square", review, (normal(3, 3, 3, 3), normal(3, 3, 3, 3)), {"levels": (4, 2, 1)}),
    Case("review, narrower than a level", review, (normal(2, 4, 1, 2), normal(2, 4, 1, 2)), {"levels": (3, 2)}),
    Case("review, no level fits", review, (normal(3, 1, 2, 2), normal(3, 1, 2, 2)), {"levels": (4, 2, 1)}),
    Case("singular_vectors", singular_vectors, (stages(*STAGES), stages(*STAGES)), wrong=(
        unstaged(stages(*STAGES), stages(STAGES[0]), "tuples", "as many"),
        unstaged(stages(STAGES[0]), stages(STAGES[0]), "two or more"), unstaged((), (), "two or more"),
        unstaged(MAPS, MAPS, "tuples"),
        unstaged(stages(*STAGES), stages(STAGES[0], (2, 2, 2, 3)), "stage 1 is (2, 2, 2, 4)", "(2, 2, 2, 3)", "one C"),
        unstaged(stages(STAGES[0], (3, 2, 2, 4)), stages(STAGES[0], (3, 2, 2, 4)), "stage 1", "N of every stage"),
        unstaged(stages(STAGES[0], (2, 4)), stages(STAGES[0], (2, 4)), "stage 1", "(N, H, W, C)"),
        unstaged(stages(STAGES[0], (2, 0, 2, 4)), stages(*STAGES), "stage 1", "(2, 0, 2, 4)"),
        unstaged((normal(*STAGES[0]), np.ones(STAGES[1], int)), stages(*STAGES), "student[1] is int64"),
        unstaged(stages(*STAGES), (normal(*STAGES[0]), np.full(STAGES[1], np.nan)), "teacher[1] holds nan", "finite"),
    )),
    Case("singular_vectors, square, three stages", singular_vectors,
         (stages((2, 2, 2, 4), (2, 4, 1, 4), (2, 2, 2, 4)), stages((2, 3, 2, 4), (2, 1, 5, 4), (2, 2, 2, 4)))),
    Case("singular_vectors, more channels than positions", singular_vectors,
         (stages((3, 1, 2, 4), (3, 2, 1, 3)), stages((3, 1, 1, 4), (3, 2, 2, 3)))),
]
