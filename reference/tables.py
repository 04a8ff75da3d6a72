"""The generated parts of README and of docs: each is a function of the stored runs, and a row of TABLES.

A new table is one function here and one row of TABLES; where it is to stand, the page says

    <!-- results: NAME -->
    <!-- end -->

and ``python -m reference.results`` writes between the two lines.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from npkd.cli.main import result_table
from npkd.experiments import lenet5, tables
from npkd.pipeline.library import listed
from reference import published_results, studies
from reference.benchmarks import other_sets
from reference.markdown import table, wrapped
from reference.peers import group_lasso
from reference.provenance import made_with
from reference.published_results import RISE

Row = Mapping[str, Any]
Stored = Mapping[str, Any]
"""Content of reference/measured by the names of the files."""


def percent(value: Row, digits: int = 2) -> str:
    """1.23 ± 0.05 of a statistic, without the sign of percent."""
    spread = value["deviation"]
    return f"{100 * value['mean']:.{digits}f}" + ("" if spread is None else f" ± {100 * spread:.{digits}f}")


def of_runs(runs: Sequence[Row], who: str, what: str = "test_error") -> Row:
    """The statistic of one number of the summaries."""
    return tables.statistic([run[who][what] for run in runs])


def find(rows: Sequence[Row], name: str, allowed: int | None = None) -> Row:
    """The row of a method or record."""
    return next(row for row in rows if name == row.get("method", row.get("record"))
                and allowed in (None, row.get("macs_allowed", row.get("allowed"))))


def seeds_of(seeds: Sequence[int]) -> str:
    """0 … 4."""
    return f"{seeds[0]} … {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"


# ---- README


def first_run(stored: Stored) -> str:
    """What the README's first command prints."""
    text = result_table(stored["digits"]["runs"][0], Path("npkd-out"))
    return f"```text\n{text[:text.index(' of the test examples.')]} of the test examples.\n```"


@dataclass(frozen=True)
class Line:
    """A line of README's table: on MNIST, and on the digits where the same was run there.

    what    in words;   mnist, digits  the keys of a row, see ``row_at``; "" where there is none
    setting in words
    """

    what: str
    mnist: str
    digits: str
    setting: str


LINES = (
    Line("LeNet-300-100 to a tenth of the multiply-accumulates", "lenet300/records/best, a tenth",
         "lenet300_digits/records/best, a tenth", "the last distillation sees the validation part too"),
    Line("the same, taught by a LeNet-5 (`--distil-from`)", "lenet300/records/tutored, a tenth", "", "the same"),
    Line("to 3.6 %", "lenet300/records/best, VIBNet's size", "lenet300_digits/records/best, VIBNet's size", "the same"),
    Line("to a quarter, **without any training** (`--epochs 0`)", "lenet300/post_training/ours/66550",
         "lenet300_digits/post_training/ours/12550", "one cut, layers refitted"),
    Line("to a tenth, without any training", "lenet300/post_training/ours/26620",
         "lenet300_digits/post_training/ours/5020", "one cut, layers refitted"),
    Line("LeNet-5 to 4.1 %", "lenet5/records/best, 93,000", "lenet5_digits/records/best, 93,000",
         "labels count beside the teacher's answers"),
    Line("LeNet-5 to a tenth, without any training", "lenet5/post_training/ours/229300",
         "lenet5_digits/post_training/ours/20200", "one cut, layers refitted"),
)


def row_at(stored: Stored, key: str) -> Row | None:
    """The stored row of ``file/part/name`` or ``file/part/name/allowed``; None where nothing is stored."""
    if not key or key.split("/")[0] not in stored:
        return None
    file, part, name, *allowed = key.split("/")
    rows = stored[file].get(part)
    return find(rows, name, int(allowed[0]) if allowed else None) if rows else None


