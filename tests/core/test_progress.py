"""Progress that a person sees: bars on a terminal and in a notebook; in a pipe a line soon, and then every 20 s."""

import io
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tqdm.auto

import npkd
from npkd.core import progress
from npkd.core.progress import Display, NoProgress, shown
from npkd.nn.network import perceptron
from npkd.nn.training import TrainingSettings, train


class Clock:
    """Seconds that a test sets."""

    now = 100.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    fake = Clock()
    monkeypatch.setattr(progress, "time", fake)
    monkeypatch.setattr(progress, "SOON", 1.0)
    monkeypatch.setattr(progress.threading, "Thread", lambda **given: SimpleNamespace(start=lambda: None))
    return fake


def terminal(monkeypatch, tty=True):
    stream = io.StringIO()
    stream.isatty = lambda: tty
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_a_line_comes_soon_then_every_20_seconds_and_at_the_end_of_each_stage(clock, capsys):
    """The thread's calls of ``draw`` are made here, one a second: a step of 50 seconds shows three times."""
    lines = Display()
    lines.begin("statistics", 2)
    said = {}
    for _ in range(50):
        clock.now += 1
        lines.draw()
        if err := capsys.readouterr().err:
            said[clock.now - 100] = err
    assert said == {1.0: "statistics: 0/2 (1.0 s)\n", 21.0: "statistics: 0/2 (21.0 s)\n",
                    41.0: "statistics: 0/2 (41.0 s)\n"}
    lines.step("done")
    assert capsys.readouterr().err == "", "a step alone makes no line: the last is 9 seconds old"
    lines.begin("λ rises", 150)
    assert capsys.readouterr().err == "statistics: 1/2, done (50.0 s)\n", "it ended early, and is told of"
    for _ in range(37):
        clock.now += 0.1
        lines.step("loss 0.5")
    lines.close()
    assert capsys.readouterr().err == "λ rises: 37/150, loss 0.5 (3.7 s)\n"
    clock.now += 100
    lines.draw()
    assert capsys.readouterr().err == "", "nothing is told of what is closed"


def test_no_line_twice_and_none_of_a_stage_in_which_nothing_was_done(clock, capsys):
    lines = Display()
    lines.begin("starting", 1)
    lines.begin("layers", 1)
    clock.now += 30
    lines.step("all of it")
    assert capsys.readouterr().err == "layers: 1/1, all of it (30.0 s)\n"
    lines.close()
    assert capsys.readouterr().err == ""


def test_a_thread_draws_while_a_step_lasts_and_ends_when_it_is_closed(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SOON", 0.05)
    monkeypatch.setattr(progress, "EVERY", 0.05)
    before = threading.active_count()
    lines = Display()
    lines.begin("a long step", 1)
    said = ""
    for _ in range(200):                                       # at most ten seconds
        time.sleep(0.05)
        said += capsys.readouterr().err
        if said.count("a long step: 0/1 (") >= 2:
            break
    assert said.count("a long step: 0/1 (") >= 2
    lines.close()
    for _ in range(200):
        if threading.active_count() == before:
            break
        time.sleep(0.05)
    assert threading.active_count() == before


def test_bars_are_tqdm_auto_s_which_draws_in_notebooks_too(monkeypatch):
    made = []

    class Bar:
        leave, n, notes = True, 0, ()

        def __init__(self, **given):
            made.append(self)
            self.given, self.notes = given, []

        def set_postfix_str(self, note):
            self.notes.append((self.n, note))

        def close(self):
            self.closed = True

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    for tty, modules in ((True, {}), (False, {"ipykernel": SimpleNamespace()})):
        terminal(monkeypatch, tty)
        with monkeypatch.context() as patch:
            for name, module in modules.items():
                patch.setitem(sys.modules, name, module)
            with shown(True) as bars:
                bars.begin("starting", 1)
                bars.begin("teacher", 2)
                bars.step("loss 2")
                bars.step("loss 1")
        first, second = made
        assert (first.leave, second.leave) == (False, True), "the bar of a stage without a step is wiped away"
        assert (second.given["total"], second.given["desc"].strip()) == (2, "teacher")
        assert list(dict.fromkeys(second.notes)) == [(0, ""), (1, "loss 2"), (2, "loss 1")]
        assert first.closed
        assert second.closed
        made.clear()


def test_real_bars_on_a_terminal_go_on_while_a_step_lasts(clock, monkeypatch):
    stream = terminal(monkeypatch)
    with shown(True) as bars:
        bars.begin("statistics", 4)
        bars.step("layer 1")
        before = stream.getvalue()
        assert "statistics" in before
        assert "1/4" in before
        assert "1/4" in before
        bars.draw()
        assert stream.getvalue() != before
    assert stream.getvalue().endswith("\n")


def test_lines_where_there_is_no_terminal_or_no_tqdm(monkeypatch):
    for tty in (False, True):
        stream = terminal(monkeypatch, tty)
        with monkeypatch.context() as patch:
            if tty:
                patch.setitem(sys.modules, "tqdm", None)
                patch.setitem(sys.modules, "tqdm.auto", None)
            with shown(True) as lines:
                lines.begin("teacher", 1)
                lines.step("loss 1")
        assert stream.getvalue().startswith("teacher: 1/1, loss 1 (")
        assert "\r" not in stream.getvalue()


def test_what_is_given_is_shown_as_it_is():
    own = NoProgress()
    with shown(own) as same:
        assert same is own
    for nothing in (None, False):
        with shown(nothing) as silent:
            assert isinstance(silent, NoProgress)


def test_training_shows_its_epochs(capsys):
    rng = np.random.default_rng(0)
    x, y, network = rng.standard_normal((40, 3)), np.arange(40) % 2, perceptron([3, 4, 2], rng, dtype=np.float64)
    told = TrainingSettings(3, 10, progress=True, validate=lambda network: 0.25)
    shown_, silent = ([r.loss for r in train(network, {"x": x, "y": y}, settings=s, rng=np.random.default_rng(1))]
                      for s in (told, TrainingSettings(3, 10, validate=lambda network: 0.25)))
    assert shown_ == silent
    err = capsys.readouterr().err
    assert err.startswith(f"training: 3/3, loss {shown_[-1]:.4f}, validation 0.25 (")
    assert err.count("\n") == 1
    assert next(train(network, {"x": x, "y": y}, settings=TrainingSettings(3, 10, progress=True), rng=rng)).epoch == 1
    assert "training: 1/3, loss" in capsys.readouterr().err, "a loop that is left early closes it"


def test_compress_shows_its_stages(capsys):
    rng = np.random.default_rng(0)
    x, network = rng.standard_normal((200, 6)).astype(np.float32), perceptron([6, 8, 3], rng)
    given = {"target": "macs=50%", "recipe": npkd.Recipe(epochs=2, rounds=2, round_epochs=1)}
    students = [npkd.compress(network, x, **given, progress=one).student for one in (True, None, False)]
    err = capsys.readouterr().err
    assert [line.split(": ")[0] for line in err.splitlines()] == [
        "teacher and examples", "reading the examples", "round 1 of 2", "round 1 of 2", "round 2 of 2",
        "final distillation"]
    assert "final distillation: 2/2, loss " in err
    for student in students[1:]:
        assert all(np.array_equal(p, q) for a, b in zip(students[0].layers, student.layers, strict=True)
                   for p, q in zip(a.params, b.params, strict=True))
