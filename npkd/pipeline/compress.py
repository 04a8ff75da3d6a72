"""Bring your own: any trained network and any unlabelled examples in, a smaller network and what is proved of it out.

Derivation of what is done, and what is promised: docs/12-own-networks.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np

from npkd import __version__
from npkd.cli.prepare import countable, fitting
from npkd.core.files import NewPath
from npkd.core.types import Array
from npkd.core.validation import InputError, whole, within_memory
from npkd.data.batches import MAPS, ROWS, Passes, passes_over
from npkd.data.datasets import Data
from npkd.data.sampling import learnt_from, samples, survey
from npkd.interop.layers import Layers as Layers
from npkd.interop.layers import Teacher, adds_inputs, agreeing, outputs, scaled, taken, unit_of, units_of
from npkd.nn import cost
from npkd.nn.fast.workspace import predict
from npkd.nn.model import Model
from npkd.nn.model import save as save_model
from npkd.nn.network import Network, convolves
from npkd.nn.scaling import Scaling
from npkd.pipeline import recipe, stages
from npkd.pipeline.logit_source import LogitSource, asked
from npkd.pipeline.progress import NoProgress, Progress
from npkd.pipeline.stages import State, certified, largest
from npkd.pipeline.target import parse
from npkd.sparsity.layerwise import Distilled, LayerReport, leading
from npkd.surgery.widths import geometry, widths_of

PROBE = 1000
"""Examples, the first ones, on which that is looked at."""


@dataclass(frozen=True, eq=False)
class CompressionResult:
    """A smaller network, and what is known of it.

    student, teacher    networks: x (N, I) float32 -> logits (N, C), I the features of an example, flattened
    scaling             of a teacher that came with one; it goes in front of both
    rounds              the rounds of removal, in order, as distil reports them: reports of the layers, every removal
                        (numbered as in the network of its round), the paths
    examples, seen      how many examples the statistics were gathered from, and how many of them the last distillation
                        was shown, 0 without one
    held_out            examples that neither was given; what follows was measured on them
    agreement           fraction to which student and teacher give the same class
    labelled            were there labels? Then teacher_error and student_error are errors; without, the teacher's own
                        classes are the labels: teacher_error is 0 and student_error = 1 − agreement
    """

    student: Network
    teacher: Network
    scaling: Scaling | None
    rounds: Sequence[Distilled]
    examples: int
    seen: int
    held_out: int
    agreement: float
    labelled: bool
    teacher_error: float
    student_error: float

    @property
    def layers(self) -> list[LayerReport]:
        """A report a dependency group, inputs first: the last round's, against the teacher's widths, with the largest
        duality gap of all rounds."""
        last, widths = self.rounds[-1].layers if self.rounds else [], widths_of(self.teacher)
        return [replace(layer, of=of, duality_gap=largest([r.layers[k].duality_gap for r in self.rounds]))
                for k, (layer, of) in enumerate(zip(last, widths, strict=False))]

    @property
    def removals(self) -> int:
        """Neurons and inputs that were cut out."""
        return sum(len(r.removals) for r in self.rounds)

    @property
    def difference(self) -> float:
        """Largest difference of the outputs that the cutting made in any round, float32; what was *chosen* is another
        matter."""
        return max((r.difference for r in self.rounds), default=0.0)

    @property
    def macs(self) -> tuple[int, int]:
        """Multiply-accumulates an example of the teacher and of the student."""
        return cost.of(self.teacher).macs, cost.of(self.student).macs

    def logits(self, x: Array) -> Array:
        """The student's logits (N, C) of examples x (N, ...) as they were given."""
        return Model(self.student, self.scaling).logits(x)

    def save(self, path: NewPath) -> None:
        """Write the student as npkd stores networks, readable by npkd.load_model. Raises InputError where the system
        refuses."""
        save_model(path, Model(self.student, self.scaling, {"npkd": __version__, "made_by": "npkd.compress"}))

    def __str__(self) -> str:
        before, after = self.macs
        widths = ["-".join(map(str, widths_of(network))) for network in (self.teacher, self.student)]
        wide = max(len(widths[0]), 12)
        rows = [("", "teacher", "student"), ("widths", *widths), ("multiply-accumulates", f"{before:,}", f"{after:,}")]
        if self.labelled:
            rows.append(("error, held out", f"{self.teacher_error:.2%}", f"{self.student_error:.2%}"))
        lines = [f"{name:22}{a:>{wide}}  {b:>{wide}}".rstrip() for name, a, b in rows]
        shown = f"{self.seen:,} of them in the distillation end to end" if self.seen else "no training"
        return "\n".join([
            *lines, "",
            f"{after / before:.1%} of the multiply-accumulates; the same class as the teacher for {self.agreement:.2%} "
            f"of "
            f"{self.held_out:,} examples held out.",
            f"Statistics of {self.examples:,} examples, {shown}{'' if self.labelled else '; no labels'}.",
            *([certified([layer.duality_gap for layer in self.layers])] if self.rounds else []),
            f"Cutting neurons out changed no output by more than {self.difference:.1e}."])


