"""npkd.data.datasets: what is embedded is the original, what is learnt is learnt on the training part, what cannot be
used is refused."""

import os
import re
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npkd.core.files import read_npz
from npkd.core.validation import InputError
from npkd.data.batches import passes_over
from npkd.data.datasets import DIGITS, from_arrays, load, split, undecided
from npkd.data.idx import PARTS, find, read_idx
from npkd.nn.scaling import Scaling
from reference.benchmarks import embed_digits
from tests.data.test_idx import idx_bytes


def local(name):
    """What is on this machine, without the network: the files, or the sentence that says what is missing."""
    try:
        return find(name, mirrors=())
    except InputError as error:
        return str(error)


MNIST = local("mnist")
ORIGINALS = Path(os.environ.get("NPKD_DATA", ""), "optdigits")
HAVE_ORIGINALS = "NPKD_DATA" in os.environ and (ORIGINALS / "optdigits.tra").is_file()


# ------------------------------------------------------------------------------------------------------------ the split

@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    y=st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array),
    fraction=st.floats(0, 0.5, exclude_min=True), seed=st.integers(0, 9),
)
def test_the_laws_of_the_split(y, fraction, seed):
    training, validation = split(y, fraction, np.random.default_rng(seed))
    assert sorted([*training, *validation]) == list(range(len(y)))     # every example once, in one of them
    assert list(training) == sorted(training)
    assert list(validation) == sorted(validation)
    for label in set(y.tolist()):
        count = sum(1 for k in y if k == label)
        held_out = sum(1 for i in validation if y[i] == label)
        assert held_out == (0 if count == 1 else max(1, round(fraction * count)))
        assert held_out < count                                        # something is left to learn from
    again = split(y, fraction, np.random.default_rng(seed))
    assert np.array_equal(again[0], training)
    assert np.array_equal(again[1], validation)


def test_every_example_is_drawn_equally_often():
    y = np.repeat([0, 1], [10, 20])
    drawn = np.zeros(30)
    for seed in range(400):
        drawn[split(y, 0.3, np.random.default_rng(seed))[1]] += 1
    assert drawn.sum() == 400 * (3 + 6)
    assert np.abs(drawn - 120).max() < 4.5 * np.sqrt(400 * 0.3 * 0.7)  # binomial, 30 of them


@pytest.mark.parametrize("fraction", [0, -0.1, 0.51, 1, float("nan")])
def test_fractions_that_are_refused(fraction):
    with pytest.raises(InputError, match="validation is"):
        load("digits", seed=0, validation=fraction)


# ---------------------------------------------------------------------------------------------------------- the scaling

def test_range_maps_the_range_to_zero_and_one():
    scaling = Scaling.range(-2, 6, 3)
    scaled = scaling.apply(np.array([[-2, 6, 0], [2, 7, -4]]))
    np.testing.assert_array_equal(scaled, np.array([[0, 1, 0.25], [0.5, 1.125, -0.25]], np.float32), strict=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10_000))
def test_standard_gives_mean_zero_and_deviation_one(seed):
    rng = np.random.default_rng(seed)
    widths, middles = 10.0 ** rng.integers(-8, 9, (2, 3)), 10.0 ** rng.integers(-3, 4, (2, 3))
    x = rng.standard_normal((rng.integers(2, 40), 2, 3)) * widths + middles
    x[:, 0, 0] = 0.1                                                   # constant, and no float32
    scaled = Scaling.standard(x).apply(x).astype(np.float64)
    assert scaled.shape == (len(x), 6)
    for i, column in enumerate(x.reshape(len(x), 6).T):
        n = len(column)
        mean = sum(column) / n
        deviation = (sum((v - mean) ** 2 for v in column) / n) ** 0.5
        if deviation > 1e-5 * abs(mean):
            shift = 1e-7 * abs(mean) / deviation + 1e-5                # what a float32 offset can be away
            np.testing.assert_allclose(scaled[:, i], (column - mean) / deviation, rtol=1e-5, atol=shift)
    assert np.abs(scaled[:, 0]).max() < 1e-7                           # becomes 0, is not blown up


