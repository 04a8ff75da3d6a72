"""The study of FitNets: its settings, its two stages on a small scale, and bars that can be missed."""

import numpy as np
import pytest

from npkd.core.progress import NoProgress
from npkd.data.datasets import load
from npkd.experiments import romero2015
from npkd.experiments.study import Unit

NO_SHIFTS = ", no shifts"


def test_the_settings_are_those_of_the_issue():
    teachers, students, stage_2 = romero2015.settings(False)
    assert romero2015.SEEDS == 5
    for suffix, shift in (("", 2), (NO_SHIFTS, 0)):
        teacher, labels = teachers["teacher" + suffix], students["labels alone" + suffix]
        kd, first = students["KD" + suffix], students["hint, stage 1" + suffix]
        second = stage_2["hint + KD" + suffix]
        assert teacher["seeds"] == 1
        for numbers in (teacher, labels, kd, first, second):               # like for like
            assert numbers["max_shift"] == shift
        assert kd == {**labels, "temperature": 3.0, "weight": 4.0}
        assert second == {**kd, "epochs": second["epochs"], "stage 1": first}
        assert first == {**labels, "epochs": first["epochs"]}
        assert first["epochs"] + second["epochs"] == labels["epochs"]      # one budget for all
        assert labels["teacher"] == teacher
        assert sum(map(len, labels["channels"])) > sum(map(len, teacher["channels"]))
    assert [len(wave) for wave in (teachers, students, stage_2)] == [2, 6, 2]
    assert all(NO_SHIFTS not in name for wave in romero2015.settings(True) for name in wave)


def test_networks_are_as_large_as_said_and_hints_as_maps():
    rng, data = np.random.default_rng(0), load("digits", seed=0)
    student, teacher = (romero2015.drawn(numbers, data, rng) for numbers in (romero2015.STUDENT, romero2015.TEACHER))
    x = data.x_train[:3]
    hints = [network(x)[0][romero2015.guided(network)].shape for network in (student, teacher)]
    assert hints == [(3, 2, 2, 16), (3, 2, 2, 48)]
    assert student(x)[0][-1].shape == teacher(x)[0][-1].shape == (3, 10)


@pytest.fixture
def small(monkeypatch):
    changed = {"data": "digits", "examples": 200, "epochs": 3}
    monkeypatch.setattr(romero2015, "STUDENT", {**romero2015.STUDENT, **changed, "channels": [[3], [4], [5, 5]]})
    monkeypatch.setattr(romero2015, "TEACHER", {**romero2015.TEACHER, **changed, "channels": [[4], [6], [7]],
                                                "hidden": [9]})
    monkeypatch.setattr(romero2015, "SHIFTS", {"": 1, NO_SHIFTS: 0})
    return romero2015.settings(False)


def finish(waves, folder, progress=None):
    runs, done = [], {}
    for wave in waves:
        for name, numbers in wave.items():
            done[name] = Unit(name, numbers, 0, folder)
            runs.append({"setting": name, "seed": 0, **romero2015.run(done[name], progress or NoProgress())})
    return runs, done


