"""The settings of a run as a report shows them: name, value and what it means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from npkd.pipeline.recipe import OF_STUDENT, OF_TRAINED, Recipe
from npkd.pipeline.sparse_recipe import SparseRecipe
from npkd.report.numbers import chain, number, percent

MEANINGS = {
    "split": "The validation part chooses; the test part is looked at once, at the end.",
    "objective": "Weight and loss of each term, and what it reads of student and teacher: activations, -1 the logits.",
    "scheme": "Who teaches whom.", "target": "How small the network has to be.",
    "ranks": "Of layers that are two in the result; the number of a layer is that of the dense network.",
    "seed": "Of everything that is drawn at random.",
    "penalty_on": "Weights whose groups the penalty sets to zero together, and its weight λ where it was given.",
    "λ_found": "The smallest network that the target or the path led to was trained with this weight.",
    "costs": "What a group costs in the penalty: what its removal saves, the root of its size, or one."}
"""Meanings of settings that are no part of the recipe."""
OF_SPARSE = ("growth", "settling", "epochs", "debias_epochs", "debias_weight_decay", "batch_size", "learning_rate",
             "weight_decay")


def untrained(summary: Mapping[str, Any]) -> bool:
    """Whether this is a compression whose student's layers were refitted alone."""
    recipe = summary["recipe"]
    return "teacher" in summary and recipe.get("epochs", recipe.get("final_epochs")) == 0     # the latter: version 0.1


def setting(value: Any) -> str:
    """The value of a setting in words: a number, a word, yes or no, or widths."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, int | float) else chain(value)


def target_in_words(target: Mapping[str, Any]) -> str:
    """The target as it was given, and the bound that it means."""
    if target["kind"] == "error":
        unit = {"": "points of error", "r2": "of R²", "rmse": "of the RMSE"}[target.get("measure", "")]
        return f"{target['words']}: on the validation part at most {target['bound']:g} {unit} worse than the teacher"
    if target["kind"] == "widths":
        return f"{target['words']}: at most so many neurons a layer, inputs first"
    return f"{target['words']}: at most {number(target['bound'])} {target['kind']}"


def settings(summary: Mapping[str, Any]) -> list[list[str]]:
    """Everything that was set, in words."""
    split, recipe, target = summary["split"], summary["recipe"], summary.get("target")
    teachers = "the teacher's own, so that it is not judged on what it was trained on"
    whose = teachers if split["seed_from_teacher"] else "the seed of the run"
    outputs = f"{summary['outputs']} numbers to predict" if "outputs" in summary else f"{summary['classes']} classes"
    rows = [
        ["data", f"{summary['data']}: {number(split['train'])} examples for training, {number(split['validation'])} "
                 f"for validation, {number(split['test'])} for the test; {outputs}; an example is "
                 f"{' × '.join(map(str, summary['shape']))}"],
        ["split", f"drawn with seed {split['seed']} ({whose})"],
        ["seed", str(summary["seed"])], *([["target", target_in_words(target)]] if target else [])]
    better = summary.get("distil_from", summary.get("tutor"))                  # "tutor": version 0.1
    if better:
        error = f"{better['test_error']:.4f} (1 − R²)" if "outputs" in summary else percent(better["test_error"], 2)
        rows.append(["better network", f"whose answers are learnt, from the file {better['file']}, test error {error}"])
    if "teacher" in summary:
        file = summary["teacher_file"]
        rows.append(["teacher", f"from the file {file}" if file else "trained in this run"])
        if not untrained(summary):
            weight = recipe.get("label_weight", recipe.get("labels"))               # "labels": version 0.1
            also = f", and the labels with weight {weight:g}" if weight else ""
            rows.append(["learnt from", f"the answers of the {'better network' if better else 'teacher'}{also}"])
    rows += [[name, summary[name]] for name in ("scheme", "objective") if summary.get(name)]
    rows += [[f"shown to the {who}" if "teacher" in summary else "augmentation", str(words)]
             for who, words in summary["augmentation"].items()]
    left_out = set(OF_STUDENT if "model" in summary else OF_TRAINED if untrained(summary) else ())
    if target and target["kind"] == "error":
        left_out.add("rounds")
    if "sparse" in summary:
        found, lams = summary["sparse"], summary["sparse"]["strengths"]
        rows += [["penalty on", ", ".join(kind if lam is None else f"{kind} {lam:g}" for kind, lam in lams.items())],
                 *([["λ found", f"{found['lambda']:.3g}"]] if None in lams.values() else []), ["costs", found["costs"]],
                 ["epochs with a penalty", f"{found['epochs_penalised']}, those of the search too"],
                 ["stationarity at the last λ", "{:.2g} at first, {:.2g} at its end".format(*found["stationarity"])],
                 *([["ranks", ", ".join(f"{rank} of layer {i}" for i, rank in ranks.items())]]
                   if (ranks := found.get("ranks")) else []),
                 *[[f"with the penalty: {key.replace('_', ' ')}", setting(found[key])] for key in OF_SPARSE]]
    rows += [[key.replace("_", " "), setting(value)] for key, value in recipe.items() if key not in left_out]
    meanings = MEANINGS | explained(Recipe) | {f"with_the_penalty:_{k}": v for k, v in explained(SparseRecipe).items()}
    rows += [["versions", ", ".join(f"{name} {version}" for name, version in summary["versions"].items())],
             ["time", f"{summary['seconds']:.0f} seconds"]]
    return [[name, value, meanings.get(name.replace(" ", "_"), "")] for name, value in rows]


def explained(recipe: type) -> dict[str, str]:
    """What each setting means, from the docstring of its dataclass: lines "name, name   words;   name   words"."""
    found, names = dict[str, str](), list[str]()
    for line in re.sub(r";   (?=\w)", "\n    ", recipe.__doc__ or "").splitlines():
        start = re.match(r" {4}(\w+(?:, \w+)*) {2,}(?=\S)", line)
        names = start[1].split(", ") if start else names if line.startswith(" " * 8) else []
        for name in names:
            found[name] = " ".join(filter(None, [found.get(name), line[start.end() if start else 0:].strip()]))
    return found
