"""npkd: sparse neural networks by knowledge distillation, written by hand in NumPy."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npkd.pipeline.compress import CompressionResult, Layers, compress

__all__ = ["CompressionResult", "Layers", "compress"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """``npkd.compress`` and what belongs to it are loaded when they are asked for: ``npkd --help`` answers at once."""
    if name in __all__:
        module = importlib.import_module("npkd.pipeline.compress")
        return getattr(module, name)
    raise AttributeError(f"module 'npkd' has no attribute {name!r}")
