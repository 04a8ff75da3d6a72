"""The report of a run: one page of HTML. No file beside it, nothing from the network; its script is page.js."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from npkd.pipeline.result import largest
from npkd.report.numbers import chain, error, kind, number, percent, power, taught
from npkd.report.path import History, group, path_of, sides
from npkd.report.settings import settings, untrained
from npkd.report.slider import slider
from npkd.report.words import CAPTIONS, DISTILLED, MEANING, PREDICTED, SPARSE

STYLE = """
:root{color-scheme:light;--paper:#fff;--ink:#222;--soft:#4f4f4f;--line:#ddd;--code:#f4f4f2;--stays:#0072b2}
@media screen and (prefers-color-scheme:dark){:root{color-scheme:dark;--paper:#161616;--ink:#e4e4e4;--soft:#b4b4b4;
--line:#3c3c3c;--code:#242424;--stays:#56b4e9}figure img,[data-drawn],image{filter:invert(.9) hue-rotate(180deg)}}
*{box-sizing:border-box} p{margin:.5rem 0} .lead{font-size:1.15rem}
body{margin:0 auto;max-width:46rem;padding:2.5rem 1.1rem 4rem;background:var(--paper);color:var(--ink);
overflow-wrap:break-word;font:17px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,Ubuntu,sans-serif}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .6rem;letter-spacing:-.01em} .wide{overflow-x:auto;margin:.8rem 0}
h2{font-size:1.2rem;margin:2.8rem 0 .5rem;padding-top:.6rem;border-top:1px solid var(--line)}
.small,figcaption,dd{color:var(--soft);font-size:.92rem} summary{cursor:pointer;margin:.5rem 0}
figcaption{margin-top:.4rem} table{border-collapse:collapse;width:100%;font-size:.94rem;
font-variant-numeric:tabular-nums}
th,td{padding:.38rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;
vertical-align:baseline} th:first-child,td:first-child{text-align:left;padding-left:0}
.words{text-align:left;white-space:normal} thead th{border-bottom:2px solid var(--ink);font-weight:600;
vertical-align:bottom} tbody th{font-weight:400} figure{margin:1.2rem 0 2.2rem}
figure img,[data-drawn]{display:block;width:100%;max-width:34rem;height:auto;margin:0 auto}
[data-stage] use{stroke-width:2} [data-stage]:focus{outline:none} [data-stage]{cursor:pointer}
:is([data-stage]:hover,[data-stage]:focus,.now) use{fill-opacity:.2!important;stroke-opacity:1!important}
.control{display:flex;gap:.8rem} .control[hidden]{display:none} input{flex:1;accent-color:var(--stays)}
#said{min-height:3.1em} #pointed{min-height:1.6em} .strip{display:block;height:1rem} .strip rect{fill:var(--line)}
.grid{display:block;outline:1px solid var(--line);max-width:17rem;height:auto;shape-rendering:crispEdges}
image{image-rendering:pixelated;opacity:.6}
#path path{stroke:var(--stays);fill:none} #path image+path{stroke-opacity:.6}
pre{font:.88rem/1.5 ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;background:var(--code);border-radius:4px;
padding:.8rem 1rem;white-space:pre-wrap} dt{font-weight:600;margin-top:.7rem} dd{margin:0}
@media(max-width:34rem){body{font-size:16px;padding-top:1.4rem}h1{font-size:1.4rem}
th,td{padding:.35rem .3rem;white-space:normal}table{font-size:.82rem}}
@media print{body{max-width:none}h2{break-after:avoid}figure,table{break-inside:avoid}
.control,#pointed,[data-stage]{display:none}figure img,[data-drawn]{max-width:25rem}
#path{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
""".strip()
SCRIPT = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
POLICY = ("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src "
          f"'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode('ascii')}'")
"""Of a page's content: nothing is requested, and no other script runs."""


def headline(summary: Mapping[str, Any]) -> str:
    """The result in one line of words."""
    if "model" in summary:
        m = summary["model"]
        return (f"{number(m['macs'])} multiply-accumulates, test {kind(m)} {error(m, 'test')}, "
                f"validation {kind(m)} {error(m, 'validation')}")
    t, s = summary["teacher"], summary["student"]
    errors = [f"{part} {kind(t)} {error(t, part, 1)} → {error(s, part, 1)}" for part in parts(t)[:1]]
    errors = errors or [f"both say the same on {percent(summary['agreement'])}"]
    return (f"{t['widths'][0]} → {s['widths'][0]} inputs, {number(t['macs'])} → {number(s['macs'])} "
            f"multiply-accumulates ({percent(s['macs'] / t['macs'])}), {errors[0]}")


def parts(numbers: Mapping[str, Any]) -> list[str]:
    """The parts of the data on which errors are known: in Python there is no test part, and there may be no labels."""
    return [part for part in ("test", "validation") if f"{part}_error" in numbers]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], words: bool = False) -> str:
    """A table; everything is escaped. The first cell of a row names it; ``words``: the others are text, not numbers."""
    kind = ' class="words"' if words else ""
    top, cell = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name in head), f"<td{kind}>"
    body = "".join(f'<tr><th scope="row">{escape(first)}</th>' + "".join(f"{cell}{escape(c)}</td>" for c in rest)
                   + "</tr>\n" for first, *rest in rows)
    header = f"<thead><tr>{top}</tr></thead>\n" if head else ""
    return f'<div class="wide" tabindex="0"><table>{header}<tbody>\n{body}</tbody></table></div>'


