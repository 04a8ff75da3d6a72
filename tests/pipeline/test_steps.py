"""A chain of compressions: orders that make sense, targets that are met in the file as it is written, zeros and grids
that later steps keep, and shares that go where they cost least."""

from dataclasses import replace

import numpy as np
import pytest

import npkd
from npkd.cli.parser import parser
from npkd.compression.integer import IntegerNetwork
from npkd.core.grids import grid
from npkd.core.validation import InputError
from npkd.data.datasets import load
from npkd.data.transfer import Transfer
from npkd.nn.cost import of
from npkd.nn.model import Model
from npkd.nn.network import Layer, Network, perceptron
from npkd.nn.optimisers import SGD
from npkd.nn.training import TrainingSettings
from npkd.pipeline import chain, stages
from npkd.pipeline.chain import STEPS
from npkd.pipeline.stages import Run, selecting, train_teacher
from npkd.pipeline.steps import GRIDS, SIZED, held, nonzero
from npkd.pipeline.target import parse
from tests.pipeline.test_stages import Keeper
from tests.tiny import fixed

RECIPE = fixed(hidden=(24, 16), teacher_epochs=12, rounds=2, round_epochs=1, epochs=4, batch_size=32,
               learning_rate=0.02, student_learning_rate=0.02)


@pytest.fixture(scope="module")
def data():
    whole = load("digits", seed=0)
    return replace(whole, x_train=whole.x_train[:900], y_train=whole.y_train[:900])


@pytest.fixture(scope="module")
def teacher(data):
    return Model(train_teacher(Run(data, RECIPE, np.random.default_rng(1))), data.scaling)


def compressed(teacher, data, words, target, **changes):
    recipe = replace(RECIPE, steps=tuple(words.split(",")), **changes)
    return npkd.compress(teacher, data, target, recipe=recipe, seed=3)


def written(result, folder):
    """The file of a result, and the network that is read back from it."""
    path = folder / ("student.npkz" if result.steps[-1].step == "code" else "student.npz")
    result.save(path)
    return path.stat().st_size, npkd.load(path).network


def weights(network):
    return [network.layers[i].params[0] for i in network.weight_layers]


@pytest.mark.parametrize(("words", "target", "said"), [
    ("neurons,banana", "macs=10%", "got neurons,banana; write some of"), ("int8,int8", "macs=10%", "each once"),
    ("int8,neurons", "macs=10%", "a later step would undo"), ("weights,neurons", "macs=10%", "would undo"),
    ("code,int8", "bytes=9000", "would undo"), ("int8,int4", "bytes=9000", "would undo"),
    ("neurons,weights", "neurons=20", "a target of neurons is for neurons alone"),
    ("weights", "bytes=9000", "add code behind weights"), ("neurons,weights,int8", "bytes=9000", "takes its bytes"),
    ("int8", "macs=20%", "makes fewer macs; add one of"), ("", "macs=10%", "write some of")])
def test_chains_that_make_no_sense_are_refused_before_anything_is_trained(teacher, data, words, target, said):
    with pytest.raises(InputError, match=said):
        compressed(teacher, data, words, target)


@pytest.mark.parametrize("step", SIZED)
@pytest.mark.parametrize("target", ["parameters=30%", "macs=30%", "bytes=6000"])
@pytest.mark.parametrize("epochs", [0, 4])
def test_every_sized_step_meets_every_target_that_counts(teacher, data, step, target, epochs, tmp_path):
    words = f"{step},code" if target.startswith("bytes") else step
    result = compressed(teacher, data, words, target, epochs=epochs, **({} if epochs else {"rounds": 1,
                                                                                          "round_epochs": 0}))
    size, network = written(result, tmp_path)
    kind, number = target.split("=")
    bound = float(number) if kind == "bytes" else float(number[:-1]) / 100 * getattr(of(teacher.network), kind)
    have = {"bytes": size, **dict(zip(("parameters", "macs"), nonzero(network), strict=True))}[kind]
    assert 0.5 * bound < have <= bound
    assert result.steps[-1].bytes == size
    assert result.steps[-1].error == pytest.approx(result.student_error)


