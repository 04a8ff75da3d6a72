"""``npkd check``: in a checkout, everything public against its definition (reference/check.py)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import npkd
from npkd.core.validation import InputError


def checkout(places: Sequence[Path]) -> Path:
    """The first place with reference/ and tests/, which becomes importable. Raises InputError where none has them."""
    for place in places:
        if (place / "reference" / "check.py").is_file() and (place / "tests" / "catalogue.py").is_file():
            if str(place) not in sys.path:
                sys.path.insert(0, str(place))
            return place
    raise InputError("npkd check: the definitions (reference/) and the catalogue (tests/) are not installed with the "
                     "package; run it from a checkout")


def main(as_json: bool = False, quiet: bool = False) -> int:
    """Print the table, or its rows as JSON, and return the exit code: 0 where everything passed, else 1."""
    root = checkout([Path.cwd(), Path(npkd.__file__).resolve().parent.parent])
    code: int = importlib.import_module("reference.check").main(root, as_json, quiet)
    return code
