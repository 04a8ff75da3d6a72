"""The methods of others: each score, choice and programme against its definition by loops, or against the law that its
solution obeys."""

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import minimize

from npkd.compression import channel_selection, net_trim, obs, proportions, scores, slimming, thinet
from npkd.compression.reconstruct import by_rule, statistics
from npkd.core.validation import InputError
from npkd.data.datasets import from_arrays
from npkd.distillation.objective import distillation
from npkd.experiments.methods import METHODS, NAMES, make
from npkd.experiments.setting import Setting, TeacherSetting
from npkd.nn import cost
from npkd.nn.architectures import conv_layer, lenet5
from npkd.nn.fast.workspace import predict
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.nn.optimisers import SGD
from npkd.nn.training import TrainingSettings
from npkd.pipeline.recipe import Recipe
from npkd.pipeline.stages import Run, transfer_set
from npkd.sparsity.elimination import Reader, eliminate
from npkd.sparsity.group_lasso import Problem
from npkd.sparsity.refitting import RIDGE
from npkd.sparsity.statistics import Statistics, refit
from reference.definitions.compression import baselines as defined
from tests.tiny import arrays, fixed

RNG = np.random.default_rng


def network(seed=0, sizes=(5, 4, 3, 3)):
    """A network in float64 with biases that are not zero."""
    rng = RNG(seed)
    drawn = perceptron(sizes, rng, dtype=np.float64)
    return drawn.replace({i: replace(drawn.layers[i], params=(drawn.layers[i].params[0], 0.3 * rng.standard_normal(n)))
                          for i, n in zip(drawn.dense_layers, sizes[1:], strict=True)})


def examples(seed=1, n=12, d=5, classes=3):
    rng = RNG(seed)
    return rng.standard_normal((n, d)) + 0.5, rng.integers(0, classes, n)


def layer_data(seed=0, n=30, d=6, m=3):
    """What a layer reads, correlated, with means; its weights; what it is to give, which is not quite what it gives."""
    rng = RNG(seed)
    h = rng.standard_normal((n, d)) @ (np.eye(d) + 0.4 * rng.standard_normal((d, d))) + rng.standard_normal(d)
    w, b = rng.standard_normal((m, d)), rng.standard_normal(m)
    return h, w, b, h @ w.T + b + 0.2 * rng.standard_normal((n, m))


# ---- scores
# --------------------------------------------------------------------------------------------------------------------


def test_magnitudes_are_those_of_the_definition():
    net, (x, y) = network(), examples()
    weights = [net.layers[i].params[0] for i in net.dense_layers]
    for k, (out, into) in enumerate(zip(scores.outgoing(net, x, y, RNG(0)), scores.incoming(net, x, y, RNG(0)),
                                        strict=True)):
        assert out == pytest.approx([defined.column(weights[k], j) for j in range(weights[k].shape[1])], rel=1e-13)
        # inputs: the outgoing ones
        expected = [defined.row(weights[k - 1], j) for j in range(len(weights[k - 1]))] if k else out
        assert into == pytest.approx(expected, rel=1e-13)


def test_activation_is_the_change_that_a_mean_value_makes():
    net, (x, y) = network(), examples()
    found, activations = scores.activation(net, x, y, RNG(0)), net(x)[0]
    for k, i in enumerate(net.dense_layers):
        w = net.layers[i].params[0]
        assert found[k] == pytest.approx([defined.activation(activations[i], w, j) for j in range(w.shape[1])],
                                         rel=1e-10)


def test_moments_of_batches_are_those_of_all_and_keep_their_digits(monkeypatch):
    """Inputs 10⁸ times as far from 0 as they are wide: their variance, by a second pass over all of them."""
    net, (x, _) = network(), examples()
    x = x + 1e8 * np.arange(x.shape[1])
    for rows in (5, 4096):                                            # several batches, the last one smaller; one
        monkeypatch.setattr(scores, "ROWS", rows)
        mean, variance = scores.moments(net, x)[0]
        np.testing.assert_allclose(mean, x.mean(axis=0), rtol=1e-14, atol=1e-15)
        np.testing.assert_allclose(variance, ((x - x.mean(axis=0)) ** 2).mean(axis=0), rtol=1e-6)


def test_taylor_is_the_slope_of_the_loss_times_the_value(monkeypatch):
    net, (x, y) = network(), examples()
    monkeypatch.setattr(scores, "ROWS", 5)                            # several batches, the last one smaller
    found, activations = scores.taylor(net, x, y, RNG(0)), net(x)[0]
    for k, i in enumerate(net.dense_layers):
        rest = Network(net.layers[i:])

        def loss(h, n, rest=rest):
            z = rest(h[None])[0][-1][0]
            return float(np.log(np.exp(z).sum()) - z[y[n]])

        expected = [defined.taylor(loss, activations[i], j) for j in range(activations[i].shape[1])]
        assert found[k] == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_chance_draws_one_number_a_neuron_from_the_seed():
    net, (x, y) = network(), examples()
    one, same, other = (scores.chance(net, x, y, RNG(seed)) for seed in (0, 0, 1))
    assert [len(s) for s in one] == net.widths[:-1]
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert not any((a == b).any() for a, b in zip(one, other, strict=True))