@pytest.mark.parametrize("word", GRIDS)
def test_a_grid_is_kept_through_the_distillation_and_zeros_behind_it(teacher, data, word, tmp_path):
    result = compressed(teacher, data, f"weights,{word},code", "parameters=50%")
    _, network = written(result, tmp_path)
    for w in weights(network):
        levels = 256 if word == "int8" else 16
        assert max(len(np.unique(row)) for row in w) <= levels
        assert (w == 0).any()
    for i in network.weight_layers:
        grid(network.layers[i].params[1][None], most=127)                   # biases lie on one of their own
    before = nonzero(network)[0]
    assert before <= 0.5 * nonzero(teacher.network)[0]
    assert [r.step for r in result.steps] == ["weights", word, "code"]
    assert result.steps[1].parameters <= result.steps[0].parameters


@pytest.mark.parametrize("word", GRIDS)
def test_training_on_a_grid_begins_with_what_it_shows(word):
    """One update of no size: all weights are the levels next to them, and those behind them are as they were."""
    rng = np.random.default_rng(0)
    network, y = perceptron([8, 20, 5, 3], rng), rng.integers(0, 3, 64)
    x = {"x": rng.standard_normal((64, 8)).astype(np.float32), "y": y}
    trained = held(network, word)(network, data=x, optimiser=SGD(1e-12), settings=TrainingSettings(1, 64), rng=rng)
    for found, w in zip(weights(next(trained).network), weights(network), strict=True):
        assert np.array_equal(found, GRIDS[word](w)(w))


@pytest.mark.parametrize("epochs", [0, 4])
@pytest.mark.parametrize("target", ["neurons=30", "widths=30-10-8", "error=+5"])
def test_targets_of_neurons_alone_mean_the_same_with_steps(teacher, data, target, epochs):
    more = {"epochs": epochs} | ({} if epochs else {"rounds": 1, "round_epochs": 0})
    result = compressed(teacher, data, "neurons,code", target, **more)
    alone = npkd.compress(teacher, data, target, recipe=replace(RECIPE, **more), seed=3)
    assert result.student.widths == alone.student.widths
    assert result.student_error == alone.student_error


@pytest.mark.parametrize("widths", [[64, 40, 20, 20, 20, 20, 20, 10], [64, 3, 10]])
def test_a_grid_alone_is_never_too_large(data, widths, tmp_path):
    deep = Model(perceptron(widths, np.random.default_rng(0)), data.scaling)
    result = compressed(deep, data, "int8", "macs=10%", epochs=0, rounds=1, round_epochs=0)
    assert result.steps[-1].bytes == written(result, tmp_path)[0]


def test_a_step_that_is_tried_again_counts_once(teacher, data, monkeypatch):
    """A file that is too large twice: rounds and removals are those of the last try."""
    too_large = iter([True, True])
    monkeypatch.setattr(chain.Chain, "size", lambda self, network, size=chain.Chain.size: (
        1.02 * self.target.bound if network.layers[1].op == "quantize" and next(too_large, False)
        else size(self, network)))
    result = compressed(teacher, data, "neurons,int8", "parameters=30%")
    assert len(result.rounds) == len(result.budgets) == RECIPE.rounds
    assert [step.step for step in result.steps] == ["neurons", "int8"]


def test_a_selection_of_selected_inputs_is_one():
    body, x = perceptron([2, 5, 3], np.random.default_rng(0)), np.random.default_rng(1).standard_normal((4, 9))
    own = Network([Layer("select", options={"kept": [1, 3]}), *body.layers])
    for network, inputs in ((own, [5, 8]), (body, [2, 5])):
        kept = np.array([2, 5, 7, 8]) if network is own else np.array([2, 5])
        assert np.array_equal(selecting(kept, network).predict(x), body.predict(x[:, inputs]))


