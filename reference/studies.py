"""The generated parts of published tables that are run again: ours beside theirs, and the bars."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import npkd
from npkd.experiments import survey2021 as survey
from npkd.experiments import tables
from npkd.experiments.compare import paired, spread
from reference.markdown import table, wrapped
from reference.provenance import made_with
from reference.published_results import FOLDER


def hinton2015(stored: Mapping[str, Any]) -> str:
    """Errors of the students of Hinton et al. beside theirs; how many runs are not there yet; the bars."""
    name = "hinton2015"
    if name not in stored:
        return not_run(name)
    content, theirs, rows = stored[name], published(name), []
    for setting in dict.fromkeys(run["setting"] for run in content["runs"]):
        runs = [run for run in content["runs"] if run["setting"] == setting]
        both = [runs, [run["corrected"] for run in runs if "corrected" in run]]
        cells = [errors_of([10_000 * run["test_error"] for run in some]) if some else "" for some in both]
        right = errors_of([100 * run["right"] for run in both[1]]) if both[1] else ""
        other = theirs.get(setting, {"errors": "", "corrected": ""})
        rows.append([setting, str(len(runs)), *cells, right, other["errors"], other["corrected"]])
    head = ["setting", "seeds", "errors", "bias corrected", "right, %", "published",
            "the same, corrected on the test set"]
    return framed(stored, name, table(head, rows))


def errors_by_setting(stored: Mapping[str, Any], name: str) -> str:
    """Errors of a study's settings, of 10,000, beside the published ones; how many runs are not there yet; the bars."""
    if name not in stored:
        return not_run(name)
    theirs, errors = published(name), dict[str, list[float]]()
    for run in stored[name]["runs"]:
        if "test_error" in run:
            errors.setdefault(run["setting"], []).append(10_000 * run["test_error"])
    head, rows = ["setting", "seeds", "errors", "published"][:4 if theirs else 3], list[list[str]]()
    for setting, values in errors.items():
        other = f"{theirs[setting]['errors']} ({theirs[setting]['sureness']})" if setting in theirs else ""
        rows.append([setting, str(len(values)), errors_of(values), other][:len(head)])
    return framed(stored, name, table(head, rows))


def compression(stored: Mapping[str, Any]) -> str:
    """Test error, parameters, multiply-accumulates and bytes of every way to compress; means and deviations; bars."""
    name = "compression"
    if name not in stored:
        return not_run(name)
    runs: dict[str, list[Any]] = {}
    for run in stored[name]["runs"]:
        runs.setdefault(run["setting"], []).append(run)
    rows = []
    for setting, some in runs.items():
        error, deviation = spread([100 * run["test_error"] for run in some])
        told = f"{error:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")
        rows.append([setting, str(len(some)), told, *(f"{fmean([run[key] for run in some]):,.0f}"
                                                      for key in ("parameters", "macs", "bytes"))])
    head = ["setting", "seeds", "test error, %", "parameters", "multiply-accumulates", "bytes of the file"]
    return framed(stored, name, table(head, rows))


def berthelier2020(stored: Mapping[str, Any]) -> str:
    """Filters and hidden units that both penalties leave at each λ, and errors."""
    name = "berthelier2020"
    if name not in stored:
        return not_run(name)
    rows = list[list[str]]()
    for setting in dict.fromkeys(run["setting"] for run in stored[name]["runs"]):
        runs = [run for run in stored[name]["runs"] if run["setting"] == setting]
        counts = [errors_of([run[what] for run in runs]) for what in ("filters", "units")]
        rows.append([setting, str(len(runs)), *counts, errors_of([10_000 * run["test_error"] for run in runs])])
    return framed(stored, name, table(["setting", "seeds", "filters of 70", "hidden units of 500", "errors"], rows))


