"""Published tables run again: runs that are kept one by one, go on wherever they were broken off, and bars that can be
missed; the study of Hinton et al. 2015."""

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from npkd.cli.main import main
from npkd.core.progress import NoProgress
from npkd.core.validation import InputError
from npkd.data.datasets import load as load_data
from npkd.data.idx import SOURCES
from npkd.experiments import command, hinton2015, lenet300, study
from npkd.experiments.compare import bar
from npkd.experiments.experiment import untrained
from npkd.experiments.setting import TeacherSetting
from npkd.experiments.study import Unit
from npkd.nn.model import load as load_model
from npkd.pipeline import checkpoints
from reference.integrity import MEASURED
from tests.tiny import Stop, arrays, fixed

TINY = {"hidden": [8, 6], "epochs": 3, "batch_size": 16, "learning_rate": 0.05}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The study on little pictures of three classes, one of which is omitted; every epoch is kept."""
    np.savez(tmp_path / "data.npz", **arrays())
    numbers = {**TINY, "data": str(tmp_path / "data.npz")}
    teacher = {**hinton2015.TEACHER, **numbers, "max_shift": 1}
    student = {**hinton2015.STUDENT, **numbers, "teacher": teacher, "temperature": 4.0}
    waves = [{"teacher": teacher}, {"hard": {**student, "labels": 1.0, "temperature": None}, "distilled": student,
                                    "digit 3 omitted": {**student, "omitted": [0], "biased": [0]}}]
    monkeypatch.setattr(hinton2015, "settings", lambda quick: waves)
    monkeypatch.setattr(checkpoints, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    return tmp_path


def reproduced(folder, *more, name="runs", workers="1"):
    """What the command writes, without seconds."""
    path = folder / f"{name}.json"
    assert main(["reproduce", "hinton2015", "--seeds", "0-1", "--runs", str(folder / name), "--workers", workers,
                 "--json", str(path), *more]) == 0
    return timeless(json.loads(path.read_text()))


def timeless(found):
    """The numbers without seconds and hours."""
    kept = {name: value for name, value in found.items() if not name.endswith(("hours", "seconds"))}
    if "bars" in kept:
        kept |= {"bars": [line for line in kept["bars"] if "core hours" not in line],
                 "runs": [timeless(one) for one in kept["runs"]]}
    return kept


def networks(folder):
    return {path.name: path.read_bytes() for path in (folder / "hinton2015").glob("*.npz")}


# ---- runs that are kept


def test_every_run_is_there_once_and_not_run_again(tiny, monkeypatch, capsys):
    found = reproduced(tiny)
    assert found["command"] == "npkd reproduce hinton2015 --seeds 0-1"
    assert [(run["setting"], run["seed"]) for run in found["runs"]] == [("teacher", 0)] + [
        (setting, seed) for seed in (0, 1) for setting in ("hard", "distilled", "digit 3 omitted")]
    assert found["missing"] == 0
    assert set(found["settings"]) == {"teacher", "hard", "distilled", "digit 3 omitted"}
    assert all(line.startswith(("holds  ", "MISSED  ")) for line in found["bars"])
    said = capsys.readouterr().out
    assert all(line in said for line in found["bars"])
    assert "7 runs done, 0 missing" in said
    assert [path.suffixes[-2:] for path in (tiny / "runs/hinton2015").glob("*.npz")] == [[".model", ".npz"]]
    monkeypatch.setattr(hinton2015, "run", lambda *given: pytest.fail("it was run again"))
    assert reproduced(tiny) == found


def test_runs_of_a_file_count_as_done_and_their_teacher_is_run_again_where_it_is_read(tiny, monkeypatch):
    found = reproduced(tiny)
    path = tiny / "before.json"
    path.write_text((tiny / "runs.json").read_text())
    asked = []
    original = hinton2015.run
    monkeypatch.setattr(hinton2015, "run", lambda unit, progress: asked.append(str(unit)) or original(unit, progress))
    assert reproduced(tiny, "--from", str(path), name="elsewhere") == found
    assert asked == []
    part = json.loads(path.read_text())
    part["runs"] = [run for run in part["runs"] if run["seed"] == 0]
    part["settings"]["hard"]["epochs"] = 99                                   # was made with other numbers
    path.write_text(json.dumps(part))
    assert reproduced(tiny, "--from", str(path), name="third") == found
    assert asked == ["teacher, seed 0", "hard, seed 0", "hard, seed 1", "distilled, seed 1", "digit 3 omitted, seed 1"]


@pytest.mark.parametrize("text", ["[]", "{}", "# a page", "", '{"settings": {}, "runs": [3]}'])
def test_another_file_to_go_on_from_is_refused(tiny, text, capsys):
    (tiny / "other.json").write_text(text)
    assert main(["reproduce", "hinton2015", "--runs", str(tiny / "r"), "--from", str(tiny / "other.json")]) == 2
    assert "holds no runs; it must be a file that --json of a study wrote" in capsys.readouterr().err
    assert main(["reproduce", "lenet300", "--runs", str(tiny / "r"), "--from", str(tiny / "other.json")]) == 2
    assert "goes on from its folder of runs alone" in capsys.readouterr().err


@pytest.mark.parametrize(("stage", "step"), [("teacher", 0), ("teacher", 1), ("teacher", 2), ("teacher", 3),
                                             ("hard, seed 0", 2), ("digit 3 omitted, seed 0", 1),
                                             ("distilled, seed 1", 0), ("distilled, seed 1", 3)])
def test_broken_off_anywhere_it_ends_with_the_same_runs(tiny, monkeypatch, capsys, stage, step):
    whole = reproduced(tiny, name="whole")
    words = ["reproduce", "hinton2015", "--seeds", "0-1", "--runs", str(tiny / "broken"), "--workers", "1", "--json",
             str(tiny / "broken.json")]
    stop = Stop(stage, step)
    with monkeypatch.context() as patch:
        patch.setattr(study, "shown", lambda told: nullcontext(stop))
        assert main(words) == 130
    assert "what is done is kept, the same command goes on" in capsys.readouterr().err
    path = tiny / "broken.json"
    stored = json.loads(path.read_text()) if path.exists() else {"missing": 7, "runs": []}
    assert stored["missing"] == 7 - len(stored["runs"]) > 0
    trained, epochs_of = [], study.epochs_of
    monkeypatch.setattr(study, "epochs_of", lambda name, *rest: (trained.append(name), epochs_of(name, *rest))[1])
    assert reproduced(tiny, name="broken") == whole
    assert len(trained) == stored["missing"]                               # nothing that was done is done again
    assert networks(tiny / "broken") == networks(tiny / "whole")


@pytest.mark.parametrize("place", ["write_json", "save"])
def test_broken_off_between_training_and_keeping_nothing_is_lost(tiny, monkeypatch, place):
    """The checkpoint is there until the result is: no epoch is trained twice."""
    whole = reproduced(tiny, name="whole")

    def interrupted(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(study if place == "write_json" else hinton2015.model, place, interrupted)
        assert main(["reproduce", "hinton2015", "--seeds", "0-1", "--runs", str(tiny / "broken"), "--workers",
                     "1"]) == 130
    epochs = []
    train = hinton2015.train
    monkeypatch.setattr(hinton2015, "train", lambda *given, **more: (epochs.append(more["settings"]),
                                                                     train(*given, **more))[1])
    assert reproduced(tiny, name="broken") == whole
    assert [settings.done for settings in epochs] == [3] + [0] * 6


def test_killed_it_goes_on_from_the_last_file(tiny, monkeypatch):
    """Without the last checkpoint, as after SIGKILL: from the epochs that were written."""
    whole = reproduced(tiny, name="whole")
    stop = Stop("hard, seed 1", 2)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.CheckpointFile, "flush", lambda self: None)
        patch.setattr(study, "shown", lambda told: nullcontext(stop))
        assert main(["reproduce", "hinton2015", "--seeds", "0-1", "--runs", str(tiny / "broken"), "--workers",
                     "1"]) == 130
    assert reproduced(tiny, name="broken") == whole


def test_processes_do_what_one_does(tiny):
    assert reproduced(tiny, name="together", workers="2") == reproduced(tiny, name="alone")


def test_the_seconds_before_a_break_count(tiny, monkeypatch):
    lines = [("note", {"seconds": 5.0, "cpu_seconds": 3.0}), ("note", {"seconds": 9.0, "cpu_seconds": 4.0})]
    checkpoint = study.CheckpointFile.__init__.__globals__["Checkpoint"](tuple(lines), None, (), {})
    monkeypatch.setattr(study, "epochs_of", lambda *given: iter([checkpoint]))
    unit = Unit("a", {}, 0, tiny)
    data = load_data(str(tiny / "data.npz"), seed=0)
    assert study.trained(unit, NoProgress(), data, None, None, None, None)[1] == {"seconds": 9.0, "cpu_seconds": 7.0}


def test_other_numbers_are_other_runs(tiny):
    """Also where only the teacher's have changed; the old ones stay."""
    one = Unit("a", {"teacher": {"epochs": 3}, "rate": 0.1}, 0, tiny)
    others = [replace(one, setting="b"), replace(one, seed=1), replace(one, numbers={**one.numbers, "rate": 0.2}),
              replace(one, numbers={**one.numbers, "teacher": {"epochs": 4}})]
    assert len({unit.path(".json") for unit in (one, *others)}) == 5
    assert replace(one, numbers=dict(reversed(one.numbers.items()))).path(".json") == one.path(".json")
    assert all(unit.path(".json").parent == tiny for unit in others)
    first = reproduced(tiny)
    before = {path.name for path in (tiny / "runs/hinton2015").iterdir()}
    hinton2015.settings(False)[1]["hard"]["learning_rate"] = 0.01
    changed = reproduced(tiny)
    assert before < {path.name for path in (tiny / "runs/hinton2015").iterdir()}
    assert [a == b for a, b in zip(first["runs"], changed["runs"], strict=True)].count(False) <= 2
    assert changed["settings"] != first["settings"]


