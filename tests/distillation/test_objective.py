"""The objective of distillation: the sum that it says it is, its gradient through a network, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.core.validation import InputError
from npkd.distillation.objective import distillation
from npkd.gradcheck import relative_error
from npkd.nn.network import perceptron
from npkd.nn.training import TrainingSettings, classification, train
from reference.definitions.distillation import response
from reference.definitions.nn import losses


def case(seed, n=5):
    rng = np.random.default_rng(seed)
    network = perceptron([4, 6, 5, 3], rng, activation="tanh", dtype=np.float64)
    x = rng.standard_normal((n, 4))
    batch = {"x": x, "y": rng.integers(0, 3, n), "teacher": rng.standard_normal((n, 3)),
             "hint2": rng.standard_normal((n, 6)),
             "hint4": rng.standard_normal((n, 5)), "hint5": rng.standard_normal((n, 3))}
    return network, batch


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10 ** 6), labels=st.sampled_from([0.0, 0.3, 1.0]), soft=st.sampled_from([0.0, 0.7]),
       temperature=st.floats(0.5, 20), hints=st.dictionaries(st.sampled_from([2, 4, 5]), st.floats(0.1, 2), max_size=3))
def test_the_value_is_the_sum_of_the_definitions(seed, labels, soft, temperature, hints):
    network, batch = case(seed)
    activations, _ = network(batch["x"])
    if not (labels or soft or hints):
        with pytest.raises(InputError, match="all 0"):
            distillation(labels, soft, temperature, hints)
        return
    value, sensitivities = distillation(labels, soft, temperature, hints)(activations, batch)
    expected = labels * losses.cross_entropy(activations[-1], batch["y"])
    expected += soft * response.soft_targets(activations[-1], batch["teacher"], temperature)
    expected += sum(c * losses.squared_error(activations[i], batch[f"hint{i}"]) for i, c in hints.items())
    assert value == pytest.approx(expected, rel=1e-11)
    assert set(sensitivities) == set(hints) | ({5} if labels or soft else set())


@pytest.mark.parametrize("objective", [
    distillation(), distillation(labels=1.0, soft=0.0), distillation(labels=0.4, soft=0.6, temperature=2.0),
    distillation(labels=0.5, hints={2: 0.3, 4: 2.0}), distillation(labels=0.5, hints={5: 0.3}),
    distillation(soft=0.0, hints={2: 1.0}),
], ids=str)
def test_the_gradient_of_every_parameter(objective):
    """Through the whole network, against centred differences of the value."""
    network, batch = case(1)
    activations, backward = network(batch["x"])
    _, sensitivities = objective(activations, batch)
    _, gradients = backward(sensitivities)
    for i in network.dense_layers:
        for p, g in zip(network.layers[i].params, gradients[i], strict=True):
            numeric = np.zeros_like(p)
            for k in np.ndindex(p.shape):
                kept, sides = p[k], []
                for h in (1e-5, -1e-5):
                    p[k] = kept + h
                    sides.append(objective(network(batch["x"])[0], batch)[0])
                p[k] = kept
                numeric[k] = (sides[0] - sides[1]) / 2e-5
            if {term.student for term in objective.terms} == {2} and i > 0:
                assert not g.any()                       # nothing behind the hint is reached
            else:
                assert relative_error(g, numeric) <= 1e-7


def test_labels_alone_are_plain_training():
    network, batch = case(2)
    activations, _ = network(batch["x"])
    value, sensitivities = distillation(labels=1.0, soft=0.0)(activations, batch)
    plain, expected = classification(activations, batch)
    assert value == plain
    assert np.array_equal(sensitivities[5], expected[5])


def test_a_hint_at_the_logits_adds_to_the_rest():
    network, batch = case(3)
    activations, _ = network(batch["x"])
    both = distillation(soft=0.5, hints={5: 2.0})(activations, batch)[1][5]
    parts = [distillation(soft=0.5)(activations, batch)[1][5],
             distillation(soft=0.0, hints={5: 2.0})(activations, batch)[1][5]]
    np.testing.assert_allclose(both, parts[0] + parts[1], rtol=1e-14)


def test_a_hint_of_weight_zero_is_no_hint():
    """As for labels and soft targets: what has no weight needs no array."""
    network, batch = case(4)
    activations, _ = network(batch["x"])
    del batch["hint2"]
    assert distillation(hints={2: 0.0})(activations, batch)[0] == distillation()(activations, batch)[0]


def test_a_student_learns_its_teacher():
    """The objective at work in the training loop: the loss falls to a small part."""
    rng = np.random.default_rng(5)
    teacher, student = (perceptron([4, 8, 3], rng, dtype=np.float64) for _ in range(2))
    x = rng.standard_normal((200, 4))
    records = list(train(student, {"x": x, "teacher": teacher.predict(x)}, distillation(temperature=2.0), rng=rng,
                         settings=TrainingSettings(30, 20)))
    assert records[-1].loss < 0.05 * records[0].loss


@pytest.mark.parametrize(("options", "missing"), [
    ({"labels": 1.0}, "y"), ({"labels": 0.0}, "teacher"), ({"soft": 0.0, "hints": {2: 1.0}}, "hint2"),
])
def test_arrays_that_are_missing(options, missing):
    network, batch = case(6)
    activations, _ = network(batch["x"])
    del batch[missing]
    with pytest.raises(InputError, match=f"Terms: the batch holds .*; the objective needs '{missing}' too"):
        distillation(**options)(activations, batch)


@pytest.mark.parametrize(("options", "words"), [
    ({"labels": -1.0}, "labels is -1"), ({"labels": float("nan")}, "labels is nan"), ({"soft": -0.1}, "soft is -0.1"),
    ({"temperature": 0.0}, "temperature is 0"), ({"temperature": float("inf")}, "temperature is inf"),
    ({"hints": {3: -1.0}}, "weight of hint 3 is -1"), ({"labels": 0.0, "soft": 0.0}, "all 0"),
    ({"soft": 0.0, "hints": {3: 0.0}}, "all 0"),
])
def test_settings_that_are_refused(options, words):
    with pytest.raises(InputError, match=f".*{words}"):
        distillation(**options)


@pytest.mark.parametrize("index", [9, -9])
def test_a_hint_at_an_activation_that_is_not_there(index):
    network, batch = case(7)
    activations, backward = network(batch["x"])
    with pytest.raises(InputError):
        backward(distillation(hints={index: 1.0})(activations, {**batch, f"hint{index}": batch["teacher"]})[1])
