"""Layer-by-layer distillation: widths, certificates and errors that are what raw data say, and redundancy that costs
nothing."""

from dataclasses import replace

import numpy as np
import pytest

from npkd.core.validation import InputError
from npkd.nn.architectures import lenet5
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.sparsity import collect, layerwise, refitting
from npkd.sparsity.allocation import Curve
from npkd.sparsity.collect import collect_statistics
from npkd.sparsity.elimination import Elimination
from npkd.sparsity.group_lasso import Problem
from npkd.sparsity.layerwise import curve_of, distil, exactly, within
from npkd.sparsity.saliency import costs, saliencies
from npkd.sparsity.statistics import Statistics
from npkd.surgery.dependency import dependency_groups
from npkd.surgery.removal import difference, remove
from reference.definitions.sparsity import statistics as raw
from tests.tiny import counted


def teacher_and_data(seed=0, widths=(6, 12, 8, 3), n=300, activation="relu", dtype=np.float64):
    """A random network with biases, and inputs that depend on one another."""
    rng = np.random.default_rng(seed)
    network = perceptron(list(widths), rng, activation=activation, dtype=dtype)
    for layer in network.layers:
        if layer.params:
            layer.params[1][:] = 0.3 * rng.standard_normal(len(layer.params[1]))
    x = rng.standard_normal((n, widths[0])) @ (np.eye(widths[0]) + 0.3 * rng.standard_normal((widths[0], widths[0])))
    return network, x.astype(dtype)


def batches(x, rows):
    return lambda: (x[i:i + rows] for i in range(0, len(x), rows))


def relative(student, teacher, x):
    """Error of the outputs, relative to their variance."""
    z, s = teacher.predict(x), student.predict(x)
    return float(((z - s) ** 2).sum() / ((z - z.mean(axis=0)) ** 2).sum())


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("seed", range(3))
def test_widths_as_asked_and_every_certificate(seed, activation):
    teacher, x = teacher_and_data(seed, activation=activation)
    out = distil(teacher, batches(x, 100), exactly([5, 6, 4]))
    assert out.student.widths == [5, 6, 4, 3]
    assert [r.kept for r in out.layers] == [5, 6, 4]
    assert [r.of for r in out.layers] == [6, 12, 8]
    assert [r.layer for r in out.layers] == [0, 1, 2]
    for report in out.layers:
        assert 0 <= report.duality_gap <= 1e-6
        assert 0 < report.lam < report.lambda_max
        assert 0 <= report.proved <= report.of - report.kept
        assert report.relative_error < 1
    assert out.difference64 <= 1e-12
    assert out.difference <= 1e-12
    assert len(out.removals) >= (6 - 5) + (12 - 6) + (8 - 4)


def test_the_teacher_is_not_changed():
    teacher, x = teacher_and_data()
    before = [p.copy() for layer in teacher.layers for p in layer.params]
    distil(teacher, batches(x, 100), exactly([3, 3, 3]))
    assert all(np.array_equal(a, b)
               for a, b in zip(before, [p for layer in teacher.layers for p in layer.params], strict=True))


def test_single_precision():
    teacher, x = teacher_and_data(dtype=np.float32)
    out = distil(teacher, batches(x, 64), exactly([5, 6, 4]))
    assert all(p.dtype == np.float32 for layer in out.student.layers for p in layer.params)
    assert out.difference <= 1e-5
    assert out.difference64 <= 1e-12
    assert all(r.duality_gap <= 1e-6 for r in out.layers)


@pytest.mark.parametrize("rows", [1, 7, 100, 299])
def test_batches_of_any_size_give_the_same_student(rows):
    teacher, x = teacher_and_data(1)
    one, other = (distil(teacher, batches(x, r), exactly([5, 6, 4])) for r in (300, rows))
    assert one.student.widths == other.student.widths
    assert one.removals == other.removals
    for a, b in zip(one.student.layers, other.student.layers, strict=True):
        for p, q in zip(a.params, b.params, strict=True):
            np.testing.assert_allclose(q, p, rtol=1e-9, atol=1e-9)
    for a, b in zip(one.layers, other.layers, strict=True):
        assert b.relative_error == pytest.approx(a.relative_error, rel=1e-8)