COSTS = {"parameters": "parameters", "nonzeros": "parameters that are not zero", "macs": "multiply-accumulates",
         "nonzero_macs": "multiply-accumulates of weights that are not zero", "additions": "additions",
         "shift_additions": "additions without multiplications", "shifts": "shifts without multiplications",
         "arithmetic": "arithmetic", "memory": "bytes of the weights in memory", "raw": "bytes of the .npz",
         "coded": "bytes of the .npkz"}
"""What a cost card counts (npkd.pipeline.cost_card), in words."""


def compared(teacher: Mapping[str, Any], student: Mapping[str, Any]) -> list[list[str]]:
    """Rows teacher, student, ratio; of errors the difference in points, of R² as it is."""
    rows = [["widths", chain(teacher["widths"]), chain(student["widths"]), ""]]
    for part in parts(teacher):
        more = student[f"{part}_error"] - teacher[f"{part}_error"]
        change = f"{-more:+.4f}" if "rmse" in teacher else f"{100 * more:+.2f} points"
        rows.append([f"{part} {kind(teacher)}", error(teacher, part), error(student, part), change])
    if teacher.get("rmse"):
        rows.append(["test RMSE", *(f"{m['rmse']:.4g}" for m in (teacher, student)),
                     percent(student["rmse"] / teacher["rmse"])])
    for key, words in {"macs": "multiply-accumulates", "parameters": "parameters", "bytes": "bytes"}.items():
        rows.append([words, number(teacher[key]), number(student[key]), percent(student[key] / teacher[key])])
    return rows


def measured(summary: Mapping[str, Any], names: Mapping[str, str]) -> list[list[str]]:
    """Rows of bytes of the files and of latencies, of two networks with the ratio; none from version 0.2."""
    if "latency" not in summary:
        return []
    columns, seconds = [("bytes of the file", summary["files"])], summary["latency"]["seconds"]
    for k, what in enumerate(("1 example", f"{summary['latency']['batch']} examples")):
        columns.append((f"latency of {what}, ms", {name: 1000 * times[k] for name, times in seconds.items()}))
    return [[words, *(number(values[name]) for name in names),
             *(percent(values[b] / values[a]) for a, b in pairwise(names))] for words, values in columns]


def certificate(layer: Mapping[str, Any]) -> list[str]:
    """λ, duality gap, relative error and neurons proved, of a layer; dashes for channels: they have no λ."""
    dash, error = "\N{EN DASH}", power(layer["relative_error"])
    if layer["duality_gap"] is None:
        return [dash, dash, error, dash]
    return [power(layer["lambda"]), power(layer["duality_gap"]), error, str(layer["proved"])]