def cintra2018(stored: Mapping[str, Any]) -> str:
    """Errors, additions and shifts of the networks of Cintra et al.; how many runs are not there yet; the bars."""
    name, by_setting = "cintra2018", dict[str, list[Any]]()
    if name not in stored:
        return not_run(name)
    for run in stored[name]["runs"]:
        by_setting.setdefault(run["setting"], []).append(run)
    counts = ["additions", "shifts"]
    rows = [[setting, str(len(runs)), errors_of([10_000 * run["test_error"] for run in runs]),
             *(f"{fmean(run[what] for run in runs):,.0f}" if what in runs[0] else "" for what in counts)]
            for setting, runs in by_setting.items()]
    return framed(stored, name, table(["setting", "seeds", "errors", *counts], rows))


def published(name: str) -> dict[str, dict[str, str]]:
    """The published numbers of a study by setting; none where there is no table."""
    path = FOLDER / f"{name}.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["setting"]: row for row in csv.DictReader(file)}


def survey2021(stored: Mapping[str, Any]) -> str:
    """For every row and pair of networks the error, the gain over the row's baseline, and the time of an epoch."""
    name, (_, wanted) = "survey2021", survey.settings(False)
    if name not in stored:
        return not_run(name)
    runs: dict[str, dict[int, Any]] = {setting: {} for setting in wanted}
    for run in stored[name]["runs"]:
        runs.setdefault(run["setting"], {})[run["seed"]] = run
    head = ["row", *(f"{pair}, {what}" for pair in survey.PAIRS for what in ("error, %", "gain", "time"))]
    rows, verdicts = list[list[str]](), Counter[str]()
    for word in dict.fromkeys(setting.split(": ")[1] for setting in wanted):
        rows.append([word])
        for pair in survey.PAIRS:
            own, soft, alone = (runs.get(f"{pair}: {other}", {}) for other in (
                word, "soft", survey.BASELINES.get(word, survey.ALONE)))
            seeds, cells = sorted({*own} & {*alone}), ["", "", ""]
            if own:
                error, deviation = spread([100 * run["test_error"] for run in own.values()])
                cells[0] = f"{error:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")
            if seeds and word not in {survey.ALONE, *survey.BASELINES.values()}:
                gain = paired(*([100 * some[seed]["test_error"] for seed in seeds] for some in (alone, own)))
                whole = len(seeds) == survey.SEEDS
                verdicts[gain.verdict if whole else "not there yet"] += 1
                cells[1] = f"{gain.mean:+.2f} {gain.verdict if whole else f'({len(seeds)} of {survey.SEEDS})'}"
            if own and soft:
                times = [fmean(run["epoch_seconds"] for run in some.values()) for some in (own, soft)]
                cells[2] = f"{times[0] / times[1]:.2f}"
            rows[-1] += cells
    told = ", ".join(f"{verdicts[word]} {word}" for word in ("win", "tie", "loss", "not there yet") if verdicts[word])
    content = {**stored[name], "bars": [stored[name]["bars"][0], f"of the comparisons seed by seed: {told}"]}
    return framed({**stored, name: content}, name, table(head, rows))


def not_run(name: str) -> str:
    """The words of a study that is not there yet."""
    return wrapped(f"Not run with npkd {npkd.__version__} yet: `npkd reproduce {name} --json FILE`.")


def framed(stored: Mapping[str, Any], name: str, rows: str) -> str:
    """The table of a study between the runs that are not there yet and its bars."""
    content = stored[name]
    missing = f"{content['missing']} of {content['missing'] + len(content['runs'])} runs are **not there yet**.\n\n"
    lines = "\n".join(wrapped(f"    {line}", 12 * " ") for line in content["bars"])
    hours = wrapped(f"{content['core_hours']:.1f} core hours. {made_with(stored, (name,))}".replace("\n", " "))
    return f"{missing if content['missing'] else ''}{rows}\n\n{lines}\n\n{hours}"


def errors_of(values: Sequence[float]) -> str:
    """Mean and deviation of errors."""
    value = tables.statistic(values)
    return f"{value['mean']:.1f}" + ("" if value["deviation"] is None else f" ± {value['deviation']:.1f}")