def test_the_largest_stay_and_ties_go_to_the_first():
    assert scores.best(np.array([1.0, 3.0, 2.0, 3.0, 1.0]), 3).tolist() == [1, 2, 3]
    assert scores.best(np.array([1.0, 1.0, 1.0]), 2).tolist() == [0, 1]


def test_cutting_is_the_same_as_weights_of_zero():
    net, (x, _) = network(), examples()
    kept = [np.array([0, 2, 4]), np.array([1, 2]), np.array([0, 2])]
    zeroed = net
    for k, i in enumerate(net.dense_layers):
        w, b = net.layers[i].params
        zeroed = zeroed.replace({i: replace(net.layers[i], params=(w * np.isin(np.arange(w.shape[1]), kept[k]), b))})
    smaller = scores.cut(net, kept)
    assert smaller.widths == [3, 2, 2, 3]
    assert predict(smaller, x) == pytest.approx(predict(zeroed, x), abs=1e-13)


def test_folding_leaves_the_mean_of_what_is_read():
    """With one layer the mean logits stay what they were; without folding they do not."""
    x, y = examples()
    net = Network([Layer("dense", (RNG(3).standard_normal((3, 5)), RNG(4).standard_normal(3)))])
    folded = scores.by_score(scores.activation, scores.folded)(net, x, y, [2], RNG(0))
    plain = scores.by_score(scores.activation)(net, x, y, [2], RNG(0))
    before = predict(net, x).mean(axis=0)
    assert folded.widths == [2, 3]
    assert predict(folded, x).mean(axis=0) == pytest.approx(before, abs=1e-12)
    assert np.abs(predict(plain, x).mean(axis=0) - before).max() > 0.1


# ---- widths
# --------------------------------------------------------------------------------------------------------------------


def macs(sizes, classes=3):
    return float(sum(a * b for a, b in itertools.pairwise([*sizes, classes])))


@pytest.mark.parametrize("keep_inputs", [False, True])
@pytest.mark.parametrize("budget", [120, 300, 777, 1500])
def test_proportional_widths_fill_the_budget(budget, keep_inputs):
    full = [40, 30, 10]
    found = proportions.proportional(full, macs, budget, keep_inputs)
    assert macs(found) <= budget or found == full
    assert all(macs([w + (i == k) for i, w in enumerate(found)]) > budget for k in range(keep_inputs, 3)
               if found[k] < full[k])
    for part in np.linspace(0, 1, 101):                          # every layer has at least the part that all could have
        even = [f if keep_inputs and k == 0 else max(1, int(part * f)) for k, f in enumerate(full)]
        assert macs(even) > budget or all(a >= b for a, b in zip(found, even, strict=True))
    assert all(w >= 1 for w in found)
    assert not keep_inputs or found[0] == full[0]


def test_widths_that_nothing_can_reach_are_refused():
    with pytest.raises(InputError, match="smallest that this network can be is 5"):
        proportions.proportional([4, 3, 2], macs, 4)
    with pytest.raises(InputError, match="smallest that this network can be is 8"):
        proportions.by_scores([np.ones(4), np.ones(3), np.ones(2)], macs, 7, keep_inputs=True)


@pytest.mark.parametrize("seed", range(8))
def test_scores_share_as_one_neuron_after_the_other(seed):
    """Against the same rule on sets of neurons: every neuron that is left is looked at, again and again."""
    rng = RNG(seed)
    found = [rng.random(n) for n in (8, 6, 4)]
    keep_inputs, budget = bool(seed % 2), float(rng.integers(30, 70))
    left = [set(range(len(s))) for s in found]
    while macs([len(s) for s in left]) > budget:
        def price(k, j):
            fewer = [len(s) - (i == k) for i, s in enumerate(left)]
            return found[k][j] / (macs([len(s) for s in left]) - macs(fewer))
        k, j = min(((k, j) for k in range(keep_inputs, 3) if len(left[k]) > 1 for j in left[k]),
                   key=lambda kj: price(*kj))
        left[k].discard(j)
    assert proportions.by_scores(found, macs, budget, keep_inputs) == [len(s) for s in left]


# ---- OBS
# ----------------------------------------------------------------------------------------------------------------------
# -


