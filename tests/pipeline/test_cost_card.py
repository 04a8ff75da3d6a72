"""The cost card: its counts against a network that counts while it computes, its interval, its estimate by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from npkd.cli.main import main
from npkd.compression.quantization import quantized
from npkd.nn.architectures import conv_layer, lenet5, separable
from npkd.nn.model import Model, save
from npkd.nn.network import Layer, Network, perceptron
from npkd.pipeline.cost_card import PICOJOULES, REPEATS, counts, energy, measured
from reference.definitions.nn.cost import counted

RNG = np.random.default_rng(0)


def sparse(network, share=0.4):
    rng = np.random.default_rng(1)
    return network.replace({i: replace(network.layers[i], params=tuple(
        np.where(rng.random(p.shape) < share, rng.standard_normal(p.shape), 0).astype(p.dtype)
        for p in network.layers[i].params)) for i in network.weight_layers})


NETWORKS = {
    "perceptron": perceptron([9, 6, 4], RNG), "zeros": sparse(perceptron([9, 6, 4], RNG)),
    "select": Network([Layer("select", options={"kept": [1, 4, 6]}), *perceptron([3, 6, 4], RNG).layers]),
    "LeNet-5": sparse(lenet5(RNG, channels=(2, 3), hidden=5, shape=(16, 16, 1))),
    "separable": sparse(separable(RNG, channels=(2, 4, 6), shape=(8, 8, 1))),
    "depthwise": Network([
        Layer("unflatten", options={"shape": [7, 6, 3]}),
        Layer("depthwise_conv2d", (np.where(RNG.random((3, 2, 3)) < 0.5, RNG.standard_normal((3, 2, 3)), 0),
                                   np.array([0, 1, 2.0])), {"stride": 2, "padding": 1}), conv_layer(3, 2, 1, RNG),
        Layer("flatten"), *perceptron([32, 3], RNG).layers]).astype(np.float32),
    "groups, stride, padding": Network([
        Layer("unflatten", options={"shape": [7, 6, 4]}), conv_layer(2, 6, 3, RNG, groups=2, stride=2, padding=1),
        Layer("relu"), Layer("flatten"), *perceptron([72, 3], RNG).layers])}


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_are_those_of_a_pass_that_counts(name):
    network = NETWORKS[name]
    width = int(np.prod(network.layers[0].options.get("shape", 9)))
    found, x = counts(Model(network)), RNG.standard_normal((1, width)).astype(np.float32)
    expected = counted(network, x)
    assert (found.macs, found.nonzero_macs, found.additions) == tuple(
        expected[key] for key in ("macs", "nonzero_macs", "additions"))
    assert found.nonzeros == sum(np.count_nonzero(p) for layer in network.layers for p in layer.params)


def test_the_estimate_by_hand():
    """1,000 multiplications and 900 additions of float32, and 4,000 bytes: 500 reads of 64 bits from 8 KB."""
    assert energy(1000, 900, "float32", 4000) == pytest.approx(1000 * 3.7 + 900 * 0.9 + 500 * 10)
    assert energy(1000, 900, "int8", 2 << 20) == pytest.approx(1000 * 0.2 + 900 * 0.1 + (1 << 18) * 1950)
    assert energy(0, 0, "int8", (8 << 10) + 1) == 1025 * PICOJOULES["64 bits of 32 KB"]


def test_bytes_and_additions_of_a_quantised_network():
    network = perceptron([9, 6, 4], RNG)
    student = quantized(network, RNG.standard_normal((50, 9)).astype(np.float32)).astype(np.float32)
    found, before = counts(Model(student)), counts(Model(network))
    assert (found.arithmetic, before.arithmetic) == ("int8", "float32")
    assert found.memory == 9 * 6 + 6 * 4 + 4 * 10
    assert before.memory == 4 * (9 * 6 + 6 * 4 + 10)
    assert found.shift_additions > found.additions
    assert found.shifts is not None
    assert before.shifts is None
    assert found.picojoules < before.picojoules / 2
    assert found.coded < before.coded


def test_arithmetic_is_of_bytes_only_where_all_that_is_read_is_quantised():
    """Weights of bytes; a relu behind quantised activations counts in bytes, one behind sums does not."""
    drawn = [Layer("dense", (np.float32([[1, -2], [3, 4]]), np.zeros(2, np.float32))) for _ in range(2)]
    quantise = Layer("quantize", options={"step": 0.5, "zero": 0})
    whole = Network([quantise, drawn[0], quantise, Layer("relu"), drawn[1]])
    for network, kind in ((whole, "int8"), (Network([quantise, drawn[0], Layer("relu"), drawn[1]]), "float32"),
                          (Network([drawn[0], Layer("relu"), quantise, drawn[1]]), "float32")):
        assert counts(Model(network)).arithmetic == kind
    maps = [Layer("unflatten", options={"shape": [2, 2, 3]}), Layer("depthwise_conv2d", (
        RNG.standard_normal((2, 2, 3)).astype(np.float32), np.zeros(3, np.float32))), Layer("flatten")]
    one = Layer("dense", (np.float32([[1, -2, 3]]), np.zeros(1, np.float32)))
    assert counts(Model(Network([*maps, quantise, one]))).arithmetic == "float32"


def test_the_interval_is_that_of_order_statistics():
    """Times 1 … n in any order: from the 10th to the 22nd of 31, beyond which the median lies with less than 5 %."""
    now, steps = [0.0], iter(np.random.default_rng(2).permutation(REPEATS) + 1.0)

    def clock():
        if clock.odd:
            now[0] += next(steps)
        clock.odd = not clock.odd
        return now[0]

    clock.odd = False
    one = measured(Model(perceptron([9, 6, 4], RNG)), 1, clock)
    assert (one.seconds, one.interval) == (16.0, (10.0, 22.0))
    assert one.peak_bytes > 4 * (9 + 6 + 4)


def test_the_command_prints_a_table_and_json(tmp_path, capsys):
    save(tmp_path / "a.npkz", Model(NETWORKS["zeros"]))
    assert main(["cost", str(tmp_path / "a.npkz")]) == 0
    table = capsys.readouterr().out
    assert "an estimate" in table
    assert "Horowitz 2014" in table
    assert main(["cost", str(tmp_path / "a.npkz"), "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["nonzero_macs"] == counts(Model(NETWORKS["zeros"])).nonzero_macs
    assert [one["batch"] for one in numbers["measured"]] == [1, 256]
    assert main(["cost", str(tmp_path / "missing")]) == 2
