"""What there is to distil with, by name: schemes of Gou et al. 2021, sections 3 to 5, and this project's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from npkd.distillation import schemes


@dataclass(frozen=True)
class Entry:
    """``word`` for the command line, ``name`` in a sentence, ``paper`` its name in papers, if any, ``source`` of it,
    and ``normaliser``, what a value is divided by (of a scheme its terms say that)."""

    word: str
    name: str
    paper: str
    source: str
    normaliser: str
    function: Callable[..., Any]


SCHEMES = (
    Entry("offline", "offline distillation", "KD", "Hinton et al. 2015", "", schemes.offline),
    Entry("ensemble", "several teachers", "", "Hinton et al. 2015; Fukuda et al. 2017", "", schemes.offline),
    Entry("mutual", "online mutual learning", "DML", "Zhang et al. 2018", "", schemes.mutual),
    Entry("born-again", "generations of one network", "BAN", "Furlanello et al. 2018", "", schemes.born_again),
    Entry("own-layers", "a network's own deeper layers", "BYOT", "Zhang et al. 2019", "", schemes.own_layers),
    Entry("assistants", "teacher assistants", "TAKD", "Mirzadeh et al. 2020", "", schemes.assistants),
    Entry("adversarial", "a discriminator of logits", "", "Xu et al. 2018", "", schemes.adversarial),
    Entry("cross-modal", "paired inputs of two kinds", "", "Gupta et al. 2016", "", schemes.cross_modal),
    Entry("graph", "relations of neighbours", "", "own form, after Liu et al. 2019", "", schemes.graph),
    Entry("attention", "attention transfer", "AT", "Zagoruyko & Komodakis 2017", "", schemes.attention),
    Entry("data-free", "inputs made from the teacher", "", "Yin et al. 2020; Lopes et al. 2017", "", schemes.data_free),
    Entry("lifelong", "learning without forgetting", "LwF", "Li & Hoiem 2018", "", schemes.lifelong),
    Entry("layer-wise", "neurons chosen layer by layer", "", "this project", "", schemes.layer_wise),
)
