"""Errors between layers: measured ones are those of the definition, bounds hold, are attained, and fail when a factor
is dropped."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from npkd.core.validation import InputError
from npkd.nn.architectures import lenet5
from npkd.nn.losses import squared_error
from npkd.nn.network import Layer, Network, dense_layer
from npkd.nn.optimisers import SGD, SGDState
from npkd.nn.training import TrainingSettings, train
from npkd.sparsity import error_bounds as module
from npkd.sparsity.error_bounds import ErrorBounds, propagation, slopes, spectral_norm
from npkd.sparsity.group_lasso import Problem
from npkd.sparsity.group_lasso_steps import sweep
from npkd.sparsity.layerwise import distil, exactly
from npkd.sparsity.penalties import NeuronGroups
from npkd.sparsity.statistics import Statistics, refit
from reference.definitions.sparsity import error_bounds as defined
from reference.definitions.sparsity import group_lasso as group
from reference.definitions.sparsity import statistics as raw
from tests.tiny import ista

QUICK = settings(deadline=None, max_examples=40)
BETWEEN = ["relu", "tanh", "sigmoid", "maxout", "gate", "batch_norm", "dropout"]


def between(op, width, rng):
    """A layer that treats each of ``width`` neurons by itself (maxout: two of them together), and how many come out."""
    if op == "gate":
        return Layer("gate", (rng.standard_normal(width) * (rng.random(width) < 0.8),)), width
    if op == "batch_norm":
        running = rng.standard_normal(width), rng.uniform(0.05, 2, width)
        return Layer("batch_norm", (rng.standard_normal(width), rng.standard_normal(width)), running=running), width
    if op == "maxout":
        return Layer("maxout", options={"pieces": 2}), width // 2
    return Layer(op, options={"rate": 0.4} if op == "dropout" else {}), width


def network(rng, ops, tail=()):
    """Dense layers with the lists of ops between them, some neurons unread, biases not zero."""
    layers, width = [], 3
    for between_these in [*ops, None]:
        made = 2 if between_these is None else 4
        layer = dense_layer(width, made, rng, np.float64)
        layer.params[1][:] = rng.standard_normal(made)
        layer.params[0][:, rng.random(width) < 0.15] = 0
        layers.append(layer)
        width = made
        for op in between_these if between_these is not None else tail:
            extra, width = between(op, width, rng)
            layers.append(extra)
    return Network(layers)


def moved(net, rng, size):
    """The same network with all parameters moved; running moments as well, but variances stay positive."""
    return Network([replace(layer,
                            params=tuple(p + size * rng.standard_normal(p.shape) * (p != 0) for p in layer.params),
                            running=tuple(r * rng.uniform(1, 1 + size, r.shape) for r in layer.running))
                            for layer in net.layers])


def rms(a, b):
    return defined.root_mean_square(a, b)


SOME_OPS = st.lists(st.lists(st.sampled_from(BETWEEN), max_size=2), min_size=1, max_size=3)


# ---- the bound between layers
# -----------------------------------------------------------------------------------------------------


@QUICK
@example(seed=1, ops=[["batch_norm", "relu"]], tail=(), size=3)
@given(seed=st.integers(0, 10 ** 6), ops=SOME_OPS, tail=st.sampled_from([(), ("sigmoid",), ("gate",)]),
       size=st.sampled_from([0, 0.01, 0.3, 3]))
def test_the_error_of_the_outputs_is_never_above_a_bound(seed, ops, tail, size):
    """Whatever is measured and whatever is bounded; and measuring one more stage never makes it worse."""
    rng = np.random.default_rng(seed)
    teacher = network(rng, ops, tail)
    student, x = moved(teacher, rng, size), rng.standard_normal((5, 3))
    found = propagation(student, teacher, x)
    bounds = [found.bound(k) for k in range(len(found.factor) + 1)]
    error = rms(student.predict(x), teacher.predict(x))
    slack = 1e-12 * (1 + bounds[0])
    assert bounds[-1] == pytest.approx(error, rel=1e-10, abs=1e-13), "the last measured error is that of the outputs"
    assert (np.diff(bounds) <= slack).all()
    assert (found.added <= found.measured + np.append(0, found.factor[1:] * found.measured[:-1]) + slack).all()
    for k, value in enumerate(bounds):
        assert value == pytest.approx(defined.bound(found.measured, found.added, found.factor, k), rel=1e-12, abs=1e-15)
        assert found.terms(k).sum() == value


@QUICK
@example(seed=1, ops=[["batch_norm", "relu"]], tail=())
@given(seed=st.integers(0, 10 ** 6), ops=SOME_OPS, tail=st.sampled_from([(), ("tanh",)]))
def test_what_is_measured_is_the_definition(seed, ops, tail):
    """Stage by stage from the activations of whole networks; a student that leaves neurons unread is not blamed for
    them."""
    rng = np.random.default_rng(seed)
    teacher = network(rng, ops, tail)
    student, x = moved(teacher, rng, 0.5), rng.standard_normal((4, 3))
    found = propagation(student, teacher, x)
    ends = [i + 1 for i in teacher.dense_layers] + ([len(teacher.layers)] if tail else [])
    own, given_by = student(x)[0], teacher(x)[0]
    for k, end in enumerate(ends):
        start = ends[k - 1] if k else 0
        alone = Network(student.layers[start:end])(given_by[start])[0][-1]
        heard = np.ones(given_by[end].shape[1], bool)
        if k + 1 < len(ends):                          # an output is heard if moving it moves what the next stage gives
            rest = Network(student.layers[end:ends[k + 1]])
            probes = rng.standard_normal((40, len(heard)))
            heard = np.array([any(np.abs(rest(probes)[0][-1] - rest(probes + a * np.eye(len(heard))[j])[0][-1]).max()
                                  > 1e-9
                                  for a in (-1e5, -30, -3, 3, 30, 1e5)) for j in range(len(heard))])
        assert found.measured[k] == pytest.approx(rms(own[end][:, heard], given_by[end][:, heard]), rel=1e-9, abs=1e-13)
        assert found.added[k] == pytest.approx(rms(alone[:, heard], given_by[end][:, heard]), rel=1e-9, abs=1e-13)


def aligned():
    """A linear student whose every stage errs along the direction that the stages behind it stretch most: nothing is
    lost to the norms."""
    rng = np.random.default_rng(0)
    directions = [v / np.linalg.norm(v) for v in rng.standard_normal((4, 5))]
    dense = [Layer("dense", (s * np.outer(v, u) + 0.5 * s * rest(u, v, rng), rng.standard_normal(5)))
             for s, u, v in zip((2.0, 3.0, 0.7), directions[:-1], directions[1:], strict=True)]
    gates = [Layer("gate", (np.full(5, -1.5),)), Layer("gate", (np.full(5, 0.5),))]
    student = Network([dense[0], gates[0], dense[1], gates[1], dense[2]])
    signs = (1, -1, -1)                                       # gate −1.5 turns the error of the first stage round
    teacher = student.replace({i: replace(student.layers[i], params=(student.layers[i].params[0],
                                                                     student.layers[i].params[1] + sign * v))
                               for i, sign, v in zip((0, 2, 4), signs, directions[1:], strict=True)})
    return student, teacher, rng.standard_normal((6, 5))


def rest(u, v, rng):
    """A matrix of norm 1 that maps u to 0 and into what is orthogonal to v."""
    m = (np.eye(5) - np.outer(v, v)) @ rng.standard_normal((5, 5)) @ (np.eye(5) - np.outer(u, u))
    return m / np.linalg.norm(m, 2)


def test_the_bound_is_attained():
    student, teacher, x = aligned()
    found = propagation(student, teacher, x)
    np.testing.assert_allclose(found.factor, [2.0, 1.5 * 3.0, 0.5 * 0.7], rtol=1e-12)
    np.testing.assert_allclose(found.added, 1, rtol=1e-12)
    np.testing.assert_allclose(found.terms(), [4.5 * 0.35, 0.35, 1.0], rtol=1e-12)
    error = rms(student.predict(x), teacher.predict(x))
    for k in range(4):
        assert found.bound(k) == pytest.approx(error, rel=1e-12)


@pytest.mark.parametrize("spoiled", ["a dense factor", "a gate", "a term", "the reach"])
def test_a_bound_with_something_left_out_fails(spoiled, monkeypatch):
    student, teacher, x = aligned()
    error = rms(student.predict(x), teacher.predict(x))
    if spoiled == "a dense factor":
        monkeypatch.setattr(module, "spectral_norm", lambda w: min(spectral_norm(w), 1.0))
    if spoiled == "a gate":
        monkeypatch.setattr(module, "slopes", lambda layer: np.minimum(slopes(layer), 1.0))
    found = propagation(student, teacher, x)
    if spoiled == "a term":
        found = replace(found, added=found.added * [1, 0, 1])
    if spoiled == "the reach":
        monkeypatch.setattr(ErrorBounds, "reach", np.ones(3))
        found = replace(found, added=found.added * [1, 0.1, 1])
    assert found.bound() < error * (1 - 1e-3)


def test_layers_behind_that_are_left_as_they_are():
    """Only stage 1 has changed: the bound is its measured error times the norms behind it, one term and no sum."""
    rng = np.random.default_rng(3)
    a, b, c, d = (dense_layer(4, 4, rng, np.float64) for _ in range(4))
    gate = rng.standard_normal(4)
    teacher = Network([a, Layer("relu"), b, Layer("tanh"), Layer("gate", (gate,)), c, Layer("sigmoid"), d])
    student = teacher.replace({0: moved(teacher, rng, 0.2).layers[0]})
    x = rng.standard_normal((50, 4))
    found = propagation(student, teacher, x)
    np.testing.assert_array_equal(found.added[1:], 0)
    assert found.added[0] == found.measured[0] == pytest.approx(rms(a.forward(x, None)[0],
                                                                    student.layers[0].forward(x, None)[0]))
    product = (
        np.linalg.norm(b.params[0], 2) * np.linalg.norm(c.params[0] * np.abs(gate), 2)
        * np.linalg.norm(d.params[0] / 4, 2)
    )
    assert found.terms(1) == pytest.approx([found.measured[0] * product, 0, 0, 0], rel=1e-10)
    assert found.bound(0) == pytest.approx(found.bound(1), rel=1e-12)
    assert rms(student.predict(x), teacher.predict(x)) <= found.bound()


# ---- factors
# ----------------------------------------------------------------------------------------------------------------------
# -
# -


@pytest.mark.parametrize("op", BETWEEN)
def test_lipschitz_constants_are_never_exceeded_and_nearly_reached(op):
    """Over pairs near and far; the largest ratio found lies just below the constant, which is therefore not too large
    either."""
    rng = np.random.default_rng(1)
    layer, _ = between(op, 4, rng)
    constant, best = slopes(layer).max(), 0.0
    for scale in (1e-3, 1.0, 10.0):
        a = scale * rng.standard_normal((400, 4))
        for b in [a + 10.0 ** k * rng.standard_normal((400, 4)) for k in (-4, 0, 1)] + [a + 1e-4 * e
                                                                                        for e in np.eye(4)]:
            ratio = (
                np.linalg.norm(layer.forward(a, None)[0] - layer.forward(b, None)[0], axis=1)
                / np.linalg.norm(a - b, axis=1)
            )
            best = max(best, float(ratio.max()))
    assert best <= constant * (1 + 1e-9)
    assert best >= 0.999 * constant


@QUICK
@given(seed=st.integers(0, 10 ** 6), rows=st.integers(1, 5), columns=st.integers(1, 5))
def test_of_a_dense_layer_it_is_the_largest_stretch(seed, rows, columns):
    w = np.random.default_rng(seed).standard_normal((rows, columns))
    assert spectral_norm(w) == pytest.approx(defined.spectral_norm(w), rel=1e-6)


@pytest.mark.parametrize("layer", [
    Layer("conv2d", (np.full((1, 1, 1, 1), 5.0), np.zeros(1))), Layer("max_pool", options={"size": 2, "stride": 1}),
    Layer("add", options={"back": 1}),
])
def test_what_may_stretch_more_than_its_parts_has_no_slope(layer):
    """A kernel of 5 stretches by 5, overlapping windows repeat a difference, x + relu(x) has slope 2."""
    with pytest.raises(InputError, match=f"the network has {layer.op}; "):
        slopes(layer)


def test_networks_without_a_bound():
    maps = lenet5(np.random.default_rng(0), channels=(2, 2), hidden=5)
    with pytest.raises(InputError, match="the network has conv2d"):
        propagation(maps, maps, np.ones((2, 784), np.float32))
    one, other = (Layer("dense", (np.eye(2), np.ones(2))) for _ in range(2))
    residual = Network([one, Layer("relu"), Layer("add", options={"back": 1}), other])
    with pytest.raises(InputError,
                       match="the network has add; behind its first dense layer there may be relu, tanh, "):
        propagation(residual, residual, np.ones((2, 2)))


def test_what_stands_in_front_of_the_first_dense_layer_needs_no_bound():
    """It is the same in student and teacher, and no error passes through it."""
    rng = np.random.default_rng(0)
    front = [Layer("unflatten", options={"shape": (4, 4, 1)}), Layer("average_pool", options={"size": 2, "stride": 1}),
             Layer("flatten")]
    teacher = Network([*front, dense_layer(9, 5, rng, np.float64), Layer("relu"), dense_layer(5, 3, rng, np.float64)])
    student, x = moved(teacher, rng, 0.3), rng.standard_normal((20, 16))
    assert propagation(student, teacher, x).bound() >= rms(student.predict(x), teacher.predict(x)) > 0


def test_of_a_dense_layer_without_weights_it_is_zero():
    assert spectral_norm(np.zeros((3, 2))) == 0.0
    assert spectral_norm(np.zeros((0, 2))) == 0.0


def test_behind_maxout_the_larger_slope_of_the_pieces_counts():
    """gate, maxout, dense: c_j = max over the pieces, attained by moving the piece that wins; a shut input has no
    say."""
    w = np.array([[3.0, 0.0], [0.0, 1.0]])
    layers = [Layer("gate", (np.array([0.5, -2.0, 1.0, 0.0]),)), Layer("maxout", options={"pieces": 2}),
              Layer("dense", (w, np.zeros(2)))]
    matrix, heard = module.reading(layers, 4)
    np.testing.assert_allclose(matrix, [[6, 0], [0, 1]])
    assert heard.tolist() == [True, True, True, False]
    assert module.reading([*layers[:-1], Layer("dense", (w * [0, 1], np.zeros(2)))], 4)[1].tolist() == [False, False,
                                                                                                        True, False]


# ---- with layer-wise distillation
# -----------------------------------------------------------------------------------------------------


def distilled(seed=0, n=200, dtype=np.float64):
    rng = np.random.default_rng(seed)
    widths, layers = [5, 9, 7, 3], []
    for i, (a, b) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        layers.append(dense_layer(a, b, rng, dtype))
        layers[-1].params[1][:] = 0.3 * rng.standard_normal(b)
        layers += [Layer("relu")] if i < 2 else []
    teacher, x = Network(layers), rng.standard_normal((n, 5)).astype(dtype)
    out = distil(teacher, lambda: [x[:n // 3], x[n // 3:]], exactly([4, 6, 5]))
    gone = [{r.neuron for r in out.removals if r.group == k} for k in range(3)]
    inputs, *kept = [np.array([j for j in range(width) if j not in lost])
                     for width, lost in zip((5, 9, 7), gone, strict=True)]
    return teacher, out, x, inputs, kept


@pytest.mark.parametrize("seed", range(3))
def test_the_last_layers_reported_error_is_that_of_the_outputs(seed):
    """The refit reads the student's own activations and aims at the teacher's: measured, not bounded, relative to the
    outputs' variance."""
    teacher, out, x, _, kept = distilled(seed)
    found = propagation(out.student, teacher, x, kept)
    z = teacher.predict(x)
    spread = rms(z, np.broadcast_to(z.mean(axis=0), z.shape))
    assert found.measured[-1] == pytest.approx(np.sqrt(out.layers[-1].relative_error) * spread, rel=1e-8)
    assert found.bound(3) == found.measured[-1] <= found.bound(2) <= found.bound(1) <= found.bound(0)
    assert found.bound(0) > 1.01 * found.measured[-1], "the bound is not the measurement"