def ridge_fit(h, z, kept, rho):
    """The exact minimiser on the inputs ``kept``, by augmented least squares on raw data; nothing of npkd."""
    hc, zc, n = (h - h.mean(axis=0))[:, kept], z - z.mean(axis=0), len(h)
    rows = np.concatenate([hc / math.sqrt(n), math.sqrt(rho) * np.eye(len(kept))])
    w = np.zeros((z.shape[1], h.shape[1]))
    w[:, kept] = np.linalg.lstsq(rows, np.concatenate([zc / math.sqrt(n), np.zeros((len(kept), z.shape[1]))]),
                                 rcond=None)[0].T
    return w


@pytest.mark.parametrize("seed", range(4))
def test_obs_prices_are_the_rises_of_a_refit_and_its_choice_is_backward_elimination(seed):
    h, _, _, z = layer_data(seed)
    d, rho = h.shape[1], 0.05
    hc = h - h.mean(axis=0)
    A, left = hc.T @ hc / len(h) + rho * np.eye(d), list(range(d))
    start = ridge_fit(h, z, left, rho)
    rises = [defined.ridge_objective(h, z, ridge_fit(h, z, [j for j in left if j != q], rho), rho)
             - defined.ridge_objective(h, z, start, rho)
             for q in left]
    def reader():
        return Reader(np.linalg.inv(A), np.arange(d), start.copy(), np.arange(d))

    assert reader().saliencies(range(d)) == pytest.approx(rises, rel=1e-9)
    for count in range(d - 1, 0, -1):
        refits = {q: ridge_fit(h, z, [j for j in left if j != q], rho) for q in left}
        left.remove(min(left, key=lambda q: defined.ridge_objective(h, z, refits[q], rho)))
        fitted = reader()
        kept, *_ = eliminate([fitted], d, count)
        w = fitted.w
        assert kept.tolist() == left
        assert w == pytest.approx(ridge_fit(h, z, left, rho), abs=1e-9)
        assert not w[:, [j for j in range(d) if j not in left]].any()


def test_obs_compensates_by_least_squares():
    h, w, b, z = layer_data(5, n=60, d=8)
    s = Statistics.of(h, z)
    kept, new, bias = obs.obs(s, w, b, 5)
    rho = RIDGE * float(np.trace(s.A)) / len(h) / 8
    assert new == pytest.approx(ridge_fit(h, z, kept.tolist(), rho), abs=1e-8)
    assert (z - h @ new.T - bias).mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-10)


# ---- LASSO channel selection
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_factors_obey_the_law_of_the_lasso(seed):
    """−slope of the squared error at β lies in λ·∂‖β‖₁, the slope by differences of the definition; and β beats its
    neighbours."""
    h, w, _, z = layer_data(seed)
    w = w / np.linalg.norm(w, axis=0)
    problem = Problem(channel_selection.factors(Statistics.of(h, z), w))
    lam = problem.lambda_max * 0.6
    beta = problem.solve(lam, tolerance=1e-12).w[0]
    for j in range(len(beta)):
        step = 1e-6 * np.eye(len(beta))[j]
        slope = (
            (defined.factor_objective(h, z, w, beta + step, 0) - defined.factor_objective(h, z, w, beta - step, 0))
            / 2e-6
        )
        if beta[j]:
            assert slope == pytest.approx(-lam * np.sign(beta[j]), rel=1e-4)
        else:
            assert abs(slope) <= lam * (1 + 1e-6)
    assert 0 < np.count_nonzero(beta) < len(beta)
    least = defined.factor_objective(h, z, w, beta, lam)
    for direction in RNG(9).standard_normal((20, len(beta))):
        assert defined.factor_objective(h, z, w, beta + 1e-3 * direction, lam) > least


def test_lasso_keeps_as_many_as_asked_and_refits():
    h, w, b, z = layer_data(3, n=80, d=9)
    s = Statistics.of(h, z)
    for count in range(1, 9):
        kept, new, bias = channel_selection.lasso(s, w, b, count)
        assert len(kept) == count
        expected = refit(s, kept, RIDGE)
        assert (new == expected[0]).all()
        assert (bias == expected[1]).all()


def test_lasso_keeps_as_many_as_asked_of_many():
    """Factors that nearly depend on one another: solved loosely, fewer would be other than zero."""
    rng = RNG(2)
    h = (
        rng.standard_normal((3000, 20)) @ rng.standard_normal((20, 120)) / math.sqrt(20) + 0.05
        * rng.standard_normal((3000, 120))
    )
    w = rng.standard_normal((20, 120))
    s = Statistics.of(h, h @ w.T)
    assert [len(channel_selection.lasso(s, w, np.zeros(20), count)[0]) for count in (110, 96, 60)] == [110, 96, 60]


