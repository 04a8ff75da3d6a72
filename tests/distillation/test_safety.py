"""The bound of the gradient: by its definition, and what it is for: training at any temperature at the default rate."""

import numpy as np
import pytest

from npkd.core.validation import InputError
from npkd.distillation.objective import distillation
from npkd.distillation.safety import safe_clip
from npkd.distillation.schemes import offline
from npkd.nn.dead import DeadNeuronsWarning
from npkd.nn.network import perceptron
from npkd.nn.training import TrainingSettings, train


def case():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((600, 20)).astype(np.float32)
    teacher = perceptron([20, 60, 10], rng)
    teacher.layers[2].params[0][...] *= 12                               # logits as large as those of long training
    return perceptron([20, 60, 40, 10], rng), teacher, x


def test_the_bound_is_the_norm_by_differences():
    rng = np.random.default_rng(0)
    student, x, y = perceptron([3, 4, 3], rng, dtype=np.float64), rng.standard_normal((6, 3)), np.arange(6) % 3

    def value():
        z = student.predict(x)
        return float((z[range(6), (y + 1) % 3] - z[range(6), y]).sum()) / 6

    squares = 0.0
    for p in (p for layer in student.layers for p in layer.params):
        for k in np.ndindex(p.shape):
            kept, sides = p[k], []
            for h in (1e-6, -1e-6):
                p[k] = kept + h
                sides.append(value())
            p[k] = kept
            squares += ((sides[0] - sides[1]) / 2e-6) ** 2
    assert safe_clip(student, x, y) == pytest.approx(np.sqrt(squares), rel=1e-6)


def test_a_student_lives_at_any_temperature_with_the_bound_and_dies_without():
    student, teacher, x = case()
    right = teacher.predict(x).argmax(axis=1)
    for temperature in (1.0, 4.0, 20.0, 100.0):
        *_, last = offline(student, teacher, {"x": x}, distillation(0.0, 1.0, temperature),
                           settings=TrainingSettings(30, 32), rng=np.random.default_rng(0))
        assert (last.network.predict(x).argmax(axis=1) == right).mean() > 0.8
    with pytest.warns(DeadNeuronsWarning):
        *_, last = train(student, {"x": x, "teacher": teacher.predict(x)}, distillation(0.0, 1.0, 100.0),
                         settings=TrainingSettings(30, 32), rng=np.random.default_rng(0))
    assert (last.network.predict(x).argmax(axis=1) == right).mean() < 0.6


def test_a_run_that_goes_on_has_to_say_its_bound():
    student, teacher, x = case()
    with pytest.raises(InputError, match="done is 1 and clip is not set"):
        next(offline(student, teacher, {"x": x}, distillation(), settings=TrainingSettings(3, done=1),
                     rng=np.random.default_rng(0)))