def test_what_is_stored_is_shown_and_nothing_run(tiny, monkeypatch, capsys):
    monkeypatch.setattr(hinton2015, "run", lambda *given: pytest.fail("it was run"))
    found = reproduced(tiny, "--stored")
    assert (found["missing"], found["runs"], found["bars"]) == (7, [], [])
    assert "0 runs done, 7 missing" in capsys.readouterr().out


def test_what_cannot_be_is_refused(tiny, capsys):
    assert main(["reproduce", "hinton2015", "--part", "records"]) == 2
    assert "hinton2015 has no parts" in capsys.readouterr().err
    reproduced(tiny)
    path = Unit("teacher", hinton2015.settings(False)[0]["teacher"], 0, tiny / "runs/hinton2015").path(".json")
    path.write_bytes(path.read_bytes()[:-20])
    capsys.readouterr()
    assert main(["reproduce", "hinton2015", "--seeds", "0-1", "--runs", str(tiny / "runs")]) == 2
    assert "is no JSON" in capsys.readouterr().err
    mine = tiny / "mine.json"
    mine.write_text('{"mine": 1}')
    assert main(["reproduce", "hinton2015", "--json", str(mine), "--runs", str(tiny / "runs")]) == 2
    assert mine.read_text() == '{"mine": 1}'


