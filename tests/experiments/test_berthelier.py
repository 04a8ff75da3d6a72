"""The study of sparse filters: what differs between its settings, a small run of it, and bars that can be missed."""

from dataclasses import replace

import numpy as np
import pytest

from npkd.core.progress import NoProgress
from npkd.experiments import berthelier2020 as study
from npkd.experiments.hinton2015 import pictures
from npkd.experiments.study import Unit
from npkd.nn.architectures import lenet5


def test_settings_differ_in_the_penalty_and_its_strength_alone():
    wave, = study.settings(False)
    assert len(wave) == sum(map(len, study.LAMBDAS.values()))
    for name, numbers in wave.items():
        assert {**numbers, "penalty": "", "lambda": 0} == {**study.NETWORK, "penalty": "", "lambda": 0}
        assert name == f"{numbers['penalty']}, λ = {numbers['lambda']:g}"
    assert len(study.settings(True)[0]) == 2


@pytest.mark.parametrize(("kind", "groups"), [("channels", "NeuronGroups"), ("l1l2", "L1L2")])
def test_a_penalty_is_on_all_that_reads_a_filter_and_takes_the_same_part_of_it_at_first(kind, groups):
    network = lenet5(np.random.default_rng(0)).astype(np.float64)
    penalties = study.on_filters(network, kind, 0.3)
    assert sorted(penalties) == [3, 6]
    assert {type(penalty).__name__ for penalty in penalties.values()} == {groups}
    assert (penalties[3].axis, penalties[6].axis, penalties[6].channels) == (3, 1, 50)
    for i, n in ((3, 20), (6, 50)):
        w = network.layers[i].params[0]
        one = w * (np.arange(w.shape[-1]) % n == 0)                     # of one filter, the others as large together
        part = np.linalg.norm(w) / np.sqrt(n)
        if kind == "channels":
            assert penalties[i].lam * penalties[i].cost == pytest.approx(0.3 * part, rel=1e-12)
        else:
            assert penalties[i].lam == pytest.approx(0.3 * part * np.linalg.norm(w), rel=1e-12)
            assert penalties[i].value(one) == pytest.approx(penalties[i].lam, rel=1e-12)


def enlarged(numbers):
    """Optdigits in the size of MNIST, each pixel 3×3 and a border of 2."""
    data = pictures({**numbers, "data": "digits"})

    def large(x):
        blocks = np.kron(x.reshape(-1, 8, 8), np.ones((1, 3, 3), x.dtype))
        return np.pad(blocks, ((0, 0), (2, 2), (2, 2))).reshape(len(x), -1)

    return replace(data, x_train=large(data.x_train), x_test=large(data.x_test), shape=(28, 28))


def test_a_small_run_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "pictures", enlarged)
    monkeypatch.setattr(study, "QUICK", {"examples": 300, "epochs": 2})
    monkeypatch.setattr(study, "settings", lambda quick: [
        {name: {**study.NETWORK, **study.QUICK, "penalty": name.partition(",")[0], "lambda": lam}
         for name, lam in (("l1, λ = 1e-06", 1e-6), ("l1/l2, λ = 40", 40.0))}])
    runs = [{"setting": name, "seed": 0, **study.run(Unit(name, numbers, 0, tmp_path), NoProgress())}
            for name, numbers in study.settings(True)[0].items()]
    assert runs[0]["filters"] == 70
    assert 2 <= runs[1]["filters"] < 70
    examples = len(enlarged(study.NETWORK).x_test)
    assert all(run["errors"] == round(examples * run["test_error"]) for run in runs)
    assert study.bars(runs) == []                                       # no run of l1/l2 lies between those of l1


def told(theirs, ours, seeds=3, shift=0.0, cpu=200.0):
    """Runs of both penalties; of seed s, errors of ours are ``shift`` + s above what is given."""
    return [{"setting": f"{name}, λ = {k}", "seed": seed, "filters": filters, "cpu_seconds": cpu,
             "test_error": (errors + (name == "l1/l2") * (shift + seed)) / 10_000}
            for seed in range(seeds) for name, points in (("l1", theirs), ("l1/l2", ours))
            for k, (filters, errors) in enumerate(points)]


LINE = [(10, 200.0), (50, 120.0), (30, 160.0)]


@pytest.mark.parametrize(("ours", "shift", "word", "gain"), [
    ([(20, 180.0), (40, 140.0)], -1.0, "holds", "gain +0.0 [-2.5, +2.5], tie"),
    ([(20, 180.0), (40, 140.0)], -50.0, "holds", "gain +49.0 [+46.5, +51.5], win"),
    ([(20, 180.0), (60, 500.0)], 10.0, "MISSED", "gain -11.0 [-13.5, -8.5], loss"),
    ([(5, 90.0), (10, 200.0), (70, 0.0)], 10.0, "MISSED", "gain -11.0 [-13.5, -8.5], loss")])
def test_errors_are_compared_where_l1_leaves_fewer_and_more_filters(ours, shift, word, gain):
    sentence, *hours = study.bars(told(LINE, ours, shift=shift))
    assert sentence == (f"{word}  at equal filters l1/l2 is no worse than l1, errors of 10,000: {gain}, 3 seeds")
    assert hours == []


def test_one_seed_is_open_and_hours_are_told_of_all_runs():
    assert study.bars(told(LINE, [(20, 180.0)], seeds=1))[0].startswith("MISSED  at equal filters")
    assert study.bars([]) == []
    run = told([(10, 200.0)], [], seeds=1, cpu=3600.0)
    whole = study.bars(run * (study.SEEDS * len(study.settings(False)[0])))
    assert whole[-1].startswith("MISSED  core hours of all runs")
    assert study.bars(run) == []
