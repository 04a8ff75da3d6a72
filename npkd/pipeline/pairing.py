"""Terms for a student and its teacher: where a loss reads, through which connector, with which parts and arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.distillation.connectors import connector, ridge
from npkd.distillation.contrastive import contrastive, draw_memory, draw_negatives
from npkd.distillation.factors import factor_transfer, paraphraser
from npkd.distillation.objective import Terms
from npkd.distillation.overhaul import margins, overhaul
from npkd.distillation.teacher import Teacher
from npkd.distillation.terms import Term
from npkd.distillation.variational import alpha0, variational_information
from npkd.nn.losses import squared_error
from npkd.nn.network import Layer, Network
from npkd.nn.training import TrainingSettings, train
from npkd.sparsity.statistics import Statistics

Place = tuple[int, int]                                     # numbers of activations, the student's first


def hidden(layer: Layer, *, pooling: bool = False) -> bool:
    """Whether a layer is an activation (relu, …), or a ``pooling`` of maps."""
    return layer.row.activation or (pooling and bool(layer.row.maps) and not layer.row.weights)


def answers(network: Network, index: int, x: Array) -> Array:
    """An activation at all examples."""
    return Teacher(network, (index,))(x)[f"teacher{index}"]


@dataclass(frozen=True, eq=False)
class Pair:
    """A student, its teacher, and the examples x (N, ...) with labels y (N,) that the student is to learn from.

    temperature   of losses that have one; None: what each has unless told
    arrays        collects what terms read of the batch beside the teacher's activations, a row an example
    """

    student: Network
    teacher: Network
    x: Array
    y: Array
    rng: np.random.Generator
    temperature: float | None = None
    arrays: dict[str, Array] = field(default_factory=dict)

    @cached_property
    def shapes(self) -> list[list[tuple[int, ...]]]:
        """Shapes of all activations of an example, of both networks."""
        return [[a.shape[1:] for a in network(self.x[:2])[0]] for network in (self.student, self.teacher)]

    def places(self, who: str, *, maps: bool = False, before: bool = False) -> list[Place]:
        """Pairs of activations, first and last: those behind hidden activations or ``before`` them, or ``maps``, behind
        these or poolings. Raises InputError where there are none."""
        found = [[i + 1 - before for i, layer in enumerate(network.layers[:-1])
                  if hidden(layer, pooling=maps) and (len(shapes[i + 1]) == 3 or not maps)]
                 for network, shapes in zip((self.student, self.teacher), self.shapes, strict=True)]
        if not all(found):
            raise InputError(f"{who}: it compares {'maps' if maps else 'hidden activations'}, and "
                             f"{'the teacher' if found[0] else 'the student'} has none; take another one")
        return [(found[0][0], found[1][0]), (found[0][-1], found[1][-1])]

    def connector(self, place: Place) -> Network | None:
        """What brings the student's activation to the shape of the teacher's, None where it has it."""
        try:
            return connector(self.shapes[0][place[0]], self.shapes[1][place[1]], self.rng)
        except InputError as error:
            raise InputError(f"activation {place[0]} of the student, {place[1]} of the teacher: {error}") from error

    def term(self, loss: Callable[..., Any], who: str, *, connected: bool = False, maps: bool = False,
             before: bool = False, **more: Any) -> Term:
        """A term of weight 1 at the last of the ``places``."""
        place = self.places(who, maps=maps, before=before)[-1]
        return Term(loss, *place, connector=self.connector(place) if connected else None, **more)


def logit_term(loss: Callable[..., Any], **arrays: str) -> Callable[[Pair], Term]:
    """Of the logits, at the temperature of the pair."""
    return lambda pair: Term(loss, arrays=arrays, options={} if pair.temperature is None else {
        "temperature": pair.temperature})


def hint_term(pair: Pair, place: Place | None = None) -> Term:
    """A hint with a learned regressor at a place, or at the last hidden activations; InputError where there is none."""
    ends, place = [len(shapes) - 1 for shapes in pair.shapes], place or pair.places("hint")[-1]
    if not all(0 < i <= end for i, end in zip(place, ends, strict=True)):
        raise InputError(f"--hint {place[0]}:{place[1]}: the student has the activations 1 … {ends[0]}, the teacher "
                         f"1 … {ends[1]}; take one of each")
    return Term(squared_error, *place, connector=pair.connector(place), name=f"hint {place[0]}:{place[1]}")


def ridge_term(pair: Pair) -> Term:
    """A hint at the last hidden activations, by the ridge regressor of the untrained student."""
    place = pair.places("ridge")[-1]
    s, t = (answers(network, i, pair.x) for network, i in zip((pair.student, pair.teacher), place, strict=True))
    rows = [a.reshape(-1, a.shape[-1]).astype(np.float64) for a in (s, t)]
    fitted = ridge(Statistics.of(*rows), strength=1e-3 * len(rows[0]), maps=s.ndim == 4)
    return Term(squared_error, *place, connector=fitted)


def two_layer_term(pair: Pair, loss: Callable[..., Any], who: str, *, maps: bool = False) -> Term:
    """Of the first and the last of the hidden activations together, with connectors; of ``maps``, or of any."""
    places = pair.places(who, maps=maps or min(max(map(len, shapes)) for shapes in pair.shapes) == 3)
    one, other = zip(*places, strict=True)
    if one[0] == one[1] or other[0] == other[1]:
        raise InputError(f"{who}: it compares two layers, and one of the networks has but one; take another one")
    return Term(loss, one, other, connector=tuple(map(pair.connector, places)))


def variational_term(pair: Pair) -> Term:
    """With a variance for each channel of the teacher's."""
    alpha = np.full(pair.shapes[1][pair.places("vid")[-1][1]][-1], alpha0(), pair.x.dtype)
    return pair.term(variational_information, "vid", connected=True, parts=(alpha,))


