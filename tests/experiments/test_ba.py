"""The study of a shallow student: what differs between its settings, a small run of it, and bars that can be missed."""

import numpy as np
import pytest

from npkd.core.progress import NoProgress
from npkd.experiments import ba2014
from npkd.experiments.compare import beats
from npkd.experiments.study import Unit
from npkd.nn.network import perceptron


def parameters(hidden):
    network = perceptron([784, *hidden, 10], np.random.default_rng(0))
    return sum(p.size for layer in network.layers for p in layer.params)


def test_the_student_is_shallow_as_large_as_the_teacher_and_students_differ_in_what_they_learn_alone():
    (first, teacher), = ba2014.settings(False)[0].items()
    students = ba2014.settings(False)[1]
    assert (first, teacher["seeds"], len(teacher["hidden"]), ba2014.SEEDS) == ("teacher", 1, 3, 5)
    assert set(students) == {"labels alone", "logits", "soft targets"}
    for name, numbers in students.items():
        assert numbers == {**students["logits"], "learns": name}
        assert len(numbers["hidden"]) == 1
        assert 0.99 < parameters(numbers["hidden"]) / parameters(teacher["hidden"]) <= 1
        assert numbers["teacher"] == teacher
    assert {str(ba2014.OBJECTIVES[name]()) for name in students} == {
        "1.0 cross_entropy(-1, y)", "1.0 logit_matching(-1, -1)", "1.0 soft_targets(-1, -1)"}


def test_a_small_run_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(ba2014, "QUICK", {"data": "digits", "examples": 300, "epochs": 4, "hidden": [30]})
    monkeypatch.setattr(ba2014, "TEACHER", {**ba2014.TEACHER, "max_shift": 1})
    given, train = {}, ba2014.train
    monkeypatch.setattr(ba2014, "train", lambda start, **more: (
        given.setdefault(len(given), (start, more)), train(start, **more))[1])
    runs = []
    for wave in ba2014.settings(True):
        for name, numbers in wave.items():
            runs.append({"setting": name, "seed": 0, **ba2014.run(Unit(name, numbers, 0, tmp_path), NoProgress())})
    assert [run["setting"] for run in runs] == ["teacher", "labels alone", "logits", "soft targets"]
    assert all(0 < run["test_error"] < 0.95 and run["errors"] > 0 for run in runs)
    assert given[0][1]["settings"].augmentation.max_shift == 1
    for start, more in list(given.values())[1:]:                           # paired: one start, one budget
        np.testing.assert_array_equal(start.layers[0].params[0], given[1][0].layers[0].params[0])
        assert more["settings"].augmentation is None
        assert more["settings"].epochs == 4
        assert len(more["data"]["x"]) == 300
    file, = tmp_path.glob("*.model.npz")
    logits = ba2014.model.load(file).network.predict(given[2][1]["data"]["x"])
    np.testing.assert_allclose(given[2][1]["data"]["teacher"], logits, atol=1e-4)
    assert len(ba2014.bars(runs)) == 2                                     # hours are told of the whole alone


def told(labels, logits, soft, cpu=200.0):
    found = {"teacher": [70], "labels alone": labels, "logits": logits, "soft targets": soft}
    return [{"setting": name, "seed": seed, "test_error": value / 10_000, "cpu_seconds": cpu}
            for name, values in found.items() for seed, value in enumerate(values)]


LABELS, BETTER = [150, 152, 148, 151, 149], [120, 125, 118, 122, 119]


@pytest.mark.parametrize(("logits", "soft", "cpu", "verdicts"), [
    (BETTER, BETTER, 200.0, ["holds", "holds", "holds"]),
    (BETTER, [150, 152, 147, 153, 148], 226.0, ["holds", "MISSED", "MISSED"]),
    ([160, 165, 158, 161, 163], BETTER, 200.0, ["MISSED", "holds", "holds"])])
def test_bars_hold_and_are_missed(logits, soft, cpu, verdicts):
    sentences = ba2014.bars(told(LABELS, logits, soft, cpu))
    assert [sentence.split()[0] for sentence in sentences] == verdicts
    assert ba2014.bars([]) == []


def test_a_paired_bar_is_of_the_seeds_that_both_have():
    assert beats("a beats b", {0: 10.0, 1: 12.0, 7: 99.0}, {1: 6.0, 0: 4.0, 3: 0.0}) == [
        "holds  a beats b: gain +6.0 [+6.0, +6.0], win, 2 seeds"]
    assert beats("a beats b", {0: 10.0}, {0: 4.0}) == ["MISSED  a beats b: gain +6.0, open, 1 seeds"]
    assert beats("a beats b", {0: 4.0, 1: 6.0}, {0: 10.0, 1: 14.0})[0].startswith("MISSED  a beats b: gain -7.0 [-19.7")
    assert beats("a beats b", {0: 4.0}, {1: 4.0}) == []
