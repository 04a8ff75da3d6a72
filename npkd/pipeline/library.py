"""What there is to distil with, by the words of the command line: losses, and schemes of Gou et al. 2021, sections 3
to 5, each with its source. `npkd distil --list` and docs/book/20-library.md show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from npkd.core.validation import InputError
from npkd.distillation import classes, features, relations, response, schemes
from npkd.distillation.cka import centred_kernel_alignment
from npkd.distillation.review import review
from npkd.distillation.singular_vectors import singular_vectors
from npkd.distillation.terms import Term
from npkd.pipeline import pairing
from npkd.pipeline.pairing import Pair, Place, logit_term, two_layer_term


@dataclass(frozen=True)
class Entry:
    """``word`` for the command line, ``name`` in a sentence, ``paper`` its name in papers, if any, ``source`` of it,
    ``normaliser``, what a value is divided by (of a scheme its terms say that), ``function`` of a scheme, or what makes
    a loss's terms, of weight 1, for a Pair, and the ``weight`` that a loss has unless told."""

    word: str
    name: str
    paper: str
    source: str
    normaliser: str
    function: Callable[..., Any]
    weight: float = 1.0


LOSSES: Mapping[str, Entry] = {row.word: row for row in (
    Entry("soft", "soft targets", "KD", "Hinton et al. 2015", "N, times T²", logit_term(response.soft_targets)),
    Entry("logits", "logit matching", "", "Ba & Caruana 2014", "2N", lambda p: Term(response.logit_matching), 0.1),
    Entry("standardised", "standardised logits", "LSKD", "Sun et al. 2024", "N, times T²",
          logit_term(response.standardised_logits)),
    Entry("dkd", "decoupled KD", "DKD", "Zhao et al. 2022", "N, times T²",
          logit_term(response.decoupled, labels="y"), 0.5),
    Entry("dist", "DIST", "DIST", "Huang et al. 2022", "N and C, times T²", logit_term(response.dist)),
    Entry("smoothing", "label smoothing as a teacher", "Tf-KD", "Yuan et al. 2020", "N",
          lambda p: Term(classes.label_smoothing, teacher="y")),
    Entry("hint", "hints with learned regressor", "FitNets", "Romero et al. 2015", "2N", pairing.hint_term, 0.01),
    Entry("ridge", "hints with closed-form regressor", "FitNets", "Hoerl & Kennard 1970", "2N",
          pairing.ridge_term, 0.01),
    Entry("at", "attention transfer", "AT", "Zagoruyko & Komodakis 2017", "N",
          lambda p: p.term(features.attention_transfer, "at", maps=True)),
    Entry("nst", "NST", "NST", "Huang & Wang 2017", "N and pairs of channels",
          lambda p: p.term(features.neuron_selectivity, "nst", maps=True), 10.0),
    Entry("fsp", "FSP", "FSP", "Yim et al. 2017", "N, P in G", lambda p: two_layer_term(p, features.flow, "fsp"), 1e-3),
    Entry("ab", "activation boundaries", "AB", "Heo et al. 2019a", "N",
          lambda p: p.term(features.activation_boundaries, "ab", connected=True, before=True), 1e-3),
    Entry("vid", "VID", "VID", "Ahn et al. 2019", "N", pairing.variational_term, 0.1),
    Entry("crd", "CRD", "CRD", "Tian et al. 2020", "N", pairing.contrastive_term, 0.1),
    Entry("cka", "CKA as a loss", "CKA", "Kornblith et al. 2019", "nothing, a ratio",
          lambda p: p.term(centred_kernel_alignment, "cka")),
    Entry("ofd", "overhaul (OFD)", "OFD", "Heo et al. 2019b", "N", pairing.overhaul_term, 1e-3),
    Entry("ft", "factor transfer with its paraphraser", "FT", "Kim et al. 2018", "N", pairing.factor_term, 0.1),
    Entry("kdsvd", "KDSVD", "KDSVD", "Lee et al. 2018", "N",
          lambda p: two_layer_term(p, singular_vectors, "kdsvd", maps=True), 10.0),
    Entry("review", "review (HCL)", "ReviewKD", "Chen et al. 2021", "all entries",
          lambda p: p.term(review, "review", connected=True, maps=True)),
    Entry("rkd", "RKD distance and angle", "RKD", "Park et al. 2019", "N² and N³", lambda p: [
        p.term(relations.relational_distance, "rkd"), p.term(relations.relational_angle, "rkd", weight=2.0)], 10.0),
    Entry("rkd-distance", "RKD distance", "RKD-D", "Park et al. 2019", "N²",
          lambda p: p.term(relations.relational_distance, "rkd-distance"), 10.0),
    Entry("rkd-angle", "RKD angle", "RKD-A", "Park et al. 2019", "N³",
          lambda p: p.term(relations.relational_angle, "rkd-angle"), 20.0),
    Entry("sp", "similarity preserving", "SP", "Tung & Mori 2019", "N²",
          lambda p: p.term(relations.similarity_preserving, "sp"), 1000.0),
    Entry("cc", "correlation congruence", "CC", "Peng et al. 2019", "N²",
          lambda p: p.term(relations.correlation_congruence, "cc"), 10.0),
    Entry("cc-coded", "correlation congruence as coded", "CC", "Peng et al. 2019, RepDistiller", "N − 1",
          lambda p: p.term(relations.neighbour_congruence, "cc-coded", connected=True), 1e-3),
    Entry("pkt", "PKT", "PKT", "Passalis & Tefas 2018", "N",
          lambda p: p.term(relations.probabilistic_transfer, "pkt"), 10.0),
)}
"""Every loss by its word."""

