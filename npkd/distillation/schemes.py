"""Schemes: who teaches whom, when. Each is a short function on the one training loop: docs/book/19-schemes.md.

All are iterators of Records, as ``train``: ``network`` is the student, ``beside`` are others that learn with it, and of
several trainings in turn ``stage`` names the one. Arguments, in this order: student(s), teacher(s), data, what is to be
learnt; then optimiser, settings, rng as in ``train``. npkd/pipeline/library.py lists them with their sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.random import Generator

from npkd.core.types import Batch
from npkd.core.validation import InputError, whole
from npkd.data.logit_cache import named
from npkd.data.transfer import Transfer
from npkd.distillation import scheme_losses as losses
from npkd.distillation.features import attention_transfer
from npkd.distillation.objective import Terms
from npkd.distillation.response import soft_targets
from npkd.distillation.safety import redrawn, with_safe_clip
from npkd.distillation.synthesis import Synthesis, synthesise
from npkd.distillation.teacher import Ensemble, Teacher, teacher_of
from npkd.distillation.terms import Term, array_of
from npkd.nn.losses import cross_entropy, squared_error
from npkd.nn.network import Layer, Network, dense_layer
from npkd.nn.optimisers import Optimiser
from npkd.nn.training import Record, TrainingSettings, train
from npkd.sparsity.layerwise import distil, exactly

Records = Iterator[Record]


def offline(student: Network, teacher: Network | Ensemble, data: Batch, terms: Terms, *,
            optimiser: Optimiser | None = None, settings: TrainingSettings | None = None, rng: Generator) -> Records:
    """A student learns from a teacher that does not change, as ``train`` yields it: a Record an epoch.

    data        "x" and, where a term reads them, "y" and other arrays; the answers of the teacher are added
    settings    with an augmentation, the teacher answers to what it makes of the examples; without, it answers once
                without optimiser and clip the gradient is bounded by (K50), at the rate of SGD(): ``safe_clip``
    Raises InputError as ``train`` does, AssertionError if the teacher's bytes are not what they were before.
    """
    answers = teacher_of(teacher, terms) if isinstance(teacher, Network) else teacher
    before, settings = answers.digest, with_safe_clip(student, data, optimiser, settings, answers)
    settings = with_answers(answers, settings)
    yield from train(student, data, terms, optimiser=optimiser, settings=settings, rng=rng)
    assert answers.digest == before, "offline: the teacher was changed"


def with_answers(answers: Teacher | Ensemble, settings: TrainingSettings, source: str = "x") -> TrainingSettings:
    """The settings with the teacher's answers to the array ``source`` of what the student is shown."""
    change, show = settings.augmentation, Transfer(answers)

    def see(batch: Batch, rng: Generator) -> Batch:
        if not change and source == "x":
            return show(batch, rng)
        changed = change(batch, rng) if change else batch
        shown = {name: a for name, a in changed.items() if name == "x" or name != source}
        return {**shown, **named(answers(array_of(changed, source)))}

    return replace(settings, augmentation=see, refresh=settings.refresh if change else settings.done or settings.epochs)


def mutual(peers: Sequence[Network], data: Batch, term: Term | None = None, *, optimiser: Optimiser | None = None,
           settings: TrainingSettings | None = None, rng: Generator) -> Records:
    """Peers learn from the labels and from one another, (Z1), all at each batch; the first is the records' network."""
    yield from joint_training(peers[0], [(0, peer) for peer in peers[1:]], data, term or Term(losses.mutual_learning),
                              optimiser=optimiser, settings=settings, rng=rng)


def own_layers(student: Network, heads: Mapping[int, Network], data: Batch, term: Term | None = None, *,
               optimiser: Optimiser | None = None, settings: TrainingSettings | None = None, rng: Generator) -> Records:
    """{activation: classifier on it} learn from the labels and from the deepest, (Z3), and their layers with them."""
    term = term or Term(losses.mutual_learning, options={"weights": losses.deepest_weights(len(heads) + 1)})
    yield from joint_training(student, [*heads.items()], data, term, optimiser=optimiser, settings=settings, rng=rng)


