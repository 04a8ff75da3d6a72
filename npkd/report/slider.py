"""A slider along the way of a run: which inputs and neurons go. Without a script it shows what is left in the end."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from npkd.report.path import Stage, group
from npkd.surgery.survivors import listed

ROW = 64
"""Most inputs that are no picture in one row; and neurons that are drawn apart from one another."""
CAPTION = ("In colour: the inputs, and of each layer the neurons, that stay, in their first order. Without the slider, and "
           "on paper, it is what stays in the end.")


def slider(stages: Sequence[Stage], summary: Mapping[str, Any], mean: bytes = b"") -> str:
    """The HTML of the slider, whose script is page.js; "" where there are no two stages whose neurons are known.

    mean    a PNG of the mean example, where examples are pictures: the inputs that stay lie over it
    """
    known = [(k, s, s.kept) for k, s in enumerate(stages) if s.kept]
    if len(known) < 2:
        return ""
    whole = [len(listed(words)) for words in known[0][2]]
    width, height = struct.unpack(">II", mean[16:24]) if mean else (0, 0)                       # of the header of a PNG
    picture = width * height == whole[0]
    columns = [width if picture else min(whole[0], ROW), *whole[1:]]
    data = [{"point": k, "words": stage.words(summary),
             "groups": [[f"{len(stay)} of {of} stay", cells(stay, wide, of <= ROW)]
                        for stay, of, wide in zip(map(listed, kept), whole, columns, strict=True)]}
            for k, stage, kept in known]
    last, rows = data[-1], list[str]()
    for k, (of, wide, (words, path)) in enumerate(zip(whole, columns, last["groups"], strict=True)):
        size, name = f'width="{wide}" height="{-(-of // wide)}"', group(k)
        under = f"<rect {size}/>"
        if picture and not k:
            under = f'<image {size} href="data:image/png;base64,{base64.b64encode(mean).decode("ascii")}"/>'
        long = 100 if not k else max(5, round(100 * of / max(whole[1:])))
        rows.append(f'<p>{name}: <span>{words}</span></p><svg class="{"strip" if k or -(-of // wide) == 1 else "grid"}" '
                    f'width="{long}%" viewBox="0 0 {wide} {-(-of // wide)}" preserveAspectRatio="none" role="img" '
                    f'aria-label="{name}: {words}">{under}<path transform="translate(0 .5)" d="{path}"/></svg>')
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return (f'<figure id="path"><p class="control" hidden><label for="stage">Stage</label> <input type="range" id="stage" '
            f'max="{len(data) - 1}" value="{len(data) - 1}"></p>\n<p id="said">{escape(last["words"])}</p>\n'
            f'{"".join(rows)}\n<figcaption>{CAPTION}</figcaption></figure>\n'
            f'<script type="application/json" id="stages">{text}</script>')


def cells(kept: Sequence[int], columns: int, apart: bool) -> str:
    """Strokes of an SVG over one square for each of the rising numbers ``kept``, ``columns`` in a row; neighbours are
    drawn together, or ``apart``."""
    runs: list[list[int]] = []
    for n in kept:
        if runs and not apart and n == sum(runs[-1]) and n % columns:
            runs[-1][1] += 1
        else:
            runs.append([n, 1])
    return "".join(f"M{n % columns} {n // columns}h{0.9 if apart else long}" for n, long in runs)
