"""The study of dyadic networks: what differs between its settings, a small run of it, bars that can be missed."""

import npkd
from npkd.compression import dyadic
from npkd.core.progress import NoProgress
from npkd.experiments import cintra2018
from npkd.experiments.study import Unit
from npkd.nn import model
from reference import tables
from tests.tiny import stored


def test_settings_differ_in_weights_activations_and_training_alone():
    first, made = cintra2018.settings(False)
    assert list(first) == ["float"]
    assert len(made) == 8 * 2 + 3 * 3 + 6 + 1
    for name, numbers in made.items():
        assert numbers == {**cintra2018.STUDENT, "teacher": first["float"], **{
            key: numbers[key] for key in ("levels", "how", "activation")}}, name
    assert {numbers["levels"] for numbers in made.values()} == {"", *cintra2018.SETS}
    quick = cintra2018.settings(True)
    assert [numbers["examples"] for wave in quick for numbers in wave.values()] == [2_000] * (1 + len(quick[1]))
    for wave in quick:                                                   # with a part of the names, all of them known
        assert set(wave) <= set(first) | set(made)


def test_a_small_run_of_it(tmp_path, monkeypatch):
    data = {"data": stored(tmp_path / "data.npz", shape=(16, 16))}
    monkeypatch.setattr(cintra2018, "QUICK", {"examples": 100, "epochs": 4, "channels": [2, 3], "hidden": 8})
    monkeypatch.setattr(cintra2018, "FLOAT", {**cintra2018.FLOAT, **data})
    monkeypatch.setattr(cintra2018, "STUDENT", {**cintra2018.STUDENT, **data})
    runs, shown = [], []
    monkeypatch.setattr(cintra2018, "predict", lambda network, x, predict=cintra2018.predict: (
        shown.append(network), predict(network, x))[1])
    for wave in cintra2018.settings(True):
        for name, numbers in wave.items():
            runs.append({"setting": name, "seed": 0, **cintra2018.run(Unit(name, numbers, 0, tmp_path), NoProgress())})
    file, = tmp_path.glob("*.model.npz")
    whole = model.load(file).network
    assert [layer.op for layer in whole.layers] == ["unflatten", "conv2d", "tanh", "average_pool", "conv2d", "tanh",
                                                    "average_pool", "flatten", "dense", "tanh", "dense"]
    assert {layer.op for network in shown for layer in network.layers} >= {"clipped_linear", "clipped_quadratic"}
    by_name = {run["setting"]: run for run in runs}
    assert all(run["cpu_seconds"] > 0 for run in runs)
    for name, run in by_name.items():
        assert ("additions" in run) == ("," in name and not name.startswith(("linear", "quadratic")))
    assert by_name["A_1, output space"]["additions"] > 0
    one = dyadic.dyadic_network(whole, dyadic.dyadic(1), scale=1.0)
    assert by_name["A_1, nearest"]["additions"] == dyadic.additions_and_shifts(one)[0]
    assert cintra2018.bars(runs)[0].split()[2:4] == ["distilled,", "errors"]


def told(**changed):
    """Runs of all seeds: what each setting has of 10,000, a number for all seeds."""
    errors = {name: 90 for wave in cintra2018.settings(False) for name in wave}
    errors |= {f"A_{b}, nearest": 90 + 2 ** (12 - 2 * b) for b in range(1, 9)} | {"A_1, output space": 120}
    errors |= dict.fromkeys(("signs, nearest", "halves, nearest", "quarters, nearest"), 300) | changed
    return [{"setting": name, "seed": seed, "test_error": (value + seed) / 10_000, "cpu_seconds": 24.0, "seconds": 50.0,
             "errors": value + seed, **({"additions": 5_000, "shifts": 70} if name in changed else {})}
            for name, value in errors.items() for seed in range(cintra2018.SEEDS)]


def test_bars_hold_and_are_missed():
    found = cintra2018.bars(told())
    assert found[0] == "holds  quarters, distilled, errors more than float: 0.000 ± 0.000, 5 seeds (bar at most 20)"
    assert found[1].startswith("holds  A_1: output space beats nearest rounding, errors: gain +994.0")
    assert [line for line in found if "least b" in line] == [
        "holds  least b of A_b within 10 errors of float, nearest: 5.000 (bar at most 8; published 3, of faces)"]
    assert "holds  the same in output space: 2.000 (bar at most 3)" in found
    never = told(**{f"A_{b}, output space": 290 for b in range(1, 9)})
    assert "MISSED  the same in output space: inf (bar at most 3)" in cintra2018.bars(never)
    assert not [line for line in cintra2018.bars(never[:40]) if "output space: inf" in line]
    assert found[-1].startswith("holds  core hours of all runs: 1.1")
    assert cintra2018.bars(told(**{"quarters, distilled": 111}))[0].startswith("MISSED")
    assert cintra2018.bars(told()[:5])[-1:] != found[-1:]
    assert cintra2018.bars([]) == []


def test_the_page_has_errors_and_counts():
    runs = told(**{"quarters, distilled": 101})
    content = {"command": "npkd reproduce cintra2018", "npkd": npkd.__version__, "hours": 1.0, "core_hours": 0.9,
               "settings": {}, "missing": 0, "bars": cintra2018.bars(runs), "runs": runs}
    text = tables.TABLES["cintra2018"]({"cintra2018": content})
    assert "\n| quarters, distilled | 5 | 103.0 ± 1.6 | 5,000 | 70 |\n" in text
    assert "\n| float | 5 | 92.0 ± 1.6 |  |  |\n" in text
    assert "0.9 core hours." in text
    assert "Not run with" in tables.TABLES["cintra2018"]({})
