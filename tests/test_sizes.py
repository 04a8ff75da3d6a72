"""Sizes from widths: what a network costs after any removal, counted; budgets of networks with additions; units of inputs that are added."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npkd
from npkd import cost, recipe
from npkd.errors import InputError
from npkd.nn.architectures import conv_layer, lenet5
from npkd.nn.network import Layer, Network, dense_layer
from npkd.sparsity.sizes import geometry, widths_of
from npkd.sparsity.surgery import junctions, keep
from npkd.teachers import adds_inputs

RNG = np.random.default_rng(3)


def op(name, **options):
    return Layer(name, options=options)


def residual(rng, channels=7, inner=6):
    """x + f(x) on maps."""
    return Network([op("unflatten", shape=[6, 6, 1]), conv_layer(1, channels, 3, rng, padding=1), op("relu"),
                    conv_layer(channels, inner, 3, rng, padding=1), op("relu"), conv_layer(inner, channels, 3, rng, padding=1),
                    op("add", back=3), op("relu"), op("max_pool", size=2), op("flatten"), dense_layer(9 * channels, 4, rng)])


def two_blocks(rng, width=9, inner=8):
    """Two dense blocks, one after the other: five layers of weights, of which three make the same neurons."""
    block = [dense_layer(width, inner, rng), op("relu"), dense_layer(inner, width, rng), op("add", back=3)]
    other = [dense_layer(width, inner + 1, rng), op("relu"), dense_layer(inner + 1, width, rng), op("add", back=3)]
    return Network([dense_layer(12, width, rng), *block, *other, op("relu"), dense_layer(width, 3, rng)])


def adding_inputs(rng):
    """The inputs themselves are added to what two layers make of them."""
    return Network([dense_layer(10, 30, rng), op("relu"), dense_layer(30, 10, rng), op("add", back=3), op("relu"), dense_layer(10, 3, rng)])


MADE = {"residual": residual, "two blocks": two_blocks, "adding inputs": adding_inputs,
        "lenet5": lambda rng: lenet5(rng, channels=(5, 6), hidden=8, shape=(16, 16, 1), classes=3)}


@settings(derandomize=True, deadline=None, max_examples=60)
@given(name=st.sampled_from(list(MADE)), seed=st.integers(0, 10 ** 6))
def test_what_is_left_costs_what_its_widths_say(name, seed):
    """Any neurons cut out of any junctions: the smaller network, visited layer by layer, against the formula with its widths."""
    rng = np.random.default_rng(seed)
    network = MADE[name](rng)
    there = geometry(network)
    for k, place in enumerate(junctions(network)):
        if k in there.fixed:
            continue
        network = keep(network, junctions(network)[k], np.sort(rng.permutation(place.width)[:rng.integers(1, place.width + 1)]))
    found, counted = cost.of_widths(widths_of(network), geometry=there), cost.of(network)
    assert (found.macs, found.parameters, found.neurons) == (counted.macs, counted.parameters, counted.neurons)


def test_widths_are_those_of_the_junctions():
    assert widths_of(residual(RNG)) == [1, 7, 6, 4]
    assert widths_of(two_blocks(RNG)) == [12, 9, 8, 9, 3]
    assert widths_of(adding_inputs(RNG)) == [10, 30, 3]
    assert geometry(adding_inputs(RNG)).fixed == (0,)
    assert geometry(residual(RNG)).fixed == (0,)                             # a convolution reads every pixel
    chain = MADE["lenet5"](RNG)
    assert widths_of(chain) == chain.widths
    assert geometry(Network([dense_layer(4, 5, RNG), op("relu"), dense_layer(5, 2, RNG)])) is None


@pytest.fixture
def two_rounds(monkeypatch):
    def short(*given):
        return replace(recipe.for_examples(*given), rounds=2, round_epochs=1)

    monkeypatch.setattr("npkd.own.recipe", SimpleNamespace(for_examples=short))


@pytest.mark.parametrize("name", ["residual", "two blocks", "adding inputs"])
@pytest.mark.parametrize(("target", "part"), [("macs=45%", 0.45), ("neurons=75%", 0.75)])
def test_a_budget_is_kept_where_paths_are_added(name, target, part, two_rounds):
    teacher = MADE[name](np.random.default_rng(1))
    x = np.random.default_rng(2).standard_normal((300, cost.input_shape(teacher)[0])).astype(np.float32)
    out, what = npkd.compress(teacher, x, target, epochs=1), target.partition("=")[0]
    assert getattr(cost.of(out.student), what) <= part * getattr(cost.of(teacher), what)
    assert getattr(cost.of(out.student), what) >= 0.8 * part * getattr(cost.of(teacher), what), "much less than was allowed"
    assert out.difference <= 1e-4
    assert f"{widths_of(out.student)[1]}" in str(out)


def test_a_target_that_tied_inputs_forbid_is_refused():
    teacher, x = adding_inputs(RNG), RNG.standard_normal((300, 10)).astype(np.float32)
    with pytest.raises(InputError, match="the smallest that this network can be is 50"):
        npkd.compress(teacher, x, "macs=49", epochs=1)
    with pytest.raises(InputError, match="nearest possible are 10-4"):
        npkd.compress(teacher, x, "widths=9-4", epochs=1)


def test_inputs_that_are_added_keep_their_unit(two_rounds):
    """In other units the sum would be another function."""
    teacher, x = adding_inputs(np.random.default_rng(4)), 1000 * np.random.default_rng(5).standard_normal((400, 10)).astype(np.float32)
    assert adds_inputs(teacher)
    assert not adds_inputs(two_blocks(RNG))
    out = npkd.compress(teacher, x, "widths=10-30", epochs=1)
    own = teacher.predict(x).argmax(axis=1)
    assert (out.logits(x).argmax(axis=1) == own).mean() == pytest.approx(out.agreement, abs=0.1)
    np.testing.assert_array_equal(out.teacher.predict(x).argmax(axis=1), own)
