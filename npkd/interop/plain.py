"""A network as it is written out in code: its layers without what only training needs, and what they count in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from npkd.compression.integer import IntegerNetwork
from npkd.core.grids import odd_part
from npkd.core.types import Array
from npkd.core.validation import InputError, as_array, finite
from npkd.nn import cost
from npkd.nn.model import Model
from npkd.nn.network import Network, reads_maps
from npkd.surgery.folding import fold


@dataclass(frozen=True, eq=False)
class Plain:
    """A model to be written out.

    numbers     what its layers of weights count in: "float"; "int8", bytes summed up in int32; or "dyadic", the same
                where all weights are 0 or ± powers of two (or all factors are): sums of shifted numbers
    network     float32, batch norms and gates folded in; of whole numbers their simulation, float64
    whole       the network in whole numbers; None of floats
    """

    model: Model
    numbers: str
    network: Network
    whole: IntegerNetwork | None
    shapes: Sequence[tuple[int, ...]]

    @staticmethod
    def of(model: Model, shape: Sequence[int] | None = None) -> Plain:
        """Of a model; ``shape`` of an example, (H, W, C), where its layers do not tell it. Raises InputError without
        one, for ops of one's own, a batch norm without running moments, and numbers that are not finite."""
        network = model.network
        for i, layer in enumerate(network.layers):
            if layer.row is layer.op or (layer.row.running and not layer.running):
                what = "is an op of your own" if layer.row is layer.op else "has no running moments"
                raise InputError(f"export: layer {i}, {layer.row}, {what}; it cannot be written out")
            finite(f"export: layer {i}, {layer.row},", **dict(zip(layer.row.params, layer.params, strict=True)))
        given = tuple(shape or ()) + (1,) * (len(shape or ()) == 2)
        if not reads_maps(network) or not given:
            given, asked = cost.input_shape(network) if model.scaling is None else model.scaling.offset.shape, given
            if asked and np.prod(asked) != np.prod(given):
                raise InputError(f"export: shape is {asked}; an example of this network has {given[0]} values")
        for shifts in (True, False):
            try:
                whole = IntegerNetwork.of(network, shifts=shifts)
            except InputError:
                continue
            odd = [odd_part(a[0].astype(np.float64))[0] for layer, a in whole.layers if layer.row.weights]
            numbers = "dyadic" if shifts or all((abs(m) <= 1).all() for m in odd) else "int8"
            return Plain(model, numbers, whole.simulation, whole, cost.shapes(network, given))
        network = fold(network.astype(np.float64)).astype(np.float32)
        return Plain(model, "float", network, None, cost.shapes(network, given))

    def classes(self, x: Array) -> Array:
        """The class (N,) of raw examples x (N, ...), float32, by npkd: of whole numbers by their own pass."""
        x = as_array("export", x).astype(np.float32)
        if self.whole is not None:
            scaled = self.model.scaling.apply(x) if self.model.scaling else x.reshape(len(x), *self.shapes[0])
            y = self.whole(scaled)
        else:
            y = self.model.logits(x)
        return np.asarray(y[:, 0] > 0, np.int64) if y.shape[1] == 1 else y.argmax(axis=1)
