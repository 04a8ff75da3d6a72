"""Factor transfer: factors of an autoencoder of the teacher. Derivation: docs/book/17-trained-features.md."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from npkd.core.linalg import wide
from npkd.core.types import Array
from npkd.core.validation import whole
from npkd.distillation.features import unit
from npkd.distillation.pairs import check_pair
from npkd.nn.architectures import conv_layer
from npkd.nn.network import Layer, Network


def translator(widths: list[int], rng: np.random.Generator) -> Network:
    """A connector: convolutions 3×3, each with a leaky ReLU of slope 0.1; widths [C, C, F, F] make C channels F."""
    return Network([layer for c, o in pairwise(widths) for layer in
                    (conv_layer(c, o, 3, rng, padding=1), Layer("leaky_relu", options={"slope": 0.1}))])


def paraphraser(channels: int, factors: int, rng: np.random.Generator) -> Network:
    """An autoencoder of the teacher's maps, to be trained beforehand: its first six layers make the factor."""
    return translator([channels, channels, factors, factors, factors, channels, channels], rng)


def factor_transfer(student: Array, teacher: Array, *, power: int | None = None) -> tuple[float, Array]:
    """l1 distance of the directions of the factors, all entries of an example's being one vector.

        L = 1/N Σ_n Σ_i |u_ni − v_ni|,   u, v: directions of student's and teacher's factor     (Y15)

    student, teacher (N, ..., C)   ->   value, d_student. Divided by N alone; slope 0 at the kinks, where entries agree.
    power k: instead of the factor f its mean 1/C Σ_c f_npc^k (Y16). Raises InputError where shapes differ.
    Source: Kim, Park & Kwak 2018; RepDistiller has power 2.
    """
    check_pair("factor_transfer", student, teacher)
    whole("factor_transfer", 1, power=1 if power is None else power)
    whole_factors = [a.astype(wide(a)) for a in (student, teacher)]
    f, target = whole_factors if power is None else [(a ** power).mean(axis=-1) for a in whole_factors]     # (Y16)
    (u, backward), (v, _) = (unit(a.reshape(len(a), -1)) for a in (f, target))
    d = backward(np.sign(u - v) / len(f)).reshape(f.shape)                            # (Y17)
    if power is not None:
        d = d[..., None] * power * whole_factors[0] ** (power - 1) / student.shape[-1]          # (Y18)
    return float(np.abs(u - v).sum()) / len(f), d.astype(student.dtype)               # (Y15)
