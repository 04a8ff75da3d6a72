"""Targets as a user writes them."""

import math

import pytest

from npkd.core.validation import InputError
from npkd.pipeline.target import SIZES, Target, parse

WIDTHS = [784, 300, 100, 10]
WHOLE = {"macs": 784 * 300 + 300 * 100 + 100 * 10, "parameters": 785 * 300 + 301 * 100 + 101 * 10,
         "bytes": 4 * (785 * 300 + 301 * 100 + 101 * 10), "neurons": 784 + 300 + 100}


def test_whole_is_the_size_that_counts():
    assert set(SIZES) == set(WHOLE)
    for kind, whole in WHOLE.items():
        assert Target(kind, 1).size(WIDTHS) == whole
    assert Target("error", 1).size(WIDTHS) == WHOLE["macs"]


@pytest.mark.parametrize(("text", "kind", "bound"), [
    ("macs=26620", "macs", 26620), ("macs=26,620", "macs", 26620), ("bytes=1,064,000.5", "bytes", 1064000.5),
    ("macs=10%", "macs", 26620), ("macs=1e4", "macs", 10000), ("neurons=120", "neurons", 120),
    ("neurons=50%", "neurons", 592), ("parameters=100%", "parameters", WHOLE["parameters"]),
    ("bytes=12.5%", "bytes", WHOLE["bytes"] / 8),
    ("error=+0.5", "error", 0.5), ("error=2", "error", 2), (f"macs={WHOLE['macs']}", "macs", WHOLE["macs"]),
])
def test_what_can_be_written(text, kind, bound):
    target = parse(text, WIDTHS)
    assert target.kind == kind
    assert target.bound == pytest.approx(bound, rel=1e-14)
    assert type(target.bound) is float


@pytest.mark.parametrize("text", ["", "macs", "=", "macs=", "macs=ten", "macs=-5", "macs=0", "macs=0%", "macs=nan",
                                  "macs=inf", "macs=10%%",
                                  "error=5%", "error=-1", "error=0", "flops=10", "MACS=10", "macs = 10",
                                  "macs=10 neurons=5", "size",
                                  "macs=26,62", "macs=2,6620", "macs=,620", "macs=26,,620", "error=+0,5"])
def test_what_cannot(text):
    with pytest.raises(InputError) as caught:
        parse(text, WIDTHS)
    sentence = str(caught.value)
    assert sentence.startswith("target: got")
    assert repr(text) in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("text", ["macs=266201", "macs=100.01%", "neurons=1185", "bytes=1e12"])
def test_a_target_above_the_teacher(text):
    with pytest.raises(InputError, match=f"the teacher has {WHOLE[text.partition('=')[0]]}"):
        parse(text, WIDTHS)


@pytest.mark.parametrize(("text", "keep_inputs", "smallest"), [
    ("macs=11", False, 12), ("neurons=2", False, 3), ("neurons=0.1%", False, 3), ("parameters=10", False, 24),
    ("bytes=95", False, 96),
    ("macs=794", True, 795), ("neurons=785.9", True, 786), ("parameters=806", True, 807), ("bytes=3227", True, 3228),
])
def test_a_target_below_the_smallest(text, keep_inputs, smallest):
    """One neuron a layer, by hand: 1·1 + 1·1 + 1·10 multiply-accumulates, 2·1 + 2·1 + 2·10 parameters."""
    with pytest.raises(InputError,
                       match=f"smallest that this network can be is {smallest}, one neuron a layer") as caught:
        parse(text, WIDTHS, keep_inputs)
    assert ("all inputs" in str(caught.value)) == keep_inputs
    kind = text.partition("=")[0]
    assert parse(f"{kind}={smallest}", WIDTHS, keep_inputs).bound == smallest


def test_what_a_refusal_names_is_exact_for_large_networks():
    """What is named can be written again, digit for digit."""
    wide = [1_234_567, 1_000, 1_000, 10]
    with pytest.raises(InputError, match="is 1234578, one neuron a layer and all inputs"):
        parse("macs=1234577", wide, keep_inputs=True)
    assert parse("macs=1234578", wide, keep_inputs=True).bound == 1234578
    with pytest.raises(InputError, match="the teacher has 1235577000;"):
        parse("macs=1235577001", wide)


