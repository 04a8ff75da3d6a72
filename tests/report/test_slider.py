"""npkd.report.slider and npkd.report.path: what the page shows of the way is what the run did."""

import json
import re
import shutil

import numpy as np
import pytest

from npkd.cli import run
from npkd.core.validation import InputError
from npkd.nn.model import load
from npkd.report import figures
from npkd.report.path import Stage, path_of
from npkd.report.slider import ROW, STOPS, cells, slider
from npkd.surgery.survivors import listed, ranges
from tests.tiny import quick

SUMMARY = {"target": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a compression."""
    where = tmp_path_factory.mktemp("compress")
    assert quick(where) == 0
    return where / "out"


def history_of(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def data_of(text):
    """What the script of a page reads."""
    return json.loads(re.search(r'<script type="application/json" id="stages">(.*)</script>', text)[1])


def squares(path, columns):
    """The numbers of the squares that the strokes of a path go through the middle of."""
    found = []
    for x, y, long in re.findall(r"M(\d+) (\d+)h(\d*\.?\d+)", path):
        found += range(int(y) * columns + int(x), int(y) * columns + int(x) + round(float(long) + 0.05))
    return found


@pytest.mark.parametrize("columns", [1, 7, 28, 784])
@pytest.mark.parametrize("apart", [False, True])
def test_strokes_go_over_the_numbers_that_are_kept_and_no_others(columns, apart):
    rng = np.random.default_rng(columns)
    for share in (0, 0.1, 0.9, 1):
        kept = np.flatnonzero(rng.random(784) < share).tolist()
        path = cells(kept, columns, apart=apart)
        assert squares(path, columns) == kept
        assert all(int(x) + float(long) <= columns for x, long in re.findall(r"M(\d+) \d+h(\d*\.?\d+)", path))
    assert len(cells([*range(784)], 784, apart=False)) < 10                     # neighbours in one stroke


def test_the_slider_goes_from_the_teacher_to_the_inputs_that_the_student_reads(folder):
    summary, text = json.loads((folder / "summary.json").read_text()), (folder / "report.html").read_text()
    data, student = data_of(text), load(folder / "student.npz").network
    assert data[0]["words"].startswith("teacher: 16–8–6–3, ")
    assert data[-1]["words"].startswith(f"student: {'–'.join(map(str, summary['student']['widths']))}, ")
    assert [squares(path, columns) for (_, path), columns in zip(data[0]["groups"], (4, 8, 6), strict=True)] == [
        [*range(16)], [*range(8)], [*range(6)]]
    assert squares(data[-1]["groups"][0][1], 4) == figures.inputs_of(student, 16).tolist()
    left = [[set(squares(path, c)) for (_, path), c in zip(stop["groups"], (4, 8, 6), strict=True)] for stop in data]
    for before, after in zip(left, left[1:], strict=False):
        assert all(b <= a for a, b in zip(before, after, strict=True))          # what is gone does not come back
    for stop in data:
        assert [words for words, _ in stop["groups"]] == [
            f"{len(squares(path, c))} of {of} stay" for (_, path), c, of in
            zip(stop["groups"], (4, 8, 6), (16, 8, 6), strict=True)]
    rounds = [r["widths"][:-1] for r in summary["rounds"]]
    assert [[len(group) for group in stop] for stop in left[1:]] == [
        widths for k, widths in enumerate(rounds) if widths != ([[16, 8, 6], *rounds][k])]
    for _, path in data[-1]["groups"]:
        assert f'<path transform="translate(0 .5)" d="{path}"/>' in text         # without a script: the end


def test_the_points_of_the_curve_are_the_stages(folder):
    summary, text = json.loads((folder / "summary.json").read_text()), (folder / "report.html").read_text()
    stages = path_of(history_of(folder), summary)
    points = re.findall(r'<g data-stage="(\d+)" tabindex="0" role="img" aria-label="([^"]+)"><title>([^<]+)<', text)
    assert [int(k) for k, *_ in points] == [k for k, s in enumerate(stages) if s.error is not None]
    assert len(points) > 2
    for k, label, title in points:
        assert label == title == stages[int(k)].words(summary)
    assert stages[0].error == summary["teacher"]["validation_error"]
    assert (stages[-1].size, stages[-1].widths) == (summary["student"]["macs"], summary["student"]["widths"])
    assert [s.size for s in stages[1:-1]] == [r["size"] for r in summary["rounds"][:-1]]
    assert figures.curve(history_of(folder), summary) in text                    # the same again


def test_of_many_points_the_keyboard_reaches_some_and_the_ends():
    summary = {"teacher": {"macs": 1000, "widths": [500, 2], "validation_error": 0.1}, "target": None,
               "student": {"macs": 1, "widths": [1, 2], "validation_error": 0.2},
               "rounds": [{"size": 1000 - k, "widths": [500 - k, 2]} for k in range(1, 500)]}
    history = [line for _ in range(500) for line in ({"loss": 1.0, "validation_error": 0.1}, {"stage": "removal"})]
    stops = re.findall(r'data-stage="(\d+)" tabindex="0"', figures.curve(history, summary))
    assert stops[0] == "0"
    assert stops[-1] == "499"
    assert 10 < len(stops) <= figures.REACHED + 1


def test_a_run_without_labels_or_path_has_no_curve():
    summary = {"teacher": {"macs": 9, "widths": [3, 2]}, "student": {"macs": 4, "widths": [2, 2]}, "target": None,
               "rounds": []}
    assert figures.curve((), summary) == ""
    assert figures.curve((), {"model": {"macs": 9, "widths": [3, 2], "validation_error": 0.1}}) == ""


def test_a_long_path_has_few_stops_and_its_end():
    stages = [Stage(f"epoch {k}", "λ moves", 1.0, 0.1, [1000 - k, 3], [ranges([*range(k, 1000)]), "0–2"])
              for k in range(500)]
    tries = [Stage("other", "another last λ", 1.0, 0.1, [9, 3], ["0", "0"])]
    data = data_of(slider([*stages, *tries, stages[-1]], SUMMARY))
    assert 0.5 * STOPS < len(data) <= STOPS + 1
    assert data[0]["point"] == 0
    assert data[-1]["point"] == 501
    assert all("other" not in stop["words"] for stop in data)
    assert squares(data[-1]["groups"][0][1], ROW) == [*range(499, 1000)]


def test_where_nothing_goes_there_is_no_slider():
    still = Stage("a", "a", 1.0, 0.1, [3, 2], ["0–2"])
    assert slider([still, still], SUMMARY) == slider([], SUMMARY) == ""
    assert slider([Stage("old", "a", 1.0, 0.1, [3, 2])] * 2, SUMMARY) == ""      # a version that did not say what stays


def test_a_mean_of_another_size_is_not_drawn_and_one_channel_is_no_news():
    stages = [Stage("a", "a", 1.0, 0.1, [6, 4, 2], ["0–5", "0–3"]),
              Stage("b<b", "b", 1.0, 0.1, [2, 3, 2], ["1, 4", "1–3"])]
    mean = figures.picture(np.zeros((2, 3)))
    text = slider(stages, SUMMARY, mean)
    assert text.count("<image") == 1
    assert 'viewBox="0 0 3 2"' in text
    assert "b<b" not in text
    assert "<image" not in slider(stages, SUMMARY, figures.picture(np.zeros((2, 2))))
    channel = [Stage("a", "a", 1.0, 0.1, [1, 4, 2], ["0", "0–3"]), Stage("b", "b", 1.0, 0.1, [1, 3, 2], ["0", "1–3"])]
    text = slider(channel, SUMMARY, mean)
    assert "hidden 1: <span>3 of 4 stay" in text
    assert "inputs" not in text.partition("<figcaption>")[0]


def test_the_page_of_a_folder_without_a_history_or_with_a_broken_one(folder, tmp_path):
    """Without, as of a compression in Python: only the ends have errors. Broken, it is refused in one sentence."""
    shutil.copytree(folder, tmp_path / "out")
    (tmp_path / "out" / "history.jsonl").unlink()
    page = run.rebuild(tmp_path / "out").read_text()
    assert data_of(page) == [{**stop, "words": re.sub(", validation error.*", "", stop["words"])}
                             if stop["words"].startswith("round") else stop
                             for stop in data_of((folder / "report.html").read_text())]
    for content in ("{", '{"loss": 3}\n', "3\n"):
        (tmp_path / "out" / "history.jsonl").write_text(content)
        with pytest.raises(InputError, match="is not as npkd writes it"):
            run.rebuild(tmp_path / "out")


def test_a_chain_has_steps_for_points_and_rounds_for_stops(tmp_path):
    assert quick(tmp_path, "--steps", "neurons,int8", "--target", "macs=50%", "--epochs", "4") == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    stages = path_of(history_of(tmp_path / "out"), summary)
    assert [s.name for s in stages if s.size is not None] == ["teacher", "step neurons", "student"]
    assert [s.size for s in stages if s.size is not None][1:] == [step["macs"] for step in summary["steps"]]
    assert [s.error for s in stages if s.size is not None][1:] == [step["error"] for step in summary["steps"]]
    stops = data_of((tmp_path / "out" / "report.html").read_text())
    assert len(stops) == 2 or all("round" in stop["words"] for stop in stops[1:-1])
    assert listed(summary["rounds"][-1]["kept"][1]) == squares(stops[-1]["groups"][1][1], 8)