def test_inputs_are_selected_once(teacher, data):
    result = compressed(teacher, data, "neurons,weights", "parameters=5%")
    assert [layer.op for layer in result.student.layers].count("select") == 1
    assert len(result.student.layers[0].options["kept"]) == result.student.widths[0]


def test_inputs_are_selected_before_they_become_bytes(teacher, data):
    """So that the report knows which are read, and fewer values are rounded."""
    result = compressed(teacher, data, "neurons,int8", "macs=20%")
    assert [layer.op for layer in result.student.layers[:3]] == ["select", "quantize", "dense"]


def test_a_distillation_too_short_for_the_rule_ends_at_the_target_too(teacher, data):
    """In one epoch the falling count of weights is where it begins."""
    result = compressed(teacher, data, "weights", "parameters=5%", epochs=1)
    assert 0 < nonzero(result.student)[0] <= 0.05 * of(teacher.network).parameters


def test_a_grid_alone_needs_no_target_and_keeps_all_weights(teacher, data):
    result = compressed(teacher, data, "int8", "macs=10%")
    assert of(result.student).macs == of(teacher.network).macs
    assert result.student_error <= result.teacher_error + 0.03


def test_a_file_that_cannot_be_so_small_is_refused_with_its_size(teacher, data):
    with pytest.raises(InputError, match=r"int8,code make \d+ bytes, the target is 500; add a step"):
        compressed(teacher, data, "int8,code", "bytes=500")


@pytest.mark.parametrize("words", ["weights,int8,code", "neurons,code"])
def test_the_goal_of_a_target_of_bytes_is_what_fits_without_training(teacher, data, words):
    names = tuple(words.split(","))
    run = Run(data, replace(RECIPE, steps=names), np.random.default_rng(0))
    made = chain.Chain(run, names, parse("bytes=1800", teacher.network.widths, neurons=False),
                       Transfer(teacher.network), lambda network: Model(network, data.scaling))
    goal = chain.goal_of(made, teacher.network)
    size = made.size(made.untrained(teacher.network, {names[0]: goal}))
    assert 0.85 * 1800 < size < 1.05 * 1800


@pytest.mark.parametrize("words", ["neurons,code", "neurons,weights,int8,code"])
def test_a_target_of_bytes_that_no_step_reaches_is_refused_in_bytes(teacher, data, words):
    with pytest.raises(InputError, match=rf"steps: {words} make no file of 10 bytes, the smallest that was .* has \d+"):
        compressed(teacher, data, words, "bytes=10", epochs=0, rounds=1, round_epochs=0)


@pytest.mark.parametrize("given", ["int8", 5, ("neurons", 3), None])
def test_steps_are_a_list_of_words(given):
    with pytest.raises(InputError, match=r"recipe: steps is .*; it must be a list of words"):
        npkd.Recipe(steps=given)


def test_a_list_will_do():
    assert npkd.Recipe(steps=["neurons"]).steps == ("neurons",)


def test_shares_go_to_the_step_that_costs_less(teacher, data, monkeypatch):
    """With a price of our own: the first step is free, or the second; the sizes end at the goal and only fall."""
    whole = nonzero(teacher.network)[0]
    for cheap, dear in (("neurons", "weights"), ("weights", "neurons")):
        run = Run(data, replace(RECIPE, steps=("neurons", "weights")), np.random.default_rng(0))
        made = chain.Chain(run, ("neurons", "weights"), parse("parameters=100", teacher.network.widths, neurons=False),
                            Transfer(teacher.network), Model)
        monkeypatch.setattr(chain.Chain, "untrained", lambda self, network, sizes: sizes)
        monkeypatch.setattr(Run, "validation_error", lambda self, sizes, dear=dear: {
            "neurons": sizes["neurons"] < whole, "weights": sizes["weights"] < sizes["neurons"]}[dear])
        sizes = chain.shared(made, teacher.network, 100.0)
        assert sizes["weights"] == pytest.approx(100)
        assert sizes["neurons"] == pytest.approx(100 if cheap == "neurons" else whole)