def test_one_pass_over_the_teacher_knows_the_added_errors():
    """ε_l² = r²(Ŵ_l) + ‖b − b̂_l‖², b the best bias: from the statistics of the teacher's activations, without the
    data."""
    teacher, out, x, inputs, kept = distilled(4)
    found, own = propagation(out.student, teacher, x, kept), teacher(x)[0]
    reads = [inputs, *kept]
    for k, (consumer, new) in enumerate(zip(teacher.dense_layers, out.student.dense_layers, strict=True)):
        w, b = out.student.layers[new].params
        s = Statistics.of(own[consumer], own[consumer + 1]).inputs(reads[k])
        s = s.targets(kept[k]) if k < 2 else s
        squared = s.error(w) * s.t.sum() / s.count + ((s.intercept(w) - b) ** 2).sum()
        assert found.added[k] ** 2 == pytest.approx(squared, rel=1e-9)


@QUICK
@given(seed=st.integers(0, 10 ** 6), ridge=st.sampled_from([1e-12, 1e-4, 0.1]))
def test_a_refit_is_no_worse_than_other_weights_would_be(seed, ridge):
    """E_l² ≤ (ε̃ + ‖W̃‖₂ E_{l−1})² + ρ'‖W̃‖² for any weights on the same neurons, here those of the penalised
    problem."""
    rng = np.random.default_rng(seed)
    h = np.maximum(rng.standard_normal((40, 6)), 0)
    z, own = (
        h @ rng.standard_normal((6, 3)) + 0.1 * rng.standard_normal((40, 3)), h + 0.2 * rng.standard_normal((40, 6))
    )
    problem = Problem(Statistics.of(h, z))
    solution, s = problem.solve(0.2 * problem.lambda_max), Statistics.of(own, z)
    w, b = refit(s, solution.kept, ridge)
    error = rms(z, own @ w.T + b)
    alone = rms(z, h @ solution.w.T + solution.b)
    passed = spectral_norm(solution.w) * rms(h[:, solution.kept], own[:, solution.kept])
    rho = ridge * np.diag(s.A)[solution.kept].mean() / s.count
    assert error ** 2 <= (alone + passed) ** 2 + rho * (solution.w ** 2).sum() + 1e-12


