"""Captions of the figures of a report, and the meaning of the words in its tables."""

from __future__ import annotations

from collections.abc import Mapping

CAPTIONS: Mapping[str, tuple[str, str]] = {
    "size": ("Line: the large network, with one standard error on the validation part to both sides; differences in "
             "this band decide nothing. The diamond is what is delivered; while λ is sought the size goes up and down.",
             "Points from large to small networks, with a line at the large network's error."),
    "examples": ("The first ones, in the order of the test part.",
                 "Small pictures, each with its label and what is said of it; the table below says the same."),
    "pixels": ("Blue: the pixels that the small network reads. The others are never looked at.",
               "The mean training picture, and the same with the pixels that are read in blue."),
    "path": ("Lines: an estimate, the part of a layer's output that is lost when only so many of its neurons stay and "
             "none makes up for another. Circles: the choice, on its line. Diamonds: what was measured in the end, no "
             "points of a line: the refit makes up for what went, and errors of the layers before are added.",
             "A falling curve for each layer, the choice on it, and the measured error above or below."),
    "balance": ("By epoch each term's value, before its weight; the norm of its weighted gradient; and that gradient's "
                "cosine to the one of the labels. A large norm with a cosine near 1 is a larger step and little else.",
                "Three panels of curves by epoch, one curve a term: value, gradient norm, cosine to the labels."),
    "cka": ("Linear centred kernel alignment of the layers of both on validation examples, of maps of their means over "
            "the positions: 1 where both tell examples apart alike. The numbers of the layers are those of --hint.",
            "A table of squares, darker where the layers are more alike, with the number in each."),
    "predicted": ("Of the first output, on the first test examples. On the line both are the same.",
                  "Points along a diagonal: measured values to the right, predicted ones upwards."),
    "training": ("Loss and validation error, epoch by epoch, all stages one after the other.",
                 "Two curves by epoch: the loss above, the validation error below.")}
"""Caption and alternative text of each figure, by the name of its file."""

MEANING: tuple[tuple[str, str], ...] = (
    ("Test error", "Share of the test examples that get a wrong class. They were looked at once, at the end."),
    ("Multiply-accumulates", "Products added up for one example, biases not counted: what a forward pass costs."),
    ("Latency", "Median time of a forward pass on one thread, in buffers that are made before, without the scaling of "
                "the inputs; the networks take turns. A single example is mostly what calling NumPy costs."),
    ("λ", "Weight of the penalty in the layer's convex problem: the larger, the fewer neurons stay."),
    ("Duality gap", "Certificate of the solution: how far it can at most be from the best one, relative to the "
                    "objective with nothing kept. The largest over all rounds."),
    ("Relative error", "Share of the variance of what the layer gives on, weighted by its effect on the logits, that "
                       "the kept neurons do not reproduce; after the refit, last round."),
    ("Proved", "Removed neurons that the certificate itself proves zero in the exact solution; last round."),
    ("Removal difference", "Largest change of an output when neurons that change nothing were cut out: rounding only."),
    ("Dead, constant, duplicate", "Why a neuron could be cut out: nobody reads it; its value never changes, so it "
                                  "moved into the next bias; another one computes the same and took over its weights."))
"""Words of the tables and what they mean."""

PREDICTED = (
    ("R²", "Part of the variance of what is to be predicted that is predicted, the mean over the outputs: 1 is "
           "perfect, 0 what the mean alone reaches. Where an error is drawn it is 1 − R². The test part was looked at "
           "once, at the end."),
    ("RMSE", "Root of the mean squared error, in the unit of what is predicted."))
"""Words of the tables where numbers are predicted."""

DISTILLED = (
    *MEANING[:3],
    ("Balance", "Value: mean of the epoch, as the loss divides it, without its weight. Gradient norm: of the weighted "
                "term, by all parameters, on the last batch. Cosine: to the gradient of the labels' cross-entropy."),
    ("Dead", "Share of the neurons behind an activation that were zero for every example of the last batches."))
"""Words of the tables of a distillation and what they mean."""

SPARSE = (
    *MEANING[:3],
    ("λ", "Weight of the penalty: the larger, the fewer neurons are read. Costs have mean 1 over all groups."),
    ("Stationarity", "How far a proximal gradient step would move all parameters, over its step size; 0 where the "
                     "objective cannot be lowered to first order. In float64, on all training examples."),
    ("Penalised, debiased", "The network at the last λ, which also shrinks what stays; the same neurons after epochs "
                            "without the penalty. The validation part says which one is delivered."))
"""Words of the tables of a sparse training and what they mean."""
