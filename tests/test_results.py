"""The numbers of README and docs are those of reference/measured, and stored runs are what their seeds say."""

import json
import re
import shutil
from functools import cache
from pathlib import Path

import pytest

import npkd
from npkd.experiments.command import STUDIES
from reference import integrity, provenance, results, tables
from reference.benchmarks import digits

ROOT = Path(__file__).resolve().parent.parent
STORED = integrity.load(integrity.MEASURED)


def once(table):
    """A table that is written once of STORED."""
    text = cache(lambda: table(STORED))
    return lambda stored: text() if stored is STORED else table(stored)


ONCE = {name: once(table) for name, table in tables.TABLES.items()}


@pytest.fixture(autouse=True)
def _tables_once(monkeypatch):
    monkeypatch.setattr(results, "TABLES", ONCE)


@pytest.fixture
def copy(tmp_path):
    """README, the pages and the stored runs, to be spoiled."""
    shutil.copy(ROOT / "README.md", tmp_path)
    for folder in ("docs/results", "reference/measured"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "docs/evidence.md", tmp_path / "docs")
    return tmp_path


def digits_of(text):
    """Places of the numbers of a page that have decimals."""
    return [match.span() for match in re.finditer(r"\d+\.\d+", text)]


def bumped(text, end):
    """The text with the digit before a place one larger, 0 for 9."""
    return text[:end - 1] + str((int(text[end - 1]) + 1) % 10) + text[end:]


def test_pages_and_stored_runs_agree():
    assert results.wrong(ROOT) == [], "python -m reference.results writes the numbers of the pages anew"


def test_the_copy_is_right_until_it_is_spoilt(copy):
    assert results.wrong(copy) == []


# ---- a spoiled page


@pytest.mark.parametrize("page", ["README.md", "docs/evidence.md", "docs/results/lenet300.md",
                                  "docs/results/lenet5.md", "docs/results/post-training.md",
                                  "docs/results/other-data.md"])