def test_the_order_of_the_batches_does_not_matter():
    teacher, x = teacher_and_data(2)
    parts = [x[:40], x[40:200], x[200:]]
    one, other = (
        distil(teacher, lambda: parts, exactly([5, 6, 4])), distil(teacher, lambda: parts[::-1], exactly([5, 6, 4]))
    )
    np.testing.assert_allclose(other.student.predict(x), one.student.predict(x), atol=1e-8)


def test_a_source_may_fill_one_buffer_again_and_again():
    teacher, x = teacher_and_data(2)
    buffer = np.empty_like(x[:50])

    def source():
        for i in range(0, len(x), 50):
            buffer[:] = x[i:i + 50]
            yield buffer

    one, other = distil(teacher, batches(x, 50), exactly([5, 6, 4])), distil(teacher, source, exactly([5, 6, 4]))
    assert [r.relative_error for r in one.layers] == [r.relative_error for r in other.layers]
    assert one.difference == other.difference


def test_the_same_twice_is_the_same():
    teacher, x = teacher_and_data(3, dtype=np.float32)
    one, other = (distil(teacher, batches(x, 50), exactly([4, 5, 3])) for _ in range(2))
    for a, b in zip(one.student.layers, other.student.layers, strict=True):
        assert all(p.tobytes() == q.tobytes() for p, q in zip(a.params, b.params, strict=True))


# ---- what is reported, from raw data
# ----------------------------------------------------------------------------------------------


def test_errors_and_gaps_are_those_of_raw_data():
    """Penalised solutions of the teacher's own activations; refits of the student's own against the teacher's
    pre-activations."""
    teacher, x = teacher_and_data(4, n=60)
    out = distil(teacher, batches(x, 25), exactly([4, 5, 3]))
    own, _ = teacher(x)
    kept = {k: [j for j in range(r.of) if (k, j) not in {(m.group, m.neuron) for m in out.removals}]
            for k, r in enumerate(out.layers)}
    assert [len(kept[k]) for k in range(3)] == [4, 5, 3]
    student, _ = out.student(x)
    shift = len(out.student.layers) - len(teacher.layers)                    # a select in front
    for k, consumer in enumerate(teacher.dense_layers):
        wanted = own[consumer + 1]
        if k < 2:                                                       # the choice imitates the neurons kept behind it
            chosen = wanted[:, kept[k + 1]]
            got = student[consumer + shift + 1]
        else:
            chosen, got = wanted, student[consumer + shift + 1]
        left = chosen - got                                        # the refitted layer, as far as anyone still reads it
        h = student[consumer + shift]
        centred = h - h.mean(axis=0)
        assert np.abs(centred.T @ left).max() <= 1e-2 * np.abs(centred.T @ chosen).max() + 1e-9, \
            "the residual of a least-squares fit has nothing in common with its inputs"
        np.testing.assert_allclose(left.mean(axis=0), 0, atol=1e-9)
    last = out.layers[2]
    assert last.relative_error == pytest.approx(relative(out.student, teacher, x), rel=1e-6)


def test_a_layer_alone_from_raw_data():
    """One dense layer: λ, the gap and both errors recomputed with the loop definitions."""
    teacher, x = teacher_and_data(5, widths=(6, 3), n=40)
    out = distil(teacher, batches(x, 15), exactly([3]))
    report, z = out.layers[0], teacher.predict(x)
    s = Statistics.of(x, z)                                                   # of a last layer, whose errors weigh 1
    problem = Problem(s, costs(saliencies(Elimination.of(s, 3, 1e-4))))
    cost, covariance = problem.cost * problem.sigma, (x - x.mean(axis=0)).T @ (z - z.mean(axis=0)) / len(x)
    assert report.lambda_max == pytest.approx(max(np.linalg.norm(covariance, axis=1) / cost), rel=1e-10)
    again = problem.solve(report.lam, tolerance=1e-12)
    assert report.penalised_error == pytest.approx(raw.error(x, z, again.w), rel=1e-4)
    assert report.duality_gap <= 1e-6
    kept = list(out.student.layers[0].options["kept"])
    assert report.kept == len(kept) == 3
    w = np.zeros((3, 6))
    w[:, kept] = out.student.layers[1].params[0]
    assert report.relative_error == pytest.approx(raw.error(x, z, w), rel=1e-8)
    np.testing.assert_allclose(out.student.layers[1].params[1], raw.intercept(x, z, w), rtol=1e-9, atol=1e-9)
    assert report.penalised_error > report.relative_error, "the refit undoes the shrinkage"


