"""What a catalogue is written with: cases, and arguments that are away from kinks and ties."""

import numpy as np

from reference import check

RNG = np.random.default_rng(2024)
START = RNG.bit_generator.state


class Case(check.Case):
    """A case that draws from a generator of its own: no case moves the arguments of those behind it."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        RNG.bit_generator.state = START                # for the next one


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def positive(*shape: int) -> np.ndarray:
    return RNG.uniform(0.5, 2.0, shape)


def off_zero(*shape: int) -> np.ndarray:
    x = normal(*shape)
    return x + np.where(x > 0, 0.2, -0.2)


def apart(*shape: int) -> np.ndarray:
    """Values that all differ by at least 0.25, in any order: no two are near a tie."""
    return RNG.permutation(np.arange(np.prod(shape)) * 0.25 - 2).reshape(shape)


def probabilities(*shape: int) -> np.ndarray:
    p = positive(*shape)
    return p / p.sum(axis=-1, keepdims=True)
