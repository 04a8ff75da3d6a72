"""What a run says of itself in numbers: the content of summary.json.

No dates and no paths: the same seed gives the same summary, apart from "seconds". The test part is looked at here and
nowhere else, once for each network.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from npkd import __version__
from npkd.cli.prepare import PreparedRun
from npkd.cli.settings import Settings
from npkd.core.files import reason
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.datasets import Data
from npkd.nn.model import Model
from npkd.nn.network import Network
from npkd.pipeline import stages
from npkd.pipeline.recipe import OF_EXAMPLES, Recipe
from npkd.pipeline.result import CompressionResult, layers_of, logits_of_rows, measures_of
from npkd.sparsity.layerwise import Distilled
from npkd.surgery.widths import widths_of

UNTRAINED = "nothing: it was not trained"
"""What a student is shown whose layers are refitted alone."""


def augmentation(recipe: Recipe, *, compressed: bool) -> dict[str, str]:
    """What the networks were shown besides the examples, in words."""
    moved = f"pictures moved by up to {recipe.max_shift} pixels" if recipe.max_shift else ""
    mixed = (
        f"inputs mixed in pairs (share drawn from Beta({recipe.mixup_alpha:g}, {recipe.mixup_alpha:g})), labelled by "
        f"the teacher"
        if recipe.mixup_alpha else ""
    )
    noise = f"Gaussian noise of deviation {recipe.noise_std:g} on the scaled inputs" if recipe.noise_std else ""
    worst = (
        f"each input also moved by {recipe.adversarial_eps:g} to where the loss rises fastest"
        if recipe.adversarial_eps else ""
    )
    words = {"teacher": "; ".join(filter(None, [moved, noise])) or "none"}
    student = "; ".join(filter(None, [moved, mixed, noise, worst])) or "none"
    return words | {"student": student if recipe.trained else UNTRAINED} if compressed else words


def command(settings: Settings) -> str:
    """What a shell would be told to do the same again; files by their own names."""
    words = ["npkd", settings.command, "--data", Path(settings.data).name]
    if settings.teacher is not None:
        words += ["--teacher", Path(settings.teacher).name]
    if settings.distil_from is not None:
        words += ["--distil-from", Path(settings.distil_from).name]
    if settings.command == "compress":
        words += ["--target", settings.target]
    if settings.epochs is not None:
        words += ["--epochs", str(settings.epochs)]
    words += ["--network", settings.network] if settings.network != "perceptron" else []
    if settings.hidden is not None:
        words += ["--hidden", ",".join(map(str, settings.hidden))]
    words += ["--keep-inputs"] * settings.keep_inputs
    words += ["--dropout", f"{settings.dropout:g}"] if settings.dropout else []
    words += ["--activation", settings.activation] if settings.activation != "relu" else []
    return shlex.join([*words, "--seed", str(settings.seed)])


def general(plan: PreparedRun) -> dict[str, Any]:
    """What both commands say."""
    settings, data = plan.settings, plan.data
    return {
        "command": command(settings),
        "data": data.name, "classes": data.classes, "shape": list(data.shape), "seed": settings.seed, "seconds": 0.0,
        "split": {**plan.split, "seed_from_teacher": plan.split_seed != settings.seed},
        "recipe": {name: value for name, value in asdict(plan.recipe).items() if name not in OF_EXAMPLES},
        "augmentation": augmentation(plan.recipe, compressed=settings.command == "compress"),
        "versions": {"npkd": __version__, "numpy": np.__version__, "scipy": scipy.__version__},
    }


def judged(network: Network, data: Data) -> tuple[dict[str, Any], Array]:
    """The numbers of a network for the data as it is scaled, and the classes that it gives the test examples."""
    classes = logits_of_rows(network, data.x_test).argmax(axis=1)
    on_validation = logits_of_rows(network, data.x_validation).argmax(axis=1)
    numbers = measures_of(network, float((classes != data.y_test).mean()))
    return numbers | {"validation_error": float((on_validation != data.y_validation).mean())}, classes


def of_training(plan: PreparedRun, network: Network) -> dict[str, Any]:
    """The summary of ``npkd train``."""
    return general(plan) | {"model": judged(network, plan.data)[0]}


def of_compression(plan: PreparedRun, result: CompressionResult, delivered: Model) -> dict[str, Any]:
    """The summary of ``npkd compress``; ``delivered`` is the student as it comes from its file. The removal differences
    are the largest over all rounds."""
    assert plan.target is not None
    teacher, by_teacher = judged(result.teacher, plan.data)
    student, by_student = judged(delivered.network, plan.data)
    file, distil_from, target = plan.settings.teacher, plan.settings.distil_from, plan.target
    return general(plan) | {
        "teacher_file": None if file is None else Path(file).name,
        "distil_from": None if plan.distil_from is None else {
            "file": Path(str(distil_from)).name, "widths": plan.distil_from.widths,
            "test_error": stages.error_rate(plan.distil_from, plan.data.x_test, plan.data.y_test)},
        "target": {"words": plan.settings.target, "kind": target.kind, "bound": target.bound},
        "teacher": teacher,
        "student": student,
        "agreement": float((by_teacher == by_student).mean()),
        "layers": [layer | {"kept": kept, "of": of} for layer, kept, of in
                   zip(layers_of(result.rounds), student["widths"], teacher["widths"], strict=False)],
        "removal_difference": result.difference,
        "removal_difference_float64": max((r.difference64 for r in result.rounds), default=0.0),
        "removals": removals(result.rounds, len(teacher["widths"]) - 1),
        "rounds": [{"widths": widths_of(r.student), "budget": budget, "size": target.size(widths_of(r.student))}
                   for r, budget in zip(result.rounds, result.budgets, strict=False)],
    }


def removals(rounds: Sequence[Distilled], dependency_groups: int) -> list[dict[str, int]]:
    """For each dependency group, inputs first, how many neurons were cut out for which reason, all rounds together."""
    counts = Counter((removal.group, removal.reason) for r in rounds for removal in r.removals
                     if removal.position is None)
    return [{why: counts[k, why] for why in ("dead", "constant", "duplicate")} for k in range(dependency_groups)]


def read(path: Path) -> dict[str, Any]:
    """The content of a summary.json. Raises InputError where it cannot be read or is no table."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"report: {path}: {reason(error)}; name a folder that npkd compress or npkd train "
                         f"wrote") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"report: {path} is no JSON ({error}); it must be the summary.json of a run") from error
    if not isinstance(content, dict):
        raise InputError(f"report: {path} holds no table; it must be the summary.json of a run")
    return content
