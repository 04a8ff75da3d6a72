"""A network in a file: an .npz with a JSON header, written whole or not at all, read without executing anything."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from npkd.core.coded_files import coded_bytes, is_coded, read_coded
from npkd.core.files import VERSION, NewPath, npz_bytes, read_npz, write_bytes
from npkd.core.types import Array
from npkd.core.validation import InputError, as_array, finite
from npkd.nn.cost import input_shape
from npkd.nn.fast.workspace import predict
from npkd.nn.network import Layer, Network, reads_maps
from npkd.nn.ops import OPS, Op
from npkd.nn.scaling import Scaling, flat

CODED = ".npkz"
"""The end of the name of a coded file."""

MOST_LAYERS = 10_000
"""Layers of a network that is read from a file."""

WINDOW = 256
"""Rows and columns that a window, its padding and its dilation, of a network from a file, may have."""

SIDE = 1 << 16
"""Rows and columns of the maps (none of them) on which a network of convolutions that names no size is run."""


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

        Raises InputError unless x holds finite numbers, in examples as wide as the network or its scaling asks.
        """
        x = as_array("Model.logits", x)
        same_maps("Model.logits: the network", self.network, x.shape[1:])
        dtype = next(p.dtype for layer in self.network.layers for p in layer.params)
        rows = flat("Model.logits", x)
        whole = self.network.layers[0].row.flat or reads_maps(self.network)
        with np.errstate(over="ignore"):
            ready = np.ascontiguousarray(self.scaling.apply(x) if self.scaling else x if whole else rows, dtype)
        finite("Model.logits", x=ready)
        return predict(self.network, ready)


def same_maps(who: str, network: Network, shape: tuple[int, ...]) -> None:
    """Raise InputError where examples are maps of another shape (H, W, C) than an ``unflatten`` or weights read."""
    first = next((layer for layer in network.layers
                  if layer.row.maps is not None and (layer.params or not layer.row.per_neuron)), None)
    whole = first is not None and first.op == "unflatten"
    if len(shape) < 2 or first is None or not (whole or (first.params and first.row.maps)):
        return
    maps = (*shape, 1)[:max(len(shape), 3)]
    reads = (*first.options["shape"], 1)[:len(maps)] if whole else (
        "height", "width", first.params[0].shape[-1] * first.options.get("groups", 1))
    known = slice(0 if whole else 2, None)                               # a conv2d reads maps of any size
    if maps[known] != reads[known]:
        hint = "; channels come last: give np.moveaxis(x, 1, -1)" if (*maps[1:], maps[0])[known] == reads[known] else ""
        raise InputError(f"{who} reads maps ({', '.join(map(str, reads))}), and an example has the shape {shape}{hint}")


def save(path: NewPath, model: Model) -> None:
    """Write a model, coded where the name ends with .npkz: chapter 26. The same model gives the same bytes.
    Raises InputError where the system refuses to write."""
    write_bytes(path, content(model, coded=os.fspath(path).endswith(CODED), who=f"write: {path}"))


def content(model: Model, *, coded: bool = False, who: str = "model") -> bytes:
    """The bytes of the file that ``save`` writes."""
    layers, arrays = [], dict[str, Array]()
    for i, layer in enumerate(model.network.layers):
        layers.append({"op": str(layer.op), "options": dict(layer.options), "running": len(layer.running)})
        for name, p in zip(layer.row.params, layer.params, strict=True):
            arrays[f"{i}.{name}"] = p
        for k, r in enumerate(layer.running):
            arrays[f"{i}.running{k}"] = r
    if model.scaling:
        arrays |= {"offset": model.scaling.offset, "factor": model.scaling.factor}
    header = {"format": "npkd-network", "version": VERSION, "layers": layers, "about": dict(model.about)}
    return coded_bytes(header, arrays, who) if coded else npz_bytes(header, arrays, who=who)