def test_what_a_method_draws_does_not_reorder_the_examples(monkeypatch):
    taught, states = TeacherSetting("x", None, "plain", Recipe(), 0), {}
    parts, teacher = arrays(), perceptron([16, 8, 6, 3], RNG(0))
    data = from_arrays("tiny", [parts[key] for key in ("x_train", "y_train", "x_test", "y_test")], seed=0)
    recipe = fixed(hidden=(8, 6), rounds=2, round_epochs=1, epochs=1)
    for name in ("random", "outgoing weights"):
        rng = RNG(1)
        monkeypatch.setattr("npkd.pipeline.stages.distil_end_to_end", lambda run, student, *given, name=name: (
            states.setdefault(name, []).append(run.rng.bit_generator.state), student)[1])
        make(Setting(taught, name, 90, recipe), Run(data, recipe, rng), teacher, None)
    assert states["random"] == states["outgoing weights"]


def test_lasso_does_not_care_how_large_a_column_is():
    """A factor times a column of norm 1: a neuron whose weights are twice as large is no other choice. Without the
    norms it would be."""
    h, w, b, z = layer_data(6, n=80, d=9)
    s, scale = Statistics.of(h, z), np.geomspace(0.1, 10, 9)
    for count in (2, 4, 6):
        assert channel_selection.lasso(s, w * scale, b, count)[0].tolist() == channel_selection.lasso(s, w, b,
                                                                                                      count)[0].tolist()


# ---- ThiNet
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_thinet_is_greedy_on_the_joint_contribution(seed):
    h, w, _, z = layer_data(seed, n=15)
    K = thinet.contributions(Statistics.of(h, z), w)
    for removed in itertools.chain([(0,), (1, 4), (0, 2, 3, 5)]):
        assert K[np.ix_(removed, removed)].sum() == pytest.approx(defined.contribution(h, w, removed), rel=1e-10)
    for count in range(1, 6):
        assert thinet.greedy(K, count).tolist() == defined.greedy(h, w, count)


def test_thinet_factors_are_the_best_there_are():
    h, w, b, z = layer_data(1, n=15)
    s = Statistics.of(h, z)
    kept, new, bias = thinet.thinet(s, w, b, 3)
    a = [float(new[0, j] / w[0, j]) for j in kept]
    assert new[:, kept] == pytest.approx(w[:, kept] * a, rel=1e-12)           # one factor a neuron, for all its weights
    assert (bias == b).all()
    K = thinet.contributions(s, w)
    rho = 1e-6 * float(np.trace(K[np.ix_(kept, kept)])) / len(kept)
    best = minimize(lambda v: defined.factors_left(h, w, kept.tolist(), v.tolist(), rho), np.ones(3), tol=1e-14)
    assert a == pytest.approx(best.x, abs=1e-4)


# ---- Net-Trim
# ------------------------------------------------------------------------------------------------------------------


def programme(seed, n=14, d=5, m=2):
    h, w, b, _ = layer_data(seed, n=n, d=d, m=m)
    z = h @ w.T + b
    on = z > 0
    return h, z, on, 0.2 * float(np.linalg.norm(z[on])), np.zeros_like(z)


@pytest.mark.parametrize("seed", range(4))
def test_net_trim_is_feasible_and_its_multipliers_prove_it_best(seed):
    """For Λ with |HᵀΛ| ≤ 1, ΣΛ = 0 and Λ ≥ 0 off: ‖U‖₁ ≥ −⟨Λ, Z⟩_on − ε‖Λ_on‖ − ⟨Λ, ceiling⟩_off for every feasible
    U."""
    h, z, on, epsilon, ceiling = programme(seed)
    found = net_trim.net_trim(h, z, on, epsilon, ceiling, iterations=20_000, tolerance=1e-9)
    assert found.residual <= 1e-9
    error, excess = defined.outside(h, z, found.u, found.b, on, ceiling)
    assert error <= epsilon * (1 + 1e-6)
    assert excess <= 1e-6
    dual, size = found.dual, float(np.abs(found.u).sum())
    assert np.abs(h.T @ dual).max() <= 1 + 1e-6
    assert np.abs(dual.sum(axis=0)).max() <= 1e-6
    assert dual[~on].min() >= -1e-6
    active = found.u != 0
    assert (h.T @ dual).T[active] == pytest.approx(-np.sign(found.u[active]), abs=1e-5)
    bound = (
        -float((dual * z)[on].sum()) - epsilon * float(np.linalg.norm(dual[on])) - float((dual * ceiling)[~on].sum())
    )
    assert bound == pytest.approx(size, rel=1e-5)
    assert size < np.abs(ridge_fit(h, z, list(range(5)), 0.0)).sum()                # sparser than what it started from


