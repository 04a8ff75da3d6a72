"""Thirty targets drawn at random on digits: none is exceeded, and one that is impossible is refused with the nearest
that is not."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from npkd.core.validation import InputError
from npkd.data.datasets import load
from npkd.pipeline.stages import Run, compress, train_teacher
from npkd.pipeline.target import Target, parse
from tests.tiny import fixed

RECIPE = fixed(hidden=(20, 12), teacher_epochs=10, rounds=1, epochs=1, batch_size=32, learning_rate=0.02)
KINDS = ["macs", "parameters", "bytes", "neurons", "widths", "error"]


@pytest.fixture(scope="module")
def data():
    """Digits, a thousand of them to learn from."""
    whole = load("digits", seed=0)
    return replace(whole, x_train=whole.x_train[:1000], y_train=whole.y_train[:1000])


@pytest.fixture(scope="module")
def teacher(data):
    return train_teacher(Run(data, RECIPE, np.random.default_rng(1)))


def counted(network):
    """What the network is in each unit, counted from its arrays alone."""
    weights = [layer.params[0] for layer in network.layers if layer.op == "dense"]
    arrays = [p for layer in network.layers for p in layer.params]
    assert min(w.size for w in weights) > 0, "no layer is empty"
    return {"macs": sum(w.size for w in weights), "parameters": sum(a.size for a in arrays),
            "bytes": sum(a.nbytes for a in arrays),
            "neurons": sum(w.shape[1] for w in weights), "widths": [w.shape[1] for w in weights]}


def read(words, teacher):
    """What the words say, read a second time: the kind, and the number (a list for widths)."""
    kind, _, number = words.partition("=")
    if kind == "widths":
        return kind, [int(w) for w in number.split("-")]
    return kind, float(number.removesuffix("%")) * (counted(teacher)[kind] / 100 if number.endswith("%") else 1)


def exceeded(words, student, teacher, data):
    """Whether a student is above what the words say."""
    kind, most = read(words, teacher)
    if kind == "error":
        wrong, before = ((n.predict(data.x_validation).argmax(axis=1) != data.y_validation).sum()
                         for n in (student, teacher))
        return 100 * (int(wrong) - int(before)) > most * len(data.y_validation) * (1 + 1e-12)
    if kind == "widths":
        return any(w > m for w, m in zip(counted(student)["widths"], most, strict=True))
    return counted(student)[kind] > most * (1 + 1e-12)


def nearest(words, sentence):
    """The target that a refusal names."""
    found = re.search(r"nearest possible are ([\d-]+)$|the smallest that this network can be is (\d+),|the teacher has "
                      r"(\d+);", sentence)
    assert found, sentence
    return f"{words.partition('=')[0]}={next(filter(None, found.groups()))}"


def closer(words, named, teacher):
    """The targets that lie one step from the one that was named towards the one that was asked for."""
    (kind, asked), (_, got) = read(words, teacher), read(named, teacher)
    if kind == "widths":
        def nearer(k):
            pairs = enumerate(zip(asked, got, strict=True))
            return "-".join(str(w + (a > w) - (a < w) if i == k else w) for i, (a, w) in pairs)

        return [f"widths={nearer(k)}" for k in range(len(got)) if asked[k] != got[k]]
    return [f"{kind}={got + (1 if asked > got else -1):g}"]


@st.composite
def targets(draw, kind, whole):
    """Words for a target, and whether inputs are kept: sizes on all scales, plain or in percent, widths down to zero,
    rises of the error."""
    keep_inputs = draw(st.booleans())
    if kind == "error":
        return f"error=+{draw(st.floats(0.05, 60)):.3g}", keep_inputs
    if kind == "widths":
        likely = [st.just(m) if keep_inputs and k == 0 else st.integers(1, m) for k, m in enumerate(whole["widths"])]
        wild = [st.integers(0, round(1.5 * m)) for m in whole["widths"]]
        return "widths=" + "-".join(str(draw(w)) for w in draw(st.sampled_from([likely, wild]))), keep_inputs
    fraction = 10 ** draw(st.floats(-2.5, 0.04))
    return (
        f"{kind}={100 * fraction:.4g}%" if draw(st.booleans()) else f"{kind}={max(1, round(fraction * whole[kind]))}",
        keep_inputs
    )


def compressed(words, keep_inputs, data, teacher):
    """The student that a target leads to."""
    target = parse(words, teacher.widths, keep_inputs)
    return compress(Run(data, replace(RECIPE, keep_inputs=keep_inputs), np.random.default_rng(2)), teacher, target)


def test_thirty_random_targets(data, teacher):
    seen = []

    def one(drawn):
        words, keep_inputs = drawn
        try:
            student = compressed(words, keep_inputs, data, teacher)
        except InputError as error:
            words = nearest(words, str(error))
            student = compressed(words, keep_inputs, data, teacher)          # what is named is possible,
            if "smallest" in str(error):
                assert counted(student)["widths"] == [64 if keep_inputs else 1, 1, 1]
            nearer = closer(drawn[0], words, teacher)
            assert nearer
            for other in nearer:                                             # and nothing nearer is
                with pytest.raises(InputError):
                    parse(other, teacher.widths, keep_inputs)
        seen.append((*drawn, words != drawn[0]))
        assert not exceeded(words, student, teacher, data)
        assert not keep_inputs or counted(student)["widths"][0] == 64

    for k, kind in enumerate(KINDS):                                         # five of each kind
        seed(k)(settings(deadline=None, max_examples=5, database=None)(given(targets(kind, counted(teacher)))(one)))()
    assert len(seen) == 30
    assert len(set(seen)) >= 28
    possible = [(words.partition("=")[0], keep) for words, keep, refused in seen if not refused]
    assert {kind for kind, _ in possible} == set(KINDS), "every kind was tried"
    assert {keep for _, keep in possible} == {False, True}
    assert len(possible) >= 15
    assert 30 - len(possible) >= 5, "some were impossible"


@pytest.mark.parametrize("kind", ["macs", "parameters", "bytes", "neurons", "widths"])
def test_one_neuron_more_would_be_found_out(data, teacher, kind):
    """The judge of the test above: a student is within a target of its own size and above one that is a little
    smaller."""
    student = compressed("widths=30-10-6", False, data, teacher)
    size = counted(student)[kind]
    fits = "-".join(map(str, size)) if kind == "widths" else str(size)
    less = f"{size[0]}-{size[1] - 1}-{size[2]}" if kind == "widths" else str(size - 1)
    assert not exceeded(f"{kind}={fits}", student, teacher, data)
    assert exceeded(f"{kind}={less}", student, teacher, data)


def test_widths_are_what_was_asked_for_in_several_rounds(data, teacher):
    """Each round goes the same part of the way in every layer, (W11); the last one is there."""
    recipe = replace(RECIPE, rounds=3, round_epochs=1)
    target = parse("widths=20-9-5", teacher.widths)
    shared = Run(data, recipe, np.random.default_rng(2))
    compress(shared, teacher, target)
    state = shared.state
    assert state.student.widths == [20, 9, 5, 10]
    for r, out in enumerate(state.rounds, start=1):
        exact = [m * (w / m) ** (r / 3) for w, m in zip([20, 9, 5], [64, 20, 12], strict=True)]
        most = [int(e + 1e-9) for e in exact]
        assert all(0 < k <= m for k, m in zip(out.student.widths, most, strict=False))
        assert state.budgets[r - 1] == most[0] * most[1] + most[1] * most[2] + most[2] * 10


def test_a_layer_is_never_empty_not_even_where_it_carries_nothing(data, teacher):
    """All neurons of a layer are dead: one stays, and the record says how many went."""
    dense = teacher.dense_layers[1]
    w, b = teacher.layers[dense].params
    dead = teacher.replace({dense: replace(teacher.layers[dense], params=(np.zeros_like(w), b))})
    shared = Run(data, RECIPE, np.random.default_rng(2))
    compress(shared, dead, Target("neurons", 12))
    state = shared.state
    assert min(state.student.widths) >= 1
    assert counted(state.student)["neurons"] <= 12
    assert {"dead", "constant"} & {removal.reason for removal in state.rounds[0].removals if removal.group in (1, 2)}


def test_a_library_user_is_refused_as_well_before_anything_is_trained(data, teacher):
    for target, named in ((Target("widths", 1.0, (64, 0, 5)), "64-1-5"),
                          (Target("widths", 1.0, (70, 30, 5)), "64-20-5"),
                          (Target("macs", 11.0), "is 12,"), (Target("macs", 1e9), "the teacher has 1640;")):
        with pytest.raises(InputError, match=re.escape(named)):
            compress(Run(data, RECIPE, np.random.default_rng(2)), teacher, target)