def joint_training(student: Network, others: Sequence[tuple[int, Network]], data: Batch, term: Term, *,
                   optimiser: Optimiser | None, settings: TrainingSettings | None, rng: Generator) -> Records:
    """A student and other networks, each on an activation of it, learn by one term, which reads the logits of all."""
    if any(layer.row.random or layer.row.running for _, other in others for layer in other.layers):
        raise InputError("joint_training: a network beside the first has dropout or batch_norm; only the first may")
    indices, networks = zip((-1, None), *others, strict=True)
    terms = Terms([replace(term, student=indices, teacher="y", connector=networks)])
    settings = with_safe_clip(student, data, optimiser, settings)
    for record in train(student, data, terms, optimiser=optimiser, settings=settings, rng=rng):
        yield replace(record, beside=tuple(c.copy() for c in terms.terms[0].connectors if c))


def assistants(students: Sequence[Network], teacher: Network | None, data: Batch, terms: Terms, *,
               optimiser: Optimiser | None = None, settings: TrainingSettings | None = None, rng: Generator) -> Records:
    """Each student learns from the best network of the one before, by a copy of the terms. Stages "1 of 2", "2 of 2".

        θ_k = training of student k by the answers of θ_{k−1}; of the first by the teacher's, or labels alone    (Z14)
    """
    whole("assistants", 0, 0, done=settings.done if settings else 0)
    fresh = [Terms(terms.terms) for _ in students]
    for k, (student, own) in enumerate(zip(students, fresh, strict=True), 1):
        records = (offline(student, teacher, data, own, optimiser=optimiser, settings=settings, rng=rng) if teacher
                   else train(student, data, optimiser=optimiser, settings=settings, rng=rng))
        for record in records:
            yield replace(record, stage=f"{k} of {len(students)}")
        teacher = record.best                                                         # (Z14)


def born_again(students: Sequence[Network], data: Batch, terms: Terms, *, optimiser: Optimiser | None = None,
               settings: TrainingSettings | None = None, rng: Generator) -> Records:
    """Generations of one shape, each drawn anew: the first learns from the labels, each next one from its parent."""
    yield from assistants(students, None, data, terms, optimiser=optimiser, settings=settings, rng=rng)


def adversarial(student: Network, teacher: Network, data: Batch, terms: Terms, *, optimiser: Optimiser | None = None,
                settings: TrainingSettings | None = None, rng: Generator) -> Records:
    """A discriminator of logits is trained with the student: ``offline`` of ``with_discriminator``."""
    terms = with_discriminator(terms, student, data, rng=rng)
    yield from offline(student, teacher, data, terms, optimiser=optimiser, settings=settings, rng=rng)


def with_discriminator(terms: Terms, student: Network, data: Batch, weight: float = 0.1, *, rng: Generator) -> Terms:
    """(A copy of) the terms, and (Z5) with a discriminator that is drawn. With weight 1 the student dies."""
    parts = losses.discriminator(student.widths[-1], rng, dtype=data["x"].dtype)
    return Terms([*terms.terms, Term(losses.adversarial_logits, weight=weight, parts=parts)])


def cross_modal(student: Network, teacher: Network, data: Batch, terms: Terms, *, optimiser: Optimiser | None = None,
                settings: TrainingSettings | None = None, rng: Generator) -> Records:
    """The teacher answers to data's "paired", another kind of input x' of the same examples: v = f(x').      (Z15)"""
    settings = with_safe_clip(student, data, optimiser, settings)
    settings = with_answers(teacher_of(teacher, terms), settings, "paired")           # (Z15)
    yield from train(student, data, terms, optimiser=optimiser, settings=settings, rng=rng)


def paired_layers(loss: Callable[..., Any], pairs: Mapping[tuple[int, int], float], data: Batch) -> Terms:
    """The cross-entropy with the labels, of numbers (floats) their squared error, and a loss between layers:
    {(student's activation, teacher's): weight}."""
    labels = squared_error if array_of(data, "y").dtype.kind == "f" else cross_entropy
    return Terms([Term(labels, teacher="y"), *(Term(loss, i, j, c) for (i, j), c in pairs.items())])