def test_a_constant_feature_keeps_its_size():
    x = np.array([[3.0, 0.1, 1e-42], [3.0, 0.1, 2e-42], [3.0, 0.1, 3e-42]])
    scaling = Scaling.standard(x)
    np.testing.assert_array_equal(scaling.factor, np.ones(3, np.float32), strict=True)
    np.testing.assert_allclose(scaling.apply(x), np.zeros((3, 3)), atol=1e-8)
    np.testing.assert_allclose(scaling.apply(x + 2), np.full((3, 3), 2.0), rtol=1e-6)


@pytest.mark.parametrize("dtype",
                         [np.uint8, np.int8, np.int64, np.uint64, np.float16, np.float32, np.float64, np.longdouble])
def test_every_kind_of_number_is_scaled_in_enough_precision(dtype):
    large = 2**60 if np.dtype(dtype).itemsize >= 8 else 100
    x = np.array([[large, large + large // 4], [large + large // 2, large]]).astype(dtype) if large > 100 else np.array(
        [[100, 104], [120, 100]]).astype(dtype)
    low, high = x.min(), x.max()
    expected = [[float(v - low) / float(high - low) for v in row] for row in x]
    before = x.copy()
    scaled = Scaling.range(float(low), float(high), 2).apply(x)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, expected, rtol=1e-6)
    np.testing.assert_array_equal(x, before, strict=True)              # no function changes its arguments
    assert not np.shares_memory(scaled, x)


def test_float16_is_computed_with_in_float32(tmp_path):
    """Up to its largest number, 65504, and beyond it behind a scaling."""
    half = np.random.default_rng(0).uniform(-65504, 65504, (60, 4)).astype(np.float16)
    half[:2] = [[65504], [-65504]]
    single, y = half.astype(np.float32), np.arange(60) % 3
    np.savez(tmp_path / "shard.npz", x=half)
    for scaling in (Scaling.standard(half), Scaling(np.full(4, -65504, np.float32), np.full(4, 9, np.float32))):
        expected = scaling.apply(single)
        np.testing.assert_array_equal(scaling.apply(half), expected, strict=True)
        for prepare in (None, scaling.apply):
            for x in (half, [half[:20], half[20:]], iter([half[:20], half[20:]]), tmp_path):
                with ExitStack() as stack:
                    rows = np.concatenate([part for part, _ in passes_over(x, None, 3, prepare, stack)()])
                np.testing.assert_array_equal(rows, single if prepare is None else expected, strict=True)
    for a, b in zip(*(from_arrays("a", [x, y, x, y], seed=0).x_train for x in (half, single)), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    with pytest.raises(InputError, match="Data: x_validation is float16; it must be float32, as from_arrays"):
        replace(from_arrays("a", [single, y, single, y], seed=0), x_validation=half)


@pytest.mark.parametrize(("middle", "width"), [(0, 100), (1.7e9, 100), (-3e12, 1.0), (1e9, 1e-3)])
def test_a_feature_far_from_zero_is_scaled_in_the_precision_of_its_numbers(middle, width):
    """As exact arithmetic has it: deviation √1.25 · width of the four values, in equal numbers, around their middle."""
    steps = np.tile([0.0, 1, 2, 3], 5000)
    x = np.c_[middle + width * steps, np.full(20_000, 0.1), np.full(20_000, 1.7e9)]
    scaling = Scaling.standard(x)
    assert scaling.factor[0] == pytest.approx(1 / (width * np.sqrt(1.25)), rel=1e-3)
    assert scaling.factor[1:].tolist() == [1, 1]                       # constant, whatever the sums have lost
    scaled = scaling.apply(x)
    np.testing.assert_allclose(scaled[:4, 0], (np.arange(4) - 1.5) / np.sqrt(1.25), atol=0.02)
    assert np.abs(scaled[:, 1:]).max() < 1e-6
    again = Scaling.standard((x[:, :1] - middle).astype(np.float32))   # and float32 where that is enough
    assert again.offset.dtype == np.float32


def test_the_precision_is_that_of_the_numbers():
    """A float32 of 1.7e9 is known to 128: what varies by less is its rounding; the same numbers as integers do vary."""
    x = np.tile([[1.7e9], [1.7e9 + 128]], (50, 1))
    assert Scaling.standard(x.astype(np.float32)).factor == 1
    for dtype in (np.int64, np.float64):
        assert Scaling.standard(x.astype(dtype)).factor == pytest.approx(1 / 64)


ONE = np.ones(3, np.float32)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: Scaling(ONE, ONE[:2]), "float32"),
    (lambda: Scaling(ONE, ONE.astype(np.float64)), "float32"),
    (lambda: Scaling(ONE[None], ONE[None]), r"\(I,\)"),
    (lambda: Scaling(ONE, 0 * ONE), "positive"),
    (lambda: Scaling(ONE, -ONE), "positive"),
    (lambda: Scaling(ONE * np.float32("nan"), ONE), "finite|beyond"),
    (lambda: Scaling.range(1, 1, 3), "1 … 1"),
    (lambda: Scaling.range(2, 1, 3), "2 … 1"),
    (lambda: Scaling.range(0, float("nan"), 3), "nan"),
    (lambda: Scaling.range(0, 1e60, 3), "beyond"),
    (lambda: Scaling.standard(np.array([[1e300], [-1e300]])), "beyond"),
    (lambda: Scaling.standard(np.array([[1.0], [np.nan]])), "beyond"),
    (lambda: Scaling.standard(np.zeros(3)), r"\(3,\)"),
    (lambda: Scaling(ONE, ONE).apply(np.zeros((2, 4))), "4 features"),
    (lambda: Scaling(ONE, ONE).apply(np.zeros((0, 3))), r"\(0, 3\)"),
    (lambda: Scaling(ONE, ONE).apply(np.zeros(3)), r"\(3,\)"),
    (lambda: Scaling(ONE, ONE).apply(np.full((2, 3), "a")), "<U1"),
    (lambda: Scaling(ONE, ONE).apply(np.array([[1, 2, 3], [4, np.inf, 6]])), r"inf at \(1, 1\)"),
    (lambda: Scaling(ONE, ONE).apply(np.array([[1, 2, np.nan], [4, 5, 6]])), r"nan at \(0, 2\)"),
    (lambda: Scaling(ONE, ONE).apply(np.array([[1, 2, 3], [1e200, 5, 6]])), r"1e\+200 at \(1, 0\)"),
])
def test_scalings_that_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


