"""``npkd reproduce``: settings and their hashes, runs that are kept and never run twice, the test part, intervals,
tables, the command."""

import csv
import hashlib
import json
import os
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection

from npkd.cli.main import main
from npkd.cli.parser import parser
from npkd.core.files import make_folder
from npkd.core.validation import InputError
from npkd.core.workers import Workers
from npkd.experiments import command, lenet5, lenet300, runs, tables
from npkd.experiments.compare import paired
from npkd.experiments.experiment import SCRATCH, Record, against, of_seed, records, seeded, untrained
from npkd.experiments.methods import METHODS, NAMES
from npkd.experiments.setting import (
    LATER,
    NEW_FIELDS,
    OLD_NAMES,
    VERSION,
    Setting,
    TeacherSetting,
    key,
    path_of,
    read,
    write,
)
from npkd.nn import architectures, cost
from npkd.pipeline.recipe import Recipe
from reference.benchmarks import figures
from reference.benchmarks.pareto import CONVOLUTIONS, pareto
from reference.published_results import published
from tests.tiny import arrays, fixed

ROOT = Path(__file__).resolve().parents[2]
PERCEPTRONS, LENETS = published("lenet300"), published("lenet5")
RECIPE = fixed(hidden=(8, 6), teacher_epochs=1, rounds=2, round_epochs=1, epochs=1, batch_size=16,
                learning_rate=0.02, student_learning_rate=0.02)


def taught(folder, seed=0, **changed):
    path = folder / "data.npz"
    if not path.exists():
        np.savez(path, **arrays())
    return TeacherSetting(str(path), None, "plain", replace(RECIPE, **changed), seed)


def tiny(folder, seeds=2, names=("random", "obs", "scratch")):
    return [s for seed in range(seeds)
            for s in against(taught(folder, seed), 90, RECIPE, names, ("outgoing weights",), names)]


# ---- settings
# ------------------------------------------------------------------------------------------------------------------


def test_every_field_of_a_setting_is_in_its_hash(tmp_path):
    """Recipes too, and the run that is followed; equal settings have one hash."""
    teacher = taught(tmp_path)
    one = Setting(teacher, "obs", 90, RECIPE)
    others = [replace(one, teacher=replace(teacher, seed=1)), replace(one, teacher=replace(teacher, kind="moved")),
              replace(one, teacher=replace(teacher, examples=50)),
              replace(one, teacher=replace(teacher, data="digits")),
              replace(one, method="random"), replace(one, macs=91), replace(one, keep_inputs=True),
              replace(one, widths_of=one),
              replace(one, widths_of=replace(one, macs=91)), replace(one, kind="parameters"),
              replace(one, widths_of=replace(one, kind="parameters")), replace(one, distil_from=teacher),
              replace(one, distil_from=replace(teacher, kind="moved"))]
    for field in fields(Recipe):
        value = getattr(RECIPE, field.name)
        known = {"hidden": (7,), "network": "lenet5", "validation": 0.2, "distil_from": "x", "steps": ("int8",),
                 "task": "regression"}
        other = known.get(field.name)
        other = other or value + 1
        others += [replace(one, recipe=replace(RECIPE, **{field.name: other})),
                   replace(one, teacher=replace(teacher, recipe=replace(RECIPE, **{field.name: other})))]
    hashes = [key(s) for s in [one, *others, teacher]]
    assert len(set(hashes)) == len(hashes)
    assert key(Setting(taught(tmp_path), "obs", 90, replace(RECIPE))) == hashes[0]
    assert all(len(h) == 64 for h in hashes)


STORED = {                                  # SHA-256 of the hashes of all units and their teachers, made by version 0.1
    (lenet300, "comparison"): "86c07aa32b89d6c8afd0f45ef8f83788e392e4c12c1417bbd9f936d9b75f6166",
    (lenet300, "post_training"): "ec3b6d99896dcc271e89b010f837bb9cd54bc3ea9ec542edd7e2e6614d76f5ae",
    (lenet300, "records"): "6817b6d0fd76d8ba29c504182e6dee63a22ec029cc9ad7364841beb80815af9e",
    (lenet5, "comparison"): "612301a697f5d35b161bef238ac7e5136c4720df8eb747d8fe979ba8f8183479",
    (lenet5, "post_training"): "9afdaf0c2b3acf7a757076baf4b56aa6febd160889e0d0181bbb17f2a89d49e0",
    (lenet5, "records"): "cd0c12d0ae81b81607331c54662ac3627c251872b20d529bdf33401bd5dfd08b"}


@pytest.mark.parametrize(("experiment", "part"), STORED)
def test_every_run_that_version_0_1_stored_is_still_found(experiment, part):
    """Fields have other names since; the runs lie under the hashes of the old ones, those of tutored records too."""
    if part == "records":
        units = [unit for _, some in records(experiment, [0]) for unit in some]
    else:
        units = seeded(getattr(experiment, part.upper()), range(2 if part == "comparison" else 1))
    hashes = "".join([key(unit) for unit in units] + [key(unit.teacher) for unit in units])
    assert hashlib.sha256(hashes.encode()).hexdigest() == STORED[experiment, part]


