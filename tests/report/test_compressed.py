"""The report of a compression in Python."""

import numpy as np
import pytest

import npkd
from npkd.core.validation import InputError
from npkd.nn.network import perceptron
from tests.report.test_page import stands_alone
from tests.tiny import fixed

RNG = np.random.default_rng(2)
X = RNG.standard_normal((400, 9)).astype(np.float32)
RECIPE = fixed(rounds=2, round_epochs=1, epochs=1)


def report(path, outputs, labels=None):
    """The text of the report of a compression of a network drawn at random."""
    result = npkd.compress(perceptron([9, 12, outputs], RNG), X, "macs=50%", labels=labels, recipe=RECIPE)
    npkd.write_report(path, result, data="nine <numbers>")
    return path.read_text(encoding="utf-8"), result


def test_a_page_without_labels_says_how_often_both_say_the_same(tmp_path):
    text, result = report(tmp_path / "r.html", 3)
    stands_alone(text)
    assert f"both say the same on {100 * result.agreement:.1f}" in text
    assert "nine &lt;numbers&gt;" in text
    assert "macs=50%" in text
    assert "validation error" not in text.lower()


def test_a_page_with_labels_has_errors(tmp_path):
    text, result = report(tmp_path / "r.html", 3, np.arange(400) % 3)
    assert f"{100 * result.teacher_error:.2f}" in text
    assert "validation error" in text


def test_a_page_of_numbers_has_r2(tmp_path):
    text, result = report(tmp_path / "r.html", 2, RNG.standard_normal((400, 2)))
    assert f"{1 - result.student_error:.4f}" in text
    assert "validation R²" in text


def test_another_result_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"got Network; it must be what npkd\.compress gives"):
        npkd.write_report(tmp_path / "r.html", perceptron([9, 12, 3], RNG))


def test_a_file_that_is_there_stays(tmp_path):
    (tmp_path / "r.html").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        report(tmp_path / "r.html", 3)
    assert (tmp_path / "r.html").read_text() == "mine"