def test_a_spoiled_number_of_a_table_fails(page):
    """One digit of each of ten numbers, one after the other, inside of every generated part."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in results.BLOCK.finditer(text):
        places = digits_of(block[0])
        for _, end in places[::max(1, len(places) // 10)]:
            bad = bumped(block[0], end)
            assert results.rewritten(bad, STORED) != bad, bad[end - 30:end + 10]
    assert results.of_page(page, bumped(text, block.start() + end), STORED)


@pytest.mark.parametrize(("page", "old", "new"), [
    ("README.md", "2.46 ± 0.14 %", "2.36 ± 0.14 %"),
    ("README.md", "test error                   2.3", "test error                   2.1"),
    ("README.md", "Against other ways", "A student has 0.77 %. Against other ways"),
    ("README.md", "0.052<!--=", "0.042<!--="),
    ("README.md", "6<!--= group_lasso/seconds", "2<!--= group_lasso/seconds"),
    ("README.md", "takes\n6<!--= group_lasso/seconds --> s", "takes\n6 s"),
    ("docs/results/lenet300.md", "1.324 ± 0.030<!--=", "1.124 ± 0.030<!--="),
    ("docs/results/lenet300.md", "1.324 ± 0.030<!--=", "1.324 ± 0.010<!--="),
    ("docs/results/lenet300.md", "- At 9,560 one cut", "- By 0.21 points one cut"),
    ("docs/results/lenet5.md", "npkd 0.1.0", "npkd 0.2.0"),
    ("docs/evidence.md", "measured 0.544 ± 0.013", "measured 0.444 ± 0.013")])
def test_a_spoiled_page_fails(page, old, new):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert results.of_page(page, text, STORED) == []
    assert old in text
    assert all(fault.startswith(f"{page}:") for fault in results.of_page(page, text.replace(old, new, 1), STORED))
    assert results.of_page(page, text.replace(old, new, 1), STORED)


def test_the_command_fails_on_a_spoiled_page_and_a_spoiled_run(copy, monkeypatch, capsys):
    """As `python -m reference.results --check` sees a checkout."""
    for path, old, new in ((copy / "README.md", "2.46 ± 0.14 %", "2.36 ± 0.14 %"),
                           (copy / "reference/measured/lenet5.json", "0.0078", "0.0077")):
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        found = results.wrong(copy)
        assert any(path.name in fault for fault in found)
        monkeypatch.setattr(results, "wrong", lambda found=found: found)
        monkeypatch.setattr("sys.argv", ["results", "--check"])
        assert results.main() == 1
        monkeypatch.undo()
        path.write_text(text, encoding="utf-8")
    assert "README.md:" in capsys.readouterr().out


def test_a_number_whose_way_leads_nowhere_is_refused():
    with pytest.raises(KeyError):
        results.rewritten("1.00<!--= lenet300/records/no such record -->", STORED)


def test_what_is_allowed_in_prose_stands_there():
    for page, numbers in results.ALLOWED.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        assert [number for number in numbers if number not in text] == []


# ---- a spoiled run


def changed(folder, name, change):
    """A folder of one stored file after a change, with sums that fit: only what is recomputed can notice it."""
    content = json.loads((integrity.MEASURED / f"{name}.json").read_text(encoding="utf-8"))
    change(content)
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / integrity.SUMS).write_text(integrity.sums(folder), encoding="utf-8")
    return integrity.faults(folder)


def at(content, *steps):
    for step in steps:
        content = content[step]
    return content


@pytest.mark.parametrize(("name", "steps", "value", "words"), [
    ("lenet300", ("comparison", 0, "test_error", "by_seed", 0), 0.0127, "mean is"),
    ("lenet300", ("comparison", 0, "test_error", "mean"), 0.0131, "mean is"),
    ("lenet300", ("comparison", 3, "test_error", "deviation"), 0.001, "deviation is"),
    ("lenet300", ("comparison", 3, "minus_ours", "verdict"), "tie", "minus_ours is"),
    ("lenet300", ("comparison", 3, "minus_ours", "mean"), 0.001, "minus_ours is"),
    ("lenet300", ("comparison", 3, "macs", "by_seed", 0), 9561, "more than 9560"),
    ("lenet300", ("comparison", 3, "teacher_test_error", "by_seed", 0), 0.0098, "another teacher"),
    ("lenet300", ("comparison", 3, "test_error", "by_seed", 0), 0.01605, "of 10000 examples"),
    ("lenet300", ("comparison", 3, "validation_error", "by_seed", 0), 0.0185, "of 5999 examples"),
    ("lenet300", ("comparison", 3, "seeds"), [0, 1, 2, 3], "4 seeds"),
    ("lenet300", ("records", 0, "holds"), True, "holds is"),
    ("lenet300_digits", ("post_training", 0, "widths", 0, 0), 99, "of the widths"),
    ("lenet5", ("records", 2, "bar"), 0.007, "holds is"),
    ("digits", ("runs", 0, "student", "test_error"), 0.028, "of 1797 examples"),
    ("digits", ("runs", 0, "student", "test_error"), 50 / 1797, "bars:"),
    ("digits", ("runs", 0, "student", "macs"), 4996, "of the widths"),
    ("digits", ("runs", 0, "agreement"), 0.99, "of 1797 examples"),
    ("lenet5_compress", ("runs", 0, "student", "widths", 1), 4, "of the widths"),
    ("other_sets", ("sets", "letter", "runs", "0", "student", "test_error"), 0.01, "of 4002 examples"),
    ("memory", ("runs", 3, "peak"), 239796480, "bars:"),
    ("lenet5_latency", ("runs", 0, "seconds", 1), 1e-5, "bars:"),
    ("labelfree", ("runs", 0, "test_error"), 50 / 1797, "bars:"),
    ("group_lasso", ("ratios", "sklearn"), 0.04, "ratio to sklearn")])
def test_a_spoiled_run_is_noticed_though_its_sum_is_right(tmp_path, name, steps, value, words):
    faults = changed(tmp_path, name, lambda content: at(content, *steps[:-1]).__setitem__(steps[-1], value))
    assert any(fault.startswith(f"{name}.json") and words in fault for fault in faults), faults


@pytest.mark.parametrize("name", sorted(STORED))
def test_any_changed_digit_of_a_stored_run_is_noticed(copy, name):
    path = copy / "reference/measured" / f"{name}.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(bumped(text, digits_of(text)[-1][1]), encoding="utf-8")
    assert [fault.split(":")[0] for fault in integrity.of_sums(path.parent)] == [f"{name}.json"]


def test_files_that_are_missing_or_new_are_noticed(copy):
    folder = copy / "reference/measured"
    (folder / "new.json").write_text("{}", encoding="utf-8")
    (folder / "memory.json").rename(folder / "memory.txt")
    assert [fault.split(":")[0] for fault in integrity.of_sums(folder)] == ["memory.json", "new.json"]


# ---- the second set of data


@pytest.mark.parametrize("name", ["lenet300", "lenet5"])
@pytest.mark.parametrize("part", ["comparison", "post_training"])
def test_the_runs_on_digits_are_those_on_mnist_at_the_same_part_of_the_network(name, part):
    second = digits.SECOND[name]
    here = provenance.settings_of(name, part, range(second.experiment.SEEDS if part == "comparison" else 5))
    there = provenance.settings_of(f"{name}_digits", part, range(5))
    for one, other in zip(here, there, strict=True):
        assert (one.method, one.teacher.seed, one.epochs) == (other.method, other.teacher.seed, other.epochs)
        assert [getattr(one.recipe, field) == getattr(other.recipe, field)
                for field in ("rounds", "round_epochs", "label_weight", "clip")] == [True] * 4
        assert one.epochs == 0 or one.recipe.student_learning_rate == other.recipe.student_learning_rate
        assert other.macs == int(one.macs * second.whole / second.whole_on_mnist)
        assert (one.widths_of is None) == (other.widths_of is None)
        assert other.widths_of is None or other.widths_of.macs == other.macs
    widths = (64, 300, 100, 10) if name == "lenet300" else (1, 20, 50, 500, 10)
    assert second.whole == integrity.cost_of(widths, 16).macs


# ---- what is of an older version


def test_every_table_says_its_version():
    for name, table in tables.TABLES.items():
        text = " ".join(table(STORED).split())
        assert name in ("first run", "lenet300 published", "lenet5 published", "losses and schemes") or (
            "run with npkd " in text), name


def test_an_older_version_is_said(monkeypatch):
    """Of npkd, of the settings, of a recipe; and nothing where all is today's."""
    stored = STORED["digits"]
    assert provenance.older("digits", stored | {"npkd": npkd.__version__}, ()) == []
    assert provenance.older("digits", stored | {"npkd": "0.0.9"}, ()) == [f"npkd {npkd.__version__}"]
    run = json.loads(json.dumps(stored["runs"][0]))
    run["recipe"]["clip"] = 7
    assert provenance.changed_recipe(run) == ["clip 7, now 10"]
    content = STORED["lenet300_digits"]
    assert provenance.older("lenet300_digits", content | {"npkd": npkd.__version__}, ["comparison"]) == []
    assert "settings of version" in provenance.older("lenet300", STORED["lenet300"], ["comparison"])[1]
    monkeypatch.setattr(provenance, "VERSION", 99)
    assert "settings of version 99" in provenance.older("lenet300_digits", content, ["comparison"])
    changed = content | {"settings": {"comparison": "0"}}
    assert "other settings for comparison" in provenance.older("lenet300_digits", changed, ["comparison"])
    assert "settings of version 4 (3: incoming weights" in provenance.told(STORED["lenet5"], "comparison")


