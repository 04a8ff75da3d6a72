"""Compressed rows against the definition by pairs, and against SciPy's."""

import numpy as np
import pytest
from scipy import sparse

from npkd.compression.csr import Csr
from npkd.core.validation import InputError
from reference.definitions.compression import csr as defined

RNG = np.random.default_rng


def matrix(seed, shape=(7, 300), share=0.1, dtype=np.float64):
    rng = RNG(seed)
    return np.where(rng.random(shape) < share, rng.standard_normal(shape), 0).astype(dtype)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_the_matrix_of_scipy_and_reads_back_exactly(share, dtype):
    w = matrix(0, share=share, dtype=dtype)
    w[[0, 3]] = 0
    ours, theirs = Csr.of(w), sparse.csr_matrix(w)
    for name in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    assert ours.shape == theirs.shape
    assert np.array_equal(ours.dense(), w)
    assert ours.dense().dtype == dtype


def test_the_product_is_that_of_the_definition_and_of_scipy():
    w, x = matrix(1), RNG(2).standard_normal((5, 300))
    w[[2, 6]] = 0                                             # a row of nothing, and the last
    y = Csr.of(w).product(x)
    assert np.allclose(y, defined.product(w, x), rtol=0, atol=1e-12)
    assert np.allclose(y, (sparse.csr_matrix(w) @ x.T).T, rtol=0, atol=1e-12)
    assert y.flags.c_contiguous
    assert not y[:, [2, 6]].any()
    assert Csr.of(w.astype(np.float32)).product(x.astype(np.float32)).dtype == np.float32


def test_empty_ones():
    assert Csr.of(np.zeros((3, 4))).product(np.ones((2, 4))).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert Csr.of(np.ones((3, 4))).product(np.ones((0, 4))).shape == (0, 3)
    assert Csr.of(np.zeros((0, 4))).product(np.ones((2, 4))).shape == (2, 0)


def test_bytes_are_those_of_the_smallest_indices():
    w = np.zeros((3, 300))
    w[0, 299] = w[2, 0] = 1
    csr = Csr.of(w)
    assert csr.bytes() == 2 * 8 + 2 * 2 + 4 * 1               # 299 needs two bytes, the starts 0, 1, 1, 2 one each
    assert Csr.of(w[:, :256].astype(np.float32)).bytes() == 4 + 1 + 4


def test_what_is_no_matrix_is_refused():
    for wrong in (np.zeros((2, 3), int), np.zeros(3), np.zeros((2, 2, 2))):
        with pytest.raises(InputError, match="Csr: w "):
            Csr.of(wrong)
    with pytest.raises(InputError, match=r"Csr: x has shape \(2, 3\)"):
        Csr.of(np.zeros((2, 4))).product(np.zeros((2, 3)))
    with pytest.raises(InputError, match="Csr: x is int64"):
        Csr.of(np.zeros((2, 4))).product(np.zeros((2, 4), np.int64))