def test_net_trim_agrees_with_another_solver():
    h, z, on, epsilon, ceiling = programme(1, n=8, d=3, m=1)
    found = net_trim.net_trim(h, z, on, epsilon, ceiling, iterations=20_000, tolerance=1e-9)
    d = h.shape[1]

    def answer(v):                                                    # v: positive and negative parts of u, and b
        return h @ (v[:d] - v[d:2 * d]) + v[-1]

    rules = [{"type": "ineq", "fun": lambda v: epsilon ** 2 - ((answer(v) - z[:, 0])[on[:, 0]] ** 2).sum()},
             {"type": "ineq", "fun": lambda v: -answer(v)[~on[:, 0]]}]
    w, b = ridge_fit(h, z, [0, 1, 2], 0.0)[0], 0.0
    start = np.concatenate([np.maximum(w, 0), np.maximum(-w, 0), [b]])
    other = minimize(lambda v: v[:-1].sum(), start, constraints=rules, bounds=[(0, None)] * (2 * d) + [(None, None)],
                     method="SLSQP", options={"ftol": 1e-12, "maxiter": 500})
    assert other.success
    assert float(np.abs(found.u).sum()) == pytest.approx(other.fun, rel=1e-4)


def test_the_projection_is_the_nearest_point():
    """No feasible point is nearer: ⟨v − p, q − p⟩ ≤ 0 for every feasible q."""
    rng = RNG(0)
    v, z, on, ceiling = (
        rng.standard_normal((4, 3)), rng.standard_normal((4, 3)), rng.random((4, 3)) < 0.5, np.zeros((4, 3))
    )
    p = net_trim.project(v, z, on, 0.5, ceiling)
    assert np.linalg.norm((p - z)[on]) == pytest.approx(0.5)
    for _ in range(200):
        q = z + rng.standard_normal((4, 3))
        away = np.where(on, q - z, 0)
        q = np.where(on, z + away * min(1, 0.5 / np.linalg.norm(away)), np.minimum(q, 0))
        assert ((v - p) * (q - p)).sum() <= 1e-12
    assert (net_trim.project(p, z, on, 0.5, ceiling) == pytest.approx(p, abs=1e-12))


# ---- slimming
# ------------------------------------------------------------------------------------------------------------------


def test_gates_change_nothing_at_one_and_are_multiplied_in():
    net, (x, _) = network(), examples()
    gated, groups = slimming.gated(net)
    assert (predict(gated, x) == predict(net, x)).all()
    assert len(groups) == 3
    values = [RNG(k).standard_normal(len(gated.layers[i].params[0])) for k, i in enumerate(groups)]
    changed = gated.replace({i: Layer("gate", (g,)) for i, g in zip(groups, values, strict=True)})
    plain, sizes = slimming.opened(changed, groups)
    assert [layer.op for layer in plain.layers] == [layer.op for layer in net.layers]
    assert predict(plain, x) == pytest.approx(predict(changed, x), abs=1e-12)
    assert all((s == np.abs(g)).all() for s, g in zip(sizes, values, strict=True))
    assert slimming.gated(net, keep_inputs=True)[1] == [2, 5]


def test_a_strong_penalty_shuts_gates(monkeypatch):
    data, teacher, recipe = tiny_run()

    def scores_after(strength, epochs, keep_inputs=False):
        monkeypatch.setattr(slimming, "STRENGTH", strength)
        return slimming.slim(
            teacher, {"x": data.x_train, "y": data.y_train}, distillation(temperature=4.0), optimiser=SGD(0.02),
            settings=TrainingSettings(epochs, 16, clip=10.0, augmentation=transfer_set(teacher, data, recipe)),
            rng=RNG(0), keep_inputs=keep_inputs)[1]

    strong, weak = scores_after(0.5, 6), scores_after(1e-9, 6)
    assert sum(int((s == 0).sum()) for s in strong) > 3                # exactly: it is a proximal step
    assert not any((s == 0).any() for s in weak)
    assert (scores_after(1e-9, 1, keep_inputs=True)[0] == 1).all()


# ---- all of them
# ---------------------------------------------------------------------------------------------------------------


def tiny_run():
    """Data, a teacher and a recipe of a few epochs."""
    parts = arrays()
    data = from_arrays("tiny", [parts[key] for key in ("x_train", "y_train", "x_test", "y_test")], seed=0)
    teacher = perceptron([16, 8, 6, 3], RNG(0))
    recipe = fixed(hidden=(8, 6), teacher_epochs=1, rounds=3, round_epochs=1, epochs=2, batch_size=16,
                    student_learning_rate=0.02, mixup_alpha=1.0)
    return data, teacher, recipe