def test_what_is_spoilt_is_rewritten():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert results.rewritten(text.replace("0.052<!--=", "0.942<!--="), STORED) == text


# ---- published tables run again


def study_content():
    """What `npkd reproduce hinton2015` stores, of two seeds of three settings, and seven settings missing."""
    numbers = json.loads(json.dumps({name: value for wave in STUDIES["hinton2015"].settings(False)
                                     for name, value in wave.items()}))
    errors = {"teacher": [70], "hard": [140, 150], "digit 3 omitted": [200, 201]}
    runs = [{"setting": setting, "seed": seed, "test_error": value / 10_000, "errors": value, "seconds": 90.0,
             "cpu_seconds": 45.0} for setting, values in errors.items() for seed, value in enumerate(values)]
    for run in runs[3:]:
        run["corrected"] = {"test_error": 0.012, "errors": 120, "right": 0.98, "of": 1010}
    return {"command": "npkd reproduce hinton2015", "npkd": npkd.__version__, "hours": 0.125, "core_hours": 0.062,
            "settings": numbers, "missing": 7, "bars": STUDIES["hinton2015"].bars(runs), "runs": runs}


@pytest.mark.parametrize(("steps", "value", "words"), [
    ((), None, None), (("runs", 0, "test_error"), 0.00705, "of 10000 examples"),
    (("runs", 0, "errors"), 71, "errors is 71"),
    (("runs", 3, "corrected", "errors"), 121, "errors is 121"), (("runs", 1, "seed"), 1, "two runs"),
    (("bars", 0), "holds  teacher", "bars"), (("hours",), 0.5, "hours is"), (("core_hours",), 0.5, "core_hours is")])
def test_a_spoiled_study_is_noticed(steps, value, words):
    content = study_content()
    if steps:
        at(content, *steps[:-1])[steps[-1]] = value
    faults = list(integrity.of_file("hinton2015", content))
    assert faults == [] if words is None else any(words in fault for fault in faults)


def test_the_page_of_a_study_says_what_is_there_and_what_is_not():
    content = study_content()
    text = tables.TABLES["hinton2015"]({"hinton2015": content})
    assert text.startswith("7 of 12 runs are **not there yet**.")
    assert "| hard | 2 | 145.0 ± 7.1 |  |  | 146 |  |" in text
    assert "| digit 3 omitted | 2 | 200.5 ± 0.7 | 120.0 ± 0.0 | 98.0 ± 0.0 | 206 | 109 |" in text
    assert all(f"    {line}" in text or len(line) > 115 for line in content["bars"])
    assert "run with npkd " in " ".join(text.split())
    assert "not run again" not in text
    content["missing"], content["settings"]["hard"]["learning_rate"] = 0, 7.0
    text = " ".join(tables.TABLES["hinton2015"]({"hinton2015": content}).split())
    assert "not there yet" not in text
    assert "today's is other numbers for hard: **not run again**" in text
    assert "Not run with npkd" in tables.TABLES["hinton2015"]({})


