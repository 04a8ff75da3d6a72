"""Libraries that npkd needs for one thing only: imported when they are asked for, with a clear message without them."""

from __future__ import annotations

import importlib
from types import ModuleType

from npkd.core.validation import InputError


def said(error: Exception) -> str:
    """What an exception of another library says, in one line."""
    return " ".join(str(error).split())[:200]


def need(module: str, extra: str, who: str) -> ModuleType:
    """A module of a library that an extra of npkd installs. Raises InputError, with the command, without it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{who} needs {module.partition('.')[0]}, which cannot be imported ({error}); to install it: "
                         f"pip install 'npkd[{extra}]'") from error
