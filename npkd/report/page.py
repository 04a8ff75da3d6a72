"""The report of a run: one page of HTML. No script, no file beside it, nothing from the network."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from npkd.pipeline.recipe import OF_STUDENT, OF_TRAINED
from npkd.pipeline.result import largest
from npkd.report import sparse

CAPTIONS: Mapping[str, tuple[str, str]] = {
    "training": ("Training",
                 "Loss and validation error, epoch by epoch. A dotted line stands wherever neurons were removed."),
    "kept": ("Neurons kept", "How many of the teacher's inputs and neurons each layer of the student keeps."),
    "path": ("The path", "For each layer the part of its output that is lost when only so many of its neurons stay, "
                         "from the last round. Where a curve is flat, neurons cost nothing to remove; the budget is "
                         "spent where it is steep."),
    "sparse path": ("Error against size", "The validation error after every epoch with a penalty, against what is left "
                                          "of the network. While a target is met the size goes up and down."),
    "pixels": ("Inputs that survive", "Blue: pixels that the student reads. The others are never looked at again."),
    "weights": ("First-layer weights", "Each small picture is one neuron: what raises it (orange) and what lowers it "
                                       "(purple). Grey pixels were removed. By falling norm."),
}
"""Title and caption of each figure, by the name of its file."""

MEANING = (
    ("Test error", "Share of the test examples that are put into a wrong class. They were looked at once, after "
                   "everything was decided."),
    ("Multiply-accumulates", "Products added up for one example, biases not counted: what a forward pass costs."),
    ("λ", "Weight of the penalty in the layer's convex problem: the larger, the fewer neurons stay."),
    ("Duality gap", "Certificate of the solution: how far it can at most be from the best one, relative to the "
                    "objective with nothing kept. The largest over all rounds."),
    ("Relative error", "Share of the variance of what the layer gives on, weighted by its effect on the logits, that "
                       "the kept neurons do not reproduce; after the refit, last round."),
    ("Proved", "Removed neurons that the certificate itself proves zero in the exact solution; last round."),
    ("Removal difference",
     "Largest change of an output when neurons that provably change nothing were cut out: rounding only."),
    ("Dead, constant, duplicate", "Why a neuron could be cut out: nobody reads it; its value never changes, so it "
                                  "moved into the next bias; another neuron computes the same and took over its "
                                  "weights."),
    ("Agreement", "Share of the test examples that teacher and student put into the same class."),
)
"""Words of the tables and what they mean."""

STYLE = """
:root{color-scheme:light} *{box-sizing:border-box}
body{margin:0 auto;max-width:46rem;padding:2.5rem 1.1rem 4rem;background:#fff;color:#222;overflow-wrap:break-word;
font:17px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,Ubuntu,sans-serif}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .6rem;letter-spacing:-.01em}
h2{font-size:1.2rem;margin:2.8rem 0 .5rem;padding-top:.6rem;border-top:1px solid #ddd}
p{margin:.5rem 0} .lead{font-size:1.15rem;color:#111} .small,figcaption,dd{color:#555;font-size:.92rem}
.wide{overflow-x:auto;margin:.8rem 0}
table{border-collapse:collapse;width:100%;font-size:.94rem;font-variant-numeric:tabular-nums}
th,td{padding:.38rem .6rem;text-align:right;border-bottom:1px solid #e4e4e4;white-space:nowrap;vertical-align:baseline}
th:first-child,td:first-child{text-align:left;padding-left:0} td.words{text-align:left;white-space:normal}
thead th{border-bottom:2px solid #222;font-weight:600;vertical-align:bottom} tbody th{font-weight:400}
figure{margin:1.2rem 0 2.2rem} figure img{display:block;width:100%;height:auto} figcaption{margin-top:.4rem}
code,pre{font:.88rem/1.5 ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;background:#f4f4f2;border-radius:4px}
code{padding:.1rem .3rem} pre{padding:.8rem 1rem;white-space:pre-wrap}
dt{font-weight:600;margin-top:.7rem} dd{margin:0}
@media(max-width:34rem){body{font-size:16px;padding-top:1.4rem}h1{font-size:1.4rem}
th,td{padding:.35rem .3rem;white-space:normal}table{font-size:.82rem}}
@media print{body{max-width:none}h2{break-after:avoid}figure,table{break-inside:avoid}}
""".strip()


def captioned(pictures: Mapping[str, bytes]) -> list[tuple[str, str, bytes]]:
    """(title, caption, PNG) of each figure, in the order of CAPTIONS."""
    return [(*CAPTIONS[name], pictures[name]) for name in CAPTIONS if name in pictures]


def percent(fraction: float, digits: int = 1) -> str:
    """0.0237 -> "2.4 %", with a space that does not break."""
    return f"{100 * fraction:.{digits}f}\N{NO-BREAK SPACE}%"


def number(value: float) -> str:
    """50200 -> "50,200"; other numbers with three digits."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"


def power(value: float) -> str:
    """8.8e-07 -> "8.8·10⁻⁷"; 0 -> "0"."""
    if not value:
        return "0"
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits}·10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def chain(widths: Sequence[int]) -> str:
    """[64, 300, 10] -> "64–300–10"."""
    return "–".join(str(int(w)) for w in widths)


def headline(summary: Mapping[str, Any]) -> str:
    """The result in one line of words."""
    if "model" in summary:
        m = summary["model"]
        return (f"{number(m['macs'])} multiply-accumulates, test error {percent(m['test_error'], 2)}, "
                f"validation error {percent(m['validation_error'], 2)}")
    t, s = summary["teacher"], summary["student"]
    return (f"{t['widths'][0]} → {s['widths'][0]} inputs, {number(t['macs'])} → {number(s['macs'])} "
            f"multiply-accumulates ({percent(s['macs'] / t['macs'])}), test error {percent(t['test_error'])} "
            f"→ {percent(s['test_error'])}")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], words: bool = False) -> str:
    """A table; everything is escaped. The first cell of a row names it; ``words``: the others are text, not numbers."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    cell = '<td class="words">' if words else "<td>"
    body = "".join(f'<tr><th scope="row">{escape(first)}</th>' + "".join(f"{cell}{escape(c)}</td>" for c in rest)
                   + "</tr>\n" for first, *rest in rows)
    header = f"<thead><tr>{top}</tr></thead>\n" if head else ""
    return f'<div class="wide"><table>{header}<tbody>\n{body}</tbody></table></div>'


def group(k: int) -> str:
    """What the neurons between dense layers k and k + 1 are called."""
    return f"hidden {k}" if k else "inputs"


def compared(teacher: Mapping[str, Any], student: Mapping[str, Any]) -> list[list[str]]:
    """Rows teacher, student, ratio; of errors the difference in points."""
    rows = [["widths", chain(teacher["widths"]), chain(student["widths"]), ""]]
    for key in ("test_error", "validation_error"):
        change = f"{100 * (student[key] - teacher[key]):+.2f} points"
        rows.append([key.replace("_", " "), percent(teacher[key], 2), percent(student[key], 2), change])
    for key, words in {"macs": "multiply-accumulates", "parameters": "parameters", "bytes": "bytes"}.items():
        rows.append([words, number(teacher[key]), number(student[key]), percent(student[key] / teacher[key])])
    return rows


def setting(value: Any) -> str:
    """The value of a setting in words: a number, a word, yes or no, or widths."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, int | float) else chain(value)


def certificate(layer: Mapping[str, Any]) -> list[str]:
    """λ, duality gap, relative error and neurons proved, of a layer; dashes for channels: they have no λ."""
    dash, error = "\N{EN DASH}", power(layer["relative_error"])
    if layer["duality_gap"] is None:
        return [dash, dash, error, dash]
    return [power(layer["lambda"]), power(layer["duality_gap"]), error, str(layer["proved"])]


def untrained(summary: Mapping[str, Any]) -> bool:
    """Whether this is a compression whose student's layers were refitted alone."""
    recipe = summary["recipe"]
    return "teacher" in summary and recipe.get("epochs", recipe.get("final_epochs")) == 0     # the latter: version 0.1


def compression(summary: Mapping[str, Any]) -> list[str]:
    """The sections that only a compression has."""
    rows = compared(summary["teacher"], summary["student"])
    parts = ["<h2>Teacher and student</h2>", table(["", "teacher", "student", "student / teacher"], rows),
             f"<p>On {percent(summary['agreement'], 2)} of the test examples both say the same.</p>"]
    if not summary["layers"]:
        return [*parts, "<p>Nothing was removed: every smaller network was worse than the target allows.</p>"]
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
        parts.append("<p>The student was not trained: its layers were fitted again, one after the other, to what they "
                     "gave before.</p>")
    return [
        *parts, "<h2>Layers and their certificates</h2>", f"<p>{' '.join(sentences)}</p>",
        table(["neurons", "kept", "λ", "duality gap", "relative error", "proved"], rows),
        "<h2>Removal</h2>",
        f"<p>Cutting the neurons out changed no output by more than {power(summary['removal_difference'])} "
        f"({power(summary['removal_difference_float64'])} with the same float32 parameters widened to float64).</p>",
        table(["neurons", *reasons], [[group(k), *(str(counts[why]) for why in reasons)]
                                      for k, counts in enumerate(summary["removals"])]),
        table(["round", "widths", "budget", "size"],
              [[str(k), chain(r["widths"]), number(round(r["budget"])), number(r["size"])]
               for k, r in enumerate(summary["rounds"], 1)]),
    ]


def target_in_words(target: Mapping[str, Any]) -> str:
    """The target as it was given, and the bound that it means."""
    if target["kind"] == "error":
        return f"{target['words']}: validation error at most {target['bound']:g} points above the teacher's"
    if target["kind"] == "widths":
        return f"{target['words']}: at most so many neurons a layer, inputs first"
    return f"{target['words']}: at most {number(target['bound'])} {target['kind']}"


def settings(summary: Mapping[str, Any]) -> list[list[str]]:
    """Everything that was set, in words."""
    split, recipe = summary["split"], summary["recipe"]
    teachers = "the teacher's own, so that it is not judged on what it was trained on"
    whose = teachers if split["seed_from_teacher"] else "the seed of the run"
    rows = [
        ["data", f"{summary['data']}: {number(split['train'])} examples for training, {number(split['validation'])} "
                 f"for validation, {number(split['test'])} for the test; {summary['classes']} classes; an example is "
                 f"{' × '.join(map(str, summary['shape']))}"],
        ["split", f"drawn with seed {split['seed']} ({whose})"],
        ["seed", str(summary["seed"])],
    ]
    if "teacher" in summary:
        file = summary["teacher_file"]
        rows += [["target", target_in_words(summary["target"])],
                 ["teacher", f"from the file {file}" if file else "trained in this run"]]
        better = summary.get("distil_from", summary.get("tutor"))              # "tutor": version 0.1
        if better:
            error = percent(better["test_error"], 2)
            rows.append(["better network", f"from the file {better['file']}, test error {error}"])
        if not untrained(summary):
            weight = recipe.get("label_weight", recipe.get("labels"))               # "labels": version 0.1
            also = f", and the labels with weight {weight:g}" if weight else ""
            rows.append(["learnt from", f"the answers of the {'better network' if better else 'teacher'}{also}"])
    rows += [[f"shown to the {who}" if "teacher" in summary else "augmentation", str(words)]
             for who, words in summary["augmentation"].items()]
    left_out = set(OF_STUDENT if "model" in summary else OF_TRAINED if untrained(summary) else ())
    if (summary.get("target") or {}).get("kind") == "error":
        left_out.add("rounds")
    if "sparse" in summary:
        rows += [["target", target_in_words(summary["target"])]] if summary["target"] else []
        rows += sparse.settings(summary)
    rows += [[key.replace("_", " "), setting(value)] for key, value in recipe.items() if key not in left_out]
    versions = ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    return [*rows, ["versions", versions], ["time", f"{summary['seconds']:.0f} seconds"]]


def html(summary: Mapping[str, Any], figures: Sequence[tuple[str, str, bytes]]) -> str:
    """The page of a run: ``summary`` is what summary.json holds; ``figures`` are (title, caption, bytes of a PNG)."""
    if "model" in summary:
        title, m = f"A network trained on {summary['data']}", summary["model"]
        parts = ["<h2>The network</h2>", table([], [
            ["widths", chain(m["widths"])],
            *([key.replace("_", " "), percent(m[key], 2)] for key in ("test_error", "validation_error")),
            ["multiply-accumulates", number(m["macs"])], ["parameters", number(m["parameters"])],
            ["bytes", number(m["bytes"])]])]
        meaning: Sequence[tuple[str, str]] = MEANING[:2]
        if "sparse" in summary:
            part = percent(m["macs"] / summary["dense"]["macs"])
            title, meaning = f"A sparse network trained on {summary['data']}, {part} of the dense one", (
                *meaning, *sparse.MEANING)
            what = ["", "widths", "test error", "validation error", "multiply-accumulates"]
            head, *rows = zip(what, *sparse.rows(summary, chain, number, percent), strict=True)
            parts += ["<h2>Dense and sparse</h2>", table(head, rows)]
    else:
        part = percent(summary["student"]["macs"] / summary["teacher"]["macs"])
        title, parts, meaning = f"A network for {summary['data']}, compressed to {part}", compression(summary), MEANING
    parts.append("<h2>Figures</h2>" if figures else "")
    for name, caption, png in figures:
        source = base64.b64encode(png).decode("ascii")
        parts.append(f'<figure><img alt="{escape(name)}" src="data:image/png;base64,{source}">'
                     f"<figcaption><strong>{escape(name)}.</strong> {escape(caption)}</figcaption></figure>")
    parts += [
        "<h2>Settings</h2>", table([], settings(summary), words=True),
        "<h2>Do it again</h2>", f"<pre>{escape(str(summary['command']))}</pre>",
        '<p class="small">The same command, versions and machine give the same networks, byte by byte.</p>',
        "<h2>What the numbers mean</h2>", "<dl>",
        *(f"<dt>{escape(word)}</dt><dd>{escape(text)}</dd>" for word, text in meaning), "</dl>",
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>npkd: {escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        f'<p class="lead">{escape(headline(summary))}</p>\n{body}\n</body>\n</html>\n'
    )
