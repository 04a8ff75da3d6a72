"""npkd.cli.prepare, npkd.cli.run, npkd.cli.summary: what a run writes, that it is true, the same every time, and there
after an interrupt."""

import json
import shlex
import zipfile
from dataclasses import asdict, fields, replace

import numpy as np
import pytest

import npkd
from npkd import __version__
from npkd.cli import parser, run, shards, summary
from npkd.cli.main import main
from npkd.cli.prepare import prepare
from npkd.cli.settings import Settings
from npkd.core.files import read_npz
from npkd.core.validation import InputError
from npkd.data import datasets
from npkd.data.datasets import from_arrays
from npkd.interop.adapt import rescaled
from npkd.nn.fast.workspace import predict
from npkd.nn.model import Model
from npkd.nn.model import load as load_model
from npkd.nn.model import save as save_model
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.nn.scaling import Scaling
from npkd.pipeline import result as results
from npkd.pipeline import stages
from npkd.pipeline.cost_card import counts
from npkd.report import figures
from npkd.surgery.survivors import ranges
from tests.tiny import Stop, arrays, quick, stored, tree

FILES = ["config.toml", "history.jsonl", "report.html", "student.npz", "summary.json", "teacher.npz"]
PICTURES = ["examples.png", "mean.png", "path.png", "size.png", "training.png"]