def measured(stored: Stored) -> str:
    """README's table."""
    rows = []
    for line in LINES:
        sides = [row_at(stored, key) for key in (line.mnist, line.digits)]
        cells = [cell for row in sides for cell in
                 ([percent(row[name]) + " %" for name in ("teacher_test_error", "test_error")] if row else ["–", "–"])]
        seconds = f"{sides[0]['seconds']['mean']:.0f} s a run" if sides[0] else ""
        rows.append([line.what, *cells, f"{line.setting}; {seconds}"])
    plain = stored["mnist_train"]["runs"]
    rows.append(["784-300-100-10, plain training", percent(of_runs(plain, "model")) + " %", "–", "–", "–",
                 f"no augmentation; {statistics.mean(run['process_seconds'] for run in plain):.0f} s a run"])
    for what, case in (("inputs and neurons", ""), ("neurons alone", "-neurons")):
        both = [list(stored["sparse"]["cases"].get(name + case, {}).values()) for name in ("mnist", "digits")]
        cells = [percent(of_runs(some, who)) + " %" if some else "–" for some in both for who in ("dense", "model")]
        times = [run["seconds"] for run in both[0]]
        rows.append([f"**sparse training**, {what}, to a fifth (`--penalty`)", *cells, "no teacher, no augmentation"
                     + (f"; {statistics.mean(times):.0f} s a run" if times else "")])
    runs = stored["digits"]["runs"]
    rows.append(["`npkd compress` as it is, a tenth of 64-300-100-10", "–", "–",
                 *(percent(of_runs(runs, who)) + " %" for who in ("teacher", "student")),
                 f"{statistics.mean(run['process_seconds'] for run in runs):.0f} s a run, the teacher's training "
                 f"included"])
    head = ["what", "MNIST: teacher", "student", "digits: teacher", "student", "setting; seconds on MNIST, beside "
            "other work"]
    files = ("lenet300", "lenet5", "lenet300_digits", "lenet5_digits", "mnist_train", "sparse", "digits")
    return f"{table(head, rows)}\n\n{made_with(stored, files, ('records', 'post_training'))}"


# ---- one network


def chain(widths: Sequence[int]) -> str:
    """97-71-33, of a LeNet-5 2-7-99: the outputs are left out, and the one channel of grey pictures."""
    return "-".join(map(str, widths[len(widths) == 5:-1]))


def compared(row: Row | None) -> list[str]:
    """Cells of a row of a comparison."""
    if row is None:
        return [""] * 5
    difference = tables.against_ours(row["minus_ours"]) if "minus_ours" in row else ["", "", ""]
    minus = f"{difference[0]} ({difference[1]})" if difference[0] else ""
    return [chain(row["mean_widths"]), percent(row["validation_error"], 3), percent(row["test_error"], 3), minus,
            difference[2]]


def verdict(rows: Sequence[Row]) -> str:
    """Wins, ties and losses of ours in the rows of one budget, in words."""
    others = [row for row in rows if "minus_ours" in row]
    counts = [[row["minus_ours"]["verdict"] for row in others].count(word) for word in ("win", "tie", "loss")]
    behind = [row["method"] for row in others if row["minus_ours"]["mean"] <= 0]
    return (f"{counts[0]} wins, {counts[1]} ties, {counts[2]} losses; "
            + (f"not better in the mean than {', '.join(behind)}" if behind else "in the mean better than every other"))


