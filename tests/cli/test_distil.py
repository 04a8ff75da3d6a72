"""npkd distil: a fresh student by any loss and scheme; what does nothing is refused; a run that was broken off ends as
one that was not."""

import json
import math
import shlex
from pathlib import Path

import numpy as np
import pytest

from npkd.cli import run
from npkd.cli.main import main
from npkd.cli.settings import Settings
from npkd.core.progress import NoProgress
from npkd.core.validation import InputError
from npkd.distillation.safety import redrawn, safe_clip
from npkd.nn.architectures import lenet5
from npkd.nn.fast.workspace import predict
from npkd.nn.model import Model, load
from npkd.nn.model import save as save_model
from npkd.nn.network import perceptron
from npkd.nn.scaling import Scaling
from npkd.nn.training import TrainingSettings
from npkd.pipeline import distil, sparse, sparse_phases
from npkd.pipeline.distil import IN_PYTHON, DistillationRecipe
from npkd.pipeline.library import LOSSES, SCHEMES
from tests.cli.test_checkpoints import broken_off, files, resume
from tests.tiny import stored, undrawn

MAPS = ("at", "nst", "ft", "kdsvd", "review", "attention")
"""What compares maps, which a perceptron has not."""


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch):
    undrawn(monkeypatch)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with data.npz and teacher.npz, 16-24-12-3."""
    folder = tmp_path_factory.mktemp("distil")
    with pytest.MonkeyPatch.context() as patch:
        undrawn(patch)
        words = ["--data", stored(folder / "data.npz"), "--hidden", "24,12", "--epochs", "10", "--quiet"]
        assert main(["train", *words, "--out", str(folder / "trained")]) == 0
    (folder / "trained/model.npz").rename(folder / "teacher.npz")
    return folder


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """As ``home``, where two numbers are predicted."""
    folder, rng = tmp_path_factory.mktemp("numbers"), np.random.default_rng(0)
    x = rng.standard_normal((160, 6)).astype(np.float32)
    y = np.stack([np.tanh(x[:, 0]) + x[:, 1], x[:, 2]], axis=1)
    np.savez(folder / "data.npz", x_train=x[:120], y_train=y[:120], x_test=x[120:], y_test=y[120:])
    with pytest.MonkeyPatch.context() as patch:
        undrawn(patch)
        assert main(["train", "--data", str(folder / "data.npz"), "--hidden", "24,12", "--epochs", "20", "--quiet",
                     "--out", str(folder / "trained")]) == 0
    (folder / "trained/model.npz").rename(folder / "teacher.npz")
    return folder


def settings(home, out, **more):
    return Settings(**{"command": "distil", "data": str(home / "data.npz"), "teacher": str(home / "teacher.npz"),
                       "out": str(out), "epochs": 2, "hidden": (8, 6), "seed": 1} | more)


def done(home, out, **more):
    """The summary and the lines of the history of a run."""
    result = run.run(settings(home, out, **more), NoProgress())
    return result, [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


def refused(home, out, **more):
    with pytest.raises(InputError) as caught:
        run.run(settings(home, out, **more), NoProgress())
    assert not out.exists()
    return str(caught.value)


# --- the list


def test_the_list_has_every_loss_and_scheme_on_a_line(capsys):
    assert main(["distil", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    words = [line.split()[0] for line in lines]
    assert words == [*LOSSES, *SCHEMES]
    assert len({*words}) == len(words) == 39
    assert all(word == word.lower() for word in words)
    entries = [*LOSSES.values(), *SCHEMES.values()]
    for line, entry in zip(lines, entries, strict=True):
        cells = line.split("  ")
        assert [cell.strip() for cell in cells if cell.strip()] == [
            entry.word, entry.name, entry.paper or "–", entry.source, entry.normaliser or "by its terms",
            "--loss" if entry in LOSSES.values() else "--scheme"]
    assert all(entry.normaliser for entry in LOSSES.values())


# --- what a run writes


def test_a_student_learns_and_everything_is_written(home, tmp_path):
    result, lines = done(home, tmp_path / "out", epochs=40)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "config.toml", "figures", "history.jsonl", "report.html", "student.npz", "summary.json", "teacher.npz"]
    assert (tmp_path / "out/teacher.npz").read_bytes() == (home / "teacher.npz").read_bytes()
    raw, said = np.load(home / "data.npz"), {}
    for side in ("teacher", "student"):
        said[side] = load(tmp_path / f"out/{side}.npz").logits(raw["x_test"]).argmax(axis=1)
        assert result[side]["test_error"] == pytest.approx((said[side] != raw["y_test"]).mean())
    assert result["agreement"] == pytest.approx((said["teacher"] == said["student"]).mean())
    assert result["student"]["widths"] == [16, 8, 6, 3]
    assert result["student"]["test_error"] <= 0.15
    assert not {"layers", "rounds", "target"} & {*result}
    assert (result["teacher_file"], result["kept_inputs"]) == ("teacher.npz", None)
    assert result["objective"] == "0.1 cross_entropy(-1, y) + 0.9 soft_targets(-1, -1)"
    assert result["scheme"] == "offline: offline distillation, Hinton et al. 2015"
    assert result["recipe"] == {"epochs": 40, "network": "perceptron", "hidden": (8, 6), "batch_size": 64}
    assert len(lines) == 40
    for line in lines:
        assert {*line["terms"]} == {"cross_entropy", "soft_targets"}
        assert line["terms"]["cross_entropy"]["cosine"] == pytest.approx(1)
        assert line["loss"] == pytest.approx(0.1 * line["terms"]["cross_entropy"]["value"]
                                             + 0.9 * line["terms"]["soft_targets"]["value"])
        assert {*line["dead"]} == {"1", "3"}
    assert (result["balance"], result["dead"]) == (lines[-1]["terms"], lines[-1]["dead"])
    assert [result["cka"][side] for side in ("student", "teacher")] == [["2 relu", "4 relu", "5 logits"]] * 2
    matrix = np.array(result["cka"]["matrix"])
    assert matrix.shape == (3, 3)
    assert matrix[2, 2] > 0.8                               # both say the same
    assert shlex.split(result["command"]) == [
        "npkd", "distil", "--data", "data.npz", "--epochs", "40", "--hidden", "8,6", "--teacher", "teacher.npz",
        "--seed", "1"]


def test_the_same_words_give_the_same_bytes_and_are_in_the_command(home, tmp_path):
    words = ["distil", "--data", str(home / "data.npz"), "--teacher", str(home / "teacher.npz"), "--hidden", "7",
             "--epochs", "2", "--loss", "rkd,soft", "--hint", "2:4", "--loss-weight", "3,0.5,0.25", "--label-weight",
             "0.2", "--temperature", "3", "--activation", "tanh", "--dropout", "0.1", "--seed", "2", "--quiet"]
    for name in ("one", "two"):
        assert main([*words, "--out", str(tmp_path / name)]) == 0
    assert files(tmp_path / "one") == files(tmp_path / "two")
    result = json.loads((tmp_path / "one/summary.json").read_text())
    assert result["objective"] == (
        "0.2 cross_entropy(-1, y) + 3.0 relational_distance(2, 4) + 6.0 relational_angle(2, 4) + 0.5 soft_targets(-1, "
        "-1) + 0.25 hint 2:4(2, 4)")
    again = shlex.split(result["command"])
    assert {*words[5:-1]} - {"3"} <= {*again}
    assert "3.0" in again
    student = load(tmp_path / "one/student.npz").network
    assert [str(layer.op) for layer in student.layers] == ["dense", "tanh", "dropout", "dense"]


def test_what_is_said_changes_what_is_learnt(home, tmp_path):
    """Each option by itself."""
    changes = [{}, {"temperature": 20.0}, {"label_weight": 0.0}, {"hint": "2:2"}, {"hint": "2:4"}, {"loss": "rkd"},
               {"loss": "rkd", "loss_weight": "25"}, {"scheme": "mutual"}, {"activation": "tanh"}, {"seed": 3}]
    weights = set()
    for k, change in enumerate(changes):
        done(home, tmp_path / str(k), epochs=1, **change)
        weights.add(load(tmp_path / f"{k}/student.npz").network.layers[0].params[0].tobytes())
    assert len(weights) == len(changes)


@pytest.mark.parametrize("word", [*LOSSES, *SCHEMES])
def test_every_word_is_enough(home, tmp_path, word):
    option = {"loss" if word in LOSSES else "scheme": word}
    if word in MAPS or word in IN_PYTHON:
        words = refused(home, tmp_path / "out", **option)
        assert ("maps" if word in MAPS else f"npkd.distillation.schemes.{SCHEMES[word].function.__name__}") in words
        return
    result, lines = done(home, tmp_path / "out", epochs=1, **option)
    assert result["student"]["widths"] == [16, 8, 6, 3]
    assert all(math.isfinite(line["loss"]) for line in lines)
    assert any(line.get("terms") for line in lines) or word in ("mutual", "own-layers")     # these are one term


def test_each_scheme_does_what_it_says(home, tmp_path):
    for word, first in (("assistants", [16, 14, 12, 3]), ("born-again", [16, 8, 6, 3])):        # √(8 · 24), √(6 · 24)
        lines = done(home, tmp_path / word, scheme=word)[1]
        assert [line["stage"] for line in lines] == ["distillation 1 of 2"] * 2 + ["distillation 2 of 2"] * 2
        assert [line["widths"] for line in lines] == [first] * 2 + [[16, 8, 6, 3]] * 2
    _, lines = done(home, tmp_path / "adversarial", scheme="adversarial")
    assert [*lines[0]["terms"]][-1] == "adversarial_logits"
    whole, _ = done(home, tmp_path / "whole", scheme="layer-wise", hidden=(24, 12), epochs=1)
    assert whole["agreement"] > 0.9                         # nothing was cut, and an epoch does not change much
    assert "nearest possible" in refused(home, tmp_path / "wider", scheme="layer-wise", hidden=(30, 12))


@pytest.mark.parametrize("same", [True, False])
def test_further_students_have_the_dropout_and_activation_of_the_first(same):
    for rates in ((0.1, 0.0, 0.3), (0.0, 0.2, 0.2), ()):
        student, teacher = (perceptron([5, *widths, 3], np.random.default_rng(0), activation="tanh", dropout_rates=more)
                            for widths, more in (((6, 4), rates), ((9, 8), ())))
        further = distil.another(student, teacher, np.random.default_rng(1), same=same)
        assert [(layer.op, dict(layer.options)) for layer in further.layers] == [
            (layer.op, dict(layer.options)) for layer in student.layers]
        assert (further.widths == student.widths) == same


def test_neighbours_of_numbers_are_learnt_beside_their_squared_error(numbers, tmp_path):
    result, lines = done(numbers, tmp_path / "out", scheme="graph", epochs=30)
    assert [*lines[0]["terms"]] == ["squared_error", "neighbour_graph"]
    assert result["student"]["test_error"] < 0.8              # 1 − R²


@pytest.mark.parametrize(("scheme", "again"), [("offline", False), ("layer-wise", True)])
def test_the_bound_is_of_a_student_that_is_drawn(home, tmp_path, monkeypatch, scheme, again):
    """What is drawn anew a second time is the same."""
    asked = []
    monkeypatch.setattr(distil, "safe_clip", lambda network, *rest: asked.append(network) or safe_clip(network, *rest))
    done(home, tmp_path / "out", scheme=scheme)
    w, once_more = (network.layers[0].params[0] for network in (asked[-1], redrawn(asked[-1])))
    assert np.array_equal(w, once_more) == again


@pytest.mark.parametrize("taught", ["distil", "train", None])
def test_the_bound_is_that_of_the_phases_with_a_penalty_too(home, tmp_path, monkeypatch, taught):
    """Labels alone have none."""
    clips, bounds = {distil: []}, []
    for module in (distil, sparse, sparse_phases):
        def settings_of(*given, module=module, **more):
            clips.setdefault(module, []).append(more["clip"])
            return TrainingSettings(*given, **more)
        monkeypatch.setattr(module, "TrainingSettings", settings_of)
    monkeypatch.setattr(run, "bound", lambda *given: bounds.append(distil.bound(*given)) or bounds[-1])
    file = str(home / "teacher.npz")
    done(home, tmp_path / "out", command="distil" if taught == "distil" else "train", penalty="neurons=0.01", seed=0,
         teacher=file if taught == "distil" else None, distil_from=file if taught == "train" else None)
    assert {*clips[sparse], *clips[sparse_phases]} == ({*bounds} if taught else {None})
    assert (len(bounds), None in bounds) == (bool(taught), False)
    assert clips[distil][-1:] == bounds * (taught == "distil")          # those before are of a rehearsal


def test_neurons_die_while_the_student_learns(home, tmp_path):
    result, lines = done(home, tmp_path / "out", epochs=10, penalty="inputs=0.1,neurons=0.02", loss="soft")
    assert sum(result["student"]["widths"]) < 33
    assert {"dense", "penalised", "debiased", "sparse", "removals"} <= {*result}
    assert result["dense"]["widths"] == [16, 8, 6, 3]
    plain, _ = done(home, tmp_path / "plain", epochs=1)     # whatever becomes of the student, its teacher is the same
    assert result["teacher"] == plain["teacher"]
    assert result["costs"]["teacher"] == plain["costs"]["teacher"]
    assert result["per_class"]["teacher"] == plain["per_class"]["teacher"]
    assert result["cka"]["teacher"] == plain["cka"]["teacher"]
    x = np.load(home / "data.npz")["x_test"]
    said = [load(file).logits(x).argmax(axis=1) for file in (home / "teacher.npz", tmp_path / "out/student.npz")]
    assert result["agreement"] == pytest.approx((said[0] == said[1]).mean())
    assert result["files"].keys() == {"dense", "student", "teacher"}
    assert result["kept_inputs"] is not None
    assert all({*line["terms"]} == {"cross_entropy", "soft_targets"} for line in lines)
    for line in lines:                                      # the value is that of its epoch, whatever lies between
        value = line["terms"]["cross_entropy"]["value"] + line["terms"]["soft_targets"]["value"]
        assert line["loss"] == pytest.approx(value)


def test_the_commands_of_the_book_are_taken(home, tmp_path):
    lines = (Path(__file__).resolve().parents[2] / "docs/book/20-library.md").read_text().splitlines()
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("npkd distil --teacher")]
    assert len(commands) == 4
    for k, words in enumerate(commands):
        words[2], words[4] = str(home / "teacher.npz"), str(home / "data.npz")
        assert main([*words, "--epochs", "1", "--quiet", "--out", str(tmp_path / str(k))]) == 0


# --- other teachers


def test_a_teacher_of_maps_and_a_student_of_rows_and_the_other_way_round(tmp_path, home):
    data, rng = stored(tmp_path / "large.npz", shape=(16, 16), examples=60), np.random.default_rng(0)
    scaling = Scaling(np.zeros(256, np.float32), np.full(256, 1 / 255, np.float32))
    save_model(tmp_path / "maps.npz", Model(lenet5(rng, channels=(4, 6), hidden=10, shape=(16, 16, 1), classes=3),
                                            scaling))
    more = {"data": data, "teacher": str(tmp_path / "maps.npz"), "epochs": 1}
    result, _ = done(home, tmp_path / "rows", loss="rkd", **more)
    assert result["cka"]["teacher"] == ["3 max_pool", "5 max_pool", "8 relu", "9 logits"]
    maps, _ = done(home, tmp_path / "maps", loss="at", hidden=None, network="lenet5", **more)
    assert maps["student"]["macs"] > maps["teacher"]["macs"]
    assert "activation 3 of the student, 3 of the teacher" in refused(home, tmp_path / "hint", hint="3:3", **more)


def test_a_teacher_without_a_scaling_and_a_student_that_gets_one(home, tmp_path):
    """A network of raw bytes: the student reads them on one scale, its teacher as it was trained."""
    model, raw = load(home / "teacher.npz"), np.load(home / "data.npz")
    first = model.network.layers[0]
    w = first.params[0] * model.scaling.factor
    bare = model.network.replace({0: type(first)("dense", (w, first.params[1] - w @ model.scaling.offset))})
    save_model(tmp_path / "bare.npz", Model(bare))
    result, _ = done(home, tmp_path / "out", teacher=str(tmp_path / "bare.npz"), epochs=20)
    said = predict(bare, raw["x_test"].reshape(40, -1).astype(np.float32)).argmax(axis=1)
    assert result["teacher"]["test_error"] == pytest.approx((said != raw["y_test"]).mean())
    assert result["student"]["test_error"] < 0.3


# --- what is refused, in one sentence, before a file is written


@pytest.mark.parametrize(("more", "words"), [
    ({"teacher": None}, "needs one"), ({"loss": "nothing"}, "it must be one of soft, logits"),
    ({"scheme": "nothing"}, "it must be one of offline"), ({"loss": "rkd", "temperature": 3.0}, "rkd has none"),
    ({"loss_weight": "3"}, "for each loss"), ({"loss": "rkd,soft", "loss_weight": "3"}, "for each loss"),
    ({"loss": "rkd", "loss_weight": "x"}, "for each loss"), ({"hint": "2"}, "STUDENT:TEACHER"),
    ({"hint": "2:9"}, "1 … 5"), ({"loss": "rkd", "loss_weight": "-1"}, "-1"), ({"label_weight": -1.0}, "-1"),
    ({"temperature": 0.0}, "temperature"), ({"scheme": "graph", "temperature": 2.0}, "leave out"),
    ({"scheme": "mutual", "loss": "rkd"}, "leave out"), ({"scheme": "mutual", "label_weight": 1.0}, "leave out"),
    ({"scheme": "layer-wise", "dropout": 0.5}, "leave them out"),
    ({"scheme": "layer-wise", "activation": "tanh"}, "leave them out"),
    ({"penalty": "neurons=1", "scheme": "mutual"}, "offline alone"), ({"costs": "size"}, "no --penalty"),
    ({"penalty": "neurons=1", "loss": "rkd"}, "one of logits"), ({"penalty": "neurons=1", "hint": "2:2"}, "of logits"),
    ({"target": "macs=50%"}, "no --penalty"), ({"network": "lenet5"}, "a perceptron's"),
    ({"hidden": None, "network": "lenet5"}, "16×16"), ({"epochs": 0}, "epochs")], ids=str)
def test_what_contradicts_itself_or_does_nothing_is_refused(home, tmp_path, more, words):
    assert words in refused(home, tmp_path / "out", **more)


@pytest.mark.parametrize(("more", "words", "none"), [
    ({"loss": "rkd,soft", "loss_weight": "1"}, "got --loss-weight 1, 1 in all; it needs 2 numbers", "--hint"),
    ({"hint": "2"}, "got --hint 2;", "weight"), ({"temperature": 2.0}, "squared error of numbers has none", "None")],
    ids=str)
def test_a_refusal_names_what_was_given_and_nothing_else(numbers, tmp_path, more, words, none):
    said = refused(numbers, tmp_path / "out", **more)
    assert words in said
    assert none not in said


def test_other_commands_do_not_take_the_options_of_distil(capsys):
    for command in ("train", "compress"):
        assert main([command, "--loss", "rkd"]) == 2
        assert "--loss" in capsys.readouterr().err
    assert main(["distil", "--distil-from", "file"]) == 2
    assert "--distil-from" in capsys.readouterr().err
    assert DistillationRecipe() == DistillationRecipe(scheme="offline")


# --- broken off


@pytest.mark.parametrize(("more", "stage", "step"), [
    ({}, "distillation", 2), ({"loss": "vid,rkd", "hint": "2:2"}, "distillation", 3),
    ({"loss": "crd"}, "distillation", 2), ({"scheme": "assistants"}, "distillation 2", 2),
    ({"scheme": "adversarial"}, "distillation", 1), ({"scheme": "mutual"}, "distillation", 2),
    ({"scheme": "data-free"}, "distillation", 2), ({"penalty": "neurons=0.01"}, "last", 2)], ids=str)
def test_a_run_that_goes_on_ends_as_one_that_was_not_broken_off(home, tmp_path, more, stage, step):
    done(home, tmp_path / "whole", epochs=4, **more)
    asked = settings(home, tmp_path / "out", epochs=4, **more)
    broken_off(asked, stage, step)
    assert (tmp_path / "out/teacher.npz").exists()
    resume(asked)
    assert files(tmp_path / "out") == files(tmp_path / "whole")
