"""How small: the target of a compression, as a user writes it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from npkd.core.validation import InputError, one_of, positive
from npkd.data.datasets import Data
from npkd.nn import cost
from npkd.nn.model import Model, content
from npkd.nn.network import convolves

TARGET = "macs=10%"
"""Where nobody says another one."""

SIZES = ("macs", "parameters", "bytes", "neurons")


@dataclass(frozen=True)
class Target:
    """A bound on the student.

    kind    "macs", "parameters", "bytes" or "neurons" (inputs read and hidden neurons): the bound is on that number;
            "widths": on the neurons of each layer; "error": on the rise of the validation error over the teacher's, of
            classes in percentage points, of numbers the fall of R² or the rise of the RMSE
    bound   the number; for "widths" the multiply-accumulates that they make
    widths  of "widths" alone: the most neurons of each layer, inputs first, the outputs left out
    geometry    how the teacher's layers meet its widths, see npkd.surgery.widths; None: of a perceptron
    measure     of "error": what it rises in, "" or "r2" or "rmse", see ``allowed``
    file        of "bytes", which are those of the file that is written: how many it has beside its parameters, and how
                many more for each input that is selected, see ``file_of``; (0, 0): of the parameters alone

    Raises InputError for other kinds and for numbers that are not finite and positive; see ``require`` for the rest.
    """

    kind: str
    bound: float
    widths: tuple[int, ...] = ()
    geometry: cost.Geometry | None = None
    file: tuple[float, float] = (0.0, 0.0)
    measure: str = ""

    def __post_init__(self) -> None:
        one_of("target", "kind", self.kind, (*SIZES, "widths", "error"))
        positive("target", "bound", self.bound, zero=self.kind == "widths")
        if bool(self.widths) != (self.kind == "widths"):
            raise InputError(f"target: kind {self.kind}, widths {self.widths}; widths belong to the kind widths alone")

    def size(self, widths: Sequence[int]) -> float:
        """What the bound counts, for a network with these widths, inputs and outputs included."""
        if self.kind == "neurons":                            # as many as each layer of weights reads
            return float(sum(widths[i] for i in self.geometry.reads if i >= 0) if self.geometry else sum(widths[:-1]))
        kind = self.kind if self.kind in SIZES else "macs"
        counted = float(getattr(cost.of_widths(widths, geometry=self.geometry), kind))
        return counted + self.file[0] + self.file[1] * widths[0] if kind == "bytes" else counted

    def smallest(self, teacher_widths: Sequence[int], keep_inputs: bool = False) -> float:
        """What it counts with one neuron a layer, beside what cannot become smaller."""
        stays = self.stays(keep_inputs)
        return self.size([*(w if k in stays else 1 for k, w in enumerate(teacher_widths[:-1])), teacher_widths[-1]])

    def allowed(self, error: float, data: Data) -> float:
        """The largest error of the validation part, see ``task.error_of``, from that of a teacher.

            of classes   e + bound / 100,   of numbers   e + bound   in R², or of one output
            (√(e v) + bound)² / v   in its RMSE,   v its variance

        Raises InputError as ``require_measure``."""
        self.require_measure(data)
        if data.targets is None:
            return error + self.bound / 100
        if self.measure != "rmse":
            return error + self.bound
        v = float((data.y_validation / data.targets.factor).var(dtype=np.float64))
        return (math.sqrt(error * v) + self.bound) ** 2 / v

    def require_measure(self, data: Data) -> None:
        """Raise InputError where the measure is of something else than the data."""
        if data.targets is None and self.measure:
            raise InputError(f"target: error=+…{self.measure} is for numbers; of classes write points: error=+0.5")
        if self.measure == "rmse" and data.classes > 1:
            raise InputError(f"target: the rmse is of one output, here are {data.classes}; give error=+0.02 in R²")

    def stays(self, keep_inputs: bool) -> set[int]:
        """Numbers of the widths that cannot become smaller."""
        return {*(self.geometry.fixed if self.geometry else ()), *([0] if keep_inputs else ())}

    def require(self, teacher_widths: Sequence[int], keep_inputs: bool = False) -> None:
        """Raise InputError, with the nearest possible target, unless a student of this teacher can be within it."""
        if self.kind == "widths":
            most = list(teacher_widths[:-1])
            if len(self.widths) != len(most):
                raise InputError(f"target: widths are {chain(self.widths)}; the teacher has {chain(most)}, and one is "
                                 f"needed for each of them")
            stays = self.stays(keep_inputs)
            pairs = enumerate(zip(self.widths, most, strict=True))
            nearest = [m if k in stays else min(max(w, 1), m) for k, (w, m) in pairs]
            if nearest != list(self.widths):
                inputs = ", and all inputs are to be kept" * keep_inputs
                raise InputError(f"target: widths are {chain(self.widths)}, but the teacher has {chain(most)}{inputs}; "
                                 f"the nearest possible are {chain(nearest)}")
        elif self.kind != "error":
            smallest, whole = self.smallest(teacher_widths, keep_inputs), self.size(teacher_widths)
            if self.bound < smallest:
                inputs = " and all inputs" * keep_inputs
                if self.geometry and (self.geometry.fixed != (0,) or -1 in self.geometry.reads):
                    inputs += ", beside what stays: inputs, what is added to them or to outputs, channels of groups"
                raise InputError(f"target: {self.kind} is {self.bound:.12g}; the smallest that this network can be is "
                                 f"{smallest:.12g}, one neuron a layer{inputs}")
            if self.bound > whole:
                raise InputError(f"target: {self.kind} is {self.bound:.12g}, but the teacher has {whole:.12g}; "
                                 "the target must not be above that")

    def after(self, done: float, teacher_widths: Sequence[int]) -> Target:
        """The target of a round, the part ``done`` = r/R of the way from the teacher (outputs included), 0 < done ≤ 1.

            budget_r = size(teacher)^(1 − r/R) · target^(r/R)                             (W11)

        For widths (W11) holds for each of them; a target of error stays what it is."""
        if done == 1 or self.kind == "error":
            return self
        if self.kind == "widths":
            pairs = zip(self.widths, teacher_widths[:-1], strict=True)
            rounds = tuple(max(w, int(m * (w / m) ** done)) for w, m in pairs)                                   # (W11)
            return replace(self, widths=rounds, bound=self.size([*rounds, teacher_widths[-1]]))
        whole = self.size(teacher_widths)
        return replace(self, bound=whole * (self.bound / whole) ** done)                                         # (W11)


ABOUT, SELECT = 512, 80
"""Bytes of a file that are kept free for what it says of itself, and for a layer that selects inputs, beside them."""


def file_of(model: Model, keep_inputs: bool) -> tuple[float, float]:
    """``Target.file`` of networks that are made of this one by removing neurons: float32, with the same scaling.

    In the header each selected input takes its digits, a comma and a space."""
    small = Model(model.network.astype(np.float32), model.scaling)
    beside = len(content(small)) - sum(p.nbytes for layer in small.network.layers for p in layer.params)
    digits = len(str(model.network.widths[0] - 1))
    return float(beside + ABOUT + SELECT), 0.0 if keep_inputs or convolves(model.network) else digits + 2.0


def chain(widths: Sequence[int]) -> str:
    """784-300-100."""
    return "-".join(map(str, widths))


def parse(text: str, teacher_widths: Sequence[int], keep_inputs: bool = False,
          geometry: cost.Geometry | None = None, file: tuple[float, float] = (0.0, 0.0), neurons: bool = True
          ) -> Target:
    """A target from words: ``macs=26620``, ``macs=10%`` (of the teacher's), ``neurons=120``, ``widths=97-71-33``,
    ``error=+0.5`` (points), ``error=+0.02`` (R²), ``error=+3rmse``. Raises InputError for unknown words and numbers
    that are not positive, and for a target that no student of a teacher with these widths (outputs included) can be
    within; unless ``neurons`` is False, where more than neurons may go."""
    kind, equals, number = text.partition("=")
    if kind not in (*SIZES, "widths", "error") or not equals:
        raise InputError(f"target: got {text!r}; write macs=N, parameters=N, bytes=N or neurons=N (or N%), widths=N-N, "
                         f"or error=+POINTS")
    if kind == "widths":
        if not re.fullmatch("[0-9]{1,9}(-[0-9]{1,9})*", number):
            raise InputError(f"target: got {text!r}; after widths= it needs a number for each layer, inputs first, as "
                             "in 97-71-33")
        target = Target(kind, 0.0, tuple(map(int, number.split("-"))), geometry)
        target.require(teacher_widths, keep_inputs)
        return replace(target, bound=target.size([*target.widths, teacher_widths[-1]]))
    if re.fullmatch(r"[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?", number):         # as tables print it: 26,620
        number = number.replace(",", "")
    try:
        measure = next((m for m in ("r2", "rmse") if kind == "error" and number.lower().endswith(m)), "")
        value = float(number[:len(number) - len(measure)].removesuffix("%"))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0) or (kind == "error" and number.endswith("%")):
        such = "0.5, 0.02r2 or 3rmse" if kind == "error" else "26620 or 26,620"
        raise InputError(f"target: got {text!r}; after {kind}= it needs a positive number, such as {such}")
    if number.endswith("%"):
        value = min(value * Target(kind, value, geometry=geometry, file=file).size(teacher_widths) / 100, 1e300)
    target = Target(kind, value, geometry=geometry, file=file, measure=measure)
    if neurons:
        target.require(teacher_widths, keep_inputs)
    return target