def arrays_of(dtype, examples=60, shape=(2, 3), classes=3, seed=0):
    """Own data: x holds, in its first feature, the number of the row."""
    rng = np.random.default_rng(seed)
    x = (100 * rng.standard_normal((examples + 20, *shape))).astype(dtype)
    x.reshape(len(x), -1)[:, 0] = np.arange(len(x))
    y = np.arange(len(x)) % classes
    return [x[:examples], y[:examples], x[examples:], y[examples:]]


@pytest.mark.parametrize(("dtype", "shape"),
                         [(np.int16, (2, 3)), (np.float32, (2, 3)), (np.float64, (6,)), (np.int16, (6,))])
def test_the_scaling_is_learnt_on_the_training_part_alone(dtype, shape):
    arrays = arrays_of(dtype, shape=shape)
    data = from_arrays("mine", arrays, seed=3, validation=0.2)
    rows = np.arange(60)
    held_out = np.isin(rows, split(arrays[1], 0.2, np.random.default_rng(3))[1])
    changed = [a.copy() for a in arrays]
    changed[0][held_out] = 30_000
    changed[2][:] = -30_000
    again = from_arrays("mine", changed, seed=3, validation=0.2)
    np.testing.assert_array_equal(again.scaling.offset, data.scaling.offset)
    np.testing.assert_array_equal(again.scaling.factor, data.scaling.factor)
    np.testing.assert_array_equal(again.x_train, data.x_train)
    changed[0][~held_out] = arrays[0][~held_out] * 2                   # whereas this does change it
    again = from_arrays("mine", changed, seed=3, validation=0.2)
    assert not np.array_equal(again.scaling.factor, data.scaling.factor)
    training = arrays[0][~held_out].reshape(-1, 6).astype(np.float64)
    if len(shape) == 2:                                                # pictures
        expected = (training - training.min()) / (training.max() - training.min())
    else:
        expected = (training - training.mean(axis=0)) / training.std(axis=0)
    np.testing.assert_allclose(data.x_train, expected, rtol=1e-4, atol=1e-5)