def contrastive_term(pair: Pair, width: int = 64, count: int = 64) -> Term:
    """Embeddings of 64 of what the last layers read, and 64 negatives of other classes for each example."""
    i, j = (len(network.layers) - 1 for network in (pair.student, pair.teacher))
    shapes, n = (pair.shapes[0][i], pair.shapes[1][j]), len(pair.x)
    if max(map(len, shapes)) > 1:
        raise InputError(f"crd: the last layers read {shapes[0]} and {shapes[1]}; both must be rows")
    pair.arrays.update(index=np.arange(n), negatives=draw_negatives(np.arange(n), pair.y, count, pair.rng))
    parts = tuple((pair.rng.standard_normal((width, f + 1)) / np.sqrt(f)).astype(pair.x.dtype) for f, in shapes)
    return Term(contrastive, i, j, parts=parts, arrays={"index": "index", "negatives": "negatives"},
                memory=draw_memory(n, width, pair.rng))


def overhaul_term(pair: Pair) -> Term:
    """Before the last activation; margins of the teacher's values, taken as Gaussian in each channel."""
    a = answers(pair.teacher, pair.places("ofd", before=True)[-1][1], pair.x)
    a = a.reshape(-1, a.shape[-1]).astype(np.float64)
    margin = margins(a.std(axis=0) + 1e-6, a.mean(axis=0))
    return pair.term(overhaul, "ofd", connected=True, before=True, options={"margin": margin})


def factor_term(pair: Pair, epochs: int = 5) -> Term:
    """With half as many factors as channels; the paraphraser is trained first, for 5 epochs."""
    i, j = pair.places("ft", maps=True)[-1]
    maps, again = answers(pair.teacher, j, pair.x), Terms([Term(squared_error, teacher="x")])
    coder = paraphraser(maps.shape[-1], max(1, maps.shape[-1] // 2), pair.rng)
    *_, last = train(coder, {"x": maps}, again, rng=pair.rng, settings=TrainingSettings(epochs, clip=1.0))
    pair.arrays["factor"] = factor = Network(last.network.layers[:6]).predict(maps)
    translator = connector(pair.shapes[0][i], factor.shape[1:], pair.rng, forced=True)
    return Term(factor_transfer, i, "factor", connector=translator)
