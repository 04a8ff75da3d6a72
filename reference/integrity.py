"""Are the stored runs of reference/measured what they say they are? All that can be computed again is, and a file of
sums notices the rest.

Means and deviations follow from the numbers of the seeds, differences and verdicts from two rows, multiply-accumulates,
parameters and bytes from the widths, an error is a whole number of examples, lines that bars printed follow from their
runs. ``python -m reference.results --accept`` writes the sums after runs have been stored.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from npkd.experiments import tables
from npkd.experiments.command import STUDIES
from npkd.experiments.compare import paired
from npkd.nn import cost
from npkd.nn.architectures import lenet5
from npkd.surgery.widths import geometry
from reference.benchmarks import bars

MEASURED = Path(__file__).with_name("measured")

SUMS = "SHA256SUMS"
"""Of all files of the folder."""

TESTS = {"mnist": 10_000, "digits": 1_797}
"""Examples of the test parts."""

VALIDATIONS = {"mnist": 5_999, "digits": 384}
"""Examples that the split holds out, whatever the seed."""

ERRORS = {"test_error": "test", "teacher_test_error": "test", "agreement_test": "test",
          "validation_error": "validation"}
"""Fractions of examples, by the part that they are of."""

Node = Mapping[str, Any]


def load(folder: Path) -> dict[str, Any]:
    """Every stored file by its name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def sums(folder: Path) -> str:
    """What SHA256SUMS holds, as ``sha256sum`` writes it. The line ends are those of a checkout without translation."""
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
                   for path in sorted(folder.glob("*.json")))


def nodes(value: Any, where: str = "") -> Iterator[tuple[str, Node]]:
    """Every mapping inside of a JSON value, with the way to it."""
    if isinstance(value, dict):
        yield where, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in items:
        yield from nodes(part, f"{where}/{name}")


def near(one: float | None, other: float | None) -> bool:
    """Are they the same number but for rounding?"""
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


@cache
def cost_of(widths: tuple[int, ...], pixels: int) -> cost.Cost:
    """Of a perceptron, or of a LeNet-5 on square pictures where a width of one grey channel comes first."""
    if widths[0] != 1 or len(widths) != 5:
        return cost.of_widths(widths)
    network = lenet5(np.random.default_rng(0), shape=(pixels, pixels, 1))
    return cost.of_widths(widths, geometry(network))


def of_statistics(node: Node) -> Iterator[str]:
    """Mean and deviation of the numbers by seed."""
    if "by_seed" in node and "mean" in node:
        for name, value in tables.statistic(node["by_seed"]).items():
            if name != "by_seed" and not near(value, node[name]):
                yield f"{name} is {node[name]}, of the seeds {value}"
    if "mean_widths" in node and "widths" in node:
        widths = [round(sum(w) / len(w)) for w in zip(*node["widths"], strict=True)]
        if widths != node["mean_widths"]:
            yield f"mean_widths is {node['mean_widths']}, of the seeds {widths}"


def of_networks(node: Node, pixels: int) -> Iterator[str]:
    """What a network's widths cost, one network or one of each seed."""
    widths, macs = node.get("widths"), node.get("macs")
    if not isinstance(widths, list) or macs is None:
        return
    each = widths if isinstance(widths[0], list) else [widths]
    for name in ("macs", "parameters", "bytes"):
        said = node.get(name, [])
        said = said["by_seed"] if isinstance(said, dict) else [] if said == [] else [said]
        for one, value in zip(each, said, strict=False):
            if getattr(cost_of(tuple(one), pixels), name) != value:
                yield f"{name} is {value}, of the widths {one} {getattr(cost_of(tuple(one), pixels), name)}"


def of_errors(node: Node, sizes: Mapping[str, int]) -> Iterator[str]:
    """Errors are whole numbers of examples."""
    for name, part in ERRORS.items():
        said = node.get(name)
        values = said["by_seed"] if isinstance(said, dict) else [] if said is None else [said]
        for value in values:
            if not 0 <= value <= 1 or abs(value * sizes[part] - round(value * sizes[part])) > 1e-6:
                yield f"{name} is {value}: {value * sizes[part]:.4f} of {sizes[part]} examples"


def of_table(rows: Sequence[Node]) -> Iterator[str]:
    """Rows of a comparison: seeds, budgets, the difference to ours and its verdict, one teacher for all."""
    for row in rows:
        counts = {len(value["by_seed"]) for value in row.values() if isinstance(value, dict) and "by_seed" in value}
        if counts != {len(row["seeds"])}:
            yield f"{name_of(row)}: {len(row['seeds'])} seeds, and numbers of {sorted(counts)}"
        allowed, kind = row.get("macs_allowed", row.get("allowed")), row.get("kind", "macs")
        if allowed is not None and kind in row and max(row[kind]["by_seed"]) > allowed:
            yield f"{name_of(row)}: {max(row[kind]['by_seed'])} {kind}, more than {allowed}"
        if "holds" in row and row["holds"] != (row["test_error"]["mean"] <= row["bar"]):
            yield f"{name_of(row)}: holds is {row['holds']}"
        if "minus_ours" in row:
            ours = next(r for r in rows if r["method"] == "ours" and r["macs_allowed"] == row["macs_allowed"])
            found, said = paired(row["test_error"]["by_seed"], ours["test_error"]["by_seed"]), row["minus_ours"]
            same = [near(a, b) for a, b in zip((found.mean, *(found.interval or ())),
                                               (said["mean"], *(said["interval"] or ())), strict=True)]
            if not all(same) or found.verdict != said["verdict"]:
                yield f"{name_of(row)}: minus_ours is {said}, of the seeds {found}"
            if row["teacher_test_error"]["by_seed"] != ours["teacher_test_error"]["by_seed"]:
                yield f"{name_of(row)}: another teacher than ours"