# ---- refusals
# ----------------------------------------------------------------------------------------------------------------------
# -
# -
# -


def test_single_precision_is_computed_in_double():
    teacher, out, x, _, kept = distilled(1, dtype=np.float32)
    found = propagation(out.student, teacher, x, kept)
    assert found.measured.dtype == found.added.dtype == found.factor.dtype == np.float64
    assert found.measured[-1] == pytest.approx(rms(out.student.astype(np.float64).predict(x.astype(np.float64)),
                                                   teacher.astype(np.float64).predict(x.astype(np.float64))), rel=1e-12)


def test_inputs_that_are_selected_or_flattened():
    rng = np.random.default_rng(2)
    inner = network(rng, [["relu"]])
    x = rng.standard_normal((8, 2, 3))
    student = Network([Layer("flatten"), Layer("select", options={"kept": [4, 0, 1]}), *inner.layers])
    wide = np.zeros((4, 6))
    wide[:, [4, 0, 1]] = inner.layers[0].params[0]
    teacher = Network([Layer("flatten"), replace(inner.layers[0], params=(wide, inner.layers[0].params[1] + 0.1)),
                       *inner.layers[1:]])
    found = propagation(student, teacher, x)
    assert rms(student.predict(x), teacher.predict(x)) == pytest.approx(found.measured[-1], rel=1e-12)
    assert found.measured[-1] <= found.bound()
    assert found.added[1] <= 1e-13


