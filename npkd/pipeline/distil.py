"""Distillation of a fresh student, on the examples as they are, in the words of the command line (npkd distil)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.distillation import schemes
from npkd.distillation.cka import cka_matrix
from npkd.distillation.objective import Terms
from npkd.distillation.safety import redrawn, safe_clip
from npkd.distillation.scheme_losses import deepest_weights, mutual_learning
from npkd.distillation.synthesis import Synthesis, moments_of, synthesise
from npkd.distillation.teacher import Teacher
from npkd.distillation.terms import Term
from npkd.nn.losses import cross_entropy
from npkd.nn.network import Layer, Network, convolves, dense_layer, perceptron
from npkd.nn.training import Record, TrainingSettings
from npkd.pipeline.epochs import epochs_of
from npkd.pipeline.library import LOSSES, SCHEMES, terms_of
from npkd.pipeline.pairing import Pair, Place, hidden
from npkd.pipeline.stages import Run, error_rate
from npkd.pipeline.target import Target
from npkd.pipeline.task import is_regression, objective_of
from npkd.sparsity.layerwise import distil, exactly
from npkd.surgery.widths import widths_of

LABEL_WEIGHT, SOFT_WEIGHT, GRAPH_WEIGHT = 0.1, 0.9, 10.0    # the first two without --loss; of neighbours beside labels
EXAMPLES = 1000                                             # examples that are made, and on which layers are compared
OF_LOGITS = "soft", "logits", "standardised", "dkd", "dist", "smoothing"       # losses of the logits of classes
WITHOUT_TERMS = "mutual", "own-layers", "graph", "attention"            # schemes that say themselves what is learnt
OF_CLASSES = *WITHOUT_TERMS[:2], "data-free", "adversarial"                              # schemes of logits of classes
IN_PYTHON: Mapping[str, str] = {"ensemble": "several teachers", "cross-modal": "the same examples in two kinds",
                                "lifelong": "examples of new classes alone, and a student with more outputs"}
"""What schemes need that the command line does not give."""


@dataclass(frozen=True)
class DistillationRecipe:
    """What is learnt, in the words of the command line. Raises InputError for what is not understood or does nothing.

    loss, hint    as "rkd,soft" and "2:3,4:5";   loss_weight  as "25,1,1", losses first; None: their own
    label_weight  None: 0.1 beside soft targets alone, else 1;   temperature  of losses with one; None: their own
    """

    loss: str | None = None
    hint: str | None = None
    loss_weight: str | None = None
    label_weight: float | None = None
    temperature: float | None = None
    scheme: str = "offline"

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise InputError(f"--scheme {self.scheme:.40}: it must be one of {', '.join(SCHEMES)}")
        if self.scheme in IN_PYTHON:
            where = f"npkd.distillation.schemes.{SCHEMES[self.scheme].function.__name__}"
            raise InputError(f"--scheme {self.scheme}: it needs {IN_PYTHON[self.scheme]}; in Python there is {where}")
        heated = self.temperature is not None and self.scheme in WITHOUT_TERMS[2:]
        if self.scheme in WITHOUT_TERMS and (self.named or self.label_weight is not None or heated):
            raise InputError(f"--scheme {self.scheme}: it says itself what is learnt; leave out what else does")

    @cached_property
    def named(self) -> list[tuple[str | Place, float | None]]:
        """Words of losses, and places of hints, with their weights."""
        words: list[str | Place] = [*self.loss.split(",")] if self.loss else []
        try:
            for word in self.hint.split(",") if self.hint else ():
                one, other = map(int, word.split(":"))
                words.append((one, other))
        except ValueError:
            raise InputError(f"npkd distil: got --hint {self.hint}; a hint is STUDENT:TEACHER, as in 2:3") from None
        numbers = self.loss_weight.split(",") if self.loss_weight else []
        try:
            weights = [*map(float, numbers)] if numbers else [None] * len(words)
            return list(zip(words, weights, strict=True))
        except ValueError:
            raise InputError(f"npkd distil: got --loss-weight {self.loss_weight}, {len(numbers)} in all; it needs "
                             f"{len(words)} numbers, one for each loss, then each hint") from None

    def objective(self, pair: Pair) -> Terms:
        """The objective of a student. Raises InputError for networks without what a loss reads."""
        labels = self.label_weight if self.label_weight is not None else 1.0 if self.loss else LABEL_WEIGHT
        terms, named = [Term(cross_entropy, teacher="y", weight=labels)] if labels else [], self.named
        if is_regression(pair.y):
            if wrong := [word for word, _ in named if word in OF_LOGITS]:
                raise InputError(f"--loss {wrong[0]}: it compares logits of classes, and here numbers are predicted; "
                                 "without --loss their squared error counts")
            terms = [*objective_of(pair.y, 1, labels, 0.0 if self.loss else SOFT_WEIGHT).terms]
        elif not self.loss:
            named = [("soft", SOFT_WEIGHT), *named]
        for word, weight in named:
            terms += terms_of(word, pair, weight)
        if self.temperature is not None and not any("temperature" in term.options for term in terms):
            what = self.loss or "the squared error of numbers"
            raise InputError(f"--temperature: got {self.temperature:g}, and {what} has none; leave it out")
        return Terms(terms)


def distilled(run: Run, student: Network, teacher: Network, learnt: DistillationRecipe) -> tuple[Network, Terms | None]:
    """The trained student of a teacher, and what it learnt, None where the scheme says that; ``run.state.student`` is
    the newest. Raises InputError for networks and schemes that do not go together."""
    data, rng, progress = {"x": run.data.x_train, "y": run.data.y_train}, run.rng, run.progress
    if is_regression(run.data.y_train) and learnt.scheme in OF_CLASSES:
        raise InputError(f"--scheme {learnt.scheme}: it is of the logits of classes, and here numbers are predicted")
    students, objective = [cut(teacher, run) if learnt.scheme == "layer-wise" else student], None
    if learnt.scheme == "data-free":
        indices = [0, *(i + 1 for i, layer in enumerate(teacher.layers[:-1]) if hidden(layer))]
        labels = np.arange(min(EXAMPLES, len(data["x"]))) % run.data.classes
        progress.begin("inputs from the teacher", 1)
        synthesis = Synthesis(labels, data["x"].shape[1:], moments_of(teacher, data["x"][:EXAMPLES], indices))
        data = {"x": synthesise(teacher, synthesis, rng), "y": labels}
    if learnt.scheme in ("assistants", "born-again"):
        students.insert(0, another(student, teacher, rng, same=learnt.scheme == "born-again"))
    for k, start in enumerate(students, 1):
        pair = Pair(start, teacher, data["x"], data["y"], rng, learnt.temperature)
        if learnt.scheme in WITHOUT_TERMS:
            training = own(learnt.scheme, pair, data)
        else:
            objective = learnt.objective(pair)
            if learnt.scheme == "adversarial":
                objective = schemes.with_discriminator(objective, start, data, rng=rng)
            training = partial(schemes.offline, teacher=teacher, data=data | pair.arrays, terms=objective, rng=rng)
            if any(term.memory is not None for term in objective.terms):       # no checkpoint has it: begins again
                progress = SimpleNamespace(begin=progress.begin, step=progress.step)
        untrained = redrawn(start) if learnt.scheme == "layer-wise" else start
        settings = TrainingSettings(run.recipe.epochs, run.recipe.batch_size, validate=lambda network:
                                    error_rate(network, run.data.x_validation, run.data.y_validation),
                                    clip=bound(untrained, data["x"], data["y"]))
        stage = "distillation" + f" {k} of {len(students)}" * (len(students) > 1)
        for now in epochs_of(stage, start, training, settings, rng, progress):
            teacher = now.network
            run.state.student = run.outside(teacher)
    return teacher, objective


def bound(untrained: Network, x: Array, y: Array) -> float | None:
    """(K50) of a student as it is drawn, from the classes y, or of numbers from any."""
    return safe_clip(untrained, x, np.arange(len(y)) if is_regression(y) else y)


def own(scheme: str, pair: Pair, data: Mapping[str, Array]) -> Callable[..., Iterator[Record]]:
    """The training of a scheme that says itself what is learnt."""
    rng, options = pair.rng, {} if pair.temperature is None else {"temperature": pair.temperature}
    term = Term(mutual_learning, options=options)
    if scheme == "mutual":
        return lambda start, settings: schemes.mutual([start, pair.teacher], data, term, settings=settings, rng=rng)
    if scheme == "own-layers":
        shapes, outputs = pair.shapes[0], pair.student.widths[-1]
        heads = {i: Network([Layer("flatten")] * (len(shapes[i]) > 1) + [
            dense_layer(math.prod(shapes[i]), outputs, rng)]) for i, _ in pair.places("own-layers")}
        term = replace(term, options=options | {"weights": deepest_weights(len(heads) + 1)})
        return partial(schemes.own_layers, heads=heads, data=data, term=term, rng=rng)
    maps, weight = scheme == "attention", LOSSES["at"].weight if scheme == "attention" else GRAPH_WEIGHT
    return partial(SCHEMES[scheme].function, teacher=pair.teacher, data=data, rng=rng,
                   pairs=dict.fromkeys(pair.places(scheme, maps=maps)[not maps:], weight))


def another(student: Network, teacher: Network, rng: np.random.Generator, *, same: bool) -> Network:
    """A further student, drawn, with the activation and dropout of the first; unless it is to be the ``same``, with
    widths half-way to the teacher's widest layer."""
    if convolves(student):
        raise InputError("npkd distil: further students are drawn as perceptrons; leave out --network")
    (inputs, *widths, outputs), widest = student.widths, max(teacher.widths[1:-1], default=1)
    widths = [w if same else max(w, round(math.sqrt(w * widest))) for w in widths]
    activation = next(str(layer.op) for layer in student.layers if hidden(layer))
    rates = [float(before.options["rate"]) if (before := student.layers[max(i - 1, 0)]).op == "dropout" else 0.0
             for i in student.weight_layers]
    return perceptron([inputs, *widths, outputs], rng, activation=activation, dropout_rates=rates)


