"""Cases of losses on relations between the examples of a batch."""

from tests.cases import Case

CASES: list[Case] = [
]
