"""A slider along the way of a run: which inputs and neurons go. Without a script it shows what is left in the end."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from npkd.report.path import Stage, group
from npkd.surgery.survivors import listed

ROW, STOPS = 64, 60
"""Most inputs that are no picture in one row; and neurons that are drawn apart from one another; most stops."""
CAPTION = ("In colour: the inputs, and of each layer the neurons, that stay, in their first order. Without the slider, "
           "and on paper, it is what stays in the end.")


def slider(stages: Sequence[Stage], summary: Mapping[str, Any], mean: bytes = b"") -> str:
    """The HTML of the slider, whose script is page.js; "" where nothing goes, or it is not known what.

    mean    a PNG of the mean example, where examples are pictures: the inputs that stay lie over it
    It stops where something has gone, and at the end; of a long path at about STOPS of these, evenly.
    """
    known = [(k, s, s.kept) for k, s in enumerate(stages) if s.kept and s.kind != "another last λ"]
    moved = known[:1] + [b for a, b in pairwise(known) if b[2] != a[2]]
    if len(moved) < 2:
        return ""
    stops = [*moved[:-1:-(-len(moved) // STOPS)], known[-1]]
    groups = [(k, len(listed(words))) for k, words in enumerate(stops[0][2]) if words != "0"]     # one channel: no news
    width, height = struct.unpack(">II", mean[16:24]) if mean else (0, 0)                       # of the header of a PNG
    pictures = {0} if width * height == groups[0][1] and not groups[0][0] else set[int]()
    wide = {k: width if k in pictures else of if k else min(of, ROW) for k, of in groups}
    data = list[dict[str, Any]]()
    for point, stage, kept in stops:
        left = {k: listed(kept[k]) for k, _ in groups}
        data.append({"point": point, "words": stage.words(summary), "groups": [
            [f"{len(left[k])} of {of} stay", cells(left[k], wide[k], apart=of <= ROW and k not in pictures)]
            for k, of in groups]})
    last, rows, longest = data[-1], list[str](), max(of for k, of in groups if k or len(groups) == 1)
    for (k, of), (words, path) in zip(groups, last["groups"], strict=True):
        high, name = -(-of // wide[k]), group(k)
        under = f'<rect width="{wide[k]}" height="{high}"/>'
        if k in pictures:
            source = f"data:image/png;base64,{base64.b64encode(mean).decode('ascii')}"
            under = f'<image width="{wide[k]}" height="{high}" href="{source}"/>'
        rows.append(f'<p>{name}: <span>{words}</span></p><svg class="{"grid" if high > 1 else "strip"}" '
                    f'width="{max(5, round(100 * of / longest)) if k else 100}%" viewBox="0 0 {wide[k]} {high}" '
                    f'preserveAspectRatio="none" role="img" aria-label="{name}: {words}">{under}'
                    f'<path transform="translate(0 .5)" d="{path}"/></svg>')
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return (f'<figure id="path"><p class="control" hidden><label for="stage">Stage</label> <input type="range" '
            f'id="stage" max="{len(data) - 1}" value="{len(data) - 1}"></p>\n<p id="said">{escape(last["words"])}</p>\n'
            f'{"".join(rows)}\n<figcaption>{CAPTION}</figcaption></figure>\n'
            f'<script type="application/json" id="stages">{text}</script>')


def cells(kept: Sequence[int], columns: int, *, apart: bool) -> str:
    """Strokes of an SVG over one square for each of the rising numbers ``kept``, ``columns`` in a row; neighbours are
    drawn together, or ``apart``."""
    runs: list[list[int]] = []
    for n in kept:
        if runs and not apart and n == sum(runs[-1]) and n % columns:
            runs[-1][1] += 1
        else:
            runs.append([n, 1])
    return "".join(f"M{n % columns} {n // columns}h{'.9' if apart else long}" for n, long in runs)
