"""Targets as a user writes them."""

import math

import pytest

from npkd.errors import InputError
from npkd.target import SIZES, Target, parse

WIDTHS = [784, 300, 100, 10]
WHOLE = {"macs": 784 * 300 + 300 * 100 + 100 * 10, "parameters": 785 * 300 + 301 * 100 + 101 * 10,
         "bytes": 4 * (785 * 300 + 301 * 100 + 101 * 10), "neurons": 784 + 300 + 100}


def test_whole_is_the_size_that_counts():
    assert set(SIZES) == set(WHOLE)
    for kind, whole in WHOLE.items():
        assert Target(kind, 1).size(WIDTHS) == whole
    assert Target("error", 1).size(WIDTHS) == WHOLE["macs"]


@pytest.mark.parametrize(("text", "kind", "bound"), [
    ("macs=26620", "macs", 26620), ("macs=10%", "macs", 26620), ("macs=1e4", "macs", 10000), ("neurons=120", "neurons", 120),
    ("neurons=50%", "neurons", 592), ("parameters=100%", "parameters", WHOLE["parameters"]), ("bytes=12.5%", "bytes", WHOLE["bytes"] / 8),
    ("error=+0.5", "error", 0.5), ("error=2", "error", 2), (f"macs={WHOLE['macs']}", "macs", WHOLE["macs"]),
])
def test_what_can_be_written(text, kind, bound):
    target = parse(text, WIDTHS)
    assert target.kind == kind
    assert target.bound == pytest.approx(bound, rel=1e-14)
    assert type(target.bound) is float


@pytest.mark.parametrize("text", ["", "macs", "=", "macs=", "macs=ten", "macs=-5", "macs=0", "macs=0%", "macs=nan", "macs=inf", "macs=10%%",
                                  "error=5%", "error=-1", "error=0", "flops=10", "MACS=10", "macs = 10", "macs=10 neurons=5", "size"])
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


def test_the_bound_is_a_number():
    assert math.isfinite(parse("error=+1e-3", WIDTHS).bound)
