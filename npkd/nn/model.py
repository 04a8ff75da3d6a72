"""A network in a file: an .npz with a JSON header, written whole or not at all, read without executing anything."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npkd.core.files import VERSION, NewPath, read_npz, write_npz
from npkd.core.types import Array
from npkd.core.validation import InputError, finite
from npkd.nn.fast.workspace import predict
from npkd.nn.network import Layer, Network, parameters_of, reads_maps
from npkd.nn.scaling import Scaling, flat


@dataclass(frozen=True, eq=False)
class Model:
    """A network with all that is needed to use it.

    network     takes scaled inputs (N, I), gives logits (N, C)
    scaling     what raw inputs go through, learnt on the training part; None where they go in as they are
    about       what the file says of itself: JSON values (data, seed, how it was made)
    """

    network: Network
    scaling: Scaling | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def logits(self, x: Array) -> Array:
        """Logits of raw inputs x (N, ...), in any numeric dtype: (N, C).

        Raises InputError unless x holds examples of finite integers or floating-point numbers, as wide as the network
        or its scaling asks.
        """
        x = np.asarray(x)
        dtype = next(p.dtype for layer in self.network.layers for p in layer.params)
        rows = flat("Model.logits", x)
        whole = self.network.layers[0].op == "flatten" or reads_maps(self.network)
        with np.errstate(over="ignore"):
            ready = np.ascontiguousarray(self.scaling.apply(x) if self.scaling else x if whole else rows, dtype)
        finite("Model.logits", x=ready)
        return predict(self.network, ready)


def save(path: NewPath, model: Model) -> None:
    """Write a model. The same model gives the same bytes. Raises InputError where the system refuses to write."""
    layers, arrays = [], dict[str, Array]()
    for i, layer in enumerate(model.network.layers):
        layers.append({"op": layer.op, "options": dict(layer.options), "running": len(layer.running)})
        for name, p in zip(parameters_of(layer.op), layer.params, strict=True):
            arrays[f"{i}.{name}"] = p
        for k, r in enumerate(layer.running):
            arrays[f"{i}.running{k}"] = r
    if model.scaling:
        arrays |= {"offset": model.scaling.offset, "factor": model.scaling.factor}
    write_npz(path, {"format": "npkd-network", "version": VERSION, "layers": layers, "about": dict(model.about)},
              arrays)


def load(path: NewPath) -> Model:
    """Read a model that ``save`` wrote.

    Raises InputError for a file that is missing, truncated or not npkd's, for layers that this npkd does not know, and
    for arrays whose shapes do not follow one another.
    """
    header, arrays = read_npz(path, "network")
    try:
        layers = []
        for i, entry in enumerate(header["layers"]):
            params = tuple(arrays[f"{i}.{name}"] for name in parameters_of(entry["op"]))
            running = tuple(arrays[f"{i}.running{k}"] for k in range(entry["running"]))
            layers.append(Layer(entry["op"], params, entry["options"], running))
        network = Network(layers)
        scaling = Scaling(arrays["offset"], arrays["factor"]) if "offset" in arrays else None
        first = next(p for layer in layers for p in layer.params)
        for name, a in arrays.items():
            if not np.isfinite(a).all():
                raise InputError(f"array {name} is not finite")
        about = header["about"]
        if network.widths and not reads_maps(network):
            width = len(scaling.offset) if scaling else input_width(network)
            network(np.zeros((2, width), first.dtype))                # shapes that do not follow one another show here
    except (KeyError, TypeError, AttributeError, StopIteration, IndexError, ValueError) as error:
        raise InputError(f"read: {path} does not hold a network that this npkd can run ({error!r:.120}); give one that "
                         f"npkd saved") from error
    return Model(network, scaling, about)


def input_width(network: Network) -> int:
    """How many values a row holds that the network takes: what its first layer reads, or what its ``select`` must at
    least have."""
    if network.layers[0].op == "select":
        return int(max(network.layers[0].options["kept"])) + 1
    if network.layers[0].op == "unflatten":
        return math.prod(network.layers[0].options["shape"])
    return network.widths[0]