def test_an_input_that_a_gate_shuts_is_not_heard_through_maxout():
    """Neuron 1 is shut in front of a maxout: a student that has another one there errs by nothing."""
    gate, maxout = Layer("gate", (np.array([1.0, 0.0]),)), Layer("maxout", options={"pieces": 2})
    first, last = Layer("dense", (np.eye(2), np.zeros(2))), Layer("dense", (np.ones((1, 1)), np.zeros(1)))
    teacher = Network([first, gate, maxout, last])
    student = teacher.replace({0: Layer("dense", (np.array([[1.0, 0.0], [5.0, 7.0]]), np.array([0.0, 3.0])))})
    found = propagation(student, teacher, np.random.default_rng(0).standard_normal((6, 2)))
    assert found.measured.tolist() == found.added.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("changed", "words"), [
    ({"x": np.zeros((0, 3))}, r"x has no examples; it needs at least one"),
    ({"x": np.full((2, 3), np.nan)}, r"x holds nan at \(0, 0\)"),
    ({"x": np.ones((2, 3), int)}, r"x is int64; it must be an array of floating-point"),
    ({"ops": [["relu"], ["relu"]]}, r"student has 3 stages, teacher 2; they must agree"),
    ({"kept": [np.arange(3)]},
     r"stage 0 of the student gives 4 values, held against 3 of the teacher's 4; kept must name"),
    ({"kept": [np.array([0, 1, 2, 4])]},
     r"stage 0 of the student gives 4 values, held against 4 of the teacher's 4; kept must name"),
    ({"kept": [np.arange(4)] * 2}, r"kept has 2 entries; it needs at most 1, one a layer"),
    ({"ops": [["flatten"]]}, r"layer 1 is flatten; between layers of weights removal knows"),
    ({"running": ()}, r"a batch_norm has no running moments yet"),
])
def test_refusals(changed, words):
    rng = np.random.default_rng(0)
    teacher = network(rng, [["batch_norm"]])
    student = network(rng, changed.get("ops", [["batch_norm"]]))
    if "running" in changed:
        student = student.replace({1: replace(student.layers[1], running=())})
    with pytest.raises(InputError, match=words):
        propagation(student, teacher, changed.get("x", np.ones((2, 3))), changed.get("kept"))