# ---- all of them


@pytest.fixture
def two(tiny, monkeypatch):
    """The study, and an experiment with three runs: a teacher, ours and another."""
    recipe = fixed(hidden=(8, 6), teacher_epochs=1, rounds=1, round_epochs=0, epochs=0, batch_size=16)
    settings = untrained(TeacherSetting(str(tiny / "data.npz"), None, "plain", recipe, 0), 90, recipe, ("obs",), ())
    for name, budgets in (("COMPARISON", [settings]), ("POST_TRAINING", []), ("RECORDS", ()), ("SEEDS", 1)):
        monkeypatch.setattr(lenet300, name, budgets)
    monkeypatch.setattr(command, "EXPERIMENTS", {"lenet300": lenet300})
    monkeypatch.setattr(command, "STUDIES", {"hinton2015": hinton2015})
    monkeypatch.setattr(command, "CORE_HOURS", {"lenet300": 9.3, "hinton2015": 16})
    monkeypatch.setattr(hinton2015, "SEEDS", 2)
    return tiny


def test_all_says_beforehand_what_is_missing_and_runs_it(two, monkeypatch, capsys):
    words = ["reproduce", "all", "--workers", "1", "--runs", str(two / "runs"), "--json", str(two / "json")]
    with monkeypatch.context() as patch:
        patch.setattr(study, "shown", lambda told: nullcontext(Stop("hard, seed 1", 2)))
        assert main(words) == 130
    said = capsys.readouterr().out
    before, _, rest = said.partition("\nlenet300\n")
    assert [line.split() for line in before.splitlines()[1:3]] == [["lenet300", "3", "3", "9.3"],
                                                                   ["hinton2015", "7", "7", "16.0"]]
    assert "About 25.3 core hours are left, 25.3 hours on 1 worker." in before
    assert "3 runs in" in rest
    assert main(words) == 0
    said = capsys.readouterr().out
    assert [line.split() for line in said.splitlines()[1:3]] == [["lenet300", "3", "0", "0.0"],
                                                                 ["hinton2015", "7", "3", "6.9"]]
    assert "0 runs in" in said
    assert "7 runs done, 0 missing" in said
    files = {path.name: json.loads(path.read_text()) for path in (two / "json").iterdir()}
    assert {name: one["command"] for name, one in files.items()} == {
        "lenet300.json": "npkd reproduce lenet300", "hinton2015.json": "npkd reproduce hinton2015"}
    assert timeless(files["hinton2015.json"])["runs"] == reproduced(two, name="alone")["runs"]
    elsewhere = ["--runs", str(two / "elsewhere"), "--from", str(two / "json"), "--seeds", "0-1", "--workers", "1"]
    monkeypatch.setattr(hinton2015, "run", lambda *given: pytest.fail("it was run again"))
    assert main(["reproduce", "all", *elsewhere]) == 0
    assert ["hinton2015", "7", "0", "0.0"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    assert main(["reproduce", "all", "--stored", "--runs", str(two / "nothing")]) == 0
    assert "0 runs done, 7 missing" in capsys.readouterr().out


def test_all_names_a_study_whose_hours_nobody_has_stored(two, monkeypatch, capsys):
    monkeypatch.setattr(command, "CORE_HOURS", {"lenet300": 9.3})
    monkeypatch.setattr(study, "shown", lambda told: nullcontext(Stop("hard, seed 1", 2)))
    assert main(["reproduce", "all", "--workers", "1", "--runs", str(two / "runs")]) == 130
    said = capsys.readouterr().out
    assert ["hinton2015", "7", "7", "not", "known"] in [line.split() for line in said.splitlines()]
    assert "About 9.3 core hours are left, 9.3 hours on 1 worker; not known: hinton2015." in said


def test_all_replaces_no_file_of_others(two, capsys):
    (two / "json").mkdir()
    (two / "json/hinton2015.json").write_text('{"mine": 1}')
    assert main(["reproduce", "all", "--json", str(two / "json"), "--runs", str(two / "runs")]) == 2
    assert "which npkd reproduce did not write" in capsys.readouterr().err
    assert not (two / "runs").exists()


def test_core_hours_are_those_of_the_stored_runs():
    stored = {path.stem: content for path in MEASURED.glob("*.json")
              if path.stem in (*command.STUDIES, *command.EXPERIMENTS)
              and not (content := json.loads(path.read_text())).get("missing")}
    assert {*stored} == {*command.CORE_HOURS}
    for name, content in stored.items():
        hours = content["core_hours"] if name in command.STUDIES else sum(sum(
            row["seconds"]["by_seed"]) for part in ("comparison", "post_training", "records")
            for row in content[part]) / 3600
        assert command.CORE_HOURS[name] == pytest.approx(hours, abs=0.06)


def test_networks_that_all_seeds_read_are_run_whichever_are_asked_for(tiny):
    assert main(["reproduce", "hinton2015", "--seeds", "3-3", "--runs", str(tiny / "r"), "--workers", "1", "--json",
                 str(tiny / "r.json")]) == 0
    runs = json.loads((tiny / "r.json").read_text())["runs"]
    assert [(run["setting"], run["seed"]) for run in runs] == [("teacher", 0), ("hard", 3), ("distilled", 3),
                                                               ("digit 3 omitted", 3)]


# ---- what a run is


def test_students_learn_the_teachers_answers_to_pictures_as_they_are(tiny, monkeypatch):
    """The hard one learns labels; the omitted class is not in the transfer set; nothing of the test part is seen."""
    given, train = [], hinton2015.train
    monkeypatch.setattr(hinton2015, "train", lambda start, **more: (given.append(more), train(start, **more))[1])
    reproduced(tiny)
    teacher, hard, distilled, omitted, *_ = given
    stored = np.load(tiny / "data.npz")
    assert len(teacher["data"]["x"]) == len(stored["x_train"])
    assert teacher["settings"].augmentation.max_shift == 1
    assert set(teacher["penalties"]) == {1, 4}                             # not the last layer
    whole = load_data(str(tiny / "data.npz"), seed=0)
    x = np.concatenate([whole.x_train, whole.x_validation])
    file, = (tiny / "runs/hinton2015").glob("*.model.npz")
    for one in (hard, distilled, omitted):
        assert one["settings"].augmentation is None
        assert one["settings"].epochs == teacher["settings"].epochs
    np.testing.assert_array_equal(distilled["data"]["x"], x)
    np.testing.assert_allclose(distilled["data"]["teacher"], load_model(file).network.predict(x), atol=1e-5)
    assert repr(hard["objective"]) == "1.0 cross_entropy(-1, y)"
    assert repr(distilled["objective"]) == "1.0 soft_targets(-1, -1)"
    assert distilled["objective"].terms[0].options == {"temperature": 4.0}
    assert set(omitted["data"]["y"]) == {1, 2}


def test_the_test_part_changes_nothing_but_the_errors(tiny):
    """The bias neither."""
    one = reproduced(tiny)
    before = networks(tiny / "runs")
    stored = dict(np.load(tiny / "data.npz"))
    np.savez(tiny / "data.npz", **stored | {"y_test": (stored["y_test"] + 1) % 3})
    other = reproduced(tiny, name="other")
    assert networks(tiny / "other") == before
    for a, b in zip(one["runs"], other["runs"], strict=True):
        assert a.get("bias") == b.get("bias")
    assert any(a["test_error"] != b["test_error"] for a, b in zip(one["runs"], other["runs"], strict=True))


def test_the_corrected_errors_are_those_of_the_logits_with_the_bias(tiny, monkeypatch):
    """The bias is that of the pictures that are not for the test."""
    looked, asked, judged, class_bias = [], [], hinton2015.judged, hinton2015.class_bias
    monkeypatch.setattr(hinton2015, "judged", lambda logits, *rest: (looked.append(logits), judged(logits, *rest))[1])
    monkeypatch.setattr(hinton2015, "class_bias", lambda logits, prior, **more: (
        asked.append((logits, prior)), class_bias(logits, prior, **more))[1])
    run = next(run for run in reproduced(tiny)["runs"] if "corrected" in run)
    before, after = looked[3:5]
    np.testing.assert_allclose(after - before, np.tile(run["bias"], (40, 1)), atol=1e-4)
    assert run["bias"][0] != 0
    assert [len(logits) for logits, _ in asked] == [120, 120]
    assert asked[0][1].tolist() == [40, 40, 40]


def test_biases_give_classes_their_share():
    rng = np.random.default_rng(0)
    logits, prior = 3 * rng.standard_normal((500, 5)), np.array([10, 20, 30, 25, 15])
    for classes in ([3], [0, 2]):
        b = hinton2015.class_bias(logits, prior, classes=classes)
        z = np.exp(logits + b)
        np.testing.assert_allclose((z / z.sum(axis=1, keepdims=True)).mean(axis=0)[classes],
                                   prior[classes] / 100, atol=1e-9)
        assert [b[k] for k in range(5) if k not in classes] == [0.0] * (5 - len(classes))


def test_judged_counts_errors_and_what_is_right_of_some_classes(tiny):
    data = replace(load_data(str(tiny / "data.npz"), seed=0), y_test=np.array([0, 0, 1, 2]))
    logits = np.eye(3)[[0, 1, 1, 0]]
    assert hinton2015.judged(logits, data) == {"test_error": 0.5, "errors": 2}
    assert hinton2015.judged(logits, data, [0]) == {"test_error": 0.5, "errors": 2, "right": 0.5, "of": 2}
    assert hinton2015.judged(logits, data, [1, 2])["right"] == 0.5


# ---- the study


def test_the_settings_are_those_of_the_paper():
    (first,), students = hinton2015.settings(False)
    assert first == "teacher"
    teacher = hinton2015.settings(False)[0]["teacher"]
    assert (teacher["hidden"], teacher["seeds"], teacher["examples"]) == ([1200] * 2, 1, 60_000)
    assert teacher["max_shift"] == 2
    assert teacher["max_norm"] ** 2 == pytest.approx(15)
    base = students["distilled"]
    assert (base["hidden"], base["temperature"], base["labels"]) == ([800, 800], 20.0, 0.0)
    assert (students["hard"]["hidden"], students["hard"]["labels"], students["hard"]["temperature"]) == ([800] * 2, 1.0,
                                                                                                       None)
    assert students["digit 3 omitted"]["omitted"] == students["digit 3 omitted"]["biased"] == [3]
    assert sorted(students["only 7 and 8"]["omitted"] + students["only 7 and 8"]["biased"]) == list(range(10))
    for name, numbers in students.items():                                 # one budget for all
        assert numbers["teacher"] == teacher
        assert [numbers[name] for name in ("epochs", "batch_size", "clip", "data", "examples")] == [
            base[name] for name in ("epochs", "batch_size", "clip", "data", "examples")]
        assert (numbers["learning_rate"] == base["learning_rate"]) == (name != "hard")
    for width in (300, 30):
        found = {numbers["temperature"] for numbers in students.values() if numbers["hidden"] == [width, width]}
        assert found == set(hinton2015.TEMPERATURES[width])
        assert {1, 8, 20} < found
    assert hinton2015.SEEDS == 5
    quick = hinton2015.settings(True)
    assert set(quick[1]) < set(students)
    assert all(numbers["examples"] <= 10_000 for wave in quick for numbers in wave.values())


def told(errors, corrected=100, right=0.98, cpu=3600.0):
    """Runs with so many errors of 10,000 by setting."""
    runs = []
    for setting, values in errors.items():
        for seed, value in enumerate(values):
            run = {"setting": setting, "seed": seed, "test_error": value / 10_000, "cpu_seconds": cpu}
            if setting == "digit 3 omitted":
                run["corrected"] = {"test_error": corrected / 10_000, "right": right}
            runs.append(run)
    return runs


def words(lines):
    return {line.split("  ")[1].partition(":")[0]: line.split()[0] for line in lines}


GOOD = {"teacher": [80], "hard": [140, 150], "distilled": [105, 115], "digit 3 omitted": [200, 190]}


@pytest.mark.parametrize(("changed", "missed"), [
    ({}, {"moonshot, teacher, errors", "moonshot, distilled, errors"}),
    ({"teacher": [86]}, {"teacher, errors of 10,000", "moonshot, teacher, errors", "moonshot, distilled, errors"}),
    ({"teacher": [60], "distilled": [70, 74]}, set()),
    ({"hard": [110, 129]}, {"labels alone, errors", "distilled, part of the way from labels alone to the teacher",
                            "moonshot, teacher, errors", "moonshot, distilled, errors"}),
    ({"hard": [160, 161]}, {"labels alone, errors", "moonshot, teacher, errors", "moonshot, distilled, errors"}),
    ({"distilled": [115, 116]}, {"distilled, errors", "distilled, part of the way from labels alone to the teacher",
                                 "moonshot, teacher, errors", "moonshot, distilled, errors"}),
    ({"digit 3 omitted": [206, 207]}, {"digit 3 omitted, errors", "moonshot, teacher, errors",
                                       "moonshot, distilled, errors"})])
def test_bars_hold_and_are_missed(changed, missed):
    found = words(hinton2015.bars(told({**GOOD, **changed})))
    assert {what for what, word in found.items() if word == "MISSED"} == missed
    assert set(found.values()) <= {"holds", "MISSED"}


def test_the_corrected_bars_are_of_the_corrected():
    name = "digit 3 omitted, bias corrected, "
    for corrected, right, expected in ((150, 0.975, ("holds", "holds")), (151, 0.98, ("MISSED", "holds")),
                                       (100, 0.974, ("holds", "MISSED"))):
        found = words(hinton2015.bars(told(GOOD, corrected, right)))
        assert (found[name + "errors"], found[name + "% of the threes right"]) == expected


def test_bars_are_of_the_runs_that_are_there():
    assert hinton2015.bars([]) == []
    assert set(words(hinton2015.bars(told({"hard": [140]})))) == {"labels alone, errors"}
    best = "30 units, temperature with the fewest errors"
    sweep = {f"30 units, T = {t:g}": [300 + 10 * abs(t - 3)] for t in hinton2015.TEMPERATURES[30]}
    assert words(hinton2015.bars(told(sweep)))[best] == "holds"
    assert words(hinton2015.bars(told({**sweep, "30 units, T = 20": [200]})))[best] == "MISSED"
    del sweep["30 units, T = 1"]
    assert best not in words(hinton2015.bars(told(sweep)))
    every = {name: [100] for wave in hinton2015.settings(False) for name in wave}
    hours = "core hours of all runs, 8 hours on 2 cores"
    assert words(hinton2015.bars(told(every, cpu=16 * 3600 / len(every) - 1)))[hours] == "holds"
    assert words(hinton2015.bars(told(every, cpu=16 * 3600 / len(every) + 1)))[hours] == "MISSED"
    every.popitem()
    assert hours not in words(hinton2015.bars(told(every)))


def test_a_bar_is_a_sentence():
    assert bar("errors", [140, 150], least=120, most=160, published="146") == [
        "holds  errors: 145.0 ± 7.1, 2 seeds (bar at least 120 and at most 160; published 146)"]
    above = [100 * (e + 0.0002) - 100 * e for e in (0.0155, 0.0162, 0.0149)]              # two errors of 10,000
    assert max(above) > 0.02
    assert bar("points", above, most=0.02)[0].startswith("holds")
    assert bar("errors", [0.25], least=0.5) == ["MISSED  errors: 0.250 (bar at least 0.5)"]
    assert bar("errors", [], most=1) == []


@pytest.mark.parametrize("name", command.STUDIES)
def test_the_data_of_every_setting_are_known_by_name(name):
    used = {numbers.get("data", "mnist") for quick in (True, False) for wave in command.STUDIES[name].settings(quick)
            for numbers in wave.values()}
    assert used <= {"digits", *SOURCES}


def test_studies_are_in_the_command():
    assert command.STUDIES["hinton2015"] is hinton2015
    with pytest.raises(InputError, match="no JSON"):
        study.stored_json(__import__("pathlib").Path(__file__))
