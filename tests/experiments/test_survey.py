"""The survey's table: which rows it has, that a small part of it runs, and that its bars can be missed."""

import json

import pytest

from npkd.core.progress import NoProgress
from npkd.experiments import survey2021
from npkd.experiments.study import Unit
from npkd.pipeline.distil import IN_PYTHON
from npkd.pipeline.library import LOSSES, SCHEMES


def test_every_loss_and_scheme_has_a_row_for_the_pairs_that_it_is_for():
    teachers, students = survey2021.settings(False)
    assert [*teachers] == ["mlp: teacher", "cnn: teacher", "optdigits: teacher"]
    words = {*LOSSES, *SCHEMES} - {*IN_PYTHON, "offline"}
    for pair, but in (("mlp", survey2021.MAPS), ("optdigits", survey2021.MAPS), ("cnn", survey2021.PERCEPTRONS)):
        rows = {name.split(": ")[1] for name in students if name.startswith(pair)}
        assert rows == (words - but) | {survey2021.ALONE}
    assert len({json.dumps(numbers) for numbers in students.values()}) == len(students)
    quick = survey2021.settings(True)
    assert {name.split(":")[0] for wave in quick for name in wave} == {"optdigits"}


def test_students_run_on_the_kept_teacher(tmp_path):
    teachers, students = survey2021.settings(True)
    units = [Unit(name, students[name] if name in students else teachers[name], 0, tmp_path) for name in (
        "optdigits: teacher", "optdigits: labels alone", "optdigits: soft", "optdigits: sp", "optdigits: mutual")]
    runs = [{"setting": u.setting, "seed": 0, **survey2021.run(u, NoProgress())} for u in units]
    assert all(0 < run["test_error"] < 0.95 and run["epoch_seconds"] > 0 for run in runs)
    assert runs[2]["test_error"] != runs[1]["test_error"]
    sentences = survey2021.bars(runs)
    assert sentences[0].startswith("MISSED: the table is complete, 0 of ")
    assert [s.split(", ")[0] for s in sentences[1:]] == [f"MISSED: not worse than labels alone: optdigits: {word}"
                                                          for word in ("soft", "sp", "mutual")]      # one seed: open


@pytest.mark.parametrize(("theirs", "verdict"), [(0.10, "holds"), (0.30, "MISSED")])
def test_a_row_is_judged_pair_by_pair(theirs, verdict):
    runs = [{"setting": f"mlp: {word}", "seed": seed, "test_error": error + 0.001 * seed, "epoch_seconds": 1.0}
            for word, error in ((survey2021.ALONE, 0.2), ("soft", 0.2), ("pkt", theirs)) for seed in range(5)]
    assert survey2021.bars(runs)[2].startswith(f"{verdict}: not worse than labels alone: mlp: pkt")
