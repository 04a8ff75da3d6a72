"""The survey's table: which rows it has, that a small part of it runs, and that its bars can be missed."""

import json

import numpy as np
import pytest

from npkd.core.progress import NoProgress
from npkd.distillation.safety import safe_clip
from npkd.experiments import survey2021
from npkd.experiments.study import Unit
from npkd.nn.network import perceptron
from npkd.nn.training import TrainingSettings, train
from npkd.pipeline.library import LOSSES, SCHEMES


def test_every_loss_and_scheme_has_a_row_for_the_pairs_that_it_is_for():
    given, students = survey2021.settings(False)
    assert {name.split(": ")[0] for name in given} == {"mlp", "cnn", "optdigits"}
    assert len(given) == 3 * len(survey2021.GIVEN)
    words = {*LOSSES, *SCHEMES} - {"offline"}
    for pair, but in (("mlp", survey2021.MAPS), ("optdigits", survey2021.MAPS), ("cnn", set())):
        rows = {name.split(": ")[1] for name in students if name.startswith(pair)}
        assert rows >= words - but
        assert rows - words == {survey2021.ALONE, survey2021.LOWER, survey2021.TUNED, "ensemble, one a batch"}
    assert len({json.dumps(numbers) for numbers in students.values()}) == len(students)
    quick = survey2021.settings(True)
    assert {name.split(":")[0] for wave in quick for name in wave} == {"optdigits"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Settings of the quick table by their words, run once with changed numbers: word, changes -> the run."""
    folder, (given, students) = tmp_path_factory.mktemp("survey"), survey2021.settings(True)
    for name, numbers in given.items():
        survey2021.run(Unit(name, numbers, 0, folder), NoProgress())

    def run(word, **changes):
        name = f"optdigits: {word}"
        unit = Unit(name, students[name] | changes, 0, folder)
        return {"setting": name, "seed": 0, **survey2021.run(unit, NoProgress())}

    return run


def test_students_run_on_the_kept_teacher(runs):
    words = "labels alone", "soft", "sp", "mutual", "assistants", "born-again", "layer-wise", "ensemble, one a batch"
    found = [runs(word) for word in words]
    assert all(0 < run["test_error"] < 0.95 and run["epoch_seconds"] > 0 for run in found)
    assert found[1]["test_error"] != found[0]["test_error"]
    sentences = survey2021.bars(found)
    assert sentences[0].startswith("MISSED: the table is complete, 0 of ")
    said = "MISSED: no worse than labels alone beyond chance: optdigits:"
    assert [s.split(", ")[0] for s in sentences[1:]] == [f"{said} {word}"
                                                         for word in (*words[1:-1], "ensemble")]     # one seed: open


@pytest.mark.filterwarnings("ignore::npkd.nn.dead.DeadNeuronsWarning")
@pytest.mark.parametrize(("word", "baseline"), [*survey2021.BASELINES.items(), ("ensemble", survey2021.ALONE)])
def test_without_its_weight_a_scheme_is_its_baseline(runs, word, baseline):
    """A baseline sees the same inputs and examples: with the teacher's weight at 0 nothing is left that differs."""
    without, alone, whole = runs(word, weight=0.0), runs(baseline), runs(word)
    assert without["test_error"] == alone["test_error"] != whole["test_error"]


def test_labels_alone_of_the_lower_half_are_plain_training_on_it(runs):
    data, rng = survey2021.lower_half(survey2021.part("digits", 600)), np.random.default_rng([0, 0])
    start = perceptron(survey2021.PAIRS["optdigits"]["student"], rng)
    options = TrainingSettings(3, 128, clip=safe_clip(start, data.x_train, data.y_train))
    *_, last = train(start, {"x": data.x_train, "y": data.y_train}, settings=options, rng=rng)
    error = (last.network.predict(data.x_test).argmax(axis=1) != data.y_test).mean()
    assert runs(survey2021.LOWER)["test_error"] == pytest.approx(error)


def test_the_lower_half_is_all_that_a_cross_modal_student_sees():
    data = survey2021.part("digits", 600)
    seen = survey2021.lower_half(data)
    for whole, part in ((data.x_train, seen.x_train), (data.x_test, seen.x_test)):
        np.testing.assert_array_equal(part[:, 32:], whole[:, 32:])
        assert whole[:, :32].any()
        assert not part[:, :32].any()


def test_a_row_of_some_of_the_seeds_holds_nothing():
    found = [{"setting": f"mlp: {name}", "seed": seed, "test_error": error + 0.001 * seed, "epoch_seconds": 1.0}
             for name, error in ((survey2021.ALONE, 0.2), ("pkt", 0.1)) for seed in range(4)]
    assert survey2021.bars(found)[-1].startswith("MISSED")
    assert "(win, 4 of 5 seeds)" in survey2021.bars(found)[-1]


@pytest.mark.parametrize(("theirs", "verdict"), [(0.10, "holds"), (0.30, "MISSED")])
@pytest.mark.parametrize(("word", "baseline"), [("pkt", survey2021.ALONE), *survey2021.BASELINES.items()])
def test_a_row_is_judged_pair_by_pair(theirs, verdict, word, baseline):
    found = [{"setting": f"mlp: {name}", "seed": seed, "test_error": error + 0.001 * seed, "epoch_seconds": 1.0}
             for name, error in ((baseline, 0.2), ("soft", 0.2), (word, theirs)) for seed in range(5)]
    assert survey2021.bars(found)[-1].startswith(f"{verdict}: no worse than {baseline} beyond chance: mlp: {word}")
