"""Sparse training: targets are met while training, phases are what they say, and the command writes it all."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from npkd.cli import prepare
from npkd.cli.main import main
from npkd.core.validation import InputError
from npkd.data.datasets import from_arrays
from npkd.nn import cost
from npkd.nn.model import load
from npkd.nn.network import perceptron
from npkd.nn.training import TrainingSettings, train
from npkd.pipeline import sparse, sparse_phases, target
from npkd.pipeline.progress import Checkpoint, NoProgress
from npkd.pipeline.recipe import Recipe
from npkd.pipeline.sparse import START, sparse_training
from npkd.pipeline.sparse_recipe import SparseRecipe, sparse_recipe, strengths_of
from npkd.pipeline.stages import Run, error_rate
from npkd.sparsity.outgoing import read
from npkd.surgery.dependency import dependency_groups
from npkd.surgery.removal import difference
from npkd.surgery.survivors import listed
from tests.tiny import undrawn

QUICK = SparseRecipe({"inputs": None, "neurons": None}, path=True, growth=1.25, settling=2, epochs=6, debias_epochs=3,
                     batch_size=16, learning_rate=0.05)


@cache
def problem(seed=0, n=240):
    """Two of ten inputs say the class."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 10))
    y = (x[:, 0] > 0).astype(int) + 2 * (x[:, 1] > 0)
    data = from_arrays("clouds", (x, y, x[:40], y[:40]), seed=0)
    *_, last = train(perceptron([10, 12, 8, data.classes], rng), {"x": data.x_train, "y": data.y_train}, rng=rng,
                     settings=TrainingSettings(10, 16))
    return data, last.network


@cache
def undisturbed(seed, words):
    """What QUICK ends with: trained once for all tests that look at it."""
    return trained(QUICK, seed, words)


def trained(recipe, seed=0, words=None):
    data, dense = problem(seed)
    run = Run(data, Recipe(), np.random.default_rng(seed))
    goal = None if words is None else target.parse(words, dense.widths)
    return data, dense, sparse_training(run, dense, replace(recipe, target=goal, path=words is None and recipe.path))


@pytest.mark.parametrize("seed", range(3))
def test_a_target_is_met_and_never_passed(seed):
    data, dense, result = undisturbed(seed, "macs=40%")
    bound = 0.4 * cost.of(dense).macs
    for network in (result.penalised, result.debiased, result.model):
        assert cost.of(network).macs <= bound
    errors = {id(n): error_rate(n, data.x_validation, data.y_validation) for n in (result.penalised, result.debiased)}
    assert errors[id(result.model)] == min(errors.values())
    assert result.lam > 0
    assert result.epochs >= 2 + 6


def test_phases_that_are_left_out():
    _, _, result = trained(replace(QUICK, debias=False), 0, "macs=40%")
    assert result.debiased is None
    assert result.model is result.penalised


def test_a_given_strength_is_kept():
    _, _, result = trained(replace(QUICK, strengths={"neurons": 0.1}, path=False))
    assert result.lam == 1.0
    assert result.epochs == 6
    assert result.penalised.widths[0] == 10
    assert result.penalised.widths[1] < 12


@pytest.mark.parametrize("better", ["penalised", "debiased"])
def test_the_validation_part_says_which_is_delivered(better, monkeypatch):
    monkeypatch.setattr(sparse, "unpenalised", lambda problem, network: network.copy())
    errors = iter([0.1, 0.2] if better == "penalised" else [0.2, 0.1])
    monkeypatch.setattr(sparse, "at_last", lambda *a, real=sparse.at_last: (
        real(*a), monkeypatch.setattr(Run, "validation_error", lambda *b: next(errors)))[0])
    _, _, result = trained(QUICK, 0, "macs=40%")
    assert next(errors, None) is None
    assert result.model is getattr(result, better)


def test_the_network_of_the_path_is_as_good_as_the_dense_one():
    data, dense, result = trained(replace(QUICK, epochs=1, debias=False))
    error = error_rate(dense, data.x_validation, data.y_validation)
    allowed = error + np.sqrt(error * (1 - error) / len(data.y_validation))
    good = [point["lambda"] for point in result.path if point["validation_error"] <= allowed]
    assert result.lam == (max(good) if good else START)
    assert result.lam < result.path[-1]["lambda"]