@pytest.mark.parametrize("cut", [-1, 3])
def test_a_cut_outside_of_the_network(cut):
    with pytest.raises(InputError, match=rf"cut is {cut}; it must lie in 0 … 2"):
        ErrorBounds(np.ones(2), np.ones(2), np.ones(2)).bound(cut)


# ---- what chapter 9 proves of the solver
# ---------------------------------------------------------------------------------------------------


def layer_data(seed, n=20, d=6, m=2):
    """Correlated inputs, some of which explain the targets, and costs."""
    rng = np.random.default_rng(seed)
    h = rng.standard_normal((n, d)) @ (np.eye(d) + 0.4 * rng.standard_normal((d, d)))
    w = rng.standard_normal((m, d)) * (rng.random(d) < 0.6)
    return h, h @ w.T + 0.3 * rng.standard_normal((n, m)), rng.uniform(0.5, 2, d)


def correlation(h, z, w):
    """‖G_j‖ for each input."""
    return np.array(group.correlations(h, raw.residual(h, z, w)))


@QUICK
@given(seed=st.integers(0, 10 ** 6), k=st.sampled_from([1, 4, 35]), m=st.integers(1, 3))
def test_a_sweep_lowers_f_by_at_least_half_of_its_way_squared(seed, k, m):
    rng = np.random.default_rng(seed)
    h = rng.standard_normal((k + 3, k))
    h /= np.linalg.norm(h, axis=0)
    A, C = h.T @ h, h.T @ rng.standard_normal((k + 3, m))
    kappa, v = np.linalg.norm(C, axis=1) * rng.uniform(0.02, 1.2, k), rng.standard_normal((k, m))
    before, gradient = v.copy(), C - A @ v
    sweep(A, kappa, v, gradient)
    assert group.quadratic(A, C, kappa, before) - group.quadratic(A, C, kappa,
                                                                  v) >= 0.5 * ((v - before) ** 2).sum() - 1e-10


