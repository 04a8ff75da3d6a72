"""Compression of a trained network with examples, labelled or not; see docs/book/12-own-networks.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np

from npkd.core.progress import Progress, shown
from npkd.core.validation import InputError, whole, within_memory
from npkd.data.datasets import Data
from npkd.data.logit_cache import Answers
from npkd.interop.adapt import adapt, prunable, reading_rows, require_countable, unscaled
from npkd.interop.entry import Entry
from npkd.interop.layers import Layers, Teacher, model_of, outputs_of, require_agreement, scaled
from npkd.nn.model import Model
from npkd.nn.network import Network, convolves, reads_maps
from npkd.pipeline import chain, stages
from npkd.pipeline.channels_first import imported
from npkd.pipeline.examples import Examples, Source, source_of
from npkd.pipeline.logit_source import logits_of
from npkd.pipeline.recipe import Recipe, complete
from npkd.pipeline.result import ABOUT, CompressionResult, logits_of_rows, saved_and_loaded
from npkd.pipeline.steps import GRIDS
from npkd.pipeline.target import Target, file_of, parse
from npkd.pipeline.task import classes_of, error_of
from npkd.surgery.widths import geometry, widths_of


@within_memory("compress", "the statistics of a layer that reads d values take 8 d² bytes: give fewer features")
def compress(teacher: Teacher, x: Any, target: str = "macs=10%", *, labels: Any = None, recipe: Recipe | None = None,
             seed: int | np.random.Generator = 0, progress: Progress | bool | None = None) -> CompressionResult:
    """A smaller network that imitates ``teacher`` on examples ``x``; labels are not needed.

    teacher     a Network, a Model (a network with its scaling), the dense layers [(w, b), …] of a network with relu
                between them, Layers, a torch.nn.Module, see interop.torch.read, or an ONNX model, by the name of its
                file or as a ModelProto: x is then as these take it
    x           examples as the teacher takes them: an array or tensor (N, ...), a folder of .npz shards (x, y),
                a function that gives a new iterator of batches for every pass, something that can be iterated again and
                again, an iterator or a DataLoader, which are copied to a temporary file; a batch is an array (n, ...)
                or a pair with its labels. Or a Data, which brings labels and a validation part of its own
    target      how small: "macs=10%", "macs=26620", "parameters=", "bytes=" of the file, "neurons=", "widths=97-71-33",
                or "error=+0.5": points of error on the examples held out, without labels of disagreement
    labels      (N,) integer classes in the order of x, or floats (N,) or (N, O) where numbers are predicted: errors are
                then measured with them; the student learns from them where the recipe weighs them, by default with a
                convolutional network. A single output is a number, or, if a sigmoid follows or labels are 0 and 1, the
                logit of class 1; several with a sigmoid each are, without labels, numbers: what is in front of it
    recipe      all other settings; what it leaves open is chosen from the data
    seed        of all that is drawn, or the generator that draws it: the same examples in the same order give the same
                student, in whatever batches they come
    progress    True shows bars, in a pipe lines. Or a Progress, which is told of every step; one that has a ``state``
                gets the newest networks there (pipeline.stages.State)

    Memory: the sample, one batch, and O(d²) for the statistics, whatever the number of examples.
    Raises InputError in one sentence for anything that cannot be worked with.
    """
    recipe, rng = recipe or Recipe(), generator(seed)
    with ExitStack() as stack, shown(progress) as progress:
        progress.begin("teacher and examples", 1)
        teacher, x, recipe, entry, checked_by = imported(teacher, x, recipe)
        source = source_of(x, labels, model_of(teacher), recipe, stack)
        given, (network, goal) = delivered(source), checked(teacher, source, target, recipe)
        progress.step("they fit together")
        examples = source.read(network, recipe, seed, progress)
        inner, scaling = scaled(network, examples.unit), examples.data.scaling
        even = np.ptp(scaling.offset) == 0 == np.ptp(scaling.factor)            # else a moved pixel changes its value
        recipe = complete(replace(recipe, network="lenet5") if convolves(network) else recipe,
                          len(examples.data.x_train), examples.data.shape if even else (), labelled=examples.labelled,
                          scaled=given.scaling is not None and examples.unit == 1)
        data = examples.data if examples.labelled else answered(inner, examples.data)
        answers = None if recipe.distil_from is None else logits_of(recipe.distil_from, data, examples.unit,
                                                                    outputs_of(inner))
        state = getattr(progress, "state", None) or stages.State()
        run = stages.Run(data, recipe, rng, progress, state, examples.outside)
        inner_student, reports = in_steps(run, inner, goal, answers, examples, given)
    student = examples.outside(inner_student)
    rows = examples.outside_rows(data.x_validation)
    before = logits_of_rows(reading_rows(given.network, data, "compress: the teacher"), rows)
    after = logits_of_rows(saved_and_loaded(Model(student, given.scaling)).network, rows)
    if data.targets is not None:
        before, after = data.targets.apply(before), data.targets.apply(after)
    restored = np.abs(after - logits_of_rows(inner_student, data.x_validation)).max()
    said = before if data.targets is not None else classes_of(before)
    y = data.y_validation if examples.labelled else said
    return CompressionResult(
        student, examples.outside(inner), given.scaling, run.state.rounds, run.state.budgets, examples.learnt_from,
        len(data.x_train) * recipe.trained, len(y), 1 - error_of(after, said), examples.labelled,
        error_of(before, y), error_of(after, y), max([float(restored), *(r.difference for r in run.state.rounds)]),
        reports, data.targets is not None, goal, target, entry or entry_of(given.network, data.shape),
        given.about, checked_by, recipe.all_at_last and recipe.trained and goal.kind != "error")


def entry_of(network: Network, shape: Sequence[int]) -> Entry:
    """How the examples of a network of npkd come, of a shape: as maps, or as whatever is flattened."""
    front = network.layers[0]
    if not reads_maps(network) and front.op != "unflatten":
        return Entry(tuple(shape), (math.prod(shape),), "NC")
    maps = (*(front.options["shape"] if front.op == "unflatten" else shape), 1)[:3]
    return Entry(tuple(shape), (1, *maps[:2]), "NCHW") if maps[2] == 1 else Entry(tuple(shape), maps, "NHWC")


def in_steps(run: stages.Run, inner: Network, goal: Target, answers: Answers | None, examples: Examples,
             given: Model) -> tuple[Network, list[chain.StepReport]]:
    """The student, by the steps of the recipe with their reports, or by rounds alone; ``given``, with it, is written.
    Raises InputError for grids where features have units of their own."""
    names = run.recipe.steps
    if not names:
        return stages.compress(run, inner, goal, answers), []
    if examples.units is not None and {*names} & {*GRIDS}:
        raise InputError("compress: the features have units that are far apart, which no grid suits; give the teacher "
                         "as a Model with its scaling")
    transfer = stages.transfer_set(answers or inner, run.data, run.recipe)
    return chain.compress(chain.Chain(run, names, goal, transfer, lambda network: replace(
        given, network=examples.outside(network))), inner)


def delivered(source: Source) -> Model:
    """The teacher with what the file of its student says: ABOUT, the values of an example where no scaling tells how
    many, what follows the outputs, and the task where they are numbers."""
    given, data = source.given, source.first
    more = {"inputs": None if given.scaling else math.prod(data.shape), "head": given.about.get("head"),
            "task": data.targets and "regression"}
    return replace(given, about=ABOUT | {name: value for name, value in more.items() if value})


def generator(seed: int | np.random.Generator) -> np.random.Generator:
    """The generator of a seed. Raises InputError unless it is a whole number that is not negative, or a generator."""
    if isinstance(seed, np.random.Generator):
        return seed
    whole("compress", seed=seed)
    if seed < 0:
        raise InputError(f"compress: seed is {seed}; it must not be negative")
    return np.random.default_rng(seed)


def checked(teacher: Teacher, source: Source, target: Any, recipe: Recipe) -> tuple[Network, Target]:
    """The teacher as the network that is compressed, and the target, before all examples are read.
    Raises InputError for a teacher, its function, a target or a network to distil from that do not fit together."""
    who, first = "compress: the teacher", source.first
    if not isinstance(target, str):
        raise InputError(f"compress: target is {target!r}; it must be words such as 'macs=10%'")
    network, groups = prunable(source.model, first, who)
    require_countable(network, target.partition("=")[0], who)
    target = chain.require(recipe.steps, target) if recipe.steps else target
    goal = parse(target, widths_of(network, groups), recipe.keep_inputs, geometry(network, groups),
                 file_of(Model(network, source.given.scaling), recipe.keep_inputs),
                 neurons=recipe.steps in ((), ("neurons",)))
    goal.require_measure(first)
    if isinstance(teacher, Layers) and teacher.answers is not None:
        raw = source.outside_rows(first.x_train)
        given = adapt(source.given, replace(first, targets=first.targets and unscaled(first.classes)), who)
        require_agreement(teacher.answers, given, raw.reshape(len(raw), *first.shape))
    if recipe.distil_from is not None:
        logits_of(recipe.distil_from, first, 1.0, outputs_of(network))(first.x_train)
    return network, goal


def answered(network: Network, data: Data) -> Data:
    """Data without labels, with the classes, or numbers, that the network gives in their place."""
    parts = (logits_of_rows(network, part) for part in (data.x_train, data.x_validation))
    y_train, y_validation = parts if data.targets is not None else map(classes_of, parts)
    return replace(data, y_train=y_train, y_validation=y_validation)
