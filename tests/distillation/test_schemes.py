"""Schemes: each has a law that a version which does nothing breaks, and that is shown."""

from dataclasses import replace

import numpy as np
import pytest

from npkd.core.validation import InputError
from npkd.data.augmentation import Noise
from npkd.distillation import schemes
from npkd.distillation.features import attention_transfer
from npkd.distillation.objective import Terms, distillation
from npkd.distillation.response import soft_targets
from npkd.distillation.scheme_losses import (
    adversarial_logits,
    discriminator,
    discriminator_of,
    moment_matching,
    mutual_learning,
    neighbour_graph,
)
from npkd.distillation.schemes import offline
from npkd.distillation.synthesis import Synthesis, moments_of, stored_moments, synthesise
from npkd.distillation.teacher import Ensemble, one_a_batch
from npkd.distillation.terms import Term
from npkd.nn.losses import cross_entropy, squared_error
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.nn.normalisation import moments
from npkd.nn.optimisers import SGD, Adam
from npkd.nn.training import TrainingSettings, train
from npkd.pipeline.library import SCHEMES

SETTINGS, OPTIMISER = TrainingSettings(5, 32), SGD(0.01)
HOW = {"settings": SETTINGS, "optimiser": OPTIMISER}


def case(n=200):
    rng = np.random.default_rng(2)
    teacher, student = (perceptron([5, width, 3], rng) for width in (20, 7))
    x = rng.standard_normal((n, 5)).astype(np.float32)
    return student, teacher, {"x": x, "y": teacher.predict(x).argmax(axis=1)}


def last(records):
    """The last record of a run."""
    return [*records][-1]


def rng():
    return np.random.default_rng(0)


def same(one, other):
    for a, b in zip(one.layers, other.layers, strict=True):
        for p, q in zip(a.params, b.params, strict=True):
            np.testing.assert_allclose(p, q, rtol=1e-5, atol=1e-6)


def differ(one, other):
    """What a version that does nothing would make of it is something else."""
    with pytest.raises(AssertionError):
        same(one, other)


def unlike(rows, others):
    """Is no row one of the others?"""
    return np.abs(rows[:, None] - others).max(axis=2).min() > 1e-4


# ---- offline


def hints():
    return Terms({(-1, -1): soft_targets, (2, 2): Term(squared_error, connector=perceptron([7, 20], rng()))})


def test_offline_is_training_on_the_answers_of_the_teacher():
    student, teacher, data = case()
    taught = list(offline(student, teacher, data, hints(), **HOW, rng=rng()))
    activations, _ = teacher(data["x"])
    given = data | {"teacher": activations[-1], "teacher2": activations[2]}
    same(taught[-1].network, last(train(student, given, hints(), **HOW, rng=rng())).network)
    differ(taught[-1].network, last(train(student, data, **HOW, rng=rng())).network)
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
        assert unlike(v, teacher.predict(data["x"]))                              # which are not those of the data
    list(offline(student, teacher, data, distillation(0.5), optimiser=SGD(0.01), rng=np.random.default_rng(0)))


def test_offline_a_teacher_that_is_changed_is_noticed():
    student, teacher, data = case()

    def loss(z, v):
        teacher.layers[0].params[0][0, 0] += 1
        return soft_targets(z, v)

    with pytest.raises(AssertionError, match="the teacher was changed"):
        list(offline(student, teacher, data, Terms({(-1, -1): loss}), rng=np.random.default_rng(0)))


def test_offline_goes_on_as_if_not_broken_off():
    student, teacher, data = case()
    whole = last(offline(student, teacher, data, hints(), **HOW, rng=rng()))
    drawn = rng()
    first = next(r for r in offline(student, teacher, data, hints(), **HOW, rng=drawn) if r.epoch == 3)
    rest = last(offline(first.network, teacher, data, hints(), optimiser=OPTIMISER, rng=drawn,
                        settings=replace(SETTINGS, done=3, carried=first.carried)))
    same(rest.network, whole.network)


# ---- several teachers


def three():
    student, teacher, data = case()
    draw = np.random.default_rng(7)
    return student, [teacher, *(perceptron([5, width, 3], draw) for width in (9, 11))], data