@pytest.mark.parametrize("words", ["neurons,weights,int4", "low-rank,weights", "neurons,low-rank", "neurons"])
def test_the_last_distillation_of_a_chain_may_see_everything_and_no_other_one(teacher, data, monkeypatch, words):
    seen, whole = [], len(data.x_train) + len(data.x_validation)

    def watched(run, student, transfer, stage, *rest, distil=stages.distil_end_to_end):
        seen.append((stage, len(run.data.x_train)))
        return distil(run, student, transfer, stage, *rest)

    monkeypatch.setattr(stages, "distil_end_to_end", watched)
    compressed(teacher, data, words, "parameters=40%", all_at_last=True, rounds=2)
    *before, (_, last) = seen
    assert last == whole
    assert {n for _, n in before} == {len(data.x_train)}
    seen.clear()
    compressed(teacher, data, words, "parameters=40%", rounds=2)
    assert {n for _, n in seen} == {len(data.x_train)}


def test_a_step_that_cannot_go_so_far_gets_no_more(teacher, data, monkeypatch):
    """Where all cost nothing the first step gets every factor, as far as ranks of one; the next step the others."""
    run = Run(data, replace(RECIPE, steps=("low-rank", "weights")), np.random.default_rng(0))
    made = chain.Chain(run, ("low-rank", "weights"), parse("parameters=150", teacher.network.widths, neurons=False),
                       Transfer(teacher.network), Model)
    monkeypatch.setattr(Run, "validation_error", lambda self, network: 0.0)
    sizes = chain.shared(made, teacher.network, 150.0)
    least = sum(sum(w.shape) for w in weights(teacher.network)) + sum(teacher.network.widths[1:])
    whole = nonzero(teacher.network)[0]
    assert least <= sizes["low-rank"] < whole
    assert sizes["low-rank"] * (150 / whole) ** (1 / 6) < least
    assert sizes["weights"] == pytest.approx(150)
    with pytest.raises(InputError, match="steps: low-rank is to leave 100 parameters, and rank one in every layer"):
        compressed(teacher, data, "low-rank", "parameters=100")


def test_errors_of_examples_that_the_last_distillation_saw_are_not_called_held_out(teacher, data):
    n, k = len(data.x_train), len(data.x_validation)
    for words in ("neurons,int4", "neurons"):
        said = str(result := compressed(teacher, data, words, "parameters=40%", all_at_last=True))
        assert result.all_at_last
        assert "held out" not in said
        assert "error, seen at last" in said
        assert f"of {k} examples that the last distillation saw" in said
        assert f"Statistics of {n} examples, {n} of them and those of the errors in the distillation" in said
    for changes in ({}, {"all_at_last": True, "epochs": 0, "rounds": 1, "round_epochs": 0}):
        said = str(result := compressed(teacher, data, "neurons,int4", "parameters=40%", **changes))
        assert not result.all_at_last
        assert f"of {k} examples held out" in said
    recipe = replace(RECIPE, all_at_last=True)                       # rounds until an error is reached never see it
    assert not npkd.compress(teacher, data, "error=+20", recipe=recipe, seed=3).all_at_last


@pytest.mark.parametrize(("words", "target"), [("neurons,int8,code", "bytes=1700"),
                                               ("low-rank,int8,code", "bytes=2000")])
