"""The losses by the words of the command line: where each reads, through which connector, with which weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.distillation import classes, features, relations, response
from npkd.distillation.cka import centred_kernel_alignment
from npkd.distillation.connectors import connector, ridge
from npkd.distillation.contrastive import contrastive, draw_memory, draw_negatives
from npkd.distillation.factors import factor_transfer, paraphraser
from npkd.distillation.overhaul import margins, overhaul
from npkd.distillation.review import review
from npkd.distillation.singular_vectors import singular_vectors
from npkd.distillation.teacher import Teacher
from npkd.distillation.terms import Term
from npkd.distillation.variational import alpha0, variational_information
from npkd.nn.losses import squared_error
from npkd.nn.network import Network
from npkd.nn.training import TrainingSettings, train
from npkd.sparsity.statistics import Statistics


@dataclass(frozen=True, eq=False)
class Pair:
    """A student, its teacher, and the examples x (N, ...) with labels y (N,) that the student is to learn from.

    Places in both networks are numbers of activations, student's first. ``arrays`` collects what terms read of the
    batch beside the teacher's activations, a row an example.
    """

    student: Network
    teacher: Network
    x: Array
    y: Array
    rng: np.random.Generator
    temperature: float = 4.0
    arrays: dict[str, Array] = field(default_factory=dict)

    @cached_property
    def shapes(self) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """Shapes of all activations of an example, of both networks."""
        one, other = (network(self.x[:2])[0] for network in (self.student, self.teacher))
        return [a.shape[1:] for a in one], [a.shape[1:] for a in other]

    def places(self, who: str, *, maps: bool, before: bool = False) -> list[tuple[int, int]]:
        """Pairs of activations, first and last, behind hidden activations (relu, …) or ``before`` them: maps alone,
        or, where one network has none, of any shape. Raises InputError where there are none."""
        found = [[i + 1 - before for i, layer in enumerate(network.layers)
                  if layer.row.activation and (len(shapes[i + 1]) == 3 or not maps)]
                 for network, shapes in zip((self.student, self.teacher), self.shapes, strict=True)]
        if not all(found):
            raise InputError(f"--loss {who}: it compares {'maps' if maps else 'hidden activations'}, and "
                             f"{'the teacher' if found[0] else 'the student'} has none; take another loss")
        return [(found[0][0], found[1][0]), (found[0][-1], found[1][-1])]

    def connector(self, place: tuple[int, int]) -> Network | None:
        """What brings the student's activation to the shape of the teacher's, None where it has it."""
        return connector(self.shapes[0][place[0]], self.shapes[1][place[1]], self.rng)

    def term(self, loss: Callable[..., Any], place: tuple[int, int], connected: bool = False, **more: Any) -> Term:
        """A term of weight 1 at a place."""
        return Term(loss, *place, connector=self.connector(place) if connected else None, **more)


def rows(who: str, pair: Pair) -> tuple[int, int]:
    """The last hidden activations."""
    return pair.places(who, maps=False)[-1]


def closed_form(pair: Pair) -> Term:
    """A hint by the ridge regressor of the untrained student, where both are rows."""
    place = rows("ridge", pair)
    s, t = (Teacher(n, (i,))(pair.x)[f"teacher{i}"] for n, i in zip((pair.student, pair.teacher), place, strict=True))
    maps = s.ndim == 4
    if maps and s.shape[:3] != t.shape[:3]:
        raise InputError(f"--loss ridge: the maps are {s.shape[1:]} and {t.shape[1:]}; their positions must agree")
    s, t = (a.reshape(-1, a.shape[-1]).astype(np.float64) for a in (s, t))
    return Term(squared_error, *place, connector=ridge(Statistics.of(s, t), strength=1e-3 * len(s), maps=maps))


def pairs_of_layers(who: str, pair: Pair, loss: Callable[..., Any]) -> Term:
    """The first and the last of the hidden layers as one, with connectors."""
    places = pair.places(who, maps=who == "kdsvd")
    return Term(loss, tuple(i for i, _ in places), tuple(j for _, j in places),
                connector=tuple(map(pair.connector, places)))


def variational(pair: Pair) -> Term:
    """With a variance for each channel of the teacher's."""
    place = rows("vid", pair)
    channels = pair.shapes[1][place[1]][-1]
    return pair.term(variational_information, place, True, parts=(np.full(channels, alpha0(), pair.x.dtype),))


