"""Moved pictures: every form is the picture moved, every answer is the teacher's to that very form, and is asked for
once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.core.validation import InputError
from npkd.data import transfer
from npkd.data.logit_cache import LogitCache
from npkd.data.transfer import Transfer

from .test_transfer import shifted


class Teacher:
    """Says two sums of a picture and counts the pictures that it was asked about."""

    def __init__(self):
        self.asked = 0

    def __call__(self, x):
        self.asked += len(x)
        return np.stack([x.sum(axis=1), (x * np.arange(x.shape[1])).sum(axis=1)], axis=1)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10 ** 6), height=st.integers(1, 6), width=st.integers(1, 6), reach=st.integers(0, 3),
       part=st.booleans())
def test_every_form_is_the_picture_moved(seed, height, width, reach, part):
    rng = np.random.default_rng(seed)
    x, teacher = rng.random((5, height * width)), Teacher()
    before = x.copy()
    if reach >= min(height, width):
        with pytest.raises(InputError, match="LogitCache: shape is"):
            LogitCache(x, (height, width), reach, teacher)
        return
    seen = rng.permutation(height * width)[:1 + int(rng.integers(height * width))] if part else None
    shown = LogitCache(x, (height, width), reach, teacher).draw({"x": x, "y": np.arange(5)}, rng, seen)
    assert np.array_equal(x, before)
    assert np.array_equal(shown["y"], np.arange(5))
    for n in range(5):
        forms = [shifted(x[n].reshape(height, width), u, v).ravel() for u in range(-reach, reach + 1)
                 for v in range(-reach, reach + 1)]
        assert any(np.array_equal(shown["x"][n], form if seen is None else form[seen]) and
                   np.allclose(shown["teacher"][n], Teacher()(form[None])[0], rtol=1e-14, atol=0) for form in forms)


def test_each_answer_is_asked_for_once():
    rng, teacher = np.random.default_rng(0), Teacher()
    x = rng.random((40, 9))
    logit_cache = LogitCache(x, (3, 3), 1, teacher)
    for _ in range(200):
        shown = logit_cache.draw({"x": x}, rng)
        assert np.allclose(shown["teacher"], Teacher()(shown["x"]), rtol=1e-14)
    assert teacher.asked == 9 * 40


def test_all_forms_are_as_likely():
    x = np.zeros((9000, 9), np.float32)
    x[:, 4] = 1
    shown = LogitCache(x, (3, 3), 1, Teacher()).draw({"x": x}, np.random.default_rng(0))
    assert np.abs(np.bincount(shown["x"].argmax(axis=1), minlength=9) - 1000).max() < 150


def test_more_pictures_than_are_gathered_at_once():
    rng, x = np.random.default_rng(1), np.random.default_rng(2).random((2003, 4)).astype(np.float32)
    shown = LogitCache(x, (2, 2), 1, Teacher()).draw({"x": x}, rng)
    assert shown["x"].dtype == np.float32
    assert np.allclose(shown["teacher"], Teacher()(shown["x"]), rtol=1e-5)


def test_a_batch_of_other_pictures_is_refused():
    x = np.zeros((4, 9))
    with pytest.raises(InputError, match="got 3 examples; it must be the 4 of the logit cache"):
        LogitCache(x, (3, 3), 1, Teacher()).draw({"x": x[:3]}, np.random.default_rng(0))


def test_answers_are_kept_where_they_fit(monkeypatch):
    """With and without the memory the student is shown pictures moved and true answers; noise has too many forms to be
    kept."""
    x = np.random.default_rng(3).random((30, 9))
    for largest, noise, kept in ((2 ** 30, 0.0, True), (100, 0.0, False), (2 ** 30, 0.1, False)):
        monkeypatch.setattr(transfer, "LARGEST", largest)
        teacher, rng = Teacher(), np.random.default_rng(4)
        shows = Transfer(teacher, max_shift=1, shape=(3, 3), noise_std=noise)
        for _ in range(100):
            shown = shows({"x": x}, rng)
            assert np.allclose(shown["teacher"], Teacher()(shown["x"]), rtol=1e-12)
        assert (shows.logit_cache is not None) == kept
        assert (teacher.asked < 1000) == kept