def settings(folder, **more):
    given = {"data": stored(folder / "data.npz"), "out": str(folder / "out"), "epochs": 1, "hidden": (8, 6),
             "target": None if more.get("command") == "train" else "macs=40%"} | more
    return Settings(**given)


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch):
    """Figures are drawn once, for ``done``, and looked at in test_report.py; drawing is most of the time of a quick
    run."""
    monkeypatch.setattr(figures, "png", lambda figure: b"npkd, a picture")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder with data.npz and the files of one run, out."""
    folder = tmp_path_factory.mktemp("run")
    assert quick(folder, "--seed", "4", "--epochs", "20") == 0
    return folder


def read(folder):
    return json.loads((folder / "summary.json").read_text())


def test_every_file_is_there_and_nothing_else(done):
    assert sorted(p.name for p in (done / "out").iterdir() if p.is_file()) == FILES
    assert sorted(p.name for p in (done / "out" / "figures").iterdir()) == PICTURES
    assert all((done / "out" / "figures" / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for name in PICTURES)


def test_the_summary_says_what_the_saved_networks_do_on_raw_data(done):
    found, raw = read(done / "out"), arrays()
    said = {}
    for side in ("teacher", "student"):
        model = load_model(done / "out" / f"{side}.npz")
        logits = model.logits(raw["x_test"])
        said[side] = [max(range(3), key=lambda c, row=row: row[c]) for row in logits.tolist()]
        wrong = sum(a != b for a, b in zip(said[side], raw["y_test"].tolist(), strict=True))
        assert found[side]["test_error"] == pytest.approx(wrong / len(said[side]))
        shapes = [layer.params[0].shape for layer in model.network.layers if layer.op == "dense"]
        assert found[side]["widths"] == [shapes[0][1], *(o for o, _ in shapes)]
        assert found[side]["macs"] == sum(o * i for o, i in shapes)
        assert found[side]["parameters"] == sum(o * i + o for o, i in shapes)
        assert found[side]["bytes"] == 4 * found[side]["parameters"]
        training, held_out = datasets.split(raw["y_train"], 0.1, np.random.default_rng(4))
        wrong = model.logits(raw["x_train"][held_out]).argmax(axis=1) != raw["y_train"][held_out]
        assert found[side]["validation_error"] == pytest.approx(wrong.mean())
    assert found["agreement"] == pytest.approx(sum(a == b
                                                   for a, b in zip(said["teacher"], said["student"], strict=True)) / 40)
    assert found["split"] == {"seed": 4, "train": len(training), "validation": len(held_out), "test": 40,
                              "seed_from_teacher": False}
    assert found["student"]["macs"] <= 0.4 * found["teacher"]["macs"]
    assert found["teacher"]["test_error"] < 0.3             # it has learnt something


def test_the_summary_holds_what_is_promised(done):
    found = read(done / "out")
    assert found["data"] == "data"
    assert found["seed"] == 4
    assert found["seconds"] > 0
    assert found["shape"] == [4, 4]
    assert found["classes"] == 3
    assert found["versions"] == {"npkd": __version__, "numpy": np.__version__, "scipy": summary.scipy.__version__}
    assert found["target"] == {"words": "macs=40%", "kind": "macs",
                               "bound": pytest.approx(0.4 * (16 * 8 + 8 * 6 + 6 * 3))}
    assert [layer["of"] for layer in found["layers"]] == [16, 8, 6]
    for layer in found["layers"]:
        assert 1 <= layer["kept"] <= layer["of"]
        assert 0 <= layer["lambda"] <= layer["lambda_max"]
        assert 0 <= layer["duality_gap"] <= 1e-6
        assert 0 <= layer["relative_error"] <= 1
    assert 0 <= found["removal_difference"] <= 1e-5
    assert 0 <= found["removal_difference_float64"] <= 1e-12
    assert "float32 parameters widened" in found["removal_difference_float64_is_of"]
    assert "with the same float32 parameters widened to float64" in (done / "out" / "report.html").read_text()
    assert found["recipe"]["hidden"] == [8, 6]
    assert found["recipe"]["epochs"] == 20
    removed = [sum(row.values()) for row in found["removals"]]
    assert removed == [a - b for a, b in zip([16, 8, 6], found["student"]["widths"][:-1], strict=True)]
    assert len(found["rounds"]) == found["recipe"]["rounds"]
    assert found["rounds"][-1]["widths"] == found["student"]["widths"]
    whole = 16 * 8 + 8 * 6 + 6 * 3
    for r, one in enumerate(found["rounds"], 1):
        a, b, c, d = one["widths"]
        assert one["size"] == a * b + b * c + c * d <= one["budget"] + 1e-9
        assert one["budget"] == pytest.approx(whole * 0.4 ** (r / 5))
    assert "noise" in found["augmentation"]["student"]


def test_the_summary_holds_what_the_report_shows(done):
    found = read(done / "out")
    assert found["files"] == {name: (done / "out" / f"{name}.npz").stat().st_size for name in ("student", "teacher")}
    assert found["per_class"]["examples"] == np.bincount(arrays()["y_test"]).tolist()
    for name in ("teacher", "student"):
        assert sum(found["per_class"][name]) == pytest.approx(40 * found[name]["test_error"])
        assert len(found["latency"]["seconds"][name]) == 2
    assert found["differing"]["count"] == round(40 * (1 - found["agreement"]))
    for name in ("teacher", "student"):
        model = load_model(done / "out" / f"{name}.npz")
        bare = Model(model.network, model.scaling)
        assert found["costs"][name] == asdict(counts(model if name == "student" else bare))
    assert found["costs"]["student"]["raw"] == found["files"]["student"]
    selected = load_model(done / "out" / "student.npz").network.layers[0]
    kept = selected.options["kept"] if selected.op == "select" else range(16)
    assert found["kept_inputs"] == ranges(list(kept))


def test_the_summary_takes_the_largest_of_all_rounds(done, monkeypatch):
    plans = prepare(settings(done, seed=1), stages.NoProgress())
    teacher = stages.train_teacher(stages.Run(plans.data, plans.recipe, np.random.default_rng(0)))
    distil = stages.distil
    changes = iter([{"difference": 0.25, "difference64": 0.125}])
    monkeypatch.setattr(stages, "distil", lambda *a, **b: replace(distil(*a, **b), **next(changes, {})))
    result = npkd.compress(Model(teacher, plans.data.scaling), plans.data, plans.settings.target, recipe=plans.recipe)
    found = summary.of_compression(plans, result, Model(result.student, result.scaling))
    assert found["removal_difference"] == 0.25
    assert found["removal_difference_float64"] == 0.125


def test_the_history_has_a_line_for_each_epoch_and_each_round(done):
    lines = [json.loads(line) for line in (done / "out" / "history.jsonl").read_text().splitlines()]
    recipe = read(done / "out")["recipe"]
    epochs = [line for line in lines if "loss" in line]
    assert sum(line["stage"] == "teacher" for line in epochs) == recipe["teacher_epochs"]
    assert sum(line["stage"] == "final distillation" for line in epochs) == recipe["epochs"]
    assert len(epochs) == recipe["teacher_epochs"] + recipe["epochs"] + (recipe["rounds"]
                                                                               - 1) * recipe["round_epochs"]
    rounds = [line for line in lines if "loss" not in line]
    assert [line["widths"] for line in rounds] == [r["widths"] for r in read(done / "out")["rounds"]]
    assert [line["stage"] for line in rounds] == [f"round {r}: removal" for r in range(1, 6)]
    assert lines.index(rounds[1]) == 1 + recipe["teacher_epochs"] + recipe["round_epochs"]      # in the order of events


def test_the_digits_end_to_end_and_twice_the_same(tmp_path):
    for name in ("one", "two"):
        assert main(["compress", "--epochs", "1", "--hidden", "24,12", "--seed", "3", "--out", str(tmp_path / name),
                     "--quiet"]) == 0
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert one["data"] == "digits"
    assert one["split"]["test"] == 1797
    assert one["student"]["macs"] <= 0.1 * one["teacher"]["macs"]
    for found in (one, two):
        del found["seconds"], found["latency"]
    assert json.dumps(one) == json.dumps(two)
    for name in ("teacher.npz", "student.npz"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert main(["compress", "--epochs", "1", "--hidden", "24,12", "--seed", "4", "--out", str(tmp_path / "two"),
                 "--overwrite", "--quiet"]) == 0
    assert (tmp_path / "one" / "student.npz").read_bytes() != (tmp_path / "two" / "student.npz").read_bytes()


def test_nothing_says_where_it_was_written(done):
    for path in (done / "out").rglob("*"):
        if path.is_file() and path.suffix != ".png" and path.name != "config.toml":          # which says what was read
            assert str(done).encode() not in path.read_bytes(), path.name


def test_the_test_part_decides_nothing(tmp_path):
    ours = arrays()
    other = {"x_test": ours["x_test"][::-1].copy(), "y_test": (ours["y_test"][::-1] + 1) % 3}
    for name, changed in (("one", {}), ("two", other)):
        (tmp_path / name).mkdir()
        assert quick(tmp_path / name, "--epochs", "20", data=stored(tmp_path / name / "data.npz", changed)) == 0
    assert (tmp_path / "one/out/student.npz").read_bytes() == (tmp_path / "two/out/student.npz").read_bytes()
    assert read(tmp_path / "one/out")["student"]["test_error"] != read(tmp_path / "two/out")["student"]["test_error"]


def test_the_test_part_is_looked_at_once_and_last(tmp_path, monkeypatch):
    calls, events = [], []
    real = summary.judged
    monkeypatch.setattr(summary, "judged", lambda network,
                        d: (calls.append(network), events.append("judged"), real(network, d))[2])

    class Noting:
        def begin(self, stage, steps):
            events.append(stage)

        def step(self, note, record=None):
            pass

    used, predict = [], results.predict
    plans = prepare(settings(tmp_path), stages.NoProgress())
    monkeypatch.setattr(results, "predict", lambda network,
                        x: (used.append(np.array_equal(x, plans.data.x_test)), predict(network, x))[1])
    monkeypatch.setattr(stages, "predict",
                        lambda network, x,
                        *rows: (used.append(np.array_equal(x, plans.data.x_test)), predict(network, x, *rows))[1])
    run.run(settings(tmp_path), Noting())
    assert used.count(True) == len(calls) == 2
    assert events[-3:] == ["judged", "judged", "figures and report"]


# a given teacher

def test_a_given_teacher_is_taken_as_it_is_and_its_split_too(done, tmp_path):
    teacher = done / "out" / "teacher.npz"
    arguments = ["compress", "--data", str(done / "data.npz"), "--teacher", str(teacher), "--target", "macs=40%",
                 "--epochs", "1",
                 "--seed", "9", "--out", str(tmp_path / "out"), "--quiet"]
    assert main(arguments) == 0
    found = read(tmp_path / "out")
    assert found["split"] == read(done / "out")["split"] | {"seed_from_teacher": True}
    assert found["split"]["seed"] == 4
    assert found["seed"] == 9
    assert found["teacher"] == read(done / "out")["teacher"]
    assert found["teacher_file"] == "teacher.npz"
    assert (tmp_path / "out" / "teacher.npz").read_bytes() == teacher.read_bytes()
    student = load_model(tmp_path / "out" / "student.npz")
    assert student.about["split"]["seed"] == 4


@pytest.mark.parametrize("about", [
    {}, {"data": "other", "split": {"seed": 3, "train": 108, "validation": 12, "test": 40}},
    {"data": "data", "split": {"seed": 3, "train": 107, "validation": 13, "test": 40}},
    {"data": "data", "split": {"seed": -3, "train": 108, "validation": 12, "test": 40}},
    {"data": "data", "split": {"seed": "3", "train": 108, "validation": 12, "test": 40}},
    {"data": "data", "split": [3]},
], ids=["nothing", "other data", "other sizes", "negative", "a word", "a list"])
def test_a_split_that_is_not_that_of_this_data_is_not_taken(tmp_path, about):
    path = tmp_path / "teacher.npz"
    network = perceptron([16, 8, 3], np.random.default_rng(0))
    save_model(path, Model(network, None, about))
    assert prepare(settings(tmp_path, hidden=None, teacher=str(path)), stages.NoProgress()).split_seed == 0
    good = {"data": "data", "split": {"seed": 3, "train": 108, "validation": 12, "test": 40}}
    save_model(path, Model(network, None, good))
    plans = prepare(settings(tmp_path, hidden=None, teacher=str(path)), stages.NoProgress())
    assert plans.split_seed == 3
    expected = datasets.load(str(tmp_path / "data.npz"), seed=3)
    assert np.array_equal(plans.data.y_validation, expected.y_validation)


# a better network to distil from

def distil_from_file(folder, scaling=None, about=None):
    network = perceptron([16, 20, 3], np.random.default_rng(7))
    save_model(folder / "distil_from.npz", Model(network, scaling, about or {}))
    return str(folder / "distil_from.npz")


@pytest.mark.parametrize("target", ["macs=40%", "error=+100"])
def test_the_answers_of_a_logit_source_are_what_is_learnt(tmp_path, target):
    """A logit source that says class 2 whatever it is shown: so does the student in the end, however good the teacher
    was."""
    w, b = np.zeros((3, 16), np.float32), np.array([0, 0, 9], np.float32)
    save_model(tmp_path / "stubborn.npz", Model(Network([Layer("dense", (w, b))])))
    assert quick(tmp_path, "--epochs", "40", "--target", target, "--distil-from", str(tmp_path / "stubborn.npz")) == 0
    found, x = read(tmp_path / "out"), arrays()["x_test"]
    said = load_model(tmp_path / "out" / "student.npz").logits(x).argmax(axis=1)
    assert (said == 2).mean() > 0.95 > 0.6 > (load_model(tmp_path / "out" / "teacher.npz").logits(x).argmax(axis=1)
                                              == 2).mean()
    assert found["distil_from"]["file"] == "stubborn.npz"
    assert found["distil_from"]["test_error"] == pytest.approx(np.mean(arrays()["y_test"] != 2))
    assert "--distil-from stubborn.npz" in found["command"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "stubborn.npz" in page
    assert "the answers of the better network<" in page


def test_a_logit_source_is_asked_about_inputs_as_it_was_trained_on(tmp_path):
    """Two scalings, one network: the same logits of the same raw examples."""
    rng = np.random.default_rng(0)
    scaling = Scaling(rng.standard_normal(16).astype(np.float32), rng.uniform(0.5, 2, 16).astype(np.float32))
    path = distil_from_file(tmp_path, scaling)
    plans = prepare(settings(tmp_path, distil_from=path), stages.NoProgress())
    assert not np.array_equal(plans.data.scaling.factor, scaling.factor)
    raw = arrays()["x_test"]
    assert np.allclose(predict(plans.distil_from, plans.data.x_test), load_model(path).logits(raw), rtol=1e-4,
                       atol=1e-4)
    same = prepare(settings(tmp_path, distil_from=distil_from_file(tmp_path, plans.data.scaling)),
                   stages.NoProgress()).distil_from
    assert len(same.layers) == len(load_model(path).network.layers)


def test_a_logit_source_that_knows_the_validation_part_is_refused(tmp_path):
    about = {"data": "data", "split": {"seed": 3, "train": 108, "validation": 12, "test": 40}}
    path = distil_from_file(tmp_path, about=about)
    with pytest.raises(InputError,
                       match=r"distil_from.npz was trained with the validation part of seed 3, .* seed 0; they "
                                         r"must be the same"):
        prepare(settings(tmp_path, distil_from=path), stages.NoProgress())
    assert prepare(settings(tmp_path, distil_from=path, seed=3), stages.NoProgress()).distil_from is not None


def test_data_is_scaled_as_the_teacher_wants_it():
    rng = np.random.default_rng(0)
    raw = arrays()
    raw |= {key: raw[key].astype(np.float64) * 3 + 7 for key in ("x_train", "x_test")}
    ours = from_arrays("ours", [raw[key] for key in datasets.NAMES], seed=0)
    theirs = Scaling(rng.standard_normal(16).astype(np.float32), (rng.random(16) + 0.1).astype(np.float32))
    changed = rescaled(ours, theirs)
    assert np.allclose(changed.x_test, theirs.apply(raw["x_test"]), rtol=1e-5, atol=1e-4)
    training, held_out = datasets.split(raw["y_train"], 0.1, np.random.default_rng(0))
    assert np.allclose(changed.x_train, theirs.apply(raw["x_train"][training]), rtol=1e-5, atol=1e-4)
    assert np.allclose(changed.x_validation, theirs.apply(raw["x_train"][held_out]), rtol=1e-5, atol=1e-4)
    assert changed.x_train.dtype == np.float32
    assert changed.scaling is theirs
    assert np.allclose(rescaled(ours, None).x_test, raw["x_test"].reshape(40, 16), rtol=1e-5, atol=1e-3)
    assert rescaled(ours, Scaling(ours.scaling.offset.copy(), ours.scaling.factor.copy())) is ours
    with pytest.raises(InputError, match="float32"):
        rescaled(ours, Scaling(np.zeros(16, np.float32), np.full(16, 3e38, np.float32)))


def test_a_teacher_in_float64_with_dropout_gives_a_student_without(tmp_path):
    rng = np.random.default_rng(0)
    first, last = dense_layer(16, 8, rng, np.float64), dense_layer(8, 3, rng, np.float64)
    layers = [first, Layer("sigmoid"), Layer("dropout", options={"rate": 0.5}), last]
    save_model(tmp_path / "teacher.npz", Model(Network(layers)))
    result = run.run(settings(tmp_path, hidden=None, teacher=str(tmp_path / "teacher.npz")), stages.NoProgress())
    assert result["teacher"]["widths"] == [16, 8, 3]
    student = load_model(tmp_path / "out" / "student.npz").network
    assert {layer.op for layer in student.layers} <= {"select", "dense", "sigmoid"}
    assert {p.dtype for layer in student.layers for p in layer.params} == {np.dtype(np.float32)}
    kept = load_model(tmp_path / "out" / "teacher.npz").network          # what was given, not what was compressed
    assert [layer.op for layer in kept.layers] == ["dense", "sigmoid", "dropout", "dense"]
    assert kept.layers[2].options == {"rate": 0.5}
    assert {p.dtype for layer in kept.layers for p in layer.params} == {np.dtype(np.float64)}


def test_a_student_can_be_the_next_teacher(done, tmp_path):
    given = done / "out" / "student.npz"
    before = given.read_bytes()
    assert main(["compress", "--data", str(done / "data.npz"), "--teacher", str(given), "--target", "macs=60%",
                 "--epochs", "1", "--out", str(tmp_path), "--quiet"]) == 0
    found = read(tmp_path)
    assert given.read_bytes() == before == (tmp_path / "teacher.npz").read_bytes()
    assert found["teacher"]["widths"] == read(done / "out")["student"]["widths"]
    assert found["student"]["macs"] <= 0.6 * found["teacher"]["macs"]
    model = load_model(tmp_path / "student.npz")
    wrong = (model.logits(arrays()["x_test"]).argmax(axis=1) != arrays()["y_test"]).mean()
    assert found["student"]["test_error"] == pytest.approx(wrong)


def test_a_coded_network_is_a_teacher_and_its_copy_stays_coded(done, tmp_path):
    """And the folder is known again as that of a run."""
    given = tmp_path / "given.npkz"
    save_model(given, load_model(done / "out" / "student.npz"))
    words = ["distil", "--data", str(done / "data.npz"), "--teacher", str(given), "--hidden", "4", "--epochs", "1",
             "--out", str(tmp_path / "out"), "--quiet"]
    assert main(words) == 0
    assert (tmp_path / "out" / "teacher.npkz").read_bytes() == given.read_bytes()
    assert not (tmp_path / "out" / "teacher.npz").exists()
    assert read(tmp_path / "out")["files"]["teacher"] == given.stat().st_size
    assert main([*words, "--overwrite"]) == 0


def test_a_target_of_error(tmp_path):
    result = run.run(settings(tmp_path, target="error=+100"), stages.NoProgress())
    assert result["student"]["macs"] < result["teacher"]["macs"] / 4
    sizes = [result["teacher"]["macs"], *(r["size"] for r in result["rounds"])]
    assert [r["budget"] for r in result["rounds"]] == [size / 2 for size in sizes[:-1]]
    result = run.run(settings(tmp_path, target="error=+1e-9", epochs=30, overwrite=True), stages.NoProgress())
    assert result["student"]["validation_error"] <= result["teacher"]["validation_error"]


def test_inputs_are_kept_where_that_is_asked(tmp_path):
    result = run.run(settings(tmp_path, keep_inputs=True), stages.NoProgress())
    assert result["student"]["widths"][0] == 16
    assert result["removals"][0] == {"dead": 0, "constant": 0, "duplicate": 0}
    assert "--keep-inputs" in result["command"]


# plain training

def test_plain_training(tmp_path):
    assert quick(tmp_path, "--dropout", "0.2", "--activation", "tanh", "--epochs", "40", command="train") == 0
    found, model = read(tmp_path / "out"), load_model(tmp_path / "out" / "model.npz")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "config.toml", "figures", "history.jsonl", "model.npz", "report.html", "summary.json"]
    assert [layer.op for layer in model.network.layers] == ["dense", "tanh", "dropout", "dense", "tanh", "dropout",
                                                            "dense"]
    assert {layer.options["rate"] for layer in model.network.layers if layer.op == "dropout"} == {0.2}
    wrong = (model.logits(arrays()["x_test"]).argmax(axis=1) != arrays()["y_test"]).mean()
    assert found["model"]["test_error"] == pytest.approx(wrong)
    assert wrong < 0.2
    assert found["recipe"]["teacher_epochs"] == 40          # as many as were asked for, not scaled
    assert len((tmp_path / "out" / "history.jsonl").read_text().splitlines()) == 40


def test_a_plain_network_is_the_teacher_that_compress_would_train(tmp_path):
    (tmp_path / "one").mkdir()
    assert quick(tmp_path / "one", "--epochs", "20") == 0
    assert quick(tmp_path, "--epochs", "20", command="train", data=str(tmp_path / "one" / "data.npz")) == 0
    ours, theirs = load_model(tmp_path / "out" / "model.npz"), load_model(tmp_path / "one" / "out" / "teacher.npz")
    for a, b in zip(ours.network.layers, theirs.network.layers, strict=True):
        assert all(np.array_equal(p, q) for p, q in zip(a.params, b.params, strict=True))


# interrupts

@pytest.mark.parametrize(("stage", "step", "files"), [
    ("teacher", 2, ["teacher"]),
    ("round 1 of 5: layers", 0, ["teacher"]),
    ("round 1 of 5: layers", 4, ["teacher"]),
    ("round 1 of 5: distillation", 0, ["student", "teacher"]),
    ("round 2 of 5: distillation", 1, ["student", "teacher"]),
    ("round 3 of 5: layers", 3, ["student", "teacher"]),
    ("final distillation", 0, ["student", "teacher"]),
    ("final distillation", 1, ["student", "teacher"]),
    ("figures and report", 0, ["student", "teacher"]),
])
def test_an_interrupt_leaves_what_there_is(tmp_path, stage, step, files):
    with pytest.raises(KeyboardInterrupt) as caught:
        run.run(settings(tmp_path, epochs=3), Stop(stage, step))
    out, said = tmp_path / "out", str(caught.value)
    assert sorted(p.stem for p in out.glob("*.npz")) == ["checkpoint", *files]
    assert not list(out.rglob("*.tmp"))
    assert not (out / "report.html").exists()
    assert "\n" not in said
    for name in files:
        assert f"{name}.npz" in said
        assert load_model(out / f"{name}.npz").logits(arrays()["x_test"]).shape == (40, 3)
    assert ("after 2 of 3 epochs" in said) == (stage == "teacher")
    for line in (out / "history.jsonl").read_text().splitlines():
        assert json.loads(line)["stage"]
    assert said.endswith(f"to go on: npkd compress --resume --out {out}")
    header, _ = read_npz(out / "checkpoint.npz", "checkpoint")
    assert header["settings"]["target"] == settings(tmp_path).target


def test_an_interrupt_keeps_the_newest_student(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run.run(settings(tmp_path, epochs=3), Stop("final distillation", 2))
    lines = [json.loads(line) for line in (tmp_path / "out" / "history.jsonl").read_text().splitlines()]
    assert lines[-1]["stage"] == "final distillation"
    assert lines[-1]["epoch"] == 2
    model = load_model(tmp_path / "out" / "student.npz")
    held_out = datasets.split(arrays()["y_train"], 0.1, np.random.default_rng(0))[1]
    wrong = model.logits(arrays()["x_train"][held_out]).argmax(axis=1) != arrays()["y_train"][held_out]
    assert wrong.mean() == pytest.approx(lines[-1]["validation_error"])


def test_an_interrupt_before_the_first_epoch_saves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt, match="nothing was saved"):
        run.run(settings(tmp_path), Stop("teacher", 0))
    assert tree(tmp_path / "out") == {}


def test_an_interrupt_of_plain_training_leaves_the_model(tmp_path):
    with pytest.raises(KeyboardInterrupt, match=r"model\.npz .*model after 2 of 5 epochs"):
        run.run(settings(tmp_path, command="train", epochs=5), Stop("training", 2))
    assert load_model(tmp_path / "out" / "model.npz").network.widths == [16, 8, 6, 3]


# smaller things

def test_downloads_are_shown(tmp_path, monkeypatch):
    told, real = [], shards.load_data

    def load(name, *, seed, progress, label):
        progress.begin("download", 100)
        return real(name, seed=seed)

    monkeypatch.setattr(shards, "load_data", load)
    prepare(settings(tmp_path), type("Noting", (), {"begin": lambda self, stage, steps: told.append(stage),
                                                    "step": lambda self, note: None})())
    assert told == ["download"]


def test_the_command_in_the_summary_gives_the_same_again(tmp_path, monkeypatch):
    first = run.run(settings(tmp_path, seed=2, dropout=0.25, activation="tanh", command="train"), stages.NoProgress())
    assert (
        first["command"]
        == "npkd train --data data.npz --epochs 1 --hidden 8,6 --dropout 0.25 --activation tanh --seed 2"
    )
    before = (tmp_path / "out" / "model.npz").read_bytes()
    monkeypatch.chdir(tmp_path)
    assert main([*first["command"].split()[1:], "--quiet"]) == 0
    assert (tmp_path / "npkd-out" / "model.npz").read_bytes() == before
    assert summary.command(Settings(data="/a/b c.npz", teacher="/d/t.npz", keep_inputs=True)) == (
        "npkd compress --data 'b c.npz' --teacher t.npz --target macs=10% --keep-inputs --seed 0")


def test_the_command_names_every_option():
    """Each setting at a value of its own is in the command, and is read back from there; what says where it is written
    is not."""
    everything = {
        "compress": Settings(data="a.npz", epochs=3, teacher="t.npz", distil_from="d e.npz", target="error=+0.5",
                             keep_inputs=True, seed=3, steps=("neurons", "code")),
        "train": Settings("train", data="a.npz", epochs=3, hidden=(5, 4), dropout=0.1234567, activation="tanh", seed=9,
                          penalty="inputs,neurons", costs="size", penalty_path=True, debias=False, distil_from="d"),
        "start": Settings("train", data="a.csv", label="c d", start="s.npz", penalty="neurons=0.1", target="macs=20%"),
        "distil": Settings("distil", data="a", teacher="t", loss="rkd,soft", hint="2:3", loss_weight="25,1,1", seed=2,
                           label_weight=0.5, temperature=20.0, scheme="assistants", hidden=(3,)),
        "lenet5": Settings(data="a", network="lenet5"), "shards": Settings(data="a", scheduler="tcp://b:1")}
    told = set()
    for one in everything.values():
        words = shlex.split(summary.command(replace(one, out="elsewhere", overwrite=True)))
        options = vars(parser.read(words[1:]))
        names = {field.name for field in fields(Settings)} - {"out"}
        again = Settings(**{name: value for name, value in options.items() if name in names})
        assert replace(again, target=one.target if one.target is None else again.target) == one
        told |= {field.name for field in fields(Settings) if getattr(one, field.name) != field.default}
    assert {field.name for field in fields(Settings)} - told == {"out", "overwrite", "resume", "given"}


def test_the_command_says_again_what_was_written_out(tmp_path):
    """Also where it says what holds without it; and a run that goes on says what the first one was given."""
    given = ["train", "--network", "perceptron", f"--data={stored(tmp_path / 'my data.npz')}", "--costs", "macs",
             "--dropout", "0", "--epochs", "1", "--out", str(tmp_path / "out"), "--quiet"]
    assert main(given) == 0
    command = read(tmp_path / "out")["command"]
    assert command == ("npkd train --data 'my data.npz' --epochs 1 --network perceptron --dropout 0.0 --costs macs "
                       "--seed 0")
    with pytest.raises(KeyboardInterrupt):
        run.run(settings(tmp_path, command="train", epochs=5, given=("costs",), overwrite=True), Stop("training", 2))
    assert main(["train", "--resume", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert "--costs macs" in read(tmp_path / "out")["command"]


@pytest.mark.parametrize(("options", "said"), [
    ({"command": "fly"}, "compress, train"), ({"activation": "step"}, "relu, tanh, sigmoid"),
    ({"dropout": 1.0}, "below 1"),
    ({"dropout": float("nan")}, "below 1"), ({"seed": -1}, "negative"),
    ({"teacher": "t.npz", "hidden": (3,)}, "give one"),
])
def test_settings_refuse_nonsense(options, said):
    with pytest.raises(InputError, match=said):
        Settings(**options)


def test_augmentation_in_words(tmp_path):
    small = prepare(settings(tmp_path), stages.NoProgress()).recipe
    assert "0.15" in summary.augmentation(small, compressed=True)["student"]
    large = replace(small, noise_std=0.0, mixup_alpha=0.5)
    assert summary.augmentation(large, compressed=True) == {
        "teacher": "none",
        "student": "inputs mixed in pairs (share drawn from Beta(0.5, 0.5)), labelled by the teacher"}
    assert summary.augmentation(replace(small, noise_std=0.0), compressed=True)["student"] == "none"
    assert list(summary.augmentation(small, compressed=False)) == ["teacher"]
    worst = summary.augmentation(replace(small, noise_std=0.0, adversarial_eps=0.25), compressed=True)
    assert worst == {"teacher": "none", "student": "each input also moved by 0.25 to where the loss rises fastest"}
    moved = summary.augmentation(replace(small, noise_std=0.0, max_shift=2), compressed=True)
    assert moved == {"teacher": "pictures moved by up to 2 pixels", "student": "pictures moved by up to 2 pixels"}


def test_matplotlib_is_missed_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match="pip install matplotlib"):
        figures.require()
    before = tree(tmp_path)
    with pytest.raises(InputError, match="pip install matplotlib"):
        run.run(Settings(data="digits", out=str(tmp_path / "out")), stages.NoProgress())
    assert tree(tmp_path) == before


def test_the_networks_are_ordinary_zip_files(done):
    for name in ("teacher", "student"):
        with zipfile.ZipFile(done / "out" / f"{name}.npz") as archive:
            assert archive.testzip() is None