@pytest.mark.parametrize("kinds", [{"neurons": 0.1}, {"neurons": 0.1, "inputs": 0.1}, {"weights": 1e-3}])
def test_inputs_are_cut_out_where_the_penalty_is_on_them_alone(kinds, monkeypatch):
    seen, real = [], sparse.remove
    monkeypatch.setattr(sparse, "remove", lambda network, inputs: seen.append(inputs) or real(network, inputs=inputs))
    trained(replace(QUICK, strengths=kinds, path=False, epochs=1, debias=False))
    assert seen == ["inputs" in kinds or "weights" in kinds]


def test_lambda_falls_where_the_network_is_smaller_than_wanted(monkeypatch):
    monkeypatch.setattr(sparse_phases.Problem, "size", lambda problem, network: 10.0)
    lams = []
    monkeypatch.setattr(sparse_phases, "trained", lambda problem, network, lam, phase: lams.append(
        phase.control(lam, network)) or after(network, lam))
    data, dense = problem()
    run = Run(data, Recipe(), np.random.default_rng(0))
    asked = sparse.Problem(run, QUICK, [], target.Target("macs", 100.0), None, {})
    sparse_phases.to_target(asked, dense, 100.0)
    assert lams == [pytest.approx(START / QUICK.growth ** 4)] * 2


def after(network, lam, epochs=1, alive=(1, 1)):
    """What there is after a phase of so many epochs."""
    return Checkpoint((("", {"lambda": lam, "alive": list(alive)}),) * epochs, network, (), {})


def asked_of(sizes, monkeypatch, alive=(1, 1)):
    """λ of every try of the last λ for a bound of 100, where size(λ) says how large the network becomes at last."""
    lams, now = [], [200.0]
    monkeypatch.setattr(sparse_phases.Problem, "size", lambda problem, network: now[0])
    monkeypatch.setattr(sparse_phases.Problem, "measured", lambda problem, network, lam: (0.0, 0.0))

    def last(problem, network, lam, phase):
        lams.append(lam)
        now[0] = sizes(lam)
        return after(network, lam, phase.epochs, alive)

    monkeypatch.setattr(sparse_phases, "trained", last)
    data, dense = problem()
    goal = target.Target("macs", 100.0)
    asked = sparse.Problem(Run(data, Recipe(), np.random.default_rng(0)), replace(QUICK, path=False, target=goal), [],
                           goal, None, {})
    return lams, sparse_phases.at_last(asked, dense, 1.0)


@pytest.mark.parametrize("power", [0.15, 0.5, 1.5])
@pytest.mark.parametrize("start", [60.0, 99.0, 130.0])
def test_the_last_lambda_is_found_by_the_power_of_two_tries(power, start, monkeypatch):
    """Where size is a power of λ, the third try at the latest is within a tenth of the bound."""
    lams, (_, lam, epochs, _) = asked_of(lambda lam: start * (lam / sparse_phases.FALL) ** -power, monkeypatch)
    assert 90 <= start * (lam / sparse_phases.FALL) ** -power <= 100
    assert len(lams) <= 4
    assert epochs == QUICK.epochs * len(lams)
    assert lams[0] == sparse_phases.FALL


def test_of_all_tries_the_largest_network_within_the_bound_counts(monkeypatch):
    sizes = iter([50.0, 150.0, 70.0, 130.0, 60.0])
    lams, (_, lam, _, _) = asked_of(lambda lam: next(sizes), monkeypatch)
    assert len(lams) == sparse_phases.TRIES
    assert lam == lams[2]


def test_a_target_that_no_try_meets_is_refused(monkeypatch):
    words = "at no λ that was tried does every layer read something within 100 macs; take a larger target"
    with pytest.raises(InputError, match=words):
        asked_of(lambda lam: 300.0, monkeypatch)
    with pytest.raises(InputError, match=words):
        asked_of(lambda lam: 95.0, monkeypatch, alive=(3, 0))


def test_a_target_in_words_is_refused():
    with pytest.raises(InputError, match="got the target 'macs=30%'; it must be a Target"):
        replace(QUICK, target="macs=30%")


def test_a_lambda_that_leaves_nothing_is_refused():
    with pytest.raises(InputError, match="at no λ that was tried does every layer read something; take a smaller λ"):
        trained(replace(QUICK, strengths={"neurons": 1e3}, path=False))


def test_a_target_that_the_penalised_cannot_reach_is_known_when_they_are_gone():
    """Of the inputs alone: λ rises until none is read, and no longer."""
    with pytest.raises(InputError, match=r"after \d+ epochs the network is \d+ macs, the target 69; penalise more"):
        trained(replace(QUICK, strengths={"inputs": None}), 0, "macs=69")


