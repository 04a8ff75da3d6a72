"""The steps of a chain: what each makes of an ordinary network, without training, and what holds it there.

Whole neurons go by pipeline.stages, ranks by compression.low_rank, single weights by compression.unstructured; weights
lie on grids, and activations in bytes, by compression.quantization and dyadic. Derivation: docs/book/27-chains.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from npkd.compression.dyadic import QUARTERS, frobenius_scale, nearest
from npkd.compression.low_rank import divisible, low_rank, propose_ranks
from npkd.compression.quantization import levels, quantized, short, straight_through, ternary_levels
from npkd.compression.unstructured import Gradual, brain_surgeon
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.batches import batches_of
from npkd.nn.cost import positions_of
from npkd.nn.network import Network, convolves
from npkd.nn.training import train
from npkd.pipeline import stages
from npkd.pipeline.stages import Run, Training
from npkd.pipeline.target import Target
from npkd.sparsity.collect import collect_statistics
from npkd.surgery.folding import fold
from npkd.surgery.widths import geometry

PROBED, FEW, FIRST = 2000, 200, 13
"""Examples from which the cost of weights is taken, with convolutions FEW; first of falling counts over the last."""

SIZED = ("neurons", "low-rank", "weights")
"""Steps that make a network as small as one wants."""

def dyadic_levels(w: Array) -> Callable[[Array], Array]:
    """The rounding to {0, ±1/4, ±1/2, ±1} times the best scale of a matrix (N22), in few digits."""
    return partial(nearest, levels=QUARTERS, scale=float(short(np.array(frobenius_scale(w, QUARTERS)))))


GRIDS: Mapping[str, Callable[[Array], Callable[[Array], Array]]] = {
    "int8": partial(levels, bits=8), "int4": partial(levels, bits=4, per_channel=False), "ternary": ternary_levels,
    "dyadic": dyadic_levels}
"""Steps that put weights on a grid: w -> the rounding that suits w."""


def nonzero(network: Network) -> tuple[int, int]:
    """Parameters that are not zero, and multiply-accumulates of weights that are not zero."""
    return (sum(int(np.count_nonzero(p)) for layer in network.layers for p in layer.params),
            sum(int(np.count_nonzero(network.layers[i].params[0])) * n for i, n in positions_of(network).items()))


def smaller(step: str, run: Run, network: Network, size: float, kind: str) -> Network:
    """The network after a sized step without training: so many ``kind``, "parameters" or "macs", that are not zero."""
    if nonzero(network)[kind == "macs"] <= size:
        return network
    if step == "neurons":
        return stages.compress(run, network, Target(kind, size, geometry=geometry(network)))
    if step == "low-rank":
        batches, layers = run.data.stream or batches_of(run.data.x_train), divisible(network)
        statistics = dict(zip(layers, collect_statistics(network, network, batches, layers), strict=True))
        budget = size if kind == "macs" else count_of(network, size, kind)
        try:
            ranks = propose_ranks(network, statistics, budget, "macs" if kind == "macs" else "weights")
        except InputError as error:
            raise InputError(f"steps: low-rank is to leave {size:.0f} {kind}, and rank one in every layer leaves more; "
                             "allow more, or let a later step go further") from error
        return low_rank(network, batches, ranks)
    return brain_surgeon(network, run.data.x_train, count_of(network, size, kind))


def count_of(network: Network, size: float, kind: str) -> int:
    """How many weights may be left for a size. Raises InputError where multiply-accumulates do not follow from them."""
    if kind == "macs" and set(positions_of(network).values()) != {1}:
        raise InputError("steps: a target of macs says nothing of single weights of a convolution; give parameters= or "
                         "bytes=")
    biases = sum(p.size for layer in network.layers for p in layer.params[1:]) if kind == "parameters" else 0
    return max(1, int(size - biases))


def on_grid(run: Run, network: Network, step: str, *, weights: bool = True) -> Network:
    """The network with activations in bytes and, unless told otherwise, all weights on a grid; zeros stay zero."""
    fit = partial(kept_zero, fit=GRIDS[step]) if weights else None
    student = quantized(fold(network), run.data.x_train, fit).astype(np.float32)      # a batch norm lies on no grid
    first, second = student.layers[:2]
    if (first.op, second.op) == ("quantize", "select"):                       # the same, of fewer values
        student = Network([second, first, *student.layers[2:]])
    return short_biases(student) if weights else student


def short_biases(network: Network) -> Network:
    """The network with the biases of each layer on a grid of 8 bits: else a small file is mostly biases."""
    layers = {}
    for i in network.weight_layers:
        w, b = network.layers[i].params
        layers[i] = replace(network.layers[i], params=(w, levels(b[None], 8, calibration="min-max")(b[None])[0]))
    return network.replace(layers)


def kept_zero(w: Array, fit: Callable[[Array], Callable[[Array], Array]]) -> Callable[[Array], Array]:
    """The rounding that suits w, (O, ...), of weights in its shape; those that are zero in w are 0."""
    mask, rounding = w != 0, fit(w)
    return lambda v: np.where(mask, rounding(v), v.dtype.type(0)) if v.shape == mask.shape else rounding(v)


def fewer(run: Run, network: Network, count: int) -> Gradual:
    """The rule by which a training leaves ``count`` weights of a network, those whose removal costs most: at once
    FIRST times as many, then fewer and fewer until two thirds of it are done; what is not read is cut out."""
    kept, body = stages.open_front(network)
    x = run.data.x_train[:FEW if convolves(network) else PROBED]
    first = min(FIRST * count, sum(body.layers[i].params[0].size for i in body.weight_layers))
    return Gradual(count, first, 0.65, x if kept is None else np.take(x, kept, axis=1), cut=True)


def held(network: Network, step: str) -> Training:
    """What trains the network, from its weights as the grid of a step shows them on: on the grid that suits them now,
    those that are zero at zero."""
    shown, latent = straight_through(network, partial(kept_zero, fit=GRIDS[step]), once=True)
    return lambda _, **how: train(shown, penalties=latent, **how)
