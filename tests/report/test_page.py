"""npkd.report.page and npkd.report.figures: a page that stands alone, and figures that show the numbers they were
given."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from npkd.cli import run
from npkd.core.validation import InputError
from npkd.nn.model import load
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.pipeline.recipe import OF_STUDENT
from npkd.report import figures, numbers
from npkd.report import page as report_page
from npkd.report.words import CAPTIONS
from npkd.sparsity.allocation import Curve
from npkd.sparsity.layerwise import LayerReport
from npkd.surgery.survivors import ranges
from tests.tiny import arrays, quick, stored

VOID = {"meta", "img", "input"}
NARROW = 400                                                 # pixels: a telephone


class Page(HTMLParser):
    """The tags with their attributes, the text, and whether every tag that was opened is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open, self.style = [], [], [], ""
        self.scripts = []
        self.boxes = []                                      # the tag around each table
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.boxes.append(self.tags[-1][1])
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and self.open[-1] == "style":
            self.style += text
        elif self.open and self.open[-1] == "script":
            self.scripts.append(text)
        else:
            self.text.append(text)


def stands_alone(text):
    """Nothing loaded, nothing linked, no script but the page's own and its data; every picture is in the page."""
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "a", "form", "video", "audio")
        assert not any(name.startswith("on") or name in ("srcset", "action") for name in attributes)
        for name in ("src", "href"):
            start = "#" if tag == "use" else "data:image/png;base64,"                        # letters of figures
            assert attributes.get(name, start).startswith(start)
    assert [script for script in page.scripts if script[:1] != "["] in ([], [report_page.SCRIPT])
    digest = base64.b64encode(hashlib.sha256(report_page.SCRIPT.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in report_page.POLICY
    assert [a["content"] for _, a in page.tags if "http-equiv" in a] == [report_page.POLICY]
    assert "url(" not in page.style
    assert "@import" not in page.style
    assert "http" not in text.replace("http-equiv", "")
    return page


@pytest.fixture(scope="module", params=["compress", "train", "distil"])
def folder(request, tmp_path_factory):
    """The folder of a run."""
    where, more = tmp_path_factory.mktemp(request.param), []
    if request.param == "distil":
        assert quick(where, command="train") == 0
        (where / "out").rename(where / "before")
        more = ["--teacher", str(where / "before" / "model.npz"), "--epochs", "2"]
    assert quick(where, *more, command=request.param) == 0
    return where / "out"


@pytest.fixture
def result(folder):
    return json.loads((folder / "summary.json").read_text())


def test_the_page_stands_alone_and_shows_every_figure(folder):
    page = stands_alone((folder / "report.html").read_text(encoding="utf-8"))
    shown = [base64.b64decode(a["src"].partition(",")[2]) for tag, a in page.tags if tag == "img"]
    stored = {path.stem: path.read_bytes() for path in (folder / "figures").iterdir()}
    assert shown == [stored[name] for name in CAPTIONS if name in {*stored} - {"size"}]      # there the curve stands
    assert {*stored} - {"training", "examples"} in (set(), {"size", "mean", "path"}, {"balance", "cka"})
    assert [a["href"] for tag, a in page.tags if tag == "image"] == [
        "data:image/png;base64," + base64.b64encode(png).decode() for name, png in stored.items() if name == "mean"]
    alts = [a["alt"] for tag, a in page.tags if tag == "img"]
    assert len(set(alts)) == len(alts)
    assert min(len(alt.split()) for alt in alts) > 6                             # words that say what is drawn
    assert len((folder / "report.html").read_bytes()) < 3e6


def test_the_page_is_no_wider_than_a_telephone(folder):
    """Nothing has a fixed width, pictures shrink, tables scroll in their own box."""
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in [a for _, a in page.tags]
    assert too_wide(page) == []
    assert [tag for tag, a in page.tags if tag == "table"] == ["table"] * len(page.boxes)
    assert all(box == {"class": "wide", "tabindex": "0"} for box in page.boxes)  # tab goes there: arrows scroll it
    assert ".wide{overflow-x:auto" in page.style
    assert re.search(r"figure img,\[data-drawn\]{[^}]*[{;]width:100%", page.style)
    assert re.search(r"pre{[^}]*white-space:pre-wrap", page.style)


def too_wide(page):
    """Fixed widths beyond a telephone's, of tags and in the style sheet (1rem: 16 pixels); "at most" is no width."""
    inside = ("rect", "image")                                                   # of drawings, in units of theirs
    found = [(tag, a["width"]) for tag, a in page.tags if tag not in inside and not a.get("width", "%").endswith("%")]
    unit = {"px": 1, "rem": 16, "em": 16, "pt": 4 / 3, "cm": 38, "in": 96}
    for kind, number, of in re.findall(r"(?<![\w-])((?:min-)?width):\s*([\d.]+)(px|rem|em|pt|cm|in)\b", page.style):
        found += [(kind, f"{number}{of}")] * (float(number) * unit[of] > NARROW)
    return found


def test_a_fixed_width_is_seen():
    assert too_wide(Page("<html><style>p{max-width:60rem} td{width:200px}</style></html>")) == []
    assert too_wide(Page("<html><style>p{min-width:60rem} td{width:500px}</style><p width='9'></p></html>")) == [
        ("p", "9"), ("min-width", "60rem"), ("width", "500px")]


def contrast(colour, other="#ffffff"):
    """WCAG's ratio of the luminances of two colours."""
    def luminance(text):
        text = "".join(2 * c for c in text[1:]) if len(text) == 4 else text[1:]
        parts = [int(text[k:k + 2], 16) / 255 for k in (0, 2, 4)]
        r, g, b = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * r + 0.7152 * g + 0.0722 * b
    low, high = sorted((luminance(colour), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_is_dark():
    assert contrast("#000") == pytest.approx(21)
    """And in the dark bright, on what stands behind it; the same names in both."""
    schemes = [dict(re.findall(r"--(\w+):(#\w+)", block)) for block in re.findall(r":root{([^}]+)}", report_page.STYLE)]
    assert [*schemes[0]] == [*schemes[1]] == ["paper", "ink", "soft", "line", "code", "stays"]
    for colours in schemes:
        pairs = [(name, under) for name in ("ink", "soft") for under in ("paper", "code")]
        assert min(contrast(colours[name], colours[under]) for name, under in pairs) > 7
        assert min(contrast(colours["stays"], colours[under]) for under in ("paper", "line")) > 3
    assert contrast(figures.INK) >= 7
    assert not re.search(r"[^-]color:#", report_page.STYLE)


def test_the_page_says_what_the_summary_says(folder, result):
    page = (folder / "report.html").read_text(encoding="utf-8")
    text = " ".join(stands_alone(page).text).replace("\xa0", " ")
    for side in {"teacher", "student", "model"} & set(result):
        assert "–".join(map(str, result[side]["widths"])) in text
        for key in ("test_error", "validation_error"):
            assert f"{result[side][key] * 100:.2f} %" in text
        for key in ("macs", "parameters", "bytes"):
            assert f"{result[side][key]:,}" in text
    for card in result.get("costs", {}).values():
        counted = [value for key, value in card.items() if key != "picojoules" and value is not None]
        assert all((value if isinstance(value, str) else f"{value:,}") in text for value in counted)
        assert f"{card['picojoules'] / 1e6:.3g}" in text
    assert result["command"] in text
    for c, (n, *wrong) in enumerate(zip(*result["per_class"].values(), strict=True)):
        row = f'<th scope="row">{c}</th><td>{n}</td>' + "".join(f"<td>{w} ({100 * w / n:.1f} %)</td>" for w in wrong)
        assert row in page.replace("\xa0", " ")
    for one in result["differing"]["examples"]:
        first, *rest = map(str, one.values())
        assert f'<th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in rest) in page
    for name, seconds in result["latency"]["seconds"].items():
        assert f"{result['files'][name]:,}" in text
        assert all(f"<td>{numbers.number(1000 * s)}</td>" in page for s in seconds)
    if "layers" in result:
        for layer in result["layers"]:
            assert f"{layer['kept']} of {layer['of']}" in text
        assert f"{result['agreement'] * 100:.2f} %" in text
        assert "macs=40%" in text
    for name, value in result["recipe"].items():
        if "model" in result and name in OF_STUDENT:
            assert f'<th scope="row">{name.replace("_", " ")}</th>' not in page
            continue
        assert name.replace("_", " ") in text
        assert name == "hidden" or (value if isinstance(value, str) else "no" if value is False
                                    else f"{value:g}") in text


def test_the_page_of_a_distillation_says_what_each_term_adds(folder, result):
    text = " ".join(stands_alone((folder / "report.html").read_text(encoding="utf-8")).text).replace("\xa0", " ")
    assert ("Balance of the terms" in text) == ("Layers alike" in text) == ("balance" in result)
    if "balance" not in result:
        return
    page = (folder / "report.html").read_text(encoding="utf-8")
    for name, term in result["balance"].items():
        cells = "".join(f"<td>{term[key]:.3g}</td>" for key in ("value", "gradient_norm", "cosine"))
        assert f'<th scope="row">{name}</th>{cells}' in page
    for layer, share in result["dead"].items():
        assert f"{100 * share:.1f} % of activation {int(layer) + 1}" in text
    assert "compressed" not in text
    assert "certificate" not in text
    assert result["objective"] in text
    assert result["scheme"] in text


def test_the_page_is_built_again_from_the_folder(folder):
    before = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    assert run.rebuild(folder) == folder / "report.html"
    assert (folder / "report.html").read_bytes() == before


def test_the_headline():
    side = {"parameters": 1, "bytes": 4}
    told = {"teacher": side | {"widths": [64, 300, 100, 10], "macs": 50200, "test_error": 0.0237},
            "student": side | {"widths": [47, 60, 30, 10], "macs": 5008, "test_error": 0.0259}}
    assert report_page.headline(told).replace("\xa0", " ") == (
        "64 → 47 inputs, 50,200 → 5,008 multiply-accumulates (10.0 %), test error 2.4 % → 2.6 %")


def test_numbers_as_a_person_writes_them():
    assert numbers.power(8.81e-7) == "8.8·10⁻⁷"
    assert numbers.power(0.0) == "0"
    assert numbers.power(12.0) == "1.2·10¹"
    assert numbers.number(1234567) == "1,234,567"
    assert numbers.number(0.12345) == "0.123"
    assert numbers.percent(0.5) == "50.0\N{NO-BREAK SPACE}%"


def test_everything_is_escaped(result):
    nasty = "<b onclick='x()'>&amp;\"</b><script>alert(1)</script>"

    def spoil(value):
        if isinstance(value, dict):
            return {key: spoil(v) for key, v in value.items()}
        if isinstance(value, list):
            return [spoil(v) for v in value]
        return value + nasty if isinstance(value, str) else value

    rounds = {key: result[key] for key in ("rounds",) if key in result}
    spoiled = spoil(result) | rounds | {"recipe": {nasty: 1, "hidden": [3]}, "versions": {nasty: nasty}}
    text = report_page.html(spoiled, {"training": b"png"})
    page = Page(text)
    assert "b" not in {tag for tag, _ in page.tags}
    assert not any("<" in script for script in page.scripts if script[0] == "[")
    assert [script for script in page.scripts if script[0] != "["] == [report_page.SCRIPT] * ("rounds" in result)
    assert text.count("&lt;b onclick=") >= 6
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_a_run_that_removed_nothing_has_a_page_too(folder, result):
    if "layers" in result:
        text = report_page.html(result | {"layers": [], "rounds": [], "removals": []}, {})
        assert "No neuron was removed" in text
        stands_alone(text)


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"3", b"{}", b'{"teacher": 3}', b'{"model": {}}', b"\xff\xfe", b"[" * 100_000,
    b'{"teacher": {"macs": 0}}',
], ids=["empty", "half", "list", "number", "no keys", "wrong kind", "no numbers", "no text", "deep", "zero"])
def test_a_summary_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "summary.json").write_bytes(content)
    with pytest.raises(InputError, match="run") as caught:
        run.rebuild(tmp_path)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_where_nothing_differs_there_is_no_table(result):
    none = result["differing"] | {"count": 0, "examples": []}
    page = stands_alone(report_page.html(result | {"differing": none}, {}))
    assert [tag for tag, _ in page.tags].count("details") == 1                   # the settings


def test_a_run_of_version_0_2_has_a_page_too(result):
    """Without what later versions added to the summary."""
    new = ("per_class", "differing", "latency", "files", "kept_inputs")
    page = stands_alone(report_page.html({key: value for key, value in result.items() if key not in new}, {}))
    assert "Errors of each class" not in page.text
    assert "Do it again" in page.text


# figures

def test_the_inputs_that_a_network_reads():
    rng = np.random.default_rng(0)
    plain = perceptron([6, 4, 2], rng)
    assert figures.inputs_of(plain, 6).tolist() == [0, 1, 2, 3, 4, 5]
    narrow = Network([Layer("select", options={"kept": [1, 4]}), dense_layer(2, 2, rng)])
    assert figures.inputs_of(narrow, 6).tolist() == [1, 4]


def test_the_balance_shows_every_term_of_every_epoch_and_leaves_out_what_is_none():
    lines = [{"terms": {"a_b": {"value": 1.0, "gradient_norm": 2.0, "cosine": 0.5},
                        "c": {"value": -3.0 * k, "gradient_norm": 0.0, "cosine": None}}} for k in (1, 2)]
    value, norm, cosine = figures.balance(lines).axes
    assert [line.get_label() for line in value.lines] == ["a b", "c"]
    assert [list(line.get_ydata()) for line in value.lines] == [[1, 1], [-3, -6]]
    assert value.get_yscale() == "symlog"                                        # below zero, too
    assert list(norm.lines[0].get_ydata()) == [2, 2]
    assert np.isnan(norm.lines[1].get_ydata()).all()
    assert np.isnan(cosine.lines[1].get_ydata()).all()
    assert list(cosine.lines[0].get_xdata()) == [1, 2]
    above = [{"terms": {"a": line["terms"]["a_b"]}} for line in lines]
    assert figures.balance(above).axes[0].get_yscale() == "log"


def test_the_alignment_has_the_students_layers_as_rows():
    told = {"student": ["2 relu", "3 logits"], "teacher": ["2 relu", "4 relu", "5 logits"],
            "matrix": [[0.1, 0.2, 0.3], [0.4, 0.5, 0.96]]}
    (axes,) = figures.alike(told).axes
    assert np.array_equal(axes.images[0].get_array(), told["matrix"])
    assert [label.get_text() for label in axes.get_yticklabels()] == told["student"]
    assert [label.get_text() for label in axes.get_xticklabels()] == told["teacher"]
    assert [text.get_text() for text in axes.texts] == ["0.10", "0.20", "0.30", "0.40", "0.50", "0.96"]


HISTORY = [
    {"stage": "teacher", "loss": 1.0, "validation_error": 0.5},
    {"stage": "teacher", "loss": 0.5, "validation_error": 0.25}, {"stage": "round 1: removal", "widths": [3, 2]},
    {"stage": "round 1 of 2: distillation", "loss": 0.25, "validation_error": 0.375},
    {"stage": "round 2: removal", "widths": [2, 2]},
    {"stage": "final distillation", "loss": 0.125, "validation_error": 0.25},
]


def test_the_training_curves_show_every_epoch_and_every_removal():
    upper, lower = figures.training(HISTORY).axes
    for axes, values in ((upper, [1.0, 0.5, 0.25, 0.125]), (lower, [50, 25, 37.5, 25])):
        curves = [line for line in axes.lines if line.get_linestyle() == "-"]
        points = [(x, y) for line in curves for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]
        assert points == list(zip([1, 2, 3, 4], values, strict=True))
        assert [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"] == [2.5, 3.5]
    assert upper.get_yscale() == "log"


def test_a_loss_of_zero_is_shown_too():
    upper, _ = figures.training([{"stage": "teacher", "loss": 0.0, "validation_error": 0.0}]).axes
    assert upper.get_yscale() == "linear"


def test_on_the_path_the_choice_lies_on_its_line_and_what_was_measured_is_joined_to_it():
    curve = Curve(np.array([1.0, 0.25, 0.0]))
    layers = [LayerReport(k, 1, 2, 0.1, 1.0, 1e-9, 1, 0.3, 0.2 + k, curve) for k in range(2)]
    (axes,) = figures.path(layers).axes
    for k in range(2):
        line, joint, chosen, measured = ((list(one.get_xdata()), list(one.get_ydata()))
                                         for one in axes.lines[4 * k:4 * k + 4])
        assert line == ([1, 2], [0.25, figures.FLOOR])                           # a logarithm has no zero
        assert chosen == ([1], [0.25])
        assert measured == ([1], [0.2 + k])
        assert joint == ([1, 1], [0.25, 0.2 + k])
    assert [axes.lines[k].get_marker() for k in (2, 3)] == ["o", "D"]


def side(error, macs, widths=(4, 3, 2)):
    return {"validation_error": error, "macs": macs, "parameters": 7, "bytes": 28, "widths": list(widths)}


def test_the_error_against_size_of_a_compression():
    """The teacher, the end of each round's distillation, and the student; the target where it is a size."""
    told = {"teacher": side(0.25, 100), "student": side(0.5, 20), "split": {"validation": 75},
            "target": {"kind": "macs", "bound": 25},
            "rounds": [{"size": 50.0, "widths": [4, 3, 2]}, {"size": 20.0, "widths": [2, 2, 2]}]}
    lines = {line.get_label(): line for line in figures.size(HISTORY, told).axes[0].lines}
    assert [name for name in lines if name[0] != "_"] == ["teacher", "rounds", "student", "target"]
    assert list(lines["teacher"].get_ydata()) == [25, 25]
    assert (list(lines["rounds"].get_xdata()), list(lines["rounds"].get_ydata())) == ([100, 50, 20], [25, 37.5, 50])
    assert (list(lines["student"].get_xdata()), list(lines["student"].get_ydata())) == ([20], [50])
    assert list(lines["target"].get_xdata()) == [25, 25]
    (band,) = figures.size(HISTORY, told).axes[0].patches
    assert (band.get_y(), band.get_height()) == (20, 10)                         # √(0.25 · 0.75 / 75) = 0.05
    error = {line.get_label(): line for line in figures.size(
        HISTORY, told | {"target": {"kind": "error", "bound": 3}}).axes[0].lines}
    assert list(error["target"].get_ydata()) == [28, 28]
    neurons = figures.size(HISTORY, told | {"target": {"kind": "neurons", "bound": 3}}).axes[0]
    assert list(neurons.lines[1].get_xdata()) == [7, 50, 7]
    assert "inputs and neurons" in neurons.get_xlabel()


def test_a_round_without_training_is_no_point():
    told = {"teacher": side(0.25, 100), "student": side(0.5, 20), "split": {"validation": 75},
            "target": {"kind": "error", "bound": 1}, "rounds": [{"size": 50.0, "widths": [4, 3, 2]}, {"size": 20.0}]}
    removals = [{"stage": "round 1: removal", "widths": []}, {"stage": "round 2: removal", "widths": []}]
    assert list(figures.size(removals, told).axes[0].lines[1].get_xdata()) == [100, 20]


@pytest.mark.parametrize("taken", [1, 2])
def test_the_error_against_size_of_a_sparse_training_tells_the_last_lambda_that_was_taken(taken):
    """Not the last try, but the one whose λ the summary names."""
    history = [{"stage": "teacher", "loss": 1.0, "validation_error": 0.5}] + [
        {"stage": stage, "epoch": 1, "loss": 1.0, "lambda": lam, "size": size, "validation_error": size / 100,
         "alive": [4, 3]}
        for stage, lam, size in (("λ rises", 0.5, 30), ("last λ", 1, 20), ("last λ", 1, 18), ("last λ, try 2", 2, 12))]
    told = {"dense": side(0.25, 40), "model": side(0.1, 18), "split": {"validation": 75}, "target": None,
            "sparse": {"lambda": taken}}
    lines = {line.get_label(): list(line.get_xdata()) for line in figures.size(history, told).axes[0].lines}
    assert lines["λ moves"] == [30]
    assert lines["the last λ"] == ([20, 18] if taken == 1 else [12])
    assert lines["another last λ"] == ([12] if taken == 1 else [20, 18])
    assert lines["sparse"] == [18]
    assert "target" not in lines


@pytest.mark.parametrize(("smallest", "ticks"), [(20, {20, 50, 100}), (0.5, {1, 10, 100})])
def test_the_sizes_on_the_axis_do_not_run_into_one_another(smallest, ticks):
    told = {"teacher": side(0.25, 100), "student": side(0.5, smallest), "split": {"validation": 75},
            "target": {"kind": "macs", "bound": 25}, "rounds": [{"size": smallest}]}
    axes = figures.size(HISTORY, told).axes[0]
    low, high = axes.get_xlim()
    assert {t for t in axes.get_xticks() if low <= t <= high} == ticks


def test_the_examples_are_drawn_with_label_and_answers():
    shown = [{"example": 7, "label": 1, "dense": 1, "model": 2}, {"example": 9, "label": 0, "dense": 2, "model": 0}]
    x = np.arange(24.0).reshape(2, 12)
    axes = figures.examples(shown, x, (3, 4), {"dense": "dense", "model": "sparse"}).axes
    assert [a.get_title() for a in axes[:2]] == ["label 1\ndense 1\nsparse 2", "label 0\ndense 2\nsparse 0"]
    for one, picture in zip(axes, x, strict=False):
        assert np.array_equal(one.images[0].get_array(), picture.reshape(3, 4))
    assert not any(a.images for a in axes[2:])


def test_the_pictures_are_those_of_the_test_part_as_they_were_given(tmp_path, monkeypatch):
    """Unscaled, at the numbers in the summary; on them the networks differ, or the only one is wrong."""
    drawn = {}
    monkeypatch.setattr(figures, "examples", lambda shown, x, *more: drawn.update(x=x) or figures.canvas("", 1))
    raw = arrays()
    raw |= {name: raw[name] + np.uint8(10) for name in ("x_train", "x_test")}    # so that the scaling has an offset
    assert quick(tmp_path, data=stored(tmp_path / "data.npz", raw)) == 0
    found = json.loads((tmp_path / "out" / "summary.json").read_text())["differing"]
    rows = [one["example"] for one in found["examples"]]
    assert 0 < len(rows) <= numbers.EXAMPLES
    assert np.allclose(drawn["x"], raw["x_test"].reshape(40, -1)[rows], atol=1e-3)
    assert [one["label"] for one in found["examples"]] == raw["y_test"][rows].tolist()
    assert all(one["teacher"] != one["student"] for one in found["examples"])


@pytest.mark.parametrize(("shape", "plane"), [
    ((8, 8), (8, 8)), ((1, 8, 6), (8, 6)), ((8, 6, 1), (8, 6)), ((3, 8, 8), None), ((64,), None), ((1, 64), None),
    ((), None),
])
def test_which_examples_are_pictures(shape, plane):
    assert figures.plane(shape) == plane


def test_examples_that_are_no_pictures_have_no_figures_of_pixels(tmp_path):
    assert quick(tmp_path, data=stored(tmp_path / "data.npz", shape=(16,))) == 0
    assert sorted(p.stem for p in (tmp_path / "out" / "figures").iterdir()) == ["path", "size", "training"]
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    text = " ".join(Page((tmp_path / "out" / "report.html").read_text()).text)
    assert f"reads the inputs {found['kept_inputs']}, counted from 0." in text
    model = load(tmp_path / "out" / "student.npz")
    assert found["kept_inputs"] == ranges(figures.inputs_of(model.network, 16).tolist())
    page = Page((tmp_path / "out" / "report.html").read_text())                  # examples are not drawn: a table
    assert [a for tag, a in page.tags if tag == "details"] == [{"open": None}, {}]


def test_figures_are_read_without_colour_vision_and_from_afar():
    figure = figures.training(HISTORY)
    assert figure.get_figwidth() <= 5                                            # 11 points stay so on 360 pixels
    sizes = [text.get_fontsize() for axes in figure.axes
             for text in (*axes.get_xticklabels(), axes.xaxis.label, axes.yaxis.label)]
    assert min(sizes) >= 11
    used = {line.get_color() for axes in figure.axes for line in axes.lines}
    assert used == {figures.BLUE, figures.ORANGE, figures.GREEN, figures.GREY}
