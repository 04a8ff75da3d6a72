"""Cases of losses on activations."""

from tests.cases import Case

CASES: list[Case] = [
]