def contrast(pair: Pair, width: int = 64, count: int = 64) -> Term:
    """Embeddings of 64, and 64 negatives of other classes for each example."""
    place, n = rows("crd", pair), len(pair.x)
    pair.arrays["index"] = np.arange(n)
    pair.arrays["negatives"] = draw_negatives(np.arange(n), pair.y, count, pair.rng)
    embeddings = [pair.rng.standard_normal((width, int(np.prod(shape)) + 1)) / np.sqrt(np.prod(shape))
                  for shape in (pair.shapes[0][place[0]], pair.shapes[1][place[1]])]
    return pair.term(contrastive, place, parts=tuple(e.astype(pair.x.dtype) for e in embeddings),
                     arrays={"index": "index", "negatives": "negatives"}, memory=draw_memory(n, width, pair.rng))


def overhauled(pair: Pair) -> Term:
    """Before the last activation; margins of the teacher's values, taken as Gaussian in each channel."""
    place = pair.places("ofd", maps=False, before=True)[-1]
    a = Teacher(pair.teacher, (place[1],))(pair.x[:1000])[f"teacher{place[1]}"]
    a = a.reshape(-1, a.shape[-1]).astype(np.float64)
    return pair.term(overhaul, place, True, options={"margin": margins(a.std(axis=0) + 1e-6, a.mean(axis=0))})