def load(path: NewPath, ops: Sequence[Op] = ()) -> Model:
    """Read a model that ``save`` wrote, coded or not, whatever its name; ``ops``: rows of ops of one's own in it.

    Raises InputError for a file that is missing, truncated or not npkd's, for layers that this npkd does not know, and
    for arrays and options that do not fit. It takes no more memory than the arrays.
    """
    if is_coded(path) or (os.fspath(path).endswith(CODED) and os.path.isfile(path) and not zipfile.is_zipfile(path)):
        header, arrays = read_coded(path, "network")
    else:
        header, arrays = read_npz(path, "network", "; make one with npkd.nn.model.save(path, npkd.nn.model.Model("
                                  "network)), or give arrays to npkd.compress as they are, [(w0, b0), (w1, b1), …]")
    try:
        layers, known, used = [], {**OPS, **{op.name: op for op in ops}}, set[str]()
        if len(header["layers"]) > MOST_LAYERS:
            raise InputError(f"{len(header['layers'])} layers; at most {MOST_LAYERS} are read")
        for i, entry in enumerate(header["layers"]):
            if entry["op"] not in known:
                raise InputError(f"it holds the op {entry['op']!r}, none of npkd's: give its row, load(…, ops=[row])")
            names = [f"{i}.{name}" for name in known[entry["op"]].params]
            running = [f"{i}.running{k}" for k in range(min(entry["running"], 3))]
            layers.append(Layer(known[entry["op"]], tuple(arrays[k] for k in names), entry["options"],
                                tuple(arrays[k] for k in running)))
            used |= {*names, *running}
        network = Network(layers)
        scaling = Scaling(arrays["offset"], arrays["factor"]) if "offset" in arrays else None
        surplus = sorted(set(arrays) - used - ({"offset", "factor"} if scaling else set()))
        if surplus:
            raise InputError(f"array {surplus[0]} belongs to no layer")
        for name, a in arrays.items():
            if not a.size or not np.isfinite(a).all():
                raise InputError(f"array {name} is empty or not finite")
        about = header["about"]
        if not all(isinstance(table, dict) for table in (about, *(layer.options for layer in layers))):
            raise InputError("about, or the options of a layer, are no table")
        check_shapes(network, scaling, arrays[min(used)].dtype)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, ArithmeticError, MemoryError,
            RecursionError) as error:
        words = str(error) if isinstance(error, InputError) else repr(error)
        raise InputError(f"read: {path} does not hold a network that this npkd can run ({words:.200})") from error
    return Model(network, scaling, about)


def check_shapes(network: Network, scaling: Scaling | None, dtype: np.dtype[Any]) -> None:
    """Run a network on no examples, maps up to their flatten. Raises InputError for shapes and windows that misfit."""
    changed, layers, maps = {}, network.layers, reads_maps(network)
    for i, layer in enumerate(layers):
        window = [layer.options.get(name, 1) for name in ("size", "padding", "dilation")]
        window += [p.shape[1:3] for p in layer.params[:1] if layer.op == "conv2d"]
        window += [p.shape[:2] for p in layer.params[:1] if layer.row.depthwise]
        if max(map(np.max, window)) > WINDOW:
            raise InputError(f"layer {i} is {layer.op} with {dict(layer.options)}; a window is at most {WINDOW} wide")
        if layer.row.running and not layer.running:                   # no examples have no moments
            changed[i] = replace(layer, running=(np.ones_like(layer.params[0]),) * 2)
        if layer.op == "offset" and maps:                             # its maps have a size
            changed[i] = Layer("relu")
    flat = next((i for i, layer in enumerate(layers) if layer.row.flat and maps), len(layers))
    front = next((layer for layer in layers[:flat] if layer.params), None)
    own = any(layer.row is not OPS.get(str(layer.op)) for layer in layers)
    if not maps:
        shape: tuple[int, ...] = (len(scaling.offset),) if scaling else input_shape(network)
    elif front and not own:
        shape = SIDE, SIDE, front.params[0].shape[-1] * front.options.get("groups", 1)
    else:
        return
    Network(network.replace(changed).layers[:flat])(np.zeros((2 * own, *shape), dtype))
