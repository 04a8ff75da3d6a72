"""Settings made definite before anything is trained: data, teacher, target, recipe. What does not fit together is
refused here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from npkd.cli.settings import Settings
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.datasets import Data, sizes
from npkd.data.datasets import load as load_data
from npkd.nn import cost
from npkd.nn.fast.workspace import predict
from npkd.nn.model import Model, same_maps
from npkd.nn.model import load as load_model
from npkd.nn.network import Layer, Network, convolves, reads_maps
from npkd.nn.scaling import Scaling
from npkd.pipeline import recipe, stages, target
from npkd.pipeline.progress import Progress
from npkd.pipeline.recipe import Recipe
from npkd.pipeline.target import Target
from npkd.surgery.folding import inserted, skipped, without
from npkd.surgery.removal import dependency_groups
from npkd.surgery.widths import geometry, widths_of


@dataclass(frozen=True, eq=False)
class Plan:
    """Settings made definite, before anything is trained.

    data        scaled as the teacher wants it
    teacher     the given one, ready for this data; None where one is trained
    distil_from     the network whose answers are learnt, on the data as it is scaled here; None: the teacher's are
    distil_from_model   the same as its file holds it
    about       what its file says of itself
    target      None for "train"
    split_seed  drew the validation part: the seed of the run, or the one that the given teacher was trained with
    """

    settings: Settings
    data: Data
    recipe: Recipe
    teacher: Network | None
    about: Mapping[str, Any]
    target: Target | None
    split_seed: int
    distil_from: Network | None = None
    distil_from_model: Model | None = None

    @property
    def split(self) -> dict[str, int]:
        """Sizes of the three parts, and the seed."""
        return {"seed": self.split_seed, **sizes(self.data)}


def downloading(progress: Progress) -> Callable[[int, int], None]:
    """Bytes of a download as a stage of a progress: one stage a file, one step a hundredth."""
    last, shown = 1, 100

    def downloaded(so_far: int, total: int) -> None:
        nonlocal last, shown
        percent = 100 * so_far // total if total else 0
        if so_far < last or percent < shown:                  # another file
            progress.begin("download", 100)
            shown = 0
        for _ in range(shown, percent):
            progress.step(f"{so_far / 1e6:.1f} MB")
        last, shown = so_far, percent

    return downloaded


def prepare(settings: Settings, progress: Progress) -> Plan:
    """Load and check everything. Raises InputError for data, a teacher or a target that cannot be worked with."""
    model = load_model(settings.teacher) if settings.teacher is not None else None
    data = load_data(settings.data, seed=settings.seed, progress=downloading(progress))
    seed, network, about = settings.seed, None, dict[str, Any]()
    if model is not None:
        about = dict(model.about) if isinstance(model.about, Mapping) else {}
        seed = split_seed(about, data, settings.seed)
        if seed != settings.seed:
            data = load_data(settings.data, seed=seed)
        network = fitting(model, data, f"teacher: {settings.teacher}")
        data = rescaled(data, model.scaling)
    better = load_model(settings.distil_from) if settings.distil_from is not None else None
    distil_from = logit_source(better, data, seed, f"distil_from: {settings.distil_from}") if better else None
    epochs = settings.epochs if settings.command == "compress" else None
    # else a moved pixel would mean something else
    even = np.ptp(data.scaling.offset) == 0 and np.ptp(data.scaling.factor) == 0
    maps = network is not None and convolves(network)
    numbers = recipe.for_examples(len(data.x_train), epochs, data.shape if even else (),
                                  "lenet5" if maps else settings.network)
    if settings.hidden is not None:
        numbers = replace(numbers, hidden=settings.hidden)
    if settings.command == "train":
        numbers = recipe.plain(numbers)
        if settings.epochs is not None:
            numbers = replace(numbers, teacher_epochs=settings.epochs)
        return Plan(settings, data, numbers, None, about, None, seed)
    model_of = network or stages.fresh(numbers, data, np.random.default_rng(0))
    goal = target.parse(settings.target, widths_of(model_of), settings.keep_inputs, geometry(model_of))
    if network is not None:
        countable(network, goal, f"teacher: {settings.teacher}")
    return Plan(settings, data, numbers, network, about, goal, seed, distil_from, better)


def split_seed(about: Mapping[str, Any], data: Data, seed: int) -> int:
    """The seed that a teacher's validation part was drawn with, if it was trained on this data; else ``seed``.

    With another split the teacher, and what imitates it, would be judged on examples that it was trained on.
    """
    split = about.get("split")
    if about.get("data") != data.name or not isinstance(split, dict):
        return seed
    theirs = split.get("seed")
    same = {key: split.get(key) for key in ("train", "validation", "test")} == sizes(data)
    return theirs if same and type(theirs) is int and theirs >= 0 else seed


def logit_source(model: Model, data: Data, seed: int, who: str) -> Network:
    """The network of a model, ready to answer for this data as it is scaled; ``seed`` drew the data's validation part.

    Raises InputError where it does not fit the data, or says that it was trained on what is held out here.
    """
    network = answering(model, data, who)
    theirs = split_seed(model.about if isinstance(model.about, Mapping) else {}, data, seed)
    if theirs != seed:
        raise InputError(f"{who} was trained with the validation part of seed {theirs}, here it is that of seed "
                         f"{seed}; they must be the same")
    width = data.x_train.shape[1]
    own, scaling = data.scaling, model.scaling or Scaling(np.zeros(width, np.float32), np.ones(width, np.float32))
    if np.array_equal(own.offset, scaling.offset) and np.array_equal(own.factor, scaling.factor):
        return network
    with np.errstate(over="ignore", invalid="ignore"):
        ratio, shift = (a.astype(np.float32) for a in change_of(own, scaling))
        network = Network([Layer("gate", (ratio,)), Layer("offset", (shift,)), *network.layers])
        if not np.isfinite(predict(network, data.x_train[:1000])).all():
            raise InputError(f"{who}: its scaling takes {data.name} beyond float32; it needs to be for such inputs")
    return network


def fitting(model: Model, data: Data, who: str) -> Network:
    """The network of a model, see ``answering``, whose neurons can be removed. Raises InputError where they cannot."""
    network = answering(model, data, who)
    dependency_groups(network)
    flat = [layer.params[0] for layer in network.layers if layer.op == "dense"]
    if len(flat) == len(network.widths) - 1 and [w.shape[1] for w in flat] != network.widths[:-1]:
        raise InputError(f"{who} has layers that take several outputs to one neuron (maxout); sizes are counted for "
                         f"plain perceptrons alone")
    return network


def countable(network: Network, goal: Target, who: str) -> None:
    """Raise InputError where a target counts parameters and the network has, or may get, others than weights and
    biases.

    What a constant channel adds under a padding becomes an ``offset``, see surgery (U3).
    """
    if goal.kind not in ("parameters", "bytes"):
        return
    for layer in network.layers:
        linear = layer.row.weights or layer.row.homogeneous == "all"          # a maximum never takes the padding
        padded = linear and np.any(layer.options.get("padding", 0))
        if padded or (layer.params and not layer.row.weights):
            found = f"{layer.op} with padding" if padded else layer.op
            raise InputError(f"{who} has {found}, and {goal.kind} counts weights and biases alone; use macs or neurons")


def answering(model: Model, data: Data, who: str) -> Network:
    """The network of a model in float32, without its dropout layers (a small student needs none), checked against the
    data.

    One that reads maps gets an ``unflatten`` in front. Raises InputError where inputs or classes differ.
    """
    with np.errstate(over="ignore"):
        network = model.network.astype(np.float32)
    for at in reversed([i for i, layer in enumerate(network.layers) if layer.op == "dropout"]):
        if at + 1 < len(network.layers) and network.layers[at + 1].back == 1:
            raise InputError(f"{who} adds what a dropout takes to what it gives; without the dropout that adds a value "
                             f"to itself: leave it out")
        network = without(network, at)
    network = unselected(reading_rows(network, data, who))
    if not all(np.isfinite(p).all() for layer in network.layers for p in layer.params):
        raise InputError(f"{who} has weights beyond float32; they must be finite in it")
    if not network.widths:
        raise InputError(f"{who} has no dense layer and no convolution; it needs at least one")
    inputs, given = data.x_train.shape[1], len(model.scaling.offset) if model.scaling else cost.input_shape(network)[0]
    if given > inputs or (given < inputs and (model.scaling or network.layers[0].op != "select")):
        raise InputError(f"{who} takes {given} inputs, but {data.name} has {inputs}; they must agree")
    said = predict(network, np.zeros((1, inputs), np.float32))
    if said.ndim != 2:
        raise InputError(f"{who} gives maps of shape {said.shape[1:]}; it must end in one logit for each class")
    classes = said.shape[1]
    if classes != data.classes:
        raise InputError(f"{who} tells {classes} classes apart, but {data.name} has {data.classes}; they must agree")
    return network


def reading_rows(network: Network, data: Data, who: str) -> Network:
    """A network that reads maps behind an ``unflatten``: examples come as rows. Raises InputError where an example is
    no map."""
    same_maps(who, network, data.shape)
    if not reads_maps(network):
        return network
    if len(data.shape) not in (2, 3):
        raise InputError(f"{who} reads maps, and an example of {data.name} has the shape {tuple(data.shape)}; it must "
                         f"be (H, W) or (H, W, C)")
    return inserted(network, 0, Layer("unflatten", options={"shape": [*data.shape, 1][:3]}))


def unselected(network: Network) -> Network:
    """The network that reads all of a flattened map, with weights of zero, where a dense layer behind a ``select``
    reads a part.

    Surgery leaves such selects behind (positions that nobody reads); without them every channel is read through as many
    weights.
    """
    for i, (flat, some, layer) in enumerate(zip(network.layers, network.layers[1:], network.layers[2:], strict=False)):
        # by the dense layer alone
        read = (flat.op, some.op, layer.op) == ("flatten", "select", "dense") and i + 2 not in skipped(network)
        if read and i and convolves(Network(network.layers[:i])):
            w = np.zeros((len(layer.params[0]), math.prod(cost.shapes(network)[i + 1])), layer.params[0].dtype)
            w[:, np.asarray(some.options["kept"])] = layer.params[0]
            return unselected(without(network.replace({i + 2: replace(layer, params=(w, layer.params[1]))}), i + 1))
    return network


def change_of(own: Scaling, new: Scaling) -> tuple[Array, Array]:
    """f'/f and (o − o') · f', in float64: what takes inputs from one scaling (o, f) to another (o', f').

        x' = x · f'/f + (o − o') · f'
    """
    return new.factor.astype(np.float64) / own.factor, (own.offset.astype(np.float64) - new.offset) * new.factor


def rescaled(data: Data, scaling: Scaling | None) -> Data:
    """The data as another scaling gives it, see ``change_of``; the very same where the two are equal. Without a
    scaling: unscaled.

    Raises InputError where that is not finite in float32.
    """
    own, width = data.scaling, data.x_train.shape[1]
    new = scaling or Scaling(np.zeros(width, np.float32), np.ones(width, np.float32))
    if np.array_equal(own.offset, new.offset) and np.array_equal(own.factor, new.factor):
        return data
    ratio, shift = change_of(own, new)

    def change(x: Array) -> Array:
        out = np.empty_like(x)
        with np.errstate(over="ignore"):
            for i in range(0, len(x), 4096):                  # in float64, a part at a time
                out[i:i + 4096] = x[i:i + 4096] * ratio + shift
        if not np.isfinite(out).all():
            raise InputError(f"teacher: its scaling takes {data.name} beyond float32; it needs a teacher for such "
                             f"inputs")
        return out

    return replace(data, x_train=change(data.x_train), x_validation=change(data.x_validation),
                   x_test=change(data.x_test), scaling=new)
