"""LeNet-5 through the whole of npkd: trained, compressed, stored, reported, and taken again as a teacher; what it
cannot be is said clearly."""

import json
from dataclasses import replace

import numpy as np
import pytest

from npkd import compress
from npkd.cli import prepare
from npkd.cli.main import main
from npkd.cli.settings import Settings
from npkd.core.validation import InputError
from npkd.experiments import lenet5 as experiment
from npkd.interop.adapt import widened
from npkd.interop.layers import scaled
from npkd.nn import cost
from npkd.nn.architectures import conv_layer, lenet5, separable
from npkd.nn.model import load
from npkd.nn.network import Layer, Network, dense_layer
from npkd.nn.optimisers import SGD
from npkd.nn.training import TrainingSettings, train
from npkd.pipeline import stages
from npkd.pipeline.recipe import Recipe, complete, plain
from npkd.sparsity.collect import collect_statistics
from npkd.surgery.widths import geometry
from tests.tiny import stored

RNG = np.random.default_rng(0)
SHORT = Recipe(epochs=1, rounds=2)


def run(folder, *more, data=None, command="compress"):
    """A run on pictures of 20×20, as short as can be; the exit code."""
    data = data or stored(folder / "data.npz", shape=(20, 20))
    return main([command, "--data", data, "--network", "lenet5", "--epochs", "1", "--out", str(folder / "out"),
                 "--quiet", *more])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run of three rounds; ``label_weights`` in it is what every distillation weighed labels with."""
    path = tmp_path_factory.mktemp("lenet5")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "complete", lambda *a, **b: replace(complete(*a, **b), rounds=3))
        weights = weights_of_labels(patch)
        assert run(path, "--target", "macs=20%") == 0
    (path / "label_weights").write_text(json.dumps(weights))
    return path


def test_the_shape_and_cost_of_the_original():
    network = lenet5(RNG)
    assert network.widths == [1, 20, 50, 500, 10]
    assert cost.of(network).macs == 24 * 24 * 25 * 20 + 8 * 8 * 25 * 20 * 50 + 800 * 500 + 500 * 10
    assert network.predict(RNG.standard_normal((2, 784)).astype(np.float32)).shape == (2, 10)


@pytest.mark.parametrize("wrong", [{"shape": (15, 28, 1)}, {"channels": (0, 5)}, {"hidden": 0}, {"shape": (28, 28)}])
def test_what_it_cannot_be(wrong):
    with pytest.raises(InputError, match=r"lenet5: channels are .* all must be positive"):
        lenet5(RNG, **wrong)


def test_a_run_keeps_its_target_and_writes_everything(folder):
    found = json.loads((folder / "out" / "summary.json").read_text())
    teacher, student = (load(folder / "out" / f"{name}.npz").network for name in ("teacher", "student"))
    assert cost.of(student).macs == found["student"]["macs"] <= 0.2 * cost.of(teacher).macs
    assert found["student"]["widths"] == student.widths
    assert student.widths[0] == 1
    assert "--network lenet5" in found["command"]
    assert found["removal_difference_float64"] <= 1e-9
    gaps = [layer["duality_gap"] for layer in found["layers"]]
    assert gaps[:3] == [None, None, None]
    assert gaps[3] <= 1e-6
    page = (folder / "out" / "report.html").read_text()
    assert "Channels, which are read through several weights each, are eliminated one after the other." in page
    assert "the answers of the teacher, and the labels with weight 1" in page
    assert main(["report", str(folder / "out")]) == 0


def test_the_teacher_is_taken_again(folder, tmp_path, capsys):
    data = str(folder / "data.npz")
    teacher = str(folder / "out" / "teacher.npz")
    words = ["--data", data, "--teacher", teacher, "--target", "widths=1-3-4-20", "--epochs", "0", "--out",
             str(tmp_path), "--quiet"]
    assert main(["compress", *words]) == 0
    assert load(tmp_path / "student.npz").network.widths == [1, 3, 4, 20, 3]
    assert "what is read through several weights is eliminated one by one" in capsys.readouterr().out


def test_plain_training_too(tmp_path):
    assert run(tmp_path, command="train") == 0
    assert load(tmp_path / "out" / "model.npz").network.widths == [1, 20, 50, 500, 3]


def test_the_recipe_is_shorter_and_plain_only_stops_moving():
    long = complete(Recipe(network="lenet5"), 54_000, (28, 28))
    assert (long.network, long.max_shift) == ("lenet5", 1)
    assert plain(long).max_shift == 0
    assert plain(long).batch_size == long.batch_size
    assert complete(Recipe(network="lenet5", epochs=4), 54_000, (28, 28)).teacher_epochs == 1


def weights_of_labels(monkeypatch):
    """What every distillation from now on weighs labels with."""
    weights, distil = [], stages.distil_end_to_end
    monkeypatch.setattr(stages, "distil_end_to_end",
                        lambda run, *rest: weights.append(run.recipe.label_weight) or distil(run, *rest))
    return weights


def test_labels_weigh_in_every_distillation_of_the_job(folder):
    weights = json.loads((folder / "label_weights").read_text())
    assert len(weights) == 3
    assert complete(Recipe(network="lenet5"), 54_000).rounds > 3
    assert set(weights) == {1.0}


def test_labels_weigh_in_npkd_compress_where_there_are_some(monkeypatch):
    """The same rule as that of the command: with labels a convolutional student learns from them, without it cannot."""
    weights, rng = weights_of_labels(monkeypatch), np.random.default_rng(5)
    teacher = lenet5(rng, channels=(4, 6), hidden=12, shape=(16, 16, 1), classes=3)
    x = rng.standard_normal((150, 256)).astype(np.float32)
    short = Recipe(epochs=1, rounds=1)
    one, other = (compress(teacher, x, "macs=40%", labels=rng.integers(0, 3, 150), recipe=short) for _ in range(2))
    assert set(weights) == {1.0}
    assert not np.array_equal(one.student.layers[-1].params[0], other.student.layers[-1].params[0])
    weights.clear()
    compress(teacher, x, "macs=40%", recipe=short)
    assert set(weights) == {0.0}


def test_what_the_experiments_learn_from():
    """The records the default, the comparison what docs/results/lenet5.md says."""
    beaten = [record.setting for record in experiment.RECORDS]
    assert {(s.recipe.label_weight, s.recipe.clip) for s in beaten} == {(1.0, 3.0)}
    assert {(s.recipe.label_weight, s.recipe.clip) for some in experiment.COMPARISON for s in some} == {(0.0, 10.0)}


@pytest.mark.parametrize(("more", "words"), [
    ({"hidden": (3,)}, "those are a perceptron's"), ({"dropout": 0.5}, "those are a perceptron's"),
    ({"activation": "tanh"}, "those are a perceptron's"),
    ({"teacher": "x.npz"}, "give one of them"),
    ({"network": "alexnet"}, "network is 'alexnet'; it must be one of perceptron, lenet5"),
])
def test_settings_that_contradict(more, words):
    with pytest.raises(InputError, match=words):
        Settings(**{"network": "lenet5", **more})


@pytest.mark.parametrize(("shape", "words"), [((12, 12), "pictures at least 16×16"), ((20,), "it needs pictures")])
def test_data_that_does_not_suit(tmp_path, capsys, shape, words):
    assert run(tmp_path, data=stored(tmp_path / "d.npz", shape=shape)) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out" / "summary.json").exists()


def test_a_network_of_ones_own_with_convolutions():
    """npkd.compress on rows of pixels, without labels: the target holds in real multiply-accumulates; inputs may be of
    another size."""
    rng = np.random.default_rng(5)
    teacher = lenet5(rng, channels=(4, 6), hidden=12, shape=(16, 16, 1), classes=3)
    x = rng.standard_normal((150, 256)).astype(np.float32)
    out = compress(teacher, x, target="macs=40%", recipe=SHORT)
    assert out.macs[0] == cost.of(teacher).macs
    assert cost.of(out.student).macs == out.macs[1] <= 0.4 * out.macs[0]
    large = compress(scaled(teacher, 1 / 64), x * 64, target="macs=40%", recipe=SHORT)
    assert np.array_equal(scaled(teacher, 1 / 64).predict(x * 64), teacher.predict(x))
    assert large.macs[1] <= 0.4 * large.macs[0]
    assert np.isfinite(large.student.predict(x * 64)).all()


def test_all_colours_are_read():
    """The channels of the inputs stay, whatever the target asks for."""
    rng = np.random.default_rng(6)
    teacher = lenet5(rng, channels=(4, 6), hidden=12, shape=(16, 16, 3), classes=3)
    out = compress(teacher, rng.standard_normal((120, 768)).astype(np.float32), target="macs=40%",
                   recipe=SHORT)
    assert out.student.widths[0] == 3
    assert cost.of(out.student).macs <= 0.4 * cost.of(teacher).macs


def some_positions(rng):
    """A network of which a dense layer reads 5 entries of a flattened map, as surgery may leave it."""
    network = lenet5(rng, channels=(4, 6), hidden=12, shape=(20, 20, 1), classes=3)
    flat = next(i for i, layer in enumerate(network.layers) if layer.op == "flatten")
    dense = network.layers[flat + 1]
    kept = [0, 3, 7, 8, 20]
    return Network([*network.layers[:flat + 1], Layer("select", options={"kept": kept}),
                    replace(dense, params=(dense.params[0][:, kept], dense.params[1])), *network.layers[flat + 2:]])


def test_a_teacher_that_reads_some_positions_alone_is_counted_as_it_is_used():
    rng = np.random.default_rng(7)
    teacher = some_positions(rng)
    x = rng.standard_normal((120, 400)).astype(np.float32)
    with pytest.raises(InputError, match="read or made through more weights than others"):
        geometry(teacher)
    whole = widened(teacher)
    np.testing.assert_allclose(whole.predict(x), teacher.predict(x), atol=1e-5)
    out = compress(teacher, x, target="parameters=40%", recipe=SHORT)
    assert cost.of(out.student).parameters <= 0.4 * cost.of(whole).parameters


def test_maps_between_dense_layers_are_refused_as_sizes():
    rng = np.random.default_rng(8)
    network = Network([dense_layer(10, 32, rng), Layer("unflatten", options={"shape": [4, 4, 2]}),
                       conv_layer(2, 5, 2, rng), Layer("flatten"), dense_layer(45, 3, rng)])
    with pytest.raises(InputError, match="read or made through more weights than others"):
        geometry(network)


def test_a_network_that_ends_in_maps_is_refused():
    rng = np.random.default_rng(9)
    network = Network([Layer("unflatten", options={"shape": [6, 6, 1]}), conv_layer(1, 4, 3, rng)])
    with pytest.raises(InputError, match=r"gives maps of shape \(4, 4, 4\); it must end in one logit for each class"):
        compress(network, rng.standard_normal((50, 36)).astype(np.float32), recipe=Recipe(epochs=1))


def test_the_same_positions_in_every_pass():
    rng = np.random.default_rng(10)
    network = lenet5(rng, channels=(4, 6), hidden=12, shape=(20, 20, 1), classes=3)
    x = rng.standard_normal((30, 400)).astype(np.float32)
    every, (alone,) = collect_statistics(network, network, lambda: [x],
                                         network.weight_layers), collect_statistics(network, network, lambda: [x],
                                                                                      network.weight_layers[1:2])
    assert np.array_equal(every[1].A, alone.A)


def test_a_separable_network_has_the_costs_of_its_formula_and_learns():
    """kh kw C + C F multiply-accumulates a position for a pair; a few steps on four pictures fit them."""
    network = separable(np.random.default_rng(0), dtype=np.float64)
    assert cost.of(network).macs == 196 * 9 * 16 + 196 * (9 * 16 + 16 * 32) + 49 * (9 * 32 + 32 * 64) + 640
    x, y = np.random.default_rng(1).standard_normal((4, 784)), np.array([0, 3, 5, 9])
    *_, last = train(network, {"x": x, "y": y}, optimiser=SGD(0.05), rng=np.random.default_rng(2),
                     settings=TrainingSettings(80, 4))
    assert last.loss < 0.2
    with pytest.raises(InputError, match="8×8"):
        separable(np.random.default_rng(0), shape=(7, 28, 1))
