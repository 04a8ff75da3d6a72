"""npkd.report.page and npkd.report.figures: a page that stands alone, and figures that show the numbers they were
given."""

import base64
import json
from html.parser import HTMLParser

import numpy as np
import pytest

from npkd.cli import run
from npkd.core.validation import InputError
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.pipeline.recipe import OF_STUDENT
from npkd.report import figures
from npkd.report import page as report_page
from npkd.sparsity.allocation import Curve
from npkd.sparsity.layerwise import LayerReport
from tests.tiny import quick, stored

VOID = {"meta", "img"}


class Page(HTMLParser):
    """The tags with their attributes, the text, and whether every tag that was opened is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open, self.style = [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and self.open[-1] == "style":
            self.style += text
        else:
            self.text.append(text)


def stands_alone(text):
    """No script, nothing loaded, nothing linked; every picture is in the page."""
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "a", "form", "video", "audio")
        assert not any(name.startswith("on") or name in ("href", "srcset", "style", "action") for name in attributes)
        if "src" in attributes:
            assert attributes["src"].startswith("data:image/png;base64,")
    assert "url(" not in page.style
    assert "@import" not in page.style
    assert "http" not in text.replace("http-equiv", "")
    return page


@pytest.fixture(scope="module", params=["compress", "train"])
def folder(request, tmp_path_factory):
    """The folder of a run."""
    where = tmp_path_factory.mktemp(request.param)
    assert quick(where, command=request.param) == 0
    return where / "out"


@pytest.fixture
def result(folder):
    return json.loads((folder / "summary.json").read_text())


def test_the_page_stands_alone_and_shows_every_figure(folder):
    page = stands_alone((folder / "report.html").read_text(encoding="utf-8"))
    shown = [base64.b64decode(a["src"].partition(",")[2]) for tag, a in page.tags if tag == "img"]
    stored = {path.stem: path.read_bytes() for path in (folder / "figures").iterdir()}
    assert shown == [stored[name] for name in report_page.CAPTIONS if name in stored]
    assert len(shown) in (1, 5)
    assert all(a["alt"] for tag, a in page.tags if tag == "img")
    assert [a for tag, a in page.tags if tag == "meta" and a.get("name") == "viewport"]


def test_the_page_says_what_the_summary_says(folder, result):
    page = (folder / "report.html").read_text(encoding="utf-8")
    text = " ".join(stands_alone(page).text).replace("\xa0", " ")
    for side in {"teacher", "student", "model"} & set(result):
        assert "–".join(map(str, result[side]["widths"])) in text
        for key in ("test_error", "validation_error"):
            assert f"{result[side][key] * 100:.2f} %" in text
        for key in ("macs", "parameters", "bytes"):
            assert f"{result[side][key]:,}" in text
    assert result["command"] in text
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
    assert report_page.power(8.81e-7) == "8.8·10⁻⁷"
    assert report_page.power(0.0) == "0"
    assert report_page.power(12.0) == "1.2·10¹"
    assert report_page.number(1234567) == "1,234,567"
    assert report_page.number(0.12345) == "0.123"
    assert report_page.percent(0.5) == "50.0\N{NO-BREAK SPACE}%"


def test_everything_is_escaped(result):
    nasty = "<b onclick='x()'>&amp;\"</b><script>alert(1)</script>"

    def spoil(value):
        if isinstance(value, dict):
            return {key: spoil(v) for key, v in value.items()}
        if isinstance(value, list):
            return [spoil(v) for v in value]
        return value + nasty if isinstance(value, str) else value

    spoiled = spoil(result) | {"recipe": {nasty: 1, "hidden": [3]}, "versions": {nasty: nasty}}
    text = report_page.html(spoiled, [(nasty, nasty, b"png")])
    page = Page(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"b", "script"})
    assert text.count("&lt;b onclick=") >= 6
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_a_run_that_removed_nothing_has_a_page_too(folder, result):
    if "layers" in result:
        text = report_page.html(result | {"layers": [], "rounds": [], "removals": []}, [])
        assert "Nothing was removed" in text
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


# figures

def test_the_pixel_figure_marks_exactly_the_pixels_that_are_kept():
    rng = np.random.default_rng(0)
    kept, mean = np.sort(rng.choice(30, 11, replace=False)), rng.random(30)
    left, right = figures.pixels(mean, kept, (5, 6)).axes
    assert np.array_equal(left.images[0].get_array(), mean.reshape(5, 6))
    assert np.array_equal(right.images[0].get_array(), mean.reshape(5, 6))
    tint = right.images[1].get_array()
    marked = {(r, c) for r in range(5) for c in range(6) if tint[r, c, 3] > 0}
    assert marked == {(int(i) // 6, int(i) % 6) for i in kept}


def test_the_inputs_that_a_network_reads():
    rng = np.random.default_rng(0)
    plain = perceptron([6, 4, 2], rng)
    assert figures.inputs_of(plain, 6).tolist() == [0, 1, 2, 3, 4, 5]
    narrow = Network([Layer("select", options={"kept": [1, 4]}), dense_layer(2, 2, rng)])
    assert figures.inputs_of(narrow, 6).tolist() == [1, 4]


def test_the_strongest_neurons_by_falling_norm_with_removed_pixels_missing():
    rng = np.random.default_rng(0)
    kept = [0, 2, 3, 7, 10]
    network = Network([Layer("select", options={"kept": kept}), dense_layer(5, 9, rng), Layer("relu"),
                       dense_layer(9, 3, rng)])
    pictures = figures.strongest(network, (3, 4), count=4)
    assert pictures.shape == (4, 3, 4)
    norms = sorted((sum(v * v for v in row) ** 0.5 for row in network.layers[1].params[0].tolist()), reverse=True)
    for picture, norm in zip(pictures, norms, strict=False):
        flat = picture.ravel()
        assert np.flatnonzero(~np.isnan(flat)).tolist() == kept
        assert np.sqrt(np.nansum(flat**2)) == pytest.approx(norm)
        assert any(np.allclose(flat[kept], row) for row in network.layers[1].params[0])


def test_the_figure_of_weights_is_grey_exactly_where_pixels_are_gone():
    rng = np.random.default_rng(0)
    teacher = perceptron([12, 3, 2], rng)
    student = Network([Layer("select", options={"kept": [0, 5, 11]}), dense_layer(3, 2, rng), Layer("relu"),
                       dense_layer(2, 2, rng)])
    upper, lower = figures.weights(teacher, student, (3, 4)).axes
    grey = (0.78, 0.78, 0.78, 1)
    assert not (upper.images[0].get_array() == grey).all(axis=2).any()
    tile = lower.images[0].get_array()[:3, :4]                                   # of the strongest neuron
    assert np.flatnonzero(~(tile == grey).all(axis=2).ravel()).tolist() == [0, 5, 11]
    assert (lower.images[0].get_array() == grey).all(axis=2).sum() == 2 * 9      # two neurons, nine pixels gone in each
    assert "2 of 2" in lower.get_title()


def test_weights_of_zero_are_drawn():
    network = Network([Layer("dense", (np.zeros((2, 12), np.float32), np.zeros(2, np.float32)))])
    assert figures.png(figures.weights(network, network, (3, 4)))[:4] == b"\x89PNG"


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


def test_the_bars_are_the_widths():
    (axes,) = figures.kept([64, 300, 10], [50, 20, 10]).axes
    assert [bar.get_width() for bar in axes.patches] == [64, 300, 50, 20]
    assert [text.get_text() for text in axes.texts] == ["50 of 64", "20 of 300"]


def test_the_path_is_the_curve_with_the_choice_on_it():
    curve = Curve(np.array([1.0, 0.25, 0.0]))
    layers = [LayerReport(k, 1, 2, 0.1, 1.0, 1e-9, 1, 0.3, 0.2 + k, curve) for k in range(2)]
    (axes,) = figures.path(layers).axes
    for k in range(2):
        line, mark = axes.lines[2 * k:2 * k + 2]
        assert line.get_xdata().tolist() == [1, 2]
        assert line.get_ydata().tolist() == [0.25, 1e-8]                         # a logarithm has no zero
        assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([1], [0.2 + k])


@pytest.mark.parametrize(("shape", "plane"), [
    ((8, 8), (8, 8)), ((1, 8, 6), (8, 6)), ((8, 6, 1), (8, 6)), ((3, 8, 8), None), ((64,), None), ((1, 64), None),
    ((), None),
])
def test_which_examples_are_pictures(shape, plane):
    assert figures.plane(shape) == plane


def test_examples_that_are_no_pictures_have_no_figures_of_pixels(tmp_path):
    assert quick(tmp_path, data=stored(tmp_path / "data.npz", shape=(16,))) == 0
    assert sorted(p.stem for p in (tmp_path / "out" / "figures").iterdir()) == ["kept", "path", "training"]


def test_figures_are_read_without_colour_vision_and_from_afar():
    figure = figures.training(HISTORY)
    sizes = [text.get_fontsize() for axes in figure.axes
             for text in (*axes.get_xticklabels(), axes.xaxis.label, axes.yaxis.label)]
    assert min(sizes) >= 11
    used = {line.get_color() for axes in figure.axes for line in axes.lines}
    assert used == {figures.BLUE, figures.ORANGE, figures.GREEN, figures.GREY}
