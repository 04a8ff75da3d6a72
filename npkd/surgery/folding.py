"""Folding: what only scales or shifts each channel goes into the weights beside it, exactly; and layers are put in and
taken out.

The folded network predicts what it predicted, up to rounding. In training it would not be the same: a batch norm there
uses the moments of the batch, and a gate is what a penalty acts on. Derivation: docs/7-surgery.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from npkd.core.types import Array
from npkd.nn.network import Layer, Network

LINEAR = ("dropout", "average_pool", "global_average_pool", "flatten", "select")
"""Ops that a factor of each channel may pass: f(g x) = g f(x)."""

INCREASING = (*LINEAR, "relu", "max_pool")
"""Ops that a factor of each channel may pass unless it is negative."""


def inserted(network: Network, at: int, layer: Layer) -> Network:
    """The network with a layer in front of layer ``at``: all that read activation ``at`` read what the new layer makes
    of it."""
    layers = list(network.layers)
    for i in range(at, len(layers)):
        if layers[i].back and i - layers[i].back < at:
            layers[i] = Layer("add", options={"back": layers[i].back + 1})         # the path around is one layer longer
    return Network([*layers[:at], layer, *layers[at:]])


def without(network: Network, at: int) -> Network:
    """The network without layer ``at``: all that read what it made read what it took."""
    layers = list(network.layers)
    for i in range(at + 1, len(layers)):
        if layers[i].back and i - layers[i].back <= at:
            layers[i] = Layer("add", options={"back": layers[i].back - 1})        # the path around is one layer shorter
    return Network([*layers[:at], *layers[at + 1:]])


def skipped(network: Network) -> set[int]:
    """The activations that an addition reads over the heads of other layers."""
    return {i - layer.back for i, layer in enumerate(network.layers) if layer.back}


def affine(layer: Layer) -> tuple[Array, Array] | None:
    """What a gate, or a batch norm with running moments, is when the network predicts: x ↦ s x + t, (J,) each, float64;
    None of others.

        gate s = g, t = 0;   batch norm s = γ / √(v + ε), t = β − s m                 (U6)
    """
    if layer.op == "gate":
        g = layer.params[0].astype(np.float64)
        return g, np.zeros_like(g)
    if layer.op == "batch_norm" and layer.running:
        (gamma, beta), (mean,
                        variance) = ([a.astype(np.float64) for a in arrays] for arrays in (layer.params, layer.running))
        s = gamma / np.sqrt(variance + layer.options.get("eps", 1e-5))                # (U6)
        return s, beta - s * mean                                                     # (U6)
    return None


def fold(network: Network) -> Network:
    """Every batch norm with running moments, and every gate, multiplied into the weights beside it where that is exact.

    They go into the dense layer or conv2d right in front (U7), also past an offset. A gate that stands elsewhere goes
    into the layer that reads it (U8), if what stands between lets a factor pass. What an addition reads in between
    stays as it is.
    """
    i = 0
    while i < len(network.layers):
        smaller = into_maker(network, i) or into_reader(network, i)
        network, i = (smaller, 0) if smaller else (network, i + 1)
    return network


def into_maker(network: Network, at: int) -> Network | None:
    """The network with layer ``at`` folded into the weights in front of it, None where that cannot be.

        s (Σ w x + b + m) + t = Σ (s w) x + (s b + t) + s m                            (U7)
    """
    both, maker = affine(network.layers[at]), at - 1
    while maker > 0 and network.layers[maker].op == "offset":
        maker -= 1
    if both is None or maker < 0 or network.layers[maker].op not in ("dense", "conv2d"):
        return None
    if skipped(network) & set(range(maker + 1, at + 1)):
        return None
    s, t = both
    w, b = network.layers[maker].params
    scaled = (w * s.reshape(-1, *[1] * (w.ndim - 1))).astype(w.dtype), (s * b + t).astype(b.dtype)                # (U7)
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
    passed, reader = INCREASING if (g >= 0).all() else LINEAR, at + 1
    while reader < len(network.layers) and network.layers[reader].op in passed:
        if network.layers[reader].op == "select":
            g = g[np.asarray(network.layers[reader].options["kept"]) % len(g)]  # behind flatten: position · C + channel
        reader += 1
    if reader == len(network.layers) or skipped(network) & set(range(at + 1, reader + 1)):
        return None
    layer = network.layers[reader]
    if layer.op not in ("dense", "conv2d") or layer.options.get("groups", 1) != 1:
        return None
    w, b = layer.params
    scaled = (w * np.resize(g, w.shape[-1])).astype(w.dtype)                        # (U8)  behind flatten over and over
    return without(network.replace({reader: replace(layer, params=(scaled, b))}), at)