@within_memory("compress", "the statistics of a layer that reads d values take 8 d² bytes: give fewer features")
def compress(
    teacher: Teacher, x: Any, target: str = "macs=10%", *, labels: Any = None, distil_from: LogitSource | None = None,
    keep_inputs: bool = False,
    epochs: int | None = None, seed: int = 0, validation: float = 0.1, progress: Progress | None = None,
    sample: int = 60_000,
) -> CompressionResult:
    """A smaller network that imitates ``teacher`` on examples ``x``; labels are not needed.

    teacher     a Network, a Model (a network with its scaling), the dense layers [(w, b), …] of a network with relu
                between them, or Layers
    x           examples as the teacher takes them: an array (N, ...), a folder of .npz shards (arrays x and, if there
                are labels, y), a function that gives a new iterator of batches for every pass, something that can be
                iterated again and again, or an iterator, which is copied to a temporary file; a batch is an array (n,
                ...) or a pair with its labels
    target      how small: "macs=10%", "macs=26620", "parameters=", "bytes=", "neurons=", "widths=97-71-33", or
                "error=+0.5": points of error on the examples held out; without labels of disagreement with the teacher
    labels      (N,) integer classes in the order of x: errors are then measured with them; the student does not learn
                from them
    distil_from     a better network for the same examples, of any kind, whose answers the student learns in the place
                of the teacher's: a Network, a Model, or a function: x (n, ...) float32, in the shape in which examples
                are given, -> logits (n, C)
    keep_inputs no input is removed
    epochs      of the last distillation, the other stages in proportion; 0: no training, layers are refitted alone;
                None: by the number of examples
    seed        of all that is drawn: the same examples in the same order give the same student, in whatever batches
                they come
    validation  the part of the different examples that is held out, above 0 and at most 0.5
    watch       is told of every step (npkd.pipeline.progress.Progress)
    sample      the distillation end to end sees a uniform sample of at most so many examples; the layer-wise statistics
                are of all

    Memory: the sample, one batch, and O(d²) for the statistics, whatever the number of examples.
    Raises InputError in one sentence for anything that cannot be worked with.
    """
    whole("compress", seed=seed, sample=sample, **({} if epochs is None else {"epochs": epochs}))
    if not isinstance(target, str):
        raise InputError(f"compress: target is {target!r}; it must be words such as 'macs=10%'")
    if not isinstance(validation, Real) or not 0 < validation <= 0.5:
        raise InputError(f"compress: validation is {validation!r}; it must be above 0 and at most 0.5")
    if distil_from is not None:
        stages.teachable(epochs)
    if seed < 0 or sample < 1:
        raise InputError(f"compress: seed is {seed} and sample {sample}; the seed must not be negative, the sample at "
                         f"least 1")
    given = taken(teacher)
    units = units_of(given.network)
    model = given if units is None else in_units(given, units)
    progress = progress or NoProgress()
    with ExitStack() as stack:
        classes = outputs(model.network)
        passes = passes_over(x, labels, classes, model.scaling.apply if model.scaling else None, stack)
        first = leading((x for x, _ in passes()), PROBE)
        network = fitting(model, described(first, classes, passes, model.scaling), "compress: the teacher")
        maps = convolves(network)
        goal = parse(target, widths_of(network), keep_inputs, geometry(network))
        countable(network, goal, "compress: the teacher")
        if isinstance(teacher, Layers) and teacher.answers is not None:
            raw = first if units is None else first * units
            agreeing(teacher.answers, fitting(given, described(raw, classes, passes, None), "compress: the teacher"),
                     raw.reshape(len(raw), *(passes.shape or ())))
        if distil_from is not None:
            # refused before everything is read
            asked(distil_from, described(first, classes, passes, None), model.scaling, 1.0)(first)
        progress.begin("reading the examples", 2)
        found = survey(passes, validation, seed)
        progress.step(f"{found.examples} examples")
        unit = 1.0 if adds_inputs(network) else unit_of(found.level)
        inner = scaled(network, unit)
        drawn = samples(passes, found, sample, max(1, round(validation * sample)), seed)
        progress.step(f"{len(drawn.x)} drawn for the distillation, {len(drawn.x_held)} held out")
        for part, y in ((drawn.x, drawn.y), (drawn.x_held, drawn.y_held)):
            part /= np.float32(unit)
            if not found.labelled:
                y[:] = predict(inner, part).argmax(axis=1)
        stream = learnt_from(passes, found, 1 / unit, MAPS if maps else ROWS)
        data = replace(described(drawn.x, classes, passes, model.scaling), y_train=drawn.y, x_validation=drawn.x_held,
                       y_validation=drawn.y_held, stream=stream)
        even = model.scaling is None or np.ptp(model.scaling.offset) == 0 == np.ptp(model.scaling.factor)
        numbers = replace(recipe.for_examples(len(drawn.x), epochs, data.shape if even else (),
                                              "lenet5" if maps else "perceptron"), label_weight=0.0)
        if numbers.noise_std:                       # mixing in pairs asks for no scale, noise for that of every feature
            numbers = replace(numbers, noise_std=0.0, mixup_alpha=1.0)
        state = State()
        answers = asked(distil_from, data, model.scaling, unit) if distil_from is not None else None
        stages.compress(data, goal, numbers, np.random.default_rng(seed), teacher=inner, distil_from=answers,
                          keep_inputs=keep_inputs, progress=progress, state=state)
    assert state.student is not None
    by_teacher, by_student = (predict(one, drawn.x_held).argmax(axis=1) for one in (inner, state.student))
    student = scaled(state.student, 1 / unit)
    if units is not None:
        student, network = scaled(student, 1 / units), scaled(network, 1 / units)
    return CompressionResult(
        student, network, given.scaling, state.rounds, drawn.learnt_from, len(drawn.x) * numbers.trained,
        len(drawn.x_held), float((by_teacher == by_student).mean()), found.labelled,
        float((by_teacher != drawn.y_held).mean()), float((by_student != drawn.y_held).mean()))


def in_units(model: Model, units: Array) -> Model:
    """The same function of raw examples, whose scaling divides each feature by its unit too, (I,) powers of two."""
    own = model.scaling or Scaling(np.zeros(len(units), np.float32), np.ones(len(units), np.float32))
    return Model(scaled(model.network, units), Scaling(own.offset, own.factor / units), model.about)


def described(x: Array, classes: int, passes: Passes, scaling: Scaling | None) -> Data:
    """The examples as a run takes them: without labels, held-out and test part yet."""
    none, width = np.zeros(0, np.int64), x.shape[1]
    return Data("x", x, np.zeros(len(x), np.int64), x[:0], none, x[:0], none, classes, passes.shape or (width,),
                scaling or Scaling(np.zeros(width, np.float32), np.ones(width, np.float32)))