def test_a_chain_whose_step_is_tried_again_is_resumed(teacher, data, monkeypatch, words, target):
    """Stages of the second try have the names of the first: broken off anywhere a run ends as if it was not."""
    goal_of = chain.goal_of
    monkeypatch.setattr(chain, "goal_of", lambda made, network: 1.1 * goal_of(made, network))

    def run(progress):
        recipe = replace(RECIPE, steps=tuple(words.split(",")))
        return weights(npkd.compress(teacher, data, target, recipe=recipe, seed=3, progress=progress).student)

    whole = Keeper()
    expected = run(whole)
    last = [stage for stage, _ in whole.begun if "distillation" in stage][-1]
    again = [i for i, (stage, _) in enumerate(whole.begun) if stage == last]
    assert len(again) > 1, "it was not tried again"
    for stop in range(1, sum(map(len, whole.steps)) + 1, 8):
        part = Keeper(after=stop)
        with pytest.raises(KeyboardInterrupt):
            run(part)
        assert all(np.array_equal(a, b) for a, b in zip(run(Keeper(part.stages)), expected, strict=True))


def test_all_steps_share_the_answers_of_what_they_learn_from(teacher, data):
    """A function that is asked takes long: each example is asked of it when it is checked, and once by all steps."""
    asked = []

    def answers(x):
        asked.append(len(x))
        return teacher.logits(x)

    compressed(teacher, data, "neurons,weights,int4", "parameters=40%", distil_from=answers)
    assert sum(asked) <= 2 * len(data.x_train) + 10


def test_the_same_seed_gives_the_same_student(teacher, data):
    one, other = (compressed(teacher, data, "neurons,weights,int4", "parameters=40%") for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(weights(one.student), weights(other.student), strict=True))
    assert one.steps == other.steps


def test_all_steps_are_known_to_the_command_line():
    options = parser()._subparsers._group_actions[0].choices["compress"]._actions
    text = next(option.help for option in options if option.dest == "steps")
    assert all(step in text for step in STEPS)


def test_a_chain_learns_from_a_function(teacher, data):
    """As of a module of another library; sized steps are tried without training on the way, and halves of one epoch."""
    x, answers = data.x_train, lambda x: teacher.network.predict(x.reshape(len(x), -1))
    for epochs in (1, 3):
        recipe = replace(RECIPE, epochs=epochs, steps=("neurons", "weights"), distil_from=answers)
        result = npkd.compress(Model(teacher.network), x, "macs=60%", recipe=recipe)
        assert nonzero(result.student)[1] <= 0.6 * nonzero(teacher.network)[1]


def test_a_batch_norm_behind_weights_becomes_whole_numbers_with_them(data):
    rng = np.random.default_rng(0)
    norm = Layer("batch_norm", (*rng.uniform(0.5, 2, (2, 24)).astype("f4"),), {}, (*rng.uniform(0.5, 2, (2, 24))
                                                                                   .astype("f4"),))
    first, *others = perceptron([64, 24, 10], rng).layers
    for epochs in (0, 2):
        recipe = replace(RECIPE, epochs=epochs, rounds=1, round_epochs=0, steps=("neurons", "int8"))
        result = npkd.compress(Model(Network([first, norm, *others])), data.x_train, "macs=60%", recipe=recipe)
        assert IntegerNetwork.of(result.student).simulation.layers
        assert result.agreement > 0.5


@pytest.mark.parametrize("step", GRIDS)
def test_numbers_in_their_own_units_stay_in_whole_numbers(step):
    rng = np.random.default_rng(2)
    network = perceptron([12, 30, 2], rng)
    w, b = network.layers[-1].params
    last = Layer("dense", (w * np.float32([[331.7], [0.013]]), b + np.float32([7, 100])))
    x = rng.standard_normal((500, 12)).astype("f4")
    recipe = replace(RECIPE, epochs=2, steps=("neurons", step), task="regression")
    student = npkd.compress(network.replace({2: last}), x, "macs=70%", recipe=recipe).student
    whole, y = IntegerNetwork.of(student), student.predict(x)
    assert (abs(whole.logits(x) - y) < 0.03 * np.ptp(y, axis=0)).all()               # bytes may fall to the other side
    assert np.ptp(y[:, 0]) > 1000 * np.ptp(y[:, 1]) > 0
