"""Teachers of libraries that have channels first: their examples, in any form, with the channels moved last."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import tee
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.batches import FORMS, ROWS, batches_of, iterated, plain
from npkd.data.datasets import Data
from npkd.data.shards import Pair, open_shards
from npkd.interop import onnx
from npkd.interop.entry import Entry, channels_last
from npkd.interop.graph import Imported
from npkd.interop.torch import EXAMPLES, is_module, read
from npkd.nn.model import Model
from npkd.nn.network import Network
from npkd.pipeline.recipe import Recipe


def imported(teacher: Any, x: Any, recipe: Recipe) -> tuple[Any, Any, Recipe, Entry | None, str]:
    """A torch.nn.Module, an ONNX model, or what was read from another library, as a Model; the examples for it, and the
    recipe, in which the student learns the answers of the module itself; how it takes examples; and in words how far
    the outputs of both are apart. Other teachers are left as they are."""
    if onnx.is_onnx(teacher):
        return from_onnx(teacher, x if isinstance(x, Data) else plain(x), recipe)
    if not isinstance(teacher, Imported) and not is_module(teacher):
        return teacher, x, recipe, None, ""
    if isinstance(x, Data):                                          # of a perceptron rows
        maps = len(x.shape) == 3 or isinstance(teacher, Imported) or any(p.ndim > 2 for p in teacher.parameters())
        shape = (*x.shape, 1)[:3] if maps else (math.prod(x.shape),)
        example, again = np.moveaxis(x.x_train[:EXAMPLES].reshape(-1, *shape), -1, 1), x
    else:
        example, again = peeked(x)
    one = teacher if isinstance(teacher, Imported) else read(teacher, example)
    source = recipe.distil_from or (one.answers if recipe.epochs != 0 else None)
    source = read(source, example).answers if is_module(source) else source
    if source is not None and not isinstance(source, (Network, Model)):
        recipe = replace(recipe, distil_from=lambda x: source(first(x, one.shape)))
    if isinstance(recipe.validation, tuple):
        recipe = replace(recipe, validation=(last(plain(recipe.validation[0])), recipe.validation[1]))
    words = f"outputs differ by at most {one.difference or 0.0:.1e} of the largest from the module's"
    return one.model, again, recipe, Entry.of(one.shape), words


def from_onnx(teacher: Any, x: Data | Array, recipe: Recipe) -> tuple[Any, Any, Recipe, Entry, str]:
    """``imported`` of an ONNX model, compared with a runtime on some of the examples."""
    given = onnx.read(teacher, None if isinstance(x, Data) else x)
    if isinstance(recipe.validation, tuple):
        recipe = replace(recipe, validation=(given.entry(recipe.validation[0]), recipe.validation[1]))
    again = given.entry.of_data(x) if isinstance(x, Data) else given.entry(x)
    return given.model, again, recipe, given.entry, given.checked


def peeked(x: Any) -> tuple[Array, Any]:
    """The first batch, channels first, and all of them, channels last. A DataLoader, which may draw anew in every pass,
    is read once. Raises InputError for what gives no examples."""
    if any(c.__module__ == "torch.utils.data.dataloader" for c in type(x).__mro__):
        x = iter(x)
    give = x if callable(x) else lambda: x
    if isinstance(x, (str, os.PathLike)):
        give = partial(open_shards(x).batches, ROWS)
    elif any(hasattr(x, name) for name in ("detach", "__array__", "toarray")):
        give = batches_of(plain(x))
    one, other = tee(iterated(x)) if isinstance(x, Iterator) else (iterated(give()), None)
    batch = next(one, None)
    if batch is None:
        raise InputError(f"compress: x has no examples; it must be {FORMS}")
    return batch[0], moved(other) if other else lambda: moved(iterated(give()))


def moved(batches: Iterable[Pair]) -> Iterator[Any]:
    """Batches with the channels last, with their labels where they have some."""
    return (last(x) if y is None else (last(x), y) for x, y in batches)


def last(x: Array) -> Array:
    """Examples (n, C, H, W), (n, 1, H, W), (n, C, L) or (n, I) as npkd takes them, a view: (n, H, W, C), (n, H, W),
    (n, 1, L, C), (n, I)."""
    if x.ndim == 4 and x.shape[1] == 1:
        return x[:, 0]
    return np.moveaxis(x, 1, -1)[:, None] if x.ndim == 3 else np.moveaxis(x, 1, -1) if x.ndim > 1 else x


def first(x: Array, shape: tuple[int, ...]) -> Array:
    """Examples as npkd takes them, in the shape of those given."""
    return np.moveaxis(x.reshape(len(x), *channels_last(shape)), -1, 1).reshape(len(x), *shape)
