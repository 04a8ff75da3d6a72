"""Teachers of libraries that have channels first: their examples, in any form, with the channels moved last."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.batches import FORMS, ROWS, batches_of, plain
from npkd.data.datasets import Data
from npkd.data.shards import open_shards
from npkd.interop.graph import Imported
from npkd.interop.torch import EXAMPLES, is_module, read
from npkd.nn.model import Model
from npkd.nn.network import Network
from npkd.pipeline.recipe import Recipe


def imported(teacher: Any, x: Any, recipe: Recipe) -> tuple[Any, Any, Recipe, Imported | None]:
    """A torch.nn.Module, or what was read from another library, as a network; the examples for it, and the recipe, in
    which the student learns the teacher's own answers; and how it takes examples. Other teachers are left as they are.
    """
    if not isinstance(teacher, Imported) and not is_module(teacher):
        return teacher, x, recipe, None
    examples, again = peeked(x)
    try:
        one = teacher if isinstance(teacher, Imported) else read(teacher, examples)
    except InputError:
        if not isinstance(x, Data) or examples.ndim == 2:
            raise
        one = read(teacher, x.x_train[:EXAMPLES])                          # its maps may be taken as rows
    source = recipe.distil_from or (one.answers if recipe.epochs != 0 else None)
    source = read(source, examples).answers if is_module(source) else source
    if source is not None and not isinstance(source, (Network, Model)):
        recipe = replace(recipe, distil_from=lambda x: source(first(x, one.shape)))
    if isinstance(recipe.validation, tuple):
        recipe = replace(recipe, validation=(last(array(recipe.validation[0])), recipe.validation[1]))
    return Model(one.network, about={"head": one.head} if one.head else {}), again, recipe, one


def peeked(x: Any) -> tuple[Array, Any]:
    """The first examples, channels first, and all of them, channels last: a Data, or batches, of a DataLoader, which
    may draw anew in every pass, once. Raises InputError for what gives no examples."""
    if isinstance(x, Data):
        maps = x.x_train[:EXAMPLES].reshape(-1, *x.shape, *(1,) * (len(x.shape) == 2))
        return np.moveaxis(maps, -1, 1), x
    if isinstance(x, (str, os.PathLike)):
        give: Any = partial(open_shards(x).batches, ROWS)
    elif any(hasattr(x, name) for name in ("detach", "__array__", "toarray")):
        give = batches_of(array(x))
    elif isinstance(x, Iterator) or any(c.__module__ == "torch.utils.data.dataloader" for c in type(x).__mro__):
        once = iter(x)
        head = list(itertools.islice(once, 1))
        return examples_of(head), batches(itertools.chain(head, once))
    else:
        give = x if callable(x) else lambda: x
    return examples_of(give()), lambda: batches(give())


def examples_of(x: Any) -> Array:
    """The first examples of batches, channels first. Raises InputError where there are none."""
    for batch in x if isinstance(x, Iterable) else ():
        return array(batch[0] if paired(batch) else batch)[:EXAMPLES]
    raise InputError(f"compress: x is of type {type(x).__name__}, and gives no examples; it must be {FORMS}")


def batches(x: Iterable[Any]) -> Iterator[Any]:
    """Batches as arrays with the channels last, or pairs of such and their labels."""
    for batch in x:
        y = batch[1] if paired(batch) and len(batch) == 2 else None
        a = last(array(batch[0] if paired(batch) else batch))
        yield a if y is None else (a, array(y))


def paired(batch: Any) -> bool:
    """Is it a batch with its labels, or the list of one tensor that a DataLoader makes?"""
    return isinstance(batch, (tuple, list)) and len(batch) in (1, 2)


def array(x: Any) -> Array:
    """Numbers, also of a tensor on any device, as an array."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = x.float() if x.is_floating_point() else x
    return plain(x)


def last(x: Array) -> Array:
    """Examples (n, C, H, W), (n, C, L) or (n, I) as npkd takes them, a view: (n, H, W, C), (n, 1, L, C), (n, I)."""
    return np.moveaxis(x, 1, -1)[:, None] if x.ndim == 3 else np.moveaxis(x, 1, -1) if x.ndim > 1 else x


def first(x: Array, shape: tuple[int, ...]) -> Array:
    """Examples as npkd takes them, in the shape of those given."""
    return (np.moveaxis(x, -1, 1) if len(shape) > 1 else x).reshape(len(x), *shape)