def test_single_weights_free_inputs_too():
    _, _, result = trained(replace(QUICK, strengths={"weights": 0.03}, path=False, epochs=20))
    assert result.penalised.layers[0].op == "select"


class Broken(NoProgress):
    """Keeps checkpoints as a run does, and breaks off after so many epochs of a stage."""

    def __init__(self, stage, after):
        self.kept_by_stage, self.stage, self.after, self.lines = {}, stage, after, []

    def keep(self, stage, checkpoint):
        self.kept_by_stage[stage] = checkpoint

    def kept(self, stage, network):
        return self.kept_by_stage.get(stage)

    def step(self, note, record=None):
        self.lines.append(record)
        if record is not None and record["stage"] == self.stage and record["epoch"] == self.after:
            self.after = None
            raise KeyboardInterrupt


def with_progress(words, progress):
    data, dense = problem()
    recipe = replace(QUICK, target=words and target.parse(words, dense.widths), path=words is None)
    return sparse_training(Run(data, Recipe(), np.random.default_rng(0), progress), dense, recipe)


@cache
def not_broken_off(words):
    """A run and its lines, to compare others with."""
    whole = Broken("", None)
    return with_progress(words, whole), whole.lines


@pytest.mark.parametrize(("words", "stage"), [("macs=40%", "λ rises"), ("macs=40%", "last λ"), (None, "path")])
@pytest.mark.parametrize("part", [0.5, 1.0])
def test_a_run_that_goes_on_ends_as_one_that_was_not_broken_off(words, stage, part):
    """The same network, λ, count of epochs, path and history, broken off in a stage or at its end."""
    (expected, lines), broken = not_broken_off(words), Broken(stage, None)
    ends = max(line["epoch"] for line in lines if line["stage"] == stage)
    broken.after = max(1, round(part * ends))
    with pytest.raises(KeyboardInterrupt):
        with_progress(words, broken)
    broken.lines = []
    result = with_progress(words, broken)
    assert (result.lam, result.epochs, result.path) == (expected.lam, expected.epochs, expected.path)
    for one, other in zip(result.model.layers, expected.model.layers, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.params, other.params, strict=True))
    for one, other in zip(broken.lines, lines, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_an_epoch_that_ends_a_phase_is_told():
    (result, lines), dense = not_broken_off("macs=40%"), problem()[1]
    bound = sparse_phases.SLACK * 0.4 * cost.of(dense).macs
    rise = [line["size"] for line in lines if line["stage"] == "λ rises"]
    assert rise[-1] <= bound < min(rise[:-1])
    seconds = [line["seconds"] for line in lines if line["stage"] == "λ rises"]
    assert seconds == sorted(seconds)
    assert seconds[-1] > 2 * seconds[0]                                                    # of the stage, not the epoch
    assert result.epochs == sum("lambda" in line for line in lines)


def test_what_nobody_reads_is_cut_out_before_the_last_lambda():
    """The network computes the same; the numbers of the neurons that stay are told; inputs stay."""
    _, dense = problem()
    w = [layer.params[0].copy() for layer in dense.layers if layer.row.weights]
    w[0][:, 2], w[1][:, [1, 5]], w[2][:, 3] = 0, 0, 0
    network = dense.replace({i: replace(dense.layers[i], params=(v, dense.layers[i].params[1]))
                             for i, v in zip(dense.weight_layers, w, strict=True)})
    small, stays = sparse.without_unread(network)
    assert small.widths == [10, 10, 7, dense.widths[-1]]
    assert [each.tolist() for each in stays] == [[*range(10)], [0, 2, 3, 4, 6, 7, 8, 9, 10, 11], [0, 1, 2, 4, 5, 6, 7]]
    assert difference(small, network, np.random.default_rng(0).standard_normal((50, 10)).astype(np.float32)) < 1e-5
    nobody = dense.replace({i: replace(dense.layers[i], params=(0 * v, dense.layers[i].params[1]))
                            for i, v in zip(dense.weight_layers, w, strict=True)})
    assert sparse.without_unread(nobody)[0].widths == dense.widths


def test_records_of_removal_have_the_numbers_of_the_dense_network():
    _, dense, result = trained(replace(QUICK, debias=False), 0, "macs=40%")
    for k, (before, after) in enumerate(zip(dense.widths[:-1], cost_widths(result.penalised), strict=True)):
        gone = [r.neuron for r in result.removals if r.group == k]
        assert len(gone) == len(set(gone)) == before - after
        assert all(0 <= j < before for j in gone)


def without_columns(network, layer, columns):
    """The network in which nobody reads these neurons through a layer."""
    w, b = network.layers[layer].params
    w = w.copy()
    w[:, columns] = 0
    return network.replace({layer: replace(network.layers[layer], params=(w, b))})


def test_what_goes_later_is_recorded_by_the_numbers_of_the_dense_network_too(monkeypatch):
    """Neurons 1 and 5 are cut out before the last λ; then the first and the fourth of the others, which are 0 and 4."""
    data, dense = problem()
    reader = dense.weight_layers[1]
    monkeypatch.setattr(sparse, "at_last", lambda problem, network, lam: (
        without_columns(network, reader, [0, 3]), lam, 1, 0.0))
    result = sparse_training(Run(data, Recipe(), np.random.default_rng(0)), without_columns(dense, reader, [1, 5]),
                             replace(QUICK, strengths={"neurons": 0.1}, path=False, debias=False))
    gone = {r.neuron for r in result.removals if r.group == 1}
    assert gone == {0, 1, 4, 5}
    stays = [j for j in range(12) if j not in gone]
    np.testing.assert_array_equal(result.penalised.layers[0].params[0], dense.layers[0].params[0][stays])


def cost_widths(network):
    """Neurons of each group that are left, without the outputs."""
    return [group.width for group in dependency_groups(network)]


@pytest.mark.parametrize(("examples", "growth", "settling"), [(54_000, 1.08, 12), (4_000, 1.08 ** 0.2, 60),
                                                              (10_000, 1.08 ** 0.390625, 31)])
def test_where_an_epoch_has_fewer_steps_lambda_rises_slower(examples, growth, settling):
    recipe = sparse_recipe(Recipe(network="perceptron"), examples)
    assert recipe.growth == pytest.approx(growth, rel=1e-12)
    assert recipe.settling == settling


def test_the_path_allows_one_standard_error(monkeypatch):
    """√(p (1 − p) / n) of n validation examples, a part p of which gets a wrong class."""
    allowed = []
    monkeypatch.setattr(sparse_phases, "trained", lambda problem, network, lam, phase: allowed.append(
        phase.allowed) or Checkpoint((), network, (), {}))
    data, dense = problem()
    run = Run(data, Recipe(), np.random.default_rng(0))
    asked = sparse.Problem(run, QUICK, [], target.Target("macs", 1.0), None, {})
    assert sparse_phases.along_path(asked, dense) == (dense, START, 0, [])
    wrong = (dense.predict(data.x_validation).argmax(axis=1) != data.y_validation).tolist()
    p = sum(wrong) / len(wrong)
    assert 0 < p < 1
    assert allowed == [pytest.approx(p + np.sqrt(p * (1 - p) / len(wrong)))]


def test_the_path_goes_up_until_nothing_is_left():
    _, dense, result = undisturbed(0, None)
    lams = [point["lambda"] for point in result.path]
    assert (np.diff(lams) > 0).all()
    assert min(result.path[-1]["alive"]) == 0 or len(lams) == 150
    assert cost.of(result.penalised).macs < cost.of(dense).macs


def test_weights_that_are_zero_stay_zero_without_penalty():
    _, _, result = trained(replace(QUICK, strengths={"weights": 0.01}, path=False))
    for one, other in zip(result.penalised.layers, result.debiased.layers, strict=True):
        if one.row.weights:
            assert (one.params[0] == 0).any()
            assert not other.params[0][one.params[0] == 0].any()


def test_one_training_with_the_pseudo_norm_and_what_nobody_reads_is_removed_exactly():
    data, _, result = trained(replace(QUICK, strengths={"l1l2": 0.3}, path=False, epochs=20))
    assert result.lam == 1.0
    assert result.penalised.widths[0] == 10
    assert sum(result.penalised.widths[1:3]) == 20 - len(result.removals) < 20
    groups = dependency_groups(result.penalised)
    assert all(reads.all() for reads in read(result.penalised, groups)[1:])
    assert error_rate(result.model, data.x_validation, data.y_validation) <= 0.2


def test_the_same_seed_gives_the_same_network():
    one, other = undisturbed(1, "macs=40%")[2], trained(QUICK, 1, "macs=40%")[2]
    assert one is not other
    assert one.lam == other.lam
    data, _ = problem(1)
    assert difference(one.model, other.model, data.x_validation) == 0


@pytest.mark.parametrize(("recipe", "words"), [
    ({"strengths": {"neurons": None}}, "without λ need a target, or the path"),
    ({"strengths": {"neurons": 0.1}, "path": True}, "got λ, and a target or the path, which look for λ; give one"),
    ({"strengths": {}}, "needs inputs, neurons or channels"),
    ({"strengths": {"rows": 0.1}}, "kind is 'rows'"),
    ({"strengths": {"l1l2": None}}, "got l1l2 without λ, which is found for .* alone; give one"),
    ({"strengths": {"l1l2": None}, "path": True}, "got l1l2 without λ"),
    ({"strengths": {"l1l2": 0.1}, "path": True}, "got λ, and a target or the path"),
    ({"strengths": {"neurons": 0.0}}, "neurons is 0.0"),
    ({"strengths": {"neurons": 0.1}, "costs": "bytes"}, "costs is 'bytes'"),
])
def test_recipes_that_contradict_themselves(recipe, words):
    with pytest.raises(InputError, match=words):
        SparseRecipe(**recipe)


def test_strengths_in_words():
    assert strengths_of("inputs=1e-3,neurons=0.002") == {"inputs": 1e-3, "neurons": 0.002}
    assert strengths_of("inputs,neurons") == {"inputs": None, "neurons": None}
    with pytest.raises(InputError, match="write kinds with their λ"):
        strengths_of("neurons=much")
    with pytest.raises(InputError, match="each kind may stand there once"):
        strengths_of("neurons=1,neurons=2")


def test_batches_fit_the_number_of_examples():
    assert sparse_recipe(Recipe(), 54_000).batch_size > sparse_recipe(Recipe(), 4_000).batch_size


def test_a_target_out_of_reach_is_refused_before_anything_is_trained():
    data, dense = problem()
    goal = target.Target("macs", 5.0)
    with pytest.raises(InputError, match="smallest that this network can be"):
        sparse_training(Run(data, Recipe(), np.random.default_rng(0)), dense, replace(QUICK, target=goal, path=False))


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(prepare, "sparse_recipe", lambda *given: replace(                       # fewer epochs
        sparse_recipe(*given), growth=1.1, settling=10, epochs=30))
    rng = np.random.default_rng(3)
    x = rng.standard_normal((300, 10))
    y = (x[:, 0] > 0).astype(int)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y, x_test=x[:50], y_test=y[:50])
    out = tmp_path / "out"
    words = ["train", "--data", str(tmp_path / "data.npz"), "--hidden", "12,8", "--penalty", "inputs,neurons",
             "--target", "macs=40%", "--epochs", "3", "--quiet", "--out", str(out)]
    assert main(words) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["model"]["macs"] <= 0.4 * summary["dense"]["macs"]
    assert summary["model"] in (summary["penalised"], summary["debiased"])
    assert summary["sparse"]["stationarity"][1] < summary["sparse"]["stationarity"][0]
    model, dense = (load(out / f"{name}.npz").network for name in ("model", "dense"))
    assert cost.of(model).macs == summary["model"]["macs"]
    assert cost.of(dense).macs == summary["dense"]["macs"]
    lines = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    held = [line for line in lines if "lambda" in line]
    assert {"objective", "penalty", "alive", "zeros", "stationarity", "size"} <= set(held[0])
    assert max(line["zeros"] for line in held) > 0
    whole = dict(enumerate(summary["dense"]["widths"][:-1]))           # of each group, the numbers in the dense network
    for line in held:
        kept = [listed(words) for words in line["kept"]]
        assert [len(numbers) for numbers in kept] == line["alive"]
        assert all(set(numbers) <= set(range(whole[k])) for k, numbers in enumerate(kept))
    delivered, front = [listed(words) for words in summary["sparse"]["kept"]], model.layers[0]
    assert [len(numbers) for numbers in delivered] == summary["model"]["widths"][:-1]
    assert delivered[0] == (front.options["kept"] if front.op == "select" else list(range(10)))
    end = [line for line in held if line["lambda"] == summary["sparse"]["lambda"]][-1]
    assert all(set(a) <= set(listed(b)) for a, b in zip(delivered, end["kept"], strict=True))
    assert (out / "figures" / "size.png").is_file()
    page = (out / "report.html").read_text()
    assert "Dense and sparse" in page
    for name in ("growth", "settling", "epochs", "debias epochs", "batch size", "learning rate", "weight decay"):
        assert f"with the penalty: {name}" in page
    assert "multiply-accumulates" in capsys.readouterr().out
    undrawn(monkeypatch)
    again = ["train", "--data", str(tmp_path / "data.npz"), "--start", str(out / "dense.npz"), "--penalty",
             "neurons=0.02", "--quiet", "--out", str(tmp_path / "again")]
    assert main(again) == 0
    taught = [*again[:-1], str(tmp_path / "taught"), "--distil-from", str(out / "dense.npz")]
    assert main(taught) == 0
    summary = json.loads((tmp_path / "taught" / "summary.json").read_text())
    assert summary["distil_from"]["test_error"] == summary["dense"]["test_error"]
    assert "from the file dense.npz, test error" in (tmp_path / "taught" / "report.html").read_text()