def test_a_small_run_of_it(small, tmp_path, monkeypatch):
    given = []
    for name in ("train", "offline"):
        function = getattr(romero2015, name)
        monkeypatch.setattr(romero2015, name, lambda start, function=function, **more: (
            given.append((start, more)), function(start, **more))[1])
    runs, done = finish(small, tmp_path)
    names = [run["setting"] for run in runs]
    assert names[2:5] + names[8:9] == ["labels alone", "KD", "hint, stage 1", "hint + KD"]
    by_name = dict(zip(names, runs, strict=True))
    calls = dict(zip(names, given, strict=True))
    assert all(("errors" in run) != name.startswith("hint, stage 1") for name, run in by_name.items())
    sizes = {run["parameters"] for name, run in by_name.items() if not name.startswith("teacher")}
    assert len(sizes) == 1
    first, start = calls["hint, stage 1"], calls["hint + KD"][0]
    assert len(first[0].layers) == 7                                       # up to the last pooling
    assert str(first[1]["terms"]) == "1.0 squared_error(-1, 7)"
    lower = romero2015.model.load(done["hint, stage 1"].path(".model.npz")).network
    for i, layer in enumerate(start.layers):
        for p, stored, drawn in zip(layer.params, lower.layers[i].params, calls["KD"][0].layers[i].params, strict=True):
            np.testing.assert_array_equal(p, stored)
            assert np.array_equal(p, drawn) == (i >= 7), "what is above the hint is as drawn, what is below has learnt"
    for suffix, shift in (("", 1), (NO_SHIFTS, 0)):
        for name in ("teacher", "labels alone", "KD", "hint, stage 1", "hint + KD"):
            augmentation = calls[name + suffix][1]["settings"].augmentation
            assert (augmentation.max_shift if augmentation else 0) == shift
    terms = calls["KD"][1]["terms"]
    assert str(terms) == "1.0 cross_entropy(-1, y) + c(p) soft_targets(-1, -1)"
    assert [terms.terms[1].weight(p) for p in (0, 0.5, 1)] == pytest.approx([4 / 9, 2 / 9, 0])
    assert len(romero2015.bars(runs)) == 8                                 # with one seed hours are not told


def test_a_first_stage_that_was_broken_off_ends_as_if_it_was_not(small, tmp_path):
    """Its regressor goes on too."""
    class Stop(NoProgress):
        def step(self, *given):
            self.steps = getattr(self, "steps", 0) + 1
            if self.steps == 2:
                raise KeyboardInterrupt

    small = [{"teacher": small[0]["teacher"]}, {"hint, stage 1": {**small[1]["hint, stage 1"], "epochs": 3}}]
    _, whole = finish(small, tmp_path)
    kept = whole["hint, stage 1"].path(".model.npz")
    bytes_of = kept.read_bytes()
    kept.unlink()
    whole["hint, stage 1"].path(".npz").unlink()
    with pytest.raises(KeyboardInterrupt):
        finish(small[1:], tmp_path, Stop())
    assert whole["hint, stage 1"].path(".npz").is_file()
    finish(small[1:], tmp_path)
    assert kept.read_bytes() == bytes_of


def told(labels, kd, hint, cpu=1000.0, parameters=29_850):
    found = {"teacher": [40], "labels alone": labels, "KD": kd, "hint, stage 1": [None] * 5, "hint + KD": hint}
    return [{"setting": name + suffix, "seed": seed, "cpu_seconds": cpu, "parameters": parameters, **(
        {} if value is None else {"errors": value, "test_error": value / 10_000})}
        for suffix in ("", NO_SHIFTS) for name, values in found.items() for seed, value in enumerate(values)]


LABELS, KD, HINT = [70, 72, 71, 69, 73], [60, 63, 61, 60, 64], [50, 52, 52, 49, 54]


@pytest.mark.parametrize(("given", "missed"), [
    ((LABELS, KD, HINT), set()),
    ((LABELS, HINT, KD), {"hint + KD beats KD, errors of 10,000", "hint + KD beats KD, no shifts, errors of 10,000"}),
    ((LABELS, KD, HINT, 1389.0), {"core hours of all runs, 8 hours on 2 cores"}),
    ((LABELS, KD, HINT, 1000.0, 30_001), {"parameters of the student"}),
    ((LABELS, [69, 73, 70, 70, 73], [61] * 5), {
        "KD beats labels alone, errors of 10,000", "KD beats labels alone, no shifts, errors of 10,000",
        "best student, %"})])
def test_bars_hold_and_are_missed(given, missed):
    found = {line.split("  ")[1].partition(":")[0]: line.split()[0] for line in romero2015.bars(told(*given))}
    assert len(found) == 9
    assert {what for what, word in found.items() if word == "MISSED"} == missed
    assert set(found.values()) <= {"holds", "MISSED"}


def test_bars_of_what_is_there():
    assert romero2015.bars([]) == []
    few = [run for run in told(LABELS, KD, HINT) if run["setting"] in ("labels alone", "KD")]
    assert [line.split("  ")[1].partition(":")[0] for line in romero2015.bars(few)] == [
        "KD beats labels alone, errors of 10,000", "best student, %", "parameters of the student"]