def test_the_refit_lowers_the_error():
    """Against the same choice with the teacher's own weights left on the support; of the first layer, which reads what
    the teacher reads, also with the penalised weights.
    """
    teacher, x = teacher_and_data(6)
    widths, rows = exactly([5, 6, 4]), batches(x, 100)
    out = distil(teacher, rows, widths)
    gone = {(m.group, m.neuron) for m in out.removals}
    unfitted = teacher
    for k, consumer in enumerate(teacher.dense_layers):
        layer = teacher.layers[consumer]
        mask = np.array([(k, j) not in gone for j in range(layer.params[0].shape[1])])
        unfitted = unfitted.replace({consumer: replace(layer, params=(layer.params[0] * mask, layer.params[1]))})
    assert relative(out.student, teacher, x) < relative(unfitted, teacher, x)
    assert out.layers[2].relative_error < 1
    assert all(r.relative_error < 1 for r in out.layers)
    assert out.layers[0].penalised_error > out.layers[0].relative_error


def test_the_refit_repairs_what_earlier_layers_lost(monkeypatch):
    """On the student's own activations, not on the teacher's: fitting to the teacher's ends with a larger error."""
    teacher, x = teacher_and_data(7, n=500)
    whole, rows = exactly([3, 5, 5]), batches(x, 250)
    repaired = relative(distil(teacher, rows, whole).student, teacher, x)
    monkeypatch.setattr(refitting, "collect_statistics", lambda student, *rest: collect_statistics(rest[0], *rest))
    assert repaired < relative(distil(teacher, rows, whole).student, teacher, x)


def test_curves_are_what_the_smallest_neurons_carry():
    """e(k): what is lost of Σ σ_j² ‖w_j‖² when the k largest terms stay, by counting; convex; its weight that sum in
    the unit of ``whole``."""
    teacher, x = teacher_and_data(8)
    groups = dependency_groups(teacher)
    for s, group in zip(collect_statistics(teacher, teacher, batches(x, 100), teacher.dense_layers), groups,
                        strict=True):
        i = group.consumer
        w = teacher.layers[i].params[0]
        curve, h = curve_of(teacher, group, {i: s}, {i: w}, 7.0), teacher(x)[0][i]
        carried = [float(((h[:, j] - h[:, j].mean()) ** 2).mean() * (w[:, j] ** 2).sum()) for j in range(w.shape[1])]
        assert curve.width == w.shape[1]
        for k in range(w.shape[1] + 1):
            assert curve.error[k] == pytest.approx(sum(sorted(carried)[:len(carried) - k]) / sum(carried), abs=1e-12)
        assert curve.weight == pytest.approx(sum(carried) / 7.0, rel=1e-12)
        assert (np.diff(curve.error, 2) >= -1e-12).all()
    dead = curve_of(teacher, group, {i: s}, {i: np.zeros_like(w)}, 7.0)
    assert dead.error[0] == 1
    assert not dead.error[1:].any()
    assert dead.weight == 0


def test_sensitivities_are_differences_of_the_logits():
    """(W14) from centred differences of the rest of the network at each pre-activation."""
    teacher, x = teacher_and_data(12, n=9)
    groups, step = teacher.dense_layers, 1e-6
    found = collect.sensitivities(teacher, x, groups)
    activations, _ = teacher(x)
    for weights, i in zip(found[:-1], groups, strict=False):
        rest, z = Network(teacher.layers[i + 1:]), activations[i + 1]
        for o in range(z.shape[1]):
            nudge = step * (np.arange(z.shape[1]) == o)
            slope = (rest(z + nudge)[0][-1] - rest(z - nudge)[0][-1]) / (2 * step)
            assert weights[o] ** 2 == pytest.approx((slope ** 2).sum(axis=1).mean(), rel=1e-6, abs=1e-9)
    assert (found[-1] == 1).all()