def made(setting, data, teacher, followed, rng):
    """The student of a setting, with its own recipe, and its path."""
    run = Run(data, replace(setting.recipe, keep_inputs=setting.keep_inputs), rng)
    return SimpleNamespace(**dict(zip(("student", "path"), make(setting, run, teacher, followed), strict=True)))


def setting(method, recipe, **changed):
    return Setting(TeacherSetting("tiny", None, "plain", recipe, 0), method, 90, recipe, **changed)


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize("keep_inputs", [False, True])
def test_every_method_stays_within_the_budget_and_needs_no_test_part(method, keep_inputs):
    data, teacher, recipe = tiny_run()
    blind = replace(data, x_test=data.x_test[:0], y_test=data.y_test[:0])
    spoiled = replace(data, x_test=np.full_like(data.x_test, np.nan), y_test=data.y_test * 0)
    one = made(setting(method, recipe, keep_inputs=keep_inputs), blind, teacher, None, RNG(7))
    two = made(setting(method, recipe, keep_inputs=keep_inputs), spoiled, teacher, None, RNG(7))
    assert macs(one.student.widths[:-1]) <= 90
    assert one.path[-1] == one.student.widths
    assert len(one.path) == (1 if method.startswith(("sl", "sc")) else 3)
    assert all(a >= b for before, after in itertools.pairwise(one.path) for a, b in zip(before, after, strict=True))
    assert not keep_inputs or one.student.widths[0] == 16
    assert predict(one.student, data.x_validation).tobytes() == predict(two.student, data.x_validation).tobytes()


@pytest.mark.parametrize("method", [name for name in NAMES if name != "ours"])
def test_every_method_takes_widths_that_are_given(method):
    data, teacher, recipe = tiny_run()
    first = setting("ours", recipe)
    given = {"path": [[12, 7, 5, 3], [9, 6, 4, 3], [6, 5, 4, 3]], "inputs": [1, 2, 3, 5, 8, 13]}
    out = made(setting(method, recipe, widths_of=first), data, teacher, given, RNG(0))
    assert out.student.widths == [6, 5, 4, 3]
    for one, wanted in zip(out.path, given["path"] if method in METHODS else given["path"][-1:], strict=True):
        assert one == wanted or method == "lasso"
        assert all(a <= b for a, b in zip(one, wanted, strict=True))  # fewer where the LASSO finds one without any use
    if method.startswith("scratch"):
        assert out.student.layers[0].options["kept"] == given["inputs"]
    short = made(setting(method, replace(recipe, rounds=1), widths_of=first), data, teacher, given, RNG(0))
    assert short.path == [[6, 5, 4, 3]]


def test_wrong_settings_are_refused():
    data, teacher, recipe = tiny_run()
    given = {"path": [[12, 7, 5, 3], [6, 5, 4, 3]], "inputs": [0, 1, 2, 3, 4, 5]}
    with pytest.raises(InputError, match="method is 'hope'"):
        made(setting("hope", recipe), data, teacher, None, RNG(0))
    with pytest.raises(InputError, match="finds its own"):
        made(setting("ours", recipe), data, teacher, given, RNG(0))
    with pytest.raises(InputError, match="must agree, or be 1"):
        made(setting("obs", recipe), data, teacher, given, RNG(0))


def test_a_layer_by_layer_choice_sees_what_the_student_feeds_it():
    """The second layer's statistics are those of the student whose first layer has chosen, against the network's own
    outputs."""
    net, (x, y) = network(), examples(n=40)
    seen = []

    def rule(found, w, b, count):
        seen.append(found)
        return np.arange(count), np.where(np.arange(w.shape[1]) < count, w, 0), b

    by_rule(rule)(net, x, y, [3, 2, 2], RNG(0))
    first = net.layers[0].params[0] * (np.arange(5) < 3)
    h = np.maximum(x @ first.T + net.layers[0].params[1], 0)
    expected = Statistics.of(h, net(x)[0][3])
    second = seen[1]
    assert np.allclose(second.A, expected.A, rtol=1e-10)
    assert np.allclose(second.C, expected.C, rtol=1e-10)
    assert statistics(net, net, x, 0).mean_h == pytest.approx(x.mean(axis=0))


# ---- convolutions
# ---------------------------------------------------------------------------------------------------------------


def convolutions(seed=0):
    """Two convolutions, with padding, stride and an odd pooling between, and two dense layers; float64, biases that are
    not zero."""
    rng = RNG(seed)
    drawn = Network([Layer("unflatten", options={"shape": [7, 6, 2]}), conv_layer(2, 3, 3, rng, np.float64, padding=1),
                     Layer("tanh"),
                     Layer("max_pool", options={"size": 2}), conv_layer(3, 4, 2, rng, np.float64), Layer("relu"),
                     Layer("flatten"),
                     dense_layer(16, 5, rng, np.float64), Layer("relu"), dense_layer(5, 3, rng, np.float64)])
    return drawn.replace({i: replace(layer, params=(layer.params[0], 0.3 * rng.standard_normal(len(layer.params[1]))))
                          for i, layer in enumerate(drawn.layers) if layer.params})