SCHEMES: Mapping[str, Entry] = {row.word: row for row in (
    Entry("offline", "offline distillation", "KD", "Hinton et al. 2015", "", schemes.offline),
    Entry("ensemble", "several teachers", "", "Hinton et al. 2015; Fukuda et al. 2017", "", schemes.offline),
    Entry("mutual", "online mutual learning", "DML", "Zhang et al. 2018", "", schemes.mutual),
    Entry("born-again", "generations of one network", "BAN", "Furlanello et al. 2018", "", schemes.born_again),
    Entry("own-layers", "a network's own deeper layers", "BYOT", "Zhang et al. 2019", "", schemes.own_layers),
    Entry("assistants", "teacher assistants", "TAKD", "Mirzadeh et al. 2020", "", schemes.assistants),
    Entry("adversarial", "a discriminator of logits", "", "Xu et al. 2018", "", schemes.adversarial),
    Entry("cross-modal", "paired inputs of two kinds", "", "Gupta et al. 2016", "", schemes.cross_modal),
    Entry("graph", "relations of neighbours", "", "own form, after Liu et al. 2019", "", schemes.graph),
    Entry("attention", "attention transfer, layer by layer", "AT", "Zagoruyko & Komodakis 2017", "", schemes.attention),
    Entry("data-free", "inputs made from the teacher", "", "Yin et al. 2020; Lopes et al. 2017", "", schemes.data_free),
    Entry("lifelong", "learning without forgetting", "LwF", "Li & Hoiem 2018", "", schemes.lifelong),
    Entry("layer-wise", "neurons chosen layer by layer", "", "this project", "", schemes.layer_wise),
)}
"""Every scheme by its word."""


def terms_of(word: str | Place, pair: Pair, weight: float | None = None) -> list[Term]:
    """The terms of a loss, or of a hint at a place, for a pair; ``weight``: in the place of the one that it has. Raises
    InputError for another word, and for networks without what the loss reads."""
    row = LOSSES.get("hint" if isinstance(word, tuple) else word)
    if row is None:
        raise InputError(f"--loss {word:.40}: it must be one of {', '.join(LOSSES)}")
    made, factor = row.function(pair, *[word] * isinstance(word, tuple)), row.weight if weight is None else weight
    return [replace(term, weight=factor * term.weight) for term in (made if isinstance(made, list) else [made])]


def listed() -> list[tuple[str, ...]]:
    """Of each loss and scheme word, name, the paper's short name, source, what it is divided by, and the option."""
    return [(e.word, e.name, e.paper or "–", e.source, e.normaliser or "by its terms", option)
            for option, entries in (("--loss", LOSSES), ("--scheme", SCHEMES)) for e in entries.values()]