def name_of(row: Node) -> str:
    """A row in words."""
    return f"{row.get('method', row.get('record', row.get('teacher')))}, {row.get('macs_allowed', row.get('allowed'))}"


def of_run(run: Node) -> Iterator[str]:
    """The summary of one run of npkd: its errors by its own split, its agreement, its target."""
    sizes = run["split"]
    for who, node in run.items():
        if isinstance(node, dict) and "test_error" in node:
            yield from (f"{who}: {fault}" for fault in of_errors(node, sizes))
            if "bound" in run and who != "dense" and node["macs"] > run["bound"]:
                yield f"{who} has {node['macs']}, more than {run['bound']}"
    yield from of_errors({"test_error": run.get("agreement", 0.0)}, sizes)
    target = run.get("target", {})
    if target.get("kind") == "macs" and run["student"]["macs"] > target["bound"]:
        yield f"student has {run['student']['macs']}, more than {target['bound']}"


def of_file(name: str, content: Node) -> Iterator[str]:
    """Everything that is wrong inside of one file."""
    data = "digits" if name.endswith("digits") or name == "labelfree" else "mnist"
    sizes, pixels = {"test": TESTS[data], "validation": VALIDATIONS[data]}, 16 if data == "digits" else 28
    for where, node in nodes(content):
        yield from (f"{where}: {fault}" for fault in (*of_statistics(node), *of_networks(node, pixels)))
        if "split" in node:
            yield from (f"{where}: {fault}" for fault in of_run(node))
        elif "by_seed" in str(node.get("test_error")) or name == "labelfree":
            yield from (f"{where}: {fault}" for fault in of_errors(node, sizes))
    for part in ("comparison", "post_training", "records", "teachers"):
        yield from (f"{part}: {fault}" for fault in of_table(content.get(part, [])))
    command = bars.COMMANDS.get(str(content.get("command")).split()[-1])
    if command and "bars" in content:
        judge = bars.ProgressBars(quiet=True)
        command(judge, content["runs"])
        yield from (f"bars: {said!r} is {found!r} of the runs"
                    for said, found in zip(content["bars"], judge.lines, strict=True) if said != found)
    if name in STUDIES:
        yield from of_study(name, content)
    if "supports" in content:
        yield from of_peers(content)


def of_study(name: str, content: Node) -> Iterator[str]:
    """A published table run again: errors of its runs, one of each setting and seed, and its bars."""
    for run in content["runs"]:
        numbers, where = content["settings"].get(run["setting"], {}), f"{run['setting']}, seed {run['seed']}"
        if "outputs" in numbers:                            # judged by the examples of some classes, however many
            continue
        sizes = {"test": TESTS[numbers.get("data", "mnist")]}
        for node in (run, run.get("corrected", {})):
            yield from (f"{where}: {fault}" for fault in of_errors(node, sizes))
            if "errors" in node and node["errors"] != round(node["test_error"] * sizes["test"]):
                yield f"{where}: errors is {node['errors']}, of {node['test_error']}"
    if len({(run["setting"], run["seed"]) for run in content["runs"]}) < len(content["runs"]):
        yield "runs: a setting has two runs with one seed"
    if (found := STUDIES[name].bars(content["runs"])) != content["bars"]:
        yield f"bars: they are {content['bars']}, of the runs {found}"
    for part, whole in (("seconds", "hours"), ("cpu_seconds", "core_hours")):
        if not near(round(sum(run[part] for run in content["runs"]) / 3600, 3), content[whole]):
            yield f"{whole} is {content[whole]}, of the runs {sum(run[part] for run in content['runs']) / 3600}"


def of_peers(content: Node) -> Iterator[str]:
    """The path against another library."""
    total = content["npkd"]["data"] + sum(content["npkd"]["paths"])
    if not near(content["seconds"], total):
        yield f"seconds is {content['seconds']}, of the parts {total}"
    for peer, ratio in content["ratios"].items():
        if not near(ratio, total / content[peer]["seconds"]):
            yield f"ratio to {peer} is {ratio}, of the seconds {total / content[peer]['seconds']}"


def of_sums(folder: Path) -> list[str]:
    """Files that are not those of the sums."""
    path = folder / SUMS
    stored = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = {line.split()[1] for line in set(sums(folder).splitlines()) ^ set(stored)}
    return [f"{name}: {SUMS} has another sum (python -m reference.results --accept, if it was stored on purpose)"
            for name in sorted(names)]


def faults(folder: Path = MEASURED) -> list[str]:
    """Everything that is wrong with the stored runs of a folder: recomputed numbers, then the sums."""
    found = [f"{name}.json{fault}" if fault.startswith("/") else f"{name}.json: {fault}"
             for name, content in load(folder).items() for fault in of_file(name, content)]
    return list(dict.fromkeys([*found, *of_sums(folder)]))
