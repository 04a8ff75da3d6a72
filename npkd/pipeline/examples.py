"""The examples of a compression: read in any form, a part held out, in ordinary units, and back in those given."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from npkd.core.progress import Progress
from npkd.core.types import Array
from npkd.core.validation import InputError, described, require_memory
from npkd.data.batches import MAPS, ROWS, Passes, passes_over, plain
from npkd.data.datasets import Data
from npkd.data.sampling import samples, survey
from npkd.data.stream import Stream
from npkd.interop.adapt import adapt, rescaled, restored, same, unscaled
from npkd.interop.layers import adds_inputs, outputs_of, scaled, unit_of, units_of
from npkd.nn import cost
from npkd.nn.fast.workspace import predict
from npkd.nn.model import Model
from npkd.nn.network import Network, convolves
from npkd.nn.scaling import Scaling
from npkd.pipeline.recipe import VALIDATION, Recipe
from npkd.pipeline.task import without_labels
from npkd.sparsity.layerwise import leading


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples as they are learnt from: divided by ``units`` and by ``unit``, all of them powers of two.

    data            training part (a sample where there is a stream) and validation part
    labelled        are there labels? Else ``data`` has none that mean anything
    learnt_from     how many examples the statistics are gathered from
    unit, units     one for all features, and one for each (I,) or None
    """

    data: Data
    labelled: bool
    learnt_from: int
    unit: float
    units: Array | None

    def outside(self, network: Network) -> Network:
        """A network of these examples as one of those that were given."""
        network = restored(scaled(network, 1 / self.unit), self.data.targets)
        return network if self.units is None else scaled(network, 1 / self.units)

    def outside_rows(self, rows: Array) -> Array:
        """Rows of these examples (N, I) as they were given, behind the scaling if there is one."""
        rows = rows * np.float32(self.unit)
        return rows if self.units is None else rows * self.units


