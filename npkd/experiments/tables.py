"""The tables of an experiment: settings with their results -> rows of numbers -> text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from npkd.core.validation import InputError
from npkd.experiments.compare import paired, spread
from npkd.experiments.experiment import Record
from npkd.experiments.setting import Setting, read

Row = Mapping[str, Any]
"""A row of a table: JSON values."""

JUDGED = {True: "holds", False: "MISSED"}

ERRORS = ("validation_error", "test_error", "teacher_test_error")
"""Of the results of runs, those that rows hold, beside sizes and seconds."""


def label(setting: Setting) -> str:
    """A method in words."""
    short = setting.recipe.rounds == 1 and setting.epochs and not setting.method.startswith("scratch")
    return setting.method + (", one shot" if short else "") + (" (our widths)" if setting.widths_of else "")


def result_of(setting: Setting, folder: Path) -> dict[str, Any]:
    """The kept result. Raises InputError where there is none."""
    if (result := read(setting, folder)) is None:
        raise InputError(f"runs: {folder} has no result of {label(setting)}; it must be run first")
    return result


def statistic(values: Sequence[float]) -> dict[str, Any]:
    """Numbers by seed, with mean and deviation."""
    mean, deviation = spread(values)
    return {"by_seed": list(values), "mean": mean, "deviation": deviation}


def summed(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a row says of the runs of one method, errors as fractions; older runs did not count parameters."""
    widths = [round(sum(w) / len(w)) for w in zip(*(r["widths"] for r in results), strict=True)]
    names = [name for name in (*ERRORS, "macs", "seconds", "parameters") if all(name in r for r in results)]
    by_seed = [r["widths"] for r in results]
    return {"mean_widths": widths, "widths": by_seed, **{name: statistic([r[name] for r in results]) for name in names}}


def comparison_rows(settings: Sequence[Setting], folder: Path) -> list[dict[str, Any]]:
    """One row a budget and method, ours first in each budget, with the paired difference theirs − ours, by seed."""
    groups: dict[tuple[int, str], dict[int, Setting]] = {}
    for s in settings:
        groups.setdefault((s.macs, label(s)), {})[s.teacher.seed] = s
    rows = list[dict[str, Any]]()
    for (macs, name), by_seed in groups.items():
        seeds = sorted(by_seed)
        row: dict[str, Any] = {"macs_allowed": macs, "method": name, "seeds": seeds, "epochs": by_seed[seeds[0]].epochs}
        row |= summed([result_of(by_seed[seed], folder) for seed in seeds])
        if name != "ours":
            ours = [result_of(groups[macs, "ours"][seed], folder)["test_error"] for seed in seeds]
            difference = paired(row["test_error"]["by_seed"], ours)
            row["minus_ours"] = {**asdict(difference), "verdict": difference.verdict}
        rows.append(row)
    return rows


def record_rows(records: Sequence[tuple[Record, list[Setting]]], folder: Path) -> list[dict[str, Any]]:
    """One row a record."""
    rows = list[dict[str, Any]]()
    for record, settings in records:
        one = settings[0]
        row: dict[str, Any] = {
            "record": record.name, "teacher": one.teacher.kind, "distil_from": one.distil_from is not None,
            "allowed": one.macs, "kind": one.kind, "keep_inputs": one.keep_inputs, "bar": record.bar / 100,
            "seeds": [s.teacher.seed for s in settings], "epochs": one.epochs}
        row |= summed([result_of(s, folder) for s in settings])
        rows.append(row | {"holds": bool(row["test_error"]["mean"] <= record.bar / 100)})
    return rows


def teacher_rows(settings: Sequence[Setting], folder: Path, bars: Mapping[str, float]) -> list[dict[str, Any]]:
    """One row a kind of teacher that has a bar, in % mean test error: the teachers of these runs, each once."""
    rows = list[dict[str, Any]]()
    for kind, bar in bars.items():
        errors = {s.teacher: result_of(s, folder)["teacher_test_error"] for s in settings if s.teacher.kind == kind}
        if errors:
            error = statistic(list(errors.values()))
            rows.append({"teacher": kind, "seeds": [t.seed for t in errors], "bar": bar / 100,
                         "holds": error["mean"] <= bar / 100, "test_error": error})
    return rows


def percent(value: Row) -> str:
    """1.234 ± 0.056."""
    deviation = value["deviation"]
    return f"{100 * value['mean']:.3f}" + ("" if deviation is None else f" ± {100 * deviation:.3f}")


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns under one another: the first to the left, the others to the right."""
    first, *wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join([f"{row[0]:{first}}", *map(str.rjust, row[1:], wide)]) for row in rows)


def chain(widths: Sequence[int]) -> str:
    """97-71-33: the outputs are left out, and so is the one channel of grey pictures: 2-7-99."""
    return "-".join(str(w) for w in widths[widths[0] == 1:-1])


def comparison_text(rows: Sequence[Row]) -> str:
    """A table a budget. The verdict is ours: "win" where the other method's error is higher all over the interval."""
    parts = []
    for macs in dict.fromkeys(row["macs_allowed"] for row in rows):
        first, *others = budget = [row for row in rows if row["macs_allowed"] == macs]
        lines = [["method", "mean widths", "validation %", "test %", "minus ours", "95 % interval", "ours"]]
        for row in budget:
            cells = [row["method"], chain(row["mean_widths"]), *(percent(row[name]) for name in ERRORS[:2])]
            lines.append(cells + (against_ours(row["minus_ours"]) if "minus_ours" in row else ["", "", ""]))
        verdicts = [row["minus_ours"]["verdict"] for row in others]
        behind = ", ".join(row["method"] for row in others if row["minus_ours"]["mean"] <= 0)
        epochs = f"{first['epochs']} epochs a run" if first["epochs"] else "one cut, no training"
        parts.append(
            f"At most {macs:,} multiply-accumulates, {epochs}, seeds {first['seeds']}, teacher "
            f"{percent(first['teacher_test_error'])} %\n\n{aligned(lines)}\n\n"
            f"Ours: {verdicts.count('win')} wins, {verdicts.count('tie')} ties, {verdicts.count('loss')} losses; "
            + (f"not better in the mean than: {behind}." if behind else "in the mean better than every other."))
    return "\n\n".join(parts)


def against_ours(difference: Row) -> list[str]:
    """The paired difference in %, its interval where there is one, and the verdict."""
    interval = " … ".join(f"{100 * end:+.3f}" for end in difference["interval"] or ())
    return [f"{100 * difference['mean']:+.3f}", interval, difference["verdict"]]


def records_text(rows: Sequence[Row]) -> str:
    """The records against their bars."""
    lines = [["record", "teacher", "allowed", "mean widths", "validation %", "test %", "teacher %", "bar %", "",
              "seconds"]]
    lines += [[row["record"], row["teacher"], f"{row['allowed']:,}" + f" {row['kind']}" * (row["kind"] != "macs"),
               chain(row["mean_widths"]), *(percent(row[name]) for name in ERRORS), f"{100 * row['bar']:.2f}",
               JUDGED[row["holds"]], f"{row['seconds']['mean']:.0f}"] for row in rows]
    return aligned(lines) if rows else ""


def teachers_text(rows: Sequence[Row]) -> str:
    """The teachers against their bars, a line each."""
    return "\n".join(f"Teachers, {row['teacher']}, seeds {row['seeds']}: {percent(row['test_error'])} %, bar "
                     f"{100 * row['bar']:.2f} %: {JUDGED[row['holds']]}" for row in rows)
