"""Cases of npkd/distillation/features.py and cka.py: losses on activations."""

import numpy as np

from npkd.distillation.cka import centred_kernel_alignment
from npkd.distillation.features import activation_boundaries, attention_transfer, flow, neuron_selectivity
from reference.check import Wrong
from tests.cases import Case, normal, off_zero

MAPS, ROWS, WHOLE = normal(2, 2, 2, 3), normal(3, 4), np.ones((2, 2, 2, 3), np.int64)
EMPTY, SIDES = np.zeros((0, 2, 2, 3)), off_zero(3, 4)
"""Teachers of boundaries are away from 0; students, below, from ±m."""

PREACTIVATIONS = np.array([[0.4, -1.7, 1.6, -0.3], [2.1, 0.7, -0.6, -2.2], [-0.5, 0.2, 1.4, -1.3]])

CASES = [
    Case("attention_transfer", attention_transfer, (off_zero(2, 3, 2, 2), off_zero(2, 3, 2, 4)), wrong=(
        Wrong((ROWS, ROWS), ("attention_transfer", "(3, 4)", "maps (N, H, W, C)")),
        Wrong((MAPS, ROWS), ("attention_transfer", "(2, 2, 2, 3)", "(3, 4)")),
        Wrong((MAPS, normal(2, 3, 3, 3)), ("attention_transfer", "(2, 3, 3, 3)", "a multiple or a part")),
        Wrong((MAPS, normal(3, 2, 2, 3)), ("attention_transfer", "(3, 2, 2, 3)", "N ≥ 1 the same")),
        Wrong((EMPTY, EMPTY), ("attention_transfer", "(0, 2, 2, 3)")),
        Wrong((MAPS, normal(2, 2, 2, 0)), ("attention_transfer", "(2, 2, 2, 0)")),
        Wrong((WHOLE, MAPS), ("attention_transfer", "student is int64", "floating-point")),
        Wrong((MAPS, WHOLE), ("attention_transfer", "teacher is int64", "floating-point")),
        Wrong((MAPS, MAPS), ("attention_transfer", "power is 0.5", "at least 1"), {"power": 0.5}),
        Wrong((MAPS, MAPS), ("attention_transfer", "power is nan"), {"power": float("nan")}),
        Wrong((MAPS, MAPS), ("attention_transfer", "power is inf"), {"power": float("inf")}),
        Wrong((MAPS, MAPS), ("attention_transfer", "form is 'mean'", "paper, code"), {"form": "mean"}),
    )),
    Case("attention_transfer, square, code", attention_transfer, (normal(2, 2, 2, 2), normal(2, 2, 2, 2)),
         {"form": "code"}),
    Case("attention_transfer, power 3, larger student", attention_transfer,
         (off_zero(2, 4, 6, 2), normal(2, 2, 2, 3)), {"power": 3.0}),
    Case("attention_transfer, power 1, larger teacher, code", attention_transfer,
         (off_zero(2, 3, 2, 2), normal(2, 6, 4, 3)), {"power": 1.0, "form": "code"}),
    Case("attention_transfer, longer and shorter", attention_transfer, (off_zero(1, 4, 2, 2), normal(1, 2, 4, 3))),
    Case("neuron_selectivity", neuron_selectivity, (normal(2, 3, 3, 2), normal(2, 3, 3, 4)), wrong=(
        Wrong((ROWS, ROWS), ("neuron_selectivity", "(3, 4)", "maps (N, H, W, C)")),
        Wrong((MAPS, normal(2, 2, 3, 3)), ("neuron_selectivity", "(2, 2, 3, 3)", "a multiple or a part")),
        Wrong((EMPTY, EMPTY), ("neuron_selectivity", "(0, 2, 2, 3)")),
        Wrong((MAPS, WHOLE), ("neuron_selectivity", "int64", "floating-point")),
    )),
    Case("neuron_selectivity, more channels than positions", neuron_selectivity,
         (normal(2, 2, 2, 3), normal(2, 2, 2, 4))),
    Case("neuron_selectivity, larger student", neuron_selectivity, (normal(2, 4, 2, 3), normal(2, 2, 2, 3))),
    Case("flow", flow, ((normal(2, 2, 3, 2), normal(2, 2, 3, 4)), (normal(2, 1, 2, 2), normal(2, 1, 2, 4))), wrong=(
        Wrong(((MAPS, MAPS), (MAPS, normal(2, 2, 2, 2))), ("flow", "(2, 3, 3)", "(2, 3, 2)", "connector")),
        Wrong(((MAPS, MAPS), (ROWS, ROWS)), ("flow", "(2, 3, 3)", "(3, 4, 4)")),
        Wrong(((MAPS, normal(2, 3, 3, 2)), (MAPS, MAPS)), ("flow", "(2, 3, 3, 2)", "a multiple or a part")),
        Wrong((MAPS, (MAPS, MAPS)), ("flow", "got an array", "tuple of two activations")),
        Wrong(((MAPS, MAPS), (MAPS,)), ("flow", "a tuple of 1", "tuple of two activations")),
        Wrong(((MAPS, MAPS), (MAPS, WHOLE)), ("flow", "second is int64", "floating-point")),
        Wrong(((MAPS, MAPS), (MAPS.tolist(), MAPS)), ("flow", "first is list", "floating-point")),
        Wrong(((EMPTY, EMPTY), (EMPTY, EMPTY)), ("flow", "(0, 2, 2, 3)")),
    )),
    Case("flow, one map larger", flow,
         ((normal(2, 4, 2, 2), normal(2, 2, 2, 3)), (normal(2, 2, 2, 2), normal(2, 4, 4, 3)))),
    Case("flow, rows", flow, ((normal(3, 2), normal(3, 4)), (normal(3, 2), normal(3, 4)))),
    Case("flow, wide rows", flow, ((normal(3, 3), normal(3, 4)), (normal(3, 3), normal(3, 4)))),
    Case("flow, few positions", flow, ((normal(2, 1, 2, 5), normal(2, 1, 2, 6)), (normal(2, 5), normal(2, 6)))),
    Case("flow, square, a map and a row", flow, ((normal(2, 2, 2, 2), normal(2, 2)), (normal(2, 2), normal(2, 2)))),
    Case("activation_boundaries", activation_boundaries, (PREACTIVATIONS, SIDES), wrong=(
        Wrong((ROWS, normal(3, 3)), ("activation_boundaries", "(3, 4)", "(3, 3)", "agree")),
        Wrong((ROWS, normal(1, 4)), ("activation_boundaries", "(3, 4)", "(1, 4)", "agree")),
        Wrong((EMPTY, EMPTY), ("activation_boundaries", "(0, 2, 2, 3)")),
        Wrong((MAPS, WHOLE), ("activation_boundaries", "int64", "floating-point")),
        Wrong((ROWS, ROWS), ("activation_boundaries", "margin is 0", "positive"), {"margin": 0.0}),
    )),
    Case("activation_boundaries, square, a margin of its own", activation_boundaries,
         (PREACTIVATIONS[:2, :2], off_zero(2, 2)), {"margin": 1.25}),
    Case("activation_boundaries, maps", activation_boundaries,
         (PREACTIVATIONS.reshape(1, 3, 2, 2), off_zero(1, 3, 2, 2))),
    Case("centred_kernel_alignment", centred_kernel_alignment, (normal(6, 3), normal(6, 2)), wrong=(
        Wrong((ROWS, normal(4, 4)), ("centred_kernel_alignment", "(3, 4)", "(4, 4)", "same N ≥ 2")),
        Wrong((ROWS[:1], ROWS[:1]), ("centred_kernel_alignment", "(1, 4)", "N ≥ 2")),
        Wrong((ROWS[:, 0], ROWS), ("centred_kernel_alignment", "(3,)", "(N, ...)")),
        Wrong((normal(3, 0), ROWS), ("centred_kernel_alignment", "(3, 0)")),
        Wrong((MAPS, WHOLE), ("centred_kernel_alignment", "int64", "floating-point")),
    )),
    Case("centred_kernel_alignment, square", centred_kernel_alignment, (normal(4, 4), normal(4, 4))),
    Case("centred_kernel_alignment, wide", centred_kernel_alignment, (normal(3, 2), normal(3, 5))),
    Case("centred_kernel_alignment, maps", centred_kernel_alignment, (normal(3, 2, 2, 2), normal(3, 1, 2, 3))),
]