def test_runs_of_before_a_field_was_there_keep_their_names(tmp_path):
    """The hash as it was made when Recipe and Setting had none of the fields of LATER, and did what these now say."""
    def before(found):
        named = {OLD_NAMES.get(name, name): value for name, value in found.items()}
        new = NEW_FIELDS if "hidden" in found else ()
        return {name: before(value) if isinstance(value, dict) else value for name, value in named.items()
                if name not in ("network", "statistics", "spare", "tutor", "adversary", *new)
                and (name != "kind" or "seed" in found)}

    recipe = replace(RECIPE, balance_exponent=1.0)
    first = Setting(replace(taught(tmp_path), recipe=recipe, kind="moved"), "ours", 90, recipe)
    for unit in (first, replace(first, method="obs", widths_of=first), first.teacher):
        old = {"what": type(unit).__name__, "version": VERSION, "setting": before(asdict(unit))}
        assert key(unit) == hashlib.sha256(json.dumps(old, sort_keys=True).encode()).hexdigest()
    assert set(LATER) <= {OLD_NAMES.get(field.name, field.name) for kind in (Recipe, Setting) for field in fields(kind)}
    changed = replace(recipe, statistics=10)
    assert key(replace(first, recipe=changed)) != key(first)


def test_results_are_read_as_they_were_written_and_damage_is_named(tmp_path):
    unit, result = Setting(taught(tmp_path), "obs", 90, RECIPE), {"test_error": 0.1, "path": [[1, 2, 3]]}
    assert read(unit, tmp_path) is None
    write(unit, result, tmp_path)
    assert read(unit, tmp_path) == result
    path = path_of(unit, tmp_path)
    whole = path.read_bytes()
    for damaged, words in ((whole[:-20], "no JSON"), (b"[]", "not the run"),
                           (whole.replace(b'"obs"', b'"abs"'), "not the run")):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=words):
            read(unit, tmp_path)


# ---- runs
# ----------------------------------------------------------------------------------------------------------------------


def test_what_is_finished_is_not_run_again(tmp_path, monkeypatch):
    settings = tiny(tmp_path, seeds=1)
    first = [runs.finish(s, tmp_path) for s in settings]

    def never(*arguments):
        raise AssertionError("it was run again")

    for name in ("make", "load_data"):
        monkeypatch.setattr(runs, name, never)
    assert [runs.finish(s, tmp_path) for s in settings] == first
    assert runs.finish(settings[0].teacher, tmp_path)["test_error"] == first[0]["teacher_test_error"]