def attention(student: Network, teacher: Network, data: Batch, pairs: Mapping[tuple[int, int], float], *,
              optimiser: Optimiser | None = None, settings: TrainingSettings | None = None, rng: Generator) -> Records:
    """The student learns where the teacher's maps are active, ``paired_layers`` of layers."""
    terms = paired_layers(attention_transfer, pairs, data)
    yield from offline(student, teacher, data, terms, optimiser=optimiser, settings=settings, rng=rng)


def graph(student: Network, teacher: Network, data: Batch, pairs: Mapping[tuple[int, int], float], *,
          optimiser: Optimiser | None = None, settings: TrainingSettings | None = None, rng: Generator) -> Records:
    """The student learns how an example lies to its neighbours, (Z7), ``paired_layers`` of layers."""
    terms = paired_layers(losses.neighbour_graph, pairs, data)
    yield from offline(student, teacher, data, terms, optimiser=optimiser, settings=settings, rng=rng)


def data_free(student: Network, teacher: Network, inputs: Synthesis, terms: Terms, *,
              optimiser: Optimiser | None = None, settings: TrainingSettings | None = None, rng: Generator) -> Records:
    """The student's inputs are made from the teacher, (Z11), with "y" the classes that they were made for."""
    data = {"x": synthesise(teacher, inputs, rng), "y": inputs.labels}
    yield from offline(student, teacher, data, terms, optimiser=optimiser, settings=settings, rng=rng)


def lifelong(student: Network, teacher: Network, data: Batch, old: Term | None = None, *,
             optimiser: Optimiser | None = None, settings: TrainingSettings | None = None, rng: Generator) -> Records:
    """New classes are learnt without examples of the old, whose logits stay near those of the network before.

        L = CE(z_new, y − C_old) + c · soft(z_old, v; T),   z = (z_old, z_new), v of the network before       (Z16)

    student    that network, ``widened``;   teacher  that network;   data  of new classes alone, "y" from C_old on
    old        how the old ones are kept: Term(soft_targets, options={"temperature": 2.0}) unless told
    """
    first, end = teacher.widths[-1], student.widths[-1]
    new, kept = (Network([Layer("select", options={"kept": [*part]})]) for part in (range(first, end), range(first)))
    old = replace(old or Term(soft_targets, options={"temperature": 2.0}), student=-1, teacher=-1, connector=kept)
    terms = Terms([Term(cross_entropy, teacher="y", connector=new), old])             # (Z16)
    data = {**data, "y": data["y"] - first}
    settings = with_safe_clip(redrawn(student), data, optimiser, settings)
    yield from offline(student, teacher, data, terms, optimiser=optimiser, settings=settings, rng=rng)


def widened(network: Network, classes: int, rng: Generator) -> Network:
    """A copy whose last layer, a dense one, has so many further outputs, drawn anew."""
    w, b = (last := network.layers[-1]).params
    more = dense_layer(w.shape[1], classes, rng, w.dtype)
    params = tuple(np.concatenate(pair) for pair in zip((w, b), more.params, strict=True))
    return network.copy().replace({len(network.layers) - 1: replace(last, params=params)})


def layer_wise(teacher: Network, widths: Sequence[int], data: Batch, terms: Terms, *,
               optimiser: Optimiser | None = None, settings: TrainingSettings | None = None, rng: Generator) -> Records:
    """This project's own: the teacher cut to ``widths`` layer by layer (chapter 10) learns from what it was."""
    parts = np.array_split(data["x"], len(data["x"]) // 1000 + 1)
    student = distil(teacher, lambda: iter(parts), exactly(widths)).student
    settings = with_safe_clip(redrawn(student), data, optimiser, settings)
    yield from offline(student, teacher, data, terms, optimiser=optimiser, settings=settings, rng=rng)
