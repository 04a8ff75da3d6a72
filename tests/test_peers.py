"""What is timed beside other libraries is training: the comparison itself needs them (python -m
reference.peers.train_step)."""

import importlib.util
import math
import sys

import pytest

from reference.peers import train_step
from reference.peers.lenet5 import MAKERS
from reference.peers.train_step import BARS, npkd_step, seconds_of_step


def test_a_loss_that_falls_is_timed():
    losses = iter(range(10**9, 0, -1))
    assert 0 < seconds_of_step(lambda: float(next(losses)), budget=0.01) < 0.01


@pytest.mark.parametrize("loss", [1.0, math.nan, math.inf])
def test_a_loss_that_does_not_fall_is_not_timed(loss):
    """A step that finds an infinite loss leaves the network as it is: half a step."""
    with pytest.raises(ValueError, match="train_step: the loss went from"):
        seconds_of_step(lambda: loss, budget=0.01)


def falls_to_a_third(step):
    """Within 25 steps."""
    first = step()
    return math.isfinite(first) and any(step() < first / 3 for _ in range(24))


def test_what_falls_to_a_third_is_told_from_what_does_not():
    assert falls_to_a_third(iter([3.0, 2.0] + 22 * [1.0] + [0.9]).__next__)
    assert not falls_to_a_third(iter([3.0, 2.0] + 23 * [1.0] + [0.9]).__next__)
    assert not falls_to_a_third(lambda: math.nan)
    assert not falls_to_a_third(iter([math.inf] + 24 * [1.0]).__next__)


@pytest.mark.parametrize("batch", [64, 256])
def test_the_steps_of_lenet5_learn(batch):
    assert falls_to_a_third(MAKERS["npkd"](batch, 1)[0])


@pytest.mark.parametrize("index", range(len(BARS)))
def test_the_steps_of_perceptrons_learn(index):
    widths, batch, _ = BARS[index]
    assert falls_to_a_third(npkd_step(widths, batch))


@pytest.mark.parametrize("network", ["lenet5", "perceptrons"])
def test_what_does_not_learn_is_not_in_the_table(network, monkeypatch):
    monkeypatch.setattr(train_step, "MAKERS", {"npkd": lambda batch, threads: (lambda: math.nan, lambda: None)})
    monkeypatch.setattr(train_step, "npkd_step", lambda widths, batch: lambda: math.nan)
    monkeypatch.setattr(train_step, "median_seconds", lambda step, budget=0.0: step())
    with pytest.raises(ValueError, match="train_step"):
        getattr(train_step, network)("npkd", 1)


@pytest.mark.parametrize(("arguments", "words"), [
    (["--rounds", "0"], "argument --rounds: got '0'; it must be a whole number, at least 1"),
    (["--threads", "two"], "argument --threads: got 'two'"),
    (["--json", "no/such/folder/x.json"], "argument --json: got 'no/such/folder/x.json'; there must be a folder"),
    ([], "torch and jax not installed; the comparison needs the extra peers"),
], ids=["rounds", "threads", "json", "peers"])
def test_wrong_input_is_refused_before_anything_is_timed(arguments, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train_step", *arguments])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(train_step, "measured", None)
    with pytest.raises(SystemExit):
        train_step.main()
    assert words in capsys.readouterr().err