def test_an_ensemble_of_one_is_that_teacher_and_equal_ones_are_too():
    student, (teacher, *_), data = three()
    alone = last(offline(student, teacher, data, distillation(), **HOW, rng=rng())).network
    for networks in ([teacher], [teacher] * 3):
        same(last(offline(student, Ensemble(networks), data, distillation(), **HOW, rng=rng())).network, alone)


def test_an_ensemble_answers_with_the_weighted_mean_and_each_alone():
    student, teachers, data = three()
    x, weights = data["x"], [3, 1, 0]
    answers = Ensemble(teachers, weights, indices=(2,))(x)
    singles = [t.predict(x) for t in teachers]
    np.testing.assert_allclose(answers["teacher"], 0.75 * singles[0] + 0.25 * singles[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(answers["teacher:2"], singles[2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(answers["teacher2:1"], teachers[1](x)[0][2], rtol=1e-5, atol=1e-6)
    assert answers["teacher"].dtype == np.float32
    p = np.exp([z / 3 for z in singles[:2]])
    p /= p.sum(axis=2, keepdims=True)
    q = p[0] ** 0.75 * p[1] ** 0.25                     # softened, it is the geometric mean of the probabilities
    soft = np.exp(answers["teacher"] / 3)
    np.testing.assert_allclose(soft / soft.sum(1, keepdims=True), q / q.sum(1, keepdims=True), rtol=1e-4)
    mean = last(offline(student, Ensemble(teachers), data, distillation(), **HOW, rng=rng())).network
    differ(mean, last(offline(student, teachers[0], data, distillation(), **HOW, rng=rng())).network)


def test_a_term_for_each_teacher_is_distillation_from_the_mean_of_their_probabilities():
    """Their gradients are equal: Σ w KL(q_m ‖ p) = KL(Σ w q_m ‖ p) + what has no gradient."""
    _, teachers, data = three()
    answers = Ensemble(teachers)(data["x"])
    z = teachers[0].predict(data["x"]) / 2
    terms = Terms([Term(soft_targets, teacher=f"teacher:{m}", weight=w) for m, w in enumerate((0.5, 0.2, 0.3))])
    _, d = terms([z], answers)
    p = np.array([np.exp(answers[f"teacher:{m}"] / 4) for m in range(3)])
    q = np.einsum("m,mnc->nc", [0.5, 0.2, 0.3], p / p.sum(axis=2, keepdims=True))
    np.testing.assert_allclose(d[0], soft_targets(z, 4 * np.log(q))[1], rtol=1e-3, atol=1e-6)


def test_of_several_teachers_one_answers_each_batch_and_all_do_in_turn():
    student, teachers, data = three()
    asked = []

    def loss(z, v):
        asked.append(v.copy())
        return soft_targets(z, v)

    def terms():
        return Terms([Term(loss, teacher=f"teacher:{m}", weight=w, name=str(m))
                      for m, w in enumerate(one_a_batch(3))])

    drawn = last(offline(student, Ensemble(teachers), data, terms(), **HOW, rng=rng())).network
    batches = 5 * 7
    of = [sum(any(np.isclose(v[0], row, atol=1e-5).all() for row in t.predict(data["x"])) for v in asked)
          for t in teachers]
    assert batches <= len(asked) <= batches + 5 * 3                     # a term's balance asks once an epoch
    assert min(of) >= 5
    assert sum(of) == len(asked)
    for each in (*teachers, Ensemble(teachers)):
        differ(drawn, last(offline(student, each, data, distillation(), **HOW, rng=rng())).network)
    same(drawn, last(offline(student, Ensemble(teachers), data, terms(), **HOW, rng=rng())).network)


def test_of_the_weights_of_several_teachers_one_is_1_and_each_is_that_as_often():
    weights = one_a_batch(4)
    drawn = np.array([[weight(p) for weight in weights] for p in np.linspace(0, 1, 2001)])
    assert set(np.unique(drawn)) == {0, 1}
    assert (drawn.sum(axis=1) == 1).all()
    assert drawn.mean(axis=0) == pytest.approx(0.25, abs=0.04)
    assert [weight(0.3) for weight in one_a_batch(4, 0.9)] == [0.9 * weight(0.3) for weight in weights]


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [1, np.nan]])
def test_weights_of_teachers_that_are_none(weights):
    with pytest.raises(InputError, match=r"Ensemble: weights are .*; it needs 2"):
        Ensemble([case()[1]] * 2, weights)


# ---- online and self


def test_mutual_learning_of_one_peer_is_plain_training():
    student, _, data = case()
    same(last(schemes.mutual([student], data, **HOW, rng=rng())).network,
         last(train(student, data, **HOW, rng=rng())).network)


def test_mutual_learning_of_two_is_what_both_loops_by_hand_give():
    """In float64, two networks, plain gradient descent without momentum, one batch: the other side held constant."""
    student, teacher, data = case(40)
    peers, x, y = [n.astype(np.float64) for n in (student, teacher)], data["x"].astype(np.float64), data["y"]
    by_hand = [n.copy() for n in peers]
    for _ in range(3):
        passes = [n(x) for n in by_hand]
        z = [activations[-1] for activations, _ in passes]
        for k, (activations, backward) in enumerate(passes):
            d = cross_entropy(z[k], y)[1] + soft_targets(z[k], z[1 - k], temperature=1.0)[1]
            for layer, g in zip(by_hand[k].layers, backward({len(activations) - 1: d})[1], strict=True):
                for p, slope in zip(layer.params, g, strict=True):
                    p -= 0.1 * slope
    record = last(schemes.mutual(peers, {"x": x, "y": y}, rng=rng(), optimiser=SGD(0.1, momentum=0),
                                 settings=TrainingSettings(3, 40, schedule=lambda p: 1.0)))
    same(record.network, by_hand[0])
    same(record.beside[0], by_hand[1])
    differ(record.network, last(train(peers[0], {"x": x, "y": y}, optimiser=SGD(0.1, momentum=0), rng=rng(),
                                      settings=TrainingSettings(3, 40, schedule=lambda p: 1.0))).network)


def test_peers_come_to_agree_more_than_without_one_another():
    _, _, data = case()
    draw, settings = np.random.default_rng(3), TrainingSettings(20, 32)
    peers = [perceptron([5, 8, 3], draw) for _ in range(3)]

    def apart(term):
        record = last(schemes.mutual(peers, data, term, optimiser=SGD(0.05), settings=settings, rng=rng()))
        z = [n.predict(data["x"]) for n in (record.network, *record.beside)]
        return mutual_learning(tuple(z), data["y"], weights=1 - np.eye(3))[0]

    assert apart(None) < apart(Term(mutual_learning, options={"weights": np.eye(3)})) / 2


def test_a_record_keeps_the_peers_of_its_epoch_and_those_given_are_not_changed():
    student, teacher, data = case()
    given = teacher.copy()
    first, *_, end = schemes.mutual([student, teacher], data, **HOW, rng=rng())
    same(teacher, given)
    differ(first.beside[0], end.beside[0])
    differ(first.beside[0], teacher)


def test_peers_that_behave_otherwise_in_training_are_refused():
    student, _, data = case()
    one = np.ones(3, np.float32)
    for layer in (Layer("dropout", options={"rate": 0.5}), Layer("batch_norm", (one, 0 * one))):
        with pytest.raises(InputError, match="joint_training: a network beside the first has dropout or batch_norm"):
            list(schemes.mutual([student, Network([*student.layers, layer])], data, rng=rng()))
        list(schemes.mutual([Network([*student.layers, layer]), student], data, **HOW, rng=rng()))


def test_own_layers_heads_learn_and_teach_the_layers_below():
    student, _, data = case()
    head = Network([dense_layer(7, 3, np.random.default_rng(1))])
    records = [*schemes.own_layers(student, {2: head}, data, optimiser=SGD(0.05), settings=SETTINGS, rng=rng())]
    agreement = [(r.beside[0].predict(r.network(data["x"])[0][2]).argmax(1) == data["y"]).mean() for r in records]
    before = (head.predict(student(data["x"])[0][2]).argmax(1) == data["y"]).mean()
    assert agreement[-1] > max(before + 0.2, 0.7)
    plain = last(train(student, data, optimiser=SGD(0.05), settings=SETTINGS, rng=rng())).network
    differ(records[-1].network, plain)

    def by(weights):
        term = Term(mutual_learning, options={"weights": np.array(weights)})
        return last(schemes.own_layers(student, {2: head}, data, term, optimiser=SGD(0.05), settings=SETTINGS,
                                       rng=rng())).network

    same(by([[1, 0], [0, 0]]), plain)                                                # the head learns nothing
    same(by([[1, 0], [0.5, 0.5]]), records[-1].network)
    differ(by([[1, 0], [0, 1]]), records[-1].network)


# ---- in turn


def test_assistants_are_distillations_in_turn():
    student, teacher, data = case()
    middle = perceptron([5, 12, 3], np.random.default_rng(5))
    records = [*schemes.assistants([middle, student], teacher, data, distillation(), **HOW, rng=rng())]
    assert [(r.stage, r.epoch) for r in records] == [(s, e) for s in ("1 of 2", "2 of 2") for e in range(1, 6)]
    draw = rng()
    first = last(offline(middle, teacher, data, distillation(), **HOW, rng=draw)).network
    same(records[4].network, first)
    same(records[-1].network, last(offline(student, first, data, distillation(), **HOW, rng=draw)).network)
    differ(records[-1].network, last(offline(student, teacher, data, distillation(), **HOW, rng=rng())).network)


def test_the_best_network_of_a_stage_teaches_the_next():
    student, teacher, data = case()
    judged = []

    def validate(network):
        judged.append(network)
        return abs(len(judged) % 5 - 2)                                              # the second epoch is the best

    settings = replace(SETTINGS, validate=validate)
    records = [*schemes.assistants([perceptron([5, 12, 3], rng()), student], teacher, data, distillation(),
                                   optimiser=OPTIMISER, settings=settings, rng=rng())]
    by_hand = rng()
    list(offline(perceptron([5, 12, 3], rng()), teacher, data, distillation(), **HOW, rng=by_hand))
    same(records[-1].network, last(offline(student, records[1].network, data, distillation(), **HOW,
                                           rng=by_hand)).network)


def test_an_assistant_that_is_the_teacher_teaches_what_the_teacher_would():
    """At agreement soft targets have no gradient: the assistant stays the teacher. One of the same size, drawn anew, is
    another teacher."""
    student, teacher, data = case()
    settings = replace(SETTINGS, schedule=lambda p: 1.0)

    def through(assistant):
        draw = rng()
        records = schemes.assistants([assistant, student], teacher, data, distillation(), optimiser=OPTIMISER,
                                     settings=settings, rng=draw)
        return last(records).network

    draw = rng()
    last(offline(teacher, teacher, data, distillation(), optimiser=OPTIMISER, settings=settings, rng=draw))
    direct = last(offline(student, teacher, data, distillation(), optimiser=OPTIMISER, settings=settings, rng=draw))
    same(through(teacher), direct.network)
    differ(through(perceptron([5, 20, 3], np.random.default_rng(8))), direct.network)


def test_the_first_generation_is_plain_training_and_each_next_one_learns_from_it():
    student, _, data = case()
    draw = np.random.default_rng(5)
    generations = [student, *(perceptron([5, 7, 3], draw) for _ in range(2))]
    records = [*schemes.born_again(generations, data, hints_of_own(), **HOW, rng=rng())]
    assert [r.stage for r in records[4::5]] == ["1 of 3", "2 of 3", "3 of 3"]
    same(records[4].network, last(train(student, data, **HOW, rng=rng())).network)
    draw = rng()
    parent = None
    for start, record in zip(generations, records[4::5], strict=True):
        by_hand = (train(start, data, **HOW, rng=draw) if parent is None else
                   offline(start, parent, data, hints_of_own(), **HOW, rng=draw))
        parent = last(by_hand).network
        same(record.network, parent)
    differ(records[-1].network, last(train(generations[-1], data, **HOW, rng=rng())).network)


def hints_of_own():
    """With a connector: each generation is to begin with it as it was."""
    return Terms({(-1, -1): soft_targets, (2, 2): Term(squared_error, connector=perceptron([7, 7], rng()))})


def test_several_trainings_do_not_go_on_from_one_that_was_broken_off():
    student, teacher, data = case()
    with pytest.raises(InputError, match="assistants: done is 2"):
        list(schemes.assistants([student], teacher, data, distillation(), settings=TrainingSettings(5, done=2),
                                rng=rng()))


# ---- a discriminator


def shifted():
    """A student whose bias alone is to be learnt, and a teacher of the same inputs moved by (2, −2)."""
    x = np.random.default_rng(0).standard_normal((500, 2)).astype(np.float32)
    layers = [Network([Layer("dense", (np.eye(2, dtype=np.float32), np.array(b, np.float32)))]) for b in ((0, 0),
                                                                                                         (2, -2))]
    return *layers, {"x": x}


def test_adversarial_the_student_comes_to_be_taken_for_the_teacher():
    """From the discriminator alone: no term compares its logits with the teacher's of the same example."""
    student, teacher, data = shifted()
    nothing = Terms([Term(soft_targets, start=99)])

    def away(network):
        return np.abs(network.predict(data["x"]).mean(0) - teacher.predict(data["x"]).mean(0)).max()

    how = {"optimiser": Adam(0.02), "settings": TrainingSettings(40, 50), "rng": rng()}
    assert away(student) > 1.9
    assert away(last(schemes.adversarial(student, teacher, data, nothing, **how)).network) < 0.5
    assert away(last(offline(student, teacher, data, nothing, **how)).network) > 1.9


def test_a_discriminator_destroys_no_student_unless_told():
    """By default it weighs little beside terms; with weight 1 the student's neurons die."""
    draw = np.random.default_rng(0)
    y = np.arange(600) % 10
    x = (draw.standard_normal((10, 16))[y] + 0.5 * draw.standard_normal((600, 16))).astype(np.float32)
    teacher = last(train(perceptron([16, 60, 10], draw), {"x": x, "y": y}, rng=draw)).network
    student, data, terms = perceptron([16, 12, 8, 10], draw), {"x": x, "y": y}, distillation(0.1, 0.9)
    heavy = schemes.with_discriminator(terms, student, data, 1.0, rng=rng())
    light, wrong = schemes.adversarial(student, teacher, data, terms, rng=rng()), []
    for records in (light, offline(student, teacher, data, heavy, rng=rng())):
        wrong.append((last(records).network.predict(x).argmax(axis=1) != y).mean())
    assert wrong[0] < 0.1
    assert wrong[1] > 0.5


def test_a_discriminator_learns_to_tell_logits_apart():
    student, teacher, data = shifted()
    term = Term(adversarial_logits, parts=discriminator(2, rng()))
    terms = Terms([term])
    z, v = (n.predict(data["x"]) for n in (student, teacher))
    state = Adam(0.02).begin(terms.parameters)

    def told():
        network = discriminator_of(*terms.terms[0].parts)
        return ((network.predict(v) > 0).mean() + (network.predict(z) < 0).mean()) / 2

    before = told()
    for _ in range(200):
        terms([z], {"teacher": v})
        state.update(terms.parameters, terms.gradient, 0.02)
    assert before < 0.8
    assert told() > 0.9


# ---- two kinds of inputs


def test_cross_modal_of_one_kind_is_offline_and_of_another_the_teacher_sees_that_one():
    student, teacher, data = case()
    alone = last(offline(student, teacher, data, distillation(0.5), **HOW, rng=rng())).network
    same(last(schemes.cross_modal(student, teacher, data | {"paired": data["x"]}, distillation(0.5), **HOW,
                                  rng=rng())).network, alone)
    other = {**data, "x": (data["x"] @ np.ones((5, 4), np.float32)), "paired": data["x"]}
    small = perceptron([4, 7, 3], np.random.default_rng(1))
    found = last(schemes.cross_modal(small, teacher, other, distillation(0.5), **HOW, rng=rng())).network
    given = {"x": other["x"], "y": data["y"], "teacher": teacher.predict(data["x"])}
    same(found, last(train(small, given, distillation(0.5), **HOW, rng=rng())).network)
    mixed = other | {"paired": data["x"][::-1]}
    differ(found, last(schemes.cross_modal(small, teacher, mixed, distillation(0.5), **HOW, rng=rng())).network)
    with pytest.raises(InputError, match="the batch holds x, y; the objective needs 'paired' too"):
        list(schemes.cross_modal(student, teacher, data, distillation(0.5), rng=rng()))


def test_cross_modal_under_augmentation_the_teacher_sees_what_became_of_its_kind():
    _, teacher, data = case()
    answered = []

    def loss(z, v):
        answered.append((z, v))
        return soft_targets(z, v)

    def both(batch, rng):
        noise = rng.standard_normal(batch["x"].shape).astype(np.float32)
        return {**batch, "x": batch["x"] + noise, "paired": batch["paired"] + noise}

    list(schemes.cross_modal(teacher, teacher, data | {"paired": data["x"]}, Terms({(-1, -1): loss}),
                             optimiser=SGD(1e-12), settings=TrainingSettings(2, 50, augmentation=both), rng=rng()))
    for z, v in answered:
        np.testing.assert_allclose(z, v, rtol=1e-4, atol=1e-5)
        assert unlike(v, teacher.predict(data["x"]))


def test_cross_modal_the_student_is_not_shown_the_other_kind():
    student, teacher, data = case()
    terms = Terms([Term(squared_error, 0, "paired")])
    with pytest.raises(InputError, match="the batch holds x, y; the objective needs 'paired' too"):
        list(schemes.cross_modal(student, teacher, data | {"paired": data["x"]}, terms, rng=rng()))


# ---- layers by pairs


@pytest.mark.parametrize(("scheme", "loss"), [(schemes.graph, neighbour_graph),
                                              (schemes.attention, attention_transfer)])
def test_pairs_of_layers_come_nearer_than_by_the_labels_alone(scheme, loss):
    draw = np.random.default_rng(2)
    x = draw.standard_normal((120, 4, 4, 1)).astype(np.float32)

    def network(channels):
        w = 0.5 * draw.standard_normal((channels, 3, 3, 1)).astype(np.float32)
        conv = Layer("conv2d", (w, np.zeros(channels, np.float32)), {"padding": 1})
        return Network([conv, Layer("relu"), Layer("flatten"), dense_layer(16 * channels, 3, draw)])

    student, teacher = network(2), network(6)
    data = {"x": x, "y": teacher.predict(x).argmax(1)}
    how = {"optimiser": SGD(0.02), "settings": TrainingSettings(8, 40)}
    taught = last(scheme(student, teacher, data, {(2, 2): 5.0}, **how, rng=rng())).network
    plain = last(train(student, data, **how, rng=rng())).network
    target = teacher(x)[0][2]
    far = [loss(n(x)[0][2], target)[0] for n in (taught, plain)]
    assert far[0] < 0.8 * far[1]
    by_hand = Terms([Term(cross_entropy, teacher="y"), Term(loss, 2, 2, 5.0)])
    same(taught, last(offline(student, teacher, data, by_hand, **how, rng=rng())).network)
    same(last(scheme(student, teacher, data, {}, **how, rng=rng())).network, plain)


# ---- inputs from the teacher


def around(width, draw):
    """A perceptron whose neurons bend near (4, 4, 4)."""
    network = perceptron([3, width, 2], draw)
    network.layers[0].params[1][:] = -4 * network.layers[0].params[0].sum(axis=1)
    return network


def trained_teacher():
    """Of clouds around (4, 4, 4), opposite ones of a class: near 0, where noise is, there is nothing to be learnt."""
    draw = np.random.default_rng(4)
    side = draw.choice([-1.0, 1.0], (600, 3))
    x = (4 + side + 0.3 * draw.standard_normal((600, 3))).astype(np.float32)
    y = (side[:, 0] * side[:, 1] > 0).astype(int)
    teacher = last(train(around(24, draw), {"x": x, "y": y}, optimiser=Adam(0.02), rng=draw,
                         settings=TrainingSettings(15, 50))).network
    assert (teacher.predict(x).argmax(1) == y).mean() > 0.95
    return teacher, x, y


def test_inputs_made_from_the_teacher_are_classes_to_it_and_have_its_moments():
    teacher, x, _ = trained_teacher()
    labels = np.arange(200) % 2
    settings = Synthesis(labels, (3,), moments_of(teacher, x, (0, 1, 2)))
    made, noise = (synthesise(teacher, s, rng()) for s in (settings, replace(settings, steps=0)))
    assert made.dtype == np.float32

    def far(x):
        return sum(moment_matching(teacher(x)[0][i], target)[0] for i, target in settings.moments.items())

    assert far(made) < 0.2 * far(noise)
    assert (teacher.predict(made).argmax(1) == labels).mean() > 0.95
    assert (teacher.predict(noise).argmax(1) == labels).mean() < 0.7                  # what doing nothing gives
    with pytest.raises(InputError, match="moment_matching: got"):
        synthesise(teacher, replace(settings, moments={2: settings.moments[0]}), rng())


def test_data_free_a_student_learns_what_the_teacher_says_of_real_examples():
    teacher, x, _ = trained_teacher()
    inputs = Synthesis(np.arange(400) % 2, (3,), moments_of(teacher, x, (0, 1, 2)))
    student = around(16, np.random.default_rng(1))
    how = {"optimiser": Adam(0.01), "settings": TrainingSettings(30, 50)}

    def agree(network):
        return (network.predict(x).argmax(1) == teacher.predict(x).argmax(1)).mean()

    learnt, nothing = (last(schemes.data_free(student, teacher, i, distillation(0.1), **how, rng=rng())).network
                       for i in (inputs, replace(inputs, steps=0)))
    assert agree(learnt) > 0.9
    assert agree(nothing) < 0.8
    draw = rng()
    data = {"x": synthesise(teacher, inputs, draw), "y": inputs.labels}
    same(learnt, last(offline(student, teacher, data, distillation(0.1), **how, rng=draw)).network)


def test_a_step_of_the_inputs_is_one_along_the_gradient_of_the_objective():
    """Of classes and moments, those of the logits too, by differences, in float64."""
    teacher, x, _ = trained_teacher()
    teacher, labels = teacher.astype(np.float64), np.array([0, 1, 1])
    known = moments_of(teacher, x.astype(np.float64), (0, 2, 3))
    settings = Synthesis(labels, (3,), known, weight=0.3, steps=0, optimiser=SGD(0.1, momentum=0))
    start, one = (synthesise(teacher, replace(settings, steps=k), rng()) for k in (0, 1))

    def value(x):
        activations, _ = teacher(x)
        return cross_entropy(activations[-1], labels)[0] + 0.3 * sum(
            moment_matching(activations[i], target)[0] for i, target in known.items())

    slope = [(value(start + h) - value(start - h)) / 2e-6 for h in 1e-6 * np.eye(9).reshape(9, 3, 3)]
    np.testing.assert_allclose(start - one, 0.05 * np.reshape(slope, (3, 3)), rtol=1e-4, atol=1e-7)


def test_moments_that_a_network_holds_are_those_that_its_batch_norm_reads():
    draw = np.random.default_rng(0)
    x = draw.standard_normal((400, 3)).astype(np.float32)
    layers = [dense_layer(3, 5, draw), Layer("batch_norm", (np.ones(5, np.float32), np.zeros(5, np.float32))),
              Layer("relu"), dense_layer(5, 2, draw)]
    network = last(train(Network(layers), {"x": x, "y": draw.integers(0, 2, 400)}, optimiser=SGD(1e-9), rng=draw,
                         settings=TrainingSettings(20, 400))).network
    (index, (mean, variance)), = stored_moments(network).items()
    assert index == 1
    for found, right in zip((mean, variance), moments(network(x)[0][1]), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-5)
    assert stored_moments(case()[0]) == {}


# ---- new classes


def split():
    """A network of the first two of four classes, one that has outputs for all, and examples of the others."""
    draw = np.random.default_rng(6)
    y = draw.integers(0, 4, 800)
    x = (3 * np.eye(4)[y] @ draw.standard_normal((4, 6)) + draw.standard_normal((800, 6))).astype(np.float32)
    old, new = ({"x": x[part], "y": y[part]} for part in (y < 2, y >= 2))
    before = last(train(perceptron([6, 16, 2], draw, activation="tanh"), old, optimiser=SGD(0.02), rng=draw,
                        settings=TrainingSettings(10, 50))).network
    return before, schemes.widened(before, 2, draw), old, new


def test_lifelong_the_old_classes_are_not_forgotten_and_the_new_ones_learnt():
    before, student, old, new = split()
    how = {"optimiser": SGD(0.02), "settings": TrainingSettings(20, 50), "rng": rng()}
    kept = last(schemes.lifelong(student, before, new, **how)).network
    forgot = last(schemes.lifelong(student, before, new, Term(soft_targets, start=99), **how)).network
    for network in (kept, forgot):
        assert (network.predict(new["x"])[:, 2:].argmax(1) + 2 == new["y"]).mean() > 0.95
    assert (kept.predict(old["x"])[:, :2].argmax(1) == old["y"]).mean() > 0.95

    def moved(network, x):
        return soft_targets(network.predict(x)[:, :2], before.predict(x))[0]

    assert moved(kept, new["x"]) < 0.1 * moved(forgot, new["x"])
    term = Term(soft_targets, weight=5.0, options={"temperature": 2.0})
    more = last(schemes.lifelong(student, before, new, term, **how)).network
    assert moved(more, new["x"]) < moved(kept, new["x"]) / 2
    assert moved(kept, old["x"]) < 0.5 * moved(forgot, old["x"])            # of which it saw no example


def test_lifelong_by_hand():
    """The derivative of the logits at the start: of the new ones that of the labels, of the old ones none."""
    before, student, _, new = split()
    seen = []
    term = Term(lambda z, v: seen.append((z.copy(), v.copy())) or soft_targets(z, v), weight=2.0)
    list(schemes.lifelong(student, before, new, term, optimiser=SGD(1e-9), settings=TrainingSettings(1, 50), rng=rng()))
    for z, v in seen:
        assert z.shape[1] == v.shape[1] == 2
        np.testing.assert_allclose(z, v, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="target has classes -"):
        list(schemes.lifelong(student, before, {**new, "y": new["y"] - 2}, rng=rng()))


def test_a_widened_network_says_of_the_old_classes_what_it_said():
    before, student, old, _ = split()
    np.testing.assert_array_equal(student.predict(old["x"])[:, :2], before.predict(old["x"]))
    assert student.widths == [6, 16, 4]
    assert not np.shares_memory(student.layers[0].params[0], before.layers[0].params[0])


# ---- this project's own


def test_layer_wise_keeps_what_the_teacher_says_and_the_widths_that_are_asked_for():
    teacher, x, y = trained_teacher()
    data, how = {"x": x, "y": y}, {"optimiser": SGD(1e-9), "settings": TrainingSettings(1, 50), "rng": rng()}

    def agree(network):
        return (network.predict(x).argmax(1) == teacher.predict(x).argmax(1)).mean()

    whole = last(schemes.layer_wise(teacher, [3, 24], data, distillation(), **how)).network
    np.testing.assert_allclose(whole.predict(x), teacher.predict(x), atol=0.02 * teacher.predict(x).std())
    small = last(schemes.layer_wise(teacher, [3, 10], data, distillation(), **how)).network
    assert small.widths == [3, 10, 2]
    assert agree(small) > 0.95
    assert agree(perceptron([3, 10, 2], rng())) < 0.8
    longer = {"optimiser": SGD(0.01), "settings": TrainingSettings(3, 50), "rng": rng()}
    differ(last(schemes.layer_wise(teacher, [3, 10], data, distillation(), **longer)).network, small)


# ---- the table


def test_every_scheme_is_in_the_table_and_is_an_iterator_of_records():
    words = [entry.word for entry in SCHEMES.values()]
    assert len(set(words)) == len(words) == 13
    assert all(word == word.lower() and " " not in word for word in words)
    functions = {entry.function for entry in SCHEMES.values()}
    public = {f for f in vars(schemes).values() if getattr(f, "__module__", "") == schemes.__name__
              and getattr(f, "__annotations__", {}).get("return") == "Records"}
    assert public - functions == {schemes.joint_training}
    assert functions <= public