def test_collect_statistics_equals_the_activations_at_once():
    teacher, x = teacher_and_data(9)
    student, _ = teacher_and_data(10)
    for got, consumer in zip(collect_statistics(student, teacher, batches(x, 33), teacher.dense_layers),
                             teacher.dense_layers, strict=True):
        expected = Statistics.of(student(x)[0][consumer], teacher(x)[0][consumer + 1])
        for name in ("count", "mean_h", "mean_z", "A", "C", "t"):
            np.testing.assert_allclose(getattr(got, name), getattr(expected, name), rtol=1e-9, atol=1e-9)


# ---- redundancy
# -------------------------------------------------------------------------------------------------------------------


def doubled(network, seed=0):
    """The same function with every hidden neuron twice, its outgoing weights split unevenly."""
    rng, layers, twice = np.random.default_rng(seed), [], False
    for i, layer in enumerate(network.layers):
        if layer.op == "dense":
            w, b = layer.params
            if twice:
                part = rng.uniform(0.2, 0.8, w.shape[1])
                w = np.hstack([w * part, w * (1 - part)])
            twice = i != network.dense_layers[-1]
            layers.append(Layer("dense", (np.vstack([w, w]), np.concatenate([b, b])) if twice else (w, b)))
        else:
            layers.append(layer)
    return Network(layers)


@pytest.mark.parametrize("seed", range(6))
def test_duplicated_neurons_cost_nothing(seed):
    small, x = teacher_and_data(seed, widths=(5, 4, 4, 3), n=400, activation="tanh")
    big = doubled(small)
    np.testing.assert_allclose(big.predict(x), small.predict(x), atol=1e-12)
    out = distil(big, batches(x, 100), exactly([5, 4, 4]), ridge=1e-10)
    assert out.student.widths == [5, 4, 4, 3]
    assert relative(out.student, big, x) < 1e-6
    assert out.difference64 <= 1e-12
    assert all(r.duality_gap <= 1e-6 for r in out.layers)