def factors(pair: Pair, epochs: int = 5) -> Term:
    """With half as many factors as channels; the paraphraser is trained first, for 5 epochs."""
    i, j = pair.places("ft", maps=True)[-1]
    maps, half = Teacher(pair.teacher, (j,))(pair.x)[f"teacher{j}"], max(1, pair.shapes[1][j][-1] // 2)
    *_, last = train(paraphraser(maps.shape[-1], half, pair.rng), {"x": maps}, lambda a, batch: (
        (found := squared_error(a[-1], batch["x"]))[0], {len(a) - 1: found[1]}), rng=pair.rng,
        settings=TrainingSettings(epochs, clip=1.0))
    pair.arrays["factor"] = Network(last.network.layers[:6]).predict(maps)
    return Term(factor_transfer, i, "factor", connector=connector(pair.shapes[0][i], pair.arrays["factor"].shape[1:],
                                                                 pair.rng, forced=True))


@dataclass(frozen=True)
class Loss:
    """A row of the table: the word of the command line, the name, the paper, its source, what it is divided by, the
    weight that it has unless told, and what makes the terms, of weight 1, of a pair."""

    word: str
    name: str
    paper: str
    source: str
    normaliser: str
    weight: float
    make: Callable[[Pair], Term | list[Term]]


def logits(loss: Callable[..., Any], **arrays: str) -> Callable[[Pair], Term]:
    """Of the logits, at the temperature of the pair where the loss has one."""
    return lambda pair: Term(partial(loss, temperature=pair.temperature), arrays=arrays)


LOSSES: Mapping[str, Loss] = {row.word: row for row in (
    Loss("soft", "soft targets", "KD", "Hinton et al. 2015", "N, times T²", 1.0, logits(response.soft_targets)),
    Loss("logits", "logit matching", "logits", "Ba & Caruana 2014", "2N", 0.1, lambda p: Term(response.logit_matching)),
    Loss("standardised", "standardised logits", "LSKD", "Sun et al. 2024", "N, times T²", 1.0,
         logits(response.standardised_logits)),
    Loss("dkd", "decoupled KD", "DKD", "Zhao et al. 2022", "N, times T²", 0.5,
         logits(response.decoupled, labels="y")),
    Loss("dist", "DIST", "DIST", "Huang et al. 2022", "N and C, times T²", 1.0,
         lambda p: Term(response.dist)),
    Loss("smoothing", "label smoothing as a teacher", "Tf-KD", "Yuan et al. 2020", "N", 1.0,
         lambda p: Term(classes.label_smoothing, teacher="y")),
    Loss("hint", "hints with learned regressor", "FitNets", "Romero et al. 2015", "2N", 0.01,
         lambda p: p.term(squared_error, rows("hint", p), True)),
    Loss("ridge", "hints with closed-form regressor", "FitNets, ridge", "Hoerl & Kennard 1970", "2N", 0.01,
         closed_form),
    Loss("at", "attention transfer", "AT", "Zagoruyko & Komodakis 2017", "N", 1.0,
         lambda p: p.term(features.attention_transfer, p.places("at", maps=True)[-1])),
    Loss("nst", "NST", "NST", "Huang & Wang 2017", "N and pairs of channels", 10.0,
         lambda p: p.term(features.neuron_selectivity, p.places("nst", maps=True)[-1])),
    Loss("fsp", "FSP", "FSP", "Yim et al. 2017", "N, P in G", 1e-3,
         lambda p: pairs_of_layers("fsp", p, features.flow)),
    Loss("ab", "activation boundaries", "AB", "Heo et al. 2019a", "N", 1e-3,
         lambda p: p.term(features.activation_boundaries, p.places("ab", maps=False, before=True)[-1], True)),
    Loss("vid", "VID", "VID", "Ahn et al. 2019", "all entries", 1.0, variational),
    Loss("crd", "CRD", "CRD", "Tian et al. 2020", "N", 0.1, contrast),
    Loss("cka", "CKA as a loss", "CKA", "Kornblith et al. 2019", "nothing: a ratio", 1.0,
         lambda p: p.term(centred_kernel_alignment, rows("cka", p))),
    Loss("ofd", "overhaul (OFD)", "OFD", "Heo et al. 2019b", "N", 1e-3, overhauled),
    Loss("ft", "factor transfer with its paraphraser", "FT", "Kim et al. 2018", "N", 0.1, factors),
    Loss("kdsvd", "KDSVD", "KDSVD", "Lee et al. 2018", "N", 0.1,
         lambda p: pairs_of_layers("kdsvd", p, singular_vectors)),
    Loss("review", "review (HCL)", "ReviewKD", "Chen et al. 2021", "all entries", 1.0,
         lambda p: p.term(review, p.places("review", maps=True)[-1], True)),
    Loss("rkd", "RKD distance and angle", "RKD", "Park et al. 2019", "N² and N³", 10.0, lambda p: [
        p.term(relations.relational_distance, rows("rkd", p)), p.term(relations.relational_angle, rows("rkd", p),
                                                                      weight=2.0)]),
    Loss("rkd-distance", "RKD distance", "RKD-D", "Park et al. 2019", "N²", 10.0,
         lambda p: p.term(relations.relational_distance, rows("rkd-distance", p))),
    Loss("rkd-angle", "RKD angle", "RKD-A", "Park et al. 2019", "N³", 20.0,
         lambda p: p.term(relations.relational_angle, rows("rkd-angle", p))),
    Loss("sp", "similarity preserving", "SP", "Tung & Mori 2019", "N²", 1000.0,
         lambda p: p.term(relations.similarity_preserving, rows("sp", p))),
    Loss("cc", "correlation congruence", "CC", "Peng et al. 2019", "N²", 10.0,
         lambda p: p.term(relations.correlation_congruence, rows("cc", p))),
    Loss("cc-coded", "correlation congruence as coded", "CC, RepDistiller", "Peng et al. 2019", "N − 1", 1e-3,
         lambda p: p.term(relations.neighbour_congruence, rows("cc-coded", p), True)),
    Loss("pkt", "PKT", "PKT", "Passalis & Tefas 2018", "N", 10.0,
         lambda p: p.term(relations.probabilistic_transfer, rows("pkt", p))),
)}
"""Every loss by its word."""


def terms_of(word: str, pair: Pair, weight: float | None = None) -> list[Term]:
    """The terms of a loss for a pair; ``weight``: in the place of the one that it has. Raises InputError for another
    word, and for networks without what the loss reads."""
    if word not in LOSSES:
        raise InputError(f"--loss {word}: it must be one of {', '.join(LOSSES)}")
    row = LOSSES[word]
    made = row.make(pair)
    factor = row.weight if weight is None else weight
    return [replace(term, weight=factor * float(str(term.weight))) for term in (
        made if isinstance(made, list) else [made])]