@dataclass(frozen=True, eq=False)
class Source:
    """Examples, of which only the first ones have been read, and the teacher for them.

    given       the teacher, of examples as they were given;   model  the same of examples divided by ``units``
    first       the first examples, divided by ``units``; of a Data all of them, with the parts held out
    passes      over all examples, divided by ``units``; None: ``first`` is all there is
    """

    given: Model
    model: Model
    units: Array | None
    first: Data
    passes: Passes | None = None

    def outside_rows(self, rows: Array) -> Array:
        """Rows divided by ``units`` as they were given."""
        return rows if self.units is None else rows * self.units

    def read(self, network: Network, recipe: Recipe, seed: int | np.random.Generator, progress: Progress) -> Examples:
        """All examples for a network: one part held out, a sample of the others, and passes for the statistics."""
        if self.passes is None:
            x = self.first.x_train
            require_memory(memory_needed(network, len(x), x))
            unit = self.unit(math.sqrt(float(np.einsum("ni,ni->", x, x, dtype=np.float64)) / x.size))
            data = divided(self.first, unit)
            if data.stream is None:
                return Examples(data, True, len(x), unit, self.units)
            stream = replace(data.stream, rows=MAPS if convolves(self.model.network) else ROWS)
            return Examples(replace(data, stream=stream), True, stream.examples, unit, self.units)
        if isinstance(seed, np.random.Generator):
            seed = int(seed.integers(2 ** 32))
        pair = recipe.validation if isinstance(recipe.validation, tuple) else None
        fraction = VALIDATION if pair else recipe.validation or VALIDATION
        progress.begin("reading the examples", 2)
        whole = survey(self.passes, fraction, seed)
        whole = replace(whole, below=0) if pair else whole                    # nothing is held out
        progress.step(f"{whole.sums.examples} examples")
        require_memory(memory_needed(network, min(whole.sums.examples, recipe.sample), self.first.x_train))
        part = samples(self.passes, whole, recipe.sample, max(1, round(fraction * recipe.sample)), seed)
        x_validation, y_validation = part.x_held, part.y_held
        if pair is not None:
            x_validation, y_validation = self.validation_part(pair, whole.labelled)
        progress.step(f"{len(part.x)} drawn for the distillation, {len(x_validation)} held out")
        unit = self.unit(whole.level)
        rows, y_train, targets = MAPS if convolves(self.model.network) else ROWS, part.y, self.first.targets
        if targets is not None:
            y_train, y_validation = (targets.apply(y) if whole.labelled else np.zeros((len(y), len(targets.factor)),
                                                                                       np.float32)
                                     for y in (y_train, y_validation))
        data = replace(self.first, x_train=part.x, y_train=y_train, x_validation=x_validation,
                       y_validation=y_validation)
        return Examples(replace(divided(data, unit), stream=Stream(self.passes, whole, 1 / unit, rows)),
                        whole.labelled, part.learnt_from, unit, self.units)

    def unit(self, level: float) -> float:
        """A power of two that divides inputs of this root mean square; 1 where the network adds them to something."""
        return 1.0 if adds_inputs(self.model.network) else unit_of(level)

    def validation_part(self, pair: Sequence[Any], labelled: bool) -> tuple[Array, Array]:
        """The validation part (x, y) or (x, None) of the recipe, divided by ``units``. Raises InputError: misfits."""
        prepare = self.model.scaling.apply if self.model.scaling else None
        with ExitStack() as stack:
            one_logit = self.first.targets is None and outputs_of(self.model.network) == 1
            parts = list(passes_over(pair[0], pair[1], 1 if one_logit else self.first.classes, prepare, stack)())
        x, y = np.concatenate([part for part, _ in parts]), [labels for _, labels in parts if labels is not None]
        if x.shape[1] != self.first.x_train.shape[1] or bool(y) != labelled:
            raise InputError(f"compress: validation holds examples of {x.shape[1]} features, {'with' if y else 'no'} "
                             f"labels; it must be as x, which has {self.first.x_train.shape[1]} features and "
                             f"{'labels' if labelled else 'none'}")
        return x, np.concatenate(y) if y else np.zeros(len(x), np.int64)


def source_of(x: Any, labels: Any, teacher: Model, recipe: Recipe, stack: ExitStack) -> Source:
    """Examples in any form, see ``passes_over``, or a Data, which brings labels, scaling and parts.
    Raises InputError where labels or a validation part are given beside a Data, and as ``passes_over`` does."""
    outputs, task = outputs_of(teacher.network), recipe.task or teacher.about.get("task")
    sigmoid = task is None and teacher.about.get("head") == "sigmoid"
    binary = outputs == 1 and (sigmoid or task == "classification")
    if not isinstance(x, Data):
        units = None if teacher.scaling else units_of(teacher.network)
        model = in_units(teacher, units)
        seen = list[Array]()
        labels = None if labels is None else plain(labels)
        if outputs == 1 and not binary and labels is not None and labels.dtype.kind in "iu" and (labels > 1).any():
            labels = labels.astype(np.float64)                           # more than two classes: numbers
        passes = passes_over(x, labels, 1 if binary else max(outputs, 2),
                             model.scaling.apply if model.scaling else None, stack)

        def examples() -> Iterator[Array]:
            for part, y in passes():
                seen.extend([] if y is None else [y])
                yield part

        rows = leading(examples(), 1000)                                 # on which the teacher is checked
        y, width = np.zeros(len(rows), np.int64), rows.shape[1]
        first = Data("x", rows, y, rows[:0], y[:0], rows[:0], y[:0], max(outputs, 2), passes.shape or (width,),
                     model.scaling or unscaled(width))
        if predicts_numbers(teacher, recipe, seen[0] if seen else None):
            y, data = np.zeros((len(rows), outputs), np.float32), replace(first, classes=outputs)
            first = replace(data, y_train=y, y_validation=y[:0], y_test=y[:0], targets=Scaling.standard(
                predict(adapt(model, replace(data, targets=unscaled(outputs)), "compress: the teacher"), rows)))
        return Source(teacher, model, units, first, passes)
    if labels is not None or recipe.validation is not None:
        raise InputError("compress: x is a data set with labels and a validation part of its own, and others are given "
                         "beside it; leave those out, or give x as an array")
    if x.targets is not None and (binary or (sigmoid and np.unique(x.y_train).size <= 2 * outputs)):
        raise InputError(f"compress: {x.name} has floats as labels, and a sigmoid follows the teacher's outputs; "
                         "labels must be classes, integers: of a single output y.astype(int)")
    as_given = unscaled(x.x_train.shape[1])
    if teacher.scaling is not None:
        x = rescaled(x, teacher.scaling)
    elif not same(x.scaling, as_given):
        teacher = replace(teacher, scaling=x.scaling)                 # it takes the data as it is scaled
    units = units_of(teacher.network) if same(x.scaling, as_given) else None
    if units is None:
        return Source(teacher, teacher, None, x)
    model = in_units(replace(teacher, scaling=None), units)
    assert model.scaling is not None
    return Source(teacher, model, units, replace(divided(x, units), scaling=model.scaling))


