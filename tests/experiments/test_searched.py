"""A student whose widths were searched for is within the budget, by every rule."""

from dataclasses import replace

import numpy as np
import pytest

from npkd.data.datasets import load
from npkd.experiments import searched
from npkd.nn import cost
from npkd.pipeline.stages import Run, train_teacher
from npkd.pipeline.target import parse
from tests.tiny import fixed

RECIPE = fixed(hidden=(12, 8), teacher_epochs=5, epochs=2, batch_size=32, learning_rate=0.02,
               student_learning_rate=0.02)


@pytest.mark.parametrize("rule", searched.RULES)
def test_a_searched_student_is_within_the_budget(rule, monkeypatch):
    monkeypatch.setattr(searched, "TRIES", 3)
    monkeypatch.setattr(searched, "EPOCHS", 1)
    whole = load("digits", seed=0)
    data = replace(whole, x_train=whole.x_train[:400], y_train=whole.y_train[:400])
    teacher = train_teacher(Run(data, RECIPE, np.random.default_rng(0)))
    goal = parse("macs=40%", teacher.widths)
    student = searched.searched(rule, Run(data, RECIPE, np.random.default_rng(1)), teacher, goal)
    assert 0.6 * goal.bound < cost.of(student).macs <= goal.bound
