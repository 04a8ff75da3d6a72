"""npkd: sparse neural networks by knowledge distillation, written by hand in NumPy."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npkd import gradcheck
    from npkd.data.shards import Shards
    from npkd.interop.layers import Layers
    from npkd.nn.model import Model, load, save
    from npkd.nn.network import Layer, Network
    from npkd.nn.training import train
    from npkd.pipeline.compress import compress
    from npkd.pipeline.recipe import Recipe
    from npkd.pipeline.result import CompressionResult
    from npkd.report.compressed import write_report

__all__ = ["CompressionResult", "Layer", "Layers", "Model", "Network", "Recipe", "Shards", "compress", "gradcheck",
           "load", "save", "train", "write_report"]
__version__ = "0.2.0"

DOORS = {"CompressionResult": "pipeline.result", "Layer": "nn.network", "Layers": "interop.layers", "Model": "nn.model",
         "Network": "nn.network", "Recipe": "pipeline.recipe", "Shards": "data.shards",
         "compress": "pipeline.compress", "load": "nn.model", "save": "nn.model", "train": "nn.training",
         "write_report": "report.compressed"}
"""The module of each public name. It is imported when the name is first asked for: ``npkd --help`` answers at once."""


def __getattr__(name: str) -> Any:
    """A public name, from the module that defines it."""
    if name == "gradcheck":
        return importlib.import_module("npkd.gradcheck")
    if name not in DOORS:
        raise AttributeError(f"module 'npkd' has no attribute {name!r}")
    return getattr(importlib.import_module(f"npkd.{DOORS[name]}"), name)


def __dir__() -> list[str]:
    """All public names, also before they are imported: tab completion finds them."""
    return sorted({*globals(), *__all__})
