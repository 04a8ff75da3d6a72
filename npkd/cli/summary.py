"""The content of summary.json. No dates, no paths: one seed gives one summary, apart from "seconds" and "latency".

The test part is looked at here and nowhere else, once for each network.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from npkd import __version__
from npkd.cli.prepare import PreparedRun
from npkd.cli.settings import PATHS, TARGET, Settings
from npkd.core.types import Array
from npkd.data.datasets import Data
from npkd.nn import cost
from npkd.nn.model import Model
from npkd.nn.network import Network, convolves
from npkd.pipeline import stages
from npkd.pipeline.cost_card import counts
from npkd.pipeline.distil import alignment
from npkd.pipeline.library import SCHEMES
from npkd.pipeline.recipe import OF_EXAMPLES, Recipe
from npkd.pipeline.result import CompressionResult, logits_of_rows
from npkd.pipeline.sparse import SparseResult
from npkd.pipeline.task import classes_of, error_of, spread_of
from npkd.report.compressed import numbers_of, removals
from npkd.report.figures import inputs_of
from npkd.report.numbers import side_by_side
from npkd.surgery.survivors import ranges, survivors
from npkd.surgery.widths import widths_of

UNTRAINED = "nothing: it was not trained"                    # the augmentation of a student that was refitted alone


def augmentation(recipe: Recipe, *, compressed: bool) -> dict[str, str]:
    """What the networks were shown besides the examples, in words."""
    beta = f"Beta({recipe.mixup_alpha:g}, {recipe.mixup_alpha:g})"
    words = {"max_shift": f"pictures moved by up to {recipe.max_shift} pixels",
             "mixup_alpha": f"inputs mixed in pairs (share drawn from {beta}), labelled by the teacher",
             "noise_std": f"Gaussian noise of deviation {recipe.noise_std:g} on the scaled inputs",
             "adversarial_eps": f"each input also moved by {recipe.adversarial_eps:g} to where the loss rises fastest"}
    used = {name: text for name, text in words.items() if getattr(recipe, name)}
    teacher = "; ".join(used[name] for name in ("max_shift", "noise_std") if name in used) or "none"
    if not compressed:
        return {"teacher": teacher}
    return {"teacher": teacher, "student": "; ".join(used.values()) or "none" if recipe.trained else UNTRAINED}


def command(settings: Settings) -> str:
    """The shell command that does the same again, with every option that was given or that matters; files by their own
    names. What says where and how a run is written (--out, --overwrite, --resume, --quiet) changes nothing."""
    words = list[str]()
    for field in sorted(fields(Settings), key=lambda field: field.name == "seed"):
        name, value = field.name, getattr(settings, field.name)
        value = TARGET if name == "target" and value is None and settings.command == "compress" else value
        if name in ("command", "out", "overwrite", "resume", "given") or value is None or (
                value == field.default and name not in ("data", "seed", *settings.given)):
            continue
        option, text = f"--{name.replace('_', '-')}", Path(str(value)).name if name in PATHS else str(value)
        if isinstance(value, bool):
            words.append(option if value else f"--no-{name}")
        else:
            words += [option, ",".join(map(str, value)) if isinstance(value, tuple) else text]
    return shlex.join(["npkd", settings.command, *words])


def general(plan: PreparedRun) -> dict[str, Any]:
    """What the summaries of both commands hold."""
    settings, data = plan.settings, plan.data
    return {
        "command": command(settings), "data": data.name, "shape": list(data.shape),
        **({"classes": data.classes} if data.targets is None else {"outputs": data.classes}),
        **({"words": list(data.words)} if data.words else {}),
        "seed": settings.seed, "seconds": 0.0,
        "split": {**plan.split, "seed_from_teacher": plan.split_seed != settings.seed},
        "recipe": {name: value for name, value in asdict(plan.recipe).items() if name not in OF_EXAMPLES and (
            settings.command != "distil" or name in ("epochs", "network", "hidden", "batch_size"))},
        "distil_from": None if plan.distil_from is None else {
            "file": Path(str(settings.distil_from)).name, "widths": plan.distil_from.widths,
            "test_error": stages.error_rate(plan.distil_from, data.x_test, data.y_test)},
        "augmentation": augmentation(plan.recipe, compressed=settings.command == "compress"),
        "versions": {"npkd": __version__, "numpy": np.__version__, "scipy": scipy.__version__}}


def judged(network: Network, data: Data) -> tuple[dict[str, Any], Array]:
    """The numbers of a network for the data as it is scaled, and what it says of the test examples: classes (N,), or
    the numbers (N, O) scaled as the data's are. Errors are those of ``error_of``; of numbers there is the RMSE too."""
    outputs, held_out = (logits_of_rows(network, x) for x in (data.x_test, data.x_validation))
    more = {}
    if data.targets is not None:
        outputs, held_out = data.targets.apply(outputs), data.targets.apply(held_out)
        more["rmse"] = float(np.sqrt(np.mean(np.square((outputs - data.y_test) / data.targets.factor))))
    counted = Network(network.layers[2 * (network.layers[0].op == "gate"):])          # a scaling in front costs nothing
    return {"widths": widths_of(counted), "test_error": error_of(outputs, data.y_test), **asdict(cost.of(counted)),
            "validation_error": error_of(held_out, data.y_validation),
            "validation_spread": spread_of(held_out, data.y_validation), **more}, (
                outputs if data.targets is not None else classes_of(outputs))


