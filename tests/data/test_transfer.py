"""Transfer sets: inputs between and around the examples, with the teacher's logits of exactly those."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.core.validation import InputError
from npkd.data.augmentation import Noise, add_noise, shift_pictures
from npkd.data.transfer import Transfer
from npkd.nn.network import Layer, Network, dense_layer, perceptron


def copied(batch):
    return {name: a.copy() for name, a in batch.items()}


def case(seed=0, n=12, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return perceptron([4, 6, 3], rng, dtype=dtype), {"x": rng.standard_normal((n, 4)).astype(dtype), "y": np.arange(n)}


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10 ** 6), noise_std=st.sampled_from([0.0, 0.3]),
       mixup_alpha=st.sampled_from([0.0, 0.4, 1.0]), single=st.booleans())
def test_the_logits_are_the_teachers_at_the_very_inputs(seed, noise_std, mixup_alpha, single):
    dtype = np.float32 if single else np.float64
    teacher, batch = case(seed, dtype=dtype)
    before, transfer = copied(batch), Transfer(teacher.predict, noise_std=noise_std, mixup_alpha=mixup_alpha)
    shown = copied(transfer(batch, np.random.default_rng(seed)))
    assert shown["x"].dtype == shown["teacher"].dtype == dtype
    np.testing.assert_allclose(shown["teacher"], teacher.predict(shown["x"]), atol=1e-5 if single else 1e-12)
    assert np.array_equal(shown["y"], batch["y"])
    assert all(np.array_equal(batch[k], before[k]) for k in before), "the batch that was given stays as it is"
    assert set(batch) == {"x", "y"}
    assert np.array_equal(shown["x"], batch["x"]) == (noise_std == mixup_alpha == 0)
    # the same draw gives the same bytes, another one others
    again = copied(transfer(batch, np.random.default_rng(seed)))
    assert all(again[k].tobytes() == shown[k].tobytes() for k in shown)
    if noise_std or mixup_alpha:
        assert not np.array_equal(transfer(batch, np.random.default_rng(seed + 1))["x"], shown["x"])


def test_mixed_inputs_lie_nearer_to_their_own():
    """On the line to another example of the batch, in its first half; labels stay those of the nearer one."""
    teacher, batch = case(1, n=30)
    x, shown = batch["x"], Transfer(teacher.predict, mixup_alpha=1.0)(batch, np.random.default_rng(2))["x"]
    moved = 0
    for n in range(30):
        step, found = shown[n] - x[n], False
        for other in x:
            line = other - x[n]
            if not line.any():
                found = found or not step.any()
            else:
                part = step @ line / (line @ line)
                found = found or (-1e-12 <= part <= 0.5 + 1e-12 and bool(np.abs(step - part * line).max() < 1e-12))
        assert found
        moved += bool(step.any())
    assert moved > 20


def test_a_mixture_is_as_strong_as_its_parameter():
    """Beta(α, α) folded: mean of 1 − m is 1/4 for α = 1, nearly 0 for a small α, nearly ½ for a large one."""
    rng = np.random.default_rng(3)
    teacher = Network([dense_layer(1, 1, rng, np.float64)])
    batch = {"x": np.repeat([[0.0], [1.0]], 5000, axis=0)}
    away = {}
    for alpha in (0.05, 1.0, 50.0):
        shown = Transfer(teacher.predict, mixup_alpha=alpha)(batch, np.random.default_rng(4))["x"]
        away[alpha] = float(np.abs(shown - batch["x"]).mean()) * 2           # half of the partners are the same
    assert away[1.0] == pytest.approx(0.25, abs=0.01)
    assert away[0.05] < 0.05
    assert away[50.0] > 0.44


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_is_normal_and_of_its_size(dtype):
    x = np.full((400, 50), 3, dtype)
    e = add_noise(x, 0.5, np.random.default_rng(5)) - x
    assert e.dtype == dtype
    assert e.mean() == pytest.approx(0, abs=0.02)
    assert e.std() == pytest.approx(0.5, rel=0.02)
    assert (e ** 4).mean() == pytest.approx(3 * 0.5 ** 4, rel=0.1)
    assert np.corrcoef(e[:, 0], e[:, 1])[0, 1] == pytest.approx(0, abs=0.15)
    assert (x == 3).all()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10 ** 6), height=st.integers(1, 6), width=st.integers(1, 6), max_shift=st.integers(0, 3))
def test_shifting_moves_pictures(seed, height, width, max_shift):
    """Each picture by some u and v within the largest shift, pixel by pixel; zeros come in; nothing else happens."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(1, 2, (6, height * width)).astype(np.float32)
    before = x.copy()
    if max_shift >= min(height, width):
        with pytest.raises(InputError, match="shift_pictures"):
            shift_pictures(x, (height, width), max_shift, rng)
        return
    moved = shift_pictures(x, (height, width), max_shift, rng)
    assert moved.dtype == x.dtype
    assert np.array_equal(x, before)
    for old, new in zip(x.reshape(-1, height, width), moved.reshape(-1, height, width), strict=True):
        assert any(np.array_equal(new, shifted(old, u, v)) for u in range(-max_shift, max_shift + 1)
                   for v in range(-max_shift, max_shift + 1))


