"""The tables of an experiment: from settings with their results to numbers, and from numbers to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from npkd.core.validation import InputError
from npkd.experiments.compare import Spread, paired, spread
from npkd.experiments.experiment import Record
from npkd.experiments.published import Published
from npkd.experiments.setting import Setting, read

Row = Mapping[str, Any]
"""A row of a table: JSON values."""

NUMBERS = ("validation_error", "test_error", "teacher_test_error", "macs", "seconds")
"""Of the results of runs, those that rows hold."""


def label(setting: Setting) -> str:
    """A method in words."""
    short = setting.recipe.rounds == 1 and setting.epochs and not setting.method.startswith("scratch")
    return setting.method + (", one shot" if short else "") + (" (our widths)" if setting.widths_of else "")


def result_of(setting: Setting, folder: Path) -> dict[str, Any]:
    """The kept result. Raises InputError where there is none."""
    result = read(setting, folder)
    if result is None:
        raise InputError(f"runs: {folder} has no result of {label(setting)}; it must be run first")
    return result


def summed(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a row says of the runs of one method: lists by seed, means and deviations, errors as fractions.

    Results of before parameters were counted have none, and so have their rows.
    """
    row: dict[str, Any] = {"mean_widths": [round(sum(w) / len(w))
                                           for w in zip(*(r["widths"] for r in results), strict=True)]}
    names = [name for name in (*NUMBERS, "parameters") if all(name in r for r in results)]
    for name in names:
        values = [r[name] for r in results]
        s = spread(values)
        row[name] = {"by_seed": values, "mean": s.mean, "deviation": s.deviation}
    return row


def comparison_rows(settings: Sequence[Setting], folder: Path) -> list[dict[str, Any]]:
    """One row a budget and method, ours first in each budget, with the paired difference to ours (theirs − ours, by
    seed)."""
    groups: dict[tuple[int, str], dict[int, Setting]] = {}
    for s in settings:
        groups.setdefault((s.macs, label(s)), {})[s.teacher.seed] = s
    rows = list[dict[str, Any]]()
    for (macs, name), by_seed in groups.items():
        row: dict[str, Any] = {"macs_allowed": macs, "method": name, "seeds": sorted(by_seed),
                               "epochs": next(iter(by_seed.values())).epochs}
        row |= summed([result_of(by_seed[seed], folder) for seed in sorted(by_seed)])
        ours = groups[macs, "ours"]
        if name != "ours":
            reference = [result_of(ours[seed], folder)["test_error"] for seed in sorted(by_seed)]
            difference = paired(row["test_error"]["by_seed"], reference)
            row["minus_ours"] = {"mean": difference.mean, "interval": difference.interval,
                                 "verdict": difference.verdict}
        rows.append(row)
    return rows


def record_rows(runs: Sequence[tuple[Record, list[Setting]]], folder: Path) -> list[dict[str, Any]]:
    """One row a record."""
    rows = list[dict[str, Any]]()
    for record, settings in runs:
        row: dict[str, Any] = {
            "record": record.name, "teacher": record.teacher, "distil_from": record.distil_from, "allowed": record.macs,
            "kind": record.kind,
            "keep_inputs": record.keep_inputs, "bar": record.bar / 100, "seeds": [s.teacher.seed for s in settings],
            "epochs": settings[0].epochs}
        row |= summed([result_of(s, folder) for s in settings])
        rows.append(row | {"holds": bool(row["test_error"]["mean"] <= record.bar / 100)})
    return rows


def teacher_rows(settings: Sequence[Setting], folder: Path, bars: Mapping[str, float]) -> list[dict[str, Any]]:
    """One row a kind of teacher that has a bar, in % test error in the mean: the teachers of these runs, each once."""
    rows = list[dict[str, Any]]()
    for kind, bar in bars.items():
        errors = {s.teacher: result_of(s, folder)["teacher_test_error"] for s in settings if s.teacher.kind == kind}
        if errors:
            values = spread(list(errors.values()))
            rows.append({"teacher": kind, "seeds": [t.seed for t in errors], "bar": bar / 100,
                         "holds": values.mean <= bar / 100,
                         "test_error": {"by_seed": list(errors.values()), "mean": values.mean,
                                        "deviation": values.deviation}})
    return rows


