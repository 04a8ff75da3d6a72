"""Teachers of libraries that have channels first: their examples, in any form, with the channels moved last."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import tee
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.batches import FORMS, ROWS, batches_of, floats, iterated, plain
from npkd.data.datasets import Data
from npkd.data.shards import Pair, Shards
from npkd.interop import onnx
from npkd.interop.entry import Entry
from npkd.interop.graph import Imported
from npkd.interop.torch import EXAMPLES, is_module, read
from npkd.nn.model import Model
from npkd.nn.network import Network
from npkd.pipeline.recipe import Recipe


def imported(teacher: Any, x: Any, recipe: Recipe) -> tuple[Any, Any, Recipe, Entry | None, str]:
    """A torch.nn.Module, an ONNX model, or what was read from another library, as a Model; the examples for it, and the
    recipe, in which the student learns the answers of the module itself; how it takes examples; and in words how far
    the outputs of both are apart. Other teachers are left as they are."""
    of_onnx = onnx.is_onnx(teacher)
    if not (of_onnx or isinstance(teacher, Imported) or is_module(teacher)):
        return teacher, x, recipe, None, ""
    example, moved = (None, None) if isinstance(x, Data) else peeked(x)
    if of_onnx:
        given = onnx.read(teacher, example)
        model, entry, words = given.model, given.entry, given.checked
        x = x if moved else entry.of_data(x)
    else:
        if isinstance(x, Data):                                      # of a perceptron rows
            maps = len(x.shape) == 3 or isinstance(teacher, Imported) or any(p.ndim > 2 for p in teacher.parameters())
            shape = (*x.shape, 1)[:3] if maps else (math.prod(x.shape),)
            example = np.moveaxis(x.x_train[:EXAMPLES].reshape(-1, *shape), -1, 1)
        one = teacher if isinstance(teacher, Imported) else read(teacher, example)
        model, entry = one.model, Entry.of(one.shape)
        words = f"outputs differ by at most {one.difference or 0.0:.1e} of the largest from the module's"
        source = recipe.distil_from or (one.answers if recipe.epochs != 0 else None)
        source = read(source, example).answers if is_module(source) else source
        if source is not None and not isinstance(source, (Network, Model)):
            recipe = replace(recipe, distil_from=lambda x: source(entry.back(x)))
    if isinstance(recipe.validation, tuple):
        recipe = replace(recipe, validation=(entry(recipe.validation[0]), recipe.validation[1]))
    return model, moved(entry) if moved else x, recipe, entry, words


def peeked(x: Any) -> tuple[Array, Callable[[Entry], Any]]:
    """The first batch, and what gives all of them as npkd takes them, with their labels where they have some. A
    DataLoader, which may draw anew in every pass, is read once. Raises InputError for what gives no examples."""
    if any(c.__module__ == "torch.utils.data.dataloader" for c in type(x).__mro__):
        x = iter(x)
    give = x if callable(x) else lambda: x
    x = Shards(x) if isinstance(x, (str, os.PathLike)) else x
    if isinstance(x, Shards):
        give = partial(x.batches, ROWS)
    elif any(hasattr(x, name) for name in ("detach", "__array__", "toarray")):
        give = batches_of(plain(x))
    one, other = tee(iterated(x)) if isinstance(x, Iterator) else (iterated(give()), None)
    batch = next((batch for batch in one if batch[0].size), None)
    if batch is None:
        raise InputError(f"compress: x has no examples; it must be {FORMS}")
    floats(batch[0][:EXAMPLES], 0, None)                              # finite
    if isinstance(x, Shards):
        return batch[0], lambda entry: x.changed(partial(turned, entry))
    return batch[0], lambda entry: moved(other, entry) if other else lambda: moved(iterated(give()), entry)


def turned(entry: Entry, x: Array) -> Array:
    """Examples as npkd takes them; pictures of one channel are (n, H, W)."""
    x = entry(x)
    return x[..., 0] if x.ndim == 4 and x.shape[-1] == 1 else x


def moved(batches: Iterable[Pair], entry: Entry) -> Iterator[Any]:
    """Batches as npkd takes them, with their labels where they have some."""
    return (turned(entry, x) if y is None else (turned(entry, x), y) for x, y in batches)