def comparison(stored: Stored, name: str, part: str) -> str:
    """A table a budget, MNIST and the digits side by side; verdicts as tables.comparison_text has them."""
    mnist, digits = stored[name][part], stored.get(f"{name}_digits", {}).get(part, [])
    pairs = zip(dict.fromkeys(row["macs_allowed"] for row in mnist),
                dict.fromkeys(row["macs_allowed"] for row in digits) or [None] * len(mnist), strict=False)
    head = ["method", "MNIST: widths", "validation %", "test %", "minus ours (95 %)", "ours",
            "digits: widths", "validation %", "test %", "minus ours (95 %)", "ours"]
    texts = []
    for budget, other in pairs:
        here, there = ([row for row in rows if row["macs_allowed"] == macs]
                       for rows, macs in ((mnist, budget), (digits, other)))
        first, epochs = here[0], here[0]["epochs"]
        words = [f"MNIST: at most {budget:,} multiply-accumulates, seeds {seeds_of(first['seeds'])}, teacher "
                 f"{percent(first['teacher_test_error'], 3)} %. Ours: {verdict(here)}."]
        if there:
            words.append(f"Digits: at most {other:,}, seeds {seeds_of(there[0]['seeds'])}, teacher "
                         f"{percent(there[0]['teacher_test_error'], 3)} %. Ours: {verdict(there)}.")
        beside = {row["method"]: row for row in there}
        cut = len(head) if there else 6
        rows = [[row["method"], *compared(row), *compared(beside.get(row["method"]))][:cut] for row in here]
        trained = f"{epochs} epochs a run" if epochs else "one cut, no training"
        texts.append(f"**{100 * budget / WHOLE[name]:.1f} % of the multiply-accumulates, {trained}**\n\n"
                     + "\n".join(wrapped(f"- {word}", "  ") for word in words) + f"\n\n{table(head[:cut], rows)}")
    return "\n\n".join([*texts, made_with(stored, (name, f"{name}_digits"), (part,))])


WHOLE = {"lenet300": 266_200, "lenet5": lenet5.WHOLE}
"""Multiply-accumulates of the dense networks on MNIST."""


def records(stored: Stored, name: str) -> str:
    """The records with their bars, and those that were run on the digits too."""
    digits = {row["record"]: row for row in stored.get(f"{name}_digits", {}).get("records", [])}
    head = ["record", "teacher sees", "allowed", "widths", "test %", "teacher %", "bar %", "", "seconds",
            "digits: allowed", "widths", "test %", "teacher %"]
    rows = []
    for row in stored[name]["records"]:
        other = digits.get(row["record"])
        allowed = f"{row['allowed']:,}" + f" {row['kind']}" * (row["kind"] != "macs")
        rows.append([row["record"].replace("tutored", "from a LeNet-5"), row["teacher"], allowed,      # of version 0.1
                     chain(row["mean_widths"]),
                     percent(row["test_error"], 3), percent(row["teacher_test_error"], 3), f"{100 * row['bar']:.2f}",
                     tables.JUDGED[row["holds"]], f"{row['seconds']['mean']:.0f}",
                     *([f"{other['allowed']:,}", chain(other["mean_widths"]), percent(other["test_error"], 3),
                        percent(other["teacher_test_error"], 3)] if other else [""] * 4)])
    teachers = tables.teachers_text(stored[name].get("teachers", []))
    return "\n\n".join(filter(None, [table(head, rows), teachers,
                                     made_with(stored, (name, f"{name}_digits"), ("records",))]))


def published(stored: Stored, name: str) -> str:
    """What others report, from reference/published."""
    rows = [["published", "widths", "MACs", "test %", "known"]]
    rows += [[p.method, "-".join(map(str, p.widths)), f"{p.macs:,}", f"{RISE * p.over_dense}{p.test_error:.2f}",
              p.sureness] for p in published_results.published(name)]
    return "\n".join(f"    {line}" for line in tables.aligned(rows).splitlines())


def sets(stored: Stored) -> str:
    """The main job on other sets, as reference.benchmarks.other_sets prints it."""
    entries = stored["other_sets"]["sets"]
    rows = [other_sets.row(name, entry, len(entry["runs"])) for name, entry in entries.items()]
    return f"{table(other_sets.HEAD, rows)}\n\n{made_with(stored, ('other_sets',))}"


# ---- evidence


def bars(stored: Stored, name: str) -> str:
    """The lines that a command of bars printed, recomputed from its runs by reference.integrity."""
    content = stored[name.replace("-", "_")]
    lines = "\n".join(wrapped(f"    {line}", 13 * " ") for line in content["bars"])
    return f"{lines}\n\n{made_with(stored, (name.replace('-', '_'),))}"