@pytest.mark.parametrize("fraction", [0.5, 0.1, 0.01])
@pytest.mark.parametrize("seed", range(4))
def test_the_objective_never_rises_and_the_gap_falls_below_any_tolerance(seed, fraction):
    """The state after so many pairs of steps, again and again from zero, evaluated on the raw data."""
    h, z, cost = layer_data(seed)
    problem = Problem(Statistics.of(h, z), cost)
    lam = fraction * problem.lambda_max
    states = [problem.solve(lam, tolerance=1e-13, iterations=k) for k in range(40)]
    values = [group.objective(h, z, s.w, lam, cost) for s in states]
    assert (np.diff(values) <= 1e-13 * values[0]).all()
    assert values[-1] < values[0]
    assert states[0].gap > 1e-3
    for tolerance in (1e-3, 1e-6, 1e-12):
        assert min(s.gap for s in states) <= tolerance
    assert values[-1] <= group.objective(h, z, ista(h, z, lam, cost), lam, cost) + 1e-12 * values[0]


def test_zeros_become_exact_after_finitely_many_steps_and_stay():
    """Where ‖G_j‖ < λc_j strictly at the optimum, the weights are 0.0 from some step on, long before the gap is at its
    floor."""
    told_apart = 0
    for seed in range(25):
        h, z, cost = layer_data(seed)
        problem = Problem(Statistics.of(h, z), cost)
        lam = 0.15 * problem.lambda_max
        exact = ista(h, z, lam, cost)
        strict = correlation(h, z, exact) < lam * cost * (1 - 1e-3)
        zero = np.array([not problem.solve(lam, tolerance=1e-14, iterations=k).w.any(axis=0)[strict].any()
                         for k in range(1, 25)])
        first = int(np.argmin(zero[::-1])) if not zero.all() else len(zero)
        assert first > 12, f"seed {seed}: not all zero, and to the end, from the middle on"
        told_apart += int(strict.sum())
    assert told_apart > 25


