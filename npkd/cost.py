"""What a network costs: parameters, multiply-accumulates, bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from npkd.nn.network import Network


@dataclass(frozen=True)
class Cost:
    """macs: multiply-accumulates an example, biases not counted; parameters: weights and biases; bytes: of the parameters, 4 each in float32;
    neurons: inputs read and hidden neurons."""

    macs: int
    parameters: int
    bytes: int
    neurons: int


def of_widths(widths: Sequence[int], itemsize: int = 4) -> Cost:
    """Cost of a plain perceptron with these widths, inputs first.

        macs = Σ_l I_l O_l,   parameters = Σ_l (I_l + 1) O_l                           (C1)
    """
    pairs = list(zip(widths[:-1], widths[1:], strict=True))
    parameters = sum((i + 1) * o for i, o in pairs)                                    # (C1)
    return Cost(sum(i * o for i, o in pairs), parameters, parameters * itemsize, sum(widths[:-1]))      # (C1)


def of(network: Network) -> Cost:
    """Cost of a network as it stands; gates and batch norms count as parameters, not as multiply-accumulates (they fold into dense)."""
    arrays = [p for layer in network.layers for p in (*layer.params, *layer.running)]
    weights = [network.layers[i].params[0] for i in network.dense_layers]
    return Cost(sum(w.size for w in weights), sum(a.size for a in arrays), sum(a.nbytes for a in arrays), sum(w.shape[1] for w in weights))
