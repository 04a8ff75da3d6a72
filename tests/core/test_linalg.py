"""Products through one BLAS equal NumPy's, for every layout and dtype."""

import numpy as np
import pytest

from npkd.core import linalg

LAYOUTS = {
    "rows": np.ascontiguousarray,
    "columns": np.asfortranarray,
    "every other row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "every other column": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "backwards": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "part": lambda a: np.pad(a, 2)[2:-2, 2:-2],
}
SHAPES = [(3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 1), (1, 7, 1), (7, 1, 7), (40, 30, 20)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_product(shape, dtype):
    n, k, m = shape
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((n, k)).astype(dtype), rng.standard_normal((k, m)).astype(dtype)
    expected = sum(np.outer(a[:, i].astype(float), b[i].astype(float)) for i in range(k))
    for one in LAYOUTS.values():
        for other in LAYOUTS.values():
            x, y = one(a), other(b)
            c = linalg.product(x, y)
            assert c.dtype == dtype
            assert c.shape == (n, m)
            assert c.flags.c_contiguous
            np.testing.assert_allclose(c, expected, rtol=0, atol=(1e-13 if dtype is np.float64 else 1e-5) * k)
            assert np.array_equal(x, a)
            assert np.array_equal(y, b)
    np.testing.assert_allclose(linalg.product(a.T, a), a.T @ a, atol=1e-5 * n)
    np.testing.assert_allclose(linalg.product(b, b.T), b @ b.T, atol=1e-5 * m)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_subtracting_in_place(shape):
    n, k, m = shape
    rng = np.random.default_rng(1)
    c, a, b = rng.standard_normal((n, m)), rng.standard_normal((n, k)), rng.standard_normal((k, m))
    expected, memory = c - sum(np.outer(a[:, i], b[i]) for i in range(k)), c.ctypes.data
    linalg.subtract(c, a, b)
    assert c.ctypes.data == memory
    np.testing.assert_allclose(c, expected, rtol=0, atol=1e-13 * k)
    linalg.subtract(c, a[:, :0], b[:0])
    np.testing.assert_allclose(c, expected, rtol=0, atol=1e-13 * k)
    wide = np.pad(c, 2)
    linalg.subtract(wide[2:-2, 2:-2], a, b)                              # no contiguous rows: still done
    np.testing.assert_allclose(wide[2:-2, 2:-2], 2 * expected
                               - (expected + sum(np.outer(a[:, i], b[i]) for i in range(k))), atol=1e-12 * k)
    assert wide.sum() == pytest.approx(wide[2:-2, 2:-2].sum())


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (1, 4), (4, 1), (1, 1), (200, 30)], ids=str)
def test_gram(shape):
    a = np.random.default_rng(1).standard_normal(shape)
    for layout in LAYOUTS.values():
        g = linalg.gram(layout(a))
        assert np.array_equal(g, g.T)
        np.testing.assert_allclose(g, a.T @ a, atol=1e-12)


@pytest.mark.parametrize("shape", [(5, 3), (1, 4), (4, 1), (200, 30)], ids=str)
def test_inner_product(shape):
    a, b = np.random.default_rng(2).standard_normal((2, *shape))
    expected = sum(float(x) * float(y) for x, y in zip(a.ravel(), b.ravel(), strict=True))
    for one in LAYOUTS.values():
        for other in LAYOUTS.values():
            value = linalg.inner_product(one(a), other(b))
            assert type(value) is float
            assert value == pytest.approx(expected, rel=1e-11, abs=1e-12)


def test_nothing_to_multiply():
    assert linalg.product(np.zeros((0, 3)), np.zeros((3, 2))).shape == (0, 2)
    assert linalg.product(np.zeros((2, 3)), np.zeros((3, 0))).shape == (2, 0)
    assert np.array_equal(linalg.product(np.zeros((2, 0)), np.zeros((0, 3))), np.zeros((2, 3)))
    assert linalg.gram(np.zeros((4, 0))).shape == (0, 0)
    assert linalg.inner_product(np.zeros((0, 3)), np.zeros((0, 3))) == 0