def test_the_certificate_proves_a_zero_as_soon_as_the_gap_is_small_enough():
    """gap < (λc_j − ‖G*_j‖)²/(8 A_jj) suffices for (W6): at points on the way of another method, and not merely at the
    end."""
    claims = others = 0
    for seed in range(40):
        h, z, cost = layer_data(seed)
        problem = Problem(Statistics.of(h, z), cost)
        lam, variance = 0.3 * problem.lambda_max, h.var(axis=0)
        slack = lam * cost - correlation(h, z, ista(h, z, lam, cost))
        for steps in (0, 2, 5, 20, 100):
            v = (ista(h, z, lam, cost, steps) * problem.sigma).T
            relative, proved = problem.certificate(v, problem.C - problem.A @ v, lam)
            gap = relative * problem.t / 2
            must = (slack > 1e-9) & (gap + 1e-13 * problem.t < slack ** 2 / (8 * variance))
            assert proved[must].all()
            claims, others = claims + int(must.sum()), others + int((~proved).sum())
    assert claims > 100
    assert others > 100


@QUICK
@given(seed=st.integers(0, 10 ** 6), fraction=st.floats(0.01, 0.9), tolerance=st.sampled_from([0.3, 1e-2, 1e-4]))
def test_the_gap_bounds_how_far_the_fit_is_from_the_exact_one(seed, fraction, tolerance):
    """‖H(W − W*)ᵀ‖²/N ≤ 2 (P − D), centred: the certificate in the unit of the pre-activations."""
    h, z, cost = layer_data(seed)
    problem = Problem(Statistics.of(h, z), cost)
    lam = fraction * problem.lambda_max
    solution, exact = problem.solve(lam, tolerance=tolerance), problem.solve(lam, tolerance=1e-14)
    moved_by = (h - h.mean(axis=0)) @ (solution.w - exact.w).T
    assert (moved_by ** 2).sum() / len(h) <= 2 * solution.gap * problem.t / 2 + 1e-11 * problem.t


# ---- what chapter 6 proves of proximal descent with momentum
# -------------------------------------------------------------------------------