def of_two(large: tuple[str, Network], small: tuple[str, Network], data: Data) -> dict[str, Any]:
    """What the summary says of a large network and the small one made of it, each with its name."""
    networks, answers, numbers = dict((large, small)), dict[str, Array](), dict[str, Any]()
    for name, network in networks.items():
        numbers[name], answers[name] = judged(network, data)
    inputs = None if convolves(small[1]) else ranges(inputs_of(small[1], data.x_test.shape[1]).tolist())
    costs = {name: asdict(counts(Model(network, data.scaling))) for name, network in networks.items()}
    said, learnt = list(answers.values())[::-1]
    agreement = float((said == learnt).mean()) if data.targets is None else 1 - error_of(said, learnt)
    return numbers | {"kept_inputs": inputs, "costs": costs, "agreement": agreement} | side_by_side(
        networks, answers, data)


def of_penalty(plan: PreparedRun, result: SparseResult) -> dict[str, Any]:
    """What a summary says of the penalty and of the networks on the way."""
    assert plan.sparse is not None
    phases = {"penalised": result.penalised} | ({} if result.debiased is None else {"debiased": result.debiased})
    recipe, target = {**asdict(plan.sparse), "target": None}, plan.target
    before = widths_of(result.dense)[:-1]
    return {
        **{name: judged(network, plan.data)[0] for name, network in phases.items()},
        "target": target and {"words": plan.settings.target, "kind": target.kind, "bound": target.bound},
        "sparse": recipe | {"lambda": result.lam, "epochs_penalised": result.epochs, "objective": result.objective,
                            "stationarity": list(result.stationarity), "path": result.path,
                            "ranks": {str(i): rank for i, rank in result.ranks.items()},
                            "kept": next(survivors(before, [result.removals]))},
        "removals": removals(result.removals, len(before))}


def of_compression(plan: PreparedRun, result: CompressionResult, delivered: Model) -> dict[str, Any]:
    """The summary of ``npkd compress``; ``delivered`` is the student as it comes from its file."""
    both = of_two(("teacher", result.teacher), ("student", delivered.network), plan.data)
    file, said = plan.settings.teacher, numbers_of(result)
    both["costs"]["student"] = card = asdict(counts(delivered))                    # of the file with all that it says
    if said["steps"]:
        said["steps"][-1]["bytes"] = card["coded" if said["steps"][-1]["step"] == "code" else "raw"]
    return general(plan) | said | both | {"teacher_file": None if file is None else Path(file).name}


def of_distillation(plan: PreparedRun, pair: tuple[Network, Network], history: Sequence[Mapping[str, Any]],
                    objective: str, sparse: SparseResult | None) -> dict[str, Any]:
    """The summary of ``npkd distil``; ``history`` as the run has written it, ``objective`` in words, if any."""
    (teacher, student), scheme = pair, SCHEMES[plan.settings.scheme]
    both = of_two(("teacher", teacher), ("student", student), plan.data)
    more = {} if sparse is None else of_penalty(plan, sparse) | {"dense": judged(sparse.dense, plan.data)[0]}
    return general(plan) | both | more | {
        "teacher_file": Path(str(plan.settings.teacher)).name, "objective": objective,
        "scheme": f"{scheme.word}: {scheme.name}, {scheme.source}", "dead": history[-1]["dead"],
        "balance": history[-1].get("terms", {}), "cka": alignment(student, teacher, plan.data.x_validation),
        "kept_inputs": both["kept_inputs"] if student.layers[0].op == "select" else None}