def percent(value: Row) -> str:
    """1.234 ± 0.056."""
    s = Spread(value["mean"], value["deviation"])
    return f"{100 * s.mean:.3f}" + ("" if s.deviation is None else f" ± {100 * s.deviation:.3f}")


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns under one another: the first to the left, the others to the right."""
    wide = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join(f"{row[0]:{wide[0]}}"
                     + "".join(f"  {cell:>{w}}" for cell, w in zip(row[1:], wide[1:], strict=True)) for row in rows)


def chain(widths: Sequence[int]) -> str:
    """97-71-33: the outputs are left out, and so is the one channel of grey pictures: 2-7-99."""
    return "-".join(str(w) for w in widths[widths[0] == 1:-1])


def spent(epochs: int) -> str:
    """The epochs of a run in words."""
    return f"{epochs} epochs a run" if epochs else "one cut, no training"


def comparison_text(rows: Sequence[Row]) -> str:
    """A table a budget. The verdict is ours: "win" where the other method's error is higher all over the interval."""
    parts = []
    for macs in dict.fromkeys(row["macs_allowed"] for row in rows):
        here = [row for row in rows if row["macs_allowed"] == macs]
        lines = [["method", "mean widths", "validation %", "test %", "minus ours", "95 % interval", "ours"]]
        for row in here:
            difference = row.get("minus_ours")
            interval = difference["interval"] if difference else None
            lines.append([row["method"], chain(row["mean_widths"]), percent(row["validation_error"]),
                          percent(row["test_error"]),
                          f"{100 * difference['mean']:+.3f}" if difference else "",
                          f"{100 * interval[0]:+.3f} … {100 * interval[1]:+.3f}" if interval else "",
                          difference["verdict"] if difference else ""])
        verdicts = [row["minus_ours"]["verdict"] for row in here if "minus_ours" in row]
        behind = [row["method"] for row in here if "minus_ours" in row and row["minus_ours"]["mean"] <= 0]
        parts.append(
            f"At most {macs:,} multiply-accumulates, {spent(here[0]['epochs'])}, seeds {here[0]['seeds']}, "
            f"teacher {percent(here[0]['teacher_test_error'])} %\n\n{aligned(lines)}\n\n"
            f"Ours: {verdicts.count('win')} wins, {verdicts.count('tie')} ties, {verdicts.count('loss')} losses; "
            + ("in the mean better than every other." if not behind
               else f"not better in the mean than: {', '.join(behind)}.")
        )
    return "\n\n".join(parts)


def records_text(rows: Sequence[Row]) -> str:
    """The records against their bars."""
    lines = [["record", "teacher", "allowed", "mean widths", "validation %", "test %", "teacher %", "bar %", "",
              "seconds"]]
    lines += [[row["record"], row["teacher"], f"{row['allowed']:,}" + f" {row['kind']}" * (row["kind"] != "macs"),
               chain(row["mean_widths"]),
               percent(row["validation_error"]), percent(row["test_error"]), percent(row["teacher_test_error"]),
               f"{100 * row['bar']:.2f}",
               "holds" if row["holds"] else "MISSED", f"{row['seconds']['mean']:.0f}"] for row in rows]
    return aligned(lines)


def teachers_text(rows: Sequence[Row]) -> str:
    """The teachers against their bars."""
    return "\n".join(f"Teachers, {row['teacher']}, seeds {row['seeds']}: {percent(row['test_error'])} %, bar "
                     f"{100 * row['bar']:.2f} %: "
                     f"{'holds' if row['holds'] else 'MISSED'}" for row in rows)


def published_text(published: Sequence[Published]) -> str:
    """What others report."""
    lines = [["published", "widths", "MACs", "test %", "known"]]
    lines += [[p.method, "-".join(map(str, p.widths)), f"{p.macs:,}", p.error, p.sureness] for p in published]
    return (
        aligned(lines)
        + "\n\nNearly all of them single runs, many chosen on the test set; \"recalled\" is not verified."
    )
