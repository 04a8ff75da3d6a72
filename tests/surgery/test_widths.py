"""Sizes from widths: what a network costs after any removal, counted; budgets of networks with additions; units of
inputs that are added."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npkd
from npkd.cli.main import main
from npkd.core.validation import InputError
from npkd.interop.layers import adds_inputs, units_of
from npkd.nn import cost
from npkd.nn.architectures import conv_layer, lenet5
from npkd.nn.model import Model
from npkd.nn.model import load as load_model
from npkd.nn.model import save as save_model
from npkd.nn.network import Layer, Network, dense_layer
from npkd.pipeline import stages
from npkd.pipeline.recipe import Recipe
from npkd.surgery.dependency import dependency_groups
from npkd.surgery.removal import keep
from npkd.surgery.widths import geometry, widths_of
from tests.tiny import stored

RNG = np.random.default_rng(3)


def op(name, **options):
    return Layer(name, options=options)


def residual(rng, channels=7, inner=6):
    """x + f(x) on maps."""
    return Network([op("unflatten", shape=[6, 6, 1]), conv_layer(1, channels, 3, rng, padding=1), op("relu"),
                    conv_layer(channels, inner, 3, rng, padding=1), op("relu"),
                    conv_layer(inner, channels, 3, rng, padding=1),
                    op("add", back=3), op("relu"), op("max_pool", size=2), op("flatten"),
                    dense_layer(9 * channels, 4, rng)])


def two_blocks(rng, width=9, inner=8):
    """Two dense blocks, one after the other: five layers of weights, of which three make the same neurons."""
    block = [dense_layer(width, inner, rng), op("relu"), dense_layer(inner, width, rng), op("add", back=3)]
    other = [dense_layer(width, inner + 1, rng), op("relu"), dense_layer(inner + 1, width, rng), op("add", back=3)]
    return Network([dense_layer(12, width, rng), *block, *other, op("relu"), dense_layer(width, 3, rng)])


def adding_inputs(rng):
    """The inputs themselves are added to what two layers make of them."""
    return Network([dense_layer(10, 30, rng), op("relu"), dense_layer(30, 10, rng), op("add", back=3), op("relu"),
                    dense_layer(10, 3, rng)])


MADE = {"residual": residual, "two blocks": two_blocks, "adding inputs": adding_inputs,
        "lenet5": lambda rng: lenet5(rng, channels=(5, 6), hidden=8, shape=(16, 16, 1), classes=3)}


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(list(MADE)), seed=st.integers(0, 10 ** 6))
def test_what_is_left_costs_what_its_widths_say(name, seed):
    """Any neurons cut out of any dependency groups: the smaller network, visited layer by layer, against the formula
    with its widths."""
    rng = np.random.default_rng(seed)
    network = MADE[name](rng)
    there = geometry(network)
    for k, group in enumerate(dependency_groups(network)):
        if k in there.fixed:
            continue
        network = keep(network, dependency_groups(network)[k],
                       np.sort(rng.permutation(group.width)[:rng.integers(1, group.width + 1)]))
    found, counted = cost.of_widths(widths_of(network), geometry=there), cost.of(network)
    assert (found.macs, found.parameters) == (counted.macs, counted.parameters)


def test_widths_are_those_of_the_junctions():
    assert widths_of(residual(RNG)) == [1, 7, 6, 4]
    assert widths_of(two_blocks(RNG)) == [12, 9, 8, 9, 3]
    assert widths_of(adding_inputs(RNG)) == [10, 30, 3]
    assert geometry(adding_inputs(RNG)).fixed == (0,)
    assert geometry(residual(RNG)).fixed == (0,)                             # a convolution reads every pixel
    chain = MADE["lenet5"](RNG)
    assert widths_of(chain) == chain.widths
    assert geometry(Network([dense_layer(4, 5, RNG), op("relu"), dense_layer(5, 2, RNG)])) is None


def compress(teacher, x, target, epochs):
    """In two rounds."""
    return npkd.compress(teacher, x, target, recipe=Recipe(epochs=epochs, rounds=2, round_epochs=1))


def coloured(rng):
    """A residual network on pictures of three colours, of which it does not look at the last."""
    first = conv_layer(3, 7, 3, rng, padding=1)
    first.params[0][..., 2] = 0
    return Network([op("unflatten", shape=[5, 5, 3]), first, *residual(rng).layers[2:8], op("global_average_pool"),
                    dense_layer(7, 4, rng)])


def adding_logits(rng):
    """What the last layer makes is added to what it reads."""
    return Network([dense_layer(10, 3, rng), op("relu"), dense_layer(3, 3, rng), op("add", back=2)])


def ending_in_maxout(rng):
    """Each of three logits is the largest of three outputs."""
    return Network([dense_layer(16, 12, rng), op("relu"), dense_layer(12, 9, rng), op("maxout", pieces=3)])


MORE = {**MADE, "coloured": coloured, "ending in maxout": ending_in_maxout}


@pytest.mark.parametrize("name", ["residual", "two blocks", "adding inputs", "coloured", "ending in maxout"])
@pytest.mark.parametrize(("target", "part"), [("macs=45%", 0.45), ("neurons=75%", 0.75)])
def test_a_budget_is_kept_where_paths_are_added(name, target, part):
    teacher = MORE[name](np.random.default_rng(1))
    x = np.random.default_rng(2).standard_normal((300, cost.input_shape(teacher)[0])).astype(np.float32)
    out, what = compress(teacher, x, target, 1), target.partition("=")[0]
    after, before = (sum(group.width for group in dependency_groups(network) for _ in group.consumers)
                     if what == "neurons" else cost.of(network).macs for network in (out.student, teacher))
    assert 0.8 * part * before <= after <= part * before, "more than was allowed, or much less"
    assert out.difference <= 1e-4
    assert "-".join(map(str, widths_of(out.student))) in str(out)
    assert name != "coloured" or out.student.widths[0] == 3


def test_a_target_that_tied_inputs_forbid_is_refused():
    teacher, x = adding_inputs(RNG), RNG.standard_normal((300, 10)).astype(np.float32)
    with pytest.raises(InputError, match="the smallest that this network can be is 50"):
        compress(teacher, x, "macs=49", 1)
    with pytest.raises(InputError, match="nearest possible are 10-4"):
        compress(teacher, x, "widths=9-4", 1)


def test_a_rise_of_the_error_is_a_target_too():
    teacher, x = (
        two_blocks(np.random.default_rng(1)), np.random.default_rng(2).standard_normal((400, 12)).astype(np.float32)
    )
    out = compress(teacher, x, "error=+60", 2)
    assert len(out.rounds) > 1
    assert out.student_error <= 0.6
    sizes = [cost.of(teacher).macs, *(cost.of(r.student).macs for r in out.rounds)]
    assert all(after <= before / 2 for before, after in zip(sizes, sizes[1:], strict=False))
    whole = adding_logits(np.random.default_rng(1))            # 12 at least: the run ends before, and keeps what it has
    assert 12 <= compress(whole, x[:, :10], "error=+99", 1).macs[1] < 39


def test_logits_that_are_added_to_stay():
    teacher, x = adding_logits(RNG), RNG.standard_normal((300, 10)).astype(np.float32)
    assert geometry(teacher).fixed == (1,)
    with pytest.raises(InputError, match="nearest possible are 10-3"):
        compress(teacher, x, "widths=10-1", 1)
    with pytest.raises(InputError, match="the smallest that this network can be is 12"):
        compress(teacher, x, "macs=10", 1)


def test_inputs_that_are_added_keep_their_unit(monkeypatch):
    """In other units the sum would be another function: what is compressed gives on the rows that are learnt from what
    was given gives."""
    teacher, x = (
        adding_inputs(np.random.default_rng(4)),
        1000 * np.random.default_rng(5).standard_normal((400, 10)).astype(np.float32)
    )
    seen, compress_inside = [], stages.compress

    def spy(run, inner, *given):
        seen.append((inner.predict(run.data.x_train), teacher.predict(run.data.x_train)))
        return compress_inside(run, inner, *given)

    monkeypatch.setattr(stages, "compress", spy)
    compress(teacher, x, "widths=10-20", 1)
    np.testing.assert_array_equal(*seen[0])
    apart = teacher.replace({0: replace(teacher.layers[0], params=(teacher.layers[0].params[0]
                                                                   * np.r_[1000, np.ones(9)].astype(np.float32),
                                                                  teacher.layers[0].params[1]))})
    assert units_of(apart) is None
    assert units_of(Network(apart.layers[:3])) is not None
    assert adds_inputs(teacher)
    assert not adds_inputs(two_blocks(RNG))


def test_a_residual_network_from_a_file(tmp_path, capsys):
    """The command line, the page and the history speak of its dependency groups."""
    teacher = Network([op("unflatten", shape=[8, 8, 1]), *residual(np.random.default_rng(6)).layers[1:8],
                       op("global_average_pool"), dense_layer(7, 3, np.random.default_rng(7))])
    save_model(tmp_path / "teacher.npz", Model(teacher))
    words = ["compress", "--data", stored(tmp_path / "data.npz", shape=(8, 8)), "--teacher",
             str(tmp_path / "teacher.npz"), "--target", "macs=60%", "--epochs", "2"]
    assert main([*words, "--out", str(tmp_path / "out"), "--quiet"]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["teacher"]["widths"] == [1, 7, 6, 3]
    assert len(summary["layers"]) == len(summary["removals"]) == 3
    assert summary["student"]["macs"] <= 0.6 * summary["teacher"]["macs"]
    assert (
        summary["rounds"][-1]["widths"] == summary["student"]["widths"]
        == widths_of(load_model(tmp_path / "out" / "student.npz").network)
    )
    history = [json.loads(line) for line in (tmp_path / "out" / "history.jsonl").read_text().splitlines()]
    assert {len(entry["widths"]) for entry in history} == {4}
    assert "without a certificate" in capsys.readouterr().out
