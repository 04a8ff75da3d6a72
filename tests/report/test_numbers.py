"""npkd.report.numbers and npkd.report.settings: what is measured side by side, and settings with their meanings."""

from dataclasses import fields

import numpy as np
import pytest

from npkd.data.datasets import from_arrays
from npkd.nn.network import perceptron
from npkd.pipeline.recipe import Recipe
from npkd.report import numbers, settings
from tests.tiny import arrays

LABELS, ONE, OTHER = [0, 1, 2, 0, 1, 2], [0, 1, 1, 0, 2, 2], [0, 2, 2, 0, 2, 0]


@pytest.fixture
def data():
    raw = arrays(tests=6)
    return from_arrays("data", [raw["x_train"], raw["y_train"], raw["x_test"], np.array(LABELS)], seed=0)


def networks(*names):
    rng = np.random.default_rng(0)
    return {name: perceptron([16, 5, 3], rng) for name in names}


@pytest.mark.parametrize(("fraction", "digits", "text"), [
    (0.0237, 1, "2.4"), (0.00016, 1, "0.02"), (0.0004, 1, "0.04"), (0.0, 1, "0.0"), (0.00001, 2, "0.001"),
    (1, 0, "100")])
def test_a_percentage_that_is_something_is_not_nothing(fraction, digits, text):
    assert numbers.percent(fraction, digits) == f"{text}\N{NO-BREAK SPACE}%"


def test_answers_of_the_teacher_are_called_that():
    assert numbers.taught({"data": "mnist"}) == []
    assert numbers.taught({"data": "x, labelled by the teacher"})[0].startswith("Labels are the teacher's own")


def test_two_networks_side_by_side(data):
    found = numbers.side_by_side(networks("a", "b"), {"a": np.array(ONE), "b": np.array(OTHER)}, data)
    assert found["per_class"] == {"examples": [2, 2, 2], "a": [0, 1, 1], "b": [0, 2, 1]}
    assert found["differing"] == {"count": 3, "right": {"a": 2, "b": 1}, "examples": [
        {"example": 1, "label": 1, "a": 1, "b": 2}, {"example": 2, "label": 2, "a": 1, "b": 2},
        {"example": 5, "label": 2, "a": 2, "b": 0}]}


def test_one_network_beside_the_labels(data, monkeypatch):
    monkeypatch.setattr(numbers, "EXAMPLES", 1)
    found = numbers.side_by_side(networks("model"), {"model": np.array(ONE)}, data)
    assert found["differing"] == {"count": 2, "right": {"model": 0}, "examples": [
        {"example": 2, "label": 2, "model": 1}]}


def test_the_latency_is_the_median_and_the_networks_take_turns(data, monkeypatch):
    """A clock on which the passes of "a" take 1, 4, 9, … units and those of "b" 100."""
    told, now, done = [], [0.0], {"a": 0, "b": 0}
    both = networks("a", "b")

    class Clocked(numbers.Workspace):
        def __init__(self, network, rows):
            super().__init__(network, rows)
            self.name, self.rows = next(name for name, one in both.items() if one is network), rows

        def forward(self, x):
            assert len(x) == self.rows
            told.append((self.name, self.rows))
            done[self.name] += 1
            now[0] += done[self.name] ** 2 if self.name == "a" else 100
            return super().forward(x)

    monkeypatch.setattr(numbers, "Workspace", Clocked)
    monkeypatch.setattr(numbers, "CALLS", 5)
    monkeypatch.setattr(numbers.time, "perf_counter", lambda: now[0])
    assert numbers.latency(both, data.x_test) == {"batch": 6, "calls": 5, "seconds": {"a": [9, 64], "b": [100, 100]}}
    assert told == [("a", 1), ("b", 1)] * 5 + [("a", 6), ("b", 6)] * 5


def test_the_latency_is_measured_in_the_networks_dtype(data):
    wide = {"a": networks("a")["a"].astype(np.float64)}
    assert min(numbers.latency(wide, data.x_test)["seconds"]["a"]) > 0


def test_every_setting_of_the_recipe_is_explained():
    found = settings.explained(Recipe)
    assert set(found) == {field.name for field in fields(Recipe)}
    assert found["hidden"] == "the perceptron's widths"
    assert found["network"] == 'of a teacher that is trained here: "perceptron" or "lenet5"'
    assert found["weight_decay"] == found["learning_rate"] == "of momentum SGD, cosine schedule, for the teacher"
    assert found["epochs"] == ("passes over the data of the last distillation, the other stages in proportion where "
                               "they are open; 0: nothing is trained, layers are refitted alone")
    assert all(len(words) > 10 and "  " not in words for words in found.values())


def test_without_docstrings_nothing_is_explained():
    assert settings.explained(type("Bare", (), {})) == {}
