"""How examples and kernels of a network of another library, channels first, become those of npkd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.batches import plain
from npkd.data.datasets import Data
from npkd.nn.scaling import Scaling


def channels_last(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of one example in npkd: (C, H, W) -> (H, W, C), (C, L) -> (1, L, C), (I,) as it is."""
    return (*(1,) * (len(shape) == 2), *shape[1:], shape[0]) if len(shape) > 1 else tuple(shape)


def first(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape of npkd with the channels first."""
    return (shape[-1], *shape[:-1])


def flat_order(shape: Sequence[int]) -> Array | None:
    """For every entry of a flattened map (H, W, C) its place where channels come first; None where both are the same.

        (r, s, c)  ->  c H W + r W + s
    """
    h, w, c = shape
    return None if c == 1 or h * w == 1 else np.arange(c * h * w).reshape(c, h, w).transpose(1, 2, 0).ravel()


def evened(w: Array, before: Sequence[int], behind: Sequence[int], dilation: Sequence[int],
           require: Callable[[Any, str], None]) -> tuple[Array, dict[str, Any]]:
    """A kernel w (F, kh, kw, C) for maps padded by ``before`` and ``behind`` rows and columns as one for maps padded
    alike, and its options: where more is padded behind, the kernel gets as many zeros in front, and the other way."""
    zeros, rest = np.divmod(np.subtract(behind, before), dilation)
    require(not rest.any(), f"pads by {[*before]} before and {[*behind]} behind, between its dilated weights")
    w = np.pad(w, [(0, 0), *((max(n, 0), max(-n, 0)) for n in zeros.tolist()), (0, 0)])
    return w, {"padding": tuple(np.maximum(before, behind).tolist()), "dilation": tuple(dilation)}


@dataclass(frozen=True, eq=False)
class Entry:
    """Examples of a network of another library.

    shape       of one as that network takes it;   inner    as the network reshapes it at once, mostly the same
    layout      what the axes of a batch of ``inner`` are: "NC", "NCW", "NWC", "NCHW", or "NHWC"
    """

    shape: tuple[int, ...]
    inner: tuple[int, ...]
    layout: str

    @staticmethod
    def of(shape: Sequence[int]) -> Entry:
        """Of examples that are taken as they are, channels first."""
        return Entry(tuple(shape), tuple(shape), {1: "NC", 2: "NCW", 3: "NCHW"}[len(shape)])

    @property
    def order(self) -> tuple[int, ...]:
        """The axes of a batch, channels first."""
        return tuple(self.layout.index(a) for a in "NCHW" if a in self.layout)

    @property
    def channels_first(self) -> tuple[int, ...]:
        """The shape of an example, channels first."""
        return tuple(self.inner[a - 1] for a in self.order[1:])

    def __call__(self, x: Any) -> Array:
        """x (N, *shape), also a tensor, -> (N, H, W, C), or (N, I). Raises InputError for another shape."""
        a = plain(x)
        if a.shape[1:] != self.shape:
            raise InputError(f"compress: an example has the shape {a.shape[1:]}; the teacher takes {self.shape}")
        a = a.reshape(len(a), *self.inner).transpose(self.order)
        return np.moveaxis(a, 1, -1).reshape(len(a), *channels_last(self.channels_first))

    def back(self, x: Array) -> Array:
        """Examples as ``__call__`` gives them, or flat, in the shape of those that were given."""
        a = np.moveaxis(x.reshape(len(x), *channels_last(self.channels_first)), -1, 1)
        return a.reshape(len(x), *self.channels_first).transpose(np.argsort(self.order)).reshape(len(x), *self.shape)

    def of_data(self, data: Data) -> Data:
        """A data set of examples as the other network takes them, or flat, in npkd's order."""
        if np.prod(data.shape) != np.prod(self.shape):
            raise InputError(f"compress: an example of {data.name} has the shape {tuple(data.shape)}; the teacher "
                             f"takes {self.shape}")
        at = self(np.arange(data.x_train.shape[1]).reshape(1, *self.shape))
        parts = {name: getattr(data, name)[:, at.ravel()] for name in ("x_train", "x_validation", "x_test")}
        scaling = Scaling(data.scaling.offset[at.ravel()], data.scaling.factor[at.ravel()])
        stream = data.stream and data.stream.then(partial(np.take, indices=at.ravel(), axis=1))
        return replace(data, **parts, scaling=scaling, shape=at.shape[1:] if at.ndim > 2 else data.shape, stream=stream)
