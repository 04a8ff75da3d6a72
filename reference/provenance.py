"""Where the numbers of a generated part come from: file, command, versions; and whether the code is still the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import npkd
from npkd.experiments import lenet5, lenet300
from npkd.experiments.command import STUDIES
from npkd.experiments.experiment import Experiment, records, seeded
from npkd.experiments.setting import OLD_NAMES, VERSION, Setting, digest
from npkd.pipeline.recipe import OF_STUDENT, Recipe, complete, plain
from reference.benchmarks import digits
from reference.markdown import wrapped

Node = Mapping[str, Any]
NAMES = {old: new for new, old in OLD_NAMES.items()}

EXPERIMENTS: Mapping[str, Experiment] = {"lenet300": lenet300, "lenet5": lenet5}

DIGITS_DATA = {"lenet300": "digits", "lenet5": "digits16.npz"}
"""What the data of the runs on digits are called in their settings."""


def settings_of(name: str, part: str, seeds: Sequence[int]) -> list[Setting]:
    """The runs that the code would make today for a part of a stored file."""
    network, _, second = name.partition("_")
    if second:
        return digits.plans(digits.SECOND[network], DIGITS_DATA[network])[0][part]
    own = EXPERIMENTS[network]
    if part == "records":
        return [s for _, some in records(own, seeds) for s in some]
    return seeded(own.POST_TRAINING if part == "post_training" else own.COMPARISON, seeds)


def npkd_of(content: Node) -> str:
    """The version of npkd that made a file; that of the path against scikit-learn has its numbers under "npkd"."""
    return str(content.get("made_with", content["npkd"]))


def other_settings(name: str, content: Node, part: str) -> bool:
    """Was a part of a file of an experiment run with other settings than the code has now?"""
    return str(content.get("settings", {}).get(part)) != digest(settings_of(name, part, content[part][0]["seeds"]))


def changed_recipe(run: Node) -> list[str]:
    """What the recipe of a summary says and the code would choose otherwise today, in words."""
    told = {NAMES.get(name, name): value for name, value in run["recipe"].items()}
    chosen = Recipe(network=told.get("network", "perceptron"), hidden=tuple(told["hidden"]))
    today = complete(chosen, run["split"]["train"], run["shape"])
    known = {field.name for field in fields(Recipe)}
    if run["command"].split()[1] == "train":
        today, known = plain(today), known - {*OF_STUDENT}
    return [f"{name} {value:g}, now {getattr(today, name):g}" for name, value in told.items()
            if name in known and not isinstance(value, str | list) and value != getattr(today, name)]


def versions(content: Node, part: str) -> dict[int, list[str]]:
    """The rows of a part by the version of the settings that they were run with."""
    own, found = content.get(f"{part}_version", content["version"]), dict[int, list[str]]()
    for row in content[part]:
        found.setdefault(row.get("version", own), []).append(row.get("method", row.get("record")))
    return found


def told(content: Node, part: str) -> str:
    """records: settings of version 4 (3: "distilled, nothing removed")."""
    newest, *others = sorted(versions(content, part).items(), reverse=True)
    rest = "; ".join(f"{version}: {', '.join(dict.fromkeys(names))}" for version, names in others)
    return f"{part.replace('_', '-')} with settings of version {newest[0]}" + (f" ({rest})" if rest else "")


def older(name: str, content: Node, parts: Sequence[str]) -> list[str]:
    """In which ways the runs of a file are not of today's code, in words; nothing where they are."""
    found = [f"npkd {npkd.__version__}"] if npkd_of(content) != npkd.__version__ else []
    if any(set(versions(content, part)) != {VERSION} for part in parts):
        found.append(f"settings of version {VERSION}")
    found += [f"other settings for {part}" for part in parts if other_settings(name, content, part)]
    if name in STUDIES:
        today = {key: value for wave in STUDIES[name].settings(False) for key, value in wave.items()}
        found += sorted(f"other numbers for {key}" for key, value in content["settings"].items()
                        if value != today.get(key))
    runs = content.get("runs")
    if isinstance(runs, list) and "recipe" in runs[0]:
        found += sorted({word for run in runs for word in changed_recipe(run)})
    return found


def sentence(name: str, content: Node, parts: Sequence[str]) -> str:
    """One file's: what made it, of which version, and what is older than the code."""
    made = ", ".join([f"npkd {npkd_of(content)}", *(told(content, part) for part in parts)])
    now = older(name, content, parts)
    command = content["command"].partition(";")[0].replace("reference.bars", "reference.benchmarks.bars").replace(
        "reference.other_sets", "reference.benchmarks.other_sets")
    command = re.sub(r"^(npkd reproduce .*--seeds )(\d+)(?![-,\d])", lambda m: f"{m[1]}0-{int(m[2]) - 1}", command)
    return (f"{name}.json (`{command}`): run with {made}"
            + (f"; today's is {', '.join(now)}: **not run again**." if now else ", today's."))


def made_with(stored: Node, names: Sequence[str], parts: Sequence[str] = ()) -> str:
    """The line below a generated part: of files, and of these parts of them."""
    words = [sentence(name, stored[name], [part for part in parts if stored[name].get(part)])
             for name in names if name in stored]
    return wrapped("Written by `python -m reference.results`. " + " ".join(words))
