"""Gates and batch norms multiplied into the weights beside them, exactly; and layers put in and taken out.

The folded network predicts what it predicted, up to rounding; it would not train alike.
Derivation: docs/book/11-surgery.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from npkd.core.types import Array
from npkd.nn.network import Layer, Network
from npkd.nn.scaling import Scaling


def inserted(network: Network, at: int, layer: Layer) -> Network:
    """The network with a new layer in front of layer ``at``: all readers of activation ``at`` read its output."""
    layers = lengthened(network, at, 1)
    return Network([*layers[:at], layer, *layers[at:]])


def without(network: Network, at: int) -> Network:
    """The network without layer ``at``: all readers of its output read its input."""
    layers = lengthened(network, at + 1, -1)
    return Network([*layers[:at], *layers[at + 1:]])


def lengthened(network: Network, at: int, by: int) -> list[Layer]:
    """The layers; skips from before activation ``at`` to a layer behind it reach over ``by`` layers more."""
    return [replace(layer, options={**layer.options, "back": layer.back + by}) if i - layer.back < at <= i else layer
            for i, layer in enumerate(network.layers)]


def skipped(network: Network) -> set[int]:
    """The activations that a later addition or recall reads."""
    return {i - layer.back for i, layer in enumerate(network.layers) if layer.back}


def affine(layer: Layer) -> tuple[Array, Array] | None:
    """(s, t), (J,) float64, of a layer that predicts s x + t: a gate, a batch norm with moments (U6). Else None."""
    row = layer.row
    if row.affine is None or (row.running and not layer.running):
        return None
    params, running = ([a.astype(np.float64) for a in arrays] for arrays in (layer.params, layer.running))
    return row.affine(*params, **layer.settings, **({"running": running} if row.running else {}))


def fold(network: Network) -> Network:
    """Every batch norm with running moments, and every gate, multiplied into the weights beside it where that is exact.

    They go into the dense layer or convolution right in front (U7), also past an offset; else a gate goes into what
    reads it (U8), if what stands between lets a factor pass. What a skip reads in between stays as it is.
    """
    i = 0
    while i < len(network.layers):
        smaller = into_maker(network, i) or into_reader(network, i)
        network, i = (smaller, 0) if smaller else (network, i + 1)
    return network


def into_scaling(network: Network, size: int, scaling: Scaling | None) -> tuple[Network, Scaling | None]:
    """The network without a batch norm in front, of ``size`` raw inputs, which goes into their scaling (o, f).

        s (x − o) f + t = sign(s) (x − (o − t / (s f))) |s| f                           (U9)

    The sign goes into the weights. Where that cannot be both are given back as they are."""
    at = next((i for i, layer in enumerate(network.layers) if not layer.row.flat), 0)
    layer = network.layers[at]
    both = affine(layer) if layer.row.running and not skipped(network) & {*range(at + 1)} else None
    if both is None or not both[0].all():
        return network, scaling
    s, t = both
    gate = network.replace({at: Layer("gate", (np.sign(s).astype(layer.params[0].dtype),))})
    folded = into_reader(gate, at) if (s < 0).any() else without(network, at)
    o, f = (scaling.offset, scaling.factor) if scaling else (np.zeros(size), np.ones(size))
    if folded is None:
        return network, scaling
    s, t = np.resize(s, size), np.resize(t, size)                   # over maps, channels last, again and again
    return folded, Scaling(o - t / (s * f), (abs(s) * f).astype(np.float32))         # (U9)


def into_maker(network: Network, at: int) -> Network | None:
    """The network with layer ``at`` folded into the weights in front of it, None where that cannot be.

        s (Σ w x + b + m) + t = Σ (s w) x + (s b + t) + s m                            (U7)
    """
    both, maker = affine(network.layers[at]), at - 1
    while maker > 0 and network.layers[maker].op == "offset":
        maker -= 1
    between = set(range(maker + 1, at + 1))
    row = network.layers[max(maker, 0)].row
    if both is None or maker < 0 or not (row.weights or row.depthwise) or skipped(network) & between:
        return None
    s, t = both
    w, b = network.layers[maker].params
    along = s if row.depthwise else s.reshape(-1, *[1] * (w.ndim - 1))
    scaled = (w * along).astype(w.dtype), (s * b + t).astype(b.dtype)                # (U7)
    changed = {maker: replace(network.layers[maker], params=scaled)}
    for i in range(maker + 1, at):
        m = network.layers[i].params[0]
        changed[i] = replace(network.layers[i], params=((m * s).astype(m.dtype),))    # (U7)
    return without(network.replace(changed), at)


def into_reader(network: Network, at: int) -> Network | None:
    """The network with the gate ``at`` multiplied into the weights that read it, None where that cannot be.

        Σ_j w_:j f(g_j x_j) = Σ_j (w_:j g_j) f(x_j)                                    (U8)
    """
    if network.layers[at].op != "gate":
        return None
    g = network.layers[at].params[0]
    passed, reader = ("all", "positive") if (g >= 0).all() else ("all",), at + 1
    while reader < len(network.layers) and network.layers[reader].row.homogeneous in passed:
        if network.layers[reader].op == "select":
            g = g[np.asarray(network.layers[reader].options["kept"]) % len(g)]  # behind flatten: position · C + channel
        reader += 1
    if reader == len(network.layers) or skipped(network) & set(range(at + 1, reader + 1)):
        return None
    layer = network.layers[reader]
    if not layer.row.weights or layer.grouped:
        return None
    w, b = layer.params
    scaled = (w * np.resize(g, w.shape[-1])).astype(w.dtype)                        # (U8)  behind flatten over and over
    return without(network.replace({reader: replace(layer, params=(scaled, b))}), at)