def predicts_numbers(teacher: Model, recipe: Recipe, y: Array | None) -> bool:
    """Does a network predict numbers: does the recipe say so, or, where it does not, are labels y floats, or does it,
    without labels, end as ``without_labels`` says? Raises InputError for labels that do not fit."""
    outputs, floats = outputs_of(teacher.network), y is not None and y.dtype.kind == "f"
    head = str(teacher.about.get("head", ""))
    numbers = (floats and head != "sigmoid") or (y is None and without_labels(head, outputs))
    if task := recipe.task or teacher.about.get("task"):
        numbers = task == "regression"
    if y is not None and (floats != numbers or (floats and y.shape[1] != outputs)):
        need = f"floats (N, {outputs})" if numbers and not floats else "integer classes (N,)" + (
            f", or floats (N, {outputs})" if head != "sigmoid" else ", or left out: then each sigmoid is imitated")
        raise InputError(f"compress: labels are {described(y)}, and the network has {outputs} outputs"
                         f"{f', for {recipe.task}' if recipe.task else ''}; they must be {need}")
    return numbers


def memory_needed(network: Network, n: int, x: Array) -> int:
    """Bytes that a compression takes beside the examples given, within a factor of two; ``x`` (N, I): some of them.

        12 n I + 64 Σ_l d_l (d_l + O_l) + 8 min(n, B) Σ_l a_l,   B = ROWS, where there are maps MAPS

    A sample in float32, three times; eight times the second moments of each layer of weights (O, d), in float64; a
    batch, with a_l entries of activation l an example, twice in float32."""
    sides = [(len(w[0].ravel()), len(w)) for w in (network.layers[i].params[0] for i in network.weight_layers)]
    rows, entries = MAPS if convolves(network) else ROWS, sum(map(math.prod, cost.shapes(network, x.shape[1:])))
    return 12 * n * math.prod(x.shape[1:]) + 64 * sum(d * (d + o) for d, o in sides) + 8 * min(n, rows) * entries


def in_units(model: Model, units: Array | None) -> Model:
    """The same function of raw examples, whose scaling divides each feature by its unit, (I,) powers of two."""
    if units is None:
        return model
    return Model(scaled(model.network, units), Scaling(np.zeros_like(units), 1 / units), model.about)


def divided(data: Data, unit: float | Array) -> Data:
    """The training and validation part divided by a power of two, or by one for each feature."""
    if np.all(unit == 1):
        return data
    factor = np.asarray(unit, np.float32)
    return replace(data, x_train=data.x_train / factor, x_validation=data.x_validation / factor,
                   stream=data.stream and data.stream.then(partial(np.multiply, 1 / factor)))     # powers of two
