"""The study of compression: what its settings are, a small run of it, and bars that can be missed."""

import numpy as np

from npkd.core.progress import NoProgress
from npkd.experiments import compression
from npkd.experiments.study import Unit
from npkd.pipeline.steps import GRIDS, SIZED


def test_every_step_stands_alone_trained_and_not_and_with_layer_wise_distillation():
    teachers, students = compression.settings(False)
    for word in (*SIZED, *GRIDS):
        trained, untrained = students[f"dense: {word}"], students[f"dense: {word}, untrained"]
        assert {**untrained, "epochs": trained["epochs"]} == trained
        assert untrained["epochs"] == 0 < trained["epochs"]
        assert trained["teacher"] == teachers["dense"]
    assert {"dense: neurons,weights", "dense: neurons,low-rank", "dense: neurons,int8,code"} <= students.keys()
    assert {*compression.BARS} == {*compression.RECORDS} <= students.keys()
    epochs = {s["epochs"] for s in students.values() if s["of"] == "dense" and s["epochs"]}
    assert len(epochs) == 1, "an equal budget for all"


def test_the_best_setting_is_named_and_the_like_for_like_has_none_of_it():
    for name, numbers in compression.settings(False)[1].items():
        best = numbers["of"] in compression.BEST
        assert ("experts" in numbers) == best == bool(numbers["max_shift"]), name


def test_a_small_run_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(compression, "TEACHERS", {"dense": {**compression.PLAIN, "data": "digits"}})
    monkeypatch.setattr(compression, "QUICK", {"int8": "macs=10%", "weights,int4,code": "bytes=12000"})
    runs = []
    for wave in compression.settings(True):
        for name, numbers in wave.items():
            runs.append({"setting": name, "seed": 0, **compression.run(Unit(name, numbers, 0, tmp_path), NoProgress())})
    by = {run["setting"]: run for run in runs}
    assert by["dense: weights,int4,code"]["bytes"] <= 12000 < by["dense: int8"]["bytes"]
    assert [step["step"] for step in by["dense: weights,int4,code"]["steps"]] == ["weights", "int4", "code"]
    assert by["dense: weights,int4,code"]["parameters"] < by["dense"]["parameters"] / 2
    assert all(0 < run["test_error"] < 0.8 for run in runs)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"], "the teacher's alone"


def test_bars_hold_and_are_missed():
    errors = {name: most / 100 for name, (most, _) in compression.BARS.items()}
    runs = [{"setting": name, "seed": seed, "test_error": error + shift} for name, error in errors.items()
            for seed, shift in enumerate((-1e-4, 0.5e-4))]
    runs += [{"setting": name, "seed": seed, "test_error": error} for seed in range(2) for name, error in (
        ("dense", 0.016), ("dense: int8", 0.0161), ("dense: dyadic", 0.0185))]
    lines = compression.bars(runs)
    assert sum(line.startswith("holds") for line in lines) == len(errors) + 1
    assert next(line for line in lines if line.startswith("MISSED")).startswith("MISSED  dyadic above float")
    worse = [{**run, "test_error": run["test_error"] + 0.001} for run in runs if run["setting"] in errors]
    assert all(line.startswith("MISSED") for line in compression.bars(worse))
    assert compression.bars([]) == []
    np.testing.assert_equal(len(compression.bars(runs[:2])), 1)
