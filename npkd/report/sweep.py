"""The report of a sweep: a table of its runs with mean and deviation, and a link to the report of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Any

from npkd.report.numbers import chain, error, kind, number, percent
from npkd.report.page import STYLE, table
from npkd.report.path import sides


def rows(summary: Mapping[str, Any]) -> list[list[str]]:
    """A head, a row a seed, and mean ± standard deviation: errors on the test part, and of the small network more."""
    names = sides(summary["runs"][0])
    small = [*names][-1]
    words = kind(summary["runs"][0][small])
    head = ["seed", *(f"{name}: test" for name in names.values()), "validation", "widths", "MACs", "seconds"]
    body = [[str(one["seed"]), *(error(one[name], "test") for name in names), error(one[small], "validation"),
             chain(one[small]["widths"]), number(one[small]["macs"]), f"{one['seconds']:.0f}"]
            for one in summary["runs"]]

    def spread(statistic: Mapping[str, Any], part: str = "") -> str:
        mean, deviation = statistic["mean"], statistic["deviation"] or 0.0
        if not part:
            return f"{mean:,.0f} ± {deviation:,.0f}"
        if words == "R²":
            return f"{1 - mean:.4f} ± {deviation:.4f}"
        return f"{100 * mean:.2f} ± {percent(deviation, 2)}"

    means = ["mean", *(spread(summary[name]["test_error"], "test") for name in names),
             spread(summary[small]["validation_error"], "validation"), "", spread(summary[small]["macs"]),
             spread(summary["seconds"])]
    return [head, *body, means]


def html(summary: Mapping[str, Any]) -> str:
    """The page; ``summary`` is what summary.json of a sweep holds."""
    head, *body = rows(summary)
    measure = kind(summary["runs"][0][[*sides(summary["runs"][0])][-1]])
    title, linked = escape(f"{len(summary['runs'])} runs on {summary['data']}"), re.sub(
        '(?<=<th scope="row">)(\\d+)', r'<a href="seed-\1/report.html">\1</a>', table(head, body))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>npkd: {title}</title>\n<style>\n{STYLE}\nbody{{max-width:56rem}}\n</style>\n</head>\n"
        f"<body>\n<h1>{title}</h1>\n"
        f'<p class="lead">The same run with other seeds, each with its report: {measure} on the test and validation '
        "part, multiply-accumulates (MACs), and means ± one standard deviation.</p>\n"
        f"{linked}\n<h2>Do it again</h2>\n<pre>{escape(summary['command'])}</pre>\n</body>\n</html>\n")