MAPS_AT = (1, 4, 6, 9)
"""The activations of ``convolutions`` at which each dependency group's channels are not yet flattened."""

READERS = (1, 4, 7, 9)


def flat_weights(net, i):
    return net.layers[i].params[0].reshape(len(net.layers[i].params[0]), -1)


def positions(a):
    """(N, P, C) of a map or of neurons."""
    return a.reshape(len(a), -1, a.shape[-1])


def test_scores_of_channels_are_those_of_the_definition(monkeypatch):
    net, (x, y) = convolutions(), examples(n=11, d=84)
    monkeypatch.setattr(scores, "MAPS", 4)                            # several batches, the last one smaller
    into, out, moved, slope = (rule(net, x, y, RNG(0))
                               for rule in (scores.incoming, scores.outgoing, scores.activation, scores.taylor))
    values = net(x)[0]
    for k, (at, reader) in enumerate(zip(MAPS_AT, READERS, strict=True)):
        h, w, rest = values[at], flat_weights(net, reader), Network(net.layers[at:])
        channels = range(h.shape[-1])
        assert len(channels) == net.widths[k]

        def loss(one, n, rest=rest):
            z = rest(one[None])[0][-1][0]
            return float(np.log(np.exp(z).sum()) - z[y[n]])

        assert out[k] == pytest.approx([defined.column(w, j, len(channels)) for j in channels], rel=1e-13)
        assert into[k] == pytest.approx([defined.row(flat_weights(net, READERS[k - 1]), j) for j in channels] if k
                                        else out[0], rel=1e-13)
        assert moved[k] == pytest.approx([defined.map_activation(positions(h), w, j) for j in channels], rel=1e-10)
        assert slope[k] == pytest.approx([defined.taylor(loss, h, j) for j in channels], rel=1e-5, abs=1e-9)
    assert [len(s) for s in scores.chance(net, x, y, RNG(0))] == net.widths[:-1]


def test_definitions_of_maps_with_one_position_are_those_of_neurons():
    h, w, *_ = layer_data()
    for j in range(h.shape[1]):
        assert defined.map_activation(h[:, None], w, j) == pytest.approx(defined.activation(h, w, j), rel=1e-12)
        assert defined.column(w, j) == defined.column(w, j, h.shape[1])


def test_folding_leaves_the_mean_of_a_channel():
    """As defined; and where channels are constant nothing is lost, behind flatten and in a convolution, while plain
    removal loses it."""
    net, (x, y) = convolutions(), examples(n=9, d=84)
    values, kept = net(x)[0], [[0, 1], [0, 2], [1, 2], [0, 1, 2, 3, 4]]
    for count, (at, reader, gone) in enumerate(((4, 4, [1]), (6, 7, [0, 3])), 1):
        wanted = [len(k) if i == count else n for i, (k, n) in enumerate(zip(kept, net.widths, strict=False))]
        order = np.isin(np.arange(values[at].shape[-1]), gone, invert=True).astype(float)

        def score(*given, order=order, count=count):
            return [order if k == count else np.ones(n) for k, n in enumerate(net.widths[:-1])]

        smaller = scores.by_score(score, scores.folded)(net, x, y, wanted, RNG(0))
        expected = defined.mean_left(flat_weights(net, reader), net.layers[reader].params[1], positions(values[at]),
                                     gone)
        assert smaller.layers[reader].params[1] == pytest.approx(expected, rel=1e-12)
    rigid = convolutions()
    for i, j in ((1, 2), (4, 1), (4, 2)):
        w, b = (p.copy() for p in rigid.layers[i].params)
        w[j], b[j] = 0, 0.7
        rigid = rigid.replace({i: replace(rigid.layers[i], params=(w, b))})
    wanted, before = [2, 2, 2, 5], predict(rigid, x)
    folded = scores.by_score(scores.activation, scores.folded)(rigid, x, y, wanted, RNG(0))
    assert folded.widths == [*wanted, 3]
    assert predict(folded, x) == pytest.approx(before, abs=1e-12)
    assert np.abs(predict(scores.by_score(scores.activation)(rigid, x, y, wanted, RNG(0)), x) - before).max() > 0.05


