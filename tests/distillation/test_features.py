"""Losses on activations: what each of them does not feel, and what it does; values by hand. Definitions, gradients and
refusals: cases_features.py."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.distillation.cka import centred_kernel_alignment
from npkd.distillation.connectors import connector
from npkd.distillation.features import activation_boundaries, attention_transfer, flow, neuron_selectivity
from npkd.distillation.objective import Terms
from npkd.distillation.schemes import offline
from npkd.distillation.terms import Term
from npkd.gradcheck import check_loss
from npkd.nn.architectures import conv_layer
from npkd.nn.network import Layer, Network, dense_layer
from npkd.nn.optimisers import Adam
from npkd.nn.training import TrainingSettings

LAWS = settings(deadline=None, max_examples=25)


def of_maps(student, teacher):
    """``flow`` from the maps to ones that are made of them, as a loss of one array: both its arguments move."""
    value, (d, d_other) = flow((student, student[..., ::-1] ** 2), (teacher, teacher[..., ::-1] ** 2))
    return value, d + (2 * student[..., ::-1] * d_other)[..., ::-1]


LOSSES = {
    "attention, paper": attention_transfer,
    "attention, code": lambda s, t: attention_transfer(s, t, form="code"),
    "attention, p = 1": lambda s, t: attention_transfer(s, t, power=1),
    "selectivity": neuron_selectivity,
    "flow": of_maps,
    "boundaries": activation_boundaries,
    "alignment": centred_kernel_alignment,
}
ATTENTION = {name for name in LOSSES if name.startswith("attention")}
EVERY = set(LOSSES)


def kept(*names):
    """Runs a test for every loss, with whether the law holds for it."""
    return pytest.mark.parametrize(("loss", "holds"), [(LOSSES[name], name in names) for name in LOSSES], ids=LOSSES)


def two(rng, n=4, shape=(2, 3), channels=3):
    """Maps of student and teacher of one shape, away from 0."""
    x = rng.standard_normal((2, n, *shape, channels))
    return x + 0.1 * np.sign(x)


def alike(one, other):
    return one == pytest.approx(other, rel=1e-9, abs=1e-12)


def unmoved(loss, holds, student, teacher, moved, moved_teacher=None):
    """The value is the same at the moved maps, or, where the law does not hold, another."""
    value, _ = loss(student, teacher)
    other, _ = loss(moved, teacher if moved_teacher is None else moved_teacher)
    assert alike(value, other) == holds


# ---- the laws
# ----------------------------------------------------------------------------------------------------------------------


@kept(*EVERY)
@LAWS
@given(seed=st.integers(0, 10 ** 6), n=st.integers(2, 5))
def test_never_below_zero_and_the_order_of_examples_and_positions_does_not_count(loss, holds, seed, n):
    rng = np.random.default_rng(seed)
    s, t = two(rng, n)
    value, d = loss(s, t)
    assert value >= 0
    order, rows = rng.permutation(n), rng.permutation(2)
    permuted, d_permuted = loss(s[order][:, rows, ::-1], t[order][:, rows, ::-1])
    assert alike(permuted, value)
    np.testing.assert_allclose(d_permuted, d[order][:, rows, ::-1], rtol=1e-9, atol=1e-12)


@kept(*EVERY - {"boundaries"})
@pytest.mark.parametrize("seed", range(4))
def test_zero_at_agreement(loss, holds, seed):
    t = two(np.random.default_rng(seed))[1]
    value, d = loss(t, t)
    assert (abs(value) <= 1e-13) == holds
    assert (np.abs(d).max() <= 1e-13) == holds


@pytest.mark.parametrize("loss", [neuron_selectivity, centred_kernel_alignment], ids=lambda f: f.__name__)
@pytest.mark.parametrize("channels", [2, 9])
def test_never_below_zero_where_it_is_all_rounding(loss, channels):
    rng = np.random.default_rng(0)
    for _ in range(100):
        t = two(rng, channels=channels)[1]
        assert 0 <= loss(t + 1e-12 * rng.standard_normal(t.shape), t)[0] <= 1e-14


def test_boundaries_agree_where_all_are_beyond_the_margin():
    t = np.array([[1.5, -1.1], [-3.0, 1.0]])
    value, d = activation_boundaries(t, 0.001 * t)
    assert value == 0
    assert not d.any()


@kept(*EVERY)
@pytest.mark.parametrize("seed", range(4))
def test_every_example_twice_gives_the_same_and_half_the_weight(loss, holds, seed):
    s, t = two(np.random.default_rng(seed))
    value, d = loss(s, t)
    twice, d_twice = loss(np.concatenate([s, s]), np.concatenate([t, t]))
    assert alike(twice, value)
    np.testing.assert_allclose(d_twice, np.concatenate([d, d]) / 2, rtol=1e-9, atol=1e-13)


@kept(*EVERY - {"alignment"})
@pytest.mark.parametrize("seed", range(4))
def test_the_mean_over_the_examples(loss, holds, seed):
    """The alignment is a relation of all examples: of halves it is another."""
    s, t = two(np.random.default_rng(seed))
    halves = [loss(s[i:i + 2], t[i:i + 2])[0] for i in (0, 2)]
    assert alike(loss(s, t)[0], sum(halves) / 2) == holds


@kept()
@pytest.mark.parametrize("seed", range(4))
def test_what_holds_for_logits_does_not_for_activations(loss, holds, seed):
    """A number added to all values of an example changes all of these losses: gradients of an example do not sum to
    0."""
    rng = np.random.default_rng(seed)
    s, t = two(rng)
    unmoved(loss, holds, s, t, s + rng.standard_normal((4, 1, 1, 1)))
    assert (np.abs(loss(s, t)[1].reshape(4, -1).sum(axis=1)).max() <= 1e-12) == holds


@kept("alignment")
@pytest.mark.parametrize("seed", range(4))
def test_a_number_added_to_a_feature_of_all_examples(loss, holds, seed):
    rng = np.random.default_rng(seed)
    s, t = two(rng)
    unmoved(loss, holds, s, t, s + rng.standard_normal(s.shape[1:]))
    assert (np.abs(loss(s, t)[1].sum(axis=0)).max() <= 1e-12) == holds


@kept(*ATTENTION, "selectivity", "alignment")
@pytest.mark.parametrize("factor", [3.7, 1e-3])
def test_a_factor_of_all_maps(loss, holds, factor):
    """Where the value does not feel a factor the gradient is orthogonal to the maps, and shrinks as they grow."""
    s, t = two(np.random.default_rng(0))
    unmoved(loss, holds, s, t, factor * s)
    d = loss(s, t)[1]
    assert (abs((d * s).sum()) <= 1e-12) == holds
    assert np.allclose(loss(factor * s, t)[1], d / factor, rtol=1e-9) == holds


@kept(*EVERY - {"flow"})
def test_a_factor_of_the_teacher(loss, holds):
    """Of boundaries the signs alone count."""
    s, t = two(np.random.default_rng(0))
    unmoved(loss, holds, s, t, s, 3.7 * t)


@kept(*ATTENTION, "selectivity")
def test_a_factor_of_each_example(loss, holds):
    rng = np.random.default_rng(1)
    s, t = two(rng)
    unmoved(loss, holds, s, t, s * rng.uniform(0.5, 3, (4, 1, 1, 1)))


@kept("selectivity")
def test_a_factor_of_each_channel(loss, holds):
    """Also a negative one: the kernel is even."""
    rng = np.random.default_rng(2)
    s, t = two(rng)
    unmoved(loss, holds, s, t, s * np.array([2.0, -0.3, 1.5]))


@kept(*ATTENTION, "selectivity", "alignment")
def test_the_order_of_the_students_channels(loss, holds):
    s, t = two(np.random.default_rng(3))
    unmoved(loss, holds, s, t, s[..., [2, 0, 1]])


@kept("alignment", "attention, paper", "attention, code")
@pytest.mark.parametrize("seed", range(4))
def test_an_orthogonal_map_of_the_students_channels(loss, holds, seed):
    """A sum of squares over the channels, p = 2, is that of lengths; with p = 1 it is not."""
    rng = np.random.default_rng(seed)
    s, t = two(rng)
    q = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    unmoved(loss, holds, s, t, s @ q)


@pytest.mark.parametrize("width", [3, 30], ids=["fewer features than examples", "more"])
def test_alignment_feels_no_orthogonal_map_of_all_features_but_another_linear_one(width):
    rng = np.random.default_rng(5)
    s, t = rng.standard_normal((8, width)), rng.standard_normal((8, 5))
    q = np.linalg.qr(rng.standard_normal((width, width)))[0]
    value, d = centred_kernel_alignment(s, t)
    turned, d_turned = centred_kernel_alignment(s @ q, t)
    assert alike(turned, value)
    np.testing.assert_allclose(d_turned, d @ q, rtol=1e-9, atol=1e-13)
    assert not alike(centred_kernel_alignment(s @ rng.standard_normal((width, width)), t)[0], value)


@pytest.mark.parametrize("name", sorted(EVERY))
@pytest.mark.parametrize("seed", range(3))
def test_finite_differences(name, seed):
    s, t = two(np.random.default_rng(seed), 3)
    s += 0.05 * np.sign(np.abs(s) - 1) * np.sign(s)      # away from s = ±1
    assert check_loss(LOSSES[name], s, t).ok


# ---- values by hand
# ----------------------------------------------------------------------------------------------------------------------


def test_attention_by_hand():
    """Two positions: v = (√3², 2²) = (3, 4), u = (0.6, 0.8); the teacher's u is (1, 0). u − ū = (−0.4, 0.8), of squared
    length 0.8. Of the code form du = (−0.4, 0.8), ⟨u, du⟩ = 0.4, dv = (−0.64, 0.48)/5, d = 2 a dv."""
    s, t = np.array([[[[math.sqrt(3)], [2.0]]]]), np.array([[[[-7.0], [0.0]]]])
    value, d = attention_transfer(s, t, form="code")
    assert value == pytest.approx(0.8 / 2)
    np.testing.assert_allclose(d[0, 0, :, 0], [-0.256 * math.sqrt(3), 0.384], rtol=1e-12)
    value, d = attention_transfer(s, t)
    assert value == pytest.approx(math.sqrt(0.8))
    np.testing.assert_allclose(d[0, 0, :, 0], np.array([-0.256 * math.sqrt(3), 0.384]) / math.sqrt(0.8), rtol=1e-12)


def test_selectivity_by_hand():
    """One channel (3, 4), u = (0.6, 0.8), beside (1, 0): 1 + 1 − 2·0.36. du = 4 ((0.6, 0.8) − 0.6 (1, 0)) = (0, 3.2),
    ⟨u, du⟩ = 2.56, d = (−1.536, 1.152)/5."""
    value, d = neuron_selectivity(np.array([[[[3.0], [4.0]]]]), np.array([[[[2.0], [0.0]]]]))
    assert value == pytest.approx(1.28)
    np.testing.assert_allclose(d[0, 0, :, 0], [-0.3072, 0.2304], rtol=1e-12)


def test_flow_by_hand():
    """G = (1, 2)ᵀ 3 = (3, 6)ᵀ, of the teacher (2, 0)ᵀ: 1 + 36; da = 2 (1, 6) 3, db = 2 (1·1 + 6·2)."""
    value, (d_first, d_second) = flow((np.array([[1.0, 2.0]]), np.array([[3.0]])),
                                      (np.array([[1.0, 0.0]]), np.array([[2.0]])))
    assert value == 37
    assert d_first.tolist() == [[6.0, 36.0]]
    assert d_second.tolist() == [[26.0]]


def test_boundaries_by_hand():
    """(0.5² + 3² + 3² + 1.5²)/2; a teacher of 0 is not active."""
    s, t = np.array([[0.5, -2.0], [2.0, 0.5]]), np.array([[1.0, 0.1], [-1.0, 0.0]])
    value, d = activation_boundaries(s, t)
    assert value == 20.5 / 2
    assert d.tolist() == [[-0.5, -3.0], [3.0, 1.5]]
    assert activation_boundaries(s, t, margin=2)[0] == (1.5 ** 2 + 4 ** 2 + 4 ** 2 + 2.5 ** 2) / 2


def test_alignment_by_hand():
    """x = (1, −1, 0), y = (1, 0, −1), both centred: 1 − 1/(2·2); d = −2/4 (y − ¼·2 x)."""
    value, d = centred_kernel_alignment(np.array([[1.0], [-1.0], [0.0]]), np.array([[1.0], [0.0], [-1.0]]))
    assert value == pytest.approx(0.75)
    np.testing.assert_allclose(d[:, 0], [-0.25, -0.25, 0.5], rtol=1e-12)
    wide, d_wide = centred_kernel_alignment(np.pad([[1.0], [-1.0], [0.0]], ((0, 0), (0, 5))),
                                            np.array([[1.0], [0.0], [-1.0]]))
    assert wide == pytest.approx(0.75), "more features than examples"
    np.testing.assert_allclose(d_wide, np.pad(d, ((0, 0), (0, 5))), rtol=1e-12, atol=1e-16)


# ---- larger maps, dead channels, other dtypes
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [attention_transfer, neuron_selectivity], ids=lambda f: f.__name__)
@pytest.mark.parametrize("larger", ["student", "teacher"])
def test_the_larger_map_counts_by_its_means_over_windows(loss, larger):
    rng = np.random.default_rng(0)
    small, large = rng.standard_normal((3, 2, 2, 4)), rng.standard_normal((3, 4, 6, 2))
    means = np.array([[large[:, 2 * i:2 * i + 2, 3 * j:3 * j + 3].mean(axis=(1, 2)) for j in (0, 1)] for i in (0, 1)])
    means = means.transpose(2, 0, 1, 3)
    pair, reduced = ((large, small), (means, small)) if larger == "student" else ((small, large), (small, means))
    value, d = loss(*pair)
    expected, d_expected = loss(*reduced)
    assert alike(value, expected)
    if larger == "student":
        d_expected = np.repeat(np.repeat(d_expected / 6, 2, axis=1), 3, axis=2)
    np.testing.assert_allclose(d, d_expected, rtol=1e-9, atol=1e-14)


def test_flow_compares_networks_whose_maps_have_other_sizes():
    """Of constant maps the products are those of the channels, whatever the positions."""
    a, b = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0, 5.0]])
    spread = [np.broadcast_to(v[:, None, None], (1, h, w, v.shape[1])).copy() for v, h, w in ((a, 4, 6), (b, 2, 3))]
    value, d = flow(tuple(spread), (a, b))
    assert value == pytest.approx(0, abs=1e-20)
    value, d = flow(tuple(spread), (2 * a, b))
    expected, d_expected = flow((a, b), (2 * a, b))
    assert alike(value, expected)
    for one, other in zip(d, d_expected, strict=True):
        np.testing.assert_allclose(one.sum(axis=(1, 2)), other, rtol=1e-12)


def test_a_dead_channel_and_a_dead_map_stay_finite():
    s, t = two(np.random.default_rng(0))
    s[..., 1], s[2] = 0, 0
    for loss in (attention_transfer, neuron_selectivity, centred_kernel_alignment):
        value, d = loss(s, t)
        assert math.isfinite(value)
        assert np.isfinite(d).all()
    assert not attention_transfer(s, t)[1][2].any()
    assert not neuron_selectivity(s, t)[1][..., 1].any()
    assert attention_transfer(0 * s, t)[0] == pytest.approx(1), "the length of the teacher's u"
    for pair in ((np.ones((4, 3)), t), (s, np.ones((4, 3)))):
        value, d = centred_kernel_alignment(*pair)
        assert value == 1
        assert not d.any()


@pytest.mark.parametrize("channels", [2, 20], ids=["channel by channel", "position by position"])
def test_selectivity_is_the_same_on_both_ways(channels):
    """Channels that are there twice change nothing, but which way is shorter."""
    s, t = two(np.random.default_rng(1), channels=2)
    value, d = neuron_selectivity(s, t)
    again, d_again = neuron_selectivity(np.tile(s, channels // 2), np.tile(t, channels // 2))
    assert alike(again, value)
    np.testing.assert_allclose(d_again[..., :2], d / (channels // 2), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("size", [1e-150, 1e150])
@pytest.mark.parametrize("width", [2, 9])
def test_alignment_overflows_at_no_size(size, width):
    rng = np.random.default_rng(0)
    s, t = rng.standard_normal((5, width)), rng.standard_normal((5, 3))
    value, d = centred_kernel_alignment(s, t)
    again, d_again = centred_kernel_alignment(size * s, t / size)
    assert alike(again, value)
    np.testing.assert_allclose(size * d_again, d, rtol=1e-9)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_what_is_not_a_number_stays_so(loss):
    s, t = two(np.random.default_rng(4))
    s[0, 0, 0, 0] = math.nan
    assert not math.isfinite(loss(s, t)[0]) or np.isnan(loss(s, t)[1]).any()


# ---- in training
# ----------------------------------------------------------------------------------------------------------------------


def networks(rng, *channels):
    """Small convolutional networks, one for each number of channels: maps 6×6 at 2, 3×3 at 4, logits at 6."""
    pool, relu, flat = Layer("average_pool", options={"size": 2}), Layer("relu"), Layer("flatten")
    return [Network([conv_layer(1, c, 3, rng, padding=1), relu, pool, conv_layer(c, c, 3, rng, padding=1), flat,
                     dense_layer(9 * c, 3, rng)]) for c in channels]


def bring(shape, target):
    return connector(shape, target, np.random.default_rng(1))


TERMS = {
    "attention_transfer": lambda: {(4, 4): attention_transfer},
    "neuron_selectivity": lambda: {(4, 4): neuron_selectivity},
    "flow, with connectors": lambda: {((2, 4), (2, 4)): Term(flow, connector=(
        bring((6, 6, 3), (6, 6, 5)), bring((3, 3, 3), (3, 3, 5))))},
    "flow, to the logits": lambda: {((4, 6), (4, 6)): Term(flow, connector=(bring((3, 3, 3), (3, 3, 5)), None))},
    "activation_boundaries": lambda: {(4, 4): Term(activation_boundaries, connector=bring((3, 3, 3), (3, 3, 5)))},
    "centred_kernel_alignment": lambda: {(4, 4): centred_kernel_alignment},
    "centred_kernel_alignment, of layers of other kinds": lambda: {(6, 4): centred_kernel_alignment},
}


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
def test_each_of_them_falls_as_a_term_of_an_objective(terms):
    rng = np.random.default_rng(0)
    student, teacher = networks(rng, 3, 5)
    data = {"x": rng.standard_normal((60, 6, 6, 1)).astype(np.float32)}
    records = list(offline(student, teacher, data, Terms(terms()), optimiser=Adam(0.01), rng=rng,
                           settings=TrainingSettings(30, 30)))
    assert records[-1].loss < 0.8 * records[0].loss


def test_every_loss_says_what_it_is_divided_by():
    for loss in (attention_transfer, neuron_selectivity, flow, activation_boundaries):
        assert "ivided by N" in " ".join(loss.__doc__.split()), loss.__name__
    assert "Divided by nothing" in " ".join(centred_kernel_alignment.__doc__.split())
