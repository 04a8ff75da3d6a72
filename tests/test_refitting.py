"""The refit alone, and compression without training: least squares on what the student itself feeds a layer, and not one step of descent."""

import json
from dataclasses import replace

import numpy as np
import pytest

import npkd
from npkd import pipeline, recipe, storage
from npkd.cli import main
from npkd.data import from_arrays
from npkd.errors import InputError
from npkd.experiments import scores
from npkd.experiments.methods import METHODS
from npkd.nn.architectures import lenet5
from npkd.nn.network import perceptron
from npkd.recipe import Recipe
from npkd.sparsity.layerwise import distil, exactly
from npkd.sparsity.refitting import refits
from npkd.target import parse
from tests.test_cli import teacher, with_teacher
from tests.tiny import arrays

RNG = np.random.default_rng


def biased(network, rng):
    """The network with biases that are not zero."""
    return network.replace({i: replace(layer, params=(layer.params[0], 0.3 * rng.standard_normal(len(layer.params[0]))))
                            for i, layer in enumerate(network.layers) if layer.params})


@pytest.mark.parametrize("rows", [200, 64])
def test_a_layer_is_the_least_squares_on_what_the_student_feeds_it(rows):
    rng = RNG(0)
    net = biased(perceptron((6, 8, 7, 3), rng, dtype=np.float64), rng)
    x = rng.standard_normal((200, 6)) @ rng.standard_normal((6, 6))
    kept = [np.array([0, 2, 3, 5]), np.array([1, 2, 4, 6, 7]), np.array([0, 1, 5])]
    activations, h, found = net(x)[0], x, list(refits(net, lambda: (x[i:i + rows] for i in range(0, 200, rows)), kept, ridge=1e-14))
    for k, (done, i) in enumerate(zip(found, net.dense_layers, strict=True)):
        assert done.layer == i
        inputs = np.column_stack([h[:, kept[k]], np.ones(len(h))])
        best = np.linalg.lstsq(inputs, activations[i + 1], rcond=None)[0]
        w, b = done.student.layers[i].params
        assert w[:, kept[k]] == pytest.approx(best[:-1].T, abs=1e-9)
        assert b == pytest.approx(best[-1], abs=1e-9)
        assert not np.delete(w, kept[k], axis=1).any()
        assert (done.w == w).all()
        assert all(one is two for one, two in zip(done.student.layers[i + 1:], net.layers[i + 1:], strict=True))     # not yet
        h = np.maximum(inputs @ best, 0)


def test_a_convolution_is_the_least_squares_on_its_patches():
    rng = RNG(1)
    net = biased(lenet5(rng, channels=(4, 5), hidden=6, shape=(16, 16, 1), classes=3, dtype=np.float64), rng)
    x, kept = rng.standard_normal((30, 256)), [np.arange(1), np.array([0, 2]), np.array([1, 3, 4]), np.arange(6)]
    *_, last = refits(net, lambda: [x], kept, ridge=1e-14, positions=10_000)
    student, (mine, theirs) = last.student, (last.student(x)[0], net(x)[0])
    second = [i for i, layer in enumerate(net.layers) if layer.op == "conv2d"][1]
    w, b = student.layers[second].params
    n, (high, wide) = len(x), theirs[second + 1].shape[1:3]
    patches = np.stack([mine[second][:, p:p + high, q:q + wide, c] for p in range(5) for q in range(5) for c in kept[1]], axis=-1)
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
    gone = [{r.neuron for r in out.removals if r.junction == k} for k in range(3)]
    kept = [np.array([j for j in range(width) if j not in gone[k]]) for k, width in enumerate((6, 8, 7))]
    *_, last = refits(net, lambda: [x], kept)
    assert scores.cut(last.student, kept).predict(x) == pytest.approx(out.student.predict(x), abs=1e-9)


@pytest.mark.parametrize("name", ["outgoing weights", "activation", "taylor"])
def test_a_refitted_score_keeps_the_same_neurons_and_imitates_better(name):
    rng = RNG(3)
    net, x, y = biased(perceptron((8, 12, 10, 3), rng, dtype=np.float64), rng), rng.standard_normal((300, 8)), rng.integers(0, 3, 300)
    plain, fitted = (METHODS[which].removal(net, x, y, [6, 7, 6], rng) for which in (name, f"{name}, refitted"))
    assert plain.layers[0].options["kept"] == fitted.layers[0].options["kept"]
    assert plain.widths == fitted.widths == [6, 7, 6, 3]

    def lost(student):
        return float(((student.predict(x) - net.predict(x)) ** 2).sum())

    assert lost(fitted) < lost(plain)
    assert METHODS[f"{name}, refitted"].score is METHODS[name].score


# ---- compression without training ----------------------------------------------------------------------------------------------------


def test_no_epochs_are_one_round_and_no_training():
    for shape, network in (((), "perceptron"), ((28, 28), "perceptron"), ((28, 28), "lenet5")):
        usual, none = (recipe.for_examples(54_000, epochs, shape, network) for epochs in (None, 0))
        assert none == replace(usual, rounds=1, round_epochs=0, final_epochs=0)
    with pytest.raises(InputError, match=r"epochs is -1; it must be at least 0"):
        recipe.for_examples(100, -1)


def test_the_student_is_what_the_layers_were_refitted_to():
    parts = arrays()
    data = from_arrays("tiny", [parts[key] for key in ("x_train", "y_train", "x_test", "y_test")], seed=0)
    net = perceptron((16, 10, 8, 3), RNG(0))
    numbers = Recipe(hidden=(10, 8), rounds=1, round_epochs=0, final_epochs=0, batch=32)
    state = pipeline.compress(data, parse("widths=9-6-5", net.widths), numbers, RNG(0), teacher=net)
    expected = distil(net, pipeline.batches_of(data.x_train), exactly([9, 6, 5])).student
    assert state.student.predict(data.x_validation[:, :16]).tobytes() == expected.predict(data.x_validation[:, :16]).tobytes()
    with pytest.raises(InputError, match="there is a tutor, and epochs is 0"):
        pipeline.compress(data, parse("widths=9-6-5", net.widths), numbers, RNG(0), teacher=net, tutor=net)


@pytest.mark.parametrize("target", ["macs=40%", "error=+30"])
def test_the_command_trains_nothing_and_says_all_else(tmp_path, target):
    assert main([*with_teacher(tmp_path, teacher(tmp_path), "--target", target), "--epochs", "0"]) == 0
    out = tmp_path / "out"
    assert json.loads((out / "summary.json").read_text())["command"].count("--epochs 0") == 1
    assert all("loss" not in json.loads(line) for line in (out / "history.jsonl").read_text().splitlines())
    assert not (out / "figures" / "training.png").exists()
    assert "training.png" not in (out / "report.html").read_text()
    assert storage.load(out / "student.npz").network.widths[1:] != storage.load(out / "teacher.npz").network.widths[1:]


def test_in_python_too():
    rng = RNG(4)
    x = rng.standard_normal((400, 12)).astype(np.float32)
    net = biased(perceptron((12, 20, 3), rng), rng)
    one, two = (npkd.compress(net, x, "widths=12-12", epochs=0, seed=seed) for seed in (0, 0))
    assert one.student.widths == [12, 12, 3]
    assert one.student.predict(x).tobytes() == two.student.predict(x).tobytes()
    assert one.agreement > 0.8
