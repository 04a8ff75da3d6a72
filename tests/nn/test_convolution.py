"""Convolution and pooling: any shape, stride, padding, dilation and groups against the definitions, differences, and
laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate

import reference.definitions.nn.convolution
import reference.definitions.nn.layers
import reference.definitions.nn.normalisation
import reference.definitions.nn.pooling
from npkd import gradcheck
from npkd.nn.convolution import conv2d, im2col
from npkd.nn.layers import dense, flatten, gate, unflatten
from npkd.nn.normalisation import batch_norm, moments
from npkd.nn.pooling import average_pool, global_average_pool, max_pool

SOME = settings(max_examples=30)
FEW = settings(deadline=None, max_examples=20)


@st.composite
def geometries(draw, dilated=True):
    """Sizes of maps and options of a kernel that fits, of each direction by itself; strides need not divide."""
    most = 3 if dilated else 1
    ranges = (("kernel", 1, 3), ("stride", 1, 3), ("padding", 0, 2), ("dilation", 1, most), ("more", 0, 3))
    pairs = {name: tuple(draw(st.integers(low, high)) for _ in range(2)) for name, low, high in ranges}
    if not dilated:
        pairs["padding"] = tuple(min(p, k // 2) for p, k in zip(pairs["padding"], pairs["kernel"], strict=True))
    size = [max(1, d * (k - 1) + 1 - 2 * p) + more
            for k, p, d, more in zip(pairs["kernel"], pairs["padding"], pairs["dilation"], pairs["more"], strict=True)]
    return size, {name: pairs[name] for name in ("kernel", "stride", "padding", "dilation")}


def pooling_options(options):
    return {"size": options["kernel"], "stride": options["stride"], "padding": options["padding"]}


def drawn(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


def distinct(seed, *shape):
    """Values that all differ by at least 0.25, in any order."""
    return np.random.default_rng(seed).permutation(np.arange(np.prod(shape)) * 0.25 - 3).reshape(shape)


# ---- any geometry
# --------------------------------------------------------------------------------------------------------------


@SOME
@given(geometry=geometries(), n=st.integers(1, 2), c=st.integers(1, 2), seed=st.integers(0, 99))
def test_any_im2col(geometry, n, c, seed):
    size, options = geometry
    x, = drawn(seed, (n, *size, c))
    y, backward = im2col(x, **options)
    assert np.array_equal(y, reference.definitions.nn.convolution.im2col(x, **options))
    u, v = drawn(seed + 1, x.shape, y.shape)
    assert np.vdot(im2col(u, **options)[0], v) == pytest.approx(np.vdot(u, backward(v)[0]), rel=1e-12, abs=1e-12)


@SOME
@given(geometry=geometries(), n=st.integers(1, 2), groups=st.integers(1, 3),
       parts=st.tuples(st.integers(1, 2), st.integers(1, 2)), seed=st.integers(0, 99))
def test_any_conv2d(geometry, n, groups, parts, seed):
    size, options = geometry
    kernel = options.pop("kernel")
    options["groups"] = groups
    x, w, b = drawn(seed, (n, *size, groups * parts[0]), (groups * parts[1], *kernel, parts[0]), groups * parts[1])
    y, _ = conv2d(x, w, b, **options)
    expected = reference.definitions.nn.convolution.conv2d(x, w, b, **options)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-13)
    assert gradcheck.check(conv2d, x, w, b, options=options).worst <= 1e-9


@SOME
@given(geometry=geometries(dilated=False), n=st.integers(1, 2), c=st.integers(1, 2), seed=st.integers(0, 99))
def test_any_pooling(geometry, n, c, seed):
    size, options = geometry
    x, options = distinct(seed, n, *size, c), pooling_options(options)
    assert np.array_equal(max_pool(x, **options)[0], reference.definitions.nn.pooling.max_pool(x, **options))
    np.testing.assert_allclose(average_pool(x, **options)[0],
                               reference.definitions.nn.pooling.average_pool(x, **options), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(global_average_pool(x)[0], reference.definitions.nn.pooling.global_average_pool(x),
                               rtol=1e-12, atol=1e-13)
    for op in (max_pool, average_pool):
        assert gradcheck.check(op, x, options=options).worst <= 1e-9
    assert gradcheck.check(global_average_pool, x).worst <= 1e-9


@FEW
@given(shape=st.lists(st.integers(1, 3), min_size=1, max_size=4), j=st.integers(1, 3), given=st.booleans(),
       seed=st.integers(0, 99))
def test_neurons_at_any_number_of_positions(shape, j, given, seed):
    x, g, beta, mean, variance = drawn(seed, (*shape, j), j, j, j, j)
    np.testing.assert_array_equal(gate(x, g)[0], reference.definitions.nn.layers.gate(x, g))
    assert gradcheck.check(gate, x, g).worst <= 1e-9
    options = {"eps": 0.1, "running": (mean, variance ** 2 + 0.5)} if given else {"eps": 0.1}
    if given or np.prod(shape) > 1:
        np.testing.assert_allclose(batch_norm(x, g, beta, **options)[0],
                                   reference.definitions.nn.normalisation.batch_norm(x, g, beta, **options), rtol=1e-11,
                                   atol=1e-12)
        assert gradcheck.check(batch_norm, x, g, beta, options=options).worst <= 1e-8


@FEW
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), n=st.integers(0, 3), seed=st.integers(0, 99))
def test_unflatten_undoes_flatten(shape, n, seed):
    x, dy = drawn(seed, (n, *shape), (n, *shape))
    rows, back = flatten(x)
    again, forth = unflatten(rows, shape=shape)
    assert np.array_equal(again, x)
    assert np.array_equal(back(forth(dy)[0])[0], dy)
    assert np.array_equal(forth(dy)[0], flatten(dy)[0])


# ---- what a convolution is, said in other ways
# ---------------------------------------------------------------------------------


def test_one_channel_is_the_correlation_of_scipy():
    x, w = drawn(0, (7, 6), (3, 3))
    y, _ = conv2d(x[None, :, :, None], w[None, :, :, None], np.zeros(1), padding=1)
    np.testing.assert_allclose(y[0, :, :, 0], correlate(x, w, mode="constant"), rtol=1e-12, atol=1e-13)


def test_a_stride_leaves_positions_out_and_a_dilation_puts_zeros_between():
    x, w, b = drawn(1, (2, 9, 8, 2), (3, 3, 2, 2), 3)
    whole, _ = conv2d(x, w, b, padding=1)
    np.testing.assert_allclose(conv2d(x, w, b, padding=1, stride=(2, 3))[0], whole[:, ::2, ::3], rtol=1e-12, atol=1e-13)
    wide = np.zeros((3, 5, 4, 2))
    wide[:, ::2, ::3] = w
    np.testing.assert_allclose(conv2d(x, w, b, dilation=(2, 3))[0], conv2d(x, wide, b)[0], rtol=1e-12, atol=1e-13)


def test_groups_are_convolutions_beside_each_other():
    x, w, b = drawn(2, (2, 5, 5, 6), (9, 3, 3, 2), 9)
    parts = [conv2d(x[..., 2 * g:2 * g + 2], w[3 * g:3 * g + 3], b[3 * g:3 * g + 3])[0] for g in range(3)]
    np.testing.assert_allclose(conv2d(x, w, b, groups=3)[0], np.concatenate(parts, axis=3), rtol=1e-12, atol=1e-13)


def test_a_kernel_as_large_as_the_map_is_dense_behind_flatten():
    """The layout: feature = position · C + channel, so channel c has the columns c::C."""
    x, w, b = drawn(3, (4, 3, 2, 5), (7, 3, 2, 5), 7)
    rows, columns = flatten(x)[0], w.reshape(7, -1)
    np.testing.assert_allclose(conv2d(x, w, b)[0][:, 0, 0], dense(rows, columns, b)[0], rtol=1e-12, atol=1e-13)
    for c in range(5):
        assert np.array_equal(rows[:, c::5], x[..., c].reshape(4, 6))
        assert np.array_equal(columns[:, c::5], w[..., c].reshape(7, 6))


def test_a_kernel_of_one_is_dense_at_every_position():
    x, w, b = drawn(4, (2, 3, 4, 5), (6, 1, 1, 5), 6)
    expected = dense(x.reshape(24, 5), w.reshape(6, 5), b)[0]
    np.testing.assert_allclose(conv2d(x, w, b)[0], expected.reshape(2, 3, 4, 6), rtol=1e-12, atol=1e-13)


def test_a_moved_picture_gives_a_moved_map():
    x, w, b = drawn(5, (1, 8, 8, 2), (3, 3, 3, 2), 3)
    moved = np.roll(x, (1, 2), axis=(1, 2))
    np.testing.assert_allclose(conv2d(moved, w, b)[0][:, 1:, 2:], conv2d(x, w, b)[0][:, :-1, :-2], rtol=1e-12,
                               atol=1e-13)


def test_the_mean_of_a_window_is_a_convolution_of_every_channel_for_itself():
    x, = drawn(6, (2, 5, 6, 3))
    part = np.full((3, 3, 2, 1), 1 / 6)
    expected, _ = conv2d(x, part, np.zeros(3), stride=2, padding=(1, 1), groups=3)
    np.testing.assert_allclose(average_pool(x, size=(3, 2), stride=2, padding=1)[0], expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(average_pool(x, size=(5, 6))[0][:, 0, 0], global_average_pool(x)[0], rtol=1e-12,
                               atol=1e-13)


# ---- the winner
# ----------------------------------------------------------------------------------------------------------------


@SOME
@given(geometry=geometries(dilated=False), seed=st.integers(0, 99))
def test_every_sensitivity_goes_to_the_first_winner_alone(geometry, seed):
    """With many ties: the place is that of argmax over the patch, row by row, with the padding below everything."""
    size, options = geometry
    rng, pads = np.random.default_rng(seed), options["padding"]
    x = rng.integers(-3, 0, (2, *size, 2)).astype(float)
    y, backward = max_pool(x, **pooling_options(options))
    dy = rng.integers(1, 9, y.shape).astype(float)
    # 0: in the padding
    places = np.pad(np.arange(x[0, ..., 0].size, dtype=float).reshape(size) + 1, [(p, p) for p in pads])
    around = np.pad(x, [(0, 0), *((p, p) for p in pads), (0, 0)], constant_values=-9.0)
    options = {"kernel": options["kernel"], "stride": options["stride"]}
    values = np.moveaxis(im2col(around, **options)[0], 5, 3).reshape(*y.shape, -1)
    where = im2col(places[None, :, :, None], **options)[0].reshape(*y.shape[1:3], -1)
    expected = np.zeros((2, x[0, ..., 0].size + 1, 2))
    for n, p, q, c in np.ndindex(y.shape):
        expected[n, int(where[p, q, values[n, p, q, c].argmax()]), c] += dy[n, p, q, c]
    assert (expected[:, 0] == 0).all()
    assert np.array_equal(backward(dy)[0], expected[:, 1:].reshape(x.shape))


def test_the_padding_never_wins_but_counts_in_the_mean():
    x = np.full((1, 2, 2, 1), -4.0)
    assert (max_pool(x, size=2, padding=1)[0] == -4).all()
    assert (average_pool(x, size=2, padding=1)[0] == -1).all()


# ---- batches of one kind and another
# -------------------------------------------------------------------------------------------


def test_no_examples_give_no_examples():
    x, w, b = np.zeros((0, 5, 5, 4)), np.ones((6, 3, 3, 2)), np.ones(6)
    for (y, backward), shape in ((conv2d(x, w, b, groups=2), (0, 3, 3, 6)), (im2col(x, kernel=3), (0, 3, 3, 3, 3, 4)),
                                 (max_pool(x, size=2), (0, 2, 2, 4)), (average_pool(x, size=2), (0, 2, 2, 4)),
                                 (global_average_pool(x), (0, 4)), (gate(x, np.ones(4)), (0, 5, 5, 4))):
        assert y.shape == shape
        dx, *rest = backward(y)
        assert dx.shape == x.shape
        assert all((g == 0).all() for g in rest)


def test_channels_are_rows_of_neurons():
    """Over maps, batch_norm and gate do what they do over the positions as examples."""
    x, dy, gamma, beta = drawn(8, (3, 4, 5, 2), (3, 4, 5, 2), 2, 2)
    for op, params in ((batch_norm, (gamma, beta)), (gate, (gamma,))):
        (y, backward), (rows, rows_backward) = op(x, *params), op(x.reshape(60, 2), *params)
        np.testing.assert_allclose(y.reshape(60, 2), rows, rtol=1e-12, atol=1e-13)
        for got, expected in zip(backward(dy), rows_backward(dy.reshape(60, 2)), strict=True):
            np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=1e-11, atol=1e-12)
    y, _ = batch_norm(x, np.ones(2), np.zeros(2), eps=1e-12)
    for got, expected in zip(moments(y), (0, 1), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-10)