def compression(summary: Mapping[str, Any]) -> list[str]:
    """What only a compression has: layers with their certificates, and removal."""
    if not summary["layers"]:
        why = "." if summary.get("steps") else ": every smaller network was worse than the target allows."
        return [f"<p>No neuron was removed{why}</p>"]
    rows = [[group(k), f"{a['kept']}\N{NO-BREAK SPACE}of\N{NO-BREAK SPACE}{a['of']}", *certificate(a)]
            for k, a in enumerate(summary["layers"])]
    gaps, sentences, reasons = [a["duality_gap"] for a in summary["layers"]], [], ("dead", "constant", "duplicate")
    if (gap := largest(gaps)) is not None:
        sentences.append("Which neurons stay is the solution of a convex problem, layer by layer. At its λ, before the "
                         f"refit, no other weights are better by more than {power(gap)} of what the objective is with "
                         "nothing kept.")
    if None in gaps:
        sentences.append("Channels, which are read through several weights each, are eliminated one after the other.")
    if untrained(summary):
        sentences.append("The student was not trained: its layers were fitted again to what they gave before.")
    return [f"<p>{' '.join(sentences)}</p>",
            table(["neurons", "kept", "λ", "duality gap", "relative error", "proved"], rows),
            "<h2>Removal</h2>",
            f"<p>Cutting the neurons out changed no output by more than {power(summary['removal_difference'])} ("
            f"{power(summary['removal_difference_float64'])} with the same float32 parameters widened to float64).</p>",
            table(["neurons", *reasons], [[group(k), *(str(counts[why]) for why in reasons)]
                                          for k, counts in enumerate(summary["removals"])]),
            table(["round", "widths", "budget", "size"],
                  [[str(k), chain(r["widths"]), number(round(r["budget"])), number(r["size"])]
               for k, r in enumerate(summary["rounds"], 1)])]


def differing(summary: Mapping[str, Any], names: Mapping[str, str], picture: str) -> str:
    """The test examples on which the networks differ, or which the only one gets wrong, with their ``picture``."""
    found = summary["differing"]
    words = f"{found['count']} test examples."
    if len(names) > 1:
        same = percent(1 - found["count"] / sum(summary["per_class"]["examples"]), 2)
        right = ", ".join(f"the {side} is right {found['right'][name]} times" for name, side in names.items())
        words = f"On {same} of the test examples both say the same. They differ on {found['count']}; there {right}."
    listed = table(["test example", "label", *names.values()], [[*map(str, r.values())] for r in found["examples"]])
    folded = f"<details{'' if picture else ' open'}><summary>Table</summary>{listed}</details>"
    return f"<p>{words}</p>{picture}{folded if found['examples'] else ''}"


def balance(summary: Mapping[str, Any]) -> str:
    """The terms of the last epoch, and the neurons that are dead after it."""
    terms = [[name, *("none" if number is None else f"{number:.3g}" for number in term.values())]
             for name, term in summary["balance"].items()]
    dead = ", ".join(f"{percent(share)} of activation {int(i) + 1}" for i, share in summary["dead"].items()) or "none"
    return (table(["term, last epoch", "value", "gradient norm", "cosine to the labels"], terms) * bool(terms)
            + f"<p>Dead after the last epoch: {dead}.</p>")


def costs(cards: Mapping[str, Mapping[str, Any]]) -> str:
    """Counts of teacher and student side by side, and an estimate of the energy of a prediction."""
    def cell(value: Any) -> str:
        return value if isinstance(value, str) else "none" if value is None else number(value)

    rows = [[words, *(cell(card[key]) for card in cards.values())] for key, words in COSTS.items()]
    rows.append(["energy of a prediction, µJ", *(f"{card['picojoules'] / 1e6:.3g}" for card in cards.values())])
    return table(["one example", *cards], rows) + (
        "<p>Energy is an <strong>estimate</strong> from constants of 45 nm (Horowitz 2014), for arithmetic and for "
        "fetching each weight once; it is no measurement, and a device takes more.</p>")


def steps(reports: Sequence[Mapping[str, Any]]) -> str:
    """The steps of a chain, each with its errors on the validation part and what the network is behind it."""
    head = ["step", "validation error, cut", "distilled", "parameters", "multiply-accumulates", "bytes of the file"]
    rows = [[r["step"], percent(r["cut"], 2), percent(r["error"], 2), number(r["parameters"]), number(r["macs"]),
             number(r["bytes"])] for r in reports]
    return "<p>Parameters and multiply-accumulates are those of weights that are not zero.</p>" + table(head, rows)


def by_phase(phases: Mapping[str, Mapping[str, Any]], delivered: Mapping[str, Any]) -> str:
    """The errors of the networks on the way, by their names."""
    head = ["", f"test {kind(delivered)}", f"validation {kind(delivered)}"]
    return table(head, [[f"{name}{' (delivered)' * (m == delivered)}", error(m, "test"), error(m, "validation")]
                        for name, m in phases.items()])


