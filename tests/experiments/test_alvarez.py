"""The study of compression-aware training: its settings, a small run of it, and bars that can be missed."""

import numpy as np
import pytest

from npkd.core.progress import NoProgress
from npkd.experiments import alvarez2017 as study
from npkd.experiments.study import Unit
from npkd.nn import model
from npkd.nn.network import perceptron
from npkd.nn.training import TrainingSettings
from npkd.sparsity.nuclear import Nuclear
from npkd.sparsity.penalties import SparseGroups


def test_methods_differ_in_their_penalties_alone_and_all_of_it_is_bounded():
    trainings, methods = study.settings(False)
    assert {name.rsplit(" ", 1)[0] for name in trainings} == {"plain", "nuclear", "nuclear and groups"}
    for numbers in trainings.values():
        assert {**numbers, "nuclear": 0.0, "groups": 0.0} == trainings["plain 0"]
    assert len(methods) == 3 * len(study.PARTS) + 1
    for name, numbers in methods.items():
        assert all(trainings[each] == one for each, one in numbers["of"].items()), name
    assert study.settings(True)[0]["plain 0"]["examples"] < 10_000


def test_a_step_is_taken_after_each_epoch_and_a_training_goes_on_where_it_was(monkeypatch):
    steps, real = [], study.low_rank.epoch_step
    monkeypatch.setattr(study.low_rank, "epoch_step", lambda network, in_turn, step: (
        steps.append((in_turn, step)), real(network, in_turn, step))[1])
    data = study.load("digits", seed=0)
    numbers = {**study.BASE, "nuclear": 0.01, "groups": 1e-4}
    start = perceptron([64, 12, 8, 10], np.random.default_rng(0))
    rng = np.random.default_rng(1)
    records = []
    for record in study.training(start, TrainingSettings(4, 128), data, numbers, rng):
        records.append(record)
        if record.epoch == 2:
            state = rng.bit_generator.state
    assert [record.epoch for record in records] == [1, 2, 3, 4]
    updates = -(-len(data.x_train) // 128)
    np.testing.assert_allclose([step for _, step in steps], [
        updates * 0.1 / 0.1 * (np.cos(np.pi * (e + 0.5) / 4) / 2 + 0.5) for e in range(4)], rtol=1e-12)
    nuclear, groups = steps[0][0]
    assert nuclear == dict.fromkeys((0, 2, 4), Nuclear(0.01))
    assert isinstance(groups[2], SparseGroups)
    assert groups[2].cost == pytest.approx(np.sqrt(12))
    rng.bit_generator.state = state
    again = TrainingSettings(4, 128, done=2, carried=records[1].carried)
    *_, last = study.training(records[1].network, again, data, numbers, rng)
    np.testing.assert_allclose(last.network.layers[0].params[0], records[3].network.layers[0].params[0], atol=1e-6)


def test_a_small_run_of_it(tmp_path, monkeypatch):
    changed = {"data": "digits", "examples": 600, "hidden": [20, 12], "epochs": 3}
    monkeypatch.setattr(study, "BASE", study.BASE | changed)
    monkeypatch.setattr(study, "TRIED", {"plain": [(0.0, 0.0)], "nuclear": [(1e-3, 0.0), (1e-2, 0.0)],
                                         "nuclear and groups": [(1e-2, 1e-4)]})
    runs = []
    for wave in study.settings(False):
        for name, numbers in wave.items():
            numbers = {**numbers, "every": 4} if "every" in numbers else numbers
            unit = Unit(name, numbers, 0, tmp_path)
            runs.append({"setting": name, "seed": 0, **study.run(unit, NoProgress())})
    dense = 64 * 20 + 20 * 12 + 12 * 10
    for run in runs[4:-1]:
        part = float(run["setting"].split(", ")[1].rstrip("%")) / 100
        assert 0.6 * part * dense < run["macs"] <= part * dense
        assert run["chosen"].startswith(run["setting"].split(",")[0])
        assert 0 < run["test_error"] <= 1
        assert 0 < run["in_output_space"]["test_error"] <= 1
    assert all("test_error" not in run for run in [*runs[:4], runs[-1]])
    assert len(runs[-1]["layer 0"]) == 5
    assert all(0 < new < old for old, new in runs[-1]["layer 0"])
    assert runs[-1]["not better"] == 0
    file, = tmp_path.glob("plain*.model.npz")
    network, data = model.load(file).network, study.load("digits", seed=0)
    u, m = study.low_rank.truncated_svd(network.layers[0].params[0], 5)
    z = data.x_test @ network.layers[0].params[0].T
    seen = data.x_train[:600] @ (network.layers[0].params[0] - u @ m).T
    wrong = data.x_test @ (network.layers[0].params[0] - u @ m).T - seen.mean(0)
    assert runs[-1]["layer 0"][1][0] == pytest.approx((wrong ** 2).sum() / ((z - z.mean(0)) ** 2).sum(), rel=1e-4)
    assert len(study.bars(runs)) == 7                                      # hours are told of the whole alone


def told(plain, nuclear, groups, ranks=0.0):
    found = {f"{name}, {part:.0%}": values for part in study.PARTS for name, values in (
        ("plain", plain), ("nuclear", nuclear), ("nuclear and groups", groups))}
    return [{"setting": name, "seed": seed, "errors": value, "cpu_seconds": 10.0}
            for name, values in found.items() for seed, value in enumerate(values)] + [
        {"setting": "every rank", "seed": seed, "not better": ranks, "cpu_seconds": 10.0} for seed in range(5)]


def test_bars_hold_and_are_missed():
    worse, better = [250, 260, 255, 248, 252], [200, 205, 198, 201, 206]
    words = [line.split()[0] for line in study.bars(told(worse, better, worse))]
    assert words == ["holds", "MISSED"] * 3 + ["holds"]
    assert study.bars(told(worse, better, better, 1.0))[-1].startswith("MISSED  ranks below full")
    assert study.bars([]) == []
