"""CHANGELOG.md: one version everywhere, and its tables name what is there and what is not any more."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import npkd

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
MOVED = re.findall(r"^\| `((?:npkd|reference)[\w.]*)` \| `((?:npkd|reference)[\w.]*)` \|$", TEXT, re.MULTILINE)
"""(old name, new name) of modules and of what they define."""


def exists(name):
    """Can it be imported: a module, or a module's attribute?"""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_one_version_everywhere():
    said = {name: re.search(pattern, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE).group(1)
            for name, pattern in (("setup.py", r'version="(.*)"'), ("CITATION.cff", r"^version: (.*)$"),
                                  ("CHANGELOG.md", r"^## (\d.*)$"))}
    assert set(said.values()) == {npkd.__version__}


def test_the_tables_are_read():
    assert len(MOVED) > 70
    assert exists("npkd.nn.layers.dense")
    assert not exists("npkd.nn.layers.dence")


@pytest.mark.parametrize(("old", "new"), MOVED)
def test_what_is_new_exists_and_what_is_old_does_not(old, new):
    """A package may bear the name of an old module (npkd.data): then the name itself lies in it."""
    assert exists(new)
    assert not exists(old) or hasattr(importlib.import_module(old), "__path__")