def survey_content():
    """What `npkd reproduce survey2021` stores, of three rows of the digits: one that gains, one of two seeds alone."""
    numbers = json.loads(json.dumps({name: value for wave in STUDIES["survey2021"].settings(False)
                                     for name, value in wave.items()}))
    errors = {"network of 0 to 4": [3], "labels alone": [80, 90, 100, 90, 80], "soft": [60, 70, 80, 70, 60],
              "lifelong": [400, 500], "fine-tuning": [900, 900]}
    runs = [{"setting": f"optdigits: {word}", "seed": seed, "test_error": value / (900 if "0 to 4" in word else 1_797),
             "epoch_seconds": 0.25 if word == "labels alone" else 0.5, "seconds": 90.0, "cpu_seconds": 45.0}
            for word, values in errors.items() for seed, value in enumerate(values)]
    hours = [round(len(runs) * seconds / 3600, 3) for seconds in (90, 45)]
    return {"command": "npkd reproduce survey2021", "npkd": npkd.__version__, "hours": hours[0],
            "core_hours": hours[1], "settings": numbers, "missing": 579,
            "bars": STUDIES["survey2021"].bars(runs), "runs": runs}


def test_a_spoiled_survey_is_noticed_by_the_size_of_its_own_test_part():
    content = survey_content()
    assert list(integrity.of_file("survey2021", content)) == []
    content["runs"][1]["test_error"] = 0.0445                     # of 10,000 it might be, of 1,797 examples it is not
    assert any("of 1797 examples" in fault for fault in integrity.of_file("survey2021", content))


def test_the_page_of_the_survey_has_errors_gains_over_the_own_baseline_and_times():
    rows = {line.split(" | ")[0][2:]: line.split(" | ")[-3:] for line in tables.TABLES["survey2021"](
        {"survey2021": survey_content()}).splitlines() if line.startswith("| ")}
    assert rows["labels alone"] == ["4.90 ± 0.47", "", "0.50 |"]
    assert rows["soft"] == ["3.78 ± 0.47", "+1.11 win", "1.00 |"]                    # always 20 of 1,797 fewer
    assert rows["lifelong"] == ["25.04 ± 3.93", "+25.04 (2 of 5)", "1.00 |"]
    assert rows["fine-tuning"] == ["50.08 ± 0.00", "", "1.00 |"]
    assert rows["pkt"] == ["", "", " |"]


@pytest.mark.parametrize(("name", "row", "other"), [
    ("romero2015", "| KD | 2 | 62.0 ± 2.8 | 65 (recalled) |", "| KD, no shifts | 1 | 70.0 |  |"),
    ("ba2014", "| logits | 2 | 62.0 ± 2.8 |", "| soft targets | 1 | 70.0 |")])
def test_errors_stand_beside_the_published_where_there_are_any(name, row, other):
    """A first stage has none, and is no fault."""
    one, two = row.split(" | ")[0][2:], other.split(" | ")[0][2:]
    numbers = json.loads(json.dumps({key: value for wave in STUDIES[name].settings(False)
                                     for key, value in wave.items()}))
    runs = [{"setting": setting, "seed": seed, "test_error": value / 10_000, "errors": value, "seconds": 90.0,
             "cpu_seconds": 45.0, "parameters": 29_850} for setting, seed, value in ((one, 0, 60), (one, 1, 64),
                                                                                    (two, 0, 70))]
    runs.append({"setting": "hint, stage 1", "seed": 0, "seconds": 90.0, "cpu_seconds": 45.0, "parameters": 29_850})
    content = {"command": f"npkd reproduce {name}", "npkd": npkd.__version__, "hours": 0.1, "core_hours": 0.05,
               "settings": numbers, "missing": 7, "bars": STUDIES[name].bars(runs), "runs": runs}
    assert list(integrity.of_file(name, content)) == []
    text = tables.TABLES[name]({name: content})
    assert text.startswith("7 of 11 runs are **not there yet**.")
    assert f"\n{row}\n" in text
    assert f"\n{other}\n" in text
    assert ", today's." in " ".join(text.split())
    assert "stage 1" not in text.partition("\n\n    ")[0]
    assert f"`npkd reproduce {name} --json FILE`" in " ".join(tables.TABLES[name]({}).split())
