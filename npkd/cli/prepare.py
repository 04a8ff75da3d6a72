"""Data, teacher, target and recipe of a run, loaded and checked before anything is trained."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from npkd.cli.foreign import data_for
from npkd.cli.settings import TARGET, Settings
from npkd.cli.shards import loaded
from npkd.core.progress import Progress
from npkd.core.validation import Diverged, InputError
from npkd.data.datasets import Data, sizes
from npkd.interop import onnx
from npkd.interop.adapt import prunable, require_countable, rescaled, rescaled_network, restored
from npkd.interop.onnx import OnnxTeacher
from npkd.nn.model import Model
from npkd.nn.model import load as load_model
from npkd.nn.network import Network, convolves
from npkd.pipeline import stages, target
from npkd.pipeline.chain import require
from npkd.pipeline.distil import DistillationRecipe, distilled
from npkd.pipeline.recipe import Recipe, complete, plain
from npkd.pipeline.sparse import require as require_sparse
from npkd.pipeline.sparse_recipe import SparseRecipe, sparse_recipe, strengths_of
from npkd.pipeline.target import Target
from npkd.surgery.dependency import dependency_groups
from npkd.surgery.widths import geometry, widths_of


@dataclass(frozen=True, eq=False)
class PreparedRun:
    """A run before anything is trained: everything loaded and checked.

    data            scaled as the teacher wants it
    recipe          complete
    teacher         the given network, ready for this data; None where one is trained
    teacher_model   the same as its file holds it
    target          None for "train" without one;   sparse  what its penalty is to do, or None
    split_seed      drew the validation part: the seed of the run, or the one that the given teacher was trained with
    distil_from     the network whose answers are learnt, for the data as it is scaled here; None: the teacher's are
    learnt          what the student of "distil" learns
    foreign         a teacher of another library, as it was read
    """

    settings: Settings
    data: Data
    recipe: Recipe
    teacher: Network | None
    teacher_model: Model | None
    target: Target | None
    split_seed: int
    distil_from: Network | None = None
    sparse: SparseRecipe | None = None
    learnt: DistillationRecipe = field(default_factory=DistillationRecipe)
    foreign: OnnxTeacher | None = None

    @property
    def split(self) -> dict[str, int]:
        """Sizes of the three parts, and the seed."""
        return {"seed": self.split_seed, **sizes(self.data)}

    def outside(self, network: Network) -> Network:
        """A network for the data as it is scaled here as one whose outputs, where these are numbers, are as given."""
        return restored(network, self.data.targets)


def prepare(settings: Settings, progress: Progress) -> PreparedRun:
    """Load and check everything. Raises InputError for data, a teacher or a target that cannot be worked with."""
    file = settings.teacher or settings.start
    foreign, labelled = onnx.read(file) if file is not None and onnx.is_onnx(file) else None, True
    model = foreign.model if foreign else load_model(file) if file is not None else None
    if foreign is not None:
        data, labelled = data_for(foreign, settings, progress)
    else:
        data = loaded(settings, settings.seed, progress)
    seed, network, groups, who = settings.seed, None, None, f"{'start' if settings.start else 'teacher'}: {file}"
    if model is not None:
        seed = split_seed(model.about, data, seed)
        if seed != settings.seed:
            data = loaded(settings, seed)
        network, groups = prunable(model, data, who)
        if model.scaling is None and settings.command == "distil":          # a student reads inputs of one scale
            network = rescaled_network(model, data, who)
        else:
            data = rescaled(data, model.scaling)
    recipe, learnt = recipe_of(settings, data, model), DistillationRecipe()
    recipe = recipe if labelled else replace(recipe, label_weight=0.0)
    if settings.command == "distil" and network is not None:
        learnt, groups = replace(learnt, **{f.name: getattr(settings, f.name) for f in fields(learnt)}), None
        rehearse(settings, data, recipe, network, learnt)
    if settings.command != "compress" and settings.penalty is None:
        return PreparedRun(settings, data, recipe, network, model, None, seed, learnt=learnt)
    distil_from = logit_source(settings.distil_from, data, seed) if settings.distil_from is not None else None
    whole = network if network and settings.command != "distil" else untrained(settings, data, recipe)
    groups = groups or dependency_groups(whole)
    words, sparse = TARGET if settings.target is None and settings.command == "compress" else settings.target, None
    words = require(recipe.steps, str(words)) if recipe.steps else words
    goal = None if words is None else target.parse(words, widths_of(whole, groups), settings.keep_inputs,
                                                   geometry(whole, groups),
                                                   target.file_of(Model(whole, data.scaling), settings.keep_inputs),
                                                   recipe.steps in ((), ("neurons",)))
    if goal is not None:
        goal.require_measure(data)
    if settings.penalty is not None:
        sparse = replace(sparse_recipe(recipe, len(data.x_train)), strengths=strengths_of(settings.penalty),
                         target=goal, costs=settings.costs, path=settings.penalty_path, debias=settings.debias)
        require_sparse(sparse, whole, groups)
    if network is not None and goal is not None:
        require_countable(whole, goal.kind, who)
    return PreparedRun(settings, data, recipe, network, model, goal, seed, distil_from, sparse, learnt, foreign)


def untrained(settings: Settings, data: Data, recipe: Recipe, rng: np.random.Generator | None = None) -> Network:
    """The network that is to be trained, as the settings name it, drawn."""
    rates = (0.0, *[settings.dropout] * len(recipe.hidden)) if settings.dropout else ()
    return stages.fresh(recipe, data, rng or np.random.default_rng(0), settings.activation, rates)


def rehearse(settings: Settings, data: Data, recipe: Recipe, teacher: Network, learnt: DistillationRecipe) -> None:
    """An epoch on a few examples: raise InputError, before a file is written, for what does not go together."""
    rows = np.linspace(0, len(data.x_train) - 1, 64).astype(int)
    few = replace(data, x_train=data.x_train[rows], y_train=data.y_train[rows])
    run, objective = stages.Run(few, replace(recipe, epochs=1), np.random.default_rng(0)), None
    with warnings.catch_warnings(action="ignore"), contextlib.suppress(Diverged):
        _, objective = distilled(run, untrained(settings, few, recipe), teacher, learnt)
    if settings.penalty is not None and objective and any(t.student != -1 or t.trained for t in objective.terms):
        raise InputError("settings: got --penalty with a loss of hidden activations, which die; take one of logits")


def recipe_of(settings: Settings, data: Data, teacher: Model | None) -> Recipe:
    """The complete recipe of a run."""
    maps = teacher is not None and settings.command != "distil" and convolves(teacher.network)
    recipe = Recipe(network="lenet5" if maps else settings.network, keep_inputs=settings.keep_inputs,
                    steps=settings.steps or ())
    if settings.hidden is not None or settings.command == "distil":
        recipe = replace(recipe, hidden=settings.hidden or (30, 30))
    if settings.command == "compress" and settings.epochs is not None:
        recipe = replace(recipe, epochs=settings.epochs)
    # pixels are moved only where all have one scale: elsewhere a moved pixel means another value
    even = np.ptp(data.scaling.offset) == 0 and np.ptp(data.scaling.factor) == 0
    scaled = teacher is None or teacher.scaling is not None
    recipe = complete(recipe, len(data.x_train), data.shape if even else (), scaled=scaled)
    if settings.command == "compress":
        return recipe
    recipe = plain(recipe)
    recipe = recipe if settings.epochs is None else replace(recipe, teacher_epochs=settings.epochs)
    return recipe if settings.command == "train" else replace(recipe, epochs=recipe.teacher_epochs, noise_std=0.0)


def logit_source(file: str, data: Data, seed: int) -> Network:
    """The network in a file, for the data as it is scaled here; ``seed`` drew the data's validation part.

    Raises InputError where it does not fit the data, or says that it was trained on what is held out here.
    """
    model, who = load_model(file), f"distil_from: {file}"
    network, other = rescaled_network(model, data, who), split_seed(model.about, data, seed)
    if other != seed:
        raise InputError(f"{who} was trained with the validation part of seed {other}, here it is that of seed {seed}; "
                         f"they must be the same")
    return network


def split_seed(about: Any, data: Data, seed: int) -> int:
    """The seed that a teacher's validation part was drawn with, if it was trained on this data; else ``seed``.

    With another split the teacher, and what imitates it, would be judged on examples that it was trained on.
    """
    split = about.get("split") if isinstance(about, Mapping) else None
    if not isinstance(split, dict) or about.get("data") != data.name:
        return seed
    other, parts = split.get("seed"), sizes(data)
    same = {key: split.get(key) for key in parts} == parts
    return other if same and type(other) is int and other >= 0 else seed