def curved(seed=0, n=30, lam=0.05):
    """f: one layer of tanh against targets, not convex; with ℒ, since |tanh'| ≤ 1 and |tanh''| ≤ 4/(3√3)."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 6)) @ (np.eye(6) + 0.3 * rng.standard_normal((6, 6)))
    y = np.tanh(x[:, :2] @ rng.standard_normal((2, 3)) + 0.2 * rng.standard_normal((n, 3)))
    ones = np.column_stack([x, np.ones(n)])
    largest = float(np.linalg.eigvalsh(ones.T @ ones / n)[-1])
    start = Network([dense_layer(6, 3, rng, np.float64), Layer("tanh")])
    return (
        start, {"x": x, "y": y}, NeuronGroups(lam, axis=1),
        largest * (1 + 4 / (3 * 3 ** 0.5) * (1 + float(np.abs(y).max())))
    )


STEPS = 2_000


def imitation(activations, batch):
    value, d = squared_error(activations[-1], batch["y"])
    return value, {len(activations) - 1: d}


def slope(w, b, batch):
    """f and its gradient, by hand."""
    a = np.tanh(batch["x"] @ w.T + b)
    dz = (a - batch["y"]) * (1 - a * a) / len(a)
    return ((a - batch["y"]) ** 2).sum() / (2 * len(a)), np.column_stack([dz.T @ batch["x"], dz.sum(axis=0)])


def run(seed, momentum, nesterov, steps, constant=False):
    """Updates of ``train`` on the whole batch, with rates of all sizes below the bound, or from zero with one close to
    it.

    For each update V, what it promises, the weights, the mean slope that it follows, and the new weights; then how far
    it ends from rest.
    """
    network_, batch, penalty, largest = curved(seed)
    if constant:
        network_.layers[0].params[0][:] = 0
    optimiser = SGD(1.0, momentum, nesterov=nesterov)
    power = 2 if nesterov else 1
    limit = (1 - momentum) / (largest * (0.5 + momentum ** power / (1 - momentum)))
    rng = np.random.default_rng(seed)
    rates = [limit * (0.9 if constant else rng.uniform(0.05, 0.99)) for _ in range(steps)]
    given = iter(rates)
    records = train(network_, batch, imitation, optimiser=optimiser, penalties={0: penalty}, rng=rng,
                    settings=TrainingSettings(steps, len(batch["x"]), lambda progress: next(given)))
    mean, seen, (w, b) = np.zeros((3, 7)), [], network_.layers[0].params
    for rate, record in zip(rates, records, strict=True):
        f, g = slope(w, b, batch)
        mean = momentum * mean + (1 - momentum) * g
        off = ((mean - g) ** 2).sum() / (2 * momentum ** (2 - power) * largest)
        new = record.network.layers[0].params
        way = float(((new[0] - w) ** 2).sum() + ((new[1] - b) ** 2).sum())
        guaranteed = way * ((1 - momentum) / rate - (1 - momentum) / limit)
        sent = momentum * mean[:, :6] + (1 - momentum) * g[:, :6] if nesterov else mean[:, :6]
        seen.append((f + penalty.value(w) + off, guaranteed, w, sent, new[0]))
        w, b = new
    g = slope(w, b, batch)[1]
    rest = np.linalg.norm(w - penalty.prox(w - g[:, :6], 1.0)) + np.linalg.norm(g[:, 6])
    return seen, float(rest), w


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.3, 0.9])
@pytest.mark.parametrize("seed", range(2))
def test_momentum_descends_in_its_own_measure(seed, momentum, nesterov):
    """V = F + ‖m − ∇L‖²/(2 μ ℒ) falls by what is promised at every step, whatever the rates below the bound; F is not
    convex."""
    seen, _, _ = run(seed, momentum, nesterov, 400)
    values = np.array([value for value, *_ in seen])
    promised = np.array([way for _, way, *_ in seen])
    assert (values[1:] <= values[:-1] - promised[:-1] + 1e-13).all()
    assert promised.min() >= 0
    assert promised.sum() > 1e-3


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_comes_to_rest_with_exact_zeros(nesterov):
    """The stationarity of L + Ω itself falls, groups are 0.0; one at zero stays there exactly while ‖m_j‖ ≤ κ_j."""
    seen, rest, w = run(1, 0.7, nesterov, STEPS, constant=True)
    assert rest <= 1e-7
    assert 0 < w.any(axis=0).sum() < 6
    stayed = left = 0
    for _, _, before, mean, after in seen:
        for j in np.flatnonzero(~before.any(axis=0)):
            size = float(np.linalg.norm(mean[:, j]))
            assert (not after[:, j].any()) == (size <= 0.05)
            stayed, left = stayed + (size <= 0.05), left + (size > 0.05)
    assert stayed > 1000
    assert left > 0


def test_with_the_step_of_plain_descent_it_would_rest_elsewhere(monkeypatch):
    """τ = η in place of η/(1 − μ): the test above would see it."""
    monkeypatch.setattr(SGDState, "update", lambda self, parameters, gradient, rate: [
        parameters.__isub__(rate * gradient), rate][1])
    _, rest, _ = run(1, 0.7, False, STEPS, constant=True)
    assert rest > 1e-2