def test_a_channel_has_one_gate_for_all_its_positions():
    net, (x, _) = convolutions(), examples(d=84)
    gated, groups = slimming.gated(net)
    # none in front of the inputs, which stay
    assert [gated.layers[i + 1].op for i in groups] == ["conv2d", "flatten", "dense"]
    assert [len(gated.layers[i].params[0]) for i in groups] == net.widths[1:-1]
    assert (predict(gated, x) == predict(net, x)).all()
    values = [RNG(k).standard_normal(len(gated.layers[i].params[0])) for k, i in enumerate(groups)]
    changed = gated.replace({i: Layer("gate", (g,)) for i, g in zip(groups, values, strict=True)})
    plain, sizes = slimming.opened(changed, groups)
    assert [layer.op for layer in plain.layers] == [layer.op for layer in net.layers]
    assert predict(plain, x) == pytest.approx(predict(changed, x), abs=1e-12)
    assert np.abs(predict(plain, x) - predict(net, x)).max() > 0.1
    assert all((s == np.abs(g)).all() for s, g in zip(sizes, values, strict=True))


def tiny_convolutions():
    """Little pictures, a small LeNet-5 and a recipe of a few epochs."""
    parts = arrays(shape=(16, 16))
    data = from_arrays("tiny", [parts[key] for key in ("x_train", "y_train", "x_test", "y_test")], seed=0)
    teacher = lenet5(RNG(0), channels=(4, 6), hidden=8, shape=(16, 16, 1), classes=3)
    recipe = fixed(network="lenet5", teacher_epochs=1, rounds=3, round_epochs=1, epochs=1, batch_size=16,
                    student_learning_rate=0.01, max_shift=1, statistics=50)
    return data, teacher, recipe


DENSE_ALONE = ("obs", "lasso", "thinet", "net-trim")


@pytest.mark.parametrize("kind", ["macs", "parameters"])
@pytest.mark.parametrize("method", [name for name in NAMES if name not in DENSE_ALONE])
def test_every_method_makes_a_small_convolutional_network(method, kind):
    """Within the budget as the student itself counts, in one step of the path after the other, without the test
    part."""
    data, teacher, recipe = tiny_convolutions()
    blind = replace(data, x_test=data.x_test[:0], y_test=data.y_test[:0])
    budget = {"macs": 9_000, "parameters": 300}[kind]
    out = made(replace(setting(method, recipe, kind=kind), macs=budget), blind, teacher, None, RNG(3))
    size = cost.of(out.student)
    assert {"macs": size.macs, "parameters": size.parameters}[kind] <= budget < {"macs": 24_000,
                                                                                 "parameters": 700}[kind]
    assert out.student.widths[0] == 1
    assert out.path[-1] == out.student.widths
    assert all(a >= b for before, after in itertools.pairwise([teacher.widths, *out.path])
               for a, b in zip(before, after, strict=True))
    assert np.isfinite(predict(out.student, data.x_validation)).all()


def test_statistics_come_from_as_many_examples_as_the_recipe_says(monkeypatch):
    data, teacher, recipe = tiny_convolutions()
    seen, moments = [], scores.moments
    monkeypatch.setattr(scores, "moments", lambda network, x: seen.append(len(x)) or moments(network, x))
    made(replace(setting("activation", recipe), macs=9_000), data, teacher, None, RNG(3))
    assert set(seen) == {50}


@pytest.mark.parametrize("method", DENSE_ALONE)
def test_methods_for_dense_layers_refuse_convolutions(method):
    data, teacher, recipe = tiny_convolutions()
    with pytest.raises(InputError, match=r"the network has convolutions; obs, lasso, thinet and net-trim"):
        made(replace(setting(method, recipe), macs=9_000), data, teacher, None, RNG(3))


def test_small_networks_from_scratch_follow_widths():
    data, teacher, recipe = tiny_convolutions()
    first = setting("ours", recipe)
    given = {"path": [[1, 3, 5, 7, 3], [1, 3, 4, 6, 3], [1, 2, 4, 5, 3]], "inputs": [0]}
    for method in ("scratch", "random"):
        out = made(setting(method, recipe, widths_of=first), data, teacher, given, RNG(0))
        assert out.student.widths == [1, 2, 4, 5, 3]


@pytest.mark.parametrize("method", ["random", "taylor", "slimming", "slimming in proportion", "scratch"])
def test_all_colours_of_pictures_stay(method):
    parts = arrays(shape=(16, 16, 3))
    data = from_arrays("tiny", [parts[key] for key in ("x_train", "y_train", "x_test", "y_test")], seed=0)
    teacher = lenet5(RNG(0), channels=(4, 6), hidden=8, shape=(16, 16, 3), classes=3)
    recipe = fixed(network="lenet5", teacher_epochs=1, rounds=2, round_epochs=1, epochs=1, batch_size=16,
                    student_learning_rate=0.01)
    out = made(replace(setting(method, recipe), macs=14_000), data, teacher, None, RNG(3))
    assert out.student.widths[0] == 3
    assert cost.of(out.student).macs <= 14_000