def test_a_run_that_is_broken_off_leaves_the_others_and_is_run_then(tmp_path, monkeypatch):
    settings, count, make = tiny(tmp_path, seeds=1), [], runs.make

    def counted(*arguments):
        count.append(arguments)
        if len(count) == 3:
            raise KeyboardInterrupt
        return make(*arguments)

    monkeypatch.setattr(runs, "make", counted)
    for s in settings[:2]:
        runs.finish(s, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        runs.finish(settings[2], tmp_path)
    assert [read(s, tmp_path) is not None for s in settings[:4]] == [True, True, False, False]
    for s in settings:
        runs.finish(s, tmp_path)
    assert len(count) == len(settings) + 1                            # the one that was broken off, twice


def test_the_same_setting_gives_the_same_result(tmp_path):
    def without_time(result):
        return {k: v for k, v in result.items() if k != "seconds"}

    for s in tiny(tmp_path, seeds=1):
        one, two = (without_time(runs.finish(s, make_folder(tmp_path / name))) for name in "ab")
        assert one == two


def test_methods_and_teachers_are_given_no_test_part(tmp_path, monkeypatch):
    seen, make, train = [], runs.make, runs.stages.train_teacher

    def watched(setting, run, *rest):
        seen.append(run.data)
        return make(setting, run, *rest)

    def watched_too(run, *rest):
        seen.append(run.data)
        return train(run, *rest)

    monkeypatch.setattr(runs, "make", watched)
    monkeypatch.setattr(runs.stages, "train_teacher", watched_too)
    result = runs.finish(Setting(replace(taught(tmp_path), examples=70), "obs", 90, RECIPE), tmp_path)
    assert len(seen) == 2
    assert all(len(d.x_test) == len(d.y_test) == 0 and len(d.x_train) == len(d.y_train) == 70 for d in seen)
    assert 0 <= result["test_error"] <= 1


def test_a_logit_source_is_trained_once_and_asked(tmp_path, monkeypatch):
    """Its answers, not the teacher's, make the transfer set; it is a unit of the first wave; other methods refuse
    it."""
    distil_from, asked, transfer_set = taught(tmp_path, hidden=(9, 7)), [], runs.stages.transfer_set
    unit = Setting(taught(tmp_path), "ours", 90, replace(RECIPE, all_at_last=True), distil_from=distil_from)
    trained, train_teacher = [], runs.stages.train_teacher
    monkeypatch.setattr(runs.stages, "train_teacher",
                        lambda *given: (trained.append(given), train_teacher(*given))[1])
    assert runs.waves([unit])[0] == [unit.teacher, distil_from]
    monkeypatch.setattr(runs.stages, "transfer_set", lambda network,
                        *rest: (asked.append(network), transfer_set(network, *rest))[1])
    runs.finish(unit, tmp_path)
    # the rounds' transfer set, and that of all examples
    assert [getattr(one, "network", one).widths for one in asked] == [[16, 9, 7, 3]] * 2
    assert len(trained) == 2
    with pytest.raises(InputError, match="seed must agree"):
        replace(unit, distil_from=replace(distil_from, seed=1))
    with pytest.raises(InputError, match="obs was given distil_from"):
        runs.finish(replace(unit, method="obs"), tmp_path)


def test_runs_follow_ours_where_they_are_told_to(tmp_path):
    settings = tiny(tmp_path, seeds=1)
    first = runs.finish(settings[0], tmp_path)
    for s in settings:
        found = runs.finish(s, tmp_path)
        assert found["macs"] <= 90
        assert found["macs"] == cost.of_widths(found["widths"]).macs
        if s.widths_of is not None:
            assert s.widths_of == settings[0]
            assert found["widths"] == first["widths"]
            assert s.method != "scratch" or found["inputs"] == first["inputs"]


def test_processes_do_what_one_does_and_the_second_time_nothing(tmp_path, capfd):
    settings = tiny(tmp_path, names=("obs",))
    before = dict(os.environ)
    alone, together = make_folder(tmp_path / "alone"), tmp_path / "together"
    count = runs.run_all(settings, together, Workers(2))
    assert count == len({s.teacher for s in settings}) + len(settings)
    assert dict(os.environ) == before | {"KMP_INIT_AT_FORK": "FALSE"}                                # by joblib
    said = capfd.readouterr().err
    assert f"runs: {count}/{count}, obs at our widths, 90 MACs, seed" in said                  # of all waves together
    assert runs.run_all(settings, together, Workers(2)) == 0
    for s in settings:
        assert read(s, together)["widths"] == runs.finish(s, alone)["widths"]


def test_a_run_that_cannot_be_is_named(tmp_path):
    with pytest.raises(InputError, match=r"obs, 4 MACs, seed 0: .*smallest"):
        runs.run_all([Setting(taught(tmp_path), "obs", 4, RECIPE)], tmp_path / "runs", Workers(1))


def test_units_come_after_what_they_need(tmp_path):
    settings = tiny(tmp_path)
    teachers, own, following = runs.waves(list(reversed(settings)))
    assert set(teachers) == {s.teacher for s in settings}
    assert set(own) | set(following) == set(settings)
    assert all(s.widths_of in own for s in following)
    assert len(own) + len(following) == len(settings)
    alone = [s for s in settings if s.widths_of]
    assert runs.waves(alone)[1] == list(dict.fromkeys(s.widths_of for s in alone))    # also where nobody asked for it


# ---- numbers
# -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_intervals_are_those_of_the_paired_t_test(seed):
    from scipy.stats import ttest_rel  # half a second that no other test has to wait

    rng = np.random.default_rng(seed)
    ours = rng.random(5)
    theirs = ours + rng.normal(0.3, 0.3, 5)
    found, other = paired(theirs.tolist(), ours.tolist()), ttest_rel(theirs, ours)
    interval = other.confidence_interval(0.95)
    assert found.interval == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.mean == pytest.approx((theirs - ours).mean())
    assert (found.verdict == "tie") == (other.pvalue > 0.05)


def test_verdicts():
    assert paired([0.3, 0.31, 0.32], [0.1, 0.11, 0.13]).verdict == "win"
    assert paired([0.1, 0.11, 0.13], [0.3, 0.31, 0.32]).verdict == "loss"
    assert paired([0.1, 0.3, 0.2], [0.2, 0.1, 0.25]).verdict == "tie"
    assert paired([0.1, 0.1], [0.1, 0.1]).verdict == "tie"
    assert paired([0.1], [0.2]).verdict == "open"
    assert paired([0.1], [0.2]).interval is None


# ---- LeNet-300-100
# -------------------------------------------------------------------------------------------------------------


def test_the_comparison_is_at_equal_cost():
    """The methods of the issue; one teacher a seed; 60 epochs for all; each method with widths of its own, at one
    budget some with ours."""
    settings = seeded(lenet300.COMPARISON, range(5))
    assert len(set(settings)) == len(settings)
    assert {s.epochs for s in settings} == {60}
    assert {s.macs for s in settings} == {26_620, 9_560, 4_800}
    teachers = {s.teacher for s in settings}
    assert sorted(t.seed for t in teachers) == [0, 1, 2, 3, 4]
    assert teachers == {replace(lenet300.MOVED, seed=seed) for seed in range(5)}
    assert len({t.kind for t in teachers}) == 1
    assert {s.method for s in settings} == {name for name in NAMES if "refitted" not in name}
    learnt = {replace(s.recipe, rounds=1, round_epochs=0, epochs=1) for s in settings}
    assert len(learnt) == 1                                           # rates, batches, transfer set, temperature
    # moved for both, or for neither
    assert {t.recipe.max_shift for t in teachers} == {recipe.max_shift for recipe in learnt}
    for macs in (26_620, 9_560, 4_800):
        for seed in range(5):
            here = [s for s in settings if s.macs == macs and s.teacher.seed == seed]
            mine = [s for s in here if s.method == "ours"]
            assert len(mine) == 1
            own, followed = ({tables.label(s).removesuffix(" (our widths)") for s in here
                              if bool(s.widths_of) == follow} for follow in (0, 1))
            assert followed == set(lenet300.FOLLOWING) < own
            assert {"outgoing weights", "outgoing weights, one shot", "incoming weights, one shot"} < own
            assert {name for name in METHODS if "refitted" not in name} < own
            assert {s.widths_of for s in here} == {None, mine[0]}


def test_the_records_are_the_bars():
    bars = {(False, 9_560, False): 1.60, (False, 69_266, False): 1.40, (True, 9_560, False): 1.30,
            (True, 6_000, False): 1.60,
            (True, 27_000, False): 1.00, (True, 3_100, False): 1.60, (True, 60_000, True): 1.43}
    found = [((r.setting.teacher.kind != "plain", r.setting.macs, r.setting.keep_inputs), r.bar)
             for r in lenet300.RECORDS]
    assert set(found) == set(bars.items())
    assert not any(r.setting.distil_from for r in lenet300.RECORDS if r.setting.teacher == lenet300.PLAIN)
    for record, settings in records(lenet300, range(3)):
        one = record.setting
        assert [s.teacher.seed for s in settings] == [0, 1, 2]
        assert all((s.method, s.macs, s.recipe) == ("ours", one.macs, one.recipe) for s in settings)
        distil_from = [replace(lenet5.MOVED, seed=seed) for seed in range(3)] if one.distil_from else [None] * 3
        assert [s.distil_from for s in settings] == distil_from
        assert one.teacher.kind != "plain" or one.recipe.max_shift == settings[0].teacher.recipe.max_shift == 0
    assert all(taught.recipe.hidden == (300, 100) for taught in (lenet300.PLAIN, lenet300.MOVED))


def test_published_rows_are_read():
    """A row of each kind, by hand."""
    assert PERCEPTRONS[0] == ("VIBNet (Dai 2018)", (97, 71, 33), 1.6, False, 9_560, "read", True)
    assert LENETS[0] == ("Taylor, small (Molchanov 2017)", (2, 7, 99), 0.2, True, 63_278, "read", False)
    assert (len(PERCEPTRONS), len(LENETS)) == (15, 25)


def test_published_rows_are_those_of_the_table():
    with open(ROOT / "reference" / "published" / "lenet300.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["sureness"] for row in rows} == {"read", "recalled", "recomputed"}
    assert all(row["source"] for row in rows)
    single = {row["method"]: row for row in rows if row["kept"] and "ensemble" not in row["method"]
              and "unstructured" not in row["method"]}
    assert {p.method for p in PERCEPTRONS} == set(single)
    for p in PERCEPTRONS:
        row = single[p.method]
        assert (row["kept"], float(row["test_error"]), int(row["macs"]), row["sureness"], row["inputs_removed"]) == (
            "-".join(map(str, p.widths)), p.test_error, p.macs, p.sureness, "yes" if p.inputs_removed else "no")
    for row in rows:
        if row["kept"] and "unstructured" not in row["method"]:
            assert int(row["macs"]) == cost.of_widths([*map(int, row["kept"].split("-")), 10]).macs


# ---- the command
# ---------------------------------------------------------------------------------------------------------------


def test_the_command_prints_tables_and_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    settings = tiny(tmp_path, names=("obs",))
    monkeypatch.setattr(lenet300, "QUICK", [[s for s in settings if s.teacher.seed == 0]])
    words = ["reproduce", "lenet300", "--quick", "--runs", str(tmp_path / "runs"), "--workers", "1"]
    assert main([*words, "--seeds", "0-0"]) == 0
    once = capsys.readouterr().out
    assert "5 runs in" in once                      # a teacher, ours, two methods, one of them also with our widths
    assert main([*words, "--json", str(tmp_path / "out.json")]) == 0
    text = capsys.readouterr().out
    assert "5 runs in" in text                                        # those of the other seed
    assert "reference/published/lenet300.csv" in text
    stored = json.loads((tmp_path / "out.json").read_text())
    assert stored["command"] == "npkd reproduce lenet300 --quick --seeds 0-1"
    by_label = {row["method"]: row for row in stored["comparison"]}
    assert list(by_label) == ["ours", "obs", "outgoing weights, one shot", "obs (our widths)"]
    for name, row in by_label.items():
        mine = [read(s, tmp_path / "runs")["test_error"] for s in settings if tables.label(s) == name]
        ours = [read(s, tmp_path / "runs")["test_error"] for s in settings if s.method == "ours"]
        assert row["test_error"]["by_seed"] == mine
        assert row["test_error"]["mean"] == pytest.approx(np.mean(mine))
        assert row["test_error"]["deviation"] == pytest.approx(np.std(mine, ddof=1))
        if name != "ours":
            assert row["minus_ours"]["mean"] == pytest.approx(np.mean(mine) - np.mean(ours))
            assert f"{100 * row['minus_ours']['mean']:+.3f}" in text


def test_what_is_stored_is_shown_and_nothing_run(tmp_path, monkeypatch, capsys):
    settings = tiny(tmp_path, names=("obs",))
    monkeypatch.setattr(lenet300, "QUICK", [[s for s in settings if s.teacher.seed == 0]])
    folder = tmp_path / "runs"
    first = [s for s in settings if s.teacher.seed == 0]
    runs.run_all(first[:2], folder, Workers(1))                               # ours and obs of seed 0
    runs.finish(settings[-1].teacher, folder)
    runs.finish(next(s for s in settings if s.teacher.seed == 1 and s.method == "obs" and s.widths_of is None), folder)
    monkeypatch.setattr(command, "run_all", lambda *given: pytest.fail("something was run"))
    assert main(["reproduce", "lenet300", "--quick", "--stored", "--runs", str(folder), "--json",
                 str(tmp_path / "out.json")]) == 0
    stored = json.loads((tmp_path / "out.json").read_text())
    # seed 1 has no pair
    assert [(row["method"], row["seeds"]) for row in stored["comparison"]] == [("ours", [0]), ("obs", [0])]
    assert stored["command"].endswith("--stored")
    assert "0 runs" in capsys.readouterr().out
    cut = untrained(first[0].teacher, 90, RECIPE, ("obs",), ())
    monkeypatch.setattr(lenet300, "POST_TRAINING", [cut])
    words = ["reproduce", "lenet300", "--part", "post-training", "--stored", "--runs", str(folder), "--json",
             str(tmp_path / "cut.json")]
    assert main(words) == 2                                            # only runs with training are there
    assert "holds no finished run" in capsys.readouterr().err
    runs.finish(cut[0], folder)
    assert main(words) == 0
    stored = json.loads((tmp_path / "cut.json").read_text())
    assert [row["method"] for row in stored["post_training"]] == ["ours"]
    assert not stored["comparison"]
    assert not stored["records"]


def test_the_picture_holds_every_point():
    """Published rows by sureness, other methods up to 4 %, ours with its deviation; what is left out is counted in
    words."""
    def row(name, macs, error, **more):
        return {"method": name, "macs": {"mean": macs}, "test_error": {"mean": error, "deviation": 0.001}, **more}

    comparison = [row("ours", 9000, 0.015), row("obs", 9100, 0.016), row("random", 9200, 0.045)]
    figure = pareto(comparison, [row("", 9000, 0.013, teacher="moved"), row("", 9000, 0.019, teacher="plain"),
                                 row("", 9000, 0.012, teacher="moved", distil_from=True),
                                 row("", 9000, 0.011, teacher="moved", distil_from=True, keep_inputs=True)])
    axes = figure.axes[0]
    drawn = [tuple(point) for c in axes.collections if isinstance(c, PathCollection)
             for point in np.asarray(c.get_offsets())]
    assert {(p.macs, p.test_error) for p in PERCEPTRONS} | {(9100, 1.6)} == set(drawn)
    lines = {(float(x), round(float(y), 9)) for line in axes.lines
             for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)}
    assert {(9000, 1.5), (9000, 1.3), (9000, 1.9), (9000, 1.2), (9000, 1.1)} <= lines
    assert "1 points above 4 % are left out" in axes.get_xlabel()
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert {"ours, records, like for like", "ours, records, moved, and taught by a LeNet-5",
            "ours, records, moved, and taught by a LeNet-5, all inputs kept"} <= set(words)
    assert len(words) == len(set(words))


def test_records_are_judged_by_their_mean(tmp_path):
    settings = [Setting(taught(tmp_path, seed), "ours", 90, RECIPE) for seed in range(2)]
    errors = [runs.finish(s, tmp_path)["test_error"] for s in settings]
    for bar, holds in ((100 * np.mean(errors) + 1e-6, True), (100 * np.mean(errors) - 1e-6, False)):
        record = Record("one", bar, settings[0])
        row, = tables.record_rows([(record, settings)], tmp_path)
        assert row["holds"] is holds
        assert ("MISSED" in tables.records_text([row])) is not holds


@pytest.mark.parametrize(("words", "said"), [
    (["lenet301"], "lenet301"), ([], "NAME"),
    (["lenet300", "--seeds", "5"], "such as 0-4 for 5 seeds, 5-5 for seed 5 alone"),
    (["lenet300", "--jobs", "2"], "it is --workers now"),
    (["lenet300", "--workers", "none"], "whole number"),
    (["lenet300", "--quick", "--part", "records"], "no records"),
    (["lenet5", "--quick", "--part", "post-training"], "no post-training"),
    (["lenet300", "--runs", __file__], "which is a file"),
    (["lenet300", "--stored", "--runs", "no/such/runs"], "holds no finished run of lenet300"),
    (["lenet300", "--json", "no/such/folder/x.json"], "in no folder")])
def test_wrong_words_are_refused(words, said, capsys):
    assert main(["reproduce", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_the_numbers_replace_no_file_of_others_unasked(tmp_path, monkeypatch, capsys):
    """Before anything is run; what npkd reproduce wrote is replaced, anything else with --overwrite alone."""
    settings = [s for s in tiny(tmp_path, names=("obs",)) if s.teacher.seed == 0][:2]
    runs.run_all(settings, tmp_path / "runs", Workers(1))
    capsys.readouterr()
    monkeypatch.setattr(lenet300, "QUICK", [settings])
    path = tmp_path / "out.json"
    words = ["reproduce", "lenet300", "--quick", "--stored", "--runs", str(tmp_path / "runs"), "--json", str(path)]
    for mine in ('{"mine": 1}', '{"notes": "npkd reproduce ", "command": "npkd reproduce "}'):
        path.write_text(mine)
        with monkeypatch.context() as patch:
            patch.setattr(command, "finished", lambda *given: pytest.fail("something was read"))
            assert main(words) == 2
        err = capsys.readouterr().err
        assert f"--json names {path}, which npkd reproduce did not write; name another file, or give --overwrite" in err
        assert err.count("\n") == 1
        assert path.read_text() == mine
    for more in (["--overwrite"], []):
        assert main([*words, *more]) == 0
        assert "--overwrite" not in json.loads(path.read_text())["command"]
    path.unlink()
    path.mkdir()
    assert main([*words, "--overwrite"]) == 2
    assert "is no file" in capsys.readouterr().err


def test_the_command_knows_what_the_parser_offers():
    offered = next(a for a in parser()._subparsers._group_actions[0].choices["reproduce"]._actions if a.dest == "name")
    assert ("all", *command.EXPERIMENTS, *command.STUDIES) == tuple(offered.choices)
    assert offered.choices == ("all", "lenet300", "lenet5", "hinton2015", "survey2021", "ba2014", "romero2015",
                               "alvarez2017", "berthelier2020", "cintra2018", "compression")
    parts = next(a for a in parser()._subparsers._group_actions[0].choices["reproduce"]._actions if a.dest == "part")
    assert tuple(parts.choices) == command.PARTS == ("all", "comparison", "post-training", "records")


# ---- LeNet-5
# -------------------------------------------------------------------------------------------------------------------


def test_the_comparison_of_convolutions_is_at_equal_cost():
    settings = seeded(lenet5.COMPARISON, range(3))
    assert set(lenet5.METHODS) == {"incoming weights", "outgoing weights", "activation", "taylor", "slimming", *SCRATCH}
    assert len(set(settings)) == len(settings) == 2 * 3 * (8 + 2)
    assert {s.epochs for s in settings} == {20}
    assert {s.macs for s in settings} == {93_000, 63_000}
    assert {s.kind for s in settings} == {"macs"}
    assert {s.recipe.network for s in settings} == {s.teacher.recipe.network for s in settings} == {"lenet5"}
    learnt = {replace(s.recipe, rounds=1, round_epochs=0, epochs=1) for s in settings}
    assert len(learnt) == 1
    assert {s.teacher.recipe.max_shift for s in settings} == {recipe.max_shift for recipe in learnt} == {1}
    for macs in (93_000, 63_000):
        for seed in range(3):
            here = [s for s in settings if s.macs == macs and s.teacher.seed == seed]
            assert len({s.teacher for s in here}) == 1
            assert [s.method for s in here] == ["ours", *lenet5.METHODS, *SCRATCH]
            assert [s.widths_of for s in here] == [None] * 8 + [here[0]] * 2
    assert {s.method for s in seeded(lenet5.QUICK, range(2))} == {s.method for s in settings}
    assert {s.teacher.examples for s in seeded(lenet5.QUICK, range(2))} == {5_000}


@pytest.mark.parametrize("experiment", [lenet300, lenet5])
def test_without_training_all_have_one_cut_and_no_epoch(experiment):
    settings = seeded(experiment.POST_TRAINING, range(5))
    assert {(s.recipe.rounds, s.epochs) for s in settings} == {(1, 0)}
    assert len({s.recipe for s in settings}) == 1
    assert {s.kind for s in settings} == {"macs"}
    assert len(set(settings)) == len(settings)
    for macs in experiment.UNTRAINED_BUDGETS:
        for seed in range(5):
            here = [s for s in settings if s.macs == macs and s.teacher.seed == seed]
            assert {s.teacher.kind for s in here} == {"moved"}
            assert len({s.teacher for s in here}) == 1
            assert [s.method for s in here] == ["ours", *experiment.UNTRAINED, *experiment.REFITTED]
            assert [s.widths_of
                    for s in here] == [None] * (1 + len(experiment.UNTRAINED)) + [here[0]] * len(experiment.REFITTED)
    whole = {"lenet300": 266_200, "lenet5": 2_293_000}[experiment.__name__.rsplit(".", 1)[1]]
    assert [macs / whole for macs in experiment.UNTRAINED_BUDGETS] == [0.5, 0.25, 0.1,
                                                                       0.05][:len(experiment.UNTRAINED_BUDGETS)]


def test_the_records_of_convolutions_are_the_bars():
    found = {(r.setting.teacher.kind != "plain", r.setting.kind, r.setting.macs, r.bar) for r in lenet5.RECORDS}
    weights = 5 * 25 + 10 * 5 * 25 + 76 * 16 + 16 * 10
    assert weights == 2_751
    assert found == {(False, "macs", 93_000, 0.80), (False, "macs", 63_000, 1.00), (True, "macs", 93_000, 0.80),
                     (True, "macs", 63_000, 1.00),
                     (True, "macs", 63_000, 0.70), (True, "parameters", weights + 5 + 10 + 16 + 10, 1.00),
                     (True, "macs", 400_000, 0.66),
                     (True, "macs", cost.of(architectures.lenet5(np.random.default_rng(0))).macs, 0.60)}
    beaten = records(lenet5, range(2))
    # the moonshot is no run of its own
    assert len({s for _, settings in beaten for s in settings}) == 2 * (len(beaten) - 1)
    for record, settings in beaten:
        one = record.setting
        assert all((s.method, s.macs, s.kind, s.recipe) == ("ours", one.macs, one.kind, one.recipe) for s in settings)
        assert one.recipe.max_shift == settings[0].teacher.recipe.max_shift == (one.teacher.kind == "moved")
    assert lenet5.PLAIN.recipe == replace(lenet5.PICTURES, max_shift=0, teacher_epochs=10)


def test_a_run_with_another_seed_has_all_that_it_needs_with_that_seed(tmp_path):
    first = Setting(taught(tmp_path), "ours", 90, RECIPE, distil_from=taught(tmp_path, hidden=(9, 7)))
    one, other = (replace(unit, method="obs", widths_of=unit) for unit in (first, replace(
        first, teacher=taught(tmp_path, 3), distil_from=taught(tmp_path, 3, hidden=(9, 7)))))
    assert of_seed(one, 3) == other
    assert seeded([[first], [one]], range(2)) == [first, of_seed(first, 1), one, of_seed(one, 1)]


def test_published_convolutions_are_those_of_the_table():
    """Costs by counting: 24 × 24 and 8 × 8 positions of 5 × 5, 4 × 4 positions behind the pooling; and the page shows
    the same."""
    with open(ROOT / "reference" / "published" / "lenet5.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["sureness"] for row in rows} == {"read", "recalled", "recomputed"}
    assert all(row["source"] for row in rows)
    held = {row["method"]: row for row in rows if row["kept"]}
    assert {p.method for p in LENETS} == set(held)
    for p in LENETS:
        row, (one, two, *rest) = held[p.method], p.widths
        read_in, hidden = rest if len(rest) == 2 else (4 * 4 * two, *rest)
        assert p.macs == 24 * 24 * 25 * one + 8 * 8 * 25 * one * two + read_in * hidden + 10 * hidden
        assert p.inputs_removed == (read_in < 4 * 4 * two)
        assert (row["kept"], int(row["macs"]), row["sureness"], row["inputs_removed"]) == (
            "-".join(map(str, p.widths)), p.macs, p.sureness, "yes" if p.inputs_removed else "no")
        assert row["test_error"].startswith("dense + ") == p.over_dense
        assert float(row["test_error"].removeprefix("dense + ")) == p.test_error
    page = (ROOT / "docs" / "results" / "lenet5.md").read_text(encoding="utf-8")
    assert all(p.method in page for p in LENETS)


SMALL = replace(RECIPE, network="lenet5", max_shift=1, statistics=200, batch_size=64, learning_rate=0.01,
                student_learning_rate=0.01)


def small(folder, seed, kind="moved"):
    """A setting of a LeNet-5 on little pictures."""
    path = folder / "pictures.npz"
    if not path.exists():
        np.savez(path, **arrays(shape=(16, 16), examples=240))
    return TeacherSetting(str(path), None, kind, SMALL, seed)


def test_lenet5_is_reproduced_end_to_end(tmp_path, monkeypatch, capsys):
    """Comparison, records by multiply-accumulates and by parameters, teachers against their bar; a second time nothing
    is run."""
    macs, once = 80_000, replace(SMALL, rounds=1)
    plain, moved = small(tmp_path, 0, "plain"), small(tmp_path, 0)
    monkeypatch.setattr(lenet5, "COMPARISON", [against(moved, macs, SMALL, ("taylor", "slimming", *SCRATCH), (), ())])
    monkeypatch.setattr(lenet5, "POST_TRAINING", [untrained(moved, macs, SMALL, ("taylor",), ("taylor refitted",))])
    monkeypatch.setattr(lenet5, "RECORDS", [
        Record("one", 100.0, Setting(plain, "ours", 150_000, once)),
        Record("two", 0.0, Setting(plain, "ours", 1_500, once, kind="parameters"))])
    monkeypatch.setattr(lenet5, "SEEDS", 1)
    monkeypatch.setattr(lenet5, "RECORD_SEEDS", 2)
    words = ["reproduce", "lenet5", "--runs", str(tmp_path / "runs"), "--workers", "1", "--json",
             str(tmp_path / "out.json")]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "19 runs in" in text                       # 4 teachers, 5 methods, 3 without training, 2 records, of 2 seeds
    assert "one cut, no training, seeds [0, 1]" in text
    for said in ("reference/published/lenet5.csv", "1,500 parameters", "Teachers, plain, seeds [0, 1]:", "taylor"):
        assert said in text
    stored = json.loads((tmp_path / "out.json").read_text())
    assert stored["command"] == "npkd reproduce lenet5"              # the two numbers of seeds are the experiment's own
    assert [(row["method"], row["seeds"]) for row in stored["comparison"]] == [
        (name, [0]) for name in ("ours", "taylor", "slimming", *SCRATCH)]
    assert all(max(row["macs"]["by_seed"]) <= macs for row in stored["comparison"])
    assert [(row["method"], row["epochs"]) for row in stored["post_training"]] == [
        ("ours", 0), ("taylor", 0), ("taylor refitted (our widths)", 0)]
    one, two = stored["records"]
    assert (one["kind"], one["holds"]) == ("macs", True)
    assert max(one["macs"]["by_seed"]) <= 150_000
    assert (two["kind"], two["allowed"], two["seeds"]) == ("parameters", 1_500, [0, 1])
    assert 0 < max(two["parameters"]["by_seed"]) <= 1_500
    teachers = [read(small(tmp_path, seed, "plain"), tmp_path / "runs")["test_error"] for seed in range(2)]
    found, = stored["teachers"]
    assert found["test_error"]["by_seed"] == teachers
    assert found["holds"] == (np.mean(teachers) <= lenet5.TEACHER_BARS["plain"] / 100)
    assert main([*words, "--seeds", "0-0"]) == 0
    assert "0 runs in" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["command"] == "npkd reproduce lenet5 --seeds 0-0"


def test_teachers_without_a_bar_are_not_judged(tmp_path):
    settings = [Setting(taught(tmp_path, seed), "ours", 90, RECIPE) for seed in range(2)]
    errors = [runs.finish(s, tmp_path)["teacher_test_error"] for s in settings]
    assert tables.teacher_rows(settings, tmp_path, {}) == tables.teacher_rows(settings, tmp_path, {"moved": 1.0}) == []
    for bar, holds in ((100 * np.mean(errors) + 1e-6, True), (100 * np.mean(errors) - 1e-6, False)):
        row, = tables.teacher_rows([*settings, *settings], tmp_path, {"plain": bar})
        assert (row["seeds"], row["holds"]) == ([0, 1], holds)
        assert ("MISSED" in tables.teachers_text([row])) is not holds


def test_results_from_before_parameters_were_counted_still_make_rows():
    old = {"widths": [4, 3], "validation_error": 0.1, "test_error": 0.2, "teacher_test_error": 0.1, "macs": 12,
           "seconds": 1.0}
    assert "parameters" not in tables.summed([old, old | {"parameters": 15}])
    assert tables.summed([old | {"parameters": 15}])["parameters"]["mean"] == 15


def test_widths_are_written_as_others_write_them():
    assert tables.chain([97, 71, 33, 10]) == "97-71-33"
    assert tables.chain([1, 2, 7, 99, 10]) == "2-7-99"


def test_the_picture_without_training_has_a_line_for_each_method(tmp_path):
    """Means in % against what is left in %, of both networks; the rule gives the colour, whose widths it has the
    style."""
    methods = {"ours": "-", "random": ":", "taylor": ":", "taylor refitted (our widths)": "--",
               "obs (our widths)": "--"}
    for name, whole in (("lenet300", 266_200), ("lenet5", 2_293_000)):
        rows = [{"method": method, "macs_allowed": int(part * whole),
                 "test_error": {"mean": (1 + k) * (0.02 - part / 100)},
                 "teacher_test_error": {"mean": 0.006}} for k, method in enumerate(methods) for part in (0.5, 0.1)]
        (tmp_path / f"{name}.json").write_text(json.dumps({"post_training": rows}))
    figure = figures.post_training(tmp_path)
    for axes in figure.axes:
        drawn = [line for line in axes.lines if len(line.get_xdata()) == 2 and list(line.get_xdata()) != [0, 1]]
        assert [line.get_linestyle() for line in drawn] == list(methods.values())
        for k, line in enumerate(drawn):
            assert list(line.get_xdata()) == pytest.approx([50, 10])
            assert list(line.get_ydata()) == pytest.approx([(1 + k) * 1.5, (1 + k) * 1.9])
        assert drawn[2].get_color() == drawn[3].get_color() != drawn[4].get_color()
        assert [list(line.get_ydata()) for line in axes.lines if list(line.get_xdata()) == [0, 1]] == [[0.6, 0.6]]


def test_the_picture_of_convolutions_draws_rises_as_lines():
    comparison = [{"method": name, "macs": {"mean": macs}, "test_error": {"mean": error, "deviation": 0.001}}
                  for name, macs, error in (("ours", 92_000, 0.008), ("taylor", 92_500, 0.0085),
                                            ("scratch", 92_900, 0.021))]
    axes = pareto(comparison, [], CONVOLUTIONS).axes[0]
    drawn = {tuple(point) for c in axes.collections if isinstance(c, PathCollection)
             for point in np.asarray(c.get_offsets())}
    whole = {(p.macs, p.test_error) for p in LENETS if not p.over_dense}
    assert drawn == whole | {(92_500, 100 * 0.0085)}
    lines = next(c for c in axes.collections if isinstance(c, LineCollection) and "dense" in str(c.get_label()))
    ends = {(round(float(low[0])), round(float(low[1]), 6), round(float(high[1]), 6))
            for low, high in lines.get_segments()}
    assert ends == {(p.macs, round(0.8 + p.test_error, 6), round(0.9 + p.test_error, 6)) for p in LENETS
                    if p.over_dense}
    assert "1 points above 2 % are left out" in axes.get_xlabel()