def cut(teacher: Network, run: Run) -> Network:
    """The teacher cut to the student's widths, layer by layer."""
    if convolves(teacher) or run.recipe.network != "perceptron":
        raise InputError("--scheme layer-wise: it takes two perceptrons; npkd compress cuts other networks")
    widths = (widths_of(teacher)[0], *run.recipe.hidden)
    Target("widths", 1.0, widths).require(widths_of(teacher))
    parts = np.array_split(run.data.x_train, len(run.data.x_train) // 1000 + 1)
    return distil(teacher, lambda: iter(parts), exactly(widths)).student


def alignment(student: Network, teacher: Network, x: Array) -> dict[str, Any]:
    """Linear CKA of each hidden layer, and the logits, of the student with each of the teacher on the first examples,
    of maps of their means over the positions. Layers go by the number of their activation, and their op."""
    found, layers = dict[str, Any](), list[list[Array]]()
    for name, network in (("student", student), ("teacher", teacher)):
        at = [i for i, layer in enumerate(network.layers[:-1], 1) if hidden(layer, pooling=True)]
        found[name] = [f"{i} {network.layers[i - 1].op}" for i in at] + [f"{len(network.layers)} logits"]
        every = Teacher(network, [*at, -1])(x[:EXAMPLES]).values()
        layers.append([a.mean(axis=(1, 2)) if a.ndim == 4 else a for a in every])
    return found | {"matrix": np.round(cka_matrix([(layers[0], layers[1])]), 4).tolist()}