def shifted(picture, u, v):
    out = np.zeros_like(picture)
    for r in range(len(picture)):
        for c in range(picture.shape[1]):
            if 0 <= r - u < len(picture) and 0 <= c - v < picture.shape[1]:
                out[r, c] = picture[r - u, c - v]
    return out


def test_all_moves_are_as_likely():
    x = np.zeros((9000, 9), np.float32)
    x[:, 4] = 1                                              # the middle of 3 × 3: where it goes says how it moved
    counts = np.bincount(shift_pictures(x, (3, 3), 1, np.random.default_rng(0)).argmax(axis=1), minlength=9)
    assert np.abs(counts - 1000).max() < 150


def test_shifting_needs_a_picture():
    for shape in ((3, 4), (9,), (), (1, 3, 3)):
        with pytest.raises(InputError, match="shift_pictures: shape is"):
            shift_pictures(np.zeros((2, 9)), shape, 1, np.random.default_rng(0))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10 ** 6), noise_std=st.sampled_from([0.0, 0.2]))
def test_a_student_that_reads_some_inputs(seed, noise_std):
    """Its "x" holds those alone; the teacher has answered for all of them."""
    teacher, batch = case(seed)
    seen = np.array([2, 0])
    moved = {"noise_std": noise_std, "mixup_alpha": 0.5 * (noise_std > 0), "max_shift": 1, "shape": (2, 2)}
    some = Transfer(teacher.predict, **moved)(batch, np.random.default_rng(seed), seen)
    every = Transfer(teacher.predict, **moved)(batch, np.random.default_rng(seed))
    assert np.array_equal(some["x"], every["x"][:, seen])
    np.testing.assert_allclose(some["teacher"], every["teacher"], atol=1e-12)
    np.testing.assert_allclose(every["teacher"], teacher.predict(every["x"]), atol=1e-12)


def test_pictures_move_in_plain_training():
    _, batch = case(6)
    shown = Noise(0.0, max_shift=1, shape=(2, 2))(batch, np.random.default_rng(7))
    assert np.array_equal(shown["x"], shift_pictures(batch["x"], (2, 2), 1, np.random.default_rng(7)))
    assert np.array_equal(shown["y"], batch["y"])


def test_noise_for_plain_training():
    _, batch = case(6)
    shown = Noise(0.2)(batch, np.random.default_rng(7))
    assert np.array_equal(shown["y"], batch["y"])
    assert np.array_equal(shown["x"], add_noise(batch["x"], 0.2, np.random.default_rng(7)))
    assert np.array_equal(Noise(0.0)(batch, np.random.default_rng(7))["x"], batch["x"])


def test_a_smaller_last_batch():
    teacher, batch = case(8)
    shown = Transfer(teacher.predict, noise_std=0.1, mixup_alpha=1.0)(batch, np.random.default_rng(0))
    assert shown["teacher"].shape == (12, 3)


def test_the_teacher_predicts():
    """Dropout of the teacher draws nothing: its logits are those of prediction."""
    rng = np.random.default_rng(9)
    teacher = Network([Layer("dropout", options={"rate": 0.5}), dense_layer(4, 3, rng, np.float64)])
    _, batch = case(9)
    shown = Transfer(teacher.predict)(batch, np.random.default_rng(0))
    np.testing.assert_allclose(shown["teacher"], teacher.predict(batch["x"]), atol=1e-13)


@pytest.mark.parametrize(("make", "words"), [
    (lambda t: Transfer(t.predict, noise_std=-0.1), "noise_std is -0.1"),
    (lambda t: Transfer(t.predict, mixup_alpha=-1.0), "mixup_alpha is -1"),
    (lambda t: Transfer(t.predict, mixup_alpha=float("nan")), "mixup_alpha is nan"),
    (lambda t: Transfer(t.predict, max_shift=-1), "max_shift is -1"),
    (lambda t: Noise(0.0, max_shift=-1), "max_shift is -1"),
    (lambda t: Noise(-1.0), "noise_std is -1"), (lambda t: Noise(float("inf")), "noise_std is inf"),
])
def test_refusals(make, words):
    with pytest.raises(InputError, match=words):
        make(case()[0])