def test_widths():
    target = parse("widths=97-71-33", WIDTHS)
    assert target == Target("widths", 97 * 71 + 71 * 33 + 33 * 10, (97, 71, 33))
    assert target.bound == 9560, "the published record's"
    assert parse("widths=784-300-100", WIDTHS, keep_inputs=True).bound == WHOLE["macs"]


@pytest.mark.parametrize("number", ["", "-", "97-71-", "97,71,33", "97--71", "-1-2-3", "a-b-c", "97.5-3-2", "10%",
                                    "1e3-2-2", "9" * 5000,
                                    "٣-2-1"])
def test_widths_that_are_none(number):
    with pytest.raises(InputError, match="it needs a number for each layer, inputs first"):
        parse(f"widths={number}", WIDTHS)


@pytest.mark.parametrize(("widths", "keep_inputs", "nearest"), [
    ("0-71-33", False, "1-71-33"), ("97-0-0", False, "97-1-1"), ("785-71-33", False, "784-71-33"),
    ("1-301-999", False, "1-300-100"), ("97-71-33", True, "784-71-33"), ("0-0-0", True, "784-1-1"),
])
def test_widths_that_cannot_be(widths, keep_inputs, nearest):
    said = f"widths are {widths}, but the teacher has 784-300-100.*; the nearest possible are {nearest}$"
    with pytest.raises(InputError, match=said) as caught:
        parse(f"widths={widths}", WIDTHS, keep_inputs)
    assert ("inputs are to be kept" in str(caught.value)) == keep_inputs
    assert parse(f"widths={nearest}", WIDTHS, keep_inputs).widths == tuple(map(int, nearest.split("-")))


@pytest.mark.parametrize("widths", ["97", "97-71", "97-71-33-10"])
def test_a_width_for_each_layer(widths):
    with pytest.raises(InputError,
                       match=f"widths are {widths}; the teacher has 784-300-100, and one is needed for each"):
        parse(f"widths={widths}", WIDTHS)


@pytest.mark.parametrize(("arguments", "words"), [
    (("flops", 3.0), "kind is 'flops'"), (("macs", 0.0), "bound is 0.0"), (("error", math.inf), "bound is inf"),
    (("macs", math.nan), "bound is nan"),
    (("macs", 3.0, (1, 2)), "widths belong to the kind widths"), (("widths", 3.0), "widths belong to the kind widths"),
])
def test_a_target_made_in_python(arguments, words):
    with pytest.raises(InputError, match=words):
        Target(*arguments)


@pytest.mark.parametrize("text", ["macs=1000", "neurons=40", "parameters=3%", "bytes=5000", "widths=10-300-2"])
def test_the_targets_of_rounds(text):
    """(W11): each round the same factor, in size or in every width; the last is the target itself."""
    target = parse(text, WIDTHS)
    steps = [target.after(r / 4, WIDTHS) for r in (1, 2, 3, 4)]
    assert steps[-1] is target
    if target.widths:
        for k, (whole, last) in enumerate(zip(WIDTHS, target.widths, strict=False)):
            exact = [math.exp(math.log(whole) + r / 4 * math.log(last / whole)) for r in (1, 2, 3, 4)]
            assert all(e - 1 < s.widths[k] <= e + 1e-9 for s, e in zip(steps, exact, strict=True))
        assert all(s.bound == s.size([*s.widths, 10]) for s in steps)
    else:
        ratios = (
            [b.bound / a.bound for a, b in zip(steps, steps[1:], strict=False)] + [steps[0].bound / WHOLE[target.kind]]
        )
        assert ratios == pytest.approx([ratios[0]] * 4)
    assert Target("error", 1.0).after(0.5, WIDTHS) == Target("error", 1.0)


def test_the_bound_is_a_number():
    assert math.isfinite(parse("error=+1e-3", WIDTHS).bound)
