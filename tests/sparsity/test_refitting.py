"""The refit alone, and compression without training: least squares on what the student itself feeds a layer, and not
one step of descent."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

import npkd
from npkd.cli.main import main
from npkd.compression import scores
from npkd.core.validation import InputError
from npkd.data.datasets import from_arrays
from npkd.experiments.methods import METHODS, make
from npkd.experiments.setting import Setting, TeacherSetting
from npkd.nn.architectures import lenet5
from npkd.nn.network import perceptron
from npkd.pipeline import stages
from npkd.pipeline.recipe import Recipe, complete
from npkd.pipeline.target import parse
from npkd.sparsity.layerwise import distil, exactly
from npkd.sparsity.refitting import refits
from npkd.surgery.dependency import dependency_groups
from tests.cli.test_main import teacher, with_teacher
from tests.tiny import arrays, fixed

RNG = np.random.default_rng


def biased(network, rng):
    """The network with biases that are not zero."""
    return network.replace({i: replace(layer, params=(w := layer.params[0],
                                                      (0.3 * rng.standard_normal(len(w))).astype(w.dtype)))
                            for i, layer in enumerate(network.layers) if layer.params})


@pytest.mark.parametrize("rows", [200, 64])
def test_a_layer_is_the_least_squares_on_what_the_student_feeds_it(rows):
    rng = RNG(0)
    net = biased(perceptron((6, 8, 7, 3), rng, dtype=np.float64), rng)
    x = rng.standard_normal((200, 6)) @ rng.standard_normal((6, 6))
    kept = [np.array([0, 2, 3, 5]), np.array([1, 2, 4, 6, 7]), np.array([0, 1, 5])]
    activations, h, groups = net(x)[0], x, dependency_groups(net)
    found = list(refits(net, lambda: (x[i:i + rows] for i in range(0, 200, rows)), kept, groups, ridge=1e-14))
    for k, (done, i) in enumerate(zip(found, net.dense_layers, strict=True)):
        assert done.layer == i
        inputs = np.column_stack([h[:, kept[k]], np.ones(len(h))])
        best = np.linalg.lstsq(inputs, activations[i + 1], rcond=None)[0]
        w, b = done.student.layers[i].params
        assert w[:, kept[k]] == pytest.approx(best[:-1].T, abs=1e-9)
        assert b == pytest.approx(best[-1], abs=1e-9)
        assert not np.delete(w, kept[k], axis=1).any()
        assert (done.w == w).all()
        # not yet
        assert all(one is two for one, two in zip(done.student.layers[i + 1:], net.layers[i + 1:], strict=True))
        h = np.maximum(inputs @ best, 0)


def test_a_convolution_is_the_least_squares_on_its_patches():
    rng = RNG(1)
    net = biased(lenet5(rng, channels=(4, 5), hidden=6, shape=(16, 16, 1), classes=3, dtype=np.float64), rng)
    x, kept = rng.standard_normal((30, 256)), [np.arange(1), np.array([0, 2]), np.array([1, 3, 4]), np.arange(6)]
    *_, last = refits(net, lambda: [x], kept, dependency_groups(net), ridge=1e-14, positions=10_000)
    student, (mine, theirs) = last.student, (last.student(x)[0], net(x)[0])
    second = [i for i, layer in enumerate(net.layers) if layer.op == "conv2d"][1]
    w, b = student.layers[second].params
    n, (high, wide) = len(x), theirs[second + 1].shape[1:3]
    patches = np.stack([mine[second][:, p:p + high, q:q + wide, c] for p in range(5) for q in range(5)
                        for c in kept[1]], axis=-1)
    inputs = np.column_stack([patches.reshape(n * high * wide, -1), np.ones(n * high * wide)])
    best = np.linalg.lstsq(inputs, theirs[second + 1].reshape(n * high * wide, -1), rcond=None)[0]
    assert w[..., kept[1]].reshape(len(w), -1) == pytest.approx(best[:-1].T, abs=1e-8)
    assert b == pytest.approx(best[-1], abs=1e-8)
    assert not w[..., [1, 3]].any()


def test_layer_by_layer_distillation_refits_so():
    rng = RNG(2)
    net = biased(perceptron((6, 8, 7, 3), rng, dtype=np.float64), rng)
    x = rng.standard_normal((150, 6))
    out = distil(net, lambda: [x], exactly([5, 6, 4]))
    gone = [{r.neuron for r in out.removals if r.group == k} for k in range(3)]
    kept = [np.array([j for j in range(width) if j not in gone[k]]) for k, width in enumerate((6, 8, 7))]
    *_, last = refits(net, lambda: [x], kept, dependency_groups(net))
    assert scores.cut(last.student, kept).predict(x) == pytest.approx(out.student.predict(x), abs=1e-9)


@pytest.mark.parametrize("name", ["outgoing weights", "activation", "taylor", "random"])
def test_a_refitted_score_keeps_the_same_neurons_and_is_refitted_as_ours_is(name):
    rng = RNG(3)
    net, x, y = (
        biased(perceptron((8, 12, 10, 3), rng, dtype=np.float64), rng), rng.standard_normal((300, 8)),
        rng.integers(0, 3, 300)
    )
    plain, fitted = (METHODS[which].removal(net, x, y, [6, 7, 6], RNG(5)) for which in (name, f"{name} refitted"))
    score = {"outgoing weights": scores.outgoing, "activation": scores.activation, "taylor": scores.taylor,
             "random": scores.chance}[name]
    kept = [scores.best(s, width) for s, width in zip(score(net, x, y, RNG(5)), [6, 7, 6], strict=True)]
    *_, last = refits(net, stages.batches_of(x), kept, dependency_groups(net))
    assert fitted.predict(x).tobytes() == scores.cut(last.student, kept).predict(x).tobytes()
    assert plain.layers[0].options["kept"] == fitted.layers[0].options["kept"]
    assert plain.widths == fitted.widths == [6, 7, 6, 3]

    def lost(student):
        return float(((student.predict(x) - net.predict(x)) ** 2).sum())

    assert lost(fitted) < lost(plain)
    assert METHODS[f"{name} refitted"].score is METHODS[name].score


def test_channels_are_refitted_too_as_ours_are():
    rng = RNG(6)
    net = biased(lenet5(rng, channels=(4, 5), hidden=6, shape=(16, 16, 1), classes=3), rng)
    x, y = rng.standard_normal((60, 256)).astype(np.float32), rng.integers(0, 3, 60)
    widths = [1, 2, 3, 4]
    kept = [scores.best(s, width) for s, width in zip(scores.outgoing(net, x, y, rng), widths, strict=True)]
    *_, last = refits(net, stages.batches_of(x, stages.MAPS), kept, dependency_groups(net))
    fitted = METHODS["outgoing weights refitted"].removal(net, x, y, widths, rng)
    assert fitted.predict(x).tobytes() == scores.cut(last.student, kept).predict(x).tobytes()


# ---- compression without training
# ----------------------------------------------------------------------------------------------------


def test_no_epochs_are_one_round_and_no_training():
    for shape, network in (((), "perceptron"), ((28, 28), "perceptron"), ((28, 28), "lenet5")):
        usual, none = (complete(Recipe(epochs=epochs, network=network), 54_000, shape) for epochs in (None, 0))
        assert none == replace(usual, rounds=1, round_epochs=0, epochs=0)
    with pytest.raises(InputError, match=r"epochs is -1; it must be at least 0"):
        Recipe(epochs=-1)


def test_the_student_is_what_the_layers_were_refitted_to():
    parts = arrays()
    data = from_arrays("tiny", [parts[key] for key in ("x_train", "y_train", "x_test", "y_test")], seed=0)
    net = perceptron((16, 10, 8, 3), RNG(0))
    numbers = fixed(hidden=(10, 8), rounds=1, round_epochs=0, epochs=0, batch_size=32)
    run = stages.Run(data, numbers, RNG(0))
    student = stages.compress(run, net, parse("widths=9-6-5", net.widths))
    expected = distil(net, stages.batches_of(data.x_train), exactly([9, 6, 5])).student
    x = data.x_validation[:, :16]
    assert student.predict(x).tobytes() == expected.predict(x).tobytes()
    with pytest.raises(InputError, match="a network to distil from, and epochs is 0"):
        stages.compress(run, net, parse("widths=9-6-5", net.widths), net)


def saved(tmp_path, *more):
    """A finished run without epochs: its summary, its page and its folder."""
    assert main([*with_teacher(tmp_path, teacher(tmp_path)), "--epochs", "0", *more]) == 0
    out = tmp_path / "out"
    return json.loads((out / "summary.json").read_text()), (out / "report.html").read_text(), out


def test_the_command_trains_nothing_and_says_so(tmp_path):
    summary, page, out = saved(tmp_path, "--target", "macs=40%")
    assert summary["command"].count("--epochs 0") == 1
    assert summary["augmentation"]["student"] == "nothing: it was not trained"
    assert [json.loads(line)["stage"]
            for line in (out / "history.jsonl").read_text().splitlines()] == ["round 1: removal"]
    assert not (out / "figures" / "training.png").exists()
    assert 'alt="Training"' not in page
    assert "The student was not trained" in page
    assert ">learnt from<" not in page
    for word in ("student learning rate", "temperature", "round epochs"):
        assert f">{word}<" not in page
    assert ">rounds<" in page


def test_a_target_of_error_goes_on_from_the_student_before(tmp_path):
    summary, page, _ = saved(tmp_path, "--target", "error=+60")
    sizes = [r["size"] for r in summary["rounds"]]
    assert len(sizes) > 1
    assert sizes[0] <= summary["teacher"]["macs"] / 2
    assert all(after <= before / 2 for before, after in itertools.pairwise(sizes))
    assert '"row">rounds<' not in page                         # the recipe's number is not that of a target of error


def test_a_logit_source_without_a_pupil_is_refused_before_anything_is_done(tmp_path, capsys):
    assert main([*with_teacher(tmp_path, teacher(tmp_path)), "--epochs", "0", "--distil-from", "none.npz"]) == 2
    assert "distil_from is given, and epochs is 0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    passes, net = [], perceptron((4, 6, 3), RNG(0))
    with pytest.raises(InputError, match="distil_from is given, and epochs is 0"):
        npkd.compress(net, lambda: passes.append(1) or iter(()), "macs=50%", recipe=Recipe(epochs=0, distil_from=net))
    assert not passes


class Stages(stages.NoProgress):
    def __init__(self):
        self.begun = []

    def begin(self, stage, steps):
        self.begun.append(stage)


def test_in_python_too():
    rng = RNG(4)
    x = rng.standard_normal((400, 12)).astype(np.float32)
    net = biased(perceptron((12, 20, 3), rng), rng)
    progress = Stages()
    one, two = (npkd.compress(net, x, "widths=12-12", recipe=Recipe(epochs=0), progress=progress) for _ in range(2))
    assert one.student.widths == [12, 12, 3]
    assert one.student.predict(x).tobytes() == two.student.predict(x).tobytes()
    assert one.agreement > 0.8
    assert len(one.rounds) == 1
    assert not any("distillation" in stage for stage in progress.begun)
    assert one.seen == 0
    assert "no training; no labels" in str(one)


@pytest.mark.parametrize("method", ["slimming", "slimming in proportion", "scratch", "scratch with distillation"])
def test_methods_that_train_are_refused_without_epochs(method):
    numbers = fixed(hidden=(10, 8), rounds=1, round_epochs=0, epochs=0)
    setting = Setting(TeacherSetting("tiny", None, "plain", numbers, 0), method, 90, numbers)
    parts = arrays()
    data = from_arrays("tiny", [parts[key] for key in ("x_train", "y_train", "x_test", "y_test")], seed=0)
    with pytest.raises(InputError, match=f"{method} was given no epochs"):
        make(setting, stages.Run(data, numbers, RNG(0)), perceptron((16, 10, 8, 3), RNG(0)), None)
