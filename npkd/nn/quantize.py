"""Activations on a grid of few levels: what an integer network computes, in floating point. Chapter 24 of the book."""

from __future__ import annotations

import numpy as np

from npkd.core.types import Array, Backward
from npkd.core.validation import floats, positive, whole


def quantize(x: Array, *, step: float, zero: int = 0, low: int = 0, high: int = 255) -> tuple[Array, Backward]:
    """The nearest of the levels s (low − zero), …, s (high − zero), a step s apart; 0 is one of them.

        y = s (clip(⌊x/s⌉ + zero, low, high) − zero),   halves to the even one                         (N40)

    x any shape -> y of the same shape; floats, x/s in the dtype of x. The integers in the brackets are what a byte
    holds. Backward is straight-through: the derivative of the clip, rounding errors being held constant. Raises
    InputError unless the step is positive and low ≤ zero ≤ high, low < high, are whole numbers. Source: Jacob et al.
    2018; straight-through: Bengio, Léonard & Courville 2013.
    """
    floats("quantize", x=x)
    positive("quantize", "step", step)
    whole("quantize", low=low)
    whole("quantize", low + 1, high=high)
    whole("quantize", low, high, zero=zero)
    scaled = x / float(step)
    y = float(step) * (np.clip(np.rint(scaled) + int(zero), int(low), int(high)) - int(zero))          # (N40)

    def backward(dy: Array) -> tuple[Array, ...]:
        inside = (scaled >= low - zero) & (scaled <= high - zero)
        return (dy * inside,)                                  # (N41)  1 on the range, its ends included, else 0

    return y, backward