def test_the_nuclear_norm_takes_a_step_an_epoch_and_the_result_is_factored(monkeypatch):
    """The step: learning rate in the middle of the epoch over 1 − momentum, times the updates; then the ranks stay."""
    steps, real = [], sparse_phases.epoch_step
    monkeypatch.setattr(sparse_phases, "epoch_step", lambda network, in_turn, step: (
        steps.append(step), real(network, in_turn, step))[1])
    recipe = replace(QUICK, strengths={"nuclear": 0.1}, path=False)
    data, dense, result = trained(recipe)
    updates = -(-len(data.x_train) // 16)
    middle = [np.cos(np.pi * (e + 0.5) / 6) / 2 + 0.5 for e in range(6)]
    np.testing.assert_allclose(steps, [updates * 0.05 / 0.1 * m for m in middle], rtol=1e-12)
    assert set(result.ranks) <= set(dense.weight_layers)
    assert 1 <= result.ranks[0] < 5
    assert result.penalised.widths[:2] == [10, result.ranks[0]]
    assert result.debiased.widths == result.penalised.widths
    assert cost.of(result.penalised).macs < cost.of(dense).macs
    assert error_rate(result.model, data.x_validation, data.y_validation) < 0.3
    assert not trained(replace(QUICK, strengths={"neurons": 0.1}, path=False, epochs=1, debias=False))[2].ranks


def test_the_command_with_the_nuclear_norm_tells_the_ranks(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "sparse_recipe", lambda *given: replace(sparse_recipe(*given), epochs=8))
    rng = np.random.default_rng(3)
    x = rng.standard_normal((300, 10))
    np.savez(tmp_path / "data.npz", x_train=x, y_train=(x[:, 0] > 0).astype(int), x_test=x[:50],
             y_test=(x[:50, 0] > 0).astype(int))
    out = tmp_path / "out"
    assert main(["train", "--data", str(tmp_path / "data.npz"), "--hidden", "12,8", "--penalty", "nuclear=0.15",
                 "--epochs", "3", "--quiet", "--out", str(out)]) == 0
    summary = json.loads((out / "summary.json").read_text())
    ranks = summary["sparse"]["ranks"]
    assert ranks["0"] < 5
    assert summary["model"]["widths"][:3] == [10, ranks["0"], 12]
    assert load(out / "model.npz").network.widths == summary["model"]["widths"]
    assert f">{ranks['0']} of layer 0, " in (out / "report.html").read_text()


@pytest.mark.parametrize(("words", "sentence"), [
    (["--target", "macs=20%"], "no --penalty"),
    (["--penalty-path"], "no --penalty"),
    (["--penalty", "neurons"], "without λ need a target, or the path"),
    (["--penalty", "neurons=0.1", "--target", "macs=20%"], "got λ, and a target or the path, which look for λ; give"),
    (["--penalty", "neurons=x"], "write kinds with their λ"),
    (["--penalty", "rows=0.1"], "kind is 'rows'"),
    (["--penalty", "neurons=0.1", "--start", "dense.npz"], "which are for one that is trained here"),
    (["--penalty", "nuclear"], "nuclear needs its λ, as in nuclear=0.001, and stands alone"),
    (["--penalty", "nuclear", "--target", "macs=20%"], "nuclear needs its λ"),
    (["--penalty", "nuclear=0.1,neurons=0.1"], "and stands alone"),
    (["--penalty", "nuclear=0.1", "--target", "macs=20%"], "got λ, and a target or the path"),
    (["--penalty", "channels=0.1"], "this network has inputs, neurons and weights"),
])
def test_wrong_words_are_one_sentence(words, sentence, capsys, tmp_path):
    assert main(["train", *words, "--epochs", "1", "--out", str(tmp_path / "out")]) == 2
    assert sentence in capsys.readouterr().err
