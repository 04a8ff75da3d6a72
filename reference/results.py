"""Writes the numbers of README and docs from reference/measured, or says where they differ.

    python -m reference.results             rewrite the generated parts
    python -m reference.results --check     exit code 1 where a page, a stored run or a number in prose is wrong
    python -m reference.results --accept    after runs have been stored: write reference/measured/SHA256SUMS, then pages

Two forms stand in the pages. A table, whose NAME is a row of reference.tables.TABLES:

    <!-- results: NAME -->
    <!-- end -->

A number in a sentence, with the way to it behind it; decimals and the deviation are kept as the page has them:

    ours has 1.324 ± 0.030<!--= lenet300/comparison/9560/ours --> % there

What is no measurement (a bar, a published result, a setting) stands in ALLOWED with its reason; any other decimal
number, and any other of percent, points or time, in the prose of README and docs/results is a fault.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from npkd.experiments.tables import statistic
from reference.integrity import MEASURED, SUMS, faults, load, sums
from reference.tables import TABLES, Stored

ROOT = Path(__file__).resolve().parents[1]

PAGES = ("README.md", "docs/evidence.md", "docs/results/*.md", "docs/book/*.md")

BLOCK = re.compile(r"(<!-- results: ([^\n]+?) -->\n).*?(<!-- end -->)", re.DOTALL)
VALUE = re.compile(r"([+-]?)(\d[\d,]*(?:\.(\d+))?)( ± \d+\.\d+)?<!--= ([^>]+?) -->")

FRACTIONS = ("error", "minus_ours", "agreement", "bar", "interval", "simple")
"""What is stored as a fraction and told in percent or points."""

NUMBER = re.compile(r"(?<![\w.,/-])(?:\d[\d,]*\.\d+|\d[\d,]*(?= (?:%|points?|s|seconds|minutes|hours)\b))"
                    r"(?: ± \d+\.\d+)?")
"""In prose: any decimal number, and whole numbers of percent, points or time."""

NO_PROSE = re.compile(r"<!-- results: .*?<!-- end -->|^```.*?^```|^    [^\n]*$|\$\$.*?\$\$|`[^`\n]*`|\]\([^)]*\)"
                      r"|\$[^$\n]+\$|<!--(?!=).*?-->", re.DOTALL | re.MULTILINE)

ALLOWED: Mapping[str, Mapping[str, str]] = {
    "README.md": {"4.0": "a licence"},
    "docs/results/lenet300.md": {"95": "of the intervals", "0.056": "one of 1,797 examples"},
    "docs/results/lenet5.md": {"0.7": "ε of (T11)", "0.80": "a bar", "0.09": "√(p(1 − p)/10,000) at p = 0.8 %",
                               "0.8": "dense networks, recalled", "0.9": "dense networks, recalled"},
    "docs/results/other-data.md": {"2.8": "one of 36 examples", "0.9": "one of 113 examples", "1.7": "of 1.7e9"},
}
"""Numbers in prose that are no measurement of ours, with the reason."""


UNCHECKED = ("docs/evidence.md", "docs/book/")
"""Prose with tolerances and worked examples, which tests/test_docs.py holds against the code; numbers with their way
are checked there too."""


def value_at(stored: Stored, way: str) -> Mapping[str, Any]:
    """The statistic of ``file/part/…``, of one number too; ``A - B`` is the difference of two means.

    In a list of rows a step is a budget or a name, in a list of runs the next steps are taken in every run. A row
    without a further step stands for its test error.
    """
    way = " ".join(way.split())
    if " - " in way:
        one, other = (value_at(stored, part) for part in way.split(" - "))
        return {"mean": one["mean"] - other["mean"], "deviation": None, "fraction": one["fraction"]}
    steps = way.split("/")
    node = walked(stored, steps)
    if isinstance(node, dict) and "mean" not in node and "test_error" in node:
        node, steps = node["test_error"], [*steps, "test_error"]
    if not isinstance(node, dict):
        node = statistic(node) if isinstance(node, list) else {"mean": node, "deviation": None}
    return {**node, "fraction": any(word in step for step in steps for word in FRACTIONS)}


def walked(node: Any, steps: Sequence[str]) -> Any:
    """Where the steps lead from a JSON value. Raises KeyError where that is nowhere."""
    for k, step in enumerate(steps):
        if isinstance(node, dict) and step not in node and all("split" in one for one in node.values()):
            node = list(node.values())
        if isinstance(node, dict):
            node = node[step]
        elif step.isdigit() and int(step) < len(node):
            node = node[int(step)]
        elif "split" in node[0] or "copies" in node[0]:
            return [walked(one, steps[k:]) for one in node]
        else:
            names = ("macs_allowed", "allowed", "method", "record", "teacher")
            rows = [row for row in node if step in {str(row[name]) for name in names if name in row}]
            if not rows:
                raise KeyError(step)
            node = rows[0] if len(rows) == 1 else rows
    return node


def rewritten(text: str, stored: Stored) -> str:
    """A page with its generated parts and numbers as the stored runs have them."""
    def number(match: re.Match[str]) -> str:
        sign, _, decimals, spread, way = match.groups()
        found = value_at(stored, way)
        scale, digits = 100 if found["fraction"] else 1, len(decimals or "")
        mean = scale * found["mean"]
        shown = f"{mean:+,.{digits}f}" if sign else f"{abs(mean):,.{digits}f}"
        return shown + (f" ± {scale * found['deviation']:.{digits}f}" if spread else "") + f"<!--= {way} -->"

    text = BLOCK.sub(lambda match: f"{match[1]}{TABLES[match[2]](stored)}\n{match[3]}", text)
    return VALUE.sub(number, text)


def pages(root: Path) -> list[Path]:
    """All that may hold generated parts."""
    return [path for pattern in PAGES for path in sorted(root.glob(pattern))]


def unproved(name: str, text: str) -> list[str]:
    """Numbers in the prose of a page that no stored run stands behind and ALLOWED does not name."""
    prose = VALUE.sub("", NO_PROSE.sub(lambda match: "\n" * match[0].count("\n"), text))
    allowed = ALLOWED.get(name, {})
    return [f"{name}:{k}: {match[0]!r} is a number of no stored run: give it its way, <!--= file/part/… -->"
            for k, line in enumerate(prose.splitlines(), 1) for match in NUMBER.finditer(line)
            if match[0] not in allowed]


def of_page(name: str, text: str, stored: Stored) -> list[str]:
    """What is wrong on a page: the first line that is not as the stored runs have it, and prose without proof."""
    found, right = list[str](), rewritten(text, stored)
    if text != right:
        lines = zip_longest(text.splitlines(), right.splitlines(), fillvalue="")
        k, is_, must = next((k, a, b) for k, (a, b) in enumerate(lines, 1) if a != b)
        found.append(f"{name}:{k}: is {is_[:90]!r}, must be {must[:90]!r} (python -m reference.results)")
    return found + ([] if name.startswith(UNCHECKED) else unproved(name, text))


def wrong(root: Path = ROOT) -> list[str]:
    """Everything that is wrong in a checkout: stored runs, pages, prose."""
    measured = root / MEASURED.relative_to(ROOT)
    stored = load(measured)
    return faults(measured) + [fault for path in pages(root) for fault in of_page(
        path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"), stored)]


def main() -> int:
    """Rewrite, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where something is wrong")
    parser.add_argument("--accept", action="store_true", help="the stored runs are meant: write their sums")
    options = parser.parse_args()
    if options.accept:
        (MEASURED / SUMS).write_text(sums(MEASURED), encoding="utf-8")
    if not options.check:
        stored = load(MEASURED)
        for path in pages(ROOT):
            path.write_text(rewritten(path.read_text(encoding="utf-8"), stored), encoding="utf-8")
    found = wrong()
    print("\n".join(found) or "README, docs and reference/measured agree")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