def steps(stored: Stored, name: str) -> str:
    """A step of training beside other libraries: numbers, ratios of npkd's to theirs, in brackets what is their bar."""
    rows = stored[name]["rows"]
    peers = list(rows[0]["ratios"])
    head = ["", "npkd", *peers, "", *(f"to {peer}" for peer in peers)]
    cells = []
    for row in rows:
        values, unit = row.get("values", row.get("microseconds")), row.get("unit", "µs")
        what = row.get("what") or f"{'-'.join(map(str, row['widths']))}, batch {row['batch']}"
        ratios = [f"{ratio:.2f}" + (f" ({row['bars'][peer]})" + " MISSED" * (ratio > row["bars"][peer])
                                    if row["bars"].get(peer) else "") for peer, ratio in row["ratios"].items()]
        numbers = [f"{value:.4g}" if value < 1000 else f"{value:,.0f}" for value in values.values()]
        cells.append([what, *numbers, unit, *ratios])
    lines = "\n".join(f"    {line}".rstrip() for line in tables.aligned([head, *cells]).splitlines())
    return f"{lines}\n\n{made_with(stored, (name,))}"


def sparse(stored: Stored) -> str:
    """Sparse training and the methods beside it, a row a case."""
    rows, names = [], ("dense", "penalised", "debiased", "model", "magnitude", "gates")
    for case, by_seed in stored["sparse"]["cases"].items():
        runs = list(by_seed.values())
        some = [[run for run in runs if name in run] for name in names]
        errors = [percent(of_runs(those, name)) + f" ({len(those)} seeds)" * (len(those) < len(runs)) if those else "–"
                  for name, those in zip(names, some, strict=True)]
        sizes = [100 * run["model"]["macs"] / run["dense"]["macs"] for run in runs]
        ratio = max(run["stationarity"][1] / run["stationarity"][0] for run in runs)
        rows.append([case, str(len(runs)), *errors, f"{min(sizes):.1f} … {max(sizes):.1f} %", f"{ratio:.4f}",
                     f"{statistics.mean(run['epochs'] for run in runs):.0f}",
                     f"{statistics.mean(run['seconds'] for run in runs):.0f}"])
    head = ["case", "seeds", *(f"{name} %" for name in names[:3]), "delivered %", *(f"{name} %" for name in names[4:]),
            "size", "stationarity", "epochs", "seconds"]
    return f"{table(head, rows)}\n\n{made_with(stored, ('sparse',))}"


def path(stored: Stored) -> str:
    """The path of all layers against scikit-learn, as its command prints it."""
    lines = "\n".join(wrapped(f"    {line}", 66 * " ") for line in group_lasso.told(stored["group_lasso"]))
    return f"{lines}\n\n{made_with(stored, ('group_lasso',))}"


BARS = ("digits", "mnist-train", "mnist-smaller", "mnist-compress", "labelfree", "memory", "lenet5-compress",
        "lenet5-latency", "kills", "scale")

TABLES: Mapping[str, Callable[[Stored], str]] = {
    "first run": first_run,
    "measured": measured,
    **{f"{name} comparison": partial(comparison, name=name, part="comparison") for name in WHOLE},
    **{f"{name} post-training": partial(comparison, name=name, part="post_training") for name in WHOLE},
    **{f"{name} records": partial(records, name=name) for name in WHOLE},
    **{f"{name} published": partial(published, name=name) for name in WHOLE},
    "other sets": sets,
    "steps": partial(steps, name="train_step"),
    "steps lenet5": partial(steps, name="train_step_lenet5"),
    "path": path,
    "sparse": sparse,
    "hinton2015": studies.hinton2015,
    **{name: getattr(studies, name) for name in ("cintra2018", "berthelier2020", "compression")},
    **{name: partial(studies.errors_by_setting, name=name) for name in ("ba2014", "romero2015", "alvarez2017")},
    "survey2021": studies.survey2021,
    "losses and schemes": lambda stored: table(["word", "name", "paper", "source", "divided by", "option"], [
        [f"`{word}`", *rest, f"`{option}`"] for word, *rest, option in listed()]),
    **{f"bars {name}": partial(bars, name=name) for name in BARS},
}
"""Every generated part by the name that a page gives."""