def drawn_like_pictures(features=64, rare=1 / 256):
    """x, y, x_test, y_test: fractions, and a pixel that is nearly always 0 in training and 1 in the test part."""
    rng = np.random.default_rng(0)
    x, t = rng.random((300, features)).astype(np.float32), rng.random((60, features)).astype(np.float32)
    x[:, 0], x[0, 0], t[:, 0] = 0, rare, 1
    return [x, np.arange(300) % 2, t, np.arange(60) % 2]


@pytest.mark.parametrize("shape", [(8, 8), (64,), (4, 4, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_pictures_have_one_scale_whatever_they_are_stored_as(shape, dtype):
    arrays = drawn_like_pictures()
    for k in (0, 2):
        x = arrays[k].reshape(-1, *shape)
        arrays[k] = (255 * x).round().astype(dtype) if dtype == np.uint8 else x.astype(dtype)
    data = from_arrays("mine", arrays, seed=0)
    assert np.ptp(data.scaling.offset) == 0 == np.ptp(data.scaling.factor)
    assert np.abs(data.x_train).max() <= 1
    assert np.abs(data.x_test).max() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("change", [lambda x: x[:, :63], lambda x: x - 0.01, lambda x: 1.1 * x],
                         ids=["few", "negative", "above 1"])
def test_tables_are_scaled_feature_by_feature(change):
    arrays = drawn_like_pictures()
    arrays[0], arrays[2] = change(arrays[0]), change(arrays[2])
    assert np.ptp(from_arrays("mine", arrays, seed=0).scaling.factor) > 1


# ----------------------------------------------------------------------------------------------------------- own arrays

@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    dtype=st.sampled_from([np.uint8, np.int32, np.float32, np.float64]),
    shape=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    classes=st.integers(2, 4), seed=st.integers(0, 99), validation=st.floats(0.01, 0.5),
)
def test_own_arrays_of_any_shape(dtype, shape, classes, seed, validation):
    arrays = arrays_of(dtype, shape=tuple(shape), classes=classes, seed=seed)
    before = [a.copy() for a in arrays]
    data = from_arrays("mine", arrays, seed=seed, validation=validation)
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    width = int(np.prod(shape))
    for x, y in ((data.x_train, data.y_train), (data.x_validation, data.y_validation), (data.x_test, data.y_test)):
        assert x.shape == (len(y), width)
        assert x.dtype == np.float32
        assert x.flags.c_contiguous
        assert y.dtype == np.int64
    assert data.classes == classes
    assert data.shape == tuple(shape)

    def original(x):                                                   # back to where it came from
        return x.astype(np.float64) / data.scaling.factor + data.scaling.offset

    rows = np.rint(original(data.x_train)[:, 0]).astype(int), np.rint(original(data.x_validation)[:, 0]).astype(int)
    assert sorted(np.concatenate(rows)) == list(range(60))
    tolerance = 1e-5 * max(1, np.abs(arrays[0]).max(), np.abs(arrays[2].astype(float)).max())
    for x, y, which in ((data.x_train, data.y_train, rows[0]), (data.x_validation, data.y_validation, rows[1])):
        np.testing.assert_allclose(original(x), arrays[0][which].reshape(len(which), width), atol=tolerance)
        np.testing.assert_array_equal(y, arrays[1][which])
    np.testing.assert_allclose(original(data.x_test), arrays[2].reshape(20, width), atol=tolerance)
    np.testing.assert_array_equal(data.y_test, arrays[3])


def test_an_npz_of_ones_own(tmp_path):
    arrays = arrays_of(np.float32)
    path = tmp_path / "mine.v2.npz"
    for save in (np.savez, np.savez_compressed):
        save(path, **dict(zip(("x_train", "y_train", "x_test", "y_test"), arrays, strict=True)), names=np.array([None]))
        data = load(str(path), seed=1)
        expected = from_arrays("mine.v2", arrays, seed=1)
        for field in fields(data):
            if field.name != "scaling":
                np.testing.assert_array_equal(getattr(data, field.name), getattr(expected, field.name))


def test_a_folder_of_idx_files(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(3, 200, (30, 5, 4), np.uint8), np.arange(30, dtype=np.uint8) % 3
    x[0, 0, :2] = 3, 199
    # bytes: 0 … 255, whatever is in them
    for dtype, expected in ((np.uint8, x / 255), (np.int16, (x - 3.0) / (199 - 3))):
        for part, array in zip(PARTS, (x.astype(dtype), y, x[:9].astype(dtype), y[:9]), strict=True):
            (tmp_path / part).write_bytes(idx_bytes(array))
        data = load(str(tmp_path), seed=0, validation=0.1)
        assert data.name == tmp_path.name
        assert data.shape == (5, 4)
        np.testing.assert_allclose(data.x_test, expected[:9].reshape(9, 20), rtol=1e-5, atol=1e-6)
        assert (len(data.x_train), len(data.x_validation)) == (27, 3)


def broken(place, change):
    """Own arrays with one of them changed."""
    arrays = arrays_of(np.float64)
    arrays[place] = change(arrays[place])
    return arrays


def put(value):
    def change(a):
        a = a.astype(np.float64)
        a[4, 1, 2] = value
        return a
    return change


WRONG = {
    "nan in x_train": (broken(0, put(np.nan)), r"x_train holds nan at \(4, 1, 2\)"),
    "inf in x_test": (broken(2, put(-np.inf)), r"x_test holds -inf at \(4, 1, 2\)"),
    "too large for float32": (broken(2, put(1e300)), r"x holds 1e\+300"),
    "objects": (broken(0, lambda a: a.astype(object)), "x_train: x is of object"),
    "words": (broken(2, lambda a: a.astype(str)), "x_test: x is of <U"),
    "complex": (broken(0, lambda a: a.astype(complex)), "complex128"),
    "truth values": (broken(0, lambda a: a > 0), "bool"),
    "dates": (broken(0, lambda a: a.astype("datetime64[s]")), "datetime64"),
    "no features": (broken(0, lambda a: a[:, :0]), r"\(60, 0, 3\)"),
    "one axis": (broken(0, lambda a: a[:, 0, 0]), r"\(60,\)"),
    "no test examples": (broken(2, lambda a: a[:0]), r"x_test: x has shape \(0, 2, 3\)"),
    "other shapes": (broken(2, lambda a: a.transpose(0, 2, 1)), r"\(2, 3\), of x_test \(3, 2\)"),
    "labels too few": (broken(1, lambda a: a[:-1]), r"y_train has shape \(59,\)"),
    "test labels too many": (broken(3, lambda a: np.repeat(a, 2)), r"y_test has shape \(40,\)"),
    "labels one-hot": (broken(1, lambda a: np.eye(3, dtype=int)[a]),
                       r"y_train has shape \(60, 3\).*y_train\.argmax\(axis=1\)"),
    "labels in a column": (broken(1, lambda a: a[:, None]), r"y_train has shape \(60, 1\).*y_train\.ravel\(\)"),
    "labels floats": (broken(1, lambda a: a.astype(float)), "y_train is an array of float64 .* of one kind"),
    "labels words": (broken(3, lambda a: a.astype(str)), "y_test is of <U"),
    "labels objects": (broken(1, lambda a: a.astype(object)), "y_train is of object"),
    "labels negative": (broken(1, lambda a: a - 1), "y_train holds labels -1 … 1"),
    "labels that number nothing": (broken(1, lambda a: a * 10**9), "y_train holds labels 0 … 2000000000"),
    "labels beyond int64": (broken(1, lambda a: a.astype(np.uint64) + np.uint64(2**63)), "y_train holds labels"),
    "labels from 1": (broken(1, lambda a: a + 1),
                      r"3 different labels, 1 … 3 \(3 in 20 of 60 examples\), and none is 0"),
    "codes": (broken(1, lambda a: np.where(a > 1, 25, 3)), "2 different labels, 3 … 25 .* none is 0"),
    "one wrong label": (broken(1, lambda a: np.where(np.arange(60) == 7, 59, a)),
                        r"0 … 59 \(59 in 1 of 60 examples\), and none is 3"),
    "a class left out": (broken(1, lambda a: np.where(a == 1, 3, a)), "3 different labels, 0 … 3 .* none is 1"),
    "test part divided": (broken(2, lambda a: a / 255),
                          r"x_test is on another scale .* lie 0\.00\d+ from their mean, those of x_train 0\.\d+"),
    "training part divided": (broken(0, lambda a: a / 255), "x_test is on another scale than x_train"),
    "sparse": ([scipy.sparse.csr_matrix(a) if a.ndim > 1 else a for a in arrays_of(np.float64, shape=(6,))],
               r"sparse matrix \(60, 6\)"),
    "one class": (broken(1, lambda a: a * 0 + 2), "class 2 alone"),
    "a class that training never saw": (broken(3, lambda a: a + 1), "y_test holds labels 1 … 3"),
    "too few": ([a[:9] for a in arrays_of(np.float64)], "9 examples"),
    "nothing": ([a[:0] for a in arrays_of(np.float64)], r"\(0, 2, 3\)"),
    "all the same": (broken(0, lambda a: np.full(a.shape, 7)), "7 … 7"),
}


@pytest.mark.parametrize(("arrays", "words"), WRONG.values(), ids=WRONG)
def test_arrays_that_are_refused(tmp_path, arrays, words):
    with pytest.raises(InputError, match=words) as caught:
        from_arrays("mine", arrays, seed=0)
    assert "\n" not in str(caught.value)
    if not any(a.dtype == object or scipy.sparse.issparse(a) for a in arrays):                 # and from a file as well
        np.savez(tmp_path / "mine.npz", **dict(zip(("x_train", "y_train", "x_test", "y_test"), arrays, strict=True)))
        with pytest.raises(InputError, match=words):
            load(str(tmp_path / "mine.npz"), seed=0)


def test_a_test_part_too_small_to_tell_its_scale_is_taken():
    x, y, x_test, y_test = arrays_of(np.float64)
    assert len(from_arrays("mine", [x, y, x_test[:9] / 255, y_test[:9]], seed=0).x_test) == 9
    assert len(from_arrays("mine", [x, y, 0 * x_test + 5, y_test], seed=0).x_test) == 20


@pytest.mark.parametrize(("examples", "words"), [(5, "5 examples, each worth 20 points"), (1, "1 example, each"),
                                                 (0, "0 examples"), (99, "1.01 points")])
def test_what_a_small_validation_part_decides(examples, words):
    assert words in undecided(examples)
    assert undecided(100) == undecided(6000) == ""


def test_a_negative_seed_is_refused():
    with pytest.raises(InputError, match="seed is -1"):
        load("digits", seed=-1)


def test_paths_that_are_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.npz").write_text("no")
    (tmp_path / "text.csv").write_text("1,2")
    np.savez(tmp_path / "part.npz", x_train=np.zeros((2, 2)), y_train=np.zeros(2))
    np.savez(tmp_path / "objects.npz", x_train=np.array([None]), y_train=np.zeros(2))
    for name, words in (
        ("minst", "digits, mnist, fashion-mnist, the path of an .npz"), ("", "digits, mnist"),
        ("x" * 5000, "digits, mnist"),
        (tmp_path / "missing.npz", "No such file"), (tmp_path / "folder", PARTS[0]),
        (tmp_path / "text.npz", "is text; read it"),
        (tmp_path / "text.csv", r"npkd\[pandas\]|--label is None"),
        (tmp_path / "part.npz", "no array x_test.* archive with x_train, y_train"),
        (tmp_path / "objects.npz", "objects"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            load(str(name), seed=0)
        assert str(name) in str(caught.value)
        assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------------------ real data

def test_the_embedded_digits():
    data = load("digits", seed=0)
    assert data.name == "digits"
    assert data.shape == (8, 8)
    assert data.classes == 10
    assert len(data.x_train) + len(data.x_validation) == 3823
    # the counts of the classes in the description that comes with the original files
    train, test = [376, 389, 380, 389, 387, 376, 377, 387, 380, 382], [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    np.testing.assert_array_equal(np.bincount(data.y_train) + np.bincount(data.y_validation), train)
    np.testing.assert_array_equal(np.bincount(data.y_validation), [round(n / 10) for n in train])
    np.testing.assert_array_equal(np.bincount(data.y_test), test)
    sixteenths = np.concatenate([data.x_train, data.x_validation, data.x_test]) * 16
    assert set(np.unique(sixteenths)) == set(range(17))
    other = load("digits", seed=1)
    np.testing.assert_array_equal(other.x_test, data.x_test)       # the seed draws the validation part and nothing else
    assert not np.array_equal(other.x_validation, data.x_validation)


def test_the_embedded_digits_say_whose_they_are():
    header, arrays = read_npz(DIGITS, "digits")
    assert header["doi"] == "10.24432/C50P49"
    assert "Alpaydin" in header["creators"]
    assert "Kaynak" in header["creators"]
    assert "CC BY 4.0" in header["licence"]
    assert {a.dtype for a in arrays.values()} == {np.dtype(np.uint8)}
    assert {name: a.shape for name, a in arrays.items()} == {
        "x_train": (3823, 8, 8), "y_train": (3823,), "x_test": (1797, 8, 8), "y_test": (1797,)}
    assert DIGITS.stat().st_size < 200_000


@pytest.mark.parametrize("folder", [ORIGINALS],
                         ids=["originals" if HAVE_ORIGINALS else "LEFT-OUT-no-optdigits-in-NPKD_DATA"])
def test_the_embedded_digits_are_the_original_ones(folder, tmp_path, capsys):
    """Where NPKD_DATA holds optdigits/: every number, and the file is made anew. Elsewhere: the script says what it
    misses."""
    if not HAVE_ORIGINALS:
        assert embed_digits.main([str(tmp_path), str(tmp_path / "x.npz")]) == 2
        assert "optdigits.tra" in capsys.readouterr().err
        return
    _, arrays = read_npz(DIGITS, "digits")
    for part, ending in (("train", "tra"), ("test", "tes")):
        lines = [[int(word) for word in line.split(",")]
                 for line in (folder / f"optdigits.{ending}").read_text().split()]
        assert [row.ravel().tolist() for row in arrays[f"x_{part}"]] == [line[:64] for line in lines]
        assert arrays[f"y_{part}"].tolist() == [line[64] for line in lines]
    for name in ("1.npz", "2.npz"):
        assert embed_digits.main([str(folder), str(tmp_path / name)]) == 0
        assert "3823 + 1797" in capsys.readouterr().out
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    header, made = read_npz(tmp_path / "1.npz", "digits")
    assert header == read_npz(DIGITS, "digits")[0]
    for name, array in made.items():
        np.testing.assert_array_equal(array, arrays[name], strict=True)


def test_embed_digits_takes_the_originals_only(tmp_path, capsys):
    assert embed_digits.main([]) == 2
    assert "usage" in capsys.readouterr().err
    for name in embed_digits.SUMS:
        (tmp_path / name).write_text("0," * 64 + "1\n")
    assert embed_digits.main([str(tmp_path), str(tmp_path / "x.npz")]) == 2
    assert "sha256" in capsys.readouterr().err
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize("mnist", [MNIST], ids=["found" if isinstance(MNIST, dict) else "LEFT-OUT-no-MNIST-here"])
def test_mnist(mnist):
    """Where MNIST is on this machine: what is known of it. Elsewhere: the sentence that says what is missing."""
    if isinstance(mnist, str):
        for words in ("mnist", PARTS[0], "NPKD_DATA", "put the four IDX files"):
            assert words in mnist
        return
    data = load("mnist", seed=0, mirrors=())
    assert data.shape == (28, 28)
    assert data.classes == 10
    assert (data.x_train.shape, data.x_test.shape) == ((60000 - len(data.x_validation), 784), (10000, 784))
    # counts of the classes, mean and deviation of the pixels as they are generally quoted
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    np.testing.assert_array_equal(np.bincount(data.y_train) + np.bincount(data.y_validation), train)
    np.testing.assert_array_equal(np.bincount(data.y_validation), [round(n * 0.1) for n in train])
    np.testing.assert_array_equal(np.bincount(data.y_test), test)
    pixels = np.concatenate([data.x_train, data.x_validation])
    assert abs(pixels.mean(dtype=np.float64) - 0.1307) < 5e-5
    assert abs(np.sqrt(np.square(pixels, out=pixels).mean(dtype=np.float64) - 0.13066**2) - 0.3081) < 5e-5
    raw = read_idx(mnist[PARTS[2]])
    np.testing.assert_allclose(data.x_test[:100], raw[:100].reshape(100, 784) / 255, rtol=1e-6)


def test_the_names_go_before_paths_and_nothing_is_printed(tmp_path, monkeypatch, capsys):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load("digits", seed=0).shape == (8, 8)
    with pytest.raises(InputError, match=re.escape(PARTS[0])):
        load("./digits", seed=0)
    assert capsys.readouterr() == ("", "")
