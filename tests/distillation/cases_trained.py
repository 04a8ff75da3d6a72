"""Cases of losses with trained parts or a memory."""

from tests.cases import Case

CASES: list[Case] = [
]