def drawn(pictures: Mapping[str, bytes], curve: str) -> dict[str, str]:
    """The figures by their names, with captions; "" where there is none."""
    shown = dict.fromkeys(CAPTIONS, "")
    for name, (caption, alt) in CAPTIONS.items():
        data = base64.b64encode(pictures.get(name, b"")).decode("ascii")
        figure = f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">' if data else ""
        if name == "size" and curve:
            figure = f'{curve}<p id="pointed" class="small"></p>'
        if figure:
            shown[name] = f"<figure>{figure}<figcaption>{escape(caption)}</figcaption></figure>"
    return shown


def html(summary: Mapping[str, Any], pictures: Mapping[str, bytes], history: History = (), curve: str = "") -> str:
    """The page of a run. ``summary``: what summary.json holds; ``pictures``: PNGs by the names of CAPTIONS, and "mean",
    the mean example; ``history``: lines of history.jsonl; ``curve``: of figures.curve, in the place of "size"."""
    names, shown = sides(summary), drawn(pictures, curve)
    moved = slider(path_of(history, summary), summary, pictures.get("mean", b""))
    large, small = [summary[name] for name in (*names, *names)][:2]
    head, rows, meaning = ["", *names.values()], compared(large, small), MEANING
    part, title = percent(small["macs"] / large["macs"]), f"A network trained on {summary['data']}"
    if "layers" in summary:
        title = f"A network for {summary['data']}, compressed to {part}"
    elif "teacher" in summary:
        title, meaning = f"A student for {summary['data']}, with {part} of its teacher's work", DISTILLED
    elif "sparse" in summary:
        title, meaning = f"A sparse network trained on {summary['data']}, {part} of the dense one", SPARSE
    else:
        rows, meaning = [row[:2] for row in rows], MEANING[:3]
    head += [f"{b} / {a}" for a, b in pairwise(names.values())]
    sections = {" and ".join(names.values()).capitalize(): table(head, [*rows, *measured(summary, names)])}
    if phases := [name for name in ("dense", "penalised", "debiased") if name in summary and name not in names]:
        sections["Phases"] = by_phase({name: summary[name] for name in phases}, small)
    sections |= {"Error against size": shown["size"], "What stays": moved}
    if "per_class" in summary:                                                         # not in version 0.2
        wrong, counts = summary["per_class"], summary["per_class"]["examples"]
        head = ["class", "examples", *(f"{side}: wrong" for side in names.values())]
        sections["Errors of each class"] = table(head, [
            [str(c), number(n), *(f"{wrong[name][c]} ({percent(wrong[name][c] / max(n, 1))})" for name in names)]
            for c, n in enumerate(counts)])
        where = "Where they differ" if len(names) > 1 else "What it gets wrong"
        sections[where] = differing(summary, names, shown["examples"])
    if "predicted" in summary:
        sections["Predicted and measured"] = shown["predicted"]
        meaning = PREDICTED + meaning[1:]
    if (shown["pixels"] and not moved) or ("mean" not in pictures and summary.get("kept_inputs")):
        sections["Inputs"] = shown["pixels"] or (
            f"<p>The small network reads the inputs {escape(summary['kept_inputs'])}, counted from 0.</p>")
    if "balance" in summary:
        sections |= {"Balance of the terms": shown["balance"] + balance(summary), "Layers alike": shown["cka"]}
    if "costs" in summary:
        sections["Costs"] = costs(summary["costs"])
    if summary.get("steps"):
        sections["Steps"] = steps(summary["steps"])
    if "layers" in summary:
        sections["Layers and their certificates"] = "\n".join([*compression(summary), shown["path"]])
    sections |= {
        "Training": shown["training"],
        "Do it again": f"<pre>{escape(str(summary['command']))}</pre>\n"
                       '<p class="small">Files by their own names; --out, --overwrite and --quiet, which change no '
                       "number, are left out. The same command, versions and machine give the same networks.</p>",
        **({} if "split" not in summary else {"Settings": "<details><summary>All settings, and what they mean</summary>"
                    f"{table(['setting', 'value', 'meaning'], settings(summary), words=True)}</details>"}),
        "What the numbers mean": "\n".join(f"<dt>{escape(w)}</dt><dd>{escape(text)}</dd>" for w, text in meaning)
                                 .join(("<dl>", "</dl>"))}
    body = "\n".join(f"<h2>{name}</h2>\n{text}" for name, text in sections.items() if text)
    body += f"\n<script>{SCRIPT}</script>" if moved or curve else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>npkd: {escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        f'<p class="lead">{escape(". ".join([headline(summary), *taught(summary)]))}</p>\n{body}\n</body>\n</html>\n')
