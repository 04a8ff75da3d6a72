"""How an error of one layer reaches the outputs: measured on the data, and bounded by Lipschitz constants.

A network is split into stages: a dense layer with all that stands in front of it.
Derivation: docs/book/13-promises.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from scipy import linalg

from npkd.core.types import Array
from npkd.core.validation import InputError, finite, floats
from npkd.nn.network import Layer, Network
from npkd.nn.ops import OPS
from npkd.surgery.dependency import dependency_groups
from npkd.surgery.folding import affine


@dataclass(frozen=True, eq=False)
class ErrorBounds:
    """Root-mean-square errors of a student's L stages on the data, and their bound at the outputs.

        E_l = ‖Z_l − Ẑ_l‖/√N,   ε_l = ‖Z_l − s_l(Z_{l−1})‖/√N                         (R1)

    measured (L,)   E_l: error of stage l on the student's own activations; the last one is that of the outputs
    added (L,)      ε_l: error of stage l of the student on the teacher's activations
    factor (L,)     Λ_l: Lipschitz constant of stage l, (R2)
    Errors are those of the outputs that the next stage reads.
    """

    measured: Array
    added: Array
    factor: Array

    @property
    def reach(self) -> Array:
        """Lipschitz constant of all stages behind l: Λ_{l+1} ⋯ Λ_L, (L,)."""
        return np.append(np.cumprod(self.factor[:0:-1])[::-1], 1.0)

    def terms(self, cut: int = 0) -> Array:
        """What each stage contributes (L,) to the bound that measures the first ``cut`` stages and bounds those behind.

            B_k = E_k Λ_{k+1} ⋯ Λ_L + Σ_{l>k} ε_l Λ_{l+1} ⋯ Λ_L                       (R3)

        The sum is ``bound(cut)``. Raises InputError unless 0 ≤ cut ≤ L.
        """
        if not 0 <= cut <= len(self.factor):
            raise InputError(f"propagation: cut is {cut}; it must lie in 0 … {len(self.factor)}, the number of stages")
        error = np.r_[np.zeros(cut), self.added[cut:]]
        error[max(cut - 1, 0):cut] = self.measured[max(cut - 1, 0):cut]
        return np.asarray(error * self.reach)                                          # (R3)

    def bound(self, cut: int = 0) -> float:
        """B_cut of (R3), at least the error of the outputs; B_L is that error itself."""
        return float(self.terms(cut).sum())


def slopes(layer: Layer) -> Array:
    """The largest slope of each neuron of a layer that is not dense, as the network predicts: (J,), or () if all agree.

    That of the table (nn/ops.py); of gate |g_j|, of batch_norm |γ_j|/√(v_j + ε), v the running variance. Raises
    InputError for batch_norm without running moments, and for ops without a bound in the table.
    """
    row, both = layer.row, affine(layer)
    if both is not None:
        return np.asarray(np.abs(both[0]))
    if row.affine is not None:
        raise InputError(f"propagation: a {row} has no running moments yet; train the network first")
    if row.slope is None:
        known = ", ".join(name for name, op in OPS.items() if op.slope is not None or op.affine)
        raise InputError(f"propagation: the network has {row}; behind its first dense layer there may be {known}")
    return np.array(row.slope(**layer.settings) if callable(row.slope) else row.slope)


def spectral_norm(w: Array) -> float:
    """The largest singular value of w (O, I), float64, the Lipschitz constant of x ↦ w x; 0 where w is empty."""
    return float(linalg.svdvals(w)[0]) if w.size else 0.0


def stages(network: Network) -> list[list[Layer]]:
    """The layers of a perceptron in pieces that end with a dense layer, and those behind the last one. Raises
    InputError where ``slopes`` or ``dependency_groups`` do."""
    dense = network.dense_layers
    for i, layer in enumerate(network.layers):
        if i not in dense and (layer.row.weights or i > min(dense, default=i)):
            slopes(layer)                     # refuses what has none; what stands in front of all errors stretches none
    ends = [group.consumer + 1 for group in dependency_groups(network)]
    pieces = [list(network.layers[i:j]) for i, j in zip([0, *ends[:-1]], ends, strict=True)]
    behind = list(network.layers[ends[-1]:])
    return [*pieces, behind] if behind else pieces


def reading(stage: Sequence[Layer], width: int) -> tuple[Array, Array]:
    """The matrix W diag c (O, J) of a stage, and which of its ``width`` inputs have an influence, (width,) bool.

        Λ = ‖W diag c‖₂,   c_j the largest slope between the inputs of neuron j and its value         (R2)

    Behind maxout a neuron has several inputs, and c the largest of theirs; one behind a zero gate has no influence. A
    stage without a dense layer has W = I.
    """
    c, alone, neuron = np.ones(width), np.ones(width), np.arange(width)       # alone: of each input, along its own way
    dense = stage[-1].row.weights
    for layer in stage[:-1] if dense else stage:
        slope = slopes(layer)
        c, alone = c * slope, alone * np.broadcast_to(slope, c.shape)[neuron]
        meeting = layer.row.entries_of((len(c),), layer.settings)             # (K, m): of what neuron k behind is made
        c, groups = c[meeting].max(axis=1), np.empty(len(c), np.intp)
        groups[meeting] = np.arange(len(meeting))[:, None]
        neuron = groups[neuron]
    matrix = stage[-1].params[0] * c if dense else np.diag(c)                 # (R2)
    return np.asarray(matrix), np.asarray(matrix.any(axis=0))[neuron] & (alone != 0)


def outputs(network: Network, x: Array) -> list[Array]:
    """What each stage gives for x: the pre-activations of every dense layer, and what comes behind the last."""
    return list(accumulate(stages(network), lambda z, stage: Network(stage)(z)[0][-1], initial=x))[1:]


def root_mean_square(difference: Array) -> float:
    """‖difference‖/√N for (N, O)."""
    return float(np.sqrt((difference * difference).sum() / len(difference)))


def propagation(student: Network, teacher: Network, x: Array, kept: Sequence[Array] | None = None) -> ErrorBounds:
    """Measure and bound how far a student's outputs are from its teacher's, stage by stage.

    student, teacher   perceptrons with equally many dense layers; all is computed in float64, as the networks predict
    x (N, ...)         floats, the data
    kept               for each hidden dense layer, the outputs of the teacher that the student's are compared with
    Raises InputError for other networks, for data without examples or not finite, and where widths do not fit.
    """
    floats("propagation", x=x)
    if not len(x):
        raise InputError("propagation: x has no examples; it needs at least one")
    finite("propagation", x=x)
    student, teacher, x = student.astype(np.float64), teacher.astype(np.float64), x.astype(np.float64)
    pieces, predicted = stages(student), outputs(student, x)
    targets = against(predicted, outputs(teacher, x), kept)
    measured, added, factor = [], [], []
    for k, (stage, z) in enumerate(zip(pieces, targets, strict=True)):
        matrix = reading(stage, targets[k - 1].shape[1])[0] if k else stage[-1].params[0]   # all slopes in front are 1
        read = reading(pieces[k + 1], z.shape[1])[1] if k + 1 < len(pieces) else np.ones(z.shape[1], bool)
        alone = Network(stage)(targets[k - 1] if k else x)[0][-1]
        measured.append(root_mean_square((z - predicted[k])[:, read]))                   # (R1)  E
        added.append(root_mean_square((z - alone)[:, read]))                             # (R1)  ε
        factor.append(spectral_norm(matrix[read]))                                       # (R2)
    return ErrorBounds(np.array(measured), np.array(added), np.array(factor))


def against(student: Sequence[Array], teacher: Sequence[Array], kept: Sequence[Array] | None) -> list[Array]:
    """The outputs of the teacher that those of the student are compared with, stage by stage."""
    if len(student) != len(teacher):
        raise InputError(f"propagation: student has {len(student)} stages, teacher {len(teacher)}; they must agree")
    kept = [np.asarray(index, np.intp) for index in kept or ()]
    if kept and len(kept) >= len(teacher):
        raise InputError(f"propagation: kept has {len(kept)} entries; it needs at most {len(teacher) - 1}, one a layer")
    rows = [*kept, *(np.arange(z.shape[1]) for z in teacher[len(kept):])]
    for k, (y, z, row) in enumerate(zip(student, teacher, rows, strict=True)):
        if len(row) != y.shape[1] or not np.isin(row, np.arange(z.shape[1])).all():
            raise InputError(f"propagation: stage {k} of the student gives {y.shape[1]} values, held against "
                             f"{len(row)} of the teacher's {z.shape[1]}; kept must name one of these for each")
    return [z[:, row] for z, row in zip(teacher, rows, strict=True)]