@pytest.mark.parametrize("seed", range(4))
def test_neurons_that_depend_linearly_cost_nothing(seed):
    """Inputs that are combinations of three others; neurons that never switch, which are combinations of them too."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((400, 3))
    x = np.hstack([x, x @ rng.standard_normal((3, 4))])
    teacher = perceptron([7, 9, 2], rng, dtype=np.float64)
    teacher.layers[0].params[1][:] = 1e3                               # far on the linear side
    out = distil(teacher, batches(x, 100), exactly([3, 3]), ridge=1e-12)
    assert out.student.widths == [3, 3, 2]
    assert relative(out.student, teacher, x) < 1e-4


def test_everything_kept_is_the_teacher():
    teacher, x = teacher_and_data(11)
    out = distil(teacher, batches(x, 100), exactly([6, 12, 8]), ridge=1e-12)
    assert out.student.widths == teacher.widths
    assert relative(out.student, teacher, x) < 1e-6
    assert out.removals == []


# ---- awkward networks
# -----------------------------------------------------------------------------------------------------------------


def test_neurons_that_never_fire():
    teacher, x = teacher_and_data(12)
    teacher.layers[0].params[1][[2, 5]] = -1e3
    out = distil(teacher, batches(x, 100), exactly([6, 10, 8]), ridge=1e-10)
    assert out.student.widths == [6, 10, 8, 3]
    assert relative(out.student, teacher, x) < 1e-3


def test_a_layer_that_never_fires():
    """Everything behind it is constant: the student says the same."""
    teacher, x = teacher_and_data(13)
    teacher.layers[2].params[1][:] = -1e3
    out = distil(teacher, batches(x, 100), exactly([3, 3, 3]))
    np.testing.assert_allclose(out.student.predict(x), teacher.predict(x), atol=1e-9)


def test_inputs_that_never_change():
    teacher, x = teacher_and_data(14)
    x[:, [1, 4]] = 0.7
    out = distil(teacher, batches(x, 100), exactly([4, 12, 8]), ridge=1e-10)
    assert sorted(out.student.layers[0].options["kept"]) == [0, 2, 3, 5]
    assert relative(out.student, teacher, x) < 1e-3


def test_the_removal_difference_counts_the_cuts_in_the_teacher_too():
    """The teacher holds a constant neuron whose value is a third: what it adds is rounded once more when it goes into
    the biases."""
    teacher, x = teacher_and_data(3)
    single = teacher.astype(np.float32)
    w, b = single.layers[0].params
    w[0], b[0] = 0, 1 / 3
    x = x.astype(np.float32)
    expected = np.abs(remove(single)[0].predict(x).astype(np.float64) - single.predict(x)).max()
    assert expected > 0
    out = distil(single, lambda: [x], exactly(single.widths[:-1]))
    assert out.difference >= expected


def test_neurons_that_matter_equally_and_only_one_may_stay():
    """Not one can be chosen by the penalty; the layer must keep going."""
    x = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    eye, other = (Layer("dense", (np.eye(2), np.zeros(2))) for _ in range(2))
    out = distil(Network([eye, Layer("tanh"), other]), lambda: [x], exactly([1, 1]))
    assert max(out.student.widths[:-1]) <= 1
    assert np.isfinite(out.student.predict(x)).all()


@pytest.mark.parametrize("kept", [1, 2])
def test_fewer_examples_than_neurons(kept):
    teacher, x = teacher_and_data(15, widths=(20, 30, 25, 3), n=12)
    out = distil(teacher, batches(x, 5), exactly([kept, kept, kept]))
    assert all(r.duality_gap <= 1e-6 for r in out.layers)
    assert out.student.widths == [kept, kept, kept, 3]


def test_other_layers_between():
    """Maxout, gates, batch norm and dropout: what is kept behind a layer is what its choice imitates."""
    rng = np.random.default_rng(16)
    layers = [dense_layer(5, 12, rng, np.float64), Layer("maxout", options={"pieces": 2}),
              Layer("gate", (rng.uniform(0.5, 2, 6),)),
              Layer("dropout", options={"rate": 0.3}), dense_layer(6, 8, rng, np.float64),
              Layer("batch_norm", (rng.uniform(0.5, 2, 8), rng.standard_normal(8)), {},
                    (rng.standard_normal(8), rng.uniform(0.5, 2, 8))),
              Layer("tanh"), dense_layer(8, 3, rng, np.float64)]
    teacher, x = Network(layers), rng.standard_normal((300, 5))
    same = distil(teacher, batches(x, 100), exactly([5, 6, 8]), ridge=1e-12)
    assert relative(same.student, teacher, x) < 1e-6
    out = distil(teacher, batches(x, 100), exactly([5, 4, 5]))
    assert [r.kept for r in out.layers] == [5, 4, 5]
    assert [r.of for r in out.layers] == [5, 6, 8]
    assert out.student.layers[0].params[0].shape == (8, 5)
    assert relative(out.student, teacher, x) < 0.6


def test_behind_maxout_the_choice_imitates_all_pieces_of_the_neurons_kept(monkeypatch):
    """Of neuron j the outputs j·P … j·P + P − 1 of the dense layer, not output j."""
    rng = np.random.default_rng(17)
    layers = [dense_layer(5, 12, rng, np.float64), Layer("maxout", options={"pieces": 2}),
              dense_layer(6, 3, rng, np.float64)]
    seen = []

    def watched(self, kept, targets=Statistics.targets):
        seen.append(np.asarray(kept).tolist())
        return targets(self, kept)

    monkeypatch.setattr(Statistics, "targets", watched)
    out = distil(Network(layers), batches(rng.standard_normal((200, 5)), 100), exactly([5, 3]))
    gone = {m.neuron for m in out.removals if m.group == 1}
    kept = [j for j in range(6) if j not in gone]
    pieces = [2 * j + p for j in kept for p in range(2)]
    assert seen[:2] == [[0, 1, 2], pieces]                # the last layer imitates all its outputs
    assert all(targets in (pieces, [0, 1, 2]) for targets in seen), "nor are errors those of other outputs"


def test_a_network_that_reads_selected_inputs():
    """A student is compressed again: the select in front stays in the numbering of the pictures."""
    teacher, x = teacher_and_data(18)
    first = distil(teacher, batches(x, 100), exactly([5, 8, 6])).student
    second = distil(first, batches(x, 100), exactly([3, 5, 4]))
    assert set(second.student.layers[0].options["kept"]) < set(first.layers[0].options["kept"])
    assert second.student.widths == [3, 5, 4, 3]
    assert difference(second.student, second.student, x) == 0


# ---- widths and progress
# -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["macs", "neurons", "parameters", "bytes"])
@pytest.mark.parametrize("keep_inputs", [False, True])
def test_within_a_budget(what, keep_inputs):
    teacher, x = teacher_and_data(19)

    def size(widths):
        return float(counted([*widths, 3], what))

    for fraction in (0.7, 0.4):
        budget = fraction * size([6, 12, 8])
        out = distil(teacher, batches(x, 100), within(size, budget, keep_inputs=keep_inputs))
        assert size(out.student.widths[:-1]) <= budget
        assert out.student.widths[0] == 6 or not keep_inputs
        assert size(out.student.widths[:-1]) > 0.5 * budget


def test_constant_inputs_are_kept_where_all_inputs_must_be():
    teacher, x = teacher_and_data(20)
    x[:, 2] = 0
    out = distil(teacher, batches(x, 100), within(lambda w: float(sum(w)), 16, keep_inputs=True))
    assert out.student.widths[0] == 6
    assert out.student.layers[0].op == "dense"


def test_progress_is_told_of_every_step():
    teacher, x = teacher_and_data(21)
    words = []
    distil(teacher, batches(x, 100), exactly([4, 4, 4]), progress=words.append)
    assert len(words) == 2 * 3 + 1
    assert words[0] == "statistics"
    assert len(set(words)) == len(words)


def test_widths_are_chosen_from_the_curves():
    teacher, x = teacher_and_data(22)
    seen = []

    def widths(curves):
        seen.extend(curves)
        return [3, 4, 5]

    out = distil(teacher, batches(x, 100), widths)
    assert [c.width for c in seen] == [6, 12, 8]
    assert all(isinstance(c, Curve) for c in seen)
    assert [r.curve for r in out.layers] == seen
    layers = teacher.dense_layers                        # (W17) with (W14), from the activations
    for i, s, curve in zip(layers, collect.sensitivities(teacher, x, layers), seen, strict=True):
        carried = teacher(x)[0][i].var(axis=0) * ((s[:, None] * teacher.layers[i].params[0]) ** 2).sum(axis=0)
        lost = 1 - np.cumsum(np.sort(carried)[::-1]) / carried.sum()
        np.testing.assert_allclose(curve.error[1:], lost, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("widths", [[6, 12], [6, 12, 8, 3], [0, 12, 8], [6, -1, 8], []], ids=str)
def test_widths_that_do_not_fit(widths):
    teacher, x = teacher_and_data(23, n=40)
    with pytest.raises(InputError, match="distil: widths are"):
        distil(teacher, batches(x, 20), exactly(widths))


def test_widths_above_what_there_is_keep_all():
    teacher, x = teacher_and_data(23, n=40)
    assert all(layer.kept == layer.of for layer in distil(teacher, batches(x, 20), exactly([7, 99, 8])).layers)


def test_no_data():
    teacher, _ = teacher_and_data(24)
    with pytest.raises(InputError, match="no examples"):
        distil(teacher, lambda: [], exactly([1, 1, 1]))


def test_a_batch_without_examples_is_passed_over():
    teacher, x = teacher_and_data(24)
    one, other = (distil(teacher, lambda parts=parts: parts, exactly([5, 6, 4]))
                  for parts in ([x[:40], x[:0], x[40:]], [x[:40], x[40:]]))
    for a, b in zip(one.student.layers, other.student.layers, strict=True):
        assert all(np.array_equal(p, q) for p, q in zip(a.params, b.params, strict=True))


def test_a_network_that_is_no_perceptron():
    with pytest.raises(InputError, match="surgery"):
        distil(Network([Layer("relu")]), lambda: [np.ones((2, 2))], exactly([1]))


def test_data_with_nan():
    teacher, x = teacher_and_data(25)
    x[7, 1] = np.nan
    with pytest.raises(InputError, match="nan"):
        distil(teacher, batches(x, 100), exactly([1, 1, 1]))


def test_removals_are_counted_in_the_given_network():
    """Also where some neurons could go before anything was chosen: no number comes twice, and what is left is what the
    student has."""
    teacher, x = teacher_and_data(4)
    teacher.layers[0].params[0][2] = 0                                    # neuron 2 is constant, it goes first
    teacher.layers[2].params[0][:, 5] = 0                                 # nobody reads neuron 5
    out = distil(teacher, batches(x, 100), exactly([6, 6, 5]))
    gone = {(r.group, r.neuron) for r in out.removals}
    assert len(gone) == len(out.removals)
    assert {(1, 2), (1, 5)} <= gone
    for group, width in enumerate([6, 12, 8]):
        left = np.setdiff1d(np.arange(width), [n for k, n in gone if k == group])
        assert len(left) == out.student.widths[group]
        if group == 1:                             # its weights were made from those of the very neurons that stayed
            kept = {tuple(row) for row in teacher.layers[0].params[0][left].round(12)}
            fresh = distil(teacher, batches(x, 100), exactly([6, 6, 5])).student
            assert len(kept) == fresh.widths[1]


def test_the_choice_weighs_outputs_by_what_they_do_to_the_logits():
    """(W14) in the choice: a neuron ten times as large that the last layer hardly reads is not worth an input."""
    rng = np.random.default_rng(0)
    w = np.array([[1.0, 0.0], [0.0, 10.0], [1.0, 0.05]])
    network = Network([Layer("dense", (w, np.zeros(3))), Layer("tanh"),
                       Layer("dense", (np.array([[1.0, 1e-3, 1.0], [-1.0, 1e-3, 1.0]]), np.zeros(2)))])
    x = rng.standard_normal((400, 2))
    out = distil(network, lambda: [x], exactly([1, 3]))
    assert [(r.group, r.neuron) for r in out.removals if r.group == 0] == [(0, 1)]


def test_a_layer_that_cannot_have_as_many_says_why():
    """The progress tells why fewer neurons stay than were asked for: two inputs of three are constant."""
    rng, words = np.random.default_rng(1), []
    network = perceptron([3, 4, 2], rng, dtype=np.float64)
    x = np.column_stack([rng.standard_normal((50, 2)), np.full(50, 0.1)])
    flat = np.column_stack([x[:, 0], np.full((50, 2), 0.1)])
    tied = distil(network, lambda: [flat], exactly([2, 3]), progress=words.append)
    assert tied.layers[0].kept == 1
    assert any(word.startswith("choice in layer 0 (1 of 2: ") for word in words)


def test_as_many_examples_as_are_documented_weigh_the_outputs(monkeypatch):
    """The first 2,000 of a perceptron, the first 100 where there are convolutions (docs/book/10-layer-by-layer.md)."""
    seen = []
    monkeypatch.setattr(layerwise, "sensitivities", lambda network, x, layers: seen.append(x) or [
        np.ones(len(network.layers[i].params[0])) for i in layers])
    teacher, x = teacher_and_data(31, n=2100)
    distil(teacher, batches(x, 500), exactly([3, 4, 5]))
    maps = lenet5(np.random.default_rng(0), shape=(16, 16, 1), classes=3, channels=(2, 3), hidden=5).astype(np.float64)
    y = np.random.default_rng(1).standard_normal((120, 256))
    distil(maps, batches(y, 50), exactly([1, 2, 3, 4]), inputs=False)
    assert np.array_equal(seen[0], x[:2000])
    assert np.array_equal(seen[1], y[:100])
