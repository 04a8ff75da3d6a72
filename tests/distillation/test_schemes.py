"""Schemes: each has a law that a do-nothing version breaks."""

import numpy as np
import pytest

from npkd.distillation.objective import Terms, distillation
from npkd.distillation.response import soft_targets
from npkd.distillation.schemes import offline
from npkd.distillation.terms import Term
from npkd.distillation.transfer import Noise
from npkd.nn.losses import squared_error
from npkd.nn.network import perceptron
from npkd.nn.optimisers import SGD
from npkd.nn.training import TrainingSettings, train


def case(n=200):
    rng = np.random.default_rng(2)
    teacher, student = (perceptron([5, width, 3], rng) for width in (20, 7))
    x = rng.standard_normal((n, 5)).astype(np.float32)
    return student, teacher, {"x": x, "y": teacher.predict(x).argmax(axis=1)}


def same(one, other):
    for a, b in zip(one.layers, other.layers, strict=True):
        for p, q in zip(a.params, b.params, strict=True):
            np.testing.assert_allclose(p, q, rtol=1e-5, atol=1e-6)


def test_offline_is_training_on_the_answers_of_the_teacher():
    student, teacher, data = case()
    settings, optimiser = TrainingSettings(5, 32), SGD(0.01)
    taught = list(offline(student, teacher, data, Terms({(-1, -1): soft_targets, (2, 2): Term(
        squared_error, connector=perceptron([7, 20], np.random.default_rng(1)))}), settings=settings,
        optimiser=optimiser, rng=np.random.default_rng(0)))
    activations, _ = teacher(data["x"])
    given = data | {"teacher": activations[-1], "teacher2": activations[2]}
    by_hand = list(train(student, given, Terms({(-1, -1): soft_targets, (2, 2): Term(
        squared_error, connector=perceptron([7, 20], np.random.default_rng(1)))}), settings=settings,
        optimiser=optimiser, rng=np.random.default_rng(0)))
    same(taught[-1].network, by_hand[-1].network)
    assert taught[-1].loss < taught[0].loss


def test_offline_under_augmentation_the_teacher_answers_to_what_the_student_sees():
    student, teacher, data = case()
    answered = []

    def loss(z, v):
        answered.append((z, v))
        return soft_targets(z, v)

    list(offline(teacher, teacher, data, Terms({(-1, -1): loss}), optimiser=SGD(1e-12), rng=np.random.default_rng(0),
                 settings=TrainingSettings(3, 50, augmentation=Noise(0.5))))
    assert len(answered) == 12
    for z, v in answered:                       # the student is the teacher: equal answers to equal inputs
        np.testing.assert_allclose(z, v, rtol=1e-4, atol=1e-5)
    list(offline(student, teacher, data, distillation(0.5), optimiser=SGD(0.01), rng=np.random.default_rng(0)))


def test_offline_a_teacher_that_is_changed_is_noticed():
    student, teacher, data = case()

    def loss(z, v):
        teacher.layers[0].params[0][0, 0] += 1
        return soft_targets(z, v)

    with pytest.raises(AssertionError, match="the teacher was changed"):
        list(offline(student, teacher, data, Terms({(-1, -1): loss}), rng=np.random.default_rng(0)))
